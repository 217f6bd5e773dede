"""A file that is being downloaded: written where the bytes belong, hashed, synced, and then given its name.

Everything here blocks and is called in threads, one call at a time by its user; a lock holds back whoever comes
between.

Whose a ``.part`` is.  While it is written it is locked, where the system has such locks, and the lock ends with the
process.  So one that can be locked is left over, and is made anew; one that cannot is another download's.  Who holds
the lock of what is there may remove it, and nobody else.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import importlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from pychat.errors import TransferError
from pychat.transfer.ranges import RangeSet

SUFFIX = ".part"
#: Bytes read back at once of what came out of order.
READ_BACK_BYTES = 256 * 1024

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

_LOOK = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
#: How often to look again at a ``.part`` that others come and go with.
_ATTEMPTS = 5

_fcntl: Any = None
with contextlib.suppress(ImportError):  # Windows removes no file that is open, which does as well
    _fcntl = importlib.import_module("fcntl")

# Two downloads of one process to one name: the second would write where the first does.
_in_use: set[str] = set()
_in_use_lock = threading.Lock()


class PartFile:
    """The file under way to `path`.

    :param path: the name it gets in the end.
    :param size: bytes it will have.
    :param overwrite: replace what has that name now.
    :ivar path: the same.
    """

    def __init__(self, path: str, size: int, overwrite: bool = False) -> None:
        self.path = path
        self._part = path + SUFFIX
        self._size = size
        self._overwrite = overwrite
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        self._claimed: str | None = None
        self._discarded = False
        self._hash = sha256()
        self._hashed = 0
        self._ahead = RangeSet()
        if hasattr(os, "pwrite"):
            self._write_at: Callable[[memoryview, int], int] = self._pwrite
            self._read_at: Callable[[int, int], bytes] = self._pread
        else:
            self._write_at = self._seek_and_write
            self._read_at = self._seek_and_read

    def open(self) -> None:
        """Make the ``.part``, empty; not after `discard`.

        :raises TransferError: ``cancelled``, ``exists``, ``in-use``, ``no-permission``, ``cannot-write``,
            ``disk-full``.
        """
        with self._lock, self._errors():
            if self._discarded:
                raise self._cancelled()
            if not self._overwrite and os.path.lexists(self.path):
                raise self._exists()
            claim = os.path.realpath(self._part)
            with _in_use_lock:
                if claim in _in_use:
                    raise self._taken()
                _in_use.add(claim)
            self._claimed = claim
            for _ in range(_ATTEMPTS):
                self._take_over()
                if self._create():
                    return
            raise self._taken()

    def write(self, writes: Sequence[tuple[int, bytes]]) -> int:
        """Put bytes where they belong, and hash as far as the file is whole from its beginning.

        :param writes: offsets and bytes; no byte of the file comes twice.
        :return: how many bytes that were.
        :raises TransferError: ``disk-full``, ``no-permission``, ``cannot-write``.
        """
        written = 0
        with self._lock, self._errors():
            for offset, data in writes:
                view = memoryview(data)
                at = offset
                while view:
                    count = self._write_at(view, at)
                    view = view[count:]
                    at += count
                written += len(data)
                if offset == self._hashed:
                    self._hash.update(data)
                    self._hashed = at
                    self._read_back()
                else:
                    self._ahead.add(offset, at)
        return written

    def finish(self, digest: bytes) -> None:
        """All bytes are written: compare, sync, and give the file its name.

        :raises TransferError: ``digest-mismatch``; or ``exists``, if something got that name meanwhile; or as `write`.
        """
        with self._lock, self._errors():
            if self._hashed != self._size or not hmac.compare_digest(self._hash.digest(), digest):
                raise TransferError(
                    "digest-mismatch", "What arrived is not what the daemon has: ask for the file again."
                )
            descriptor = self._opened()
            os.fsync(descriptor)
            if _fcntl is None:
                self._close()  # Windows renames no file that is open; where there are locks, ours is kept
            if not self._is_ours():
                raise TransferError("cannot-write", f"Somebody replaced {self._part} during the download.")
            self._rename()
            self._identity = None
            self._close()
            self._release()
            sync_folder(os.path.dirname(self.path) or ".")

    def discard(self) -> None:
        """Close and remove the ``.part``, unless it has got its name.  Never fails, may be called again.

        It may overtake an `open` that waits for a thread: that one will do nothing.
        """
        with self._lock:
            self._discarded = True
            if _fcntl is None:
                self._close()
            with contextlib.suppress(OSError):
                if self._identity is not None and self._is_ours():
                    os.unlink(self._part)
            self._identity = None
            self._close()
            self._release()

    def _take_over(self) -> None:
        """Remove what has the name of the ``.part``, unless a download that lives has it.

        Made anew, so that nothing is written through a link, or into a file that somebody has open.
        """
        try:
            kind = os.lstat(self._part).st_mode
            descriptor = os.open(self._part, _LOOK) if stat.S_ISREG(kind) else None
        except FileNotFoundError:
            return
        try:
            if descriptor is not None:
                if not _lock(descriptor):
                    raise self._taken()
                if _identity(os.fstat(descriptor)) != _identity(os.lstat(self._part)):
                    return
                if _fcntl is None:
                    os.close(descriptor)
                    descriptor = None
            os.unlink(self._part)
        except FileNotFoundError:
            pass
        finally:
            if descriptor is not None:
                os.close(descriptor)

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
        """Whether what has the name of the ``.part`` is the file that we made."""
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

    def _read_back(self) -> None:
        """Hash what came out of order and has become part of the beginning."""
        while self._ahead and self._ahead.first()[0] == self._hashed:
            end = self._ahead.first()[1]
            while self._hashed < end:
                data = self._read_at(min(READ_BACK_BYTES, end - self._hashed), self._hashed)
                if not data:
                    raise TransferError("cannot-write", f"Somebody cut {self._part} during the download.")
                self._hash.update(data)
                self._hashed += len(data)
            self._ahead.subtract(0, end)

    def _opened(self) -> int:
        if self._descriptor is None:
            raise self._cancelled()
        return self._descriptor

    def _pwrite(self, data: memoryview, offset: int) -> int:
        return os.pwrite(self._opened(), data, offset)

    def _pread(self, length: int, offset: int) -> bytes:
        return os.pread(self._opened(), length, offset)

    def _seek_and_write(self, data: memoryview, offset: int) -> int:
        os.lseek(self._opened(), offset, os.SEEK_SET)
        return os.write(self._opened(), data)

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
        return TransferError("cancelled", "The download was cancelled.")

    def _taken(self) -> TransferError:
        return TransferError(
            "in-use", f"Another download is writing {self._part} already: choose another name with -o."
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
