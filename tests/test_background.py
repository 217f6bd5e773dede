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
    """What `os` says and is told of niceness; only the main thread's is known."""

    PRIO_PROCESS = 0

    def getpid(self) -> int:
        return 99

    def __init__(self, niceness: int = 0, refuses: bool = False) -> None:
        self.niceness = niceness
        self.refuses = refuses
        self.told: list[tuple[int, int, int]] = []

    def getpriority(self, which: int, who: int) -> int:
        assert (which, who) == (0, 99)
        return self.niceness

    def setpriority(self, which: int, who: int, niceness: int) -> None:
        if self.refuses:
            raise PermissionError
        self.told.append((which, who, niceness))


class GivingWay(SynchronousTestCase):
    """`give_way`."""

    def test_this_thread(self) -> None:
        """It is about the calling thread alone, and relative to what its program has."""
        for before, after in ((0, NICENESS), (3, 3 + NICENESS), (15, 19), (19, 19)):
            system = System(before)
            self.assertTrue(give_way("linux", system))
            self.assertEqual(system.told, [(0, threading.get_native_id(), after)])

    def test_elsewhere(self) -> None:
        """Where niceness is of the whole process, nobody touches it."""
        for platform in ("darwin", "freebsd14", "win32"):
            system = System()
            self.assertFalse(give_way(platform, system))
            self.assertEqual(system.told, [])

    def test_refused(self) -> None:
        """A system that refuses is no fault."""
        self.assertFalse(give_way("linux", System(refuses=True)))


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


@pytest.mark.skipif(sys.platform != "linux", reason="only there threads have a niceness each")
@ensureDeferred
@within(20)
async def test_for_real() -> None:
    """The threads of the pool are nicer; the reactor's is as it was, and so is a thread of anybody else."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def begin_another() -> int:
        found: list[int] = []

        def look() -> None:
            give_way()
            found.append(niceness())

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return found[0]

    before = niceness()
    run = background_runner(reactor)
    found = await gatherResults([run(niceness) for _ in range(5)] + [run(begin_another)])
    assert niceness() == before
    assert set(found) == {min(before + NICENESS, 19)}
    others: list[int] = []
    thread = threading.Thread(target=lambda: others.append(niceness()))
    thread.start()
    thread.join()
    assert others == [before]
