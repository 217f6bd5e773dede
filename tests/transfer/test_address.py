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

    def nonce(self, address: str, now: float = 1.0) -> bytes:
        """`address` greets, and is challenged: the nonce it was sent."""
        self.assertTrue(self.proof.hello(address, TOKEN, 1200))
        self.assertTrue(self.proof.due)
        ((to, nonce),) = self.proof.challenges(40, now)
        self.assertEqual(to, address)
        self.assertFalse(self.proof.due)
        return nonce

    def test_proven(self) -> None:
        """Who sends the nonce back from where it was sent to has proven that address; the time it took is a sample."""
        nonce = self.nonce("a", 1.0)
        self.assertEqual(self.proof.response("a", nonce, 1.25), 0.25)
        self.assertEqual((self.proof.proven, self.proof.latest()), ("a", "a"))

    def test_asked_twice(self) -> None:
        """After two challenges with the same nonce nobody knows which one was answered: no sample."""
        nonce = self.nonce("a", 1.0)
        self.assertEqual(self.nonce("a", 2.0), nonce)
        self.assertEqual(self.proof.response("a", nonce, 2.1), inf)
        self.assertEqual(self.proof.proven, "a")

    def test_wrong_token(self) -> None:
        """A wrong token is worth nothing."""
        self.assertFalse(self.proof.hello("a", b"T" * 16, 1200))
        self.assertFalse(self.proof.due)
        self.assertFalse(self.proof.spend("a", 1))
        self.assertIsNone(self.proof.latest())

    def test_wrong_nonce(self) -> None:
        """Neither is a wrong nonce, nor the right one from elsewhere, nor one that nobody was sent."""
        nonce = self.nonce("a")
        self.assertIsNone(self.proof.response("a", b"x" * 8, 1.0))
        self.assertIsNone(self.proof.response("b", nonce, 1.0))
        self.assertIsNone(self.proof.proven)

    def test_amplification(self) -> None:
        """Until the proof, no more bytes leave for an address than came from it; after it, there is no bound."""
        nonce = self.nonce("a")
        self.assertTrue(self.proof.spend("a", 660))
        self.assertTrue(self.proof.spend("a", 500))
        self.assertFalse(self.proof.spend("a", 1))
        self.proof.hello("a", TOKEN, 39)
        self.assertEqual(self.proof.challenges(40, 1.0), [])
        self.assertFalse(self.proof.due)
        self.proof.hello("a", TOKEN, 1161)
        self.assertTrue(self.proof.spend("a", 1200))
        self.assertFalse(self.proof.spend("a", 1))
        self.assertFalse(self.proof.spend("b", 1))
        self.proof.response("a", nonce, 1.0)
        self.assertTrue(self.proof.spend("a", 10**9))
        self.assertFalse(self.proof.spend("b", 1))

    def test_copied_greeting(self) -> None:
        """A greeting that somebody copied and sent first does not keep its owner out, and copies are forgotten."""
        self.nonce("thief")
        nonce = self.nonce("owner")
        self.assertEqual(self.proof.latest(), "owner")
        for number in range(MAX_CANDIDATES - 1):
            self.proof.hello(f"thief {number}", TOKEN, 1200)
        self.assertFalse(self.proof.spend("thief", 1))
        self.assertIsNotNone(self.proof.response("owner", nonce, 1.0))

    def test_forgotten_before_the_challenge(self) -> None:
        """Who is no longer on trial is not challenged either."""
        for number in range(MAX_CANDIDATES + 1):
            self.proof.hello(number, TOKEN, 1200)
        challenged = [address for address, _ in self.proof.challenges(40, 1.0)]
        self.assertEqual(challenged, list(range(1, MAX_CANDIDATES + 1)))
