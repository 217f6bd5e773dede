"""The end that wants the file.

Data may arrive in any order and any number of times; each byte is handed on once, to be written where it belongs.  What
was handed on and is not `written` yet counts against the window that the sender is told, so that a slow disk slows
the sender and memory stays bounded.

The file is verified piece by piece.  The sender tells the digests of the pieces, and whoever writes tells those of
what is on the disk (`hashed`); a piece in which they differ is asked for again.  The life of a receiver::

    greeting --path is ready--> receiving --Digest, and all pieces agree--> complete --verified()--> Done --> closed
        |                           |
        +-- no answer --------------+-- no answer, fail(), Abort heard --> Failed, taking leave --> closed
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from math import inf

from pychat.errors import TransferError
from pychat.transfer.allowance import Allowance, most, step
from pychat.transfer.endpoint import Endpoint, Run
from pychat.transfer.fragments import MAX_PARTIAL_BYTES
from pychat.transfer.frames import (
    Again,
    Digest,
    Frame,
    Measure,
    Metrics,
    Pieces,
    Ping,
    Verified,
    encode,
)
from pychat.transfer.packet import Buffer
from pychat.transfer.path import Path
from pychat.transfer.pieces import CHANGED, PieceTable, piece_bounds
from pychat.transfer.ranges import RangeSet
from pychat.transfer.terms import FIRST_WINDOW, Done, Outcome, Terms, pieces_of

#: Bytes of the file that may be on their way or waiting for the disk: at the beginning, at least, and at most.
WINDOW_BYTES = 4 * 1024 * 1024
MIN_WINDOW = FIRST_WINDOW
#: What is left of it where many share the memory: two blocks of a file.
LEAST_WINDOW = 256 * 1024
MAX_WINDOW = 16 * 1024 * 1024
#: The sender hears of a window that has opened by this part of it.
WINDOW_STEP = 4
#: How often a piece may come and be wrong.
MAX_TRIES = 3
#: Pieces that are asked for again at once: they come in addition to the window.
MAX_AGAINS = 4
#: Runs of bytes that a file may have come in so far, and buffers that may wait: an honest sender needs far fewer.
MAX_RANGES = 16 * 1024
MAX_BUFFERS = 64 * 1024
#: `Metrics` that are kept until somebody takes them.
MAX_METRICS = 256
#: Seconds in which a sender that answers has to send something of the file.
STALL_SECONDS = 120.0
#: Seconds of silence after which the sender is given up when there is another sign that it is gone.
HURRIED_SECONDS = 4.0

STALLED = "The other end answers, but sends nothing of the file: ask for it again."
CRUMBS = "The other end sends the file in bits that are too small."
MISMATCH = "What arrived is not what was sent: ask for the file again."


class Receiver(Endpoint):
    """Fetches one file.

    :param terms: the offer.
    :param path: where the sender is.
    :param sends: `FROM_CLIENT` or `FROM_DAEMON`: which end this is.
    :param now: seconds.
    :param window: bytes of the file that may be on their way or waiting for the disk at the beginning.
    :param have: byte ranges that are on the disk already, ascending; the sender knows of just these.
    :param max_rate: bytes of the file a second that may come.
    :param rtt: seconds that a round trip took lately, if known.
    :ivar received: bytes of the file that are here, each counted once, with those that were before.
    :ivar waiting: bytes that `take_writes` would give now.
    :ivar max_window: bytes to which the window may grow, or has to shrink; may be set while running.
    :ivar max_rate: the same; may be set while running.
    """

    def __init__(
        self,
        terms: Terms,
        path: Path,
        *,
        sends: int,
        now: float,
        window: int = WINDOW_BYTES,
        have: Iterable[tuple[int, int]] = (),
        max_rate: float = inf,
        rtt: float | None = None,
    ) -> None:
        super().__init__(terms, path, sends=sends, now=now)
        if rtt is not None:
            self.round_trip.smoothed, self.round_trip.variation = rtt, rtt / 2
        self.waiting = 0
        self.max_rate = max_rate
        self.max_window = max(MAX_WINDOW, window)
        self._window = max(window, MIN_WINDOW)
        self._have, self._before = RangeSet(), RangeSet()
        for start, end in have:
            self._have.add(start, end)
            self._before.add(start, end)
        self.received = self._have.total()
        self._written = 0
        self._unwritten = 0
        self._missing = terms.size - self.received
        self._allowance = Allowance(max_rate, FIRST_WINDOW, now)
        self._granted = self._window if max_rate == inf else FIRST_WINDOW
        self._told = self._before.offset_of(self._granted, terms.size)
        self._runs: list[tuple[int, list[Buffer]]] = []
        self._run_end = -1
        self._buffers = 0
        self._front = 0
        self._since = 0
        self._round_began = now
        self._count = pieces_of(terms.size)
        self._table = PieceTable(terms.size)
        self._root: bytes | None = None
        self._good = RangeSet()
        self._hashed: dict[int, bytes] = {}
        self._tries: Counter[int] = Counter()
        self._bad: deque[int] = deque()
        self._asked: set[int] = set()
        self._moved_at = now
        self._metrics: deque[tuple[float, Metrics]] = deque(maxlen=MAX_METRICS)

    # What an adapter asks -------------------------------------------------------------------------------------

    @property
    def root(self) -> bytes:
        """The digest of the digests of all pieces, once the file is `complete`; nothing before."""
        return self._root if self._root is not None and self.complete else b""

    @property
    def complete(self) -> bool:
        """Whether all bytes are written, and each piece is what the sender has."""
        return (
            self._root is not None
            and self.outcome is None
            and self._table.complete
            and (self._count == 0 or (len(self._good) == 1 and self._good.first() == (0, self._count)))
        )

    @property
    def pieces_known(self) -> int:
        """Pieces from the beginning of the file of which the sender has told the digests."""
        return self._table.known

    def take_writes(self) -> list[tuple[int, list[Buffer]]]:
        """What has arrived since the last call: offsets, and the buffers that belong there, one after the other."""
        writes = self._runs
        self._runs = []
        self._run_end = -1
        self._buffers = 0
        self.waiting = 0
        return writes

    def written(self, nbytes: int) -> None:
        """So many bytes of what `take_writes` gave are on the disk: as many more may come."""
        self._unwritten -= nbytes
        self._written += nbytes
        if self.outcome is None and self._told < self.terms.size:
            grant = self._before.offset_of(self._grant(), self.terms.size)
            opened = grant - self._told
            # The rest of the file, or anything for a sender that waits for it, is worth telling, too.
            used_up = opened > 0 and (grant == self.terms.size or self._front >= self._told)
            if used_up or opened * WINDOW_STEP >= self._window:
                self._ack_at = self._now

    def hashed(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        """These pieces are whole and on the disk, with these digests; so they were written."""
        for index, digest in pieces:
            if self.outcome is None:
                self._hashed[index] = digest
                self._compare(index)
        self._settle()

    def verified(self) -> None:
        """The file is complete, synced, and under its name: tell the sender.

        That stands, also when one of the ends gave up in the very moment in which it got its name.

        :raises ValueError: it is not `complete`.
        """
        if isinstance(self.outcome, Done):
            return
        given_up = self.outcome is not None
        if not given_up and not self.complete:
            raise ValueError("a file that is not complete cannot have been verified")
        self._end(Done())
        if not given_up or self._last_word is not None:
            self._take_leave(Verified())

    def hurry(self, now: float) -> None:
        """Something else says that the sender may be gone: ask at once, and do not wait for long.

        A sender that still answers goes on as before.
        """
        self.patience = HURRIED_SECONDS
        if self.outcome is None and self.path.ready:
            self._last_heard = now
            self._say("ping", encode(Ping()))

    def ask_metrics(self, interval: int) -> None:
        """Have the sender tell how it stands, every so many milliseconds."""
        if self.outcome is None:
            self._say("measure", encode(Measure(interval)))

    @property
    def asking(self) -> bool:
        """Whether the sender is not known to have heard `ask_metrics` yet."""
        return self._says("measure")

    def take_metrics(self) -> list[tuple[float, Metrics]]:
        """How the sender stood since the last call, and when that was told; the newest, if they are too many."""
        metrics = list(self._metrics)
        self._metrics.clear()
        return metrics

    # Frames in ------------------------------------------------------------------------------------------------

    def _take_data(self, files: Sequence[Run], now: float) -> None:
        if self.outcome is not None:
            return
        run: list[Buffer] = []
        start = end = -1
        for offset, stop, buffers in files:
            if offset != end:
                if run:
                    self._store(start, end, run)
                run = []
                start = offset
            run += buffers
            end = stop
        self._store(start, end, run)
        if len(self._have) > MAX_RANGES or self._buffers > MAX_BUFFERS:
            self.fail("bad-peer", CRUMBS)

    def _open_upto(self) -> int:
        return self._told

    def _fragments(self) -> tuple[int, str]:
        # Before an address is proven there is nothing to be said that needs them.
        return min(
            MAX_PARTIAL_BYTES, self._most_held()
        ), "" if self.path.ready or not self._daemon else "unproven"

    def _store(self, start: int, end: int, run: list[Buffer]) -> None:
        """Keep what is new of ``[start, end)`` until somebody takes it to the disk."""
        while end > self._told:
            self._refuse("out-of-range")
            end -= len(run.pop())
            if not run:
                return
        news = self._have.missing(start, end)
        if len(news) != 1 or news[0] != (start, end):
            joined = memoryview(run[0] if len(run) == 1 else b"".join(run))
            for first, stop in news:
                # Copied: a byte must not keep the whole of what it came with.
                self._keep(first, stop, [bytes(joined[first - start : stop - start])])
            self.counters.duplicate_bytes += end - start - sum([stop - first for first, stop in news])
        else:
            self._keep(start, end, run)

    def _keep(self, start: int, end: int, run: list[Buffer]) -> None:
        self._have.add(start, end)
        if start == self._run_end:
            self._runs[-1][1].extend(run)
        else:
            self._runs.append((start, run))
        self._run_end = end
        self._buffers += len(run)
        fresh = end - start
        self.received += fresh
        self.waiting += fresh
        self._unwritten += fresh
        self._since += fresh
        self._moved_at = self._now
        self._front = max(self._front, end)
        if self._now >= self._round_began + self.round_trip.smoothed:
            self._measure()

    def _take(self, frame: Frame, now: float) -> None:
        if isinstance(frame, Pieces):
            if self.outcome is None:
                self._take_pieces(frame)
        elif isinstance(frame, Digest):
            if frame.size != self.terms.size or self._root not in (None, frame.root):
                self.fail("source-changed", CHANGED)
            if self._root is None:
                self._root = frame.root
                self._moved_at = now
            self.counters.lost = frame.lost
            self._settle()
        elif isinstance(frame, Metrics):
            self._metrics.append((now, frame))
        else:
            super()._take(frame, now)

    def _take_pieces(self, frame: Pieces) -> None:
        try:
            news = self._table.add(frame.first, frame.digests)
        except TransferError as error:
            self.fail(error.code, error.sentence)
            return
        if news:
            self._moved_at = self._now
        for index in news:
            if index in self._hashed:
                self._compare(index)
        self._settle()

    def _compare(self, index: int) -> None:
        """What is on the disk with what the sender has, if both is known."""
        promised = self._table.get(index)
        if promised is None:
            return
        if self._hashed.pop(index) == promised:
            self._good.add(index, index + 1)
            self._asked.discard(index)
        else:
            self._again(index)

    def _again(self, index: int) -> None:
        """A piece is not as it should be: have it sent once more, or give up when that was often enough."""
        self._tries[index] += 1
        if self._tries[index] >= MAX_TRIES:
            self.fail("digest-mismatch", MISMATCH)
            return
        start, end = piece_bounds(index, self.terms.size)
        there = sum([stop - first for first, stop in self._have.within(start, end)])
        before = sum([stop - first for first, stop in self._before.within(start, end)])
        self.received -= there
        self._written -= there - before
        self._missing += before
        # What of it lies below the limit comes without being granted.
        below = sum([stop - first for first, stop in self._before.within(start, min(end, self._told))])
        self._granted += below
        self._allowance.grow(below)
        self._have.subtract(start, end)
        self._before.subtract(start, end)
        self._good.subtract(index, index + 1)
        self._asked.discard(index)
        self._bad.append(index)

    def _settle(self) -> None:
        """Forget the digests that are not needed any more, ask for pieces that are bad, and look at the root."""
        if self._good and self._good.first()[0] == 0:
            self._table.settle(self._good.first()[1])
        while self._bad and len(self._asked) < MAX_AGAINS and self.outcome is None:
            index = self._bad.popleft()
            start, end = piece_bounds(index, self.terms.size)
            self._asked.add(index)
            self._say(("again", index, self._tries[index]), encode(Again(start, end - start)))
        if self._root is not None and self._table.root not in (None, self._root):
            self.fail("digest-mismatch", MISMATCH)

    # The window -----------------------------------------------------------------------------------------------

    def _grant(self) -> int:
        """How many of the bytes that were missing at the beginning the sender may have sent by now."""
        grant = self._room()
        allowed = self._allowance.upto(self.max_rate, self._came(), self.round_trip.smoothed, self._now)
        if grant <= allowed:
            return grant
        # Each bit that is told is used at once, and asked for more: so it is told in steps.
        return int(allowed) if allowed >= self._worth() else self._granted

    def _room(self) -> int:
        """The same, as far as memory is concerned."""
        return max(self._written, 0) + self._most_held()

    def _most_held(self) -> int:
        return min(self._window, max(self.max_window, LEAST_WINDOW))

    def _worth(self) -> float:
        """How many of them the sender has to be allowed to send next to be told of it."""
        return min(self._granted + min(step(self.max_rate), self._most_held() // WINDOW_STEP), self._missing)

    def _came(self) -> int:
        """How many of them have come."""
        return self._missing - (self.terms.size - self.received)

    def _grant_at(self) -> float:
        """When the pace allows for more that is worth telling; infinity when something else is waited for first."""
        if self.max_rate == inf or self._arrivals.largest < 0:
            return inf  # there is nothing that could be acknowledged
        worth = self._worth()
        bound = min(most(self.max_rate, self._came(), self.round_trip.smoothed), self._room())
        if not self._granted < worth <= bound:
            return inf
        return self._allowance.when(self.max_rate, worth)

    def _measure(self) -> None:
        """A round trip is over: have the window be four times what comes in one, so that the sender never waits for it.

        It only bounds memory, so it does not shrink; a disk that does not keep up gets no larger one.
        """
        window = self._window
        if self._since * 4 > window >= self._unwritten * 2 and self._told < self.terms.size:
            self._window = max(min(2 * window, self.max_window), MIN_WINDOW)
        self._since = 0
        self._round_began = self._now

    # Of `Endpoint` --------------------------------------------------------------------------------------------

    def _limit(self) -> int:
        granted = self._grant()
        if granted > self._granted:
            self._granted = granted
            self._told = max(self._told, self._before.offset_of(granted, self.terms.size))
        return self._told

    def _overdue(self, now: float) -> None:
        if self._is_ours():
            self._moved_at = now
        elif now >= self._moved_at + STALL_SECONDS:
            self.fail("timed-out", STALLED)
        if now >= self._grant_at():
            self._ack_at = now

    def _next(self) -> float:
        grant_at = self._grant_at()
        return grant_at if self._is_ours() else min(self._moved_at + STALL_SECONDS, grant_at)

    def _is_ours(self) -> bool:
        """Whether the next step is this end's, or nobody's."""
        all_here = self.received == self.terms.size and self._root is not None and self._table.complete
        return self.paused or self._unwritten > 0 or all_here

    def _path_ready(self, now: float) -> None:
        self._moved_at = now
        self._allowance.begin(now)

    def _pause_changed(self) -> None:
        self._moved_at = self._now

    def _end(self, outcome: Outcome) -> None:
        super()._end(outcome)
        self.take_writes()
        self._opener.clear()
        self._hashed.clear()
        self._bad.clear()
