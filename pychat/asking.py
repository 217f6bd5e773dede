"""What is asked: who is here, what was said, what became of it, what is unread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from . import __version__, names
from .conversation import id_of, limit_of, name_in, position
from .errors import RemoteProtocolError
from .grammar import Line, check_text, decode_name, isolate, require_clean
from .rendering import render_kept, stamp
from .requests import CountUnread, ListReceipts, ReadHistory, Search, WhoIs
from .rooms import is_room, places_of
from .roster import key_of
from .sharing import Sharing
from .vocabulary import (
    HISTORY_LIMIT,
    HISTORY_USUAL,
    SEARCH_LIMIT,
    SEARCH_USUAL,
    UNREAD_LIMIT,
    USERS_LIMIT,
    Found,
    Kept,
    Place,
    Query,
    Stretch,
    Unread,
)

if TYPE_CHECKING:
    from .peer import Person

HISTORY_BYTES = 128 * 1024
"""Bytes of lines in one answer, about; a page that is larger goes on in the next."""


class Asking(Sharing):
    """The commands that are answered with what there is."""

    __slots__ = ()

    # -- who

    def _do_get_users(self, line: Line, label: bytes) -> None:
        require_clean(line.text)
        name = decode_name(line.text)
        room = self.find_room(name) if is_room(name) else None
        # Who types gets all of it, unless she says otherwise.
        limit = (
            limit_of(line, USERS_LIMIT, USERS_LIMIT)
            if self.peer.full or b"limit" in line.attributes
            else None
        )
        after = name_in(line, b"more")
        lines, count, more = self.hub.users(self.person, room, key_of(after) if after else "", limit)
        if label:
            lines = lines.replace(b"<user", b"<user%s" % label)
        place = b" in=" + room.label if room else b""
        on = b" more=" + more if more else b""
        self.peer.answer(lines + b"<users%s%s count=%d%s>\n" % (label, place, count, on))

    def _do_get_rooms(self, line: Line, label: bytes) -> None:
        person = self.person
        lines = []
        for room in self.hub.rooms.listing():
            stay = person.stays.get(room)
            joined = b"" if stay is None else b" joined muted" if stay.muted else b" joined"
            lines.append(b"<room%s members=%d%s>%s\n" % (label, len(room.members), joined, room.label))
        lines.append(b"<rooms%s count=%d>\n" % (label, len(lines)))
        self.peer.answer(b"".join(lines))

    def _do_whois(self, line: Line, label: bytes) -> WhoIs:
        return WhoIs(decode_name(line.text), label)

    def described(self, request: WhoIs, now: float, now_ms: int) -> None:
        """Answer :class:`~pychat.requests.WhoIs`.

        :param now: seconds of the monotonic clock.
        :param now_ms: milliseconds of the wall clock since 1970, UTC.
        """
        label = request.label
        try:
            person, seen = self.hub.whois(self.person, request.name)
        except RemoteProtocolError as error:
            self.failed(error, label)
            return
        lines = b""
        state, name = b"gone", request.name.encode()
        if person is not None:
            state = b"away" if person in self.hub.roster.away else b"here"
            name = person.label
            if person.absent and "away" not in person.hidden | self.person.hidden:
                text = person.absent if self.peer.full else isolate(person.absent)
                lines = b"<absent%s from=%s>%s\n" % (label, name, text)
        when = b"" if seen is None else b" seen=" + stamp(now_ms - int(max(now - seen, 0) * 1000))
        self.peer.answer(lines + b"<whois%s state=%s%s>%s\n" % (label, state, when, name))

    # -- how the daemon is doing

    def _do_status(self, line: Line, label: bytes) -> None:
        hub = self.hub
        people, away = len(hub.roster), len(hub.roster.away)
        known = {"people": people - away, "away": away, "rooms": len(hub.rooms), "messages": hub.last_id}
        numbers = "".join(f" {name}={number}" for name, number in [*known.items(), *hub.measure()])
        self.peer.answer(b"<status%s version=%s%s>\n" % (label, __version__.encode(), numbers.encode()))

    # -- what became of it

    def _do_receipts(self, line: Line, label: bytes) -> ListReceipts:
        return ListReceipts(id_of(line), label)

    def receipts(self, id: int, states: Iterable[tuple[bytes, bytes]], label: bytes) -> None:
        """Answer :class:`~pychat.requests.ListReceipts`: names and how far the message is with each."""
        lines = [b"<recipient%s state=%s>%s\n" % (label, state, name) for name, state in states]
        lines.append(b"<receipts%s id=%d count=%d>\n" % (label, id, len(lines)))
        self.peer.answer(b"".join(lines))

    # -- what was said

    def _do_history(self, line: Line, label: bytes) -> ReadHistory:
        place, called = self.find_place(decode_name(line.text))
        before, after, more = (position(line, key) for key in (b"before", b"after", b"more"))
        if [before, after, more].count(None) < 2:
            raise RemoteProtocolError(
                "bad-attribute", "before=, after= and more= do not go together. Give one of them."
            )
        before = more if before is None else before
        return ReadHistory(place, called, before, after, limit_of(line, HISTORY_USUAL, HISTORY_LIMIT), label)

    def history(self, request: ReadHistory, stretch: Stretch) -> None:
        """Answer :class:`~pychat.requests.ReadHistory`; what people say whom she ignores is left out."""
        answer, count = self.page(request, stretch)
        if count or stretch.more or not self._meant_room(request.place, "<history>{}", request.label):
            self.peer.answer(answer)

    def page(self, request: ReadHistory, stretch: Stretch) -> tuple[bytes, int]:
        """A stretch of history as lines, with the closing one; and how many messages it has."""
        backwards = request.after is None
        messages = stretch.messages[::-1] if backwards else stretch.messages
        page, cut = self._fit(messages, request.label)
        more = messages[-1].id if cut is None and stretch.more and messages else cut
        count = len(page)
        if backwards:
            page.reverse()
        page.append(_closing(b"history", request.label, count, more, request.called))
        return b"".join(page), count

    def _fit(self, messages: Iterable[Kept], label: bytes) -> tuple[list[bytes], int | None]:
        """So many of these messages, rendered, as one answer has; and the id behind which it was cut, if it was."""
        page: list[bytes] = []
        lines = size = last = 0
        for kept in messages:
            if not self._ignored(kept):
                rendered = render_kept(kept, self.peer.manner, label)
                lines += rendered.count(b"\n")
                size += len(rendered)
                if page and (lines > HISTORY_LIMIT or size > HISTORY_BYTES):
                    return page, last
                page.append(rendered)
            last = kept.id
        return page, None

    def _ignored(self, kept: Kept) -> bool:
        ignores = self.person.ignores
        return (
            bool(ignores)
            and kept.entry.sender != self.person.id
            and key_of(kept.entry.sender_name) in ignores
        )

    def _do_search(self, line: Line, label: bytes) -> Search:
        check_text(line.text)
        if not any(map(str.isalnum, line.text.decode())):
            raise RemoteProtocolError(
                "bad-argument", "There is no word in that: words are letters and digits."
            )
        where, sender = name_in(line, b"in"), name_in(line, b"from")
        places: Sequence[Place] = places_of(self.person) if where is None else [self.find_place(where)[0]]
        key = "" if sender is None else names.check(sender)
        limit = limit_of(line, SEARCH_USUAL, SEARCH_LIMIT)
        without = frozenset(self.person.ignores)
        query = Query(line.text.decode(), places, key, without, position(line, b"more"), limit)
        return Search(query, label)

    def found_messages(self, request: Search, found: Found) -> None:
        """Answer :class:`~pychat.requests.Search`."""
        page, cut = self._fit(found.messages, request.label)
        more = found.more if cut is None else cut
        places = request.query.places
        nothing = not page and more is None and len(places) == 1
        if nothing and self._meant_room(places[0], "<search in={}>words", request.label):
            return
        page.append(_closing(b"search", request.label, len(page), more, request.query.words.encode()))
        self.peer.answer(b"".join(page))

    def _meant_room(self, place: Place, hint: str, label: bytes) -> bool:
        """Nothing was found with somebody: say so if there is nobody of this name, but a room; return whether."""
        owner, key = place
        room = self.hub.rooms.called(f"#{key}") if owner and key else None
        if room is None or not room.exists or self.hub.roster.find(key) is not None:
            return False
        sentence = f"Nobody here has this name. The name of a room begins with #: {hint.format(room.name)}"
        self.failed(RemoteProtocolError("no-such-user", sentence), label)
        return True

    def _do_unread(self, line: Line, label: bytes) -> CountUnread:
        return CountUnread(label)

    def unread(self, request: CountUnread, counts: Iterable[Unread]) -> None:
        """Answer :class:`~pychat.requests.CountUnread`."""
        lines = []
        for unread in counts:
            more = b" more" if unread.count >= UNREAD_LIMIT else b""
            name = self._called(unread)
            if name:
                lines.append(b"<new%s count=%d%s>%s\n" % (request.label, unread.count, more, name))
        lines.append(b"<unread%s count=%d>\n" % (request.label, len(lines)))
        self.peer.answer(b"".join(lines))

    def _called(self, unread: Unread) -> bytes:
        owner, peer = unread.place
        if peer:
            return unread.name.encode()
        room = self.hub.rooms.numbered(owner) if owner else None
        return b"all" if not owner else room.label if room else b""

    # -- whom she ignores

    def _do_ignore(self, line: Line, label: bytes) -> None:
        name = decode_name(line.text)
        if name:
            self.hub.ignore(self.peer, name, label)
            return
        lines = [b"<ignored%s>%s\n" % (label, name.encode()) for name, _ in self.person.ignores.values()]
        lines.append(b"<ignores%s count=%d>\n" % (label, len(lines)))
        self.peer.answer(b"".join(lines))


def _closing(verb: bytes, label: bytes, count: int, more: int | None, text: bytes) -> bytes:
    on = b"" if more is None else b" more=%d" % more
    return b"<%s%s count=%d%s>%s\n" % (verb, label, count, on, text)


def marks_of(person: Person, after: int) -> list[tuple[Place, int]]:
    """The group conversations of a person, and up to where she has read each."""
    return [((0, ""), after), *((room.place, stay.read_upto) for room, stay in person.stays.items())]
