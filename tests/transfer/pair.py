"""A sender and a receiver with a clean wire of 10 ms between them, in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from blake3 import blake3

from pychat.transfer.congestion import CONTROLLERS
from pychat.transfer.packet import FROM_CLIENT, FROM_DAEMON
from pychat.transfer.path import ClientPath, DaemonPath
from pychat.transfer.receiver import Receiver
from pychat.transfer.sender import Sender
from pychat.transfer.terms import PIECE_BYTES
from tests.transfer.offers import make_content, make_random, make_terms

CLIENT, DAEMON = ("192.0.2.1", 4000), ("192.0.2.2", 50000)
DELAY = 0.010


class Watched:
    """Told of all that happens to one end; a `pychat.turns.Watch`."""

    def received(self, buffer: Any, segment: int, now: float) -> None: ...
    def sent(self, trains: Sequence[Any], now: float) -> None: ...
    def turned(self, now: float) -> None: ...


class Pair:
    """A download under way.

    :ivar now: virtual seconds.
    :ivar lose: the arriving trains from the sender of which this is true are lost.
    :ivar watch: of the receiver, and `other` of the sender.
    """

    def __init__(self, size: int = 600_000, *, controller: str = "newreno", reliable: bool = False) -> None:
        self.now = 5000.0
        self.content = make_content(size)
        terms = make_terms(size)
        self.sender = Sender(
            terms,
            DaemonPath(terms.token, make_random()),
            sends=FROM_DAEMON,
            congestion=CONTROLLERS[controller](1200),
            now=self.now,
            random_bytes=make_random(),
            reliable=reliable,
        )
        path = ClientPath(terms.token, DAEMON, window=2**20, now=self.now)
        self.receiver = Receiver(terms, path, sends=FROM_CLIENT, now=self.now)
        self.lose: Callable[[int], bool] = lambda number: False
        self.watch: Any = Watched()
        self.other: Any = Watched()
        self._order = count()
        self._trains = count()
        self._wire: list[tuple[float, int, Any, bytes, int]] = []

    def run(self, until: Callable[[], object], steps: int = 100_000) -> None:
        """Let time pass until this is true."""
        for _ in range(steps):
            self._turn(self.sender, self.other)
            self._turn(self.receiver, self.watch)
            if until():
                return
            due = [end.deadline() for end in (self.sender, self.receiver)]
            at = min([time for time in due if time is not None] + [item[0] for item in self._wire[:1]])
            self.now = max(at, self.now + 1e-6)
            while self._wire and self._wire[0][0] <= self.now:
                _, _, end, data, segment = heapq.heappop(self._wire)
                address = CLIENT if end is self.sender else DAEMON
                (self.other if end is self.sender else self.watch).received(data, segment, self.now)
                end.receive(data, segment, address, self.now)
        raise AssertionError("it takes too long")

    def finish(self) -> None:
        """To the end of it."""
        self.run(lambda: self.sender.outcome is not None and self.receiver.outcome is not None)

    def _turn(self, end: Any, watch: Any) -> None:
        if end is self.sender:
            self._feed()
        else:
            self._drain()
        trains = end.poll(self.now)
        watch.sent(trains, self.now)
        for train in trains:
            if end is self.receiver or not self.lose(next(self._trains)):
                other = self.receiver if end is self.sender else self.sender
                item = (self.now + DELAY, next(self._order), other, b"".join(train.buffers), train.segment)
                heapq.heappush(self._wire, item)
        watch.turned(self.now)

    def _feed(self) -> None:
        sender = self.sender
        while (want := sender.wants()) is not None:
            offset, length = want
            sender.supply(offset, self.content[offset : offset + length])
            index, left = divmod(offset + length, PIECE_BYTES)
            if not left or offset + length == len(self.content):
                self._tell_piece(index if left else index - 1)

    def _tell_piece(self, index: int) -> None:
        piece = self.content[index * PIECE_BYTES : (index + 1) * PIECE_BYTES]
        self.sender.pieces(index, [blake3(piece).digest()])

    def _drain(self) -> None:
        receiver = self.receiver
        for _, buffers in receiver.take_writes():
            receiver.written(sum(map(len, buffers)))
        if receiver.received == len(self.content) and receiver.outcome is None:
            pieces = range(0, len(self.content), PIECE_BYTES)
            receiver.hashed(
                (index, blake3(self.content[at : at + PIECE_BYTES]).digest())
                for index, at in enumerate(pieces)
            )
            if receiver.complete:
                receiver.verified()
