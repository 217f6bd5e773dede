"""A thread that does one job after the other, and answers on the reactor's thread."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

_AGAIN = object()
"""The answer of a job that wants to be done once more, after those that wait."""


class Worker:
    """One thread and what it has to do, in the order in which it was asked for."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[tuple[Callable[[], object], Deferred[Any]]] = SimpleQueue()
        self._ended = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], T]) -> Deferred[T]:
        """Do this; fires with what it returns, or fails with what it raises."""
        return self._ask(job)

    def stop(self, last: Callable[[], T]) -> Deferred[T]:
        """Finish what was asked for, do this last, and end; does not wait."""

        def end() -> object:
            if not self._jobs.empty():
                return _AGAIN
            self._ended = True
            return last()

        return self._ask(end)

    def _ask(self, job: Callable[[], object]) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self._jobs.put((job, answer))
        return answer

    def _run(self) -> None:
        while not self._ended:
            job, answer = self._jobs.get()
            try:
                result = job()
            except BaseException:
                result = Failure()
            if result is _AGAIN:
                self._jobs.put((job, answer))
            else:
                self._reactor.callFromThread(answer.callback, result)
            del job, answer, result
