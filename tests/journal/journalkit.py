"""What the tests of journals share: a reactor that is turned by hand, and facts to keep."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pychat.journal.memory import MemoryJournal
from pychat.journal.sqlite import SqliteJournal
from pychat.vocabulary import Entry, Kind, Standing, Texts

NOON_MS = 1_800_000_000_000
DAY_MS = 86_400_000


class Reactor(Clock):
    """Time stands still, and calls from other threads wait here, until the test goes on."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[tuple[Callable[..., object], tuple[object, ...]]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        self._calls.put((function, args))

    def wait(self, deferred: Deferred[Any]) -> Any:
        """Take calls until this one has fired; its result, or its exception raised."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        while not results:
            function, args = self._calls.get(timeout=20)
            function(*args)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]


class Case(SynchronousTestCase):
    """A folder for a durable journal."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "state"
        self.reactor = Reactor()

    def open(self, now_ms: int = NOON_MS) -> SqliteJournal:
        return SqliteJournal(self.reactor, self.folder, now_ms)

    def close(self, journal: SqliteJournal) -> None:
        self.reactor.wait(journal.close())


def message(
    sender: int = 1,
    to: int | None = None,
    text: bytes = b"hi",
    once: bytes = b"",
    time_ms: int = NOON_MS,
    kind: int = Kind.SAID,
    ref: int = 0,
    blocked: bool = False,
) -> Entry:
    """Identity 2 is called n2, and room -2 #r2."""
    to_name = None if to is None else f"n{to}" if to > 0 else f"#r{-to}"
    return Entry(time_ms, sender, f"n{sender}", to, to_name, text, once, kind, ref, blocked)


def texts(*said: bytes, sender: int = 1, time_ms: int = NOON_MS) -> Texts:
    """What identity 1 says to everybody at once, unless told otherwise."""
    return Texts(time_ms, sender, f"n{sender}", said)


def follows(entry: Entry, before: Entry) -> bool:
    """Whether both can be in one :class:`Texts`."""
    bare = entry._replace(text=b"")
    plain = bare == message(entry.sender, text=b"", time_ms=entry.time_ms)
    return (
        plain
        and bare == before._replace(text=b"")
        and (before.text + entry.text).decode(errors="surrogateescape").isprintable()
    )


def in_runs(entries: Iterable[Entry]) -> list[Entry | Texts]:
    """The same as a busy daemon gives it to the journal: neighbours that can be together are."""
    groups: list[list[Entry]] = []
    for entry in entries:
        if groups and follows(entry, groups[-1][-1]):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return [
        some[0]
        if len(some) == 1
        else texts(*(each.text for each in some), sender=some[0].sender, time_ms=some[0].time_ms)
        for some in groups
    ]


def standing(id: int, **fields: Any) -> Standing:
    """An identity that can come back, unless told otherwise."""
    return Standing(**{
        "id": id, "name": f"n{id}", "joined": 0, "plain": False, "resumes": True, "token": b"%032d" % id,
        "time_ms": NOON_MS, **fields,
    })  # fmt: skip


class OnDisk(SynchronousTestCase):
    """Tests of a durable journal; one is open at a time."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(self.close)
        self.folder = Path(folder.name)
        self.made = 0
        self.journal: SqliteJournal | None = None

    def make(self) -> SqliteJournal:
        self.close()
        self.made += 1
        self.journal = SqliteJournal(self.reactor, self.folder / str(self.made), NOON_MS)
        return self.journal

    def close(self) -> None:
        journal, self.journal = self.journal, None
        if journal is not None:
            self.wait(journal.close())

    def wait(self, deferred: Deferred[Any]) -> Any:
        return self.reactor.wait(deferred)

    def settle(self, journal: SqliteJournal) -> None:
        """The index has all."""
        self.wait(journal._indexing.catch_up())


class InMemory(SynchronousTestCase):
    """Tests of the journal in memory."""

    def make(self) -> MemoryJournal:
        return MemoryJournal()

    def wait(self, deferred: Deferred[Any]) -> Any:
        return self.successResultOf(deferred)

    def settle(self, journal: MemoryJournal) -> None:
        """There is no index."""
