"""Listening: the queue in the kernel, how many are accepted in a turn, and who is turned away."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pychat import listening
from pychat.listening import (
    BACKLOG,
    BURST,
    BURST_SECONDS,
    FULL_SAID_EVERY,
    TURNED_AWAY_BYTES,
    TURNED_AWAY_LIMIT,
    TURNED_AWAY_SECONDS,
    Door,
    listen,
)
from pychat.poller import poller_for

from .guards import within


class Made(ServerFactory):
    """Counts the protocols that it makes; Twisted tells it when it begins and ends."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Protocol] = []
        self.told: list[str] = []

    def startFactory(self) -> None:
        self.told.append("start")

    def stopFactory(self) -> None:
        self.told.append("stop")

    def buildProtocol(self, addr: object) -> Protocol:
        protocol = Protocol()
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

    def test_backlog_of_unix(self) -> None:
        """The same for UNIX sockets, and the rest of what is said of them stays as it is."""
        self.listen("unix:/nowhere/a:mode=600")
        self.listen("unix:/nowhere/b:backlog=9")
        (_, _, backlog, mode, pid), (*_, chosen, _, _) = self.reactor.unixServers
        self.assertEqual((backlog, mode, pid, chosen), (BACKLOG, 0o600, True, 9))

    def crowd(self, count: int) -> Any:
        """So many connections that wait to be accepted."""
        port = self.listen("tcp:0:interface=127.0.0.1")
        for _ in range(count):
            self.addCleanup(socket.create_connection(("127.0.0.1", port.getHost().port)).close)
        return port

    def leave(self) -> None:
        for protocol in self.factory.made:
            transport: Any = protocol.transport
            transport.socket.close()

    def test_all_at_once(self) -> None:
        """While it takes little time, everybody who waits is accepted in one turn, whatever came before."""
        self.patch(listening, "_cpu", lambda: 0.0)
        port = self.crowd(BURST * 3 + 1)
        for expected in (BURST * 3 + 1, BURST * 3 + 1):
            port.doRead()
            self.assertEqual(len(self.factory.made), expected)
        self.leave()

    def test_no_longer_than_a_slice(self) -> None:
        """When it takes long, the others have a turn in between; nobody is forgotten."""
        times = [0.0]

        def cpu() -> float:
            times[0] += BURST_SECONDS * 0.6
            return times[0]

        self.patch(listening, "_cpu", cpu)
        port = self.crowd(BURST * 3 + 1)
        accepted = []
        for _ in range(2):
            port.doRead()
            accepted.append(len(self.factory.made))
        self.assertEqual(accepted, [BURST * 2, BURST * 3 + 1])
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
