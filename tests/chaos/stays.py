"""Who was in which room when, and who wanted to hear nothing of what: by the journal, and by the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from .history import Denied, Done, Journal, Move, Post


class Stays:
    """The members of each room at each of its messages, as the journal has it, of people whose stays it ends itself.

    :ivar wrong: moves that change nothing, which it must not keep.
    """

    def __init__(self, journal: Journal, people: Iterable[str]) -> None:
        self.wrong: list[Move] = []
        self._moves: dict[tuple[str, str], list[Move]] = defaultdict(list)
        self._there: dict[int, frozenset[str]] = {}
        self._people = frozenset(people)
        now: dict[str, frozenset[str]] = defaultdict(frozenset)
        said = [(id, post) for id, post in journal.posts.items() if post.room]
        moves = [(move.id, move) for move in journal.moves]
        for id, what in sorted([*said, *moves], key=itemgetter(0)):
            if isinstance(what, Post):
                self._there[id] = now[what.room]
                continue
            self._moves[what.who, what.room].append(what)
            if what.who in self._people:
                if what.joins == (what.who in now[what.room]):
                    self.wrong.append(what)
                others = now[what.room] - {what.who}
                now[what.room] = others | {what.who} if what.joins else others
            self._there[id] = now[what.room]

    def members(self, id: int) -> frozenset[str]:
        """Of the room in which this was said; behind a move of the one that it is about."""
        return self._there.get(id, frozenset())

    def moves(self, who: str, room: str) -> list[Move]:
        """How somebody joined and left a room."""
        return self._moves.get((who, room), [])

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Whoever was in a room of her own, and the room."""
        return iter(self._moves)


class Turn(NamedTuple):
    """Somebody was answered that she has joined a room, or left it."""

    joins: bool
    members: int
    """As she was told; 0 if she asked more than once, and what made her a member may have been any of these."""


class Door:
    """One person and one room, as far as she can know; she asks for one thing until she has an answer.

    :ivar inside: she is a member, by her last answer.
    :ivar turns: what the journal has to have.
    :ivar leaves: how often she asked to leave.
    """

    def __init__(self) -> None:
        self.inside = False
        self.turns: list[Turn] = []
        self.leaves = 0
        self._wish = ""
        self._asked = 0  # how often she asked for it

    def ask(self, verb: str) -> None:
        """She asks to ``join`` or to ``leave``, for the first time or again."""
        self.leaves += verb == "leave"
        self._asked = self._asked + 1 if verb == self._wish else 1
        self._wish = verb

    def done(self, event: Done) -> None:
        """She is answered."""
        joins = event.verb == "join"
        if joins != self.inside:
            self.turns.append(Turn(joins, event.members if self._asked == 1 else 0))
        self.inside = joins
        self._wish = ""

    def denied(self, event: Denied) -> bool:
        """She is refused; whether that may be: she has left already, and had not heard of it."""
        may = event.verb == "leave" and self._asked > 1 and event.code in ("not-in-room", "no-such-room")
        if may:
            self.done(Done(event.who, event.verb, event.what))
        self._wish = ""
        return may

    @property
    def waits(self) -> bool:
        """She has no answer yet."""
        return bool(self._wish)

    @property
    def mark(self) -> int:
        """For :meth:`may_refuse`, when she says something in the room."""
        return self.leaves if self.inside and self._wish != "leave" else -1

    def may_refuse(self, mark: int) -> bool:
        """Whether she may have been no member, at some time since then."""
        return self.leaves > mark


class _Period:
    """For so long she wanted to hear nothing of something."""

    __slots__ = ("above", "begun", "ended", "upto")

    def __init__(self, above: int) -> None:
        self.above = above
        """What is up to this id was said before she asked for it."""
        self.begun: int | None = None
        """When she was answered."""
        self.upto: int | None = None
        """What is up to this id was said before she asked to hear it again."""
        self.ended: int | None = None
        """When she was answered that."""

    def covers(self, id: int, said: int) -> bool:
        """Whether something was certainly said in it."""
        return self.begun is not None and said > self.begun and (self.upto is None or id <= self.upto)


class Quiet:
    """A room that somebody muted from time to time, or a name that she ignored.

    A setting counts from some moment between her asking and her answer.  What was known to anybody when she asked was
    said before it, and what is said when she has her answer is said behind it; in between it may be either.
    """

    def __init__(self) -> None:
        self._periods: list[_Period] = []
        self._over = False  # what was kept from her may be shown now

    def ask(self, quiet: bool, newest: int) -> None:
        """She asks for silence, or to hear again.

        :param newest: the highest id that anybody knows.
        """
        last = self._periods[-1] if self._periods else None
        if quiet and (last is None or last.upto is not None):
            self._periods.append(_Period(newest))
            self._over = False
        elif not quiet and last is not None and last.upto is None:
            last.upto = newest

    def done(self, quiet: bool, now: int) -> None:
        """She is answered.

        :param now: the number of this event.
        """
        last = self._periods[-1]
        if quiet and last.begun is None:
            last.begun = now
        elif not quiet and last.ended is None:
            last.ended = now

    def forget(self) -> None:
        """What was kept from her until now may be shown to her."""
        self._over = True

    def may_be(self, id: int, said: int) -> bool:
        """Whether something may have been kept from her.

        :param said: the number of the event that it was said.
        """
        return any(
            id > period.above and (period.ended is None or said < period.ended) for period in self._periods
        )

    def must_be(self, id: int, said: int) -> bool:
        """Whether something was certainly kept from her, when it was accepted."""
        return any(period.covers(id, said) for period in self._periods)

    def must_not_be_shown(self, id: int, said: int) -> bool:
        """Whether something must not be shown to her now; the daemon remembers the last period only."""
        return not self._over and bool(self._periods) and self._periods[-1].covers(id, said)
