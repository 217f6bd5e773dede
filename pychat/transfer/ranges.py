"""Sets of integers that come in runs: packet numbers that arrived, file bytes that are there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class RangeSet:
    """A set of integers, kept as half-open ranges ``[start, end)`` that are sorted and never touch.

    Adding at the upper end, which is what nearly every packet does, takes constant time.  Everything else is a
    binary search and a slice of the list of ranges.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Put ``[start, end)`` in.

        :raises ValueError: the range is empty.
        """
        if start >= end:
            raise ValueError(f"[{start}, {end}) is empty")
        starts, ends = self._starts, self._ends
        if not ends or start > ends[-1]:
            starts.append(start)
            ends.append(end)
            return
        if start == ends[-1]:
            ends[-1] = end
            return
        low = bisect_left(ends, start)
        high = bisect_right(starts, end)
        if low < high:
            start = min(start, starts[low])
            end = max(end, ends[high - 1])
        starts[low:high] = [start]
        ends[low:high] = [end]

    def subtract(self, start: int, end: int) -> None:
        """Take ``[start, end)`` out, as far as it is in."""
        starts, ends = self._starts, self._ends
        low = bisect_right(ends, start)
        high = bisect_left(starts, end)
        if low >= high or start >= end:
            return
        keep = [(starts[low], start)] if starts[low] < start else []
        if ends[high - 1] > end:
            keep.append((end, ends[high - 1]))
        starts[low:high] = [pair[0] for pair in keep]
        ends[low:high] = [pair[1] for pair in keep]

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of ``[start, end)`` that are not in the set, in ascending order."""
        starts, ends = self._starts, self._ends
        if not ends or start >= ends[-1]:
            return [(start, end)] if start < end else []
        gaps: list[tuple[int, int]] = []
        at = bisect_right(ends, start)
        while start < end:
            if at == len(starts) or starts[at] >= end:
                gaps.append((start, end))
                break
            if starts[at] > start:
                gaps.append((start, starts[at]))
            start = ends[at]
            at += 1
        return gaps

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of ``[start, end)`` that are in the set, in ascending order."""
        parts: list[tuple[int, int]] = []
        for first, last in self.missing(start, end):
            if start < first:
                parts.append((start, first))
            start = last
        if start < end:
            parts.append((start, end))
        return parts

    def total(self) -> int:
        """How many integers there are."""
        return sum(self._ends) - sum(self._starts)

    def offset_of(self, count: int, end: int) -> int:
        """The offset below which `count` integers from 0 on are not in the set; `end` if that lies beyond."""
        for start, stop in self.missing(0, end):
            if stop - start >= count:
                return start + count
            count -= stop - start
        return end

    def trim(self, count: int) -> int | None:
        """Forget the lowest ranges until at most `count` are left.

        :return: the end of the highest range that was forgotten, or None when none was.
        """
        excess = len(self._starts) - count
        if excess <= 0:
            return None
        floor = self._ends[excess - 1]
        del self._starts[:excess]
        del self._ends[:excess]
        return floor

    def first(self) -> tuple[int, int]:
        """The lowest range.

        :raises IndexError: the set is empty.
        """
        return self._starts[0], self._ends[0]

    def last(self) -> tuple[int, int]:
        """The highest range.

        :raises IndexError: the set is empty.
        """
        return self._starts[-1], self._ends[-1]

    def highest(self, count: int) -> tuple[tuple[int, int], ...]:
        """The `count` highest ranges, highest first: what an acknowledgement lists."""
        return tuple(zip(self._starts[: -count - 1 : -1], self._ends[: -count - 1 : -1], strict=True))

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int) or not self._ends or value >= self._ends[-1]:
            return False
        return self._starts[bisect_right(self._ends, value)] <= value

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        """How many ranges there are (not how many integers)."""
        return len(self._starts)

    def __repr__(self) -> str:
        return f"RangeSet({', '.join(f'[{start}, {end})' for start, end in self)})"
