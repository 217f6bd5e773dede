"""The deadline that moves."""

from __future__ import annotations

import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.deadline import Deadline


class Moving(SynchronousTestCase):
    """`Deadline` fires once, when it was last set to."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fired: list[float] = []
        self.deadline = Deadline(self.clock, lambda: self.fired.append(self.clock.seconds()))

    def test_fires_once(self) -> None:
        """It fires when its time has come, and not again."""
        self.assertFalse(self.deadline.active)
        self.deadline.set(5)
        self.assertTrue(self.deadline.active)
        self.clock.advance(4)
        self.assertEqual(self.fired, [])
        self.clock.advance(1)
        self.assertEqual(self.fired, [5])
        self.assertFalse(self.deadline.active)
        self.clock.advance(100)
        self.assertEqual(self.fired, [5])

    def test_later(self) -> None:
        """Moved to a later time it costs no timer, and fires then only."""
        self.deadline.set(5)
        (timer,) = self.clock.getDelayedCalls()
        for _ in range(10):
            self.clock.advance(0.25)
            self.deadline.set(5)
            self.assertEqual(self.clock.getDelayedCalls(), [timer])
        self.clock.advance(2.5)
        self.assertEqual((self.fired, self.deadline.active), ([], True))
        self.clock.advance(2.25)
        self.assertEqual(self.fired, [])
        self.clock.advance(0.25)
        self.assertEqual(self.fired, [7.5])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sooner(self) -> None:
        """Moved to an earlier time it fires then, and not at the old one."""
        self.deadline.set(10)
        self.deadline.set(2)
        self.clock.advance(2)
        self.clock.advance(20)
        self.assertEqual(self.fired, [2])

    def test_cancel(self) -> None:
        """Cancelled it does not fire and leaves no timer; it may be set again."""
        self.deadline.cancel()
        self.deadline.set(5)
        self.deadline.cancel()
        self.assertFalse(self.deadline.active)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadline.set(7)
        self.clock.advance(7)
        self.assertEqual(self.fired, [7])

    def test_set_from_within(self) -> None:
        """What it calls may set it again."""
        times: list[float] = []

        def again() -> None:
            times.append(self.clock.seconds())
            if len(times) < 3:
                deadline.set(1)

        deadline = Deadline(self.clock, again)
        deadline.set(1)
        self.clock.pump([1, 1, 1, 1])
        self.assertEqual(times, [1, 2, 3])

    def test_closed(self) -> None:
        """It does not fire any more, and what it would have called is let go of."""
        called: list[float] = []

        def call() -> None:
            called.append(self.clock.seconds())

        gone = weakref.ref(call)
        deadline = Deadline(self.clock, call)
        del call
        deadline.set(1)
        deadline.close()
        self.assertIsNone(gone())
        deadline.close()
        deadline.set(1)
        self.clock.advance(2)
        self.assertEqual((called, self.clock.getDelayedCalls()), ([], []))

    def test_at_once(self) -> None:
        """No time at all is the next turn."""
        self.deadline.set(0)
        self.assertEqual(self.fired, [])
        self.clock.advance(0)
        self.assertEqual(self.fired, [0])

    def test_error(self) -> None:
        """What goes wrong in what it calls is logged, not lost."""
        deadline = Deadline(self.clock, lambda: 1 // 0)
        deadline.set(1)
        self.clock.advance(1)
        del deadline
        import gc

        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
