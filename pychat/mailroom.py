"""The way out for all connections together: flushed in slices, looked at in slices, under one ceiling.

Connections that got something are flushed in order, senders first, at most :data:`SLICE` in a turn of the reactor; the
others follow in the next turns, before those that got something since.  What comes meanwhile for one that still waits
goes out with the rest of its mail, so each connection's order is kept, and no message holds the reactor for longer than
a slice.  A message that comes after a silence goes out at once; under load rounds of flushes are
:attr:`Mailroom.pause` apart, for a system call costs the same for one message and for ten.  Where a round takes longer
its answers come in later, too, and the next one waits for them; of more than a slice, they are read between its turns.

While messages wait to know how far they have come the connections are asked at a beat, in slices too.

What the peers' kernels did not take waits in mailboxes, each with its own marks (:mod:`pychat.outlet`).  All of them
together have a ceiling: past it those with the most are given up first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .hub import Hub
from .peer import Peer

SLICE = 250
"""Connections that are written to in one turn of the reactor at most."""

LOT = 50
"""Connections that are written to, or looked at, between two looks at the clock."""

SLICE_SECONDS: Final = 0.003
"""Seconds for which connections are written to in one turn, about: on a slow machine those are fewer than a slice."""

MANY = 250
"""Connections that got something at once, so that the writing begins in the next turn."""

LOOKS = 150
"""Connections that are asked how far their bytes have come in one turn at most."""

LOOKS_SECONDS: Final = 0.001
"""Seconds for that in one turn, about."""

BEAT = 0.05
"""Seconds between two looks at how far bytes have come; longer when very many are here."""

BEAT_SHARE, CALM_SHARE = 50e-6, 1e-3
"""Seconds a connection adds to the beat at least, so that looking stays a few per cent of the time: one of those where
somebody waits to know what became of a message of her own; and one of all, where it is counted who has what was said to
many."""

LOOKING = 1 / 32
"""Of the time, what looking takes at most, about: on a slow or busy machine a connection adds more than that."""

MAX_BEAT = 1.0
"""Seconds between two looks at most."""

ANSWERING: Final = 2.0
"""Those who answer what was written have done so after so many times as long as the writing took."""

MAX_PAUSE: Final = 0.003
"""Seconds between two rounds for that at most."""

MEMORY_LIMIT = 512 * 1024 * 1024
"""Bytes that wait for all peers together, unless told otherwise."""

RELIEF = 0.75
"""Past the ceiling connections are given up until what waits is this part of it."""

_log = Logger("pychat.mailroom")


class Way(Protocol):
    """The way out of one connection (:class:`pychat.outlet.Outlet`).

    :ivar watched: it is looked at (:meth:`Mailroom.watch`).
    :ivar hurried: and as often as for whoever waits to know.
    """

    watched: bool
    hurried: bool

    @property
    def waiting(self) -> int:
        """Bytes that the peer's kernel did not take yet, and ours neither."""

    @property
    def urgent(self) -> bool:
        """Somebody waits to know how far they have come."""

    def look(self, now: float) -> bool:
        """Tell the hub how far the bytes have come; return whether to look again."""

    def give_up(self) -> bool:
        """The peer is too slow: drop what waits for it; return whether that ends a connection that was not closing."""


class Mailroom:
    """Flushes, watches and bounds the mail of one hub.

    :ivar memory_limit: bytes that may wait for all peers together.
    :ivar pause: seconds between two rounds of flushes at least: what comes sooner waits, and goes out together.
    :ivar given_up: how many connections ended because all together were past that, and would have gone on else.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        hub: Hub,
        beaten: Callable[[], object],
        emptied: Callable[[], object] = lambda: None,
    ) -> None:
        """
        :param beaten: called at the end of each beat, before what is due goes out.
        :param emptied: called when all who got something from the last batch have it.
        """
        self._reactor = reactor
        self._hub = hub
        self._beaten = beaten
        self._emptied = emptied
        self.memory_limit = MEMORY_LIMIT
        self.pause = 0.0
        self.given_up = 0
        self._outgoing: list[Peer] = []
        self._slice: IDelayedCall | None = None
        self._written = 0  # connections in this round so far
        self._writing = 0.0  # seconds that it took
        self._flushed_at = -inf
        self._apart = 0.0  # seconds from then until the next
        self._watched: dict[Way, None] = {}
        self._urgent: dict[Way, None] = {}
        self._beat: IDelayedCall | None = None
        self._calm_at = 0.0  # when all are to be looked at
        self._looking: list[Way] = []
        self._beating = False  # a beat has begun, and not ended
        self._look_seconds = 0.0  # what one look took lately
        self._round = 0  # of those that got something from the last batch, how many still wait
        self._clogged: dict[Way, None] = {}
        self._stopped = False

    def stop(self) -> None:
        """No more slices and beats."""
        self._stopped = True
        for call in (self._slice, self._beat):
            if call is not None:
                call.cancel()
        self._slice = self._beat = None

    # -- out

    @property
    def busy(self) -> bool:
        """Not all who got something from the last batch have it: what is said now had better be said together."""
        return self._round > 0

    @property
    def rest(self) -> float:
        """Seconds until the next round of flushes may begin; not above 0: at once."""
        rest = self._flushed_at + self._apart - self._reactor.seconds() if self.pause else 0.0
        return rest if rest < 2 * self._apart else 0.0  # otherwise the clock was set back

    def delivered(self) -> None:
        """A batch is in the mailboxes; :meth:`flush` is to follow."""
        self._round = len(self._outgoing) + len(self._hub.dirty)

    def flush(self) -> None:
        """Write to all that got something: some now, and the rest in the next turns."""
        dirty = self._hub.dirty
        if dirty:
            self._outgoing.extend(dirty)
            dirty.clear()
        if self._slice is None and self._outgoing and not self._stopped:
            rest = self.rest
            # To put something into so many mailboxes was a turn's work already.
            if rest > 0 or len(self._outgoing) > MANY:
                self._slice = self._reactor.callLater(max(rest, 0.0), self._flush_some)
            else:
                self._flush_some()

    def _flush_some(self) -> None:
        """Write one slice.  What a way's ``flush`` leads to only marks peers, and never comes back here."""
        self._slice = None
        began = now = self._reactor.seconds()
        waited = self._round
        left = SLICE
        while left and self._outgoing and 0 <= now - began < SLICE_SECONDS:
            lot = self._outgoing[: min(left, LOT)]
            del self._outgoing[: len(lot)]
            left -= len(lot)
            self._round = max(self._round - len(lot), 0)
            for peer in lot:
                peer.dirty = False
                try:
                    if peer.way is not None:
                        peer.way.flush()
                except Exception:
                    # Whatever is wrong with this one, the others get theirs.
                    _log.failure("writing to a connection failed")
            now = self._reactor.seconds()
        self._written += SLICE - left
        self._writing += max(now - began, 0.0)
        if not self._outgoing:
            self._flushed_at, self._apart = now, self.pause
            if self._written <= SLICE:
                self._apart = max(self.pause, min(self._writing * ANSWERING, MAX_PAUSE))
            self._written, self._writing = 0, 0.0
        elif not self._stopped:
            self._slice = self._reactor.callLater(0, self._flush_some)
        if waited and not self._round:
            self._emptied()

    # -- how far it has come

    def watch(self, way: Way) -> None:
        """Look at this connection at every beat until it says that it needs no more."""
        if way in self._watched and (way in self._urgent or not way.urgent):
            return  # it is looked at as often as it wants
        self._watched[way] = None
        way.watched = True
        if way.urgent and way not in self._urgent:
            if self._beat is not None and not self._urgent and not self._beating:
                self._beat.cancel()
                self._beat = None
            self._urgent[way] = None
            way.hurried = True
        if self._beat is None:
            self.start_beat()

    def clogged(self, way: Way) -> None:
        """The kernel does not take what there is for this one: it is watched, and counts for the ceiling."""
        self._clogged[way] = None
        self.watch(way)

    def forget(self, way: Way) -> None:
        """The connection is gone."""
        for ways in (self._watched, self._urgent, self._clogged):
            ways.pop(way, None)
        way.watched = way.hurried = False

    def start_beat(self) -> None:
        """There is something to look at soon."""
        if self._beat is None and not self._beating and not self._stopped:
            now, count = self._reactor.seconds(), max(len(self._hub.roster), len(self._watched))
            calm = self._between(CALM_SHARE, count)
            if not now < self._calm_at <= now + calm:
                self._calm_at = now + calm
            delay = self._calm_at - now
            if self._urgent:
                delay = min(delay, self._between(BEAT_SHARE, len(self._urgent)))
            self._beat = self._reactor.callLater(delay, self._take_beat)

    def _between(self, share: float, count: int) -> float:
        """Seconds between two beats at which so many are looked at."""
        return min(max(BEAT, max(share, self._look_seconds / LOOKING) * count), MAX_BEAT)

    def _take_beat(self) -> None:
        calm = self._reactor.seconds() >= self._calm_at
        self._beating = True
        self._looking = [*(self._watched if calm else self._urgent)]
        self._look_on(calm)

    def _look_on(self, calm: bool) -> None:
        self._beat = None
        began = now = self._reactor.seconds()
        left = LOOKS
        while left and self._looking and 0 <= now - began < LOOKS_SECONDS:
            some = self._looking[: min(left, LOT)]
            del self._looking[: len(some)]
            left -= len(some)
            self._look_at(some, now)
            now = self._reactor.seconds()
        if left < LOOKS:
            took = max(now - began, 0.0) / (LOOKS - left)
            self._look_seconds += (took - self._look_seconds) / 8
        if self._looking and not self._stopped:
            self._beat = self._reactor.callLater(0, self._look_on, calm)
            return
        if self._clogged:
            self._relieve()
        counts: Iterator[None] = self._hub.counts(now) if calm and self._hub.counting else iter(())
        if now - began >= LOOKS_SECONDS / 2 and not self._stopped:
            # That was enough for one turn.
            self._beat = self._reactor.callLater(0, self._count_on, counts)
        else:
            self._count_on(counts)

    def _look_at(self, some: list[Way], now: float) -> None:
        for way in some:
            if way not in self._watched:
                continue  # it is gone since
            try:
                more = way.look(now)
                urgent = more and way.urgent
            except Exception:
                _log.failure("looking at a connection failed")
                more = urgent = False
            if not more:
                self._watched.pop(way, None)
                way.watched = False
            if not urgent:
                self._urgent.pop(way, None)
                way.hurried = False

    def _count_on(self, counts: Iterator[None]) -> None:
        """Count one group in a turn; and then the beat is over."""
        self._beat = None
        try:
            more = next(counts, self) is not self
        except Exception:
            _log.failure("counting who has what was said failed")
            more = False
        if more and not self._stopped:
            self._beat = self._reactor.callLater(0, self._count_on, counts)
        else:
            self._beating = False
            if self._watched or self._hub.counting:
                self.start_beat()
            self._beaten()
        self.flush()

    # -- the ceiling

    def _relieve(self) -> None:
        """Give up the slowest while all together are past the ceiling."""
        waiting: dict[Way, int] = {}
        for way in [*self._clogged]:
            nbytes = way.waiting
            if nbytes:
                waiting[way] = nbytes
            else:
                del self._clogged[way]
        total = sum(waiting.values())
        if total <= self.memory_limit:
            return
        enough = self.memory_limit * RELIEF
        ended = 0
        for way in sorted(waiting, key=waiting.__getitem__, reverse=True):
            if total <= enough:
                break
            total -= waiting[way]
            ended += 1
            try:
                self.given_up += way.give_up()
            except Exception:
                _log.failure("giving up a connection failed")
        _log.warn(
            "what waits for slow readers is past --memory-limit: {ended} of {all} were ended",
            ended=ended, all=len(waiting),
        )  # fmt: skip
