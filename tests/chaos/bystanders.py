"""Those who cannot come back: on a plain line, or with acknowledgements only."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from pychat.client.answers import decode, message_id
from pychat.grammar import Line, parse

from .history import Accepted, Acked, Asked, Denied, Done, History, Post, Refused, Wrong


class Bystander(ClientFactory):
    """Somebody who begins anew with each connection: with nothing but a line, or with acknowledgements.

    She never hangs up while something is on its way to her: what her kernel has she reads.
    """

    noisy = False
    """What `ClientFactory` asks before it logs each connection."""

    def __init__(
        self, reactor: Any, port: int, name: str, history: History, tally: Counter[str], *,
        acks: bool, chance: random.Random,
    ) -> None:  # fmt: skip
        self.name = name
        self.acks = acks
        self.history = history
        self.tally = tally
        self.lives = 0
        self.line: BystanderLine | None = None
        """Her connection, while she is in the chat."""
        self._reactor = reactor
        self._port = port
        self._chance = chance
        self._open: BystanderLine | None = None
        self._later: Any = None
        self._gone: Deferred[None] | None = None

    def start(self) -> None:
        """Come."""
        self._later = None
        self._reactor.connectTCP("127.0.0.1", self._port, self)

    def buildProtocol(self, addr: object) -> BystanderLine:
        self.lives += 1
        self._open = BystanderLine(self)
        return self._open

    def post(self, to: str | None, padding: int) -> bool:
        """Say something, if she can; nobody keeps it if the daemon does not.

        :param to: a room stands for one that she is in.
        """
        if self.line is None:
            return False
        if to is not None and to.startswith("#"):
            if not self.line.rooms:
                return False
            to = self._chance.choice(sorted(self.line.rooms))
        post = self.history.say(self.name, to, padding)
        self.line.post(post)
        return True

    def turn(self, room: str) -> None:
        """Join a room, or leave it if she is in it."""
        if self.line is not None:
            self.line.turn(room)

    def disconnect(self) -> None:
        """Say goodbye; she comes back as somebody new."""
        if self.line is not None:
            self.line.leave()
            self.line = None

    def end(self) -> Deferred[None]:
        """Go for good."""
        gone = self._gone = Deferred()
        if self._later is not None:
            self._later.cancel()
            gone.callback(None)
        elif self.line is not None:
            self.disconnect()
        elif self._open is not None and self._open.transport is not None:
            self._open.transport.loseConnection()
        return gone

    def clientConnectionLost(self, connector: object, reason: Failure) -> None:
        self.line = self._open = None
        self._again()

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._again()

    def _again(self) -> None:
        if self._gone is not None:
            self._gone.callback(None)
        else:
            self._later = self._reactor.callLater(0.05 + 0.3 * self._chance.random(), self.start)


class BystanderLine(LineOnlyReceiver):
    """One connection of a bystander.

    :ivar rooms: those of which she is a member.
    """

    delimiter = b"\n"

    def __init__(self, owner: Bystander) -> None:
        self._owner = owner
        self._screen = f"{owner.name}#{owner.lives}"
        self._asked: dict[bytes, Post] = {}
        self.rooms: set[str] = set()
        self._joined: set[str] = set()  # at any time
        self._turns: dict[bytes, tuple[str, str]] = {}  # what she asked of which room, by label
        self._newest = 0
        self._leaving = False

    def connectionMade(self) -> None:
        if self._owner.acks:
            self.sendLine(b"<hello caps=ack>")
        self.sendLine(b"<connect>" + self._owner.name.encode())

    def post(self, post: Post) -> None:
        """Say something."""
        label = b"%d" % post.number
        self._asked[label] = post
        if post.to is None:
            self.sendLine(b"<set_msg_all label=%s>%s" % (label, post.text))
        else:
            self.sendLine(b"<set_msg label=%s>%s %s" % (label, post.to.encode(), post.text))

    def turn(self, room: str) -> None:
        """Join a room or leave it, one at a time."""
        if self._turns:
            return
        verb = "leave" if room in self.rooms else "join"
        self.rooms.discard(room)
        self._turns[b"turn"] = verb, room
        self._owner.history.see(Asked(self._screen, verb, room))
        self.sendLine(b"<%s label=turn>%s" % (verb.encode(), room.encode()))

    def _turned(self, line: Line) -> bool:
        """Whether this answers what she asked of a room."""
        verb, room = self._turns.pop(line.attributes.get(b"label", b""), ("", ""))
        if not verb:
            return False
        history = self._owner.history
        if line.verb == b"error":
            history.see(Denied(self._screen, verb, room, decode(line.attributes.get(b"code", b""))))
            return True
        history.see(Done(self._screen, verb, room, int(line.attributes.get(b"members", b"0"))))
        self._owner.tally[f"answers to {verb}"] += 1
        if verb == "join":
            self.rooms.add(room)
            self._joined.add(room)
        return True

    def leave(self) -> None:
        """Say goodbye, and read on to the end; the daemon listens no more, so nothing is acknowledged either."""
        self._leaving = True
        self.sendLine(b"<disconnect>")

    def lineReceived(self, raw: bytes) -> None:
        line = parse(raw)
        owner = self._owner
        if line.verb == b"msg":
            self._message(line)
        elif self._turned(line):
            pass
        elif line.verb == b"connected":
            owner.line = self
        elif line.verb in (b"accepted", b"error"):
            post = self._asked.pop(line.attributes.get(b"label", b""), None)
            id = message_id(line)
            if post is not None and id is not None:
                owner.history.see(Accepted(post, id))
                owner.tally["accepted"] += 1
            elif post is not None:
                owner.history.see(Refused(post, decode(line.attributes.get(b"code", b""))))
            elif line.attributes.get(b"code") == b"name-taken":
                self.transport.loseConnection()
            else:
                owner.history.see(Wrong(owner.name, f"was told {raw!r}"))
        elif line.verb in (b"sent", b"handed", b"delivered", b"read", b"undelivered", b"receipt"):
            owner.history.hear(owner.name, line)

    def _message(self, line: Line) -> None:
        owner = self._owner
        id = message_id(line)
        if owner.acks and id is not None:
            if id <= self._newest:
                return  # sent again
            self._newest = id
        if b"replay" in line.attributes and not owner.acks:
            # People are told what was said in a room before they joined it.
            if decode(line.attributes.get(b"to", b"")) not in self._joined:
                owner.history.see(Wrong(owner.name, f"was told what was said in a room of others: {line}"))
            return
        owner.history.show(owner.name, self._screen, line)
        if owner.acks and id is not None and not self._leaving:
            self.sendLine(b"<ack>%d" % id)
            owner.history.see(Acked(owner.name, id))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._asked.clear()
