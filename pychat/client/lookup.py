"""Typed commands that go with a label of ours: what answers them cannot be told from what is said now without one.

``<history>`` and ``<search>`` are answered with messages that were said before, and behind a ``<join>`` a person
wants to know what the room is about and what was said there.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..errors import PychatError
from ..grammar import Line
from .answers import Answer, LinkError, decode
from .asking import Asking
from .render import show_answer, visible

LOOKS_UP = frozenset((b"history", b"search"))

JOIN_LINES = 20
"""Messages that are looked up when somebody joins a room."""


class Lookup:
    """Those of one visit.

    :ivar in_rooms: who types may be a member of rooms: a ``<join>`` was answered.
    """

    def __init__(
        self,
        show: Callable[[str], object],
        refused: Callable[[PychatError], object],
        bug: Callable[[Failure], object],
        *,
        joins: bool,
    ) -> None:
        """
        :param show: prints a line.
        :param refused: prints why something was refused.
        :param bug: is given what nobody foresaw.
        :param joins: a ``<join>`` is one of these, and what there is to know of the room is looked up.
        """
        self._show = show
        self._refused = refused
        self._bug = bug
        self.in_rooms = False
        self._verbs = LOOKS_UP | {b"join"} if joins else LOOKS_UP

    def send(self, client: Asking, line: Line) -> bool:
        """Send what somebody typed, if it is one of these; one with a label of its own is not: that label tells."""
        if line.verb not in self._verbs or b"label" in line.attributes:
            return False
        attributes = {key.decode(): value for key, value in line.attributes.items()}
        answer = client.command(line.verb.decode(), line.text, **attributes)
        shown = (
            answer.addCallback(self._joined, client)
            if line.verb == b"join"
            else answer.addCallback(self._answered)
        )
        shown.addErrback(self._failed).addErrback(self._bug)
        return True

    def _answered(self, answer: Answer) -> None:
        for line in (*answer.items, answer.line):
            self._show(show_answer(line))

    def _joined(self, answer: Answer, client: Asking) -> Deferred[None]:
        self.in_rooms = True
        self._show(show_answer(answer.line))
        room = answer.line.attributes.get(b"in", b"")
        client.command("topic", room).addCallback(self._topic).addErrback(self._failed).addErrback(self._bug)
        # What comes behind her joining she is told anyway.
        since = answer.line.attributes.get(b"id")
        asked = client.command("history", room, limit=str(JOIN_LINES), before=since and decode(since))
        return asked.addCallback(self._said_before, visible(room))

    def _topic(self, answer: Answer) -> None:
        if answer.line.text:
            self._show(show_answer(answer.line))

    def _said_before(self, answer: Answer, room: str) -> None:
        if not answer.items:
            return
        more = answer.line.attributes.get(b"more")
        rest = "" if more is None else f"; for more: <history before={visible(decode(more))}>{room}"
        self._show(f"* said in {room} before{rest}")
        for line in answer.items:
            self._show(show_answer(line))
        self._show(f"* end of what was said in {room} before")

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, PychatError) and not isinstance(error, LinkError):
            self._refused(error)
        else:
            failure.trap(LinkError)  # its end is told by whoever has it
