"""What was said, and what everybody saw of it, in one order: all who look are in one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pychat.client.answers import decode, message_id
from pychat.grammar import Line
from pychat.rendering import REACTION_TAKEN_BACK, TAKEN_BACK
from pychat.vocabulary import Kind

ABOUT = {b"edit": Kind.EDIT, b"retract": Kind.RETRACT, b"react": Kind.REACT}
"""The attribute that names the message which another one is about."""


class Post(NamedTuple):
    """Something that was said.  No two are alike: texts are said once only, and each is taken back once at most."""

    sender: str
    number: int
    """Those of one sender rise in the order in which they were posted."""
    to: str | None
    """A name, or a room with its ``#``; ``None``: everybody."""
    text: bytes
    kind: int = Kind.SAID
    ref: int = 0
    """The id of the message that it is about."""

    @property
    def room(self) -> str:
        """In which it was said, if in any."""
        return self.to if self.to is not None and self.to.startswith("#") else ""

    @property
    def person(self) -> str:
        """To whom it was said, if to one alone."""
        return "" if self.to is None or self.room else self.to


class Said(NamedTuple):
    """Somebody said something, or will as soon as she can."""

    post: Post


class Shown(NamedTuple):
    """A message was shown."""

    who: str
    screen: str
    """Who cannot come back has a new one with each connection."""
    id: int
    post: Post


class Hidden(NamedTuple):
    """A message that had been taken back was told to who missed it: without its text."""

    who: str
    screen: str
    id: int
    sender: str
    to: str
    kind: int
    ref: int


class Accepted(NamedTuple):
    """A sender was told that a post is kept."""

    post: Post
    id: int


class Verdict(NamedTuple):
    """Somebody was told what became of a private message."""

    who: str
    word: str
    id: int
    name: str
    reason: str = ""


class Receipt(NamedTuple):
    """Somebody was told what became of a message to everybody, or in a room."""

    who: str
    id: int
    sent: int
    delivered: int
    undelivered: int
    of: int
    where: str = "all"


class Acked(NamedTuple):
    """Somebody acknowledged everything up to here: by ``<ack>``, or by ``after=`` when she came back."""

    who: str
    id: int


class Read(NamedTuple):
    """Somebody said that she has read everything up to here, which acknowledges it."""

    who: str
    id: int


class Refused(NamedTuple):
    """A sender was told that a post is not taken."""

    post: Post
    code: str


class Postponed(NamedTuple):
    """A sender was told that a post is not taken for the moment; what she said behind it may come before it."""

    post: Post
    code: str


class Asked(NamedTuple):
    """Somebody asked to join, leave, mute or unmute a room, or to ignore a name or that no more: maybe once again."""

    who: str
    """Of those who cannot come back it is her screen: what they are members of ends with it."""
    verb: str
    what: str


class Done(NamedTuple):
    """She was answered that it is so."""

    who: str
    verb: str
    what: str
    members: int = 0
    """Of the room that she joined, as she was told."""


class Denied(NamedTuple):
    """She was refused it."""

    who: str
    verb: str
    what: str
    code: str


class Wrong(NamedTuple):
    """Somebody saw what must not happen at all, whatever else does."""

    who: str
    what: str


Look = tuple[str, int, int, bytes]
"""What is seen of a post, which tells it from all others: sender, kind, what it is about, and text."""

Event = (
    Said
    | Shown
    | Hidden
    | Accepted
    | Verdict
    | Receipt
    | Acked
    | Read
    | Refused
    | Postponed
    | Asked
    | Done
    | Denied
    | Wrong
)


class Move(NamedTuple):
    """Somebody joined a room or left it, by the journal."""

    id: int
    who: str
    room: str
    joins: bool


@dataclass
class Journal:
    """What was kept, in the end.

    :ivar posts: by their ids.
    :ivar moves: who joined and left which room, in order.
    :ivar blocked: ids of what its recipient is never shown, for she ignored its sender.
    """

    posts: dict[int, Post] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    blocked: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Cast:
    """Who is there: names of those who come back, of those who only acknowledge, and of those on plain lines."""

    resuming: frozenset[str]
    acking: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()

    @property
    def bystanders(self) -> frozenset[str]:
        """Those who cannot come back."""
        return self.acking | self.plain


@dataclass
class History:
    """Everything, from the outside.

    :ivar posts: what was said, by what it looks like.
    :ivar events: what was seen, in the order in which it was.
    """

    cast: Cast
    posts: dict[Look, Post] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def say(
        self, sender: str, to: str | None, padding: int = 0, kind: int = Kind.SAID, ref: int = 0, bare: bool = False
    ) -> Post:  # fmt: skip
        """Make a post whose text tells who says it, which of hers it is, and to whom it goes.

        :param padding: bytes that it is longer.
        :param bare: it has no text: what takes a reaction back.  A retraction never has any.
        """
        number = self._numbers[sender] = self._numbers.get(sender, 0) + 1
        text = f"{sender} {number} {to or 'all'} {'.' * padding}".rstrip().encode()
        if bare or kind == Kind.RETRACT:
            text = b""
        post = self.posts[sender, kind, ref, text] = Post(sender, number, to, text, kind, ref)
        self.see(Said(post))
        return post

    def see(self, event: Event) -> None:
        """Note what somebody saw just now."""
        self.events.append(event)

    def show(self, who: str, screen: str, line: Line) -> None:
        """Note a message that somebody was shown just now, if it is one that was said."""
        id, sender = message_id(line), decode(line.attributes.get(b"from", b""))
        kind, ref = Kind.SAID, 0
        for key, about in ABOUT.items():
            if key in line.attributes:
                kind, ref = about, int(line.attributes[key])
        text = line.text
        if (kind, text) in ((Kind.RETRACT, TAKEN_BACK), (Kind.REACT, REACTION_TAKEN_BACK)):
            text = b""
        post = self.posts.get((sender, kind, ref, text))
        # A private message on a plain line does not say for whom it is.
        where = decode(line.attributes.get(b"to", who.encode()))
        if id is not None and text == TAKEN_BACK and b"replay" in line.attributes:
            self.see(Hidden(who, screen, id, sender, where, kind, ref))
        elif id is None or post is None or where != (post.to or "all"):
            told = f"id={id} to {where} about {ref} {line.text!r}"
            self.see(Wrong(who, f"was shown what {sender} never said: {told}"))
        else:
            self.see(Shown(who, screen, id, post))

    def hear(self, who: str, line: Line) -> None:
        """Note a verdict or a count that somebody was told just now."""
        id = message_id(line)
        word = decode(line.verb)
        if id is None:
            self.see(Wrong(who, f"was told {word} of nothing"))
        elif word == "receipt":
            sent, delivered, undelivered, of = (
                int(line.attributes.get(key, b"0")) for key in (b"sent", b"delivered", b"undelivered", b"of")
            )
            self.see(Receipt(who, id, sent, delivered, undelivered, of, decode(line.text)))
        else:
            reason = decode(line.attributes.get(b"reason", b""))
            self.see(Verdict(who, word, id, decode(line.text), reason))
