"""The file under way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock, skipUnless

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.client import part as module
from pychat.client.part import PartFile, sync_folder
from pychat.errors import TransferError
from tests.transfer.link import make_content


class PartCase(SynchronousTestCase):
    """A folder to write into."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.path = self.folder / "a file"
        self.part = self.folder / "a file.part"

    def make(self, size: int, **settings: bool) -> PartFile:
        part = PartFile(str(self.path), size, **settings)
        self.addCleanup(part.discard)
        return part

    def assert_code(self, code: str, function: Callable[..., Any], *arguments: Any) -> None:
        with self.assertRaises(TransferError) as caught:
            function(*arguments)
        self.assertEqual(caught.exception.code, code)

    def left(self) -> list[str]:
        return sorted(entry.name for entry in self.folder.iterdir())


class PartFileTests(PartCase):
    """`PartFile`."""

    def test_whole(self) -> None:
        """It grows beside its name, and gets it in the end."""
        part = self.make(5)
        part.open()
        self.assertEqual(self.left(), ["a file.part"])
        self.assertEqual(part.write([(0, b"abc"), (3, b"de")]), 5)
        part.finish(sha256(b"abcde").digest())
        self.assertEqual(self.left(), ["a file"])
        self.assertEqual(self.path.read_bytes(), b"abcde")
        part.discard()
        self.assertEqual(self.left(), ["a file"])

    def test_empty(self) -> None:
        """A file of no bytes is a file."""
        part = self.make(0)
        part.open()
        part.finish(sha256(b"").digest())
        self.assertEqual(self.path.read_bytes(), b"")

    @settings(deadline=None, max_examples=60)
    @given(cuts=st.sets(st.integers(1, 2999), max_size=8), shuffle=st.randoms(), positioned=st.booleans())
    def test_any_order(self, cuts: set[int], shuffle: Random, positioned: bool) -> None:
        """In whatever order the bytes come, the file is right; also where there is no pwrite."""
        content = make_content(3000)
        bounds = [0, *sorted(cuts), 3000]
        pieces = list(pairwise(bounds))
        shuffle.shuffle(pieces)
        with mock.patch.object(module, "os", os if positioned else _without(os, "pwrite", "pread")):
            part = self.make(3000, overwrite=True)
        with mock.patch.object(module, "READ_BACK_BYTES", 100):
            part.open()
            for start, end in pieces:
                part.write([(start, content[start:end])])
            part.finish(sha256(content).digest())
        self.assertEqual(self.path.read_bytes(), content)

    def test_wrong_digest(self) -> None:
        """A file that is not what was promised, or not all of it, never gets its name."""
        for digest, size in ((sha256(b"abd").digest(), 3), (sha256(b"abc").digest(), 4)):
            part = self.make(size)
            part.open()
            part.write([(0, b"abc")])
            self.assert_code("digest-mismatch", part.finish, digest)
            part.discard()
            self.assertEqual(self.left(), [])

    def test_exists(self) -> None:
        """What is there is not replaced, unless that was asked for; not even if it came during the download."""
        self.path.write_bytes(b"old")
        self.assert_code("exists", self.make(3).open)
        part = self.make(3, overwrite=True)
        part.open()
        part.write([(0, b"new")])
        part.finish(sha256(b"new").digest())
        self.assertEqual(self.path.read_bytes(), b"new")
        self.path.unlink()
        for error in (None, OSError(errno.EPERM, "no hard links here")):
            part = self.make(3)
            part.open()
            part.write([(0, b"new")])
            self.path.write_bytes(b"old")
            with mock.patch.object(os, "link", side_effect=error, wraps=None if error else os.link):
                self.assert_code("exists", part.finish, sha256(b"new").digest())
            part.discard()
            self.assertEqual(self.path.read_bytes(), b"old")
            self.path.unlink()

    def test_without_hard_links(self) -> None:
        """A file system without hard links will do."""
        part = self.make(3)
        part.open()
        part.write([(0, b"new")])
        with mock.patch.object(os, "link", side_effect=OSError(errno.EPERM, "no hard links here")):
            part.finish(sha256(b"new").digest())
        self.assertEqual(self.left(), ["a file"])

    def test_dangling_link(self) -> None:
        """A symbolic link to nowhere has the name, too."""
        self.path.symlink_to(self.folder / "nowhere")
        self.assert_code("exists", self.make(3).open)

    def test_leftover(self) -> None:
        """What a killed process left is written anew, and nothing is written through a link that somebody laid."""
        precious = self.folder / "precious"
        precious.write_bytes(b"precious")
        self.part.symlink_to(precious)
        part = self.make(3)
        part.open()
        part.write([(0, b"new")])
        part.finish(sha256(b"new").digest())
        self.assertEqual((self.path.read_bytes(), precious.read_bytes()), (b"new", b"precious"))

    def test_two_at_once(self) -> None:
        """Two downloads to one name do not write into each other's file; one may come after the other."""
        first, second = self.make(3), self.make(3)
        first.open()
        self.assert_code("in-use", second.open)
        second.discard()
        self.assertEqual(self.left(), ["a file.part"])
        first.discard()
        self.make(3).open()

    def other_process(self) -> subprocess.Popen[str]:
        """Another process that downloads to the same name, until it is killed or its input ends."""
        program = (
            "import sys; from pychat.client.part import PartFile; part = PartFile(sys.argv[1], 3); part.open();"
            "part.write([(0, b'one')]); print('open', flush=True); sys.stdin.read(); part.discard()"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", program, str(self.path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self.addCleanup(other.communicate, timeout=30)
        assert other.stdout is not None
        self.assertEqual(other.stdout.readline(), "open\n")
        return other

    @skipUnless(module._fcntl, "needs locks on files")
    def test_two_processes(self) -> None:
        """Nor do those of two processes; and neither removes the other's."""
        other = self.other_process()
        late = self.make(3)
        self.assert_code("in-use", late.open)
        late.discard()
        self.assertEqual(self.part.read_bytes(), b"one")
        other.communicate(timeout=30)
        self.assertEqual(self.left(), [])
        late = self.make(3)
        late.open()

    @skipUnless(module._fcntl, "needs locks on files")
    def test_killed_process(self) -> None:
        """What a killed process left is nobody's."""
        other = self.other_process()
        other.kill()
        other.wait(30)
        self.assertEqual(self.part.read_bytes(), b"one")
        self.make(3).open()
        self.assertEqual(self.part.read_bytes(), b"")

    def test_only_ours_is_removed(self) -> None:
        """What somebody else put there meanwhile stays."""
        part = self.make(3)
        part.open()
        self.part.unlink()
        self.part.write_bytes(b"somebody else's")
        part.discard()
        self.assertEqual(self.part.read_bytes(), b"somebody else's")

    def test_without_locks(self) -> None:
        """Where there are no locks, or none on this file system, a leftover is made anew all the same."""
        refuses = mock.Mock(side_effect=OSError(errno.ENOLCK, "no locks"))
        for fcntl in (None, mock.Mock(flock=refuses, LOCK_EX=2, LOCK_NB=4)):
            with mock.patch.object(module, "_fcntl", fcntl):
                self.part.write_bytes(b"left")
                part = self.make(3)
                part.open()
                part.write([(0, b"new")])
                part.discard()
                self.assertEqual(self.left(), [])
                part = self.make(3)
                part.open()
                part.write([(0, b"new")])
                part.finish(sha256(b"new").digest())
                self.assertEqual(self.left(), ["a file"])
                self.path.unlink()

    def test_races(self) -> None:
        """Others come and go between one look and the next: it is ours only when it is ours in the end."""
        opened, lock = os.open, module._lock

        def leaves(path: str, flags: int, mode: int = 0o777) -> int:
            descriptor = opened(path, flags, mode)
            if not flags & os.O_CREAT:
                self.part.unlink()
            return descriptor

        def comes(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_CREAT and not self.part.exists():
                self.part.write_bytes(b"theirs")
            return opened(path, flags, mode)

        def replaces(descriptor: int) -> bool:
            self.part.unlink()
            if not self.part.with_name("once").exists():
                self.part.with_name("once").touch()
                self.part.write_bytes(b"theirs")
            return lock(descriptor)

        self.part.write_bytes(b"left")
        with mock.patch.object(os, "open", leaves):
            part = self.make(3)
            part.open()
        part.discard()
        for name, owner, meddle in (("open", os, comes), ("_lock", module, replaces)):
            part = self.make(3)
            with mock.patch.object(owner, name, meddle):
                self.assert_code("in-use", part.open)
            part.discard()
        self.part.write_bytes(b"left")
        with mock.patch.object(module, "_lock", side_effect=[True, False, True, True]):
            part = self.make(3)
            part.open()
        self.assertEqual(self.part.read_bytes(), b"")

    def test_replaced(self) -> None:
        """Who replaced the file is noticed: other bytes do not get the name, and are not ours to remove."""
        part = self.make(3)
        part.open()
        part.write([(0, b"new")])
        self.part.unlink()
        self.part.write_bytes(b"bad")
        self.assert_code("cannot-write", part.finish, sha256(b"new").digest())
        part.discard()
        self.assertEqual(self.part.read_bytes(), b"bad")

    def test_cut(self) -> None:
        """So is one that cuts the file short before what came out of order was read back."""
        part = self.make(6)
        part.open()
        part.write([(3, b"def")])
        os.truncate(self.part, 0)
        with mock.patch.object(part, "_read_at", return_value=b""):
            self.assert_code("cannot-write", part.write, [(0, b"abc")])

    def test_errors(self) -> None:
        """What the system says, in our words."""
        for number, code in (
            (errno.ENOSPC, "disk-full"),
            (errno.EFBIG, "disk-full"),
            (errno.EDQUOT, "disk-full"),
            (errno.EACCES, "no-permission"),
            (errno.EROFS, "no-permission"),
            (errno.EIO, "cannot-write"),
        ):
            part = self.make(3)
            part.open()
            with mock.patch.object(part, "_write_at", side_effect=OSError(number, "no")):
                self.assert_code(code, part.write, [(0, b"abc")])
            with mock.patch.object(os, "fsync", side_effect=OSError(number, "no")):
                part.write([(0, b"abc")])
                self.assert_code(code, part.finish, sha256(b"abc").digest())
            part.discard()
            self.assertEqual(self.left(), [])

    def test_no_folder(self) -> None:
        """The folder has to be there."""
        self.path = self.folder / "nowhere" / "a file"
        self.assert_code("cannot-write", self.make(3).open)

    def test_short_writes(self) -> None:
        """A system that takes a byte at a time gets them all."""
        part = self.make(5)
        part.open()
        write = part._write_at
        part._write_at = lambda data, offset: write(data[:1], offset)
        part.write([(0, b"abcde")])
        part.finish(sha256(b"abcde").digest())
        self.assertEqual(self.path.read_bytes(), b"abcde")

    def test_discarded_before_it_was_opened(self) -> None:
        """An opening that was overtaken makes nothing, and claims nothing."""
        part = self.make(3)
        part.discard()
        self.assert_code("cancelled", part.open)
        self.assertEqual(self.left(), [])
        self.make(3).open()

    def test_after_discarding(self) -> None:
        """A job that comes too late finds nothing to write to."""
        part = self.make(3)
        part.open()
        part.discard()
        self.assert_code("cancelled", part.write, [(0, b"abc")])
        self.assertEqual(self.left(), [])


class SyncFolderTests(PartCase):
    """`sync_folder`."""

    def test_not_everywhere(self) -> None:
        """Some systems open no folders, and some file systems sync none."""
        sync_folder(str(self.folder))
        with mock.patch.object(os, "open", side_effect=PermissionError):
            sync_folder(str(self.folder))
        with mock.patch.object(os, "fsync", side_effect=OSError):
            sync_folder(str(self.folder))


def _without(original: Any, *names: str) -> Any:
    """A module without some of its names."""

    class Hidden:
        def __getattr__(self, name: str) -> Any:
            if name in names:
                raise AttributeError(name)
            return getattr(original, name)

    return Hidden()
