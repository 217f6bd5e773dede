"""Packets that are larger than a datagram: they travel in fragments, and are put together again.

::

     0        1                 9              15      16      17                    n
    +--------+-----------------+--------------+-------+-------+---------------------+
    | kind   | transfer id     | packet number| index | count | part of sealed bytes|
    +--------+-----------------+--------------+-------+-------+---------------------+

Sealing and opening a packet costs more than the bytes of a datagram do.  So where a path is fast and loses next to
nothing, a sender seals what a whole train carries as one packet.  A fragment that is lost costs all of its packet: who
sends decides whether that is worth it (`Sender`).  A fragment by itself proves nothing; what it is a part of is
authenticated as a whole.
"""

from __future__ import annotations

from typing import NamedTuple

from pychat.transfer.packet import (
    FRAGMENT_HEADER_BYTES,
    FRAGMENTS,
    HEADER_BYTES,
    MAX_DATAGRAM_BYTES,
    MAX_FRAGMENTS,
    Buffer,
    PacketError,
)
from pychat.transfer.series import cutter, series

#: Packets of which some fragments are missing, and that are kept until the others come; and bytes of all of these.
MAX_PARTIAL = 16
MAX_PARTIAL_BYTES = 512 * 1024
#: Bytes of a packet that are sealed, at most.
MAX_SEALED_BYTES = MAX_DATAGRAM_BYTES - HEADER_BYTES


class Sealed(NamedTuple):
    """A packet all of which is here.

    :ivar number: its packet number.
    :ivar data: what is sealed, and its tag.
    :ivar nbytes: bytes of the datagrams that it came in, of those that came now.
    :ivar datagrams: how many these were in all.
    """

    number: int
    data: Buffer
    nbytes: int
    datagrams: int = 1


def cut(header: bytes, sealed: bytes, size: int) -> bytes:
    """A sealed packet as datagrams of `size` bytes, one after the other; the last may be shorter.

    :param header: the packet's own.
    :param sealed: what follows it; more than one and at most `MAX_FRAGMENTS` datagrams' worth.
    """
    room = size - FRAGMENT_HEADER_BYTES
    count = -(-len(sealed) // room)
    first = int.from_bytes(bytes((header[0] + FRAGMENTS,)) + header[1:], "big") << 16 | count
    heads = series(first, 1 << 8, count, FRAGMENT_HEADER_BYTES)
    parts = [b""] * (2 * count)
    parts[0::2] = cutter(count, FRAGMENT_HEADER_BYTES).unpack(heads)
    parts[1::2] = (*cutter(count - 1, room).unpack_from(sealed), sealed[(count - 1) * room :])
    return b"".join(parts)


def whole(train: memoryview, at: int, segment: int) -> Sealed | None:
    """The packet whose fragments all lie in a train, in order from `at` on; None if they do not.

    :param segment: bytes of each datagram of the train but the last.
    """
    index, count = train[at + HEADER_BYTES : at + FRAGMENT_HEADER_BYTES]
    last, end = at + (count - 1) * segment, min(at + count * segment, len(train))
    if index or not 2 <= count <= MAX_FRAGMENTS or end - last <= FRAGMENT_HEADER_BYTES:
        return None
    size = end - at - count * FRAGMENT_HEADER_BYTES
    first = int.from_bytes(train[at : at + FRAGMENT_HEADER_BYTES], "big")
    parts = cutter(count - 1, FRAGMENT_HEADER_BYTES, segment - FRAGMENT_HEADER_BYTES).unpack_from(train, at)
    heads = b"".join((*parts[0::2], train[last : last + FRAGMENT_HEADER_BYTES]))
    if size > MAX_SEALED_BYTES or heads != series(first, 1 << 8, count, FRAGMENT_HEADER_BYTES):
        return None
    data = b"".join((*parts[1::2], train[last + FRAGMENT_HEADER_BYTES : end]))
    return Sealed(first >> 16 & (1 << 48) - 1, data, end - at, count)


class Reassembly:
    """Puts packets of one direction together whose fragments come one by one.

    What it had to let go of does not begin anew: its other fragments would only push out the next packet.

    :ivar held: bytes of fragments that wait for others.
    :ivar dropped: fragments that were let go of.
    """

    __slots__ = ("_given_up", "_partial", "dropped", "held")

    def __init__(self) -> None:
        # By packet number, and by how many fragments there are to be: who makes up others spoils nothing.
        self._partial: dict[tuple[int, int], _Partial] = {}
        self._given_up = -1
        self.held = 0
        self.dropped = 0

    def add(self, number: int, datagram: memoryview, room: int = MAX_PARTIAL_BYTES) -> Sealed | None:
        """One fragment of packet `number` came.

        :param room: bytes that may be held.
        :return: the packet, if this was what was missing of it.
        :raises PacketError: ``malformed``: it is no fragment; ``replayed``: it is here already; ``incomplete``: what
            it is of has been let go of.
        """
        index, count = datagram[HEADER_BYTES:FRAGMENT_HEADER_BYTES]
        if not index < count <= MAX_FRAGMENTS or count < 2:
            raise PacketError("malformed", "a fragment of no packet")
        key, part = (number, count), bytes(datagram[FRAGMENT_HEADER_BYTES:])
        partial = self._partial.get(key)
        if partial is None:
            if number <= self._given_up:
                raise PacketError("incomplete", "a fragment of a packet that was let go of")
            partial = self._partial[key] = _Partial()
        if index in partial.parts:
            raise PacketError("replayed", "a fragment that is here already")
        if partial.size + len(part) > MAX_SEALED_BYTES:
            raise PacketError("malformed", "fragments of more than a packet")
        partial.parts[index] = part
        partial.size += len(part)
        self.held += len(part)
        if len(partial.parts) == count:
            self._drop(key)
            data = b"".join([partial.parts[each] for each in range(count)])
            return Sealed(number, data, len(datagram), count)
        while len(self._partial) > MAX_PARTIAL or self.held > room:
            oldest = min(self._partial)
            self._given_up = max(self._given_up, oldest[0])
            self.dropped += self._drop(oldest)
        return None

    def forget(self, first: int, end: int) -> None:
        """Nobody needs the packets ``[first, end)`` any more."""
        for key in [key for key in self._partial if first <= key[0] < end]:
            self._drop(key)

    def _drop(self, key: tuple[int, int]) -> int:
        partial = self._partial.pop(key)
        self.held -= partial.size
        return len(partial.parts)


class _Partial:
    """A packet of which fragments are missing.

    :ivar parts: those that are here, by index.
    :ivar size: their bytes.
    """

    __slots__ = ("parts", "size")

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.size = 0
