"""Going down a folder component by component, so that no name leads outside it; and writing there, replacing nothing.

Where the system can open relative to a descriptor, each component is opened from the one above it and never through a
link, whatever is renamed meanwhile.  Elsewhere (Windows) the same verbs work on paths and look twice: before an open
and after it.  Which of the two this system gets is probed, not known by its name.
"""

from __future__ import annotations

import abc
import errno
import itertools
import os
import stat

REPARSE_POINT = 0x400  # FILE_ATTRIBUTE_REPARSE_POINT: symbolic links, junctions, mounted volumes

_ALWAYS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_OPEN_FILE = _ALWAYS | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_OPEN_FOLDER = _ALWAYS | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_DIRECTORY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ALWAYS | _NO_FOLLOW
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _ALWAYS | _NO_FOLLOW

_NO_LINKS = frozenset(
    getattr(errno, name) for name in ("EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK") if hasattr(errno, name)
)  # fmt: skip
"""What systems say that have no hard links."""


class Folder(abc.ABC):
    """An open folder of the shelf: from here one goes down, a component at a time.

    Each verb takes one component that the shelf let pass, and may raise OSError.
    """

    @classmethod
    @abc.abstractmethod
    def root(cls, path: str) -> Folder:
        """Open the shelf itself; symbolic links on the way there are the operator's and are followed."""

    @abc.abstractmethod
    def enter(self, folder: str) -> Folder:
        """Open a folder below, unless it is a symbolic link."""

    @abc.abstractmethod
    def names(self, most: int) -> list[str]:
        """Return the names in it, so many at most; bytes that are not UTF-8 as surrogates."""

    @abc.abstractmethod
    def status(self, name: str) -> os.stat_result:
        """Say what stands under the name, following nothing."""

    @abc.abstractmethod
    def may_read(self, name: str) -> bool:
        """Say whether this process may read the file."""

    @abc.abstractmethod
    def open_file(self, name: str) -> int:
        """Return the descriptor of a regular file; OSError if it is anything else."""

    @abc.abstractmethod
    def make_folder(self, name: str) -> None:
        """Make a folder that only this user may look into, unless something has that name."""

    @abc.abstractmethod
    def create(self, name: str, mode: int = 0o600) -> int:
        """Return the descriptor of a new file, to be written; OSError if anything has that name."""

    @abc.abstractmethod
    def append(self, name: str) -> int:
        """Return the descriptor of a file that is written at its end, and made if it is absent."""

    @abc.abstractmethod
    def replace(self, name: str, other: str) -> None:
        """Give a file another name in this folder, in place of what has that."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Take a name away from a file."""

    @abc.abstractmethod
    def sync(self) -> None:
        """Make what was named, renamed and removed here survive a power cut, where the system has that."""

    def take(self, source: Folder, name: str, new: str) -> None:
        """Give a file of another folder of the same file system a name here too, never in place of anything.

        Where there are no hard links it loses its old name at once.

        :raise FileExistsError: something has that name.
        """
        try:
            self._link(source, name, new)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # A rename replaces: so the name is claimed first, by a file that can be nobody else's.
            os.close(self.create(new))
            self._rename(source, name, new)

    @abc.abstractmethod
    def _link(self, source: Folder, name: str, new: str) -> None:
        """A second name, by a hard link."""

    @abc.abstractmethod
    def _rename(self, source: Folder, name: str, new: str) -> None:
        """Another name, in place of what has it."""

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027  a path needs no closing
        """Give the folder back."""


class DescriptorFolder(Folder):
    """A folder by its descriptor: what it leads to stays below it, whatever is renamed meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def root(cls, path: str) -> Folder:
        return cls(os.open(path, _OPEN_FOLDER))

    def enter(self, folder: str) -> Folder:
        flags = _OPEN_FOLDER | _NO_FOLLOW
        return DescriptorFolder(os.open(folder.encode(), flags, dir_fd=self._descriptor))

    def names(self, most: int) -> list[str]:
        # Names are bytes here, and UTF-8 on the wire, whatever the locale says of them.
        with os.scandir(self._descriptor) as entries:
            some = itertools.islice(entries, most)
            return [os.fsencode(entry.name).decode("utf-8", "surrogateescape") for entry in some]

    def status(self, name: str) -> os.stat_result:
        return os.stat(name.encode(), dir_fd=self._descriptor, follow_symlinks=False)

    def may_read(self, name: str) -> bool:
        return os.access(name.encode(), os.R_OK, dir_fd=self._descriptor)

    def open_file(self, name: str) -> int:
        if not stat.S_ISREG(self.status(name).st_mode):
            raise _not_there()
        # It may have been replaced since: do not follow, do not wait, and look again.
        descriptor = os.open(name.encode(), _OPEN_FILE | _NO_FOLLOW, dir_fd=self._descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _not_there()
        return descriptor

    def make_folder(self, name: str) -> None:
        try:
            os.mkdir(name.encode(), 0o700, dir_fd=self._descriptor)
        except FileExistsError:
            pass

    def create(self, name: str, mode: int = 0o600) -> int:
        return os.open(name.encode(), _CREATE, mode, dir_fd=self._descriptor)

    def append(self, name: str) -> int:
        return os.open(name.encode(), _APPEND, 0o600, dir_fd=self._descriptor)

    def replace(self, name: str, other: str) -> None:
        here = self._descriptor
        os.replace(name.encode(), other.encode(), src_dir_fd=here, dst_dir_fd=here)

    def remove(self, name: str) -> None:
        os.unlink(name.encode(), dir_fd=self._descriptor)

    def sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError:
            pass  # some file systems sync no folders

    def _link(self, source: Folder, name: str, new: str) -> None:
        assert isinstance(source, DescriptorFolder)
        os.link(
            name.encode(), new.encode(), src_dir_fd=source._descriptor, dst_dir_fd=self._descriptor,
            follow_symlinks=False,
        )  # fmt: skip

    def _rename(self, source: Folder, name: str, new: str) -> None:
        assert isinstance(source, DescriptorFolder)
        os.replace(name.encode(), new.encode(), src_dir_fd=source._descriptor, dst_dir_fd=self._descriptor)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class PathFolder(Folder):
    """A folder by its path, for systems that open by nothing else.

    Somebody who may write into the shelf could put a link in the place of a folder between a check and the
    open; so it is checked again after the open what was opened, and where its path leads.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @classmethod
    def root(cls, path: str) -> Folder:
        # From here on no component may be a link: the real path of everything below is its path.
        return cls(os.path.realpath(path, strict=True))

    def enter(self, folder: str) -> Folder:
        what = self._exactly(folder)
        if not stat.S_ISDIR(what.st_mode) or is_link(what):
            raise _not_there()
        return PathFolder(self._below(folder))

    def names(self, most: int) -> list[str]:
        with os.scandir(self._path) as entries:
            return [entry.name for entry in itertools.islice(entries, most)]

    def status(self, name: str) -> os.stat_result:
        return os.lstat(self._below(name))

    def may_read(self, name: str) -> bool:
        return os.access(self._below(name), os.R_OK)

    def open_file(self, name: str) -> int:
        before = self._exactly(name)
        if not stat.S_ISREG(before.st_mode) or is_link(before):
            raise _not_there()
        path = self._below(name)
        descriptor = os.open(path, _OPEN_FILE)
        after = os.fstat(descriptor)
        same = stat.S_ISREG(after.st_mode) and os.path.samestat(before, after)
        if not same or os.path.realpath(path) != path:
            os.close(descriptor)
            raise _not_there()
        return descriptor

    def make_folder(self, name: str) -> None:
        try:
            os.mkdir(self._below(name), 0o700)
        except FileExistsError:
            pass

    def create(self, name: str, mode: int = 0o600) -> int:
        return os.open(self._below(name), _CREATE, mode)

    def append(self, name: str) -> int:
        return os.open(self._below(name), _APPEND, 0o600)

    def replace(self, name: str, other: str) -> None:
        os.replace(self._below(name), self._below(other))

    def remove(self, name: str) -> None:
        os.unlink(self._below(name))

    def sync(self) -> None:
        pass  # what opens folders by their path only syncs none

    def _link(self, source: Folder, name: str, new: str) -> None:
        assert isinstance(source, PathFolder)
        os.link(source._below(name), self._below(new))

    def _rename(self, source: Folder, name: str, new: str) -> None:
        assert isinstance(source, PathFolder)
        os.replace(source._below(name), self._below(new))

    def _exactly(self, name: str) -> os.stat_result:
        # Windows knows a file by other names than its own: in other case, by a short one (SECRET~1).
        if name not in os.listdir(self._path):
            raise _not_there()
        return self.status(name)

    def _below(self, name: str) -> str:
        return os.path.join(self._path, name)


def opens_by_descriptor() -> bool:
    """Say whether this system can open, look at and list relative to a descriptor without following links."""
    return (
        {os.open, os.stat, os.access, os.mkdir, os.unlink, os.rename, os.link} <= os.supports_dir_fd
        and os.stat in os.supports_follow_symlinks
        and os.scandir in os.supports_fd
        and hasattr(os, "O_NOFOLLOW")
        and hasattr(os, "O_DIRECTORY")
    )


def is_link(what: os.stat_result) -> bool:
    """Recognise symbolic links, and what leads elsewhere on Windows (junctions, mounted volumes)."""
    attributes: int = getattr(what, "st_file_attributes", 0)
    return stat.S_ISLNK(what.st_mode) or bool(attributes & REPARSE_POINT)


def _not_there() -> OSError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
