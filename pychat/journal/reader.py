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
from typing import Any

from ..errors import JournalError
from ..roster import key_of
from ..vocabulary import Entry, Kept, OnceKey, Page, Standing, Stretch, Unread
from .history import Walk
from .index import Index, attach
from .kept import look_up, retracted
from .rows import MESSAGE, STANDING, to_message, to_standing
from .runs import RUN, SPAN, between
from .store import Handle, connect
from .unread import Count

WINDOW = 20_000
"""Ids that one look goes over at most."""

KEYS_WINDOW = 5_000
"""The same in a search for ``once=`` keys, where most of them may be found."""

_UNREADABLE = "The journal could not be read: the chat's disk does not give it. Try again later."

_PAGE = (
    f"SELECT {MESSAGE} FROM entry WHERE {between('?2', '?3')} "  # noqa: S608
    "AND (recipient IS NULL OR recipient = ?1 OR sender = ?1) ORDER BY id LIMIT ?4"
)
_ROOMS = _PAGE.replace("sender = ?1", "sender = ?1 OR recipient IN (SELECT value FROM json_each(?5))")
_PRIVATE = (
    f"SELECT {MESSAGE} FROM message WHERE id > ?2 AND id <= ?3 "  # noqa: S608
    "AND (recipient = ?1 OR sender = ?1 AND recipient > 0) ORDER BY id LIMIT ?4"
)
# Forwards within a window: a disk that has to be asked reads ahead, and never backwards.
_KEYS = (
    "SELECT sender, once, id, recipient, recipient_name, text, coalesce(kind, 0), coalesce(ref, 0) FROM message "
    "WHERE id > ? AND id <= ? AND once IS NOT NULL AND time_ms >= ? "
    "AND sender IN (SELECT value FROM json_each(?)) ORDER BY id"
)
_ANY_SINCE = (
    "SELECT 1 FROM message WHERE id > ?1 AND id <= ?2 AND time_ms >= ?3 UNION ALL "  # noqa: S608
    f"SELECT 1 FROM run WHERE last > ?1 AND last < ?2 + {RUN} AND time_ms >= ?3 LIMIT 1"
)
_STANDINGS = f"SELECT {STANDING} FROM identity WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"  # noqa: S608
_OWED = f"SELECT {STANDING} FROM identity WHERE joined < ? AND (left_id IS NULL OR left_id >= ?) ORDER BY id"  # noqa: S608
_OWED_ROOM = (
    f"SELECT {STANDING} FROM identity WHERE id IN (SELECT identity FROM stay WHERE room = ? "  # noqa: S608
    "AND joined < ? AND (left_id IS NULL OR left_id >= ?)) ORDER BY id"
)


class _Unindexed(Exception):
    """The index could not be read."""


class Reader:
    """Answers the questions of :class:`~pychat.interfaces.IJournal`; one thread at a time may ask.

    Each raises :class:`~pychat.errors.JournalError` ``journal-unavailable`` if the file cannot be read.
    """

    def __init__(self, path: Path, index: Index) -> None:
        self._path = path
        self._index = index
        self._generation = -1
        self._handle = Handle(self._open)

    def drop(self) -> None:
        """Close the connection; the next look opens another."""
        self._handle.drop()

    def _open(self) -> sqlite3.Connection:
        self._generation = self._index.generation
        connection = connect(self._path, read_only=True)
        try:
            connection.create_function("key_of", 1, key_of, deterministic=True)
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("CREATE TABLE temp.mark (owner INTEGER PRIMARY KEY, above INTEGER)")
            try:
                if not self._index.damaged:
                    attach(connection, self._index.path, "derived")
            except sqlite3.Error:
                pass  # then it is asked in vain, and the messages are looked at one by one
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _looking(self) -> Iterator[sqlite3.Connection]:
        """One look: whatever is read inside is of one moment."""
        if self._generation != self._index.generation:
            self.drop()
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

    def read(
        self, identity: int, after: int, limit: int, private: bool = False, rooms: Sequence[int] = ()
    ) -> Page:
        """See :meth:`IJournal.read`; looks at no more than :data:`WINDOW` ids."""
        with self._looking() as connection:
            oldest, newest = connection.execute(SPAN).fetchone()
            start = min(max(after, oldest - 1), newest)
            upto = min(start + WINDOW, newest)
            query = _PRIVATE if private else _ROOMS if rooms else _PAGE
            more = (json.dumps([*rooms]),) if query is _ROOMS else ()
            messages: list[tuple[int, Entry]] = []
            # Runs are unpacked as far as the bound goes, and not as far as the limit: so it rises from step to step.
            end, step = start, upto - start if private else limit
            while len(messages) < limit and end < upto:
                begin, end, step = end, min(end + step, upto), 2 * step
                rows = connection.execute(
                    query, (identity, begin, end, limit - len(messages), *more)
                ).fetchall()
                messages += map(to_message, rows)
            gone = retracted(connection, messages)
        if len(messages) >= limit:
            upto = messages[-1][0]
        return Page(messages, upto, oldest, gone)

    def look_up(self, ids: Sequence[int]) -> list[Kept]:
        """See :meth:`IJournal.look_up`."""
        with self._looking() as connection:
            return look_up(connection, ids)

    def walk(self, walk: Walk) -> Stretch | None:
        """Take one look on the way to a page of a conversation; the page, if it is complete."""

        self._look_with_index(walk)
        return walk.stretch

    def count(self, count: Count) -> Sequence[Unread] | None:
        """Take one look on the way to counts of what is not read; these, if they are complete."""
        self._look_with_index(count)
        return count.answer

    def _look_with_index(self, errand: Walk | Count) -> None:
        """Take a look with the index, or without if it cannot be read."""
        if not self._index.damaged:
            try:
                with self._looking() as connection:

                    def ask(query: str, asked: tuple[object, ...]) -> list[Any]:
                        try:
                            return connection.execute(query, asked).fetchall()
                        except sqlite3.Error as error:
                            raise _Unindexed from error

                    # First the watermark and then the journal: so it is never ahead.
                    ((indexed,),) = ask("SELECT upto FROM derived.state", ())
                    errand.look(connection, ask, indexed, connection.execute(SPAN).fetchone(), WINDOW)
                return
            except _Unindexed as error:
                self._index.distrust(error.__cause__)
        with self._looking() as connection:
            errand.look(connection, lambda *_: [], 0, connection.execute(SPAN).fetchone(), WINDOW)

    def standings(self, ids: Sequence[int]) -> list[Standing]:
        """See :meth:`IJournal.standings`; in the order of their numbers."""
        with self._looking() as connection:
            return [to_standing(row) for row in connection.execute(_STANDINGS, (json.dumps([*ids]),))]

    def owed(self, id: int, room: int | None = None) -> list[Standing]:
        """See :meth:`IJournal.owed`; in the order of their numbers."""
        with self._looking() as connection:
            if room is None:
                rows = connection.execute(_OWED, (id, id))
            else:
                rows = connection.execute(_OWED_ROOM, (room, id, id))
            return [to_standing(row) for row in rows]

    def keys(
        self, since_ms: int, identities: Sequence[int], before: int | None
    ) -> tuple[list[OnceKey], int | None]:
        """See :meth:`IJournal.keys`; looks at no more than :data:`KEYS_WINDOW` ids.

        The end is a window with nothing but older messages: a clock that was set back in between is no reason to stop.
        """
        with self._looking() as connection:
            oldest, newest = connection.execute(SPAN).fetchone()
            end = newest if before is None else min(before - 1, newest)
            start = max(end - KEYS_WINDOW, oldest - 1)
            if end <= start or connection.execute(_ANY_SINCE, (start, end, since_ms)).fetchone() is None:
                return [], None
            # Of the many rows only those that count come up into Python; below it others may run.
            rows = connection.execute(_KEYS, (start, end, since_ms, json.dumps([*identities]))).fetchall()
        return [OnceKey(*row) for row in reversed(rows)], start + 1 if start >= oldest else None
