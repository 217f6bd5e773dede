"""What a daemon tells a member: each thing goes on to the observer once, and what has to be kept to the store."""

from __future__ import annotations

from collections.abc import Callable

from ..grammar import Line
from .answers import message_id, read_part
from .outbox import Outbox, of_ours
from .seen import Seen
from .store import Post, Store

VERDICTS = frozenset((b"sent", b"handed", b"delivered", b"undelivered", b"read", b"receipt"))


class Hearing:
    """The lines that come to one member, whatever connection they come on."""

    def __init__(self, store: Store, seen: Seen, outbox: Outbox, tell: Callable[..., object]) -> None:
        """:param tell: called with the name of an observer's method, and what that is to be told."""
        self._store = store
        self._seen = seen
        self._outbox = outbox
        self._tell = tell

    def hear(self, line: Line, raw: bytes) -> None:
        """A line that answers no command of ours."""
        if line.verb == b"msg" and b"label" not in line.attributes:
            self._tell("message", line, raw)
            part, parts = read_part(line)
            if part == parts:
                self.reach(line)
        elif line.verb in VERDICTS:
            id = message_id(line)
            if id is None or self._store.tell(id, line.verb.decode()):
                self._tell("verdict", line, raw)
        elif line.verb == b"accepted":
            self._accepted(line, raw)
        else:
            self._tell("notice", line, raw)

    def _accepted(self, line: Line, raw: bytes) -> None:
        """Something of ours that did not come out of the outbox on this connection."""
        self.reach(line)
        if self._outbox.settle(line.attributes.get(b"once", b"").decode("latin-1"), line):
            return
        self._outbox.watch(line)
        if not of_ours(line):
            self._tell("notice", line, raw)

    def was_accepted(self, post: Post, id: str, line: Line) -> None:
        """Something of ours that came out of the outbox."""
        self.reach(line)
        self._tell("accepted", post, id, line)

    def reach(self, line: Line) -> None:
        """What stands up to here in our stream was told."""
        id = message_id(line)
        if id is not None:
            self._seen.tell(id)
