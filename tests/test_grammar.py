"""The grammar: what is a line, what is a text, and what makes a text harmless."""

from __future__ import annotations

import unicodedata
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat import grammar
from pychat.errors import LocalProtocolError, RemoteProtocolError
from pychat.grammar import (
    BIDI_LIMIT,
    NO_ATTRIBUTES,
    Line,
    check_text,
    decode_name,
    is_printable,
    isolate,
    parse,
    quote,
    render,
    unquote,
)
from tests.chatkit import examples

PLAIN: list[Any] = [grammar.is_plain]
if grammar._text is not None:
    PLAIN.append(grammar._text.is_plain)

LRE, RLE, PDF, LRO, RLO = "\u202a\u202b\u202c\u202d\u202e"
LRI, RLI, FSI, PDI = "\u2066\u2067\u2068\u2069"
MARKS = "\u061c\u200e\u200f"
BIDI = LRE + RLE + PDF + LRO + RLO + LRI + RLI + FSI + PDI + MARKS
HOSTILE = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]))

VERBS = st.from_regex(rb"[a-z_]{1,12}", fullmatch=True)
KEYS = st.from_regex(rb"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
CLEAN = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029 >"), max_size=8
)
ATTRIBUTES = st.dictionaries(KEYS, CLEAN.map(str.encode), max_size=4)
TEXTS = st.binary(max_size=20).filter(lambda text: b"\n" not in text)
# Bytes of which a fair part is nearly a line.
NEARLY = st.lists(
    st.sampled_from([b"<", b">", b" ", b"  ", b"=", b"a", b"key", b"B", b"1", b"-", b"\xff", b"\xc3\xa9", b"\0",
                     b"\x1b", b"\n", b"\xe2\x80\xa8", b"<msg", b" a=1", b" b", b"<get_users>", b"%3E"]),
    max_size=12,
).map(b"".join)  # fmt: skip
BIDI_TEXTS = st.text(st.sampled_from(BIDI + LRI + FSI + PDI + PDI + "ab1 א\u0627\t"), max_size=40)


class Parse(SynchronousTestCase):
    """`parse` takes a line apart or says what is wrong with it."""

    def refused(self, line: bytes, code: str) -> str:
        error = self.assertRaises(RemoteProtocolError, parse, line)
        self.assertEqual(error.code, code, line)
        self.assertEqual(str(error), error.sentence)
        return error.sentence

    def test_lines(self) -> None:
        """A verb, attributes in any number, and all after the first > as it stands."""
        for raw, verb, attributes, text in [
            (b"<get_users>", b"get_users", {}, b""),
            (b"<_>", b"_", {}, b""),
            (b"<set_msg_all>a > b <c>", b"set_msg_all", {}, b"a > b <c>"),
            (b"<set_msg>  bob  x ", b"set_msg", {}, b"  bob  x "),
            (b"<ping>\xff\0", b"ping", {}, b"\xff\0"),
            (b"<ping label=7>x", b"ping", {b"label": b"7"}, b"x"),
            (b"<ping   a=1  b c=>", b"ping", {b"a": b"1", b"b": b"", b"c": b""}, b""),
            (b"<ping a-1_b==<&%>", b"ping", {b"a-1_b": b"=<&%"}, b""),
            ("<ping label=é日>".encode(), b"ping", {b"label": "é日".encode()}, b""),
        ]:
            self.assertEqual(parse(raw), Line(verb, attributes, text), raw)

    def test_no_attributes_are_shared(self) -> None:
        """A line without attributes costs no dictionary, and nobody can write into the shared one."""
        self.assertIs(parse(b"<ping>").attributes, NO_ATTRIBUTES)
        self.assertFalse(hasattr(NO_ATTRIBUTES, "__setitem__"))

    def test_bad_lines(self) -> None:
        """What is no line is refused with a sentence that shows one."""
        for raw in (b"hello", b" <ping>", b"", b">", b"GET / HTTP/1.1", b"\0", b"\xff\xfe"):
            self.assertIn("in < and >", self.refused(raw, "bad-line"))
        for raw in (b"<", b"<ping", b"<set_msg bob hi"):
            self.assertIn("<command>text", self.refused(raw, "bad-line"))
        for raw in (
            b"<>", b"< >", b"<Ping>", b"<ping >", b"< ping>", b"<ping\ta=1>", b"<ping a=1 >", b"<ping 1=a>",
            b"<ping =a>", b"<ping A=1>", b"<ping2>", b"<pi-ng>", b"<<ping>", b"<ping\r>", b"<ping\n>", b"<p\0>",
            b"<ping a=1\n b>", b"<ping a\n>",
        ):  # fmt: skip
            self.refused(raw, "bad-line")
        for raw in (b"<Connect>x", b"<CONNECT>x", b"<Connect a=b>x"):
            self.assertIn("small letters: <connect>", self.refused(raw, "bad-line"))

    def test_unclean_head(self) -> None:
        """Between < and > there are no control characters, no line separators, and nothing but UTF-8."""
        for character in HOSTILE:
            self.refused(b"<ping a=x%sy>" % character.encode(), "bad-line")
        for raw in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"):
            self.assertIn("UTF-8", self.refused(b"<ping a=%s>" % raw, "bad-line"))

    def test_twice(self) -> None:
        """A key that is given twice is an error that names it."""
        self.assertIn("label=", self.refused(b"<ping label=1 a label=1>", "bad-attribute"))

    def test_long_heads_are_cheap(self) -> None:
        """A hostile head of a line's greatest length costs no more than its length."""
        for raw in (
            b"<" + b"a" * 4094,
            b"<a" + b" a" * 2046 + b"!>",
            b"<a" + b" a=" * 1364 + b"\xff>",
            b"<a" + b" " * 4090 + b">",
        ):
            self.assertRaises(RemoteProtocolError, parse, raw)

    @examples(500)
    @given(st.one_of(st.binary(max_size=40), NEARLY, st.binary(max_size=20).map(lambda b: b"<" + b + b">")))
    def test_raises_nothing_else(self, raw: bytes) -> None:
        """Whatever comes in: a line whose verb, keys and values are what the grammar says, or the one error."""
        try:
            line = parse(raw)
        except RemoteProtocolError as error:
            self.assertIn(error.code, ("bad-line", "bad-attribute"))
            return
        self.assertRegex(line.verb, rb"\A[a-z_]+\Z")
        for key, value in line.attributes.items():
            self.assertRegex(key, rb"\A[a-z][a-z0-9_-]*\Z")
            self.assertNotRegex(value.decode(), f"[ >{HOSTILE}]")
        self.assertTrue(raw.endswith(b">" + line.text))


class Render(SynchronousTestCase):
    """`render` builds what `parse` takes apart, or refuses."""

    def refused(self, *what: object) -> None:
        error = self.assertRaises(LocalProtocolError, render, *what)
        self.assertEqual(error.code, "bad-line", what)

    def test_lines(self) -> None:
        """Attributes keep their order, and one without a value has no =."""
        self.assertEqual(render(b"get_users"), b"<get_users>\n")
        self.assertEqual(
            render(b"set_msg", {b"label": b"7", b"now": b""}, b"bob hi"), b"<set_msg label=7 now>bob hi\n"
        )

    def test_what_no_line_can_say(self) -> None:
        """Nothing that would be read as something else is built."""
        for verb in (b"", b"Ping", b"a b", b"msg id=3", b"a>", b"a\n", b"\xff"):
            self.refused(verb)
        for key in (b"", b"A", b"1", b"a b", b"a=b", b"a\n", b"a>"):
            self.refused(b"ping", {key: b"x"})
            self.refused(b"ping", {key: b""})
        for value in (b"a b", b">", b"\n", b"\xff", b"\x1b", "\u2028".encode()):
            self.refused(b"ping", {b"a": value})
        self.refused(b"ping", {}, b"a\nb")

    def test_text_that_would_lose_its_end(self) -> None:
        """A CR before the line end would be dropped by who reads it."""
        self.refused(b"ping", {}, b"a\r")

    @examples(300)
    @given(VERBS, ATTRIBUTES, TEXTS.filter(lambda text: not text.endswith(b"\r")))
    def test_round_trip(self, verb: bytes, attributes: dict[bytes, bytes], text: bytes) -> None:
        """What is rendered parses to what went in."""
        line = render(verb, attributes, text)
        self.assertTrue(line.endswith(b"\n"))
        self.assertEqual(parse(line[:-1]), Line(verb, attributes, text))

    @examples(300)
    @given(
        st.one_of(VERBS, NEARLY),
        st.dictionaries(st.one_of(KEYS, NEARLY), st.one_of(NEARLY, st.binary(max_size=4)), max_size=2),
        NEARLY,
    )
    def test_says_it_or_refuses(self, verb: bytes, attributes: dict[bytes, bytes], text: bytes) -> None:
        """Whatever is asked for: a line that says exactly this, or LocalProtocolError."""
        try:
            line = render(verb, attributes, text)
        except LocalProtocolError:
            return
        self.assertEqual(parse(line[:-1]), Line(verb, attributes, text))

    @examples(300)
    @given(
        st.one_of(st.binary(max_size=30), st.text(max_size=30).map(lambda t: t.encode("utf-8", "replace")))
    )
    def test_quote(self, raw: bytes) -> None:
        """What is quoted may stand in an attribute, and unquotes to what it was."""
        quoted = quote(raw)
        self.assertEqual(unquote(quoted), raw)
        self.assertEqual(parse(render(b"ping", {b"a": quoted})[:-1]).attributes, {b"a": quoted})

    def test_quote_text(self) -> None:
        """Text is quoted as UTF-8, and what an address holds stays readable."""
        self.assertEqual(quote("a b>é%"), b"a%20b%3E%C3%A9%25")
        self.assertEqual(quote("[::1]:50000/a~b-c_d.e"), b"[::1]:50000/a~b-c_d.e")

    def test_unquote_nothing(self) -> None:
        """A % that encodes nothing stays."""
        self.assertEqual(unquote(b"100%"), b"100%")
        self.assertEqual(unquote(b"%zz%41"), b"%zzA")


class Texts(SynchronousTestCase):
    """`check_text` and `decode_name` judge what people may be shown."""

    def refused(self, text: bytes) -> str:
        error = self.assertRaises(RemoteProtocolError, check_text, text)
        self.assertEqual(error.code, "bad-text", text)
        return error.sentence

    def test_fine(self) -> None:
        """Text in any script, TAB, emoji, combining marks, joiners and bidi controls pass."""
        for text in (
            "",
            "hello",
            "a\tb",
            "שלום",
            "👩‍👩‍👧",
            "e\u0301",
            "a\u00a0b",
            "\ufeff",
            "\ue000",
            f"{RLO}x{PDF}",
            "�",
        ):
            check_text(text.encode())

    def test_controls(self) -> None:
        """C0 but TAB, DEL, C1, U+2028 and U+2029 are refused, wherever they stand."""
        for character in HOSTILE.replace("\t", ""):
            for text in (character, f"a{character}", f"{character}b\t", f"é{character}{RLO}"):
                self.assertIn("control characters", self.refused(text.encode()), repr(text))

    def test_terminal_escapes(self) -> None:
        """What would move a cursor, set a title or change the character set is refused."""
        for text in (b"\x1b[2J", b"\x1b]0;title\x07", b"\xc2\x9b2J", b"a\rb", b"\x0e", b"\x1bP", b"a\0b"):
            self.refused(text)

    def test_not_utf_8(self) -> None:
        """Bytes that are not UTF-8 are refused with what to do: raw C1, overlong, surrogates, cut off."""
        for text in (
            b"\xff",
            b"\x9b2J",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xe2\x80",
            b"\xf5\x80\x80\x80",
            b"caf\xe9",
        ):
            self.assertIn("UTF-8", self.refused(text))

    def test_many_bidi_controls(self) -> None:
        """Text holds up to a hundred bidirectional controls."""
        for control in BIDI:
            check_text((control * BIDI_LIMIT).encode())
            self.assertIn("100", self.refused((control * (BIDI_LIMIT + 1)).encode()))

    @examples(300)
    @given(
        st.one_of(st.binary(max_size=20), st.text(max_size=10).map(lambda t: t.encode("utf-8", "replace")))
    )
    def test_judgement(self, text: bytes) -> None:
        """Whatever comes in: refused with bad-text, or UTF-8 without a hostile character."""
        try:
            check_text(text)
        except RemoteProtocolError as error:
            self.assertEqual(error.code, "bad-text")
        else:
            self.assertFalse(set(HOSTILE) - {"\t"} & set(text.decode()))

    def test_plain(self) -> None:
        """Each byte, wherever it stands, is printable ASCII or not: in Python and, where that was compiled, in C."""
        for is_plain in PLAIN:
            for size in range(1, 18):
                for place in range(size):
                    before, after = b" ~" * (place // 2) + b"x" * (place % 2), b"~" * (size - 1 - place)
                    for byte in range(256):
                        text = b"%b%c%b" % (before, byte, after)
                        self.assertEqual(is_plain(text), 0x20 <= byte < 0x7F, text)
            self.assertTrue(is_plain(b""))
            self.assertFalse(is_plain("é".encode()))
            self.assertRaises((TypeError, AttributeError), is_plain, "text")

    @examples(300)
    @given(
        st.lists(
            st.one_of(st.text(max_size=9).map(lambda t: t.encode("utf-8", "replace")), st.binary(max_size=3))
        )
    )
    def test_printable_throughout(self, texts: list[bytes]) -> None:
        """The same of any text; and nothing is said against what is."""
        text = b"".join(texts)
        expected = (
            text.decode(errors="replace").isprintable() and text == text.decode(errors="ignore").encode()
        )
        self.assertEqual(is_printable(text), expected)
        if expected:
            check_text(text)

    def test_names(self) -> None:
        """The spaces around a name go; what is inside stays for the rules of names."""
        self.assertEqual(decode_name(b"  bob "), "bob")
        self.assertEqual(decode_name(b""), "")
        self.assertEqual(decode_name(b"a b\xe2\x80\xae"), "a b\u202e")

    def test_bad_names(self) -> None:
        """A name that is not UTF-8 or holds control characters is refused."""
        for raw in [b"\xff", b"bob\xc3", *(f"b{character}b".encode() for character in HOSTILE)]:
            self.assertEqual(self.assertRaises(RemoteProtocolError, decode_name, raw).code, "bad-name", raw)


class BidiState:
    """The explicit levels of UAX #9 (rules X1 to X7), character by character."""

    MAX_DEPTH = 125

    def __init__(self, base: int) -> None:
        self.stack = [(base, False)]
        self.overflow_isolates = self.overflow_embeddings = self.isolates = 0

    @property
    def at_rest(self) -> bool:
        """Nothing is open: what follows is shown as if nothing had come before."""
        return len(self.stack) == 1 and not (
            self.overflow_isolates or self.overflow_embeddings or self.isolates
        )

    def feed(self, text: str, at: int) -> None:
        """Take the character at ``at``."""
        character = text[at]
        if character in LRE + RLE + LRO + RLO:
            self._push(odd=character in RLE + RLO, isolate=False)
        elif character in LRI + RLI + FSI:
            self._push(
                odd=character == RLI or (character == FSI and _first_strong_is_rtl(text, at)), isolate=True
            )
        elif character == PDI:
            if self.overflow_isolates:
                self.overflow_isolates -= 1
            elif self.isolates:
                self.overflow_embeddings = 0
                while not self.stack.pop()[1]:
                    pass
                self.isolates -= 1
        elif character == PDF and not self.overflow_isolates:
            if self.overflow_embeddings:
                self.overflow_embeddings -= 1
            elif not self.stack[-1][1] and len(self.stack) > 1:
                self.stack.pop()

    def _push(self, *, odd: bool, isolate: bool) -> None:
        level = self.stack[-1][0] + 1
        level += level % 2 != odd
        if level <= self.MAX_DEPTH and not self.overflow_isolates and not self.overflow_embeddings:
            self.stack.append((level, isolate))
            self.isolates += isolate
        elif isolate:
            self.overflow_isolates += 1
        elif not self.overflow_isolates:
            self.overflow_embeddings += 1


def _first_strong_is_rtl(text: str, at: int) -> bool:
    """Rules P2 and P3 for what an FSI opens."""
    depth = 0
    for character in text[at + 1 :]:
        if character in LRI + RLI + FSI:
            depth += 1
        elif character == PDI:
            if not depth:
                return False
            depth -= 1
        elif not depth and (kind := unicodedata.bidirectional(character)) in ("L", "R", "AL"):
            return kind != "L"
    return False


class Isolate(SynchronousTestCase):
    """`isolate` keeps a text's bidirectional controls to the text."""

    def assert_isolated(self, text: str) -> None:
        whole = isolate(text.encode()).decode()
        added = len(whole) - len(text)
        self.assertIn(whole, [FSI * before + text + PDI * (added - before) for before in range(added + 1)])
        for base in (0, 1):
            state = BidiState(base)
            for at in range(len(whole)):
                state.feed(whole, at)
                if at < len(whole) - 1 and added:
                    self.assertTrue(state.isolates, f"{whole!r} leaves its isolate at {at}")
            self.assertTrue(state.at_rest, f"{whole!r} leaves something open")

    def test_checker(self) -> None:
        """The checker itself sees what leaks."""
        for text, rests in [("a", True), (RLO, False), (LRI + PDI, True), (PDI, True), (RLI + RLO + PDI, True),
                            (RLO + PDI, False), (LRE + PDF, True), (FSI * 200 + PDI * 200, True),
                            (FSI * 200 + PDI * 199, False)]:  # fmt: skip
            state = BidiState(0)
            for at in range(len(text)):
                state.feed(text, at)
            self.assertEqual(state.at_rest, rests, repr(text))

    def test_as_it_is(self) -> None:
        """Text without such controls comes back as the same object, right-to-left or not."""
        for text in (b"", b"hello", "שלום é".encode()):
            self.assertIs(isolate(text), text)

    def test_pairs(self) -> None:
        """What the text leaves open is closed, and what it would close of ours is opened before."""
        for text, whole in [
            (f"{RLO}abc", f"{FSI}{RLO}abc{PDI}"),
            (f"{RLI}abc", f"{FSI}{RLI}abc{PDI}{PDI}"),
            (f"a{PDI}b", f"{FSI}{FSI}a{PDI}b{PDI}"),
            (f"{PDI}{RLI}", f"{FSI}{FSI}{PDI}{RLI}{PDI}{PDI}"),
            (f"{RLI}{PDI}{PDI}", f"{FSI}{FSI}{RLI}{PDI}{PDI}{PDI}"),
            ("a\u200f", f"{FSI}a\u200f{PDI}"),
        ]:
            self.assertEqual(isolate(text.encode()).decode(), whole, repr(text))

    @examples(500)
    @given(BIDI_TEXTS)
    @example(FSI * 100)
    @example(PDI * 100)
    @example(LRI * 50 + PDI * 50)
    @example(RLE * 100)
    @example(RLI * 62 + RLO + PDI * 30)
    def test_balanced(self, text: str) -> None:
        """By the rules of UAX #9 the text stays in its isolate, and nothing is open behind it."""
        self.assert_isolated(text)
