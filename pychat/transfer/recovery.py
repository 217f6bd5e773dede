"""What was sent, what arrived, what was lost, and when to ask: RFC 9002, for one packet number space.

`Recovery` keeps one `SentPacket` for each packet that asks to be acknowledged.  An acknowledgement takes packets out
and yields a round-trip sample; what is too old beside what arrived is lost; when nothing arrives at all, the probe
timeout says to send something that will be answered.  `Pacer` spreads the window over the round trip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from pychat.errors import TransferError
from pychat.transfer.congestion import CongestionControl, SentPacket

#: RFC 9002 §6.1.1
PACKET_THRESHOLD = 3
#: RFC 9002 §6.1.2
TIME_THRESHOLD = 9 / 8
#: Seconds; RFC 9002 §6.1.2
GRANULARITY = 0.001
#: Seconds that every round trip takes, also by a clock too coarse to show it.
TICK = 1e-6
#: Seconds; RFC 9002 §6.2.2
INITIAL_RTT = 0.333
#: Seconds for which the receiver may hold an acknowledgement back (RFC 9000 §13.2.1).
MAX_ACK_DELAY = 0.025
#: RFC 9002 §7.6.1
PERSISTENT_THRESHOLD = 3
#: Consecutive probe timeouts after which the peer counts as dead.
MAX_PROBES = 12
#: Seconds beyond which the back-off of the probe timeout does not grow, so that the end of an outage is noticed.
MAX_PROBE_GAP = 3.0
#: Datagrams that may leave at once however slow the pace is (RFC 9002 §7.7).
BURST_DATAGRAMS = 10
#: Seconds' worth of bytes that a late wake-up may catch up with.
BURST_SECONDS = 0.010
#: Seconds' worth of bytes for which a paced sender sleeps: fewer wake-ups, each with more to do.
PACING_SECONDS = 0.001


class NeverSentError(TransferError):
    """The peer acknowledged a packet that was never sent: an optimistic acknowledgement (RFC 9000 §21.4)."""

    def __init__(self) -> None:
        super().__init__("bad-peer", "The other end acknowledged what was never sent.")


class RoundTrip:
    """The round-trip time, estimated as RFC 9002 §5 says.  All in seconds.

    :ivar latest: the last sample, None before the first.
    :ivar minimum: the smallest sample.
    :ivar smoothed: exponentially weighted mean.
    :ivar variation: exponentially weighted mean deviation.
    """

    __slots__ = ("latest", "minimum", "smoothed", "variation")

    def __init__(self) -> None:
        self.latest: float | None = None
        self.minimum = 0.0
        self.smoothed = INITIAL_RTT
        self.variation = INITIAL_RTT / 2

    def update(self, sample: float, ack_delay: float) -> None:
        """Take one sample.

        :param ack_delay: how long the peer says that it held the acknowledgement back.
        """
        first = self.latest is None
        self.latest = sample = max(sample, TICK)
        if first:
            self.minimum = self.smoothed = sample
            self.variation = sample / 2
            return
        self.minimum = min(self.minimum, sample)
        # §5.3: the peer's word only counts up to what it may hold back, and never below the minimum.
        ack_delay = min(ack_delay, MAX_ACK_DELAY)
        if sample >= self.minimum + ack_delay:
            sample -= ack_delay
        self.variation += (abs(self.smoothed - sample) - self.variation) / 4
        self.smoothed += (sample - self.smoothed) / 8

    @property
    def probe_timeout(self) -> float:
        """§6.2.1, before the back-off."""
        return self.smoothed + max(4 * self.variation, GRANULARITY) + MAX_ACK_DELAY

    @property
    def loss_delay(self) -> float:
        """§6.1.2: how long after a later packet arrived an earlier one may still do so."""
        latest = self.smoothed if self.latest is None else self.latest
        return max(TIME_THRESHOLD * max(latest, self.smoothed), GRANULARITY)


class Recovery:
    """The packets in flight.

    :param congestion: is told what arrived and what was lost.
    :ivar rtt: the round-trip time.
    :ivar in_flight: bytes that were sent and neither acknowledged nor lost.
    :ivar probes: consecutive probe timeouts without an acknowledgement between them.
    :ivar lost_count: packets declared lost so far.
    :ivar limited: whether the window or the pacing held the sender back lately (RFC 9002 §7.8).
    """

    def __init__(self, congestion: CongestionControl) -> None:
        self.congestion = congestion
        self.rtt = RoundTrip()
        self.in_flight = 0
        self.probes = 0
        self.lost_count = 0
        self.limited = False
        self._sent: dict[int, SentPacket] = {}
        self._next = 0
        self._lowest = 0
        self._largest_acked = -1
        self._acked_ranges: Sequence[tuple[int, int]] = ()
        self._skipped: deque[int] = deque()
        self._loss_time: float | None = None
        self._last_sent = 0.0

    @property
    def lowest(self) -> int:
        """The lowest packet number whose fate is still open; nobody needs to hear of those below it."""
        return self._lowest

    def number(self) -> int:
        """A packet number that was never used."""
        number = self._next
        self._next = number + 1
        return number

    def skip(self) -> None:
        """Leave one packet number out.  Whoever acknowledges it acknowledges blindly (RFC 9000 §21.4)."""
        self._skipped.append(self.number())

    def sent(self, packet: SentPacket) -> None:
        """A packet that asks to be acknowledged has left, under a number that `number` gave."""
        self._sent[packet.number] = packet
        self.in_flight += packet.size
        self._last_sent = packet.time

    def oldest(self) -> SentPacket | None:
        """The oldest packet that is still in flight, or None."""
        self._advance(self._lowest)
        return self._sent.get(self._lowest)

    def acked(
        self, ranges: Sequence[tuple[int, int]], delay: float, now: float
    ) -> tuple[list[SentPacket], list[SentPacket]]:
        """An acknowledgement arrived.

        :param ranges: half-open ranges of packet numbers, highest first.
        :param delay: seconds for which the peer says that it was held back.
        :return: what arrived newly, and what is lost in the light of it.
        :raises NeverSentError: it names a packet that was never sent.  Nothing of it was taken.
        """
        largest = ranges[0][1] - 1
        if largest >= self._next:
            raise NeverSentError
        for skipped in self._skipped:
            if any(start <= skipped < end for start, end in ranges):
                raise NeverSentError
        sent, lowest = self._sent, self._lowest
        sample = sent.get(largest)
        newly: list[SentPacket] = []
        for start, end in ranges:
            if end <= lowest:
                break
            for number in range(max(start, lowest), end):
                packet = sent.pop(number, None)
                if packet is not None:
                    newly.append(packet)
        if not newly:
            return newly, []
        if sample is not None:
            # §5.1: only an acknowledgement of the largest packet, and only the first one, is a sample.
            self.rtt.update(now - sample.time, delay)
        if largest >= self._largest_acked:
            self._largest_acked = largest
            self._acked_ranges = ranges
        self.in_flight -= sum([packet.size for packet in newly])
        self.probes = 0
        lost = self._find_lost(now)
        self.congestion.acked(newly, now=now, limited=self.limited)
        return newly, lost

    def deadline(self) -> float | None:
        """When `timeout` is to be called: the loss timer, or else the probe timeout (RFC 9002 §6.2)."""
        if not self._sent:
            return None
        if self._loss_time is not None:
            return self._loss_time
        return self._last_sent + self.probe_gap()

    def probe_gap(self) -> float:
        """Seconds from the last packet to the next probe: doubles each time (§6.2.1), up to `MAX_PROBE_GAP`."""
        timeout = self.rtt.probe_timeout
        return min(timeout * float(2**self.probes), max(timeout, MAX_PROBE_GAP))

    def timeout(self, now: float) -> list[SentPacket]:
        """The deadline has passed.

        :return: packets that are lost; when there are none, a probe is to be sent, and `probes` went up.
        """
        if self._loss_time is not None:
            return self._find_lost(now)
        self.probes += 1
        return []

    def _advance(self, lowest: int) -> None:
        while lowest < self._next and lowest not in self._sent:
            lowest += 1
        self._lowest = lowest
        while self._skipped and self._skipped[0] < lowest:
            self._skipped.popleft()

    def _find_lost(self, now: float) -> list[SentPacket]:
        """§6.1: lost is what is three packets, or 9/8 of a round trip, behind a packet that arrived."""
        lost: list[SentPacket] = []
        self._loss_time = None
        sent, largest = self._sent, self._largest_acked
        delay = self.rtt.loss_delay
        for number in range(self._lowest, largest):
            packet = sent.get(number)
            if packet is None:
                continue
            if number <= largest - PACKET_THRESHOLD or packet.time + delay <= now:
                lost.append(packet)
                del sent[number]
            elif self._loss_time is None:
                self._loss_time = packet.time + delay
        self._advance(self._lowest)
        if lost:
            self.lost_count += len(lost)
            self.in_flight -= sum([packet.size for packet in lost])
            self.congestion.lost(lost, now=now, persistent=self._persistent(lost))
        return lost

    def _persistent(self, lost: Sequence[SentPacket]) -> bool:
        """§7.6: whether two of these packets are that far apart in time and nothing between them arrived."""
        if self.rtt.latest is None:
            return False
        duration = self.rtt.probe_timeout * PERSISTENT_THRESHOLD
        first = lost[0]
        for before, packet in pairwise(lost):
            if any(start < packet.number and end > before.number for start, end in self._acked_ranges):
                first = packet
            elif packet.time - first.time > duration:
                return True
        return False


class Pacer:
    """A bucket of bytes that fills with time (RFC 9002 §7.7).

    It holds up to 10 ms' worth, so that a process that was woken late sends what it should have sent meanwhile
    instead of losing that time for good.

    :param datagram: bytes of a full datagram.
    :param now: seconds.
    """

    __slots__ = ("_burst", "_rate", "_then", "tokens")

    def __init__(self, datagram: int, now: float) -> None:
        self._burst = BURST_DATAGRAMS * datagram
        self._rate = 0.0
        self._then = now
        #: Bytes that may leave now.
        self.tokens = float(self._burst)

    def refill(self, rate: float, now: float) -> None:
        """Let the time since the last call count, at `rate` bytes per second."""
        self._rate = rate
        filled = self.tokens + (now - self._then) * rate
        self.tokens = min(filled, max(self._burst, rate * BURST_SECONDS))
        self._then = now

    def deadline(self, size: int) -> float:
        """When `size` bytes, and at least 1 ms' worth, may leave."""
        need = max(size, min(self._rate * PACING_SECONDS, self._burst))
        # A little late, for with a rounding error's worth too few bytes it would be due at once for ever.
        return self._then + max(need - self.tokens, 0.0) / self._rate + 1e-6
