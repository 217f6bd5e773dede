"""What is sealed in a packet: frames, one after the other.

`decode` is the only reader of frames and raises nothing but `PacketError`, whatever the bytes.  File data, which is
nearly all of the traffic, has its own way in `Seal.close_data` and `Endpoint.receive`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from pychat.transfer.packet import MAX_PACKET_NUMBER, Buffer, PacketError

#: A frame of file data: kind and offset; the data is the rest of the packet.
DATA_HEADER_BYTES = 9
ASK_BYTES = 9
MAX_ACK_RANGES = 64
#: A BLAKE3 digest of a piece of the file, and how many one frame holds.
DIGEST_BYTES = 32
MAX_PIECES = 32
MAX_CODE_BYTES = 32
MAX_SENTENCE_BYTES = 400
MAX_STATE_BYTES = 16

PADDING, HELLO, CHALLENGE, RESPONSE, ACK, ASK, PING, DIGEST, VERIFIED, ABORT, DATA, PIECES, AGAIN, PAUSE = (
    range(14)
)
METRICS, MEASURE = 14, 15

_HELLO = struct.Struct("!B16sQ")
_NONCE = struct.Struct("!B8s")
_ACK = struct.Struct("!BIQQB")
_RANGE = struct.Struct("!QQ")
_ASK = struct.Struct("!BQ")
_DIGEST = struct.Struct("!BQ32sI")
_ABORT = struct.Struct("!BB")
_SENTENCE = struct.Struct("!H")
_DATA = struct.Struct("!BQ")
_PIECES = struct.Struct("!BIB")
_AGAIN = struct.Struct("!BQQ")
_PAUSE = struct.Struct("!BB")
_METRICS = struct.Struct("!BQQIIIQQIHB")
_MEASURE = struct.Struct("!BH")
_CODE = re.compile(rb"[a-z][a-z0-9-]*")
_STATE = re.compile(rb"[a-z][a-z-]*")


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
    :ivar clock: the acknowledging end's own clock when the largest one arrived, µs, of an epoch of its own.
    :ivar limit: the file offset up to which the peer may send; 0 from an end that takes no data.
    :ivar ranges: half-open ranges of packet numbers, largest first, with gaps between them.
    """

    delay: int
    clock: int
    limit: int
    ranges: tuple[tuple[int, int], ...]


class Ask(NamedTuple):
    """Acknowledge this packet at once, and forget the packet numbers below `floor`."""

    floor: int


class Ping(NamedTuple):
    """Acknowledge this, and nothing else."""


class Digest(NamedTuple):
    """The whole file has been sent.

    :ivar root: the digest of the digests of its pieces, one after the other.
    :ivar lost: how many datagrams were lost on the way so far.
    """

    size: int
    root: bytes
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
    data: Buffer


class Pieces(NamedTuple):
    """The BLAKE3 digests of consecutive pieces of the file, of 1 MiB each (the last one may be shorter).

    :ivar first: the index of the first of them.
    """

    first: int
    digests: tuple[bytes, ...]


class Again(NamedTuple):
    """A piece of the file did not verify: send these bytes again."""

    offset: int
    length: int


class Pause(NamedTuple):
    """Send no file data until further notice, or go on."""

    on: bool


class Metrics(NamedTuple):
    """How the sender stands, for who wants to see it.  Neither acknowledged nor repeated.

    :ivar window: bytes that may be in flight; 0 where nothing bounds them (TCP).
    :ivar in_flight: bytes.
    :ivar latest: the last round trip, µs; 0 before there was one.
    :ivar smoothed: round trip, µs.
    :ivar minimum: round trip, µs.
    :ivar pacing: bytes per second at which it sends.
    :ivar rate: bytes per second that arrive; 0 before that is known.
    :ivar lost: datagrams that were lost so far.
    :ivar datagram: UDP payload bytes of a full one.
    :ivar state: what its congestion controller is about, in a word of small letters and hyphens.
    """

    window: int
    in_flight: int
    latest: int
    smoothed: int
    minimum: int
    pacing: int
    rate: int
    lost: int
    datagram: int
    state: str


class Measure(NamedTuple):
    """The receiver would like `Metrics` every so many milliseconds."""

    interval: int


Frame: TypeAlias = (
    Hello
    | Challenge
    | Response
    | Ack
    | Ask
    | Ping
    | Digest
    | Verified
    | Abort
    | Data
    | Pieces
    | Again
    | Pause
    | Metrics
    | Measure
)

#: What is acknowledged.  `Hello` and `Challenge` are answered otherwise; an `Ack` for an `Ack` would never end.
ELICITING = (Response, Ask, Ping, Digest, Verified, Abort, Data, Pieces, Again, Pause, Measure)


def encode(frame: Frame) -> bytes:
    """One frame as bytes.

    :raises ValueError: an acknowledgement without a range or with more than `MAX_ACK_RANGES`; as many digests.
    """
    if isinstance(frame, Data):
        return _DATA.pack(DATA, frame.offset) + frame.data
    if isinstance(frame, Ack):
        if not 1 <= len(frame.ranges) <= MAX_ACK_RANGES:
            raise ValueError(f"{len(frame.ranges)} ranges")
        head = _ACK.pack(ACK, min(frame.delay, 2**32 - 1), frame.clock, frame.limit, len(frame.ranges))
        return head + b"".join([_RANGE.pack(*pair) for pair in frame.ranges])
    encoder = _ENCODERS.get(type(frame))
    return encoder(frame) if encoder is not None else bytes((PING if isinstance(frame, Ping) else VERIFIED,))


def _encode_abort(frame: Abort) -> bytes:
    code = frame.code.encode("ascii")[:MAX_CODE_BYTES]
    # Cutting may split a character: "ignore" drops the half that is left of it.
    sentence = frame.sentence.encode()[:MAX_SENTENCE_BYTES].decode(errors="ignore").encode()
    return _ABORT.pack(ABORT, len(code)) + code + _SENTENCE.pack(len(sentence)) + sentence


def _encode_pieces(frame: Pieces) -> bytes:
    if not 1 <= len(frame.digests) <= MAX_PIECES:
        raise ValueError(f"{len(frame.digests)} digests")
    return _PIECES.pack(PIECES, frame.first, len(frame.digests)) + b"".join(frame.digests)


def _encode_metrics(frame: Metrics) -> bytes:
    state = frame.state.encode("ascii")[:MAX_STATE_BYTES]
    small, large = 2**32 - 1, 2**64 - 1
    window, in_flight, latest, smoothed, minimum, pacing, rate, lost, datagram, _ = frame
    times = min(latest, small), min(smoothed, small), min(minimum, small)
    rates = min(pacing, large), min(rate, large)
    head = _METRICS.pack(METRICS, window, in_flight, *times, *rates, min(lost, small), datagram, len(state))
    return head + state


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    Ask: lambda frame: _ASK.pack(ASK, frame.floor),
    Hello: lambda frame: _HELLO.pack(HELLO, *frame),
    Challenge: lambda frame: _NONCE.pack(CHALLENGE, frame.nonce),
    Response: lambda frame: _NONCE.pack(RESPONSE, frame.nonce),
    Digest: lambda frame: _DIGEST.pack(DIGEST, frame.size, frame.root, min(frame.lost, 2**32 - 1)),
    Again: lambda frame: _AGAIN.pack(AGAIN, *frame),
    Pause: lambda frame: _PAUSE.pack(PAUSE, frame.on),
    Abort: _encode_abort,
    Pieces: _encode_pieces,
    Metrics: _encode_metrics,
    Measure: lambda frame: _MEASURE.pack(MEASURE, *frame),
}


def decode(payload: bytes) -> list[Frame]:
    """All frames of a packet, at least one.  The bytes of a `Data` are a view into `payload`.

    :raises PacketError: ``malformed``: an unknown kind, a frame cut short, a value out of its bounds.
    """
    frames: list[Frame] = []
    at, end = 0, len(payload)
    try:
        while at < end:
            kind = payload[at]
            if kind == DATA:
                offset = _DATA.unpack_from(payload, at)[1]
                data = memoryview(payload)[at + DATA_HEADER_BYTES :]
                if not len(data):
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
    _, delay, clock, limit, count = _ACK.unpack_from(payload, at)
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
    return Ack(delay, clock, limit, ranges), end


def _decode_ask(payload: bytes, at: int) -> tuple[Frame, int]:
    return Ask(_ASK.unpack_from(payload, at)[1]), at + _ASK.size


def _decode_ping(_payload: bytes, at: int) -> tuple[Frame, int]:
    return Ping(), at + 1


def _decode_digest(payload: bytes, at: int) -> tuple[Frame, int]:
    _, size, root, lost = _DIGEST.unpack_from(payload, at)
    return Digest(size, root, lost), at + _DIGEST.size


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


def _decode_pieces(payload: bytes, at: int) -> tuple[Frame, int]:
    _, first, count = _PIECES.unpack_from(payload, at)
    at += _PIECES.size
    end = at + count * DIGEST_BYTES
    if not 1 <= count <= MAX_PIECES or end > len(payload):
        raise PacketError("malformed", "pieces without their digests")
    return Pieces(first, tuple([payload[i : i + DIGEST_BYTES] for i in range(at, end, DIGEST_BYTES)])), end


def _decode_again(payload: bytes, at: int) -> tuple[Frame, int]:
    _, offset, length = _AGAIN.unpack_from(payload, at)
    return Again(offset, length), at + _AGAIN.size


def _decode_pause(payload: bytes, at: int) -> tuple[Frame, int]:
    on = _PAUSE.unpack_from(payload, at)[1]
    if on > 1:
        raise PacketError("malformed", "a pause that is neither on nor off")
    return Pause(on == 1), at + _PAUSE.size


def _decode_metrics(payload: bytes, at: int) -> tuple[Frame, int]:
    _, *numbers, length = _METRICS.unpack_from(payload, at)
    at += _METRICS.size
    state = payload[at : at + length]
    if length > MAX_STATE_BYTES or len(state) != length or not _STATE.fullmatch(state):
        raise PacketError("malformed", "metrics without a state")
    return Metrics._make((*numbers, state.decode("ascii"))), at + length


def _decode_measure(payload: bytes, at: int) -> tuple[Frame, int]:
    return Measure(_MEASURE.unpack_from(payload, at)[1]), at + _MEASURE.size


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
    PIECES: _decode_pieces,
    AGAIN: _decode_again,
    PAUSE: _decode_pause,
    METRICS: _decode_metrics,
    MEASURE: _decode_measure,
}
