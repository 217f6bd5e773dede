"""What both ends agree on."""

from __future__ import annotations

from blake3 import blake3
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.terms import MAX_SIZE, PIECE_BYTES, Terms, Train, pieces_of, root_of


class TermsTests(SynchronousTestCase):
    """`Terms`."""

    def test_lengths(self) -> None:
        """Each field has its length, and the size its bounds."""
        good = {"transfer": bytes(8), "token": bytes(16), "key": bytes(32), "size": 5}
        Terms(**good)
        for field, value in (
            ("transfer", bytes(7)),
            ("token", bytes(17)),
            ("key", b""),
            ("size", -1),
            ("size", MAX_SIZE + 1),
        ):
            with self.assertRaises(ValueError):
                Terms(**{**good, field: value})

    def test_secrets(self) -> None:
        """What is logged of an offer does not give it away."""
        shown = repr(Terms(b"transfer", b"t" * 16, b"k" * 32, 5))
        self.assertNotIn("tttt", shown)
        self.assertNotIn("kkkk", shown)

    def test_trains(self) -> None:
        """A train comes apart into its datagrams, however its bytes are held."""
        for buffers in ([b"aaabbbc"], [b"a", b"aa", b"bbb", b"c"]):
            self.assertEqual(list(Train(buffers, 3, "x").datagrams()), [b"aaa", b"bbb", b"c"])

    def test_pieces(self) -> None:
        """A file has as many pieces as it takes, and a root that is made of their digests."""
        sizes = (0, 1, PIECE_BYTES, PIECE_BYTES + 1)
        self.assertEqual([pieces_of(size) for size in sizes], [0, 1, 1, 2])
        self.assertEqual(root_of([b"a" * 32, b"b" * 32]), blake3(b"a" * 32 + b"b" * 32).digest())
        self.assertEqual(root_of([]), blake3().digest())
