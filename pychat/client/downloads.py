"""The files of a chat: those that were asked for, each fetched into the folder, and those that are sent.

All that goes on beside the chat.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail, succeed
from twisted.python.failure import Failure

from ..errors import LocalProtocolError, PychatError, RemoteProtocolError
from ..grammar import Line, render
from ..part import read_part
from ..udp import RunInThread, thread_runner
from .answers import LinkError
from .connection import Client
from .errand import CHANGED, Errand
from .fetch import Fetch
from .lane import PATIENCE
from .naming import free_path, safe_name
from .offers import Offer, read_offer, write_ranges
from .progress import Board, Transfer, human_size, took
from .render import visible
from .results import Carried
from .road import Road
from .send import Send
from .terminal import Screen
from .wanted import is_pattern

REFUSALS = (b"no-such-file", b"busy")
"""Codes with which nothing but a ``<download>`` is answered."""

PATTERN = "A pattern means nothing here: name the file, or run pychat get HOST 'PATTERN' beside the chat."

ASKED_LIMIT = 1000
"""Files asked for whose offers may still come."""


class Downloads:
    """Those of one visit; the `pychat.client.errand.Link` that they share.

    :ivar failed: how many files did not arrive.
    """

    def __init__(self, reactor: Any, screen: Screen, folder: str, bug: Callable[[Failure], object]) -> None:
        """:param bug: is given what nobody foresaw."""
        self._reactor = reactor
        self._screen = screen
        self._folder = folder
        self._bug = bug
        self._run_in_thread: RunInThread = thread_runner(reactor)
        self._board = Board(reactor, screen, lines=True)
        self._asked: deque[str] = deque(maxlen=ASKED_LIMIT)
        self._resumes: dict[
            str, tuple[str, str]
        ] = {}  # where the rest of files asked for goes, and their versions
        self._running: dict[str, Deferred[None]] = {}
        self._idle: list[Deferred[None]] = []
        self._client: Client | None = None
        self._over: LinkError | None = None
        self._waiting: list[Deferred[Client]] = []
        self._path_line: Line | None = None
        self._roads: dict[Client, Road] = {}
        self._moved = 0.0
        self.failed = 0

    def __len__(self) -> int:
        return len(self._running)

    # -- connections

    def path(self, line: Line) -> None:
        """A ``<path>`` came, perhaps before we are in the chat."""
        road = self._roads.get(self._client) if self._client is not None else None
        if road is not None:
            road.hear(line)
        else:
            self._path_line = line

    def linked(self, client: Client) -> None:
        """There is a connection, or there is one again."""
        for old, gone in list(self._roads.items()):
            if gone.idle and not old.up:
                del self._roads[old]
                self._close(gone)
        self._client, self._over = client, None
        self._moved = self._reactor.seconds()
        self._roads[client] = road = Road(self._reactor, client, self.say, self._run_in_thread)
        line, self._path_line = self._path_line, None
        if "udp" in client.caps:
            road.expect()
        if line is not None:
            road.hear(line)
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(client)

    def line_lost(self) -> None:
        """Offers that had not come on this connection never will."""
        self._client = None
        names, self._asked = list(self._asked), deque(maxlen=ASKED_LIMIT)
        for name in names:
            self._resumes.pop(name, None)
            self._not_done(visible(name), "The connection was lost before the daemon answered. Ask again.")

    def over(self, why: PychatError) -> None:
        """There will be no other connection."""
        self._client = None
        self._over = LinkError(why.code, why.sentence)
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.errback(self._over)

    async def close(self) -> None:
        """Nothing is to be moved any more."""
        roads, self._roads = self._roads, {}
        for road in roads.values():
            await road.close()

    def _close(self, road: Road) -> None:
        Deferred.fromCoroutine(road.close()).addErrback(self._bug)

    # -- the link

    def client(self) -> Deferred[Client]:
        """Link."""
        if self._client is not None and self._client.up:
            return succeed(self._client)
        if self._over is not None:
            return fail(self._over)
        waiting: Deferred[Client] = Deferred(lambda waiting: self._waiting.remove(waiting))
        self._waiting.append(waiting)
        return waiting

    def road(self, client: Client) -> Road:
        """Link."""
        return self._roads[client]

    def say(self, sentence: str) -> None:
        """Link."""
        self._screen.line(f"* {visible(sentence)}")

    def progressed(self) -> None:
        """Link."""
        self._moved = self._reactor.seconds()

    @property
    def patience(self) -> float:
        """Link."""
        left: float = self._moved + PATIENCE - self._reactor.seconds()
        return max(0.0, left)

    # -- files that come

    def asks(self, line: Line, raw: bytes) -> bytes:
        """A ``<download>`` is typed: what to send for it. Its offer is welcome."""
        name = line.text.decode(errors="replace").strip(" ")
        self._asked.append(name)
        path = os.path.join(self._folder, safe_name(name))
        if _key(path) in self._running or os.path.lexists(path) or not line.text:
            return raw
        held = read_part(path)
        ranges = write_ranges(list(held.ranges)) if held is not None else None
        if held is None or ranges is None or {b"have", b"version"} & line.attributes.keys():
            return raw
        more = {b"have": ranges.encode(), b"version": held.version.encode()}
        try:
            sent = render(line.verb, {**line.attributes, **more}, line.text)[:-1]
        except LocalProtocolError:
            return raw
        self._resumes[name] = path, held.version
        return sent

    def refused(self, line: Line) -> None:
        """An ``<error>`` came: if it answers a ``<download>``, then the one that waits longest."""
        if self._asked and line.attributes.get(b"code") in REFUSALS:
            name = self._asked.popleft()
            self._resumes.pop(name, None)
            if is_pattern(name) and line.attributes.get(b"code") == b"no-such-file":
                self._screen.line(f"* {visible(PATTERN)}")

    def offered(self, line: Line, client: Client) -> None:
        """An ``<offer>`` came."""
        try:
            offer = read_offer(line)
        except RemoteProtocolError as error:
            self._not_done(visible(line.text), error.sentence)
            return
        if offer.name not in self._asked:
            self._not_done(visible(offer.name), "It was not asked for.")
            return
        self._asked.remove(offer.name)
        self._fetch(offer, client)

    def _fetch(self, offer: Offer, client: Client) -> None:
        path, version = self._resumes.pop(offer.name, (None, offer.version))
        if version != offer.version:
            self.say(f"{offer.name}: {CHANGED}")
        if path is None or os.path.lexists(path) or _key(path) in self._running:
            path = free_path(self._folder, safe_name(offer.name), lambda path: _key(path) in self._running)
        transfer = self._board.start(offer.name, offer.terms.size)
        errand = Fetch(
            self._reactor,
            self,
            offer.name,
            transfer,
            self._run_in_thread,
            first=offer,
            path=path,
            measures=self._screen.has_bar,
        )
        self._start(errand, _key(path), transfer)

    # -- files that go

    def upload(self, line: Line) -> None:
        """An ``<upload>`` is typed, with a path of this machine."""
        path = os.path.expanduser(line.text.decode(errors="replace").strip(" "))
        name = os.path.basename(os.path.abspath(path))
        key = f"up {_key(path)}"
        if not path:
            self.failed += 1
            self._screen.line("* Nothing was uploaded, for no file was named. Type <upload>path/photo.jpg")
            return
        if key in self._running:
            self._not_done(visible(path), "It is being uploaded.", "uploaded")
            return
        transfer = self._board.start(name, 0)
        errand = Send(self._reactor, self, name, transfer, self._run_in_thread, path=path)
        self._start(errand, key, transfer)

    # -- both

    def idle(self) -> Deferred[None]:
        """Fires once nothing is under way; to be asked for while something is."""
        idle: Deferred[None] = Deferred(lambda idle: self._idle.remove(idle))
        self._idle.append(idle)
        return idle

    async def give_up(self) -> None:
        """End those that run."""
        running = list(self._running.values())
        for errand in running:
            errand.cancel()
        await DeferredList(running)

    def _start(self, errand: Errand, key: str, transfer: Transfer) -> None:
        done = Deferred.fromCoroutine(errand.run())
        self._running[key] = running = done.addCallbacks(
            self._arrived, self._failed, callbackArgs=(errand.up,), errbackArgs=(errand,)
        )
        running.addErrback(self._bug).addBoth(self._ended, key, transfer)

    def _arrived(self, carried: Carried, up: bool) -> None:
        if carried.already:
            return  # that was the whole of it
        size, time = human_size(carried.size), took(carried.size - carried.resumed, carried.seconds)
        if up:
            self._screen.line(f"* uploaded {visible(carried.name)}: {size} in {time}, verified there")
            return
        path = visible(os.path.normpath(carried.path))
        self._screen.line(f"* saved {path}: {size} in {time}, verified sha256 {carried.sha256}")

    def _failed(self, failure: Failure, errand: Errand) -> None:
        failure.trap(PychatError, CancelledError)
        error = failure.value
        what = "uploaded" if errand.up else "downloaded"
        gave_up = f"The {what[:-2]} was given up."
        if errand.moved:
            gave_up += " Ask again, and it goes on from there."
        self._not_done(
            visible(errand.name), error.sentence if isinstance(error, PychatError) else gave_up, what
        )

    def _not_done(self, name: str, why: str, what: str = "downloaded") -> None:
        self.failed += 1
        self._screen.line(f"* {name} was not {what}: {visible(why)}")

    def _ended(self, result: Any, key: str, transfer: Transfer) -> Any:
        self._running.pop(key, None)
        self._board.end(transfer)
        if not self._running:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)
        return result


def _key(path: str) -> str:
    return os.path.normcase(os.path.abspath(path))
