"""A file on its way here: written where the bytes belong, hashed, synced, and then given its name.

Everything here blocks and is called in threads, one call at a time by its user; a lock holds back whoever comes
between.

Whose a ``.part`` is.  While it is written it is locked, where the system has such locks, and the lock ends with the
process.  So one that can be locked, and has a sidecar (`pychat.sidecar`) or no bytes, is left over: it is gone on with
when the sidecar tells of the same size and version, and else made anew.  One that cannot be locked is another
transfer's, and what has no sidecar of ours is somebody's file: it is never touched.  Who holds the lock of what is
there may remove it, and nobody else.

What was left over is believed no more than the network is: its pieces are read and hashed again (`PartFile.check`),
and so a damaged one is found like one that came wrong.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import importlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pychat import sidecar
from pychat.buffers import batches, rest
from pychat.errors import TransferError
from pychat.hashing import Hashes
from pychat.sidecar import Held, Sidecar, longest
from pychat.transfer.packet import Buffer
from pychat.transfer.ranges import RangeSet

SUFFIX = ".part"
#: Bytes that one `write` or `check` reads back at most, to the next piece.
CHECK_BYTES = 8 * 1024 * 1024

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

_LOOK = (
    os.O_RDWR
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
#: How often to look again at a ``.part`` that others come and go with.
_ATTEMPTS = 5
#: Written bytes after which the disk is to begin with them, so that the sync at the end does not wait for all.
WRITE_BACK_BYTES = 8 * 1024 * 1024
#: Buffers that one system call takes.
_VECTOR = 512

_fcntl: Any = None
with contextlib.suppress(ImportError):  # Windows removes no file that is open, which does as well
    _fcntl = importlib.import_module("fcntl")

# Two transfers of one process to one name: the second would write where the first does.
_in_use: set[str] = set()
_in_use_lock = threading.Lock()


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
        self._private = private
        self.resumed = False
        self._part = path + SUFFIX
        self._size = size
        self._version = version
        self._overwrite = overwrite
        self._sidecar = Sidecar(self._part + sidecar.SUFFIX, size, version)
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        self._claimed: str | None = None
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
                raise self._cancelled()
            if not self._overwrite and os.path.lexists(self.path):
                raise self._exists()
            if not self._private and sidecar.ours(self._sidecar.path) is False:
                raise self._foreign(self._sidecar.path)
            claim = os.path.realpath(self._part)
            with _in_use_lock:
                if claim in _in_use:
                    raise self._taken()
                _in_use.add(claim)
            self._claimed = claim
            wanted = None if have is None else list(have)
            for _ in range(_ATTEMPTS):
                if self._take_over(wanted) or self._create():
                    self._sidecar.start(self._hashes.held)
                    return list(self._hashes.held)
            raise self._taken()

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
            descriptor = self._opened()
            os.fsync(descriptor)
            if _fcntl is None:
                self._close()  # Windows renames no file that is open; where there are locks, ours is kept
            if not self._is_ours():
                raise TransferError("cannot-write", f"Somebody replaced {self._part} during the transfer.")
            self._rename()
            self._identity = None
            self._sidecar.remove()
            self._close()
            self._release()
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
            self._leave()

    def discard(self) -> None:
        """Close and remove the ``.part``, unless it has got its name.  Never fails, may be called again.

        It may overtake an `open` that waits for a thread: that one will do nothing.
        """
        with self._lock:
            self._discarded = True
            with contextlib.suppress(OSError):
                if self._descriptor is not None and self._identity is not None:
                    _empty(self._descriptor)
            if _fcntl is None:
                self._close()
            with contextlib.suppress(OSError):
                if self._identity is not None and self._is_ours():
                    self._sidecar.remove()
                    os.unlink(self._part)
            self._leave()

    def _leave(self) -> None:
        self._identity = None
        self._sidecar.close()
        self._close()
        self._release()

    # What is there already ------------------------------------------------------------------------------------

    def _take_over(self, have: list[tuple[int, int]] | None) -> bool:
        """Go on with what has the name of the ``.part``; else remove it, if it is left over.

        Made anew, so that nothing is written through a link, or into a file that somebody has open.

        :return: whether it is ours now.
        :raises TransferError: ``in-use``, ``exists``.
        """
        try:
            status = os.lstat(self._part)
            descriptor = os.open(self._part, _LOOK) if stat.S_ISREG(status.st_mode) else None
        except FileNotFoundError:
            return False
        try:
            if descriptor is not None:
                if not _lock(descriptor):
                    raise self._taken()
                status = os.fstat(descriptor)
                if _identity(status) != _identity(os.lstat(self._part)):
                    return False
                if self._goes_on(status, have):
                    self._identity = _identity(status)
                    self._descriptor, descriptor = descriptor, None
                    return True
            if not self._is_left_over(status):
                raise self._foreign(self._part)
            if descriptor is not None:
                _empty(descriptor)
                if _fcntl is None:
                    os.close(descriptor)
                    descriptor = None
            self._sidecar.remove()
            os.unlink(self._part)
        except FileNotFoundError:
            pass
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return False

    def _is_left_over(self, status: os.stat_result) -> bool:
        """Whether what has the name of the ``.part`` was made here; or holds nothing that anybody could miss."""
        empty = stat.S_ISREG(status.st_mode) and status.st_size == 0
        return self._private or empty or bool(sidecar.ours(self._sidecar.path))

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

    def _create(self) -> bool:
        """Make the ``.part`` and lock it; False when somebody else came between."""
        try:
            self._descriptor = os.open(self._part, _CREATE, 0o666)
        except FileExistsError:
            return False
        self._identity = _identity(os.fstat(self._descriptor))
        with contextlib.suppress(FileNotFoundError):
            if _lock(self._descriptor) and self._is_ours():
                return True
        self._identity = None
        self._close()
        return False

    def _is_ours(self) -> bool:
        """Whether what has the name of the ``.part`` is the file that we opened."""
        return _identity(os.lstat(self._part)) == self._identity

    def _rename(self) -> None:
        if self._overwrite:
            os.replace(self._part, self.path)
            return
        try:
            # Unlike a rename, a link never replaces what came in between.
            os.link(self._part, self.path)
        except FileExistsError as error:
            raise self._exists() from error
        except OSError:
            # No hard links here.
            if os.path.lexists(self.path):
                raise self._exists() from None
            os.rename(self._part, self.path)
        else:
            os.unlink(self._part)

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
                    os.posix_fadvise(self._opened(), start, end - start, os.POSIX_FADV_DONTNEED)
            self._dirty, self._dirty_bytes = RangeSet(), 0

    def _read(self, length: int, offset: int) -> bytes:
        data = self._read_at(length, offset)
        if not data:
            raise TransferError("cannot-write", f"Somebody cut {self._part} during the transfer.")
        return data

    # The system -----------------------------------------------------------------------------------------------

    def _opened(self) -> int:
        if self._descriptor is None:
            raise self._cancelled()
        return self._descriptor

    def _pwritev(self, buffers: list[Buffer], offset: int) -> int:
        return os.pwritev(self._opened(), buffers[:_VECTOR], offset)

    def _pread(self, length: int, offset: int) -> bytes:
        return os.pread(self._opened(), length, offset)

    def _seek_and_write(self, buffers: list[Buffer], offset: int) -> int:
        os.lseek(self._opened(), offset, os.SEEK_SET)
        return os.write(self._opened(), buffers[0])

    def _seek_and_read(self, length: int, offset: int) -> bytes:
        os.lseek(self._opened(), offset, os.SEEK_SET)
        return os.read(self._opened(), length)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _release(self) -> None:
        if self._claimed is not None:
            with _in_use_lock:
                _in_use.discard(self._claimed)
            self._claimed = None

    def _cancelled(self) -> TransferError:
        return TransferError("cancelled", "The transfer was cancelled.")

    def _taken(self) -> TransferError:
        return TransferError(
            "in-use", f"Another transfer is writing {self._part} already: choose another name with -o."
        )

    def _foreign(self, path: str) -> TransferError:
        return TransferError(
            "exists",
            f"{path} is there already, and no transfer left it: move it away, or choose another name with -o.",
        )

    def _exists(self) -> TransferError:
        return TransferError("exists", f"{self.path} is there already: move it away, or choose another name.")

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


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _empty(descriptor: int) -> None:
    """Who is killed before it is removed leaves nothing that looks like somebody's file, without its sidecar."""
    if os.fstat(descriptor).st_nlink == 1:
        os.ftruncate(descriptor, 0)


def _lock(descriptor: int) -> bool:
    """Lock a file until it is closed; False when somebody else has.  Where there are no locks, nobody has."""
    if _fcntl is None:
        return True
    try:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # some file systems have none
    return True


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
