"""Reading in the durable journal while somebody else writes it.  Blocking; for a thread of its own.

A reader has a connection of its own that cannot write.  In WAL mode neither waits for the other: each look sees all
that was committed before it, and nothing of what is under way.  No look is long: one goes over a window of ids, and
what needs more takes many, with others in between.

The connection is opened when it is first needed, dropped after any error, and opened afresh for the next look.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import JournalError
from ..vocabulary import OnceKey, Page, Standing
from .rows import MESSAGE, STANDING, to_message, to_standing
from .store import Handle, connect

WINDOW = 20_000
"""Ids that one look goes over at most."""

KEYS_WINDOW = 5_000
"""The same in a search for ``once=`` keys, where most of them may be found."""

_UNREADABLE = "The journal could not be read: the chat's disk does not give it. Try again later."

# min and max in one SELECT of their own would read the whole table.
_SPAN = "SELECT coalesce((SELECT min(id) FROM message), 1), coalesce((SELECT max(id) FROM message), 0)"
_PAGE = (
    f"SELECT {MESSAGE} FROM message WHERE id > ? AND id <= ? "  # noqa: S608
    "AND (recipient IS NULL OR recipient = ? OR sender = ?) ORDER BY id LIMIT ?"
)
_PRIVATE = _PAGE.replace(
    "recipient IS NULL OR recipient = ? OR sender = ?",
    "recipient = ? OR sender = ? AND recipient IS NOT NULL",
)
# Forwards within a window: a disk that has to be asked reads ahead, and never backwards.
_KEYS = (
    "SELECT sender, once, id, recipient, recipient_name, text FROM message "
    "WHERE id > ? AND id <= ? AND once IS NOT NULL AND time_ms >= ? "
    "AND sender IN (SELECT value FROM json_each(?)) ORDER BY id"
)
_ANY_SINCE = "SELECT 1 FROM message WHERE id > ? AND id <= ? AND time_ms >= ? LIMIT 1"
_STANDINGS = f"SELECT {STANDING} FROM identity WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"  # noqa: S608
_OWED = f"SELECT {STANDING} FROM identity WHERE joined < ? AND (left_id IS NULL OR left_id >= ?) ORDER BY id"  # noqa: S608


class Reader:
    """Answers the questions of :class:`~pychat.interfaces.IJournal`; one thread at a time may ask.

    Each raises :class:`~pychat.errors.JournalError` ``journal-unavailable`` if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._handle = Handle(lambda: connect(path, read_only=True))

    def drop(self) -> None:
        """Close the connection; the next look opens another."""
        self._handle.drop()

    @contextmanager
    def _looking(self) -> Iterator[sqlite3.Connection]:
        """One look: whatever is read inside is of one moment."""
        try:
            connection = self._handle.get()
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            self.drop()
            if isinstance(error, sqlite3.Error):
                raise JournalError("journal-unavailable", _UNREADABLE) from error
            raise

    def read(self, identity: int, after: int, limit: int, private: bool = False) -> Page:
        """See :meth:`IJournal.read`; looks at no more than :data:`WINDOW` ids."""
        with self._looking() as connection:
            oldest, newest = connection.execute(_SPAN).fetchone()
            start = min(max(after, oldest - 1), newest)
            upto = min(start + WINDOW, newest)
            query = _PRIVATE if private else _PAGE
            rows = connection.execute(query, (start, upto, identity, identity, limit)).fetchall()
        if len(rows) >= limit:
            upto = rows[-1][0]
        return Page([to_message(row) for row in rows], upto, oldest)

    def standings(self, ids: Sequence[int]) -> list[Standing]:
        """See :meth:`IJournal.standings`; in the order of their numbers."""
        with self._looking() as connection:
            return [to_standing(row) for row in connection.execute(_STANDINGS, (json.dumps([*ids]),))]

    def owed(self, id: int) -> list[Standing]:
        """See :meth:`IJournal.owed`; in the order of their numbers."""
        with self._looking() as connection:
            return [to_standing(row) for row in connection.execute(_OWED, (id, id))]

    def keys(
        self, since_ms: int, identities: Sequence[int], before: int | None
    ) -> tuple[list[OnceKey], int | None]:
        """See :meth:`IJournal.keys`; looks at no more than :data:`KEYS_WINDOW` ids.

        The end is a window with nothing but older messages: a clock that was set back in between is no reason to stop.
        """
        with self._looking() as connection:
            oldest, newest = connection.execute(_SPAN).fetchone()
            end = newest if before is None else min(before - 1, newest)
            start = max(end - KEYS_WINDOW, oldest - 1)
            if end <= start or connection.execute(_ANY_SINCE, (start, end, since_ms)).fetchone() is None:
                return [], None
            # Of the many rows only those that count come up into Python; below it others may run.
            rows = connection.execute(_KEYS, (start, end, since_ms, json.dumps([*identities]))).fetchall()
        return [OnceKey(*row) for row in reversed(rows)], start + 1 if start >= oldest else None
