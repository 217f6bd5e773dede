"""The seal of a datagram: AES-256-GCM.

The header is authenticated with the frames (it is the AEAD's associated data).  Each direction has its own key and
IV, derived from the offer's key by HKDF-SHA256 (RFC 5869); the nonce is the IV xor the packet number (RFC 9001
§5.3).  A packet number is never used twice, so neither is a nonce.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pychat.transfer.packet import (
    DATA,
    FROM_CLIENT,
    HEADER_BYTES,
    OVERHEAD_BYTES,
    Ask,
    Buffer,
    PacketError,
    encode,
)
from pychat.transfer.terms import Terms

_DATA_KIND = bytes((DATA,))


class Seal:
    """The key of one direction of one transfer: it closes datagrams at one end and opens them at the other.

    :param terms: whose key and transfer id are used.
    :param kind: `FROM_CLIENT` or `FROM_DAEMON`.
    :ivar prefix: the first 9 bytes of each datagram: kind and transfer id.
    :ivar decrypt: ``decrypt(nonce, sealed, header)`` gives the frames' bytes, or raises `InvalidTag`.
    """

    __slots__ = ("_encrypt", "_iv", "decrypt", "prefix")

    def __init__(self, terms: Terms, kind: int) -> None:
        direction = b"client" if kind == FROM_CLIENT else b"daemon"
        material = HKDF(
            algorithm=SHA256(), length=44, salt=terms.transfer, info=b"pychat transfer 3 from " + direction
        ).derive(terms.key)
        aead = AESGCM(material[:32])
        self._encrypt = aead.encrypt
        self.decrypt = aead.decrypt
        self._iv = int.from_bytes(material[32:], "big")
        self.prefix = bytes((kind,)) + terms.transfer

    def close(self, number: int, payload: bytes) -> bytes:
        """The datagram that carries `payload` as packet `number`, which must never have been used before."""
        header = self.prefix + number.to_bytes(6, "big")
        return header + self._encrypt((self._iv ^ number).to_bytes(12, "big"), payload, header)

    def close_data(
        self, number: int, offset: int, data: memoryview, room: int, floor: int | None
    ) -> list[bytes]:
        """A train: `data`, the bytes of the file from `offset` on, in datagrams of `room` bytes of it each.

        They are the packets from `number` on.  The last one may be shorter, and begins with an `Ask` for `floor`,
        unless that is None; for it, `ASK_BYTES` of room have to be left.

        :return: header and sealed frames of each datagram in turn, to be sent one after the other.
        """
        encrypt, iv, prefix, join = self._encrypt, self._iv, self.prefix, b"".join
        out: list[bytes] = []
        end = len(data)
        last = 0 if end <= room else (end - 1) // room * room
        for at in range(0, last, room):
            header = prefix + number.to_bytes(6, "big")
            frame = join((_DATA_KIND, (offset + at).to_bytes(8, "big"), data[at : at + room]))
            out += (header, encrypt((iv ^ number).to_bytes(12, "big"), frame, header))
            number += 1
        header = prefix + number.to_bytes(6, "big")
        ask = b"" if floor is None else encode(Ask(floor))
        frame = join((ask, _DATA_KIND, (offset + last).to_bytes(8, "big"), data[last:]))
        out += (header, encrypt((iv ^ number).to_bytes(12, "big"), frame, header))
        return out

    def nonce(self, number: int) -> bytes:
        """Of packet `number`."""
        return (self._iv ^ number).to_bytes(12, "big")

    def open(self, datagram: Buffer) -> tuple[int, bytes]:
        """The packet number and the frames' bytes of one datagram.  (`Endpoint.receive` does the same for trains.)

        :raises PacketError: ``malformed``: too short, another version, direction or transfer; ``forged``: it was not
            closed with this key, or not a bit of it is as it was.
        """
        data = bytes(datagram)
        if len(data) <= OVERHEAD_BYTES or not data.startswith(self.prefix):
            raise PacketError("malformed", "not a datagram of this transfer")
        number = int.from_bytes(data[9:HEADER_BYTES], "big")
        try:
            return number, self.decrypt(self.nonce(number), data[HEADER_BYTES:], data[:HEADER_BYTES])
        except InvalidTag as error:
            raise PacketError("forged", "a datagram that was not closed with this transfer's key") from error
