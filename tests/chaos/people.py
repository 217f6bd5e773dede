"""Those who come back, by the project's own client, and what befalls them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from pychat.client import connection
from pychat.client.answers import decode, message_id
from pychat.client.connection import Client
from pychat.client.files import FileStore
from pychat.client.member import Member
from pychat.client.observer import Linked
from pychat.client.store import MemoryStore
from pychat.client.store import Post as Pending
from pychat.errors import PychatError
from pychat.grammar import Line

from .history import Accepted, Acked, History, Post, Read, Refused, Wrong

HASTE = 0.1
"""What the client's waits between attempts are multiplied by: one that dies every few seconds is not gone for long."""


class Wire(Client):
    """A connection whose acknowledgements can be held back, and which counts what the client drops as shown already."""

    person: Person
    _held = False

    def hold(self, held: bool) -> None:
        """Hold acknowledgements back, until the daemon sends again; or let them go."""
        self._held = held
        if not held:
            self._acknowledge()

    def _acknowledge(self) -> None:
        if not self._held:
            due = self._ack_due
            super()._acknowledge()
            if due and not self._ack_due:
                self.person.acked(self.shown)

    def _seen(self, line: Line) -> bool:
        seen = super()._seen(line)
        if seen:
            self.person.dropped()
        return seen


class Forgetful(MemoryStore):
    """Forgets how far it has read: with it a client is shown everything again.  Proves the checker."""

    def reached(self, id: int) -> None:
        pass


class Person:
    """Somebody who comes back, whatever happens to her connection, to the daemon, and to her own program.

    :ivar forgets: her store does not keep how far she has read.
    """

    def __init__(
        self, reactor: Any, port: int, name: str, history: History, tally: Counter[str], *,
        file: Path | None = None, forgets: bool = False, chance: random.Random,
    ) -> None:  # fmt: skip
        self.name = name
        self._reactor = reactor
        self._port = port
        self._history = history
        self._tally = tally
        self._file = file
        self._chance = chance
        self._store: MemoryStore = Forgetful() if forgets else MemoryStore()
        self._asked: dict[str, Post] = {}  # by their keys, until they have an answer
        self._newest = 0  # on her screen
        self._known = False  # she has been in the chat
        self.member = self._begin()

    def _begin(self) -> Member:
        if self._file is not None:
            self._store = FileStore(self._file)
        witness = Witness(self)
        member = Member(
            self._reactor, "127.0.0.1", self._port, self.name, self._store, witness,
            patient=True, random=lambda: self._chance.random() * HASTE, connect=self._connect,
        )  # fmt: skip
        if isinstance(self._store, Forgetful):
            member._seen.tell = lambda id: None  # type: ignore[method-assign]
        witness.member = member
        return member

    def start(self) -> Deferred[None]:
        """Come; fires when she is in the chat."""
        return self.member.start()

    def _connect(self, reactor: Any, host: str, port: int, observer: Any, **more: Any) -> Deferred[Client]:
        wire = Wire(reactor, observer, **more)
        wire.person = self
        self.acked(self._store.after)  # she is about to say so
        return Deferred.fromCoroutine(connection._connect(reactor, host, port, wire, 20.0))

    # -- what happens to her

    def post(self, to: str | None, padding: int) -> None:
        """Say something."""
        post = self._history.say(self.name, to, padding)
        self._asked[self.member.post(to, post.text)] = post

    def drop(self) -> bool:
        """Lose the connection; whether there was one."""
        there = self.member.client is not None
        self.member.drop()
        return there

    def read(self) -> None:
        """Say that she has read what is on her screen."""
        client = self.member.client
        if client is not None and self._newest and not self.member._replaying:
            self._history.see(Read(self.name, self._newest))
            client.send(b"<read>%d" % self._newest)

    def hold(self, held: bool) -> None:
        """Stop acknowledging, or begin again."""
        if isinstance(self.member.client, Wire):
            self.member.client.hold(held)

    @property
    def can_be_killed(self) -> bool:
        """What she keeps is in a file."""
        return self._file is not None

    def kill(self) -> None:
        """Her program ends without a word, and is started again: only what her file has is left."""
        assert isinstance(self._store, FileStore)
        self._store._discard()
        old = self.member
        old._observer.member = None  # type: ignore[attr-defined]
        old.drop()
        old.suspend()
        self.member = self._begin()
        # It may be killed again before it has come, and who cannot come back is seen by the witness.
        self.member.start().addErrback(lambda failure: failure.trap(PychatError))

    @property
    def unrest(self) -> str:
        """What she waits for; nothing if she is in the chat, knows what she missed, and all her posts have answers."""
        member = self.member
        if member.client is None:
            return f"{self.name} is not in the chat"
        if member._replaying:
            return f"{self.name} waits for what she missed"
        if member.pending:
            return f"{self.name} waits for {len(member.pending)} answers"
        return ""

    async def end(self) -> None:
        """Go for good."""
        await self.member.suspend()
        self._store.close()

    # -- what she sees

    def linked(self, link: Linked) -> None:
        """She is in the chat."""
        self._tally["resumed" if link.resumed else "joined"] += 1
        if self._known and not link.resumed:
            self._history.see(Wrong(self.name, "came back as somebody else"))
        self._known = True

    def shown(self, line: Line) -> None:
        """A message is on her screen."""
        self._tally["shown to people"] += 1
        self._newest = message_id(line) or 0
        sender = decode(line.attributes.get(b"from", b""))
        self._history.show(self.name, self.name, message_id(line), sender, line.text)

    def answered(self, pending: Pending, id: str, error: PychatError | None) -> None:
        """A post of hers was accepted or refused."""
        post = self._asked.get(pending.key)
        if post is None or post.text != pending.text:
            self._history.see(Wrong(self.name, f"was answered to {pending.text!r}"))
        elif error is not None:
            self._tally["refused"] += 1
            self._history.see(Refused(post, error.code))
        else:
            self._tally["accepted"] += 1
            self._history.see(Accepted(post, int(id)))

    def told(self, line: Line) -> None:
        """A verdict or a count."""
        self._history.hear(self.name, line)

    def acked(self, id: int) -> None:
        """She acknowledged everything up to here."""
        self._history.see(Acked(self.name, id))

    def dropped(self) -> None:
        """She was sent a message that she had been shown."""
        self._tally["dropped as shown already"] += 1

    def doubtful(self, pending: Pending) -> None:
        """Whether a post was said cannot be known: that must not happen while identities live."""
        self._tally["in doubt"] += 1
        self.wrong(f"does not know whether it said {pending.text!r}")

    def wrong(self, what: str) -> None:
        """This must not happen."""
        self._history.see(Wrong(self.name, what))


class Witness:
    """The observer of one life of a person's program."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self.member: Member | None = None
        """``None``: it has been killed, and shows nothing."""

    def linked(self, link: Linked) -> None:
        if self.member:
            self._person.linked(link)

    def broken(self, why: PychatError, delay: float) -> None:
        pass

    def ended(self, why: PychatError) -> None:
        if self.member and why.code != "closed":
            self._person.wrong(f"ended with {why.code}")

    def message(self, line: Line, raw: bytes) -> None:
        if self.member:
            self._person.shown(line)

    def accepted(self, post: Pending, id: str, line: Line) -> None:
        if self.member:
            self._person.answered(post, id, None)

    def refused(self, post: Pending, error: PychatError) -> None:
        if self.member:
            self._person.answered(post, "", error)

    def postponed(self, post: Pending, error: PychatError) -> None:
        """It is said again, and its answer comes then."""

    def doubtful(self, post: Pending) -> None:
        if self.member:
            self._person.doubtful(post)

    def verdict(self, line: Line, raw: bytes) -> None:
        if self.member:
            self._person.told(line)

    def notice(self, line: Line, raw: bytes) -> None:
        if self.member and line.verb in (b"resync", b"error"):
            self._person.wrong(f"was told {raw!r}")
