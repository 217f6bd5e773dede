"""A file on its way here: written where the bytes belong, hashed, synced, and then given its name.

Everything here blocks and is called in threads, one call at a time by its user; a lock holds back whoever comes
between.

Under which name it is written, and whether somebody else does, is decided by its claim (`pychat.claim`).  What is left
over there is gone on with when its sidecar (`pychat.sidecar`) tells of the same size and version.  It is believed no
more than the network is: its pieces are read and hashed again (`PartFile.check`), and so a damaged one is found like
one that came wrong.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from pychat import sidecar
from pychat.buffers import batches, rest
from pychat.claim import SUFFIX, Claim, cancelled
from pychat.errors import TransferError
from pychat.hashing import Hashes
from pychat.sidecar import Held, Sidecar, longest
from pychat.transfer.packet import Buffer
from pychat.transfer.ranges import RangeSet

#: Bytes that one `write` or `check` reads back at most, to the next piece.
CHECK_BYTES = 8 * 1024 * 1024
#: Written bytes after which the disk is to begin with them, so that the sync at the end does not wait for all.  What
#: else waits for that disk waits behind each lot: a journal that syncs, of a daemon that takes files.
WRITE_BACK_BYTES = 1024 * 1024
#: Buffers that one system call takes.
_VECTOR = 512

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


class Written(NamedTuple):
    """What a `PartFile.write` did.

    :ivar nbytes: bytes that were written.
    :ivar pieces: the pieces that are whole since then, each with the digest of what is on the disk.
    """

    nbytes: int
    pieces: list[tuple[int, bytes]]


def read_part(path: str) -> Held | None:
    """What a part under way to `path` holds, without locking or changing it; None when there is nothing to go on with.

    The ranges are at most `MAX_RANGES`, and not more than `PartFile.open` will hold.
    """
    try:
        length = os.lstat(path + SUFFIX).st_size
    except OSError:
        return None
    held = sidecar.read(path + SUFFIX + sidecar.SUFFIX)
    return held and held._replace(ranges=longest(held.ranges, length))


class PartFile:
    """The file under way to `path`.

    :param path: the name it gets in the end.
    :param size: bytes it will have.
    :param version: of the file, as whoever sends it calls it.  The empty one is gone on with by nobody.
    :param overwrite: replace what has that name now.
    :param whole: compute the SHA-256 of the whole file, too.
    :param private: nobody but us has files in that folder: whatever is in the way is left over.
    :ivar path: the same.
    :ivar resumed: whether `open` found something to go on with.
    """

    def __init__(
        self,
        path: str,
        size: int,
        version: str = "",
        *,
        overwrite: bool = False,
        whole: bool = True,
        private: bool = False,
    ) -> None:
        self.path = path
        self.resumed = False
        self._size = size
        self._version = version
        self._sidecar = Sidecar(path + SUFFIX + sidecar.SUFFIX, size, version)
        self._claim = Claim(path, self._sidecar, overwrite=overwrite, private=private)
        self._lock = threading.Lock()
        self._discarded = False
        self._dirty, self._dirty_bytes = RangeSet(), 0
        self._hashes = Hashes(size, whole, self._read)
        if hasattr(os, "pwritev"):
            self._write_at: Callable[[list[Buffer], int], int] = self._pwritev
            self._read_at: Callable[[int, int], bytes] = self._pread
        else:
            self._write_at = self._seek_and_write
            self._read_at = self._seek_and_read

    def open(self, have: Iterable[tuple[int, int]] | None = None) -> list[tuple[int, int]]:
        """Make the ``.part``, or go on with one; not after `discard`.

        :param have: go on with just these ranges, if they are there, and else start over.  None: with all there is.
        :return: the ranges of the file that are there already, ascending, at most `MAX_RANGES`.
        :raises TransferError: ``cancelled``, ``exists``, ``in-use``, ``no-permission``, ``cannot-write``,
            ``disk-full``.
        """
        with self._lock, self._errors():
            if self._discarded:
                raise cancelled()
            wanted = None if have is None else list(have)
            self._claim.take(lambda status: self._goes_on(status, wanted))
            self._sidecar.start(self._hashes.held)
            return list(self._hashes.held)

    def write(self, writes: Sequence[tuple[int, Sequence[Buffer]]]) -> Written:
        """Put bytes where they belong, and hash the pieces that are whole.

        :param writes: offsets, and the buffers that come there one after the other.  Bytes of a piece that was whole
            start that piece anew; otherwise no byte comes twice.
        :raises TransferError: ``disk-full``, ``no-permission``, ``cannot-write``.
        """
        nbytes = 0
        news = RangeSet()
        with self._lock, self._errors():
            for offset, buffers in writes:
                for batch in batches(buffers):
                    end = self._put(offset, batch)
                    news.add(offset, end)
                    nbytes += end - offset
                    offset = end
                    del batch  # its memory is what the next one is joined in: new memory costs page faults
            self._write_back(news, nbytes)
            if nbytes and self._sidecar.append(news):
                self._sidecar.start(self._hashes.held)
            pieces = self._hashes.completed(news)
            self._hashes.follow(CHECK_BYTES)
        return Written(nbytes, pieces)

    @property
    def behind(self) -> bool:
        """Whether `check` has something to do."""
        with self._lock:
            return self._hashes.behind

    def check(self) -> list[tuple[int, bytes]]:
        """Read and hash some of what was there already: about `CHECK_BYTES`, so that writing need not wait for long.

        :return: pieces, each with the digest of what is on the disk.
        :raises TransferError: as `write`.
        """
        with self._lock, self._errors():
            return self._hashes.check(CHECK_BYTES)

    def finish(self, root: bytes) -> bytes:
        """All bytes are written: compare, sync, and give the file its name.

        :param root: the digest of the digests of all pieces.
        :return: the SHA-256 of the file, or nothing if it is not computed.
        :raises TransferError: ``digest-mismatch``; or ``exists``, if something got that name meanwhile; or as `write`.
        """
        with self._lock, self._errors():
            self._hashes.check(self._size + 1)
            found = self._hashes.root()
            if found is None or not hmac.compare_digest(found, root):
                raise TransferError(
                    "digest-mismatch", "What arrived is not what was sent: ask for the file again."
                )
            self._hashes.follow(self._size)
            os.fsync(self._claim.opened())
            self._claim.give_name(self._rename)
            sync_folder(os.path.dirname(self.path) or ".")
            return self._hashes.whole()

    def keep(self) -> None:
        """Close it and leave it, so that somebody can go on with it.  Never fails, may be called again.

        Without a version, or a sidecar, nobody can: then it is discarded.
        """
        if not self._version or not self._sidecar.there:
            self.discard()
            return
        with self._lock:
            self._discarded = True
            self._claim.leave()

    def discard(self) -> None:
        """Close and remove the ``.part``, unless it has got its name.  Never fails, may be called again.

        It may overtake an `open` that waits for a thread: that one will do nothing.
        """
        with self._lock:
            self._discarded = True
            self._claim.remove()

    def _rename(self) -> None:
        """All of it is on the disk, and may have its name."""
        self._claim.rename()

    # What is there already ------------------------------------------------------------------------------------

    def _goes_on(self, status: os.stat_result, have: list[tuple[int, int]] | None) -> bool:
        """Whether the part that has this status can be gone on with; then what it holds is known."""
        if status.st_nlink > 1 or status.st_uid != getattr(os, "geteuid", int)() or not self._version:
            return False
        held = self._sidecar.read()
        if held is None or (held.size, held.version) != (self._size, self._version):
            return False
        ranges = longest(held.ranges, status.st_size)
        if have is not None:
            if any(ranges.missing(start, end) for start, end in have):
                return False
            ranges = RangeSet()
            for start, end in have:
                ranges.add(start, end)
        self._hashes.resume(ranges)
        self.resumed = bool(ranges)
        return self.resumed

    # What comes -----------------------------------------------------------------------------------------------

    def _put(self, offset: int, buffers: list[Buffer]) -> int:
        """Write, hash, and give the end of it."""
        at, end, left = offset, offset + sum([len(buffer) for buffer in buffers]), buffers
        self._hashes.reopen(at, end)
        while at < end:
            count = self._write_at(left, at)
            at += count
            left = rest(left, count)
        self._hashes.add(offset, buffers)
        return end

    def _write_back(self, news: RangeSet, nbytes: int) -> None:
        """These ranges were written, of so many bytes: have the disk begin, if it is much by now.  Does not wait."""
        for start, end in news:
            self._dirty.add(start, end)
        self._dirty_bytes += nbytes
        if self._dirty_bytes >= WRITE_BACK_BYTES and hasattr(os, "posix_fadvise"):
            for start, end in self._dirty:
                # Linux begins to write what is dirty there; where a file system refuses, all waits for the sync.
                with contextlib.suppress(OSError):
                    os.posix_fadvise(self._claim.opened(), start, end - start, os.POSIX_FADV_DONTNEED)
            self._dirty, self._dirty_bytes = RangeSet(), 0

    def _read(self, length: int, offset: int) -> bytes:
        data = self._read_at(length, offset)
        if not data:
            raise TransferError("cannot-write", f"Somebody cut {self._claim.part} during the transfer.")
        return data

    # The system -----------------------------------------------------------------------------------------------

    def _pwritev(self, buffers: list[Buffer], offset: int) -> int:
        return os.pwritev(self._claim.opened(), buffers[:_VECTOR], offset)

    def _pread(self, length: int, offset: int) -> bytes:
        return os.pread(self._claim.opened(), length, offset)

    def _seek_and_write(self, buffers: list[Buffer], offset: int) -> int:
        os.lseek(self._claim.opened(), offset, os.SEEK_SET)
        return os.write(self._claim.opened(), buffers[0])

    def _seek_and_read(self, length: int, offset: int) -> bytes:
        os.lseek(self._claim.opened(), offset, os.SEEK_SET)
        return os.read(self._claim.opened(), length)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What the system says, in our words."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise TransferError("disk-full", f"There is no room for {self.path}: make some.") from error
            if error.errno in _FORBIDDEN:
                raise TransferError("no-permission", f"You may not write {self.path}.") from error
            reason = error.strerror or str(error)
            raise TransferError("cannot-write", f"{self.path} cannot be written: {reason}.") from error


def sync_folder(folder: str) -> None:
    """Make a rename in `folder` survive a power cut, where the system has that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows opens no folders
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some file systems sync no folders
    finally:
        os.close(descriptor)
