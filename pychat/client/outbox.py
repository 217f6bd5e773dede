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
from .asking import Asking, encoded
from .backoff import Backoff
from .store import Post, Store

WINDOW = 200
"""Posts without an answer on one connection."""

TEMPORARY = frozenset(("journal-unavailable", "busy", "going-away"))
"""Codes of refusals that get better by themselves."""

KEY_PREFIX = "m-"

_LONGEST_LABEL = b"~9999999999"

_POSTING = {
    b"set_msg": (2, {b"reply", b"enc"}),
    b"set_msg_all": (0, {b"reply", b"enc"}),
    b"edit": (2, {b"enc"}),
    b"retract": (1, set[bytes]()),
    b"react": (1, set[bytes]()),
    b"topic": (2, {b"clear"}),
}
"""The verbs that ``<accepted>`` answers: how many parts their text has at least, and their attributes."""

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

    def post(self, said: Line) -> str:
        """Keep something that is to be said, and say it if that is possible now.

        :param said: one that :func:`may_wait`.
        :raise LocalProtocolError: no line can say this, or the outbox is full.
        """
        key = f"{KEY_PREFIX}{secrets.token_hex(10)}"
        sent = encoded(said)
        attributes = {b"label": _LONGEST_LABEL, b"once": key.encode(), **sent.attributes}
        length = len(render(sent.verb, attributes, sent.text))
        if length > CLIENT_LINE_LIMIT:
            raise LocalProtocolError(
                "line-too-long",
                f"A line is at most {CLIENT_LINE_LIMIT:,} bytes long, this is one of {length:,}. Send it in parts.",
            )
        post = Post(key, render(said.verb, said.attributes)[:-1] + said.text)
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
            answer = client.post(post.said, post.key)
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
        self.watch(line)
        self._accepted(post, decode(line.attributes.get(b"id", b"")), line)
        return True

    def watch(self, line: Line) -> None:
        """What an ``<accepted>`` speaks of may have a fate that comes later: if it is for one person."""
        id = message_id(line)
        if id is not None and line.text != b"all" and not line.text.startswith(b"#"):
            self._store.watch(id, decode(line.text))

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


def is_whole(line: Line) -> bool:
    """Whether ``<accepted>`` would answer this: a verb that says something, with all that it needs."""
    if line.verb not in _POSTING:
        return False
    parts = 1 if b"clear" in line.attributes else _POSTING[line.verb][0]
    first, _, rest = line.text.lstrip(b" ").partition(b" ")
    return bool(first) + bool(rest) >= parts


def may_wait(line: Line) -> bool:
    """Whether an outbox can keep this; what has ``label=`` or ``once=`` of its own goes as it was typed."""
    return is_whole(line) and line.attributes.keys() <= _POSTING[line.verb][1]


def of_ours(line: Line) -> bool:
    """Whether a line speaks of a post that came out of an outbox like this one."""
    return line.attributes.get(b"once", b"").startswith(KEY_PREFIX.encode())
