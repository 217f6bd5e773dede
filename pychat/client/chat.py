"""``pychat chat``: what is typed is sent as it is, what comes is printed, and downloads run beside.

Exit status: 0 when all went well; 1 when there was no connection, or it was lost, and, if the input is not a terminal,
when a line was answered with ``<error>`` or a file did not arrive; 130 or 143 when a signal cut something off.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import PychatError, RemoteProtocolError, TransferError
from ..grammar import Line, parse
from ..vocabulary import CLIENT_LINE_LIMIT, Offer
from .answers import LinkError, Refused, read_offer
from .connection import Client, connect
from .fetch import Fetched, fetch
from .naming import free_path, safe_name
from .program import FAILED, OK, Signals
from .progress import Board, Transfer, human_size, human_time
from .render import show_answer, show_line, visible
from .terminal import Screen, Sink, Typist, Writer

ASKED_LIMIT = 1000
"""Files asked for whose offers may still come."""

FLUSH_TIMEOUT = 2.0
"""Seconds that a program ended by a signal waits for its output to be taken."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What was given on the command line.

    :ivar name: under which to join; ``None`` for the login name.
    :ivar folder: where downloads go.
    """

    host: str
    port: int
    name: str | None
    folder: str


async def chat(
    reactor: Any, signals: Signals, invitation: Invitation, stdin: Any, stdout: Any, stderr: Any
) -> int:
    """The whole program.

    :param stdin: and the others: like those of `sys`.
    :return: the exit status.
    """
    talk = Chat(reactor, invitation, stdout, stderr, interactive=stdin is not None and stdin.isatty())
    try:
        try:
            return await talk.run(signals, stdin)
        finally:
            talk.screen.close()
    finally:
        flushed = talk.screen.flushed()
        if signals.caught is not None:
            flushed.addTimeout(FLUSH_TIMEOUT, reactor)
        try:
            await flushed
        except Exception:  # nobody takes it: then it is lost  # noqa: S110
            pass


class Chat:
    """One visit to a chat.

    :ivar screen: where everything is printed.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, invitation: Invitation, stdout: Any, stderr: Any, *, interactive: bool
    ) -> None:
        """:param interactive: somebody types the lines."""
        self._reactor = reactor
        self._invitation = invitation
        self._interactive = interactive
        writer = Writer(reactor.callFromThread, level=self._output_full, broken=self._output_broken)
        self.screen = Screen(writer, Sink(stdout), Sink(stderr))
        self._board = Board(reactor, self.screen, lines=True)
        self._client: Client | None = None
        self._joined = False
        self._asked: deque[str] = deque(maxlen=ASKED_LIMIT)
        self._downloads: dict[str, Deferred[None]] = {}
        self._wrong = 0  # lines answered with an error, and files that did not arrive
        self._typed_all = False
        self._over: Deferred[None] = Deferred()
        self._idle: list[Deferred[None]] = []
        self._heard_goodbye = False
        self._broken = False

    # -- from the beginning to the end

    async def run(self, signals: Signals, stdin: Any) -> int:
        """Come, talk, leave."""
        where = self._invitation
        client = await connect(self._reactor, where.host, where.port, self._noticed)
        self._client = client
        gone = client.ended()
        gone.addCallback(self._gone)
        try:
            if await self._come_in(client):
                typist = Typist(
                    stdin,
                    self._reactor.callFromThread,
                    lambda lines: Deferred.fromCoroutine(self._typed(client, lines)).addErrback(self._bug),
                    lambda: self._done(typed_all=True),
                    CLIENT_LINE_LIMIT,
                )
                typist.start()
                await self._over
                if self._typed_all:
                    await self._answered(client)
                await self._downloaded()
        except CancelledError:
            if self._interactive:
                self.screen.fresh()  # ^C is there
            cut_off = bool(self._downloads) or not (self._interactive or self._typed_all)
            await self._give_up()
            await self._leave(client)
            return signals.status if cut_off else OK
        lost = await self._leave(client)
        return FAILED if lost or (self._wrong and not self._interactive) else OK

    async def _come_in(self, client: Client) -> bool:
        """Say hello and join; whether to go on."""
        try:
            self.screen.line(show_answer((await client.hello()).line))
        except Refused as error:
            self._refused(error)
        except LinkError:
            return False
        name = self._invitation.name
        if name is None and not self._interactive:
            return True  # the first line decides
        return await self._join(client, _login_name() if name is None else name)

    async def _join(self, client: Client, name: str) -> bool:
        self._joined = True
        try:
            if name:
                self.screen.line(show_answer((await client.command("connect", name)).line))
                return True
            self._wrong += 1
            self.screen.note("* Nobody knows your name here. Type <connect>your-name to join, or say --name.")
        except LinkError:
            return False
        except PychatError as error:
            self._refused(error)
        # Whoever types can choose another name; a script must not go on under none.
        return self._interactive

    def _refused(self, error: PychatError) -> None:
        self._wrong += 1
        self.screen.line(f"<error code={visible(error.code)}>{visible(error.sentence)}")

    def _done(self, *, typed_all: bool = False) -> None:
        self._typed_all = self._typed_all or typed_all
        if not self._over.called:
            self._over.callback(None)

    def _gone(self, why: LinkError) -> None:
        self._done()

    async def _answered(self, client: Client) -> None:
        """Wait for the answers to all that was typed: they come in order."""
        try:
            await client.ping()
        except PychatError:
            pass  # the connection is gone, and so are the answers

    async def _downloaded(self) -> None:
        """Wait for the downloads that run."""
        if not self._downloads:
            return
        if self._interactive:
            count = len(self._downloads)
            self.screen.note(f"* Waiting for {count} download{'s' if count > 1 else ''}. Ctrl-C gives up.")
        idle: Deferred[None] = Deferred(lambda idle: self._idle.remove(idle))
        self._idle.append(idle)
        await idle

    async def _give_up(self) -> None:
        """End the downloads that run."""
        running = list(self._downloads.values())
        for download in running:
            download.cancel()
        await DeferredList(running)

    async def _leave(self, client: Client) -> bool:
        """Say goodbye; whether the connection had been lost before."""
        why = await client.leave()
        if client.goodbye is not None:
            if not self._heard_goodbye:
                self.screen.line(show_answer(client.goodbye))
        elif not self._broken:
            self.screen.note(f"* {visible(why.sentence)}")
        return why.code != "bye"

    # -- lines out

    async def _typed(self, client: Client, lines: list[bytes | None]) -> None:
        for raw in lines:
            if self._over.called:
                return
            if raw is None:
                self._wrong += 1
                self.screen.note(f"* A line has at most {CLIENT_LINE_LIMIT:,} bytes. This one was not sent.")
            elif raw:
                self.screen.entered(raw)
                await self._send(client, raw)

    async def _send(self, client: Client, raw: bytes) -> None:
        try:
            line = parse(raw)
        except RemoteProtocolError:
            line = None
        verb = line.verb if line is not None else b""
        if not self._joined and verb != b"connect" and not await self._join(client, _login_name()):
            self._done()
            return
        self._joined = True
        if verb == b"download" and line is not None:
            self._asked.append(line.text.decode(errors="replace"))
        elif verb == b"disconnect" and not self._interactive:
            # Offers end with the connection, and the next line of a script is there before the first offer is.
            await self._answered(client)
            await self._downloaded()
        try:
            client.send(raw)
        except LinkError:
            return
        await client.room()

    def _bug(self, failure: Failure) -> None:
        self._log.failure("a typed line could not be handled", failure)
        self._done()

    # -- lines in

    def _noticed(self, line: Line, raw: bytes) -> None:
        self.screen.line(show_line(line, raw))
        if line.verb == b"error":
            self._wrong += 1
        elif line.verb == b"offer":
            self._offered(line)
        elif line.verb == b"goodbye":
            self._heard_goodbye = True

    def _offered(self, line: Line) -> None:
        try:
            offer = read_offer(line)
        except RemoteProtocolError as error:
            self._not_arrived(visible(line.text), error.sentence)
            return
        if offer.name not in self._asked:
            self._not_arrived(visible(offer.name), "It was not asked for.")
            return
        self._asked.remove(offer.name)
        self._fetch(offer)

    def _not_arrived(self, name: str, why: str) -> None:
        self._wrong += 1
        self.screen.line(f"* {name} was not downloaded: {visible(why)}")

    # -- downloads

    def _fetch(self, offer: Offer) -> None:
        assert self._client is not None
        path = free_path(
            self._invitation.folder, safe_name(offer.name), lambda path: _key(path) in self._downloads
        )
        transfer = self._board.start(offer.name, offer.terms.size)
        line_lost = self._client.ended()
        done = fetch(
            self._reactor,
            offer.terms,
            offer.host or self._client.host,
            offer.port,
            path,
            progress=transfer.update,
            line_lost=line_lost,
        )
        key = _key(path)
        self._downloads[key] = running = done.addCallbacks(
            self._arrived, self._failed, errbackArgs=(offer.name,)
        )
        running.addErrback(self._bug).addBoth(self._ended, key, transfer, line_lost)

    def _arrived(self, fetched: Fetched) -> None:
        took = human_time(fetched.seconds) if fetched.seconds >= 10 else f"{fetched.seconds:.1f} s"
        if fetched.seconds >= 0.1:
            took += f" ({human_size(fetched.size / fetched.seconds)}/s)"
        path = visible(os.path.normpath(fetched.path))
        self.screen.line(
            f"* saved {path}: {human_size(fetched.size)} in {took}, verified sha256 {fetched.sha256}"
        )

    def _failed(self, failure: Failure, name: str) -> None:
        failure.trap(TransferError, CancelledError)
        error = failure.value
        sentence = error.sentence if isinstance(error, TransferError) else "The download was given up."
        self._not_arrived(visible(name), sentence)

    def _ended(self, result: Any, key: str, transfer: Transfer, line_lost: Deferred[LinkError]) -> Any:
        line_lost.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        self._downloads.pop(key, None)
        self._board.end(transfer)
        if not self._downloads:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)
        return result

    # -- what the output says

    def _output_full(self, full: bool) -> None:
        """Who does not read what we print is sent no more."""
        if self._client is not None:
            if full:
                self._client.pauseProducing()
            else:
                self._client.resumeProducing()

    def _output_broken(self) -> None:
        """Nobody reads what we print."""
        self._broken = True
        if self._client is not None:
            self._client.abort()


def _key(path: str) -> str:
    return os.path.normcase(os.path.abspath(path))


def _login_name() -> str:
    """Who is at this machine; empty if nobody knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def run_chat(invitation: Invitation) -> int:
    """Run ``pychat chat``."""
    from .program import run

    return run(lambda reactor, signals: chat(reactor, signals, invitation, sys.stdin, sys.stdout, sys.stderr))
