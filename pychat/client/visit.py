"""What the two forms of ``pychat chat`` share: a screen, typed lines, downloads, and what the command line gave."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..address import format_host_port
from ..errors import PychatError
from ..framing import LineSplitter
from ..vocabulary import CLIENT_LINE_LIMIT
from .connection import Client
from .downloads import Downloads
from .lookup import Lookup
from .program import Signals
from .render import visible
from .terminal import Screen, Sink, Splitter, Typist, Writer

PATIENT_SECONDS = 3.0
"""Seconds after which who waits to be let in is told what for."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Invitation:
    """What was given on the command line.

    :ivar name: under which to join; ``None`` for the login name.
    :ivar folder: where downloads go.
    :ivar fresh: forget what was kept from the last time.
    """

    host: str
    port: int
    name: str | None
    folder: str
    fresh: bool = False


class Visit:
    """One visit to a chat.

    :ivar screen: where everything is printed.
    """

    _lookup: Lookup

    _log = Logger()

    def __init__(self, reactor: Any, invitation: Invitation, stdout: Any, stderr: Any) -> None:
        self._reactor = reactor
        self._invitation = invitation
        writer = Writer(reactor.callFromThread, level=self._output_full, broken=self._output_broken)
        self.screen = Screen(writer, Sink(stdout), Sink(stderr))
        self._downloads = Downloads(reactor, self.screen, invitation.folder, self._bug)
        self._wrong = 0  # lines answered with an error
        self._typed_all = False
        self._over: Deferred[None] = Deferred()
        self._full = False
        self._broken = False

    async def run(self, signals: Signals, stdin: Any) -> int:
        """Come, talk, leave; the exit status."""
        raise NotImplementedError

    @property
    def _client(self) -> Client | None:
        """The connection, if there is one."""
        raise NotImplementedError

    async def _line(self, raw: bytes) -> None:
        """Somebody typed this."""
        raise NotImplementedError

    async def _patiently(self, coming: Deferred[T]) -> T:
        """Wait to be let in; where that takes long, say what for."""
        where = format_host_port(self._invitation.host, self._invitation.port)
        call = self._reactor.callLater(
            PATIENT_SECONDS,
            self.screen.note,
            f"* Still waiting for {visible(where)} to let you in. Ctrl-C gives up.",
        )
        try:
            return await coming
        finally:
            if call.active():
                call.cancel()

    # -- lines out

    def _listen(self, stdin: Any, splitter: Splitter | None = None) -> None:
        """Take what is typed from now on."""
        Typist(
            stdin,
            self._reactor.callFromThread,
            lambda lines: Deferred.fromCoroutine(self._typed(lines)).addErrback(self._bug),
            lambda: self._done(typed_all=True),
            splitter or LineSplitter(CLIENT_LINE_LIMIT),
            self.screen.draft,
        ).start()

    async def _typed(self, lines: list[bytes | None]) -> None:
        for raw in lines:
            if self._over.called:
                return
            if raw is None:
                self._wrong += 1
                self.screen.note(f"* A line has at most {CLIENT_LINE_LIMIT:,} bytes. This one was not sent.")
            elif raw:
                self.screen.entered(raw)
                await self._line(raw)

    async def _answered(self) -> None:
        """Wait for the answers to all that was typed: they come in order."""
        client = self._client
        if client is not None:
            try:
                await client.ping()
                while self._lookup.under_way:
                    await client.ping()  # it has asked for more
            except PychatError:
                pass  # the connection is gone, and so are the answers

    async def let_go(self) -> None:
        """Close what was opened for files."""
        await self._downloads.close()

    def _done(self, *, typed_all: bool = False) -> None:
        self._typed_all = self._typed_all or typed_all
        if not self._over.called:
            self._over.callback(None)

    def _bug(self, failure: Failure) -> None:
        self._log.failure("a typed line could not be handled", failure)
        self._done()

    def _refused(self, error: PychatError) -> None:
        self._wrong += 1
        self.screen.line(f"<error code={visible(error.code)}>{visible(error.sentence)}")

    # -- what the output says

    def _output_full(self, full: bool) -> None:
        """Who does not read what we print is sent no more."""
        self._full = full
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


def login_name() -> str:
    """Who is at this machine; empty if nobody knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""
