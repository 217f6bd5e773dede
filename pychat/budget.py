"""How many transfers there may be at once, and how much memory each of them gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from pychat.errors import TransferError
from pychat.transfer.sender import MAX_WINDOW, Sender


@dataclass(frozen=True, slots=True)
class Limits:
    """What the daemon gives to transfers.

    :ivar transfers: how many there may be at once, offers that nobody has claimed yet among them.
    :ivar per_owner: how many of them one owner may have.
    :ivar window_total: bytes of file data in memory, shared by all that run.
    :ivar window_each: bytes of that which one may have.
    """

    transfers: int = 256
    per_owner: int = 32
    window_total: int = 64 * 1024 * 1024
    window_each: int = MAX_WINDOW


class Budget:
    """Admits transfers, and shares the memory among those that run."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._owned: Counter[Hashable] = Counter()
        self._running: set[Sender] = set()

    @property
    def running(self) -> int:
        """How many transfers have been claimed and are not over."""
        return len(self._running)

    def admit(self, owner: Hashable) -> None:
        """One more for `owner`.

        :raises TransferError: ``busy``: there are enough.
        """
        if self._owned.total() >= self.limits.transfers:
            raise TransferError(
                "busy", "The daemon is sending as many files as it can: try again in a minute."
            )
        if self._owned[owner] >= self.limits.per_owner:
            raise TransferError(
                "busy",
                f"You have {self.limits.per_owner} downloads open: try again when one of them is through.",
            )
        self._owned[owner] += 1

    def release(self, owner: Hashable) -> None:
        """One less for `owner`."""
        self._owned[owner] -= 1
        if not self._owned[owner]:
            del self._owned[owner]

    def started(self, sender: Sender) -> None:
        """This one was claimed: it needs memory now."""
        self._running.add(sender)
        self._share()

    def ended(self, sender: Sender) -> None:
        """This one is over."""
        self._running.discard(sender)
        self._share()

    def _share(self) -> None:
        if self._running:
            share = min(self.limits.window_each, self.limits.window_total // len(self._running))
            for sender in self._running:
                sender.max_window = share
