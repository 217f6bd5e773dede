"""Who comes and goes among very many: counted, and told in one line.

A notice about one person goes to at most :data:`CROWD` connections.  Where more would have to be told, what happens is
counted instead, and at most once a second they are told how much there was of it, and how many people there are then:
one line, and one buffer for all.
"""

from __future__ import annotations

CROWD = 100
"""Connections that are told of one person; where there are more it is counted."""

CHANGES = (b"joined", b"left", b"away", b"back")
"""What is counted, in the order in which the line has it."""


def is_crowd(count: int) -> bool:
    """Whether so many connections are not told of one person."""
    return count > CROWD


class Tally:
    """What happened in one place since it was told there."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = dict.fromkeys(CHANGES, 0)

    def add(self, change: bytes) -> None:
        """It happened to one more."""
        self._counts[change] += 1

    def line(self, place: bytes, people: int) -> bytes:
        """The line; what did not happen is left out.

        :param place: the rendered attribute, `` in=#room``, or nothing.
        :param people: how many there are now.
        """
        counts = b"".join(b" %s=%d" % (change, count) for change, count in self._counts.items() if count)
        return b"<people%s%s>%d\n" % (place, counts, people)
