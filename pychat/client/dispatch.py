"""Where what somebody typed goes: out at once, into the outbox, or back to her with a word why.

Messages that may wait go through the outbox of the member, whether there is a connection or not.  Others, and commands,
go as they were typed, and only where there is a connection.  What is not sent stands in the input again, where we make
lines of keys ourselves.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import LocalProtocolError, PychatError
from ..grammar import Line
from ..vocabulary import CLIENT_LINE_LIMIT
from .answers import LinkError
from .connection import Client
from .downloads import Downloads
from .editing import Editor, Pasted
from .lookup import Lookup
from .member import Member
from .outbox import is_whole, may_wait
from .pasted import commands
from .report import Report
from .terminal import Screen
from .unkept import UNKEPT_LIMIT, Unkept
from .wording import (
    ATTRIBUTES_DO_NOT_WAIT,
    LONG_DOES_NOT_WAIT,
    NO_COMMAND,
    NO_COMMANDS,
    NO_MESSAGE,
    ONLY_MESSAGES_WAIT,
)

UNANSWERED = frozenset((b"ack", b"read", b"pong"))
"""Commands that have no answer."""


class Dispatch:
    """Takes typed lines to where they belong.

    :ivar keys: what makes lines of keys, and takes back what was not sent; ``None`` where the terminal makes them.
    """

    def __init__(
        self,
        screen: Screen,
        report: Report,
        downloads: Downloads,
        lookup: Lookup,
        refused: Callable[[PychatError], object],
        unanswered: Callable[[bytes], object],
    ) -> None:
        """
        :param refused: prints why something was refused.
        :param unanswered: is given each command that was sent on a connection which ended before its answer came.
        """
        self._screen = screen
        self._report = report
        self._downloads = downloads
        self._lookup = lookup
        self._refused = refused
        self._unkept = Unkept(report.doubtful_line)
        self._asked = Unkept(unanswered)
        self.keys: Editor | None = None

    def lines(self, entry: bytes) -> list[bytes | None]:
        """The lines of what was entered, or pasted, at once; ``None`` in the place of one that is too long."""
        whole = isinstance(entry, Pasted)
        lines = commands(entry, whole=whole)
        if lines is not None:
            # A message of several lines is measured as it is sent.
            long = [line for line in lines if b"\n" not in line and len(line) >= CLIENT_LINE_LIMIT]
            self._give_back(*long)
            return [None if line in long else line for line in lines]
        self._screen.entered(entry)
        self.not_sent(entry, NO_COMMANDS if whole else NO_MESSAGE)
        return []

    def send(self, member: Member, line: Line, raw: bytes) -> bool:
        """Send a line of somebody who is in the chat, or keep it, or say why not.

        :param line: the same as `raw`; without a verb if that is not of the protocol's form.
        :return: whether something may have gone out: whoever sends more waits for room.
        """
        posts = is_whole(line)
        if b"\n" in raw and not may_wait(line):
            self.not_sent(
                raw,
                "A message of several lines begins with <set_msg>name text, <set_msg_all>text or <edit>id text, "
                "without label= or once=. This one was not sent.",
            )
            return False
        if may_wait(line) and self._post(member, line, raw):
            return True
        if member.client is None and not line.verb:
            self._screen.note(f"* {NO_COMMAND}")  # and not given back: no connection makes it a command
            return False
        if member.client is None:
            self._without_connection(raw, ATTRIBUTES_DO_NOT_WAIT if posts else ONLY_MESSAGES_WAIT)
            return False
        if posts and self._unkept.full:
            self.not_sent(
                raw, f"{UNKEPT_LIMIT} messages like this have no answer yet. This one was not sent."
            )
            return False
        if line.verb == b"upload":
            self._downloads.upload(line)
            return False
        try:
            self._send(member.client, line, raw, posts)
        except LinkError:
            self._without_connection(raw, ATTRIBUTES_DO_NOT_WAIT if posts else ONLY_MESSAGES_WAIT)
            return False
        return True

    def not_sent(self, raw: bytes, why: str) -> None:
        """Say why this was not sent, and give it back to who typed it."""
        self._screen.note(f"* {why}")
        self._give_back(raw)

    def _send(self, client: Client, line: Line, raw: bytes, posts: bool) -> None:
        """Send it as it was typed, or nearly so.

        :raise LinkError: the connection has ended.
        """
        if posts:
            self._unkept.send(client, raw)
        elif line.verb == b"download":
            client.send(self._downloads.asks(line, raw))
        elif line.verb in UNANSWERED:
            client.send(raw)
        elif not self._lookup.send(client, line):
            self._asked.send(client, raw)

    def _post(self, member: Member, line: Line, raw: bytes) -> bool:
        """Say something through the outbox; False if it has to go as it was typed."""
        try:
            key = member.post_line(line)
        except LocalProtocolError as error:
            if error.code != "line-too-long" or b"\n" in line.text:
                self._refused(error)
                self._give_back(raw)
            elif member.client is not None:
                return False  # there is no room for a key: then it goes without
            else:
                self._without_connection(raw, LONG_DOES_NOT_WAIT)
            return True
        if member.client is None:
            self._report.pending(self._report.store.posts[key])
        return True

    def _without_connection(self, raw: bytes, what: str) -> None:
        """Say that this was not sent, for it cannot wait for a connection."""
        again = "It stands in your input again: press Enter" if self._give_back(raw) else "Type it again"
        self._screen.note(f"* Not sent: there is no connection now, and {what}. {again} when there is one.")

    def _give_back(self, *lines: bytes) -> bool:
        """Whether one of them stands in the input again."""
        return self.keys is not None and any(self.keys.give_back(raw) for raw in lines)
