"""Large files are freed bit by bit, and nobody loses a byte by that."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock, skipUnless

from blake3 import blake3
from twisted.trial.unittest import SynchronousTestCase

from pychat import freeing
from pychat.incoming import FOLDER, Bounds, Incoming
from pychat.part import PartFile
from pychat.shelf import Shelf

from .system.programs import until

STEP = 4096
CONTENT = bytes(range(256)) * 64
"""Four steps of it."""

PATIENCE = 8.0
"""Seconds that it may take."""

READ = """
import sys
with open(sys.argv[1], "rb") as file:
    print(flush=True)
    sys.stdin.read()
    sys.stdout.buffer.write(file.read())
"""
"""Opens a file, says so, and reads it when there is nothing more to hear."""

MAP = """
import mmap, os, sys
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
os.closerange(3, 100)  # mmap has a descriptor of its own
print(flush=True)
sys.stdin.read()
sys.stdout.buffer.write(mapped)
sys.stdout.flush()
os._exit(0)
"""
"""The same with what it has mapped, and no descriptor."""


def works() -> bool:
    """Whether this system has leases and scraps, and so has the file system of its temporary files."""
    with tempfile.TemporaryFile() as file:
        return freeing.mounted(file.fileno())[0] in (*freeing.KINDS, b"tmpfs")


WORKS = works()


def opened_elsewhere(path: str, program: str = READ) -> subprocess.Popen[bytes]:
    """Another process opens it."""
    command = (sys.executable, "-c", program, path)
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


class Case(SynchronousTestCase):
    """A folder, where four steps are a large file."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.path = self.folder / "file"
        self.discards = True
        self.patch(freeing, "discards", lambda descriptor: self.discards)
        self.patch(freeing, "LARGE", 4 * STEP)
        self.patch(freeing, "STEP", STEP)
        self.patch(freeing, "PATIENCE", PATIENCE * 1e9 / len(CONTENT))
        sync = mock.patch.object(os, "fsync", wraps=os.fsync)
        cut = mock.patch.object(os, "ftruncate", wraps=os.ftruncate)
        self.sync, self.cut = sync.start(), cut.start()
        self.addCleanup(mock.patch.stopall)

    def cuts(self) -> list[int]:
        """To which sizes something was cut."""
        return [call.args[1] for call in self.cut.call_args_list]

    def hold(self) -> freeing.Held:
        self.path.write_bytes(CONTENT)
        held = freeing.hold(str(self.path))
        assert held is not None
        return held


@skipUnless(WORKS, "needs leases on files")
class HeldTests(Case):
    """`hold` and `Held.free`."""

    def setUp(self) -> None:
        super().setUp()
        before = os.listdir("/proc/self/fd")
        self.addCleanup(lambda: self.assertEqual(os.listdir("/proc/self/fd"), before))

    def test_step_by_step(self) -> None:
        """Nobody has it any more: it is cut down, and each step is synced before the next."""
        held = self.hold()
        self.path.unlink()
        synced: list[int] = []
        held.free(lambda: float(synced.append(self.sync.call_count) or 0))
        self.assertEqual(self.cuts(), [3 * STEP, 2 * STEP, STEP, 0])
        self.assertEqual(synced, [0, 1, 2, 3, 4])
        self.assertEqual(os.listdir(self.folder), [])

    def test_patience(self) -> None:
        """On a slow disk the steps are as large as they have to be; and what is left in the end is freed at once."""
        for moments, cuts in (
            ((0.0, 0.2, 0.4, 0.6, 0.8), [3 * STEP, 2 * STEP, STEP, 0]),
            ((0.0, 0.4, 0.8, 0.9), [3 * STEP, STEP, 0]),
            ((0.0, 0.5, 0.9), [3 * STEP, 0]),
            ((0.0, 0.25, 1.0), [3 * STEP, 2 * STEP]),
            ((0.0, 1.0), [3 * STEP]),
        ):
            held = self.hold()
            self.path.unlink()
            self.cut.reset_mock()
            clock = iter(moments)
            held.free(lambda clock=clock: 7.0 + PATIENCE * next(clock))
            self.assertEqual(self.cuts(), cuts)

    def test_limit(self) -> None:
        """Several have no more time together than one may have at most; each is closed, whatever time there is."""
        self.patch(freeing, "LIMIT", 1.0)
        clock = iter((0.0, 0.0, 0.0, 0.4, 0.6, 0.8, 1.0, 1.1, 1.1, 1.2))
        held = []
        for name in ("one", "two"):
            self.path = self.folder / name
            held.append(self.hold())
            self.path.unlink()
        self.cut.reset_mock()
        freeing.free_all(held, lambda: next(clock))
        self.assertEqual(self.cuts(), [3 * STEP, STEP, 0])
        self.assertEqual(next(clock), 1.1)

    def test_no_page_is_cut_through(self) -> None:
        """A part of a page that is on its way to somebody would be emptied."""
        self.path.write_bytes(CONTENT + b"and some")
        held = freeing.hold(str(self.path))
        assert held is not None
        self.path.unlink()
        held.free()
        self.assertEqual(self.cuts(), [3 * STEP, 2 * STEP, STEP, 0])

    def test_holes(self) -> None:
        """What it takes on the disk is what it is given time for."""
        with self.path.open("wb") as file:
            file.seek(1000 * STEP)
            file.write(CONTENT)
        held = freeing.hold(str(self.path))
        assert held is not None
        self.path.unlink()
        clock = iter((0.0, PATIENCE))
        held.free(lambda: next(clock))
        self.assertEqual(self.cuts(), [1003 * STEP])

    def test_replaced(self) -> None:
        """It loses its name to another file, which is not touched."""
        held = self.hold()
        fresh = self.folder / "fresh"
        fresh.write_bytes(CONTENT)
        fresh.replace(self.path)
        held.free()
        self.assertEqual(self.cuts()[-1], 0)
        self.assertEqual(self.path.read_bytes(), CONTENT)

    def test_it_has_a_name(self) -> None:
        """It did not lose its name after all, or somebody gave it another one in between."""
        self.hold().free()
        self.assertEqual(self.path.read_bytes(), CONTENT)
        held = self.hold()
        self.path.rename(self.folder / "elsewhere")
        held.free()
        self.assertEqual((self.folder / "elsewhere").read_bytes(), CONTENT)
        self.assertEqual(self.cuts(), [])

    def test_hard_link(self) -> None:
        """It has two names: it is not even opened; or it is left alone, if it got the other one in between."""
        held = self.hold()
        os.link(self.path, self.folder / "other")
        self.assertIsNone(freeing.hold(str(self.path)))
        self.path.unlink()
        held.free()
        self.assertEqual(self.cuts(), [])
        self.assertEqual((self.folder / "other").read_bytes(), CONTENT)

    def test_somebody_reads_it_here(self) -> None:
        """This process has it open, as the daemon has what it sends."""
        held = self.hold()
        with self.path.open("rb") as reader:
            self.path.unlink()
            held.free()
            self.assertEqual(reader.read(), CONTENT)
        self.assertEqual(self.cuts(), [])

    def test_somebody_has_it_elsewhere(self) -> None:
        """Another process has it open, or mapped without a descriptor."""
        for program in (READ, MAP):
            held = self.hold()
            with opened_elsewhere(str(self.path), program) as process:
                assert process.stdout is not None
                process.stdout.readline()
                self.path.unlink()
                held.free()
                self.assertEqual(self.cuts(), [])
                read, _ = process.communicate()
            self.assertTrue(read == CONTENT)

    def test_somebody_opens_it_meanwhile(self) -> None:
        """Without a name one still can, by /proc: then she gets it, and the signal for that does no harm."""
        self.path.write_bytes(CONTENT)
        descriptor = os.open(self.path, os.O_RDWR)
        self.addCleanup(os.close, descriptor)
        held = freeing.Held(os.dup(descriptor), str(self.folder))  # so it is open still when that is closed
        self.path.unlink()
        fcntl: Any = freeing._fcntl
        self.assertEqual(signal.getsignal(signal.SIGURG), signal.SIG_DFL)
        with opened_elsewhere(f"/proc/{os.getpid()}/fd/{descriptor}") as process:

            def clock() -> float:
                if len(self.cuts()) == 1:
                    until(lambda: fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != fcntl.F_WRLCK, "she waits")
                return 0.0

            held.free(clock)
            self.assertEqual(self.cuts(), [3 * STEP])
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), b"\n")
            read, _ = process.communicate()
        self.assertTrue(read == CONTENT[: 3 * STEP])

    def test_not_worth_it(self) -> None:
        """What is small, or sparse, or no file, or not there, is not even opened; and a link is not followed."""
        self.path.write_bytes(CONTENT[:STEP])
        with (self.folder / "sparse").open("wb") as file:
            file.truncate(100 * STEP)
        (self.folder / "large").write_bytes(CONTENT)
        (self.folder / "link").symlink_to(self.folder / "large")
        os.mkfifo(self.folder / "pipe")
        names = ("file", "sparse", "link", "pipe", "", "nothing")
        with mock.patch.object(os, "open", side_effect=AssertionError):
            for name in names:
                self.assertIsNone(freeing.hold(str(self.folder / name)), name)

    def test_it_cannot_be_opened(self) -> None:
        """Who may replace a file need not be allowed to write into it; or it runs as a program."""
        self.path.write_bytes(CONTENT)
        for error in (PermissionError(errno.EACCES, "no"), OSError(errno.ETXTBSY, "busy")):
            with mock.patch.object(os, "open", side_effect=error):
                self.assertIsNone(freeing.hold(str(self.path)))

    def test_nothing_is_discarded(self) -> None:
        """Where a file system just forgets a file, or does it gently by itself, it is left to that."""
        self.discards = False
        self.path.write_bytes(CONTENT)
        self.assertIsNone(freeing.hold(str(self.path)))
        with self.path.open("r+b") as file:
            freeing.empty(file.fileno(), str(self.folder))
        self.assertEqual(self.cuts(), [0])

    def test_no_scrap(self) -> None:
        """A file system without files that have no name: it is freed at once."""
        held = self.hold()
        self.path.unlink()
        with mock.patch.object(os, "O_TMPFILE", 0):
            held.free()
        self.assertEqual(self.cuts(), [])

    def test_the_disk_fails(self) -> None:
        """A sync that fails ends it, and no more than that."""
        held = self.hold()
        self.path.unlink()
        self.sync.side_effect = OSError(errno.EIO, "broken")
        held.free()
        self.assertEqual(self.cuts(), [3 * STEP])


class OtherSystemsTests(Case):
    """Where it cannot be."""

    def test_none(self) -> None:
        """Where there are no leases there is nothing to hold."""
        self.path.write_bytes(CONTENT)
        for fcntl in (None, SimpleNamespace(flock=None)):
            with mock.patch.object(freeing, "_fcntl", fcntl):
                self.assertIsNone(freeing.hold(str(self.path)))

    @skipUnless(WORKS, "needs leases on files")
    def test_refused(self) -> None:
        """A file system without, or a file of somebody else: it is freed at once."""
        for number in (errno.EINVAL, errno.EACCES, errno.EAGAIN):
            held = self.hold()
            self.path.unlink()
            refuses = SimpleNamespace(
                **vars(freeing._fcntl) | {"fcntl": mock.Mock(side_effect=OSError(number, "no"))}
            )
            with mock.patch.object(freeing, "_fcntl", refuses):
                held.free()
            self.assertEqual(self.cuts(), [])


class MountedTests(SynchronousTestCase):
    """`discards` and `mounted`."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.process = Path(temporary.name)
        (self.process / "fdinfo").mkdir()
        (self.process / "fdinfo" / "7").write_bytes(b"pos:\t0\nflags:\t0100001\nmnt_id:\t27\nino:\t5\n")

    def mount(self, lines: bytes) -> tuple[bytes, list[bytes]]:
        (self.process / "mountinfo").write_bytes(lines)
        return freeing.mounted(7, str(self.process))

    def test_found(self) -> None:
        """By the number of its mount; a name between may be of any bytes."""
        ours = b"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard,errors=remount-ro\n"
        lines = b"127 1 254:0 / /\xff rw - xfs /dev/a rw\n270 1 0:5 / /b rw - proc proc rw\n" + ours
        kind, options = self.mount(lines)
        self.assertEqual((kind, options), (b"ext4", [b"rw", b"discard", b"errors=remount-ro"]))

    def test_not_told(self) -> None:
        """Systems without, a mount that is not ours to see, and words that are unknown."""
        for lines in (b"", b"1 1 0:5 / / rw - ext4 a rw,discard\n", b"27\n", b"27 1 0:5 / / rw - ext4\n"):
            self.assertEqual(self.mount(lines), (b"", []))
        self.assertEqual(freeing.mounted(8, str(self.process)), (b"", []))
        (self.process / "fdinfo" / "7").write_bytes(b"pos:\t0\n")
        self.assertEqual(self.mount(b"27 1 0:5 / / rw - ext4 a rw,discard\n"), (b"", []))

    def test_discards(self) -> None:
        """Only what is known to free at once, if it is told to discard."""
        for kind, options, so in (
            (b"ext4", [b"rw", b"discard"], True),
            (b"xfs", [b"discard"], True),
            (b"ext4", [b"rw", b"nodiscard"], False),
            (b"overlay", [b"rw", b"discard"], False),
            (b"btrfs", [b"rw", b"discard=async"], False),
            (b"", [], False),
        ):
            with mock.patch.object(freeing, "mounted", lambda descriptor, said=(kind, options): said):
                self.assertEqual(freeing.discards(7), so, kind)


class UseTests(Case):
    """Where files lose their names."""

    def get(self, version: str = "") -> PartFile:
        part = PartFile(str(self.path), len(CONTENT), version, overwrite=True)
        self.addCleanup(part.discard)
        part.open()
        part.write([(0, [CONTENT])])
        return part

    @skipUnless(WORKS, "needs leases on files")
    def test_replaced(self) -> None:
        """What a download replaces is freed when all is done for that, and the new file is whole."""
        self.path.write_bytes(b"o" * len(CONTENT))
        part = self.get("v1")
        part.finish(blake3(blake3(CONTENT).digest()).digest())
        self.assertEqual(self.cuts(), [])
        part.keep()
        self.assertEqual(self.cuts(), [3 * STEP, 2 * STEP, STEP, 0])
        part.keep()
        self.assertEqual(len(self.cuts()), 4)
        self.assertEqual(self.path.read_bytes(), CONTENT)
        self.assertEqual(os.listdir(self.folder), ["file"])

    def test_replaced_while_it_is_read(self) -> None:
        """Who reads what was there goes on to its end."""
        self.path.write_bytes(b"o" * len(CONTENT))
        with self.path.open("rb") as reader:
            part = self.get()
            part.finish(blake3(blake3(CONTENT).digest()).digest())
            part.keep()
            self.assertEqual(reader.read(), b"o" * len(CONTENT))

    def test_discarded(self) -> None:
        """A ``.part`` that is worth nothing goes bit by bit where that can be, and goes in any case."""
        self.get().discard()
        self.assertEqual(self.cuts()[-1], 0)
        if WORKS:
            self.assertEqual(self.cuts(), [3 * STEP, 2 * STEP, STEP, 0, 0])
        self.assertEqual(os.listdir(self.folder), [])

    def test_left_over(self) -> None:
        """So does one that nobody can go on with."""
        self.get("v1").keep()
        part = PartFile(str(self.path), 5, "v2")
        self.addCleanup(part.discard)
        self.assertEqual(part.open(), [])
        self.assertEqual(self.cuts()[-1], 0)
        if WORKS:
            self.assertEqual(len(self.cuts()), 5)

    @skipUnless(WORKS, "needs leases on files")
    def test_uploads_that_broke_off(self) -> None:
        """The daemon removes them with its uploads locked, and frees them when others may come in."""
        now = 1e9
        incoming = Incoming(
            Shelf(self.folder), Bounds(keep=60), wall_clock=lambda: now, space=lambda path: (1 << 40, 1 << 40)
        )
        upload = incoming.begin("a", len(CONTENT), "v1", "=bob")
        part = incoming.part(upload)
        part.open()
        part.write([(0, [CONTENT])])
        part.keep()
        incoming.end(upload, keep=True)
        now = 4e9

        def cut_it(descriptor: int, size: int) -> Any:
            other = threading.Thread(target=incoming.begin, args=(f"at {size}", 1, "v1", "=eve"), daemon=True)
            other.start()
            other.join(20)
            self.assertFalse(other.is_alive())
            return mock.DEFAULT

        self.cut.side_effect = cut_it
        self.assertEqual(incoming.sweep(), [upload])
        self.assertEqual(self.cuts(), [3 * STEP, 2 * STEP, STEP, 0])
        self.assertFalse([name for name in os.listdir(self.folder / FOLDER) if name.endswith(".part")])
