"""What both ends of a transfer do alike: seal and open, refuse replays, acknowledge, and take leave.

Taking leave: the last word of an end (`Verified`, or `Abort` with its reason) is repeated a bounded number of
times, further apart each time, until the peer acknowledges it.  `outcome` is set at once; `closed` says that nothing
more will be sent, and that the transfer can be forgotten.
"""

from __future__ import annotations

from pychat.transfer.packet import (
    FROM_CLIENT,
    FROM_DAEMON,
    Abort,
    Ack,
    Frame,
    PacketError,
    Seal,
    Verified,
    decode,
    encode,
)
from pychat.transfer.ranges import RangeSet
from pychat.transfer.terms import Counters, Failed, Outcome, Terms

#: How often the last word is said, until the peer acknowledges it.
MAX_ABORTS = 3
MAX_VERIFIEDS = 6
#: Ranges of packet numbers kept; what is below them is refused as a replay.
MAX_SEEN_RANGES = 64

TIMED_OUT = "The other end has not answered for too long: is it still running, and does UDP still reach it?"


class Endpoint:
    """One end of a transfer.

    :param terms: what both ends agreed on.
    :param sends: `FROM_CLIENT` or `FROM_DAEMON`: the direction in which this end sends.
    :ivar terms: the same.
    :ivar outcome: None while the transfer runs.
    :ivar closed: nothing more will be sent, and what comes is of no use.
    :ivar counters: see there.
    """

    def __init__(self, terms: Terms, *, sends: int) -> None:
        self.terms = terms
        self.outcome: Outcome | None = None
        self.closed = False
        self.counters = Counters()
        self._sealer = Seal(terms, sends)
        self._opener = Seal(terms, FROM_CLIENT if sends == FROM_DAEMON else FROM_DAEMON)
        self._seen = RangeSet()
        self._seen_floor = 0
        self._largest = -1
        self._largest_time = 0.0
        self._last_word: bytes | None = None
        self._last_word_numbers: set[int] = set()
        self._last_word_at = 0.0
        self._last_word_left = 0
        self._last_word_gap = 0.0

    def fail(self, code: str, sentence: str) -> None:
        """Give up, and tell the peer at the next ``poll``.  Without effect once there is an outcome."""
        if self.outcome is None:
            self._end(Failed(code, sentence))
            self._take_leave(Abort(code, sentence))

    # For the two ends ----------------------------------------------------------------------------------------

    def _end(self, outcome: Outcome) -> None:
        """The outcome stands.  Subclasses let go of what they hold."""
        self.outcome = outcome

    def _number(self) -> int:
        """The packet number of the next packet."""
        raise NotImplementedError  # pragma: no cover - both ends have their own

    def _gap(self) -> float:
        """Seconds after which an answer is overdue."""
        raise NotImplementedError  # pragma: no cover - both ends have their own

    def _refuse(self, reason: str) -> None:
        self.counters.refused[reason] += 1

    def _close(self, payload: bytes) -> tuple[int, bytes]:
        """Seal a packet: its number and the datagram."""
        number = self._number()
        datagram = self._sealer.close(number, payload)
        self.counters.datagrams_out += 1
        self.counters.bytes_out += len(datagram)
        return number, datagram

    def _open(self, datagram: bytes, now: float) -> tuple[int, bytes] | None:
        """The packet number and the frames of a datagram that is new and authentic; else None, and it is counted."""
        counters = self.counters
        counters.datagrams_in += 1
        counters.bytes_in += len(datagram)
        try:
            number = self._opener.number(datagram)
            if number < self._seen_floor or number in self._seen:
                self._refuse("replayed")
                return None
            payload = self._opener.open(number, datagram)
        except PacketError as error:
            self._refuse(error.code)
            return None
        self._seen.add(number, number + 1)
        if number > self._largest:
            self._largest = number
            self._largest_time = now
        return number, payload

    def _frames(self, payload: bytes) -> list[Frame]:
        """All frames of an opened packet; none when they make no sense, which is counted."""
        try:
            return decode(payload)
        except PacketError as error:
            self._refuse(error.code)
            return []

    def _forget_below(self, floor: int) -> None:
        """The peer no longer needs to hear of packet numbers below `floor`, which is at most one it has used."""
        floor = min(floor, self._largest)
        if floor > self._seen_floor:
            self._seen.subtract(self._seen_floor, floor)
            self._seen_floor = floor

    def _ack(self, now: float, limit: int) -> bytes:
        """The acknowledgement of all that came, as a payload."""
        dropped = self._seen.trim(MAX_SEEN_RANGES)
        if dropped is not None:
            self._seen_floor = dropped
        delay = int((now - self._largest_time) * 1e6)
        return encode(Ack(max(delay, 0), limit, self._seen.highest(MAX_SEEN_RANGES)))

    def _take_leave(self, word: Abort | Verified) -> None:
        """Say `word` from the next ``poll`` on."""
        self._last_word = encode(word)
        self._last_word_left = MAX_ABORTS if isinstance(word, Abort) else MAX_VERIFIEDS
        self._last_word_gap = self._gap()
        self._last_word_at = 0.0

    def _say_last_word(self, now: float) -> bytes | None:
        """The datagram with the last word, if there is one and it is due."""
        if self._last_word is None or now < self._last_word_at:
            return None
        number, datagram = self._close(self._last_word)
        self._last_word_numbers.add(number)
        self._last_word_at = now + self._last_word_gap
        self._last_word_gap *= 2
        self._last_word_left -= 1
        if not self._last_word_left:
            self.closed = True
        return datagram

    def _heard_last_word(self, ack: Ack) -> bool:
        """Whether the peer acknowledges the last word; then this end is closed."""
        for number in self._last_word_numbers:
            if any(start <= number < end for start, end in ack.ranges):
                self.closed = True
                return True
        return False
