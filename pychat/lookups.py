"""What sessions ask of the journal: history, searches, receipts, unread counts, single messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from . import fate
from .asking import marks_of
from .errors import PychatError, RemoteProtocolError
from .hub import Hub
from .interfaces import IJournal
from .personal import ignores, kept_from
from .requests import CountUnread, FromJournal, ListReceipts, LookUp, ReadHistory, Search
from .roster import key_of
from .vocabulary import HISTORY_AT_JOIN, Entry, Kept, Kind, Standing, Stretch

if TYPE_CHECKING:
    from .peer import Person
    from .session import Session


AT_JOIN_READ = 5 * HISTORY_AT_JOIN
"""Messages and reactions that are looked at for the last messages: a newcomer is told no reactions."""


class Lookups:
    """Answers one hub's sessions from one journal."""

    def __init__(self, hub: Hub, journal: IJournal) -> None:
        self._hub = hub
        self._journal = journal

    def carry_out(self, request: FromJournal, session: Session) -> Deferred[None]:
        """Do what a session asks for and give it the answer."""
        return Deferred.fromCoroutine(self._carry_out(request, session))

    async def _carry_out(self, request: FromJournal, session: Session) -> None:
        person = session.peer.identity
        if person is None:
            return
        try:
            answer = await self._look(request, person)
        except PychatError as error:
            if not session.closing:
                session.failed(error, request.label)
            return
        if session.closing or session.peer.identity is not person:
            return
        if isinstance(request, ListReceipts):
            session.receipts(request.id, answer, request.label)
        elif isinstance(request, LookUp):
            session.looked_up(request, answer[0] if answer else None)
        elif isinstance(request, ReadHistory):
            session.history(request, answer)
        elif isinstance(request, Search):
            session.found_messages(request, answer)
        else:
            session.unread(request, answer)

    async def _look(self, request: FromJournal, person: Person) -> Any:
        journal = self._journal
        if isinstance(request, ListReceipts):
            return await self._receipts(request.id, person)
        if isinstance(request, LookUp):
            return await self._look_up(request.id)
        if isinstance(request, ReadHistory):
            return await journal.history(request.place, request.before, request.after, request.limit)
        if isinstance(request, Search):
            return await journal.search(request.query)
        assert isinstance(request, CountUnread)
        after = person.seen_upto
        return await journal.unread(person.id, after, marks_of(person, after), frozenset(person.ignores))

    async def tell_entered(self, session: Session, called: bytes, place: tuple[int, str], id: int) -> None:
        """Tell somebody who joined a room, as the journal's entry of this id says, what was said there before."""
        request = ReadHistory(place, called, id, None, HISTORY_AT_JOIN, b"")
        found = await self._journal.history(place, id, None, AT_JOIN_READ)
        said = [kept for kept in found.messages if kept.entry.kind == Kind.SAID]
        more = found.more or len(said) > HISTORY_AT_JOIN
        stretch = Stretch(said[-HISTORY_AT_JOIN:], more)
        if session.closing or session.peer.identity is None:
            return
        answer, count = session.page(request, stretch)
        if count:
            session.peer.tell(answer)

    async def _look_up(self, id: int) -> Sequence[Kept]:
        return await self._journal.look_up([id]) if id <= self._hub.last_id else ()

    # -- who has a message

    async def _receipts(self, id: int, person: Person) -> list[tuple[bytes, bytes]]:
        found = await self._look_up(id)
        entry = found[0].entry if found else None
        if entry is None or entry.sender != person.id or entry.kind >= Kind.TOPIC:
            raise RemoteProtocolError(
                "no-such-message", "No message of yours has this id, or it is not kept any more."
            )
        return await self._states(id, entry)

    async def _states(self, id: int, entry: Entry) -> list[tuple[bytes, bytes]]:
        """Names, and how far a message has come with each."""
        hub, told = self._hub, self._hub.told
        kept: dict[int, Standing | None] = {}
        living: Iterable[Person]
        if entry.to is None:
            kept = {standing.id: standing for standing in await self._journal.owed(id)}
            living = hub.owed(id)
        elif entry.to < 0:
            kept = {standing.id: standing for standing in await self._journal.owed(id, entry.to)}
            living = hub.owed_in(entry.to, id, kept)
        else:
            living = [person for person in (hub.roster.numbered(entry.to),) if person is not None]
            if not living:
                kept[entry.to] = None
                kept.update({standing.id: standing for standing in await self._standings(kept)})
        if entry.to is None or entry.to < 0:
            key = key_of(entry.sender_name)
            living = [person for person in living if not ignores(person, key, id)]
            kept = {each: how for each, how in kept.items() if how is None or not kept_from(how, key, id)}
        due = hub.due()
        states = {person.id: (person.label, fate.of_living(person, id, told)) for person in living}
        for number, standing in kept.items():
            if hub.roster.numbered(number):
                continue
            name = (standing.name if standing else entry.to_name or "").encode()
            state, reason = fate.of_kept(standing, id, told, number <= hub.roster.first_identity)
            if number in due:
                state = fate.WAITING
            states[number] = (name, fate.UNKNOWN if reason == fate.UNKNOWN else state)
        states.pop(entry.sender, None)
        if entry.blocked:
            states = {number: (name, fate.UNDELIVERED) for number, (name, _) in states.items()}
        return sorted(states.values())

    async def _standings(self, ids: Iterable[int]) -> Any:
        wanted = sorted(ids)
        return await self._journal.standings(wanted) if wanted else ()
