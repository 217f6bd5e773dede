"""Listening for connections on what ``--listen`` says, and telling a person what is wrong with it.

Very many may come at once, as when a network is back after a break.  They wait in a long queue of the kernel, are taken
out of it in bursts that do not hold the reactor, and when no more fit they are told so.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Sized
from ipaddress import ip_address
from time import monotonic
from typing import Any, cast

from twisted.internet.address import IPv6Address
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IListeningPort,
    IReactorFDSet,
    IReactorTime,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol, ServerFactory
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from . import kernel
from .deadline import Deadline
from .errors import PychatError

BACKLOG = 4096
"""Connections that wait in the kernel to be accepted, if it has room for so many (Linux: net.core.somaxconn)."""

_TWISTED_BACKLOG = 50
"""What an endpoint without ``backlog=`` asks for."""

BURST = 16
"""Connections that are accepted before a look at the clock."""

BURST_SECONDS = 0.003
"""Seconds for accepting in one turn of the reactor."""

SPARE_FILES = 64
"""Open files that are no connections: the journal, the ports, files that are sent and taken."""

TURNED_AWAY_LIMIT = 32
"""So many who were turned away have the time to hear it; past it whoever has had it longest is hung up on."""

TURNED_AWAY_SECONDS = 2.0
"""How long they have."""

TURNED_AWAY_BYTES = 64 * 1024
"""How much each of them may say meanwhile."""

FULL_SAID_EVERY = 60.0
"""Seconds between two lines in the log that say that the daemon is full."""

_HOW = (
    "Write tcp:50000 for all addresses of this machine, or tcp:50000:interface=127.0.0.1 or tcp6:50000:interface=::1 "
    "for one."
)


class StartError(PychatError):
    """The daemon cannot start; the sentence says what to do."""


class _Connection(Server):
    """A connection without a name of its own for the log: thousands of them take room, and none is used.

    :ivar prepared: its socket's options are set (:func:`pychat.kernel.prepare`).
    :ivar reader: reads in place of it, where the reactor knows of such (:mod:`pychat.poller`).
    :ivar came_from: its peer's address, while it is let in.
    """

    logstr = "a chat connection"
    repstr = "<a chat connection>"
    prepared = True
    reader: Any = None
    came_from: Any = None
    server: _Port

    def __init__(
        self,
        sock: socket.socket,
        protocol: Protocol,
        client: tuple[Any, ...],
        server: _Port,
        sessionno: int,
        reactor: Any,
    ) -> None:
        super(Server, self).__init__(sock, protocol, reactor)  # Twisted's own makes the names
        server.prepare(sock)
        if len(client) != 2:
            self._addressType = IPv6Address
        self.server = server
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        self.startReading()
        self.connected = 1

    def getPeer(self) -> Any:
        """Twisted's; the one that was made when it was let in, while that goes on."""
        return self.came_from or super().getPeer()

    def getHost(self) -> Any:
        """Twisted's; the system is only asked where a port has several addresses."""
        return self.server.only_host or super().getHost()

    def read_with(self, reader: Any) -> None:
        """Have this one read what comes in; ``None``: read it again itself."""
        self.reader = reader
        redirect = getattr(self.reactor, "redirect", None)
        if redirect is not None:
            redirect(self)

    def doRead(self) -> Any:
        """Twisted's, in fewer steps."""
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None


class _Listening(socket.socket):
    """A listening socket.  Python's looks up two enumerations for each connection: a third of what accepting costs."""

    __slots__ = ("family", "type")

    def __init__(self, made: socket.socket) -> None:
        """:param made: is closed; this one goes on with what it had."""
        family, kind, proto = made.family, made.type, made.proto
        super().__init__(family, kind, proto, made.detach())
        self.setblocking(False)
        self.family, self.type = family, kind  # type: ignore[misc]


class _Port(Port):
    """A TCP port that leaves the other family alone, on every system, and nothing open when it cannot be bound.

    So ``tcp:50000`` may stand beside ``tcp6:50000``.

    :ivar only_host: its address, if all its connections have that.
    """

    _log = Logger()
    transport: type[Server] = _Connection
    only_host: Any = None
    _hands_down: bool | None = None  # whether connections have the options that it has

    def createInternetSocket(self) -> socket.socket:
        self._made = made = _Listening(super().createInternetSocket())
        if self.addressFamily == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        kernel.prepare(made)
        return made

    def startListening(self) -> None:
        try:
            super().startListening()
        except BaseException:
            self._made.close()
            raise
        host = self.getHost()
        if not ip_address(host.host.partition("%")[0]).is_unspecified:
            self.only_host = host

    def prepare(self, made: socket.socket) -> None:
        """Give a connection the options that it does not have from its port already."""
        if self._hands_down is None:
            self._hands_down = kernel.is_prepared(made)
        if not self._hands_down:
            kernel.prepare(made)

    def doRead(self) -> None:
        """Accept who is waiting, as many as fit into a turn; the reactor comes back for the others."""
        until = monotonic() + BURST_SECONDS
        while self._accept(until) and monotonic() < until:
            pass

    def _accept(self, until: float) -> bool:
        """Let in some; Twisted's way, in fewer steps.  Return whether more may be waiting.

        Of many who come at once most have said something already: what they are answered goes out with the greeting.
        Who has said very much may have to be left for the next turn, and the others with her.
        """
        came = []
        for _ in range(BURST):
            try:
                made, address = self.socket.accept()
            except BlockingIOError:
                break
            except OSError:
                self.numberAccepts = 1
                super().doRead()  # it knows what to do about each of the others
                break
            came.append(self._let_in(made, address))
        serve = getattr(self.reactor, "serve", None)
        if serve is not None:
            for connection in came:
                if monotonic() >= until:
                    break
                if connection is not None and connection.connected:
                    serve(connection)
        return len(came) == BURST

    def _let_in(self, made: socket.socket, address: Any) -> _Connection | None:
        connection = None
        try:
            if len(address) == 4 and address[3]:
                # With its scope.
                host, _ = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
                address = (host, *address[1:])
            factory: Any = self.factory
            peer = self._buildAddr(address)
            protocol = factory.buildProtocol(peer)
            if protocol is not None:
                self.sessionno += 1
                connection = _Connection(made, protocol, address, self, self.sessionno, self.reactor)
                connection.came_from = peer
                protocol.makeConnection(connection)
                connection.came_from = None  # thousands of them take room
        except Exception:
            self._log.failure("a connection could not be let in")
            if connection is not None:
                connection.abortConnection()
                return None
        if connection is None:
            made.close()
        return connection


class _Reactor:
    """The reactor, but for the ports that it listens on."""

    def __init__(self, reactor: Any, description: str) -> None:
        self._reactor = reactor
        self._chosen = "backlog=" in description

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def _backlog(self, backlog: int) -> int:
        return BACKLOG if backlog == _TWISTED_BACKLOG and not self._chosen else backlog

    def listenUNIX(self, address: str, factory: ServerFactory, backlog: int, *rest: Any, **more: Any) -> Any:
        return self._reactor.listenUNIX(address, factory, self._backlog(backlog), *rest, **more)

    def listenTCP(self, port: int, factory: ServerFactory, backlog: int, interface: str = "") -> Any:
        return self._listen(port, factory, backlog, interface)

    def listenSSL(
        self, port: int, factory: ServerFactory, contextFactory: Any, backlog: int, interface: str = ""
    ) -> Any:
        # It needs OpenSSL, which who listens without TLS does not.
        from twisted.protocols.tls import TLSMemoryBIOFactory

        sealed = TLSMemoryBIOFactory(contextFactory, False, factory, self._reactor)
        return self._listen(port, sealed, backlog, interface)

    def _listen(self, port: int, factory: Any, backlog: int, interface: str) -> Any:
        backlog = self._backlog(backlog)
        if not IReactorFDSet.providedBy(self._reactor):
            # Windows' completion ports: no descriptors to watch, so the reactor's own port has to do.
            return self._reactor.listenTCP(port, factory, backlog, interface)
        listening = _Port(port, factory, backlog, interface, self._reactor)
        listening.startListening()
        return listening


@implementer(IHalfCloseableProtocol)
class _TurnedAway(Protocol):
    """A connection that does not fit.

    A close resets a connection whose last bytes nobody read, and then the goodbye is lost.  So we close our half only,
    read what comes and throw it away, and leave when the other one does, or when that takes too long.
    """

    def __init__(self, clock: IReactorTime, others: dict[_TurnedAway, None]) -> None:
        """:param others: who is turned away at the moment, longest first."""
        self._others = others
        self._deadline = Deadline(clock, self.hang_up)
        self._room = TURNED_AWAY_BYTES

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._others[self] = None
        self._deadline.set(TURNED_AWAY_SECONDS)
        transport.write(b"<goodbye code=full>The daemon has no room for more connections. Come back later.\n")
        if kernel.plain_socket(transport) is not None:
            transport.loseWriteConnection()
        else:
            transport.loseConnection()  # TLS has a goodbye of its own, and waits for the other one's
        if len(self._others) > TURNED_AWAY_LIMIT:
            next(iter(self._others)).hang_up()

    def dataReceived(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self.hang_up()

    def hang_up(self) -> None:
        """Whatever is still to come: close."""
        transport: Any = self.transport
        self._forget()
        if kernel.plain_socket(transport) is not None:
            transport.loseConnection()
        else:
            transport.abortConnection()

    def readConnectionLost(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our half is closed."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._forget()
        self._deadline.close()

    def _forget(self) -> None:
        self._others.pop(self, None)
        self._deadline.cancel()


class Door(ServerFactory):
    """Lets connections in while they fit."""

    noisy = False
    _log = Logger()

    def __init__(self, clock: IReactorTime, inside: Factory, connections: Sized, limit: int | None) -> None:
        """
        :param inside: makes the protocols of those that fit.
        :param connections: those that there are.
        :param limit: how many fit; ``None``: all that the system lets in.
        """
        self._clock = clock
        self._inside = inside
        self._connections = connections
        self.limit = limit
        self._said_at: float | None = None
        self._turned_away: dict[_TurnedAway, None] = {}

    def doStart(self) -> None:
        self._inside.doStart()

    def doStop(self) -> None:
        self._inside.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        if self.limit is None or len(self._connections) < self.limit:
            return cast("Protocol | None", self._inside.buildProtocol(addr))
        now = self._clock.seconds()
        if self._said_at is None or now - self._said_at >= FULL_SAID_EVERY:
            self._said_at = now
            self._log.warn(
                "Full: there are {limit} connections, and more are turned away. Raise the limit of open files "
                "(ulimit -Hn) for more.", limit=self.limit,
            )  # fmt: skip
        return _TurnedAway(self._clock, self._turned_away)


def listen(reactor: Any, description: str, factory: ServerFactory) -> IListeningPort:
    """Listen on a Twisted endpoint.

    :raise StartError: if that is not possible now.
    """
    try:
        listening = serverFromString(_Reactor(reactor, description), _escaped(description)).listen(factory)
    except (ValueError, TypeError, KeyError, IndexError):
        raise StartError("bad-endpoint", f"--listen {description} is not an endpoint. {_HOW}") from None
    except ImportError as error:
        raise StartError(
            "bad-endpoint", f"--listen {description} needs something that is not installed: {error}."
        ) from None
    results: list[object] = []
    listening.addBoth(results.append)
    if not results:
        raise StartError("bad-endpoint", f"--listen {description} cannot be bound at the start. {_HOW}")
    (result,) = results
    if isinstance(result, Failure):
        raise cannot_listen(description, result.value, "--listen")
    return cast("IListeningPort", result)


def _escaped(description: str) -> str:
    """An endpoint whose ``interface=`` may be an IPv6 address as people write it: its colons get their backslashes."""

    def escape(match: re.Match[str]) -> str:
        try:
            ip_address(match[1].partition("%")[0])
        except ValueError:
            return match[0]
        return match[1].replace(":", "\\:")

    return re.sub(
        r"(?<=:interface=)\[?([\da-fA-F:.]*:[\da-fA-F:.]*(?:%[^:\]]+)?)\]?(?=$|:\w+=)", escape, description
    )


def cannot_listen(where: str, error: BaseException | None, option: str) -> StartError:
    """Why an address cannot be had, and what to do about it."""
    cause = error.socketError if isinstance(error, CannotListenError) else error
    reason = (getattr(cause, "strerror", None) or str(cause)).rstrip(".")
    number = getattr(cause, "errno", None)
    if number == errno.EADDRINUSE:
        advice = f"End the program that uses it, or choose another port with {option}."
    elif number == errno.EACCES:
        advice = f"Ports below 1024 are for root: choose another one with {option}."
    else:
        advice = f"Choose an address of this machine, and a port from 1 to 65535, with {option}."
    return StartError("cannot-listen", f"Cannot listen on {where}: {reason}. {advice}")
