"""Everything that is read back from the journal: what was missed, what became of a message, who has it.

Theory of operation.  The hub says who came back (:attr:`Members.returning`), whose time was over
(:attr:`Members.expired`) and who read what (:attr:`Hub.reads`).  For each a coroutine walks through the journal page by
page, and hands what it finds to the hub or to those whom it concerns.  A connection that takes what it missed
slowly, or does not acknowledge it, gets its next page when there is room.

A verdict that a sender could not be told is stored nowhere: it follows from the journal, which has the message, and
from the cursors of its recipient, which the journal has too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from . import fate
from .errors import JournalError, RemoteProtocolError
from .hub import Hub
from .interfaces import IJournal
from .once import has_room
from .peer import Peer
from .session import ListReceipts, Session
from .vocabulary import Entry, Standing

if TYPE_CHECKING:
    from .peer import Person

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
        self._waiting: dict[Peer, Deferred[None]] = {}
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
        while hub.returning:
            self._run(self._catch_up(hub.returning.pop()))
        while hub.expired:
            self._do(partial(self._tell_lost, *hub.expired.pop()))
        while hub.reads:
            self._do(partial(self._tell_read, *hub.reads.pop()))
        for peer in [peer for peer in self._waiting if self._has_room(peer)]:
            self._waiting.pop(peer).callback(None)

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
                page = await self._journal.read(person.id, catchup.position, PAGE)
                hub.replay(peer, page)
                self._wake()
                if hub.catching(peer) is None and person.peer is peer:
                    await self._tell_fates(peer, person, catchup.open, hub.last_id)
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

    # -- what became of it

    async def _tell_fates(self, peer: Peer, person: Person, since: int, upto: int) -> None:
        """Tell somebody who came back what became of her private messages."""
        roster, told = self._hub.roster, self._hub.told
        async for messages in self._messages(person, since - 1, upto):
            mine = [
                (id, entry.to, (entry.to_name or "").encode())
                for id, entry in messages
                if entry.sender == person.id and entry.to is not None
            ]
            others = {to for _, to, _ in mine if not roster.numbered(to)}
            kept = {standing.id: standing for standing in await self._standings(others)}
            if person.peer is not peer:
                return
            due = self._hub.due()
            for id, to, name in mine:
                recipient = roster.numbered(to)
                if recipient is not None:
                    state, reason = fate.of_living(recipient, id, told), b""
                elif to in due:
                    continue  # the journal is about to know, and then she is told
                else:
                    state, reason = fate.of_kept(kept.get(to), id, told, to <= roster.first_identity)
                line = fate.verdict(state, reason, id, name)
                if line:
                    peer.tell(line)
            self._wake()

    async def _standings(self, ids: Iterable[int]) -> Any:
        wanted = sorted(ids)
        return await self._journal.standings(wanted) if wanted else ()

    async def _tell_lost(self, person: Person, reason: bytes) -> None:
        """She ended before she had all her mail: tell those who wrote to her that she will not have it."""
        assert person.left is not None
        await self._tell_senders(person, person.claimed, person.left, fate.UNDELIVERED, reason)

    async def _tell_read(self, person: Person, after: int, upto: int) -> None:
        await self._tell_senders(person, after, upto, fate.READ, b"")

    async def _tell_senders(self, person: Person, after: int, upto: int, state: bytes, reason: bytes) -> None:
        roster = self._hub.roster
        async for messages in self._messages(person, after, upto):
            for id, entry in messages:
                sender = roster.numbered(entry.sender) if entry.to == person.id else None
                if sender is not None:
                    self._hub.tell(sender, fate.verdict(state, reason, id, person.label))
            self._wake()

    # -- who has it

    def receipts(self, request: ListReceipts, session: Session) -> Deferred[None]:
        """Answer ``<receipts>``."""
        return Deferred.fromCoroutine(self._receipts(request, session))

    async def _receipts(self, request: ListReceipts, session: Session) -> None:
        person = session.peer.identity
        if person is None:
            return
        try:
            page = await self._journal.read(person.id, request.id - 1, 1)
            entry = dict(page.messages).get(request.id)
            if entry is None or entry.sender != person.id:
                raise RemoteProtocolError(
                    "no-such-message", "No message of yours has this id, or it is not kept any more."
                )
            states = await self._states(request.id, entry)
        except (JournalError, RemoteProtocolError) as error:
            session.failed(error, request.label)
        else:
            session.receipts(request.id, states, request.label)

    async def _states(self, id: int, entry: Entry) -> list[tuple[bytes, bytes]]:
        """Names, and how far a message has come with each."""
        hub, told = self._hub, self._hub.told
        if entry.to is not None:
            living = [person for person in (hub.roster.numbered(entry.to),) if person is not None]
            kept: dict[int, Standing | None] = {} if living else {entry.to: None}
            kept.update({standing.id: standing for standing in await self._standings(kept)})
        else:
            kept = {standing.id: standing for standing in await self._journal.owed(id)}
            living = hub.owed(id)
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
        return sorted(states.values())
