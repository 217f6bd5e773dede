"""Rooms, stays and changes: what the journal's entries amount to, kept in the same commit.

They could be had by reading every message; these few small tables save that.  Most batches have nothing for them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from ..vocabulary import Entry, Kind, RoomRecord, Standing, Stay
from .rows import LIVING

_STAYS = (
    "SELECT room, identity, stay.joined, stay.left_id FROM identity CROSS JOIN stay ON stay.identity = identity.id "  # noqa: S608
    f"WHERE identity.{LIVING} AND (stay.left_id IS NULL OR stay.left_id > identity.acked) "
    "ORDER BY stay.identity, stay.joined"
)


def project(
    connection: sqlite3.Connection, special: Iterable[tuple[int, Entry]], standings: Iterable[Standing]
) -> None:
    """Do what these entries, of other kinds than :attr:`Kind.SAID`, say, and end the stays of those who ended."""
    execute = connection.execute
    for id, entry in special:
        kind = entry.kind
        if kind in (Kind.EDIT, Kind.RETRACT):
            execute("INSERT INTO change VALUES (?, ?, ?)", (entry.ref, id, kind))
        elif kind == Kind.JOIN:
            execute("INSERT OR IGNORE INTO room VALUES (?, ?, x'', '', 0)", (entry.to, entry.to_name))
            execute("UPDATE last_room SET id = ?1 WHERE id > ?1", (entry.to,))
            execute("INSERT INTO stay VALUES (?, ?, ?, NULL)", (entry.sender, entry.to, id))
        elif kind == Kind.LEAVE:
            execute(
                "UPDATE stay SET left_id = ? WHERE identity = ? AND room = ? AND left_id IS NULL",
                (id, entry.sender, entry.to),
            )
        elif kind == Kind.TOPIC:
            execute(
                "UPDATE room SET topic = ?, topic_by = ?, topic_ms = ? WHERE id = ?",
                (entry.text, entry.sender_name, entry.time_ms, entry.to),
            )
    for standing in standings:
        if standing.left is not None:
            execute(
                "UPDATE stay SET left_id = ? WHERE identity = ? AND left_id IS NULL",
                (standing.left, standing.id),
            )


def end_stays(connection: sqlite3.Connection, last_id: int) -> None:
    """At a start: who cannot come back is a member of nothing any more, and who was never kept never was."""
    connection.execute("DELETE FROM stay WHERE left_id IS NULL AND identity NOT IN (SELECT id FROM identity)")
    connection.execute(
        "UPDATE stay SET left_id = ? WHERE left_id IS NULL "  # noqa: S608
        f"AND identity NOT IN (SELECT id FROM identity WHERE {LIVING})",
        (last_id,),
    )


def numbers(connection: sqlite3.Connection) -> list[int]:
    """The numbers of all rooms."""
    return [id for (id,) in connection.execute("SELECT id FROM room")]


def newest_in_rooms(connection: sqlite3.Connection, after: int) -> dict[int, int]:
    """The newest message said in each room, of those above an id; reads all of them."""
    return dict(
        connection.execute(
            "SELECT recipient, max(id) FROM message WHERE id > ? AND recipient < 0 AND kind IS NULL GROUP BY recipient",
            (after,),
        )
    )


def forget_rooms(connection: sqlite3.Connection, newest: Mapping[int, int]) -> None:
    """At a start: delete the rooms that have neither members nor, by ``newest``, messages."""
    gone = json.dumps(
        [
            room
            for (room,) in connection.execute(
                "SELECT id FROM room WHERE id NOT IN (SELECT room FROM stay WHERE left_id IS NULL)"
            )
            if not newest.get(room)
        ]
    )
    for table, column in (("room", "id"), ("stay", "room")):
        connection.execute(
            f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))",  # noqa: S608
            (gone,),
        )


def load_rooms(connection: sqlite3.Connection, newest: Mapping[int, int]) -> list[RoomRecord]:
    """All rooms, the newest first."""
    return [
        RoomRecord(id, name, topic, topic_by, topic_ms, newest.get(id, 0))
        for id, name, topic, topic_by, topic_ms in connection.execute(
            "SELECT id, name, topic, topic_by, topic_ms FROM room ORDER BY id"
        )
    ]


def load_stays(connection: sqlite3.Connection) -> Sequence[Stay]:
    """The stays of the living that last, or ended above what they acknowledged."""
    return [Stay(*row) for row in connection.execute(_STAYS)]


def last_room(connection: sqlite3.Connection) -> int:
    """The number of the newest room that there ever was; 0 if there was none."""
    number: int = connection.execute("SELECT id FROM last_room").fetchone()[0]
    return number


def forget_stays(connection: sqlite3.Connection, identities: Sequence[int], limit: int) -> int:
    """Delete stays of identities that are about to be forgotten, which serve nobody then; return how many."""
    return connection.execute(
        "DELETE FROM stay WHERE (identity, room, joined) IN (SELECT identity, room, joined FROM stay "
        "WHERE identity IN (SELECT value FROM json_each(?)) LIMIT ?)",
        (json.dumps(identities), limit),
    ).rowcount


def forget_old(connection: sqlite3.Connection, upto: int, limit: int) -> None:
    """Let go of what is about messages that are gone: those up to and including an id."""
    # That a message was taken back has to be known for as long as there are edits of it.
    connection.execute("DELETE FROM change WHERE ref <= ? AND id <= ?", (upto, upto))
    connection.execute(
        "DELETE FROM stay WHERE (identity, room, joined) IN "
        "(SELECT identity, room, joined FROM stay WHERE left_id <= ? LIMIT ?)",
        (upto, limit),
    )
