"""Who is here: the connections that take part, the people behind them, and telling them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from .crowd import Tally, is_crowd
from .errors import RemoteProtocolError
from .peer import Peer
from .rendering import stamp
from .rooms import Audience, Rooms
from .roster import ByName, Roster, key_of

if TYPE_CHECKING:
    from .catchup import CatchUp
    from .peer import Person
    from .rooms import Room

NAMELESS = b"@somebody"
"""Who uploaded without a name: no name begins so."""


class Presence:
    """Everybody who is here, catches up, or is away.

    :ivar dirty: connections that have something to write.
    :ivar roster: identities, and the names, numbers and tokens that lead to them.
    :ivar rooms: the rooms that there are.
    """

    def __init__(self) -> None:
        self.dirty: list[Peer] = []
        self.roster: Roster[Peer] = Roster()
        self.rooms = Rooms()
        self._everybody = Audience()
        self._catching: dict[Peer, CatchUp] = {}
        self._by_name: ByName[Peer] = ByName()
        # By where it happened, ``None`` for the chat itself.
        self._changed: dict[Room | None, Tally] = {}
        self._telling: list[Room | None] = []

    def catching(self, peer: Peer) -> CatchUp | None:
        """What a connection still has to be told of the past."""
        return self._catching.get(peer)

    def _hears(self, peer: Peer, hears: bool) -> None:
        """A connection hears at once what is said, from now on or no more."""
        peer.hears = hears
        if hears:
            self._everybody.add(peer)
        else:
            self._everybody.discard(peer)

    def _forget(self, peer: Peer) -> None:
        self._hears(peer, False)
        self._catching.pop(peer, None)
        assert peer.identity is not None
        for room in peer.identity.stays:
            room.audience.discard(peer)

    def users(
        self, asker: Person, room: Room | None = None, after: str = "", limit: int | None = None
    ) -> tuple[bytes, int, bytes]:
        """One ``<user>`` line for everybody here or away, by name, or for the members of a room.

        :param after: the key of a name: only who is behind it; empty: from the beginning.
        :param limit: at most so many lines; ``None``: all.
        :return: the lines; how many people there are in all; the last name of these, if there are more behind it.
        """
        if room is None:
            page, count, more = self._by_name.page(self.roster.everybody(), after, limit)
        else:
            page, count, more = room.by_name.page(room.members, after, limit)
        lines = b"".join([person.listed or self._list(person) for person in page])
        if room is not None:
            lines = lines.replace(b"<user", b"<user in=" + room.label)
        return _shown_to(asker, lines), count, page[-1].label if more else b""

    def _list(self, person: Person) -> bytes:
        away = b" away" if person in self.roster.away else b""
        absent = b" absent" if person.absent and "away" not in person.hidden else b""
        person.listed = b"<user%s%s>%s\n" % (away, absent, person.label)
        return person.listed

    def require_present(self, person: Person) -> None:
        """Who writes to a bot that is away is told so: nothing is kept for it.

        :raise RemoteProtocolError: ``away``.
        """
        if person.bot and person in self.roster.away:
            raise RemoteProtocolError("away", f"{person.name} is a bot and away. Try again when it is back.")

    # -- who comes and goes

    def _announce(self, change: bytes, person: Person, room: Room | None = None) -> None:
        """Tell everybody, or the members of a room, what happened to one of them; a crowd is told later, in numbers.

        She herself hears what is told there not yet, or no more: she gets an answer.

        :param change: one of :data:`~pychat.crowd.CHANGES`, and the verb of the notice.
        """
        if self._counted(room):
            tally = self._changed.get(room)
            if tally is None:
                tally = self._changed[room] = Tally()
            tally.add(change)
            return
        place = b" in=" + room.label if room else b""
        notice = b"<%s%s>%s\n" % (change, place, person.label)
        for other in self._hearers(room):
            other.tell(notice)

    def _counted(self, room: Room | None = None) -> bool:
        """Whether those who are told what happens in a room, or in the chat, are told of it in numbers.

        What was counted is told before somebody is called by name again.
        """
        return room in self._changed or is_crowd(self._hearing(room))

    @property
    def counts_people(self) -> bool:
        """True while there is something for :meth:`tell_people`."""
        return bool(self._changed)

    def tell_people(self) -> bool:
        """Tell a crowd who came and went, in one place a call; return whether others are to be told so as well.

        To be called a second after there was something to tell, and then again, while it returns True.
        """
        if not self._telling:
            self._telling = [*self._changed]
        if self._telling:
            room = self._telling.pop()
            people = sum(1 for _ in self.roster.everybody()) if room is None else len(room.members)
            line = self._changed.pop(room).line(b" in=" + room.label if room else b"", people)
            for other in self._hearers(room):
                other.tell(line)
        return bool(self._telling)

    def _hearing(self, room: Room | None = None) -> int:
        """How many connections are told what happens in a room, or in the chat."""
        return len(self._everybody) + len(self._catching) if room is None else len(room.audience)

    def _hearers(self, room: Room | None) -> Iterable[Peer]:
        return self._members() if room is None else room.audience

    def tell_file(self, name: str, size: int, by: str, time_ms: int) -> None:
        """Tell everybody that a file has come, and by whom; who ignores her is not told, and nobody keeps it.

        :param by: empty: somebody without a name.
        """
        who, key = (by.encode(), key_of(by)) if by else (NAMELESS, "")
        form = b"<file size=%d by=%s%s>%s\n"
        plain = form % (size, who, b"", name.encode())
        full = form % (size, who, b" time=" + stamp(time_ms), name.encode())
        for other in self._members():
            if other.identity is not None and key not in other.identity.ignores:
                other.tell(full if other.full else plain)

    def _members(self) -> list[Peer]:
        return [*self._everybody, *self._catching]

    def _is_here(self, peer: Peer) -> bool:
        return peer.hears

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

    def owed_in(self, number: int, id: int, kept: Collection[int]) -> list[Person]:
        """The same for a message in a room.

        :param kept: identities that were members then, as the journal has it.
        """
        room = self.rooms.numbered(number)
        members = {} if room is None else room.members
        found = [
            person
            for person, stay in members.items()
            if stay.owed(id) and person.joined < id and self._takes_part(person)  # not what a bot missed
        ]
        # Who left and joined again may have been owed it the first time.
        stayed = {person.id for person, stay in members.items() if stay.joined < id}
        others = [self.roster.numbered(each) for each in kept if each not in stayed]
        return found + [person for person in others if person is not None]

    def _owed(self) -> list[Person]:
        """Everybody who takes part in what is said to all."""
        people = [peer.identity for peer in self._members() if peer.identity is not None]
        return people + [person for person in self.roster.away if not person.bot]

    def tell(self, sender: Person, verdict: bytes) -> bool:
        """Tell a sender, if she is there; the verdict on a private message is told again when she comes back."""
        peer = sender.peer
        if peer is None or peer.identity is not sender or peer in self._catching:
            return False
        peer.mailbox.put(verdict)
        if peer.posted == peer.settled:
            peer.soil()  # otherwise it goes with the answer that is to come
        return True


def _shown_to(asker: Person, lines: bytes) -> bytes:
    """Who hides that she is away is not told of others either; no name holds a space or a bracket."""
    return lines.replace(b" absent>", b">") if "away" in asker.hidden else lines
