"""NewReno, with literal numbers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.congestion import CONTROLLERS, NewReno, SentPacket


def packet(number: int, time: float, size: int = 1000) -> SentPacket:
    """A packet that was sent."""
    return SentPacket(number, time, size)


class NewRenoTests(SynchronousTestCase):
    """RFC 9002 §7."""

    def test_initial_window(self) -> None:
        """§7.2: ten datagrams, but no more than 14,720 bytes, unless that is less than two."""
        self.assertEqual(
            [NewReno(size).window for size in (1000, 1200, 1472, 9000)], [10000, 12000, 14720, 18000]
        )

    def test_slow_start(self) -> None:
        """§7.3.1: as much more as arrived."""
        reno = NewReno(1000)
        reno.acked([packet(0, 1.0), packet(1, 1.0)], now=1.1, limited=True)
        self.assertEqual(reno.window, 12000)
        self.assertTrue(reno.slow_start)

    def test_not_limited(self) -> None:
        """§7.8: a window that was not used does not grow."""
        reno = NewReno(1000)
        reno.acked([packet(0, 1.0)], now=1.1, limited=False)
        self.assertEqual(reno.window, 10000)

    def test_one_halving_a_round_trip(self) -> None:
        """§7.3.2: losses of what was sent before the first loss was noticed count once."""
        reno = NewReno(1000)
        reno.lost([packet(0, 1.0), packet(1, 1.1)], now=1.5, persistent=False)
        self.assertEqual(reno.window, 5000)
        reno.lost([packet(2, 1.4)], now=1.6, persistent=False)
        self.assertEqual(reno.window, 5000)
        reno.lost([packet(3, 1.6)], now=1.8, persistent=False)
        self.assertEqual(reno.window, 2500)
        reno.lost([packet(4, 1.9)], now=2.0, persistent=False)
        self.assertEqual(reno.window, 2000)

    def test_congestion_avoidance(self) -> None:
        """§7.3.3: a datagram more for each window that arrived, and nothing for what was sent before the loss."""
        reno = NewReno(1000)
        reno.lost([packet(0, 1.0)], now=1.5, persistent=False)
        reno.acked([packet(1, 1.4)] * 9, now=1.6, limited=True)
        self.assertEqual(reno.window, 5000)
        reno.acked([packet(2, 1.6)] * 4, now=1.7, limited=True)
        self.assertEqual(reno.window, 5000)
        reno.acked([packet(3, 1.6)], now=1.7, limited=True)
        self.assertEqual(reno.window, 6000)

    def test_persistent(self) -> None:
        """§7.6.2: everything was lost for long: two datagrams, and slow start again."""
        reno = NewReno(1000)
        reno.lost([packet(0, 1.0), packet(1, 4.0)], now=5.0, persistent=True)
        self.assertEqual(reno.window, 2000)
        reno.acked([packet(2, 4.5)], now=5.1, limited=True)
        self.assertEqual(reno.window, 3000)

    def test_pacing(self) -> None:
        """§7.7: twice the window a round trip in slow start, five quarters after it."""
        reno = NewReno(1000)
        self.assertEqual(reno.pacing_rate(0.1), 200_000)
        reno.lost([packet(0, 1.0)], now=1.5, persistent=False)
        self.assertEqual(reno.pacing_rate(0.1), 62_500)

    def test_table(self) -> None:
        """Controllers are found by name."""
        self.assertIsInstance(CONTROLLERS["newreno"](1200), NewReno)
