"""Where the other end is, and the proof of it (RFC 9000 §8).

A datagram's source address is a claim that anybody can make for anybody else.  So the daemon answers a `Hello` with a
nonce, and sends no byte of the file before that nonce came back from the same address; until then, at most three times
as many bytes leave for an address as came in from it.  A host that a TCP handshake has proven already need not do it
again (decision 017).  When the client's address changes later on, the new one is
challenged likewise (§8.2), and the old one stays in use until it has answered.

A `Path` is what an `Endpoint` knows of this.  `ClientPath` greets and answers, `DaemonPath` asks and believes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from hmac import compare_digest
from math import inf
from typing import NamedTuple

from pychat.transfer.frames import (
    Challenge,
    Hello,
    Response,
    encode,
)
from pychat.transfer.packet import DATAGRAM_BYTES, OVERHEAD_BYTES
from pychat.transfer.roundtrip import INITIAL_RTT, MAX_ACK_DELAY

#: Addresses that may be on trial at once: the true one, and a few from which a copied `Hello` came first.
MAX_CANDIDATES = 4
NONCE_BYTES = 8
#: Bytes of a datagram with a challenge.
CHALLENGE_BYTES = OVERHEAD_BYTES + 1 + NONCE_BYTES
#: How many times the bytes that came from an unproven address may leave for it (RFC 9000 §8.1).
AMPLIFICATION = 3
#: Seconds between challenges to the same address, once one is proven.
CHALLENGE_GAP = 0.1
#: Seconds to the second `Hello`; doubles up to `MAX_HELLO_GAP`.
HELLO_GAP = 0.5
MAX_HELLO_GAP = 3.0
#: `Hello` or `Response` datagrams without an answer after which there is no point in another.
MAX_HELLOS = 8
#: `Response` datagrams after which a `Hello` goes with each further one.
PATIENT_TRIES = 2

NO_ANSWER = (
    "The daemon does not answer over UDP: is its UDP port reachable from here, or does a firewall drop it?"
)
TIMED_OUT = "The other end has not answered for too long: is it still running, and does UDP still reach it?"


class Word(NamedTuple):
    """A datagram that a path wants to be sent.

    :ivar address: where to.
    :ivar payload: its frames.
    :ivar size: bytes that the datagram has to have at least.
    """

    address: Hashable
    payload: bytes
    size: int


class Path(ABC):
    """What one end knows of where the other one is.  Addresses are opaque here: compared, and given back.

    :ivar address: where to send, or None as long as nobody is known.
    :ivar ready: whether what is more than a greeting may be sent there.
    :ivar sample: a round trip that was measured, seconds; whoever uses it sets it to None.
    :ivar changed: how often the other end turned out to be somewhere else.
    :ivar window: the largest window that an acceptable `Hello` named.
    """

    address: Hashable | None = None
    ready = False
    sample: float | None = None
    changed = 0
    window = 0

    @property
    def proven(self) -> Hashable | None:
        """The address, once nothing more is to be proven."""
        return self.address if self.ready else None

    @property
    def met(self) -> bool:
        """Whether the other end can know of this one."""
        return self.address is not None

    @abstractmethod
    def heard(self, address: Hashable, nbytes: int, newest: bool, now: float) -> None:
        """Authentic datagrams came, of `nbytes` together, with more in them than what `take` takes.

        :param newest: whether they had the highest packet number so far.
        """

    @abstractmethod
    def take(
        self, frame: Hello | Challenge | Response, address: Hashable, nbytes: int, now: float
    ) -> str | None:
        """Such a frame came, in a datagram of `nbytes`.

        :return: why it is refused, or None.
        """

    @abstractmethod
    def words(self, now: float) -> list[Word]:
        """What is to leave now for the sake of the path."""

    @abstractmethod
    def deadline(self) -> float | None:
        """When `words` is to be called at the latest (now or earlier: at once), or None."""

    def adopt(self, address: Hashable) -> None:
        """Another transfer of the same two ends has proven this address."""
        self.address = address
        self.ready = True

    def gave_up(self, now: float) -> tuple[str, str] | None:
        """The code and the sentence with which to fail, if there is no hope left."""
        return None

    def spend(self, nbytes: int) -> bool:
        """Whether `nbytes` may leave for `address`; if so, they count as sent."""
        return self.address is not None


class _Candidate:
    __slots__ = ("asked", "asked_at", "due", "heard", "nonce", "told")

    def __init__(self, nonce: bytes) -> None:
        self.nonce = nonce
        self.heard = 0
        self.told = 0
        self.asked = 0
        self.asked_at = -inf
        self.due = False


class DaemonPath(Path):
    """Who claimed the offer, and which address showed that it can hear us.

    :param token: what a `Hello` has to know.
    :param random_bytes: gives so many unpredictable bytes.
    :param proven: an address that is proven already, by another transfer of the same client.
    :param trusts: whether a `Hello` from this address is proof enough: its host is known to be the client's.
    """

    def __init__(
        self,
        token: bytes,
        random_bytes: Callable[[int], bytes],
        *,
        proven: Hashable | None = None,
        trusts: Callable[[Hashable], bool] = lambda _: False,
    ) -> None:
        self.address = proven
        self.ready = proven is not None
        self._token = token
        self._random_bytes = random_bytes
        self._trusts = trusts
        self._candidates: dict[Hashable, _Candidate] = {}

    def heard(self, address: Hashable, nbytes: int, newest: bool, now: float) -> None:
        if not self.ready or address == self.address:
            return
        candidate = self._candidates.get(address)
        if candidate is None:
            if not newest:
                return
            candidate = self._candidate(address)
        candidate.heard += nbytes
        if newest and now >= candidate.asked_at + CHALLENGE_GAP:
            candidate.due = True

    def take(
        self, frame: Hello | Challenge | Response, address: Hashable, nbytes: int, now: float
    ) -> str | None:
        if isinstance(frame, Hello):
            if nbytes < DATAGRAM_BYTES or not compare_digest(frame.token, self._token):
                return "bad-hello"
            self.window = max(self.window, frame.window)
            if not self.ready and self._trusts(address):
                self.adopt(address)
            if address == self.proven:
                return None
            candidate = self._candidate(address)
            candidate.heard += nbytes
            candidate.due = True
            return None
        if isinstance(frame, Challenge):
            return "unexpected"
        proven = self._candidates.get(address)
        if proven is None or not compare_digest(frame.nonce, proven.nonce):
            # A nonce that came back twice is no fault: its first answer may have been lost.
            return None if self.ready and address == self.address else "bad-response"
        if proven.asked == 1:
            self.sample = now - proven.asked_at
        if self.ready and address != self.address:
            self.changed += 1
        self.adopt(address)
        return None

    def adopt(self, address: Hashable) -> None:
        super().adopt(address)
        self._candidates.clear()

    def _candidate(self, address: Hashable) -> _Candidate:
        """The candidate of this address, who is now the last to be forgotten."""
        candidate = self._candidates.pop(address, None)
        if candidate is None:
            candidate = _Candidate(self._random_bytes(NONCE_BYTES))
            while len(self._candidates) >= MAX_CANDIDATES:
                del self._candidates[next(iter(self._candidates))]
        self._candidates[address] = candidate
        if not self.ready:
            self.address = address
        return candidate

    def words(self, now: float) -> list[Word]:
        leaving: list[Word] = []
        for address, candidate in self._candidates.items():
            if candidate.due and _spend(candidate, CHALLENGE_BYTES):
                candidate.asked += 1
                candidate.asked_at = now
                leaving.append(Word(address, encode(Challenge(candidate.nonce)), 0))
            candidate.due = False
        return leaving

    def deadline(self) -> float | None:
        return -inf if any(candidate.due for candidate in self._candidates.values()) else None

    def spend(self, nbytes: int) -> bool:
        if self.ready:
            return True
        candidate = self._candidates.get(self.address)
        return candidate is not None and _spend(candidate, nbytes)


def _spend(candidate: _Candidate, nbytes: int) -> bool:
    if candidate.told + nbytes > AMPLIFICATION * candidate.heard:
        return False
    candidate.told += nbytes
    return True


class ClientPath(Path):
    """The way to the daemon, whose address was told on the chat line.

    Says `Hello` until it is challenged, and `Response` until it hears anything else.

    :param token: claims the offer.
    :param address: the daemon's.
    :param window: the offset in the file up to which this end takes bytes before its first `Ack`; 0 if it sends.
    :param now: seconds.
    :param greets: whether to say `Hello` at once.  Otherwise this address was proven earlier, the daemon may begin
        by itself, and `Hello` is for the case that nothing comes.
    :param rtt: seconds that a round trip took lately, if that is known.
    """

    def __init__(
        self,
        token: bytes,
        address: Hashable,
        *,
        window: int,
        now: float,
        greets: bool = True,
        rtt: float = INITIAL_RTT,
    ) -> None:
        self.address = address
        self.ready = not greets
        self._hello = encode(Hello(token, window))
        self._nonce: bytes | None = None
        self._heard = False
        self._answer_due = False
        self._try_at = now if greets else now + max(3 * rtt, HELLO_GAP)
        self._gap = HELLO_GAP
        self._tries = 0
        self._asked_at = now

    @property
    def met(self) -> bool:
        return self.ready or self._nonce is not None

    def heard(self, address: Hashable, nbytes: int, newest: bool, now: float) -> None:
        # Who has the key is the daemon, wherever it answers from: the address does not matter.
        self._heard = self.ready = True

    def take(
        self, frame: Hello | Challenge | Response, address: Hashable, nbytes: int, now: float
    ) -> str | None:
        if not isinstance(frame, Challenge):
            return "unexpected"
        if self._heard:
            # It sees us at another address than before (RFC 9000 §8.2), or is late: one answer each.
            self._nonce = frame.nonce
            self._answer_due = True
        elif frame.nonce != self._nonce:
            if self._nonce is None and self._tries == 1:
                self.sample = max(now - self._asked_at, 0.0)
            self._nonce = frame.nonce
            self._tries = 0
            self._gap = 2 * (INITIAL_RTT if self.sample is None else self.sample) + MAX_ACK_DELAY
            self._try_at = now
        return None

    def words(self, now: float) -> list[Word]:
        if self._heard:
            if not self._answer_due:
                return []
            self._answer_due = False
        elif now < self._try_at or self._tries == MAX_HELLOS:
            return []
        else:
            self._tries += 1
            self._try_at = now + self._gap
            self._gap = min(2 * self._gap, MAX_HELLO_GAP)
            self._asked_at = now
        if self._nonce is None:
            return [Word(self.address, self._hello, DATAGRAM_BYTES)]
        answer = Word(self.address, encode(Response(self._nonce)), 0)
        if self._heard or self._tries <= PATIENT_TRIES:
            return [answer]
        # Perhaps the daemon sees us elsewhere by now, where this nonce proves nothing.
        return [Word(self.address, self._hello, DATAGRAM_BYTES), answer]

    def deadline(self) -> float | None:
        if self._heard:
            return -inf if self._answer_due else None
        return self._try_at

    def gave_up(self, now: float) -> tuple[str, str] | None:
        if self._heard or self._tries < MAX_HELLOS or now < self._try_at:
            return None
        return ("no-answer", NO_ANSWER) if self._nonce is None else ("timed-out", TIMED_OUT)
