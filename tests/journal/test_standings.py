"""How identities stand, on the disk: across restarts, crashes and upgrades, and while somebody writes."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pychat.errors import JournalError
from pychat.journal import reader, sqlite
from pychat.journal.store import FILE_NAME, check, connect

from .journalkit import NOON_MS, Case, message, standing


class Restarts(Case):
    """A daemon ends, in one way or another, and starts again."""

    def test_living(self) -> None:
        """Those who can come back are there at the start, as they were kept last."""
        journal = self.open()
        self.assertEqual(list(journal.living), [])
        self.reactor.wait(
            journal.append(
                [message(), message()], [standing(1), standing(2), standing(3), standing(4, bot=True)]
            )
        )
        self.reactor.wait(journal.append([], [standing(2, acked=2, spare=b"new"), standing(3, left=2)]))
        self.close(journal)
        journal = self.open()
        self.assertEqual(
            list(journal.living), [standing(1), standing(2, acked=2, spare=b"new"), standing(4, bot=True)]
        )
        self.close(journal)

    def test_those_who_cannot_come_back(self) -> None:
        """A restart ends them, if their daemon could not: they are owed nothing that is said later."""
        journal = self.open()
        plain = standing(1, plain=True, resumes=False, token=b"", sent=1)
        ended = replace(plain, id=2, left=1)
        self.reactor.wait(journal.append([message(), message()], [plain, ended, standing(3)]))
        self.close(journal)
        journal = self.open(NOON_MS + 5)
        self.assertEqual(
            self.reactor.wait(journal.standings([1, 2, 3])),
            [replace(plain, left=2, time_ms=NOON_MS + 5), ended, standing(3)],
        )
        self.assertEqual([each.id for each in self.reactor.wait(journal.owed(2))], [1, 3])
        self.reactor.wait(journal.append([message()]))
        self.assertEqual([each.id for each in self.reactor.wait(journal.owed(3))], [3])
        self.close(journal)

    def test_upgraded(self) -> None:
        """A file of the first version, with content, is upgraded at the start, after a copy of it was made."""
        self.folder.mkdir()
        path = self.folder / FILE_NAME
        with closing(connect(path)) as connection:
            script = (files("pychat.journal") / "schema" / "001.sql").read_text("utf-8")
            connection.executescript(f"{script}; PRAGMA user_version = 1")
            connection.execute("INSERT INTO start VALUES (7, 1)")
            connection.execute("INSERT INTO message VALUES (5, 1, 1, 'n1', 2, 'n2', x'6b', x'6869')")
        journal = self.open()
        self.assertEqual((journal.last_id, journal.last_identity, list(journal.living)), (5, 8 << 32, []))
        self.assertEqual(list(self.reactor.wait(journal.append([message()], [standing(8, acked=5)]))), [6])
        page = self.reactor.wait(journal.read(2, 0, 10))
        self.assertEqual(list(page.messages), [(5, message(1, 2, b"hi", b"k", 1)), (6, message())])
        self.assertEqual(page.oldest, 5)
        self.close(journal)
        self.assertEqual(check(path), [])
        with closing(connect(path.with_name(f"{FILE_NAME}.before-4"), read_only=True)) as copy:
            self.assertEqual(copy.execute("PRAGMA user_version").fetchone(), (1,))
            self.assertEqual(copy.execute("SELECT id FROM message").fetchall(), [(5,)])

    def test_power_loss(self) -> None:
        """With the write-ahead log cut at any length, messages and standings are of the same commit."""
        journal = self.open()
        for number in range(1, 13):
            self.reactor.wait(
                journal.append([message(text=b"x" * 700)], [standing(1, acked=number), standing(2)])
            )
        wal = (self.folder / f"{FILE_NAME}-wal").read_bytes()
        copy = self.folder / "copy"
        copy.mkdir()
        seen = set()
        for length in [*range(0, len(wal), 509), len(wal)]:
            shutil.copy(self.folder / FILE_NAME, copy / FILE_NAME)
            (copy / f"{FILE_NAME}-shm").unlink(missing_ok=True)
            (copy / f"{FILE_NAME}-wal").write_bytes(wal[:length])
            with closing(connect(copy / FILE_NAME)) as connection:
                if connection.execute("PRAGMA user_version").fetchone() != (4,):
                    continue
                (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM message").fetchone()
                acked = connection.execute("SELECT acked FROM identity WHERE id = 1").fetchall()
            self.assertEqual(acked, [(newest,)] if newest else [])
            seen.add(newest)
        self.assertEqual(max(seen), 12)
        self.assertGreater(len(seen), 8)
        self.close(journal)

    def test_error_in_the_commit(self) -> None:
        """A commit that fails keeps neither messages nor standings, wherever it fails."""
        journal = self.open()
        self.reactor.wait(journal.append([message()], [standing(1)]))
        for word in ("INSERT INTO message", "INSERT OR REPLACE INTO identity", "COMMIT"):
            self.patch(sqlite, "connect", broken_at(word))
            self.reactor.wait(journal._writer.do(journal._handle.drop))
            with self.assertRaises(JournalError):
                self.reactor.wait(journal.append([message()], [standing(1, acked=1), standing(2)]))
            self.patch(sqlite, "connect", connect)
            self.assertEqual(self.reactor.wait(journal.standings([1, 2])), [standing(1)])
            self.assertEqual(self.reactor.wait(journal.read(1, 0, 9)).upto, 1)
        self.reactor.wait(journal.append([message()], [standing(1, acked=1)]))
        self.assertEqual(self.reactor.wait(journal.standings([1])), [standing(1, acked=1)])
        self.close(journal)


def broken_at(word: str) -> Any:
    """A ``connect`` whose connections fail at a statement that begins with this."""

    class Broken(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql.startswith(word):
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *args)

        def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql.startswith(word):
                raise sqlite3.OperationalError("disk I/O error")
            return super().executemany(sql, *args)

    def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Broken)

    return connect


class Reading(Case):
    """What is read, while others write and when the disk does not give it."""

    def setUp(self) -> None:
        super().setUp()
        self.journal = self.open()
        self.addCleanup(lambda: self.close(self.journal))

    def keep(self, *messages: Any) -> None:
        self.reactor.wait(self.journal.append(messages))

    def unreadable(self) -> None:
        for asked in (
            self.journal.read(1, 0, 9), self.journal.standings([1]), self.journal.owed(1),
            self.journal.keys(NOON_MS, [1], None),
        ):  # fmt: skip
            with self.assertRaises(JournalError) as caught:
                self.reactor.wait(asked)
            self.assertEqual(caught.exception.code, "journal-unavailable")
            self.assertIn("could not be read", caught.exception.sentence)

    def test_while_a_commit_runs(self) -> None:
        """Nobody who reads waits for a commit, or sees what is not in it yet."""
        self.keep(message())
        with closing(connect(self.journal.path)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute(
                "INSERT INTO message (id, time_ms, sender, sender_name, text) "
                "SELECT 2, time_ms, 1, 'n1', 'x' FROM message"
            )
            self.assertEqual(self.reactor.wait(self.journal.read(1, 0, 9)).upto, 1)
            other.execute("ROLLBACK")

    def test_while_the_writer_cannot(self) -> None:
        """Reading goes on while the disk takes nothing."""
        self.keep(message())
        self.patch(sqlite, "connect", broken_at("BEGIN"))
        self.reactor.wait(self.journal._writer.do(self.journal._handle.drop))
        self.assertRaises(JournalError, self.keep, message())
        self.assertEqual(self.reactor.wait(self.journal.read(1, 0, 9)).upto, 1)

    def test_file_out_of_reach(self) -> None:
        """A file that cannot be opened is an error, and once it can be all is well."""
        self.keep(message())
        away = self.folder / "away"
        self.journal.path.rename(away)
        self.unreadable()
        away.rename(self.journal.path)
        self.assertEqual(self.reactor.wait(self.journal.read(1, 0, 9)).upto, 1)

    def test_error_in_the_middle(self) -> None:
        """After an error the file is opened afresh, and nobody else hears of it: messages are accepted meanwhile."""
        self.keep(message())
        self.patch(reader, "connect", broken_at("SELECT"))
        self.unreadable()
        self.keep(message())
        self.unreadable()
        self.patch(reader, "connect", connect)
        self.assertEqual(self.reactor.wait(self.journal.read(1, 0, 9)).upto, 2)

    def test_a_question_that_makes_no_sense(self) -> None:
        """An error of the caller's is his alone: the next one is answered."""
        self.keep(message())
        self.assertRaises(TypeError, self.reactor.wait, self.journal.standings([b"x"]))
        self.assertEqual(self.reactor.wait(self.journal.read(1, 0, 9)).upto, 1)

    def test_reads_nothing_but(self) -> None:
        """The reader's connection cannot write."""
        self.keep(message())
        made = []

        def noted(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
            made.append(connect(path, read_only=read_only))
            return made[-1]

        self.patch(reader, "connect", noted)
        self.reactor.wait(self.journal.read(1, 0, 9))
        self.assertEqual(len(made), 1)
        self.assertRaises(sqlite3.OperationalError, made[0].execute, "DELETE FROM message")

    def test_windows(self) -> None:
        """A look goes over a bounded stretch, also where there is nothing for who asks; what was pruned is skipped."""
        self.patch(reader, "WINDOW", 10)
        self.keep(*(message(1, 2) for _ in range(25)), message(1))
        pages = [self.reactor.wait(self.journal.read(3, after, 5)) for after in (0, 10, 20)]
        self.assertEqual([(len(page.messages), page.upto) for page in pages], [(0, 10), (0, 20), (1, 26)])
        with closing(connect(self.journal.path)) as other:
            other.execute("DELETE FROM message WHERE id < 18")
        page = self.reactor.wait(self.journal.read(1, 0, 50))
        self.assertEqual(
            ([id for id, _ in page.messages], page.upto, page.oldest), ([*range(18, 27)], 26, 18)
        )

    def test_oldest_of_none(self) -> None:
        """With all messages gone the oldest is the next that would be given."""
        self.keep(message(), message())
        with closing(connect(self.journal.path)) as other:
            other.execute("DELETE FROM message")
        self.assertEqual(self.reactor.wait(self.journal.read(1, 0, 9)).oldest, 1)

    def keys(self) -> list[int]:
        """The ids of all keys of somebody, stretch by stretch."""
        found: list[int] = []
        before = None
        while True:
            keys, before = self.reactor.wait(self.journal.keys(NOON_MS, [1], before))
            found += [key.id for key in keys]
            if before is None:
                return found

    def test_keys_come_in_stretches(self) -> None:
        """However many there are, none is left out and none comes twice."""
        self.patch(reader, "KEYS_WINDOW", 7)
        self.keep(*(message(1 + number % 2, once=b"k%d" % number) for number in range(40)))
        keys, before = self.reactor.wait(self.journal.keys(NOON_MS, [1], None))
        self.assertEqual(([key.id for key in keys], before), ([39, 37, 35], 34))
        self.assertEqual(self.keys(), [*range(39, 0, -2)])

    def test_keys_end_at_a_window_of_old(self) -> None:
        """The search ends where a whole window is older, and not before."""
        self.patch(reader, "KEYS_WINDOW", 4)
        old, new = NOON_MS - 1, NOON_MS + 1
        times = [new, *[old] * 8, new, old, old, *[new] * 3, old]
        self.keep(*(message(1, once=b"k%d" % number, time_ms=at) for number, at in enumerate(times)))
        self.assertEqual(self.keys(), [15, 14, 13, 10])

    def test_keys_of_a_pruned_journal(self) -> None:
        """What is gone is not looked for."""
        self.patch(reader, "KEYS_WINDOW", 3)
        self.keep(*(message(1, once=b"k%d" % number) for number in range(9)))
        with closing(connect(self.journal.path)) as other:
            other.execute("DELETE FROM message WHERE id < 5")
        self.assertEqual(self.keys(), [9, 8, 7, 6, 5])
