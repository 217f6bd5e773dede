"""The turns of the daemon: one batch, one write a connection, and a beat only while somebody waits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pychat import intake, mailroom, poller, pump
from pychat.errors import JournalError
from pychat.hub import Hub
from pychat.interfaces import IJournal
from pychat.pump import GATHER, MOVED_DELAY, Pump
from pychat.vocabulary import Entry, Standing, Texts, spread
from tests.chatkit import Talk


@implementer(IJournal)
class SlowJournal:
    """Answers when it is told to, or at once."""

    durable = True
    last_id = last_identity = last_room = 0
    oldest = 1
    living = rooms = stays = ()

    def __init__(self) -> None:
        self.batches: list[Sequence[Entry]] = []
        self.standings: list[Standing] = []
        self.waiting: list[Deferred[Sequence[int]]] = []
        self.last = 0
        self.at_once = True

    def append(
        self, entries: Sequence[Entry | Texts], standings: Sequence[Standing] = ()
    ) -> Deferred[Sequence[int]]:
        assert not self.waiting, "one append at a time"
        self.standings += standings
        self.batches.append(spread(entries))
        done: Deferred[Sequence[int]] = Deferred()
        self.waiting.append(done)
        if self.at_once:
            self.commit()
        return done

    def commit(self) -> None:
        first = self.last + 1
        self.last += len(self.batches[-1])
        self.waiting.pop().callback(range(first, self.last + 1))

    def fail(self, error: Exception) -> None:
        self.waiting.pop().errback(error)

    def close(self) -> Deferred[None]:
        raise NotImplementedError


class Wire(Talk):
    """A connection that notes what it is asked, and is its own way out."""

    waiting = 0
    urgent = True

    def __init__(self, hub: Hub, name: str = "") -> None:
        super().__init__(hub)
        self.peer.way = self
        self.flushed: list[list[bytes]] = []
        self.looks = 0
        self.more = False
        self.error: Exception | None = None
        if name:
            self.say(b"<connect>" + name.encode())

    def flush(self) -> None:
        if self.error is not None:
            raise self.error
        self.flushed.append(self.heard())

    def look(self, now: float) -> bool:
        self.looks += 1
        if self.error is not None:
            raise self.error
        self.hub_reached()
        return self.more

    def give_up(self) -> bool:
        raise NotImplementedError

    def hub_reached(self) -> None:
        self.session.hub.reached(self.peer, self.peer.mailbox.total)


class PumpCase(SynchronousTestCase):
    """Alice and Bob are here."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub(durable=True)
        self.journal = SlowJournal()
        self.pump = Pump(self.clock, self.hub, self.journal, lambda: 1700000000.1239)
        self.alice, self.bob = Wire(self.hub, "alice"), Wire(self.hub, "bob")
        self.turn()
        self.forget()

    def turn(self) -> None:
        self.pump.wake()
        self.clock.advance(0)

    def forget(self) -> None:
        for wire in (self.alice, self.bob):
            wire.flushed.clear()


class Turns(PumpCase):
    """`Pump` drives the hub."""

    def test_behind(self) -> None:
        """A batch waits for what has come in and was not looked at, but only for some turns."""
        asked: list[int] = []

        def behind() -> bool:
            asked.append(len(asked))
            self.alice.say(b"<set_msg_all>%d" % len(asked))
            return True

        self.pump.behind = behind
        self.alice.say(b"<set_msg_all>0")
        self.turn()
        self.assertEqual(len(asked), GATHER + 1)
        self.assertEqual(len(self.bob.flushed[0]), GATHER + 2)

    def test_the_clock_is_set_back(self) -> None:
        """Nobody waits for the time that it was."""
        self.pump.mailroom.pause = 0.5
        self.clock.advance(3600.0)
        self.alice.say(b"<set_msg_all>1")
        self.turn()
        self.clock.rightNow -= 3600.0
        self.alice.say(b"<set_msg_all>2")
        self.turn()
        self.assertEqual(len(self.bob.flushed), 2)

    def test_soon_after_a_round(self) -> None:
        """What is said right after a round of writes waits until there may be another, with what comes since."""
        self.pump.mailroom.pause = 0.5
        self.clock.advance(1.0)
        self.alice.say(b"<set_msg_all>1")
        self.turn()
        self.assertEqual(len(self.bob.flushed), 1)
        self.alice.say(b"<set_msg_all>2")
        self.turn()
        self.clock.advance(0.4)
        self.bob.say(b"<set_msg_all>3")
        self.turn()
        self.assertEqual((self.hub.posting, len(self.bob.flushed)), (True, 1))
        self.clock.advance(0.1)
        self.assertEqual(self.hub.posting, False)
        self.assertEqual(self.bob.flushed[1:], [[b"<msg id=2 from=alice to=all>2", b"<accepted id=3>all"]])

    def test_one_turn(self) -> None:
        """All that came in one turn is one batch for the journal and one write for each connection."""
        self.alice.say(b"<set_msg_all>one", b"<set_msg>bob two")
        self.bob.say(b"<set_msg_all>three")
        for _ in range(3):
            self.pump.wake()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(self.journal.batches, [])
        self.clock.advance(0)
        self.assertEqual(
            [[entry.text for entry in batch] for batch in self.journal.batches], [[b"one", b"two", b"three"]]
        )
        self.assertEqual({entry.time_ms for entry in self.journal.batches[0]}, {1700000000123})
        self.assertEqual(
            self.alice.flushed,
            [[b"<accepted id=1>all", b"<accepted id=2>bob", b"<msg id=3 from=bob to=all>three"]],
        )
        self.assertEqual(len(self.bob.flushed), 1)

    def test_nothing_before_the_commit(self) -> None:
        """While a batch is committed nobody sees it; what comes meanwhile is the next batch."""
        self.journal.at_once = False
        self.alice.say(b"<set_msg_all>one")
        self.turn()
        self.alice.say(b"<set_msg_all>two")
        self.turn()
        self.bob.say(b"<set_msg_all>three")
        self.turn()
        self.assertEqual((len(self.journal.batches), self.alice.flushed, self.bob.flushed), (1, [], []))
        self.journal.commit()
        self.clock.advance(0)
        self.assertEqual([entry.text for entry in self.journal.batches[1]], [b"two", b"three"])
        self.assertEqual(self.bob.flushed, [[b"<msg id=1 from=alice to=all>one"]])
        self.journal.commit()
        self.clock.advance(0)
        self.assertEqual(self.bob.flushed[1:], [[b"<msg id=2 from=alice to=all>two", b"<accepted id=3>all"]])

    def test_other_answers_do_not_wait(self) -> None:
        """Who posted nothing is answered while the journal works."""
        self.journal.at_once = False
        self.alice.say(b"<set_msg_all>one")
        self.bob.say(b"<ping>x")
        self.turn()
        self.assertEqual((self.alice.flushed, self.bob.flushed), ([], [[b"<pong>x"]]))
        self.journal.commit()

    def test_repetitions_only(self) -> None:
        """A batch of nothing but repeated messages is answered as well."""
        self.alice.say(b"<set_msg_all once=k>one")
        self.turn()
        self.alice.say(b"<set_msg_all once=k>one")
        self.turn()
        self.assertEqual(self.alice.flushed, [[b"<accepted id=1>all"]] * 2)

    def test_refused(self) -> None:
        """What the journal refuses is answered with its error, and the next batch goes its way."""
        self.journal.at_once = False
        self.alice.say(b"<set_msg_all>one", b"<ping>x")
        self.turn()
        self.alice.say(b"<set_msg_all>two")
        self.journal.fail(JournalError("journal-unavailable", "The disk is full."))
        self.clock.advance(0)
        self.assertEqual(
            self.alice.flushed, [[b"<error code=journal-unavailable>The disk is full.", b"<pong>x"]]
        )
        self.journal.commit()
        self.clock.advance(0)
        self.assertEqual(self.alice.flushed[1:], [[b"<accepted id=1>all"]])

    def test_refused_runs(self) -> None:
        """The log counts messages, also those that were said together."""
        self.journal.at_once = False
        self.assertEqual(self.alice.session.receive_run([b"<set_msg_all>x"] * 3, 3), 3)
        self.turn()
        with capturedLogs() as events:
            self.journal.fail(JournalError("journal-unavailable", "The disk is full."))
        self.clock.advance(0)
        told = [formatEvent(event) for event in events]
        self.assertEqual(told, ["journal refused 3 messages: The disk is full."])
        self.assertEqual(self.alice.flushed, [[b"<error code=journal-unavailable>The disk is full."] * 3])

    def test_journal_breaks(self) -> None:
        """A journal that fails in a way that nobody foresaw refuses: nobody waits for ever."""
        self.journal.at_once = False
        self.alice.say(b"<set_msg_all>one")
        self.turn()
        self.journal.fail(ValueError("a bug"))
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(self.alice.flushed[0][0].startswith(b"<error code=journal-unavailable>"))
        self.journal.at_once = True
        self.alice.say(b"<set_msg_all>two")
        self.turn()
        self.assertEqual(self.alice.flushed[1:], [[b"<accepted id=1>all"]])

    @pytest.mark.patches
    def test_delivery_breaks(self) -> None:
        """An error while a batch is delivered is logged, and the next batch goes its way."""
        self.patch(self.hub, "appended", lambda *args: 1 // 0)
        self.alice.say(b"<set_msg_all>one")
        self.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.alice.say(b"<set_msg_all>two")
        self.turn()
        self.assertEqual(len(self.journal.batches), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_names_in_the_log(self) -> None:
        """What is compiled says where it is from, as all else does."""
        for module in (intake, mailroom, poller, pump):
            self.assertEqual(module._log.namespace, module.__name__)

    def test_one_connection_breaks(self) -> None:
        """An error of one connection is logged, and the others get theirs, now and later."""
        self.alice.error = ValueError("broken")
        for _ in range(2):
            self.alice.say(b"<ping>x")
            self.bob.say(b"<ping>x")
            self.turn()
        self.assertEqual(self.bob.flushed, [[b"<pong>x"]] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_settled(self) -> None:
        """It can be waited until all that was posted has its answer."""
        self.successResultOf(self.pump.settled())
        self.journal.at_once = False
        self.alice.say(b"<set_msg_all>one")
        first = self.pump.settled()
        self.turn()
        self.alice.say(b"<set_msg_all>two")
        second = self.pump.settled()
        self.journal.commit()
        self.clock.advance(0)
        self.assertNoResult(first)
        self.journal.commit()
        self.clock.advance(0)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.hub.posting, False)

    def test_stop(self) -> None:
        """Once it is stopped there are no more turns, beats or timers."""
        self.pump.mailroom.watch(self.alice)
        self.pump.wake()
        self.pump.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pump.wake()
        self.pump.mailroom.watch(self.bob)
        self.pump.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Beats(PumpCase):
    """`Pump` looks after the bytes that somebody waits for."""

    def test_watch(self) -> None:
        """A connection is looked at every beat until it needs no more; then there are no beats."""
        self.alice.more = True
        self.pump.mailroom.watch(self.alice)
        self.pump.mailroom.watch(self.alice)
        self.pump.mailroom.watch(self.bob)
        self.clock.pump([0.05] * 3)
        self.assertEqual((self.alice.looks, self.bob.looks), (3, 1))
        self.alice.more = False
        self.clock.pump([0.05] * 3)
        self.assertEqual(self.alice.looks, 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_forget(self) -> None:
        """A connection that is gone is not looked at, even if that happens in the middle of a beat."""
        self.pump.mailroom.watch(self.alice)
        self.pump.mailroom.forget(self.alice)
        self.pump.mailroom.forget(self.alice)
        self.clock.advance(0.05)
        self.assertEqual(self.alice.looks, 0)
        self.patch(self.bob, "look", lambda now: self.pump.mailroom.forget(self.bob) or True)
        self.pump.mailroom.watch(self.bob)
        self.clock.advance(0.05)
        self.assertEqual(len(self.clock.getDelayedCalls()), 0)

    def can_come_back(self) -> None:
        """Alice can: what she is told of her messages has to be in the journal first."""
        assert self.alice.peer.identity is not None
        self.alice.peer.identity.resumes = True

    def test_verdicts_at_once(self) -> None:
        """Who cannot come back is told at once: nobody asks the journal for it."""
        self.alice.say(b"<set_msg>bob hi")
        self.turn()
        self.forget()
        self.pump.mailroom.watch(self.bob)
        self.journal.at_once = False
        self.clock.advance(0.05)
        self.assertEqual(self.alice.flushed, [[b"<sent id=1>bob"]])
        self.assertEqual(len(self.journal.waiting), 0)

    def test_verdicts_go_with_answers(self) -> None:
        """Who waits for the answer to a message gets both together."""
        self.alice.say(b"<set_msg>bob hi")
        self.turn()
        self.forget()
        self.pump.mailroom.watch(self.bob)
        self.journal.at_once = False
        self.alice.say(b"<set_msg_all>again")
        self.turn()
        self.clock.advance(0.05)
        self.assertEqual(self.alice.flushed, [])
        self.journal.commit()
        self.turn()
        self.assertEqual(self.alice.flushed, [[b"<sent id=1>bob", b"<accepted id=2>all"]])

    def test_verdicts(self) -> None:
        """What a beat brings to light is written when the journal knows it, and that does not wait for a message."""
        self.can_come_back()
        self.alice.say(b"<set_msg>bob hi")
        self.turn()
        self.forget()
        self.pump.mailroom.watch(self.bob)
        self.journal.at_once = False
        self.clock.pump([0.05, MOVED_DELAY])
        self.assertEqual(self.alice.flushed, [])
        self.assertEqual(
            [(standing.name, standing.sent) for standing in self.journal.standings], [("bob", 1)]
        )
        self.journal.commit()
        self.turn()
        self.assertEqual(self.alice.flushed, [[b"<sent id=1>bob"]])

    def test_a_journal_that_keeps_nothing(self) -> None:
        """It is asked again after a while, not at once; a daemon that ends asks at once."""
        self.can_come_back()
        self.alice.say(b"<set_msg>bob hi")
        self.turn()
        self.journal.at_once = False
        self.pump.mailroom.watch(self.bob)
        self.clock.pump([0.05, MOVED_DELAY])
        self.journal.fail(JournalError("journal-unavailable", "The disk is full."))
        self.clock.pump([0.0, 0.5])
        self.assertEqual(len(self.journal.waiting), 0)
        self.clock.pump([0.5, 0.01])
        self.assertEqual(len(self.journal.waiting), 1)
        self.journal.commit()
        self.turn()
        self.assertIn(b"<sent id=1>bob", self.alice.flushed[-1])

    def test_settled_with_cursors(self) -> None:
        """Who waits for the end waits until the journal knows all cursors, and does not wait long."""
        self.can_come_back()
        self.alice.say(b"<set_msg>bob hi")
        self.turn()
        self.pump.mailroom.watch(self.bob)
        self.clock.advance(0.05)
        settled = self.pump.settled()
        self.assertNoResult(settled)
        self.pump.wake()
        self.clock.pump([0.0, 0.0, MOVED_DELAY, 0.0])
        self.successResultOf(settled)

    def test_counts(self) -> None:
        """While counts are open there are beats, and the counts are told when they are final or due."""
        self.alice.say(b"<set_msg_all>hi")
        self.turn()
        self.forget()
        self.clock.pump([0.05] * 99)
        self.assertEqual(self.alice.flushed, [])
        self.clock.advance(0.06)
        self.assertEqual(self.alice.flushed, [[b"<receipt id=1 sent=0 delivered=0 of=1>all"]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slower_with_many(self) -> None:
        """When very many are here the beat is slower, so that looking stays cheap; the more so when nobody waits."""
        self.patch(mailroom, "BEAT_SHARE", 0.5)
        self.patch(mailroom, "CALM_SHARE", 0.5)
        self.alice.more = self.bob.more = True
        self.bob.urgent = False
        self.pump.mailroom.watch(self.bob)
        self.clock.advance(0.25)
        self.pump.mailroom.watch(self.alice)
        looks = []
        for _ in range(7):
            self.clock.advance(0.25)
            looks.append((self.alice.looks, self.bob.looks))
        # Two people: Alice is asked every 0.5 s, because somebody waits for it, and each second both are.
        self.assertEqual(looks, [(0, 0), (1, 0), (2, 1), (2, 1), (3, 1), (3, 1), (4, 2)])
        self.patch(mailroom, "CALM_SHARE", 1000.0)
        self.pump.mailroom.forget(self.alice)
        self.clock.advance(mailroom.MAX_BEAT)
        before = self.bob.looks
        self.clock.advance(mailroom.MAX_BEAT)
        self.assertEqual(self.bob.looks, before + 1)

    def test_one_look_breaks(self) -> None:
        """An error while one connection is looked at does not keep the others from their verdicts."""
        self.alice.error = ValueError("broken")
        self.bob.more = True
        self.pump.mailroom.watch(self.alice)
        self.pump.mailroom.watch(self.bob)
        self.clock.pump([0.05] * 3)
        self.assertEqual(self.bob.looks, 3)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.pump.stop()
