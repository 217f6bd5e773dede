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
:data:`~pychat.departures.HOLD` seconds.  When she comes back she is told what she missed (:mod:`pychat.catchup`).

Peers that got something are in :attr:`Hub.dirty`, senders first: whoever drives the hub flushes them once a turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from .errors import RemoteProtocolError
from .ledger import Changes
from .once import remember, remembered
from .peer import Messages, Peer
from .personal import ignores
from .posting import Posting
from .rooms import Room
from .vocabulary import OnceKey

if TYPE_CHECKING:
    from .peer import Person
    from .receipts import Count

RESTING_LIMIT = 256
"""Private messages at rest with a plain peer for which a later ack is still told to the sender."""

COUNTS_LIMIT = 100
"""Counts that wait for a sender who is away; the oldest goes first."""

RESEND_LIMIT = 64 * 1024
"""Bytes sent again at once to a client that does not acknowledge."""


class _Lines:
    """The receipts of one sender, in order; those that say the same are made together."""

    __slots__ = ("_ids", "_made", "_template")

    def __init__(self) -> None:
        self._template = b""
        self._ids: list[int] = []
        self._made: list[bytes] = []

    def add(self, template: bytes, ids: Sequence[int]) -> None:
        """One for each of these.

        :param template: a line with a place for the id.
        """
        if template != self._template:
            self._make()
            self._template = template
        self._ids.extend(ids)

    def joined(self) -> bytes:
        """All of them."""
        self._make()
        return b"".join(self._made)

    def _make(self) -> None:
        if self._ids:
            self._made.append(self._template * len(self._ids) % (*self._ids,))
            self._ids = []


class Hub(Posting):
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
        self.measure: Callable[[], Sequence[tuple[str, int]]] = tuple
        """What ``<status>`` tells besides what is known here: names and numbers."""

    # -- what the journal says

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

    def due(self) -> set[int]:
        """The identities of which the journal has yet to hear how they stand: what follows from that is told then."""
        return self._ledger.due() | self._leaving

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
        if peer.awaiting is None:
            return
        there = peer.awaiting.take(upto)
        if not there:
            return
        last: Person = there[1]
        ids: list[int] = []
        for place in range(0, len(there), 2):
            sender: Person = there[place + 1]
            if sender is not last:
                self._tell_reached(person, last, ids)
                last, ids = sender, []
            ids.append(there[place])
        self._tell_reached(person, last, ids)
        resting = peer.resting
        if resting is None:
            resting = peer.resting = Messages()
        resting.add_all(there)
        resting.keep(RESTING_LIMIT)

    def _tell_reached(self, person: Person, sender: Person, ids: Sequence[int]) -> None:
        """These messages of one sender have reached somebody: no name holds a ``%``."""
        if len(ids) == 1:
            line = b"<%s id=%d>%s\n" % (self.told, ids[0], person.label)
        else:
            line = b"<%s id=%%d>%s\n" % (self.told, person.label) * len(ids) % (*ids,)
        self._owe(person, sender, line)

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
            known = self._was_sent(person, upto)
        if not known:
            raise RemoteProtocolError("not-sent", f"This connection was not sent a message {upto}.")
        peer.acked = upto
        person.claimed = max(person.claimed, upto)
        person.settled = max(person.settled, upto)
        for queue in (peer.resting, peer.awaiting):
            if queue is not None:
                there = queue.take(upto)
                for id, sender in zip(there[::2], there[1::2], strict=True):
                    self._owe(person, sender, b"<delivered id=%d>%s\n" % (id, person.label))
        if person.resumes:
            self._ledger.move(person)
        elif not person.due:
            # There is nothing that the journal would have to know for it.
            person.acked = person.claimed
        person.sent = max(person.sent, upto)

    def _was_sent(self, person: Person, id: int) -> bool:
        """Whether a plain client was sent this message, as far as that is remembered."""
        found = self._recent.find(id)
        if found is None or id <= person.joined:
            return False
        to, sender = found
        if sender == person.key:
            return False
        if isinstance(to, Room):
            stays = (stay for stay in (*person.stays.values(), *person.former) if stay.room is to)
            return any(stay.owed(id) for stay in stays) and not ignores(person, sender, id)
        return to == person.key or (to is None and not ignores(person, sender, id))

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
        """True while there are messages to groups whose counts have not been told."""
        return bool(self._groups or self._counting)

    def count(self, now: float) -> None:
        """Tell senders the counts that are final or due."""
        for _ in self.counts(now):
            pass

    def counts(self, now: float) -> Iterator[None]:
        """The same, with pauses between groups, and within those that have much to tell."""
        if self._groups:
            for counts in self._groups.settle(self._owed(), now):
                self._tell_counts(counts, b"all")
                yield
        for room in [*self._counting]:
            for counts in room.receipts.settle(room.members.values(), now):
                self._tell_counts(counts, room.label)
                yield
            if not room.receipts:
                self._counting.pop(room, None)

    def _tell_counts(self, counts: Sequence[Count], to: bytes) -> None:
        """Tell each sender what she is to know, at once; mostly it is the same of many messages.

        :param to: ``all`` or the label of a room, in which there is no ``%``.
        """
        template, before = b"", (-1, 0, 0, 0)
        lines: dict[object, _Lines] = {}
        for ids, sender, sent, delivered, gone, of in counts:
            if (sent, delivered, gone, of) != before:
                before = (sent, delivered, gone, of)
                lost = b" undelivered=%d" % gone if gone else b""
                tail = b" %s=%d delivered=%d%s of=%d>%s\n" % (self.told, sent, delivered, lost, of, to)
                template = b"<receipt id=%d" + tail
            hers = lines.get(sender)
            if hers is None:
                hers = lines[sender] = _Lines()
            hers.add(template, ids)
        for each, some in lines.items():
            person, data = cast("Person", each), some.joined()
            if not self.tell(person, data) and person.resumes and person.left is None:
                if person.counts is None:
                    person.counts = deque(maxlen=COUNTS_LIMIT)
                person.counts.extend(data.splitlines(keepends=True))
