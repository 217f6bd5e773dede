"""The turns of the daemon: what was posted goes into the journal, what is due goes out, once a reactor turn.

All that came in during one turn of the reactor makes one batch for the journal and one write for each
connection (:mod:`pychat.mailroom`).  While a batch is being committed the next one gathers.

Cursors that moved go into the journal with the next batch; if there is none they make one of their own after
:data:`MOVED_DELAY`, so that a hundred acknowledgements cost one commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .errors import JournalError
from .hub import Hub
from .interfaces import IJournal
from .ledger import Changes
from .mailroom import Mailroom
from .peer import Post
from .reading import Connection, Reading

MOVED_DELAY = 0.01
"""Seconds for which cursors that moved wait for a batch to go with."""

SWEEP_PAUSE = 0.05
"""Seconds between two lots of people whose time is over."""

REFUSED_DELAY = 1.0
"""The same, after the journal could not keep them."""

PEOPLE_PAUSE = 1.0
"""Seconds for which it is counted who comes and goes in a crowd, before it is told."""


GATHER = 3
"""Turns for which a batch waits for what has come in already."""

_log = Logger("pychat.pump")


class Pump:
    """Drives one hub with one journal."""

    def __init__(
        self,
        reactor: IReactorTime,
        hub: Hub,
        journal: IJournal | None,
        wall_clock: Callable[[], float],
    ) -> None:
        """
        :param journal: may be given later (:meth:`start`), but before the first connection.
        :param wall_clock: seconds since 1970, for the time that messages carry.
        """
        self.hub = hub
        self.reactor = reactor
        self.seconds: Callable[[], float] = reactor.seconds
        """Of the monotonic clock."""
        self._wall_clock = wall_clock
        self._journal: IJournal | None = None
        self._turn: IDelayedCall | None = None
        self._moved: IDelayedCall | None = None
        self._sweep: IDelayedCall | None = None
        self._people: IDelayedCall | None = None
        self._moved_delay = MOVED_DELAY
        self._appending: Deferred[None] | None = None
        self._idle: list[Deferred[None]] = []
        self.behind_journal: list[Callable[[], object]] = []
        """What is to be called, soon, when the journal has what it was given: see :attr:`keeping`."""
        self._stopped = False
        self._gathering = 0  # turns for which the batch has waited
        self.behind: Callable[[], bool] = lambda: False
        """Whether more has come in than was looked at."""
        self.mailroom = Mailroom(reactor, hub, self._beaten, self._emptied)
        """The way out for all connections."""
        if journal is not None:
            self.start(journal)

    def start(self, journal: IJournal) -> None:
        """Go on where this journal stands."""
        self._journal = journal
        self.hub.begin(
            journal.last_id,
            journal.last_identity,
            journal.living,
            self.reactor.seconds(),
            journal.last_room,
            journal.rooms,
            journal.stays,
        )
        self.reading = Reading(self.reactor, self.hub, journal, self.wake)
        self.reading.begin(self._now_ms())

    def _now_ms(self) -> int:
        return int(self._wall_clock() * 1000)

    def clocks(self) -> tuple[float, int]:
        """What time it is: seconds of the monotonic clock, and milliseconds of the wall clock since 1970, UTC."""
        return self.reactor.seconds(), self._now_ms()

    @property
    def keeping(self) -> bool:
        """The journal was given something, and has not said that it has it."""
        return self._appending is not None

    def wake(self) -> None:
        """Something was posted or is due: there is a turn to come."""
        if self._turn is None and not self._stopped:
            self._turn = self.reactor.callLater(0, self._take_turn)

    def tell_file(self, name: str, size: int, by: str) -> None:
        """A file has come: tell everybody."""
        self.hub.tell_file(name, size, by, self._now_ms())
        self.wake()

    def settled(self) -> Deferred[None]:
        """Fires when everything posted so far has its answer, and the journal knows all that has changed."""
        if self._appending is None and not self.hub.posting and not self.hub.moved:
            return succeed(None)
        self._moved_delay = 0.0
        waiting: Deferred[None] = Deferred()
        self._idle.append(waiting)
        return waiting

    def stop(self) -> None:
        """No more turns and beats."""
        self._stopped = True
        self.mailroom.stop()
        for call in (self._turn, self._moved, self._sweep, self._people):
            if call is not None and call.active():
                call.cancel()
        self._turn = self._moved = self._sweep = self._people = None

    def sweep(self) -> None:
        """From time to time: end those who have been away for too long, and do what could not be done."""
        if self._sweep is not None:
            return
        self.reading.retry()
        if self._journal is not None:
            self.hub.tidy_rooms(self._journal.oldest)
        self._sweep_on()

    def _sweep_on(self) -> None:
        """End some now, and the others when everybody else has had a turn."""
        self._sweep = None
        if self.hub.expire(self.reactor.seconds()) and not self._stopped:
            self._sweep = self.reactor.callLater(SWEEP_PAUSE, self._sweep_on)
        self.wake()

    def _take_turn(self) -> None:
        self._turn = None
        if self._appending is None and not self.mailroom.busy:
            if self.hub.posting:
                rest = self.mailroom.rest
                if rest > 0:
                    # What comes so soon after a round goes out with what is to come: half the writes for each.
                    self._turn = self.reactor.callLater(rest, self._take_turn)
                elif self.behind() and self._gathering < GATHER:
                    self._gathering += 1
                    self._turn = self.reactor.callLater(0, self._take_turn)
                else:
                    self._append()
            elif self.hub.moved:
                if self._moved is None:
                    self._moved = self.reactor.callLater(self._moved_delay, self._take_moved)
            else:
                idle, self._idle = self._idle, []
                for waiting in idle:
                    waiting.callback(None)
        self.reading.look()
        self.hub.tell_fleeting()
        if self._people is None and self.hub.counts_people and not self._stopped:
            self._people = self.reactor.callLater(PEOPLE_PAUSE, self._tell_people)
        self.mailroom.flush()

    def _tell_people(self) -> None:
        """Tell one crowd who came and went, and the others in the next turns."""
        self._people = None
        if self.hub.tell_people():
            self._people = self.reactor.callLater(0, self._tell_people)
        self.wake()

    def _take_moved(self) -> None:
        self._moved = None
        if self._appending is None:
            self._append()
        self.mailroom.flush()

    def _append(self) -> None:
        if self._moved is not None:
            self._moved.cancel()
            self._moved = None
        time_ms = self._now_ms()
        changes = self.hub.changes(time_ms)
        posts, entries = self.hub.take(time_ms) or ([], [])
        self._gathering = 0
        assert self._journal is not None
        done = self._journal.append(entries, changes.standings)
        self._appending = cast("Deferred[None]", done)
        done.addCallbacks(
            self._appended,
            self._refused,
            callbackArgs=(changes, posts, time_ms),
            errbackArgs=(changes, posts),
        )
        done.addErrback(self._broken)
        done.addBoth(self._next)

    def _appended(self, ids: Sequence[int], changes: Changes, posts: list[Post], time_ms: int) -> None:
        self._moved_delay = MOVED_DELAY
        self.hub.kept(changes)
        if posts:
            self.hub.appended(posts, ids, time_ms, self.reactor.seconds())
            self.mailroom.delivered()
        self._end_replaced()
        if self.hub.counting:
            self.mailroom.start_beat()

    def _refused(self, failure: Failure, changes: Changes, posts: list[Post]) -> None:
        if failure.check(JournalError):
            _log.error(
                "journal refused {count} messages: {error}",
                count=sum([post.messages for post in posts]),
                error=failure.value,
            )
            error = cast("JournalError", failure.value)
        else:
            _log.failure("the journal failed", failure)
            error = JournalError("journal-unavailable", "The message could not be kept. Try again later.")
        self._moved_delay = REFUSED_DELAY
        self.hub.not_kept(changes)
        self.hub.refused(posts, error)
        self._end_replaced()

    def _end_replaced(self) -> None:
        replaced = self.hub.replaced
        while replaced:
            cast("Connection", replaced.pop().owner).end("replaced", "You came back on another connection.")

    def _broken(self, failure: Failure) -> None:
        _log.failure("delivering a batch failed", failure)

    def _next(self, result: object) -> None:
        self._appending = None
        behind, self.behind_journal = self.behind_journal, []
        for call in behind:
            self.reactor.callLater(0, call)
        self.reading.look()
        # What gathered meanwhile, the answers that just fell due, who went, and whoever waits for the end of it.
        if self.hub.posting or self.hub.moved or self.hub.dirty or self.hub.counts_people or self._idle:
            self.wake()

    def _emptied(self) -> None:
        """All who got something from the last batch have it: what gathered meanwhile makes the next one."""
        if self._appending is None and (self.hub.posting or self.hub.moved or self._idle):
            self.wake()

    def _beaten(self) -> None:
        """How far bytes have come is known anew."""
        self.reading.look()
        if self.hub.moved:
            self.wake()
