"""What is read back from the journal, through the daemon's own parts on a clock of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from pychat import reading
from pychat.departures import HOLD
from pychat.errors import JournalError
from pychat.vocabulary import Page, Standing
from tests.plays.stage import FakeTransport, MemoryStage

BROKEN = JournalError("journal-unavailable", "The disk does not answer. Try again later.")


class Person:
    """Somebody with a client that says what a test wants."""

    def __init__(self, stage: MemoryStage, hello: str, connect: str) -> None:
        self.stage = stage
        self.transport = FakeTransport(stage.clock)
        self.protocol = stage.factory.buildProtocol(None)
        self.transport.protocol = self.protocol  # type: ignore[assignment]
        self.protocol.makeConnection(self.transport)
        self.say(*([hello] if hello else []), connect)

    def say(self, *lines: str) -> None:
        for line in lines:
            self.protocol.dataReceived(line.encode() + b"\n")

    def hear(self, seconds: float = 0.1) -> list[str]:
        """What came, a while later."""
        self.stage.clock.pump([0.02] * int(seconds / 0.02))
        lines = self.transport.out.decode().splitlines()
        self.transport.out = b""
        return lines

    def answer(self, *lines: str) -> list[str]:
        self.hear()
        self.say(*lines)
        return self.hear()


class ReadingCase(SynchronousTestCase):
    """Alice can come back, Bob is on `nc`."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.stage = MemoryStage(Path(folder.name))
        self.clock, self.journal = self.stage.clock, self.stage.journal
        self.alice = self.smart("<connect>alice")
        self.token = self.alice.hear()[-1].partition("resume=")[2].partition(">")[0]
        self.alice.say("<ping>")
        self.bob = Person(self.stage, "", "<connect>bob")
        self.bob.hear()
        self.alice.hear()

    def smart(self, connect: str) -> Person:
        return Person(self.stage, "<hello caps=ack,resume>", connect)

    def come(self, attributes: str = "") -> Person:
        """Alice comes back on another connection."""
        return self.smart(f"<connect resume={self.token}{attributes}>alice")

    def go(self) -> None:
        self.alice.transport.loseConnection()
        self.bob.hear()

    def unreadable(self, verb: str = "read") -> list[tuple[Any, ...]]:
        """The journal cannot be read until further notice; return what it is asked."""
        asked: list[tuple[Any, ...]] = []

        def refuse(*what: Any, **how: Any) -> Deferred[Any]:
            asked.append(what)
            return fail(BROKEN)

        self.patch(self.journal, verb, refuse)
        return asked

    def readable(self, verb: str = "read") -> None:
        self.patch(self.journal, verb, getattr(type(self.journal), verb).__get__(self.journal))


class Receipts(ReadingCase):
    """`<receipts>`: who has it."""

    def test_private(self) -> None:
        """With each step of one message."""
        carol = self.smart("<connect>carol")
        carol.hear()
        self.bob.say("<set_msg>carol hi")
        states = []
        for line in ("<ping>", "<ack>1", "<read>1"):
            carol.say(line)
            self.bob.hear()
            states.append(self.bob.answer("<receipts label=7>1"))
        self.assertEqual(
            states,
            [
                [f"<recipient label=7 state={state}>carol", "<receipts label=7 id=1 count=1>"]
                for state in ("waiting", "delivered", "read")
            ],
        )

    def test_gone(self) -> None:
        """With somebody who left: before it reached her, and after."""
        carol = Person(self.stage, "<hello caps=ack>", "<connect>carol")
        carol.hear()
        self.bob.say("<set_msg>carol one", "<set_msg>carol two")
        carol.hear()
        carol.say("<ack>1", "<disconnect>")
        carol.hear()
        self.bob.hear()
        for id, state in ((1, "delivered"), (2, "undelivered")):
            self.assertEqual(self.bob.answer(f"<receipts>{id}")[0], f"<recipient state={state}>carol")

    def test_everybody(self) -> None:
        """Who was here or away, in the order of names; not the sender, and not who came later."""
        carol = self.smart("<connect>carol")
        dave = self.smart("<connect>dave")
        erin = Person(self.stage, "<hello caps=ack>", "<connect>erin")
        erin.hear()
        dave.transport.loseConnection()
        self.alice.hear()
        self.alice.say("<set_msg_all>hi")
        carol.hear()
        self.smart("<connect>frank")
        carol.say("<read>1")
        erin.say("<disconnect>")
        self.alice.hear()
        self.assertEqual(
            self.alice.answer("<receipts>1"),
            [
                "<recipient state=sent>bob",
                "<recipient state=read>carol",
                "<recipient state=waiting>dave",
                "<receipts id=1 count=3>",
            ],
        )

    def test_who_has_left_since(self) -> None:
        """Of those who have left it is known what the journal kept of them."""
        dave = self.smart("<connect>dave")
        dave.hear()
        self.alice.say("<set_msg_all>hi")
        dave.hear()
        dave.say("<ack>1", "<disconnect>")
        self.assertEqual(
            self.alice.answer("<receipts>1"),
            ["<recipient state=sent>bob", "<recipient state=delivered>dave", "<receipts id=1 count=2>"],
        )

    def test_not_mine(self) -> None:
        """Messages of others, ids that were never given, and what the journal cannot tell."""
        self.alice.say("<set_msg_all>hi")
        self.alice.hear()
        for line in ("<receipts>1", "<receipts>2", "<receipts>999"):
            self.assertIn(
                "code=no-such-message label=7", self.bob.answer(line.replace(">", " label=7>", 1))[0]
            )
        self.unreadable("look_up")
        self.assertIn("code=journal-unavailable", self.alice.answer("<receipts>1")[0])

    def test_of_an_earlier_run(self) -> None:
        """Of who did not outlive it the journal may know nothing; then it did not arrive, as far as anybody knows."""
        self.bob.transport.stuck = True
        self.alice.say("<set_msg>bob hi")
        self.alice.hear()
        self.assertEqual(self.alice.answer("<receipts>1")[0], "<recipient state=waiting>bob")
        self.stage.start()
        alice = self.come()
        alice.hear()
        self.assertEqual(alice.answer("<receipts>1")[0], "<recipient state=unknown>bob")

    def test_gone_meanwhile(self) -> None:
        """Who left while the journal was asked gets no answer, and nothing breaks."""
        page: Deferred[Page] = Deferred()
        self.patch(self.journal, "read", lambda *what, **how: page)
        self.alice.say("<set_msg_all>hi", "<receipts>1")
        self.go()
        page.callback(Page((), 1, 1))
        self.assertIn("<pong>x", self.bob.answer("<ping>x"))


class ComingBack(ReadingCase):
    """What somebody who comes back is told."""

    def test_pages(self) -> None:
        """More than one page, and then live."""
        self.patch(reading, "PAGE", 2)
        self.go()
        self.bob.say(*(f"<set_msg_all>{n}" for n in range(5)))
        self.bob.hear()
        alice = self.come()
        self.assertEqual([line.partition(">")[2] for line in alice.hear()[3:]], ["0", "1", "2", "3", "4", ""])
        self.bob.say("<set_msg>alice 5")
        self.assertTrue(alice.hear()[-1].endswith(">5"))

    def test_room_for_acks(self) -> None:
        """Who does not acknowledge what she is sent gets no more of it meanwhile."""
        self.patch(reading, "PAGE", 2)
        self.patch(reading, "UNACKED_MARK", 100)
        self.go()
        self.bob.say(*("<set_msg_all>" + "x" * 100 for _ in range(6)))
        self.bob.hear()
        alice = self.come()
        for ack in ("<ack>2", "<ack>4", "<ack>6"):
            lines = alice.hear(1.0)
            self.assertEqual(len([line for line in lines if line.startswith("<msg")]), 2)
            alice.say(ack)
        self.assertEqual(lines[-1], "<replayed count=6>")

    def test_room_for_bytes(self) -> None:
        """Who does not read what she is sent gets no more of it meanwhile."""
        self.patch(reading, "PAGE", 1)
        self.patch(reading, "QUEUED_MARK", 100)
        self.go()
        self.bob.say(*("<set_msg_all>" + "x" * 100 for _ in range(6)))
        self.bob.hear()
        alice = self.come()
        alice.transport.stuck = True
        alice.hear(1.0)
        catchup = self.stage.pump.hub.catching(alice.protocol.peer)  # type: ignore[attr-defined]
        assert catchup is not None
        self.assertLess(catchup.count, 4)
        alice.transport.stuck = False
        alice.transport._written()
        self.assertEqual(alice.hear(1.0)[-1], "<replayed count=6>")

    def test_gone_while_there_was_no_room(self) -> None:
        """The reading ends with the connection."""
        self.patch(reading, "UNACKED_MARK", 0)
        self.patch(reading, "PAGE", 1)
        self.go()
        self.bob.say("<set_msg>alice 1", "<set_msg>alice 2")
        self.bob.hear()
        alice = self.come()
        alice.hear()
        alice.transport.loseConnection()
        self.assertEqual(self.bob.hear()[-1], "<away>alice")
        self.assertEqual(self.stage.pump.reading._waiting, {})

    def test_unreadable(self) -> None:
        """Who cannot be told what she missed is sent away to come again; her mail stays."""
        self.go()
        self.bob.say("<set_msg>alice hi")
        self.bob.hear()
        self.unreadable()
        alice = self.come()
        self.assertTrue(alice.hear()[-1].startswith("<goodbye code=cannot-read>"))
        self.assertTrue(alice.transport.closed)
        self.readable()
        again = self.come()
        self.assertIn("replay>hi", again.hear()[3])

    def test_replaced(self) -> None:
        """The older connection hears why it ends."""
        self.come()
        self.assertTrue(self.alice.hear()[-1].startswith("<goodbye code=replaced>"))
        self.assertTrue(self.alice.transport.closed)

    def test_the_old_token(self) -> None:
        """It is good until a line comes that was sent with the new one at hand."""
        alice = self.come()
        alice.hear()
        alice = self.come()
        alice.hear()
        alice.say("<ping>")
        alice.hear()
        self.assertIn("code=bad-token", self.come().hear()[-1])

    def test_the_old_token_while_the_answer_is_under_way(self) -> None:
        """A line that came before she can have the new token does not end the old one."""
        alice = self.come()
        alice.transport.stuck = True
        alice.hear()
        alice.say("<ping>")
        alice.hear()
        self.assertTrue(any("<connected" in line for line in self.come().hear()))

    def test_verdicts(self) -> None:
        """She learns what became of her private messages while she was away, from the one on that she names."""
        carol = self.smart("<connect>carol")
        dave = Person(self.stage, "<hello caps=ack>", "<connect>dave")
        carol.hear()
        self.alice.say(
            "<set_msg>bob 1", "<set_msg>carol 2", "<set_msg>dave 3", "<set_msg_all>4", "<set_msg>carol 5"
        )
        self.go()
        carol.say("<ack>2")
        dave.say("<disconnect>")
        carol.hear()
        alice = self.come(" after=5 open=1")
        lines = alice.hear()
        self.assertEqual(
            lines[lines.index("<replayed count=0>") + 1 :],
            ["<sent id=1>bob", "<delivered id=2>carol", "<undelivered id=3 reason=gone>dave"],
        )
        self.token = lines[2].partition("resume=")[2].partition(">")[0]
        alice.transport.loseConnection()
        alice = self.come(" after=5 open=3")
        lines = alice.hear()
        self.assertEqual(
            lines[lines.index("<replayed count=0>") + 1 :], ["<undelivered id=3 reason=gone>dave"]
        )

    def test_read_meanwhile(self) -> None:
        """What was read while she was away was delivered, too, and she is told both, as she would have been."""
        carol, dave = self.smart("<connect>carol"), self.smart("<connect>dave")
        for person in (carol, dave):
            person.hear()
        self.alice.say("<set_msg>carol 1", "<set_msg>carol 2", "<set_msg>dave 3")
        self.go()
        carol.hear()
        carol.say("<read>1")
        dave.say("<read>3", "<disconnect>")
        for person in (carol, dave):
            person.hear()
        lines = self.come(" after=3 open=1").hear()
        self.assertEqual(
            [line for line in lines if line.startswith(("<delivered", "<read "))],
            ["<delivered id=1>carol", "<read id=1>carol", "<delivered id=3>dave", "<read id=3>dave"],
        )

    def test_verdicts_of_an_earlier_run(self) -> None:
        """What is known of those who did not outlive it is said, and what is not known is not."""
        carol = self.smart("<connect>carol")
        carol.hear()
        self.alice.say("<set_msg>bob 1", "<set_msg>carol 2", "<set_msg>carol 3")
        self.bob.hear()
        carol.say("<ack>2")
        self.bob.transport.stuck = True
        self.alice.say("<set_msg>bob 4")
        self.alice.hear()
        self.stage.start()
        alice = self.come(" after=0 open=1")
        self.assertEqual(
            alice.hear()[-4:],
            [
                "<replayed count=0>",
                "<sent id=1>bob",
                "<delivered id=2>carol",
                "<undelivered id=4 reason=unknown>bob",
            ],
        )

    def test_verdicts_that_are_under_way(self) -> None:
        """What the journal is about to know is told when it does, and nothing that would not agree with it."""
        carol = self.smart("<connect>carol")
        carol.hear()
        self.alice.say("<set_msg>carol 1")
        carol.hear()
        self.go()
        answers: list[tuple[Deferred[Any], Any]] = []
        append = self.journal.append

        def later(*what: Any) -> Deferred[Any]:
            answers.append((Deferred(), append(*what)))
            return answers[-1][0]

        alice = self.come(" after=1 open=1")
        alice.protocol.dataReceived(b"")
        self.clock.pump([0.0, 0.0])
        self.patch(self.journal, "append", later)
        carol.say("<ack>1", "<disconnect>")
        lines = alice.hear()
        while answers:
            done, kept = answers.pop(0)
            kept.chainDeferred(done)
            lines += alice.hear()
        told = [line for line in lines if "id=1" in line]
        self.assertEqual(set(told), {"<delivered id=1>carol"})

    def held(
        self, verb: str, holds: Callable[..., bool] = lambda *what, **how: True
    ) -> list[Callable[[], None]]:
        """Hold what the journal answers; return what lets each answer go."""
        answers: list[Callable[[], None]] = []
        ask = getattr(self.journal, verb)

        def later(*what: Any, **how: Any) -> Any:
            if not holds(*what, **how):
                return ask(*what, **how)
            done: Deferred[Any] = Deferred()
            answer = ask(*what, **how)
            answers.append(lambda: answer.chainDeferred(done))
            return done

        self.patch(self.journal, verb, later)
        return answers

    def test_verdicts_before_an_end_that_is_under_way(self) -> None:
        """What somebody did while she was away is told now, also if the journal is just hearing of his end."""
        carol = self.smart("<connect>carol")
        carol.hear()
        self.bob.transport.stuck = True
        self.alice.say("<set_msg>bob 1", "<set_msg>carol 2")
        carol.hear()
        self.go()
        self.bob.transport.stuck = False
        self.bob.transport._written()
        self.bob.hear()
        pages = self.held("read", lambda *what, private=False, **how: private)
        alice = self.come(" after=2 open=1")
        self.assertEqual(alice.hear()[-1], "<replayed count=0>")
        kept = self.held("append")
        self.bob.say("<disconnect>")
        carol.say("<ack>2", "<disconnect>")
        alice.hear()
        pages.pop()()
        told = alice.hear()
        while kept or pages:
            (kept or pages).pop(0)()
            told += alice.hear()
        told = [line for line in told if "id=" in line]
        self.assertEqual(set(told), {"<sent id=1>bob", "<delivered id=2>carol"})
        self.assertLessEqual(len(told), 3)
        self.assertEqual(self.stage.pump.reading._unsure, {})

    def test_ended_while_the_journal_was_asked(self) -> None:
        """Nothing that would not be true is told of somebody who ends just then."""
        carol = self.smart("<connect>carol")
        dave = self.smart("<connect>dave")
        dave.hear()
        self.alice.say("<set_msg>carol 1", "<set_msg>dave 2")
        dave.hear()
        self.go()
        dave.say("<disconnect>")
        dave.hear()
        asked = self.held("standings")
        alice = self.come(" after=2 open=1")
        alice.hear()
        carol.say("<ack>1", "<disconnect>")
        told = alice.hear()
        while asked:
            asked.pop(0)()
            told += alice.hear()
        told = [line for line in told if "id=" in line]
        self.assertEqual(set(told), {"<delivered id=1>carol", "<undelivered id=2 reason=gone>dave"})

    def test_while_he_leaves(self) -> None:
        """Of somebody whose last bytes are on their way nothing is said before it is known what he has of them."""
        self.bob.transport.stuck = True
        self.alice.say("<set_msg>bob 1")
        self.go()
        self.bob.say("<disconnect>")
        alice = self.come(" after=1 open=1")
        told = alice.hear()
        self.assertEqual(told[-1], "<replayed count=0>")
        self.bob.transport.stuck = False
        self.bob.transport._written()
        told += alice.hear()
        self.assertEqual([line for line in told if "id=" in line][:1], ["<sent id=1>bob"])
        self.assertNotIn("undelivered", "".join(told))

    def test_gone_while_it_was_not_certain(self) -> None:
        """Nobody waits for what will not be told."""
        self.alice.say("<set_msg>bob 1")
        self.go()
        pages = self.held("read", lambda *what, private=False, **how: private)
        alice = self.come(" after=1 open=1")
        alice.hear()
        self.held("append")
        self.bob.say("<disconnect>")
        alice.hear()
        pages.pop()()
        alice.hear()
        self.assertEqual(len(self.stage.pump.reading._unsure), 1)
        alice.transport.loseConnection()
        self.stage.pump.reading.look()
        self.assertEqual(self.stage.pump.reading._unsure, {})

    def test_keys_that_cannot_be_read(self) -> None:
        """Nobody comes back before they are known; they are asked for again, whatever else waits."""
        self.alice.say("<set_msg_all once=k>hi")
        self.alice.hear()
        self.unreadable("keys")
        self.stage.start()
        self.assertIn("code=busy", self.come().hear()[-1])
        self.stage.pump.sweep()
        self.assertIn("code=busy", self.come().hear()[-1])
        self.readable("keys")
        self.stage.pump.sweep()
        self.stage.clock.pump([0.0, 0.0])
        alice = self.come()
        alice.hear()
        self.assertEqual(alice.answer("<set_msg_all once=k>hi"), ["<accepted id=1>all"])

    def test_many_keys(self) -> None:
        """At most a stated number of them is remembered."""
        self.patch(reading, "KEYS_LIMIT", 2)
        self.alice.say(*(f"<set_msg_all once=k{n}>{n}" for n in range(3)))
        self.alice.hear()
        self.stage.start()
        self.stage.clock.pump([0.0, 0.0])
        alice = self.come()
        alice.hear()
        self.assertEqual(
            alice.answer("<set_msg_all once=k2>2", "<set_msg_all once=k0>0")[:2],
            ["<accepted id=3>all", "<accepted id=4>all"],
        )

    def test_many_expire(self) -> None:
        """All who are away for too long are ended, and the sweeps in between are not in each other's way."""
        for number in range(250):
            person = self.smart(f"<connect>p{number}")
            person.hear(0.04)
            person.transport.loseConnection()
        self.clock.advance(HOLD)
        self.stage.pump.sweep()
        self.stage.pump.sweep()
        self.assertGreater(len(self.stage.pump.hub.roster.away), 100)
        self.clock.pump([0.05] * 5)
        self.assertEqual(len(self.stage.pump.hub.roster.away), 0)

    def test_gone_before_the_verdicts(self) -> None:
        """Who leaves before she could be told is told the next time."""
        answers: list[Deferred[Sequence[Standing]]] = []
        dave = Person(self.stage, "", "<connect>dave")
        self.alice.say("<set_msg>dave 1")
        dave.hear()
        dave.say("<disconnect>")
        self.go()

        def later(ids: Sequence[int]) -> Deferred[Sequence[Standing]]:
            answers.append(Deferred())
            return answers[-1]

        self.patch(self.journal, "standings", later)
        alice = self.come(" after=1 open=1")
        self.assertEqual(alice.hear()[-1], "<replayed count=0>")
        alice.transport.loseConnection()
        answers.pop().callback(())
        self.assertEqual(alice.hear(), [])

    def test_expired(self) -> None:
        """Those who wrote to somebody whose time was over are told, also if the journal cannot be read at first."""
        self.go()
        self.bob.say("<set_msg>alice hi", "<set_msg_all>ho")
        self.bob.hear(6.0)
        asked = self.unreadable()
        self.clock.advance(HOLD)
        self.stage.pump.sweep()
        self.assertEqual(self.bob.hear(), ["<left>alice"])
        self.assertEqual(len(asked), 1)
        self.stage.pump.sweep()
        self.assertEqual((self.bob.hear(), len(asked)), ([], 2))
        self.readable()
        self.stage.pump.sweep()
        self.assertEqual(self.bob.hear(), ["<undelivered id=1 reason=expired>alice"])
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_expired_after_she_said_what_she_has(self) -> None:
        """What she came back with was delivered, also if she was told nothing any more."""
        self.go()
        self.bob.say("<set_msg>alice one", "<set_msg>alice two")
        self.bob.hear(6.0)
        self.unreadable()
        self.assertIn("<goodbye code=cannot-read>", self.come(" after=1").hear()[-1])
        self.readable()
        self.bob.hear()
        self.clock.advance(HOLD)
        self.stage.pump.sweep()
        self.assertEqual(
            self.bob.hear(),
            ["<left>alice", "<delivered id=1>alice", "<undelivered id=2 reason=expired>alice"],
        )
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_few_errands_wait(self) -> None:
        """What waits for the journal to be readable is bounded."""
        self.patch(reading, "AGAIN_LIMIT", 2)
        self.bob.say("<set_msg>alice 1", "<set_msg>alice 2", "<set_msg>alice 3")
        self.alice.hear()
        self.unreadable()
        for id in (1, 2, 3):
            self.alice.say(f"<read>{id}")
            self.alice.hear()
        self.bob.hear()
        self.readable()
        self.stage.pump.sweep()
        self.assertEqual(self.bob.hear(), ["<read id=2>alice", "<read id=3>alice"])


class Former(ReadingCase):
    """What was said in a room before she left it."""

    def hear(self, person: Person) -> list[str]:
        heard = person.hear()
        (connected,) = [line for line in heard if "resume=" in line]
        self.token = connected.partition("resume=")[2].partition(">")[0]
        return [line for line in heard if line.startswith("<msg")]

    def test_the_connection_breaks_again(self) -> None:
        """It is told once more to who was told it on a connection that broke before she acknowledged it."""
        for person in (self.alice, self.bob):
            person.answer("<join>#tea")
        self.bob.answer("<set_msg>#tea one")
        self.alice.answer("<leave>#tea")
        self.go()
        for _ in range(3):
            again = self.come(" after=0")
            self.assertEqual(len(self.hear(again)), 1)
            again.transport.loseConnection()
            self.bob.hear()
