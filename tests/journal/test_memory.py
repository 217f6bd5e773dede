"""The bounds of the journal in memory; what else it does is in ``test_contract``."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from pychat.journal.memory import BYTES_LIMIT, ENDED_LIMIT, ENTRIES_LIMIT, SEARCH_BYTES, MemoryJournal
from pychat.vocabulary import Kind, Place, Query

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

    def test_search_is_bounded(self) -> None:
        """A search goes through hundreds of places once and not for every entry, and through so many bytes of texts."""

        class Places(list[Place]):
            gone_through = 0

            def __iter__(self) -> Iterator[Place]:
                self.gone_through += 1
                return super().__iter__()

        places = Places((-room, "") for room in range(200))
        self.journal.append([message(1, -500, b"hi there") for _ in range(500)])
        found = self.successResultOf(self.journal.search(Query("there", places)))
        self.assertEqual((len(found.messages), found.more), (0, None))
        self.assertLess(places.gone_through, 5)
        self.journal.append([message(1, -1, b"long " * 200) for _ in range(2 * SEARCH_BYTES // 1000)])
        before: int | None = None
        steps: list[int | None] = []
        while not steps or before is not None:
            found = self.successResultOf(self.journal.search(Query("there", places, before=before)))
            before = found.more
            steps.append(before)
        self.assertEqual(steps, [601, None])

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
