"""The pieces of 1 MiB in which a file is verified.

The sender tells the BLAKE3 digest of each piece when it has read it, and at the end the *root*: the one of all those
digests, one after the other.  So what was damaged costs its piece and not the file.  Only the last piece may be
shorter, and an empty file has no piece.
"""

from __future__ import annotations

from collections.abc import Sequence

from pychat.errors import TransferError
from pychat.transfer.frames import DIGEST_BYTES
from pychat.transfer.packet import Buffer
from pychat.transfer.terms import PIECE_BYTES, new_hash, pieces_of

#: Digests that may be known beyond the first one that is not.
MAX_AHEAD = 16 * 1024

CHANGED = "The file changed while it was on its way: ask for it again."


def piece_bounds(index: int, size: int) -> tuple[int, int]:
    """Where piece `index` of a file of `size` bytes begins and ends."""
    start = index * PIECE_BYTES
    return start, min(start + PIECE_BYTES, size)


class PieceHasher:
    """Computes the digests of a stream that is read in order, from the beginning of a piece.

    It blocks for as long as the hashing takes: 0.1 ms a MiB.
    """

    def __init__(self) -> None:
        self._hash = new_hash()
        self._room = PIECE_BYTES

    def update(self, data: Buffer) -> list[bytes]:
        """Take more of the stream.

        :return: the digests of the pieces that `data` made whole, 32 bytes each.
        """
        view = memoryview(data)
        digests: list[bytes] = []
        while len(view) >= self._room:
            self._hash.update(view[: self._room])
            digests.append(self._hash.digest())
            view = view[self._room :]
            self._hash = new_hash()
            self._room = PIECE_BYTES
        if view:
            self._hash.update(view)
            self._room -= len(view)
        return digests

    def end(self) -> list[bytes]:
        """The stream has ended: the digest of the last piece, or nothing when there is no more of it."""
        return [] if self._room == PIECE_BYTES else [self._hash.digest()]


class PieceTable:
    """The digests that a receiver was told, until each has been compared with what is on the disk.

    What is told in order takes 32 bytes each, and goes when `settle` says that it was used.  What a peer can have kept
    beyond that is bounded by `MAX_AHEAD`, whatever the size of the file.

    :param size: bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self._count = pieces_of(size)
        self._base = 0
        self._digests = bytearray()
        self._next = 0
        self._ahead: dict[int, bytes] = {}
        self._hash = new_hash()

    @property
    def complete(self) -> bool:
        """Whether the digests of all pieces are known."""
        return self._next == self._count

    @property
    def known(self) -> int:
        """Pieces from the beginning of the file whose digests are known."""
        return self._next

    @property
    def root(self) -> bytes | None:
        """The root of all digests, once they are known."""
        return self._hash.digest() if self.complete else None

    def add(self, first: int, digests: Sequence[bytes]) -> list[int]:
        """Digests of the pieces from `first` on have come.

        :return: the indexes of the pieces of which that is news.
        :raises TransferError: ``source-changed``: a piece had another digest before; ``bad-peer``: there is no such
            piece, or it is too far ahead.
        """
        if first + len(digests) > min(self._count, self._next + MAX_AHEAD):
            raise TransferError("bad-peer", "The other end sent digests of pieces that cannot be due.")
        news: list[int] = []
        for index, digest in enumerate(digests, first):
            before = self.get(index)
            if before is not None:
                if before != digest:
                    raise TransferError("source-changed", CHANGED)
            elif index >= self._next:
                news.append(index)
                self._ahead[index] = digest
        while self._next in self._ahead:
            digest = self._ahead.pop(self._next)
            self._digests += digest
            self._hash.update(digest)
            self._next += 1
        return news

    def get(self, index: int) -> bytes | None:
        """The digest of a piece; None when it is not known, or no longer needed."""
        if index >= self._next:
            return self._ahead.get(index)
        at = (index - self._base) * DIGEST_BYTES
        return bytes(self._digests[at : at + DIGEST_BYTES]) if at >= 0 else None

    def settle(self, below: int) -> None:
        """The digests of the pieces before `below` have been used."""
        below = min(below, self._next)
        if below > self._base:
            del self._digests[: (below - self._base) * DIGEST_BYTES]
            self._base = below
