"""The end that wants the file: what it makes of what comes, and when."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.hashing import Hashes
from pychat.transfer import receiver as module
from pychat.transfer.fragments import cut
from pychat.transfer.frames import (
    DATA_HEADER_BYTES,
    MAX_PIECES,
    Abort,
    Ack,
    Again,
    Ask,
    Challenge,
    Data,
    Digest,
    Frame,
    Hello,
    Pause,
    Pieces,
    Ping,
    Response,
    Verified,
    decode,
    encode,
)
from pychat.transfer.packet import (
    FROM_CLIENT,
    FROM_DAEMON,
    OVERHEAD_BYTES,
    pad,
)
from pychat.transfer.path import ClientPath, DaemonPath
from pychat.transfer.ranges import RangeSet
from pychat.transfer.receiver import (
    HURRIED_SECONDS,
    LEAST_WINDOW,
    MAX_AGAINS,
    MIN_WINDOW,
    STALL_SECONDS,
    WINDOW_BYTES,
    Receiver,
)
from pychat.transfer.seal import Seal
from pychat.transfer.terms import PIECE_BYTES, Done, Failed, Train, root_of
from tests.transfer.offers import make_content, make_random, make_terms
from tests.transfer.test_packet import DATA, FRAMES

MIB = 1024 * 1024
NONCE = b"8 bytes!"


class ReceiverCase(SynchronousTestCase):
    """A client's receiver whose daemon is known, and a daemon made by hand."""

    def start(
        self, size: int = 3, *, window: int = WINDOW_BYTES, have: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.terms = make_terms(size)
        self.content = make_content(min(size, 8 * MIB))
        path = ClientPath(self.terms.token, "d", window=0, now=10.0, greets=False)
        self.receiver = Receiver(self.terms, path, sends=FROM_CLIENT, now=10.0, window=window, have=have)
        self.client = Seal(self.terms, FROM_CLIENT)
        self.daemon = Seal(self.terms, FROM_DAEMON)
        self.next = 0
        self.tell(10.0, Ping())
        self.hear(10.0)

    def datagram(self, *frames: Frame) -> bytes:
        self.next += 1
        return self.daemon.close(self.next - 1, b"".join(map(encode, frames)))

    def tell(self, now: float, *frames: Frame) -> None:
        datagram = self.datagram(*frames)
        self.receiver.receive(datagram, len(datagram), "d", now)

    def send(self, start: int, end: int, now: float = 10.2, *, room: int = 60_000) -> None:
        """The file's ``[start, end)``, in one train."""
        data = memoryview(self.content)[start:end]
        train = b"".join(self.daemon.close_data(self.next, start, data, room, None))
        self.next += -(-len(data) // room)
        self.receiver.receive(train, room + OVERHEAD_BYTES + DATA_HEADER_BYTES, "d", now)

    def hear(self, now: float) -> list[Frame]:
        return [
            frame
            for train in self.receiver.poll(now)
            for datagram in train.datagrams()
            for frame in decode(self.client.open(datagram)[1])
        ]

    def limit(self, now: float) -> int:
        """What the sender is told."""
        self.tell(now, Ping())
        (limit,) = [frame.limit for frame in self.hear(now) if isinstance(frame, Ack)]
        return limit

    def write(self) -> int:
        """Have all that waits written."""
        nbytes = sum([len(buffer) for _, buffers in self.receiver.take_writes() for buffer in buffers])
        self.receiver.written(nbytes)
        return nbytes

    def digests(self) -> list[bytes]:
        return [
            blake3(self.content[at : at + PIECE_BYTES]).digest()
            for at in range(0, len(self.content), PIECE_BYTES)
        ]

    def digest(self) -> Digest:
        return Digest(self.terms.size, root_of(self.digests()), 7)

    def assert_failed(self, code: str) -> None:
        assert isinstance(self.receiver.outcome, Failed)
        self.assertEqual(self.receiver.outcome.code, code)

    def assert_refused(self, **reasons: int) -> None:
        expected = {reason.replace("_", "-"): number for reason, number in reasons.items()}
        self.assertEqual(dict(self.receiver.counters.refused), expected)


class FragmentTests(ReceiverCase):
    """Packets that are larger than a datagram."""

    def fragments(self, start: int, end: int) -> bytes:
        data = memoryview(self.content)[start:end]
        self.next += 1
        return self.daemon.close_large(self.next - 1, start, data, 1200, None)[0]

    def test_taken(self) -> None:
        """What they hold is a part of the file; together they are one packet."""
        self.start(100_000)
        self.receiver.receive(self.fragments(0, 50_000), 1200, "d", 10.2)
        self.assertEqual(self.receiver.received, 50_000)
        self.assertEqual(bytes(b"".join(self.receiver.take_writes()[0][1])), self.content[:50_000])
        (ack,) = [frame for frame in self.hear(10.3) if isinstance(frame, Ack)]
        self.assertEqual(ack.ranges, ((0, 2),))
        self.assert_refused()

    def test_one_by_one(self) -> None:
        """One that is late holds up its packet, and nothing else."""
        self.start(100_000)
        train = self.fragments(0, 50_000)
        for at in range(1200, len(train), 1200):
            self.receiver.receive(train[at : at + 1200], 1200, "d", 10.2)
        self.send(50_000, 60_000)
        self.assertEqual(self.receiver.received, 10_000)
        self.receiver.receive(train[:1200], 1200, "d", 10.3)
        self.assertEqual(self.receiver.received, 60_000)

    def test_beyond_the_window(self) -> None:
        """One that goes beyond what was granted is not taken."""
        self.start(8 * MIB, window=MIN_WINDOW)
        self.receiver.receive(self.fragments(MIN_WINDOW - 10_000, MIN_WINDOW + 10_000), 1200, "d", 10.2)
        self.assertEqual(self.receiver.received, 0)
        self.assert_refused(out_of_range=1)

    def test_not_from_strangers(self) -> None:
        """A daemon takes none before it knows where the client is: no bytes of theirs earn an answer."""
        terms = make_terms(10**6)
        path = DaemonPath(terms.token, make_random())
        self.receiver = Receiver(terms, path, sends=FROM_DAEMON, now=10.0)
        seal = Seal(terms, FROM_CLIENT)
        hello = pad(encode(Hello(terms.token, 0)), 1269)
        train = cut(seal.header_of(0), seal.close(0, hello)[15:], 1217)
        self.receiver.receive(train[:1217], 1217, "c", 10.1)
        self.receiver.receive(train[1217:], 1217, "victim", 10.1)
        self.assertEqual(self.receiver.poll(10.1), [])
        self.assert_refused(unproven=2)

    def test_not_at_the_end(self) -> None:
        """With the outcome it lets go of those that wait, and takes no more."""
        self.start(100_000)
        train = self.fragments(0, 50_000)
        self.receiver.receive(train[:2400], 1200, "d", 10.2)
        self.assertGreater(self.receiver._opener.held, 0)
        self.receiver.fail("cancelled", "Enough.")
        self.assertEqual(self.receiver._opener.held, 0)


class ReceivingTests(ReceiverCase):
    """The file comes."""

    def test_small_file(self) -> None:
        """Bytes, a write, digest and root, the verification, word of it, the end."""
        self.start(3)
        self.tell(10.2, Ask(0), Data(0, self.content))
        self.assertEqual(self.receiver.deadline(), 10.2)
        (ack,) = self.hear(10.2)
        self.assertEqual(ack, Ack(0, 10_200_000, 3, ((0, 2),)))
        self.assertEqual(self.receiver.waiting, 3)
        self.assertEqual(self.receiver.take_writes(), [(0, [self.content])])
        self.assertEqual(self.receiver.waiting, 0)
        self.assertEqual(self.receiver.take_writes(), [])
        self.receiver.written(3)
        self.receiver.hashed([(0, blake3(self.content).digest())])
        self.assertRaises(ValueError, self.receiver.verified)
        self.assertEqual(self.receiver.root, b"")
        self.tell(10.3, self.digest())
        self.assertFalse(self.receiver.complete)
        self.assertEqual(self.receiver.root, b"")
        self.tell(10.3, Pieces(0, tuple(self.digests())))
        self.assertTrue(self.receiver.complete)
        self.assertEqual(self.receiver.pieces_known, 1)
        self.assertEqual(self.receiver.root, self.digest().root)
        self.assertEqual(self.receiver.counters.lost, 7)
        self.hear(10.3)
        self.receiver.verified()
        self.receiver.verified()
        self.assertEqual(self.receiver.outcome, Done())
        self.assertEqual(self.hear(10.4), [Verified()])
        self.tell(10.5, Ack(0, 0, 0, ((0, self.receiver._next_number),)))
        self.assertTrue(self.receiver.closed)
        self.assertIsNone(self.receiver.deadline())

    def test_empty_file(self) -> None:
        """It has no pieces: the root is enough."""
        self.start(0)
        self.assertFalse(self.receiver.complete)
        self.tell(10.2, Digest(0, blake3(b"").digest()))
        self.assertTrue(self.receiver.complete)

    def test_any_order(self) -> None:
        """Bytes that come twice, in parts, or out of order are each given out once."""
        self.start(100)
        for start, end in ((20, 30), (30, 40), (0, 10), (25, 50), (20, 30), (8, 22), (50, 100)):
            self.tell(10.2, Data(start, self.content[start:end]))
        writes = [(start, b"".join(buffers)) for start, buffers in self.receiver.take_writes()]
        self.assertEqual([start for start, _ in writes], [20, 0, 40, 10, 50])
        for start, data in writes:
            self.assertEqual(data, self.content[start : start + len(data)])
        self.assertEqual(self.receiver.received, 100)
        self.assertEqual(self.receiver.counters.duplicate_bytes, 15 + 10 + 4)

    def test_trains(self) -> None:
        """What comes together is given out as one run, without being copied again."""
        self.start(300_000)
        self.send(0, 150_000)
        self.send(150_000, 200_000)
        ((start, buffers),) = self.receiver.take_writes()
        self.assertEqual((start, [len(buffer) for buffer in buffers]), (0, [60_000, 60_000, 30_000, 50_000]))
        self.assertEqual(b"".join(buffers), self.content[:200_000])
        self.send(190_000, 300_000, room=1000)
        ((start, buffers),) = self.receiver.take_writes()
        self.assertEqual((start, b"".join(buffers)), (200_000, self.content[200_000:]))

    def test_gap_in_a_train(self) -> None:
        """A train that lost its middle on the way is two runs."""
        self.start(10_000)
        buffers = self.daemon.close_data(self.next, 0, memoryview(self.content), 1000, None)
        size = 1000 + DATA_HEADER_BYTES + OVERHEAD_BYTES
        datagrams = list(Train(buffers, size, "d").datagrams())
        self.receiver.receive(b"".join(datagrams[:3] + datagrams[5:]), size, "d", 10.2)
        self.assertEqual([start for start, _ in self.receiver.take_writes()], [0, 5000])

    def test_mixed_train(self) -> None:
        """Whatever is in a train, and whether its datagrams come together or not, makes no difference."""
        data = [Data(at * 100, b"%c" % (65 + at) * 100) for at in range(12)]
        for frames in (
            [*data[:3], Ping(), *data[3:]],
            [Ping(), Ping(), *data],
            [*data[:5], *data[8:], *data[3:8]],
            [*data, Data(2000, b"beyond the end".ljust(100)), Data(2100, b"and more".ljust(100))],
            [*data[:4], Ask(0), *data[4:]],
        ):
            found = []
            for together in (True, False):
                self.start(1200)
                sealed = [
                    self.daemon.close(at + 1, pad(encode(frame), 140)) for at, frame in enumerate(frames)
                ]
                for train in [b"".join(sealed)] if together else sealed:
                    self.receiver.receive(train, len(sealed[0]), "d", 10.2)
                writes = [(start, b"".join(buffers)) for start, buffers in self.receiver.take_writes()]
                found.append((self.receiver.counters, self.receiver.received, writes, self.hear(10.2)))
            self.assertEqual(*found)
            self.assertEqual(found[0][1], 1200)

    def test_out_of_range(self) -> None:
        """Bytes beyond the end of the file, or beyond what was granted, are not taken."""
        self.start(8 * MIB, window=2 * MIB)
        self.tell(10.2, Data(8 * MIB - 1, b"xx"))
        self.tell(10.2, Data(2**64 - 1, b"x"))
        self.tell(10.2, Data(2 * MIB - 1, b"xx"))
        self.assertEqual(self.receiver.take_writes(), [])
        self.assert_refused(out_of_range=3)
        self.send(2 * MIB - 100, 2 * MIB + 100, room=50)
        self.assertEqual(self.receiver.received, 100)
        self.assert_refused(out_of_range=5)

    def test_changed_digest(self) -> None:
        """Two roots, or a size that was not offered: the file is not what was asked for."""
        for digest in (Digest(3, b"x" * 32), Digest(4, b"d" * 32)):
            self.start(3)
            self.tell(10.2, Digest(3, b"d" * 32))
            self.tell(10.2, Digest(3, b"d" * 32))
            self.assertIsNone(self.receiver.outcome)
            self.tell(10.2, digest)
            self.assert_failed("source-changed")

    def test_changed_piece(self) -> None:
        """Two digests of one piece, or of one that there is not."""
        for pieces, code in (
            (Pieces(0, (b"x" * 32,)), "source-changed"),
            (Pieces(3, (b"x" * 32,)), "bad-peer"),
        ):
            self.start(3 * MIB)
            self.tell(10.2, Pieces(0, (b"d" * 32,)))
            self.tell(10.2, Pieces(0, (b"d" * 32,)))
            self.assertIsNone(self.receiver.outcome)
            self.tell(10.2, pieces)
            self.assert_failed(code)
            self.tell(10.2, Pieces(1, (b"d" * 32,)))

    def test_wrong_root(self) -> None:
        """A root that does not fit the digests of the pieces, whichever comes first."""
        for first in (True, False):
            self.start(3)
            frames: list[Frame] = [Digest(3, b"x" * 32), Pieces(0, tuple(self.digests()))]
            for frame in frames if first else reversed(frames):
                self.tell(10.2, frame)
            self.assert_failed("digest-mismatch")

    def test_aborted(self) -> None:
        """The other end gives up; what was not written is not, and what comes late changes nothing."""
        self.start(100)
        self.tell(10.2, Data(0, self.content[:10]))
        self.tell(10.2, Abort("source-changed", "It changed."))
        self.tell(10.2, Data(10, self.content[10:20]))
        self.tell(10.2, self.digest())
        self.assertEqual(self.receiver.outcome, Failed("source-changed", "It changed.", remote=True))
        self.assertEqual(self.receiver.take_writes(), [])
        self.receiver.written(10)
        self.receiver.hashed([(0, b"?" * 32)])
        self.receiver.hurry(10.3)
        self.receiver.verified()
        self.assertFalse(self.receiver.complete)
        self.hear(10.2)
        self.assertTrue(self.receiver.closed)

    def test_given_up_in_the_last_moment(self) -> None:
        """A file that has its name is there, whatever either end said meanwhile."""
        for remote in (False, True):
            self.start(0)
            self.tell(10.2, Digest(0, blake3(b"").digest()))
            self.assertTrue(self.receiver.complete)
            if remote:
                self.tell(10.3, Abort("cancelled", "No."))
            else:
                self.receiver.fail("cancelled", "No.")
            self.receiver.verified()
            self.assertEqual(self.receiver.outcome, Done())
            self.assertEqual(Verified() in self.hear(10.4), not remote)

    def test_little_of_much(self) -> None:
        """Where datagrams overlap, the new bytes are kept and not all that came with them."""
        self.start(100_000)
        self.tell(10.2, Data(0, self.content[:50_000]))
        self.tell(10.2, Data(1, self.content[1:50_001]))
        kept = [buffer for _, buffers in self.receiver.take_writes() for buffer in buffers]
        self.assertEqual(b"".join(kept), self.content[:50_001])
        last = kept[-1]
        self.assertEqual(len(last.obj if isinstance(last, memoryview) else last), 1)

    def test_data_after_the_end(self) -> None:
        """It counts for nothing."""
        self.start(0)
        self.tell(10.2, Digest(0, blake3(b"").digest()))
        self.receiver.verified()
        self.tell(10.2, Data(0, b"x"))
        self.assertEqual(self.receiver.outcome, Done())
        self.assert_refused()

    def test_unexpected(self) -> None:
        """Frames that only a receiver sends are dropped and counted."""
        self.start(3)
        self.tell(10.2, Hello(b"t" * 16, 5), Response(NONCE), Verified(), Again(0, 3))
        self.assert_refused(unexpected=4)

    def test_crumbs(self) -> None:
        """A sender that wants more kept than the bytes are worth is cut off."""
        with mock.patch.object(module, "MAX_RANGES", 10):
            self.start(1000)
            for at in range(0, 24, 2):
                self.tell(10.2, Data(at, b"x"))
            self.assert_failed("bad-peer")
        with mock.patch.object(module, "MAX_BUFFERS", 10):
            self.start(1000)
            for at in range(10):
                self.tell(10.2, Data(at, b"x"))
            self.write()
            self.tell(10.2, Data(10, b"x"))
            self.assertIsNone(self.receiver.outcome)
            for at in range(11, 21):
                self.tell(10.2, Data(at, b"x"))
            self.assert_failed("bad-peer")


class VerifyingTests(ReceiverCase):
    """Pieces that are not as they should be."""

    def fill(self) -> None:
        """All bytes come and are written; the sender tells all digests."""
        self.send(0, len(self.content))
        self.write()
        digests = self.digests()
        for first in range(0, len(digests), MAX_PIECES):
            self.tell(10.3, Pieces(first, tuple(digests[first : first + MAX_PIECES])))
        self.tell(10.3, self.digest())
        self.hear(10.3)

    def agains(self, now: float) -> list[int]:
        """The pieces that are asked for again; the sender acknowledges that."""
        heard = self.hear(now)
        asked = [frame.offset // PIECE_BYTES for frame in heard if isinstance(frame, Again)]
        self.tell(now, Ack(0, 0, 0, ((0, self.receiver._next_number),)))
        return asked

    def test_bad_piece(self) -> None:
        """It is asked for again, until that is acknowledged; it comes, and the file is complete."""
        self.start(2 * MIB + 5)
        self.fill()
        good = self.digests()
        self.receiver.hashed([(0, good[0]), (1, b"?" * 32), (2, good[2])])
        self.assertEqual(self.receiver.received, MIB + 5)
        self.assertEqual(self.hear(10.4), [Again(MIB, MIB)])
        self.assertEqual(self.hear(10.4), [])
        self.assertIn(Again(MIB, MIB), self.hear(20.0))
        self.assertEqual(self.agains(20.0), [])
        self.assertNotIn(Again(MIB, MIB), self.hear(35.0))
        self.tell(35.0, Ping())
        self.send(MIB, 2 * MIB, 35.0)
        self.assertEqual(self.write(), MIB)
        self.receiver.hashed([(1, good[1])])
        self.assertTrue(self.receiver.complete)
        self.assertEqual(self.receiver.received, 2 * MIB + 5)

    def test_last_piece(self) -> None:
        """The last piece is shorter."""
        self.start(MIB + 5)
        self.fill()
        self.receiver.hashed([(1, b"?" * 32)])
        self.assertIn(Again(MIB, 5), self.hear(10.4))

    def test_digest_comes_late(self) -> None:
        """What is on the disk before its digest is known is compared when that comes."""
        self.start(2 * MIB)
        self.send(0, 2 * MIB)
        self.write()
        self.receiver.hashed([(1, self.digests()[1]), (0, b"?" * 32)])
        self.tell(10.3, Pieces(0, tuple(self.digests())))
        self.assertIn(Again(0, MIB), self.hear(10.3))
        self.assertFalse(self.receiver.complete)

    def test_three_times(self) -> None:
        """The same piece, wrong for the third time: that is enough."""
        self.start(MIB)
        self.fill()
        for now in (11.0, 12.0):
            self.receiver.hashed([(0, b"?" * 32)])
            self.assertEqual(self.agains(now), [0])
            self.send(0, MIB, now)
            self.assertEqual(self.write(), MIB)
        self.receiver.hashed([(0, b"?" * 32)])
        self.assert_failed("digest-mismatch")
        self.receiver.hashed([(0, b"?" * 32)])

    def test_few_at_once(self) -> None:
        """A part that is bad throughout is asked for bit by bit, so that memory stays bounded."""
        self.start(8 * MIB, have=[(0, 8 * MIB)])
        self.assertEqual(self.receiver.received, 8 * MIB)
        self.tell(10.3, Pieces(0, tuple(self.digests())))
        self.receiver.hashed([(index, b"?" * 32) for index in range(8)])
        self.assertEqual(self.receiver.received, 0)
        self.assertEqual(self.agains(11.0), list(range(MAX_AGAINS)))
        self.send(MIB, 2 * MIB, 11.1)
        self.write()
        self.receiver.hashed([(1, self.digests()[1])])
        self.assertEqual(self.agains(11.1), [MAX_AGAINS])

    def test_resumed(self) -> None:
        """What was there counts when its pieces agree; the others have to come."""
        self.start(2 * MIB, have=[(0, MIB), (MIB + 5, MIB + 10)])
        self.assertEqual(self.receiver.received, MIB + 5)
        self.tell(10.1, Pieces(0, tuple(self.digests())))
        self.receiver.hashed([(0, self.digests()[0])])
        self.send(MIB, 2 * MIB)
        self.assertEqual(self.write(), MIB - 5)
        self.assertEqual(self.receiver.counters.duplicate_bytes, 5)
        self.receiver.hashed([(1, self.digests()[1])])
        self.tell(10.3, self.digest())
        self.assertTrue(self.receiver.complete)


class WindowTests(ReceiverCase):
    """How much the sender may send."""

    def test_first(self) -> None:
        """At least what a sender takes for granted, and of the bytes that are missing."""
        self.start(10**9, window=5)
        self.assertEqual(self.limit(10.1), MIN_WINDOW)
        self.start(10**9, have=[(0, 10_000_000), (11_000_000, 12_000_000)])
        self.assertEqual(self.limit(10.1), 11_000_000 + WINDOW_BYTES)
        self.start(5)
        self.assertEqual(self.limit(10.1), 5)

    def test_opens(self) -> None:
        """As bytes are written, more may come; the sender hears of it by the quarter of the window."""
        self.start(10**9)
        self.send(0, MIB + 100)
        self.hear(10.3)
        self.receiver.take_writes()
        self.receiver.written(MIB - 1)
        self.assertEqual(self.hear(10.3), [])
        self.receiver.written(1)
        self.assertEqual([frame.limit for frame in self.hear(10.4) if isinstance(frame, Ack)], [5 * MIB])
        self.assertEqual(self.limit(10.5), 5 * MIB)
        self.receiver.written(100)
        self.assertEqual(self.limit(10.5), 5 * MIB + 100)

    def test_opens_for_who_waits(self) -> None:
        """A sender that has used up its limit, and one that could have all the rest, hears of any byte more."""
        self.start(10**9, window=MIB)
        self.send(0, MIB)
        self.hear(10.3)
        self.receiver.take_writes()
        self.receiver.written(1)
        self.assertEqual([frame.limit for frame in self.hear(10.4) if isinstance(frame, Ack)], [MIB + 1])
        self.start(MIB + 10, window=MIB)
        self.send(0, 1000)
        self.hear(10.3)
        self.receiver.take_writes()
        self.receiver.written(9)
        self.assertEqual(self.hear(10.4), [])
        self.receiver.written(1)
        self.assertEqual([frame.limit for frame in self.hear(10.4) if isinstance(frame, Ack)], [MIB + 10])

    def test_no_need(self) -> None:
        """Once all is granted nothing more is said."""
        self.start(MIB)
        self.send(0, MIB)
        self.hear(10.3)
        self.write()
        self.assertEqual(self.hear(10.3), [])

    def stream(self, nbytes: int, every: int, lag: int = 0) -> None:
        """So many bytes come; the sender hears of its limit `every` so many, and `lag` of them are not written."""
        at = heard = self.receiver.received
        waiting = self.receiver._unwritten
        end = at + nbytes
        while at < end:
            if at - heard >= every:
                self.limit(self.now)
                heard = at
            self.tell(self.now, Data(at, bytes(50_000)))
            at += 50_000
            self.assertEqual(self.receiver.received, at)
            self.receiver.take_writes()
            waiting += 50_000
            if waiting > lag:
                self.receiver.written(waiting - lag)
                waiting = lag

    def rounds(self, nbytes: int, lag: int = 0) -> int:
        """Three round trips go by, in each of which so much comes, and `lag` of it stays unwritten: the window."""
        for _ in range(3):
            self.now += self.receiver.rtt
            self.stream(nbytes, MIB // 4, lag)
        return self.receiver._window // MIB

    def test_grows(self) -> None:
        """It is four times what comes in a round trip, up to a bound, which can be set."""
        self.start(10**9)
        self.now = 11.0
        self.assertEqual(self.rounds(MIB - 100_000), 4)
        self.assertEqual(self.rounds(MIB + 100_000), 8)
        self.assertEqual(self.rounds(3 * MIB), 16)
        self.assertEqual(self.rounds(9 * MIB), 16)
        self.assertEqual(self.rounds(50_000), 16)
        told, written = self.limit(self.now), self.receiver._written
        self.receiver.max_window = 2 * MIB
        self.assertEqual(self.receiver._grant(), written + 2 * MIB)
        self.assertEqual(self.limit(self.now), told)
        self.receiver.max_window = 0
        self.assertEqual(self.receiver._grant(), written + LEAST_WINDOW)

    def test_stays(self) -> None:
        """A path that is slow because the disk is gets no more."""
        self.start(10**9)
        self.now = 11.0
        self.assertEqual(self.rounds(5 * MIB // 2, lag=2 * MIB + MIB // 2), 4)

    def test_round_trip_known(self) -> None:
        """What a round trip took lately counts until there is a sample."""
        terms = make_terms(MIB)
        path = ClientPath(terms.token, "d", window=0, now=10.0, greets=False)
        receiver = Receiver(terms, path, sends=FROM_CLIENT, now=10.0, rtt=0.6)
        self.assertEqual(receiver.rtt, 0.6)

    def test_nothing_to_learn(self) -> None:
        """At the end of the file, where all is granted, the window is what it was."""
        self.start(6 * MIB)
        self.now = 11.0
        self.stream(3 * MIB, 100_000)
        self.limit(11.0)
        self.stream(2 * MIB, 100_000)
        self.assertEqual(self.receiver._window, WINDOW_BYTES)


class WaitingTests(ReceiverCase):
    """The other end is silent, slow, or paused."""

    def until_the_end(self, *, answers: bool) -> float:
        """When it gives up."""
        now = 10.0
        while self.receiver.outcome is None:
            now = self.receiver.deadline() or 0.0
            if Ping() in self.hear(now) and answers:
                self.tell(now, Ack(0, 0, 0, ((0, self.receiver._next_number),)))
            self.assertLess(now, 5000.0)
        return now

    def test_stalled(self) -> None:
        """A sender that answers pings and sends nothing is given up."""
        self.start(100)
        self.assertAlmostEqual(self.until_the_end(answers=True), 10.0 + STALL_SECONDS)
        self.assert_failed("timed-out")

    def test_progress(self) -> None:
        """Bytes, digests and the root are progress; the same ones again are not."""
        self.start(100)
        self.tell(20.0, Data(0, self.content[:10]))
        self.write()
        self.tell(30.0, Pieces(0, tuple(self.digests())))
        self.tell(40.0, self.digest())
        self.tell(50.0, Data(0, self.content[:10]))
        self.tell(50.0, Pieces(0, tuple(self.digests())))
        self.tell(50.0, self.digest())
        self.assertAlmostEqual(self.until_the_end(answers=True), 40.0 + STALL_SECONDS)

    def test_own_time(self) -> None:
        """While this end writes, or hashes what was there, the other one is not to blame."""
        self.start(100)
        self.tell(10.2, Data(0, self.content))
        self.tell(10.2, Pieces(0, tuple(self.digests())))
        for now in (100.0, 200.0, 300.0):
            self.tell(now, Ping())
            self.hear(now)
        self.assertEqual(self.write(), 100)
        self.tell(301.0, self.digest())
        for now in (320.0, 340.0, 440.0, 560.0):
            self.tell(now, Ping())
            self.hear(now)
        self.assertIsNone(self.receiver.outcome)

    def test_paused(self) -> None:
        """Nor while the transfer is paused."""
        self.start(100)
        self.tell(11.0, Pause(True))
        for now in range(20, 1000, 20):
            self.tell(float(now), Ping())
            self.hear(float(now))
        self.tell(1000.0, Pause(False))
        self.assertAlmostEqual(self.until_the_end(answers=True), 1000.0 + STALL_SECONDS)

    def test_hurried(self) -> None:
        """With another sign that it is gone, four seconds of silence are enough; an answer is an answer."""
        self.start(3)
        self.receiver.hurry(11.0)
        self.assertIn(Ping(), self.hear(11.0))
        self.assertAlmostEqual(self.until_the_end(answers=False), 11.0 + HURRIED_SECONDS)
        self.start(3)
        self.receiver.hurry(11.0)
        self.assertAlmostEqual(self.until_the_end(answers=True), 10.0 + STALL_SECONDS)


class DaemonTests(SynchronousTestCase):
    """A daemon's receiver: an upload."""

    def test_unproven(self) -> None:
        """Its client has to show that it is there; the stall clock begins then."""
        terms = make_terms(3)
        path = DaemonPath(terms.token, make_random())
        receiver = Receiver(terms, path, sends=FROM_DAEMON, now=10.0)
        client, daemon = Seal(terms, FROM_CLIENT), Seal(terms, FROM_DAEMON)
        receiver.hurry(10.0)
        hello = client.close(0, encode(Hello(terms.token, 0)).ljust(1200, b"\0"))
        receiver.receive(hello, len(hello), "c", 30.0)
        (train,) = receiver.poll(30.0)
        (challenge,) = decode(daemon.open(b"".join(train.buffers))[1])
        assert isinstance(challenge, Challenge)
        response = client.close(1, encode(Response(challenge.nonce)))
        receiver.receive(response, len(response), "c", 31.0)
        self.assertEqual(receiver.proven, "c")
        self.assertAlmostEqual(receiver._next(), 31.0 + STALL_SECONDS)
        data = client.close(2, encode(Data(0, b"abc")))
        receiver.receive(data, len(data), "c", 31.0)
        self.assertEqual(receiver.take_writes(), [(0, [b"abc"])])


class AnyBytesTests(ReceiverCase):
    """Whatever comes, it does not fall over."""

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(st.binary(max_size=100) | st.lists(FRAMES | DATA, min_size=1, max_size=3), max_size=20),
        st.integers(1, 100),
    )
    def test_survives(self, arrivals: list[bytes | list[Frame]], segment: int) -> None:
        """Any bytes and any authentic frames raise nothing, and never more bytes come out than the file has."""
        self.start(5000)
        now = 11.0
        written = 0
        for arrival in arrivals:
            if isinstance(arrival, bytes):
                self.receiver.receive(arrival, segment, "d", now)
            else:
                self.tell(now, *arrival)
            for offset, buffers in self.receiver.take_writes():
                nbytes = sum([len(buffer) for buffer in buffers])
                self.assertLessEqual(offset + nbytes, 5000)
                written += nbytes
                self.receiver.written(nbytes)
            now += 0.05
            self.receiver.poll(now)
            self.receiver.deadline()
        self.assertLessEqual(written, 5000)

    @settings(deadline=None, max_examples=100)
    @given(
        steps=st.lists(
            st.tuples(st.integers(0, 2999), st.integers(1, 900), st.sampled_from("dddpwwhr")), max_size=80
        ),
        have=st.sets(st.integers(0, 3000), max_size=4),
        bad=st.integers(0, 2),
    )
    def test_any_order(self, steps: list[tuple[int, int, str]], have: set[int], bad: int) -> None:
        """Valid packets in any order, and a disk that errs: in the end the bytes are right."""
        with (
            mock.patch("pychat.transfer.terms.PIECE_BYTES", 1000),
            mock.patch("pychat.transfer.pieces.PIECE_BYTES", 1000),
            mock.patch("pychat.hashing.PIECE_BYTES", 1000),
        ):
            ends = sorted(have)
            ranges = list(zip(ends[::2], ends[1::2], strict=False))
            self.start(3000, have=ranges)
            self.go_through(steps, ranges, bad)

    def go_through(self, steps: list[tuple[int, int, str]], ranges: list[tuple[int, int]], bad: int) -> None:
        digests = [blake3(self.content[at : at + 1000]).digest() for at in range(0, 3000, 1000)]
        disk = bytearray(3000)
        hashes = Hashes(3000, True, lambda length, at: bytes(disk[at : at + length]))
        before = RangeSet()
        for start, end in ranges:
            before.add(start, end)
            disk[start:end] = self.content[start:end]
            disk[start] ^= bad
        hashes.resume(before)
        hashed: list[tuple[int, bytes]] = []
        rest = [(at, 500, step) for at in range(0, 3000, 500) for step in "dwhd"] * 3
        for start, length, step in [*steps, (0, 0, "p"), (0, 0, "r"), *rest]:
            if step == "d":
                end = min(start + length, 3000)
                self.tell(10.2, Data(start, self.content[start:end]))
            elif step == "p":
                first = start % 3
                self.tell(10.2, Pieces(first, tuple(digests[first:])))
            elif step == "r":
                self.tell(10.2, Digest(3000, root_of(digests)))
            elif step == "h":
                self.receiver.hashed([*hashed, *hashes.check(1000)])
                hashed = []
            else:
                for offset, buffers in self.receiver.take_writes():
                    data = b"".join(buffers)
                    news = RangeSet()
                    news.add(offset, offset + len(data))
                    hashes.reopen(offset, offset + len(data))
                    disk[offset : offset + len(data)] = data
                    hashes.add(offset, buffers)
                    self.receiver.written(len(data))
                    hashed += hashes.completed(news)
        self.receiver.hashed(hashed)
        self.assertIsNone(self.receiver.outcome)
        self.assertTrue(self.receiver.complete)
        self.assertEqual(bytes(disk), self.content)
        self.assertEqual(hashes.root(), self.receiver.root)
