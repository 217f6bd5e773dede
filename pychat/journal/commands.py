"""``pychat journal``: looking over, copying and pruning a journal, also while a daemon uses it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from ..errors import JournalError
from .index import Index, describe, messages
from .prune import Retention, forget_step, prune_step
from .rows import LIVING
from .runs import COUNT
from .store import FILE_NAME, backup, backup_name, check, connect, scripts

PAUSE = 0.02
"""Seconds between two steps of pruning, in which a daemon can write."""


def find(state: Path) -> Path:
    """The journal in a daemon's ``--state`` folder.

    :raise JournalError: ``no-journal``.
    """
    path = state / FILE_NAME
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise JournalError("no-journal", f"Cannot look into {state}: {error.strerror}.") from error
    if _is_copy(state):
        raise JournalError(
            "no-journal",
            f"{state} is a file: name the daemon's folder with --state. Only check takes a copy, too.",
        )
    raise JournalError(
        "no-journal", f"There is no journal in {state}. Name the daemon's folder with --state."
    )


def _is_copy(state: Path) -> bool:
    try:
        return state.is_file()
    except OSError:
        return False


def run_check(state: Path) -> tuple[bool, list[str]]:
    """Read all of a journal; return whether it is sound, and lines for a person.

    :param state: the folder that it is in, or a file: a copy of a journal, which has no index.
    """
    path = state if _is_copy(state) else find(state)
    # A copy has no log beside it; what somebody has open has one.
    still = path == state and not path.with_name(f"{path.name}-wal").exists()
    wrong = check(path, still=still)
    if wrong:
        return False, [f"{path} is damaged:", *wrong]
    with closing(connect(path, read_only=True, still=still)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version < len(scripts()):
            when = f"of version {version}: a daemon that starts with it upgrades it to {len(scripts())}"
            return True, [f"{path} is sound, and {when}, and keeps a copy"]
        count, first, last = connection.execute(
            f"SELECT {COUNT}, min(time_ms), max(time_ms) FROM "  # noqa: S608
            "(SELECT time_ms FROM message UNION ALL SELECT time_ms FROM run)"
        ).fetchone()
        (living,) = connection.execute(f"SELECT count(*) FROM identity WHERE {LIVING}").fetchone()  # noqa: S608
    span = f" from {_day(first)} to {_day(last)}" if count else ""
    lines = [f"{path} is sound: {messages(count)}{span}", f"Identities that can come back: {living}"]
    if path != state:
        lines.append(f"Index: {describe(path)}")
    return True, lines


def run_backup(state: Path, copy: Path | None) -> Path:
    """Copy a journal; return where to.

    :raise JournalError: ``no-journal``, ``backup-failed``.
    """
    path = find(state)
    target = copy or backup_name(path, time.time())
    if target.exists():
        raise JournalError("backup-failed", f"{target} is there already. Name another file.")
    backup(path, target)
    return target


def run_prune(state: Path, retention: Retention) -> int:
    """Delete what is past the bounds, a small step at a time; return how many messages that was.

    :raise JournalError: ``no-journal``, ``journal-unavailable``.
    """
    path = find(state)
    total = 0
    try:
        with closing(connect(path)) as connection, closing(Index(path)) as index:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != len(scripts()):
                raise JournalError(
                    "journal-unavailable",
                    f"{path} is of version {version}, and this Python Chat prunes version {len(scripts())}. "
                    "Start its daemon once: that upgrades the file.",
                )
            while True:
                now_ms = int(time.time() * 1000)
                count = prune_step(connection, retention, now_ms)
                if not count + forget_step(connection, now_ms):
                    break
                total += count
                time.sleep(PAUSE)
            _sweep(index)
    except sqlite3.Error as error:
        raise JournalError("journal-unavailable", f"Cannot prune {path}: {error}.") from error
    return total


def _sweep(index: Index) -> None:
    """Take what was deleted out of the index, too; if that is not possible the daemon does it."""
    try:
        if index.adopt():
            while index.sweep():
                time.sleep(PAUSE)
    except (OSError, sqlite3.Error):
        pass


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, timezone.utc).date().isoformat()
