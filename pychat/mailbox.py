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
from collections.abc import Sequence


class Mailbox:
    """Queue of whole-line buffers for one connection, with marks that tie bytes to message ids."""

    __slots__ = ("cleared", "marks", "queue", "queued", "total")

    def __init__(self) -> None:
        # Lists, for an empty deque takes ten times the memory, and most connections are idle most of the time.
        self.queue: list[bytes] | None = None
        """The buffers; ``None`` if there are none.  Only :func:`pychat.peer.send_all` looks in here, too."""
        self.marks: list[tuple[int, int]] | None = None
        """Positions, and up to which id the peer has its messages there."""
        self.cleared = False
        """Messages were dropped."""
        self.queued = 0
        """Bytes put in and not yet taken."""
        self.total = 0
        """Bytes put in since the connection began, less what was cleared."""

    def put(self, data: bytes) -> None:
        """Queue whole lines."""
        if self.queue is None:
            self.queue = [data]
        else:
            self.queue.append(data)
        size = len(data)
        self.queued += size
        self.total += size

    def put_messages(self, data: bytes, upto: int) -> None:
        """Queue whole lines after which the peer has all its messages up to id ``upto``.

        Once messages were dropped no later position can say that: there is no mark then.
        """
        if self.queue is None:
            self.queue = [data]
        else:
            self.queue.append(data)
        size = len(data)
        self.queued += size
        self.total += size
        if self.cleared:
            return
        if self.marks is None:
            self.marks = [(self.total, upto)]
        else:
            self.marks.append((self.total, upto))

    def take(self, limit: int) -> bytes:
        """Take buffers, oldest first, until at least ``limit`` bytes are taken or none is left."""
        queue = self.queue
        if queue is None:
            return b""
        if len(queue) == 1:
            data = queue[0]
            self.queue = None
        elif self.queued <= limit:
            data = b"".join(queue)
            self.queue = None
        else:
            count = size = 0
            while size < limit and count < len(queue):
                size += len(queue[count])
                count += 1
            data = queue[0] if count == 1 else b"".join(queue[:count])
            del queue[:count]
            if not queue:
                self.queue = None
        self.queued -= len(data)
        return data

    def clear(self) -> None:
        """Drop what is queued; what was taken counts as before."""
        self.cleared = True
        self.queue = None
        self.total -= self.queued
        self.queued = 0
        while self.marks and self.marks[-1][0] > self.total:
            self.marks.pop()

    @property
    def marked(self) -> bool:
        """True while there are marks that no position has reached."""
        return bool(self.marks)

    def reached(self, position: int) -> int:
        """Drop the marks at or before a position; return the highest id among them, or 0."""
        marks = self.marks
        if not marks or marks[0][0] > position:
            return 0
        if marks[-1][0] <= position:
            self.marks = None
            return marks[-1][1]
        count = bisect_right(marks, position, key=_position)
        upto = marks[count - 1][1]
        del marks[:count]
        return upto


def _position(mark: tuple[int, int]) -> int:
    return mark[0]


class Unacked:
    """What was sent to a client that acknowledges, until it does."""

    __slots__ = ("_first", "_parcels", "_skip", "messages", "size")

    def __init__(self) -> None:
        self._parcels: list[tuple[Sequence[int], Sequence[bytes], int]] = []
        self._first = 0  # parcels before this one are done with
        self._skip = 0
        self.messages = 0
        """How many messages wait for their ack."""
        self.size = 0
        """The bytes of their lines."""

    def sent(self, ids: Sequence[int], lines: Sequence[bytes], size: int) -> None:
        """Note messages as sent, in the order of sending; ids rise.  ``size`` is the lines' bytes."""
        self._parcels.append((ids, lines, size))
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
        ids = parcels[place][0]
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
        ids, lines, size = self._parcels[self._first]
        skip = self._skip
        # Mostly whole ones.
        self.size -= size if not skip and end == len(ids) else sum(map(len, lines[skip:end]))
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
        for _, lines, _ in self._parcels[self._first :]:
            for line in lines[skip:]:
                if again and size + len(line) > limit:
                    return b"".join(again)
                again.append(line)
                size += len(line)
            skip = 0
        return b"".join(again)


def _last_id(parcel: tuple[Sequence[int], Sequence[bytes], int]) -> int:
    return parcel[0][-1]
