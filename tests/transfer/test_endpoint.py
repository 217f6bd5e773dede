"""What both ends of a transfer do alike."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.endpoint import (
    ACK_EVERY,
    CLAIM_SECONDS,
    MAX_ABORTS,
    MAX_VERIFIEDS,
    SILENCE_SECONDS,
    Endpoint,
    Run,
)
from pychat.transfer.frames import (
    Abort,
    Ack,
    Again,
    Ask,
    Challenge,
    Data,
    Digest,
    Frame,
    Hello,
    Pause,
    Ping,
    Response,
    Verified,
    decode,
    encode,
)
from pychat.transfer.packet import (
    FROM_CLIENT,
    FROM_DAEMON,
    HEADER_BYTES,
    pad,
)
from pychat.transfer.path import ClientPath, DaemonPath
from pychat.transfer.pausing import PAUSE_SECONDS
from pychat.transfer.roundtrip import MAX_ACK_DELAY
from pychat.transfer.seal import Seal
from pychat.transfer.terms import Done, Failed, Train
from tests.transfer.offers import make_random, make_terms

TERMS = make_terms(10**6)


class End(Endpoint):
    """Keeps what it is given."""

    def __init__(self, *, daemon: bool = True, proven: bool = True, now: float = 1.0) -> None:
        if daemon:
            path: DaemonPath | ClientPath = DaemonPath(
                TERMS.token, make_random(), proven="c" if proven else None
            )
        else:
            path = ClientPath(TERMS.token, "d", window=500, now=now, greets=not proven)
        super().__init__(TERMS, path, sends=FROM_DAEMON if daemon else FROM_CLIENT, now=now)
        self.files: list[tuple[int, bytes]] = []
        self.arrived: list[Hashable] = []
        self.changed = 0
        self.became_ready = 0

    def _take_data(self, files: Sequence[Run], now: float) -> None:
        self.files += [(start, b"".join(buffers)) for start, _, buffers in files]

    def _word_arrived(self, key: Hashable) -> None:
        super()._word_arrived(key)
        self.arrived.append(key)

    def _path_changed(self, now: float) -> None:
        super()._path_changed(now)
        self.changed += 1

    def _path_ready(self, now: float) -> None:
        super()._path_ready(now)
        self.became_ready += 1


class EndpointCase(SynchronousTestCase):
    """A daemon's end whose client is at ``c``, unless told otherwise, and what the other end says to it."""

    def setUp(self) -> None:
        self.begin(End())

    def begin(self, end: End) -> None:
        self.end = end
        daemon = end._daemon
        self.seal = Seal(TERMS, FROM_CLIENT if daemon else FROM_DAEMON)
        self.opener = Seal(TERMS, FROM_DAEMON if daemon else FROM_CLIENT)
        self.number = 0

    def datagram(self, *frames: Frame, number: int | None = None, size: int = 0) -> bytes:
        if number is None:
            number = self.number
        self.number = max(self.number, number + 1)
        return self.seal.close(number, pad(b"".join(map(encode, frames)), size))

    def hear(
        self, *frames: Frame, now: float = 1.0, number: int | None = None, size: int = 0, address: str = "c"
    ) -> None:
        datagram = self.datagram(*frames, number=number, size=size)
        self.end.receive(datagram, len(datagram), address, now)

    def hear_train(self, count: int, now: float = 1.0, *, length: int = 100) -> None:
        datagrams = [self.datagram(Data(length * at, b"%3d" % at * (length // 3))) for at in range(count)]
        self.end.receive(b"".join(datagrams), len(datagrams[0]), "c", now)

    def opened(self, trains: Sequence[Train]) -> list[Frame]:
        return [
            frame
            for train in trains
            for datagram in train.datagrams()
            for frame in decode(self.opener.open(datagram)[1])
        ]

    def say(self, now: float = 1.0) -> list[Frame]:
        """What it says now."""
        return self.opened(self.end.poll(now))

    def refused(self) -> dict[str, int]:
        return dict(self.end.counters.refused)


class ReceivingTests(EndpointCase):
    """Trains in."""

    def test_trains(self) -> None:
        """A train of small or of large datagrams comes apart into offsets and bytes."""
        for buffer in (bytes, bytearray, memoryview):
            for length in (300, 6000):
                self.begin(End())
                datagrams = [self.datagram(Data(at * length, b"x" * length)) for at in range(3)]
                datagrams.append(self.datagram(Ask(0), Data(3 * length, b"x")))
                self.end.receive(buffer(b"".join(datagrams)), len(datagrams[0]), "c", 1.0)
                self.assertEqual(
                    self.end.files, [*((at * length, b"x" * length) for at in range(3)), (3 * length, b"x")]
                )
                self.assertEqual(self.end.counters.datagrams_in, 4)
                self.assertEqual(self.refused(), {})

    def test_acknowledged(self) -> None:
        """All that came is acknowledged, with its delay, and the clock of when the largest came."""
        self.hear_train(3, 1.0)
        self.hear(Data(900, b"x"), number=5, now=2.0)
        self.assertEqual(self.end.deadline(), 2.0)
        self.assertEqual(self.say(2.01), [Ack(9999, 2_000_000, 0, ((5, 6), (0, 3)))])
        self.assertEqual(self.say(2.5), [])

    def test_relaxed(self) -> None:
        """What comes as expected is acknowledged within 25 ms, or at the 64th packet, or when that is asked for."""
        self.hear_train(3)
        self.assertEqual(self.end.deadline(), 1.0 + MAX_ACK_DELAY)
        self.hear_train(2, 1.01)
        self.assertEqual(self.say(1.02), [])
        self.assertEqual(len(self.say(1.03)), 1)
        self.hear_train(ACK_EVERY, 1.03)
        self.assertEqual(len(self.say(1.03)), 1)
        self.hear(Ask(0), Data(0, b"x"), now=1.03)
        self.assertEqual(len(self.say(1.03)), 1)
        self.hear(Ask(0), Ping(), now=1.03)
        self.assertEqual(len(self.say(1.03)), 1)

    def test_replays(self) -> None:
        """A packet number counts once, within a train, across trains, and when it is long forgotten."""
        first = self.datagram(Data(0, b"x"))
        second = self.datagram(Data(1, b"y"))
        self.end.receive(first + second + first, len(first), "c", 1.0)
        self.end.receive(second, len(second), "c", 1.0)
        self.hear(Ask(2), number=7)
        self.hear(Ping(), number=1)
        self.hear(Ping(), number=4)
        self.assertEqual(self.end.files, [(0, b"x"), (1, b"y")])
        self.assertEqual(self.refused(), {"replayed": 3})
        # A floor beyond what was ever used forgets no more than there was.
        self.hear(Ask(10**6), number=8)
        self.hear(Ask(3), number=9)
        self.assertEqual(self.say()[0], Ack(0, 1_000_000, 0, ((8, 10),)))

    def test_gaps_in_a_train(self) -> None:
        """Packets out of order within one train are all taken, and acknowledged at once."""
        datagrams = [self.datagram(Data(number, b"x"), number=number) for number in (4, 5, 2, 9, 3)]
        self.end.receive(b"".join(datagrams), len(datagrams[0]), "c", 1.0)
        self.assertEqual(self.say(), [Ack(0, 1_000_000, 0, ((9, 10), (2, 6)))])

    def test_many_gaps(self) -> None:
        """So many ranges are kept; what is below them counts as seen."""
        for number in range(0, 200, 2):
            self.hear(Ping(), number=number)
        (ack,) = self.say()
        assert isinstance(ack, Ack)
        self.assertEqual((len(ack.ranges), ack.ranges[-1]), (64, (72, 73)))
        self.hear(Ping(), number=69)
        self.assertEqual(self.refused(), {"replayed": 1})

    def test_refused(self) -> None:
        """What is short, forged, of another direction, or makes no sense changes nothing."""
        self.hear(Data(0, b""))
        good = self.datagram(Data(0, b"x"), number=5)
        self.end.receive(b"", 9, "c", 1.0)
        self.end.receive(good[:31], 31, "c", 1.0)
        self.end.receive(good + good[:20], len(good), "c", 1.0)
        self.end.receive(b"x" * 40, 40, "c", 1.0)
        self.end.receive(good[:HEADER_BYTES] + b"?" * 26, len(good), "c", 1.0)
        forged = self.datagram(Data(0, b"x"), number=6)[:-1] + b"?"
        self.end.receive(forged, len(forged), "c", 1.0)
        datagram = self.seal.close(7, b"\xff")
        self.end.receive(datagram, len(datagram), "c", 1.0)
        self.assertEqual(self.end.files, [(0, b"x")])
        self.assertEqual(self.refused(), {"malformed": 6, "replayed": 1, "forged": 1})

    def test_not_ours(self) -> None:
        """Frames that an end has no business with are counted."""
        end = Endpoint(TERMS, DaemonPath(TERMS.token, make_random(), proven="c"), sends=FROM_DAEMON, now=1.0)
        for frame in (Data(0, b"x"), Verified(), Again(0, 1), Challenge(bytes(8))):
            datagram = self.datagram(frame)
            end.receive(datagram, len(datagram), "c", 1.0)
        self.assertEqual(end.counters.refused, {"unexpected": 4})

    def test_mixed_frames(self) -> None:
        """Data behind other frames is data too."""
        self.hear(Ping(), Data(5, b"abc"))
        self.assertEqual(self.end.files, [(5, b"abc")])

    def test_closed(self) -> None:
        """What comes when all is over is counted, and nothing else."""
        self.end.closed = True
        self.hear_train(3)
        self.assertEqual((self.refused(), self.end.poll(1.0), self.end.deadline()), ({"closed": 3}, [], None))

    @settings(deadline=None, max_examples=300)
    @given(
        buffer=st.binary(max_size=200),
        segment=st.integers(1, 100),
        payload=st.binary(max_size=60),
        daemon=st.booleans(),
        proven=st.booleans(),
        other=st.booleans(),
    )
    def test_any_bytes(
        self, buffer: bytes, segment: int, payload: bytes, daemon: bool, proven: bool, other: bool
    ) -> None:
        """Whatever comes, sealed or not, raises nothing; nor does what is said to it."""
        self.begin(End(daemon=daemon, proven=proven))
        self.end.receive(buffer, segment, "c", 1.0)
        sealed = self.seal.close(0, payload)
        self.end.receive(sealed, len(sealed), "x" if other else "c", 1.0)
        sealed = self.seal.close(1, b"\x05" + bytes(8) + payload)
        self.end.receive(sealed, len(sealed), "c", 1.0)
        for now in (1.0, 1.1, 2.0):
            self.end.poll(now)
            self.end.deadline()


class PathTests(EndpointCase):
    """The proof of the address, seen from the ends."""

    def test_meeting(self) -> None:
        """A client greets, is challenged, answers, and both are ready and know the round trip."""
        daemon, client = End(proven=False), End(daemon=False, proven=False)
        now = 1.0
        self.assertEqual((daemon.deadline(), client.deadline()), (1.0 + CLAIM_SECONDS, 1.0))
        for _ in range(4):
            for train in client.poll(now):
                daemon.receive(b"".join(train.buffers), train.segment, "c", now + 0.05)
            now += 0.05
            for train in daemon.poll(now):
                self.assertEqual(train.address, "c")
                client.receive(b"".join(train.buffers), train.segment, "d", now + 0.05)
            now += 0.05
        self.assertEqual((daemon.proven, client.proven), ("c", "d"))
        self.assertEqual((daemon.became_ready, client.became_ready), (1, 1))
        self.assertAlmostEqual(daemon.rtt, 0.1)
        self.assertAlmostEqual(client.rtt, 0.1)
        self.assertEqual((daemon.counters.refused, client.counters.refused), ({}, {}))

    def test_unproven(self) -> None:
        """Before the proof nothing else counts, and what was refused may come again."""
        self.begin(End(proven=False))
        self.hear(Ping(), number=0)
        self.hear(Data(0, b"x"), number=1)
        self.hear(Ask(0), Data(0, b"x"), number=2)
        self.assertEqual(self.refused(), {"unproven": 3})
        self.assertEqual(self.end.poll(1.0), [])
        self.prove()
        self.hear(Ping(), number=0)
        self.assertEqual(self.say()[0], Ack(0, 1_000_000, 0, ((3, 5), (0, 1))))

    def prove(self) -> None:
        self.hear(Hello(TERMS.token, 700), number=3, size=1200)
        (frame,) = self.say()
        assert isinstance(frame, Challenge)
        self.hear(Response(frame.nonce), number=4)
        self.assertEqual(self.end.proven, "c")

    def test_greeted_again(self) -> None:
        """Who greets from where it is known to be gets an answer."""
        self.begin(End())
        self.hear(Hello(TERMS.token, 700), size=1200)
        self.assertEqual(self.say(), [Ack(0, 1_000_000, 0, ((0, 1),))])

    def test_answer_to_greeting(self) -> None:
        """The acknowledgement of its last greeting is a client's first sample of the round trip."""
        self.begin(End(daemon=False, proven=False))
        self.say()
        self.hear(Ack(0, 5, 0, ((0, 1),)), now=1.25)
        self.assertEqual((self.end.proven, self.end.round_trip.latest), ("d", 0.25))
        self.begin(End(daemon=False, proven=False))
        self.say()
        self.say(1.5)
        self.hear(Ack(0, 5, 0, ((0, 1),)), now=1.6)
        self.assertEqual((self.end.proven, self.end.round_trip.latest), ("d", None))

    def test_adopted(self) -> None:
        """What another transfer has proven is good here, once."""
        self.begin(End(proven=False))
        self.end.adopt("c", 3.0)
        self.assertEqual((self.end.proven, self.end.deadline()), ("c", 3.0 + self.end.idle))
        self.end.adopt("e", 4.0)
        self.assertEqual(self.end.proven, "c")

    def test_refusals(self) -> None:
        """A wrong token and a wrong nonce are counted."""
        self.begin(End(proven=False))
        self.hear(Hello(b"x" * 16, 5), size=1200)
        self.hear(Response(b"12345678"))
        self.assertEqual(self.refused(), {"bad-hello": 1, "bad-response": 1})

    def test_unclaimed(self) -> None:
        """An offer stands for 30 s."""
        self.begin(End(proven=False))
        self.assertEqual(self.end.poll(1.0 + CLAIM_SECONDS), [])
        assert isinstance(self.end.outcome, Failed)
        self.assertEqual((self.end.outcome.code, self.end.closed), ("unclaimed", True))

    def test_no_answer(self) -> None:
        """A client gives up after eight greetings."""
        self.begin(End(daemon=False, proven=False))
        while self.end.outcome is None:
            self.end.poll(self.end.deadline() or 0.0)
        assert isinstance(self.end.outcome, Failed)
        self.assertEqual((self.end.outcome.code, self.end.counters.datagrams_out), ("no-answer", 8))

    def test_client_takes_data_at_once(self) -> None:
        """Data is an answer to a greeting too."""
        self.begin(End(daemon=False, proven=False))
        self.hear(Data(0, b"x"))
        self.assertEqual((self.end.files, self.end.proven), ([(0, b"x")], "d"))

    def test_changed_address(self) -> None:
        """News from elsewhere are taken, the new address is proven, and the round trip is measured anew."""
        self.hear(Ping())
        self.say()
        self.hear(Ping(), address="new", now=2.0)
        trains = self.end.poll(2.0)
        self.assertEqual([train.address for train in trains], ["new", "c"])
        challenge, ack = self.opened(trains)
        assert isinstance(challenge, Challenge)
        self.assertIsInstance(ack, Ack)
        self.assertEqual(self.end.changed, 0)
        self.hear(Response(challenge.nonce), address="new", now=2.5)
        self.assertEqual((self.end.changed, self.end.proven, self.end.rtt), (1, "new", 0.5))
        self.assertEqual([train.address for train in self.end.poll(2.5)], ["new"])


class WordTests(EndpointCase):
    """What has to arrive."""

    def ack_all(self, now: float) -> None:
        self.hear(Ack(0, 0, 0, ((0, self.end._next_number),)), now=now)

    def test_repeated(self) -> None:
        """A word is said until it is acknowledged, further and further apart."""
        self.end._say("a", encode(Ping()))
        self.assertTrue(self.end._says("a"))
        self.end.idle = inf
        times = []
        now = 1.0
        for _ in range(5):
            self.assertEqual(self.say(now), [Ping()])
            times.append(now)
            now = self.end._words.deadline()
        gaps = [after - before for before, after in pairwise(times)]
        self.assertLess(gaps[0], gaps[1])
        self.assertAlmostEqual(gaps[1], gaps[3])
        self.hear(Ack(0, 0, 0, ((2, 3),)), now=now)
        self.assertEqual((self.end.arrived, self.end._says("a")), (["a"], False))
        self.assertEqual(self.end._words.unsettled(), 2**48 - 1)

    def test_sample(self) -> None:
        """The acknowledgement of the newest word is a sample of the round trip."""
        self.end._say("a", encode(Ping()))
        self.say(1.0)
        self.assertEqual(self.end._words.unsettled(), 0)
        self.hear(Ack(10_000, 0, 0, ((0, 1),)), now=1.2)
        self.assertAlmostEqual(self.end.rtt, 0.2)

    def test_many(self) -> None:
        """Words share datagrams as far as they fit, with an acknowledgement first."""
        self.hear(Ping())
        for key in range(5):
            self.end._say(key, encode(Abort("x", "s" * 400)))
        trains = self.end.poll(1.0)
        self.assertEqual(len(trains), 3)
        self.assertTrue(all(train.segment <= 1200 for train in trains))
        self.assertIsInstance(self.opened(trains)[0], Ack)
        self.end._unsay(3)
        self.end._unsay("unknown")
        self.ack_all(1.1)
        self.assertEqual(self.end.arrived, [0, 1, 2, 4])

    def test_never_sent(self) -> None:
        """Who acknowledges what was never sent is cut off."""
        self.hear(Ack(0, 0, 0, ((0, 1),)))
        self.assertEqual(self.refused(), {"never-sent": 1})
        assert isinstance(self.end.outcome, Failed)
        self.assertEqual(self.end.outcome.code, "bad-peer")

    def test_idle(self) -> None:
        """After a second of silence the peer is asked for a sign of life; after 30 it is given up."""
        self.assertEqual(self.say(1.9), [])
        self.assertEqual(self.end.deadline(), 2.0)
        self.assertEqual(self.say(2.0), [Ping()])
        self.ack_all(2.5)
        self.assertEqual(self.end.deadline(), 3.5)
        while self.end.outcome is None:
            now = self.end.deadline() or 0.0
            self.say(now)
        assert isinstance(self.end.outcome, Failed)
        self.assertEqual(self.end.outcome.code, "timed-out")
        self.assertApproximates(now, 2.5 + SILENCE_SECONDS, 0.01)

    def test_slept(self) -> None:
        """An end that was suspended asks before it gives up; one that was just not needed was not suspended."""
        self.say(1.0)
        self.assertEqual(self.say(100.0), [Ping()])
        self.assertIsNone(self.end.outcome)
        self.end._last_heard = 100.0
        self.end.idle = 20.0
        self.end._words.clear()
        self.assertEqual(self.say(120.0), [Ping()])
        self.end.closed = True
        self.assertEqual(self.say(500.0), [])

    def test_patient(self) -> None:
        """An end may be told to wait for ever."""
        self.end.patience = self.end.idle = inf
        self.assertEqual((self.say(10**6), self.end.deadline()), ([], None))

    def test_pause(self) -> None:
        """Either end may pause; both know, and it goes on when nobody wants it any more."""
        self.end.pause(False)
        self.end.pause(True)
        self.end.pause(True)
        self.assertEqual(self.say(1.0), [Pause(True)])
        self.ack_all(1.1)
        self.hear(Pause(True), number=5, now=1.1)
        self.hear(Pause(False), number=4, now=1.1)
        self.end.pause(False)
        self.assertTrue(self.end.paused)
        self.assertEqual([frame for frame in self.say(1.1) if isinstance(frame, Pause)], [Pause(False)])
        self.hear(Pause(False), number=6, now=1.2)
        self.assertFalse(self.end.paused)
        self.hear(Pause(True), number=7, now=1.2)
        self.assertTrue(self.end.paused)

    def test_paused_for_long(self) -> None:
        """A paused peer is asked less often, and after an hour the transfer ends."""
        self.end.pause(True)
        self.say(1.0)
        self.ack_all(1.1)
        self.assertEqual(self.end.deadline(), 6.1)
        self.end.patience = self.end.idle = inf
        self.assertEqual(self.end.deadline(), 1.0 + PAUSE_SECONDS)
        self.say(1.0 + PAUSE_SECONDS)
        assert isinstance(self.end.outcome, Failed)
        self.assertEqual(self.end.outcome.code, "timed-out")
        self.end.pause(False)
        self.assertTrue(self.end.paused)

    def test_waits_for_its_turn(self) -> None:
        """That may take longer than people may pause: it counts from when one of them does."""
        self.end.patience = self.end.idle = inf
        self.end.pause(True, waits=True)
        self.say(1.0)
        self.ack_all(1.1)
        self.assertIsNone(self.end.deadline())
        self.assertEqual(self.say(1.0 + 2 * PAUSE_SECONDS), [])
        self.hear(Pause(True), number=5, now=10000.0)
        self.say(10000.0)
        self.end.pause(True)
        self.assertEqual(self.end.deadline(), 10000.0 + PAUSE_SECONDS)
        self.hear(Pause(False), number=6, now=10001.0)
        self.end.pause(True, waits=True)
        self.say(10001.0)
        self.assertIsNone(self.end.deadline())
        self.assertTrue(self.end.paused)
        # The client cannot tell one from the other: the daemon counts.
        self.begin(End(daemon=False))
        self.end.patience = self.end.idle = inf
        self.hear(Pause(True), now=2.0, address="d")
        self.say(2.0)
        self.assertTrue(self.end.paused)
        self.assertIsNone(self.end.deadline())


class LeavingTests(EndpointCase):
    """The last word."""

    def last_words(self) -> list[Frame]:
        said = []
        while (now := self.end.deadline()) is not None:
            said += self.say(max(now, 1.0))
        return said

    def test_abort(self) -> None:
        """A failure is told three times, further apart each time, unless it is acknowledged."""
        self.end.fail("cancelled", "Not now.")
        self.end.fail("other", "Too late.")
        self.assertEqual(self.end.outcome, Failed("cancelled", "Not now."))
        self.assertEqual(self.last_words(), [Abort("cancelled", "Not now.")] * MAX_ABORTS)
        self.assertTrue(self.end.closed)

    def test_verified(self) -> None:
        """Success is told six times."""
        self.end._end(Done())
        self.end._take_leave(Verified())
        self.assertEqual(self.last_words(), [Verified()] * MAX_VERIFIEDS)

    def test_acknowledged(self) -> None:
        """An acknowledged last word was the last one."""
        self.end._say("a", encode(Ping()))
        self.say()
        self.end.fail("cancelled", "Not now.")
        self.assertEqual(self.say(), [Abort("cancelled", "Not now.")])
        self.hear(Ack(0, 0, 0, ((0, 1),)))
        self.assertEqual((self.end.closed, self.say()), (False, []))
        self.hear(Ack(0, 0, 0, ((1, 2),)))
        self.assertTrue(self.end.closed)

    def test_heard(self) -> None:
        """Who hears the last word acknowledges it once, and has left; its own failure stands."""
        self.hear(Abort("cancelled", "Not now."))
        self.assertEqual(self.end.outcome, Failed("cancelled", "Not now.", remote=True))
        self.assertEqual(self.end.deadline(), 1.0)
        self.assertEqual(self.say(), [Ack(0, 1_000_000, 0, ((0, 1),))])
        self.assertTrue(self.end.closed)
        self.begin(End())
        self.end.fail("mine", "Mine.")
        self.hear(Abort("cancelled", "Not now."))
        self.assertEqual((self.end.outcome, len(self.say())), (Failed("mine", "Mine."), 1))
        self.assertTrue(self.end.closed)

    def test_lingering(self) -> None:
        """An end that is done may listen for a while; acknowledgements mean nothing to it."""
        self.end._end(Done())
        self.end._linger_until = 5.0
        self.hear(Ping())
        self.assertEqual(self.say(), [Ack(0, 1_000_000, 0, ((0, 1),))])
        self.hear(Ack(0, 0, 0, ((0, 1),)))
        self.assertEqual((self.end.deadline(), self.say(4.9), self.end.closed), (5.0, [], False))
        self.assertEqual((self.say(5.0), self.end.closed), ([], True))

    def test_nobody_there(self) -> None:
        """Nobody is told where nobody is known."""
        for daemon in (True, False):
            self.begin(End(daemon=daemon, proven=False))
            self.end.fail("cancelled", "Not now.")
            self.assertEqual((self.say(), self.end.closed), ([], True))

    def test_unproven(self) -> None:
        """Before the proof it is told as far as the bytes that came are good for."""
        self.begin(End(proven=False))
        self.hear(Hello(TERMS.token, 5), size=1200)
        self.say()
        self.end.fail("cancelled", "s" * 400)
        self.assertEqual(len(self.last_words()), 3)
        self.begin(End(proven=False))
        self.hear(Hello(TERMS.token, 5), size=1200)
        self.say()
        self.end.path.spend(3500)
        self.end.fail("cancelled", "s" * 400)
        self.assertEqual(self.last_words(), [])

    def test_abort_before_the_proof(self) -> None:
        """Whoever has the key may take an offer back."""
        self.begin(End(proven=False))
        self.hear(Abort("cancelled", "Not now."))
        self.assertEqual((self.say(), self.end.closed), ([], True))

    def test_done_without_a_word(self) -> None:
        """An end that has nothing to say is closed at once."""
        self.end._end(Done())
        self.assertEqual(self.end.deadline(), 1.0)
        self.assertEqual((self.say(), self.end.closed), ([], True))

    def test_digest(self) -> None:
        """A digest is nobody's business here."""
        self.hear(Digest(1, bytes(32)))
        self.assertEqual(self.refused(), {"unexpected": 1})
