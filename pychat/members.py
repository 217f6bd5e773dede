"""Who is here and who is away: coming, and coming back; going is in :mod:`pychat.departures`.

A connection that did not say ``caps=resume`` is an identity that ends with it.  Who said so is known to the journal
before her ``<connect>`` is answered, is *away* when her connection ends without a goodbye, and can come back with the
token that she was given, for :data:`~pychat.departures.HOLD` seconds; then she ends::

      join          the journal has it          part, no goodbye          expire
    --------> arriving ------------> here --------------------> away ------------> ended
                                      |  <--- catching up <----  |                   ^
                                      |           resume                             |
                                      +----------------------------------------------+
                                                        goodbye
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .catchup import CatchUp
from .departures import Departures
from .errors import RemoteProtocolError
from .ledger import Arrival
from .mailbox import Unacked
from .peer import Peer
from .roster import digest_of
from .vocabulary import Page, RoomRecord, Standing, Stay

if TYPE_CHECKING:
    from .peer import Person

_NOT_YOURS = (
    "This token is not, or no longer, good for this name. Check both; if it is lost, join under another name: "
    "<connect>your-name"
)


class Members(Departures):
    """Coming and coming back.

    :ivar replaced: connections to be ended, for their people came back on others.
    :ivar returning: who came back and has yet to be told what she missed.
    """

    def __init__(self, *, durable: bool, make_token: Callable[[], bytes] | None = None) -> None:
        """
        :param durable: what ``<connected durable=…>`` says.
        :param make_token: makes a token that nobody can guess; without it nobody can come back.
        """
        super().__init__()
        self.durable = durable
        self.replaced: list[Peer] = []
        self.returning: list[Peer] = []
        self._make_token = make_token

    def begin(
        self,
        last_id: int,
        last_identity: int,
        living: Sequence[Standing] = (),
        now: float = 0.0,
        last_room: int = 0,
        rooms: Sequence[RoomRecord] = (),
        stays: Sequence[Stay] = (),
    ) -> None:
        """Go on where the journal stands.

        :param last_id: its newest message.
        :param last_identity: its highest number of an identity.
        :param living: who can come back; for them the waiting begins anew.
        :param now: seconds of a monotonic clock.
        :param last_room: its lowest number of a room.
        :param stays: of ``living``.
        """
        self._last_id = last_id
        self.roster.begin(last_identity)
        self.rooms.begin(last_room, rooms)
        for standing in living:
            self.roster.restore(standing, now)
        self._restore(stays)
        self.ready = not living

    @property
    def last_id(self) -> int:
        """The newest message."""
        return self._last_id

    @property
    def can_resume(self) -> bool:
        """Whether ``caps=resume`` is granted."""
        return self._make_token is not None

    # -- coming

    def peer(self, owner: object = None) -> Peer:
        """A new connection, not yet a member."""
        return Peer(self.dirty, owner)

    def promise(self, peer: Peer, acks: bool, resumes: bool = False, bot: bool = False) -> None:
        """A client said what it can do, before it became a member."""
        peer.unacked = Unacked() if acks else None
        peer.resumes = resumes
        peer.bot = bot

    def join(self, peer: Peer, name: str, label: bytes = b"") -> None:
        """Make a peer a member, tell the others, and answer ``<connected>``.

        :param label: the rendered attribute, `` label=…``, or nothing.
        :raise RemoteProtocolError: as :meth:`Roster.claim`.
        """
        holder = self.roster.find(name)
        if holder is not None and holder in self.roster.away and not holder.token:
            # Nobody ever showed that she got a token for it: most likely it was lost with the connection.
            self._expire(holder)
        person = self.roster.claim(name, peer)
        peer.identity = person
        person.plain = peer.unacked is None
        if not peer.resumes or self._make_token is None:
            self._enter(peer, person)
            peer.answer(self._connected(person, label))
            return
        person.arriving = person.resumes = True
        person.bot = peer.bot
        person.begin(self._last_id)
        token = self._make_token()
        self.roster.issue(person, token)
        self._let_in(Arrival(peer, person, label, token))

    def resume(
        self, peer: Peer, token: bytes, name: str, after: int | None, open: int | None, label: bytes
    ) -> None:
        """Let somebody come back, in place of the connection that she may still have.

        :param after: she has everything up to this id; ``None``: what she acknowledged.
        :param open: she wants to know what became of her private messages from this id on; ``None``: above ``after``.
        :raise RemoteProtocolError: ``bad-token``, ``busy`` or ``not-sent``.
        """
        if not self.ready or self._make_token is None:
            raise RemoteProtocolError(
                "busy", "The chat has just started and reads what was said before. Try again in a moment."
            )
        person = self.roster.bearer(token)
        if person is None or not person.is_called(name):
            raise RemoteProtocolError("bad-token", _NOT_YOURS)
        if after is not None and after > self._last_id:
            raise RemoteProtocolError("not-sent", f"There is no message {after} yet.")
        fresh = self._make_token()
        self.roster.issue(person, fresh, token)
        peer.identity = person
        peer.early = []
        self._let_in(Arrival(peer, person, label, fresh, CatchUp(peer, after, open)))

    def _let_in(self, arrival: Arrival) -> None:
        arrival.peer.posted += 1  # the answers to later lines wait behind this one
        self._ledger.arrive(arrival)

    def _arrived(self, arrival: Arrival, kept: bool) -> None:
        """The journal knows her, or could not be told: then she is let in without what needs it."""
        peer, person = arrival.peer, arrival.person
        if peer.identity is not person:
            # The connection ended meanwhile.
            peer.settle()
            return
        if person.left is not None:
            # Her time was over meanwhile.
            peer.identity = None
            error = b"<error code=bad-token%s>%s\n" % (arrival.label, _NOT_YOURS.encode())
            peer.tell(error + peer.settle())
            self._give_up(peer)
            return
        if arrival.catchup is not None:
            self._come_back(peer, person, arrival.catchup)
        else:
            person.arriving = False
            if not kept:
                person.resumes = False
                self.roster.revoke(person)
            self._enter(peer, person)
        digest = digest_of(arrival.token)
        good = kept and digest == person.spare  # another connection may have been given a newer one since
        token = b" resume=" + arrival.token if good else b""
        peer.tell(self._connected(person, token + arrival.label) + peer.settle())
        if good:
            peer.token_told = digest
            peer.confirmed_at = peer.mailbox.total

    def _connected(self, person: Person, attributes: bytes) -> bytes:
        durable = b"" if self.durable else b" durable=no"
        return b"<connected%s%s>%s\n" % (attributes, durable, person.label)

    def _enter(self, peer: Peer, person: Person) -> None:
        self._announce(b"joined", person)
        self._by_name.add(person)
        person.begin(self._last_id)
        self._hears(peer, True)

    def _come_back(self, peer: Peer, person: Person, catchup: CatchUp) -> None:
        old = person.peer
        if old is not None:
            self._detach(old)
            self.replaced.append(old)
        else:
            self.roster.come_back(person)
            self._set_aside(person)
            self._announce(b"back", person)
        self._supersede(person)
        person.peer = peer
        person.bot = peer.bot
        catchup.begin(person, self._last_id)
        person.claimed = max(person.claimed, catchup.after)
        peer.acked = catchup.after
        self._ledger.move(person)
        self._catching[peer] = catchup
        self.returning.append(peer)

    def confirm(self, peer: Peer) -> None:
        """A line came that was sent with the new token at hand."""
        peer.confirmed_at = None
        if peer.identity is not None and peer.identity.peer is peer:
            self.roster.confirm(peer.identity, peer.token_told)
            self._ledger.move(peer.identity)

    # -- catching up

    def replay(self, peer: Peer, page: Page) -> None:
        """Tell somebody who came back a page of what she missed; after the last one she is a member."""
        catchup, person = self._catching.get(peer), peer.identity
        if catchup is None or person is None:
            return
        if page.upto > self._last_id:
            # The journal's thread is ahead: what we do not know of yet will be delivered to who is here.
            known = [(id, entry) for id, entry in page.messages if id <= self._last_id]
            page = Page(known, self._last_id, page.oldest, page.retracted)
        if catchup.replay(page, person, self.roster, self._ledger, self._everybody):
            del self._catching[peer]
            if person.bot:
                # What was said to all meanwhile was not said to a bot that was away.
                person.joined = catchup.since
            self._caught_up(peer, person, catchup.count)

    def _caught_up(self, peer: Peer, person: Person, count: int) -> None:
        self._hears(peer, True)
        self._hear(peer, person)
        peer.tell(b"<replayed count=%d>\n" % count)
        counts, person.counts = person.counts, None
        for line in counts or ():
            peer.tell(line)
        self._take_up(peer)

    def _take_up(self, peer: Peer) -> None:
        """What a peer posted before it was a member is taken up now."""

    def _supersede(self, person: Person) -> None:
        """What somebody posted on an earlier connection, and the journal was not given yet, is dropped."""

    # -- what a child knows of rooms

    def _restore(self, stays: Sequence[Stay]) -> None:
        """Those of earlier runs are members of their rooms again."""

    def _hear(self, peer: Peer, person: Person) -> None:
        """From now on a connection is told what is said in its person's rooms."""
