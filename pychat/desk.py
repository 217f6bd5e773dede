"""Where a session's requests for files are carried out: the shelf on one side, the UDP ports on the other.

The shelf blocks, so it is only touched in threads.  One listing serves all who ask within a second: a flood of
``<listfiles>`` costs the disk one look a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .errors import PychatError
from .requests import ListFiles, OpenFile
from .session import Session
from .shelf import Listing, Shelf, ShelfFile
from .transfer.terms import Terms
from .vocabulary import Offer

LISTING_LIMIT = 10_000
"""Files that one ``<listfiles>`` shows."""

LISTING_AGE = 1.0
"""Seconds for which a listing is good."""

T = TypeVar("T")


class Offerer(Protocol):
    """A UDP port that sends files."""

    def offer(self, file: ShelfFile, owner: object) -> Terms:
        """Take over an open file, to be claimed by whoever gets these terms.

        :raise TransferError: ``busy``; the file stays the caller's.
        """

    def withdraw(self, owner: object) -> None:
        """The owner is gone: forget its offers that nobody claimed."""


class UdpPort:
    """One UDP port and how clients reach it."""

    __slots__ = ("host", "offerer", "port")

    def __init__(self, offerer: Offerer, host: str, port: int) -> None:
        """:param host: the address it is bound to; empty, ``0.0.0.0`` or ``::`` for all.
        :param port: the port that clients are told.
        """
        self.offerer = offerer
        self.host = host
        self.port = port

    @property
    def anywhere(self) -> bool:
        """It answers at every address of this machine."""
        return self.host in ("", "0.0.0.0", "::")  # noqa: S104  nothing is bound here


class Desk:
    """Carries out :class:`ListFiles` and :class:`OpenFile`."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        shelf: Shelf,
        ports: Sequence[UdpPort],
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        """:param in_thread: ``deferToThread`` or its like.
        :param ports: may still grow until the first request.
        """
        self._reactor = reactor
        self._shelf = shelf
        self._ports = ports
        self._in_thread = in_thread
        self._listing: Listing | None = None
        self._listed_at = 0.0
        self._listeners: list[Deferred[Listing]] | None = None

    def carry_out(
        self, request: ListFiles | OpenFile, session: Session, owner: object, local: str
    ) -> Deferred[None]:
        """Do what a session asks for and give it the answer.

        :param owner: stands for the connection.
        :param local: the address of this machine that the connection came to.
        """
        done: Deferred[None]
        if isinstance(request, ListFiles):
            done = self._list().addCallback(_listed, session, request.label)
        else:
            opened = self._in_thread(self._shelf.open, request.name)
            done = opened.addCallback(self._opened, request, session, owner, local)
        done.addErrback(self._failed, request, session)
        return done

    def _failed(self, failure: Failure, request: ListFiles | OpenFile, session: Session) -> None:
        failure.trap(PychatError)
        assert isinstance(failure.value, PychatError)
        session.failed(failure.value, request.label)

    def _opened(
        self, file: ShelfFile, request: OpenFile, session: Session, owner: object, local: str
    ) -> None:
        if session.closing:
            file.close()
        elif not request.offer:
            file.close()
            session.found(request.name, file.size, request.label)
        else:
            port = self._port_for(local)
            try:
                terms = port.offerer.offer(file, owner)
            except BaseException:
                file.close()
                raise
            host = None if port.anywhere or port.host == local else port.host
            session.offered(Offer(request.name, file.version, host, port.port, terms), request.label)

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


def _listed(listing: Listing, session: Session, label: bytes) -> None:
    session.listed(listing.files, listing.left_out, label)
