"""Somebody who stays in a chat over many connections.

Theory of operation.  A member has one connection at a time, and between two of them a wait (`retry`).  On a new one
it says who it was, with the newest token of its `store`; what comes back is, in this order, a token, what was missed,
and ``<replayed>``; only then the `outbox` goes on.  These are the rules that keep everything exactly once:

- A new token is stored before anything more is said: the old one dies with the first line after it.
- A message is shown, then its id is stored as ``after``, then it is acknowledged; all messages of a chunk together, or
  later, all that a person has `seen` by then.  What comes again meanwhile is known and not shown again.
- A post is stored as sent before it is written, and only unanswered posts are written again, with the same key.
- When the identity has ended (``bad-token``, or a daemon that grants no ``resume``) the member joins anew under its
  name.  What had been written without an answer is in doubt then, and is told to be.
- With a first token something is said at once, ``<pong>``: until then the daemon cannot know that it arrived, and
  lets the name go to whoever asks for it, should the connection break.

======================  ===========================================================================
the connection ends     and the member
======================  ===========================================================================
``replaced``            ends: the same identity came back elsewhere
``bye``                 ends: somebody said ``<disconnect>``
otherwise               comes back
======================  ===========================================================================

A name that is taken ends it as well, unless it may be our own (`retry`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..deadline import Deadline
from ..errors import PychatError
from ..grammar import Line
from .answers import Joined, LinkError, Refused
from .asking import about, message
from .connection import Client, connect
from .hearing import Hearing
from .observer import Linked, Observer
from .outbox import Outbox
from .retry import Retry
from .seen import Seen, Shown, at_once
from .store import Post, Store

CAPS = ("ack", "resume", "multiline", "udp")

REPLAY_TIMEOUT = 60.0
"""Seconds without a byte, while what was missed is told, after which the connection is given up."""


class Member:
    """One person in a chat, over as many connections as it takes.

    :ivar name: as the daemon shows it, once it has.
    :ivar client: the connection, while the member is in the chat.
    :ivar goodbye: what the daemon said at the end, if it said something.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        name: str,
        store: Store,
        observer: Observer,
        *,
        patient: bool = False,
        random: Callable[[], float] = random.random,
        connect: Callable[..., Deferred[Client]] = connect,
        shown: Shown = at_once,
    ) -> None:
        """
        :param patient: also the first connection is tried again when there is none.
        :param random: gives numbers from 0 to 1, for the back-off.
        :param shown: for an observer that shows what it is told later: what is not yet shown is not acknowledged.
        """
        self._reactor = reactor
        self._where = (host, port)
        self._typed_name = name
        self._store = store
        self._observer = observer
        self._connect = connect
        self._retry = Retry(reactor.seconds, random, patient=patient)
        self._again = Deadline(reactor, self._attempt)
        self._replay = Deadline(reactor, self._silent)
        self._outbox = Outbox(
            reactor,
            store,
            random,
            lambda *told: self._hearing.was_accepted(*told),
            lambda *told: self._tell("refused", *told),
            lambda *told: self._tell("postponed", *told),
            lambda *told: self._tell("doubtful", *told),
        )
        self._seen = Seen(store, shown, self._seen_later)
        self._hearing = Hearing(store, self._seen, self._outbox, self._tell)
        self._attempting: Deferred[None] | None = None
        self._opening: Client | None = None  # a connection on which we are not yet in the chat
        self._replaying = False
        self._count = 0
        self._started: Deferred[None] | None = None
        self._stopping = False  # we have been asked to end
        self._over: PychatError | None = None
        self._ended: list[Deferred[PychatError]] = []
        self.name = name
        self.client: Client | None = None
        self.goodbye: Line | None = None

    # -- what a program asks for

    def start(self) -> Deferred[None]:
        """Come; fires at the first ``<connected>``.  To be called once.

        :return: fails with :class:`Refused` if the daemon does not want this name, :class:`LinkError` if there is no
            connection (unless the member is patient).  Cancelling is to :meth:`leave`.
        """
        started: Deferred[None] = Deferred(self._start_cancelled)
        self._started = started
        self._attempt()
        return started

    def _start_cancelled(self, _: Deferred[None]) -> None:
        self._started = None
        self.leave()

    def post(self, to: str | None, text: str | bytes, reply: int | str | None = None) -> str:
        """Say something to one person, to a room, or to everybody (``None``): now, or when there is a connection again.

        :param reply: the id of the message that it answers.
        :return: its ``once=`` key; it is kept in the outbox.
        :raise LocalProtocolError: no line can say this, or the outbox is full.
        """
        return self._outbox.post(message(to, text, reply))

    def edit(self, id: int | str, text: str | bytes) -> str:
        """Give a message of ours another text; like :meth:`post`."""
        return self._outbox.post(about("edit", id, text))

    def retract(self, id: int | str) -> str:
        """Take a message of ours back; like :meth:`post`."""
        return self._outbox.post(about("retract", id))

    def react(self, id: int | str, reaction: str = "") -> str:
        """React to a message, or take that back, without a reaction; like :meth:`post`."""
        return self._outbox.post(about("react", id, reaction))

    def post_line(self, said: Line) -> str:
        """Say what somebody typed; like :meth:`post`.

        :param said: one that :func:`~pychat.client.outbox.may_wait`.
        """
        return self._outbox.post(said)

    @property
    def pending(self) -> tuple[Post, ...]:
        """What has no answer yet, oldest first."""
        return tuple(self._store.posts.values())

    def settled(self) -> Deferred[bool]:
        """Fires with True once all posts have their answers, with False when one has none and gets none soon."""
        return self._outbox.settled()

    def ended(self) -> Deferred[PychatError]:
        """Fires with the reason once the member has ended; it may have already."""
        if self._over is not None:
            return succeed(self._over)
        ended: Deferred[PychatError] = Deferred(lambda ended: self._ended.remove(ended))
        self._ended.append(ended)
        return ended

    def leave(self) -> Deferred[PychatError]:
        """Say ``<disconnect>``: the identity ends, and the store forgets it once the goodbye came; never fails.

        What is still pending stays in the outbox.  Without a connection it is like :meth:`suspend`, and also while it
        comes back: nothing may be said then.
        """
        client = self.client
        if client is None and self._store.token is None:
            client = self._opening  # an identity that may just be made ends at once
        if client is None or self._stopping:
            return self.suspend()
        self._stop()
        client.leave().addCallback(self._left, client)
        return self.ended()

    def _left(self, why: LinkError, client: Client) -> None:
        self.goodbye = client.goodbye
        self._end(why)

    def suspend(self) -> Deferred[PychatError]:
        """Close the connection and keep everything: the identity is away until somebody starts with this store."""
        if self._over is not None:
            return succeed(self._over)
        ended = self.ended()
        client = self.client or self._opening
        self._stop()
        if client is None:
            self._end(_closed())
        else:
            client.close().addCallback(lambda _: self._end(_closed()))
        return ended

    def _stop(self) -> None:
        self._stopping = True
        self._outbox.stop()
        self._again.cancel()
        if self._attempting is not None:
            self._attempting.cancel()

    def drop(self) -> None:
        """Break the connection as a bad network does; the member comes back by itself."""
        client = self.client or self._opening
        if client is not None:
            client.abort()

    # -- coming

    def _attempt(self) -> None:
        self._attempting = attempting = Deferred.fromCoroutine(self._come())
        attempting.addErrback(self._failed)

    async def _come(self) -> None:
        host, port = self._where
        shown = self._seen.told if self._store.token is not None else -1
        client = await self._connect(self._reactor, host, port, self._noticed, shown=shown, taken=self._taken)
        self._opening = client
        hello: Line | None = None
        try:
            hello = (await client.hello(CAPS)).line
        except Refused:
            pass  # a daemon that is older than <hello>
        try:
            joined, resumed, rewound = await self._join(client)
        except LinkError:
            if client.goodbye is None:
                self._retry.unanswered()
            raise
        self._attempting = None
        # From here to the commit nothing may wait.
        if not resumed:
            self._outbox.doubt()
            self._begin_anew(joined.token)
        elif joined.token is not None:
            self._store.identify(joined.token)
        self._store.commit(sync=True)
        self._opening = None
        link = Linked(joined.name, resumed, joined.durable, self._count + 1, hello, rewound)
        self._linked(client, link)

    async def _join(self, client: Client) -> tuple[Joined, bool, bool]:
        """Say who we are; whether we are still who we were, and whether the daemon's journal has gone back."""
        token, after = self._store.token, self._store.after
        if token is not None and "resume" in client.caps:
            try:
                joined = await client.join(self._typed_name, token, after, self._store.oldest_open)
                return joined, True, False
            except Refused as error:
                if error.code not in ("bad-token", "not-sent"):
                    raise
                client.shown = -1
                if error.code == "not-sent":
                    # Its journal has lost what we have read: go on from what it knows.
                    joined = await client.join(self._typed_name, token)
                    self._begin_anew(token)
                    return joined, True, True
        client.shown = -1
        try:
            return await client.join(self._typed_name), False, False
        except LinkError:
            if client.goodbye is None:
                self._retry.leaves_ghost()
            raise

    def _begin_anew(self, token: str | None) -> None:
        """Ids begin anew."""
        self._store.identify(token, anew=True)
        self._seen.anew()

    def _linked(self, client: Client, link: Linked) -> None:
        self.client = client
        self.name = link.name
        self._count = link.count
        self._retry.linked()
        self._replaying = link.resumed
        client.ended().addCallback(self._lost, client)
        if link.resumed:
            self._outbox.expect()
            self._replay.set(REPLAY_TIMEOUT)
        self._tell("linked", link)
        started, self._started = self._started, None
        if started is not None:
            started.callback(None)
        if not link.resumed:
            if self._store.token is not None:
                self._say_something(client)
            self._live(client)

    def _say_something(self, client: Client) -> None:
        """Show the daemon that the answer to the first ``<connect>`` came."""
        try:
            client.send(b"<pong>")
        except LinkError:
            pass  # it has ended while the observer was told

    def _live(self, client: Client) -> None:
        """All that was missed has been told."""
        self._replaying = False
        self._replay.cancel()
        if self.client is client and not self._stopping:
            self._outbox.open(client)

    def _silent(self) -> None:
        """The daemon has stopped in the middle of what was missed."""
        self.drop()

    # -- going

    def _failed(self, failure: Failure) -> None:
        """An attempt came to nothing."""
        self._attempting = None
        client, self._opening = self._opening, None
        if self._stopping:
            return
        error = failure.value
        if not isinstance(error, PychatError):
            self._log.failure("an attempt to connect failed", failure)
            error = LinkError("lost", "Something went wrong here; the log has more.")
        if client is not None:
            client.abort()
        if self._retry.worth(error, starting=self._started is not None):
            self._wait(error)
        else:
            self._end(error)

    def _lost(self, why: LinkError, client: Client) -> None:
        """A connection on which we were in the chat has ended."""
        self.client = None
        self._replaying = False
        self._replay.cancel()
        self._outbox.close()
        self._store.commit()
        if why.code == "bye":
            self._outbox.doubt()  # all was answered before the goodbye, unless the daemon is at fault
            self._begin_anew(None)
        if why.code == "bye" or self._stopping:
            self.goodbye = client.goodbye
            self._end(why)
        elif why.code == "replaced":
            self._end(
                LinkError("replaced", f"{self.name} came back on another connection, so this one has ended.")
            )
        else:
            if self._store.token is None:
                self._retry.leaves_ghost()
            self._retry.lost()
            self._wait(why)

    def _wait(self, why: PychatError) -> None:
        delay = self._retry.delay()
        self._again.set(delay)
        self._tell("broken", why, delay)

    def _end(self, why: PychatError) -> None:
        if self._over is not None:
            return
        self._over = why
        self._again.cancel()
        self._replay.cancel()
        self._store.commit()
        started, self._started = self._started, None
        self._tell("ended", why)
        if started is not None:
            started.errback(why)
        ended, self._ended = self._ended, []
        for deferred in ended:
            deferred.callback(why)

    # -- lines in

    def _noticed(self, line: Line, raw: bytes) -> None:
        self._hearing.hear(line, raw)
        if line.verb == b"replayed" and self._replaying and self.client is not None:
            self._live(self.client)

    def _taken(self) -> int:
        """A chunk was told: what is seen of it is kept, and what may go out now goes out, before it is acknowledged."""
        if self._replaying:
            self._replay.set(REPLAY_TIMEOUT)
        self._seen.check()
        self._outbox.flush()
        return self._store.after

    def _seen_later(self) -> None:
        self._store.commit()
        if self.client is not None:
            self.client.acknowledge(self._store.after)

    def _tell(self, what: str, *told: Any) -> None:
        try:
            getattr(self._observer, what)(*told)
        except Exception:
            self._log.failure("the observer of a member failed")


def _closed() -> LinkError:
    return LinkError("closed", "The connection to the chat was closed.")
