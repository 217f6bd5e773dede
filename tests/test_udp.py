"""The UDP socket: trains, bursts, a full socket, and answers that leave from where they were asked."""

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
from pychat.trains import Abilities, ask_for_destination, find_abilities, probe, segmented
from pychat.udp import (
    JOINED_BYTES,
    LONE_SECONDS,
    LONE_WAKE_UPS,
    MAX_QUEUED_BYTES,
    MAX_READ_BYTES,
    READ_COST_BYTES,
    REST_SECONDS,
    SAFE_DATAGRAM_BYTES,
    TrainPort,
    TrainProtocol,
    listen_udp,
)
from tests.guards import within

FULL = Abilities(True, True, True, True)
HERE = ("x", 1)


class Recorder(TrainProtocol):
    """Remembers what came, and where the bursts ended."""

    def __init__(self, clock: Any = None) -> None:
        super().__init__(clock or Clock())
        self.heard: list[Any] = []
        self.trains: list[tuple[int, int]] = []
        self.room = 0
        self.enough: Deferred[None] = Deferred()
        self.answer: Callable[[bytes, Any], object] = lambda datagram, address: None

    def trainReceived(self, buffer: Any, segment: int, address: Any) -> None:
        self.trains.append((len(buffer), segment))
        data = bytes(buffer)
        for at in range(0, len(data), segment):
            self.heard.append(data[at : at + segment])
            self.answer(self.heard[-1], address)

    def burstEnded(self) -> None:
        self.heard.append(None)
        if not self.enough.called:
            self.enough.callback(None)

    def roomAgain(self) -> None:
        self.room += 1


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

    recvfrom = recvmsg = sendto = sendmsg = _next

    def _next_into(self, buffers: Any, *arguments: Any) -> Any:
        data, *rest = self._next()
        (buffers[0] if isinstance(buffers, tuple) else buffers)[: len(data)] = data
        return (len(data), *rest)

    recvmsg_into = recvfrom_into = _next_into

    def close(self) -> None:
        """Nothing to close."""


class PortCase(SynchronousTestCase):
    """A `TrainPort` with a socket of the test's."""

    def setUp(self) -> None:
        self.reactor = mock.Mock(spec=["addReader", "removeReader", "addWriter", "removeWriter", "callLater"])
        self.protocol = Recorder()
        self.port = TrainPort(0, self.protocol, "127.0.0.1", self.reactor)
        self.socket: Any = Socket()
        self.port.socket = self.socket
        self.port.connected = True


class ReceivingTests(PortCase):
    """What a read of the socket hands over."""

    def test_burst(self) -> None:
        """All that is there is handed over, and then that it was all."""
        self.socket.results = [(b"a", HERE), (b"b", HERE), BlockingIOError()]
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a", b"b", None])

    def test_train(self) -> None:
        """Datagrams that the kernel gathered are handed over as one train, which says how they are to be cut."""
        self.port._into = self.port._told = True
        gathered = [(17, 104, b"\3\0\0\0")]
        self.socket.results = [(b"abcdefg", gathered, 0, HERE), (b"h", [], 0, HERE), BlockingIOError()]
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"abc", b"def", b"g", b"h", None])
        self.assertEqual(self.protocol.trains, [(7, 3), (1, 1)])

    def test_where_it_went(self) -> None:
        """With or without recvmsg_into, an address is what the answer needs."""
        addresses: list[Any] = []
        self.protocol.answer = lambda datagram, address: addresses.append(address)
        self.port._told = True
        self.port._answers_from = tuple
        for into in (False, True):
            self.port._into = into
            self.socket.results = [(b"abc", [(0, 0, b"ours")], 0, HERE), BlockingIOError()]
            self.port.doRead()
        self.assertEqual(addresses, [(HERE, ((0, 0, b"ours"),))] * 2)

    def test_into_without_more(self) -> None:
        """Nothing has to be told, and still no bytes are made for each datagram."""
        self.port._into = True
        self.socket.results = [(b"abc", HERE), BlockingIOError()]
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"abc", None])

    def test_long_burst(self) -> None:
        """A flood is taken in pieces, so that others have their turn."""
        most = -(-MAX_READ_BYTES // (1 + READ_COST_BYTES))
        self.socket.results = [(b"a", HERE)] * (2 * most)
        with mock.patch.object(udp, "perf_counter", return_value=0.0):
            self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a"] * most + [None])

    def test_slow_burst(self) -> None:
        """Nor does one last long when each datagram costs much."""
        self.socket.results = [(b"a", HERE)] * 100
        with mock.patch.object(udp, "perf_counter", side_effect=[0.0, 0.0015, 0.0021]):
            self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a", b"a", None])

    def test_refused(self) -> None:
        """A refusal of what was sent before hides nothing that has arrived."""
        self.socket.results = [ConnectionRefusedError(), (b"a", HERE), BlockingIOError()]
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a", None])

    def test_broken(self) -> None:
        """Another error ends the burst, not the port."""
        self.socket.results = [(b"a", HERE), OSError(errno.EMSGSIZE, "too long")]
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a", None])

    def test_closed_meanwhile(self) -> None:
        """When a datagram makes somebody close the port, nothing more is read from it."""
        self.socket.results = [(b"a", HERE), (b"b", HERE)]
        self.protocol.answer = lambda datagram, addr: setattr(self.port, "connected", False)
        self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a"])

    def test_faults(self) -> None:
        """What goes wrong in the protocol is logged, and costs the port nothing."""
        self.socket.results = [ConnectionRefusedError(), (b"a", HERE), (b"b", HERE), BlockingIOError()]
        self.protocol.answer = lambda datagram, addr: 1 // 0
        self.protocol.connectionRefused = mock.Mock(side_effect=KeyError)  # type: ignore[method-assign]
        self.protocol.enough = mock.Mock(called=False, callback=mock.Mock(side_effect=ValueError))
        with mock.patch.object(udp, "perf_counter", return_value=0.0):
            self.port.doRead()
        self.assertEqual(self.protocol.heard, [b"a", b"b", None])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class JoiningTests(PortCase):
    """Datagrams that come one by one are handed over as trains."""

    def setUp(self) -> None:
        super().setUp()
        self.port._into = True

    def read(self, *results: Any) -> list[tuple[int, int]]:
        """The trains that are made of these."""
        self.socket.results = [*results, BlockingIOError()]
        with mock.patch.object(udp, "perf_counter", return_value=0.0):
            self.port.doRead()
        return self.protocol.trains

    def test_one_size(self) -> None:
        """Those of one size are one train, of which the last may be shorter."""
        self.assertEqual(self.read(*((data, HERE) for data in (b"abc", b"def", b"g"))), [(7, 3)])
        self.assertEqual(self.protocol.heard, [b"abc", b"def", b"g", None])

    def test_sizes(self) -> None:
        """A train ends with a shorter one, and before a larger one; nothing is overtaken."""
        sent = [b"abc", b"d", b"e", b"fghij", b"klmno", b"", b"p", b"qr"]
        trains = self.read(*((data, HERE) for data in sent))
        self.assertEqual(trains, [(4, 3), (1, 1), (10, 5), (0, 1), (1, 1), (2, 2)])
        self.assertEqual(self.protocol.heard, [data for data in sent if data] + [None])

    def test_addresses(self) -> None:
        """Each train is from one address."""
        addresses: list[Any] = []
        self.protocol.answer = lambda datagram, address: addresses.append((datagram, address))
        there = ("y", 1)
        self.assertEqual(
            self.read((b"a", HERE), (b"b", there), (b"c", there), (b"d", HERE)), [(1, 1), (2, 1), (1, 1)]
        )
        self.assertEqual(addresses, [(b"a", HERE), (b"b", there), (b"c", there), (b"d", HERE)])

    def test_gathered(self) -> None:
        """What the kernel gathered goes on with what came before it if it is as large, and not otherwise."""
        self.port._told = True
        twos, threes = [(17, 104, b"\2\0\0\0")], [(17, 104, b"\3\0\0\0")]
        trains = self.read(
            (b"ab", [], 0, HERE), (b"cd", [], 0, HERE), (b"efgh", twos, 0, HERE), (b"ijk", twos, 0, HERE),
            (b"lm", [], 0, HERE), (b"nopqrs", threes, 0, HERE), (b"tuvw", threes, 0, HERE), (b"xy", twos, 0, HERE),
        )  # fmt: skip
        self.assertEqual(trains, [(11, 2), (2, 2), (10, 3), (2, 2)])
        self.assertEqual(b"|".join(self.protocol.heard[:-1]), b"ab|cd|ef|gh|ij|k|lm|nop|qrs|tuv|w|xy")

    def test_bound(self) -> None:
        """A train does not grow for ever, and there is always room for the largest that may come."""
        size = 1452
        many = -(-JOINED_BYTES // size)
        sent = [bytes([index]) * size for index in range(2 * many + 1)]
        trains = self.read(*((data, HERE) for data in sent), (bytes(65507), HERE), (b"a", HERE))
        self.assertEqual(trains, [(many * size, size)] * 2 + [(size, size), (65508, 65507)])
        self.assertEqual(self.protocol.heard[: len(sent)], sent)

    def test_refused(self) -> None:
        """A refusal between them hides none of them, nor does another error."""
        self.read((b"a", HERE), ConnectionRefusedError(), (b"b", HERE), OSError(errno.EMSGSIZE, "too long"))
        self.assertEqual(self.protocol.heard, [b"a", b"b", None])

    def test_closed_meanwhile(self) -> None:
        """When the first train makes somebody close the port, that was all."""
        self.protocol.answer = lambda datagram, addr: setattr(self.port, "connected", False)
        self.read((b"a", HERE), (b"bc", HERE), (b"de", HERE))
        self.assertEqual(self.protocol.heard, [b"a"])
        self.port.connected = True
        self.read((b"a", HERE), (b"b", HERE))
        self.assertEqual(self.protocol.heard, [b"a", b"a", b"b"])


class RestingTests(PortCase):
    """A port that is woken by one datagram after the other takes them a moment later, several at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.reactor.callLater = self.clock.callLater
        self.port._into = True
        patched = mock.patch.object(udp, "perf_counter", self.clock.seconds)
        patched.start()
        self.addCleanup(patched.stop)

    def wake(self, times: int = 1, *, gap: float = 0.00012, each: int = 1, size: int = 1452) -> None:
        """The reactor tells that something has come, so often."""
        for _ in range(times):
            self.come(each, size)
            self.port.doRead()
            self.clock.advance(gap)

    def come(self, count: int, size: int = 1452) -> None:
        """So many datagrams wait in the socket."""
        self.socket.results = [*[(bytes(size), HERE)] * count, BlockingIOError()]

    @property
    def resting(self) -> bool:
        return bool(self.clock.getDelayedCalls())

    def test_rests(self) -> None:
        """It rests after some in a row, and goes on like that while datagrams come."""
        self.wake(LONE_WAKE_UPS - 1)
        self.assertFalse(self.resting)
        self.wake()
        self.assertTrue(self.resting)
        self.reactor.removeReader.assert_called_once_with(self.port)
        for _ in range(3):
            self.protocol.trains.clear()
            self.come(8)
            self.clock.advance(REST_SECONDS)
            self.assertEqual(self.protocol.trains, [(8 * 1452, 1452)])
            self.assertTrue(self.resting)
        self.reactor.addReader.assert_not_called()

    def test_idle_again(self) -> None:
        """When less comes it listens again at once, so that nothing that comes by itself waits."""
        self.wake(LONE_WAKE_UPS)
        self.come(1)
        self.clock.advance(REST_SECONDS)
        self.assertFalse(self.resting)
        self.reactor.addReader.assert_called_once_with(self.port)
        self.wake(LONE_WAKE_UPS - 1)
        self.assertFalse(self.resting)

    def test_bound(self) -> None:
        """No datagram waits longer than a thousandth of a second."""
        self.assertLessEqual(REST_SECONDS, 0.001)
        self.wake(LONE_WAKE_UPS, gap=0.0)
        (rest,) = self.clock.getDelayedCalls()
        self.assertAlmostEqual(rest.getTime(), self.clock.seconds() + REST_SECONDS)

    def test_slow(self) -> None:
        """Datagrams that come further apart wake it one by one."""
        self.wake(10 * LONE_WAKE_UPS, gap=LONE_SECONDS / (LONE_WAKE_UPS - 2))
        self.assertFalse(self.resting)

    def test_small_and_large(self) -> None:
        """Neither acknowledgements nor what the kernel gathered have it rest, nor what comes in bursts."""
        for size, each in ((100, 1), (65507, 1), (600, 3)):
            self.wake(10 * LONE_WAKE_UPS, gap=0.0001, size=size, each=each)
            self.assertFalse(self.resting)

    def test_drained(self) -> None:
        """Who wants to know what has come need not wait for it, and the rest goes on."""
        self.wake(LONE_WAKE_UPS)
        self.protocol.trains.clear()
        self.come(4)
        self.port.drain()
        self.assertEqual(self.protocol.trains, [(4 * 1452, 1452)])
        self.come(0)
        self.clock.advance(REST_SECONDS)
        self.assertTrue(self.resting)
        self.come(0)
        self.clock.advance(REST_SECONDS)
        self.assertFalse(self.resting)

    def test_closed(self) -> None:
        """A port that closes does not rest."""
        self.protocol.makeConnection(self.port)
        self.protocol.numPorts, self.port.fileno = 1, mock.Mock()
        self.wake(LONE_WAKE_UPS)
        self.port.connectionLost()
        self.assertFalse(self.resting)

    def test_closed_meanwhile(self) -> None:
        """The same for one that is closed by what it hands over."""
        self.wake(LONE_WAKE_UPS - 1)
        self.protocol.answer = lambda datagram, addr: setattr(self.port, "connected", False)
        self.wake()
        self.assertFalse(self.resting)
        self.port.connected = True
        self.protocol.answer = lambda datagram, addr: None
        self.wake()
        self.assertTrue(self.resting)
        self.protocol.answer = lambda datagram, addr: setattr(self.port, "connected", False)
        self.come(4)
        self.clock.advance(REST_SECONDS)
        self.assertFalse(self.resting)


class SendingTests(PortCase):
    """What leaves, and what becomes of the rest."""

    def test_train(self) -> None:
        """A train is one call, with its size beside it."""
        self.port._segments = True
        self.assertTrue(self.port.send([b"abc", b"de", b"f", b"g"], 3, HERE))
        self.assertEqual(self.socket.sent, [([b"abc", b"de", b"f", b"g"], (segmented(3),), 0, HERE)])
        self.port._answers_from = tuple
        self.port.send([b"abc", b"def"], 3, (HERE, ("ours",)))
        self.assertEqual(self.socket.sent[1], ([b"abc", b"def"], ("ours", segmented(3)), 0, HERE))

    def test_lone(self) -> None:
        """One datagram needs no cutting, whatever it is made of."""
        self.port._segments = True
        self.port.send([b"abc"], 3, HERE)
        self.port.send([b"a", b"b"], 2, HERE)
        self.assertEqual(self.socket.sent, [(b"abc", HERE), (b"ab", HERE)])
        self.port._answers_from = tuple
        self.port.send([b"abc"], 3, (HERE, ("ours",)))
        self.assertEqual(self.socket.sent[2], ((b"abc",), ("ours",), 0, HERE))

    def test_without_trains(self) -> None:
        """Where there are no trains, each datagram is a call."""
        self.port.send([b"abc", b"de", b"f", b"g"], 3, HERE)
        self.assertEqual(self.socket.sent, [(b"abc", HERE), (b"def", HERE), (b"g", HERE)])

    def test_card_refuses(self) -> None:
        """A network card that cannot cut trains: they leave one by one, from then on without trying."""
        for number in (errno.EIO, errno.EINVAL):
            self.port._segments = True
            self.socket.sent.clear()
            self.socket.results = [OSError(number, "no")]
            self.assertTrue(self.port.send([b"abc", b"de"], 3, HERE))
            self.assertTrue(self.port.send([b"abc", b"de"], 3, HERE))
            self.assertEqual(self.socket.sent, [(b"abc", HERE), (b"de", HERE)] * 2)
            self.assertEqual(self.port.dropped, 0)

    def test_too_large(self) -> None:
        """Datagrams that are larger than this machine can send: whoever sent them is told, and trains go on."""
        self.port._segments = True
        large = OSError(errno.EMSGSIZE, "too long")
        self.socket.results = [OSError(errno.EINVAL, "no"), large, large]
        self.assertFalse(self.port.send([b"abc", b"def"], 3, HERE))
        self.socket.results = [large]
        self.assertFalse(self.port.send([b"abc"], 3, HERE))
        self.assertEqual(self.port.dropped, 3)
        self.port.send([b"abc", b"def"], 3, HERE)
        self.assertEqual(len(self.socket.sent), 1)

    def test_no_way(self) -> None:
        """No buffers, no route, a firewall: lost datagrams, not an exception."""
        for number in (errno.ENOBUFS, errno.ENETUNREACH, errno.EPERM, errno.ECONNREFUSED):
            self.socket.results = [OSError(number, "no")]
            self.port.write(b"a", HERE)
            self.port._segments = True
            self.socket.results = [OSError(number, "no")]
            self.port.send([b"ab", b"c"], 2, HERE)
        self.assertEqual(self.port.dropped, 12)
        self.assertFalse(self.port.congested)

    def test_full(self) -> None:
        """What a full socket does not take waits in order, and leaves when there is room."""
        self.socket.results = [None, BlockingIOError()]
        for datagram in (b"a", b"b", b"c"):
            self.port.write(datagram, HERE)
        self.assertEqual(self.socket.sent, [(b"a", HERE)])
        self.assertTrue(self.reactor.addWriter.called)
        self.assertTrue(self.port.congested)
        self.socket.results = [None, BlockingIOError()]
        self.port.doWrite()
        self.assertFalse(self.reactor.removeWriter.called)
        self.port.doWrite()
        self.assertEqual([sent[0] for sent in self.socket.sent], [b"a", b"b", b"c"])
        self.assertTrue(self.reactor.removeWriter.called)
        self.assertEqual((self.port.dropped, self.port._queued, self.protocol.room), (0, 0, 1))

    def test_full_in_the_middle(self) -> None:
        """Of a train that leaves one by one the rest waits."""
        self.socket.results = [None, BlockingIOError()]
        self.port.send([b"ab", b"cd", b"e"], 2, HERE)
        self.assertEqual(self.port._queued, 3)
        self.port.doWrite()
        self.assertEqual([sent[0] for sent in self.socket.sent], [b"ab", b"cd", b"e"])

    def test_full_train(self) -> None:
        """A train that does not fit waits as a whole."""
        self.port._segments = True
        self.socket.results = [BlockingIOError()]
        self.port.send([b"ab", b"cd", b"e"], 2, HERE)
        self.port.doWrite()
        self.assertEqual(self.socket.sent, [([b"ab", b"cd", b"e"], (segmented(2),), 0, HERE)])

    def test_queue_is_bounded(self) -> None:
        """Beyond its bound, in bytes, datagrams are dropped, as they would be further on."""
        self.socket.results = [BlockingIOError()]
        for _ in range(MAX_QUEUED_BYTES // 1024 + 5):
            self.port.send([bytes(1000), bytes(24)], 1000, HERE)
        self.assertEqual(self.port.dropped, 10)
        self.assertEqual(self.port._queued, MAX_QUEUED_BYTES)
        self.protocol.numPorts, self.port.fileno = 1, lambda: -1
        self.port.connectionLost()
        self.assertEqual((len(self.port._queue), self.port._queued), (0, 0))


class TrainProtocolTests(SynchronousTestCase):
    """`TrainProtocol` on a transport that knows of no bursts."""

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
        TrainProtocol(clock).trainReceived(b"", 1, None)
        TrainProtocol(clock).burstEnded()
        TrainProtocol(clock).roomAgain()

    def test_stopped(self) -> None:
        """A burst that has not ended leaves nothing in the reactor."""
        clock = Clock()
        protocol = Recorder(clock)
        protocol.stopProtocol()
        protocol.datagramReceived(b"a", None)
        protocol.stopProtocol()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_sends(self) -> None:
        """Datagram by datagram; what it raises is a datagram lost; and no large ones are tried."""
        protocol = Recorder()
        self.assertTrue(protocol.send([b"a"], 1, HERE))
        written: list[Any] = []
        protocol.transport = mock.Mock(write=lambda *arguments: written.append(arguments))
        self.assertTrue(protocol.send([b"ab", b"c"], 2, HERE))
        protocol.transport = mock.Mock(write=mock.Mock(side_effect=OSError))  # type: ignore[unreachable]
        self.assertTrue(protocol.send([b"d"], 1, HERE))
        self.assertEqual(written, [(b"ab", HERE), (b"c", HERE)])
        self.assertFalse(protocol.congested)
        self.assertEqual(protocol.largest, SAFE_DATAGRAM_BYTES)

    def test_other_reactor(self) -> None:
        """A reactor that watches no descriptors makes its own port."""

        class Other:
            def listenUDP(self, *arguments: Any) -> Any:
                return arguments

        protocol = Recorder()
        listening: Any = listen_udp(Other(), protocol, "127.0.0.1", 7)
        self.assertEqual(listening, (7, protocol, "127.0.0.1", 65536))


async def echo(
    host: str, *, bound: str, answers: bool = True, abilities: Abilities | None = None
) -> tuple[Any, Any]:
    """Send two datagrams to `host` at a port bound to `bound`; who answered, and what the port heard."""
    protocol = Recorder()
    port: Any = listen_udp(reactor, protocol, bound, 0, answers=answers, abilities=abilities)
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
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if ask_for_destination(sock, socket.AF_INET) is None:
            pytest.skip("this platform does not tell which address was asked")
    for host in ("127.0.0.1", "127.0.0.2"):
        for abilities in (FULL._replace(segments=False, gathers=False, recvmsg_into=False), None):
            (data, address), _ = await echo(host, bound="0.0.0.0", abilities=abilities)
            assert (data, address[0]) == (b"A", host)


@pytest_twisted.ensureDeferred
@within(5)
async def test_without_asking() -> None:
    """A port that speaks first does without, and so does one that cannot."""
    (data, _), _ = await echo("127.0.0.1", bound="", answers=False)
    assert data == b"A"
    (data, _), _ = await echo("127.0.0.1", bound="", abilities=Abilities())
    assert data == b"A"


@pytest_twisted.ensureDeferred
@within(5)
async def test_ipv6() -> None:
    """The same over IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    for bound in ("::1", "::"):
        (data, address), _ = await echo("::1", bound=bound)
        assert (data, address[0]) == (b"A", "::1")


def hiding(without: str) -> Abilities:
    """What this machine can do, but for one thing."""
    found = probe(socket.AF_INET)._replace(**{without: False}) if without else probe(socket.AF_INET)
    return found._replace(
        segments=found.segments and found.sendmsg, gathers=found.gathers and found.recvmsg_into
    )


@pytest.mark.parametrize("speaks", ["", *Abilities._fields])
@pytest.mark.parametrize("hears", ["", *Abilities._fields])
@pytest_twisted.ensureDeferred
@within(5)
async def test_trains_over_loopback(speaks: str, hears: str) -> None:
    """A train arrives whole, whichever ability either end lacks."""
    speaker, hearer = Recorder(), Recorder()
    one: Any = listen_udp(reactor, speaker, "127.0.0.1", 0, abilities=hiding(speaks))
    other: Any = listen_udp(reactor, hearer, "127.0.0.1", 0, abilities=hiding(hears))
    datagrams = [bytes((number,)) * 1200 for number in range(40)] + [b"the end"]
    assert speaker.send(datagrams, 1200, ("127.0.0.1", other.getHost().port))
    while b"the end" not in hearer.heard:
        hearer.enough = Deferred()
        await hearer.enough
    assert [each for each in hearer.heard if each is not None] == datagrams
    if not speaks and not hears and find_abilities(socket.AF_INET, socket.socket) == FULL:
        assert hearer.trains == [(48007, 1200)]
        assert speaker.largest == 65507
    await maybeDeferred(one.stopListening)
    await maybeDeferred(other.stopListening)


@pytest_twisted.ensureDeferred
@within(5)
async def test_too_large_for_loopback() -> None:
    """A datagram that UDP itself cannot carry is told to whoever sends it."""
    protocol = Recorder()
    port: Any = listen_udp(reactor, protocol, "127.0.0.1", 0)
    assert not protocol.send([bytes(65508)], 65508, ("127.0.0.1", port.getHost().port))
    await maybeDeferred(port.stopListening)


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
    """A system that refuses all that is asked of it gives what it gives."""

    class Stubborn(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            raise OSError

    protocol = Recorder()
    with mock.patch.object(TrainPort, "createInternetSocket", _stubborn(Stubborn)):
        port: Any = listen_udp(reactor, protocol, "0.0.0.0", 0)
    assert protocol.largest == SAFE_DATAGRAM_BYTES
    await maybeDeferred(port.stopListening)


def _stubborn(kind: type[socket.socket]) -> Callable[[Any], socket.socket]:
    def create(self: Any) -> socket.socket:
        sock = kind(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        return sock

    return create


@pytest.mark.parametrize(("bound", "host"), [("0.0.0.0", "127.0.0.2"), ("::", "::1")])
@pytest_twisted.ensureDeferred
@within(5)
async def test_trains_from_the_address_that_was_asked(bound: str, host: str) -> None:
    """A train is an answer like any other: it leaves from where it was asked for."""
    asking, answering = Recorder(), Recorder()
    try:
        one: Any = listen_udp(reactor, asking, host.replace("127.0.0.2", "127.0.0.1"), 0, answers=False)
    except CannotListenError:
        pytest.skip("no IPv6 here")
    other: Any = listen_udp(reactor, answering, bound, 0)
    train = [bytes((number,)) * 1200 for number in range(9)] + [b"the end"]
    sources: list[Any] = []
    asking.answer = lambda datagram, address: sources.append(address[0])
    answering.answer = lambda datagram, address: answering.send(train, 1200, address)
    asking.send([b"?"], 1, (host, other.getHost().port))
    while b"the end" not in asking.heard:
        asking.enough = Deferred()
        await asking.enough
    assert [each for each in asking.heard if each is not None] == train
    assert set(sources) == {host}
    await maybeDeferred(one.stopListening)
    await maybeDeferred(other.stopListening)
