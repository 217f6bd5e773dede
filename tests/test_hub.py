"""The hub against a model that writes down, line by line, what every connection is to be shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from pychat import hub as hub_module
from pychat import once as once_module
from pychat import posting, taking
from pychat.errors import JournalError
from pychat.hub import Hub
from pychat.peer import Post
from tests.chatkit import NOON, NOON_MS, Chat, Talk, examples

NAMES = ("alice", "bob", "Ćarol", "dave")
KEY_REUSED = b"This once= key stood for another message. Take a new key for a new message."
NO_SUCH_USER = b"Nobody here has this name. Type <get_users> to see who is here."
DISK_FULL = "The disk is full. Try again."


@dataclass(eq=False)
class Said:
    """A message that waits for the journal."""

    sender: Conn
    to: Conn | None
    text: bytes
    label: bytes
    once: bytes


@dataclass(eq=False)
class Conn:
    """One connection: what it is to be shown, and what it was."""

    talk: Talk
    name: bytes
    hello: bytes
    here: bool = True
    parting: bool = False
    """It left, and keeps its name until its last message has its place."""
    due: list[bytes] = field(default_factory=list)
    """Lines it is to be shown and has not taken yet."""
    answers: list[Said | bytes] = field(default_factory=list)
    """Answers that wait for the journal, in the order of the lines, from the oldest post on."""
    bytes_due: int = 0
    """All bytes that it was ever due."""
    bytes_taken: int = 0
    messages: list[int] = field(default_factory=list)
    """The ids it was sent, in order."""
    ends: dict[int, int] = field(default_factory=dict)
    """Where in its stream the batch ends with which a message came."""
    waiting: dict[int, Conn] = field(default_factory=dict)
    """Private messages without a verdict, and who sent them."""
    resting: dict[int, Conn] = field(default_factory=dict)
    """Private messages that were told as sent."""
    reached: int = 0
    acked: int = 0
    keys: dict[bytes, bytes] = field(default_factory=dict)
    ids: dict[bytes, int] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        return b"ack" not in self.hello

    def show(self, line: bytes) -> None:
        self.due.append(line)
        self.bytes_due += len(line) + 1

    def notice(self, line: bytes) -> None:
        if self.here:
            self.show(line)

    def answer(self, line: bytes) -> None:
        """The answer to the last line: it waits for those before it."""
        if self.answers:
            self.answers.append(line)
        else:
            self.show(line)

    def settle(self, said: Said, line: bytes) -> None:
        """The oldest post has its answer, and so have the lines behind it, up to the next post."""
        assert self.answers.pop(0) is said
        self.show(line)
        while self.answers and isinstance(self.answers[0], bytes):
            self.show(self.answers.pop(0))


@dataclass
class Broadcast:
    """A message to everybody: a row for each member."""

    id: int
    sender: Conn
    due: float
    rows: dict[Conn, str]


class Conversation(RuleBasedStateMachine):
    """Random people say random things; each line that each of them is shown is foretold."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub(durable=True)
        self.everybody: list[Conn] = []
        self.posted: list[Said] = []
        self.flight: list[Post] = []
        self.said: list[Said] = []
        self.fresh = 0
        self.last_id = 0
        self.label = 0
        self.now = 0.0
        self.open: list[Broadcast] = []

    @property
    def here(self) -> list[Conn]:
        return [conn for conn in self.everybody if conn.here]

    @property
    def named(self) -> list[Conn]:
        return [conn for conn in self.everybody if conn.here or conn.parting]

    def someone(self, data: st.DataObject) -> Conn:
        return data.draw(st.sampled_from(self.here))

    def next_label(self) -> bytes:
        self.label += 1
        return b"%d" % self.label

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """Something happens.  One rule for all, for Hypothesis leaves whole rules out of most runs."""
        often = [self.journal, self.post, self.reach, self.ack] * 3
        seldom = [self.flush, self.retry, self.count, self.ask, self.leave, self.join]
        action = data.draw(st.sampled_from([*often, *seldom]))
        action(data)
        # Nobody can come back, so nothing that somebody is told has to be in the journal first.
        changes = self.hub.changes(NOON_MS)
        assert not any(change.due for change in changes.all)
        self.hub.kept(changes)

    # -- coming and going

    @initialize()
    def open_the_chat(self) -> None:
        """Two people are here from the start."""
        self.come("alice", b"")
        self.come("bob", b"<hello caps=ack>")

    def join(self, data: st.DataObject) -> None:
        """Somebody comes, or finds the name taken."""
        hello = data.draw(st.sampled_from([b"", b"<hello>", b"<hello caps=ack>"]))
        self.come(data.draw(st.sampled_from(NAMES)), hello)

    def come(self, name: str, hello: bytes) -> None:
        talk = Talk(self.hub)
        if hello:
            talk.say(hello)
        talk.heard()
        talk.say(b"<connect>" + name.encode())
        if any(conn.name == name.encode() for conn in self.named):
            (line,) = talk.heard()
            assert line.startswith(b"<error code=name-taken>"), line
            return
        assert talk.heard() == [b"<connected>" + name.encode()]
        for other in self.here:
            other.show(b"<joined>" + name.encode())
        conn = Conn(talk, name.encode(), hello)
        conn.bytes_due = conn.bytes_taken = talk.peer.mailbox.total
        self.everybody.append(conn)

    def leave(self, data: st.DataObject) -> None:
        """A connection is gone; those who wait for a word about it get one."""
        if len(self.here) < 2:
            return
        conn = self.someone(data)
        self.hub.leave(conn.talk.peer)
        self.hub.leave(conn.talk.peer)
        conn.here = False
        for broadcast in self.open:
            if broadcast.rows.get(conn) == "none":
                broadcast.rows[conn] = "gone"
        conn.parting = True
        self.let_go(conn)
        for id, sender in conn.waiting.items():
            sender.notice(b"<undelivered id=%d reason=gone>%s" % (id, conn.name))
        conn.waiting.clear()

    def let_go(self, conn: Conn) -> None:
        """The others are told that somebody left once all that she said stands before that."""
        if conn.parting and not any(isinstance(answer, Said) for answer in conn.answers):
            conn.parting = False
            for other in self.here:
                other.show(b"<left>" + conn.name)

    # -- saying

    def post(self, data: st.DataObject) -> None:
        """Some people say something, to one or to all, perhaps again."""
        for _ in range(data.draw(st.integers(1, 3))):
            text = data.draw(st.sampled_from([b"a", b"b c", b"x" * 150, "\u202eé".encode()]))
            once = data.draw(st.sampled_from([b"", b"", b"k1", b"k2"]))
            self.post_one(data, text, once)

    def post_one(self, data: st.DataObject, text: bytes, once: bytes) -> None:
        conn, label = self.someone(data), self.next_label()
        if once and len(text) > 1:
            text = b"a"
        attributes = b" label=" + label + (b" once=" + once if once else b"")
        if data.draw(st.booleans()):
            to = None
            conn.talk.say(b"<set_msg_all%s>%s" % (attributes, text))
        else:
            others = [name for name in map(str.encode, NAMES) if name != conn.name]
            name = data.draw(st.sampled_from(others))
            to = next((other for other in self.named if other.name == name), None)
            conn.talk.say(b"<set_msg%s>%s %s" % (attributes, name, text))
            if to is None and once and conn.keys.get(once, b"").startswith(name + b"\n"):
                # She has left since, and this may be the same message again.
                to = next(other for other in reversed(self.everybody) if other.name == name)
            if to is None:
                conn.answer(b"<error code=no-such-user label=%s>%s" % (label, NO_SUCH_USER))
                return
        content = (to.name if to else b"") + b"\n" + text
        if once and conn.keys.setdefault(once, content) != content:
            conn.answer(b"<error code=key-reused label=%s>%s" % (label, KEY_REUSED))
            return
        said = Said(conn, to, text, label, once)
        conn.answers.append(said)
        self.posted.append(said)

    def retry(self, data: st.DataObject) -> None:
        """Somebody who is in doubt says the same again under the same key."""
        keyed = [said for said in self.said + self.posted if said.once]
        if not keyed:
            return
        first = data.draw(st.sampled_from(keyed))
        conn, to = first.sender, first.to
        if not conn.here or (to is not None and not to.here):
            return
        label = self.next_label()
        attributes = b" label=%s once=%s" % (label, first.once)
        verb, name = (b"set_msg", to.name + b" ") if to else (b"set_msg_all", b"")
        conn.talk.say(b"<%s%s>%s%s" % (verb, attributes, name, first.text))
        content = (to.name if to else b"") + b"\n" + first.text
        if conn.keys.setdefault(first.once, content) != content:
            conn.answer(b"<error code=key-reused label=%s>%s" % (label, KEY_REUSED))
            return
        said = Said(conn, to, first.text, label, first.once)
        conn.answers.append(said)
        self.posted.append(said)

    def ask(self, data: st.DataObject) -> None:
        """Somebody asks something that is answered at once."""
        conn, label = self.someone(data), self.next_label()
        if data.draw(st.booleans()):
            conn.talk.say(b"<ping label=%s>x" % label)
            conn.answer(b"<pong label=%s>x" % label)
            return
        conn.talk.say(b"<get_users label=%s>" % label)
        names = sorted((other.name for other in self.named), key=lambda name: name.decode().lower())
        users = b"".join(b"<user label=%s>%s\n" % (label, name) for name in names)
        conn.answer(users + b"<users label=%s count=%d>" % (label, len(names)))

    # -- the journal

    def journal(self, data: st.DataObject) -> None:
        """The journal gets the next batch; it keeps it, refuses it, or takes its time."""
        step = data.draw(st.sampled_from(["take", "take", "appended", "appended", "appended", "refused"]))
        if not self.flight:
            self.take()
        if self.flight and step == "appended":
            self.appended(data.draw(st.integers(1, 3)))
        elif self.flight and step == "refused":
            self.refused()

    def take(self) -> None:
        taken = self.hub.take(NOON_MS)
        assert self.hub.posting == (taken is not None and len(taken[0]) < len(self.posted))
        if taken is None:
            assert not self.posted
            return
        assert len(taken[0]) <= len(self.posted)
        self.flight, entries = taken
        self.said, self.posted = self.posted[: len(self.flight)], self.posted[len(self.flight) :]
        fresh, keys = [], set()
        for said in self.said:
            key = (said.sender, said.once)
            if not said.once or (said.once not in said.sender.ids and key not in keys):
                fresh.append(said)
            keys.add(key)
        assert [
            (e.time_ms, e.sender_name.encode(), e.to_name and e.to_name.encode(), e.text) for e in entries
        ] == [(NOON_MS, said.sender.name, said.to.name if said.to else None, said.text) for said in fresh]
        self.fresh = len(fresh)

    def appended(self, gap: int) -> None:
        """The journal has the batch: now, and not before, it is shown."""
        ids = [self.last_id + gap * (n + 1) for n in range(self.fresh)]
        self.hub.appended(self.flight, ids, NOON_MS, self.now)
        self.flight = []
        coming = iter(ids)
        got: dict[Conn, list[int]] = {conn: [] for conn in self.here}
        for said in self.said:
            sender, name = said.sender, said.to.name if said.to else b"all"
            if said.once in sender.ids:
                sender.settle(
                    said, b"<accepted label=%s id=%d>%s" % (said.label, sender.ids[said.once], name)
                )
                continue
            id = self.last_id = next(coming)
            if said.once:
                sender.ids[said.once] = id
            others = [said.to] if said.to else [conn for conn in self.here if conn is not sender]
            for conn in others:
                if conn.here:
                    self.show_message(conn, id, said)
                    got[conn].append(id)
                    conn.messages.append(id)
            answer = b"<accepted label=%s id=%d>%s" % (said.label, id, name)
            if said.to is not None and not said.to.here:
                answer += b"\n<undelivered id=%d reason=gone>%s" % (id, name)
            sender.settle(said, answer)
            if said.to is None:
                rows = dict.fromkeys(others, "none")
                self.open.append(Broadcast(id, sender, self.now + 5, rows))
            elif said.to.here:
                said.to.waiting[id] = sender
        for conn, messages in got.items():
            conn.ends.update(dict.fromkeys(messages, conn.bytes_due))
        for said in self.said:
            self.let_go(said.sender)

    def show_message(self, conn: Conn, id: int, said: Said) -> None:
        head = b"<msg id=%d from=%s" % (id, said.sender.name)
        text = said.text
        if conn.hello:
            head += b" to=%s time=%s" % (conn.name if said.to else b"all", NOON)
        else:
            head += b"" if said.to else b" to=all"
            if "\u202e" in text.decode():
                text = f"\u2068{text.decode()}\u2069".encode()
        conn.show(head + b">" + text)

    def refused(self) -> None:
        """The journal kept nothing: everybody is told, and a key may be used again."""
        self.hub.refused(self.flight, JournalError("journal-unavailable", DISK_FULL))
        self.flight = []
        for said in self.said:
            said.sender.settle(
                said, b"<error code=journal-unavailable label=%s>%s" % (said.label, DISK_FULL.encode())
            )
        for said in self.said:
            self.let_go(said.sender)
        for said in self.said:
            again = [other for other in self.posted if (other.sender, other.once) == (said.sender, said.once)]
            if said.once and said.once not in said.sender.ids and not again:
                said.sender.keys.pop(said.once, None)

    # -- what became of it

    def flush(self, data: st.DataObject) -> None:
        """A connection is sent all that is due: line by line what was foretold."""
        conn = data.draw(st.sampled_from(self.everybody))
        self.check(conn)

    def check(self, conn: Conn) -> None:
        assert conn.talk.peer.dirty == bool(conn.talk.peer in self.hub.dirty)
        # A word about a message may wait for the answer to the next one, and goes with it.
        answered = not any(isinstance(answer, Said) for answer in conn.answers)
        assert not (conn.due and answered) or conn.talk.peer.dirty
        assert conn.talk.heard() == b"\n".join(conn.due).split(b"\n")[: None if conn.due else 0]
        assert conn.talk.peer.mailbox.total == conn.bytes_due
        conn.due.clear()
        conn.bytes_taken = conn.bytes_due
        if conn.talk.peer.dirty:
            self.hub.dirty.remove(conn.talk.peer)
            conn.talk.peer.dirty = False

    def reach(self, data: st.DataObject) -> None:
        """A part of the bytes is in a peer's kernel."""
        conn = self.someone(data)
        self.check(conn)
        position = conn.bytes_taken * data.draw(st.integers(1, 4)) // 4
        self.hub.reached(conn.talk.peer, position)
        conn.reached = max([conn.reached, *(id for id, end in conn.ends.items() if end <= position)])
        if conn.plain:
            for id in [id for id in conn.waiting if id <= conn.reached]:
                sender = conn.resting[id] = conn.waiting.pop(id)
                sender.notice(b"<sent id=%d>%s" % (id, conn.name))
            self.mark(conn, conn.reached, ("none",), "sent")

    def ack(self, data: st.DataObject) -> None:
        """A client acknowledges something, perhaps what it was not sent."""
        conn = self.someone(data)
        sent = st.sampled_from(conn.messages) if conn.messages else st.nothing()
        id = data.draw(st.one_of(sent, st.integers(1, self.last_id + 2)))
        label = self.next_label()
        conn.talk.say(b"<ack label=%s>%d" % (label, id))
        if id <= conn.acked:
            return
        if id not in conn.messages:
            conn.answer(
                b"<error code=not-sent label=%s>This connection was not sent a message %d." % (label, id)
            )
            return
        conn.acked = id
        for queue in (conn.resting, conn.waiting):
            for known in [known for known in queue if known <= id]:
                queue.pop(known).notice(b"<delivered id=%d>%s" % (known, conn.name))
        self.mark(conn, id, ("none", "sent"), "delivered")
        owed = [known for known in conn.messages if known > id]
        assert conn.plain or conn.talk.peer.unacked.messages == len(owed)  # type: ignore[union-attr]

    def mark(self, conn: Conn, upto: int, old: tuple[str, ...], new: str) -> None:
        for broadcast in self.open:
            if broadcast.id <= upto and broadcast.rows.get(conn) in old:
                broadcast.rows[conn] = new

    def count(self, data: st.DataObject) -> None:
        """Senders are told the counts that are final or due."""
        self.now += data.draw(st.sampled_from([0.0, 0.0, 1.0, 5.0]))
        self.hub.count(self.now)
        for broadcast in self.open[:]:
            rows = [*broadcast.rows.values()]
            if "none" in rows and broadcast.due > self.now:
                continue
            self.open.remove(broadcast)
            gone = b" undelivered=%d" % rows.count("gone") if "gone" in rows else b""
            counts = (broadcast.id, rows.count("sent"), rows.count("delivered"), gone, len(rows))
            broadcast.sender.notice(b"<receipt id=%d sent=%d delivered=%d%s of=%d>all" % counts)
        assert self.hub.counting == bool(self.open)

    def teardown(self) -> None:
        """At the end everybody has what was foretold."""
        for conn in self.everybody:
            self.check(conn)


class Anything(SynchronousTestCase):
    """The chat as a whole."""

    def test_conversations(self) -> None:
        """Whatever people do, each is shown exactly the lines that the model foretells, in their order."""
        self.patch(taking, "BATCH_LIMIT", 1000)
        run_state_machine_as_test(
            Conversation,
            settings=settings(
                examples(120),
                stateful_step_count=50,
                phases=[Phase.generate],  # to make a failure smaller would take minutes
            ),
        )


class Retries(SynchronousTestCase):
    """``once=`` makes a retry safe."""

    def setUp(self) -> None:
        self.chat = Chat()
        self.alice = self.chat.connect(b"alice")
        self.bob = self.chat.connect(b"bob")
        self.alice.heard()

    def taken(self) -> list[Post]:
        posts, _ = self.chat.hub.take(NOON_MS) or ([], [])
        return posts

    def test_again(self) -> None:
        """The same key and content is answered with the first id, in the same batch, a later one, and after it."""
        again = b"<set_msg once=k>bob hi"
        self.alice.say(again, again)
        posts = self.taken()
        self.alice.say(again)
        self.chat.hub.appended(posts, [7], NOON_MS, 0.0)
        self.assertEqual(self.chat.commit(), [])
        self.alice.say(again)
        self.assertEqual(self.chat.commit(), [])
        self.assertEqual(self.alice.heard(), [b"<accepted id=7>bob"] * 4)
        self.assertEqual(self.bob.heard(), [b"<msg id=7 from=alice>hi"])

    def test_refused_meanwhile(self) -> None:
        """When the first is refused, one of those that repeated it takes its place, and only one."""
        again = b"<set_msg once=k>bob hi"
        self.alice.say(again)
        posts = self.taken()
        self.alice.say(again, again, again)
        self.chat.hub.refused(posts, JournalError("journal-unavailable", DISK_FULL))
        self.assertEqual(self.chat.commit(), [1])
        self.assertEqual(self.alice.heard()[1:], [b"<accepted id=1>bob"] * 3)
        self.assertEqual(self.bob.heard(), [b"<msg id=1 from=alice>hi"])

    def test_refused_and_said_otherwise(self) -> None:
        """While a repetition waits, its key still stands for its content."""
        self.alice.say(b"<set_msg once=k>bob hi")
        posts = self.taken()
        self.alice.say(b"<set_msg once=k>bob hi")
        self.chat.hub.refused(posts, JournalError("journal-unavailable", DISK_FULL))
        self.alice.heard()
        self.alice.say(b"<set_msg once=k>bob ho", b"<set_msg once=k>bob hi")
        self.assertEqual(self.chat.commit(), [1])
        self.assertEqual(
            self.alice.heard(),
            [b"<accepted id=1>bob", b"<error code=key-reused>" + KEY_REUSED, b"<accepted id=1>bob"],
        )

    def test_free_after_refusal(self) -> None:
        """A key whose message was refused may stand for another one."""
        self.alice.say(b"<set_msg once=k>bob hi", b"<set_msg once=k>bob hi")
        self.chat.refuse()
        self.alice.say(b"<set_msg_all once=k>hi")
        self.assertEqual(self.chat.commit(), [1])
        self.assertEqual(self.bob.heard(), [b"<msg id=1 from=alice to=all>hi"])

    def test_other_content(self) -> None:
        """Another text, another recipient, and everybody instead of one are other content."""
        self.chat.connect(b"carol")
        self.alice.heard()
        self.alice.say(b"<set_msg once=k>bob hi")
        self.chat.commit()
        self.alice.heard()
        for other in (b"<set_msg once=k>bob hi!", b"<set_msg once=k>carol hi", b"<set_msg_all once=k>hi"):
            self.assertEqual(self.alice.answer(other), [b"<error code=key-reused>" + KEY_REUSED])
        self.assertEqual(self.chat.commit(), [])

    def test_scope(self) -> None:
        """A key is its owner's: others have the same one, and so has who comes back under the same name."""
        self.alice.say(b"<set_msg_all once=k>one")
        self.bob.say(b"<set_msg_all once=k>two")
        self.assertEqual(self.chat.commit(), [1, 2])
        self.chat.hub.leave(self.alice.peer)
        self.chat.connect(b"alice").say(b"<set_msg_all once=k>three")
        self.assertEqual(self.chat.commit(), [3])

    def test_limit(self) -> None:
        """The oldest key is forgotten past the limit, whatever becomes of its message."""
        self.patch(once_module, "ONCE_LIMIT", 2)
        for key in (b"a", b"b", b"c"):
            self.alice.say(b"<set_msg_all once=%s>hi" % key)
        self.chat.refuse()
        for key in (b"a", b"b", b"c"):
            self.alice.say(b"<set_msg_all once=%s>hi" % key)
        self.assertEqual(self.chat.commit(), [1, 2, 3])
        self.alice.say(b"<set_msg_all once=a>ho", b"<set_msg_all once=c>hi")
        self.assertEqual(self.chat.commit(), [4])
        self.assertEqual(self.alice.heard()[-2:], [b"<accepted id=4>all", b"<accepted id=3>all"])

    def test_forgotten_key_of_a_refused_message(self) -> None:
        """A key that was forgotten and given again is not lost when its first message is refused."""
        self.patch(once_module, "ONCE_LIMIT", 1)
        self.alice.say(b"<set_msg_all once=a>one")
        posts = self.taken()
        self.alice.say(b"<set_msg_all once=b>two", b"<set_msg_all once=a>three")
        self.chat.hub.refused(posts, JournalError("journal-unavailable", DISK_FULL))
        self.alice.say(b"<set_msg_all once=a>three")
        self.assertEqual(self.chat.commit(), [1, 2])
        self.assertEqual(self.alice.heard()[-1], b"<accepted id=2>all")


class Bounds(SynchronousTestCase):
    """What the hub does at its limits, and what only shows from the side."""

    def setUp(self) -> None:
        self.chat = Chat()
        self.alice = self.chat.connect(b"alice")
        self.bob = self.chat.connect(b"bob")
        self.alice.heard()

    def test_batches(self) -> None:
        """A batch ends when its texts fill it; the rest waits for the next."""
        self.patch(taking, "BATCH_LIMIT", 3000)
        self.alice.say(*[b"<set_msg_all>" + b"x" * 1000] * 5)
        sizes = []
        while (taken := self.chat.hub.take(NOON_MS)) is not None:
            sizes.append(len(taken[0]))
        self.assertEqual(sum(sizes), 5)
        self.assertEqual(sizes[0], 3)

    def test_batches_of_much_work(self) -> None:
        """A batch also ends when it is enough for one turn: by messages, and by who is told of a room's change."""
        self.patch(taking, "WORK_LIMIT", 10)
        self.patch(taking, "HEARERS", 1)
        for member in (self.alice, self.bob):
            member.say(b"<join>#tea")
            self.chat.commit()
        for lines, size in (
            ([b"<set_msg_all>x"] * 20, 10), ([b"<set_msg>bob x"] * 20, 4), ([b"<topic>#tea x"] * 20, 2),
        ):  # fmt: skip
            self.alice.say(*lines)
            taken = self.chat.hub.take(NOON_MS)
            assert taken is not None
            self.assertEqual(len(taken[0]), size)
            self.chat.hub.refused(taken[0], JournalError("journal-unavailable", DISK_FULL))
            while self.chat.hub.posting:
                self.chat.commit()

    def test_batches_of_little_texts(self) -> None:
        """Ten thousand tiny messages make batches that no peer is too slow for, however long the name."""
        loud = self.chat.connect("日".encode() * 32, b"<hello>")
        carol = self.chat.connect(b"carol", b"<hello>")
        for sender in (loud, self.alice):
            sender.say(*[b"<set_msg_all>x"] * 10_000)
            taken = self.chat.hub.take(NOON_MS)
            assert taken is not None
            posts, entries = taken
            first = self.chat.last_id + 1
            self.chat.hub.appended(posts, range(first, first + len(entries)), NOON_MS, 0.0)
            self.assertLess(carol.peer.mailbox.queued, 512 * 1024)
            self.chat.last_id += len(entries)
            self.chat.commit()
            carol.heard()

    def test_verdicts_on_several(self) -> None:
        """What reaches somebody at once is told to each of those who said it: hers, in order."""
        carol = self.chat.connect(b"carol")
        for talk in (self.alice, carol, self.alice, self.alice):
            talk.say(b"<set_msg>bob hi")
        self.chat.commit()
        self.alice.heard()
        carol.heard()
        self.chat.reach(self.bob)
        self.assertEqual(self.alice.heard(), [b"<sent id=%d>bob" % id for id in (1, 3, 4)])
        self.assertEqual(carol.heard(), [b"<sent id=2>bob"])

    def test_late_ack_of_a_plain_peer(self) -> None:
        """A plain peer's ack of what lies far behind is not known any more, and the newest verdicts rest."""
        self.patch(posting, "RECENT_LIMIT", 1)
        self.patch(hub_module, "RESTING_LIMIT", 2)
        self.bob.peer.resting = None
        for count in (2, 2, 1):
            self.alice.say(*[b"<set_msg>bob hi"] * count)
            self.chat.commit()
        self.chat.reach(self.bob)
        self.alice.heard()
        self.assertEqual(
            self.bob.answer(b"<ack>1"), [b"<error code=not-sent>This connection was not sent a message 1."]
        )
        self.assertEqual(self.bob.answer(b"<ack>5"), [])
        self.assertEqual(self.alice.heard(), [b"<delivered id=4>bob", b"<delivered id=5>bob"])

    def test_own_broadcast(self) -> None:
        """Nobody acknowledges her own message, or one from before she came, or one to somebody else."""
        self.alice.say(b"<set_msg_all>hi", b"<set_msg>bob hi")
        self.chat.commit()
        carol = self.chat.connect(b"carol")
        for talk, id in ((self.alice, 1), (self.alice, 2), (carol, 1), (carol, 2)):
            line = b"<error code=not-sent>This connection was not sent a message %d." % id
            self.assertEqual(talk.answer(b"<ack>%d" % id), [line])

    def test_resend(self) -> None:
        """What is sent again is what is not acknowledged, with the same ids; a plain peer is sent nothing again."""
        carol = self.chat.connect(b"carol", b"<hello caps=ack>")
        self.alice.say(b"<set_msg_all>one", b"<set_msg>carol two", b"<set_msg_all>three")
        self.chat.commit()
        first = carol.heard()
        self.chat.hub.resend(carol.peer)
        self.assertEqual(carol.heard(), first)
        carol.say(b"<ack>2")
        self.chat.hub.resend(carol.peer)
        self.assertEqual(carol.heard(), first[2:])
        carol.say(b"<ack>3")
        self.chat.hub.resend(carol.peer)
        self.chat.hub.resend(self.bob.peer)
        self.assertEqual((carol.heard(), self.bob.heard()[3:]), ([], []))

    def test_shared_buffer(self) -> None:
        """All plain members get one and the same object, and all full ones another."""
        others = [self.chat.connect(name, b"<hello>") for name in (b"carol", b"dave")]
        others.append(self.chat.connect(b"eve"))
        for talk in (self.alice, self.bob, *others):
            talk.heard()
        self.alice.say(b"<set_msg_all>one", b"<set_msg_all>two")
        self.chat.commit()
        bob, carol, dave, eve = (talk.peer.mailbox.take(1) for talk in (self.bob, *others))
        self.assertIs(bob, eve)
        self.assertIs(carol, dave)
        self.assertIsNot(bob, carol)

    def test_senders_first(self) -> None:
        """Those who wait for an answer are flushed before those who only listen."""
        self.chat.hub.dirty.clear()
        carol = self.chat.connect(b"carol")
        for talk in (self.alice, self.bob, carol):
            talk.heard()
            talk.peer.dirty = False
        self.chat.hub.dirty.clear()
        carol.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.assertEqual(self.chat.hub.dirty, [carol.peer, self.alice.peer, self.bob.peer])

    def test_dropped_messages_are_not_told_as_sent(self) -> None:
        """When a mailbox was cleared, what reaches the peer afterwards says nothing of what was dropped."""
        self.alice.say(b"<set_msg>bob one")
        self.chat.commit()
        self.bob.peer.mailbox.clear()
        self.alice.say(b"<set_msg>bob two")
        self.chat.commit()
        self.chat.reach(self.bob)
        self.alice.heard()
        self.chat.hub.leave(self.bob.peer)
        self.assertEqual(
            self.alice.heard(),
            [b"<left>bob", b"<undelivered id=1 reason=gone>bob", b"<undelivered id=2 reason=gone>bob"],
        )

    def test_senders_first_between_two(self) -> None:
        """Who said something is written to before who is to read it, also between two."""
        self.alice.say(b"<set_msg>bob hi")
        self.chat.commit()
        self.assertEqual(self.chat.hub.dirty[:2], [self.alice.peer, self.bob.peer])

    def test_last_bytes_arrive_late(self) -> None:
        """How far somebody came who has said goodbye is in the journal as it was told."""
        self.alice.say(b"<set_msg>bob hi")
        self.chat.commit()
        self.bob.say(b"<disconnect>")
        self.chat.hub.part(self.bob.peer)
        self.chat.hub.kept(self.chat.hub.changes(NOON_MS))
        self.chat.hub.reached(self.bob.peer, self.bob.peer.mailbox.total)
        (change,) = self.chat.hub.changes(NOON_MS).all
        self.assertEqual((change.standing.name, change.standing.sent), ("bob", 1))
        self.chat.hub.kept(self.chat.hub.changes(NOON_MS))
        self.assertIn(b"<sent id=1>bob", self.alice.heard())

    def test_handed(self) -> None:
        """Where nobody can tell what the peer's kernel has, the word is another one."""
        hub = Hub(durable=True, told=b"handed")
        alice, bob = Talk(hub), Talk(hub)
        alice.say(b"<connect>alice")
        bob.say(b"<connect>bob")
        alice.say(b"<set_msg>bob hi", b"<set_msg_all>hi")
        posts, _ = hub.take(NOON_MS) or ([], [])
        hub.appended(posts, [1, 2], NOON_MS, 0.0)
        alice.heard()
        hub.reached(bob.peer, bob.peer.mailbox.total)
        hub.count(0.0)
        self.assertEqual(alice.heard(), [b"<handed id=1>bob", b"<receipt id=2 handed=1 delivered=0 of=1>all"])

    def test_last_words(self) -> None:
        """What somebody says before a goodbye comes before it, and the name is not given away meanwhile."""
        eve = self.chat.connect()
        self.alice.say(b"<set_msg_all>signed, the old alice", b"<disconnect>")
        self.chat.hub.part(self.alice.peer)
        self.chat.hub.leave(self.alice.peer)
        self.assertEqual(self.bob.heard(), [])
        self.assertIn(b"<error code=name-taken>", eve.answer(b"<connect>alice")[0])
        (id,) = self.chat.commit()
        self.assertEqual(
            self.bob.heard(), [b"<msg id=%d from=alice to=all>signed, the old alice" % id, b"<left>alice"]
        )
        self.assertEqual(eve.answer(b"<connect>alice"), [b"<connected>alice"])

    def test_last_words_refused(self) -> None:
        """The same when the journal refuses them."""
        self.alice.say(b"<set_msg_all>hi")
        self.chat.hub.leave(self.alice.peer)
        taken = self.chat.hub.take(NOON_MS)
        assert taken is not None
        self.chat.hub.refused(taken[0], JournalError("journal-unavailable", DISK_FULL))
        self.assertEqual(self.bob.heard(), [b"<left>alice"])

    def test_arrived_after_the_goodbye(self) -> None:
        """The count of a message waits for the bytes of those who said goodbye meanwhile."""
        self.alice.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.chat.hub.part(self.bob.peer)
        self.alice.heard()
        self.chat.hub.count(0.0)
        self.assertEqual(self.alice.heard(), [])
        self.chat.hub.reached(self.bob.peer, 1 << 30)
        self.chat.hub.count(0.0)
        self.assertEqual(self.alice.heard(), [b"<receipt id=1 sent=1 delivered=0 of=1>all"])

    def test_keys_keep_no_texts(self) -> None:
        """What is remembered for a ``once=`` key is small, whatever the message was."""
        self.alice.say(b"<set_msg_all once=k>" + b"x" * 4000)
        self.chat.commit()
        assert self.alice.peer.identity is not None
        (known,) = (self.alice.peer.identity.once or {}).values()
        self.assertNotIsInstance(known, Post)

    def test_reached_after_leaving(self) -> None:
        """Bytes that arrive after the peer left change no verdict."""
        self.alice.say(b"<set_msg>bob hi")
        self.chat.commit()
        self.chat.hub.leave(self.bob.peer)
        self.alice.heard()
        self.chat.reach(self.bob)
        self.assertEqual(self.alice.heard(), [])
