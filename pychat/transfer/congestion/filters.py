"""Running extremes: the highest rate of the last rounds, the lowest delay of the last seconds."""

from __future__ import annotations

from collections import deque
from math import inf


class RecentMaximum:
    """The largest of what was seen in the last `span` rounds.

    :ivar value: it; 0 if nothing was seen.
    """

    __slots__ = ("_entries", "_span", "value")

    def __init__(self, span: int) -> None:
        self._span = span
        self._entries: deque[tuple[int, float]] = deque()
        self.value = 0.0

    def add(self, value: float, turn: int) -> None:
        """Take one value, seen in round `turn`."""
        entries = self._entries
        while entries and entries[-1][1] <= value:
            entries.pop()
        entries.append((turn, value))
        self.pass_on(turn)

    def pass_on(self, turn: int, span: int | None = None) -> None:
        """Round `turn` has begun: forget what is too old (by another span, if given), but never the last value."""
        entries = self._entries
        oldest = turn - (self._span if span is None else span)
        while len(entries) > 1 and entries[0][0] <= oldest:
            entries.popleft()
        if entries:
            self.value = entries[0][1]


class RecentMinimum:
    """The smallest of what was seen in the last `spans` spans of time; `rotate` ends one.

    :ivar value: it; inf if nothing was seen.
    """

    __slots__ = ("_spans", "value")

    def __init__(self, spans: int) -> None:
        self._spans = deque([inf], maxlen=spans)
        self.value = inf

    def add(self, value: float) -> None:
        """Take one value."""
        if value < self._spans[-1]:
            self._spans[-1] = value
            if value < self.value:
                self.value = value

    def rotate(self) -> None:
        """A span ends: the oldest one is forgotten, if anything was seen since."""
        if self._spans[-1] < inf:
            self._spans.append(inf)
            self.value = min(self._spans)
