"""The journal of one process: the newest messages in memory, for those who want no trace of what was said."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice, takewhile
from operator import attrgetter

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from ..interfaces import IJournal
from ..roster import key_of
from ..vocabulary import (
    EVERYBODY,
    UNREAD_LIMIT,
    Entry,
    Found,
    Kept,
    Kind,
    OnceKey,
    Page,
    Place,
    Query,
    RoomRecord,
    Standing,
    Stay,
    Stretch,
    Texts,
    Unread,
)
from .ring import Ring
from .words import SEARCH_ROWS, first_words, sought, spaced, split, tokenize

ENTRIES_LIMIT = 10_000
"""Messages that are remembered; the oldest go first."""

BYTES_LIMIT = 8 * 1024 * 1024
"""Bytes of their texts."""

SEARCH_BYTES = 100_000
"""Bytes of texts that one search looks into, about: all others wait for it."""

ENDED_LIMIT = 10_000
"""Identities that are remembered after their end."""

_SHOWN = (Kind.SAID, Kind.REACT)
_CHANGING = (Kind.EDIT, Kind.RETRACT)
_TEXTS = (Kind.SAID, Kind.EDIT)


@implementer(IJournal)
class MemoryJournal:
    """Gives out ids, and forgets what is old.  Accepted then means: in the memory of this one process."""

    durable = False
    last_identity = 0
    living: Sequence[Standing] = ()
    rooms: Sequence[RoomRecord] = ()
    stays: Sequence[Stay] = ()

    def __init__(self) -> None:
        self.last_room = 0
        self._ring = Ring()
        self._living: dict[int, Standing] = {}
        self._ended: OrderedDict[int, Standing] = OrderedDict()
        self._changes: dict[int, tuple[int, int]] = {}
        self._stays = _Stays()

    @property
    def last_id(self) -> int:
        """See :attr:`IJournal.last_id`."""
        return self._ring.newest

    @property
    def oldest(self) -> int:
        """See :attr:`IJournal.oldest`."""
        return self._ring.oldest

    def append(
        self, entries: Sequence[Entry | Texts], standings: Sequence[Standing] = ()
    ) -> Deferred[Sequence[int]]:
        """See :meth:`IJournal.append`; never fails."""
        first = self.last_id + 1
        for id, entry in self._ring.add(entries):
            self._project(id, entry)
        for id, entry in self._ring.trim(ENTRIES_LIMIT, BYTES_LIMIT):
            # That a message was taken back has to be known for as long as there are edits of it.
            if entry.kind in _CHANGING and max(self._changes.get(entry.ref, (0, 0))) == id:
                del self._changes[entry.ref]
        for standing in standings:
            self._keep(standing)
        self._stays.forget(self.oldest)
        return succeed(range(first, self.last_id + 1))

    def _project(self, id: int, entry: Entry) -> None:
        if entry.kind in _CHANGING:
            edit, retract = self._changes.get(entry.ref, (0, 0))
            if entry.ref < self.oldest or retract:
                return
            self._changes[entry.ref] = (id, 0) if entry.kind == Kind.EDIT else (edit, id)
        elif entry.kind == Kind.JOIN and entry.to is not None:
            self.last_room = min(self.last_room, entry.to)
            self._stays.begin(Stay(entry.to, entry.sender, id))
        elif entry.kind == Kind.LEAVE and entry.to is not None:
            self._stays.end(entry.sender, entry.to, id)

    def _keep(self, standing: Standing) -> None:
        id = standing.id
        if standing.left is None:
            self._living[id] = standing
            self._ended.pop(id, None)
            return
        self._stays.end_all(id, standing.left)
        self._living.pop(id, None)
        self._ended[id] = standing
        if len(self._ended) > ENDED_LIMIT:
            self._ended.popitem(last=False)

    def _newest_first(
        self, above: int, before: int | None, plain: bool = True
    ) -> Iterator[tuple[int, Entry]]:
        below = self.last_id + 1 if before is None else min(before, self.last_id + 1)
        return takewhile(lambda one: one[0] > above, self._ring.down(below, plain))

    def read(
        self, identity: int, after: int, limit: int, private: bool = False, rooms: Sequence[int] = ()
    ) -> Deferred[Page]:
        """See :meth:`IJournal.read`; never fails."""
        wanted = {*rooms}
        messages: list[tuple[int, Entry]] = []
        upto = self.last_id
        for id, entry in self._ring.up(after, plain=not private):
            to = entry.to
            if private:
                mine = to is not None and to > 0 and identity in (to, entry.sender)
            else:
                mine = to is None or identity in (to, entry.sender) or to in wanted
            if mine:
                messages.append((id, entry))
                if len(messages) >= limit:
                    upto = id
                    break
        return succeed(Page(messages, upto, self.oldest, self._retracted(messages)))

    def _retracted(self, messages: Sequence[tuple[int, Entry]]) -> frozenset[int]:
        changes = self._changes
        if not changes:
            return frozenset()
        about = (
            (id, entry.ref if entry.kind == Kind.EDIT else id)
            for id, entry in messages
            if entry.kind in _TEXTS
        )
        return frozenset(id for id, ref in about if changes.get(ref, (0, 0))[1])

    def look_up(self, ids: Sequence[int]) -> Deferred[Sequence[Kept]]:
        """See :meth:`IJournal.look_up`; never fails."""
        return succeed(
            [
                self._kept(id, self._ring.entry(id))
                for id in sorted({*ids})
                if self.oldest <= id <= self.last_id
            ]
        )

    def _kept(self, id: int, entry: Entry) -> Kept:
        edit, retract = self._changes.get(id, (0, 0))
        if retract:
            return Kept(id, entry._replace(text=b""), 0, retract)
        if edit:
            return Kept(id, entry._replace(text=self._ring.entry(edit).text), edit)
        return Kept(id, entry)

    def history(self, place: Place, before: int | None, after: int | None, limit: int) -> Deferred[Stretch]:
        """See :meth:`IJournal.history`; never fails."""
        plain = place[0] == EVERYBODY[0]
        walk = self._newest_first(0, before, plain) if after is None else self._ring.up(after, plain)
        shown = (one for one in walk if one[1].kind in _SHOWN and _said_in(one[1], place))
        found = [*islice(shown, limit + 1)]
        page = sorted(found[:limit], key=lambda one: one[0])
        return succeed(Stretch([self._kept(*one) for one in page], len(found) > limit))

    def search(self, query: Query) -> Deferred[Found]:
        """See :meth:`IJournal.search`; never fails."""
        pieces = first_words((tokenize(text), beginning) for text, beginning in split(query.words))
        wanted = [sought(*piece) for piece in pieces]
        found: list[Kept] = []
        if not wanted:
            return succeed(Found(found, None))
        places = {*query.places}
        owners = {owner for owner, _ in places if owner > 0}
        looked = read = last = 0
        for id, entry in self._newest_first(0, query.before):
            if entry.kind != Kind.SAID or not _said_in_any(entry, places, owners):
                continue
            if len(found) >= query.limit or looked >= SEARCH_ROWS or read >= SEARCH_BYTES:
                return succeed(Found(found, last))
            looked += 1
            last = id
            if query.sender and key_of(entry.sender_name) != query.sender:
                continue
            if query.without and key_of(entry.sender_name) in query.without:
                continue
            kept = self._kept(id, entry)
            read += len(kept.entry.text)
            text = spaced(tokenize(kept.entry.text.decode("utf-8", "replace")))
            if not kept.retracted and all(words in text for words in wanted):
                found.append(kept)
        return succeed(Found(found, None))

    def unread(
        self, identity: int, after: int, marks: Sequence[tuple[Place, int]], without: Collection[str]
    ) -> Deferred[Sequence[Unread]]:
        """See :meth:`IJournal.unread`; never fails."""
        above = dict(marks)
        counts: dict[Place, int] = dict.fromkeys(above, 0)
        names: dict[Place, str] = {}
        for id, entry in self._newest_first(min([after, *above.values()]), None):
            if entry.kind not in _SHOWN:
                continue
            if entry.to is None or entry.to < 0:
                place = EVERYBODY if entry.to is None else (entry.to, "")
                if place not in above:
                    continue
                mark = above[place]
            elif identity in (entry.to, entry.sender):
                if entry.blocked and entry.sender != identity:
                    continue
                other = (entry.to_name or "") if entry.sender == identity else entry.sender_name
                place, mark = (identity, key_of(other)), after
                names.setdefault(place, other)
            else:
                continue
            counts[place] = counts.get(place, 0) + (
                id > mark
                and entry.kind == Kind.SAID
                and entry.sender != identity
                and key_of(entry.sender_name) not in without
                and not self._changes.get(id, (0, 0))[1]
            )
        order = [
            *above,
            *sorted((place for place in counts if place not in above), key=lambda place: place[1]),
        ]
        return succeed(
            [
                Unread(place, names.get(place, ""), min(counts[place], UNREAD_LIMIT))
                for place in order
                if counts[place]
            ]
        )

    def standings(self, ids: Sequence[int]) -> Deferred[Sequence[Standing]]:
        """See :meth:`IJournal.standings`; never fails."""
        found = (self._living.get(id) or self._ended.get(id) for id in sorted({*ids}))
        return succeed([standing for standing in found if standing is not None])

    def owed(self, id: int, room: int | None = None) -> Deferred[Sequence[Standing]]:
        """See :meth:`IJournal.owed`; never fails."""
        if room is not None:
            return self.standings(self._stays.owed(id, room))
        found = [
            standing
            for standings in (self._ended, self._living)
            for standing in standings.values()
            if standing.joined < id and (standing.left is None or standing.left >= id)
        ]
        return succeed(sorted(found, key=attrgetter("id")))

    def keys(
        self, since_ms: int, identities: Sequence[int], before: int | None
    ) -> Deferred[tuple[Sequence[OnceKey], int | None]]:
        """See :meth:`IJournal.keys`; never fails, and gives all at once."""
        wanted = {*identities}
        keys = [
            OnceKey(entry.sender, entry.once, id, entry.to, entry.to_name, entry.text, entry.kind, entry.ref)
            for id, entry in self._ring.up(0, plain=False)
            if entry.once and entry.time_ms >= since_ms and entry.sender in wanted
        ]
        return succeed((keys[::-1], None))

    def close(self) -> Deferred[None]:
        """See :meth:`IJournal.close`."""
        return succeed(None)


def _said_in(entry: Entry, place: Place) -> bool:
    owner, peer = place
    if owner <= 0:
        return (entry.to or 0) == owner
    if entry.to is None or entry.to < 0:
        return False
    if entry.sender == owner and (not peer or key_of(entry.to_name or "") == peer):
        return True
    return entry.to == owner and not entry.blocked and (not peer or key_of(entry.sender_name) == peer)


def _said_in_any(entry: Entry, places: Collection[Place], owners: Collection[int]) -> bool:
    """:func:`_said_in` one of these, which may be hundreds; ``owners`` are the identities among them."""
    to = entry.to
    if to is None or to < 0:
        return (to or 0, "") in places
    sender = entry.sender
    if sender in owners and ((sender, "") in places or (sender, key_of(entry.to_name or "")) in places):
        return True
    return (
        to in owners
        and not entry.blocked
        and ((to, "") in places or (to, key_of(entry.sender_name)) in places)
    )


class _Stays:
    """Who is and was in which room, for as long as there is a message that somebody was owed."""

    def __init__(self) -> None:
        self._open: dict[int, dict[int, Stay]] = {}
        self._rooms: dict[int, set[int]] = {}
        self._past: deque[Stay] = deque()

    def begin(self, stay: Stay) -> None:
        self._open.setdefault(stay.room, {})[stay.identity] = stay
        self._rooms.setdefault(stay.identity, set()).add(stay.room)

    def end(self, identity: int, room: int, left: int) -> None:
        members = self._open.get(room, {})
        stay = members.pop(identity, None)
        if stay is None:
            return
        self._past.append(replace(stay, left=left))
        if not members:
            del self._open[room]
        rooms = self._rooms[identity]
        rooms.discard(room)
        if not rooms:
            del self._rooms[identity]

    def end_all(self, identity: int, left: int) -> None:
        for room in [*self._rooms.get(identity, ())]:
            self.end(identity, room, left)

    def forget(self, oldest: int) -> None:
        while self._past and (self._past[0].left or 0) < oldest:
            self._past.popleft()

    def owed(self, id: int, room: int) -> list[int]:
        stays = [*self._open.get(room, {}).values(), *(stay for stay in self._past if stay.room == room)]
        return [
            stay.identity for stay in stays if stay.joined < id and (stay.left is None or stay.left >= id)
        ]
