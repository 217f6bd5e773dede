"""The line protocol on a transport: bytes, bounds, and the end of a connection."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat import factory, intake, kernel, outlet
from pychat.line import ChatProtocol
from pychat.shelf import Shelf

from .chatkit import examples
from .plays.stage import FakeTransport, MemoryStage


class Redirected(FakeTransport):
    """A transport of which another one can read; notes who."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.readers: list[Any] = []

    def read_with(self, reader: Any) -> None:
        self.readers.append(reader)


class Wrapper:
    """Stands before a transport, and has all that it has."""

    def __init__(self, inner: Redirected) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Case(SynchronousTestCase):
    """Some connections to one daemon in memory."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.stage = MemoryStage(Path(folder.name))
        self.clock = self.stage.clock
        self.factory = self.stage.factory

    def connect(self, name: str = "", caps: str | None = None) -> FakeTransport:
        """Open a connection, join if there is a name, and forget what was said so far."""
        transport = FakeTransport(self.clock)
        protocol = self.factory.buildProtocol(None)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if caps is not None:
            self.say(transport, f"<hello caps={caps}>")
        if name:
            self.say(transport, f"<connect>{name}")
        self.hear(transport)
        return transport

    def redirected(self, wrapped: bool = False, said: str = "<ping>x\n") -> Redirected:
        """A connection on a socket whose other end has said something."""
        near, far = socket.socketpair()
        for end in (near, far):
            end.setblocking(False)
            self.addCleanup(end.close)
        far.send(said.encode())
        inner = Redirected(self.clock)
        inner.getHandle = lambda: near  # type: ignore[attr-defined]
        inner.protocol = protocol = self.factory.buildProtocol(None)
        protocol.makeConnection(Wrapper(inner) if wrapped else inner)
        self.far = far
        return inner

    def say(self, transport: FakeTransport, *lines: str) -> None:
        assert isinstance(transport.protocol, ChatProtocol)
        transport.protocol.dataReceived("".join(f"{line}\n" for line in lines).encode())

    def hear(self, transport: FakeTransport, seconds: float = 0.0) -> list[str]:
        """What came since it was last asked for, after so many seconds."""
        for _ in range(30):
            self.clock.advance(0)
        if seconds:
            self.clock.pump([0.01] * round(seconds * 100))
        heard, transport.out = transport.out, b""
        return heard.decode("utf-8", "replace").splitlines()


class Lines(Case):
    """From bytes to a session and back."""

    def test_any_chunks(self) -> None:
        """However the network cuts a line, it is one line."""
        alice = self.connect("alice")
        for byte in b"<ping>x\r\n":
            alice.protocol.dataReceived(bytes([byte]))
        self.assertEqual(self.hear(alice), ["<pong>x"])

    def test_options(self) -> None:
        """The system finds a peer that vanished; where the port has seen to that nobody does it again."""
        for prepared in (False, True):
            with socket.create_server(("127.0.0.1", 0)) as server:
                near = socket.create_connection(server.getsockname())
            self.addCleanup(near.close)
            transport = FakeTransport(self.clock)
            transport.getHandle = lambda near=near: near  # type: ignore[attr-defined]
            transport.prepared = prepared  # type: ignore[attr-defined]
            self.factory.buildProtocol(None).makeConnection(transport)
            self.assertEqual(kernel.is_prepared(near), not prepared)

    def test_reader(self) -> None:
        """What comes in on a plain socket is read without the transport, until the connection is gone."""
        inner = self.redirected()
        (intake,) = inner.readers
        self.assertIsNone(intake.doRead())
        self.hear(inner)
        self.assertEqual(self.far.recv(1000).splitlines()[-1], b"<pong>x")
        self.assertIsNone(intake.doRead())  # nothing came
        self.far.close()
        self.assertIs(intake.doRead(), CONNECTION_DONE)
        assert inner.protocol is not None
        inner.protocol.connectionLost()
        self.assertEqual(inner.readers, [intake, None])

    def test_reader_of_a_broken_socket(self) -> None:
        """A connection that broke is told from one that ended."""
        inner = self.redirected()
        (intake,) = inner.readers
        inner.getHandle().close()  # type: ignore[attr-defined]
        self.assertIs(intake.doRead(), CONNECTION_LOST)

    def test_wrapped(self) -> None:
        """What wraps a transport, such as what reads a proxy's first line, sees all that comes in."""
        inner = self.redirected(wrapped=True)
        self.assertEqual(inner.readers, [])

    def test_telnet(self) -> None:
        """Negotiation is stripped wherever it stands, and Ctrl-C's timing mark is answered."""
        alice = self.connect("alice")
        alice.protocol.dataReceived(b"\xff\xfb\x18<pi\xff\xf4\xff\xfd\x06ng>x\r\n")
        self.assertEqual(alice.out, b"")
        for _ in range(5):
            self.clock.advance(0)
        self.assertEqual(alice.out, b"\xff\xfb\x06<pong>x\n")

    def test_latin_1(self) -> None:
        """A byte that telnet uses, in a text that is not UTF-8, does not join a line with the next one."""
        alice, bob = self.connect("alice"), self.connect("bob")
        self.hear(alice)
        alice.protocol.dataReceived(b"<set_msg_all>hi\xff\n<set_msg_all>\xff\xfe\n<set_msg>bob the secret\n")
        heard = self.hear(alice)
        self.assertEqual([text.split(">")[0] for text in heard[:2]], ["<error code=bad-text"] * 2)
        self.assertEqual(heard[2], "<accepted id=1>bob")
        self.assertEqual(self.hear(bob), ["<msg id=1 from=alice>the secret"])

    def test_endless_line(self) -> None:
        """A line without end is refused once, takes no memory, and the next line is as good as ever."""
        alice = self.connect("alice")
        for _ in range(1600):
            alice.protocol.dataReceived(b"x" * 65536)
        alice.protocol.dataReceived(b"\n<ping>x\n")
        heard = self.hear(alice)
        self.assertEqual(len(heard), 2)
        self.assertTrue(heard[0].startswith("<error code=line-too-long>"))
        self.assertEqual(heard[1], "<pong>x")

    def test_one_write_a_turn(self) -> None:
        """All that is due to a connection in one turn of the reactor leaves in one write."""
        alice, bob = self.connect("alice"), self.connect("bob")
        self.hear(alice)
        written: list[bytes] = []
        write = bob.write

        def spy(data: bytes) -> None:
            written.append(data)
            write(data)

        bob.write = spy  # type: ignore[method-assign]
        self.say(alice, *(f"<set_msg_all>{n}" for n in range(20)))
        self.say(bob, "<ping>x")
        self.assertEqual(len(self.hear(bob)), 21)
        self.assertEqual(len(written), 1)

    def test_answers_wait_for_the_journal(self) -> None:
        """Answers keep the order of the lines although messages are answered by the journal."""
        alice = self.connect("alice")
        self.say(alice, "<set_msg_all>1", "<ping>2", "<set_msg_all label=3>3", "<get_users>", "<disconnect>")
        heard = [text.split(">")[0].split(" ")[0] for text in self.hear(alice)]
        self.assertEqual(heard, ["<accepted", "<pong", "<accepted", "<user", "<users", "<goodbye"])
        self.assertTrue(alice.closed)

    def test_nothing_after_disconnect(self) -> None:
        """What follows a <disconnect> is not looked at."""
        alice = self.connect("alice")
        self.say(alice, "<disconnect>", "<ping>x")
        self.assertEqual(self.hear(alice), ["<goodbye code=bye>Goodbye."])


class Streams(Case):
    """A connection that carries a transfer in place of lines."""

    def offer(self) -> str:
        """A transfer that may be claimed; return the line that claims it."""
        self.stage.offers.offer(Shelf(self.stage._folder).open("report.pdf"), "somebody")
        return f"<stream transfer={next(iter(self.stage.offers._all)).hex()} token={'00' * 16}>"

    def test_handed_over(self) -> None:
        """Behind the line and its answer all bytes are the transfer's, however the network cuts them."""
        data = b"\xff\xf4\r\n<ping>x\n\xff\xfd\x06"
        for cut in (1, 7, 1000):
            eve = self.connect()
            line = f"{self.offer()}\r\n".encode() + data
            for at in range(0, len(line), cut):
                eve.protocol.dataReceived(line[at : at + cut])
            self.assertEqual(self.hear(eve), ["<stream>"])
            stream = self.stage.offers.streams[-1]
            self.assertEqual((stream.data, stream.transport), (data, eve))
            self.assertIsNone(eve.producer)

    def test_read_by_the_transport_again(self) -> None:
        """Behind the line the transport reads as ever, for the transfer."""
        eve = self.redirected(said=f"{self.offer()}\nfirst")
        (reader,) = eve.readers
        self.assertIsNone(reader.doRead())
        self.assertEqual(eve.readers, [reader, None])
        assert eve.protocol is not None
        eve.protocol.dataReceived(b" and more")
        self.assertEqual(self.stage.offers.streams[-1].data, b"first and more")

    def test_lost(self) -> None:
        """The transfer hears that its connection is gone, and half a connection is none."""
        for half in (False, True):
            eve = self.connect()
            self.say(eve, self.offer())
            if half:
                eve.protocol.readConnectionLost()
            else:
                eve.loseConnection()
            self.assertTrue(self.stage.offers.streams[-1].lost)
            self.assertNotIn(eve.protocol, self.factory.connections)

    def test_one_guess(self) -> None:
        """A wrong line is answered and costs the connection: one guess each."""
        for said in (
            f"<stream transfer={'00' * 8} token={'00' * 16}>",
            self.offer()[:-2] + "1>",
            "<stream x>",
        ):
            eve = self.connect()
            self.say(eve, said, "<ping>x")
            (heard,) = self.hear(eve)
            self.assertTrue(heard.startswith("<error code=no-such-transfer>"), heard)
            self.assertTrue(eve.closed)

    def test_not_taken_for_a_stream(self) -> None:
        """Whatever else begins like it, in one piece or in many, is a line like any other."""
        for first in (
            "<stream>",
            "<streams>x",
            "<str",
            "",
            "<stream label=1 label=1>",
            "<stream " + "x" * 5000,
        ):
            for cut in (3, 10_000):
                eve = self.connect()
                line = f"{first}\n<ping>x\n".encode()
                for at in range(0, len(line), cut):
                    eve.protocol.dataReceived(line[at : at + cut])
                heard = self.hear(eve)
                if first == "<stream>":
                    self.assertEqual([text.split(">")[0] for text in heard], ["<error code=no-such-transfer"])
                else:
                    self.assertEqual(heard[-1], "<pong>x")
                    self.assertEqual(len(heard), 1 + bool(first))

    def test_cut_off(self) -> None:
        """A peer that closes its half in the middle of that line said a line without an end."""
        eve = self.connect()
        eve.protocol.dataReceived(b"<stream tra")
        eve.protocol.readConnectionLost()
        self.assertEqual([text.split(">")[0] for text in self.hear(eve)], ["<error code=bad-line"])
        self.assertTrue(eve.closed)

    def test_not_first(self) -> None:
        """Later it is an error, and the connection goes on."""
        eve = self.connect()
        self.say(eve, "<ping>x", self.offer(), "<ping>y")
        heard = self.hear(eve)
        self.assertEqual(
            [text.split(">")[0] for text in heard], ["<pong", "<error code=already-connected", "<pong"]
        )

    def test_stays(self) -> None:
        """A long transfer is no idle connection, and when the daemon stops it takes its leave itself."""
        eve = self.connect()
        self.say(eve, self.offer())
        self.clock.pump([factory.JOIN_LIMIT / 2] * 3)
        self.factory.sweep()
        gone = self.factory.end_all("shutdown", "Bye.")
        self.assertEqual(self.hear(eve), ["<stream>"])
        self.assertNoResult(gone)
        eve.loseConnection()
        self.successResultOf(gone)


class Ending(Case):
    """How connections end."""

    def test_half_close(self) -> None:
        """A peer that closes its sending half gets all its answers, and then we close."""
        alice = self.connect("alice")
        self.say(alice, "<set_msg_all>1", "<listfiles>", "<ping>x")
        alice.protocol.readConnectionLost()
        heard = self.hear(alice)
        self.assertEqual(
            [heard[0], heard[-2], heard[-1]], ["<accepted id=1>all", "<files count=2>", "<pong>x"]
        )
        self.assertTrue(alice.closed)

    def test_half_close_in_a_line(self) -> None:
        """A last line without its end is answered with an error and not used."""
        alice, bob = self.connect("alice"), self.connect("bob")
        alice.protocol.dataReceived(b"<set_msg_all>half a mess")
        alice.protocol.readConnectionLost()
        self.assertIn("<error code=bad-line>", self.hear(alice)[-1])
        self.assertTrue(alice.closed)
        self.assertEqual(self.hear(bob), ["<left>alice"])

    def test_half_close_twice(self) -> None:
        """The transport may say it again after reading was paused."""
        alice = self.connect("alice")
        alice.protocol.readConnectionLost()
        alice.protocol.readConnectionLost()
        alice.protocol.writeConnectionLost()
        self.hear(alice)
        self.assertTrue(alice.closed)

    def test_name_is_free_again(self) -> None:
        """A connection that is lost gives its name back and the others are told."""
        alice, bob = self.connect("alice"), self.connect("bob")
        self.hear(alice)
        bob.loseConnection()
        self.assertEqual(self.hear(alice), ["<left>bob"])
        again = self.connect()
        self.say(again, "<connect>bob")
        self.assertEqual(self.hear(again), ["<connected>bob"])

    def test_did_not_join(self) -> None:
        """A connection that says nothing is ended after ten minutes, one with a name or a hello never."""
        silent, alice, script = self.connect(), self.connect("alice"), self.connect(caps="")
        self.clock.advance(factory.JOIN_LIMIT - 1)
        self.factory.sweep()
        self.assertFalse(self.hear(silent))
        self.clock.advance(1)
        self.factory.sweep()
        self.assertTrue(self.hear(silent)[-1].startswith("<goodbye code=idle>"))
        self.assertTrue(silent.closed)
        self.assertFalse(alice.closed or script.closed)

    def test_end_all(self) -> None:
        """At shutdown everybody is told, closed, and waited for."""
        alice, bob = self.connect("alice"), self.connect("bob")
        gone = self.factory.end_all("shutdown", "Bye.")
        self.assertNoResult(gone)
        self.assertIn("<goodbye code=shutdown>Bye.", self.hear(alice))
        self.assertIn("<goodbye code=shutdown>Bye.", self.hear(bob))
        self.successResultOf(gone)
        self.assertEqual(self.factory.connections, {})

    def test_abort_all(self) -> None:
        """Who does not take the goodbye is closed all the same."""
        alice = self.connect("alice")
        alice.stuck = True
        gone = self.factory.end_all("shutdown", "Bye.")
        self.hear(alice)
        self.assertNoResult(gone)
        self.factory.abort_all()
        self.successResultOf(gone)


class Bounds(Case):
    """One peer does not cost the others anything."""

    def test_unread_answers(self) -> None:
        """Past the soft mark a peer's commands wait, and nothing more is read; they go on when it reads."""
        alice = self.connect("alice")
        alice.stuck = True
        text = "x" * 4000
        for _ in range(200):
            if alice.reading:
                self.say(alice, f"<ping>{text}")
            self.hear(alice)
        self.assertFalse(alice.reading)
        queued = alice.protocol.peer.mailbox.queued
        self.assertGreater(queued, intake.SOFT_MARK)
        self.assertLess(queued, intake.SOFT_MARK + 5000)
        alice.stuck = False
        alice.protocol._outlet.resumeProducing()
        self.say(alice, "<ping>still there")
        self.assertEqual(self.hear(alice)[-1], "<pong>still there")
        self.assertTrue(alice.reading)

    def test_too_slow(self) -> None:
        """Past the hard mark a peer loses what is queued, keeps whole lines, and is ended within five seconds."""
        alice, bob = self.connect("alice"), self.connect("bob")
        self.hear(alice)
        bob.stuck = True
        text = "x" * 4000
        sent = 0
        while "<left>bob" not in self.hear(alice) and sent < 1000:
            self.say(alice, f"<set_msg_all>{text}")
            sent += 1
        self.assertTrue(bob.protocol.session.closing)
        self.assertLess(sent * 4100, outlet.HARD_MARK + 3 * outlet.CHUNK)
        self.assertLess(bob.protocol.peer.mailbox.queued, 1000)
        self.assertEqual(self.factory.laggards.count, 1)
        self.assertFalse(bob.closed)
        self.hear(bob, outlet.CLOSE_LIMIT + 0.1)
        self.assertTrue(bob.closed)

    def test_too_slow_is_told(self) -> None:
        """A peer that was too slow and wakes up gets the line in progress to its end, and the goodbye."""
        alice, bob = self.connect("alice"), self.connect("bob")
        bob.stuck = True
        text = "x" * 4000
        while not bob.protocol.session.closing:
            self.say(alice, f"<set_msg_all>{text}")
            self.hear(alice)
        bob.stuck = False
        bob.protocol._outlet.resumeProducing()
        heard = self.hear(bob)
        self.assertTrue(heard[-1].startswith("<goodbye code=too-slow>"))
        self.assertEqual({len(text) for text in heard[:-1] if "x" in text}, {len(heard[-2])})
        self.assertTrue(bob.closed)

    def test_neither_reads_nor_acks(self) -> None:
        """It costs a bounded part of the memory, is ended, and who comes back has all its mail."""
        alice, bob = self.connect("alice"), self.connect()
        self.say(bob, "<hello caps=ack,resume>", "<connect>bob")
        token = self.hear(bob, 0.1)[-1].partition("resume=")[2].partition(">")[0]
        self.say(bob, "<ping>")
        self.hear(bob)
        self.hear(alice)
        bob.stuck = True
        sent = 0
        while "<away>bob" not in self.hear(alice):
            peer = bob.protocol.peer
            self.assertLess(peer.mailbox.queued + peer.unacked.size, 2 * outlet.HARD_MARK + 4 * outlet.CHUNK)
            self.say(alice, "<set_msg>bob " + "x" * 4000)
            sent += 1
        self.assertLess(sent * 4000, outlet.HARD_MARK + 4 * outlet.CHUNK)
        self.say(alice, "<set_msg>bob the last one")
        self.hear(alice, 6.0)
        self.assertTrue(bob.closed)
        again = self.connect()
        self.say(again, "<hello caps=ack,resume>", f"<connect resume={token}>bob")
        got = 0
        while got <= sent:
            lines = [line for line in self.hear(again, 0.1) if line.startswith("<msg ")]
            self.assertTrue(lines, "there is more to come")
            got += len(lines)
            self.say(again, "<ack>" + lines[-1].partition("id=")[2].partition(" ")[0])
        self.assertTrue(lines[-1].endswith(">the last one"))
        verdicts = [line for line in self.hear(alice, 0.2) if line.startswith("<delivered")]
        self.assertLessEqual(1, len(verdicts))
        self.assertEqual(self.hear(again), [])

    def test_no_acks(self) -> None:
        """A client that promised to acknowledge and does not is sent it again five times, and then ended."""
        alice, bob = self.connect("alice"), self.connect("bob", "ack")
        self.hear(alice)
        self.say(alice, "<set_msg>bob hi")
        heard = [self.hear(bob, seconds) for seconds in (4.9, 0.3, 9.9, 0.3, 20, 40.2, 40.2)]
        self.assertEqual([len(lines) for lines in heard], [1, 1, 0, 1, 1, 1, 1])
        self.assertEqual(len({lines[0] for lines in heard if lines}), 1)
        self.assertTrue(self.hear(bob, 41)[-1].startswith("<goodbye code=no-acks>"))
        self.assertTrue(bob.closed)
        self.assertEqual(self.hear(alice, 0.1)[-2:], ["<left>bob", "<undelivered id=1 reason=gone>bob"])

    def test_acks_in_time(self) -> None:
        """A client that acknowledges is sent nothing again."""
        alice, bob = self.connect("alice"), self.connect("bob", "ack")
        self.say(alice, "<set_msg>bob hi")
        self.assertEqual(len(self.hear(bob, 1)), 1)
        self.say(bob, "<ack>1")
        self.assertEqual(self.hear(bob, 300), [])
        self.assertIn("<delivered id=1>bob", self.hear(alice))

    def test_a_flood_of_commands(self) -> None:
        """A chunk of very many lines is handled in turns: others are served in between."""
        alice, bob = self.connect("alice"), self.connect("bob")
        self.hear(alice)
        self.say(alice, *(["<ping>"] * 5000))
        # No turn of the reactor has passed: the rest of the chunk waits for the next one.
        self.assertEqual(alice.protocol.peer.mailbox.queued, intake.LINES_A_TURN * len("<pong>\n"))
        self.say(bob, "<ping>b")
        self.assertEqual(self.hear(bob), ["<pong>b"])
        self.assertEqual(len(self.hear(alice)), 5000)

    def test_a_flood_on_a_slow_machine(self) -> None:
        """Where lines take long fewer of them make a turn, and all are answered in the end."""
        alice = self.connect("alice")
        self.hear(alice)
        pump, seconds = self.factory.pump, self.factory.pump.seconds
        looks = [0]

        def slow() -> float:
            looks[0] += 1
            return seconds() + looks[0] * intake.LINES_SECONDS * 0.6

        for strange in (slow, lambda: -slow()):
            pump.seconds = strange
            self.say(alice, *(["<ping>"] * 1000))
            handled = alice.protocol.peer.mailbox.queued // len("<pong>\n")
            pump.seconds = seconds
            self.assertEqual(handled, intake.LOT * (2 if strange is slow else 1))
            self.assertEqual(len(self.hear(alice)), 1000)

    def test_a_flood_of_messages(self) -> None:
        """So is one of messages, be they handled together, one by one, or first the one and then the other."""
        many = ["<set_msg_all>x"] * 5000
        mixed = ["<set_msg_all>x", "<set_msg_all label=1>x"] * 100 + many
        for said in (many, ["<ping>", *many], mixed, ["<set_msg_all>x"] * 100 + ["<ping>"] * 5000):
            self.setUp()
            alice = self.connect("alice")
            self.hear(alice)
            assert isinstance(alice.protocol, ChatProtocol)
            before = alice.protocol.session.said
            self.say(alice, *said)
            handled = alice.protocol.session.said - before
            self.assertEqual(handled, intake.LINES_A_TURN, said[:2])
            self.assertGreater(len(self.hear(alice, 0.3)), 5000)
            self.doCleanups()

    def test_a_flood_waits_for_the_journal(self) -> None:
        """Who has lines left while the journal keeps hers goes on when it has them; the others do not wait for that."""
        journal = self.stage.journal
        append = journal.append
        keeping: list[Callable[[], None]] = []

        def slow(entries: Any, standings: Any = ()) -> Deferred[Any]:
            kept: Deferred[Any] = Deferred()
            keeping.append(lambda: append(entries, standings).chainDeferred(kept))
            return kept

        def keep() -> None:
            self.hear(alice)
            keeping.pop()()

        alice, bob = self.connect("alice"), self.connect("bob")
        self.hear(alice)
        self.patch(journal, "append", slow)
        assert isinstance(alice.protocol, ChatProtocol)
        session, before = alice.protocol.session, alice.protocol.session.said
        self.say(alice, "<set_msg_all>x", *(["<ping>"] * 3 * intake.LINES_A_TURN))
        self.hear(alice)
        self.assertEqual(len(keeping), 1)
        # Her second lot, at most, came before the journal was given anything.
        handled = session.said - before
        self.assertLessEqual(handled, 2 * intake.LINES_A_TURN)
        self.say(bob, *(["<ping>"] * 2 * intake.LINES_A_TURN))
        self.assertEqual(len(self.hear(bob)), 2 * intake.LINES_A_TURN)
        self.assertEqual(session.said - before, handled)
        keep()
        heard = self.hear(alice)
        self.assertEqual(heard.count("<pong>"), 3 * intake.LINES_A_TURN)
        self.assertEqual(heard[0], "<accepted id=1>all")
        self.assertEqual(keeping, [])
        # She goes meanwhile.
        self.say(alice, "<set_msg_all>x", *(["<ping>"] * 3 * intake.LINES_A_TURN))
        self.hear(bob)
        alice.protocol.connectionLost()
        keep()
        self.assertIn("<msg id=2 from=alice to=all>x", self.hear(bob))

    def test_pipelined_in_runs(self) -> None:
        """Messages that are handled together stay within that bound, to the last one."""
        alice = self.connect("alice")
        peer = alice.protocol.peer
        self.patch(intake, "PIPELINE_LIMIT", 7)
        self.say(alice, *(["<set_msg_all>x"] * 25))
        self.assertEqual(peer.posted - peer.settled, 7)
        heard = self.hear(alice, 0.3)
        self.assertEqual(len([text for text in heard if text.startswith("<accepted")]), 25)

    def test_pipelined_messages(self) -> None:
        """Messages that the journal has not answered are bounded for each peer."""
        alice = self.connect("alice")
        self.say(alice, *(["<set_msg_all>x"] * 2500))
        peer = alice.protocol.peer
        self.assertLessEqual(peer.posted - peer.settled, intake.PIPELINE_LIMIT)
        heard = self.hear(alice, 0.1)
        self.assertEqual(len([text for text in heard if text.startswith("<accepted")]), 2500)

    @pytest.mark.patches
    def test_a_fault(self) -> None:
        """A fault that nobody foresaw is logged and ends the connection, be its line by itself or among others."""
        bob = self.connect("bob")
        for chunk in (b"<ping>x\n", b"<ping>x\n<ping>y\n"):
            alice = self.connect("alice")
            assert isinstance(alice.protocol, ChatProtocol)
            fault = self.patch(type(alice.protocol.session), "receive", lambda session, raw: 1 // 0)
            alice.protocol.dataReceived(chunk)
            fault.restore()
            self.hear(alice)
            self.assertTrue(alice.closed)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.say(bob, "<ping>x")
        self.assertEqual(self.hear(bob)[-1], "<pong>x")

    def test_pipelined_to_the_end(self) -> None:
        """Who sends no more has the answers to all that she sent, and then the connection ends."""
        alice = self.connect("alice")
        self.say(alice, *(["<set_msg_all>x"] * 1500))
        assert isinstance(alice.protocol, ChatProtocol)
        alice.protocol.readConnectionLost()
        heard = self.hear(alice, 0.1)
        self.assertEqual(len([text for text in heard if text.startswith("<accepted")]), 1500)
        self.assertTrue(alice.closed)

    def test_asked_behind_a_message(self) -> None:
        """What is asked by itself while a message is on its way is answered behind it."""
        alice = self.connect("alice")
        self.say(alice, "<set_msg_all>x")
        self.say(alice, "<history>all")
        heard = self.hear(alice)
        self.assertEqual((heard[0], heard[-1]), ("<accepted id=1>all", "<history count=1>all"))


LINES = (
    "<set_msg_all>a", "<set_msg_all>b", "<set_msg_all label=1>c", "<set_msg_all> ", "<set_msg_all>\x01",
    "<set_msg>bob x", "<ping>x", "<get_users>", "<whois>bob", "<history>all", "<join>#tea", "<topic>#tea",
    "<unread>", "<nonsense>", "",
    "<set_msg_all>" + "x" * 5000, "<listfiles>", "<disconnect>", "<stream id=x key=y>",
)  # fmt: skip


class Chunks(Case):
    """However the network cuts what somebody says, the same becomes of it."""

    @examples(60)
    @given(st.lists(st.sampled_from(LINES), min_size=1, max_size=12), st.data())
    def test_cuts(self, said: list[str], data: st.DataObject) -> None:
        """All at once, line by line, or in any pieces: everybody is told the same, and who ends ends."""
        whole = "".join(f"{line}\n" for line in said).encode()
        cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=4)))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        told = []
        for chunks in ([whole], whole.splitlines(keepends=True), pieces):
            self.setUp()
            alice, bob = self.connect("alice"), self.connect("bob")
            self.hear(alice)
            assert isinstance(alice.protocol, ChatProtocol)
            for chunk in chunks:
                alice.protocol.dataReceived(chunk)
            told.append((self.hear(alice, 0.3), self.hear(bob, 0.3), alice.closed))
            self.doCleanups()
        self.assertEqual(told[0], told[1])
        self.assertEqual(told[0], told[2])
