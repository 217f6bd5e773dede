"""A file on its way in: writes what a `Receiver` has taken in threads, and has the pieces hashed there.

One job at a time: a write of all that has come meanwhile, or a look at what the ``.part`` held before, or, when there
is nothing more to come, the end: compare, sync, and give the file its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pychat.transfer.packet import Buffer
from pychat.transfer.receiver import Receiver
from pychat.transfer.terms import Done, Outcome
from pychat.turns import Carrier, Turns
from pychat.udp import RunInThread

#: Bytes that make a write worth a thread's while.
WRITE_BYTES = 512 * 1024
#: Seconds after which it is worth it for fewer: what is not written is lost with the process.
WRITE_SECONDS = 0.2


class Part(Protocol):
    """The part file: see `pychat.part.PartFile`.  Its methods block, and are called in threads, one at a time."""

    @property
    def path(self) -> str: ...
    @property
    def behind(self) -> bool: ...
    def write(self, writes: Sequence[tuple[int, Sequence[Buffer]]]) -> Any: ...
    def check(self) -> list[tuple[int, bytes]]: ...
    def finish(self, root: bytes) -> bytes: ...


class Receiving(Turns):
    """Receives one file.

    What becomes of the part when this fails is its user's: `start` fires when no thread works on it any more.

    :param receiver: the engine; it was given what the part held when it was opened.
    :param part: opened.
    :ivar sha256: of the whole file, once it is there; empty if that was not asked for.
    :ivar ended: when the file was there and had its name, by `seconds`.
    The other parameters are those of `Turns`.
    """

    _log = Logger()
    _doing = "while receiving"
    engine: Receiver

    def __init__(
        self,
        receiver: Receiver,
        part: Part,
        carrier: Carrier,
        *,
        reactor: Any,
        run_in_thread: RunInThread,
        seconds: Callable[[], float] = time.monotonic,
        name: str = "",
    ) -> None:
        super().__init__(
            receiver,
            carrier,
            reactor=reactor,
            run_in_thread=run_in_thread,
            seconds=seconds,
            name=name or part.path,
        )
        self.part = part
        self._checked_pieces: list[tuple[int, bytes]] = []
        self.sha256 = b""
        self.ended = 0.0
        self._behind = False
        self._checked = True
        self._finishing = False
        self._write_at = inf

    @property
    def receiver(self) -> Receiver:
        """The engine."""
        return self.engine

    def inherit(self, before: Receiving) -> None:
        """Go on with the part of one that was retired and wrote nothing: what it has looked at is known."""
        self._checked_pieces = before._checked_pieces

    def start(self) -> Deferred[Outcome]:
        """See `Turns.start`."""
        self._behind = self.part.behind
        if self._checked_pieces:
            self._guarded(self.engine.hashed, self._checked_pieces)
        return super().start()

    def hurry(self) -> None:
        """The peer may be gone: see whether it answers."""
        self._guarded(self.engine.hurry, self._seconds())
        self.turn()

    def _progressed(self) -> int:
        return self.engine.received

    def _work(self) -> None:
        receiver = self.engine
        self._work_at = inf
        waiting = receiver.waiting
        if waiting:
            now = self._seconds()
            if self._write_at == inf:
                self._write_at = now + WRITE_SECONDS
            ripe = waiting >= WRITE_BYTES or receiver.received == receiver.terms.size or now >= self._write_at
            if ripe and (self._checked or not self._behind):
                self._write_at = inf
                self._checked = False
                self._in_thread(self._written, self._write, receiver.take_writes())
                return
            self._work_at = self._write_at
        if self._behind:
            self._checked = True
            self._in_thread(self._hashed, self._check)
        elif receiver.complete and not waiting:
            self._finishing = True
            self._in_thread(self._finished, self.part.finish, receiver.root)

    def _write(self, writes: Sequence[tuple[int, Sequence[Buffer]]]) -> tuple[Any, bool]:
        """In a thread."""
        return self.part.write(writes), self.part.behind

    def _written(self, result: tuple[Any, bool]) -> None:
        written, self._behind = result
        self.engine.written(written.nbytes)
        self.engine.hashed(written.pieces)

    def _check(self) -> tuple[list[tuple[int, bytes]], bool]:
        """In a thread."""
        pieces = self.part.check()
        self._checked_pieces += pieces
        return pieces, self.part.behind

    def _hashed(self, result: tuple[list[tuple[int, bytes]], bool]) -> None:
        pieces, self._behind = result
        self.engine.hashed(pieces)

    def _finished(self, sha256: bytes) -> None:
        self.sha256 = sha256
        self.ended = self._seconds()
        self._finishing = False
        self.engine.verified()
        if self._gone:
            self._conclude(Done())

    def _failed(self, failure: Any) -> None:
        self._finishing = False
        super()._failed(failure)
        if self._gone and self.outcome is not None:
            self._conclude(self.outcome)

    def _conclude(self, outcome: Outcome) -> None:
        # Who gives up while the file gets its name comes too late: whether it does decides.
        if not self._finishing:
            super()._conclude(outcome)

    def _broken(self) -> tuple[str, str]:
        return (
            "cannot-write",
            "The file cannot be written: whoever runs the program there finds more in its log.",
        )
