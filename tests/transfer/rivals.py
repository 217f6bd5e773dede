"""Rivals for the simulator: BBR v1, simply (draft-cardwell-iccrg-bbr-congestion-control-00)."""

from __future__ import annotations

from math import inf

from pychat.transfer.congestion import AckSample, CongestionControl
from pychat.transfer.congestion.filters import RecentMaximum

CYCLE = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


class SimpleBbr(CongestionControl):
    """Startup, drain, an eight-phase cycle, and four packets for 200 ms when the minimum is ten seconds old."""

    name = "bbr"

    def __init__(self, datagram: int) -> None:
        super().__init__(datagram)
        self.window = 10 * datagram
        self._rates = RecentMaximum(10)
        self._rtt = inf
        self._rtt_seen = 0.0
        self._mark = self._turn = 0
        self._mode = "startup"
        self._full, self._flat = 0.0, 0
        self._phase, self._phase_began = 2, 0.0
        self._probing_until: float | None = None

    @property
    def starting(self) -> bool:
        return self._mode == "startup"

    @property
    def _gain(self) -> float:
        if self._mode == "cycle":
            return CYCLE[self._phase]
        return {"startup": 2.885, "drain": 1 / 2.885, "probe": 1.0}[self._mode]

    @property
    def pacing_rate(self) -> float:
        return max(self._gain * self._rates.value, 10 * self._datagram / min(self._rtt, 0.1))

    def acked(self, sample: AckSample) -> None:
        now = sample.now
        rounded = bool(sample.acked) and sample.prior_delivered >= self._mark
        if rounded:
            self._turn += 1
            self._mark = sample.delivered
        if sample.rate is not None and (not sample.limited or sample.rate > self._rates.value):
            self._rates.add(sample.rate, self._turn)
        expired = now > self._rtt_seen + 10
        if sample.rtt is not None and (sample.rtt <= self._rtt or expired):
            self._rtt, self._rtt_seen = sample.rtt, now
        product = self._rates.value * min(self._rtt, 10.0)
        if self._mode == "startup" and rounded:
            if self._rates.value >= 1.25 * self._full:
                self._full, self._flat = self._rates.value, 0
            else:
                self._flat += 1
                if self._flat >= 3:
                    self._mode = "drain"
        if self._mode == "drain" and sample.in_flight <= product:
            self._mode, self._phase, self._phase_began = "cycle", 2 + int(now * 1e4) % 6, now
        if self._mode == "cycle":
            lasted = now - self._phase_began
            done = lasted > self._rtt
            if self._gain > 1:
                done = done and (sample.lost > 0 or sample.in_flight >= 1.25 * product)
            elif self._gain < 1:
                done = done or sample.in_flight <= product
            if done:
                self._phase, self._phase_began = (self._phase + 1) % 8, now
        if expired and self._mode == "cycle":
            self._mode, self._probing_until = "probe", None
        self.window = max(int(2 * product), 10 * self._datagram if self.starting else 4 * self._datagram)
        if self.starting:
            self.window = max(self.window, 10 * self._datagram + sample.delivered)
        if self._mode == "probe":
            self.window = 4 * self._datagram
            if self._probing_until is None and sample.in_flight <= self.window:
                self._probing_until = now + max(0.2, sample.rtt or 0)
            if self._probing_until is not None and now > self._probing_until:
                self._mode, self._rtt_seen, self._phase_began = "cycle", now, now

    def timed_out(self, now: float) -> None:
        self.window = 4 * self._datagram

    def reset(self, now: float, datagram: int) -> None:
        raise NotImplementedError

    def remember(self, rate: float, rtt: float) -> None:
        raise NotImplementedError
