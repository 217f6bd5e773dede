"""The chat itself: who is here, what is said to whom, and what became of it.

Theory of operation.  The hub does no I/O.  A session posts; the hub says what to append to the journal
(:meth:`Hub.take`); when the journal has it, :meth:`Hub.appended` gives every message its id, puts it into the
mailboxes of those it is for, and ``<accepted>`` into its sender's stream at the place where the message
stands in that conversation.  Nobody is shown anything before.

One batch is rendered once for each of the two manners (plain and full), joined into one buffer, and that
buffer is shared by all who get the whole batch.  Only those who take part in it themselves, as senders or
as recipients of private lines, get a buffer of their own, cut out of the shared one.

What happened to a message comes back as positions: :meth:`Hub.reached` (the peer's kernel has these bytes) and
:meth:`Hub.ack`.  Private messages wait in their recipient's ``awaiting`` for one of the two; messages to everybody
are counted by cursors (:mod:`pychat.receipts`).

Peers that got something are in :attr:`Hub.dirty`, senders first: whoever drives the hub flushes them once a turn.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from .errors import JournalError, RemoteProtocolError
from .grammar import isolate
from .mailbox import Mailbox, Unacked
from .receipts import Cursor, GroupReceipts
from .roster import Identity, Roster
from .vocabulary import Entry

if TYPE_CHECKING:
    from typing import TypeAlias

    Person: TypeAlias = "Identity[Peer]"

RESTING_LIMIT = 256
"""Private messages at rest with a plain peer for which a later ack is still told to the sender."""

RECENT_LIMIT = 8192
"""Messages whose recipients are remembered, to judge the acks of plain peers."""

ONCE_LIMIT = 4096
"""``once=`` keys remembered for an identity; the oldest goes first."""

BATCH_LIMIT = 256 * 1024
"""Bytes of lines in one batch for the journal, about; what is over waits for the next."""

LINE_OVERHEAD = 64
"""Bytes that a line has besides a name and a text, about."""

RESEND_LIMIT = 64 * 1024
"""Bytes sent again at once to a client that does not acknowledge."""


class Peer(Cursor):
    """One connection as the hub sees it; a member of the chat while it has an identity."""

    __slots__ = (
        "_behind", "_dirty_list", "awaiting", "dirty", "full", "identity", "mailbox", "owner", "posted",
        "resting", "settled", "unacked",
    )  # fmt: skip

    def __init__(self, dirty_list: list[Peer], owner: object = None) -> None:
        """:param owner: whose connection it is, for whoever flushes it."""
        super().__init__()
        self.owner = owner
        self.mailbox = Mailbox()
        self.identity: Person | None = None
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


class Hub:
    """Everybody who is here and everything that is on its way."""

    def __init__(self, *, durable: bool, told: bytes = b"sent") -> None:
        """
        :param durable: what ``<connected durable=…>`` says.
        :param told: ``sent`` if positions given to :meth:`reached` are what the peer's kernel has, ``handed``
            if they are what ours took.
        """
        self.durable = durable
        self.dirty: list[Peer] = []
        self.roster: Roster[Peer] = Roster()
        self._told = told
        self._plain: dict[Peer, None] = {}
        self._full: dict[Peer, None] = {}
        self._pending: list[Post] = []
        self._last_id = 0
        self._recent: dict[int, tuple[Person | None, Person]] = {}
        self._groups = GroupReceipts()
        self._users: bytes | None = None

    # -- coming and going

    def peer(self, owner: object = None) -> Peer:
        """A new connection, not yet a member."""
        return Peer(self.dirty, owner)

    def join(self, peer: Peer, name: str) -> None:
        """Make a peer a member and tell the others.

        :raise RemoteProtocolError: as :meth:`Roster.claim`.
        """
        identity = self.roster.claim(name, peer)
        notice = b"<joined>%s\n" % identity.label
        for other in self._members():
            other.tell(notice)
        peer.identity = identity
        peer.joined = self._last_id
        (self._full if peer.full else self._plain)[peer] = None
        self._users = None

    def promise(self, peer: Peer, acks: bool) -> None:
        """A client said what it can do, before it became a member."""
        peer.plain = not acks
        peer.unacked = Unacked() if acks else None

    def leave(self, peer: Peer) -> None:
        """A member's connection ended: free the name, settle what waited for it, tell the others."""
        identity = peer.identity
        if identity is None:
            return
        peer.identity = None
        peer.left = self._last_id
        del (self._full if peer.full else self._plain)[peer]
        self.roster.release(identity)
        self._groups.departed(peer)
        for id, sender in peer.awaiting or ():
            self._verdict(sender, b"<undelivered id=%d reason=gone>%s\n", id, identity)
        peer.awaiting = peer.resting = None
        self._users = None
        notice = b"<left>%s\n" % identity.label
        for other in self._members():
            other.tell(notice)

    def users(self) -> tuple[bytes, int]:
        """One ``<user>`` line for everybody here, by name, and their number."""
        if self._users is None:
            self._users = b"".join(b"<user>%s\n" % person.label for person in self.roster.listing())
        return self._users, len(self.roster)

    def everybody(self, data: bytes) -> None:
        """Tell all members something that answers nothing."""
        for peer in self._members():
            peer.tell(data)

    def _members(self) -> list[Peer]:
        return [*self._plain, *self._full]

    # -- what is said

    def post(
        self, sender: Peer, to: Person | None, text: bytes, label: bytes = b"", once: bytes = b""
    ) -> None:
        """Put a message on its way; ``to`` is ``None`` for everybody.  The answer follows from the journal.

        :param label: the rendered attribute, `` label=…``, or nothing.
        :raise RemoteProtocolError: ``key-reused``.
        """
        person = sender.identity
        assert person is not None
        post = Post(sender, person, to, text, label)
        if once:
            self._recall(person, once, post)
        sender.posted += 1
        self._pending.append(post)

    def _recall(self, person: Person, once: bytes, post: Post) -> None:
        if person.once is None:
            person.once = {}
        to = post.to.label if post.to else b""
        post.digest = hashlib.blake2b(to + b"\n" + post.text, digest_size=16).digest()
        post.once = once
        original = person.once.get(once)
        if isinstance(original, Post):
            if original.digest != post.digest:
                raise RemoteProtocolError(
                    "key-reused",
                    "This once= key stood for another message. Take a new key for a new message.",
                )
            post.original = original
            return
        person.once[once] = post
        if len(person.once) > ONCE_LIMIT:
            del person.once[next(iter(person.once))]

    @property
    def posting(self) -> bool:
        """True while there are posts to take."""
        return bool(self._pending)

    def take(self, time_ms: int) -> tuple[list[Post], list[Entry]] | None:
        """What to append now: posts, and their entries for the journal (one less for each repeated post).

        The caller appends and then calls :meth:`appended` or :meth:`refused` with the posts before it takes again.
        """
        if not self._pending:
            return None
        size = 0
        count = 0
        while count < len(self._pending) and size < BATCH_LIMIT:
            post = self._pending[count]
            size += len(post.text) + len(post.person.label) + LINE_OVERHEAD
            count += 1
        posts, self._pending = self._pending[:count], self._pending[count:]
        entries = [
            Entry(time_ms, post.person.name, post.to.name if post.to else None, post.text)
            for post in posts
            if post.original is None
        ]
        return posts, entries

    def refused(self, posts: Sequence[Post], error: JournalError) -> None:
        """The journal kept none of these: tell their senders."""
        self._hand_keys_on({post for post in posts if post.once and post.original is None})
        for post in posts:
            line = b"<error code=%s%s>%s\n" % (error.code.encode(), post.label, error.sentence.encode())
            post.sender.tell(line + post.sender.settle())

    def _hand_keys_on(self, refused: set[Post]) -> None:
        """A refused message's ``once=`` key goes to the first that repeats it and still waits, or is free again."""
        if not refused:
            return
        heirs: dict[Post, Post] = {}
        for post in self._pending:
            original = post.original
            if original is not None and original in refused:
                heir = heirs.setdefault(original, post)
                post.original = heir if heir is not post else None
        for post in refused:
            keys = post.person.once
            if keys is None or keys.get(post.once) is not post:
                # The key was forgotten meanwhile, and perhaps given again.
                continue
            if post in heirs:
                keys[post.once] = heirs[post]
            else:
                del keys[post.once]

    def appended(self, posts: Sequence[Post], ids: Sequence[int], time_ms: int, now: float) -> None:
        """The journal has these: give them their ids, deliver them, and answer their senders.

        :param ids: one for each entry that :meth:`take` gave with the posts.
        :param now: seconds of a monotonic clock.
        """
        batch = _Batch(time_ms, bool(self._full))
        here = len(self.roster)
        fresh = iter(ids)
        for post in posts:
            label = post.to.label if post.to else b"all"
            if post.original is not None:
                # The first one is in the journal, or it stands before this one in the same batch.
                batch.own(post.sender, b"<accepted%s id=%d>%s\n" % (post.label, post.original.id, label))
                continue
            id = post.id = next(fresh)
            accepted = b"<accepted%s id=%d>%s\n" % (post.label, id, label)
            self._remember(id, post)
            if post.to is None:
                batch.own(post.sender, accepted, replaces=True)
                batch.broadcast(id, post)
                of = here - (post.sender.identity is not None)
                self._groups.open(id, post.sender, of, now)
                continue
            recipient = post.to.peer
            if recipient is None:
                gone = b"<undelivered id=%d reason=gone>%s\n" % (id, label)
                batch.own(post.sender, accepted, after=gone)
                continue
            batch.own(post.sender, accepted)
            batch.private(recipient, id, post)
            if recipient.awaiting is None:
                recipient.awaiting = deque()
            recipient.awaiting.append((id, post.person))
        if ids:
            self._last_id = ids[-1]
        batch.deliver(self._plain, self._full, self.dirty)

    def _remember(self, id: int, post: Post) -> None:
        self._recent[id] = (post.to, post.person)
        if len(self._recent) > RECENT_LIMIT:
            del self._recent[next(iter(self._recent))]

    # -- what became of it

    def reached(self, peer: Peer, position: int) -> None:
        """All bytes of a peer's stream up to ``position`` are where ``told`` says."""
        upto = peer.mailbox.reached(position)
        if not upto:
            return
        peer.sent = max(peer.sent, upto)
        if not peer.plain or peer.identity is None:
            return
        awaiting = peer.awaiting
        while awaiting and awaiting[0][0] <= upto:
            id, sender = awaiting.popleft()
            self._verdict(sender, b"<" + self._told + b" id=%d>%s\n", id, peer.identity)
            if peer.resting is None:
                peer.resting = deque(maxlen=RESTING_LIMIT)
            peer.resting.append((id, sender))

    def ack(self, peer: Peer, upto: int) -> None:
        """A member acknowledges all it was sent up to and including a message.

        :raise RemoteProtocolError: ``not-sent``.
        """
        assert peer.identity is not None
        if upto <= peer.acked:
            # A client acknowledges again what it was sent again while its first ack was under way.
            return
        if peer.unacked is not None:
            known = peer.unacked.ack(upto) is not None
        else:
            to, sender = self._recent.get(upto, (None, None))
            known = sender is not None and sender is not peer.identity and to in (None, peer.identity)
            known = known and upto > peer.joined
        if not known:
            raise RemoteProtocolError("not-sent", f"This connection was not sent a message {upto}.")
        peer.acked = upto
        peer.sent = max(peer.sent, upto)
        for queue in (peer.resting, peer.awaiting):
            while queue and queue[0][0] <= upto:
                id, sender = queue.popleft()
                self._verdict(sender, b"<delivered id=%d>%s\n", id, peer.identity)

    def resend(self, peer: Peer) -> None:
        """Send a peer again what it has not acknowledged, oldest first."""
        if peer.unacked is not None and peer.unacked.messages:
            peer.tell(peer.unacked.oldest(RESEND_LIMIT))

    @property
    def counting(self) -> bool:
        """True while there are messages to everybody whose counts have not been told."""
        return bool(self._groups)

    def count(self, now: float) -> None:
        """Tell senders the counts that are final or due."""
        for count in self._groups.settle(self._members(), now):
            sender = count.sender
            if not isinstance(sender, Peer) or sender.identity is None:
                continue
            line = b"<receipt id=%d %s=%d delivered=%d" % (count.id, self._told, count.sent, count.delivered)
            if count.gone:
                line += b" undelivered=%d" % count.gone
            sender.tell(line + b" of=%d>all\n" % count.of)

    def _verdict(self, sender: Person, form: bytes, id: int, recipient: Person) -> None:
        if sender.peer is not None:
            sender.peer.tell(form % (id, recipient.label))


class _Batch:
    """One batch on its way into the mailboxes."""

    def __init__(self, time_ms: int, with_full: bool) -> None:
        moment = datetime.fromtimestamp(time_ms / 1000, timezone.utc)
        self._time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
        self._with_full = with_full
        self._ids: list[int] = []
        self._plain: list[bytes] = []
        self._full: list[bytes] = []
        # For those who get a buffer of their own: (broadcasts before it, broadcasts it replaces, line, id or 0)
        self._own: dict[Peer, list[tuple[int, int, bytes, int]]] = {}

    def broadcast(self, id: int, post: Post) -> None:
        self._ids.append(id)
        sender, text = post.person.label, post.text
        self._plain.append(b"<msg id=%d from=%s to=all>%s\n" % (id, sender, isolate(text)))
        if self._with_full:
            self._full.append(b"<msg id=%d from=%s to=all time=%s>%s\n" % (id, sender, self._time, text))

    def private(self, recipient: Peer, id: int, post: Post) -> None:
        sender, text = post.person.label, post.text
        if recipient.full:
            assert post.to is not None
            line = b"<msg id=%d from=%s to=%s time=%s>%s\n" % (id, sender, post.to.label, self._time, text)
        else:
            line = b"<msg id=%d from=%s>%s\n" % (id, sender, isolate(text))
        self._own.setdefault(recipient, []).append((len(self._ids), 0, line, id))

    def own(self, sender: Peer, accepted: bytes, after: bytes = b"", replaces: bool = False) -> None:
        """``replaces``: the answer stands where the broadcast that follows would."""
        line = accepted + after + sender.settle()
        self._own.setdefault(sender, []).append((len(self._ids), int(replaces), line, 0))

    def deliver(self, plain: dict[Peer, None], full: dict[Peer, None], dirty: list[Peer]) -> None:
        for peer, events in self._own.items():
            if not peer.dirty:
                peer.dirty = True
                dirty.append(peer)
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
        peer.mailbox.put_messages(data, got_ids[-1])
        if peer.unacked is not None:
            peer.unacked.sent(got_ids, got_lines, sum(map(len, got_lines)))
