"""Where it happens: a folder, a daemon on a processor of its own, and what it holds at any moment."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..system.programs import RUNNERS, Daemon, Talker, run, serve

MIB = 1 << 20


class Seen(NamedTuple):
    """What was seen beside its target; ``met`` is ``None`` if it could not be measured, or is told only.

    ``timed`` is what depends on how fast the machine is, and on who else uses it.
    """

    what: str
    seen: str
    target: str
    met: bool | None
    timed: bool = False


class Held(NamedTuple):
    """What a daemon holds: bytes, file descriptors, threads, and timers, if it tells them."""

    memory: int
    descriptors: int
    threads: int
    timers: int | None


class Place:
    """A folder of its own, and a way to tell how it goes.

    :param journal: of the daemon, ``sqlite`` or ``memory``.
    :param memory_limit: what the daemon is told as ``--memory-limit``, in MiB, if it takes that.
    """

    def __init__(
        self,
        folder: Path,
        journal: str = "sqlite",
        memory_limit: int = 128,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.folder = folder
        self.journal = journal
        self.memory_limit = memory_limit
        self.tell = tell

    def serve(self, *options: str) -> Daemon:
        """Start the daemon, on processor 0, and leave the other one to this process and what it starts."""
        with pinned(0):
            daemon = serve(self.folder, "--journal", self.journal, *options)
        pin(1)
        return daemon


def pin(cpu: int) -> None:
    """Keep this thread, and what it starts from now on, on one processor; where there are several."""
    if (os.cpu_count() or 1) > cpu:
        os.sched_setaffinity(0, {cpu})


@contextlib.contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """The same for a while."""
    before = os.sched_getaffinity(0)
    pin(cpu)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def takes(option: str) -> bool:
    """Whether the daemon has an option."""
    return option in run(*RUNNERS["twistd"], "--help")


def status(daemon: Daemon) -> dict[str, int] | None:
    """The numbers of ``<status>``; ``None`` if the daemon has no such command."""
    with Talker(daemon.port) as talker:
        talker.say("<hello>")
        talker.say("<status label=st>")
        line = talker.hears(r"<(status|error)[^>]* label=st\b")
    if line.startswith("<error"):
        return None
    return {key: int(value) for key, value in re.findall(r" ([a-z_-]+)=(\d+)(?=[ >])", line)}


def holds(daemon: Daemon) -> Held:
    """What it holds now."""
    descriptors = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    threads = len(os.listdir(f"/proc/{daemon.pid}/task"))
    said = status(daemon) or {}
    return Held(daemon.memory(), descriptors, threads, said.get("timers"))


def p99(times: Sequence[float]) -> float:
    """The 99th percentile; in the unit of what it is given."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


def ms(times: Sequence[float]) -> str:
    """Median and 99th percentile of some seconds, to be read."""
    return f"{p99(times) * 1e3:.1f} ms (median {statistics.median(times) * 1e3:.1f}, {len(times)} times)"
