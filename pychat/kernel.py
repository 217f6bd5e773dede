"""What the operating system can tell and do about a socket and a process, by probing: nothing here is required.

Everything returns a harmless answer where a capability is missing (Windows, macOS, a transport without a socket).
"""

from __future__ import annotations

import os
import socket
import sys
from array import array
from collections.abc import Callable
from typing import Any, TypeAlias

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

try:
    from . import _channel
except ImportError:  # not compiled
    _channel = None  # type: ignore[assignment]

_SIOCOUTQ = 0x5411
"""Linux, tcp(7): bytes in the send queue that the peer has not acknowledged."""

_SO_NWRITE = 0x1024
"""macOS, Darwin's sys/socket.h: the same."""

KEEPALIVE_IDLE = 30
"""Seconds of silence before the first keepalive probe."""
KEEPALIVE_INTERVAL = 10
"""Seconds between probes."""
KEEPALIVE_PROBES = 3
"""Unanswered probes after which the peer is gone."""
USER_TIMEOUT = 55
"""Seconds that sent bytes may stay unacknowledged (RFC 5482).

Bytes that are sent late in a silence put keepalive aside and start this clock anew: the two together stay below two
minutes."""

_OPEN_MAX = 10_240
"""macOS, sys/syslimits.h: what a process gets that asks for no limit on its open files."""


def can_tell_unsent() -> bool:
    """True if :func:`unsent` can answer here: then *sent* means that the peer's kernel has the bytes."""
    return sys.platform.startswith(("linux", "darwin")) and fcntl is not None


_size = array("i", (0,))  # C's int, which ioctl(2) writes into: half the time of bytes that it returns anew


def _unsent_on_linux(handle: socket.socket) -> int | None:
    try:
        fcntl.ioctl(handle.fileno(), _SIOCOUTQ, _size)
        return _size[0]
    except (OSError, ValueError):
        return None


def _unsent_on_darwin(handle: socket.socket) -> int | None:
    try:
        return handle.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
    except (OSError, ValueError):
        return None


def who_tells_unsent() -> Callable[[socket.socket], int | None]:
    """What :func:`unsent` is on this system."""
    if not can_tell_unsent():
        return lambda handle: None
    return _unsent_on_darwin if sys.platform == "darwin" else _unsent_on_linux


unsent: Callable[[socket.socket], int | None] = who_tells_unsent()
"""Bytes given to the kernel that the peer's kernel has not acknowledged; ``None`` if nobody can tell.

It is asked of each connection time and again, and so is another function on each system.  Only one thread may ask.
"""


READ = 64 * 1024
"""Bytes that are read at once, as Twisted does."""


class Channel:
    """A socket that never waits, with what the chat asks of its connections most often.

    ``pychat/_channel.c`` is the same in C, for where it could be compiled.
    """

    __slots__ = ("_socket",)

    def __init__(self, handle: socket.socket) -> None:
        self._socket = handle

    def send(self, data: bytes) -> int:
        """Send some of it; return how many bytes the kernel took, 0 also if the connection is broken."""
        try:
            return self._socket.send(data)
        except OSError:
            return 0

    def receive(self) -> bytes | None:
        """Return what came, at most :data:`READ` bytes, ``b""`` at the end of it; ``None`` if there is nothing yet.

        :raise OSError: the connection is broken.
        """
        try:
            return self._socket.recv(READ)
        except BlockingIOError:
            return None

    def unsent(self) -> int | None:
        """See :func:`unsent`."""
        return unsent(self._socket)


def channel(transport: Any) -> Channel | _channel.Channel | None:
    """What is sent and read with below a transport; ``None`` with TLS or in a test."""
    handle = plain_socket(transport)
    if handle is None:
        return None
    if _channel is None or type(handle) is not socket.socket:
        return Channel(handle)
    return _channel.Channel(handle.fileno())


def plain_socket(transport: Any) -> socket.socket | None:
    """The socket below a transport on which bytes may be sent as they are; ``None`` with TLS or in a test."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    if isinstance(handle, socket.socket) and not getattr(transport, "TLS", False):
        return handle
    return None


def is_sealed(transport: Any) -> bool:
    """Whether there is TLS between a transport and its socket."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    return handle is not None and plain_socket(transport) is None


def keep_urgent_inline(handle: socket.socket) -> None:
    """Have TCP's urgent byte stay where it was sent: telnet marks its Synch with one (RFC 854)."""
    _set(handle, [(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)])


def find_dead_peers(handle: socket.socket) -> None:
    """Have the kernel end the connection within two minutes after its peer vanished.

    Idle, that takes ``KEEPALIVE_IDLE + KEEPALIVE_PROBES * KEEPALIVE_INTERVAL`` seconds; with bytes on
    their way ``USER_TIMEOUT``.
    """
    _set(handle, _to_find_dead_peers())


def prepare(handle: socket.socket) -> None:
    """Both, and what is written goes out at once: for a connection of the chat, or the port where it will be made."""
    _set(handle, _of_a_chat())


def is_prepared(handle: socket.socket) -> bool:
    """Whether a connection has all that from its port.

    What accepted connections inherit is not the same everywhere; one that ended meanwhile may not say.
    """
    for level, option, value in _of_a_chat():
        try:
            found = handle.getsockopt(level, option)
        except OSError:
            return False
        # A switch that is on need not be 1.
        if found != value and not (value == 1 and found):
            return False
    return True


_Options: TypeAlias = "list[tuple[int, int, int]]"


def _to_find_dead_peers() -> _Options:
    options = [
        (socket.SOL_SOCKET, getattr(socket, "SO_KEEPALIVE", None), 1),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None)), KEEPALIVE_IDLE),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), KEEPALIVE_INTERVAL),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), KEEPALIVE_PROBES),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", None), USER_TIMEOUT * 1000),
    ]  # fmt: skip
    return [(level, option, value) for level, option, value in options if option is not None]


def _of_a_chat() -> _Options:
    more = [(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    return _to_find_dead_peers() + more


def _set(handle: socket.socket, options: _Options) -> None:
    for level, option, value in options:
        try:
            handle.setsockopt(level, option, value)
        except OSError:
            # A UNIX socket, or a kernel that knows the name and not the option.
            pass


def raise_file_limit() -> int | None:
    """Let this process have as many open files as it may; return how many that are, ``None`` if nobody can tell."""
    if resource is None:
        return None
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (OSError, ValueError):
        return None
    for wanted in (hard, _OPEN_MAX):
        if soft == resource.RLIM_INFINITY:
            return None
        if wanted == resource.RLIM_INFINITY or wanted > soft:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (OSError, ValueError):
                continue  # no limit is more than some systems give
            soft = wanted
    return None if soft == resource.RLIM_INFINITY else soft


def open_files() -> int | None:
    """How many open files, sockets among them, this process has; ``None`` where that takes more than one look."""
    try:
        return os.stat("/proc/self/fd").st_size or None  # Linux from 6.2 on
    except OSError:
        return None


def memory() -> int | None:
    """Bytes of memory that this process holds; ``None`` if nobody can tell."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
