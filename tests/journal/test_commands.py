"""``pychat journal``, as its user sees it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pychat.journal.store import FILE_NAME, check, connect, open_journal

DAY_MS = 86_400_000


class CommandTests(SynchronousTestCase):
    """The real program on a journal of a hundred days, a message a day, that somebody has open."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / FILE_NAME
        self.daemon = open_journal(self.path)
        self.addCleanup(self.daemon.close)
        rows = [(n, n * DAY_MS, b"x" * 1000) for n in range(1, 101)]
        self.daemon.execute("BEGIN")
        self.daemon.executemany(
            "INSERT INTO message (id, time_ms, sender, sender_name, text) VALUES (?, ?, 1, 'a', ?)", rows
        )
        self.daemon.execute("COMMIT")

    def run_it(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pychat", "journal", *arguments],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def test_check(self) -> None:
        """A sound journal is told with what it holds."""
        status, out, err = self.run_it("check", "--state", str(self.folder))
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out,
            f"{self.path} is sound: 100 messages from 1970-01-02 to 1970-04-11\nIdentities that can come back: 0\n"
            "Index: there is no index yet: the daemon makes it\n",
        )

    def test_check_damaged(self) -> None:
        """A damaged one is told with what is wrong, and status 1."""
        self.daemon.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.daemon.close()
        content = bytearray(self.path.read_bytes())
        content[5 * 4096 : 6 * 4096] = b"\xa5" * 4096
        self.path.write_bytes(content)
        status, out, err = self.run_it("check", "--state", str(self.folder))
        self.assertEqual((status, out), (1, ""))
        self.assertIn(f"{self.path} is damaged", err)
        self.assertGreater(len(err.splitlines()), 1)

    def test_nonsense(self) -> None:
        """One is not told of as several are."""
        for id, several in ((1, "1 stay in a room is ahead"), (2, "2 stays in rooms are ahead")):
            self.daemon.execute("INSERT INTO stay (identity, room, joined) VALUES (?, 1, 1000)", (id,))
            self.assertIn(several, "\n".join(check(self.path)))
        self.daemon.execute("DELETE FROM stay")
        for id, several in (
            (1, None), (2, "1 token stands for more than one"), (3, None), (4, "2 tokens stand for more than one"),
        ):  # fmt: skip
            self.daemon.execute(
                "INSERT INTO identity "
                "(id, name, joined, sent, acked, read, plain, resumes, bot, token, spare, time_ms) "
                "VALUES (?, 'a', 0, 0, 0, 0, 0, 1, 0, ?, x'', 0)",
                (id, b"abc" if id < 3 else b"def"),
            )
            if several is not None:
                self.assertIn(several, "\n".join(check(self.path)))

    def test_broken_runs(self) -> None:
        """Runs of messages that cannot be what they say are told."""
        insert = "INSERT INTO run VALUES (?, ?, 1, 1, 'a', ?)"
        self.daemon.execute(insert, (202, 201, '["one", "two"]'))
        self.assertEqual(check(self.path), [])
        for row, wrong in (
            ((212, 211, '["one"]'), "1 run of messages has not as many texts as ids"),
            ((222, 221, "no JSON"), "2 runs of messages have not as many texts as ids"),
            ((232, 231, '["one", null]'), "3 runs of messages have not as many texts as ids"),
            ((203, 202, '["two", "three"]'), "1 run of messages has ids that other messages have, too"),
            ((101, 100, '["one", "two"]'), "2 runs of messages have ids that other messages have, too"),
        ):
            self.daemon.execute(insert, row)
            self.assertIn(wrong, check(self.path))
        for row in ((300, 300, '["one"]'), (364, 300, json.dumps(["x"] * 65))):
            self.assertRaises(sqlite3.IntegrityError, self.daemon.execute, insert, row)

    def test_check_a_copy(self) -> None:
        """A copy is looked over by itself, wherever it lies; what is made or pruned is in a folder."""
        _, copy, _ = self.run_it("backup", "--state", str(self.folder))
        copy = copy.strip()
        before = sorted(path.name for path in self.folder.iterdir())
        status, out, err = self.run_it("check", "--state", copy)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out,
            f"{copy} is sound: 100 messages from 1970-01-02 to 1970-04-11\nIdentities that can come back: 0\n",
        )
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), before)
        for words in (("backup",), ("prune", "--keep", "1d")):
            status, out, err = self.run_it(*words, "--state", copy)
            self.assertEqual((status, out), (1, ""))
            self.assertIn("is a file: name the daemon's folder with --state", err)
        Path(copy).write_bytes(b"x" * 5000)
        status, out, err = self.run_it("check", "--state", copy)
        self.assertEqual((status, out), (1, ""))
        self.assertIn(f"{copy} is damaged", err)

    def test_no_folder(self) -> None:
        """A folder that cannot be looked into is one line, too."""
        status, out, err = self.run_it("check", "--state", "x" * 300)
        self.assertEqual((status, out, len(err.splitlines())), (1, "", 1))
        self.assertIn("Cannot look into x", err)

    def test_no_journal(self) -> None:
        """Where there is none, it says where it looked."""
        status, out, err = self.run_it("check", "--state", str(self.folder / "none"))
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(len(err.splitlines()), 1)
        self.assertIn("--state", err)
        self.assertFalse((self.folder / "none").exists())

    def test_backup(self) -> None:
        """A copy appears under its name or one with the time, is sound, and nothing is overwritten."""
        copy = self.folder / "copy.sqlite3"
        status, out, err = self.run_it("backup", "--state", str(self.folder), str(copy))
        self.assertEqual((status, out, err), (0, f"{copy}\n", ""))
        with closing(connect(copy, read_only=True)) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM message").fetchone(), (100,))
        status, out, err = self.run_it("backup", "--state", str(self.folder), str(copy))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("is there already", err)
        status, out, err = self.run_it("backup", "--state", str(self.folder))
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(Path(out.strip()).name.startswith(f"{FILE_NAME}."))

    def test_prune(self) -> None:
        """What is too old goes, the newest message stays, and the other one who has it open sees it at once."""
        status, out, err = self.run_it("prune", "--state", str(self.folder), "--keep", "1d")
        self.assertEqual((status, out, err), (0, "99 messages deleted\n", ""))
        self.assertEqual(self.daemon.execute("SELECT id FROM message").fetchall(), [(100,)])
        _, out, _ = self.run_it("check", "--state", str(self.folder))
        self.assertIn(f"{self.path} is sound: 1 message from 1970-04-11", out)

    def test_prune_needs_a_bound(self) -> None:
        """Without a bound, or with one that is none, nothing is deleted."""
        for arguments in ((), ("--keep", "soon"), ("--keep-bytes", "-1"), ("--keep-bytes", "1")):
            status, _, err = self.run_it("prune", "--state", str(self.folder), *arguments)
            self.assertEqual(status, 2)
            self.assertIn("pychat journal prune", err)
        self.assertEqual(self.daemon.execute("SELECT count(*) FROM message").fetchone(), (100,))
