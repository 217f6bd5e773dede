"""CUBIC (RFC 9438), which starts by HyStart++ (RFC 9406): what TCP does on most machines.

Windows are kept in bytes; RFC 9438 counts segments, and a segment here is a datagram.
"""

from __future__ import annotations

from math import inf

from pychat.transfer.congestion.base import INITIAL_DATAGRAMS, INITIAL_RTT, AckSample, CongestionControl
from pychat.transfer.congestion.newreno import Episode

#: How fast the window grows back, datagrams per second cubed (RFC 9438 §5).
CUBIC_C = 0.4
#: What a loss leaves of the window (RFC 9438 §4.6).
CUBIC_BETA = 0.7

#: RFC 9406 §4.3, seconds: between these two a rise of the round trip by an eighth ends the doubling.
MIN_RTT_THRESH = 0.004
MAX_RTT_THRESH = 0.016
MIN_RTT_DIVISOR = 8
#: Samples of a round before it is judged.
N_RTT_SAMPLE = 8
#: What is left of the growth in conservative slow start, and for how many rounds.
CSS_GROWTH_DIVISOR = 4
CSS_ROUNDS = 5


class CubicCurve:
    """The window that CUBIC would have, as a function of time (RFC 9438 §4.2 to §4.7).

    :ivar window: bytes.
    """

    __slots__ = ("_epoch", "_estimate", "_k", "_maximum", "_origin", "datagram", "window")

    def __init__(self, datagram: int, window: float) -> None:
        self.datagram = datagram
        self.window = window
        self._maximum = 0.0
        self._epoch: float | None = None
        self._origin = 0.0
        self._k = 0.0
        self._estimate = 0.0

    def cut(self) -> None:
        """There was congestion: 0.7 of the window stays (§4.6), with fast convergence (§4.7)."""
        if self.window < self._maximum:
            self._maximum = self.window * (1 + CUBIC_BETA) / 2
        else:
            self._maximum = self.window
        self.window = max(self.window * CUBIC_BETA, 2 * self.datagram)
        self._epoch = None

    def grow(self, acked: int, srtt: float, now: float) -> None:
        """So many bytes arrived, and the window was what held the sender back."""
        if self._epoch is None:
            self._epoch = now
            self._estimate = self.window
            self._origin = max(self._maximum, self.window)
            self._k = ((self._origin - self.window) / self.datagram / CUBIC_C) ** (1 / 3)
        # §4.2: where the curve will be a round trip from now, but never more than half as much again.
        offset = now - self._epoch + srtt - self._k
        target = self._origin + CUBIC_C * offset**3 * self.datagram
        target = min(max(target, self.window), 1.5 * self.window)
        # §4.3: never less than what Reno would have.  Above the old maximum it grows by a datagram a round trip.
        alpha = 1.0 if self._estimate >= self._origin else 3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA)
        self._estimate += alpha * self.datagram * acked / self.window
        self.window += (target - self.window) * acked / self.window
        self.window = max(self.window, self._estimate)

    def pause(self) -> None:
        """The window was not what held the sender back: time that passes meanwhile is no reason to grow (§4.8)."""
        self._epoch = None


class HyStart:
    """When slow start is to end, told by the round trip before anything is lost (RFC 9406)."""

    __slots__ = ("_baseline", "_css_rounds", "_current", "_last", "_mark", "_samples")

    def __init__(self) -> None:
        self._mark = 0
        self._last = inf
        self._current = inf
        self._samples = 0
        self._baseline: float | None = None
        self._css_rounds = 0

    @property
    def conservative(self) -> bool:
        """Whether the window is to grow at a quarter of the speed, until it is clear that the path is full."""
        return self._baseline is not None

    def acked(self, sample: AckSample) -> bool:
        """Take one sample.

        :return: whether slow start is over.
        """
        if sample.prior_delivered >= self._mark:
            self._mark = sample.delivered
            self._last, self._current, self._samples = self._current, inf, 0
            if self._baseline is not None:
                self._css_rounds += 1
                if self._css_rounds > CSS_ROUNDS:
                    return True
        if sample.rtt is None:
            return False
        self._current = min(self._current, sample.rtt)
        self._samples += 1
        if self._samples >= N_RTT_SAMPLE:
            if self._baseline is not None:
                if self._current < self._baseline:
                    # It was a passing rise.
                    self._baseline = None
            elif self._last < inf:
                threshold = min(max(self._last / MIN_RTT_DIVISOR, MIN_RTT_THRESH), MAX_RTT_THRESH)
                if self._current >= self._last + threshold:
                    self._baseline = self._current
                    self._css_rounds = 0
        return False


class Cubic(CongestionControl):
    """Grows as a cubic function of the time since the last loss."""

    name = "cubic"

    def __init__(self, datagram: int) -> None:
        super().__init__(datagram)
        self._begin()

    def _begin(self) -> None:
        self.window = INITIAL_DATAGRAMS * self._datagram
        self._curve = CubicCurve(self._datagram, float(self.window))
        self._threshold = inf
        self._hystart = HyStart()
        self._episode = Episode()
        self._srtt = INITIAL_RTT

    @property
    def starting(self) -> bool:
        return self._curve.window < self._threshold

    @property
    def pacing_rate(self) -> float:
        return (2.0 if self.starting else 1.25) * self.window / self._srtt

    def _resized(self) -> None:
        self._curve.datagram = self._datagram
        self._curve.window = max(self._curve.window, 2.0 * self._datagram)
        self.window = int(self._curve.window)

    def acked(self, sample: AckSample) -> None:
        curve = self._curve
        self._srtt = sample.srtt
        if sample.lost and not self._episode.forgives(sample):
            self._episode.begin(sample)
            curve.cut()
            self._threshold = curve.window
        elif self._episode.covers(sample):
            pass
        elif sample.limited:
            curve.pause()
        elif self.starting:
            self._start(sample)
        else:
            curve.grow(sample.acked, sample.srtt, sample.now)
        self.window = int(curve.window)

    def _start(self, sample: AckSample) -> None:
        # Only the first slow start is by HyStart++ (RFC 9406 §4.3); after that the threshold is known.
        growth = sample.acked
        if self._threshold == inf:
            if self._hystart.acked(sample):
                self._threshold = self._curve.window
                return
            if self._hystart.conservative:
                growth //= CSS_GROWTH_DIVISOR
        self._curve.window += growth

    def timed_out(self, now: float) -> None:
        self._curve.cut()
        self._threshold = self._curve.window
        self._curve.window = 2.0 * self._datagram
        self.window = 2 * self._datagram
        self._episode.clear()

    def reset(self, now: float, datagram: int) -> None:
        self._datagram = datagram
        self._begin()

    def remember(self, rate: float, rtt: float) -> None:
        self._curve.window = max(self._curve.window, rate * rtt / 2)
        self.window = int(self._curve.window)
        self._srtt = rtt
