"""People who gather in rooms: clients that follow the document, and note what they were shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from pychat.grammar import Line, parse
from pychat.vocabulary import Kind
from tests.plays.stage import FakeTransport
from tests.roomsmodel import TAKEN_BACK, Course, Log, Seen

COMMANDS = {Kind.EDIT: b"edit", Kind.RETRACT: b"retract", Kind.REACT: b"react"}
DROPPED = (b"no-such-user", b"not-in-room", b"no-such-room", b"no-such-message")
CHANGED = {b"ignore": ("ignoring", True), b"unignore": ("ignoring", False), b"mute": ("muting", True),
           b"unmute": ("muting", False)}  # fmt: skip


@dataclass(eq=False)
class Said:
    """A post as its sender's client knows it."""

    key: bytes
    line: bytes
    """The whole command, but for its key."""
    kind: Kind
    place: str
    """To whom; empty if the message says so that it is about."""
    ref: int
    text: bytes
    id: int = 0
    at: int = 0
    """The newest message when it was said."""
    verdicts: set[bytes] = field(default_factory=set)


@dataclass
class Reading:
    """How far somebody has read, at least and at most."""

    all: tuple[int, int] = (0, 0)
    rooms: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    def copy(self) -> Reading:
        return Reading(self.all, dict(self.rooms))

    def blur(self, other: Reading) -> None:
        """It may be the one or the other."""
        self.all = hull(self.all, other.all)
        for key in {*self.rooms, *other.rooms}:
            self.rooms[key] = hull(self.rooms.get(key, (0, 0)), other.rooms.get(key, (0, 0)))


def hull(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return min(one[0], other[0]), max(one[1], other[1])


def highest(*ranges: tuple[int, int]) -> tuple[int, int]:
    return max(each[0] for each in ranges), max(each[1] for each in ranges)


class Life:
    """One identity from the outside: from its first ``<connected>`` until it ends."""

    def __init__(self, name: str, identity: int, born: int, known: int) -> None:
        self.name = name
        self.identity = identity
        self.born = born
        """The newest message when its ``<connect>`` was said."""
        self.known = known
        """The newest message when that was answered."""
        self.token = b""
        self.after = 0
        self.shown: list[int] = []
        self.posts: list[Said] = []
        self.retracting: set[int] = set()
        """What she wanted to take back, whatever came of it."""
        self.over = False
        self.until = (1 << 62, 1 << 62)
        """The newest message when it ended, at least and at most."""
        self.ignoring: defaultdict[str, Course] = defaultdict(Course)
        self.muting: defaultdict[str, Course] = defaultdict(Course)
        self.reading = Reading((born, known))
        self.newest: Callable[[], int] = lambda: 0
        """The newest message now."""
        self.types_on_a_line = False
        """She does not acknowledge: who types has seen what came before."""
        self.typed = (0, 0)
        """On a plain line: what was the newest message when she said something last, at least and at most."""
        self.sure = self.reading.copy()
        """How far it was read when last all was settled."""

    def end(self, least: int, most: int) -> None:
        """It ended when the newest message was between these."""
        if not self.over:
            self.over, self.until = True, (least, most)

    @property
    def seen(self) -> tuple[int, int]:
        """How far everything is read."""
        least, most = highest(self.reading.all, self.typed)
        if self.types_on_a_line and any(said.kind == Kind.SAID and not said.id for said in self.posts):
            most = self.newest()  # what is under way may count already
        return least, most

    def stay(self, log: Log, room: str) -> int:
        """When the stay that lasts began."""
        return log.stays(self.identity, room)[-1][0] or 0

    def read_upto(self, log: Log, room: str) -> tuple[int, int]:
        """How far a room is read, at least and at most."""
        joined = self.stay(log, room)
        own = self.reading.rooms.get((room, joined), (0, 0))
        muted = highest(own, (joined, joined))
        heard = highest(muted, self.seen)
        state = self.muting[room].now(joined)
        if state:
            return muted
        # What was said while it was muted is read when she has read something behind that.
        return hull(muted, heard) if self.muting[room].ever(joined) else heard


class Client:
    """A client for one person over all her connections and identities."""

    def __init__(self, world: Any, name: str, hello: bytes) -> None:
        """:param world: knows the ``log``, and with ``newest`` the newest message that the daemon knows of."""
        self.world = world
        self.name = name
        self.hello = hello
        self.keeps = b"resume" in hello
        self.multi = b"multiline" in hello
        self.life: Life | None = None
        self.lives: list[Life] = []
        self.transport: FakeTransport | None = None
        self.up = self.live = False
        """It was answered ``<connected>``; it has all that it missed."""
        self.numbers = 0
        self.parts: list[bytes] = []
        self.seen: dict[int, float] = {}
        """When each message came on this connection."""
        self.looked_at = 0.0
        self.asked_at = self.came_at = self.identity = 0
        self.pending: dict[bytes, tuple[bytes, str]] = {}
        """Commands without their answer, by labels."""
        self.answers: dict[bytes, tuple[list[Line], Callable[[list[Line]], None]]] = {}
        """What was asked, and who checks the answer."""

    @property
    def log(self) -> Log:
        return self.world.log

    @property
    def open(self) -> bool:
        """It has a connection that it believes in, and knows all."""
        return self.live and self.transport is not None and not self.transport.closed

    def say(self, line: bytes) -> None:
        if self.transport is not None:
            self.transport.protocol.dataReceived(line + b"\n")

    def hear(self) -> None:
        """Take what came, line by line."""
        while self.transport is not None and b"\n" in self.transport.out:
            raw, _, self.transport.out = self.transport.out.partition(b"\n")
            self.take(parse(raw))
        if self.transport is not None:
            self.looked_at = self.transport._clock.seconds()

    # -- what comes

    def take(self, line: Line) -> None:
        values, label = line.attributes, line.attributes.get(b"label", b"")
        if line.verb == b"msg":
            text = self.whole(line)
            if text is None:
                return
            line = Line(line.verb, {k: v for k, v in values.items() if k not in (b"part", b"enc")}, text)
        if label in self.answers:
            lines, then = self.answers[label]
            lines.append(line)
            if line.verb in (
                b"history",
                b"search",
                b"unread",
                b"users",
                b"rooms",
                b"topic",
                b"ignores",
                b"error",
            ):
                del self.answers[label]
                then(lines)
        elif line.verb == b"connected":
            self.connected(values)
        elif self.life is None:
            assert line.verb != b"error" or values[b"code"] == b"name-taken", line
            if line.verb == b"error" and self.transport is not None:
                transport = self.transport
                self.broken()
                transport.loseConnection()
        elif line.verb == b"error":
            self.failed(values[b"code"], label)
        elif line.verb == b"msg" and (b"replay" not in values or self.keeps):
            self.shown(line)
        elif line.verb == b"accepted":
            self.accepted(line, self.life)
        elif line.verb == b"replayed":
            self.caught_up()
        elif line.verb in (b"delivered", b"undelivered", b"read", b"sent"):
            self.verdict(line, self.life)
        elif line.verb == b"receipt":
            assert any(said.id == int(values[b"id"]) for said in self.life.posts)
            self.world.receipts.append((self.life, line))
        elif label in self.pending:
            self.done(label)
        elif b"in" in values and line.verb in (b"joined", b"left", b"topic"):
            room = values[b"in"].decode()
            assert self.log.stays(self.life.identity, room), f"{self.name} was told of {room}: {line}"
        elif line.verb == b"history":
            assert not self.keeps, "only on a plain line it comes unasked"

    def whole(self, line: Line) -> bytes | None:
        """The text of a message; ``None`` if there is more to come of it."""
        values = line.attributes
        if b"enc" in values:
            assert self.multi
            return unquote_to_bytes(line.text)
        if b"part" not in values:
            return line.text
        assert not self.multi
        number, of = map(int, values[b"part"].split(b"/"))
        self.parts = [*self.parts[: number - 1], line.text]
        assert len(self.parts) == number
        return b"\n".join(self.parts) if number == of else None

    def connected(self, values: Any) -> None:
        if self.life is None:
            if self.keeps and b"resume" not in values:
                self.say(b"<disconnect>")  # this is not what we came for
                return
            self.life = Life(self.wish, self.identity, self.asked_at, self.world.newest)
            self.life.newest = lambda: self.world.newest
            self.life.types_on_a_line = not self.keeps
            self.lives.append(self.life)
            self.live = True
        self.life.token = values.get(b"resume", self.life.token)
        self.up = True
        self.say(b"<ping>I have my token")
        if self.live:
            self.caught_up()

    def caught_up(self) -> None:
        """Say again what may not have come through."""
        self.live = True
        life = self.life
        assert life is not None
        for said in life.posts:
            if not said.id:
                self.send(said)
        self.repair()

    def repair(self) -> bool:
        """Say again which settings are wanted where nobody can tell; return whether there were any."""
        life = self.life
        assert life is not None
        names = [name for name, course in life.ignoring.items() if course.now() is None]
        for name in names:
            self.change(b"ignore" if life.ignoring[name].wanted else b"unignore", name)
        rooms = [room for room in life.muting if self.log.is_in(life.identity, room)]
        rooms = [room for room in rooms if life.muting[room].now(life.stay(self.log, room)) is None]
        for room in rooms:
            self.change(b"mute" if life.muting[room].wanted else b"unmute", room)
        return bool(names or rooms)

    def failed(self, code: bytes, label: bytes) -> None:
        life = self.life
        assert life is not None
        said = next((said for said in life.posts if said.key == label), None)
        if code == b"bad-token":
            assert life.over, "only who ended has lost her token"
            self.life = None
            self.connect()
        elif label in self.pending:
            verb, what = self.pending.pop(label)
            assert code in (*DROPPED, b"busy", b"not-connected", b"journal-unavailable"), (code, label)
            if code == b"journal-unavailable" and verb in CHANGED:
                self.change(verb, what)
        elif code == b"busy":
            self.connect()
        elif code == b"journal-unavailable" and said is not None and self.keeps:
            self.send(said)
        elif code == b"not-connected" and self.keeps:
            pass  # it is said again on the next connection
        else:
            assert said is not None, (code, label)
            refusals = (b"journal-unavailable", b"not-connected", b"not-yours", b"blocked")
            assert code in (*DROPPED, *refusals), (code, said)
            assert code != b"blocked" or self.may_be_ignored(said), said
            if said.kind == Kind.SAID and not self.keeps:
                life.typed = life.typed[0], self.world.newest  # it was on its way, or was not
            assert not said.id, f"{said} was accepted, and is refused when it is said again: {code!r}"
            assert code != b"not-yours" or self.log.entries[said.ref].sender != life.identity
            if code == b"no-such-message" and not said.place:
                self.check_refusal(said, life)
            life.posts.remove(said)

    def may_be_ignored(self, said: Said) -> bool:
        """Whether who has a message may ignore its author, who wants to change it."""
        reader = self.log.entries[said.ref].to
        lives = [life for client in self.world.clients for life in client.lives if life.identity == reader]
        assert self.life is not None
        return said.kind == Kind.EDIT and any(
            life.ignoring[self.life.name.lower()].now() is not False for life in lives
        )

    def check_refusal(self, said: Said, life: Life) -> None:
        """What everybody sees can be spoken of, unless it was taken back."""
        about = self.log.entries[said.ref]
        gone = self.log.retracted(said.ref) or said.ref in life.retracting
        assert gone or about.to is not None, said

    def shown(self, line: Line) -> None:
        life, values = self.life, line.attributes
        assert life is not None
        assert self.transport is not None
        id = int(values[b"id"])
        now = self.transport._clock.seconds()
        again = now - min(self.seen.get(id, -9), self.looked_at)
        assert again >= 5, "it comes again only when nobody acknowledged it for long"
        assert self.keeps or id not in self.seen
        self.seen[id] = now
        assert seen(line) in self.expected(id, b"replay" in values), (self.name, line)
        assert id > life.after or id in life.shown, f"{life.name} was shown {id} out of order"
        entry = self.log.entries[id]
        if (entry.to or 0) <= 0:
            ignored = life.ignoring[entry.sender_name.lower()]
            assert not (ignored.now() and id > ignored.turned), f"{life.name} ignores who said {id}"
        if (entry.to or 0) < 0:
            room = (entry.to_name or "").lower()
            joined = self.log.stay(life.identity, room, id)
            assert joined is not None, f"{life.name} was shown {id} of {room}"
            muted = life.muting[room]
            assert not (muted.now(joined) and id > muted.turned), f"{life.name} muted {room} before {id}"
        if id > life.after:
            life.shown.append(id)
            life.after = id

    def expected(self, id: int, missed: bool) -> list[Seen]:
        """A message as this connection may take it."""
        said = self.log.as_said(id)
        assert said.sender != "", id
        if not self.hello and (self.log.entries[id].to or 0) > 0:
            return [said._replace(to="")]
        return self.log.as_missed(id, self.came_at) if missed else [said]

    def accepted(self, line: Line, life: Life) -> None:
        values, id = line.attributes, int(line.attributes[b"id"])
        key = values.get(b"once") or values.get(b"label", b"")
        life.after = max(life.after, id)
        entry = self.log.entries[id]
        if not key:
            assert entry.kind == Kind.TOPIC, "everything else has a key"
            return
        said = next(said for said in life.posts if said.key == key)
        assert said.id in (0, id), "one key, one id"
        said.id = id
        if said.kind == Kind.SAID and not self.keeps:
            life.typed = highest(life.typed, (said.at, id - 1))
        assert (entry.sender, entry.kind, entry.ref, entry.text) == (
            life.identity,
            said.kind,
            said.ref,
            said.text,
        )
        assert (entry.to_name or "all").encode() == line.text
        if said.place:
            assert (entry.to_name or "all").lower() == said.place

    def verdict(self, line: Line, life: Life) -> None:
        id = int(line.attributes[b"id"])
        said = next((said for said in life.posts if said.id == id), None)
        assert said is not None, f"a verdict on {id}, which was not accepted"
        blocked = line.attributes.get(b"reason") == b"blocked"
        assert blocked == self.log.entries[id].blocked, line
        said.verdicts.add(line.verb)

    def done(self, label: bytes) -> None:
        """A command was carried out."""
        verb, what = self.pending.pop(label)
        if verb in CHANGED:
            kind, state = CHANGED[verb]
            getattr(self.life, kind)[what].turn(self.world.newest, state)

    # -- what is said

    def connect(self) -> None:
        """Come, or come back."""
        self.up = self.live = False
        self.came_at = self.world.newest
        if self.life is None:
            self.asked_at = self.world.newest
            self.wish = self.name.capitalize() if len(self.lives) % 2 else self.name
            self.say(b"<connect>" + self.wish.encode())
        else:
            waits = [
                said.id
                for said in self.life.posts
                if said.id and not said.verdicts and said.id > self.life.born
            ]
            where = self.life.token, self.life.after, min(waits, default=self.life.after + 1)
            self.say(b"<connect resume=%s after=%d open=%d>%s" % (*where, self.life.name.encode()))
        if self.transport is not None and self.transport.protocol.peer.identity is not None:
            self.identity = self.transport.protocol.peer.identity.id

    def key(self, letter: bytes) -> bytes:
        self.numbers += 1
        return b"%s%d" % (letter, self.numbers)

    def post(self, kind: Kind, place: str, ref: int, text: bytes) -> Said:
        """Say something; ``place`` is for :attr:`Kind.SAID`."""
        assert self.life is not None
        enc = b" enc=pct" if b"\n" in text else b""
        typed = text.replace(b"\n", b"%0A")
        if kind == Kind.RETRACT:
            self.life.retracting.add(ref)
        if kind == Kind.SAID:
            verb = b"set_msg_all" if place == "all" else b"set_msg"
            reply = b" reply=%d" % ref if ref else b""
            line = b"<%s%s%s %%s>%s%s" % (
                verb,
                reply,
                enc,
                b"" if place == "all" else place.encode() + b" ",
                typed,
            )
        else:
            line = b"<%s%s %%s>%d %s" % (COMMANDS[kind], enc, ref, typed)
        said = Said(self.key(b"k"), line, kind, place, ref, text)
        self.life.posts.append(said)
        if self.live:
            self.send(said)
        return said

    def send(self, said: Said) -> None:
        said.at = self.world.newest
        once = b"once=%s " % said.key if self.keeps else b""
        self.say(said.line.replace(b"%s>", once + b"label=" + said.key + b">", 1))

    def command(self, verb: bytes, what: str) -> None:
        """Join, leave, or change a setting, unless that is under way already."""
        if what not in [waiting for _, waiting in self.pending.values()]:
            label = self.key(b"c")
            self.pending[label] = verb, what
            self.say(b"<%s label=%s>%s" % (verb, label, what.encode()))

    def change(self, verb: bytes, what: str) -> None:
        """Ignore somebody, or mute a room, or the contrary."""
        life = self.life
        assert life is not None
        if what in [waiting for _, waiting in self.pending.values()]:
            return
        kind, wanted = CHANGED[verb]
        course = getattr(life, kind)[what]
        if verb == b"mute":
            joined = life.stay(self.log, what)
            was, own = course.now(joined), life.reading.rooms.get((what, joined), (0, 0))
            if was is not True:
                frozen = life.read_upto(self.log, what)
                if life.types_on_a_line:
                    frozen = frozen[0], 1 << 62  # her lines before it may be taken up later
                life.reading.rooms[what, joined] = frozen if was is False else hull(own, frozen)
        course.turn(self.world.newest, None)
        course.wanted = wanted
        self.command(verb, what)

    def ask(self, line: bytes, then: Callable[[list[Line]], None]) -> None:
        """Ask something; ``%s`` stands for the label."""
        label = self.key(b"q")
        self.answers[label] = [], then
        self.say(line.replace(b"%s", b"label=" + label, 1))

    def ack(self) -> None:
        if self.life is not None and self.up and self.life.shown and self.keeps:
            self.say(b"<ack>%d" % self.life.shown[-1])

    def read(self, room: str | None) -> None:
        """Say that all that was shown is read, be it everywhere or in a room."""
        life = self.life
        if life is None or not self.open or not life.shown:
            return
        upto = life.shown[-1]
        if room is None and self.keeps:
            self.say(b"<read>%d" % upto)
            life.reading.all = highest(life.reading.all, (upto, upto))
        elif room is not None and self.log.is_in(life.identity, room) and not self.pending:
            place = room, life.stay(self.log, room)
            self.say(b"<read in=%s>%d" % (room.encode(), upto))
            life.reading.rooms[place] = highest(life.reading.rooms.get(place, (0, 0)), (upto, upto))

    def settled(self) -> None:
        """All that was said is done, and kept."""
        if self.life is not None and self.open:
            self.life.sure = self.life.reading.copy()

    def broken(self) -> None:
        """The connection is lost, and whatever was under way with it."""
        self.transport = None
        self.up = self.live = False
        self.pending, self.answers, self.parts = {}, {}, []
        if self.life is not None:
            self.life.reading.blur(self.life.sure)
            if not self.keeps:
                self.life.end(self.world.newest, self.log.last_id)
                self.life = None


def seen(line: Line) -> Seen:
    """A message as it stands on a line."""
    values = line.attributes
    about = [
        (word.decode(), int(values[word]))
        for word in (b"reply", b"edit", b"retract", b"react")
        if word in values
    ]
    edited, retracted = int(values.get(b"edited", b"0")), int(values.get(b"retracted", b"0"))
    assert not retracted or line.text == TAKEN_BACK
    to = values.get(b"to", b"").decode()
    return Seen(
        int(values[b"id"]), values[b"from"].decode(), to, line.text, *(about or [("", 0)]), edited, retracted
    )
