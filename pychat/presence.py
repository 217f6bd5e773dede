"""Who is here: the connections that take part, the people behind them, and telling them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .peer import Peer
from .roster import Roster

if TYPE_CHECKING:
    from .catchup import CatchUp
    from .peer import Person


class Presence:
    """Everybody who is here, catches up, or is away.

    :ivar dirty: connections that have something to write.
    :ivar roster: identities, and the names, numbers and tokens that lead to them.
    """

    def __init__(self) -> None:
        self.dirty: list[Peer] = []
        self.roster: Roster[Peer] = Roster()
        self._plain: dict[Peer, None] = {}
        self._full: dict[Peer, None] = {}
        self._catching: dict[Peer, CatchUp] = {}
        self._users: bytes | None = None

    def catching(self, peer: Peer) -> CatchUp | None:
        """What a connection still has to be told of the past."""
        return self._catching.get(peer)

    def _forget(self, peer: Peer) -> None:
        for members in (self._plain, self._full, self._catching):
            members.pop(peer, None)

    def users(self) -> tuple[bytes, int]:
        """One ``<user>`` line for everybody here or away, by name, and their number."""
        listing = self.roster.listing()
        if self._users is None:
            away = self.roster.away
            self._users = b"".join(
                (b"<user away>%s\n" if person in away else b"<user>%s\n") % person.label for person in listing
            )
        return self._users, len(listing)

    def _announce(self, notice: bytes) -> None:
        """Tell everybody who came, or went."""
        self._users = None
        for other in self._members():
            other.tell(notice)

    def _members(self) -> list[Peer]:
        return [*self._plain, *self._full, *self._catching]

    def _is_here(self, peer: Peer) -> bool:
        return peer in self._plain or peer in self._full

    def _takes_mail(self, person: Person) -> bool:
        """Whether she is here, or away and will be told."""
        peer = person.peer
        if peer is None:
            return person in self.roster.away
        return not person.arriving and (self._is_here(peer) or peer in self._catching)

    def _takes_part(self, person: Person) -> bool:
        """Whether she will have what is said to all."""
        return self._takes_mail(person) and not (person.bot and person.peer is None)

    def owed(self, id: int) -> list[Person]:
        """Who of those who live was to have a message to everybody."""
        return [person for person in self._owed() if person.joined < id]

    def _owed(self) -> list[Person]:
        """Everybody who takes part in what is said to all."""
        people = [peer.identity for peer in self._members() if peer.identity is not None]
        return people + [person for person in self.roster.away if not person.bot]

    def tell(self, sender: Person, verdict: bytes) -> bool:
        """Tell a sender, if she is there; the verdict on a private message is told again when she comes back."""
        peer = sender.peer
        if peer is None or peer.identity is not sender or peer in self._catching:
            return False
        peer.tell(verdict)
        return True
