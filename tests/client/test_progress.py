"""Tests of `pychat.client.progress`: sizes, times, and the line that tells how far it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.progress import (
    LINE_EVERY,
    TICK,
    Board,
    Total,
    Transfer,
    describe,
    human_size,
    human_time,
    took,
)
from pychat.client.render import text_width


class FakeScreen:
    """Keeps what it was to show."""

    width = 64

    def __init__(self, has_bar: bool) -> None:
        self.has_bar = has_bar
        self.bars: list[str] = []
        self.notes: list[str] = []

    def bar(self, text: str) -> None:
        self.bars.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Numbers(SynchronousTestCase):
    """Numbers as people read them."""

    def test_size(self) -> None:
        for count, text in (
            (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1536, "1.5 kB"), (99_940, "99.9 kB"), (99_960, "100 kB"),
            (999_960, "1.0 MB"), (5e9, "5.0 GB"), (2.5e12, "2.5 TB"), (2**63, "9223372.0 TB"),
        ):  # fmt: skip
            self.assertEqual(human_size(count), text)

    def test_time(self) -> None:
        for seconds, text in (
            (-1, "0:00"), (7.4, "0:07"), (754, "12:34"), (18_000, "5:00:00"), (3_600_000, "days"),
        ):  # fmt: skip
            self.assertEqual(human_time(seconds), text)

    def test_took(self) -> None:
        """A time, and a speed where one can be told."""
        self.assertEqual(took(1000, 0.04), "0.0 s")
        self.assertEqual(took(1000, 0.5), "0.5 s (2.0 kB/s)")
        self.assertEqual(took(0, 0.5), "0.5 s")
        self.assertEqual(took(10_000, 75), "1:15 (133 B/s)")


class Describe(SynchronousTestCase):
    """One line for all downloads."""

    def test_one(self) -> None:
        """Name, bar, share, size, speed, time left."""
        transfer = Transfer("a.bin", 1000, 0.0)
        transfer.update(250, 1000)
        transfer.sample(5.0)
        self.assertEqual(
            describe([transfer], 64), "a.bin [####..............]  25% 250 B of 1.0 kB 50 B/s 0:15 left"
        )

    def test_speed_is_of_late(self) -> None:
        """What was long ago says nothing about now."""
        transfer = Transfer("a", 10_000, 0.0)
        for second in range(1, 11):
            transfer.update(0 if second <= 5 else 100 * (second - 5), 10_000)
            transfer.sample(float(second))
        self.assertEqual(transfer.speed, 100.0)

    def test_several(self) -> None:
        """Several are counted together."""
        transfers = [Transfer("a", 100, 0.0), Transfer("b", 300, 0.0)]
        transfers[0].update(100, 100)
        self.assertIn("2 files", describe(transfers, 64))
        self.assertIn("25% 100 B of 400 B", describe(transfers, 64))

    def test_measured(self) -> None:
        """Where there is room, the round trip and what was lost."""
        transfer = Transfer("a.bin", 100_000, 0.0)
        transfer.update(88_000, 100_000)
        transfer.measured(0.0213, 10)
        transfer.sample(2.0)
        self.assertEqual(transfer.loss, 0.12)
        self.assertEqual(
            describe([transfer], 100),
            "a.bin [#################...]  88% 88.0 kB of 100 kB 44.0 kB/s 0:00 left RTT 21 ms, 12.0% lost",
        )
        self.assertNotIn("RTT", describe([transfer], 50))
        transfer.measured(0.0004, 0)
        self.assertIn("RTT 0.4 ms, 0.0% lost", describe([transfer], 100))

    def test_narrow(self) -> None:
        """There is a bar at 80 columns and at 40, and what matters least is left out whole."""
        transfer = Transfer("big.bin", 30_000_000, 0.0)
        transfer.update(4_800_000, 30_000_000)
        transfer.measured(0.0002, 0)
        transfer.sample(5.6)
        for width, shown in (
            (106, "big.bin [###.................]  16% 4.8 MB of 30.0 MB 857 kB/s 0:29 left RTT 0.2 ms, 0.0% lost"),
            (76, "big.bin [###.................]  16% 4.8 MB of 30.0 MB 857 kB/s 0:29 left"),
            (50, "big.bin [##..............]  16% 857 kB/s 0:29 left"),
            (36, "big.bin [#..........]  16% 0:29 left"),
            (20, "big.bin  16%"),
        ):  # fmt: skip
            self.assertEqual(describe([transfer], width), shown)
        total = Total(12, 48_000_000)
        total.ended = 2
        self.assertEqual(
            describe([transfer], 76, total),
            "2 of 12 files [#.................]  10% 4.8 MB of 48.0 MB 857 kB/s 0:50 left",
        )
        self.assertEqual(describe([transfer], 36, total), "2 of 12 files [.....]  10% 0:50 left")

    def test_resumed(self) -> None:
        """What was there before is done, and no speed."""
        transfer = Transfer("a", 0, 0.0)
        transfer.begins(800, 1000, 1.0)
        transfer.sample(2.0)
        self.assertEqual(transfer.speed, 0.0)
        self.assertIn(" 80% 800 B of 1.0 kB 0 B/s waiting", describe([transfer], 64))

    def test_total(self) -> None:
        """Of several files: how many have ended, and how much of all of them is there."""
        total = Total(3, 1000)
        total.ended, total.done = 1, 500
        transfer = Transfer("b", 300, 0.0)
        transfer.update(100, 300)
        said = describe([transfer], 100, total)
        self.assertTrue(said.startswith("1 of 3 files ["), said)
        self.assertIn(" 60% 600 B of 1.0 kB", said)
        total.size = None
        self.assertIn(" 75% 600 B of 800 B", describe([transfer], 100, total))

    def test_paused(self) -> None:
        """A word takes the place of the time."""
        transfer = Transfer("b", 300, 0.0)
        transfer.state = "paused"
        self.assertIn("0 B/s paused", describe([transfer], 64))

    def test_stalled_and_empty(self) -> None:
        """Nothing is divided by zero."""
        self.assertIn("waiting", describe([Transfer("a", 0, 0.0)], 64))

    @given(
        st.lists(
            st.builds(Transfer, st.text("aä日 ", max_size=100), st.integers(0, 2**63), st.just(0.0)),
            min_size=1,
        ),
        st.integers(10, 200),
    )
    def test_fits(self, transfers: list[Transfer], width: int) -> None:
        """It is never wider than it may be."""
        for transfer in transfers:
            transfer.update(transfer.size // 3, transfer.size)
            transfer.sample(1.0)
        self.assertLessEqual(text_width(describe(transfers, width)), width)


class Boards(SynchronousTestCase):
    """All downloads that run."""

    def test_bar(self) -> None:
        """A bar is drawn while something runs, and then taken away; no timer is left."""
        clock, screen = Clock(), FakeScreen(has_bar=True)
        board = Board(clock, screen, lines=True)  # type: ignore[arg-type]
        first, second = board.start("a\x1b", 100), board.start("b", 100)
        clock.advance(TICK)
        self.assertIn("2 files", screen.bars[-1])
        board.end(second)
        clock.advance(TICK)
        self.assertIn("a\\x1b", screen.bars[-1])
        board.end(first)
        self.assertEqual((screen.bars[-1], screen.notes, clock.getDelayedCalls()), ("", [], []))

    def test_lines(self) -> None:
        """Without a terminal there is a line now and then."""
        clock, screen = Clock(), FakeScreen(has_bar=False)
        board = Board(clock, screen, lines=True)  # type: ignore[arg-type]
        transfer = board.start("a", 100)
        clock.pump([TICK] * int(LINE_EVERY / TICK + 2))
        self.assertEqual(len(screen.notes), 1)
        clock.pump([TICK] * int(LINE_EVERY / TICK + 2))
        self.assertEqual(len(screen.notes), 2)
        self.assertTrue(screen.notes[0].startswith("* a "))
        board.end(transfer)
        self.assertEqual((screen.bars, clock.getDelayedCalls()), ([""], []))

    def test_sums(self) -> None:
        """What has ended counts in the total."""
        total = Total(2)
        board = Board(Clock(), FakeScreen(has_bar=False), lines=False, total=total)  # type: ignore[arg-type]
        transfer = board.start("a", 100)
        transfer.update(100, 100)
        transfer.measured(0.1, 4)
        board.end(transfer)
        self.assertEqual((total.ended, total.done, total.lost), (1, 100, 4))

    def test_quiet(self) -> None:
        """Or nothing at all."""
        clock, screen = Clock(), FakeScreen(has_bar=False)
        board = Board(clock, screen, lines=False)  # type: ignore[arg-type]
        transfer = board.start("a", 100)
        self.assertEqual(clock.getDelayedCalls(), [])
        board.end(transfer)
        self.assertEqual((screen.bars, screen.notes), ([], []))
