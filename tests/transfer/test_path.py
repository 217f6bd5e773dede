"""Where the other end is, and the proof of it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.frames import (
    Challenge,
    Hello,
    Response,
    decode,
)
from pychat.transfer.path import CHALLENGE_GAP, MAX_CANDIDATES, MAX_HELLOS, ClientPath, DaemonPath, Word
from tests.transfer.offers import make_random

TOKEN = b"t" * 16
HELLO = Hello(TOKEN, 500)


class DaemonPathTests(SynchronousTestCase):
    """RFC 9000 §8.1 and §8.2, from the daemon's side."""

    def setUp(self) -> None:
        self.path = DaemonPath(TOKEN, make_random())

    def nonce(self, address: str, now: float = 1.0) -> bytes:
        """`address` greets, and is challenged: the nonce it was sent."""
        self.assertIsNone(self.path.take(HELLO, address, 1200, now))
        self.assertIsNotNone(self.path.deadline())
        (word,) = self.path.words(now)
        self.assertIsNone(self.path.deadline())
        return self.challenged(word, address)

    def challenged(self, word: Word, address: str) -> bytes:
        self.assertEqual(word.address, address)
        (frame,) = decode(word.payload)
        assert isinstance(frame, Challenge)
        return frame.nonce

    def prove(self, address: str = "a", now: float = 1.0) -> None:
        self.path.take(Response(self.nonce(address, now)), address, 40, now + 0.25)

    def test_proven(self) -> None:
        """Who sends the nonce back from where it was sent to has proven that address; the time it took is a sample."""
        self.assertFalse(self.path.met)
        nonce = self.nonce("a", 1.0)
        self.assertEqual((self.path.proven, self.path.address, self.path.window), (None, "a", 500))
        self.assertTrue(self.path.met)
        self.assertIsNone(self.path.take(Response(nonce), "a", 40, 1.25))
        self.assertEqual((self.path.proven, self.path.sample, self.path.changed), ("a", 0.25, 0))
        # The answer comes twice.
        self.assertIsNone(self.path.take(Response(nonce), "a", 40, 1.3))
        self.assertEqual(self.path.take(Response(nonce), "b", 40, 1.3), "bad-response")
        self.assertIsNone(self.path.gave_up(1e9))

    def test_asked_twice(self) -> None:
        """After two challenges with the same nonce nobody knows which one was answered: no sample."""
        nonce = self.nonce("a", 1.0)
        self.assertEqual(self.nonce("a", 2.0), nonce)
        self.assertIsNone(self.path.take(Response(nonce), "a", 40, 2.1))
        self.assertEqual((self.path.proven, self.path.sample), ("a", None))

    def test_wrong(self) -> None:
        """A wrong token, a short greeting, a wrong nonce, and the right one from elsewhere are worth nothing."""
        self.assertEqual(self.path.take(Hello(b"T" * 16, 1), "a", 1200, 1.0), "bad-hello")
        self.assertEqual(self.path.take(HELLO, "a", 1199, 1.0), "bad-hello")
        self.assertEqual(self.path.take(Challenge(b"12345678"), "a", 1200, 1.0), "unexpected")
        self.assertFalse(self.path.spend(1))
        nonce = self.nonce("a")
        self.assertEqual(self.path.take(Response(b"x" * 8), "a", 40, 1.0), "bad-response")
        self.assertEqual(self.path.take(Response(nonce), "b", 40, 1.0), "bad-response")
        self.assertIsNone(self.path.proven)

    def test_amplification(self) -> None:
        """Until the proof, at most three times the bytes leave that came; after it, there is no bound."""
        nonce = self.nonce("a")
        self.assertTrue(self.path.spend(3560))
        self.assertFalse(self.path.spend(1))
        self.path.take(Response(nonce), "a", 40, 1.0)
        self.assertTrue(self.path.spend(10**9))

    def test_copied_greeting(self) -> None:
        """A greeting that somebody copied and sent first does not keep its owner out, and copies are forgotten."""
        self.nonce("thief")
        nonce = self.nonce("owner")
        self.assertEqual(self.path.address, "owner")
        for number in range(MAX_CANDIDATES - 1):
            self.path.take(HELLO, f"thief {number}", 1200, 1.0)
        self.assertEqual(len(self.path.words(1.0)), MAX_CANDIDATES - 1)
        self.assertIsNone(self.path.take(Response(nonce), "owner", 40, 1.0))
        self.assertEqual(self.path.proven, "owner")

    def test_known_before(self) -> None:
        """An address that another transfer has proven needs no greeting, and may greet all the same."""
        self.path = DaemonPath(TOKEN, make_random(), proven="a")
        self.assertEqual((self.path.proven, self.path.met), ("a", True))
        self.assertIsNone(self.path.take(HELLO, "a", 1200, 1.0))
        self.assertEqual((self.path.proven, self.path.changed, self.path.words(1.0)), ("a", 0, []))

    def test_trusted_host(self) -> None:
        """A greeting from a trusted host is proof enough; from anywhere else, it is not."""
        self.path = DaemonPath(TOKEN, make_random(), trusts=lambda address: address in ("a", "a'"))
        self.assertEqual(self.path.take(Hello(b"T" * 16, 1), "a", 1200, 1.0), "bad-hello")
        self.nonce("b")
        self.assertIsNone(self.path.proven)
        self.assertIsNone(self.path.take(HELLO, "a", 1200, 1.0))
        self.assertEqual((self.path.proven, self.path.window, self.path.deadline()), ("a", 500, None))
        self.assertEqual(self.path.words(1.0), [])

    def test_copied_from_a_trusted_host(self) -> None:
        """Whoever sent a copy from another port of the host has the address until the true one has answered."""
        self.path = DaemonPath(TOKEN, make_random(), trusts=lambda _: True)
        self.path.take(HELLO, "thief", 1200, 1.0)
        self.assertEqual(self.path.proven, "thief")
        nonce = self.nonce("owner", 1.5)
        self.assertEqual(self.path.proven, "thief")
        self.assertIsNone(self.path.take(Response(nonce), "owner", 40, 1.6))
        self.assertEqual((self.path.proven, self.path.changed), ("owner", 1))

    def test_changed_address(self) -> None:
        """Authentic news from elsewhere are challenged there; the old address stays until the new one has answered."""
        self.prove("a")
        self.path.heard("a", 100, True, 2.0)
        self.assertEqual(self.path.words(2.0), [])
        self.path.heard("b", 100, False, 2.0)
        self.assertEqual(self.path.words(2.0), [])
        self.path.heard("b", 14, True, 2.0)
        (word,) = self.path.words(2.0)
        nonce = self.challenged(word, "b")
        self.assertEqual(self.path.address, "a")
        # Not for each datagram, and never for more bytes than three times what came.
        self.path.heard("b", 1, True, 2.0)
        self.assertEqual(self.path.words(2.0), [])
        self.path.heard("b", 1, True, 2.0 + CHALLENGE_GAP)
        self.assertEqual(self.path.words(2.0 + CHALLENGE_GAP), [])
        self.path.heard("b", 100, False, 2.3)
        self.assertEqual(self.path.words(2.3), [])
        self.assertIsNone(self.path.take(Response(nonce), "b", 40, 2.5))
        self.assertEqual((self.path.proven, self.path.changed, self.path.sample), ("b", 1, 0.5))

    def test_unproven_news(self) -> None:
        """Before an address is proven, other datagrams put nobody on trial."""
        self.path.heard("a", 100, True, 1.0)
        self.assertEqual(self.path.words(1.0), [])


class ClientPathTests(SynchronousTestCase):
    """Greeting and answering."""

    def make(self, *, greets: bool = True, rtt: float = 0.333) -> ClientPath:
        return ClientPath(TOKEN, "d", window=500, now=1.0, greets=greets, rtt=rtt)

    def said(self, path: ClientPath, now: float) -> list[object]:
        return [frame for word in path.words(now) for frame in decode(word.payload)]

    def test_greeting(self) -> None:
        """It greets until it is challenged, and answers until it hears something else."""
        path = self.make()
        self.assertEqual((path.proven, path.met, path.deadline()), (None, False, 1.0))
        self.assertEqual(self.said(path, 1.0), [HELLO])
        self.assertEqual(self.said(path, 1.2), [])
        self.assertEqual(path.deadline(), 1.5)
        self.assertIsNone(path.take(Challenge(b"12345678"), "d", 40, 1.2))
        self.assertTrue(path.met)
        assert path.sample is not None
        self.assertAlmostEqual(path.sample, 0.2)
        path.sample = None
        self.assertEqual(self.said(path, 1.2), [Response(b"12345678")])
        self.assertIsNone(path.take(Challenge(b"12345678"), "d", 40, 1.3))
        self.assertEqual(self.said(path, 1.3), [])
        self.assertEqual(self.said(path, 1.625), [Response(b"12345678")])
        # Another nonce starts this anew; what a round trip takes cannot be told from it.
        self.assertIsNone(path.take(Challenge(b"87654321"), "d", 40, 1.63))
        self.assertIsNone(path.sample)
        self.assertEqual(self.said(path, 1.63), [Response(b"87654321")])
        path.heard("d", 100, True, 1.7)
        self.assertEqual((path.proven, path.deadline(), self.said(path, 9.0)), ("d", None, []))
        self.assertTrue(path.spend(10**6))

    def test_challenged_later(self) -> None:
        """A daemon that sees another address than before gets one answer for each challenge."""
        path = self.make()
        path.heard("d", 100, True, 1.0)
        self.assertIsNone(path.take(Challenge(b"12345678"), "d", 40, 2.0))
        self.assertIsNotNone(path.deadline())
        self.assertEqual(self.said(path, 2.0), [Response(b"12345678")])
        self.assertEqual((path.deadline(), self.said(path, 3.0), path.gave_up(99.0)), (None, [], None))

    def test_no_answer(self) -> None:
        """After so many greetings there is no point in another."""
        path = self.make()
        times = []
        while path.gave_up(now := path.deadline() or 0.0) is None:
            if self.said(path, now):
                times.append(now - 1.0)
        self.assertEqual(times, [0, 0.5, 1.5, 3.5, 6.5, 9.5, 12.5, 15.5])
        self.assertEqual(len(times), MAX_HELLOS)
        self.assertEqual(path.gave_up(now), ("no-answer", path.gave_up(now)[1]))  # type: ignore[index]
        self.assertEqual(self.said(path, now + 9), [])

    def test_no_proof(self) -> None:
        """A daemon that challenges and then says nothing has timed out."""
        path = self.make()
        self.assertEqual(self.said(path, 1.0), [HELLO])
        self.assertEqual(self.said(path, 1.5), [HELLO])
        path.take(Challenge(b"12345678"), "d", 40, 1.6)
        self.assertIsNone(path.sample)
        self.assertEqual(self.said(path, 1.6), [Response(b"12345678")])
        self.assertEqual(self.said(path, path.deadline() or 0.0), [Response(b"12345678")])
        # From the second repetition on the daemon may have seen it move meanwhile.
        self.assertEqual(self.said(path, path.deadline() or 0.0), [HELLO, Response(b"12345678")])
        while (given_up := path.gave_up(now := path.deadline() or 0.0)) is None:
            self.said(path, now)
        self.assertEqual(given_up[0], "timed-out")

    def test_known_before(self) -> None:
        """Where the address was proven before, it greets only if nothing comes."""
        path = self.make(greets=False, rtt=0.5)
        self.assertEqual((path.proven, path.met, path.deadline()), ("d", True, 2.5))
        self.assertEqual(self.said(path, 2.4), [])
        self.assertEqual(self.said(path, 2.5), [HELLO])
        self.assertEqual(self.make(greets=False, rtt=0.01).deadline(), 1.5)

    def test_adopted(self) -> None:
        """Another transfer may prove the address meanwhile; it goes on greeting until it hears something."""
        path = self.make()
        path.adopt("d")
        self.assertEqual((path.proven, self.said(path, 1.0)), ("d", [HELLO]))

    def test_unexpected(self) -> None:
        """A daemon neither greets nor answers."""
        for frame in (HELLO, Response(b"12345678")):
            self.assertEqual(self.make().take(frame, "d", 1200, 1.0), "unexpected")
