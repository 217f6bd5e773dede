"""Tests of `pychat.client.render`: a terminal shows what a peer sent, and obeys none of it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.render import cut, show_answer, show_line, show_replayed, show_typed, text_width, visible
from pychat.errors import RemoteProtocolError
from pychat.grammar import NO_ATTRIBUTES, Line, parse, quote

OBEYED = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
OPENERS, CLOSER = "\u2066\u2067\u2068", "\u2069"
EMBEDDINGS = "\u202a\u202b\u202d\u202e"


def show(raw: bytes) -> str:
    """As the chat shows a line that came."""
    try:
        line = parse(raw)
    except RemoteProtocolError:
        line = Line(b"", NO_ATTRIBUTES, raw)
    return show_line(line, raw)


class Visible(SynchronousTestCase):
    """Control characters, escape sequences, bytes that are not UTF-8."""

    def test_plain(self) -> None:
        """Ordinary text of any script, and TAB, stay."""
        for text in ("hello", "grüß dich", "日本語", "שלום", "a\tb", "👩‍👩‍👧", ""):
            self.assertEqual(visible(text.encode()), text)

    def test_escapes(self) -> None:
        """What a terminal would obey is shown by its number."""
        for raw, shown in (
            (b"\x1b[2Jboo", "\\x1b[2Jboo"), (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"), (b"a\rb\nc", "a\\x0db\\x0ac"),
            (b"\x00\x7f\x08", "\\x00\\x7f\\x08"), ("\x9b31m".encode(), "\\x9b31m"), (b"\x9b31m", "\\x9b31m"),
            ("a\u2028b\u2029c\x85".encode(), "a\\u2028b\\u2029c\\x85"), (b"caf\xe9", "caf\\xe9"),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        ):  # fmt: skip
            self.assertEqual(visible(raw), shown)

    def test_surrogates(self) -> None:
        """Halves of characters, as they come from file names, can be printed afterwards."""
        self.assertEqual(visible("a\udcffb"), "a\\udcffb")

    def test_bidi(self) -> None:
        """What turns the order of letters around ends with the text."""
        self.assertEqual(visible("x\u202egnp.exe"), "\u2068x\u202egnp.exe\u2069")
        self.assertNotIn("\u202e", visible("\u202e" * 101))

    @given(
        st.one_of(st.binary(), st.text(alphabet=st.characters()).map(lambda t: t.encode(errors="replace")))
    )
    def test_any_bytes(self, raw: bytes) -> None:
        """Nothing that a terminal obeys is left, and every isolate is closed."""
        shown = visible(raw)
        self.assertIsNone(OBEYED.search(shown))
        depth = 0
        for char in shown:
            depth += (char in OPENERS) - (char == CLOSER)
            self.assertGreaterEqual(depth, 0)
            if char in EMBEDDINGS:
                self.assertGreater(depth, 0)
        self.assertEqual(depth, 0)
        shown.encode()


class Lines(SynchronousTestCase):
    """Whole lines."""

    def test_as_received(self) -> None:
        """A line without malice is shown as it came, odd spaces and all."""
        for raw in (
            b"<welcome>Python Chat.",
            b"<msg id=1  from=bob to=all>a <b> c ",
            b"<new thing=1 x>y",
            b"<users count=2>",
        ):
            self.assertEqual(show(raw), raw.decode())

    def test_offer(self) -> None:
        """An offer is shown without what is secret, and without what says nothing to a person."""
        raw = b"<offer label=7 size=5 version=v port=1 transfer=aa token=bb key=cc>a/b\x1b.txt"
        self.assertEqual(show(raw), "<offer label=7 size=5>a/b\\x1b.txt")

    def test_secrets(self) -> None:
        """A key or token of any line is not shown."""
        self.assertEqual(show(b"<resume token=abc name=x key=def>t"), "<resume name=x>t")
        self.assertEqual(show(b"<resume token=abc>t"), "<resume>t")

    def test_not_a_line(self) -> None:
        """What is no line cannot look like one, nor like a remark of ours."""
        self.assertEqual(show(b"* saved x"), "? * saved x")
        self.assertEqual(show(b"\x1b[1m"), "? \\x1b[1m")

    def test_head(self) -> None:
        """In the head of a line nothing may turn the order around; the text is isolated by itself."""
        self.assertEqual(
            show("<msg from=a\u202eb>x\u202ey".encode()), "<msg from=a\\u202eb>\u2068x\u202ey\u2069"
        )

    def test_answer(self) -> None:
        """The answer to a command of ours is shown without our label."""
        line = parse(b"<connected label=~2 durable=no>bob\x07")
        self.assertEqual(show_answer(line), "<connected durable=no>bob\\x07")

    @given(st.binary(max_size=80).map(lambda raw: b"<" + raw.replace(b"\n", b"")) | st.binary(max_size=40))
    def test_any_line(self, raw: bytes) -> None:
        """No line makes a terminal do anything."""
        self.assertIsNone(OBEYED.search(show(raw)))


class Widths(SynchronousTestCase):
    """Columns."""

    def test_width(self) -> None:
        """Wide characters take two columns, marks none."""
        for text, width in (("abc", 3), ("日本", 4), ("e\u0301", 1), ("\u2068a\u2069", 1), ("", 0)):
            self.assertEqual(text_width(text), width)

    def test_cut(self) -> None:
        """What is too wide ends in an ellipsis."""
        self.assertEqual(cut("abc", 3), "abc")
        self.assertEqual(cut("abcd", 3), "ab…")
        self.assertEqual(cut("日本語", 5), "日本…")


class SeveralLines(SynchronousTestCase):
    """Texts that hold line ends."""

    def test_indented(self) -> None:
        """The second line and those that follow cannot be taken for lines of the daemon, nor for remarks of ours."""
        self.assertEqual(
            show(
                b"<msg id=5 from=bob enc=pct to=all>100 %25%0A<connected>eve%0A%0A* saved x%0A%1b[2J%0d%C2%9B"
            ),
            "<msg id=5 from=bob to=all>100 %\n    <connected>eve\n    \n    * saved x\n    \\x1b[2J\\x0d\\x9b",
        )

    def test_not_encoded(self) -> None:
        """Only what says so is decoded, and what encodes nothing stays."""
        self.assertEqual(show(b"<msg id=5>%0A"), "<msg id=5>%0A")
        self.assertEqual(show(b"<msg id=5 enc=rot13>%0A"), "<msg id=5 enc=rot13>%0A")
        self.assertEqual(show(b"<msg id=5 enc=pct>%zz%"), "<msg id=5>%zz%")

    def test_each_isolated(self) -> None:
        """What turns the order around ends with its line."""
        self.assertEqual(show("<msg enc=pct>a\u202eb%0Ac".encode()), "<msg>\u2068a\u202eb\u2069\n    c")

    def test_answer(self) -> None:
        """So it is in what was looked up."""
        line = parse(b"<msg label=~1 replay id=5 time=2026-11-22T12:00:59.123Z enc=pct>a%0Ab")
        self.assertRegex(show_answer(line), r"^\[2026-11-2[123] \d\d:\d\d\] <msg id=5>a\n    b$")

    def test_typed(self) -> None:
        """And in what somebody pasted."""
        self.assertEqual(show_typed(b"<set_msg>bob a\n\x1b"), "<set_msg>bob a\n    \\x1b")

    @given(st.binary(max_size=80))
    def test_any_text(self, text: bytes) -> None:
        """No text makes a terminal do anything, and none begins a line."""
        line = Line(b"msg", {b"enc": b"pct"}, quote(text))
        first, *more = show_line(line, b"<msg enc=pct>" + line.text).split("\n")
        self.assertTrue(first.startswith("<msg>"))
        for each in (first, *more):
            self.assertIsNone(OBEYED.search(each))
        self.assertTrue(all(each.startswith("    ") for each in more))


class Replayed(SynchronousTestCase):
    """Messages that were said while nobody was here."""

    def test_time(self) -> None:
        """The time stands before it, readable; the rest is as it came, and obeyed by nobody."""
        raw = b"<msg id=5 from=bob to=all time=2026-11-22T12:00:59.123Z replay>hi \x1b[2J"
        shown = show_replayed(parse(raw), raw)
        self.assertRegex(shown, r"^\[2026-11-2[123] \d\d:\d\d\] <msg id=5 from=bob to=all>hi \\x1b\[2J$")

    def test_no_time(self) -> None:
        """What is no time is shown as it came."""
        for time in (
            b"",
            b"time=x ",
            b"time=0001-01-01T00:00:00Z ",
            b"time=\xd9\xa3 ",
            b"time=9999-12-31T23:59:59Z ",
        ):
            raw = b"<msg id=5 %sreplay>hi" % time
            self.assertIn("hi", show_replayed(parse(raw), raw))

    def test_secret(self) -> None:
        """The token with which somebody comes back is nobody's business."""
        self.assertNotIn("secret", show(b"<connected resume=secret>bob"))
