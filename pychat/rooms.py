"""Rooms, and the stays of people in them.

A room comes into being when somebody joins it, and lasts as long as it has members or messages.  Its members are
people, be they here or away; its *audience* are the connections that what is said in it goes to: those of members who
are here and did not mute it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from . import names
from .errors import RemoteProtocolError
from .grammar import isolate
from .receipts import GroupReceipts
from .rendering import stamp
from .roster import ByName, key_of
from .vocabulary import EVERYBODY, Place, RoomRecord

if TYPE_CHECKING:
    from .peer import Peer, Person

ROOMS_LIMIT = 10_000
"""Rooms with members that there are at most; and so many that nobody is in are remembered besides."""

STAYS_LIMIT = 200
"""Rooms that one person is in at most."""

QUIET_LIMIT = 20
"""Times for which a room was muted that are remembered; the oldest is forgotten first."""

FORMER_LIMIT = 50
"""Stays that ended and may still have something unacknowledged in them; the oldest is forgotten first."""


class Audience:
    """The connections that hear what is said in one place, by the manner in which they take it."""

    __slots__ = ("manners",)

    def __init__(self) -> None:
        self.manners: tuple[dict[Peer, None], dict[Peer, None], dict[Peer, None]] = ({}, {}, {})

    def add(self, peer: Peer) -> None:
        """It hears from now on."""
        self.manners[peer.manner][peer] = None

    def discard(self, peer: Peer) -> None:
        """It hears no more."""
        self.manners[peer.manner].pop(peer, None)

    def clear(self) -> None:
        """Nobody hears any more."""
        for members in self.manners:
            members.clear()

    def __contains__(self, peer: Peer) -> bool:
        return peer in self.manners[peer.manner]

    def __iter__(self) -> Iterator[Peer]:
        for members in self.manners:
            yield from members

    def __len__(self) -> int:
        return sum(map(len, self.manners))


class Member:
    """One person's stay in a room; to :class:`~pychat.receipts.GroupReceipts` it is her cursor there."""

    __slots__ = ("earlier", "joined", "left", "muted", "person", "quiet_from", "quiet_to", "read", "room")

    def __init__(self, room: Room, person: Person, joined: int, left: int | None = None) -> None:
        self.room = room
        self.person = person
        self.joined = joined
        """She is owed what has a higher id."""
        self.left = left
        """And no higher one than this; ``None`` while she is a member."""
        self.read = 0
        """She read what was said here up to this id, or what :attr:`~pychat.roster.Identity.read` says."""
        self.muted = False
        self.quiet_from = self.quiet_to = 0
        """Above the one id and up to the other it was muted the last time; while it is, only the first counts."""
        self.earlier: tuple[tuple[int, int], ...] = ()
        """The same for the times before."""

    @property
    def sent(self) -> int:
        """See :class:`~pychat.receipts.Cursor`."""
        return self._here(self.person.sent)

    @property
    def acked(self) -> int:
        """See :class:`~pychat.receipts.Cursor`."""
        return self._here(self.person.acked)

    def _here(self, value: int) -> int:
        # Her cursors are of all that she is sent: what moved them before she joined, or since she left, is not ours.
        if value <= self.joined:
            return 0
        return value if self.left is None else min(value, self.left)

    @property
    def plain(self) -> bool:
        """See :class:`~pychat.receipts.Cursor`."""
        return self.person.plain

    @property
    def lingers(self) -> bool:
        """See :class:`~pychat.receipts.Cursor`: who left the room and is here may yet have what was said in it."""
        return self.person.lingers or self.person.left is None

    def owed(self, id: int) -> bool:
        """Whether a message in the room was to be shown to her."""
        if id <= self.joined or (self.left is not None and id > self.left):
            return False
        if self.quiet_from < id and (self.muted or id <= self.quiet_to):
            return False
        return not any(since < id <= upto for since, upto in self.earlier)

    @property
    def read_upto(self) -> int:
        """She read what was said here up to this id."""
        if self.muted:
            return max(self.read, self.joined)
        # After the last time that it was muted she has to have read on: what was said meanwhile she was not shown.
        read = self.person.seen_upto if self.person.seen_upto > self.quiet_to else 0
        return max(self.read, read, self.joined)

    def mute(self, last_id: int) -> None:
        """She wants to hear nothing of what comes."""
        if self.quiet_to > self.quiet_from:
            self.earlier = (*self.earlier, (self.quiet_from, self.quiet_to))[-QUIET_LIMIT:]
        self.read = self.read_upto
        self.muted = True
        self.quiet_from = last_id

    def unmute(self, last_id: int) -> None:
        """She wants to hear what comes."""
        self.muted = False
        self.quiet_to = last_id


class Room:
    """One room."""

    __slots__ = (
        "aside", "audience", "by_name", "coming", "id", "key", "label", "members", "name", "newest", "receipts",
        "topic", "topic_by", "topic_ms",
    )  # fmt: skip

    def __init__(self, record: RoomRecord) -> None:
        self.id = record.id
        """Its number in the journal, negative."""
        self.name = record.name
        self.label = record.name.encode()
        self.key = _key(record.name)
        self.topic = record.topic
        self.topic_by = record.topic_by
        self.topic_ms = record.topic_ms
        self.newest = record.newest
        """The highest id of a message said in it; 0: none that is kept."""
        self.members: dict[Person, Member] = {}
        self.by_name: ByName[Peer] = ByName()
        """The members, in the order in which they are listed."""
        self.aside: dict[Person, None] = {}
        """Members who are not shown what is said now: they muted it, or are bots and away."""
        self.coming = 0
        """How much is on its way into it: the journal has yet to know."""
        self.audience = Audience()
        self.receipts = GroupReceipts()

    def admit(self, member: Member) -> None:
        """Somebody is a member from now on."""
        self.members[member.person] = member
        self.by_name.add(member.person)

    def dismiss(self, person: Person) -> None:
        """Somebody is a member no more."""
        self.members.pop(person, None)
        self.by_name.discard(person)
        self.aside.pop(person, None)

    def topic_line(self, label: bytes = b"", *, manner: int, timed: bool = True) -> bytes:
        """What it is about, as a line."""
        by = b" by=" + self.topic_by.encode() if self.topic_by else b""
        time = b" time=" + stamp(self.topic_ms) if timed and self.topic_ms else b""
        topic = self.topic if manner else isolate(self.topic)
        return b"<topic%s in=%s%s%s>%s\n" % (label, self.label, by, time, topic)

    @property
    def place(self) -> Place:
        """Where its history is."""
        return (self.id, "")

    @property
    def exists(self) -> bool:
        """Whether it has members or messages."""
        return bool(self.members or self.newest)


class Rooms:
    """All rooms, by what they are called and by their numbers."""

    def __init__(self) -> None:
        self._by_key: dict[str, Room] = {}
        self._by_id: dict[int, Room] = {}
        self._last = 0

    def begin(self, last: int, records: Iterable[RoomRecord]) -> None:
        """Go on where the journal stands."""
        self._last = last
        for record in records:
            room = Room(record)
            if room.key not in self._by_key:
                self._by_key[room.key] = self._by_id[room.id] = room

    def _make_room(self) -> None:
        """There are very many: forget the one that nobody is in and that was silent for longest.

        :raise RemoteProtocolError: ``limit-reached``: somebody is in each of very many.
        """
        empty = [room for room in self._by_key.values() if not room.members and not room.coming]
        if len(self._by_key) - len(empty) >= ROOMS_LIMIT:
            raise RemoteProtocolError(
                "limit-reached",
                f"There are {ROOMS_LIMIT} rooms already. Type <get_rooms> and join one of them.",
            )
        if len(empty) >= ROOMS_LIMIT:
            oldest = min(empty, key=attrgetter("newest"))
            del self._by_id[oldest.id], self._by_key[oldest.key]

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, name: str) -> Room:
        """The room of this name.

        :raise RemoteProtocolError: ``bad-name``, ``name-reserved`` or ``no-such-room``.
        """
        room = self._by_key.get(check_room(name))
        if room is None:
            raise RemoteProtocolError("no-such-room", f"There is no such room. <join>{name} makes it.")
        return room

    def called(self, name: str) -> Room | None:
        """The room of this name, if there is one and the name is one."""
        try:
            return self._by_key.get(check_room(name))
        except RemoteProtocolError:
            return None

    def numbered(self, id: int) -> Room | None:
        """The room with this number."""
        return self._by_id.get(id)

    def claim(self, name: str) -> Room:
        """The room of this name; a new one, if there is none.

        :raise RemoteProtocolError: ``bad-name``, ``name-reserved`` or ``limit-reached``.
        """
        room = self._by_key.get(check_room(name))
        if room is not None:
            return room
        if len(self._by_key) >= ROOMS_LIMIT:
            self._make_room()
        self._last -= 1
        room = Room(RoomRecord(self._last, name))
        self._by_key[room.key] = self._by_id[room.id] = room
        return room

    def tidy(self, room: Room, oldest: int) -> None:
        """Forget a room that has neither members nor messages.

        :param oldest: the id of the oldest message that is kept.
        """
        if room.newest < oldest:
            room.newest = 0
        if not room.exists and not room.coming and self._by_id.get(room.id) is room:
            del self._by_id[room.id], self._by_key[room.key]

    def tidy_all(self, oldest: int) -> None:
        """Forget all rooms that have neither members nor messages."""
        for room in [*self._by_id.values()]:
            self.tidy(room, oldest)

    def listing(self) -> list[Room]:
        """Every room, by name."""
        return [room for _, room in sorted(self._by_key.items()) if room.exists]


def is_room(name: str) -> bool:
    """Whether a name is meant to be a room's."""
    return name.startswith("#")


def check_room(name: str) -> str:
    """The comparison key of a room's name.

    :raise RemoteProtocolError: ``bad-name`` or ``name-reserved``.
    """
    if not is_room(name):
        raise RemoteProtocolError("bad-name", "The name of a room begins with #, as in #tea.")
    try:
        return "#" + names.check(name[1:])
    except RemoteProtocolError as error:
        if len(name) == 1:
            raise RemoteProtocolError("bad-name", "Behind the # stands a name, as in #tea.") from None
        raise RemoteProtocolError(error.code, f"Behind the # of a room: {error.sentence}") from None


def _key(name: str) -> str:
    """The key of a name that the journal has; the rules may have changed since it was given."""
    return "#" + key_of(name[1:])


def heard_by(stays: Iterable[Member]) -> dict[Audience, Member]:
    """Where somebody with these stays may hear something, besides what is said to everybody."""
    return {stay.room.audience: stay for stay in stays}


def places_of(person: Person) -> Sequence[Place]:
    """Everywhere where she may look."""
    return [EVERYBODY, (person.id, ""), *(room.place for room in person.stays)]
