"""Tests of `pychat.client.road`: the proof of the address, and what is known when there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.client import road as module
from pychat.client.offers import Offer
from pychat.client.road import BLOCKED, FALL_BACK_SECONDS, PATH_SECONDS, Road
from pychat.errors import TransferError
from pychat.grammar import parse
from pychat.switchboard import Switchboard
from pychat.transfer.endpoint import Endpoint
from pychat.transfer.packet import FROM_DAEMON
from pychat.transfer.path import DaemonPath
from pychat.transfer.terms import Terms

TERMS = Terms(b"transfer", b"\xab" * 16, b"\xcd" * 32, 0)
PATH = parse(
    b"<path port=9 transfer=%s token=%s key=%s>" % (b"transfer".hex().encode(), b"ab" * 16, b"cd" * 32)
)


class Listening:
    """A port that only notes its end."""

    def __init__(self, board: Switchboard) -> None:
        self.board = board
        self.closed = False

    def stopListening(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class Roads(SynchronousTestCase):
    """One road on a clock, with a socket that only keeps what it was given."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.sent: list[tuple[bytes, Any]] = []
        self.listening: list[Listening] = []
        self.patch(module, "listen_udp", self.listen)
        self.patch(Switchboard, "send", self.send)
        self.patch(Switchboard, "congested", False)
        self.patch(Switchboard, "drain", lambda _: None)
        client: Any = SimpleNamespace(host="192.0.2.1", transport=None)
        self.road = Road(self.clock, client, self.said.append, self.at_once, seconds=self.clock.seconds)

    def listen(self, reactor: Any, board: Switchboard, host: str, port: int, *, answers: bool) -> Listening:
        self.listening.append(Listening(board))
        return self.listening[-1]

    def send(self, buffers: Any, segment: int, address: Any) -> bool:
        self.sent.append((b"".join(buffers), address))
        return True

    def at_once(self, function: Any, *arguments: Any) -> Deferred[Any]:
        return succeed(function(*arguments))

    def close(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.road.close()))
        self.assertTrue(all(each.closed for each in self.listening))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_to_prove(self) -> None:
        """A daemon that grants no udp keeps nobody waiting."""
        self.successResultOf(self.road.ready())
        self.assertTrue(self.road.udp)
        self.close()

    def test_never_told(self) -> None:
        """One that grants it and then tells no path keeps us waiting for a moment."""
        self.road.expect()
        ready = self.road.ready()
        self.clock.advance(PATH_SECONDS)
        self.successResultOf(ready)
        self.assertEqual((self.road.udp, self.road.proven, self.said), (True, False, []))
        self.close()

    def test_proven(self) -> None:
        """The greeting is answered, and whoever waits goes on; a second path is ignored."""
        self.road.expect()
        self.road.hear(PATH)
        ready = self.road.ready()
        daemon = Endpoint(TERMS, DaemonPath(TERMS.token, bytes), sends=FROM_DAEMON, now=0.0)
        for _ in range(4):
            for data, address in self.sent:
                self.assertEqual(address, ("192.0.2.1", 9))
                daemon.receive(data, len(data), "client", self.clock.seconds())
            self.sent.clear()
            self.clock.advance(0.05)
            board = self.listening[0].board
            for train in daemon.poll(self.clock.seconds()):
                data = b"".join(train.buffers)
                board.trainReceived(memoryview(data), train.segment, ("192.0.2.1", 9))
            board.burstEnded()
        self.clock.advance(0)
        self.successResultOf(ready)
        self.assertTrue(self.road.proven)
        self.assertTrue(self.road.idle)
        self.road.hear(PATH)
        self.assertEqual(len(self.listening), 1)
        self.close()

    def test_asks_right_behind(self) -> None:
        """Files may be asked for as soon as the greeting has left."""
        self.road.expect()
        waiting = self.road.ready()
        self.assertNoResult(waiting)
        self.road.hear(PATH)
        self.assertEqual([len(data) for data, _ in self.sent], [1200])
        self.successResultOf(waiting)
        self.successResultOf(self.road.ready())
        self.assertFalse(self.road.proven)
        self.close()

    def test_blocked(self) -> None:
        """No answer: UDP is not tried any more, and that is said once a file needs to know."""
        self.road.expect()
        self.road.hear(PATH)
        ready = self.road.ready()
        self.clock.advance(FALL_BACK_SECONDS)
        self.successResultOf(ready)
        self.assertEqual((self.road.udp, self.said), (False, []))
        self.patch(module, "HostnameEndpoint", self.no_connection)
        self.road._client.transport = SimpleNamespace(  # type: ignore[assignment]
            getPeer=lambda: SimpleNamespace(host="192.0.2.1", port=5)
        )
        for _ in range(2):
            streaming = Deferred.fromCoroutine(self.road.stream(Offer("x", "v", TERMS)))
            self.assertEqual(self.failureResultOf(streaming, TransferError).value.code, "no-stream")
        self.assertEqual(self.said, [BLOCKED])
        self.close()

    def no_connection(self, *_: Any) -> Deferred[Any]:
        raise OSError("none")

    def test_closed_early(self) -> None:
        """Closed while the proof is under way: whoever waits is let go."""
        self.road.expect()
        self.road.hear(PATH)
        ready = self.road.ready()
        self.close()
        self.successResultOf(ready)
        self.road.hear(PATH)
        self.road.blocked()
        self.assertTrue(self.road.udp)

    def test_addresses(self) -> None:
        """Names are looked up, addresses are taken as they are, and nobody is named for nothing."""
        for host, address in ((None, "192.0.2.1"), ("::1", "::1")):
            asking = Deferred.fromCoroutine(self.road.address(host, 7))
            self.assertEqual(self.successResultOf(asking), (address, 7))
        self.assertIs(self.road.switchboard(("::1", 7)), self.road.switchboard(("::2", 7)))
        self.assertIsNot(self.road.switchboard(("::1", 7)), self.road.switchboard(("192.0.2.1", 7)))
        self.patch(self.road, "_run_in_thread", self.unknown)
        asking = Deferred.fromCoroutine(self.road.address("no.such.host", 7))
        self.assertEqual(self.failureResultOf(asking, TransferError).value.code, "unknown-host")
        self.close()

    def unknown(self, *_: Any) -> Deferred[Any]:
        raise OSError("unknown")

    def test_nonsense(self) -> None:
        """A path that cannot be understood is none."""
        self.road.hear(parse(b"<path port=x>"))
        self.assertEqual(self.listening, [])
        self.close()
