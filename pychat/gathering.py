"""Who is where and wants to hear what: joining and leaving rooms, muting them, ignoring people, hiding.

Rooms and stays change when the journal has the event that changes them, at its place among the messages: whoever joins
is owed what comes behind it.  Settings count at once, and their answer comes when the journal has them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from . import names
from .crowd import is_crowd
from .errors import RemoteProtocolError
from .grammar import isolate
from .members import Members
from .peer import SETTING, Peer, Post
from .personal import IGNORED_LIMIT, IGNORES_LIMIT, decode, encode
from .rooms import FORMER_LIMIT, STAYS_LIMIT, Member, Room, is_room
from .vocabulary import Kind, Stay

if TYPE_CHECKING:
    from .peer import Person

GONE_LIMIT = 10_000
"""People who are gone and of whom it is known when they were last seen."""


class Gathering(Members):
    """Rooms, and what each person wants to hear.

    :ivar entered: who has just joined a room on a plain line, with the id of that: she is to be told what was said.
    """

    def __init__(self, *, durable: bool, make_token: Callable[[], bytes] | None = None) -> None:
        super().__init__(durable=durable, make_token=make_token)
        self.entered: list[tuple[Peer, Room, int]] = []
        self.oldest = 1
        """The oldest message that the journal has."""
        self._ignored_by: dict[str, dict[Person, None]] = {}
        self._last_seen: dict[str, float] = {}
        self._fleeting: dict[tuple[Person, Person | Room | None], None] = {}
        # Who has ended, or is about to, left these rooms with that: their members are told so by <left>name, or, in a
        # crowd, each room by itself.
        self._emptied: dict[Person, list[Room]] = {}

    def _push(self, post: Post) -> None:
        """Put an event on its way into the journal."""

    # -- earlier runs

    def _restore(self, stays: Sequence[Stay]) -> None:
        for stay in stays:
            person, room = self.roster.numbered(stay.identity), self.rooms.numbered(stay.room)
            if person is None or room is None:
                continue
            member = Member(room, person, stay.joined, stay.left)
            if stay.left is None:
                person.stays[room] = member
                room.admit(member)
            else:
                person.former = [*person.former, member]
        for person in self.roster.away:
            decode(person)
            for key in person.ignores:
                self._ignored_by.setdefault(key, {})[person] = None
            self._set_aside(person)

    def tidy_rooms(self, oldest: int) -> None:
        """From time to time: forget rooms that have neither members nor messages.

        :param oldest: the oldest message that the journal has.
        """
        if oldest > self.oldest:
            self.oldest = oldest
            self.rooms.tidy_all(oldest)

    # -- joining and leaving

    def join_room(self, peer: Peer, name: str, label: bytes) -> None:
        """Put a member's joining of a room on its way; who is in it already is answered so.

        :raise RemoteProtocolError: ``bad-name``, ``name-reserved``, or ``limit-reached``.
        """
        person = peer.identity
        assert person is not None
        room = self.rooms.claim(name)
        if room not in person.stays and len(person.stays) >= STAYS_LIMIT:
            self.rooms.tidy(room, self.oldest)
            raise RemoteProtocolError(
                "limit-reached",
                f"You are in {STAYS_LIMIT} rooms, and that is the most. <leave> one of them first.",
            )
        peer.holding = True
        self._push(Post(peer, room, b"", label, Kind.JOIN))

    def leave_room(self, peer: Peer, room: Room, label: bytes) -> None:
        """Put a member's leaving of a room on its way."""
        peer.holding = True
        self._push(Post(peer, room, b"", label, Kind.LEAVE))

    def stay(self, person: Person, room: Room) -> Member:
        """Her stay in a room.

        :raise RemoteProtocolError: ``not-in-room``.
        """
        member: Member | None = person.stays.get(room)
        if member is None:
            raise RemoteProtocolError(
                "not-in-room", f"You are not in {room.name}. Type <join>{room.name} to be a member."
            )
        return member

    def _changes_nothing(self, post: Post) -> bool:
        """Whether a joining or leaving says what is so already."""
        if post.kind == Kind.JOIN:
            return post.to in post.person.stays or post.person.left is not None
        return post.to not in post.person.stays

    def _change_room(self, post: Post, id: int) -> None:
        """The journal has an event that changes a room: so it is from here on."""
        room, person, peer = post.to, post.person, post.sender
        assert isinstance(room, Room)
        if post.kind == Kind.JOIN:
            self._joined(room, person, peer, id)
        else:
            self._left(room, person, peer, id)

    def _joined(self, room: Room, person: Person, peer: Peer, id: int) -> None:
        person.kept = True
        ended = person.left is not None
        if ended:
            # She ended before the journal had it, which will hear so.
            self._ledger.move(person)
            if self.roster.numbered(person.id) is None:
                return  # and all were told
            self._emptied.setdefault(person, []).append(room)
        self._announce(b"joined", person, room)
        if ended:
            return
        person.stays[room] = Member(room, person, id)
        room.admit(person.stays[room])
        self._set_aside(person)
        if person.peer is peer and self._is_here(peer):
            room.audience.add(peer)
            if not peer.full:
                self.entered.append((peer, room, id))

    def _left(self, room: Room, person: Person, peer: Peer, id: int) -> None:
        member = person.stays.pop(room, None)
        if member is None:
            return
        room.audience.discard(peer)
        self._close(member, id)
        if person.resumes:
            former = [each for each in person.former if (each.left or 0) > person.claimed]
            person.former = [*former, member][-FORMER_LIMIT:]
        if person.personal:
            encode(person)
        # For what was said in it before, the journal has to know how she stands.
        self._ledger.move(person)
        self._announce(b"left", person, room)

    def _close(self, member: Member, id: int) -> None:
        room = member.room
        member.left = id
        room.dismiss(member.person)
        room.receipts.departed(member)
        self.rooms.tidy(room, self.oldest)

    def _tell_room(
        self, room: Room, notice: bytes, but: Person, plain: bytes = b"", spared: Collection[Peer] = ()
    ) -> None:
        """Tell the members who are here, and did not mute it.

        :param plain: the same for plain lines, if it differs.
        :param spared: connections that are not to be told either.
        """
        for other in room.audience:
            if other.identity is not but and other not in spared:
                other.tell(notice if other.full else plain or notice)

    def _answer_room(self, post: Post) -> bytes:
        """What who joined or left is answered."""
        room, person = post.to, post.person
        assert isinstance(room, Room)
        if post.kind == Kind.LEAVE:
            return b"<left%s in=%s>%s\n" % (post.label, room.label, person.label)
        stay = person.stays.get(room)
        since = b" id=%d" % stay.joined if stay is not None and post.sender.full else b""
        return b"<joined%s in=%s%s members=%d>%s\n" % (
            post.label, room.label, since, len(room.members), person.label,
        )  # fmt: skip

    def _hear(self, peer: Peer, person: Person) -> None:
        for room, member in person.stays.items():
            if not member.muted:
                room.audience.add(peer)

    def _set_aside(self, person: Person) -> None:
        aside = person.bot and person in self.roster.away
        for room, member in person.stays.items():
            if aside or member.muted:
                room.aside[person] = None
            else:
                room.aside.pop(person, None)

    def _leave_rooms(self, person: Person) -> None:
        for key in person.ignores:
            self._end_ignoring(person, key)
        person.ignores = {}
        assert person.left is not None
        if person.stays:
            self._emptied.setdefault(person, []).extend(person.stays)
        for room, member in person.stays.items():
            if person.peer is not None:
                room.audience.discard(person.peer)
            self._close(member, person.left)
        person.stays = {}

    def _announce_left(self, person: Person) -> None:
        rooms = self._emptied.pop(person, ())
        if self._counted():
            for room in rooms:
                self._announce(b"left", person, room)
        super()._announce_left(person)

    # -- settings

    def _set(self, peer: Peer, label: bytes, sentence: str) -> None:
        """A setting has changed: the answer comes when the journal has it, and behind what was under way before."""
        person = peer.identity
        assert person is not None
        encode(person)
        if person.resumes:
            self._ledger.move(person)
        self._push(Post(peer, None, b"<done%s>%s\n" % (label, sentence.encode()), label, SETTING))

    def mute(self, peer: Peer, room: Room, label: bytes) -> None:
        """Nothing that is said in a room is shown to her live from now on."""
        person = peer.identity
        assert person is not None
        member = self.stay(person, room)
        if not member.muted:
            member.mute(self._last_id)
            room.audience.discard(peer)
            self._set_aside(person)
        how = f"<history>{room.name} shows what is said; <unmute>{room.name} ends it."
        self._set(peer, label, f"{room.name} is muted. {how}")

    def unmute(self, peer: Peer, room: Room, label: bytes) -> None:
        """What is said in a room is shown to her again."""
        person = peer.identity
        assert person is not None
        member = self.stay(person, room)
        if member.muted:
            member.unmute(self._last_id)
            if self._is_here(peer):
                room.audience.add(peer)
            self._set_aside(person)
        self._set(peer, label, f"{room.name} is not muted any more.")

    def ignore(self, peer: Peer, name: str, label: bytes) -> None:
        """Nothing that somebody of this name says is shown to her from now on.

        :raise RemoteProtocolError: ``bad-name``, ``name-reserved``, ``to-yourself`` or ``limit-reached``.
        """
        person = peer.identity
        assert person is not None
        if is_room(name):
            raise RemoteProtocolError("bad-name", f"That is a room. Type <mute>{name} to hear nothing of it.")
        key = names.check(name)
        if key == person.key:
            raise RemoteProtocolError("to-yourself", "That is you. Type <get_users> to see who else is here.")
        if key not in person.ignores:
            if len(person.ignores) >= IGNORES_LIMIT:
                raise RemoteProtocolError(
                    "limit-reached",
                    f"You ignore {IGNORES_LIMIT} names, and that is the most. <unignore> one first.",
                )
            person.ignores = {**person.ignores, key: (name, self._last_id)}
            self._ignored_by.setdefault(key, {})[person] = None
        self._set(peer, label, f"You are shown nothing of {name} from now on. <unignore>{name} ends it.")

    def unignore(self, peer: Peer, name: str, label: bytes) -> None:
        """What somebody of this name says is shown to her again."""
        person = peer.identity
        assert person is not None
        key = names.check(name)
        if key in person.ignores:
            since = person.ignores[key][1]
            if since < self._last_id:
                person.ignored = [*person.ignored, (key, since, self._last_id)][-IGNORED_LIMIT:]
            person.ignores = {other: value for other, value in person.ignores.items() if other != key}
            self._end_ignoring(person, key)
        self._set(peer, label, f"You do not ignore {name}.")

    def _end_ignoring(self, person: Person, key: str) -> None:
        ignoring = self._ignored_by[key]
        del ignoring[person]
        if not ignoring:
            del self._ignored_by[key]

    def hide(self, peer: Peer, what: str, label: bytes, hide: bool) -> None:
        """Let others see something of her, or no more; what she hides she is not shown of them either."""
        person = peer.identity
        assert person is not None
        person.hidden = person.hidden | {what} if hide else person.hidden - {what}
        person.listed = b""
        self._set(peer, label, f"You {'hide' if hide else 'show'} this: {what}.")

    def read_room(self, peer: Peer, room: Room, upto: int) -> None:
        """She has read what was said in one room up to a message.

        :raise RemoteProtocolError: ``not-in-room`` or ``not-sent``.
        """
        person = peer.identity
        assert person is not None
        member = self.stay(person, room)
        if upto > self._last_id:
            raise RemoteProtocolError("not-sent", f"There is no message {upto} yet.")
        if upto > member.read_upto:
            member.read = upto
            encode(person)
            if person.resumes:
                self._ledger.move(person)

    # -- fleeting

    def typing(self, peer: Peer, to: Person | Room) -> None:
        """She is about to say something: those who want to know are told with this turn; nobody keeps it."""
        person = peer.identity
        assert person is not None
        self._fleeting[person, to] = None

    def absent(self, peer: Peer, text: bytes) -> None:
        """She goes for a while, or is back (no text): the others are told with this turn; nobody keeps it."""
        person = peer.identity
        assert person is not None
        if text != person.absent:
            person.absent = text
            person.listed = b""
            self._fleeting[person, None] = None

    def tell_fleeting(self) -> None:
        """Once a turn, however often she said it: tell who is typing, and who is away; a crowd is not told."""
        fleeting, self._fleeting = self._fleeting, {}
        for person, to in fleeting:
            peer = person.peer
            if peer is None or person.arriving or person.left is not None:
                continue
            if to is None:
                self._tell_absent(peer, person)
            elif "typing" not in person.hidden and not (isinstance(to, Room) and is_crowd(len(to.audience))):
                line = b"<typing from=%s to=%s>\n" % (person.label, to.label)
                others = to.audience if isinstance(to, Room) else [to.peer] if to.peer is not None else []
                for other in others:
                    if other is not peer and other.types and self._shows(other, person, "typing"):
                        other.tell(line)

    def _tell_absent(self, peer: Peer, person: Person) -> None:
        if "away" in person.hidden or is_crowd(self._hearing()):
            return
        text = person.absent
        form = b"<absent from=%s>%s\n" if text else b"<present from=%s>%s\n"
        plain, full = form % (person.label, isolate(text)), form % (person.label, text)
        for other in self._members():
            if other is not peer and self._shows(other, person, "away"):
                other.tell(full if other.full else plain)

    def _shows(self, other: Peer, person: Person, what: str) -> bool:
        """Whether somebody is told such a thing of a person."""
        to = other.identity
        return to is not None and what not in to.hidden and person.key not in to.ignores

    def _end(self, person: Person) -> None:
        if "seen" not in person.hidden and not person.arriving:
            self._last_seen.pop(person.key, None)
            seen = self._seen(person)
            if seen is not None:
                self._last_seen[person.key] = seen
            if len(self._last_seen) > GONE_LIMIT:
                del self._last_seen[next(iter(self._last_seen))]
        super()._end(person)

    def _seen(self, person: Person) -> float | None:
        """When she last said something; of who is away, when she went; of who was away at the start nobody knows."""
        if person.unseen:
            return None
        return person.peer.since if person.peer is not None else self.roster.away.get(person, 0.0)

    def whois(self, asker: Person, name: str) -> tuple[Person | None, float | None]:
        """Who has this name, and when she, or the last who had it, was seen: seconds of the monotonic clock.

        :raise RemoteProtocolError: ``bad-name``, ``name-reserved`` or ``no-such-user``.
        """
        key = names.check(name)
        person = self.roster.find(name)
        hides = "seen" in asker.hidden
        if person is not None:
            shown = not hides and "seen" not in person.hidden
            return person, self._seen(person) if shown else None
        if hides or key not in self._last_seen:
            raise RemoteProtocolError(
                "no-such-user", "Nobody here has this name. Type <get_users> to see who is here."
            )
        return None, self._last_seen[key]
