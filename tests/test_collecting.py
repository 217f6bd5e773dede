"""The garbage collector: what stays is set aside, and nothing is lost by that."""

from __future__ import annotations

import gc
import weakref

from twisted.trial.unittest import SynchronousTestCase

from pychat.collecting import FULLY, MANY, THRESHOLDS, Collecting


class Circle:
    """Something that only a collection frees."""

    def __init__(self) -> None:
        self.me = self


class CollectingTests(SynchronousTestCase):
    """`Collecting`."""

    def setUp(self) -> None:
        self.before = gc.get_threshold()
        self.connections: list[Circle] = []
        self.then: list[int] = []
        self.collecting = Collecting(self.connections, lambda: self.then.append(gc.get_freeze_count()))
        self.collecting.start()
        self.addCleanup(self.collecting.stop)

    def test_set_aside(self) -> None:
        """What is there at the start is set aside, and what thousands of connections have is, too."""
        aside = gc.get_freeze_count()
        self.assertGreater(aside, 1000)
        self.assertEqual(gc.get_threshold(), THRESHOLDS)
        self.connections += [Circle() for _ in range(MANY - 1)]
        self.collecting.look()
        self.assertEqual(gc.get_freeze_count(), aside)
        self.connections.append(Circle())
        self.collecting.look()
        self.assertGreaterEqual(gc.get_freeze_count(), aside + MANY)

    def test_taken_back(self) -> None:
        """When half of them are gone, so is what they held."""
        self.connections += [Circle() for _ in range(2 * MANY)]
        self.collecting.look()
        gone = weakref.ref(self.connections[0])
        del self.connections[: MANY - 1]
        self.collecting.look()
        gc.collect()
        self.assertIsNotNone(gone())
        del self.connections[:10]
        self.collecting.look()
        self.assertIsNone(gone())

    def test_ended(self) -> None:
        """What connections that were here for a while leave behind is gone after some looks."""
        circle = Circle()
        gone = weakref.ref(circle)
        gc.collect()
        del circle
        for _ in range(FULLY - 1):
            self.collecting.look()
        self.assertIsNotNone(gone())
        self.collecting.look()
        self.assertIsNone(gone())

    def test_then(self) -> None:
        """Whoever wants to know is told of each look, when that is over."""
        self.collecting.look()
        self.connections += [Circle() for _ in range(MANY)]
        self.collecting.look()
        self.assertEqual(len(self.then), 2)
        self.assertGreaterEqual(self.then[1], self.then[0] + MANY)

    def test_stop(self) -> None:
        """It leaves everything as it was, and may be asked to look."""
        self.collecting.stop()
        self.collecting.stop()
        self.collecting.look()
        self.assertEqual((gc.get_threshold(), gc.get_freeze_count()), (self.before, 0))
        self.assertEqual(self.then, [])
