"""What a member tells, printed for somebody at a terminal."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import PychatError
from ..grammar import Line, render
from .acks import Due
from .answers import message_id, read_part
from .downloads import Downloads
from .missed import Missed
from .observer import Linked
from .render import show_answer, show_line, show_message, visible
from .store import Post, Store
from .terminal import Screen
from .wording import NEWCOMER, NEWCOMER_BRIEFLY, REWOUND, SHORT_REASONS, as_typed, messages, people, soon


class Report:
    """The observer of a member.

    :ivar unread: the ids of messages that were given to the screen.
    :ivar heard_goodbye: the daemon's goodbye is on the screen.
    :ivar had_identity: there was somebody to come back as when the member was made; set by whoever made it.
    """

    def __init__(
        self,
        screen: Screen,
        downloads: Downloads,
        came: Callable[[Linked], object],
        went: Callable[[PychatError], object],
        offered: Callable[[Line], object],
        refused: Callable[[PychatError], object],
    ) -> None:
        """
        :param came: called when the member is in the chat, and `went` when it has ended; nothing is printed of the end.
        :param offered: called with an ``<offer>``.
        :param refused: called to print why something that was typed was refused.
        """
        self._screen = screen
        self._downloads = downloads
        self._came = came
        self._went = went
        self._offered = offered
        self._refuse = refused
        self._pending: set[str] = set()  # keys of posts that were shown as pending
        self._told_delay = 0.0
        self._told_code = ""  # of the refusal for the moment that was told last
        self._was_in = self._is_in = False
        self._missed = Missed()
        self.store: Store
        self.unread = Due(0)
        self.heard_goodbye = False
        self.had_identity = False

    # -- what became of posts

    def pending(self, post: Post) -> None:
        """It waits for a connection, or for a better moment."""
        self._pending.add(post.key)
        self._screen.line(f"* pending: {as_typed(post)}")

    def accepted(self, post: Post, id: str, line: Line) -> None:
        """Observer."""
        self._told_code = ""
        if post.key in self._pending:
            self._pending.discard(post.key)
            self._screen.line(f"* accepted, id={visible(id)}: {as_typed(post)}")
        else:
            keep = {key: line.attributes[key] for key in (b"id",) if key in line.attributes}
            self._screen.line(show_line(line, render(b"accepted", keep)[:-1] + line.text))

    def refused(self, post: Post, error: PychatError) -> None:
        """Observer."""
        self._refuse(error)
        if post.key in self._pending:
            self._pending.discard(post.key)
            self._screen.line(f"* not sent: {as_typed(post)}")

    def postponed(self, post: Post, error: PychatError) -> None:
        """Observer."""
        if error.code != self._told_code:
            self._told_code = error.code  # until something is accepted
            self._screen.line(f"<error code={visible(error.code)}>{visible(error.sentence)}")
        if post.key not in self._pending:
            self.pending(post)

    def doubtful(self, post: Post) -> None:
        """Observer."""
        self._pending.discard(post.key)
        self._screen.line(f"* perhaps sent, perhaps not, and not sent again: {as_typed(post)}")

    def doubtful_line(self, raw: bytes) -> None:
        """The same of a line that went as it was typed."""
        self._screen.line(f"* perhaps sent, perhaps not, and not sent again: {visible(raw)}")

    def unanswered(self, raw: bytes) -> None:
        """A command that says nothing to anybody was sent, and the connection ended before its answer came."""
        self._screen.line(f"* not answered before the connection ended, so try again: {visible(raw)}")

    # -- connections

    def linked(self, link: Linked) -> None:
        """Observer."""
        self._told_delay = 0.0
        self.heard_goodbye = False
        self._was_in = self._is_in = True
        left = len(self.store.posts)
        pending = f"; {messages(left)} pending" if left else ""
        if not link.resumed or link.rewound:
            self.unread.clear()
            self._missed.clear()
        if link.count > 1:
            anew = "" if link.resumed else f", {NEWCOMER_BRIEFLY}"
            self._screen.line(f"* back{anew}{pending}")
        else:
            if link.hello is not None:
                self._screen.line(show_answer(link.hello))
            durable = b"" if link.durable else b" durable=no"
            self._screen.line(f"<connected{durable.decode()}>{visible(link.name)}")
            if link.resumed:
                self._screen.line(f"* resumed as {visible(link.name)}{pending}")
            elif self.had_identity:
                self._screen.line(f"* {NEWCOMER}{pending}")
            elif left:
                self._screen.line(f"* {messages(left)} pending")
        if link.rewound:
            self._screen.line(f"* {REWOUND}")
        self._pending.update(self.store.posts)
        self._came(link)

    def broken(self, why: PychatError, delay: float) -> None:
        """Observer: told at first, and then each time that the wait has doubled."""
        self._downloads.line_lost()
        self._is_in = False
        if delay >= 2 * self._told_delay:
            what = "still no connection" if self._told_delay else "connection lost"
            self._told_delay = delay
            reason = SHORT_REASONS.get(why.code, why.code)
            self._screen.line(f"* {what} ({visible(reason)}); trying again {soon(delay)}")

    def ended(self, why: PychatError) -> None:
        """Observer."""
        self._downloads.over(why)
        self._went(why)

    # -- what others say

    def message(self, line: Line, raw: bytes) -> None:
        """Observer."""
        id = message_id(line)
        part, parts = read_part(line)
        if id is not None and part == parts:
            self.unread.add(id)
            self._missed.add(line)
        self._screen.line(show_message(line, raw))

    def verdict(self, line: Line, raw: bytes) -> None:
        """Observer."""
        self._screen.line(show_line(line, raw))

    def notice(self, line: Line, raw: bytes) -> None:
        """Observer."""
        if line.verb == b"replayed":
            missed = self._missed.sum_up()
            if missed:
                self._screen.line(missed)
            return
        if line.verb == b"path":
            self._downloads.path(line)
            return
        if line.verb == b"welcome" and self._was_in:
            return
        if line.verb == b"people" and (counted := people(line)):
            self._screen.line(f"* {counted}")
            return
        if line.verb == b"goodbye":
            if not self._is_in:
                return  # why she was not let in is told as the reason of that
            self.heard_goodbye = True
        self._screen.line(show_message(line, raw))
        if line.verb == b"offer":
            self._offered(line)
        elif line.verb == b"error":
            self._downloads.refused(line)
