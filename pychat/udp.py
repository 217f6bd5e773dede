"""The UDP socket, and time: what the daemon's and the client's side of a transfer share.

`BurstPort` hands over all that has arrived and then says so, so that a burst of datagrams costs one turn of the engine,
and one acknowledgement.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import udp
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorFDSet, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

#: Runs a blocking call in a thread: ``run(f, *args)`` gives a Deferred of what ``f(*args)`` returned.
RunInThread = Callable[..., "Deferred[Any]"]

#: Bytes asked of the kernel for each direction of a socket; it may give less.
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
#: The largest datagram there is.
MAX_DATAGRAM_BYTES = 64 * 1024
#: Datagrams read in one turn of the reactor, so that the others get their turn too.
MAX_READS = 128
#: Datagrams that wait for a full socket; beyond that they are dropped, and the engine sends them again.
MAX_QUEUED = 1024


def thread_runner(reactor: Any) -> RunInThread:
    """Runs blocking calls in the thread pool of `reactor`."""

    def run(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)

    return run


class BurstPort(udp.Port):
    """A UDP port for bursts.

    Its protocol's ``burstEnded()`` is called after the last ``datagramReceived`` of a turn.  A full socket is not an
    error: datagrams wait in a bounded queue.  On a wildcard address an answer leaves from the address addressed,
    where the platform can do that; then addresses are pairs of a socket address and ancillary data, and otherwise plain
    socket addresses.  Treat them as opaque.

    :param answers: whether it speaks to strangers who address it; one that speaks first saves itself the trouble.
    :ivar dropped: datagrams that could not be sent.
    """

    _log = Logger()

    dropped = 0
    protocol: Any

    def __init__(
        self, port: int, protocol: Any, interface: str = "", reactor: Any = None, *, answers: bool = True
    ) -> None:
        super().__init__(port, protocol, interface, MAX_DATAGRAM_BYTES, reactor)
        self._answers = answers
        self._queue: deque[tuple[bytes, Any]] = deque()
        self._answers_from: Callable[[list[Any]], tuple[Any, ...]] | None = None

    def createInternetSocket(self) -> socket.socket:
        self._made = super().createInternetSocket()
        if self.addressFamily == socket.AF_INET6:
            # On every system the same: IPv4 has ports of its own, beside this one.
            self._made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return self._made

    def _bindSocket(self) -> None:
        try:
            super()._bindSocket()
        except BaseException:
            self._made.close()  # which Twisted leaves to the garbage collector
            raise
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            except OSError:
                pass  # some systems refuse what is too much instead of giving less
        if self._answers and self.interface in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            self._answers_from = ask_for_destination(self.socket, self.addressFamily)

    def doRead(self) -> None:
        """Hand over what has arrived, up to a bound."""
        protocol = self.protocol
        for _ in range(MAX_READS):
            try:
                datagram, address = self._receive()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                self._guard(protocol.connectionRefused)
                continue
            except OSError:
                break
            self._guard(protocol.datagramReceived, datagram, address)
            if not self.connected:
                return
        self._guard(protocol.burstEnded)

    def _guard(self, function: Callable[..., object], *arguments: Any) -> None:
        """What goes wrong in the protocol is logged: an exception that leaves `doRead` would close the port."""
        try:
            function(*arguments)
        except Exception:
            self._log.failure("a UDP protocol failed, and goes on")

    def _receive(self) -> tuple[bytes, Any]:
        if self._answers_from is None:
            return self.socket.recvfrom(MAX_DATAGRAM_BYTES)
        datagram, ancillary, _, address = self.socket.recvmsg(MAX_DATAGRAM_BYTES, 128)
        return datagram, (address, self._answers_from(ancillary))

    def write(self, datagram: bytes, address: Any = None) -> None:
        """Send a datagram to an address that `datagramReceived` gave."""
        if self._queue or not self._send(datagram, address):
            if len(self._queue) >= MAX_QUEUED:
                self.dropped += 1
                return
            self._queue.append((datagram, address))
            self.startWriting()

    def doWrite(self) -> None:
        """The socket has room again."""
        while self._queue:
            if not self._send(*self._queue[0]):
                return
            self._queue.popleft()
        self.stopWriting()

    def _send(self, datagram: bytes, address: Any) -> bool:
        """Whether the datagram is off our hands; False when the socket is full."""
        try:
            if self._answers_from is not None:
                self.socket.sendmsg((datagram,), address[1], 0, address[0])
            else:
                self.socket.sendto(datagram, address)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            # No route, no buffers, a firewall, a peer that is gone: the same as a datagram lost further on.
            self.dropped += 1
        return True

    def stopListening(self) -> Deferred[None]:
        """Let the protocol take its leave, and close.

        :return: fires when the socket is closed.
        """
        leaving: Deferred[None] = self.protocol.leave()
        return leaving.addCallback(lambda _: super(BurstPort, self).stopListening())

    def connectionLost(self, reason: Any = None) -> None:
        """The socket closes; what still waits is dropped."""
        self._queue.clear()
        super().connectionLost(reason)


def ask_for_destination(sock: socket.socket, family: int) -> Callable[[list[Any]], tuple[Any, ...]] | None:
    """Have the kernel tell which of our addresses a datagram was sent to.

    :return: turns a datagram's ancillary data into the ancillary data for its answer; None where that cannot be had.
    """
    if not hasattr(sock, "recvmsg"):
        return None
    level: int
    if family == socket.AF_INET6:
        level, kind = socket.IPPROTO_IPV6, getattr(socket, "IPV6_PKTINFO", None)
        request = getattr(socket, "IPV6_RECVPKTINFO", None)
    else:
        # Python names the constant from 3.12 on; Linux has always had it.
        level, kind = socket.IPPROTO_IP, getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else None)
        request = kind
    try:
        sock.setsockopt(level, request, 1)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return None

    def answer(ancillary: list[Any]) -> tuple[Any, ...]:
        for heard_level, heard_kind, data in ancillary:
            if (heard_level, heard_kind) == (level, kind):
                if family != socket.AF_INET6:
                    # struct in_pktinfo: interface, our address, the header's; the route picks the interface.
                    return ((level, kind, struct.pack("=I4s4s", 0, data[4:8], bytes(4))),)
                # struct in6_pktinfo: address, interface; only a link-local address needs its interface.
                scoped = data[0] == 0xFE and data[1] & 0xC0 == 0x80
                return ((level, kind, data[:20] if scoped else data[:16] + bytes(4)),)
        return ()

    return answer


def listen_udp(
    reactor: Any, protocol: BurstProtocol, host: str, port: int, *, answers: bool = True
) -> IListeningPort:
    """Listen on a UDP port, with a `BurstPort` where the reactor can have one.

    :param host: one of our addresses, or ``""``, ``0.0.0.0`` or ``::`` for all.
    :param port: 0 lets the system choose one.
    :param answers: see `BurstPort`.
    :raises twisted.internet.error.CannotListenError: the port is taken, or the address is not ours.
    """
    if not IReactorFDSet.providedBy(reactor):
        # Windows' completion ports: no descriptors to watch, so the reactor's own port has to do.
        return cast(IListeningPort, reactor.listenUDP(port, protocol, host, MAX_DATAGRAM_BYTES))
    listening = BurstPort(port, protocol, host, reactor, answers=answers)
    listening.startListening()
    return cast(IListeningPort, listening)


class BurstProtocol(DatagramProtocol):
    """Datagrams in bursts, whatever the transport is.

    :param clock: ends the burst for a transport that does not say when it ends.
    """

    noisy = False

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._ending: IDelayedCall | None = None

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Subclasses take the datagram, and call this."""
        if self._ending is None and not isinstance(self.transport, BurstPort):
            self._ending = self._clock.callLater(0, self.burstEnded)

    def burstEnded(self) -> None:
        """All that had arrived has been handed over.  Subclasses act on it, and call this."""
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        self._ending = None

    def connectionRefused(self) -> None:
        """Some peer is gone, or somebody says so.  The engine only believes authentic silence."""

    def drain(self) -> None:
        """Take what waits in the socket before judging by the clock: woken late is not the same as lost."""
        if isinstance(self.transport, BurstPort) and self.transport.connected:
            self.transport.doRead()

    def leave(self) -> Deferred[None]:
        """The port is about to close.  Subclasses say what they still have to say.

        :return: fires when the port may close.
        """
        return succeed(None)

    def stopProtocol(self) -> None:
        """The port has closed."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
