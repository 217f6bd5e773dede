"""Messages and standings as rows of the journal's tables, and back."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from ..vocabulary import Entry, Standing

INSERT_MESSAGE = "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

INSERT_TO_ALL = "INSERT INTO message (id, time_ms, sender, sender_name, text) VALUES (?, ?, ?, ?, ?)"
INSERT_TO_ONE = (
    "INSERT INTO message (id, time_ms, sender, sender_name, recipient, recipient_name, text) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
"""For messages that have nothing else, as nearly all: to everybody in half of the time, to one in two thirds.

Their texts are bytearrays.  For bytes, and for ``None``, sqlite3 looks each time for somebody who would rather have
them as something else.
"""

Row = tuple[Any, ...]

MESSAGE = (
    "id, time_ms, sender, sender_name, recipient, recipient_name, text, coalesce(once, x''), coalesce(kind, 0), "
    "coalesce(ref, 0), blocked"
)
"""What :func:`to_message` takes."""

REPLACE_STANDING = "INSERT OR REPLACE INTO identity VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

STANDING = (
    "id, name, joined, sent, acked, read, left_id, plain, resumes, bot, token, spare, time_ms, personal"
)
"""What :func:`to_standing` takes."""

LIVING = "left_id IS NULL AND resumes"
"""The identities that can come back."""

standing_row = attrgetter(
    "id", "name", "joined", "sent", "acked", "read", "left", "plain", "resumes", "bot", "token", "spare", "time_ms",
    "personal",
)  # fmt: skip
"""A standing as :data:`REPLACE_STANDING` takes it."""


def message_rows(entries: Iterable[tuple[int, Entry]]) -> list[Row]:
    """Messages as :data:`INSERT_MESSAGE` takes them."""
    return [
        (
            id, e.time_ms, e.sender, e.sender_name, e.to, e.to_name, e.once or None, e.text, e.kind or None,
            e.ref or None, e.blocked or None,
        )
        for id, e in entries
    ]  # fmt: skip


def sort_out(entries: Iterable[Any]) -> tuple[list[Row], list[Row], list[tuple[int, Entry]]]:
    """Share out messages.

    :param entries: pairs of an id and an :class:`Entry`; compiled, numbers that are typed would be made anew.
    :return: rows as :data:`INSERT_TO_ALL` and :data:`INSERT_TO_ONE` take them, and the messages that are in neither.
    """
    to_all: list[Row] = []
    to_one: list[Row] = []
    others: list[tuple[int, Entry]] = []
    for each in entries:
        id, entry = each
        time_ms, sender, sender_name, to, to_name, text, once, kind, ref, blocked = entry
        if once or kind or ref or blocked:
            others.append(each)
        elif to is None:
            to_all.append((id, time_ms, sender, sender_name, bytearray(text)))
        else:
            to_one.append((id, time_ms, sender, sender_name, to, to_name, bytearray(text)))
    return to_all, to_one, others


def to_message(row: tuple[Any, ...]) -> tuple[int, Entry]:
    """An id and its message."""
    id, time_ms, sender, sender_name, recipient, recipient_name, text, once, kind, ref, blocked = row
    return id, Entry(
        time_ms, sender, sender_name, recipient, recipient_name, text, once, kind, ref, blocked is not None
    )


def to_standing(row: tuple[Any, ...]) -> Standing:
    """A standing."""
    id, name, joined, sent, acked, read, left, plain, resumes, bot, token, spare, time_ms, personal = row
    return Standing(
        id,
        name,
        joined,
        sent,
        acked,
        read,
        left,
        bool(plain),
        bool(resumes),
        bool(bot),
        token,
        spare,
        time_ms,
        personal,
    )
