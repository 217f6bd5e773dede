"""The round-trip time of a transfer, estimated as RFC 9002 §5 says, and the timeouts that follow from it."""

from __future__ import annotations

#: Seconds; RFC 9002 §6.1.2
GRANULARITY = 0.001
#: Seconds that every round trip takes, also by a clock too coarse to show it.
TICK = 1e-6
#: Seconds; RFC 9002 §6.2.2
INITIAL_RTT = 0.333
#: Seconds for which the other end may hold an acknowledgement back (RFC 9000 §13.2.1).
MAX_ACK_DELAY = 0.025
#: Seconds beyond which the back-off of a timeout does not grow, if two probe timeouts are not more: so the end of an
#: outage is noticed soon.
MAX_PROBE_GAP = 0.3


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

    def backed_off(self, times: int) -> float:
        """The probe timeout after it has passed `times` times in a row: doubled each time (§6.2.1), up to a bound."""
        timeout = self.probe_timeout
        return min(timeout * float(2 ** min(times, 8)), max(MAX_PROBE_GAP, 2 * timeout))
