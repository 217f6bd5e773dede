"""What may be said: the words, limits and facts that more than one module speaks of.

Everything here is data.  Sizes are bytes, durations seconds, unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .transfer.terms import Terms

CLIENT_LINE_LIMIT = 4096
"""A client line with its LF is at most this long."""

SERVER_LINE_LIMIT = 8192
"""A server line with its LF is at most this long."""

LABEL_LIMIT = 64
"""``label=`` and ``once=`` values are at most this long."""

ERROR_CODES = {
    "bad-line": "the line is not of the form `<command>text`, or is not clean UTF-8",
    "line-too-long": "the line is longer than 4,096 bytes; its remainder was skipped",
    "unknown-command": "no command has this verb",
    "missing-argument": "the command needs something after the `>`",
    "bad-argument": "what stands after the `>` is not what the command takes",
    "bad-attribute": "an attribute is given twice, is too long, or has a value that does not fit",
    "bad-text": "the message holds control characters or other hostile text",
    "bad-name": "the name breaks the rules of names",
    "name-reserved": "the name is kept for the chat itself",
    "name-taken": "somebody else has this name",
    "not-connected": "the command needs a `<connect>` before it; or the connection ended before it was taken up",
    "already-connected": "this connection has a name already",
    "no-such-user": "nobody here has this name",
    "to-yourself": "the message is addressed to its sender",
    "no-such-message": "no message of yours has this id",
    "away": "the bot is away, and gets no mail meanwhile",
    "bad-token": "the `resume=` token is not, or no longer, good for this name",
    "no-such-file": "the shelf has no file of this name",
    "read-failed": "the shelf or a file on it could not be read",
    "busy": "too many transfers run at once, or the daemon has just started: try again in a moment",
    "going-away": "the daemon is stopping",
    "not-sent": "an `<ack>`, `<read>` or `after=` names a message that this connection was not sent",
    "key-reused": "a `once=` key came back with other content",
    "journal-unavailable": "the message could not be kept and was not accepted",
}
"""The closed set of codes in ``<error code=…>``, each with what it means."""

GOODBYE_CODES = {
    "bye": "you asked to leave",
    "shutdown": "the daemon is stopping",
    "too-slow": "this connection reads more slowly than it is sent to",
    "no-acks": "the client said it acknowledges messages and did not",
    "replaced": "you came back on another connection",
    "cannot-read": "the journal could not be read for what you missed",
    "idle": "the connection did not say who it is in time",
}
"""The closed set of codes in ``<goodbye code=…>``, each with what it means."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as the journal keeps it."""

    time_ms: int
    """When it was accepted: milliseconds of the wall clock since 1970, UTC."""
    sender: int
    """Identity of the sender."""
    sender_name: str
    """Her name, as shown."""
    to: int | None
    """Identity of the recipient; ``None`` is everybody."""
    to_name: str | None
    """Her name, as shown."""
    text: bytes
    """The text, UTF-8, verbatim."""
    once: bytes = b""
    """The ``once=`` key it came with."""


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the journal as one identity may see it: what was to everybody, to it, or from it."""

    messages: Sequence[tuple[int, Entry]]
    """Ids and messages, oldest first."""
    upto: int
    """The stretch goes up to and including this id."""
    oldest: int
    """The oldest id that the journal still has, or would give next if it has none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an identity stands, as the journal keeps it: cursors, and what lets her come back."""

    id: int
    """The identity."""
    name: str
    """As shown."""
    joined: int
    """She is owed what has a higher id."""
    sent: int = 0
    """The kernel of her machine has what she was sent up to this id; for plain clients."""
    acked: int = 0
    """She acknowledged what she was sent up to this id."""
    read: int = 0
    """She read what she was sent up to this id."""
    left: int | None = None
    """The newest id when she ended; ``None`` while she lives."""
    plain: bool = True
    """Her client does not acknowledge."""
    resumes: bool = False
    """She can come back with a token."""
    bot: bool = False
    """She wants no old mail."""
    token: bytes = b""
    """SHA-256 of the token that she has for certain; empty if she has none."""
    spare: bytes = b""
    """SHA-256 of a newer token that she may have not received."""
    time_ms: int = 0
    """When this was written: milliseconds of the wall clock since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class OnceKey:
    """A ``once=`` key that the journal remembers, and what it stood for."""

    sender: int
    """Identity."""
    key: bytes
    id: int
    """The message."""
    to: int | None
    """Identity of the recipient; ``None`` is everybody."""
    to_name: str | None
    text: bytes


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file on the shelf."""

    name: str
    """Path below the shelf, the parts joined by ``/``; what ``<download>`` takes."""
    size: int
    """Bytes, when it was listed."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client needs to fetch a file over UDP, as ``<offer>`` carries it."""

    name: str
    version: str
    """Opaque; another version means other content."""
    host: str | None
    """Where the UDP port is; ``None``: where the line connection goes."""
    port: int
    """UDP port."""
    terms: Terms
    """Transfer id, token, key and size."""
