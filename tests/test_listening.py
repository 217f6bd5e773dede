"""Listening: the queue in the kernel, how many are accepted in a turn, and who is turned away."""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest import skipUnless
from unittest.mock import patch

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pychat import kernel, listening
from pychat.listening import (
    BACKLOG,
    BURST,
    BURST_SECONDS,
    FULL_SAID_EVERY,
    TURNED_AWAY_BYTES,
    TURNED_AWAY_LIMIT,
    TURNED_AWAY_SECONDS,
    Door,
    StartError,
    listen,
)
from pychat.poller import poller_for

from .guards import within


class Heard(Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:
        self.heard += data


class Made(ServerFactory):
    """Counts the protocols that it makes; Twisted tells it when it begins and ends.

    :ivar makes: makes the next one.
    """

    noisy = False

    def __init__(self) -> None:
        self.made: list[Protocol] = []
        self.told: list[str] = []
        self.makes: Callable[[], Protocol | None] = Heard

    def startFactory(self) -> None:
        self.told.append("start")

    def stopFactory(self) -> None:
        self.told.append("stop")

    def buildProtocol(self, addr: object) -> Protocol | None:
        protocol = self.makes()
        if protocol is not None:
            self.made.append(protocol)
        return protocol


class Ports(SynchronousTestCase):
    """Real sockets, and a reactor that does only what a test says."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.factory = Made()

    def listen(self, description: str) -> Any:
        port: Any = listen(self.reactor, description, self.factory)
        if hasattr(port, "stopListening"):
            self.addCleanup(self.reactor.advance, 0)
            self.addCleanup(port.stopListening)
        return port

    def test_backlog(self) -> None:
        """The queue is long, unless the endpoint says otherwise."""
        for more, backlog in (("", BACKLOG), (":backlog=7", 7), (":backlog=50", 50)):
            self.assertEqual(self.listen(f"tcp:0:interface=127.0.0.1{more}").backlog, backlog)

    def test_ipv6_as_it_is_written(self) -> None:
        """The address behind interface= needs no backslashes, and may stand in brackets."""
        for address in ("::1", "[::1]", "0:0:0:0:0:0:0:1", r"\:\:1"):
            for more, backlog in (("", BACKLOG), (":backlog=7", 7)):
                port = self.listen(f"tcp6:0:interface={address}{more}")
                self.assertEqual((port.getHost().host, port.backlog), ("::1", backlog))
        for wrong in (":::", "::1::"):
            error = self.assertRaises(StartError, self.listen, f"tcp6:0:interface={wrong}")
            self.assertIn("tcp6:50000:interface=::1", error.sentence)

    def test_backlog_of_unix(self) -> None:
        """The same for UNIX sockets, and the rest of what is said of them stays as it is."""
        self.listen("unix:/nowhere/a:mode=600")
        self.listen("unix:/nowhere/b:backlog=9")
        (_, _, backlog, mode, pid), (*_, chosen, _, _) = self.reactor.unixServers
        self.assertEqual((backlog, mode, pid, chosen), (BACKLOG, 0o600, True, 9))

    def come(self, port: Any, *said: bytes) -> socket.socket:
        """Connect, and say this."""
        client = socket.create_connection(("127.0.0.1", port.getHost().port), 10)
        self.addCleanup(client.close)
        for each in said:
            client.sendall(each)
        return client

    def crowd(self, count: int, interface: str = "127.0.0.1") -> Any:
        """So many connections that wait to be accepted."""
        port = self.listen(f"tcp:0:interface={interface}")
        for _ in range(count):
            self.come(port)
        return port

    def leave(self) -> None:
        for protocol in self.factory.made:
            transport: Any = protocol.transport
            if transport.connected:
                transport.socket.close()

    def test_all_at_once(self) -> None:
        """While it takes little time, everybody who waits is accepted in one turn, whatever came before."""
        self.patch(listening, "monotonic", lambda: 0.0)
        port = self.crowd(BURST * 3 + 1)
        for expected in (BURST * 3 + 1, BURST * 3 + 1):
            port.doRead()
            self.assertEqual(len(self.factory.made), expected)
        self.leave()

    def test_no_longer_than_a_slice(self) -> None:
        """When it takes long, the others have a turn in between; nobody is forgotten."""
        times = [0.0]

        def clock() -> float:
            times[0] += BURST_SECONDS * 0.6
            return times[0]

        self.patch(listening, "monotonic", clock)
        port = self.crowd(BURST * 3 + 1)
        accepted = []
        for _ in range(2):
            port.doRead()
            accepted.append(len(self.factory.made))
        self.assertEqual(accepted, [BURST * 2, BURST * 3 + 1])
        self.leave()

    def polled(self) -> tuple[Any, Any]:
        """A reactor that serves whom it is told to, and a port of it."""
        poller = poller_for(self.reactor)
        self.addCleanup(poller.connectionLost, Failure(ConnectionDone()))
        return poller, listen(poller, "tcp:0:interface=127.0.0.1", self.factory)

    def heard(self) -> list[bytes]:
        return [protocol.heard for protocol in self.factory.made if isinstance(protocol, Heard)]

    @skipUnless(hasattr(select, "epoll"), "this system has no epoll, and the reactor does it all")
    def test_said_already(self) -> None:
        """Who has said something when she is let in is heard at once; the others when they do."""
        poller, port = self.polled()
        self.come(port, b"hi")
        silent = self.come(port)
        self.come(port, b"ho")
        port.doRead()
        self.assertEqual(self.heard(), [b"hi", b"", b"ho"])
        silent.sendall(b"now")
        poller.doRead()
        self.assertEqual(self.heard(), [b"hi", b"now", b"ho"])

    @skipUnless(hasattr(select, "epoll"), "this system has no epoll, and the reactor does it all")
    def test_read_with(self) -> None:
        """Another one reads what comes in, until it is not to any more."""
        read = []

        class Reader:
            def doRead(self) -> None:
                read.append(transport.socket.recv(100))

        poller, port = self.polled()
        client = self.come(port)
        port.doRead()
        transport: Any = self.factory.made[0].transport
        transport.read_with(Reader())
        client.sendall(b"aside")
        poller.doRead()
        transport.read_with(None)
        client.sendall(b"hi")
        poller.doRead()
        self.assertEqual((read, self.heard()), ([b"aside"], [b"hi"]))

    @skipUnless(hasattr(select, "epoll"), "this system has no epoll, and the reactor does it all")
    def test_said_very_much(self) -> None:
        """When one of them takes long, those behind her have to wait until everybody else had a turn."""
        times = [0.0]
        self.patch(listening, "monotonic", lambda: times[0])

        class Slow(Heard):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                times[0] += BURST_SECONDS

        self.factory.makes = Slow
        poller, port = self.polled()
        for said in (b"very much", b"hi"):
            self.come(port, said)
        port.doRead()
        self.assertEqual(self.heard(), [b"very much", b""])
        poller.doRead()
        self.assertEqual(self.heard(), [b"very much", b"hi"])

    def test_options(self) -> None:
        """The system finds every peer that vanished, where connections inherit what their port has, and where not."""
        prepared: list[socket.socket] = []

        def prepare(handle: socket.socket, real: Any = kernel.prepare) -> None:
            prepared.append(handle)
            real(handle)

        self.patch(kernel, "prepare", prepare)
        for inherits, count in ((kernel.is_prepared, 1), (lambda handle: False, 4)):
            prepared.clear()
            self.factory.made.clear()
            with patch.object(kernel, "is_prepared", inherits):
                self.crowd(3).doRead()
            transports: list[Any] = [protocol.transport for protocol in self.factory.made]
            self.assertEqual([kernel.is_prepared(each.socket) for each in transports], [True] * 3)
            self.assertTrue(all(each.prepared for each in transports), "nobody has to do it again")
            if sys.platform.startswith("linux"):
                self.assertEqual(len(prepared), count)
            self.leave()

    def test_host(self) -> None:
        """A connection knows the address that it was made at, also where its port has several."""
        for interface in ("127.0.0.1", "0.0.0.0"):
            port = self.crowd(1, interface)
            port.doRead()
            transport: Any = self.factory.made[-1].transport
            host = transport.getHost()
            self.assertEqual((host.host, host.port), transport.socket.getsockname())
            self.assertEqual(host.host, "127.0.0.1")
        self.leave()

    def test_peer(self) -> None:
        """And where it came from: while it begins, and later."""
        told: list[Any] = []
        real = Heard.connectionMade

        def made(protocol: Any) -> None:
            real(protocol)
            told.append(protocol.transport.getPeer())

        self.patch(Heard, "connectionMade", made)
        self.crowd(2).doRead()
        transports: list[Any] = [protocol.transport for protocol in self.factory.made]
        self.assertEqual(told, [each.getPeer() for each in transports])
        made_in_c = kernel._channel is not None
        self.assertEqual(
            [type(kernel.channel(each)) is not kernel.Channel for each in transports], [made_in_c] * 2
        )
        self.assertEqual(
            [(peer.host, peer.port) for peer in told], [each.socket.getpeername() for each in transports]
        )
        self.leave()

    def test_who_cannot_be_let_in(self) -> None:
        """What goes wrong with one of those who come, or is not wanted, is the end of that one only."""
        port = self.crowd(4)
        clients = [None, ZeroDivisionError(), None, None]

        def makes() -> Protocol | None:
            if clients.pop() is not None:
                raise ZeroDivisionError
            return None if len(clients) == 3 else Heard()

        self.factory.makes = makes
        port.doRead()
        self.assertEqual((len(self.factory.made), len(clients)), (2, 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.leave()

    def test_fault_at_the_beginning(self) -> None:
        """A connection whose beginning goes wrong is ended: nobody else would know of it."""
        port = self.crowd(2)
        real = Heard.connectionMade

        def broken(protocol: Protocol) -> None:
            real(protocol)  # type: ignore[arg-type]
            if len(self.factory.made) == 1:
                raise ZeroDivisionError

        self.patch(Heard, "connectionMade", broken)
        port.doRead()
        self.reactor.advance(0)
        transports: list[Any] = [protocol.transport for protocol in self.factory.made]
        self.assertEqual([bool(each.connected) for each in transports], [False, True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.leave()

    def test_gone_before_accepted(self) -> None:
        """Who went while she waited, and whatever else the system says of one, stops nobody."""
        port = self.crowd(3)
        real = port.socket
        errors = [errno.ECONNABORTED, errno.EPERM]

        def accept() -> Any:
            if errors:
                raise OSError(errors.pop(0), "")
            return real.accept()

        port.socket = SimpleNamespace(accept=accept, fileno=real.fileno)
        self.addCleanup(setattr, port, "socket", real)
        for _ in range(3):
            port.doRead()
        self.assertEqual(len(self.factory.made), 3)
        self.leave()


class Doors(SynchronousTestCase):
    """How many fit."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.inside = Made()
        self.connections: list[int] = []
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        self.logged.append(formatEvent(event))

    def door(self, limit: int | None) -> Door:
        return Door(self.clock, self.inside, self.connections, limit)  # type: ignore[arg-type]

    def test_lets_in(self) -> None:
        """Who fits gets a protocol of the one inside, which is told of the beginning and the end."""
        door = self.door(3)
        door.doStart()
        for number in range(3):
            self.connections[:] = range(number)
            self.assertIs(door.buildProtocol(None), self.inside.made[-1])
        door.doStop()
        self.assertEqual((len(self.inside.made), self.inside.told, self.logged), (3, ["start", "stop"], []))

    def test_no_limit(self) -> None:
        """Where nobody knows how many fit, all are let in."""
        self.connections[:] = range(100_000)
        self.assertIs(self.door(None).buildProtocol(None), self.inside.made[-1])

    def test_turns_away(self) -> None:
        """Who does not fit is told so and hung up on; the log has it once a minute."""
        door = self.door(3)
        self.connections[:] = range(3)
        for _ in range(5):
            protocol = door.buildProtocol(None)
            assert protocol is not None
            transport = StringTransport()
            protocol.makeConnection(transport)
            self.assertRegex(transport.value(), rb"\A<goodbye code=full>[^\n]+\n\Z")
            self.assertTrue(transport.disconnecting)
        self.assertEqual(self.inside.made, [])
        self.assertEqual(len(self.logged), 1)
        self.assertRegex(self.logged[0], "^Full: there are 3 connections, .*ulimit -Hn")
        self.clock.advance(FULL_SAID_EVERY)
        door.buildProtocol(None)
        self.assertEqual(len(self.logged), 2)
        self.connections.pop()
        self.assertIs(door.buildProtocol(None), self.inside.made[-1])


class Full:
    """A door on the running reactor that lets nobody in; its clock is ours, and the clients are plain sockets."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.clock = Clock()
        self._open = ExitStack()

    async def __aenter__(self) -> Full:
        door = Door(self.clock, Made(), [], 0)
        self.port = listen(poller_for(self.reactor), "tcp:0:interface=127.0.0.1", door)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open.close()
        stopped = self.port.stopListening()
        if isinstance(stopped, Deferred):
            await stopped
        self.clock.advance(TURNED_AWAY_SECONDS)
        await self.until(lambda: not self.clock.getDelayedCalls())

    def come(self, *said: bytes) -> socket.socket:
        """Connect and say this, before the daemon knows."""
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port), 10)
        self._open.enter_context(client)
        for each in said:
            client.sendall(each)
        return client

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            await deferLater(self.reactor, 0, lambda: None)

    async def heard(self, client: socket.socket) -> bytes:
        """All that comes until the daemon closes its half."""
        return await deferToThread(lambda: b"".join(iter(lambda: client.recv(4096), b"")))

    async def is_shut(self, client: socket.socket) -> None:
        """Wait until the daemon does not listen to this one any more; it is not told much meanwhile."""
        for _ in range(1000):
            await deferLater(self.reactor, 0, lambda: None)
            try:
                client.send(b"x")
            except OSError:
                return
        raise AssertionError("it is still read")


@pytest_twisted.ensureDeferred
@within(10)
async def test_the_goodbye_arrives() -> None:
    """Who spoke before she was accepted, and goes on, is told that there is no room; no reset takes that away."""
    async with Full() as full:
        eager = full.come(b"<hello caps=ack>\n" * 100)
        hasty = full.come(b"<hello>\n")
        hasty.shutdown(socket.SHUT_WR)
        for client in (eager, hasty):
            assert (await full.heard(client)).startswith(b"<goodbye code=full>")
        eager.sendall(b"<connect>alice\n")  # it is still read
        eager.shutdown(socket.SHUT_WR)
        # Both sides have closed: nobody waits for anything any more.
        await full.until(lambda: not full.clock.getDelayedCalls())
        assert eager.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


@pytest_twisted.ensureDeferred
@within(10)
async def test_who_stays() -> None:
    """Who is turned away and does not go is hung up on, after a while and after so many bytes."""
    async with Full() as full:
        slow, loud = full.come(), full.come()
        for client in (slow, loud):
            assert (await full.heard(client)).startswith(b"<goodbye code=full>")
        loud.send(b"x" * (TURNED_AWAY_BYTES + 1))
        await full.is_shut(loud)
        slow.send(b"x")
        full.clock.advance(TURNED_AWAY_SECONDS - 0.01)
        for _ in range(20):
            await deferLater(full.reactor, 0, lambda: None)
            slow.send(b"x")
        full.clock.advance(0.01)
        await full.is_shut(slow)


@pytest_twisted.ensureDeferred
@within(10)
async def test_how_many_stay() -> None:
    """Of very many who are turned away at once all are told, and the last few are waited for."""
    async with Full() as full:
        clients = [full.come(b"<hello>\n") for _ in range(TURNED_AWAY_LIMIT + 10)]
        for client in clients:
            assert (await full.heard(client)).startswith(b"<goodbye code=full>")
        for client in clients[:10]:
            await full.is_shut(client)
        for client in clients[10:]:
            client.sendall(b"<connect>alice\n")
            client.shutdown(socket.SHUT_WR)
        await full.until(lambda: not full.clock.getDelayedCalls())
        assert {client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for client in clients[10:]} == {0}
