"""Connections that were ended because they read more slowly than they are sent to: counted, and told in the log.

Very many may be too slow at once.  So the first is told by name, and those that follow are summed up.
"""

from __future__ import annotations

from twisted.logger import Logger


class Laggards:
    """Those of one daemon.

    :ivar count: how many there were.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.count = 0
        self._told = False  # one, since the last sweep but one
        self._untold = 0
        self._last = ""

    def ended(self, name: str, remote: str) -> None:
        """One more.

        :param name: of the person; empty if she had not joined.
        :param remote: the address that the connection came from.
        """
        self.count += 1
        who = f"{name or 'somebody who had not joined'}, from {remote or 'a socket of this machine'}"
        if self._told:
            self._untold += 1
            self._last = who
        else:
            self._told = True
            self._log.warn("Ended as too slow, for too much waited for it: {who}", who=who)

    def sweep(self) -> None:
        """To be called every now and then: tell how many there were since."""
        if self._untold:
            self._log.warn(
                "Ended as too slow: {count:,} more, the last of them {who}",
                count=self._untold,
                who=self._last,
            )
        self._told = self._untold > 0
        self._untold = 0
