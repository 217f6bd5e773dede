"""How the bytes of files travel beside one chat connection: one UDP socket for all of them, or a TCP connection each.

A daemon that grants ``udp`` tells a ``<path>``, a transfer without a file, and we prove our address with it at once;
files that are asked for behind that need no greeting of their own.  That also tells whether UDP gets through at all.
Where it does not it is not tried again on this connection: its files come over TCP.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..deadline import Deadline
from ..errors import RemoteProtocolError, TransferError
from ..grammar import Line
from ..stream import StreamCarrier, StreamProtocol
from ..switchboard import Switchboard
from ..transfer.endpoint import Endpoint
from ..transfer.packet import FROM_CLIENT
from ..transfer.path import ClientPath
from ..turns import Turns
from ..udp import RunInThread, listen_udp
from .connection import Client
from .offers import Offer, PathOffer, read_path

FALL_BACK_SECONDS = 2.0
"""Seconds without any answer over UDP after which a file is fetched over TCP."""

PATH_SECONDS = 2.0
"""Seconds for a daemon to say where to prove our address; without that each file greets for itself."""

IDLE_SECONDS = 20.0
"""Seconds after which the way is kept open for what stands in it and forgets what is silent."""

EARLY_BYTES = 256 * 1024
"""Bytes of files that are kept when they come before their offer."""

STREAM_TIMEOUT = 20.0
"""Seconds for a TCP connection of a file's own to be made."""

BLOCKED = "UDP does not get through; going on over TCP"


class _Proof(ClientPath):
    """The greeting that proves our address.

    :ivar told: called when something came that shows that the daemon knows it.
    """

    told: Callable[[], object]

    def heard(self, address: Hashable, nbytes: int, newest: bool, now: float) -> None:
        first = not self.ready
        super().heard(address, nbytes, newest, now)
        if first and self.ready:
            self.told()


class Road:
    """What the files of one chat connection travel on.

    :ivar udp: whether UDP is worth a try.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        client: Client,
        say: Callable[[str], object],
        run_in_thread: RunInThread,
        *,
        udp: bool = True,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param say: is given what a person wants to know.
        :param udp: False: do not even try.
        :param seconds: the monotonic clock.
        """
        self._reactor = reactor
        self._client = client
        self._say = say
        self._run_in_thread = run_in_thread
        self._seconds = seconds
        self._switchboards: dict[bool, tuple[Switchboard, Any]] = {}  # one for IPv4, one for IPv6
        self._path: Turns | None = None
        self._path_ended: Deferred[Any] = succeed(None)
        self._proof: _Proof | None = None
        self._endpoint: Endpoint | None = None
        self._expects = False  # a path was told, or is to be
        self._greets = False  # the greeting has left
        self._settled = False
        self._proving: list[Deferred[None]] = []
        self._patience = Deadline(reactor, self._no_answer)
        self._closed = False
        self._untold = False
        self.udp = udp

    @property
    def proven(self) -> bool:
        """Whether the daemon knows our UDP address."""
        return self._proof is not None and self._proof.ready

    @property
    def idle(self) -> bool:
        """Whether no file is under way over UDP."""
        paths = self._path is not None and not self._path_ended.called
        return sum(len(board) for board, _ in self._switchboards.values()) <= paths

    @property
    def rtt(self) -> float | None:
        """Seconds of a round trip, as the proof measured it."""
        if self._endpoint is None or self._endpoint.round_trip.latest is None:
            return None
        return self._endpoint.rtt

    # -- the proof of the address

    def hear(self, line: Line) -> None:
        """A ``<path>`` came."""
        if self._closed or not self.udp or self._proof is not None:
            return
        try:
            path = read_path(line)
        except RemoteProtocolError:
            return
        self._expects = True
        Deferred.fromCoroutine(self._prove(path)).addErrback(self._not_proven)

    def expect(self) -> None:
        """The daemon granted ``udp``: a ``<path>`` is to come."""
        if self.udp and not self._expects:
            self._expects = True
            self._patience.set(PATH_SECONDS)

    def ready(self) -> Deferred[None]:
        """Fires once the greeting has left, or there will be none: then it is time to ask for files.

        What is asked for right behind the greeting finds the address proven.
        """
        if not self.udp or self._settled or self._greets or not self._expects:
            return succeed(None)
        ready: Deferred[None] = Deferred(lambda ready: self._proving.remove(ready))
        self._proving.append(ready)
        return ready

    async def _prove(self, path: PathOffer) -> None:
        address = await self.address(path.host, path.port)
        if self._closed:
            return
        now = self._seconds()
        self._proof = proof = _Proof(path.terms.token, address, window=0, now=now)
        # In a turn of its own: what waits for this begins with what it likes.
        proof.told = lambda: self._reactor.callLater(0, self._settle)
        endpoint = Endpoint(path.terms, proof, sends=FROM_CLIENT, now=now)
        endpoint.idle = IDLE_SECONDS
        self._endpoint = endpoint
        self._path = Turns(
            endpoint,
            self.switchboard(address),
            reactor=self._reactor,
            run_in_thread=self._run_in_thread,
            seconds=self._seconds,
            name="path",
        )
        self._patience.set(FALL_BACK_SECONDS)
        self._path_ended = self._path.start().addBoth(lambda _: self._settle())
        self._greets = True
        self._let_go()

    def _not_proven(self, failure: Failure) -> None:
        failure.trap(TransferError, CancelledError)
        self._settle()

    def _settle(self) -> None:
        self._settled = True
        self._patience.cancel()
        self._let_go()

    def _let_go(self) -> None:
        proving, self._proving = self._proving, []
        for ready in proving:
            ready.callback(None)

    def _no_answer(self) -> None:
        """Nothing came over UDP."""
        if self._proof is not None and not self._proof.met:
            self.blocked()
        self._settle()

    def blocked(self) -> None:
        """UDP does not get through: do not try it any more, and say so as soon as that matters to a file."""
        if self.udp and not self._closed:
            self.udp = False
            self._untold = True

    # -- what files need

    async def address(self, host: str | None, port: int) -> tuple[str, int]:
        """The daemon's UDP address.

        :raise TransferError: ``unknown-host``.
        """
        host = host or self._client.host
        if isIPAddress(host) or isIPv6Address(host):
            return host, port
        try:
            found = await self._run_in_thread(socket.getaddrinfo, host, port, 0, socket.SOCK_DGRAM)
        except OSError as error:
            raise TransferError("unknown-host", f"There is no machine called {host}.") from error
        return str(found[0][4][0]), port

    def switchboard(self, address: tuple[str, int]) -> Switchboard:
        """The UDP socket that reaches this address."""
        six = ":" in address[0]
        if six not in self._switchboards:
            board = Switchboard(self._reactor, early=EARLY_BYTES)
            wildcard = "::" if six else "0.0.0.0"  # noqa: S104 - it must receive from wherever the daemon answers
            listening = listen_udp(self._reactor, board, wildcard, 0, answers=False)
            self._switchboards[six] = board, listening
        return self._switchboards[six][0]

    async def stream(self, offer: Offer) -> StreamCarrier:
        """A TCP connection of its own for this offer.

        :raise TransferError: there is none.
        """
        if self._untold:
            self._untold = False
            self._say(BLOCKED)
        peer: Any = self._client.transport
        where = peer.getPeer()
        carrier = StreamCarrier()
        protocol = StreamProtocol(offer.terms, carrier)
        try:
            await connectProtocol(
                HostnameEndpoint(self._reactor, where.host, where.port, STREAM_TIMEOUT), protocol
            )
            await protocol.ready
        except (TransferError, CancelledError):
            raise
        except Exception as error:
            raise TransferError(
                "no-stream", "There is no TCP connection to the daemon for the file."
            ) from error
        return carrier

    # -- the end

    async def close(self) -> None:
        """The connection is gone, and nothing moves any more."""
        self._closed = True
        if self._path is not None:
            # The daemon's end goes with the chat connection.
            self._path.abandon("cancelled", "The client has what it came for.")
            await self._path_ended
        self._settle()
        boards, self._switchboards = self._switchboards, {}
        for _, listening in boards.values():
            await maybeDeferred(listening.stopListening)
