"""All connections that speak the line protocol: made, swept, and ended together."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory

from .commands import Stage
from .desk import Desk
from .laggards import Laggards
from .line import ChatProtocol
from .pump import Pump

JOIN_LIMIT = 600.0
"""Seconds that a connection may stay without a ``<connect>`` or a ``<hello>``."""


class ChatFactory(ServerFactory):
    """Makes a :class:`ChatProtocol` for every connection, on any number of ports."""

    noisy = False

    def __init__(self, pump: Pump, desk: Desk) -> None:
        self.pump = pump
        self._desk = desk
        self.connections: dict[ChatProtocol, None] = {}
        """Every connection there is, oldest first."""
        self.laggards = Laggards()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        protocol = ChatProtocol(self.pump, self._desk)
        protocol.factory = self
        return protocol

    def sweep(self) -> None:
        """End connections that have not said who or what they are in time."""
        limit = self.pump.reactor.seconds() - JOIN_LIMIT
        for connection in [*self.connections]:
            waits = connection.session.stage == Stage.NEW and connection.stream is None
            if waits and connection.made_at <= limit:
                connection.end(
                    "idle", "You did not join in ten minutes. Come back and type <connect>your-name"
                )

    def end_all(self, code: str, sentence: str) -> Deferred[object]:
        """End every connection; fires when all are gone."""
        self.pump.hub.disperse()
        connections = [*self.connections]
        for connection in connections:
            connection.end(code, sentence)
        return cast("Deferred[object]", DeferredList([connection.gone() for connection in connections]))

    def abort_all(self) -> None:
        """Close what is still there at once."""
        for connection in [*self.connections]:
            if connection.transport is not None:
                connection.transport.abortConnection()  # type: ignore[attr-defined]
