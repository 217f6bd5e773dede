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

#: Packets of which some fragments are missing, and that are kept until the others come.
MAX_PARTIAL = 4


class Sealed(NamedTuple):
    """A packet all of whose fragments are here.

    :ivar number: its packet number.
    :ivar data: what is sealed, and its tag.
    :ivar nbytes: bytes of the datagrams that it came in.
    """

    number: int
    data: Buffer
    nbytes: int


def cut(header: bytes, sealed: bytes, size: int) -> bytes:
    """A sealed packet as datagrams of `size` bytes, one after the other; the last may be shorter.

    :param header: the packet's own.
    :param sealed: what follows it; more than one and at most `MAX_FRAGMENTS` datagrams' worth.
    """
    room = size - FRAGMENT_HEADER_BYTES
    count = -(-len(sealed) // room)
    first = int.from_bytes(bytes((header[0] + FRAGMENTS,)) + header[1:], "big") << 16 | count
    parts = [b""] * (2 * count)
    parts[0::2] = cutter(count, FRAGMENT_HEADER_BYTES).unpack(
        series(first, 1 << 8, count, FRAGMENT_HEADER_BYTES)
    )
    parts[1::2] = (*cutter(count - 1, room).unpack_from(sealed), sealed[(count - 1) * room :])
    return b"".join(parts)


class Reassembly:
    """Puts the packets of one direction together.

    :ivar held: bytes of fragments that wait for others.
    """

    __slots__ = ("_partial", "held")

    def __init__(self) -> None:
        self._partial: dict[int, _Partial] = {}
        self.held = 0

    def row(self, train: memoryview, at: int, segment: int) -> Sealed | None:
        """The packet whose fragments all lie in a train, in order from `at` on; None if they do not.

        :param segment: bytes of each datagram of the train but the last.
        """
        count = train[at + HEADER_BYTES + 1]
        last, end = at + (count - 1) * segment, min(at + count * segment, len(train))
        if train[at + HEADER_BYTES] or count < 2 or end - last <= FRAGMENT_HEADER_BYTES:
            return None
        first = int.from_bytes(train[at : at + FRAGMENT_HEADER_BYTES], "big")
        parts = cutter(count - 1, FRAGMENT_HEADER_BYTES, segment - FRAGMENT_HEADER_BYTES).unpack_from(
            train, at
        )
        heads = b"".join((*parts[0::2], train[last : last + FRAGMENT_HEADER_BYTES]))
        if heads != series(first, 1 << 8, count, FRAGMENT_HEADER_BYTES):
            return None
        number = first >> 16 & (1 << 48) - 1
        self._drop(number)
        return Sealed(number, b"".join((*parts[1::2], train[last + FRAGMENT_HEADER_BYTES : end])), end - at)

    def add(self, number: int, datagram: memoryview) -> Sealed | None:
        """One fragment of packet `number` came.

        :return: the packet, if this was what was missing of it.
        :raises PacketError: ``malformed``: it is no fragment, or none of the packet that the others are of;
            ``replayed``: it is here already.
        """
        index, count = datagram[HEADER_BYTES : HEADER_BYTES + 2]
        if not index < count <= MAX_FRAGMENTS or count < 2:
            raise PacketError("malformed", "a fragment of no packet")
        partial = self._partial.get(number)
        if partial is None:
            if len(self._partial) >= MAX_PARTIAL:
                self._drop(next(iter(self._partial)))
            partial = self._partial[number] = _Partial(count)
        part = bytes(datagram[FRAGMENT_HEADER_BYTES:])
        if partial.count != count or partial.size + len(part) > MAX_DATAGRAM_BYTES:
            raise PacketError("malformed", "a fragment of another packet")
        if index in partial.parts:
            raise PacketError("replayed", "a fragment that is here already")
        partial.parts[index] = part
        partial.size += len(part)
        partial.nbytes += len(datagram)
        self.held += len(part)
        if len(partial.parts) < count:
            return None
        self._drop(number)
        return Sealed(number, b"".join([partial.parts[each] for each in range(count)]), partial.nbytes)

    def _drop(self, number: int) -> None:
        partial = self._partial.pop(number, None)
        if partial is not None:
            self.held -= partial.size


class _Partial:
    """A packet of which fragments are missing.

    :ivar parts: those that are here, by index.
    :ivar size: their bytes, and `nbytes` those of their datagrams.
    """

    __slots__ = ("count", "nbytes", "parts", "size")

    def __init__(self, count: int) -> None:
        self.count = count
        self.parts: dict[int, bytes] = {}
        self.size = 0
        self.nbytes = 0
