"""What is left when everybody has gone: the journal's file and the daemon's log."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pychat.vocabulary import Kind

from .faults import BROKEN, Fault
from .history import History, Journal, Move

_BAD_NEWS = re.compile(r"Traceback|Unhandled|CRITICAL|#error|#critical|failed|cannot", re.IGNORECASE)

COMPLAINTS_LIMIT = 5
"""Lines of a log that are told."""


def read_journal(state: Path, history: History) -> tuple[Journal, list[Fault]]:
    """What the journal has; and what is wrong with it, ``pychat journal check`` included."""
    faults = []
    done = subprocess.run(
        [sys.executable, "-m", "pychat", "journal", "check", "--state", str(state)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        faults.append(Fault(BROKEN, f"the journal is not sound: {done.stdout} {done.stderr}"))
    journal = Journal()
    with closing(sqlite3.connect(state / "journal.sqlite3")) as database:
        rows = database.execute(
            "SELECT id, sender_name, recipient, recipient_name, text, coalesce(kind, 0), coalesce(ref, 0), "
            "blocked IS NOT NULL FROM entry ORDER BY id"
        )
        for id, sender, number, to, text, kind, ref, blocked in rows:
            if (to or "").startswith("#") != ((number or 0) < 0):
                faults.append(Fault(BROKEN, f"the journal has {to} with the number {number} as {id}"))
            if blocked:
                journal.blocked.add(id)
            if kind in (Kind.JOIN, Kind.LEAVE):
                journal.moves.append(Move(id, sender, to, kind == Kind.JOIN))
                continue
            post = history.posts.get((sender, kind, ref, text))
            if post is None or post.to != to:
                faults.append(
                    Fault(BROKEN, f"the journal has {text!r} of {sender} to {to} about {ref} as {id}")
                )
            else:
                journal.posts[id] = post
        faults += [Fault(BROKEN, what) for what in _contradictions(database, history)]
    return journal, faults


def _contradictions(database: sqlite3.Connection, history: History) -> Iterator[str]:
    """Where the tables that follow from the messages do not."""
    rooms = dict(database.execute("SELECT id, name FROM room"))
    used = "SELECT DISTINCT recipient, recipient_name FROM message WHERE recipient < 0 AND kind IS NULL"
    for number, name in database.execute(used):
        if rooms.get(number) != name:
            yield f"the room {number} is called {rooms.get(number)} and {name}"
    if len(set(rooms.values())) < len(rooms):
        yield f"rooms have the same name: {rooms}"
    changes = set(database.execute("SELECT ref, id, kind FROM change"))
    said = set(database.execute("SELECT ref, id, kind FROM message WHERE kind IN (1, 2)"))
    for change in sorted(changes ^ said):
        yield f"the change {change} is only in the {'table of them' if change in changes else 'messages'}"
    stays: set[tuple[str, int, int, int | None]] = set()
    open_stays: dict[tuple[str, int, int], int] = {}
    moves = "SELECT id, sender, sender_name, recipient, kind FROM message WHERE kind IN (5, 6) ORDER BY id"
    for id, sender, name, room, kind in database.execute(moves):
        if name not in history.cast.resuming or room not in rooms:
            continue  # what ended without a message; a room that nobody was in any more
        if kind == Kind.JOIN:
            open_stays[name, sender, room] = id
        else:
            stays.add((name, room, open_stays.pop((name, sender, room), 0), id))
    stays.update((name, room, joined, None) for (name, _, room), joined in open_stays.items())
    kept = {
        (name, room, joined, left)
        for name, room, joined, left in database.execute(
            "SELECT name, room, stay.joined, stay.left_id FROM stay JOIN identity ON identity.id = stay.identity"
        )
        if name in history.cast.resuming
    }
    for stay in sorted(kept ^ stays, key=str):
        yield f"the stay {stay} is only in the {'table of them' if stay in kept else 'messages'}"


def read_log(path: Path) -> list[Fault]:
    """What the daemon had to complain of in any of its lives."""
    lines = path.read_text(errors="replace").splitlines()
    bad = [number for number, line in enumerate(lines) if _BAD_NEWS.search(line)]
    return [
        Fault(BROKEN, "the daemon's log says:\n    " + "\n    ".join(lines[number : number + 20]))
        for number in bad[:COMPLAINTS_LIMIT]
    ]
