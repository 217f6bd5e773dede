"""The UDP socket: bursts, a full socket, and answers that leave from where they were asked."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat import udp
from pychat.udp import MAX_QUEUED, MAX_READS, BurstPort, BurstProtocol, ask_for_destination, listen_udp
from tests.guards import within


class Recorder(BurstProtocol):
    """Remembers what came, and where the bursts ended."""

    def __init__(self, clock: Any = None) -> None:
        super().__init__(clock or Clock())
        self.heard: list[Any] = []
        self.enough: Deferred[None] = Deferred()
        self.answer: Callable[[bytes, Any], None] = lambda datagram, addr: None

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.heard.append(datagram)
        self.answer(datagram, addr)
        super().datagramReceived(datagram, addr)

    def burstEnded(self) -> None:
        super().burstEnded()
        self.heard.append(None)
        if not self.enough.called:
            self.enough.callback(None)


class Socket:
    """A socket that does what the test says."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.sent: list[tuple[Any, ...]] = []

    def _next(self, *arguments: Any) -> Any:
        result = self.results.pop(0) if self.results else None
        if isinstance(result, Exception):
            raise result
        self.sent.append(arguments)
        return result

    recvfrom = sendto = sendmsg = _next

    def close(self) -> None:
        """Nothing to close."""


class BurstPortTests(SynchronousTestCase):
    """`BurstPort`, with a socket of the test's."""

    def setUp(self) -> None:
        self.reactor = mock.Mock(spec=["addReader", "removeReader", "addWriter", "removeWriter", "callLater"])
        self.protocol = Recorder()
        self.port = BurstPort(0, self.protocol, "127.0.0.1", self.reactor)
        self.socket: Any = Socket()
        self.port.socket = self.socket
        self.port.connected = True

    def test_burst(self) -> None:
        """All that is there is handed over, and then that it was all."""
        self.socket.results = [(b"a", ("x", 1)), (b"b", ("x", 1)), BlockingIOError()]
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a", b"b", None])

    def test_long_burst(self) -> None:
        """A flood is taken in pieces, so that others have their turn."""
        self.socket.results = [(b"a", ("x", 1))] * (2 * MAX_READS)
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a"] * MAX_READS + [None])

    def test_refused(self) -> None:
        """A refusal of what was sent before hides nothing that has arrived."""
        self.socket.results = [ConnectionRefusedError(), (b"a", ("x", 1)), BlockingIOError()]
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a", None])

    def test_broken(self) -> None:
        """Another error ends the burst, not the port."""
        self.socket.results = [(b"a", ("x", 1)), OSError(errno.EMSGSIZE, "too long")]
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a", None])

    def test_closed_meanwhile(self) -> None:
        """When a datagram makes somebody close the port, nothing more is read from it."""
        self.socket.results = [(b"a", ("x", 1)), (b"b", ("x", 1))]
        self.protocol.answer = lambda datagram, addr: setattr(self.port, "connected", False)
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a"])

    def test_faults(self) -> None:
        """What goes wrong in the protocol is logged, and costs the port nothing."""
        self.socket.results = [
            ConnectionRefusedError(),
            (b"a", ("x", 1)),
            (b"b", ("x", 1)),
            BlockingIOError(),
        ]
        self.protocol.answer = lambda datagram, addr: 1 // 0  # type: ignore[assignment, return-value]
        self.protocol.connectionRefused = mock.Mock(side_effect=KeyError)  # type: ignore[method-assign]
        self.protocol.enough = mock.Mock(called=False, callback=mock.Mock(side_effect=ValueError))
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a", b"b", None])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_full(self) -> None:
        """What a full socket does not take waits in order, and leaves when there is room."""
        self.socket.results = [None, BlockingIOError()]
        for datagram in (b"a", b"b", b"c"):
            self.port.write(datagram, ("x", 1))
        self.assertEqual(self.socket.sent, [(b"a", ("x", 1))])
        self.assertTrue(self.reactor.addWriter.called)
        self.socket.results = [None, BlockingIOError()]
        self.port.doWrite()
        self.assertFalse(self.reactor.removeWriter.called)
        self.port.doWrite()
        self.assertEqual([sent[0] for sent in self.socket.sent], [b"a", b"b", b"c"])
        self.assertTrue(self.reactor.removeWriter.called)
        self.assertEqual(self.port.dropped, 0)

    def test_queue_is_bounded(self) -> None:
        """Beyond its bound datagrams are dropped, as they would be further on."""
        self.socket.results = [BlockingIOError()]
        for _ in range(MAX_QUEUED + 5):
            self.port.write(b"a", ("x", 1))
        self.assertEqual(self.port.dropped, 5)
        self.protocol.numPorts, self.port.fileno = 1, lambda: -1
        self.port.connectionLost()
        self.assertEqual(len(self.port._queue), 0)

    def test_cannot_be_sent(self) -> None:
        """No buffers, no route, a firewall: a lost datagram, not an exception."""
        for number in (errno.ENOBUFS, errno.ENETUNREACH, errno.EPERM, errno.ECONNREFUSED, errno.EMSGSIZE):
            self.socket.results = [OSError(number, "no")]
            self.port.write(b"a", ("x", 1))
        self.assertEqual(self.port.dropped, 5)
        self.assertEqual(len(self.port._queue), 0)


class DestinationTests(SynchronousTestCase):
    """`ask_for_destination`."""

    def test_ipv4(self) -> None:
        """The answer leaves from the address that was asked; the route picks the interface."""
        sock = mock.Mock()
        answer = ask_for_destination(sock, socket.AF_INET)
        assert answer is not None
        ((level, kind, data),) = answer(
            [(0, 99, b""), (socket.IPPROTO_IP, 8, b"\1\0\0\0" + b"ours" + b"them")]
        )
        self.assertEqual((level, kind, data), (socket.IPPROTO_IP, 8, bytes(4) + b"ours" + bytes(4)))

    def test_ipv6(self) -> None:
        """Only a link-local address keeps its interface."""
        answer = ask_for_destination(mock.Mock(), socket.AF_INET6)
        assert answer is not None
        kind = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
        local, wide = b"\xfe\x80" + bytes(14), b"\x20\x01" + bytes(14)
        self.assertEqual(answer([(*kind, local + b"\7\0\0\0")]), ((*kind, local + b"\7\0\0\0"),))
        self.assertEqual(answer([(*kind, wide + b"\7\0\0\0")]), ((*kind, wide + bytes(4)),))

    def test_not_told(self) -> None:
        """When the kernel did not say, the route decides."""
        answer = ask_for_destination(mock.Mock(), socket.AF_INET)
        assert answer is not None
        self.assertEqual(answer([]), ())

    def test_not_there(self) -> None:
        """Where the platform has no such thing, nothing is asked for."""
        self.assertIsNone(ask_for_destination(mock.Mock(spec=["setsockopt"]), socket.AF_INET))
        refusing = mock.Mock()
        refusing.setsockopt.side_effect = OSError
        self.assertIsNone(ask_for_destination(refusing, socket.AF_INET))
        with mock.patch.object(udp.sys, "platform", "win32"), mock.patch.object(udp, "socket") as without:
            del without.IP_PKTINFO
            without.AF_INET6 = socket.AF_INET6
            refusing.setsockopt.side_effect = TypeError
            self.assertIsNone(ask_for_destination(refusing, socket.AF_INET))


class BurstProtocolTests(SynchronousTestCase):
    """`BurstProtocol` on a transport that knows of no bursts."""

    def test_burst_ends(self) -> None:
        """Then the next turn of the reactor ends it."""
        clock = Clock()
        protocol = Recorder(clock)
        protocol.datagramReceived(b"a", None)
        protocol.datagramReceived(b"b", None)
        clock.advance(0)
        self.assertEqual(protocol.heard, [b"a", b"b", None])
        protocol.drain()
        protocol.connectionRefused()

    def test_stopped(self) -> None:
        """A burst that has not ended leaves nothing in the reactor."""
        clock = Clock()
        protocol = Recorder(clock)
        protocol.stopProtocol()
        protocol.datagramReceived(b"a", None)
        protocol.stopProtocol()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_other_reactor(self) -> None:
        """A reactor that watches no descriptors makes its own port."""

        class Other:
            def listenUDP(self, *arguments: Any) -> Any:
                return arguments

        protocol = Recorder()
        listening: Any = listen_udp(Other(), protocol, "127.0.0.1", 7)
        self.assertEqual(listening, (7, protocol, "127.0.0.1", 65536))


async def echo(host: str, *, bound: str, answers: bool = True) -> tuple[Any, Any]:
    """Send two datagrams to `host` at a port bound to `bound`; who answered, and what the port heard."""
    protocol = Recorder()
    port: Any = listen_udp(reactor, protocol, bound, 0, answers=answers)
    protocol.answer = lambda datagram, addr: port.write(datagram.upper(), addr)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        for datagram in (b"a", b"b"):
            client.sendto(datagram, (host, port.getHost().port))
        await protocol.enough
        answer = client.recvfrom(10)
        protocol.drain()
    await maybeDeferred(port.stopListening)
    protocol.drain()
    return answer, protocol.heard


@pytest_twisted.ensureDeferred
@within(5)
async def test_echo() -> None:
    """Datagrams come and go through a real socket."""
    (data, address), heard = await echo("127.0.0.1", bound="127.0.0.1")
    assert (data, address[0]) == (b"A", "127.0.0.1")
    assert heard[:2] == [b"a", b"b"]


@pytest_twisted.ensureDeferred
@within(5)
async def test_answers_from_the_address_that_was_asked() -> None:
    """On a wildcard address the answer comes from where the question went, not from where the route would have it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if ask_for_destination(probe, socket.AF_INET) is None:
            pytest.skip("this platform does not tell which address was asked")
    for host in ("127.0.0.1", "127.0.0.2"):
        (data, address), _ = await echo(host, bound="0.0.0.0")
        assert (data, address[0]) == (b"A", host)


@pytest_twisted.ensureDeferred
@within(5)
async def test_without_asking() -> None:
    """A port that speaks first does without."""
    (data, _), _ = await echo("127.0.0.1", bound="", answers=False)
    assert data == b"A"


@pytest_twisted.ensureDeferred
@within(5)
async def test_ipv6() -> None:
    """The same over IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    for bound in ("::1", "::"):
        (data, address), _ = await echo("::1", bound=bound)
        assert (data, address[0]) == (b"A", "::1")


@pytest_twisted.ensureDeferred
@within(5)
async def test_port_in_use() -> None:
    """A port that is taken is an error at once."""
    port: Any = listen_udp(reactor, Recorder(), "127.0.0.1", 0)
    with pytest.raises(CannotListenError):
        listen_udp(reactor, Recorder(), "127.0.0.1", port.getHost().port)
    await maybeDeferred(port.stopListening)


@pytest_twisted.ensureDeferred
@within(5)
async def test_small_buffers() -> None:
    """A system that refuses large buffers gives what it gives."""

    class Stubborn(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            raise OSError

    with mock.patch.object(BurstPort, "createInternetSocket", _stubborn(Stubborn)):
        port: Any = listen_udp(reactor, Recorder(), "0.0.0.0", 0)
    await maybeDeferred(port.stopListening)


def _stubborn(kind: type[socket.socket]) -> Callable[[Any], socket.socket]:
    def create(self: Any) -> socket.socket:
        sock = kind(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        return sock

    return create
