"""One file to be moved, over as many offers as it takes.

An attempt is an offer and what came of it.  When one fails for a reason that may pass, there is another: the daemon was
killed, the connection or the network broke, an address changed.  What was moved before is not moved again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..errors import PychatError, TransferError
from ..stream import STREAM, stream_terms
from ..transfer.path import NO_ANSWER, ClientPath
from ..transfer.roundtrip import INITIAL_RTT
from ..transfer.terms import FIRST_WINDOW, Done, Failed, Outcome, Terms
from ..turns import Carrier, Turns
from ..udp import RunInThread
from .answers import LinkError, Refused
from .backoff import Backoff
from .connection import Client
from .lane import CEILING, FIRST, PASSING
from .liveness import LINE_LOST, ONE_WAY, Liveness
from .offers import Offer
from .progress import Transfer
from .results import Carried
from .road import Road
from .wording import soon

MAY_PASS = frozenset(
    (
        "timed-out",
        "no-answer",
        "no-stream",
        "stream-lost",
        "going-away",
        "withdrawn",
        "unclaimed",
        "no-such-transfer",
        "busy",
    )
)
"""Reasons for which an attempt fails that may be over at the next one."""

REASONS = {
    "timed-out": "no answer for too long",
    "no-answer": "no answer",
    "no-stream": "no connection for the file",
    "stream-lost": "its connection broke",
    "going-away": "the daemon is stopping",
    "withdrawn": "the connection broke",
    "unclaimed": "it began too late",
    "no-such-transfer": "it began too late",
    "busy": "the daemon is busy",
    "in-use": "it is still under way from the last attempt",
    "name-taken": "your name is still taken",
    "journal-unavailable": "the daemon cannot keep anything now",
}
"""What to call the reasons that may pass: their own sentences say what to do, and that is being done."""

CHANGES = 3
"""How many times in a row a file that changes on its way is begun again."""

CHANGED = "the file changed on the other side: starting over"
CHANGED_HERE = "the file changed while it was sent: starting over"


class Link(Protocol):
    """What an errand needs of the chat."""

    def client(self) -> Deferred[Client]:
        """The connection, or the next one; fails when there will be none."""

    def road(self, client: Client) -> Road:
        """What goes beside that connection."""

    def say(self, sentence: str) -> None:
        """Tell a person."""

    def progressed(self) -> None:
        """Something got on."""

    @property
    def patience(self) -> float:
        """Seconds that are left to wait for something to get on."""


class Tracer(Protocol):
    """Takes down what happens on the network."""

    def watch(self, name: str, engine: Any, *, via: str) -> Any:
        """What watches this attempt."""


class Errand:
    """One file on its way, in either direction.

    :ivar name: as the daemon calls it.
    :ivar path: where the file is, or is to be, on this machine.
    """

    up = False

    def __init__(
        self,
        reactor: Any,
        link: Link,
        name: str,
        transfer: Transfer,
        run_in_thread: RunInThread,
        *,
        path: str,
        first: Offer | None = None,
        trace: Tracer | None = None,
        seconds: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        """
        :param transfer: shows how far it is.
        :param path: where the file is, or is to be; its folder must exist.
        :param first: an offer that is there already.
        :param trace: is given each attempt.
        :param seconds: the monotonic clock.
        """
        self.name = name
        self.path = path
        self._size = 0
        self._sha256 = ""
        self._already = False  # it was there, and that was told
        self._reactor = reactor
        self._link = link
        self._transfer = transfer
        self._run = run_in_thread
        self._first = first
        self._trace = trace
        self._seconds = seconds
        self._backoff = Backoff(random, FIRST, CEILING)
        self._turns: Turns | None = None
        self._resumed: int | None = None  # bytes that were there before the first attempt
        self._best = 0  # bytes of the file that were there at some time
        self._changes = 0
        self._lost = 0  # datagrams, in the attempts before
        self._via = "udp"
        self._rtt = 0.0
        self._known_rtt: float | None = None  # seconds, as the proof of the address measured it
        self._done_at = 0.0

    # -- what the two directions have of their own

    async def _ask(self, client: Client) -> Offer:
        """Ask for an offer; what is there already may be resumed."""
        raise NotImplementedError

    async def _open(self, offer: Offer) -> int:
        """Open the file for this offer: how many bytes of it need not be moved."""
        raise NotImplementedError

    def _make(self, terms: Terms, path: ClientPath, carrier: Carrier, reliable: bool) -> Turns:
        """Both ends' engine and the file, to be started."""
        raise NotImplementedError

    def _measure(self) -> tuple[int, float, int]:
        """Of the attempt that runs: datagrams lost, seconds of a round trip, bytes of a datagram."""
        raise NotImplementedError

    def _is_heard(self) -> bool:
        """Whether the other end is known to get what we say in the attempt that runs, in which something came."""
        return True

    async def _close(self, outcome: Outcome | None) -> None:
        """The attempt is over; ``None`` if there was none, or somebody cancelled it."""
        raise NotImplementedError

    async def _finish(self) -> None:
        """It arrived: what is left to be done."""

    def _carried(self, seconds: float) -> Carried:
        """It arrived, in so many seconds."""
        return Carried(
            self.name,
            self.path,
            self._size,
            self._sha256,
            seconds,
            self._lost,
            self._via,
            self._resumed or 0,
            self._rtt,
            self._already,
        )

    @property
    def moved(self) -> bool:
        """Whether something of it is where it should be."""
        return self._best > 0

    # -- the loop

    async def run(self) -> Carried:
        """Move it.

        :raise PychatError: it did not get there.
        :raise CancelledError: it may be resumed.
        """
        began = self._seconds()
        while True:
            client = await self._link.client()
            road = self._link.road(client)
            await road.ready()
            if not client.up:
                self._first = None  # an offer that nobody claimed ends with its connection
                continue
            began = began if self._resumed is not None else self._seconds()
            try:
                offer, self._first = self._first or await self._ask(client), None
                outcome = await self._attempt(offer, client, road)
            except LinkError as error:
                outcome = Failed(error.code, error.sentence)
                if client.up:
                    raise
                continue
            except Refused as error:
                if error.code not in PASSING and not (error.code == "in-use" and self.moved):
                    raise
                outcome = Failed(error.code, error.sentence)
            except TransferError as error:
                if error.code != "source-changed":
                    raise
                outcome = Failed(error.code, error.sentence)
            if isinstance(outcome, Done):
                self._link.progressed()
                await self._finish()
                return self._carried(self._done_at - began)
            await self._again(outcome, client)

    async def _again(self, outcome: Failed, client: Client) -> None:
        """Wait for a better moment, if this may pass.

        :raise TransferError: it may not.
        """
        if outcome.code == "source-changed" and self._changes < CHANGES:
            self._changes += 1
            self._best = 0
            self._link.say(f"{self.name}: {CHANGED_HERE if self.up else CHANGED}")
            return
        if (outcome.code in (LINE_LOST, ONE_WAY) and not outcome.remote) or (
            outcome.code in MAY_PASS and not client.up
        ):
            return  # whoever makes the connection anew has told that
        if outcome.code not in MAY_PASS | {"in-use"} or not self._link.patience:
            sentence = outcome.sentence
            if outcome.code == "cancelled" and outcome.remote:
                sentence += " What there was of it is removed."
            raise TransferError(outcome.code, sentence)
        delay = min(self._backoff.delay(), self._link.patience)
        self._link.say(f"{self.name}: {REASONS.get(outcome.code, outcome.code)}; trying again {soon(delay)}")
        await deferLater(self._reactor, delay)

    async def _attempt(self, offer: Offer, client: Client, road: Road) -> Outcome:
        outcome: Outcome | None = None
        try:
            have = await self._open(offer)
            if 0 < have < offer.terms.size:
                self._link.say(f"{self.name}: resuming at {100 * have // offer.terms.size} %")
            if self._resumed is None:
                self._resumed = have
            self._best = max(self._best, have)
            self._transfer.begins(have, offer.terms.size, self._reactor.seconds())
            outcome = await self._travel(offer, client, road)
        finally:
            await self._close(outcome)
        return outcome

    async def _travel(self, offer: Offer, client: Client, road: Road) -> Outcome:
        if road.udp and offer.port is not None:
            self._via = "udp"
            outcome = await self._over_udp(offer, offer.port, client, road)
            if outcome is not None:
                if isinstance(outcome, Failed) and outcome.code == ONE_WAY and not outcome.remote:
                    road.blocked()
                    # The daemon would go on with it until it has heard nothing for half a minute.
                    client.command("cancel", offer.terms.transfer.hex()).addErrback(_ignore)
                return outcome
            road.blocked()
            if offer.tcp:
                # What was checked of it was told to an engine that is gone.
                await self._close(None)
                await self._open(offer)
        if not offer.tcp:
            return Failed("no-answer", NO_ANSWER)
        self._via = "tcp"
        try:
            carrier = await road.stream(offer)
        except TransferError as error:
            return Failed(error.code, error.sentence)
        path = ClientPath(offer.terms.token, STREAM, window=FIRST_WINDOW, now=self._seconds(), greets=False)
        turns = self._make(stream_terms(offer.terms), path, carrier, True)
        return await self._watch(turns, client, False) or Failed("no-answer", NO_ANSWER)

    async def _over_udp(self, offer: Offer, port: int, client: Client, road: Road) -> Outcome | None:
        """``None``: nothing came."""
        address = await road.address(offer.host, port)
        self._known_rtt = road.rtt
        path = ClientPath(
            offer.terms.token,
            address,
            window=0 if self.up else FIRST_WINDOW,
            now=self._seconds(),
            greets=offer.path is None,
            rtt=self._known_rtt or INITIAL_RTT,
        )
        turns = self._make(offer.terms, path, road.switchboard(address), False)
        return await self._watch(turns, client, offer.tcp)

    async def _watch(self, turns: Turns, client: Client, falls_back: bool) -> Outcome | None:
        """See an attempt to its end; ``None`` if it `falls_back` when nothing comes, and nothing came."""
        liveness = Liveness(self._reactor, turns, self._transfer, client, self._link.client)
        if falls_back:
            liveness.fall_back(self._known_rtt or 0.0, self._is_heard)
        turns.progress = self._progressed
        turns.concluded = self._concluded
        self._turns = turns
        watch = None if self._trace is None else self._trace.watch(self.name, turns.engine, via=self._via)
        turns.watch = watch
        try:
            outcome = await turns.start()
        finally:
            liveness.end()
            if watch is not None:
                watch.ended(turns.outcome, self._seconds())
            self._look()
            self._lost += self._transfer.lost - self._lost
            self._turns = None
        return None if liveness.silent and not isinstance(outcome, Done) else outcome

    def _concluded(self, outcome: Outcome) -> None:
        self._done_at = self._seconds()

    def _progressed(self, done: int, size: int) -> None:
        self._look()
        self._transfer.update(done, size)
        if done > self._best:
            self._best = done
            self._changes = 0
            self._backoff.reset()
            self._link.progressed()

    def _look(self) -> None:
        """Take down what there is to be told beside the bytes."""
        if self._turns is not None:
            lost, self._rtt, size = self._measure()
            self._transfer.measured(self._rtt, self._lost + lost, size)
            self._transfer.state = "paused" if self._turns.engine.paused else ""


def _ignore(failure: Failure) -> None:
    failure.trap(PychatError)
