"""``twistd`` with a journal that does not find all memberships again: it has to be caught by the checker.

python -m tests.chaos.forget -n pychat --state DIR
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from twisted.scripts.twistd import run

from pychat.journal import rooms
from pychat.vocabulary import Stay

FORGOTTEN = 10
"""Of so many memberships one is forgotten."""


def spoil() -> None:
    """Let every journal of this process forget some at its start."""
    load = rooms.load_stays

    def load_stays(connection: sqlite3.Connection) -> Sequence[Stay]:
        return [stay for number, stay in enumerate(load(connection)) if number % FORGOTTEN]

    rooms.load_stays = load_stays


if __name__ == "__main__":
    spoil()
    run()
