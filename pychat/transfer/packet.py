"""The bytes of one datagram: a header in clear, and frames sealed with AES-256-GCM.

::

     0        1                 9              15                                    n-16      n
    +--------+-----------------+--------------+-----------------------------------+---------+
    | kind   | transfer id     | packet number| sealed frames                     | tag     |
    +--------+-----------------+--------------+-----------------------------------+---------+

The header is authenticated with the frames (it is the AEAD's associated data).  Each direction has its own key and
IV, derived from the offer's key by HKDF-SHA256 (RFC 5869); the nonce is the IV xor the packet number (RFC 9001
§5.3).  A packet number is never used twice, so neither is a nonce.

`decode` is the only reader of frames and raises nothing but `PacketError`, whatever the bytes.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pychat.errors import TransferError
from pychat.transfer.terms import Terms

#: First byte: version 1 in the high half, the direction in the low half.
FROM_CLIENT = 0x11
FROM_DAEMON = 0x12

HEADER_BYTES = 15
TAG_BYTES = 16
#: What a datagram carries beside its frames.
OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES
#: UDP payload bytes of a full datagram until somebody has measured the path (RFC 9000 §14).
DATAGRAM_BYTES = 1200
#: A frame of file data: kind and offset; the data is the rest of the datagram.
DATA_HEADER_BYTES = 9
ASK_BYTES = 9
MAX_PACKET_NUMBER = 2**48 - 1
MAX_ACK_RANGES = 64
MAX_CODE_BYTES = 32
MAX_SENTENCE_BYTES = 400

PADDING, HELLO, CHALLENGE, RESPONSE, ACK, ASK, PING, DIGEST, VERIFIED, ABORT, DATA = range(11)

_HELLO = struct.Struct("!B16sQ")
_NONCE = struct.Struct("!B8s")
_ACK = struct.Struct("!BIQB")
_RANGE = struct.Struct("!QQ")
_ASK = struct.Struct("!BQ")
_DIGEST = struct.Struct("!BQ32sI")
_ABORT = struct.Struct("!BB")
_SENTENCE = struct.Struct("!H")
_DATA = struct.Struct("!BQ")
_CODE = re.compile(rb"[a-z][a-z0-9-]*")


class PacketError(TransferError):
    """Bytes that are not a datagram of this transfer: ``forged`` or ``malformed``."""


class Hello(NamedTuple):
    """The client claims the offer.  `window`: file bytes it is ready to take before the first `Ack`."""

    token: bytes
    window: int


class Challenge(NamedTuple):
    """The daemon asks whoever said `Hello` to show that it can hear (RFC 9000 §8.1)."""

    nonce: bytes


class Response(NamedTuple):
    """The nonce of the `Challenge` comes back: the address is proven."""

    nonce: bytes


class Ack(NamedTuple):
    """Which packets arrived.

    :ivar delay: µs between the arrival of the largest one and this frame.
    :ivar limit: the file offset up to which the peer may send; 0 from an end that takes no data.
    :ivar ranges: half-open ranges of packet numbers, largest first, with gaps between them.
    """

    delay: int
    limit: int
    ranges: tuple[tuple[int, int], ...]


class Ask(NamedTuple):
    """Acknowledge this packet at once, and forget the packet numbers below `floor`."""

    floor: int


class Ping(NamedTuple):
    """Acknowledge this, and nothing else."""


class Digest(NamedTuple):
    """The whole file has been sent: its size, its SHA-256, and how many datagrams were lost on the way so far."""

    size: int
    sha256: bytes
    lost: int = 0


class Verified(NamedTuple):
    """The receiver has the file under its name, and its digest agreed."""


class Abort(NamedTuple):
    """The transfer is over; no verified file will come of it."""

    code: str
    sentence: str


class Data(NamedTuple):
    """Bytes of the file.  Always the last frame of its packet."""

    offset: int
    data: bytes


Frame: TypeAlias = Hello | Challenge | Response | Ack | Ask | Ping | Digest | Verified | Abort | Data

#: What is acknowledged.  `Hello` and `Challenge` are answered otherwise; an `Ack` for an `Ack` would never end.
ELICITING = (Response, Ask, Ping, Digest, Verified, Abort, Data)


def encode(frame: Frame) -> bytes:
    """One frame as bytes.

    :raises ValueError: an acknowledgement has no range or more than `MAX_ACK_RANGES`.
    """
    if isinstance(frame, Data):
        return _DATA.pack(DATA, frame.offset) + frame.data
    if isinstance(frame, Ack):
        if not 1 <= len(frame.ranges) <= MAX_ACK_RANGES:
            raise ValueError(f"{len(frame.ranges)} ranges")
        head = _ACK.pack(ACK, min(frame.delay, 2**32 - 1), frame.limit, len(frame.ranges))
        return head + b"".join(_RANGE.pack(*pair) for pair in frame.ranges)
    if isinstance(frame, Ask):
        return _ASK.pack(ASK, frame.floor)
    if isinstance(frame, Hello):
        return _HELLO.pack(HELLO, *frame)
    if isinstance(frame, Challenge):
        return _NONCE.pack(CHALLENGE, frame.nonce)
    if isinstance(frame, Response):
        return _NONCE.pack(RESPONSE, frame.nonce)
    if isinstance(frame, Digest):
        return _DIGEST.pack(DIGEST, frame.size, frame.sha256, min(frame.lost, 2**32 - 1))
    if isinstance(frame, Abort):
        code = frame.code.encode("ascii")[:MAX_CODE_BYTES]
        # Cutting may split a character: "ignore" drops the half that is left of it.
        sentence = frame.sentence.encode()[:MAX_SENTENCE_BYTES].decode(errors="ignore").encode()
        return _ABORT.pack(ABORT, len(code)) + code + _SENTENCE.pack(len(sentence)) + sentence
    return bytes((PING if isinstance(frame, Ping) else VERIFIED,))


def pad(payload: bytes, size: int) -> bytes:
    """Make the datagram that will carry `payload` `size` bytes long."""
    return payload.ljust(size - OVERHEAD_BYTES, b"\0")


def decode(payload: bytes) -> list[Frame]:
    """All frames of a packet, at least one.

    :raises PacketError: ``malformed``: an unknown kind, a frame cut short, a value out of its bounds.
    """
    frames: list[Frame] = []
    at, end = 0, len(payload)
    try:
        while at < end:
            kind = payload[at]
            if kind == DATA:
                offset = _DATA.unpack_from(payload, at)[1]
                data = payload[at + DATA_HEADER_BYTES :]
                if not data:
                    raise PacketError("malformed", "data without bytes")
                frames.append(Data(offset, data))
                break
            if kind == PADDING:
                if payload.count(0, at) != end - at:
                    raise PacketError("malformed", "padding that is not zero")
                break
            frame, at = _DECODERS[kind](payload, at)
            frames.append(frame)
    except (struct.error, KeyError) as error:
        raise PacketError("malformed", "an unknown frame, or one cut short") from error
    if not frames:
        raise PacketError("malformed", "a packet without frames")
    return frames


def _decode_hello(payload: bytes, at: int) -> tuple[Frame, int]:
    _, token, window = _HELLO.unpack_from(payload, at)
    return Hello(token, window), at + _HELLO.size


def _decode_challenge(payload: bytes, at: int) -> tuple[Frame, int]:
    return Challenge(_NONCE.unpack_from(payload, at)[1]), at + _NONCE.size


def _decode_response(payload: bytes, at: int) -> tuple[Frame, int]:
    return Response(_NONCE.unpack_from(payload, at)[1]), at + _NONCE.size


def _decode_ack(payload: bytes, at: int) -> tuple[Frame, int]:
    _, delay, limit, count = _ACK.unpack_from(payload, at)
    at += _ACK.size
    end = at + count * _RANGE.size
    if not 1 <= count <= MAX_ACK_RANGES or end > len(payload):
        raise PacketError("malformed", "an acknowledgement without its ranges")
    ranges = tuple(_RANGE.iter_unpack(payload[at:end]))
    above = MAX_PACKET_NUMBER + 2
    for first, last in ranges:
        if not first < last < above:
            raise PacketError("malformed", "ranges that are empty, touching or out of order")
        above = first
    return Ack(delay, limit, ranges), end


def _decode_ask(payload: bytes, at: int) -> tuple[Frame, int]:
    return Ask(_ASK.unpack_from(payload, at)[1]), at + _ASK.size


def _decode_ping(_payload: bytes, at: int) -> tuple[Frame, int]:
    return Ping(), at + 1


def _decode_digest(payload: bytes, at: int) -> tuple[Frame, int]:
    _, size, sha256, lost = _DIGEST.unpack_from(payload, at)
    return Digest(size, sha256, lost), at + _DIGEST.size


def _decode_verified(_payload: bytes, at: int) -> tuple[Frame, int]:
    return Verified(), at + 1


def _decode_abort(payload: bytes, at: int) -> tuple[Frame, int]:
    length = _ABORT.unpack_from(payload, at)[1]
    at += _ABORT.size
    code = payload[at : at + length]
    at += length
    (size,) = _SENTENCE.unpack_from(payload, at)
    at += _SENTENCE.size
    sentence = payload[at : at + size]
    if length > MAX_CODE_BYTES or not _CODE.fullmatch(code):
        raise PacketError("malformed", "an abort without a code")
    if size > MAX_SENTENCE_BYTES or len(sentence) != size:
        raise PacketError("malformed", "an abort with half a sentence")
    # It came from a peer and is on its way to a log or a terminal.
    text = "".join(char if char.isprintable() else "\ufffd" for char in sentence.decode(errors="replace"))
    return Abort(code.decode("ascii"), text), at + size


_DECODERS = {
    HELLO: _decode_hello,
    CHALLENGE: _decode_challenge,
    RESPONSE: _decode_response,
    ACK: _decode_ack,
    ASK: _decode_ask,
    PING: _decode_ping,
    DIGEST: _decode_digest,
    VERIFIED: _decode_verified,
    ABORT: _decode_abort,
}


def transfer_of(datagram: bytes) -> bytes | None:
    """The transfer id that stands in clear in a datagram of ours; None when it cannot be one."""
    if len(datagram) <= OVERHEAD_BYTES or datagram[0] not in (FROM_CLIENT, FROM_DAEMON):
        return None
    return datagram[1:9]


class Seal:
    """The key of one direction of one transfer: it closes datagrams at one end and opens them at the other.

    :param terms: whose key and transfer id are used.
    :param kind: `FROM_CLIENT` or `FROM_DAEMON`.
    """

    __slots__ = ("_aead", "_iv", "_prefix")

    def __init__(self, terms: Terms, kind: int) -> None:
        direction = b"client" if kind == FROM_CLIENT else b"daemon"
        material = HKDF(
            algorithm=SHA256(), length=44, salt=terms.transfer, info=b"pychat transfer 1 from " + direction
        ).derive(terms.key)
        self._aead = AESGCM(material[:32])
        self._iv = int.from_bytes(material[32:], "big")
        self._prefix = bytes((kind,)) + terms.transfer

    def close(self, number: int, payload: bytes) -> bytes:
        """The datagram that carries `payload` as packet `number`, which must never have been used before."""
        header = self._prefix + number.to_bytes(6, "big")
        return header + self._aead.encrypt((self._iv ^ number).to_bytes(12, "big"), payload, header)

    def number(self, datagram: bytes) -> int:
        """The packet number a datagram claims to have.

        :raises PacketError: ``malformed``: too short, another version, another direction or transfer.
        """
        if len(datagram) <= OVERHEAD_BYTES or not datagram.startswith(self._prefix):
            raise PacketError("malformed", "not a datagram of this transfer")
        return int.from_bytes(datagram[9:15], "big")

    def open(self, number: int, datagram: bytes) -> bytes:
        """The frames' bytes.

        :raises PacketError: ``forged``: it was not closed with this key, or not a bit of it is as it was.
        """
        try:
            return self._aead.decrypt(
                (self._iv ^ number).to_bytes(12, "big"), datagram[HEADER_BYTES:], datagram[:HEADER_BYTES]
            )
        except InvalidTag as error:
            raise PacketError("forged", "a datagram that was not closed with this transfer's key") from error
