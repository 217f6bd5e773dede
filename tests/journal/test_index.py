"""The index beside the journal: behind it, gone, damaged, of another journal, and made again; nobody notices."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import SkipTest

from pychat.errors import JournalError
from pychat.journal import commands, index, indexing, rooms, search, unread
from pychat.journal.index import Index
from pychat.journal.indexing import CATCH_UP, LAG, QUIET, RETRY
from pychat.journal.prune import Retention
from pychat.journal.sqlite import SqliteJournal
from pychat.journal.store import FILE_NAME, INDEX_NAME, connect
from pychat.journal.unread import Count
from pychat.vocabulary import EVERYBODY, Kind, Place, Query, Unread

from . import journalkit
from .journalkit import DAY_MS, NOON_MS, message, standing

ROOM: Place = (-1, "")


class Case(journalkit.Case):
    """A journal that closes by itself, and what is said in it."""

    def setUp(self) -> None:
        super().setUp()
        self.journal = self.open()
        self.addCleanup(lambda: self.close(self.journal))

    def again(self) -> None:
        """A restart."""
        self.close(self.journal)
        self.journal = self.open()

    def keep(self, *entries: Any, standings: Any = ()) -> None:
        self.reactor.wait(self.journal.append(entries, standings))

    def settle(self) -> None:
        self.reactor.wait(self.journal._indexing.catch_up())

    @property
    def index(self) -> Index:
        return self.journal._indexing.index

    def indexed(self) -> int:
        """How far the file says that it has come."""
        with closing(connect(self.folder / INDEX_NAME, read_only=True)) as connection:
            upto: int = connection.execute("SELECT upto FROM state").fetchone()[0]
            return upto

    def spin(self, until: Any) -> None:
        """Take calls from threads until this is so."""
        while not until():
            function, args = self.reactor._calls.get(timeout=20)
            function(*args)

    def history(self, place: Place = EVERYBODY, **fields: Any) -> list[int]:
        asked = {"before": None, "after": None, "limit": 99, **fields}
        return [kept.id for kept in self.reactor.wait(self.journal.history(place, **asked)).messages]

    def search(self, words: str = "hi", *places: Place) -> list[int]:
        query = Query(words, places or (EVERYBODY,), limit=99)
        return [kept.id for kept in self.reactor.wait(self.journal.search(query)).messages]

    def unread(self) -> list[int]:
        return [
            each.count for each in self.reactor.wait(self.journal.unread(9, 0, [(EVERYBODY, 0)], frozenset()))
        ]

    def all_is_well(self, *ids: int) -> None:
        self.assertEqual(
            (self.history(), self.search(), self.unread()), ([*ids], [*ids[::-1]], [len(ids)] if ids else [])
        )


class Filling(Case):
    """When it takes in what was appended."""

    def test_after_a_moment_of_quiet(self) -> None:
        """A few messages wait until nobody says anything any more."""
        self.keep(message())
        self.reactor.advance(QUIET / 2)
        self.keep(message())
        self.reactor.advance(QUIET / 2)
        self.assertEqual(self.index.upto, 0)
        self.reactor.advance(QUIET)
        self.spin(lambda: self.index.upto == 2)
        self.assertEqual(self.indexed(), 2)
        self.reactor.advance(QUIET * 9)
        self.keep(message())
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_a_lot(self) -> None:
        """A lot waits only until it is seen that no more come at once, and is taken in slice by slice."""
        self.patch(indexing, "LOT", 10)
        self.patch(indexing, "CALM", 5)
        self.patch(index, "SLICE", 10)
        for _ in range(4):
            self.keep(*(message() for _ in range(6)))
            self.reactor.advance(QUIET * 0.9)
        self.assertEqual(self.index.upto, 0)  # too much is said
        self.keep(*(message() for _ in range(5)))
        self.reactor.advance(QUIET)
        self.spin(lambda: self.index.upto >= 20)

    def test_few_at_a_time(self) -> None:
        """Where something is always said, but little, it waits until that is a lot."""
        self.patch(indexing, "LOT", 10)
        for count in range(1, 10):
            self.keep(message())
            self.reactor.advance(QUIET * 0.9)
            self.assertEqual(self.index.upto, 0, count)
        self.keep(message())
        self.reactor.advance(QUIET * 0.9)
        self.spin(lambda: self.index.upto == 10)

    def test_too_far_behind(self) -> None:
        """However much is said, it is never further behind than a search can wait for."""
        self.patch(indexing, "LAG", 20)
        self.patch(index, "SLICE", 10)
        self.keep(*(message() for _ in range(35)))
        self.spin(lambda: self.index.upto >= 20)

    def test_a_search_does_not_wait_for_quiet(self) -> None:
        """What was said before a search is found, also where several slices are missing."""
        self.patch(index, "SLICE", 10)
        self.keep(*(message() for _ in range(35)))
        self.assertEqual(len(self.search()), 35)
        self.assertEqual(self.indexed(), 35)

    def test_a_search_does_not_wait_for_ever(self) -> None:
        """Where a great deal is missing a search finds what there is; history has all."""
        self.patch(indexing, "CATCH_UP", 10)
        self.keep(message())
        self.settle()
        self.keep(*(message() for _ in range(11)))
        self.assertEqual(self.search(), [1])
        self.assertEqual(self.history(), [*range(1, 13)])
        self.assertGreater(CATCH_UP, LAG)

    def test_what_changed_meanwhile(self) -> None:
        """A search that does not wait shows nothing that was taken back, and no text that was not searched."""
        self.keep(message(), message(), message())
        self.settle()
        self.patch(indexing, "CATCH_UP", 0)
        self.keep(message(kind=Kind.RETRACT, ref=1), message(text=b"new", kind=Kind.EDIT, ref=2))
        self.assertEqual((self.indexed(), self.search(), self.search("new")), (3, [3], []))

    def test_closed_while_it_waits(self) -> None:
        """A journal that closes leaves nothing waiting, and what is missing is taken in at the next start."""
        self.keep(message())
        self.again()
        self.assertEqual(self.indexed(), 0)
        self.all_is_well(1)
        self.assertEqual(self.indexed(), 1)
        pending = self.journal.search(Query("hi", [EVERYBODY]))
        self.keep(message())
        self.close(self.journal)
        self.assertEqual(len(self.reactor.wait(pending).messages), 1)
        self.assertRaises(JournalError, self.reactor.wait, self.journal.history(EVERYBODY, None, None, 9))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.journal = self.open()

    def test_no_room_on_the_disk(self) -> None:
        """While the index cannot be written messages are accepted and read, and later it takes them in."""
        self.keep(message())
        self.settle()

        def refused(path: Path, **keys: Any) -> sqlite3.Connection:
            raise sqlite3.OperationalError("disk full")

        self.patch(index, "connect", refused)
        self.reactor.wait(self.journal._indexing._worker.do(self.index.close))
        self.keep(message())
        self.assertEqual((self.history(), self.search(), self.unread()), ([1, 2], [1], [2]))
        self.patch(index, "connect", connect)
        self.reactor.advance(RETRY)
        self.spin(lambda: self.index.upto == 2)
        self.all_is_well(1, 2)

    def test_it_cannot_be_had(self) -> None:
        """Without any index there is a chat, with history; only a search is an error, and says so."""
        self.close(self.journal)
        (self.folder / INDEX_NAME).unlink()
        (self.folder / INDEX_NAME).mkdir()
        self.journal = self.open()
        self.keep(message(), message(1, 8))
        self.assertEqual((self.history(), self.history((8, "n1")), self.unread()), ([1], [2], [1]))
        with self.assertRaises(JournalError) as caught:
            self.search()
        self.assertEqual(caught.exception.code, "journal-unavailable")
        (self.folder / INDEX_NAME).rmdir()
        self.reactor.advance(RETRY)
        self.spin(lambda: self.index.upto == 2)
        self.all_is_well(1)


class Derived(Case):
    """Files that are not what they should be."""

    def setUp(self) -> None:
        super().setUp()
        self.keep(*(message() for _ in range(3)))
        self.settle()

    def spoil(self, table: str) -> None:
        """Overwrite the first page of a table."""
        with closing(connect(self.folder / INDEX_NAME)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (root,) = connection.execute(
                "SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)
            ).fetchone()
        with (self.folder / INDEX_NAME).open("r+b") as file:
            file.seek((root - 1) * 4096)
            file.write(b"\xa5" * 4096)

    def made_anew(self, *ids: int) -> None:
        """It is asked at once and gives all; then it is made, and gives the same."""
        self.assertEqual(self.index.upto, 0)
        self.assertEqual((self.history(), self.unread()), ([*ids], [len(ids)]))
        self.all_is_well(*ids)
        self.assertEqual(self.indexed(), self.journal.last_id)

    def test_kept(self) -> None:
        """One that belongs to the journal is gone on with."""
        self.again()
        self.assertEqual((self.index.upto, self.index.generation), (3, 0))
        self.all_is_well(1, 2, 3)

    def test_deleted(self) -> None:
        """Whoever deletes it loses nothing."""
        self.close(self.journal)
        for path in self.folder.glob(f"{INDEX_NAME}*"):
            path.unlink()
        self.journal = self.open()
        self.made_anew(1, 2, 3)

    def test_of_another_version(self) -> None:
        """One of another version is made anew."""
        self.close(self.journal)
        with closing(connect(self.folder / INDEX_NAME)) as connection:
            connection.execute("PRAGMA user_version = 99")
        self.journal = self.open()
        self.made_anew(1, 2, 3)

    def test_damaged_at_the_start(self) -> None:
        """One that is no database, or has no table that it should, is made anew."""
        for damage in (b"not a database" * 999, b""):
            self.close(self.journal)
            (self.folder / INDEX_NAME).write_bytes(damage)
            self.journal = self.open()
            self.made_anew(1, 2, 3)

    def test_damaged_while_it_is_used(self) -> None:
        """Whoever comes upon the damage gets her answer from the journal, and it is made anew."""
        for _ in range(3):
            self.keep(*(message() for _ in range(300)))
            self.settle()
        self.spoil("place")
        self.reactor.wait(self.journal._reader.do(self.journal._looks.drop))
        generation = self.index.generation
        self.assertEqual(len(self.history(limit=9999)), 903)
        self.spin(lambda: self.index.generation > generation and self.index.upto == 903)
        self.assertEqual((len(self.history(limit=9999)), self.unread()), (903, [903]))
        self.assertEqual(len(self.search()), 99)

    def test_words_damaged_while_they_are_used(self) -> None:
        """A search that comes upon damage is an error, and the next one is not."""
        self.spoil("words_data")
        self.reactor.wait(self.journal._searcher.do(self.journal._searches.drop))
        self.assertRaises(JournalError, self.search)
        self.spin(lambda: not self.index.damaged)
        self.all_is_well(1, 2, 3)

    def test_of_a_journal_that_went_back(self) -> None:
        """After an older copy of the journal was restored, nothing of what came after it is found."""
        commands.run_backup(self.folder, self.folder / "copy")
        for text, count in ((b"lost", 5), (b"hi", 5), (b"lost", 1)):
            self.keep(*(message(text=text) for _ in range(count)))
        self.settle()
        for more in (0, 20):
            self.close(self.journal)
            kept = self.folder / "index"
            shutil.copy(self.folder / INDEX_NAME, kept)
            for path in self.folder.glob(f"{FILE_NAME}*"):
                path.unlink()
            shutil.copy(self.folder / "copy", self.folder / FILE_NAME)
            if more:
                # The ids go on, and are above the watermark when the index comes back to it.
                (self.folder / INDEX_NAME).unlink()
                self.journal = self.open()
                self.keep(*(message() for _ in range(more)))
                self.close(self.journal)
                shutil.copy(kept, self.folder / INDEX_NAME)
            self.journal = self.open()
            self.assertEqual(self.search("lost"), [])
            self.all_is_well(*range(1, 4 + more))

    def test_of_a_journal_from_before(self) -> None:
        """One that is an older copy itself is gone on with."""
        self.close(self.journal)
        shutil.copy(self.folder / INDEX_NAME, self.folder / "index")
        self.journal = self.open()
        self.keep(message(), message(kind=Kind.RETRACT, ref=1))
        self.settle()
        self.close(self.journal)
        shutil.copy(self.folder / "index", self.folder / INDEX_NAME)
        self.journal = self.open()
        self.assertEqual((self.index.upto, self.search()), (3, [4, 3, 2]))

    def test_an_answer_in_the_middle_of_it(self) -> None:
        """Counts that began with one index and go on without it are right."""
        asked = self.journal.unread(9, 0, [(EVERYBODY, 0), (ROOM, 0)], frozenset())
        self.index.damaged = True
        self.assertEqual(self.reactor.wait(asked), [Unread(EVERYBODY, "", 3)])
        self.spin(lambda: not self.index.damaged)

    def test_counts_on_a_connection_that_was_dropped(self) -> None:
        """Counts go on with another connection if theirs was dropped, wherever they were; the index is sound."""
        for name, value in (("STEP", 5), ("LOOK", 10), ("PEERS", 2)):
            self.patch(unread, name, value)
        self.keep(*(message(7) for _ in range(40)), *(message(7, to) for to in [-1] * 30 + [9] * 20))
        self.keep(*(message(who, 9) for who in range(10, 20)))
        self.settle()
        generation, count, looks = self.index.generation, self.journal._looks.count, []

        def count_and_drop(counting: Count) -> Any:
            answer = count(counting)
            looks.append(answer)
            self.journal._looks.drop()
            return answer

        self.patch(self.journal._looks, "count", count_and_drop)
        for without in (frozenset[str](), frozenset({"nobody"})):
            counts = self.reactor.wait(self.journal.unread(9, 0, [(EVERYBODY, 0), (ROOM, 0)], without))
            self.assertEqual([each.count for each in counts], [43, 30] + [1] * 10 + [20])
        self.assertGreater(len(looks), 20)
        self.assertEqual((self.index.damaged, self.index.generation), (False, generation))

    def test_what_tells_of_damage(self) -> None:
        """SQLite's own word for it does, and nothing else: no mistake of ours, and no refusal of the system."""

        def coded(error: sqlite3.Error, code: int) -> sqlite3.Error:
            error.sqlite_errorcode = code  # type: ignore[misc]
            return error

        for error, damage in (
            (coded(sqlite3.DatabaseError("x"), 11), True), (coded(sqlite3.DatabaseError("x"), 11 | 1 << 8), True),
            (coded(sqlite3.DatabaseError("x"), 26), True), (coded(sqlite3.OperationalError("disk I/O"), 10), False),
            (coded(sqlite3.DatabaseError("malformed"), 1), False), (coded(sqlite3.DatabaseError("auth"), 23), False),
            (sqlite3.DatabaseError("database disk image is malformed"), True),
            (sqlite3.DatabaseError("file is not a database"), True), (sqlite3.DatabaseError("not authorized"), False),
            (sqlite3.OperationalError("malformed JSON"), False), (sqlite3.IntegrityError("malformed"), False),
            (sqlite3.ProgrammingError("Cannot operate on a closed database."), False),
            (sqlite3.ProgrammingError("malformed"), False), (sqlite3.InterfaceError("malformed"), False),
            (OSError("malformed"), False), (None, False),
        ):  # fmt: skip
            self.index.damaged = False
            self.index.distrust(error)
            self.assertIs(self.index.damaged, damage, repr(error))
        self.index.damaged = False

    def test_behind_what_it_has(self) -> None:
        """One that has more than its watermark says is made anew."""
        with closing(connect(self.folder / INDEX_NAME)) as connection:
            connection.execute("UPDATE state SET upto = 0")
        self.keep(message())
        self.settle()
        self.reactor.advance(RETRY)
        self.spin(lambda: self.index.upto == 4)
        self.all_is_well(1, 2, 3, 4)

    def delete_only_what_nobody_has_open(self) -> None:
        """As on Windows."""
        descriptors = Path("/proc/self/fd")
        if not descriptors.exists():
            raise SkipTest("there is no telling what is open")
        unlink = Path.unlink

        def careful(path: Path, missing_ok: bool = False) -> None:
            for descriptor in descriptors.iterdir():
                if descriptor.is_symlink() and os.readlink(descriptor) == str(path):
                    raise PermissionError(f"somebody has {path} open")
            unlink(path, missing_ok)

        self.patch(Path, "unlink", careful)
        self.assertEqual((self.history(), self.search()), ([1, 2, 3], [3, 2, 1]))
        with self.assertRaises(PermissionError):
            (self.folder / INDEX_NAME).unlink()

    def test_deleted_when_nobody_has_it_open(self) -> None:
        """Before it is made anew all those who read it close it, also if they have nothing to do."""
        self.delete_only_what_nobody_has_open()
        self.index.damaged = True
        self.journal._indexing.look_after()
        self.assertEqual(self.history(), [1, 2, 3])
        self.spin(lambda: self.index.upto == 3 and not self.index.damaged)
        self.all_is_well(1, 2, 3)

    def test_of_another_version_while_it_is_used(self) -> None:
        """If it is only found when somebody has it open, they close it and it is made at the next try."""
        self.delete_only_what_nobody_has_open()
        self.reactor.wait(self.journal._indexing._worker.do(self.index.close))
        with closing(connect(self.folder / INDEX_NAME)) as connection:
            connection.execute("PRAGMA user_version = 99")
        self.keep(message())
        self.settle()
        self.assertEqual((self.index.damaged, self.history(), self.unread()), (True, [1, 2, 3, 4], [4]))
        self.reactor.advance(RETRY)
        self.spin(lambda: self.index.upto == 4)
        self.all_is_well(1, 2, 3, 4)

    def test_beginnings_are_of_texts(self) -> None:
        """What a beginning stands for are words that somebody said: no names of places and senders of the index."""
        self.keep(*(message(7, to, b"red nine") for to in range(-9, 9) if to))
        self.assertEqual(len(self.search("r* n*", *((-room, "") for room in range(1, 10)))), 9)
        connection = self.journal._searches._handle.get()
        listed = [search._beginnings(connection, letter) for letter in "rnpih"]
        self.assertEqual(listed, [["red"], ["nine"], [], [], ["hi"]])


class Pruned(Case):
    """What is left of messages that were deleted."""

    def rows(self) -> tuple[set[int], set[int]]:
        """The ids in both tables of the index."""
        with closing(connect(self.folder / INDEX_NAME, read_only=True)) as connection:
            return (
                {id for (id,) in connection.execute("SELECT id FROM place")},
                {id for (id,) in connection.execute("SELECT rowid FROM words")},
            )

    def prune(self, **bounds: int) -> None:
        while self.reactor.wait(self.journal.prune(Retention(**bounds), NOON_MS + DAY_MS)):
            pass
        self.spin(lambda: not self.journal._indexing._sweeping)

    def fill(self) -> None:
        for module in (index,):
            self.patch(module, "SWEEP", 7)
            self.patch(module, "GROUPS", 3)
        places = (None, -1, 2, 3, -2, 4, 5, 6, 7, None)
        self.keep(*(message(1, to) for to in places * 10), message(1, None, time_ms=NOON_MS + DAY_MS))
        self.settle()

    def test_swept(self) -> None:
        """Index rows of messages that are gone go too, in small steps, and nobody is shown them meanwhile."""
        self.fill()
        with closing(connect(self.journal.path)) as other:
            other.execute("DELETE FROM message WHERE id <= 95")
        self.assertEqual(len(self.rows()[0]), 101)
        self.all_is_well(100, 101)
        self.assertEqual(self.history((2, "n1")), [])
        self.assertEqual(self.history((1, "n7"), after=0), [99])
        self.prune(seconds=60)
        self.assertEqual(self.journal.oldest, 101)
        self.assertEqual(self.rows(), ({101}, {101}))
        self.all_is_well(101)
        self.keep(message())
        self.settle()
        self.prune(bytes=0)
        self.assertEqual(self.journal.oldest, 102)
        self.assertEqual(self.rows(), ({102}, {102}))

    def test_at_the_start(self) -> None:
        """What a program pruned while there was no daemon is swept when there is one."""
        self.fill()
        self.close(self.journal)
        with closing(connect(self.folder / FILE_NAME)) as other:
            other.execute("DELETE FROM message WHERE id <= 95")
        self.journal = self.open()
        self.spin(lambda: not self.journal._indexing._sweeping)
        self.assertEqual(self.journal.oldest, 96)
        self.assertEqual(self.rows(), ({*range(96, 102)}, {*range(96, 102)}))

    def test_from_the_command_line(self) -> None:
        """``pychat journal prune`` sweeps the index, too."""
        self.fill()
        self.patch(commands.time, "time", lambda: (NOON_MS + DAY_MS) / 1000)
        self.patch(commands, "PAUSE", 0)
        self.assertEqual(commands.run_prune(self.folder, Retention(seconds=60)), 100)
        self.assertEqual(self.rows(), ({101}, {101}))
        self.all_is_well(101)

    def test_behind_what_was_pruned(self) -> None:
        """An index that is behind the oldest message goes on there."""
        self.keep(*(message() for _ in range(5)))
        with closing(connect(self.journal.path)) as other:
            other.execute("DELETE FROM message WHERE id <= 3")
        self.all_is_well(4, 5)
        self.again()
        self.assertEqual((self.index.upto, self.journal.oldest), (5, 4))

    def test_all_that_was_indexed_is_gone(self) -> None:
        """An index of which no message is left cannot be told from another's, and is made anew."""
        self.keep(*(message() for _ in range(3)))
        self.settle()
        self.keep(message())
        self.close(self.journal)
        with closing(connect(self.folder / FILE_NAME)) as other:
            other.execute("DELETE FROM message WHERE id <= 3")
        self.journal = self.open()
        self.assertEqual(self.index.upto, 0)
        self.all_is_well(4)


class Starting(Case):
    """Rooms and stays as a start finds them."""

    def test_rooms(self) -> None:
        """Rooms are there with their topics and newest messages, from the index and from what is above it."""
        self.keep(
            *(message(who, room, b"", kind=Kind.JOIN) for who, room in ((1, -1), (2, -1), (1, -2), (3, -3), (4, -4))),
            message(1, -1, b"tea", kind=Kind.TOPIC, time_ms=NOON_MS + 7), message(1, -1), message(3, -3),
            standings=[standing(1), standing(2, left=7), standing(3), standing(4, resumes=False)],
        )  # fmt: skip
        for settled in (False, True):
            if settled:
                self.settle()
            self.again()
            self.assertEqual(
                [(room.id, room.name, room.newest) for room in self.journal.rooms],
                [(-3, "#r3", 8), (-2, "#r2", 0), (-1, "#r1", 7)],
            )
            first = self.journal.rooms[-1]
            self.assertEqual((first.topic, first.topic_by, first.topic_ms), (b"tea", "n1", NOON_MS + 7))
            self.assertEqual(self.journal.last_room, -4)
            self.assertEqual(
                [(stay.identity, stay.room, stay.joined, stay.left) for stay in self.journal.stays],
                [(1, -1, 1, None), (1, -2, 3, None), (3, -3, 4, None)],
            )
        self.keep(
            message(1, -1, b"", kind=Kind.TOPIC), message(1, -3), message(3, -3, kind=Kind.REACT, ref=8)
        )
        self.again()
        self.assertEqual(
            [(room.topic, room.newest) for room in self.journal.rooms], [(b"", 10), (b"", 0), (b"", 7)]
        )

    def test_stays_that_ended(self) -> None:
        """A stay that ended is there while its owner has not acknowledged what she was owed in it."""
        self.keep(
            message(1, -1, kind=Kind.JOIN), message(2, -1), message(1, -1, kind=Kind.LEAVE),
            standings=[standing(1, acked=2)],
        )  # fmt: skip
        self.again()
        self.assertEqual([(stay.joined, stay.left) for stay in self.journal.stays], [(1, 3)])
        self.assertEqual([each.id for each in self.reactor.wait(self.journal.owed(2, -1))], [1])
        self.keep(standings=[standing(1, acked=3)])
        self.again()
        self.assertEqual(list(self.journal.stays), [])
        self.assertEqual([each.id for each in self.reactor.wait(self.journal.owed(2, -1))], [1])

    def test_rooms_that_are_forgotten(self) -> None:
        """A room with neither members nor messages is gone with the next start; its number is not given again."""
        self.keep(
            message(1, -1, kind=Kind.JOIN), message(1, -1), message(1, -1, kind=Kind.LEAVE), message(1),
            standings=[standing(1, acked=4)],
        )  # fmt: skip
        self.settle()
        self.again()
        self.assertEqual([room.id for room in self.journal.rooms], [-1])
        with closing(connect(self.journal.path)) as other:
            other.execute("DELETE FROM message WHERE id <= 3")
        self.again()
        self.assertEqual((list(self.journal.rooms), self.journal.last_room), ([], -1))
        with closing(connect(self.journal.path)) as other:
            self.assertEqual(other.execute("SELECT count(*) FROM stay").fetchone(), (0,))

    def test_stays_of_nobody(self) -> None:
        """A start finds the stays that last by an index, and lets go of those of somebody who was never kept."""
        self.keep(
            message(1, -1, kind=Kind.JOIN), message(2, -1, kind=Kind.JOIN), message(3, -1, kind=Kind.JOIN),
            standings=[standing(1), standing(2, resumes=False)],
        )  # fmt: skip
        self.again()
        with closing(connect(self.journal.path)) as other:
            found = other.execute("SELECT identity, left_id FROM stay ORDER BY 1").fetchall()
            asked: list[str] = []
            other.set_trace_callback(asked.append)
            rooms.end_stays(other, 3)
            other.set_trace_callback(None)
            plans = [step[3] for query in asked for step in other.execute(f"EXPLAIN QUERY PLAN {query}")]
        self.assertEqual(found, [(1, None), (2, 3)])
        self.assertEqual([plan for plan in plans if "SCAN stay" in plan], [])

    def test_pruned(self) -> None:
        """What is about messages that are gone goes with them: changes, and stays that ended."""
        self.keep(
            message(1, -1, kind=Kind.JOIN), message(1, -1), message(1, -1, kind=Kind.EDIT, ref=2),
            message(1, -1, kind=Kind.LEAVE), message(2, -1, kind=Kind.JOIN), message(1, time_ms=NOON_MS + DAY_MS),
            message(1, kind=Kind.RETRACT, ref=6, time_ms=NOON_MS + DAY_MS), standings=[standing(2, acked=7)],
        )  # fmt: skip
        self.assertEqual(self.reactor.wait(self.journal.prune(Retention(seconds=60), NOON_MS + DAY_MS)), 5)
        self.assertEqual(self.journal.oldest, 6)
        with closing(connect(self.journal.path)) as other:
            self.assertEqual(other.execute("SELECT ref, id FROM change").fetchall(), [(6, 7)])
            self.assertEqual(other.execute("SELECT identity, joined FROM stay").fetchall(), [(2, 5)])

    def test_edits_of_what_is_gone(self) -> None:
        """An edit of a message that was taken back is known for one also when that message was deleted."""
        self.keep(
            message(), message(text=b"new", kind=Kind.EDIT, ref=1, time_ms=NOON_MS + DAY_MS),
            message(kind=Kind.RETRACT, ref=1, time_ms=NOON_MS + DAY_MS),
        )  # fmt: skip
        self.assertEqual(self.reactor.wait(self.journal.prune(Retention(seconds=60), NOON_MS + DAY_MS)), 1)
        self.assertEqual(self.reactor.wait(self.journal.read(9, 0, 9)).retracted, {2})

    def test_blocked_mail_holds_nothing_back(self) -> None:
        """A prune does not wait for somebody to acknowledge what she is never shown."""
        self.keep(message(1, 2, blocked=True), message(1), standings=[standing(2)])
        self.assertEqual(self.reactor.wait(self.journal.prune(Retention(seconds=60), NOON_MS + DAY_MS)), 1)

    def test_power_loss(self) -> None:
        """With the log cut anywhere, rooms and stays are of the same commits as the entries that say so."""
        for number in range(10):
            self.keep(
                message(1, -1 - number, b"x" * 500, kind=Kind.JOIN),
                message(1, -1 - number, b"t", kind=Kind.TOPIC),
            )
            self.keep(message(1), message(1, kind=Kind.EDIT, ref=self.journal.last_id))
            self.keep(message(1, -1 - number, b"x" * 500, kind=Kind.LEAVE))
        wal = (self.folder / f"{FILE_NAME}-wal").read_bytes()
        copy = self.folder / "copy"
        copy.mkdir()
        seen = set()
        for length in [*range(0, len(wal), 1531), len(wal)]:
            shutil.copy(self.folder / FILE_NAME, copy / FILE_NAME)
            (copy / f"{FILE_NAME}-shm").unlink(missing_ok=True)
            (copy / f"{FILE_NAME}-wal").write_bytes(wal[:length])
            with closing(connect(copy / FILE_NAME)) as connection:
                if connection.execute("PRAGMA user_version").fetchone() != (4,):
                    continue
                counts = [
                    connection.execute(query).fetchone()[0]
                    for query in (
                        "SELECT count(*) FROM message WHERE kind = 5", "SELECT count(*) FROM room WHERE topic = x'74'",
                        "SELECT count(*) FROM stay", "SELECT -id FROM last_room",
                        "SELECT count(*) FROM message WHERE kind = 6", "SELECT count(left_id) FROM stay",
                        "SELECT count(*) FROM message WHERE kind = 1", "SELECT count(*) FROM change",
                    )
                ]  # fmt: skip
            self.assertEqual(counts[:1] * 4, counts[:4])
            self.assertEqual((counts[4], counts[6]), (counts[5], counts[7]))
            seen.add(tuple(counts))
        self.assertGreater(len(seen), 20)


class Upgraded(Case):
    """A journal from before there were rooms."""

    def test_upgraded(self) -> None:
        """Its messages are there, in history and for searches, after a copy of the file was made."""
        self.close(self.journal)
        folder = self.folder.with_name("old")
        folder.mkdir()
        with closing(connect(folder / FILE_NAME)) as connection:
            schema = Path(index.__file__).with_name("schema")
            for number in (1, 2):
                connection.executescript((schema / f"00{number}.sql").read_text("utf-8"))
            connection.execute("PRAGMA user_version = 2")
            connection.execute("INSERT INTO start VALUES (7, 1)")
            connection.execute(
                "INSERT INTO identity VALUES (8, 'n8', 0, 0, 0, 0, NULL, 0, 1, 0, x'74', x'', 1)"
            )
            connection.executemany(
                "INSERT INTO message VALUES (?, 1, 1, 'n1', ?, ?, NULL, x'6869')",
                [(4, None, None), (5, 2, "n2")],
            )
        self.folder = folder
        self.journal = self.open()
        self.assertEqual((self.journal.last_id, self.journal.oldest, self.journal.last_room), (5, 4, 0))
        (living,) = self.journal.living
        self.assertEqual((living.id, living.token, living.personal), (8, b"t", b""))
        self.assertEqual((self.history(), self.history((2, "n1"))), ([4], [5]))
        self.assertEqual(self.search("hi", EVERYBODY, (2, "")), [5, 4])
        self.keep(message(), standings=[standing(8, personal=b"{}")])
        self.assertEqual(self.reactor.wait(self.journal.standings([8]))[0].personal, b"{}")
        self.assertTrue((folder / f"{FILE_NAME}.before-4").exists())


class Checked(Case):
    """What ``pychat journal check`` says of it."""

    def check(self) -> str:
        sound, lines = commands.run_check(self.folder)
        self.assertTrue(sound, lines)
        return lines[-1]

    def test_check(self) -> None:
        """It is up to date, behind, absent or damaged; none of that makes a journal unsound."""
        self.keep(message())
        self.assertEqual(self.check(), "Index: 1 message behind")
        self.keep(message())
        self.assertEqual(self.check(), "Index: 2 messages behind")
        self.settle()
        self.assertEqual(self.check(), "Index: up to date")
        self.close(self.journal)
        path = self.folder / INDEX_NAME
        path.write_bytes(b"nonsense" * 999)
        self.assertIn("makes it again", self.check())
        path.unlink()
        self.assertIn("no index yet", self.check())
        self.journal = self.open()

    def test_stays_ahead(self) -> None:
        """A stay is not ahead of the newest message."""
        self.keep(message(1, -1, kind=Kind.JOIN), standings=[standing(1)])
        with closing(connect(self.journal.path)) as other:
            other.execute("UPDATE stay SET left_id = 99")
        sound, lines = commands.run_check(self.folder)
        self.assertFalse(sound)
        self.assertIn("1 stay in a room", lines[1])

    def test_a_copy_is_of_the_journal_alone(self) -> None:
        """The copy of a journal has no index, and gets one where it is used."""
        self.keep(message())
        copy = commands.run_backup(self.folder, None)
        self.assertTrue(copy.name.startswith(FILE_NAME))
        with closing(connect(copy, read_only=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        self.assertNotIn("place", tables)


class Journals(journalkit.Case):
    """Attributes at a start."""

    def test_oldest(self) -> None:
        """The oldest id is known from the start on, also of a journal that has none."""
        journal: SqliteJournal = self.open()
        self.assertEqual(
            (journal.oldest, journal.last_room, list(journal.rooms), list(journal.stays)), (1, 0, [], [])
        )
        self.reactor.wait(journal.append([message(), message()]))
        self.assertEqual(journal.oldest, 1)
        self.close(journal)
