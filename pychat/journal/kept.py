"""Messages as they stand now: with what was edited and taken back since they were said.

What is read here comes up from SQLite as one row.  Between two rows Python's lock is let go, and while the chat is
busy it may take milliseconds to get it back: for each of the fifty rows of a page.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from ..vocabulary import Entry, Kept, Kind
from .runs import FOUND, IDS

_MESSAGES = (
    "SELECT json_group_array(json_array(id, time_ms, sender, sender_name, recipient, recipient_name, hex(text), "  # noqa: S608
    f"coalesce(hex(once), ''), coalesce(kind, 0), coalesce(ref, 0), blocked IS NOT NULL)) FROM {FOUND}"
)

# What was edited after a message was taken back does not count, and it cannot be brought back.
_CHANGES = (
    "SELECT json_group_array(json_array(ref, edit, retract)) FROM (SELECT ref, "  # noqa: S608
    "coalesce(max(id) FILTER (WHERE kind = 1), 0) AS edit, coalesce(min(id) FILTER (WHERE kind = 2), 0) AS retract "
    f"FROM change WHERE ref IN {IDS} GROUP BY ref)"
)
# By an index of these alone, however often a message was edited.
_RETRACTED = "SELECT json_group_array(ref) FROM change WHERE kind = 2 AND ref BETWEEN ? AND ?"
_RETRACTED_OF = f"SELECT json_group_array(ref) FROM change WHERE kind = 2 AND ref IN {IDS}"  # noqa: S608
_TEXTS = f"SELECT id, text FROM message WHERE id IN {IDS}"  # noqa: S608  # an edit is never in a run


def look_up(connection: sqlite3.Connection, ids: Sequence[int]) -> list[Kept]:
    """See :meth:`IJournal.look_up`."""
    wanted = json.dumps([*{*ids}])
    found = [_unpacked(row) for row in sorted(packed(connection, _MESSAGES, (wanted,)))]
    changes = {ref: (edit, retract) for ref, edit, retract in packed(connection, _CHANGES, (wanted,))}
    if not changes:
        return found
    edits = json.dumps([edit for edit, retract in changes.values() if edit and not retract])
    texts: dict[int, bytes] = dict(connection.execute(_TEXTS, (edits,)).fetchall())
    return [_changed(kept, *changes[kept.id], texts) if kept.id in changes else kept for kept in found]


def retracted(connection: sqlite3.Connection, messages: Sequence[tuple[int, Entry]]) -> frozenset[int]:
    """Which of these, oldest first, were taken back, or are edits of what was; see :attr:`Page.retracted`."""
    if not messages:
        return frozenset()
    gone = {*packed(connection, _RETRACTED, (messages[0][0], messages[-1][0]))}
    about = {entry.ref for _, entry in messages if entry.kind == Kind.EDIT}
    if about:
        gone |= {*packed(connection, _RETRACTED_OF, (json.dumps([*about]),))}
    if not gone:
        return frozenset()
    return frozenset(
        id
        for id, entry in messages
        if (entry.ref if entry.kind == Kind.EDIT else id if entry.kind == Kind.SAID else 0) in gone
    )


def packed(
    connection: sqlite3.Connection, query: str, asked: tuple[object, ...] | dict[str, object]
) -> list[Any]:
    """What a query gives as one array of JSON."""
    (found,) = connection.execute(query, asked).fetchone()
    rows: list[Any] = json.loads(found)
    return rows


def _unpacked(row: list[Any]) -> Kept:
    id, time_ms, sender, sender_name, recipient, recipient_name, text, once, kind, ref, blocked = row
    return Kept(
        id,
        Entry(
            time_ms, sender, sender_name, recipient, recipient_name, bytes.fromhex(text), bytes.fromhex(once), kind,
            ref, bool(blocked),
        ),
    )  # fmt: skip


def _changed(kept: Kept, edit: int, retract: int, texts: dict[int, bytes]) -> Kept:
    if retract:
        return Kept(kept.id, kept.entry._replace(text=b""), 0, retract)
    if edit not in texts:
        return kept
    return Kept(kept.id, kept.entry._replace(text=texts[edit]), edit)
