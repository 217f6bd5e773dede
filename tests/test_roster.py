"""The roster: names lead to identities, and an identity is more than its name."""

from __future__ import annotations

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.errors import RemoteProtocolError
from pychat.roster import ByName, Roster
from tests.chatkit import examples


class Names(SynchronousTestCase):
    """`Roster` gives names out and takes them back."""

    def setUp(self) -> None:
        self.roster: Roster[str] = Roster()

    def refused(self, name: str) -> tuple[str, str]:
        """The code, and the name that is suggested; it is free indeed."""
        size = len(self.roster)
        error = self.assertRaises(RemoteProtocolError, self.roster.claim, name, "x")
        rule, _, free = error.sentence.partition(" Free now: <connect>")
        self.assertTrue(rule)
        self.assertEqual(len(self.roster), size)
        self.roster.release(self.roster.claim(free, "x"))
        return error.code, free

    def test_claim(self) -> None:
        """A name is shown as typed and found however it is typed."""
        identity = self.roster.claim("Zoë", "peer")
        self.assertEqual((identity.name, identity.label, identity.peer), ("Zoë", "Zoë".encode(), "peer"))
        for name in ("Zoë", "zoë", "ZOË", "Zoe\u0308"):
            self.assertIs(self.roster.find(name), identity)
        self.assertIsNone(self.roster.find("zoe"))

    def test_taken(self) -> None:
        """A name is taken however it is typed, and one is suggested that is free."""
        self.roster.claim("alice", "a")
        self.assertEqual(self.refused("ALICE"), ("name-taken", "ALICE2"))
        self.roster.claim("Alice2", "b")
        self.assertEqual(self.refused("alice"), ("name-taken", "alice3"))

    def test_bad(self) -> None:
        """A name that breaks a rule is refused with a free one as well."""
        self.assertEqual(self.refused("bob smith"), ("bad-name", "bob_smith"))
        self.assertEqual(self.refused(""), ("bad-name", "guest"))
        self.assertEqual(self.refused("Server"), ("name-reserved", "Server2"))

    def test_release(self) -> None:
        """A name that was released is free, and the one who takes it is somebody else."""
        first = self.roster.claim("alice", "a")
        self.roster.release(first)
        self.assertIsNone(first.peer)
        self.assertIsNone(self.roster.find("alice"))
        second = self.roster.claim("alice", "b")
        self.assertIsNot(first, second)
        self.assertIs(self.roster.find("alice"), second)

    def test_find_anything(self) -> None:
        """What is no name is nobody's."""
        for name in ("", "a b", "#room", "\x1b", "all", "x" * 5000):
            self.assertIsNone(self.roster.find(name))

    def test_listing(self) -> None:
        """Everybody is listed by name, whatever the case and the order of coming."""
        for name in ("carol", "Bob", "alice", "Dave"):
            self.roster.claim(name, "x")
        self.assertEqual([person.name for person in self.roster.listing()], ["alice", "Bob", "carol", "Dave"])
        self.assertEqual(len(self.roster), 4)


class Order(SynchronousTestCase):
    """`ByName`."""

    @given(
        st.lists(st.sampled_from("abcdef"), max_size=20), st.sampled_from(["", *"abcdef"]), st.integers(1, 7)
    )
    @examples(200)
    def test_order(self, turns: list[str], after: str, limit: int) -> None:
        """Whoever came and went: a page has those who come next, and says whether that is all."""
        roster: Roster[str] = Roster()
        people: ByName[str] = ByName()
        ready: ByName[str] = ByName()
        self.assertEqual(ready.page([], "", None), ([], 0, False))
        strangers = {name: Roster[str]().claim(name, "x") for name in "abcdef"}
        for name in turns:
            person = roster.find(name)
            if person is None:
                person = roster.claim(name, "x")
                for each in (people, ready):
                    each.add(person)
            else:
                roster.release(person)
                for each in (people, ready):
                    each.discard(person)
            for each in (people, ready):
                each.discard(strangers[name])
        everybody = roster.listing()
        start = bisect_right([person.key for person in everybody], after)
        page = everybody[start : start + limit]
        expected = page, len(everybody), start + limit < len(everybody)
        self.assertEqual(people.page(everybody[::-1], after, limit), expected)
        self.assertEqual(ready.page((), after, limit), expected)
        self.assertEqual(ready.page((), "", None), (everybody, len(everybody), False))
