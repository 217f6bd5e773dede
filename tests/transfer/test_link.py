"""Both ends of a transfer with a link between them: whatever the weather, they end, and as they should."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.frames import Abort, encode
from pychat.transfer.outgoing import BLOCK_BYTES
from pychat.transfer.packet import FROM_DAEMON, OVERHEAD_BYTES
from pychat.transfer.terms import PIECE_BYTES, Done, Failed
from tests.transfer.link import CLIENT, Link, Weather, make_content

#: Virtual seconds after which the most unlucky transfer has ended.
END_SECONDS = 3600.0


class LinkCase(SynchronousTestCase):
    """What is to hold at the end."""

    def assert_arrived(self, link: Link) -> None:
        self.assertEqual((link.sender.outcome, link.receiver.outcome), (Done(), Done()))
        self.assertEqual(bytes(link.disk.data), link.content)
        self.assertTrue(link.sender.closed)
        self.assertTrue(link.receiver.closed)

    def assert_failed(self, code: str, outcome: object) -> None:
        assert isinstance(outcome, Failed), outcome
        self.assertEqual(outcome.code, code)


class FairWeatherTests(LinkCase):
    """Nothing goes wrong on the way."""

    def test_sizes(self) -> None:
        """Files of no byte, of one, of about a datagram, a block, a piece, and of several all arrive, either way."""
        for up in (False, True):
            for size in (
                0,
                1,
                1150,
                1160,
                1161,
                BLOCK_BYTES - 1,
                BLOCK_BYTES + 1,
                PIECE_BYTES,
                PIECE_BYTES + 1,
            ):
                link = Link(make_content(size), up=up)
                link.run()
                self.assert_arrived(link)
                self.assertEqual(link.written, size)
                self.assertEqual(link.sender.lost, 0)

    def test_round_trips(self) -> None:
        """A small file is there two round trips after the first datagram, and verified half a one later."""
        link = Link(b"small", Weather(delay=0.050))
        link.run(0.205)
        self.assertEqual(link.written, 5)
        link.run(0.050)
        self.assertEqual(link.receiver.outcome, Done())

    def test_nothing_sent_twice(self) -> None:
        """Without losses no byte of the file leaves twice."""
        for up in (False, True):
            link = Link(make_content(2_000_000), Weather(delay=0.005), up=up)
            link.run()
            self.assert_arrived(link)
            self.assertEqual(link.receiver.counters.duplicate_bytes, 0)
            self.assertEqual(link.sender.counters.refused + link.receiver.counters.refused, Counter())

    def test_acknowledgements_are_few(self) -> None:
        """There is never one for each datagram."""
        link = Link(make_content(4_000_000), Weather(delay=0.010))
        link.run()
        down = sum(1 for _, to, _ in link.sent if to == "receiver")
        up = sum(1 for _, to, _ in link.sent if to == "sender")
        self.assertLess(up * 4, down)

    def test_large_datagrams(self) -> None:
        """A path that takes more gets it: far fewer datagrams than at 1,200 bytes."""
        link = Link(make_content(8_000_000), Weather(delay=0.001, mtu=65507, rate=1e9))
        link.run()
        self.assert_arrived(link)
        self.assertGreater(link.sender.pushed_size, 9000)
        self.assertLess(sum(1 for _, to, _ in link.sent if to == "receiver"), 4000)

    def test_large_packets(self) -> None:
        """A fast path that loses nothing gets a train sealed as one packet, in datagrams of the path's size."""
        for up in (False, True):
            link = Link(make_content(20_000_000), Weather(delay=0.001, rate=1e8), up=up, congestion="model")
            link.run()
            self.assert_arrived(link)
            down = [datagram for _, to, datagram in link.sent if to == "receiver"]
            fragments = [datagram for datagram in down if datagram[0] > FROM_DAEMON]
            self.assertGreater(len(fragments), len(down) / 2)
            self.assertLessEqual(max(map(len, fragments)), 1472)
            self.assertEqual(link.receiver.counters.duplicate_bytes, 0)
            self.assertEqual(link.sender.counters.refused + link.receiver.counters.refused, Counter())
            self.assertLess(sum(map(len, down)), 1.03 * 20_000_000)

    def test_large_packets_are_not_wasted(self) -> None:
        """A loss now and then costs next to nothing, and where losses are frequent nothing is put at risk."""
        for drop, most in ((0.0003, 1.045), (0.001, 1.045), (0.02, 1.08)):
            weather = Weather(drop, delay=0.001, rate=1e8)
            link = Link(make_content(20_000_000), weather, congestion="model", seed=1)
            link.run()
            self.assert_arrived(link)
            self.assertLess(link.sender.counters.bytes_out, most * 20_000_000, drop)
            self.assertLess(link.now - 100.0, 0.4)

    def test_large_packets_out_of_order(self) -> None:
        """A path that mixes up what travels at the same time, without losing any, loses no packets by that."""
        weather = Weather(delay=0.010, jitter=0.001, rate=1e8, queue=100_000)
        link = Link(make_content(20_000_000), weather, congestion="model")
        link.run()
        self.assert_arrived(link)
        self.assertEqual(link.receiver.counters.refused, Counter())
        self.assertLess(link.sender.counters.bytes_out, 1.05 * 20_000_000)
        self.assertLess(link.now - 100.0, 0.7)

    def test_large_packets_in_a_jumble(self) -> None:
        """Where more packets get mixed up than are kept it finds out, and goes on with small ones."""
        weather = Weather(delay=0.010, jitter=0.003, rate=1e8, queue=100_000)
        link = Link(make_content(40_000_000), weather, congestion="model")
        link.run()
        self.assert_arrived(link)
        self.assertGreater(link.receiver.counters.refused["incomplete"], 0)
        self.assertLess(link.sender.counters.bytes_out, 1.15 * 40_000_000)
        self.assertLess(link.now - 100.0, 1.2)

    def test_reliable(self) -> None:
        """Over what loses nothing."""
        link = Link(make_content(3_000_000), Weather(mtu=65507, rate=1e9), reliable=True)
        link.run()
        self.assert_arrived(link)
        self.assertLess(sum(1 for _, to, _ in link.sent if to == "receiver"), 200)

    def test_controllers(self) -> None:
        """Whoever decides how much is in flight."""
        for name in ("newreno", "cubic", "model"):
            link = Link(make_content(1_500_000), Weather(0.01, delay=0.005), congestion=name)
            link.run()
            self.assert_arrived(link)

    def test_slow_reading(self) -> None:
        """A source that takes seconds for each block costs time and nothing else."""
        link = Link(make_content(3 * BLOCK_BYTES), read_delay=7.0)
        link.run()
        self.assert_arrived(link)
        self.assertEqual(link.sender.lost, 0)

    def test_slow_writing(self) -> None:
        """A disk slower than the link bounds what the receiver holds, and the transfer still ends."""
        link = Link(make_content(6_000_000), window=PIECE_BYTES, write_delay=0.3)
        most = 0

        def spy(to: str, datagram: bytes) -> list[bytes]:
            nonlocal most
            most = max(most, link.receiver._unwritten)
            return [datagram]

        link.spy = spy
        link.run()
        self.assert_arrived(link)
        self.assertLessEqual(most, PIECE_BYTES)
        self.assertEqual(link.sender.lost, 0)

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

    def test_pause(self) -> None:
        """Either end has it stopped, for as long as it likes; then it goes on."""
        for who in ("sender", "receiver"):
            link = Link(make_content(3_000_000), Weather(delay=0.010))
            end = getattr(link, who)
            link.at(100.15, lambda end=end: end.pause(True))  # type: ignore[misc]
            arrived: list[int] = []
            link.at(100.5, lambda link=link, arrived=arrived: arrived.append(link.receiver.received))  # type: ignore[misc]
            link.at(900.0, lambda link=link, arrived=arrived: arrived.append(link.receiver.received))  # type: ignore[misc]
            link.at(900.0, lambda end=end: end.pause(False))  # type: ignore[misc]
            link.run(2000.0)
            self.assert_arrived(link)
            self.assertEqual(arrived[0], arrived[1])
            self.assertLess(arrived[0], 3_000_000)


class ResumeTests(LinkCase):
    """The receiver has some of it."""

    HAVE = ((0, 500_000), (PIECE_BYTES, PIECE_BYTES + 700_000), (2_500_000, 2_600_000))

    def test_only_what_is_missing(self) -> None:
        """What is there is not sent, and the whole is verified."""
        for up in (False, True):
            link = Link(make_content(3_300_000), up=up, have=self.HAVE)
            link.run()
            self.assert_arrived(link)
            self.assertEqual(link.written, 3_300_000 - 1_300_000)

    def test_everything(self) -> None:
        """All is there: it is verified, and nothing is sent."""
        link = Link(make_content(3_300_000), have=[(0, 3_300_000)])
        link.run()
        self.assert_arrived(link)
        self.assertEqual(link.written, 0)

    def test_damaged_on_the_disk(self) -> None:
        """A piece that was damaged meanwhile is sent again, and only that."""
        link = Link(make_content(5_000_000), have=[(0, 3 * PIECE_BYTES)])
        link.disk.data[PIECE_BYTES + 5] ^= 1
        link.run()
        self.assert_arrived(link)
        self.assertEqual(link.written, 5_000_000 - 2 * PIECE_BYTES)

    def test_damaged_everywhere(self) -> None:
        """All pieces are, and each comes again."""
        link = Link(make_content(9_000_000), Weather(0.02, delay=0.005), have=[(0, 8_900_000)])
        for at in range(0, 8_900_000, PIECE_BYTES):
            link.disk.data[at] ^= 1
        link.run()
        self.assert_arrived(link)

    def test_damaged_on_the_way_to_the_disk(self) -> None:
        """A piece that is written wrong is sent again; one that is wrong three times ends it."""
        for up in (False, True):
            link = Link(make_content(3_300_000), Weather(0.01), up=up)
            link.disk.damaged = {0: 1, 2: 2}
            link.run()
            self.assert_arrived(link)
            link = Link(make_content(3_300_000), up=up)
            link.disk.damaged = {1: 3}
            link.run()
            self.assert_failed("digest-mismatch", link.receiver.outcome)
            self.assert_failed("digest-mismatch", link.sender.outcome)


class FoulWeatherTests(LinkCase):
    """Much goes wrong on the way."""

    @settings(deadline=None, max_examples=200, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        size=st.sampled_from([0, 1, 5000, BLOCK_BYTES + 1, 400_000, PIECE_BYTES + 100_000]),
        up=st.booleans(),
        congestion=st.sampled_from(["newreno", "model"]),
        have=st.sampled_from([(), ((0, 1),), ((2000, 4000),), ((0, 5000),)]),
        damaged=st.booleans(),
        seed=st.integers(0, 2**32),
        drop=st.sampled_from([0.0, 0.01, 0.1, 0.3]),
        duplicate=st.sampled_from([0.0, 0.01, 0.3]),
        corrupt=st.sampled_from([0.0, 0.01, 0.1]),
        reorder=st.sampled_from([0.0, 0.02, 0.5]),
        delay=st.sampled_from([0.0001, 0.010, 0.300]),
        jitter=st.sampled_from([0.0, 0.005]),
        queue=st.sampled_from([20, 4000]),
        mtu=st.sampled_from([1200, 1472, 9000, 65507]),
        moves=st.sampled_from([0, 0, 1, 3]),
        large=st.booleans(),
    )
    def test_ends_verified(
        self,
        size: int,
        up: bool,
        congestion: str,
        have: tuple[tuple[int, int], ...],
        damaged: bool,
        seed: int,
        drop: float,
        duplicate: float,
        corrupt: float,
        reorder: float,
        delay: float,
        jitter: float,
        queue: int,
        mtu: int,
        moves: int,
        large: bool,
    ) -> None:
        """Any seed of a hostile link ends verified, or with a named error, in a bounded time."""
        with ExitStack() as early:
            if large:
                # Packets in fragments after every bit that came without a loss, however slow the path is.
                early.enter_context(
                    patch.multiple("pychat.transfer.sender", CLEAN_BYTES=20_000, TRAIN_SECONDS=1e9)
                )
            link = Link(
                make_content(size),
                Weather(drop, duplicate, corrupt, reorder, delay, jitter, queue, mtu),
                up=up,
                seed=seed,
                congestion=congestion,
                have=have if not have or have[0][1] <= size else (),
            )
            if damaged and size:
                link.disk.damaged = {0: 1}

            def move(port: int) -> None:
                if link.sender.proven and link.receiver.proven:
                    link.home = ("192.0.2.9", port)

            for port in range(moves):
                link.at(100.5 + 2 * port, lambda port=port: move(port))  # type: ignore[misc]
            link.run(END_SECONDS)
        self.assertTrue(link.sender.closed and link.receiver.closed, "it goes on for ever")
        if isinstance(link.receiver.outcome, Done):
            self.assertEqual(bytes(link.disk.data), link.content)
        else:
            # Only the worst links lose eight greetings, or are silent for half a minute.
            self.assertGreaterEqual(drop + corrupt, 0.3, (link.receiver.outcome, link.sender.outcome))
            assert isinstance(link.receiver.outcome, Failed)
            self.assertIn(link.receiver.outcome.code, {"no-answer", "timed-out", "unclaimed"})

    def test_typical(self) -> None:
        """5 % loss, 2 % reordering, 1 % duplication and 1 % corruption each way: verified, at a few percent of cost."""
        for up in (False, True):
            link = Link(make_content(3_000_000), Weather(0.05, 0.01, 0.01, 0.02, 0.005), up=up, seed=5)
            link.run()
            self.assert_arrived(link)
            self.assertLess(link.sender.counters.bytes_out, 1.2 * len(link.content))
            self.assertGreater(link.sender.lost, 100)
            # The receiver heard the number with the digest; the last round trip may have added to it.
            self.assertApproximates(link.receiver.counters.lost, link.sender.lost, 20)

    def test_outages(self) -> None:
        """Two seconds of silence in each five are survived."""
        link = Link(make_content(2_000_000), Weather(delay=0.100, drop=0.01), seed=6)

        def toggle() -> None:
            link.weather.drop = 1.0 if link.weather.drop < 1.0 else 0.01
            link.at(link.now + (2.0 if link.weather.drop == 1.0 else 3.0), toggle)

        link.at(101.0, toggle)
        link.run()
        self.assert_arrived(link)

    def test_long_outage(self) -> None:
        """So are twenty seconds."""
        for up in (False, True):
            link = Link(make_content(2_000_000), up=up)
            link.at(100.2, lambda link=link: setattr(link.weather, "drop", 1.0))  # type: ignore[misc]
            link.at(120.2, lambda link=link: setattr(link.weather, "drop", 0.0))  # type: ignore[misc]
            link.run()
            self.assert_arrived(link)
            self.assertLess(link.now, 124.0)

    def test_address_changes(self) -> None:
        """The client is somewhere else all of a sudden, and then again: the file still arrives, in either direction."""
        for up in (False, True):
            link = Link(make_content(4_000_000), Weather(delay=0.020, rate=1e6), up=up)
            for when, port in ((100.5, 4001), (102.0, 4002)):
                link.at(when, lambda link=link, port=port: setattr(link, "home", ("192.0.2.1", port)))  # type: ignore[misc]
            link.run()
            self.assert_arrived(link)
            self.assertLess(link.now, 112.0)
            end = link.receiver if up else link.sender
            self.assertEqual(end.proven, ("192.0.2.1", 4002))

    def test_black_hole(self) -> None:
        """The path takes less than before all of a sudden, and says nothing about it."""
        link = Link(make_content(6_000_000), Weather(mtu=9000, rate=2e6, queue=50))
        link.at(101.5, lambda: setattr(link.weather, "mtu", 1280))
        link.run()
        self.assert_arrived(link)
        self.assertLess(link.now, 110.0)
        self.assertLessEqual(link.sender.pushed_size, 1280)

    def test_replay_of_everything(self) -> None:
        """Every datagram that ever was, again and from anywhere, changes nothing, and nothing leaves for there."""
        for up in (False, True):
            link = Link(make_content(300_000), up=up)
            link.run(0.1)
            self.assertIsNone(link.sender.outcome)
            name = "receiver" if up else "sender"
            end = link.receiver if up else link.sender
            link.turn()
            heard = [datagram for _, to, datagram in link.sent if to == name]
            before = Counter(end.counters.refused)
            for datagram in heard:
                end.receive(datagram, len(datagram), CLIENT, link.now)
                end.receive(datagram, len(datagram), ("203.0.113.9", 9), link.now)
            refused = end.counters.refused - before
            self.assertGreaterEqual(refused["replayed"], 2 * len(heard) - 100)
            self.assertEqual(end.proven, CLIENT)
            self.assertTrue(all(train.address == CLIENT for train in end.poll(link.now)))
            link.run()
            self.assert_arrived(link)


class DeadPeerTests(LinkCase):
    """The other end is gone: this one notices, within a stated time, and says so by name."""

    def test_no_daemon(self) -> None:
        """Nobody answers the greeting."""
        for up in (False, True):
            link = Link(b"x", Weather(drop=1.0), up=up)
            link.run()
            client, daemon = (link.sender, link.receiver) if up else (link.receiver, link.sender)
            self.assert_failed("no-answer", client.outcome)
            self.assert_failed("unclaimed", daemon.outcome)
            self.assertAlmostEqual(link.now, 130.0)
            self.assertEqual(len(link.sent), 8)
            self.assertTrue(all(len(datagram) == 1200 for _, _, datagram in link.sent))

    def test_one_dies(self) -> None:
        """An end is killed in the middle: the other one is told so half a minute later."""
        for up in (False, True):
            for dead in ("sender", "receiver"):
                link = Link(make_content(2_000_000), up=up)
                link.at(100.1, lambda link=link, dead=dead: link.stalled.add(dead))  # type: ignore[misc]
                link.run()
                left = link.receiver if dead == "sender" else link.sender
                self.assert_failed("timed-out", left.outcome)
                self.assertGreater(link.now, 125.0)
                self.assertLess(link.now, 140.0)
                self.assertEqual(link.sender.held if dead == "receiver" else 0, 0)

    def test_receiver_dies_while_verifying(self) -> None:
        """It is killed after the last byte: the sender asks whether it is there, and gives up."""
        link = Link(b"x", verify_delay=1000.0)
        link.at(102.0, lambda: link.stalled.add("receiver"))
        link.run()
        self.assert_failed("timed-out", link.sender.outcome)

    def test_farewell_is_lost(self) -> None:
        """The file is verified, and every word about it is lost: no failure for the receiver, who has it."""
        link = Link(b"x")
        link.spy = lambda to, datagram: [datagram] if link.receiver.outcome is None else []
        link.run()
        self.assertEqual(link.receiver.outcome, Done())
        self.assert_failed("timed-out", link.sender.outcome)

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
        self.assert_arrived(link)


class AbortTests(LinkCase):
    """Either end gives up, and the other one hears why."""

    def test_by_either(self) -> None:
        """The file changed, or the disk is full: both ends say so."""
        for up in (False, True):
            link = Link(make_content(2_000_000), up=up)
            link.at(100.1, lambda link=link: link.sender.fail("source-changed", "It changed."))  # type: ignore[misc]
            link.run()
            self.assertEqual(link.sender.outcome, Failed("source-changed", "It changed."))
            self.assertEqual(link.receiver.outcome, Failed("source-changed", "It changed.", remote=True))
            self.assertLess(link.now, 100.4)
            link = Link(make_content(2_000_000), up=up)
            link.at(100.1, lambda link=link: link.receiver.fail("disk-full", "No room."))  # type: ignore[misc]
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
