"""Framing: telnet's sequences out, lines cut, long ones skipped, memory flat, however the network cuts."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.framing import SUB_LIMIT, LineSplitter, TelnetFilter
from tests.chatkit import examples

TIMING_MARK = b"\xff\xfd\x06"
MARK_REPLY = b"\xff\xfb\x06"

# One telnet sequence in a whole stream, by the letter of RFC 854 and 855; the last one may be cut off.
SEQUENCE = re.compile(
    rb"\xff(?:[\xfb-\xfe](?:[^\n]|\Z)|\xfa(?:[^\xff]|\xff[^\xf0])*(?:\xff\xf0|\xff?\Z)|(\xff)|[\xf0-\xf9]|\Z)"
    rb"|(\xff)[\xfb-\xfe](\n)"
)


def strip_telnet(stream: bytes) -> bytes:
    """What is left of a whole stream, by one regular expression."""
    return SEQUENCE.sub(lambda match: b"".join(group or b"" for group in match.groups()), stream)


def split_lines(stream: bytes, limit: int) -> tuple[list[bytes | None], bytes]:
    """The lines of a whole stream and the rest at its end, by the naive way."""
    *whole, rest = stream.split(b"\n")
    lines = [None if len(line) + 1 > limit else re.sub(rb"\r\Z", b"", line) for line in whole]
    return (lines, rest) if len(rest) + 1 <= limit else ([*lines, None], b"")


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut a stream at these places."""
    ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    return [stream[a:b] for a, b in zip([0, *ends], ends, strict=False)]


TELNET_STREAMS = st.lists(
    st.sampled_from(
        [b"\xff", b"\xff\xff", b"\xfa", b"\xf0", b"\xfb", b"\xfd", b"\x06", TIMING_MARK, b"\xff\xf4",
         b"\xff\xfa\x18\x00xterm\xff\xf0", b"\xff\xfa\xff\xff\xff\xf0", b"\xff\xfc\x01", b"\xff\xfe\n",
         b"<ping>a\r\n", b"\n", b"\r", b"\0", b"b"]
    ),
    max_size=30,
).map(b"".join)  # fmt: skip
LINE_STREAMS = st.lists(
    st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bcd", b"efghij", b"k" * 20]), max_size=30
).map(b"".join)
PLACES = st.lists(st.integers(0, 200), max_size=20)


class Telnet(SynchronousTestCase):
    """`TelnetFilter` leaves what was typed."""

    def test_sequences(self) -> None:
        """Each kind of sequence goes, wherever it stands, and what is around it stays."""
        for raw, clean in [
            (b"<ping>x\n", b"<ping>x\n"),
            (b"a\xff\xfb\x1fb", b"ab"),  # WILL NAWS
            (b"a\xff\xfc\x1fb", b"ab"),  # WONT
            (b"a\xff\xfd\x01b", b"ab"),  # DO ECHO
            (b"a\xff\xfe\x01b", b"ab"),  # DONT
            (b"a\xff\xf4b", b"ab"),  # IP, which Ctrl-C sends
            (b"a\xff\xf1b", b"ab"),  # NOP
            (b"a\xff\xf0b", b"ab"),  # SE that ends nothing
            (b"a\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0b", b"ab"),  # NAWS 80x24
            (b"a\xff\xfa\x1f\xff\xff\x00\xff\xf0b", b"ab"),  # a doubled IAC does not end it
            (b"a\xff\xfa\n\xff\xf1\n\xff\xf0b", b"ab"),  # nor does another command, nor a line end
            (b"a\xff\xffb", b"a\xffb"),  # a literal 0xFF
            (b"hi\xff\n<ping>", b"hi\xff\n<ping>"),  # no sequence: a text that is not UTF-8
            (b"hi\xff<ping>", b"hi\xff<ping>"),
            (b"hi\xff\xfe\n<ping>", b"hi\xff\n<ping>"),  # no option is a line end
            (b"a\xff", b"a"),
            (b"a\xff\xfd", b"a"),
            (b"a\xff\xfa\x1f", b"a"),
        ]:
            self.assertEqual(TelnetFilter().feed(raw), (clean, b""), raw)

    def test_timing_mark(self) -> None:
        """DO TIMING-MARK is answered, for telnet throws away what is typed after Ctrl-C until it is."""
        self.assertEqual(TelnetFilter().feed(b"a\xff\xf4" + TIMING_MARK + b"\n"), (b"a\n", MARK_REPLY))

    def test_nothing_else_is_answered(self) -> None:
        """WILL, WONT and DONT TIMING-MARK, and DO of any other option, get no answer."""
        for verb in (0xFB, 0xFC, 0xFE):
            self.assertEqual(TelnetFilter().feed(bytes((0xFF, verb, 6))), (b"", b""))
        for option in set(range(256)) - {6, 10}:
            self.assertEqual(TelnetFilter().feed(bytes((0xFF, 0xFD, option))), (b"", b""))

    def test_endless_subnegotiation(self) -> None:
        """One that is too long is over, and its line is one that is not UTF-8."""
        filtered = TelnetFilter()
        long = b"\xff\xfa" + b"x" * 100_000
        clean = b"".join(filtered.feed(long[n : n + 1000])[0] for n in range(0, len(long), 1000))
        self.assertEqual(clean, b"\xff" + b"x" * (100_000 - SUB_LIMIT - 1))
        self.assertEqual(filtered.feed(b"\n<ping>")[0], b"\n<ping>")

    def test_untouched(self) -> None:
        """A chunk without telnet is passed on as the very same object."""
        data = b"<set_msg_all>hello\n" * 3
        self.assertIs(TelnetFilter().feed(data)[0], data)

    @examples(300)
    @given(TELNET_STREAMS, PLACES)
    def test_any_cut(self, stream: bytes, places: list[int]) -> None:
        """However a stream is cut, the same is left of it, and the same marks are answered."""
        filtered = TelnetFilter()
        clean = reply = b""
        for chunk in cut(stream, places):
            more, answer = filtered.feed(chunk)
            clean, reply = clean + more, reply + answer
        self.assertEqual(clean, strip_telnet(stream))
        marks = sum(match[0] == TIMING_MARK for match in SEQUENCE.finditer(stream))
        self.assertEqual(reply, MARK_REPLY * marks)


class Lines(SynchronousTestCase):
    """`LineSplitter` cuts at LF and holds at most one line."""

    def test_line_ends(self) -> None:
        """LF ends a line, and one CR before it goes; another CR stays, and so does one that ends nothing."""
        splitter = LineSplitter()
        self.assertEqual(
            splitter.feed(b"a\nb\r\n\n\r\nc\r\r\nd\re\nf"), [b"a", b"b", b"", b"", b"c\r", b"d\re"]
        )
        self.assertEqual(splitter.rest, b"f")
        self.assertEqual(splitter.feed(b"g\r"), [])
        self.assertEqual(splitter.feed(b"\n"), [b"fg"])
        self.assertEqual(splitter.rest, b"")

    def test_longest(self) -> None:
        """4,096 bytes with the LF are a line, one more is not, and the next line is one again."""
        splitter = LineSplitter()
        fits = b"x" * 4095
        self.assertEqual(splitter.feed(fits + b"\nx" + fits + b"\nnext\n"), [fits, None, b"next"])
        self.assertEqual(splitter.feed(fits), [])
        self.assertEqual(splitter.feed(b"\n"), [fits])

    def test_carriage_return_counts(self) -> None:
        """The CR is one of the 4,096 bytes."""
        self.assertEqual(
            LineSplitter().feed(b"x" * 4094 + b"\r\n" + b"x" * 4095 + b"\r\n"), [b"x" * 4094, None]
        )

    def test_reported_at_once(self) -> None:
        """A line that grows past the limit is reported then, once, and skipped up to its LF."""
        splitter = LineSplitter(4)
        self.assertEqual(splitter.feed(b"abc"), [])
        self.assertEqual(splitter.feed(b"d"), [None])
        self.assertEqual(splitter.feed(b"efgh"), [])
        self.assertEqual(splitter.feed(b"ij\nk\n"), [b"k"])

    def test_endless_line(self) -> None:
        """100 MB without a line end are reported once and leave nothing in memory."""
        telnet, splitter = TelnetFilter(), LineSplitter()
        chunk = b"x" * 65536
        reports: list[bytes | None] = []
        tracemalloc.start()
        try:
            for _ in range(1600):
                reports += splitter.feed(telnet.feed(chunk)[0])
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(reports, [None])
        self.assertEqual(splitter.rest, b"")
        self.assertLess(held, 10_000)
        self.assertLess(peak, 300_000)
        self.assertEqual(splitter.feed(b"\nnext\n"), [b"next"])

    @examples(300)
    @given(LINE_STREAMS, LINE_STREAMS, st.integers(1, 12))
    def test_only(self, before: bytes, data: bytes, limit: int) -> None:
        """One whole line is the same alone as among others; for all else nothing is done."""
        splitter, other = LineSplitter(limit), LineSplitter(limit)
        for each in (splitter, other):
            each.feed(before)
        line = splitter.only(data)
        if line is not None:
            self.assertEqual((other.feed(data), other.rest), ([line], b""))
        else:
            self.assertEqual((splitter.feed(data), splitter.rest), (other.feed(data), other.rest))

    def test_only_mostly(self) -> None:
        """That is what is mostly the case, with and without a CR; what is empty, in part or too long is not."""
        splitter = LineSplitter(6)
        whole = (b"a\n", b"ab\r\n", b"a\rb\n", b"abcde\n")
        self.assertEqual([splitter.only(data) for data in whole], [b"a", b"ab", b"a\rb", b"abcde"])
        for data in (b"", b"\n", b"a", b"a\nb", b"a\nb\n", b"abcdef\n"):
            self.assertIsNone(splitter.only(data))
        splitter.feed(b"a")
        self.assertIsNone(splitter.only(b"b\n"))
        splitter.feed(b"bcdefghi")
        self.assertIsNone(splitter.only(b"b\n"))

    @examples(300)
    @given(LINE_STREAMS, PLACES, st.integers(1, 12))
    def test_any_cut(self, stream: bytes, places: list[int], limit: int) -> None:
        """However a stream is cut, the same lines come in the same order, and never more than one is held."""
        splitter = LineSplitter(limit)
        lines: list[bytes | None] = []
        for chunk in cut(stream, places):
            lines += splitter.feed(chunk)
            self.assertLess(len(splitter.rest), limit)
        self.assertEqual((lines, splitter.rest), split_lines(stream, limit))
