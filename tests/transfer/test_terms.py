"""What both ends agree on."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.terms import MAX_SIZE, Terms


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
