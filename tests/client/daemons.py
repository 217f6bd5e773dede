"""Daemons for the client's tests: a real one, and one that says what a test wants it to say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory
from twisted.protocols.basic import LineReceiver

from pychat.options import Options
from pychat.service import ChatService


@asynccontextmanager
async def serving(folder: Path, port: int = 0, *more: str) -> AsyncIterator[int]:
    """A daemon that shares ``folder / "files"``; its port, which is a free one unless it is given.

    :param more: options of the daemon.
    """
    from twisted.internet import reactor

    options = Options()
    options.parseOptions(
        [
            "--listen",
            f"tcp:{port}:interface=127.0.0.1",
            "--files",
            str(folder / "files"),
            "--state",
            str(folder),
            *more,
        ]
    )
    service = ChatService(options, reactor)
    service.privilegedStartService()
    service.startService()
    try:
        yield service.tcp_ports[0].getHost().port  # type: ignore[attr-defined]
    finally:
        await service.stopService()


class Actor(LineReceiver):
    """Greets, and answers each line by the script; what it heard is kept."""

    delimiter = b"\n"
    factory: Stage

    def connectionMade(self) -> None:
        self.factory.actor = self
        self.factory.actors.append(self)
        self.gone: Deferred[None] = Deferred()
        self.sendLine(self.factory.greeting)
        if not self.factory.greeting.startswith(b"<welcome>"):
            self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        self.factory.heard.append(line)
        verb = line[1:].split(b">")[0].split(b" ")[0]
        label = b"".join(
            b" " + word for word in line.split(b">")[0].split(b" ") if word.startswith(b"label=")
        )
        said = self.factory.script(verb, line)
        if said is None:
            closings = {
                b"hello": b"hello",
                b"connect": b"connected",
                b"ping": b"pong",
                b"disconnect": b"goodbye",
            }
            said = b"<%s%s>\n" % (closings.get(verb, b"error"), label)
            if verb == b"disconnect":
                said = b"<goodbye code=bye%s>Goodbye.\n" % label
        self.transport.write(said)
        if verb == b"disconnect":
            self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.gone.callback(None)


class Stage(ServerFactory):
    """Where an `Actor` plays, one for each connection; all they heard is kept together.

    :param script: gives what is to be sent for a verb and its line, None for what any daemon would say.
    :ivar actor: of the newest connection.
    :ivar greeting: what is said first; if it is no ``<welcome>`` it is all.
    """

    protocol = Actor
    noisy = False
    actor: Actor

    def __init__(self, script: Callable[[bytes, bytes], bytes | None]) -> None:
        self.script = script
        self.heard: list[bytes] = []
        self.greeting = b"<welcome>hi"
        self.actors: list[Actor] = []

    @property
    def gone(self) -> Deferred[None]:
        """Fires when the newest connection is gone."""
        return self.actor.gone


@asynccontextmanager
async def acting(script: Callable[[bytes, bytes], bytes | None]) -> AsyncIterator[tuple[int, Stage]]:
    """A daemon by a script; its port."""
    from twisted.internet import reactor

    loop: Any = reactor
    stage = Stage(script)
    port = loop.listenTCP(0, stage, interface="127.0.0.1")
    try:
        yield port.getHost().port, stage
    finally:
        await port.stopListening()
        for actor in stage.actors:
            actor.transport.loseConnection()
            await actor.gone
