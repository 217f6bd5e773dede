"""NewReno as RFC 9002 §7 has it: the simplest controller there is, kept to be read."""

from __future__ import annotations

from math import inf

from pychat.transfer.congestion.base import INITIAL_DATAGRAMS, INITIAL_RTT, AckSample, CongestionControl


class Episode:
    """One loss episode: all the losses of what was sent before a cut belong to that cut (RFC 9002 §7.3.2).

    It ends when something arrives that was sent after the cut.  What was lost shortly before the cut is found only in
    the light of what was sent shortly after it, so for another quarter of a round trip losses still belong to it.
    """

    __slots__ = ("_grace", "_mark")

    def __init__(self) -> None:
        self._mark = -1
        self._grace = -inf

    def covers(self, sample: AckSample) -> bool:
        """Whether what this sample tells belongs to the last cut."""
        if self._mark >= 0 and sample.acked and sample.prior_delivered >= self._mark:
            self._mark = -1
            self._grace = sample.now + sample.srtt / 4
        return self._mark >= 0

    def forgives(self, sample: AckSample) -> bool:
        """Whether the losses of this sample were answered by the last cut."""
        return self.covers(sample) or sample.now < self._grace

    def begin(self, sample: AckSample) -> None:
        """There was a cut."""
        self._mark = sample.delivered

    def clear(self) -> None:
        """Forget it."""
        self._mark = -1
        self._grace = -inf


class NewReno(CongestionControl):
    """Slow start, one halving a round trip that lost, a datagram more a round trip without loss."""

    name = "newreno"

    def __init__(self, datagram: int) -> None:
        super().__init__(datagram)
        self._begin()

    def _begin(self) -> None:
        self.window = INITIAL_DATAGRAMS * self._datagram
        self._threshold = inf
        self._episode = Episode()
        self._credit = 0
        self._srtt = INITIAL_RTT

    @property
    def starting(self) -> bool:
        """Whether the window still doubles in a round trip (§7.3.1)."""
        return self.window < self._threshold

    @property
    def pacing_rate(self) -> float:
        # §7.7 suggests 1.25; slow start doubles in a round trip, so it needs 2.
        return (2.0 if self.starting else 1.25) * self.window / self._srtt

    def _resized(self) -> None:
        self.window = max(self.window, 2 * self._datagram)

    def acked(self, sample: AckSample) -> None:
        self._srtt = sample.srtt
        if sample.lost and not self._episode.forgives(sample):
            self._episode.begin(sample)
            self.window = max(self.window // 2, 2 * self._datagram)
            self._threshold = self.window
            self._credit = 0
        elif self._episode.covers(sample) or sample.limited:
            # §7.3.2, §7.8: neither in recovery nor when the window was not what held the sender back.
            pass
        elif self.starting:
            self.window += sample.acked
        else:
            # §7.3.3: a datagram more for each window that was acknowledged.
            self._credit += sample.acked
            if self._credit >= self.window:
                self._credit -= self.window
                self.window += self._datagram

    def timed_out(self, now: float) -> None:
        self._threshold = max(self.window // 2, 2 * self._datagram)
        self.window = 2 * self._datagram
        self._episode.clear()

    def reset(self, now: float, datagram: int) -> None:
        self._datagram = datagram
        self._begin()

    def remember(self, rate: float, rtt: float) -> None:
        self.window = max(self.window, int(rate * rtt / 2))
        self._srtt = rtt
