"""What the sender tells of its file: the digest of each piece, once it is known.

They are told in words of up to `MAX_PIECES` consecutive ones, a bounded number at a time, and never far ahead of the
first word that has not arrived: a receiver keeps no more than it has to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pychat.transfer.frames import (
    DIGEST_BYTES,
    MAX_PIECES,
    Pieces,
    encode,
)
from pychat.transfer.ranges import RangeSet
from pychat.transfer.terms import pieces_of, root_of

#: Words with digests of pieces that may be under way at once, and pieces by which one may be ahead of another.
MAX_PIECES_WORDS = 16
MAX_PIECES_AHEAD = 8192


class Telling:
    """The digests of the pieces of a file of `size` bytes.

    :ivar complete: whether all are known.
    """

    __slots__ = ("_digests", "_known", "_telling", "_unknown", "_untold", "complete")

    def __init__(self, size: int) -> None:
        # 32 bytes a piece, as far as they are known.
        self._digests = bytearray()
        self._known = RangeSet()
        self._unknown = pieces_of(size)
        self._untold: list[int] = []
        self._telling: set[int] = set()
        self.complete = self._unknown == 0

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and index in self._known

    def learn(self, first: int, digests: Sequence[bytes]) -> None:
        """The digests of consecutive pieces; those that are known already stay as they are."""
        for index, digest in enumerate(digests, first):
            if index not in self._known:
                at = index * DIGEST_BYTES
                self._digests.extend(bytes(max(at + DIGEST_BYTES - len(self._digests), 0)))
                self._digests[at : at + DIGEST_BYTES] = digest
                self._known.add(index, index + 1)
                self._untold.append(index)
                self._unknown -= 1
        self.complete = self._unknown == 0

    @property
    def due(self) -> bool:
        """Whether something is known that was not told."""
        return bool(self._untold)

    def words(self) -> Iterator[tuple[int, bytes]]:
        """What may be told now: the first piece's index, under which it is `arrived` one day, and the frame."""
        untold = self._untold
        while untold and len(self._telling) < MAX_PIECES_WORDS:
            first = untold[0]
            if first > min(self._telling, default=first) + MAX_PIECES_AHEAD:
                break
            count = 1
            while count < min(len(untold), MAX_PIECES) and untold[count] == first + count:
                count += 1
            del untold[:count]
            at = range(first * DIGEST_BYTES, (first + count) * DIGEST_BYTES, DIGEST_BYTES)
            self._telling.add(first)
            yield (
                first,
                encode(Pieces(first, tuple([bytes(self._digests[i : i + DIGEST_BYTES]) for i in at]))),
            )

    def arrived(self, first: int) -> None:
        """The word that began with this piece has been acknowledged."""
        self._telling.discard(first)

    def root(self) -> bytes:
        """The digest of all digests, once these are `complete`."""
        return root_of([bytes(self._digests)])
