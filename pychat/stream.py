"""A transfer over TCP, for where UDP does not get through: the same datagrams, each behind its length.

A new connection to the chat's port says ``<stream transfer=… token=…>`` as its first line.  What follows, after the
daemon has said ``<stream>``, are frames in both directions: two bytes of length, big-endian, and a sealed datagram.
TCP sees to it that all arrives, so the engine is told that the path is reliable.  A stream belongs to one offer, and an
offer has one stream: when it breaks, a new offer goes on with what arrived.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from struct import Struct
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from pychat.errors import TransferError
from pychat.trains import MAX_DATAGRAM_BYTES
from pychat.transfer.terms import KEY_BYTES, Terms
from pychat.turns import Turns
from pychat.vocabulary import SERVER_LINE_LIMIT

#: Stands for the other end of a stream, where an engine wants an address.
STREAM = "stream"
#: Bytes that are read before there is somebody to take them.
EARLY_BYTES = 1024 * 1024
#: Lines that a daemon may say before it answers.
MAX_LINES = 32

LOST = "The TCP connection with the file was closed: ask for the file again, and it goes on from here."
NOT_A_STREAM = "The other end does not answer like a Python Chat daemon: is the port right?"

_LENGTH = Struct("!H")
_LINE = re.compile(rb"<([a-z_]+)([^>]*)>(.*)")
_CODE = re.compile(rb"(?:^| )code=([a-z][a-z0-9-]{0,31})(?= |$)")


def stream_terms(terms: Terms) -> Terms:
    """The terms of an offer that is claimed over a stream.

    The key is another one: datagrams that left over UDP before the fallback were numbered from 0, too.
    """
    derived = HKDF(
        algorithm=SHA256(), length=KEY_BYTES, salt=terms.transfer, info=b"pychat transfer 4 over a stream"
    ).derive(terms.key)
    return replace(terms, key=derived)


@implementer(IPushProducer)
class StreamCarrier:
    """Carries one transfer over a byte stream; see `pychat.turns.Carrier`.

    :ivar begin: called when the stream is there, to start the transfer.
    """

    largest = MAX_DATAGRAM_BYTES

    def __init__(self) -> None:
        self.begin: Callable[[], object] | None = None
        self._transport: Any = None
        self._turns: Turns | None = None
        self._rest = bytearray()
        self._full = False
        self._waits = False
        self._lost = False
        self._over = False

    # Of the connection

    def connected(self, transport: Any) -> None:
        """From now on the stream is ours."""
        self._transport = transport
        transport.registerProducer(self, True)
        if self.begin is not None:
            self.begin()

    def dataReceived(self, data: bytes) -> None:
        """Bytes came.  Those that come before the transfer does are kept for it: nobody sends them again."""
        if self._over:
            return
        self._rest += data
        if self._turns is not None:
            self._deliver(self._turns)
        elif len(self._rest) > EARLY_BYTES and self._transport is not None:
            self._transport.pauseProducing()

    def _deliver(self, turns: Turns) -> None:
        rest = self._rest
        at, end = 0, len(rest)
        with memoryview(rest) as view:
            while end - at >= 2:
                stop = at + 2 + _LENGTH.unpack_from(view, at)[0]
                if stop > end:
                    break
                turns.received(bytes(view[at + 2 : stop]), max(stop - at - 2, 1), STREAM)
                at = stop
        del rest[:at]
        if at:
            turns.turn()

    def connectionLost(self) -> None:
        """The stream has ended."""
        self._lost = True
        self._transport = None
        if self._turns is not None:
            self._turns.abandon("stream-lost", LOST)

    def pauseProducing(self) -> None:
        """The transport holds as much as it wants to."""
        self._full = True

    def resumeProducing(self) -> None:
        """It has let go of that."""
        self._full = False
        if self._waits and self._turns is not None:
            self._waits = False
            self._turns.turn()

    def stopProducing(self) -> None:
        """It is about to be lost."""
        self._full = True

    # Of the transfer

    @property
    def congested(self) -> bool:
        return self._full

    def add(self, turns: Turns) -> None:
        self._turns = turns
        if self._rest:
            if len(self._rest) > EARLY_BYTES and self._transport is not None:
                self._transport.resumeProducing()
            self._deliver(turns)
        if self._lost:
            turns.abandon("stream-lost", LOST)

    def remove(self, turns: Turns) -> None:
        """It is over, and so is the stream."""
        if self._turns is turns:
            self._turns = None
            self._over = True
            self._rest = bytearray()  # of the other one, some may be being delivered
            self.close()

    def close(self) -> None:
        """Close the connection when what is queued is out."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.unregisterProducer()
            transport.loseConnection()

    def wait(self, turns: Turns) -> None:
        self._waits = True

    def send(self, buffers: Sequence[bytes], segment: int, address: Any) -> bool:
        if self._transport is None:
            return True
        if len(buffers) <= 4 and sum(map(len, buffers)) <= segment:
            self._transport.writeSequence((_LENGTH.pack(sum(map(len, buffers))), *buffers))
        else:
            joined = b"".join(buffers)
            for at in range(0, len(joined), segment):
                datagram = joined[at : at + segment]
                self._transport.writeSequence((_LENGTH.pack(len(datagram)), datagram))
        return True

    def due(self, turns: Turns) -> None:
        turns.turn()

    serve = due


class StreamProtocol(Protocol):
    """The client's end of a stream: asks for it, and then hands over to a carrier.

    :param terms: of the offer, as it came.
    :param carrier: gets what follows.
    :ivar ready: fires when the daemon has agreed, or fails with a `TransferError`.
    """

    def __init__(self, terms: Terms, carrier: StreamCarrier) -> None:
        self.ready: Deferred[None] = Deferred()
        self._terms = terms
        self._carrier = carrier
        self._rest = b""
        self._lines = 0
        self._agreed = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        line = f"<stream transfer={self._terms.transfer.hex()} token={self._terms.token.hex()}>\n"
        self.transport.write(line.encode())

    def dataReceived(self, data: bytes) -> None:
        if self._agreed:
            self._carrier.dataReceived(data)
            return
        self._rest += data
        while not self.ready.called:
            line, newline, rest = self._rest.partition(b"\n")
            if not newline:
                if len(self._rest) > SERVER_LINE_LIMIT:
                    self._refuse(TransferError("no-stream", NOT_A_STREAM))
                return
            self._rest = rest
            self._heard(line)
        if self._agreed and self._rest:
            self._carrier.dataReceived(self._rest)
        self._rest = b""

    def _heard(self, line: bytes) -> None:
        self._lines += 1
        match = _LINE.fullmatch(line.removesuffix(b"\r"))
        if match is not None and match[1] == b"stream":
            self._agreed = True
            self._carrier.connected(self.transport)
            self.ready.callback(None)
        elif match is not None and match[1] in (b"error", b"goodbye"):
            code = _CODE.search(match[2])
            text = match[3].decode(errors="replace")
            sentence = "".join(char if char.isprintable() else "\ufffd" for char in text)
            self._refuse(TransferError(code[1].decode() if code else "no-stream", sentence))
        elif self._lines >= MAX_LINES:
            self._refuse(TransferError("no-stream", NOT_A_STREAM))

    def _refuse(self, error: TransferError) -> None:
        assert self.transport is not None
        self.transport.loseConnection()
        self.ready.errback(error)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self._agreed:
            self._carrier.connectionLost()
        elif not self.ready.called:
            self.ready.errback(TransferError("no-stream", LOST))
