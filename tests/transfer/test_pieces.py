"""The pieces in which a file is verified."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from unittest import mock

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.errors import TransferError
from pychat.transfer import pieces as module
from pychat.transfer.pieces import MAX_AHEAD, PieceHasher, PieceTable, piece_bounds
from pychat.transfer.terms import MAX_SIZE, PIECE_BYTES, pieces_of, root_of
from tests.transfer.offers import make_content


def digest(index: int) -> bytes:
    """What stands for the digest of a piece."""
    return index.to_bytes(32, "big")


class PieceHasherTests(SynchronousTestCase):
    """`PieceHasher`."""

    def test_bounds(self) -> None:
        """Each piece but the last is 1 MiB long."""
        size = 2 * PIECE_BYTES + 5
        self.assertEqual(piece_bounds(1, size), (PIECE_BYTES, 2 * PIECE_BYTES))
        self.assertEqual(piece_bounds(2, size), (2 * PIECE_BYTES, size))

    @settings(max_examples=50)
    @given(size=st.integers(0, 350), cuts=st.lists(st.integers(0, 350)))
    def test_any_cuts(self, size: int, cuts: list[int]) -> None:
        """However the stream is cut, the digests are those of its pieces."""
        content = make_content(size)
        bounds = [0, *sorted(cut for cut in cuts if cut <= size), size]
        digests = []
        with mock.patch.object(module, "PIECE_BYTES", 100):
            hasher = PieceHasher()
            for start, end in pairwise(bounds):
                digests += hasher.update(content[start:end])
            digests += hasher.end()
        self.assertEqual(digests, [blake3(content[at : at + 100]).digest() for at in range(0, size, 100)])


class PieceTableTests(SynchronousTestCase):
    """`PieceTable`."""

    def test_empty_file(self) -> None:
        """A file of no bytes has no piece, and all of them are known."""
        table = PieceTable(0)
        self.assertTrue(table.complete)
        self.assertEqual(table.root, blake3(b"").digest())

    @given(count=st.integers(1, 40), shuffle=st.randoms(use_true_random=False))
    def test_any_order(self, count: int, shuffle: Random) -> None:
        """In whatever order they come, and how often: each is news once, and the root is right."""
        table = PieceTable(count * PIECE_BYTES - 7)
        firsts = list(range(count)) * 2
        shuffle.shuffle(firsts)
        news = []
        for first in firsts:
            length = min(shuffle.randrange(1, 4), count - first)
            news += table.add(first, [digest(index) for index in range(first, first + length)])
        self.assertEqual(sorted(news), list(range(count)))
        self.assertEqual(table.known, count)
        self.assertEqual(table.root, root_of([digest(index) for index in range(count)]))
        self.assertEqual(
            [table.get(index) for index in range(count)], [digest(index) for index in range(count)]
        )

    def test_not_all(self) -> None:
        """There is no root before all are known; what is ahead can be looked up."""
        table = PieceTable(3 * PIECE_BYTES)
        self.assertEqual(table.add(2, [digest(2)]), [2])
        self.assertEqual((table.known, table.complete, table.root), (0, False, None))
        self.assertEqual((table.get(2), table.get(1)), (digest(2), None))

    def test_settled(self) -> None:
        """What was used is forgotten, and may come again."""
        table = PieceTable(9 * PIECE_BYTES)
        table.add(0, [digest(0), digest(1), digest(2)])
        table.settle(2)
        table.settle(1)
        self.assertEqual([table.get(index) for index in range(4)], [None, None, digest(2), None])
        self.assertEqual(table.add(0, [digest(7), digest(1), digest(2), digest(3)]), [3])
        table.settle(99)
        self.assertEqual(table._digests, b"")
        self.assertEqual(table.known, 4)

    def assert_code(self, code: str, table: PieceTable, first: int, *digests: bytes) -> None:
        with self.assertRaises(TransferError) as caught:
            table.add(first, digests)
        self.assertEqual(caught.exception.code, code)

    def test_changed(self) -> None:
        """Two digests of one piece."""
        table = PieceTable(9 * PIECE_BYTES)
        table.add(0, [digest(0)])
        table.add(2, [digest(2)])
        self.assert_code("source-changed", table, 0, digest(1))
        self.assert_code("source-changed", table, 1, digest(1), digest(1))

    def test_beyond(self) -> None:
        """A piece that there is not, or that is too far ahead."""
        self.assert_code("bad-peer", PieceTable(PIECE_BYTES), 0, digest(0), digest(1))
        self.assert_code("bad-peer", PieceTable(0), 0, digest(0))
        table = PieceTable(MAX_SIZE)
        self.assert_code("bad-peer", table, MAX_AHEAD, digest(0))
        self.assert_code("bad-peer", table, pieces_of(MAX_SIZE) - 1, digest(0))
        for index in range(MAX_AHEAD - 1, 0, -1):
            table.add(index, [digest(index)])
        self.assertEqual(table.known, 0)
        table.add(0, [digest(0)])
        self.assertEqual(table.known, MAX_AHEAD)
