"""A journal of millions of messages in thousands of rooms, with its index, and how long it takes to read in it.

    python benchmarks/bigjournal.py FOLDER [--messages 5000000] [--rooms 2000]

makes the journal in FOLDER if there is none, opens it as a daemon would, and prints medians and 99th percentiles.
Other benchmarks import :func:`build` and start a daemon on it: :data:`TOKEN` lets in :data:`NAME`.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pychat.journal.index import SLICE, Index
from pychat.journal.rows import INSERT_MESSAGE, REPLACE_STANDING, standing_row
from pychat.journal.sqlite import SqliteJournal
from pychat.journal.store import FILE_NAME, open_journal
from pychat.vocabulary import EVERYBODY, Kind, Place, Query, Standing

NAME = "walker"
IDENTITY = (1 << 32) + 1
TOKEN = b"bigjournal-token-of-walker"
"""What :data:`NAME` shows to come back."""

HER_ROOMS = 200
"""Rooms that she is in: the first ones."""

PEOPLE = 3_000
VOCABULARY = 60_000
COMMON = "the"
"""In more than half of all messages."""
RARE = "quetzalcoatl"
"""In three messages."""
PAIR = ("evenly", "oddly")
"""Each in half of all messages, and never both."""


def texts(seed: int) -> Iterator[str]:
    """Texts of 4 to 14 words, of which the commonest are in most."""
    chosen = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = ["".join(chosen.choices(syllables, k=chosen.randint(2, 4))) for _ in range(VOCABULARY)]
    words[:3] = [COMMON, "and", "you"]
    weights = [*itertools.accumulate(1 / (rank + 1) for rank in range(VOCABULARY))]
    # Drawing words one by one would take most of the time.
    pool = chosen.choices(words, cum_weights=weights, k=1_000_000)
    position = 0
    while True:
        size = chosen.randint(4, 14)
        if position + size > len(pool):
            position = chosen.randint(0, 5000)
        yield " ".join(pool[position : position + size])
        position += size


def build(folder: Path, messages: int = 5_000_000, rooms: int = 2_000, *, index: bool = True) -> None:
    """Make the journal: of twenty messages one is to everybody, one is private, and the others are in rooms.

    A tenth of the rooms has half of what is said in rooms.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = random.Random(7)
    said = texts(11)
    now_ms = int(time.time() * 1000)
    connection = open_journal(folder / FILE_NAME)
    execute = connection.execute
    execute("PRAGMA synchronous = OFF")
    execute("PRAGMA cache_size = -64000")
    her_rooms = min(HER_ROOMS, rooms)
    execute("BEGIN")
    execute("INSERT INTO start VALUES (1, ?)", (now_ms,))
    execute("UPDATE last_room SET id = ?", (-rooms,))
    for number in range(1, rooms + 1):
        execute("INSERT INTO room VALUES (?, ?, x'', '', 0)", (-number, f"#room{number}"))
    joins = [
        (n, now_ms - messages, IDENTITY, NAME, -n, f"#room{n}", None, b"", Kind.JOIN, None, None)
        for n in range(1, her_rooms + 1)
    ]
    connection.executemany(INSERT_MESSAGE, joins)
    connection.executemany(
        "INSERT INTO stay VALUES (?, ?, ?, NULL)", [(IDENTITY, row[4], row[0]) for row in joins]
    )
    newest = her_rooms + messages
    standing = Standing(
        IDENTITY,
        NAME,
        0,
        newest,
        newest,
        0,
        None,
        False,
        True,
        False,
        hashlib.sha256(TOKEN).digest(),
        b"",
        now_ms,
    )
    connection.executemany(REPLACE_STANDING, [standing_row(standing)])
    rare = {her_rooms + messages * part // 8 for part in (1, 4, 7)}
    busy = max(1, rooms // 10)

    def rows(first: int, after: int) -> Iterator[tuple[Any, ...]]:
        for id in range(first, after):
            sender = chosen.randrange(PEOPLE)
            kind = id % 20
            if kind == 0 or id in rare:
                to, to_name = None, None
            elif kind == 1:
                to, to_name = IDENTITY, NAME
                if chosen.random() < 0.5:
                    to = chosen.randrange(PEOPLE) + IDENTITY + 1
                    to_name = f"person{to - IDENTITY - 1}"
            else:
                number = chosen.randrange(busy if chosen.random() < 0.5 else rooms) + 1
                to, to_name = -number, f"#room{number}"
            text = f"{next(said)} {PAIR[id % 2]}{' ' + RARE if id in rare else ''}"
            yield (
                id, now_ms - messages + id, sender + IDENTITY + 1, f"person{sender}", to, to_name, None, text.encode(),
                None, None, None,
            )  # fmt: skip

    for first in range(her_rooms + 1, newest + 1, 100_000):
        connection.executemany(INSERT_MESSAGE, rows(first, min(first + 100_000, newest + 1)))
    execute("COMMIT")
    execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    if index:
        build_index(folder)


def build_index(folder: Path) -> None:
    """Make the index as a daemon does, but in larger slices."""
    made = Index(folder / FILE_NAME)
    made.open()
    while made.fill():
        pass
    made.close()


class Reactor:
    """Stands in for a reactor: it waits for one answer."""

    def __init__(self) -> None:
        from queue import SimpleQueue

        self._calls: SimpleQueue[Any] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        self._calls.put((function, args))

    def callLater(self, *_: object) -> Any:
        class Never:
            def cancel(self) -> None: ...

        return Never()

    def wait(self, deferred: Deferred[Any]) -> Any:
        results: list[Any] = []
        deferred.addBoth(results.append)
        while not results:
            function, args = self._calls.get()
            function(*args)
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]


def measure(reactor: Reactor, name: str, times: int, ask: Callable[[], Deferred[Any]]) -> None:
    """Print how long it takes."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        reactor.wait(ask())
        spent.append((time.perf_counter() - started) * 1000)
    spent.sort()
    print(
        f"{name:44} median {statistics.median(spent):8.2f} ms   p99 {spent[int(len(spent) * 0.99)]:8.2f} ms   "
        f"most {spent[-1]:8.2f} ms",
        flush=True,
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--rooms", type=int, default=2_000)
    options = parser.parse_args()
    if not (options.folder / FILE_NAME).exists():
        started = time.perf_counter()
        build(options.folder, options.messages, options.rooms, index=False)
        print(f"journal made in {time.perf_counter() - started:.0f} s", flush=True)
    started = time.perf_counter()
    build_index(options.folder)
    print(f"index made in {time.perf_counter() - started:.0f} s, {SLICE} messages a slice", flush=True)
    for path in sorted(options.folder.glob("*.sqlite3*")):
        print(f"  {path.name}: {path.stat().st_size / 1e6:.0f} MB")
    reactor = Reactor()
    started = time.perf_counter()
    journal = SqliteJournal(reactor, options.folder, int(time.time() * 1000))
    spent = (time.perf_counter() - started) * 1000
    print(f"opened in {spent:.0f} ms: {len(journal.rooms)} rooms, ids up to {journal.last_id}")
    chosen = random.Random(3)
    people = [(IDENTITY, f"person{n}") for n in range(PEOPLE)]

    def somewhere() -> Place:
        return chosen.choice(
            [EVERYBODY, chosen.choice(people), *[(-chosen.randint(1, options.rooms), "")] * 8]
        )

    def page() -> Deferred[Any]:
        at = chosen.randint(1, journal.last_id)
        if chosen.random() < 0.5:
            return journal.history(somewhere(), at, None, 50)
        return journal.history(somewhere(), None, at, 50)

    hers: list[Place] = [EVERYBODY, (IDENTITY, ""), *((-n, "") for n in range(1, HER_ROOMS + 1))]

    def search(words: str, places: list[Place] = hers, **fields: Any) -> Callable[[], Deferred[Any]]:
        return lambda: journal.search(Query(words, places, **fields))

    measure(reactor, "page of 50, anywhere", 3000, page)
    measure(reactor, "newest page of 50", 1000, lambda: journal.history(somewhere(), None, None, 50))
    quiet: list[Place] = [(-options.rooms, "")]
    for words, places in (
        (RARE, hers), (COMMON, hers), (COMMON, [EVERYBODY]), (COMMON, quiet), (" ".join(PAIR), hers),
        (f'"{COMMON} {PAIR[0]}"', hers),
        ("and you", hers), ("b*", hers), ("bab*", hers), (f"{RARE[:4]}*", hers), (f"{PAIR[0]} {PAIR[1]}", [EVERYBODY]),
        (RARE, [EVERYBODY]),
    ):  # fmt: skip
        measure(reactor, f"search {words!r} in {len(places)}", 30, search(words, places))
    measure(reactor, "search common, from one", 30, search(COMMON, sender="person7"))
    measure(
        reactor, "search common, without two", 30, search(COMMON, without=frozenset({"person1", "person2"}))
    )
    marks = [(place, journal.last_id - chosen.randint(0, 500_000)) for place in hers if place[0] <= 0]
    measure(
        reactor,
        "unread in all her rooms",
        30,
        lambda: journal.unread(IDENTITY, journal.last_id - 10_000, marks, frozenset()),
    )
    marks = [(place, 0) for place, _ in marks]
    measure(reactor, "unread in all, never read", 10, lambda: journal.unread(IDENTITY, 0, marks, frozenset()))
    reactor.wait(journal.close())


if __name__ == "__main__":
    main()
