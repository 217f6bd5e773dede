"""Where a session's requests for files are carried out: the shelf on one side, the ports on the other.

The shelf blocks, so it is only touched in threads.  One listing serves all who ask within a second: a flood of
``<listfiles>`` costs the disk one look a second.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .errors import PychatError, TransferError
from .requests import FromShelf, ListFiles, ListTransfers, OfTransfers, OpenFile, ProvePath, Stream, TakeFile
from .session import Session
from .sharing import pick
from .shelf import Listing, Shelf, ShelfFile
from .transfer.terms import Outcome, Terms
from .uploading import Offered, Taker, Uploading, Wish
from .vocabulary import ANY_VERSION, Offer, Ranges, Ticket, Underway

if TYPE_CHECKING:
    from .peer import Person
    from .stream import StreamCarrier

LISTING_LIMIT = 10_000
"""Files that one ``<listfiles>`` shows."""

LISTING_AGE = 1.0
"""Seconds for which a listing is good."""


class Running(Protocol):
    """A transfer, as a port tells of it."""

    @property
    def transfer(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def done(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def direction(self) -> str: ...


class Offerer(Taker, Protocol):
    """A port between which and clients files travel.

    `owner` is a connection, `identity` with whom it shares the daemon: who has no name shares it with all that come
    from the same address.
    """

    def offer(
        self,
        source: ShelfFile,
        owner: object,
        finished: Callable[[Outcome], object] | None = None,
        *,
        identity: str | None = None,
        have: Ranges = (),
    ) -> Offered:
        """Take over an open file, to be claimed by whoever gets the terms.

        :raise TransferError: ``busy``; the file stays the caller's.
        """

    def greet(self, owner: object, identity: str | None = None, host: str = "") -> Terms:
        """Let a client prove its address, for as long as its connection lasts.

        :param host: the address that its connection comes from.

        :raise TransferError: ``busy``.
        """

    def attach(self, transfer: bytes, token: bytes) -> StreamCarrier:
        """Have an offer claimed by a stream.

        :raise TransferError: ``no-such-transfer``.
        """

    def transfers(self, owner: object) -> Sequence[Running]:
        """The transfers of a connection."""

    def pause(self, transfer: bytes, on: bool) -> bool:
        """Let a transfer rest, or go on; say whether it is there."""

    def withdraw(self, owner: object) -> None:
        """The owner is gone: forget its offers that nobody claimed."""


class UdpPort:
    """One UDP port and how clients reach it; or none, where UDP is not wanted."""

    __slots__ = ("host", "offerer", "port")

    def __init__(self, offerer: Offerer, host: str, port: int | None) -> None:
        """:param host: the address it is bound to; empty, ``0.0.0.0`` or ``::`` for all.
        :param port: the port that clients are told; ``None``: there is none, and transfers go over TCP.
        """
        self.offerer = offerer
        self.host = host
        self.port = port

    @property
    def anywhere(self) -> bool:
        """It answers at every address of this machine."""
        return self.host in ("", "0.0.0.0", "::")  # noqa: S104  nothing is bound here


class Desk:
    """Carries out what a session asks of the shelf and of transfers."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        shelf: Shelf,
        ports: Sequence[UdpPort],
        in_thread: Callable[..., Deferred[Any]],
        uploading: Uploading,
    ) -> None:
        """:param in_thread: ``deferToThread`` or its like.
        :param ports: may still grow until the first request.
        """
        self._reactor = reactor
        self._shelf = shelf
        self._ports = ports
        self._in_thread = in_thread
        self.uploading = uploading
        self._listing: Listing | None = None
        self._listed_at = 0.0
        self._listeners: list[Deferred[Listing]] | None = None
        self._connections: dict[Person, Counter[object]] = {}
        """The connections over which somebody has transfers, with their number: she may have come back on another."""

    @property
    def has_udp(self) -> bool:
        """Files can go over UDP."""
        return any(port.port is not None for port in self._ports)

    def carry_out(
        self, request: FromShelf | OfTransfers, session: Session, owner: object, local: str, remote: str = ""
    ) -> Deferred[None]:
        """Do what a session asks for and give it the answer.

        :param owner: stands for the connection.
        :param local: the address of this machine that the connection came to.
        :param remote: the address that it came from; empty if it has none.
        """
        person = session.peer.identity
        by = person.name if person is not None else ""
        identity = f"={person.key}" if person is not None else f"@{remote}"
        done: Deferred[None]
        if isinstance(request, ListFiles):
            done = self._list().addCallback(_listed, session, request.label)
        elif isinstance(request, OpenFile):
            opened = self._in_thread(self._shelf.open, request.name)
            done = opened.addCallback(self._opened, request, session, owner, local, identity)
        elif isinstance(request, TakeFile):
            version = request.version or secrets.token_hex(16)
            wish = Wish(request.name, request.size, version, owner, identity, identity, by)
            done = Deferred.fromCoroutine(self._take(wish, request, session, local))
        else:
            done = execute(self._at_once, request, session, owner, local, remote, identity)
        done.addErrback(self._failed, request, session)
        return done

    def _failed(self, failure: Failure, request: FromShelf | OfTransfers, session: Session) -> None:
        failure.trap(PychatError)
        error = failure.value
        assert isinstance(error, PychatError)
        if isinstance(error.__cause__, OSError) and error.code == "cannot-write":
            self._log.warn("cannot take an upload: {reason}", reason=error.__cause__)
        if not isinstance(request, ProvePath):
            session.failed(error, request.label)

    def _opened(
        self,
        file: ShelfFile,
        request: OpenFile,
        session: Session,
        owner: object,
        local: str,
        identity: str | None,
    ) -> None:
        if session.closing:
            file.close()
        elif not request.offer:
            file.close()
            session.found(request.name, file.size, request.label)
        else:
            port = self._port_for(local)
            have = request.have
            if request.version == ANY_VERSION:
                resumed = list(have) == [(0, file.size)]
            else:
                resumed = bool(have) and request.version == file.version and have[-1][1] <= file.size
            finished = self._counting(session, owner)
            try:
                offered = port.offerer.offer(
                    file, owner, lambda outcome: finished(), identity=identity, have=have if resumed else ()
                )
            except BaseException:
                finished()
                file.close()
                raise
            session.offered(
                Offer(
                    request.name, file.version, _host(port, local), port.port, offered.terms,
                    resumed=resumed, tcp=True, path=offered.path or b"",
                ),
                request.label,
            )  # fmt: skip

    async def _take(self, wish: Wish, request: TakeFile, session: Session, local: str) -> None:
        port = self._port_for(local)
        finished = self._counting(session, wish.owner)
        try:
            offered, have = await self.uploading.begin(wish, port.offerer, finished)
        except BaseException:
            finished()
            raise
        if session.closing:
            port.offerer.withdraw(wish.owner)
            return
        session.offered(
            Offer(
                wish.name, wish.version, _host(port, local), port.port, offered.terms,
                tcp=True, path=offered.path or b"", up=True, have=have,
            ),
            request.label,
        )  # fmt: skip

    def _at_once(
        self,
        request: OfTransfers,
        session: Session,
        owner: object,
        local: str,
        remote: str,
        identity: str | None,
    ) -> None:
        if isinstance(request, ProvePath):
            port = self._port_for(local)
            if port.port is not None:
                terms = port.offerer.greet(owner, identity, remote)
                session.ticket(Ticket(_host(port, local), port.port, terms))
            return
        found = self._transfers_of(session, owner)
        if isinstance(request, ListTransfers):
            session.transfers([_underway(each) for _, each in found], request.label)
            return
        offerer, each = found[pick(request, [(each.transfer, each.name) for _, each in found])]
        if request.how == "cancel":
            self.uploading.drop(each.transfer)
            offerer.cancel(each.transfer, "cancelled", "The transfer was cancelled on the chat line.")
        else:
            offerer.pause(each.transfer, request.how == "pause")
        session.steered(request, each.transfer, each.name)

    def _transfers_of(self, session: Session, owner: object) -> list[tuple[Offerer, Running]]:
        """Those of this connection, and of the others of the same person."""
        person = session.peer.identity
        owners = {owner: None}
        if person is not None:
            owners.update(dict.fromkeys(self._connections.get(person, ())))
        return [
            (port.offerer, each)
            for port in self._ports
            for one in owners
            for each in port.offerer.transfers(one)
        ]

    def _counting(self, session: Session, owner: object) -> Callable[[], None]:
        """Remember a transfer of somebody over this connection, until what is returned is called."""
        person = session.peer.identity
        if person is None:
            return lambda: None
        counter = self._connections.setdefault(person, Counter())
        counter[owner] += 1

        def finished() -> None:
            counter[owner] -= 1
            if not counter[owner]:
                del counter[owner]
            if not counter and self._connections.get(person) is counter:
                del self._connections[person]

        return finished

    def attach(self, request: Stream) -> StreamCarrier:
        """The transfer that a connection is to carry.

        :raise TransferError: ``no-such-transfer``.
        """
        for port in self._ports:
            try:
                return port.offerer.attach(request.transfer, request.token)
            except TransferError as error:
                if error.code != "no-such-transfer":
                    raise
        raise TransferError(
            "no-such-transfer", "There is no such transfer, or it is claimed already: ask for the file again."
        )

    def _port_for(self, local: str) -> UdpPort:
        """The port at the address that the client reached, or else one that answers everywhere, or the first."""
        same = [port for port in self._ports if (":" in port.host) == (":" in local)]
        for port in same:
            if port.host == local:
                return port
        for port in same:
            if port.anywhere:
                return port
        return (same or self._ports)[0]

    def _list(self) -> Deferred[Listing]:
        if self._listing is not None and self._reactor.seconds() - self._listed_at < LISTING_AGE:
            return succeed(self._listing)
        waiting: Deferred[Listing] = Deferred()
        if self._listeners is not None:
            self._listeners.append(waiting)
            return waiting
        self._listeners = [waiting]
        self._in_thread(self._shelf.listing, LISTING_LIMIT).addBoth(self._have_listing)
        return waiting

    def _have_listing(self, listing: Listing | Failure) -> None:
        listeners, self._listeners = self._listeners or [], None
        if isinstance(listing, Failure):
            for waiting in listeners:
                waiting.errback(listing)
            return
        self._listing, self._listed_at = listing, self._reactor.seconds()
        for skipped in listing.skipped:
            self._log.warn("not offered: {name!r} ({reason})", name=skipped.name, reason=skipped.reason)
        for waiting in listeners:
            waiting.callback(listing)

    def left(self, owner: object) -> None:
        """The connection is gone."""
        for port in self._ports:
            port.offerer.withdraw(owner)


def _host(port: UdpPort, local: str) -> str | None:
    return None if port.anywhere or port.host == local else port.host


def _underway(each: Running) -> Underway:
    return Underway(each.transfer, each.name, each.size, each.done, each.state, each.direction == "up")


def _listed(listing: Listing, session: Session, label: bytes) -> None:
    session.listed(listing.files, listing.left_out, label)
