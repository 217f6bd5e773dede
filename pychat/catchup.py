"""How somebody who comes back gets what she missed, and then goes on live without a gap and without a repetition.

Theory of operation.  What was missed is read from the journal page by page (:mod:`pychat.reading` does that).  Before
each page is asked for, :meth:`CatchUp.listen` begins to set aside the batches that are delivered meanwhile.  If the
page reaches to where the listening began, the batches behind it are all that is missing, and from there on she is a
member like everybody.  If it does not, they are dropped: the next page has them too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .batch import Batch
from .ledger import Ledger
from .peer import Messages
from .personal import is_owed
from .rendering import render_missed, render_topic
from .rooms import Audience, heard_by
from .roster import key_of
from .vocabulary import Kind, Page

if TYPE_CHECKING:
    from .peer import Peer, Person
    from .roster import Roster

REPLAY_BYTES = 128 * 1024
"""Bytes of lines in one page, about: a message of many lines is many times as long for who takes them one by one."""

ASIDE_LIMIT = 1024 * 1024
"""Bytes of batches set aside while one page is read; past it another page is read instead."""


class CatchUp:
    """What one connection still has to be told of the past."""

    __slots__ = (
        "_aside", "_asked", "_listening", "_size", "after", "count", "known", "open", "peer", "position",
        "since",
    )  # fmt: skip

    def __init__(self, peer: Peer, after: int | None, open: int | None) -> None:
        """
        :param after: she has what is up to here; ``None``: what she acknowledged.
        :param open: she wants to know what became of her private messages from here on; ``None``: above ``after``.
        """
        self.peer = peer
        self._asked = after, open
        self.after = self.open = self.known = self.position = self.since = 0
        self.count = 0
        """Messages told."""
        self._listening: int | None = None
        self._aside: list[Batch] = []
        self._size = 0

    def begin(self, person: Person, last_id: int) -> None:
        """She is let in now: note how far she is, and how far the chat."""
        self.since = last_id
        """What is up to here was said while she was away."""
        after, open = self._asked
        self.known = person.settled
        """Up to here senders have been told, or will be, what she acknowledged."""
        self.after = self.known if after is None else after
        """She has what is up to here."""
        self.open = max(person.joined, self.after if open is None else open - 1) + 1
        """She wants to know what became of her private messages from here on."""
        self.position = max(person.joined, min(self.after, self.known))
        """Everything up to here has been seen to."""

    def listen(self, last_id: int) -> None:
        """A page is asked for: set aside what is delivered from now on."""
        self._listening = last_id
        self._aside = []
        self._size = 0

    def overhear(self, batch: Batch) -> None:
        """A batch is delivered to those who are here."""
        if self._listening is None:
            return
        self._aside.append(batch)
        self._size += batch.size
        if self._size > ASIDE_LIMIT:
            self._listening = None
            self._aside = []

    def replay(
        self, page: Page, person: Person, roster: Roster[Peer], ledger: Ledger, everybody: Audience
    ) -> bool:
        """Put a page into her mailbox, and what was set aside behind it.

        :param everybody: who hears what is said to everybody.
        :return: whether that was the last; she is to be made a member at once then.
        """
        peer = self.peer
        if page.oldest > self.position + 1:
            peer.tell(b"<resync oldest=%d>\n" % page.oldest)
        out: list[bytes] = []
        ids: list[int] = []
        lines: list[bytes] = []
        awaiting = peer.awaiting or Messages()
        upto, size = page.upto, 0
        for id, entry in page.messages:
            if size >= REPLAY_BYTES:
                upto = id - 1  # the next page goes on here
                break
            if entry.kind in (Kind.JOIN, Kind.LEAVE):
                continue  # as with the chat itself, who came and went is not told
            if entry.sender == person.id:
                if id > self.after:
                    to = b"all" if entry.to_name is None else entry.to_name.encode()
                    once = b" once=" + entry.once if entry.once else b""
                    out.append(b"<accepted id=%d%s replay>%s\n" % (id, once, to))
                continue
            private = entry.to is not None and entry.to >= 0
            if not private and person.bot and id <= self.since:
                continue
            if not is_owed(person, id, entry, key_of(entry.sender_name)):
                continue
            if entry.kind == Kind.TOPIC:
                if id > self.after:
                    out.append(render_topic(entry))  # a notice: nobody acknowledges it
                continue
            if id > self.after:
                line = render_missed(id, entry, peer.manner, taken_back=id in page.retracted)
                size += len(line)
                out.append(line)
                ids.append(id)
                lines.append(line)
            sender = roster.numbered(entry.sender) if private else None
            if sender is None or id <= self.known:
                continue
            if id <= self.after:
                ledger.owe(person, sender, b"<delivered id=%d>%s\n" % (id, person.label))
            else:
                awaiting.add(id, sender)
        peer.awaiting = awaiting
        self.count += len(ids)
        self.position = upto
        person.settled = max(person.settled, min(self.after, upto))
        if ids:
            peer.send(b"".join(out), ids, lines)
        elif out:
            peer.tell(b"".join(out))
        if self._listening is None or upto < self._listening:
            self._listening = None
            self._aside = []
            return False
        hears = {everybody: None, **heard_by(person.stays.values())}
        for batch in self._aside:
            self.count += batch.deliver_late(peer, upto, hears)
        self._aside = []
        return True
