"""Rooms, history, search and unread counts: the same tests for the journal on the disk and the one in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pychat.journal import index, memory, reader, search, unread
from pychat.roster import key_of
from pychat.vocabulary import EVERYBODY, Entry, Kept, Kind, Place, Query, Stretch, Unread

from ..chatkit import examples
from . import journalkit
from .journalkit import in_runs, message, standing

ROOM, OTHER = -1, -2
SHOWN = (Kind.SAID, Kind.REACT)


def join(who: int, room: int = ROOM) -> Entry:
    return message(who, room, b"", kind=Kind.JOIN)


def leave(who: int, room: int = ROOM) -> Entry:
    return message(who, room, b"", kind=Kind.LEAVE)


# -- a model that is plain, and looks at everything


def places_of(entry: Entry) -> set[Place]:
    if entry.to is None or entry.to < 0:
        return {(entry.to or 0, "")}
    places = {(entry.sender, key_of(entry.to_name or ""))}
    if not entry.blocked:
        places.add((entry.to, key_of(entry.sender_name)))
    return places


def stands(entries: Sequence[Entry], id: int) -> Kept:
    kept = Kept(id, entries[id - 1])
    for later, entry in enumerate(entries, 1):
        if entry.ref == id and entry.kind == Kind.RETRACT:
            return Kept(id, kept.entry._replace(text=b""), 0, later)
        if entry.ref == id and entry.kind == Kind.EDIT:
            kept = Kept(id, kept.entry._replace(text=entry.text), later)
    return kept


def all_in(entries: Sequence[Entry], place: Place, kinds: Sequence[int] = SHOWN) -> list[int]:
    """Ids in a conversation, oldest first."""
    return [id for id, entry in enumerate(entries, 1) if entry.kind in kinds and place in places_of(entry)]


def unread_by(
    entries: Sequence[Entry], me: int, after: int, marks: Sequence[tuple[Place, int]], without: frozenset[str]
) -> list[Unread]:
    peers = sorted({key for entry in entries for owner, key in places_of(entry) if owner == me})
    answer = []
    for place, mark in [*marks, *(((me, peer), after) for peer in peers)]:
        count = sum(
            1
            for id in all_in(entries, place, [Kind.SAID])
            if id > mark
            and entries[id - 1].sender != me
            and not stands(entries, id).retracted
            and key_of(entries[id - 1].sender_name) not in without
        )
        if count:
            answer.append(Unread(place, place[1], count))
    return answer


def found_by(entries: Sequence[Entry], query: Query) -> list[int]:
    """Ids that match, newest first, for words that are plain."""
    found = []
    for id in range(len(entries), 0, -1):
        kept = stands(entries, id)
        entry = kept.entry
        private = {(owner, "") for owner, key in places_of(entry) if key}
        if (
            entry.kind == Kind.SAID
            and not kept.retracted
            and not {*query.places}.isdisjoint(places_of(entry) | private)
            and query.sender in ("", key_of(entry.sender_name))
            and key_of(entry.sender_name) not in query.without
            and all(
                any(
                    word.startswith(wanted[:-1]) if wanted.endswith("*") else word == wanted
                    for word in entry.text.decode().split()
                )
                for wanted in query.words.split()
            )
            and (query.before is None or id < query.before)
        ):
            found.append(id)
    return found


PEOPLE = st.integers(1, 3)
WORDS = ["red", "rot", "rouge", "blue", "the"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=4).map(lambda words: " ".join(words).encode())


@st.composite
def talks(draw: Any) -> list[Entry]:
    """Entries of all kinds; what refers refers to a message before it."""
    entries: list[Entry] = []
    for _ in range(draw(st.integers(0, 30))):
        said = [id for id, entry in enumerate(entries, 1) if entry.kind == Kind.SAID]
        kind = draw(
            st.sampled_from([Kind.SAID] * 6 + [Kind.EDIT, Kind.EDIT, Kind.RETRACT, Kind.REACT, Kind.TOPIC])
        )
        sender = draw(PEOPLE)
        to = draw(st.none() | st.sampled_from([ROOM, OTHER]) | PEOPLE)
        if kind in (Kind.EDIT, Kind.RETRACT, Kind.REACT):
            if not said:
                continue
            ref = draw(st.sampled_from(said))
            about = entries[ref - 1]
            if kind != Kind.REACT:
                sender, to = about.sender, about.to
            entries.append(message(sender, to, draw(TEXTS), kind=kind, ref=ref))
            continue
        blocked = kind == Kind.SAID and to is not None and to > 0 and draw(st.booleans())
        # What is said to everybody often comes in lots.
        lot = 1 if to is not None or kind != Kind.SAID else draw(st.sampled_from([1, 1, 2, 5]))
        entries += [message(sender, to, draw(TEXTS), kind=kind, blocked=blocked) for _ in range(lot)]
    return entries


PLACES = st.sampled_from([EVERYBODY, (ROOM, ""), (OTHER, ""), (1, "n2"), (2, "n1"), (3, "n3"), (3, "nobody")])
QUERIES = st.builds(
    Query,
    words=st.lists(st.sampled_from([*WORDS, "r*", "ro*", "blu*", "none", "x*"]), min_size=1, max_size=3).map(
        " ".join
    ),
    places=st.lists(PLACES | st.sampled_from([(1, ""), (2, "")]), min_size=1, max_size=4),
    sender=st.sampled_from(["", "", "n1"]),
    without=st.sampled_from([frozenset(), frozenset({"n2"})]),
    before=st.none() | st.integers(0, 31),
    limit=st.integers(1, 5),
)


class Conversations:
    """Tests for a journal that :meth:`make` opens empty."""

    make: Any
    wait: Any
    settle: Any
    assertEqual: Any
    assertIs: Any

    def keep(self, journal: Any, *entries: Entry, standings: Sequence[Any] = ()) -> list[int]:
        return list(self.wait(journal.append(in_runs(entries), standings)))

    def ids(self, stretch: Stretch) -> list[int]:
        return [kept.id for kept in stretch.messages]

    def search(self, journal: Any, words: str, *places: Place, **fields: Any) -> list[int]:
        """The ids of all that is found, page by page."""
        query = Query(words, places or (EVERYBODY,), **fields)
        ids: list[int] = []
        while True:
            found = self.wait(journal.search(query))
            ids += [kept.id for kept in found.messages]
            if found.more is None:
                return ids
            self.assertEqual([id for id in ids if id < found.more], [])
            query = replace(query, before=found.more)

    # -- one at a time

    def test_look_up(self) -> None:
        """An entry of any kind is found by its id, as it was kept; what is not there is left out."""
        journal = self.make()
        entries = [join(1), message(1, ROOM, b"x", b"k", ref=7), message(1, 2, blocked=True)]
        self.keep(journal, *entries)
        kept = self.wait(journal.look_up([3, 1, 99, 2, 10**30, -5]))
        self.assertEqual(kept, [Kept(id, entry) for id, entry in enumerate(entries, 1)])
        self.assertIs(kept[2].entry.blocked, True)
        self.assertEqual(self.wait(journal.look_up([])), [])

    def test_changes(self) -> None:
        """The newest text counts; what is taken back has none, whatever comes after it."""
        journal = self.make()
        self.keep(journal, message(text=b"one"), message(text=b"two"))
        self.keep(journal, message(text=b"uno", kind=Kind.EDIT, ref=1))
        self.keep(journal, message(text=b"eins", kind=Kind.EDIT, ref=1), message(kind=Kind.RETRACT, ref=2))
        self.keep(journal, message(kind=Kind.RETRACT, ref=2), message(text=b"zwei", kind=Kind.EDIT, ref=2))
        self.assertEqual(
            self.wait(journal.look_up([1, 2])),
            [Kept(1, message(text=b"eins"), 4), Kept(2, message(text=b""), 0, 5)],
        )
        self.assertEqual(self.wait(journal.history(EVERYBODY, None, None, 9)).messages[0].entry.text, b"eins")

    def test_pages_with_what_was_taken_back(self) -> None:
        """A page names messages that were taken back and edits of such, whenever that was said, and nothing else."""
        journal = self.make()
        self.keep(
            journal, message(1), message(1), message(2, 7), message(1, ref=1), message(1, kind=Kind.EDIT, ref=1),
            message(1, kind=Kind.EDIT, ref=2), message(3, kind=Kind.REACT, ref=1),
        )  # fmt: skip
        page = self.wait(journal.read(9, 0, 99))
        self.assertEqual((len(page.messages), page.retracted), (6, frozenset()))
        self.keep(journal, message(1, kind=Kind.RETRACT, ref=1), message(2, 7, kind=Kind.RETRACT, ref=3))
        for who, after, limit, gone in (
            (9, 0, 99, {1, 5}), (7, 0, 99, {1, 3, 5}), (9, 1, 2, {*()}), (9, 1, 3, {5}), (9, 4, 1, {5}),
            (9, 99, 9, {*()}),
        ):  # fmt: skip
            page = self.wait(journal.read(who, after, limit))
            self.assertEqual(page.retracted, gone, (who, after, limit))
        self.assertEqual(self.wait(journal.read(7, 0, 99, private=True)).retracted, {3})

    def test_history(self) -> None:
        """A conversation has what was said in it and nothing else, by pages in either direction."""
        journal = self.make()
        self.keep(
            journal, message(1), message(1, ROOM), message(1, 2), message(2, 1), message(1, OTHER), message(2),
            message(3, 1), message(3, kind=Kind.REACT, ref=1), message(2, ROOM, kind=Kind.TOPIC),
        )  # fmt: skip
        for settled in (False, True):
            if settled:
                self.settle(journal)
            for place, ids in (
                (EVERYBODY, [1, 6, 8]), ((ROOM, ""), [2]), ((OTHER, ""), [5]), ((1, "n2"), [3, 4]), ((2, "n1"), [3, 4]),
                ((1, "n3"), [7]), ((1, "n1"), []), ((-9, ""), []), ((9, "n1"), []),
            ):  # fmt: skip
                page = self.wait(journal.history(place, None, None, 9))
                self.assertEqual((self.ids(page), page.more), (ids, False))
            for before, after, limit, ids, more in (
                (None, None, 2, [6, 8], True), (6, None, 9, [1], False), (8, None, 1, [6], True),
                (1, None, 5, [], False),
                (None, 0, 2, [1, 6], True), (None, 1, 2, [6, 8], False), (None, 8, 2, [], False),
                (0, None, 2, [], False),
                (10**30, None, 1, [8], True), (None, 10**30, 1, [], False),
            ):  # fmt: skip
                page = self.wait(journal.history(EVERYBODY, before, after, limit))
                self.assertEqual((self.ids(page), page.more), (ids, more), (before, after))

    def test_names(self) -> None:
        """A name is compared by its key, and whoever had it: another identity of this name is meant as well."""
        journal = self.make()
        self.keep(
            journal, message(1, 2)._replace(to_name="Zoë"), message(5, 1)._replace(sender_name="ZOË"),
            message(6, 1)._replace(sender_name="zoe"),
        )  # fmt: skip
        for _ in range(2):
            self.assertEqual(self.ids(self.wait(journal.history((1, "zoë"), None, None, 9))), [1, 2])
            self.assertEqual(
                self.wait(journal.unread(1, 0, [], frozenset())),
                [Unread((1, "zoe"), "zoe", 1), Unread((1, "zoë"), "ZOË", 1)],
            )
            self.settle(journal)

    def test_blocked(self) -> None:
        """Who ignored the sender never sees it, anywhere; the sender does."""
        journal = self.make()
        self.keep(journal, message(1, 2, b"psst", blocked=True))
        for _ in range(2):
            self.assertEqual(self.ids(self.wait(journal.history((1, "n2"), None, None, 9))), [1])
            self.assertEqual(self.ids(self.wait(journal.history((2, "n1"), None, None, 9))), [])
            self.assertEqual(self.search(journal, "psst", (1, "")), [1])
            self.assertEqual(self.search(journal, "psst", (2, ""), (2, "n1")), [])
            self.assertEqual(self.wait(journal.unread(2, 0, [], frozenset())), [])
            self.settle(journal)

    def test_unread(self) -> None:
        """What others said above the marks; own messages, reactions and what was taken back do not count."""
        journal = self.make()
        self.keep(
            journal, message(2), message(1), message(2, ROOM), message(2, ROOM), message(3, 1), message(2, 1),
            message(1, 2), message(2, OTHER), message(3, kind=Kind.REACT, ref=1), message(3),
            message(2, ROOM, kind=Kind.RETRACT, ref=4),
        )  # fmt: skip
        for _ in range(2):
            self.assertEqual(
                self.wait(journal.unread(1, 0, [((ROOM, ""), 0), (EVERYBODY, 0), ((OTHER, ""), 8)], frozenset())),
                [
                    Unread((ROOM, ""), "", 1), Unread(EVERYBODY, "", 2), Unread((1, "n2"), "n2", 1),
                    Unread((1, "n3"), "n3", 1),
                ],
            )  # fmt: skip
            self.assertEqual(
                self.wait(journal.unread(1, 5, [(EVERYBODY, 1)], frozenset({"n3"}))),
                [Unread((1, "n2"), "n2", 1)],
            )
            self.settle(journal)

    def test_unread_is_capped(self) -> None:
        """Very many are not told apart, and those who do not count do not use the cap up."""
        for module in (unread, memory):
            self.patch(module, "UNREAD_LIMIT", 5)
        self.patch(unread, "STEP", 4)
        self.patch(unread, "LOOK", 6)
        self.patch(unread, "PEERS", 2)
        journal = self.make()
        people = [2, 2, 2, 3, 3, 3, 4, 2, 3, 3, 3, 5, 6] * 3
        self.keep(journal, *(message(who) for who in people), *(message(who, 1) for who in people))
        for _ in range(2):
            counts = self.wait(journal.unread(1, 0, [(EVERYBODY, 0)], frozenset()))
            self.assertEqual([each.count for each in counts], [5, 5, 5, 3, 3, 3])
            counts = self.wait(journal.unread(1, 0, [(EVERYBODY, 20)], frozenset({"n2", "n3"})))
            self.assertEqual(
                [(each.place[1], each.count) for each in counts], [("", 5), ("n4", 3), ("n5", 3), ("n6", 3)]
            )
            self.settle(journal)

    def test_words(self) -> None:
        """Words are compared without case and accents, side by side in quotes, and by their beginning with a star."""
        journal = self.make()
        texts = [
            "Der Zug kommt heute", "ein ZÜGIGER Zug", "zug-um-zug", "Crème brûlée, s'il vous plaît", "Поезд", "日本語",
            "a_b C3PO 42", "*", "kein", "क्या हाल",
        ]  # fmt: skip
        self.keep(journal, *(message(text=text.encode()) for text in texts))
        for typed, ids in (
            ("zug", [3, 2, 1]), ("ZUG", [3, 2, 1]), ("zug heute", [1]), ("zugiger", [2]), ("zu*", [3, 2, 1]),
            ('"der zug"', [1]), ('"zug der"', []), ("zug-um", [3]), ('"kommt heu"*', [1]), ('"kommt heu"', []),
            ("creme brulee", [4]), ("плаит", []), ("поезд", [5]), ("日本*", [6]), ("日本", []), ("a b", [7]),
            ("c3po", [7]),
            ("42", [7]), ("*", []), ("", []), ('""', []), ("zug OR heute", []), ("zug NOT heute", []), ("ug", []),
            ('"der zug', [1]), ("k* heute", [1]), ("zug*heute", []), ("क्या", [10]), ("s'il", [4]), ("nirgends*", []),
            ("kommt zug zug", [1]), ("he*", [1]), ('"kommt zug he"*', []),
        ):  # fmt: skip
            self.assertEqual(self.search(journal, typed), ids, typed)

    def test_whatever_is_typed(self) -> None:
        """Nothing that is typed is an error, however it would be read by a database."""
        journal = self.make()
        self.keep(journal, message(text=b"text and place near"))
        for typed in (
            '"', '"""', "'", "text:text", "place:p0", "text : (", ")", "NEAR(text and, 2)", "^text", "text + and",
            "-text",
            "{text place}: near", "*a", "a**", "\0", "a\0b", "\U0010ffff", "%s {} \\", "; DROP TABLE words", "AND",
            "NOT",
            "OR OR", "()" * 500, "a " * 2000, "\ud800",
        ):  # fmt: skip
            self.search(journal, typed)
        self.assertEqual(self.search(journal, "text:text"), [])
        self.assertEqual(self.search(journal, "AND text"), [1])
        self.assertEqual(self.search(journal, "p0"), [])

    def test_so_many_words(self) -> None:
        """The first 32 words count, also where they stand in one phrase; a phrase that is cut is no beginning."""
        journal = self.make()
        words = [f"w{number}" for number in range(100, 140)]
        self.keep(journal, message(text=" ".join(words).encode()))
        full, short = " ".join(words[:32]), " ".join(words[:31])
        for typed, found in (
            (f"{full} none", 1), (f"{short} none", 0), (f'"{full} none"', 1), (f'"{short} none"', 0),
            (f'{words[7]} "{short} none" none', 1), (f'"{short} w13"*', 1), (f'"{short} w1"', 0),
            (f'"{" ".join(words[:30])} w13 w1"*', 0), (f'... "{short}" -- w13*', 1), (f'"{full}" none', 1),
            (f'"{short} w13 none"*', 0),
        ):  # fmt: skip
            self.assertEqual(len(self.search(journal, typed)), found, typed)

    def test_search_after_changes(self) -> None:
        """Messages are found by the words that they have now, whenever they were changed."""
        journal = self.make()
        self.keep(journal, message(text=b"old"), message(text=b"old"), message(text=b"old"))
        self.keep(journal, message(text=b"new", kind=Kind.EDIT, ref=1), message(kind=Kind.RETRACT, ref=2))
        self.assertEqual((self.search(journal, "old"), self.search(journal, "new")), ([3], [1]))
        self.keep(journal, message(text=b"newest", kind=Kind.EDIT, ref=1), message(kind=Kind.RETRACT, ref=3))
        self.keep(journal, message(text=b"old", kind=Kind.EDIT, ref=3))
        found = [self.search(journal, word) for word in ("old", "new", "newest")]
        self.assertEqual(found, [[], [], [1]])
        query = Query("newest", [EVERYBODY])
        self.assertEqual(self.wait(journal.search(query)).messages, [Kept(1, message(text=b"newest"), 6)])

    def test_search_is_bounded(self) -> None:
        """A search looks at so many messages, and says where to go on."""
        for module in (search, memory):
            self.patch(module, "SEARCH_ROWS", 10)
        self.patch(search, "QUICK_ROWS", 10)
        journal = self.make()
        self.keep(
            journal, *(message(text=b"even the" if number % 2 else b"odd the") for number in range(100))
        )
        found = self.wait(journal.search(Query("even odd", [EVERYBODY])))
        self.assertEqual(list(found.messages), [])
        self.assertIs(found.more is None, False)
        self.assertEqual(self.search(journal, "even odd"), [])
        for words in ("even", "e*", "the even", "t* e*", '"even th"*'):
            self.assertEqual(self.search(journal, words, limit=3), [*range(100, 0, -2)], words)

    def test_rooms_are_read(self) -> None:
        """Who reads on gets what was said in the rooms that she names, and her own, of every kind."""
        journal = self.make()
        self.keep(
            journal, join(2), message(2, ROOM), message(3, ROOM), message(3, OTHER), message(1, ROOM, kind=Kind.TOPIC),
            message(3, 2, blocked=True), message(2, OTHER),
        )  # fmt: skip

        def read(rooms: Sequence[int], private: bool = False) -> list[int]:
            return [id for id, _ in self.wait(journal.read(2, 0, 99, private, rooms)).messages]

        self.assertEqual(read([ROOM]), [1, 2, 3, 5, 6, 7])
        self.assertEqual(read([ROOM, OTHER]), [1, 2, 3, 4, 5, 6, 7])
        self.assertEqual(read([]), [1, 2, 6, 7])
        self.assertEqual(read([ROOM], private=True), [6])
        page = self.wait(journal.read(2, 1, 2, rooms=[ROOM]))
        self.assertEqual(([id for id, _ in page.messages], page.upto), ([2, 3], 3))

    def test_owed_in_a_room(self) -> None:
        """Members at the time were owed a room's message: not those who came later, and not those who had left."""
        journal = self.make()
        people = [standing(who) for who in (1, 2, 3, 4)]
        self.keep(journal, join(1), join(2), join(4, OTHER), join(9), standings=people)
        self.keep(journal, message(1, ROOM), leave(2))
        self.keep(journal, message(1, ROOM), standings=[standing(1, left=6)])
        self.keep(journal, join(3), join(2), message(3, ROOM))

        def owed(id: int) -> list[int]:
            return [each.id for each in self.wait(journal.owed(id, ROOM))]

        self.assertEqual([owed(id) for id in (5, 6, 7, 8, 10, 99)], [[1, 2], [1, 2], [], [], [2, 3], [2, 3]])
        self.assertEqual(len(self.wait(journal.owed(5, -7))), 0)
        self.assertEqual(journal.last_room, OTHER)

    def test_keys_of_all_kinds(self) -> None:
        """A key says what kind of entry it stood for, and what that was about."""
        journal = self.make()
        self.keep(journal, message(1), message(1, once=b"k", kind=Kind.EDIT, ref=1))
        keys, _ = self.wait(journal.keys(0, [1], None))
        self.assertEqual([(key.kind, key.ref) for key in keys], [(Kind.EDIT, 1)])

    # -- all at once

    def check(
        self, entries: list[Entry], cut: int, place: Place, bounds: tuple[int, int], query: Query
    ) -> None:
        at, limit = bounds
        journal = self.make()
        self.keep(journal, *entries[:cut])
        self.settle(journal)
        self.keep(journal, *entries[cut:])
        ids = [*range(1, len(entries) + 1)]
        self.assertEqual(self.wait(journal.look_up(ids)), [stands(entries, id) for id in ids])
        page = self.wait(journal.read(1, at, 99))
        shown = [(id, entry) for id, entry in page.messages if entry.kind in (Kind.SAID, Kind.EDIT)]
        about = {id: entry.ref if entry.kind == Kind.EDIT else id for id, entry in shown}
        self.assertEqual(page.retracted, {id for id, ref in about.items() if stands(entries, ref).retracted})
        inside = all_in(entries, place)
        newest = [id for id in inside if id < at][-limit:]
        page = self.wait(journal.history(place, at, None, limit))
        self.assertEqual(list(page.messages), [stands(entries, id) for id in newest])
        self.assertEqual(page.more, any(id < at and id not in newest for id in inside))
        oldest = [id for id in inside if id > at][:limit]
        page = self.wait(journal.history(place, None, at, limit))
        self.assertEqual(list(page.messages), [stands(entries, id) for id in oldest])
        self.assertEqual(page.more, any(id > at and id not in oldest for id in inside))
        marks = [(EVERYBODY, at // 2), ((ROOM, ""), at)]
        for without in (frozenset[str](), query.without):
            self.assertEqual(
                self.wait(journal.unread(2, at, marks, without)), unread_by(entries, 2, at, marks, without)
            )
        found = self.search(
            journal, query.words, *query.places, sender=query.sender, without=query.without, before=query.before,
            limit=query.limit,
        )  # fmt: skip
        self.assertEqual(found, found_by(entries, query))


BOUNDS = st.tuples(st.integers(0, 31), st.integers(1, 6))


class OnDisk(Conversations, journalkit.OnDisk):
    """:class:`SqliteJournal`."""

    @examples(80)
    @given(talks(), st.integers(0, 30), PLACES, BOUNDS, QUERIES, st.integers(1, 9), st.integers(1, 4))
    def test_like_the_model(
        self,
        entries: list[Entry],
        cut: int,
        place: Place,
        bounds: tuple[int, int],
        query: Query,
        window: int,
        few: int,
    ) -> None:
        """Whatever is in the index and whatever is above it, with bounds of all sizes, all is as in the model."""
        patches = [
            self.patch(module, name, value)
            for module, name, value in (
                (reader, "WINDOW", window), (index, "SLICE", window), (unread, "STEP", few), (unread, "LOOK", window),
                (unread, "PEERS", few), (search, "SEARCH_ROWS", few), (search, "QUICK_ROWS", few * window),
                (search, "BEGINNINGS", few), (search, "NAMES", window),
            )
        ]  # fmt: skip
        try:
            self.check(entries, cut, place, bounds, query)
        finally:
            for patch in patches:
                patch.restore()


class InMemory(Conversations, journalkit.InMemory):
    """:class:`MemoryJournal`."""

    @examples(80)
    @given(talks(), st.integers(0, 30), PLACES, BOUNDS, QUERIES, st.integers(1, 9))
    def test_like_the_model(
        self, entries: list[Entry], cut: int, place: Place, bounds: tuple[int, int], query: Query, rows: int
    ) -> None:
        """All is as in the model."""
        patches = [
            self.patch(memory, name, value)
            for name, value in (("SEARCH_ROWS", rows), ("SEARCH_BYTES", 7 * rows))
        ]
        try:
            self.check(entries, cut, place, bounds, query)
        finally:
            for patch in patches:
                patch.restore()
