"""Uploads held to a pace, and to their share of the memory: `Allowance`, and what a receiver makes of it."""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.allowance import (
    DEBT_SECONDS,
    LEAST_SECONDS,
    SAVED_SECONDS,
    STEP_BYTES,
    Allowance,
    most,
    step,
)
from pychat.transfer.packet import FROM_CLIENT
from pychat.transfer.path import ClientPath
from pychat.transfer.receiver import LEAST_WINDOW, Receiver
from pychat.transfer.terms import FIRST_WINDOW, PIECE_BYTES, Done
from tests.transfer.link import Link, Weather, make_content, make_terms

MIB = 1024 * 1024
#: What a TCP stream is like.
STREAM = {"queue": 10**9, "mtu": 65507}


class AllowanceTests(SynchronousTestCase):
    """The numbers."""

    def test_grows_with_time(self) -> None:
        """So many bytes a second, and none for a clock that stands."""
        allowance = Allowance(1e6, 1000, 10.0)
        allowance.begin(11.0)
        self.assertEqual(allowance.upto(1e6, 0, 1.0, 11.0), 0)
        self.assertEqual(allowance.upto(1e6, 0, 1.0, 11.5), 500_000)
        self.assertEqual(allowance.upto(1e6, 0, 1.0, 11.5), 500_000)
        self.assertEqual(allowance.upto(1e5, 500_000, 1.0, 12.5), 600_000)
        self.assertEqual(allowance.when(1e5, 700_000), 13.5)
        self.assertEqual(allowance.when(1e5, 1), 12.5 + LEAST_SECONDS)

    def test_not_saved_up(self) -> None:
        """Who does not use it has no more than a moment's worth; what was allowed stays allowed."""
        allowance = Allowance(1e6, 0, 0.0)
        bound = most(1e6, 7, 0.1)
        self.assertEqual(bound, 7 + 1e6 * (SAVED_SECONDS + 0.2) + step(1e6))
        self.assertEqual(allowance.upto(1e6, 7, 0.1, 3600.0), bound)
        self.assertEqual(allowance.upto(1e3, 7, 0.1, 3601.0), bound)

    def test_no_limit(self) -> None:
        """None at all, and then one: it begins with what has come."""
        allowance = Allowance(inf, MIB, 0.0)
        self.assertEqual(allowance.upto(inf, 5000, 0.1, 1.0), inf)
        self.assertEqual(allowance.upto(1000.0, 5000, 0.1, 2.0), 6000)

    def test_debt(self) -> None:
        """What comes unasked is made up for, but nobody waits for that so long that the peer gives up."""
        self.assertEqual(Allowance(1e6, MIB, 0.0).upto(1e6, 0, 0.1, 0.0), 0)
        slow = MIB / DEBT_SECONDS / 2
        self.assertEqual(Allowance(slow, MIB, 0.0).upto(slow, MIB, 0.1, 0.0), MIB / 2)

    def test_missing_after_all(self) -> None:
        """What was there before and was damaged counts as allowed."""
        allowance = Allowance(1e6, 0, 0.0)
        allowance.grow(5)
        self.assertEqual(allowance.upto(1e6, 0, 0.1, 0.0), 5)

    def test_steps(self) -> None:
        """A sender is told of what is worth it."""
        self.assertEqual(step(1.0), STEP_BYTES)
        self.assertGreater(step(1e9), STEP_BYTES)


class PaceTests(SynchronousTestCase):
    """A sender and a receiver that has a pace."""

    def assert_arrived(self, link: Link) -> None:
        self.assertIsInstance(link.receiver.outcome, Done)
        self.assertIsInstance(link.sender.outcome, Done)
        self.assertEqual(bytes(link.disk.data), link.content)

    def test_held(self) -> None:
        """Over UDP and over a stream, near and far, the file comes as fast as allowed and no faster."""
        content = make_content(6_000_000)
        for reliable in (False, True):
            for delay in (0.0005, 0.3):
                weather = Weather(delay=delay, rate=1e8, **(STREAM if reliable else {}))  # type: ignore[arg-type]
                link = Link(content, weather, up=True, max_rate=1e6, reliable=reliable, congestion="model")
                began = link.now
                link.run()
                self.assert_arrived(link)
                self.assertGreater(link.now - began, 5.5)
                self.assertLess(link.now - began, 11.0)
                # One end tells of what the other may send, and is not asked all the time.
                told = sum([1 for _, to, _ in link.sent if to == "sender"])
                self.assertLess(told, 1200)

    def test_slow(self) -> None:
        """A pace at which the first window is worth a minute: nobody takes that for a stall."""
        link = Link(
            make_content(1_500_000), up=True, max_rate=20_000.0, reliable=True, weather=Weather(**STREAM)
        )
        began = link.now
        link.run()
        self.assert_arrived(link)
        self.assertGreater(link.now - began, 40.0)

    def test_changed(self) -> None:
        """The pace is another one in the middle."""
        link = Link(make_content(6_000_000), up=True, max_rate=1e6)

        def change() -> None:
            link.receiver.max_rate = inf

        link.at(102.0, change)
        link.run()
        self.assert_arrived(link)
        self.assertLess(link.now, 104.0)

    def test_paused(self) -> None:
        """While it rests nobody is told again and again of what may be sent, and then it goes on."""
        link = Link(make_content(4_000_000), up=True, max_rate=1e6)
        said = 0

        def rest(on: bool) -> None:
            nonlocal said
            link.receiver.pause(on)
            said = len(link.sent) - said

        link.at(102.0, lambda: rest(True))
        link.at(162.0, lambda: rest(False))
        link.run()
        self.assert_arrived(link)
        self.assertLess(said, 100)

    def test_nothing_came(self) -> None:
        """Where the address is known, but nothing came yet, there is nothing that could tell of more."""
        path = ClientPath(b"t" * 16, "d", window=0, now=10.0, greets=False)
        receiver = Receiver(make_terms(10**9), path, sends=FROM_CLIENT, now=10.0, max_rate=1e9)
        self.assertGreater(receiver.deadline() or 0.0, 10.9)
        self.assertEqual(receiver.poll(10.5), [])

    def test_memory(self) -> None:
        """Where many share the memory, one whose disk is slow holds the first window, and then its share."""
        link = Link(make_content(4_000_000), up=True, window=FIRST_WINDOW, write_delay=0.1)
        link.receiver.max_window = 0
        most_held = 0

        def spy(to: str, datagram: bytes) -> list[bytes]:
            nonlocal most_held
            if link.receiver._written >= FIRST_WINDOW:
                most_held = max(most_held, link.receiver._unwritten)
            return [datagram]

        link.spy = spy
        link.run()
        self.assert_arrived(link)
        self.assertLessEqual(most_held, LEAST_WINDOW)
        self.assertGreater(most_held, 0)


class ResumedTests(SynchronousTestCase):
    """What was there is damaged, and there is little room: nobody waits for the other for ever."""

    def resume(self, have: list[tuple[int, int]], **settings: object) -> None:
        content = make_content(9_000_000)
        link = Link(content, Weather(**STREAM), up=True, have=have, reliable=True, **settings)  # type: ignore[arg-type]
        for start, _ in have:
            link.disk.data[start] ^= 1
        began = link.now
        link.run()
        self.assertIsInstance(link.receiver.outcome, Done, settings)
        self.assertEqual(bytes(link.disk.data), content)
        self.assertLess(link.now - began, 30.0)

    def test_read_again(self) -> None:
        """The piece that has to be read again is read although all that may be held waits for the limit."""
        have = [
            (2, PIECE_BYTES + 10),
            (2 * PIECE_BYTES, 3 * PIECE_BYTES + 5),
            (5 * PIECE_BYTES, 6 * PIECE_BYTES),
        ]
        for window in (FIRST_WINDOW, 4 * FIRST_WINDOW):
            for max_window in (2 * LEAST_WINDOW, 2 * FIRST_WINDOW, 16 * FIRST_WINDOW):
                self.resume(have, window=window, max_window=max_window, write_delay=0.01)

    def test_beyond_the_limit(self) -> None:
        """A piece above what was granted is bad: that grants nothing."""
        self.resume([(3 * PIECE_BYTES, 4 * PIECE_BYTES), (6 * PIECE_BYTES, 8 * PIECE_BYTES)], max_rate=1e6)
