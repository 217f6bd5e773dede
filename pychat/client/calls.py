"""Commands that wait for their answers: labels, and what comes back with them.

A label is ours alone: ``~1``, ``~2`` and so on.  Answers come in the order of the lines, so one deadline, that of the
oldest, stands for all.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from ..deadline import Deadline
from ..errors import LocalProtocolError, RemoteProtocolError
from ..grammar import Line, render
from ..vocabulary import CLIENT_LINE_LIMIT
from .answers import CLOSINGS, ITEMS, Answer, LinkError, refusal

WAITING_LIMIT = 10_000
"""Commands that wait for their answer."""

ANSWER_LINES = 100_000
ANSWER_BYTES = 32 * 1024 * 1024
"""What one answer may have; what is over fails the command."""


class _Waiting:
    """A command that waits for its answer."""

    __slots__ = ("answer", "closings", "items", "size")

    def __init__(self, verb: bytes) -> None:
        # A command that was cancelled keeps its place: its answer comes all the same, and is nobody's.
        self.answer: Deferred[Answer] | None = Deferred(self._cancelled)
        self.closings = CLOSINGS.get(verb)
        self.items: list[Line] = []
        self.size = 0

    def _cancelled(self, _: Deferred[Answer]) -> None:
        self.answer = None
        self.items = []

    def closes(self, line: Line) -> bool:
        """Whether this line is the last of the answer."""
        if line.verb == b"error":
            return True
        return line.verb not in ITEMS if self.closings is None else line.verb in self.closings

    def add(self, line: Line, size: int) -> None:
        """One more line of a list."""
        if self.answer is None:
            return
        self.size += size
        if len(self.items) >= ANSWER_LINES or self.size > ANSWER_BYTES:
            error = RemoteProtocolError("bad-answer", "The daemon's answer is too long to be used.")
            self.settle(Failure(error))
        else:
            self.items.append(line)

    def settle(self, result: Answer | Failure) -> None:
        """Here is what was waited for."""
        answer, self.answer = self.answer, None
        self.items = []
        if answer is not None:
            answer.callback(result)


class Calls:
    """The commands of one connection that wait for their answers."""

    def __init__(self, clock: IReactorTime, timeout: float, timed_out: Callable[[], object]) -> None:
        """:param timeout: seconds that the oldest command may wait before ``timed_out`` is called."""
        self._deadline = Deadline(clock, timed_out)
        self._timeout = timeout
        self._waiting: dict[bytes, _Waiting] = {}
        self._labels = 0

    def open(
        self, verb: bytes, attributes: dict[bytes, bytes], text: bytes
    ) -> tuple[bytes, Deferred[Answer]]:
        """Label a command: return the line to be sent, and its answer to come.

        :raise LocalProtocolError: no line can say this, or too many commands wait.
        """
        if len(self._waiting) >= WAITING_LIMIT:
            raise LocalProtocolError("busy", "Too many commands wait for their answers. Wait for some.")
        label = b"~%d" % (self._labels + 1)
        line = render(verb, {b"label": label, **attributes}, text)
        if len(line) > CLIENT_LINE_LIMIT:
            raise LocalProtocolError("line-too-long", f"A line is at most {CLIENT_LINE_LIMIT:,} bytes long.")
        self._labels += 1
        waiting = self._waiting[label] = _Waiting(verb)
        if len(self._waiting) == 1:
            self._deadline.set(self._timeout)
        assert waiting.answer is not None
        return line, waiting.answer

    def take(self, line: Line, size: int) -> bool:
        """Whether this line was part of an answer to one of these commands; then it has been used.

        :param size: bytes of the line.
        """
        label = line.attributes.get(b"label", b"")
        waiting = self._waiting.get(label)
        if waiting is None:
            return False
        if waiting.closes(line):
            del self._waiting[label]
            if self._waiting:
                self._deadline.set(self._timeout)
            else:
                self._deadline.cancel()
            error = line.verb == b"error"
            waiting.settle(Failure(refusal(line)) if error else Answer(line, tuple(waiting.items)))
            return True
        if line.verb in ITEMS:
            waiting.add(line, size)
            return True
        return False

    def fail(self, why: LinkError) -> None:
        """No answer will come any more."""
        self._deadline.cancel()
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.settle(Failure(why))
