"""The chat itself: who is here, what is said to whom, and what became of it.

Theory of operation.  The hub does no I/O.  A session posts; the hub says what to append to the journal
(:meth:`Hub.take`); when the journal has it, :meth:`Hub.appended` gives every message its id, puts it into the
mailboxes of those it is for, and ``<accepted>`` into its sender's stream at the place where the message
stands in that conversation.  Nobody is shown anything before.

What happened to a message comes back as positions: :meth:`Hub.reached` (the peer's kernel has these bytes),
:meth:`Hub.ack` and :meth:`Hub.read`.  Private messages wait in their recipient's ``awaiting`` for one of the first two;
messages to everybody are counted by cursors (:mod:`pychat.receipts`).  The cursors go into the journal with the next
batch (:meth:`Hub.changes`), and the verdicts are told when it has them (:meth:`Hub.kept`).

Who has a token is *away* when her connection ends without a goodbye: her name and her mail are kept for
:data:`~pychat.members.HOLD` seconds.  When she comes back she is told what she missed (:mod:`pychat.catchup`).

Peers that got something are in :attr:`Hub.dirty`, senders first: whoever drives the hub flushes them once a turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from .batch import Batch
from .errors import PychatError, RemoteProtocolError
from .ledger import Changes
from .members import Members
from .once import hand_on, lookup, recall, remember, remembered, shrink
from .peer import Peer, Post
from .vocabulary import Entry, OnceKey

if TYPE_CHECKING:
    from .peer import Person

RESTING_LIMIT = 256
"""Private messages at rest with a plain peer for which a later ack is still told to the sender."""

RECENT_LIMIT = 8192
"""Messages whose recipients are remembered, to judge the acks of plain peers."""

BATCH_LIMIT = 256 * 1024
"""Bytes of lines in one batch for the journal, about; what is over waits for the next."""

LINE_OVERHEAD = 64
"""Bytes that a line has besides a name and a text, about."""

COUNTS_LIMIT = 100
"""Counts that wait for a sender who is away; the oldest goes first."""

RESEND_LIMIT = 64 * 1024
"""Bytes sent again at once to a client that does not acknowledge."""


def _refusal(post: Post, error: PychatError) -> bytes:
    return b"<error code=%s%s>%s\n" % (error.code.encode(), post.label, error.sentence.encode())


_NOT_TAKEN_UP = RemoteProtocolError(
    "not-connected", "The connection ended before this was taken up. Say it again on the next one."
)


class Hub(Members):
    """Everybody who is here and everything that is on its way."""

    def __init__(
        self, *, durable: bool, told: bytes = b"sent", make_token: Callable[[], bytes] | None = None
    ) -> None:
        """
        :param durable: what ``<connected durable=…>`` says.
        :param told: ``sent`` if positions given to :meth:`reached` are what the peer's kernel has, ``handed``
            if they are what ours took.
        :param make_token: makes a token that nobody can guess; without it nobody can come back.
        """
        super().__init__(durable=durable, make_token=make_token)
        self.reads: list[tuple[Person, int, int]] = []
        """Who read what (above which id, up to which), and is so in the journal: senders are to be told."""
        self.told = told
        self._pending: list[Post] = []
        self._recent: dict[int, tuple[Person | None, Person]] = {}

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
        post.once = once
        if sender.early is None:
            recall(post)
            self._pending.append(post)
        else:
            sender.early.append(post)
        sender.posted += 1

    def _take_up(self, peer: Peer) -> None:
        early, peer.early = peer.early, None
        for post in early or ():
            try:
                recall(post)
            except RemoteProtocolError as error:
                post.refusal = error
            self._pending.append(post)

    def _give_up(self, peer: Peer) -> None:
        early, peer.early = peer.early, None
        self.refused(early or (), _NOT_TAKEN_UP)

    def _supersede(self, person: Person) -> None:
        dropped = [post for post in self._pending if post.person is person]
        if dropped:
            self._pending = [post for post in self._pending if post.person is not person]
            self.refused(dropped, _NOT_TAKEN_UP)

    def addressee(self, sender: Peer, once: bytes, name: str) -> Person | None:
        """To whom a message went that is repeated under its ``once=`` key, be she here or not."""
        assert sender.identity is not None
        original = lookup(sender.identity, once)
        if original is not None and original.to is not None and original.to.is_called(name):
            return original.to
        return None

    def remember(self, keys: Sequence[OnceKey]) -> None:
        """Here is what people who can come back posted under ``once=`` keys in earlier runs, newest first."""
        remember(self.roster, keys)

    def remembered(self, now: float) -> None:
        """That was all: they can come back, and their time begins.

        :param now: seconds of a monotonic clock.
        """
        for person in self.roster.away:
            self.roster.away[person] = now
            remembered(person)
        self.ready = True

    @property
    def posting(self) -> bool:
        """True while somebody waits for the journal: there are posts to take, or changes with arrivals among them."""
        return bool(self._pending) or self._ledger.arrivals

    def due(self) -> set[int]:
        """The identities of which the journal has yet to hear how they stand: what follows from that is told then."""
        return self._ledger.due()

    @property
    def moved(self) -> bool:
        """True while there are changes to take."""
        return self._ledger.moved

    def changes(self, time_ms: int) -> Changes:
        """What the journal has to keep now besides posts.

        The caller lets the journal keep :attr:`Changes.standings` and then calls :meth:`kept` or :meth:`not_kept`
        before it takes again.
        """
        return self._ledger.take(time_ms)

    def kept(self, changes: Changes) -> None:
        """The journal knows how these stand: tell the verdicts that rest on it, and let in who waited."""
        self._ledger.done()
        for change in changes.all:
            person, standing = change.person, change.standing
            person.acked = max(person.acked, standing.acked)
            for sender, verdict in change.due:
                self.tell(sender, verdict)
            if standing.left is not None and person.lost:
                self.expired.append((person, person.lost))
                person.lost = b""
            if standing.read > person.read_told:
                self.reads.append((person, person.read_told, standing.read))
                person.read_told = standing.read
        for arrival in changes.arrivals:
            self._arrived(arrival, True)

    def not_kept(self, changes: Changes) -> None:
        """The journal could not keep these: the changes wait for the next time, and those who come do not."""
        self._ledger.refused(changes)
        for arrival in changes.arrivals:
            self._arrived(arrival, False)

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
        entries = [post.entry(time_ms) for post in posts if post.original is None and post.refusal is None]
        return posts, entries

    def refused(self, posts: Sequence[Post], error: PychatError) -> None:
        """The journal kept none of these: tell their senders."""
        hand_on({post for post in posts if post.once and post.original is None}, self._pending)
        for post in posts:
            post.sender.tell(_refusal(post, post.refusal or error) + post.sender.settle())
        for post in posts:
            self._let_go(post.sender)

    def appended(self, posts: Sequence[Post], ids: Sequence[int], time_ms: int, now: float) -> None:
        """The journal has these: give them their ids, deliver them, and answer their senders.

        :param ids: one for each entry that :meth:`take` gave with the posts.
        :param now: seconds of a monotonic clock.
        """
        batch = Batch(time_ms, bool(self._full or self._catching))
        of = len(self._plain) + len(self._full) + len(self._catching) + self.roster.people_away
        fresh = iter(ids)
        for post in posts:
            label = post.to.label if post.to else b"all"
            if post.refusal is not None:
                batch.own(post.sender, _refusal(post, post.refusal))
                continue
            if post.original is None:
                post.id = next(fresh)
            # Of a repeated one the first is in the journal, or it stands before this one in the same batch.
            id = (post.original or post).id
            assert id
            accepted = b"<accepted%s id=%d>%s\n" % (post.label, id, label)
            if post.sender.identity is None and post.person.resumes and post.person.left is None:
                # Her connection ended before what stands before this: she is told behind that, when she is back.
                accepted = b""
            if post.original is not None:
                batch.own(post.sender, accepted)
                continue
            self._remember(id, post)
            if post.to is None:
                batch.own(post.sender, accepted, replaces=True)
                batch.broadcast(id, post)
                self._groups.open(id, post.person, of - self._takes_part(post.person), now)
                continue
            batch.own(post.sender, accepted)
            recipient = post.to.peer
            if not self._takes_mail(post.to):
                reason = b"expired" if post.to.token or post.to.spare else b"gone"
                line = b"<undelivered id=%d reason=%s>%s\n" % (id, reason, label)
                self._ledger.owe(post.to, post.person, line)
                continue
            if recipient is None:
                continue  # she will read it in the journal when she comes back
            if recipient in self._catching:
                batch.late(recipient, id, post)
                continue
            batch.private(recipient, id, post)
            if recipient.awaiting is None:
                recipient.awaiting = deque()
            recipient.awaiting.append((id, post.person))
        if ids:
            self._last_id = ids[-1]
        batch.deliver(self._plain, self._full, self.dirty)
        for catchup in self._catching.values():
            catchup.overhear(batch)
        for post in posts:
            shrink(post)
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
        person = peer.identity
        if not upto or person is None:
            return
        person.sent = max(person.sent, upto)
        if not person.plain:
            return
        awaiting = peer.awaiting
        while awaiting and awaiting[0][0] <= upto:
            id, sender = awaiting.popleft()
            self._ledger.owe(person, sender, b"<%s id=%d>%s\n" % (self.told, id, person.label))
            if peer.resting is None:
                peer.resting = deque(maxlen=RESTING_LIMIT)
            peer.resting.append((id, sender))

    def ack(self, peer: Peer, upto: int) -> None:
        """A member acknowledges all it was sent up to and including a message.

        :raise RemoteProtocolError: ``not-sent``.
        """
        person = peer.identity
        assert person is not None
        if upto <= peer.acked:
            # A client acknowledges again what it was sent again while its first ack was under way.
            return
        if peer.unacked is not None:
            known = peer.unacked.ack(upto) is not None
        else:
            to, sender = self._recent.get(upto, (None, None))
            known = sender is not None and sender is not person and to in (None, person)
            known = known and upto > person.joined
        if not known:
            raise RemoteProtocolError("not-sent", f"This connection was not sent a message {upto}.")
        peer.acked = upto
        person.claimed = max(person.claimed, upto)
        for queue in (peer.resting, peer.awaiting):
            while queue and queue[0][0] <= upto:
                id, sender = queue.popleft()
                self._ledger.owe(person, sender, b"<delivered id=%d>%s\n" % (id, person.label))
        if person.resumes:
            self._ledger.move(person)
        elif not person.due:
            # There is nothing that the journal would have to know for it.
            person.acked = person.claimed
        person.sent = max(person.sent, upto)

    def read(self, peer: Peer, upto: int) -> None:
        """A person has read all that she was sent up to and including a message; that acknowledges it, too.

        :raise RemoteProtocolError: ``not-sent``.
        """
        self.ack(peer, upto)
        person = peer.identity
        assert person is not None
        if upto > person.read:
            person.read = upto
            self._ledger.move(person)

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
        for count in self._groups.settle(self._owed(), now):
            line = b"<receipt id=%d %s=%d delivered=%d" % (count.id, self.told, count.sent, count.delivered)
            if count.gone:
                line += b" undelivered=%d" % count.gone
            line += b" of=%d>all\n" % count.of
            sender = cast("Person", count.sender)
            if not self.tell(sender, line) and sender.resumes and sender.left is None:
                if sender.counts is None:
                    sender.counts = deque(maxlen=COUNTS_LIMIT)
                sender.counts.append(line)
