"""The turns of the daemon: what was posted goes into the journal, what is due goes out, once a reactor turn.

All that came in during one turn of the reactor makes one batch for the journal and one write for each
connection.  While a batch is being committed the next one gathers.  A second, slow beat asks the kernel how far
the peers' bytes have come: only while somebody waits for the answer, and never once a write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .errors import JournalError
from .hub import Hub
from .interfaces import IJournal
from .peer import Post

BEAT = 0.05
"""Seconds between two looks at how far bytes have come; longer when very many are here."""

BEAT_SHARE = 50e-6
"""Seconds a connection adds to the beat at least, so that looking stays a few per cent of the time."""


class Wire(Protocol):
    """What the pump asks of a connection; the ``owner`` of a :class:`Peer`."""

    def flush(self) -> None:
        """Write what the mailbox holds."""

    def look(self, now: float) -> bool:
        """Tell the hub how far the bytes have come; return whether to look again."""


class Pump:
    """Drives one hub with one journal."""

    _log = Logger()

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
        self._journal: IJournal | None = None
        if journal is not None:
            self.start(journal)
        self._wall_clock = wall_clock
        self._turn: IDelayedCall | None = None
        self._beat: IDelayedCall | None = None
        self._watched: dict[Wire, None] = {}
        self._appending: Deferred[None] | None = None
        self._idle: list[Deferred[None]] = []
        self._stopped = False

    def start(self, journal: IJournal) -> None:
        """Go on where this journal stands."""
        self._journal = journal
        self.hub.begin(journal.last_id, journal.last_identity)

    def wake(self) -> None:
        """Something was posted or is due: there is a turn to come."""
        if self._turn is None and not self._stopped:
            self._turn = self.reactor.callLater(0, self._take_turn)

    def watch(self, wire: Wire) -> None:
        """Look at this connection at every beat until it says that it needs no more."""
        self._watched[wire] = None
        self._start_beat()

    def forget(self, wire: Wire) -> None:
        """The connection is gone."""
        self._watched.pop(wire, None)

    def settled(self) -> Deferred[None]:
        """Fires when everything posted so far has its answer in a mailbox."""
        if self._appending is None and not self.hub.posting:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._idle.append(waiting)
        return waiting

    def stop(self) -> None:
        """No more turns and beats."""
        self._stopped = True
        for call in (self._turn, self._beat):
            if call is not None and call.active():
                call.cancel()
        self._turn = self._beat = None

    def _take_turn(self) -> None:
        self._turn = None
        if self._appending is None:
            self._append()
        self._flush()

    def _append(self) -> None:
        taken = self.hub.take(int(self._wall_clock() * 1000))
        if taken is None:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)
            return
        posts, entries = taken
        time_ms = entries[0].time_ms if entries else 0
        assert self._journal is not None
        done = self._journal.append(entries)
        self._appending = cast("Deferred[None]", done)
        done.addCallbacks(self._appended, self._refused, callbackArgs=(posts, time_ms), errbackArgs=(posts,))
        done.addErrback(self._broken)
        done.addBoth(self._next)

    def _appended(self, ids: list[int], posts: list[Post], time_ms: int) -> None:
        self.hub.appended(posts, ids, time_ms, self.reactor.seconds())
        if self.hub.counting:
            self._start_beat()

    def _refused(self, failure: Failure, posts: list[Post]) -> None:
        if failure.check(JournalError):
            self._log.error(
                "journal refused {count} messages: {error}", count=len(posts), error=failure.value
            )
            error = cast("JournalError", failure.value)
        else:
            self._log.failure("the journal failed", failure)
            error = JournalError("journal-unavailable", "The message could not be kept. Try again later.")
        self.hub.refused(posts, error)

    def _broken(self, failure: Failure) -> None:
        self._log.failure("delivering a batch failed", failure)

    def _next(self, result: object) -> None:
        self._appending = None
        # What gathered meanwhile, the answers that just fell due, and whoever waits for the end of it.
        if self.hub.posting or self.hub.dirty or self._idle:
            self.wake()

    def _flush(self) -> None:
        dirty = self.hub.dirty
        if not dirty:
            return
        flushing = dirty[:]
        dirty.clear()
        for peer in flushing:
            peer.dirty = False
            try:
                cast("Wire", peer.owner).flush()
            except Exception:
                # Whatever is wrong with this one, the others get theirs.
                self._log.failure("writing to a connection failed")

    def _start_beat(self) -> None:
        if self._beat is None and not self._stopped:
            delay = max(BEAT, BEAT_SHARE * len(self.hub.roster))
            self._beat = self.reactor.callLater(delay, self._take_beat)

    def _take_beat(self) -> None:
        self._beat = None
        now = self.reactor.seconds()
        for wire in [*self._watched]:
            try:
                more = wire.look(now)
            except Exception:
                self._log.failure("looking at a connection failed")
                more = False
            if not more:
                self._watched.pop(wire, None)
        if self.hub.counting:
            self.hub.count(now)
        if self._watched or self.hub.counting:
            self._start_beat()
        if self.hub.dirty:
            self._flush()
