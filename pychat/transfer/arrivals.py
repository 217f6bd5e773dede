"""The packet numbers that have arrived: to refuse replays by, and to acknowledge."""

from __future__ import annotations

from pychat.transfer.frames import MAX_ACK_RANGES, Ack
from pychat.transfer.ranges import RangeSet

#: Ranges of packet numbers kept; what is below them is refused as a replay.
MAX_SEEN_RANGES = MAX_ACK_RANGES


class Arrivals:
    """Packet numbers of one direction.

    :ivar seen: those that came, from `floor` on.
    :ivar floor: below it, all count as seen.
    :ivar largest: the largest that came; -1 before the first.
    :ivar time: when it came, seconds.
    """

    __slots__ = ("floor", "largest", "seen", "time")

    def __init__(self) -> None:
        self.seen = RangeSet()
        self.floor = 0
        self.largest = -1
        self.time = 0.0

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and (number < self.floor or number in self.seen)

    def add(self, first: int, end: int, now: float) -> bool:
        """Packets ``[first, end)`` came, none of which had come before.

        :return: whether they follow on the largest one so far.
        """
        self.seen.add(first, end)
        follows = first == self.largest + 1
        if end > self.largest + 1:
            self.largest = end - 1
            self.time = now
        return follows

    def forget_below(self, floor: int) -> None:
        """The peer no longer needs to hear of packet numbers below `floor`, which is at most one it has used."""
        floor = min(floor, self.largest)
        if floor > self.floor:
            self.seen.subtract(self.floor, floor)
            self.floor = floor

    def ack(self, limit: int, now: float) -> Ack:
        """The acknowledgement of all that came, which is at least one.

        :param limit: the file offset up to which the peer may send.
        """
        dropped = self.seen.trim(MAX_SEEN_RANGES)
        if dropped is not None:
            self.floor = max(self.floor, dropped)
        delay = max(int((now - self.time) * 1e6), 0)
        clock = int(self.time * 1e6) & 0xFFFFFFFFFFFFFFFF
        return Ack(delay, clock, limit, self.seen.highest(MAX_ACK_RANGES))
