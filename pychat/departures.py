"""Going: for good, for a while, and for too long.

:mod:`pychat.members` has the picture of it all.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from .ledger import Ledger
from .peer import Peer
from .presence import Presence
from .receipts import GroupReceipts

if TYPE_CHECKING:
    from .peer import Person

HOLD = 600.0
"""Seconds for which the name and the mail of somebody who is away are kept."""

EXPIRE_LIMIT = 100
"""So many are ended at once when their time is over."""

AWAY_LIMIT = 20_000
"""At most so many are away; past it whoever is away longest ends early."""


class Departures(Presence):
    """Going, and what ends with it.

    :ivar expired: who ended before she was told all her mail, and is so in the journal; and the reason for its verdict.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ready = True
        """What earlier runs left behind is known: who comes back can be let in, and who does not is ended in time."""
        self.expired: list[tuple[Person, bytes]] = []
        self._ledger = Ledger()
        self._groups = GroupReceipts()
        self._last_id = 0
        self._leaving: set[int] = set()
        """Identities that have ended while their last bytes are on their way."""

    # -- what a child knows

    def _give_up(self, peer: Peer) -> None:
        """What a peer posted before it was a member will not be taken up."""

    def _set_aside(self, person: Person) -> None:
        """A bot went away or came back: whether it is owed what is said in its rooms has changed."""

    def _leave_rooms(self, person: Person) -> None:
        """She has ended, or is about to; ``left`` is set."""

    # -- what became of a private message

    def _owe(self, person: Person, sender: Person, verdict: bytes) -> None:
        """Tell a sender how far a message of hers has come.

        If she can come back it has to be in the journal first: what she was told may not be undone by a crash.
        """
        if sender.resumes:
            self._ledger.owe(person, sender, verdict)
        else:
            self.tell(sender, verdict)
            if person.left is not None and person.kept:
                self._ledger.move(person)  # what the journal has of her is older than this

    # -- going

    def farewell(self, peer: Peer) -> None:
        """A member said goodbye: its identity ends when it parts."""
        peer.farewell = True

    def part(self, peer: Peer, now: float = 0.0) -> None:
        """A connection is about to end: it gets nothing more, while its last bytes are on their way.

        Who can come back is away from now on.  Everybody else's name is free, and the others are told, once everything
        that she said has its place before that.

        :param now: seconds of a monotonic clock.
        """
        person = peer.identity
        if person is None or person.arriving or peer.parting is not None or person.left is not None:
            return
        if person.peer is not peer:
            if not peer.farewell:
                self._stay_away(peer)
            return
        if person.resumes and not peer.farewell:
            self._go_away(peer, person, now)
            return
        if peer in self._catching:
            person.lost = b"gone"
        self._forget(peer)
        self._give_up(peer)
        peer.parting = person
        person.left = self._last_id
        person.lingers = True
        self._leaving.add(person.id)
        self._groups.departed(person)
        self._leave_rooms(person)
        if person.resumes:
            self.roster.revoke(person)
            self._ledger.move(person)
        self._let_go(peer)

    def _go_away(self, peer: Peer, person: Person, now: float) -> None:
        self._detach(peer)
        self.roster.go_away(person, now)
        self._set_aside(person)
        self._announce(b"away", person)
        if len(self.roster.away) > AWAY_LIMIT:
            self._expire(next(iter(self.roster.away)))

    def _detach(self, peer: Peer) -> None:
        """A connection is its person's no more; what it did not acknowledge the next one will be told."""
        person = peer.identity
        assert person is not None
        if peer not in self._catching and peer.unacked is not None and not peer.unacked.messages:
            # There is nothing that it does not have: it need not be looked for again.
            person.claimed = person.settled = self._last_id
            self._ledger.move(person)
        self._forget(peer)
        peer.awaiting = peer.resting = None
        peer.identity = None
        peer.confirmed_at = None
        self._give_up(peer)

    def leave(self, peer: Peer, now: float = 0.0) -> None:
        """A connection is gone: what has not arrived by now never will, unless its person can come back."""
        person = peer.identity
        if person is None:
            return
        if person.arriving:
            self.roster.revoke(person)
            self._end(person)
        elif peer.early is not None and peer not in self._catching:
            self._stay_away(peer)
        else:
            self.part(peer, now)
            if peer.identity is None:
                return
            lost = [] if peer.awaiting is None else peer.awaiting.take_all()
            for id, sender in zip(lost[::2], lost[1::2], strict=True):
                self._owe(person, sender, b"<undelivered id=%d reason=gone>%s\n" % (id, person.label))
            person.lingers = False
            self._leaving.discard(person.id)
        peer.awaiting = peer.resting = None
        peer.identity = None
        self._give_up(peer)

    def _stay_away(self, peer: Peer) -> None:
        """A connection on which somebody was about to come back ends before she is."""
        peer.identity = None
        self._give_up(peer)

    def disperse(self) -> None:
        """Everybody parts at once: nobody is left to be told."""
        members = self._members()
        self._everybody.clear()
        self._catching.clear()
        for peer in members:
            peer.hears = False
            person = peer.identity
            assert person is not None
            for room in person.stays:
                room.audience.discard(peer)
            if person.resumes:
                # Her time begins anew when the daemon is back.
                peer.identity = None
                self.roster.go_away(person, 0.0)
                self._give_up(peer)
                continue
            peer.parting = person
            person.left = self._last_id
            self._leave_rooms(person)
            self._let_go(peer)

    def _let_go(self, peer: Peer) -> None:
        person = peer.parting
        if person is None or peer.posted != peer.settled:
            return
        peer.parting = None
        self._end(person)
        self._announce_left(person)

    def _announce_left(self, person: Person) -> None:
        """Tell everybody that she has ended."""
        self._announce(b"left", person)

    def _end(self, person: Person) -> None:
        if person.left is None:
            person.left = self._last_id
        self._leave_rooms(person)
        if person.resumes or person.kept:
            self._ledger.move(person)
        self.roster.release(person)
        self._by_name.discard(person)

    def expire(self, now: float) -> bool:
        """End those who have been away for too long, a bounded number at once; return whether there are more."""
        if not self.ready:
            return False
        for person, since in [*islice(self.roster.away.items(), EXPIRE_LIMIT)]:
            if since + HOLD > now:
                return False
            self._expire(person)
        return bool(self.roster.away)

    def _expire(self, person: Person) -> None:
        person.lost = b"expired"
        self._end(person)
        self._groups.departed(person)
        self._announce_left(person)
