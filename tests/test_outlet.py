"""The way out of one connection: the socket first, the transport's buffer behind it, and bounds all the way."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pychat import kernel, mailroom, outlet
from pychat.outlet import Outlet
from pychat.pump import MOVED_DELAY
from tests.chatkit import Chat, FakeTransport, ScriptedSocket, make_pump


class OutletCase(SynchronousTestCase):
    """Alice writes to Bob, and Bob has an outlet, with a socket or without."""

    with_socket = False

    def setUp(self) -> None:
        self.chat = Chat()
        self.clock = Clock()
        self.pump = make_pump(self.clock, self.chat.hub)
        self.addCleanup(self.pump.stop)
        self.alice = self.chat.connect(b"alice")
        self.bob = self.chat.connect(b"bob")
        self.alice.heard()
        self.peer, self.mailbox = self.bob.peer, self.bob.peer.mailbox
        self.start = self.mailbox.total
        self.log: list[str] = []
        self.unsent = 0
        self.patch(kernel, "unsent", lambda handle: self.unsent)
        self.socket = ScriptedSocket()
        self.addCleanup(self.socket.close)
        self.transport = FakeTransport(self.socket if self.with_socket else None)
        self.outlet = Outlet(self.transport, self.peer, self.pump, self)
        self.outlet.awaited = True
        self.transport.producer.resumeProducing()
        self.log.clear()

    def drained(self) -> None:
        self.log.append("drained")

    def sent(self) -> None:
        self.log.append("sent")

    def overflowed(self) -> None:
        self.log.append("overflowed")
        self.peer.tell(b"<goodbye>\n")

    def arrived(self) -> None:
        self.log.append("arrived")

    def beat(self) -> None:
        """The pump looks at all that asked for it, and the journal hears how far they are."""
        self.clock.pump([0.05, MOVED_DELAY])

    def message(self) -> None:
        """A private message from Alice lies in Bob's mailbox."""
        self.alice.say(b"<set_msg>bob hi")
        self.chat.commit()
        self.alice.heard()


class WithTransport(OutletCase):
    """Where there is no socket to try, as with TLS: all goes through the transport, a chunk at a time."""

    def test_producer(self) -> None:
        """It is a pull producer from the start."""
        verifyObject(IPullProducer, self.outlet)
        self.assertIs(self.transport.producer, self.outlet)

    def test_chunks(self) -> None:
        """The next chunk is given only when the transport's buffer is empty."""
        self.assertTrue(self.outlet.idle)
        for data in (b"a" * 60_000, b"b" * 60_000, b"c"):
            self.peer.tell(data)
        self.assertFalse(self.outlet.idle)
        self.outlet.flush()
        self.assertEqual(len(self.transport.buffer), 120_000)
        self.outlet.flush()
        self.assertEqual(len(self.transport.buffer), 120_000)
        self.transport.drain()
        self.assertEqual(self.transport.buffer, b"c")
        self.assertFalse(self.outlet.idle)
        self.transport.drain()
        self.assertTrue(self.outlet.idle)
        self.assertEqual(self.transport.written, b"a" * 60_000 + b"b" * 60_000 + b"c")

    def test_drained(self) -> None:
        """The owner hears when bytes went out."""
        self.outlet.flush()
        self.assertEqual(self.log, ["drained"])
        self.peer.tell(b"x\n")
        self.outlet.flush()
        self.transport.drain()
        self.assertEqual(self.log, ["drained"] * 3)
        self.outlet.awaited = False
        self.peer.tell(b"x\n")
        self.outlet.flush()
        self.transport.drain()
        self.assertEqual(self.log, ["drained"] * 3, "who waits for nothing is not told")

    def test_position(self) -> None:
        """What lies in the transport's buffer has not arrived; what left it has."""
        self.message()
        self.outlet.flush()
        self.assertFalse(self.outlet.has_all())
        self.beat()
        self.assertEqual(self.alice.heard(), [])
        self.transport.drain()
        self.assertTrue(self.outlet.has_all())
        self.beat()
        self.assertEqual(self.alice.heard(), [b"<sent id=1>bob"])
        self.assertEqual(self.log[-1], "arrived")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_overflow(self) -> None:
        """Past the hard mark what is queued is dropped, what is in the transport stays whole, once."""
        self.patch(outlet, "HARD_MARK", 1000)
        self.peer.tell(b"x" * 100 + b"\n")
        self.outlet.flush()
        self.peer.tell(b"y" * 1000)
        self.outlet.flush()
        self.assertNotIn("overflowed", self.log)
        self.message()
        self.outlet.flush()
        self.assertEqual(self.log.count("overflowed"), 1)
        self.transport.drain()
        self.outlet.flush()
        self.transport.drain()
        self.assertEqual(self.transport.written, b"x" * 100 + b"\n<goodbye>\n")
        self.beat()
        self.assertEqual(self.alice.heard(), [], "what was dropped is not told as sent")

    def test_given_up(self) -> None:
        """Who is given up is told so; a connection that is closing is let go of, and is nobody who was too slow."""
        self.peer.tell(b"x" * 10)
        self.outlet.flush()
        self.assertTrue(self.outlet.give_up())
        self.outlet.close()
        self.assertEqual((self.log.count("overflowed"), self.transport.log), (1, []))
        self.assertFalse(self.outlet.give_up())
        self.assertEqual((self.log.count("overflowed"), self.transport.log), (1, ["abort"]))
        self.outlet.lost()

    def test_flood_while_closing(self) -> None:
        """A peer that takes nothing while it is closed, and is talked to, costs no more memory than before."""
        self.patch(outlet, "HARD_MARK", 1000)
        self.peer.tell(b"x")
        self.outlet.flush()
        self.outlet.close()
        self.peer.tell(b"y" * 1001)
        self.outlet.flush()
        self.assertEqual(self.transport.log, ["abort"])
        self.assertNotIn("overflowed", self.log)
        self.outlet.lost()

    def test_lost(self) -> None:
        """After the connection is gone nothing is written, looked at or told, and no timer is left."""
        self.message()
        self.outlet.flush()
        self.outlet.close()
        self.outlet.stopProducing()
        self.outlet.lost()
        self.peer.tell(b"x")
        self.outlet.flush()
        self.assertFalse(self.outlet.look(0.0))
        self.outlet.close()
        self.beat()
        self.assertEqual((self.alice.heard(), self.log), ([], ["drained"]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_its_number_is_another_one_s(self) -> None:
        """What is known by the number of a socket is let go of when the connection is gone: soon another one has it."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            near = socket.create_connection(server.getsockname())
            far = server.accept()[0]
            near.setblocking(False)
            lost = Outlet(FakeTransport(near), self.peer, self.pump, self)
            lost.flush()
            number = near.fileno()
            lost.lost()
            near.close()
            other = socket.create_connection(server.getsockname())
            self.assertEqual(other.fileno(), number)
            with far, other, server.accept()[0] as another:
                other.sendall(b"x" * 1000)
                self.peer.tell(b"y")
                lost.flush()
                self.assertIsNone(lost.channel)
                self.assertEqual(lost.position(), self.mailbox.total - self.mailbox.queued)
                other.shutdown(socket.SHUT_WR)
                self.assertEqual(another.recv(2000, socket.MSG_WAITALL), b"x" * 1000)

    def test_lost_without_a_close(self) -> None:
        """A connection that is lost before anybody closed it needs no deadline."""
        self.outlet.lost()
        self.outlet.close()
        self.assertEqual((self.transport.log, self.clock.getDelayedCalls()), ([], []))


class Closing(OutletCase):
    """The last lines get out, and what cannot wait does not."""

    def test_at_once(self) -> None:
        """With nothing on its way it closes at once."""
        self.outlet.close()
        self.outlet.close()
        self.assertEqual(self.transport.log, ["lose"])
        self.assertIsNone(self.transport.producer)
        self.outlet.lost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_last_lines(self) -> None:
        """What is queued gets out first."""
        self.peer.tell(b"<goodbye>\n")
        self.outlet.close()
        self.assertEqual(self.transport.log, [])
        self.transport.drain()
        self.assertEqual((self.transport.written, self.transport.log), (b"<goodbye>\n", ["lose"]))
        self.outlet.lost()

    def test_deadline(self) -> None:
        """A peer that does not take its last lines is gone after five seconds."""
        self.peer.tell(b"<goodbye>\n")
        self.outlet.close()
        self.clock.advance(4.9)
        self.assertEqual(self.transport.log, [])
        self.clock.advance(0.1)
        self.assertEqual(self.transport.log, ["abort"])
        self.outlet.lost()

    def test_answers_first(self) -> None:
        """It waits for the answers that the journal has yet to make possible."""
        self.bob.say(b"<set_msg>alice hi")
        self.outlet.close()
        self.assertEqual(self.transport.log, [])
        self.chat.commit()
        self.outlet.flush()
        self.transport.drain()
        self.assertEqual((self.transport.written, self.transport.log), (b"<accepted id=1>alice\n", ["lose"]))
        self.outlet.lost()

    def test_lost_while_closing(self) -> None:
        """The transport's word that its buffer is empty may come after the end."""
        self.outlet.close()
        self.outlet.resumeProducing()
        self.assertEqual(self.transport.log, ["lose"])
        self.outlet.lost()


class WithSocket(OutletCase):
    """Where there is a socket: it is tried first, and asked how far the bytes have come."""

    with_socket = True

    def test_at_once(self) -> None:
        """What the kernel takes never touches the transport, chunk after chunk."""
        for data in (b"a" * 70_000, b"b" * 70_000):
            self.peer.tell(data)
        self.outlet.flush()
        self.assertEqual(self.socket.sent, b"a" * 70_000 + b"b" * 70_000)
        self.assertEqual((self.transport.buffer, self.outlet.idle), (b"", True))

    def test_partly(self) -> None:
        """What the kernel does not take goes through the transport, and the order stays."""
        self.socket.script = [3, None]
        self.peer.tell(b"abcdef")
        self.outlet.flush()
        self.assertEqual((self.socket.sent, self.transport.buffer), (b"abc", b"def"))
        # Nothing is queued, and yet what is put in now waits: it is made one piece at once.
        self.peer.mailbox.put_pieces([b"g", memoryview(b"hi")], 3, 1)
        self.assertIsInstance(self.peer.mailbox.queue, bytes)
        self.outlet.flush()
        self.assertEqual((self.socket.sent, self.transport.buffer), (b"abc", b"def"))
        self.transport.drain()
        self.assertEqual((self.socket.sent, self.transport.written), (b"abcghi", b"def"))

    def test_full_or_broken(self) -> None:
        """An error of the socket leaves all to the transport: it waits, or finds out."""
        for error in (BlockingIOError(), BrokenPipeError()):
            self.socket.script = [error]
            self.peer.tell(b"x")
            self.outlet.flush()
            self.assertEqual(self.transport.buffer, b"x")
            self.transport.drain()
        self.assertEqual((self.transport.written, self.outlet.has_all()), (b"xx", True))

    def test_somebody_waits(self) -> None:
        """What is looked at now and then is looked at soon when somebody waits for a verdict."""
        self.patch(mailroom, "CALM_SHARE", 1.0)
        self.alice.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.outlet.flush()
        self.message()
        self.outlet.flush()
        self.beat()
        self.assertIn(b"<sent id=2>bob", self.alice.heard())

    def test_somebody_waits_again(self) -> None:
        """When a verdict was told, there is no hurry, whatever else is under way; and then there is again."""
        self.patch(mailroom, "CALM_SHARE", 1.0)
        self.message()
        self.alice.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.outlet.flush()
        self.unsent = 1
        self.beat()
        self.assertIn(b"<sent id=1>bob", self.alice.heard())
        self.unsent = 0
        self.message()
        self.outlet.flush()
        self.beat()
        self.assertIn(b"<sent id=3>bob", self.alice.heard())

    def test_not_written_yet(self) -> None:
        """What lies in the mailbox has not come anywhere."""
        self.message()
        self.outlet.flush()
        self.message()
        self.beat()
        self.assertEqual(self.alice.heard(), [b"<sent id=1>bob"])
        self.outlet.flush()
        self.beat()
        self.assertEqual(self.alice.heard(), [b"<sent id=2>bob"])

    def test_position(self) -> None:
        """A message has arrived when the peer's kernel has its last byte."""
        self.message()
        self.outlet.flush()
        for unsent in (100, 1):
            self.unsent = unsent
            self.assertFalse(self.outlet.has_all())
            self.beat()
            self.assertEqual((self.alice.heard(), self.log), ([], ["drained"]))
        self.unsent = 0
        self.beat()
        self.assertEqual((self.alice.heard(), self.log), ([b"<sent id=1>bob"], ["drained", "arrived"]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_can_tell(self) -> None:
        """Where the kernel cannot tell, what it took counts as handed over."""
        self.patch(kernel, "unsent", lambda handle: None)
        self.message()
        self.outlet.flush()
        self.beat()
        self.assertEqual(self.alice.heard(), [b"<sent id=1>bob"])

    def test_looks_only_for_messages(self) -> None:
        """Nobody is asked about lines that nobody waits to hear of."""
        self.peer.tell(b"<pong>\n")
        self.outlet.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_looks_after_who_acknowledges(self) -> None:
        """The bytes of a client that acknowledges are followed until all have arrived."""
        self.chat.hub.promise(self.peer, acks=True)
        self.peer.tell(b"<pong>\n")
        self.outlet.flush()
        self.unsent = 1
        self.beat()
        self.assertEqual(self.log, ["sent", "drained"])
        self.unsent = 0
        self.beat()
        self.assertEqual(self.log, ["sent", "drained", "arrived"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_lingers(self) -> None:
        """A close waits for the verdict on the last message, as long as a round trip takes."""
        self.message()
        self.unsent = 10
        self.outlet.flush()
        self.outlet.close()
        self.beat()
        self.assertEqual(self.transport.log, [])
        self.unsent = 0
        self.beat()
        self.assertEqual((self.alice.heard(), self.transport.log), ([b"<sent id=1>bob"], ["lose"]))
        self.outlet.lost()

    def test_close_does_not_linger_long(self) -> None:
        """A verdict that does not come within two seconds is not waited for."""
        self.message()
        self.unsent = 10
        self.outlet.flush()
        self.outlet.close()
        self.clock.pump([0.05] * 39)
        self.assertEqual(self.transport.log, [])
        self.clock.pump([0.05] * 2)
        self.assertEqual((self.alice.heard(), self.transport.log), ([], ["lose"]))
        self.outlet.lost()
