"""The way out for all connections: in slices, in order, under one ceiling."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat import mailroom as module
from pychat.hub import Hub
from pychat.mailroom import BEAT, RELIEF, Mailroom
from pychat.receipts import COUNT_DEADLINE
from tests.chatkit import NOON_MS, Talk


class Turns(Clock):
    """A clock that, like a reactor, runs in one turn only what was due before it."""

    def turn(self, seconds: float = 0.0) -> None:
        self.rightNow += seconds
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


class Crowd(SynchronousTestCase):
    """Seven connections, and slices of three."""

    def setUp(self) -> None:
        self.patch(module, "SLICE", 3)
        self.patch(module, "LOOKS", 3)
        self.clock = Turns()
        self.hub = Hub(durable=True)
        self.beats = 0
        self.mailroom = Mailroom(self.clock, self.hub, self.beaten)
        self.ways = [Way(self.hub, self.mailroom, self.clock) for _ in range(7)]
        self.hub.dirty.clear()
        for way in self.ways:
            way.heard()
            way.peer.dirty = False

    def beaten(self) -> None:
        self.beats += 1

    def flushed(self) -> list[list[bytes]]:
        lines = [way.flushed for way in self.ways]
        for way in self.ways:
            way.flushed = []
        return lines


class Way(Talk):
    """A connection that is its own way out."""

    def __init__(self, hub: Hub, mailroom: Mailroom, clock: Turns) -> None:
        super().__init__(hub)
        self.peer.way = self
        self.mailroom = mailroom
        self.clock = clock
        self.flushed: list[bytes] = []
        self.waiting = 0
        self.urgent = True
        self.watched = False
        self.looks: list[float] = []
        self.takes = self.writes = 0.0
        self.more = False
        self.ended = 0
        self.closing = False
        self.error: Exception | None = None

    def flush(self) -> None:
        if self.error is not None:
            raise self.error
        self.clock.rightNow += self.writes
        self.flushed += self.heard()

    def look(self, now: float) -> bool:
        self.looks.append(now)
        self.clock.rightNow += self.takes
        if self.error is not None:
            raise self.error
        return self.more

    def give_up(self) -> bool:
        self.ended += 1
        self.waiting = 0
        return not self.closing


class FlushTests(Crowd):
    """`Mailroom.flush`."""

    def test_slices(self) -> None:
        """Some are written to at once, and the others in the turns of the reactor that follow."""
        for number, way in enumerate(self.ways):
            way.peer.tell(b"%d\n" % number)
        self.mailroom.flush()
        self.assertEqual(self.flushed(), [[b"0"], [b"1"], [b"2"], [], [], [], []])
        self.clock.turn()
        self.assertEqual(self.flushed(), [[], [], [], [b"3"], [b"4"], [b"5"], []])
        self.clock.turn()
        self.assertEqual(self.flushed(), [[], [], [], [], [], [], [b"6"]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_very_many(self) -> None:
        """Where very many got something, the writing begins in the next turn."""
        self.patch(module, "MANY", 6)
        for way in self.ways:
            way.peer.tell(b"hi\n")
        self.mailroom.flush()
        self.assertEqual(self.flushed(), [[]] * 7)
        self.clock.turn()
        self.assertEqual(self.flushed(), [[b"hi"]] * 3 + [[]] * 4)

    def test_order(self) -> None:
        """Who still waits gets what came since with the rest, in order, and nobody is passed by."""
        for way in self.ways:
            way.peer.tell(b"first\n")
        self.mailroom.flush()
        self.ways[0].peer.tell(b"second\n")
        self.ways[6].peer.tell(b"second\n")
        self.mailroom.flush()
        self.assertEqual(self.ways[0].flushed, [b"first"])
        self.clock.turn()
        self.clock.turn()
        self.assertEqual(self.flushed(), [[b"first", b"second"], *[[b"first"]] * 5, [b"first", b"second"]])
        self.assertEqual((self.clock.getDelayedCalls(), self.hub.dirty), ([], []))

    def test_pause(self) -> None:
        """After a silence it goes out at once; what comes too soon after that waits, and goes out together."""
        self.mailroom.pause = 0.5
        self.clock.turn(1.0)
        told = self.ways[0].peer.tell
        for line in (b"1\n", b"2\n", b"3\n"):
            told(line)
            self.mailroom.flush()
        self.assertEqual(self.ways[0].flushed, [b"1"])
        self.clock.turn(0.25)
        told(b"4\n")
        self.mailroom.flush()
        self.assertEqual(self.ways[0].flushed, [b"1"])
        self.clock.turn(0.25)
        self.assertEqual(self.ways[0].flushed, [b"1", b"2", b"3", b"4"])
        self.clock.turn(0.5)
        told(b"5\n")
        self.mailroom.flush()
        self.assertEqual(self.ways[0].flushed[4:], [b"5"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_slices(self) -> None:
        """Where writing takes long there is less of it in one turn, and the others have theirs."""
        self.patch(module, "LOT", 1)
        for way in self.ways:
            way.writes = 0.0018
            way.peer.tell(b"hi\n")
        self.mailroom.flush()
        self.assertEqual(self.flushed(), [[b"hi"]] * 2 + [[]] * 5)
        self.clock.turn()
        self.assertEqual(self.flushed(), [[]] * 2 + [[b"hi"]] * 2 + [[]] * 3)
        for _ in range(2):
            self.clock.turn()
        self.assertEqual(self.flushed(), [[]] * 4 + [[b"hi"]] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_clock_that_is_set_back(self) -> None:
        """It ends a slice, and makes nobody wait."""
        self.mailroom.pause = 0.001
        self.patch(module, "LOT", 1)
        self.ways[0].writes = -5.0
        for way in self.ways[:2]:
            way.peer.tell(b"hi\n")
        self.mailroom.flush()
        self.assertEqual(self.flushed()[:2], [[b"hi"], []])
        self.clock.turn()
        self.assertEqual(self.flushed()[:2], [[], [b"hi"]])
        self.assertGreater(self.mailroom.rest, 0)
        self.clock.rightNow -= 5.0
        self.assertEqual(self.mailroom.rest, 0)

    def pause_after(self, ways: int, writes: float) -> float:
        """Seconds for which what comes at once after a round waits, if each took so long to be written to."""
        for way in self.ways[:ways]:
            way.writes = writes
            way.peer.tell(b"hi\n")
        self.mailroom.flush()
        while self.clock.getDelayedCalls():
            self.clock.turn()
        return self.mailroom.rest

    def test_pause_for_answers(self) -> None:
        """The longer a round took the longer the next one waits for the answers to it, up to a limit."""
        self.mailroom.pause = 0.001
        self.assertAlmostEqual(self.pause_after(1, 0.0001), 0.001)
        self.clock.turn(1.0)
        self.assertAlmostEqual(self.pause_after(3, 0.0004), 3 * 0.0004 * module.ANSWERING)
        self.clock.turn(1.0)
        self.assertAlmostEqual(self.pause_after(1, 0.5), module.MAX_PAUSE)

    def test_pause_for_slow_answers(self) -> None:
        """So it does when the clock has cut the round into several turns."""
        self.mailroom.pause = 0.001
        self.patch(module, "LOT", 1)
        self.assertAlmostEqual(self.pause_after(2, 0.0006), 2 * 0.0006 * module.ANSWERING)
        self.clock.turn(1.0)
        self.patch(module, "LOT", 3)
        self.assertAlmostEqual(self.pause_after(3, 0.0021), module.MAX_PAUSE)
        self.clock.turn(1.0)
        self.patch(module, "LOT", 1)
        self.assertAlmostEqual(self.pause_after(3, 0.0021), module.MAX_PAUSE)

    def test_no_pause_for_answers(self) -> None:
        """While a round takes several turns what answers it is read between them: then nothing waits for more."""
        self.mailroom.pause = 0.001
        self.assertAlmostEqual(self.pause_after(7, 0.0003), 0.001)
        self.clock.turn(1.0)
        self.assertAlmostEqual(self.pause_after(3, 0.0004), 3 * 0.0004 * module.ANSWERING)

    def test_busy(self) -> None:
        """It is busy until all who got something from a batch have it, whatever others get meanwhile."""
        emptied: list[bool] = []
        self.mailroom._emptied = lambda: emptied.append(self.mailroom.busy)
        for way in self.ways[:4]:
            way.peer.tell(b"from the batch\n")
        self.mailroom.delivered()
        self.assertTrue(self.mailroom.busy)
        self.mailroom.flush()
        for way in (*self.ways[4:], self.ways[0]):
            way.peer.tell(b"something else\n")
        self.mailroom.flush()
        self.assertEqual((self.mailroom.busy, emptied), (True, []))
        self.clock.turn()
        self.assertEqual((self.mailroom.busy, emptied), (False, [False]))
        for way in self.ways:
            way.peer.tell(b"more\n")
            self.mailroom.flush()
        self.clock.turn()
        self.assertEqual(emptied, [False])

    def test_a_fault(self) -> None:
        """What goes wrong with one connection is its own."""
        for way in self.ways:
            way.peer.tell(b"hi\n")
        self.ways[1].error = ValueError("a fault")
        self.mailroom.flush()
        self.clock.turn()
        self.clock.turn()
        self.assertEqual(self.flushed(), [[b"hi"], [], *[[b"hi"]] * 5])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_stop(self) -> None:
        """Nothing is left to run once it has stopped."""
        for way in self.ways:
            way.peer.tell(b"hi\n")
            self.mailroom.watch(way)
        self.mailroom.flush()
        self.mailroom.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.mailroom.flush()
        self.mailroom.watch(self.ways[0])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class BeatTests(Crowd):
    """`Mailroom.watch`."""

    def test_slices(self) -> None:
        """The connections are asked in slices; the beat is over when all were, and only then comes the next one."""
        for way in self.ways:
            way.more = True
            self.mailroom.watch(way)
        self.clock.turn(BEAT)
        self.assertEqual(([len(way.looks) for way in self.ways], self.beats), ([1, 1, 1, 0, 0, 0, 0], 0))
        self.mailroom.watch(self.ways[0])
        self.assertTrue(self.ways[4].watched)
        self.mailroom.forget(self.ways[4])
        self.assertFalse(self.ways[4].watched)
        self.clock.turn()
        self.assertEqual(([len(way.looks) for way in self.ways], self.beats), ([1, 1, 1, 1, 0, 1, 0], 0))
        self.clock.turn()
        self.assertEqual(([len(way.looks) for way in self.ways], self.beats), ([1, 1, 1, 1, 0, 1, 1], 1))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_fault(self) -> None:
        """Who cannot be asked is not asked again."""
        self.ways[0].error = ValueError("a fault")
        self.mailroom.watch(self.ways[0])
        self.clock.turn(BEAT)
        self.assertEqual((len(self.ways[0].looks), self.clock.getDelayedCalls()), (1, []))
        self.assertFalse(self.ways[0].watched)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_slow(self) -> None:
        """Where a look takes long there are fewer of them, so that all else has its time; in the end they are quick."""
        for way in self.ways:
            way.takes, way.more = 0.002, True
            self.mailroom.watch(way)
        times = []
        for _ in range(30):
            (beat,) = self.clock.calls
            times.append(beat.getTime() - self.clock.seconds())
            self.clock.turn(times[-1])
            while self.beats < len(times):
                self.clock.turn()
            if len(times) == 20:
                for way in self.ways:
                    way.takes = 0.0
        looking = 7 * 0.002
        self.assertAlmostEqual(times[0], BEAT)
        self.assertEqual(
            [round(time, 6) for time in times[:20]], sorted(round(time, 6) for time in times[:20])
        )
        self.assertAlmostEqual(times[19], looking * 32, 3)
        self.assertAlmostEqual(times[29], BEAT)

    def test_slow_slices(self) -> None:
        """Where a look takes long fewer are asked in one turn, and who has what is counted in a turn of its own."""
        self.patch(module, "LOT", 1)
        teller, reader = self.ways[:2]
        teller.say(b"<connect>alice")
        reader.say(b"<connect>bob")
        teller.say(b"<set_msg_all>hi")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.hub.appended(posts, [1], NOON_MS, -COUNT_DEADLINE)
        self.mailroom.flush()
        for way in self.ways:
            way.takes = 0.0006
            self.mailroom.watch(way)
        seen = []
        self.clock.turn(BEAT)
        while not self.beats:
            seen.append((sum(len(way.looks) for way in self.ways), b"<receipt" in b"".join(teller.flushed)))
            self.clock.turn()
        self.assertEqual(seen, [(2, False), (4, False), (6, False), (7, False), (7, True)])
        self.assertIn(b"<receipt id=1 sent=0 delivered=0 of=1>all", teller.flushed)

    def test_one_slow_look(self) -> None:
        """One that takes long counts as one of those that were asked with it, in whichever lot it was."""
        self.patch(module, "LOT", 2)
        for way in self.ways[:3]:
            way.more = True
            self.mailroom.watch(way)
        self.ways[2].takes = 0.009
        self.clock.turn(BEAT)
        self.clock.turn()
        (beat,) = self.clock.calls
        self.assertAlmostEqual(beat.getTime() - self.clock.seconds(), BEAT)

    def test_a_clock_that_is_set_back(self) -> None:
        """It ends a slice of looks, and makes no beat come sooner or later."""
        self.patch(module, "LOT", 1)
        for way in self.ways[:3]:
            way.more = True
            self.mailroom.watch(way)
        self.ways[0].takes = -5.0
        self.clock.turn(BEAT)
        self.assertEqual([len(way.looks) for way in self.ways[:3]], [1, 0, 0])
        self.ways[0].takes = 0.0
        self.clock.turn()
        self.assertEqual([len(way.looks) for way in self.ways[:3]], [1, 1, 1])
        (beat,) = self.clock.calls
        self.assertAlmostEqual(beat.getTime() - self.clock.seconds(), BEAT)

    def test_stop_while_looking(self) -> None:
        """Nothing is left to run when it stops in the middle of a long look."""
        self.mailroom.watch(self.ways[0])
        self.patch(self.ways[0], "look", lambda now: self.stop_after(0.0006))
        self.clock.turn(BEAT)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def stop_after(self, seconds: float) -> bool:
        self.clock.rightNow += seconds
        self.mailroom.stop()
        return False

    def test_calm(self) -> None:
        """Those for whom nobody waits are looked at as often as their number allows: a millisecond for each."""
        self.patch(module, "BEAT", 0.0)
        for way in self.ways:
            way.urgent = False
            self.mailroom.watch(way)
        self.mailroom._calm_at = 0.0
        self.mailroom._beat.cancel()  # type: ignore[union-attr]
        self.mailroom._beat = None
        self.mailroom.start_beat()
        (beat,) = self.clock.calls
        self.assertAlmostEqual(beat.getTime() - self.clock.seconds(), 0.007)

    def test_one_at_a_time(self) -> None:
        """Who is watched anew while a beat is under way makes no second one."""
        for way in self.ways:
            way.more = True
            self.mailroom.watch(way)
        self.patch(self.ways[1], "look", lambda now: self.mailroom.watch(self.ways[1]) or True)
        for _ in range(3):
            self.clock.turn(BEAT)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.turn()
            self.clock.turn()
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual((self.beats, len(self.ways[0].looks), len(self.ways[6].looks)), (3, 3, 3))
        self.mailroom.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @pytest.mark.patches
    def test_counting(self) -> None:
        """One group is counted in a turn, and a fault there does not end the beats."""
        counted: list[str] = []

        def counts(now: float) -> Iterator[None]:
            for group in ("all", "tea", "fault"):
                if group == "fault":
                    raise ValueError("a fault")
                counted.append(group)
                yield

        self.patch(Hub, "counting", True)
        self.patch(self.hub, "counts", counts)
        self.mailroom.start_beat()
        for turn in range(1, 4):
            self.clock.turn(BEAT if turn == 1 else 0.0)
            self.assertEqual((counted, self.beats), (["all", "tea"][:turn], turn // 3))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.turn(BEAT)
        self.assertEqual(counted, ["all", "tea", "all"])


class CeilingTests(Crowd):
    """`Mailroom.clogged`."""

    def clog(self, *sizes: int) -> None:
        for way, size in zip(self.ways, sizes, strict=False):
            way.waiting = size
            way.more = size > 0
            self.mailroom.clogged(way)

    def beat(self) -> list[int]:
        self.clock.turn(BEAT)
        for _ in range(3):
            self.clock.turn()
        return [way.ended for way in self.ways]

    def test_below(self) -> None:
        """Up to the ceiling each has its own bound only."""
        self.mailroom.memory_limit = 100
        self.clog(50, 30, 20)
        self.assertEqual((self.beat(), self.mailroom.given_up), ([0] * 7, 0))

    def test_slowest_first(self) -> None:
        """Past it those with the most are given up, until there is room again."""
        self.mailroom.memory_limit = 100
        self.clog(20, 45, 36)
        self.assertEqual(self.beat(), [0, 1, 0, 0, 0, 0, 0])
        self.assertEqual(self.mailroom.given_up, 1)
        self.assertLessEqual(sum(way.waiting for way in self.ways), 100 * RELIEF)
        self.clog(20, 70, 70)
        self.assertEqual(self.beat(), [0, 2, 1, 0, 0, 0, 0])

    def test_closing(self) -> None:
        """A connection that was closing already is let go of, and is nobody more who was too slow."""
        self.mailroom.memory_limit = 100
        self.ways[0].closing = True
        self.clog(60, 50, 30)
        self.assertEqual((self.beat(), self.mailroom.given_up), ([1, 1, 0, 0, 0, 0, 0], 1))

    def test_drained(self) -> None:
        """Who took all counts no more."""
        self.mailroom.memory_limit = 100
        self.clog(90, 5)
        self.beat()
        self.ways[0].waiting = 0
        self.beat()
        self.clog(0, 96)
        self.assertEqual((self.beat(), self.mailroom.given_up), ([0] * 7, 0))
