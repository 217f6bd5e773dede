"""The newest entries within bounds: what the journal in memory does for every message, apart so that it is compiled."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from ..vocabulary import Entry, Texts, spread

# Of Entry: a place is found faster than a name.
TEXT: Final = 5
KIND: Final = 7


class Ring:
    """Entries, the oldest of which go first.

    :ivar entries: all of them, in the order of their ids.
    :ivar nbytes: the bytes of their texts.
    """

    __slots__ = ("entries", "nbytes")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.nbytes = 0

    def add(self, entries: Sequence[Entry | Texts]) -> tuple[int, list[tuple[int, Entry]]]:
        """Add some.

        :return: how many there were, and those that are more than a text: which of them each is, from 0 on, and it.
        """
        each = spread(entries)
        self.entries.extend(each)
        special: list[tuple[int, Entry]] = []
        nbytes = place = 0
        for entry in each:
            fields: tuple[Any, ...] = entry
            nbytes += len(fields[TEXT])
            if fields[KIND]:
                special.append((place, entry))
            place += 1
        self.nbytes += nbytes
        return place, special

    def trim(self, oldest: int, most: int, most_bytes: int) -> list[tuple[int, Entry]]:
        """Forget the oldest, down to so many with so many bytes.

        :param oldest: the id of the first.
        :return: those among them that were more than a text, with their ids.
        """
        special: list[tuple[int, Entry]] = []
        over = len(self.entries) - most
        nbytes = self.nbytes
        while over > 0 or nbytes > most_bytes:
            entry = self.entries.popleft()
            fields: tuple[Any, ...] = entry
            nbytes -= len(fields[TEXT])
            if fields[KIND]:
                special.append((oldest, entry))
            oldest += 1
            over -= 1
        self.nbytes = nbytes
        return special
