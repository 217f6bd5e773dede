"""``pychat`` and ``python -m pychat``: the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .address import DEFAULT_PORT, parse_host_port
from .errors import JournalError
from .journal.prune import Retention, parse_age, parse_size

OK, FAILED, USAGE = 0, 1, 2

_EPILOG = """\
examples:
  pychat serve                              serve a chat on this machine, and the folder files/
  pychat serve --listen tcp:50000           the same for the whole network
  pychat chat 192.168.1.5 --name alice      join a chat
  pychat files 192.168.1.5                  what is on its shelf
  pychat get 192.168.1.5 report.pdf         get a file from it

`pychat COMMAND --help` tells more.
"""

_CHAT_EPILOG = """\
What you type is sent as it is: <set_msg_all>hello all, <set_msg>bob hi there, <get_users>, <listfiles>, <help>.
<download>report.pdf saves the file in the folder; nothing there is overwritten: report (2).pdf.
Ctrl-D or <disconnect> leaves for good; so does Ctrl-C, at once, and gives up downloads. On a half-typed line Ctrl-C
clears that line. Who closes the window stays in the chat, away, and comes back as the same one with the next
pychat chat. The arrow keys move in the line, and bring back what was entered before.

Rooms: <join>#tea makes you a member, and shows what the room is about and what was said there last. <set_msg>#tea hello
says something there, <leave>#tea leaves, <get_rooms> lists all. <history>#tea, <history>bob, <search>words look back.
With the id= of a message <set_msg reply=42>#tea text answers it, <react>42 +1 reacts to it, and <edit>42 text and
<retract>42 change a message of yours or take it back. Also: <unread> counts what you have not read, <mute>#tea keeps a
room quiet, <ignore>bob a person, <away>text says that you are not here, <whois>bob tells of somebody. <help> lists all.

Several lines that you paste behind <set_msg>name, <set_msg_all> or <edit>id are one message, of about 4,000 bytes at
most; Enter sends it. Pasted lines that are commands, each of them, are sent one after the other. (Your terminal marks
what is pasted, if it knows bracketed paste, as most do; otherwise every line is a line of its own.)

When the connection breaks it comes back by itself. Messages that you type meanwhile, and what you say of messages, are
shown as pending, and are sent once there is a connection again; what you missed is told with its time. What is still
pending when you leave is sent by the next pychat chat with the same address and name, for which it is kept, with what
it takes to be you, in ~/.local/state/pychat (or below XDG_STATE_HOME, or LOCALAPPDATA). With nothing pending you leave
for good, and your rooms too.
Whoever types has read what stood on the screen: then those who wrote it are told <read>.

The input may be a pipe, with one connection and nothing kept:
  printf '<set_msg_all>hi\\n<download>report.pdf\\n' | pychat chat 192.168.1.5 --name bob
sends everything, waits for all answers and downloads, and leaves.

exit status:
  0    all went well
  1    no connection at the end, or messages are still pending; with a pipe also: a line was answered with <error>,
       a file did not arrive
  2    the command line is wrong
  130  Ctrl-C cut off a download or a pipe (143: SIGTERM did)
"""

_GET_EPILOG = """\
The digest of the file, verified, goes to standard output in the format of sha256sum:
  pychat get 192.168.1.5 report.pdf | sha256sum -c

While it arrives the file is called NAME.part. A NAME.part that is there already and that no other download is writing
is replaced. A NAME that begins with - comes after --: pychat get 192.168.1.5 -- -x.txt

exit status:
  0    the file is there, and its digest agreed
  1    it is not; standard error says why
  2    the command line is wrong
  130  Ctrl-C came first (143: SIGTERM did)
"""

_FILES_EPILOG = """\
One line a file: its size in bytes, a TAB, its name.

exit status:
  0    that is the list
  1    there is none; standard error says why
  2    the command line is wrong
  130  Ctrl-C came first (143: SIGTERM did)
"""


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
    return host, port


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
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pychat {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, does: str, epilog: str, run: Callable[[argparse.Namespace], int]) -> _Parser:
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
            help=f"where the daemon listens; the port is {DEFAULT_PORT} unless you name one",
        )
        return made

    chat = command("chat", "take part in a chat", _CHAT_EPILOG, _chat)
    chat.add_argument("--name", help="your name in the chat (default: your login name)")
    chat.add_argument(
        "--folder", type=_folder, default=".", metavar="DIR", help="where downloads go (default: here)"
    )
    chat.add_argument(
        "--fresh",
        action="store_true",
        help="forget who you were here the last time, and what was still pending",
    )

    get = command("get", "get a file over UDP, without joining the chat", _GET_EPILOG, _get)
    get.add_argument(
        "name", metavar="NAME", help="the file, as `pychat files` lists it; a/b.txt is saved as b.txt"
    )
    get.add_argument("-o", "--output", type=_output, metavar="PATH", help="the file to make, or a folder")
    get.add_argument("-f", "--force", action="store_true", help="replace the file if it exists")
    get.add_argument("-q", "--quiet", action="store_true", help="show no progress")

    command("files", "list the files on the shelf", _FILES_EPILOG, _files)
    commands.add_parser("serve", help="serve a chat; `pychat serve --help` lists the options", add_help=False)
    _add_journal(commands)
    return parser


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

    if options.keep is None and options.keep_bytes is None:
        print("pychat journal prune: say what to keep, with --keep or --keep-bytes", file=sys.stderr)  # noqa: T201
        return USAGE
    try:
        count = run_prune(Path(options.state), Retention(options.keep, options.keep_bytes))
    except JournalError as error:
        return _failed(error)
    print(f"{count} messages deleted")  # noqa: T201
    return OK


def _failed(error: JournalError) -> int:
    print(f"pychat: {error.sentence}", file=sys.stderr)  # noqa: T201
    return FAILED


def _chat(options: argparse.Namespace) -> int:
    from .client.chat import Invitation, run_chat

    host, port = options.address
    return run_chat(Invitation(host, port, options.name, options.folder, options.fresh))


def _get(options: argparse.Namespace) -> int:
    from .client.scripts import Order, run_get

    host, port = options.address
    return run_get(Order(host, port, options.name, options.output, options.force, options.quiet))


def _files(options: argparse.Namespace) -> int:
    from .client.scripts import run_files

    return run_files(*options.address)


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
        print(f"pychat serve: {error}. Type: pychat serve --help", file=sys.stderr)  # noqa: T201
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
    if given[:1] == ["serve"]:
        return serve(given[1:])
    options = build_parser().parse_args(given)
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
