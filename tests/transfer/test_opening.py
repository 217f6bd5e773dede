"""Trains are opened row by row, and each packet once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.arrivals import Arrivals
from pychat.transfer.frames import (
    DATA,
    Ask,
    Data,
    Ping,
    decode,
    encode,
)
from pychat.transfer.opening import SMALL_BYTES, Opener
from pychat.transfer.packet import (
    FROM_CLIENT,
    FROM_DAEMON,
    MAX_PACKET_NUMBER,
    OVERHEAD_BYTES,
    PacketError,
)
from pychat.transfer.seal import MAX_ROW, Seal, file_data
from pychat.transfer.terms import MAX_SIZE
from tests.transfer.offers import make_content, make_terms

TERMS = make_terms(10**6)
OURS, THEIRS = Seal(TERMS, FROM_DAEMON), Seal(TERMS, FROM_CLIENT)
SIZE = 20 + OVERHEAD_BYTES


def datagram(number: int, length: int = 20, seal: Seal = OURS) -> bytes:
    """Packet `number`, of `length` bytes that say which."""
    return seal.close(number, b"%20d" % number + bytes(length - 20))


class OpenerTests(SynchronousTestCase):
    """`Opener`."""

    def setUp(self) -> None:
        self.arrivals = Arrivals()
        self.refused: Counter[str] = Counter()
        self.opener = Opener(Seal(TERMS, FROM_DAEMON), self.arrivals, self.refused)

    def open(self, *datagrams: bytes, size: int = SIZE) -> list[tuple[int, int]]:
        """First numbers and lengths of the rows that were opened; that they hold what they should is looked at."""
        rows = []
        for first, payloads, nbytes in self.opener.open(b"".join(datagrams), size):
            for number, payload in enumerate(payloads, first):
                self.assertEqual(int(payload[:20]), number)
                self.assertEqual(len(payload) + OVERHEAD_BYTES, nbytes)
            self.arrivals.add(first, first + len(payloads), 1.0)
            rows.append((first, len(payloads)))
        return rows

    def test_row(self) -> None:
        """What follows on one another is a row, up to a bound; what is shorter is by itself."""
        count = 2 * MAX_ROW + 5
        shorter = THEIRS.close(0, b"x")  # of the other direction
        rows = self.open(*map(datagram, range(count)), shorter)
        self.assertEqual(rows, [(0, MAX_ROW), (MAX_ROW, MAX_ROW), (2 * MAX_ROW, 5)])
        self.assertEqual(self.refused, {"malformed": 1})
        self.assertEqual(self.arrivals.largest, count - 1)

    def test_gaps(self) -> None:
        """A number that is left out ends a row."""
        self.assertEqual(self.open(*map(datagram, [0, 1, 3, 5, 6, 7])), [(0, 2), (3, 1), (5, 3)])

    def test_replays(self) -> None:
        """A number counts once: in a train, in a row, and across trains."""
        self.assertEqual(self.open(*map(datagram, [5, 6, 5, 6, 7, 8])), [(5, 2), (7, 2)])
        self.assertEqual(self.refused, {"replayed": 2})
        self.assertEqual(self.open(*map(datagram, [3, 4, 5, 6, 7, 8, 9])), [(3, 1), (4, 1), (9, 1)])
        self.assertEqual(self.refused, {"replayed": 6})
        self.assertEqual(list(self.arrivals.seen), [(3, 10)])

    def test_forged(self) -> None:
        """One that does not open costs the others nothing, wherever it is, and its number may come again."""
        for bad in range(4):
            self.setUp()
            datagrams = [datagram(number) for number in range(4)]
            datagrams[bad] = datagrams[bad][:-1] + bytes([datagrams[bad][-1] ^ 1])
            self.assertEqual(self.open(*datagrams), [(number, 1) for number in range(4) if number != bad])
            self.assertEqual(self.refused, {"forged": 1})
            self.assertEqual(self.open(datagram(bad)), [(bad, 1)])

    def test_forged_header(self) -> None:
        """A number that was changed so that it follows does not make a packet of it."""
        forged = bytearray(datagram(7))
        forged[9:15] = (1).to_bytes(6, "big")
        self.assertEqual(self.open(datagram(0), bytes(forged), datagram(2)), [(0, 1), (2, 1)])
        self.assertEqual(self.refused, {"forged": 1})

    def test_others(self) -> None:
        """What is of another transfer or direction, in the middle of a train, is no part of a row."""
        other = datagram(2, seal=THEIRS)
        self.assertEqual(self.open(datagram(0), datagram(1), other, datagram(3)), [(0, 2), (3, 1)])
        self.assertEqual(self.open(other, other, datagram(4), datagram(5)), [(4, 2)])
        self.assertEqual(self.refused, {"malformed": 3})

    def test_last_numbers(self) -> None:
        """The last number that there is ends a row, and is not carried into the header."""
        last = [datagram(MAX_PACKET_NUMBER - 1), datagram(MAX_PACKET_NUMBER)]
        beyond = bytearray(datagram(0))
        beyond[:15] = (int.from_bytes(last[1][:15], "big") + 1).to_bytes(15, "big")
        self.assertEqual(self.open(*last, bytes(beyond)), [(MAX_PACKET_NUMBER - 1, 2)])
        self.assertEqual(self.refused, {"malformed": 1})

    def test_large(self) -> None:
        """Large datagrams are opened one by one, and so are those too small to hold anything refused."""
        size = SMALL_BYTES + 1
        large = [datagram(number, size - OVERHEAD_BYTES) for number in range(3)]
        self.assertEqual(self.open(*large, size=size), [(0, 1), (1, 1), (2, 1)])
        for size in (1, 15, OVERHEAD_BYTES):
            self.refused.clear()
            self.assertEqual(self.open(bytes(4 * size), size=size), [])
            self.assertEqual(self.refused, {"malformed": 4})

    @settings(deadline=None)
    @given(
        numbers=st.lists(st.integers(0, 30), max_size=40),
        forged=st.sets(st.integers(0, 39)),
        cut=st.integers(0, SIZE - 1),
    )
    def test_whatever_comes(self, numbers: list[int], forged: set[int], cut: int) -> None:
        """What is opened, and what is refused, is what looking at one after the other gives."""
        self.setUp()
        datagrams, expected, refused, seen = [], [], Counter[str](), set()
        for index, number in enumerate(numbers):
            data = bytearray(datagram(number))
            if index in forged:
                data[-1] ^= 1
            if number in seen:
                refused["replayed"] += 1
            elif index in forged:
                refused["forged"] += 1
            else:
                seen.add(number)
                expected.append(number)
            datagrams.append(bytes(data))
        if cut:
            refused["malformed" if cut <= OVERHEAD_BYTES else "forged"] += 1
        rows = self.open(*datagrams, datagram(99)[:cut])
        self.assertEqual([first + index for first, count in rows for index in range(count)], expected)
        self.assertEqual(self.refused, refused)


class FileDataTests(SynchronousTestCase):
    """`file_data`."""

    @settings(deadline=None)
    @given(
        offsets=st.lists(st.integers(0, 5), min_size=1, max_size=20),
        room=st.integers(1, 40),
        kinds=st.lists(st.sampled_from([DATA, DATA, DATA, DATA + 1]), min_size=20, max_size=20),
    )
    def test_prefix(self, offsets: list[int], room: int, kinds: list[int]) -> None:
        """It is the packets with file data that follow on one another, from the first one on."""
        content = make_content(room)
        opened, at, expected, ended = [], 1000, 0, False
        for index, (skip, kind) in enumerate(zip(offsets, kinds, strict=False)):
            at += 0 if skip else 1
            ended = ended or kind != DATA or (index > 0 and not skip)
            expected += not ended
            opened.append(bytes((kind,)) + at.to_bytes(8, "big") + content)
            at += room
        count, offset, data = file_data(opened)
        self.assertEqual((count, data), (expected, content * expected))
        if count:
            self.assertEqual(offset, int.from_bytes(opened[0][1:9], "big"))

    def test_nothing_in_it(self) -> None:
        """What holds no byte of a file, or one that no file has, is left to who reads frame by frame."""
        self.assertEqual(file_data([encode(Ping()), encode(Ping())])[0], 0)
        self.assertEqual(file_data([bytes((DATA,)) + bytes(8)] * 2)[0], 0)
        for offset in (MAX_SIZE + 1, 2**64 - 2):
            frames = [encode(Data(min(offset + at, 2**64 - 1), b"x")) for at in range(2)]
            self.assertEqual(file_data(frames)[0], 0)

    def test_ask(self) -> None:
        """A last packet that asks for an acknowledgement is not among them."""
        opened = [encode(Data(0, b"x" * 20)), encode(Ask(0)) + encode(Data(20, b"x" * 11))]
        self.assertEqual(file_data(opened), (1, 0, b"x" * 20))
        self.assertEqual([type(frame) for frame in decode(opened[1])], [Ask, Data])


class RowTests(SynchronousTestCase):
    """`Seal.open_row`."""

    def test_forged(self) -> None:
        """Of a row of which one is forged nothing is known."""
        train = datagram(0) + datagram(1)[:-1] + b"?"
        with self.assertRaises(PacketError) as caught:
            OURS.open_row(train, 0, SIZE, 2, -1)
        self.assertEqual(caught.exception.code, "forged")

    def test_bounds(self) -> None:
        """It has two packets at least, with numbers above the one that was given."""
        train = b"?" + datagram(4) + datagram(5)
        self.assertEqual(len(OURS.open_row(train, 1, SIZE, 2, 3)[1]), 2)
        self.assertEqual(OURS.open_row(train, 1, SIZE, 2, 4)[1], [])
        self.assertEqual(OURS.open_row(train, 1, SIZE, 1, 3)[1], [])
