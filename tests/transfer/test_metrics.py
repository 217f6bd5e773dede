"""Tests of how a sender tells how it stands, to who asks."""

from __future__ import annotations

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.congestion import CONTROLLERS
from pychat.transfer.frames import (
    METRICS,
    Measure,
    Metrics,
    decode,
    encode,
)
from pychat.transfer.packet import PacketError
from pychat.transfer.terms import Done
from tests.transfer.pair import DELAY, Pair

EXAMPLE = Metrics(120_000, 60_000, 20_100, 20_000, 19_900, 12_000_000, 11_000_000, 3, 1452, "steady")


class MetricsTests(SynchronousTestCase):
    """`Sender.metrics`, `Receiver.ask_metrics` and `Receiver.take_metrics`."""

    def test_nobody_asks(self) -> None:
        """Who is not asked says nothing of it."""
        pair = Pair()
        pair.finish()
        self.assertEqual(pair.receiver.take_metrics(), [])
        self.assertIsInstance(pair.receiver.outcome, Done)

    def test_asked(self) -> None:
        """Metrics come about as often as they were asked for, and say what the sender says of itself."""
        for controller in CONTROLLERS:
            pair = Pair(3_000_000, controller=controller)
            pair.receiver.ask_metrics(50)
            self.assertTrue(pair.receiver.asking)
            pair.finish()
            self.assertFalse(pair.receiver.asking)
            told = pair.receiver.take_metrics()
            self.assertEqual(pair.receiver.take_metrics(), [])
            self.assertGreater(len(told), 2)
            for (before, _), (after, _) in pairwise(told):
                self.assertGreater(after - before, 0.045)
            last = told[-1][1]
            self.assertGreater(last.window, 10_000)
            self.assertGreater(last.rate, 100_000)
            self.assertGreater(last.pacing, 100_000)
            self.assertAlmostEqual(last.minimum / 1e6, 2 * DELAY, delta=0.002)
            self.assertGreaterEqual(last.smoothed, last.minimum)
            self.assertEqual(last.datagram, pair.sender.pushed_size)

    def test_not_too_often(self) -> None:
        """However often somebody asks for them, they are 20 ms apart at least."""
        pair = Pair(3_000_000)
        pair.receiver.ask_metrics(1)
        pair.finish()
        told = pair.receiver.take_metrics()
        self.assertGreater(len(told), 2)
        for (before, _), (after, _) in pairwise(told):
            self.assertGreater(after - before, 0.015)

    def test_lost(self) -> None:
        """What was lost is counted; metrics that are lost are not repeated."""
        pair = Pair(1_000_000)
        pair.receiver.ask_metrics(20)
        pair.lose = lambda number: number % 10 == 9
        pair.finish()
        told = [metrics for _, metrics in pair.receiver.take_metrics()]
        self.assertGreater(told[-1].lost, 0)
        self.assertEqual([metrics.lost for metrics in told], sorted(metrics.lost for metrics in told))

    def test_before_the_first_round_trip(self) -> None:
        """What is not known is 0; what is paused says so; over TCP nothing bounds what is in flight."""
        metrics = Pair().sender.metrics()
        self.assertEqual((metrics.latest, metrics.smoothed, metrics.minimum, metrics.rate), (0, 0, 0, 0))
        self.assertEqual(metrics.state, "startup")
        pair = Pair(reliable=True)
        pair.sender.pause(True)
        self.assertEqual((pair.sender.metrics().window, pair.sender.metrics().state), (0, "paused"))

    def test_after_the_end(self) -> None:
        """Who has an outcome asks for nothing any more."""
        pair = Pair()
        pair.receiver.fail("cancelled", "Enough.")
        pair.receiver.ask_metrics(50)
        self.assertNotIn("measure", pair.receiver._words)

    def test_bounds(self) -> None:
        """Numbers that do not fit are as large as they can be; a state that is no word is refused."""
        large = EXAMPLE._replace(latest=2**40, rate=2**70, lost=2**40, state="a" * 40)
        (read,) = decode(encode(large))
        self.assertEqual(
            read, EXAMPLE._replace(latest=2**32 - 1, rate=2**64 - 1, lost=2**32 - 1, state="a" * 16)
        )
        whole = encode(EXAMPLE)
        self.assertEqual((whole[0], decode(whole)), (METRICS, [EXAMPLE]))
        for bad in (whole[:-1], whole[:-1] + b"\x1b", whole[:-7] + b"\0", whole[:-7] + b"\x11" + b"a" * 17):
            with self.assertRaises(PacketError):
                decode(bad)
        with self.assertRaises(PacketError):
            decode(encode(Measure(50))[:-1])
