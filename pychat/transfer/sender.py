"""The end that has the file.

What was read of it stays in memory until it has arrived (`outgoing`); so memory is bounded by `max_window` however
large the file is.  It leaves in trains: datagrams of one size that are sent by one call and tracked as one `Flight`
(`recovery`).  Each is a packet, or all are fragments of one, where a path is fast and loses nothing.  The life::

    greeting --path is ready--> sending --Digest sent, Verified heard--> Done, lingering --> closed
        |                          |
        +-- nobody came in time    +-- fail(), Abort heard, no answer --> Failed, taking leave --> closed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from math import inf

from pychat.transfer.congestion.base import CongestionControl
from pychat.transfer.endpoint import Endpoint
from pychat.transfer.frames import (
    ASK_BYTES,
    DATA_HEADER_BYTES,
    Ack,
    Again,
    Ask,
    Digest,
    Frame,
    Measure,
    Metrics,
    Ping,
    Verified,
    encode,
)
from pychat.transfer.mtu import PathSize
from pychat.transfer.outgoing import BLOCK_BYTES, Outgoing
from pychat.transfer.pacer import Pacer
from pychat.transfer.packet import (
    DATAGRAM_BYTES,
    FRAGMENT_HEADER_BYTES,
    MAX_DATAGRAM_BYTES,
    OVERHEAD_BYTES,
    TAG_BYTES,
    Buffer,
)
from pychat.transfer.path import Path
from pychat.transfer.pieces import piece_bounds
from pychat.transfer.recovery import Flight, Recovery
from pychat.transfer.telling import Telling
from pychat.transfer.terms import FIRST_WINDOW, PIECE_BYTES, Done, Outcome, Terms, Train

#: Bytes of the file that one transfer may hold in memory, unless told otherwise.
MAX_WINDOW = 16 * 1024 * 1024
#: Seconds of silence, with nothing in flight, after which the peer is asked for a sign of life.
IDLE_SECONDS = 0.5
#: Seconds in which a peer that answers has to acknowledge something of the file, or to move its limit.
STALL_SECONDS = 60.0
#: Seconds in which it has to verify the file once it has all of it: syncing to a slow disk takes its time.
VERIFY_SECONDS = 600.0
STALLED = "The other end answers, but takes nothing of the file: ask for it again."
BAD_PIECE = "The other end asked for a piece of the file that there is not, or for one too often."
EARLY = "The other end verified a file that it had not been sent."
#: A train: bytes and datagrams that one call sends, and seconds' worth of the pace.
TRAIN_BYTES, TRAIN_DATAGRAMS, TRAIN_SECONDS = 65487, 64, 0.003
#: Trains and bytes that one ``poll`` returns at most.
MAX_TRAINS, MAX_POLL_BYTES = 16, 4 * TRAIN_BYTES
#: An acknowledgement is asked for 8 times a window or every 2 ms, whichever comes sooner, but not for each datagram.
ASKS_PER_WINDOW, ASK_SECONDS, MIN_ASK = 8, 0.002, 2
#: Datagrams that answer one probe timeout (RFC 9002 §6.2.4).
PROBE_DATAGRAMS = 2
#: Bytes that have to arrive without a loss before a packet may be larger than a datagram: a lost datagram costs it all.
#: Each time that it did cost one it takes twice as many, up to the second number.
CLEAN_BYTES, MAX_CLEAN_BYTES = 4 * 1024 * 1024, 256 * 1024 * 1024
#: One packet number in 256 to 511 is left out, at random, against optimistic acknowledgements.
SKIP_EVERY = 256
#: Probe timeouts for which a finished sender still answers.
LINGER_GAPS = 3
#: How often the same piece may be asked for again: three times, each of which may be repeated.
MAX_AGAINS = 32
#: Seconds of the path's rate that are read at once.
READ_SECONDS = 0.005
#: Seconds between two `Metrics` at least.
LEAST_METRICS_SECONDS = 0.02
#: Bytes of a datagram with file data that are not file data.
_EXTRA = OVERHEAD_BYTES + DATA_HEADER_BYTES
#: Bytes of what is sealed of a packet that are not file data.
_SEALED = TAG_BYTES + DATA_HEADER_BYTES


class Sender(Endpoint):
    """Sends one file.

    :param terms: the offer.
    :param path: where the receiver is.
    :param sends: `FROM_CLIENT` or `FROM_DAEMON`.
    :param congestion: one of this transfer's own.
    :param now: seconds.
    :param random_bytes: gives so many unpredictable bytes.
    :param max_window: bytes of the file to hold in memory at most, at least two blocks; may be set while running.
    :param have: byte ranges that the receiver has already, ascending.
    :param digests: the digests of all pieces, if they are known; then nothing is read to be hashed.
    :param mtu: UDP payload bytes that the path is known to take.
    :param max_datagram: UDP payload bytes that no datagram goes beyond.
    :param reliable: what leaves arrives, in order (a TCP stream).
    :param rtt: seconds that a round trip took lately, if known.
    :param rate: bytes per second that the path carried lately, if known.
    :ivar max_window: the same.
    :ivar max_rate: bytes per second never to go beyond; may be set while running.
    """

    def __init__(
        self,
        terms: Terms,
        path: Path,
        *,
        sends: int,
        congestion: CongestionControl,
        now: float,
        random_bytes: Callable[[int], bytes],
        max_window: int = MAX_WINDOW,
        have: Sequence[tuple[int, int]] = (),
        digests: Sequence[bytes] | None = None,
        mtu: int = DATAGRAM_BYTES,
        max_datagram: int = MAX_DATAGRAM_BYTES,
        reliable: bool = False,
        rtt: float | None = None,
        rate: float | None = None,
    ) -> None:
        super().__init__(terms, path, sends=sends, now=now)
        self.idle = IDLE_SECONDS
        self.max_window = max_window
        self.max_rate = inf
        self._random_bytes = random_bytes
        self._congestion = congestion
        self._reliable = reliable
        self._mtu = PathSize(now, size=MAX_DATAGRAM_BYTES if reliable else mtu, limit=max_datagram)
        if rtt is not None:
            self.round_trip.smoothed, self.round_trip.variation = rtt, rtt / 2
            if rate is not None:
                congestion.remember(min(rate, 2 * max_window / rtt), rtt)
        self._recovery = Recovery(congestion, self.round_trip, reliable=reliable)
        self._pacer = Pacer(self._mtu.size, now)
        self._resize()
        size = terms.size
        self._outgoing = Outgoing(size, have, () if digests is not None or size == 0 else ((0, size),))
        if path.ready:
            self._outgoing.limit = self._outgoing.first_limit(FIRST_WINDOW)
        self._looked = size > 0
        self._telling = Telling(size)
        self._agains: Counter[int] = Counter()
        self._digest_said = False
        self._digest_arrived = False
        if digests is not None:
            self.pieces(0, digests)
        self._probes_due: list[int] = []
        self._unasked = 0
        self._limited_until = -1
        # How much will have arrived when packets may be large.
        self._clean_bytes = self._large_from = CLEAN_BYTES
        self._full = False
        self._skip_at = 0
        self._plan_skip()
        self._moved_at = now
        self._wake = inf
        self._metrics_seconds = 0.0
        self._metrics_at = inf

    # What an adapter asks -------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Bytes of the file in memory."""
        return self._outgoing.held

    @property
    def progress(self) -> int:
        """Bytes of the file that have arrived, with those that the receiver had already."""
        return self._outgoing.progress

    @property
    def rate(self) -> float | None:
        """Bytes per second that arrive, or None before that is known."""
        return self._recovery.rate

    @property
    def lost(self) -> int:
        """Datagrams with file data that were lost."""
        return self._recovery.lost_count

    @property
    def in_flight(self) -> int:
        """Bytes that are under way."""
        return self._recovery.in_flight

    @property
    def pushed_size(self) -> int:
        """Bytes of a full datagram."""
        return self._mtu.size

    def metrics(self) -> Metrics:
        """How it stands."""
        trip, recovery, congestion = self.round_trip, self._recovery, self._congestion
        measured = trip.latest is not None
        return Metrics(
            0 if self._reliable else congestion.window,
            recovery.in_flight,
            int((trip.latest or 0.0) * 1e6),
            int(trip.smoothed * 1e6) if measured else 0,
            int(trip.minimum * 1e6) if measured else 0,
            int(congestion.pacing_rate),
            int(recovery.rate or 0),
            recovery.lost_count,
            self._mtu.size,
            "paused" if self.paused else congestion.phase,
        )

    def wants(self) -> tuple[int, int] | None:
        """The offset and length of the next read of the source, or None when there is enough for now.

        Reads come in order, unless something has to be sent again, and stay within a piece.  An empty file wants one
        read of no bytes, so that somebody looks whether it is still empty.
        """
        if self.outcome is not None or not self.path.ready:
            return None
        if not self._looked:
            return 0, 0
        rate = self._recovery.rate or 0.0
        ahead = self.max_window if self._reliable else self._congestion.window
        block = BLOCK_BYTES
        # By the window, too: where each read waits long for a thread, small ones would keep the rate small for ever.
        while block < max(rate * READ_SECONDS, ahead / 4):
            block *= 2
        return self._outgoing.wants(ahead, self.max_window, block)

    def supply(self, offset: int, data: Buffer) -> None:
        """What was read, exactly as `wants` asked for it.  It is kept, so it must not change.

        :raises ValueError: it is not what is missing.
        """
        if self.outcome is None:
            self._looked = True
            self._outgoing.supply(offset, data)

    def pieces(self, first: int, digests: Sequence[bytes]) -> None:
        """The digests of consecutive pieces, which have been read; `first` is the index of the first of them."""
        self._telling.learn(first, digests)

    def knows(self, index: int) -> bool:
        """Whether the digest of this piece is known already."""
        return index in self._telling

    def too_big(self, size: int, now: float) -> None:
        """The system refused to send a datagram of `size` bytes, because the path does not take it."""
        if self._mtu.too_big(size, now):
            self._resize()

    # Frames in ------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame, now: float) -> None:
        if isinstance(frame, Verified):
            if self.outcome is None and not self._digest_said:
                self.fail("bad-peer", EARLY)
            elif self.outcome is None:
                self._end(Done())
                self._linger_until = now + LINGER_GAPS * self.round_trip.probe_timeout
        elif isinstance(frame, Again):
            self._take_again(frame, now)
        elif isinstance(frame, Measure):
            self._metrics_seconds = max(frame.interval / 1000, LEAST_METRICS_SECONDS)
            self._metrics_at = now
        else:
            super()._take(frame, now)

    def _take_again(self, frame: Again, now: float) -> None:
        start, end = frame.offset, frame.offset + frame.length
        index = start // PIECE_BYTES
        if start >= self.terms.size or (start, end) != piece_bounds(index, self.terms.size):
            self.fail("bad-peer", BAD_PIECE)
            return
        self._agains[index] += 1
        if self._agains[index] > MAX_AGAINS:
            self.fail("bad-peer", BAD_PIECE)
        elif self.outcome is None:
            # What of it is under way was thrown away with the rest: its acknowledgement means nothing.
            self._outgoing.lost_ranges(self._recovery.disown(start, end))
            self._outgoing.again(start, end)
            self._moved_at = now

    def _acked(self, ack: Ack, now: float) -> None:
        limit = min(ack.limit, self.terms.size)
        if limit > self._outgoing.limit:
            self._outgoing.limit = limit
            self._moved_at = now
        flights = self._recovery.acked(ack, now)
        if self._mtu.probing is not None and self._mtu.arrived(ack.ranges, now):
            self._resize()
        if flights:
            if self._outgoing.arrived(flights):
                self._moved_at = now
            if self._mtu.acked(max([flight.wire for flight in flights]), now):
                self._resize()

    def _word_arrived(self, key: Hashable) -> None:
        if key == "digest":
            self._digest_arrived = True
            self._moved_at = self._now
        elif isinstance(key, int):
            self._telling.arrived(key)
            self._moved_at = self._now

    # Trains out -----------------------------------------------------------------------------------------------

    def _overdue(self, now: float) -> None:
        recovery = self._recovery
        lost = recovery.settle(now)
        if lost:
            if any(flight.large for flight in lost):
                self._clean_bytes = min(2 * self._clean_bytes, MAX_CLEAN_BYTES)
            self._large_from = recovery.delivered + self._clean_bytes
            self._outgoing.lost(lost)
            self.counters.lost = recovery.lost_count
        if self.path.window > self._outgoing.limit:
            self._outgoing.limit = min(self.path.window, self.terms.size)
        if recovery.timed_out(now):
            small = self._mtu.timed_out()
            self._probes_due = [self._mtu.size] * (PROBE_DATAGRAMS - 1) + [min(small, self._mtu.size)]
        if self.paused or (self._outgoing.starved and not self._digest_said):
            self._moved_at = now
        if now - self._moved_at >= (VERIFY_SECONDS if self._digest_arrived else STALL_SECONDS):
            self.fail("timed-out", STALLED)
        elif self._telling.due or self._telling.complete:
            self._tell()

    def _tell(self) -> None:
        """Say what is known of the digests."""
        telling = self._telling
        for first, word in telling.words():
            self._say(first, word)
        if not self._digest_said and telling.complete and self._looked and self._outgoing.all_sent:
            self._digest_said = True
            root = Digest(self.terms.size, telling.root(), self._recovery.lost_count)
            self._say("digest", encode(root))

    def _transmit(self, out: list[Train], now: float) -> None:
        """As much of the file as window, pace and peer allow; probes always."""
        self._wake = inf
        for datagram in self._probes_due:
            self._probe(datagram, out, now)
        self._probes_due = []
        if now >= self._metrics_at:
            self._metrics_at = now + self._metrics_seconds
            out.append(self._lone(encode(self.metrics()), self.path.address)[1])
        if not self._reliable and now >= self._mtu.deadline() and self.round_trip.latest is not None:
            self._probe_size(out, now)
        if self.paused:
            self._limited_until = self._recovery.delivered + self._recovery.in_flight
            return
        recovery, outgoing, congestion, pacer = self._recovery, self._outgoing, self._congestion, self._pacer
        rate, datagram = min(congestion.pacing_rate, self.max_rate), self._mtu.size
        paced = not self._reliable or self.max_rate < inf
        late = pacer.refill(rate, now, starting=congestion.starting)
        if self._full:
            pacer.spill()
            self._full = False
        window: float = inf if self._reliable else congestion.window
        most = max(min(TRAIN_DATAGRAMS, TRAIN_BYTES // datagram), 1)
        large = False
        if not self._reliable:
            paces = int(rate * TRAIN_SECONDS) // datagram
            # On a slow path what a packet costs the processor does not matter, and what a loss costs does.
            fast = min(rate, recovery.rate or 0.0) * TRAIN_SECONDS >= most * datagram
            large = fast and recovery.delivered >= self._large_from
            most = min(most, max(paces, 1))
        ask_at = max(min(congestion.window // ASKS_PER_WINDOW, rate * ASK_SECONDS), MIN_ASK * datagram)
        budget = MAX_POLL_BYTES
        trains = len(out) + MAX_TRAINS
        while True:
            start, end = outgoing.next()
            if start == end:
                self._limited_until = recovery.delivered + recovery.in_flight
                if self._telling.complete:
                    self._tell()
                break
            if budget <= 0 or len(out) >= trains:
                self._wake = now
                break
            room = window - recovery.in_flight
            count = most
            if paced:
                if room < datagram:
                    self._full = True
                    break
                if pacer.tokens < pacer.least:
                    self._wake = pacer.deadline(datagram)
                    break
                count = min(most, int(min(room, pacer.tokens)) // datagram)
            ask = self._unasked + count * datagram >= ask_at or room < (count + 1) * datagram
            size = self._send(out, start, end, count, datagram, ask, late, now, large)
            pacer.tokens -= size
            budget -= size

    def _send(
        self,
        out: list[Train],
        start: int,
        end: int,
        count: int,
        datagram: int,
        ask: bool,
        limited: bool,
        now: float,
        large: bool = False,
    ) -> int:
        """Send what fits of the file's ``[start, end)`` into `count` datagrams.

        :param large: as one packet, if it is more than one datagram.
        :return: bytes that leave.
        """
        room = datagram - _EXTRA
        large = large and count > 1 and end - start > room
        if large:
            room, count = count * (datagram - FRAGMENT_HEADER_BYTES) - _SEALED, 1
        length = min(end - start, count * room)
        ask = ask or (length == end - start and self._outgoing.last)
        if ask:
            # The last datagram needs room for that.
            over = (length - 1) % room + 1 - (room - ASK_BYTES)
            if over > 0:
                length -= over
        count = -(-length // room)
        if self._next_number >= self._skip_at:
            self._recovery.skip(self._number())
            self._plan_skip()
        first = self._next_number
        self._next_number = first + count
        stop = start + length
        floor = self._floor(first) if ask else None
        data = self._outgoing.cut(start, stop)
        size = length + (ASK_BYTES if ask else 0)
        datagrams = count
        if large:
            buffers = self._sealer.close_large(first, start, data, datagram, floor)
            datagrams = -(-(size + _SEALED) // (datagram - FRAGMENT_HEADER_BYTES))
            size += _SEALED + datagrams * FRAGMENT_HEADER_BYTES
        else:
            buffers = self._sealer.close_data(first, start, data, room, floor)
            size += count * _EXTRA
        self._unasked = 0 if ask else self._unasked + size
        recovery = self._recovery
        segment = datagram if datagrams > 1 else size
        flight = Flight(first, first + count, now, segment, size, start, room, stop)
        recovery.sent(flight, limited or recovery.delivered < self._limited_until)
        counters = self.counters
        counters.datagrams_out += datagrams
        counters.bytes_out += size
        out.append(Train(buffers, segment, self.path.address))
        return size

    def _floor(self, otherwise: int) -> int:
        """The lowest packet number that the receiver still has to tell of."""
        floor = self._recovery.lowest(otherwise)
        if self._words:
            floor = min(floor, self._words.unsettled())
        probe = self._mtu.probing
        return floor if probe is None else min(floor, probe)

    def _probe(self, datagram: int, out: list[Train], now: float) -> None:
        """One datagram whatever the window says: what is due, or what the oldest flight carried, or a ping."""
        start, end = (0, 0) if self.paused else self._outgoing.next()
        if start == end and not self.paused:
            start, end = self._outgoing.missing(*self._recovery.oldest())
        if start < end:
            self._send(out, start, end, 1, datagram, True, True, now)
            return
        number, train = self._lone(
            encode(Ask(self._floor(self._next_number))) + encode(Ping()), self.path.address
        )
        out.append(train)
        self._recovery.sent(Flight(number, number + 1, now, train.segment, train.segment, 0, 0, 0), True)

    def _probe_size(self, out: list[Train], now: float) -> None:
        """Find out whether the path takes larger datagrams."""
        mtu = self._mtu
        size = mtu.due(now, self._recovery.rate)
        if size is not None:
            number, train = self._lone(encode(Ping()), self.path.address, size)
            out.append(train)
            mtu.probed(number, size, now, self.round_trip.backed_off(1))

    def _resize(self) -> None:
        size = self._mtu.size
        self._pacer.datagram = size
        if self._congestion.datagram != size:
            self._congestion.datagram = size

    # Of `Endpoint` --------------------------------------------------------------------------------------------

    def _next(self) -> float:
        deadline = min(self._recovery.deadline(), self._wake)
        if self._reliable or self.round_trip.latest is None:
            return deadline
        return min(deadline, self._mtu.deadline())

    def _idle_at(self) -> float:
        if self._recovery.in_flight:
            return inf
        return max(super()._idle_at(), self._last_heard + self.round_trip.probe_timeout)

    def _path_ready(self, now: float) -> None:
        self._moved_at = now
        if not self.path.window:
            # The peer has not said how much it takes.
            self._outgoing.limit = max(self._outgoing.limit, self._outgoing.first_limit(FIRST_WINDOW))

    def _path_changed(self, now: float) -> None:
        self._recovery.path_changed(self.round_trip)
        self._mtu.reset(now)
        self._congestion.reset(now, self._mtu.size)
        self._clean_bytes = CLEAN_BYTES
        self._large_from = self._recovery.delivered + CLEAN_BYTES
        self._resize()

    def _slept(self, seconds: float) -> None:
        super()._slept(seconds)
        self._moved_at += seconds

    def _pause_changed(self) -> None:
        self._moved_at = self._now

    def _end(self, outcome: Outcome) -> None:
        super()._end(outcome)
        self._outgoing.clear()

    def _plan_skip(self) -> None:
        self._skip_at += SKIP_EVERY + self._random_bytes(1)[0]
