"""A chat connection that comes back: what a program without a person stands on that moves files.

When the connection is lost, it is made again, with a growing wait between the attempts, for as long as there was
progress not too long ago.  Everything that needs a connection waits for `Lane.client` meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from ..errors import PychatError
from .answers import LinkError, Refused
from .backoff import Backoff
from .connection import Client, connect
from .wording import SHORT_REASONS, soon

FIRST, CEILING = 0.5, 2.0
"""Seconds that the first wait takes at most, and any."""

PATIENCE = 60.0
"""Seconds without progress after which a program gives up, unless it is told another number."""

PASSING = ("going-away", "busy", "name-taken", "journal-unavailable")
"""Refusals that may be over at the next attempt."""

Enter = Callable[[Client], Coroutine[Any, Any, None]]
"""What is said first on each connection."""


class Lane:
    """A connection to a chat, and then the next one.

    :ivar count: how many there were.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        enter: Enter,
        say: Callable[[str], object],
        *,
        patience: float = PATIENCE,
        observer: Callable[..., object] = lambda line, raw: None,
        random: Callable[[], float] = random.random,
        connect: Callable[..., Deferred[Client]] = connect,
    ) -> None:
        """
        :param enter: is run on each new connection before anybody gets it.
        :param say: is given what a person wants to know.
        :param patience: seconds without progress after which no attempt is made any more.
        :param observer: is given the notices of each connection.
        """
        self._reactor = reactor
        self._where = host, port
        self._enter = enter
        self._say = say
        self._patience = patience
        self._observer = observer
        self._connect = connect
        self._backoff = Backoff(random, FIRST, CEILING)
        self._moved = reactor.seconds()
        self._told_delay = 0.0
        self._client: Client | None = None
        self._since = 0.0
        self._opening: Client | None = None
        self._waiting: list[Deferred[Client]] = []
        self._coming: Deferred[None] | None = None
        self._over: PychatError | None = None
        self.count = 0

    async def open(self) -> Client:
        """Make the first connection, in one attempt.

        :raise PychatError: there is none.
        """
        client = await self._attempt()
        self._arrived(client)
        return client

    def client(self) -> Deferred[Client]:
        """The connection, or the next one; fails when there will be none any more.  May be cancelled."""
        if self._client is not None and self._client.up:
            return succeed(self._client)
        if self._over is not None:
            return fail(self._over)
        waiting: Deferred[Client] = Deferred(lambda waiting: self._waiting.remove(waiting))
        self._waiting.append(waiting)
        return waiting

    @property
    def now(self) -> Client | None:
        """The connection, if there is one at the moment."""
        return self._client

    def progressed(self) -> None:
        """Something got on: patience begins anew."""
        self._moved = self._reactor.seconds()

    @property
    def patience(self) -> float:
        """Seconds of patience that are left."""
        left: float = self._moved + self._patience - self._reactor.seconds()
        return max(0.0, left)

    async def leave(self) -> None:
        """Say goodbye, if there is somebody to say it to, and end."""
        client, self._client = self._client, None
        if client is not None and self._over is None:
            self._over = _ended()
            await client.leave()
        self.close()

    def close(self) -> None:
        """End at once."""
        self._over = self._over or _ended()
        client, self._client = self._client or self._opening, None
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
        if client is not None:
            client.abort()
        self._fail(self._over)

    # -- coming and going

    async def _attempt(self) -> Client:
        client = await self._connect(self._reactor, *self._where, self._observer)
        self._opening = client
        try:
            await self._enter(client)
        except BaseException:
            client.abort()
            raise
        finally:
            self._opening = None
        return client

    def _arrived(self, client: Client) -> None:
        self._client = client
        self._since = self._reactor.seconds()
        self._told_delay = 0.0
        self.count += 1
        waiting, self._waiting = self._waiting, []
        client.ended().addCallback(self._lost, client)
        for deferred in waiting:
            deferred.callback(client)

    def _lost(self, why: LinkError, client: Client) -> None:
        if self._client is not client:
            return
        self._client = None
        lasted = self._reactor.seconds() - self._since
        self._backoff.lasted(lasted)
        if lasted >= self._patience:
            self.progressed()  # something else than the connection took its time
        self._coming = Deferred.fromCoroutine(self._come_back(why))
        self._coming.addErrback(lambda failure: failure.trap(CancelledError))

    async def _come_back(self, why: PychatError) -> None:
        while True:
            left = self.patience
            if not left:
                self._over = why
                self._fail(why)
                return
            delay = min(self._backoff.delay(), left)
            self._tell(why, delay)
            await deferLater(self._reactor, delay)
            try:
                client = await self._attempt()
            except PychatError as error:
                why = error
                if isinstance(error, Refused) and error.code not in PASSING:
                    self._over = why
                    self._fail(why)
                    return
                continue
            except CancelledError:
                raise
            except Exception:
                self._log.failure("an attempt to come back failed")
                why = LinkError("fault", "Something went wrong in pychat itself.")
                continue
            self._coming = None
            self._arrived(client)
            return

    def _tell(self, why: PychatError, delay: float) -> None:
        """At first, and then each time that the wait has doubled."""
        if delay < 2 * self._told_delay:
            return
        what = "still no connection" if self._told_delay else "connection lost"
        self._told_delay = max(delay, 0.1)
        reason = SHORT_REASONS.get(why.code, why.code)
        self._say(f"{what} ({reason}); trying again {soon(delay)}")

    def _fail(self, why: PychatError) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.errback(why)


def _ended() -> LinkError:
    return LinkError("closed", "The connection to the chat was closed.")
