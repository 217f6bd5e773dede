"""The ring of the journal in memory: the newest within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.journal.ring import KIND, TEXT, TEXTS, Ring
from pychat.vocabulary import Entry, Kind, Texts

from ..chatkit import examples
from .journalkit import in_runs, message

KINDS = st.sampled_from([Kind.SAID, Kind.SAID, Kind.SAID, Kind.SAID, Kind.EDIT, Kind.JOIN])
SOME = st.lists(st.tuples(st.binary(max_size=6), KINDS), max_size=7)


class Bounds(SynchronousTestCase):
    """`Ring`."""

    def test_places(self) -> None:
        """What is found by its place in an entry is found by its name there."""
        self.assertEqual((Entry._fields[TEXT], Entry._fields[KIND]), ("text", "kind"))
        self.assertEqual(Texts._fields[TEXTS], "texts")

    @examples(200)
    @given(st.lists(SOME, max_size=8), st.integers(0, 9), st.integers(0, 30))
    def test_newest(self, batches: list[list[tuple[bytes, int]]], most: int, most_bytes: int) -> None:
        """The newest stay, as many as fit; what is more than a text is told when it comes and when it goes.

        They are found by their ids, and walked through from any id on, up and down.
        """
        ring = Ring()
        told: list[tuple[int, Entry]] = []
        every: list[Entry] = []
        oldest = 1
        for batch in batches:
            entries = [message(text=text)._replace(kind=kind) for text, kind in batch]
            special = [(id, entry) for id, entry in enumerate(entries, len(every) + 1) if entry.kind]
            self.assertEqual(ring.add(in_runs(entries)), special)
            every += entries
            told += ring.trim(most, most_bytes)
            oldest = ring.oldest
            self.assertEqual((ring.newest, len(ring)), (len(every), len(every) + 1 - oldest))
            newest = [*enumerate(every, 1)][oldest - 1 :]
            for id in range(len(every) + 2):
                self.assertEqual([*ring.up(id)], [one for one in newest if one[0] > id])
                self.assertEqual([*ring.down(id)], [one for one in newest[::-1] if one[0] < id])
                for few, all_of_them in (
                    ([*ring.up(id, plain=False)], [*ring.up(id)]),
                    ([*ring.down(id, plain=False)], [*ring.down(id)]),
                ):
                    # What is left out was said to everybody, and is no more than a text.
                    rest = [one for one in all_of_them if one not in few]
                    self.assertEqual(sorted([*few, *rest]), sorted(all_of_them))
                    self.assertTrue(all(one[1].to is None and not one[1].kind for one in rest))
                    self.assertTrue(all(one in few for one in all_of_them if one[1].kind))
            self.assertEqual([(id, ring.entry(id)) for id, _ in newest], newest)
            self.assertEqual(ring.nbytes, sum(len(entry.text) for _, entry in newest))
            self.assertTrue(len(newest) <= most and ring.nbytes <= most_bytes)
            if len(newest) < min(most, len(every)):
                self.assertGreater(ring.nbytes + len(every[oldest - 2].text), most_bytes)
        gone = every[: oldest - 1]
        self.assertEqual(told, [(id, entry) for id, entry in enumerate(gone, 1) if entry.kind])
