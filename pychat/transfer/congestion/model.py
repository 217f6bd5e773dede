"""Our own controller: it keeps a model of the path instead of asking it by filling its queue.

It measures how fast data arrives (by the receiver's clock), how long the path takes when it is empty, and how much is
lost when nothing is queued.  It sends at that rate, looks now and then for more, and takes loss for congestion only
when a queue stands.  When somebody greedy shares the path and the queue does not drain, it competes as CUBIC does.
`docs/congestion.md` has the states as a table, and where the constants come from.
"""

from __future__ import annotations

from math import inf

from pychat.transfer.congestion.base import AckSample, CongestionControl
from pychat.transfer.congestion.cubic import CubicCurve
from pychat.transfer.congestion.filters import RecentMaximum, RecentMinimum
from pychat.transfer.congestion.newreno import Episode

STARTUP, DRAIN, CRUISE, UP, DOWN, PROBE, COMPETE = (
    "startup",
    "drain",
    "cruise",
    "up",
    "down",
    "probe",
    "compete",
)

#: How fast to pace, in rates of the path.
GAIN = {STARTUP: 2.77, DRAIN: 0.5, CRUISE: 1.0, UP: 1.25, DOWN: 0.75, PROBE: 0.8}

#: Bytes in flight at the start, and seconds between the datagrams after the first train.
START_BYTES = 48 * 1452
START_GAP = 0.0005
#: Rounds for which a rate is remembered.
RATE_ROUNDS = 10
#: ... and while more is queued than we alone would have caused: what was got is then what there is.
QUEUED_ROUNDS = 4
#: Seconds: at each multiple of this, as the machine's clock has it, the minima lose their oldest part; they cover six.
SPAN = 5.0
SPANS = 6
#: Seconds that a round takes at least: on a shorter path everything is noise.
SHORTEST_ROUND = 0.002
#: What may be in flight beyond what the path holds: datagrams, and seconds' worth of the rate.
SLACK_DATAGRAMS = 6
SLACK = 0.004
MOST_BURST = 0.020
#: The highest random loss that is believed in.
MOST_LOSS = 0.10
#: Loss in a round that is congestion whatever the queue says.
HEAVY_LOSS = 0.15
#: Datagrams that must have left before their loss is judged.
LOSS_DATAGRAMS = 40
#: Seconds over which the first flight must have arrived before its rate is believed.
FIRST_SECONDS = 0.005
#: Acknowledgements in a row with a queue, rounds without growth, and growth: when the start is over.
START_QUEUED = 8
START_FLAT = 3
START_GROWTH = 1.25
#: Seconds' worth of the rate that may be in flight beyond the product, if that is less than the product.
START_AHEAD = 0.3
#: Smoothed round trips for which a queue may stand before somebody greedy is to blame.
HOLD = 12
#: Seconds of queue beyond what we make ourselves from which on it counts.
HOLD_EXTRA = 0.002
#: ... or when so little is left of the rate that there was when it began to.
SQUEEZED = 0.3


def next_span(now: float) -> float:
    """When the span ends that `now` is in.

    It is the same for all flows of a machine, so they look together whether the queue drains.  One that takes its share
    off a queue of four finds three quarters of it still there, and none of them ever sees the path empty.
    """
    return (now // SPAN + 1) * SPAN


class Model(CongestionControl):
    """See the module."""

    name = "model"

    def __init__(self, datagram: int) -> None:
        super().__init__(datagram)
        self._begin(0.0, 0.0)

    def _begin(self, rate: float, rtt: float) -> None:
        self.state = STARTUP
        self._gain = GAIN[STARTUP]
        self._start_window = max(START_BYTES, 2 * self._datagram, int(rate * rtt / 2))
        self._start_rate = max(self._datagram / START_GAP, rate / 2)
        self.window = self._start_window
        self._rates = RecentMaximum(RATE_ROUNDS)
        self._best = RecentMaximum(SPANS)
        self._rtts = RecentMinimum(SPANS)
        self._owds = RecentMinimum(SPANS)
        self._random_loss = 0.0
        self._srtt = 0.1
        self._burst = 0.0
        # The queue, seconds: now, the least of the span, the largest, and the last few.
        self._queue = 0.0
        self._span_least = inf
        self._largest = 0.0
        self._recent = [0.0] * 4
        # The round.
        self._turn = 0
        self._mark = 0
        self._round_began = -inf
        self._round_least = inf
        self._round_acked = 0
        self._round_lost = 0
        self._shared = False
        # The start.
        self._first: tuple[int, float, float] | None = None
        self._queued = 0
        self._flat = 0
        self._full = 0.0
        self._start_turn = 0
        self._start_flight = 0
        # The states after it.
        self._entered = -inf
        self._entered_turn = 0
        self._probed_rate = inf
        self._probed_gain = 0.0
        self._ceiling = inf
        self._span_end: float | None = None
        self._last_ack: float | None = None
        self._probe_mark: int | None = None
        self._probe_least = inf
        self._hold = 0.0
        self._hold_rate = 0.0
        self._curve: CubicCurve | None = None
        self._episode = Episode()

    # --- what is asked

    @property
    def starting(self) -> bool:
        return self.state == STARTUP

    @property
    def phase(self) -> str:
        return self.state

    @property
    def rate(self) -> float:
        """Bytes per second that the path carries, as far as it is known."""
        return self._rates.value

    @property
    def pacing_rate(self) -> float:
        if self.state == COMPETE:
            return 1.25 * self.window / self._srtt
        # Among others the window decides, not the pace: what each may queue is nearly the same, so they drift together.
        gain = GAIN[UP] if self.state == CRUISE and self._shared else self._gain
        rate = gain * self._rates.value / (1 - self._random_loss)
        if self.state == STARTUP:
            return max(rate, self._start_rate)
        return max(rate, self._datagram / self._srtt)

    # --- what is told

    def remember(self, rate: float, rtt: float) -> None:
        self._begin(rate, rtt)

    def reset(self, now: float, datagram: int) -> None:
        self._datagram = datagram
        self._begin(0.0, 0.0)

    def timed_out(self, now: float) -> None:
        self._begin(0.0, 0.0)

    def acked(self, sample: AckSample) -> None:
        self._measure(sample)
        self._round_acked += sample.acked
        if not (sample.lost and self._episode.forgives(sample)):
            self._round_lost += sample.lost
        if self._span_end is None:
            self._span_end = next_span(sample.now)
        rounded = (
            sample.acked > 0
            and sample.prior_delivered >= self._mark
            and sample.now >= self._round_began + SHORTEST_ROUND
        )
        if self.state == STARTUP:
            self._startup(sample, rounded)
        elif self.state == COMPETE:
            self._compete(sample)
        else:
            self._steer(sample, rounded)
        if rounded:
            self._turn += 1
            self._shared = self._crowded
            self._rates.pass_on(self._turn, QUEUED_ROUNDS if self._shared else RATE_ROUNDS)
            self._mark = sample.delivered
            self._round_began = sample.now
            self._round_least = inf
            if self._judged:
                self._round_acked = self._round_lost = 0
        if sample.now >= self._span_end:
            self._rotate(sample)
        self._set_window(sample)

    # --- measuring

    def _first_flight(self, sample: AckSample) -> None:
        """In the first flight nothing came before to measure a rate from, but its trains spread while they travel.

        Without this a long path would have to wait a round trip more for the first idea of its rate.
        """
        if sample.rtt is None or sample.owd is None:
            return
        sent = sample.now - sample.rtt
        if self._first is None:
            self._first = sample.delivered, sent, sent + sample.owd
            return
        delivered, then, arrived = self._first
        elapsed = max(sent - then, sent + sample.owd - arrived)
        if elapsed > FIRST_SECONDS:
            sample.rate = (sample.delivered - delivered) / elapsed

    def _measure(self, sample: AckSample) -> None:
        if not sample.prior_delivered and self.state == STARTUP:
            self._first_flight(sample)
        self._srtt = max(sample.srtt, 1e-4)
        self._burst = sample.burst
        if sample.rtt is not None:
            self._rtts.add(sample.rtt)
        if sample.rate is not None and (not sample.limited or sample.rate > self._rates.value):
            self._rates.add(sample.rate, self._turn)
        if sample.owd is None:
            return
        self._owds.add(sample.owd)
        queue = self._queue = sample.owd - self._owds.value
        self._round_least = min(self._round_least, queue)
        self._span_least = min(self._span_least, queue)
        recent = self._recent
        recent[:3] = recent[1:]
        recent[3] = queue
        self._largest = max(self._largest, min(recent))
        then, self._last_ack = self._last_ack, sample.now
        if then is None or self.state in (STARTUP, COMPETE, PROBE):
            self._hold = 0.0
            return
        passed = min(sample.now - then, self._srtt / 4)
        # A flow that was pushed aside would take longer and longer queues for its own: so by the rate that it had.
        own = self._own_queue_at(max(self._best.value, self._rates.value)) + HOLD_EXTRA
        if queue >= max(min(0.35 * self._rtts.value + 0.004, 0.012), min(own, 0.030)):
            if not self._hold:
                self._hold_rate = self._rates.value
            self._hold += passed
        else:
            self._hold = max(self._hold - passed, 0.0)

    @property
    def _product(self) -> float:
        """Bytes that the path holds: the bandwidth-delay product."""
        return self._rates.value * min(self._rtts.value, 10.0) / (1 - self._random_loss)

    @property
    def _slack(self) -> float:
        return self._slack_at(self._rates.value)

    def _slack_at(self, rate: float) -> float:
        slack = max(SLACK_DATAGRAMS * self._datagram, SLACK * rate)
        if self.state != STARTUP and not self._stands:
            slack = max(slack, min(self._burst, MOST_BURST) * rate)
        return slack

    @property
    def _own_queue(self) -> float:
        """Seconds of queue that we may make ourselves when we cruise."""
        return self._own_queue_at(self._rates.value)

    def _own_queue_at(self, rate: float) -> float:
        if not rate:
            return 0.0
        own = min(0.15 * self._rtts.value, 0.005) + self._slack_at(rate) / rate
        return max(min(own, self._ceiling), 2 * self._datagram / rate)

    @property
    def _stands(self) -> bool:
        """Whether a queue stands: it did not empty in this round so far."""
        return inf > self._round_least > max(0.004 + self._rtts.value / 8, self._largest / 2)

    @property
    def _crowded(self) -> bool:
        """Whether more was queued throughout this round than we would have caused alone."""
        return self.state != COMPETE and inf > self._round_least > self._own_queue + 0.001

    @property
    def _judged(self) -> bool:
        """Whether enough left in this round, and those before it that were too short, to say what part was lost."""
        return self._round_acked + self._round_lost >= LOSS_DATAGRAMS * self._datagram

    @property
    def _loss(self) -> float:
        """The part of this round that was lost; 0 while too little left to tell."""
        return self._round_lost / (self._round_acked + self._round_lost) if self._judged else 0.0

    @property
    def _congested(self) -> bool:
        loss = self._loss
        return loss > HEAVY_LOSS or (self._stands and loss > 2 * self._random_loss + 0.01)

    # --- the states

    def _enter(self, state: str, sample: AckSample) -> None:
        self.state = state
        self._gain = GAIN.get(state, 1.0)
        self._entered = sample.now
        self._entered_turn = self._turn

    def _startup(self, sample: AckSample, rounded: bool) -> None:
        limit = min(max(self._rtts.value / 8, 0.004), 0.016)
        self._queued = self._queued + 1 if self._queue > limit else 0
        loss = self._loss
        over = self._queued >= START_QUEUED or loss > HEAVY_LOSS or (loss > 0.05 and self._stands)
        if rounded and not sample.limited:
            if self._rates.value >= START_GROWTH * self._full:
                self._full = self._rates.value
                self._flat = 0
            else:
                self._flat += 1
                over = over or self._flat >= START_FLAT
        if over and self._rates.value:
            self._start_turn = self._turn
            self._start_flight = sample.in_flight
            self._episode.begin(sample)
            self._round_acked = self._round_lost = 0
            self._enter(DRAIN, sample)

    def _steer(self, sample: AckSample, rounded: bool) -> None:
        state, product = self.state, self._product
        if rounded and state not in (DRAIN, PROBE) and self._congested:
            if self._ceiling > 0.65 * self._largest:
                # Perhaps it is only that the queue is short, and ours.
                self._ceiling = self._largest / 2
                self._episode.begin(sample)
                self._enter(DRAIN, sample)
                return
            self._begin_competing(sample, float(sample.in_flight)).cut()
            self._episode.begin(sample)
            return
        squeezed = self._hold > 0 and self._rates.value < SQUEEZED * self._hold_rate
        if (squeezed or self._hold > HOLD * self._srtt) and state != PROBE:
            rate = max(min(self._hold_rate, 1.5 * self._rates.value), self._rates.value)
            if squeezed:
                rate = 0.7 * self._hold_rate
            window = rate * self._srtt
            if self._turn - self._start_turn <= 10:
                window = max(window, 0.7 * self._start_flight)
            self._begin_competing(sample, window)
            return
        if state == DRAIN:
            if sample.in_flight <= product + self._slack / 2:
                self._enter(CRUISE, sample)
        elif state == CRUISE:
            if rounded:
                self._cruise(sample)
        elif state == UP:
            self._look_for_more(sample, rounded)
        elif state == DOWN:
            if rounded and self._found_more:
                self._look(sample, min(self._probed_gain * 1.5, GAIN[STARTUP]))
            elif sample.in_flight <= product or sample.now > self._entered + 3 * self._srtt:
                self._enter(CRUISE, sample)
        else:
            self._probe(sample)

    def _cruise(self, sample: AckSample) -> None:
        if self._judged and not self._stands:
            self._random_loss += (min(self._loss, MOST_LOSS) - self._random_loss) / 8
        if self._found_more:
            self._look(sample, min(self._probed_gain * 1.5, GAIN[STARTUP]))
        # Five to seven rounds, as the clock has it, so that flows do not keep in step.
        elif self._turn - self._entered_turn >= 5 + int(sample.now * 1e4) % 3:
            self._look(sample, GAIN[UP])

    def _probe(self, sample: AckSample) -> None:
        if self._probe_mark is None:
            if sample.in_flight <= self.window or sample.now > self._entered + 3 * self._srtt:
                self._probe_mark = sample.delivered
                self._probe_least = inf
            return
        self._probe_least = min(self._probe_least, self._queue)
        if sample.prior_delivered < self._probe_mark:
            return
        self._probe_mark = None
        if self._curve is not None and self._probe_least > min(0.25 * self._rtts.value, 0.010) + 0.002:
            self._enter(COMPETE, sample)
        else:
            self._curve = None
            self._enter(CRUISE, sample)

    def _look_for_more(self, sample: AckSample, rounded: bool) -> None:
        lasted = sample.now - self._entered
        if (
            (lasted > self._rtts.value and sample.in_flight >= 1.2 * self._product)
            or lasted > 2 * max(self._rtts.value, SHORTEST_ROUND)
            or (rounded and self._loss > 2 * self._random_loss + 0.02)
        ):
            self._episode.begin(sample)
            self._enter(DOWN, sample)

    @property
    def _found_more(self) -> bool:
        """Whether the last look for more found so much that another one is worth while at once."""
        return self._rates.value > 1.1 * self._probed_rate and self._queue < 0.004 + self._rtts.value / 8

    def _look(self, sample: AckSample, gain: float) -> None:
        self._enter(UP, sample)
        self._gain = self._probed_gain = gain
        self._probed_rate = self._rates.value

    def _begin_competing(self, sample: AckSample, window: float) -> CubicCurve:
        self._curve = CubicCurve(self._datagram, max(window, 4.0 * self._datagram))
        self._hold = 0.0
        self._probed_rate = inf
        self._episode.clear()
        self._enter(COMPETE, sample)
        return self._curve

    def _compete(self, sample: AckSample) -> None:
        curve = self._curve
        assert curve is not None
        full = self._queue >= 0.7 * self._largest or self._loss > HEAVY_LOSS
        if sample.lost and full and not self._episode.forgives(sample):
            self._episode.begin(sample)
            curve.cut()
        elif not self._episode.covers(sample) and not sample.limited:
            curve.grow(sample.acked, sample.srtt, sample.now)

    def _rotate(self, sample: AckSample) -> None:
        self._span_end = next_span(sample.now)
        emptied = self._span_least <= 0.004 + self._rtts.value / 8
        self._span_least = inf
        self._owds.rotate()
        self._rtts.rotate()
        self._best.add(self._rates.value, int(self._span_end // SPAN))
        self._largest *= 0.8
        self._ceiling *= 1.25
        if self.state == COMPETE or (self.state in (CRUISE, UP, DOWN) and not emptied):
            self._enter(PROBE, sample)

    def _set_window(self, sample: AckSample) -> None:
        if self.state == COMPETE:
            assert self._curve is not None
            window = self._curve.window
        elif self.state == STARTUP:
            first = self._start_window + min(sample.delivered, 2 * self._start_window)
            product = self._product
            ahead = min(product, START_AHEAD * self._rates.value)
            window = max(product + ahead + self._slack, float(first))
        elif self.state == PROBE:
            window = 0.5 * self._product
        else:
            product = self._product
            extra = self._own_queue * self._rates.value
            if self.state in (DRAIN, DOWN):
                extra = min(extra, self._slack)
            if self.state == UP:
                extra = min(
                    extra + (self._gain - 1) * product, max(2 * self._ceiling * self._rates.value, extra)
                )
            window = product + extra
        self.window = max(int(window), 4 * self._datagram)
