"""A chat of a few people in rooms, whatever happens there, and what has to be true of it.

Everything that was shown, or was looked up, is held against a log of what was accepted (:mod:`tests.roomsmodel`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from pychat.desk import Desk
from pychat.factory import ChatFactory
from pychat.grammar import Line
from pychat.hub import Hub
from pychat.pump import Pump
from pychat.uploading import Uploading
from pychat.vocabulary import Kind
from tests.journal.journalkit import NOON_MS, Reactor
from tests.plays.stage import FakeTransport
from tests.roomsmodel import MESSAGES, DurableMemory, HeldJournal, Log, Seen
from tests.roomspeople import Client, Life, seen

PEOPLE = {
    "alice": b"<hello caps=ack,resume>",
    "bob": b"<hello caps=ack,resume>",
    "carol": b"<hello caps=ack,resume,multiline>",
    "dora": b"",
    "erin": b"<hello>",
}
ROOMS = ("#tea", "#bar")


class World:
    """The daemon and its people, as it is; with a journal in a memory that outlives the daemon."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.reactor = Reactor()
        self.journal = HeldJournal(self.open_journal(), self.log, lambda answer: self.reactor.wait(answer))
        self.clients = [Client(self, name, hello) for name, hello in PEOPLE.items()]
        self.receipts: list[tuple[Life, Line]] = []
        self.tokens = self.texts = 0
        self.dens: list[str] = []
        """Rooms that were made to be left again."""
        self.start()
        for client in self.clients:
            self.connect(client)
        self.settle()
        assert all(client.live for client in self.clients)
        for client in self.clients:
            client.command(b"join", "#tea")
        self.settle()

    # -- the daemon

    def open_journal(self) -> Any:
        return DurableMemory()

    def reopen(self) -> None:
        """The daemon died: what does its journal say at the next start?"""
        self.journal.inner.reopen()

    def start(self) -> None:
        self.hub = Hub(durable=True, make_token=self.make_token)
        self.pump = Pump(self.reactor, self.hub, self.journal, lambda: NOON_MS / 1000)
        uploading = Uploading(None, lambda *a: Deferred())  # type: ignore[arg-type]
        desk = Desk(self.reactor, None, [], lambda *a: Deferred(), uploading)  # type: ignore[arg-type]
        self.factory = ChatFactory(self.pump, desk)

    def make_token(self) -> bytes:
        self.tokens += 1
        return b"t%d" % self.tokens

    @property
    def newest(self) -> int:
        """The newest message that the daemon knows of."""
        return self.hub.last_id

    def tick(self, seconds: float = 0.02) -> None:
        self.reactor.pump([0.0, seconds, 0.0])

    def settle(self) -> None:
        """Everything that is under way arrives."""
        quiet = 0
        while quiet < 4:
            self.tick(0.3)
            quiet += 1
            if (
                self.journal.under_way
                or self.journal.asked
                or any(client.transport is not None and client.transport.out for client in self.clients)
            ):
                quiet = 0
            self.answer()
            for client in self.clients:
                client.hear()
                client.ack()
            if quiet == 4 and any(client.repair() for client in self.clients if client.open):
                quiet = 0
        for client in self.clients:
            client.settled()

    def answer(self) -> None:
        for done, ids in self.journal.commit():
            done.callback(ids)
        self.journal.answer_reads()
        self.tick()

    def connect(self, client: Client) -> None:
        transport = FakeTransport(self.reactor)
        protocol = self.factory.buildProtocol(None)
        transport.protocol = protocol
        client.transport = transport
        client.seen = {}
        client.looked_at = self.reactor.seconds()
        protocol.makeConnection(transport)
        if client.hello:
            client.say(client.hello)
        client.connect()

    # -- what is looked up

    def check_answer(
        self, life: Life, place: str, since: int, without: set[str], lines: list[Line], searched: bool
    ) -> None:
        """Nothing is in it that she may not see, whatever changed meanwhile."""
        if lines[-1].verb == b"error":
            code = lines[-1].attributes[b"code"]
            assert place.startswith("#") or code in (b"not-connected", b"busy"), lines
            return
        found = [seen(line) for line in lines[:-1]]
        ids = [message.id for message in found]
        assert int(lines[-1].attributes[b"count"]) == len(ids)
        assert ids == sorted(set(ids), reverse=searched)
        assert not place.startswith("#") or self.log.may_look(life.identity, place, since), (life.name, place)
        for message in found:
            entry = self.log.entries[message.id]
            assert self.log.in_place(life.identity, place, entry), message
            assert entry.sender == life.identity or entry.sender_name.lower() not in without, message
            assert message in self.log.versions(message.id), message

    def inquire(self, client: Client, line: bytes) -> list[Line]:
        """Ask when nothing else goes on."""
        answers: list[list[Line]] = []
        client.ask(line, answers.append)
        for _ in range(9):
            if not answers:
                self.tick()
                self.answer()
                client.hear()
        return answers[0]

    def pages(self, client: Client, line: bytes, on: bytes, start: int | None = None) -> list[list[Seen]]:
        """Everything that a question leads to, page by page.

        :param on: the attribute that goes on, and that ``start`` is for.
        """
        found: list[list[Seen]] = []
        while True:
            more = b"" if start is None else b" %s=%d" % (on, start)
            *lines, end = self.inquire(client, line.replace(b"%s", b"%s" + more, 1))
            assert end.verb in (b"history", b"search"), end
            found.append([seen(line) for line in lines])
            assert int(end.attributes[b"count"]) == len(lines)
            if b"more" not in end.attributes:
                return found
            assert start != int(end.attributes[b"more"]), "it goes on"
            start = int(end.attributes[b"more"])

    def without(self, life: Life) -> set[str]:
        """Whom she ignores; it has to be certain."""
        assert all(course.now() is not None for course in life.ignoring.values())
        return {name for name, course in life.ignoring.items() if course.now()}

    def check_history(self, client: Client, place: str, limit: int, forward: bool) -> None:
        life = client.life
        assert life is not None
        line = b"<history %%s limit=%d>%s" % (limit, place.encode())
        if place == client.name:
            return
        if place.startswith("#") and not self.log.is_in(life.identity, place):
            (error,) = self.inquire(client, line)
            assert error.attributes[b"code"] in (b"not-in-room", b"no-such-room")
            return
        if forward:
            found = [message for page in self.pages(client, line, b"after", 0) for message in page]
        else:
            found = [message for page in reversed(self.pages(client, line, b"before")) for message in page]
        assert found == self.log.history(life.identity, place, self.without(life)), (client.name, place)

    def check_search(
        self, client: Client, typed: str, where: str | None, sender: str | None, limit: int
    ) -> None:
        life = client.life
        assert life is not None
        places = [
            "all",
            *PEOPLE,
            *(room for room in [*ROOMS, *self.dens] if self.log.is_in(life.identity, room)),
        ]
        in_, from_ = "" if where is None else f" in={where}", "" if sender is None else f" from={sender}"
        line = f"<search %s limit={limit}{in_}{from_}>{typed}".encode()
        if where is not None and where not in places:
            (error,) = self.inquire(client, line)
            assert error.attributes[b"code"] in (b"not-in-room", b"no-such-room")
            return
        if where == client.name:
            return
        fits: Callable[[list[str]], bool]
        if typed.startswith('"'):
            fits = lambda words: " ".join(typed.strip('"').split()) in " ".join(words)  # noqa: E731
        elif typed.endswith("*"):
            fits = lambda words: any(word.startswith(typed[:-1]) for word in words)  # noqa: E731
        else:
            fits = lambda words: {*typed.split()} <= {*words}  # noqa: E731
        everything = {
            message
            for place in (places if where is None else [where])
            for message in self.log.history(life.identity, place, self.without(life))
        }
        expected = [
            message
            for message in sorted(everything, reverse=True)
            if message.about[0] != "react"
            and not message.retracted
            and sender in (None, message.sender.lower())
            and fits(message.text.decode().split())
        ]
        found = [message for page in self.pages(client, line, b"more") for message in page]
        assert found == expected, (client.name, line, found, expected)

    def check_people(self, client: Client) -> None:
        """Rooms, and who is in them."""
        life = client.life
        assert life is not None
        living = [life for client in self.clients for life in client.lives if not life.over]
        expected = []
        for room in sorted([*ROOMS, *self.dens]):
            members = sorted(each.name.lower() for each in living if self.log.is_in(each.identity, room))
            said = [entry for entry in self.log.entries.values() if entry.kind == Kind.SAID]
            if members or any(entry.to_name == room for entry in said):
                joined = self.log.is_in(life.identity, room)
                state = life.muting[room].now(life.stay(self.log, room)) if joined else False
                assert state is not None
                expected.append((room, len(members), joined, state))
            lines = self.inquire(client, b"<get_users %%s>%s" % room.encode())
            if self.log.is_in(life.identity, room):
                assert [line.text.decode().lower() for line in lines[:-1]] == members, (room, client.name)
                number = [
                    e.to for e in self.log.entries.values() if e.kind == Kind.JOIN and e.to_name == room
                ][-1]
                topics = [
                    e.text for e in self.log.entries.values() if e.kind == Kind.TOPIC and e.to == number
                ]
                (line,) = self.inquire(client, b"<topic %%s>%s" % room.encode())
                assert line.text == (topics or [b""])[-1]
            else:
                assert lines[-1].attributes[b"code"] in (b"not-in-room", b"no-such-room")
        lines = self.inquire(client, b"<get_rooms %s>")
        found = [
            (line.text.decode(), int(values[b"members"]), b"joined" in values, b"muted" in values)
            for line, values in ((line, line.attributes) for line in lines[:-1])
        ]
        assert found == expected, (client.name, found, expected)
        lines = self.inquire(client, b"<ignore %s>")
        assert {line.text.decode() for line in lines[:-1]} == self.without(life)

    def check_unread(self, client: Client) -> None:
        life = client.life
        assert life is not None
        marks = {"all": life.seen}
        names = {"all": "all"}
        for room in [*ROOMS, *self.dens]:
            if self.log.is_in(life.identity, room):
                marks[room], names[room] = life.read_upto(self.log, room), room
        for key, name in self.log.partners(life.identity).items():
            marks[key], names[key] = life.seen, name
        lines = self.inquire(client, b"<unread %s>")
        told = {line.text.decode(): int(line.attributes[b"count"]) for line in lines[:-1]}
        assert len(told) == len(lines) - 1 == int(lines[-1].attributes[b"count"])
        for key, (least, most) in marks.items():
            counts = [self.log.unread(life.identity, key, upto, self.without(life)) for upto in (most, least)]
            assert counts[0] <= told.pop(names[key], 0) <= counts[1], (client.name, key, counts, lines)
        assert not told

    # -- the promise

    def owed(self, life: Life, id: int) -> bool | None:
        """Whether somebody was to be shown a message; ``None``: perhaps."""
        entry = self.log.entries[id]
        if entry.kind not in MESSAGES or entry.sender == life.identity:
            return False
        if (entry.to or 0) > 0:
            return entry.to == life.identity and not entry.blocked
        since = 0
        if entry.to is None:
            if id <= life.known:
                return None if id > life.born else False
        else:
            joined = self.log.stay(life.identity, entry.to_name or "", id)
            if joined is None:
                return False
            since = joined
        spared = [life.ignoring[entry.sender_name.lower()].at(id)]
        if entry.to is not None:
            spared.append(life.muting[(entry.to_name or "").lower()].at(id, since))
        return True if spared == [False] * len(spared) else None

    def check_shown(self, life: Life) -> None:
        assert life.shown == sorted(set(life.shown)), "once, and in order"
        shown = {*life.shown}
        upto = max(shown, default=0) if life.over else self.log.last_id
        for id in self.log.entries:
            owed = self.owed(life, id)
            assert owed is not False or id not in shown, f"{life.name} was shown {id}"
            assert not owed or id > upto or id in shown, f"{life.name} never saw {id}"

    def check_lawful(self, id: int, lives: list[Life]) -> None:
        """What was accepted was allowed."""
        entry = self.log.entries[id]
        if entry.kind in (Kind.EDIT, Kind.RETRACT):
            assert self.log.entries[entry.ref].sender == entry.sender
            assert not any(
                other.kind == Kind.RETRACT and other.ref == entry.ref and earlier < id
                for earlier, other in self.log.entries.items()
            )
        if entry.ref and (entry.to or 0) <= 0:
            assert self.log.entries[entry.ref].to == entry.to
        if (entry.to or 0) < 0 and entry.kind != Kind.JOIN:
            joined = self.log.stay(entry.sender, entry.to_name or "", id)
            assert joined is not None, f"{id} is of no member"
        if (entry.to or 0) > 0:
            for life in lives:
                if life.identity == entry.to and id <= life.until[0]:
                    ignored = life.ignoring[entry.sender_name.lower()].at(id)
                    # What is said about a message that she was not shown is not shown to her either.
                    about = entry.kind != Kind.SAID and self.log.entries[entry.ref].blocked
                    assert ignored in (None, entry.blocked) or (about and entry.blocked), (
                        f"{life.name}: {id} {entry}"
                    )
        for life in lives:
            if life.identity == entry.sender and entry.blocked and not life.over:
                verdicts = [said.verdicts for said in life.posts if said.id == id]
                assert verdicts == [{b"undelivered"}], id

    def check_receipt(self, sender: Life, receipt: Line, lives: list[Life]) -> None:
        values = {key: int(value) for key, value in receipt.attributes.items()}
        id, of = values.pop(b"id"), values.pop(b"of")
        assert sum(values.values()) <= of, receipt
        entry = self.log.entries[id]
        assert entry.sender == sender.identity
        had = [life for life in lives if id in life.shown and life.identity != sender.identity]
        assert values[b"delivered"] <= len(had), (receipt, [life.name for life in had])
        if entry.to is not None:
            owed = [(self.owed(life, id), life) for life in lives if id <= life.until[1]]
            least = [life.name for owes, life in owed if owes and id <= life.until[0]]
            most = [life.name for owes, life in owed if owes is not False]
            assert len(least) <= of <= len(most), (receipt, least, most)
