"""The durable journal: what is appended is there, in order, whatever happens in between."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from pychat.errors import JournalError
from pychat.journal import reader, sqlite
from pychat.journal.prune import Retention
from pychat.journal.sqlite import SqliteJournal
from pychat.journal.store import FILE_NAME, check, connect
from pychat.vocabulary import Entry, Kind

from . import journalkit
from .journalkit import NOON_MS

ROWS = "SELECT id, time_ms, sender, sender_name, recipient, recipient_name, once, text FROM entry ORDER BY id"


def entry(number: int, text: bytes = b"hi", time_ms: int = NOON_MS) -> Entry:
    return Entry(
        time_ms, 1, "alice", 2 if number % 2 else None, "bob" if number % 2 else None, text, b"k%d" % number
    )


class Case(journalkit.Case):
    """A durable journal, and what is in its file."""

    def append(self, journal: SqliteJournal, *numbers: int, **keys: Any) -> list[int]:
        return list(self.reactor.wait(journal.append([entry(number, **keys) for number in numbers])))

    def rows(self, path: Path | None = None) -> list[tuple[Any, ...]]:
        with closing(connect(path or self.folder / FILE_NAME)) as connection:
            return connection.execute(ROWS).fetchall()


class Keeping(Case):
    """The plain way."""

    def test_append(self) -> None:
        """Entries get rising ids and are in the file as they were given."""
        journal = self.open()
        self.assertTrue(journal.durable)
        self.assertEqual(self.append(journal, 0, 1), [1, 2])
        self.assertEqual(self.append(journal, 2), [3])
        self.assertEqual(self.append(journal), [])
        self.assertEqual(journal.last_id, 3)
        self.assertEqual(
            self.rows()[:2],
            [
                (1, NOON_MS, 1, "alice", None, None, b"k0", b"hi"),
                (2, NOON_MS, 1, "alice", 2, "bob", b"k1", b"hi"),
            ],
        )
        self.close(journal)

    def test_more_than_a_text(self) -> None:
        """Whatever a message has besides its text is kept, also when nothing else of its batch has the like."""
        journal = self.open()
        given = [
            journalkit.message(ref=7), journalkit.message(kind=Kind.REACT), journalkit.message(1, 2, blocked=True),
        ]  # fmt: skip
        for one in given:
            self.reactor.wait(journal.append([journalkit.message(), one]))
        kept = self.reactor.wait(journal.look_up([2, 4, 6]))
        self.assertEqual([each.entry for each in kept], given)
        self.close(journal)

    def test_runs(self) -> None:
        """What somebody says in a lot is a row for every 64 of them; whoever reads has each message by itself."""
        journal = self.open()
        said = [b"text %d" % number for number in range(64)]
        odd = [b'say "hi"', b"back\\slash", b'","', b"[1]", b"", "ü😀\u00e9".encode(), b"\\u0041", b"null"]
        given = [*odd, *said, *said, b"the last"]
        rest = journalkit.texts(b"alone", sender=2)
        ids = self.reactor.wait(
            journal.append([journalkit.texts(*given), rest, journalkit.message(text=b"tab\t")])
        )
        self.assertEqual(list(ids), [*range(1, 140)])
        self.assertEqual(journal.last_id, 139)
        with closing(connect(self.folder / FILE_NAME, read_only=True)) as connection:
            runs = connection.execute("SELECT first, last FROM run ORDER BY last").fetchall()
            self.assertEqual(runs, [(1, 64), (65, 128), (129, 137)])
            self.assertEqual(connection.execute("SELECT id FROM message").fetchall(), [(138,), (139,)])
        self.close(journal)
        journal = self.open()
        self.assertEqual((journal.last_id, journal.oldest), (139, 1))
        expected = [journalkit.message(text=text) for text in given]
        expected += [journalkit.message(2, text=b"alone"), journalkit.message(text=b"tab\t")]
        page = self.reactor.wait(journal.read(1, 0, 999))
        self.assertEqual(list(page.messages), list(enumerate(expected, 1)))
        kept = self.reactor.wait(journal.look_up([3, 64, 65, 64, 137, 138, 999]))
        self.assertEqual(
            [(each.id, each.entry) for each in kept], [(id, expected[id - 1]) for id in (3, 64, 65, 137, 138)]
        )
        self.assertEqual(
            list(self.reactor.wait(journal.append([journalkit.texts(b"on", b"on")]))), [140, 141]
        )
        self.close(journal)
        self.assertEqual(check(self.folder / FILE_NAME), [])

    def test_one_append_at_a_time(self) -> None:
        """Whoever does not wait is refused, and nothing is kept of what she gave; nor of what cannot be kept at all."""
        journal = self.open()
        first = journal.append([journalkit.texts(b"a", b"b", b"c")])
        second = journal.append([journalkit.texts(b"d", b"e")])
        self.assertEqual(list(self.reactor.wait(first)), [1, 2, 3])
        self.assertRaises(RuntimeError, self.reactor.wait, second)
        self.assertRaises(
            UnicodeDecodeError, self.reactor.wait, journal.append([journalkit.texts(b"\xff", b"x")])
        )
        too_much = journalkit.message(sender=1 << 63)
        self.assertRaises(OverflowError, self.reactor.wait, journal.append([too_much]))
        self.assertEqual(list(self.reactor.wait(journal.append([journalkit.message()]))), [4])
        self.assertEqual([row[0] for row in self.rows()], [1, 2, 3, 4])
        self.close(journal)

    def test_keys_behind_runs(self) -> None:
        """A key is found though there is nothing but runs between it and the end."""
        self.patch(reader, "KEYS_WINDOW", 4)
        journal = self.open()
        self.reactor.wait(journal.append([journalkit.message(once=b"k"), journalkit.texts(*[b"x"] * 20)]))
        keys, before = self.reactor.wait(journal.keys(NOON_MS, [1], None))
        while before is not None:
            more, before = self.reactor.wait(journal.keys(NOON_MS, [1], before))
            keys += more
        self.assertEqual([key.id for key in keys], [1])
        self.close(journal)

    def test_restart(self) -> None:
        """Ids go on after a restart, also when the clock was set back; identities of two runs never meet."""
        journal = self.open()
        self.append(journal, 0, 1)
        first = journal.last_identity
        self.close(journal)
        journal = SqliteJournal(self.reactor, self.folder, NOON_MS - 3_600_000)
        self.assertEqual(journal.last_id, 2)
        self.assertGreater(journal.last_identity, first + 10**9)
        self.assertEqual(self.append(journal, 2, time_ms=NOON_MS - 3_600_000), [3])
        self.close(journal)

    def test_one_at_a_time(self) -> None:
        """A second daemon on the same folder is refused, and changes nothing."""
        journal = self.open()
        self.assertEqual(self.assertRaises(JournalError, self.open).code, "journal-in-use")
        self.append(journal, 0)
        self.close(journal)
        self.close(self.open())

    def test_pruned_to_the_last(self) -> None:
        """When everything is past its age the newest message stays: ids go on behind it."""
        journal = self.open()
        self.append(journal, *range(2500))
        counts = []
        while not counts or counts[-1]:
            counts.append(self.reactor.wait(journal.prune(Retention(seconds=60), NOON_MS + 3_600_000)))
        self.assertEqual(counts, [1000, 1000, 499, 0])
        self.assertEqual([row[0] for row in self.rows()], [2500])
        self.close(journal)
        journal = self.open()
        self.assertEqual(self.append(journal, 0), [2501])
        self.close(journal)

    def test_pruned_by_age(self) -> None:
        """Only what is older than the bound goes."""
        journal = self.open()
        self.append(journal, 0, 1, time_ms=NOON_MS)
        self.append(journal, 2, 3, time_ms=NOON_MS + 60_000)
        self.assertEqual(self.reactor.wait(journal.prune(Retention(seconds=60), NOON_MS + 60_001)), 2)
        self.assertEqual(self.reactor.wait(journal.prune(Retention(), NOON_MS + 10**9)), 0)
        self.assertEqual([row[0] for row in self.rows()], [3, 4])
        self.close(journal)

    def test_pruned_by_size(self) -> None:
        """The oldest go until the rest is below the bound, and no further."""
        journal = self.open()
        for _ in range(5):
            self.append(journal, *range(1000), text=b"x" * 1000)
        retention = Retention(bytes=3_000_000)
        counts = []
        while not counts or counts[-1]:
            counts.append(self.reactor.wait(journal.prune(retention, NOON_MS)))
        left = [row[0] for row in self.rows()]
        self.assertEqual(left[-1], 5000)
        self.assertTrue(2000 <= len(left) <= 3000, len(left))
        self.close(journal)


class Faults(Case):
    """Disks that are full, read-only or broken."""

    def spoil(self, journal: SqliteJournal, pragma: str) -> None:
        """Every connection that is made from now on is like this; and the present one is dropped."""

        def spoiled(path: Path) -> sqlite3.Connection:
            connection = connect(path)
            connection.execute(pragma)
            return connection

        self.patch(sqlite, "connect", spoiled)
        self.reactor.wait(journal._writer.do(journal._handle.drop))

    def refuses_then_heals(self, pragma: str, text: bytes) -> None:
        journal = self.open()
        self.append(journal, 0)
        self.spoil(journal, pragma)
        for _ in range(3):
            with self.assertRaises(JournalError) as caught:
                self.append(journal, *range(50), text=text)
            self.assertEqual(caught.exception.code, "journal-unavailable")
        self.assertEqual([row[0] for row in self.rows()], [1])
        self.patch(sqlite, "connect", connect)
        self.assertEqual(self.append(journal, 1, 2), [2, 3])
        self.close(journal)
        self.assertEqual([row[0] for row in self.rows()], [1, 2, 3])
        self.assertEqual(check(self.folder / FILE_NAME), [])

    def test_disk_full(self) -> None:
        """Nothing of a batch is kept when the disk is full; when there is room again it goes on by itself."""
        self.refuses_then_heals("PRAGMA max_page_count = 8", b"x" * 4000)

    def test_read_only(self) -> None:
        """The same when the file has become read-only."""
        self.refuses_then_heals("PRAGMA query_only = 1", b"hi")

    def test_io_error_in_the_commit(self) -> None:
        """An I/O error at the worst moment refuses the batch whole."""
        journal = self.open()
        self.append(journal, 0, 1)

        class Broken(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql == "COMMIT":
                    raise sqlite3.OperationalError("disk I/O error")
                return super().execute(sql, *args)

        def broken(path: Path) -> sqlite3.Connection:
            return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Broken)

        self.patch(sqlite, "connect", broken)
        self.reactor.wait(journal._writer.do(journal._handle.drop))
        with self.assertRaises(JournalError):
            self.append(journal, 1, 2)
        self.assertEqual(self.reactor.wait(journal.prune(Retention(seconds=1), NOON_MS * 2)), 0)
        self.patch(sqlite, "connect", connect)
        self.assertEqual(self.append(journal, 1), [3])
        self.close(journal)
        self.assertEqual([row[0] for row in self.rows()], [1, 2, 3])

    def test_start_on_a_read_only_disk(self) -> None:
        """A journal that cannot be written at the start is one sentence."""
        self.close(self.open())
        open_journal = sqlite.open_journal

        def spoiled(path: Path) -> sqlite3.Connection:
            connection = open_journal(path)
            connection.execute("PRAGMA query_only = 1")
            return connection

        self.patch(sqlite, "open_journal", spoiled)
        error = self.assertRaises(JournalError, self.open)
        self.assertEqual(error.code, "journal-unavailable")
        self.patch(sqlite, "open_journal", open_journal)
        self.close(self.open())

    def test_log_cut_anywhere(self) -> None:
        """With the write-ahead log cut at any length the file opens, and what is left is a prefix without holes."""
        journal = self.open()
        copy = self.folder / "copy"
        copy.mkdir()
        for number in range(12):
            self.append(journal, number, number + 1, text=b"x" * 700)
        wal = (self.folder / f"{FILE_NAME}-wal").read_bytes()
        whole = self.rows()
        seen = set()
        for length in [*range(0, len(wal), 509), len(wal)]:
            shutil.copy(self.folder / FILE_NAME, copy / FILE_NAME)
            (copy / f"{FILE_NAME}-shm").unlink(missing_ok=True)
            (copy / f"{FILE_NAME}-wal").write_bytes(wal[:length])
            try:
                with closing(connect(copy / FILE_NAME)) as connection:
                    left = connection.execute(ROWS).fetchall()
            except sqlite3.OperationalError as error:
                # Cut before the schema itself was committed: there was nothing yet.
                self.assertIn("no such table", str(error))
                left = []
            self.assertEqual(left, whole[: len(left)])
            self.assertEqual(len(left) % 2, 0)
            seen.add(len(left))
        self.assertEqual(max(seen), 24)
        self.assertGreater(len(seen), 8)
        self.close(journal)
