"""What every congestion controller is told and what it answers.

A controller knows nothing of packets, timers or sockets.  `Recovery` tells it what was acknowledged and what was lost
as one `AckSample`; it says how much may be in flight (`window`) and how fast to pace (`pacing_rate`).  A new one is a
subclass of `CongestionControl` and a line in `CONTROLLERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

#: Datagrams in flight at the start (RFC 9002 §7.2 says 10).
INITIAL_DATAGRAMS = 10
#: Seconds that a round trip is taken for before there is a sample (RFC 9002 §6.2.2).
INITIAL_RTT = 0.333


@dataclass(slots=True)
class AckSample:
    """What one acknowledgement, or one firing of the loss timer, says.

    :ivar now: seconds.
    :ivar acked: bytes newly acknowledged; 0 if the loss timer fired.
    :ivar lost: bytes newly declared lost.
    :ivar in_flight: bytes in flight after both.
    :ivar rtt: seconds of round trip, the receiver's delay removed; None without a new sample.
    :ivar owd: seconds, the receiver's clock minus the send time of the newest acknowledged packet.  The clocks have
        nothing in common: compare only with its own minimum.  None without a new sample.
    :ivar rate: bytes per second that arrived during the flight of the newest acknowledged train, by the receiver's
        clock; None if it cannot be told.
    :ivar limited: the sample says less than the path could carry: too little to send, the peer's limit, or a wake-up
        so late that the pacer lost tokens.
    :ivar delivered: bytes acknowledged so far, in all.
    :ivar prior_delivered: what `delivered` was when the newest acknowledged packet was sent.  A round ends when this
        passes what `delivered` was at its beginning.
    :ivar srtt: smoothed round trip, seconds.
    :ivar burst: seconds between acknowledgements that come in bursts, as measured; 0 when they come evenly.
    """

    now: float
    acked: int
    lost: int
    in_flight: int
    rtt: float | None
    owd: float | None
    rate: float | None
    limited: bool
    delivered: int
    prior_delivered: int
    srtt: float
    burst: float = 0.0


class CongestionControl(ABC):
    """How much may be in flight, and how fast it may leave.

    :param datagram: bytes of a full datagram.
    :ivar name: what the operator calls it.
    :ivar window: bytes that may be in flight.
    """

    name: str
    window: int

    def __init__(self, datagram: int) -> None:
        self._datagram = datagram

    @property
    @abstractmethod
    def pacing_rate(self) -> float:
        """Bytes per second at which to send (RFC 9002 §7.7)."""

    @property
    @abstractmethod
    def starting(self) -> bool:
        """Whether the rate of the path is still looked for: the pacer's bucket is smaller then."""

    @property
    def phase(self) -> str:
        """What it is doing, one lower-case word, for whoever looks."""
        return "startup" if self.starting else "avoidance"

    @property
    def datagram(self) -> int:
        """Bytes of a full datagram."""
        return self._datagram

    @datagram.setter
    def datagram(self, nbytes: int) -> None:
        self._datagram = nbytes
        self._resized()

    def _resized(self) -> None:  # noqa: B027
        """The path takes another size of datagram: have the window respect the new minimum."""

    def sent(self, nbytes: int, in_flight: int, now: float) -> None:  # noqa: B027
        """Something left.

        :param nbytes: UDP payload bytes of it.
        :param in_flight: bytes in flight after it.
        """

    @abstractmethod
    def acked(self, sample: AckSample) -> None:
        """Something arrived, or was lost, or both."""

    @abstractmethod
    def timed_out(self, now: float) -> None:
        """Nothing arrived for so long that nothing is known any more (RFC 9002 §7.6): begin again."""

    @abstractmethod
    def reset(self, now: float, datagram: int) -> None:
        """The path changed: forget all about the old one (RFC 9000 §9.4)."""

    @abstractmethod
    def remember(self, rate: float, rtt: float) -> None:
        """Begin as is fit for a path that lately carried `rate` bytes per second in round trips of `rtt` seconds.

        To be called before anything is sent.  Half of what that path holds may be in flight at once.
        """


#: Makes a controller for datagrams of so many bytes.
ControllerFactory: TypeAlias = Callable[[int], CongestionControl]
