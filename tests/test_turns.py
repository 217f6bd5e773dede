"""How an engine gets its turns, and how one socket serves many of them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.errors import TransferError
from pychat.switchboard import LEAVE_SECONDS, SLICE_SECONDS, Switchboard
from pychat.transfer.terms import Done, Failed, Outcome, Train
from pychat.turns import PROGRESS_SECONDS, RESTLESS_SECONDS, ROOM_SECONDS, TURN_SECONDS, Turns
from tests.transferkit import CLIENT, Carrier, Engine, Later, datagram


class Worker(Turns):
    """Turns that have something for a thread to do."""

    job: Any = None
    result: Any = None
    done = 0
    let_go = 0

    def _work(self) -> None:
        if self.job is not None:
            job, self.job = self.job, None
            self._in_thread(self._finished, job)

    def _finished(self, result: Any) -> None:
        self.result = result
        if isinstance(result, Exception):
            raise result

    def _progressed(self) -> int:
        return self.done

    def _let_go(self) -> None:
        self.let_go += 1
        super()._let_go()


class TurnsCase(SynchronousTestCase):
    """An engine that does what it is told, and its turns."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = Engine(size=100)
        self.carrier = Carrier()
        self.threads = Later()
        self.outcomes: list[Outcome] = []
        self.turns = self.make(self.engine, self.carrier)
        self.turns.concluded = self.outcomes.append

    def make(self, engine: Engine, carrier: Any) -> Worker:
        return Worker(
            engine,
            carrier,
            reactor=self.clock,
            run_in_thread=self.threads,
            seconds=self.clock.seconds,
            name="a file",
        )


def train(data: bytes = b"a", address: Any = CLIENT) -> Train:
    return Train([data], len(data), address)


class SendingTests(TurnsCase):
    """What a turn sends."""

    def test_polls(self) -> None:
        """A turn goes on as long as more is due, and the deadline is the engine's."""
        self.engine.trains = [[train(b"a"), train(b"b")], [train(b"c")]]
        self.engine.due = 0.0
        self.turns.start()
        self.assertEqual([sent[0] for sent in self.carrier.sent], [[b"a"], [b"b"], [b"c"]])
        self.engine.due = 5.0
        self.clock.advance(RESTLESS_SECONDS)
        polls = len(self.engine.polls)
        self.clock.advance(4.5)
        self.assertEqual(len(self.engine.polls), polls)
        self.clock.advance(0.5)
        self.assertEqual((len(self.engine.polls), self.carrier.drained), (polls + 1, 2))

    def test_not_for_ever(self) -> None:
        """A turn ends after a while even though more is due: the rest is for the next one."""
        self.engine.trains = [[train()] for _ in range(100)]
        self.engine.due = 0.0
        seconds = iter([n * TURN_SECONDS / 4 for n in range(1000)])
        self.turns._seconds = lambda: next(seconds)
        self.turns.start()
        self.assertEqual(len(self.engine.polls), 4)
        self.clock.advance(0)
        self.assertGreater(len(self.engine.polls), 4)

    def test_nothing_due(self) -> None:
        """An engine that waits for nothing but its peer costs no timer."""
        self.engine.due = None
        self.turns.start()
        self.assertEqual((self.turns.gone, self.clock.getDelayedCalls()), (False, []))

    def test_no_room(self) -> None:
        """While the socket is full nothing is made that would be dropped; time is looked at all the same."""
        self.carrier.congested = True
        self.engine.due = 0.0
        self.turns.start()
        self.turns.turn()
        self.assertEqual((self.engine.polls, len(self.carrier.waiting)), ([], 2))
        self.clock.advance(ROOM_SECONDS)
        self.assertEqual(len(self.engine.polls), 1)
        self.carrier.congested = False
        self.turns.turn()
        self.assertEqual(len(self.engine.polls), 2)

    def test_too_big(self) -> None:
        """What can never leave is no fault of those who only send small ones."""
        self.carrier.fits = False
        self.engine.trains = [[train()]]
        self.turns.start()
        self.assertIsNone(self.turns.outcome)

    def test_heard(self) -> None:
        """What comes goes to the engine, and after the turn somebody may hear of it."""
        heard: list[int] = []
        self.turns.start()
        self.turns.heard = lambda: heard.append(len(self.engine.heard))
        self.turns.turn()
        self.turns.received(b"a", 1, CLIENT)
        self.turns.received(b"b", 1, CLIENT)
        self.turns.turn()
        self.turns.turn()
        self.assertEqual((heard, self.engine.heard), ([2], [(b"a", 1, CLIENT), (b"b", 1, CLIENT)]))

    def test_pause(self) -> None:
        """Pausing is the engine's; it has a turn to say so."""
        self.turns.start()
        polls = len(self.engine.polls)
        self.turns.pause(True)
        self.assertTrue(self.engine.paused)
        self.assertEqual(len(self.engine.polls), polls + 1)


class EndingTests(TurnsCase):
    """How it ends."""

    def test_done(self) -> None:
        """There is an outcome first, and nothing more to say later."""
        running = self.turns.start()
        self.engine.end()
        self.turns.turn()
        self.turns.turn()
        self.assertEqual((self.outcomes, self.turns.let_go), ([Done()], 1))
        self.assertNoResult(running)
        self.engine.closed = True
        self.turns.turn()
        self.assertEqual(self.successResultOf(running), Done())
        self.assertTrue(self.turns.gone)
        self.assertEqual(self.carrier.all, [])
        self.turns.received(b"a", 1, CLIENT)
        self.turns.turn()
        self.assertEqual(self.engine.heard, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Cancelling tells the peer, and fires when that is said."""
        running = self.turns.start()
        running.cancel()
        self.assertNoResult(running)
        (outcome,) = self.outcomes
        assert isinstance(outcome, Failed)
        self.assertEqual(outcome.code, "cancelled")
        self.engine.closed = True
        self.turns.turn()
        self.failureResultOf(running, CancelledError)

    def test_cancelled_while_working(self) -> None:
        """It does not fire before the thread is back, cancelled twice or not."""
        self.turns.job = lambda: 7
        running = self.turns.start()
        self.engine.last_word = False
        running.cancel()
        self.assertNoResult(running)
        self.assertTrue(self.turns.gone)
        self.threads.work()
        self.failureResultOf(running, CancelledError)
        self.assertIsNone(self.turns.result)

    def test_abandoned(self) -> None:
        """Nobody is there any more: no last words."""
        running = self.turns.start()
        self.turns.abandon("stream-lost", "Gone.")
        self.assertEqual(self.successResultOf(running), Failed("stream-lost", "Gone."))
        self.assertEqual(self.outcomes, [Failed("stream-lost", "Gone.")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_over_before_it_began(self) -> None:
        """One that failed before it was started is over at once."""
        self.turns.abandon("withdrawn", "No.")
        self.assertEqual(self.successResultOf(self.turns.start()), Failed("withdrawn", "No."))
        self.assertEqual(self.carrier.all, [])

    def test_released(self) -> None:
        """Its user is told when no thread is at work for it any more."""
        released: list[Outcome] = []
        self.turns.released = released.append
        self.turns.job = lambda: 7
        self.turns.start()
        self.turns.fail("cancelled", "No.")
        self.assertEqual((len(self.outcomes), released), (1, []))
        self.threads.work()
        self.assertEqual(released, self.outcomes)

    def test_retired(self) -> None:
        """Somebody else goes on: nothing is closed, nobody is told, no word is said."""
        self.turns.job = lambda: 7
        self.turns.start()
        retired = self.turns.retire()
        self.assertNoResult(retired)
        self.threads.work()
        self.successResultOf(retired)
        self.assertEqual((self.outcomes, self.turns.let_go, self.carrier.all), ([], 0, []))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        other = self.make(Engine(), self.carrier)
        other.start()
        self.successResultOf(other.retire())


class WorkingTests(TurnsCase):
    """Jobs for a thread."""

    def test_result(self) -> None:
        """One job at a time, and a turn when it is done."""
        self.turns.job = lambda: 7
        self.turns.start()
        self.turns.job = lambda: 8
        self.turns.turn()
        self.assertEqual(len(self.threads.jobs), 1)
        self.threads.work()
        self.assertEqual(self.turns.result, 7)
        self.threads.work()
        self.assertEqual(self.turns.result, 8)

    def test_expected_error(self) -> None:
        """An error that says what it is is the transfer's outcome."""

        def job() -> None:
            raise TransferError("disk-full", "No room.")

        self.turns.job = job
        self.turns.start()
        self.threads.work()
        self.assertEqual(self.outcomes, [Failed("disk-full", "No room.")])

    def test_unexpected_error(self) -> None:
        """Another one is logged, and the peer is told that there was one."""
        self.turns.job = lambda: 1 // 0
        self.turns.start()
        self.threads.work()
        (outcome,) = self.outcomes
        assert isinstance(outcome, Failed)
        self.assertEqual(outcome.code, "fault")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_error_after_the_end(self) -> None:
        """When it is over anyway nobody cares."""
        self.turns.job = lambda: 1 // 0
        self.turns.start()
        self.turns.fail("cancelled", "No.")
        self.threads.work()
        self.assertEqual(self.turns.let_go, 1)


class FaultTests(TurnsCase):
    """Faults of ours cost this transfer, and nothing else."""

    def check(self, logged: int = 1) -> None:
        (outcome,) = self.outcomes
        assert isinstance(outcome, Failed)
        self.assertEqual(outcome.code, "fault")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), logged)

    def broken(self, *arguments: Any) -> Any:
        return 1 // 0

    def test_hearing(self) -> None:
        """While something is heard."""
        self.engine.receive = self.broken  # type: ignore[method-assign]
        self.turns.start()
        self.turns.received(b"a", 1, CLIENT)
        self.check()

    def test_turn(self) -> None:
        """In a turn: then it cannot even take its leave, and is gone."""
        self.engine.poll = self.broken  # type: ignore[method-assign]
        running = self.turns.start()
        self.check(2)
        self.assertIsInstance(self.successResultOf(running), Failed)

    def test_cannot_fail(self) -> None:
        """In failing."""
        self.engine.fail = self.broken  # type: ignore[method-assign]
        running = self.turns.start()
        self.turns.fail("cancelled", "No.")
        self.check(2)
        outcome = self.successResultOf(running)
        self.assertEqual((self.turns.outcome, self.clock.getDelayedCalls()), (outcome, []))

    def test_again(self) -> None:
        """Again and again: the second time is the last."""
        self.turns.start()
        self.engine.receive = self.broken  # type: ignore[method-assign]
        self.turns.received(b"a", 1, CLIENT)
        self.turns.received(b"a", 1, CLIENT)
        self.assertTrue(self.turns.gone)
        self.check(2)

    def test_after_work(self) -> None:
        """When a thread came back."""
        self.turns.job = lambda: ZeroDivisionError()
        self.turns.start()
        self.threads.work()
        self.check()

    def test_hearers(self) -> None:
        """Faults of those who are told are logged, and the transfer goes on."""
        self.turns.progress = self.turns.concluded = self.turns.released = self.broken
        running = self.turns.start()
        self.engine.end()
        self.engine.last_word = False
        self.engine.closed = True
        self.turns.turn()
        self.assertEqual(self.successResultOf(running), Done())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)


class ProgressTests(TurnsCase):
    """Progress is told."""

    def test_now_and_then(self) -> None:
        """Ten times a second while it changes, and at the end."""
        told: list[tuple[int, int]] = []
        self.turns.progress = lambda *what: told.append(what)
        self.turns.start()
        self.turns.done = 10
        self.turns.turn()
        self.clock.advance(PROGRESS_SECONDS)
        self.turns.turn()
        self.clock.advance(PROGRESS_SECONDS)
        self.turns.turn()
        self.turns.done = 50
        self.turns.turn()
        self.turns.done = 100
        self.engine.end()
        self.turns.turn()
        self.assertEqual(told, [(0, 100), (10, 100), (50, 100), (100, 100)])
        self.assertEqual(self.turns.done_bytes, 100)


class SwitchboardTests(TurnsCase):
    """Many transfers on one socket."""

    def setUp(self) -> None:
        super().setUp()
        self.board = Switchboard(self.clock)

    def begin(self, transfer: bytes) -> Worker:
        turns = self.make(Engine(transfer), self.board)
        turns.start()
        return turns

    def test_told_apart(self) -> None:
        """Each hears what is its own, and has one turn after the burst."""
        one, other = self.begin(b"transfer"), self.begin(b"another ")
        self.assertEqual(len(self.board), 2)
        polls = len(one.engine.polls)
        for _ in range(3):
            self.board.trainReceived(datagram(b"transfer"), 49, CLIENT)
        self.assertEqual(len(one.engine.polls), polls)
        self.board.burstEnded()
        self.assertEqual((len(one.engine.heard), len(other.engine.heard)), (3, 0))
        self.assertEqual(len(one.engine.polls), polls + 1)

    def test_mixed_train(self) -> None:
        """A train that the kernel made of datagrams of several transfers is cut."""
        one, other = self.begin(b"transfer"), self.begin(b"another ")
        mixed = datagram(b"transfer") + datagram(b"another ") + datagram(b"another ", b"x")[:-3]
        for buffer in (mixed, memoryview(mixed)):
            self.board.trainReceived(buffer, 49, CLIENT)
        self.assertEqual([len(heard[0]) for heard in other.engine.heard], [49, 46] * 2)
        self.assertEqual([len(heard[0]) for heard in one.engine.heard], [49] * 2)
        self.board.trainReceived(datagram(b"transfer") * 2, 49, CLIENT)
        self.assertEqual(len(one.engine.heard[-1][0]), 98)
        self.board.burstEnded()

    def test_strangers(self) -> None:
        """What belongs to nobody is counted, and never answered."""
        self.board.trainReceived(datagram() * 3, 49, CLIENT)
        self.board.trainReceived(b"GET / HTTP/1.1" * 10, 14, CLIENT)
        self.board.trainReceived(b"", 1, CLIENT)
        turns = self.begin(b"transfer")
        turns.engine.counters.refused["forged"] = 2
        self.assertEqual(self.board.refused, {"unknown-transfer": 3, "malformed": 11, "forged": 2})
        turns.abandon("cancelled", "")
        self.assertEqual(self.board.refused["forged"], 2)

    def test_early(self) -> None:
        """What comes before its transfer is known can be kept for it, within bounds."""
        self.board = Switchboard(self.clock, early=100)
        for number in range(4):
            self.board.trainReceived(memoryview(datagram(body=b"%d" % number)), 49, CLIENT)
        self.board.trainReceived(datagram(b"another "), 49, CLIENT)
        turns = self.begin(b"transfer")
        self.assertEqual([heard[0][9:10] for heard in turns.engine.heard], [b"3"])
        other = self.begin(b"another ")
        self.assertEqual(len(other.engine.heard), 1)

    def test_many_in_a_burst(self) -> None:
        """Turns that take long are spread over several turns of the reactor."""
        all_of_them = [self.begin(b"%8d" % number) for number in range(5)]
        for turns in all_of_them:
            turns.engine.poll = self._slow_poll
            self.board.trainReceived(datagram(turns.transfer), 49, CLIENT)
        self.passed = 0
        self.board.burstEnded()
        self.assertEqual(self.passed, 2)
        self.board.burstEnded()
        self.board.due(all_of_them[0])
        self.board.serve(all_of_them[1])
        self.assertEqual(self.passed, 2)
        rounds: list[float] = []
        self.board.drain = lambda: rounds.append(self.clock.seconds())  # type: ignore[method-assign]
        self.clock.advance(0)
        self.assertEqual((self.passed, len(rounds), len(set(rounds))), (7, 3, 3))
        self.board.stopProtocol()

    def _slow_poll(self, now: float) -> list[Train]:
        self.passed += 1
        self.clock.rightNow += 0.6 * SLICE_SECONDS
        return []

    def test_room(self) -> None:
        """Who waits for room has a turn, in order, as far as the room goes."""
        room = Room(self.clock, self.board)
        first, second, third = (self.begin(b"%8d" % number) for number in range(3))
        for turns in (first, second, third):
            room.full = True
            turns.turn()
        room.full = False
        room.turned.clear()
        for turns in (first, second, third):
            turns.engine.trains = [[train(turns.transfer)]]
        room.fills_after = 2
        self.board.roomAgain()
        self.assertEqual(room.turned, [first.transfer, second.transfer])
        room.full, room.fills_after = False, 9
        third.abandon("cancelled", "")
        self.board.roomAgain()
        self.assertEqual(room.turned, [first.transfer, second.transfer])
        self.assertFalse(self.board._waiting)
        self.board.stopProtocol()

    def test_leave(self) -> None:
        """All are told, and the last one to have been heard ends it."""
        one, other = self.begin(b"transfer"), self.begin(b"another ")
        left = self.board.leave()
        again = self.board.leave()
        for turns in (one, other):
            self.assertEqual(turns.outcome, Failed(*Switchboard.going))
            self.assertNoResult(left)
            turns.engine.closed = True
            turns.turn()
        self.successResultOf(left)
        self.successResultOf(again)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leave_alone(self) -> None:
        """With nobody there it is over at once."""
        self.successResultOf(self.board.leave())
        self.board.stopProtocol()

    def test_leave_unheard(self) -> None:
        """Nobody waits longer than half a second."""
        self.begin(b"transfer")
        left = self.board.leave()
        self.clock.advance(LEAVE_SECONDS)
        self.successResultOf(left)
        self.assertEqual((len(self.board), self.clock.getDelayedCalls()), (0, []))

    def test_closed_without_leaving(self) -> None:
        """A port that just closes leaves nothing in the reactor, leaving or not."""
        running: Deferred[Any] = self.make(Engine(), self.board).start()
        self.board.leave()
        self.board.trainReceived(datagram(), 49, CLIENT)
        self.board.stopProtocol()
        self.assertIsInstance(self.successResultOf(running), Failed)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Room:
    """Has a switchboard believe that its socket is full, or fills after so many trains."""

    def __init__(self, clock: Clock, board: Any) -> None:
        self.full = False
        self.fills_after = 1000
        self.turned: list[bytes] = []
        room = self

        class Full(type(board)):  # type: ignore[misc]
            @property
            def congested(self) -> bool:
                return room.full

            def send(self, buffers: list[bytes], segment: int, address: Any) -> bool:
                room.turned.append(buffers[0])
                room.full = len(room.turned) >= room.fills_after
                return True

        board.__class__ = Full
