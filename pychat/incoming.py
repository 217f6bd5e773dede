"""What people upload, until it is on the shelf; and who may have how much of it there.

Theory of operation.  A hidden folder in the shelf, :data:`FOLDER`, which nobody can name, holds for each upload that is
half done

- ``ID.part``, and beside it whatever :mod:`pychat.part` needs to go on with it,
- ``ID.upload``: its name, size and owner.

``ID`` is a digest of the name, the size and the *version*, a secret of the client: who knows all three may go on with
it, and nobody else.  When it is verified it gets its name by a link, which replaces nothing.  A line in :data:`LEDGER`
says whose it is, for the quota outlives the process.  An upload counts with its full size from its offer on, at least
:data:`~pychat.uploads.LEAST_CHARGE`; it counts no more when it expired, was cancelled, or is not on the shelf any
longer.

Everything here blocks: call it in a thread, never on the reactor's.  A lock lets one in at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pychat import freeing, sidecar
from pychat.claim import SUFFIX
from pychat.errors import PychatError, ShelfError, TransferError
from pychat.folders import Folder, is_link
from pychat.part import PartFile, read_part
from pychat.shelf import Shelf, fault_of
from pychat.uploads import Upload, append, id_of, read, remove, status_of, write

FOLDER = ".incoming"
LEDGER = "ledger"

RESERVE = 256 * 1024 * 1024
"""Bytes of the disk that uploads leave free; or a twentieth of it, if that is less."""

RECOUNT_SECONDS = 10.0
"""Somebody who is over her quota may have had files removed: they are looked for at most this often."""

UPLOAD = ".upload"

_MOST = 1_000_000
"""Names in the hidden folder that are looked at."""

_HELD = 16
"""Large files that are open at once, to be freed bit by bit."""

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

_SENTENCES = {
    "disk-full": "The disk of the server is full: ask whoever runs it to make some room.",
    "exists": "The shelf has something of this name: nothing is overwritten. Choose another name.",
    "in-use": "This file is being uploaded already: try again later.",
    "cancelled": "The upload was cancelled.",
}
_CANNOT_WRITE = "The server cannot write the file: tell whoever runs it to look at its log."


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be uploaded.

    :ivar each: bytes that one owner may have on the shelf, half-done uploads among them.
    :ivar all: bytes of all uploads together.
    :ivar keep: seconds for which an upload that broke off is kept.
    """

    each: int = 1 << 30
    all: int = 10 << 30
    keep: float = 86_400.0


def _megabytes(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


class IncomingPart(PartFile):
    """An upload as it is written; when it is finished `publish` gives it its name.

    What it says when something fails goes to the client: it names no path of this machine.
    """

    def __init__(self, path: str, upload: Upload, publish: Callable[[Upload], None]) -> None:
        super().__init__(path, upload.size, upload.id, whole=False, private=True)
        self._upload = upload
        self._publish = publish

    def _rename(self) -> None:
        self._publish(self._upload)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with super()._errors():
                yield
        except PychatError as error:
            ours = {"cannot-write", "no-permission"}
            sentence = _CANNOT_WRITE if error.code in ours else _SENTENCES.get(error.code, error.sentence)
            raise TransferError(error.code, sentence) from error


class Incoming:
    """The uploads of one shelf.

    :param wall_clock: seconds since 1970.
    :param space: gives the bytes of the disk that a path lies on, and those that are free.
    """

    def __init__(
        self,
        shelf: Shelf,
        bounds: Bounds | None = None,
        *,
        wall_clock: Callable[[], float] = time.time,
        space: Callable[[str], tuple[int, int]] | None = None,
    ) -> None:
        self._shelf = shelf
        self.bounds = bounds or Bounds()
        self._wall_clock = wall_clock
        self._space = space or _space
        self._lock = threading.Lock()
        self._loaded = False
        self._lines = 0  # of the ledger
        self._halves: dict[str, Upload] = {}
        self._done: dict[str, Upload] = {}  # by name
        self._active: dict[str, Upload] = {}
        self._recounted = float("-inf")

    # -- one upload

    def begin(self, name: str, size: int, version: str, owner: str) -> Upload:
        """Let somebody upload a file, or go on with it; it is hers until :meth:`end`.

        :param version: the secret of who uploads.
        :raises ShelfError: ``bad-name``, ``exists``, ``arrived``, ``in-use``, ``over-quota``, ``no-space`` or
            ``cannot-write``.
        """
        fault = fault_of(name)
        if fault is not None:
            raise ShelfError(
                "bad-name", f"A file cannot be shared under a name that {fault}: choose another name."
            )
        upload = Upload(id_of(name, size, version), name, size, owner)
        with self._lock, _errors(), self._open() as incoming:
            self._load(incoming)
            with self._place(name) as (place, last):
                if status_of(place, last) is not None:
                    done = self._done.get(name)
                    if done is not None and done.id == upload.id:
                        raise ShelfError("arrived", f"{name} has arrived already.")
                    raise _exists(name)
            if any(other.name == name for other in self._active.values()):
                raise ShelfError(
                    "in-use",
                    f"Somebody is uploading {name} right now: try again later, or choose another name.",
                )
            self._require_room(upload)
            if self._halves.get(upload.id) != upload:
                write(incoming, upload.id + UPLOAD, [upload])
            self._halves[upload.id] = self._active[upload.id] = upload
        return upload

    def part(self, upload: Upload) -> IncomingPart:
        """To be opened, written and finished; closed before :meth:`end`."""
        return IncomingPart(self._path(upload), upload, self._publish)

    def _publish(self, upload: Upload) -> None:
        """It is complete, verified and synced: give it its name, in place of nothing.

        :raises ShelfError: ``exists``, or ``cannot-write``.
        """
        with self._lock, _errors(), self._open() as incoming:
            with self._place(upload.name) as (place, last):
                try:
                    place.take(incoming, upload.id + SUFFIX, last)
                except FileExistsError:
                    raise _exists(upload.name) from None
                place.sync()
            self._finish(upload, incoming)
            incoming.sync()

    def end(self, upload: Upload, *, keep: bool) -> None:
        """It is not under way any more.

        :param keep: somebody may go on with what there is of it; else that is removed.
        """
        with self._lock, _errors():
            self._active.pop(upload.id, None)
            if upload.id in self._halves and not (keep and self._held(upload)):
                with self._open() as incoming:
                    self._remove(incoming, upload.id)

    # -- all of them

    def sweep(self) -> list[Upload]:
        """Remove what broke off too long ago, and forget files that are not on the shelf any more.

        :return: what was removed.
        """
        removed = []
        large: list[freeing.Held] = []
        # What is large is freed when others may come in again.
        with contextlib.ExitStack() as later, self._lock, _errors():
            later.callback(freeing.free_all, large)
            if self._shelf_has(FOLDER) is None:
                return []
            with self._open() as incoming:
                self._load(incoming)
                oldest = self._wall_clock() - self.bounds.keep
                touched: dict[str, float] = {}
                names = incoming.names(_MOST)
                for name in names:
                    what, id = status_of(incoming, name), name.partition(".")[0]
                    if what is not None:
                        touched[id] = max(touched.get(id, 0.0), what.st_mtime)
                for name in names:
                    id = name.partition(".")[0]
                    if id not in self._active and touched.get(id, oldest) < oldest and id != LEDGER:
                        if id in self._halves:
                            removed.append(self._halves.pop(id))
                        held = (
                            freeing.hold(os.path.join(self._shelf.root, FOLDER, name))
                            if len(large) < _HELD
                            else None
                        )
                        if held is not None:
                            large.append(held)
                        remove(incoming, name)
                self._recount()
                if self._lines != len(self._done):
                    write(incoming, LEDGER, list(self._done.values()), safe=True)
                    self._lines = len(self._done)
        return removed

    def used(self, owner: str) -> int:
        """Bytes that count for somebody."""
        return sum(each.charge for each in self._all() if each.owner == owner)

    def _path(self, upload: Upload) -> str:
        return os.path.join(self._shelf.root, FOLDER, upload.id)

    # -- within the lock

    def _all(self) -> Iterator[Upload]:
        yield from self._halves.values()
        yield from self._done.values()

    def _require_room(self, upload: Upload) -> None:
        if not self._within_bounds(upload):
            now = self._wall_clock()
            if abs(now - self._recounted) > RECOUNT_SECONDS:
                self._recounted = now
                self._recount()
            if not self._within_bounds(upload):
                raise self._over_quota(upload)
        total, free = self._space(self._shelf.root)
        free -= min(RESERVE, total // 20)
        missing = [each.size - self._held(each) for each in self._active.values()]
        if sum(missing) + upload.size - self._held(upload) > free:
            raise ShelfError(
                "no-space",
                f"The disk has no room for {upload.name}: ask whoever runs the server to make some.",
            )

    def _held(self, upload: Upload) -> int:
        """Bytes of it that are on the disk."""
        held = read_part(self._path(upload))
        return sum(end - start for start, end in held.ranges) if held is not None else 0

    def _charges(self, upload: Upload) -> Counter[bool]:
        """What counts besides this one: for its owner, and for others."""
        charges: Counter[bool] = Counter()
        for each in self._all():
            if each.id != upload.id:
                charges[each.owner == upload.owner] += each.charge
        return charges

    def _within_bounds(self, upload: Upload) -> bool:
        charges = self._charges(upload)
        each = charges[True] + upload.charge
        return each <= self.bounds.each and each + charges[False] <= self.bounds.all

    def _over_quota(self, upload: Upload) -> ShelfError:
        left = max(0, self.bounds.each - self._charges(upload)[True])
        if upload.charge > self.bounds.each:
            sentence = f"It is larger than the {_megabytes(self.bounds.each)} that each may upload here."
        elif upload.charge > left:
            sentence = f"You may upload {_megabytes(left)} more: ask whoever runs the server to remove some of yours."
        else:
            sentence = "The shelf is full: ask whoever runs the server to remove some of what was uploaded."
        return ShelfError("over-quota", sentence)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Folder]:
        """The hidden folder, made if it is absent; never through a link."""
        with self._shelf.top() as root:
            root.make_folder(FOLDER)
            with root.enter(FOLDER) as incoming:
                yield incoming

    @contextlib.contextmanager
    def _place(self, name: str) -> Iterator[tuple[Folder, str]]:
        """The folder that a name lies in, and the last part of the name."""
        *folders, last = name.split("/")
        with contextlib.ExitStack() as opened:
            place = opened.enter_context(self._shelf.top())
            for folder in folders:
                try:
                    place = opened.enter_context(place.enter(folder))
                except OSError as error:
                    if error.errno not in _NOT_THERE:
                        raise
                    there = "/".join(folders)
                    raise ShelfError(
                        "bad-name", f"The shelf has no folder {there}: leave it out, or choose another."
                    ) from None
            yield place, last

    def _shelf_has(self, name: str) -> os.stat_result | None:
        """What stands under a name of the shelf."""
        try:
            with self._place(name) as (place, last):
                return status_of(place, last)
        except (ShelfError, OSError):
            return None

    def _load(self, incoming: Folder) -> None:
        """Once in a process: what earlier ones left."""
        if self._loaded:
            return
        for upload in read(incoming, LEDGER):
            self._lines += 1
            self._done[upload.name] = upload
        for name in incoming.names(_MOST):
            if name.endswith(UPLOAD):
                for upload in read(incoming, name)[:1]:
                    if upload.id + UPLOAD == name:
                        self._halves[upload.id] = upload
        self._recount()
        for upload in list(self._halves.values()):
            # Its last process may have ended between the link and what follows it.
            part, there = status_of(incoming, upload.id + SUFFIX), self._shelf_has(upload.name)
            if part is not None and there is not None and os.path.samestat(part, there):
                self._finish(upload, incoming)
        self._loaded = True

    def _recount(self) -> None:
        """Forget what is not on the shelf any more."""
        for name, upload in list(self._done.items()):
            what = self._shelf_has(name)
            if what is None or is_link(what) or not stat.S_ISREG(what.st_mode) or what.st_size != upload.size:
                del self._done[name]

    def _finish(self, upload: Upload, incoming: Folder) -> None:
        """It has its name: note whose it is, and leave nothing of it behind."""
        append(incoming, LEDGER, upload)
        self._lines += 1
        self._done[upload.name] = upload
        self._remove(incoming, upload.id)

    def _remove(self, incoming: Folder, id: str) -> None:
        self._halves.pop(id, None)
        for suffix in (UPLOAD, SUFFIX, SUFFIX + sidecar.SUFFIX):
            remove(incoming, id + suffix)


def _space(path: str) -> tuple[int, int]:
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


def _exists(name: str) -> ShelfError:
    return ShelfError("exists", f"{name} is there already: nothing is overwritten. Choose another name.")


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """What the system says, in our words; the error is the cause."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ShelfError(
                "bad-name", "The name is too long for the server: choose a shorter one."
            ) from error
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise ShelfError("no-space", _SENTENCES["disk-full"]) from error
        if error.errno == errno.EXDEV:
            sentence = "That folder is on another disk: upload into another one."
            raise ShelfError("cannot-write", sentence) from error
        raise ShelfError("cannot-write", _CANNOT_WRITE) from error
