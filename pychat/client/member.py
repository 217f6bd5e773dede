"""Somebody who stays in a chat over many connections."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from ..errors import PychatError
from ..grammar import Line
from .answers import LinkError
from .connection import connect
from .store import Post, Store


@dataclass(frozen=True, slots=True)
class Linked:
    """The member is in the chat.

    :ivar name: as the daemon shows it.
    :ivar resumed: as the same identity as before; otherwise as a new one.
    :ivar durable: what the daemon accepts survives its process.
    :ivar count: which connection of this `Member` it is: 1 for the first.
    """

    name: str
    resumed: bool
    durable: bool
    count: int
    hello: Line | None
    connected: Line


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

    def doubtful(self, post: Post) -> None:
        """Whether this was said cannot be known any more, and it is not said again; told once."""

    def verdict(self, line: Line, raw: bytes) -> None:
        """``<sent>``, ``<delivered>`` and the like: each word once for each message."""

    def notice(self, line: Line, raw: bytes) -> None:
        """Everything else."""


class Member:
    """One person in a chat, over as many connections as it takes."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        name: str,
        store: Store,
        observer: Observer,
        *,
        patient: bool = False,
        random: Callable[[], float] = random.random,
        connect: Callable[..., Deferred[Any]] = connect,
    ) -> None:
        """
        :param patient: also the first connection is tried again when there is none.
        :param random: gives numbers from 0 to 1, for the back-off.
        """
        raise NotImplementedError

    def start(self) -> Deferred[None]:
        """Come; fires at the first ``<connected>``.

        :return: fails with :class:`Refused` if the daemon does not want this name, ``LinkError`` if there is no
            connection (unless the member is patient).
        """
        raise NotImplementedError

    def post(self, to: str | None, text: str | bytes) -> str:
        """Say something to one person, or to everybody (``None``): now, or when there is a connection again.

        :return: its ``once=`` key; it is kept in the outbox.
        :raise LocalProtocolError: no line can say this, or the outbox is full.
        """
        raise NotImplementedError

    def leave(self) -> Deferred[LinkError]:
        """Say ``<disconnect>``: the identity ends, and the store forgets it once the goodbye came.

        What is still pending stays in the outbox.  Without a connection it is like :meth:`suspend`.
        """
        raise NotImplementedError

    def suspend(self) -> Deferred[LinkError]:
        """Close the connection and keep everything: the identity is away until somebody starts with this store."""
        raise NotImplementedError

    def drop(self) -> None:
        """Break the connection as a bad network does; the member comes back by itself."""
        raise NotImplementedError
