"""What a sender holds of its file."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.congestion import SentPacket
from pychat.transfer.outgoing import BLOCK_BYTES, Outgoing
from tests.transfer.link import make_content


class OutgoingTests(SynchronousTestCase):
    """`Outgoing`."""

    def setUp(self) -> None:
        self.content = make_content(2 * BLOCK_BYTES + 100)
        self.outgoing = Outgoing(len(self.content))
        self.outgoing.limit = 10**9

    def supply(self) -> None:
        wanted = self.outgoing.wants(0, 10**9)
        assert wanted is not None
        self.outgoing.supply(wanted[0], self.content[wanted[0] : sum(wanted)])

    def packet(self, start: int, end: int) -> SentPacket:
        return SentPacket(0, 0.0, 0, start, end)

    def test_reads(self) -> None:
        """It wants one block after the other, the last one short, and then no more."""
        wanted = []
        while (want := self.outgoing.wants(10**9, 10**9)) is not None:
            wanted.append(want)
            self.supply_all(want)
        self.assertEqual(wanted, [(0, BLOCK_BYTES), (BLOCK_BYTES, BLOCK_BYTES), (2 * BLOCK_BYTES, 100)])

    def supply_all(self, want: tuple[int, int]) -> None:
        self.outgoing.supply(want[0], self.content[want[0] : sum(want)])

    def test_read_ahead(self) -> None:
        """It reads two blocks ahead of what was sent, and no more than it may hold."""
        self.supply()
        self.supply()
        self.assertIsNone(self.outgoing.wants(0, 10**9))
        self.outgoing.cut(0, BLOCK_BYTES, BLOCK_BYTES)
        self.assertIsNone(self.outgoing.wants(0, 0))
        self.assertEqual(self.outgoing.wants(0, 10**9), (2 * BLOCK_BYTES, 100))

    def test_wrong_bytes(self) -> None:
        """What was not asked for is refused."""
        self.assertRaises(ValueError, self.outgoing.supply, BLOCK_BYTES, bytes(BLOCK_BYTES))
        self.assertRaises(ValueError, self.outgoing.supply, 0, bytes(5))

    def test_cuts(self) -> None:
        """What is sent is cut to the room, and at the end of a block."""
        self.supply()
        self.supply()
        start = BLOCK_BYTES - 10
        self.outgoing.cut(0, start, start)
        self.assertEqual(self.outgoing.due(), (start, 2 * BLOCK_BYTES))
        self.assertEqual(self.outgoing.cut(start, 2 * BLOCK_BYTES, 1000), self.content[start:BLOCK_BYTES])
        self.assertEqual(self.outgoing.due(), (BLOCK_BYTES, 2 * BLOCK_BYTES))
        self.assertEqual(len(self.outgoing.cut(BLOCK_BYTES, 2 * BLOCK_BYTES, 1000)), 1000)

    def test_limit(self) -> None:
        """Nothing new is due beyond what the peer takes."""
        self.supply()
        self.outgoing.limit = 50
        self.assertEqual(self.outgoing.due(), (0, 50))
        self.outgoing.cut(0, 50, 100)
        self.assertEqual(self.outgoing.due(), (50, 50))

    def test_lost(self) -> None:
        """What is lost goes before what is new, but for what arrived otherwise."""
        self.supply()
        self.outgoing.cut(0, 3000, 3000)
        self.outgoing.arrived([self.packet(500, 600)])
        self.outgoing.lost([self.packet(0, 1000)])
        self.assertEqual(self.outgoing.due(), (0, 500))
        self.assertFalse(self.outgoing.last)
        self.assertEqual(self.outgoing.missing(500, 700), (600, 700))
        self.assertEqual(self.outgoing.missing(500, 600), (500, 500))
        self.outgoing.arrived([self.packet(0, 400)])
        self.assertEqual(self.outgoing.due(), (400, 500))
        self.outgoing.cut(400, 500, 1000)
        self.assertEqual(self.outgoing.due(), (600, 1000))
        self.assertTrue(self.outgoing.last)
        self.outgoing.cut(600, 1000, 1000)
        self.assertEqual(self.outgoing.due(), (3000, BLOCK_BYTES))

    def test_memory(self) -> None:
        """A block goes when all of it has arrived, and not before everything below it has."""
        while self.outgoing.wants(10**9, 10**9):
            self.supply_all(self.outgoing.wants(10**9, 10**9) or (0, 0))
        self.assertEqual(self.outgoing.held, len(self.content))
        self.outgoing.cut(0, len(self.content), len(self.content))
        self.outgoing.arrived([self.packet(10, BLOCK_BYTES + 10)])
        self.assertEqual((self.outgoing.held, self.outgoing.progress), (len(self.content), 0))
        self.outgoing.arrived([self.packet(0, 10)])
        self.assertEqual(self.outgoing.held, BLOCK_BYTES + 100)
        self.assertEqual(self.outgoing.progress, BLOCK_BYTES + 10)
        self.outgoing.arrived([self.packet(0, 0), self.packet(BLOCK_BYTES + 10, len(self.content))])
        self.assertEqual(self.outgoing.held, 0)
        self.assertEqual(self.outgoing.progress, len(self.content))

    def test_clear(self) -> None:
        """At the end nothing is held."""
        self.supply()
        self.outgoing.cut(0, 1000, 1000)
        self.outgoing.lost([self.packet(0, 1000)])
        self.outgoing.clear()
        self.assertEqual((self.outgoing.held, self.outgoing.due()), (0, (1000, 1000)))
