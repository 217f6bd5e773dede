"""Searching: the index's full text, a bounded part of it at a time.

Theory of operation.  A message is found if it has all pieces that were typed, and is where the asker may look: both
are words of the index.  Full-text search goes from one message with the rarest of them to the next, and a search ends
after :data:`~pychat.journal.words.SEARCH_ROWS` of these; so first each word is asked where its so-manieth message is,
and the one that comes furthest is the rarest.  If it has fewer there is nothing to bound.

If it has more it mostly has very many, and so have the others, and then the quick way might have no end: two words
that are common and never meet are looked for through the whole journal, for SQLite looks at bounds only where there is
a match.  So the messages of the rarest are copied into a table in memory, which is asked in its place.  That is also
how a beginning (``a*``) is looked for of which there are too many words to name them all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import JournalError
from ..vocabulary import Found, Place, Query
from .index import HIDDEN, TOKENIZER, Index, attach
from .kept import look_up, packed
from .runs import SPAN
from .store import Handle, connect
from .words import SEARCH_ROWS, first_words, split

QUICK_ROWS = 100_000
"""So many messages with the rarest word the quick way may go through."""

BEGINNINGS = 200
"""Words that a beginning may stand for and be looked for by their names."""

NAMES = 1_000
"""Words that the beginnings of one search may stand for together; those above it are not looked for by their names."""

_UNSEARCHABLE = "The journal's index could not be read: it may have to be made anew. Try again later."

_TEMPORARY = f"""
CREATE VIRTUAL TABLE temp.typed USING fts5(text, tokenize = "{TOKENIZER}");
CREATE VIRTUAL TABLE temp.term USING fts5vocab(temp, typed, instance);
CREATE VIRTUAL TABLE temp.word USING fts5vocab(main, words, instance);
CREATE VIRTUAL TABLE temp.candidate USING fts5(text, place, content = '', columnsize = 0, tokenize = "{TOKENIZER}");
"""
_MATCH = (
    "SELECT json_group_array(rowid) FROM (SELECT rowid FROM {} WHERE {} MATCH ? AND rowid >= ? AND rowid < ? "
    "ORDER BY rowid DESC LIMIT ? OFFSET ?)"
)
_MATCH_WORDS = _MATCH.format("words", "words")
_MATCH_CANDIDATES = _MATCH.format("temp.candidate", "candidate")
# From each word to the next, over its messages: U+0001 comes after it and before all words that go on.
_BEGINNINGS = (
    "WITH RECURSIVE each(term) AS (SELECT (SELECT term FROM temp.word WHERE term >= ?1 LIMIT 1) UNION ALL "
    "SELECT (SELECT term FROM temp.word WHERE term >= each.term || char(1) LIMIT 1) FROM each "
    "WHERE substr(each.term, 1, length(?1)) = ?1 LIMIT ?2 + 1) "
    "SELECT json_group_array(term) FROM each WHERE substr(term, 1, length(?1)) = ?1"
)
_CANDIDATES = (
    "INSERT INTO temp.candidate (rowid, text, place) SELECT rowid, text, place FROM words "
    "WHERE words MATCH ? AND rowid >= ? AND rowid < ?"
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to ask full-text search."""

    single: list[str]
    """Of each of these a message has to have one: groups of single words, which can be asked one by one."""
    quick: str
    """All of it, or nothing if that would not be quick."""
    whole: str
    """All of it."""


class Searcher:
    """Answers searches; one thread at a time may ask."""

    def __init__(self, index: Index, journal: Path) -> None:
        self._index = index
        self._journal = journal
        self._generation = -1
        self._handle = Handle(self._open)

    def drop(self) -> None:
        """Close the connection; the next search opens another."""
        self._handle.drop()

    def _open(self) -> sqlite3.Connection:
        self._generation = self._index.generation
        connection = connect(self._index.path, read_only=True)
        try:
            connection.execute("PRAGMA temp_store = MEMORY")
            attach(connection, self._journal, "journal")
            connection.executescript(_TEMPORARY)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _looking(self) -> Iterator[sqlite3.Connection]:
        if self._index.damaged:
            self.drop()
            raise JournalError("journal-unavailable", _UNSEARCHABLE)
        if self._generation != self._index.generation:
            self.drop()
        try:
            connection = self._handle.get()
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            self.drop()
            if isinstance(error, sqlite3.Error):
                self._index.distrust(error)
                raise JournalError("journal-unavailable", _UNSEARCHABLE) from error
            raise

    def search(self, query: Query) -> Found:
        """See :meth:`IJournal.search`; of what is in the index.

        :raise JournalError: ``journal-unavailable``: it cannot be read.
        """
        with self._looking() as connection:
            (upto,) = connection.execute("SELECT upto FROM state").fetchone()
            oldest, _ = connection.execute(SPAN).fetchone()
            below = upto + 1 if query.before is None else min(query.before, upto + 1)
            plan = _plan(connection, query)
            if plan is None or below <= oldest:
                return Found([], None)
            ids, more = _find(connection, plan, oldest, below, query.limit)
            # What changed since it was indexed may not have these words any more.
            found = [kept for kept in look_up(connection, ids) if not kept.retracted and kept.edited <= upto]
        return Found(found[::-1], more)


def _find(
    connection: sqlite3.Connection, plan: _Plan, oldest: int, below: int, limit: int
) -> tuple[list[int], int | None]:
    """The ids found, newest first, and where to search on."""

    def match(query: str, text: str, floor: int, limit: int, offset: int = 0) -> list[int]:
        return sorted(packed(connection, query, (text, floor, below, limit, offset)), reverse=True)

    floor, rarest, exhausted = below, "", False
    for single in plan.single:
        furthest = match(_MATCH_WORDS, single, oldest, 1, SEARCH_ROWS - 1)
        if not furthest:
            floor, rarest, exhausted = oldest, single, True
            break
        if furthest[0] < floor:
            floor, rarest = furthest[0], single
    # Asked and not reckoned: how dense a word is here says nothing of how dense it is elsewhere.
    if plan.quick and not exhausted and not match(_MATCH_WORDS, rarest, oldest, 1, QUICK_ROWS):
        floor = oldest
        ids = match(_MATCH_WORDS, plan.quick, floor, limit + 1)
    else:
        connection.execute("INSERT INTO temp.candidate (candidate) VALUES ('delete-all')")
        connection.execute(_CANDIDATES, (rarest, floor, below))
        ids = match(_MATCH_CANDIDATES, plan.whole, floor, limit + 1)
    if len(ids) > limit:
        return ids[:limit], ids[limit - 1]
    return ids, floor if floor > oldest else None


def _plan(connection: sqlite3.Connection, query: Query) -> _Plan | None:
    """What to ask; ``None`` if nothing can be found."""
    pieces = _pieces(connection, query.words)
    if not pieces or not query.places:
        return None
    bounds = [f"place : {_name(query.sender)}"] if query.sender else []
    bounds.append(f"place : ({' OR '.join(_spot(place) for place in query.places)})")
    single: list[str] = []
    quick: list[str] = []
    whole: list[str] = []
    is_quick, named = True, 0
    for words, beginning in pieces:
        phrase = f'text : "{" ".join(words)}"'
        single += [f'text : "{word}"' for word in words[: len(words) - beginning]]
        if not beginning:
            whole.append(phrase)
            quick.append(phrase)
            continue
        whole.append(f"{phrase} *")
        names = _beginnings(connection, words[-1]) if named < NAMES else None
        named += BEGINNINGS if names is None else len(names)
        if names is None:
            is_quick = False
            continue
        if not names:
            return None
        group = "text : ({})".format(" OR ".join(f'"{name}"' for name in names))
        single.append(group)
        quick.append(group)
        is_quick = is_quick and len(words) == 1
    out = " OR ".join(map(_name, sorted(query.without)))

    def together(parts: list[str]) -> str:
        wanted = " AND ".join([*parts, *bounds])
        return f"({wanted}) NOT place : ({out})" if out else wanted

    # Places last: they are many, and a word that is rare saves asking for them.
    return _Plan([*dict.fromkeys([*single, *bounds])], together(quick) if is_quick else "", together(whole))


def _pieces(connection: sqlite3.Connection, typed: str) -> list[tuple[list[str], bool]]:
    """What was typed, in words as the index has them."""
    split_up = split(typed)
    connection.execute("DELETE FROM temp.typed")
    connection.executemany(
        "INSERT INTO temp.typed (rowid, text) VALUES (?, ?)",
        [(n, text) for n, (text, _) in enumerate(split_up)],
    )
    words: dict[int, list[str]] = {}
    for number, word in connection.execute("SELECT doc, term FROM temp.term ORDER BY doc, offset"):
        words.setdefault(number, []).append(word)
    return first_words((words[number], split_up[number][1]) for number in sorted(words))


def _beginnings(connection: sqlite3.Connection, beginning: str) -> list[str] | None:
    """The index's words that begin so; ``None`` if they are very many."""
    names: list[str] = packed(connection, _BEGINNINGS, (beginning, BEGINNINGS + 1))
    return names if len(names) <= BEGINNINGS else None


def _spot(place: Place) -> str:
    """A place as the index has it."""
    owner, peer = place
    if owner <= 0:
        return f'"{HIDDEN}r{-owner}"' if owner else f'"{HIDDEN}p0"'
    return f'"{HIDDEN}i{owner}x{peer.encode().hex()}"' if peer else f'"{HIDDEN}i{owner}"'


def _name(key: str) -> str:
    """A sender as the index has her, by her name's key."""
    return f'"{HIDDEN}n{key.encode().hex()}"'
