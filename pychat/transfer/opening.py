"""Opens the trains that come, row by row, and refuses what came before.

A *row* is what nearly all of a train is: packets whose numbers follow on one another, and on all that came so far.  It
is opened as one (`Seal.open_row`).  Everything else is looked at one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from pychat.transfer.arrivals import Arrivals
from pychat.transfer.packet import HEADER_BYTES, OVERHEAD_BYTES, Buffer, PacketError
from pychat.transfer.seal import Seal

#: Datagrams up to this size are cheaper to copy than to look at.
SMALL_BYTES = 4096

#: The first packet number, the frames' bytes of each packet, and the bytes of each datagram.
Row: TypeAlias = tuple[int, list[bytes], int]


class Opener:
    """Opens the datagrams of one direction.

    :param seal: of that direction.
    :param arrivals: what came so far.  Whoever takes a row adds it there before asking for the next one.
    :param refused: datagrams that were dropped, by reason.
    """

    __slots__ = ("_arrivals", "_refused", "_seal")

    def __init__(self, seal: Seal, arrivals: Arrivals, refused: Counter[str]) -> None:
        self._seal = seal
        self._arrivals = arrivals
        self._refused = refused

    def open(self, train: Buffer, segment: int) -> Iterator[Row]:
        """What opens of a train, and is new.

        :param segment: bytes of each of its datagrams but the last, which may be shorter.
        """
        seal, arrivals, view = self._seal, self._arrivals, memoryview(train)
        size = len(view)
        rows = OVERHEAD_BYTES < segment <= SMALL_BYTES
        at = 0
        while at < size:
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
                if number in arrivals:
                    self._refused["replayed"] += 1
                else:
                    yield number, [seal.unseal(number, header, datagram[HEADER_BYTES:])], len(datagram)
            except PacketError as error:
                self._refused[error.code] += 1
