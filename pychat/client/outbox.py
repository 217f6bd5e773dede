"""What is still to be said: in order, each thing once, however often the connection breaks.

Theory of operation.  A post is in the store before anybody is told that it will be sent, and stays there until its
answer came.  What goes out is marked in the store *before* it is written, so a post that is not marked has never left
this machine.  While the identity lives every unanswered post may be written again: its ``once=`` key makes the daemon
take it once.  When the identity has ended the daemon has forgotten the key: a marked post is then in doubt, and told as
that.

At most :data:`WINDOW` posts are unanswered on a connection.  One that is refused for the moment goes out again after a
while, with all that was refused with it, in order; others that were accepted meanwhile stand before it.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from ..deadline import Deadline
from ..errors import LocalProtocolError, PychatError
from ..grammar import Line, render
from ..vocabulary import CLIENT_LINE_LIMIT
from .answers import Answer, LinkError, decode, message_id
from .asking import Asking, to_bytes
from .backoff import Backoff
from .store import Post, Store

WINDOW = 200
"""Posts without an answer on one connection."""

TEMPORARY = frozenset(("journal-unavailable", "busy", "going-away"))
"""Codes of refusals that get better by themselves."""

KEY_PREFIX = "m-"

_LONGEST_LABEL = b"~9999999999"

Accepted = Callable[[Post, str, Line], object]
Refusal = Callable[[Post, PychatError], object]


class Outbox:
    """The posts of one member.

    :ivar waits: something was refused for the moment; it goes out again later.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        random: Callable[[], float],
        accepted: Accepted,
        refused: Refusal,
        postponed: Refusal,
        doubtful: Callable[[Post], object],
    ) -> None:
        """
        :param accepted: and ``refused`` and ``doubtful``: called once for each post, when it is settled.
        :param postponed: called once for a post that has to wait because the daemon refused it for the moment.
        """
        self._store = store
        self._accepted = accepted
        self._refused = refused
        self._postponed = postponed
        self._told: set[str] = set()  # the posts in the store that were told to be postponed
        self._doubtful = doubtful
        self._backoff = Backoff(random)
        self._again = Deadline(clock, self._refill)
        self._client: Asking | None = None
        self._expects = False  # a connection is there, on which we may speak soon
        self._queue: deque[str] = deque()
        self._flight: set[str] = set()
        self._settled: list[Deferred[bool]] = []
        self.waits = False

    # -- in

    def post(self, to: str | None, text: str | bytes) -> str:
        """Keep something that is to be said, and say it if that is possible now.

        :raise LocalProtocolError: no line can say this, or the outbox is full.
        """
        post = Post(f"{KEY_PREFIX}{secrets.token_hex(10)}", to, to_bytes(text))
        verb, argument = _say(post)
        attributes = {b"label": _LONGEST_LABEL, b"once": post.key.encode()}
        if len(render(verb.encode(), attributes, argument)) > CLIENT_LINE_LIMIT:
            raise LocalProtocolError("line-too-long", f"A line is at most {CLIENT_LINE_LIMIT:,} bytes long.")
        self._store.add(post)
        self._queue.append(post.key)
        self.flush()
        return post.key

    # -- out

    def expect(self) -> None:
        """Here is a connection; what the daemon has of us is being told, and then it is opened."""
        self._expects = True

    def open(self, client: Asking) -> None:
        """Here is a connection, and what the daemon has of us was told: all that is left goes out."""
        self._expects = False
        self._client = client
        self._refill()

    def stop(self) -> None:
        """Nothing more is sent; answers may still come."""
        self._expects = False
        self._client = None
        self._again.cancel()
        self._check()

    def close(self) -> None:
        """The connection is gone."""
        self._expects = False
        self._client = None
        self._again.cancel()
        self.waits = False
        self._flight.clear()
        self._backoff.reset()
        self._check()

    def flush(self) -> None:
        """Make all changes of the store safe, and then send what may be sent: once for each chunk of bytes."""
        client = self._client
        posts: list[Post] = []
        while client is not None and not self.waits and self._queue and len(self._flight) < WINDOW:
            post = self._store.posts.get(self._queue.popleft())
            if post is not None and post.key not in self._flight:
                posts.append(post)
                self._flight.add(post.key)
        self._store.mark([post.key for post in posts if not post.sent], sent=True)
        self._store.commit()
        for post in posts:
            assert client is not None
            verb, argument = _say(post)
            answer = client.command(verb, argument, once=post.key)
            answer.addCallbacks(
                self._answered, self._failed, callbackArgs=(post.key,), errbackArgs=(post.key,)
            )
        self._check()

    def _refill(self) -> None:
        self.waits = False
        self._queue = deque(key for key in self._store.posts if key not in self._flight)
        self.flush()

    # -- answers

    def _answered(self, answer: Answer, key: str) -> None:
        self._flight.discard(key)
        self._backoff.reset()
        self.settle(key, answer.line)

    def _failed(self, failure: Failure, key: str) -> None:
        error = failure.value
        if isinstance(error, LinkError) or not isinstance(error, PychatError):
            return  # the connection is gone, and what was under way with it
        self._flight.discard(key)
        post = self._store.posts.get(key)
        if post is None:
            return
        if error.code in TEMPORARY:
            self._store.mark((key,), sent=False)  # the daemon does not have it
            if not self.waits:
                self.waits = True
                self._again.set(self._backoff.delay())
                self._check()
            if key not in self._told:
                self._told.add(key)
                self._postponed(post, error)
            return
        self._settle(key)
        self._refused(post, error)

    def settle(self, key: str, line: Line) -> bool:
        """The daemon has accepted what has this key; whether that is news."""
        post = self._store.posts.get(key)
        if post is None:
            return False
        self._settle(key)
        id = message_id(line)
        if id is not None and post.to is not None:
            self._store.watch(id, post.to)
        self._accepted(post, decode(line.attributes.get(b"id", b"")), line)
        return True

    def doubt(self) -> None:
        """The identity has ended: what the daemon may have had from it is told and not sent again."""
        for post in [post for post in self._store.posts.values() if post.sent]:
            self._doubtful(post)
            self._settle(post.key)

    def _settle(self, key: str) -> None:
        self._told.discard(key)
        self._store.settle(key)

    # -- the end

    def settled(self) -> Deferred[bool]:
        """Fires with True once nothing is left, with False when something is and cannot be said now."""
        if not self._store.posts:
            return succeed(True)
        if self._stuck:
            return succeed(False)
        settled: Deferred[bool] = Deferred(lambda settled: self._settled.remove(settled))
        self._settled.append(settled)
        return settled

    @property
    def _stuck(self) -> bool:
        """What is left cannot be said soon."""
        return self.waits or (self._client is None and not self._expects)

    def _check(self) -> None:
        if self._settled and (not self._store.posts or self._stuck):
            waiting, self._settled = self._settled, []
            for settled in waiting:
                settled.callback(not self._store.posts)


def _say(post: Post) -> tuple[str, bytes]:
    """The verb and the argument that say this."""
    if post.to is None:
        return "set_msg_all", post.text
    try:
        return "set_msg", post.to.encode() + b" " + post.text
    except UnicodeEncodeError:
        raise LocalProtocolError("bad-name", "A name is UTF-8 text.") from None


def typed_post(line: Line) -> tuple[str | None, bytes] | None:
    """To whom and what a typed line says, if an outbox can keep it; it has no attributes of its own then."""
    if line.attributes:
        return None
    if line.verb == b"set_msg_all":
        return None, line.text
    if line.verb != b"set_msg":
        return None
    name, _, text = line.text.lstrip(b" ").partition(b" ")
    try:
        return (name.decode(), text) if name and text else None
    except UnicodeDecodeError:
        return None


def of_ours(line: Line) -> bool:
    """Whether a line speaks of a post that came out of an outbox like this one."""
    return line.attributes.get(b"once", b"").startswith(KEY_PREFIX.encode())
