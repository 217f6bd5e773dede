"""Messages and standings as rows of the journal's tables, and back."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from ..vocabulary import Entry, Standing

INSERT_MESSAGE = "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

INSERT_PLAIN = (
    "INSERT INTO message (id, time_ms, sender, sender_name, recipient, recipient_name, once, text) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
"""For messages that have neither ``kind`` nor ``ref`` and are not ``blocked``: a fifth cheaper, and nearly all are."""

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


def message_rows(entries: Iterable[tuple[int, Entry]]) -> list[tuple[Any, ...]]:
    """Messages as :data:`INSERT_MESSAGE` takes them."""
    return [
        (
            id, e.time_ms, e.sender, e.sender_name, e.to, e.to_name, e.once or None, e.text, e.kind or None,
            e.ref or None, e.blocked or None,
        )
        for id, e in entries
    ]  # fmt: skip


def plain_rows(entries: Iterable[tuple[int, Entry]]) -> list[tuple[Any, ...]]:
    """Messages as :data:`INSERT_PLAIN` takes them; those that it does not take are left out."""
    return [
        (id, time_ms, sender, sender_name, to, to_name, once or None, text)
        for id, (time_ms, sender, sender_name, to, to_name, text, once, kind, ref, blocked) in entries
        if not (kind or ref or blocked)
    ]


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
