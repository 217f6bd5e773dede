"""Freeing a large file bit by bit, so that nobody who waits for the same disk waits for all of it.

A file system frees a file that has lost its last name in one transaction, and where it tells the disk what is free
(``discard``) a gigabyte of it can hold up that disk, and every journal that syncs there, for a tenth of a second or
two.  So who takes the last name from a large file cuts it down first: a step, and a transaction of its own for it.

That may cost nobody a byte.  `hold` opens the file before it loses the name, and `Held.free` cuts it only if it has no
name left and the system grants a write lease: none is granted while anybody else has the file open or mapped
(fcntl(2)).  In any other case it is closed, and the file system does with it what it always did.  So it does where
nothing is discarded, and where leases know less: those of overlayfs nothing of what is mapped, others nothing of
other machines.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import stat
import time
from collections.abc import Callable, Iterable
from typing import Any

#: Bytes on the disk from which on a file is large.
LARGE = 64 * 1024 * 1024
#: Bytes that are freed at once, if there is time for that.
STEP = 8 * 1024 * 1024
#: Seconds that a GB may take.  On a disk that is idle it takes a fifth of one, as it does at once.
PATIENCE = 1.0
#: Seconds that all may take, however large: whoever stops the process waits for it.
LIMIT = 10.0

#: File systems that free at once, and whose leases know of all who have a file.
KINDS = frozenset((b"ext4", b"xfs"))

_BLOCK = 512  # the unit of st_blocks, whatever the disk has
_CLOSED = getattr(os, "O_CLOEXEC", 0)
_WRITE = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | _CLOSED

_fcntl: Any = None
with contextlib.suppress(ImportError):
    _fcntl = importlib.import_module("fcntl")


class Held:
    """A large file that is about to lose a name; to be freed once, when it has."""

    def __init__(self, descriptor: int, folder: str) -> None:
        self._descriptor = descriptor
        self._folder = folder

    def free(self, seconds: Callable[[], float] = time.monotonic, limit: float = LIMIT) -> None:
        """Close it, and free it bit by bit before if it is nobody's any more.  Never fails.

        :param limit: seconds that it may take at most; the rest is freed at once.
        """
        try:
            with contextlib.suppress(OSError):
                if not os.fstat(self._descriptor).st_nlink:
                    self._lease()
                    _cut(self._descriptor, self._folder, self._is_leased, seconds, limit)
        finally:
            os.close(self._descriptor)

    def _lease(self) -> None:
        """Be told before anybody else opens it; OSError if somebody has, or the file system has no leases."""
        # The signal that tells it is ours to choose: SIGIO would end the process, SIGURG does nothing to it.
        _fcntl.fcntl(self._descriptor, _fcntl.F_SETSIG, signal.SIGURG)
        _fcntl.fcntl(self._descriptor, _fcntl.F_SETLEASE, _fcntl.F_WRLCK)

    def _is_leased(self) -> bool:
        """Whether nobody waits to open it, as one can by ``/proc`` if by no name."""
        return bool(_fcntl.fcntl(self._descriptor, _fcntl.F_GETLEASE) == _fcntl.F_WRLCK)


def free_all(files: Iterable[Held], seconds: Callable[[], float] = time.monotonic) -> None:
    """Free these, in `LIMIT` together.  Never fails."""
    end = seconds() + LIMIT
    for each in files:
        each.free(seconds, end - seconds())


def hold(path: str) -> Held | None:
    """Open what is about to lose this name; None if it is not large, keeps another, or can only be freed at once.

    A symbolic link loses the name itself, and what it leads to keeps its own.
    """
    if not hasattr(_fcntl, "F_SETLEASE"):
        return None
    try:
        status = os.lstat(path)
        if status.st_nlink != 1 or not _is_large(status):
            return None
        descriptor = os.open(path, _WRITE)
    except OSError:
        return None  # nobody has to be able to write what is replaced
    if not discards(descriptor):
        os.close(descriptor)
        return None
    return Held(descriptor, os.path.dirname(path) or ".")


def empty(descriptor: int, folder: str, seconds: Callable[[], float] = time.monotonic) -> None:
    """Cut a file of ours to nothing, whoever reads it; a large one bit by bit.

    :param folder: some folder on the same file system, in which we may write.
    :raise OSError: it cannot be cut.
    """
    if _is_large(os.fstat(descriptor)) and discards(descriptor):
        with contextlib.suppress(OSError):
            _cut(descriptor, folder, lambda: True, seconds, LIMIT)
    os.ftruncate(descriptor, 0)


def discards(descriptor: int) -> bool:
    """Whether the file is on one of `KINDS` that tells the disk what is free."""
    kind, options = mounted(descriptor)
    return kind in KINDS and b"discard" in options


def mounted(descriptor: int, process: str = "/proc/self") -> tuple[bytes, list[bytes]]:
    """The kind of file system that a file is on, and its options; nothing where the system does not tell.

    By the mount, for what a file says of its device can be that of a file system below its own.

    :param process: what the system tells of this process (proc(5)).
    """
    try:
        with open(f"{process}/fdinfo/{descriptor}", "rb") as facts:
            number = next(line.split()[1] for line in facts if line.startswith(b"mnt_id:"))
        with open(f"{process}/mountinfo", "rb") as mounts:
            _, _, mount = next(line for line in mounts if line.startswith(number + b" ")).partition(b" - ")
        kind, _, options = mount.split()
    except (OSError, StopIteration, ValueError):
        return b"", []
    return kind, options.split(b",")


def _cut(
    descriptor: int, folder: str, goes_on: Callable[[], bool], seconds: Callable[[], float], limit: float
) -> None:
    """Cut a file down, for as long as it goes on and there is time for it.

    To multiples of `STEP`: a system that cuts through the middle of a page empties the rest of that page, which may be
    on its way to somebody still (sendfile(2)), whom no lease knows.
    """
    status = os.fstat(descriptor)
    size = status.st_size
    began = now = seconds()
    end = began + min(PATIENCE * _on_disk(status) / 1e9, limit)
    steps = 0
    # To sync the file itself would write what of it is not on the disk yet, and is to be freed.  A scrap, changed in
    # the same transaction, syncs just that.
    scrap = os.open(folder, getattr(os, "O_TMPFILE", 0) | os.O_WRONLY | _CLOSED, 0o600)
    try:
        while size > 0 and now < end and goes_on():
            # On a disk that is slow, so much that the rest is done in time.
            step = int(size * (now - began) / steps / (end - now)) if steps else 0
            size = max(size - max(step, STEP), 0) // STEP * STEP
            os.ftruncate(descriptor, size)
            os.utime(scrap)
            os.fsync(scrap)
            steps, now = steps + 1, seconds()
    finally:
        os.close(scrap)


def _is_large(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and _on_disk(status) >= LARGE


def _on_disk(status: os.stat_result) -> int:
    """Bytes that it takes there, which may be fewer than it has; 0 where the system does not tell."""
    blocks: int = getattr(status, "st_blocks", 0)
    return blocks * _BLOCK
