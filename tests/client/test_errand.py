"""Tests of `pychat.client.errand`: one file over several attempts, against daemons that are only pretended."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.answers import LinkError, Refused
from pychat.client.errand import CHANGED, CHANGED_HERE, CHANGES, Errand
from pychat.client.lane import CEILING
from pychat.client.liveness import ONE_WAY_SECONDS
from pychat.client.offers import Offer
from pychat.client.progress import Transfer
from pychat.client.results import Carried
from pychat.client.road import FALL_BACK_SECONDS
from pychat.errors import TransferError
from pychat.transfer.terms import Done, Failed, Outcome, Terms


class FakeTurns:
    """An attempt that does what a test says."""

    def __init__(self, reliable: bool, greets: bool) -> None:
        self.engine = SimpleNamespace(
            counters=SimpleNamespace(datagrams_in=0, refused=Counter[str]()), paused=False, patience=30.0
        )
        self.reliable = reliable
        self.greets = greets
        self.left = False
        self.progress: Any = None
        self.concluded: Any = None
        self.done: Deferred[Outcome] = Deferred()

    def start(self) -> Deferred[Outcome]:
        return self.done

    def fail(self, code: str, sentence: str) -> None:
        self.end(Failed(code, sentence))

    def abandon(self, code: str, sentence: str) -> None:
        self.left = True
        self.fail(code, sentence)

    def end(self, outcome: Outcome) -> None:
        self.concluded(outcome)
        self.done.callback(outcome)

    def moves(self, done: int) -> None:
        self.engine.counters.datagrams_in += 1
        self.progress(done, 100)


class FakeRoad:
    """A road whose UDP is open until somebody says otherwise."""

    udp = True
    proven = False
    rtt = 0.02

    def __init__(self) -> None:
        self.streams: list[Offer] = []
        self.no_stream = False

    def ready(self) -> Deferred[None]:
        return succeed(None)

    async def address(self, host: str | None, port: int) -> tuple[str, int]:
        return "192.0.2.1", port

    def switchboard(self, address: Any) -> str:
        return "udp"

    async def stream(self, offer: Offer) -> str:
        if self.no_stream:
            raise TransferError("no-stream", "No stream.")
        self.streams.append(offer)
        return "tcp"

    def blocked(self) -> None:
        self.udp = False


class FakeClient:
    """A connection that breaks when it is told to."""

    def __init__(self) -> None:
        self.up = True
        self.commands: list[tuple[str, ...]] = []
        self._ended: list[Deferred[LinkError]] = []

    def command(self, *words: str) -> Deferred[None]:
        self.commands.append(words)
        return succeed(None)

    def ended(self) -> Deferred[LinkError]:
        ended: Deferred[LinkError] = Deferred(lambda ended: self._ended.remove(ended))
        self._ended.append(ended)
        return ended

    def breaks(self) -> None:
        self.up = False
        for ended in self._ended[:]:
            ended.callback(LinkError("lost", "It broke."))


class FakeLink:
    """What an errand needs of the chat."""

    def __init__(self) -> None:
        self.now: Any = FakeClient()
        self.way = FakeRoad()
        self.waiting: list[Deferred[Any]] = []
        self.said: list[str] = []
        self.patience = 60.0
        self.progress = 0

    def client(self) -> Deferred[Any]:
        if self.now is not None:
            return succeed(self.now)
        waiting: Deferred[Any] = Deferred()
        self.waiting.append(waiting)
        return waiting

    def breaks(self) -> None:
        client, self.now = self.now, None
        client.breaks()

    def back(self) -> None:
        self.now = FakeClient()
        waiting, self.waiting = self.waiting, []
        for deferred in waiting:
            deferred.callback(self.now)

    def road(self, client: Any) -> Any:
        return self.way

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def progressed(self) -> None:
        self.progress += 1


class Pretended(Errand):
    """An errand without a file."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, path="p", **settings)
        self._size = 100
        self.offers: list[Any] = []  # an exception is raised
        self.asked = 0
        self.have = 0
        self.heard = True
        self.attempts: list[FakeTurns] = []
        self.closed: list[Outcome | None] = []

    async def _ask(self, client: Any) -> Offer:
        self.asked += 1
        offer = self.offers.pop(0) if self.offers else make_offer()
        if isinstance(offer, FakeLink):
            offer.breaks()
            raise LinkError("lost", "It broke.")
        if isinstance(offer, Exception):
            raise offer
        assert isinstance(offer, Offer)
        return offer

    async def _open(self, offer: Offer) -> int:
        return self.have

    def _make(self, terms: Any, path: Any, carrier: Any, reliable: bool) -> Any:
        self.attempts.append(FakeTurns(reliable, not path.ready))
        return self.attempts[-1]

    def _measure(self) -> tuple[int, float, int]:
        return 2, 0.02, 1200

    def _is_heard(self) -> bool:
        return self.heard

    async def _close(self, outcome: Outcome | None) -> None:
        self.closed.append(outcome)


def make_offer(port: int | None = 9, tcp: bool = True, path: bytes | None = None) -> Offer:
    return Offer("x", "v", Terms(b"transfer", b"t" * 16, b"k" * 32, 100), None, port, tcp, path)


class Errands(SynchronousTestCase):
    """One errand on a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink()
        self.transfer = Transfer("x", 0, 0.0)
        self.errand = self.make()

    def make(self, **settings: Any) -> Pretended:
        return Pretended(
            self.clock,
            self.link,
            "x",
            self.transfer,
            None,
            seconds=self.clock.seconds,
            random=lambda: 1.0,
            **settings,
        )

    def start(self) -> Deferred[Carried]:
        return Deferred.fromCoroutine(self.errand.run())

    def test_at_once(self) -> None:
        """One offer, one attempt, and the time from asking to the end of it."""
        running = self.start()
        self.clock.advance(1)
        (turns,) = self.errand.attempts
        self.assertEqual((turns.reliable, turns.greets), (False, True))
        turns.moves(50)
        self.assertEqual((self.transfer.done, self.transfer.rtt, self.transfer.lost), (50, 0.02, 2))
        turns.end(Done())
        carried = self.successResultOf(running)
        self.assertEqual((carried.seconds, carried.via, carried.lost, carried.resumed), (1.0, "udp", 2, 0))
        self.assertEqual((self.errand.closed, self.clock.getDelayedCalls()), ([Done()], []))

    def test_offer_that_is_there(self) -> None:
        """An offer that came already is not asked for."""
        self.errand = self.make(first=make_offer())
        running = self.start()
        self.assertEqual((self.errand.asked, len(self.errand.attempts)), (0, 1))
        self.errand.attempts[0].end(Done())
        self.successResultOf(running)

    def test_proven(self) -> None:
        """Where the address was proven nobody greets."""
        self.link.way.proven = True
        self.errand.offers = [make_offer(path=b"12345678")]
        running = self.start()
        self.assertFalse(self.errand.attempts[0].greets)
        self.errand.attempts[0].end(Done())
        self.successResultOf(running)

    def test_falls_back(self) -> None:
        """Without an answer over UDP it goes over TCP, and so do those that follow."""
        running = self.start()
        self.clock.advance(FALL_BACK_SECONDS)
        self.assertEqual([turns.reliable for turns in self.errand.attempts], [False, True])
        self.assertTrue(self.errand.attempts[0].left, "an Abort may end what the stream is about to claim")
        self.assertEqual((len(self.link.way.streams), self.link.way.udp), (1, False))
        self.errand.attempts[1].end(Done())
        self.assertEqual(self.successResultOf(running).via, "tcp")
        self.errand = self.make()
        running = self.start()
        self.assertTrue(self.errand.attempts[0].reliable)
        self.errand.attempts[0].end(Done())
        self.successResultOf(running)

    def test_answered(self) -> None:
        """Once something came it does not."""
        running = self.start()
        turns = self.errand.attempts[0]
        turns.engine.counters.datagrams_in = 2
        turns.engine.counters.refused["forged"] = 1
        self.clock.advance(FALL_BACK_SECONDS)
        self.assertEqual(len(self.errand.attempts), 1)
        turns.end(Done())
        self.successResultOf(running)

    def test_one_way(self) -> None:
        """What comes, while nothing that is said gets there: another offer goes on over TCP."""
        self.errand.heard = False
        running = self.start()
        self.errand.attempts[0].moves(10)
        self.clock.advance(FALL_BACK_SECONDS)
        self.assertEqual(len(self.errand.attempts), 1)
        self.clock.advance(ONE_WAY_SECONDS - FALL_BACK_SECONDS)
        self.assertEqual([turns.reliable for turns in self.errand.attempts], [False, True])
        self.assertEqual((self.errand.asked, self.link.way.udp, self.link.said), (2, False, []))
        self.assertEqual(self.link.now.commands, [("cancel", b"transfer".hex())])
        self.errand.attempts[1].end(Done())
        self.assertEqual(self.successResultOf(running).via, "tcp")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_soon(self) -> None:
        """A wait that is none is called so."""
        self.errand = self.make()
        self.errand._backoff = SimpleNamespace(delay=lambda: 0.01, reset=lambda: None)  # type: ignore[assignment]
        self.start()
        self.errand.attempts[0].end(Failed("going-away", "Ask again when it is back.", remote=True))
        self.assertEqual(self.link.said, ["x: the daemon is stopping; trying again at once"])
        self.clock.advance(1)
        self.errand.attempts[1].end(Done())

    def test_cancelled_there(self) -> None:
        """What somebody cancels on the chat line is not kept, and that is said."""
        running = self.start()
        self.errand.attempts[0].end(Failed("cancelled", "It was cancelled.", remote=True))
        error = self.failureResultOf(running, TransferError).value
        self.assertEqual(error.sentence, "It was cancelled. What there was of it is removed.")

    def test_no_way(self) -> None:
        """Neither UDP nor TCP: tried again for a while, and then said."""
        self.link.way.no_stream = True
        self.errand.offers = [make_offer(port=None)]
        running = self.start()
        self.assertEqual(self.link.said, ["x: no connection for the file; trying again in 0.5 s"])
        self.link.patience = 0.0
        self.clock.advance(CEILING)
        self.clock.advance(FALL_BACK_SECONDS)
        self.assertEqual(self.failureResultOf(running, TransferError).value.code, "no-stream")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fails(self) -> None:
        """What will not pass is not tried again."""
        running = self.start()
        self.errand.attempts[0].end(Failed("disk-full", "Full."))
        self.assertEqual(self.failureResultOf(running, TransferError).value.code, "disk-full")
        self.errand = self.make()
        self.errand.offers = [Refused("no-such-file", "None.")]
        self.failureResultOf(self.start(), Refused)

    def test_passes(self) -> None:
        """What may pass is, with growing waits that begin anew when something moved."""
        running = self.start()
        self.errand.offers = [Refused("busy", "Busy.")]
        self.errand.attempts[0].end(Failed("timed-out", "Silence."))
        self.clock.advance(0.5)
        self.assertEqual(len(self.errand.attempts), 1)
        self.clock.advance(1)
        self.errand.attempts[1].moves(10)
        self.errand.attempts[1].end(Failed("going-away", "Bye."))
        self.assertEqual(
            self.link.said,
            [
                "x: no answer for too long; trying again in 0.5 s",
                "x: the daemon is busy; trying again in 1.0 s",
                "x: the daemon is stopping; trying again in 0.5 s",
            ],
        )
        self.clock.advance(0.5)
        self.errand.attempts[2].end(Done())
        self.assertEqual(self.successResultOf(running).lost, 6)

    def test_changes(self) -> None:
        """A file that changes is begun again, at once, three times in a row."""
        running = self.start()
        for number in range(4):
            self.errand.attempts[number].end(Failed("source-changed", "Changed.", remote=True))
        self.failureResultOf(running, TransferError)
        self.assertEqual(self.link.said, [f"x: {CHANGED}"] * 3)

    def test_changes_here(self) -> None:
        """So is one that is sent, whoever notices: the daemon, whoever reads it, or whoever opens it once more."""
        self.errand.up = True
        running = self.start()
        self.errand.attempts[0].end(Failed("source-changed", "Changed.", remote=True))
        changed = TransferError("source-changed", "Another size.")
        self.patch(
            self.errand,
            "_open",
            mock.Mock(side_effect=[changed, changed, TransferError("read-failed", "No.")]),
        )
        self.errand.attempts[1].end(Failed("source-changed", "Changed."))
        self.assertEqual(self.failureResultOf(running, TransferError).value.code, "source-changed")
        self.assertEqual(self.link.said, [f"x: {CHANGED_HERE}"] * CHANGES)
        self.assertEqual(self.failureResultOf(self.start(), TransferError).value.code, "read-failed")

    def test_connection_of_the_first_offer(self) -> None:
        """An offer that came on a connection which is gone by now is asked for anew."""
        self.errand = self.make(first=make_offer())
        ready: Deferred[None] = Deferred()
        self.patch(self.link.way, "ready", lambda: ready)
        running = self.start()
        self.link.breaks()
        self.link.way.ready = lambda: succeed(None)  # type: ignore[method-assign]
        ready.callback(None)
        self.assertEqual(self.errand.attempts, [])
        self.link.back()
        self.assertEqual((self.errand.asked, len(self.errand.attempts)), (1, 1))
        self.errand.attempts[0].end(Done())
        self.successResultOf(running)

    def test_line_lost(self) -> None:
        """Without the chat it goes on; if nothing has come until that is back, there is a new offer."""
        running = self.start()
        turns = self.errand.attempts[0]
        turns.moves(30)
        self.link.breaks()
        self.assertLess(turns.engine.patience, 30)
        turns.moves(40)
        self.link.back()
        self.assertFalse(turns.done.called)
        self.link.breaks()
        turns.end(Done())
        self.successResultOf(running)

    def test_daemon_died(self) -> None:
        """The new offer resumes."""
        running = self.start()
        self.errand.attempts[0].moves(30)
        self.link.breaks()
        self.errand.have = 30
        self.link.back()
        self.clock.advance(0.5)
        self.assertEqual((len(self.errand.attempts), self.transfer.done), (2, 30))
        self.errand.attempts[1].end(Done())
        self.assertEqual(self.successResultOf(running).resumed, 0)

    def test_resumed(self) -> None:
        """What was there before the first attempt is told."""
        self.errand.have = 30
        running = self.start()
        self.errand.attempts[0].end(Done())
        self.assertEqual(self.successResultOf(running).resumed, 30)

    def test_lost_while_asking(self) -> None:
        """An answer that never came is asked for again on the next connection."""
        self.errand.offers = [self.link]
        running = self.start()
        self.assertEqual(self.errand.attempts, [])
        self.link.back()
        self.errand.attempts[0].end(Done())
        self.successResultOf(running)
        self.errand = self.make()
        self.link.back()
        self.errand.offers = [LinkError("closed", "Too much.")]
        self.failureResultOf(self.start(), LinkError)

    def test_cancelled(self) -> None:
        """Cancelled under way: the attempt is told, and the file closed as one without an outcome."""
        running = self.start()
        turns = self.errand.attempts[0]
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertTrue(turns.done.called)
        self.assertEqual((self.errand.closed, self.clock.getDelayedCalls()), ([None], []))

    def test_paused(self) -> None:
        """It is shown."""
        self.start()
        turns = self.errand.attempts[0]
        turns.engine.paused = True
        turns.moves(10)
        self.assertEqual(self.transfer.state, "paused")
        turns.engine.paused = False
        turns.moves(20)
        self.assertEqual(self.transfer.state, "")
        turns.end(Done())
