"""The watchdog: which turns of the reactor are stalls, what is told of them, and that it leaves no trace."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType, SimpleNamespace
from typing import Any

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pychat import watchdog as module
from pychat.watchdog import NOT_SEEN, Watchdog, describe


class Poller:
    """Waits for no time, and tells what a test says."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.polled: list[tuple[object, ...]] = []
        self.registered: list[int] = []
        self.closed = False

    def poll(self, *arguments: object) -> list[tuple[int, int]]:
        self.polled.append(arguments)
        return self.told

    def register(self, fd: int) -> None:
        self.registered.append(fd)


class Case(SynchronousTestCase):
    """A reactor of which only the poller is there, and clocks that a test turns."""

    def setUp(self) -> None:
        self.cpu = self.wall = 100.0
        self.frame: FrameType | None = None
        self.poller = Poller()
        self.reactor = SimpleNamespace(_poller=self.poller)
        self.watchdog = self.make()
        self.watchdog.start()
        self.addCleanup(self.watchdog.stop)
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def make(self, **more: Any) -> Watchdog:
        def frames() -> Mapping[int, FrameType]:
            return {} if self.frame is None else {threading.get_ident(): self.frame}

        settings = {"cpu": lambda: self.cpu, "wall": lambda: self.wall, "frames": frames, "thread": False}
        return Watchdog(self.reactor, **(settings | more))

    def observe(self, event: LogEvent) -> None:
        if event["log_namespace"].startswith(module.__name__):
            self.logged.append(formatEvent(event))

    def wait(self, *told: tuple[int, int]) -> None:
        """The reactor waits, and is told this."""
        self.poller.told = list(told)
        self.reactor._poller.poll(0.5, 10)

    def turn(self, held: float, waited: float = 0.0, during: Callable[[], object] = lambda: None) -> None:
        """A turn that takes so much CPU time, and so much time for which the thread had no processor."""
        self.wait((7, 1), (8, 1))
        self.cpu += held
        self.wall += held + waited
        during()
        self.wait()


class Stalls(Case):
    """What counts."""

    def numbers(self) -> tuple[int, int, int]:
        watchdog = self.watchdog
        return watchdog.number, round(watchdog.longest * 1000), round(watchdog.total * 1000)

    def test_counted(self) -> None:
        """A turn of 10 ms of CPU time is a stall; how many there were, the longest, and all together."""
        for held in (0.0, 0.009, 0.012, 0.030, 0.0099, 0.011):
            self.turn(held)
        self.assertEqual(self.numbers(), (3, 30, 53))

    def test_only_its_own_time(self) -> None:
        """A turn in which the thread had to wait for a processor, or for another thread, is none."""
        self.turn(0.002, waited=5.0)
        self.assertEqual(self.numbers(), (0, 0, 0))
        self.turn(0.015, waited=5.0)
        self.assertEqual(self.numbers(), (1, 15, 15))

    def test_waiting_is_no_turn(self) -> None:
        """CPU time that passes while the reactor waits belongs to no turn."""
        inner = self.poller.poll

        def poll(*arguments: object) -> list[tuple[int, int]]:
            self.cpu += 1.0
            self.wall += 1.0
            return inner(*arguments)

        self.watchdog._poll = poll
        self.wait()
        self.wait()
        self.assertEqual(self.numbers(), (0, 0, 0))

    def test_waiting_that_fails(self) -> None:
        """A signal that interrupts the waiting goes through, and the next turn is measured from where it begins."""

        def interrupted(*_: object) -> None:
            raise InterruptedError

        inner, self.watchdog._poll = self.watchdog._poll, interrupted
        self.assertRaises(InterruptedError, self.reactor._poller.poll, 0, 1)
        self.cpu, self.wall = self.cpu + 1, self.wall + 1
        self.watchdog._poll = inner
        self.turn(0.020)
        self.assertEqual(self.numbers(), (1, 20, 20))


class Said(Case):
    """What stands in the log."""

    def hold(self) -> None:
        """Stands for what takes long."""
        self.frame = sys._getframe()
        self.wall += 0.006
        self.watchdog.look()
        self.wall += 0.050

    def test_what_held_it(self) -> None:
        """The function that was seen at it, and how much it was."""
        self.turn(0.050, during=self.hold)
        (line,) = self.logged
        self.assertTrue(line.startswith("The reactor was held for 50 ms: tests.test_watchdog."))
        self.assertRegex(line, r"hold:\d+$")

    def test_not_seen(self) -> None:
        """A stall in which nobody looked is told all the same; what was seen in another turn is not taken for it."""
        self.turn(0.001, during=self.hold)
        self.turn(0.020)
        self.assertEqual(self.logged, [f"The reactor was held for 20 ms: {NOT_SEEN}"])

    def test_one_line_a_second(self) -> None:
        """More of them within a second are counted, and told with the next one."""
        for held in (0.020, 0.021, 0.035, 0.012):
            self.turn(held)
        self.assertEqual(len(self.logged), 1)
        self.wall += 1.0
        self.turn(0.040)
        self.assertTrue(
            self.logged[1].endswith("(3 more stalls since the last such line, up to 35 ms)"), self.logged
        )
        self.wall += 1.0
        self.turn(0.040)
        self.assertNotIn("more stalls", self.logged[2])

    def test_the_last_ones(self) -> None:
        """Those that nothing follows are told at the end of a turn a second later."""
        for held in (0.020, 0.021, 0.035):
            self.turn(held)
        self.turn(0.001)
        self.assertEqual(len(self.logged), 1)
        self.wall += 1.0
        self.turn(0.001)
        self.assertEqual(self.logged[1:], ["2 more stalls since the last such line, up to 35 ms"])

    def test_garbage_collection(self) -> None:
        """A large collection that took its part is told; one of another thread, or a small one, is not."""

        def collect(generation: int, seconds: float) -> None:
            self.watchdog._garbage("start", {"generation": generation})
            self.wall += seconds
            self.watchdog._garbage("stop", {"generation": generation})

        self.turn(0.030, during=lambda: collect(2, 0.025))
        self.assertIn("25 ms of garbage collection", self.logged[0])
        self.wall += 1.0
        self.turn(0.030, during=lambda: collect(1, 0.025))

        def elsewhere() -> None:
            other = threading.Thread(target=collect, args=(2, 0.025))
            other.start()
            other.join()

        self.wall += 1.0
        self.turn(0.030, during=elsewhere)
        self.assertFalse([line for line in self.logged[1:] if "garbage" in line])


class Looking(Case):
    """The thread beside the reactor: it looks seldom, often after a stall, and never while nothing happens."""

    def test_sleeps(self) -> None:
        """While the reactor waits there is nothing to see, until it has a turn."""
        self.wait()
        self.turn(0.001)
        self.assertEqual(self.watchdog.look(), module.SLOW)
        self.watchdog._since = None  # it waits
        self.assertIsNone(self.watchdog.look())
        self.assertFalse(self.watchdog._awake.is_set())
        self.turn(0.001)
        self.assertTrue(self.watchdog._awake.is_set())

    def test_often_after_a_stall(self) -> None:
        """For a while, so that a short one that comes again is seen."""
        self.wait()
        self.assertEqual(self.watchdog.look(), module.SLOW)
        self.turn(0.011)
        self.assertEqual(self.watchdog.look(), module.FAST)
        self.wall += module.ALERT
        self.turn(0.001)
        self.assertEqual(self.watchdog.look(), module.SLOW)

    def test_thread(self) -> None:
        """It looks by itself, and ends with the watching."""
        self.watchdog.stop()
        looked = threading.Event()

        def wall() -> float:
            looked.set()
            return self.wall

        watchdog = self.make(thread=True, wall=wall)
        watchdog.start()
        self.assertTrue(looked.wait(20))
        (thread,) = [each for each in threading.enumerate() if each.name == "pychat-watchdog"]
        watchdog.stop()
        self.assertFalse(thread.is_alive())


class Standing(Case):
    """It stands in for a poller, and leaves."""

    def test_all_else_is_the_pollers(self) -> None:
        """What the reactor says to its poller goes there."""
        self.reactor._poller.register(5)  # type: ignore[attr-defined]
        self.assertEqual(self.poller.registered, [5])
        self.poller.closed = True
        self.assertTrue(self.reactor._poller.closed)
        self.wait((3, 1))
        self.assertEqual(self.poller.polled, [(0.5, 10)])

    def test_leaves(self) -> None:
        """Nothing of it stays, in whatever order several end."""
        other = self.make()
        other.start()
        ours = [each for each in gc.callbacks if getattr(each, "__self__", None) in (other, self.watchdog)]
        self.assertEqual(len(ours), 2)
        self.watchdog.stop()
        self.turn(0.020)
        self.assertEqual(other.number, 1)
        other.stop()
        other.stop()
        self.assertIs(self.reactor._poller, self.poller)
        self.assertNotIn(other._garbage, gc.callbacks)
        again = self.make()
        again.start()
        again.start()
        again.stop()
        self.assertIs(self.reactor._poller, self.poller)

    def test_other_reactors(self) -> None:
        """One without a poller, or a system without CPU times of threads, is left alone."""
        for reactor, more in ((SimpleNamespace(), {}), (self.reactor, {"cpu": None})):
            before = dict(vars(reactor))
            watchdog = Watchdog(reactor, thread=False, **more)
            self.assertFalse(watchdog.watching)
            watchdog.start()
            self.assertEqual(vars(reactor), before)
            watchdog.stop()


class Described(SynchronousTestCase):
    """Where a thread is."""

    def test_ours(self) -> None:
        """The innermost function, whosever it is, and those of ours around it; no more than a few."""
        scope: dict[str, Any] = {"__name__": "pychat.made", "sys": sys}
        exec("def deep(n, there):\n    return deep(n - 1, there) if n else there()", scope)
        said = scope["deep"](1, lambda: describe(sys._getframe())).split(" < ")
        self.assertRegex(said[0], r"^tests\.test_watchdog\..*<lambda>:\d+$")
        self.assertEqual(said[1:], ["pychat.made.deep:2", "pychat.made.deep:2"])
        said = scope["deep"](50, lambda: describe(sys._getframe())).split(" < ")
        self.assertEqual(len(said), module.DEPTH)

    def test_not_how_it_was_started(self) -> None:
        """What is around the reactor's loop says nothing."""
        scope: dict[str, Any] = {"__name__": "pychat.made"}
        exec("def serve(there):\n    return mainLoop(there)\ndef mainLoop(there):\n    return there()", scope)
        self.assertNotIn("serve", scope["serve"](lambda: describe(sys._getframe())))

    def test_nowhere(self) -> None:
        self.assertEqual(describe(None), NOT_SEEN)
