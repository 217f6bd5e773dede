"""Who gets what of the daemon."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.budget import LEAST_RATE, LEAST_WINDOW, SHARE_SECONDS, SMALL_BYTES, Budget, Limits, share
from pychat.errors import TransferError
from pychat.transfer.terms import Counters

MB = 1e6


class Flow:
    """A transfer as the budget sees it: it sends as fast as it may, or as its path lets it."""

    def __init__(self, budget: Budget, identity: str, path: float = inf, left: float = inf) -> None:
        self.budget = budget
        self.path = path
        self.left = left
        self.waits = self.paused = False
        self.sent = 0.0
        self.engine: Any = SimpleNamespace(counters=Counters(), max_window=0, max_rate=inf)
        # An engine is told apart by what it is, and a SimpleNamespace by what it holds.
        self.engine = type("Engine", (), vars(self.engine))()
        budget.started(
            identity, self.engine, self.hold, lambda: int(min(self.left, 1e12)), lambda: self.paused
        )

    def hold(self, on: bool) -> None:
        self.waits = on

    def run(self, seconds: float) -> None:
        if self.waits or self.paused:
            return
        sent = min(min(self.path, self.engine.max_rate, 1e12) * seconds, self.left)
        self.left -= sent
        self.sent += sent
        self.engine.counters.bytes_out += int(sent)

    def end(self) -> None:
        self.budget.ended(self.engine)


class BudgetCase(SynchronousTestCase):
    """A budget with a clock of the test's."""

    def setUp(self) -> None:
        self.clock = Clock()

    def budget(self, **limits: Any) -> Budget:
        return Budget(Limits(**limits), self.clock.seconds)

    def run_for(self, budget: Budget, flows: list[Flow], seconds: float) -> None:
        for _ in range(int(seconds / SHARE_SECONDS)):
            for flow in flows:
                flow.run(SHARE_SECONDS)
            self.clock.advance(SHARE_SECONDS)
            budget.look()


class ShareTests(SynchronousTestCase):
    """`share`: max-min fairness."""

    def test_examples(self) -> None:
        """Who wants less than an equal part leaves the rest to the others."""
        self.assertEqual(share(9, {"a": 1, "b": 100, "c": 100}), {"a": 1, "b": 4, "c": 4})
        self.assertEqual(share(9, {"a": 1, "b": 2}), {"a": 4, "b": 5})
        self.assertEqual(share(9, {}), {})
        self.assertEqual(share(inf, {"a": 1, "b": inf}), {"a": inf, "b": inf})

    @given(st.floats(1, 1e9), st.lists(st.one_of(st.floats(0, 1e9), st.just(inf)), min_size=1, max_size=20))
    def test_properties(self, capacity: float, wanted: list[float]) -> None:
        """All is given out and no more; nobody is below an equal part that she wants."""
        given_out = share(capacity, dict(enumerate(wanted)))
        self.assertLess(abs(sum(given_out.values()) - capacity), capacity * 1e-9)
        for index, want in enumerate(wanted):
            self.assertGreaterEqual(given_out[index] * (1 + 1e-9), min(want, capacity / len(wanted)))


class AdmissionTests(BudgetCase):
    """How many there may be."""

    def test_per_identity(self) -> None:
        """One who has enough is told so, and others still get theirs."""
        budget = self.budget(per_owner=2)
        budget.admit("bob")
        budget.admit("bob")
        error = self.assertRaises(TransferError, budget.admit, "bob")
        self.assertEqual(error.code, "busy")
        self.assertIn("You have 2 transfers open", error.sentence)
        budget.admit("alice")
        budget.release("bob")
        budget.admit("bob")

    def test_all(self) -> None:
        """The daemon as a whole has enough at some number."""
        budget = self.budget(transfers=2)
        budget.admit("alice")
        budget.admit("bob")
        self.assertEqual(self.assertRaises(TransferError, budget.admit, "carol").code, "busy")
        budget.release("alice")
        budget.admit("carol")


class MemoryTests(BudgetCase):
    """Windows."""

    def test_by_identity(self) -> None:
        """Twenty downloads of one have as much memory as the one of another; alone, all of it."""
        budget = self.budget(window_total=64 << 20, window_each=64 << 20)
        many = [Flow(budget, "bob") for _ in range(20)]
        self.assertEqual(many[0].engine.max_window, (64 << 20) // 20)
        one = Flow(budget, "alice")
        self.assertEqual(one.engine.max_window, 32 << 20)
        self.assertEqual({flow.engine.max_window for flow in many}, {(32 << 20) // 20})
        self.assertEqual(budget.running, 21)
        one.end()
        one.end()
        self.assertEqual(many[0].engine.max_window, (64 << 20) // 20)

    def test_bounds(self) -> None:
        """One gets no more than is good for it, and a hundred together little more than there is."""
        budget = self.budget()
        flows = [Flow(budget, "bob")]
        self.assertEqual(flows[0].engine.max_window, budget.limits.window_each)
        flows += [Flow(budget, "bob") for _ in range(99)]
        self.assertLessEqual(sum(flow.engine.max_window for flow in flows), budget.limits.window_total)
        flows += [Flow(budget, "bob") for _ in range(900)]
        self.assertEqual(flows[0].engine.max_window, LEAST_WINDOW)


class RateTests(BudgetCase):
    """``--rate-limit``."""

    def test_not_limited(self) -> None:
        """Without a limit nobody's pace is touched."""
        budget = self.budget()
        self.assertFalse(budget.limited)
        flow = Flow(budget, "bob")
        budget.look()
        self.assertEqual(flow.engine.max_rate, inf)

    def test_twenty_against_one(self) -> None:
        """One person with twenty downloads does not starve another with one."""
        budget = self.budget(rate=10 * MB, abreast=100)
        many = [Flow(budget, "bob") for _ in range(20)]
        self.run_for(budget, many, 3)
        one = Flow(budget, "alice")
        before = sum(flow.sent for flow in many)
        self.run_for(budget, [*many, one], 20)
        self.assertAlmostEqual(one.sent / 20, 5 * MB, delta=0.01 * MB)
        self.assertAlmostEqual((sum(flow.sent for flow in many) - before) / 20, 5 * MB, delta=0.01 * MB)
        shares = [flow.engine.max_rate for flow in many]
        self.assertAlmostEqual(min(shares), max(shares))

    def test_never_beyond(self) -> None:
        """However they come and go, all together never leave faster than allowed."""
        budget = self.budget(rate=10 * MB)
        flows = [Flow(budget, name, path) for name, path in (("a", 1 * MB), ("b", inf), ("c", 3 * MB))]
        for _ in range(30):
            before = sum(flow.sent for flow in flows)
            self.run_for(budget, flows, 1)
            self.assertLessEqual(sum(flow.sent for flow in flows) - before, 10.001 * MB)

    def test_what_one_does_not_use(self) -> None:
        """Who sits behind a slow path leaves the rest to the others."""
        budget = self.budget(rate=10 * MB)
        slow, fast = Flow(budget, "alice", path=0.5 * MB), Flow(budget, "bob")
        self.run_for(budget, [slow, fast], 10)
        self.assertGreater(fast.engine.max_rate, 9 * MB)
        self.assertGreaterEqual(slow.engine.max_rate, 0.5 * MB)
        slow.path = inf
        self.run_for(budget, [slow, fast], 15)
        self.assertAlmostEqual(slow.engine.max_rate, 5 * MB, delta=0.1 * MB)

    def test_each(self) -> None:
        """A limit for one identity holds however many transfers it has, and whatever the daemon has left."""
        for rate in (inf, 100 * MB):
            budget = self.budget(rate=rate, rate_each=2 * MB, abreast=9)
            bob, alice = [Flow(budget, "bob") for _ in range(4)], Flow(budget, "alice")
            self.run_for(budget, [*bob, alice], 10)
            self.assertAlmostEqual(sum(flow.engine.max_rate for flow in bob), 2 * MB, delta=2)
            self.assertAlmostEqual(alice.engine.max_rate, 2 * MB, delta=2)

    def test_idle(self) -> None:
        """Who sends nothing may still say what is due, and look-ups in between change nothing."""
        budget = self.budget(rate=1000)
        idle, busy = Flow(budget, "alice", path=0), Flow(budget, "bob")
        self.run_for(budget, [idle, busy], 10)
        self.assertGreaterEqual(idle.engine.max_rate, LEAST_RATE)
        rate = busy.engine.max_rate
        self.clock.advance(0.1)
        budget.look()
        self.assertEqual(busy.engine.max_rate, rate)


class FirstTests(BudgetCase):
    """What one more may begin with."""

    def test_window(self) -> None:
        """Its share of the memory, as if it ran already."""
        budget = self.budget(window_total=64 << 20, window_each=16 << 20)
        self.assertEqual(budget.first("bob"), (16 << 20, inf))
        for _ in range(7):
            Flow(budget, "bob")
        self.assertEqual(budget.first("bob"), (8 << 20, inf))
        self.assertEqual(budget.first("alice"), (16 << 20, inf))
        Flow(budget, "alice")
        self.assertEqual(budget.first("bob"), (4 << 20, inf))

    def test_rate(self) -> None:
        """The pace that nobody goes beyond."""
        self.assertEqual(self.budget(rate=5 * MB, rate_each=2 * MB).first("bob")[1], 2 * MB)
        self.assertEqual(self.budget(rate=1 * MB, rate_each=2 * MB).first("bob")[1], 1 * MB)

    def test_both_ways(self) -> None:
        """What comes counts like what leaves: an upload and a download have half each."""
        budget = self.budget(rate=10 * MB)
        down, up = Flow(budget, "alice"), Flow(budget, "bob")
        counters = up.engine.counters
        for _ in range(10):
            for flow in (down, up):
                flow.run(SHARE_SECONDS)
            counters.bytes_in += counters.bytes_out
            counters.bytes_out = 0
            self.clock.advance(SHARE_SECONDS)
            budget.look()
        self.assertAlmostEqual(up.engine.max_rate, 5 * MB, delta=0.01 * MB)
        self.assertAlmostEqual(down.engine.max_rate, 5 * MB, delta=0.01 * MB)


class TurnTests(BudgetCase):
    """Who waits, where nobody knows what the bottleneck carries."""

    def waiting(self, flows: list[Flow]) -> list[bool]:
        return [flow.waits for flow in flows]

    def test_alone(self) -> None:
        """Nobody waits for herself."""
        budget = self.budget()
        self.assertEqual(self.waiting([Flow(budget, "bob") for _ in range(20)]), [False] * 20)

    def test_over_meanwhile(self) -> None:
        """Who is told to go on may turn out to be over, and makes room for the next."""
        budget = self.budget(abreast=1)
        many = [Flow(budget, "bob") for _ in range(4)]
        one = Flow(budget, "alice")
        self.assertEqual(self.waiting(many), [False, True, True, True])
        dead = many[1:3]
        for flow in dead:
            hold = flow.hold
            budget._running[flow.engine].hold = lambda on, flow=flow, hold=hold: (hold(on), flow.end())
        many[0].end()
        self.assertFalse(many[3].waits)
        self.assertEqual(budget.running, 2)
        one.end()

    def test_over_all_at_once(self) -> None:
        """One that ends may take others with it, that are not asked any more."""
        budget = self.budget()
        flows = [Flow(budget, "bob") for _ in range(3)]
        asked: list[bool] = []
        budget._running[flows[2].engine].hold = asked.append
        budget._running[flows[1].engine].hold = lambda on: (flows[1].end(), flows[2].end())
        flows[0].end()
        self.assertEqual((budget.running, asked), (0, []))

    def test_twenty_against_one(self) -> None:
        """As long as somebody else has one under way, the later ones of twenty wait; alone again, they go on."""
        budget = self.budget()
        many = [Flow(budget, "bob") for _ in range(20)]
        one = Flow(budget, "alice")
        self.assertEqual(self.waiting(many), [False] * 2 + [True] * 18)
        self.assertFalse(one.waits)
        self.assertEqual((budget.held(many[5].engine), budget.held(one.engine)), (True, False))
        many[0].end()
        self.assertEqual(self.waiting(many[1:]), [False] * 2 + [True] * 17)
        one.end()
        self.assertEqual(self.waiting(many[1:]), [False] * 19)
        self.assertFalse(budget.held(one.engine))

    def test_as_many_as_the_fewest(self) -> None:
        """Whoever has the fewest sets the number."""
        budget = self.budget()
        bob = [Flow(budget, "bob") for _ in range(20)]
        alice = [Flow(budget, "alice") for _ in range(6)]
        self.assertEqual(self.waiting(bob), [False] * 6 + [True] * 14)
        self.assertEqual(self.waiting(alice), [False] * 6)

    def test_small_ones_go_on(self) -> None:
        """What is nearly through never waits, nor does who is paused keep others waiting."""
        budget = self.budget()
        Flow(budget, "alice")
        bob = [Flow(budget, "bob") for _ in range(4)]
        small = Flow(budget, "bob", left=SMALL_BYTES)
        self.assertEqual(self.waiting([*bob, small]), [False, False, True, True, False])
        bob[0].paused = True
        self.run_for(budget, [], 1)
        self.assertEqual(self.waiting(bob[1:]), [False, False, True])

    def test_uploads_do_not_wait(self) -> None:
        """Only what we send can wait."""
        budget = self.budget()
        hold: Callable[[bool], object] | None = None
        engine = type("Engine", (), {"counters": SimpleNamespace(bytes_out=0, bytes_in=0)})()
        budget.started("alice", engine, hold)
        self.assertEqual(self.waiting([Flow(budget, "bob") for _ in range(4)]), [False] * 4)
