"""What a journal's file is read as, and what is found where its tables contradict each other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from pychat.journal.rooms import project
from pychat.journal.rows import INSERT_MESSAGE, REPLACE_STANDING, message_rows, standing_row
from pychat.journal.store import FILE_NAME, open_journal
from pychat.vocabulary import Entry, Kind, Standing

from .evidence import read_journal
from .history import Cast, History, Move

CAST = Cast(frozenset(("ann", "ben")), frozenset(("quin",)))


class Evidence(SynchronousTestCase):
    """A journal that the daemon may have written, to be spoilt."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = Path(folder.name)
        self.history = History(CAST)
        said = self.history.say("ann", "#tea")
        edit = self.history.say("ann", "#tea", kind=Kind.EDIT, ref=3)
        gone = self.history.say("ann", "#tea", kind=Kind.RETRACT, ref=3)
        private = self.history.say("ben", "ann")
        self.entries = [
            Entry(0, 1, "ann", -1, "#tea", b"", kind=Kind.JOIN),
            Entry(0, 2, "ben", -1, "#tea", b"", kind=Kind.JOIN),
            Entry(0, 1, "ann", -1, "#tea", said.text),
            Entry(0, 1, "ann", -1, "#tea", edit.text, kind=Kind.EDIT, ref=3),
            Entry(0, 1, "ann", -1, "#tea", b"", kind=Kind.RETRACT, ref=3),
            Entry(0, 2, "ben", 1, "ann", private.text, blocked=True),
            Entry(0, 2, "ben", -1, "#tea", b"", kind=Kind.LEAVE),
            Entry(0, 2, "ben", -1, "#tea", b"", kind=Kind.JOIN),
            Entry(0, 3, "quin", -1, "#tea", b"", kind=Kind.JOIN),
        ]
        self.posts = {3: said, 4: edit, 5: gone, 6: private}
        with closing(open_journal(self.state / FILE_NAME)) as connection:
            ids = range(1, len(self.entries) + 1)
            connection.executemany(INSERT_MESSAGE, message_rows(enumerate(self.entries, 1)))
            for id, name in enumerate(("ann", "ben", "quin"), 1):
                standing = Standing(id, name, 0, left=9 if name == "quin" else None, resumes=name != "quin")
                connection.execute(REPLACE_STANDING, standing_row(standing))
            special = [(id, entry) for id, entry in zip(ids, self.entries, strict=True) if entry.kind]
            project(connection, special, [standing])

    def spoil(self, *statements: str) -> list[str]:
        """Do this to it, and return what is found wrong with it."""
        with closing(sqlite3.connect(self.state / FILE_NAME)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        return [str(fault) for fault in read_journal(self.state, self.history)[1]]

    def test_a_good_one(self) -> None:
        journal, faults = read_journal(self.state, self.history)
        self.assertEqual(faults, [])
        self.assertEqual(journal.posts, self.posts)
        self.assertEqual(journal.blocked, {6})
        moves = [(1, "ann", True), (2, "ben", True), (7, "ben", False), (8, "ben", True), (9, "quin", True)]
        self.assertEqual(journal.moves, [Move(id, who, "#tea", joins) for id, who, joins in moves])

    def test_entries(self) -> None:
        """Another kind, another message that it is about, another place, a text that nobody said."""
        for statement in (
            "UPDATE message SET kind = 3 WHERE id = 4",
            "UPDATE message SET ref = 2 WHERE id = 4",
            "UPDATE message SET recipient_name = '#other' WHERE id = 4",
            "UPDATE message SET text = x'' WHERE id = 4",
        ):
            found = self.spoil(statement)
            self.assertTrue(any("as 4" in fault for fault in found), (statement, found))
            self.setUp()

    def test_memberships(self) -> None:
        """Forgotten, of nobody's making, ended early, and of another room."""
        for statement in (
            "DELETE FROM stay WHERE joined = 1",
            "INSERT INTO stay VALUES (1, -1, 5, NULL)",
            "UPDATE stay SET left_id = 6 WHERE joined = 2",
            "UPDATE stay SET left_id = NULL WHERE joined = 2",
        ):
            found = self.spoil(statement)
            self.assertTrue(any("the stay" in fault for fault in found), (statement, found))
            self.setUp()

    def test_changes(self) -> None:
        for statement in ("DELETE FROM change WHERE id = 5", "INSERT INTO change VALUES (3, 6, 1)"):
            found = self.spoil(statement)
            self.assertEqual(len(found), 1, (statement, found))
            self.assertIn("the change", found[0])
            self.setUp()

    def test_rooms(self) -> None:
        """Without a name, with another one, and with a number that is none of a room."""
        for statement, told in (
            ("DELETE FROM room", "the room -1 is called None"),
            ("UPDATE room SET name = '#other'", "the room -1 is called #other"),
            ("INSERT INTO room VALUES (-2, '#tea', x'', '', 0)", "the same name"),
            ("UPDATE message SET recipient = 7 WHERE id = 3", "the number 7"),
        ):
            found = self.spoil(statement)
            self.assertTrue(any(told in fault for fault in found), (statement, found))
            self.setUp()
