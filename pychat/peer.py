"""One connection as the hub sees it, and a message on its way.

A :class:`Peer` carries what the hub has to know of a connection and nothing of its transport: a mailbox,
cursors, and the messages that still wait for a verdict. Answers keep the order of the lines that they answer:
while messages of a peer are on their way into the journal, the answers to its later lines wait behind theirs
(:meth:`Peer.answer`, :meth:`Peer.settle`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .mailbox import Mailbox, Unacked
from .receipts import Cursor
from .roster import Identity
from .vocabulary import Entry

if TYPE_CHECKING:
    from typing import TypeAlias

    Person: TypeAlias = "Identity[Peer]"


class Peer(Cursor):
    """One connection as the hub sees it; a member of the chat while it has an identity."""

    __slots__ = (
        "_behind", "_dirty_list", "awaiting", "dirty", "full", "identity", "mailbox", "owner", "parting",
        "posted", "resting", "settled", "unacked",
    )  # fmt: skip

    def __init__(self, dirty_list: list[Peer], owner: object = None) -> None:
        """:param owner: whose connection it is, for whoever flushes it."""
        super().__init__()
        self.owner = owner
        self.mailbox = Mailbox()
        self.identity: Person | None = None
        self.parting: Person | None = None
        """Who said goodbye, while messages of hers have no place yet."""
        self.full = False
        """It said ``<hello>``: messages come with all their attributes."""
        self.unacked: Unacked | None = None
        """What it has to acknowledge; ``None`` for a client that did not say ``caps=ack``."""
        self.awaiting: deque[tuple[int, Person]] | None = None
        """Private messages (id, sender) without a verdict, in order of sending."""
        self.resting: deque[tuple[int, Person]] | None = None
        """Private messages (id, sender) that a plain peer's kernel has."""
        self.posted = self.settled = 0
        """How many messages it posted, and how many of them have their answer."""
        self._behind: deque[tuple[int, bytes]] | None = None
        self._dirty_list = dirty_list
        self.dirty = False

    def tell(self, data: bytes) -> None:
        """Queue whole lines that answer nothing."""
        self.mailbox.put(data)
        if not self.dirty:
            self.dirty = True
            self._dirty_list.append(self)

    def answer(self, data: bytes) -> None:
        """Queue the answer to the line handled last: behind the answers to all lines before it."""
        if self.posted == self.settled:
            self.tell(data)
            return
        if self._behind is None:
            self._behind = deque()
        self._behind.append((self.posted, data))

    def settle(self) -> bytes:
        """The oldest post without an answer gets it now: return the answers that waited behind it."""
        self.settled += 1
        behind = self._behind
        if not behind:
            return b""
        ready = []
        while behind and behind[0][0] <= self.settled:
            ready.append(behind.popleft()[1])
        return b"".join(ready)


class Post:
    """A message on its way into the journal."""

    __slots__ = ("digest", "id", "label", "once", "original", "person", "sender", "text", "to")

    def __init__(self, sender: Peer, person: Person, to: Person | None, text: bytes, label: bytes) -> None:
        self.sender = sender
        self.person = person
        self.to = to
        self.text = text
        self.label = label
        self.id = 0
        """Its id; 0 until the journal has it."""
        self.once = b""
        """Its ``once=`` key."""
        self.original: Post | None = None
        """The post whose ``once=`` key came back with this one."""
        self.digest = b""

    def entry(self, time_ms: int) -> Entry:
        """What the journal keeps of it."""
        person, to = self.person, self.to
        if to is None:
            return Entry(time_ms, person.id, person.name, None, None, self.text, self.once)
        return Entry(time_ms, person.id, person.name, to.id, to.name, self.text, self.once)
