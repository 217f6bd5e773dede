"""Messages and standings as rows of the journal's tables, and back."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from ..vocabulary import Entry, Standing

INSERT_MESSAGE = "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

MESSAGE = "id, time_ms, sender, sender_name, recipient, recipient_name, text, coalesce(once, x'')"
"""What :func:`to_message` takes."""

REPLACE_STANDING = "INSERT OR REPLACE INTO identity VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

STANDING = "id, name, joined, sent, acked, read, left_id, plain, resumes, bot, token, spare, time_ms"
"""What :func:`to_standing` takes."""

LIVING = "left_id IS NULL AND resumes"
"""The identities that can come back."""

standing_row = attrgetter(
    "id", "name", "joined", "sent", "acked", "read", "left", "plain", "resumes", "bot", "token", "spare", "time_ms"
)  # fmt: skip
"""A standing as :data:`REPLACE_STANDING` takes it."""


def message_rows(ids: Iterable[int], entries: Iterable[Entry]) -> list[tuple[Any, ...]]:
    """Messages as :data:`INSERT_MESSAGE` takes them."""
    return [
        (id, e.time_ms, e.sender, e.sender_name, e.to, e.to_name, e.once or None, e.text)
        for id, e in zip(ids, entries, strict=True)
    ]


def to_message(row: tuple[Any, ...]) -> tuple[int, Entry]:
    """An id and its message."""
    return row[0], Entry(*row[1:])


def to_standing(row: tuple[Any, ...]) -> Standing:
    """A standing."""
    id, name, joined, sent, acked, read, left, plain, resumes, bot, token, spare, time_ms = row
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
    )
