"""What is there of a file under way, so that the next process can go on: ``NAME.part.info`` beside ``NAME.part``.

It is text: a first line with the form's number, the size and the version of the file, and a line ``start end`` for
each write, appended after the bytes were written::

    pychat-part 1 3145728 7f3c-300000-1864c1
    0 262144
    524288 786432

A process that is killed leaves at worst a last line without its end, which is not counted.  After a power cut a line
may promise what the disk does not have: so whatever is gone on with is hashed again (`pychat.part`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote

from pychat.transfer.ranges import RangeSet
from pychat.transfer.terms import MAX_SIZE

SUFFIX = ".info"
#: Ranges with which a part is gone on: as many as go on a chat line.
MAX_RANGES = 64
#: Lines after which the file is written anew, shorter.
MAX_LINES = 4096
#: A file longer than this is none of ours.
MAX_BYTES = 1024 * 1024

MAGIC = b"pychat-part "
_FIRST = re.compile(rb"pychat-part 1 (\d{1,19}) (\S{0,600})")
_LINE = re.compile(rb"(\d{1,19}) (\d{1,19})")
_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class Held(NamedTuple):
    """What a sidecar says.

    :ivar size: bytes that the file will have.
    :ivar version: of the file, as whoever sends it calls it.
    :ivar ranges: the bytes that are there.
    """

    size: int
    version: str
    ranges: RangeSet


def parse(data: bytes) -> Held | None:
    """What the bytes of a sidecar say; None when they are none."""
    first, *lines = data.split(b"\n")
    match = _FIRST.fullmatch(first)
    if match is None or not lines:
        return None
    size, ranges = int(match[1]), RangeSet()
    if size > MAX_SIZE:
        return None
    for line in lines[:-1]:
        pair = _LINE.fullmatch(line)
        if pair is None or not int(pair[1]) < int(pair[2]) <= size:
            return None
        ranges.add(int(pair[1]), int(pair[2]))
    return Held(size, unquote(match[2].decode("latin-1")), ranges)


def render(size: int, version: str, ranges: Iterable[tuple[int, int]]) -> bytes:
    """The bytes of a sidecar.

    :raise ValueError: the version is too long to be read again; no daemon gives one like that.
    """
    head = f"pychat-part 1 {size} {quote(version, safe='')}"
    if _FIRST.fullmatch(head.encode("ascii")) is None:
        raise ValueError("The version of the file is too long to be kept. Download it without resuming.")
    return f"{head}\n{_lines(ranges)}".encode("ascii")


def _lines(ranges: Iterable[tuple[int, int]]) -> str:
    return "".join([f"{start} {end}\n" for start, end in ranges])


class Sidecar:
    """One sidecar.  Who calls it holds the lock of the ``.part``.

    Everything blocks, and raises `OSError`.

    :param path: its name.
    :param size: bytes that the file will have.
    :param version: of the file.
    """

    def __init__(self, path: str, size: int, version: str) -> None:
        self.path = path
        self._size = size
        self._version = version
        self._descriptor: int | None = None
        self._lines = 0

    @property
    def there(self) -> bool:
        """Whether it was started and is open."""
        return self._descriptor is not None

    def read(self) -> Held | None:
        """What it says; None when it is not there, or not a sidecar."""
        return read(self.path)

    def start(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Write it anew, with these ranges, at one stroke; `append` is possible from now on.

        A name that is too long for the system gets none, and then a killed process leaves nothing to go on with.
        """
        self.close()
        fresh = self.path + ".new"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return
            raise
        try:
            _write(descriptor, render(self._size, self._version, ranges))
        finally:
            os.close(descriptor)
        os.replace(fresh, self.path)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | _FLAGS)
        self._lines = 0

    def append(self, ranges: RangeSet) -> bool:
        """These bytes have been written, too.

        :return: whether it has grown so long that it should be written anew.
        """
        if self._descriptor is None:
            return False
        _write(self._descriptor, _lines(ranges).encode("ascii"))
        self._lines += len(ranges)
        return self._lines > MAX_LINES

    def close(self) -> None:
        """Leave it as it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """It is no longer needed.  Never fails: without a ``.part`` it says nothing."""
        self.close()
        for path in (self.path, self.path + ".new"):
            with contextlib.suppress(OSError):
                os.unlink(path)


def longest(ranges: RangeSet, length: int) -> RangeSet:
    """The longest `MAX_RANGES` of these ranges, as far as a file of `length` bytes has them."""
    cut = [(start, min(end, length)) for start, end in ranges if start < length]
    longest = sorted(cut, key=lambda pair: pair[0] - pair[1])[:MAX_RANGES]
    capped = RangeSet()
    for start, end in sorted(longest):
        capped.add(start, end)
    return capped


def ours(path: str) -> bool | None:
    """Whether what has this name was made here, whatever became of it; None when nothing has."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return False
    if status.st_size == 0:
        return True  # as a power cut leaves it
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(path: str) -> Held | None:
    """What the sidecar of this name says; None when it cannot be read, or is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _FLAGS)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return parse(data) if len(data) <= MAX_BYTES else None


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
