"""Sending again what a client that acknowledges has not acknowledged, and giving up on it in the end.

The clock starts when the peer's kernel has the bytes, and nothing is sent again while bytes for that
connection are queued: a slow link is not mistaken for a silent client.
"""

from __future__ import annotations

from collections.abc import Callable

from .deadline import Deadline
from .peer import Peer
from .pump import Pump

DELAYS = (5.0, 10.0, 20.0, 40.0, 40.0, 40.0)
"""Seconds to wait for an ack: before each of five re-sends, and after the last of them."""

UNACKED_LIMIT = 4 * 1024 * 1024
"""Bytes of messages without an ack past which a client is ended at once."""


class Redelivery:
    """The acks that one connection owes."""

    __slots__ = ("_acked", "_deadline", "_give_up", "_has_all", "_peer", "_pump", "_resends")

    def __init__(
        self, pump: Pump, peer: Peer, has_all: Callable[[], bool], give_up: Callable[[], None]
    ) -> None:
        """
        :param has_all: whether the peer's kernel has all that was ever put into its mailbox.
        :param give_up: called when the client owes too much, or for too long.
        """
        self._pump = pump
        self._peer = peer
        self._has_all = has_all
        self._give_up = give_up
        self._deadline = Deadline(pump.reactor, self._due)
        self._acked = 0
        self._resends = 0

    def arrived(self) -> None:
        """The peer's kernel has all that was sent: an ack is due, if one is owed."""
        unacked = self._peer.unacked
        if unacked is None or not unacked.messages:
            return
        if self._peer.acked != self._acked:
            self._acked = self._peer.acked
            self._resends = 0
            self._deadline.set(DELAYS[0])
        elif not self._deadline.active and self._resends < len(DELAYS):
            self._deadline.set(DELAYS[self._resends])

    def check(self) -> None:
        """Messages were sent: end a client that owes too much."""
        unacked = self._peer.unacked
        if unacked is not None and unacked.size > UNACKED_LIMIT:
            self._give_up()

    def _due(self) -> None:
        unacked = self._peer.unacked
        if unacked is None or not unacked.messages:
            self._resends = 0
            return
        if self._peer.acked != self._acked:
            self.arrived()
            return
        if not self._has_all():
            # It starts again when these bytes have arrived.
            return
        self._resends += 1
        if self._resends >= len(DELAYS):
            self._give_up()
            return
        self._pump.hub.resend(self._peer)
        self._pump.wake()

    def stop(self) -> None:
        """The connection is gone."""
        self._deadline.close()
