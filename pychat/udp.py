"""The UDP socket of a transfer: it sends and receives trains, and is never held up by a full socket.

`TrainPort` hands over what has arrived, train by train, and then says so, so that a burst costs one turn of the engine
and one acknowledgement.  What one read of the socket does is bounded in bytes and in time: others use the reactor too.

A slow network card hands over one datagram at a time, and each would wake the program by itself.  Those that are read
in a row are put together into trains, and a port that is woken by one after the other rests a moment between reads.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, cast

from twisted.internet import udp
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorFDSet, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pychat.trains import (
    ANCILLARY_BYTES,
    MAX_DATAGRAM_BYTES,
    TRAIN_BUFFER_BYTES,
    Abilities,
    ask_for_destination,
    cut,
    gather,
    never_fragment,
    probe,
    segment_of,
    segmented,
    widen,
)

#: Runs a blocking call in a thread: ``run(f, *args)`` gives a Deferred of what ``f(*args)`` returned.
RunInThread = Callable[..., "Deferred[Any]"]

#: Bytes asked of the kernel for each direction of a socket; it may give less.
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
#: Bytes read in one turn of the reactor, and seconds spent on them, so that the others get their turn too.
MAX_READ_BYTES = 1024 * 1024
MAX_READ_SECONDS = 0.002
#: What a read of no bytes counts for.
READ_COST_BYTES = 256
#: Datagrams that come one by one, and short trains, are put together into trains of about so many bytes.
JOINED_BYTES = 128 * 1024
#: So many wake-ups in a row within so many seconds, each for at most so many datagrams with so many bytes together,
#: have a port rest; acknowledgements are smaller, and what the kernel gathers is larger.
LONE_WAKE_UPS = 8
LONE_SECONDS = 0.003
LONE_DATAGRAMS = 2
LONE_BYTES = range(512, 3001)
#: Seconds that a port rests between reads: below what anybody notices, and below what a queue or a timer makes of a
#: round trip.
REST_SECONDS = 0.001
#: Bytes that wait for a full socket; beyond that they are dropped, and the engine sends them again.
MAX_QUEUED_BYTES = 1024 * 1024
#: The largest datagram where the system cannot be kept from cutting it up: what fits everywhere today.
SAFE_DATAGRAM_BYTES = 1200
#: A lone datagram has no more buffers than this.
LONE_BUFFERS = 4

#: What the kernel says to a train that it cannot cut: the network card will not, or a datagram is too large.
_TRAIN_REFUSED = {errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOTSUP, errno.EOPNOTSUPP}

Buffer = bytes | bytearray | memoryview


def thread_runner(reactor: Any) -> RunInThread:
    """Runs blocking calls in the thread pool of `reactor`."""

    def run(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)

    return run


class TrainPort(udp.Port):
    """A UDP port for trains; its protocol is a `TrainProtocol`.

    A full socket is not an error: trains wait in a bounded queue.  On a wildcard address an answer leaves from the
    address addressed, where the platform can do that; then addresses are pairs of a socket address and ancillary data,
    and otherwise plain socket addresses.  Treat them as opaque.

    :param answers: whether it speaks to strangers who address it; one that speaks first saves itself the trouble.
    :param abilities: what its socket can do; None tries it.
    :ivar dropped: datagrams that could not be sent.
    :ivar whole: whether what is too large for the path vanishes whole, and is not cut up.
    """

    _log = Logger()

    dropped = 0
    whole = False
    protocol: Any

    def __init__(
        self,
        port: int,
        protocol: Any,
        interface: str = "",
        reactor: Any = None,
        *,
        answers: bool = True,
        abilities: Abilities | None = None,
    ) -> None:
        super().__init__(port, protocol, interface, MAX_DATAGRAM_BYTES, reactor)
        self._answers = answers
        self._abilities = abilities
        self._queue: deque[tuple[Sequence[bytes], int, Any]] = deque()
        self._queued = 0
        self._answers_from: Callable[[Sequence[Any]], tuple[Any, ...]] | None = None
        self._segments = self._into = self._told = False
        self._buffer = memoryview(bytearray(JOINED_BYTES + TRAIN_BUFFER_BYTES))
        self._lone = 0
        self._lone_since = 0.0
        self._found = 0
        self._rest: IDelayedCall | None = None

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
        sock, family = self.socket, self.addressFamily
        can = self._abilities or probe(family)
        widen(sock, SOCKET_BUFFER_BYTES)
        self.whole = never_fragment(sock, family)
        if self._answers and self.interface in ("", "0.0.0.0", "::") and can.sendmsg:  # noqa: S104 - compared
            self._answers_from = ask_for_destination(sock, family)
        self._segments = can.segments
        gathers = can.recvmsg_into and can.gathers and gather(sock)
        self._told = gathers or self._answers_from is not None
        self._into = can.recvmsg_into

    # Receiving ------------------------------------------------------------------------------------------------

    def doRead(self) -> None:
        """Something has arrived: hand it over, up to a bound, and rest if it is little and more is on its way."""
        began = perf_counter()
        nbytes = self._read(began)
        if self._found > LONE_DATAGRAMS or nbytes not in LONE_BYTES:
            self._lone = 0
        elif not self._lone or began > self._lone_since + LONE_SECONDS:
            self._lone, self._lone_since = 1, began
        else:
            self._lone += 1
            if self._lone >= LONE_WAKE_UPS and self.connected:
                self.stopReading()
                self._start_rest()
        self._found = 0

    def _start_rest(self) -> None:
        reactor: Any = self.reactor
        self._rest = reactor.callLater(REST_SECONDS, self._rested)

    def _rested(self) -> None:
        """Take what has come meanwhile; go on like that while it is worth it."""
        self._rest = None
        self._read(perf_counter())
        found, self._found = self._found, 0
        if not self.connected:
            return
        if found >= LONE_DATAGRAMS:
            self._start_rest()
        else:
            self._lone = 0
            self.startReading()

    def drain(self) -> None:
        """Hand over what has arrived, up to a bound, whether or not the port rests."""
        self._read(perf_counter())

    def _read(self, now: float) -> int:
        """Hand over what has arrived, up to a bound.

        :return: its bytes.
        """
        protocol = self.protocol
        nbytes = cost = 0
        until = now + MAX_READ_SECONDS
        # Datagrams of one size and address that came in several parts: they lie in [start, end) of the buffer.
        start = end = size = 0
        whence: Any = None
        while cost < MAX_READ_BYTES and now < until:
            try:
                buffer, segment, address = self._receive(end)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                cost += READ_COST_BYTES
                self._guard(protocol.connectionRefused)
                now = perf_counter()
                continue
            except OSError:
                break
            length = len(buffer)
            nbytes += length
            cost += length + READ_COST_BYTES
            self._found += -(-length // segment) or 1
            # It goes on with what is there already if that is whole datagrams, as all of its own but the last are.
            follows = length > 0 and address == whence and (segment == size or segment == length < size)
            if end > start and not follows:
                self._guard(protocol.trainReceived, self._buffer[start:end], size, whence)
                start = end
                if not self.connected:
                    break
            if self._into:
                if end == start:
                    size, whence = segment, address
                end += length
                if length % size or not length or end >= JOINED_BYTES:
                    self._guard(protocol.trainReceived, self._buffer[start:end], size, whence)
                    start = end = 0
            else:
                self._guard(protocol.trainReceived, buffer, segment, address)
                start = end = 0
            if not self.connected:
                break
            now = perf_counter()
        if end > start:
            self._guard(protocol.trainReceived, self._buffer[start:end], size, whence)
        if self.connected:
            self._guard(protocol.burstEnded)
        return nbytes

    def _guard(self, function: Callable[..., object], *arguments: Any) -> None:
        """What goes wrong in the protocol is logged: an exception that leaves `doRead` would close the port."""
        try:
            function(*arguments)
        except Exception:
            self._log.failure("a UDP protocol failed, and goes on")

    def _receive(self, at: int) -> tuple[Buffer, int, Any]:
        """A train, which lies in our buffer from `at` on if it can be put there."""
        if not self._told:
            if not self._into:
                datagram, address = self.socket.recvfrom(TRAIN_BUFFER_BYTES)
                return datagram, len(datagram) or 1, address
            nbytes, address = self.socket.recvfrom_into(self._buffer[at:])
            return self._buffer[at : at + nbytes], nbytes or 1, address
        if self._into:
            nbytes, ancillary, _, address = self.socket.recvmsg_into((self._buffer[at:],), ANCILLARY_BYTES)
            buffer: Buffer = self._buffer[at : at + nbytes]
        else:
            buffer, ancillary, _, address = self.socket.recvmsg(TRAIN_BUFFER_BYTES, ANCILLARY_BYTES)
            nbytes = len(buffer)
        if self._answers_from is not None:
            address = address, self._answers_from(ancillary)
        return buffer, segment_of(ancillary, nbytes), address

    # Sending --------------------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """Whether the socket is full.  Who waits with more until ``roomAgain`` is called loses nothing."""
        return bool(self._queue)

    def send(self, buffers: Sequence[bytes], segment: int, address: Any) -> bool:
        """Send a train to an address that ``trainReceived`` gave, or to a socket address when it does not answer.

        :param buffers: joined, they are the datagrams; at most 64 of them, at most 65,507 bytes.
        :param segment: bytes of each datagram but the last, which may have fewer.
        :return: False when datagrams of that size cannot leave this machine, whatever is tried.
        """
        if not self._queue:
            rest = self._send(buffers, segment, address)
            if rest is None:
                return False
            if not rest:
                return True
            buffers = rest
            self.startWriting()
        nbytes = sum(map(len, buffers))
        if self._queued + nbytes > MAX_QUEUED_BYTES:
            self.dropped += -(-nbytes // segment)
            return True
        self._queued += nbytes
        self._queue.append((buffers, segment, address))
        return True

    def write(self, datagram: bytes, address: Any = None) -> None:
        """Send one datagram."""
        self.send((datagram,), len(datagram), address)

    def doWrite(self) -> None:
        """The socket has room again."""
        queue = self._queue
        while queue:
            buffers, segment, address = queue.popleft()
            self._queued -= sum(map(len, buffers))
            rest = self._send(buffers, segment, address)
            if rest:
                queue.appendleft((rest, segment, address))
                self._queued += sum(map(len, rest))
                return
        self.stopWriting()
        self._guard(self.protocol.roomAgain)

    def _send(self, buffers: Sequence[bytes], segment: int, address: Any) -> Sequence[bytes] | None:
        """Send a train; return what the full socket did not take, or None when its datagrams are too large."""
        if len(buffers) <= LONE_BUFFERS and sum(map(len, buffers)) <= segment:
            return self._send_each((b"".join(buffers) if len(buffers) > 1 else buffers[0],), address)
        if not self._segments:
            return self._send_each(cut(buffers, segment), address)
        try:
            if self._answers_from is not None:
                self.socket.sendmsg(buffers, (*address[1], segmented(segment)), 0, address[0])
            else:
                self.socket.sendmsg(buffers, (segmented(segment),), 0, address)
        except (BlockingIOError, InterruptedError):
            return buffers
        except OSError as error:
            datagrams = cut(buffers, segment)
            if error.errno not in _TRAIN_REFUSED:
                # No route, no buffers, a firewall, a peer that is gone: the same as lost further on.
                self.dropped += len(datagrams)
                return ()
            rest = self._send_each(datagrams, address)
            if rest is not None and len(rest) < len(datagrams):
                self._segments = False  # one by one they leave: it is the trains that cannot
            return rest
        return ()

    def _send_each(self, datagrams: Sequence[bytes], address: Any) -> Sequence[bytes] | None:
        fits = True
        for index, datagram in enumerate(datagrams):
            try:
                if self._answers_from is not None:
                    self.socket.sendmsg((datagram,), address[1], 0, address[0])
                else:
                    self.socket.sendto(datagram, address)
            except (BlockingIOError, InterruptedError):
                return datagrams[index:]
            except OSError as error:
                self.dropped += 1
                fits = fits and error.errno != errno.EMSGSIZE
        return () if fits else None

    # The end --------------------------------------------------------------------------------------------------

    def stopListening(self) -> Deferred[None]:
        """Let the protocol take its leave, and close.

        :return: fires when the socket is closed.
        """
        leaving: Deferred[None] = self.protocol.leave()
        return leaving.addCallback(lambda _: super(TrainPort, self).stopListening())

    def connectionLost(self, reason: Any = None) -> None:
        """The socket closes; what still waits is dropped."""
        self._queue.clear()
        self._queued = 0
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        super().connectionLost(reason)


def listen_udp(
    reactor: Any,
    protocol: TrainProtocol,
    host: str,
    port: int,
    *,
    answers: bool = True,
    abilities: Abilities | None = None,
) -> IListeningPort:
    """Listen on a UDP port, with a `TrainPort` where the reactor can have one.

    :param host: one of our addresses, or ``""``, ``0.0.0.0`` or ``::`` for all.
    :param port: 0 lets the system choose one.
    :param answers: see `TrainPort`.
    :param abilities: see `TrainPort`.
    :raises twisted.internet.error.CannotListenError: the port is taken, or the address is not ours.
    """
    if not IReactorFDSet.providedBy(reactor):
        # Windows' completion ports: no descriptors to watch, so the reactor's own port has to do.
        return cast(IListeningPort, reactor.listenUDP(port, protocol, host, TRAIN_BUFFER_BYTES))
    listening = TrainPort(port, protocol, host, reactor, answers=answers, abilities=abilities)
    listening.startListening()
    return cast(IListeningPort, listening)


class TrainProtocol(DatagramProtocol):
    """Trains in bursts, whatever the transport is.

    :param clock: ends the burst for a transport that does not say when it ends.
    """

    noisy = False

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._ending: IDelayedCall | None = None

    # Subclasses have their own of these

    def trainReceived(self, buffer: Buffer, segment: int, address: Any) -> None:
        """A train came.

        :param buffer: its datagrams; it is used again when this returns.
        :param segment: bytes of each datagram but the last, which may have fewer; at least 1.
        :param address: where to answer.
        """

    def burstEnded(self) -> None:
        """All that had arrived has been handed over."""

    def roomAgain(self) -> None:
        """The socket was full, and has taken what waited."""

    def leave(self) -> Deferred[None]:
        """The port is about to close: say what there is still to say.

        :return: fires when the port may close.
        """
        return succeed(None)

    # What they use

    @property
    def congested(self) -> bool:
        """Whether to wait for `roomAgain` before sending more."""
        return isinstance(self.transport, TrainPort) and self.transport.congested

    @property
    def largest(self) -> int:
        """Bytes of the largest datagram that may be tried."""
        whole = isinstance(self.transport, TrainPort) and self.transport.whole
        return MAX_DATAGRAM_BYTES if whole else SAFE_DATAGRAM_BYTES

    def send(self, buffers: Sequence[bytes], segment: int, address: Any) -> bool:
        """See `TrainPort.send`."""
        transport: Any = self.transport
        if isinstance(transport, TrainPort):
            return transport.send(buffers, segment, address)
        if transport is not None:
            for datagram in cut(buffers, segment):
                try:
                    transport.write(datagram, address)
                except OSError:
                    pass  # a datagram lost, like others further on
        return True

    def drain(self) -> None:
        """Take what waits in the socket before judging by the clock: woken late is not the same as lost."""
        if isinstance(self.transport, TrainPort) and self.transport.connected:
            self.transport.drain()

    # Of another transport than ours

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """A train of one, from a transport that does not say when there is no more."""
        self.trainReceived(datagram, len(datagram) or 1, addr)
        if self._ending is None:
            self._ending = self._clock.callLater(0, self._burst_ended)

    def _burst_ended(self) -> None:
        self._ending = None
        self.burstEnded()

    def connectionRefused(self) -> None:
        """Some peer is gone, or somebody says so.  The engine only believes authentic silence."""

    def stopProtocol(self) -> None:
        """The port has closed."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
