"""Python's garbage collector, kept from holding the chat.

A full collection looks at every object that there is: with the program's own, which never go, that takes 25 ms, and
thrice as much with ten thousand connections.  So what is there after the start is set aside (`gc.freeze`), and so is,
from time to time, what belongs to the connections; what is set aside is not looked at, and is freed all the same when
nobody refers to it any more.  Only circles of what was set aside stay, until half of the connections are gone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sized

THRESHOLDS = 10_000, 3, 1000
"""New objects before a look at the young ones; looks before one at the older ones; and those before one at all.

A batch of messages makes some thousand objects that are gone a moment later: to look for them more often is in vain.
All are looked at from time to time (:meth:`Collecting.look`), and not in the middle of something."""

FULLY = 4
"""Looks to each that also looks for what was here for long, and refers to itself."""

MANY = 1000
"""Connections that came since the last time before theirs are set aside, too."""


class Collecting:
    """Sets aside what stays.

    :param connections: those that there are.
    :param then: called at the end of each look: what was garbage is free memory now.
    """

    def __init__(self, connections: Sized, then: Callable[[], object] = lambda: None) -> None:
        self._connections = connections
        self._then = then
        self._aside = self._looks = 0
        self._before: tuple[int, int, int] | None = None

    def start(self) -> None:
        """The program is there."""
        gc.collect()
        gc.freeze()
        self._before = gc.get_threshold()
        gc.set_threshold(*THRESHOLDS)

    def look(self) -> None:
        """From time to time: see whether connections came or went."""
        if self._before is None:
            return
        self._looks += 1
        if self._looks % FULLY == 0:
            gc.collect()  # what is not set aside: a few ms
        count = len(self._connections)
        if count >= self._aside + MANY:
            self._aside = count
            gc.collect(1)  # of those that have gone since, nothing is to stay
            gc.freeze()
        elif self._aside > 2 * count:
            self._aside = 0
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        self._then()

    def stop(self) -> None:
        """As it was before."""
        if self._before is not None:
            gc.set_threshold(*self._before)
            self._before = None
            gc.unfreeze()
