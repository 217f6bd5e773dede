"""What both journals promise: the same tests for the one on the disk and the one in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from pychat.interfaces import IJournal
from pychat.journal import reader
from pychat.vocabulary import Entry, OnceKey, Page

from ..chatkit import examples
from . import journalkit
from .journalkit import NOON_MS, follows, in_runs, message, standing

PEOPLE = st.integers(1, 4)
TIMES = st.integers(NOON_MS, NOON_MS + 50)
ONE = st.builds(
    message,
    sender=PEOPLE,
    to=st.none() | PEOPLE,
    text=st.binary(max_size=8),
    once=st.sampled_from([b"", b"k1", b"k2"]),
    time_ms=TIMES,
)
PRINTABLE = st.text(max_size=5).filter(str.isprintable).map(str.encode)
SEVERAL = st.builds(
    lambda sender, said, time_ms: [message(sender, text=text, time_ms=time_ms) for text in said],
    PEOPLE,
    st.lists(PRINTABLE | st.sampled_from([b'"', b"\\", b'","', "ü€😀".encode()]), min_size=2, max_size=5),
    TIMES,
)
ENTRIES = st.lists(ONE.map(lambda one: [one]) | SEVERAL, max_size=15).map(lambda some: [*chain(*some)])


class Promises:
    """Tests of :class:`IJournal`, for a journal that :meth:`make` opens empty."""

    # What :mod:`journalkit` and a SynchronousTestCase have.
    make: Any
    wait: Any
    assertEqual: Any
    assertIs: Any
    assertTrue: Any

    def keep(self, journal: Any, entries: Sequence[Entry] = (), *standings: Any) -> list[int]:
        return list(self.wait(journal.append(in_runs(entries), standings)))

    def ids(self, page: Page) -> list[int]:
        return [id for id, _ in page.messages]

    def test_interface(self) -> None:
        """It offers all that the interface asks for, and begins empty."""
        journal = self.make()
        self.assertTrue(verifyObject(IJournal, journal))
        self.assertEqual((journal.last_id, list(journal.living)), (0, []))

    def test_append(self) -> None:
        """Entries get rising ids; entries, standings, both or neither may be given."""
        journal = self.make()
        self.assertEqual(self.keep(journal, [message(), message()]), [1, 2])
        self.assertEqual(self.keep(journal, [], standing(7)), [])
        self.assertEqual(self.keep(journal, [message()], standing(8)), [3])
        self.assertEqual(self.keep(journal), [])
        self.assertEqual(list(self.wait(journal.append([message()]))), [4])
        self.assertEqual(journal.last_id, 4)
        self.assertEqual(self.wait(journal.standings([7, 8])), [standing(7), standing(8)])

    def test_read(self) -> None:
        """An identity sees what was to everybody, to it and from it, verbatim, and nothing else."""
        journal = self.make()
        entries = [
            message(1, text="Grüße".encode(), once=b"k"),
            message(1, 2, b"for two"),
            message(1, 3, b"for three"),
            message(2, 3, b"from two"),
            message(3, 1, b"not for two"),
        ]
        self.keep(journal, entries)
        page = self.wait(journal.read(2, 0, 100))
        self.assertEqual(list(page.messages), [(1, entries[0]), (2, entries[1]), (4, entries[3])])
        self.assertEqual((page.upto, page.oldest), (5, 1))

    def test_read_on(self) -> None:
        """A page that is full ends with its last message, and the next goes on there."""
        journal = self.make()
        self.keep(journal, [message() for _ in range(5)])
        pages = [self.wait(journal.read(9, after, 2)) for after in (0, 2, 4, 5)]
        self.assertEqual([self.ids(page) for page in pages], [[1, 2], [3, 4], [5], []])
        self.assertEqual([page.upto for page in pages], [2, 4, 5, 5])

    def test_read_beyond(self) -> None:
        """Beyond the newest message there is nothing, however far; and so it is in an empty journal."""
        journal = self.make()
        for after in (0, 5):
            page = self.wait(journal.read(1, after, 10))
            self.assertEqual((list(page.messages), page.upto, page.oldest), ([], 0, 1))
        self.keep(journal, [message()])
        page = self.wait(journal.read(1, 10**30, 10))
        self.assertEqual((list(page.messages), page.upto, page.oldest), ([], 1, 1))

    def test_read_sees_what_was_appended(self) -> None:
        """What was appended before the call is seen by it."""
        journal = self.make()
        for number in range(1, 20):
            self.keep(journal, [message()], standing(3, acked=number))
            self.assertEqual(self.ids(self.wait(journal.read(3, number - 1, 10))), [number])
            self.assertEqual(self.wait(journal.standings([3]))[0].acked, number)

    def test_standings(self) -> None:
        """Standings come back as they were kept last, the ended ones too; who was never kept is left out."""
        journal = self.make()
        full = standing(
            2, name="Zoë", joined=1, sent=2, acked=3, read=4, left=9, plain=True, resumes=False, bot=True,
            token=b"\0t", spare=b"s\xff", time_ms=NOON_MS + 1,
        )  # fmt: skip
        self.keep(journal, [], standing(1), standing(2), standing(3))
        self.keep(journal, [], full)
        found = self.wait(journal.standings([3, 2, 77]))
        self.assertEqual(found, [full, standing(3)])
        for field in ("plain", "resumes", "bot"):
            self.assertIs(getattr(found[0], field), getattr(full, field))
        self.assertEqual(self.wait(journal.standings([])), [])
        self.assertEqual(len(self.wait(journal.standings(range(100_000)))), 3)

    def test_owed(self) -> None:
        """Who joined before a message, and had not ended, was owed it."""
        journal = self.make()
        self.keep(
            journal, [],
            standing(1, joined=0), standing(2, joined=4), standing(3, joined=5), standing(4, joined=0, left=4),
            standing(5, joined=0, left=5),
        )  # fmt: skip
        self.assertEqual([each.id for each in self.wait(journal.owed(5))], [1, 2, 5])

    def test_keys(self) -> None:
        """The keys of these identities since then, with what they stood for, newest first."""
        journal = self.make()
        self.keep(
            journal,
            [
                message(1, once=b"old", time_ms=NOON_MS - 1),
                message(1, 2, b"one", b"k1"),
                message(1, text=b"no key"),
                message(3, once=b"k1"),
                message(2, text=b"two", once=b"k1"),
            ],
        )
        self.assertEqual(
            self.keys(journal, NOON_MS, [1, 2, 9]),
            [OnceKey(2, b"k1", 5, None, None, b"two"), OnceKey(1, b"k1", 2, 2, "n2", b"one")],
        )
        self.assertEqual(self.keys(journal, NOON_MS, []), [])
        self.assertEqual(self.keys(self.make(), NOON_MS, [1]), [])

    def keys(self, journal: Any, since_ms: int, identities: list[int]) -> list[OnceKey]:
        """All stretches."""
        found: list[OnceKey] = []
        before = None
        while True:
            keys, before = self.wait(journal.keys(since_ms, identities, before))
            found += keys
            if before is None:
                return found

    def test_keys_of_a_clock_that_was_set_back(self) -> None:
        """Older times in between do not hide the keys before them."""
        journal = self.make()
        times = [NOON_MS + 5, NOON_MS - 10, NOON_MS - 10, NOON_MS + 1]
        self.keep(journal, [message(1, once=b"k%d" % time_ms, time_ms=time_ms) for time_ms in times])
        self.assertEqual([key.id for key in self.keys(journal, NOON_MS, [1])], [4, 1])

    def check_reading(self, entries: list[Entry], cuts: int, identity: int, after: int, limit: int) -> None:
        journal = self.make()
        self.keep(journal, entries[:cuts])
        self.keep(journal, entries[cuts:])
        expected = [
            (id, entry)
            for id, entry in enumerate(entries, 1)
            if id > after and (entry.to in (None, identity) or entry.sender == identity)
        ]
        found: list[tuple[int, Entry]] = []
        while after < journal.last_id:
            page = self.wait(journal.read(identity, after, limit))
            self.assertTrue(after < page.upto <= journal.last_id)
            self.assertTrue(len(page.messages) <= limit)
            self.assertTrue(all(after < id <= page.upto for id, _ in page.messages))
            found += page.messages
            after = page.upto
        self.assertEqual(found, expected)
        keys = [
            OnceKey(entry.sender, entry.once, id, entry.to, entry.to_name, entry.text)
            for id, entry in enumerate(entries, 1)
            if entry.once and entry.sender in (identity, 4) and entry.time_ms >= NOON_MS + 25
        ]
        self.assertEqual(self.keys(journal, NOON_MS + 25, [identity, 4]), keys[::-1])


class OnDisk(Promises, journalkit.OnDisk):
    """:class:`SqliteJournal`."""

    @examples(60)
    @given(ENTRIES, st.integers(0, 30), PEOPLE, st.integers(0, 31), st.integers(1, 9), st.integers(1, 12))
    def test_pages(
        self, entries: list[Entry], cuts: int, identity: int, after: int, limit: int, window: int
    ) -> None:
        """Pages of any limit, over windows of any size, give exactly what a plain filter gives."""
        # A window of nothing but old messages ends the search for keys, so here the clock only goes forward.
        steps = accumulate([not follows(entry, before) for before, entry in pairwise(entries)], initial=0)
        entries = [
            entry._replace(time_ms=NOON_MS + 2 * step) for step, entry in zip(steps, entries, strict=False)
        ]
        patch = self.patch(reader, "WINDOW", window)
        try:
            self.check_reading(entries, cuts, identity, after, limit)
        finally:
            patch.restore()


class InMemory(Promises, journalkit.InMemory):
    """:class:`MemoryJournal`."""

    @examples(100)
    @given(ENTRIES, st.integers(0, 30), PEOPLE, st.integers(0, 31), st.integers(1, 9))
    def test_pages(self, entries: list[Entry], cuts: int, identity: int, after: int, limit: int) -> None:
        """Pages of any limit give exactly what a plain filter gives."""
        self.check_reading(entries, cuts, identity, after, limit)
