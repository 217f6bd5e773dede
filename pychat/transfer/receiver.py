"""The end that wants the file.

Data may arrive in any order and any number of times; each byte is handed on once, to be written where it belongs.  What
was handed on and is not `written` yet counts against the window that the sender is told, so that a slow disk slows
the sender and memory stays bounded.  The life of a receiver::

    greeting --Challenge--> proving --anything else--> receiving --Digest and all bytes--> verified() --> Done
        |                      |                            |
        +-- no answer ---------+-- no answer, fail(), Abort heard --> Failed           both: taking leave --> closed
"""

from __future__ import annotations

from pychat.transfer.endpoint import TIMED_OUT, Endpoint
from pychat.transfer.packet import DATA as DATA_KIND
from pychat.transfer.packet import (
    DATA_HEADER_BYTES,
    DATAGRAM_BYTES,
    ELICITING,
    FROM_CLIENT,
    Abort,
    Ack,
    Ask,
    Challenge,
    Data,
    Digest,
    Frame,
    Hello,
    Ping,
    Response,
    Verified,
    encode,
    pad,
)
from pychat.transfer.ranges import RangeSet
from pychat.transfer.recovery import INITIAL_RTT, MAX_ACK_DELAY
from pychat.transfer.terms import Done, Failed, Outcome, Terms

#: Bytes of the file that may be on their way or waiting for the disk.
WINDOW_BYTES = 4 * 1024 * 1024
#: Seconds to the second `Hello`; doubles up to `MAX_HELLO_GAP`.
HELLO_GAP = 0.5
MAX_HELLO_GAP = 3.0
#: `Hello` or `Response` datagrams without an answer after which there is no point in another.
MAX_HELLOS = 8
#: Seconds of silence after which the sender is asked for a sign of life, and how often.
IDLE_SECONDS = 5.0
MAX_PINGS = 6
#: The same when there is another sign that the daemon is gone.
HURRIED_SECONDS = 1.0
HURRIED_PINGS = 3
#: Packets after which an acknowledgement is due even though the sender has not asked.
ACK_EVERY = 64
#: The sender hears of a window that has opened by this part of it.
WINDOW_STEP = 4

NO_ANSWER = (
    "The daemon does not answer over UDP: is its UDP port reachable from here, or does a firewall drop it?"
)


class Receiver(Endpoint):
    """Fetches one file.

    :param terms: the offer.
    :param now: seconds.
    :param window: bytes of the file that may be on their way or waiting for the disk.
    :ivar received: bytes of the file that have arrived, each counted once.
    """

    def __init__(self, terms: Terms, *, now: float, window: int = WINDOW_BYTES) -> None:
        super().__init__(terms, sends=FROM_CLIENT)
        self.received = 0
        self._now = now
        self._window = window
        self._limit = window
        self._next_number = 0
        self._rtt = INITIAL_RTT
        self._nonce: bytes | None = None
        self._heard = False
        self._try_at = now
        self._try_gap = HELLO_GAP
        self._tries = 0
        self._asked_at = now
        self._have = RangeSet()
        self._runs: list[tuple[int, list[bytes]]] = []
        self._run_end = -1
        self._taken = 0
        self._written = 0
        self._sha256: bytes | None = None
        self._unacked = 0
        self._ack_at: float | None = None
        self._idle_at = now
        self._idle_gap = IDLE_SECONDS
        self._max_pings = MAX_PINGS
        self._pings = 0

    # What an adapter asks -------------------------------------------------------------------------------------

    @property
    def heard(self) -> bool:
        """Whether the daemon has answered at all."""
        return self._heard or self._nonce is not None

    @property
    def rtt(self) -> float:
        """Seconds from the last `Hello` to its answer."""
        return self._rtt

    @property
    def digest(self) -> bytes | None:
        """The SHA-256 that the sender computed, once it and all bytes of the file have arrived."""
        return self._sha256 if self.received == self.terms.size else None

    @property
    def waiting(self) -> int:
        """Bytes that `take_writes` would give now."""
        return self.received - self._taken

    def take_writes(self) -> list[tuple[int, bytes]]:
        """What has arrived since the last call: offsets, and the bytes that belong there."""
        writes = [(start, b"".join(pieces)) for start, pieces in self._runs]
        self._runs = []
        self._run_end = -1
        self._taken = self.received
        return writes

    def written(self, nbytes: int) -> None:
        """So many bytes of what `take_writes` gave are on the disk: as many more may come."""
        self._written += nbytes
        if self._written + self._window - self._limit >= self._window // WINDOW_STEP:
            self._ack_at = self._now

    def verified(self) -> None:
        """The file is complete, synced, under its name, and its digest agreed: tell the sender.

        :raises ValueError: there is no digest yet.
        """
        if self.digest is None:
            raise ValueError("a file that is not complete cannot have been verified")
        if self.outcome is None:
            self._end(Done())
            self._take_leave(Verified())

    def hurry(self, now: float) -> None:
        """Something else says that the daemon may be gone: ask at once, and do not wait for long.

        A daemon that still answers goes on as before.
        """
        self._idle_gap = HURRIED_SECONDS
        self._max_pings = HURRIED_PINGS
        self._idle_at = min(self._idle_at, now + HURRIED_SECONDS)
        self._pings = 0

    # Datagrams in ---------------------------------------------------------------------------------------------

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram came.  Whose it is shows when it is opened, so the address does not matter."""
        self._now = now
        if self.closed:
            self._refuse("closed")
            return
        in_order = self._largest + 1
        opened = self._open(datagram, now)
        if opened is None:
            return
        number, payload = opened
        self._idle_at = now + self._idle_gap
        self._pings = 0
        if payload[0] == DATA_KIND and len(payload) > DATA_HEADER_BYTES:
            # The way of nearly all packets, without the detour over a list of frames.
            self._heard = True
            self._elicited(number == in_order, now)
            self._store(int.from_bytes(payload[1:DATA_HEADER_BYTES], "big"), payload[DATA_HEADER_BYTES:])
            return
        for frame in self._frames(payload):
            if isinstance(frame, Challenge):
                self._challenged(frame.nonce, now)
                continue
            self._heard = True
            if isinstance(frame, ELICITING):
                self._elicited(number == in_order and not isinstance(frame, Ask | Digest | Ping | Abort), now)
            self._take(frame)

    def _challenged(self, nonce: bytes, now: float) -> None:
        if self._heard or nonce == self._nonce:
            return
        if self._nonce is None:
            self._rtt = max(now - self._asked_at, 0.0)
        self._nonce = nonce
        self._tries = 0
        self._try_gap = 2 * self._rtt + MAX_ACK_DELAY
        self._try_at = now

    def _elicited(self, relaxed: bool, now: float) -> None:
        """A packet came that wants an acknowledgement: at once, unless it is as expected (RFC 9000 §13.2)."""
        self._unacked += 1
        if not relaxed or self._unacked >= ACK_EVERY:
            self._ack_at = now
        elif self._ack_at is None:
            self._ack_at = now + MAX_ACK_DELAY

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Data):
            self._store(frame.offset, frame.data)
        elif isinstance(frame, Ask):
            self._forget_below(frame.floor)
        elif isinstance(frame, Ack):
            self._heard_last_word(frame)
        elif isinstance(frame, Digest):
            if frame.size != self.terms.size or self._sha256 not in (None, frame.sha256):
                self.fail("source-changed", "The file changed while it was on its way: ask for it again.")
            self._sha256 = frame.sha256
            self.counters.lost = frame.lost
        elif isinstance(frame, Abort):
            if self.outcome is None:
                self._end(Failed(frame.code, frame.sentence, remote=True))
        elif not isinstance(frame, Ping):
            self._refuse("unexpected")

    def _store(self, offset: int, data: bytes) -> None:
        """Keep what is new of `data` until somebody takes it to the disk."""
        if self.outcome is not None:
            return
        end = offset + len(data)
        if end > self.terms.size or end > self._limit:
            self._refuse("out-of-range")
            return
        news = self._have.missing(offset, end)
        fresh = 0
        for start, stop in news:
            piece = data if stop - start == len(data) else data[start - offset : stop - offset]
            if start == self._run_end:
                self._runs[-1][1].append(piece)
            else:
                self._runs.append((start, [piece]))
            self._run_end = stop
            self._have.add(start, stop)
            fresh += stop - start
        self.received += fresh
        self.counters.duplicate_bytes += len(data) - fresh

    # Datagrams out --------------------------------------------------------------------------------------------

    def poll(self, now: float) -> list[bytes]:
        """The datagrams that are to leave now."""
        self._now = now
        out: list[bytes] = []
        if self.closed:
            return out
        if self.outcome is None:
            self._expire(now, out)
        if self._ack_at is not None and now >= self._ack_at:
            self._limit = max(self._limit, self._written + self._window)
            out.append(self._close(self._ack(now, self._limit))[1])
            self._ack_at = None
            self._unacked = 0
        if self.outcome is not None:
            self._part(out, now)
        return out

    def deadline(self) -> float | None:
        """When `poll` is to be called at the latest, or None for never."""
        if self.closed:
            return None
        if self.outcome is not None:
            deadline = self._last_word_at
        else:
            deadline = self._idle_at if self._heard else self._try_at
        return deadline if self._ack_at is None else min(deadline, self._ack_at)

    def _part(self, out: list[bytes], now: float) -> None:
        """There is an outcome: the last word, as often as it takes."""
        if self._last_word is None or not self.heard:
            # The sender has left itself, or never knew of us.
            self.closed = True
            return
        datagram = self._say_last_word(now)
        if datagram is not None:
            out.append(datagram)

    def _expire(self, now: float, out: list[bytes]) -> None:
        """What the deadline that has passed, if one has, was about."""
        if self._heard:
            if now < self._idle_at:
                return
            if self._pings >= self._max_pings:
                self.fail("timed-out", TIMED_OUT)
                return
            self._pings += 1
            self._idle_at = now + self._idle_gap
            out.append(self._close(encode(Ping()))[1])
            return
        if now < self._try_at:
            return
        if self._tries == MAX_HELLOS:
            if self._nonce is None:
                self.fail("no-answer", NO_ANSWER)
            else:
                self.fail("timed-out", TIMED_OUT)
            return
        self._tries += 1
        self._try_at = now + self._try_gap
        self._try_gap = min(2 * self._try_gap, MAX_HELLO_GAP)
        self._asked_at = now
        self._idle_at = now + self._idle_gap
        if self._nonce is not None:
            out.append(self._close(encode(Response(self._nonce)))[1])
        else:
            out.append(self._close(pad(encode(Hello(self.terms.token, self._limit)), DATAGRAM_BYTES))[1])

    # Of `Endpoint` --------------------------------------------------------------------------------------------

    def _end(self, outcome: Outcome) -> None:
        super()._end(outcome)
        self._runs = []
        self._run_end = -1

    def _number(self) -> int:
        number = self._next_number
        self._next_number += 1
        return number

    def _gap(self) -> float:
        return 2 * self._rtt + MAX_ACK_DELAY
