"""How large a datagram the path takes: Datagram PLPMTUD (RFC 8899).

It begins with the size that every path takes, and searches upwards through a list of sizes that paths have.  A probe is
a datagram of nothing that matters; its loss says nothing of congestion.  When only small datagrams get through any more
(a black hole, §4.3), it begins again from the smallest.
"""

from __future__ import annotations

from pychat.transfer.packet import DATAGRAM_BYTES

#: UDP payload bytes: Ethernet under IPv6 and IPv4, jumbo frames, loopback.
SIZES = (DATAGRAM_BYTES, 1452, 1472, 8952, 16000, 32000, 65487)
#: How often a probe of a size is lost before the search ends below it (RFC 8899 §5.1.2).
MAX_PROBES = 3
#: Seconds after which a search that has ended begins again (RFC 8899 §5.1.1: PMTU_RAISE_TIMER).
RAISE_SECONDS = 600.0
#: Probe timeouts without an acknowledgement of a large datagram after which small ones are tried ...
SMALL_PROBES = 2
#: ... and after which, if those arrive and the large ones do not, the path is taken for a black hole.
BLACK_HOLE_PROBES = 3
#: Seconds of a path's rate that one probe may take.
PROBE_SECONDS = 0.05


class PathSize:
    """The size of datagrams on one path.

    :param now: seconds.
    :param size: UDP payload bytes that the path is known to take.
    :param limit: bytes never to go beyond.
    :ivar size: UDP payload bytes of a full datagram.
    """

    def __init__(self, now: float, *, size: int = DATAGRAM_BYTES, limit: int = SIZES[-1]) -> None:
        self.size = min(size, limit)
        self._limit = min(limit, SIZES[-1])
        self._lost = 0
        self._number: int | None = None
        self._probed = 0
        self._next_at = now
        self._timeouts = 0

    @property
    def probing(self) -> int | None:
        """The packet number of the probe that is under way."""
        return self._number

    def wanted(self) -> int | None:
        """The size to probe next, or None when there is nothing to find out."""
        if self.size >= self._limit:
            return None
        return min(next(size for size in SIZES if size > self.size), self._limit)

    def due(self, now: float, rate: float | None) -> int | None:
        """The size to probe now, or None.

        :param rate: bytes per second that the path carries, if that is known.
        """
        if now < self._next_at:
            return None
        if self._number is not None:
            self._number = None
            self._failed(now)
            if now < self._next_at:
                return None
        size = self.wanted()
        if size is None:
            self._stop(now)
            return None
        if size > SIZES[2] and rate is not None and size > rate * PROBE_SECONDS:
            self._next_at = now + 1.0
            return None
        return size

    def probed(self, number: int, size: int, now: float, patience: float) -> None:
        """A probe of `size` has left as packet `number`, lost if it is not acknowledged in `patience` seconds."""
        self._number = number
        self._probed = size
        self._next_at = now + patience

    def deadline(self) -> float:
        """When `due` is to be asked."""
        return self._next_at

    def arrived(self, ranges: tuple[tuple[int, int], ...], now: float) -> bool:
        """An acknowledgement came.

        :return: whether it was of the probe; then `size` is larger.
        """
        number = self._number
        if number is None or not any(start <= number < end for start, end in ranges):
            return False
        self._number = None
        self._lost = 0
        self.size = max(self.size, self._probed)
        self._next_at = now
        return True

    def _failed(self, now: float) -> None:
        self._lost += 1
        if self._lost >= MAX_PROBES:
            self._stop(now)

    def _stop(self, now: float) -> None:
        """The search has ended: nothing larger gets through, for now."""
        self._lost = 0
        self._next_at = now + RAISE_SECONDS

    def too_big(self, size: int, now: float) -> bool:
        """The system refused to send a datagram of `size` bytes.

        :return: whether `size` of this path is another one now.
        """
        if size <= DATAGRAM_BYTES:
            return False
        smaller = self.size >= size
        if smaller:
            self.size = max(known for known in SIZES if known < size)
        self._number = None
        self._stop(now)
        return smaller

    # The black hole ------------------------------------------------------------------------------------------

    def timed_out(self) -> int:
        """A probe timeout has passed.

        :return: the size of the datagrams with which to find out whether anything gets through.
        """
        self._timeouts += 1
        return DATAGRAM_BYTES if self._timeouts >= SMALL_PROBES else self.size

    def acked(self, wire: int, now: float) -> bool:
        """Datagrams arrived, the largest of them of `wire` bytes.

        :return: whether the path turns out to be a black hole; then `size` is the smallest.
        """
        if wire > DATAGRAM_BYTES or self.size <= DATAGRAM_BYTES:
            self._timeouts = 0
            return False
        if self._timeouts < BLACK_HOLE_PROBES:
            return False
        self._timeouts = 0
        self.size = DATAGRAM_BYTES
        self._lost = 0
        self._number = None
        self._next_at = now
        return True

    def reset(self, now: float) -> None:
        """The path is another one."""
        self.size = min(DATAGRAM_BYTES, self._limit)
        self._lost = self._timeouts = 0
        self._number = None
        self._next_at = now
