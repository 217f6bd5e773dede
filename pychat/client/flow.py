"""How full the buffer of a connection is: who sends much waits for room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Outflow:
    """What goes out on a connection; its transport tells it how its buffer is.

    :ivar full: more should wait.
    """

    def __init__(self, drained: Callable[[], object]) -> None:
        """:param drained: called when there is room again, before those who wait for it go on."""
        self._drained = drained
        self._transport: Any = None
        self._waiting: list[Deferred[None]] = []
        self.full = False

    def open(self, transport: Any) -> None:
        """The connection is there."""
        self._transport = transport
        transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send this, whether there is room or not."""
        self._transport.write(data)

    def room(self) -> Deferred[None]:
        """Fires when there is room, or no connection any more."""
        if not self.full:
            return succeed(None)
        room: Deferred[None] = Deferred(lambda room: self._waiting.remove(room))
        self._waiting.append(room)
        return room

    def close(self) -> None:
        """The connection is gone: nobody waits for it."""
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self.full = True

    def resumeProducing(self) -> None:
        self.full = False
        self._drained()
        waiting, self._waiting = self._waiting, []
        for room in waiting:
            room.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone; its protocol hears of it by itself."""
