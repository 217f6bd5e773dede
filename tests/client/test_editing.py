"""Tests of `pychat.client.editing`: keys, and what is pasted, however the system cuts them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.editing import ENTRY_LIMIT, Editor, Pasted


def pasted(text: bytes) -> bytes:
    """As a terminal sends what is pasted."""
    return b"\x1b[200~%s\x1b[201~" % text


def whole(entered: list[bytes | None]) -> list[bool]:
    """Whether each was entered as it was pasted, in one piece."""
    return [isinstance(entry, Pasted) for entry in entered]


class Editing(SynchronousTestCase):
    """One who types."""

    def setUp(self) -> None:
        self.editor = Editor()

    def types(self, data: bytes, entered: list[bytes | None], draft: bytes = b"") -> None:
        self.assertEqual((self.editor.feed(data), self.editor.draft), (entered, draft))

    def test_lines(self) -> None:
        """Enter enters, whichever way the terminal says it; what is half typed stays."""
        self.types(b"<set_msg>bob gr\xc3", [], b"<set_msg>bob gr\xc3")
        self.types(b"\xbc\xc3\x9fe\t!\n<get", ["<set_msg>bob grüße\t!".encode()], b"<get")
        self.types(b"_users>\r\n", [b"<get_users>", b""])

    def test_erase(self) -> None:
        """A character, a word, all of it; where nothing is, nothing happens."""
        self.types("aü日".encode(), [], "aü日".encode())
        self.types(b"\x7f", [], "aü".encode())
        self.types(b"\x08\x7f\x7f\x17\x15", [])
        self.types(b"one two  \x17", [], b"one ")
        self.types(b"\x17", [])
        self.types(b"one two\x15three\n", [b"three"])
        self.types(b"a\xff\x80\x80\x80\x80\x7f\x7f\x7f", [])

    def test_end(self) -> None:
        """Ctrl-D ends an empty line, and does nothing to one that is half typed; nothing is read after it."""
        self.types(b"abc\x04", [], b"abc")
        self.assertFalse(self.editor.ended)
        self.types(b"\n\x04def\n", [b"abc"])
        self.assertTrue(self.editor.ended)

    def test_other_keys(self) -> None:
        """Arrows and the like leave nothing in the line, whole or cut anywhere."""
        keys = b"a\x1b[A\x1b[1;5Cb\x1bOP\x1b[3~c\x12\x0c\x00d\x1b\x1b[Z"
        self.types(keys, [], b"abcd")
        for key in keys:
            self.editor.feed(bytes([key]))
        self.types(b"\n\x1b\n", [b"abcdabcd", b""])

    def test_paste(self) -> None:
        """What is pasted is part of the line, with its line ends; only Enter enters it."""
        self.types(b"<set_msg>bob " + pasted(b"one\ntwo\n"), [], b"<set_msg>bob one\ntwo\n")
        self.types(b"three\n", [b"<set_msg>bob one\ntwo\nthree"])
        self.types(pasted(b"a\x04\x15\x1b[A\x7f") + b"\n", [b"a\x04\x15\x1b[A\x7f"])

    def test_pasted_as_a_whole(self) -> None:
        """It is told whether what was entered was pasted in one piece: whether something was typed is what counts."""
        lines = b"<ping>\n<disconnect>"
        for keys, is_whole in (
            (pasted(lines), True),
            (pasted(lines + b"abc") + b"\x7f\x08\x7f", True),
            (pasted(lines) + b"ab\x7f\x7f", True),
            (b"abc\x15" + pasted(lines), True),
            (b"a\x7f" + pasted(lines), True),
            (pasted(b"abc") + b"\x17" + pasted(lines), True),
            (b"<set_msg>bob " + pasted(lines), False),
            (b" " + pasted(lines), False),
            (pasted(lines) + b"a", False),
            (pasted(lines + b"abc") + b"\x7fd", False),
            (pasted(b"<set_msg>bob look at this:") + pasted(b"\n" + lines), False),
            (pasted(b"\n") + pasted(lines), False),
            (pasted(b"") + b"a" + pasted(lines), False),
            (pasted(lines) + b"\x15" + lines.replace(b"\n", b" "), False),
        ):
            entered = self.editor.feed(keys + b"\n<ping>\n")
            self.assertEqual((keys, whole(entered)), (keys, [is_whole, False]))

    def test_too_long(self) -> None:
        """What is too long is said to be, and takes no more memory."""
        for chunk in (b"x", pasted(b"x\n")):
            for _ in range(3):
                self.editor.feed(chunk * ENTRY_LIMIT)
                self.assertEqual(len(self.editor.draft), ENTRY_LIMIT)
            self.types(b"\nnext\n", [None, b"next"])
        for erase in (b"\x15", b"\x17", b"\x7f" * ENTRY_LIMIT):
            for long in (b"x", pasted(b"x" * 70_000)):
                self.editor.feed(long * ENTRY_LIMIT if len(long) == 1 else long)
                self.editor.feed(b"x")
                self.types(erase + b"hi\n", [b"hi"])
        self.editor.feed(b"\x1b[" + b"1" * 100_000)
        self.assertLess(len(self.editor._rest), 100)

    def test_too_long_and_erased_in_part(self) -> None:
        """What lost its end is not entered, however much of the rest is erased and whatever is typed behind it."""
        for keys in (
            b"\x7f",
            b"\x7f" * 1000 + b"y",
            b"\x17",
            b"\x7f" * (ENTRY_LIMIT - 1),
            b"\x17" + pasted(b"y"),
        ):
            self.editor.feed(b"<set_msg>bob " + pasted(b"x" * ENTRY_LIMIT))
            self.types(keys + b"\nnext\n", [None, b"next"])

    @given(st.lists(st.sampled_from([
        b"a", b"\xc3\xbc", b"\n", b"\x7f", b"\x17", b"\x1b[A", b"\x1b[200~", b"\x1b[201~", b"\x1b", b"[", b"2", b"\x15",
    ]), max_size=20), st.sets(st.integers(0, 60)))  # fmt: skip
    def test_any_cut(self, keys: list[bytes], cuts: set[int]) -> None:
        """Wherever the system cuts what is typed, the same is entered."""
        at_once, cut = Editor(), Editor()
        data = b"".join(keys)
        entered: list[bytes | None] = []
        bounds = [0, *sorted(at for at in cuts if at < len(data)), len(data)]
        for start, end in pairwise(bounds):
            entered += cut.feed(data[start:end])
        expected = at_once.feed(data)
        self.assertEqual((entered, whole(entered)), (expected, whole(expected)))
        self.assertEqual((cut.draft, cut._rest), (at_once.draft, at_once._rest))
