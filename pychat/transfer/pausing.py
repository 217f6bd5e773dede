"""Which end has a transfer rest, and since when somebody wanted that."""

from __future__ import annotations

from math import inf

#: Seconds for which people may pause a transfer.  Waiting for its turn may take longer.
PAUSE_SECONDS = 3600.0


class Pausing:
    """A switch at each end; file data flows while both are off.

    :param daemon: whether this end is the daemon: it may have a client wait, and counts how long a client has it wait.
    :ivar on: whether one of the ends wants no file data to be sent.
    :ivar ours: whether this end does.
    :ivar until: when it has been paused by people for too long; infinity if nobody pauses it.
    """

    __slots__ = ("_daemon", "_number", "_theirs", "_waits", "on", "ours", "until")

    def __init__(self, daemon: bool) -> None:
        self._daemon = daemon
        self._theirs = self._waits = False
        self._number = -1
        self.on = self.ours = False
        self.until = inf

    def switch(self, on: bool, waits: bool, now: float) -> bool:
        """This end's switch.

        :param waits: nobody wanted that: it waits for its turn.
        :return: whether it was the other way before.
        """
        changes = on != self.ours
        self.ours, self._waits = on, waits
        self._count(now)
        return changes

    def switched(self, on: bool, number: int, now: float) -> bool:
        """The other end's switch, as packet `number` has it.

        :return: whether no newer packet has said otherwise.
        """
        if number < self._number:
            return False
        self._number, self._theirs = number, on
        self._count(now)
        return True

    def _count(self, now: float) -> None:
        self.on = self.ours or self._theirs
        # A daemon may have a client wait; how long a client may have a daemon wait is the daemon's to say.
        if not ((self.ours and not self._waits) or (self._theirs and self._daemon)):
            self.until = inf
        elif self.until == inf:
            self.until = now + PAUSE_SECONDS
