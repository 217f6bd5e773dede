"""How many transfers there may be at once, and what each of them gets: memory, a pace, and a turn.

What the daemon has is shared by *identity*, and what an identity gets among its transfers: who opens twenty downloads
has no more than who opens one.

- **Memory** (`Limits.window_total`): as equal as it can be, in these two steps.
- **Pace** (`Limits.rate`, `Limits.rate_each`): max-min fair in the same two steps, by what each used lately, whichever
  way it goes.  What one does not use is the others'.
- **Turns**: as long as several identities have files under way, each has at most as many of them running at once as
  the one with the fewest, but `Limits.abreast` at least; the later ones wait.  So on a bottleneck that nobody told us
  about, the shares do not follow the number of downloads.  Files of which little is left never wait.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

from pychat.errors import TransferError

#: Seconds between two looks at who used what.
SHARE_SECONDS = 1.0
#: Somebody who uses less than this part of what she may wants no more than `GROWTH` times what she uses.
USED = 0.85
GROWTH = 1.5
#: No pace is below this: a transfer that is throttled still has to say what is due.
LEAST_RATE = 2048.0
#: No window is below this: two blocks of a file.
LEAST_WINDOW = 256 * 1024
#: Files of which no more than this is left never wait for their turn.
SMALL_BYTES = 1024 * 1024

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the daemon gives to transfers.

    :ivar transfers: how many there may be at once, offers that nobody has claimed yet among them.
    :ivar per_owner: how many of them one identity may have.
    :ivar window_total: bytes of file data in memory, shared by all that run.
    :ivar window_each: bytes of that which one may have.
    :ivar rate: bytes a second that leave or come, of all transfers together.
    :ivar rate_each: bytes a second that leave for one identity, or come from it.
    :ivar abreast: how many files one identity may have on their way at once, whoever else there is.
    """

    transfers: int = 256
    per_owner: int = 32
    window_total: int = 64 * 1024 * 1024
    window_each: int = 16 * 1024 * 1024
    rate: float = inf
    rate_each: float = inf
    abreast: int = 2


def share(capacity: float, wanted: Mapping[Key, float]) -> dict[Key, float]:
    """Max-min fair: nobody gets more than she wants while somebody else could get more by it.

    What is left when everybody has what she wants is given to all alike.  The shares add up to `capacity`.
    """
    if capacity == inf:
        return dict.fromkeys(wanted, inf)
    given: dict[Key, float] = {}
    left, keys = capacity, sorted(wanted, key=lambda key: wanted[key])
    for index, key in enumerate(keys):
        given[key] = min(wanted[key], left / (len(keys) - index))
        left -= given[key]
    for key in keys:
        given[key] += left / len(keys)
    return given


class _Running:
    """One transfer that was claimed and is not over."""

    __slots__ = ("engine", "hold", "identity", "max_rate", "moved", "rate", "remaining", "rests")

    def __init__(
        self,
        identity: Hashable,
        engine: Any,
        hold: Callable[[bool], object] | None,
        remaining: Callable[[], int],
        rests: Callable[[], bool],
    ) -> None:
        self.identity = identity
        self.engine = engine
        self.hold = hold
        self.remaining = remaining
        self.rests = rests
        self.moved = self.count()
        self.rate = 0.0
        self.max_rate = inf

    def count(self) -> int:
        """Bytes that left and that came: acknowledgements, which are among them, weigh next to nothing."""
        counters = self.engine.counters
        total: int = counters.bytes_out + counters.bytes_in
        return total

    @property
    def wants(self) -> float:
        """Bytes a second that it could use."""
        if self.max_rate == inf or self.rate >= USED * self.max_rate:
            return inf
        return max(GROWTH * self.rate, LEAST_RATE)


class Budget:
    """Admits transfers, and shares what there is among those that run.

    :param seconds: the monotonic clock.
    """

    def __init__(self, limits: Limits | None = None, seconds: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self._seconds = seconds
        self._owned: Counter[Hashable] = Counter()
        self._running: dict[Any, _Running] = {}
        self._looked_at = seconds()
        self._sharing = self._stale = False

    @property
    def running(self) -> int:
        """How many transfers have been claimed and are not over."""
        return len(self._running)

    @property
    def limited(self) -> bool:
        """Whether there is a limit to the pace, so that `look` has to be called every `SHARE_SECONDS`."""
        return min(self.limits.rate, self.limits.rate_each) < inf

    def admit(self, identity: Hashable) -> None:
        """One more for `identity`.

        :raises TransferError: ``busy``: there are enough.
        """
        if self._owned.total() >= self.limits.transfers:
            raise TransferError(
                "busy", "The daemon is sending as many files as it can: try again in a minute."
            )
        if self._owned[identity] >= self.limits.per_owner:
            raise TransferError(
                "busy",
                f"You have {self.limits.per_owner} transfers open: try again when one of them is through.",
            )
        self._owned[identity] += 1

    def release(self, identity: Hashable) -> None:
        """One less for `identity`."""
        self._owned[identity] -= 1
        if not self._owned[identity]:
            del self._owned[identity]

    def started(
        self,
        identity: Hashable,
        engine: Any,
        hold: Callable[[bool], object] | None = None,
        remaining: Callable[[], int] = lambda: 0,
        rests: Callable[[], bool] = lambda: False,
    ) -> None:
        """This one was claimed: it needs its share now.

        :param engine: its ``max_window`` and ``max_rate`` are set from here on.
        :param hold: called with whether it has to wait for its turn, when that changes.
        :param remaining: gives the bytes that are still to be sent.
        :param rests: tells whether somebody paused it.
        """
        self._running[engine] = _Running(identity, engine, hold, remaining, rests)
        self._share()

    def first(self, identity: Hashable) -> tuple[int, float]:
        """The window and the pace with which one more of `identity` may begin, until it is claimed."""
        by = Counter(running.identity for running in self._running.values())
        by[identity] += 1
        each = self.limits.window_total // (len(by) * by[identity])
        return min(self.limits.window_each, each), min(self.limits.rate, self.limits.rate_each)

    def ended(self, engine: Any) -> None:
        """This one is over."""
        if self._running.pop(engine, None) is not None:
            self._share()

    def look(self) -> None:
        """See who used what, and share anew; to be called every `SHARE_SECONDS`, and without effect when sooner."""
        now = self._seconds()
        passed = now - self._looked_at
        if passed < 0.9 * SHARE_SECONDS:
            return
        self._looked_at = now
        for running in self._running.values():
            moved = running.count()
            running.rate = (moved - running.moved) / passed
            running.moved = moved
        self._share()

    def held(self, engine: Any) -> bool:
        """Whether it waits for its turn."""
        running = self._running.get(engine)
        return running is not None and running in self._waiting()

    # Shares ---------------------------------------------------------------------------------------------------

    def _share(self) -> None:
        """Share anew.  Who is told to wait or to go on may turn out to be over: then all is shared once more."""
        self._stale = True
        if self._sharing:
            return
        self._sharing = True
        try:
            while self._stale:
                self._stale = False
                self._share_once()
        finally:
            self._sharing = False

    def _share_once(self) -> None:
        by: dict[Hashable, list[_Running]] = {}
        for running in self._running.values():
            by.setdefault(running.identity, []).append(running)
        for transfers in by.values():
            each = self.limits.window_total // (len(by) * len(transfers))
            for running in transfers:
                running.engine.max_window = max(LEAST_WINDOW, min(self.limits.window_each, each))
        waiting = self._waiting()
        for running in list(self._running.values()):
            if running.hold is not None and running.engine in self._running:
                running.hold(running in waiting)
        if self.limited:
            self._share_rate(by, waiting)

    def _share_rate(self, by: Mapping[Hashable, Sequence[_Running]], waiting: Iterable[_Running]) -> None:
        waits = set(waiting)
        runs = {who: [each for each in transfers if each not in waits] for who, transfers in by.items()}
        each = self.limits.rate_each
        wanted = {who: min(each, sum(one.wants for one in transfers)) for who, transfers in runs.items()}
        for who, rate in share(self.limits.rate, wanted).items():
            transfers = runs[who]
            for index, given in share(
                min(rate, each), {index: one.wants for index, one in enumerate(transfers)}
            ).items():
                transfers[index].max_rate = max(given, LEAST_RATE)
                transfers[index].engine.max_rate = transfers[index].max_rate

    def _waiting(self) -> dict[_Running, None]:
        """Those that have to wait for their turn."""
        by: dict[Hashable, list[_Running]] = {}
        for running in self._running.values():
            if running.hold is not None and not running.rests():
                by.setdefault(running.identity, []).append(running)
        if len(by) < 2:
            return {}
        abreast = max(self.limits.abreast, min(map(len, by.values())))
        waiting: dict[_Running, None] = {}
        for transfers in by.values():
            large = [one for one in transfers if one.remaining() > SMALL_BYTES]
            waiting.update(dict.fromkeys(large[abreast:]))
        return waiting
