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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, gatherResults
from zope.interface import implementer

from ..errors import JournalError
from ..interfaces import IJournal
from ..vocabulary import (
    Entry,
    Found,
    Kept,
    Kind,
    OnceKey,
    Page,
    Place,
    Query,
    RoomRecord,
    Standing,
    Stay,
    Stretch,
    Texts,
    Unread,
)
from . import rooms
from .batch import Batch
from .history import Walk
from .index import Index
from .indexing import Indexing
from .prune import Retention, forget_step, prune_step
from .reader import Reader
from .rows import LIVING, STANDING, to_standing
from .runs import OLDEST, SPAN
from .search import Searcher
from .store import FILE_NAME, Handle, connect, lock_folder, open_journal
from .unread import Count
from .worker import Worker

T = TypeVar("T")

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
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(folder)
        try:
            connection = open_journal(self.path)
            _, self.last_id = connection.execute(SPAN).fetchone()
            self.oldest = self._find_oldest(connection)
            index = self._open_index()
            self._start(connection, index, now_ms)
            self._handle = Handle(lambda: connect(self.path), connection)
        except BaseException:
            self._lock.close()
            raise
        self._closing = False
        self._writer = Worker(reactor, "journal-writer")
        self._looks = Reader(self.path, index)
        self._reader = Worker(reactor, "journal-reader")
        self._searches = Searcher(index, self.path)
        self._searcher = Worker(reactor, "journal-searcher")
        self._indexing = Indexing(reactor, index, self.last_id, self._let_go)
        self._indexing.appended(self.last_id)
        self._indexing.sweep()

    def _open_index(self) -> Index:
        index = Index(self.path)
        try:
            index.open()
        except (OSError, sqlite3.Error):
            pass  # a chat without an index is only slower; it is tried again
        return index

    def _find_oldest(self, connection: sqlite3.Connection) -> int:
        oldest: int | None = connection.execute(f"SELECT {OLDEST}").fetchone()[0]
        return oldest or self.last_id + 1

    def _start(self, connection: sqlite3.Connection, index: Index, now_ms: int) -> None:
        """Reserve numbers for the identities of this run, far more than a run can have.

        Those of earlier runs that cannot come back ended with their run at the latest, also if it had no time to
        say so.  This first commit also warms the file and its caches for those that people wait for.
        """
        try:
            newest = self._newest_in_rooms(connection, index)
            connection.execute("BEGIN IMMEDIATE")
            start = connection.execute("INSERT INTO start (time_ms) VALUES (?)", (now_ms,))
            connection.execute(
                "UPDATE identity SET left_id = ?, time_ms = ? WHERE left_id IS NULL AND NOT resumes",
                (self.last_id, now_ms),
            )
            rooms.end_stays(connection, self.last_id)
            rooms.forget_rooms(connection, newest)
            connection.execute("COMMIT")
            living = connection.execute(f"SELECT {STANDING} FROM identity WHERE {LIVING}").fetchall()  # noqa: S608
            self.rooms: Sequence[RoomRecord] = rooms.load_rooms(connection, newest)
            self.stays: Sequence[Stay] = rooms.load_stays(connection)
            self.last_room = rooms.last_room(connection)
        except sqlite3.Error as error:
            connection.close()
            raise JournalError(
                "journal-unavailable",
                f"Cannot write the journal {self.path}: {error}. Make room, or let this user write it.",
            ) from error
        self.living: Sequence[Standing] = [to_standing(row) for row in living]
        self.last_identity = (start.lastrowid or 0) << IDENTITY_BITS

    def _newest_in_rooms(self, connection: sqlite3.Connection, index: Index) -> dict[int, int]:
        """What is the newest message in each room: mostly from the index; if there is none, all are read."""
        numbers = rooms.numbers(connection)
        if not numbers:
            return {}
        newest: dict[int, int] = {}
        upto = self.oldest - 1
        try:
            newest = index.newest_in_rooms(numbers, self.oldest)
            upto = max(upto, index.upto)
        except (OSError, sqlite3.Error) as error:
            index.distrust(error)
        return newest | rooms.newest_in_rooms(connection, upto)

    def append(
        self, entries: Sequence[Entry | Texts], standings: Sequence[Standing] = ()
    ) -> Deferred[Sequence[int]]:
        """See :meth:`IJournal.append`."""
        # Made into rows here: the writer's thread had to ask for Python's lock, and the reactor would wait for it.
        try:
            batch = Batch(self.last_id + 1, entries, standings)
        except Exception:
            return fail()
        appending = self._writer.do(lambda: self._append(batch))
        appending.addCallback(self._appended)
        return appending

    def _appended(self, ids: Sequence[int]) -> Sequence[int]:
        if ids:
            self._indexing.appended(ids[-1])
        return ids

    def _append(self, batch: Batch) -> Sequence[int]:
        if batch.first != self.last_id + 1:
            raise RuntimeError("one append at a time: these ids were given to another one")
        try:
            batch.write(self._handle.get())
        except BaseException as error:
            self._handle.drop()
            if isinstance(error, sqlite3.Error):
                raise JournalError("journal-unavailable", _UNAVAILABLE) from error
            raise
        self.last_id = batch.behind - 1
        for _, entry in batch.special:
            if entry.kind == Kind.JOIN:
                self.last_room = min(self.last_room, entry.to or 0)
        return range(batch.first, batch.behind)

    def read(
        self, identity: int, after: int, limit: int, private: bool = False, rooms: Sequence[int] = ()
    ) -> Deferred[Page]:
        """See :meth:`IJournal.read`."""
        return self._reader.do(lambda: self._looks.read(identity, after, limit, private, rooms))

    def look_up(self, ids: Sequence[int]) -> Deferred[Sequence[Kept]]:
        """See :meth:`IJournal.look_up`."""
        return self._reader.do(lambda: self._looks.look_up(ids))

    def history(self, place: Place, before: int | None, after: int | None, limit: int) -> Deferred[Stretch]:
        """See :meth:`IJournal.history`."""
        return Deferred.fromCoroutine(self._walk(Walk(place, before, after, limit)))

    async def _walk(self, walk: Walk) -> Stretch:
        while True:
            stretch = await self._look(lambda: self._looks.walk(walk))
            if stretch is not None:
                return stretch

    def search(self, query: Query) -> Deferred[Found]:
        """See :meth:`IJournal.search`."""
        return Deferred.fromCoroutine(self._search(query))

    async def _search(self, query: Query) -> Found:
        await self._indexing.catch_up()
        try:
            return await self._searcher.do(lambda: self._searches.search(query))
        finally:
            self._indexing.look_after()

    def unread(
        self, identity: int, after: int, marks: Sequence[tuple[Place, int]], without: frozenset[str]
    ) -> Deferred[Sequence[Unread]]:
        """See :meth:`IJournal.unread`."""
        return Deferred.fromCoroutine(self._count(Count(identity, after, marks, without)))

    async def _count(self, count: Count) -> Sequence[Unread]:
        while True:
            answer = await self._look(lambda: self._looks.count(count))
            if answer is not None:
                return answer

    async def _look(self, look: Callable[[], T]) -> T:
        """One look of several, with others in between."""
        if self._closing:
            raise JournalError("journal-unavailable", "The chat is stopping.")
        answer = await self._reader.do(look)
        self._indexing.look_after()
        return answer

    def _let_go(self) -> Deferred[Any]:
        """Close what reads the index; it is opened again when it is needed."""
        return gatherResults([self._searcher.do(self._searches.drop), self._reader.do(self._looks.drop)])

    def standings(self, ids: Sequence[int]) -> Deferred[Sequence[Standing]]:
        """See :meth:`IJournal.standings`."""
        return self._reader.do(lambda: self._looks.standings(ids))

    def owed(self, id: int, room: int | None = None) -> Deferred[Sequence[Standing]]:
        """See :meth:`IJournal.owed`."""
        return self._reader.do(lambda: self._looks.owed(id, room))

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
        pruning = self._writer.do(lambda: self._prune(retention, now_ms))
        pruning.addCallback(self._pruned)
        return pruning

    def _prune(self, retention: Retention, now_ms: int) -> int:
        try:
            connection = self._handle.get()
            count = prune_step(connection, retention, now_ms) + forget_step(connection, now_ms)
            self.oldest = self._find_oldest(connection)
        except sqlite3.Error:
            self._handle.drop()
            return 0
        return count

    def _pruned(self, count: int) -> int:
        # Also what a program beside this one has deleted; while there is more to delete, the index can wait.
        if not count:
            self._indexing.sweep()
        return count

    def close(self) -> Deferred[None]:
        """See :meth:`IJournal.close`."""

        def finish() -> None:
            self._handle.drop()
            self._lock.close()

        self._closing = True
        self._indexing.halt()
        done = self._searcher.stop(self._searches.drop)
        done.addBoth(lambda _: self._reader.stop(self._looks.drop))
        # Those that write go last: they can clear the write-ahead logs away, and those that read cannot.
        done.addBoth(lambda _: self._indexing.close())
        done.addBoth(lambda _: self._writer.stop(finish))
        return done
