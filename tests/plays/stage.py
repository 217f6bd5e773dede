"""Plays: transcripts of conversations that are held with the daemon, in memory and for real.

A play is a list of lines, in the order in which things happen::

    a > <connect>alice          actor a sends this line (an actor connects when first named)
    a < <connected>alice        the next line that a receives is this one
    a >> b"\\xff\\n"             a sends these bytes (a Python expression)
    a << b"<msg>\\xe2\\x80\\xa6\\n"  the next line that a receives is this one, exactly
    a closed                    a's connection is closed by the daemon
    a drops                     a's connection is lost

In an expected line ``…`` stands for anything, ``id=1042`` for the id that this message has in this run, ``resume=T1``
for the token that was given there, ``version=V1`` for a file's version, ``X1`` and ``X2`` for ids of transfers, and a
``time=`` for any time.
When the play is over, nobody has received anything that the play does not say.
"""

from __future__ import annotations

import ast
import itertools
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from pychat.desk import Desk, UdpPort
from pychat.errors import TransferError
from pychat.factory import ChatFactory
from pychat.hub import Hub
from pychat.incoming import Bounds, Incoming
from pychat.journal.memory import MemoryJournal
from pychat.line import ChatProtocol
from pychat.pump import Pump
from pychat.shelf import Shelf
from pychat.transfer.terms import Done, Failed, Terms
from pychat.uploading import Uploading
from pychat.vocabulary import Underway

DOCS = Path(__file__).parents[2] / "docs"
PLAYS = Path(__file__).parent
PATIENCE = 20.0
"""Seconds, virtual or real, in which an expected line has to come."""

SHELF = {"report.pdf": b"x" * 20000, "notes/plan b.txt": b"hello world\n", ".hidden": b"no"}


PLAY_BOUNDS = Bounds(each=1 << 30, all=2 << 30)
"""What the daemon of a play lets people upload."""

_TAKES_ID = "(?:ack|read|receipts|edit|retract|react)"
_HAS_ID = "(?:id|reply|edit|retract|react|edited|retracted|more)"


@dataclass(frozen=True)
class Step:
    """One line of a play."""

    where: str
    actor: str
    kind: str
    said: str | bytes


FIVE = """
a < <welcome>…
a > <connect>alice
a < <connected>alice
b < <welcome>…
b > <connect>bob
b < <connected>bob
a < <joined>bob
c < <welcome>…
c > <connect>carol
c < <connected>carol
a < <joined>carol
b < <joined>carol
d < <welcome>…
d > <hello caps=ack,resume,multiline,typing>
d < <hello caps=ack,resume,multiline,typing server=pychat/…>
d > <connect>dave
d < <connected resume=T1>dave
d > <pong>
a < <joined>dave
b < <joined>dave
c < <joined>dave
e < <welcome>…
e > <hello caps=ack>
e < <hello caps=ack server=pychat/…>
e > <connect>erin
e < <connected>erin
a < <joined>erin
b < <joined>erin
c < <joined>erin
d < <joined>erin
"""
"""How a play of five begins: three on plain lines, and two programs."""


def read_plays() -> dict[str, list[Step]]:
    """Every play there is, by a name that says where it stands."""
    plays = {}
    for path in sorted([*DOCS.glob("*.md"), *PLAYS.glob("*.play.md")]):
        for number, block in enumerate(_blocks(path), 1):
            plays[f"{path.stem.removesuffix('.play')}_{number}"] = block
    return plays


def _blocks(path: Path) -> Iterator[list[Step]]:
    steps: list[Step] | None = None
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip() == "```play":
            steps = []
        elif line.strip() == "```play five":
            steps = [_step(f"{path.name}:{number}", each) for each in FIVE.splitlines() if each]
        elif line.strip() == "```" and steps is not None:
            yield steps
            steps = None
        elif steps is not None and line.strip():
            steps.append(_step(f"{path.name}:{number}", line))


def _step(where: str, line: str) -> Step:
    match = re.fullmatch(r" *(\w+) (>>|<<|>|<|closed|drops)(?: (.*))?", line)
    if match is None:
        raise ValueError(f"{where}: not a line of a play: {line!r}")
    actor, kind, said = match.groups(default="")
    if kind in (">>", "<<"):
        expression = re.fullmatch(r"(.*?)(\.encode\(\))?", said)
        assert expression is not None
        value = ast.literal_eval(expression[1])
        return Step(where, actor, kind, value.encode() if expression[2] else value)
    return Step(where, actor, kind, said)


class Stage:
    """Holds a play with a daemon; how, is the children's business."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._actors: dict[str, Actor] = {}

    def connect(self) -> Actor:
        raise NotImplementedError

    def play(self, steps: list[Step]) -> None:
        """Hold the conversation, and then see that nobody heard more than it says."""
        unsaid = b""
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            if step.actor not in self._actors:
                self._actors[step.actor] = self.connect()
            actor = self._actors[step.actor]
            if step.kind != ">":
                self._take(step, actor)
                continue
            unsaid += self._line(step)
            if following is None or (following.kind, following.actor) != (">", step.actor):
                # What stands together is said together: nothing comes in between.
                actor.send(unsaid)
                unsaid = b""
        for name, actor in self._actors.items():
            if not actor.closed:
                actor.send(b"<ping>the end\n")
                self._expect(Step("the end", name, "<", "<pong>the end"), actor)

    def _line(self, step: Step) -> bytes:
        """What somebody says, with the numbers and tokens that this daemon gave."""
        assert isinstance(step.said, str)
        said = re.sub(
            rf"((?:<{_TAKES_ID}[^>]*>|\b(?:after|before|open|reply|more)=))(\d+)|(\bresume=)(\w+)"
            r"|(\bversion=|>)([VX]\d)\b",
            lambda m: (m[1] or m[3] or m[5]) + self._ids.get(m[2] or m[4] or m[6], m[2] or m[4] or m[6]),
            step.said,
        )
        return said.encode() + b"\n"

    def _take(self, step: Step, actor: Actor) -> None:
        if step.kind == "drops":
            actor.drop()
            actor.closed = True
        elif step.kind == ">>":
            assert isinstance(step.said, bytes)
            actor.send(step.said)
        elif step.kind == "closed":
            line = actor.receive()
            assert line is None, f"{step.where}: {step.actor} is not closed but got {line!r}"
            actor.closed = True
        else:
            self._expect(step, actor)

    def _expect(self, step: Step, actor: Actor) -> None:
        line = actor.receive()
        assert line is not None, f"{step.where}: {step.actor} is closed, expected {step.said!r}"
        expected = step.said.decode().rstrip("\n") if isinstance(step.said, bytes) else step.said
        pattern = re.escape(expected).replace("…", ".*?")
        # re.escape leaves letters, digits, "=" and ":" alone and puts a backslash before "-" and ".".
        pattern = re.sub(
            r"(?:(?<=time=)|(?<=seen=))[^ >]+",
            r"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z",
            pattern,
        )
        seen: set[str] = set()

        def number(match: re.Match[str]) -> str:
            group = f"(?P=id{match[2]})" if match[2] in seen else f"(?P<id{match[2]}>\\d+)"
            seen.add(match[2])
            return match[1] + group

        pattern = re.sub(rf"(\b{_HAS_ID}=)(\d+)", number, pattern)
        for name in ("V1", "X1", "X2"):
            pattern = re.sub(rf"\b{name}\b", rf"(?P<id{name}>[0-9a-f]+)", pattern, count=1)
            pattern = re.sub(rf"(?<!id)\b{name}\b", rf"(?P=id{name})", pattern)
        pattern = re.sub(r"\bresume=(\w+)", lambda m: f"resume=(?P<id{m[1]}>[^ >]+)", pattern)
        match = re.fullmatch(pattern, line.decode(), re.DOTALL)
        assert match, f"{step.where}: {step.actor} got {line.decode()!r}, expected {expected!r}"
        for key, value in match.groupdict().items():
            known = self._ids.setdefault(key[2:], value)
            assert known == value, f"{step.where}: {step.actor} got id {value}, expected {known}"


class Actor:
    """One connection as a play sees it."""

    closed = False

    def send(self, data: bytes) -> None:
        raise NotImplementedError

    def receive(self) -> bytes | None:
        """The next line without its LF, or ``None`` if the connection is closed."""
        raise NotImplementedError

    def drop(self) -> None:
        """The connection is lost."""
        raise NotImplementedError


def make_shelf(folder: Path) -> None:
    """The files that plays speak of."""
    for name, content in SHELF.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# -- in memory


class FakeTransport:
    """A TCP transport that takes everything at the next turn of a clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.out = b""
        self.closed = False
        self.reading = True
        self.stuck = False
        """The peer reads nothing: what is written stays in the buffer."""
        self.protocol: ChatProtocol | None = None

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 50000)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 50001)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.out += data
        if not self.stuck:
            self._clock.callLater(0, self._written)

    def _written(self) -> None:
        if self.producer is not None:
            self.producer.resumeProducing()

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:
        if not self.closed:
            self.closed = True
            assert self.protocol is not None
            self.protocol.connectionLost(None)

    abortConnection = loseConnection


class Offers:
    """A port whose offers nobody claims: a play looks at the line connection only."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._all: dict[bytes, tuple[Underway, object, object, object]] = {}
        self._paths: set[object] = set()
        self.streams: list[Streamed] = []

    def _terms(self, size: int = 0) -> Terms:
        return Terms(next(self._numbers).to_bytes(8, "big"), bytes(16), bytes(32), size)

    def _add(self, name: str, size: int, owner: object, finished: object, up: bool, file: object) -> Offered:
        terms = self._terms(size)
        self._all[terms.transfer] = (
            Underway(terms.transfer, name, size, 0, "waiting", up),
            owner,
            finished,
            file,
        )
        return Offered(terms, None)

    def offer(
        self,
        file: object,
        owner: object,
        finished: object = None,
        *,
        identity: object = None,
        have: object = (),
    ) -> Offered:
        file.close()
        return self._add(file.name, file.size, owner, finished, False, file)

    def take(
        self,
        part: object,
        name: str,
        size: int,
        owner: object,
        finished: object = None,
        *,
        identity: object = None,
        have: object = (),
    ) -> Offered:
        return self._add(name, size, owner, finished, True, part)

    def greet(self, owner: object, identity: object = None, host: str = "") -> Terms:
        return self._terms()

    def attach(self, transfer: bytes, token: bytes) -> Streamed:
        if transfer not in self._all or token != bytes(16):
            raise TransferError("no-such-transfer", "There is no such transfer.")
        self.streams.append(Streamed())
        return self.streams[-1]

    def transfers(self, owner: object) -> list[Running]:
        return [
            Running(each.transfer, each.name, each.size, each.done, each.state, "up" if each.up else "down")
            for each, whose, _, _ in self._all.values()
            if whose is owner
        ]

    def pause(self, transfer: bytes, on: bool) -> bool:
        each, *rest = self._all[transfer]
        self._all[transfer] = (replace(each, state="paused" if on else "waiting"), *rest)
        return True

    def cancel(self, transfer: bytes, code: str, sentence: str) -> bool:
        self.end(transfer, Failed(code, sentence))
        return True

    def withdraw(self, owner: object) -> None:
        for transfer, (_, whose, _, _) in list(self._all.items()):
            if whose is owner:
                self.end(transfer, Failed("withdrawn", "The offer was taken back."))

    def end(self, transfer: bytes, outcome: object) -> None:
        """It is over."""
        _, _, finished, _ = self._all.pop(transfer)
        if finished is not None:
            finished(outcome)

    def arrive(self, transfer: bytes, data: bytes) -> None:
        """An upload is verified."""
        part = self._all[transfer][3]
        if data:
            part.write([(0, [data])])
        part.finish(blake3(blake3(data).digest() if data else b"").digest())
        self.end(transfer, Done())


class Offered(NamedTuple):
    """As a port offers."""

    terms: Terms
    path: bytes | None


class Running(NamedTuple):
    """As a port tells of a transfer."""

    transfer: bytes
    name: str
    size: int
    done: int
    state: str
    direction: str


class Streamed:
    """A transfer that goes over a connection."""

    def __init__(self) -> None:
        self.data = b""
        self.transport: object = None
        self.lost = False

    def connected(self, transport: object) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self) -> None:
        self.lost = True


class MemoryStage(Stage):
    """The daemon's parts on a clock of our own; nothing is real, and no time passes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        make_shelf(folder)
        self._folder = folder
        self._tokens = itertools.count()
        self.journal = MemoryJournal()
        self.start()

    def start(self) -> None:
        """Start the daemon; again, if it ran and died: its journal is what is left of it."""
        self.clock = Clock()
        hub = Hub(durable=True, make_token=lambda: b"token-%d" % next(self._tokens))
        self.journal.living = [standing for standing in self.journal._living.values() if standing.resumes]
        self.journal.last_identity += 1000
        self.pump = Pump(self.clock, hub, self.journal, lambda: 1.8e9)

        def at_once(function: object, *args: object) -> Deferred[object]:
            return maybeDeferred(function, *args)

        shelf = Shelf(self._folder)
        self.incoming = Incoming(shelf, PLAY_BOUNDS)
        self.uploading = Uploading(self.incoming, at_once, self.pump.tell_file)
        self.offers = Offers()
        ports = [UdpPort(self.offers, "127.0.0.1", 50000)]
        desk = Desk(self.clock, shelf, ports, at_once, self.uploading)
        self.factory = ChatFactory(self.pump, desk)

    def connect(self) -> Actor:
        transport = FakeTransport(self.clock)
        protocol = self.factory.buildProtocol(None)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return _MemoryActor(self.clock, transport)


class _MemoryActor(Actor):
    def __init__(self, clock: Clock, transport: FakeTransport) -> None:
        self._clock = clock
        self._transport = transport

    def send(self, data: bytes) -> None:
        self._transport.protocol.dataReceived(data)

    def drop(self) -> None:
        self._transport.loseConnection()

    def receive(self) -> bytes | None:
        end = self._clock.seconds() + PATIENCE
        while b"\n" not in self._transport.out:
            if self._transport.closed:
                return None
            assert self._clock.seconds() < end, f"nothing more came after {self._transport.out!r}"
            self._clock.advance(0.01)
        line, _, self._transport.out = self._transport.out.partition(b"\n")
        return line


# -- for real


class DaemonStage(Stage):
    """A daemon in a process of its own, and sockets."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        shelf = folder / "files"
        make_shelf(shelf)
        self.port = free_port()
        self._daemon = subprocess.Popen(
            [
                sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "pychat",
                "--listen", f"tcp:{self.port}:interface=127.0.0.1", "--files", str(shelf), "--state", str(folder / "s"),
                "--journal", "sqlite", "--quota", str(PLAY_BOUNDS.each), "--shelf-limit", str(PLAY_BOUNDS.all),
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self._sockets: list[socket.socket] = []

    def connect(self) -> Actor:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            except ConnectionRefusedError:
                assert self._daemon.poll() is None, "the daemon did not start"
                assert time.monotonic() < end, "the daemon does not listen"
                continue
            self._sockets.append(connection)
            return _SocketActor(connection, self.port)

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()
        self._daemon.terminate()
        assert self._daemon.wait(PATIENCE) == 0


class _SocketActor(Actor):
    def __init__(self, connection: socket.socket, port: int) -> None:
        self._connection = connection
        self._port = port
        self._rest = b""

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def drop(self) -> None:
        self._connection.close()

    def receive(self) -> bytes | None:
        while b"\n" not in self._rest:
            data = self._connection.recv(65536)
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.replace(b"127.0.0.1:%d" % self._port, b"127.0.0.1:50000")


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
