"""The newest entries within bounds: what the journal in memory does for every message, apart so that it is compiled.

Theory of operation.  What was appended as one item is kept as one: an entry, or several texts of one sender.  Most of
it is never read, so the entries of such texts are made only when somebody asks, one item at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from ..vocabulary import Entry, Texts, spread

# Of Entry and of Texts: a place is found faster than a name.
TEXT: Final = 5
KIND: Final = 7
TEXTS: Final = 3


class Ring:
    """Entries, the oldest of which go first; their ids have no gaps.

    :ivar oldest: the id of the first.
    :ivar newest: the id of the last; one below the first, if there is none.
    :ivar nbytes: the bytes of their texts.
    """

    __slots__ = ("_firsts", "_items", "nbytes", "newest", "oldest")

    def __init__(self) -> None:
        self._items: deque[Entry | Texts] = deque()
        self._firsts: deque[int] = deque()  # the id of the first of each
        self.oldest, self.newest = 1, 0
        self.nbytes = 0

    def __len__(self) -> int:
        """How many entries there are."""
        return self.newest + 1 - self.oldest

    def add(self, entries: Sequence[Entry | Texts]) -> list[tuple[int, Entry]]:
        """Add some.

        :return: those that are more than a text, with their ids.
        """
        special: list[tuple[int, Entry]] = []
        newest, nbytes = self.newest, self.nbytes
        for item in entries:
            self._items.append(item)
            self._firsts.append(newest + 1)
            fields: tuple[Any, ...] = item
            if isinstance(item, Texts):
                texts: Sequence[bytes] = fields[TEXTS]
                newest += len(texts)
                for text in texts:
                    nbytes += len(text)
            else:
                newest += 1
                nbytes += len(fields[TEXT])
                if fields[KIND]:
                    special.append((newest, item))
        self.newest, self.nbytes = newest, nbytes
        return special

    def trim(self, most: int, most_bytes: int) -> list[tuple[int, Entry]]:
        """Forget the oldest, down to so many with so many bytes.

        :return: those among them that were more than a text, with their ids.
        """
        special: list[tuple[int, Entry]] = []
        oldest, nbytes = self.oldest, self.nbytes
        over = self.newest + 1 - oldest - most
        while over > 0 or nbytes > most_bytes:
            item = self._items.popleft()
            self._firsts.popleft()
            fields: tuple[Any, ...] = item
            if isinstance(item, Texts):
                texts: Sequence[bytes] = fields[TEXTS]
                gone = 0
                while gone < len(texts) and (over > 0 or nbytes > most_bytes):
                    nbytes -= len(texts[gone])
                    gone += 1
                    over -= 1
                oldest += gone
                if gone < len(texts):
                    self._items.appendleft(item._replace(texts=texts[gone:]))
                    self._firsts.appendleft(oldest)
                continue
            nbytes -= len(fields[TEXT])
            if fields[KIND]:
                special.append((oldest, item))
            oldest += 1
            over -= 1
        self.oldest, self.nbytes = oldest, nbytes
        return special

    def entry(self, id: int) -> Entry:
        """The entry with an id that is here."""
        place = bisect_right(self._firsts, id) - 1
        item, number = self._items[place], id - self._firsts[place]
        if isinstance(item, Texts):
            item = item._replace(texts=item.texts[number : number + 1])
        return spread((item,))[0]

    def up(self, after: int, plain: bool = True) -> Iterator[tuple[int, Entry]]:
        """Those above an id, oldest first, with their ids.  Nothing may be added or trimmed meanwhile.

        :param plain: with what was said to everybody in runs, none of which has a key or is about another one.
        """
        place = max(bisect_right(self._firsts, after) - 1, 0)
        for first, item in zip(
            islice(self._firsts, place, None), islice(self._items, place, None), strict=True
        ):
            if not isinstance(item, Texts):
                if first > after:
                    yield first, item
                continue
            if not plain:
                continue
            for id, entry in enumerate(spread((item,)), first):
                if id > after:
                    yield id, entry

    def down(self, before: int, plain: bool = True) -> Iterator[tuple[int, Entry]]:
        """The same with those below an id, newest first."""
        place = len(self._items) - bisect_right(self._firsts, before - 1)
        for first, item in zip(
            islice(reversed(self._firsts), place, None),
            islice(reversed(self._items), place, None),
            strict=True,
        ):
            if not isinstance(item, Texts):
                yield first, item
                continue
            if not plain:
                continue
            each = spread((item,))
            for number in range(len(each) - 1, -1, -1):
                if first + number < before:
                    yield first + number, each[number]
