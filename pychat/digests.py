"""What is known of the pieces of files that were read before, so that the second who asks costs no hashing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

#: Digests kept, of all files together: 2 MiB of memory for 64 GiB of files.
MAX_DIGESTS = 64 * 1024


class Digests:
    """The digests of whole files, by a version that changes with their content; the least recently used go first.

    :param limit: digests kept, of all files together.
    """

    def __init__(self, limit: int = MAX_DIGESTS) -> None:
        self._limit = limit
        self._files: OrderedDict[Hashable, tuple[bytes, ...]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Digests that are kept."""
        return self._count

    def takes(self, count: int) -> bool:
        """Whether a file of so many pieces would be kept: it may take up to a quarter of the limit."""
        return count <= self._limit // 4

    def get(self, version: Hashable) -> tuple[bytes, ...] | None:
        """The digests of all pieces of a file, in order, or None."""
        digests = self._files.get(version)
        if digests is not None:
            self._files.move_to_end(version)
        return digests

    def put(self, version: Hashable, digests: Sequence[bytes]) -> None:
        """The digests of all pieces of a file, to be kept if it `takes` so many."""
        self.forget(version)
        if not self.takes(len(digests)):
            return
        self._files[version] = tuple(digests)
        self._count += len(digests)
        while self._count > self._limit:
            _, gone = self._files.popitem(last=False)
            self._count -= len(gone)

    def forget(self, version: Hashable) -> None:
        """They turned out to be wrong."""
        self._count -= len(self._files.pop(version, ()))
