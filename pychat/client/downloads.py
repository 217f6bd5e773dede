"""The downloads of a chat: files that were asked for, each fetched into the folder beside whatever else goes on."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.python.failure import Failure

from ..errors import RemoteProtocolError, TransferError
from ..grammar import Line
from ..vocabulary import Offer
from .answers import LinkError, read_offer
from .connection import Client
from .fetch import Fetched, fetch
from .naming import free_path, safe_name
from .progress import Board, Transfer, human_size, human_time
from .render import visible
from .terminal import Screen

REFUSALS = (b"no-such-file", b"busy")
"""Codes with which nothing but a ``<download>`` is answered."""

ASKED_LIMIT = 1000
"""Files asked for whose offers may still come."""


class Downloads:
    """Those of one visit.

    :ivar failed: how many files did not arrive.
    """

    def __init__(self, reactor: Any, screen: Screen, folder: str, bug: Callable[[Failure], object]) -> None:
        """:param bug: is given what nobody foresaw."""
        self._reactor = reactor
        self._screen = screen
        self._folder = folder
        self._bug = bug
        self._board = Board(reactor, screen, lines=True)
        self._asked: deque[str] = deque(maxlen=ASKED_LIMIT)
        self._running: dict[str, Deferred[None]] = {}
        self._idle: list[Deferred[None]] = []
        self.failed = 0

    def __len__(self) -> int:
        return len(self._running)

    def asked(self, line: Line) -> None:
        """A ``<download>`` is sent: its offer is welcome."""
        self._asked.append(line.text.decode(errors="replace"))

    def line_lost(self) -> None:
        """Offers that had not come on this connection never will."""
        names, self._asked = list(self._asked), deque(maxlen=ASKED_LIMIT)
        for name in names:
            self._not_arrived(visible(name), "The connection was lost before the daemon answered. Ask again.")

    def refused(self, line: Line) -> None:
        """An ``<error>`` came: if it answers a ``<download>``, then the one that waits longest."""
        if self._asked and line.attributes.get(b"code") in REFUSALS:
            self._asked.popleft()

    def offered(self, line: Line, client: Client) -> None:
        """An ``<offer>`` came."""
        try:
            offer = read_offer(line)
        except RemoteProtocolError as error:
            self._not_arrived(visible(line.text), error.sentence)
            return
        if offer.name not in self._asked:
            self._not_arrived(visible(offer.name), "It was not asked for.")
            return
        self._asked.remove(offer.name)
        self._fetch(offer, client)

    def idle(self) -> Deferred[None]:
        """Fires once no download runs; to be asked for while one does."""
        idle: Deferred[None] = Deferred(lambda idle: self._idle.remove(idle))
        self._idle.append(idle)
        return idle

    async def give_up(self) -> None:
        """End those that run."""
        running = list(self._running.values())
        for download in running:
            download.cancel()
        await DeferredList(running)

    def _not_arrived(self, name: str, why: str) -> None:
        self.failed += 1
        self._screen.line(f"* {name} was not downloaded: {visible(why)}")

    def _fetch(self, offer: Offer, client: Client) -> None:
        path = free_path(self._folder, safe_name(offer.name), lambda path: _key(path) in self._running)
        transfer = self._board.start(offer.name, offer.terms.size)
        line_lost = client.ended()
        done = fetch(
            self._reactor,
            offer.terms,
            offer.host or client.host,
            offer.port,
            path,
            progress=transfer.update,
            line_lost=line_lost,
        )
        key = _key(path)
        self._running[key] = running = done.addCallbacks(
            self._arrived, self._failed, errbackArgs=(offer.name,)
        )
        running.addErrback(self._bug).addBoth(self._ended, key, transfer, line_lost)

    def _arrived(self, fetched: Fetched) -> None:
        took = human_time(fetched.seconds) if fetched.seconds >= 10 else f"{fetched.seconds:.1f} s"
        if fetched.seconds >= 0.1:
            took += f" ({human_size(fetched.size / fetched.seconds)}/s)"
        path = visible(os.path.normpath(fetched.path))
        self._screen.line(
            f"* saved {path}: {human_size(fetched.size)} in {took}, verified sha256 {fetched.sha256}"
        )

    def _failed(self, failure: Failure, name: str) -> None:
        failure.trap(TransferError, CancelledError)
        error = failure.value
        sentence = error.sentence if isinstance(error, TransferError) else "The download was given up."
        self._not_arrived(visible(name), sentence)

    def _ended(self, result: Any, key: str, transfer: Transfer, line_lost: Deferred[LinkError]) -> Any:
        line_lost.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        self._running.pop(key, None)
        self._board.end(transfer)
        if not self._running:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)
        return result


def _key(path: str) -> str:
    return os.path.normcase(os.path.abspath(path))
