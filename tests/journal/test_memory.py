"""The bounds of the journal in memory; what else it does is in ``test_contract``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.journal.memory import BYTES_LIMIT, ENDED_LIMIT, ENTRIES_LIMIT, MemoryJournal
from pychat.vocabulary import Kind

from .journalkit import NOON_MS, message, standing


class Memory(SynchronousTestCase):
    """The bounds of the journal in memory."""

    def setUp(self) -> None:
        self.journal = MemoryJournal()

    def test_entries(self) -> None:
        """Only the newest are remembered, and the page says since when."""
        self.journal.append([message(once=b"k") for _ in range(ENTRIES_LIMIT + 5)])
        page = self.successResultOf(self.journal.read(1, 2, 2))
        self.assertEqual(([id for id, _ in page.messages], page.upto, page.oldest), ([6, 7], 7, 6))
        page = self.successResultOf(self.journal.read(1, ENTRIES_LIMIT + 4, 9))
        self.assertEqual([id for id, _ in page.messages], [ENTRIES_LIMIT + 5])
        self.assertEqual(self.successResultOf(self.journal.keys(NOON_MS, [1], None))[0][-1].id, 6)

    def test_edits_of_what_is_gone(self) -> None:
        """An edit of a message that was taken back is known for one also when that message is remembered no more."""
        self.journal.append([message(), message(kind=Kind.EDIT, ref=1), message(kind=Kind.RETRACT, ref=1)])
        for more, gone in ((ENTRIES_LIMIT - 2, {2}), (1, {*()}), (9, {*()})):
            self.journal.append([message() for _ in range(more)])
            self.assertEqual(self.successResultOf(self.journal.read(1, 0, 9)).retracted, gone)
        self.assertEqual(self.journal._changes, {})

    def test_bytes(self) -> None:
        """Long texts are bounded by what they take."""
        for _ in range(17):
            self.journal.append([message(text=b"x" * (BYTES_LIMIT // 1024)) for _ in range(100)])
        page = self.successResultOf(self.journal.read(1, 0, 9999))
        self.assertEqual((len(page.messages), page.oldest), (1024, 677))

    def test_one_that_is_too_long(self) -> None:
        """A text above the bound is not remembered, and does not break anything."""
        self.journal.append([message(text=b"x" * (BYTES_LIMIT + 1))])
        page = self.successResultOf(self.journal.read(1, 0, 9))
        self.assertEqual((len(page.messages), page.upto, page.oldest), (0, 1, 2))

    def test_identities(self) -> None:
        """Those that ended are forgotten, oldest first; the living are not."""
        self.journal.append([], [standing(1), *(standing(id, left=0) for id in range(2, ENDED_LIMIT + 4))])
        found = self.successResultOf(self.journal.standings(range(9)))
        self.assertEqual([each.id for each in found], [1, 4, 5, 6, 7, 8])
        self.journal.append([], [standing(1, left=0)])
        found = self.successResultOf(self.journal.standings([1, 4, 5]))
        self.assertEqual([each.id for each in found], [1, 5])
