"""What people upload, until it is on the shelf: names, bounds, the disk, and what a restart finds."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat import incoming, part
from pychat.errors import PychatError, ShelfError, TransferError
from pychat.incoming import FOLDER, LEDGER, RESERVE, Bounds, Incoming
from pychat.shelf import Shelf
from pychat.uploads import LEAST_CHARGE, Upload

from .chatkit import examples
from .test_shelf import hide_descriptors

SECRET = "0123456789abcdef"
POSIX = os.name == "posix"
PLENTY = 1 << 40


class Case(SynchronousTestCase):
    """A shelf in a folder of its own, with a secret beside it."""

    by_path = False

    def setUp(self) -> None:
        if self.by_path:
            hidden = hide_descriptors()
            self.addCleanup(hidden.close)
            if hasattr(os, "pwritev"):
                hidden.enter_context(mock.patch.object(os, "pwritev"))
                del os.pwritev
        self.base = Path(os.path.realpath(tempfile.mkdtemp()))
        self.addCleanup(shutil.rmtree, self.base)
        self.root = self.base / "shelf"
        self.root.mkdir()
        (self.root / "there.txt").write_bytes(b"there")
        (self.root / "notes").mkdir()
        self.now = 1e9
        self.free = PLENTY
        self.bounds = Bounds(each=1 << 20, all=3 << 20, keep=3600)
        self.start()

    def start(self) -> None:
        """The daemon starts; again, if it ran before."""
        self.incoming = Incoming(
            Shelf(self.root), self.bounds, wall_clock=lambda: self.now, space=lambda path: (PLENTY, self.free)
        )

    def begin(self, name: str = "a.txt", size: int = 5, version: str = SECRET, owner: str = "=bob") -> Upload:
        return self.incoming.begin(name, size, version, owner)

    def refused(self, code: str, *arguments: object, **keywords: object) -> str:
        """It cannot begin; return the sentence."""
        error = self.assertRaises(ShelfError, self.begin, *arguments, **keywords)
        self.assertEqual(error.code, code)
        self.assertNotIn(str(self.base), error.sentence)
        return error.sentence

    def write(self, upload: Upload, data: bytes, at: int = 0) -> part.PartFile:
        """Some of it comes."""
        file = self.incoming.part(upload)
        file.open()
        if data:
            file.write([(at, [data])])
        return file

    def finish(self, upload: Upload, data: bytes, file: part.PartFile | None = None) -> None:
        """All of it has come, and agrees."""
        file = file or self.write(upload, data)
        digests = b"".join(blake3(data[at : at + (1 << 20)]).digest() for at in range(0, len(data), 1 << 20))
        try:
            file.finish(blake3(digests).digest())
        finally:
            file.keep()
            self.incoming.end(upload, keep=True)

    def hidden(self) -> list[str]:
        """What lies in the hidden folder, but for the ledger."""
        folder = self.root / FOLDER
        return (
            sorted(each.name for each in folder.iterdir() if each.name != LEDGER) if folder.exists() else []
        )

    def listed(self) -> list[str]:
        return [file.name for file in Shelf(self.root).listing(1000).files]


class Arriving(Case):
    """From the wish to the shelf."""

    def test_arrives(self) -> None:
        """A file that is verified has its name and its bytes, and nothing else is left of it."""
        for name in ("a.txt", "notes/ä b.txt"):
            upload = self.begin(name)
            self.finish(upload, b"hello")
            self.assertEqual((self.root / name).read_bytes(), b"hello")
            self.assertEqual(self.hidden(), [])
        self.assertEqual(self.listed(), ["a.txt", "notes/ä b.txt", "there.txt"])

    def test_empty(self) -> None:
        """An empty file arrives like any other."""
        self.finish(self.begin(size=0), b"")
        self.assertEqual((self.root / "a.txt").read_bytes(), b"")

    def test_not_shown(self) -> None:
        """What is half done is neither listed nor opened, under no name."""
        upload = self.begin()
        file = self.write(upload, b"he")
        self.assertEqual(self.listed(), ["there.txt"])
        for name in self.hidden():
            self.assertRaises(ShelfError, Shelf(self.root).open, f"{FOLDER}/{name}")
            self.refused("bad-name", f"{FOLDER}/{name}")
        if POSIX:
            self.assertEqual(stat.S_IMODE((self.root / FOLDER).stat().st_mode), 0o700)
        file.keep()

    def test_secret_is_not_told(self) -> None:
        """Who looks into the folder does not learn with what the upload can be gone on with."""
        upload = self.begin()
        self.write(upload, b"he").keep()
        self.assertTrue(self.hidden())
        for each in (self.root / FOLDER).iterdir():
            self.assertNotIn(SECRET, each.name)
            self.assertNotIn(SECRET.encode(), each.read_bytes())

    def test_exists(self) -> None:
        """What has the name keeps it: a file, a folder, a link, a dangling one."""
        names = ["there.txt", "notes"]
        if POSIX:
            (self.root / "link").symlink_to("../secret")
            (self.root / "dangling").symlink_to("nowhere")
            os.mkfifo(self.root / "fifo")
            names += ["link", "dangling", "fifo"]
        for name in names:
            self.refused("exists", name)
        self.assertEqual((self.root / "there.txt").read_bytes(), b"there")

    def test_name_taken_meanwhile(self) -> None:
        """What came first keeps the name, at the last moment, too; and nothing is left of the other one."""
        upload = self.begin()
        file = self.write(upload, b"hello")
        (self.root / "a.txt").write_bytes(b"mine")
        error = self.assertRaises(TransferError, self.finish, upload, b"hello", file)
        self.assertEqual(error.code, "exists")
        self.assertNotIn(str(self.base), error.sentence)
        self.assertEqual((self.root / "a.txt").read_bytes(), b"mine")

    def test_arrived(self) -> None:
        """The very same upload, once more: its sender missed the last word."""
        self.finish(self.begin(), b"hello")
        self.refused("arrived")
        self.refused("exists", version="f" * 16)
        self.start()
        self.refused("arrived")

    def test_in_use(self) -> None:
        """One upload to a name at a time."""
        upload = self.begin()
        self.refused("in-use")
        self.refused("in-use", version="f" * 16, owner="=eve")
        self.incoming.end(upload, keep=True)
        self.begin(version="f" * 16)

    def test_no_folder(self) -> None:
        """An upload makes no folders, and goes through no links."""
        names = ["no/a.txt", "there.txt/a.txt", "notes/no/a.txt"]
        if POSIX:
            (self.base / "outside").mkdir()
            (self.root / "out").symlink_to(self.base / "outside")
            names.append("out/a.txt")
        for name in names:
            self.assertIn("no folder", self.refused("bad-name", name))

    def test_folder_turned_into_link(self) -> None:
        """A folder that becomes a link while the file comes does not lead it outside."""
        if not POSIX:
            raise unittest.SkipTest("needs links")
        upload = self.begin("notes/a.txt")
        file = self.write(upload, b"hello")
        (self.base / "outside").mkdir()
        (self.root / "notes").rename(self.root / "old")
        (self.root / "notes").symlink_to(self.base / "outside")
        self.assertRaises(TransferError, self.finish, upload, b"hello", file)
        self.assertEqual(list((self.base / "outside").iterdir()), [])

    def test_hidden_folder_is_a_link(self) -> None:
        """Somebody put a link where the hidden folder belongs: nothing is written through it."""
        if not POSIX:
            raise unittest.SkipTest("needs links")
        (self.base / "outside").mkdir()
        (self.root / FOLDER).symlink_to(self.base / "outside")
        self.refused("cannot-write")
        self.assertEqual(list((self.base / "outside").iterdir()), [])

    def test_without_hard_links(self) -> None:
        """Where the system has none, a rename does, and replaces nothing either."""
        with mock.patch.object(os, "link", side_effect=OSError(errno.EPERM, "no")):
            self.finish(self.begin(), b"hello")
            self.assertEqual((self.root / "a.txt").read_bytes(), b"hello")
            self.assertEqual(self.hidden(), [])
            upload = self.begin("b.txt")
            file = self.write(upload, b"hello")
            (self.root / "b.txt").write_bytes(b"mine")
            self.assertRaises(TransferError, self.finish, upload, b"hello", file)
            self.assertEqual((self.root / "b.txt").read_bytes(), b"mine")

    def test_other_disk(self) -> None:
        """A folder on another disk cannot take an upload, and a person is told so."""
        upload = self.begin()
        file = self.write(upload, b"hello")
        with mock.patch.object(os, "link", side_effect=OSError(errno.EXDEV, "no")):
            error = self.assertRaises(TransferError, self.finish, upload, b"hello", file)
        self.assertEqual(error.code, "cannot-write")

    def test_damaged(self) -> None:
        """What does not agree gets no name."""
        upload = self.begin()
        file = self.write(upload, b"hellO")
        error = self.assertRaises(TransferError, file.finish, blake3(blake3(b"hello").digest()).digest())
        self.assertEqual(error.code, "digest-mismatch")
        file.discard()
        self.incoming.end(upload, keep=False)
        self.assertEqual((self.listed(), self.hidden()), (["there.txt"], []))


class ArrivingByPath(Arriving):
    """The same, on a system that opens by paths only."""

    by_path = True


class Names(Case):
    """Only what the shelf would list may be uploaded."""

    def test_hostile(self) -> None:
        """Each hostile name is refused with the rule that it breaks, and nothing is written."""
        for name in (
            "", ".", "..", "../a", "/a", "a/", "a//b", "a/../b", "./a", ".a", "notes/.a", "..\\a", "a\\b", " a", "a ",
            "a\nb", "a\x00b", "a\x1b[2Jb", "a\x7f", "a\x85b", "a\u202eb", "a\u2028b", "\ud800", "n" * 1025,
            "/".join("a" * 17), FOLDER, f"{FOLDER}/{LEDGER}", "/etc/passwd", "~/../a", f"{FOLDER}/x.part",
        ):  # fmt: skip
            self.assertIn("cannot be shared", self.refused("bad-name", name))
        for name, fault in (
            ("", "is empty"), ("/a", "begins with a /"), ("a/", "ends with a /"), ("a//b", "has two / side by side"),
            (".a", "begins with a dot"), ("notes/.a", "has a part that begins with a dot"),
        ):  # fmt: skip
            self.assertIn(f"under a name that {fault}:", self.refused("bad-name", name))
        self.assertEqual(sorted(each.name for each in self.base.iterdir()), ["shelf"])
        self.assertEqual(self.hidden(), [])

    def test_too_long_for_the_system(self) -> None:
        """A name within our rules may be too long for the disk."""
        self.assertIn("too long", self.refused("bad-name", "n" * 300))

    @examples(200)
    @given(
        st.one_of(
            st.text(max_size=12),
            st.text("./\\ a\x00\n\u202e~", max_size=12),
            st.lists(st.sampled_from(["..", ".", "", "notes", "a", FOLDER, LEDGER]), max_size=5).map(
                "/".join
            ),
        )
    )
    @example("notes/../../a")
    def test_any(self, name: str) -> None:
        """Whatever the name, the file is listed under it, or it is refused and nothing is there."""
        root = Path(tempfile.mkdtemp(dir=self.base))
        (root / "shelf" / "notes").mkdir(parents=True)
        self.root = root / "shelf"
        self.start()
        try:
            upload = self.begin(name)
        except ShelfError as error:
            self.assertIn(error.code, ("bad-name", "exists"))
            self.assertEqual(self.listed(), [])
        else:
            self.finish(upload, b"hello")
            self.assertEqual(self.listed(), [name])
            with Shelf(self.root).open(name) as file:
                self.assertEqual(file.read(0, 9), b"hello")
        self.assertEqual([each.name for each in root.iterdir()], ["shelf"])
        self.assertEqual(self.hidden(), [])


class Limits(Case):
    """How much may be there."""

    def test_each(self) -> None:
        """One person has her quota, half-done uploads among what counts."""
        self.begin("a", 500_000)
        self.finish(self.begin("b", 300_000, SECRET), b"x" * 300_000)
        sentence = self.refused("over-quota", "c", 300_000)
        self.assertIn("You may upload 0.2 MB more: ", sentence)
        self.assertIn("larger than the 1.0 MB", self.refused("over-quota", "c", 3_000_000))
        self.begin("c", 300_000, owner="=eve")
        self.begin("d", (1 << 20) - 800_000)

    def test_all(self) -> None:
        """All together have theirs."""
        for number in range(3):
            self.begin(f"{number}", 1 << 20, owner=f"={number}")
        self.assertIn("full", self.refused("over-quota", "x", 1, owner="=x"))

    def test_many_small_files(self) -> None:
        """The smallest file counts as something: so there is an end to their number."""
        for number in range((1 << 20) // LEAST_CHARGE):
            self.finish(self.begin(f"{number}", 0), b"")
        self.refused("over-quota", "x", 0)

    def test_too_large(self) -> None:
        """What could never fit is refused at once."""
        self.refused("over-quota", "x", 2**63 - 1)

    def test_end_gives_back(self) -> None:
        """What is cancelled, or broke off before a byte came, counts no more."""
        for keep in (False, True):
            upload = self.begin("a", 1 << 20)
            self.refused("over-quota", "b", 1)
            self.write(upload, b"").discard()
            self.incoming.end(upload, keep=keep)
            self.assertEqual(self.incoming.used("=bob"), 0)
            self.assertEqual(self.hidden(), [])

    def test_broken_off_counts(self) -> None:
        """What broke off counts, and does not count twice when it is gone on with."""
        upload = self.begin("a", 1 << 20)
        self.write(upload, b"x").keep()
        self.incoming.end(upload, keep=True)
        self.refused("over-quota", "b", 1)
        self.assertEqual(self.begin("a", 1 << 20), upload)

    def test_goes_on_under_another_name(self) -> None:
        """Who knows the secret goes on with it, and then it counts for her."""
        upload = self.begin("a", 1 << 20, owner="@10.0.0.1")
        self.write(upload, b"x").keep()
        self.incoming.end(upload, keep=True)
        self.begin("a", 1 << 20)
        self.assertEqual((self.incoming.used("@10.0.0.1"), self.incoming.used("=bob")), (0, 1 << 20))

    def test_restart(self) -> None:
        """A restart changes nothing in what counts."""
        upload = self.begin("a", 300_000)
        self.write(upload, b"x").keep()
        self.finish(self.begin("b", 300_000), b"x" * 300_000)
        for _ in range(2):
            self.start()
            self.refused("over-quota", "c", 500_000)
            self.assertEqual(self.incoming.used("=bob"), 600_000)

    def test_removed_files(self) -> None:
        """What whoever runs the server removed, or replaced by something else, counts no more."""
        self.finish(self.begin("a", 500_000), b"x" * 500_000)
        self.finish(self.begin("b", 500_000), b"x" * 500_000)
        (self.root / "a").unlink()
        self.begin("c", 500_000)
        (self.root / "b").write_bytes(b"mine")
        self.refused("over-quota", "d", 500_000)
        self.now += incoming.RECOUNT_SECONDS + 1
        self.begin("d", 500_000)

    def test_ledger_is_cut(self) -> None:
        """The ledger forgets what is gone, survives a line that was cut short, and what is none of its own."""
        for name in ("a", "b", "c"):
            self.finish(self.begin(name), b"hello")
        ledger = self.root / FOLDER / LEDGER
        ledger.write_bytes(ledger.read_bytes() + b'[1]\n5\n"abcd"\n["x", "y", "z", "w"]\n["i", "c')
        (self.root / "a").unlink()
        self.start()
        self.finish(self.begin("d"), b"hello")
        self.start()
        self.incoming.sweep()
        self.assertEqual(len(ledger.read_bytes().splitlines()), 3)
        self.assertEqual(self.incoming.used("=bob"), 3 * LEAST_CHARGE)


class Disk(Case):
    """When the disk is full."""

    def test_space(self) -> None:
        """Space is looked at first: that of uploads under way is spoken for, and a reserve stays."""
        self.bounds = Bounds(each=PLENTY, all=PLENTY)
        self.start()
        self.free = RESERVE + 1000
        self.refused("no-space", "a", 1001)
        first = self.begin("a", 600)
        self.refused("no-space", "b", 401)
        second = self.begin("b", 400)
        self.write(first, b"x" * 100).keep()
        self.free -= 100
        self.refused("no-space", "c", 1)
        self.incoming.end(second, keep=True)
        self.begin("c", 400)

    def test_small_disk(self) -> None:
        """On a small disk the reserve is a twentieth."""
        self.incoming = Incoming(Shelf(self.root), space=lambda path: (1000, 900))
        self.refused("no-space", size=851)
        self.begin(size=850)

    def test_real_space(self) -> None:
        """The system is asked."""
        self.incoming = Incoming(Shelf(self.root), Bounds(each=1 << 62, all=1 << 62))
        self.refused("no-space", size=1 << 61)

    def test_full_while_it_comes(self) -> None:
        """The disk fills up: a person is told, and what there is of it is kept."""
        upload = self.begin()
        file = self.write(upload, b"he")
        write = "pwritev" if hasattr(os, "pwritev") else "write"
        with mock.patch.object(os, write, side_effect=OSError(errno.ENOSPC, "full")):
            error = self.assertRaises(TransferError, file.write, [(2, [b"llo"])])
        self.assertEqual(error.code, "disk-full")
        self.assertNotIn(str(self.base), error.sentence)
        file.keep()
        self.incoming.end(upload, keep=True)
        self.assertEqual(self.incoming.part(self.begin()).open(), [(0, 2)])

    def test_full_at_the_begin(self) -> None:
        """Not even a small file can be made."""
        with mock.patch("pychat.incoming.write", side_effect=OSError(errno.ENOSPC, "full")):
            self.refused("no-space")
        self.begin()

    def test_read_only(self) -> None:
        """A shelf that cannot be written says so, and the cause is there for the log."""
        with mock.patch.object(os, "mkdir", side_effect=OSError(errno.EROFS, "read-only")):
            error = self.assertRaises(ShelfError, self.begin)
        self.assertEqual(error.code, "cannot-write")
        self.assertIsInstance(error.__cause__, OSError)


class GoingOn(Case):
    """What broke off is gone on with, or removed."""

    def broken(self, name: str = "a.txt") -> Upload:
        upload = self.begin(name)
        self.write(upload, b"he").keep()
        self.incoming.end(upload, keep=True)
        return upload

    def test_restart(self) -> None:
        """After a restart the same name, size and secret go on; anything else begins."""
        self.broken()
        self.start()
        for keywords in ({"version": "f" * 16}, {"size": 6}, {"name": "b.txt"}):
            other = self.begin(**keywords)
            file = self.incoming.part(other)
            self.assertEqual(file.open(), [])
            file.discard()
            self.incoming.end(other, keep=False)
        upload = self.begin()
        file = self.incoming.part(upload)
        self.assertEqual(file.open(), [(0, 2)])
        file.write([(2, [b"llo"])])
        self.finish(upload, b"hello", file)
        self.assertEqual((self.root / "a.txt").read_bytes(), b"hello")
        self.assertEqual(self.hidden(), [])

    def test_killed(self) -> None:
        """Nobody let go of it: the process was killed."""
        file = self.write(self.begin(), b"he")
        file._claim.leave()  # what the system does
        self.start()
        self.assertEqual(self.incoming.part(self.begin()).open(), [(0, 2)])

    def test_killed_behind_the_link(self) -> None:
        """The file had its name, and the process ended before it could say whose it is."""
        upload = self.begin()
        file = self.write(upload, b"hello")
        os.link(self.root / FOLDER / f"{upload.id}.part", self.root / "a.txt")
        file._claim.leave()
        self.start()
        self.refused("arrived")
        self.assertEqual(self.hidden(), [])
        self.assertEqual(self.incoming.used("=bob"), LEAST_CHARGE)

    def test_expires(self) -> None:
        """What broke off too long ago is removed, and what is under way is not."""
        kept = self.begin("kept.txt")
        self.write(kept, b"he").keep()
        old = self.broken("old.txt")
        self.now = self.root.stat().st_mtime + self.bounds.keep - 100
        self.assertEqual(self.incoming.sweep(), [])
        self.now += 200
        self.assertEqual(self.incoming.sweep(), [old])
        self.assertEqual({name.partition(".")[0] for name in self.hidden()}, {kept.id})
        self.assertEqual(self.incoming.used("=bob"), LEAST_CHARGE)

    def test_expires_at_the_start(self) -> None:
        """The first look of a new process finds it, too, and what nobody knows."""
        old = self.broken()
        (self.root / FOLDER / "stray.part").write_bytes(b"x")
        (self.root / FOLDER / f"{'0' * 32}.upload").write_bytes(b"junk")
        self.start()
        self.now = self.root.stat().st_mtime + self.bounds.keep + 100
        self.assertEqual(self.incoming.sweep(), [old])
        self.assertEqual(self.hidden(), [])

    def test_nothing_was_uploaded(self) -> None:
        """Where nobody uploads there is no hidden folder."""
        self.assertEqual(self.incoming.sweep(), [])
        self.assertFalse((self.root / FOLDER).exists())

    def test_discarded_part(self) -> None:
        """A part that is cancelled before it was opened is not made."""
        upload = self.begin()
        file = self.incoming.part(upload)
        file.discard()
        error = self.assertRaises(PychatError, file.open)
        self.assertEqual(error.code, "cancelled")


class GoingOnByPath(GoingOn):
    """The same, on a system that opens by paths only."""

    by_path = True
