"""What the daemon knows of its transfers and of those who have them, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from pychat.address import same_host
from pychat.stream import StreamCarrier
from pychat.transfer.terms import Outcome, Terms
from pychat.turns import Turns

#: Seconds for which the round-trip time and the rate of a connection's last transfer are remembered.
MEMORY_SECONDS = 600.0

Ranges = Sequence[tuple[int, int]]


class Offered(NamedTuple):
    """What the chat line says about a transfer.

    :ivar terms: what the client has to know.
    :ivar path: the id of the path whose address is used: nothing has to be claimed.  Else None.
    """

    terms: Terms
    path: bytes | None


class Running(NamedTuple):
    """A transfer, as its owner sees it.

    :ivar transfer: its id.
    :ivar name: of the file.
    :ivar size: bytes.
    :ivar done: bytes of that which have arrived.
    :ivar state: ``running``, ``paused`` or ``waiting``.
    :ivar direction: ``down`` or ``up``.
    """

    transfer: bytes
    name: str
    size: int
    done: int
    state: str
    direction: str


def comes_from(host: str) -> Callable[[Any], bool]:
    """Tells whether an address, as a `pychat.udp.TrainPort` gives it, is of this host; none is where that is empty."""

    def trusts(address: Any) -> bool:
        first = address[0]
        return same_host(host, first[0] if isinstance(first, tuple) else first)

    return trusts


class Known:
    """The address of a connection, and what its last transfer taught.

    :ivar turns: keep the path.
    :ivar trusts: whether an address is of the host that the connection comes from.
    """

    __slots__ = ("at", "rate", "rtt", "trusts", "turns")

    def __init__(self, turns: Turns, trusts: Callable[[Any], bool]) -> None:
        self.turns = turns
        self.trusts = trusts
        self.rtt: float | None = None
        self.rate: float | None = None
        self.at = 0.0

    def recall(self, now: float) -> tuple[float | None, float | None]:
        """The round-trip time and the rate, as far as they are known."""
        if self.rtt is not None and now - self.at < MEMORY_SECONDS:
            return self.rtt, self.rate
        round_trip = self.turns.engine.round_trip
        return (None if round_trip.latest is None else round_trip.smoothed), None


class Transfer:
    """One file on offer or on its way.

    :ivar make: makes the turns of it anew, over a stream.
    """

    def __init__(
        self, terms: Terms, name: str, up: bool, owner: Hashable, identity: Hashable, finished: Any
    ) -> None:
        self.terms = terms
        self.name = name
        self.up = up
        self.owner = owner
        self.identity = identity
        self.finished: Callable[[Outcome], object] | None = finished
        self.turns: Turns
        self.make: Callable[[StreamCarrier | None], Turns]
        self.claimed_at: float | None = None
        self.streamed = False
        self.had = 0
        self.over = False
