"""A deterministic simulator: one bottleneck, several flows, trains of datagrams in virtual time.

    sender ──> queue (drop-tail, bytes) ──> loss, delay ──> receiver
       ^──────── delay, loss, maybe a rate of its own <────────┘

Loss is wire loss: what is lost has used the link.  Everything random comes from one seed, so a run can be repeated
exactly.  The sender is a light model of `Sender` and `Recovery`: it keeps a record a train, declares lost what was sent
well before something that arrived, and gives controllers the same `AckSample`.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, log
from typing import Any

from pychat.transfer.congestion import CONTROLLERS, AckSample, CongestionControl
from pychat.transfer.pacer import Pacer
from pychat.transfer.sender import TRAIN_SECONDS

#: IPv4 and UDP.
HEADERS = 28
#: Bytes of a datagram that are not the file's.
OVERHEAD = 40
#: Bytes on the wire of an acknowledgement.
ACK_BYTES = 110
MBIT = 125_000.0


@dataclass(frozen=True)
class Bursty:
    """Gilbert-Elliott loss: the chances, a packet, of going bad and of coming back, and of loss while bad."""

    worse: float
    better: float
    bad: float


@dataclass
class Link:
    """The path that all flows share.  Rates are bytes on the wire per second, times are seconds.

    :ivar queue: bytes the queue takes, in seconds of `rate`.
    :ivar changes: (time, {attribute: value}), e.g. another rate.
    :ivar outages: (first, end) in which everything is lost.
    :ivar reorder: the chance of a datagram to be late by up to `reorder_by`.
    """

    rate: float = 100 * MBIT
    rtt: float = 0.020
    queue: float = 0.050
    loss: float = 0.0
    back_loss: float | None = None
    bursty: Bursty | None = None
    back_rate: float = inf
    reorder: float = 0.0
    reorder_by: float = 0.0
    jitter: float = 0.0
    changes: Sequence[tuple[float, dict[str, float]]] = ()
    outages: Sequence[tuple[float, float]] = ()


@dataclass
class Host:
    """What is wrong with the machine of a sender.

    :ivar late: the chance that a timer is late, and by how much at most and at least, seconds.
    :ivar robbed: (on, off) seconds: the process only runs for `on`, then not for `off`.
    """

    late: float = 0.0
    late_least: float = 0.005
    late_most: float = 0.020
    robbed: tuple[float, float] | None = None


class Train:
    """Datagrams sent at once."""

    __slots__ = (
        "acked",
        "ask",
        "clock",
        "count",
        "delivered",
        "flow",
        "last_sent",
        "limited",
        "lost",
        "number",
        "sent",
        "size",
    )

    def __init__(self, flow: Flow, number: int, count: int, size: int, sent: float) -> None:
        self.flow = flow
        self.number = number
        self.count = count
        self.size = size
        self.sent = sent
        self.acked = 0
        self.lost = 0
        self.limited = False
        self.ask = False
        self.delivered = 0
        self.clock = 0.0
        self.last_sent = 0.0


class World:
    """The clock, the events and the bottleneck."""

    def __init__(self, link: Link, seed: int = 1) -> None:
        self.link = link
        self.now = 0.0
        self.random = random.Random(seed)
        self.flows: list[Flow] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._queue: deque[Train] = deque()
        self.backlog = 0
        self._busy = False
        self._back_free = 0.0
        self._bad = False
        self._loss_skip: float = 0.0
        self._draw()
        #: (time, datagrams) dropped by the full queue.
        self.drops: list[tuple[float, int]] = []
        #: (time, seconds of queue), each time something is added.
        self.delays: list[tuple[float, float]] = []
        for time, values in link.changes:
            self.at(time, self._change, values)

    def at(self, time: float, call: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, call, args))

    def run(self, until: float) -> None:
        events = self._events
        flows = self.flows
        while events and events[0][0] <= until:
            self.now, _, call, args = heapq.heappop(events)
            call(*args)
            if all(flow.finished is not None for flow in flows):
                return
        self.now = until

    def _change(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            setattr(self.link, name, value)

    # --- the bottleneck

    def enter(self, train: Train) -> None:
        link = self.link
        wire = train.size + HEADERS
        room = int((link.queue * link.rate - self.backlog) // wire) + (not self._busy)
        if train.count > room:
            self.drops.append((self.now, train.count - max(room, 0)))
            if room <= 0:
                return
            train = Train(train.flow, train.number, room, train.size, train.sent)
        self.backlog += train.count * wire
        self.delays.append((self.now, self.backlog / link.rate))
        self._queue.append(train)
        if not self._busy:
            self._serve()

    def _serve(self) -> None:
        self._busy = bool(self._queue)
        if self._busy:
            train = self._queue[0]
            self.at(self.now + train.count * (train.size + HEADERS) / self.link.rate, self._leave)

    def _leave(self) -> None:
        train = self._queue.popleft()
        self.backlog -= train.count * (train.size + HEADERS)
        self._serve()
        link = self.link
        if any(first <= self.now < end for first, end in link.outages):
            return
        arrived = train.count - self._lost(train.count)
        if not arrived:
            return
        delay = link.rtt / 2
        if link.jitter:
            delay += self.random.random() * link.jitter
        if link.reorder:
            late = sum(self.random.random() < link.reorder for _ in range(arrived))
            arrived -= late
            for _ in range(late):
                extra = self.random.random() * link.reorder_by
                self.at(self.now + delay + extra, train.flow.arrived, train.number, 1)
        if arrived:
            self.at(self.now + delay, train.flow.arrived, train.number, arrived)

    def _draw(self) -> None:
        loss = self.link.loss
        self._loss_skip = inf if not loss else int(log(1 - self.random.random()) / log(1 - loss))

    def _lost(self, count: int) -> int:
        link = self.link
        lost = 0
        if link.bursty is not None:
            for _ in range(count):
                self._bad = self.random.random() < (
                    1 - link.bursty.better if self._bad else link.bursty.worse
                )
                lost += self._bad and self.random.random() < link.bursty.bad
            return lost
        if not link.loss:
            return 0
        left = count
        while self._loss_skip < left:
            left -= int(self._loss_skip) + 1
            lost += 1
            self._draw()
        self._loss_skip -= left
        return lost

    # --- the way back

    def back(self, flow: Flow, upto: int, held: float) -> None:
        """An acknowledgement of everything up to there in the receiver's log sets out."""
        link = self.link
        loss = link.loss if link.back_loss is None else link.back_loss
        if loss and self.random.random() < loss:
            return
        if any(first <= self.now < end for first, end in link.outages):
            return
        at = self.now
        if link.back_rate < inf:
            at = self._back_free = max(self.now, self._back_free) + ACK_BYTES / link.back_rate
        self.at(at + link.rtt / 2, flow.acknowledged, upto, held)


class Flow:
    """A sender and its receiver.

    :param size: bytes of file to deliver; inf to go on for ever.
    :param quantum: datagrams of a train at most.
    :param paced: False for the ack-clocked TCP of old.
    :param ack_every: packets after which an acknowledgement is due unasked.
    :ivar delivered: bytes of file that arrived.
    """

    def __init__(
        self,
        world: World,
        congestion: CongestionControl | str = "model",
        *,
        start: float = 0.0,
        size: float = inf,
        datagram: int = 1452,
        quantum: int = 16,
        paced: bool = True,
        host: Host | None = None,
        ack_every: int = 64,
        ack_delay: float = 0.025,
    ) -> None:
        self.world = world
        if isinstance(congestion, str):
            congestion = CONTROLLERS[congestion](datagram)
        self.congestion = congestion
        self.start = start
        self.size = size
        self.datagram = datagram
        self.payload = datagram - OVERHEAD
        self.quantum = quantum
        self.paced = paced
        self.host = host or Host()
        self.finished: float | None = None
        self.in_flight = 0
        self.acked = 0
        self.lost_count = 0
        self.spurious = 0
        self.srtt = self.rttvar = 0.0
        #: (time, bytes acknowledged in all)
        self.history: list[tuple[float, int]] = []
        self._trains: dict[int, Train] = {}
        self._open: deque[Train] = deque()
        self._next = 0
        self._reordering = 0.0
        self._newest_sent = -1.0
        self._newest_number = -1
        self._clock = start
        self._ack_sent = start
        self._burst = 0.0
        self._rate = 0.0
        self._epoch = start
        self._epoch_acked = 0
        self._probes = 0
        self._last_send = start
        self._wake: float | None = None
        self._unasked = 0
        self._full = False
        self._inbox: list[tuple[int, float]] = []
        self._inbox_due = False
        # The receiver.
        self._log: list[tuple[int, int, float]] = []
        self._read = 0
        self._unacked = 0
        self._ack_due: float | None = None
        self._ack_every = ack_every
        self._ack_delay = ack_delay
        world.flows.append(self)
        self.pacer = Pacer(datagram, start)
        world.at(start, self._begin)

    def _begin(self) -> None:
        self._wake_at(self.world.now)

    # --- the receiver

    def arrived(self, number: int, count: int) -> None:
        now = self.world.now
        self._log.append((number, count, now))
        self._unacked += count
        train = self._trains[number]
        if self._unacked >= self._ack_every or train.ask or count < train.count:
            self._acknowledge(now)
        elif self._ack_due is None:
            self._ack_due = now + self._ack_delay
            self.world.at(self._ack_due, self._late_ack, self._ack_due)

    def _late_ack(self, due: float) -> None:
        if self._ack_due == due:
            self._acknowledge(self._log[-1][2])

    def _acknowledge(self, since: float) -> None:
        self._unacked = 0
        self._ack_due = None
        self.world.back(self, len(self._log), self.world.now - since)

    # --- the sender

    def _runs_at(self, time: float) -> float:
        """When the process really runs if it is to run at that time."""
        if self.host.robbed is not None:
            on, off = self.host.robbed
            into = time % (on + off)
            if into > on:
                return time + on + off - into
        return time

    def acknowledged(self, upto: int, held: float) -> None:
        self._inbox.append((upto, held))
        now = self.world.now
        at = self._runs_at(now)
        if at <= now:
            self._drain()
        elif not self._inbox_due:
            self._inbox_due = True
            self.world.at(at, self._drain)

    def _drain(self) -> None:
        self._inbox_due = False
        inbox, self._inbox = self._inbox, []
        if self.finished is not None:
            return
        upto = max(upto for upto, _ in inbox)
        held = inbox[-1][1]
        if upto > self._read:
            entries = self._log[self._read : upto]
            self._read = upto
            self._take(entries, held)
        if self.finished is None:
            self._send()

    def _take(self, entries: Sequence[tuple[int, int, float]], held: float) -> None:
        now = self.world.now
        acked = 0
        newest: Train | None = None
        clock = self._clock
        for number, count, arrival in entries:
            train = self._trains[number]
            train.acked += count
            nbytes = count * train.size
            if train.lost:
                # It was declared lost too early.
                late = min(count, train.lost)
                train.lost -= late
                self.spurious += late
                count -= late
                self._reordering = max(self._reordering, min(self._newest_sent - train.sent, self.srtt))
            self.in_flight -= count * train.size
            acked += nbytes
            self.acked += nbytes
            if number > self._newest_number:
                self._newest_number = number
                newest = train
                clock = arrival
        rtt = owd = rate = None
        limited = prior = 0
        if newest is not None:
            self._newest_sent = newest.sent
            rtt = now - newest.sent - held
            owd = clock - newest.sent
            if not self.srtt:
                self.srtt, self.rttvar = rtt, rtt / 2
            else:
                self.rttvar += (abs(self.srtt - rtt) - self.rttvar) / 4
                self.srtt += (rtt - self.srtt) / 8
            elapsed = max(clock - newest.clock, newest.sent - newest.last_sent)
            if newest.delivered and elapsed > 0:
                rate = (self.acked - newest.delivered) / elapsed
            prior = newest.delivered
            limited = newest.limited
            self._burstiness(acked, rate, now)
            self._clock = clock
            self._ack_sent = newest.sent
        else:
            prior = 0
        self._probes = 0
        lost = self._find_lost()
        self._tell(acked, lost, rtt, owd, rate, bool(limited), prior)
        self.history.append((now, self.acked))
        if self.acked / self.datagram * self.payload >= self.size:
            self.finished = now

    def _burstiness(self, acked: int, rate: float | None, now: float) -> None:
        """As `Recovery` has it: how much more is acknowledged at once than the path delivers meanwhile."""
        if rate is not None:
            self._rate = rate if not self._rate else self._rate + (rate - self._rate) / 8
        if not self._rate:
            self._epoch = now
            return
        self._epoch_acked += acked
        extra = self._epoch_acked - self._rate * (now - self._epoch)
        if extra <= 0:
            self._epoch, self._epoch_acked, extra = now, 0, 0.0
        seconds = min(extra / self._rate, 0.1)
        self._burst = max(seconds, self._burst + (seconds - self._burst) / 32)

    def _tell(
        self,
        acked: int,
        lost: int,
        rtt: float | None = None,
        owd: float | None = None,
        rate: float | None = None,
        limited: bool = False,
        prior: int = 0,
    ) -> None:
        self.congestion.acked(
            AckSample(
                now=self.world.now,
                acked=acked,
                lost=lost,
                in_flight=self.in_flight,
                rtt=rtt,
                owd=owd,
                rate=rate,
                limited=limited,
                delivered=self.acked,
                prior_delivered=prior,
                srtt=self.srtt,
                burst=self._burst,
            )
        )

    def _find_lost(self) -> int:
        bound = self._newest_sent - max(self.srtt / 8, 0.002, self._reordering)
        lost = 0
        trains = self._open
        while trains and trains[0].sent <= bound:
            train = trains.popleft()
            train.lost = train.count - train.acked
            lost += train.lost * train.size
            self.lost_count += train.lost
        self.in_flight -= lost
        return lost

    def _probe_gap(self) -> float:
        if not self.srtt:
            base = 1.0
        else:
            base = self.srtt + max(4 * self.rttvar, 0.001) + 0.025
        return min(base * 2.0**self._probes, max(0.3, 2 * base))

    def _wake_at(self, time: float) -> None:
        if self._wake is not None and self._wake <= time + 1e-9:
            return
        time = max(time, self.world.now)
        self._wake = time
        host = self.host
        # No timer is quite on time.
        at = time + self.world.random.random() * 0.0002
        if host.late and self.world.random.random() < host.late:
            at += self.world.random.uniform(host.late_least, host.late_most)
        self.world.at(self._runs_at(at), self._woken, time)

    def _woken(self, time: float) -> None:
        if self._wake != time or self.finished is not None:
            return
        self._wake = None
        if self.in_flight and self.world.now >= self._last_send + self._probe_gap() - 1e-9:
            self._probes += 1
            if self._probes == 3:
                self.congestion.timed_out(self.world.now)
            self._emit(2, self.world.now)
        self._send()

    def _more(self) -> bool:
        return (self.acked + self.in_flight) / self.datagram * self.payload < self.size

    def _send(self) -> None:
        now = self.world.now
        congestion, size = self.congestion, self.datagram
        starved = False
        if self.paced:
            starved = self.pacer.refill(congestion.pacing_rate, now, starting=congestion.starting)
            if self._full:
                self.pacer.spill()
                self._full = False
        sent, most = 0, self.quantum
        if self.paced:
            # As `Sender` has it: a train is no longer than 3 ms of the pace.
            most = min(most, max(int(congestion.pacing_rate * TRAIN_SECONDS) // size, 1))
        while self._more():
            room = (congestion.window - self.in_flight) // size
            if self.paced:
                tokens = int(self.pacer.tokens // size)
                if room >= 1 and tokens < 1:
                    self._wake_at(self.pacer.deadline(size))
                    break
                self._full = room < 1
                room = min(room, tokens)
            if room < 1:
                break
            count = min(room, most)
            self.pacer.tokens -= count * size
            # As `Sender` asks: eight times a window, but not more often than each 2 ms.
            ask_at = max(min(congestion.window // 8, congestion.pacing_rate * 0.002), 2 * size)
            self._unasked += count * size
            ask = self._unasked >= ask_at or room < 2 * count
            if ask:
                self._unasked = 0
            train = self._emit(count, now, ask)
            train.limited = starved
            sent += count
        if self.in_flight:
            self._wake_at(self._last_send + self._probe_gap())

    def _emit(self, count: int, now: float, ask: bool = True) -> Train:
        if not self.in_flight:
            self._ack_sent = self._clock = now + (self._clock - self._ack_sent)
        train = Train(self, self._next, count, self.datagram, now)
        self._next += 1
        train.ask = ask
        train.delivered = self.acked
        train.clock = self._clock
        train.last_sent = self._ack_sent
        train.limited = not self._more()
        self._trains[train.number] = train
        self._open.append(train)
        self.in_flight += count * self.datagram
        self._last_send = now
        self.congestion.sent(count * self.datagram, self.in_flight, now)
        self.world.enter(train)
        return train

    # --- what came of it

    def rate(self, first: float, end: float) -> float:
        """Bytes on the wire per second between these times, by what was acknowledged."""
        before = after = 0
        for time, acked in self.history:
            if time <= first:
                before = acked
            if time <= end:
                after = acked
        return (after - before) / (end - first) * (self.datagram + HEADERS) / self.datagram


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def jain(rates: Sequence[float]) -> float:
    """Jain's index of fairness: 1 if all are equal, 1/n if one has everything."""
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


@dataclass
class Result:
    """What a scenario measured.

    :ivar share: of the link's rate, for each flow, over the measured part.
    :ivar median: seconds of queue; also `p95`.
    :ivar drops: datagrams the queue dropped in the measured part; `early` before it.
    """

    share: list[float] = field(default_factory=list)
    median: float = 0.0
    p95: float = 0.0
    drops: int = 0
    early: int = 0

    @property
    def total(self) -> float:
        return sum(self.share)

    @property
    def jain(self) -> float:
        return jain(self.share)


def measure(world: World, first: float, end: float) -> Result:
    """Run to the end and measure from `first` on."""
    world.run(end)
    rate = world.link.rate
    delays = [delay for time, delay in world.delays if time >= first]
    return Result(
        share=[flow.rate(first, end) / rate for flow in world.flows],
        median=percentile(delays, 0.5),
        p95=percentile(delays, 0.95),
        drops=sum(count for time, count in world.drops if time >= first),
        early=sum(count for time, count in world.drops if time < first),
    )
