"""Listening for connections on what ``--listen`` says, and telling a person what is wrong with it.

Very many may come at once, as when a network is back after a break.  They wait in a long queue of the kernel, are taken
out of it in bursts that do not hold the reactor, and when no more fit they are told so.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sized
from typing import Any, cast

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
"""CPU time for accepting in one turn of the reactor: each of those will be greeted in it, too."""

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

_cpu = getattr(time, "thread_time", time.monotonic)  # not every system has it

_HOW = "Write tcp:50000 for all addresses of this machine, or tcp:50000:interface=127.0.0.1 for one."


class StartError(PychatError):
    """The daemon cannot start; the sentence says what to do."""


class _Connection(Server):
    """A connection without a name of its own for the log: thousands of them take room, and none is used."""

    logstr = "a chat connection"
    repstr = "<a chat connection>"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        del self.logstr, self.repstr

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


class _SealedConnection(_Connection):
    """The TCP connection below one with TLS: who sits above that does not see its socket."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        kernel.find_dead_peers(self.getHandle())


class _Port(Port):
    """A TCP port that leaves the other family alone, on every system, and nothing open when it cannot be bound.

    So ``tcp:50000`` may stand beside ``tcp6:50000``.
    """

    def createInternetSocket(self) -> socket.socket:
        self._made = made = cast("socket.socket", super().createInternetSocket())
        if self.addressFamily == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

    transport: type[Server] = _Connection

    def startListening(self) -> None:
        try:
            super().startListening()
        except BaseException:
            self._made.close()
            raise

    def doRead(self) -> None:
        """Accept who is waiting, as many as fit into a turn; the reactor comes back for the others."""
        began = _cpu()
        while True:
            self.numberAccepts = BURST
            super().doRead()
            # Twisted says by it how many it would accept the next time: more only if it accepted all it might.
            if self.numberAccepts <= BURST or _cpu() - began >= BURST_SECONDS:
                return


class _SealedPort(_Port):
    """The same for TLS."""

    transport = _SealedConnection


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
        return self._listen(_Port, port, factory, backlog, interface)

    def listenSSL(
        self, port: int, factory: ServerFactory, contextFactory: Any, backlog: int, interface: str = ""
    ) -> Any:
        # It needs OpenSSL, which who listens without TLS does not.
        from twisted.protocols.tls import TLSMemoryBIOFactory

        sealed = TLSMemoryBIOFactory(contextFactory, False, factory, self._reactor)
        return self._listen(_SealedPort, port, sealed, backlog, interface)

    def _listen(self, kind: type[_Port], port: int, factory: Any, backlog: int, interface: str) -> Any:
        backlog = self._backlog(backlog)
        if not IReactorFDSet.providedBy(self._reactor):
            # Windows' completion ports: no descriptors to watch, so the reactor's own port has to do.
            return self._reactor.listenTCP(port, factory, backlog, interface)
        listening = kind(port, factory, backlog, interface, self._reactor)
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
        listening = serverFromString(_Reactor(reactor, description), description).listen(factory)
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
