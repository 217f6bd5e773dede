"""The shelf: the folder whose files people may download, and the only module that turns a name into a path.

Theory of operation.  A name comes from anybody on the network, and it must never reach anything but a regular
file below the root.  So everything is refused unless it is known to be good:

1. The name is split at ``/`` and each component is judged by itself (`fault_of`): not empty, no leading dot
   (which covers ``.`` and ``..``), no backslash, nothing that a terminal or a line of the protocol could
   trip over.  What `Shelf.listing` shows and what `Shelf.open` accepts is decided by this one function, so
   that every listed name can be fetched as it is listed.
2. The root is opened, then each folder from the descriptor of the one above it, never following a symbolic
   link, then the file.  No path of more than one component is ever given to the system, so nothing that
   is renamed or replaced meanwhile can lead outside.  Things other than regular files are not even opened:
   that alone can have effects on a device, and opening a FIFO would wait for its writer.
3. What was opened is looked at again by its descriptor.

Where the system cannot open by descriptor (Windows), `PathFolder` checks each component, opens, and then
compares what it has opened with what it had checked.

Every refusal is the same ``no-such-file`` with the same sentence: who guesses names learns nothing.

The root is opened afresh by its path for every listing and every open.  The path itself may lead through
symbolic links, for that is the operator's choice, and when she swaps the folder or turns the link, the next
open sees the new one, while the files that are being sent stay the ones that were opened.

Everything here blocks: call it in a thread, never on the reactor's.  Nothing is logged: `Listing.skipped` and
the errors are facts for the caller to log.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pychat.errors import ShelfError
from pychat.folders import DescriptorFolder, Folder, PathFolder, is_link, opens_by_descriptor
from pychat.vocabulary import ListedFile

MAX_NAME_BYTES = 1024
"""The longest name that is listed or opened, bytes of UTF-8: a line of 4,096 holds it with room to spare."""

MAX_DEPTH = 16
"""The most components of a name: what lies deeper is neither listed nor opened."""

MAX_VISITED = 100_000
"""The most directory entries that one listing looks at."""

_MAX_REPORTED = 10_000
"""The most skipped names that are remembered as reported; beyond, skipping is silent."""

_BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_UNFIT = frozenset(
    [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u2029", *_BIDI_CONTROLS, "\\"]
)

_WINDOWS = os.name == "nt"
_WINDOWS_UNFIT = frozenset('<>:"|?*')
_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [port + number for port in ("com", "lpt") for number in "0123456789¹²³"]
)

# The system or the process is short of something: that is not the name's fault, and another try may do.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EAGAIN})
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True)
class Skipped:
    """Something in the folder that is not offered, and why.

    :ivar name: its relative name, escaped so that it is safe in a log.
    :ivar reason: a clause for a person, ``is a link``.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What the shelf holds.

    :ivar files: the first files by name, in the order of their code points.
    :ivar left_out: how many more files there are than the limit allows.
    :ivar complete: False if there are more than `MAX_VISITED` entries, and the rest was not looked at.
    :ivar skipped: what is not offered and was not reported by an earlier listing of this `Shelf`.
    """

    files: tuple[ListedFile, ...]
    left_out: int
    complete: bool
    skipped: tuple[Skipped, ...]


class ShelfFile:
    """A file that was opened for sending: it gives the content it had then, or an error.

    One thread reads; any thread may close.

    :ivar name: the name it was asked for by.
    :ivar size: bytes.
    :ivar version: 16 characters, opaque; equal as long as it is the same file with the same content, as far
        as inode, size and time of modification tell.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        """Take over the open descriptor of a regular file."""
        # A file object owns the descriptor, so that one that is forgotten is closed, with a warning.
        self._file = io.FileIO(descriptor)
        self._opened = os.fstat(descriptor)
        self.name = name
        self.size = self._opened.st_size
        self.version = _version(self._opened)
        self._lock = threading.Lock()
        self._seek_lock = threading.Lock()
        self._reading = 0
        self._closed = False

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes from `offset` on: `length` of them, or as many as there are up to `size`.

        A read that reaches the end also does what `verify` does.

        :raises ShelfError: ``source-changed`` if the file is not what it was when it was opened;
            ``read-failed`` if the system cannot read it, or it was closed.
        """
        with self._busy():
            data = self._read_exactly(offset, max(0, min(length, self.size - offset)))
            if offset + length >= self.size:
                self._compare()
            return data

    def verify(self) -> None:
        """Check that the file is still what it was when it was opened: not grown, touched or unlinked.

        :raises ShelfError: ``source-changed`` if not; ``read-failed`` if the system cannot tell.
        """
        with self._busy():
            self._compare()

    def close(self) -> None:
        """Give the file back; a read in another thread is let finish first.  Closing again does nothing."""
        with self._lock:
            self._closed = True
            if not self._reading:
                self._file.close()

    def __enter__(self) -> ShelfFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """Keep the descriptor open: the number of a closed one is soon that of another file."""
        with self._lock:
            if self._closed:
                raise _read_failed()
            self._reading += 1
        try:
            yield
        except OSError as error:
            raise _read_failed() from error
        finally:
            with self._lock:
                self._reading -= 1
                if self._closed and not self._reading:
                    self._file.close()

    def _read_exactly(self, offset: int, length: int) -> bytes:
        data = self._read_some(offset, length)
        while len(data) < length:
            more = self._read_some(offset + len(data), length - len(data))
            if not more:
                raise _source_changed()
            data += more
        return data

    def _read_some(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), length, offset)
        with self._seek_lock:
            self._file.seek(offset)
            return self._file.read(length)

    def _compare(self) -> None:
        now, then = os.fstat(self._file.fileno()), self._opened
        content_changed = (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns)
        # Fewer links: it was unlinked or replaced.  More: a backup linked it, which changes nothing.
        if content_changed or now.st_nlink < then.st_nlink:
            raise _source_changed()


class Shelf:
    """A folder of files that may be downloaded.

    :param root: the folder.  A relative path is taken from the current directory of now: a daemon leaves it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = os.path.abspath(root)
        self._folder: type[Folder] = DescriptorFolder if opens_by_descriptor() else PathFolder
        self._reported: set[str] = set()

    def top(self) -> Folder:
        """Open the folder itself, as it is now."""
        return self._folder.root(self.root)

    def prepare(self) -> None:
        """Make the folder if it is absent, and see that it can be read.

        :raises ShelfError: ``bad-shelf``; the sentence is one line and says what to do.
        """
        shown = _escape(self.root)
        try:
            os.makedirs(self.root, exist_ok=True)
        except FileExistsError:
            raise _bad_shelf(f"Cannot share {shown}, for it is not a folder: name another.") from None
        except OSError as error:
            raise _bad_shelf(
                f"Cannot make the folder {shown} ({_reason(error)}): make it yourself, or name another."
            ) from error
        try:
            with os.scandir(self.root) as entries:
                next(entries, None)
            readable = os.access(self.root, os.R_OK | os.X_OK)
        except OSError:
            readable = False
        if not readable:
            raise _bad_shelf(f"Cannot read the folder {shown}: let this user read it, or name another.")

    def listing(self, limit: int) -> Listing:
        """Return the files of the shelf and of its folders, at most `limit` of them.

        Not offered are dot files and what is below dot folders, anything that is not a regular file or a
        folder, files that may not be read, and names that could not be asked for.  All but the dot files are
        told once, as `Listing.skipped`.

        :raises ShelfError: ``read-failed`` if the folder itself cannot be read.
        """
        survey = _Survey()
        try:
            with self.top() as root:
                self._look_into(root, (), survey)
        except OSError as error:
            raise ShelfError(
                "read-failed", "The files cannot be listed now: try again later, or tell who runs the server."
            ) from error
        survey.files.sort(key=lambda entry: entry.name)
        return Listing(
            files=tuple(survey.files[:limit]),
            left_out=max(0, len(survey.files) - limit),
            complete=survey.visited <= MAX_VISITED,
            skipped=tuple(self._not_yet_reported(survey.skipped)),
        )

    def open(self, name: str) -> ShelfFile:
        """Open the file of that name.

        :param name: as `listing` gives it; any text whatever is judged.
        :raises ShelfError: ``no-such-file``, always with the same sentence, unless it is a regular file below
            the root that may be read; ``read-failed`` if the system is short of descriptors or memory.
        """
        if fault_of(name) is not None:
            raise _no_such_file()
        *folders, last = name.split("/")
        try:
            with contextlib.ExitStack() as opened:
                place = opened.enter_context(self.top())
                for folder in folders:
                    place = opened.enter_context(place.enter(folder))
                return ShelfFile(name, place.open_file(last))
        except OSError as error:
            if error.errno in _PASSING:
                raise _read_failed() from error
            raise _no_such_file() from error

    def _look_into(self, place: Folder, path: tuple[str, ...], survey: _Survey) -> None:
        for raw in place.names(MAX_VISITED + 1):
            survey.visited += 1
            if survey.visited > MAX_VISITED:
                return
            if raw.startswith("."):
                continue
            name = "/".join((*path, raw))
            fault = fault_of(name)
            reason = None if fault is None else f"has a name that {fault}"
            if reason is None:
                try:
                    reason = self._look_at(place, (*path, raw), survey)
                except OSError as error:
                    if error.errno in _VANISHED:
                        continue
                    reason = f"cannot be read ({_reason(error)})"
            if reason is not None:
                survey.skipped.append(Skipped(_escape(name), reason))

    def _look_at(self, place: Folder, path: tuple[str, ...], survey: _Survey) -> str | None:
        """Take in a file, or what a folder holds; return why it is skipped, if it is."""
        what = place.status(path[-1])
        if is_link(what):
            return "is a link"
        if stat.S_ISDIR(what.st_mode):
            with place.enter(path[-1]) as below:
                self._look_into(below, path, survey)
            return None
        if not stat.S_ISREG(what.st_mode):
            return "is neither a file nor a folder"
        if not place.may_read(path[-1]):
            return "may not be read by this user"
        survey.files.append(ListedFile("/".join(path), what.st_size))
        return None

    def _not_yet_reported(self, skipped: list[Skipped]) -> Iterator[Skipped]:
        for fact in skipped:
            if fact.name not in self._reported and len(self._reported) < _MAX_REPORTED:
                self._reported.add(fact.name)
                yield fact


class _Survey:
    """What one listing has seen so far."""

    def __init__(self) -> None:
        self.files: list[ListedFile] = []
        self.skipped: list[Skipped] = []
        self.visited = 0


def fault_of(name: str) -> str | None:
    """Say why a relative name is never listed nor opened: what it does, for a person; None if it may be.

    This is about the text alone; what stands under the name is looked at later.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if size > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    if not _UNFIT.isdisjoint(name):
        return "has control characters or a backslash"
    if name != name.strip(" "):
        # The line protocol drops spaces around a name.
        return "begins or ends with a space"
    components = name.split("/")
    if len(components) > MAX_DEPTH:
        return f"has more than {MAX_DEPTH} parts"
    if not all(components):
        if not name:
            return "is empty"
        if name.startswith("/"):
            return "begins with a /"
        return "ends with a /" if name.endswith("/") else "has two / side by side"
    if name.startswith("."):
        return "begins with a dot"
    if any(component.startswith(".") for component in components):
        return "has a part that begins with a dot"
    if _WINDOWS and any(map(_means_more_on_windows, components)):
        return "means something else on Windows"
    return None


def _means_more_on_windows(component: str) -> bool:
    """Recognise drives and streams (``C:x``, ``a:b``), wildcards, devices, and ends that Windows drops."""
    return (
        not _WINDOWS_UNFIT.isdisjoint(component)
        or component[-1] in ". "
        or component.split(".")[0].rstrip(" ").lower() in _WINDOWS_DEVICES
    )


def _version(what: os.stat_result) -> str:
    facts = f"{what.st_dev}:{what.st_ino}:{what.st_size}:{what.st_mtime_ns}"
    return hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()


def _escape(text: str) -> str:
    """Make a name safe to show: what is not printable becomes ``\\x1b`` and the like."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _reason(error: OSError) -> str:
    return error.strerror or "unknown error"


def _bad_shelf(sentence: str) -> ShelfError:
    return ShelfError("bad-shelf", sentence)


def _no_such_file() -> ShelfError:
    return ShelfError("no-such-file", "There is no such file: <listfiles> shows what there is.")


def _read_failed() -> ShelfError:
    return ShelfError(
        "read-failed", "The file cannot be read now: try again later, or tell who runs the server."
    )


def _source_changed() -> ShelfError:
    return ShelfError("source-changed", "The file changed while it was read: ask for it again.")
