"""Who is here, told to few and to very many: each by name, or all in numbers; and listed, in pages."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat import crowd
from pychat.crowd import CROWD, Tally
from pychat.hub import Hub
from pychat.vocabulary import USERS_LIMIT
from tests.chatkit import Chat, Talk, examples, make_pump

SMART = b"<hello caps=ack,resume,typing>"


def told(lines: list[bytes]) -> list[bytes]:
    """Those lines that say who came and went, and how many."""
    return [line for line in lines if re.match(rb"<(joined|left|away|back|people|absent|present)\b", line)]


class CrowdCase(SynchronousTestCase):
    """A chat in which more than three make a crowd; alice, bob, carol and dave are here, who can come back."""

    def setUp(self) -> None:
        self.patch(crowd, "CROWD", 3)
        self.chat = Chat()
        self.hub = self.chat.hub
        self.alice, self.bob, self.carol = map(self.chat.connect, (b"alice", b"bob", b"carol"))
        self.dave = self.come(b"dave")
        self.all = [self.alice, self.bob, self.carol, self.dave]
        self.hear()

    def come(self, name: bytes) -> Talk:
        """Somebody who can come back, and has shown that she has her token."""
        talk = self.chat.connect(name, SMART)
        self.hub.confirm(talk.peer)
        return talk

    def go(self, *talks: Talk) -> None:
        """They say goodbye."""
        for talk in talks:
            talk.say(b"<disconnect>")
            self.hub.part(talk.peer)
            self.hub.leave(talk.peer)

    def hear(self, *talks: Talk) -> list[list[bytes]]:
        return [told(talk.heard()) for talk in talks or self.all]

    def second(self) -> int:
        """A second has passed; how many places were told."""
        places = 0
        while self.hub.counts_people:
            places += 1
            self.hub.tell_people()
        return places


class Everybody(CrowdCase):
    """`<joined>` and the like, or `<people>`."""

    def test_few(self) -> None:
        """Up to a hundred others are told of each person by name, and there is nothing to count."""
        self.assertEqual(CROWD, 100)
        self.patch(crowd, "CROWD", 4)
        erin = self.come(b"erin")
        self.hub.leave(erin.peer)
        self.assertEqual(self.hear(), [[b"<joined>erin", b"<away>erin"]] * 4)
        self.assertEqual((self.hub.counts_people, self.hub.tell_people()), (False, False))

    def test_many(self) -> None:
        """More are told once what there was of each change, and how many people there are."""
        self.chat.connect(b"erin")
        frank = self.come(b"frank")
        self.hub.leave(frank.peer)
        self.assertEqual(self.hear(), [[]] * 4)
        self.assertEqual(self.second(), 1)
        self.assertEqual(self.hear(), [[b"<people joined=2 away=1>6"]] * 4)
        back = self.chat.resume(b"frank", b"resume=token2", SMART)
        self.hub.kept(self.hub.changes(0))
        self.go(self.dave)
        self.second()
        self.assertEqual(
            self.hear(self.alice, back), [[b"<people left=1 back=1>5"], [b"<people left=1 back=1>5"]]
        )
        self.assertEqual(self.second(), 0)

    def test_shared(self) -> None:
        """It is one buffer for all."""
        self.chat.connect(b"erin")
        self.second()
        buffers = [talk.peer.mailbox.take(1) for talk in self.all[:3]]
        self.assertEqual(buffers[0], b"<people joined=1>5\n")
        self.assertTrue(all(each is buffers[0] for each in buffers))

    def test_oneself(self) -> None:
        """Who joins is answered as always, and counted with the others."""
        erin = Talk(self.hub)
        self.assertEqual(erin.answer(b"<connect>erin"), [b"<connected>erin"])
        self.second()
        self.assertEqual(erin.heard(), [b"<people joined=1>5"])

    def test_shrinks(self) -> None:
        """What was counted is told also when few are left, and before it is nobody by name."""
        self.chat.connect(b"erin")
        self.go(self.carol, self.dave)
        self.assertEqual(self.hear(self.alice, self.bob), [[], []])
        self.second()
        self.assertEqual(self.hear(self.alice, self.bob), [[b"<people joined=1 left=2>3"]] * 2)
        self.go(self.bob)
        self.assertEqual(self.hear(self.alice), [[b"<left>bob"]])

    def test_expired(self) -> None:
        """Who was away for too long is counted as well."""
        self.hub.leave(self.dave.peer, 0.0)
        self.chat.connect(b"erin")
        self.second()
        self.assertEqual(self.hear(self.alice), [[b"<away>dave", b"<joined>erin"]])
        self.chat.connect(b"frank")
        self.hub.expire(1e9)
        self.second()
        self.assertEqual(self.hear(self.alice), [[b"<people joined=1 left=1>5"]])

    def test_fleeting(self) -> None:
        """That somebody has gone for lunch, or is typing in a room, a crowd is not told; `<whois>` tells it."""
        erin = self.come(b"erin")
        for talk in (*self.all, erin):
            self.chat.enter(talk, b"#tea")
        self.second()
        self.hear()
        self.chat.say(self.alice, b"<away>lunch", b"<typing>#tea", b"<typing>dave")
        self.assertEqual(self.hear(self.bob), [[]])
        self.assertEqual(self.dave.heard(), [b"<typing from=alice to=dave>"])
        self.assertEqual(self.bob.answer(b"<get_users>")[0], b"<user absent>alice")


class InRooms(CrowdCase):
    """`<joined in=#room>` and the like, or `<people in=#room>`."""

    def gather(self, *talks: Talk) -> None:
        for talk in talks:
            self.chat.enter(talk, b"#tea")
        self.second()
        self.hear()

    def test_many(self) -> None:
        """A room is a crowd of its own; its members are told how many they are."""
        self.gather(*self.all)
        erin, frank = map(self.chat.connect, (b"erin", b"frank"))
        self.second()
        self.hear(*self.all, erin, frank)
        self.assertEqual(self.chat.enter(erin, b"#tea"), [b"<joined in=#tea members=5>erin"])
        self.assertEqual(self.chat.say(self.bob, b"<leave>#tea"), [b"<left in=#tea>bob"])
        self.assertEqual(self.second(), 1)
        line = [b"<people in=#tea joined=1 left=1>4"]
        self.assertEqual(self.hear(*self.all, erin, frank), [line, [], line, line, line, []])

    def test_few(self) -> None:
        """In a small room each is told by name, however many are in the chat; also who left it with the chat."""
        self.chat.connect(b"erin")
        self.gather(self.alice, self.bob)
        self.chat.enter(self.carol, b"#tea")
        self.go(self.bob)
        self.assertEqual(self.hear(self.alice), [[b"<joined in=#tea>carol", b"<left in=#tea>bob"]])
        self.second()
        self.assertEqual(self.hear(self.alice), [[b"<people left=1>4"]])

    def test_few_in_a_small_chat(self) -> None:
        """Where everybody is told by name who has left the chat, no room is told besides."""
        self.patch(crowd, "CROWD", 100)
        self.gather(self.alice, self.bob)
        self.go(self.bob)
        self.assertEqual(self.hear(self.alice), [[b"<left>bob"]])

    def test_numbers_of_rooms(self) -> None:
        """Each place is told by itself."""
        self.gather(*self.all)
        erin = self.chat.connect(b"erin")
        self.chat.enter(erin, b"#tea")
        self.assertTrue(self.hub.tell_people())
        self.assertFalse(self.hub.tell_people())
        self.assertCountEqual(
            self.hear(self.alice)[0], [b"<people in=#tea joined=1>5", b"<people joined=1>5"]
        )

    def test_said_and_gone(self) -> None:
        """Who ends while what she said is under way is told of in that order."""
        self.gather(self.alice, self.bob)
        erin = self.chat.connect(b"erin")
        for talk, said in ((self.bob, b"<set_msg>#tea hi"), (erin, b"<join>#tea")):
            talk.say(said)
            posts, _ = self.hub.take(0) or ([], [])
            self.go(talk)
            self.hub.appended(posts, [7], 0, 0.0)
        self.assertEqual(
            self.alice.heard(),
            [
                b"<msg id=7 from=bob to=#tea>hi",
                b"<left in=#tea>bob",
                b"<joined in=#tea>erin",
                b"<left in=#tea>erin",
            ],
        )

    def test_told_to_be_gone(self) -> None:
        """Of who has ended, as all were told, a room is not told that she joined."""
        self.gather(self.alice)
        erin = self.chat.connect(b"erin", SMART)
        erin.say(b"<join>#tea")
        posts, _ = self.hub.take(0) or ([], [])
        self.hub.leave(erin.peer, 0.0)
        self.hub.expire(1e9)
        self.hub.appended(posts, [2], 0, 0.0)
        self.second()
        self.assertEqual(self.hear(self.alice), [[b"<people joined=1 left=1 away=1>4"]])


class Listed(CrowdCase):
    """`<get_users>`."""

    def names(self, talk: Talk, line: bytes) -> tuple[list[bytes], bytes]:
        """The names in an answer, and its closing line."""
        *users, closing = talk.answer(line)
        return [user.rpartition(b">")[2] for user in users], closing

    def test_pages(self) -> None:
        """A client that said `<hello>` goes on where `more=` says, whoever came or went meanwhile."""
        self.assertEqual(
            self.dave.answer(b"<get_users limit=2 label=7>"),
            [b"<user label=7>alice", b"<user label=7>bob", b"<users label=7 count=4 more=bob>"],
        )
        self.go(self.bob)
        self.come(b"Bert")
        self.assertEqual(
            self.names(self.dave, b"<get_users limit=2 more=bob>"), ([b"carol", b"dave"], b"<users count=4>")
        )
        self.assertEqual(self.names(self.dave, b"<get_users more=ALICE limit=1>")[0], [b"Bert"])
        self.assertEqual(self.names(self.dave, b"<get_users more=zoe>"), ([], b"<users count=4>"))
        self.assertEqual(self.names(self.dave, b"<get_users more=%CE%B1>"), ([], b"<users count=4>"))
        self.assertEqual(len(self.names(self.dave, b"<get_users more=>")[0]), 4)
        self.assertEqual(
            self.dave.answer(b"<get_users limit=1001>", b"<get_users limit=0>"),
            [b"<error code=bad-attribute>limit= is a number from 1 to 1000."] * 2,
        )

    def test_pages_of_a_room(self) -> None:
        """The members of a room come in the same way."""
        for talk in self.all:
            self.chat.enter(talk, b"#tea")
        self.assertEqual(
            self.dave.answer(b"<get_users limit=3>#tea"),
            [
                b"<user in=#tea>alice",
                b"<user in=#tea>bob",
                b"<user in=#tea>carol",
                b"<users in=#tea count=4 more=carol>",
            ],
        )
        self.chat.say(self.dave, b"<leave>#tea")
        self.chat.enter(self.come(b"cleo"), b"#tea")
        self.assertEqual(self.names(self.carol, b"<get_users more=carol>#tea")[0], [b"cleo"])

    def test_all(self) -> None:
        """A plain client gets everybody, and a program a thousand at once."""
        for number in range(USERS_LIMIT):
            self.chat.connect(b"n%04d" % number)
        names, closing = self.names(self.alice, b"<get_users>")
        self.assertEqual((len(names), closing), (USERS_LIMIT + 4, b"<users count=1004>"))
        self.assertEqual(names, sorted(names))
        page, closing = self.names(self.dave, b"<get_users>")
        self.assertEqual((page, closing), (names[:USERS_LIMIT], b"<users count=1004 more=n0995>"))
        rest, _ = self.names(self.dave, b"<get_users more=n0995>")
        self.assertEqual(page + rest, names)
        self.assertEqual(self.names(self.alice, b"<get_users limit=2 more=n0995>")[0], [b"n0996", b"n0997"])

    def test_up_to_date(self) -> None:
        """Each list is as it is then, also of who has just come."""
        erin = Talk(self.hub)
        erin.say(b"<connect>erin", b"<away>x")
        self.assertEqual(erin.answer(b"<get_users>")[-2:], [b"<user absent>erin", b"<users count=5>"])
        self.hub.leave(self.dave.peer)
        self.assertEqual(erin.answer(b"<get_users>")[3], b"<user away>dave")
        self.chat.resume(b"dave", b"resume=token1", SMART)
        self.hub.kept(self.hub.changes(0))
        self.assertEqual(erin.answer(b"<get_users>")[3], b"<user>dave")
        self.hub.disperse()
        self.assertEqual(self.hub.roster.listing()[0].label, b"dave")


class Model(SynchronousTestCase):
    """Whatever happens: who listens can account for every coming and going."""

    @given(
        st.lists(
            st.one_of(
                st.tuples(
                    st.sampled_from(("come", "leave", "drop", "back", "join", "part")), st.integers(0, 7)
                ),
                st.just(("second", 0)),
            ),
            max_size=60,
        )
    )
    @examples(150)
    def test_adds_up(self, steps: list[tuple[str, int]]) -> None:
        self.patch(crowd, "CROWD", 3)
        chat = Chat()
        hub = chat.hub
        witness = chat.connect(b"witness")
        chat.enter(witness, b"#tea")
        people: dict[int, Talk] = {}
        away: dict[int, bytes] = {}
        happened: dict[tuple[bytes, bytes], int] = {}
        members: set[int] = set()
        heard: list[bytes] = []

        def note(change: bytes, room: bytes = b"") -> None:
            happened[room, change] = happened.get((room, change), 0) + 1

        def token(talk: Talk) -> bytes:
            found = re.search(rb"<connected resume=(\S+?)>", b"".join(talk.heard()))
            assert found
            return found[1]

        tokens: dict[int, bytes] = {}
        for what, who in steps:
            name = b"n%d" % who
            if what == "come" and who not in people and who not in away:
                talk = people[who] = Talk(hub)
                talk.say(SMART, b"<connect>" + name)
                tokens[who] = token(talk)
                hub.confirm(talk.peer)
                note(b"joined")
            elif what == "leave" and who in people:
                talk = people.pop(who)
                talk.say(b"<disconnect>")
                hub.part(talk.peer)
                hub.leave(talk.peer)
                note(b"left")
                if who in members:
                    members.discard(who)
                    note(b"gone", b"#tea")
            elif what == "drop" and who in people:
                hub.leave(people.pop(who).peer)
                away[who] = tokens[who]
                note(b"away")
            elif what == "back" and who in away:
                talk = people[who] = chat.resume(name, b"resume=" + away.pop(who), SMART)
                tokens[who] = token(talk)
                hub.confirm(talk.peer)
                chat.catch_up(talk)
                note(b"back")
            elif what == "join" and who in people and who not in members:
                chat.enter(people[who], b"#tea")
                members.add(who)
                note(b"joined", b"#tea")
            elif what == "part" and who in members and who in people:
                chat.say(people[who], b"<leave>#tea")
                members.discard(who)
                note(b"left", b"#tea")
            elif what == "second":
                while hub.counts_people:
                    hub.tell_people()
                lines = witness.heard()
                heard += lines
                self.check_numbers(lines, 1 + len(people) + len(away), 1 + len(members))
        while hub.counts_people:
            hub.tell_people()
        heard += witness.heard()
        self.check_sums(heard, happened)

    def check_numbers(self, lines: list[bytes], people: int, members: int) -> None:
        """A line says how many there are now, once for each place."""
        counted = [line for line in lines if line.startswith(b"<people")]
        self.assertLessEqual(len(counted), 2)
        for line in counted:
            self.assertEqual(int(line.partition(b">")[2]), members if b" in=#tea" in line else people)

    def check_sums(self, lines: list[bytes], happened: dict[tuple[bytes, bytes], int]) -> None:
        """All that was told, by name or in numbers, is all that happened."""
        sums: dict[tuple[bytes, bytes], int] = {}
        for line in told(lines):
            head = line[1:].partition(b">")[0].split(b" ")
            room = b"#tea" if b"in=#tea" in head else b""
            counts = (
                {
                    key: int(count)
                    for key, _, count in (each.partition(b"=") for each in head[1:])
                    if key != b"in"
                }
                if head[0] == b"people"
                else {head[0]: 1}
            )
            for change, count in counts.items():
                sums[room, change] = sums.get((room, change), 0) + count
        # Who left the room with the chat is told of there only if the chat is a crowd.
        gone = happened.pop((b"#tea", b"gone"), 0)
        left = happened.pop((b"#tea", b"left"), 0)
        self.assertTrue(left <= sums.pop((b"#tea", b"left"), 0) <= left + gone)
        self.assertEqual(sums, happened)


class Seconds(SynchronousTestCase):
    """`Pump` tells what was counted, once a second and only then."""

    def setUp(self) -> None:
        self.patch(crowd, "CROWD", 1)
        self.clock = Clock()
        self.hub = Hub(durable=True)
        self.pump = make_pump(self.clock, self.hub)
        self.alice = Talk(self.hub)
        self.alice.say(b"<connect>alice")
        self.come(b"bob", b"carol")
        self.clock.advance(2)
        self.alice.heard()

    def come(self, *names: bytes) -> None:
        for name in names:
            Talk(self.hub).say(b"<connect>" + name)
        self.pump.wake()
        self.clock.advance(0)

    def test_once_a_second(self) -> None:
        """However much happens in it; and where nothing does there is no timer."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.come(b"dave")
        self.clock.advance(0.5)
        self.come(b"erin")
        self.assertEqual(self.alice.heard(), [])
        self.clock.advance(0.5)
        self.assertEqual(self.alice.heard(), [b"<people joined=2>5"])
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.come(b"frank")
        self.clock.advance(0.9)
        self.assertEqual(self.alice.heard(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.alice.heard(), [b"<people joined=1>6"])
        self.clock.advance(0)

    def test_all_places(self) -> None:
        """All crowds are told then, one after the other."""
        talks = [self.alice, *(Talk(self.hub) for _ in range(3))]
        for number, talk in enumerate(talks):
            talk.say(b"<connect>n%d" % number, b"<join>#tea")
            self.pump.wake()
            self.clock.advance(0)
        self.alice.heard()
        self.clock.advance(1)
        self.assertEqual(sorted(self.alice.heard()), [b"<people in=#tea joined=2>4", b"<people joined=3>6"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """Who stops forgets it, and begins nothing anew."""
        self.come(b"dave")
        self.pump.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Costs(SynchronousTestCase):
    """What very many cost who come at once."""

    def lines(self, count: int) -> int:
        """How many lines are told to others while so many join, and in the second after."""
        chat = Chat()
        talks = [Talk(chat.hub) for _ in range(count)]
        for number, talk in enumerate(talks):
            talk.say(b"<connect>n%d" % number)
        while chat.hub.counts_people:
            chat.hub.tell_people()
        lines = [line for talk in talks for line in talk.heard()]
        return len(lines) - lines.count(b"<people joined=%d>%d" % (count - CROWD - 1, count)) - count

    def test_storm(self) -> None:
        """Five thousand are told a line each of those who came; by name only who was among the first hundred."""
        by_name = CROWD * (CROWD + 1) // 2
        self.assertEqual([self.lines(count) for count in (1000, 5000)], [by_name] * 2)


class Line(SynchronousTestCase):
    """`Tally`."""

    def test_line(self) -> None:
        """What did not happen is left out, and nothing is if all happened."""
        tally = Tally()
        self.assertEqual(tally.line(b"", 7), b"<people>7\n")
        for change in (b"back", b"left", b"joined", b"away", b"left"):
            tally.add(change)
        self.assertEqual(tally.line(b" in=#tea", 812), b"<people in=#tea joined=1 left=2 away=1 back=1>812\n")
