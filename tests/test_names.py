"""Names: the rules, the keys, and the suggestions."""

from __future__ import annotations

import random
import string
import unicodedata

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat import names
from pychat.errors import RemoteProtocolError
from pychat.names import MAX_BYTES, MAX_CODE_POINTS, RESERVED, check, suggest

FULL_WIDTH = {ord(c): ord(c) + 0xFEE0 for c in string.ascii_letters + string.digits}

# Letters, digits and marks of many scripts, so that a fair part of what is drawn is a valid name.
LETTERS = st.characters(categories=("L", "Nd", "Mn", "Mc"), include_characters="_-.")
ANY_TEXT = st.one_of(
    st.text(),
    st.text(LETTERS, max_size=40),
    st.text(
        st.sampled_from("aB1_-. éßΣςσйЙ\u0301\u0345İıǅﬁＡｂ１שﾞ\u3099\u200d\u202e\u2028\ud800<>#"), max_size=40
    ),
)
VALID = st.text(LETTERS, min_size=1, max_size=MAX_CODE_POINTS).filter(
    lambda name: key_or_none(name) is not None
)


def key_or_none(name: str) -> str | None:
    try:
        return check(name)
    except RemoteProtocolError:
        return None


class Rules(SynchronousTestCase):
    """`check` accepts what the rules allow, and says in plain words which rule was broken."""

    def refused(self, name: str, code: str = "bad-name") -> str:
        error = self.assertRaises(RemoteProtocolError, check, name)
        self.assertEqual(error.code, code)
        return error.sentence

    def test_ordinary_names(self) -> None:
        """Names in one script, with digits and the three signs inside, are fine."""
        for name in (
            "alice",
            "4711",
            "bob_smith",
            "a-b.c",
            "Zoë",
            "Алиса",
            "Άννα",
            "日本語",
            "שלום",
            "r2d2",
            "a",
        ):
            with self.subTest(name):
                self.assertEqual(check(name), name.lower())

    def test_same_name(self) -> None:
        """Case, width and normalisation do not make another name."""
        for name, other in (
            ("alice", "ALICE"),
            ("alice", "Ａｌｉｃｅ"),
            ("Zoë", "ZOE\u0308"),
            ("ΑΝΝΑ", "αννα"),
            ("\u212b", "å"),
            ("カ", "ｶ"),
        ):
            with self.subTest(name):
                self.assertEqual(check(name), check(other))

    def test_other_name(self) -> None:
        """What merely looks alike in one script stays two names: ß is not ss."""
        self.assertNotEqual(check("strauß"), check("strauss"))

    def test_empty(self) -> None:
        self.assertIn("at least one character", self.refused(""))

    def test_longest(self) -> None:
        """32 code points and 96 bytes pass; one more does not."""
        for longest in ("a" * 32, "あ" * 32, "𠀀" * 24):
            with self.subTest(longest):
                self.assertEqual(check(longest), longest)
                self.assertIn("at most 32 characters, 96 bytes", self.refused(longest + longest[0]))

    def test_key_too_long(self) -> None:
        """A name whose key grows beyond the limit is refused: a key must itself be a name."""
        self.assertEqual(len(check("İ" * 16)), 32)
        self.assertIn("at most 32", self.refused("İ" * 17))

    def test_very_long(self) -> None:
        """A name of megabytes is refused before any character of it is looked at."""
        self.assertIn("at most 32", self.refused("\ud800" * 5_000_000))

    def test_spaces(self) -> None:
        for name in ("bob smith", " bob", "bob "):
            self.assertIn("no spaces: write _", self.refused(name))

    def test_signs_of_the_protocol(self) -> None:
        """What rooms, devices, lists and other daemons need stays free; the sentence names the culprit."""
        for sign in "#@/,:!*%=<>&\"'\\|~+()[]{};?^`$":
            with self.subTest(sign):
                self.assertIn(f"leave out U+{ord(sign):04X}", self.refused("a" + sign))

    def test_nothing_invisible(self) -> None:
        """Control characters, line separators, bidi controls, joiners, fillers and surrogates never pass."""
        for character in (
            "\0\t\n\r\x1b\x7f\x85\xa0\xad\u061c\u115f\u200b\u200d\u200e\u2028\u2029\u202e\u2066\u3164"
            "\ufe0f\ufeff\uffa0\ufff9\U000e0041\ud800\udcff"
        ):
            with self.subTest(ascii(character)):
                self.refused("a" + character)
                self.refused(character)

    def test_first_character(self) -> None:
        for name in ("_a", "-a", ".a", "\u0301a"):
            self.assertIn("starts with a letter or a digit", self.refused(name))

    def test_first_character_of_the_key(self) -> None:
        """A half-width voiced sound mark is a letter, but stands for a combining one."""
        self.assertIn("starts with", self.refused("\uff9ea"))

    def test_disallowed_by_precis(self) -> None:
        """PRECIS refuses letters that are only another way to write others, and the sentence says which."""
        self.assertIn("U+FB01", self.refused("ﬁsh"))

    def test_directions(self) -> None:
        self.assertIn("one direction", self.refused("שa"))

    def test_mixed_scripts(self) -> None:
        """Latin, Greek and Cyrillic letters look alike and do not mix, however they are typed."""
        for name in ("раypal", "pаypal", "αlice", "аα", "Ａлиса", "a\u04cf"):
            with self.subTest(name):
                self.assertIn("keep to one script", self.refused(name))

    def test_scripts_that_mix(self) -> None:
        """Other scripts do not look like Latin: a Japanese name with Latin letters is fine."""
        self.assertEqual(check("山田Taro"), "山田taro")

    def test_reserved(self) -> None:
        """Reserved words are compared like names, and nothing that merely contains one is reserved."""
        for word in RESERVED:
            for name in (word, word.upper(), word.translate(FULL_WIDTH)):
                self.assertIn("choose another", self.refused(name, "name-reserved"))
        self.assertEqual(check("all2"), "all2")

    def test_sentence_is_safe(self) -> None:
        """A refusal can be shown as it is: plain ASCII on one line, nothing of the name in it."""
        for name in ("", "a\x1b[31m", "\u202eevil", "ﬁ", "שa", "раypal", "ALL", "x" * 99, "-", "a b"):
            error = self.assertRaises(RemoteProtocolError, check, name)
            self.assertTrue(error.sentence.isascii() and error.sentence.isprintable(), error.sentence)


class Properties(SynchronousTestCase):
    """What holds for any text."""

    @given(ANY_TEXT)
    @example("ΑΣ")
    @example("İ")
    @settings(deadline=None, max_examples=300)
    def test_raises_nothing_else(self, text: str) -> None:
        """Any text gives a key or a refusal, and a key is its own key."""
        try:
            key = check(text)
        except RemoteProtocolError as error:
            self.assertIn(error.code, ("bad-name", "name-reserved"))
        else:
            self.assertEqual(check(key), key)
            self.assertLessEqual(len(key), MAX_CODE_POINTS)
            self.assertLessEqual(len(key.encode()), MAX_BYTES)
            self.assertTrue(text.isprintable() and key.isprintable())

    @given(
        st.text(st.characters(max_codepoint=127), max_size=40)
        | st.text(string.ascii_letters + "09_-.", max_size=40)
    )
    @settings(deadline=None, max_examples=300)
    def test_fast_path(self, text: str) -> None:
        """The fast path for ASCII gives what PRECIS gives."""
        try:
            slow: str | None = names._key_by_precis(text)
        except RemoteProtocolError:
            slow = None
        if slow in RESERVED:
            slow = None
        self.assertEqual(key_or_none(text), slow)

    @given(VALID)
    @settings(deadline=None, max_examples=150)
    def test_equal_names(self, name: str) -> None:
        """A name in another normal form, in lower case, or in full width has the same key."""
        for other in (
            unicodedata.normalize("NFC", name),
            unicodedata.normalize("NFD", name),
            name.lower(),
            name.translate(FULL_WIDTH),
        ):
            if (key := key_or_none(other)) is not None:
                self.assertEqual(key, check(name), ascii((name, other)))

    @given(VALID)
    @settings(deadline=None, max_examples=100)
    def test_upper_case(self, name: str) -> None:
        """A name in upper case has the same key, unless upper case changes the letters (ß, final sigma)."""
        upper = name.upper()
        assume(upper.lower() == name.lower())
        if (key := key_or_none(upper)) is not None:
            self.assertEqual(key, check(name))

    @given(ANY_TEXT, st.integers(0, 150), st.integers())
    @settings(deadline=None, max_examples=200)
    def test_suggestion_is_valid_and_free(self, text: str, crowd: int, seed: int) -> None:
        """Whatever is wanted and whoever is there already, the suggestion is valid and free."""
        randbelow = random.Random(seed).randrange
        taken: set[str] = set()
        for _ in range(crowd):
            key = check(suggest(text, taken.__contains__, randbelow))
            self.assertNotIn(key, taken)
            taken.add(key)
        self.assertNotIn(check(suggest(text, taken.__contains__, randbelow)), taken)


class Suggestions(SynchronousTestCase):
    """`suggest` stays near to what was wanted."""

    def test_near(self) -> None:
        """What can be kept is kept."""
        for wanted, expected in (
            ("alice", "alice2"),
            ("Alice", "Alice2"),
            ("alice2", "alice3"),
            ("bob smith", "bob_smith"),
            ("  bob   smith  ", "bob_smith"),
            ("<bob>", "bob"),
            ("#room", "room"),
            ("-_.bob._-", "bob"),
            ("a\x1b[31mb", "a31mb"),
            ("all", "all2"),
            ("007", "0072"),
            ("", "guest"),
            ("\ud800", "guest"),
            ("!?", "guest"),
            ("ﬁsh", "fish"),
            ("Zoë", "Zoë2"),
            ("раypal", "ypal"),
            ("x" * 50, "x" * 32),
            ("𠀀" * 50, "𠀀" * 24),
        ):
            with self.subTest(ascii(wanted)):
                taken = {"alice", "zoë", "007", wanted}
                self.assertEqual(suggest(wanted, taken.__contains__), expected)

    def test_guests(self) -> None:
        """The hopeless become guest, guest2, guest3."""
        taken: set[str] = set()
        for expected in ("guest", "guest2", "guest3"):
            name = suggest("???", taken.__contains__)
            self.assertEqual(name, expected)
            taken.add(name)

    def test_long_name_taken(self) -> None:
        """A number fits in by shortening, in code points and in bytes."""
        for longest, expected in (
            ("x" * 32, "x" * 30 + "2"),
            ("あ" * 32, "あ" * 30 + "2"),
            ("𠀀" * 24, "𠀀" * 23 + "2"),
        ):
            with self.subTest(longest):
                self.assertEqual(suggest(longest, {longest}.__contains__), expected)

    def test_small_numbers_taken(self) -> None:
        """When the small numbers are gone, random digits come from the source that was given."""
        taken = {"guest", *(f"guest{n}" for n in range(2, 5000))}
        draws = iter([17, 4999, 7777])
        self.assertEqual(suggest("guest", taken.__contains__, lambda bound: next(draws)), "guest7777")

    def test_work_is_bounded(self) -> None:
        """When everything is taken, few questions are asked, few keys made, and a valid name still comes."""
        for wanted in ("alice", "é" * 32, "ﬁש", "x" * 1_000_000):
            with self.subTest(wanted[:9]):
                asked: list[str] = []

                def taken(key: str, asked: list[str] = asked) -> bool:
                    asked.append(key)
                    return True

                before = names._key_by_precis.cache_info().misses
                check(suggest(wanted, taken))
                self.assertLess(len(asked), 500)
                self.assertLess(names._key_by_precis.cache_info().misses - before, 20)

    def test_asks_for_keys(self) -> None:
        """`taken` is asked about keys, the form in which names are stored."""
        self.assertEqual(suggest("ALICE", {"alice"}.__contains__), "ALICE2")
