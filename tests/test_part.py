"""The file under way."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock, skipUnless
from urllib.parse import quote

from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat import buffers, claim, hashing, sidecar
from pychat import part as module
from pychat.errors import TransferError
from pychat.part import PartFile, Written, read_part, sync_folder
from pychat.sidecar import MAX_RANGES, Held, Sidecar
from pychat.transfer import pieces as pieces_module
from pychat.transfer import terms as terms_module
from pychat.transfer.ranges import RangeSet
from tests.transfer.offers import make_content


def root(content: bytes, piece: int = terms_module.PIECE_BYTES) -> bytes:
    """The root of a file."""
    digests = [blake3(content[at : at + piece]).digest() for at in range(0, len(content), piece)]
    return blake3(b"".join(digests)).digest()


@contextlib.contextmanager
def small_pieces(size: int) -> Iterator[None]:
    """Pieces of `size` bytes, so that a small file has many."""
    with contextlib.ExitStack() as stack:
        for owner in (terms_module, pieces_module, hashing, buffers):
            stack.enter_context(mock.patch.object(owner, "PIECE_BYTES", size))
        yield


class PartCase(SynchronousTestCase):
    """A folder to write into."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.path = self.folder / "a file"
        self.part = self.folder / "a file.part"

    def make(self, size: int, version: str = "", **settings: bool) -> PartFile:
        part = PartFile(str(self.path), size, version, **settings)
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
        self.assertEqual(self.left(), ["a file.part", "a file.part.info"])
        self.assertEqual(part.write([(0, [b"ab", b"c"]), (3, [b"de"])]).nbytes, 5)
        part.finish(root(b"abcde"))
        self.assertEqual(self.left(), ["a file"])
        self.assertEqual(self.path.read_bytes(), b"abcde")
        part.discard()
        self.assertEqual(self.left(), ["a file"])

    def test_empty(self) -> None:
        """A file of no bytes is a file."""
        part = self.make(0)
        part.open()
        part.finish(root(b""))
        self.assertEqual(self.path.read_bytes(), b"")

    @settings(deadline=None, max_examples=60)
    @given(cuts=st.sets(st.integers(1, 2999), max_size=8), shuffle=st.randoms(), positioned=st.booleans())
    def test_any_order(self, cuts: set[int], shuffle: Random, positioned: bool) -> None:
        """In whatever order the bytes come, the file is right; also where there is no pwrite."""
        content = make_content(3000)
        bounds = [0, *sorted(cuts), 3000]
        pieces = list(pairwise(bounds))
        shuffle.shuffle(pieces)
        with mock.patch.object(module, "os", os if positioned else _without(os, "pwritev", "pread")):
            part = self.make(3000, overwrite=True)
        with mock.patch.object(hashing, "READ_BACK_BYTES", 100):
            part.open()
            for start, end in pieces:
                part.write([(start, [content[start:end]])])
            part.finish(root(content))
        self.assertEqual(self.path.read_bytes(), content)

    def test_wrong_digest(self) -> None:
        """A file that is not what was promised, or not all of it, never gets its name."""
        for digest, size in ((root(b"abd"), 3), (root(b"abc"), 4)):
            part = self.make(size)
            part.open()
            part.write([(0, [b"abc"])])
            self.assert_code("digest-mismatch", part.finish, digest)
            part.discard()
            self.assertEqual(self.left(), [])

    def test_exists(self) -> None:
        """What is there is not replaced, unless that was asked for; not even if it came during the download."""
        self.path.write_bytes(b"old")
        self.assert_code("exists", self.make(3).open)
        part = self.make(3, overwrite=True)
        part.open()
        part.write([(0, [b"new"])])
        part.finish(root(b"new"))
        self.assertEqual(self.path.read_bytes(), b"new")
        self.path.unlink()
        for error in (None, OSError(errno.EPERM, "no hard links here")):
            part = self.make(3)
            part.open()
            part.write([(0, [b"new"])])
            self.path.write_bytes(b"old")
            with mock.patch.object(os, "link", side_effect=error, wraps=None if error else os.link):
                self.assert_code("exists", part.finish, root(b"new"))
            part.discard()
            self.assertEqual(self.path.read_bytes(), b"old")
            self.path.unlink()

    def test_without_hard_links(self) -> None:
        """A file system without hard links will do."""
        part = self.make(3)
        part.open()
        part.write([(0, [b"new"])])
        with mock.patch.object(os, "link", side_effect=OSError(errno.EPERM, "no hard links here")):
            part.finish(root(b"new"))
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
        self.mark()
        part = self.make(3)
        part.open()
        part.write([(0, [b"new"])])
        part.finish(root(b"new"))
        self.assertEqual((self.path.read_bytes(), precious.read_bytes()), (b"new", b"precious"))

    def mark(self) -> None:
        """What has the name of the part is ours."""
        self.part.with_name("a file.part.info").write_bytes(b"pychat-part 1 3 x\n")

    def test_not_ours(self) -> None:
        """A file of that name that no transfer left is somebody's: it is never touched.  Nor is a sidecar's name."""
        info = self.part.with_name("a file.part.info")
        precious = self.folder / "precious"
        precious.write_bytes(b"precious")
        for name, target in ((self.part, None), (self.part, precious), (info, None), (info, precious)):
            name.symlink_to(target) if target else name.write_bytes(b"precious")
            before = self.left()
            part = self.make(3)
            with self.assertRaises(TransferError) as caught:
                part.open()
            self.assertEqual(caught.exception.code, "exists")
            self.assertIn(
                f"{name} is there already, and no transfer left it: move it away", caught.exception.sentence
            )
            part.discard()
            self.assertEqual(
                (self.left(), name.read_bytes(), name.is_symlink()), (before, b"precious", bool(target))
            )
            name.unlink()
        self.part.write_bytes(b"precious")
        info.write_bytes(b"My notes about pychat.\n")
        self.assert_code("exists", self.make(3).open)
        with mock.patch.object(sidecar, "open", side_effect=PermissionError(errno.EACCES, "no"), create=True):
            self.assertIs(sidecar.ours(str(info)), False)
        self.assertEqual(self.part.read_bytes(), b"precious")

    def test_nothing_to_miss(self) -> None:
        """A part without a byte, or an empty sidecar, is what a power cut leaves; so is all in a folder of our own."""
        info = self.part.with_name("a file.part.info")
        self.part.touch()
        part = self.make(3)
        part.open()
        part.discard()
        self.part.write_bytes(b"left")
        info.touch()
        part = self.make(3)
        part.open()
        part.discard()
        self.part.write_bytes(b"left")
        part = self.make(3, private=True)
        part.open()
        part.discard()
        self.assertEqual(self.left(), [])

    def test_two_at_once(self) -> None:
        """Two downloads to one name do not write into each other's file; one may come after the other."""
        first, second = self.make(3), self.make(3)
        first.open()
        self.assert_code("in-use", second.open)
        second.discard()
        self.assertEqual(self.left(), ["a file.part", "a file.part.info"])
        first.discard()
        self.make(3).open()

    def other_process(self) -> subprocess.Popen[str]:
        """Another process that downloads to the same name, until it is killed or its input ends."""
        program = (
            "import sys; from pychat.part import PartFile; part = PartFile(sys.argv[1], 3); part.open();"
            "part.write([(0, [b'one'])]); print('open', flush=True); sys.stdin.read(); part.discard()"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", program, str(self.path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        self.addCleanup(other.communicate, timeout=30)
        assert other.stdout is not None
        self.assertEqual(other.stdout.readline(), "open\n")
        return other

    @skipUnless(claim._fcntl, "needs locks on files")
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

    @skipUnless(claim._fcntl, "needs locks on files")
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
            with mock.patch.object(claim, "_fcntl", fcntl):
                self.part.write_bytes(b"left")
                self.mark()
                part = self.make(3)
                part.open()
                part.write([(0, [b"new"])])
                part.discard()
                self.assertEqual(self.left(), [])
                part = self.make(3)
                part.open()
                part.write([(0, [b"new"])])
                part.finish(root(b"new"))
                self.assertEqual(self.left(), ["a file"])
                self.path.unlink()

    def test_races(self) -> None:
        """Others come and go between one look and the next: it is ours only when it is ours in the end."""
        opened, lock = os.open, claim._lock

        def leaves(path: str, flags: int, mode: int = 0o777) -> int:
            descriptor = opened(path, flags, mode)
            if not flags & os.O_CREAT:
                self.part.unlink()
            return descriptor

        def comes(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_CREAT and path == str(self.part) and not self.part.exists():
                self.part.write_bytes(b"theirs")
                self.mark()
            return opened(path, flags, mode)

        def replaces(descriptor: int) -> bool:
            self.part.unlink()
            if not self.part.with_name("once").exists():
                self.part.with_name("once").touch()
                self.part.write_bytes(b"theirs")
                self.mark()
            return lock(descriptor)

        self.part.write_bytes(b"left")
        self.mark()
        with mock.patch.object(os, "open", leaves):
            part = self.make(3)
            part.open()
        part.discard()
        for name, owner, meddle in (("open", os, comes), ("_lock", claim, replaces)):
            part = self.make(3)
            with mock.patch.object(owner, name, meddle):
                self.assert_code("in-use", part.open)
            part.discard()
        self.part.write_bytes(b"left")
        self.mark()
        with mock.patch.object(claim, "_lock", side_effect=[True, False, True, True]):
            part = self.make(3)
            part.open()
        self.assertEqual(self.part.read_bytes(), b"")

    def test_replaced(self) -> None:
        """Who replaced the file is noticed: other bytes do not get the name, and are not ours to remove."""
        part = self.make(3)
        part.open()
        part.write([(0, [b"new"])])
        self.part.unlink()
        self.part.write_bytes(b"bad")
        self.assert_code("cannot-write", part.finish, root(b"new"))
        part.discard()
        self.assertEqual(self.part.read_bytes(), b"bad")

    def test_cut(self) -> None:
        """So is one that cuts the file short before what came out of order was read back."""
        part = self.make(6)
        part.open()
        part.write([(3, [b"def"])])
        os.truncate(self.part, 0)
        with mock.patch.object(part, "_read_at", return_value=b""):
            self.assert_code("cannot-write", part.write, [(0, [b"abc"])])

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
                self.assert_code(code, part.write, [(0, [b"abc"])])
            with mock.patch.object(os, "fsync", side_effect=OSError(number, "no")):
                part.write([(0, [b"abc"])])
                self.assert_code(code, part.finish, root(b"abc"))
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
        part._write_at = lambda buffers, offset: write([memoryview(buffers[0])[:1]], offset)
        part.write([(0, [b"abcde"])])
        part.finish(root(b"abcde"))
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
        self.assert_code("cancelled", part.write, [(0, [b"abc"])])
        self.assertEqual(self.left(), [])

    def test_disk_begins_early(self) -> None:
        """What was written is given to the disk in large parts, before the end, and where that fails it is no loss."""
        content = make_content(5000)
        for refusal in (None, OSError(22, "not here")):
            advise = mock.Mock(side_effect=refusal)
            with (
                mock.patch.object(module, "WRITE_BACK_BYTES", 2000),
                mock.patch.object(os, "posix_fadvise", advise, create=True),
                mock.patch.object(os, "POSIX_FADV_DONTNEED", 4, create=True),
            ):
                part = self.make(5000, overwrite=True)
                part.open()
                for start, end in ((0, 1000), (3000, 4000), (1000, 3000), (4000, 5000)):
                    part.write([(start, [content[start:end]])])
                asked = [call.args[1:3] for call in advise.call_args_list]
                self.assertEqual(asked, [(0, 1000), (3000, 1000), (1000, 2000)])
                part.finish(root(content))
            self.assertEqual(self.path.read_bytes(), content)

    def test_no_early_disk(self) -> None:
        """A system that cannot be told so gets it all with the sync."""
        content = make_content(5000)
        with (
            mock.patch.object(module, "WRITE_BACK_BYTES", 2000),
            mock.patch.object(module, "os", _without(os, "posix_fadvise")),
        ):
            part = self.make(5000)
            part.open()
            part.write([(0, [content])])
            part.finish(root(content))
        self.assertEqual(self.path.read_bytes(), content)


class ResumeTests(PartCase):
    """Going on with what an earlier process left."""

    def leave(self, *ranges: tuple[int, int], size: int = 3000, version: str = "v1") -> None:
        """What an earlier process has written, with pieces of 1,000 bytes."""
        self.content = make_content(size)
        part = self.make(size, version)
        part.open()
        for start, end in ranges:
            part.write([(start, [self.content[start:end]])])
        part.keep()
        part.keep()

    def go_on(self, part: PartFile, have: list[tuple[int, int]], size: int = 3000) -> bytes:
        """Write what is missing."""
        there = RangeSet()
        for start, end in have:
            there.add(start, end)
        for start, end in there.missing(0, size):
            part.write([(start, [self.content[start:end]])])
        return part.finish(root(self.content, 1000))

    def test_resume(self) -> None:
        """What was written counts, is hashed again, and the file is right."""
        with small_pieces(1000):
            self.leave((0, 1500), (2500, 3000))
            self.assertEqual(self.left(), ["a file.part", "a file.part.info"])
            self.assertEqual(read_part(str(self.path)), Held(3000, "v1", mock.ANY))
            part = self.make(3000, "v1")
            have = part.open()
            self.assertEqual(have, [(0, 1500), (2500, 3000)])
            self.assertTrue(part.resumed)
            self.assertTrue(part.behind)
            self.assertEqual(part.check(), [(0, blake3(self.content[:1000]).digest())])
            self.assertFalse(part.behind)
            self.assertEqual(self.go_on(part, have), sha256(self.content).digest())
        self.assertEqual(self.left(), ["a file"])
        self.assertEqual(self.path.read_bytes(), self.content)

    def test_finish_checks(self) -> None:
        """What nobody has checked by the end is checked then."""
        with small_pieces(1000):
            self.leave((0, 3000))
            part = self.make(3000, "v1")
            self.assertEqual(part.open(), [(0, 3000)])
            self.assertEqual(part.finish(root(self.content, 1000)), sha256(self.content).digest())
        self.assertEqual(self.path.read_bytes(), self.content)

    def test_damaged(self) -> None:
        """A part that was damaged on the disk shows in the piece's digest, and the piece can be written again."""
        with small_pieces(1000):
            self.leave((0, 3000))
            with self.part.open("r+b") as file:
                file.seek(1234)
                file.write(b"damage")
            part = self.make(3000, "v1")
            part.open()
            digests = dict(part.check())
            good = [blake3(self.content[at : at + 1000]).digest() for at in (0, 1000, 2000)]
            self.assertEqual([digests[index] == good[index] for index in range(3)], [True, False, True])
            self.assert_code("digest-mismatch", part.finish, root(self.content, 1000))
            self.assertEqual(part.write([(1500, [self.content[1500:2000]])]), Written(500, []))
            written = part.write([(1000, [self.content[1000:1500]])])
            self.assertEqual(written, Written(500, [(1, good[1])]))
            self.assertEqual(part.finish(root(self.content, 1000)), sha256(self.content).digest())
        self.assertEqual(self.path.read_bytes(), self.content)

    def test_without_the_whole(self) -> None:
        """Who does not want the SHA-256 of the file pays nothing for it."""
        with small_pieces(1000):
            self.leave((0, 2000))
            part = PartFile(str(self.path), 3000, "v1", whole=False)
            self.addCleanup(part.discard)
            self.assertEqual(self.go_on(part, part.open()), b"")
        self.assertEqual(self.path.read_bytes(), self.content)

    def test_forgotten_marks(self) -> None:
        """A piece that turns out to be bad late has the file's hash begin anew."""
        with small_pieces(1000), mock.patch.object(hashing, "MAX_MARKS", 1):
            self.content = make_content(5000)
            part = self.make(5000, "v1")
            part.open()
            part.write([(0, [b"bad" + self.content[3:4500]])])
            part.write([(0, [self.content[:1000]])])
            part.write([(4500, [self.content[4500:]])])
            self.assertEqual(part.finish(root(self.content, 1000)), sha256(self.content).digest())

    def test_starts_over(self) -> None:
        """Another size, another version, none, or a sidecar that is garbage: nothing counts."""

        def garble() -> None:
            self.info.write_bytes(b"pychat-part 1 3000 v1\n0 what\n")

        self.info = self.folder / "a file.part.info"
        for size, version, meddle in (
            (2999, "v1", None),
            (3000, "v2", None),
            (3000, "", None),
            (3000, "v1", garble),
            (3000, "v1", lambda: os.link(self.part, self.folder / "another name")),
            (3000, "v1", lambda: os.truncate(self.part, 0)),
        ):
            self.leave((0, 1500))
            if meddle is not None:
                meddle()
            part = self.make(size, version)
            self.assertEqual(part.open(), [])
            self.assertFalse(part.resumed)
            self.assertEqual(self.part.read_bytes(), b"")
            part.discard()
            with contextlib.suppress(FileNotFoundError):
                self.assertEqual((self.folder / "another name").read_bytes(), self.content[:1500])
                (self.folder / "another name").unlink()

    def test_not_for_others(self) -> None:
        """What somebody else owns is not gone on with."""
        self.leave((0, 1500))
        with mock.patch.object(os, "geteuid", return_value=os.geteuid() + 1):
            self.assertEqual(self.make(3000, "v1").open(), [])

    def test_just_these(self) -> None:
        """The ranges that were told to the other end, if they are there; else nothing."""
        for have, expected in (
            ([(0, 1000)], [(0, 1000)]),
            ([(100, 200), (300, 400)], [(100, 200), (300, 400)]),
            ([(0, 2000)], []),
            ([], []),
        ):
            self.leave((0, 1500))
            part = self.make(3000, "v1")
            self.assertEqual(part.open(have), expected)
            part.discard()

    def test_cut_short(self) -> None:
        """What the file does not have does not count, whatever the sidecar says."""
        self.leave((0, 1500), (2000, 3000))
        os.truncate(self.part, 1200)
        held = read_part(str(self.path))
        assert held is not None
        self.assertEqual(list(held.ranges), [(0, 1200)])
        self.assertEqual(self.make(3000, "v1").open(), [(0, 1200)])

    def test_many_ranges(self) -> None:
        """As many as go on a line, the longest ones."""
        ranges = [(at, at + 2 + at % 7) for at in range(0, 2000, 10)]
        self.leave(*ranges)
        held = read_part(str(self.path))
        assert held is not None
        have = self.make(3000, "v1").open()
        self.assertEqual(have, list(held.ranges))
        self.assertEqual(len(have), MAX_RANGES)
        self.assertGreater(min(end - start for start, end in have), 5)
        self.assertEqual(have, sorted(have))

    def test_nothing_to_read(self) -> None:
        """There is no part, or nothing beside it."""
        self.assertIsNone(read_part(str(self.path)))
        self.part.write_bytes(b"?")
        self.assertIsNone(read_part(str(self.path)))

    def test_keep_without_version(self) -> None:
        """What nobody could go on with is not left lying about."""
        self.leave((0, 1500), version="")
        self.assertEqual(self.left(), [])

    def test_long_name(self) -> None:
        """A name that leaves no room for a sidecar's does without."""
        self.path = self.folder / ("n" * 248)
        part = self.make(3, "v1")
        part.open()
        part.write([(0, [b"abc"])])
        part.finish(root(b"abc"))
        self.assertEqual(self.left(), [self.path.name])

    def test_long_name_breaks_off(self) -> None:
        """Then nobody could go on with it, and nothing is left in the way of the next one."""
        self.path = self.folder / ("n" * 248)
        part = self.make(3, "v1")
        part.open()
        part.write([(0, [b"ab"])])
        part.keep()
        self.assertEqual(self.left(), [])

    def test_little_at_a_time(self) -> None:
        """Checking goes on in steps, and so does the file's hash behind it."""
        with small_pieces(1000), mock.patch.object(module, "CHECK_BYTES", 2000):
            self.leave((500, 9000), size=9000)
            part = self.make(9000, "v1")
            part.open()
            steps = []
            while part.behind:
                steps.append(len(part.check()))
            self.assertEqual(steps, [2, 2, 2, 2])
            self.assertEqual(part.write([(0, [self.content[:500]])]).nbytes, 500)
            self.assertTrue(part.behind)
            while part.behind:
                steps.append(len(part.check()))
            self.assertEqual(steps[4:], [0, 0, 0])
            self.assertEqual(part.finish(root(self.content, 1000)), sha256(self.content).digest())

    def test_compacted(self) -> None:
        """The sidecar does not grow without end."""
        with mock.patch.object(sidecar, "MAX_LINES", 3):
            self.leave(*[(at, at + 100) for at in range(0, 3000, 100)])
        self.assertLess(len((self.folder / "a file.part.info").read_bytes().splitlines()), 6)
        self.assertEqual(self.make(3000, "v1").open(), [(0, 3000)])

    @skipUnless(claim._fcntl, "needs locks on files")
    def test_killed_for_good(self) -> None:
        """What a process that was killed with SIGKILL had written is there."""
        program = (
            "import sys; from pychat.part import PartFile; part = PartFile(sys.argv[1], 10**6, 'v1'); part.open()\n"
            "for at in range(0, 10**6, 10): part.write([(at, [b'0123456789'])]); print(at, flush=True)"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", program, str(self.path)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        self.addCleanup(other.communicate, timeout=30)
        assert other.stdout is not None
        while (said := other.stdout.readline()) != "5000\n":
            self.assertTrue(said)
        other.kill()
        other.wait(30)
        part = self.make(10**6, "v1")
        ((start, end),) = part.open()
        self.assertEqual(start, 0)
        self.assertGreaterEqual(end, 5010)
        self.assertEqual(self.part.read_bytes()[:end], b"0123456789" * (end // 10))


class _Killed(BaseException):
    """The process is gone."""


class _Mortal:
    """The module `os`, until the process is killed in one of its calls, which may be half done."""

    def __init__(self, calls: int, half: bool) -> None:
        self.calls = calls
        self.half = half

    def __getattr__(self, name: str) -> Any:
        original = getattr(os, name)
        if name not in ("open", "write", "pwritev", "fsync", "link", "unlink", "rename", "replace"):
            return original

        def call(*arguments: Any, **keywords: Any) -> Any:
            if self.calls == 0:
                if self.half and name == "write":
                    original(arguments[0], arguments[1][: len(arguments[1]) // 2])
                elif self.half and name == "pwritev":
                    joined = b"".join(arguments[1])
                    original(arguments[0], [joined[: len(joined) // 2]], arguments[2])
                elif self.half:
                    original(*arguments, **keywords)
                self.calls = -1
                raise _Killed
            if self.calls < 0:
                raise _Killed  # the dead write no more
            self.calls -= 1
            return original(*arguments, **keywords)

        return call


class KillTests(PartCase):
    """A process that is killed at any instant, again and again."""

    @settings(deadline=None, max_examples=200)
    @given(
        size=st.sampled_from([0, 1, 1000, 3500]),
        lives=st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=5),
        shuffle=st.randoms(use_true_random=False),
        damage=st.lists(st.integers(0, 3499), max_size=2),
    )
    def test_any_instant(
        self, size: int, lives: list[tuple[int, bool]], shuffle: Random, damage: list[int]
    ) -> None:
        """The next one goes on, and in the end the file is right, and nothing else is left."""
        for path in self.folder.iterdir():
            path.unlink()
        content = make_content(size)
        with small_pieces(1000):
            for calls, half in [*lives, (10**6, False)]:
                mortal = _Mortal(calls, half)
                with mock.patch.object(module, "os", mortal), mock.patch.object(sidecar, "os", mortal):
                    try:
                        self.live(content, shuffle)
                        break
                    except _Killed:
                        pass
                    except TransferError as error:
                        # The last one came as far as the name.
                        self.assertEqual(error.code, "exists")
                        break
                if self.part.exists() and not self.path.exists():
                    with self.part.open("r+b") as file:
                        for at in damage:
                            if at < self.part.stat().st_size:
                                file.seek(at)
                                file.write(b"?")
        self.assertEqual(self.path.read_bytes(), content)

    def live(self, content: bytes, shuffle: Random) -> None:
        """One process: goes on, has bad pieces written again, and finishes."""
        part = PartFile(str(self.path), len(content), "v1")
        there = RangeSet()
        try:
            for start, end in part.open():
                there.add(start, end)
            wrong: list[int] = []
            while wrong or there.missing(0, len(content)) or part.behind:
                for index in wrong:
                    there.subtract(index * 1000, index * 1000 + 1000)
                missing = there.missing(0, len(content))
                if missing:
                    start, end = shuffle.choice(missing)
                    start = shuffle.randrange(start, end)
                    end = min(end, start + shuffle.randrange(1, 1500))
                    there.add(start, end)
                    cut = shuffle.randrange(start, end)
                    pieces = part.write([(start, [content[start:cut], content[cut:end]])]).pieces
                else:
                    pieces = part.check()
                wrong = [
                    index
                    for index, digest in pieces
                    if digest != blake3(content[index * 1000 : index * 1000 + 1000]).digest()
                ]
            self.assertEqual(part.finish(root(content, 1000)), sha256(content).digest())
        finally:
            if part._claim._descriptor is not None:
                os.close(part._claim._descriptor)
            if part._sidecar._descriptor is not None:
                os.close(part._sidecar._descriptor)
            part._claim._release()


class SidecarTests(PartCase):
    """The form of a sidecar."""

    @given(data=st.binary() | st.binary().map(lambda data: b"pychat-part 1 99 v1\n" + data))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever the bytes, there is an answer, and it lies within the file."""
        held = sidecar.parse(data)
        if held is not None:
            self.assertTrue(all(0 <= start < end <= held.size for start, end in held.ranges))

    @given(
        size=st.integers(0, 2**63 - 1),
        version=st.text(max_size=100),
        bounds=st.sets(st.integers(0, 2**63 - 1), max_size=20),
        torn=st.text("0123456789 ", max_size=9),
    )
    @example(size=0, version="\U0010ffff" * 100, bounds=set(), torn="")
    def test_round_trip(self, size: int, version: str, bounds: set[int], torn: str) -> None:
        """What is written is read, whatever the version, or is not written; a torn last line does not count."""
        try:
            version.encode()
        except UnicodeEncodeError:
            return
        ends = sorted(bound for bound in bounds if bound <= size)
        ranges = list(zip(ends[::2], ends[1::2], strict=False))
        if len(quote(version, safe="")) > 600:
            self.assertRaises(ValueError, sidecar.render, size, version, ranges)
            return
        held = sidecar.parse(sidecar.render(size, version, ranges) + torn.encode())
        assert held is not None
        self.assertEqual((held.size, held.version, list(held.ranges)), (size, version, ranges))

    def test_none(self) -> None:
        """What is none."""
        for data in (b"", b"pychat-part 1 5 v", b"pychat-part 2 5 v\n", b"pychat-part 1 %d v\n" % 2**63):
            self.assertIsNone(sidecar.parse(data))
        for line in (b"1", b"1 2 3", b"2 2", b"3 2", b"0 6", b"-1 2", b"0  2"):
            self.assertIsNone(sidecar.parse(b"pychat-part 1 5 v\n" + line + b"\n"))

    def test_no_file(self) -> None:
        """A folder, a link, or something huge is none."""
        path = self.folder / "info"
        path.mkdir()
        self.assertIsNone(sidecar.read(str(path)))
        (self.folder / "link").symlink_to(self.folder / "info")
        self.assertIsNone(sidecar.read(str(self.folder / "link")))
        huge = self.folder / "huge"
        huge.write_bytes(sidecar.render(9, "v", [(0, 1)]))
        self.assertIsNotNone(sidecar.read(str(huge)))
        with mock.patch.object(os, "fstat", side_effect=OSError(errno.EIO, "bad disk")):
            self.assertIsNone(sidecar.read(str(huge)))
        os.truncate(huge, sidecar.MAX_BYTES + 1)
        self.assertIsNone(sidecar.read(str(huge)))

    def test_no_room(self) -> None:
        """An error of the disk is the caller's."""
        with mock.patch.object(os, "open", side_effect=OSError(errno.ENOSPC, "full")):
            self.assertRaises(OSError, Sidecar(str(self.folder / "info"), 5, "v").start, [])


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
