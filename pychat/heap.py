"""The C library's memory: what is freed is kept for what is needed a moment later.

Each batch of messages needs a megabyte or two and frees them when it is written.  glibc gives the end of its heap back
to the system as soon as 128 KB of it are free, and the next batch takes it again, page by page: at saturation that was
a tenth of the time.
"""

from __future__ import annotations

import ctypes
from typing import Any

KEPT = 32 * 1024 * 1024
"""Bytes at the end of the heap that are kept, until :func:`give_back`: more than a few files under way leave there."""

LARGE = 4 * 1024 * 1024
"""Larger pieces are the system's, one by one: they come and go at once."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h


def share_heap(library: Any = None) -> bool:
    """Have all threads that begin from now on use one heap; return whether the C library is one that can.

    glibc makes one for each, and what one of ten does not need any more none of the others can have.  Python's lock
    lets one run at a time anyway.

    :param library: in place of the C library, for tests.
    """
    try:
        mallopt = (library or ctypes.CDLL(None)).mallopt
    except (OSError, TypeError, AttributeError):
        return False  # Windows, macOS, musl
    return bool(mallopt(_ARENA_MAX, 1))


def keep_freed(library: Any = None) -> bool:
    """Do so in this process; return whether its C library is one that can.

    :param library: in place of the C library, for tests.
    """
    try:
        mallopt = (library or ctypes.CDLL(None)).mallopt
    except (OSError, TypeError, AttributeError):
        return False  # Windows, macOS, musl
    return bool(mallopt(_MMAP_THRESHOLD, LARGE)) and bool(mallopt(_TRIM_THRESHOLD, KEPT))


SMALL = 128 * 1024 * 1024
"""Up to so many bytes in all, the process can give memory back within 5 ms."""


def give_back(held: int, library: Any = None) -> bool:
    """Give back what is free, wherever it lies; return whether there was something.

    A file under way takes some MB, and leaves them in pieces between what stays.  Whoever needs more memory meanwhile
    waits, in whatever thread: that would be 0.1 ms for each MB, and a large process rather keeps it.

    :param held: bytes that the process has.
    :param library: in place of the C library, for tests.
    """
    if held > SMALL:
        return False
    try:
        trim = (library or ctypes.CDLL(None)).malloc_trim
    except (OSError, TypeError, AttributeError):
        return False
    return bool(trim(ctypes.c_size_t(0)))
