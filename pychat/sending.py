"""A file on its way out: reads it in threads for a `Sender`, and hashes its pieces there.

One job at a time: a read ahead of what is sent, in blocks of up to 1 MiB, so that the hop to a thread and back is
cheap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from twisted.logger import Logger

from pychat.digests import Digests
from pychat.transfer.sender import Sender
from pychat.transfer.terms import PIECE_BYTES, Failed, Outcome, new_hash, pieces_of
from pychat.turns import Carrier, Turns
from pychat.udp import RunInThread

READ_FAILED = "The file could not be read at the other end: tell whoever has it to look at the log."


class Source(Protocol):
    """An opened file.  `read` may block, and is called in threads, one call at a time."""

    @property
    def name(self) -> str:
        """What it is called in the log; free of control characters."""

    @property
    def size(self) -> int:
        """Bytes that it had when it was opened."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes.

        :raises pychat.errors.ShelfError: the file is not what it was; looked for at its end at the latest.
        """

    def close(self) -> None:
        """It will not be read again."""


class Sending(Turns):
    """Sends one file.

    :param sender: the engine.
    :param source: the opened file; it is closed when the transfer is over, in a thread.
    :param digests: where the digests of the whole file are kept for the next time, under `version`.
    :ivar held: whether it waits for its turn.
    The other parameters are those of `Turns`.
    """

    _log = Logger()
    _doing = "while sending"
    engine: Sender

    def __init__(
        self,
        sender: Sender,
        source: Source,
        carrier: Carrier,
        *,
        reactor: Any,
        run_in_thread: RunInThread,
        seconds: Callable[[], float] = time.monotonic,
        digests: Digests | None = None,
        version: Hashable = None,
    ) -> None:
        super().__init__(
            sender, carrier, reactor=reactor, run_in_thread=run_in_thread, seconds=seconds, name=source.name
        )
        self.source = source
        self.held = False
        # Of one too long to be remembered nothing need be collected.
        keeps = digests is not None and version is not None and digests.takes(pieces_of(source.size))
        self._digests = digests if keeps else None
        self._version = version
        self._found: dict[int, bytes] = {}
        self._hash = new_hash()

    @property
    def sender(self) -> Sender:
        """The engine."""
        return self.engine

    def _progressed(self) -> int:
        return self.engine.progress

    def _too_big(self, size: int, now: float) -> None:
        self.engine.too_big(size, now)

    def hold(self, on: bool) -> None:
        """Wait for one's turn, or go on; to the other end it is a pause."""
        if on != self.held:
            self.held = on
            self._rest()

    @property
    def resting(self) -> bool:
        return self._pausing or (bool(self.engine.paused) and not self.held)

    def _rest(self) -> None:
        self._guarded(self.engine.pause, self._pausing or self.held, not self._pausing)
        self.turn()

    def _work(self) -> None:
        if self.held and self.engine.paused:
            return
        wanted = self.engine.wants()
        if wanted is not None:
            offset, length = wanted
            news = length > 0 and not self.engine.knows(offset // PIECE_BYTES)
            self._in_thread(self._have_read, self._read, offset, length, news)

    def _read(self, offset: int, length: int, news: bool) -> tuple[int, bytes, bytes | None]:
        """In a thread: read, and hash what is read for the first time.

        :return: the offset, the bytes, and the digest of the piece if they were the last of it.
        """
        data = self.source.read(offset, length)
        if len(data) != length:
            raise ValueError(f"{len(data)} bytes at {offset}, and not {length}")
        if not news:
            return offset, data, None
        if offset % PIECE_BYTES == 0:
            self._hash = new_hash()
        self._hash.update(data)
        at = offset + length
        return offset, data, self._hash.digest() if at % PIECE_BYTES == 0 or at == self.source.size else None

    def _have_read(self, result: tuple[int, bytes, bytes | None]) -> None:
        offset, data, digest = result
        sender = self.engine
        sender.supply(offset, data)
        if digest is not None:
            index = offset // PIECE_BYTES
            sender.pieces(index, (digest,))
            if self._digests is not None:
                self._found[index] = digest
                if len(self._found) == pieces_of(self.source.size):
                    self._digests.put(self._version, [self._found[each] for each in range(len(self._found))])

    def _broken(self) -> tuple[str, str]:
        return "read-failed", READ_FAILED

    def _conclude(self, outcome: Outcome) -> None:
        if self._digests is not None and isinstance(outcome, Failed) and outcome.code == "digest-mismatch":
            self._digests.forget(self._version)
        super()._conclude(outcome)

    def _let_go(self) -> None:
        """Closing may block, so it has a thread; a read in another one has come back before."""
        self._run(self.source.close).addErrback(
            lambda failure: self._log.failure("cannot close {name!r}", failure, name=self.name)
        )
        super()._let_go()
