"""The seal of a packet: AES-256-GCM.

The header is authenticated with the frames (it is the AEAD's associated data).  Each direction has its own key and
IV, derived from the offer's key by HKDF-SHA256 (RFC 5869); the nonce is the IV xor the packet number (RFC 9001
§5.3).  A packet number is never used twice, so neither is a nonce.
"""

from __future__ import annotations

from operator import add

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pychat.transfer.fragments import cut
from pychat.transfer.frames import (
    DATA,
    DATA_HEADER_BYTES,
    Ask,
    encode,
)
from pychat.transfer.packet import (
    FROM_CLIENT,
    HEADER_BYTES,
    MAX_PACKET_NUMBER,
    OVERHEAD_BYTES,
    Buffer,
    PacketError,
)
from pychat.transfer.series import alike, cutter, repeated, series
from pychat.transfer.terms import MAX_SIZE, Terms

_DATA_KIND = bytes((DATA,))
NONCE_BYTES = 12
#: Datagrams that are opened at once.
MAX_ROW = 64
FORGED = "a datagram that was not closed with this transfer's key"


def file_data(opened: list[bytes]) -> tuple[int, int, bytes]:
    """What the first of some opened packets, all of one length, hold of the file, as far as it follows on one another.

    :return: how many of them that are, the offset, and the bytes.
    """
    size, count = len(opened[0]), len(opened)
    offset = int.from_bytes(opened[0][1:DATA_HEADER_BYTES], "big")
    if size <= DATA_HEADER_BYTES or offset > MAX_SIZE:
        return 0, 0, b""
    room = size - DATA_HEADER_BYTES
    parts = cutter(count, DATA_HEADER_BYTES, room).unpack(b"".join(opened))
    expected = series(DATA << 64 | offset, room, count, DATA_HEADER_BYTES)
    count = alike(b"".join(parts[0::2]), expected, DATA_HEADER_BYTES)
    return count, offset, b"".join(parts[1 : 2 * count : 2])


class Seal:
    """The key of one direction of one transfer: it closes datagrams at one end and opens them at the other.

    :param terms: whose key and transfer id are used.
    :param kind: `FROM_CLIENT` or `FROM_DAEMON`.
    :ivar prefix: the first 9 bytes of each datagram: kind and transfer id.
    """

    __slots__ = ("_decrypt", "_encrypt", "_first", "_iv", "prefix")

    def __init__(self, terms: Terms, kind: int) -> None:
        direction = b"client" if kind == FROM_CLIENT else b"daemon"
        material = HKDF(
            algorithm=SHA256(), length=44, salt=terms.transfer, info=b"pychat transfer 4 from " + direction
        ).derive(terms.key)
        aead = AESGCM(material[:32])
        self._encrypt = aead.encrypt
        self._decrypt = aead.decrypt
        self._iv = int.from_bytes(material[32:], "big")
        self.prefix = bytes((kind,)) + terms.transfer
        # The header of packet 0, as a number: that of packet n is n more.
        self._first = int.from_bytes(self.prefix, "big") << 48

    def close(self, number: int, payload: bytes) -> bytes:
        """The datagram that carries `payload` as packet `number`, which must never have been used before."""
        header = self.header_of(number)
        return header + self._encrypt(self._nonce(number), payload, header)

    def close_data(
        self, number: int, offset: int, data: memoryview, room: int, floor: int | None
    ) -> list[bytes]:
        """A train: `data`, the bytes of the file from `offset` on, in datagrams of `room` bytes of it each.

        They are the packets from `number` on.  The last one may be shorter, and begins with an `Ask` for `floor`,
        unless that is None; for it, `ASK_BYTES` of room have to be left.

        :return: their bytes, to be sent one after the other.
        """
        encrypt, end = self._encrypt, len(data)
        count = 0 if end <= room else (end - 1) // room
        last, number = count * room, number + count
        out: list[bytes] = []
        if count:
            first = number - count
            headers = cutter(count, HEADER_BYTES).unpack(self._headers(first, count))
            heads = series(DATA << 64 | offset, room, count, DATA_HEADER_BYTES)
            frames = map(
                add, cutter(count, DATA_HEADER_BYTES).unpack(heads), cutter(count, room).unpack_from(data)
            )
            parts = [b""] * (2 * count)
            parts[0::2] = headers
            parts[1::2] = map(encrypt, self._nonces(first, count), frames, headers)
            out.append(b"".join(parts))
        out += self._close_one(number, offset + last, data[last:], floor)
        return out

    def close_large(
        self, number: int, offset: int, data: memoryview, size: int, floor: int | None
    ) -> list[bytes]:
        """The same as one packet, in datagrams of `size` bytes each: see `fragments`."""
        return [cut(*self._close_one(number, offset, data, floor), size)]

    def _close_one(
        self, number: int, offset: int, data: memoryview, floor: int | None
    ) -> tuple[bytes, bytes]:
        """The header of a packet with bytes of the file, and what is sealed."""
        header = self.header_of(number)
        ask = b"" if floor is None else encode(Ask(floor))
        frame = b"".join((ask, _DATA_KIND, offset.to_bytes(8, "big"), data))
        return header, self._encrypt(self._nonce(number), frame, header)

    def open_row(
        self, train: Buffer, at: int, segment: int, count: int, above: int
    ) -> tuple[int, list[bytes]]:
        """Open datagrams of a train at once, as far as their packet numbers follow on one another.

        :param at: where they begin.
        :param segment: bytes of each.
        :param count: how many there are, at least two.  No more than `MAX_ROW` are opened.
        :param above: what their numbers have to be larger than.
        :return: the first packet number, and the frames' bytes of each; none when these are not at least two packets
            of this transfer.
        :raises PacketError: ``forged``: at least one of them.
        """
        number = int.from_bytes(train[at + len(self.prefix) : at + HEADER_BYTES], "big")
        count = min(count, MAX_ROW, MAX_PACKET_NUMBER + 1 - number)
        if number <= above or count < 2:
            return number, []
        parts = cutter(count, HEADER_BYTES, segment - HEADER_BYTES).unpack_from(train, at)
        headers = parts[0::2]
        count = alike(b"".join(headers), self._headers(number, count), HEADER_BYTES)
        if count < 2:
            return number, []
        try:
            nonces = self._nonces(number, count)
            return number, list(map(self._decrypt, nonces, parts[1 : 2 * count : 2], headers))
        except InvalidTag as error:
            raise PacketError("forged", FORGED) from error

    def _headers(self, number: int, count: int) -> bytes:
        """Of `count` packets from `number` on, one after the other."""
        return series(self._first + number, 1, count, HEADER_BYTES)

    def _nonces(self, number: int, count: int) -> tuple[bytes, ...]:
        """Of `count` packets from `number` on."""
        numbers = int.from_bytes(series(number, 1, count, NONCE_BYTES), "big")
        mixed = repeated(self._iv, count, NONCE_BYTES) ^ numbers
        nonces: tuple[bytes, ...] = cutter(count, NONCE_BYTES).unpack(
            mixed.to_bytes(count * NONCE_BYTES, "big")
        )
        return nonces

    def header_of(self, number: int) -> bytes:
        """The header of packet `number`."""
        return self.prefix + number.to_bytes(6, "big")

    def header(self, datagram: Buffer) -> tuple[int, bytes]:
        """The packet number that a datagram says it has, and its header.

        :raises PacketError: ``malformed``: too short, another version, direction or transfer.
        """
        header = bytes(datagram[:HEADER_BYTES])
        if len(datagram) <= OVERHEAD_BYTES or not header.startswith(self.prefix):
            raise PacketError("malformed", "not a datagram of this transfer")
        return int.from_bytes(header[len(self.prefix) :], "big"), header

    def unseal(self, number: int, header: bytes, sealed: Buffer) -> bytes:
        """The frames' bytes of a packet.

        :raises PacketError: ``forged``: it was not closed with this key, or not a bit of it is as it was.
        """
        try:
            return self._decrypt(self._nonce(number), sealed, header)
        except InvalidTag as error:
            raise PacketError("forged", FORGED) from error

    def open(self, datagram: Buffer) -> tuple[int, bytes]:
        """The packet number and the frames' bytes of one datagram.

        :raises PacketError: see `header` and `unseal`.
        """
        number, header = self.header(datagram)
        return number, self.unseal(number, header, datagram[HEADER_BYTES:])

    def _nonce(self, number: int) -> bytes:
        """Of packet `number`."""
        return (self._iv ^ number).to_bytes(NONCE_BYTES, "big")
