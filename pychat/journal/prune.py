"""Keeping a journal within its bounds of age and size, in small steps that nobody notices.

A step deletes at most :data:`STEP` of the oldest messages, in a transaction of its own between two batches of
the writer. It never takes the newest message, for its id is where the next ids go on, and it stops before mail
that waits for somebody who can come back for it: first there has to be a verdict.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .rooms import forget_old, forget_stays
from .rows import LIVING
from .runs import NEWEST, delete

STEP = 1000
"""Messages that one step looks at, and identities that one forgets."""

FORGET_AFTER = 86_400
"""Seconds that an identity is remembered after its end, for those who still ask what became of their messages."""

_AGE = re.compile(r"([0-9]+)([smhdwy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_SIZE = re.compile(r"([0-9]+)([kmgt]?)", re.IGNORECASE)
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

LEAST_BYTES = 1 << 20
"""The smallest bound for a journal: what it has besides messages fits in, and some of these."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the past is kept.  ``None`` sets no bound.

    Bytes are those of the journal's own file: its index, which takes more than that beside it, is not counted.
    """

    seconds: int | None = None
    bytes: int | None = None


def parse_age(text: str) -> int:
    """``30d`` in seconds; the units are s, m, h, d, w and y.

    :raise ValueError: with a sentence for a person.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an age: write a number and one of s, m, h, d, w or y, as in 30d")
    return int(match[1]) * _SECONDS[match[2]]


def parse_size(text: str) -> int:
    """``2G`` in bytes; the units are K, M, G and T, powers of 1,024.

    :raise ValueError: with a sentence for a person.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a size: write a number of bytes, or with K, M, G or T behind it, as in 2G"
        )
    return int(match[1]) * _BYTES[match[2].lower()]


def parse_bound(text: str) -> int:
    """How large a journal may be, in bytes.

    :raise ValueError: with a sentence for a person.
    """
    size = parse_size(text)
    if size < LEAST_BYTES:
        raise ValueError(f"{text} is too little: 1M is the least")
    return size


_OLDEST = (
    f"SELECT id, time_ms, 1 FROM message WHERE id < (SELECT {NEWEST}) UNION ALL "  # noqa: S608
    f"SELECT last, time_ms, last - first + 1 FROM run WHERE last < (SELECT {NEWEST}) ORDER BY 1 LIMIT ?"
)

# The messages of a step are few, so the one that stops it is found by going through them in order.
_WAITING = (
    "SELECT message.id FROM message CROSS JOIN identity ON identity.id = message.recipient WHERE message.id <= ? "  # noqa: S608
    f"AND message.blocked IS NULL AND {LIVING} AND acked < message.id ORDER BY message.id LIMIT 1"
)


def prune_step(connection: sqlite3.Connection, retention: Retention, now_ms: int) -> int:
    """Delete up to :data:`STEP` of the oldest messages that are past the bounds.

    :return: how many were deleted; 0 when there is nothing more to delete, or mail is in the way that waits for a
        living identity.
    """
    # Of a run its last message stands for all.
    rows, count = [], 0
    for id, time_ms, messages in connection.execute(_OLDEST, (STEP,)):
        rows.append((id, time_ms))
        count += messages
        if count >= STEP:
            break
    upto = 0
    if retention.seconds is not None:
        horizon = now_ms - retention.seconds * 1000
        for id, time_ms in rows:
            if time_ms >= horizon:
                break
            upto = id
    if retention.bytes is not None and rows and _used(connection) > retention.bytes:
        # Freed pages count as free at once, so each step sees what the one before it gained.
        upto = max(upto, rows[-1][0])
    if not upto:
        return 0
    with _writing(connection):
        waiting = connection.execute(_WAITING, (upto,)).fetchone()
        if waiting is not None:
            upto = waiting[0] - 1
        deleted = delete(connection, upto)
        forget_old(connection, upto, STEP)
        return deleted


def forget_step(connection: sqlite3.Connection, now_ms: int) -> int:
    """Delete up to :data:`STEP` identities that ended longer than :data:`FORGET_AFTER` ago, and first their stays.

    :return: how many rows were deleted.
    """
    old = "left_id IS NOT NULL AND time_ms < ?"
    horizon = now_ms - FORGET_AFTER * 1000
    rows = connection.execute(
        f"SELECT id FROM identity WHERE {old} ORDER BY id LIMIT ?",  # noqa: S608
        (horizon, STEP),
    ).fetchall()
    if not rows:
        return 0
    with _writing(connection):
        stays = forget_stays(connection, [id for (id,) in rows], STEP)
        if stays == STEP:
            return stays  # and there may be more of them
        return (
            stays
            + connection.execute(
                f"DELETE FROM identity WHERE id <= ? AND {old}",  # noqa: S608
                (rows[-1][0], horizon),
            ).rowcount
        )


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _used(connection: sqlite3.Connection) -> int:
    def pragma(name: str) -> int:
        value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
