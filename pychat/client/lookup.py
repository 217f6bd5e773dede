"""Typed commands that go with a label of ours: what answers them cannot be told from what is said now without one.

``<history>`` and ``<search>`` are answered with messages that were said before, and behind a ``<join>`` a person
wants to know what the room is about and what was said there.  ``<get_users>`` is answered in pages where very many are
here: who types it is shown all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..errors import PychatError
from ..grammar import Line
from .answers import Answer, LinkError, decode
from .asking import Asking, next_people
from .render import show_answer, visible

LOOKS_UP = frozenset((b"history", b"search", b"get_users"))

JOIN_LINES = 20
"""Messages that are looked up when somebody joins a room."""


class Lookup:
    """Those of one visit.

    :ivar in_rooms: who types may be a member of rooms: a ``<join>`` was answered.
    :ivar under_way: how many of them are not answered to the end.
    """

    def __init__(
        self,
        show: Callable[[str], object],
        refused: Callable[[PychatError], object],
        bug: Callable[[Failure], object],
        lost: Callable[[Line], object] = lambda line: None,
        *,
        joins: bool,
    ) -> None:
        """
        :param show: prints a line.
        :param refused: prints why something was refused.
        :param bug: is given what nobody foresaw.
        :param lost: is given what was sent on a connection which ended before all of the answer came.
        :param joins: a ``<join>`` is one of these, and what there is to know of the room is looked up.
        """
        self._show = show
        self._refused = refused
        self._bug = bug
        self._lost = lost
        self.in_rooms = False
        self.under_way = 0
        self._verbs = LOOKS_UP | {b"join"} if joins else LOOKS_UP

    def send(self, client: Asking, line: Line) -> bool:
        """Send what somebody typed, if it is one of these; one with a label of its own is not: that label tells."""
        if line.verb not in self._verbs or b"label" in line.attributes:
            return False
        attributes = {key.decode(): value for key, value in line.attributes.items()}
        answer = client.command(line.verb.decode(), line.text, **attributes)
        if line.verb == b"join":
            shown: Deferred[None] = answer.addCallback(self._joined, client)
        elif line.verb == b"get_users" and not attributes.keys() & {"limit", "more"}:
            shown = answer.addCallback(self._listed, client, line.text, attributes, 0)
        else:
            shown = answer.addCallback(self._answered)
        self.under_way += 1
        shown.addErrback(self._failed, line).addErrback(self._bug).addCallback(self._done)
        return True

    def _done(self, _: object) -> None:
        self.under_way -= 1

    def _answered(self, answer: Answer) -> None:
        for line in (*answer.items, answer.line):
            self._show(show_answer(line))

    def _listed(
        self, answer: Answer, client: Asking, room: bytes, attributes: dict[str, bytes], before: int
    ) -> Deferred[None] | None:
        more = next_people(answer, before)
        if more is None:
            self._answered(answer)
            return None
        for line in answer.items:
            self._show(show_answer(line))
        before += len(answer.items)
        asked = client.command("get_users", room, **attributes, more=more)
        return asked.addCallback(self._listed, client, room, attributes, before)

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

    def _failed(self, failure: Failure, line: Line | None = None) -> None:
        error = failure.value
        if isinstance(error, PychatError) and not isinstance(error, LinkError):
            self._refused(error)
        else:
            failure.trap(LinkError)  # its end is told by whoever has it
            if line is not None:
                self._lost(line)
