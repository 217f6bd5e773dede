"""``pychat chat``: what is typed is sent as it is, what comes is printed, and downloads run beside.

Here is the form for a pipe: one connection, and its end is the end.  Who types at a terminal has `talk`.

Exit status: 0 when all went well; 1 when there was no connection, or it was lost, and, if the input is not a terminal,
when a line was answered with ``<error>`` or a file did not arrive; 130 or 143 when a signal cut something off.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import CancelledError

from ..errors import PychatError, RemoteProtocolError
from ..grammar import Line, parse
from .answers import LinkError, Refused
from .connection import Client, connect
from .lookup import Lookup
from .program import FAILED, OK, Signals
from .render import show_answer, show_message, visible
from .talk import Talk
from .visit import Invitation, Visit, login_name

CAPS = ("ack", "multiline", "udp")

FLUSH_TIMEOUT = 2.0
"""Seconds that a program ended by a signal waits for its output to be taken."""


async def chat(
    reactor: Any, signals: Signals, invitation: Invitation, stdin: Any, stdout: Any, stderr: Any
) -> int:
    """The whole program.

    :param stdin: and the others: like those of `sys`.
    :return: the exit status.
    """
    interactive = stdin is not None and stdin.isatty()
    visit: Visit = (Talk if interactive else Script)(reactor, invitation, stdout, stderr)
    try:
        try:
            return await visit.run(signals, stdin)
        finally:
            visit.screen.close()
            await visit.let_go()
    finally:
        flushed = visit.screen.flushed()
        if signals.caught is not None:
            flushed.addTimeout(FLUSH_TIMEOUT, reactor)
        try:
            await flushed
        except Exception:  # nobody takes it: then it is lost  # noqa: S110
            pass


class Script(Visit):
    """A visit whose lines come out of a pipe."""

    def __init__(self, reactor: Any, invitation: Invitation, stdout: Any, stderr: Any) -> None:
        super().__init__(reactor, invitation, stdout, stderr)
        self._connected: Client | None = None
        self._joined = False
        self._heard_goodbye = False
        self._lookup = Lookup(self.screen.line, self._refused, self._bug, joins=False)

    @property
    def _client(self) -> Client | None:
        return self._connected

    async def run(self, signals: Signals, stdin: Any) -> int:
        where = self._invitation
        connecting = connect(self._reactor, where.host, where.port, self._noticed)
        self._connected = client = await self._patiently(connecting)
        client.ended().addCallback(self._lost)
        try:
            if await self._come_in(client):
                self._listen(stdin)
                await self._over
                if self._typed_all:
                    await self._answered()
                await self._downloaded()
        except CancelledError:
            cut_off = bool(self._downloads) or not self._typed_all
            await self._downloads.give_up()
            await self._leave(client)
            return signals.status if cut_off else OK
        lost = await self._leave(client)
        return FAILED if lost or self._wrong or self._downloads.failed else OK

    def _lost(self, why: LinkError) -> None:
        self._downloads.over(why)
        self._done()

    async def _come_in(self, client: Client) -> bool:
        """Say hello and join; whether to go on."""
        try:
            self.screen.line(show_answer((await client.hello(CAPS)).line))
            self._downloads.linked(client)
        except Refused as error:
            self._refused(error)
        except LinkError:
            return False
        # Without a name the first line decides.
        return self._invitation.name is None or await self._join(client, self._invitation.name)

    async def _join(self, client: Client, name: str) -> bool:
        self._joined = True
        try:
            if name:
                self.screen.line(show_answer((await client.command("connect", name)).line))
                return True
            self._wrong += 1
            self.screen.note("* Nobody knows your name here. Type <connect>your-name to join, or say --name.")
        except LinkError:
            pass
        except PychatError as error:
            self._refused(error)
        # A script must not go on under no name.
        return False

    async def _downloaded(self) -> None:
        """Wait for the downloads that run."""
        if self._downloads:
            await self._downloads.idle()

    async def _leave(self, client: Client) -> bool:
        """Say goodbye; whether the connection had been lost before."""
        why = await client.leave()
        if client.goodbye is not None:
            if not self._heard_goodbye:
                self.screen.line(show_answer(client.goodbye))
        elif not self._broken:
            self.screen.note(f"* {visible(why.sentence)}")
        return why.code != "bye"

    async def _line(self, raw: bytes) -> None:
        client = self._connected
        assert client is not None
        try:
            line = parse(raw)
        except RemoteProtocolError:
            line = None
        verb = line.verb if line is not None else b""
        if not self._joined and verb != b"connect" and not await self._join(client, login_name()):
            self._done()
            return
        self._joined = True
        if verb == b"download" and line is not None:
            raw = self._downloads.asks(line, raw)
        elif verb == b"upload" and line is not None:
            self._downloads.upload(line)
            return
        elif verb == b"disconnect":
            # Offers end with the connection, and the next line of a script is there before the first offer is.
            await self._answered()
            await self._downloaded()
        try:
            if line is None or not self._lookup.send(client, line):
                client.send(raw)
        except LinkError:
            return
        await client.room()

    def _noticed(self, line: Line, raw: bytes) -> None:
        if line.verb == b"path":
            self._downloads.path(line)
            return
        if line.verb == b"goodbye" and self._connected is None:
            return  # it is told as the reason why there is no connection
        self.screen.line(show_message(line, raw))
        if line.verb == b"error":
            self._wrong += 1
            self._downloads.refused(line)
        elif line.verb == b"offer" and self._connected is not None:
            self._downloads.offered(line, self._connected)
        elif line.verb == b"goodbye":
            self._heard_goodbye = True


def run_chat(invitation: Invitation) -> int:
    """Run ``pychat chat``."""
    from .program import run

    return run(lambda reactor, signals: chat(reactor, signals, invitation, sys.stdin, sys.stdout, sys.stderr))


__all__ = ["Invitation", "chat", "run_chat"]
