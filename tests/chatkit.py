"""A chat without a network: sessions on one hub, a journal that commits when it is told to, and fake transports."""

from __future__ import annotations

import itertools
import socket
from typing import Any

from hypothesis import settings
from twisted.internet.task import Clock

from pychat.errors import JournalError
from pychat.hub import Hub
from pychat.journal.memory import MemoryJournal
from pychat.pump import Pump
from pychat.requests import LookUp, Request
from pychat.session import Session
from pychat.vocabulary import Entry, Kept, Kind, Page, spread

NOON_MS = 1_700_000_000_123
"""The wall clock of most tests, as messages show it: 2023-11-14T22:13:20.123Z."""

NOON = b"2023-11-14T22:13:20.123Z"


def examples(count: int) -> settings:
    """Hypothesis settings for properties that give the same examples in every run."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


def make_pump(clock: Clock, hub: Hub) -> Pump:
    """A pump with a journal that keeps nothing."""
    return Pump(clock, hub, MemoryJournal(), lambda: 0.0)


class Talk:
    """One connection: a session, what it was asked to do, and what it was shown."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.peer = hub.peer(self)
        self.session = Session(hub, self.peer, "127.0.0.1:50000")

    def flush(self) -> None:
        """What a pump may ask: all stays in the mailbox until :meth:`heard` takes it."""

    def say(self, *lines: bytes | None) -> list[Request]:
        """Hand lines to the session, each without its line end; return what it asks to be done."""
        requests = [self.session.receive(line) for line in lines]
        return [request for request in requests if request is not None]

    def heard(self) -> list[bytes]:
        """Every line that came since the last call, without its line end; the journal knows all cursors first."""
        self._hub.kept(self._hub.changes(NOON_MS))
        self._hub.tell_fleeting()
        data = self.peer.mailbox.take(1 << 30)
        assert data == b"" or data.endswith(b"\n")
        return data.split(b"\n")[:-1]

    def answer(self, *lines: bytes | None) -> list[bytes]:
        """Forget what came before, say these lines, and return what comes."""
        self.heard()
        self.say(*lines)
        return self.heard()


class Chat:
    """A hub, and a journal that has what was posted once :meth:`commit` is called, and cursors at once."""

    def __init__(self, *, durable: bool = True) -> None:
        tokens = itertools.count(1)
        self.hub = Hub(durable=durable, make_token=lambda: b"token%d" % next(tokens))
        self.last_id = 0
        self.journal: list[tuple[int, Entry]] = []

    def page(self, talk: Talk, limit: int = 100) -> Page:
        """What the journal says to somebody who catches up."""
        catchup, person = self.hub.catching(talk.peer), talk.peer.identity
        assert catchup is not None
        assert person is not None
        places = {None, person.id, *(stay.room.id for stay in [*person.stays.values(), *person.former])}
        mine = [
            (id, entry)
            for id, entry in self.journal
            if id > catchup.position and (entry.to in places or entry.sender == person.id)
        ]
        upto = mine[limit - 1][0] if len(mine) >= limit else self.last_id
        return Page(mine[:limit], upto, self.journal[0][0] if self.journal else self.last_id + 1)

    def resume(self, name: bytes, attributes: bytes, hello: bytes = b"<hello caps=ack,resume>") -> Talk:
        """A new connection on which somebody comes back, as far as to the answer."""
        talk = Talk(self.hub)
        talk.say(hello, b"<connect %s>%s" % (attributes, name))
        return talk

    def catch_up(self, talk: Talk) -> list[bytes]:
        """Tell somebody all that she missed; return what she heard."""
        catchup = self.hub.catching(talk.peer)
        assert catchup is not None
        catchup.listen(self.hub.last_id)
        self.hub.replay(talk.peer, self.page(talk))
        return talk.heard()

    def connect(self, name: bytes = b"", hello: bytes = b"") -> Talk:
        """A new connection that said ``hello`` and ``<connect>name``, as far as they are given, and heard all."""
        talk = Talk(self.hub)
        if hello:
            talk.say(hello)
        if name:
            talk.say(b"<connect>" + name)
            assert talk.peer.identity is not None, name
        talk.heard()
        return talk

    def enter(self, talk: Talk, *names: bytes) -> list[bytes]:
        """Somebody joins rooms, one after the other; return what she heard."""
        for name in names:
            talk.say(b"<join>" + name)
            self.commit()
        return talk.heard()

    def kept(self, id: int) -> Kept | None:
        """What the journal says of one message."""
        found = dict(self.journal).get(id)
        if found is None:
            return None
        edited = retracted = 0
        for number, entry in self.journal:
            if entry.ref == id and entry.kind == Kind.EDIT and not retracted:
                edited, found = number, found._replace(text=entry.text)
            elif entry.ref == id and entry.kind == Kind.RETRACT:
                edited, retracted, found = 0, retracted or number, found._replace(text=b"")
        return Kept(id, found, edited, retracted)

    def say(self, talk: Talk, *lines: bytes) -> list[bytes]:
        """Say lines, each when the journal has the one before; return what comes."""
        talk.heard()
        for line in lines:
            self.mutter(talk, line)
            self.commit()
        return talk.heard()

    def mutter(self, talk: Talk, *lines: bytes) -> None:
        """Say lines, and look up for the session what it asks for."""
        for line in lines:
            for request in talk.say(line):
                assert isinstance(request, LookUp), request
                talk.session.looked_up(request, self.kept(request.id))

    def commit(self, now: float = 0.0) -> list[int]:
        """Append all that was posted; return the new ids."""
        given: list[int] = []
        while (taken := self.hub.take(NOON_MS)) is not None:
            posts, entries = taken
            each = spread(entries)
            ids = range(self.last_id + 1, self.last_id + 1 + len(each))
            self.last_id += len(each)
            self.journal += zip(ids, each, strict=True)
            self.hub.appended(posts, ids, NOON_MS, now)
            given += ids
        return given

    def refuse(self) -> None:
        """The journal keeps nothing of what was posted."""
        while (taken := self.hub.take(NOON_MS)) is not None:
            self.hub.refused(taken[0], JournalError("journal-unavailable", "The disk is full. Try again."))

    def reach(self, talk: Talk) -> list[bytes]:
        """All that was put into a connection's mailbox is in its peer's kernel; return what it was shown."""
        heard = talk.heard()
        self.hub.reached(talk.peer, talk.peer.mailbox.total)
        return heard


class ScriptedSocket(socket.socket):
    """A socket whose ``send`` takes what the script says: so many bytes, all (``None``), or an error."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.script: list[int | OSError | None] = []
        self.sent = b""

    def send(self, data: Any, flags: int = 0) -> int:
        step = self.script.pop(0) if self.script else None
        if isinstance(step, OSError):
            raise step
        taken = bytes(data) if step is None else bytes(data)[:step]
        self.sent += taken
        return len(taken)


class FakeTransport:
    """What an outlet needs of a transport; its buffer empties when :meth:`drain` is called."""

    def __init__(self, handle: socket.socket | None = None) -> None:
        self._handle = handle
        self.buffer = b""
        self.written = b""
        self.producer: Any = None
        self.log: list[str] = []

    def getHandle(self) -> socket.socket | None:
        return self._handle

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert not streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.buffer += data

    def drain(self) -> None:
        """The kernel takes what is buffered."""
        if not self.buffer:
            return
        self.written += self.buffer
        self.buffer = b""
        if self.producer is not None:
            self.producer.resumeProducing()

    def loseConnection(self) -> None:
        self.log.append("lose")

    def abortConnection(self) -> None:
        self.log.append("abort")
