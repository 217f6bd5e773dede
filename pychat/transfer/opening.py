"""Opens the trains that come, row by row, and refuses what came before.

A *row* is what nearly all of a train is: packets whose numbers follow on one another, and on all that came so far.  It
is opened as one (`Seal.open_row`).  Or the train is one large packet in fragments, which is opened as one, too
(`fragments`).  Everything else is looked at one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from pychat.transfer.arrivals import Arrivals
from pychat.transfer.fragments import MAX_PARTIAL_BYTES, Reassembly, Sealed, whole
from pychat.transfer.packet import (
    FRAGMENT_HEADER_BYTES,
    FRAGMENTS,
    HEADER_BYTES,
    OVERHEAD_BYTES,
    Buffer,
    PacketError,
)
from pychat.transfer.seal import Seal

#: Datagrams up to this size are cheaper to copy than to look at.
SMALL_BYTES = 4096

#: The first packet number, the frames' bytes of each packet, and the bytes that each came in.
Row: TypeAlias = tuple[int, list[bytes], int]


class Opener:
    """Opens the datagrams of one direction.

    :param seal: of that direction.
    :param arrivals: what came so far.  Whoever takes a row adds it there before asking for the next one.
    :param refused: datagrams that were dropped, by reason.
    """

    __slots__ = ("_arrivals", "_fragment", "_reassembly", "_refused", "_seal")

    def __init__(self, seal: Seal, arrivals: Arrivals, refused: Counter[str]) -> None:
        self._seal = seal
        self._arrivals = arrivals
        self._refused = refused
        self._fragment = seal.prefix[0] + FRAGMENTS
        self._reassembly = Reassembly()

    @property
    def held(self) -> int:
        """Bytes of fragments that wait for others."""
        return self._reassembly.held

    def clear(self) -> None:
        """Nothing more of use will come."""
        self._reassembly = Reassembly()

    def open(
        self, train: Buffer, segment: int, room: int = MAX_PARTIAL_BYTES, refusal: str = ""
    ) -> Iterator[Row]:
        """What opens of a train, and is new.

        :param segment: bytes of each of its datagrams but the last, which may be shorter.
        :param room: bytes of fragments that may wait for others.
        :param refusal: why no fragments are taken, if none are.
        """
        seal, arrivals, view = self._seal, self._arrivals, memoryview(train)
        size = len(view)
        rows = OVERHEAD_BYTES < segment <= SMALL_BYTES
        at = 0
        while at < size:
            if view[at] == self._fragment:
                sealed = self._fragment_at(view, at, segment, room, refusal)
                if sealed is None:
                    at += segment
                else:
                    # Of one that became whole by its last fragment that is all that came now.
                    at += -(-sealed.nbytes // segment) * segment
                    yield from self._one(sealed)
                continue
            left = (size - at) // segment
            if rows and left > 1:
                try:
                    number, payloads = seal.open_row(view, at, segment, left, arrivals.largest)
                except PacketError:
                    rows = False  # one of them is forged: see which
                else:
                    if payloads:
                        at += segment * len(payloads)
                        yield number, payloads, segment
                        continue
            datagram = view[at : at + segment]
            at += segment
            try:
                number, header = seal.header(datagram)
            except PacketError as error:
                self._refused[error.code] += 1
            else:
                yield from self._one(Sealed(number, datagram[HEADER_BYTES:], len(datagram)), header)

    def _one(self, sealed: Sealed, header: bytes = b"") -> Iterator[Row]:
        """One packet.

        :param header: what it was closed with.
        """
        number = sealed.number
        if number in self._arrivals:
            self._refused["replayed"] += sealed.datagrams
            return
        try:
            payload = self._seal.unseal(number, header or self._seal.header_of(number), sealed.data)
        except PacketError as error:
            self._refused[error.code] += sealed.datagrams
            return
        if self._reassembly.held:
            self._reassembly.forget(number, number + 1)
        yield number, [payload], sealed.nbytes

    def _fragment_at(
        self, train: memoryview, at: int, segment: int, room: int, refusal: str
    ) -> Sealed | None:
        """Take one fragment, or all of a packet.

        :return: the packet that is whole now, if one is.
        """
        datagram = train[at : at + segment]
        header, reassembly = bytes(datagram[:HEADER_BYTES]), self._reassembly
        number = int.from_bytes(header[len(self._seal.prefix) :], "big")
        dropped = reassembly.dropped
        try:
            if len(datagram) <= FRAGMENT_HEADER_BYTES or header[1:] != self._seal.header_of(number)[1:]:
                raise PacketError("malformed", "not a fragment of this transfer")
            if refusal:
                raise PacketError(refusal, "no fragments are taken")
            packet = whole(train, at, segment)
            if packet is not None:
                return packet
            if number in self._arrivals:
                raise PacketError("replayed", "a fragment of what is here")
            reassembly.forget(0, self._arrivals.floor)
            return reassembly.add(number, datagram, room)
        except PacketError as error:
            self._refused[error.code] += 1
        finally:
            if reassembly.dropped > dropped:
                self._refused["incomplete"] += reassembly.dropped - dropped
        return None
