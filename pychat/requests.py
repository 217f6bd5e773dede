"""What a session asks its caller for: whatever takes time, a clock, or the journal.

Each says which methods of :class:`~pychat.session.Session` answer it; :meth:`~pychat.session.Session.failed` always
does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .vocabulary import Kept, Place, Query, Ranges


@dataclass(frozen=True, slots=True)
class ListFiles:
    """What is on the shelf?  Answer with ``listed``."""

    label: bytes


@dataclass(frozen=True, slots=True)
class OpenFile:
    """Open a file and, for ``offer``, offer it.  Answer with ``offered``, or ``found`` when ``offer`` is false."""

    name: str
    label: bytes
    offer: bool
    have: Ranges = ()
    """What the client has of ``version``."""
    version: str = ""


@dataclass(frozen=True, slots=True)
class TakeFile:
    """Somebody wants to upload a file.  Answer with ``offered``."""

    name: str
    size: int
    version: str
    """Who knows it may go on with an upload that broke off; empty: make one."""
    label: bytes


@dataclass(frozen=True, slots=True)
class ProvePath:
    """Let the client prove its UDP address.  Answer with ``ticket``, or not at all."""


@dataclass(frozen=True, slots=True)
class ListTransfers:
    """Which transfers are mine?  Answer with ``transfers``."""

    label: bytes


@dataclass(frozen=True, slots=True)
class Steer:
    """Pause, continue or cancel a transfer of mine.  Answer with ``steered``."""

    which: str
    """Its id, the beginning of that, or the name of its file."""
    how: str
    label: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """Have this transfer on this connection, whatever it takes; anything wrong ends the connection.

    Answer with ``streaming``, and give the session nothing more.
    """

    transfer: bytes
    token: bytes
    label: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection once everything queued is out."""


@dataclass(frozen=True, slots=True)
class Again:
    """Give me this line again when everything that was said before has its answer."""


@dataclass(frozen=True, slots=True)
class WhoIs:
    """What is the time?  Answer with ``described``, at once."""

    name: str
    label: bytes


@dataclass(frozen=True, slots=True)
class ListReceipts:
    """Who has a message of mine?  Answer with ``receipts``."""

    id: int
    label: bytes


@dataclass(frozen=True, slots=True)
class LookUp:
    """What is this message?  Answer with ``looked_up``."""

    id: int
    label: bytes
    then: Callable[[Kept | None], None]
    """Goes on with it."""


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """What was said there?  Answer with ``history``."""

    place: Place
    called: bytes
    """How the place is called."""
    before: int | None
    after: int | None
    limit: int
    label: bytes


@dataclass(frozen=True, slots=True)
class Search:
    """Where was this said?  Answer with ``found_messages``."""

    query: Query
    label: bytes


@dataclass(frozen=True, slots=True)
class CountUnread:
    """How much is unread?  Answer with ``unread``."""

    label: bytes


FromShelf: TypeAlias = "ListFiles | OpenFile | TakeFile"
OfTransfers: TypeAlias = "ProvePath | ListTransfers | Steer"
FromJournal: TypeAlias = "ListReceipts | LookUp | ReadHistory | Search | CountUnread"
Request: TypeAlias = "FromShelf | OfTransfers | FromJournal | Stream | WhoIs | Again | Close"
