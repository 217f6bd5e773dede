"""What the promise about rooms is held against: a log of all that the journal was given, and what follows from it.

Nothing here knows how the daemon does it.  Who is a member, what a message says now and who may see it are read off the
log, one entry after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pychat.errors import JournalError
from pychat.interfaces import IJournal
from pychat.journal.memory import MemoryJournal
from pychat.vocabulary import Entry, Kind, RoomRecord, Standing, Stay, Texts, spread

TAKEN_BACK = b"(message taken back)"
REACTION_TAKEN_BACK = b"(reaction taken back)"
MESSAGES = (Kind.SAID, Kind.EDIT, Kind.RETRACT, Kind.REACT)
RUN = 1 << 32


class Seen(NamedTuple):
    """One message as somebody sees it."""

    id: int
    sender: str
    to: str
    """A name, ``#room`` or ``all``; empty if it was not said, for it is private."""
    text: bytes
    about: tuple[str, int]
    """``reply``, ``edit``, ``retract`` or ``react``, and of which message; ``("", 0)``: of none."""
    edited: int = 0
    retracted: int = 0


class Log:
    """Everything that was accepted."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self._moves: dict[tuple[int, str], list[list[int | None]]] = {}
        self._changes: dict[int, tuple[int, int]] = {}

    @property
    def last_id(self) -> int:
        """The newest one."""
        return len(self.entries)

    def add(self, ids: Iterable[int], entries: Iterable[Entry | Texts]) -> None:
        """The journal has these now."""
        for id, entry in zip(ids, spread(entries), strict=True):
            assert id == self.last_id + 1
            self.entries[id] = entry
            if entry.kind == Kind.JOIN:
                self.stays(entry.sender, entry.to_name).append([id, None])
            elif entry.kind == Kind.LEAVE:
                self.stays(entry.sender, entry.to_name)[-1][1] = id
            elif entry.kind in (Kind.EDIT, Kind.RETRACT):
                edited, retracted = self._changes.get(entry.ref, (0, 0))
                if not retracted:
                    change = (id, 0) if entry.kind == Kind.EDIT else (edited, id)
                    self._changes[entry.ref] = change

    def stays(self, identity: int, room: str | None) -> list[list[int | None]]:
        """When she joined a room, and when she left it, each time."""
        return self._moves.setdefault((identity, (room or "").lower()), [])

    def stay(self, identity: int, room: str, id: int) -> int | None:
        """When the stay began in which a message was said; ``None`` if she was not a member."""
        for joined, left in self.stays(identity, room):
            if joined < id and (left is None or id <= left):
                return joined
        return None

    def is_in(self, identity: int, room: str) -> bool:
        """Whether she joined a room and did not leave it."""
        stays = self.stays(identity, room)
        return bool(stays) and stays[-1][1] is None

    def may_look(self, identity: int, room: str, since: int) -> bool:
        """Whether she was a member at any time since an id was the newest."""
        return any(left is None or left > since for _, left in self.stays(identity, room))

    def retracted(self, id: int) -> bool:
        """Whether a message was taken back."""
        return bool(self._changes.get(id, (0, 0))[1])

    def as_said(self, id: int) -> Seen:
        """As it is shown live, or to who missed it."""
        entry = self.entries[id]
        word = {Kind.SAID: "reply", Kind.EDIT: "edit", Kind.RETRACT: "retract", Kind.REACT: "react"}
        about = (word[Kind(entry.kind)], entry.ref) if entry.ref else ("", 0)
        text = TAKEN_BACK if entry.kind == Kind.RETRACT else entry.text
        if entry.kind == Kind.REACT:
            text = entry.text or REACTION_TAKEN_BACK
        return Seen(id, entry.sender_name, entry.to_name or "all", text, about)

    def as_missed(self, id: int, known: int) -> list[Seen]:
        """As it may be shown to who missed it; she came back when ``known`` was the newest entry."""
        entry, said = self.entries[id], self.as_said(id)
        gone = self._changes.get(entry.ref if entry.kind == Kind.EDIT else id, (0, 0))[1]
        if not gone or entry.kind not in (Kind.SAID, Kind.EDIT):
            return [said]
        hidden = said._replace(text=TAKEN_BACK)
        return [hidden] if gone <= known else [hidden, said]

    def as_it_stands(self, id: int) -> Seen:
        """As it is looked up."""
        said = self.as_said(id)
        edited, retracted = self._changes.get(id, (0, 0))
        if retracted:
            return said._replace(text=TAKEN_BACK, retracted=retracted)
        return said._replace(text=self.entries[edited].text, edited=edited) if edited else said

    def versions(self, id: int) -> list[Seen]:
        """As it may have been looked up at some time."""
        said = self.as_said(id)
        found = [said]
        for later, entry in self.entries.items():
            if entry.ref == id and entry.kind == Kind.EDIT:
                found.append(said._replace(text=entry.text, edited=later))
            elif entry.ref == id and entry.kind == Kind.RETRACT:
                found.append(said._replace(text=TAKEN_BACK, retracted=later))
        return found

    def in_place(self, identity: int, place: str, entry: Entry) -> bool:
        """Whether this is of a conversation (``all``, a room or a name) as one identity may look it up."""
        if place == "all":
            return entry.to is None
        if place.startswith("#"):
            return entry.to_name is not None and entry.to_name.lower() == place.lower()
        if entry.to is None or entry.to < 0:
            return False
        if entry.sender == identity:
            return (entry.to_name or "").lower() == place.lower()
        return entry.to == identity and not entry.blocked and entry.sender_name.lower() == place.lower()

    def history(self, identity: int, place: str, without: set[str]) -> list[Seen]:
        """What ``<history>`` has to show of a place, in all."""
        return [
            self.as_it_stands(id)
            for id, entry in self.entries.items()
            if entry.kind in (Kind.SAID, Kind.REACT)
            and self.in_place(identity, place, entry)
            and (entry.sender == identity or entry.sender_name.lower() not in without)
        ]

    def partners(self, identity: int) -> dict[str, str]:
        """With whom she wrote in private: names as typed last, by their keys."""
        found = {}
        for entry in self.entries.values():
            if entry.kind in (Kind.SAID, Kind.REACT) and (entry.to or 0) > 0:
                if entry.sender == identity:
                    found[(entry.to_name or "").lower()] = entry.to_name or ""
                elif entry.to == identity and not entry.blocked:
                    found[entry.sender_name.lower()] = entry.sender_name
        return found

    def unread(self, identity: int, place: str, above: int, without: set[str]) -> int:
        """How many messages of others somebody has not read who read up to ``above``."""
        return sum(
            id > above
            and entry.kind == Kind.SAID
            and not self.retracted(id)
            and entry.sender != identity
            and entry.sender_name.lower() not in without
            and self.in_place(identity, place, entry)
            for id, entry in self.entries.items()
        )


class Course:
    """A setting as it goes along: on, off, or nobody can tell (``None``)."""

    def __init__(self) -> None:
        self._points: list[tuple[int, bool | None]] = [(0, False)]
        self.wanted = False

    def turn(self, id: int, state: bool | None) -> None:
        """From behind this message on it is so."""
        self._points.append((id, state))

    def at(self, id: int, since: int = 0) -> bool | None:
        """How it was when a message was accepted; what was before ``since`` does not count."""
        points = [state for above, state in self._points if since <= above < id]
        return points[-1] if points else False

    def now(self, since: int = 0) -> bool | None:
        """How it is."""
        return self.at(1 << 62, since)

    def ever(self, since: int) -> bool:
        """Whether it was on, or may have been."""
        return any(state is not False for above, state in self._points if above >= since)

    @property
    def turned(self) -> int:
        """Behind which message it changed last."""
        return self._points[-1][0]


class DurableMemory(MemoryJournal):
    """A memory that outlives the daemon."""

    durable = True

    def reopen(self) -> None:
        """The daemon has died and is about to start again: what a journal on disk would say then."""
        living = {standing.id for standing in self._living.values() if standing.resumes}
        for standing in [*self._living.values()]:
            if standing.id not in living:
                self._keep(replace(standing, left=self.last_id))
        for identity in [*self._stays._rooms]:
            if identity not in living:
                self._stays.end_all(identity, self.last_id)
        self.living = [*self._living.values()]
        acked = {standing.id: standing.acked for standing in self.living}
        lasting = [stay for members in self._stays._open.values() for stay in members.values()]
        past = [
            stay for stay in self._stays._past if stay.identity in acked and stay.left > acked[stay.identity]
        ]
        self.stays: list[Stay] = lasting + past
        records: dict[int, RoomRecord] = {}
        for id, entry in self._ring.up(0):
            number = entry.to or 0
            if entry.kind == Kind.JOIN and number not in records:
                records[number] = RoomRecord(number, entry.to_name)
            elif entry.kind == Kind.TOPIC:
                topic = {"topic": entry.text, "topic_by": entry.sender_name, "topic_ms": entry.time_ms}
                records[number] = replace(records[number], **topic)
            elif entry.kind == Kind.SAID and number < 0:
                records[number] = replace(records[number], newest=id)
        self.rooms = [room for room in records.values() if room.newest or room.id in self._stays._open]
        self.last_identity += RUN


@implementer(IJournal)
class HeldJournal:
    """Any journal, with everything held back until it is told to go on."""

    def __init__(self, inner: Any, log: Log, wait: Callable[[Deferred[Any]], Any]) -> None:
        """:param wait: turns what the inner journal answers into its result."""
        self.inner = inner
        self._log = log
        self._wait = wait
        self.under_way: list[tuple[list[Entry], list[Standing], Deferred[object]]] = []
        self.asked: list[tuple[str, tuple[object, ...], dict[str, object], Deferred[object]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def append(self, entries, standings=()):
        done: Deferred[object] = Deferred()
        self.under_way.append((list(entries), list(standings), done))
        return done

    def commit(self) -> list[tuple[Deferred[object], object]]:
        """Keep what is under way; return what is to be answered."""
        under_way, self.under_way = self.under_way, []
        answers = []
        for entries, standings, done in under_way:
            ids = self._wait(self.inner.append(entries, standings))
            self._log.add(ids, entries)
            answers.append((done, ids))
        return answers

    def refuse(self) -> None:
        """Keep nothing of what is under way."""
        under_way, self.under_way = self.under_way, []
        for _, _, done in under_way:
            done.errback(JournalError("journal-unavailable", "The disk is full."))

    def answer_reads(self) -> None:
        """Answer who reads, with what is kept now."""
        asked, self.asked = self.asked, []
        for method, args, options, answer in asked:
            answer.callback(self._wait(getattr(self.inner, method)(*args, **options)))

    def _ask(self, method: str, *args: object, **options: object) -> Deferred[Any]:
        answer: Deferred[object] = Deferred()
        self.asked.append((method, args, options, answer))
        return answer

    def read(self, *args, **options):
        return self._ask("read", *args, **options)

    def look_up(self, ids):
        return self._ask("look_up", ids)

    def history(self, *args):
        return self._ask("history", *args)

    def search(self, query):
        return self._ask("search", query)

    def unread(self, *args):
        return self._ask("unread", *args)

    def standings(self, ids):
        return self._ask("standings", ids)

    def owed(self, *args):
        return self._ask("owed", *args)

    def keys(self, *args):
        return self._ask("keys", *args)
