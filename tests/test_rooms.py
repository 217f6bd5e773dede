"""Rooms and stays: what they are called, how long they last, and who is owed what in them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat import rooms as rooms_module
from pychat.errors import RemoteProtocolError
from pychat.peer import Peer
from pychat.rendering import FULL, MULTI, PLAIN
from pychat.rooms import (
    QUIET_LIMIT,
    Audience,
    Member,
    Room,
    Rooms,
    check_room,
    heard_by,
    is_room,
    places_of,
)
from pychat.roster import Identity
from pychat.vocabulary import EVERYBODY, RoomRecord
from tests.chatkit import NOON, NOON_MS

Person = Identity[Peer]


def person(name: str = "alice", id: int = 1) -> Person:
    return Identity(name, name, None, id)


class Names(SynchronousTestCase):
    """What a room can be called."""

    def test_good(self) -> None:
        """A room's name is one of a person with a # before it, however it is typed."""
        for name, key in [("#tea", "#tea"), ("#Tea", "#tea"), ("#Zoë", "#zoë"), ("#Zoe\u0308", "#zoë")]:
            self.assertEqual(check_room(name), key)
            self.assertTrue(is_room(name))
        self.assertFalse(is_room("tea"))

    def test_bad(self) -> None:
        """What cannot be a name is told what can."""
        for name, code, words in [
            ("tea", "bad-name", "begins with #"), ("", "bad-name", "begins with #"), ("#", "bad-name", "stands a name"),
            ("##tea", "bad-name", "Behind the # of a room: "), ("#a b", "bad-name", "Behind the # of a room: "),
            ("#" + "x" * 33, "bad-name", "Behind the # of a room: "), ("#all", "name-reserved", "Behind the #"),
        ]:  # fmt: skip
            error = self.assertRaises(RemoteProtocolError, check_room, name)
            self.assertEqual(error.code, code, name)
            self.assertIn(words, error.sentence)


class Registry(SynchronousTestCase):
    """`Rooms`."""

    def setUp(self) -> None:
        self.rooms = Rooms()

    def test_claim(self) -> None:
        """Who names a room first makes it, and its number is below all before it; later names find it."""
        tea, coffee = self.rooms.claim("#Tea"), self.rooms.claim("#coffee")
        self.assertEqual((tea.id, coffee.id), (-1, -2))
        self.assertEqual((tea.name, tea.label, tea.key, tea.place), ("#Tea", b"#Tea", "#tea", (-1, "")))
        self.assertIs(self.rooms.claim("#TEA"), tea)
        self.assertIs(self.rooms.find("#tea"), tea)
        self.assertIs(self.rooms.numbered(-2), coffee)
        self.assertIsNone(self.rooms.numbered(-3))
        self.assertEqual(len(self.rooms), 2)

    def test_find(self) -> None:
        """A room that is not there is said how to make."""
        error = self.assertRaises(RemoteProtocolError, self.rooms.find, "#tea")
        self.assertEqual(error.code, "no-such-room")
        self.assertIn("<join>#tea", error.sentence)
        self.assertEqual(self.assertRaises(RemoteProtocolError, self.rooms.find, "tea").code, "bad-name")

    def test_limit(self) -> None:
        """There are at most so many with members; the ones that are there are found all the same."""
        self.patch(rooms_module, "ROOMS_LIMIT", 1)
        tea = self.rooms.claim("#tea")
        tea.coming = 1
        error = self.assertRaises(RemoteProtocolError, self.rooms.claim, "#coffee")
        self.assertEqual(error.code, "limit-reached")
        self.assertIs(self.rooms.claim("#tea"), tea)
        tea.coming = 0
        self.rooms.tidy(tea, 1)
        self.assertEqual(self.rooms.claim("#coffee").id, -2)

    def test_empty_rooms(self) -> None:
        """So many that nobody is in are remembered besides: the one that was silent for longest goes first."""
        self.patch(rooms_module, "ROOMS_LIMIT", 2)
        for newest, name in ((7, "#tea"), (5, "#pots"), (6, "#pans")):
            self.rooms.claim(name).newest = newest
        self.assertEqual([room.name for room in self.rooms.listing()], ["#pans", "#tea"])
        self.rooms.find("#tea").coming = 1
        self.assertEqual(self.rooms.claim("#more").name, "#more")
        self.assertIs(self.rooms.called("#pans"), self.rooms.find("#pans"))
        self.rooms.find("#pans").coming = 1
        self.assertEqual(self.assertRaises(RemoteProtocolError, self.rooms.claim, "#x").code, "limit-reached")

    def test_begin(self) -> None:
        """It goes on where the journal stands; of two that are called the same now the first has the name."""
        records = [
            RoomRecord(-3, "#Tea", b"Pots", "bob", NOON_MS, 7),
            RoomRecord(-5, "#tea"),
            RoomRecord(-6, "#all"),
        ]
        self.rooms.begin(-9, records)
        tea = self.rooms.find("#tea")
        self.assertEqual((tea.id, tea.name, tea.topic, tea.newest), (-3, "#Tea", b"Pots", 7))
        self.assertIsNone(self.rooms.numbered(-5))
        old = self.rooms.numbered(-6)
        assert old is not None
        self.assertEqual(old.key, "#all")
        self.assertEqual(self.rooms.claim("#new").id, -10)

    def test_tidy(self) -> None:
        """A room lasts as long as it has members, messages, or somebody who is about to join."""
        room = self.rooms.claim("#tea")
        room.members[person()] = Member(room, person(), 1)
        self.rooms.tidy(room, 1)
        self.assertTrue(room.exists)
        room.members.clear()
        room.newest = 5
        self.rooms.tidy(room, 5)
        self.assertTrue(room.exists)
        room.coming = 1
        self.rooms.tidy(room, 6)
        self.assertEqual((room.newest, len(self.rooms)), (0, 1))
        room.coming = 0
        self.rooms.tidy(room, 6)
        self.assertEqual(len(self.rooms), 0)
        self.assertIsNone(self.rooms.numbered(room.id))

    def test_tidy_again(self) -> None:
        """A room that is forgotten already does no harm to the one that has its name now."""
        old = self.rooms.claim("#tea")
        self.rooms.tidy(old, 1)
        new = self.rooms.claim("#tea")
        self.rooms.tidy(old, 1)
        self.assertIs(self.rooms.find("#tea"), new)

    def test_tidy_all(self) -> None:
        """All that nobody needs go at once."""
        for name, newest in [("#a", 3), ("#b", 4), ("#c", 0)]:
            self.rooms.claim(name).newest = newest
        self.rooms.tidy_all(4)
        self.assertEqual([room.name for room in self.rooms.listing()], ["#b"])
        self.assertEqual(len(self.rooms), 1)

    def test_listing(self) -> None:
        """Rooms are listed by name; one that somebody is only about to join is not there yet."""
        for name, newest in [("#tea", 1), ("#Coffee", 1), ("#water", 0)]:
            self.rooms.claim(name).newest = newest
        self.assertEqual([room.name for room in self.rooms.listing()], ["#Coffee", "#tea"])

    def test_topic(self) -> None:
        """A topic says by whom and since when, as far as that is known and new."""
        room = self.rooms.claim("#tea")
        self.assertEqual(room.topic_line(b" label=x", manner=FULL), b"<topic label=x in=#tea>\n")
        room.topic, room.topic_by, room.topic_ms = b"Pots", "bob", NOON_MS
        self.assertEqual(room.topic_line(manner=FULL), b"<topic in=#tea by=bob time=%s>Pots\n" % NOON)
        self.assertEqual(room.topic_line(manner=FULL, timed=False), b"<topic in=#tea by=bob>Pots\n")
        room.topic = "\u202ePots".encode()
        self.assertEqual(
            room.topic_line(manner=PLAIN, timed=False),
            "<topic in=#tea by=bob>\u2068\u202ePots\u2069\n".encode(),
            "a person's terminal is not turned around",
        )


class Hearing(SynchronousTestCase):
    """`Audience`, and who belongs to one."""

    def test_audience(self) -> None:
        """Connections are told apart by how they take what is said."""
        audience = Audience()
        peers = [Peer([]), Peer([]), Peer([])]
        for peer, manner in zip(peers, (MULTI, PLAIN, FULL), strict=True):
            peer.manner = manner
            audience.add(peer)
            audience.add(peer)
        self.assertEqual(len(audience), 3)
        self.assertEqual([*audience], [peers[1], peers[2], peers[0]])
        self.assertEqual([[*members] for members in audience.manners], [[peers[1]], [peers[2]], [peers[0]]])
        audience.discard(peers[1])
        audience.discard(peers[1])
        self.assertNotIn(peers[1], audience)
        self.assertIn(peers[0], audience)
        audience.clear()
        self.assertEqual((len(audience), [*audience]), (0, []))

    def test_places(self) -> None:
        """Somebody looks and hears where she is, as far as she is owed it."""
        alice = person()
        tea, coffee = Room(RoomRecord(-1, "#tea")), Room(RoomRecord(-2, "#coffee"))
        for room in (tea, coffee):
            alice.stays[room] = Member(room, alice, 1)
        self.assertEqual([*places_of(alice)], [EVERYBODY, (1, ""), (-1, ""), (-2, "")])
        self.assertEqual(
            heard_by(alice.stays.values()),
            {tea.audience: alice.stays[tea], coffee.audience: alice.stays[coffee]},
        )


class Stays(SynchronousTestCase):
    """`Member`: what somebody is owed of a room, and how far she is in it."""

    def setUp(self) -> None:
        self.alice = person()
        self.room = Room(RoomRecord(-1, "#tea"))

    def owed(self, member: Member) -> list[int]:
        return [id for id in range(1, 12) if member.owed(id)]

    def test_owed(self) -> None:
        """She is owed what is said while she is a member."""
        self.assertEqual(self.owed(Member(self.room, self.alice, 8)), [9, 10, 11])
        self.assertEqual(self.owed(Member(self.room, self.alice, 3, 5)), [4, 5])

    def test_muted(self) -> None:
        """She is not owed what is said while it is muted, then and later."""
        member = Member(self.room, self.alice, 1)
        member.mute(4)
        self.assertEqual(self.owed(member), [2, 3, 4])
        member.unmute(6)
        self.assertEqual(self.owed(member), [2, 3, 4, 7, 8, 9, 10, 11])
        member.mute(9)
        self.assertEqual(self.owed(member), [2, 3, 4, 7, 8, 9], "the time before is remembered")

    def test_muted_often(self) -> None:
        """Of the times when it was muted the last ones are remembered."""
        member = Member(self.room, self.alice, 1)
        for id in range(1, 2 * QUIET_LIMIT + 5, 2):
            member.mute(id)
            member.unmute(id + 1)
        self.assertEqual(len(member.earlier), QUIET_LIMIT)
        self.assertTrue(member.owed(2))
        self.assertFalse(member.owed(2 * QUIET_LIMIT + 2))

    def test_cursors(self) -> None:
        """What moved her before she joined or after she left does not count."""
        alice, member = self.alice, Member(self.room, self.alice, 5)
        for value, there in [(0, 0), (3, 0), (5, 0), (6, 6), (9, 9)]:
            alice.sent = alice.acked = value
            self.assertEqual((member.sent, member.acked), (there, there))
        member.left = 7
        self.assertEqual((member.sent, member.acked), (7, 7))
        alice.acked = 6
        self.assertEqual((member.sent, member.acked), (7, 6))
        self.assertTrue(member.plain)
        alice.plain = False
        self.assertFalse(member.plain)

    def test_lingers(self) -> None:
        """Who left the room and is here may yet have it; who left the chat only while her last bytes are under way."""
        member = Member(self.room, self.alice, 1, 3)
        self.assertTrue(member.lingers)
        self.alice.left = 4
        self.assertFalse(member.lingers)
        self.alice.lingers = True
        self.assertTrue(member.lingers)

    def test_read(self) -> None:
        """She read what she read here or everywhere; of a room that is muted, what she read in it."""
        member = Member(self.room, self.alice, 3)
        self.assertEqual(member.read_upto, 3)
        self.alice.read = 5
        self.assertEqual(member.read_upto, 5)
        member.mute(6)
        self.alice.read = 9
        self.assertEqual(member.read_upto, 5)
        member.read = 8
        self.assertEqual(member.read_upto, 8)
        member.unmute(9)
        self.assertEqual(member.read_upto, 8, "what was said while it was muted she was not shown")
        self.alice.read = 10
        self.assertEqual(member.read_upto, 10)
