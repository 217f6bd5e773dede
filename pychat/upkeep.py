"""``pychat journal``: its command line, and what it prints.  The work is done in `journal.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import manual
from .errors import JournalError
from .journal.commands import run_backup, run_check, run_prune
from .journal.index import messages
from .journal.prune import Retention, parse_age, parse_bound
from .printing import FAILED, OK, USAGE


def add_journal(commands: Any) -> None:
    """``journal`` and its own commands."""
    journal = commands.add_parser(
        "journal",
        help="look over, copy or prune the messages that a daemon keeps",
        description="Look over, copy or prune the messages that a daemon keeps, also while it runs.",
        epilog=manual.JOURNAL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = journal.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(
        name: str, does: str, epilog: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(
            name,
            help=does,
            description=does[0].upper() + does[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        made.add_argument(
            "--state", default="state", metavar="DIR", help="the daemon's --state folder (default: state)"
        )
        return made

    verb("check", "read all of the journal, and tell whether it is sound", manual.CHECK, _journal_check)
    backup = verb(
        "backup", "copy the journal, and print the name of the copy", manual.BACKUP, _journal_backup
    )
    backup.add_argument(
        "copy",
        nargs="?",
        metavar="FILE",
        help="the copy (default: beside the journal, with the time in its name)",
    )
    prune = verb("prune", "delete the oldest messages, in small steps", manual.PRUNE, _journal_prune)
    prune.add_argument(
        "--keep",
        metavar="AGE",
        type=_told(parse_age),
        help="delete what is older, such as 30d (s, m, h, d, w, y)",
    )
    prune.add_argument(
        "--keep-bytes",
        metavar="SIZE",
        type=_told(parse_bound),
        help="delete the oldest while the journal is larger, such as 2G (K, M, G, T); 1M at least",
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
    try:
        sound, lines = run_check(Path(options.state))
    except JournalError as error:
        return _failed(error)
    print("\n".join(lines), file=sys.stdout if sound else sys.stderr)
    return OK if sound else FAILED


def _journal_backup(options: argparse.Namespace) -> int:
    try:
        copy = run_backup(Path(options.state), Path(options.copy) if options.copy else None)
    except JournalError as error:
        return _failed(error)
    print(copy)  # noqa: T201
    return OK


def _journal_prune(options: argparse.Namespace) -> int:
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
