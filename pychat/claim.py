"""The name of a file on its way, ``NAME.part``: whose it is, and who may remove it.

While a ``.part`` is written it is locked, where the system has such locks, and the lock ends with the process.  So one
that can be locked, and has a sidecar (`pychat.sidecar`) or no bytes, is left over: it is gone on with if whoever claims
it can, and else made anew.  One that cannot be locked is another transfer's, and what has no sidecar of ours is
somebody's file: it is never touched.  Who holds the lock of what is there may remove it, and nobody else.

Everything here blocks, and one thread uses a claim at a time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import threading
from collections.abc import Callable
from typing import Any

from pychat import freeing, sidecar
from pychat.errors import TransferError
from pychat.sidecar import Sidecar

SUFFIX = ".part"

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

_fcntl: Any = None
with contextlib.suppress(ImportError):  # Windows removes no file that is open, which does as well
    _fcntl = importlib.import_module("fcntl")

# Two transfers of one process to one name: the second would write where the first does.
_in_use: set[str] = set()
_in_use_lock = threading.Lock()


class Claim:
    """The claim of one transfer to the ``.part`` of a file, and the open file.

    What the system says to any of it comes as `OSError`.

    :param path: the name that the file gets in the end.
    :param its_sidecar: what tells that a transfer left a ``.part``; it goes with that.
    :param overwrite: replace what has that name now.
    :param private: nobody but us has files in that folder: whatever is in the way is left over.
    :ivar part: the name of the ``.part``.
    """

    def __init__(self, path: str, its_sidecar: Sidecar, *, overwrite: bool, private: bool) -> None:
        self.part = path + SUFFIX
        self._path = path
        self._sidecar = its_sidecar
        self._overwrite = overwrite
        self._private = private
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None  # of the file that we opened, until it has its name
        self._claimed: str | None = None
        self._replaced: freeing.Held | None = None

    def take(self, goes_on: Callable[[os.stat_result], bool]) -> None:
        """Make the ``.part``, or take over one that is left over.

        :param goes_on: whether to go on with one of ours, which has this status and is locked; else it is made anew.
        :raises TransferError: ``exists``, ``in-use``.
        """
        if not self._overwrite and os.path.lexists(self._path):
            raise self._exists()
        if not self._private and sidecar.ours(self._sidecar.path) is False:
            raise self._foreign(self._sidecar.path)
        claim = os.path.realpath(self.part)
        with _in_use_lock:
            if claim in _in_use:
                raise self._taken()
            _in_use.add(claim)
        self._claimed = claim
        for _ in range(_ATTEMPTS):
            if self._take_over(goes_on) or self._create():
                return
        raise self._taken()

    def opened(self) -> int:
        """The descriptor of the open file.

        :raises TransferError: ``cancelled``: there is none.
        """
        if self._descriptor is None:
            raise cancelled()
        return self._descriptor

    def give_name(self, rename: Callable[[], None]) -> None:
        """Give the file its name.  With that the claim has ended.

        :param rename: does it: `rename`, or what takes its place.
        :raises TransferError: ``cannot-write``, if somebody replaced the ``.part``; or as `rename`.
        """
        if _fcntl is None:
            self._close()  # Windows renames no file that is open; where there are locks, ours is kept
        if not self._is_ours():
            raise TransferError("cannot-write", f"Somebody replaced {self.part} during the transfer.")
        rename()
        self._identity = None
        self._sidecar.remove()
        self._close()
        self._release()

    def rename(self) -> None:
        """Rename the ``.part``.

        What it replaces is freed when the claim is left.

        :raises TransferError: ``exists``, if something got that name meanwhile.
        """
        if self._overwrite:
            self._replaced = freeing.hold(self._path)
            os.replace(self.part, self._path)
            return
        try:
            # Unlike a rename, a link never replaces what came in between.
            os.link(self.part, self._path)
        except FileExistsError as error:
            raise self._exists() from error
        except OSError:
            # No hard links here.
            if os.path.lexists(self._path):
                raise self._exists() from None
            os.rename(self.part, self._path)
        else:
            os.unlink(self.part)

    def leave(self) -> None:
        """End the claim, and leave the ``.part`` to whoever goes on with it.  May be called again.

        What the file replaced is freed, which takes a while if it was large: at most `freeing.LIMIT`.
        """
        self._identity = None
        self._sidecar.close()
        self._close()
        self._release()
        replaced, self._replaced = self._replaced, None
        if replaced is not None:
            replaced.free()

    def remove(self) -> None:
        """End the claim, and remove the ``.part`` if it is still ours.  Never fails, may be called again."""
        with contextlib.suppress(OSError):
            if self._descriptor is not None and self._identity is not None:
                self._empty(self._descriptor)
        if _fcntl is None:
            self._close()
        with contextlib.suppress(OSError):
            if self._identity is not None and self._is_ours():
                self._sidecar.remove()
                os.unlink(self.part)
        self.leave()

    # What is there already ------------------------------------------------------------------------------------

    def _take_over(self, goes_on: Callable[[os.stat_result], bool]) -> bool:
        """Go on with what has the name of the ``.part``; else remove it, if it is left over.

        Made anew, so that nothing is written through a link, or into a file that somebody has open.

        :return: whether it is ours now.
        :raises TransferError: ``in-use``, ``exists``.
        """
        try:
            status = os.lstat(self.part)
            descriptor = os.open(self.part, _LOOK) if stat.S_ISREG(status.st_mode) else None
        except FileNotFoundError:
            return False
        try:
            if descriptor is not None:
                if not _lock(descriptor):
                    raise self._taken()
                status = os.fstat(descriptor)
                if _identity(status) != _identity(os.lstat(self.part)):
                    return False
                if goes_on(status):
                    self._identity = _identity(status)
                    self._descriptor, descriptor = descriptor, None
                    return True
            if not self._is_left_over(status):
                raise self._foreign(self.part)
            if descriptor is not None:
                self._empty(descriptor)
                if _fcntl is None:
                    os.close(descriptor)
                    descriptor = None
            self._sidecar.remove()
            os.unlink(self.part)
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

    def _create(self) -> bool:
        """Make the ``.part`` and lock it; False when somebody else came between."""
        try:
            self._descriptor = os.open(self.part, _CREATE, 0o666)
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
        return _identity(os.lstat(self.part)) == self._identity

    def _empty(self, descriptor: int) -> None:
        """Who is killed before it is removed leaves nothing that looks like somebody's file, without its sidecar."""
        if os.fstat(descriptor).st_nlink == 1:
            freeing.empty(descriptor, os.path.dirname(self.part) or ".")

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _release(self) -> None:
        if self._claimed is not None:
            with _in_use_lock:
                _in_use.discard(self._claimed)
            self._claimed = None

    def _taken(self) -> TransferError:
        return TransferError(
            "in-use", f"Another transfer is writing {self.part} already: choose another name with -o."
        )

    def _foreign(self, path: str) -> TransferError:
        return TransferError(
            "exists",
            f"{path} is there already, and no transfer left it: move it away, or choose another name with -o.",
        )

    def _exists(self) -> TransferError:
        return TransferError(
            "exists", f"{self._path} is there already: move it away, or choose another name."
        )


def cancelled() -> TransferError:
    """The transfer has ended: nothing is to be done for it any more."""
    return TransferError("cancelled", "The transfer was cancelled.")


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
