"""What a file under way holds, and the digests of it.

The bytes come in any order.  A piece is hashed as they come as long as they come in order, and the rest of it is read
back when it is whole; so is the whole file.  What was there before (`Hashes.resume`) is read back, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from pychat.transfer.frames import DIGEST_BYTES
from pychat.transfer.packet import Buffer
from pychat.transfer.pieces import piece_bounds
from pychat.transfer.ranges import RangeSet
from pychat.transfer.terms import PIECE_BYTES, new_hash, pieces_of, root_of

#: Bytes read back at once.
READ_BACK_BYTES = 256 * 1024
#: The states of the file's hash that are kept, each at the beginning of a piece: 0.5 KB.
MAX_MARKS = 256


class Hashes:
    """The digests of a file of `size` bytes that comes piece by piece.

    :param size: bytes.
    :param whole: compute the SHA-256 of the whole file, too.
    :param read: ``read(length, offset)`` gives some bytes, at least one, that are on the disk there, or raises.
    :ivar held: the bytes that are on the disk.
    """

    def __init__(self, size: int, whole: bool, read: Callable[[int, int], bytes]) -> None:
        self.held = RangeSet()
        self._size = size
        self._read = read
        #: Pieces that are on the disk and not hashed yet; and those that are whole and hashed.
        self._unchecked = RangeSet()
        self._whole = RangeSet()
        self._digests = bytearray()
        #: Pieces that are not whole: their hashes, and how far those have come.
        self._partial: dict[int, tuple[Any, int]] = {}
        self._file: Any = sha256() if whole else None
        self._file_at = 0
        self._marks: dict[int, Any] = {}

    def resume(self, ranges: RangeSet) -> None:
        """These bytes are there from before."""
        self.held = ranges
        for start, end in ranges:
            first = -(-start // PIECE_BYTES)
            last = pieces_of(end) if end == self._size else end // PIECE_BYTES
            if first < last:
                self._unchecked.add(first, last)

    def reopen(self, start: int, end: int) -> None:
        """Bytes are about to be written there: a piece that was whole begins anew."""
        for index in _pieces(start, end):
            if index in self._whole or index in self._unchecked:
                self._start_anew(index)

    def add(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """These bytes are on the disk since now."""
        at = offset
        for buffer in buffers:
            view = memoryview(buffer)
            while view:
                index = at // PIECE_BYTES
                data = view[: (index + 1) * PIECE_BYTES - at]
                state, upto = self._partial.get(index) or (new_hash(), index * PIECE_BYTES)
                if upto == at:
                    state.update(data)
                    upto += len(data)
                self._partial[index] = state, upto
                self._add_to_file(at, data)
                at += len(data)
                view = view[len(data) :]
        self.held.add(offset, at)

    def completed(self, news: RangeSet) -> list[tuple[int, bytes]]:
        """The pieces that these bytes, which were added, have made whole, and their digests."""
        touched = {index for start, end in news for index in _pieces(start, end)}
        return [
            self._complete(index)
            for index in sorted(touched)
            if index not in self._whole and not self.held.missing(*piece_bounds(index, self._size))
        ]

    @property
    def behind(self) -> bool:
        """Whether `check` or `follow` has something to do."""
        return bool(self._unchecked) or self._lags()

    def check(self, nbytes: int) -> list[tuple[int, bytes]]:
        """Hash what was there from before, about `nbytes` of it; the pieces and their digests."""
        pieces: list[tuple[int, bytes]] = []
        while self._unchecked and nbytes > 0:
            index = self._unchecked.first()[0]
            self._unchecked.subtract(index, index + 1)
            pieces.append(self._complete(index))
            nbytes -= PIECE_BYTES
        self.follow(nbytes)
        return pieces

    def follow(self, nbytes: int) -> None:
        """Have the whole file's hash catch up with what is there, by about `nbytes`."""
        while nbytes > 0 and self._lags():
            at = self._file_at
            end = min((at // PIECE_BYTES + 1) * PIECE_BYTES, self._size)
            gaps = self.held.missing(at, end)
            for where, data in self._read_back(at, gaps[0][0] if gaps else end):
                self._add_to_file(where, data)
            nbytes -= self._file_at - at

    def root(self) -> bytes | None:
        """The digest of all digests; None when a piece is not whole or not hashed."""
        if self.held.missing(0, self._size) or self._unchecked:
            return None
        return root_of([bytes(self._digests)])

    def whole(self) -> bytes:
        """The SHA-256 of the file, all of which is there and was followed; nothing if it is not computed."""
        return bytes(self._file.digest()) if self._file is not None else b""

    def _lags(self) -> bool:
        return (
            self._file is not None
            and self._file_at < self._size
            and self._file_at in self.held
            and self._file_at // PIECE_BYTES not in self._unchecked
        )

    def _add_to_file(self, at: int, data: Buffer) -> None:
        """`data`, which lies in one piece, is at `at` of the file."""
        if self._file is None or at != self._file_at:
            return
        if at % PIECE_BYTES == 0:
            self._marks[at // PIECE_BYTES] = self._file.copy()
            if len(self._marks) > MAX_MARKS:
                del self._marks[next(iter(self._marks))]
        self._file.update(data)
        self._file_at += len(data)

    def _start_anew(self, index: int) -> None:
        start, end = piece_bounds(index, self._size)
        self.held.subtract(start, end)
        self._whole.subtract(index, index + 1)
        self._unchecked.subtract(index, index + 1)
        if self._file_at > start:
            mark = self._marks.get(index)
            self._file, self._file_at = (sha256(), 0) if mark is None else (mark.copy(), start)

    def _complete(self, index: int) -> tuple[int, bytes]:
        """All of a piece is on the disk: its digest."""
        start, end = piece_bounds(index, self._size)
        state, upto = self._partial.pop(index, None) or (new_hash(), start)
        for at, data in self._read_back(upto, end):
            state.update(data)
            self._add_to_file(at, data)
        digest: bytes = state.digest()
        at = index * DIGEST_BYTES
        self._digests += bytes(max(at + DIGEST_BYTES - len(self._digests), 0))
        self._digests[at : at + DIGEST_BYTES] = digest
        self._whole.add(index, index + 1)
        return index, digest

    def _read_back(self, at: int, end: int) -> Iterator[tuple[int, bytes]]:
        while at < end:
            data = self._read(min(READ_BACK_BYTES, end - at), at)
            yield at, data
            at += len(data)


def _pieces(start: int, end: int) -> range:
    """The pieces that ``[start, end)`` touches."""
    return range(start // PIECE_BYTES, pieces_of(end))
