"""The end that has the file, by itself: literal times, and a peer that says what the test wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.congestion.base import AckSample, CongestionControl
from pychat.transfer.endpoint import SILENCE_SECONDS
from pychat.transfer.fragments import cut, whole
from pychat.transfer.frames import (
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
from pychat.transfer.mtu import MAX_PROBES
from pychat.transfer.outgoing import BLOCK_BYTES
from pychat.transfer.packet import (
    DATAGRAM_BYTES,
    FRAGMENTS,
    FROM_CLIENT,
    FROM_DAEMON,
    pad,
)
from pychat.transfer.path import ClientPath, DaemonPath
from pychat.transfer.ranges import RangeSet
from pychat.transfer.seal import Seal
from pychat.transfer.sender import (
    CLEAN_BYTES,
    MAX_AGAINS,
    STALL_SECONDS,
    TRAIN_BYTES,
    TRAIN_SECONDS,
    VERIFY_SECONDS,
    Sender,
)
from pychat.transfer.terms import FIRST_WINDOW, PIECE_BYTES, Done, Failed, Train, root_of
from tests.transfer.offers import make_content, make_random, make_terms

#: Bytes of the file in a full datagram of 1,200.
ROOM = DATAGRAM_BYTES - 40


class Fixed(CongestionControl):
    """A window and a rate that stay as they are."""

    name = "fixed"
    starting = False

    def __init__(self, window: int = 10**6, rate: float = 1e8) -> None:
        super().__init__(DATAGRAM_BYTES)
        self.window = window
        self._rate = rate
        self.samples: list[AckSample] = []
        self.resets = 0
        self.remembered: tuple[float, float] | None = None
        self.timeouts = 0

    @property
    def pacing_rate(self) -> float:
        return self._rate

    def acked(self, sample: AckSample) -> None:
        self.samples.append(sample)

    def timed_out(self, now: float) -> None:
        self.timeouts += 1

    def reset(self, now: float, datagram: int) -> None:
        self.resets += 1

    def remember(self, rate: float, rtt: float) -> None:
        self.remembered = rate, rtt


class Packet:
    """One packet that the sender said, and the bytes of its datagrams."""

    def __init__(self, number: int, size: int, frames: list[Frame]) -> None:
        self.number = number
        self.size = size
        self.frames = frames

    @property
    def data(self) -> Data | None:
        return next((frame for frame in self.frames if isinstance(frame, Data)), None)

    def has(self, kind: type) -> bool:
        return any(isinstance(frame, kind) for frame in self.frames)


class SenderCase(SynchronousTestCase):
    """A daemon's sender whose client is at ``c``."""

    def begin(
        self,
        size: int = 5000,
        *,
        window: int = 10**6,
        pace: float = 1e8,
        proven: bool = True,
        client: bool = False,
        known: bool = False,
        max_datagram: int = DATAGRAM_BYTES,
        supplied: bool = True,
        **options: object,
    ) -> None:
        self.content = make_content(size)
        self.terms = make_terms(size)
        self.congestion = Fixed(window, pace)
        if client:
            path: ClientPath | DaemonPath = ClientPath(
                self.terms.token, "c", window=0, now=1.0, greets=not proven
            )
        else:
            path = DaemonPath(self.terms.token, make_random(), proven="c" if proven else None)
        pieces = [blake3(self.content[at : at + PIECE_BYTES]).digest() for at in range(0, size, PIECE_BYTES)]
        self.digests = pieces
        if known:
            options["digests"] = pieces
        self.sender = Sender(
            self.terms,
            path,
            sends=FROM_CLIENT if client else FROM_DAEMON,
            congestion=self.congestion,
            now=1.0,
            random_bytes=make_random(),
            max_datagram=max_datagram,
            **options,  # type: ignore[arg-type]
        )
        self.seal = Seal(self.terms, FROM_DAEMON if client else FROM_CLIENT)
        self.opener = Seal(self.terms, FROM_CLIENT if client else FROM_DAEMON)
        self.number = 0
        self.packets: list[Packet] = []
        self.fragmented = 0
        self.have = RangeSet()
        self.file = bytearray(size)
        self.trains: list[Train] = []
        if supplied:
            self.supply()

    def supply(self) -> list[tuple[int, int]]:
        """Read all that is wanted, and hash what is complete: which reads that were."""
        reads = []
        while (wanted := self.sender.wants()) is not None:
            reads.append(wanted)
            offset, length = wanted
            self.sender.supply(offset, self.content[offset : offset + length])
            index, rest = divmod(offset + length, PIECE_BYTES)
            if length and (rest == 0 or offset + length == len(self.content)):
                index = index if rest else index - 1
                self.sender.pieces(index, [self.digests[index]])
            if len(reads) > 1000:
                raise AssertionError("it wants the same for ever")
        return reads

    def hear(self, *frames: Frame, now: float, size: int = 0, address: str = "c") -> None:
        datagram = self.seal.close(self.number, pad(b"".join(map(encode, frames)), size))
        self.number += 1
        self.sender.receive(datagram, len(datagram), address, now)

    def poll(self, now: float) -> list[Packet]:
        """What leaves now, also put down in `packets` and `file`."""
        said: list[Packet] = []
        self.trains = self.sender.poll(now)
        for train in self.trains:
            self.assertEqual(train.address, self.sender.path.address)
            for number, payload, nbytes in self.opened(train):
                packet = Packet(number, nbytes, decode(payload))
                said.append(packet)
                if packet.data is not None:
                    data = packet.data
                    self.assertEqual(
                        bytes(data.data), self.content[data.offset : data.offset + len(data.data)]
                    )
        self.packets += said
        return said

    def opened(self, train: Train) -> Iterator[tuple[int, bytes, int]]:
        """Number, frames and bytes of each packet of a train."""
        joined = b"".join(train.buffers)
        if joined[0] in (FROM_CLIENT + FRAGMENTS, FROM_DAEMON + FRAGMENTS):
            sealed = whole(memoryview(joined), 0, train.segment)
            assert sealed is not None
            self.assertEqual(sealed.nbytes, len(joined))
            self.fragmented += 1
            number = sealed.number
            yield number, self.opener.unseal(number, self.opener.header_of(number), sealed.data), len(joined)
        else:
            for datagram in train.datagrams():
                yield *self.opener.open(datagram), len(datagram)

    def poll_all(self, now: float) -> list[Packet]:
        """All that leaves until it wants to wait."""
        said = self.poll(now)
        while (deadline := self.sender.deadline()) is not None and deadline <= now and self.trains:
            said += self.poll(now)
        return said

    def ack(self, *numbers: tuple[int, int], now: float, limit: int = 0) -> None:
        self.hear(Ack(0, round(now * 1e6), limit, numbers), now=now)

    def ack_all(self, now: float, *, but: Sequence[int] = (), limit: int = 0) -> None:
        """Acknowledge all packets that were said but those."""
        ranges = RangeSet()
        for packet in self.packets:
            if packet.number not in but:
                ranges.add(packet.number, packet.number + 1)
        self.ack(*ranges.highest(64), now=now, limit=limit)

    def offsets(self, packets: Sequence[Packet]) -> list[int]:
        return [packet.data.offset for packet in packets if packet.data is not None]

    def failure(self) -> str:
        assert isinstance(self.sender.outcome, Failed)
        return self.sender.outcome.code

    def turns(self, until: float, *, answer: bool = False) -> float:
        """Poll whenever the deadline has come, up to a time or an outcome: when that was."""
        now = 1.0
        while self.sender.outcome is None and now < until:
            now = min(max(now, self.sender.deadline() or now) + 1e-6, until)
            self.poll(now)
            if answer:
                self.ack_all(now)
        return now


class LargePacketTests(SenderCase):
    """Packets that are larger than a datagram."""

    PACE = 1e8

    def run_clean(self, nbytes: int, now: float = 1.0, lose: int = -1) -> tuple[float, list[Packet]]:
        """Send and acknowledge so many bytes of the file at a time, 10 ms apart.

        :param lose: the packet of a poll, by its index, that is not acknowledged.
        :return: when, and what left in the end.
        """
        said: list[Packet] = []
        goal = self.sender.progress + nbytes
        while self.sender.progress < goal:
            self.supply()
            said = self.poll(now)
            but = [said[lose].number] if 0 <= lose < len(said) else []
            lose = -1
            now += 0.01
            self.ack_all(now, but=but, limit=10**9)
        return now, said

    def large(self, packets: Sequence[Packet]) -> list[Packet]:
        return [packet for packet in packets if packet.data is not None and packet.size > DATAGRAM_BYTES]

    def test_after_a_while(self) -> None:
        """Once enough has arrived without a loss a train is one packet, of which all bytes are accounted for."""
        self.begin(9 * PIECE_BYTES, window=10**6, pace=self.PACE)
        now, _ = self.run_clean(CLEAN_BYTES - 300_000)
        self.assertEqual(self.large(self.packets), [])
        now, said = self.run_clean(PIECE_BYTES, now)
        large = self.large(said)
        self.assertGreater(len(large), 1)
        self.assertLessEqual(max(packet.size for packet in large), TRAIN_BYTES)
        self.assertGreater(max(packet.size for packet in large), TRAIN_BYTES - DATAGRAM_BYTES)
        counters = self.sender.counters
        before = counters.bytes_out, counters.datagrams_out
        self.supply()
        said = self.poll(now)
        datagrams = sum([len(list(train.datagrams())) for train in self.trains])
        self.assertTrue(any(packet.has(Ask) for packet in self.large(said)))
        self.assertEqual(counters.bytes_out - before[0], sum(packet.size for packet in said))
        self.assertEqual(counters.datagrams_out - before[1], datagrams)
        self.assertEqual(
            {train.segment for train in self.trains if len(list(train.datagrams())) > 1}, {DATAGRAM_BYTES}
        )
        self.assertEqual(
            self.sender.in_flight, sum(packet.size for packet in said if packet.data is not None)
        )

    def test_all_arrives(self) -> None:
        """Every byte of the file leaves once."""
        self.begin(9 * PIECE_BYTES + 777, window=10**6, pace=self.PACE)
        self.run_clean(9 * PIECE_BYTES + 777)
        ranges = RangeSet()
        total = 0
        for packet in self.packets:
            if packet.data is not None:
                ranges.add(packet.data.offset, packet.data.offset + len(packet.data.data))
                total += len(packet.data.data)
        self.assertEqual(list(ranges), [(0, 9 * PIECE_BYTES + 777)])
        self.assertEqual(total, 9 * PIECE_BYTES + 777)
        self.assertEqual(len(self.large(self.packets)), self.fragmented)
        self.assertGreater(self.fragmented, 50)

    def test_loss(self) -> None:
        """What is lost costs all of a packet: after a loss they are small again, and what was lost comes in such."""
        self.begin(20 * PIECE_BYTES, window=10**6, pace=self.PACE)
        now, _ = self.run_clean(CLEAN_BYTES + PIECE_BYTES)
        before = len(self.packets)
        self.supply()
        said = self.poll(now)
        lost = next(packet for packet in said if packet in self.large(said))
        assert lost.data is not None
        said += self.poll(now + 0.01)
        self.ack_all(now + 0.05, but=[lost.number], limit=10**9)
        after = self.poll(now + 0.05)
        self.assertEqual(self.sender.lost, -(-lost.size // DATAGRAM_BYTES), "all of its datagrams")
        self.assertEqual(after[0].data and after[0].data.offset, lost.data.offset)
        self.assertEqual(self.large(after), [])
        now, _ = self.run_clean(2 * CLEAN_BYTES - PIECE_BYTES, now + 0.1)
        self.assertEqual(self.large(self.packets[before + len(said) :]), [], "twice as long as before")
        _, said = self.run_clean(2 * PIECE_BYTES, now)
        self.assertGreater(len(self.large(said)), 0)

    def test_probes(self) -> None:
        """Nothing is acknowledged any more: a probe carries the beginning of what the oldest large packet did."""
        self.begin(CLEAN_BYTES + PIECE_BYTES + 600_000, window=10**6, pace=self.PACE)
        now, _ = self.run_clean(CLEAN_BYTES + PIECE_BYTES - 10_000)
        self.supply()
        said = self.poll_all(now)
        self.supply()
        said += self.poll_all(now)
        oldest = next(packet.data for packet in said if packet.data is not None)
        deadline = self.sender.deadline()
        assert deadline is not None
        probes = [packet for packet in self.poll(max(deadline, now + 1.0)) if packet.data is not None]
        self.assertEqual(self.large(probes), [])
        self.assertEqual(probes[0].data and probes[0].data.offset, oldest.offset)

    def test_piece_again(self) -> None:
        """A bad piece that was sent in large packets is sent again, and their acknowledgements mean nothing to it."""
        self.begin(8 * PIECE_BYTES, window=10**6, pace=self.PACE)
        now, _ = self.run_clean(CLEAN_BYTES + PIECE_BYTES)
        self.supply()
        said = self.poll(now)
        (first, *_) = [packet.data for packet in self.large(said) if packet.data is not None]
        index = first.offset // PIECE_BYTES
        self.hear(Again(index * PIECE_BYTES, PIECE_BYTES), now=now + 0.001)
        self.ack_all(now + 0.01, limit=10**9)
        before = len(self.packets)
        self.run_clean(1, now + 0.02)
        self.run_clean(8 * PIECE_BYTES - self.sender.progress, now + 0.1)
        again = RangeSet()
        for packet in self.packets[before:]:
            if packet.data is not None:
                again.add(packet.data.offset, packet.data.offset + len(packet.data.data))
        self.assertEqual(again.missing(index * PIECE_BYTES, first.offset), [])
        self.assertEqual(again.missing(first.offset, (index + 1) * PIECE_BYTES), [])

    def test_black_hole(self) -> None:
        """Large packets in datagrams that are too large do not get through: those are small again."""
        self.begin(9 * PIECE_BYTES, mtu=1452, max_datagram=1452, window=10**6, pace=self.PACE)
        now, said = self.run_clean(CLEAN_BYTES + PIECE_BYTES)
        self.assertGreater(len(self.large(said)), 0)
        self.assertEqual(max(train.segment for train in self.trains), 1452)
        self.packets = []
        for _ in range(40):
            self.supply()
            self.poll(now)
            small = RangeSet()
            for packet in self.packets:
                if packet.size <= 1200:
                    small.add(packet.number, packet.number + 1)
            if small:
                self.ack(*small.highest(64), now=now + 0.02, limit=10**9)
            now = max(now + 0.02, min(self.sender.deadline() or now, now + 1.0))
        self.assertEqual(self.sender.pushed_size, 1200)

    def test_slow(self) -> None:
        """At a pace at which the processor has time, never; nor over what loses nothing and has no datagrams."""
        self.begin(6 * PIECE_BYTES, window=10**6, pace=TRAIN_BYTES / TRAIN_SECONDS * 0.9)
        self.run_clean(6 * PIECE_BYTES - 1)
        self.assertEqual(self.fragmented, 0)
        self.begin(6 * PIECE_BYTES, window=10**6, pace=self.PACE, reliable=True)
        self.run_clean(6 * PIECE_BYTES - 1)
        self.assertEqual(self.fragmented, 0)

    def test_address_changes(self) -> None:
        """On another path it has to be found out anew."""
        self.begin(20 * PIECE_BYTES, window=10**6, pace=self.PACE)
        now, said = self.run_clean(CLEAN_BYTES + PIECE_BYTES)
        self.assertGreater(len(self.large(said)), 0)
        self.hear(Ping(), now=now, address="d")
        train = next(train for train in self.sender.poll(now) if train.address == "d")
        (challenge,) = decode(self.opener.open(b"".join(train.buffers))[1])
        assert isinstance(challenge, Challenge)
        self.hear(Response(challenge.nonce), now=now, address="d")
        self.supply()
        self.assertEqual(self.large(self.poll(now + 0.01)), [])


class SendingTests(SenderCase):
    """Trains out."""

    def test_whole_file(self) -> None:
        """A small file leaves in one train, its piece's digest before, its root behind; then it is done."""
        self.begin(5000)
        said = self.poll(1.0)
        self.assertEqual(said[0].frames, [Pieces(0, (blake3(self.content).digest(),))])
        self.assertEqual(self.offsets(said), [0, ROOM, 2 * ROOM, 3 * ROOM, 4 * ROOM])
        self.assertEqual([packet.has(Ask) for packet in said], [False] * 5 + [True, False])
        self.assertEqual([train.segment for train in self.trains[1:2]], [DATAGRAM_BYTES])
        self.assertEqual(self.sender.pushed_size, DATAGRAM_BYTES)
        self.assertGreater(self.sender.in_flight, 5000)
        self.assertEqual(said[-1].frames, [Digest(5000, root_of(self.digests), 0)])
        self.assertEqual(self.poll(1.0), [])
        self.ack_all(1.1)
        self.assertEqual((self.sender.progress, self.sender.held, self.sender.in_flight), (5000, 0, 0))
        self.hear(Verified(), now=1.2)
        self.assertEqual(self.sender.outcome, Done())
        said = self.poll(1.2)
        self.assertIsInstance(said[0].frames[0], Ack)
        deadline = self.sender.deadline()
        assert deadline is not None
        self.assertEqual((self.poll(deadline), self.sender.closed), ([], True))
        self.assertIsNone(self.sender.wants())

    def test_empty_file(self) -> None:
        """Of an empty file there is only to look whether it is still empty."""
        self.begin(0, supplied=False)
        self.assertEqual(self.poll(1.0), [])
        self.assertEqual(self.supply(), [(0, 0)])
        (packet,) = self.poll(1.0)
        self.assertEqual(packet.frames, [Digest(0, blake3().digest(), 0)])

    def test_window(self) -> None:
        """No more is under way than the window allows, and the last packet of it asks."""
        self.begin(10**5, window=10 * DATAGRAM_BYTES)
        said = self.poll_all(1.0)
        data = [packet for packet in said if packet.data is not None]
        self.assertEqual(len(data), 10)
        self.assertTrue(data[-1].has(Ask))
        self.assertEqual(self.poll(1.01), [])
        self.ack_all(1.05)
        self.assertEqual(len(self.poll_all(1.05)), 10)

    def test_asks(self) -> None:
        """An acknowledgement is asked for eight times a window."""
        self.begin(10**6, window=160 * DATAGRAM_BYTES, pace=1e9)
        data = [packet for packet in self.poll_all(1.0) if packet.data is not None]
        asked = [index for index, packet in enumerate(data, 1) if packet.has(Ask)]
        gaps = [after - before for before, after in zip([0, *asked], asked, strict=False)]
        self.assertTrue(all(20 <= gap <= 60 for gap in gaps), gaps)

    def test_pace(self) -> None:
        """It waits until there is something to send at this pace, and says when that is."""
        self.begin(10**6, pace=1e6)
        self.assertEqual(len(self.offsets(self.poll_all(1.0))), 10)
        deadline = self.sender.deadline()
        assert deadline is not None
        self.assertAlmostEqual(deadline, 1.002, places=4)
        self.assertEqual(self.poll(1.0005), [])
        self.assertEqual(len(self.offsets(self.poll_all(deadline))), 1)
        self.assertEqual(len(self.offsets(self.poll_all(1.012))), 9)

    def test_late_wake_up(self) -> None:
        """What leaves after the pacer lost tokens says nothing of the path."""
        self.begin(10**6, pace=1e6)
        self.poll_all(1.0)
        self.ack_all(1.05)
        self.poll_all(1.5)
        self.ack_all(1.55)
        self.poll_all(1.551)
        self.assertEqual([sample.limited for sample in self.congestion.samples], [False, True])

    def test_nothing_to_send(self) -> None:
        """What leaves when there is too little to send is limited by that."""
        self.begin(10**6, supplied=False)
        self.poll(1.0)
        self.sender.supply(0, self.content[:BLOCK_BYTES])
        self.poll_all(1.0)
        self.ack_all(1.1)
        self.poll(1.1)
        self.assertEqual([sample.limited for sample in self.congestion.samples], [False])
        self.sender.supply(BLOCK_BYTES, self.content[BLOCK_BYTES : 2 * BLOCK_BYTES])
        self.poll_all(1.1)
        self.ack_all(1.2)
        self.poll(1.2)
        self.assertGreater(self.sender.rate or 0.0, 10**5)

    def test_bounded_turns(self) -> None:
        """One turn gives a few trains, and says that there is more."""
        self.begin(10**6, window=10**7, pace=1e10)
        self.poll(1.0)
        self.poll(1.01)
        self.assertLessEqual(len(self.trains), 6)
        self.assertLessEqual(sum(len(b"".join(train.buffers)) for train in self.trains), 5 * 65536)
        self.assertEqual(self.sender.deadline(), 1.01)

    def test_limit(self) -> None:
        """It sends no further than the receiver said that it takes; a receiver that is known takes a first MiB."""
        self.begin(3 * 10**6, window=10**7, pace=1e10)
        self.poll_all(1.0)
        self.supply()
        self.poll_all(1.01)
        last = [packet.data for packet in self.packets if packet.data is not None][-1]
        self.assertEqual(last.offset + len(last.data), FIRST_WINDOW)
        self.assertTrue(self.packets[-1].has(Ask) or self.packets[-2].has(Ask))
        self.ack_all(1.02, limit=FIRST_WINDOW + 500)
        data = [packet.data for packet in self.poll_all(1.02) if packet.data is not None]
        self.assertEqual([len(one.data) for one in data], [500])
        self.ack_all(1.03, limit=10**12)
        self.assertNotEqual(self.offsets(self.poll_all(1.03)), [])

    def test_lost(self) -> None:
        """What is lost is sent again, before what is new."""
        self.begin(10**5, window=20 * DATAGRAM_BYTES)
        first = self.poll_all(1.0)
        lost = next(packet for packet in first if packet.data is not None and packet.data.offset == 2 * ROOM)
        self.ack_all(1.1, but=[lost.number])
        second = self.poll_all(1.1)
        self.assertNotIn(2 * ROOM, self.offsets(second))
        self.ack_all(1.2, but=[lost.number])
        self.assertEqual(self.offsets(self.poll_all(1.2))[0], 2 * ROOM)
        self.assertEqual((self.sender.lost, self.sender.counters.lost), (1, 1))

    def test_skipped_numbers(self) -> None:
        """Now and then a packet number is left out; who acknowledges it is cut off."""
        self.begin(10**6, window=10**7, pace=1e10)
        self.poll_all(1.0)
        self.poll_all(1.05)
        used = {packet.number for packet in self.packets}
        skipped = set(range(max(used))) - used
        self.assertGreater(len(skipped), 1)
        self.ack((0, max(used) + 1), now=1.1)
        self.assertEqual((self.failure(), self.sender.counters.refused["never-sent"]), ("bad-peer", 1))

    def test_reliable(self) -> None:
        """Over a stream datagrams are as large as they get, and neither paced nor lost."""
        self.begin(10**6, window=100, pace=1.0, reliable=True, max_datagram=65507, known=True)
        self.poll_all(1.0)
        data = [packet for packet in self.packets if packet.data is not None]
        self.assertEqual(data[0].size, 65507)
        self.assertEqual(sum(len(packet.data.data) for packet in data if packet.data is not None), 10**6)
        self.ack((0, 1), now=9.0)
        self.assertEqual(self.offsets(self.poll(9.0)), [])
        self.ack_all(9.1)
        self.assertEqual(self.sender.progress, 10**6)

    def test_metered_stream(self) -> None:
        """A sender that may only send so fast does, over a stream too."""
        self.begin(10**6, reliable=True, max_datagram=1200, pace=1e9)
        self.sender.max_rate = 1e6
        self.assertEqual(len(self.offsets(self.poll_all(1.0))), 10)

    def test_known_round_trip(self) -> None:
        """A round trip that is known is used until it is measured."""
        self.begin(5000, rtt=0.05)
        self.assertEqual((self.congestion.remembered, self.sender.rtt), (None, 0.05))

    def test_remembered(self) -> None:
        """A path that is known from lately begins with what it carried."""
        self.begin(5000, rtt=0.05, rate=1e6)
        self.assertEqual((self.congestion.remembered, self.sender.rtt), ((1e6, 0.05), 0.05))


class ReadingTests(SenderCase):
    """What is read, hashed and resumed."""

    def test_not_before_the_proof(self) -> None:
        """Nothing is read for who has not shown that it is there."""
        self.begin(5000, proven=False)
        self.assertIsNone(self.sender.wants())

    def test_window(self) -> None:
        """It reads ahead of the window, within what it may hold, and more at once on a fast path."""
        self.begin(10**7, supplied=False, max_window=2 * BLOCK_BYTES)
        self.assertEqual(self.supply(), [(0, BLOCK_BYTES), (BLOCK_BYTES, BLOCK_BYTES)])
        self.assertEqual(self.sender.held, 2 * BLOCK_BYTES)
        self.sender.max_window = 10**8
        self.sender._recovery.rate = 1e9
        wanted = self.sender.wants()
        self.assertEqual(wanted, (2 * BLOCK_BYTES, PIECE_BYTES - 2 * BLOCK_BYTES))

    def test_after_the_end(self) -> None:
        """What is read when all is over is of no use."""
        self.begin(5000, supplied=False)
        self.sender.fail("cancelled", "Not now.")
        self.sender.supply(0, self.content)
        self.assertEqual(self.sender.held, 0)

    def test_have(self) -> None:
        """What the receiver has is read to be hashed, and not sent."""
        size = 2 * PIECE_BYTES + 5000
        self.begin(size, have=((0, PIECE_BYTES + 1000),), max_window=10**8)
        self.assertTrue(self.sender.knows(0))
        self.assertEqual(self.sender.progress, PIECE_BYTES + 1000)
        said = self.poll_all(1.0)
        said += self.poll_all(1.02)
        self.assertEqual(self.offsets(said)[0], PIECE_BYTES + 1000)
        self.assertEqual(said[0].frames[0], Pieces(0, tuple(self.digests[:2])))

    def test_known_digests(self) -> None:
        """With digests that are known, only what is missing is read."""
        size = 2 * PIECE_BYTES + 5000
        self.begin(size, have=((0, 2 * PIECE_BYTES),), known=True, supplied=False)
        self.assertEqual(self.supply(), [(2 * PIECE_BYTES, 5000)])
        self.poll_all(1.0)
        self.assertTrue(any(packet.has(Digest) for packet in self.packets))

    def test_all_there(self) -> None:
        """If the receiver has all of it, only the digests are told."""
        self.begin(PIECE_BYTES, have=((0, PIECE_BYTES),), known=True)
        said = self.poll(1.0)
        self.assertTrue(said[0].has(Pieces) and said[0].has(Digest))

    def test_many_pieces(self) -> None:
        """Digests are told in frames of 32, some at a time; what is not acknowledged is repeated."""
        count = 32 * 18
        self.content = b""
        self.terms = make_terms(count * PIECE_BYTES)
        self.congestion = Fixed()
        digests = [bytes((index % 251,)) * 32 for index in range(count)]
        self.sender = Sender(
            self.terms,
            DaemonPath(self.terms.token, make_random(), proven="c"),
            sends=FROM_DAEMON,
            congestion=self.congestion,
            now=1.0,
            random_bytes=make_random(),
            max_datagram=1200,
            have=((0, count * PIECE_BYTES),),
            digests=digests[:5],
        )
        self.sender.pieces(6, digests[6:])
        self.seal = Seal(self.terms, FROM_CLIENT)
        self.opener = Seal(self.terms, FROM_DAEMON)
        self.number, self.packets = 0, []
        frames = [frame for packet in self.poll(1.0) for frame in packet.frames]
        pieces = [frame for frame in frames if isinstance(frame, Pieces)]
        self.assertEqual([len(frame.digests) for frame in pieces][:2], [5, 32])
        self.assertEqual(len(pieces), 16)
        self.ack_all(1.1, but=[self.packets[0].number])
        self.sender.pieces(5, digests[5:6])
        told = {index for frame in pieces for index in range(frame.first, frame.first + len(frame.digests))}
        now = 1.1
        for _ in range(20):
            for packet in self.poll(now):
                for frame in packet.frames:
                    if isinstance(frame, Pieces):
                        told.update(range(frame.first, frame.first + len(frame.digests)))
            now += 0.5
            self.ack_all(now)
        self.assertEqual(told, set(range(count)))
        self.assertTrue(any(packet.has(Digest) for packet in self.packets))

    def test_again(self) -> None:
        """A piece that did not verify is read and sent again; what was under way of it does not count."""
        self.begin(2 * BLOCK_BYTES, pace=1e9)
        self.poll_all(1.0)
        self.poll_all(1.02)
        last = self.packets[-1].number
        self.ack_all(1.1, but=[last])
        self.poll(1.1)
        self.hear(Again(0, 2 * BLOCK_BYTES), now=1.2)
        self.assertEqual(self.sender.progress, 0)
        self.ack((last, last + 1), now=1.2)
        self.assertEqual(self.sender.progress, 0)
        reads = self.supply()
        self.assertEqual(reads[0], (0, 2 * BLOCK_BYTES))
        self.poll_all(1.3)
        self.poll_all(1.4)
        self.ack_all(1.5)
        self.assertEqual((self.sender.progress, self.sender.outcome), (2 * BLOCK_BYTES, None))

    def test_again_nonsense(self) -> None:
        """Nobody may ask for what there is not, or too often."""
        for frame in (
            Again(0, 0),
            Again(0, 1),
            Again(1, 4999),
            Again(4000, 1001),
            Again(2**64 - 1, 2**64 - 1),
        ):
            self.begin(5000)
            self.hear(frame, now=1.0)
            self.assertEqual(self.failure(), "bad-peer")
        self.begin(2 * PIECE_BYTES)
        self.hear(Again(0, PIECE_BYTES + 1), now=1.0)
        self.assertEqual(self.failure(), "bad-peer")
        self.begin(5000)
        for _ in range(MAX_AGAINS):
            self.hear(Again(0, 5000), now=1.0)
        self.assertIsNone(self.sender.outcome)
        self.hear(Again(0, 5000), now=1.0)
        self.assertEqual(self.failure(), "bad-peer")
        self.begin(5000)
        self.sender.fail("cancelled", "Not now.")
        self.hear(Again(0, 5000), now=1.0)
        self.assertEqual(self.failure(), "cancelled")


class TimeTests(SenderCase):
    """Probes, silence, pauses."""

    def test_probes(self) -> None:
        """When nothing is acknowledged, two packets ask; they carry what is due, or what is oldest."""
        self.begin(3000)
        self.poll_all(1.0)
        deadline = self.sender.deadline()
        assert deadline is not None
        self.sender._words.clear()
        self.assertEqual(self.offsets(self.poll(deadline)), [0, 0])
        self.assertTrue(all(packet.has(Ask) for packet in self.packets[-2:]))

    def test_probe_with_news(self) -> None:
        """What is new answers as well, whatever the window says."""
        self.begin(10**5, window=2 * DATAGRAM_BYTES)
        self.poll_all(1.0)
        self.sender._words.clear()
        deadline = self.sender.deadline()
        assert deadline is not None
        self.assertEqual(self.offsets(self.poll(deadline)), [2 * ROOM - 9, 3 * ROOM - 18])

    def test_probe_with_nothing(self) -> None:
        """If all that was under way arrived otherwise, or it is paused, a ping has to do."""
        self.begin(3000)
        self.poll_all(1.0)
        self.sender.pause(True)
        self.poll(1.0)
        self.sender._words.clear()
        self.sender.idle = inf
        said = self.poll(self.sender._recovery.deadline())
        self.assertEqual([[type(frame) for frame in packet.frames] for packet in said], [[Ask, Ping]] * 2)
        self.ack_all(9.0)
        self.assertEqual(self.sender.in_flight, 0)

    def test_probe_of_what_arrived(self) -> None:
        """A flight whose bytes came by another one needs nothing but an answer."""
        self.begin(1000)
        self.poll_all(1.0)
        self.sender._words.clear()
        said = self.poll(self.sender._recovery.deadline())
        self.assertEqual(self.offsets(said), [0, 0])
        self.ack((said[-1].number, said[-1].number + 1), now=3.0)
        self.sender._words.clear()
        said = self.poll(self.sender._recovery.deadline())
        self.assertEqual(self.offsets(said), [])
        self.ack_all(4.0)
        self.assertEqual((self.sender.in_flight, self.sender.progress), (0, 1000))

    def test_silence(self) -> None:
        """A peer that says nothing is given up."""
        self.begin(10**5)
        self.assertApproximates(self.turns(100.0), 1.0 + SILENCE_SECONDS, 0.1)
        self.assertEqual(self.failure(), "timed-out")
        self.assertEqual(self.congestion.timeouts, 1)

    def test_idle(self) -> None:
        """With nothing in flight, a peer that says nothing for half a second, or a probe timeout, is asked."""
        self.begin(5000, supplied=False)
        self.sender.round_trip.update(0.01, 0.0)
        self.poll(1.0)
        self.assertEqual(self.sender.deadline(), 1.5)
        self.assertEqual([packet.frames for packet in self.poll(1.5)], [[Ping()]])

    def test_stalled(self) -> None:
        """A peer that answers and takes nothing is given up as well, but not while the disk here is slow."""
        self.begin(10**5, window=2 * DATAGRAM_BYTES)
        self.poll_all(1.0)
        self.sender._outgoing.limit = 0
        self.assertApproximates(self.turns(200.0, answer=True), 1.0 + STALL_SECONDS, 2.0)
        self.assertEqual(self.failure(), "timed-out")
        self.begin(10**5, supplied=False)
        self.turns(200.0, answer=True)
        self.assertIsNone(self.sender.outcome)

    def test_slept(self) -> None:
        """Time for which this process was suspended is nobody's fault."""
        self.begin(10**5, window=2 * DATAGRAM_BYTES)
        self.poll_all(1.0)
        self.ack_all(1.1)
        self.poll_all(1.1)
        self.poll_all(500.0)
        self.assertIsNone(self.sender.outcome)
        self.ack_all(500.1)
        self.assertNotEqual(self.offsets(self.poll_all(500.1)), [])

    def test_verifying(self) -> None:
        """Who has all of it has ten minutes to verify it."""
        self.begin(5000)
        self.assertApproximates(self.turns(2000.0, answer=True), 1.0 + VERIFY_SECONDS, 2.0)

    def test_pause(self) -> None:
        """While either end pauses no file data leaves, and nothing stalls."""
        self.begin(10**5, window=5 * DATAGRAM_BYTES)
        self.poll_all(1.0)
        self.hear(Pause(True), now=1.1)
        self.ack_all(1.1)
        self.assertEqual(self.offsets(self.poll_all(1.1)), [])
        self.turns(500.0, answer=True)
        self.assertIsNone(self.sender.outcome)
        self.hear(Pause(False), now=500.0)
        self.assertEqual(len(self.offsets(self.poll_all(500.0))), 5)


class PathSizeTests(SenderCase):
    """The search for larger datagrams."""

    def probe(self, now: float) -> Packet | None:
        return next((packet for packet in self.poll(now) if packet.size > 1300 and packet.data is None), None)

    def test_search(self) -> None:
        """Probes are pings; each that arrives makes datagrams larger, and a lost one is no loss."""
        self.begin(10**6, max_datagram=9000, window=10**5)
        self.poll_all(1.0)
        self.ack_all(1.01)
        sizes = []
        now = 1.01
        while (probe := self.probe(now)) is not None and probe.size < 2000:
            sizes.append(probe.size)
            self.assertEqual(probe.frames, [Ping()])
            now += 0.01
            self.ack_all(now)
        self.assertEqual((sizes, self.congestion.datagram), ([1452, 1472], 1472))
        self.ack_all(now, but=[packet.number for packet in self.packets if packet.size > 1500])
        self.poll_all(now + 0.01)
        self.assertIn(1472, {packet.size for packet in self.packets if packet.data is not None})
        lost = self.sender.lost
        large = 1
        gone = [packet.number for packet in self.packets if packet.size > 1500]
        for _ in range(200):
            now += 0.02
            if self.probe(now) is not None:
                large += 1
                gone = [packet.number for packet in self.packets if packet.size > 1500]
            self.ack_all(now, but=gone)
        self.assertEqual((large, self.sender.lost), (MAX_PROBES, lost))

    def test_floor(self) -> None:
        """The receiver keeps the numbers of probes and words in mind as long as their fate is open."""
        self.begin(10**5, max_datagram=1452, window=10 * DATAGRAM_BYTES)
        self.poll_all(1.0)
        self.ack_all(1.01)
        probe = self.probe(1.01)
        assert probe is not None
        floors = [
            frame.floor for packet in self.packets[-12:] for frame in packet.frames if isinstance(frame, Ask)
        ]
        self.assertEqual(floors[-1], probe.number)

    def test_refused_by_the_system(self) -> None:
        """A size that the system refuses to send is not used any more."""
        self.begin(10**5, mtu=8952, max_datagram=9000)
        self.assertEqual(self.sender.pushed_size, 8952)
        self.sender.too_big(1100, 1.0)
        self.sender.too_big(8952, 1.0)
        self.assertEqual((self.sender.pushed_size, self.congestion.datagram), (1472, 1472))

    def test_black_hole(self) -> None:
        """When only small datagrams arrive any more, all are small."""
        self.begin(10**6, mtu=1452, max_datagram=1452, window=10 * 1452)
        self.poll_all(1.0)
        self.ack_all(1.05)
        now = 1.05
        for _ in range(60):
            self.poll(now)
            small = RangeSet()
            for packet in self.packets:
                if packet.size <= 1200:
                    small.add(packet.number, packet.number + 1)
            if small:
                self.ack(*small.highest(64), now=now + 0.02)
            now = max(now + 0.02, min(self.sender.deadline() or now, now + 1.0))
        self.assertEqual(self.sender.pushed_size, 1200)
        self.assertGreater(self.sender.progress, 50_000)


class MeetingTests(SenderCase):
    """The path."""

    def test_no_fragments(self) -> None:
        """Nobody has so much to say to a sender that it would have to come in fragments."""
        self.begin(5000)
        train = cut(self.seal.header_of(0), self.seal.close(0, pad(encode(Ping()), 3000))[15:], 1200)
        self.sender.receive(train, 1200, "c", 1.0)
        self.assertEqual(self.sender.counters.refused, {"unexpected": 3})

    def test_daemon(self) -> None:
        """A client greets with the window it has, and proves its address; an ACK and the file follow."""
        self.begin(10**5, proven=False)
        self.hear(Hello(self.terms.token, 2000), now=1.0, size=1200)
        (packet,) = self.poll(1.0)
        nonce = packet.frames[0].nonce  # type: ignore[union-attr]
        self.hear(Response(nonce), now=1.1)
        self.supply()
        said = self.poll_all(1.1)
        self.assertIsInstance(said[0].frames[0], Ack)
        self.assertEqual(sum(len(packet.data.data) for packet in said if packet.data is not None), 2000)

    def test_client(self) -> None:
        """A client sends as soon as the daemon has taken its answer."""
        self.begin(5000, proven=False, client=True)
        self.assertTrue(self.poll(1.0)[0].has(Hello))
        self.assertIsNone(self.sender.wants())
        self.hear(Ack(0, 0, 10**6, ((0, 1),)), now=1.1)
        self.supply()
        self.assertEqual(len(self.offsets(self.poll_all(1.1))), 5)

    def test_changed_address(self) -> None:
        """On another path everything that was learned is forgotten."""
        self.begin(10**6, mtu=1452, max_datagram=1452)
        self.poll_all(1.0)
        self.hear(Ping(), now=1.1, address="new")
        trains = self.sender.poll(1.1)
        self.assertEqual(trains[0].address, "new")
        nonce = decode(self.opener.open(trains[0].buffers[0])[1])[0].nonce  # type: ignore[union-attr]
        self.hear(Response(nonce), now=1.2, address="new")
        self.assertEqual((self.congestion.resets, self.sender.pushed_size), (1, 1200))
        self.assertEqual(self.sender.proven, "new")
        self.assertTrue(self.poll_all(1.2))


class EndingTests(SenderCase):
    """How it ends otherwise."""

    def test_too_early(self) -> None:
        """Nobody verifies what was not sent; afterwards nothing changes that."""
        self.begin(5000)
        self.hear(Verified(), now=1.0)
        self.assertEqual(self.failure(), "bad-peer")
        self.hear(Verified(), now=1.0)
        self.assertEqual(self.failure(), "bad-peer")

    def test_abort(self) -> None:
        """A failure lets go of everything."""
        self.begin(5000)
        self.poll(1.0)
        self.sender.fail("cancelled", "Not now.")
        self.assertEqual((self.sender.held, self.poll(1.0)[0].frames), (0, [Abort("cancelled", "Not now.")]))

    def test_unexpected(self) -> None:
        """What only a sender says is nobody else's business."""
        self.begin(5000)
        self.hear(Digest(1, bytes(32)), now=1.0)
        self.hear(Pieces(0, (bytes(32),)), now=1.0)
        self.assertEqual(self.sender.counters.refused, {"unexpected": 2})

    @settings(deadline=None, max_examples=200)
    @given(payloads=st.lists(st.binary(min_size=1, max_size=80), max_size=4), kinds=st.data())
    def test_any_bytes(self, payloads: list[bytes], kinds: st.DataObject) -> None:
        """Whatever an authentic peer says, nothing is raised, and it ends or goes on."""
        self.begin(5000)
        now = 1.0
        for payload in payloads:
            self.poll(now)
            payload = bytes((kinds.draw(st.integers(0, 14)),)) + payload
            datagram = self.seal.close(self.number, payload)
            self.number += 1
            self.sender.receive(datagram, len(datagram), "c", now)
            now += 0.1

    @settings(deadline=None, max_examples=100)
    @given(beyond=st.integers(1, 2**40), below=st.integers(0, 3))
    def test_never_sent(self, beyond: int, below: int) -> None:
        """An acknowledgement of what was never sent is refused, whatever else it says."""
        self.begin(5000)
        self.poll_all(1.0)
        top = max(packet.number for packet in self.packets) + 1
        self.ack((below, top + beyond), now=1.1)
        self.assertEqual((self.failure(), self.sender.progress), ("bad-peer", 0))
