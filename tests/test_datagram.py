"""The daemon's side of file transfers."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any
from unittest import mock

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pychat.budget import SHARE_SECONDS, Budget, Limits
from pychat.datagram import Offered, TransferProtocol
from pychat.errors import ShelfError, TransferError
from pychat.part import PartFile
from pychat.receiving import Receiving
from pychat.stream import StreamCarrier, stream_terms
from pychat.switchboard import LEAVE_SECONDS, Switchboard
from pychat.transfer.endpoint import Endpoint
from pychat.transfer.frames import Hello, encode
from pychat.transfer.packet import FRAGMENTS, FROM_CLIENT, pad
from pychat.transfer.path import ClientPath
from pychat.transfer.receiver import Receiver
from pychat.transfer.seal import Seal
from pychat.transfer.terms import FIRST_WINDOW, Done, Failed, Outcome, Terms
from pychat.turns import Turns
from pychat.udp import listen_udp, thread_runner
from pychat.underway import MEMORY_SECONDS
from tests.guards import within
from tests.transferkit import (
    CLIENT,
    DAEMON,
    ELSEWHERE,
    Client,
    File,
    Later,
    Net,
    at_once,
    make_content,
    make_terms,
)

KIB, MIB = 1024, 1024 * 1024


class DatagramCase(SynchronousTestCase):
    """A daemon's port without a socket, and a client at the other end."""

    limits = Limits()

    def setUp(self) -> None:
        self.clock = Clock()
        self.net = Net(self.clock)
        self.budget = Budget(self.limits, self.clock.seconds)
        self.outcomes: list[Outcome] = []
        self.run: Callable[..., Deferred[Any]] = at_once
        self.protocol = self.make_protocol()
        self.net.join(self.protocol, DAEMON)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.client = Client(self.net, self.folder)

    def make_protocol(self, **more: Any) -> TransferProtocol:
        return TransferProtocol(
            self.clock,
            budget=self.budget,
            run_in_thread=lambda *arguments: self.run(*arguments),
            random_bytes=Random(1).randbytes,
            seconds=self.clock.seconds,
            **more,
        )

    def offer(self, file: File, owner: object = "bob", **more: Any) -> Offered:
        return self.protocol.offer(file, owner, self.outcomes.append, **more)

    def ended(self, running: Deferred[Any]) -> Any:
        """Let time pass until a transfer has ended; its outcome."""
        self.net.run(lambda: running.called)
        return self.successResultOf(running)

    def codes(self) -> list[str]:
        return [outcome.code for outcome in self.outcomes if isinstance(outcome, Failed)]


class DownloadTests(DatagramCase):
    """A file on its way to a client."""

    def test_download(self) -> None:
        """The whole way: offer, claim, bytes, digest; the file is closed, and the log says so."""
        for size in (0, 1, 300_000, 3 * MIB):
            file = File(make_content(size), version=str(size))
            with capturedLogs() as events:
                terms = self.offer(file).terms
                self.assertEqual((terms.size, len(self.protocol)), (size, 1))
                fetching = self.client.fetch(terms)
                self.assertEqual(self.ended(fetching.start()), Done())
                self.net.finish()
            self.assertEqual(self.client.content(), file.content)
            self.assertEqual(fetching.sha256, sha256(file.content).digest())
            self.assertEqual(self.outcomes, [Done()])
            self.assertEqual((file.closed, len(self.protocol), self.budget.running), (1, 0, 0))
            said = [formatEvent(event) for event in events]
            (line,) = [str(line) for line in said if f"sent 'a file', {size} bytes in" in str(line)]
            self.assertRegex(line, r", 0 of [1-9]\d* datagrams lost$")
            self.outcomes.clear()

    def test_unclaimed(self) -> None:
        """An offer stands for 30 s, and is not read before somebody comes."""
        file = File(b"x")
        with capturedLogs() as events:
            self.offer(file)
            self.clock.advance(29.9)
            self.assertEqual((len(self.protocol), file.reads), (1, []))
            self.clock.advance(0.2)
        self.assertEqual((len(self.protocol), file.closed, self.codes()), (0, 1, ["unclaimed"]))
        self.assertIn("did not send 'a file': unclaimed (", str(formatEvent(events[-1])))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_second_time(self) -> None:
        """Nobody hashes a file twice that has not changed, and one that turned out to be wrong is forgotten."""
        file = File(make_content(3 * MIB))
        for number in range(2):
            self.assertEqual(self.ended(self.client.fetch(self.offer(file).terms).start()), Done())
            self.assertEqual(self.protocol._digests.get("1") is not None, True)
            self.assertEqual(sum(length for _, length in file.reads), (number + 1) * 3 * MIB)
        file.content = make_content(3 * MIB, seed=2)
        outcome = self.ended(self.client.fetch(self.offer(file).terms).start())
        self.assertEqual(outcome.code, "digest-mismatch")
        self.assertIsNone(self.protocol._digests.get("1"))
        self.net.finish()

    def test_resumed(self) -> None:
        """What the client has is not sent again, and still verified."""
        content = make_content(5 * MIB)
        part = PartFile(os.path.join(self.folder, "got"), 5 * MIB, "1")
        part.open()
        part.write([(0, [content[: 2 * MIB]]), (3 * MIB, [content[3 * MIB : 4 * MIB]])])
        part.keep()
        have = [(0, 2 * MIB), (3 * MIB, 4 * MIB)]
        terms = self.offer(File(content), have=have).terms
        self.assertEqual(self.protocol.transfers("bob")[0].done, 3 * MIB)
        self.assertEqual(self.ended(self.client.fetch(terms).start()), Done())
        self.assertEqual(self.client.content(), content)
        self.assertLess(self.net.seen[CLIENT], 2.2 * MIB / 1100)
        self.net.finish()

    def test_source_changed(self) -> None:
        """A file that is not what it was: both ends hear it, in the shelf's words."""
        file = File(make_content(1_000_000))
        file.error = ShelfError("source-changed", "It changed.")
        outcome = self.ended(self.client.fetch(self.offer(file).terms).start())
        self.assertEqual(self.outcomes, [Failed("source-changed", "It changed.")])
        self.assertEqual(outcome, Failed("source-changed", "It changed.", remote=True))
        self.assertEqual(file.closed, 1)
        self.net.finish()

    def test_broken_source(self) -> None:
        """A fault that nobody foresaw is logged, and the client hears that there was one; so is a short read."""
        for file in (File(b"x"), File(b"xyz")):
            if file.size == 1:
                file.error = ValueError("oops")
            else:
                file.content = b"x"
            self.ended(self.client.fetch(self.offer(file).terms).start())
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.codes(), ["read-failed", "read-failed"])
        self.net.finish()

    def test_cannot_close(self) -> None:
        """A file that cannot be closed is logged."""
        file = File(b"x")
        file.close = lambda: 1 // 0  # type: ignore[method-assign, assignment, return-value]
        self.offer(file)
        self.clock.advance(31)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_ends_while_reading(self) -> None:
        """A file is not closed under a read: the read comes back first, and then its owner hears of the end."""
        self.run = threads = Later()
        file = File(b"x")
        terms = self.offer(file).terms
        running = self.client.fetch(terms).start()
        self.net.run(lambda: threads.jobs)
        self.assertTrue(self.protocol.cancel(terms.transfer, "cancelled", "Enough."))
        self.assertFalse(self.protocol.cancel(terms.transfer, "cancelled", "Enough."))
        self.assertFalse(self.protocol.cancel(b"no such.", "cancelled", "Enough."))
        self.assertEqual((file.closed, self.outcomes), (0, []))
        threads.work()
        threads.work()
        self.assertEqual((file.closed, self.outcomes), (1, [Failed("cancelled", "Enough.")]))
        self.ended(running)
        self.net.finish()

    def test_client_gives_up(self) -> None:
        """The client's disk is full: the daemon hears it."""
        fetching = self.client.fetch(self.offer(File(make_content(3_000_000))).terms)
        running = fetching.start()
        self.net.run(lambda: fetching.done_bytes)
        fetching.fail("disk-full", "No room.")
        self.ended(running)
        self.net.finish()
        self.assertEqual(self.outcomes, [Failed("disk-full", "No room.", remote=True)])

    def test_client_vanishes(self) -> None:
        """A dead client is given up within a minute, and leaves nothing behind."""
        file = File(make_content(3_000_000))
        fetching = self.client.fetch(self.offer(file).terms)
        fetching.start()
        self.net.run(lambda: fetching.done_bytes)
        del self.net.ports[CLIENT]
        fetching.abandon("cancelled", "")
        for _ in range(600):
            self.clock.advance(0.1)
        self.assertEqual((self.codes(), len(self.protocol), file.closed), (["timed-out"], 0, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_client_moves(self) -> None:
        """A client whose address changes goes on from the new one."""
        content = make_content(3_000_000)
        fetching = self.client.fetch(self.offer(File(content)).terms)
        running = fetching.start()
        self.net.run(lambda: fetching.done_bytes > 500_000)
        self.net.join(self.client.board, ELSEWHERE)
        self.assertEqual(self.ended(running), Done())
        self.assertEqual(self.client.content(), content)
        self.net.finish()

    def test_max_datagram(self) -> None:
        """No datagram goes beyond what the operator allows, nor beyond what the socket can send whole."""
        self.protocol = self.make_protocol(max_datagram=1300)
        self.assertEqual(self.protocol.largest, 1200)
        self.offer(File(b"x"))
        (transfer,) = self.protocol._transfers.values()
        self.assertEqual(transfer.turns.engine._mtu._limit, 1200)
        with mock.patch.object(TransferProtocol, "largest", 65507):
            terms = self.offer(File(b"x")).terms
        self.assertEqual(self.protocol._transfers[terms.transfer].turns.engine._mtu._limit, 1300)
        self.protocol.stopProtocol()


class UploadTests(DatagramCase):
    """A file on its way to the daemon."""

    def take(self, size: int, owner: str = "bob", name: str = "taken") -> tuple[Offered, PartFile]:
        part = PartFile(os.path.join(self.folder, name), size, "1")
        have = part.open()
        offered = self.protocol.take(part, name, size, owner, self.outcomes.append, have=have)
        return offered, part

    def test_upload(self) -> None:
        """The same with the roles swapped."""
        for size in (0, 1, 300_000, 3 * MIB):
            content = make_content(size)
            offered, _ = self.take(size, name=f"taken{size}")
            (seen,) = self.protocol.transfers("bob")
            self.assertEqual((seen.direction, seen.state, seen.size), ("up", "waiting", size))
            with capturedLogs() as events:
                self.assertEqual(self.ended(self.client.bring(offered.terms, File(content)).start()), Done())
            self.assertEqual(self.outcomes, [Done()])
            self.assertEqual(self.client.content(f"taken{size}"), content)
            said = [str(formatEvent(event)) for event in events]
            (line,) = [line for line in said if f"took 'taken{size}', {size} bytes in" in line]
            self.assertRegex(line, r", [1-9]\d* datagrams came$")
            self.outcomes.clear()
            self.net.finish()

    def test_resumed(self) -> None:
        """An upload that broke off goes on from what is on the disk."""
        content = make_content(4 * MIB)
        offered, part = self.take(4 * MIB)
        bringing = self.client.bring(offered.terms, File(content))
        running = bringing.start()
        self.net.run(lambda: bringing.done_bytes > 2 * MIB)
        self.protocol.cancel(offered.terms.transfer, "cancelled", "Enough.")
        self.ended(running)
        self.assertEqual(self.codes(), ["cancelled"])
        part.keep()
        self.net.seen.clear()
        offered, part = self.take(4 * MIB)
        have = list(self.protocol._transfers[offered.terms.transfer].turns.engine._before)
        self.assertTrue(part.resumed)
        self.assertEqual(
            self.ended(self.client.bring(offered.terms, File(content), have=have).start()), Done()
        )
        self.assertLess(self.net.seen[DAEMON], 2.2 * MIB / 1100)
        self.assertEqual(self.client.content("taken"), content)
        self.net.finish()

    def test_full_disk(self) -> None:
        """The client hears what the daemon's disk said, and the part is its user's again."""
        offered, part = self.take(3 * MIB)
        full = OSError(errno.ENOSPC, "full")
        with (
            mock.patch.object(os, "pwritev", side_effect=full),
            mock.patch.object(os, "write", side_effect=full),
        ):
            outcome = self.ended(self.client.bring(offered.terms, File(make_content(3 * MIB))).start())
        self.assertEqual((outcome.code, outcome.remote, self.codes()), ("disk-full", True, ["disk-full"]))
        part.discard()
        self.net.finish()

    def test_broken_disk(self) -> None:
        """What nobody foresaw is logged."""
        offered, part = self.take(10)
        part.write = mock.Mock(side_effect=ValueError)  # type: ignore[method-assign]
        outcome = self.ended(self.client.bring(offered.terms, File(b"x" * 10)).start())
        self.assertEqual((outcome.code, len(self.flushLoggedErrors(ValueError))), ("cannot-write", 1))
        part.discard()
        self.net.finish()


class FaultTests(DatagramCase):
    """Faults of ours: one costs the transfer that has it, and no other."""

    def test_contained(self) -> None:
        """The client with the fault is told, or not; the other has its file."""
        for broken in (["receive"], ["poll"], ["poll", "fail"]):
            file, other = File(make_content(300_000)), File(make_content(300_000))
            terms = self.offer(file).terms
            engine = self.protocol._transfers[terms.transfer].turns.engine
            for name in broken:
                setattr(engine, name, mock.Mock(side_effect=ValueError))
            healthy = self.client.fetch(self.protocol.offer(other, "bob").terms, "healthy")
            sick = self.client.fetch(terms, "sick")
            running, _ = healthy.start(), sick.start()
            self.assertEqual(self.ended(running), Done())
            sick.abandon("cancelled", "")
            self.net.finish()
            self.assertEqual(self.codes(), ["fault"])
            self.assertEqual((len(self.protocol), self.budget.running, self.budget._owned), (0, 0, {}))
            self.assertEqual((file.closed, other.closed), (1, 1))
            self.assertGreater(len(self.flushLoggedErrors(ValueError)), 0)
            self.outcomes.clear()

    def test_hearer(self) -> None:
        """A fault in who wants to know how it ended."""
        terms = self.protocol.offer(File(b"x"), "bob", mock.Mock(side_effect=ValueError)).terms
        self.assertEqual(self.ended(self.client.fetch(terms).start()), Done())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.net.finish()

    def test_hearer_that_meddles(self) -> None:
        """Who hears that it is over may end it once more."""
        terms = self.protocol.offer(
            File(b"x"), "bob", lambda _: self.protocol.cancel(terms.transfer, "cancelled", "Enough.")
        ).terms
        self.protocol.cancel(terms.transfer, "cancelled", "Enough.")
        self.assertEqual(len(self.protocol), 0)
        self.net.finish()

    def test_cannot_begin(self) -> None:
        """When an engine cannot be made, nothing is kept of it."""
        self.protocol._controller = mock.Mock(side_effect=ValueError)
        file = File(b"x")
        self.assertRaises(ValueError, self.offer, file)
        self.assertEqual((len(self.protocol), self.budget._owned, file.closed), (0, {}, 0))

    def test_fault_in_the_end(self) -> None:
        """A fault of the turns themselves is logged."""
        with mock.patch.object(Turns, "start", return_value=Deferred()) as start:
            self.offer(File(b"x"))
        start.return_value.errback(ValueError())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.protocol._abandon()


class RefusalTests(DatagramCase):
    """Datagrams that are not answered: nothing leaves, and it is counted."""

    def hear(self, *datagrams: bytes, source: Any = CLIENT) -> int:
        """The daemon hears these; return how many leave in answer."""
        before = len(self.net.under_way)
        for datagram in datagrams:
            self.protocol.datagramReceived(datagram, source)
        self.protocol.burstEnded()
        return len(self.net.under_way) - before

    def hello(self, terms: Terms) -> bytes:
        path = ClientPath(terms.token, DAEMON, window=FIRST_WINDOW, now=0.0)
        receiver = Receiver(terms, path, sends=FROM_CLIENT, now=0.0)
        ((_, datagram),) = [(train, b"".join(train.buffers)) for train in receiver.poll(0.0)]
        return datagram

    def test_random(self) -> None:
        """Random bytes."""
        terms = self.offer(File(b"x")).terms
        for length in (0, 1, 15, 31, 32, 100, 1200):
            self.assertEqual(self.hear(Random(length).randbytes(length)), 0)
        self.assertEqual(
            self.hear(
                bytes((FROM_CLIENT,)) + b"no such." + bytes(50),
                bytes((FROM_CLIENT,)) + terms.transfer + bytes(50),
            ),
            0,
        )
        self.assertEqual(self.protocol.refused, {"malformed": 7, "unknown-transfer": 1, "forged": 1})
        self.net.finish()
        # What the transfer counted is kept after it.
        self.assertEqual(self.protocol.refused, {"malformed": 7, "unknown-transfer": 1, "forged": 1})

    def test_wrong_token(self) -> None:
        """Whoever has the key and not the token."""
        terms = self.offer(File(b"x")).terms
        payload = pad(encode(Hello(b"x" * 16, 5)), 1200)
        self.assertEqual(self.hear(Seal(terms, FROM_CLIENT).close(0, payload)), 0)
        self.assertEqual(self.protocol.refused, {"bad-hello": 1})
        self.net.finish()

    def test_replayed_hello(self) -> None:
        """The same greeting again, from home and from elsewhere."""
        hello = self.hello(self.offer(File(b"x")).terms)
        self.assertEqual(self.hear(hello), 1)
        self.assertEqual(self.hear(hello), 0)
        self.assertEqual(self.hear(hello, source=ELSEWHERE), 0)
        self.assertEqual(self.protocol.refused, {"replayed": 2})
        self.net.finish()

    def test_spoofed_source(self) -> None:
        """A greeting from an address that cannot answer earns it fewer bytes than it cost, and no file."""
        file = File(make_content(300_000))
        self.hear(self.hello(self.offer(file).terms), source=ELSEWHERE)
        self.clock.advance(20)
        ((datagram, _, to),) = self.net.under_way
        self.assertEqual(to, ELSEWHERE)
        self.assertLess(len(datagram), 100)
        self.assertEqual(file.reads, [])
        self.net.finish()

    def test_offer_of_another_life(self) -> None:
        """Terms are not reused: a datagram of an offer that is gone names a transfer that nobody knows."""
        self.assertEqual(self.hear(self.hello(make_terms(3))), 0)
        self.assertEqual(self.protocol.refused, {"unknown-transfer": 1})

    def test_logged(self) -> None:
        """How many datagrams were refused, and why; nothing when there were none."""
        terms = self.offer(File(b"x")).terms
        self.hear(b"x", bytes((FROM_CLIENT,)) + terms.transfer + bytes(50), b"y")
        with capturedLogs() as events:
            self.protocol.stopProtocol()
            self.make_protocol().stopProtocol()
        said = [formatEvent(event) for event in events if "refused" in event["log_format"].split()]
        self.assertEqual(said, ["refused 3 datagrams: 2 malformed, 1 forged"])


class LimitTests(DatagramCase):
    """How many there may be, and what each gets."""

    limits = Limits(transfers=4, per_owner=3, window_total=4 * MIB, window_each=3 * MIB)

    def assert_busy(self, **whose: Any) -> None:
        file = File(b"x")
        with self.assertRaises(TransferError) as caught:
            self.offer(file, **whose)
        self.assertEqual((caught.exception.code, file.closed), ("busy", 0))

    def test_per_identity(self) -> None:
        """One person has so many, whatever connections she has; others have theirs."""
        terms = [self.offer(File(b"x"), f"bob{number}", identity="bob").terms for number in range(3)]
        self.assert_busy(owner="bob4", identity="bob")
        self.offer(File(b"x"), "alice")
        self.protocol.cancel(terms[0].transfer, "cancelled", "Enough.")
        self.offer(File(b"x"), "bob", identity="bob")
        self.net.finish()
        self.assertEqual(self.budget._owned, {})

    def test_all(self) -> None:
        """The daemon has so many, over all its ports."""
        other = self.make_protocol()
        for number in range(4):
            protocol = other if number % 2 else self.protocol
            protocol.offer(File(b"x"), number)
        self.assert_busy()
        self.net.finish()
        self.offer(File(b"x"))
        self.net.finish()

    def test_memory_is_shared(self) -> None:
        """Those that run share the memory by identity, and get it back when one is through."""
        offers = [self.offer(File(make_content(3 * MIB)), owner).terms for owner in ("bob", "bob", "alice")]
        engines = [self.protocol._transfers[terms.transfer].turns.engine for terms in offers]
        for number, terms in enumerate(offers):
            self.client.fetch(terms, f"got{number}").start()
        self.net.run(lambda: self.budget.running == 3)
        self.assertEqual([engine.max_window for engine in engines], [MIB, MIB, 2 * MIB])
        self.protocol.cancel(offers[2].transfer, "cancelled", "Enough.")
        self.assertEqual(engines[0].max_window, 2 * MIB)
        self.protocol.stopProtocol()
        self.client.board.stopProtocol()

    def test_rate(self) -> None:
        """A transfer goes as fast as it is allowed to."""
        self.budget.limits = Limits(rate=1_000_000.0)
        size = 3_000_000
        fetching = self.client.fetch(self.offer(File(make_content(size))).terms)
        began = self.clock.seconds()
        self.assertEqual(self.ended(fetching.start()), Done())
        took = self.clock.seconds() - began
        self.assertGreater(took, 2.8)
        self.assertLess(took, 4.0)
        self.net.finish()

    def test_withdraw(self) -> None:
        """When its owner is gone, an offer that nobody claimed is forgotten; a transfer goes on."""
        claimed, unclaimed, others = File(make_content(300_000)), File(b"x"), File(b"x")
        fetching = self.client.fetch(self.offer(claimed, "bob").terms)
        running = fetching.start()
        self.net.run(lambda: self.protocol.transfers("bob")[0].state == "running")
        self.offer(unclaimed, "bob")
        self.offer(others, "alice")
        self.protocol.withdraw("bob")
        self.assertEqual((unclaimed.closed, others.closed, claimed.closed), (1, 0, 0))
        self.assertEqual(self.ended(running), Done())
        self.net.finish()

    def test_ids_differ(self) -> None:
        """An id that is in use is not given again."""
        values = iter(
            [b"transfer", b"t" * 16, b"k" * 32, b"s", b"transfer", b"transfe2", b"t" * 16, b"k" * 32]
        )
        self.protocol._random_bytes = lambda size: next(values, b"s")
        first, second = self.offer(File(b"x")).terms, self.offer(File(b"x")).terms
        self.assertEqual((first.transfer, second.transfer), (b"transfer", b"transfe2"))
        self.net.finish()


class SteeringTests(DatagramCase):
    """Looking at transfers, and steering them from the chat line."""

    def test_states(self) -> None:
        """Waiting until it is claimed, then running, paused from either end, and running again."""
        content = make_content(3 * MIB)
        terms = self.offer(File(content, "name"), "bob").terms
        (seen,) = self.protocol.transfers("bob")
        self.assertEqual(seen, (terms.transfer, "name", 3 * MIB, 0, "waiting", "down"))
        self.assertEqual(self.protocol.transfers("alice"), [])
        fetching = self.client.fetch(terms)
        running = fetching.start()
        state = lambda: self.protocol.transfers("bob")[0].state  # noqa: E731
        self.net.run(lambda: state() == "running")
        self.assertTrue(self.protocol.pause(terms.transfer, True))
        self.assertEqual(state(), "paused")
        self.net.run(lambda: fetching.engine.paused)
        for _ in range(100):
            self.net.step()
        done = fetching.done_bytes
        for _ in range(3000):
            self.net.step()
        self.assertEqual(fetching.done_bytes, done)
        self.protocol.pause(terms.transfer, False)
        self.net.run(lambda: fetching.done_bytes > done)
        fetching.pause(True)
        self.net.run(lambda: state() == "paused")
        fetching.pause(False)
        self.assertEqual(self.ended(running), Done())
        self.assertFalse(self.protocol.pause(terms.transfer, True))
        self.net.finish()

    def test_waits_for_its_turn(self) -> None:
        """While two people have files under way, the later of many of one wait, and then go on."""
        size = 3 * MIB
        offers = [self.offer(File(make_content(size)), "bob").terms for _ in range(4)]
        running = [self.client.fetch(terms, f"bob{n}").start() for n, terms in enumerate(offers)]
        self.net.run(lambda: self.budget.running == 4)
        alices = self.offer(File(make_content(size)), "alice").terms
        hers = self.client.fetch(alices, "alice").start()
        self.net.run(lambda: self.budget.running == 5)
        self.assertEqual(
            [each.state for each in self.protocol.transfers("bob")],
            ["running", "running", "waiting", "waiting"],
        )
        self.protocol.pause(offers[3].transfer, True)
        self.assertEqual(self.protocol.transfers("bob")[3].state, "paused")
        self.protocol.pause(offers[3].transfer, False)
        self.assertEqual(self.ended(hers), Done())
        for each in running:
            self.assertEqual(self.ended(each), Done())
        self.net.finish()

    def test_paused_gives_up_its_turn(self) -> None:
        """Those that somebody paused, at either end, keep nobody waiting."""
        size = 3 * MIB
        offers = [self.offer(File(make_content(size)), "bob").terms for _ in range(4)]
        fetches = [self.client.fetch(terms, f"bob{n}") for n, terms in enumerate(offers)]
        running = [fetching.start() for fetching in fetches]
        hers = self.client.fetch(self.offer(File(make_content(size)), "alice").terms, "alice")
        hers.start()
        self.net.run(lambda: self.budget.running == 5)
        hers.pause(True)
        alice = self.offer(File(make_content(size)), "alice").terms
        other = self.client.fetch(alice, "alice2").start()
        self.protocol.pause(offers[0].transfer, True)
        fetches[1].pause(True)
        self.assertEqual(self.ended(running[2]), Done())
        self.assertEqual(self.ended(running[3]), Done())
        self.assertEqual(self.ended(other), Done())
        self.protocol.pause(offers[0].transfer, False)
        fetches[1].pause(False)
        hers.pause(False)
        for each in running[:2]:
            self.assertEqual(self.ended(each), Done())
        self.net.finish()

    def test_looks_now_and_then(self) -> None:
        """As long as something runs the shares are looked at."""
        self.budget.look = mock.Mock()  # type: ignore[method-assign]
        fetching = self.client.fetch(self.offer(File(make_content(3 * MIB))).terms)
        running = fetching.start()
        self.net.run(lambda: self.budget.running)
        fetching.pause(True)
        for _ in range(int(3.5 * SHARE_SECONDS / Net.STEP)):
            self.net.step()
        self.assertEqual(self.budget.look.call_count, 3)
        fetching.pause(False)
        self.ended(running)
        self.net.finish()


class PathTests(DatagramCase):
    """An address that is proven while the client logs in."""

    def greet(self) -> Turns:
        terms = self.protocol.greet("bob")
        engine = Endpoint(terms, self.client.path(terms, 0), sends=FROM_CLIENT, now=self.clock.seconds())
        turns = Turns(engine, self.client.board, **self.client.common)
        turns.start()
        self.net.run(lambda: self.protocol._known["bob"].turns.engine.proven)
        return turns

    def test_first_byte(self) -> None:
        """Data leaves at once, and nobody greets."""
        path = self.greet()
        content = make_content(300_000)
        for _ in range(2):
            offered = self.offer(File(content))
            self.assertEqual(offered.path, path.transfer)
            self.net.run(lambda: self.net.under_way, 0.002)
            self.net.step()
            fetching = self.client.fetch(offered.terms, greets=False)
            running = fetching.start()
            self.assertGreater(fetching.done_bytes, 0)
            self.assertEqual(self.ended(running), Done())
            self.assertEqual(self.client.content(), content)
        known = self.protocol._known["bob"]
        self.assertGreater(known.rate or 0, 0)
        self.protocol.withdraw("bob")
        self.assertEqual(self.offer(File(b"x")).path, None)
        self.net.finish()

    def test_asked_at_once(self) -> None:
        """A greeting from the host of the connection is proof enough: what is asked for behind it comes at once."""
        challenges: list[int] = []
        self.net.lose = lambda datagram, source, to: challenges.append(len(datagram)) or False
        terms = self.protocol.greet("bob", host="::ffff:" + CLIENT[0])
        engine = Endpoint(terms, self.client.path(terms, 0), sends=FROM_CLIENT, now=self.clock.seconds())
        path = Turns(engine, self.client.board, **self.client.common)
        path.start()
        content = make_content(30_000)
        late = self.offer(File(content))  # the request overtook the greeting
        self.assertIsNone(late.path)
        self.net.step()
        self.assertEqual(self.protocol._known["bob"].turns.engine.proven, CLIENT)
        self.assertEqual(self.offer(File(content)).path, terms.transfer)
        self.assertEqual(challenges, [1200])
        self.net.step()
        self.assertEqual(engine.proven, DAEMON)
        fetching = self.client.fetch(late.terms)
        running = fetching.start()
        self.assertGreater(fetching.done_bytes, 10_000)
        self.assertEqual(self.ended(running), Done())
        self.protocol.withdraw("bob")
        self.protocol.stopProtocol()
        self.client.board.stopProtocol()

    def test_elsewhere(self) -> None:
        """A greeting from another host is challenged, for the path and for a file."""
        terms = self.protocol.greet("bob", host=ELSEWHERE[0])
        for offered in (terms, self.offer(File(b"x")).terms):
            engine = Endpoint(
                offered, self.client.path(offered, 0), sends=FROM_CLIENT, now=self.clock.seconds()
            )
            Turns(engine, self.client.board, **self.client.common).start()
            self.net.step()
            turns = self.protocol._all[offered.transfer]
            self.assertIsNone(turns.engine.proven)
        self.protocol.stopProtocol()
        self.client.board.stopProtocol()

    def test_remembered(self) -> None:
        """A later transfer begins with what the last one taught, for ten minutes."""
        self.greet()
        known = self.protocol._known["bob"]
        self.assertGreater(known.recall(0.0)[0] or 0, 0)
        self.assertIsNone(known.recall(0.0)[1])
        self.assertEqual(
            self.ended(self.client.fetch(self.offer(File(make_content(MIB))).terms).start()), Done()
        )
        now = self.clock.seconds()
        rtt, rate = known.recall(now)
        assert rtt is not None
        assert rate is not None
        self.assertEqual(known.recall(now + MEMORY_SECONDS + 1)[1], None)
        terms = self.offer(File(make_content(MIB))).terms
        engine = self.protocol._transfers[terms.transfer].turns.engine
        self.assertEqual(engine.rtt, rtt)
        self.protocol.stopProtocol()
        self.client.board.stopProtocol()

    def test_stays_alive(self) -> None:
        """The client keeps it alive, the daemon answers; it ends with the connection."""
        turns = self.greet()
        turns.engine.idle = 20.0
        for _ in range(300):
            self.clock.advance(1.0)
            self.net.step()
        self.assertIsNone(turns.outcome)
        self.protocol.withdraw("bob")
        self.net.run(lambda: turns.gone)
        self.net.finish()

    def test_one_each(self) -> None:
        """Another one ends the one before."""
        first = self.greet()
        self.greet()
        self.net.run(lambda: first.gone)
        self.protocol.withdraw("bob")
        self.net.finish()

    def test_upload(self) -> None:
        """A client that is known may begin to send at once as well."""
        self.greet()
        part = PartFile(os.path.join(self.folder, "taken"), MIB, "1")
        offered = self.protocol.take(part, "taken", MIB, "bob", have=part.open())
        self.assertIsNotNone(offered.path)
        bringing = self.client.bring(offered.terms, File(make_content(MIB)), greets=False)
        self.assertEqual(self.ended(bringing.start()), Done())
        self.protocol.withdraw("bob")
        self.net.finish()


class Loop:
    """Two stream carriers, joined."""

    def __init__(self, one: StreamCarrier, other: StreamCarrier) -> None:
        self.ends = ((one, StringTransport()), (other, StringTransport()))

    def connect(self) -> None:
        for carrier, transport in self.ends:
            carrier.connected(transport)

    def move(self) -> None:
        (one, first), (other, second) = self.ends
        for transport, to in ((first, other), (second, one)):
            data = transport.value()
            transport.clear()
            if data:
                to.dataReceived(data)


class StreamTests(DatagramCase):
    """An offer that is claimed over TCP."""

    def through(self, running: Deferred[Any], loop: Loop) -> Any:
        for _ in range(5000):
            loop.move()
            self.clock.advance(0.001)
            if running.called:
                return self.successResultOf(running)
        raise AssertionError("it never happened")

    def test_download(self) -> None:
        """UDP gets nowhere, and the file arrives all the same."""
        content = make_content(3_000_000)
        file = File(content)
        terms = self.offer(file).terms
        daemon, here = self.protocol.attach(terms.transfer, terms.token), StreamCarrier()
        loop = Loop(daemon, here)
        loop.connect()
        self.assertEqual(self.protocol.transfers("bob")[0].state, "running")
        running = self.client.fetch(stream_terms(terms), greets=False, carrier=here).start()
        self.assertEqual(self.through(running, loop), Done())
        self.assertEqual(self.client.content(), content)
        for _ in range(10):
            loop.move()
        self.net.finish()
        self.assertEqual((self.outcomes, file.closed, self.budget.running), ([Done()], 1, 0))
        self.assertTrue(all(transport.disconnecting for _, transport in loop.ends))
        self.assertEqual(self.protocol._streams, {})

    def test_upload(self) -> None:
        """The other way round."""
        content = make_content(3_000_000)
        part = PartFile(os.path.join(self.folder, "taken"), len(content), "1")
        offered = self.protocol.take(
            part, "taken", len(content), "bob", self.outcomes.append, have=part.open()
        )
        daemon, here = self.protocol.attach(offered.terms.transfer, offered.terms.token), StreamCarrier()
        loop = Loop(daemon, here)
        loop.connect()
        bringing = self.client.bring(
            stream_terms(offered.terms), File(content), greets=False, carrier=here, reliable=True
        )
        self.assertEqual(self.through(bringing.start(), loop), Done())
        self.assertEqual(self.client.content("taken"), content)
        self.net.finish()

    def test_resumed_upload(self) -> None:
        """What was there is verified, whichever way the rest comes, and although UDP was tried first."""
        content = make_content(4 * MIB)
        path = os.path.join(self.folder, "taken")
        part = PartFile(path, len(content), "1")
        part.open()
        part.write([(0, [content[: 2 * MIB]])])
        part.keep()
        self.protocol.greet("bob")
        for known in (False, True):
            part = PartFile(path, len(content), "1", overwrite=True)
            have = part.open()
            self.assertEqual(have, [(0, 2 * MIB)])
            if known:
                self.protocol._known["bob"].turns.engine.path.address = ELSEWHERE
                self.protocol._known["bob"].turns.engine.path.ready = True
            terms = self.protocol.take(part, "taken", len(content), "bob", have=have).terms
            daemon, here = self.protocol.attach(terms.transfer, terms.token), StreamCarrier()
            loop = Loop(daemon, here)
            loop.connect()
            bringing = self.client.bring(
                stream_terms(terms), File(content), greets=False, carrier=here, reliable=True, have=have
            )
            if not known:
                bringing.fail("cancelled", "Enough.")
                bringing.start()
                for _ in range(10):
                    loop.move()
                part.keep()
            else:
                self.assertEqual(self.through(bringing.start(), loop), Done())
        self.assertEqual(self.client.content("taken"), content)
        self.protocol.stopProtocol()
        self.client.board.stopProtocol()

    def test_refused(self) -> None:
        """Once, with the right token, and not when it has begun."""
        terms = self.offer(File(make_content(MIB))).terms
        part = PartFile(os.path.join(self.folder, "taken"), 3 * MIB, "1")
        begun = self.protocol.take(part, "taken", 3 * MIB, "bob", have=part.open())
        bringing = self.client.bring(begun.terms, File(make_content(3 * MIB)))
        bringing.start()
        self.net.run(lambda: bringing.done_bytes)
        self.protocol.attach(terms.transfer, terms.token)
        down = self.offer(File(make_content(3 * MIB))).terms
        fetching = self.client.fetch(down)
        fetching.start()
        self.net.run(lambda: self.protocol._transfers[down.transfer].turns.done_bytes)
        for transfer, token in (
            (down.transfer, down.token),
            (terms.transfer, terms.token),
            (terms.transfer, b"x" * 16),
            (b"no such.", terms.token),
            (begun.terms.transfer, begun.terms.token),
        ):
            with self.assertRaises(TransferError) as caught:
                self.protocol.attach(transfer, token)
            self.assertEqual(caught.exception.code, "no-such-transfer")
        self.protocol.stopProtocol()
        self.client.board.stopProtocol()

    def test_rate(self) -> None:
        """A limit to the pace holds for streams as well."""
        self.budget.limits = Limits(rate=1_000_000.0)
        terms = self.offer(File(make_content(3_000_000))).terms
        daemon, here = self.protocol.attach(terms.transfer, terms.token), StreamCarrier()
        loop = Loop(daemon, here)
        loop.connect()
        began = self.clock.seconds()
        running = self.client.fetch(stream_terms(terms), greets=False, carrier=here).start()
        self.assertEqual(self.through(running, loop), Done())
        self.assertGreater(self.clock.seconds() - began, 2.0)
        self.net.finish()

    def test_while_reading(self) -> None:
        """A read that is under way for UDP comes back before the stream reads."""
        self.run = threads = Later()
        content = make_content(300_000)
        terms = self.offer(File(content)).terms
        claiming = self.client.fetch(terms, "udp")
        claiming.start()
        self.net.run(lambda: threads.jobs)
        claiming.abandon("no-answer", "")
        daemon, here = self.protocol.attach(terms.transfer, terms.token), StreamCarrier()
        loop = Loop(daemon, here)
        loop.connect()
        self.assertEqual(len(threads.jobs), 1)
        running = self.client.fetch(stream_terms(terms), greets=False, carrier=here).start()
        for _ in range(1000):
            loop.move()
            self.assertLessEqual(len(threads.jobs), 1)
            threads.work()
            self.clock.advance(0.001)
        self.assertEqual(self.successResultOf(running), Done())
        self.assertEqual(self.client.content(), content)
        threads.work()
        self.net.finish()

    def test_breaks(self) -> None:
        """A stream that breaks ends the transfer, before or after it began."""
        file = File(make_content(MIB))
        for connects in (True, False):
            terms = self.offer(file).terms
            daemon = self.protocol.attach(terms.transfer, terms.token)
            if connects:
                daemon.connected(StringTransport())
                daemon.connectionLost()
            else:
                daemon.connectionLost()
                daemon.connected(StringTransport())
        self.assertEqual(self.codes(), ["stream-lost"] * 2)
        self.assertEqual(file.closed, 2)
        self.net.finish()

    def test_withdrawn_before_it_is_there(self) -> None:
        """The owner may go before the stream is there."""
        terms = self.offer(File(b"x")).terms
        daemon = self.protocol.attach(terms.transfer, terms.token)
        self.protocol.withdraw("bob")
        self.assertEqual(self.codes(), ["withdrawn"])
        self.protocol.leave()
        self.clock.advance(LEAVE_SECONDS)
        daemon.connected(StringTransport())
        self.net.finish()

    def test_leaving(self) -> None:
        """Without a UDP port, too, those that run are told, and nothing stays."""
        terms = self.offer(File(make_content(8 * MIB))).terms
        daemon, here = self.protocol.attach(terms.transfer, terms.token), StreamCarrier()
        loop = Loop(daemon, here)
        loop.connect()
        fetching = self.client.fetch(stream_terms(terms), greets=False, carrier=here)
        running = fetching.start()
        loop.move()
        left = self.protocol.leave()
        self.assertNoResult(left)
        outcome = self.through(running, loop)
        self.assertEqual((outcome.code, outcome.remote), ("going-away", True))
        loop.move()
        self.successResultOf(left)
        self.assertTrue(loop.ends[0][1].disconnecting)
        self.net.finish()


class LeavingTests(DatagramCase):
    """The port closes."""

    def test_told(self) -> None:
        """Every client is told, and when they have said so the port may close."""
        fetching = self.client.fetch(self.offer(File(make_content(3 * MIB))).terms)
        running = fetching.start()
        self.net.run(lambda: fetching.done_bytes)
        unclaimed = File(b"x")
        self.offer(unclaimed)
        left = self.protocol.leave()
        self.assertNoResult(left)
        self.assertEqual(unclaimed.closed, 1)
        for begin in (lambda: self.offer(File(b"x")), lambda: self.protocol.greet("bob")):
            self.assertEqual(self.assertRaises(TransferError, begin).code, "going-away")
        outcome = self.ended(running)
        self.assertEqual((outcome.code, outcome.remote), ("going-away", True))
        self.net.run(lambda: left.called, 0.1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_there(self) -> None:
        """Without transfers, or with only unclaimed ones, it closes at once."""
        self.successResultOf(self.make_protocol().leave())
        self.offer(File(b"x"))
        self.successResultOf(self.protocol.leave())

    def test_closed_without_leaving(self) -> None:
        """A port that goes away by itself leaves no timers, no open files and no budget spent."""
        file = File(make_content(3 * MIB))
        fetching = self.client.fetch(self.offer(file).terms)
        fetching.start()
        self.net.run(lambda: fetching.done_bytes)
        self.protocol.datagramReceived(b"x", CLIENT)
        self.protocol.stopProtocol()
        self.client.board.stopProtocol()
        self.assertEqual((len(self.protocol), file.closed, self.budget.running), (0, 1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])


async def download(protocol: TransferProtocol, port: Any, terms: Terms, path: str) -> tuple[Any, Receiving]:
    """Fetch a file over real sockets, with real threads."""
    board = Switchboard(reactor)
    here: Any = listen_udp(reactor, board, "127.0.0.1", 0, answers=False)
    part = PartFile(path, terms.size, "1")
    have = part.open()
    now = protocol._seconds()
    address = ("127.0.0.1", port.getHost().port)
    receiver = Receiver(
        terms,
        ClientPath(terms.token, address, window=FIRST_WINDOW, now=now),
        sends=FROM_CLIENT,
        now=now,
        have=have,
    )
    receiving = Receiving(receiver, part, board, reactor=reactor, run_in_thread=thread_runner(reactor))
    try:
        return await receiving.start(), receiving
    finally:
        part.discard()
        await maybeDeferred(here.stopListening)


@pytest.mark.parametrize("max_datagram", [1200, 1452, 65507])
@pytest_twisted.ensureDeferred
@within(20)
async def test_real_sockets(tmp_path: Any, max_datagram: int) -> None:
    """A file of 20 MB over loopback, whatever size of datagrams it is held to."""
    protocol = TransferProtocol(reactor, max_datagram=max_datagram)
    port: Any = listen_udp(reactor, protocol, "127.0.0.1", 0)
    file = File(make_content(20_000_000))
    terms = protocol.offer(file, "bob").terms
    sender = protocol._transfers[terms.transfer].turns.engine
    outcome, receiving = await download(protocol, port, terms, str(tmp_path / "got"))
    assert outcome == Done()
    assert (tmp_path / "got").read_bytes() == file.content
    assert receiving.sha256 == sha256(file.content).digest()
    assert sender.pushed_size <= max_datagram
    await maybeDeferred(port.stopListening)


@pytest_twisted.ensureDeferred
@within(10)
async def test_stop_listening(tmp_path: Any) -> None:
    """Closing a real port tells the client first."""
    protocol = TransferProtocol(reactor)
    port: Any = listen_udp(reactor, protocol, "127.0.0.1", 0)
    terms = protocol.offer(File(make_content(10_000_000)), "bob").terms
    running = Deferred.fromCoroutine(download(protocol, port, terms, str(tmp_path / "got")))
    while not protocol.transfers("bob")[0].done:
        await deferLater(reactor, 0)
    await maybeDeferred(port.stopListening)
    outcome, _ = await running
    assert isinstance(outcome, Failed)
    assert outcome.code == "going-away"


def resident() -> int:
    """Bytes of memory that this process has, or 0 where that cannot be told."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest_twisted.ensureDeferred
@within(600 if os.environ.get("PYCHAT_FLOOD") else 60)
async def test_flood(tmp_path: Any) -> None:
    """Random and mutated datagrams at a real port, a million of them with ``PYCHAT_FLOOD=1``.

    Not one byte in answer, no exception, no memory, and a download beside them is not harmed.
    """
    total = 1_000_000 if os.environ.get("PYCHAT_FLOOD") else 20_000
    protocol = TransferProtocol(reactor)
    port: Any = listen_udp(reactor, protocol, "127.0.0.1", 0)
    address = ("127.0.0.1", port.getHost().port)
    random = Random(4)
    unclaimed = protocol.offer(File(b"x"), "bob").terms
    path = ClientPath(unclaimed.token, address, window=FIRST_WINDOW, now=0.0)
    hello = b"".join(Receiver(unclaimed, path, sends=FROM_CLIENT, now=0.0).poll(0.0)[0].buffers)
    victim = protocol.offer(File(make_content(2_000_000)), "bob").terms
    running: Any = None
    before = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        noise.setblocking(False)
        for number in range(total // 100):
            if number == 50:
                before = resident()
                running = Deferred.fromCoroutine(download(protocol, port, victim, str(tmp_path / "got")))
            for _ in range(100):
                at = random.randrange(len(hello))
                mutated = hello[:at] + bytes((hello[at] ^ random.randrange(1, 256),)) + hello[at + 1 :]
                junk = random.choice([
                    mutated,
                    mutated[:at],
                    bytes((FROM_CLIENT,)) + victim.transfer + random.randbytes(random.randrange(1400)),
                    bytes((FROM_CLIENT + FRAGMENTS,)) + victim.transfer + random.randbytes(random.randrange(1400)),
                    random.randbytes(random.randrange(1, 1400)),
                ])  # fmt: skip
                try:
                    noise.sendto(junk or b"x", address)
                except BlockingIOError:
                    pass
            # No faster than this machine can look at it: what its kernel drops is seen by nobody.
            for _ in range(50):
                await deferLater(reactor, 0)
                if protocol.refused.total() >= 95 * number:
                    break
        outcome, _ = await running
        protocol.drain()
        with pytest.raises(BlockingIOError):
            noise.recv(2000)
    assert outcome == Done()
    assert protocol.refused.total() > total * 0.9
    assert resident() - before < 24_000_000
    await maybeDeferred(port.stopListening)
