"""Large packets are cut into datagrams, and put together from them, whatever comes of those."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.arrivals import Arrivals
from pychat.transfer.fragments import (
    MAX_PARTIAL,
    MAX_PARTIAL_BYTES,
    MAX_SEALED_BYTES,
    Reassembly,
    Sealed,
    cut,
    whole,
)
from pychat.transfer.frames import (
    Ask,
    Data,
    decode,
    encode,
)
from pychat.transfer.opening import Opener
from pychat.transfer.packet import (
    DATAGRAM_BYTES,
    FRAGMENT_HEADER_BYTES,
    FRAGMENTS,
    FROM_CLIENT,
    FROM_DAEMON,
    HEADER_BYTES,
    MAX_FRAGMENTS,
    PacketError,
    transfer_of,
)
from pychat.transfer.seal import Seal
from tests.transfer.offers import make_content, make_terms

TERMS = make_terms(10**9)
OURS, THEIRS = Seal(TERMS, FROM_DAEMON), Seal(TERMS, FROM_CLIENT)
SIZE = 100
ROOM = SIZE - FRAGMENT_HEADER_BYTES
SOME = 5


def datagrams(number: int, length: int = 3 * ROOM, size: int = SIZE) -> list[bytes]:
    """A packet of so many sealed bytes, which are not really sealed."""
    train = cut(OURS.header_of(number), make_content(length, number), size)
    return [train[at : at + size] for at in range(0, len(train), size)]


def large(number: int, length: int, *, offset: int = 0, floor: int | None = None) -> list[bytes]:
    """A true packet with bytes of the file, in datagrams of 1,200 bytes."""
    (train,) = OURS.close_large(
        number, offset, memoryview(make_content(length, number)), DATAGRAM_BYTES, floor
    )
    return [train[at : at + DATAGRAM_BYTES] for at in range(0, len(train), DATAGRAM_BYTES)]


class CutTests(SynchronousTestCase):
    """`cut`."""

    def test_bytes(self) -> None:
        """The header of each says which packet it is of, which fragment it is, and how many there are."""
        found = datagrams(7, 2 * ROOM + 1)
        self.assertEqual([len(datagram) for datagram in found], [SIZE, SIZE, FRAGMENT_HEADER_BYTES + 1])
        for index, datagram in enumerate(found):
            self.assertEqual(datagram[0], FROM_DAEMON + FRAGMENTS)
            self.assertEqual(datagram[1:HEADER_BYTES], OURS.header_of(7)[1:])
            self.assertEqual(datagram[HEADER_BYTES:FRAGMENT_HEADER_BYTES], bytes((index, 3)))
            self.assertEqual(transfer_of(datagram), TERMS.transfer)
            self.assertIsNone(transfer_of(datagram[:FRAGMENT_HEADER_BYTES]))
        self.assertEqual(
            b"".join(each[FRAGMENT_HEADER_BYTES:] for each in found), make_content(2 * ROOM + 1, 7)
        )

    @settings(deadline=None)
    @given(
        length=st.integers(ROOM + 1, MAX_FRAGMENTS * ROOM),
        number=st.integers(0, 2**48 - 1),
        behind=st.booleans(),
    )
    def test_row(self, length: int, number: int, behind: bool) -> None:
        """What was cut is one row, whatever its length; and what follows it in the train is left alone."""
        train = b"".join(datagrams(number, length))
        short = len(train) % SIZE
        found = whole(memoryview(train + (b"?" * SIZE if behind and not short else b"")), 0, SIZE)
        count = -(-len(train) // SIZE)
        self.assertEqual(found, Sealed(number, make_content(length, number), len(train), count))

    def row(self, *found: bytes, at: int = 0) -> Sealed | None:
        return whole(memoryview(b"".join(found)), at, SIZE)

    def test_no_row(self) -> None:
        """Only all fragments of one packet, in order, are a row."""
        one, two, three = datagrams(1)
        self.assertIsNone(self.row(one, two))
        self.assertIsNone(self.row(two, three))
        self.assertIsNone(self.row(one, three, two))
        self.assertIsNone(self.row(one, two, datagrams(2)[2]))
        self.assertIsNone(self.row(one, two, three[:FRAGMENT_HEADER_BYTES]))
        self.assertIsNone(self.row(one[:HEADER_BYTES] + b"\0\1" + one[FRAGMENT_HEADER_BYTES:]))
        found = self.row(b"?" * SIZE, one, two, three, b"?", at=SIZE)
        assert found is not None
        self.assertEqual((found.number, found.data, found.nbytes), (1, make_content(3 * ROOM, 1), 3 * SIZE))

    def test_bounds(self) -> None:
        """What is too much for a packet is none, whether it comes in one train or not."""
        self.assertIsNotNone(self.row(*datagrams(1, MAX_FRAGMENTS * ROOM)))
        self.assertIsNone(self.row(*datagrams(1, MAX_FRAGMENTS * ROOM + 1)))
        for length in (MAX_SEALED_BYTES, MAX_SEALED_BYTES + 1):
            train = cut(OURS.header_of(1), bytes(length), 1452)
            found = whole(memoryview(train), 0, 1452)
            self.assertEqual(found is not None, length == MAX_SEALED_BYTES)


class ReassemblyTests(SynchronousTestCase):
    """`Reassembly`."""

    def setUp(self) -> None:
        self.reassembly = Reassembly()

    def add(self, number: int, datagram: bytes) -> Sealed | None:
        return self.reassembly.add(number, memoryview(datagram))

    def refusal(self, number: int, datagram: bytes) -> str:
        with self.assertRaises(PacketError) as caught:
            self.add(number, datagram)
        return caught.exception.code

    def test_malformed(self) -> None:
        """What cannot be a fragment, and more than a packet."""
        one = datagrams(1)[0]
        head, rest = one[:HEADER_BYTES], one[FRAGMENT_HEADER_BYTES:]
        for index, count in ((0, 0), (0, 1), (3, 3), (0, MAX_FRAGMENTS + 1), (255, 255)):
            self.assertEqual(self.refusal(1, head + bytes((index, count)) + rest), "malformed")
        self.assertIsNone(self.add(1, one))
        self.assertEqual(self.refusal(1, head + b"\1\3" + bytes(MAX_SEALED_BYTES - ROOM + 1)), "malformed")
        self.assertIsNone(self.add(1, head + b"\1\3" + bytes(MAX_SEALED_BYTES - ROOM - 1)))
        self.assertEqual(self.refusal(1, one), "replayed")
        self.assertEqual(self.reassembly.held, MAX_SEALED_BYTES - 1)

    def test_another_count(self) -> None:
        """Who makes up a fragment of a packet with another number of them spoils nothing."""
        one, two, three = datagrams(1)
        self.add(1, one[:HEADER_BYTES] + b"\1\4" + b"made up")
        for datagram in (three, one):
            self.assertIsNone(self.add(1, datagram))
        self.assertEqual(self.add(1, two), Sealed(1, make_content(3 * ROOM, 1), SIZE, 3))
        self.assertEqual(self.reassembly.held, len(b"made up"))
        self.reassembly.forget(0, 1)
        self.assertEqual(self.reassembly.held, len(b"made up"))
        self.reassembly.forget(0, 2)
        self.assertEqual(self.reassembly.held, 0)

    def test_bounded(self) -> None:
        """Of packets that do not get whole only the newest few are kept; the others do not begin anew."""
        total = 10 * MAX_PARTIAL
        for number in range(total):
            self.add(number, datagrams(number)[0])
        self.assertEqual(self.reassembly.held, MAX_PARTIAL * ROOM)
        self.assertEqual(self.reassembly.dropped, total - MAX_PARTIAL)
        self.assertEqual(self.refusal(0, datagrams(0)[1]), "incomplete")
        oldest = total - MAX_PARTIAL
        for number in (oldest, total - 1):
            self.add(number, datagrams(number)[1])
            self.assertIsNotNone(self.add(number, datagrams(number)[2]), number)

    def test_bounded_bytes(self) -> None:
        """Nor do they take more memory than they may."""
        head = datagrams(0)[0][:HEADER_BYTES]
        for number in range(2 * MAX_PARTIAL):
            self.add(number, head + b"\0\2" + bytes(MAX_SEALED_BYTES - 1))
            self.assertLessEqual(self.reassembly.held, MAX_PARTIAL_BYTES)
        self.assertGreater(self.reassembly.held, MAX_PARTIAL_BYTES - MAX_SEALED_BYTES)
        self.reassembly.add(99, memoryview(head + b"\0\2" + bytes(100)), 1000)
        self.assertEqual(self.reassembly.held, 100)

    @settings(deadline=None)
    @given(
        order=st.permutations([(number, index) for number in range(SOME) for index in range(4)]),
        lost=st.sets(st.tuples(st.integers(0, SOME - 1), st.integers(0, 3)), max_size=3),
        again=st.integers(1, 2),
    )
    def test_any_order(self, order: list[tuple[int, int]], lost: set[tuple[int, int]], again: int) -> None:
        """In whatever order they come: what misses nothing is put together once, with its last fragment."""
        self.setUp()
        cuts = {number: datagrams(number, 3 * ROOM + 1 + number) for number in range(SOME)}
        complete: list[int] = []
        for number, index in order:
            if (number, index) in lost:
                continue
            for turn in range(again):
                if turn and number in complete:
                    continue  # whoever knows that it is here does not ask
                try:
                    found = self.add(number, cuts[number][index])
                except PacketError as error:
                    self.assertEqual((error.code, turn), ("replayed", 1))
                    continue
                if found is not None:
                    content = make_content(3 * ROOM + 1 + number, number)
                    self.assertEqual(found, Sealed(number, content, len(cuts[number][index]), 4))
                    complete.append(number)
        self.assertEqual(sorted(complete), sorted(set(range(SOME)) - {number for number, _ in lost}))
        if not lost:
            self.assertEqual(self.reassembly.held, 0)


class OpeningTests(SynchronousTestCase):
    """`Opener` takes large packets, too."""

    def setUp(self) -> None:
        self.arrivals = Arrivals()
        self.refused: Counter[str] = Counter()
        self.opener = Opener(Seal(TERMS, FROM_DAEMON), self.arrivals, self.refused)

    def open(self, *found: bytes, size: int = DATAGRAM_BYTES) -> list[tuple[int, int, int]]:
        """Number, bytes of the file and of datagrams of each large packet, and 0 bytes of the file for small ones."""
        out = []
        for number, payloads, nbytes in self.opener.open(b"".join(found), size):
            self.arrivals.add(number, number + len(payloads), 1.0)
            for each, payload in enumerate(payloads, number):
                data = [frame for frame in decode(payload) if isinstance(frame, Data)]
                for one in data:
                    self.assertEqual(bytes(one.data), make_content(len(one.data), each))
                out.append((each, sum(len(one.data) for one in data), nbytes))
        return out

    def test_row(self) -> None:
        """A packet that fills a train is opened as one."""
        found = large(5, 50_000, floor=3)
        self.assertEqual(self.open(*found), [(5, 50_000, sum(map(len, found)))])
        self.assertEqual(self.open(*found), [])
        self.assertEqual(self.refused, {"replayed": len(found)})

    def test_ask(self) -> None:
        """It may ask for an acknowledgement."""
        ((_, (payload,), _),) = list(self.opener.open(b"".join(large(5, 50_000, floor=3)), DATAGRAM_BYTES))
        ask, data = decode(payload)
        self.assertEqual(ask, Ask(3))
        self.assertIsInstance(data, Data)

    def test_torn(self) -> None:
        """Fragments in two trains, and out of order."""
        found = large(5, 5000)
        self.assertEqual(self.open(found[4], size=len(found[4])), [])
        self.assertEqual(self.open(found[0], found[2], found[1]), [])
        self.assertEqual(self.open(found[3]), [(5, 5000, DATAGRAM_BYTES)], "what came now")
        self.assertEqual(self.open(found[3]), [])
        self.assertEqual(self.refused, {"replayed": 1})

    def test_between_others(self) -> None:
        """Small packets before and behind it, in the same train."""
        small = [
            OURS.close(number, encode(Ask(number)).ljust(DATAGRAM_BYTES - 31, b"\0")) for number in (1, 2, 9)
        ]
        room = DATAGRAM_BYTES - FRAGMENT_HEADER_BYTES
        found = large(5, 3 * room - 25)
        self.assertEqual([len(each) for each in found], [DATAGRAM_BYTES] * 3)
        out = self.open(*small[:2], *found, small[2])
        self.assertEqual(out, [(1, 0, 1200), (2, 0, 1200), (5, 3 * room - 25, 3600), (9, 0, 1200)])
        self.assertEqual(self.refused, {})

    def test_forged(self) -> None:
        """One bit of one fragment: the packet does not open, and may come again."""
        found = large(5, 5000)
        bad = found[2][:-1] + bytes((found[2][-1] ^ 1,))
        self.assertEqual(self.open(*found[:2], bad, *found[3:]), [])
        self.assertEqual(self.refused, {"forged": len(found)})
        self.assertEqual(self.open(*found), [(5, 5000, sum(map(len, found)))])

    def test_no_longer_needed(self) -> None:
        """Fragments of what came otherwise, or is settled, are let go."""
        self.open(large(5, 5000)[0])
        self.open(large(6, 5000)[0])
        self.assertEqual(self.opener.held, 2 * (DATAGRAM_BYTES - FRAGMENT_HEADER_BYTES))
        self.open(*large(5, 5000))
        self.assertEqual(self.opener.held, DATAGRAM_BYTES - FRAGMENT_HEADER_BYTES)
        self.open(*large(8, 5000))
        self.arrivals.forget_below(7)
        self.open(large(9, 5000)[0])
        self.assertEqual(self.opener.held, DATAGRAM_BYTES - FRAGMENT_HEADER_BYTES, "of packet 9 alone")
        self.assertEqual(self.open(large(6, 5000)[1]), [])
        self.assertEqual(self.refused, {"replayed": 1})
        self.opener.clear()
        self.assertEqual(self.opener.held, 0)

    def test_crowded_out(self) -> None:
        """Fragments that have to go are counted."""
        for number in range(MAX_PARTIAL + 3):
            self.open(large(number, 5000)[0])
        self.assertEqual(self.refused, {"incomplete": 3})

    def test_refusal(self) -> None:
        """Whoever takes none refuses each, and takes what else is in the train."""
        small = OURS.close(1, encode(Ask(0)).ljust(DATAGRAM_BYTES - 31, b"\0"))
        train = b"".join((small, *large(5, 5000)))
        rows = list(self.opener.open(train, DATAGRAM_BYTES, 0, "unproven"))
        self.assertEqual([number for number, _, _ in rows], [1])
        self.assertEqual(self.refused, {"unproven": len(large(5, 5000))})
        self.assertEqual(self.opener.held, 0)

    def test_others(self) -> None:
        """A fragment of another direction or transfer, and one that is too short, are none."""
        (theirs,) = THEIRS.close_large(5, 0, memoryview(bytes(3000)), DATAGRAM_BYTES, None)
        other = Seal(make_terms(10**9, transfer=b"another."), FROM_DAEMON)
        (others,) = other.close_large(5, 0, memoryview(bytes(3000)), DATAGRAM_BYTES, None)
        self.assertEqual(self.open(theirs, size=DATAGRAM_BYTES), [])
        self.assertEqual(self.open(others, size=DATAGRAM_BYTES), [])
        self.assertEqual(self.refused, {"malformed": 6})
        for length in (1, HEADER_BYTES, FRAGMENT_HEADER_BYTES):
            self.assertEqual(self.open(large(5, 3000)[0][:length], size=length), [])
        self.assertEqual(self.refused, {"malformed": 9})

    @settings(deadline=None)
    @given(
        data=st.data(),
        packets=st.lists(st.sampled_from([0, 1300, 3000, 20_000]), min_size=1, max_size=4),
        segment=st.sampled_from([DATAGRAM_BYTES, 1000]),
    )
    def test_whatever_comes(self, data: st.DataObject, packets: list[int], segment: int) -> None:
        """Trains of fragments and packets, mixed, cut and changed: nothing is raised, nothing wrong comes out."""
        self.setUp()
        train: list[bytes] = []
        for number, length in enumerate(packets):
            train += (
                large(number, length)
                if length
                else [OURS.close(number, encode(Ask(number)).ljust(1169, b"\0"))]
            )
        order = data.draw(st.lists(st.sampled_from(range(len(train))), max_size=len(train) + 3))
        bent = data.draw(
            st.dictionaries(st.sampled_from(range(len(train))), st.integers(0, 1199), max_size=2)
        )
        for index in order:
            one = bytearray(train[index])
            if index in bent:
                one[bent[index] % len(one)] ^= 1 + data.draw(st.integers(0, 254))
            for number, length, _ in self.open(bytes(one), size=segment):
                self.assertIn(length, (0, packets[number]))
        self.assertLessEqual(self.opener.held, sum(map(len, train)))
