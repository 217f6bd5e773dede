"""Threads for what takes long give way to the others, where the system has that."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

from pychat.background import NICENESS, background_runner, give_way

from .guards import within


class System:
    """What `os` says and is told of a thread; of niceness only the main thread's is known."""

    PRIO_PROCESS = 0
    SCHED_OTHER, SCHED_FIFO, SCHED_BATCH, SCHED_IDLE = 0, 1, 3, 5

    def __init__(self, niceness: int = 0, refuses: str = "", policy: int = SCHED_OTHER) -> None:
        self.niceness = niceness
        self.refuses = refuses
        self.policy = policy
        self.told: list[tuple[str, int, int]] = []

    def getpid(self) -> int:
        return 99

    def getpriority(self, which: int, who: int) -> int:
        assert (which, who) == (0, 99)
        return self.niceness

    def setpriority(self, which: int, who: int, niceness: int) -> None:
        assert which == 0
        self._tell("niceness", who, niceness)

    def sched_getscheduler(self, who: int) -> int:
        assert who == threading.get_native_id()
        return self.policy

    def sched_param(self, priority: int) -> int:
        return priority

    def sched_setscheduler(self, who: int, policy: int, parameter: int) -> None:
        assert parameter == 0
        self._tell("policy", who, policy)

    def _tell(self, what: str, who: int, value: int) -> None:
        if self.refuses == what:
            raise PermissionError
        self.told.append((what, who, value))


class GivingWay(SynchronousTestCase):
    """`give_way`."""

    def test_this_thread(self) -> None:
        """It is about the calling thread alone, and relative to what its program has."""
        this = threading.get_native_id()
        for policy in (System.SCHED_OTHER, System.SCHED_BATCH):
            for before, after in ((0, NICENESS), (5, 5 + NICENESS), (18, 19), (19, 19)):
                system = System(before, policy=policy)
                self.assertTrue(give_way("linux", system))
                self.assertEqual(system.told, [("policy", this, 3), ("niceness", this, after)])

    def test_elsewhere(self) -> None:
        """Where it would be of the whole process, nobody touches it."""
        for platform in ("darwin", "freebsd14", "win32"):
            system = System()
            self.assertFalse(give_way(platform, system))
            self.assertEqual(system.told, [])

    def test_chosen(self) -> None:
        """A daemon that somebody runs in real time, or when all others rest, stays as it is."""
        for policy in (System.SCHED_FIFO, System.SCHED_IDLE):
            system = System(policy=policy)
            self.assertFalse(give_way("linux", system))
            self.assertEqual(system.told, [])

    def test_refused(self) -> None:
        """A system that refuses, or does not know of it, is no fault."""
        for refuses in ("policy", "niceness"):
            self.assertFalse(give_way("linux", System(refuses=refuses)))
        self.assertFalse(give_way("linux", object()))


class Pool:
    """A thread pool of one thread, which works when it is told."""

    def __init__(self) -> None:
        self._jobs: list[Callable[[], None]] = []

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], None], function: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        self._jobs.append(lambda: on_result(True, function(*args, **kw)))

    def work(self) -> None:
        """In a thread of its own: do what there is."""
        jobs, self._jobs = self._jobs, []
        thread = threading.Thread(target=lambda: [job() for job in jobs])
        thread.start()
        thread.join()


class Reactor:
    """A reactor with such a pool."""

    def __init__(self) -> None:
        self.pool = Pool()

    def getThreadPool(self) -> Pool:
        return self.pool

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)


class Running(SynchronousTestCase):
    """`background_runner`."""

    def test_once_in_each_thread(self) -> None:
        """A thread is lowered before its first call, and not again."""
        world, happened = Reactor(), []
        run = background_runner(world, lambda: happened.append("lowered"))
        runs = [run(happened.append, what) for what in "ab"]
        world.pool.work()
        runs.append(run(happened.append, "c"))
        self.assertEqual(happened, ["lowered", "a", "b"])
        world.pool.work()
        self.assertEqual(happened, ["lowered", "a", "b", "lowered", "c"])
        for each in runs:
            self.successResultOf(each)

    def test_result(self) -> None:
        """What a call returns is what one gets."""
        world = Reactor()
        running = background_runner(world, lambda: None)(divmod, 7, 2)
        self.assertNoResult(running)
        world.pool.work()
        self.assertEqual(self.successResultOf(running), (3, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="only there it is each thread's own")
@ensureDeferred
@within(20)
async def test_for_real() -> None:
    """The threads of the pool give way; the reactor's is as it was, and so is a thread of anybody else."""

    def manner() -> tuple[int, int]:
        thread = threading.get_native_id()
        return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)

    def in_another(look: Callable[[], object]) -> tuple[int, int]:
        found: list[tuple[int, int]] = []
        thread = threading.Thread(target=lambda: found.append((look(), manner())[1]))
        thread.start()
        thread.join()
        return found[0]

    policy, niceness = before = manner()
    if policy != os.SCHED_OTHER:
        pytest.skip("somebody has chosen another way for these tests")
    lower = (os.SCHED_BATCH, min(niceness + NICENESS, 19))
    run = background_runner(reactor)
    assert {*await gatherResults([run(manner) for _ in range(5)])} == {lower}
    assert await run(in_another, give_way) == lower
    assert manner() == before
    assert in_another(int) == before
