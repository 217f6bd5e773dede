"""The search for the size of datagrams (RFC 8899)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.mtu import BLACK_HOLE_PROBES, MAX_PROBES, RAISE_SECONDS, SIZES, PathSize


class PathSizeTests(SynchronousTestCase):
    """`PathSize`."""

    def search(self, size: PathSize, takes: int, now: float = 0.0, rate: float | None = None) -> list[int]:
        """Search on a path that takes so many bytes: what was probed."""
        probed: list[int] = []
        number = 0
        while (wanted := size.due(now, rate)) is not None:
            probed.append(wanted)
            number += 1
            size.probed(number, wanted, now, 0.5)
            self.assertEqual(size.probing, number)
            self.assertIsNone(size.due(now, rate))
            self.assertFalse(size.arrived(((number + 1, number + 2),), now))
            if wanted <= takes:
                self.assertTrue(size.arrived(((number, number + 1),), now))
            now = max(now, size.deadline())
        return probed

    def test_upwards(self) -> None:
        """Each size that gets through makes room for the next one."""
        size = PathSize(0.0)
        self.assertEqual(size.size, 1200)
        self.assertEqual(self.search(size, 65535), list(SIZES[1:]))
        self.assertEqual(size.size, SIZES[-1])
        self.assertFalse(size.arrived(((0, 99),), 0.0))

    def test_three_losses(self) -> None:
        """A size that is lost three times is too large; ten minutes later it is tried again."""
        size = PathSize(0.0)
        self.assertEqual(self.search(size, 1480), [1452, 1472, *[8952] * MAX_PROBES])
        self.assertEqual(size.size, 1472)
        self.assertIsNone(size.due(RAISE_SECONDS - 1, None))
        self.assertEqual(self.search(size, 9000, RAISE_SECONDS + 10), [8952, *[16000] * MAX_PROBES])

    def test_limit(self) -> None:
        """Nothing is larger than it may be."""
        size = PathSize(0.0, limit=1452)
        self.assertEqual(self.search(size, 65535), [1452])
        self.assertEqual(self.search(PathSize(0.0, limit=1300), 65535), [1300])
        size = PathSize(0.0, limit=1000)
        self.assertEqual((size.size, self.search(size, 65535)), (1000, []))

    def test_known_before(self) -> None:
        """Where the path is known to take more, the search begins there."""
        self.assertEqual(self.search(PathSize(0.0, size=1472), 1500), [8952] * MAX_PROBES)

    def test_slow_path(self) -> None:
        """A probe that would keep a slow path busy for long is put off."""
        size = PathSize(0.0)
        self.assertEqual(self.search(size, 65535, rate=100_000), [1452, 1472])
        self.assertEqual(size.deadline(), 1.0)
        self.assertEqual(size.due(1.0, 1e9), 8952)

    def test_refused(self) -> None:
        """What the system refuses to send is too large: for the search, and for what is sent."""
        size = PathSize(0.0)
        size.probed(1, 1452, 0.0, 0.5)
        self.assertFalse(size.too_big(1452, 0.0))
        self.assertEqual((size.size, size.probing, size.due(0.0, None)), (1200, None, None))
        size = PathSize(0.0, size=16000)
        self.assertTrue(size.too_big(16000, 0.0))
        self.assertEqual((size.size, size.due(0.0, None)), (8952, None))
        self.assertFalse(size.too_big(1200, 0.0))
        self.assertTrue(size.too_big(1400, 0.0))
        self.assertEqual(size.size, 1200)

    def test_black_hole(self) -> None:
        """When only small datagrams get through any more, it begins from the smallest."""
        size = PathSize(0.0, size=8952)
        self.assertEqual(size.timed_out(), 8952)
        self.assertEqual(size.timed_out(), 1200)
        self.assertFalse(size.acked(1200, 1.0))
        for _ in range(BLACK_HOLE_PROBES):
            size.timed_out()
        self.assertTrue(size.acked(1100, 2.0))
        self.assertEqual((size.size, size.due(2.0, None)), (1200, 1452))

    def test_outage(self) -> None:
        """When large ones get through as well, nothing got through for a while, and that is all."""
        size = PathSize(0.0, size=8952)
        for _ in range(5):
            size.timed_out()
        self.assertFalse(size.acked(8952, 1.0))
        self.assertFalse(size.acked(1200, 1.0))
        self.assertEqual(size.size, 8952)

    def test_reset(self) -> None:
        """Another path is searched from the beginning."""
        size = PathSize(0.0, size=8952)
        size.reset(5.0)
        self.assertEqual((size.size, size.due(5.0, None)), (1200, 1452))
