"""The durable journal: one SQLite file, one writer thread, one commit at a time.

Theory of operation. The reactor's thread hands a batch to the writer's thread, which commits and syncs it and
calls back (``callFromThread``). While a commit runs the next batch gathers: that is the caller's doing
(:class:`pychat.pump.Pump`), and it is what makes the cost of a sync a share for each message.

An error leaves nothing of the batch behind: the transaction is rolled back, the file is opened afresh before
the next try, and the caller hears ``journal-unavailable``. When the disk has room again the next append
succeeds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import JournalError
from ..interfaces import IJournal
from ..vocabulary import Entry
from .prune import Retention, prune_step
from .store import FILE_NAME, connect, lock_folder, open_journal

T = TypeVar("T")

_UNAVAILABLE = (
    "The message could not be kept and was not accepted: the chat's disk does not take it. Try again later."
)

IDENTITY_BITS = 32
"""Identities are numbered by the run of the daemon, and by so many bits within it."""

_INSERT = "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class _Worker:
    """One thread that does one job after the other, and answers on the reactor's thread."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[tuple[Callable[[], object], Deferred[Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], T]) -> Deferred[T]:
        answer: Deferred[T] = Deferred()
        self._jobs.put((job, answer))
        return answer

    def stop(self) -> None:
        """Finish what was asked for, and end; does not wait."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, answer = item
            try:
                result: object = job()
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(answer.callback, result)
            del item, job, answer, result


@implementer(IJournal)
class SqliteJournal:
    """Keeps everything in ``<folder>/journal.sqlite3``."""

    durable = True

    def __init__(self, reactor: Any, folder: Path, now_ms: int) -> None:
        """Open the journal; blocks, for the daemon has nothing else to do yet.

        :raise JournalError: see :func:`open_journal`; ``journal-in-use`` if another daemon has it.
        """
        self.path = folder / FILE_NAME
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(folder)
        try:
            self._connection: sqlite3.Connection | None = open_journal(self.path)
            (self.last_id,) = self._connection.execute("SELECT coalesce(max(id), 0) FROM message").fetchone()
            self.last_identity = self._start(self._connection, now_ms)
        except BaseException:
            self._lock.close()
            raise
        self._writer = _Worker(reactor, "journal-writer")

    def _start(self, connection: sqlite3.Connection, now_ms: int) -> int:
        """Reserve numbers for the identities of this run, far more than a run can have.

        This first commit also warms the file and its caches for those that people wait for.
        """
        try:
            row = connection.execute("INSERT INTO start (time_ms) VALUES (?)", (now_ms,))
        except sqlite3.Error as error:
            connection.close()
            raise JournalError(
                "journal-unavailable",
                f"Cannot write the journal {self.path}: {error}. Make room, or let this user write it.",
            ) from error
        return (row.lastrowid or 0) << IDENTITY_BITS

    def append(self, entries: Sequence[Entry]) -> Deferred[Sequence[int]]:
        """See :meth:`IJournal.append`."""
        return self._writer.do(lambda: self._append(entries))

    def _append(self, entries: Sequence[Entry]) -> Sequence[int]:
        first = self.last_id + 1
        ids = range(first, first + len(entries))
        rows = [
            (id, e.time_ms, e.sender, e.sender_name, e.to, e.to_name, e.once or None, e.text)
            for id, e in zip(ids, entries, strict=True)
        ]
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_INSERT, rows)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._drop()
            raise JournalError("journal-unavailable", _UNAVAILABLE) from error
        self.last_id += len(rows)
        return ids

    def prune(self, retention: Retention, now_ms: int) -> Deferred[int]:
        """Take one small step towards the bounds; fires with how many messages it deleted.

        An error is the next append's to tell: pruning then waits for better times, and 0 is the answer.
        """
        return self._writer.do(lambda: self._prune(retention, now_ms))

    def _prune(self, retention: Retention, now_ms: int) -> int:
        try:
            return prune_step(self._connected(), retention, now_ms)
        except sqlite3.Error:
            self._drop()
            return 0

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self.path)
        return self._connection

    def _drop(self) -> None:
        """After an error nothing of a connection is trusted; closing it rolls back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                pass

    def close(self) -> Deferred[None]:
        """See :meth:`IJournal.close`."""

        def finish() -> None:
            self._drop()
            self._lock.close()

        done = self._writer.do(finish)
        self._writer.stop()
        return done
