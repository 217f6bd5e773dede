"""The C library's memory: what is freed is kept for what is needed a moment later.

Each batch of messages needs a megabyte or two and frees them when it is written.  glibc gives the end of its heap back
to the system as soon as 128 KB of it are free, and the next batch takes it again, page by page: at saturation that was
a tenth of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

KEPT = 32 * 1024 * 1024
"""Bytes at the end of the heap that are kept."""

LARGE = 512 * 1024
"""Larger pieces, such as what is read of a file at once, are the system's, one by one: they come and go at once."""

QUICK_SECONDS = 0.01
"""Giving back that takes no longer than this may be done each time."""

RAREST = 256
"""Giving back that takes longer is done each second, fourth, ... and at last each so many times."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h


def _c_library() -> Any:
    """The C library, or None where it cannot be asked."""
    try:
        import ctypes

        return ctypes.CDLL(None)
    except (ImportError, OSError, TypeError):
        return None  # built without it; Windows


def share_heap(library: Any = None) -> bool:
    """Have all threads that begin from now on use one heap; return whether the C library is one that can.

    glibc makes one for each, and what one of ten does not need any more none of the others can have.  Python's lock
    lets one run at a time anyway.

    :param library: in place of the C library, for tests.
    """
    mallopt = getattr(library or _c_library(), "mallopt", None)  # neither macOS nor musl has it
    return mallopt is not None and bool(mallopt(_ARENA_MAX, 1))


def keep_freed(library: Any = None) -> bool:
    """Do so in this process; return whether its C library is one that can.

    :param library: in place of the C library, for tests.
    """
    mallopt = getattr(library or _c_library(), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGE)) and bool(mallopt(_TRIM_THRESHOLD, KEPT))


class GivingBack:
    """Gives back what is free, wherever it lies.

    A file under way takes some MB, and leaves them in pieces between what stays.  Whoever needs more memory while they
    are given back waits, in whatever thread; that grows with the number of pieces.  So if it takes long it is done less
    often.

    :param library: in place of the C library, for tests.
    :param seconds: a clock.
    """

    def __init__(self, library: Any = None, seconds: Callable[[], float] = time.monotonic) -> None:
        self._trim = getattr(library or _c_library(), "malloc_trim", None)
        self._seconds = seconds
        self._each = self._left = 1

    def give_back(self) -> bool:
        """Called now and then, in a thread; return whether there was something."""
        self._left -= 1
        if self._trim is None or self._left > 0:
            return False
        began = self._seconds()
        found = bool(self._trim(0))
        quick = self._seconds() - began <= QUICK_SECONDS
        self._each = max(self._each // 2, 1) if quick else min(self._each * 2, RAREST)
        self._left = self._each
        return found
