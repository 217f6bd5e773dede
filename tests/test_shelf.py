"""The shelf: what is listed, what is opened, and above all what is not."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
import tempfile
import threading
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat import folders, shelf
from pychat.errors import ShelfError
from pychat.shelf import Shelf, ShelfFile, Skipped
from pychat.vocabulary import ListedFile

POSIX = os.name == "posix"


def hide_descriptors() -> contextlib.ExitStack:
    """Pretend to be a system that opens by paths only."""
    hidden = contextlib.ExitStack()
    for name in ("supports_dir_fd", "supports_fd", "supports_follow_symlinks"):
        hidden.enter_context(mock.patch.object(os, name, frozenset()))
    for name in ("O_NOFOLLOW", "O_DIRECTORY", "pread"):
        if hasattr(os, name):
            hidden.enter_context(mock.patch.object(os, name))
            delattr(os, name)
    return hidden


@contextlib.contextmanager
def changed_to(folder: Path) -> Iterator[None]:
    """contextlib.chdir is new in Python 3.11."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def spy_on_open(stack: contextlib.ExitStack) -> list[int]:
    """Note each descriptor that os.open gives."""
    real, descriptors = os.open, []

    def spy(*arguments: object, **keywords: object) -> int:
        descriptors.append(real(*arguments, **keywords))  # type: ignore[arg-type]
        return descriptors[-1]

    stack.enter_context(mock.patch.object(os, "open", spy))
    return descriptors


class Case(SynchronousTestCase):
    """A shelf in a folder of its own, with things beside it that nobody may reach."""

    hidden = False

    def setUp(self) -> None:
        if self.hidden:
            hidden = hide_descriptors()
            self.addCleanup(hidden.close)
        self.base = Path(os.path.realpath(tempfile.mkdtemp()))
        self.addCleanup(shutil.rmtree, self.base)
        self.root = self.base / "shelf"
        self.root.mkdir()
        (self.base / "secret").write_bytes(b"secret")
        (self.base / "private").mkdir()
        (self.base / "private" / "b.txt").write_bytes(b"secret")
        self.put("a.txt", b"hello")
        self.put("a/b.txt", b"below")
        self.shelf = Shelf(self.root)

    def put(self, name: str, content: bytes = b"") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def open(self, name: str) -> ShelfFile:
        opened = self.shelf.open(name)
        self.addCleanup(opened.close)
        return opened

    def error(self, code: str, act: Callable[..., object], *arguments: object) -> ShelfError:
        error = self.assertRaises(ShelfError, act, *arguments)
        self.assertEqual(error.code, code)
        self.assertEqual(len(error.sentence.splitlines()), 1)
        return error

    def names(self) -> list[str]:
        return [entry.name for entry in self.shelf.listing(1000).files]


class Opening(Case):
    """Nothing but a regular file below the root is ever opened."""

    def refused(self, name: str) -> None:
        error = self.error("no-such-file", self.shelf.open, name)
        self.assertEqual(error.sentence, "There is no such file: <listfiles> shows what there is.")

    def test_files(self) -> None:
        """A file of the root and one of a folder are opened by their listed names."""
        for name, content in (("a.txt", b"hello"), ("a/b.txt", b"below")):
            opened = self.open(name)
            self.assertEqual((opened.name, opened.size), (name, len(content)))
            self.assertEqual(opened.read(0, 100), content)

    def test_any_letters(self) -> None:
        """Spaces, umlauts, emoji sequences and signs are nothing special."""
        for name in (
            "two words.txt",
            "größe.txt",
            "日本/語.txt",
            "👩‍💻.txt",
            "a'\"<>&;$(x).txt",
            "%2e%2e",
            "~",
            "-rf",
        ):
            if POSIX:
                self.put(name, name.encode())
                self.assertEqual(self.open(name).read(0, 100), name.encode())
                self.assertIn(name, self.names())

    def test_refused_by_name(self) -> None:
        """Names that could mean anything but a plain way down are refused, whatever stands there."""
        self.put(".hidden")
        self.put(".folder/x")
        for name in (
            "",
            ".",
            "..",
            "/",
            "../secret",
            "../shelf/a.txt",
            "a/../../secret",
            "a/../a.txt",
            "./a.txt",
            "a/./b.txt",
            "a//b.txt",
            "/a.txt",
            "a.txt/",
            "a/",
            "//a.txt",
            "/etc/passwd",
            str(self.root / "a.txt"),
            ".hidden",
            ".folder/x",
            "a.txt\0",
            "\0",
            "a\0/b.txt",
            "a\\b.txt",
            "..\\secret",
            "a.txt\n",
            " a.txt",
            "a.txt ",
            "\udcff",
            "a\u2028",
            "a\u202etxt",
            "x" * 300,
            "a/" * 2000 + "b.txt",
        ):
            with self.subTest(ascii(name)):
                self.refused(name)

    def test_absent(self) -> None:
        for name in ("nothing", "a/nothing", "nothing/b.txt", "a.txt/b.txt"):
            with self.subTest(name):
                self.refused(name)

    def test_folder(self) -> None:
        self.refused("a")

    def test_too_deep(self) -> None:
        """The depth is bounded, for names that are opened as for those that are listed."""
        deepest = "/".join("d" * (shelf.MAX_DEPTH - 1)) + "/f"
        self.put(deepest)
        self.put("d/" + deepest)
        self.open(deepest)
        self.refused("d/" + deepest)
        self.assertIn(deepest, self.names())
        self.assertNotIn("d/" + deepest, self.names())

    @unittest.skipUnless(POSIX, "needs symbolic links")
    def test_symbolic_links(self) -> None:
        """No link is followed, be it to the outside, to the inside, of a file, of a folder, or dangling."""
        (self.root / "out").symlink_to(self.base / "secret")
        (self.root / "in").symlink_to("a.txt")
        (self.root / "folder-out").symlink_to(self.base / "private")
        (self.root / "folder-in").symlink_to("a")
        (self.root / "dangling").symlink_to("nowhere")
        (self.root / "self").symlink_to("self")
        for name in ("out", "in", "folder-out/b.txt", "folder-in/b.txt", "dangling", "self", "folder-out"):
            with self.subTest(name):
                self.refused(name)
        self.assertEqual(self.names(), ["a.txt", "a/b.txt"])

    @unittest.skipUnless(POSIX, "needs FIFOs")
    def test_fifo(self) -> None:
        """Opening a FIFO neither waits for a writer nor succeeds."""
        os.mkfifo(self.root / "fifo")
        self.refused("fifo")

    @unittest.skipUnless(POSIX, "needs FIFOs")
    def test_fifo_at_the_last_moment(self) -> None:
        """A FIFO that takes the file's place after the check is opened without waiting, and refused."""
        os.mkfifo(self.root / "fifo")
        regular = os.lstat(self.root / "a.txt")
        with mock.patch.object(self.shelf._folder, "status", return_value=regular):
            self.refused("fifo")

    @unittest.skipUnless(POSIX, "needs sockets with a path")
    def test_socket(self) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            with changed_to(self.root):  # the path of a socket must be short
                listening.bind("socket")
            self.refused("socket")

    @unittest.skipUnless(POSIX, "needs devices")
    def test_device(self) -> None:
        """A device is refused without being opened: opening alone may rewind a tape."""
        device = os.lstat("/dev/null")
        found = mock.patch.object(self.shelf._folder, "status", return_value=device)
        with found, mock.patch.object(os, "open", wraps=os.open) as opening:
            self.refused("a.txt")
        self.assertNotIn("a.txt", [os.fsdecode(call.args[0]) for call in opening.call_args_list])

    @unittest.skipUnless(POSIX, "needs devices")
    def test_real_device(self) -> None:
        """Where we may make one, a device node on the shelf is refused and not listed."""
        try:
            os.mknod(self.root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            self.skipTest("making devices needs root")
        self.refused("null")
        self.assertNotIn("null", self.names())

    def test_no_permission(self) -> None:
        """A file that may not be read is refused like one that is not there."""
        with mock.patch.object(os, "open", side_effect=PermissionError(errno.EACCES, "no")):
            self.refused("a.txt")

    def test_short_of_descriptors(self) -> None:
        """That the process is short of descriptors is not the name's fault, and is said so."""
        for number in (errno.EMFILE, errno.ENFILE, errno.EIO):
            failing = mock.patch.object(os, "fstat", side_effect=OSError(number, os.strerror(number)))
            with failing, mock.patch.object(os, "close"), contextlib.ExitStack() as opened:
                descriptors = spy_on_open(opened)
                self.error("read-failed", self.shelf.open, "a.txt")
            for descriptor in descriptors:
                os.close(descriptor)

    def test_root_gone(self) -> None:
        """Without the folder there is no file, and a listing is an error."""
        self.root.rename(self.base / "away")
        self.refused("a.txt")
        self.error("read-failed", self.shelf.listing, 10)

    def test_root_replaced(self) -> None:
        """When the operator swaps the folder, the next open sees the new one; what is open stays the old."""
        old = self.open("a.txt")
        self.root.rename(self.base / "away")
        self.put("a.txt", b"new")
        self.assertEqual(self.open("a.txt").read(0, 9), b"new")
        self.assertEqual(old.read(0, 9), b"hello")

    @unittest.skipUnless(POSIX, "needs symbolic links")
    def test_root_is_a_link(self) -> None:
        """The operator may share a folder by a symbolic link, and turn it."""
        link = self.base / "link"
        link.symlink_to(self.root)
        shelf = Shelf(link)
        shelf.prepare()
        with shelf.open("a/b.txt") as opened:
            self.assertEqual(opened.read(0, 9), b"below")
        link.unlink()
        link.symlink_to(self.base / "private")
        self.assertEqual(shelf.listing(9).files, (ListedFile("b.txt", 6),))

    def test_no_descriptor_leaks(self) -> None:
        """Neither success nor refusal nor listing leaves a descriptor open."""
        if not os.path.isdir("/proc/self/fd"):
            self.skipTest("needs /proc")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            self.shelf.open("a/b.txt").close()
            self.refused("a/nothing")
            self.refused("a")
            self.names()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    @unittest.skipUnless(POSIX, "needs descriptors")
    def test_not_inherited(self) -> None:
        """Programs that we start do not get our files."""
        self.assertFalse(os.get_inheritable(self.open("a.txt")._file.fileno()))


class OpeningByPath(Opening):
    """The same where the system opens by paths only."""

    hidden = True

    def test_hidden(self) -> None:
        self.assertIs(self.shelf._folder, folders.PathFolder)

    def test_other_names_of_a_file(self) -> None:
        """Where the system takes other names for a file (case, short names), only its own is taken."""
        with mock.patch.object(os, "listdir", return_value=["A.TXT", "a"]):
            self.refused("a.txt")

    def test_replaced_between_check_and_open(self) -> None:
        """A file that is not the one that was checked is refused."""
        other = os.lstat(self.base / "secret")
        with mock.patch.object(folders.PathFolder, "status", return_value=other):
            self.refused("a.txt")

    def test_led_outside_after_the_open(self) -> None:
        """A path that leads elsewhere after the open is refused."""
        real = os.path.realpath
        with mock.patch.object(
            os.path, "realpath", lambda path, **k: real(path, **k) if k else str(self.base / "secret")
        ):
            self.refused("a.txt")

    def test_reparse_points(self) -> None:
        """Junctions and other reparse points of Windows are links."""
        real = os.lstat

        class Reparse:
            def __init__(self, what: os.stat_result) -> None:
                self.st_mode = what.st_mode
                self.st_size = what.st_size
                self.st_file_attributes = folders.REPARSE_POINT

        with mock.patch.object(
            folders.PathFolder, "status", lambda folder, name: Reparse(real(folder._below(name)))
        ):
            self.refused("a.txt")
            self.refused("a/b.txt")
            listing = self.shelf.listing(10)
        self.assertEqual(listing.files, ())
        self.assertEqual({fact.reason for fact in listing.skipped}, {"is a link"})


class OnWindows(Case):
    """Names that Windows reads as something else than a file are refused there."""

    def test_names(self) -> None:
        with mock.patch.object(shelf, "_WINDOWS", True):
            for name in (
                "C:a.txt",
                "C:/a.txt",
                "a.txt::$DATA",
                "a.txt:stream",
                "a.txt.",
                "a.txt /x",
                "NUL",
                "a/con.txt",
                "Com1",
                "lpt¹.x",
                "aux .txt",
                "a?",
                "*",
                "\\\\host\\share",
                "//?/C:/a.txt",
            ):
                with self.subTest(name):
                    self.error("no-such-file", self.shelf.open, name)
            self.open("a.txt")
            self.open("a/b.txt")

    @unittest.skipUnless(POSIX, "cannot be made on Windows")
    def test_only_there(self) -> None:
        """Elsewhere a colon is a character like any other."""
        self.put("12:30.txt")
        self.open("12:30.txt")


class Reading(Case):
    """A file gives what it held when it was opened, or says that it changed."""

    def test_pieces(self) -> None:
        """Any piece can be read, in any order; beyond the end there is nothing."""
        content = bytes(range(256)) * 40
        self.put("f", content)
        opened = self.open("f")
        for offset, length in ((0, 10), (5000, 300), (0, len(content)), (len(content) - 1, 10), (10, 0)):
            self.assertEqual(opened.read(offset, length), content[offset : offset + length])
        self.assertEqual(opened.read(len(content), 10), b"")
        self.assertEqual(opened.read(len(content) + 10, 10), b"")

    def test_empty_file(self) -> None:
        self.put("empty")
        opened = self.open("empty")
        self.assertEqual((opened.size, opened.read(0, 100)), (0, b""))

    def test_short_reads(self) -> None:
        """When the system gives less than was asked for, the rest is asked for."""
        opened = self.open("a.txt")
        whole = opened._read_some
        with mock.patch.object(opened, "_read_some", lambda offset, length: whole(offset, min(length, 2))):
            self.assertEqual(opened.read(0, 5), b"hello")

    def test_shrunk(self) -> None:
        """A file that shrank has not got the bytes, wherever one reads."""
        opened = self.open("a.txt")
        os.truncate(self.root / "a.txt", 2)
        self.assertIn("changed", self.error("source-changed", opened.read, 0, 4).sentence)
        self.error("source-changed", opened.read, 4, 1)
        self.error("source-changed", opened.verify)

    def test_grown(self) -> None:
        """A file that grew is noticed at its end, and no byte of the new part is given."""
        opened = self.open("a.txt")
        with open(self.root / "a.txt", "ab") as stream:
            stream.write(b" world")
        self.assertEqual(opened.read(0, 4), b"hell")
        self.error("source-changed", opened.read, 0, 5)
        self.error("source-changed", opened.read, 0, 11)

    def test_touched(self) -> None:
        """Same size, other time: the content may be another."""
        opened = self.open("a.txt")
        os.utime(self.root / "a.txt", ns=(1, 1))
        self.assertEqual(opened.read(0, 4), b"hell")
        self.error("source-changed", opened.read, 4, 1)

    @unittest.skipUnless(POSIX, "Windows does not let an open file go")
    def test_unlinked(self) -> None:
        opened = self.open("a.txt")
        (self.root / "a.txt").unlink()
        self.error("source-changed", opened.read, 0, 5)
        self.error("source-changed", opened.verify)

    @unittest.skipUnless(POSIX, "Windows does not let an open file go")
    def test_replaced(self) -> None:
        """A new file renamed over the old one, as editors do, is a change."""
        opened = self.open("a.txt")
        os.replace(self.put("new", b"HELLO"), self.root / "a.txt")
        self.error("source-changed", opened.read, 0, 5)

    @unittest.skipUnless(POSIX, "needs hard links")
    def test_backed_up(self) -> None:
        """A backup that makes a hard link, and a renaming of the file, change nothing that was promised."""
        opened = self.open("a.txt")
        os.link(self.root / "a.txt", self.base / "backup")
        (self.root / "a.txt").rename(self.root / "b.txt")
        self.assertEqual(opened.read(0, 5), b"hello")
        opened.verify()

    def test_error_of_the_disk(self) -> None:
        opened = self.open("a.txt")
        with mock.patch.object(opened, "_read_some", side_effect=OSError(errno.EIO, "Input/output error")):
            error = self.error("read-failed", opened.read, 0, 5)
        self.assertEqual(error.__cause__.errno, errno.EIO)  # type: ignore[union-attr]
        with mock.patch.object(os, "fstat", side_effect=OSError(errno.ESTALE, "Stale file handle")):
            self.error("read-failed", opened.verify)

    def test_version(self) -> None:
        """The version stays while the file stays, and becomes another with size, time or inode."""
        versions = [self.open("a.txt").version, self.open("a.txt").version]
        self.assertEqual(versions[0], versions[1])
        self.assertRegex(versions[0], "^[0-9a-f]{16}$")
        os.utime(self.root / "a.txt", ns=(1, 1))
        versions.append(self.open("a.txt").version)
        os.truncate(self.root / "a.txt", 2)
        os.utime(self.root / "a.txt", ns=(1, 1))
        versions.append(self.open("a.txt").version)
        os.replace(self.put("new", b"he"), self.root / "a.txt")
        os.utime(self.root / "a.txt", ns=(1, 1))
        versions.append(self.open("a.txt").version)
        self.assertEqual(len(set(versions)), 4)

    def test_closed(self) -> None:
        """Closing twice is fine; reading afterwards is an error, and never reads another file."""
        opened = self.open("a.txt")
        opened.close()
        opened.close()
        self.error("read-failed", opened.read, 0, 5)
        self.error("read-failed", opened.verify)

    def test_closed_while_reading(self) -> None:
        """A close during a read in a thread waits for nobody, and the read still gets its bytes."""
        opened = self.open("a.txt")
        begun, go_on, got = threading.Event(), threading.Event(), []
        whole = opened._read_some

        def slowly(offset: int, length: int) -> bytes:
            begun.set()
            go_on.wait(10)
            return whole(offset, length)

        with mock.patch.object(opened, "_read_some", slowly):
            reader = threading.Thread(target=lambda: got.append(opened.read(0, 4)), daemon=True)
            reader.start()
            begun.wait(10)
            opened.close()
            self.assertFalse(opened._file.closed)
            self.error("read-failed", opened.read, 0, 4)
            go_on.set()
            reader.join(10)
        self.assertEqual(got, [b"hell"])
        self.assertTrue(opened._file.closed)


class ReadingByPath(Reading):
    """The same where there is no pread."""

    hidden = True

    def test_hidden(self) -> None:
        self.assertFalse(hasattr(os, "pread"))


class Listings(Case):
    """The listing shows what can be fetched, tells what cannot, and is bounded."""

    def test_sorted(self) -> None:
        """Files of all folders, by name, with their sizes."""
        self.put("z")
        self.put("B/c/d", b"123")
        listing = self.shelf.listing(10)
        self.assertEqual(
            listing,
            shelf.Listing(
                (
                    ListedFile("B/c/d", 3),
                    ListedFile("a.txt", 5),
                    ListedFile("a/b.txt", 5),
                    ListedFile("z", 0),
                ),
                0,
                True,
                (),
            ),
        )

    def test_empty(self) -> None:
        shutil.rmtree(self.root)
        self.root.mkdir()
        self.assertEqual(self.shelf.listing(10), shelf.Listing((), 0, True, ()))

    def test_limit(self) -> None:
        """The first by name are listed, and how many more there are is told."""
        for number in range(20):
            self.put(f"many/{number:02}")
        listing = self.shelf.listing(4)
        self.assertEqual([entry.name for entry in listing.files], ["a.txt", "a/b.txt", "many/00", "many/01"])
        self.assertEqual((listing.left_out, listing.complete), (18, True))

    def test_too_many_to_visit(self) -> None:
        """A folder without end is not walked to its end, and the listing says that it is not complete."""
        for number in range(20):
            self.put(f"many/{number:02}")
        with mock.patch.object(shelf, "MAX_VISITED", 10):
            listing = self.shelf.listing(100)
        self.assertFalse(listing.complete)
        self.assertLessEqual(len(listing.files), 10)

    def test_exactly_as_many(self) -> None:
        with mock.patch.object(shelf, "MAX_VISITED", 3):
            self.assertTrue(self.shelf.listing(100).complete)

    def test_dot_files(self) -> None:
        """Dot files and dot folders are nobody's business, not even the log's."""
        self.put(".hidden")
        self.put(".folder/x")
        listing = self.shelf.listing(10)
        self.assertEqual(len(listing.files), 2)
        self.assertEqual(listing.skipped, ())

    @unittest.skipUnless(POSIX, "cannot be made on Windows")
    def test_skipped(self) -> None:
        """What is not offered is told, escaped, with its reason, and once only."""
        os.mkfifo(self.root / "fifo")
        (self.root / "link").symlink_to("/etc")
        self.put("a/esc\x1b[31m")
        self.put("line\u2028")
        self.put("bidi\u202e")
        self.put("back\\slash")
        self.put(" space")
        self.put("/".join(["l" * 200] * 6))
        os.close(os.open(os.fsencode(self.root) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
        unfit = "has a name that has control characters or a backslash"
        listing = self.shelf.listing(10)
        self.assertEqual([entry.name for entry in listing.files], ["a.txt", "a/b.txt"])
        self.assertEqual(
            sorted(listing.skipped, key=lambda fact: fact.name),
            [
                Skipped(" space", "has a name that begins or ends with a space"),
                Skipped("\\udcff\\udcfe", "has a name that is not UTF-8"),
                Skipped("a/esc\\x1b[31m", unfit),
                Skipped("back\\slash", unfit),
                Skipped("bidi\\u202e", unfit),
                Skipped("fifo", "is neither a file nor a folder"),
                Skipped("line\\u2028", unfit),
                Skipped("link", "is a link"),
                Skipped("/".join(["l" * 200] * 6), "has a name that is longer than 1024 bytes"),
            ],
        )
        self.put("new\n")
        self.assertEqual(self.shelf.listing(10).skipped, (Skipped("new\\n", unfit),))

    def test_skipped_is_bounded(self) -> None:
        """Somebody who makes hostile names without end does not fill our memory, nor the log."""
        if not POSIX:
            self.skipTest("cannot be made on Windows")
        for number in range(10):
            self.put(f"{number}\n")
        with mock.patch.object(shelf, "_MAX_REPORTED", 4):
            self.assertEqual(len(self.shelf.listing(10).skipped), 4)
            self.assertEqual(len(self.shelf.listing(10).skipped), 0)
        self.assertEqual(len(self.shelf._reported), 4)

    def test_too_deep(self) -> None:
        """Folders below the greatest depth are told, not entered."""
        self.put("/".join("d" * (shelf.MAX_DEPTH + 5)))
        listing = self.shelf.listing(10)
        self.assertEqual(len(listing.files), 2)
        too_deep = "/".join("d" * (shelf.MAX_DEPTH + 1))
        self.assertEqual(
            listing.skipped, (Skipped(too_deep, f"has a name that has more than {shelf.MAX_DEPTH} parts"),)
        )

    def test_not_readable(self) -> None:
        """A file that may not be read is not offered, and the operator is told."""
        with mock.patch.object(self.shelf._folder, "may_read", return_value=False):
            listing = self.shelf.listing(10)
        self.assertEqual(listing.files, ())
        self.assertEqual(listing.skipped[0].reason, "may not be read by this user")

    def test_folder_not_readable(self) -> None:
        """A folder that may not be read does not hide the rest."""
        denied = PermissionError(errno.EACCES, "Permission denied")
        with mock.patch.object(self.shelf._folder, "enter", side_effect=denied):
            listing = self.shelf.listing(10)
        self.assertEqual(listing.files, (ListedFile("a.txt", 5),))
        self.assertEqual(listing.skipped, (Skipped("a", "cannot be read (Permission denied)"),))

    def test_error_without_words(self) -> None:
        with mock.patch.object(self.shelf._folder, "enter", side_effect=OSError):
            self.assertEqual(self.shelf.listing(10).skipped[0].reason, "cannot be read (unknown error)")

    def test_vanishing(self) -> None:
        """What vanishes between the look into the folder and the look at it was never there."""
        with mock.patch.object(
            self.shelf._folder, "status", side_effect=FileNotFoundError(errno.ENOENT, "gone")
        ):
            self.assertEqual(self.shelf.listing(10), shelf.Listing((), 0, True, ()))


class ListingsByPath(Listings):
    """The same where the system opens by paths only."""

    hidden = True


class Preparing(Case):
    """`prepare` makes the folder, or says in one line what to do."""

    def test_makes_it(self) -> None:
        new = Shelf(self.base / "new" / "folder")
        new.prepare()
        new.prepare()
        self.assertEqual(new.listing(10).files, ())

    def test_relative(self) -> None:
        """A relative path is that of the start, also after the daemon has gone to another folder."""
        with changed_to(self.base):
            relative = Shelf("shelf")
        self.assertEqual(len(relative.listing(10).files), 2)

    def test_not_a_folder(self) -> None:
        error = self.error("bad-shelf", Shelf(self.base / "secret").prepare)
        self.assertIn("not a folder: name another", error.sentence)

    @unittest.skipUnless(POSIX, "needs symbolic links")
    def test_link_to_nowhere(self) -> None:
        (self.base / "link").symlink_to("nowhere")
        self.assertIn("not a folder", self.error("bad-shelf", Shelf(self.base / "link").prepare).sentence)

    def test_below_a_file(self) -> None:
        error = self.error("bad-shelf", Shelf(self.base / "secret" / "folder").prepare)
        self.assertIn("Cannot make the folder", error.sentence)

    def test_not_permitted(self) -> None:
        with mock.patch.object(os, "mkdir", side_effect=PermissionError(errno.EACCES, "Permission denied")):
            error = self.error("bad-shelf", Shelf(self.base / "new").prepare)
        self.assertIn("(Permission denied): make it yourself", error.sentence)

    def test_not_readable(self) -> None:
        with mock.patch.object(os, "scandir", side_effect=PermissionError(errno.EACCES, "no")):
            self.assertIn("let this user read it", self.error("bad-shelf", self.shelf.prepare).sentence)
        with mock.patch.object(os, "access", return_value=False):
            self.error("bad-shelf", self.shelf.prepare)

    @unittest.skipUnless(POSIX, "cannot be made on Windows")
    def test_one_line(self) -> None:
        """Whatever the folder is called, the sentence is one line that a terminal can show."""
        (self.base / "a\nb\x1b").write_bytes(b"")
        self.assertIn("a\\nb\\x1b", self.error("bad-shelf", Shelf(self.base / "a\nb\x1b").prepare).sentence)


COMPONENTS = [
    *(
        "",
        ".",
        "..",
        "...",
        "a",
        "b.txt",
        "a.txt",
        "deep",
        "in",
        "out",
        "folder-in",
        "folder-out",
        "up",
        "root",
    ),
    *(
        "fifo",
        ".hidden",
        "~",
        "*",
        "\0",
        "a\0",
        "b.txt\0",
        " a",
        "a.txt ",
        "a.txt\n",
        "\\",
        "..\\",
        "a\\..",
        "C:",
    ),
    *(
        "NUL",
        "etc",
        "passwd",
        "proc",
        "self",
        "secret",
        "private",
        "shelf",
        "%2e%2e",
        "\udcff",
        "\uff0e\uff0e",
        "\u2215",
    ),
]


NAMES = (
    st.text()
    | st.lists(st.sampled_from(COMPONENTS), max_size=6).map("/".join)
    | st.lists(st.sampled_from(COMPONENTS), max_size=4).map("\\".join)
    | st.lists(st.sampled_from([*COMPONENTS, "/", "//"]), max_size=8).map("".join)
)


class Planted(SynchronousTestCase):
    """A shelf full of ways out, and the set of the files that lie on it."""

    if not POSIX:
        skip = "needs symbolic links"
    hidden = False

    def setUp(self) -> None:
        if self.hidden:
            self.addCleanup(hide_descriptors().close)
        self.base = Path(os.path.realpath(tempfile.mkdtemp()))
        self.addCleanup(shutil.rmtree, self.base)
        root = self.base / "shelf"
        for name in (
            "secret",
            "private/b.txt",
            "private/a.txt",
            "shelf/a.txt",
            "shelf/a/b.txt",
            "shelf/deep/a/a.txt",
        ):
            path = self.base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        for link, to in {
            "in": "a.txt",
            "out": self.base / "secret",
            "folder-in": "a",
            "folder-out": self.base / "private",
            "up": "..",
            "root": "/",
            "deep/up": "../..",
            "a/out": self.base / "private",
        }.items():
            (root / link).symlink_to(to)
        (root / ".hidden").write_text("hidden")
        os.mkfifo(root / "fifo")
        self.shelf = Shelf(root)
        self.inside = set()
        for folder, below, files in os.walk(root):
            below[:] = [name for name in below if not os.path.islink(os.path.join(folder, name))]
            for name in files:
                what = os.lstat(os.path.join(folder, name))
                if stat.S_ISREG(what.st_mode) and not name.startswith("."):
                    self.inside.add((what.st_dev, what.st_ino))
        self.assertEqual(len(self.inside), 3)

    def look_for(self, name: str) -> None:
        """Check that the name is refused, or leads to a file that a walk without links has met."""
        try:
            opened = self.shelf.open(name)
        except ShelfError as error:
            self.assertEqual(error.code, "no-such-file")
        else:
            with opened:
                what = os.fstat(opened._file.fileno())
                self.assertIn((what.st_dev, what.st_ino), self.inside, ascii(name))

    def look_at_list(self) -> None:
        """Check that every listed name opens with the listed size, and that no file is missing."""
        listing = self.shelf.listing(100)
        self.assertEqual(len(listing.files), len(self.inside))
        for entry in listing.files:
            with self.shelf.open(entry.name) as opened:
                self.assertEqual(opened.size, entry.size)


class Anything(Planted):
    """For any name whatever, what is opened lies on the shelf."""

    @given(NAMES)
    @example("a.txt")
    @example("deep/a/a.txt")
    @example("folder-out/b.txt")
    @example("a/out/b.txt")
    @example("deep/up/secret")
    @example("root/etc/passwd")
    @settings(deadline=None, max_examples=400)
    def test_never_outside(self, name: str) -> None:
        """Either no-such-file, or a file of the shelf."""
        self.look_for(name)

    def test_what_is_listed_opens(self) -> None:
        self.look_at_list()

    def test_race(self) -> None:
        """A folder that turns into a link and back all the time never leads outside."""
        root = self.base / "shelf"
        os.rename(root / "a", self.base / "real")
        (self.base / "link").symlink_to(self.base / "private")
        stop = threading.Event()

        def turn() -> None:
            while not stop.is_set():
                for what in ("real", "link"):
                    os.rename(self.base / what, root / "a")
                    os.rename(root / "a", self.base / what)

        turning = threading.Thread(target=turn, daemon=True)
        turning.start()
        seen = set()
        try:
            for _ in range(3000):
                try:
                    with self.shelf.open("a/b.txt") as opened:
                        seen.add(opened.read(0, 100))
                except ShelfError as error:
                    self.assertEqual(error.code, "no-such-file")
        finally:
            stop.set()
            turning.join()
        self.assertLessEqual(seen, {b"shelf/a/b.txt"})


class AnythingByPath(Planted):
    """The same where the system opens by paths only."""

    hidden = True

    @given(NAMES)
    @example("a.txt")
    @example("deep/a/a.txt")
    @example("folder-out/b.txt")
    @example("a/out/b.txt")
    @example("deep/up/secret")
    @example("root/etc/passwd")
    @settings(deadline=None, max_examples=400)
    def test_never_outside(self, name: str) -> None:
        """Either no-such-file, or a file of the shelf."""
        self.look_for(name)

    def test_what_is_listed_opens(self) -> None:
        self.look_at_list()
