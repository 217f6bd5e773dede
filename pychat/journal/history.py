"""Paging through one conversation: where the index has its messages, and where the journal alone has them.

Up to its watermark the index lists the ids of every conversation.  What is above has to be looked at message by
message: mostly a few hundred, and many while very much is said or the index is made anew.  So a walk takes as many
looks as it needs, each over a bounded stretch, and knows in between how far it has come.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from ..vocabulary import Place, Stretch
from .kept import look_up, packed
from .runs import between

Ask = Callable[[str, tuple[object, ...]], list[Any]]
"""Asks the index."""

_SHOWN = "(kind IS NULL OR kind = 3)"
_MINE = (
    "(sender = :owner AND recipient > 0 AND key_of(recipient_name) = :peer "
    "OR recipient = :owner AND blocked IS NULL AND key_of(sender_name) = :peer)"
)
_ABOVE = (
    "SELECT json_group_array(id) FROM ("  # noqa: S608
    f"SELECT id FROM message WHERE id > :above AND id <= :upto AND {_SHOWN} AND "
)
_TO_ALL = _ABOVE.replace(
    "message WHERE id > :above AND id <= :upto", f"entry WHERE {between(':above', ':upto')}"
)

FIRST_LOOK = 1_000
"""Ids that the first look goes over without the index; each further one over twice as many."""
_PLACE = (
    "SELECT json_group_array(id) FROM ("
    "SELECT id FROM derived.place WHERE owner = ? AND peer = ? AND id > ? AND id < ? ORDER BY id {} LIMIT ?)"
)


class Walk:
    """One page on its way: what was asked, and what was found so far."""

    def __init__(self, place: Place, before: int | None, after: int | None, limit: int) -> None:
        self._owner, self._peer = place
        self._limit = limit
        self._up = after is not None
        self._above = after or 0
        self._below = before
        self._ids: list[int] = []
        self._window = FIRST_LOOK
        self.stretch: Stretch | None = None
        """The page, when it is complete."""

    def look(
        self, connection: sqlite3.Connection, ask: Ask, indexed: int, span: tuple[int, int], window: int
    ) -> None:
        """Go on.

        :param indexed: the index has all up to here.
        :param span: the ids of the oldest and the newest message.
        :param window: ids to look at without the index, at most.
        """
        window, self._window = min(self._window, window), 2 * self._window
        oldest, newest = span
        self._above = max(min(self._above, newest), oldest - 1)
        self._below = newest + 1 if self._below is None else min(self._below, newest + 1)
        if self._up:
            self._ask_index(ask, self._above, min(indexed + 1, self._below))
            self._above = max(self._above, indexed)
            upper = min(self._above + window + 1, self._below)
            self._scan(connection, self._above, upper)
            self._above = upper - 1
        else:
            lower = max(self._above, indexed, self._below - 1 - window)
            self._scan(connection, lower, self._below)
            self._below = min(self._below, lower + 1)
            if lower <= indexed:
                self._ask_index(ask, self._above, self._below)
                self._below = self._above + 1
        if len(self._ids) > self._limit or self._above + 1 >= self._below:
            more = len(self._ids) > self._limit
            self.stretch = Stretch(look_up(connection, self._ids[: self._limit]), more)

    @property
    def _wanted(self) -> int:
        return self._limit + 1 - len(self._ids)

    def _ask_index(self, ask: Ask, above: int, below: int) -> None:
        if above + 1 < below and self._wanted > 0:
            query = _PLACE.format("ASC" if self._up else "DESC")
            for (ids,) in ask(query, (self._owner, self._peer, above, below, self._wanted)):
                self._add(json.loads(ids))

    def _scan(self, connection: sqlite3.Connection, above: int, below: int) -> None:
        if above + 1 >= below or self._wanted <= 0:
            return
        order = "ASC" if self._up else "DESC"
        query = (
            f"{_ABOVE if self._owner else _TO_ALL}{said_in(self._owner)} ORDER BY id {order} LIMIT :limit)"
        )
        asked: dict[str, object] = {
            "owner": self._owner, "peer": self._peer, "above": above, "upto": below - 1, "limit": self._wanted,
        }  # fmt: skip
        self._add(packed(connection, query, asked))

    def _add(self, ids: list[int]) -> None:
        self._ids += sorted(ids, reverse=not self._up)


def said_in(owner: int) -> str:
    """What is true of the messages of a conversation."""
    if owner > 0:
        return _MINE
    return "recipient = :owner" if owner else "recipient IS NULL"
