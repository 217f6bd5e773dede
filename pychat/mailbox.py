"""What one connection is owed: bytes not yet handed to its transport, and messages not yet acknowledged.

Theory of operation.  ``Mailbox`` is a queue of buffers.  A buffer holds whole lines, and the buffer of a
broadcast batch is one object shared by every mailbox it lies in, so a member costs an assignment and not a
copy.  Who takes part in a batch has a copy of her own, which is in pieces until it is written.  Positions are
counted in bytes since the connection began.  A *mark* says: once the peer has all bytes up to here, it has all
messages up to this id.  Marks stand per buffer, never per message, and are only looked at when somebody asks.

With thousands of connections each object costs as much to find as ten steps of Python, for it has left the
processor's caches since its last use.  So what a mailbox mostly has, one buffer and one mark, stands in itself.

``Unacked`` holds what a client that acknowledges was sent and has not acknowledged, as *parcels*: the ids
and lines of one batch, shared in the same way.  An ack is cumulative over the order of sending.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

Make: TypeAlias = "Callable[[], tuple[Sequence[int], Sequence[bytes]]]"
"""Makes the ids and the lines of a parcel."""


class Mailbox:
    """Queue of whole-line buffers for one connection, with marks that tie bytes to message ids."""

    __slots__ = (
        "cleared",
        "last_at",
        "mark_at",
        "mark_id",
        "more_marks",
        "queue",
        "queued",
        "total",
        "waits",
    )

    def __init__(self) -> None:
        # Only pychat.peer.send_all and pychat.outlet.Outlet.flush look in here, too.  As in pychat.peer.Peer, the order
        # counts.
        self.queue: bytes | list[bytes | memoryview] | None = None
        """The buffer, or the buffers; ``None`` if there are none."""
        self.queued = 0
        """Bytes put in and not yet taken."""
        self.total = 0
        """Bytes put in since the connection began, less what was cleared."""
        self.cleared = False
        """Messages were dropped."""
        self.waits = False
        """What was taken last is still on its way to the kernel: what is put in now stays for a while."""
        self.mark_id = self.mark_at = 0
        """The first mark: up to which id the peer has its messages (0: there is none), and at which position."""
        self.last_at = 0
        """The position of the last mark, if there is one."""
        self.more_marks: list[Any] | None = None
        """Of each of the others a pair: how many bytes it is behind the one before, and up to which id.

        So the marks of what is said to many are mostly one object, too."""

    def put(self, data: bytes) -> None:
        """Queue whole lines."""
        queue = self.queue
        if queue is None:
            self.queue = data
        elif isinstance(queue, bytes):
            self.queue = [queue, data]
        else:
            queue.append(data)
        size = len(data)
        self.queued += size
        self.total += size

    def put_messages(self, data: bytes, upto: int) -> None:
        """Queue whole lines after which the peer has all its messages up to id ``upto``.

        Once messages were dropped no later position can say that: there is no mark then.
        """
        queue = self.queue
        if queue is None:
            self.queue = data
        elif isinstance(queue, bytes):
            self.queue = [queue, data]
        else:
            queue.append(data)
        size = len(data)
        self.queued += size
        self.total = total = self.total + size
        if not self.cleared:
            self._mark(total, upto)

    def put_pieces(self, pieces: list[bytes | memoryview], size: int, upto: int) -> None:
        """The same with a buffer that is not joined yet: mostly that is done when it is written, and freed at once.

        Made for all before the first is written, these buffers would push each other out of the processor's caches.

        :param size: their bytes together.
        :param upto: 0: there is no message among it.
        """
        if self.waits or self.queue is not None:
            # The peer is slow: what waits for long is to be no part of something larger, which nobody counts.
            data = b"".join(pieces)
            if upto:
                self.put_messages(data, upto)
            else:
                self.put(data)
            return
        self.queue = pieces
        self.queued += size
        self.total = total = self.total + size
        if upto and not self.cleared:
            self._mark(total, upto)

    def _mark(self, total: int, upto: int) -> None:
        if not self.mark_id:
            self.mark_at, self.mark_id = total, upto
        elif self.more_marks is None:
            self.more_marks = [(total - self.last_at, upto)]
        else:
            self.more_marks.append((total - self.last_at, upto))
        self.last_at = total

    def take(self, limit: int) -> bytes:
        """Take buffers, oldest first, until at least ``limit`` bytes are taken or none is left."""
        queue = self.queue
        if queue is None:
            return b""
        if isinstance(queue, bytes):
            data = queue
            self.queue = None
        elif self.queued <= limit:
            data = b"".join(queue)
            self.queue = None
        else:
            count = size = 0
            while size < limit and count < len(queue):
                size += len(queue[count])
                count += 1
            data = b"".join(queue[:count])  # of one that is bytes, that is the same object
            rest = queue[count:]
            # As in put_pieces.
            self.queue = [each if isinstance(each, bytes) else bytes(each) for each in rest] if rest else None
        self.queued -= len(data)
        return data

    def clear(self) -> None:
        """Drop what is queued; what was taken counts as before."""
        self.cleared = True
        self.queue = None
        self.total -= self.queued
        self.queued = 0
        while self.more_marks and self.last_at > self.total:
            size, _ = self.more_marks.pop()
            self.last_at -= size
        if not self.more_marks:
            self.more_marks = None
            if self.mark_at > self.total:
                self.mark_id = 0

    @property
    def marked(self) -> bool:
        """True while there are marks that no position has reached."""
        return self.mark_id > 0

    def reached(self, position: int) -> int:
        """Drop the marks at or before a position; return the highest id among them, or 0."""
        upto = self.mark_id
        if not upto or self.mark_at > position:
            return 0
        marks = self.more_marks
        if marks is None:
            self.mark_id = 0
            return upto
        if self.last_at <= position:
            self.mark_id = 0
            self.more_marks = None
            last: tuple[int, int] = marks[-1]
            return last[1]
        at, count = self.mark_at, 0
        while True:
            # There is one behind the position.
            size, id = marks[count]
            at += size
            count += 1
            if at > position:
                break
            upto = id
        self.mark_at, self.mark_id = at, id
        self.more_marks = marks[count:] or None
        return upto


class Parcel:
    """Messages that went out together; one object for all connections that were sent the same."""

    __slots__ = ("_ids", "_lines", "_make", "count", "last", "size")

    def __init__(self, ids: Sequence[int], lines: Sequence[bytes], size: int) -> None:
        """:param size: the lines' bytes."""
        self.last = ids[-1]
        self.count = len(ids)
        self.size = size
        self._ids, self._lines = ids, lines
        self._make: Make | None = None

    @classmethod
    def late(cls, last: int, count: int, size: int, make: Make) -> Parcel:
        """One of which the ids and lines are made when somebody asks: nobody does if all of it is acknowledged at once.

        :param last: the last of the ids.
        :param count: how many there are.
        """
        parcel = cls((last,), (), size)
        parcel.count = count
        parcel._make = make
        return parcel

    def _made(self) -> None:
        if self._make is not None:
            self._ids, self._lines = self._make()
            self._make = None

    @property
    def ids(self) -> Sequence[int]:
        """The messages; ids rise."""
        self._made()
        return self._ids

    @property
    def lines(self) -> Sequence[bytes]:
        """Their lines."""
        self._made()
        return self._lines


class Unacked:
    """What was sent to a client that acknowledges, until it does."""

    __slots__ = ("_first", "_parcels", "_skip", "messages", "size")

    def __init__(self) -> None:
        self._parcels: list[Parcel] = []
        self._first = 0  # parcels before this one are done with
        self._skip = 0
        self.messages = 0
        """How many messages wait for their ack."""
        self.size = 0
        """The bytes of their lines."""

    def sent(self, parcel: Parcel) -> None:
        """Note messages as sent, in the order of sending; ids rise."""
        self._parcels.append(parcel)
        self.messages += parcel.count
        self.size += parcel.size

    def ack(self, upto: int) -> int | None:
        """Take out everything up to and including id ``upto``.

        A wrong id costs two bisects, however much waits.

        :return: how many messages that was; ``None`` if ``upto`` was not sent or is acknowledged already.
        """
        parcels, first = self._parcels, self._first
        place = bisect_left(parcels, upto, first, key=_last_id)
        if place == len(parcels):
            return None
        parcel = parcels[place]
        end = parcel.count
        if parcel.last != upto:
            end = bisect_right(parcel.ids, upto)
            if not end or parcel.ids[end - 1] != upto:
                return None
        if place == first and end <= self._skip:
            return None
        count = 0
        while self._first < place:
            count += self._drop(parcels[self._first].count)
        count += self._drop(end)
        if self._first > len(parcels) // 2:
            del parcels[: self._first]
            self._first = 0
        self.messages -= count
        return count

    def _drop(self, end: int) -> int:
        """Drop the first parcel's messages before ``end``; return how many."""
        parcel = self._parcels[self._first]
        skip = self._skip
        # Mostly whole ones.
        whole = not skip and end == parcel.count
        self.size -= parcel.size if whole else sum(map(len, parcel.lines[skip:end]))
        if end == parcel.count:
            self._first += 1
            self._skip = 0
        else:
            self._skip = end
        return end - skip

    def oldest(self, limit: int) -> bytes:
        """The lines to send again: oldest first, whole lines, one at least, up to ``limit`` bytes."""
        again: list[bytes] = []
        size, skip = 0, self._skip
        for parcel in self._parcels[self._first :]:
            for line in parcel.lines[skip:]:
                if again and size + len(line) > limit:
                    return b"".join(again)
                again.append(line)
                size += len(line)
            skip = 0
        return b"".join(again)


_last_id = attrgetter("last")
