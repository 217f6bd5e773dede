"""Whole transfers over a link in memory, in virtual time: whatever the weather, they end, and as they should."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.outgoing import BLOCK_BYTES
from pychat.transfer.packet import OVERHEAD_BYTES, Abort, encode
from pychat.transfer.terms import Done, Failed
from tests.transfer.link import CLIENT, Link, Weather, make_content

#: Seconds after which the most unlucky transfer has ended.
END_SECONDS = 600.0


class FairWeatherTests(SynchronousTestCase):
    """Nothing goes wrong on the way."""

    def assert_arrived(self, link: Link) -> None:
        self.assertEqual(link.sender.outcome, Done())
        self.assertEqual(link.receiver.outcome, Done())
        self.assertEqual(bytes(link.disk), link.content)
        self.assertEqual(link.written, len(link.content))
        self.assertTrue(link.sender.closed)
        self.assertTrue(link.receiver.closed)

    def test_sizes(self) -> None:
        """Files of no byte, of one, of about a datagram, of about a block, and of several all arrive."""
        for size in (0, 1, 1150, 1151, 1160, 1161, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 700_000):
            link = Link(make_content(size))
            link.run()
            self.assert_arrived(link)
            self.assertEqual(link.sender.counters.lost, 0)

    def test_round_trips(self) -> None:
        """A small file is there two round trips after the first datagram, and verified on both ends after three."""
        link = Link(b"small", Weather(delay=0.050))
        link.run()
        verified = [when for when, to, datagram in link.sent if to == "sender"][-1]
        self.assertAlmostEqual(verified - 100.0, 0.200, places=3)

    def test_nothing_sent_twice(self) -> None:
        """Without losses no byte of the file leaves twice."""
        link = Link(make_content(2_000_000), Weather(delay=0.005))
        link.run()
        self.assert_arrived(link)
        self.assertEqual(link.receiver.counters.duplicate_bytes, 0)
        self.assertEqual(link.sender.counters.refused + link.receiver.counters.refused, Counter())

    def test_acknowledgements_are_few(self) -> None:
        """On a wide link there is about one acknowledgement for each 32 datagrams, and never one for each."""
        link = Link(make_content(4_000_000), Weather(delay=0.010))
        link.run()
        down = sum(1 for _, to, _ in link.sent if to == "receiver")
        up = sum(1 for _, to, _ in link.sent if to == "sender")
        self.assertLess(up * 12, down)

    def test_slow_reading(self) -> None:
        """A source that takes seconds for each block costs time and nothing else."""
        link = Link(make_content(3 * BLOCK_BYTES), read_delay=7.0)
        link.run()
        self.assert_arrived(link)
        self.assertEqual(link.sender.counters.lost, 0)

    def test_slow_writing(self) -> None:
        """A disk slower than the link bounds what the receiver holds, and the transfer still ends."""
        window = 256 * 1024
        link = Link(make_content(3_000_000), window=window, write_delay=0.3)
        most = 0

        def spy(to: str, datagram: bytes) -> list[bytes]:
            nonlocal most
            most = max(most, link.receiver.received - link.receiver._written)
            return [datagram]

        link.spy = spy
        link.run()
        self.assert_arrived(link)
        self.assertLessEqual(most, window)
        self.assertEqual(link.sender.counters.lost, 0)

    def test_slow_verifying(self) -> None:
        """A receiver that syncs for a minute is not given up, for it still answers."""
        link = Link(make_content(1000), verify_delay=60.0)
        link.run()
        self.assert_arrived(link)

    def test_memory_of_the_sender(self) -> None:
        """However large the file, the sender holds no more than its window."""
        link = Link(make_content(4_000_000), Weather(delay=0.100), max_window=5 * BLOCK_BYTES)
        link.run()
        self.assert_arrived(link)
        self.assertLessEqual(link.most_held, 5 * BLOCK_BYTES)

    def test_window_shrinks(self) -> None:
        """The window can be set while the transfer runs."""
        link = Link(make_content(3_000_000), Weather(delay=0.050))

        def shrink() -> None:
            link.sender.max_window = 0

        held: list[int] = []
        link.at(100.5, shrink)
        link.at(101.5, lambda: held.append(link.sender.held))
        link.run()
        self.assert_arrived(link)
        self.assertLessEqual(held[0], 2 * BLOCK_BYTES)


class FoulWeatherTests(SynchronousTestCase):
    """Much goes wrong on the way."""

    @settings(deadline=None, max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        size=st.sampled_from([0, 1, 5000, BLOCK_BYTES + 1, 400_000]),
        seed=st.integers(0, 2**32),
        drop=st.sampled_from([0.0, 0.01, 0.1, 0.3]),
        duplicate=st.sampled_from([0.0, 0.01, 0.3]),
        corrupt=st.sampled_from([0.0, 0.01, 0.1]),
        reorder=st.sampled_from([0.0, 0.02, 0.5]),
        delay=st.sampled_from([0.0001, 0.010, 0.300]),
        jitter=st.sampled_from([0.0, 0.005]),
        queue=st.sampled_from([20, 4000]),
    )
    def test_ends_verified(
        self,
        size: int,
        seed: int,
        drop: float,
        duplicate: float,
        corrupt: float,
        reorder: float,
        delay: float,
        jitter: float,
        queue: int,
    ) -> None:
        """Any seed of a hostile link ends verified, or with a named error, in a bounded time."""
        link = Link(
            make_content(size),
            Weather(drop, duplicate, corrupt, reorder, delay, jitter, queue),
            seed=seed,
        )
        link.run(END_SECONDS)
        self.assertTrue(link.sender.closed and link.receiver.closed, "it goes on for ever")
        if isinstance(link.receiver.outcome, Done):
            self.assertEqual(bytes(link.disk), link.content)
            self.assertEqual(link.written, size)
        else:
            # Only the worst links lose eight greetings, or twelve probes, in a row.
            self.assertGreaterEqual(drop + corrupt, 0.3)
            assert isinstance(link.receiver.outcome, Failed)
            self.assertIn(link.receiver.outcome.code, {"no-answer", "timed-out", "unclaimed"})

    def test_typical(self) -> None:
        """5 % loss, 2 % reordering, 1 % duplication and 1 % corruption each way: verified, at a few percent of cost."""
        link = Link(make_content(3_000_000), Weather(0.05, 0.01, 0.01, 0.02, 0.005), seed=5)
        link.run()
        self.assertEqual(link.receiver.outcome, Done())
        self.assertEqual(bytes(link.disk), link.content)
        sent = link.sender.counters.bytes_out
        self.assertLess(sent, 1.2 * len(link.content))
        self.assertGreater(link.sender.counters.lost, 100)
        # The receiver heard the number with the digest; the last round trip may have added to it.
        self.assertApproximates(link.receiver.counters.lost, link.sender.counters.lost, 10)

    def test_outages(self) -> None:
        """Two seconds of silence in each five are survived."""
        link = Link(make_content(2_000_000), Weather(delay=0.100, drop=0.01), seed=6)

        def toggle() -> None:
            link.weather.drop = 1.0 if link.weather.drop < 1.0 else 0.01
            link.at(link.now + (2.0 if link.weather.drop == 1.0 else 3.0), toggle)

        link.at(101.0, toggle)
        link.run()
        self.assertEqual((link.sender.outcome, link.receiver.outcome), (Done(), Done()))
        self.assertEqual(bytes(link.disk), link.content)

    def test_replay_of_everything(self) -> None:
        """Every datagram that ever was, again and from anywhere, is worth no byte in answer."""
        link = Link(make_content(300_000))
        link.run(0.1)
        self.assertIsNone(link.sender.outcome)
        link.turn()
        heard = [datagram for _, to, datagram in link.sent if to == "sender"]
        before = Counter(link.sender.counters.refused)
        out = link.sender.counters.datagrams_out
        for datagram in heard:
            link.sender.receive(datagram, CLIENT, link.now)
            link.sender.receive(datagram, ("203.0.113.9", 9), link.now)
        self.assertEqual(link.sender.poll(link.now), [])
        self.assertEqual(link.sender.counters.datagrams_out, out)
        refused = link.sender.counters.refused - before
        self.assertEqual(refused, Counter({"replayed": len(heard), "wrong-address": len(heard)}))


class DeadPeerTests(SynchronousTestCase):
    """The other end is gone: this one notices, within a stated time, and says so by name."""

    def test_no_daemon(self) -> None:
        """Nobody answers the greeting."""
        link = Link(b"x", Weather(drop=1.0))
        link.run()
        assert isinstance(link.receiver.outcome, Failed)
        self.assertEqual(link.receiver.outcome.code, "no-answer")
        self.assertAlmostEqual(link.now, 130.0)
        assert isinstance(link.sender.outcome, Failed)
        self.assertEqual(link.sender.outcome.code, "unclaimed")
        self.assertEqual(len(link.sent), 8)
        self.assertTrue(all(len(datagram) == 1200 for _, _, datagram in link.sent))

    def test_sender_dies(self) -> None:
        """The daemon is killed: the receiver asks six times, five seconds apart."""
        link = Link(make_content(2_000_000))
        link.at(100.1, lambda: link.stalled.add("sender"))
        link.run()
        assert isinstance(link.receiver.outcome, Failed)
        self.assertEqual(link.receiver.outcome.code, "timed-out")
        self.assertGreater(link.now, 130.0)
        self.assertLess(link.now, 140.0)

    def test_receiver_dies(self) -> None:
        """The client is killed: the sender probes twelve times, at most three seconds apart."""
        link = Link(make_content(2_000_000))
        link.at(100.1, lambda: link.stalled.add("receiver"))
        link.run()
        assert isinstance(link.sender.outcome, Failed)
        self.assertEqual(link.sender.outcome.code, "timed-out")
        self.assertGreater(link.now, 115.0)
        self.assertLess(link.now, 140.0)
        self.assertEqual(link.sender.held, 0)

    def test_receiver_dies_while_verifying(self) -> None:
        """The client is killed after the last byte: the sender asks whether it is there, and gives up."""
        link = Link(b"x", verify_delay=1000.0)
        link.at(102.0, lambda: link.stalled.add("receiver"))
        link.run()
        assert isinstance(link.sender.outcome, Failed)
        self.assertEqual(link.sender.outcome.code, "timed-out")

    def test_farewell_is_lost(self) -> None:
        """The file is verified, and every word about it is lost: no failure for the receiver, who has it."""
        link = Link(b"x")
        link.spy = lambda to, datagram: [datagram] if link.receiver.outcome is None else []
        link.run()
        self.assertEqual(link.receiver.outcome, Done())
        assert isinstance(link.sender.outcome, Failed)
        self.assertEqual(link.sender.outcome.code, "timed-out")

    def test_last_acknowledgement_is_lost(self) -> None:
        """The sender knows, and the receiver says it again until it hears so; both are done."""
        link = Link(b"x")
        spoiled = 0

        def spy(to: str, datagram: bytes) -> list[bytes]:
            nonlocal spoiled
            if to == "receiver" and link.sender.outcome == Done() and not spoiled:
                spoiled += 1
                return []
            return [datagram]

        link.spy = spy
        link.run()
        self.assertEqual(spoiled, 1)
        self.assertEqual((link.sender.outcome, link.receiver.outcome), (Done(), Done()))


class AbortTests(SynchronousTestCase):
    """Either end gives up, and the other one hears why."""

    def test_by_sender(self) -> None:
        """The file changed: both ends say so."""
        link = Link(make_content(2_000_000))
        link.at(100.1, lambda: link.sender.fail("source-changed", "It changed."))
        link.run()
        self.assertEqual(link.sender.outcome, Failed("source-changed", "It changed."))
        self.assertEqual(link.receiver.outcome, Failed("source-changed", "It changed.", remote=True))
        self.assertLess(link.now, 100.4)

    def test_by_receiver(self) -> None:
        """The disk is full: both ends say so."""
        link = Link(make_content(2_000_000))
        link.at(100.1, lambda: link.receiver.fail("disk-full", "No room."))
        link.run()
        self.assertEqual(link.receiver.outcome, Failed("disk-full", "No room."))
        self.assertEqual(link.sender.outcome, Failed("disk-full", "No room.", remote=True))
        self.assertLess(link.now, 100.4)

    def test_over_a_bad_link(self) -> None:
        """It is said three times, and then no more."""
        link = Link(make_content(2_000_000))

        def abort() -> None:
            link.weather.drop = 1.0
            link.sent.clear()
            link.receiver.fail("cancelled", "Never mind.")

        link.at(100.1, abort)
        link.run()
        size = OVERHEAD_BYTES + len(encode(Abort("cancelled", "Never mind.")))
        aborts = [datagram for _, to, datagram in link.sent if to == "sender" and len(datagram) == size]
        self.assertEqual(len(aborts), 3)
        self.assertEqual(len(set(aborts)), 3)

    def test_both_at_once(self) -> None:
        """Both give up in the same moment: each keeps its own reason, and both close."""
        link = Link(make_content(2_000_000))
        link.at(100.1, lambda: link.sender.fail("going-away", "Stopping."))
        link.at(100.1, lambda: link.receiver.fail("cancelled", "Never mind."))
        link.run()
        self.assertEqual(link.sender.outcome, Failed("going-away", "Stopping."))
        self.assertEqual(link.receiver.outcome, Failed("cancelled", "Never mind."))
        self.assertTrue(link.sender.closed and link.receiver.closed)

    def test_before_the_answer(self) -> None:
        """A receiver that never heard anything has nobody to tell."""
        link = Link(b"x")
        link.at(100.005, lambda: link.receiver.fail("cancelled", "Never mind."))
        link.run(1.0)
        self.assertTrue(link.receiver.closed)
        self.assertEqual(len([1 for _, to, _ in link.sent if to == "sender"]), 1)

    def test_while_proving(self) -> None:
        """A receiver that was challenged says that it gives up, and is believed."""
        link = Link(b"x")
        link.at(100.0205, lambda: link.receiver.fail("cancelled", "Never mind."))
        link.spy = lambda to, datagram: [] if to == "sender" and 100.015 < link.now < 100.0205 else [datagram]
        link.run(1.0)
        self.assertEqual(link.sender.outcome, Failed("cancelled", "Never mind.", remote=True))
        self.assertTrue(link.sender.closed and link.receiver.closed)
