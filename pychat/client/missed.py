"""What was said while somebody was away: how many messages there were, and where."""

from __future__ import annotations

from collections import Counter

from ..grammar import Line
from .render import visible
from .wording import messages

PLACES = 5
"""Rooms and people that are named; the others are counted together."""


class Missed:
    """The messages that are told again on one connection, or on those that broke meanwhile."""

    def __init__(self) -> None:
        self._places: Counter[str] = Counter()

    def add(self, line: Line) -> None:
        """One more, which is whole now."""
        if b"replay" in line.attributes:
            to = line.attributes.get(b"to", b"")
            sender = line.attributes.get(b"from", b"")
            where = (
                f"in {visible(to)}"
                if to.startswith(b"#")
                else "to all"
                if to == b"all"
                else f"from {visible(sender)}"
            )
            self._places[where] += 1

    def clear(self) -> None:
        """What was counted is over."""
        self._places.clear()

    def sum_up(self) -> str:
        """What to say of all that was counted, and begin anew; nothing of a single message, which can be seen."""
        places, self._places = self._places.most_common(), Counter()
        count = sum(number for _, number in places)
        if count < 2:
            return ""
        told = [f"{number} {where}" for where, number in places[:PLACES]]
        if places[PLACES:]:
            told.append(f"{sum(number for _, number in places[PLACES:])} elsewhere")
        return f"* you missed {messages(count)}: {', '.join(told)}"
