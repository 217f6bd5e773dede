"""The way out of one connection: from its mailbox to its transport, within bounds.

Bytes are sent at once while nothing is buffered, which costs one system call; what the kernel does not take
goes through the transport's buffer, a bounded chunk at a time, with the outlet as its pull producer.  So all
that waits for a slow peer waits in its mailbox, where it can be counted and, past :data:`HARD_MARK`, dropped.

The outlet knows how far its bytes have come: all that it wrote, less what the kernel still holds
(:mod:`pychat.kernel`).  It is asked at the pump's beat, while messages wait for the answer.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import classImplements

from . import kernel
from .deadline import Deadline
from .peer import Peer
from .pump import Pump

HARD_MARK = 2 * 1024 * 1024
"""Queued bytes past which a peer is too slow."""

CHUNK: Final = 64 * 1024
"""Bytes handed to the transport at once."""

CLOSE_LIMIT = 5.0
"""Seconds that a closing connection has to take its last lines."""

LINGER_LIMIT = 2.0
"""Seconds that a close waits for the last bytes to arrive, and to learn whether the last messages did."""


class Owner(Protocol):
    """Whose outlet it is."""

    def drained(self) -> None:
        """Bytes went out, or answers came in.  Called while :attr:`Outlet.awaited`."""

    def sent(self) -> None:
        """What is to be acknowledged may have gone out."""

    def overflowed(self) -> None:
        """The hard mark was passed; the mailbox is empty now.  Called once."""

    def arrived(self) -> None:
        """All that was ever put into the mailbox is where the peer can read it."""


class _Nobody:
    """The owner of an outlet whose connection is gone."""

    def sent(self) -> None:
        """See :class:`Owner`."""

    def drained(self) -> None:
        """See :class:`Owner`."""

    def overflowed(self) -> None:
        """See :class:`Owner`."""

    def arrived(self) -> None:
        """See :class:`Owner`."""


_NOBODY = _Nobody()


class Outlet:
    """Writes what one mailbox holds."""

    __slots__ = (
        "_closing", "_deadline", "_full", "_in_transport", "_linger_until", "_lost", "_mailbox", "_mailroom", "_owner",
        "_peer", "_pump", "_pushes", "_send", "_transport", "awaited", "channel", "hurried", "watched",
    )  # fmt: skip

    def __init__(self, transport: Any, peer: Peer, pump: Pump, owner: Owner) -> None:
        # As in pychat.peer.Peer, the order counts.
        self._mailbox = peer.mailbox
        self.channel = kernel.channel(transport)
        """Where bytes are sent and read as they are; ``None`` with TLS or in a test."""
        self._send: Any = None if self.channel is None else self.channel.send
        self._peer = peer
        self._in_transport = 0  # bytes that lie in the transport's buffer
        self.awaited = False
        """Its owner waits for :meth:`Owner.drained`."""
        self.watched = self.hurried = False
        """See :class:`pychat.mailroom.Way`."""
        self._closing = self._lost = False
        # Twisted's TLS asks a pull producer again and again, be there something or not.
        self._pushes = self.channel is None and kernel.is_sealed(transport)
        self._full = False  # what pushes is told to wait
        self._pump = pump
        self._mailroom = pump.mailroom
        self._owner = owner
        self._transport = transport
        self._linger_until: float | None = None
        self._deadline: Deadline | None = None
        transport.registerProducer(self, self._pushes)

    @property
    def idle(self) -> bool:
        """Nothing is queued, neither here nor in the transport."""
        return not self._in_transport and not self._peer.mailbox.queued

    def flush(self) -> None:
        """Write what there is, as far as the kernel takes it."""
        if self._lost:
            return
        mailbox, send = self._mailbox, self._send
        while (queue := mailbox.queue) is not None and not self._in_transport:
            if mailbox.queued <= CHUNK:
                # Mostly; so without a call.
                data = queue if isinstance(queue, bytes) else b"".join(queue)
                mailbox.queue = None
                mailbox.queued = 0
            else:
                data = mailbox.take(CHUNK)
            if send is not None:
                taken: int = send(data)
                if taken == len(data):
                    continue
                # The kernel's buffer is full; or the connection is broken, and the transport will find out.
                data = data[taken:]
            self._write(data)
        if self._in_transport:
            self._mailroom.clogged(self)
            if mailbox.queued > HARD_MARK:
                self.give_up()
                if self._lost:
                    return
        peer = self._peer
        if mailbox.mark_id or peer.unacked is not None:
            # Mostly it is watched already, as often as it wants.
            if not self.watched or (peer.awaiting and not self.hurried):
                self._mailroom.watch(self)
            if peer.unacked is not None:
                self._owner.sent()
        if self._closing:
            self._try_to_close()
        elif self.awaited:
            self._owner.drained()

    @property
    def urgent(self) -> bool:
        """See :class:`pychat.mailroom.Way`."""
        return bool(self._peer.awaiting) or self._closing

    @property
    def waiting(self) -> int:
        """See :class:`pychat.mailroom.Way`."""
        return self._in_transport + self._peer.mailbox.queued

    def give_up(self) -> bool:
        """See :class:`pychat.mailroom.Way`."""
        if self._closing:
            # It had its goodbye, and takes nothing: do not wait for it while the others go on talking.
            self._lost = True
            self._transport.abortConnection()
            return False
        self._peer.mailbox.clear()
        self._owner.overflowed()
        return True

    def _write(self, data: bytes) -> None:
        """Give it to the transport, for the kernel does not take it now."""
        self._in_transport = len(data)
        self._transport.write(data)
        if self._pushes and not self._full:
            self._in_transport = 0
        self._mailbox.waits = self._in_transport > 0

    def pauseProducing(self) -> None:
        """With TLS: the transport's buffer is full."""
        self._full = True

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._full = False
        self._in_transport = 0
        self._mailbox.waits = False
        if self._peer.mailbox.queued or self._closing:
            self.flush()
        elif self.awaited:
            self._owner.drained()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._lost = True

    # -- how far the bytes have come

    def position(self) -> int:
        """How many bytes are where the peer can read them; where that cannot be told, how many our kernel took."""
        mailbox = self._mailbox
        written = mailbox.total - mailbox.queued - self._in_transport
        return written if self.channel is None else written - (self.channel.unsent() or 0)

    def has_all(self) -> bool:
        """Whether all that was ever put into the mailbox is where the peer can read it."""
        return self.position() >= self._peer.mailbox.total

    def look(self, now: float) -> bool:
        """Tell the hub how far the bytes have come; return whether there is more to learn."""
        if self._lost:
            return False
        position = self.position()
        self._pump.hub.reached(self._peer, position)
        everything = position >= self._peer.mailbox.total
        if everything:
            self._owner.arrived()
        if self._closing:
            self._try_to_close()
        return not self._lost and (self._peer.mailbox.marked or not everything)

    # -- closing

    def close(self) -> None:
        """Close once all is out: at most :data:`CLOSE_LIMIT` seconds from now."""
        if self._closing or self._lost:
            return
        self._closing = True
        self._deadline = Deadline(self._pump.reactor, self._transport.abortConnection)
        self._deadline.set(CLOSE_LIMIT)
        self.flush()

    def _try_to_close(self) -> None:
        if self._lost or not self.idle or self._peer.posted != self._peer.settled:
            # There are bytes under way, or answers that the journal has yet to make possible.
            return
        now = self._pump.reactor.seconds()
        if self._linger_until is None:
            self._linger_until = now + LINGER_LIMIT
        if self._peer.mailbox.marked and self._peer.awaiting and now < self._linger_until:
            # Somebody waits to know whether her message arrived: the answer comes within a round trip.
            self._mailroom.watch(self)
            return
        if self.channel is not None and now < self._linger_until and not self.has_all():
            # Whatever the peer says to a closed connection resets it, and what is under way to it is lost.
            self._mailroom.watch(self)
            return
        self._lost = True
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def release(self) -> None:
        """Write all there is, and leave the transport to somebody else."""
        self.flush()
        if not self._lost:
            self._lost = True
            self._transport.unregisterProducer()
            rest = self._peer.mailbox.take(self._peer.mailbox.queued)
            if rest:
                self._transport.write(rest)
            self._mailroom.forget(self)

    def lost(self) -> None:
        """The connection is gone: let go of everything."""
        self._lost = True
        self.channel = self._send = None  # its number is that of another one soon
        self._mailroom.forget(self)
        self._owner = _NOBODY
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


# Not as a decorator: a decorated class would be compiled as one whose attributes are looked up by name.
classImplements(Outlet, IPullProducer, IPushProducer)
