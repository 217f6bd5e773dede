"""The line protocol on a Twisted transport: a thin adapter between bytes and a session.

It decides nothing about chat.  It cuts bytes into lines, feeds them to the session one by one, carries out what
the session asks for, and keeps the bounds within which one peer cannot cost the others anything: a
peer that leaves its answers unread (:data:`SOFT_MARK`), or has many messages that the journal has not
answered (:data:`PIPELINE_LIMIT`), gets no further line handled, and then nothing more is read from it.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from . import kernel
from .address import format_host_port
from .desk import Desk
from .errors import PychatError
from .framing import LineSplitter, TelnetFilter
from .outlet import Outlet
from .pump import Pump
from .redelivery import Redelivery
from .requests import (
    Again,
    Close,
    ListFiles,
    ListTransfers,
    OpenFile,
    ProvePath,
    Request,
    Steer,
    Stream,
    TakeFile,
    WhoIs,
)
from .session import Session
from .vocabulary import CLIENT_LINE_LIMIT

if TYPE_CHECKING:
    from .factory import ChatFactory
    from .stream import StreamCarrier

SOFT_MARK = 256 * 1024
"""Queued bytes past which a peer's commands wait."""

PIPELINE_LIMIT = 1000
"""Messages of one peer without their answer past which its commands wait."""

LINES_A_TURN = 250
"""Lines of one peer handled before the others have their turn: about 3 ms."""

_STREAM = b"<stream "
_FOR_DESK = (ListFiles, OpenFile, TakeFile, ProvePath, ListTransfers, Steer)


@implementer(IHalfCloseableProtocol)
class ChatProtocol(LineReceiver):
    """One connection that speaks the line protocol."""

    delimiter = b"\n"
    MAX_LENGTH = CLIENT_LINE_LIMIT

    def __init__(self, pump: Pump, desk: Desk) -> None:
        self._pump = pump
        self._desk = desk
        self._telnet: TelnetFilter | None = None
        self._splitter = LineSplitter(self.MAX_LENGTH)
        self._held: deque[bytes | None] | None = None  # lines that wait for their turn
        self._request: Deferred[None] | None = None
        self._handling = False
        self._coming = False  # a turn of ours is to come
        self._paused = False
        self._ended = False  # the peer sends nothing more
        self._redelivery: Redelivery | None = None
        self._first: bytes | None = b""  # of a connection that may carry a transfer, until that is known
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
        self.session.greet()
        self._pump.wake()

    def dataReceived(self, data: bytes) -> None:
        if self.stream is not None:
            self.stream.dataReceived(data)
            return
        if self.session.closing:
            return  # what still comes is read and thrown away
        if self._first is not None:
            data = self._look_at_first(data)
        self.peer.since = self._pump.reactor.seconds()
        confirmed_at = self.peer.confirmed_at
        if confirmed_at is not None and self._outlet.position() >= confirmed_at:
            self._pump.hub.confirm(self.peer)
        if self._telnet is not None or b"\xff" in data:
            data = self._without_telnet(data)
        lines = self._splitter.feed(data)
        if self._held is not None:
            self._held.extend(lines)
        elif lines and not self._handling and not self._waiting() and self._at_once(lines):
            self._pump.wake()
            return
        elif lines:
            self._held = deque(lines)
        self._handle()
        self._pump.wake()

    def _without_telnet(self, data: bytes) -> bytes:
        """Take telnet's sequences out, and answer them; most peers never send any."""
        if self._telnet is None:
            self._telnet = TelnetFilter()
        data, reply = self._telnet.feed(data)
        if reply:
            self.peer.tell(reply)
        return data

    def _look_at_first(self, data: bytes) -> bytes:
        """Before telnet's sequences are taken out: what follows ``<stream>`` is no text.

        :return: what belongs to lines.
        """
        assert self._first is not None
        first = self._first + data
        line, end, rest = first.partition(b"\n")
        if not first.startswith(_STREAM[: len(first)]) or len(line) > self.MAX_LENGTH:
            self._first = None
            return first
        if not end:
            self._first = first
            return b""
        self._first = None
        request = self.session.receive(line.removesuffix(b"\r"))
        if isinstance(request, Stream):
            self._stream(request, rest)
            return b""
        return rest

    def _stream(self, request: Stream, rest: bytes) -> None:
        """Carry a transfer from here on; one guess at a transfer is all that a connection has."""
        try:
            stream = self._desk.attach(request)
        except PychatError as error:
            self.session.failed(error, request.label)
            self.end()
            self._pump.wake()
            return
        self.session.streaming(request.label)
        self._held = None
        self._outlet.release()
        self.stream = stream
        stream.connected(cast("ITCPTransport", self.transport))
        if rest:
            stream.dataReceived(rest)

    def readConnectionLost(self) -> None:
        if self.stream is not None:
            cast("ITCPTransport", self.transport).loseConnection()
            return
        if self._first:
            rest, self._first = self._first, None
            self.dataReceived(rest)
        if not self._ended:
            self._ended = self._outlet.awaited = True
            self._handle()
            self._pump.wake()

    def writeConnectionLost(self) -> None:
        """We never close just our half."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.session.closing = True
        self._held = None
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

    # -- lines in

    def _waiting(self) -> bool:
        """Whether no further line may be handled now."""
        peer = self.peer
        return (
            self._request is not None
            or peer.mailbox.queued + peer.behind > SOFT_MARK
            or peer.posted - peer.settled >= PIPELINE_LIMIT
            or (peer.holding and peer.posted != peer.settled)
        )

    def _at_once(self, lines: list[bytes | None]) -> bool:
        """Mostly nothing waits, and what came is one line, or several that are alike: without detours.

        :return: whether it was, and all that follows from it is done.
        """
        self._handling = True
        done = 1
        try:
            if len(lines) == 1:
                request = self.session.receive(lines[0])
                if request is not None:
                    self._carry_out(request, lines[0])
            else:
                done = self.session.receive_run(lines, self._most(0))
                if not done:
                    return False
                if done < len(lines):
                    self._held = deque(lines[done:])
        except Exception:
            self._fault()
        finally:
            self._handling = False
        if self.session.closing:
            self.end()
        elif self._held:
            self._handle(done)
        return True

    def _most(self, count: int) -> int:
        """How many lines that post may be handled together, in a turn that had so many."""
        return min(LINES_A_TURN - count, PIPELINE_LIMIT - self.peer.posted + self.peer.settled)

    def _fault(self) -> None:
        self._house.log.failure("a line was handled in a way that nobody foresaw")
        self.session.closing = True

    def _handle(self, count: int = 0) -> None:
        """Give the session the lines that are here, as far as it may have them now.

        :param count: how many it had in this turn.
        """
        if self._handling or self.session.closing:
            return
        self._handling = True
        try:
            count = self._receive(count)
        except Exception:
            self._fault()
            count = 1
        self._handling = False
        if not self._held:
            self._held = None
        if count:
            self._pump.wake()
        if self.session.closing:
            self.end()
        elif self._held:
            if not self._coming and not self._waiting():
                self._coming = True
                self._pump.reactor.callLater(0, self._go_on)
            self._pause(True)
        else:
            if self._paused:
                self._pause(False)
            if self._ended and not self._waiting() and self.peer.posted == self.peer.settled:
                self._finish()

    def _receive(self, count: int) -> int:
        """The same; return how many there were."""
        held, receive, waiting = self._held, self.session.receive, self._waiting
        while held and count < LINES_A_TURN and not waiting():
            if len(held) > 1:
                together = self.session.receive_run(held, self._most(count))
                if together:
                    count += together
                    if together == len(held):
                        held.clear()
                        break
                    for _ in range(together):
                        held.popleft()
                    continue
            count += 1
            raw = held.popleft()
            request = receive(raw)
            if request is not None and not self._carry_out(request, raw):
                break
        return count

    def _carry_out(self, request: Request, raw: bytes | None) -> bool:
        """Do what the session asks for; return whether further lines may follow, as far as that goes."""
        if isinstance(request, Close):
            return False
        if isinstance(request, Again):
            if self._held is None:
                self._held = deque()
            self._held.appendleft(raw)
            return False
        if isinstance(request, WhoIs):
            self.session.described(request, *self._pump.clocks())
            return True
        if isinstance(request, Stream):
            self._stream(request, b"")
            return False
        if isinstance(request, _FOR_DESK):
            done = self._desk.carry_out(request, self.session, self, self._local, self._remote)
        else:
            done = self._pump.reading.lookups.carry_out(request, self.session)
        self._request = done
        done.addErrback(self._broken)
        done.addBoth(self._carried_out)
        return True

    def _go_on(self) -> None:
        """The others had their turn."""
        self._coming = False
        self._handle()

    def _finish(self) -> None:
        """All that the peer will ever send has its answer."""
        if self._splitter.rest:
            self.session.cut_short()
        self.session.closing = True
        self.end()

    def _broken(self, failure: Failure) -> None:
        self._house.log.failure("a request failed in a way that nobody foresaw", failure)
        self.end()

    def _carried_out(self, result: object) -> None:
        self._request = None
        self._handle()
        self._pump.wake()

    def _pause(self, pause: bool) -> None:
        if pause == self._paused:
            return
        self._paused = pause
        self._outlet.awaited = pause or self._ended
        transport = cast("ITCPTransport", self.transport)
        if pause:
            transport.pauseProducing()  # type: ignore[attr-defined]
        elif not self._ended:
            transport.resumeProducing()  # type: ignore[attr-defined]

    # -- bytes out

    def sent(self) -> None:
        """See :class:`pychat.outlet.Owner`."""
        self._acks().check()

    def drained(self) -> None:
        """See :class:`pychat.outlet.Owner`."""
        if not self._coming:
            self._handle()

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
        self._held = None
        self._pause(False)  # what still comes in is read and thrown away, so that our close is no reset
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
