"""What a client keeps of a chat between its connections: who it is there, how far it has read, what it has to say.

Everything is held in memory, bounded, and changed at once; :meth:`MemoryStore.commit` makes what was changed since the
last one safe, all of it or nothing.  `files` keeps it in a file; what is here ends with the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from ..errors import LocalProtocolError
from ..grammar import Line, parse

POSTS_LIMIT = 10_000
"""Posts in an outbox."""

POSTS_BYTES = 8 * 1024 * 1024
"""Bytes of their texts together."""

FATES_LIMIT = 10_000
"""Messages whose fate is remembered; the oldest are forgotten first."""

FINAL_WORDS = frozenset(("sent", "handed", "delivered", "read", "undelivered"))
"""After one of these nothing has to be asked for any more: `sent` and `handed` are only said of plain clients."""


@dataclass(frozen=True, slots=True)
class Post:
    """Something that is to be said: a message, or what is said of one, such as ``<edit>42 better words``.

    :ivar key: its ``once=`` key.
    :ivar line: as somebody types it, without that key; its text may hold LF, which are encoded when it is sent.
    :ivar sent: it may have been written to a connection, so the daemon may have it.
    """

    key: str
    line: bytes
    sent: bool = False

    @property
    def said(self) -> Line:
        """The line, parsed."""
        return parse(self.line)

    @property
    def text(self) -> bytes:
        """What there is to read in it, without whom or what it is for."""
        said = self.said
        return said.text if said.verb == b"set_msg_all" else said.text.lstrip(b" ").partition(b" ")[2]


@dataclass(frozen=True, slots=True)
class Fate:
    """What is known of a message of ours.

    :ivar to: whom it is for; empty where nobody waits for a last word, as with a message to everybody or to a room.
    :ivar words: those that were told of it: ``delivered`` and the like.
    """

    to: str
    words: frozenset[str] = frozenset()

    @property
    def open(self) -> bool:
        """More will come."""
        return bool(self.to) and not self.words & FINAL_WORDS


class Store(Protocol):
    """What :class:`~pychat.client.member.Member` needs to be able to go on later."""

    @property
    def token(self) -> str | None:
        """The newest token that a daemon gave; ``None`` without an identity to come back as."""

    @property
    def after(self) -> int:
        """The highest id that was taken care of as this identity; 0 for none."""

    @property
    def posts(self) -> Mapping[str, Post]:
        """The outbox by key, oldest first."""

    @property
    def oldest_open(self) -> int | None:
        """The oldest private message of ours whose fate is open."""

    def identify(self, token: str | None, *, anew: bool = False) -> None:
        """Keep a new token.

        :param anew: it is that of a new identity, which has read nothing and said nothing yet.
        """

    def reached(self, id: int) -> None:
        """Everything up to this id is taken care of."""

    def add(self, post: Post) -> None:
        """Put a post into the outbox.

        :raise LocalProtocolError: ``outbox-full``.
        """

    def mark(self, keys: Iterable[str], *, sent: bool) -> None:
        """These are about to be written to a connection; or the daemon said that it has not taken them."""

    def settle(self, key: str) -> None:
        """This one has its answer: it leaves the outbox."""

    def watch(self, id: int, to: str) -> None:
        """A private message of ours was accepted; verdicts on it will come."""

    def tell(self, id: int, word: str) -> bool:
        """Note a verdict; whether it is news."""

    def commit(self, *, sync: bool = False) -> None:
        """Make all changes safe against the end of the process; with ``sync`` against that of the machine."""

    def close(self) -> None:
        """Nothing more will be kept."""


class MemoryStore:
    """A store that ends with the process."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.after = 0
        self.posts: dict[str, Post] = {}
        self._size = 0  # bytes of their texts
        self._fates: dict[int, Fate] = {}
        self._open: set[int] = set()

    def identify(self, token: str | None, *, anew: bool = False) -> None:
        self.token = token
        if anew:
            self.after = 0
            self._fates.clear()
            self._open.clear()

    def reached(self, id: int) -> None:
        self.after = max(self.after, id)

    def add(self, post: Post) -> None:
        if len(self.posts) >= POSTS_LIMIT or self._size + len(post.text) > POSTS_BYTES:
            raise LocalProtocolError(
                "outbox-full", "Too much waits to be sent already. Wait until the chat is back."
            )
        self.posts[post.key] = post
        self._size += len(post.text)

    def mark(self, keys: Iterable[str], *, sent: bool) -> None:
        for key in keys:
            self.posts[key] = replace(self.posts[key], sent=sent)

    def settle(self, key: str) -> None:
        post = self.posts.pop(key, None)
        if post is not None:
            self._size -= len(post.text)

    @property
    def oldest_open(self) -> int | None:
        return min(self._open, default=None)

    def watch(self, id: int, to: str) -> None:
        fate = self._fates.get(id, Fate(""))
        if not fate.to:
            self._note(id, Fate(to, fate.words))

    def tell(self, id: int, word: str) -> bool:
        fate = self._fates.get(id, Fate(""))
        if word in fate.words:
            return False
        self._note(id, Fate(fate.to, fate.words | {word}))
        return True

    def _note(self, id: int, fate: Fate) -> None:
        self._fates[id] = fate
        if fate.open:
            self._open.add(id)
        else:
            self._open.discard(id)
        if len(self._fates) > FATES_LIMIT:
            self._forget(next(iter(self._fates)))

    def _forget(self, id: int) -> None:
        del self._fates[id]
        self._open.discard(id)

    def commit(self, *, sync: bool = False) -> None:
        """Nothing to be done."""

    def close(self) -> None:
        """Nothing to be done."""
