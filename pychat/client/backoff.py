"""How long to wait before the next attempt to connect: exponential back-off with full jitter.

The n-th attempt in a row, from 0 on, waits ``random() * ceiling`` seconds, where the ceiling is ``FIRST * 2 ** n``, at
most ``CEILING``.  Everybody who lost the same daemon comes back at a time of her own, and a daemon that stays away is
asked ever less.

The row ends with a connection that was worth its wait: one that lasted ``WORTH`` times the ceiling of the wait before
it, or ``LASTED`` seconds.  So a network that breaks every few seconds costs a fraction of a second each time, while a
daemon that lets everybody in and closes at once is not hammered: its connections are never worth the wait.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST = 0.2
"""Seconds that the first wait takes at most."""

CEILING = 30.0
"""Seconds that any wait takes at most."""

WORTH = 5.0
LASTED = 30.0


class Backoff:
    """The waits of one client."""

    def __init__(self, random: Callable[[], float], first: float = FIRST, ceiling: float = CEILING) -> None:
        """:param random: gives numbers from 0 to 1."""
        self._random = random
        self._first = first
        self._ceiling = ceiling
        self._next = first  # the ceiling of the next wait
        self._last = 0.0  # the ceiling of the one before

    def delay(self) -> float:
        """Seconds to wait now; the next wait may take twice as long."""
        self._last = self._next
        self._next = min(self._ceiling, self._next * 2)
        return self._random() * self._last

    def lasted(self, seconds: float) -> None:
        """A connection was there for so long."""
        if seconds >= min(LASTED, WORTH * self._last):
            self.reset()

    def reset(self) -> None:
        """All is well: the next wait is the first of a row."""
        self._next = self._first
        self._last = 0.0
