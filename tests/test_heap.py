"""What is freed is kept for what is needed next, where the C library can do so."""

from __future__ import annotations

import ctypes
import sys

from twisted.trial.unittest import SynchronousTestCase

from pychat import heap, kernel


class Library:
    """A C library; it takes what it is given, or not."""

    def __init__(self, takes: bool) -> None:
        self.takes = takes
        self.given: list[tuple[int, int]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.given.append((option, value))
        return int(self.takes)

    def malloc_trim(self, kept: ctypes.c_size_t) -> int:
        self.given.append((0, kept.value))
        return int(self.takes)


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
    """`give_back`."""

    def test_small(self) -> None:
        """A process that is not large gives back all that it can, and hears whether that was something."""
        for takes in (True, False):
            library = Library(takes)
            self.assertEqual(heap.give_back(heap.SMALL, library), takes)
            self.assertEqual(library.given, [(0, 0)])

    def test_large(self) -> None:
        """Where it would take long it is not done."""
        library = Library(True)
        self.assertFalse(heap.give_back(heap.SMALL + 1, library))
        self.assertEqual(library.given, [])

    def test_missing(self) -> None:
        """Other systems have no such thing."""
        self.assertFalse(heap.give_back(0, object()))

        def missing(name: object) -> object:
            raise TypeError("Windows has no name for the program itself")

        self.patch(ctypes, "CDLL", missing)
        self.assertFalse(heap.give_back(0))

    def test_here(self) -> None:
        """What lies between things that are in use comes back, where that can be told."""
        held = [bytes(50_000) for _ in range(1000)]
        del held[1::2]
        full = kernel.memory()
        known = heap.give_back(0)
        after = kernel.memory()
        if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
            assert full is not None
            assert after is not None
            self.assertTrue(known)
            self.assertLess(after, full - 15_000_000)
        self.assertEqual(len(held), 500)
