"""The promise, against any order of events: what is accepted is neither lost, nor shown twice, nor out of order.

A few people talk through one daemon in memory.  Their clients do what `docs/protocol.md` tells a client to do; the
journal is slow, connections break, people stay away, and the daemon dies and starts again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pychat import catchup, reading, taking
from pychat.departures import HOLD
from pychat.desk import Desk
from pychat.errors import JournalError
from pychat.factory import ChatFactory
from pychat.grammar import Line, parse
from pychat.hub import Hub
from pychat.interfaces import IJournal
from pychat.journal.memory import MemoryJournal
from pychat.pump import Pump
from pychat.uploading import Uploading
from pychat.vocabulary import Entry, Page, Standing
from tests.chatkit import examples
from tests.plays.stage import FakeTransport

NAMES = ("alice", "bob", "carol")
RUN = 1 << 32


@implementer(IJournal)
class SlowJournal(MemoryJournal):
    """A journal that outlives the daemon, and answers when it is told to."""

    durable = True

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[tuple[list[Entry], list[Standing], Deferred[object]]] = []
        self.asked: list[tuple[tuple[object, ...], Deferred[Page]]] = []

    def append(self, entries, standings=()):
        done: Deferred[object] = Deferred()
        self.under_way.append((list(entries), list(standings), done))
        return done

    def commit(self) -> list[tuple[Deferred[object], object]]:
        """Keep what is under way; return what is to be answered."""
        answers = []
        for entries, standings, done in self.under_way:
            MemoryJournal.append(self, entries, standings).addCallback(
                lambda ids, done=done: answers.append((done, ids))
            )
        self.under_way = []
        return answers

    def read(self, identity, after, limit, private=False, rooms=()):
        page: Deferred[Page] = Deferred()
        self.asked.append(((identity, after, limit, private, rooms), page))
        return page

    def answer_reads(self) -> None:
        """Answer who reads, with what is kept now."""
        asked, self.asked = self.asked, []
        for question, page in asked:
            MemoryJournal.read(self, *question).addCallback(page.callback)

    def refuse(self) -> list[Deferred[object]]:
        """Keep nothing of what is under way; return who is to be told."""
        refused = [done for _, _, done in self.under_way]
        self.under_way = []
        return refused

    def restart(self) -> None:
        """The daemon has died."""
        self.under_way = []
        self.asked = []
        self.living = [standing for standing in self._living.values() if standing.resumes]
        self.last_identity += RUN


@dataclass(eq=False)
class Said:
    """A post as its sender's client knows it."""

    key: bytes
    to: str | None
    text: bytes
    id: int = 0
    verdicts: list[bytes] = field(default_factory=list)


@dataclass(eq=False)
class Life:
    """One identity from the outside: from its first ``<connected>`` until it ends."""

    name: str
    born: int
    """The newest message when its ``<connect>`` was said."""
    known: int
    """The newest message when it was answered."""
    token: bytes = b""
    after: int = 0
    shown: list[tuple[int, str, bytes]] = field(default_factory=list)
    acked: int = 0
    posts: list[Said] = field(default_factory=list)
    ended: int | None = None
    """The newest message when it ended."""


class Client:
    """A client that follows the document, for one person over all her connections and identities."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.life: Life | None = None
        self.lives: list[Life] = []
        self.transport: FakeTransport | None = None
        self.up = self.live = False
        """It was answered ``<connected>``; it has all that it missed."""
        self.asked_at = 0
        self.numbers = 0
        self.seen: dict[int, float] = {}
        """When each message came on this connection."""
        self.looked_at = 0.0
        self.told: list[tuple[int, bytes]] = []
        """The verdicts on this connection."""

    def say(self, line: bytes) -> None:
        if self.transport is not None:
            self.transport.protocol.dataReceived(line + b"\n")

    def hear(self, last_id: int) -> None:
        """Take what came, line by line."""
        while self.transport is not None and b"\n" in self.transport.out:
            raw, _, self.transport.out = self.transport.out.partition(b"\n")
            self.take(parse(raw), last_id)
        if self.transport is not None:
            self.looked_at = self.transport._clock.seconds()

    def take(self, line: Line, last_id: int) -> None:
        life, values = self.life, line.attributes
        id = int(values.get(b"id", b"0"))
        if line.verb == b"connected":
            if life is None:
                if b"resume" not in values:
                    self.say(b"<disconnect>")  # this is not what we came for
                    return
                life = self.life = Life(self.name, self.asked_at, last_id)
                self.lives.append(life)
                self.live = True
            life.token = values.get(b"resume", life.token)
            self.up = True
            self.say(b"<ping>I have my token")
            if self.live:
                self.post_again()
            return
        if line.verb == b"error" and values[b"code"] == b"bad-token":
            assert life is not None
            assert life.ended is not None, "only who ended has lost her token"
            self.life = None
            self.connect(last_id)
            return
        if life is None:
            return
        if line.verb == b"msg":
            now = self.transport._clock.seconds()
            again = now - min(self.seen.get(id, -9), self.looked_at)
            assert again >= 5, "it comes again only when nobody acknowledged it for long"
            self.seen[id] = now
            if id > life.after:
                life.shown.append((id, values[b"from"].decode(), line.text))
                life.after = id
        elif line.verb == b"accepted":
            key = values.get(b"once") or values.get(b"label", b"").replace(b".", b"")
            said = next(said for said in life.posts if said.key == key)
            assert said.id in (0, id), "one key, one id"
            said.id = id
            life.after = max(life.after, id)
        elif line.verb == b"replayed":
            self.live = True
            self.post_again()
        elif line.verb in (b"delivered", b"undelivered", b"read"):
            said = next((said for said in life.posts if said.id == id), None)
            assert said is not None, f"a verdict on {id}, which was not accepted"
            said.verdicts.append(line.verb)
            self.told.append((id, line.verb))
            assert self.told.count((id, line.verb)) <= 2, "live, and once more for who came back"
        elif values.get(b"code") == b"busy":
            self.connect(last_id)
        elif values.get(b"code") == b"journal-unavailable":
            self.send(next(said for said in life.posts if said.key == values[b"label"]))
        elif values.get(b"code") == b"not-connected":
            pass  # it is said again on the next connection
        elif values.get(b"code") == b"no-such-user":
            # Her time was over: this was never accepted.
            life.posts = [said for said in life.posts if said.key != values[b"label"]]
        else:
            assert line.verb != b"error", line

    def connect(self, last_id: int) -> None:
        """Come, or come back."""
        self.up = self.live = False
        if self.life is None:
            self.asked_at = last_id
            self.say(b"<connect>" + self.name.encode())
            return
        waits = [said.id for said in self.life.posts if said.id and said.to and not said.verdicts]
        first = min(waits, default=self.life.after + 1)
        where = b"resume=%s after=%d open=%d" % (self.life.token, self.life.after, first)
        self.say(b"<connect %s>%s" % (where, self.name.encode()))

    def post(self, to: str | None, in_doubt: bool) -> None:
        assert self.life is not None
        self.numbers += 1
        said = Said(b"k%d" % self.numbers, to, f"{self.name} {self.numbers} to {to}".encode())
        self.life.posts.append(said)
        if self.live:
            self.send(said)
            if in_doubt:
                self.send(said)

    def send(self, said: Said) -> None:
        verb, name = (b"set_msg", said.to.encode() + b" ") if said.to else (b"set_msg_all", b"")
        self.say(b"<%s once=%s label=%s>%s%s" % (verb, said.key, said.key, name, said.text))

    def post_again(self) -> None:
        assert self.life is not None
        for said in self.life.posts:
            if not said.id:
                self.send(said)

    def ack(self, read: bool) -> None:
        if self.life is not None and self.up and self.life.shown:
            self.life.acked = self.life.shown[-1][0]
            self.say(b"<%s>%d" % (b"read" if read else b"ack", self.life.acked))

    def doubt(self, number: int) -> None:
        """Post again what was accepted already: its id comes back, and nothing else happens."""
        if self.live and self.life is not None and self.life.posts:
            self.send(self.life.posts[number % len(self.life.posts)])

    def broken(self) -> None:
        self.transport = None
        self.up = self.live = False


class Promise(RuleBasedStateMachine):
    """People, connections that break, a journal that takes its time, and a daemon that dies."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = SlowJournal()
        self.clients = [Client(name) for name in NAMES]
        self.tokens = 0
        self.refused = False
        """Some posts were refused, and may have come behind later ones when they were said again."""
        self.start()
        for client in self.clients:
            self.connect(client)
        self.settle()
        assert all(client.live for client in self.clients)

    # -- the daemon

    def start(self) -> None:
        self.clock = Clock()
        self.hub = Hub(durable=True, make_token=self.make_token)
        pump = Pump(self.clock, self.hub, self.journal, lambda: 1.8e9)
        uploading = Uploading(None, lambda *a: Deferred())  # type: ignore[arg-type]
        desk = Desk(self.clock, None, [], lambda *a: Deferred(), uploading)  # type: ignore[arg-type]
        self.pump = pump
        self.factory = ChatFactory(pump, desk)

    def make_token(self) -> bytes:
        self.tokens += 1
        return b"t%d" % self.tokens

    def tick(self, seconds: float = 0.02) -> None:
        self.clock.pump([0.0, seconds, 0.0])

    def settle(self) -> None:
        """Everything that is under way arrives."""
        for _ in range(30):
            self.tick(0.06)
            self.answer()
            for client in self.clients:
                client.hear(self.journal.last_id)
                client.ack(False)

    def answer(self) -> None:
        for done, ids in self.journal.commit():
            done.callback(ids)
        self.journal.answer_reads()
        self.tick()

    def connect(self, client: Client) -> None:
        transport = FakeTransport(self.clock)
        protocol = self.factory.buildProtocol(None)
        transport.protocol = protocol
        client.transport = transport
        client.seen, client.told = {}, []
        client.looked_at = self.clock.seconds()
        protocol.makeConnection(transport)
        client.say(b"<hello caps=ack,resume>")
        client.connect(self.journal.last_id)

    # -- what happens

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """Something happens.  One rule for all, for Hypothesis leaves whole rules out of most runs."""
        often = [self.post, self.hear, self.commit, self.tick_on, self.ack, self.come] * 3
        seldom = [self.drop, self.drop, self.replace, self.doubt, self.doubt, self.read]
        seldom += [self.crash, self.stay_away, self.ahead, self.refuse, self.stop, self.leave]
        data.draw(st.sampled_from([*often, *seldom]))(data)

    def someone(self, data: st.DataObject) -> Client:
        return data.draw(st.sampled_from(self.clients))

    def post(self, data: st.DataObject) -> None:
        client = self.someone(data)
        if client.life is not None:
            others = [None, *(name for name in NAMES if name != client.name)]
            client.post(data.draw(st.sampled_from(others)), data.draw(st.booleans()))

    def hear(self, data: st.DataObject) -> None:
        self.someone(data).hear(self.journal.last_id)

    def ack(self, data: st.DataObject) -> None:
        self.someone(data).ack(data.draw(st.booleans()))

    def commit(self, data: st.DataObject) -> None:
        """The journal takes what is under way, and answers, in one order or the other."""
        if data.draw(st.booleans()):
            self.journal.answer_reads()
        for done, ids in self.journal.commit():
            done.callback(ids)

    def read(self, data: st.DataObject) -> None:
        self.journal.answer_reads()

    def ahead(self, data: st.DataObject) -> None:
        """Who reads sees a commit before the daemon has heard of it."""
        answers = self.journal.commit()
        self.journal.answer_reads()
        self.tick(data.draw(st.sampled_from([0.0, 0.02])))
        for done, ids in answers:
            done.callback(ids)

    def refuse(self, data: st.DataObject) -> None:
        """The journal keeps nothing of what is under way."""
        self.refused = True
        for done in self.journal.refuse():
            done.errback(JournalError("journal-unavailable", "The disk is full."))

    def stop(self, data: st.DataObject) -> None:
        """The daemon ends as it should, and starts again."""
        self.factory.end_all("shutdown", "Bye.")
        self.tick(0.06)
        if data.draw(st.booleans()):
            self.answer()
            self.tick(0.06)
        for client in self.clients:
            if data.draw(st.booleans()):
                client.hear(self.journal.last_id)
        self.crash(data)

    def leave(self, data: st.DataObject) -> None:
        """Somebody ends her identity with a goodbye, whatever is under way."""
        client = self.someone(data)
        life = client.life
        if life is None or client.transport is None:
            return
        transport = client.transport
        client.say(b"<disconnect>")
        client.broken()
        if data.draw(st.booleans()):
            transport.loseConnection()
        self.settle()
        if client.name not in {person.name for person in self.hub.roster.listing()}:
            life.ended = self.journal.last_id
            client.life = None

    def tick_on(self, data: st.DataObject) -> None:
        self.tick(data.draw(st.sampled_from([0.0, 0.02, 0.06, 6.0])))

    def drop(self, data: st.DataObject) -> None:
        """A connection breaks; what was under way to the client is lost."""
        client = self.someone(data)
        if client.transport is not None:
            transport = client.transport
            client.broken()
            transport.loseConnection()

    def come(self, data: st.DataObject) -> None:
        client = self.someone(data)
        if client.transport is None or client.transport.closed:
            self.connect(client)

    def doubt(self, data: st.DataObject) -> None:
        self.someone(data).doubt(data.draw(st.integers(0, 9)))

    def replace(self, data: st.DataObject) -> None:
        """A client comes on another connection while the daemon believes in the old one."""
        client = self.someone(data)
        if client.life is not None:
            client.broken()
            self.connect(client)

    def crash(self, data: st.DataObject) -> None:
        """The daemon dies, before or after the journal took what is under way, and starts again."""
        if data.draw(st.booleans()):
            self.journal.commit()
        self.journal.restart()
        for client in self.clients:
            client.broken()
        self.start()

    def stay_away(self, data: st.DataObject) -> None:
        """Some are away for too long: their identities end."""
        self.settle()
        self.clock.advance(HOLD + 1)
        away = {person.name for person in self.hub.roster.away}
        self.pump.sweep()
        for client in self.clients:
            if client.name in away and client.life is not None:
                client.life.ended = self.journal.last_id
        self.settle()

    # -- the promise

    def teardown(self) -> None:
        """Everybody comes back, all that is under way arrives, and nothing is missing."""
        for _ in range(3):
            self.settle()
            for client in self.clients:
                if client.transport is None or client.transport.closed:
                    self.connect(client)
        self.settle()
        MemoryJournal.read(self.journal, 0, 0, 10**6)
        kept = dict(self.journal._ring.up(0))
        lives = [life for client in self.clients for life in client.lives]
        for life in lives:
            self.check(life, lives, kept)
        for client in self.clients:
            assert client.live, client.name
            assert client.life is not None
            assert all(said.id for said in client.life.posts), "everything has its answer in the end"

    def check(self, life: Life, lives: list[Life], kept: dict[int, Entry]) -> None:
        ids = [id for id, _, _ in life.shown]
        assert ids == sorted(set(ids)), "once, and in order"
        for id, sender, text in life.shown:
            assert (kept[id].sender_name, kept[id].text) == (sender, text)
            assert kept[id].to_name in (None, life.name)
            assert kept[id].sender_name != life.name
            assert id > life.born, "nothing of who had the name before"
            assert life.ended is None or id <= life.ended
        texts = [entry.text for entry in kept.values() if entry.sender_name == life.name]
        assert len(texts) == len(set(texts)), "each post is in the journal once"
        mine = [said for said in life.posts if said.id]
        # Who wrote to somebody that had ended was refused, and may have tried again when somebody new had the name.
        ended = {other.name for other in lives if other.ended is not None}
        steady = [said.id for said in mine if said.to not in ended]
        assert self.refused or steady == sorted(steady), "in the order in which they were posted"
        for said in mine:
            assert kept[said.id].text == said.text, "what was accepted is kept"
        for id, entry in kept.items():
            if entry.sender_name == life.name or entry.to_name not in (None, life.name):
                continue
            if life.known < id and life.ended is None:
                assert id in ids, f"{life.name} never saw {id}"
        for said in mine:
            if said.to is not None and life.ended is None:
                self.check_verdicts(said, [other for other in lives if other.name == said.to])

    def check_verdicts(self, said: Said, recipients: list[Life]) -> None:
        shown = [life for life in recipients if said.id in [id for id, _, _ in life.shown]]
        assert len(shown) <= 1
        words = set(said.verdicts)
        assert words & {b"delivered", b"undelivered"}, (said, recipients)
        assert not {b"delivered", b"undelivered"} <= words, "a verdict does not turn round"
        if words & {b"delivered", b"read"}:
            assert shown
            assert shown[0].acked >= said.id or shown[0].after >= said.id
        if b"undelivered" in words:
            assert not shown or shown[0].ended is not None


class Anything(SynchronousTestCase):
    """Whatever happens, and in whatever order."""

    def test_promise(self) -> None:
        """Every accepted message is shown once, in order, to whom it is for, and its verdict is true."""
        self.patch(taking, "BATCH_LIMIT", 200)
        self.patch(reading, "PAGE", 3)
        self.patch(catchup, "ASIDE_LIMIT", 200)
        run_state_machine_as_test(
            Promise,
            settings=settings(
                examples(600),
                stateful_step_count=60,
                phases=[Phase.generate],  # to make a failure smaller would take minutes
            ),
        )
