"""Tests of `pychat.client.lane`: a connection that comes back, and for how long it is tried."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.answers import LinkError, Refused
from pychat.client.lane import CEILING, Lane


class FakeClient:
    """A connection that breaks when it is told to."""

    def __init__(self) -> None:
        self.up = True
        self.aborted = self.left = False
        self._ended: Deferred[LinkError] = Deferred()

    def ended(self) -> Deferred[LinkError]:
        return self._ended

    def breaks(self, code: str = "lost") -> None:
        self.up = False
        self._ended.callback(LinkError(code, "It broke."))

    def abort(self) -> None:
        self.aborted = True

    def leave(self) -> Deferred[None]:
        self.left = True
        return succeed(None)


class Lanes(SynchronousTestCase):
    """One lane on a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        # Whoever reads the wait from the reactor in use gets this one.
        self.said: list[str] = []
        self.attempts: list[Deferred[Any]] = []
        self.refusals: list[Exception] = []
        self.lane = Lane(
            self.clock,
            "host",
            1,
            self.enter,
            self.said.append,
            patience=60,
            random=lambda: 1.0,
            connect=self.connect,
        )

    def connect(self, *_: Any) -> Deferred[Any]:
        attempt: Deferred[Any] = Deferred()
        self.attempts.append(attempt)
        return attempt

    async def enter(self, client: Any) -> None:
        if self.refusals:
            raise self.refusals.pop(0)

    def opened(self) -> FakeClient:
        """A lane with its first connection."""
        opening = Deferred.fromCoroutine(self.lane.open())
        client = FakeClient()
        self.attempts[-1].callback(client)
        self.assertIs(self.successResultOf(opening), client)
        return client

    def refuse(self) -> None:
        self.attempts[-1].errback(LinkError("refused", "Nobody listens."))

    def test_first(self) -> None:
        """The first attempt is the only one."""
        opening = Deferred.fromCoroutine(self.lane.open())
        self.refuse()
        self.assertEqual(self.failureResultOf(opening, LinkError).value.code, "refused")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_comes_back(self) -> None:
        """Who waits gets the next connection; the waits grow, and are told when they have doubled."""
        first = self.opened()
        self.assertIs(self.successResultOf(self.lane.client()), first)
        first.breaks()
        waiting = self.lane.client()
        for _ in range(6):
            self.clock.advance(CEILING)
            self.refuse()
        self.assertEqual(
            self.said,
            [
                "connection lost (it broke); trying again in 0.5 s",
                "still no connection (nobody listens); trying again in 1.0 s",
                "still no connection (nobody listens); trying again in 2.0 s",
            ],
        )
        self.assertNoResult(waiting)
        self.clock.advance(CEILING)
        second = FakeClient()
        self.attempts[-1].callback(second)
        self.assertIs(self.successResultOf(waiting), second)
        self.assertEqual((self.lane.now, self.lane.count), (second, 2))
        self.lane.close()
        self.assertTrue(second.aborted)

    def test_patience(self) -> None:
        """It ends a minute after the last progress, and whoever asks later is told why."""
        first = self.opened()
        self.clock.advance(20)
        self.lane.progressed()
        self.clock.advance(10)
        self.assertEqual(self.lane.patience, 50)
        first.breaks()
        waiting = self.lane.client()
        for _ in range(49):
            self.clock.advance(1)
            if not self.attempts[-1].called:
                self.refuse()
        self.assertNoResult(waiting)
        for _ in range(5):
            self.clock.advance(1)
            if not self.attempts[-1].called:
                self.refuse()
        self.failureResultOf(waiting, LinkError)
        self.failureResultOf(self.lane.client(), LinkError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """What the daemon says may pass, or may not."""
        self.opened().breaks()
        waiting = self.lane.client()
        self.refusals = [Refused("name-taken", "Taken."), Refused("bad-name", "Bad.")]
        for _ in range(2):
            self.assertNoResult(waiting)
            self.clock.advance(CEILING)
            client = FakeClient()
            self.attempts[-1].callback(client)
            self.assertTrue(client.aborted)
        self.assertEqual(self.failureResultOf(waiting, Refused).value.code, "bad-name")

    def test_dead_but_not_gone(self) -> None:
        """A connection that is down is nobody's, even before the lane was told."""
        client = self.opened()
        client.up = False
        waiting = self.lane.client()
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        client.breaks()
        self.lane.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leave(self) -> None:
        """Saying goodbye is the end; a connection that ends then is not made again."""
        client = self.opened()
        self.successResultOf(Deferred.fromCoroutine(self.lane.leave()))
        self.assertTrue(client.left)
        client.breaks("bye")
        self.assertEqual((self.clock.getDelayedCalls(), self.said), ([], []))
        self.failureResultOf(self.lane.client(), LinkError)

    def test_closed_while_coming_back(self) -> None:
        """Closed in the middle of a wait, and in the middle of an attempt: nothing is left."""
        self.opened().breaks()
        waiting = self.lane.client()
        self.clock.advance(CEILING)
        attempt = self.attempts[-1]
        self.lane.close()
        self.failureResultOf(waiting, LinkError)
        self.assertTrue(attempt.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fault(self) -> None:
        """What nobody foresaw is logged, and tried again."""
        self.opened().breaks()
        self.refusals = [ValueError("oops")]
        self.clock.advance(CEILING)
        self.attempts[-1].callback(FakeClient())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.advance(CEILING)
        client = FakeClient()
        self.attempts[-1].callback(client)
        self.assertIs(self.successResultOf(self.lane.client()), client)
        self.lane.close()

    def test_long_connection(self) -> None:
        """A connection that lasted longer than patience begins it anew."""
        client = self.opened()
        self.clock.advance(1000)
        client.breaks()
        self.assertEqual(self.lane.patience, 60)
        self.lane.close()
