"""Tests of `pychat.client.wanted`: which files somebody means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.answers import Listing
from pychat.client.wanted import choose, is_pattern, matches
from pychat.vocabulary import ListedFile


def listing(*names: str, left_out: int = 0) -> Listing:
    return Listing(tuple(ListedFile(name, 1) for name in names), left_out)


class Patterns(SynchronousTestCase):
    """What a pattern means."""

    def test_matches(self) -> None:
        """The parts of a name are matched one by one, and ** is any number of them."""
        for pattern, name, same in (
            ("*.txt", "a.txt", True), ("*.txt", "b/a.txt", False), ("*.txt", "A.TXT", False),
            ("?.txt", "ab.txt", False), ("*/a.txt", "b/a.txt", True), ("**", "x/y/z", True), ("**/a", "a", True),
            ("**/a", "x/y/a", True),
            ("x/**", "x", True), ("x/**", "x/y/z", True), ("x/**/z", "x/z", True), ("x/**/z", "x/y/w/z", True),
            ("x/**/z", "x/y", False), ("[ab].c", "b.c", True), ("[!ab].c", "b.c", False), ("**/**/q", "q", True),
            ("a**", "ab/c", False), ("", "a", False),
        ):  # fmt: skip
            self.assertEqual(matches(name, pattern), same, (pattern, name))

    @given(st.lists(st.text("ab*?[]!/.-", max_size=40), min_size=2, max_size=2))
    def test_any(self, pair: list[str]) -> None:
        """No pattern raises, and a name without magic matches itself alone."""
        name, pattern = pair
        found = matches(name, pattern)
        if not is_pattern(pattern):
            self.assertEqual(found, name == pattern)

    def test_slow(self) -> None:
        """Many stars cost no more than the length of the name times theirs."""
        self.assertFalse(matches("/".join(["a"] * 200), "/".join(["**", "a"] * 60) + "/b"))


class Choices(SynchronousTestCase):
    """What is got."""

    def test_names(self) -> None:
        """Each file once, in the order of the command line; what a file is really called is that file."""
        there = listing("a.txt", "b.txt", "*.txt", "c/d.txt")
        self.assertEqual(choose(["b.txt", "?.txt", "b.txt"], there), (["b.txt", "a.txt", "*.txt"], []))
        self.assertEqual(choose(["*.txt"], there), (["*.txt"], []))
        self.assertEqual(
            choose(["nope", "**/*.txt"], there)[0], ["nope", "a.txt", "b.txt", "*.txt", "c/d.txt"]
        )

    def test_none(self) -> None:
        """A pattern for which there is nothing is told; it may be a name that was not listed."""
        chosen, ((name, error),) = choose(["a", "*.pdf"], listing("a"))
        self.assertEqual((chosen, name, error.code), (["a"], "*.pdf", "no-match"))
        self.assertEqual(choose(["*.pdf"], listing("a", left_out=1)), (["*.pdf"], []))
