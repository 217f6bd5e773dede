"""How much of a file may have come by now, for a receiver that holds its sender to a pace."""

from __future__ import annotations

from math import inf

#: Seconds' worth that may be saved up by a sender that does not use its pace, beside two round trips' worth.
SAVED_SECONDS = 0.25
#: Seconds for which a sender waits at most to make up for what it may send unasked.
DEBT_SECONDS = 20.0
#: The sender hears of so many seconds' worth, or of so many bytes.
STEP_SECONDS, STEP_BYTES = 0.025, 16 * 1024
#: The next look at it comes no sooner than so many seconds after one.
LEAST_SECONDS = 0.001


class Allowance:
    """Grows with time.  All counts are of bytes that were missing when the transfer began.

    :param rate: bytes a second; infinity for no limit.
    :param unasked: what the sender may send before it is told anything.
    :param now: seconds.
    """

    __slots__ = ("_at", "_bytes")

    def __init__(self, rate: float, unasked: int, now: float) -> None:
        self._bytes = 0.0 if rate == inf else max(unasked - DEBT_SECONDS * rate, 0.0)
        self._at = now

    def begin(self, now: float) -> None:
        """The sender is there: only from now on it counts."""
        self._at = now

    def grow(self, count: int) -> None:
        """So many bytes, that had counted as there, are missing after all; they come without being asked for."""
        self._bytes += count

    def upto(self, rate: float, came: int, rtt: float, now: float) -> float:
        """How many bytes may have been sent by now.

        :param rate: bytes a second since the last call.
        :param came: bytes that have come.
        :param rtt: seconds of a round trip.
        """
        passed = max(now - self._at, 0.0)
        self._at = now
        if rate == inf:
            self._bytes = max(self._bytes, came)
            return inf
        self._bytes = max(self._bytes, min(self._bytes + rate * passed, most(rate, came, rtt)))
        return self._bytes

    def when(self, rate: float, count: float) -> float:
        """The time at which so many bytes may have been sent."""
        return self._at + max((count - self._bytes) / rate, LEAST_SECONDS)


def step(rate: float) -> float:
    """Bytes that are worth telling the sender of."""
    return max(rate * STEP_SECONDS, STEP_BYTES)


def most(rate: float, came: int, rtt: float) -> float:
    """How many bytes may have been allowed when so many have come: what is not used is not saved up for ever."""
    return came + rate * (SAVED_SECONDS + 2 * rtt) + step(rate)
