"""The digests of pieces are told in order, a bounded number at a time, and cost what they are."""

from __future__ import annotations

from sys import getsizeof

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.frames import (
    DIGEST_BYTES,
    MAX_PIECES,
    Pieces,
    decode,
)
from pychat.transfer.telling import MAX_PIECES_AHEAD, MAX_PIECES_WORDS, Telling
from pychat.transfer.terms import PIECE_BYTES, root_of


def digest(index: int) -> bytes:
    return blake3(b"%d" % index).digest()


class TellingTests(SynchronousTestCase):
    """`Telling`."""

    def begin(self, count: int) -> None:
        self.telling = Telling(count * PIECE_BYTES)

    def learn(self, first: int, end: int) -> None:
        self.telling.learn(first, [digest(index) for index in range(first, end)])

    def words(self) -> list[tuple[int, int]]:
        """First pieces and numbers of pieces of what may be told now, whose digests are looked at."""
        said = []
        for first, word in self.telling.words():
            (frame,) = decode(word)
            assert isinstance(frame, Pieces)
            self.assertEqual(frame.first, first)
            self.assertEqual(list(frame.digests), [digest(first + at) for at in range(len(frame.digests))])
            said.append((first, len(frame.digests)))
        return said

    def test_words(self) -> None:
        """Consecutive pieces share a word, so many at most; each is told once."""
        self.begin(100)
        self.assertEqual((self.telling.complete, self.telling.due, self.words()), (False, False, []))
        self.learn(0, 3)
        self.assertTrue(self.telling.due)
        self.assertEqual(self.words(), [(0, 3)])
        self.assertFalse(self.telling.due)
        self.learn(5, 6)
        self.learn(7, 7 + MAX_PIECES + 1)
        self.learn(0, 8)
        self.assertEqual(self.words(), [(5, 1), (7, MAX_PIECES), (7 + MAX_PIECES, 1), (3, 2), (6, 1)])
        self.assertIn(5, self.telling)
        self.assertNotIn(99, self.telling)

    def test_few_at_a_time(self) -> None:
        """No more than so many words are under way."""
        self.begin(2 * MAX_PIECES_WORDS * MAX_PIECES)
        self.learn(0, 2 * MAX_PIECES_WORDS * MAX_PIECES)
        self.assertEqual(len(self.words()), MAX_PIECES_WORDS)
        self.assertEqual(self.words(), [])
        self.telling.arrived(MAX_PIECES)
        self.telling.arrived(12345)
        self.assertEqual(self.words(), [(MAX_PIECES_WORDS * MAX_PIECES, MAX_PIECES)])

    def test_not_far_ahead(self) -> None:
        """As long as an earlier one has not arrived, later ones are held back."""
        self.begin(3 * MAX_PIECES_AHEAD)
        self.learn(5, 6)
        self.assertEqual(self.words(), [(5, 1)])
        far = 5 + MAX_PIECES_AHEAD + 1
        self.learn(far, far + 1)
        self.assertEqual(self.words(), [])
        self.assertTrue(self.telling.due)
        self.telling.arrived(5)
        self.assertEqual(self.words(), [(far, 1)])

    def test_memory(self) -> None:
        """A long file costs 32 bytes a piece, in whatever order its pieces become known."""
        count = 50_000
        self.begin(count)
        self.learn(count // 2, count)
        self.learn(0, count // 2)
        self.telling.learn(0, [bytes(DIGEST_BYTES)] * 10)
        self.assertTrue(self.telling.complete)
        self.assertEqual(self.telling.root(), root_of([b"".join(map(digest, range(count)))]))
        self.assertLess(getsizeof(self.telling._digests), 1.2 * 32 * count)

    def test_empty(self) -> None:
        """Of an empty file there is nothing to know."""
        self.begin(0)
        self.assertTrue(self.telling.complete)
        self.assertEqual(self.telling.root(), root_of([]))

    @given(st.permutations(range(40)))
    def test_any_order(self, order: list[int]) -> None:
        """Whatever the order in which they become known and arrive, all are told once."""
        self.begin(40)
        told: list[int] = []
        for index in order:
            self.assertFalse(self.telling.complete)
            self.learn(index, index + 1)
            for first, count in self.words():
                told += range(first, first + count)
                self.telling.arrived(first)
        self.assertTrue(self.telling.complete)
        self.assertEqual(sorted(told), list(range(40)))
