"""Counting who has a message that went to everybody: from cursors, never from a row a member.

Theory of operation.  Every connection carries one :class:`Cursor`: the ids at which it joined and left, and
the highest ids that its peer's kernel has and that it acknowledged.  Ids rise, and a connection gets
messages in their order, so "how many have message M" is "how many cursors stand at M or above": one
bisect in a sorted list, sorted once for all messages that are being counted.

A cursor that joined after M and then received something also stands above M without ever having been owed
M.  Such cursors are those with ``joined >= M`` that ever moved, and a second sorted list subtracts them.
The sender of M is not owed M, nor is a member who ignores her: these few are subtracted by looking at each.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeAlias

COUNT_DEADLINE = 5.0
"""Seconds after which the sender is told the counts as they are."""

SETTLE_LIMIT = 2000
"""So many are counted at once: about 2 ms."""

CROWD = 250
"""Where more than so many stand, looking where that is, sorting and counting are done with pauses between: each takes a
millisecond for about a thousand."""

OPEN_LIMIT = 100_000
"""At most so many messages are counted at once; past it the oldest is told early."""

_NEVER: Final = 1 << 60
"""Above all ids."""


class AnyCursor(Protocol):
    """What is counted: see :class:`Cursor`."""

    @property
    def joined(self) -> int: ...

    @property
    def left(self) -> int | None: ...

    @property
    def lingers(self) -> bool: ...

    @property
    def sent(self) -> int: ...

    @property
    def acked(self) -> int: ...

    @property
    def plain(self) -> bool: ...


class Cursor:
    """How far one connection has come.  Ids are the journal's; 0 is before all of them."""

    __slots__ = ("acked", "joined", "left", "lingers", "plain", "sent")

    def __init__(self) -> None:
        self.joined = 0
        """The last id given out when it joined: it is owed what comes after."""
        self.left: int | None = None
        """The last id given out when it left; ``None`` while it is here."""
        self.lingers = False
        """It left, and its last bytes are still on their way."""
        self.sent = 0
        """The highest id whose bytes its peer's kernel has."""
        self.acked = 0
        """The highest id it acknowledged."""
        self.plain = True
        """It did not promise to acknowledge: for it *sent* is a verdict."""


Count: TypeAlias = "tuple[tuple[int, ...], Any, int, int, int, int]"
"""The verdict on a message to a group, or on each of several of one sender: a tuple, for there is one of every message.

Their ids; who is to be told; how many members were *sent* it; to how many it is *delivered*; how many are *gone*, who
left before it reached them; and *of* how many: the members at acceptance, less those who are not owed it.  The three in
between exclude each other.  When they add up to the last, nothing can change.
"""


class _Above:
    """Counts cursors at or above an id, less those that joined at or after it."""

    __slots__ = ("_joins", "_values")

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        """:param pairs: (cursor value, id at joining); values of 0 do not count."""
        moved = [pair for pair in pairs if pair[0]]
        self._values = sorted(value for value, _ in moved)
        self._joins = sorted(joined for _, joined in moved)

    def count(self, id: int) -> int:
        values, joins = self._values, self._joins
        return (len(values) - bisect_left(values, id)) - (len(joins) - bisect_left(joins, id))

    def until(self, id: int) -> int:
        """Up to which id the count is the same."""
        return min(_next(self._values, id), _next(self._joins, id))


def _next(values: Sequence[int], id: int) -> int:
    """The first of these, ascending, that is at or above an id."""
    place = bisect_left(values, id)
    return values[place] if place < len(values) else _NEVER


_Open: TypeAlias = "tuple[tuple[int, ...], object, int, float, Sequence[AnyCursor]]"


class GroupReceipts:
    """The messages to one group whose counts have not been told yet."""

    __slots__ = ("_departed", "_looked_at", "_messages", "_open")

    def __init__(self) -> None:
        self._open: deque[_Open] = deque()
        self._looked_at: list[_Open] = []  # by a settling that is not at its end, and not told
        self._departed: list[AnyCursor] = []
        self._messages = 0

    def __len__(self) -> int:
        return self._messages

    def open(
        self, ids: tuple[int, ...], sender: object, of: int, now: float, without: Sequence[AnyCursor]
    ) -> None:
        """Start to count messages that were accepted now.

        :param ids: of one; or of several that one sender said to the same members, with nothing between them: so who is
            not owed them stands before or behind them.
        :param sender: who is to be told.
        :param of: how many are owed it.
        :param without: cursors of the group that are not; the sender's, if she is of the group.
        """
        self._messages += len(ids)
        self._open.append((ids, sender, of, now + COUNT_DEADLINE, without))

    def departed(self, cursor: AnyCursor) -> None:
        """A connection left, with ``left`` set: it counts on with what it reached."""
        if self._messages:
            self._departed.append(cursor)

    def settle(self, members: Iterable[AnyCursor], now: float) -> Iterator[list[Count]]:
        """Count, and take out the messages whose counts are final or due, oldest first, some at a time.

        All are counted with the cursors as they stand at the beginning.
        """
        if self._looked_at:
            # One before this came to a sudden end.
            self._open.extendleft(reversed(self._looked_at))
            self._looked_at = []
        left = len(self._open)
        if not left:
            return
        oldest = self._open[0][0][0]
        gone = [cursor for cursor in self._departed if (cursor.left or 0) >= oldest]
        self._departed = gone
        # Looked at once: a cursor in a room asks its person for most of this, and moves on between two lots.
        stood = {c: (c.plain, c.sent, c.acked, c.joined) for c in (*members, *gone)}
        lost_ones = dict.fromkeys([cursor for cursor in gone if not cursor.lingers])
        gone_joined = sorted(c.joined for c in lost_ones)
        gone_left = sorted(c.left or 0 for c in lost_ones)
        gone_has = _Above((max(c.sent if c.plain else 0, c.acked), c.joined) for c in lost_ones)
        everybody, crowded = stood.values(), len(stood) > CROWD
        if crowded:
            yield []
        sent = _Above((sent, joined) for plain, sent, _, joined in everybody if plain)
        if crowded:
            yield []
        plain_acked = _Above((acked, joined) for plain, _, acked, joined in everybody if plain)
        if crowded:
            yield []
        acked = _Above((acked, joined) for _, _, acked, joined in everybody)
        if crowded:
            yield []
        nowhere = (False, 0, 0, 0)
        told: list[Count] = []
        excess = self._messages - OPEN_LIMIT
        all_delivered = all_reached = all_lost = 0  # of those up to the next, by all who are owed everything
        upto = -1
        looked_at = 0
        for number in range(1, left + 1):
            ids, sender, of, deadline, without = self._open.popleft()
            looked_at += len(ids)
            while ids:
                id = ids[0]
                if id > upto:
                    # Most cursors stand close together, so what holds for one message holds for many.
                    all_delivered = acked.count(id)
                    all_reached = sent.count(id) - plain_acked.count(id)
                    all_lost = bisect_left(gone_joined, id) - bisect_left(gone_left, id) - gone_has.count(id)
                    upto = min(
                        *[above.until(id) for above in (acked, sent, plain_acked, gone_has)],
                        _next(gone_joined, id), _next(gone_left, id),
                    )  # fmt: skip
                delivered, reached, lost = all_delivered, all_reached, all_lost
                for cursor in without:
                    plain, got, confirmed, _ = stood.get(cursor, nowhere)
                    if confirmed >= id:
                        delivered -= 1
                    elif plain and got >= id:
                        reached -= 1
                    elif lost_ones and cursor in lost_ones and (cursor.left or 0) >= id:
                        lost -= 1
                count = len(ids) if ids[-1] <= upto else bisect_right(ids, upto)
                final = reached + delivered + lost == of or deadline <= now
                if not final and excess > 0:
                    count = min(count, excess)
                    final = True
                some, ids = (ids, ()) if count == len(ids) else (ids[:count], ids[count:])
                if final:
                    told.append((some, sender, reached, delivered, lost, of))
                    self._messages -= count
                    excess -= count
                else:
                    self._looked_at.append((some, sender, of, deadline, without))
            if looked_at >= SETTLE_LIMIT and number < left:
                yield told
                told, looked_at = [], 0
        self._open.extendleft(reversed(self._looked_at))
        self._looked_at = []
        yield told
