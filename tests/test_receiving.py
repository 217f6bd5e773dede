"""A file on its way in: what is written when, and how it ends."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.errors import TransferError
from pychat.receiving import WRITE_BYTES, WRITE_SECONDS, Receiving
from pychat.transfer.terms import Done, Failed
from tests.transferkit import CLIENT, Carrier, Engine, Later


class Taking(Engine):
    """An engine that has taken what the test says."""

    def __init__(self, size: int) -> None:
        super().__init__(size=size)
        self.runs: list[tuple[int, list[bytes]]] = []
        self.received = 0
        self.complete = False
        self.root = b"root"
        self.written_bytes: list[int] = []
        self.hashes: list[Any] = []
        self.hurried: list[float] = []

    def take(self, nbytes: int) -> None:
        self.runs.append((self.received, [bytes(nbytes)]))
        self.received += nbytes

    @property
    def waiting(self) -> int:
        return sum(len(buffer) for _, buffers in self.runs for buffer in buffers)

    def take_writes(self) -> list[tuple[int, list[bytes]]]:
        runs, self.runs = self.runs, []
        return runs

    def written(self, nbytes: int) -> None:
        self.written_bytes.append(nbytes)

    def hashed(self, pieces: Any) -> None:
        self.hashes.extend(pieces)

    def verified(self) -> None:
        self.end(Done())

    def hurry(self, now: float) -> None:
        self.hurried.append(now)


class Written:
    def __init__(self, nbytes: int, pieces: Any) -> None:
        self.nbytes = nbytes
        self.pieces = pieces


class Part:
    """A part file that keeps nothing.

    :ivar done: what was done to it.
    :ivar checks: how many more checks it wants.
    """

    path = "a file"

    def __init__(self, checks: int = 0) -> None:
        self.done: list[str] = []
        self.checks = checks
        self.error: Exception | None = None

    @property
    def behind(self) -> bool:
        return self.checks > 0

    def write(self, writes: Any) -> Written:
        self.done.append("write")
        if self.error is not None:
            raise self.error
        return Written(sum(len(buffer) for _, buffers in writes for buffer in buffers), [(0, b"digest")])

    def check(self) -> list[tuple[int, bytes]]:
        self.done.append("check")
        self.checks -= 1
        return [(self.checks, b"checked")]

    def finish(self, root: bytes) -> bytes:
        self.done.append(f"finish {root.decode()}")
        return b"sha256"


class ReceivingTests(SynchronousTestCase):
    """`Receiving`."""

    def make(self, size: int = 10 * WRITE_BYTES, checks: int = 0, proven: Any = CLIENT) -> None:
        self.clock = Clock()
        self.engine: Any = Taking(size)
        self.engine.proven = proven
        self.part = Part(checks)
        self.threads = Later()
        self.receiving = Receiving(
            self.engine, self.part, Carrier(),
            reactor=self.clock, run_in_thread=self.threads, seconds=self.clock.seconds,
        )  # fmt: skip
        self.running = self.receiving.start()

    def take(self, nbytes: int) -> None:
        self.engine.take(nbytes)
        self.receiving.turn()

    def work(self) -> None:
        while self.threads.jobs:
            self.threads.work()

    def test_writes_much_at_once(self) -> None:
        """A write waits until it is worth a thread's while; what comes meanwhile goes into the next one."""
        self.make()
        self.assertEqual((self.receiving.receiver, self.receiving.name), (self.engine, "a file"))
        self.take(WRITE_BYTES - 1)
        self.assertEqual(self.threads.jobs, [])
        self.take(1)
        self.assertEqual(len(self.threads.jobs), 1)
        self.take(WRITE_BYTES)
        self.take(WRITE_BYTES)
        self.assertEqual(len(self.threads.jobs), 1)
        self.work()
        self.assertEqual(self.engine.written_bytes, [WRITE_BYTES, 2 * WRITE_BYTES])
        self.assertEqual(self.engine.hashes, [(0, b"digest")] * 2)
        self.assertEqual(self.part.done, ["write"] * 2)

    def test_writes_little_after_a_while(self) -> None:
        """On a slow link what has come is on the disk soon, too."""
        self.make()
        self.take(10)
        self.clock.advance(WRITE_SECONDS / 2)
        self.take(10)
        self.assertEqual(self.threads.jobs, [])
        self.clock.advance(WRITE_SECONDS / 2)
        self.work()
        self.assertEqual(self.engine.written_bytes, [20])
        self.clock.advance(10)
        self.assertEqual(self.threads.jobs, [])

    def test_the_end(self) -> None:
        """The last bytes wait for nothing; when all agrees it gets its name, and then the sender hears."""
        told: list[tuple[int, int]] = []
        self.make(size=10)
        self.receiving.progress = lambda *what: told.append(what)
        self.take(10)
        self.work()
        self.assertEqual(self.part.done, ["write"])
        self.engine.complete = True
        self.clock.advance(1.0)
        self.receiving.turn()
        self.engine.last_word = False
        self.work()
        self.assertEqual(self.part.done, ["write", "finish root"])
        self.assertEqual(self.successResultOf(self.running), Done())
        self.assertEqual((self.receiving.sha256, self.receiving.ended), (b"sha256", 1.0))
        self.assertEqual(told[-1], (10, 10))

    def finish(self) -> None:
        """All is written; the thread is about to give the file its name."""
        self.make(size=10)
        self.ends: list[Any] = []
        self.receiving.concluded = self.ends.append
        self.take(10)
        self.work()
        self.engine.complete = True
        self.receiving.turn()
        self.assertEqual(len(self.threads.jobs), 1)

    def test_given_up_in_the_last_moment(self) -> None:
        """Who gives up while the file gets its name comes too late: it is there, and everybody is told so."""
        for gone in (False, True):
            self.finish()
            if gone:
                self.receiving.abandon("stream-lost", "Gone.")
            else:
                self.receiving.fail("cancelled", "No.")
            self.assertEqual(self.ends, [])
            self.assertNoResult(self.running)
            self.engine.last_word = False
            self.work()
            self.assertEqual(self.successResultOf(self.running), Done())
            self.assertEqual((self.ends, self.receiving.sha256), ([Done()], b"sha256"))

    def test_given_up_and_failed(self) -> None:
        """If it does not get it, the first reason counts."""
        for gone in (False, True):
            self.finish()
            if gone:
                self.receiving.abandon("stream-lost", "Gone.")
            else:
                self.receiving.fail("cancelled", "No.")
                self.engine.closed = True
            self.patch(self.part, "finish", mock.Mock(side_effect=TransferError("exists", "There.")))
            self.threads.jobs = [(done, self.part.finish, what) for done, _, what in self.threads.jobs]
            self.work()
            outcome = self.successResultOf(self.running)
            self.assertEqual(outcome, Failed("stream-lost", "Gone.") if gone else Failed("cancelled", "No."))
            self.assertEqual(self.ends, [outcome])

    def test_checks_what_was_there(self) -> None:
        """Pieces of an earlier attempt are looked at in between, so that neither has to wait for long."""
        self.make(checks=3)
        self.take(WRITE_BYTES)
        self.threads.work()
        self.take(WRITE_BYTES)
        self.threads.work()
        self.threads.work()
        self.work()
        self.assertEqual(self.part.done, ["check", "write", "check", "write", "check"])
        self.assertEqual(self.engine.hashes[0], (2, b"checked"))

    def test_not_before_it_is_claimed(self) -> None:
        """Nothing is read for who has not shown that she is there."""
        self.make(checks=1)
        self.threads.jobs.clear()
        self.make(checks=1, proven=None)
        self.assertEqual(self.threads.jobs, [])

    def test_inherits(self) -> None:
        """Who goes on with a part knows what was found out about it."""
        self.make(checks=3)
        self.threads.work()
        retired = self.receiving.retire()
        self.assertNoResult(retired)
        before = self.receiving
        later = Receiving(
            Taking(10), self.part, Carrier(),
            reactor=self.clock, run_in_thread=self.threads, seconds=self.clock.seconds,
        )  # fmt: skip
        later.inherit(before)
        self.threads.work()
        self.successResultOf(retired)
        later.start()
        self.work()
        self.assertEqual(later.engine.hashes, [(2, b"checked"), (1, b"checked"), (0, b"checked")])

    def test_full_disk(self) -> None:
        """The part's own words."""
        self.make()
        self.part.error = TransferError("disk-full", "No room.")
        self.take(WRITE_BYTES)
        self.work()
        self.assertEqual(self.receiving.outcome, Failed("disk-full", "No room."))

    def test_broken_disk(self) -> None:
        """What nobody foresaw is logged."""
        self.make()
        self.part.error = ValueError("oops")
        self.take(WRITE_BYTES)
        self.work()
        assert isinstance(self.receiving.outcome, Failed)
        self.assertEqual(self.receiving.outcome.code, "cannot-write")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_hurry(self) -> None:
        """When the line is lost the engine asks whether the peer is still there."""
        self.make()
        self.clock.advance(3)
        self.receiving.hurry()
        self.assertEqual(self.engine.hurried, [3.0])
