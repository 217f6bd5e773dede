"""Everything that is read back from the journal: what was missed, what became of a message, who has it.

Theory of operation.  The hub says who came back (:attr:`Members.returning`), whose time was over
(:attr:`Members.expired`) and who read what (:attr:`Hub.reads`).  For each a coroutine walks through the journal page by
page, and hands what it finds to the hub or to those whom it concerns.  A connection that takes what it missed
slowly, or does not acknowledge it, gets its next page when there is room.

A verdict that a sender could not be told is stored nowhere: it follows from the journal, which has the message, and
from the cursors of its recipient, which the journal has too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from . import fate
from .errors import JournalError
from .hub import Hub
from .interfaces import IJournal
from .lookups import Lookups
from .once import has_room
from .peer import Peer
from .session import Session
from .vocabulary import Entry

if TYPE_CHECKING:
    from .peer import Person
    from .rooms import Room

PAGE = 250
"""Messages read at once."""

QUEUED_MARK = 128 * 1024
"""Bytes queued for a connection above which it gets no further page."""

UNACKED_MARK = 1024 * 1024
"""Bytes that a connection has not acknowledged above which it gets no further page."""

KEYS_LIMIT = 200_000
"""``once=`` keys of earlier runs that are remembered in all: the newest."""

AGAIN_LIMIT = 1000
"""Errands that wait for the journal to be readable again; the oldest is given up first."""

KEYS_AGE_MS = 24 * 3600 * 1000
"""For so long ``once=`` keys are remembered across restarts."""

Errand: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Connection(Protocol):
    """What is asked of a connection besides taking what it is told; the ``owner`` of a :class:`Peer`."""

    session: Session

    def end(self, code: str = "", sentence: str = "") -> None:
        """Say goodbye and close."""


class Reading:
    """What one hub wants to know from one journal."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, hub: Hub, journal: IJournal, wake: Callable[[], None]) -> None:
        """:param wake: called when mailboxes got something."""
        self._clock = clock
        self._hub = hub
        self._journal = journal
        self._wake = wake
        self.lookups = Lookups(hub, journal)
        """Answers what sessions ask for."""
        self._waiting: dict[Peer, Deferred[None]] = {}
        self._unsure: dict[Peer, tuple[Person, set[int], Deferred[None]]] = {}
        self._again: list[Errand] = []
        self._since_ms = 0
        self._keys_unread = False

    def begin(self, now_ms: int) -> None:
        """Learn what people who can come back posted in earlier runs.

        :param now_ms: milliseconds of the wall clock since 1970, UTC.
        """
        self._since_ms = now_ms - KEYS_AGE_MS
        if not self._hub.ready:
            self._run(self._learn_keys())

    def look(self) -> None:
        """Take up what the hub has for us, and go on where there is room now."""
        hub = self._hub
        while hub.entered:
            self._run(self._tell_entered(*hub.entered.pop()))
        while hub.returning:
            self._run(self._catch_up(hub.returning.pop()))
        while hub.expired:
            self._do(partial(self._tell_lost, *hub.expired.pop()))
        while hub.reads:
            self._do(partial(self._tell_read, *hub.reads.pop()))
        for peer in [peer for peer in self._waiting if self._has_room(peer)]:
            self._waiting.pop(peer).callback(None)
        if self._unsure:
            due = hub.due()
            for peer, (person, recipients, known) in [*self._unsure.items()]:
                if person.peer is not peer or recipients.isdisjoint(due):
                    del self._unsure[peer]
                    known.callback(None)

    def retry(self) -> None:
        """From time to time: do what failed because the journal could not be read."""
        if self._keys_unread:
            self._run(self._learn_keys())
        again, self._again = self._again, []
        for errand in again:
            self._do(errand)

    def _do(self, errand: Errand) -> None:
        """Run an errand; if the journal cannot be read, again later."""

        async def attempt() -> None:
            try:
                await errand()
            except JournalError as error:
                self._log.error("cannot read: {error}", error=error)
                self._again.append(errand)
                del self._again[:-AGAIN_LIMIT]

        self._run(attempt())

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        def broken(failure: Any) -> None:
            self._log.failure("reading the journal failed in a way that nobody foresaw", failure)

        Deferred.fromCoroutine(coroutine).addErrback(broken)

    async def _messages(
        self, person: Person, after: int, upto: int
    ) -> AsyncIterator[list[tuple[int, Entry]]]:
        """The private messages to her or from her above one id and up to another, page by page."""
        while after < upto:
            page = await self._journal.read(person.id, after, PAGE, private=True)
            yield [(id, entry) for id, entry in page.messages if id <= upto]
            after = page.upto

    # -- coming back

    async def _learn_keys(self) -> None:
        self._keys_unread = False
        try:
            await self._read_keys()
        except JournalError as error:
            self._log.error("cannot read: {error}", error=error)
            self._keys_unread = True

    async def _read_keys(self) -> None:
        before: int | None = None
        room = KEYS_LIMIT
        while room > 0:
            # Who is past her own limit is asked for no more.
            away = [person for person in self._hub.roster.away if has_room(person)]
            keys, before = await self._journal.keys(self._since_ms, [person.id for person in away], before)
            self._hub.remember(keys[:room])
            room -= len(keys)
            if before is None:
                break
            await deferLater(self._clock, 0)
        self._hub.remembered(self._clock.seconds())

    async def _catch_up(self, peer: Peer) -> None:
        hub, person = self._hub, peer.identity
        try:
            while (catchup := hub.catching(peer)) is not None and person is not None:
                await self._room(peer)
                catchup.listen(hub.last_id)
                rooms = [stay.room.id for stay in (*person.stays.values(), *person.former)]
                page = await self._journal.read(person.id, catchup.position, PAGE, rooms=rooms)
                hub.replay(peer, page)
                self._wake()
                if hub.catching(peer) is None and person.peer is peer:
                    await self._tell_fates(peer, person, catchup.open, hub.last_id)
            if person is not None:
                # What she did not acknowledge of them she is to be told again, should this connection break.
                person.former = [stay for stay in person.former if stay.left > person.claimed]
        except JournalError as error:
            self._log.error("cannot read: {error}", error=error)
            cast("Connection", peer.owner).end(
                "cannot-read", "What you missed cannot be read at the moment. Come back in a while."
            )

    def _has_room(self, peer: Peer) -> bool:
        if self._hub.catching(peer) is None or peer.unacked is None:
            return True  # it is gone: whoever waits finds out
        return peer.mailbox.queued <= QUEUED_MARK and peer.unacked.size <= UNACKED_MARK

    def _room(self, peer: Peer) -> Deferred[None]:
        if self._has_room(peer):
            return succeed(None)
        room: Deferred[None] = Deferred()
        self._waiting[peer] = room
        return room

    async def _tell_entered(self, peer: Peer, room: Room, id: int) -> None:
        """Somebody joined a room on a plain line: tell her what it is about, and what was said there."""
        if peer.identity is None:
            return  # her connection is gone
        session = cast("Connection", peer.owner).session
        if room.topic:
            peer.tell(room.topic_line(manner=peer.manner))
        try:
            await self.lookups.tell_entered(session, room.label, room.place, id)
        except JournalError as error:
            self._log.error("cannot read: {error}", error=error)
        self._wake()

    # -- what became of it

    async def _tell_fates(self, peer: Peer, person: Person, since: int, upto: int) -> None:
        """Tell somebody who came back what became of her private messages.

        How some recipients stand is on its way to the journal.  What they did just now she will be told then, but not
        what they did before, while she was away: so there it is looked again when the journal has it.
        """
        unsure = await self._tell_known(peer, person, since, upto)
        while unsure:
            recipients = set(unsure.values())
            if not recipients.isdisjoint(self._hub.due()):
                known: Deferred[None] = Deferred()
                self._unsure[peer] = person, recipients, known
                await known
            unsure = await self._tell_known(peer, person, min(unsure), max(unsure), unsure)

    async def _tell_known(
        self, peer: Peer, person: Person, since: int, upto: int, only: Container[int] | None = None
    ) -> dict[int, int]:
        """Tell her what is known of those up to an id.

        :param only: of these messages; ``None``: of all.
        :return: of which it is not certain yet, and the identities that they are for.
        """
        roster, told = self._hub.roster, self._hub.told
        unsure: dict[int, int] = {}
        async for messages in self._messages(person, since - 1, upto):
            if only is not None:
                messages = [(id, entry) for id, entry in messages if id in only]
            mine = [
                (id, entry.to, (entry.to_name or "").encode())
                for id, entry in messages
                if entry.sender == person.id and entry.to is not None and not entry.blocked
            ]
            blocked = [
                (id, (entry.to_name or "").encode())
                for id, entry in messages
                if entry.sender == person.id and entry.blocked
            ]
            others = {to for _, to, _ in mine if not roster.numbered(to)}
            kept = {standing.id: standing for standing in await self._standings(others)}
            if person.peer is not peer:
                return {}
            for id, name in blocked:
                peer.tell(fate.verdict(fate.UNDELIVERED, fate.BLOCKED, id, name))
            due = self._hub.due()
            for id, to, name in mine:
                recipient = roster.numbered(to)
                if recipient is not None:
                    state, reason = fate.of_living(recipient, id, told), b""
                    if state == fate.WAITING and fate.is_lost(recipient, id):
                        if to in due:
                            unsure[id] = to
                            continue
                        # The sender was not back yet when this was to be told.
                        state, reason = fate.UNDELIVERED, b"gone"
                elif to in due or to not in others:
                    unsure[id] = to  # she has just ended
                    continue
                else:
                    state, reason = fate.of_kept(kept.get(to), id, told, to <= roster.first_identity)
                line = fate.verdict(state, reason, id, name)
                if state == fate.READ:
                    # As she would have been told had she been here: every message ends in delivered or not.
                    line = fate.verdict(fate.DELIVERED, b"", id, name) + line
                if line:
                    peer.tell(line)
            self._wake()
        return unsure

    async def _standings(self, ids: Iterable[int]) -> Any:
        wanted = sorted(ids)
        return await self._journal.standings(wanted) if wanted else ()

    async def _tell_lost(self, person: Person, reason: bytes) -> None:
        """She ended before she had all her mail: tell those who wrote to her what she has, and will not have."""
        assert person.left is not None
        await self._tell_senders(person, person.settled, person.claimed, fate.DELIVERED, b"")
        await self._tell_senders(person, person.claimed, person.left, fate.UNDELIVERED, reason)

    async def _tell_read(self, person: Person, after: int, upto: int) -> None:
        await self._tell_senders(person, after, upto, fate.READ, b"")

    async def _tell_senders(self, person: Person, after: int, upto: int, state: bytes, reason: bytes) -> None:
        roster = self._hub.roster
        async for messages in self._messages(person, after, upto):
            for id, entry in messages:
                mine = entry.to == person.id and not entry.blocked
                sender = roster.numbered(entry.sender) if mine else None
                if sender is not None:
                    self._hub.tell(sender, fate.verdict(state, reason, id, person.label))
            self._wake()
