"""What is left when everybody has gone: the journal's file and the daemon's log."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from .checker import BROKEN, Fault
from .history import History, Post

_BAD_NEWS = re.compile(r"Traceback|Unhandled|CRITICAL|#error|#critical|failed|cannot", re.IGNORECASE)

COMPLAINTS_LIMIT = 5
"""Lines of a log that are told."""


def read_journal(state: Path, history: History) -> tuple[dict[int, Post], list[Fault]]:
    """What the journal has, by id; and what is wrong with it, ``pychat journal check`` included."""
    faults = []
    done = subprocess.run(
        [sys.executable, "-m", "pychat", "journal", "check", "--state", str(state)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        faults.append(Fault(BROKEN, f"the journal is not sound: {done.stdout} {done.stderr}"))
    journal = {}
    with closing(sqlite3.connect(state / "journal.sqlite3")) as database:
        rows = database.execute("SELECT id, sender_name, recipient_name, text FROM message ORDER BY id")
        for id, sender, to, text in rows:
            post = history.posts.get(text)
            if post is None or (post.sender, post.to) != (sender, to):
                faults.append(Fault(BROKEN, f"the journal has {text!r} of {sender} to {to} as {id}"))
            else:
                journal[id] = post
    return journal, faults


def read_log(path: Path) -> list[Fault]:
    """What the daemon had to complain of in any of its lives."""
    lines = path.read_text(errors="replace").splitlines()
    bad = [number for number, line in enumerate(lines) if _BAD_NEWS.search(line)]
    return [
        Fault(BROKEN, "the daemon's log says:\n    " + "\n    ".join(lines[number : number + 20]))
        for number in bad[:COMPLAINTS_LIMIT]
    ]
