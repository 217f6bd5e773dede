"""Who said the newest messages, and to whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.recent import Recent

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("one"), st.integers(1, 3), st.sampled_from([None, "alice", "#room"]), st.sampled_from("bc")),
        st.tuples(st.just("run"), st.integers(1, 3), st.integers(1, 4), st.sampled_from("bc")),
        st.tuples(st.just("turn"), st.just(0), st.none(), st.just("")),
    ),
    max_size=30,
)  # fmt: skip


class RecentTests(SynchronousTestCase):
    @given(STEPS)
    def test_like_two_dictionaries(self, steps: list[tuple[str, int, object, str]]) -> None:
        recent = Recent()
        newer: dict[int, tuple[object, str]] = {}
        older: dict[int, tuple[object, str]] = {}
        id = 0
        for what, gap, detail, by in steps:
            id += gap
            if what == "one":
                assert detail is None or isinstance(detail, str)
                recent.note(id, detail, by)
                newer[id] = (detail, by)
            elif what == "run":
                assert isinstance(detail, int)
                ids = tuple(range(id, id + detail))
                recent.note_all(ids, by)
                newer.update(dict.fromkeys(ids, (None, by)))
                id = ids[-1]
            else:
                recent.turn()
                older, newer = newer, {}
            self.assertEqual(len(recent), len(newer))
        for asked in range(id + 2):
            self.assertEqual(recent.find(asked), newer.get(asked) or older.get(asked))
