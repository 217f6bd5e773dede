"""Tells what holds the reactor: turns of its loop that take more than :data:`STALL` seconds of its own CPU time.

Theory of operation.  A turn lasts from a return of the reactor's waiting to the next waiting.  The watchdog stands in
for the reactor's poller, and so sees both.  It counts CPU time of the reactor's thread: a turn that has to wait for a
processor, or for Python's lock, is no fault of what it does.  As no turn has more CPU time than it takes by the clock
on the wall, that is looked at first: a short turn costs one look at the CPU time, which is a system call.

What a turn does is seen from a thread beside it.  That one looks every :data:`SLOW` seconds, and after a stall, for
:data:`ALERT` seconds, every :data:`FAST` ones, so that stalls that come again are caught in the act however short they
are.  While the reactor only waits the thread sleeps, too.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from threading import Event, Thread, get_ident
from types import FrameType
from typing import Any

from twisted.logger import Logger

STALL = 0.010
"""Seconds of CPU time from which on a turn is a stall."""

SAID_EVERY = 1.0
"""Seconds between two lines in the log."""

SLOW, FAST = 0.050, 0.005
"""Seconds between two looks at what a turn does; the second for a while after a stall."""

ALERT = 10.0
"""Seconds for which stalls are looked for so."""

DEPTH = 5
"""Functions that are named at most."""

NOT_SEEN = "nobody saw what"

_cpu_of_thread = getattr(time, "thread_time", None)  # not every system has it

_OURS = __name__.partition(".")[0]


class _Poller:
    """Stands in for a poller: another one does its waiting, and everything else is its own."""

    def __init__(self, poller: Any, watchdog: Watchdog) -> None:
        self.inner = poller
        self.watchdog = watchdog
        for name in dir(poller):
            found = getattr(poller, name)
            if callable(found) and not name.startswith("_"):
                setattr(self, name, found)
        self.poll = watchdog.wait

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Watchdog:
    """Measures one reactor, from :meth:`start` to :meth:`stop`, both called in its thread.

    :ivar number: how many stalls there were.
    :ivar longest: seconds of CPU time of the longest one.
    :ivar total: of all of them.
    :ivar watching: this reactor lets itself be measured: it has a poller, as those for epoll and poll have.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        cpu: Callable[[], float] | None = _cpu_of_thread,
        wall: Callable[[], float] = time.monotonic,
        frames: Callable[[], Mapping[int, FrameType]] = sys._current_frames,
        thread: bool = True,
    ) -> None:
        """
        :param cpu: seconds of CPU time of the calling thread; ``None``: this system does not tell.
        :param wall: seconds of a monotonic clock.
        :param frames: what every thread is doing, by its number.
        :param thread: have a thread call :meth:`look`.
        """
        self._reactor = reactor
        self._cpu = cpu or wall
        self._wall = wall
        self._frames = frames
        self._wants_thread = thread
        self.number = 0
        self.longest = self.total = 0.0
        poller = getattr(reactor, "_poller", None)
        self.watching = cpu is not None and callable(getattr(poller, "poll", None))
        self._stopped = True
        self._poller: _Poller | None = None
        self._thread: Thread | None = None
        self._poll: Callable[..., Any] = tuple
        self._ident = 0
        self._since: float | None = None  # by the clock on the wall, while a turn is under way
        self._cpu_at = 0.0  # the CPU time when it began
        self._seen: tuple[float | None, str] = (None, "")  # what a turn did, by its beginning
        self._collecting = 0.0
        self._collected: tuple[float | None, float] = (
            None,
            0.0,
        )  # seconds of garbage collection, by the same
        self._said_at: float | None = None
        self._unsaid = 0
        self._unsaid_longest = 0.0
        self._alert_until = 0.0
        self._looked_at = 0.0  # the CPU time at the beginning of the turn that was looked at last
        self._dozing = False
        self._awake = Event()

    def start(self) -> None:
        """Watch, if this reactor lets itself be."""
        if not self.watching or not self._stopped:
            return
        self._stopped = False
        self._ident = get_ident()
        inner = self._reactor._poller
        self._poll = inner.poll
        self._poller = self._reactor._poller = _Poller(inner, self)
        gc.callbacks.append(self._garbage)
        if self._wants_thread:
            self._thread = Thread(target=self._run, name="pychat-watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        if self._stopped:
            return
        self._stopped = True
        gc.callbacks.remove(self._garbage)
        poller = self._reactor._poller
        while isinstance(poller, _Poller) and poller.watchdog._stopped:
            # Another one may have begun in between: then it takes ours away with its own.
            poller = self._reactor._poller = poller.inner
        if self._thread is not None:
            self._awake.set()
            self._thread.join(1.0)
            self._thread = None

    # -- in the reactor's thread

    def wait(self, *arguments: Any) -> Any:
        """In place of the poller's ``poll``: a turn is over, and the next one begins."""
        since, wall = self._since, self._wall
        if since is not None:
            now = wall()
            if now - since >= STALL:
                self._was_long(since, self._cpu() - self._cpu_at, now)
            elif self._unsaid and now - (self._said_at or 0.0) >= SAID_EVERY:
                self._say(0.0, "", now)
        self._since = None
        events = self._poll(*arguments)
        self._cpu_at = self._cpu()
        self._since = wall()
        if self._dozing:
            self._dozing = False
            self._awake.set()
        return events

    def _was_long(self, since: float, held: float, now: float) -> None:
        if held < STALL:
            return
        self.number += 1
        self.total += held
        self.longest = max(self.longest, held)
        self._alert_until = now + ALERT
        if self._said_at is not None and now - self._said_at < SAID_EVERY:
            self._unsaid += 1
            self._unsaid_longest = max(self._unsaid_longest, held)
            return
        doing = self._seen[1] if self._seen[0] == since else NOT_SEEN
        collected = self._collected[1] if self._collected[0] == since else 0.0
        if collected >= STALL / 2:
            doing = f"{collected * 1000:.0f} ms of garbage collection; {doing}"
        self._say(held, doing, now)

    def _say(self, held: float, doing: str, now: float) -> None:
        facts = {
            "held": held * 1000, "doing": doing, "more": self._unsaid, "longest": self._unsaid_longest * 1000,
        }  # fmt: skip
        text = "The reactor was held for {held:.0f} ms: {doing}" if held else ""
        if self._unsaid:
            since = "{more} more stalls since the last such line, up to {longest:.0f} ms"
            text = f"{text} ({since})" if text else since
        self._said_at = now
        self._unsaid, self._unsaid_longest = 0, 0.0
        self._log.warn(text, **facts)

    def _garbage(self, phase: str, info: Mapping[str, int]) -> None:
        """Called by the garbage collector, in any thread; only its largest collections take long."""
        if info["generation"] < 2 or get_ident() != self._ident:
            return
        if phase == "start":
            self._collecting = self._wall()
        else:
            self._collected = self._since, self._wall() - self._collecting

    # -- in a thread beside it

    def _run(self) -> None:
        while not self._stopped:
            self._awake.wait(self.look())
            self._awake.clear()

    def look(self) -> float | None:
        """See what the reactor does, if a turn has been under way for a while.

        :return: seconds until the next look; ``None``: when there is a turn again.
        """
        since, began, now = self._since, self._cpu_at, self._wall()
        if since is None:
            if began == self._looked_at:
                self._dozing = True
                # It may have begun a turn just now, and not have seen that we doze.
                return None if self._since is None else SLOW
        elif now - since >= STALL / 2 and self._seen[0] != since:
            frame = self._frames().get(self._ident)
            self._seen = since, describe(frame)
        self._looked_at = began
        return FAST if now < self._alert_until else SLOW


def describe(frame: FrameType | None) -> str:
    """Where a thread is: its innermost function, and those of ours that called it, innermost first."""
    places: list[str] = []
    while frame is not None and len(places) < DEPTH:
        module = str(frame.f_globals.get("__name__"))
        if places and frame.f_code.co_name == "mainLoop":
            break  # from here on it is how the program was started
        if module != __name__ and (not places or module.partition(".")[0] == _OURS):
            code = frame.f_code
            name = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
            places.append(f"{module}.{name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(places) or NOT_SEEN
