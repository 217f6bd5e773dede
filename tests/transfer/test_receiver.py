"""The end that wants the file: what it makes of each datagram, and when."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.packet import (
    DATAGRAM_BYTES,
    FROM_CLIENT,
    FROM_DAEMON,
    Abort,
    Ack,
    Ask,
    Challenge,
    Data,
    Digest,
    Frame,
    Hello,
    Ping,
    Response,
    Seal,
    Verified,
    decode,
    encode,
)
from pychat.transfer.receiver import ACK_EVERY, WINDOW_BYTES, Receiver
from pychat.transfer.terms import Done, Failed
from tests.transfer.link import make_content, make_terms
from tests.transfer.test_packet import DATA, FRAMES

NONCE = b"8 bytes!"


class ReceiverCase(SynchronousTestCase):
    """A receiver, and a daemon made by hand."""

    def start(self, size: int = 3, **settings: int) -> None:
        self.terms = make_terms(size)
        self.content = make_content(size)
        self.receiver = Receiver(self.terms, now=10.0, **settings)
        self.client = Seal(self.terms, FROM_CLIENT)
        self.daemon = Seal(self.terms, FROM_DAEMON)
        self.next = 0

    def datagram(self, *frames: Frame) -> bytes:
        self.next += 1
        return self.daemon.close(self.next - 1, b"".join(map(encode, frames)))

    def tell(self, now: float, *frames: Frame) -> None:
        self.receiver.receive(self.datagram(*frames), now)

    def hear(self, now: float) -> list[Frame]:
        frames = []
        for datagram in self.receiver.poll(now):
            frames += decode(self.client.open(self.client.number(datagram), datagram))
        return frames

    def greet(self) -> None:
        """Greeting and proof, with a round trip of 100 ms; the next number from the daemon is 1."""
        self.hear(10.0)
        self.tell(10.1, Challenge(NONCE))
        self.assertEqual(self.hear(10.1), [Response(NONCE)])

    def piece(self, start: int, end: int) -> Data:
        return Data(start, self.content[start:end])

    def digest(self) -> Digest:
        return Digest(self.terms.size, sha256(self.content).digest(), 7)

    def assert_refused(self, **reasons: int) -> None:
        expected = {reason.replace("_", "-"): number for reason, number in reasons.items()}
        self.assertEqual(dict(self.receiver.counters.refused), expected)


class GreetingTests(ReceiverCase):
    """Before the daemon sends anything of the file."""

    def test_greeting(self) -> None:
        """A full datagram with the token and the window; again after half a second, one, two and then three."""
        self.start()
        times = []
        while self.receiver.outcome is None:
            deadline = self.receiver.deadline()
            assert deadline is not None
            datagrams = self.receiver.poll(deadline)
            if datagrams:
                times.append(deadline)
                self.assertEqual([len(datagram) for datagram in datagrams], [DATAGRAM_BYTES])
                payload = self.client.open(len(times) - 1, datagrams[0])
                self.assertEqual(decode(payload), [Hello(self.terms.token, WINDOW_BYTES)])
        self.assertEqual(times, [10.0, 10.5, 11.5, 13.5, 16.5, 19.5, 22.5, 25.5])
        self.assertEqual(deadline, 28.5)
        assert isinstance(self.receiver.outcome, Failed)
        self.assertEqual(self.receiver.outcome.code, "no-answer")
        self.assertFalse(self.receiver.heard)
        self.assertTrue(self.receiver.closed)

    def test_not_due(self) -> None:
        """Nothing leaves before its time."""
        self.start()
        self.assertEqual(len(self.hear(10.0)), 1)
        self.assertEqual(self.hear(10.4), [])

    def test_proof(self) -> None:
        """A challenge is answered at once, and again until something else comes."""
        self.start()
        self.greet()
        self.assertTrue(self.receiver.heard)
        self.assertAlmostEqual(self.receiver.rtt, 0.1)
        deadline = self.receiver.deadline()
        assert deadline is not None
        self.assertAlmostEqual(deadline, 10.1 + 0.225)
        self.assertEqual(self.hear(deadline), [Response(NONCE)])
        self.tell(10.5, Ack(0, 0, ((0, 3),)))
        self.assertAlmostEqual(self.receiver.deadline() or 0, 15.5)

    def test_two_challenges(self) -> None:
        """The same challenge again changes nothing; another one is answered; one that comes too late is not."""
        self.start()
        self.greet()
        self.tell(10.2, Challenge(NONCE))
        self.assertEqual(self.hear(10.2), [])
        self.tell(10.2, Challenge(b"another!"))
        self.assertEqual(self.hear(10.2), [Response(b"another!")])
        self.assertAlmostEqual(self.receiver.rtt, 0.1)
        self.tell(10.3, Ping())
        self.tell(10.3, Challenge(b"the last"))
        self.assertEqual(self.hear(10.3), [Ack(0, WINDOW_BYTES, ((0, 5),))])

    def test_proof_without_answer(self) -> None:
        """The daemon challenged, and then was not heard of again."""
        self.start()
        self.greet()
        while self.receiver.outcome is None:
            self.hear(self.receiver.deadline() or 0)
        assert isinstance(self.receiver.outcome, Failed)
        self.assertEqual(self.receiver.outcome.code, "timed-out")


class ReceivingTests(ReceiverCase):
    """The file comes."""

    def test_small_file(self) -> None:
        """Bytes and digest, a write, the verification, word of it, the end."""
        self.start(3)
        self.greet()
        self.tell(10.2, Ask(0), self.piece(0, 3))
        self.assertIsNone(self.receiver.digest)
        self.assertEqual(self.receiver.deadline(), 10.2)
        self.assertEqual(self.hear(10.2), [Ack(0, WINDOW_BYTES, ((0, 2),))])
        self.assertEqual(self.receiver.waiting, 3)
        self.assertEqual(self.receiver.take_writes(), [(0, self.content)])
        self.assertEqual(self.receiver.waiting, 0)
        self.assertEqual(self.receiver.take_writes(), [])
        self.receiver.written(3)
        self.assertRaises(ValueError, self.receiver.verified)
        self.tell(10.3, Ask(0), self.digest())
        self.assertEqual(self.receiver.digest, sha256(self.content).digest())
        self.assertEqual(self.receiver.counters.lost, 7)
        self.hear(10.3)
        self.receiver.verified()
        self.receiver.verified()
        self.assertEqual(self.receiver.outcome, Done())
        self.assertEqual(self.hear(10.4), [Verified()])
        self.tell(10.5, Ack(0, 0, ((0, self.receiver._next_number),)))
        self.assertTrue(self.receiver.closed)
        self.assertIsNone(self.receiver.deadline())
        self.assertEqual(self.receiver.poll(99.0), [])
        self.tell(10.6, Ping())
        self.assert_refused(closed=1)

    def test_verified_is_repeated(self) -> None:
        """Until it is acknowledged, or six times, further apart each time."""
        self.start(0)
        self.greet()
        self.tell(10.2, self.digest())
        self.hear(10.2)
        self.receiver.verified()
        self.hear(10.3)
        times = []
        while (deadline := self.receiver.deadline()) is not None:
            self.assertEqual(self.hear(deadline), [Verified()])
            times.append(deadline)
        for time, expected in zip(times, [10.525, 10.975, 11.875, 13.675, 17.275], strict=True):
            self.assertAlmostEqual(time, expected)
        self.assertEqual(self.receiver.outcome, Done())

    def test_any_order(self) -> None:
        """Bytes that come twice, in parts, or out of order are each given out once."""
        self.start(100)
        self.greet()
        for start, end in ((20, 30), (30, 40), (0, 10), (25, 50), (20, 30), (8, 22), (50, 100)):
            self.tell(10.2, self.piece(start, end))
        writes = self.receiver.take_writes()
        self.assertEqual([start for start, _ in writes], [20, 0, 40, 10, 50])
        self.assertEqual(sorted((start, start + len(data)) for start, data in writes)[0], (0, 10))
        for start, data in writes:
            self.assertEqual(data, self.content[start : start + len(data)])
        self.assertEqual(self.receiver.received, 100)
        self.assertEqual(self.receiver.counters.duplicate_bytes, 15 + 10 + 4)

    def test_out_of_range(self) -> None:
        """Bytes beyond the end of the file, or beyond what was granted, are not taken."""
        self.start(5000, window=1000)
        self.greet()
        self.tell(10.2, Data(4999, b"xx"))
        self.tell(10.2, Data(2**64 - 1, b"x"))
        self.tell(10.2, Data(999, b"xx"))
        self.assertEqual(self.receiver.take_writes(), [])
        self.assert_refused(out_of_range=3)
        self.tell(10.2, self.piece(0, 1000))
        self.assertEqual(self.receiver.received, 1000)

    def test_window_opens(self) -> None:
        """As bytes are written, more may come; the sender hears of it by the quarter of the window."""
        self.start(5000, window=1000)
        self.greet()
        self.tell(10.2, Ask(0), self.piece(0, 600))
        self.assertEqual(self.hear(10.2), [Ack(0, 1000, ((0, 2),))])
        self.receiver.written(249)
        self.assertEqual(self.hear(10.2), [])
        self.receiver.written(1)
        self.assertEqual(self.hear(10.3), [Ack(100_000, 1250, ((0, 2),))])

    def test_acknowledging(self) -> None:
        """What is as expected waits up to 25 ms; what is not, and every 64th, is acknowledged at once."""
        self.start(10**6)
        self.greet()
        self.tell(10.2, self.piece(0, 10))
        self.assertEqual(self.hear(10.2), [])
        self.tell(10.21, self.piece(10, 20))
        self.assertAlmostEqual(self.receiver.deadline() or 0, 10.225)
        self.assertEqual(self.hear(10.225), [Ack(14_999, WINDOW_BYTES, ((0, 3),))])
        self.next += 1
        self.tell(10.3, self.piece(30, 40))
        self.assertEqual(self.hear(10.3), [Ack(0, WINDOW_BYTES, ((4, 5), (0, 3)))])
        for at in range(ACK_EVERY - 1):
            self.tell(10.31, self.piece(40 + at, 41 + at))
        self.assertEqual(self.hear(10.31), [])
        self.tell(10.31, self.piece(900, 901))
        self.assertEqual(len(self.hear(10.31)), 1)

    def test_floor(self) -> None:
        """What the sender no longer asks about is forgotten, and refused as a replay when it comes."""
        self.start(100)
        self.greet()
        late = self.datagram(self.piece(0, 10))
        self.tell(10.2, self.piece(10, 20))
        self.tell(10.2, Ask(3), self.piece(20, 30))
        self.assertEqual(self.hear(10.2), [Ack(0, WINDOW_BYTES, ((3, 4),))])
        self.receiver.receive(late, 10.3)
        self.assert_refused(replayed=1)
        self.tell(10.3, Ask(2**64 - 1), Ask(0), Ping())
        self.assertEqual(self.hear(10.3), [Ack(0, WINDOW_BYTES, ((4, 5),))])

    def test_replayed(self) -> None:
        """The same datagram again is dropped."""
        self.start(100)
        self.greet()
        datagram = self.datagram(self.piece(0, 10))
        self.receiver.receive(datagram, 10.2)
        self.receiver.receive(datagram, 10.2)
        self.assert_refused(replayed=1)
        self.assertEqual(self.receiver.received, 10)

    def test_changed_digest(self) -> None:
        """Two digests, or a size that was not offered: the file is not what was asked for."""
        for digest in (Digest(3, b"x" * 32), Digest(4, b"d" * 32)):
            self.start(3)
            self.greet()
            self.tell(10.2, Digest(3, b"d" * 32))
            self.tell(10.2, Digest(3, b"d" * 32))
            self.assertIsNone(self.receiver.outcome)
            self.tell(10.2, digest)
            assert isinstance(self.receiver.outcome, Failed)
            self.assertEqual(self.receiver.outcome.code, "source-changed")

    def test_aborted(self) -> None:
        """The daemon gives up: one acknowledgement, and the end; what was not written is not."""
        self.start(100)
        self.greet()
        self.tell(10.2, self.piece(0, 10))
        self.tell(10.2, Abort("source-changed", "It changed."))
        self.assertEqual(self.receiver.outcome, Failed("source-changed", "It changed.", remote=True))
        self.assertEqual(self.hear(10.2), [Ack(0, WINDOW_BYTES, ((0, 3),))])
        self.assertTrue(self.receiver.closed)
        self.assertEqual(self.receiver.take_writes(), [])

    def test_aborted_after_the_end(self) -> None:
        """Neither an abort nor data change an outcome."""
        self.start(0)
        self.greet()
        self.tell(10.2, self.digest())
        self.receiver.verified()
        self.tell(10.2, Abort("late", "Late."))
        self.tell(10.2, Data(0, b"x"))
        self.assertEqual(self.receiver.outcome, Done())
        self.assert_refused()

    def test_unexpected(self) -> None:
        """Frames that only a client sends are dropped and counted."""
        self.start(3)
        self.greet()
        self.tell(10.2, Hello(b"t" * 16, 5), Response(NONCE), Verified())
        self.assert_refused(unexpected=3)

    def test_malformed(self) -> None:
        """An authentic packet that makes no sense is dropped and counted, and so is a forged one."""
        self.start(3)
        self.greet()
        self.receiver.receive(self.daemon.close(77, encode(Data(0, b""))), 10.2)
        self.receiver.receive(b"junk", 10.2)
        self.receiver.receive(self.daemon.close(78, b"\x06")[:-1] + b"x", 10.2)
        self.assert_refused(malformed=2, forged=1)

    def test_silence(self) -> None:
        """After five seconds of silence it asks, six times; then the daemon is dead."""
        self.start(3)
        self.greet()
        self.tell(10.2, Ping())
        self.hear(10.2)
        pings = []
        while self.receiver.outcome is None:
            deadline = self.receiver.deadline()
            assert deadline is not None
            if Ping() in self.hear(deadline):
                pings.append(round(deadline, 3))
        self.assertEqual(pings, [15.2, 20.2, 25.2, 30.2, 35.2, 40.2])
        assert isinstance(self.receiver.outcome, Failed)
        self.assertEqual(self.receiver.outcome.code, "timed-out")
        self.assertAlmostEqual(deadline, 45.2)

    def test_hurried(self) -> None:
        """With another sign that the daemon is gone, four seconds of silence are enough; an answer is an answer."""
        self.start(3)
        self.greet()
        self.tell(10.2, Ping())
        self.hear(10.2)
        self.receiver.hurry(11.0)
        self.assertIn(Ping(), self.hear(12.0))
        self.tell(12.1, Ping())
        pings = []
        while self.receiver.outcome is None:
            deadline = self.receiver.deadline()
            assert deadline is not None
            if Ping() in self.hear(deadline):
                pings.append(round(deadline, 3))
        self.assertEqual(pings, [13.1, 14.1, 15.1])
        assert isinstance(self.receiver.outcome, Failed)
        self.assertEqual(self.receiver.outcome.code, "timed-out")
        self.assertAlmostEqual(deadline, 16.1)

    def test_woken_late(self) -> None:
        """A process that slept for an hour asks before it gives up."""
        self.start(3)
        self.greet()
        self.tell(10.2, Ping())
        self.assertIn(Ping(), self.hear(3600.0))
        self.assertIsNone(self.receiver.outcome)


class AnyBytesTests(ReceiverCase):
    """Whatever comes, it does not fall over."""

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(st.binary(max_size=100) | st.lists(FRAMES | DATA, min_size=1, max_size=3), max_size=20),
        st.booleans(),
    )
    def test_survives(self, arrivals: list[bytes | list[Frame]], greeted: bool) -> None:
        """Any bytes and any authentic frames raise nothing, and never more bytes come out than the file has."""
        self.start(5000)
        if greeted:
            self.greet()
        now = 11.0
        written = 0
        for arrival in arrivals:
            datagram = arrival if isinstance(arrival, bytes) else self.datagram(*arrival)
            self.receiver.receive(datagram, now)
            for offset, data in self.receiver.take_writes():
                self.assertLessEqual(offset + len(data), 5000)
                written += len(data)
            now += 0.05
            self.receiver.poll(now)
        self.assertLessEqual(written, 5000)
