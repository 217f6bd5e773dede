"""Tests of `pychat.client.acks`: which id stands for all that was shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.acks import Due


class Dues(SynchronousTestCase):
    """Ids that wait."""

    def test_one_stands_for_all(self) -> None:
        """Of those that are reached the highest is given, once; however many come, no more are kept than wait."""
        due = Due(None)
        for id in (5, 7, 6):
            due.add(id)
        self.assertEqual((due.take(), due.take(), len(due._ids)), (7, None, 0))
        due.limit = 1000
        for id in range(8, 1012):
            due.add(id)
        self.assertEqual((len(due._ids), due.take()), (12, 1000))
        due.limit = 1010
        self.assertEqual((due.take(), due.take()), (1010, None))
        due.clear()
        due.limit = None
        self.assertIsNone(due.take())

    @given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=30))
    def test_never_another(self, steps: list[tuple[int, int]]) -> None:
        """Nothing is given that did not come, or is not reached."""
        due, came = Due(0), set[int]()
        for id, reached in steps:
            due.add(id)
            came.add(id)
            due.limit = max(due.limit or 0, reached)
            taken = due.take()
            if taken is not None:
                self.assertIn(taken, came)
                self.assertLessEqual(taken, due.limit)
