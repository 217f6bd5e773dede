"""The journal's file: made, upgraded, looked over, checked, copied, kept to one daemon."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pychat.errors import JournalError
from pychat.journal import commands, store
from pychat.journal.index import Index, attach
from pychat.journal.store import (
    CACHE_KIB,
    FILE_NAME,
    INDEX_NAME,
    WRITER_CACHE_KIB,
    backup,
    check,
    connect,
    lock_folder,
    open_journal,
)

ROW = "INSERT INTO message (id, time_ms, sender, sender_name, text) VALUES (?, 1, 1, 'alice', ?)"


class StoreTests(SynchronousTestCase):
    """One folder, real files."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / FILE_NAME

    def fill(self, count: int = 100) -> None:
        with closing(open_journal(self.path)) as connection:
            connection.execute("BEGIN")
            connection.executemany(ROW, [(id, b"x" * 500) for id in range(1, count + 1)])
            connection.execute("COMMIT")

    def test_made(self) -> None:
        """A journal that is not there is made, and is sound, durable and of the newest version."""
        with closing(open_journal(self.path)) as connection:
            self.assertEqual(connection.execute("PRAGMA journal_mode").fetchone(), ("wal",))
            self.assertEqual(connection.execute("PRAGMA synchronous").fetchone(), (2,))
            self.assertEqual(connection.execute("PRAGMA user_version").fetchone(), (len(store.scripts()),))
        self.assertEqual(check(self.path), [])

    def test_small(self) -> None:
        """A connection keeps little of its files in memory: there are many, and the system has them as well."""
        self.fill(1)
        for read_only, durable, kept in (
            (True, True, CACHE_KIB),
            (False, False, CACHE_KIB),
            (False, True, WRITER_CACHE_KIB),
        ):
            with closing(connect(self.path, read_only=read_only, durable=durable)) as connection:
                attach(connection, self.path, "other")
                for name, expected in (("main", kept), ("other", CACHE_KIB)):
                    found = connection.execute(f"PRAGMA {name}.cache_size").fetchone()
                    self.assertEqual(found, (-expected,))

    def test_opened_again(self) -> None:
        """What was written is there when it is opened again."""
        self.fill(3)
        with closing(open_journal(self.path)) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM message").fetchone(), (3,))

    def test_upgraded(self) -> None:
        """An older file gets the scripts it lacks, after a copy of it was put beside it."""
        self.fill(3)
        scripts = store.scripts()
        for module in (store, commands):
            self.patch(module, "scripts", lambda: [*scripts, "ALTER TABLE message ADD COLUMN mood TEXT"])
        with closing(open_journal(self.path)) as connection:
            self.assertEqual(
                connection.execute("SELECT max(id), max(mood) FROM message").fetchone(), (3, None)
            )
        copy = self.path.with_name(f"{FILE_NAME}.before-{len(scripts) + 1}")
        sound, (told,) = commands.run_check(copy)
        self.assertTrue(sound)
        self.assertIn(f"of version {len(scripts)}: a daemon", told)
        with closing(sqlite3.connect(copy)) as connection:
            self.assertEqual(connection.execute("PRAGMA user_version").fetchone(), (len(scripts),))
            self.assertEqual(connection.execute("SELECT count(*) FROM message").fetchone(), (3,))

    def test_upgrade_fails_whole(self) -> None:
        """A script that fails leaves the file as it was."""
        self.fill(3)
        scripts = store.scripts()
        self.patch(store, "scripts", lambda: [*scripts, "CREATE TABLE mood (x); CREATE TABLE mood (x)"])
        self.assertRaises(JournalError, open_journal, self.path)
        self.patch(store, "scripts", lambda: scripts)
        with closing(open_journal(self.path)) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM message").fetchone(), (3,))

    def test_too_new(self) -> None:
        """A file of a newer version is not touched."""
        self.fill(1)
        with closing(connect(self.path)) as connection:
            connection.execute("PRAGMA user_version = 99")
        error = self.assertRaises(JournalError, open_journal, self.path)
        self.assertEqual(error.code, "journal-too-new")
        self.assertIn("newer", error.sentence)

    def test_damaged(self) -> None:
        """A damaged file is named, with the copy to restore, and is left as it is: never an empty one in its place."""
        self.fill()
        backup(self.path, self.folder / f"{FILE_NAME}.20260101T000000Z")
        for damage in (b"not a database" * 100, self.path.read_bytes()[:100] + b"\xff" * 5000):
            self.path.write_bytes(damage)
            error = self.assertRaises(JournalError, open_journal, self.path)
            self.assertEqual(error.code, "journal-damaged")
            self.assertIn(str(self.path), error.sentence)
            self.assertIn(f"{FILE_NAME}.20260101T000000Z", error.sentence)
            self.assertEqual(self.path.read_bytes(), damage)

    def test_emptied(self) -> None:
        """A journal with nothing in it is no new one where something beside it tells that there was one."""
        self.fill()
        with closing(Index(self.path)) as index:
            index.open()
        copy, beside = self.folder / f"{FILE_NAME}.20260101T000000Z", self.folder / INDEX_NAME
        backup(self.path, copy)
        kept = {path: path.read_bytes() for path in (copy, beside)}
        with closing(sqlite3.connect(self.folder / "blank")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        blank = (self.folder / "blank").read_bytes()
        self.assertGreater(len(blank), 0)
        kept[self.path.with_name(f"{FILE_NAME}-wal")] = b"x"
        for path in self.folder.iterdir():
            path.unlink()
        for trace, content in kept.items():
            trace.write_bytes(content)
            for nothing in (b"", blank):
                if nothing and trace.name.endswith("-wal"):
                    continue  # SQLite knows what to do with such a log
                self.path.write_bytes(nothing)
                error = self.assertRaises(JournalError, open_journal, self.path)
                self.assertEqual(error.code, "journal-damaged")
                self.assertIn(trace.name, error.sentence)
                self.assertIn("To begin anew", error.sentence)
                self.assertIn(f"copy {copy} over" if trace == copy else "from a backup", error.sentence)
                self.assertEqual((self.path.read_bytes(), trace.read_bytes()), (nothing, content))
            trace.unlink()
            self.path.unlink()

    def test_not_begun(self) -> None:
        """One that a start made, and did not get to fill, is gone on with; so is none beside an index."""
        self.path.touch()
        open_journal(self.path).close()
        self.assertEqual(check(self.path), [])
        self.path.unlink()
        (self.folder / INDEX_NAME).write_bytes(b"x")
        open_journal(self.path).close()
        self.assertEqual(check(self.path), [])

    def test_damaged_without_a_copy(self) -> None:
        """Where there is no copy, nothing is made up."""
        self.path.write_bytes(b"not a database" * 100)
        error = self.assertRaises(JournalError, open_journal, self.path)
        self.assertIn("from a backup", error.sentence)

    def test_check_finds_damage_inside(self) -> None:
        """The full check reads everything, also what the look at the start does not."""
        self.fill(2000)
        content = bytearray(self.path.read_bytes())
        middle = len(content) // 2 // 4096 * 4096
        content[middle : middle + 4096] = b"\xa5" * 4096
        self.path.write_bytes(content)
        open_journal(self.path).close()
        self.assertNotEqual(check(self.path), [])

    def test_check_what_is_none(self) -> None:
        """A file that is not there, is no database, or no journal, or one of a later version is not sound."""
        self.assertNotEqual(check(self.path), [])
        self.path.write_bytes(b"x" * 5000)
        self.assertNotEqual(check(self.path), [])
        self.path.unlink()
        sqlite3.connect(self.path).execute("CREATE TABLE x (y)").connection.close()
        self.assertIn("version is 0", check(self.path)[0])
        self.path.unlink()
        with closing(open_journal(self.path)) as connection:
            connection.execute("PRAGMA user_version = 99")
        self.assertIn("newer", check(self.path)[0])

    def test_backup(self) -> None:
        """A copy made while the journal is in use is sound and has all that was committed."""
        self.fill()
        with closing(open_journal(self.path)) as connection:
            connection.execute(ROW, (101, b"late"))
            connection.execute("BEGIN")
            connection.execute(ROW, (102, b"not yet"))
            copy = self.folder / "copy.sqlite3"
            backup(self.path, copy)
            connection.execute("ROLLBACK")
        self.assertEqual(check(copy), [])
        with closing(sqlite3.connect(copy)) as connection:
            self.assertEqual(connection.execute("SELECT max(id) FROM message").fetchone(), (101,))

    def test_backup_fails(self) -> None:
        """A copy that cannot be made is an error, and leaves no half one behind."""
        self.fill()
        error = self.assertRaises(JournalError, backup, self.path, self.folder / "absent" / "copy")
        self.assertEqual(error.code, "backup-failed")
        self.assertRaises(JournalError, backup, self.folder / "none", self.folder / "copy")
        self.assertEqual(list(self.folder.glob("copy*")), [])

    def test_one_daemon(self) -> None:
        """A folder has one daemon at a time; when it is gone the next one may."""
        lock = lock_folder(self.folder)
        error = self.assertRaises(JournalError, lock_folder, self.folder)
        self.assertEqual(error.code, "journal-in-use")
        self.assertIn("--state", error.sentence)
        lock.close()
        lock_folder(self.folder).close()

    def test_no_room_for_a_file(self) -> None:
        """A path that cannot be a journal is an error that says so."""
        self.path.mkdir()
        error = self.assertRaises(JournalError, open_journal, self.path)
        self.assertEqual(error.code, "journal-unavailable")

    def test_backup_name(self) -> None:
        """A backup is named after the moment at which it was made."""
        self.assertEqual(store.backup_name(self.path, 0).name, f"{FILE_NAME}.19700101T000000Z")
