"""The durable journal: one SQLite file, one thread that writes, one that reads, one commit at a time.

Theory of operation. The reactor's thread hands a batch to the writer's thread, which commits and syncs it and
calls back (``callFromThread``). While a commit runs the next batch gathers: that is the caller's doing
(:class:`pychat.pump.Pump`), and it is what makes the cost of a sync a share for each message.

An error leaves nothing of the batch behind: the transaction is rolled back, the file is opened afresh before
the next try, and the caller hears ``journal-unavailable``. When the disk has room again the next append
succeeds.

How identities stand is kept in the same commit as the messages: after a crash no cursor is ahead of what was
accepted. What is read (:class:`pychat.journal.reader.Reader`) is read in another thread, and waits for no commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..errors import JournalError
from ..interfaces import IJournal
from ..vocabulary import Entry, OnceKey, Page, Standing
from .prune import Retention, forget_step, prune_step
from .reader import Reader
from .rows import INSERT_MESSAGE, LIVING, REPLACE_STANDING, STANDING, message_rows, standing_row, to_standing
from .store import FILE_NAME, Handle, connect, lock_folder, open_journal
from .worker import Worker

_UNAVAILABLE = (
    "The message could not be kept and was not accepted: the chat's disk does not take it. Try again later."
)

IDENTITY_BITS = 32
"""Identities are numbered by the run of the daemon, and by so many bits within it."""


@implementer(IJournal)
class SqliteJournal:
    """Keeps everything in ``<folder>/journal.sqlite3``."""

    durable = True

    def __init__(self, reactor: Any, folder: Path, now_ms: int) -> None:
        """Open the journal; blocks, for the daemon has nothing else to do yet.

        :raise JournalError: see :func:`open_journal`; ``journal-in-use`` if another daemon has it.
        """
        self.path = folder / FILE_NAME
        self.living: Sequence[Standing] = ()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(folder)
        try:
            connection = open_journal(self.path)
            (self.last_id,) = connection.execute("SELECT coalesce(max(id), 0) FROM message").fetchone()
            self.last_identity = self._start(connection, now_ms)
            self._handle = Handle(lambda: connect(self.path), connection)
        except BaseException:
            self._lock.close()
            raise
        self._writer = Worker(reactor, "journal-writer")
        self._looks = Reader(self.path)
        self._reader = Worker(reactor, "journal-reader")

    def _start(self, connection: sqlite3.Connection, now_ms: int) -> int:
        """Reserve numbers for the identities of this run, far more than a run can have.

        Those of earlier runs that cannot come back ended with their run at the latest, also if it had no time to
        say so.  This first commit also warms the file and its caches for those that people wait for.
        """
        try:
            connection.execute("BEGIN IMMEDIATE")
            start = connection.execute("INSERT INTO start (time_ms) VALUES (?)", (now_ms,))
            connection.execute(
                "UPDATE identity SET left_id = ?, time_ms = ? WHERE left_id IS NULL AND NOT resumes",
                (self.last_id, now_ms),
            )
            connection.execute("COMMIT")
            living = connection.execute(f"SELECT {STANDING} FROM identity WHERE {LIVING}").fetchall()  # noqa: S608
        except sqlite3.Error as error:
            connection.close()
            raise JournalError(
                "journal-unavailable",
                f"Cannot write the journal {self.path}: {error}. Make room, or let this user write it.",
            ) from error
        self.living = [to_standing(row) for row in living]
        return (start.lastrowid or 0) << IDENTITY_BITS

    def append(self, entries: Sequence[Entry], standings: Sequence[Standing] = ()) -> Deferred[Sequence[int]]:
        """See :meth:`IJournal.append`."""
        return self._writer.do(lambda: self._append(entries, standings))

    def _append(self, entries: Sequence[Entry], standings: Sequence[Standing]) -> Sequence[int]:
        first = self.last_id + 1
        ids = range(first, first + len(entries))
        rows = message_rows(ids, entries)
        try:
            connection = self._handle.get()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT_MESSAGE, rows)
            connection.executemany(REPLACE_STANDING, map(standing_row, standings))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._handle.drop()
            raise JournalError("journal-unavailable", _UNAVAILABLE) from error
        self.last_id += len(rows)
        return ids

    def read(self, identity: int, after: int, limit: int, private: bool = False) -> Deferred[Page]:
        """See :meth:`IJournal.read`."""
        return self._reader.do(lambda: self._looks.read(identity, after, limit, private))

    def standings(self, ids: Sequence[int]) -> Deferred[Sequence[Standing]]:
        """See :meth:`IJournal.standings`."""
        return self._reader.do(lambda: self._looks.standings(ids))

    def owed(self, id: int) -> Deferred[Sequence[Standing]]:
        """See :meth:`IJournal.owed`."""
        return self._reader.do(lambda: self._looks.owed(id))

    def keys(
        self, since_ms: int, identities: Sequence[int], before: int | None
    ) -> Deferred[tuple[Sequence[OnceKey], int | None]]:
        """See :meth:`IJournal.keys`."""
        return self._reader.do(lambda: self._looks.keys(since_ms, identities, before))

    def prune(self, retention: Retention, now_ms: int) -> Deferred[int]:
        """Take one small step towards the bounds; fires with how much it deleted, 0 when there is nothing more.

        Identities that ended long ago are forgotten by it too, whatever the bounds of messages are.

        An error is the next append's to tell: pruning then waits for better times, and 0 is the answer.
        """
        return self._writer.do(lambda: self._prune(retention, now_ms))

    def _prune(self, retention: Retention, now_ms: int) -> int:
        try:
            connection = self._handle.get()
            return prune_step(connection, retention, now_ms) + forget_step(connection, now_ms)
        except sqlite3.Error:
            self._handle.drop()
            return 0

    def close(self) -> Deferred[None]:
        """See :meth:`IJournal.close`."""

        def finish() -> None:
            self._handle.drop()
            self._lock.close()

        # The writer's connection goes last: it can clear the write-ahead log away, and the reader's cannot.
        done = self._reader.stop(self._looks.drop)
        done.addBoth(lambda _: self._writer.stop(finish))
        return done
