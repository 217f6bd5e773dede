"""How far a person has seen what she was told: only that is kept as taken care of, and acknowledged."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from .store import Store

Shown = Callable[[], Deferred[bool]]
"""Fires with True once all that was told before it is where it is seen, with False if it never will be."""


def at_once() -> Deferred[bool]:
    """For who has taken care of what he is told when he returns."""
    return succeed(True)


class Seen:
    """The ids between being told and being seen; at most one wait for them is under way."""

    _log = Logger()

    def __init__(self, store: Store, shown: Shown, later: Callable[[], object]) -> None:
        """
        :param later: called when the store has moved on after :meth:`check` had returned.
        """
        self._store = store
        self._shown = shown
        self._later = later
        self._told = 0
        self._identity = object()
        self._waits = False

    @property
    def told(self) -> int:
        """The highest id that was told, seen or not; 0 for none."""
        return max(self._told, self._store.after)

    def tell(self, id: int) -> None:
        """This one was told."""
        self._told = max(self._told, id)

    def anew(self) -> None:
        """Ids begin anew, with another identity or another journal; to be said when the store has been."""
        self._told = 0
        self._identity = object()

    def check(self) -> None:
        """Let the store know what is seen by now; the rest follows by itself."""
        while not self._waits and self._told > self._store.after:
            upto, identity = self._told, self._identity
            shown = self._shown()
            if not shown.called:
                self._waits = True
                shown.addCallback(self._were_shown, upto, identity)
                shown.addErrback(
                    lambda failure: self._log.failure("what was seen could not be kept", failure)
                )
                return
            if not self._note(getattr(shown, "result", False), upto, identity):
                return

    def _were_shown(self, seen: bool, upto: int, identity: object) -> None:
        self._waits = False
        if self._note(seen, upto, identity):
            self._later()
            self.check()

    def _note(self, seen: object, upto: int, identity: object) -> bool:
        """Whether to go on."""
        if seen is not True:
            return False
        if identity is self._identity:
            self._store.reached(upto)
            return self._store.after >= upto  # a store that does not take it is not asked again at once
        return True
