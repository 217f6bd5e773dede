"""The daemon's side of file transfers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any
from unittest import mock

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pychat.budget import Budget, Limits
from pychat.datagram import LEAVE_SECONDS, TransferProtocol
from pychat.errors import ShelfError, TransferError
from pychat.transfer.packet import FROM_CLIENT, Hello, Ping, Seal, encode, pad
from pychat.transfer.receiver import Receiver
from pychat.transfer.terms import Done, Failed, Outcome, Terms
from pychat.udp import listen_udp
from tests.guards import within
from tests.transfer.link import make_content, make_terms

CLIENT = ("192.0.2.1", 4000)
ELSEWHERE = ("203.0.113.9", 9)


class File:
    """A file on the shelf."""

    def __init__(self, content: bytes, name: str = "a file") -> None:
        self.content = content
        self.name = name
        self.size = len(content)
        self.error: Exception | None = None
        self.reads: list[tuple[int, int]] = []
        self.closed = 0

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        if self.error is not None:
            raise self.error
        return self.content[offset : offset + length]

    def close(self) -> None:
        self.closed += 1


class Transport:
    """Keeps what was written."""

    def __init__(self) -> None:
        self.written: list[tuple[bytes, Any]] = []

    def write(self, datagram: bytes, addr: Any) -> None:
        self.written.append((datagram, addr))

    def take(self) -> list[tuple[bytes, Any]]:
        taken, self.written = self.written, []
        return taken


def at_once(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Instead of a thread."""
    try:
        return succeed(function(*arguments))
    except Exception:
        return fail()


class DatagramCase(SynchronousTestCase):
    """A port without a socket, and clients made of the engine."""

    limits = Limits()

    def setUp(self) -> None:
        self.clock = Clock()
        self.budget = Budget(self.limits)
        self.outcomes: list[Outcome] = []
        self.disks: dict[Receiver, bytearray] = {}
        self.run: Callable[..., Deferred[Any]] = at_once
        self.protocol = self.make_protocol()
        self.transport: Any = self.protocol.transport

    def make_protocol(self) -> TransferProtocol:
        protocol = TransferProtocol(
            self.clock,
            budget=self.budget,
            run_in_thread=lambda *arguments: self.run(*arguments),
            random_bytes=Random(1).randbytes,
            seconds=self.clock.seconds,
        )
        protocol.transport = Transport()  # type: ignore[assignment]
        return protocol

    def offer(self, file: File, owner: object = "bob") -> Terms:
        return self.protocol.offer(file, owner, self.outcomes.append)

    def deliver(self, datagrams: list[bytes], address: Any = CLIENT) -> None:
        for datagram in datagrams:
            self.protocol.datagramReceived(datagram, address)
        self.protocol.burstEnded()

    def claim(self, terms: Terms, address: Any = CLIENT) -> Receiver:
        """A client that has proven its address."""
        receiver = Receiver(terms, now=self.clock.seconds())
        for _ in range(2):
            self.deliver(receiver.poll(self.clock.seconds()), address)
            if not receiver.heard:
                for datagram, _ in self.transport.take():
                    receiver.receive(datagram, self.clock.seconds())
        return receiver

    def download(self, receiver: Receiver, address: Any = CLIENT, turns: int = 1000) -> bytes:
        """Let a client and the port talk until the client is done, or has nothing to say."""
        disk = self.disks.setdefault(receiver, bytearray(receiver.terms.size))
        for _ in range(turns):
            for datagram, to in self.transport.take():
                if to == address:
                    receiver.receive(datagram, self.clock.seconds())
            for offset, data in receiver.take_writes():
                disk[offset : offset + len(data)] = data
                receiver.written(len(data))
            if receiver.digest is not None and receiver.digest == sha256(disk).digest():
                receiver.verified()
            self.deliver(receiver.poll(self.clock.seconds()), address)
            self.clock.advance(0.001)
            if receiver.closed:
                break
        return bytes(disk)

    def finish(self) -> None:
        """Time passes until the port has nothing left to do."""
        for _ in range(2000):
            self.clock.advance(0.1)
            if not self.clock.getDelayedCalls():
                return
        self.fail("there is no end to it")


class TransferTests(DatagramCase):
    """A file on its way."""

    def test_download(self) -> None:
        """The whole way: offer, claim, bytes, digest; the file is closed, and the log says so."""
        for size in (0, 1, 300_000):
            file = File(make_content(size))
            with capturedLogs() as events:
                terms = self.offer(file)
                self.assertEqual(terms.size, size)
                receiver = self.claim(terms)
                self.assertEqual(self.download(receiver), file.content)
                self.finish()
            self.assertEqual(receiver.outcome, Done())
            self.assertEqual(self.outcomes, [Done()])
            self.assertEqual(file.closed, 1)
            self.assertEqual(len(self.protocol), 0)
            self.assertEqual(self.budget.running, 0)
            self.assertIn(f"sent 'a file', {size} bytes in", formatEvent(events[-1]))
            self.outcomes.clear()

    def test_unclaimed(self) -> None:
        """An offer stands for 30 s, and is not read before somebody comes."""
        file = File(b"x")
        with capturedLogs() as events:
            terms = self.offer(file)
            self.clock.advance(29.9)
            self.assertEqual((len(self.protocol), file.reads), (1, []))
            self.clock.advance(0.2)
        self.assertEqual((len(self.protocol), file.closed), (0, 1))
        (outcome,) = self.outcomes
        assert isinstance(outcome, Failed)
        self.assertEqual(outcome.code, "unclaimed")
        self.assertIn("did not send 'a file': unclaimed (", formatEvent(events[-1]))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertRaises(KeyError, lambda: self.protocol._sendings[terms.transfer])

    def test_reads_are_in_order_and_one_at_a_time(self) -> None:
        """The source is read once, in order, with one read under way."""
        waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

        def later(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            waiting.append((done, lambda: function(*arguments)))
            return done

        self.run = later
        file = File(make_content(500_000))
        receiver = self.claim(self.offer(file))
        for _ in range(200):
            self.assertLessEqual(len(waiting), 1)
            for done, job in waiting[:]:
                waiting.clear()
                done.callback(job())
            self.download(receiver, turns=5)
        self.assertEqual(file.reads, sorted(file.reads))
        self.assertEqual(sum(length for _, length in file.reads), 500_000)
        self.assertEqual(receiver.outcome, Done())
        self.finish()

    def test_source_changed(self) -> None:
        """A file that is not what it was: both ends hear it, in the shelf's words."""
        file = File(make_content(1_000_000))
        receiver = self.claim(self.offer(file))
        file.error = ShelfError("source-changed", "It changed.")
        self.download(receiver)
        self.assertEqual(self.outcomes, [Failed("source-changed", "It changed.")])
        self.assertEqual(receiver.outcome, Failed("source-changed", "It changed.", remote=True))
        self.assertEqual(file.closed, 1)
        self.finish()

    def test_broken_source(self) -> None:
        """A fault that nobody foresaw is logged, and the client hears that there was one."""
        file = File(b"x")
        file.error = ValueError("oops")
        receiver = self.claim(self.offer(file))
        self.download(receiver)
        (outcome,) = self.outcomes
        assert isinstance(outcome, Failed)
        self.assertEqual(outcome.code, "read-failed")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.finish()

    def test_short_read(self) -> None:
        """A source that does not keep its word is a fault too."""
        file = File(b"xyz")
        file.content = b"x"
        receiver = self.claim(self.offer(file))
        self.download(receiver)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(
            [outcome.code for outcome in self.outcomes if isinstance(outcome, Failed)], ["read-failed"]
        )
        self.finish()

    def test_cannot_close(self) -> None:
        """A file that cannot be closed is logged."""
        file = File(b"x")
        file.close = lambda: 1 // 0  # type: ignore[method-assign, assignment, return-value]
        self.offer(file)
        self.clock.advance(31)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_ends_while_reading(self) -> None:
        """A file is not closed under a read: the read comes back first, well or not."""
        for error in (None, ShelfError("source-changed", "It changed.")):
            reads: list[Callable[[], Any]] = []
            done: Deferred[Any] = Deferred()

            def later(
                function: Callable[..., Any], *arguments: Any, done: Any = done, reads: Any = reads
            ) -> Any:
                if function.__name__ == "close":
                    return at_once(function)
                reads.append(lambda: function(*arguments))
                return done

            self.run = later
            file = File(b"x")
            terms = self.offer(file)
            self.claim(terms)
            self.assertEqual(len(reads), 1)
            self.protocol.cancel(terms.transfer, "cancelled", "Enough.")
            self.protocol.cancel(b"no such.", "cancelled", "Enough.")
            self.assertEqual((file.closed, self.outcomes), (0, [Failed("cancelled", "Enough.")]))
            if error is None:
                done.callback(reads[0]())
            else:
                done.errback(error)
            self.assertEqual(file.closed, 1)
            self.outcomes.clear()
            self.finish()

    def test_client_gives_up(self) -> None:
        """The client's disk is full: the daemon hears it."""
        receiver = self.claim(self.offer(File(make_content(300_000))))
        receiver.fail("disk-full", "No room.")
        self.download(receiver)
        self.assertEqual(self.outcomes, [Failed("disk-full", "No room.", remote=True)])
        self.finish()

    def test_client_vanishes(self) -> None:
        """A dead client is given up within a minute, and leaves nothing behind."""
        file = File(make_content(300_000))
        self.claim(self.offer(file))
        for _ in range(600):
            self.clock.advance(0.1)
        self.assertEqual(
            [outcome.code for outcome in self.outcomes if isinstance(outcome, Failed)], ["timed-out"]
        )
        self.assertEqual((len(self.protocol), file.closed), (0, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FaultTests(DatagramCase):
    """Faults of ours: one costs the transfer that has it, and no other."""

    def setUp(self) -> None:
        super().setUp()
        self.file, self.other = File(make_content(300_000)), File(make_content(300_000))
        self.terms = self.offer(self.file)
        self.receiver = self.claim(self.terms)
        self.healthy = self.claim(self.protocol.offer(self.other, "bob"), ELSEWHERE)
        self.sender = self.protocol._sendings[self.terms.transfer].sender

    def explode(self, *names: str, times: int | None = None) -> None:
        for name in names:
            sound = getattr(self.sender, name)
            effects = None if times is None else [ValueError(), *[mock.DEFAULT] * 1000]
            broken = mock.Mock(wraps=sound, side_effect=effects or ValueError())
            setattr(self.sender, name, broken)

    def assert_contained(self, told: bool = False) -> None:
        """The client with the fault was told, or was not; the other has its file."""
        self.download(self.receiver, turns=20)
        self.assertEqual([outcome.code for outcome in self.outcomes], ["fault"])  # type: ignore[union-attr]
        if told:
            assert isinstance(self.receiver.outcome, Failed)
            self.assertEqual((self.receiver.outcome.code, self.receiver.outcome.remote), ("fault", True))
        self.assertEqual(self.download(self.healthy, ELSEWHERE), self.other.content)
        self.finish()
        self.assertEqual((len(self.protocol), self.budget.running, self.budget._owned), (0, 0, {}))
        self.assertEqual((self.file.closed, self.other.closed), (1, 1))
        self.assertGreater(len(self.flushLoggedErrors(ValueError)), 0)

    def test_hearing(self) -> None:
        """In what a datagram says."""
        self.explode("receive", times=1)
        self.deliver([Seal(self.terms, FROM_CLIENT).close(99, encode(Ping()))])
        self.assert_contained(told=True)

    def test_turn(self) -> None:
        """In its turn after a burst."""
        self.explode("poll", times=1)
        self.deliver([Seal(self.terms, FROM_CLIENT).close(99, encode(Ping()))])
        self.assert_contained(told=True)

    def test_deadline(self) -> None:
        """When its deadline has passed."""
        self.explode("poll", times=1)
        self.clock.advance(1.0)
        self.assert_contained(told=True)

    def test_again_and_again(self) -> None:
        """It is forgotten, without a word."""
        self.explode("poll")
        self.clock.advance(1.0)
        self.assert_contained()

    def test_cannot_fail(self) -> None:
        """Not even that."""
        self.explode("poll", "fail")
        self.clock.advance(1.0)
        self.assert_contained()

    def test_cannot_fail_while_reading(self) -> None:
        """Then the file is closed when the read has come back."""
        done: Deferred[Any] = Deferred()
        self.run = lambda function, *arguments: done
        file = File(b"x")
        terms = self.protocol.offer(file, "bob")
        self.claim(terms, ("192.0.2.7", 7))
        sender = self.protocol._sendings[terms.transfer].sender
        self.run = at_once
        sender.fail = sender.poll = mock.Mock(side_effect=ValueError)  # type: ignore[method-assign]
        self.clock.advance(1.0)
        self.assertEqual(file.closed, 0)
        done.callback(b"x")
        self.assertEqual(file.closed, 1)
        self.protocol.cancel(self.terms.transfer, "fault", "")
        self.assert_contained()

    def test_hearer_that_meddles(self) -> None:
        """Who hears that it is over may end it once more."""
        terms = self.protocol.offer(
            File(b"x"), "bob", lambda _: self.protocol.cancel(terms.transfer, "cancelled", "Enough.")
        )
        self.protocol.cancel(terms.transfer, "cancelled", "Enough.")
        self.assertEqual(len(self.protocol), 2)
        self.explode("poll")
        self.clock.advance(1.0)
        self.assert_contained()

    def test_hearer(self) -> None:
        """In who wants to know how it ended."""
        self.protocol._sendings[self.terms.transfer].finished = mock.Mock(side_effect=ValueError)
        self.assertEqual(self.download(self.receiver), self.file.content)
        self.assertEqual(self.receiver.outcome, Done())
        self.outcomes.append(Failed("fault", ""))
        self.assert_contained()


class RefusalTests(DatagramCase):
    """Datagrams that are not answered: nothing leaves, and it is counted."""

    def test_random(self) -> None:
        """Random bytes."""
        terms = self.offer(File(b"x"))
        for length in (0, 1, 15, 31, 32, 100, 1200):
            self.deliver([Random(length).randbytes(length)])
        self.deliver([b"\x11" + b"no such." + bytes(50), b"\x11" + terms.transfer + bytes(50)])
        self.assertEqual(self.transport.written, [])
        self.assertEqual(self.protocol.refused, {"malformed": 7, "unknown-transfer": 1, "forged": 1})
        self.finish()
        # What the transfer counted is kept after it.
        self.assertEqual(self.protocol.refused, {"malformed": 7, "unknown-transfer": 1, "forged": 1})

    def test_wrong_token(self) -> None:
        """Whoever has the key and not the token."""
        terms = self.offer(File(b"x"))
        payload = pad(encode(Hello(b"x" * 16, 5)), 1200)
        self.deliver([Seal(terms, FROM_CLIENT).close(0, payload)])
        self.assertEqual(self.transport.written, [])
        self.assertEqual(self.protocol.refused, {"bad-hello": 1})
        self.finish()

    def test_replayed_hello(self) -> None:
        """The same greeting again, from home and from elsewhere."""
        terms = self.offer(File(b"x"))
        hello = Receiver(terms, now=0.0).poll(0.0)
        self.deliver(hello)
        self.assertEqual(len(self.transport.take()), 1)
        self.deliver(hello)
        self.deliver(hello, ELSEWHERE)
        self.assertEqual(self.transport.written, [])
        self.assertEqual(self.protocol.refused, {"replayed": 2})
        self.finish()

    def test_spoofed_source(self) -> None:
        """A greeting from an address that cannot answer earns it fewer bytes than it cost, and no file."""
        file = File(make_content(300_000))
        terms = self.offer(file)
        receiver = Receiver(terms, now=0.0)
        self.deliver(receiver.poll(0.0), ELSEWHERE)
        self.clock.advance(20)
        written = self.transport.take()
        self.assertEqual([to for _, to in written], [ELSEWHERE])
        self.assertLess(len(written[0][0]), 100)
        self.assertEqual(file.reads, [])
        self.finish()

    def test_another_address(self) -> None:
        """After the proof, a datagram from elsewhere is dropped."""
        receiver = self.claim(self.offer(File(b"x")))
        self.transport.take()
        receiver.receive(b"", 0.0)
        receiver._ack_at = None
        receiver.fail("cancelled", "Enough.")
        self.deliver(receiver.poll(1.0), ELSEWHERE)
        self.assertEqual(self.transport.written, [])
        self.assertEqual(self.protocol.refused, {"wrong-address": 1})
        self.protocol.stopProtocol()


class LimitTests(DatagramCase):
    """How many there may be, and how much memory each gets."""

    limits = Limits(transfers=4, per_owner=3, window_total=1_000_000, window_each=400_000)

    def assert_busy(self, file: File, owner: object) -> None:
        with self.assertRaises(TransferError) as caught:
            self.offer(file, owner)
        self.assertEqual(caught.exception.code, "busy")
        self.assertEqual(file.closed, 0)

    def test_per_owner(self) -> None:
        """One person has so many, others have theirs, and when one is through there is room again."""
        terms = [self.offer(File(b"x"), "bob") for _ in range(3)]
        self.assert_busy(File(b"x"), "bob")
        self.offer(File(b"x"), "alice")
        self.protocol.cancel(terms[0].transfer, "cancelled", "Enough.")
        self.offer(File(b"x"), "bob")
        self.finish()
        self.assertEqual(self.budget._owned, {})

    def test_all(self) -> None:
        """The daemon has so many, over all its ports."""
        other = self.make_protocol()
        for number in range(4):
            protocol = other if number % 2 else self.protocol
            protocol.offer(File(b"x"), number)
        self.assert_busy(File(b"x"), "bob")
        self.finish()
        self.offer(File(b"x"))
        self.finish()

    def test_memory_is_shared(self) -> None:
        """Those that run share the memory, up to a share for each, and get it back when one is through."""
        files = [File(make_content(300_000)) for _ in range(4)]
        terms = [self.offer(file, number) for number, file in enumerate(files)]
        senders = [self.protocol._sendings[each.transfer].sender for each in terms]
        windows = []
        for each in terms:
            self.claim(each)
            windows.append([sender.max_window for sender in senders])
        self.assertEqual(windows[0], [400_000] * 4)
        self.assertEqual(windows[3], [250_000] * 4)
        self.assertEqual(self.budget.running, 4)
        self.protocol.cancel(terms[0].transfer, "cancelled", "Enough.")
        self.assertEqual(senders[1].max_window, 333_333)
        self.protocol.stopProtocol()

    def test_withdraw(self) -> None:
        """When its owner is gone, an offer that nobody claimed is forgotten; a transfer goes on."""
        claimed, unclaimed, others = File(make_content(300_000)), File(b"x"), File(b"x")
        receiver = self.claim(self.offer(claimed, "bob"))
        self.offer(unclaimed, "bob")
        self.offer(others, "alice")
        self.protocol.withdraw("bob")
        self.assertEqual((unclaimed.closed, others.closed, claimed.closed), (1, 0, 0))
        self.assertEqual(self.download(receiver), claimed.content)
        self.finish()

    def test_ids_differ(self) -> None:
        """An id that is in use is not given again."""
        values = iter(
            [b"transfer", b"t" * 16, b"k" * 32, b"s", b"transfer", b"transfe2", b"t" * 16, b"k" * 32, b"s"]
        )
        self.protocol._random_bytes = lambda size: next(values)
        first, second = self.offer(File(b"x")), self.offer(File(b"x"))
        self.assertEqual((first.transfer, second.transfer), (b"transfer", b"transfe2"))
        self.finish()


class LeavingTests(DatagramCase):
    """The port closes."""

    def test_told(self) -> None:
        """Every client is told, and when they have said so the port may close."""
        receiver = self.claim(self.offer(File(make_content(300_000))))
        unclaimed = File(b"x")
        self.offer(unclaimed)
        self.transport.take()
        left = self.protocol.leave()
        again = self.protocol.leave()
        self.assertNoResult(left)
        self.assertEqual(unclaimed.closed, 1)
        with self.assertRaises(TransferError) as caught:
            self.offer(File(b"x"))
        self.assertEqual(caught.exception.code, "going-away")
        self.download(receiver, turns=3)
        assert isinstance(receiver.outcome, Failed)
        self.assertEqual((receiver.outcome.code, receiver.outcome.remote), ("going-away", True))
        self.successResultOf(left)
        self.successResultOf(again)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_there(self) -> None:
        """Without transfers, or with only unclaimed ones, it closes at once."""
        self.successResultOf(self.make_protocol().leave())
        self.offer(File(b"x"))
        self.successResultOf(self.protocol.leave())

    def test_nobody_answers(self) -> None:
        """Half a second is what it waits for."""
        self.claim(self.offer(File(make_content(300_000))))
        sending = next(iter(self.protocol._sendings.values()))
        sending.sender._recovery.rtt.update(1.0, 0.0)
        left = self.protocol.leave()
        self.clock.advance(LEAVE_SECONDS - 0.01)
        self.assertNoResult(left)
        self.clock.advance(0.02)
        self.successResultOf(left)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_without_leaving(self) -> None:
        """A port that goes away by itself leaves no timers, no open files and no budget spent."""
        file = File(make_content(300_000))
        self.claim(self.offer(file))
        self.deliver([b"x"])
        self.protocol.datagramReceived(b"x", CLIENT)
        self.protocol.stopProtocol()
        self.assertEqual((len(self.protocol), file.closed, self.budget.running), (0, 1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused_are_logged(self) -> None:
        """How many datagrams were refused, and why; nothing when there were none."""
        terms = self.offer(File(b"x"))
        self.deliver([b"x", b"\x11" + terms.transfer + bytes(50), b"y"])
        with capturedLogs() as events:
            self.protocol.stopProtocol()
            self.make_protocol().stopProtocol()
        said = [formatEvent(event) for event in events if "refused" in event["log_format"].split()]
        self.assertEqual(said, ["refused 3 datagrams: 2 malformed, 1 forged"])

    def test_callback_of_the_last(self) -> None:
        """A turn that comes when everything is over does nothing."""
        terms = self.offer(File(b"x"))
        sending = self.protocol._sendings[terms.transfer]
        self.protocol.cancel(terms.transfer, "cancelled", "Enough.")
        self.protocol._turn(sending)
        self.assertEqual(len(self.outcomes), 1)


@pytest_twisted.ensureDeferred
@within(5)
async def test_stop_listening() -> None:
    """Closing a real port tells the client first."""
    protocol = TransferProtocol(reactor)
    port: Any = listen_udp(reactor, protocol, "127.0.0.1", 0)
    terms = protocol.offer(File(make_content(100_000)), "bob")
    address = ("127.0.0.1", port.getHost().port)
    receiver = Receiver(terms, now=0.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        for datagram in receiver.poll(0.0):
            client.sendto(datagram, address)
        protocol.drain()
        receiver.receive(client.recv(2000), 0.0)
        for datagram in receiver.poll(0.0):
            client.sendto(datagram, address)
        protocol.drain()
        stopped = maybeDeferred(port.stopListening)
        client.settimeout(0.5)
        while receiver.outcome is None:
            receiver.receive(client.recv(2000), 0.0)
        for datagram in receiver.poll(0.0):
            client.sendto(datagram, address)
        await stopped
    assert isinstance(receiver.outcome, Failed)
    assert receiver.outcome.code == "going-away"


@pytest_twisted.ensureDeferred
@within(10)
async def test_flood() -> None:
    """Thousands of random and mutated datagrams at a real port: not one byte in answer, each counted, nobody hurt."""
    protocol = TransferProtocol(reactor)
    port: Any = listen_udp(reactor, protocol, "127.0.0.1", 0)
    terms = protocol.offer(File(b"x"), "bob")
    address = ("127.0.0.1", port.getHost().port)
    random = Random(4)
    hello = Receiver(terms, now=0.0).poll(0.0)[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        for _ in range(20):
            for _ in range(100):
                at = random.randrange(len(hello))
                mutated = hello[:at] + bytes((hello[at] ^ random.randrange(1, 256),)) + hello[at + 1 :]
                client.sendto(random.choice([mutated, random.randbytes(random.randrange(1, 1400))]), address)
            protocol.drain()
        try:
            answer = client.recv(2000)
        except BlockingIOError:
            answer = b""
    assert answer == b""
    assert protocol.refused.total() == 2000
    await maybeDeferred(port.stopListening)


def test_offer_of_another_life() -> None:
    """Terms are not reused: a datagram of an offer that is gone names a transfer that nobody knows."""
    protocol = TransferProtocol(Clock(), run_in_thread=at_once)
    protocol.datagramReceived(Receiver(make_terms(3), now=0.0).poll(0.0)[0], CLIENT)
    assert protocol.refused == {"unknown-transfer": 1}
