"""What one commit of the durable journal writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..vocabulary import Entry, Standing, Texts
from . import rooms
from .rows import INSERT_MESSAGE, INSERT_PLAIN, REPLACE_STANDING, message_rows, plain_rows, standing_row
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
        self.special: list[tuple[int, Entry]] = []
        self._insert, self._rows = INSERT_PLAIN, plain_rows(singles)
        if len(self._rows) < len(singles):
            self._insert, self._rows = INSERT_MESSAGE, message_rows(singles)
            self.special = [(id, entry) for id, entry in singles if entry.kind]
        self._standings = [standing_row(standing) for standing in standings]
        self._ended = [standing for standing in standings if standing.left is not None]

    def write(self, connection: sqlite3.Connection) -> None:
        """Write all of it, in a transaction of its own; returns when it is on the disk.

        :raise sqlite3.Error: the transaction may be open still.
        """
        connection.execute("BEGIN IMMEDIATE")
        for insert, rows in (
            (INSERT_RUN, self._runs), (self._insert, self._rows), (REPLACE_STANDING, self._standings),
        ):  # fmt: skip
            if rows:
                connection.executemany(insert, rows)
        if self.special or self._ended:
            rooms.project(connection, self.special, self._ended)
        connection.execute("COMMIT")
