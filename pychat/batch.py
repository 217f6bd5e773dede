"""One batch on its way from the journal into the mailboxes.

The batch is rendered once for each of the two manners, plain and full, joined into one buffer, and that
buffer is shared by all who get the whole batch. Only those who take part in it themselves, as senders or as
recipients of private lines, get a buffer of their own, cut out of the same lines.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from .grammar import isolate
from .peer import Peer, Post

if TYPE_CHECKING:
    from .peer import Person


def stamp(time_ms: int) -> bytes:
    """A moment as messages carry it (RFC 3339)."""
    moment = datetime.fromtimestamp(time_ms / 1000, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


class Batch:
    """One batch on its way into the mailboxes."""

    def __init__(self, time_ms: int, with_full: bool) -> None:
        self._time = stamp(time_ms)
        self._with_full = with_full
        self.size = 0
        """Bytes of text in it, for who sets it aside."""
        self._ids: list[int] = []
        self._plain: list[bytes] = []
        self._full: list[bytes] = []
        # For those who get a buffer of their own: (broadcasts before it, broadcasts it replaces, line, id or 0)
        self._own: dict[Peer, list[tuple[int, int, bytes, int]]] = {}
        # For those who catch up: (broadcasts before it, line, id, sender)
        self._late: dict[Peer, list[tuple[int, bytes, int, Person]]] = {}

    def broadcast(self, id: int, post: Post) -> None:
        self._ids.append(id)
        sender, text = post.person.label, post.text
        self.size += len(text) + len(sender)
        self._plain.append(b"<msg id=%d from=%s to=all>%s\n" % (id, sender, isolate(text)))
        if self._with_full:
            self._full.append(b"<msg id=%d from=%s to=all time=%s>%s\n" % (id, sender, self._time, text))

    def private(self, recipient: Peer, id: int, post: Post) -> None:
        sender, text = post.person.label, post.text
        if recipient.full:
            line = self._private(id, post)
        else:
            line = b"<msg id=%d from=%s>%s\n" % (id, sender, isolate(text))
        self._own.setdefault(recipient, []).append((len(self._ids), 0, line, id))

    def _private(self, id: int, post: Post) -> bytes:
        assert post.to is not None
        return b"<msg id=%d from=%s to=%s time=%s>%s\n" % (
            id, post.person.label, post.to.label, self._time, post.text,
        )  # fmt: skip

    def late(self, recipient: Peer, id: int, post: Post) -> None:
        """A private message to somebody who has yet to be told what she missed."""
        self.size += len(post.text)
        self._late.setdefault(recipient, []).append(
            (len(self._ids), self._private(id, post), id, post.person)
        )

    def deliver_late(self, peer: Peer, after: int) -> int:
        """Deliver what is above an id to somebody who has just caught up to there; return how many messages."""
        ids: list[int] = []
        lines: list[bytes] = []
        assert peer.awaiting is not None
        place = 0
        for before, line, id, sender in [*self._late.get(peer, ()), (len(self._ids), b"", 0, None)]:
            for index in range(place, before):
                if self._ids[index] > after:
                    ids.append(self._ids[index])
                    lines.append(self._full[index])
            if id > after and sender is not None:
                ids.append(id)
                lines.append(line)
                peer.awaiting.append((id, sender))
            place = before
        if ids:
            peer.send(b"".join(lines), ids, lines)
        return len(ids)

    def own(self, sender: Peer, accepted: bytes, replaces: bool = False) -> None:
        """``replaces``: the answer stands where the broadcast that follows would."""
        line = accepted + sender.settle()
        self._own.setdefault(sender, []).append((len(self._ids), int(replaces), line, 0))

    def deliver(self, plain: dict[Peer, None], full: dict[Peer, None], dirty: list[Peer]) -> None:
        for peer, events in self._own.items():
            peer.soil()
            member = peer in plain or peer in full
            self._deliver_own(peer, events, member)
        if not self._ids:
            return
        own, ids = self._own, self._ids
        for members, lines in ((plain, self._plain), (full, self._full)):
            if not members:
                continue
            data = b"".join(lines)
            size, last = len(data), ids[-1]
            for peer in members:
                if peer in own:
                    continue
                peer.mailbox.put_messages(data, last)
                if peer.unacked is not None:
                    peer.unacked.sent(ids, lines, size)
                if not peer.dirty:
                    peer.dirty = True
                    dirty.append(peer)

    def _deliver_own(self, peer: Peer, events: list[tuple[int, int, bytes, int]], member: bool) -> None:
        lines = self._full if peer.full else self._plain
        place, out = 0, []
        got_ids: list[int] = []
        got_lines: list[bytes] = []
        for before, replaces, line, id in [*events, (len(self._ids), 0, b"", 0)]:
            if member and place < before:
                out += lines[place:before]
                got_ids += self._ids[place:before]
                got_lines += lines[place:before]
            out.append(line)
            if id:
                got_ids.append(id)
                got_lines.append(line)
            place = before + replaces
        data = b"".join(out)
        if not got_ids:
            peer.mailbox.put(data)
            return
        peer.send(data, got_ids, got_lines)
