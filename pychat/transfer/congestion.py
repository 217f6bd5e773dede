"""How much may be in flight: a small interface, and NewReno as RFC 9002 §7 has it.

A controller knows nothing of packets' contents, of timers or of sockets.  It is told what was acknowledged and what
was lost, and says how large the window is and how fast to pace.  A new one is a subclass of `CongestionControl` and a
line in `CONTROLLERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TypeAlias


class SentPacket:
    """One packet that asked to be acknowledged, until it is, or is declared lost.

    :ivar number: its packet number.
    :ivar time: when it was sent, seconds.
    :ivar size: UDP payload bytes.
    :ivar start: first file offset it carried; equal to `end` when it carried no data.
    :ivar end: the offset after its last.
    :ivar digest: whether it carried the digest.
    """

    __slots__ = ("digest", "end", "number", "size", "start", "time")

    def __init__(
        self, number: int, time: float, size: int, start: int = 0, end: int = 0, digest: bool = False
    ) -> None:
        self.number = number
        self.time = time
        self.size = size
        self.start = start
        self.end = end
        self.digest = digest


class CongestionControl(ABC):
    """How much may be in flight, and how fast it may leave.

    :ivar name: what the operator calls it.
    :ivar window: bytes that may be in flight.
    """

    name: str
    window: int

    @abstractmethod
    def acked(self, packets: Sequence[SentPacket], *, now: float, limited: bool) -> None:
        """These packets arrived.

        :param limited: whether the window (or the pacing) held the sender back; if not, there is no reason to
            let it grow (RFC 9002 §7.8).
        """

    @abstractmethod
    def lost(self, packets: Sequence[SentPacket], *, now: float, persistent: bool) -> None:
        """These packets were lost, all found at once, at least one.

        :param persistent: everything was lost for so long that nothing is known any more (RFC 9002 §7.6).
        """

    @abstractmethod
    def pacing_rate(self, smoothed_rtt: float) -> float:
        """Bytes per second at which to send (RFC 9002 §7.7), for a smoothed round trip of so many seconds."""


class NewReno(CongestionControl):
    """RFC 9002 §7: slow start, one halving a round trip that lost, a packet more a round trip without loss.

    :param datagram: bytes of a full datagram.
    """

    name = "newreno"

    def __init__(self, datagram: int) -> None:
        self._datagram = datagram
        self._minimum = 2 * datagram
        # §7.2
        self.window = min(10 * datagram, max(14720, 2 * datagram))
        self._threshold = inf
        self._recovery_start = -inf
        self._fraction = 0

    @property
    def slow_start(self) -> bool:
        """Whether the window still doubles in a round trip (§7.3.1)."""
        return self.window < self._threshold

    def acked(self, packets: Sequence[SentPacket], *, now: float, limited: bool) -> None:
        if not limited:
            return
        start = self._recovery_start
        # §7.3.2: what was sent before the loss was noticed says nothing about the window after it.
        size = sum([packet.size for packet in packets if packet.time > start])
        if self.slow_start:
            self.window += size
            return
        # §7.3.3: a datagram more for each window that was acknowledged.
        self._fraction += size
        if self._fraction >= self.window:
            self._fraction -= self.window
            self.window += self._datagram

    def lost(self, packets: Sequence[SentPacket], *, now: float, persistent: bool) -> None:
        # §7.3.2: one halving for all the losses of what was sent before it.
        if max(packet.time for packet in packets) > self._recovery_start:
            self._recovery_start = now
            self.window = max(self.window // 2, self._minimum)
            self._threshold = self.window
            self._fraction = 0
        if persistent:
            self.window = self._minimum
            self._recovery_start = -inf

    def pacing_rate(self, smoothed_rtt: float) -> float:
        # §7.7 suggests 1.25; slow start doubles in a round trip, so it needs 2.
        return (2.0 if self.slow_start else 1.25) * self.window / smoothed_rtt


#: Makes a controller for datagrams of so many bytes.
ControllerFactory: TypeAlias = Callable[[int], CongestionControl]

CONTROLLERS: Mapping[str, ControllerFactory] = {NewReno.name: NewReno}
