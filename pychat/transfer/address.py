"""The proof that a peer is where its datagrams say it is (RFC 9000 §8).

A datagram's source address is a claim that anybody can make for anybody else.  So the daemon answers a `Hello` with a
nonce, and sends no byte of the file before that nonce came back from the same address; until then, fewer bytes leave
for an address than came in from it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from hmac import compare_digest
from math import inf

#: Addresses that may be on trial at once: the true one, and a few from which a copied `Hello` came first.
MAX_CANDIDATES = 4
NONCE_BYTES = 8


class _Candidate:
    __slots__ = ("asked", "asked_at", "due", "heard", "nonce", "told")

    def __init__(self, nonce: bytes) -> None:
        self.nonce = nonce
        self.heard = 0
        self.told = 0
        self.asked = 0
        self.asked_at = 0.0
        self.due = False


class AddressProof:
    """Who claimed the offer, and which address showed that it can hear us.

    :param token: what a `Hello` has to know.
    :param random_bytes: gives so many unpredictable bytes.
    :ivar proven: the address, once it is proven.  Addresses are opaque here.
    """

    def __init__(self, token: bytes, random_bytes: Callable[[int], bytes]) -> None:
        self.proven: Hashable | None = None
        self._token = token
        self._random_bytes = random_bytes
        self._candidates: dict[Hashable, _Candidate] = {}

    def hello(self, address: Hashable, token: bytes, nbytes: int) -> bool:
        """A `Hello` of `nbytes` came from `address`.

        :return: whether the token is the offer's; then a challenge is due.
        """
        if not compare_digest(token, self._token):
            return False
        candidate = self._candidates.pop(address, None)
        if candidate is None:
            candidate = _Candidate(self._random_bytes(NONCE_BYTES))
            while len(self._candidates) >= MAX_CANDIDATES:
                del self._candidates[next(iter(self._candidates))]
        self._candidates[address] = candidate
        candidate.heard += nbytes
        candidate.due = True
        return True

    @property
    def due(self) -> bool:
        """Whether `challenges` has some to give."""
        return any(candidate.due for candidate in self._candidates.values())

    def challenges(self, nbytes: int, now: float) -> list[tuple[Hashable, bytes]]:
        """The addresses to challenge now, with a datagram of `nbytes` each, and each one's nonce.

        Who is no longer on trial is not among them, nor is who has not sent as many bytes.
        """
        leaving: list[tuple[Hashable, bytes]] = []
        for address, candidate in self._candidates.items():
            if candidate.due and self.spend(address, nbytes):
                candidate.asked += 1
                candidate.asked_at = now
                leaving.append((address, candidate.nonce))
            candidate.due = False
        return leaving

    def response(self, address: Hashable, nonce: bytes, now: float) -> float | None:
        """`address` sent a nonce back.

        :return: None when that proves nothing; else the round-trip time in seconds, or infinity when it cannot be told
            because the challenge was sent more than once.
        """
        candidate = self._candidates.get(address)
        if candidate is None or not compare_digest(nonce, candidate.nonce):
            return None
        self.proven = address
        self._candidates.clear()
        return now - candidate.asked_at if candidate.asked == 1 else inf

    def latest(self) -> Hashable | None:
        """The proven address, or else the one from which the last `Hello` came, or None."""
        return self.proven or next(reversed(self._candidates), None)

    def spend(self, address: Hashable, nbytes: int) -> bool:
        """Whether `nbytes` may leave for `address`; if so, they count as sent."""
        if address == self.proven:
            return True
        candidate = self._candidates.get(address)
        if candidate is None or candidate.told + nbytes > candidate.heard:
            return False
        candidate.told += nbytes
        return True
