"""Tests of `pychat.client.editing`: keys, and what is pasted, however the system cuts them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.editing import ENTRY_LIMIT, HISTORY, Editor, Pasted


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
        """Function keys and the like leave nothing in the line, whole or cut anywhere."""
        keys = b"a\x1b[5~\x1b[1;5Cb\x1bOP\x1b[3~c\x12\x0c\x00d\x1b\x1b[Z"
        self.types(keys, [], b"abcd")
        for key in keys:
            self.editor.feed(bytes([key]))
        self.types(b"\n\x1b\n", [b"abcdabcd", b""])

    def test_cursor(self) -> None:
        """It moves by characters, to the ends and no further; what is typed, pasted or erased is so where it stands."""
        self.types("aü日".encode() + b"\x1b[D\x1bOD", [], "aü日".encode())
        self.assertEqual(self.editor.halves, (b"a", "ü日".encode()))
        self.types(b"x\x1b[Cy\x1bOCz\x1b[C!", [], "axüy日z!".encode())
        for home in (b"\x1b[H", b"\x1bOH", b"\x1b[1~", b"\x1b[7~", b"\x01"):
            self.editor.feed(home + b"\x1b[D")
            self.assertEqual(self.editor.cursor, 0)
            self.editor.feed(
                {b"\x1bOH": b"\x1bOF", b"\x1b[1~": b"\x1b[4~", b"\x01": b"\x05"}.get(home, b"\x1b[F")
            )
            self.assertEqual(self.editor.halves[1], b"")
        self.types(b"\x1b[D\x1b[3~\x1b[3~\x1b[D\x1b[D\x1b[3~", [], "axüyz".encode())
        self.types(b"\x7f\x7f", [], b"axz")
        self.types(b"\x17", [], b"z")
        self.types(b"\x01" + pasted(b"1\n2"), [], b"1\n2z")
        self.types(b"\n", [b"1\n2z"])

    def test_history(self) -> None:
        """Up and Down go through what was entered; what was being typed is below it; what was pasted stays that."""
        lines = b"<ping>1\n<ping>2"
        self.editor.feed(b"one\n\ntwo\ntwo\n" + pasted(lines) + b"\nhalf")
        self.types(b"\x1b[A", [], lines)
        self.types(b"\x1b[A\x1bOA\x1b[A\x1b[A", [], b"one")
        self.types(b"\x1b[B", [], b"two")
        self.types(b"\x1b[B\x1bOB\x1b[B", [], b"half")
        self.types(b"\x1b[A\x1b[A!\n", [b"two!"])
        self.editor.feed(b"\x1b[A\x1b[A")
        self.assertEqual(whole(self.editor.feed(b"\n")), [True])
        self.editor.feed(b"\x1b[A\x01x\x7f")
        self.assertEqual(whole(self.editor.feed(b"\n")), [False])
        for number in range(HISTORY + 9):
            self.editor.feed(b"%d\n" % number)
        self.types(b"\x1b[A" * 99, [], b"9")
        self.editor.feed(b"\x1b[B" * 99 + b"x" * ENTRY_LIMIT + b"x\x1b[A")
        self.assertEqual(len(self.editor.draft), ENTRY_LIMIT)
        self.types(b"\n", [None])

    def test_clear(self) -> None:
        """What is half typed can be dropped, but not the beginning of a paste: the rest of it is no typed line."""
        self.assertFalse(self.editor.clear())
        self.editor.feed(b"half" + b"x" * ENTRY_LIMIT)
        self.assertTrue(self.editor.clear())
        self.types(b"next\n\x1b[200~<ping>\n", [b"next"], b"<ping>\n")
        self.assertFalse(self.editor.clear())
        self.types(b"\x1b[201~", [], b"<ping>\n")

    def test_give_back(self) -> None:
        """What could not be used is the draft again, as it was, unless something else is typed already."""
        for entry in (b"one\ntwo", Pasted(b"one\ntwo")):
            self.editor.give_back(entry)
            self.editor.give_back(b"never")
            self.assertEqual(self.editor.halves, (b"one\ntwo", b""))
            self.assertEqual(whole(self.editor.feed(b"\n")), whole([entry]))

    def test_another_in_its_place(self) -> None:
        """Who types another command behind what was given back has that one, and the other is one Up away."""
        self.types(b"<get_users>\n", [b"<get_users>"])
        self.editor.give_back(b"<get_users>")
        self.types(b"<", [], b"<")
        self.types(b"ping><\n", [b"<ping><"])
        self.types(b"\x1b[A\x1b[A", [], b"<get_users>")
        for keys, draft in (
            (b" <b", b"<get_users> <b"),
            (b"\x7f<", b"<get_users<"),
            (b"#tea", b"<get_users>#tea"),
        ):
            self.editor.clear()
            self.editor.give_back(b"<get_users>")
            self.types(keys, [], draft)

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
            (pasted(lines) + b"\x01x", False),
            (pasted(lines) + b"\x01x\x7f", False),
            (pasted(lines) + b"\x01\x1b[3~", True),
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
        b"\x1b[D", b"\x1b[3~", b"\x01", b"\x1b[B",
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
        self.assertEqual((cut.halves, cut._rest), (at_once.halves, at_once._rest))
