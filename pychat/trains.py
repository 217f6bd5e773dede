"""Trains: many datagrams by one call of the kernel, and what else a UDP socket may or may not be able to do.

A train is a row of datagrams of one size for one address, of which the last may be shorter.  Linux takes one as a whole
(UDP_SEGMENT), and hands one over as a whole (UDP_GRO); a call costs the same for 1 datagram as for 45.  What there is
is found out by trying it over loopback, never by the name of the system: `probe`.
"""

from __future__ import annotations

import functools
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

#: From linux/udp.h; Python has no names for them.
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
#: Room for the ancillary data of one `recvmsg`: where a train was sent to, and the size of its datagrams.
ANCILLARY_BYTES = 128
#: The largest payload of a UDP datagram over IPv4.
MAX_DATAGRAM_BYTES = 65507
#: More than any train or datagram has.
TRAIN_BUFFER_BYTES = 64 * 1024
#: Seconds to wait for a datagram over loopback, which is there at once, or never comes.
_PROBE_SECONDS = 0.25

_SIZE = struct.Struct("=H")
_GRO_SIZE = struct.Struct("=i")


class Abilities(NamedTuple):
    """What the sockets of this machine can do.

    :ivar sendmsg: buffers are sent without joining them, with ancillary data.
    :ivar recvmsg_into: what comes is put where we want it, with ancillary data.
    :ivar segments: a train is sent by one call.
    :ivar gathers: a train is received by one call.
    """

    sendmsg: bool = False
    recvmsg_into: bool = False
    segments: bool = False
    gathers: bool = False


def segmented(size: int) -> tuple[int, int, bytes]:
    """The ancillary data that has the kernel cut what is sent into datagrams of `size` bytes."""
    return SOL_UDP, UDP_SEGMENT, _SIZE.pack(size)


def segment_of(ancillary: Sequence[tuple[int, int, bytes]], otherwise: int) -> int:
    """The size of the datagrams in what was received; `otherwise` if it was a lone one; at least 1."""
    for level, kind, data in ancillary:
        if level == SOL_UDP and kind == UDP_GRO:
            return int(_GRO_SIZE.unpack(data[:4].ljust(4, b"\0"))[0]) or otherwise
    return otherwise or 1


def gather(sock: socket.socket) -> bool:
    """Have whole trains handed over.  False where that cannot be had."""
    try:
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def cut(buffers: Sequence[bytes], segment: int) -> list[bytes]:
    """The datagrams of a train, one by one."""
    if all(len(buffer) == segment for buffer in buffers[:-1]) and len(buffers[-1]) <= segment:
        return [*buffers]
    joined = b"".join(buffers)
    return [joined[at : at + segment] for at in range(0, len(joined), segment)]


@functools.lru_cache
def probe(family: int) -> Abilities:
    """Try what sockets of a family can do: once a process."""
    return find_abilities(family, socket.socket)


def find_abilities(family: int, make: Callable[[int, int], Any]) -> Abilities:
    """Try it with sockets that ``make(family, SOCK_DGRAM)`` gives."""
    try:
        with (
            closing(make(family, socket.SOCK_DGRAM)) as ours,
            closing(make(family, socket.SOCK_DGRAM)) as other,
        ):
            for sock in (ours, other):
                sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
                sock.settimeout(_PROBE_SECONDS)
            into = hasattr(other, "recvmsg_into")
            sendmsg = hasattr(ours, "sendmsg")
            segments = sendmsg and _segments(ours, other)
            gathers = into and gather(other) and (not segments or _gathers(ours, other))
            return Abilities(sendmsg, into, segments, gathers)
    except OSError:
        return Abilities()  # not even loopback: a socket that works at all does the least there is


def _send_train(ours: Any, other: Any) -> bool:
    try:
        ours.sendmsg((bytes(100), bytes(100), bytes(50)), (segmented(100),), 0, other.getsockname())
    except OSError:
        return False
    return True


def _segments(ours: Any, other: Any) -> bool:
    """Whether three datagrams arrive: an old kernel sends one of 250 bytes, and says nothing."""
    if not _send_train(ours, other):
        return False
    with suppress(OSError):
        return [len(other.recv(300)) for _ in range(3)] == [100, 100, 50]
    return False


def _gathers(ours: Any, other: Any) -> bool:
    """Whether three datagrams arrive as one train, or as three that may be told apart."""
    if not _send_train(ours, other):
        return False
    received = 0
    with suppress(OSError):
        while received < 250:
            nbytes, ancillary, _, _ = other.recvmsg_into((bytearray(300),), ANCILLARY_BYTES)
            if segment_of(ancillary, nbytes) != min(100, 250 - received):
                return False
            received += nbytes
    return received == 250


#: By platform and family: the option that has datagrams go as they are or not at all, and its value.
_WHOLE: dict[tuple[str, int], tuple[int, int, int]] = {
    # IP_PMTUDISC_PROBE: no fragments, and no belief in what ICMP said about the path (RFC 8899 §4.6).
    ("linux", socket.AF_INET): (socket.IPPROTO_IP, 10, 3),
    ("linux", socket.AF_INET6): (socket.IPPROTO_IPV6, 23, 3),
    ("darwin", socket.AF_INET): (socket.IPPROTO_IP, 28, 1),
    ("darwin", socket.AF_INET6): (socket.IPPROTO_IPV6, 62, 1),
    ("freebsd", socket.AF_INET): (socket.IPPROTO_IP, 67, 1),
    ("freebsd", socket.AF_INET6): (socket.IPPROTO_IPV6, 62, 1),
    ("win32", socket.AF_INET): (socket.IPPROTO_IP, 14, 1),
    ("win32", socket.AF_INET6): (socket.IPPROTO_IPV6, 14, 1),
}


def never_fragment(sock: socket.socket, family: int, platform: str = sys.platform) -> bool:
    """Have datagrams that are too large for the path vanish whole, so that the path can be measured.

    :return: whether that can be had.
    """
    system = "freebsd" if platform.startswith("freebsd") else platform
    option = _WHOLE.get((system, family))
    if option is None:
        return False
    try:
        sock.setsockopt(*option)
    except OSError:
        return False
    return True


def widen(sock: socket.socket, nbytes: int) -> None:
    """Ask for so many bytes of room in each direction of a socket; less is no error."""
    # SO_SNDBUFFORCE and SO_RCVBUFFORCE go beyond what everybody may have, for who may.
    forced = (32, 33) if sys.platform == "linux" else (None, None)
    for option, force in zip((socket.SO_SNDBUF, socket.SO_RCVBUF), forced, strict=True):
        for attempt in (option, force):
            if attempt is None:
                continue
            with suppress(OSError):  # some systems refuse what is too much instead of giving less
                if sock.getsockopt(socket.SOL_SOCKET, option) < nbytes:
                    sock.setsockopt(socket.SOL_SOCKET, attempt, nbytes)


def ask_for_destination(
    sock: socket.socket, family: int
) -> Callable[[Sequence[Any]], tuple[Any, ...]] | None:
    """Have the kernel tell which of our addresses a datagram was sent to.

    :return: turns a datagram's ancillary data into the ancillary data for its answer; None where that cannot be had.
    """
    if not hasattr(sock, "recvmsg"):
        return None
    level: int
    if family == socket.AF_INET6:
        level, kind = socket.IPPROTO_IPV6, getattr(socket, "IPV6_PKTINFO", None)
        request = getattr(socket, "IPV6_RECVPKTINFO", None)
    else:
        # Python names the constant from 3.12 on; Linux has always had it.
        level, kind = socket.IPPROTO_IP, getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else None)
        request = kind
    try:
        sock.setsockopt(level, request, 1)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return None

    def answer(ancillary: Sequence[Any]) -> tuple[Any, ...]:
        for heard_level, heard_kind, data in ancillary:
            if (heard_level, heard_kind) == (level, kind):
                if family != socket.AF_INET6:
                    # struct in_pktinfo: interface, our address, the header's; the route picks the interface.
                    return ((level, kind, struct.pack("=I4s4s", 0, data[4:8], bytes(4))),)
                # struct in6_pktinfo: address, interface; only a link-local address needs its interface.
                scoped = data[0] == 0xFE and data[1] & 0xC0 == 0x80
                return ((level, kind, data[:20] if scoped else data[:16] + bytes(4)),)
        return ()

    return answer
