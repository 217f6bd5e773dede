"""What one connection is owed: bytes not yet handed to its transport, and messages not yet acknowledged.

Theory of operation.  ``Mailbox`` is a queue of buffers.  A buffer holds whole lines, and the buffer of a
broadcast batch is one object shared by every mailbox it lies in, so a member costs an append and not a
copy.  Positions are counted in bytes since the connection began.  A *mark* says: once the peer has all
bytes up to here, it has all messages up to this id.  Marks stand per buffer, never per message, and are
only looked at when somebody asks.

``Unacked`` holds what a client that acknowledges was sent and has not acknowledged, as *parcels*: the ids
and lines of one batch, shared in the same way.  An ack is cumulative over the order of sending.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence


class Mailbox:
    """Queue of whole-line buffers for one connection, with marks that tie bytes to message ids."""

    __slots__ = ("_cleared", "_marks", "_queue", "queued", "total")

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()
        self._marks: deque[tuple[int, int]] | None = None
        self._cleared = False
        self.queued = 0
        """Bytes put in and not yet taken."""
        self.total = 0
        """Bytes put in since the connection began, less what was cleared."""

    def put(self, data: bytes) -> None:
        """Queue whole lines."""
        self._queue.append(data)
        size = len(data)
        self.queued += size
        self.total += size

    def put_messages(self, data: bytes, upto: int) -> None:
        """Queue whole lines after which the peer has all its messages up to id ``upto``.

        Once messages were dropped no later position can say that: there is no mark then.
        """
        self._queue.append(data)
        size = len(data)
        self.queued += size
        self.total += size
        if self._cleared:
            return
        if self._marks is None:
            self._marks = deque()
        self._marks.append((self.total, upto))

    def take(self, limit: int) -> bytes:
        """Take buffers, oldest first, until at least ``limit`` bytes are taken or none is left."""
        queue = self._queue
        if len(queue) == 1 or (queue and len(queue[0]) >= limit):
            data = queue.popleft()
        else:
            taken, size = [], 0
            while queue and size < limit:
                buffer = queue.popleft()
                size += len(buffer)
                taken.append(buffer)
            data = b"".join(taken)
        self.queued -= len(data)
        return data

    def clear(self) -> None:
        """Drop what is queued; what was taken counts as before."""
        self._cleared = True
        self._queue.clear()
        self.total -= self.queued
        self.queued = 0
        while self._marks and self._marks[-1][0] > self.total:
            self._marks.pop()

    @property
    def marked(self) -> bool:
        """True while there are marks that no position has reached."""
        return bool(self._marks)

    def reached(self, position: int) -> int:
        """Drop the marks at or before a position; return the highest id among them, or 0."""
        upto = 0
        marks = self._marks
        while marks and marks[0][0] <= position:
            upto = marks.popleft()[1]
        return upto


class Unacked:
    """What was sent to a client that acknowledges, until it does."""

    __slots__ = ("_first", "_parcels", "_skip", "messages", "size")

    def __init__(self) -> None:
        self._parcels: list[tuple[Sequence[int], Sequence[bytes]]] = []
        self._first = 0  # parcels before this one are done with
        self._skip = 0
        self.messages = 0
        """How many messages wait for their ack."""
        self.size = 0
        """The bytes of their lines."""

    def sent(self, ids: Sequence[int], lines: Sequence[bytes], size: int) -> None:
        """Note messages as sent, in the order of sending; ids rise.  ``size`` is the lines' bytes."""
        self._parcels.append((ids, lines))
        self.messages += len(ids)
        self.size += size

    def ack(self, upto: int) -> int | None:
        """Take out everything up to and including id ``upto``.

        A wrong id costs two bisects, however much waits.

        :return: how many messages that was; ``None`` if ``upto`` was not sent or is acknowledged already.
        """
        parcels = self._parcels
        place = bisect_left(parcels, upto, self._first, key=_last_id)
        if place == len(parcels):
            return None
        ids, _ = parcels[place]
        end = bisect_right(ids, upto)
        if not end or ids[end - 1] != upto or (place == self._first and end <= self._skip):
            return None
        count = 0
        while self._first < place:
            count += self._drop(len(parcels[self._first][0]))
        count += self._drop(end)
        if self._first > len(parcels) // 2:
            del parcels[: self._first]
            self._first = 0
        self.messages -= count
        return count

    def _drop(self, end: int) -> int:
        """Drop the first parcel's messages before ``end``; return how many."""
        ids, lines = self._parcels[self._first]
        skip = self._skip
        self.size -= sum(map(len, lines[skip:end]))
        if end == len(ids):
            self._first += 1
            self._skip = 0
        else:
            self._skip = end
        return end - skip

    def oldest(self, limit: int) -> bytes:
        """The lines to send again: oldest first, whole lines, one at least, up to ``limit`` bytes."""
        again: list[bytes] = []
        size, skip = 0, self._skip
        for _, lines in self._parcels[self._first :]:
            for line in lines[skip:]:
                if again and size + len(line) > limit:
                    return b"".join(again)
                again.append(line)
                size += len(line)
            skip = 0
        return b"".join(again)


def _last_id(parcel: tuple[Sequence[int], Sequence[bytes]]) -> int:
    return parcel[0][-1]
