"""Whether a member tries again after an attempt that came to nothing, and when.

What a connection tells may pass, a refusal mostly not.  But a name that is taken may be our own, which the daemon still
keeps: that of a connection of ours which it does not know to be lost.  And a first ``<connect>`` whose answer was lost
is said again, also by who is not patient.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import PychatError
from .answers import Refused
from .backoff import Backoff
from .outbox import TEMPORARY

GHOST_SECONDS = 150.0
"""Seconds for which our own name may be taken by a connection of ours that the daemon does not know to be lost."""


class Retry:
    """The attempts of one member."""

    def __init__(self, seconds: Callable[[], float], random: Callable[[], float], *, patient: bool) -> None:
        """
        :param seconds: a clock.
        :param random: gives numbers from 0 to 1, for the back-off.
        :param patient: also the first connection is tried again when there is none.
        """
        self._seconds = seconds
        self._patient = patient
        self._backoff = Backoff(random)
        self._linked_at = 0.0
        self._ghost_until = 0.0  # until then our name may be taken by ourselves
        self._first_until = -1.0  # until then a start whose answer was lost is tried again

    def linked(self) -> None:
        """We are in the chat: nobody has our name but this connection."""
        self._ghost_until = 0.0
        self._linked_at = self._seconds()

    def lost(self) -> None:
        """That connection is gone."""
        self._backoff.lasted(self._seconds() - self._linked_at)

    def unanswered(self) -> None:
        """We said who we are, and the connection ended before the answer came, without a word of the daemon."""
        if self._first_until < 0:
            self._first_until = self._seconds() + GHOST_SECONDS

    def leaves_ghost(self) -> None:
        """The daemon may know us, by a name and no more, on a connection that is gone."""
        self._ghost_until = self._seconds() + GHOST_SECONDS

    def worth(self, error: PychatError, *, starting: bool) -> bool:
        """Whether there is to be another attempt behind one that ended so.

        :param starting: we have not been in the chat yet.
        """
        if starting and not self._patient and self._seconds() >= self._first_until:
            return False
        if not isinstance(error, Refused):
            return True
        if error.code == "name-taken":
            return self._seconds() < self._ghost_until
        return error.code in TEMPORARY

    def delay(self) -> float:
        """Seconds to wait for the next one."""
        return self._backoff.delay()
