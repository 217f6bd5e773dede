"""A file on its way out: reads ahead, digests, and what becomes of the source."""

from __future__ import annotations

from typing import Any

from blake3 import blake3
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.digests import Digests
from pychat.errors import ShelfError
from pychat.sending import Sending
from pychat.transfer.terms import PIECE_BYTES, Done, Failed, Train
from tests.transferkit import CLIENT, Carrier, Engine, File, Later, make_content

PIECES = 3


class Asking(Engine):
    """An engine that wants to send a file: all of it, in blocks."""

    def __init__(self, size: int, block: int = PIECE_BYTES // 2) -> None:
        super().__init__(size=size)
        self.progress = 0
        self.max_rate = self.max_window = 0
        self.block = block
        self.at = 0
        self.supplied: list[tuple[int, int]] = []
        self.digests: dict[int, bytes] = {}
        self.known: set[int] = set()
        self.refused_sizes: list[int] = []
        self.again: list[tuple[int, int]] = []

    def wants(self) -> tuple[int, int] | None:
        if self.again:
            return self.again[0]
        if self.at < self.terms.size:
            return self.at, min(self.block, self.terms.size - self.at)
        return None

    def supply(self, offset: int, data: bytes) -> None:
        self.supplied.append((offset, len(data)))
        if (offset, len(data)) in self.again:
            self.again.remove((offset, len(data)))
        else:
            self.at = offset + len(data)

    def knows(self, index: int) -> bool:
        return index in self.known

    def pieces(self, first: int, digests: Any) -> None:
        for index, digest in enumerate(digests, first):
            self.digests[index] = digest
            self.known.add(index)

    def too_big(self, size: int, now: float) -> None:
        self.refused_sizes.append(size)


class SendingTests(SynchronousTestCase):
    """`Sending`."""

    def setUp(self) -> None:
        self.content = make_content(PIECES * PIECE_BYTES - 1000)
        self.file = File(self.content)
        self.engine: Any = Asking(len(self.content))
        self.carrier = Carrier()
        self.threads = Later()
        self.digests = Digests()
        self.sending = self.make()

    def make(self, **more: Any) -> Sending:
        return Sending(
            self.engine, self.file, self.carrier,
            reactor=Clock(), run_in_thread=self.threads, seconds=lambda: 0.0, **more,
        )  # fmt: skip

    def work(self) -> None:
        while self.threads.jobs:
            self.threads.work()

    def expected(self) -> dict[int, bytes]:
        return {
            index: blake3(self.content[index * PIECE_BYTES : (index + 1) * PIECE_BYTES]).digest()
            for index in range(PIECES)
        }

    def test_reads_ahead(self) -> None:
        """One read at a time, in the order in which the engine wants them; each piece is hashed on the way."""
        self.sending.start()
        self.assertEqual(self.sending.sender, self.engine)
        while self.threads.jobs:
            self.assertEqual(len(self.threads.jobs), 1)
            self.threads.work()
        self.assertEqual(self.file.reads, self.engine.supplied)
        self.assertEqual(sum(length for _, length in self.file.reads), len(self.content))
        self.assertEqual(self.engine.digests, self.expected())

    def test_known(self) -> None:
        """What is known is not hashed again; what comes in between by request disturbs nothing."""
        self.engine.known = {1}
        self.sending.start()
        self.threads.work()
        self.engine.again = [(PIECE_BYTES, PIECE_BYTES)]
        self.work()
        expected = self.expected()
        del expected[1]
        self.assertEqual(self.engine.digests, expected)
        self.assertIn((PIECE_BYTES, PIECE_BYTES), self.engine.supplied)

    def test_remembered(self) -> None:
        """The digests of a whole file are kept for the next who wants it, and forgotten when they are wrong."""
        self.sending = self.make(digests=self.digests, version="1")
        self.sending.start()
        self.work()
        self.assertEqual(self.digests.get("1"), tuple(self.expected().values()))
        self.sending.fail("cancelled", "No.")
        self.assertIsNotNone(self.digests.get("1"))
        self.sending = self.make(digests=self.digests, version="1")
        self.engine.outcome = None
        self.sending.fail("digest-mismatch", "No.")
        self.assertIsNone(self.digests.get("1"))

    def test_not_remembered(self) -> None:
        """Without a version nothing is kept, nor when some of it was never read."""
        self.sending = self.make(digests=self.digests)
        self.sending.start()
        self.work()
        self.engine = Asking(len(self.content))
        self.engine.known = {0}
        self.sending = self.make(digests=self.digests, version="1")
        self.sending.start()
        self.work()
        self.assertEqual(len(self.digests), 0)

    def test_too_long_to_be_remembered(self) -> None:
        """Of a file that is too long for that nothing is collected either."""
        self.sending = self.make(digests=Digests(limit=0), version="1")
        self.sending.start()
        self.work()
        self.assertEqual(self.engine.at, len(self.content))
        self.assertEqual(self.sending._found, {})

    def test_empty(self) -> None:
        """An empty file is looked at, and has no pieces."""
        self.file = File(b"")
        self.engine = Asking(0)
        self.engine.again = [(0, 0)]
        self.make().start()
        self.work()
        self.assertEqual((self.engine.supplied, self.engine.digests), ([(0, 0)], {}))

    def test_source_fails(self) -> None:
        """In the source's words; what nobody foresaw is logged."""
        self.file.error = ShelfError("source-changed", "It changed.")
        self.sending.start()
        self.work()
        self.assertEqual(self.sending.outcome, Failed("source-changed", "It changed."))
        self.engine = Asking(len(self.content))
        self.file.error = ValueError("oops")
        self.sending = self.make()
        self.sending.start()
        self.work()
        assert isinstance(self.sending.outcome, Failed)
        self.assertEqual(self.sending.outcome.code, "read-failed")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.file.closed, 2)

    def test_short_read(self) -> None:
        """A source that does not keep its word is a fault."""
        self.file.content = b"x"
        self.sending.start()
        self.work()
        assert isinstance(self.sending.outcome, Failed)
        self.assertEqual(self.sending.outcome.code, "read-failed")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_held(self) -> None:
        """While it waits for its turn the engine is paused and nothing is read; another's pause outlives that."""
        self.sending.start()
        self.sending.hold(True)
        self.sending.hold(True)
        self.work()
        self.assertEqual((len(self.file.reads), self.engine.paused, self.sending.resting), (1, True, False))
        self.assertTrue(self.engine.waits)
        self.sending.pause(True)
        self.assertFalse(self.engine.waits)
        self.sending.hold(False)
        self.assertEqual((self.engine.paused, self.sending.resting), (True, True))
        self.sending.pause(False)
        self.work()
        self.assertEqual((self.engine.paused, self.engine.at), (False, len(self.content)))

    def test_too_big(self) -> None:
        """The engine hears of a size that cannot leave."""
        self.carrier.fits = False
        self.engine.trains = [[Train([b"abc"], 3, CLIENT)]]
        self.sending.start()
        self.assertEqual(self.engine.refused_sizes, [3])

    def test_closed_in_the_end(self) -> None:
        """The source is closed once, in a thread, and no progress is lost."""
        told: list[tuple[int, int]] = []
        self.sending.progress = lambda *what: told.append(what)
        self.sending.start()
        self.work()
        self.engine.progress = 7
        self.engine.end(Done())
        self.sending.turn()
        self.assertEqual(self.file.closed, 0)
        self.work()
        self.assertEqual((self.file.closed, told[-1]), (1, (7, len(self.content))))


class DigestsTests(SynchronousTestCase):
    """`Digests`: bounded."""

    def test_least_recently_used(self) -> None:
        """The one that nobody asked for goes first."""
        digests = Digests(limit=8)
        for version in "abcd":
            digests.put(version, [version.encode()] * 2)
        self.assertEqual(digests.get("a"), (b"a", b"a"))
        digests.put("e", [b"e"])
        self.assertIsNone(digests.get("b"))
        self.assertEqual(len(digests), 7)
        self.assertIsNotNone(digests.get("a"))

    def test_too_long(self) -> None:
        """One that would push out all others is not kept; what was kept under that version goes."""
        digests = Digests(limit=8)
        digests.put("a", [b"a"] * 2)
        digests.put("a", [b"a"] * 3)
        self.assertEqual((digests.get("a"), len(digests)), (None, 0))
        digests.put("empty", [])
        self.assertEqual(digests.get("empty"), ())
        digests.forget("empty")
        digests.forget("empty")
        self.assertIsNone(digests.get("empty"))
