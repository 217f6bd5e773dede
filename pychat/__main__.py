"""``pychat`` and ``python -m pychat``: the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import __version__, manual
from .address import DEFAULT_PORT, format_host_port, parse_host_port
from .errors import JournalError
from .journal.prune import Retention, parse_age, parse_size

OK, FAILED, USAGE = 0, 1, 2


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}. Type: {self.prog} --help\n")


def _address(text: str) -> tuple[str, int]:
    try:
        host, port = parse_host_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not port:
        raise argparse.ArgumentTypeError("0 is not a port: ports go from 1 to 65535")
    if host == text and _is_number(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no machine; for this port of this one write 127.0.0.1:{text}"
        )
    return host, port


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _folder(text: str) -> str:
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return text


def _output(text: str) -> str:
    if text == "-":
        raise argparse.ArgumentTypeError(
            "a file is verified before anybody gets it, so it cannot go to standard output; name a file"
        )
    if not text:
        raise argparse.ArgumentTypeError("the name of a file is missing")
    return text


def build_parser() -> argparse.ArgumentParser:
    """The command line of everything but ``serve``, which has Twisted's options."""
    parser = _Parser(
        prog="pychat",
        description="A chat and a shared folder of files for the people on a network that you own.",
        epilog=manual.MAIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pychat {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, does: str, epilog: str, run: Callable[[argparse.Namespace], int], *, here: bool = False
    ) -> _Parser:
        """:param here: without an address this machine is meant."""
        made: _Parser = commands.add_parser(
            name,
            help=does,
            description=does[0].upper() + does[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        made.add_argument(
            "address",
            metavar="HOST[:PORT]",
            type=_address,
            nargs="?" if here else None,
            default=("127.0.0.1", DEFAULT_PORT) if here else None,
            help="where the daemon listens"
            + (" (default: 127.0.0.1)" if here else "")
            + f"; the port is {DEFAULT_PORT} unless you name one",
        )
        return made

    chat = command("chat", "take part in a chat", manual.CHAT, _chat)
    chat.add_argument("--name", help="your name in the chat (default: your login name)")
    chat.add_argument(
        "--folder", type=_folder, default=".", metavar="DIR", help="where downloads go (default: here)"
    )
    chat.add_argument(
        "--fresh",
        action="store_true",
        help="forget who you were here the last time, and what was still pending",
    )

    get = command("get", "get files from the shelf, without joining the chat", manual.GET, _get)
    get.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="a file, as `pychat files` lists it, or a pattern; a/b.txt is saved as b.txt",
    )
    get.add_argument("-o", "--output", type=_output, metavar="PATH", help="the file to make, or a folder")
    get.add_argument(
        "-f", "--force", "--overwrite", action="store_true", help="replace files that exist already"
    )
    _add_manner(get)

    put = command("put", "put files on the shelf", manual.PUT, _put)
    put.add_argument("paths", metavar="FILE", nargs="+", help="a file here")
    put.add_argument("--as", dest="label", metavar="NAME", help="what to call it there, if it is one file")
    put.add_argument("--name", help="your name in the chat (default: your login name)")
    _add_manner(put)

    files = command("files", "list the files on the shelf", manual.FILES, _files)
    files.add_argument("--json", action="store_true", help="tell of each file as a JSON object, a line each")

    status = command("status", "tell how a daemon is doing", manual.STATUS, _status, here=True)
    status.add_argument("--json", action="store_true", help="tell it as one JSON object")
    commands.add_parser("serve", help="serve a chat; `pychat serve --help` lists the options", add_help=False)
    _add_journal(commands)
    return parser


def _add_manner(command: argparse.ArgumentParser) -> None:
    """What ``get`` and ``put`` have in common."""
    command.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    command.add_argument(
        "--json", action="store_true", help="tell of each file as a JSON object, a line each"
    )
    command.add_argument(
        "--jobs", type=_count(64), default=8, metavar="N", help="how many files at once, 1 to 64 (default: 8)"
    )
    command.add_argument(
        "--patience",
        type=_count(1_000_000),
        default=60,
        metavar="SECONDS",
        help="give up when nothing gets on for so long (default: 60)",
    )
    command.add_argument("--no-udp", action="store_true", help="go over TCP at once")
    command.add_argument(
        "--trace", metavar="FILE", type=_output, help="write what happens on the network to a qlog file"
    )


def _count(largest: int) -> Callable[[str], int]:
    """An argument that is a whole number from 1 to this."""

    def count(text: str) -> int:
        if not _is_number(text) or not 1 <= int(text) <= largest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {largest}")
        return int(text)

    return count


def _add_journal(commands: Any) -> None:
    """``journal`` and its own commands."""
    journal = commands.add_parser(
        "journal",
        help="look over, copy or prune the messages that a daemon keeps",
        description="Look over, copy or prune the messages that a daemon keeps, also while it runs.",
    )
    verbs = journal.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(name: str, does: str, run: Callable[[argparse.Namespace], int]) -> _Parser:
        made: _Parser = verbs.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".")
        made.set_defaults(run=run)
        made.add_argument(
            "--state", default="state", metavar="DIR", help="the daemon's --state folder (default: state)"
        )
        return made

    verb("check", "read all of it, and tell whether it is sound", _journal_check)
    backup = verb("backup", "copy it, and print the name of the copy", _journal_backup)
    backup.add_argument(
        "copy", nargs="?", metavar="FILE", help="the copy (default: beside it, with the time)"
    )
    prune = verb("prune", "delete the oldest messages, in small steps", _journal_prune)
    prune.add_argument(
        "--keep", metavar="AGE", type=_told(parse_age), help="those that are older, such as 30d"
    )
    prune.add_argument(
        "--keep-bytes", metavar="SIZE", type=_told(parse_size), help="while the journal is larger, such as 2G"
    )


def _told(parse: Callable[[str], int]) -> Callable[[str], int]:
    """An argument's type that passes on what is wrong with it."""

    def told(text: str) -> int:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return told


def _journal_check(options: argparse.Namespace) -> int:
    from .journal.commands import run_check

    try:
        sound, lines = run_check(Path(options.state))
    except JournalError as error:
        return _failed(error)
    print("\n".join(lines), file=sys.stdout if sound else sys.stderr)
    return OK if sound else FAILED


def _journal_backup(options: argparse.Namespace) -> int:
    from .journal.commands import run_backup

    try:
        copy = run_backup(Path(options.state), Path(options.copy) if options.copy else None)
    except JournalError as error:
        return _failed(error)
    print(copy)  # noqa: T201
    return OK


def _journal_prune(options: argparse.Namespace) -> int:
    from .journal.commands import run_prune
    from .journal.index import messages

    if options.keep is None and options.keep_bytes is None:
        said = "say what to keep, such as --keep 30d or --keep-bytes 2G. Type: pychat journal prune --help"
        print(f"pychat journal prune: {said}", file=sys.stderr)  # noqa: T201
        return USAGE
    try:
        count = run_prune(Path(options.state), Retention(options.keep, options.keep_bytes))
    except JournalError as error:
        return _failed(error)
    print(f"{messages(count)} deleted")  # noqa: T201
    return OK


def _failed(error: JournalError) -> int:
    print(f"pychat: {error.sentence}", file=sys.stderr)  # noqa: T201
    return FAILED


def _chat(options: argparse.Namespace) -> int:
    from .client.chat import Invitation, run_chat

    host, port = options.address
    return run_chat(Invitation(host, port, options.name, options.folder, options.fresh))


def _manner(options: argparse.Namespace) -> dict[str, Any]:
    host, port = options.address
    return {
        "host": host,
        "port": port,
        "quiet": options.quiet,
        "json": options.json,
        "jobs": options.jobs,
        "patience": float(options.patience),
        "udp": not options.no_udp,
        "trace": options.trace,
    }


def _get(options: argparse.Namespace) -> int:
    from .client.get import Order, run_get

    return run_get(
        Order(names=tuple(options.names), output=options.output, force=options.force, **_manner(options))
    )


def _put(options: argparse.Namespace) -> int:
    from .client.put import Parcel, run_put

    if options.label is not None and len(options.paths) > 1:
        print("pychat put: --as is for one file. Type: pychat put --help", file=sys.stderr)  # noqa: T201
        return USAGE
    return run_put(
        Parcel(paths=tuple(options.paths), label=options.label, name=options.name, **_manner(options))
    )


def _files(options: argparse.Namespace) -> int:
    from .client.scripts import run_files

    return run_files(*options.address, json=options.json)


def _status(options: argparse.Namespace) -> int:
    from .client.status import run_status

    return run_status(*options.address, json_line=options.json)


def serve(arguments: Sequence[str]) -> int:
    """Run the daemon in the foreground, with its log on standard output, like ``twistd -n pychat``."""
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner, textFileLogObserver
    from twisted.python import usage

    from .errors import PychatError
    from .options import Options
    from .service import make_service

    loop: Any = reactor
    options = Options()
    try:
        # Twisted shows help and version by itself, and exits with status 0.
        options.synopsis = "Usage: pychat serve [options]"
        options.parseOptions(list(arguments))
    except usage.UsageError as error:
        print(f"pychat serve: {str(error).rstrip('.')}. Type: pychat serve --help", file=sys.stderr)  # noqa: T201
        return USAGE
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    try:
        service: Any = make_service(options, loop)
        service.privilegedStartService()
        service.startService()
    except PychatError as error:
        print(f"pychat: {error.sentence}", file=sys.stderr)  # noqa: T201
        return FAILED
    loop.addSystemEventTrigger("before", "shutdown", service.stopService)
    loop.run()
    return OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["help"]:
        given = [*given[1:2], "--help"]
    if given[:1] == ["serve"]:
        return serve(given[1:])
    options, unknown = build_parser().parse_known_args(given)
    if unknown:
        # Here, for argparse has the outermost parser say it, whose help does not help.
        command = f"pychat {given[0]}" if given and not given[0].startswith("-") else "pychat"
        hint = ""
        if unknown[0].startswith("-") and given[0] in ("get", "put"):
            hint = " A name that begins with - comes after --."
        elif _is_number(unknown[0]) and hasattr(options, "address"):
            host = format_host_port(options.address[0], int(unknown[0]))
            hint = f" The port stands behind a colon: {command} {host}."
        said = f"unrecognized arguments: {' '.join(unknown)}.{hint} Type: {command} --help"
        print(f"{command}: {said}", file=sys.stderr)  # noqa: T201
        sys.exit(USAGE)
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
