"""What was shown of a connection's messages, and what is acknowledged of it: one line for all that came at once."""

from __future__ import annotations

from collections import deque

from ..grammar import Line
from .answers import message_id, read_part


class Due:
    """Ids of messages that wait until something reaches them; only such an id may be named to the daemon.

    Ids of our own messages lie between them, and a connection was not sent those.

    :ivar limit: what is reached by now; ``None``: everything.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._ids: deque[int] = deque()

    def add(self, id: int) -> None:
        """One more; mostly it is the highest."""
        self._ids.append(id)
        while len(self._ids) > 1 and self._reached(max(self._ids[0], self._ids[1])):
            # The higher one stands for both.
            lower = self._ids.popleft()
            self._ids[0] = max(lower, self._ids[0])

    def take(self) -> int | None:
        """The highest id that is reached; it waits no more."""
        taken: int | None = None
        while self._ids and self._reached(self._ids[0]):
            taken = max(taken or 0, self._ids.popleft())
        return taken

    def clear(self) -> None:
        """None waits any more."""
        self._ids.clear()

    def _reached(self, id: int) -> bool:
        return self.limit is None or id <= self.limit


class Acks:
    """The ids of one connection.

    :ivar shown: the highest id of a message that was shown, all of it; -1 for none.
    :ivar due: those that are not acknowledged.
    """

    def __init__(self, shown: int) -> None:
        self.shown = shown
        self.due = Due(None)
        self._part = (-1, 0)  # of a message that comes in parts: its id, and the part that was shown last
        self._said = 0

    def seen(self, line: Line) -> bool:
        """Note a ``<msg>`` that was sent to us; whether it was shown already."""
        number = message_id(line)
        if number is None:
            return False
        part, parts = read_part(line)
        if number <= self.shown:
            self.due.add(number)
            return True
        if (number, part) <= self._part:
            return True
        self._part = (number, part)
        if part == parts:
            self.due.add(number)
            self.shown = number
        return False

    def take(self) -> int | None:
        """The id to be acknowledged now, if one is; ids rise, so it stands for those before it."""
        taken = self.due.take()
        if taken is not None:
            self._said = taken = max(taken, self._said)
        return taken
