"""Counting what somebody has not read: in the index by ranges, and above its watermark message by message.

Nothing is kept for it, not even a number: a count follows from where she stopped reading.  It takes several looks,
each over a bounded number of rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..roster import key_of
from ..vocabulary import UNREAD_LIMIT, Place, Unread
from .history import Ask
from .runs import FOUND, IDS, between

STEP = 2 * UNREAD_LIMIT
"""Rows of one conversation that are counted at once."""

LOOK = 10_000
"""Rows of the index that one look goes over, about."""

PEERS = 200
"""Private conversations that one look goes through."""

_STANDS = "NOT EXISTS (SELECT 1 FROM change WHERE change.ref = {} AND change.kind = 2)"
_TAIL = (
    "SELECT owner, sender_name, count(*) FROM entry CROSS JOIN temp.mark ON owner = coalesce(recipient, 0) "  # noqa: S608
    f"WHERE {between(':start', ':end')} AND id > mark.above AND kind IS NULL "
    f"AND coalesce(recipient, 0) <= 0 AND sender <> :me AND {_STANDS.format('entry.id')} GROUP BY 1, 2"
)
_TAIL_PRIVATE = (
    "SELECT CASE WHEN sender = :me THEN recipient_name ELSE sender_name END, max(id), sum("  # noqa: S608
    f"kind IS NULL AND sender <> :me AND id > :after AND {_STANDS.format('message.id')}) FROM message "
    "WHERE id > :start AND id <= :end AND recipient > 0 AND (kind IS NULL OR kind = 3) "
    "AND (sender = :me OR recipient = :me AND blocked IS NULL) GROUP BY 1"
)
# Together, or each sender alone where it matters who she is.
_COUNT = (
    "SELECT sender, max(id), count(*), sum(kind = 0 AND sender <> ?1 AND "  # noqa: S608
    f"{_STANDS.format('said.id')}) FROM (SELECT id, sender, kind FROM derived.place WHERE owner = ?2 AND peer = ?3 "
    "AND id > ?4 AND id <= ?5 ORDER BY id LIMIT ?6) AS said GROUP BY iif(?7, sender, 0)"
)
_PEERS = (
    "WITH RECURSIVE each(peer) AS (SELECT (SELECT min(peer) FROM derived.place WHERE owner = ?1 AND peer > ?2) "
    "UNION ALL SELECT (SELECT min(place.peer) FROM derived.place WHERE owner = ?1 AND place.peer > each.peer) "
    "FROM each WHERE each.peer IS NOT NULL) SELECT peer, (SELECT max(id) FROM derived.place WHERE owner = ?1 "
    "AND place.peer = each.peer AND id <= ?3) FROM each WHERE peer IS NOT NULL LIMIT ?4"
)
_NAMES = (
    "SELECT id, CASE WHEN sender = ?2 THEN recipient_name ELSE sender_name END FROM message "  # noqa: S608
    f"WHERE id IN {IDS}"
)
_SENDER = f"SELECT sender_name FROM {FOUND}"  # noqa: S608


@dataclass(frozen=True, slots=True)
class _Look:
    connection: sqlite3.Connection
    ask: Ask
    oldest: int


class Count:
    """One question on its way."""

    def __init__(
        self, identity: int, after: int, marks: Sequence[tuple[Place, int]], without: frozenset[str]
    ) -> None:
        self._me = identity
        self._after = after
        self._marks = {place[0]: above for place, above in marks}
        self._without = without
        self._steps: Generator[None, None, list[Unread]] | None = None
        self._now: _Look
        self._indexed = 0
        self.answer: list[Unread] | None = None
        """Once all is counted."""

    def look(
        self, connection: sqlite3.Connection, ask: Ask, indexed: int, span: tuple[int, int], window: int
    ) -> None:
        """Go on; as :meth:`pychat.journal.history.Walk.look`."""
        steps = self._steps
        if steps is None or indexed < self._indexed:
            self._indexed = indexed
            steps = self._go(indexed, span[1], window)
        self._steps = None
        # Whoever goes on, however deep, asks here: what an earlier look had may be closed by now.
        self._now = _Look(connection, ask, span[0])
        try:
            next(steps)
            self._steps = steps
        except StopIteration as end:
            self.answer = end.value

    def _go(self, indexed: int, newest: int, window: int) -> Generator[None, None, list[Unread]]:
        counts: dict[Place, int] = {(owner, ""): 0 for owner in self._marks}
        names: dict[Place, tuple[int, str]] = {}
        start = max(indexed, min([self._after, *self._marks.values()]), self._now.oldest - 1)
        while start < newest:
            end = min(start + window, newest)
            self._count_tail(start, end, counts, names)
            start = end
            yield
        budget = LOOK
        for owner, above in self._marks.items():
            budget -= yield from self._count_place((owner, ""), above, indexed, counts)
            if budget <= 0:
                yield
                budget = LOOK
        peer = ""
        while rows := self._now.ask(_PEERS, (self._me, peer, indexed, PEERS)):
            for peer, newest_id in rows:
                place = (self._me, peer)
                if newest_id is None or newest_id <= max(self._after, self._now.oldest - 1):
                    continue
                names.setdefault(place, (newest_id, ""))
                if peer not in self._without:
                    budget -= yield from self._count_place(place, self._after, indexed, counts)
            if len(rows) < PEERS:
                break
            yield
            budget = LOOK
        spelt = json.dumps([id for place, (id, name) in names.items() if not name and counts.get(place)])
        found = dict(self._now.connection.execute(_NAMES, (spelt, self._me)).fetchall())
        private = sorted(place for place in counts if place[0] > 0)
        answer = []
        for place in [*islice(counts, len(self._marks)), *private]:
            if counts[place]:
                id, name = names.get(place, (0, ""))
                name = name or found.get(id, "")
                answer.append(Unread(place, name, min(counts[place], UNREAD_LIMIT)))
        return answer

    def _count_tail(
        self, start: int, end: int, counts: dict[Place, int], names: dict[Place, tuple[int, str]]
    ) -> None:
        """What the index does not have yet."""
        connection = self._now.connection
        asked = {"me": self._me, "after": self._after, "start": start, "end": end}
        if self._marks:
            connection.execute("DELETE FROM temp.mark")
            connection.executemany("INSERT INTO temp.mark VALUES (?, ?)", self._marks.items())
            for owner, name, count in connection.execute(_TAIL, asked):
                if not self._without or key_of(name) not in self._without:
                    counts[owner, ""] += count
        for name, id, count in connection.execute(_TAIL_PRIVATE, asked):
            place = (self._me, key_of(name))
            if place[1] not in self._without:
                counts[place] = counts.get(place, 0) + count
            if place not in names or names[place][0] < id:
                names[place] = (id, name)

    def _count_place(
        self, place: Place, above: int, upto: int, counts: dict[Place, int]
    ) -> Generator[None, None, int]:
        """What the index has; returns how many rows this look went over."""
        position = max(above, self._now.oldest - 1)
        apart = bool(self._without) and place[0] <= 0
        budget = 0
        while counts.get(place, 0) < UNREAD_LIMIT:
            groups = self._now.ask(_COUNT, (self._me, *place, position, upto, STEP, apart))
            rows = sum(group[2] for group in groups)
            for _, newest, _, count in groups:
                position = max(position, newest)
                if count and not (apart and self._is_out(newest)):
                    counts[place] = counts.get(place, 0) + count
            budget += rows + 10
            if rows < STEP:
                break
            if budget >= LOOK:
                yield
                budget = 0
        return budget

    def _is_out(self, id: int) -> bool:
        rows: list[Any] = self._now.connection.execute(_SENDER, (json.dumps([id]),)).fetchall()
        return not rows or key_of(rows[0][0]) in self._without
