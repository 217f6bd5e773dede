"""The proof of an address."""

from __future__ import annotations

from itertools import count
from math import inf

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.address import MAX_CANDIDATES, AddressProof

TOKEN = b"t" * 16


class AddressProofTests(SynchronousTestCase):
    """RFC 9000 §8.1."""

    def setUp(self) -> None:
        numbers = count()
        self.proof = AddressProof(TOKEN, lambda size: next(numbers).to_bytes(size, "big"))

    def test_proven(self) -> None:
        """Who sends the nonce back from where it was sent to has proven that address; the time it took is a sample."""
        nonce = self.proof.hello("a", TOKEN, 1200)
        assert nonce is not None
        self.proof.challenged("a", 1.0)
        self.assertEqual(self.proof.response("a", nonce, 1.25), 0.25)
        self.assertEqual((self.proof.proven, self.proof.latest()), ("a", "a"))

    def test_asked_twice(self) -> None:
        """After two challenges with the same nonce nobody knows which one was answered: no sample."""
        nonce = self.proof.hello("a", TOKEN, 1200)
        self.proof.challenged("a", 1.0)
        self.assertEqual(self.proof.hello("a", TOKEN, 1200), nonce)
        self.proof.challenged("a", 2.0)
        self.assertEqual(self.proof.response("a", nonce or b"", 2.1), inf)
        self.assertEqual(self.proof.proven, "a")

    def test_wrong_token(self) -> None:
        """A wrong token is worth nothing."""
        self.assertIsNone(self.proof.hello("a", b"T" * 16, 1200))
        self.assertFalse(self.proof.spend("a", 1))
        self.assertIsNone(self.proof.latest())

    def test_wrong_nonce(self) -> None:
        """Neither is a wrong nonce, nor the right one from elsewhere, nor one that nobody was sent."""
        nonce = self.proof.hello("a", TOKEN, 1200)
        self.assertIsNone(self.proof.response("a", b"x" * 8, 1.0))
        self.assertIsNone(self.proof.response("b", nonce or b"", 1.0))
        self.assertIsNone(self.proof.proven)

    def test_amplification(self) -> None:
        """Until the proof, no more bytes leave for an address than came from it; after it, there is no bound."""
        nonce = self.proof.hello("a", TOKEN, 1200)
        self.assertTrue(self.proof.spend("a", 700))
        self.assertTrue(self.proof.spend("a", 500))
        self.assertFalse(self.proof.spend("a", 1))
        self.proof.hello("a", TOKEN, 1200)
        self.assertTrue(self.proof.spend("a", 1200))
        self.assertFalse(self.proof.spend("a", 1))
        self.assertFalse(self.proof.spend("b", 1))
        self.proof.response("a", nonce or b"", 1.0)
        self.assertTrue(self.proof.spend("a", 10**9))
        self.assertFalse(self.proof.spend("b", 1))

    def test_copied_greeting(self) -> None:
        """A greeting that somebody copied and sent first does not keep its owner out, and copies are forgotten."""
        self.proof.hello("thief", TOKEN, 1200)
        nonce = self.proof.hello("owner", TOKEN, 1200)
        self.assertEqual(self.proof.latest(), "owner")
        for number in range(MAX_CANDIDATES - 1):
            self.proof.hello(f"thief {number}", TOKEN, 1200)
        self.assertFalse(self.proof.spend("thief", 1))
        self.assertIsNotNone(self.proof.response("owner", nonce or b"", 1.0))
