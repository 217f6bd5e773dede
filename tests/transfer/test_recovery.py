"""What was sent, what arrived, what was lost: literal times, no clock."""

from __future__ import annotations

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.congestion.base import AckSample, CongestionControl
from pychat.transfer.frames import Ack
from pychat.transfer.recovery import MAX_REORDERING, PERSISTENT_PROBES, Flight, Recovery, take_out
from pychat.transfer.roundtrip import RoundTrip
from pychat.transfer.terms import NeverSentError

WIRE, STRIDE = 1000, 900


class Listening(CongestionControl):
    """Keeps what it is told."""

    name = "listening"
    window = 10**6
    pacing_rate = 1e6
    starting = False

    def __init__(self) -> None:
        super().__init__(WIRE)
        self.samples: list[AckSample] = []
        self.timeouts: list[float] = []
        self.told: list[tuple[int, int, float]] = []

    def sent(self, nbytes: int, in_flight: int, now: float) -> None:
        self.told.append((nbytes, in_flight, now))

    def acked(self, sample: AckSample) -> None:
        self.samples.append(sample)

    def timed_out(self, now: float) -> None:
        self.timeouts.append(now)

    def reset(self, now: float, datagram: int) -> None:
        raise NotImplementedError

    def remember(self, rate: float, rtt: float) -> None:
        raise NotImplementedError


class RecoveryTests(SynchronousTestCase):
    """`Recovery`."""

    def setUp(self) -> None:
        self.congestion = Listening()
        self.recovery = Recovery(self.congestion, RoundTrip())
        self.number = 0
        self.offset = 0

    def send(self, now: float, count: int = 1, *, limited: bool = False) -> Flight:
        """A train of so many full datagrams."""
        stop = self.offset + count * STRIDE
        flight = Flight(self.number, self.number + count, now, WIRE, count * WIRE, self.offset, STRIDE, stop)
        self.number += count
        self.offset = stop
        self.recovery.sent(flight, limited)
        return flight

    def ack(
        self, now: float, *ranges: tuple[int, int], delay: float = 0.0, clock: float | None = None
    ) -> list[tuple[int, int]]:
        """An acknowledgement comes: the bytes of the file that arrived."""
        at = now if clock is None else clock
        flights = self.recovery.acked(Ack(round(delay * 1e6), round(at * 1e6), 0, ranges), now)
        return sorted((flight.start, flight.stop) for flight in flights)

    def settle(self, now: float) -> list[tuple[int, int]]:
        return [(flight.first, flight.end) for flight in self.recovery.settle(now)]

    def test_whole_train(self) -> None:
        """A train that arrived is one flight, and a sample of all that can be measured."""
        self.send(1.0, 10)
        self.assertEqual((self.recovery.in_flight, self.congestion.told), (10000, [(10000, 10000, 1.0)]))
        self.assertEqual(self.ack(1.1, (0, 10), delay=0.01, clock=501.05), [(0, 9000)])
        self.assertEqual(self.settle(1.1), [])
        (sample,) = self.congestion.samples
        assert sample.rtt is not None
        assert sample.owd is not None
        self.assertAlmostEqual(sample.rtt, 0.09)
        self.assertAlmostEqual(sample.owd, 500.05)
        self.assertEqual(
            (sample.acked, sample.lost, sample.in_flight, sample.delivered), (10000, 0, 0, 10000)
        )
        self.assertEqual((sample.rate, sample.limited, sample.prior_delivered), (None, False, 0))
        self.assertEqual(self.settle(1.2), [])
        self.assertEqual(len(self.congestion.samples), 1)

    def test_in_parts(self) -> None:
        """What arrives of a train splits it; each part is counted once."""
        self.send(1.0, 10)
        self.assertEqual(self.ack(1.1, (8, 9), (2, 5)), [(1800, 4500), (7200, 8100)])
        self.assertEqual(self.recovery.in_flight, 6000)
        self.assertEqual(self.ack(1.1, (8, 9), (1, 6)), [(900, 1800), (4500, 5400)])
        self.assertEqual(self.ack(1.1, (8, 9), (1, 6)), [])
        self.assertEqual(self.ack(1.1, (0, 10)), [(0, 900), (5400, 7200), (8100, 9000)])
        self.assertEqual((self.recovery.in_flight, self.recovery.delivered), (0, 10000))
        self.assertEqual(self.recovery.oldest(), (0, 0))

    def test_several_acknowledgements(self) -> None:
        """Those that come together are judged together."""
        self.send(1.0, 4)
        self.send(1.01, 4, limited=True)
        self.ack(1.1, (0, 4))
        self.ack(1.11, (0, 8))
        self.settle(1.11)
        (sample,) = self.congestion.samples
        self.assertEqual((sample.acked, sample.limited), (8000, True))

    def test_lost_by_send_time(self) -> None:
        """Lost is what was sent an eighth of a round trip before something that arrived."""
        for step in range(8):
            self.send(1.0 + step * 0.01)
        self.ack(1.16, (6, 7))
        # A round trip is 100 ms: 12.5 ms of sending.
        self.assertEqual(self.settle(1.16), [(number, number + 1) for number in range(5)])
        self.assertEqual((self.recovery.in_flight, self.recovery.lost_count), (2000, 5))
        self.assertEqual(self.congestion.samples[-1].lost, 5000)
        self.assertEqual(self.recovery.oldest(), (4500, 5400))

    def test_late_wake_up(self) -> None:
        """However late acknowledgements are read, by itself that makes no loss."""
        self.send(1.0, 5)
        self.send(1.001, 5)
        self.ack(1.1, (5, 10))
        self.assertEqual(self.settle(1.1), [])
        self.ack(1.9, (0, 10))
        self.assertEqual(self.settle(1.9), [])

    def test_straggler(self) -> None:
        """What is behind in number alone is lost when more than a round trip has passed."""
        self.send(1.0, 5)
        self.ack(1.1, (3, 5), (0, 2))
        self.assertEqual(self.settle(1.1), [])
        deadline = self.recovery.deadline()
        self.assertAlmostEqual(deadline, 1.0 + 0.1 / 8 + 0.1 * 9 / 8)
        self.assertEqual(self.settle(deadline - 0.001), [])
        self.assertEqual(self.settle(deadline), [(2, 3)])
        self.assertEqual((self.congestion.samples[-1].acked, self.congestion.samples[-1].lost), (0, 1000))
        self.assertEqual(self.recovery.deadline(), inf)

    def test_found_after_all(self) -> None:
        """What arrives after it was taken for lost is no loss, and teaches how late things may come."""
        self.send(1.0)
        self.send(1.03)
        self.ack(1.13, (1, 2))
        self.assertEqual(self.settle(1.13), [(0, 1)])
        self.assertEqual(self.recovery.lowest(99), 0)
        self.assertEqual(self.ack(1.14, (0, 2)), [(0, 900)])
        self.assertEqual((self.recovery.lost_count, self.recovery.in_flight), (0, 0))
        self.assertAlmostEqual(self.recovery.reordering, 0.03 * 1.125)
        self.assertAlmostEqual(self.recovery.loss_delay, 0.03 * 1.125)
        self.assertEqual(self.recovery.lowest(99), 99)

    def test_found_much_later(self) -> None:
        """There is a bound to what is learned, and to what is remembered."""
        self.send(1.0)
        self.send(1.5)
        self.ack(1.52, (1, 2))
        self.assertEqual(self.settle(1.52), [(0, 1)])
        self.ack(1.53, (0, 2))
        self.assertEqual(self.recovery.reordering, MAX_REORDERING)
        self.send(2.0)
        self.send(2.5)
        self.ack(2.52, (3, 4))
        self.assertEqual(self.settle(2.52), [(2, 3)])
        self.send(2.9)
        self.ack(2.92, (4, 5))
        self.settle(2.92)
        self.assertEqual(self.ack(2.93, (2, 5)), [])

    def test_rate(self) -> None:
        """The delivery rate is measured by the receiver's clock, over the flight of the newest train."""
        self.send(1.0, 10)
        self.ack(1.1, (0, 10), clock=77.0)
        self.settle(1.1)
        self.send(1.1, 10)
        self.send(1.15, 10)
        self.ack(1.25, (0, 20), clock=77.1)
        self.settle(1.25)
        self.assertAlmostEqual(self.congestion.samples[-1].rate or 0.0, 10000 / 0.1)
        self.assertAlmostEqual(self.recovery.rate or 0.0, 100_000)
        self.ack(1.3, (0, 30), clock=77.2)
        self.settle(1.3)
        self.assertAlmostEqual(self.congestion.samples[-1].rate or 0.0, 20000 / 0.2)

    def test_rate_bounds(self) -> None:
        """It is not faster than what was sent, nor does a clock that stands still or runs wild make it so."""
        self.send(1.0, 10)
        self.ack(1.1, (0, 10), clock=77.0)
        self.send(1.2, 10)
        self.ack(1.3, (0, 20), clock=77.001)
        self.settle(1.3)
        # Sent 200 ms after the one before, whatever the receiver's clock says.
        self.assertAlmostEqual(self.congestion.samples[-1].rate or 0.0, 10000 / 0.2)
        self.send(1.3, 10)
        self.ack(1.7, (0, 30), clock=77.002)
        self.settle(1.7)
        self.assertAlmostEqual(self.congestion.samples[-1].rate or 0.0, 10000 / 0.2)
        self.send(1.7, 10)
        self.ack(1.8, (0, 40), clock=77.002)
        self.settle(1.8)
        self.assertIsNone(self.congestion.samples[-1].rate)

    def test_limited_rate(self) -> None:
        """A sample that was limited only counts if it says more than was known."""
        self.send(1.0)
        self.ack(1.1, (0, 1))
        self.send(1.1, 10)
        self.ack(1.2, (0, 11))
        self.assertAlmostEqual(self.recovery.rate or 0.0, 100_000)
        self.send(1.2, 1, limited=True)
        self.ack(1.3, (0, 12))
        self.assertAlmostEqual(self.recovery.rate or 0.0, 100_000)
        self.send(1.3, 20, limited=True)
        self.ack(1.4, (0, 32))
        self.assertAlmostEqual(self.recovery.rate or 0.0, 100_000 + 100_000 / 8)

    def test_bursts(self) -> None:
        """Acknowledgements that come evenly have no burstiness; those that were held up have."""
        now = 1.0
        self.send(now, 10)
        self.ack(now + 0.1, (0, 10))
        for step in range(12):
            self.send(now + step * 0.01, 1)
        for step in range(10):
            self.ack(now + 0.11 + step * 0.01, (0, 11 + step))
        even = self.recovery.burst
        self.assertLess(even, 0.02)
        for step in range(30):
            self.send(now + 0.2 + step * 0.01, 1)
        for step in range(12, 30):
            self.ack(now + 0.6, (0, 11 + step))
        self.assertGreater(self.recovery.burst, even)

    def test_no_sample(self) -> None:
        """Only the first acknowledgement of the largest packet is a sample."""
        self.send(1.0)
        self.send(1.01)
        self.ack(1.1, (1, 2))
        self.settle(1.1)
        self.ack(1.3, (0, 2))
        self.settle(1.3)
        self.assertEqual([sample.rtt is None for sample in self.congestion.samples], [False, True])
        self.assertAlmostEqual(self.recovery.round_trip.latest or 0.0, 0.09)

    def test_never_sent(self) -> None:
        """Who acknowledges a number that was left out acknowledges blindly; nothing of it is taken."""
        self.send(1.0)
        self.recovery.skip(1)
        self.number = 2
        self.send(1.0)
        self.assertRaises(NeverSentError, self.ack, 1.1, (0, 3))
        self.assertEqual(self.recovery.in_flight, 2000)
        self.assertEqual(self.ack(1.1, (2, 3), (0, 1)), [(0, 900), (900, 1800)])
        self.settle(1.1)
        self.send(1.2)
        self.ack(1.3, (2, 4), (0, 1))
        self.settle(1.3)
        # It is settled: nobody is asked about it any more.
        self.assertEqual(self.ack(1.3, (0, 4)), [])

    def test_probe_timeout(self) -> None:
        """When nothing arrives at all, something is to be sent; the third time in a row, nothing is known any more."""
        self.assertEqual((self.recovery.deadline(), self.recovery.timed_out(9.0)), (inf, False))
        self.send(1.0)
        self.ack(1.1, (0, 1))
        self.send(1.1)
        now = self.recovery.deadline()
        self.assertAlmostEqual(now, 1.1 + 0.1 + 0.2 + 0.025)
        self.assertFalse(self.recovery.timed_out(now - 0.001))
        gaps = []
        for _ in range(PERSISTENT_PROBES + 1):
            self.assertTrue(self.recovery.timed_out(now))
            self.send(now)
            gaps.append(self.recovery.deadline() - now)
            now = self.recovery.deadline()
        self.assertEqual(len(self.congestion.timeouts), 1)
        self.assertEqual([round(gap, 3) for gap in gaps], [0.65] * 4)
        self.ack(now, (0, self.number))
        self.assertEqual(self.recovery.probes, 0)

    def test_outage(self) -> None:
        """What was lost before everything was forgotten is not told again, and no rate is measured over an outage."""
        self.send(1.0)
        self.ack(1.1, (0, 1))
        self.settle(1.1)
        self.send(1.2, 50)
        for _ in range(PERSISTENT_PROBES):
            now = self.recovery.deadline()
            self.assertTrue(self.recovery.timed_out(now))
        self.send(now + 1e-3)
        self.send(now + 0.5)
        self.ack(now + 0.6, (52, 53))
        self.assertEqual(self.settle(now + 0.6), [(1, 51), (51, 52)])
        sample = self.congestion.samples[-1]
        self.assertEqual((sample.lost, sample.in_flight, sample.rate), (1000, 0, None))

    def test_reliable(self) -> None:
        """Over a stream nothing is lost, and nothing has to be asked for."""
        self.recovery = Recovery(self.congestion, RoundTrip(), reliable=True)
        self.send(1.0)
        self.send(2.0)
        self.ack(2.1, (1, 2))
        self.assertEqual((self.settle(2.1), self.recovery.deadline()), ([], inf))
        self.assertFalse(self.recovery.timed_out(99.0))
        self.assertEqual(self.ack(2.2, (0, 2)), [(0, 900)])

    def test_left_out_numbers(self) -> None:
        """A number that was left out is forgotten when all below it is settled, over a stream as well."""
        for reliable in (False, True):
            self.recovery = Recovery(self.congestion, RoundTrip(), reliable=reliable)
            self.send(1.0)
            self.recovery.skip(self.number)
            self.number += 1
            self.send(1.0)
            self.ack(1.1, (self.number - 1, self.number), (self.number - 3, self.number - 2))
            self.settle(1.1)
            self.assertEqual(len(self.recovery._skipped), 0)

    def test_disown(self) -> None:
        """What is under way of a range of the file does not count for it any more; the rest of it is told."""
        self.send(1.0, 2)
        self.send(1.0, 2)
        self.send(1.0, 2)
        self.assertEqual(self.recovery.disown(1700, 1900), [(0, 1800), (1800, 3600)])
        self.assertEqual(self.ack(1.1, (0, 6)), [(0, 0), (0, 0), (3600, 5400)])
        self.assertEqual(self.recovery.in_flight, 0)

    def test_another_path(self) -> None:
        """What was learned of the old path is forgotten."""
        self.test_found_after_all()
        trip = RoundTrip()
        self.recovery.path_changed(trip)
        self.assertEqual((self.recovery.reordering, self.recovery.rate), (0.0, None))
        self.assertIs(self.recovery.round_trip, trip)

    @settings(deadline=None, max_examples=200)
    @given(
        trains=st.lists(st.integers(1, 6), min_size=1, max_size=8),
        cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=12),
    )
    def test_take_out(self, trains: list[int], cuts: list[tuple[int, int]]) -> None:
        """Taking numbers out of flights is taking numbers out of a set, and each number keeps its bytes."""
        flights, at = [], 0
        for count in trains:
            at += 1  # a number that is left out
            short = 100
            stop = at * STRIDE + (count - 1) * STRIDE + short
            size = (count - 1) * WIRE + short + WIRE - STRIDE
            flights.append(Flight(at, at + count, 1.0, WIRE, size, at * STRIDE, STRIDE, stop))
            at += count
        total = sum(flight.size for flight in flights)
        numbers = {number for flight in flights for number in range(flight.first, flight.end)}
        for first, length in cuts:
            taken = take_out(flights, first, first + length)
            gone = {number for flight in taken for number in range(flight.first, flight.end)}
            self.assertEqual(gone, numbers & set(range(first, first + length)))
            numbers -= gone
            total -= sum(flight.size for flight in taken)
            for flight in (*taken, *flights):
                self.assertEqual(flight.start, flight.first * STRIDE)
                self.assertGreater(flight.stop, flight.start)
                self.assertLessEqual(flight.stop - flight.start, (flight.end - flight.first) * STRIDE)
            self.assertEqual(sum(flight.size for flight in flights), total)
        self.assertEqual(
            [number for flight in flights for number in range(flight.first, flight.end)], sorted(numbers)
        )
        self.assertIn("Flight([1, ", repr(Flight(1, 2, 0.0, 0, 0, 0, 0, 0)))
