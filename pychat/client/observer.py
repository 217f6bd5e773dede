"""Who wants to know what happens to a member of a chat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..errors import PychatError
from ..grammar import Line
from .store import Post


@dataclass(frozen=True, slots=True)
class Linked:
    """The member is in the chat.

    :ivar name: as the daemon shows it.
    :ivar resumed: as the same identity as before; otherwise as a new one.
    :ivar durable: what the daemon accepts survives its process.
    :ivar count: which connection of this `Member` it is: 1 for the first.
    :ivar hello: the answer to ``<hello>``, if the daemon knows that.
    :ivar rewound: the daemon's journal has lost what we had read: ids that we know are given out anew.
    """

    name: str
    resumed: bool
    durable: bool
    count: int
    hello: Line | None
    rewound: bool = False


class Observer(Protocol):
    """Who wants to know what happens.  What one of these raises is logged and costs nobody anything."""

    def linked(self, link: Linked) -> None:
        """The member is in the chat, for the first time or again; what was missed follows."""

    def broken(self, why: PychatError, delay: float) -> None:
        """The connection is lost, or an attempt at one failed; the next attempt is made in so many seconds."""

    def ended(self, why: PychatError) -> None:
        """The member has ended and does not come back: it left, was replaced, or cannot be who it was."""

    def message(self, line: Line, raw: bytes) -> None:
        """A ``<msg>``, each one once; ``replay`` is among its attributes if it was said while the member was away."""

    def accepted(self, post: Post, id: str, line: Line) -> None:
        """A post has its id; told once."""

    def refused(self, post: Post, error: PychatError) -> None:
        """A post cannot be said; told once."""

    def postponed(self, post: Post, error: PychatError) -> None:
        """A post cannot be said for the moment, and is tried again until it can; told once."""

    def doubtful(self, post: Post) -> None:
        """Whether this was said cannot be known any more, and it is not said again; told once."""

    def verdict(self, line: Line, raw: bytes) -> None:
        """``<sent>``, ``<delivered>`` and the like: each word once for each message."""

    def notice(self, line: Line, raw: bytes) -> None:
        """Everything else."""
