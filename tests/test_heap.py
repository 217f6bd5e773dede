"""What is freed is kept for what is needed next, where the C library can do so."""

from __future__ import annotations

import ctypes
import sys
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from pychat import heap


class Library:
    """A C library; it takes what it is given, or not."""

    def __init__(self, takes: bool) -> None:
        self.takes = takes
        self.given: list[tuple[int, int]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.given.append((option, value))
        return int(self.takes)

    def malloc_trim(self, kept: int) -> int:
        self.given.append((0, kept))
        return int(self.takes)


class WithoutLibrary(SynchronousTestCase):
    """A Python that cannot ask the C library."""

    def test_no_ctypes(self) -> None:
        """One that was built without `ctypes` does without."""
        with patch.dict(sys.modules, {"ctypes": None}):
            self.assertFalse(heap.share_heap())
            self.assertFalse(heap.keep_freed())
            self.assertFalse(heap.GivingBack().give_back())


class Keeping(SynchronousTestCase):
    """`keep_freed`."""

    def test_told(self) -> None:
        """Both thresholds are set, for to set one alone fixes the other at its small beginning."""
        library = Library(True)
        self.assertTrue(heap.keep_freed(library))
        self.assertEqual(dict(library.given), {-1: heap.KEPT, -3: heap.LARGE})

    def test_missing(self) -> None:
        """Other systems have another way with memory, or none that can be told."""
        self.assertFalse(heap.keep_freed(object()))
        self.assertFalse(heap.keep_freed(Library(False)))

        def missing(name: object) -> object:
            raise TypeError("Windows has no name for the program itself")

        self.patch(ctypes, "CDLL", missing)
        self.assertFalse(heap.keep_freed())

    def test_here(self) -> None:
        """It harms nobody."""
        known = heap.keep_freed()
        if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
            self.assertTrue(known)


class Sharing(SynchronousTestCase):
    """`share_heap`."""

    def test_told(self) -> None:
        """The number of heaps is set, where there is such a number."""
        for takes in (True, False):
            library = Library(takes)
            self.assertEqual(heap.share_heap(library), takes)
            self.assertEqual(library.given, [(-8, 1)])

    def test_missing(self) -> None:
        """Other systems have another way with memory, or none that can be told."""
        self.assertFalse(heap.share_heap(object()))

        def missing(name: object) -> object:
            raise TypeError("Windows has no name for the program itself")

        self.patch(ctypes, "CDLL", missing)
        self.assertFalse(heap.share_heap())


class GivingBack(SynchronousTestCase):
    """`GivingBack`."""

    def begin(self, takes: bool = True, seconds: float = 0.001) -> None:
        self.libc = Library(takes)
        self.took = seconds
        self.now = 0.0
        self.giving = heap.GivingBack(self.libc, self.clock)

    def clock(self) -> float:
        # Each call of the library lies between two looks at the clock.
        self.now += self.took
        return self.now

    def times(self, asked: int) -> int:
        """How often it was really done when it was asked so many times."""
        before = len(self.libc.given)
        for _ in range(asked):
            self.giving.give_back()
        return len(self.libc.given) - before

    def test_quick(self) -> None:
        """What is quick is done each time, and tells whether there was something."""
        for takes in (True, False):
            self.begin(takes)
            self.assertEqual(self.giving.give_back(), takes)
            self.assertEqual(self.libc.given, [(0, 0)])
            self.assertEqual(self.times(10), 10)

    def test_slow(self) -> None:
        """What takes long is done ever less often, but does not end; and as before once it is quick again."""
        self.begin(seconds=2 * heap.QUICK_SECONDS)
        self.assertEqual([self.times(1) for _ in range(7)], [1, 0, 1, 0, 0, 0, 1])
        self.times(5000)
        self.assertEqual(self.times(10 * heap.RAREST), 10)
        self.took = 0.0
        self.times(3 * heap.RAREST)
        self.assertEqual(self.times(10), 10)

    def test_missing(self) -> None:
        """Other systems have nothing of the kind."""
        self.assertFalse(heap.GivingBack(object()).give_back())

    def test_here(self) -> None:
        """It harms nobody."""
        heap.GivingBack().give_back()
