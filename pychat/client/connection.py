"""One connection to a chat, from the client's side.  All our programs and end-to-end tests stand on it.

Theory of operation.  A command of ours carries a label, and what comes back with that label is its answer: the
lines of a list, then a closing line (:data:`~pychat.client.answers.CLOSINGS`).  Everything else that comes is a
*notice* and goes to the observer: messages, receipts, who came and who left, answers to lines that somebody typed,
and verbs that we have never heard of, which is how the protocol grows.  ``<ping>`` is answered here, and what
was received is acknowledged here: once for each chunk of bytes, whatever was in it.

The daemon is not trusted with anything but what it was asked: lines, answers and what waits to be sent are bounded,
and no bytes make :meth:`Client.dataReceived` raise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from .. import kernel
from ..address import DEFAULT_PORT, format_host_port
from ..deadline import Deadline
from ..errors import LocalProtocolError, PychatError, RemoteProtocolError
from ..framing import LineSplitter
from ..grammar import NO_ATTRIBUTES, Line, parse
from ..vocabulary import CLIENT_LINE_LIMIT, SERVER_LINE_LIMIT
from .acks import Acks
from .answers import Answer, Joined, LinkError, cannot_connect, decode
from .asking import Asking, to_bytes
from .calls import Calls
from .flow import Outflow
from .greeting import Greeting, closed_before, none_came, speaks_otherwise

CONNECT_TIMEOUT = 20.0
"""Seconds for a connection to be made, and again for the greeting to come: very many may come back at once."""

BRIEF_TIMEOUT = 5.0
"""Seconds for the greeting where somebody only looks what there is."""

ANSWER_TIMEOUT = 60.0
"""Seconds without an answer to the oldest command after which the connection is given up."""

CLOSE_TIMEOUT = 5.0
"""Seconds for the daemon to say goodbye and close."""

Observer = Callable[[Line, bytes], object]
"""Called with each notice: parsed, and as it came, without its line end.  A line that is not of the protocol's form has
an empty verb."""


PONGS_HELD = 10
"""Pings that are answered later, of those that come while nothing may be said; daemons ask every few minutes."""


def _nobody(line: Line, raw: bytes) -> None:
    """The observer of who does not want to know."""


def _all() -> int | None:
    """All that came may be acknowledged."""
    return None


class Client(Asking, LineReceiver):
    """A connection to a chat; made by :func:`connect`.

    :ivar goodbye: the daemon's ``<goodbye>``, once it came.
    :ivar dropped: lines that were too long to be looked at.
    """

    delimiter = b"\n"
    MAX_LENGTH = SERVER_LINE_LIMIT
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        observer: Observer = _nobody,
        *,
        answer_timeout: float = ANSWER_TIMEOUT,
        greeting_timeout: float = CONNECT_TIMEOUT,
        shown: int = -1,
        taken: Callable[[], int | None] = _all,
    ) -> None:
        """
        :param answer_timeout: seconds for the oldest answer; ``greeting_timeout``: for the greeting.
        :param shown: the highest id of a message that was shown already, on a connection before this one; messages
            up to it are acknowledged and not shown again.
        :param taken: called once for each chunk of bytes that was received, when the observer has been given all of
            it, and before any of it is acknowledged: here a client that comes back keeps how far it has read.  It
            gives the highest id that may be acknowledged by now, ``None`` for all; see :meth:`acknowledge`.
        """
        self._observer = observer
        self._splitter = LineSplitter(self.MAX_LENGTH)
        self._calls = Calls(clock, answer_timeout, self._timed_out)
        self._greeting = Greeting(clock, greeting_timeout, self._timed_out, self.abort)
        self._deadline = Deadline(clock, self._timed_out)  # of the end
        self._ending: LinkError | None = None
        self._ended: list[Deferred[LinkError]] = []
        self._up = False
        self._acks = Acks(shown)
        self._taken = taken
        self._hushed = False
        self._pongs: deque[bytes] = deque(maxlen=PONGS_HELD)
        self._out = Outflow(self._drained)
        self.goodbye: Line | None = None
        self.dropped = 0

    # -- asking

    def command(
        self, verb: str, text: str | bytes = b"", /, **attributes: str | bytes | None
    ) -> Deferred[Answer]:
        """Send a command and wait for the whole of its answer.

        Cancelling stops the waiting; the command is not taken back.

        :param attributes: those that are ``None`` are left out.
        :return: fails with :class:`Refused` if the daemon answers ``<error>``, :class:`LinkError` if the connection
            ends first, ``LocalProtocolError`` if no line can say this.
        """
        if not self._up:
            return fail(self._ending or LinkError("closed", "There is no connection to the chat."))
        given = {key.encode(): to_bytes(value) for key, value in attributes.items() if value is not None}
        try:
            line, answer = self._calls.open(verb.encode(), given, to_bytes(text))
        except LocalProtocolError:
            return fail()
        self._out.write(line)
        return answer

    def send(self, line: bytes) -> None:
        """Send a line, without its line end, as it is; its answer is a notice.

        :raise LinkError: the connection has ended.
        """
        if not self._up:
            raise self._ending or LinkError("closed", "There is no connection to the chat.")
        self._out.write(line + b"\n")

    def join(
        self, name: str, resume: str | None = None, after: int | None = None, open: int | None = None
    ) -> Deferred[Joined]:
        # Until the new token is kept, nothing more may be said: the old one dies with the first line after the answer.
        self._hushed = resume is not None
        joined = super().join(name, resume, after, open)
        return joined.addBoth(self._speak)

    def _speak(self, result: Any) -> Any:
        # What was held goes out at the end of the chunk, when whoever waited for this has kept the token.
        self._hushed = False
        return result

    # -- ending

    def leave(self) -> Deferred[LinkError]:
        """Say ``<disconnect>``, and wait for the goodbye and the end of the connection; never fails."""
        ended = self.ended()
        if self._up:
            self.command("disconnect").addErrback(_ignore)
            self._deadline.set(CLOSE_TIMEOUT)
        return ended

    def abort(self) -> None:
        """End the connection at once."""
        self._end(_closed())

    def close(self) -> Deferred[LinkError]:
        """End the connection without a word, once all that was said has gone out; never fails."""
        ended = self.ended()
        if self._up and self._ending is None:
            self._ending = _closed()
            self._deadline.set(CLOSE_TIMEOUT)
            cast("Any", self.transport).loseConnection()
        return ended

    def ended(self) -> Deferred[LinkError]:
        """Fires with the reason once the connection is gone; it may be already."""
        if not self._up and self._ending is not None:
            return succeed(self._ending)
        ended: Deferred[LinkError] = Deferred(self._ended_cancelled)
        self._ended.append(ended)
        return ended

    def _ended_cancelled(self, ended: Deferred[LinkError]) -> None:
        self._ended.remove(ended)

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._up

    @property
    def host(self) -> str:
        """The address of the daemon's machine, where the connection really went."""
        return str(getattr(cast("ITCPTransport", self.transport).getPeer(), "host", ""))

    @property
    def _where(self) -> str:
        """Address and port, for a person."""
        peer = cast("ITCPTransport", self.transport).getPeer()
        return format_host_port(getattr(peer, "host", "?"), getattr(peer, "port", DEFAULT_PORT))

    # -- flow of bytes out

    def room(self) -> Deferred[None]:
        """Fires when there is room for more to be sent: who sends much waits for it after each line.

        It fires when the connection is gone, too.
        """
        return self._out.room()

    def _drained(self) -> None:
        self._acknowledge()

    # -- from the transport

    def connectionMade(self) -> None:
        transport = cast("Any", self.transport)
        handle = kernel.plain_socket(transport)
        if handle is not None:
            kernel.find_dead_peers(handle)
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        self._out.open(transport)
        self._up = True
        self._greeting.expect()

    def greeted(self) -> Deferred[Client]:
        """To be asked for once: fires when the daemon has greeted, fails with :class:`LinkError`."""
        return self._greeting.came().addCallback(lambda _: self)

    def dataReceived(self, data: bytes) -> None:
        if self._greeting.awaited and not self._splitter.rest and data[:1] != b"<":
            self._end(speaks_otherwise(self._where))  # whose line may have no end
            return
        for raw in self._splitter.feed(data):
            if raw is None:
                self.dropped += 1
            elif raw and self._ending is None:
                self._line(raw)
        if self._ending is None:
            try:
                self._acks.due.limit = self._taken()
            except Exception:
                # What was not kept is not acknowledged either.
                self._log.failure("what a connection received could not be kept")
                return
        self._acknowledge()

    def acknowledge(self, limit: int) -> None:
        """What was held back may be acknowledged now, up to this id."""
        self._acks.due.limit = limit
        self._acknowledge()

    @property
    def shown(self) -> int:
        """The highest id of a message that was shown; -1 begins anew."""
        return self._acks.shown

    @shown.setter
    def shown(self, id: int) -> None:
        self._acks.shown = id

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._up = False
        self._deadline.cancel()
        if self._ending is None:
            self._ending = self._why_lost()
        why = self._ending
        self._greeting.fail(why)
        self._calls.fail(why)
        self._out.close()
        ended, self._ended = self._ended, []
        for deferred in ended:
            deferred.callback(why)

    def _why_lost(self) -> LinkError:
        if self.goodbye is not None:
            code = decode(self.goodbye.attributes.get(b"code", b"")) or "bye"
            return LinkError(code, decode(self.goodbye.text))
        if self._greeting.awaited:
            return closed_before()
        return LinkError("lost", "The connection to the chat was lost. Start again to come back.")

    def _end(self, why: LinkError) -> None:
        """Give the connection up."""
        if self._up:
            self._ending = self._ending or why
            cast("Any", self.transport).abortConnection()

    def _timed_out(self) -> None:
        if self._ending is not None:
            cast("Any", self.transport).abortConnection()
            return
        if self.goodbye is not None:
            self._end(self._why_lost())
            return
        if self._greeting.awaited:
            self._end(none_came(self._where))
            return
        self._end(
            LinkError(
                "timed-out",
                "The daemon does not answer. Is it a Python Chat, and is it well? Try again later.",
            )
        )

    # -- lines in

    def _line(self, raw: bytes) -> None:
        try:
            line = parse(raw)
        except RemoteProtocolError:
            line = Line(b"", NO_ATTRIBUTES, raw)
        if line.verb == b"ping":
            # What does not fit is nothing that a daemon asks; and who does not read gets no pongs.
            pong = b"<pong>%s\n" % line.text
            if len(pong) > CLIENT_LINE_LIMIT:
                return
            if self._hushed:
                self._pongs.append(pong)
            elif self._up and not self._out.full:
                self._out.write(pong)
            return
        self._notice(line, raw)
        if self._greeting.awaited and not self._greeting.hear(line):
            self._end(speaks_otherwise(self._where))

    def _notice(self, line: Line, raw: bytes) -> None:
        if line.verb == b"goodbye":
            self.goodbye = line
        # One with a label was looked up: it was not sent to us, whatever its id.
        if line.verb == b"msg" and b"label" not in line.attributes and self._acks.seen(line):
            return
        if line.verb == b"hello":
            self.caps = frozenset(decode(line.attributes.get(b"caps", b"")).split(",")) - {""}
        if self._calls.take(line, len(raw)):
            return
        try:
            self._observer(line, raw)
        except Exception:
            self._log.failure("the observer of a connection failed")

    def _acknowledge(self) -> None:
        if self._hushed or self._out.full or not self._up:
            return
        while self._pongs:
            self._out.write(self._pongs.popleft())
        id = self._acks.take()
        if id is not None and "ack" in self.caps:
            self._out.write(b"<ack>%d\n" % id)


def connect(
    reactor: Any,
    host: str,
    port: int,
    observer: Observer = _nobody,
    *,
    timeout: float = CONNECT_TIMEOUT,
    answer_timeout: float = ANSWER_TIMEOUT,
    greeting_timeout: float = CONNECT_TIMEOUT,
    shown: int = -1,
    taken: Callable[[], int | None] = _all,
) -> Deferred[Client]:
    """Connect to a chat and wait for its greeting.

    :param observer: is given the notices, the greeting among them.
    :param timeout: seconds for each of the host's addresses.
    :param greeting_timeout: and those behind it: see :class:`Client`.
    :return: fails with :class:`LinkError`; its sentence says what to do.  Cancelling ends the attempt.
    """
    client = Client(
        reactor, observer,
        answer_timeout=answer_timeout, greeting_timeout=greeting_timeout, shown=shown, taken=taken,
    )  # fmt: skip
    return Deferred.fromCoroutine(_connect(reactor, host, port, client, timeout))


async def _connect(reactor: Any, host: str, port: int, client: Client, timeout: float) -> Client:
    attempt = connectProtocol(HostnameEndpoint(reactor, host, port, timeout), client)
    cancelled = False

    def cancel(_: Deferred[Any]) -> None:
        nonlocal cancelled
        cancelled = True
        attempt.cancel()

    # Cancelled while the name is looked up, the attempt says that there is no such name.
    waiting: Deferred[Any] = Deferred(cancel)
    attempt.chainDeferred(waiting)
    try:
        await waiting
    except (CancelledError, PychatError):
        raise
    except Exception as error:
        if cancelled:
            raise CancelledError from None
        raise cannot_connect(host, port, error) from None
    return await client.greeted()


def _closed() -> LinkError:
    return LinkError("closed", "The connection to the chat was closed.")


def _ignore(failure: Failure) -> None:
    failure.trap(PychatError)
