"""Those who come back, by the project's own client, and what befalls them."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from pychat.client import connection
from pychat.client.answers import message_id
from pychat.client.connection import Client
from pychat.client.files import FileStore
from pychat.client.member import Member
from pychat.client.observer import Linked
from pychat.client.store import MemoryStore
from pychat.client.store import Post as Pending
from pychat.errors import PychatError
from pychat.grammar import Line
from pychat.vocabulary import Kind

from .history import Accepted, Acked, History, Post, Postponed, Read, Refused, Shown, Wrong
from .wishes import Wishes

REMEMBERED = 40
"""Messages of hers that she may change, and those of others to which she may react: the newest."""

FLAP_SECONDS = 0.02
"""A connection that breaks at once lasts so long at most: what it missed may be on its way by then."""

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
            before = self._acks._said
            super()._acknowledge()
            if self._acks._said != before:
                self.person.acked(self._acks._said)

    def _notice(self, line: Line, raw: bytes) -> None:
        if line.verb == b"msg" and b"label" not in line.attributes and (message_id(line) or 0) <= self.shown:
            self.person.dropped()
        super()._notice(line, raw)


class Forgetful(MemoryStore):
    """Forgets how far it has read: with it a client is shown everything again.  Proves the checker."""

    def reached(self, id: int) -> None:
        pass


class Person:
    """Somebody who comes back, whatever happens to her connection, to the daemon, and to her own program.

    :ivar wishes: what she wants of rooms.
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
        self._flaps = 0  # so often her next connections break at once
        self._mine: deque[tuple[int, Post]] = deque(maxlen=REMEMBERED)
        self._heard: deque[tuple[int, Post]] = deque(maxlen=REMEMBERED)
        self._taken_back: set[int] = set()  # of hers
        self._reacted: set[int] = set()  # to these she did, and did not take it back
        self._unreacted: set[int] = set()
        self.wishes = Wishes(name, history, tally, self._live)
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

    def _live(self) -> Client | None:
        """Her connection, if she may speak on it."""
        return None if self.member._replaying else self.member.client

    def post(self, to: str | None, padding: int) -> None:
        """Say something."""
        post = self._history.say(self.name, to, padding)
        self._asked[self.member.post(to, post.text)] = post

    def post_in_room(self, padding: int) -> bool:
        """Say something in a room that she is in, if there is one."""
        rooms = sorted(self.wishes.sure)
        if rooms:
            self.post(self._chance.choice(rooms), padding)
        return bool(rooms)

    def edit(self, padding: int) -> bool:
        """Change something that she said, if there is something; now and then what she took back, which is refused."""
        gone = self._chance.random() < 0.05
        found = self._some(self._mine, lambda id: (id in self._taken_back) == gone)
        if found is None:
            return False
        id, said = found
        post = self._history.say(self.name, said.to, padding, Kind.EDIT, id)
        self._asked[self.member.edit(id, post.text)] = post
        return True

    def retract(self) -> bool:
        """Take back something that she said, if there is something."""
        found = self._some(self._mine, lambda id: id not in self._taken_back)
        if found is None:
            return False
        id, said = found
        self._taken_back.add(id)
        post = self._history.say(self.name, said.to, 0, Kind.RETRACT, id)
        self._asked[self.member.retract(id)] = post
        return True

    def react(self) -> bool:
        """React to something that she heard or said, or take that back, if there is something."""
        found = self._some(
            self._heard if self._chance.random() < 0.8 else self._mine, lambda id: id not in self._unreacted
        )
        if found is None:
            return False
        id, said = found
        to = said.sender if said.person == self.name else said.to
        bare = id in self._reacted
        (self._unreacted if bare else self._reacted).add(id)
        post = self._history.say(self.name, to, 0, Kind.REACT, id, bare)
        self._asked[self.member.react(id, post.text.decode())] = post
        return True

    def _some(self, among: deque[tuple[int, Post]], fits: Callable[[int], bool]) -> tuple[int, Post] | None:
        """A message of these of which something can be said."""
        sure, gone = self.wishes.sure, self._history.cast.bystanders
        found = [
            (id, post)
            for id, post in among
            if fits(id) and (not post.room or post.room in sure) and not gone & {post.person, post.sender}
        ]
        return self._chance.choice(found) if found else None

    def turn(self, room: str) -> None:
        """Join a room, or leave it if she is in it; now and then join it all the same, which changes nothing."""
        again = self._chance.random() < 0.1
        self.wishes.want("leave" if room in self.wishes.rooms and not again else "join", room)

    def mute(self) -> None:
        """Mute a room that she is in, or hear it again."""
        rooms = sorted(self.wishes.sure)
        if rooms:
            room = self._chance.choice(rooms)
            self.wishes.want("unmute" if room in self.wishes.muted else "mute", room)

    def ignore(self, name: str) -> None:
        """Ignore somebody, or whomever she ignores no more."""
        ignored = [*self.wishes.ignored]
        self.wishes.want("unignore" if ignored else "ignore", ignored[0] if ignored else name)

    def drop(self) -> bool:
        """Lose the connection; whether there was one."""
        there = self.member.client is not None
        self.member.drop()
        return there

    def flap(self, times: int) -> None:
        """Lose the connection soon, and the next ones when they are hardly made."""
        self._flaps = times
        self._reactor.callLater(FLAP_SECONDS * self._chance.random() ** 3, self._flap)

    def _flap(self) -> None:
        self._tally["dropped connections"] += self.drop()

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
        if self.wishes.unrest:
            return f"{self.name} waits for {self.wishes.unrest}"
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
        if self._flaps:
            self.flap(self._flaps - 1)

    def shown(self, line: Line) -> None:
        """A message is on her screen."""
        self._tally["shown to people"] += 1
        self._newest = message_id(line) or 0
        self._history.show(self.name, self.name, line)
        event = self._history.events[-1]
        if isinstance(event, Shown) and event.post.kind == Kind.SAID:
            self._heard.append((event.id, event.post))

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
            if post.kind == Kind.SAID:
                self._mine.append((int(id), post))

    def postponed(self, pending: Pending, error: PychatError) -> None:
        """A post of hers was refused for the moment: it is said again, and its answer comes then."""
        post = self._asked.get(pending.key)
        if post is not None:
            self._tally["postponed"] += 1
            self._history.see(Postponed(post, error.code))

    def told(self, line: Line) -> None:
        """A verdict or a count."""
        self._history.hear(self.name, line)

    def replayed(self) -> None:
        """She knows all that she missed, and may speak again; what waits in her outbox goes out first."""
        self._reactor.callLater(0, self.wishes.insist)

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
        if self.member:
            self._person.postponed(post, error)

    def doubtful(self, post: Pending) -> None:
        if self.member:
            self._person.doubtful(post)

    def verdict(self, line: Line, raw: bytes) -> None:
        if self.member:
            self._person.told(line)

    def notice(self, line: Line, raw: bytes) -> None:
        if self.member and line.verb in (b"resync", b"error"):
            self._person.wrong(f"was told {raw!r}")
        elif self.member and line.verb == b"replayed":
            self._person.replayed()
