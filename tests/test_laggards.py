"""Tests of `pychat.laggards`: who was too slow is counted and told, and a thousand do not flood the log."""

from __future__ import annotations

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pychat.laggards import Laggards

ONE = "Ended as too slow, for too much waited for it: "


class Told(SynchronousTestCase):
    """The log and the number."""

    def setUp(self) -> None:
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.laggards = Laggards()

    def observe(self, event: LogEvent) -> None:
        self.logged.append(formatEvent(event))

    def take(self) -> list[str]:
        logged, self.logged = self.logged, []
        return logged

    def test_one(self) -> None:
        """Who it was, and from where; also somebody without a name, or at a socket of the system."""
        for name, remote, who in (
            ("alice", "192.0.2.1", "alice, from 192.0.2.1"),
            ("", "192.0.2.1", "somebody who had not joined, from 192.0.2.1"),
            ("bob", "", "bob, from a socket of this machine"),
        ):
            self.laggards.ended(name, remote)
            self.assertEqual(self.take(), [ONE + who])
            self.laggards.sweep()
        self.assertEqual((self.take(), self.laggards.count), ([], 3))

    def test_thousands(self) -> None:
        """The first is told, and then there is one line between two sweeps, while they go on."""
        for round in range(3):
            for number in range(1000):
                self.laggards.ended(f"p{number}", "192.0.2.1")
            self.laggards.sweep()
            more = f"Ended as too slow: {999 + bool(round):,} more, the last of them p999, from 192.0.2.1"
            self.assertEqual(self.take(), [more] if round else [f"{ONE}p0, from 192.0.2.1", more])
        self.assertEqual(self.laggards.count, 3000)
        self.laggards.sweep()
        self.laggards.ended("late", "192.0.2.1")
        self.assertEqual(self.take(), [f"{ONE}late, from 192.0.2.1"])
