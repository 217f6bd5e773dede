"""One order for each conversation and each receiver, at many members, from the outside: only what they hear counts.

Two dozen people talk to everybody, in rooms and in private while the journal takes its time; some read slowly, some
lose their connection and come back for what they missed.  Every message has its place in one order, and each hears a
stretch of it without a gap: what others said as ``<msg>``, and what she said herself as ``<accepted>``, in its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pychat import catchup, reading, taking
from pychat.desk import Desk
from pychat.factory import ChatFactory
from pychat.grammar import Line, parse
from pychat.hub import Hub
from pychat.pump import Pump
from pychat.uploading import Uploading
from tests.chatkit import examples
from tests.journal.journalkit import NOON_MS, Reactor
from tests.plays.stage import FakeTransport
from tests.roomsmodel import DurableMemory, HeldJournal, Log

MANNERS = (
    "",
    "<hello>",
    "<hello caps=ack>",
    "<hello caps=ack,resume>",
    "<hello caps=ack,resume,multiline>",
    "",
)
PEOPLE = 24
ROOMS = ("#tea", "#bar", "#den")
PUBLIC = ("all", *ROOMS)
TICK = 0.01
"""Seconds of a turn: nothing is to be sent again for want of an ack, which takes five."""

VERDICTS = (b"sent", b"handed", b"delivered", b"read", b"undelivered")


class Heard(NamedTuple):
    """A message in somebody's stream, be it her own."""

    id: int
    place: str
    """``all``, a room, or the name of the recipient."""
    sender: str
    number: int
    """Every text is another number, which rises with each that is said."""


class Moved(NamedTuple):
    """She joined a room, or left it."""

    room: str
    joined: bool
    id: int
    """Of her joining, if she was told."""


@dataclass(eq=False)
class Post:
    """What somebody said, and what became of it."""

    key: bytes
    line: bytes
    place: str
    number: int
    id: int = 0
    again: bool = False
    """It was said once more, after she came back: its answer stands where that one does."""
    verdicts: set[bytes] = field(default_factory=set)


@dataclass(eq=False)
class Life:
    """One identity: a connection, or as many as it takes with a token."""

    name: str
    first: bool
    stream: list[Heard | Moved] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    rooms: set[str] = field(default_factory=set)
    counts: dict[int, dict[bytes, int]] = field(default_factory=dict)
    """What ``<receipt>`` said of each message."""
    token: bytes = b""
    after: int = 0
    acked: int = 0
    over: bool = False


class Member:
    """A client that follows the document."""

    def __init__(self, chat: Chat, name: str, hello: str) -> None:
        self.name = name
        self.hello = hello.encode()
        self.acks, self.resumes = b"ack" in self.hello, b"resume" in self.hello
        self.lives: list[Life] = []
        self.life: Life | None = None
        self.live = False
        """She has all that she missed."""
        self.moving = False
        """She has asked to join or leave a room."""
        self.transport: FakeTransport | None = None
        self._chat = chat
        self._refused = False
        self._unacked = 0
        """The last message that she heard on this connection and has not acknowledged."""

    @property
    def busy(self) -> bool:
        """Something is under way to her."""
        return not self.live or self.moving or (self.transport is not None and bool(self.transport.out))

    @property
    def waits(self) -> list[int]:
        """Her private messages without a verdict."""
        posts = self.life.posts if self.life is not None else []
        return [post.id for post in posts if post.id and not post.verdicts and post.place not in PUBLIC]

    # -- her connection

    def come(self) -> None:
        if self.transport is not None:
            if self._refused:
                self._refused = False
                self.say(b"<connect>" + self.name.encode())
            return
        self._refused, self._unacked = False, 0
        self.transport = transport = FakeTransport(self._chat.reactor)
        transport.protocol = self._chat.factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        if self.hello:
            self.say(self.hello)
        if self.life is None:
            self.life = Life(self.name, not self.lives)
            self.lives.append(self.life)
            self.say(b"<connect>" + self.name.encode())
        else:
            where = self.life.token, self.life.after, min(self.waits, default=self.life.after + 1)
            self.say(b"<connect resume=%s after=%d open=%d>%s" % (*where, self.name.encode()))

    def drop(self) -> None:
        """Her connection breaks; what she has not heard of it is lost."""
        if (
            self.transport is None
            or self.moving
            or self.life is None
            or (self.resumes and not self.life.token)
        ):
            return
        transport, self.transport, self.live = self.transport, None, False
        if not self.resumes:
            self.life.over, self.life = True, None
        transport.loseConnection()

    def stick(self, stuck: bool) -> None:
        """She reads nothing more, or reads on."""
        if self.transport is not None and self.transport.stuck != stuck:
            self.transport.stuck = stuck
            if not stuck:
                self.transport._written()

    def say(self, line: bytes) -> None:
        assert self.transport is not None
        assert self.transport.protocol is not None
        self.transport.protocol.dataReceived(line + b"\n")

    # -- what she says

    def post(self, place: str, number: int) -> None:
        life = self.life
        if (
            life is None
            or not self.live
            or place == self.name
            or (place in ROOMS and place not in life.rooms)
        ):
            return
        if self.moving and place in ROOMS:
            return
        key = b"k%d" % number
        verb, to = (b"set_msg_all", b"") if place == "all" else (b"set_msg", place.encode() + b" ")
        once = b" once=" + key if self.resumes else b""
        post = Post(key, b"<%s%s label=%s>%s%d" % (verb, once, key, to, number), place, number)
        life.posts.append(post)
        self.say(post.line)

    def move(self, room: str) -> None:
        """Join a room, or leave it."""
        if self.life is not None and self.live and not self.moving:
            self.moving = True
            verb = b"leave" if room in self.life.rooms else b"join"
            self.say(b"<%s label=move>%s" % (verb, room.encode()))

    # -- what she hears

    def hear(self, share: float = 1.0, ack: bool = True) -> None:
        """Take what came, or the first part of it."""
        transport = self.transport
        if transport is None:
            return
        lines = transport.out.split(b"\n")
        lines, rest = lines[:-1], lines[-1]
        count = round(len(lines) * share)
        transport.out = b"".join(line + b"\n" for line in lines[count:]) + rest
        for raw in lines[:count]:
            line = parse(raw)
            self._take(line)
            if line.verb == b"msg":
                self._unacked = int(line.attributes[b"id"])
        if self._unacked and ack and self.acks and self.life is not None:
            self.life.acked, self._unacked = self._unacked, 0
            self.say(b"<ack>%d" % self.life.acked)

    def _take(self, line: Line) -> None:
        life, values = self.life, line.attributes
        assert life is not None
        if line.verb == b"connected":
            self.live = not life.token
            life.token = values.get(b"resume", b"")
            self.say(b"<pong>")
        elif line.verb == b"replayed":
            self.live = True
            for post in [post for post in life.posts if not post.id]:
                post.again = True
                self.say(post.line)
        elif line.verb == b"msg":
            self._shown(life, line)
        elif line.verb == b"accepted":
            self._accepted(life, line)
        elif line.verb in (b"joined", b"left") and values.get(b"label") == b"move":
            room = values[b"in"].decode()
            self.moving = False
            joined = line.verb == b"joined"
            (life.rooms.add if joined else life.rooms.discard)(room)
            life.stream.append(Moved(room, joined, int(values.get(b"id", 0))))
        elif line.verb == b"receipt":
            id = int(values[b"id"])
            assert id not in life.counts, "a count comes once"
            life.counts[id] = {key: int(value) for key, value in values.items()}
            assert any(post.id == id for post in life.posts), "no count comes before its message is accepted"
        elif line.verb in VERDICTS:
            (post,) = (post for post in life.posts if post.id == int(values[b"id"]))
            post.verdicts.add(line.verb)
        elif values.get(b"code") == b"name-taken":
            self._refused = True  # what she said before has yet to be kept, and she to leave
        elif line.verb == b"error":
            assert values[b"code"] == b"no-such-user", line
            (post,) = (post for post in life.posts if post.key == values[b"label"])
            assert not post.id, "what was accepted is not refused when it is said again"
            life.posts.remove(post)

    def _shown(self, life: Life, line: Line) -> None:
        values = line.attributes
        if b"replay" in values and not self.hello:
            return  # what was said in a room before she came
        place = values.get(b"to", self.name.encode()).decode()
        self._next(life, Heard(int(values[b"id"]), place, values[b"from"].decode(), int(line.text)))

    def _accepted(self, life: Life, line: Line) -> None:
        values, id = line.attributes, int(line.attributes[b"id"])
        key = values.get(b"label") or values[b"once"]
        (post,) = (post for post in life.posts if post.key == key)
        known, post.id = post.id, id
        assert known in (0, id), "one message, one id"
        heard = Heard(id, line.text.decode(), self.name, post.number)
        assert heard.place == post.place
        if post.again and id <= life.after:
            # The answer to what she said once more is no place in the conversation: that one has passed.
            if not known:
                life.stream.append(heard)
                life.stream.sort(key=_order)
        elif not known:
            self._next(life, heard)

    def _next(self, life: Life, heard: Heard) -> None:
        assert heard.id > life.after, f"{self.name} heard {heard} behind {life.after}"
        life.after = heard.id
        life.stream.append(heard)


def _order(event: Heard | Moved) -> int:
    return event.id


class Chat:
    """The daemon and its people, and what happens to them, step by step."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.journal = HeldJournal(DurableMemory(), Log(), self.reactor.wait)
        tokens = iter(range(1, 1 << 30))
        hub = Hub(durable=True, make_token=lambda: b"t%d" % next(tokens))
        pump = Pump(self.reactor, hub, self.journal, lambda: NOON_MS / 1000)
        uploading = Uploading(None, lambda *a: Deferred())  # type: ignore[arg-type]
        desk = Desk(self.reactor, None, [], lambda *a: Deferred(), uploading)  # type: ignore[arg-type]
        self.factory = ChatFactory(pump, desk)
        self.people = [Member(self, f"p{n}", MANNERS[n % len(MANNERS)]) for n in range(PEOPLE)]
        self._numbers = iter(range(1, 1 << 30))
        for person in self.people:
            person.come()
        self.settle()
        for number, room in enumerate(ROOMS, 1):
            # Everybody is in the first, every second one in the next, and so on.
            for person in self.people[::number]:
                person.move(room)
            self.settle()

    # -- what happens

    def say(self, person: Member, what: int) -> None:
        places = ["all", *ROOMS, *ROOMS, "all", *(other.name for other in self.people[what % 5 :: 5])]
        person.post(places[what % len(places)], next(self._numbers))

    def speak(self, person: Member, what: int) -> None:
        """Some say something one after the other, before anybody has an answer."""
        start = self.people.index(person)
        for number in range(2 + what % 6):
            self.say(self.people[(start + number * (1 + what % 4)) % PEOPLE], what + number * 5)

    def move(self, person: Member, what: int) -> None:
        person.move(ROOMS[what % len(ROOMS)])

    def drop(self, person: Member, what: int) -> None:
        person.hear((what % 4) / 4, ack=what % 3 > 0)
        person.drop()

    def come(self, person: Member, what: int) -> None:
        for other in [person, *self.people][: 1 + what % 3]:
            other.come()

    def stick(self, person: Member, what: int) -> None:
        person.stick(what % 2 > 0)

    def hear(self, person: Member, what: int) -> None:
        for other in self.people[what % 3 :: 3]:
            other.hear((1 + what % 3) / 3, ack=what % 2 > 0)

    def turn(self, person: Member, what: int) -> None:
        self.reactor.pump([0.0, TICK, 0.0])

    def commit(self, person: Member, what: int) -> None:
        """The journal keeps what is under way; perhaps who reads sees it before the daemon has heard of it."""
        answers = self.journal.commit()
        if what % 3 == 0:
            self.journal.answer_reads()
            self.turn(person, what)
        for done, ids in answers:
            done.callback(ids)
        self.turn(person, what)

    def read(self, person: Member, what: int) -> None:
        self.journal.answer_reads()
        self.turn(person, what)

    def settle(self, seconds: float = TICK) -> None:
        """All come back, and all that is under way arrives."""
        for person in self.people:
            person.come()
            person.stick(False)
        quiet = turns = 0
        while quiet < 4:
            quiet += 1
            turns += 1
            assert turns < 1000, "something is under way for ever"
            if self.journal.under_way or self.journal.asked or any(person.busy for person in self.people):
                quiet = 0
            self.reactor.pump([0.0, seconds, 0.0])
            self.commit(self.people[0], 0)
            for person in self.people:
                person.hear()
                person.come()

    # -- what has to be true

    def check(self) -> None:
        """Look at all that was heard."""
        lives = [life for person in self.people for life in person.lives]
        order = self.one_order(lives)
        # What is refused, for its recipient has just left for good, may be said again when somebody has her name.
        steady = {*PUBLIC, *(person.name for person in self.people if person.resumes)}
        for person in self.people:
            for life in person.lives:
                said: dict[str, int] = defaultdict(int)
                for heard in (heard for heard in messages(life) if heard.place in steady):
                    assert heard.number > said[heard.sender], (
                        f"{life.name}: {heard} behind {said[heard.sender]}"
                    )
                    said[heard.sender] = heard.number
                self.check_public(life, order["all"])
                for room in ROOMS:
                    self.check_room(life, room, order[room])
            if person.resumes:
                (life,) = person.lives
                mine = [heard for heard in messages(life) if heard.place == person.name]
                assert mine == order[person.name], f"{person.name}: what was written to her"
        self.check_fates(lives)

    def one_order(self, lives: list[Life]) -> dict[str, list[Heard]]:
        """What was said in each place, in the one order in which all heard it."""
        found: dict[int, Heard] = {}
        numbers: dict[int, int] = {}
        for life in lives:
            ids = [heard.id for heard in messages(life)]
            assert ids == sorted(set(ids)), f"{life.name}: once, and in order"
            for heard in messages(life):
                assert found.setdefault(heard.id, heard) == heard, "a message is the same to all"
                assert numbers.setdefault(heard.number, heard.id) == heard.id, "it was said once"
        order: dict[str, list[Heard]] = defaultdict(list)
        for id in sorted(found):
            order[found[id].place].append(found[id])
        return order

    def check_public(self, life: Life, order: list[Heard]) -> None:
        heard = [heard for heard in messages(life) if heard.place == "all"]
        check_stretch(life, heard, order, begins=life.first, ends=not life.over)

    def check_room(self, life: Life, room: str, order: list[Heard]) -> None:
        """Every stay is a stretch, and between two of them there is nothing."""
        for joined, heard, left in stays(life, room):
            if joined is None:
                assert not heard, f"{life.name} is not in {room}"
                continue
            owed = [each for each in order if each.id > joined.id]
            ends = not left and not life.over
            check_stretch(
                life,
                heard,
                owed,
                begins=bool(joined.id and (heard or ends)),
                ends=ends and bool(owed and joined.id),
            )

    def check_fates(self, lives: list[Life]) -> None:
        """Verdicts and counts are true, and there are as many as there have to be."""
        had: dict[int, list[Life]] = defaultdict(list)
        for life in lives:
            for heard in messages(life):
                if heard.sender != life.name:
                    had[heard.id].append(life)
        for life in lives:
            for post in life.posts:
                if life.over:
                    continue
                assert post.id, f"{post} has no answer"
                acked = [other for other in had[post.id] if max(other.acked, other.after) >= post.id]
                count = life.counts.get(post.id)
                if post.place in PUBLIC:
                    assert not post.verdicts
                    # Of what was accepted while she was away she is told no count.
                    if count is not None:
                        parts = sum(
                            count.get(key, 0) for key in (b"sent", b"handed", b"delivered", b"undelivered")
                        )
                        assert count[b"delivered"] <= len(acked), (post, count)
                        assert parts <= count[b"of"] < PEOPLE, (post, count)
                else:
                    assert post.verdicts, f"{post} has no verdict"
                    assert b"delivered" not in post.verdicts or acked, post
                    assert len(had[post.id]) <= 1, "what is private is for one"


def messages(life: Life) -> Iterator[Heard]:
    """The messages in her stream."""
    return (event for event in life.stream if isinstance(event, Heard))


def stays(life: Life, room: str) -> Iterator[tuple[Moved | None, list[Heard], bool]]:
    """What she heard of a room: outside (``None``) and inside by turns, each time, and whether that has ended."""
    joined: Moved | None = None
    heard: list[Heard] = []
    for event in life.stream:
        if isinstance(event, Moved):
            if event.room == room:
                yield joined, heard, True
                joined, heard = event if event.joined else None, []
        elif event.place == room:
            heard.append(event)
    yield joined, heard, False


def check_stretch(life: Life, heard: list[Heard], order: list[Heard], begins: bool, ends: bool) -> None:
    """What she heard is a stretch of the order without a gap; if so, from its beginning on, and to its end."""
    start = 0 if begins or not heard else order.index(heard[0])
    stop = len(order) if ends and (begins or heard) else start + len(heard)
    assert heard == order[start:stop], f"{life.name} heard {heard} of {order[start:stop]}"


VERBS: tuple[Callable[[Chat, Member, int], None], ...] = (
    *(Chat.speak,) * 6, *(Chat.say,) * 4, *(Chat.commit,) * 4, *(Chat.turn,) * 2, *(Chat.hear,) * 3, *(Chat.come,) * 2,
    Chat.drop, Chat.drop, Chat.read, Chat.read, Chat.move, Chat.stick, Chat.stick,
)  # fmt: skip

STEPS = st.lists(
    st.tuples(st.integers(0, len(VERBS) - 1), st.integers(0, PEOPLE - 1), st.integers(0, 59)),
    min_size=50,
    max_size=120,
)
"""What happens, to whom, and how."""


class Order(SynchronousTestCase):
    """Whatever is said, and whoever comes and goes."""

    @settings(examples(80), phases=[Phase.generate])  # to make a failure smaller would take minutes
    @given(STEPS)
    def test_one_order(self, steps: list[tuple[int, int, int]]) -> None:
        """Everybody hears one order, without a gap, once; and what is said of each message is true."""
        self.patch(taking, "BATCH_LIMIT", 200)
        self.patch(reading, "PAGE", 3)
        self.patch(catchup, "ASIDE_LIMIT", 400)
        chat = Chat()
        for verb, who, what in steps:
            VERBS[verb](chat, chat.people[who], what)
        chat.settle()
        chat.settle(0.5)
        # What was known just when a sender came back she may have missed; the next time she is told.
        for person in chat.people:
            if person.resumes and person.waits:
                person.drop()
        chat.settle()
        chat.check()
