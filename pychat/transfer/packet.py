"""The bytes of a packet: a header in clear, and sealed frames (`pychat.transfer.frames`).

::

     0        1                 9              15                                    n-16      n
    +--------+-----------------+--------------+-----------------------------------+---------+
    | kind   | transfer id     | packet number| sealed frames                     | tag     |
    +--------+-----------------+--------------+-----------------------------------+---------+

A packet is a datagram, or travels in several (`pychat.transfer.fragments`).  How frames are sealed is in
`pychat.transfer.seal`.
"""

from __future__ import annotations

from typing import TypeAlias

from pychat.errors import TransferError

#: What holds bytes.
Buffer: TypeAlias = bytes | bytearray | memoryview

#: First byte: version 4 in the high half, the direction in the low half.
FROM_CLIENT = 0x41
FROM_DAEMON = 0x42
#: What a fragment of a packet has more there; see `pychat.transfer.fragments`.
FRAGMENTS = 2

HEADER_BYTES = 15
TAG_BYTES = 16
#: A fragment's header: its packet's, which of them it is, and how many there are.
FRAGMENT_HEADER_BYTES = HEADER_BYTES + 2
MAX_FRAGMENTS = 64
#: What a datagram carries beside its frames.
OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES
#: UDP payload bytes of a full datagram until somebody has measured the path (RFC 9000 §14).
DATAGRAM_BYTES = 1200
#: The largest UDP payload over IPv4.
MAX_DATAGRAM_BYTES = 65507
MAX_PACKET_NUMBER = 2**48 - 1

#: How many bytes a datagram of a kind has to have more than.
_LEAST = {
    FROM_CLIENT: OVERHEAD_BYTES,
    FROM_DAEMON: OVERHEAD_BYTES,
    FROM_CLIENT + FRAGMENTS: FRAGMENT_HEADER_BYTES,
    FROM_DAEMON + FRAGMENTS: FRAGMENT_HEADER_BYTES,
}


class PacketError(TransferError):
    """Bytes that are not a datagram of this transfer, or of no use to it: the code is the reason."""


def pad(payload: bytes, size: int) -> bytes:
    """Make the datagram that will carry `payload` `size` bytes long."""
    return payload.ljust(size - OVERHEAD_BYTES, b"\0")


def transfer_of(datagram: Buffer) -> bytes | None:
    """The transfer id that stands in clear in a datagram of ours; None when it cannot be one."""
    least = _LEAST.get(datagram[0]) if len(datagram) else None
    return None if least is None or len(datagram) <= least else bytes(datagram[1:9])
