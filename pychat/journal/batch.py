"""What one commit of the durable journal writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..vocabulary import Entry, Standing, Texts
from . import rooms
from .rows import (
    INSERT_MESSAGE,
    INSERT_TO_ALL,
    INSERT_TO_ONE,
    REPLACE_STANDING,
    message_rows,
    sort_out,
    standing_row,
)
from .runs import INSERT_RUN, pack


class Batch:
    """Entries and standings as rows.

    :ivar first: the id of the first message.
    :ivar behind: the id behind the last.
    :ivar special: the entries, with their ids, that are no messages.
    """

    def __init__(self, first: int, entries: Sequence[Entry | Texts], standings: Sequence[Standing]) -> None:
        self.first = first
        self.behind, self._runs, singles = pack(first, entries)
        self._to_all, self._to_one, others = sort_out(singles)
        self._others = message_rows(others)
        self.special = [(id, entry) for id, entry in others if entry.kind]
        self._standings = [standing_row(standing) for standing in standings]
        self._ended = [standing for standing in standings if standing.left is not None]

    def write(self, connection: sqlite3.Connection) -> None:
        """Write all of it, in a transaction of its own; returns when it is on the disk.

        :raise sqlite3.Error: the transaction may be open still.
        """
        connection.execute("BEGIN IMMEDIATE")
        for insert, rows in (
            (INSERT_RUN, self._runs), (INSERT_TO_ALL, self._to_all), (INSERT_TO_ONE, self._to_one),
            (INSERT_MESSAGE, self._others), (REPLACE_STANDING, self._standings),
        ):  # fmt: skip
            if rows:
                connection.executemany(insert, rows)
        if self.special or self._ended:
            rooms.project(connection, self.special, self._ended)
        connection.execute("COMMIT")
