"""What both ends of a transfer agreed on beforehand, the ways it can end, and what is counted meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from blake3 import blake3

from pychat.errors import TransferError

TRANSFER_BYTES = 8
TOKEN_BYTES = 16
KEY_BYTES = 32

#: The largest file: offsets and sizes travel as 64 bits, and no file system goes beyond 2**63 - 1.
MAX_SIZE = 2**63 - 1
#: Bytes of the file that are verified at once: a piece.  The last one of a file may be shorter.
PIECE_BYTES = 1024 * 1024
#: Bytes of the file, of those that are missing, that a receiver takes before it has said how much it takes.
FIRST_WINDOW = 1024 * 1024

NEVER_SENT = "The other end acknowledged what was never sent."


@dataclass(frozen=True, slots=True)
class Terms:
    """The part of an offer that the engine needs.  It travels over the chat line, never over UDP.

    :ivar transfer: 8 bytes that name the transfer; they stand in clear in each of its datagrams.
    :ivar token: 16 bytes that claim the offer.  One offer, one token.
    :ivar key: 32 bytes from which both directions' keys are derived.  One offer, one key.
    :ivar size: bytes of the file.
    :raises ValueError: a field has the wrong length, or the size is negative or beyond `MAX_SIZE`.
    """

    transfer: bytes
    token: bytes = field(repr=False)
    key: bytes = field(repr=False)
    size: int

    def __post_init__(self) -> None:
        for name, value, length in (
            ("transfer", self.transfer, TRANSFER_BYTES),
            ("token", self.token, TOKEN_BYTES),
            ("key", self.key, KEY_BYTES),
        ):
            if len(value) != length:
                raise ValueError(f"{name} has {len(value)} bytes, not {length}")
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError(f"size {self.size} is not between 0 and {MAX_SIZE}")


class NeverSentError(TransferError):
    """The peer acknowledged a packet that was never sent: an optimistic acknowledgement (RFC 9000 §21.4)."""

    def __init__(self) -> None:
        super().__init__("bad-peer", NEVER_SENT)


class Train(NamedTuple):
    """Datagrams that leave together for the same address.

    :ivar buffers: their bytes, one after the other; a buffer may hold one datagram, several, or a part of one.
    :ivar segment: bytes of each datagram; the last may be shorter.
    :ivar address: where to; opaque.
    """

    buffers: list[bytes]
    segment: int
    address: Hashable

    def datagrams(self) -> Iterator[bytes]:
        """Each by itself, for who cannot send them together."""
        joined = b"".join(self.buffers)
        for at in range(0, len(joined), self.segment):
            yield joined[at : at + self.segment]


def pieces_of(size: int) -> int:
    """How many pieces a file of `size` bytes has."""
    return -(-size // PIECE_BYTES)


def new_hash() -> blake3:
    """The hash of pieces and of the root, at the beginning: BLAKE3, five times as fast as SHA-256 in hardware."""
    return blake3()


def digest_of(data: bytes | memoryview) -> bytes:
    """The digest of a piece, 32 bytes."""
    return blake3(data).digest()


def root_of(digests: list[bytes]) -> bytes:
    """The digest of a file's piece digests, all of them, in order."""
    return digest_of(b"".join(digests))


@dataclass(frozen=True, slots=True)
class Done:
    """The receiver holds the whole file and its digest agreed."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The transfer ended without a verified file.

    :ivar code: one word of the list in `docs/transfer.md`.
    :ivar sentence: what to tell a person.
    :ivar remote: whether the peer said so, rather than this end.
    """

    code: str
    sentence: str
    remote: bool = False


Outcome: TypeAlias = Done | Failed


@dataclass(slots=True)
class Counters:
    """What one end has seen so far.

    :ivar datagrams_in: datagrams handed to ``receive``, refused ones too.
    :ivar bytes_in: their bytes.
    :ivar datagrams_out: datagrams that left ``poll``.
    :ivar bytes_out: their bytes.
    :ivar lost: file datagrams declared lost; the receiving end learns the number with the digest.
    :ivar duplicate_bytes: file bytes that arrived again (receiving end only).
    :ivar refused: datagrams that were dropped, by reason (`docs/transfer.md`, "Refused datagrams").
    """

    datagrams_in: int = 0
    bytes_in: int = 0
    datagrams_out: int = 0
    bytes_out: int = 0
    lost: int = 0
    duplicate_bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
