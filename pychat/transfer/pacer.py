"""A bucket of bytes that fills with time (RFC 9002 §7.7).

What cannot be sent in time is caught up with, up to the size of the bucket: a process that was woken late loses nothing
unless it was very late.  Time in which something else than the pace held the sender back is not: what gathers while the
window is full would leave as a clump, which makes a queue, which delays the acknowledgements that the window waits for,
so that more gathers the next time.  The bucket begins with ten datagrams, so a transfer starts with one train of ten
and is paced from then on.
"""

from __future__ import annotations

#: Datagrams that may always leave at once, however slow the pace.
BURST_DATAGRAMS = 10
#: Seconds' worth of bytes that a late wake-up may catch up with while the rate of the path is looked for ...
STARTING_SECONDS = 0.008
#: ... and after that.
BURST_SECONDS = 0.020
#: Seconds' worth of bytes for which a paced sender sleeps: fewer wake-ups, each with more to do ...
PACING_SECONDS = 0.002
#: ... unless that is more than so many bytes: then a wake-up costs little beside them, and is for fewer seconds' worth,
#: at most for so many bytes, or for ten datagrams.
SHORT_BYTES = 30_000
FAST_SECONDS, FAST_BYTES = 0.001, 65_487


class Pacer:
    """The bucket.

    :param datagram: bytes of a full datagram.
    :param now: seconds.
    :ivar datagram: the same; may be set when the path takes another size.
    :ivar tokens: bytes that may leave now; whoever sends takes them off.  Below zero after a train that was larger.
    """

    __slots__ = ("_due", "_rate", "_then", "datagram", "tokens")

    def __init__(self, datagram: int, now: float) -> None:
        self.datagram = datagram
        self.tokens = float(BURST_DATAGRAMS * datagram)
        self._rate = 1.0
        self._then = now
        self._due = False

    def refill(self, rate: float, now: float, *, starting: bool) -> bool:
        """Let the time since the last call count.

        :param rate: bytes per second, above 0.
        :param starting: whether the rate of the path is still looked for: the bucket is smaller then.
        :return: whether somebody waited for tokens and came so late that some were lost.  What leaves now then says
            nothing of how fast the path is: its samples are application-limited.
        """
        burst = BURST_DATAGRAMS * self.datagram
        depth = max(burst, rate * (STARTING_SECONDS if starting else BURST_SECONDS))
        filled = self.tokens + (now - self._then) * rate
        starved = self._due and filled > depth
        self.tokens = min(filled, depth)
        self._rate = rate
        self._then = now
        self._due = False
        return starved

    def spill(self) -> None:
        """The window was full: keep what may always leave at once, and no more."""
        self.tokens = min(self.tokens, BURST_DATAGRAMS * self.datagram)

    @property
    def step(self) -> float:
        """Bytes for which it is worth being woken: 2 ms' worth, and 1 ms' worth at a high rate."""
        fast = min(self._rate * FAST_SECONDS, max(FAST_BYTES, BURST_DATAGRAMS * self.datagram))
        return max(fast, min(self._rate * PACING_SECONDS, SHORT_BYTES))

    @property
    def least(self) -> float:
        """Bytes for which a train is worth its call: what an acknowledgement finds may be less, and waits for more."""
        return max(self.datagram, min(self.step, SHORT_BYTES, BURST_DATAGRAMS * self.datagram) / 2)

    def deadline(self, size: int) -> float:
        """When `size` bytes, and at least those that are worth a wake-up, may leave.

        To be asked only by who has something to send and is held back by nothing but the pace.
        """
        self._due = True
        need = max(size, self.step)
        # A little late, for with a rounding error's worth too few bytes it would be due at once for ever.
        return self._then + max(need - self.tokens, 0.0) / self._rate + 1e-6
