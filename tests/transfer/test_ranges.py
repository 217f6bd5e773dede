"""Sets of ranges behave as sets do."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.ranges import RangeSet

RANGES = st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
STEPS = st.lists(st.tuples(st.sampled_from(["add", "subtract", "trim"]), RANGES), max_size=40)


class RangeSetTests(SynchronousTestCase):
    """`RangeSet`, by itself and beside a `set`."""

    @settings(deadline=None, max_examples=300)
    @given(steps=STEPS, probe=RANGES)
    def test_like_a_set(self, steps: list[tuple[str, tuple[int, int]]], probe: tuple[int, int]) -> None:
        """Whatever is added, taken out and forgotten, it holds what a set would hold, in the fewest ranges."""
        ranges, model = RangeSet(), set[int]()
        for step, (start, end) in steps:
            if step == "add":
                ranges.add(start, end)
                model.update(range(start, end))
            elif step == "subtract":
                ranges.subtract(start, end)
                model.difference_update(range(start, end))
            else:
                floor = ranges.trim(3)
                self.assertLessEqual(len(ranges), 3)
                if floor is not None:
                    self.assertIn(floor - 1, model)
                    model = {value for value in model if value >= floor}
        self.assertEqual([value for start, end in ranges for value in range(start, end)], sorted(model))
        pairs = list(ranges)
        self.assertTrue(all(before[1] < after[0] for before, after in pairwise(pairs)))
        self.assertEqual({value for value in range(-1, 60) if value in ranges}, model)
        missing = [value for start, end in ranges.missing(*probe) for value in range(start, end)]
        self.assertEqual(missing, [value for value in range(*probe) if value not in model])
        within = [value for start, end in ranges.within(*probe) for value in range(start, end)]
        self.assertEqual(within, [value for value in range(*probe) if value in model])
        self.assertEqual(ranges.total(), len(model))
        free = [value for value in range(60) if value not in model]
        self.assertEqual(ranges.offset_of(7, 60), free[6] + 1 if len(free) > 6 else 60)
        self.assertEqual(ranges.highest(2), tuple(pairs[::-1][:2]))
        self.assertEqual(bool(ranges), bool(model))
        if pairs:
            self.assertEqual((ranges.first(), ranges.last()), (pairs[0], pairs[-1]))

    def test_empty(self) -> None:
        """An empty set has no first and no last range, and misses everything."""
        ranges = RangeSet()
        self.assertRaises(IndexError, ranges.first)
        self.assertRaises(IndexError, ranges.last)
        self.assertEqual(ranges.missing(3, 5), [(3, 5)])
        self.assertEqual(ranges.missing(3, 3), [])
        self.assertNotIn("3", ranges)

    def test_empty_range(self) -> None:
        """An empty range cannot be added, and taking one out changes nothing."""
        ranges = RangeSet()
        self.assertRaises(ValueError, ranges.add, 3, 3)
        ranges.add(1, 9)
        ranges.subtract(5, 5)
        self.assertEqual(repr(ranges), "RangeSet([1, 9))")
