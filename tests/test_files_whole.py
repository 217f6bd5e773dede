"""Files through a whole daemon on the running reactor: the chat line, the stream, the shelf, and the end of both."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import ClientCreator
from twisted.protocols.basic import LineOnlyReceiver

from pychat.grammar import Line, parse
from pychat.part import PartFile
from pychat.receiving import Receiving
from pychat.sending import Sending
from pychat.service import ChatService
from pychat.shelf import Shelf
from pychat.stream import STREAM, StreamCarrier, StreamProtocol, stream_terms
from pychat.switchboard import Switchboard
from pychat.transfer.congestion import CONTROLLERS
from pychat.transfer.packet import DATAGRAM_BYTES, FROM_CLIENT
from pychat.transfer.path import ClientPath
from pychat.transfer.receiver import Receiver
from pychat.transfer.sender import Sender
from pychat.transfer.terms import Done, Failed, Terms
from pychat.udp import listen_udp, thread_runner

from .guards import within
from .test_service import Running

SECRET = "0123456789abcdef"
CONTENT = bytes(range(256)) * 12_000  # 3 MB


class Speaker(LineOnlyReceiver):
    """A chat line, for programs."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self._heard: list[Line] = []
        self._waiting: list[Deferred[Line]] = []
        self.gone: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        if self._waiting:
            self._waiting.pop(0).callback(parse(line))
        else:
            self._heard.append(parse(line))

    def connectionLost(self, reason: object = None) -> None:
        self.gone.callback(None)

    def hear(self) -> Deferred[Line]:
        """The next line."""
        waiting: Deferred[Line] = Deferred()
        if self._heard:
            waiting.callback(self._heard.pop(0))
        else:
            self._waiting.append(waiting)
        return waiting

    async def say(self, text: str) -> Line:
        """Say something, and return the next line."""
        self.sendLine(text.encode())
        return await self.hear()


class World:
    """A daemon, and one who speaks with it."""

    def __init__(self, *options: str) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.running = Running()
        self.options = options
        self.chat: ChatService

    async def __aenter__(self) -> World:
        await self.running.__aenter__()
        self.chat = self.running.start(*self.options)
        self.files = self.running.files
        self.line = await self.speaker()
        await self.line.hear()
        return self

    async def __aexit__(self, *reason: Any) -> None:
        self.line.transport.loseConnection()
        await self.line.gone
        await self.running.__aexit__(*reason)

    @property
    def _port(self) -> int:
        port: int = self.chat.tcp_ports[0].getHost().port
        return port

    async def speaker(self) -> Speaker:
        endpoint = HostnameEndpoint(self.reactor, "127.0.0.1", self._port)
        return await connectProtocol(endpoint, Speaker())

    async def offer(self, asked: str) -> tuple[Line, Terms]:
        line = await self.line.say(asked)
        assert line.verb == b"offer", line
        attributes = line.attributes
        return line, Terms(
            bytes.fromhex(attributes[b"transfer"].decode()), bytes.fromhex(attributes[b"token"].decode()),
            bytes.fromhex(attributes[b"key"].decode()), int(attributes[b"size"]),
        )  # fmt: skip

    async def stream(self, terms: Terms) -> StreamCarrier:
        """The transfer over TCP."""
        carrier = StreamCarrier()
        protocol = StreamProtocol(terms, carrier)
        await ClientCreator(self.reactor, lambda: protocol).connectTCP("127.0.0.1", self._port)
        await protocol.ready
        return carrier

    def sending(
        self, terms: Terms, carrier: Any, address: Any, shelf: Shelf, name: str, have: Any = ()
    ) -> Sending:
        """A file from the client."""
        seconds = self.reactor.seconds
        over_tcp = address is STREAM
        sender = Sender(
            stream_terms(terms) if over_tcp else terms,
            ClientPath(terms.token, address, window=0, now=seconds(), greets=not over_tcp),
            sends=FROM_CLIENT, congestion=CONTROLLERS["model"](DATAGRAM_BYTES), now=seconds(),
            random_bytes=os.urandom, have=have, reliable=over_tcp,
        )  # fmt: skip
        run = thread_runner(self.reactor)
        return Sending(
            sender, shelf.open(name), carrier, reactor=self.reactor, run_in_thread=run, seconds=seconds
        )


def our_files(running: Running) -> Shelf:
    """The client's own folder, with something to upload."""
    mine = running.files.with_name("mine")
    mine.mkdir()
    (mine / "a.bin").write_bytes(CONTENT)
    return Shelf(mine)


@pytest_twisted.ensureDeferred
@within(30)
async def test_no_udp() -> None:
    """Without UDP: nothing is granted, nothing is bound, and a file comes over the port of the chat."""
    async with World("--no-udp") as world:
        assert world.chat.udp_ports == []
        assert any("over TCP only" in line for line in world.running.logged)
        assert b"caps" not in (await world.line.say("<hello caps=udp>")).attributes
        (world.files / "a.bin").write_bytes(CONTENT)
        line, terms = await world.offer("<download>a.bin")
        assert b"port" not in line.attributes
        assert line.attributes[b"tcp"] == b"yes"
        part = PartFile(str(world.files.with_name("b.bin")), terms.size)
        part.open()
        carrier = await world.stream(terms)
        seconds = world.reactor.seconds
        path = ClientPath(terms.token, STREAM, window=1 << 20, now=seconds(), greets=False)
        receiver = Receiver(stream_terms(terms), path, sends=FROM_CLIENT, now=seconds())
        run = thread_runner(world.reactor)
        outcome = await Receiving(
            receiver, part, carrier, reactor=world.reactor, run_in_thread=run, seconds=seconds
        ).start()
        assert isinstance(outcome, Done), outcome
        assert sha256(world.files.with_name("b.bin").read_bytes()).digest() == sha256(CONTENT).digest()


@pytest_twisted.ensureDeferred
@within(30)
async def test_upload_over_a_stream() -> None:
    """An upload over TCP is on the shelf when its sender hears that it is, and everybody is told."""
    async with World("--no-udp") as world:
        shelf = our_files(world.running)
        await world.line.say("<hello>")
        await world.line.say("<connect>bob")
        _, terms = await world.offer(f"<upload size={len(CONTENT)} version={SECRET}>a.bin")
        carrier = await world.stream(terms)
        outcome = await world.sending(terms, carrier, STREAM, shelf, "a.bin").start()
        assert isinstance(outcome, Done), outcome
        assert (world.files / "a.bin").read_bytes() == CONTENT
        notice = await world.line.hear()
        assert (notice.verb, notice.text) == (b"file", b"a.bin")
        assert notice.attributes[b"by"] == b"bob"


@pytest_twisted.ensureDeferred
@within(30)
async def test_upload_goes_on_after_a_restart() -> None:
    """An upload over UDP breaks off, the daemon is started anew, and the rest is all that is sent."""
    async with World() as world:
        shelf = our_files(world.running)
        await world.line.say("<hello>")
        asked = f"<upload size={len(CONTENT)} version={SECRET}>a.bin"
        line, terms = await world.offer(asked)
        for step in range(2):
            have = [
                (int(start), int(end))
                for start, _, end in (each.partition("-") for each in line.attributes[b"have"].decode().split(","))
            ] if step else []  # fmt: skip
            board = Switchboard(world.reactor)
            port = listen_udp(world.reactor, board, "127.0.0.1", 0)
            address = ("127.0.0.1", int(line.attributes[b"port"]))
            sending = world.sending(terms, board, address, shelf, "a.bin", have)
            if step:
                assert have
                outcome = await sending.start()
                assert isinstance(outcome, Done), outcome
                assert sending.sender.counters.bytes_out < len(CONTENT)
            else:
                sending.sender.max_rate = 4e6
                sending.progress = lambda done, size: done > 1 << 20 and sending.fail("cancelled", "Enough.")  # noqa: B023
                outcome = await sending.start()
                assert isinstance(outcome, Failed), outcome
            await port.stopListening()
            if not step:
                await world.chat.stopService()
                await world.line.gone
                world.chat = world.running.start()
                world.line = await world.speaker()
                await world.line.hear()
                await world.line.say("<hello>")
                line, terms = await world.offer(asked)
        assert (world.files / "a.bin").read_bytes() == CONTENT


@pytest_twisted.ensureDeferred
@within(30)
async def test_bounds_of_a_daemon() -> None:
    """The options reach the shelf: who may upload, how much, and what is removed at the start."""
    async with World("--quota", "1M", "--uploads", "everyone", "--keep-uploads", "1h") as world:
        await world.line.say("<hello>")
        said = await world.line.say(f"<upload size={2 << 20}>a.bin")
        assert said.attributes[b"code"] == b"over-quota"
        hidden = world.files / ".incoming"
        old = hidden / "0.part"
        old.write_bytes(b"x")
        os.utime(old, (1e9, 1e9))
        await world.chat.stopService()
        await world.line.gone
        world.chat = world.running.start("--uploads", "nobody")
        world.line = await world.speaker()
        await world.line.hear()
        await world.line.say("<hello>")
        said = await world.line.say("<upload size=1>a.bin")
        assert said.attributes[b"code"] == b"no-uploads"
        while old.exists():
            pause: Deferred[None] = Deferred()
            world.reactor.callLater(0.01, pause.callback, None)
            await pause


@pytest_twisted.ensureDeferred
@within(30)
async def test_stop_with_a_stream() -> None:
    """A stream whose client is deaf delays a stop by a bounded time only."""
    async with World("--no-udp") as world:
        (world.files / "a.bin").write_bytes(CONTENT)
        await world.line.say("<hello>")
        _, terms = await world.offer("<download>a.bin")
        other = await world.speaker()
        await other.hear()
        other.sendLine(f"<stream transfer={terms.transfer.hex()} token={terms.token.hex()}>".encode())
        other.transport.pauseProducing()
        started = world.reactor.seconds()
        await world.chat.stopService()
        assert world.reactor.seconds() - started < 4
        other.transport.resumeProducing()
        await other.gone
