"""Tests of `pychat.client.member` with a daemon in memory: who comes back, as whom, and what was said exactly once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.client import outbox, store
from pychat.client.answers import LinkError, Refused
from pychat.client.backoff import CEILING, FIRST
from pychat.client.connection import ANSWER_TIMEOUT
from pychat.client.files import FileStore
from pychat.client.member import REPLAY_TIMEOUT, Member
from pychat.client.retry import GHOST_SECONDS
from pychat.client.seen import at_once
from pychat.client.store import MemoryStore
from pychat.errors import LocalProtocolError
from pychat.grammar import Line

from .pretended import Daemon, Said, Wire, member


class Chatting(SynchronousTestCase):
    """A daemon, and what a member needs."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.daemon = Daemon(self.clock)
        self.store: Any = MemoryStore()
        self.member, self.witness = member(self.daemon, self.store)

    def come(self) -> None:
        """Start, and be in the chat."""
        started = self.member.start()
        self.daemon.run()
        self.successResultOf(started)

    def wait(self, seconds: float = 31.0) -> None:
        """Let time pass, and everything arrive."""
        self.clock.advance(seconds)
        self.daemon.run()

    def cut(self) -> None:
        self.wire.cut()

    @property
    def wire(self) -> Wire:
        return self.daemon.wire

    def connects(self) -> list[bytes]:
        """The `<connect>` lines of all connections."""
        return [line for wire in self.daemon.wires for line in wire.heard if line.startswith(b"<connect")]


class Coming(Chatting):
    """The first connection."""

    def test_start(self) -> None:
        """Hello, then the name; started is who was let in, and the token is kept."""
        started = self.member.start()
        self.wire.out()
        self.wire.in_()
        self.assertEqual(self.wire.heard, [b"<hello label=~1 caps=ack,resume,multiline,udp>\n"])
        self.assertNoResult(started)
        self.daemon.run()
        self.successResultOf(started)
        self.assertEqual(self.wire.heard[1:], [b"<connect label=~2>alice\n", b"<pong>\n"])
        self.assertEqual(self.witness.take(), ["linked alice anew 1"])
        self.assertEqual((self.store.token, self.store.after), ("t1", 0))

    def test_keeps_the_name(self) -> None:
        """Who came once and said nothing keeps her name, and what waits for her, also while she is away."""
        self.come()
        self.assertEqual(self.wire.heard[2:], [b"<pong>\n"])
        self.cut()
        self.daemon.say("bob", "alice", b"hi")
        other, _ = member(self.daemon, MemoryStore())
        started = other.start()
        self.daemon.run()
        self.assertEqual(self.failureResultOf(started, Refused).value.code, "name-taken")
        self.wait()
        self.assertEqual(
            self.witness.take("linked", "message")[1:], ["linked alice resumed 2", "message 1 hi"]
        )

    def test_nobody_listens(self) -> None:
        """Without a first connection there is nothing to come back to."""
        self.daemon.reachable = False
        self.assertEqual(self.failureResultOf(self.member.start(), LinkError).value.code, "refused")
        self.assertEqual(self.witness.take(), ["ended refused"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_patient(self) -> None:
        """Who is patient waits for the daemon."""
        self.member, self.witness = member(self.daemon, self.store, patient=True)
        self.daemon.reachable = False
        started = self.member.start()
        self.assertEqual(self.witness.take(), ["broken refused"])
        self.daemon.reachable = True
        self.assertNoResult(started)
        self.wait()
        self.successResultOf(started)

    def test_name_taken(self) -> None:
        """Somebody else has the name: that does not pass."""
        other, _ = member(self.daemon, MemoryStore())
        other.start()
        self.daemon.run()
        started = self.member.start()
        self.daemon.run()
        self.assertEqual(self.failureResultOf(started, Refused).value.code, "name-taken")
        self.wait(0)
        self.assertFalse(self.wire.up)

    def test_daemon_without_hello(self) -> None:
        """The oldest daemon of all: no capabilities, and a chat all the same."""
        self.daemon._hello = self.daemon._other  # type: ignore[method-assign]
        self.come()
        self.member.post(None, "hi")
        self.daemon.run()
        self.assertEqual(self.witness.take(), ["linked alice anew 1", "accepted hi 1"])


class ComingBack(Chatting):
    """The connection breaks."""

    def test_resumes(self) -> None:
        """What was missed comes once, then all is live; the newest token and the last id are what is said."""
        self.come()
        self.daemon.say("bob", "alice", b"one")
        self.daemon.run()
        self.cut()
        self.daemon.say("bob", "alice", b"two")
        self.wait()
        self.daemon.say("bob", "all", b"three")
        self.daemon.run()
        self.assertEqual(
            self.witness.take(),
            [
                "linked alice anew 1", "message 1 one", "broken lost", "linked alice resumed 2", "message 2 two",
                "message 3 three",
            ],
        )  # fmt: skip
        self.assertEqual(self.connects()[1:], [b"<connect label=~2 resume=t1 after=1>alice\n"])
        self.assertEqual((self.store.token, self.store.after), ("t2", 3))
        self.assertEqual(self.wire.heard[-1], b"<ack>3\n")

    def test_edits(self) -> None:
        """What was said of messages meanwhile is told like messages; nothing is told twice."""
        self.come()
        self.cut()
        for text, about in ((b"hi", b""), (b"ho", b" edit=1"), (b"(message taken back)", b" retract=1")):
            self.daemon._append(Said(None, "bob", "#tea", text, about=about))
        self.wait()
        self.wire.say(self.daemon._msg(2))
        self.daemon.run()
        self.assertEqual(
            [raw.split(b" time=")[0].decode() for raw in self.witness.lines],
            [
                f"<msg id={id} from=bob to=#tea{about}"
                for id, about in ((1, ""), (2, " edit=1"), (3, " retract=1"))
            ],
        )
        self.assertEqual(self.store.after, 3)

    def test_looked_up(self) -> None:
        """What was looked up is no message: it moves nothing, and is told as a notice."""
        self.come()
        self.wire.say(b"<msg label=7 replay id=99 from=bob to=#tea>old")
        self.daemon.run()
        self.assertEqual((self.witness.log[-1], self.store.after), ("notice msg", 0))
        self.assertNotIn(b"<ack>99\n", self.wire.heard)

    def test_in_parts(self) -> None:
        """A message counts as read when its last line has come; broken off before, it comes again."""
        self.come()
        for part in (1, 2):
            self.wire.say(b"<msg id=1 from=bob to=alice part=%d/3>%d" % (part, part))
        self.daemon.run()
        self.assertEqual((self.store.after, self.wire.heard[3:]), (0, []))
        self.wire.say(b"<msg id=1 from=bob to=alice part=3/3>3")
        self.daemon.run()
        self.assertEqual((self.store.after, self.wire.heard[3:]), (1, [b"<ack>1\n"]))
        self.assertEqual(self.witness.take("message"), [f"message 1 {part}" for part in (1, 2, 3)])

    def test_shown_and_not_acknowledged(self) -> None:
        """A message whose acknowledgement was lost is not shown again, on that connection or the next."""
        self.come()
        self.daemon.say("bob", "alice", b"one")
        self.wire.out()
        self.cut()
        self.wait()
        self.wire.say(self.daemon._msg(1))
        self.daemon.run()
        self.assertEqual(self.witness.take("message"), ["message 1 one"])
        self.assertIn(b"<ack>1\n", self.wire.heard)

    def test_nothing_is_said_before_the_token_is_kept(self) -> None:
        """The answer to the daemon's ping waits: the old token dies with the first line, and we have no other."""
        self.come()
        self.cut()
        self.clock.advance(31)
        self.wire.out()
        self.wire.in_()
        self.wire.out()
        self.wire.say(b"<ping>there?")
        coming, self.wire.coming = self.wire.coming, b""
        self.assertIn(b"<ping>", coming)
        self.wire.client.dataReceived(b"<ping>there?\n")
        self.wire.in_()
        self.assertEqual(self.wire.verbs, ["hello", "connect"])
        kept: list[str | None] = []
        write = self.wire.transport.write
        self.wire.transport.write = lambda data: (kept.append(self.store.token), write(data))  # type: ignore[method-assign, func-returns-value]
        self.daemon.run()
        self.assertEqual(self.wire.verbs, ["hello", "connect", "pong"])
        self.assertEqual(kept, ["t2"])

    def test_answer_to_the_resume_is_lost(self) -> None:
        """The token that we have is still good."""
        self.come()
        for _ in range(3):
            self.cut()
            self.clock.advance(31)
            self.wire.out()
            self.wire.in_()
            self.wire.out()
            self.wire.in_()
        self.cut()
        self.wait()
        self.assertEqual(self.witness.take("linked"), ["linked alice anew 1", "linked alice resumed 2"])
        self.assertEqual({line.split(b" ")[2] for line in self.connects()[1:]}, {b"resume=t1"})

    def test_no_token(self) -> None:
        """A daemon that cannot write its journal gives no new token: the one that we have stays."""
        self.come()
        self.daemon.journals_tokens = False
        self.cut()
        self.wait()
        self.assertEqual(self.store.token, "t1")
        self.cut()
        self.wait()
        self.assertEqual(self.witness.take("linked")[-1], "linked alice resumed 3")

    def test_lost_while_it_is_replayed(self) -> None:
        """What was missed breaks off in the middle of a line: the rest comes later, and nothing twice."""
        self.come()
        self.cut()
        for number in range(5):
            self.daemon.say("bob", "alice", b"%d" % number)
        self.clock.advance(31)
        self.wire.out()
        self.wire.in_()
        self.wire.out()
        self.wire.in_()
        self.wire.out(len(self.wire.coming) // 2)
        self.cut()
        self.wait()
        self.assertEqual(
            self.witness.take("message"), [f"message {number + 1} {number}" for number in range(5)]
        )

    def test_silence_while_it_is_replayed(self) -> None:
        """A daemon that stops in the middle is given up, and asked again."""
        self.come()
        self.cut()
        self.daemon._replay = lambda *more: None  # type: ignore[method-assign]
        self.wait()
        self.assertTrue(self.wire.up)
        self.clock.advance(REPLAY_TIMEOUT)
        self.clock.advance(0)
        self.assertFalse(self.daemon.wires[1].up)
        self.assertEqual(self.witness.take("broken"), ["broken lost", "broken closed"])

    def test_bad_token(self) -> None:
        """The identity has ended: a new one under the same name, on the same connection, that has read nothing."""
        self.come()
        self.daemon.say("bob", "alice", b"one")
        self.daemon.run()
        self.cut()
        self.daemon.expire("alice")
        self.daemon.journal.clear()  # such as one in memory
        self.wait()
        self.daemon.say("bob", "alice", b"another one")
        self.daemon.run()
        self.assertEqual(self.witness.take()[-2:], ["linked alice anew 2", "message 1 another one"])
        self.assertEqual(len(self.daemon.wires), 2)
        self.assertEqual((self.store.token, self.store.after), ("t2", 1))

    def test_bad_token_and_somebody_else_has_the_name(self) -> None:
        """Then it ends, and says so."""
        self.come()
        self.cut()
        self.daemon.expire("alice")
        other, _ = member(self.daemon, MemoryStore())
        other.start()
        self.daemon.run()
        self.wait()
        self.assertEqual(self.witness.take()[-1], "ended name-taken")
        self.assertEqual(self.successResultOf(self.member.ended()).code, "name-taken")

    def test_journal_went_back(self) -> None:
        """A daemon that does not know the ids that we have read: we go on from what it knows, and see what is new."""
        self.come()
        for _ in range(3):
            self.daemon.say("bob", "alice", b"old")
        self.daemon.run()
        self.cut()
        del self.daemon.journal[1:]
        self.daemon.person("alice").since = 1  # type: ignore[union-attr]
        self.wait()
        self.daemon.say("bob", "alice", b"new")
        self.daemon.run()
        self.assertEqual(self.witness.take()[-2:], ["linked alice resumed rewound 2", "message 2 new"])
        self.assertEqual(self.store.after, 2)
        self.cut()
        self.wait()
        self.assertEqual(self.connects()[-1], b"<connect label=~2 resume=t2 after=2>alice\n")
        self.assertEqual(self.witness.take("linked"), ["linked alice resumed 3"])

    def test_replaced(self) -> None:
        """The same identity came back elsewhere: it is not fought for."""
        self.come()
        token = self.store.token
        other, _ = member(self.daemon, MemoryStore())
        other._store.identify(token)
        other.start()
        self.daemon.run()
        self.wait()
        self.assertEqual(self.witness.take()[-1], "ended replaced")
        self.assertIn("came back on another connection", self.successResultOf(self.member.ended()).sentence)
        self.assertEqual(len(self.daemon.wires), 2)

    def test_every_other_goodbye(self) -> None:
        """No other goodbye is for ever."""
        self.come()
        for code in (b"no-acks", b"too-slow", b"shutdown", b"idle", b"a-new-one"):
            self.wire.say(b"<goodbye code=%s>x" % code)
            self.wire.out()
            self.cut()
            self.assertEqual(self.witness.take("broken", "ended"), [f"broken {code.decode()}"])
            self.wait()
        self.assertEqual(self.witness.take("linked"), ["linked alice resumed 6"])

    def test_refused_for_the_moment(self) -> None:
        """A daemon that cannot let anybody in now is asked again."""
        self.come()
        self.daemon.taking = b"journal-unavailable"
        self.cut()
        self.wait()
        self.assertEqual(self.witness.take("broken"), ["broken lost", "broken journal-unavailable"])
        self.daemon.taking = b""
        self.wait()
        self.assertEqual(self.witness.take(), ["linked alice resumed 2"])

    def test_daemon_without_resume(self) -> None:
        """A new identity each time; our own name may still be taken by the connection that broke, for a while."""
        self.daemon.grants = {b"ack"}
        self.come()
        alice = self.daemon.person("alice")
        assert alice is not None
        self.cut()
        alice.wire = self.wire  # the daemon has not noticed
        self.wait()
        self.assertEqual(self.witness.take("broken", "linked", "ended")[-1], "broken name-taken")
        alice.wire = None
        self.wait()
        self.assertEqual(self.witness.take(), ["linked alice anew 2"])

    def test_name_taken_for_too_long(self) -> None:
        """A name that does not become free is somebody else's."""
        self.daemon.grants = {b"ack"}
        self.come()
        self.cut()
        self.daemon.taking = b"name-taken"
        for _ in range(int(GHOST_SECONDS / 10)):
            self.wait(30)
        self.assertEqual(self.witness.take("ended"), ["ended name-taken"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_token_that_never_came(self) -> None:
        """The answer to the first `<connect>` was lost: the name is ours again once the daemon has noticed."""
        for settings in ({}, {"patient": True}):
            self.setUp()
            self.member, self.witness = member(self.daemon, self.store, **settings)
            started = self.lose_the_answer()
            alice = self.daemon.person("alice")
            assert alice is not None
            alice.wire = self.wire  # the daemon has not noticed
            self.wait()
            self.assertEqual(self.witness.take(), ["broken lost", "broken name-taken"])
            self.assertNoResult(started)
            alice.wire = None
            self.wait()
            self.assertEqual(self.witness.take(), ["linked alice anew 1"])
            self.successResultOf(started)

    def test_token_that_never_comes(self) -> None:
        """Who is not patient tries no longer than the daemon may take to notice, whatever the reason."""

        def never(wire: Wire, line: Line, label: bytes) -> None:
            wire.cut()

        started = self.lose_the_answer()
        self.daemon._connect = never  # type: ignore[method-assign]
        while self.clock.seconds() < GHOST_SECONDS - 31:
            self.wait(30)
            self.assertNoResult(started)
        for _ in range(2):
            self.wait(31)
        self.assertEqual(self.failureResultOf(started, LinkError).value.code, "lost")
        self.assertEqual(self.witness.take("ended"), ["ended lost"])

    def lose_the_answer(self) -> Deferred[None]:
        """Start, and lose the connection after `<connect>` was written."""
        started = self.member.start()
        for _ in range(2):
            self.wire.out()
            self.wire.in_()
        self.assertEqual(self.wire.verbs, ["hello", "connect"])
        self.cut()
        return started

    def test_drop(self) -> None:
        """A test may break the connection, at any time."""
        self.member.drop()
        self.come()
        self.member.drop()
        self.clock.advance(0)
        self.member.drop()
        self.wait()
        self.assertEqual(
            self.witness.take(), ["linked alice anew 1", "broken closed", "linked alice resumed 2"]
        )

    def test_drop_while_it_opens(self) -> None:
        """Also before it is in the chat."""
        self.come()
        self.cut()
        self.clock.advance(31)
        self.wire.out()
        self.member.drop()
        self.clock.advance(0)
        self.wait()
        self.assertEqual(self.witness.take("linked")[-1], "linked alice resumed 2")

    def test_broken_observer(self) -> None:
        """An observer that fails is logged; what it was told counts as told."""
        self.come()
        self.patch(self.witness, "message", lambda line, raw: 1 / 0)
        self.daemon.say("bob", "alice", b"x")
        self.daemon.run()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.store.after, 1)


class BackingOff(Chatting):
    """When the next attempt is made."""

    def test_formula(self) -> None:
        """Doubled each time, up to the ceiling."""
        self.come()
        self.daemon.reachable = False
        self.cut()
        for _ in range(10):
            self.clock.advance(self.witness.delays[-1])
        self.assertEqual(self.witness.delays, [min(CEILING, FIRST * 2**n) for n in range(11)])

    def test_jitter(self) -> None:
        """All of it is drawn."""
        self.member, self.witness = member(self.daemon, self.store, random=0.25)
        self.come()
        self.daemon.reachable = False
        self.cut()
        self.clock.advance(self.witness.delays[0])
        self.assertEqual(self.witness.delays, [FIRST * 0.25, FIRST * 0.5])

    def test_lets_in_and_closes(self) -> None:
        """A daemon that lets us in and closes at once is not hammered."""
        self.come()
        for _ in range(10):
            self.cut()
            self.wait(self.witness.delays[-1])
        self.assertEqual(self.witness.delays, [min(CEILING, FIRST * 2**n) for n in range(10)])

    def test_lasted(self) -> None:
        """After a connection that was worth its wait it begins anew; one that was not goes on."""
        self.come()
        for lasted in (0.9, 1.1, 1.9, 30):
            self.clock.advance(lasted)
            self.cut()
            self.wait(self.witness.delays[-1])
        self.assertEqual(self.witness.delays, [FIRST, FIRST, FIRST, FIRST])
        self.cut()
        self.wait(self.witness.delays[-1])
        self.clock.advance(1.9)
        self.cut()
        self.assertEqual(self.witness.delays[-2:], [FIRST * 2, FIRST * 4])


class Posting(Chatting):
    """Everything posted is said exactly once."""

    def test_in_order(self) -> None:
        """Said as it is typed, each with a key of its own, and told once."""
        self.come()
        keys = [self.member.post(None, "1"), self.member.post("bob", "2"), self.member.post(None, b"3")]
        self.assertEqual([post.key for post in self.member.pending], keys)
        self.daemon.run()
        self.assertEqual(
            self.wire.heard[3:],
            [
                f"<set_msg_all label=~3 once={keys[0]}>1\n".encode(),
                f"<set_msg label=~4 once={keys[1]}>bob 2\n".encode(),
                f"<set_msg_all label=~5 once={keys[2]}>3\n".encode(),
            ],
        )
        self.assertEqual(len(set(keys)), 3)
        self.assertEqual(self.witness.take("accepted"), ["accepted 1 1", "accepted 2 2", "accepted 3 3"])
        self.assertEqual((self.member.pending, self.store.after), ((), 3))

    def test_without_a_connection(self) -> None:
        """What is said meanwhile is said later, after what was missed."""
        self.member.post(None, "before")
        self.come()
        self.cut()
        self.member.post(None, "between")
        self.daemon.say("bob", "all", b"hi")
        self.wait()
        self.assertEqual(
            self.witness.take(),
            [
                "linked alice anew 1", "accepted before 1", "broken lost", "linked alice resumed 2",
                "message 2 hi", "accepted between 3",
            ],
        )  # fmt: skip

    def test_about_messages(self) -> None:
        """What is said of messages is said once as well, and is kept for a connection like they are."""
        self.come()
        self.member.post("#tea", "one", reply=7)
        self.daemon.run()
        self.cut()
        keys = [
            self.member.edit(1, "two\nlines"), self.member.react(1, "+1"), self.member.react(1), self.member.retract(1),
        ]  # fmt: skip
        self.clock.advance(31)
        for _ in range(4):
            self.wire.out()
            self.wire.in_()
        self.assertEqual(self.wire.verbs, ["hello", "connect", "edit", "react", "react", "retract"])
        self.cut()
        self.wait()
        self.assertEqual(self.wire.verbs, ["hello", "connect"])
        self.assertEqual(
            [(said.about, said.to, said.text, said.once.decode()) for said in self.daemon.journal[1:]],
            [
                (b" edit=1", "#tea", b"two\nlines", keys[0]),
                (b" react=1", "#tea", b"+1", keys[1]),
                (b" react=1", "#tea", b"", keys[2]),
                (b" retract=1", "#tea", b"", keys[3]),
            ],
        )
        self.assertEqual(
            self.witness.take("accepted"),
            ["accepted one 1", "accepted two\nlines 2", "accepted +1 3", "accepted  4", "accepted  5"],
        )
        self.assertEqual(self.store.oldest_open, None)

    def test_several_lines(self) -> None:
        """A daemon that does not know texts of several lines is not sent them, and that is told."""
        self.daemon.grants = {b"ack", b"resume"}
        self.member.post("bob", "a\nb")
        self.member.post("bob", "c")
        self.come()
        self.assertEqual(
            self.witness.take(), ["linked alice anew 1", "refused a\nb no-multiline", "accepted c 1"]
        )

    def test_answer_lost(self) -> None:
        """What the daemon took and could not tell is told by the replay, and not said again."""
        self.come()
        self.member.post("bob", "hi")
        self.wire.in_()
        self.cut()
        self.wait()
        self.assertEqual(self.daemon.texts("alice"), [b"hi"])
        self.assertEqual(self.witness.take("accepted"), ["accepted hi 1"])
        self.assertEqual(self.wire.verbs, ["hello", "connect"])
        self.assertEqual(self.store.oldest_open, 1)

    def test_never_arrived(self) -> None:
        """What the daemon was never told is said again under the same key, in order, after the replay."""
        self.come()
        keys = [self.member.post(None, str(number)) for number in range(3)]
        self.cut()
        self.clock.advance(31)
        for _ in range(2):
            self.wire.out()
            self.wire.in_()
        self.assertEqual(self.wire.verbs, ["hello", "connect"])
        self.daemon.run()
        self.assertEqual(
            [line.split(b">")[0].split(b"once=")[1].decode() for line in self.wire.heard[2:]], keys
        )
        self.assertEqual(self.daemon.texts("alice"), [b"0", b"1", b"2"])

    def test_taken_twice(self) -> None:
        """A daemon whose replay does not say it answers the same key with the same id."""
        self.come()
        self.member.post(None, "hi")
        self.wire.in_()
        self.cut()
        self.daemon._replay = lambda wire, person, after: wire.say(b"<replayed count=0>")  # type: ignore[method-assign]
        self.wait()
        self.assertEqual(self.daemon.texts("alice"), [b"hi"])
        self.assertEqual(self.witness.take("accepted"), ["accepted hi 1"])

    def test_window(self) -> None:
        """So many are unanswered on a connection, and not one more."""
        self.patch(outbox, "WINDOW", 3)
        self.come()
        for number in range(10):
            self.member.post(None, str(number))
        self.wire.in_()
        self.assertEqual(self.wire.verbs.count("set_msg_all"), 3)
        self.daemon.run()
        self.assertEqual(self.daemon.texts("alice"), [b"%d" % number for number in range(10)])

    def test_bounded(self) -> None:
        """The outbox is bounded in number and in bytes, and says so."""
        self.patch(store, "POSTS_LIMIT", 3)
        self.patch(store, "POSTS_BYTES", 100)
        self.member.post(None, "x" * 60)
        for text, code in (("x" * 60, "outbox-full"), ("x" * 5000, "line-too-long"), ("a\r", "bad-line")):
            with self.assertRaises(LocalProtocolError) as caught:
                self.member.post(None, text)
            self.assertEqual(caught.exception.code, code)
        with self.assertRaises(LocalProtocolError):
            self.member.post("\udcff", "x")
        self.member.post(None, "2")
        self.member.post(None, "3")
        with self.assertRaises(LocalProtocolError):
            self.member.post(None, "4")
        self.come()
        self.assertEqual(len(self.daemon.texts("alice")), 3)
        self.member.post(None, "5")

    def test_refused(self) -> None:
        """What cannot be said is told once, and not tried again."""
        self.come()
        self.daemon.refusing = b"no-such-user"
        self.member.post("dave", "hi")
        self.daemon.run()
        self.cut()
        self.wait()
        self.assertEqual(self.witness.take("refused", "accepted"), ["refused hi no-such-user"])
        self.assertEqual(self.member.pending, ())

    def test_refused_for_the_moment(self) -> None:
        """What is refused for the moment goes out again, later each time, with what was said after it, in order."""
        self.come()
        self.daemon.refusing = b"journal-unavailable"
        self.member.post(None, "1")
        self.member.post(None, "2")
        self.daemon.run()
        self.member.post(None, "3")
        self.assertEqual(self.successResultOf(self.member.settled()), False)
        heard = len(self.wire.heard)
        self.clock.advance(FIRST - 0.01)
        self.daemon.run()
        self.assertEqual(len(self.wire.heard), heard)
        self.wait(0.02)
        self.assertEqual(self.wire.verbs.count("set_msg_all"), 5)
        self.daemon.refusing = b""
        self.wait(FIRST)
        self.assertEqual(self.daemon.texts("alice"), [])
        self.wait(FIRST)
        self.assertEqual(self.daemon.texts("alice"), [b"1", b"2", b"3"])
        self.assertEqual(
            self.witness.take("accepted", "refused", "postponed"),
            [
                "postponed 1 journal-unavailable", "postponed 2 journal-unavailable",
                "postponed 3 journal-unavailable", "accepted 1 1", "accepted 2 2", "accepted 3 3",
            ],
        )  # fmt: skip

    def test_doubtful(self) -> None:
        """The identity ended: what was written is in doubt and never sent again, what was not is sent."""
        self.come()
        self.member.post(None, "written")
        self.cut()
        self.member.post(None, "kept")
        self.daemon.expire("alice")
        self.wait()
        self.cut()
        self.wait()
        self.assertEqual(self.witness.take("doubtful", "accepted"), ["doubtful written", "accepted kept 1"])
        self.assertEqual(self.daemon.texts("alice"), [b"kept"])

    def test_refused_is_not_in_doubt(self) -> None:
        """What the daemon said it has not taken is sent, whoever we are by then."""
        self.come()
        self.daemon.refusing = b"journal-unavailable"
        self.member.post(None, "hi")
        self.daemon.run()
        self.daemon.refusing = b""
        self.cut()
        self.daemon.expire("alice")
        self.wait()
        self.assertEqual(self.witness.take("doubtful", "accepted"), ["accepted hi 1"])

    def test_doubtful_without_resume(self) -> None:
        """The same with a daemon that does not know how to come back."""
        self.daemon.grants = {b"ack"}
        self.come()
        self.member.post(None, "written")
        self.cut()
        self.wait()
        self.assertEqual(self.witness.take("doubtful", "accepted"), ["doubtful written"])

    def test_not_answered(self) -> None:
        """A daemon that does not answer is left, and what it did not answer is said again."""
        self.come()
        self.member.post(None, "hi")
        self.wire.transport.clear()
        self.clock.advance(ANSWER_TIMEOUT)
        self.clock.advance(0)
        self.wait()
        self.assertEqual(self.daemon.texts("alice"), [b"hi"])

    def test_settled(self) -> None:
        """Who ends waits until all is answered, or cannot be."""
        self.assertEqual(self.successResultOf(self.member.settled()), True)
        self.come()
        self.member.post(None, "hi")
        settled = self.member.settled()
        self.assertNoResult(settled)
        self.daemon.run()
        self.assertEqual(self.successResultOf(settled), True)
        self.member.post(None, "ho")
        settled = self.member.settled()
        self.cut()
        self.assertEqual(self.successResultOf(settled), False)
        self.assertEqual(self.successResultOf(self.member.settled()), False)

    def test_settled_while_it_is_replayed(self) -> None:
        """Who comes back waits as well: the connection is there, and what waits goes out in a moment."""
        self.come()
        self.cut()
        self.member.post(None, "hi")
        self.clock.advance(31)
        for _ in range(2):
            self.wire.out()
            self.wire.in_()
        coming, self.wire.coming = self.wire.coming, b""
        self.wire.client.dataReceived(coming.partition(b"\n")[0] + b"\n")
        self.wire.coming = coming.partition(b"\n")[2]
        self.assertEqual(self.witness.take("linked")[-1], "linked alice resumed 2")
        settled = self.member.settled()
        self.assertNoResult(settled)
        self.daemon.run()
        self.assertEqual(self.successResultOf(settled), True)


class Verdicts(Chatting):
    """What became of messages is told once."""

    def test_once(self) -> None:
        """Each word once for each message, whatever the daemon repeats."""
        self.come()
        self.member.post("bob", "hi")
        self.daemon.run()
        for line in (
            b"<delivered id=1>bob",
            b"<delivered id=1>bob",
            b"<read id=1>bob",
            b"<receipt id=9 of=1>all",
        ):
            self.wire.say(line)
        self.daemon.run()
        self.cut()
        self.wait()
        self.wire.say(b"<delivered id=1>bob")
        self.wire.say(b"<receipt id=9 of=1>all")
        self.daemon.run()
        self.assertEqual(
            self.witness.take("delivered", "read", "receipt", "sent"), ["delivered 1", "read 1", "receipt 9"]
        )

    def test_open(self) -> None:
        """The oldest message whose fate is open is what we ask from; none when all is known."""
        self.come()
        for number in range(4):
            self.member.post("bob" if number else None, str(number))
        self.daemon.run()
        for word, number in ((b"undelivered", 3), (b"sent", 2)):
            self.wire.say(b"<%s id=%d>bob" % (word, number))
        self.daemon.run()
        self.cut()
        self.wait()
        self.wire.say(b"<delivered id=4>bob")
        self.daemon.run()
        self.cut()
        self.wait()
        self.assertEqual(
            self.connects()[1:],
            [
                b"<connect label=~2 resume=t1 after=4 open=4>alice\n",
                b"<connect label=~2 resume=t2 after=4>alice\n",
            ],
        )

    def test_bounded(self) -> None:
        """Those that are remembered are bounded; the oldest go first."""
        self.patch(store, "FATES_LIMIT", 3)
        self.come()
        for number in range(6):
            self.member.post("bob", str(number))
        self.daemon.run()
        self.assertEqual(self.store.oldest_open, 4)

    def test_rooms(self) -> None:
        """What is said in a room has no fate but its count, on whichever way its id came."""
        self.come()
        assert self.member.client is not None
        self.member.post("#tea", "1")
        self.member.client.send(b"<set_msg label=7>#tea 2")
        self.daemon.run()
        self.member.post("#tea", "3")
        self.wire.in_()
        self.cut()
        self.wait()
        self.wire.say(b"<receipt id=1 sent=0 delivered=1 of=1>#tea")
        self.daemon.run()
        self.assertEqual(
            self.witness.take("accepted", "receipt"), ["accepted 1 1", "accepted 3 3", "receipt 1"]
        )
        self.assertEqual((self.store.oldest_open, self.store.after), (None, 3))

    def test_typed(self) -> None:
        """Messages that were sent past the outbox are watched as well."""
        self.come()
        assert self.member.client is not None
        self.member.client.send(b"<set_msg label=7 once=mine>bob hi")
        self.daemon.run()
        self.assertEqual(self.witness.log[-1], "notice accepted")
        self.assertEqual((self.store.oldest_open, self.store.after), (1, 1))


class Going(Chatting):
    """The end."""

    def test_leave(self) -> None:
        """The goodbye ends the identity, and the store forgets it; what could not be said stays."""
        self.patch(outbox, "WINDOW", 1)
        self.come()
        self.member.post(None, "1")
        self.member.post(None, "2")
        left = self.member.leave()
        self.wire.in_()
        self.daemon.run()
        self.assertEqual(self.successResultOf(left).code, "bye")
        self.assertEqual(self.store.token, None)
        self.assertEqual([post.text for post in self.member.pending], [b"2"])
        self.assertEqual(self.witness.take(), ["linked alice anew 1", "accepted 1 1", "ended bye"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leave_without_an_end(self) -> None:
        """A daemon that does not let us go is left after a while, and the identity is kept: it may still be there."""
        self.come()
        left = self.member.leave()
        self.wire.transport.clear()
        self.clock.advance(5)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(left).code, "timed-out")
        self.assertEqual(self.store.token, "t1")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_typed_disconnect(self) -> None:
        """However it was said."""
        self.come()
        assert self.member.client is not None
        self.member.client.send(b"<disconnect>")
        self.daemon.run()
        self.assertEqual((self.witness.take()[-1], self.store.token), ("ended bye", None))

    def test_suspend(self) -> None:
        """The identity is kept, and somebody starts again with it."""
        self.come()
        suspended = self.member.suspend()
        self.clock.advance(0)
        self.successResultOf(suspended)
        self.assertEqual(self.store.token, "t1")
        self.daemon.say("bob", "alice", b"hi")
        self.member, self.witness = member(self.daemon, self.store)
        self.come()
        self.assertEqual(self.witness.take(), ["linked alice resumed 1", "message 1 hi"])

    def test_end_at_any_time(self) -> None:
        """While it waits, connects or opens: it ends, and nothing is left of it."""

        def waiting(steps: int) -> None:
            self.come()
            self.cut()
            if steps:
                self.clock.advance(31)
            for _ in range(steps - 1):
                self.wire.out()
                self.wire.in_()

        for steps in range(4):
            for end in (Member.leave, Member.suspend):
                self.setUp()
                waiting(steps)
                ending: Deferred[Any] = end(self.member)
                self.clock.advance(0)
                self.daemon.run()
                self.clock.advance(0)
                self.successResultOf(ending)
                self.successResultOf(end(self.member))
                self.assertEqual(self.clock.getDelayedCalls(), [], (steps, end))
                self.assertEqual(self.witness.log.count("ended closed"), 1)
                self.assertEqual(self.store.token, "t1")


class Failing(Chatting):
    """What goes wrong here."""

    def test_store_that_raises(self) -> None:
        """A connection whose token cannot be kept is given up, and the next attempt brings us back."""
        self.come()
        commit = self.store.commit
        self.cut()
        self.store.commit = lambda sync=False: 1 / 0 if sync else None
        self.wait()
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(self.wire.up)
        self.store.commit = commit
        self.wait()
        self.assertEqual(self.witness.take("linked")[-1], "linked alice resumed 2")


class Restarting(Chatting):
    """The client is killed and started again: its file is all that it has."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.store = FileStore(Path(folder.name) / "x.chat")
        self.addCleanup(self.store.close)
        self.member, self.witness = member(self.daemon, self.store)

    def restart(self) -> None:
        """A new process; the one before was killed: what it had not committed is gone."""
        self.store = self.daemon.kill(self.store)
        self.clock = self.daemon.clock
        self.addCleanup(self.store.close)
        self.member, self.witness = member(self.daemon, self.store)

    def test_resumes(self) -> None:
        """As who it was, from where it was."""
        self.come()
        self.daemon.say("bob", "alice", b"one")
        self.daemon.run()
        self.restart()
        self.daemon.say("bob", "alice", b"two")
        self.come()
        self.assertEqual(self.witness.take(), ["linked alice resumed 1", "message 2 two"])

    def test_outbox(self) -> None:
        """Said exactly once: what had been typed without a connection, written, taken, or answered."""
        self.come()
        for number, step in enumerate((lambda: None, self.daemon.wire.in_, self.daemon.run)):
            self.member.post(None, str(number))
            step()
            self.restart()
            self.member.post(None, f"{number} later")
            self.restart()
            self.come()
        self.assertEqual(self.daemon.texts("alice"), [b"0", b"0 later", b"1", b"1 later", b"2", b"2 later"])
        self.assertEqual(self.member.pending, ())

    def test_in_doubt(self) -> None:
        """The identity ended while the client was dead: only what had never been written is sent."""
        self.come()
        self.member.post(None, "written")
        self.restart()
        self.member.post(None, "kept")
        self.restart()
        self.daemon.expire("alice")
        self.come()
        self.assertEqual(self.witness.take(), ["doubtful written", "linked alice anew 1", "accepted kept 1"])
        self.restart()
        self.come()
        self.assertEqual(self.witness.take(), ["linked alice resumed 1"])

    def test_token_before_anything(self) -> None:
        """Killed at the first line said after a new token, it has that token."""
        self.come()
        self.restart()
        self.come()
        tokens = []
        self.restart()
        started = self.member.start()
        write = self.daemon.wire.transport.write

        def dies(data: bytes) -> None:
            if self.store.token == "t3":
                tokens.append(self.store._database.execute("SELECT token FROM me").fetchone()[0])
            write(data)

        self.daemon.wire.transport.write = dies  # type: ignore[method-assign]
        self.daemon.run()
        self.successResultOf(started)
        self.member.post(None, "x")
        self.assertEqual(tokens, ["t3"])

    def test_kept_before_it_is_acknowledged(self) -> None:
        """What is acknowledged is in the file: the daemon does not tell it again."""
        self.come()
        kept = []
        write = self.wire.transport.write
        store = self.store

        def seen(data: bytes) -> None:
            kept.append(store._database.execute("SELECT after FROM me").fetchone()[0])
            write(data)

        self.wire.transport.write = seen  # type: ignore[method-assign]
        for text in (b"1", b"2"):
            self.daemon.say("bob", "alice", text)
        self.wire.out()
        self.assertEqual(kept, [2])

    def test_id_that_is_too_large(self) -> None:
        """No id that a file can hold: what has it is shown, and the file goes on."""
        self.come()
        for id in (2**63 - 1, 2**63, 10**19 - 1):
            self.wire.say(b"<delivered id=%d>bob" % id)
            self.wire.say(b"<accepted id=%d>bob" % id)
            self.wire.say(b"<msg id=%d from=bob to=alice>hi" % id)
        self.daemon.run()
        self.assertTrue(self.store.works)
        self.assertEqual(len(self.witness.take("message")), 3)
        self.restart()
        self.assertEqual((self.store.token, self.store.after), ("t1", 2**63 - 1))

    def test_verdicts(self) -> None:
        """What was told of a message is not told again."""
        self.come()
        for _ in range(2):
            self.member.post("bob", "hi")
        self.daemon.run()
        self.wire.say(b"<delivered id=2>bob")
        self.daemon.run()
        self.restart()
        self.come()
        self.assertEqual(self.connects()[-1], b"<connect label=~2 resume=t1 after=2 open=1>alice\n")
        for number in (1, 2):
            self.wire.say(b"<delivered id=%d>bob" % number)
        self.daemon.run()
        self.assertEqual(self.witness.take("delivered"), ["delivered 1"])


class Seeing(Chatting):
    """An observer that shows later what it was told."""

    def setUp(self) -> None:
        super().setUp()
        self.shown: list[Deferred[bool]] = []
        self.member, self.witness = member(self.daemon, self.store, shown=self.show)
        self.come()
        self.witness.take()

    def show(self) -> Deferred[bool]:
        self.shown.append(Deferred())
        return self.shown[-1]

    def acks(self) -> list[bytes]:
        return [line for line in self.wire.heard if line.startswith(b"<ack>")]

    def test_not_before_it_is_seen(self) -> None:
        """Nothing is stored as read or acknowledged before; one wait is enough for all that comes meanwhile."""
        for text in (b"one", b"two"):
            self.daemon.say("bob", "alice", text)
            self.daemon.run()
        self.assertEqual(self.witness.take(), ["message 1 one", "message 2 two"])
        self.assertEqual((self.store.after, self.acks(), len(self.shown)), (0, [], 1))
        self.shown[0].callback(True)
        self.daemon.run()
        self.assertEqual((self.store.after, self.acks(), len(self.shown)), (1, [b"<ack>1\n"], 2))
        self.shown[1].callback(True)
        self.daemon.run()
        self.assertEqual((self.store.after, self.acks(), len(self.shown)), (2, [b"<ack>1\n", b"<ack>2\n"], 2))

    def test_never_seen(self) -> None:
        """What nobody will see is not acknowledged."""
        self.daemon.say("bob", "alice", b"one")
        self.daemon.run()
        self.shown[0].callback(False)
        self.daemon.run()
        self.assertEqual((self.store.after, self.acks()), (0, []))

    def test_store_that_does_not_move(self) -> None:
        """It is not asked again and again, and nothing is acknowledged."""
        self.store.reached = lambda id: None  # type: ignore[method-assign]
        self.member._seen._shown = at_once
        self.daemon.say("bob", "alice", b"one")
        self.daemon.run()
        self.assertEqual((self.store.after, self.acks()), (0, []))

    def test_own_message_behind_it(self) -> None:
        """An id of our own does not stand for what was told before it."""
        self.daemon.say("bob", "alice", b"one")
        self.daemon.run()
        self.member.post("bob", "two")
        self.daemon.run()
        self.assertEqual((self.member.pending, self.store.after, self.acks()), ((), 0, []))

    def test_own_message_before_it(self) -> None:
        """An id of our own is nothing that this connection was sent: it is not acknowledged in the place of another."""
        self.member.post("bob", "one")
        self.daemon.run()
        self.shown[0].callback(True)
        self.daemon.say("bob", "alice", b"two")
        self.daemon.run()
        self.assertEqual((self.store.after, self.acks()), (1, []))
        self.shown[1].callback(True)
        self.daemon.run()
        self.assertEqual((self.store.after, self.acks()), (2, [b"<ack>2\n"]))

    def test_on_another_connection(self) -> None:
        """It comes again and is known; seen meanwhile, it is acknowledged where the member is now."""
        self.daemon.say("bob", "alice", b"one")
        self.daemon.run()
        self.wire.cut()
        self.wait()
        self.assertIn(b" after=0>", self.connects()[-1])
        self.assertEqual(self.witness.take("message"), ["message 1 one"])
        self.assertEqual(self.acks(), [])
        self.shown[0].callback(True)
        self.daemon.run()
        self.assertEqual((self.store.after, self.acks(), len(self.shown)), (1, [b"<ack>1\n"], 1))

    def test_of_an_identity_that_ended(self) -> None:
        """Its ids say nothing of those of the next."""
        for _ in range(3):
            self.daemon.say("bob", "alice", b"one")
        self.daemon.run()
        self.daemon.expire("alice")
        self.wire.cut()
        self.wait()
        self.shown[0].callback(True)
        self.assertEqual(self.store.after, 0)
