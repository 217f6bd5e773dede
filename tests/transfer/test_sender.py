"""The end that has the file: what it makes of each datagram, and when."""

from __future__ import annotations

from hashlib import sha256
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.address import MAX_CANDIDATES
from pychat.transfer.congestion import NewReno, SentPacket
from pychat.transfer.packet import (
    DATAGRAM_BYTES,
    FROM_CLIENT,
    FROM_DAEMON,
    OVERHEAD_BYTES,
    Abort,
    Ack,
    Ask,
    Challenge,
    Data,
    Digest,
    Frame,
    Hello,
    Ping,
    Response,
    Seal,
    Verified,
    decode,
    encode,
    pad,
)
from pychat.transfer.sender import MAX_BURST, Sender
from pychat.transfer.terms import Done, Failed, Terms
from tests.transfer.link import make_content, make_terms
from tests.transfer.test_packet import DATA, FRAMES

HOME = ("192.0.2.1", 4000)
ELSEWHERE = ("203.0.113.9", 9)
TOKEN = make_terms().token


class SenderCase(SynchronousTestCase):
    """A sender, and a client made by hand."""

    def start(self, size: int = 3, **settings: int) -> None:
        self.terms = make_terms(size)
        self.content = make_content(size)
        self.sender = Sender(
            self.terms, congestion=NewReno(1200), now=10.0, random_bytes=Random(1).randbytes, **settings
        )
        self.client = Seal(self.terms, FROM_CLIENT)
        self.daemon = Seal(self.terms, FROM_DAEMON)
        self.next = 0

    def datagram(self, *frames: Frame, size: int = 0) -> bytes:
        payload = b"".join(map(encode, frames))
        self.next += 1
        return self.client.close(self.next - 1, pad(payload, max(size, len(payload) + OVERHEAD_BYTES)))

    def tell(self, now: float, *frames: Frame, address: object = HOME, size: int = 0) -> None:
        self.sender.receive(self.datagram(*frames, size=size), address, now)  # type: ignore[arg-type]

    def hear(self, now: float, address: object = HOME) -> list[tuple[int, list[Frame]]]:
        heard = []
        for datagram, to in self.sender.poll(now):
            self.assertEqual(to, address)
            number = self.daemon.number(datagram)
            heard.append((number, decode(self.daemon.open(number, datagram))))
        return heard

    def frames(self, now: float) -> list[Frame]:
        return [frame for _, frames in self.hear(now) for frame in frames]

    def claim(self, window: int = 10**9) -> None:
        """Prove the address, with a round trip of 100 ms; the next number from the client is 2."""
        self.tell(10.0, Hello(TOKEN, window), size=DATAGRAM_BYTES)
        ((_, frames),) = self.hear(10.0)
        (challenge,) = frames
        assert isinstance(challenge, Challenge)
        self.tell(10.1, Response(challenge.nonce))
        self.assertTrue(self.sender.proven)

    def supply(self) -> None:
        while (wanted := self.sender.wants()) is not None:
            self.sender.supply(wanted[0], self.content[wanted[0] : sum(wanted)])
            if sum(wanted) == self.terms.size:
                self.sender.source_ended(sha256(self.content).digest())

    def assert_refused(self, **reasons: int) -> None:
        expected = {reason.replace("_", "-"): number for reason, number in reasons.items()}
        self.assertEqual(dict(self.sender.counters.refused), expected)


class IntroductionTests(SenderCase):
    """Before the address is proven."""

    def test_small_file(self) -> None:
        """Challenge, proof, the file with its digest, word that it is verified, the end."""
        self.start(3)
        self.assertIsNone(self.sender.wants())
        self.claim()
        self.assertEqual(self.sender.smoothed_rtt, self.sender._recovery.rtt.latest)
        self.assertAlmostEqual(self.sender.smoothed_rtt, 0.1)
        self.supply()
        acked, data, digest = self.hear(10.1)
        self.assertEqual(acked[1], [Ack(0, 0, ((0, 2),))])
        self.assertEqual(data[1], [Ask(0), Data(0, self.content)])
        self.assertEqual(digest[1], [Ask(0), Digest(3, sha256(self.content).digest())])
        self.tell(10.2, Ack(0, 10**9, ((data[0], digest[0] + 1),)), Verified())
        self.assertEqual(self.sender.outcome, Done())
        self.assertEqual(self.sender.deadline(), 10.2)
        self.assertEqual(self.frames(10.2), [Ack(0, 0, ((0, 3),))])
        deadline = self.sender.deadline()
        assert deadline is not None
        self.assertGreater(deadline, 10.3)
        self.assertEqual(self.frames(10.3), [])
        self.assertFalse(self.sender.closed)
        self.assertEqual(self.frames(deadline), [])
        self.assertTrue(self.sender.closed)
        self.assertIsNone(self.sender.deadline())
        self.assertEqual(self.sender.poll(99.0), [])

    def test_challenge_is_small(self) -> None:
        """Less comes back than was sent, and only once."""
        self.start()
        self.tell(10.0, Hello(TOKEN, 5), size=DATAGRAM_BYTES)
        self.assertEqual(self.sender.deadline(), 10.0)
        ((datagram, _),) = self.sender.poll(10.0)
        self.assertEqual(len(datagram), 40)
        self.assertEqual(self.sender.poll(10.0), [])
        self.assertEqual(self.sender.deadline(), 40.0)

    def test_greetings_from_everywhere(self) -> None:
        """More addresses than may be on trial, in one burst: the latest are challenged, and each may prove itself."""
        self.start()
        addresses = [("192.0.2.1", port) for port in range(MAX_CANDIDATES + 1)]
        for address in addresses:
            self.tell(10.0, Hello(TOKEN, 5), address=address, size=DATAGRAM_BYTES)
        out = self.sender.poll(10.0)
        self.assertEqual([to for _, to in out], addresses[1:])
        sealed = out[0][0]
        (challenge,) = decode(self.daemon.open(self.daemon.number(sealed), sealed))
        assert isinstance(challenge, Challenge)
        self.tell(10.1, Response(challenge.nonce), address=addresses[1])
        self.assertTrue(self.sender.proven)

    def test_short_greeting(self) -> None:
        """A greeting that is not a full datagram would let somebody multiply bytes: no answer."""
        self.start()
        self.tell(10.0, Hello(TOKEN, 5), size=DATAGRAM_BYTES - 1)
        self.assertEqual(self.sender.poll(10.0), [])
        self.assert_refused(bad_hello=1)

    def test_wrong_token(self) -> None:
        """No answer."""
        self.start()
        self.tell(10.0, Hello(b"x" * 16, 5), size=DATAGRAM_BYTES)
        self.assertEqual(self.sender.poll(10.0), [])
        self.assert_refused(bad_hello=1)

    def test_replayed_greeting(self) -> None:
        """A greeting sent again, from home or elsewhere, before and after the proof: no answer."""
        self.start(3)
        hello = self.datagram(Hello(TOKEN, 5), size=DATAGRAM_BYTES)
        self.sender.receive(hello, HOME, 10.0)
        self.assertEqual(len(self.sender.poll(10.0)), 1)
        self.sender.receive(hello, HOME, 10.1)
        self.sender.receive(hello, ELSEWHERE, 10.1)
        self.assertEqual(self.sender.poll(10.1), [])
        self.assert_refused(replayed=2)

    def test_wrong_response(self) -> None:
        """A nonce that was not sent, or from elsewhere, proves nothing."""
        self.start()
        self.tell(10.0, Hello(TOKEN, 5), size=DATAGRAM_BYTES)
        ((_, (challenge,)),) = self.hear(10.0)
        assert isinstance(challenge, Challenge)
        self.tell(10.1, Response(b"x" * 8))
        self.tell(10.1, Response(challenge.nonce), address=ELSEWHERE)
        self.assertFalse(self.sender.proven)
        self.assertEqual(self.sender.poll(10.1), [])
        self.assert_refused(bad_response=2)

    def test_response_to_the_second_challenge(self) -> None:
        """When the round trip cannot be told, the estimate stays what it was."""
        self.start()
        self.tell(10.0, Hello(TOKEN, 5), size=DATAGRAM_BYTES)
        self.hear(10.0)
        self.tell(10.5, Hello(TOKEN, 5), size=DATAGRAM_BYTES)
        ((_, (challenge,)),) = self.hear(10.5)
        assert isinstance(challenge, Challenge)
        self.tell(10.6, Response(challenge.nonce))
        self.assertTrue(self.sender.proven)
        self.assertEqual(self.sender.smoothed_rtt, 0.333)

    def test_anything_else(self) -> None:
        """Other frames mean nothing before the proof, and half a packet of them is not taken."""
        self.start()
        self.tell(10.0, Ping(), Hello(TOKEN, 5), size=DATAGRAM_BYTES)
        self.assertEqual(self.sender.poll(10.0), [])
        self.assert_refused(unproven=1)

    def test_elsewhere(self) -> None:
        """After the proof, only the proven address is heard."""
        self.start()
        self.claim()
        self.hear(10.1)
        self.tell(10.2, Ping(), address=ELSEWHERE)
        self.assertEqual(self.sender.poll(10.2), [])
        self.assert_refused(wrong_address=1)

    def test_unclaimed(self) -> None:
        """After 30 s the offer is gone."""
        self.start()
        self.assertEqual(self.sender.deadline(), 40.0)
        self.assertEqual(self.sender.poll(39.9), [])
        self.assertEqual(self.sender.poll(40.0), [])
        assert isinstance(self.sender.outcome, Failed)
        self.assertEqual(self.sender.outcome.code, "unclaimed")
        self.assertTrue(self.sender.closed)
        self.tell(41.0, Hello(TOKEN, 5), size=DATAGRAM_BYTES)
        self.assert_refused(closed=1)

    def test_fails_before_the_proof(self) -> None:
        """Who has greeted hears of it, within what the address is good for."""
        self.start()
        self.tell(10.0, Hello(TOKEN, 5), size=DATAGRAM_BYTES)
        self.hear(10.0)
        self.sender.fail("going-away", "s" * 400)
        sizes = []
        while not self.sender.closed:
            deadline = self.sender.deadline()
            assert deadline is not None
            sizes += [len(datagram) for datagram, _ in self.sender.poll(deadline)]
        self.assertEqual(len(sizes), 2)
        self.assertLessEqual(sum(sizes) + 40, 1200)
        self.assertEqual(self.sender.outcome, Failed("going-away", "s" * 400))

    def test_aborted_before_the_proof(self) -> None:
        """The client does not want it any more."""
        self.start()
        self.tell(10.0, Abort("cancelled", "Never mind."))
        self.assertEqual(self.sender.outcome, Failed("cancelled", "Never mind.", remote=True))
        self.assertTrue(self.sender.closed)


class SendingTests(SenderCase):
    """After the address is proven."""

    def test_empty_file(self) -> None:
        """One read of nothing, so that somebody looks; then the digest."""
        self.start(0)
        self.claim()
        self.assertEqual(self.sender.wants(), (0, 0))
        self.sender.supply(0, b"")
        self.sender.source_ended(sha256(b"").digest())
        self.assertIsNone(self.sender.wants())
        self.assertEqual(self.frames(10.1)[1:], [Ask(0), Digest(0, sha256(b"").digest())])
        self.assertEqual(self.sender.progress, 0)

    def test_window(self) -> None:
        """The initial window leaves, and waits for acknowledgements; its last packet asks for one."""
        self.start(100_000)
        self.claim()
        self.supply()
        heard = self.hear(10.1)[1:]
        self.assertEqual(len(heard), 10)
        self.assertTrue(isinstance(heard[-1][1][0], Ask))
        self.assertEqual(self.hear(10.1), [])
        first, last = heard[0][0], heard[-1][0]
        self.tell(10.2, Ack(0, 10**9, ((first, last + 1),)))
        self.assertEqual(self.sender.progress, sum(len(frames[-1].data) for _, frames in heard))  # type: ignore[union-attr]
        # Slow start: twice as many, ten at once and the others paced.
        heard = self.hear(10.2)
        self.assertEqual(len(heard), 10)
        deadline = self.sender.deadline()
        assert deadline is not None
        self.assertLess(deadline, 10.21)
        while deadline < 10.29:
            heard += self.hear(deadline)
            deadline = self.sender.deadline() or 99.0
        self.assertEqual(len(heard), 20)

    def test_burst_is_bounded(self) -> None:
        """One poll gives a bounded number of datagrams, and asks to be called again at once."""
        self.start(1_000_000)
        self.claim()
        self.sender._recovery.congestion.window = 10**6
        self.supply()
        self.sender._pacer.tokens = 10**6
        self.assertEqual(len(self.hear(10.1)), MAX_BURST)
        self.assertEqual(self.sender.deadline(), 10.1)
        self.assertEqual(len(self.hear(10.1)), MAX_BURST)

    def test_peers_window(self) -> None:
        """Nothing goes beyond what the peer is ready to take; then it is asked, in case its word was lost."""
        self.start(5000)
        self.claim(window=2000)
        self.supply()
        heard = self.hear(10.1)[1:]
        self.assertEqual(sum(len(frames[-1].data) for _, frames in heard), 2000)  # type: ignore[union-attr]
        self.tell(10.2, Ack(0, 1500, ((heard[0][0], heard[-1][0] + 1),)))
        self.assertEqual(self.hear(10.2), [])
        deadline = self.sender.deadline()
        assert deadline is not None
        self.assertAlmostEqual(deadline, 10.7)
        self.assertEqual(self.frames(deadline), [Ping()])
        self.tell(10.8, Ack(0, 5000, ((heard[0][0], heard[-1][0] + 2),)))
        frames = self.frames(10.8)
        self.assertEqual(sum(len(frame.data) for frame in frames if isinstance(frame, Data)), 3000)

    def test_lost_and_sent_again(self) -> None:
        """What is lost goes first, under a new number."""
        self.start(9000)
        self.claim()
        self.supply()
        heard = self.hear(10.1)[1:]
        numbers = [number for number, _ in heard]
        self.tell(10.2, Ack(0, 10**9, ((numbers[3], numbers[-1] + 1),)))
        self.assertEqual(self.sender.counters.lost, 3)
        again = self.hear(10.2)
        self.assertGreater(again[0][0], numbers[-1])
        self.assertEqual(again[0][1][-1].offset, 0)  # type: ignore[union-attr]

    def test_lost_digest(self) -> None:
        """A digest that is lost is sent again."""
        self.start(3)
        self.claim()
        self.supply()
        heard = self.hear(10.1)
        digest = heard[-1]
        self.assertIsInstance(digest[1][-1], Digest)
        # Three pings later it is three packets behind.
        self.tell(10.2, Ack(0, 0, ((heard[-2][0], heard[-2][0] + 1),)))
        self.sender._recovery._largest_acked = digest[0] + 3
        self.sender._recovery._loss_time = 10.3
        self.assertIsInstance(self.frames(10.3)[-1], Digest)

    def test_probes(self) -> None:
        """When nothing is heard, two datagrams ask: new data if there is some, else the oldest again."""
        self.start(3)
        self.claim()
        self.supply()
        self.hear(10.1)
        deadline = self.sender.deadline()
        assert deadline is not None
        self.assertAlmostEqual(deadline, 10.1 + 0.1 + 0.2 + 0.025)
        self.assertEqual(self.frames(deadline)[1], Data(0, self.content))
        self.assertEqual(self.sender._recovery.probes, 1)

    def test_probe_repeats_the_digest(self) -> None:
        """If the digest is the oldest, it is repeated."""
        self.start(0)
        self.claim()
        self.supply()
        self.hear(10.1)
        deadline = self.sender.deadline()
        assert deadline is not None
        frames = self.frames(deadline)
        self.assertIsInstance(frames[1], Digest)
        self.assertEqual(len(frames), 4)

    def test_probe_with_nothing_to_repeat(self) -> None:
        """If what was in the oldest has arrived by another way, a ping does."""
        self.start(3)
        self.claim()
        self.supply()
        self.hear(10.1)
        self.sender._outgoing.arrived([SentPacket(0, 0.0, 0, 0, 3)])
        deadline = self.sender.deadline()
        assert deadline is not None
        self.assertEqual(self.frames(deadline), [Ping(), Ping()])

    def test_probe_after_everything_arrived(self) -> None:
        """A probe that is due when nothing is in flight any more is a ping."""
        self.start(0)
        self.claim()
        self.hear(10.1)
        self.sender._probes_due = 1
        self.assertEqual(self.frames(10.2), [Ping()])

    def test_gives_up(self) -> None:
        """Twelve probe timeouts without an answer: the peer is dead."""
        self.start(3)
        self.claim()
        self.supply()
        self.hear(10.1)
        polls = 0
        while self.sender.outcome is None:
            deadline = self.sender.deadline()
            assert deadline is not None
            self.hear(deadline)
            polls += 1
        self.assertEqual(polls, 13)
        self.assertEqual(self.sender.outcome, Failed("timed-out", self.sender.outcome.sentence))  # type: ignore[union-attr]

    def test_slow_source(self) -> None:
        """While the source has nothing, the peer is asked every half second, so that both know."""
        self.start(3)
        self.claim()
        (ack,) = self.frames(10.1)
        self.assertIsInstance(ack, Ack)
        at = self.sender.deadline()
        assert at is not None
        self.assertAlmostEqual(at, 10.6)
        ((number, frames),) = self.hear(at)
        self.assertEqual(frames, [Ping()])
        self.tell(10.7, Ack(0, 0, ((number, number + 1),)))
        self.assertAlmostEqual(self.sender.deadline() or 0, 11.2)
        self.assertEqual(self.hear(10.8), [])

    def answer(self, start: float, seconds: float, limit: int = 0) -> float:
        """A client that acknowledges each packet, and does nothing else.

        :return: when the sender gave up, or the end of that time.
        """
        for step in range(int(seconds * 10)):
            now = start + step / 10
            if self.sender.outcome is not None:
                return now
            for number, _ in self.hear(now):
                self.tell(now, Ack(0, limit, ((number, number + 1),)))
        return start + seconds

    def assert_stalled(self) -> None:
        assert isinstance(self.sender.outcome, Failed)
        self.assertEqual((self.sender.outcome.code, self.sender.outcome.remote), ("timed-out", False))

    def test_takes_nothing(self) -> None:
        """Who answers, and lets nothing move, has a minute."""
        self.start(300_000)
        self.claim(window=0)
        self.supply()
        self.assertEqual(round(self.answer(10.1, 100)), 70)
        self.assert_stalled()

    def test_takes_little(self) -> None:
        """Whoever moves something now and then may go on."""
        self.start(300_000)
        self.claim(window=0)
        self.supply()
        for step in range(5):
            self.answer(10.1 + 50 * step, 50, limit=1000 * step)
        self.assertIsNone(self.sender.outcome)
        self.assertEqual(self.sender.progress, 4000)

    def test_very_slow_source(self) -> None:
        """For our own disk nobody else is to blame."""
        for size in (0, 300_000):
            self.start(size)
            self.claim()
            self.answer(10.1, 100, limit=10**9)
            self.assertIsNone(self.sender.outcome)
            for step in range(3):
                self.supply()
                self.answer(110.1 + 10 * step, 10, limit=10**9)
            self.tell(140.1, Verified())
            self.assertEqual(self.sender.outcome, Done())

    def test_does_not_verify(self) -> None:
        """Who has all of it may sync for ten minutes; the digest once more, or a higher limit, wins no more."""
        self.start(3)
        self.claim()
        self.supply()
        end = self.answer(10.1, 550, limit=10**9)
        self.assertIsNone(self.sender.outcome)
        self.sender._digest_due = True
        end = self.answer(end, 200, limit=2 * 10**9)
        self.assertEqual(round(end), 610)
        self.assert_stalled()

    def test_optimistic_acknowledgement(self) -> None:
        """Who acknowledges what was never sent is not served any longer."""
        self.start(3)
        self.claim()
        self.supply()
        self.hear(10.1)
        self.tell(10.2, Ack(0, 10**9, ((0, 90),)))
        assert isinstance(self.sender.outcome, Failed)
        self.assertEqual(self.sender.outcome.code, "bad-peer")
        self.assert_refused(never_sent=1)
        self.assertIsInstance(self.frames(10.2)[-1], Abort)

    def test_numbers_left_out(self) -> None:
        """Now and then a packet number is left out, so that blind acknowledgements are found out."""
        self.start(3_000_000)
        self.claim()
        self.sender._recovery.congestion.window = 10**7
        self.sender.max_window = 10**7
        numbers: list[int] = []
        while len(numbers) < 1500:
            self.supply()
            self.sender._pacer.tokens = 10**7
            numbers += [number for number, _ in self.hear(10.1)]
        missing = set(range(numbers[0], numbers[-1])) - set(numbers)
        self.assertTrue(2 <= len(missing) <= 6, missing)

    def test_verified_too_early(self) -> None:
        """Who verifies what was not sent is not believed."""
        self.start(3)
        self.claim()
        self.tell(10.2, Verified())
        assert isinstance(self.sender.outcome, Failed)
        self.assertEqual(self.sender.outcome.code, "bad-peer")

    def test_unexpected(self) -> None:
        """Frames that only a daemon sends are dropped and counted."""
        self.start(3)
        self.claim()
        self.tell(10.2, Challenge(b"x" * 8), Digest(3, b"d" * 32), Data(0, b"abc"))
        self.assert_refused(unexpected=3)
        self.assertIsNone(self.sender.outcome)

    def test_malformed(self) -> None:
        """An authentic packet that makes no sense is dropped and counted, and so is a forged one."""
        self.start(3)
        self.claim()
        self.sender.receive(self.client.close(77, b"\xff"), HOME, 10.2)
        self.sender.receive(b"junk", HOME, 10.2)
        forged = bytearray(self.client.close(78, b"\x06"))
        forged[-1] ^= 1
        self.sender.receive(bytes(forged), HOME, 10.2)
        self.assert_refused(malformed=2, forged=1)

    def test_aborted(self) -> None:
        """The client gives up: one acknowledgement, and the end."""
        self.start(300_000)
        self.claim()
        self.supply()
        self.hear(10.1)
        self.tell(10.2, Abort("disk-full", "No room."))
        self.assertEqual(self.sender.outcome, Failed("disk-full", "No room.", remote=True))
        self.assertEqual(self.frames(10.2), [Ack(0, 0, ((0, 3),))])
        self.assertTrue(self.sender.closed)
        self.assertEqual(self.sender.held, 0)
        self.sender.supply(12345, b"late")
        self.assertIsNone(self.sender.wants())

    def test_aborts(self) -> None:
        """This end gives up: it says so until that is acknowledged."""
        self.start(300_000)
        self.claim()
        self.hear(10.1)
        self.sender.fail("source-changed", "It changed.")
        self.sender.fail("other", "Too late.")
        ((number, frames),) = self.hear(10.2)
        self.assertEqual(frames, [Abort("source-changed", "It changed.")])
        self.assertEqual(self.hear(10.2), [])
        self.tell(10.3, Ack(0, 0, ((0, 1),)))
        self.assertFalse(self.sender.closed)
        self.tell(10.3, Ack(0, 0, ((number, number + 1),)))
        self.assertTrue(self.sender.closed)

    def test_verified_twice(self) -> None:
        """While it lingers it answers who has not heard, and an abort that comes then changes nothing."""
        self.start(0)
        self.claim()
        self.supply()
        self.hear(10.1)
        self.tell(10.2, Verified())
        self.hear(10.2)
        self.tell(10.3, Verified())
        self.assertEqual(self.frames(10.3), [Ack(0, 0, ((0, 4),))])
        self.tell(10.35, Abort("late", "Late."))
        self.assertEqual(self.sender.outcome, Done())
        self.hear(10.35)
        self.assertTrue(self.sender.closed)

    def test_many_gaps(self) -> None:
        """However many of the client's datagrams are lost, memory of their numbers is bounded."""
        self.start(3)
        self.claim()
        for _ in range(200):
            self.next += 1
            self.tell(10.2, Ping())
        ((_, frames),) = self.hear(10.2)
        (ack,) = frames
        assert isinstance(ack, Ack)
        self.assertEqual(len(ack.ranges), 64)
        self.sender.receive(self.client.close(3, encode(Ping())), HOME, 10.3)
        self.assert_refused(replayed=1)


class AnyBytesTests(SenderCase):
    """Whatever comes, it does not fall over."""

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(st.tuples(st.binary(max_size=100) | FRAMES | DATA, st.booleans()), max_size=20),
        st.booleans(),
    )
    def test_survives(self, arrivals: list[tuple[bytes | Frame, bool]], claimed: bool) -> None:
        """Any bytes and any authentic frames, from anywhere, raise nothing, and end in a named way if at all."""
        self.start(5000)
        if claimed:
            self.claim()
        now = 11.0
        for arrival, home in arrivals:
            self.supply()
            datagram = arrival if isinstance(arrival, bytes) else self.datagram(arrival)
            self.sender.receive(datagram, HOME if home else ELSEWHERE, now)
            now += 0.05
            answers = self.sender.poll(now)
            if not claimed:
                # Only a token gets an answer, and nobody has it.
                self.assertEqual(answers, [])
            self.assertLessEqual(len(answers), MAX_BURST + 1)


class TermsOfSenders(SynchronousTestCase):
    """Two offers have nothing in common."""

    def test_another_key(self) -> None:
        """A datagram for one transfer is nothing to another, even under its id."""
        ours = make_terms(3)
        other = Terms(ours.transfer, ours.token, b"x" * 32, 3)
        sender = Sender(ours, congestion=NewReno(1200), now=0.0, random_bytes=Random(1).randbytes)
        hello = Seal(other, FROM_CLIENT).close(0, pad(encode(Hello(TOKEN, 5)), DATAGRAM_BYTES))
        sender.receive(hello, HOME, 0.0)
        self.assertEqual(sender.poll(0.0), [])
        self.assertEqual(dict(sender.counters.refused), {"forged": 1})
