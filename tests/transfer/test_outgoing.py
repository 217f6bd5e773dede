"""What a sender holds of its file."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.outgoing import BLOCK_BYTES, LARGE_BLOCK_BYTES, Outgoing
from pychat.transfer.recovery import Flight
from tests.transfer.offers import make_content

PLENTY = 10**9


def flight(start: int, stop: int) -> Flight:
    """A flight that carried these bytes."""
    return Flight(0, 1, 0.0, 0, 0, start, stop - start, stop)


class OutgoingTests(SynchronousTestCase):
    """`Outgoing`."""

    def setUp(self) -> None:
        self.content = make_content(2 * BLOCK_BYTES + 100)
        self.outgoing = Outgoing(len(self.content))
        self.outgoing.limit = PLENTY

    def supply(self, outgoing: Outgoing | None = None, most: int = PLENTY) -> list[tuple[int, int]]:
        """Read all that is wanted: which reads that were."""
        outgoing = outgoing or self.outgoing
        reads = []
        while (wanted := outgoing.wants(PLENTY, most, BLOCK_BYTES)) is not None:
            reads.append(wanted)
            outgoing.supply(wanted[0], self.content[wanted[0] : sum(wanted)])
        return reads

    def test_reads(self) -> None:
        """It wants one block after the other, the last one short, and then no more."""
        self.assertTrue(self.outgoing.starved)
        expected = [(0, BLOCK_BYTES), (BLOCK_BYTES, BLOCK_BYTES), (2 * BLOCK_BYTES, 100)]
        self.assertEqual(self.supply(), expected)
        self.assertFalse(self.outgoing.starved)
        self.assertEqual((self.outgoing.held, self.outgoing.due), (len(self.content), len(self.content)))

    def test_large_reads(self) -> None:
        """On a fast path it reads more at once, but no more than a quarter of what it may hold, and within a piece."""
        outgoing = Outgoing(10**8)
        self.assertEqual(outgoing.wants(0, PLENTY, LARGE_BLOCK_BYTES), (0, LARGE_BLOCK_BYTES))
        self.assertEqual(outgoing.wants(0, PLENTY, 2 * LARGE_BLOCK_BYTES), (0, LARGE_BLOCK_BYTES))
        self.assertEqual(
            outgoing.wants(0, 2 * LARGE_BLOCK_BYTES, LARGE_BLOCK_BYTES), (0, LARGE_BLOCK_BYTES // 2)
        )
        self.assertEqual(outgoing.wants(0, 0, LARGE_BLOCK_BYTES), (0, BLOCK_BYTES))
        outgoing.supply(0, bytes(BLOCK_BYTES))
        self.assertEqual(
            outgoing.wants(0, PLENTY, LARGE_BLOCK_BYTES), (BLOCK_BYTES, LARGE_BLOCK_BYTES - BLOCK_BYTES)
        )

    def test_read_ahead(self) -> None:
        """It reads two blocks ahead of what was sent, and no more than it may hold."""
        for offset in (0, BLOCK_BYTES):
            self.outgoing.supply(offset, self.content[offset : offset + BLOCK_BYTES])
        self.assertIsNone(self.outgoing.wants(0, PLENTY, BLOCK_BYTES))
        self.outgoing.cut(0, BLOCK_BYTES)
        self.assertIsNone(self.outgoing.wants(0, 0, BLOCK_BYTES))
        self.assertEqual(self.outgoing.wants(0, PLENTY, BLOCK_BYTES), (2 * BLOCK_BYTES, 100))

    def test_wrong_bytes(self) -> None:
        """What was not asked for is refused."""
        self.assertRaises(ValueError, self.outgoing.supply, len(self.content), b"x")
        self.supply()
        self.assertRaises(ValueError, self.outgoing.supply, 0, bytes(5))

    def test_cuts(self) -> None:
        """What is sent comes out of one block or several, and the receiver's limit is kept."""
        self.assertEqual(self.outgoing.next(), (0, 0))
        self.supply()
        for start, end in ((5, 10), (BLOCK_BYTES - 3, BLOCK_BYTES), (7, len(self.content))):
            self.assertEqual(bytes(self.outgoing.cut(start, end)), self.content[start:end])
        self.assertEqual((self.outgoing.next(), self.outgoing.last), ((0, 5), True))
        self.outgoing.limit = 3
        self.assertEqual(self.outgoing.next(), (0, 3))
        self.outgoing.cut(0, 3)
        self.assertEqual(self.outgoing.next(), (3, 3))
        self.assertFalse(self.outgoing.all_sent)
        self.outgoing.cut(3, 5)
        self.assertTrue(self.outgoing.all_sent)

    def test_lost_and_arrived(self) -> None:
        """What is lost is due again, the lowest offset first, unless it arrived otherwise."""
        self.supply()
        self.outgoing.cut(0, len(self.content))
        self.outgoing.lost([flight(100, 300), flight(10, 20)])
        self.assertEqual((self.outgoing.next(), self.outgoing.last), ((10, 20), False))
        self.assertEqual(self.outgoing.arrived([flight(100, 200), flight(0, 0), flight(150, 250)]), 150)
        self.outgoing.cut(10, 20)
        self.assertEqual(self.outgoing.next(), (250, 300))
        self.outgoing.lost([flight(100, 200)])
        self.assertEqual(self.outgoing.next(), (250, 300))
        self.assertEqual(self.outgoing.missing(90, 260), (90, 100))
        self.assertEqual(self.outgoing.missing(100, 250), (100, 100))
        self.assertEqual(self.outgoing.progress, 150)

    def test_letting_go(self) -> None:
        """A block is let go of when all of it has arrived, in whatever order."""
        self.supply()
        self.outgoing.cut(0, len(self.content))
        self.outgoing.arrived([flight(10, BLOCK_BYTES + 10)])
        self.assertEqual(self.outgoing.held, len(self.content))
        self.outgoing.arrived([flight(0, 10)])
        self.assertEqual(self.outgoing.held, BLOCK_BYTES + 100)
        self.outgoing.arrived([flight(BLOCK_BYTES + 10, len(self.content))])
        self.assertEqual((self.outgoing.held, self.outgoing.progress), (0, len(self.content)))

    def test_have(self) -> None:
        """What the receiver has already is neither sent nor read, unless it is to be hashed."""
        have = ((0, BLOCK_BYTES), (BLOCK_BYTES + 50, BLOCK_BYTES + 60))
        outgoing = Outgoing(len(self.content), have)
        self.assertEqual(outgoing.progress, BLOCK_BYTES + 10)
        self.assertEqual(outgoing.first_limit(55), BLOCK_BYTES + 65)
        self.assertEqual(outgoing.first_limit(PLENTY), len(self.content))
        reads = self.supply(outgoing)
        self.assertEqual(
            reads,
            [(BLOCK_BYTES, 50), (BLOCK_BYTES + 60, BLOCK_BYTES - 60), (2 * BLOCK_BYTES, 100)],
        )
        outgoing = Outgoing(len(self.content), have, ((0, len(self.content)),))
        outgoing.limit = PLENTY
        self.assertEqual(len(self.supply(outgoing)), 3)
        self.assertEqual(outgoing.held, BLOCK_BYTES + 100)
        self.assertEqual(outgoing.next(), (BLOCK_BYTES, BLOCK_BYTES + 50))

    def test_again(self) -> None:
        """What the receiver could not use is sent again from memory, or read again."""
        self.supply()
        self.outgoing.cut(0, len(self.content))
        self.outgoing.arrived([flight(0, BLOCK_BYTES + 50)])
        self.outgoing.again(0, 2 * BLOCK_BYTES)
        self.assertEqual(self.outgoing.progress, 0)
        self.assertEqual(self.outgoing.next(), (BLOCK_BYTES, 2 * BLOCK_BYTES))
        self.assertEqual(self.supply(), [(0, BLOCK_BYTES)])
        self.assertEqual(self.outgoing.next(), (0, 2 * BLOCK_BYTES))
        self.outgoing.cut(0, 2 * BLOCK_BYTES)
        self.outgoing.lost_ranges([(5, 9)])
        self.assertEqual(self.outgoing.next(), (5, 9))
        self.outgoing.arrived([flight(0, len(self.content))])
        self.assertEqual((self.outgoing.held, self.outgoing.progress), (0, len(self.content)))

    def test_clear(self) -> None:
        """Nothing is left."""
        self.supply()
        self.outgoing.clear()
        self.assertEqual((self.outgoing.held, self.outgoing.next(), self.supply()), (0, (0, 0), []))

    @settings(deadline=None, max_examples=150)
    @given(seed=st.integers(0, 10**6))
    def test_any_order(self, seed: int) -> None:
        """Whatever is lost, asked for again and in whatever order it arrives, all of it arrives as it is."""
        random = Random(seed)
        size = random.randrange(1, 5 * BLOCK_BYTES)
        content = make_content(size)
        cut = sorted(random.randrange(size) for _ in range(4))
        have = [(cut[0], cut[1]), (cut[2], cut[3])]
        outgoing = Outgoing(size, [pair for pair in have if pair[0] < pair[1]])
        outgoing.limit = size
        arrived = bytearray(size)
        for start, end in have:
            arrived[start:end] = content[start:end]
        under_way: list[Flight] = []
        again = 3
        while outgoing.progress < size:
            wanted = outgoing.wants(PLENTY, 3 * BLOCK_BYTES, BLOCK_BYTES)
            if wanted is not None:
                outgoing.supply(wanted[0], content[wanted[0] : sum(wanted)])
            start, end = outgoing.next()
            if start < end:
                end = min(end, start + random.randrange(1, 60_000))
                arrived[start:end] = outgoing.cut(start, end)
                under_way.append(flight(start, end))
            random.shuffle(under_way)
            while under_way and random.random() < 0.5:
                if random.random() < 0.3:
                    outgoing.lost([under_way.pop()])
                else:
                    outgoing.arrived([under_way.pop()])
            if again and random.random() < 0.05:
                again -= 1
                start = random.randrange(size)
                end = random.randrange(start, size) + 1
                arrived[start:end] = bytes(end - start)
                carried = [(one.start, one.stop) for one in under_way]
                under_way.clear()
                outgoing.lost_ranges(carried)
                outgoing.again(start, end)
        self.assertEqual(bytes(arrived), content)
        self.assertEqual(outgoing.held, 0)
        self.assertTrue(outgoing.all_sent)

    def test_again_while_the_limit_is_reached(self) -> None:
        """What waits for the limit keeps nothing from being read that has to come again below it."""
        outgoing = Outgoing(len(self.content))
        outgoing.limit = BLOCK_BYTES
        most = 2 * BLOCK_BYTES
        self.assertEqual(outgoing.wants(1, most, BLOCK_BYTES), (0, BLOCK_BYTES))
        outgoing.supply(0, self.content[:BLOCK_BYTES])
        outgoing.cut(0, BLOCK_BYTES)
        outgoing.arrived([flight(0, BLOCK_BYTES)])
        outgoing.supply(BLOCK_BYTES, self.content[BLOCK_BYTES : 2 * BLOCK_BYTES])
        outgoing.supply(2 * BLOCK_BYTES, self.content[2 * BLOCK_BYTES :])
        self.assertEqual(outgoing.next(), (BLOCK_BYTES, BLOCK_BYTES))
        outgoing.again(0, BLOCK_BYTES)
        self.assertEqual(outgoing.wants(1, most, BLOCK_BYTES), (0, BLOCK_BYTES))
        outgoing.supply(0, self.content[:BLOCK_BYTES])
        self.assertEqual(outgoing.next(), (0, BLOCK_BYTES))
