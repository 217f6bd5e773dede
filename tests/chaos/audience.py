"""Who was to be shown what: memberships of rooms, and what people muted and ignored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set
from sys import maxsize

from pychat.vocabulary import Kind

from .faults import BROKEN, LEAKED, LOST, OPEN, UNTRUE, Tell
from .history import Asked, Cast, Denied, Done, Journal, Post, Shown
from .stays import Door, Quiet, Stays

SILENCES = {"mute": True, "ignore": True, "unmute": False, "unignore": False}
"""Which verbs ask for silence, and which for an end of it."""


class Audience:
    """What people were to be shown, by the journal and by what they were answered.

    Who comes back is a member of a room as the journal has it, and the journal has to have what she was answered.  Who
    cannot come back is a member from one answer to another one, on one connection.

    :ivar visitors: of each room, who was in it and cannot come back.
    """

    def __init__(self, cast: Cast, journal: Journal, fault: Tell) -> None:
        self.visitors: dict[str, set[str]] = defaultdict(set)
        self._cast = cast
        self._blocked = journal.blocked
        self._stays = Stays(journal, cast.resuming)
        self._fault = fault
        self._doors: dict[tuple[str, str], Door] = defaultdict(Door)
        self._quiet: dict[str, dict[str, Quiet]] = defaultdict(dict)
        self._said: dict[Post, int] = {}  # when: the number of the event
        self._marks: dict[Post, int] = {}
        self._taken_back: set[int] = set()

    # -- what happens

    def say(self, post: Post, now: int) -> None:
        """Something is said.

        :param now: the number of this event.
        """
        self._said[post] = now
        if post.room and post.sender in self._cast.resuming:
            self._marks[post] = self._doors[post.sender, post.room].mark
        if post.kind == Kind.RETRACT:
            self._taken_back.add(post.ref)

    def ask(self, event: Asked | Done | Denied, now: int, newest: int) -> None:
        """Somebody asks for something, or is answered.

        :param newest: the highest id that anybody knows.
        """
        if event.verb in SILENCES:
            quiet = self._quiet[event.who].setdefault(event.what, Quiet())
            self._set(event, quiet, SILENCES[event.verb], now, newest)
            return
        self._turn(event)
        quiet = self._quiet.get(event.who, {}).get(event.what)
        if event.verb == "leave" and quiet is not None:
            # Whoever leaves a room and joins it again hears what is said in it.
            self._set(event, quiet, False, now, newest)

    def _set(self, event: Asked | Done | Denied, quiet: Quiet, begins: bool, now: int, newest: int) -> None:
        if isinstance(event, Asked):
            quiet.ask(begins, newest)
            if event.verb == "unignore":
                quiet.forget()
        elif isinstance(event, Done) or event.verb == "leave":
            quiet.done(begins, now)
        else:
            self._fault(LOST, f"{event.who} was refused to {event.verb} {event.what} with {event.code}")

    def _turn(self, event: Asked | Done | Denied) -> None:
        who, room = event.who, event.what
        door = self._doors[who, room]
        if isinstance(event, Asked):
            door.ask(event.verb)
            name = _name(who)
            if name in self._cast.bystanders:
                self.visitors[room].add(name)
        elif isinstance(event, Done):
            door.done(event)
        elif not door.denied(event):
            self._fault(LOST, f"{who} was refused to {event.verb} {room} with {event.code}")

    # -- what may be, and what has to be

    def may_refuse(self, post: Post, code: str) -> bool:
        """Whether a post may have been impossible: a bystander has gone, she left the room, it was taken back."""
        if code == "no-such-user":
            return post.person in self._cast.bystanders
        if code == "blocked":
            # What she has already cannot be changed while she ignores its sender.
            private = post.kind == Kind.EDIT and post.person in self._cast.resuming
            return private and bool(self.maybe_spared(maxsize, post, {post.person}))
        left = post in self._marks and self._doors[post.sender, post.room].may_refuse(self._marks[post])
        if post.kind == Kind.SAID:
            return left and code in ("not-in-room", "no-such-room")
        return code == "no-such-message" and (left or post.ref in self._taken_back)

    def may_see(self, event: Shown) -> bool:
        """Whether she was in the room, if it was said in one."""
        if not event.post.room:
            return True
        if event.who in self._cast.resuming:
            return event.who in self._stays.members(event.id)
        return self._doors[event.screen, event.post.room].inside

    def must_not_hear(self, event: Shown) -> bool:
        """Whether she was to be spared it."""
        post, id = event.post, event.id
        return id in self._blocked or any(
            quiet.must_not_be_shown(id, self._said[post]) for quiet in self._silences(event.who, post)
        )

    def members(self, id: int, post: Post) -> Set[str]:
        """For whom it was of those who come back, also if they wanted not to hear it."""
        if post.person:
            return self._cast.resuming & {post.person}
        everybody: Set[str] = self._stays.members(id) if post.room else self._cast.resuming
        return everybody - {post.sender}

    def owed(self, id: int, post: Post) -> Set[str]:
        """Who of them certainly has to be shown it."""
        if post.person:
            return set() if id in self._blocked else self.members(id, post)
        members = self.members(id, post)
        return members - self.maybe_spared(id, post, members)

    def maybe_spared(self, id: int, post: Post, names: Set[str]) -> set[str]:
        """Who of these may have wanted not to hear it."""
        said = self._said[post]
        return {
            name
            for name in names & self._quiet.keys()
            if any(quiet.may_be(id, said) for quiet in self._silences(name, post))
        }

    def surely_spared(self, id: int, post: Post, names: Set[str]) -> set[str]:
        """Who of these certainly wanted not to hear it."""
        said = self._said[post]
        return {
            name
            for name in names & self._quiet.keys()
            if any(quiet.must_be(id, said) for quiet in self._silences(name, post))
        }

    def _silences(self, who: str, post: Post) -> list[Quiet]:
        """Those that decide whether she hears this: of its sender, and of its room."""
        mine = self._quiet.get(who)
        return [mine[what] for what in (post.sender, post.room) if what in mine] if mine else []

    # -- the end

    def look(self) -> None:
        """Whether the journal has what people were answered of rooms, and nothing else."""
        for move in self._stays.wrong:
            self._fault(BROKEN, f"the journal has {move}, and so it was before")
        answered: dict[tuple[str, str], int] = defaultdict(int)
        for (who, room), door in self._doors.items():
            if who in self._cast.resuming:
                self._look_at_door(who, room, door)
            else:
                answered[_name(who), room] += sum(turn.joins for turn in door.turns)
        for who, room in self._stays:
            if who in self._cast.resuming and (who, room) not in self._doors:
                self._fault(BROKEN, f"the journal has {who} in {room}, who never asked for it")
        for (who, room), times in answered.items():
            kept = sum(move.joins for move in self._stays.moves(who, room))
            if kept < times:
                self._fault(LOST, f"{who} joined {room} {times} times, and the journal has {kept} of these")

    def _look_at_door(self, who: str, room: str, door: Door) -> None:
        turns, moves = door.turns, self._stays.moves(who, room)
        if door.waits:
            self._fault(OPEN, f"{who} has no answer to what she asked of {room}")
        elif len(turns) != len(moves):
            which = LOST if len(turns) > len(moves) else BROKEN
            what = f"{who} joined and left {room} {len(turns)} times, and the journal has {len(moves)}"
            self._fault(which, what)
        for turn, move in zip(turns, moves, strict=False):
            if turn.joins != move.joins:
                self._fault(LOST, f"{who} was answered {turn}, and the journal has {move}")
                return
            least = len(self._stays.members(move.id))
            if turn.members and not least <= turn.members <= least + len(self.visitors[room]):
                self._fault(UNTRUE, f"{who} was answered {turn}, and {room} had {least}")

    def look_at_ignored(self, id: int, post: Post, name: str) -> None:
        """Whether a private message was rightly kept from its recipient, or given to her."""
        if post.person and post.ref in self._blocked:
            # What is about something that was kept from her is, too, whomever she ignores by then.
            if id not in self._blocked:
                self._fault(
                    LEAKED, f"{name} ({id}) was not kept from {post.person}, who does not have {post.ref}"
                )
        elif id in self._blocked:
            if not self.maybe_spared(id, post, {post.person}):
                self._fault(LOST, f"{name} ({id}) was kept from {post.person}, who did not ask for it")
        elif post.person and self.surely_spared(id, post, {post.person}):
            self._fault(LEAKED, f"{name} ({id}) was not kept from {post.person}, who had asked for it")


def _name(who: str) -> str:
    """Whose screen this is."""
    return who.partition("#")[0]
