"""Loss detection, round trips, probes and pacing, with literal times."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.congestion import CongestionControl, SentPacket
from pychat.transfer.recovery import NeverSentError, Pacer, Recovery, RoundTrip


class Recorder(CongestionControl):
    """A controller that only remembers what it was told."""

    def __init__(self) -> None:
        self.window = 10_000
        self.told: list[tuple[str, list[int], bool]] = []

    def acked(self, packets: Sequence[SentPacket], *, now: float, limited: bool) -> None:
        self.told.append(("acked", [packet.number for packet in packets], limited))

    def lost(self, packets: Sequence[SentPacket], *, now: float, persistent: bool) -> None:
        self.told.append(("lost", [packet.number for packet in packets], persistent))

    def pacing_rate(self, smoothed_rtt: float) -> float:
        return self.window / smoothed_rtt


class RoundTripTests(SynchronousTestCase):
    """RFC 9002 §5."""

    def test_before_the_first_sample(self) -> None:
        """§6.2.2: a third of a second, so a probe after one second and what an acknowledgement may wait."""
        rtt = RoundTrip()
        self.assertAlmostEqual(rtt.probe_timeout, 0.999 + 0.025)
        self.assertAlmostEqual(rtt.loss_delay, 0.333 * 9 / 8)

    def test_samples(self) -> None:
        """§5.3: the first sample is taken as it is, the others by an eighth and a quarter."""
        rtt = RoundTrip()
        rtt.update(0.100, 5.0)
        self.assertEqual((rtt.latest, rtt.minimum, rtt.smoothed, rtt.variation), (0.1, 0.1, 0.1, 0.05))
        rtt.update(0.200, 0.010)
        self.assertAlmostEqual(rtt.smoothed, 0.1 + 0.090 / 8)
        self.assertAlmostEqual(rtt.variation, 0.05 * 3 / 4 + 0.090 / 4)

    def test_ack_delay_is_bounded(self) -> None:
        """§5.3: a delay counts up to 25 ms, and not where it would make the sample less than the minimum."""
        rtt = RoundTrip()
        rtt.update(0.100, 0.0)
        rtt.update(0.180, 3.0)
        self.assertAlmostEqual(rtt.smoothed, 0.1 + 0.055 / 8)
        other = RoundTrip()
        other.update(0.100, 0.0)
        other.update(0.110, 0.020)
        self.assertAlmostEqual(other.smoothed, 0.1 + 0.010 / 8)

    def test_coarse_clock(self) -> None:
        """A clock that has not moved since does not make a round trip of no time, by which nobody can divide."""
        rtt = RoundTrip()
        rtt.update(0.0, 0.0)
        self.assertEqual((rtt.smoothed, rtt.latest), (1e-6, 1e-6))

    def test_granularity(self) -> None:
        """§6.1.2: on a very short path, no less than a millisecond."""
        rtt = RoundTrip()
        for _ in range(50):
            rtt.update(0.0001, 0.0)
        self.assertEqual(rtt.loss_delay, 0.001)
        self.assertAlmostEqual(rtt.probe_timeout, 0.0001 + 0.001 + 0.025, places=5)


class RecoveryTests(SynchronousTestCase):
    """RFC 9002 §6."""

    def setUp(self) -> None:
        self.congestion = Recorder()
        self.recovery = Recovery(self.congestion)
        self.recovery.rtt.update(0.100, 0.0)

    def send(self, *times: float) -> None:
        for time in times:
            self.recovery.sent(SentPacket(self.recovery.number(), time, 1000))

    def numbers(self, result: tuple[list[SentPacket], list[SentPacket]]) -> tuple[list[int], list[int]]:
        return [packet.number for packet in result[0]], [packet.number for packet in result[1]]

    def test_acknowledged(self) -> None:
        """What arrived is no longer in flight, and was a sample."""
        self.send(1.0, 1.0, 1.0)
        self.assertEqual(self.recovery.in_flight, 3000)
        self.assertEqual(self.numbers(self.recovery.acked([(0, 3)], 0.0, 1.2)), ([0, 1, 2], []))
        self.assertEqual(self.recovery.in_flight, 0)
        self.assertEqual(self.recovery.rtt.latest, 0.19999999999999996)
        self.assertIsNone(self.recovery.deadline())
        self.assertEqual(self.congestion.told, [("acked", [0, 1, 2], False)])
        self.assertEqual(self.recovery.lowest, 3)

    def test_acknowledged_again(self) -> None:
        """Hearing it twice says nothing new: no sample, nothing for the controller."""
        self.send(1.0, 1.0)
        self.recovery.acked([(0, 1)], 0.0, 1.1)
        told = len(self.congestion.told)
        self.assertEqual(self.recovery.acked([(0, 1)], 0.0, 9.0), ([], []))
        self.assertAlmostEqual(self.recovery.rtt.latest or 0, 0.1)
        self.assertEqual(len(self.congestion.told), told)

    def test_no_sample_of_an_old_packet(self) -> None:
        """§5.1: when the largest number was known to have arrived, the time says nothing."""
        self.send(1.0, 1.0, 1.0)
        self.recovery.acked([(2, 3)], 0.0, 1.1)
        self.recovery.acked([(1, 3)], 0.0, 5.0)
        self.assertAlmostEqual(self.recovery.rtt.latest or 0, 0.1)

    def test_packet_threshold(self) -> None:
        """§6.1.1: lost is what is three numbers behind."""
        self.send(1.0, 1.0, 1.0, 1.0, 1.0)
        self.assertEqual(self.numbers(self.recovery.acked([(3, 4)], 0.0, 1.1)), ([3], [0]))
        self.assertEqual(self.recovery.in_flight, 3000)
        self.assertEqual(self.recovery.lost_count, 1)
        self.assertEqual(self.congestion.told, [("lost", [0], False), ("acked", [3], False)])

    def test_time_threshold(self) -> None:
        """§6.1.2: lost is what is 9/8 of a round trip older than what arrived."""
        self.send(1.0, 1.005)
        self.assertEqual(self.numbers(self.recovery.acked([(1, 2)], 0.0, 1.105)), ([1], []))
        deadline = self.recovery.deadline()
        self.assertAlmostEqual(deadline or 0, 1.0 + 0.1125)
        self.assertEqual(self.recovery.timeout(1.112), [])
        self.assertEqual([packet.number for packet in self.recovery.timeout(deadline or 0)], [0])
        self.assertIsNone(self.recovery.deadline())
        self.assertEqual(self.recovery.probes, 0)

    def test_probe_timeout(self) -> None:
        """§6.2: nothing arrives, so ask; twice as late each time, up to three seconds; an answer resets it."""
        self.send(1.0)
        deadlines = []
        for _ in range(6):
            deadline = self.recovery.deadline()
            assert deadline is not None
            self.assertEqual(self.recovery.timeout(deadline), [])
            self.send(deadline)
            deadlines.append(deadline)
        gaps = [after - before for before, after in zip([1.0, *deadlines], deadlines, strict=False)]
        for gap, expected in zip(gaps, [0.325, 0.65, 1.3, 2.6, 3.0, 3.0], strict=True):
            self.assertAlmostEqual(gap, expected)
        self.assertEqual(self.recovery.probes, 6)
        self.recovery.acked([(6, 7)], 0.0, deadlines[-1] + 0.1)
        self.assertEqual(self.recovery.probes, 0)

    def test_slow_path(self) -> None:
        """A probe timeout beyond three seconds is not cut short."""
        self.recovery.rtt.update(9.0, 0.0)
        self.assertGreater(self.recovery.probe_gap(), 3.0)

    def test_never_sent(self) -> None:
        """RFC 9000 §21.4: a number that was never used, or was left out on purpose, is refused, and changes nothing."""
        self.send(1.0, 1.0)
        self.recovery.skip()
        self.send(1.0)
        self.assertRaises(NeverSentError, self.recovery.acked, [(4, 5)], 0.0, 1.1)
        self.assertRaises(NeverSentError, self.recovery.acked, [(0, 5)], 0.0, 1.1)
        self.assertRaises(NeverSentError, self.recovery.acked, [(3, 4), (1, 3)], 0.0, 1.1)
        self.assertEqual(self.recovery.in_flight, 3000)
        self.assertEqual(self.numbers(self.recovery.acked([(3, 4), (0, 2)], 0.0, 1.1)), ([3, 0, 1], []))

    def test_skipped_numbers_are_forgotten(self) -> None:
        """Once nothing below it is open, a number that was left out needs no watching."""
        self.recovery.skip()
        self.send(1.0)
        self.recovery.acked([(1, 2)], 0.0, 1.1)
        self.assertEqual(self.recovery.acked([(0, 2)], 0.0, 1.1), ([], []))

    def test_oldest(self) -> None:
        """The oldest packet in flight is what a probe repeats."""
        self.assertIsNone(self.recovery.oldest())
        self.send(1.0, 1.0)
        self.recovery.acked([(0, 1)], 0.0, 1.1)
        oldest = self.recovery.oldest()
        assert oldest is not None
        self.assertEqual(oldest.number, 1)

    def test_late_acknowledgement_of_less(self) -> None:
        """Acknowledgements may overtake each other."""
        self.send(1.0, 1.0, 1.0)
        self.recovery.acked([(2, 3)], 0.0, 1.1)
        self.assertEqual(self.numbers(self.recovery.acked([(0, 1)], 0.0, 1.1)), ([0], []))

    def test_persistent_congestion(self) -> None:
        """§7.6: all packets of three probe timeouts were lost."""
        self.send(1.0, 1.3, 2.5, 2.6, 2.6, 2.6)
        self.recovery.acked([(5, 6)], 0.0, 2.7)
        self.assertEqual(self.congestion.told[0], ("lost", [0, 1, 2], True))

    def test_persistent_congestion_needs_time(self) -> None:
        """§7.6.1: less than three probe timeouts is only loss."""
        self.send(1.0, 1.3, 1.7, 1.8, 1.8, 1.8)
        self.recovery.acked([(5, 6)], 0.0, 1.9)
        self.assertEqual(self.congestion.told[0], ("lost", [0, 1, 2], False))

    def test_persistent_congestion_needs_silence(self) -> None:
        """§7.6.2: something between them arrived, so it is only loss."""
        self.send(1.0, 1.3, 1.4, 2.1, 2.2, 2.2, 2.2)
        self.recovery.acked([(6, 7), (1, 2)], 0.0, 2.3)
        self.assertEqual(self.congestion.told[0], ("lost", [0, 2, 3], False))

    def test_persistent_congestion_needs_a_sample(self) -> None:
        """§7.6.2: without a round trip measured, nobody knows how long is long."""
        recovery = Recovery(self.congestion)
        for time in (1.0, 5.0, 9.0, 9.0, 9.0):
            recovery.sent(SentPacket(recovery.number(), time, 1000))
        # The largest number was that of a packet which is not acknowledged itself, so it is no sample.
        recovery.number()
        recovery.acked([(4, 6)], 0.0, 9.1)
        self.assertIsNone(recovery.rtt.latest)
        self.assertEqual(self.congestion.told[0], ("lost", [0, 1, 2], False))


class PacerTests(SynchronousTestCase):
    """RFC 9002 §7.7."""

    def test_burst(self) -> None:
        """Ten datagrams may leave at once, and a pause does not make it more on a slow path."""
        pacer = Pacer(1200, 5.0)
        self.assertEqual(pacer.tokens, 12000)
        pacer.refill(1000.0, 100.0)
        self.assertEqual(pacer.tokens, 12000)

    def test_rate(self) -> None:
        """After the burst, bytes come with time, and the deadline says when there are enough for a datagram."""
        pacer = Pacer(1200, 5.0)
        pacer.tokens = 0
        pacer.refill(120_000.0, 5.001)
        self.assertAlmostEqual(pacer.tokens, 120.0)
        self.assertAlmostEqual(pacer.deadline(1200), 5.001 + 1080 / 120_000, places=5)

    def test_fast(self) -> None:
        """On a fast path it sleeps for a millisecond's worth of datagrams, not for each."""
        pacer = Pacer(1200, 5.0)
        pacer.tokens = 0
        pacer.refill(10_000_000.0, 5.0)
        self.assertAlmostEqual(pacer.deadline(1200), 5.001, places=5)

    def test_late_wake_up(self) -> None:
        """Who is woken 8 ms late catches up; of a second, 10 ms count."""
        pacer = Pacer(1200, 5.0)
        pacer.tokens = 0
        pacer.refill(12_500_000.0, 5.008)
        self.assertAlmostEqual(pacer.tokens, 100_000)
        pacer.refill(12_500_000.0, 6.0)
        self.assertAlmostEqual(pacer.tokens, 125_000)

    def test_deadline_is_not_too_early(self) -> None:
        """At the deadline there are enough bytes, whatever the rounding."""
        for step in range(1, 2000):
            pacer = Pacer(1200, 100.0)
            pacer.tokens = 0
            rate = 12_345.678 * step
            pacer.refill(rate, 100.0)
            pacer.refill(rate, pacer.deadline(1200))
            self.assertGreaterEqual(pacer.tokens, 1200)
