"""Threads for what takes long: reading, writing and hashing files.  They give way to the reactor's.

People wait for the reactor, and nobody for one block of a file.  But each of these threads that is woken takes the
processor from the reactor in the middle of a turn, and with it often Python's lock, for which the reactor then waits.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

NICENESS = 3
"""How much nicer these threads are than the others: beside one of those they get a third of a processor.

Where both ends of a download share two processors that are never idle it takes 2 % longer by that, and at 10 it took
6 % longer."""

_LOWEST = 19


def give_way(platform: str = sys.platform, system: Any = os) -> bool:
    """Have the calling thread give way for as long as it lives; return whether that could be done.

    It waits for the end of others' turns when it is woken (``SCHED_BATCH``), and gets a little less than they do.  Only
    Linux has that for each thread; elsewhere it is of the whole process.

    :param platform: as :data:`sys.platform`.
    :param system: in place of :mod:`os`, for tests.
    """
    if platform != "linux":
        return False
    thread = threading.get_native_id()
    try:
        if system.sched_getscheduler(thread) not in (system.SCHED_OTHER, system.SCHED_BATCH):
            return False  # whoever runs us has chosen another way
        system.sched_setscheduler(thread, system.SCHED_BATCH, system.sched_param(0))
        # That of the main thread: one that was begun by another of these has its niceness already.
        niceness = system.getpriority(system.PRIO_PROCESS, system.getpid())
        system.setpriority(system.PRIO_PROCESS, thread, min(niceness + NICENESS, _LOWEST))
    except (OSError, AttributeError):
        return False  # a sandbox, or a C library without: it goes without
    return True


def background_runner(reactor: Any, lower: Callable[[], object] = give_way) -> Callable[..., Deferred[Any]]:
    """Runs blocking calls in the thread pool of `reactor`, whose threads give way from their first call on.

    :param lower: called once in each of them.
    :return: ``run(f, *args)`` gives a Deferred of what ``f(*args)`` returned.
    """
    here = threading.local()

    def work(function: Callable[..., Any], *arguments: Any) -> Any:
        if not hasattr(here, "lowered"):
            here.lowered = True
            lower()
        return function(*arguments)

    def run(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work, function, *arguments)

    return run
