"""The bytes of a datagram: what is written is read, and nothing else is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.errors import TransferError
from pychat.transfer.frames import (
    ASK_BYTES,
    DATA_HEADER_BYTES,
    MAX_ACK_RANGES,
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
    Measure,
    Metrics,
    Pause,
    Pieces,
    Ping,
    Response,
    Verified,
    decode,
    encode,
)
from pychat.transfer.packet import (
    DATAGRAM_BYTES,
    FROM_CLIENT,
    FROM_DAEMON,
    OVERHEAD_BYTES,
    PacketError,
    pad,
    transfer_of,
)
from pychat.transfer.seal import Seal
from pychat.transfer.terms import Terms, Train
from tests.transfer.offers import make_content, make_terms

U16, U32, U64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@st.composite
def ack_ranges(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Half-open ranges with gaps, highest first."""
    lengths = draw(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=64))
    ranges, at = [], draw(st.integers(0, 10))
    for gap, length in lengths:
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    return tuple(reversed(ranges))


FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, st.binary(min_size=16, max_size=16), U64),
    st.builds(Challenge, st.binary(min_size=8, max_size=8)),
    st.builds(Response, st.binary(min_size=8, max_size=8)),
    st.builds(Ack, st.integers(0, 2**32 - 1), U64, U64, ack_ranges()),
    st.builds(Ask, U64),
    st.just(Ping()),
    st.builds(Digest, U64, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1)),
    st.just(Verified()),
    st.builds(
        Pieces,
        st.integers(0, 2**32 - 1),
        st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=MAX_PIECES).map(tuple),
    ),
    st.builds(Again, U64, U64),
    st.builds(Pause, st.booleans()),
    st.builds(
        Metrics,
        *(U64, U64, U32, U32, U32, U64, U64, U32, U16),
        st.from_regex(r"[a-z][a-z-]{0,15}", fullmatch=True),
    ),
    st.builds(Measure, U16),
    st.builds(
        Abort,
        st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True),
        st.text(st.characters(exclude_categories=["C", "Z"]), max_size=90),
    ),
)
DATA = st.builds(Data, U64, st.binary(min_size=1, max_size=1500))


class FrameTests(SynchronousTestCase):
    """`encode` and `decode`."""

    @settings(deadline=None, max_examples=300)
    @given(frames=st.lists(FRAMES, max_size=5), data=st.none() | DATA, padding=st.integers(0, 20))
    def test_round_trip(self, frames: list[Frame], data: Data | None, padding: int) -> None:
        """Any frames in any order, with data or padding behind them, come out as they went in."""
        payload = b"".join(map(encode, frames))
        if data is not None:
            frames = [*frames, data]
            payload += encode(data)
        elif frames:
            payload += bytes(padding)
        if frames:
            self.assertEqual(decode(payload), frames)

    @settings(deadline=None, max_examples=1000)
    @given(payload=st.binary(max_size=120))
    def test_any_bytes(self, payload: bytes) -> None:
        """Any bytes are frames that read the same again, or `PacketError`."""
        try:
            frames = decode(payload)
        except PacketError as error:
            self.assertEqual(error.code, "malformed")
        else:
            self.assertEqual(decode(b"".join(map(encode, frames))), frames)

    @settings(deadline=None, max_examples=500)
    @given(frames=st.lists(FRAMES, min_size=1, max_size=3), data=st.data())
    def test_mutations(self, frames: list[Frame], data: st.DataObject) -> None:
        """Frames cut short or with a byte changed raise nothing but `PacketError` either."""
        payload = bytearray(b"".join(map(encode, frames)))
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        del payload[data.draw(st.integers(1, len(payload))) :]
        try:
            decode(bytes(payload))
        except PacketError:
            pass

    def test_malformed(self) -> None:
        """What is refused, one by one."""
        ack = encode(Ack(0, 0, 0, ((5, 6), (1, 2))))
        for payload in (
            b"",
            b"\0\0",
            b"\0\1",
            b"\x06\0\1",
            b"\x0e",
            b"\x0b\0\0\0\0\0",
            b"\x0b\0\0\0\0\x21" + bytes(33 * 32),
            encode(Pieces(0, (bytes(32),)))[:-1],
            encode(Again(0, 5))[:-1],
            b"\x0d\x02",
            b"\x0d",
            b"\xff",
            encode(Data(0, b"")),
            ack[:-1],
            ack[:21] + b"\0" + ack[22:],
            ack[:21] + b"\xff" + ack[22:],
            encode(Ack(0, 0, 0, ((5, 5),))),
            encode(Ack(0, 0, 0, ((5, 6), (4, 5)))),
            encode(Ack(0, 0, 0, ((1, 2), (5, 6)))),
            encode(Ack(0, 0, 0, ((1, 2**48 + 1),))),
            encode(Digest(1, b"d" * 32))[:-1],
            b"\x09\x00\x00\x00",
            b"\x09\x03A-b\x00\x00",
            b"\x09\x21" + b"a" * 33 + b"\0\0",
            b"\x09\x01a\x00\x09short",
            b"\x09\x01a\x01\x91" + b"s" * 401,
        ):
            with self.assertRaises(PacketError, msg=payload):
                decode(payload)

    def test_not_written(self) -> None:
        """An acknowledgement of nothing, or of more ranges than a peer reads, is a fault of ours."""
        many = tuple((2 * number, 2 * number + 1) for number in range(MAX_ACK_RANGES, -1, -1))
        self.assertRaises(ValueError, encode, Ack(0, 0, 0, ()))
        self.assertRaises(ValueError, encode, Ack(0, 0, 0, many))
        self.assertRaises(ValueError, encode, Pieces(0, ()))
        self.assertRaises(ValueError, encode, Pieces(0, (bytes(32),) * (MAX_PIECES + 1)))

    def test_largest_acknowledgement(self) -> None:
        """The longest acknowledgement still fits into a datagram."""
        ranges = tuple((2 * number, 2 * number + 1) for number in range(MAX_ACK_RANGES, 0, -1))
        self.assertLessEqual(len(encode(Ack(2**40, 2**64 - 1, 0, ranges))) + OVERHEAD_BYTES, DATAGRAM_BYTES)

    def test_sentence_of_a_peer(self) -> None:
        """What a peer says may reach a terminal: what is not printable is replaced, and half characters vanish."""
        self.assertEqual(decode(encode(Abort("x", "a\x1b[2Jb\n"))), [Abort("x", "a\ufffd[2Jb\ufffd")])
        (frame,) = decode(encode(Abort("x", "é" * 300)))
        assert isinstance(frame, Abort)
        self.assertEqual(frame.sentence, "é" * 200)
        self.assertEqual(decode(b"\x09\x01a\x00\x01\xff"), [Abort("a", "\ufffd")])


class SealTests(SynchronousTestCase):
    """`Seal`."""

    def test_round_trip(self) -> None:
        """What one end closes the other opens, and the header says what it is."""
        for kind in (FROM_CLIENT, FROM_DAEMON):
            ours, theirs = Seal(make_terms(), kind), Seal(make_terms(), kind)
            datagram = ours.close(2**48 - 1, b"payload")
            self.assertEqual(datagram[0], kind)
            self.assertEqual(transfer_of(datagram), b"transfer")
            self.assertEqual(len(datagram), 7 + OVERHEAD_BYTES)
            self.assertEqual(theirs.open(datagram), (2**48 - 1, b"payload"))
            self.assertEqual(theirs.open(memoryview(datagram)), (2**48 - 1, b"payload"))

    def test_known_bytes(self) -> None:
        """The datagram that `docs/transfer.md` shows."""
        datagram = Seal(make_terms(), FROM_CLIENT).close(1, encode(Ping()))
        self.assertEqual(datagram.hex(), KNOWN_DATAGRAM)

    def test_every_bit_counts(self) -> None:
        """A datagram with any bit changed is not opened."""
        seal = Seal(make_terms(), FROM_DAEMON)
        datagram = seal.close(7, b"x")
        for at in range(len(datagram)):
            for bit in range(8):
                forged = bytearray(datagram)
                forged[at] ^= 1 << bit
                with self.assertRaises(PacketError):
                    seal.open(forged)

    def test_directions(self) -> None:
        """A datagram sent back to where it came from is not opened, nor one of another key or transfer."""
        daemon = Seal(make_terms(), FROM_DAEMON)
        datagram = Seal(make_terms(), FROM_CLIENT).close(7, b"x")
        self.assertRaises(PacketError, daemon.open, datagram)
        reflected = bytes((FROM_DAEMON,)) + datagram[1:]
        self.assertRaises(PacketError, daemon.open, reflected)
        for other in (
            Terms(b"transfer", b"t" * 16, b"K" * 32, 0),
            Terms(b"another!", b"t" * 16, b"k" * 32, 0),
        ):
            self.assertRaises(PacketError, daemon.open, Seal(other, FROM_DAEMON).close(7, b"x"))

    def test_short(self) -> None:
        """What is too short for a frame is not looked at."""
        seal = Seal(make_terms(), FROM_CLIENT)
        datagram = seal.close(0, b"x")
        for length in range(len(datagram)):
            self.assertRaises(PacketError, seal.open, datagram[:length])
            self.assertIsNone(transfer_of(datagram[:length]))
        self.assertIsNone(transfer_of(b"\x11" + datagram[1:]))

    @settings(deadline=None, max_examples=200)
    @given(length=st.integers(1, 3000), room=st.integers(20, 700), ask=st.booleans())
    def test_trains(self, length: int, room: int, ask: bool) -> None:
        """A train is datagrams of one size, but the last, with the bytes one after the other; the last one asks."""
        content = make_content(length)
        over = (length - 1) % room + 1 - (room - ASK_BYTES)
        if ask and over > 0:
            length = max(length - over, 1)
        view = memoryview(content)[:length]
        seal = Seal(make_terms(), FROM_DAEMON)
        train = Train(seal.close_data(7, 100, view, room, 3 if ask else None), room + 9 + OVERHEAD_BYTES, "a")
        datagrams = list(train.datagrams())
        self.assertEqual(len(datagrams), -(-length // room))
        at = 0
        for index, datagram in enumerate(datagrams):
            number, payload = seal.open(datagram)
            *asks, data = decode(payload)
            assert isinstance(data, Data)
            self.assertEqual((number, data.offset), (7 + index, 100 + at))
            self.assertEqual(bytes(data.data), content[at : at + len(data.data)])
            self.assertEqual(asks, [Ask(3)] if ask and index == len(datagrams) - 1 else [])
            if index < len(datagrams) - 1:
                self.assertEqual(len(datagram), room + DATA_HEADER_BYTES + OVERHEAD_BYTES)
            at += len(data.data)
        self.assertEqual(at, length)

    def test_padding(self) -> None:
        """A padded greeting makes a full datagram."""
        payload = pad(encode(Hello(b"t" * 16, 5)), DATAGRAM_BYTES)
        self.assertEqual(len(Seal(make_terms(), FROM_CLIENT).close(0, payload)), DATAGRAM_BYTES)
        self.assertEqual(decode(payload), [Hello(b"t" * 16, 5)])

    def test_errors(self) -> None:
        """Everything that can be wrong with a datagram is one kind of error."""
        self.assertTrue(issubclass(PacketError, TransferError))


KNOWN_DATAGRAM = "417472616e736665720000000000018b50d41d4a65d01fa54846402da98c0c72"
