"""The part of a file that its sender holds in memory: read already, and not known to have arrived.

It comes in blocks, mostly in order, and is sent in any order: what is lost is due again, the lowest offset first.  A
block stays until all of it has arrived.  The bytes that the receiver has already are as good as arrived from the
beginning.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from pychat.transfer.packet import Buffer
from pychat.transfer.ranges import RangeSet
from pychat.transfer.recovery import Flight
from pychat.transfer.terms import PIECE_BYTES

#: Bytes of the source that are read at once: on a slow path, and on a fast one.
BLOCK_BYTES = 128 * 1024
LARGE_BLOCK_BYTES = PIECE_BYTES


class _Block:
    """Bytes of the file from `start` to `end`, of which `left` have not arrived."""

    __slots__ = ("data", "end", "left", "start")

    def __init__(self, start: int, data: memoryview, left: int) -> None:
        self.start = start
        self.end = start + len(data)
        self.data = data
        self.left = left


class Outgoing:
    """What is to be read, sent, sent again, and let go.

    :param size: bytes of the file.
    :param have: ranges of it that the receiver has already.
    :param unknown: ranges that are to be read all the same, to be hashed; by whole pieces.
    :ivar limit: the offset up to which the peer is ready to take bytes.
    :ivar held: bytes in memory.
    :ivar progress: bytes that have arrived, those among them that the receiver had already.
    """

    def __init__(
        self, size: int, have: Sequence[tuple[int, int]] = (), unknown: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.limit = 0
        self.held = 0
        self._size = size
        self._blocks: list[_Block] = []
        self._starts: list[int] = []
        self._arrived = RangeSet()
        self._unread = RangeSet()
        self._due = RangeSet()
        for start, end in have:
            self._arrived.add(start, end)
        for start, end in (*self._arrived.missing(0, size), *unknown):
            self._unread.add(start, end)
        self.progress = self._arrived.total()

    @property
    def all_sent(self) -> bool:
        """Whether every byte has been sent at least once, and none is due again."""
        return not self._unread and not self._due

    @property
    def starved(self) -> bool:
        """Whether there is nothing to send only because it has not been read yet."""
        return not self._due and bool(self._unread)

    @property
    def due(self) -> int:
        """Bytes that were read and are to be sent."""
        return self._due.total()

    def wants(self, ahead: int, most: int, block: int) -> tuple[int, int] | None:
        """The offset and length of the next read, or None when there is enough, or no more.

        :param ahead: bytes that may be held and due.
        :param most: bytes that may be held at all, or two small blocks if that is more; for a piece that has to come
            again, as many in addition to what waits for the limit.
        :param block: bytes to read at once; a power of two.
        """
        if not self._unread:
            return None
        block = max(BLOCK_BYTES, min(block, LARGE_BLOCK_BYTES, most // 4 // BLOCK_BYTES * BLOCK_BYTES))
        start, end = self._unread.first()
        length = min(end, (start // block + 1) * block) - start
        held, due = self.held, self._due.total()
        if due and start < self.limit <= self._due.first()[0]:
            # A piece comes again, and the limit waits for it: what is held for later must not keep it from being read.
            held, due = sum([each.end - each.start for each in self._blocks if each.end <= self.limit]), 0
        if held + length > max(most, 2 * BLOCK_BYTES) or due >= max(2 * block, ahead):
            return None
        return start, length

    def supply(self, offset: int, data: Buffer) -> None:
        """What was read, as `wants` asked for it.  It is kept, not copied.

        :raises ValueError: it is not what is missing.
        """
        end = offset + len(data)
        if not data:
            return
        if self._unread.missing(offset, end):
            raise ValueError(f"{len(data)} bytes at {offset} were not asked for")
        self._unread.subtract(offset, end)
        left = 0
        for start, stop in self._arrived.missing(offset, end):
            self._due.add(start, stop)
            left += stop - start
        if left:
            at = bisect_right(self._starts, offset)
            self._starts.insert(at, offset)
            self._blocks.insert(at, _Block(offset, memoryview(data), left))
            self.held += end - offset

    def next(self) -> tuple[int, int]:
        """The range to send next, empty when there is none, or the peer takes no more."""
        if not self._due:
            return 0, 0
        start, end = self._due.first()
        return start, max(min(end, self.limit), start)

    @property
    def last(self) -> bool:
        """Whether nothing else will be due once `next` has been sent."""
        return len(self._due) < 2

    def cut(self, start: int, end: int) -> memoryview:
        """The bytes ``[start, end)``, which are held; they count as sent."""
        self._due.subtract(start, end)
        at = bisect_right(self._starts, start) - 1
        block = self._blocks[at]
        if end <= block.end:
            return block.data[start - block.start : end - block.start]
        parts = [block.data[start - block.start :]]
        while block.end < end:
            at += 1
            block = self._blocks[at]
            parts.append(block.data[: end - block.start])
        return memoryview(b"".join(parts))

    def missing(self, start: int, end: int) -> tuple[int, int]:
        """The first part of ``[start, end)`` that has not arrived; empty when all has."""
        gaps = self._arrived.missing(start, end)
        return gaps[0] if gaps else (start, start)

    def lost(self, flights: Sequence[Flight]) -> None:
        """What these flights carried is due again, as far as it did not arrive otherwise."""
        for flight in flights:
            for start, end in self._arrived.missing(flight.start, flight.stop):
                self._due.add(start, end)

    def lost_ranges(self, ranges: Sequence[tuple[int, int]]) -> None:
        """The same for ranges of the file."""
        for first, last in ranges:
            for start, end in self._arrived.missing(first, last):
                self._due.add(start, end)

    def first_limit(self, window: int) -> int:
        """The offset below which `window` bytes have not arrived."""
        return self._arrived.offset_of(window, self._size)

    def arrived(self, flights: Sequence[Flight]) -> int:
        """What these flights carried has arrived: let go of it.

        :return: bytes of it that had not arrived before.
        """
        fresh = 0
        for flight in flights:
            if flight.start < flight.stop:
                for start, end in self._arrived.missing(flight.start, flight.stop):
                    fresh += end - start
                    self._arrived.add(start, end)
                    self._let_go(start, end)
        self.progress += fresh
        return fresh

    def _let_go(self, start: int, end: int) -> None:
        """These bytes have just arrived."""
        if self._due:
            self._due.subtract(start, end)
        at = bisect_right(self._starts, start) - 1
        while start < end:
            block = self._blocks[at]
            stop = min(end, block.end)
            block.left -= stop - start
            start = stop
            if block.left:
                at += 1
                continue
            self.held -= block.end - block.start
            del self._blocks[at], self._starts[at]

    def again(self, start: int, end: int) -> None:
        """The receiver could not use these bytes: they are to be sent once more, and read if they are not held."""
        for first, last in self._arrived.within(start, end):
            self._arrived.subtract(first, last)
            self.progress -= last - first
            self._unread.add(first, last)
        for block in self._blocks:
            first, last = max(start, block.start), min(end, block.end)
            if first < last:
                self._unread.subtract(first, last)
                block.left = 0
                for lowest, highest in self._arrived.missing(block.start, block.end):
                    block.left += highest - lowest
                self._due.add(first, last)

    def clear(self) -> None:
        """Nothing will be read or sent any more."""
        self._blocks.clear()
        self._starts.clear()
        self.held = 0
        self._due = RangeSet()
        self._unread = RangeSet()
