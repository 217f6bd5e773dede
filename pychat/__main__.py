"""``pychat`` and ``python -m pychat``: the command line."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from . import __version__, manual
from .address import DEFAULT_PORT, format_host_port, parse_host_port
from .printing import FAILED, OK, USAGE, flush, printing
from .upkeep import add_journal


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}. Type: {self.prog} --help\n")


def _address(text: str, named: bool) -> tuple[str, int]:
    """:param named: the command has a ``--name``."""
    name, at, where = text.rpartition("@")
    if at:
        meant = f"{where or 'HOST'} --name {shlex.quote(name) if name else 'NAME'}"
        raise argparse.ArgumentTypeError(
            f"{text!r} is no machine: your name stands behind --name, as in {meant}"
            if named
            else f"{text!r} is no machine, and nobody needs a name here: write {where or 'HOST'}"
        )
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
        name: str,
        does: str,
        epilog: str,
        run: Callable[[argparse.Namespace], int],
        *,
        named: bool = False,
        here: bool = False,
    ) -> _Parser:
        """
        :param named: it joins the chat, under a name.
        :param here: without an address this machine is meant.
        """
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
            type=lambda text: _address(text, named),
            nargs="?" if here else None,
            default=("127.0.0.1", DEFAULT_PORT) if here else None,
            help="the machine that serves the chat"
            + (" (default: 127.0.0.1, this one)" if here else "; 127.0.0.1 is this one")
            + f"; the port is {DEFAULT_PORT} unless you say another",
        )
        if named:
            made.add_argument("--name", help="your name in the chat (default: your login name)")
        return made

    chat = command("chat", "take part in a chat", manual.CHAT, _chat, named=True)
    chat.add_argument(
        "--folder", type=_folder, default=".", metavar="DIR", help="where downloads go (default: here)"
    )
    chat.add_argument(
        "--fresh",
        action="store_true",
        help="forget who you were here the last time, and what was still pending",
    )

    get = command("get", "get files from the shelf, the folder that the daemon shares", manual.GET, _get)
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

    put = command(
        "put", "put files on the shelf, the folder that the daemon shares", manual.PUT, _put, named=True
    )
    put.add_argument("paths", metavar="FILE", nargs="+", help="a file here")
    put.add_argument("--as", dest="label", metavar="NAME", help="what to call it there, if it is one file")
    _add_manner(put)

    files = command("files", "list the files on the shelf", manual.FILES, _files)
    files.add_argument("--json", action="store_true", help="tell of each file as a JSON object, a line each")

    status = command("status", "tell how a daemon is doing", manual.STATUS, _status, here=True)
    status.add_argument("--json", action="store_true", help="tell it as one JSON object")
    commands.add_parser("serve", help="serve a chat; `pychat serve --help` lists the options", add_help=False)
    add_journal(commands)
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
        help="give up after so long without progress (default: 60)",
    )
    command.add_argument("--no-udp", action="store_true", help="do not try UDP: go over TCP at once")
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
        with printing():
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
    flush()  # nobody may read the log any more, and all is well
    return OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["help"]:
        given = [*(word for word in given if word != "help"), "--help"]
    if given[:1] == ["serve"]:
        return serve(given[1:])
    with printing():
        return _run(given)


def _run(given: Sequence[str]) -> int:
    """Everything but ``serve``."""
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
