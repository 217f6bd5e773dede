"""When the index takes in what was appended: behind the commits, and in lots that are worth it.

A row costs a third in a lot of a thousand of what it costs alone, and as much as its delivery to fifty people.  So it
waits for a lot, or for a moment in which nothing is said; and while very much is said it waits for quieter times, up to
a bound within which a search can wait for it.  One slice is one job of the index's thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from .index import Index
from .worker import Worker

QUIET = 0.5
"""Seconds without a message after which those that wait are taken in."""

LOT = 1000
"""So many are worth it."""

CALM = 1500
"""When no more than this come in that time, a lot is taken in at once."""

LAG = 100_000
"""When so many wait they are taken in, whatever else there is to do."""

RETRY = 10.0
"""Seconds until the next try, after the index could not be written."""

CATCH_UP = 120_000
"""For so many messages at most, a search waits until they are indexed."""


class Indexing:
    """Keeps one index up with its journal.  All is called on the reactor's thread."""

    _log = Logger()

    def __init__(self, reactor: Any, index: Index, last_id: int, let_go: Callable[[], Deferred[Any]]) -> None:
        """:param let_go: makes those who read the index close it; fires when they have."""
        self.index = index
        self._let_go = let_go
        self._reactor = reactor
        self._worker = Worker(reactor, "journal-index")
        self._last_id = self._seen = last_id
        self._busy = self._sweeping = self._failing = self._closed = False
        self._timer: Any = None
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def appended(self, last_id: int) -> None:
        """The journal has all up to this id."""
        self._last_id = last_id
        if self._busy or self._closed:
            return
        waiting = last_id - self.index.upto
        if waiting >= LAG and not self._failing:
            self._fill()
        elif waiting > 0 and self._timer is None:
            self._wait(QUIET)

    def catch_up(self) -> Deferred[None]:
        """Fires when all that was appended by now is in, or at once if that is too much, or cannot be."""
        waiting = self._last_id - self.index.upto
        if waiting <= 0 or waiting > CATCH_UP or self._closed or self._failing:
            return succeed(None)
        answer: Deferred[None] = Deferred()
        self._waiting.append((self._last_id, answer))
        if not self._busy:
            self._fill()
        return answer

    def look_after(self) -> None:
        """Make it anew, if somebody found that it is damaged."""
        if self.index.damaged and not self._busy and not self._closed:
            self._fill()

    def sweep(self) -> None:
        """Messages were deleted: take out what there is of them, a step at a time."""
        if not self._sweeping and not self._closed and not self.index.damaged:
            self._sweeping = True
            self._worker.do(self.index.sweep).addCallbacks(self._swept, self._not_swept)

    def _swept(self, more: int) -> None:
        self._sweeping = False
        if more:
            self.sweep()

    def _not_swept(self, failure: Failure) -> None:
        failure.trap(sqlite3.Error, OSError)
        self._sweeping = False

    def _wait(self, seconds: float) -> None:
        self._seen = self._last_id
        self._timer = self._reactor.callLater(seconds, self._time_over)

    def _time_over(self) -> None:
        self._timer = None
        came = self._last_id - self._seen
        lot = self._last_id - self.index.upto >= LOT
        if self._failing or not came or (lot and came <= CALM):
            self._fill()
        else:
            self._wait(QUIET)

    def _fill(self) -> None:
        self._cancel()
        self._busy = True
        if self.index.damaged:
            # It is about to be deleted, which not every system does to a file that somebody has open.
            self._let_go().addCallback(lambda _: self._take_in())
        else:
            self._take_in()

    def _take_in(self) -> None:
        self._worker.do(self.index.fill).addCallbacks(self._filled, self._not_filled)

    def _filled(self, _: int) -> None:
        if self._failing:
            self._log.info("the index can be written again")
        self._busy = self._failing = False
        self._answer(self.index.upto)
        more = self._waiting or self._last_id - self.index.upto >= LOT
        if more and not self._closed:
            self._fill()
        else:
            self.appended(self._last_id)

    def _not_filled(self, failure: Failure) -> None:
        failure.trap(sqlite3.Error, OSError)
        if not self._failing:
            self._log.warn(
                "the index could not be written, so searches do not find what is new: {reason}",
                reason=failure.getErrorMessage(),
            )
        self._busy, self._failing = False, True
        self._answer(self._last_id)
        if not self._closed:
            self._wait(RETRY)

    def _answer(self, upto: int) -> None:
        ready = [answer for target, answer in self._waiting if target <= upto]
        self._waiting = [waiting for waiting in self._waiting if waiting[0] > upto]
        for answer in ready:
            answer.callback(None)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def halt(self) -> None:
        """Begin nothing more."""
        self._closed = True
        self._cancel()
        self._answer(self._last_id)

    def close(self) -> Deferred[None]:
        """Finish the slice that is under way and let go of the file."""
        return self._worker.stop(self.index.close)
