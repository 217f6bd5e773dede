"""What was sent, what arrived, what was lost, and when to ask: RFC 9002 for one packet number space, by trains.

A `Flight` is a train of datagrams under consecutive packet numbers that left at one time.  An acknowledgement of all of
it is one operation; one of a part of it splits it.  Lost is what was *sent* long enough before something that has
arrived (RFC 9002 §6.1.2, with send times only): neither a late wake-up of this process nor a burst of acknowledgements
makes a loss.  A flight that arrives after it was taken for lost teaches how long that is.

Acknowledgements are taken one by one (`acked`) and judged together (`settle`), when all that had come is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from math import inf
from operator import attrgetter

from pychat.transfer.congestion.base import AckSample, CongestionControl
from pychat.transfer.frames import Ack
from pychat.transfer.roundtrip import TICK, RoundTrip
from pychat.transfer.terms import NeverSentError

#: The least time, seconds, by which something later must have been sent ...
LOSS_SECONDS = 0.002
#: ... the least part of the smoothed round trip ...
LOSS_FRACTION = 1 / 8
#: ... and the most that is learned from what came late, seconds, or a smoothed round trip if that is more.
MAX_REORDERING = 0.1
#: What came late once may come a little later the next time.
REORDERING_MARGIN = 1.125
#: RFC 9002 §6.1.2: round trips after which a straggler is lost even though nothing later was sent.
TIME_THRESHOLD = 9 / 8
#: Probe timeouts in a row after which nothing is known any more (RFC 9002 §7.6).
PERSISTENT_PROBES = 3
#: Seconds for which a lost flight is remembered, or a smoothed round trip if that is more.
REMEMBER_SECONDS = 0.05
#: Weight of a new sample in the smoothed delivery rate and in the burstiness.
RATE_GAIN, BURST_GAIN = 1 / 8, 1 / 32
#: Seconds; burstiness beyond this is a stall.
MAX_BURST_SECONDS = 0.1

_first_of = attrgetter("first")


class Flight:
    """Datagrams that left together, until they are acknowledged, or declared lost.

    Packet ``first + i`` has the bytes of the file from ``start + i * stride`` on, `stride` of them; the last has those
    up to `stop`.  It is a datagram, or, if it is `large`, the only one, in several.

    :ivar first: the first packet number.
    :ivar end: the one after the last.
    :ivar time: when it left, seconds.
    :ivar wire: UDP payload bytes of each datagram but the last.
    :ivar size: UDP payload bytes of all of them.
    :ivar start: the first file offset.
    :ivar stride: bytes of the file in each packet but the last.
    :ivar stop: the file offset after the last.
    :ivar delivered: bytes that had been acknowledged in all when it left.
    :ivar clock: the receiver's clock of the acknowledgement before that, µs; None if there was none.
    :ivar heard: when that acknowledgement came, by the own clock.
    :ivar before: when the newest flight that had been acknowledged by then had left.
    :ivar limited: whether something other than window and pace held the sender back.
    :ivar forgotten: when a lost flight is no longer remembered.
    """

    __slots__ = (
        "before",
        "clock",
        "delivered",
        "end",
        "first",
        "forgotten",
        "heard",
        "limited",
        "size",
        "start",
        "stop",
        "stride",
        "time",
        "wire",
    )

    def __init__(
        self, first: int, end: int, time: float, wire: int, size: int, start: int, stride: int, stop: int
    ) -> None:
        self.first = first
        self.end = end
        self.time = time
        self.wire = wire
        self.size = size
        self.start = start
        self.stride = stride
        self.stop = stop
        self.delivered = 0
        self.clock: int | None = None
        self.heard = 0.0
        self.before = 0.0
        self.limited = False
        self.forgotten = 0.0

    @property
    def datagrams(self) -> int:
        """How many there are."""
        return -(-self.size // self.wire)

    @property
    def large(self) -> bool:
        """Whether it is a packet in fragments."""
        return self.stride > self.wire

    def split(self, number: int) -> Flight:
        """Cut the packets from `number` on, which are neither none nor all of them, off into a flight of their own."""
        count = number - self.first
        at = self.start + count * self.stride
        size = count * self.wire
        rest = Flight(number, self.end, self.time, self.wire, self.size - size, at, self.stride, self.stop)
        rest.delivered = self.delivered
        rest.clock = self.clock
        rest.heard = self.heard
        rest.before = self.before
        rest.limited = self.limited
        rest.forgotten = self.forgotten
        self.end = number
        self.size = size
        self.stop = at
        return rest

    def __repr__(self) -> str:
        return f"Flight([{self.first}, {self.end}) at {self.time}, file [{self.start}, {self.stop}))"


def take_out(flights: list[Flight], first: int, end: int) -> list[Flight]:
    """Take the packets ``[first, end)`` out of flights that are in order, splitting those that are only partly in."""
    low = bisect_right(flights, first, key=_first_of) - 1
    if low < 0 or flights[low].end <= first:
        low += 1
    high = low
    taken: list[Flight] = []
    keep: list[Flight] = []
    while high < len(flights) and flights[high].first < end:
        flight = flights[high]
        high += 1
        if flight.first < first:
            keep.append(flight)
            flight = flight.split(first)
        if flight.end > end:
            keep.append(flight.split(end))
        taken.append(flight)
    if taken:
        flights[low:high] = keep
    return taken


class Recovery:
    """The flights that are under way.

    :param congestion: is told what arrived and what was lost.
    :param round_trip: is fed with samples.
    :param reliable: nothing can be lost.
    :ivar in_flight: bytes that were sent and neither acknowledged nor lost.
    :ivar delivered: bytes that were acknowledged.
    :ivar probes: consecutive probe timeouts without an acknowledgement between them.
    :ivar lost_count: datagrams of packets declared lost so far, and not found to have arrived after all.
    :ivar rate: delivery rate, bytes per second, smoothed; None before the first sample.
    :ivar reordering: seconds that something may arrive late, as learned.
    :ivar burst: seconds between bursts of acknowledgements, as measured.
    """

    def __init__(
        self, congestion: CongestionControl, round_trip: RoundTrip, *, reliable: bool = False
    ) -> None:
        self.congestion = congestion
        self.round_trip = round_trip
        self.in_flight = 0
        self.delivered = 0
        self.probes = 0
        self.lost_count = 0
        self.rate: float | None = None
        self.reordering = 0.0
        self.burst = 0.0
        self._reliable = reliable
        self._flights: list[Flight] = []
        self._lost: list[Flight] = []
        self._previous: frozenset[tuple[int, int]] = frozenset()
        self._skipped: deque[int] = deque()
        self._newest_time = -inf
        self._newest_number = -1
        self._clock: int | None = None
        self._heard = 0.0
        self._last_sent = 0.0
        self._straggler_at = inf
        self._forgotten_at = -inf
        self._judge = False
        self._epoch = 0.0
        self._epoch_acked = 0
        # The sample that the next `settle` will make.
        self._acked = 0
        self._rtt: float | None = None
        self._owd: float | None = None
        self._rate: float | None = None
        self._limited = False
        self._prior = 0

    def lowest(self, otherwise: int) -> int:
        """The lowest packet number whose fate is open or of interest, or else `otherwise`."""
        if self._flights:
            otherwise = min(otherwise, self._flights[0].first)
        return min(otherwise, self._lost[0].first) if self._lost else otherwise

    def skip(self, number: int) -> None:
        """This number is left out.  Whoever acknowledges it acknowledges blindly (RFC 9000 §21.4)."""
        self._skipped.append(number)

    def sent(self, flight: Flight, limited: bool) -> None:
        """A flight has left, under the highest numbers so far."""
        flight.delivered = self.delivered
        flight.clock = self._clock
        flight.heard = self._heard
        flight.before = self._newest_time
        flight.limited = limited
        self._flights.append(flight)
        self.in_flight += flight.size
        self._last_sent = flight.time
        self.congestion.sent(flight.size, self.in_flight, flight.time)

    def oldest(self) -> tuple[int, int]:
        """What the oldest flight under way carries of the file; empty if nothing is under way."""
        return (self._flights[0].start, self._flights[0].stop) if self._flights else (0, 0)

    def acked(self, ack: Ack, now: float) -> list[Flight]:
        """An acknowledgement came, in which no number is above those that were used.

        :return: what arrived newly, also if it was taken for lost.
        :raises NeverSentError: it names a packet that was left out.  Nothing of it was taken.
        """
        ranges = ack.ranges
        for skipped in self._skipped:
            for start, end in ranges:
                if start <= skipped < end:
                    raise NeverSentError
        flights, previous = self._flights, self._previous
        newly: list[Flight] = []
        late: list[Flight] = []
        for pair in ranges:
            if pair in previous:
                continue
            start, end = pair
            newly += take_out(flights, start, end)
            if self._lost:
                late += take_out(self._lost, start, end)
        self._previous = frozenset(ranges)
        self._judge = True
        if newly:
            self._take_sample(newly, ack, now)
        if late:
            self._came_late(late)
        return newly + late

    def _take_sample(self, newly: Sequence[Flight], ack: Ack, now: float) -> None:
        size = 0
        for flight in newly:
            size += flight.size
        self.in_flight -= size
        self.delivered += size
        self._acked += size
        self.probes = 0
        largest = ack.ranges[0][1] - 1
        # Ranges come highest first, and the flights of each in ascending order.
        newest = max(newly, key=_first_of)
        if newest.time > self._newest_time:
            self._newest_time = newest.time
        self._burstiness(size, now)
        if newest.end <= largest or largest <= self._newest_number:
            # §5.1: only an acknowledgement of the largest packet, and only the first one, is a sample.
            return
        self._newest_number = largest
        sample = now - newest.time
        self.round_trip.update(sample, ack.delay / 1e6)
        self._rtt = max(sample - ack.delay / 1e6, TICK)
        self._owd = ack.clock / 1e6 - newest.time
        self._prior = newest.delivered
        self._limited = self._limited or newest.limited
        if newest.clock is not None and ack.clock > newest.clock:
            # Neither can it have arrived faster than it left, nor is a clock to be believed that runs twice as fast.
            elapsed = max(
                (ack.clock - newest.clock) / 1e6, newest.time - newest.before, (now - newest.heard) / 2
            )
            rate = (self.delivered - newest.delivered) / elapsed
            self._rate = rate
            if self.rate is None:
                self.rate = rate
            elif rate > self.rate or not newest.limited:
                self.rate += (rate - self.rate) * RATE_GAIN
        self._clock = ack.clock
        self._heard = now

    def _burstiness(self, size: int, now: float) -> None:
        """How much more is acknowledged at once than the path delivers in the time since the last burst."""
        if self.rate is None:
            self._epoch = now
            return
        self._epoch_acked += size
        extra = self._epoch_acked - self.rate * (now - self._epoch)
        if extra <= 0:
            self._epoch = now
            self._epoch_acked = 0
            extra = 0.0
        seconds = min(extra / self.rate, MAX_BURST_SECONDS)
        if seconds > self.burst:
            self.burst = seconds
        else:
            self.burst += (seconds - self.burst) * BURST_GAIN

    def _came_late(self, late: Sequence[Flight]) -> None:
        """These were not lost after all: wait longer from now on."""
        most = max(self.round_trip.smoothed, MAX_REORDERING)
        for flight in late:
            self.lost_count -= flight.datagrams
            self.reordering = max(
                self.reordering, min((self._newest_time - flight.time) * REORDERING_MARGIN, most)
            )

    def settle(self, now: float) -> list[Flight]:
        """Judge by all acknowledgements that have come: tell the congestion controller.

        :return: what is lost.
        """
        if not self._judge and now < self._straggler_at:
            return []
        self._judge = False
        lost = [] if self._reliable else self._find_lost(now)
        self._forget_skipped()
        if not lost and not self._acked:
            return lost
        size = told = 0
        for flight in lost:
            size += flight.size
            if flight.time > self._forgotten_at:
                told += flight.size
        self.in_flight -= size
        self.congestion.acked(
            AckSample(
                now=now,
                acked=self._acked,
                lost=told,
                in_flight=self.in_flight,
                rtt=self._rtt,
                owd=self._owd,
                rate=self._rate,
                limited=self._limited,
                delivered=self.delivered,
                prior_delivered=self._prior,
                srtt=self.round_trip.smoothed,
                burst=self.burst,
            )
        )
        self._acked = 0
        self._rtt = self._owd = self._rate = None
        self._limited = False
        return lost

    @property
    def loss_delay(self) -> float:
        """Seconds by which something must have been sent later, and have arrived, for a flight to be lost."""
        return max(self.round_trip.smoothed * LOSS_FRACTION, LOSS_SECONDS, self.reordering)

    def _find_lost(self, now: float) -> list[Flight]:
        flights, lost = self._flights, self._lost
        while lost and lost[0].forgotten <= now:
            del lost[0]
        number = self._newest_number
        trip = self.round_trip
        delay = self.loss_delay
        before = self._newest_time - delay
        # Stragglers: next to nothing was sent after them, so that they have to be told by the clock.
        patience = delay + TIME_THRESHOLD * max(trip.smoothed, trip.latest or 0.0)
        count = 0
        for flight in flights:
            if flight.time > before and (flight.first > number or flight.time + patience > now):
                break
            count += 1
        self._straggler_at = inf
        if count < len(flights) and flights[count].first < number:
            self._straggler_at = flights[count].time + patience
        gone = flights[:count]
        if gone:
            del flights[:count]
            forgotten = now + max(REMEMBER_SECONDS, trip.smoothed)
            for flight in gone:
                self.lost_count += flight.datagrams
                flight.forgotten = forgotten
            lost += gone
        return gone

    def _forget_skipped(self) -> None:
        lowest = self.lowest(self._newest_number)
        while self._skipped and self._skipped[0] < lowest:
            self._skipped.popleft()

    def disown(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Whatever becomes of what is under way of the file's ``[start, stop)``, it says nothing of the file.

        :return: what the flights that carried some of it carried.
        """
        carried: list[tuple[int, int]] = []
        for flight in (*self._flights, *self._lost):
            if flight.start < stop and start < flight.stop:
                carried.append((flight.start, flight.stop))
                flight.start = flight.stop = flight.stride = 0
        return carried

    def deadline(self) -> float:
        """When `settle` or `timed_out` is to be called: the straggler timer or the probe timeout (RFC 9002 §6.2)."""
        if not self._flights or self._reliable:
            return inf
        return min(self._straggler_at, self._last_sent + self.round_trip.backed_off(self.probes))

    def timed_out(self, now: float) -> bool:
        """Whether the probe timeout has passed; then `probes` went up, and something is to be sent that is answered."""
        if not self._flights or self._reliable:
            return False
        if now < self._last_sent + self.round_trip.backed_off(self.probes):
            return False
        self.probes += 1
        self._last_sent = now
        if self.probes == PERSISTENT_PROBES:
            # That is the answer to the loss of all that was sent so far; it is not to be told again, nor a rate over an
            # outage.
            self.congestion.timed_out(now)
            self._forgotten_at = now
            self._clock = None
        return True

    def path_changed(self, round_trip: RoundTrip) -> None:
        """Forget what was learned of the old path (RFC 9000 §9.4); what is under way is judged as before."""
        self.round_trip = round_trip
        self.rate = None
        self.reordering = self.burst = 0.0
        self.probes = 0
