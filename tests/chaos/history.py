"""What was said, and what everybody saw of it, in one order: all who look are in one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pychat.client.answers import decode, message_id
from pychat.grammar import Line


class Post(NamedTuple):
    """Something that was said.  Its text is said once only."""

    sender: str
    number: int
    """Those of one sender rise in the order in which they were posted."""
    to: str | None
    """``None``: everybody."""
    text: bytes


class Shown(NamedTuple):
    """A message was shown."""

    who: str
    screen: str
    """Who cannot come back has a new one with each connection."""
    id: int
    post: Post


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
    """Somebody was told what became of a message to everybody."""

    who: str
    id: int
    sent: int
    delivered: int
    undelivered: int
    of: int


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


class Wrong(NamedTuple):
    """Somebody saw what must not happen at all, whatever else does."""

    who: str
    what: str


Event = Shown | Accepted | Verdict | Receipt | Acked | Read | Refused | Wrong


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

    :ivar posts: what was said, by its text.
    :ivar events: what was seen, in the order in which it was.
    """

    cast: Cast
    posts: dict[bytes, Post] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def say(self, sender: str, to: str | None, padding: int = 0) -> Post:
        """Make a post whose text tells who says it, which of hers it is, and to whom it goes."""
        number = self._numbers[sender] = self._numbers.get(sender, 0) + 1
        text = f"{sender} {number} {to or 'all'} {'.' * padding}".rstrip().encode()
        post = self.posts[text] = Post(sender, number, to, text)
        return post

    def see(self, event: Event) -> None:
        """Note what somebody saw just now."""
        self.events.append(event)

    def show(self, who: str, screen: str, id: int | None, sender: str, text: bytes) -> None:
        """Note a message that somebody was shown just now, if it is one that was said."""
        post = self.posts.get(text)
        if id is None or post is None or post.sender != sender:
            self.see(Wrong(who, f"was shown what {sender} never said: id={id} {text!r}"))
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
            self.see(Receipt(who, id, sent, delivered, undelivered, of))
        else:
            reason = decode(line.attributes.get(b"reason", b""))
            self.see(Verdict(who, word, id, decode(line.text), reason))
