"""What a daemon's ``<offer>`` and ``<path>`` lines say, checked field by field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from ..errors import LocalProtocolError, RemoteProtocolError
from ..grammar import Line
from ..transfer.terms import KEY_BYTES, MAX_SIZE, TOKEN_BYTES, TRANSFER_BYTES, Terms
from .answers import Answer

VERSION_LIMIT = 128
"""Bytes of an offer's ``version``."""

RANGES_LIMIT = 64
"""Ranges of bytes that one line may name."""

_NUMBER = re.compile(rb"[0-9]{1,19}")
_VERSION = re.compile(rb"[\x21-\x7e]{1,%d}" % VERSION_LIMIT)
_RANGE = re.compile(rb"([0-9]{1,19})-([0-9]{1,19})")

Ranges = tuple[tuple[int, int], ...]
"""Half-open ranges of bytes, ascending."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What it takes to move a file.

    :ivar name: as the daemon calls it.
    :ivar version: opaque; another version means other content.
    :ivar terms: transfer id, token, key and size.
    :ivar host: where the UDP port is; ``None``: where the line connection goes.
    :ivar port: UDP port; ``None`` if there is none.
    :ivar tcp: whether it may be moved over a TCP connection of its own.
    :ivar path: the transfer id of the ``<path>`` whose proof of our address is good for this one, too.
    :ivar resumed: the ranges that were named are taken for what is there already.
    :ivar up: whether the file goes to the daemon.
    :ivar have: of such a file, what the daemon has from an earlier attempt.
    """

    name: str
    version: str
    terms: Terms
    host: str | None = None
    port: int | None = None
    tcp: bool = False
    path: bytes | None = None
    resumed: bool = False
    up: bool = False
    have: Ranges = ()


@dataclass(frozen=True, slots=True)
class PathOffer:
    """Where to prove our UDP address once for the whole connection.

    :ivar terms: of a transfer that moves no file.
    """

    terms: Terms
    host: str | None
    port: int


def read_offer(line: Line) -> Offer:
    """Check every field of an ``<offer>``.

    :raise RemoteProtocolError: ``bad-answer``.
    """
    given = line.attributes
    try:
        name, version = line.text.decode(), given.get(b"version", b"")
        up = given.get(b"direction") == b"up"
        if not name or not (_VERSION.fullmatch(version) or up):
            raise ValueError("name or version")
        terms = _terms(line, _number(given.get(b"size", b""), MAX_SIZE))
        port = _port(line) if b"port" in given else None
        tcp = given.get(b"tcp") == b"yes"
        if port is None and not tcp:
            raise ValueError("no way")
        return Offer(
            name,
            version.decode(),
            terms,
            _host(line),
            port,
            tcp,
            _hex(line, b"path", TRANSFER_BYTES) if b"path" in given else None,
            given.get(b"resumed") == b"yes",
            up,
            read_ranges(given.get(b"have", b""), terms.size),
        )
    except ValueError:
        # Not the error's own text: what is wrong may be the key.
        raise RemoteProtocolError(
            "bad-answer", "The daemon's offer cannot be understood. Is it a newer daemon? Then update pychat."
        ) from None


def read_path(line: Line) -> PathOffer:
    """Check every field of a ``<path>``.

    :raise RemoteProtocolError: ``bad-answer``.
    """
    try:
        return PathOffer(_terms(line, 0), _host(line), _port(line))
    except ValueError:
        raise RemoteProtocolError("bad-answer", "The daemon's path cannot be understood.") from None


def read_asked_offer(answer: Answer, name: str, up: bool = False) -> Offer:
    """The offer of the file that was asked for, or that is to go `up`.

    :raise RemoteProtocolError: ``bad-answer``.
    :raise LocalProtocolError: ``no-hello``.
    """
    if answer.line.verb != b"offer":
        raise LocalProtocolError("no-hello", "Say hello before you ask for a file.")
    offer = read_offer(answer.line)
    if (offer.name, offer.up) != (name, up):
        raise RemoteProtocolError("bad-answer", "The daemon offers another file than the one asked for.")
    return offer


def read_ranges(text: bytes, size: int) -> Ranges:
    """Ranges as a line has them, ``0-1048576,2097152-3145728``.

    :raise ValueError: they are not ascending, not in the file, or too many.
    """
    ranges: list[tuple[int, int]] = []
    for word in text.split(b",") if text else ():
        match = _RANGE.fullmatch(word)
        first, end = (int(match[1]), int(match[2])) if match else (0, 0)
        before = ranges[-1][1] if ranges else 0
        if not before <= first < end <= size or len(ranges) == RANGES_LIMIT:
            raise ValueError("ranges")
        ranges.append((first, end))
    return tuple(ranges)


def write_ranges(ranges: Sequence[tuple[int, int]]) -> str | None:
    """The inverse of `read_ranges`; of too many, the longest; ``None`` if there are none."""
    longest = sorted(ranges, key=lambda pair: pair[0] - pair[1])[:RANGES_LIMIT]
    return ",".join(f"{first}-{end}" for first, end in sorted(longest)) or None


def covered(ranges: Sequence[tuple[int, int]]) -> int:
    """The bytes in them."""
    return sum(end - first for first, end in ranges)


def _terms(line: Line, size: int) -> Terms:
    return Terms(
        transfer=_hex(line, b"transfer", TRANSFER_BYTES),
        token=_hex(line, b"token", TOKEN_BYTES),
        key=_hex(line, b"key", KEY_BYTES),
        size=size,
    )


def _host(line: Line) -> str | None:
    if b"host" not in line.attributes:
        return None
    host = line.attributes[b"host"].decode("ascii")
    ip_address(host)
    return host


def _port(line: Line) -> int:
    port = _number(line.attributes.get(b"port", b""), 65535)
    if not port:
        raise ValueError("port")
    return port


def _hex(line: Line, key: bytes, length: int) -> bytes:
    value = line.attributes.get(key, b"")
    if len(value) != 2 * length or b" " in value:
        raise ValueError(key)
    return bytes.fromhex(value.decode("ascii"))


def _number(value: bytes, largest: int) -> int:
    if not _NUMBER.fullmatch(value) or int(value) > largest:
        raise ValueError("number")
    return int(value)
