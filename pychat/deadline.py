"""One deadline that is moved, instead of many timers that are made and cancelled."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure


class Deadline:
    """Calls a function once when its time has come; setting it again moves it.

    Moving it to a later time costs no timer: the Deferred that is under way fires, sees that it is early, and
    waits for the rest.
    """

    __slots__ = ("_at", "_clock", "_fire", "_wait", "_wait_until")

    def __init__(self, clock: IReactorTime, fire: Callable[[], object]) -> None:
        self._clock = clock
        self._fire = fire
        self._at: float | None = None
        self._wait: Deferred[None] | None = None
        self._wait_until = 0.0

    @property
    def active(self) -> bool:
        """True while it is set and has not fired."""
        return self._at is not None

    def set(self, seconds: float) -> None:
        """Fire so many seconds from now, and not when it was set to before."""
        at = self._clock.seconds() + seconds
        self._at = at
        if self._wait is not None:
            if self._wait_until <= at:
                return
            self._wait.cancel()
        self._start(at)

    def cancel(self) -> None:
        """Do not fire."""
        self._at = None
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None

    def close(self) -> None:
        """Never fire any more, and let go of the function: mostly it is of an object that refers to this one."""
        self.cancel()
        self._fire = _nothing

    def _start(self, at: float) -> None:
        self._wait_until = at
        self._wait = wait = deferLater(self._clock, max(0.0, at - self._clock.seconds()), self._due)
        wait.addErrback(_ignore_cancelled)

    def _due(self) -> None:
        self._wait = None
        assert self._at is not None  # cancel() ends the wait
        if self._at > self._wait_until:
            self._start(self._at)
            return
        self._at = None
        self._fire()


def _nothing() -> None:
    """What a deadline does that is closed."""


def _ignore_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
