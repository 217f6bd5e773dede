"""The line protocol on a Twisted transport: a thin adapter between bytes and a session.

It decides nothing about chat.  What comes in goes through :mod:`pychat.intake`, what goes out through
:mod:`pychat.outlet`; both are classes of their own, as one that inherits from Twisted's cannot be compiled well.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from . import kernel
from .address import format_host_port
from .desk import Desk
from .errors import PychatError
from .intake import Intake
from .outlet import Outlet
from .pump import Pump
from .redelivery import Redelivery
from .requests import (
    FromJournal,
    FromShelf,
    ListFiles,
    ListTransfers,
    OfTransfers,
    OpenFile,
    ProvePath,
    Steer,
    Stream,
    TakeFile,
)
from .session import Session
from .vocabulary import CLIENT_LINE_LIMIT

if TYPE_CHECKING:
    from .factory import ChatFactory
    from .stream import StreamCarrier

_FOR_DESK = (ListFiles, OpenFile, TakeFile, ProvePath, ListTransfers, Steer)


@implementer(IHalfCloseableProtocol)
class ChatProtocol(LineReceiver):
    """One connection that speaks the line protocol."""

    delimiter = b"\n"
    MAX_LENGTH = CLIENT_LINE_LIMIT

    def __init__(self, pump: Pump, desk: Desk) -> None:
        self._pump = pump
        self._desk = desk
        self._redelivery: Redelivery | None = None
        self.stream: StreamCarrier | None = None
        """What it carries in place of lines."""
        self._gone: Deferred[None] | None = None
        self._lost = False

    # -- from the transport

    def connectionMade(self) -> None:
        transport = cast("ITCPTransport", self.transport)
        if not getattr(transport, "prepared", False):
            handle = kernel.plain_socket(transport)
            if handle is not None:
                kernel.prepare(handle)
            elif hasattr(transport, "setTcpNoDelay"):
                transport.setTcpNoDelay(True)
        self.peer = self._pump.hub.peer(self)
        host = transport.getHost()
        self._local: str = getattr(host, "host", "")
        self._remote: str = getattr(transport.getPeer(), "host", "")
        self.session = Session(
            self._pump.hub, self.peer, _here(host),
            takes_udp=self._desk.has_udp, uploads=self._desk.uploading.allowed(self._remote),
        )  # fmt: skip
        self.made_at = self._pump.reactor.seconds()
        self.peer.since = self.made_at
        self._house = cast("ChatFactory", self.factory)
        self._house.connections[self] = None
        self._outlet = self.peer.way = Outlet(transport, self.peer, self._pump, self)
        self._intake = Intake(transport, self._pump, self.session, self._outlet, self)
        if self._outlet.channel is not None:
            self._read_with(self._intake)
        self.session.greet()
        self._pump.wake()

    def _read_with(self, reader: Intake | None) -> None:
        transport: Any = self.transport
        # What wraps a transport has its attributes, too, and is to see what comes in.
        if hasattr(type(transport), "read_with"):
            transport.read_with(reader)

    def dataReceived(self, data: bytes) -> None:
        if self.stream is not None:
            self.stream.dataReceived(data)
        else:
            self._intake.received(data)

    def readConnectionLost(self) -> None:
        if self.stream is not None:
            cast("ITCPTransport", self.transport).loseConnection()
            return
        self._intake.received_all()

    def writeConnectionLost(self) -> None:
        """We never close just our half."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.session.closing = True
        self._read_with(None)
        self._intake.lost()
        self._house.connections.pop(self, None)
        self._outlet.lost()
        if self.stream is not None:
            self.stream.connectionLost()
        if self._redelivery is not None:
            self._redelivery.stop()
        self._desk.left(self)
        self._pump.hub.leave(self.peer, self._pump.reactor.seconds())
        self._pump.wake()
        # No circles, so all of it goes at once and the garbage collector has nothing to look for.
        self._redelivery = None
        self.peer.owner, self.peer.way = _GONE, None
        self._lost = True
        if self._gone is not None:
            self._gone.callback(None)

    def gone(self) -> Deferred[None]:
        """Fires when the connection is gone."""
        if self._gone is None:
            self._gone = Deferred()
            if self._lost:
                self._gone.callback(None)
        return self._gone

    # -- for what is said

    def carry(self, request: Stream, rest: bytes) -> None:
        """See :meth:`pychat.intake.Owner.carry`; one guess at a transfer is all that a connection has."""
        try:
            stream = self._desk.attach(request)
        except PychatError as error:
            self.session.failed(error, request.label)
            self.end()
            self._pump.wake()
            return
        self.session.streaming(request.label)
        self._intake.drop()
        self._outlet.release()
        self._read_with(None)
        self.stream = stream
        stream.connected(cast("ITCPTransport", self.transport))
        if rest:
            stream.dataReceived(rest)

    def ask(self, request: FromShelf | OfTransfers | FromJournal) -> Deferred[None]:
        """See :meth:`pychat.intake.Owner.ask`."""
        if isinstance(request, _FOR_DESK):
            return self._desk.carry_out(request, self.session, self, self._local, self._remote)
        return self._pump.reading.lookups.carry_out(request, self.session)

    # -- bytes out

    def sent(self) -> None:
        """See :class:`pychat.outlet.Owner`."""
        self._acks().check()

    def drained(self) -> None:
        """See :class:`pychat.outlet.Owner`."""
        self._intake.drained()

    def overflowed(self) -> None:
        """See :class:`pychat.outlet.Owner`."""
        person = self.peer.identity
        self._house.laggards.ended(person.name if person is not None else "", self._remote)
        rest = (
            "Come back for the rest."
            if self.peer.resumes
            else "What waited for you is lost; come back to go on."
        )
        self.end("too-slow", f"You read more slowly than you are sent to. {rest}")

    def arrived(self) -> None:
        """See :class:`pychat.outlet.Owner`."""
        if self.peer.unacked is not None:
            self._acks().arrived()

    def _acks(self) -> Redelivery:
        if self._redelivery is None:
            self._redelivery = Redelivery(self._pump, self.peer, self._outlet.has_all, self._no_acks)
        return self._redelivery

    def _no_acks(self) -> None:
        self.end("no-acks", "You said caps=ack and did not acknowledge. Send <ack>id for what you have.")

    def end(self, code: str = "", sentence: str = "") -> None:
        """Close the connection once what is queued is out; with a code, say why first."""
        if self.stream is not None:
            return  # its other end hears nothing but frames: the transfer takes its leave itself
        if code and not self.session.closing:
            self.session.goodbye(code, sentence)
            self._pump.wake()
        self.session.closing = True
        self._pump.hub.part(self.peer, self._pump.reactor.seconds())
        self._intake.drop()
        self._outlet.close()


class _Gone:
    """Stands for a connection that has ended, where something is still to come for it."""

    def end(self, code: str = "", sentence: str = "") -> None:
        """See :class:`pychat.reading.Connection`."""


_GONE = _Gone()


def _here(host: object) -> str:
    """Where a connection was made, as somebody may type it elsewhere."""
    name = getattr(host, "host", None)
    return _address(name, getattr(host, "port", 0)) if isinstance(name, str) else str(host)


# Thousands of connections share one string.
_address = lru_cache(maxsize=64)(format_host_port)
