"""Runs: what one person said to everybody, one plain text right behind the other, as one row of the journal.

Theory of operation.  A row for each message is most of what a busy chat costs its journal, and who says much sends it
in lots.  So the texts of a lot share a row of ``run``, as JSON, and their ids follow each other.  Everything else is a
row of ``message``.  A run is written once, in the commit of its batch, and goes as a whole when it is too old.

The view ``entry`` has all of them as rows, made by SQLite as they are read: nobody who reads has to know of runs, but
for two things.  Who looks for ids bounds ``last`` as well (:func:`between`), by which the few runs are found that may
have them; and who looks for scattered ids asks :data:`FOUND`, which does not unpack what stands between them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from ..vocabulary import Entry, Texts

RUN = 64
"""Messages in one row at most; the schema checks it."""

INSERT_RUN = "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?)"

OLDEST = (
    "(SELECT min(id) FROM (SELECT (SELECT min(id) FROM message) AS id "
    "UNION ALL SELECT (SELECT first FROM run ORDER BY last LIMIT 1)))"
)
"""The id of the oldest message; NULL if there is none."""

NEWEST = "max(coalesce((SELECT max(id) FROM message), 0), coalesce((SELECT max(last) FROM run), 0))"
"""The id of the newest message, or 0."""

SPAN = f"SELECT coalesce({OLDEST}, 1), {NEWEST}"
"""The ids of the oldest and the newest message: min and max in one SELECT of their own would read the whole table."""

COUNT = "(SELECT count(*) FROM message) + (SELECT coalesce(sum(last - first + 1), 0) FROM run)"
"""How many messages there are."""

IDS = "(SELECT value FROM json_each(?1))"
"""Ids that are given as JSON, the first of what is asked with."""

FOUND = (
    "(SELECT id, time_ms, sender, sender_name, recipient, recipient_name, text, once, kind, ref, blocked "  # noqa: S608
    f"FROM message WHERE id IN {IDS} UNION ALL "
    "SELECT value, time_ms, sender, sender_name, NULL, NULL, "
    "CAST(json_extract(texts, '$[' || (value - first) || ']') AS BLOB), NULL, NULL, NULL, NULL "
    f"FROM {IDS} CROSS JOIN run ON last = (SELECT min(last) FROM run WHERE last >= value) AND first <= value)"
)
"""The messages of :data:`IDS`, those that there are."""

Row = tuple[Any, ...]


def between(above: str, upto: str) -> str:
    """The condition that messages of ``entry`` have ids above one and up to another."""
    return f"last > {above} AND last < {upto} + {RUN} AND id > {above} AND id <= {upto}"


def pack(first: int, entries: Iterable[Entry | Texts]) -> tuple[int, list[Row], list[tuple[int, Entry]]]:
    """Share out what is appended.

    :param first: the id of the first message.
    :return: the id behind the last; rows as :data:`INSERT_RUN` takes them; and the others, with their ids.
    """
    runs: list[Row] = []
    singles: list[tuple[int, Entry]] = []
    id = first
    for entry in entries:
        if not isinstance(entry, Texts):
            singles.append((id, entry))
            id += 1
            continue
        time_ms, sender, name, all_texts = entry
        for start in range(0, len(all_texts), RUN):
            texts = all_texts[start : start + RUN]
            end = id + len(texts)
            if len(texts) > 1:
                runs.append((end - 1, id, time_ms, sender, name, _array(texts)))
            else:
                singles.append((id, Entry(time_ms, sender, name, None, None, texts[0])))
            id = end
    return id, runs, singles


_BACKSLASH = 0x5C


def _array(texts: Sequence[bytes]) -> str:
    """Printable texts as JSON."""
    joined = b'","'.join(texts)
    if _BACKSLASH not in joined and joined.count(b'"') == 2 * len(texts) - 2:
        return f'["{joined.decode()}"]'
    return json.dumps([text.decode() for text in texts], ensure_ascii=False)


def delete(connection: sqlite3.Connection, upto: int) -> int:
    """Delete the messages up to an id; runs as a whole, one that goes on above it not yet.

    :return: how many were deleted.
    """
    of_runs = "FROM run WHERE last <= ?"
    (packed,) = connection.execute(f"SELECT coalesce(sum(last - first + 1), 0) {of_runs}", (upto,)).fetchone()
    if packed:
        connection.execute(f"DELETE {of_runs}", (upto,))
    return int(packed + connection.execute("DELETE FROM message WHERE id <= ?", (upto,)).rowcount)


def nonsense(connection: sqlite3.Connection) -> list[str]:
    """What runs in a sound file can still not mean."""
    (broken,) = connection.execute(
        "SELECT count(*) FROM run WHERE CASE WHEN json_valid(texts) "
        "THEN (SELECT count(*) FROM json_each(texts) WHERE type = 'text') IS NOT last - first + 1 ELSE 1 END"
    ).fetchone()
    (double,) = connection.execute(
        "SELECT count(*) FROM run AS one WHERE first <= (SELECT max(last) FROM run WHERE last < one.last) "
        "OR EXISTS (SELECT 1 FROM message WHERE id BETWEEN one.first AND one.last)"
    ).fetchone()
    wrong = []
    for count, what in (
        (broken, "not as many texts as ids"), (double, "ids that other messages have, too")
    ):  # fmt: skip
        if count:
            wrong.append(
                f"1 run of messages has {what}" if count == 1 else f"{count} runs of messages have {what}"
            )
    return wrong
