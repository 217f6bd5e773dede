"""RFC 9002 §5."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.roundtrip import INITIAL_RTT, RoundTrip


class RoundTripTests(SynchronousTestCase):
    """`RoundTrip`."""

    def test_first(self) -> None:
        """The first sample is taken as it is."""
        trip = RoundTrip()
        self.assertEqual((trip.latest, trip.smoothed, trip.variation), (None, INITIAL_RTT, INITIAL_RTT / 2))
        trip.update(0.1, 0.02)
        self.assertEqual((trip.latest, trip.minimum, trip.smoothed, trip.variation), (0.1, 0.1, 0.1, 0.05))
        self.assertAlmostEqual(trip.probe_timeout, 0.1 + 0.2 + 0.025)

    def test_smoothing(self) -> None:
        """Later ones weigh an eighth and a quarter, and the peer's delay counts up to 25 ms."""
        trip = RoundTrip()
        trip.update(0.1, 0.0)
        trip.update(0.2, 0.020)
        self.assertAlmostEqual(trip.smoothed, 0.1 + 0.08 / 8)
        self.assertAlmostEqual(trip.variation, 0.05 + (0.08 - 0.05) / 4)
        trip = RoundTrip()
        trip.update(0.1, 0.0)
        trip.update(0.2, 5.0)
        self.assertAlmostEqual(trip.smoothed, 0.1 + 0.075 / 8)
        trip.update(0.1, 0.02)
        self.assertAlmostEqual(trip.minimum, 0.1)

    def test_no_time(self) -> None:
        """A clock too coarse to show a round trip still gives one."""
        trip = RoundTrip()
        trip.update(0.0, 0.0)
        self.assertGreater(trip.smoothed, 0)

    def test_back_off(self) -> None:
        """The probe timeout doubles up to 300 ms, or twice itself if that is more."""
        trip = RoundTrip()
        trip.update(0.02, 0.0)
        timeout = trip.probe_timeout
        self.assertEqual(
            [trip.backed_off(times) for times in (0, 1, 2, 99)], [timeout, 2 * timeout, 0.3, 0.3]
        )
        trip.update(0.5, 0.0)
        self.assertEqual(trip.backed_off(9), 2 * trip.probe_timeout)
