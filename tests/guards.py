"""What watches over the tests: a reactor left dirty, a failure logged and not expected, an await without end.

Trial has all three for its asynchronous tests, pytest-twisted has none.  The fixtures that apply the first two to
every test are in `conftest`; `within` is put on asynchronous tests by hand::

    @pytest_twisted.ensureDeferred
    @within(seconds=5)
    async def test_something() -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")


CLEAN_UP_SECONDS = 5.0
"""Seconds that a test which took too long is given to stop what it has started."""


def within(seconds: float) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Deferred[T]]]:
    """Fail an asynchronous test with TimeoutError once it has taken so long, and let the others go on.

    The test is cancelled where it waits, and what it awaits then, to clean up, may take `CLEAN_UP_SECONDS`.  Even a
    test that does not let itself be cancelled ends.
    """

    def decorate(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Deferred[T]]:
        @functools.wraps(test)
        def limited(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
            return _Limited(Deferred.fromCoroutine(test(*args, **kwargs)), seconds).outcome

        return limited

    return decorate


class _Limited(Generic[T]):
    """A test that runs.

    :ivar outcome: fires with that of the test; a Deferred of our own, for that of a coroutine fires only when the
        coroutine ends.
    """

    def __init__(self, running: Deferred[T], seconds: float) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._seconds = seconds
        self._running = running
        self._late = False
        self.outcome: Deferred[T] = Deferred()
        self._watch = self._reactor.callLater(seconds, self._cancel)
        running.addBoth(self._ended)

    def _cancel(self) -> None:
        self._late = True
        self._watch = self._reactor.callLater(CLEAN_UP_SECONDS, self._ended, None)
        self._running.cancel()

    def _ended(self, result: T | Failure) -> None:
        if self.outcome.called:
            return  # after all
        if self._watch.active():
            self._watch.cancel()
        if not self._late:
            self.outcome.callback(result)
            return
        error = TimeoutError(f"the test was not done in {self._seconds:g} s")
        if isinstance(result, Failure):
            error.__cause__ = result.value  # it tells where the test waited
        self.outcome.errback(error)


class LoggedFailures:
    """The failures that were logged and that no test has asked about yet."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        """Observe a log event, new style or old."""
        failure = event.get("log_failure") or (event.get("isError") and event.get("failure"))
        if failure:
            self._failures.append(failure)

    def flush(self, *types: type[BaseException]) -> list[Failure]:
        """Return the failures logged so far, of these types or of all, and do not hold them against the test."""
        flushed = [f for f in self._failures if not types or f.check(*types)]
        self._failures = [f for f in self._failures if f not in flushed]
        return flushed

    def start(self) -> None:
        globalLogPublisher.addObserver(self)

    def stop(self) -> None:
        globalLogPublisher.removeObserver(self)

    def complain(self) -> str | None:
        """Return what to say of the failures that remain, None if there are none."""
        if not self._failures:
            return None
        tracebacks = "\n".join(failure.getTraceback() for failure in self._failures)
        return f"the test logged failures that nobody expected:\n{tracebacks}"


class ReactorState:
    """What runs on the reactor before a test, to tell afterwards what the test has left there."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        # The waker and its like are the reactor's own; it makes some of them only when they are needed.
        self._before = self._selectables() | set(reactor.getDelayedCalls())
        self._working_before = self._count_work()

    def left(self) -> list[object]:
        """Return the selectables and delayed calls that were not there before."""
        own: set[object] = getattr(self._reactor, "_internalReaders", set())
        now = self._selectables() | {call for call in self._reactor.getDelayedCalls() if call.active()}
        return sorted(now - self._before - own, key=repr)

    def working(self) -> int:
        """Return how many more pieces of work than before run or wait in the reactor's thread pool."""
        return max(0, self._count_work() - self._working_before)

    def is_clean(self) -> bool:
        return not self.left() and not self.working()

    async def settle(self, seconds: float) -> None:
        """Give the reactor turns until nothing is left, or for so long; connections take a few to close."""
        reactor = self._reactor
        deadline = reactor.seconds() + seconds
        delay = 0.0
        while not self.is_clean() and reactor.seconds() < deadline:
            turn: Deferred[None] = Deferred()
            reactor.callLater(delay, turn.callback, None)
            await turn
            delay = 0.01

    def complain(self) -> str | None:
        """Return what to say of what is left, None if nothing is; and take it off the reactor."""
        left, working = self.left(), self.working()
        said = [f"  {thing}" for thing in left]
        if working:
            said.append(f"  work in the reactor's thread pool ({working})")
        for thing in left:
            self._discard(thing)
        return "\n".join(["the test left on the reactor:", *said]) if said else None

    def _discard(self, thing: Any) -> None:
        if hasattr(thing, "cancel"):
            thing.cancel()
            return
        self._reactor.removeReader(thing)
        self._reactor.removeWriter(thing)
        thing.connectionLost(Failure(ConnectionDone()))

    def _count_work(self) -> int:
        pool = self._reactor.threadpool
        return 0 if pool is None else len(pool.working) + pool._queue.qsize()

    def _selectables(self) -> set[object]:
        return {*self._reactor.getReaders(), *self._reactor.getWriters()}
