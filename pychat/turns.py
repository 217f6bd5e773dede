"""Turns: how a transfer's engine gets time, bytes and something to send over; the same on either side.

`Turns` drives one engine (`pychat.transfer`).  It has a turn after each burst in which it heard something, when a
thread has done something for it, when there is room again, and when its deadline has passed: one `Deadline`, whatever
it waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from pychat.deadline import Deadline
from pychat.errors import PychatError
from pychat.transfer.terms import Failed, Outcome, Terms
from pychat.udp import Buffer, RunInThread

#: Seconds that one turn may go on sending while there is more to send.
TURN_SECONDS = 0.001
#: Seconds after which one that waits for room looks at the clock.
ROOM_SECONDS = 0.25
#: Seconds until an engine is asked again that says it is due, and then has nothing.
RESTLESS_SECONDS = 0.001
#: Seconds between two reports of progress.
PROGRESS_SECONDS = 0.1

FAULT = "Something went wrong at the other end: tell whoever runs it to look at its log."


class Engine(Protocol):
    """One end of a transfer, of `pychat.transfer`."""

    terms: Terms
    outcome: Outcome | None
    closed: bool
    paused: bool
    proven: Any
    counters: Any

    def receive(self, buffer: Buffer, segment: int, address: Any, now: float) -> None: ...
    def poll(self, now: float) -> Sequence[Any]: ...
    def deadline(self) -> float | None: ...
    def fail(self, code: str, sentence: str) -> None: ...
    def pause(self, on: bool) -> None: ...


class Carrier(Protocol):
    """What transfers are sent over."""

    @property
    def congested(self) -> bool:
        """Whether there is no room: who waits for a turn loses nothing."""

    def add(self, turns: Turns) -> None:
        """From now on, `turns` hears what comes for its transfer."""

    def remove(self, turns: Turns) -> None:
        """It is over."""

    def wait(self, turns: Turns) -> None:
        """Give it a turn when there is room again."""

    def send(self, buffers: Sequence[bytes], segment: int, address: Any) -> bool:
        """Send a train.  False when datagrams of that size can never leave."""

    def due(self, turns: Turns) -> None:
        """Its deadline has passed: take what has arrived, before it judges by the clock, and give it a turn."""

    def serve(self, turns: Turns) -> None:
        """Give it a turn: now, or soon, when others use the reactor."""


class Watch(Protocol):
    """Somebody who writes down what happens."""

    def received(self, buffer: Buffer, segment: int, now: float) -> None:
        """A train came."""

    def sent(self, trains: Sequence[Any], now: float) -> None:
        """Trains leave."""

    def turned(self, now: float) -> None:
        """A turn is over."""


class Turns:
    """Drives one engine.  `Sending` and `Receiving` add what a file needs.

    :param engine: it is nobody else's.
    :param carrier: what it sends over.
    :param reactor: makes timers.
    :param run_in_thread: ``run(f, *args)`` gives a Deferred of ``f(*args)``.
    :param seconds: the engine's clock.
    :param name: what to call it in the log.
    :ivar concluded: called once with how it ended, before the last words are out.
    :ivar released: called once with how it ended, when no thread is at work for it any more; the last words may still
        be on their way.
    :ivar heard: called at the end of a turn in which something had come.
    :ivar watch: is told what happens, if it is set.
    :ivar progress: called with the bytes that are through and those of the file, ten times a second while that changes,
        and at the end.
    """

    _log = Logger()
    _doing = "while talking about"
    #: When there may be work for a thread again although nothing has come.
    _work_at = inf

    def __init__(
        self,
        engine: Any,
        carrier: Carrier,
        *,
        reactor: Any,
        run_in_thread: RunInThread,
        seconds: Callable[[], float] = time.monotonic,
        name: str = "",
    ) -> None:
        self.engine = engine
        self.carrier = carrier
        self.name = name
        self.concluded: Callable[[Outcome], object] | None = None
        self.released: Callable[[Outcome], object] | None = None
        self.heard: Callable[[], object] | None = None
        self.progress: Callable[[int, int], object] | None = None
        self.watch: Watch | None = None
        self._heard = False
        self._pausing = False
        self._run = run_in_thread
        self._seconds = seconds
        self._deadline = Deadline(reactor, self._due)
        self._over = False
        self._faulty = False
        self._fault_outcome: Outcome | None = None
        self._working = False
        self._closed: Deferred[None] = Deferred()
        self._gone = False
        self._retired: Deferred[None] | None = None
        self._room_until: float | None = None
        self._reported = -1
        self._report_at = 0.0

    # For whoever started it ---------------------------------------------------------------------------------

    @property
    def transfer(self) -> bytes:
        """The transfer's id."""
        transfer: bytes = self.engine.terms.transfer
        return transfer

    @property
    def done_bytes(self) -> int:
        """Bytes of the file that are through."""
        return self._progressed()

    @property
    def gone(self) -> bool:
        """Whether nothing more will be sent for it."""
        return self._gone

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, once it has."""
        outcome: Outcome | None = self.engine.outcome
        return outcome or self._fault_outcome

    def start(self) -> Deferred[Outcome]:
        """Begin.

        :return: fires with the outcome when the last words are out and no thread is at work any more.  Cancelling it
            tells the peer ``cancelled``, and fires it with `CancelledError` after that.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> Outcome:
        if not self._gone:
            self.carrier.add(self)
            self.turn()
        try:
            await self._closed
        except CancelledError:
            self._closed = Deferred()
            if self._gone and not self._working:
                raise
            self.fail("cancelled", "The transfer was cancelled.")
            await self._closed
            raise
        outcome = self.outcome
        assert outcome is not None
        return outcome

    def fail(self, code: str, sentence: str) -> None:
        """Give up, and tell the peer why."""
        self._guarded(self.engine.fail, code, sentence)
        self.turn()

    def pause(self, on: bool) -> None:
        """Have no more of the file sent, or go on."""
        self._pausing = on
        self._rest()

    @property
    def resting(self) -> bool:
        """Whether either end has it paused."""
        return self._pausing or bool(self.engine.paused)

    def _rest(self) -> None:
        self._guarded(self.engine.pause, self._pausing)
        self.turn()

    # For the carrier ----------------------------------------------------------------------------------------

    def received(self, buffer: Buffer, segment: int, address: Any) -> None:
        """A train came; the turn follows at the end of the burst."""
        if not self._gone:
            self._heard = True
            now = self._seconds()
            if self.watch is not None:
                self.watch.received(buffer, segment, now)
            self._guarded(self.engine.receive, buffer, segment, address, now)

    def turn(self) -> None:
        """Let it send what may leave now, and see what became of it."""
        if not self._gone:
            self._guarded(self._take_turn)

    def abandon(self, code: str, sentence: str) -> None:
        """There is nobody any more to take leave of."""
        self._guarded(self.engine.fail, code, sentence)
        self._conclude(self.outcome or Failed(code, sentence))
        self._forget()

    def retire(self) -> Deferred[None]:
        """Stop at once and without a word: somebody else goes on with what this one had.

        :return: fires when no thread is at work for it.  What it had is not closed, and nobody is told of an outcome.
        """
        self._over = self._gone = True
        self._deadline.cancel()
        self.carrier.remove(self)
        self._retired = Deferred()
        if not self._working:
            self._retired.callback(None)
        return self._retired

    # The life of it -----------------------------------------------------------------------------------------

    def _due(self) -> None:
        self.carrier.due(self)

    def _guarded(self, function: Callable[..., object], *arguments: Any) -> None:
        """A fault of ours, in an exception handler: it costs this transfer, and no other."""
        try:
            function(*arguments)
        except Exception:
            self._log.failure("a fault {doing} {name!r}", doing=self._doing, name=self.name)
            self._fault()

    def _fault(self) -> None:
        if not self._faulty:
            self._faulty = True
            try:
                self.engine.fail("fault", FAULT)
                self._take_turn()
                return
            except Exception:
                self._log.failure("{name!r} cannot even fail", name=self.name)
        if self.engine.outcome is None:
            self._fault_outcome = Failed("fault", FAULT)
        self._conclude(self.outcome or Failed("fault", FAULT))
        self._forget()

    def _take_turn(self) -> None:
        engine, carrier = self.engine, self.carrier
        now = self._seconds()
        until = now + TURN_SECONDS
        while True:
            if carrier.congested and self._waits(now):
                carrier.wait(self)
                due = self._room_until
                break
            self._room_until = None
            trains = engine.poll(now)
            if self.watch is not None:
                self.watch.sent(trains, now)
            for train in trains:
                if not carrier.send(*train):
                    self._too_big(train.segment, now)
            due = engine.deadline()
            if due is None or due > now:
                break
            if not trains:
                due = now + RESTLESS_SECONDS
                break
            now = self._seconds()
            if now >= until:
                break
        if engine.outcome is not None:
            self._conclude(engine.outcome)
        elif not self._working and engine.proven is not None:
            self._work()
        self._report(now)
        if self.watch is not None:
            self.watch.turned(now)
        at = self._work_at if due is None else min(due, self._work_at)
        if engine.closed:
            self._forget()
        elif at < inf:
            self._deadline.set(max(at - now, 0.0))
        else:
            self._deadline.cancel()
        if self._heard:
            self._heard = False
            if self.heard is not None:
                self.heard()

    def _waits(self, now: float) -> bool:
        """Whether to go on waiting for room: an engine has to see what time it is all the same."""
        if self._room_until is None:
            self._room_until = now + ROOM_SECONDS
        return now < self._room_until

    def _too_big(self, size: int, now: float) -> None:
        """This machine sends no datagrams of that size."""

    def _work(self) -> None:
        """Give a thread something to do, if there is something.  Subclasses have their own."""

    def _in_thread(
        self, done: Callable[[Any], object], function: Callable[..., Any], *arguments: Any
    ) -> None:
        """One job at a time: run it, and then call `done` with its result, and have a turn."""
        self._working = True
        job = self._run(function, *arguments)
        job.addCallbacks(self._worked, self._failed, (done,))
        job.addErrback(self._log_fault)

    def _log_fault(self, failure: Any) -> None:
        self._log.failure("a fault {doing} {name!r}", failure, doing=self._doing, name=self.name)

    def _worked(self, result: Any, done: Callable[[Any], object]) -> None:
        self._working = False
        if self._over:
            self._off_duty()
            return
        self._guarded(done, result)
        if self.outcome is None and not self._working:
            self._guarded(self._work)  # the thread is busy again while we send
        self.carrier.serve(self)

    def _failed(self, failure: Any) -> None:
        self._working = False
        if self._over:
            self._off_duty()
        elif isinstance(failure.value, PychatError):
            self.fail(failure.value.code, failure.value.sentence)
        else:
            self._log_fault(failure)
            self.fail(*self._broken())

    def _off_duty(self) -> None:
        """The thread came back, and there is nothing more to do."""
        if self._retired is not None:
            self._retired.callback(None)
        else:
            self._let_go()

    def _broken(self) -> tuple[str, str]:
        """What to tell the peer when the disk failed in a way that nobody foresaw."""
        return "fault", FAULT

    def _conclude(self, outcome: Outcome) -> None:
        """There is an outcome: report it once; the engine may still have to take its leave."""
        if self._over:
            return
        self._over = True
        self._report_at = 0.0
        self._tell(self.concluded, outcome)
        if not self._working:
            self._let_go()

    def _tell(self, hearer: Callable[[Outcome], object] | None, outcome: Outcome) -> None:
        if hearer is not None:
            try:
                hearer(outcome)
            except Exception:
                self._log.failure("a fault after the end of {name!r}", name=self.name)

    def _let_go(self) -> None:
        """It is over and no thread is at work: subclasses close what they have, and call this."""
        outcome = self.outcome
        if outcome is not None:
            self._tell(self.released, outcome)
        if self._gone and not self._closed.called:
            self._closed.callback(None)

    def _forget(self) -> None:
        """Nothing more will be sent for it."""
        if self._gone:
            return
        self._gone = True
        self._deadline.cancel()
        self.carrier.remove(self)
        if not self._working and not self._closed.called:
            self._closed.callback(None)

    def _report(self, now: float) -> None:
        """Tell of the progress, if there is any and it is time."""
        if self.progress is None or now < self._report_at:
            return
        done = self._progressed()
        if done != self._reported:
            self._reported = done
            self._report_at = now + PROGRESS_SECONDS
            try:
                self.progress(done, self.engine.terms.size)
            except Exception:
                self._log.failure("a fault in telling of {name!r}", name=self.name)

    def _progressed(self) -> int:
        """Bytes of the file that are through."""
        return 0
