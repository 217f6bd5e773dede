"""One UDP socket and the transfers that go over it."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from pychat.transfer.packet import transfer_of
from pychat.turns import Turns
from pychat.udp import Buffer, TrainProtocol

#: Seconds of turns that may be given in a row; then others use the reactor.
SLICE_SECONDS = 0.002
#: Seconds that a closing port gives its peers to hear of it.
LEAVE_SECONDS = 0.5


class Switchboard(TrainProtocol):
    """One UDP socket and the transfers that go over it, told apart by their ids.

    :param clock: makes timers.
    :param early: bytes of datagrams of transfers that are not known yet to keep for them; the oldest go first.
    """

    #: What those that are under way when the port closes end with.
    going = ("cancelled", "The program at the other end was ended.")

    def __init__(self, clock: Any, *, early: int = 0) -> None:
        super().__init__(clock)
        self._all: dict[bytes, Turns] = {}
        self._touched: dict[Turns, None] = {}
        self._waiting: dict[Turns, None] = {}
        self._serving: IDelayedCall | None = None
        self._used = 0.0
        self._refused: Counter[str] = Counter()
        self._early: deque[tuple[bytes, int, Any]] = deque()
        self._early_room = early
        self._early_bytes = 0
        self._leaving: Deferred[None] | None = None
        self._leave_by: IDelayedCall | None = None

    @property
    def refused(self) -> Counter[str]:
        """Datagrams that were dropped without a byte in answer, by reason (`docs/transfer.md`)."""
        refused = self._refused.copy()
        for turns in self._all.values():
            refused.update(turns.engine.counters.refused)
        return refused

    def __len__(self) -> int:
        """How many transfers there are, those that nobody has claimed yet among them."""
        return len(self._all)

    # See `Carrier`

    def add(self, turns: Turns) -> None:
        self._all[turns.transfer] = turns
        early, self._early, self._early_bytes = self._early, deque(), 0
        for buffer, segment, address in early:
            self.trainReceived(buffer, segment, address)

    def remove(self, turns: Turns) -> None:
        if self._all.get(turns.transfer) is not turns:
            return
        del self._all[turns.transfer]
        self._touched.pop(turns, None)
        self._waiting.pop(turns, None)
        self._refused.update(turns.engine.counters.refused)
        self.departed()

    def wait(self, turns: Turns) -> None:
        self._waiting[turns] = None

    # Of the port

    def trainReceived(self, buffer: Buffer, segment: int, address: Any) -> None:
        """To the transfer it names, if there is one."""
        if len(buffer) > segment and _mixed(buffer, segment):
            for at in range(0, len(buffer), segment):
                self._received(buffer[at : at + segment], segment, address)
        else:
            self._received(buffer, segment, address)

    def _received(self, buffer: Buffer, segment: int, address: Any) -> None:
        transfer = transfer_of(buffer)
        count = -(-len(buffer) // segment) if buffer else 1
        turns = None if transfer is None else self._all.get(transfer)
        if turns is not None:
            turns.received(buffer, segment, address)
            self._touched[turns] = None
        elif transfer is None:
            self._refused["malformed"] += count
        else:
            self._stray(buffer, segment, address, count)

    def _stray(self, buffer: Buffer, segment: int, address: Any, count: int) -> None:
        """A train of a transfer that is not there, or not yet."""
        if self._early_room:
            self._early.append((bytes(buffer), segment, address))
            self._early_bytes += len(buffer)
            while self._early_bytes > self._early_room:
                self._early_bytes -= len(self._early.popleft()[0])
        else:
            self._refused["unknown-transfer"] += count

    def burstEnded(self) -> None:
        """Every transfer that heard something has its turn."""
        self._give()

    # Turns

    def due(self, turns: Turns) -> None:
        if self._used < SLICE_SECONDS:
            self.drain()
        self.serve(turns)

    def serve(self, turns: Turns) -> None:
        self._touched[turns] = None
        self._give()

    def _give(self) -> None:
        """Give turns, oldest first; when they take long, the rest is for the next round of the reactor."""
        seconds, touched = self._clock.seconds, self._touched
        while touched and self._used < SLICE_SECONDS:
            turns = next(iter(touched))
            del touched[turns]
            began = seconds()
            turns.turn()
            self._used += seconds() - began
        if touched and self._serving is None:
            self._serving = self._clock.callLater(0, self._serve)

    def _serve(self) -> None:
        """The reactor has been round."""
        self._serving = None
        self._used = 0.0
        self.drain()
        self._give()

    def roomAgain(self) -> None:
        """Who waits has a turn, one after the other, as far as the room goes."""
        waiting, self._waiting = self._waiting, {}
        while waiting and not self.congested:
            turns = self.next_of(waiting)
            del waiting[turns]
            turns.turn()
        self._waiting = {turns: None for turns in (*waiting, *self._waiting) if not turns.gone}

    def next_of(self, waiting: dict[Turns, None]) -> Turns:
        """Whose turn it is."""
        return next(iter(waiting))

    def leave(self) -> Deferred[None]:
        """End all transfers.

        :return: fires when every peer has acknowledged that, or half a second later.
        """
        if self._leaving is None:
            self._leaving = Deferred()
            for turns in self.present():
                turns.fail(*self.going)
            if self.present():
                self._leave_by = self._clock.callLater(LEAVE_SECONDS, self._abandon)
            self.departed()
        left: Deferred[None] = Deferred()
        self._leaving.addCallback(lambda _: left.callback(None))
        return left

    def present(self) -> list[Turns]:
        """Every transfer that has still something to say."""
        return [*self._all.values()]

    def departed(self) -> None:
        """One may have been the last."""
        if self._leaving is None or self._leaving.called or self.present():
            return
        if self._leave_by is not None and self._leave_by.active():
            self._leave_by.cancel()
        self._leaving.callback(None)

    def _abandon(self) -> None:
        for turns in self.present():
            turns.abandon(*self.going)

    def stopProtocol(self) -> None:
        """The port has closed, perhaps without asking `leave` first: nothing may be left in the reactor."""
        super().stopProtocol()
        if self._serving is not None:
            self._serving.cancel()
            self._serving = None
        if self._leave_by is not None and self._leave_by.active():
            self._leave_by.cancel()
        self._abandon()


def _mixed(buffer: Buffer, segment: int) -> bool:
    """Whether the datagrams of a train are of several transfers, as far as two bytes of their ids tell."""
    for at in (1, 8):
        column = bytes(buffer[at::segment])
        if column.count(column[:1]) != len(column):
            return True
    return False
