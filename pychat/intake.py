"""The way in of one connection: from its bytes to lines, and from these to its session, within bounds.

It feeds the lines to the session one by one, or several that are alike together, and keeps the bounds within which one
peer cannot cost the others anything: a peer that leaves its answers unread (:data:`SOFT_MARK`), or has many messages
that the journal has not answered (:data:`PIPELINE_LIMIT`), gets no further line handled, and then nothing more is read
from it.  After :data:`LINES_A_TURN` or :data:`LINES_SECONDS` the others have their turn.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure

from .framing import IAC, LineSplitter, TelnetFilter
from .outlet import Outlet
from .peer import Peer
from .pump import Pump
from .requests import Again, Close, FromJournal, FromShelf, OfTransfers, Request, Stream, WhoIs
from .session import Session
from .vocabulary import CLIENT_LINE_LIMIT

SOFT_MARK: Final = 256 * 1024
"""Queued bytes past which a peer's commands wait."""

PIPELINE_LIMIT = 1000
"""Messages of one peer without their answer past which its commands wait."""

LINES_A_TURN = 250
"""Lines of one peer handled before the others have their turn, at most."""

LINES_SECONDS: Final = 0.002
"""Seconds for which they are handled, about: on a slow machine those are fewer."""

LOT: Final = 25
"""Lines that are handled between two looks at the clock."""

_STREAM = b"<stream "

_log = Logger("pychat.intake")


class Owner(Protocol):
    """Whose intake it is."""

    def carry(self, request: Stream, rest: bytes) -> None:
        """Carry a transfer from here on.

        :param rest: what came behind the line.
        """

    def ask(self, request: FromShelf | OfTransfers | FromJournal) -> Deferred[None]:
        """Do what the session asks for; fires when that is done, and may fail."""

    def end(self) -> None:
        """Close the connection once what is queued is out.  May be called again."""


class Intake(LineSplitter):
    """What one peer says.

    It is a splitter, and has none: with thousands of connections each object of one counts.
    """

    __slots__ = (
        "_coming", "_ended", "_first", "_handling", "_held", "_outlet", "_owner", "_paused", "_peer", "_pump",
        "_request", "_session", "_telnet", "_transport",
    )  # fmt: skip

    def __init__(self, transport: Any, pump: Pump, session: Session, outlet: Outlet, owner: Owner) -> None:
        super().__init__(CLIENT_LINE_LIMIT)
        # As in pychat.peer.Peer, the order counts.
        self._session = session
        self._peer: Peer = session.peer
        self._outlet = outlet
        self._pump = pump
        self._telnet: TelnetFilter | None = None
        self._held: deque[bytes | None] | None = None  # lines that wait for their turn
        self._request: Deferred[None] | None = None
        self._first: bytes | None = b""  # of a connection that may carry a transfer, until that is known
        self._handling = False
        self._coming = False  # a turn of ours is to come
        self._paused = False
        self._ended = False  # the peer sends nothing more
        self._transport = transport
        self._owner: Owner | None = owner

    def doRead(self) -> Any:
        """Something came: what Twisted's transport would do, without the steps in between (:mod:`pychat.poller`)."""
        channel = self._outlet.channel
        assert channel is not None
        try:
            data = channel.receive()
        except OSError:
            return CONNECTION_LOST
        if data is None:
            return None
        if not data:
            return CONNECTION_DONE
        self.received(data)
        return None

    def received(self, data: bytes) -> None:
        """These bytes came."""
        session, peer = self._session, self._peer
        if session.closing:
            return  # what still comes is read and thrown away
        if self._first is not None:
            data = self._look_at_first(data)
        peer.since = self._pump.seconds()
        confirmed_at = peer.confirmed_at
        if confirmed_at is not None and self._outlet.position() >= confirmed_at:
            self._pump.hub.confirm(peer)
        if self._telnet is not None or IAC in data:
            data = self._without_telnet(data)
        if self._held is None and not self._handling and not self._waiting():
            # Mostly nothing waits, and what came is one line, or several that are alike: without detours.
            line = self.only(data)
            if line is not None:
                self._one(line)
                self._pump.wake()
                return
            lines = self.feed(data)
            if len(lines) > 1 and self._several(lines):
                self._pump.wake()
                return
        else:
            lines = self.feed(data)
        if self._held is not None:
            self._held.extend(lines)
        elif lines:
            self._held = deque(lines)
        self.handle()
        self._pump.wake()

    def received_all(self) -> None:
        """The peer sends nothing more."""
        if self._first:
            rest, self._first = self._first, None
            self.received(rest)
        if not self._ended:
            self._ended = self._outlet.awaited = True
            self.handle()
            self._pump.wake()

    def drop(self) -> None:
        """What was said and not handled yet is not wanted, and what still comes in is read and thrown away."""
        self._held = None
        self._pause(False)  # so that our close is no reset

    def lost(self) -> None:
        """The connection is gone: let go of everything."""
        self._held = None
        self._owner = None

    def _without_telnet(self, data: bytes) -> bytes:
        """Take telnet's sequences out, and answer them; most peers never send any."""
        if self._telnet is None:
            self._telnet = TelnetFilter()
        data, reply = self._telnet.feed(data)
        if reply:
            self._peer.tell(reply)
        return data

    def _look_at_first(self, data: bytes) -> bytes:
        """Before telnet's sequences are taken out: what follows ``<stream>`` is no text.

        :return: what belongs to lines.
        """
        assert self._first is not None
        first = self._first + data
        line, end, rest = first.partition(b"\n")
        if not first.startswith(_STREAM[: len(first)]) or len(line) > CLIENT_LINE_LIMIT:
            self._first = None
            return first
        if not end:
            self._first = first
            return b""
        self._first = None
        request = self._session.receive(line.removesuffix(b"\r"))
        if isinstance(request, Stream):
            self._stream(request, rest)
            return b""
        return rest

    def _stream(self, request: Stream, rest: bytes) -> None:
        if self._owner is not None:
            self._owner.carry(request, rest)

    # -- in turns

    def _waiting(self) -> bool:
        """Whether no further line may be handled now."""
        peer = self._peer
        return (
            self._request is not None
            or peer.mailbox.queued + peer.behind > SOFT_MARK
            or peer.posted - peer.settled >= PIPELINE_LIMIT
            or (peer.holding and peer.posted != peer.settled)
        )

    def _one(self, line: bytes) -> None:
        """One line, and nothing waits: do what it says, and all that follows from it."""
        self._handling = True
        try:
            request = self._session.receive(line)
            if request is not None:
                self._carry_out(request, line)
        except Exception:
            self._fault()
        self._handling = False
        if self._session.closing:
            self._end()
        elif self._held:
            self.handle(1)

    def _several(self, lines: list[bytes | None]) -> bool:
        """Several lines, and nothing waits: the same, if the first of them are alike.

        :return: whether they were.
        """
        self._handling = True
        done = 1
        try:
            done = self._session.receive_run(lines, self._most(0))
            if 0 < done < len(lines):
                self._held = deque(lines[done:])
        except Exception:
            self._fault()
        self._handling = False
        if not done:
            return False
        if self._session.closing:
            self._end()
        elif self._held:
            self.handle(done)
        return True

    def _most(self, count: int) -> int:
        """How many lines that post may be handled together, in a turn that had so many."""
        return min(LINES_A_TURN - count, PIPELINE_LIMIT - self._peer.posted + self._peer.settled)

    def handle(self, count: int = 0) -> None:
        """Give the session the lines that are here, as far as it may have them now.

        :param count: how many it had in this turn.
        """
        if self._handling or self._session.closing:
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
        if self._session.closing:
            self._end()
        elif self._held:
            if not self._coming and not self._waiting():
                self._coming = True
                self._pump.reactor.callLater(0, self._go_on)
            self._pause(True)
        else:
            if self._paused:
                self._pause(False)
            if self._ended and not self._waiting() and self._peer.posted == self._peer.settled:
                self._finish()

    def _receive(self, count: int) -> int:
        """The same; return how many there were."""
        held, session = self._held, self._session
        seconds = self._pump.seconds
        began, look = seconds(), count + LOT
        while held and count < LINES_A_TURN and not self._waiting():
            if count >= look:
                look = count + LOT
                if not 0 <= seconds() - began < LINES_SECONDS:
                    break
            if len(held) > 1:
                together = session.receive_run(held, self._most(count))
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
            request = session.receive(raw)
            if request is not None and not self._carry_out(request, raw):
                break
        return count

    def drained(self) -> None:
        """See :class:`pychat.outlet.Owner`."""
        if not self._coming:
            self.handle()

    def _go_on(self) -> None:
        """The others had their turn.

        While the journal keeps something of hers she waits for that, too: with the lines that she has left her answers
        come later anyhow, and the others' sooner, for the journal's thread needs the processor and Python's lock.
        """
        if self._peer.posted != self._peer.settled and self._pump.keeping:
            self._pump.behind_journal.append(self._go_on)
            return
        self._coming = False
        self.handle()

    def _finish(self) -> None:
        """All that the peer will ever send has its answer."""
        if self.rest:
            self._session.cut_short()
        self._session.closing = True
        self._end()

    def _pause(self, pause: bool) -> None:
        if pause == self._paused:
            return
        self._paused = pause
        self._outlet.awaited = pause or self._ended
        if pause:
            self._transport.pauseProducing()
        elif not self._ended:
            self._transport.resumeProducing()

    # -- what the session asks for

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
            self._session.described(request, *self._pump.clocks())
            return True
        if isinstance(request, Stream):
            self._stream(request, b"")
            return False
        if self._owner is None:
            return False
        done = self._request = self._owner.ask(request)
        done.addErrback(self._broken)
        done.addBoth(self._carried_out)
        return True

    def _carried_out(self, result: object) -> None:
        self._request = None
        self.handle()
        self._pump.wake()

    def _broken(self, failure: Failure) -> None:
        _log.failure("a request failed in a way that nobody foresaw", failure)
        self._end()

    def _fault(self) -> None:
        _log.failure("a line was handled in a way that nobody foresaw")
        self._session.closing = True

    def _end(self) -> None:
        if self._owner is not None:
            self._owner.end()
