"""A daemon and a network in memory: every byte moves when a test says so, and a connection breaks between any two.

The daemon is a model of the document's sections on talking and coming back, in as few lines as it takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from pychat.client.answers import LinkError
from pychat.client.connection import Client
from pychat.client.files import FileStore
from pychat.client.member import Member
from pychat.client.observer import Linked
from pychat.client.store import Post, Store
from pychat.errors import PychatError
from pychat.grammar import Line, parse, unquote

TIME = b"time=2026-11-22T12:00:00.000Z"


@dataclass(eq=False)
class Person:
    """An identity.

    :ivar sure: it has shown that it got a token.
    """

    name: str
    since: int
    tokens: list[str] = field(default_factory=list)
    keys: dict[bytes, int] = field(default_factory=dict)
    wire: Wire | None = None
    sure: bool = False


@dataclass
class Said:
    """A message in the journal; its id is its place, from 1 on."""

    sender: Person | None
    name: str
    to: str
    text: bytes
    once: bytes = b""
    about: bytes = b""
    """What it is about, as an attribute."""


class Transport(StringTransport):
    """Tells its protocol when it was closed, a turn later, as the real one does."""

    wire: Wire

    def abortConnection(self) -> None:
        self.wire.close()

    def loseConnection(self) -> None:
        self.wire.close()


class Wire:
    """One connection.

    :ivar heard: every line that the daemon was sent, with its line end.
    :ivar coming: bytes on their way to the client.
    """

    def __init__(self, daemon: Daemon, clock: Clock, client: Client) -> None:
        self.daemon = daemon
        self.client = client
        self.clock = clock
        self.transport = Transport()
        self.transport.wire = self
        self.heard: list[bytes] = []
        self.coming = b""
        self.person: Person | None = None
        self.caps: set[bytes] = set()
        self.confirms: str | None = None
        self.up = True
        client.makeConnection(self.transport)

    def say(self, line: bytes) -> None:
        """Put a line on its way to the client."""
        self.coming += line + b"\n"

    def in_(self) -> bool:
        """Let what the client has written reach the daemon; whether there was something."""
        data: bytes = self.transport.value()
        self.transport.clear()
        for line in data.splitlines(keepends=True) if self.up else ():
            self.heard.append(line)
            self.daemon.line(self, parse(line[:-1]))
        return bool(data)

    def out(self, count: int | None = None) -> bool:
        """Let bytes reach the client."""
        data, self.coming = self.coming[:count], b"" if count is None else self.coming[count:]
        if data and self.up:
            self.client.dataReceived(data)
        return bool(data)

    def cut(self) -> None:
        """The connection breaks: what is on its way is lost."""
        if self.up:
            self.vanish()
            self.client.connectionLost(Failure(ConnectionLost()))

    def vanish(self) -> None:
        """The client's process is no more: it does not hear of it."""
        self.up = False
        if self.person is not None and self.person.wire is self:
            self.person.wire = None

    def close(self) -> None:
        """Our side ends it; it hears of that a turn later."""
        self.clock.callLater(0, self.cut)

    @property
    def verbs(self) -> list[str]:
        """The verbs of what the daemon was sent."""
        return [parse(line[:-1]).verb.decode() for line in self.heard]


class Daemon:
    """The daemon.

    :ivar refusing: an error code with which posts are answered.
    :ivar taking: an error code with which every ``<connect>`` is answered.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.people: list[Person] = []
        self.journal: list[Said] = []
        self.wires: list[Wire] = []
        self.grants = {b"ack", b"resume", b"multiline"}
        self.reachable = True
        self.refusing = self.taking = b""
        self.journals_tokens = True
        self._tokens = 0

    # -- the network

    def connect(
        self, reactor: Any, host: str, port: int, observer: Any, *, shown: int, taken: Any
    ) -> Deferred[Client]:
        """In the place of `pychat.client.connection.connect`."""
        if not self.reachable:
            return fail(LinkError("refused", "Nobody listens there."))
        client = Client(reactor, observer, shown=shown, taken=taken)
        wire = Wire(self, self.clock, client)
        self.wires.append(wire)
        greeted = client.greeted()
        wire.say(b"<welcome>hi")
        return greeted

    @property
    def wire(self) -> Wire:
        """The newest connection."""
        return self.wires[-1]

    def run(self) -> None:
        """Let everything that is on its way arrive, until nothing is."""
        while any([wire.up and (wire.in_() | wire.out()) for wire in self.wires]):  # noqa: C419 every one has a turn
            pass

    def kill(self, store: FileStore) -> FileStore:
        """The only client is killed: nothing is left but its file, which a new one opens, at a time of its own."""
        for wire in self.wires:
            wire.vanish()
        assert store._database is not None
        files = [store.path, store.path.with_name(store.path.name + "-wal")]
        left = [file.read_bytes() for file in files]
        store._database.close()
        store._database = None
        # To close it tidies up, which who is killed does not: its log is left.
        for file, content in zip(files, left, strict=True):
            file.write_bytes(content)
        self.clock = Clock()
        return FileStore(store.path)

    def stop(self) -> None:
        """It is killed."""
        for wire in self.wires:
            wire.cut()

    # -- the chat

    def person(self, name: str) -> Person | None:
        """Who holds a name."""
        return next((person for person in self.people if person.name == name), None)

    def expire(self, name: str) -> None:
        """Somebody was away for too long."""
        self.people = [person for person in self.people if person.name != name]

    def say(self, name: str, to: str, text: bytes) -> int:
        """Somebody else says something."""
        return self._append(Said(None, name, to, text))

    def _append(self, said: Said) -> int:
        self.journal.append(said)
        id = len(self.journal)
        for person in self.people:
            if person.wire is not None and self._concerns(person, id) and said.sender is not person:
                person.wire.say(self._msg(id))
        return id

    def _concerns(self, person: Person, id: int) -> bool:
        said = self.journal[id - 1]
        return id > person.since and (said.sender is person or said.to in ("all", "#tea", person.name))

    def _msg(self, id: int, more: bytes = b"") -> bytes:
        said = self.journal[id - 1]
        return b"<msg id=%d from=%s to=%s%s %s%s>%s" % (
            id, said.name.encode(), said.to.encode(), said.about, TIME, more, said.text,
        )  # fmt: skip

    def line(self, wire: Wire, line: Line) -> None:
        """A line of a client."""
        label = b" label=" + line.attributes[b"label"] if b"label" in line.attributes else b""
        if wire.confirms is not None and wire.person is not None:
            wire.person.tokens = [wire.confirms]
            wire.person.sure = True
            wire.confirms = None
        getattr(self, "_" + line.verb.decode(), self._other)(wire, line, label)

    def _other(self, wire: Wire, line: Line, label: bytes) -> None:
        wire.say(b"<error code=unknown-command%s>no" % label)

    def _ack(self, wire: Wire, line: Line, label: bytes) -> None: ...

    _pong = _read = _ack

    def _ping(self, wire: Wire, line: Line, label: bytes) -> None:
        wire.say(b"<pong%s>%s" % (label, line.text))

    def _hello(self, wire: Wire, line: Line, label: bytes) -> None:
        wire.caps = set(line.attributes[b"caps"].split(b",")) & self.grants
        wire.say(b"<hello%s caps=%s>" % (label, b",".join(sorted(wire.caps))))

    def _connect(self, wire: Wire, line: Line, label: bytes) -> None:
        name, token = line.text.decode(), line.attributes.get(b"resume", b"").decode()
        if self.taking:
            wire.say(b"<error code=%s%s>no" % (self.taking, label))
            return
        person = self.person(name)
        if token:
            if person is None or token not in person.tokens:
                wire.say(b"<error code=bad-token%s>no" % label)
                return
            after = int(line.attributes.get(b"after", b"0"))
            if after > len(self.journal):
                wire.say(b"<error code=not-sent%s>no" % label)
                return
            if person.wire is not None:
                person.wire.say(b"<goodbye code=replaced>You came back elsewhere.")
                person.wire.out()
                person.wire.cut()
        elif person is not None and (person.wire is not None or person.sure):
            wire.say(b"<error code=name-taken%s>no" % label)
            return
        else:
            self.expire(name)
            person = Person(name, len(self.journal))
            self.people.append(person)
        person.wire, wire.person = wire, person
        person.sure = bool(token)
        wire.say(b"<connected%s%s>%s" % (label, self._token(wire, person), name.encode()))
        if token:
            self._replay(wire, person, after)

    def _token(self, wire: Wire, person: Person) -> bytes:
        if b"resume" not in wire.caps or not self.journals_tokens:
            return b""
        self._tokens += 1
        person.tokens.append(f"t{self._tokens}")
        wire.confirms = person.tokens[-1]
        return b" resume=" + wire.confirms.encode()

    def _replay(self, wire: Wire, person: Person, after: int) -> None:
        count = 0
        for id in range(after + 1, len(self.journal) + 1):
            said = self.journal[id - 1]
            if not self._concerns(person, id):
                continue
            if said.sender is person:
                once = b" once=" + said.once if said.once else b""
                wire.say(b"<accepted id=%d%s replay>%s" % (id, once, said.to.encode()))
            else:
                wire.say(self._msg(id, b" replay"))
                count += 1
        wire.say(b"<replayed count=%d>" % count)

    def _set_msg(self, wire: Wire, line: Line, label: bytes) -> None:
        to, _, text = line.text.partition(b" ")
        about = b" reply=" + line.attributes[b"reply"] if b"reply" in line.attributes else b""
        self._post(wire, to.decode(), text, line, label, about)

    def _set_msg_all(self, wire: Wire, line: Line, label: bytes) -> None:
        self._post(wire, "all", line.text, line, label)

    def _edit(self, wire: Wire, line: Line, label: bytes) -> None:
        id, _, text = line.text.partition(b" ")
        self._post(wire, self.journal[int(id) - 1].to, text, line, label, b" %s=%s" % (line.verb, id))

    _retract = _react = _edit

    def _post(self, wire: Wire, to: str, text: bytes, line: Line, label: bytes, about: bytes = b"") -> None:
        person = wire.person
        assert person is not None
        once = line.attributes.get(b"once", b"")
        id = person.keys.get(once)
        if id is None and self.refusing:
            wire.say(b"<error code=%s%s>no" % (self.refusing, label))
            return
        if id is None:
            text = unquote(text) if line.attributes.get(b"enc") == b"pct" else text
            id = self._append(Said(person, person.name, to, text, once, about))
            if once:
                person.keys[once] = id
        wire.say(b"<accepted%s id=%d>%s" % (label, id, to.encode()))

    def _disconnect(self, wire: Wire, line: Line, label: bytes) -> None:
        wire.say(b"<goodbye code=bye%s>Goodbye." % label)
        wire.out()
        if wire.person is not None:
            self.people.remove(wire.person)
        wire.cut()

    def texts(self, name: str) -> list[bytes]:
        """What somebody has said, as the journal has it."""
        return [said.text for said in self.journal if said.name == name]


class Witness:
    """An observer that writes everything down.

    :ivar log: the names of the calls, with what tells them apart.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.delays: list[float] = []
        self.lines: list[bytes] = []

    def _note(self, what: str, *more: object) -> None:
        self.log.append(" ".join([what, *map(str, more)]))

    def linked(self, link: Linked) -> None:
        how = ["resumed" if link.resumed else "anew", *["rewound"] * link.rewound]
        self._note("linked", link.name, *how, link.count)

    def broken(self, why: PychatError, delay: float) -> None:
        self.delays.append(delay)
        self._note("broken", why.code)

    def ended(self, why: PychatError) -> None:
        self._note("ended", why.code)

    def message(self, line: Line, raw: bytes) -> None:
        self.lines.append(raw)
        self._note("message", line.attributes[b"id"].decode(), line.text.decode())

    def accepted(self, post: Post, id: str, line: Line) -> None:
        self._note("accepted", post.text.decode(), id)

    def refused(self, post: Post, error: PychatError) -> None:
        self._note("refused", post.text.decode(), error.code)

    def postponed(self, post: Post, error: PychatError) -> None:
        self._note("postponed", post.text.decode(), error.code)

    def doubtful(self, post: Post) -> None:
        self._note("doubtful", post.text.decode())

    def verdict(self, line: Line, raw: bytes) -> None:
        self._note(line.verb.decode(), line.attributes[b"id"].decode())

    def notice(self, line: Line, raw: bytes) -> None:
        self._note("notice", line.verb.decode())

    def take(self, *kinds: str) -> list[str]:
        """What was noted since, of these kinds or all but the notices."""
        log, self.log = self.log, []
        return [
            entry
            for entry in log
            if (entry.split(" ")[0] in kinds if kinds else not entry.startswith("notice"))
        ]


def member(
    daemon: Daemon, store: Store, name: str = "alice", random: float = 1.0, **settings: Any
) -> tuple[Member, Witness]:
    """Somebody in the daemon's chat, not yet started; ``random`` is what her back-off draws each time."""
    witness = Witness()
    made = Member(
        daemon.clock, "chat", 50000, name, store, witness, random=lambda: random, connect=daemon.connect, **settings
    )  # fmt: skip
    return made, witness
