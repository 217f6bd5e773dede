"""The chat itself: who is here, what is said to whom, and what became of it.

Theory of operation.  The hub does no I/O.  A session posts; the hub says what to append to the journal
(:meth:`Hub.take`); when the journal has it, :meth:`Hub.appended` gives every message its id, puts it into the
mailboxes of those it is for, and ``<accepted>`` into its sender's stream at the place where the message
stands in that conversation.  Nobody is shown anything before.

What happened to a message comes back as positions: :meth:`Hub.reached` (the peer's kernel has these bytes) and
:meth:`Hub.ack`.  Private messages wait in their recipient's ``awaiting`` for one of the two; messages to everybody
are counted by cursors (:mod:`pychat.receipts`).

Peers that got something are in :attr:`Hub.dirty`, senders first: whoever drives the hub flushes them once a turn.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .batch import Batch
from .errors import JournalError, RemoteProtocolError
from .mailbox import Unacked
from .peer import Peer, Post
from .receipts import GroupReceipts
from .roster import Roster
from .vocabulary import Entry

if TYPE_CHECKING:
    from .peer import Person

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

    def begin(self, last_id: int, last_identity: int) -> None:
        """Go on where the journal stands: with its newest message and its highest number of an identity."""
        self._last_id = last_id
        self.roster.begin(last_identity)

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

    def part(self, peer: Peer) -> None:
        """A member says goodbye: it gets nothing more, while its last bytes are on their way.

        Its name is free, and the others are told, once everything that it said has its place before that.
        """
        if not self._is_here(peer):
            return
        del (self._full if peer.full else self._plain)[peer]
        peer.parting = peer.identity
        peer.left = self._last_id
        peer.lingers = True
        self._groups.departed(peer)
        self._let_go(peer)

    def disperse(self) -> None:
        """Everybody parts at once: nobody is left to be told."""
        members = self._members()
        self._plain.clear()
        self._full.clear()
        for peer in members:
            peer.parting = peer.identity
            peer.left = self._last_id
            self._let_go(peer)

    def _let_go(self, peer: Peer) -> None:
        identity = peer.parting
        if identity is None or peer.posted != peer.settled:
            return
        peer.parting = None
        self.roster.release(identity)
        self._users = None
        notice = b"<left>%s\n" % identity.label
        for other in self._members():
            other.tell(notice)

    def leave(self, peer: Peer) -> None:
        """A member's connection is gone: what has not arrived by now never will."""
        identity = peer.identity
        if identity is None:
            return
        for id, sender in peer.awaiting or ():
            self._verdict(sender, b"<undelivered id=%d reason=gone>%s\n", id, identity)
        peer.awaiting = peer.resting = None
        self.part(peer)
        peer.lingers = False
        peer.identity = None

    def users(self) -> tuple[bytes, int]:
        """One ``<user>`` line for everybody here, by name, and their number."""
        if self._users is None:
            self._users = b"".join(b"<user>%s\n" % person.label for person in self.roster.listing())
        return self._users, len(self.roster)

    def _members(self) -> list[Peer]:
        return [*self._plain, *self._full]

    def _is_here(self, peer: Peer) -> bool:
        return peer in self._plain or peer in self._full

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

    def addressee(self, sender: Peer, once: bytes, name: str) -> Person | None:
        """To whom a message went that is repeated under its ``once=`` key after she left."""
        assert sender.identity is not None
        original = (sender.identity.once or {}).get(once)
        if isinstance(original, Post) and original.to is not None and original.to.is_called(name):
            return original.to
        return None

    def _recall(self, person: Person, once: bytes, post: Post) -> None:
        if person.once is None:
            person.once = {}
        to = post.to.key.encode() if post.to else b""
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
        entries = [post.entry(time_ms) for post in posts if post.original is None]
        return posts, entries

    def refused(self, posts: Sequence[Post], error: JournalError) -> None:
        """The journal kept none of these: tell their senders."""
        self._hand_keys_on({post for post in posts if post.once and post.original is None})
        for post in posts:
            line = b"<error code=%s%s>%s\n" % (error.code.encode(), post.label, error.sentence.encode())
            post.sender.tell(line + post.sender.settle())
        for post in posts:
            self._let_go(post.sender)

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
        batch = Batch(time_ms, bool(self._full))
        here = len(self._plain) + len(self._full)
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
                of = here - self._is_here(post.sender)
                self._groups.open(id, post.sender, of, now)
                continue
            recipient = post.to.peer
            if recipient is None or not self._is_here(recipient):
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
        for post in posts:
            post.text = b""  # a once= key may keep the post for long
            if post.sender.parting is not None:
                self._let_go(post.sender)

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
        if sender.peer is not None and sender.peer.identity is not None:
            sender.peer.tell(form % (id, recipient.label))
