"""What may be said: the words, limits and facts that more than one module speaks of.

Everything here is data.  Sizes are bytes, durations seconds, unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from .transfer.terms import Terms

CLIENT_LINE_LIMIT: Final = 4096
"""A client line with its LF is at most this long."""

SERVER_LINE_LIMIT = 8192
"""A server line with its LF is at most this long."""

LABEL_LIMIT = 64
"""``label=`` and ``once=`` values are at most this long."""

TOPIC_LIMIT = 512
"""What a room is about is at most this long."""

REACTION_LIMIT = 64
"""A reaction is at most this long."""

RANGES_LIMIT = 64
"""``have=`` names at most so many ranges."""

ANY_VERSION = "*"
"""``version=`` of a file that is there whole, whichever version that may be: its digests are wanted."""

HISTORY_LIMIT, HISTORY_USUAL, HISTORY_AT_JOIN = 500, 50, 20
"""Messages of history: at most in one answer, unless asked, and for a plain client that joins a room."""

SEARCH_LIMIT, SEARCH_USUAL = 100, 20
"""Messages that one search finds at most, and finds unless asked."""

ERROR_CODES = {
    "bad-line": "the line is not of the form `<command>text`, or is not clean UTF-8",
    "line-too-long": "the line is longer than 4,096 bytes; its remainder was skipped",
    "unknown-command": "no command has this verb",
    "missing-argument": "the command needs something after the `>`",
    "bad-argument": "what stands after the `>` is not what the command takes, or may be one of several",
    "bad-attribute": "an attribute is given twice, is too long, or has a value that does not fit",
    "bad-text": "the message holds control characters or other hostile text",
    "bad-name": "the name breaks the rules of names, or of files",
    "name-reserved": "the name is kept for the chat itself",
    "name-taken": "somebody else has this name",
    "not-connected": "the command needs a `<connect>` before it; or the connection ended before it was taken up",
    "already-connected": "this connection has a name already, or has said something else before",
    "no-such-user": "nobody here has this name",
    "no-such-room": "no room has this name",
    "not-in-room": "the command is for members of the room",
    "to-yourself": "the message is addressed to its sender, or is about her",
    "no-such-message": "there is no such message for you, or it was taken back; `<receipts>`: no such message of yours",
    "not-yours": "the message is somebody else's",
    "limit-reached": "there are too many already, as the sentence says of what",
    "away": "the bot is away, and gets no mail meanwhile",
    "blocked": "the recipient ignores you: a message that she has cannot be changed",
    "bad-token": "the `resume=` token is not, or no longer, good for this name",
    "no-such-file": "the shelf has no file of this name",
    "read-failed": "the shelf or a file on it could not be read",
    "no-uploads": "this connection may not upload",
    "exists": "the shelf has something of this name: nothing is overwritten",
    "arrived": "this very upload is on the shelf already: you need not send it again",
    "in-use": "this file is being uploaded on another connection",
    "over-quota": "it would be more than one person, or all together, may upload",
    "no-space": "the disk has no room for it",
    "cannot-write": "the shelf cannot be written",
    "no-such-transfer": "you have no transfer of this id or name; `<stream>`: nobody has, or the token is wrong",
    "busy": "too many transfers run at once, or the daemon has just started, "
    "or you are still being told what you missed: try again in a moment",
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
    "full": "there are as many connections as the daemon can have",
}
"""The closed set of codes in ``<goodbye code=…>``, each with what it means."""


class Kind(IntEnum):
    """What an entry of the journal says."""

    SAID = 0
    """A message."""
    EDIT = 1
    """Another text for the message ``ref``."""
    RETRACT = 2
    """The message ``ref`` is taken back."""
    REACT = 3
    """A reaction to the message ``ref``; with an empty text it is taken back."""
    TOPIC = 4
    """What a room is about from now on."""
    JOIN = 5
    """The sender is a member of a room from now on; the first one makes the room."""
    LEAVE = 6
    """The sender is a member no more."""


class Entry(NamedTuple):
    """One event as the journal keeps it: mostly a message."""

    time_ms: int
    """When it was accepted: milliseconds of the wall clock since 1970, UTC."""
    sender: int
    """Identity of the sender."""
    sender_name: str
    """Her name, as shown."""
    to: int | None
    """Identity of the recipient; a negative number is a room, ``None`` is everybody."""
    to_name: str | None
    """Her name, as shown, or the room's with its ``#``."""
    text: bytes
    """The text, UTF-8, verbatim."""
    once: bytes = b""
    """The ``once=`` key it came with."""
    kind: int = Kind.SAID
    """A :class:`Kind`."""
    ref: int = 0
    """The message that it is about: of a :attr:`Kind.SAID` the one that it replies to.  0: none."""
    blocked: bool = False
    """Its recipient ignored its sender when it was accepted: it is never shown to her."""


class Texts(NamedTuple):
    """What one person said to everybody, one printable text right behind the other: as many entries, in short."""

    time_ms: int
    sender: int
    sender_name: str
    texts: Sequence[bytes]
    """One at least."""


_tuple = tuple.__new__


def spread(entries: Iterable[Entry | Texts]) -> list[Entry]:
    """Each of them by itself."""
    each: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Texts):
            time_ms, sender, name, texts = entry
            # A named tuple made as a tuple: half the time.
            each += [
                _tuple(Entry, (time_ms, sender, name, None, None, text, b"", 0, 0, False)) for text in texts
            ]
        else:
            each.append(entry)
    return each


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as it stands now, after what was said about it later."""

    id: int
    entry: Entry
    """With the newest text; without any, if it was taken back."""
    edited: int = 0
    """The id of the newest :attr:`Kind.EDIT`."""
    retracted: int = 0
    """The id of the first :attr:`Kind.RETRACT`; what was edited after it does not count."""


Place: TypeAlias = "tuple[int, str]"
"""A conversation as one may look it up.

``(0, "")`` is what is said to everybody, ``(room, "")`` a room by its negative number, and ``(identity, key)`` what one
identity wrote to people of this name and got from them, by the name's comparison key.
"""

EVERYBODY: Place = (0, "")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of one conversation."""

    messages: Sequence[Kept]
    """:attr:`Kind.SAID` and :attr:`Kind.REACT`, oldest first."""
    more: bool
    """There are more beyond it, in the direction that was asked for."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for."""

    words: str
    """As typed: all of these have to occur; ``word*`` is a beginning, ``"two words"`` stand side by side."""
    places: Sequence[Place]
    """Where; ``(identity, "")`` are all her private messages."""
    sender: str = ""
    """Comparison key of the sender's name; empty: anybody."""
    without: frozenset[str] = frozenset()
    """Comparison keys of senders' names that are left out."""
    before: int | None = None
    """Only below this id."""
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Found:
    """What was found."""

    messages: Sequence[Kept]
    """Newest first."""
    more: int | None
    """Search on with this as ``before``; ``None``: that was all."""


@dataclass(frozen=True, slots=True)
class Unread:
    """How many messages of one conversation somebody has not read."""

    place: Place
    name: str
    """Of a private conversation: the other's name, as shown in its newest message."""
    count: int
    """At most :data:`UNREAD_LIMIT`."""


USERS_LIMIT = 1000
"""People in one answer to a client that said ``<hello>``."""

UNREAD_LIMIT = 1000
"""Unread messages of one conversation are counted up to here."""


@dataclass(frozen=True, slots=True)
class RoomRecord:
    """A room as the journal keeps it."""

    id: int
    """Its number, negative; no other room has or had it."""
    name: str
    """As shown, with its ``#``."""
    topic: bytes = b""
    topic_by: str = ""
    """Who set it, as shown."""
    topic_ms: int = 0
    """When: milliseconds of the wall clock since 1970, UTC."""
    newest: int = 0
    """The highest id of a message said in it that the journal still has; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class Stay:
    """An identity's time in a room: she is owed what is above ``joined``, up to and including ``left``."""

    room: int
    identity: int
    joined: int
    left: int | None = None
    """``None``: she is a member."""


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the journal as one identity may see it: what was to everybody, to it, from it, or in its rooms."""

    messages: Sequence[tuple[int, Entry]]
    """Ids and entries of every kind, oldest first; the blocked ones, too."""
    upto: int
    """The stretch goes up to and including this id."""
    oldest: int
    """The oldest id that the journal still has, or would give next if it has none."""
    retracted: frozenset[int] = frozenset()
    """Ids in it of messages that were taken back, and of edits of such: their text is not to be shown any more."""


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
    personal: bytes = b""
    """Her settings; opaque to the journal."""


@dataclass(frozen=True, slots=True)
class OnceKey:
    """A ``once=`` key that the journal remembers, and what it stood for."""

    sender: int
    """Identity."""
    key: bytes
    id: int
    """The message."""
    to: int | None
    """As in :class:`Entry`."""
    to_name: str | None
    text: bytes
    kind: int = Kind.SAID
    ref: int = 0


Ranges: TypeAlias = "Sequence[tuple[int, int]]"
"""Half-open ranges of bytes of a file, ascending, none empty, none overlapping."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file on the shelf."""

    name: str
    """Path below the shelf, the parts joined by ``/``; what ``<download>`` takes."""
    size: int
    """Bytes, when it was listed."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client needs to fetch or to send a file, as ``<offer>`` carries it."""

    name: str
    version: str
    """Opaque; another version means other content."""
    host: str | None
    """Where the UDP port is; ``None``: where the line connection goes."""
    port: int | None
    """UDP port; ``None``: the file can be had over TCP only."""
    terms: Terms
    """Transfer id, token, key and size."""
    resumed: bool = False
    """What the client said that it has is taken: it gets the rest."""
    tcp: bool = False
    """It may be claimed with ``<stream>``."""
    path: bytes = b""
    """Id of the path whose address was proven: the data leaves at once for it."""
    up: bool = False
    """The client sends the file."""
    have: Ranges = ()
    """Of an upload: what the daemon has of it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a client needs to prove its UDP address before it wants a file, as ``<path>`` carries it."""

    host: str | None
    """As in :class:`Offer`."""
    port: int
    terms: Terms


@dataclass(frozen=True, slots=True)
class Underway:
    """A transfer, as ``<transfers>`` shows it."""

    transfer: bytes
    """Its id."""
    name: str
    size: int
    done: int
    """Bytes that are where they should be."""
    state: str
    """``waiting`` until it is claimed, ``running`` or ``paused``."""
    up: bool
    """The client sends the file."""
