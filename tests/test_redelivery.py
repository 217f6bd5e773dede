"""Sending again, giving up, and not mistaking a slow link for a silent client."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat import redelivery
from pychat.redelivery import Redelivery
from tests.chatkit import Chat


class Again(SynchronousTestCase):
    """Carol acknowledges, when she is told to."""

    def setUp(self) -> None:
        self.chat = Chat()
        self.clock = Clock()
        self.pump: Any = SimpleNamespace(reactor=self.clock, hub=self.chat.hub, wake=lambda: None)
        self.alice = self.chat.connect(b"alice")
        self.carol = self.chat.connect(b"carol", b"<hello caps=ack>")
        self.ended: list[float] = []
        self.has_all = True
        self.acks = Redelivery(
            self.pump, self.carol.peer, lambda: self.has_all, lambda: self.ended.append(self.clock.seconds())
        )
        self.addCleanup(self.acks.stop)
        self.texts = 0

    def post(self) -> None:
        """A message for Carol, whose kernel has it at once."""
        self.texts += 1
        self.alice.say(b"<set_msg>carol %d" % self.texts)
        self.chat.commit()
        self.deliver()

    def deliver(self) -> list[bytes]:
        heard = self.carol.heard()
        self.acks.check()
        self.acks.arrived()
        return [line.rpartition(b">")[2] for line in heard]

    def advance(self, seconds: float) -> list[tuple[float, bytes]]:
        """What is sent again, and when, in steps of half a second."""
        sent = []
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            sent += [(self.clock.seconds(), text) for text in self.deliver()]
        return sent

    def test_schedule(self) -> None:
        """Five re-sends with back-off, and after the last wait the client is given up, once."""
        self.post()
        self.assertEqual(self.advance(200), [(5, b"1"), (15, b"1"), (35, b"1"), (75, b"1"), (115, b"1")])
        self.assertEqual((self.ended, self.clock.getDelayedCalls()), ([155], []))

    def test_ack_in_time(self) -> None:
        """What was acknowledged in time is not sent again, and no timer is left in the end."""
        self.post()
        self.advance(4)
        self.carol.say(b"<ack>1")
        self.assertEqual(self.advance(60), [])
        self.assertEqual((self.ended, self.clock.getDelayedCalls()), ([], []))

    def test_late_ack(self) -> None:
        """An ack ends the sending, and the next message starts with the first delay again."""
        self.post()
        self.assertEqual(self.advance(16), [(5, b"1"), (15, b"1")])
        self.carol.say(b"<ack>1")
        self.assertEqual(self.advance(44), [])
        self.post()
        self.assertEqual(self.advance(6), [(65, b"2")])

    def test_some_acks(self) -> None:
        """Whoever goes on acknowledging is not given up; only the rest is sent again."""
        self.post()
        self.post()
        self.advance(5)
        self.carol.say(b"<ack>1")
        self.assertEqual(self.advance(6), [(10.5, b"2")])
        self.carol.say(b"<ack>2")
        for id in range(3, 50):
            self.post()
            self.assertEqual(self.advance(4.5), [])
            self.carol.say(b"<ack>%d" % id)
        self.assertEqual(self.ended, [])

    def test_back_off_starts_anew(self) -> None:
        """An ack of a part ends the back-off: the rest waits for the first delay, and then for the second."""
        self.post()
        self.post()
        self.advance(16)
        self.carol.say(b"<ack>1")
        self.assertEqual(self.advance(20), [(21.5, b"2"), (31.5, b"2")])

    def test_ack_just_before(self) -> None:
        """An ack of a part that came since the last look puts the next re-send off."""
        self.post()
        self.post()
        self.clock.advance(4.9)
        self.carol.say(b"<ack>1")
        self.clock.advance(0.1)
        self.assertEqual(self.carol.heard(), [])
        self.assertEqual(self.advance(6), [(10, b"2")])

    def test_nothing_while_bytes_are_queued(self) -> None:
        """While bytes for her are on their way nothing is sent again; then the same wait begins anew."""
        self.post()
        self.has_all = False
        self.clock.advance(100)
        self.assertEqual((self.carol.heard(), self.ended, self.clock.getDelayedCalls()), ([], [], []))
        self.has_all = True
        self.acks.arrived()
        self.assertEqual(self.advance(6), [(105, b"1")])

    def test_clock_starts_on_arrival(self) -> None:
        """The wait begins when her kernel has the bytes, not when they were put into the mailbox."""
        self.alice.say(b"<set_msg>carol 1")
        self.chat.commit()
        self.clock.advance(60)
        self.deliver()
        self.assertEqual(self.advance(6), [(65, b"1")])

    def test_wakes_the_pump(self) -> None:
        """What is sent again is flushed: somebody has to be told."""
        woken: list[float] = []
        self.pump.wake = lambda: woken.append(self.clock.seconds())
        self.post()
        self.clock.advance(5)
        self.assertEqual(woken, [5])

    def test_owes_too_much(self) -> None:
        """Who owes more bytes than the limit is given up at once."""
        self.patch(redelivery, "UNACKED_LIMIT", 150)
        self.post()
        self.post()
        self.assertEqual(self.ended, [])
        self.post()
        self.assertEqual(self.ended, [0])

    def test_plain_peer(self) -> None:
        """Who did not promise anything owes nothing."""
        acks = Redelivery(self.pump, self.alice.peer, lambda: True, self.fail)
        self.carol.say(b"<set_msg>alice hi")
        self.chat.commit()
        acks.check()
        acks.arrived()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """When the connection is gone no timer is left."""
        self.post()
        self.acks.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
