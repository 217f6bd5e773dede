"""The part of a file that its sender holds in memory: read already, and not known to have arrived.

It comes in blocks of `BLOCK_BYTES`, in order, each once.  A block stays until all of it has arrived, so that what is
lost is sent again from here.
"""

from __future__ import annotations

from collections.abc import Sequence

from pychat.transfer.congestion import SentPacket
from pychat.transfer.ranges import RangeSet

#: Bytes of the source that are read at once.
BLOCK_BYTES = 128 * 1024


class Outgoing:
    """What is to be sent, sent again, and let go.

    :param size: bytes of the file.
    :ivar limit: the offset up to which the peer is ready to take bytes.
    :ivar offset: the offset of the first byte that was never sent.
    """

    def __init__(self, size: int) -> None:
        self.limit = 0
        self.offset = 0
        self._size = size
        self._blocks: dict[int, bytes] = {}
        self._first_block = 0
        self._supplied = 0
        self._arrived = RangeSet()
        self._lost = RangeSet()

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return self._supplied - min(self._first_block * BLOCK_BYTES, self._supplied)

    @property
    def progress(self) -> int:
        """Bytes from the beginning of the file that have arrived."""
        if not self._arrived:
            return 0
        start, end = self._arrived.first()
        return end if start == 0 else 0

    @property
    def all_sent(self) -> bool:
        """Whether every byte has been sent at least once."""
        return self.offset == self._size

    @property
    def starved(self) -> bool:
        """Whether there is nothing new to send only because it has not been read yet."""
        return self.offset == self._supplied and (self.limit > self.offset or self.all_sent)

    def wants(self, ahead: int, most: int) -> tuple[int, int] | None:
        """The offset and length of the next read, or None when there is enough, or no more.

        :param ahead: bytes that may be held without having been sent.
        :param most: bytes that may be held at all, or two blocks if that is more.
        """
        length = min(BLOCK_BYTES, self._size - self._supplied)
        if length == 0 or self._supplied - self.offset >= max(2 * BLOCK_BYTES, ahead):
            return None
        if self.held + length > max(most, 2 * BLOCK_BYTES):
            return None
        return self._supplied, length

    def supply(self, offset: int, data: bytes) -> None:
        """What was read, exactly as `wants` asked for it.

        :raises ValueError: it is not what comes next.
        """
        if offset != self._supplied or len(data) != min(BLOCK_BYTES, self._size - offset):
            raise ValueError(f"{len(data)} bytes at {offset}, but {self._supplied} comes next")
        if data:
            self._blocks[offset // BLOCK_BYTES] = data
            self._supplied += len(data)

    def due(self) -> tuple[int, int]:
        """The range to send next: what is lost before what is new.  Empty when there is nothing."""
        if self._lost:
            return self._lost.first()
        return self.offset, max(min(self._supplied, self.limit), self.offset)

    @property
    def last(self) -> bool:
        """Whether nothing else will be due once `due` has been sent."""
        return len(self._lost) < 2

    def cut(self, start: int, end: int, room: int) -> bytes:
        """As much of ``[start, end)`` as fits into `room` bytes and lies in one block; it counts as sent."""
        index = start // BLOCK_BYTES
        base = index * BLOCK_BYTES
        data = self._blocks[index][start - base : min(start + room, end) - base]
        end = start + len(data)
        if self._lost:
            self._lost.subtract(start, end)
        if end > self.offset:
            self.offset = end
        return data

    def missing(self, start: int, end: int) -> tuple[int, int]:
        """The first part of ``[start, end)`` that has not arrived; empty when all has."""
        gaps = self._arrived.missing(start, end)
        return gaps[0] if gaps else (start, start)

    def lost(self, packets: Sequence[SentPacket]) -> None:
        """What these packets carried is due again, as far as it did not arrive otherwise."""
        for packet in packets:
            for start, end in self._arrived.missing(packet.start, packet.end):
                self._lost.add(start, end)

    def arrived(self, packets: Sequence[SentPacket]) -> None:
        """What these packets carried has arrived: let go of it."""
        start = end = 0
        for packet in packets:
            if packet.start == end and start < end:
                end = packet.end
            elif packet.start < packet.end:
                self._settle(start, end)
                start, end = packet.start, packet.end
        self._settle(start, end)
        progress = self.progress
        while min((self._first_block + 1) * BLOCK_BYTES, self._supplied) <= progress:
            if self._blocks.pop(self._first_block, None) is None:
                break
            self._first_block += 1

    def _settle(self, start: int, end: int) -> None:
        if start < end:
            self._arrived.add(start, end)
            if self._lost:
                self._lost.subtract(start, end)

    def clear(self) -> None:
        """Nothing will be sent any more."""
        self._blocks.clear()
        self._supplied = 0
        self._lost = RangeSet()
