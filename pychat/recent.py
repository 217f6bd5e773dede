"""Who said the newest messages, and to whom: for whoever acknowledges one, or says something about it.

It is noted of every message and hardly ever looked up.  So there are three lists that grow together, and nothing is
made for a message: what thousands of objects lie apart in memory costs more than the search in ascending ids.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .rooms import Room


class Recent:
    """Messages in two generations, the newer of which grows; people by their keys, for they may have left since."""

    __slots__ = ("_by", "_ids", "_older", "_to")

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._to: list[Room | str | None] = []
        self._by: list[str] = []
        self._older: tuple[list[int], list[Room | str | None], list[str]] = ([], [], [])

    def __len__(self) -> int:
        """How many there are in the newer generation."""
        return len(self._ids)

    def turn(self) -> None:
        """The newer generation is the older one from now on, which is forgotten."""
        self._older = (self._ids, self._to, self._by)
        self._ids, self._to, self._by = [], [], []

    def note(self, id: int, to: Room | str | None, by: str) -> None:
        """A message, with an id above all that were noted before.

        :param to: the room, or the key of whom it is to; ``None`` is everybody.
        :param by: the key of its sender.
        """
        self._ids.append(id)
        self._to.append(to)
        self._by.append(by)

    def note_all(self, ids: tuple[int, ...], by: str) -> None:
        """Several messages of one sender to everybody."""
        for id in ids:
            self._ids.append(id)
            self._to.append(None)
            self._by.append(by)

    def find(self, id: int) -> tuple[Room | str | None, str] | None:
        """To whom a message was and who said it; ``None`` if that is not known any more."""
        for ids, to, by in ((self._ids, self._to, self._by), self._older):
            place = bisect_left(ids, id)
            if place < len(ids) and ids[place] == id:
                return to[place], by[place]
        return None
