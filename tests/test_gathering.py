"""Who is where and wants to hear what: rooms, and what each person has set for herself."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat import gathering, personal, rooms
from pychat.errors import JournalError, RemoteProtocolError
from pychat.hub import Hub
from pychat.personal import kept_from
from pychat.requests import WhoIs
from pychat.roster import digest_of
from pychat.vocabulary import Kind, RoomRecord, Standing, Stay
from tests.chatkit import NOON, NOON_MS, Chat, Talk

SMART = b"<hello caps=ack,resume,typing>"
MUTED = b"<done>#tea is muted. <history>#tea shows what is said; <unmute>#tea ends it."
NO_SUCH_USER = b"<error code=no-such-user>Nobody here has this name. Type <get_users> to see who is here."


class GatheringCase(SynchronousTestCase):
    """Alice and Bob are on `nc`; Carol has a program and can come back."""

    def setUp(self) -> None:
        self.chat = Chat()
        self.hub = self.chat.hub
        self.alice = self.chat.connect(b"alice")
        self.bob = self.chat.connect(b"bob")
        self.carol = self.chat.connect(b"carol", SMART)
        self.alice.heard()
        self.bob.heard()

    def gather(self, *talks: Talk, room: bytes = b"#tea") -> None:
        """These are members of a room, and have heard so."""
        for talk in talks:
            self.chat.enter(talk, room)
        for talk in talks:
            talk.heard()

    def hear(self, *talks: Talk) -> list[list[bytes]]:
        return [talk.heard() for talk in talks]

    def come(self, token: bytes = b"token1", attributes: bytes = b"") -> Talk:
        """Carol comes on another connection, and was answered."""
        carol = self.chat.resume(b"carol", b"resume=" + token + attributes, SMART)
        carol.heard()
        return carol

    def refused(self, talk: Talk, line: bytes, code: bytes) -> bytes:
        """The line is answered with this error at once; return its sentence."""
        (answer,) = talk.answer(line)
        self.assertTrue(answer.startswith(b"<error code=%s>" % code), answer)
        return answer.partition(b">")[2]

    def kinds(self) -> list[int]:
        return [entry.kind for _, entry in self.chat.journal]


class Joining(GatheringCase):
    """`<join>` and `<leave>`."""

    def test_join(self) -> None:
        """Who joins is told how many are there, and the others that she came."""
        self.assertEqual(self.chat.enter(self.alice, b"#Tea"), [b"<joined in=#Tea members=1>alice"])
        self.alice.say(b"<join>#coffee")
        self.bob.say(b"<join label=7> #TEA ")
        self.chat.commit()
        self.assertEqual(self.bob.heard(), [b"<joined label=7 in=#Tea members=2>bob"])
        self.assertEqual(self.alice.heard(), [b"<joined in=#coffee members=1>alice", b"<joined in=#Tea>bob"])
        self.assertEqual(self.carol.heard(), [])
        self.assertEqual(self.kinds(), [Kind.JOIN] * 3)

    def test_again(self) -> None:
        """Who is a member already is answered the same, and nobody hears of it."""
        self.gather(self.alice, self.bob)
        self.assertEqual(self.chat.enter(self.bob, b"#tea"), [b"<joined in=#tea members=2>bob"])
        self.bob.say(b"<join label=1>#coffee", b"<join label=2>#coffee")
        self.chat.commit()
        self.assertEqual(
            self.bob.heard(),
            [b"<joined label=1 in=#coffee members=1>bob", b"<joined label=2 in=#coffee members=1>bob"],
        )
        self.assertEqual((self.alice.heard(), self.kinds()), ([], [Kind.JOIN] * 3))

    def test_since(self) -> None:
        """A program is told from which id on it is owed what is said there, always the same one."""
        self.gather(self.alice)
        joined = b"<joined in=#tea id=2 members=2>carol"
        self.assertEqual(self.chat.enter(self.carol, b"#tea"), [joined])
        self.chat.say(self.alice, b"<set_msg>#tea hi")
        self.assertEqual(self.chat.enter(self.carol, b"#tea")[-1], joined)

    def test_leave(self) -> None:
        """Who leaves is told so, and so are the others; twice is once."""
        self.gather(self.alice, self.bob)
        self.bob.say(b"<leave label=1>#tea", b"<leave label=2>#tea")
        self.chat.commit()
        self.assertEqual(self.bob.heard(), [b"<left label=1 in=#tea>bob", b"<left label=2 in=#tea>bob"])
        self.assertEqual(self.alice.heard(), [b"<left in=#tea>bob"])
        self.assertEqual(self.kinds(), [Kind.JOIN, Kind.JOIN, Kind.LEAVE])
        self.refused(self.bob, b"<leave>#tea", b"not-in-room")

    def test_leave_again_while_it_is_under_way(self) -> None:
        """Twice is once, also if the first is with the journal when the second is said."""
        self.gather(self.alice, self.bob)
        self.bob.say(b"<leave>#tea")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.bob.say(b"<leave>#tea")
        self.hub.appended(posts, [3], NOON_MS, 0.0)
        self.assertEqual(self.chat.commit(), [])
        self.assertEqual(self.bob.heard(), [b"<left in=#tea>bob"] * 2)
        self.assertEqual(self.alice.heard(), [b"<left in=#tea>bob"])

    def test_to_and_fro(self) -> None:
        """Whoever leaves and joins in one batch is in the end what she said last."""
        self.gather(self.alice, self.bob)
        self.bob.say(b"<leave>#tea", b"<join>#tea", b"<leave>#tea")
        self.chat.commit()
        self.assertEqual(
            self.bob.heard(),
            [b"<left in=#tea>bob", b"<joined in=#tea members=2>bob", b"<left in=#tea>bob"],
        )
        self.assertEqual(self.kinds()[2:], [Kind.LEAVE, Kind.JOIN, Kind.LEAVE])
        self.assertEqual(self.alice.answer(b"<get_users>#tea")[-1], b"<users in=#tea count=1>")

    def test_among_messages(self) -> None:
        """One hears what is said behind one's own joining and before one's own leaving, also in one batch."""
        self.gather(self.alice)
        self.alice.say(b"<set_msg>#tea 1")
        self.bob.say(b"<join>#tea")
        self.alice.say(b"<set_msg>#tea 2", b"<set_msg_all>3")
        self.chat.commit()
        self.bob.say(b"<leave>#tea")
        self.alice.say(b"<set_msg>#tea 4")
        self.chat.commit()
        self.assertEqual(
            self.bob.heard(),
            [b"<joined in=#tea members=2>bob", b"<msg id=4 from=alice to=#tea>2", b"<msg id=5 from=alice to=all>3",
             b"<left in=#tea>bob"],
        )  # fmt: skip
        self.assertEqual(
            self.alice.heard(),
            [b"<accepted id=2>#tea", b"<joined in=#tea>bob", b"<accepted id=4>#tea", b"<accepted id=5>all",
             b"<left in=#tea>bob", b"<accepted id=7>#tea"],
        )  # fmt: skip

    def test_what_comes_next_waits(self) -> None:
        """Who joins or leaves is judged by that from then on: her next line waits for it, and others' do not."""
        self.bob.say(b"<join>#tea")
        self.assertTrue(self.bob.peer.holding)
        self.chat.commit()
        self.bob.say(b"<ping>")
        self.assertFalse(self.bob.peer.holding)
        self.bob.say(b"<leave>#tea")
        self.assertTrue(self.bob.peer.holding)
        self.assertFalse(self.alice.peer.holding)

    def test_bad(self) -> None:
        """What is no room's name cannot be joined, and what one is not in cannot be left."""
        self.refused(self.alice, b"<join>tea", b"bad-name")
        self.refused(self.alice, b"<join>#server", b"name-reserved")
        self.refused(self.alice, b"<join>#\xff", b"bad-name")
        self.refused(self.alice, b"<join>", b"missing-argument")
        self.refused(self.alice, b"<leave>#tea", b"no-such-room")
        self.gather(self.bob)
        self.assertIn(b"<join>#tea", self.refused(self.alice, b"<leave>#tea", b"not-in-room"))
        self.assertFalse(self.hub.posting)

    def test_limits(self) -> None:
        """There are only so many rooms, and rooms for one person; a refusal makes none."""
        self.patch(gathering, "STAYS_LIMIT", 1)
        self.gather(self.alice)
        self.assertIn(b"<leave>", self.refused(self.alice, b"<join>#coffee", b"limit-reached"))
        self.refused(self.bob, b"<leave>#coffee", b"no-such-room")
        self.assertEqual(self.chat.enter(self.alice, b"#tea"), [b"<joined in=#tea members=1>alice"])
        self.patch(rooms, "ROOMS_LIMIT", 1)
        self.refused(self.bob, b"<join>#coffee", b"limit-reached")
        self.chat.enter(self.alice, b"#tea")
        self.alice.say(b"<leave>#tea")
        self.chat.commit()
        self.gather(self.bob, room=b"#coffee")

    def test_refused(self) -> None:
        """Where the journal refuses nothing has changed: no room was made, and nobody left one."""
        self.alice.say(b"<join label=1>#tea")
        self.chat.refuse()
        self.assertEqual(
            self.alice.heard(), [b"<error code=journal-unavailable label=1>The disk is full. Try again."]
        )
        self.refused(self.alice, b"<leave>#tea", b"no-such-room")
        self.gather(self.alice, self.bob)
        self.bob.say(b"<leave>#tea")
        self.chat.refuse()
        self.assertEqual(self.alice.heard(), [])
        self.assertEqual(self.chat.say(self.alice, b"<set_msg>#tea hi"), [b"<accepted id=3>#tea"])
        self.assertEqual(self.bob.heard()[-1], b"<msg id=3 from=alice to=#tea>hi")

    def test_gone_before_it_was_taken(self) -> None:
        """Who is gone before her joining was taken up has joined nothing, and no room is left of it."""
        self.patch(rooms, "ROOMS_LIMIT", 1)
        self.bob.say(b"<join>#tea")
        self.hub.leave(self.bob.peer)
        self.assertEqual(self.chat.commit(), [])
        self.assertEqual(self.alice.heard(), [b"<left>bob"])
        self.gather(self.alice, room=b"#coffee")

    def test_gone_before_it_was_kept(self) -> None:
        """Who is gone before the journal had her joining is no member, and the journal hears that she ended."""
        self.gather(self.alice)
        self.alice.say(b"<leave>#tea")
        self.bob.say(b"<join>#tea", b"<join>#coffee")
        posts, entries = self.hub.take(NOON_MS) or ([], [])
        self.assertEqual(len(entries), 3)
        self.hub.leave(self.bob.peer)
        self.hub.appended(posts, [2, 3, 4], NOON_MS, 0.0)
        (standing,) = [each for each in self.hub.changes(NOON_MS).standings if each.name == "bob"]
        self.assertIsNotNone(standing.left)
        self.assertEqual(self.alice.answer(b"<get_rooms>"), [b"<rooms count=0>"])
        self.assertEqual(self.chat.enter(self.alice, b"#tea")[-1:], [b"<joined in=#tea members=1>alice"])

    def test_told_before_the_journal_knew_that_she_left(self) -> None:
        """Those who are in the room are told of a joining that the journal has, although she left meanwhile."""
        self.gather(self.alice)
        self.bob.say(b"<join>#tea")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.hub.leave(self.bob.peer)
        self.hub.appended(posts, [2], NOON_MS, 0.0)
        self.assertEqual(self.alice.heard(), [b"<joined in=#tea>bob", b"<left>bob"])
        self.assertEqual(self.alice.answer(b"<get_users>#tea")[-1], b"<users in=#tea count=1>")

    def test_gone_before_her_leaving_was_kept(self) -> None:
        """Who is gone has left her rooms; the journal's word on it says nothing new."""
        self.gather(self.alice, self.bob)
        self.bob.say(b"<leave>#tea")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.hub.leave(self.bob.peer)
        self.hub.appended(posts, [3], NOON_MS, 0.0)
        self.assertEqual(self.alice.heard(), [b"<left>bob"])

    def test_her_time_was_over_before_it_was_kept(self) -> None:
        """The same for who was away for too long meanwhile: the journal hears again that she ended."""
        self.carol.say(b"<join>#tea")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.hub.leave(self.carol.peer)
        self.hub.expire(10_000.0)
        self.hub.kept(self.hub.changes(NOON_MS))
        self.hub.appended(posts, [1], NOON_MS, 0.0)
        (standing,) = self.hub.changes(NOON_MS).standings
        self.assertEqual((standing.name, standing.left), ("carol", 0))

    def test_the_journal_hears_of_the_end(self) -> None:
        """Whoever was in a room is known to the journal, which has to hear when she leaves it, or the chat."""
        self.gather(self.alice, self.bob)
        self.bob.say(b"<leave>#tea")
        self.chat.commit()
        self.hub.leave(self.alice.peer)
        self.assertEqual(
            [(each.name, each.left) for each in self.hub.changes(NOON_MS).standings],
            [("bob", None), ("alice", 3)],
        )

    def test_leaving_the_chat(self) -> None:
        """Who leaves the chat has left all rooms; a room without members lasts as long as its messages."""
        self.gather(self.alice, self.bob)
        self.gather(self.bob, room=b"#coffee")
        self.gather(self.bob, room=b"#water")
        self.chat.say(self.bob, b"<set_msg>#coffee hi")
        self.alice.heard()
        self.bob.say(b"<disconnect>")
        self.hub.part(self.bob.peer)
        self.hub.leave(self.bob.peer)
        self.assertEqual(self.alice.heard(), [b"<left>bob"])
        self.assertEqual(
            self.alice.answer(b"<get_rooms>"),
            [b"<room members=0>#coffee", b"<room members=1 joined>#tea", b"<rooms count=2>"],
        )
        self.assertEqual(len(self.hub.rooms), 2)
        self.hub.tidy_rooms(1)
        self.assertEqual(len(self.alice.answer(b"<get_rooms>")), 3)
        self.hub.tidy_rooms(self.hub.last_id + 1)
        self.assertEqual(self.alice.answer(b"<get_rooms>")[-1], b"<rooms count=1>")
        self.assertEqual(self.hub.rooms.find("#tea").newest, 0)

    def test_oldest(self) -> None:
        """What the journal has forgotten does not keep a room when the last one leaves."""
        self.gather(self.alice)
        self.chat.say(self.alice, b"<set_msg>#tea hi")
        self.hub.tidy_rooms(self.hub.last_id + 1)
        self.alice.say(b"<leave>#tea")
        self.chat.commit()
        self.refused(self.alice, b"<leave>#tea", b"no-such-room")

    def test_arriving(self) -> None:
        """Who comes and joins at once is let in first."""
        dave = Talk(self.hub)
        dave.say(SMART, b"<connect>dave", b"<join>#tea")
        self.hub.kept(self.hub.changes(NOON_MS))
        self.chat.commit()
        self.assertEqual(dave.heard()[-1], b"<joined in=#tea id=1 members=1>dave")
        self.assertEqual(self.chat.enter(self.alice, b"#tea")[0], b"<joined>dave")
        self.assertEqual(dave.heard(), [b"<joined in=#tea>alice"])

    def test_disperse(self) -> None:
        """When the daemon stops those who can come back stay members, and nobody is told anything."""
        self.gather(self.alice, self.bob, self.carol)
        self.alice.say(b"<set_msg>#tea last words")
        self.hub.disperse()
        self.chat.commit()
        self.assertEqual(self.alice.heard(), [b"<accepted id=4>#tea"])
        self.assertEqual(self.hear(self.bob, self.carol), [[], []])
        self.assertEqual(
            self.hub.users(self.alice.peer.identity, self.hub.rooms.find("#tea")),
            (b"<user in=#tea away>carol\n", 1, b""),
        )


class Entering(GatheringCase):
    """Who joins on a plain line is to be told what was said there."""

    def test_plain(self) -> None:
        """Up to her own joining; a program asks for it, and who is a member already has heard it."""
        self.gather(self.alice)
        self.hub.entered.clear()
        room = self.hub.rooms.find("#tea")
        self.chat.enter(self.carol, b"#tea")
        self.assertEqual(self.hub.entered, [])
        self.chat.enter(self.bob, b"#tea", b"#tea")
        self.assertEqual(self.hub.entered, [(self.bob.peer, room, 3)])


class Away(GatheringCase):
    """Who is away stays a member."""

    def setUp(self) -> None:
        super().setUp()
        self.gather(self.alice, self.carol)
        self.bob.heard()

    def go(self) -> None:
        self.hub.leave(self.carol.peer)
        self.alice.heard()

    def test_members(self) -> None:
        """She is listed as away, and is told what was said in her rooms when she is back, and goes on live."""
        self.go()
        self.assertEqual(
            self.alice.answer(b"<get_users label=1>#tea"),
            [b"<user label=1 in=#tea>alice", b"<user label=1 in=#tea away>carol",
             b"<users label=1 in=#tea count=2>"],
        )  # fmt: skip
        self.gather(self.bob, room=b"#coffee")
        self.chat.say(self.bob, b"<set_msg>#coffee not hers")
        self.chat.say(self.alice, b"<set_msg>#tea hi", b"<topic>#tea Pots")
        carol = self.come()
        self.chat.say(self.alice, b"<set_msg>#tea meanwhile")
        self.assertEqual(
            self.chat.catch_up(carol),
            [
                b"<msg id=5 from=alice to=#tea time=%s replay>hi" % NOON,
                b"<topic in=#tea by=alice time=%s replay>Pots" % NOON,
                b"<msg id=7 from=alice to=#tea time=%s replay>meanwhile" % NOON,
                b"<replayed count=2>",
            ],
        )
        self.chat.say(self.alice, b"<set_msg>#tea live")
        self.assertEqual(carol.heard(), [b"<msg id=8 from=alice to=#tea time=%s>live" % NOON])
        self.hub.leave(carol.peer)
        again = self.chat.resume(b"carol", b"resume=token2 after=7", SMART)
        again.heard()
        self.assertEqual(
            self.chat.catch_up(again)[0], b"<msg id=8 from=alice to=#tea time=%s replay>live" % NOON,
            "a topic that she was told is not told again",
        )  # fmt: skip

    def test_busy(self) -> None:
        """Before she has what she missed she can ask for nothing of which the answer, or her next lines, would wait."""
        self.go()
        carol = self.come()
        for line in (b"<join>#coffee", b"<leave>#tea", b"<history>all", b"<search>tea", b"<unread>"):
            self.assertIn(b"again behind <replayed>", self.refused(carol, line, b"busy"))
        self.assertFalse(carol.peer.holding)
        self.chat.catch_up(carol)
        self.assertEqual(self.chat.enter(carol, b"#coffee"), [b"<joined in=#coffee id=3 members=1>carol"])

    def test_left_before_she_had_it(self) -> None:
        """What was said before she left a room she is told, and nothing that was said later."""
        self.chat.say(self.alice, b"<set_msg>#tea 1")
        self.chat.say(self.carol, b"<leave>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 2", b"<set_msg_all>3")
        self.go()
        carol = self.come()
        self.assertEqual(
            [line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)], [b"1", b"3", b""]
        )

    def test_acknowledged_before_she_left(self) -> None:
        """A stay in which she has everything is remembered no more."""
        self.gather(self.carol, room=b"#coffee")
        self.chat.say(self.alice, b"<set_msg>#tea 1")
        self.chat.say(self.carol, b"<leave>#tea")
        self.chat.say(self.alice, b"<set_msg_all>2")
        self.chat.say(self.carol, b"<ack>6", b"<leave>#coffee")
        person = self.carol.peer.identity
        assert person is not None
        self.assertEqual([stay.room.name for stay in person.former], ["#coffee"])

    def test_many_stays(self) -> None:
        """Of very many rooms that she left the newest are remembered."""
        self.patch(gathering, "FORMER_LIMIT", 1)
        self.gather(self.alice, self.carol, room=b"#coffee")
        self.chat.say(self.alice, b"<set_msg>#tea 1", b"<set_msg>#coffee 2")
        self.chat.say(self.carol, b"<leave>#tea", b"<leave>#coffee")
        self.go()
        carol = self.come()
        self.assertEqual([line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)], [b"2", b""])

    def test_joined_again(self) -> None:
        """Who left and joined again is told of both stays, and not of the time between."""
        self.chat.say(self.alice, b"<set_msg>#tea 1")
        self.chat.say(self.carol, b"<leave>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 2")
        self.chat.enter(self.carol, b"#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 3")
        self.go()
        carol = self.come()
        self.assertEqual(
            [line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)], [b"1", b"3", b""]
        )

    def test_replaced(self) -> None:
        """Who comes back while her old connection is still there hears on the new one only."""
        carol = self.come()
        self.carol.heard()
        self.chat.catch_up(carol)
        self.chat.say(self.alice, b"<set_msg>#tea hi")
        self.assertEqual(len(carol.heard()), 1)
        self.assertEqual(self.carol.heard(), [])

    def test_joining_under_way(self) -> None:
        """Her joining that was under way when she came back on another connection counts for that one."""
        self.gather(self.alice, room=b"#coffee")
        self.carol.say(b"<join>#coffee")
        posts, entries = self.hub.take(NOON_MS) or ([], [])
        carol = self.chat.resume(b"carol", b"resume=token1", SMART)
        self.hub.kept(self.hub.changes(NOON_MS))
        self.chat.journal += [(4, entries[0])]
        self.chat.last_id = 4
        self.hub.appended(posts, [4], NOON_MS, 0.0)
        carol.heard()
        self.chat.catch_up(carol)
        self.chat.say(self.alice, b"<set_msg>#coffee hi")
        self.assertEqual(carol.heard(), [b"<msg id=5 from=alice to=#coffee time=%s>hi" % NOON])

    def test_her_time_is_over(self) -> None:
        """Who does not come back has left her rooms."""
        self.go()
        self.hub.expire(10_000.0)
        self.assertEqual(self.alice.heard(), [b"<left>carol"])
        self.assertEqual(self.alice.answer(b"<get_users>#tea")[-1], b"<users in=#tea count=1>")


class Blocked(GatheringCase):
    """What was never shown stays so."""

    def test_edited_later(self) -> None:
        """Nothing that is said about a blocked message is shown to who ignored its sender, also when she stops."""
        self.chat.say(self.bob, b"<ignore>alice")
        self.chat.say(self.alice, b"<set_msg>bob one")
        (id, _), *_ = [(id, entry) for id, entry in self.chat.journal if entry.text == b"one"]
        self.chat.say(self.bob, b"<unignore>alice")
        for line in (b"<edit>%d two" % id, b"<react>%d !" % id, b"<retract>%d" % id):
            told = self.chat.say(self.alice, line)
            self.assertTrue(told[1].startswith(b"<undelivered "), told)
            self.assertTrue(told[1].endswith(b"reason=blocked>bob"), told)
        self.assertEqual(self.bob.heard(), [])

    def test_edit(self) -> None:
        """What somebody has cannot be changed by whom she ignores: she would see it when she looks back."""
        self.chat.say(self.alice, b"<set_msg>bob one")
        (id,) = [id for id, entry in self.chat.journal if entry.text == b"one"]
        self.chat.say(self.bob, b"<ignore>alice")
        for _ in range(2):
            (error,) = self.chat.say(self.alice, b"<edit once=k>%d two" % id)
            self.assertEqual(
                error, b"<error code=blocked>bob ignores you, and keeps what you said before as it was."
            )
        edit = b"<edit once=j>%d two" % id
        self.chat.mutter(self.alice, edit, edit)
        self.chat.commit()
        self.assertEqual([line[:19] for line in self.alice.heard()], [b"<error code=blocked"] * 2)
        self.assertEqual(self.chat.say(self.alice, b"<retract>%d" % id)[0][:9], b"<accepted")
        self.assertNotIn(b"two", [entry.text for _, entry in self.chat.journal])
        self.assertEqual(self.bob.heard(), [])

    def test_topic(self) -> None:
        """Of a topic of somebody whom one ignores one is not told; that he comes and goes one is."""
        self.gather(self.alice, self.bob)
        self.chat.say(self.bob, b"<ignore>alice")
        self.bob.heard()
        self.chat.say(self.alice, b"<topic>#tea you hear me", b"<leave>#tea")
        self.assertEqual(self.bob.heard(), [b"<left in=#tea>alice"])


class Bots(GatheringCase):
    """Bots that are away get no mail."""

    def test_about(self) -> None:
        """Nor anything that is said about a message that they have."""
        bot = self.chat.connect(b"bot", b"<hello caps=ack,resume,bot>")
        bot.say(b"<ping>")
        self.alice.heard()
        self.chat.say(self.alice, b"<set_msg>bot one")
        (id,) = [id for id, entry in self.chat.journal if entry.text == b"one"]
        self.hub.leave(bot.peer)
        for line in (b"<set_msg>bot two", b"<edit>%d two" % id, b"<react>%d !" % id, b"<retract>%d" % id):
            (error,) = self.chat.say(self.alice, line)
            self.assertTrue(error.startswith(b"<error code=away>"), error)


class Bidirectional(GatheringCase):
    """Text that would turn a terminal's line around comes isolated to plain lines."""

    def test_isolated(self) -> None:
        """In topics, and in what somebody says who is away."""
        self.gather(self.alice, self.bob, self.carol)
        turned = "\u202egnp".encode()
        isolated = "\u2068\u202egnp\u2069".encode()
        self.chat.say(self.alice, b"<topic>#tea " + turned)
        self.assertEqual(self.bob.heard(), [b"<topic in=#tea by=alice>" + isolated])
        self.assertEqual(self.carol.heard(), [b"<topic in=#tea by=alice>" + turned])
        self.assertTrue(self.bob.answer(b"<topic>#tea")[0].endswith(isolated))
        self.chat.say(self.alice, b"<away>" + turned)
        self.assertEqual(self.bob.heard(), [b"<absent from=alice>" + isolated])
        self.assertEqual(self.carol.heard(), [b"<absent from=alice>" + turned])
        for talk, text in ((self.bob, isolated), (self.carol, turned)):
            for request in talk.say(b"<whois>alice"):
                assert isinstance(request, WhoIs)
                talk.session.described(request, 0.0, NOON_MS)
            self.assertEqual(talk.heard()[0], b"<absent from=alice>" + text)


class Muting(GatheringCase):
    """`<mute>` and `<unmute>`."""

    def setUp(self) -> None:
        super().setUp()
        self.gather(self.alice, self.bob, self.carol)

    def test_mute(self) -> None:
        """Of a room that one muted one hears nothing, and everything else; until one unmutes it."""
        self.assertEqual(self.chat.say(self.bob, b"<mute>#TEA", b"<mute>#tea"), [MUTED, MUTED])
        self.chat.say(self.alice, b"<set_msg>#tea 1", b"<set_msg_all>2", b"<topic>#tea Pots")
        self.assertEqual(self.bob.heard(), [b"<msg id=5 from=alice to=all>2"])
        self.assertEqual(
            self.bob.answer(b"<get_rooms label=7>"),
            [b"<room label=7 members=3 joined muted>#tea", b"<rooms label=7 count=1>"],
        )
        done = b"<done>#tea is not muted any more."
        self.assertEqual(self.chat.say(self.bob, b"<unmute>#tea", b"<unmute>#tea"), [done, done])
        self.chat.say(self.alice, b"<set_msg>#tea 3")
        self.assertEqual(self.bob.heard(), [b"<msg id=7 from=alice to=#tea>3"])

    def test_answers_keep_their_order(self) -> None:
        """The answer comes behind those to earlier lines, with its label; if the journal has to know, when it does."""
        for id, talk in enumerate((self.bob, self.carol), 4):
            talk.heard()
            talk.say(b"<set_msg>#tea 1", b"<mute label=1>#tea", b"<ping>")
            self.assertEqual(talk.heard(), [])
            self.chat.commit()
            self.assertEqual(
                talk.heard(),
                [b"<accepted id=%d>#tea" % id, MUTED.replace(b"done", b"done label=1"), b"<pong>"],
            )
        self.carol.say(b"<unmute>#tea")
        self.assertEqual(self.carol.heard(), [])
        self.assertEqual(self.chat.commit(), [])
        self.assertEqual(self.carol.heard(), [b"<done>#tea is not muted any more."])

    def test_one_can_talk(self) -> None:
        """Who muted a room can say something in it."""
        self.assertEqual(
            self.chat.say(self.bob, b"<mute>#tea", b"<set_msg>#tea hi")[1:], [b"<accepted id=4>#tea"]
        )
        self.assertEqual(self.alice.heard(), [b"<msg id=4 from=bob to=#tea>hi"])

    def test_not_hers(self) -> None:
        """One mutes what one is in."""
        dave = self.chat.connect(b"dave")
        for verb in (b"mute", b"unmute"):
            self.refused(dave, b"<%s>#tea" % verb, b"not-in-room")
            self.refused(dave, b"<%s>#coffee" % verb, b"no-such-room")
            self.refused(dave, b"<%s>tea" % verb, b"bad-name")
            self.refused(dave, b"<%s>" % verb, b"missing-argument")

    def test_refused(self) -> None:
        """If the journal cannot keep it who can come back is told so; of all others it keeps nothing anyway."""
        for talk in (self.bob, self.carol):
            talk.say(b"<mute label=1>#tea")
        self.chat.refuse()
        (error,) = self.carol.heard()
        self.assertTrue(
            error.startswith(b"<error code=journal-unavailable label=1>It is so from now on"), error
        )
        self.assertEqual(self.bob.heard(), [MUTED.replace(b"done", b"done label=1")])
        self.chat.say(self.alice, b"<set_msg>#tea hi")
        self.assertEqual(self.hear(self.bob, self.carol), [[], []], "it is so, as they were told")

    def test_the_journal_hears_of_it(self) -> None:
        """What she has set is kept with how she stands, if she can come back."""
        for talk, kept in ((self.carol, 1), (self.bob, 0)):
            talk.heard()
            talk.say(b"<mute>#tea")
            self.assertEqual(len(self.hub.changes(NOON_MS).standings), kept)

    def test_left(self) -> None:
        """Of who left nothing stays behind in the room."""
        self.chat.say(self.bob, b"<mute>#tea", b"<leave>#tea")
        self.chat.say(self.carol, b"<mute>#tea")
        self.hub.leave(self.carol.peer)
        self.hub.expire(10_000.0)
        self.assertEqual(self.hub.rooms.find("#tea").aside, {})

    def test_while_away(self) -> None:
        """Who comes back is not told what was said in a room while it was muted."""
        self.chat.say(self.carol, b"<mute>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 1")
        self.chat.say(self.carol, b"<unmute>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 2")
        self.hub.leave(self.carol.peer)
        carol = self.come()
        self.assertEqual([line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)], [b"2", b""])
        self.chat.say(carol, b"<mute>#tea")
        self.hub.leave(carol.peer)
        self.chat.say(self.alice, b"<set_msg>#tea 3", b"<set_msg_all>4")
        carol = self.come(b"token2", b" after=5")
        self.assertEqual([line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)], [b"4", b""])
        self.chat.say(self.alice, b"<set_msg>#tea 5")
        self.assertEqual(carol.heard(), [])

    def test_while_she_catches_up(self) -> None:
        """Who unmutes a room while she is told what she missed hears it live behind that, and not before."""
        self.chat.say(self.carol, b"<mute>#tea")
        self.hub.leave(self.carol.peer)
        carol = self.come()
        carol.say(b"<unmute>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 1")
        self.assertEqual(carol.heard(), [])
        self.assertEqual([line.partition(b">")[2] for line in self.chat.catch_up(carol)], [b"1", b""])
        self.chat.commit()
        self.chat.say(self.alice, b"<set_msg>#tea 2")
        self.assertEqual(
            carol.heard(),
            [b"<done>#tea is not muted any more.", b"<msg id=5 from=alice to=#tea time=%s>2" % NOON],
        )

    def test_to_and_fro_while_she_catches_up(self) -> None:
        """What was said while she had muted it is not shown, and what was said before or after is."""
        self.hub.leave(self.carol.peer)
        carol = self.come()
        catchup = self.hub.catching(carol.peer)
        assert catchup is not None
        catchup.listen(self.hub.last_id)
        page = self.chat.page(carol)
        self.chat.say(self.alice, b"<set_msg>#tea 1")
        carol.say(b"<mute>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 2")
        carol.say(b"<unmute>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 3")
        self.hub.replay(carol.peer, page)
        self.assertEqual([line.partition(b">")[2] for line in carol.heard()], [b"1", b"3", b""])

    def test_muted_while_she_catches_up(self) -> None:
        """What was said before she muted it is shown all the same."""
        self.hub.leave(self.carol.peer)
        carol = self.come()
        catchup = self.hub.catching(carol.peer)
        assert catchup is not None
        catchup.listen(self.hub.last_id)
        page = self.chat.page(carol)
        self.chat.say(self.alice, b"<set_msg>#tea 1")
        carol.say(b"<mute>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 2")
        self.hub.replay(carol.peer, page)
        self.assertEqual([line.partition(b">")[2] for line in carol.heard()], [b"1", b""])

    def test_left_and_joined_again(self) -> None:
        """Who leaves a room and joins it again hears it."""
        self.chat.say(self.carol, b"<mute>#tea", b"<leave>#tea")
        self.chat.enter(self.carol, b"#tea")
        self.chat.say(self.alice, b"<set_msg>#tea hi")
        self.assertEqual(len(self.carol.heard()), 1)
        self.assertEqual(self.carol.answer(b"<get_rooms>")[0], b"<room members=3 joined>#tea")


class Reading(GatheringCase):
    """`<read in=#room>`."""

    def setUp(self) -> None:
        super().setUp()
        self.gather(self.alice, self.bob, self.carol)
        self.gather(self.carol, room=b"#coffee")
        self.chat.say(self.alice, b"<set_msg>#tea 1", b"<set_msg>#tea 2")
        self.carol.heard()

    def upto(self) -> dict[str, int]:
        person = self.carol.peer.identity
        assert person is not None
        return {room.name: stay.read_upto for room, stay in person.stays.items()}

    def test_in_a_room(self) -> None:
        """It is read up to there in that room only, goes on only, and the journal hears of it."""
        self.assertEqual(self.carol.answer(b"<read in=#tea>5", b"<read in=#TEA>4"), [])
        self.assertEqual(self.upto(), {"#tea": 5, "#coffee": 4})
        self.carol.say(b"<read in=%23tea>6")
        (standing,) = self.hub.changes(NOON_MS).standings
        self.assertEqual((standing.read, standing.acked), (0, 0))
        self.assertIn(b'"-1":[6,', standing.personal)

    def test_without_coming_back(self) -> None:
        """Of who cannot come back the journal has to know nothing."""
        self.assertEqual(self.bob.answer(b"<read in=#tea>5"), [])
        self.bob.say(b"<read in=#tea>6")
        self.assertFalse(self.hub.moved)

    def test_everywhere(self) -> None:
        """Without a room it is read everywhere where it is heard."""
        self.carol.say(b"<mute>#coffee")
        self.assertEqual(self.carol.answer(b"<read>6"), [])
        self.assertEqual(self.upto(), {"#tea": 6, "#coffee": 4})

    def test_bad(self) -> None:
        """A room that one is in, and a message that there is."""
        self.refused(self.carol, b"<read in=#tea>7", b"not-sent")
        self.refused(self.carol, b"<read in=#water>5", b"no-such-room")
        self.refused(self.alice, b"<read in=#coffee>5", b"not-in-room")
        self.refused(self.alice, b"<read in=bob>5", b"bad-attribute")
        self.refused(self.alice, b"<read in>5", b"bad-attribute")
        self.refused(self.alice, b"<read in=#tea>x", b"bad-argument")


class Ignoring(GatheringCase):
    """`<ignore>` and `<unignore>`."""

    def setUp(self) -> None:
        super().setUp()
        self.gather(self.alice, self.bob, self.carol)

    def test_ignore(self) -> None:
        """Whom one ignores one hears nothing of, wherever she says it; others one does."""
        self.assertEqual(
            self.chat.say(self.bob, b"<ignore label=1>ALICE"),
            [b"<done label=1>You are shown nothing of ALICE from now on. <unignore>ALICE ends it."],
        )
        self.chat.say(self.alice, b"<set_msg_all>1", b"<set_msg>#tea 2", b"<set_msg>bob 3")
        self.chat.say(self.carol, b"<set_msg_all>4", b"<set_msg>#tea 5", b"<set_msg>bob 6")
        self.assertEqual([line.partition(b">")[2] for line in self.bob.heard()], [b"4", b"5", b"6"])
        self.chat.say(self.bob, b"<set_msg>alice 7")
        self.assertIn(b"<msg id=10 from=bob>7", self.alice.heard())
        self.assertEqual(
            self.chat.say(self.bob, b"<unignore>alice", b"<unignore>alice"),
            [b"<done>You do not ignore alice."] * 2,
        )
        self.chat.say(self.alice, b"<set_msg_all>8", b"<set_msg>#tea 9", b"<set_msg>bob 0")
        self.assertEqual([line.partition(b">")[2] for line in self.bob.heard()], [b"8", b"9", b"0"])

    def test_what_was_under_way(self) -> None:
        """What had no id yet when she was ignored is not shown."""
        self.alice.say(b"<set_msg_all>1", b"<set_msg>bob 2")
        self.bob.say(b"<ignore>alice")
        self.chat.commit()
        self.assertEqual(len(self.bob.heard()), 1)

    def test_list(self) -> None:
        """Whom one ignores is listed as one typed it; twice is once."""
        self.assertEqual(self.bob.answer(b"<ignore label=1>"), [b"<ignores label=1 count=0>"])
        self.chat.say(self.bob, b"<ignore>Nobody", b"<ignore>alice", b"<ignore>NOBODY")
        self.assertEqual(
            self.bob.answer(b"<ignore label=1>  "),
            [b"<ignored label=1>Nobody", b"<ignored label=1>alice", b"<ignores label=1 count=2>"],
        )

    def test_several(self) -> None:
        """Some ignore her and others do not; one who stops changes nothing for the others."""
        dave = self.chat.connect(b"dave")
        for talk in (self.bob, self.carol):
            self.chat.say(talk, b"<ignore>alice")
        self.chat.say(self.bob, b"<unignore>alice")
        self.hear(self.carol, dave)
        self.chat.say(self.alice, b"<set_msg_all>hi")
        self.assertEqual([len(lines) for lines in self.hear(self.bob, self.carol, dave)], [1, 0, 1])

    def test_bad(self) -> None:
        """One ignores names, not oneself, and not more than a stated number."""
        self.refused(self.bob, b"<ignore>BOB", b"to-yourself")
        self.refused(self.bob, b"<ignore>a b", b"bad-name")
        self.refused(self.bob, b"<ignore>#tea", b"bad-name")
        self.refused(self.bob, b"<ignore>all", b"name-reserved")
        self.refused(self.bob, b"<unignore>a b", b"bad-name")
        self.refused(self.bob, b"<unignore>", b"missing-argument")
        self.patch(gathering, "IGNORES_LIMIT", 1)
        self.chat.say(self.bob, b"<ignore>alice")
        self.assertIn(b"<unignore>", self.refused(self.bob, b"<ignore>carol", b"limit-reached"))
        self.assertEqual(len(self.chat.say(self.bob, b"<ignore>alice")), 1)

    def test_whoever_has_the_name(self) -> None:
        """A name is ignored, whoever has it."""
        self.chat.say(self.bob, b"<ignore>dave")
        dave = self.chat.connect(b"Dave")
        self.bob.heard()
        self.chat.say(dave, b"<set_msg_all>hi")
        self.assertEqual(self.bob.heard(), [])

    def test_gone(self) -> None:
        """Of who left nothing is kept in memory, and whoever takes her name hears all."""
        self.chat.say(self.bob, b"<ignore>alice", b"<ignore>nobody")
        self.chat.say(self.carol, b"<ignore>alice")
        self.hub.leave(self.bob.peer)
        self.assertEqual({*self.hub._ignored_by}, {"alice"})
        bob = self.chat.connect(b"bob")
        self.chat.say(self.alice, b"<set_msg_all>hi")
        self.assertEqual(len(bob.heard()), 1)

    def test_while_away(self) -> None:
        """Who comes back is not told what was said by whom she ignored then, and is what was said before or after."""
        self.chat.say(self.alice, b"<set_msg_all>1", b"<set_msg>carol 2", b"<set_msg>#tea 3")
        self.chat.say(self.carol, b"<ignore>alice")
        self.hub.leave(self.carol.peer)
        self.chat.say(self.alice, b"<set_msg_all>4", b"<set_msg>#tea 5", b"<set_msg>carol 6")
        self.chat.say(self.bob, b"<set_msg_all>7")
        carol = self.come()
        self.assertEqual(
            [line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)],
            [b"1", b"2", b"3", b"7", b""],
        )

    def test_while_she_catches_up(self) -> None:
        """What is said by whom she ignores while she is told what she missed is not shown either."""
        self.chat.say(self.carol, b"<ignore>alice")
        self.hub.leave(self.carol.peer)
        carol = self.come()
        catchup = self.hub.catching(carol.peer)
        assert catchup is not None
        catchup.listen(self.hub.last_id)
        page = self.chat.page(carol)
        self.chat.say(self.alice, b"<set_msg_all>1", b"<set_msg>carol 2")
        self.chat.say(self.bob, b"<set_msg_all>3")
        self.hub.replay(carol.peer, page)
        self.assertEqual([line.partition(b">")[2] for line in carol.heard()], [b"3", b""])

    def test_what_the_journal_has(self) -> None:
        """Of who has left, what she had set says what was kept from her."""
        self.chat.say(self.carol, b"<ignore>alice")
        person = self.carol.peer.identity
        assert person is not None
        standing = person.standing(0)
        self.assertEqual(
            [kept_from(standing, key, id) for key, id in [("alice", 3), ("alice", 4), ("bob", 4)]],
            [False, True, False],
        )
        self.assertFalse(kept_from(Standing(1, "dave", 0), "alice", 4))


class Hiding(GatheringCase):
    """`<hide>` and `<show>`, and what there is to hide."""

    def test_answers(self) -> None:
        """One hides one of a few things, and shows it again."""
        self.assertEqual(
            self.chat.say(self.carol, b"<hide label=1>typing", b"<hide>away", b"<show>typing", b"<show>seen"),
            [b"<done label=1>You hide this: typing.", b"<done>You hide this: away.", b"<done>You show this: typing.",
             b"<done>You show this: seen."],
        )  # fmt: skip
        for verb in (b"hide", b"show"):
            self.assertIn(b"typing, away, seen", self.refused(self.carol, b"<%s>me" % verb, b"bad-argument"))
            self.refused(self.carol, b"<%s>" % verb, b"missing-argument")
            self.refused(self.carol, b"<%s>\xff" % verb, b"bad-name")

    def test_typing(self) -> None:
        """Who is concerned and wants to know is told; nobody else."""
        dave = self.chat.connect(b"dave", b"<hello caps=typing>")
        self.gather(self.alice, self.carol, dave)
        self.hear(self.bob)
        self.assertEqual(self.chat.say(self.alice, b"<typing label=1>#TEA"), [b"<done label=1>"])
        self.assertEqual(self.hear(self.bob, self.carol, dave), [[]] + [[b"<typing from=alice to=#tea>"]] * 2)
        self.chat.say(self.alice, b"<typing>carol", b"<typing>bob", b"<typing>alice")
        self.assertEqual(self.hear(self.bob, self.carol, dave), [[], [b"<typing from=alice to=carol>"], []])
        self.assertEqual(self.chat.say(self.carol, b"<typing>#tea", b"<typing>carol"), [b"<done>"] * 2)
        self.assertEqual(self.hear(self.alice, dave), [[], [b"<typing from=carol to=#tea>"]])
        self.assertEqual(self.chat.journal[-1][1].kind, Kind.JOIN)

    def test_typing_to_who_is_away(self) -> None:
        """Who is away is not told, then or later."""
        self.hub.leave(self.carol.peer)
        self.assertEqual(self.chat.say(self.alice, b"<typing>carol"), [b"<done>"])
        carol = self.come()
        self.assertEqual(self.chat.catch_up(carol), [b"<replayed count=0>"])

    def test_typing_bad(self) -> None:
        """To nobody, or in a room of others, one cannot type."""
        self.gather(self.bob)
        self.assertEqual(self.alice.answer(b"<typing>nobody"), [NO_SUCH_USER])
        self.refused(self.alice, b"<typing>#tea", b"not-in-room")
        self.refused(self.alice, b"<typing>#coffee", b"no-such-room")
        self.refused(self.alice, b"<typing>", b"missing-argument")

    def test_hide_typing(self) -> None:
        """Who hides that she is typing is not told of others either; nor is who ignores them."""
        dave = self.chat.connect(b"dave", SMART)
        self.chat.say(dave, b"<typing>carol")
        self.assertEqual(self.carol.heard()[-1], b"<typing from=dave to=carol>")
        self.chat.say(dave, b"<hide>typing", b"<typing>carol")
        self.assertEqual(self.carol.heard(), [])
        self.chat.say(self.carol, b"<typing>dave")
        self.assertEqual(dave.heard(), [])
        self.chat.say(dave, b"<show>typing", b"<ignore>carol")
        self.chat.say(self.carol, b"<typing>dave")
        self.assertEqual(dave.heard(), [])
        self.chat.say(dave, b"<unignore>carol")
        self.chat.say(self.carol, b"<typing>dave")
        self.assertEqual(dave.heard(), [b"<typing from=carol to=dave>"])

    def test_away(self) -> None:
        """The others are told that she is away, and why, and that she is back; each once."""
        self.assertEqual(
            self.chat.say(self.alice, b"<away label=1> out for lunch "),
            [b"<done label=1>Others are told that you are away. Type <away> when you are back."],
        )
        told = [b"<absent from=alice>out for lunch"]
        self.assertEqual(self.hear(self.alice, self.bob, self.carol), [[], told, told])
        self.chat.say(self.alice, b"<away>out for lunch")
        self.assertEqual(self.bob.heard(), [])
        self.assertEqual(self.bob.answer(b"<get_users>")[0], b"<user absent>alice")
        self.assertEqual(self.chat.say(self.alice, b"<away>"), [b"<done>You are not away any more."])
        self.assertEqual(self.bob.heard(), [b"<present from=alice>"])
        self.assertEqual(self.bob.answer(b"<get_users>")[0], b"<user>alice")
        self.refused(self.alice, b"<away>\x1b[2J", b"bad-text")

    def test_absent_members(self) -> None:
        """The list of a room's members tells it, too, and also of who is away for another reason."""
        self.gather(self.alice, self.carol)
        self.chat.say(self.carol, b"<away>zzz")
        self.hub.leave(self.carol.peer)
        self.assertEqual(
            self.alice.answer(b"<get_users>#tea")[:2],
            [b"<user in=#tea>alice", b"<user in=#tea away absent>carol"],
        )

    def test_hide_away(self) -> None:
        """Who hides it is not told of others either; and who ignores her is not."""
        self.chat.say(self.carol, b"<hide>away")
        self.chat.say(self.bob, b"<ignore>alice")
        dave = self.chat.connect(b"dave")
        self.hear(self.alice, self.bob, self.carol)
        self.chat.say(self.carol, b"<away>x")
        self.assertEqual(self.hear(self.alice, self.bob, dave), [[]] * 3)
        self.assertIn(b"<user>carol", dave.answer(b"<get_users>"))
        self.chat.say(self.alice, b"<away>x")
        self.assertEqual(self.hear(self.bob, self.carol, dave), [[], [], [b"<absent from=alice>x"]])
        self.chat.say(self.carol, b"<show>away")
        self.assertIn(b"<user absent>carol", dave.answer(b"<get_users>"))
        self.chat.say(self.carol, b"<hide>away")
        self.assertIn(b"<user>carol", dave.answer(b"<get_users>"))

    def test_before_she_is_here(self) -> None:
        """Nobody hears of somebody whom the journal has yet to know; then she comes first, and then the notices."""
        dave = Talk(self.hub)
        dave.say(SMART, b"<connect>dave", b"<away>x", b"<typing>carol")
        self.assertEqual(self.carol.peer.mailbox.take(1 << 20), b"")
        self.chat.commit()
        self.assertEqual(
            self.carol.heard(), [b"<joined>dave", b"<absent from=dave>x", b"<typing from=dave to=carol>"]
        )
        self.assertEqual(self.carol.answer(b"<get_users>")[3], b"<user absent>dave")
        self.chat.say(self.carol, b"<hide>away")
        self.assertEqual(self.carol.answer(b"<get_users>")[3], b"<user>dave")
        self.gather(self.carol, dave)
        self.assertNotIn(b"absent", b"".join(self.carol.answer(b"<get_users>#tea")))

    def test_once_a_turn(self) -> None:
        """However often somebody says it, the others are told once a turn, and how it is then."""
        self.hear(self.alice, self.carol)
        for number in range(50):
            self.bob.say(b"<away>%d" % number, b"<typing>carol")
        self.assertEqual(self.carol.heard(), [b"<absent from=bob>49", b"<typing from=bob to=carol>"])
        self.bob.say(b"<away>", b"<typing>carol")
        self.hub.leave(self.bob.peer)
        self.assertEqual(self.carol.heard(), [b"<left>bob"])


class Seen(GatheringCase):
    """`Hub.whois`: who has a name, and when she was seen."""

    def whois(self, name: str, asker: Talk | None = None) -> tuple[str, float | None]:
        peer = (asker or self.alice).peer
        assert peer.identity is not None
        person, seen = self.hub.whois(peer.identity, name)
        return person.name if person else "", seen

    def nobody(self, name: str, asker: Talk | None = None) -> str:
        return self.assertRaises(RemoteProtocolError, self.whois, name, asker).code

    def test_here(self) -> None:
        """Who is here was seen when she said something, and who is away when she went."""
        self.bob.peer.since = 7.0
        self.assertEqual(self.whois("BOB"), ("bob", 7.0))
        self.hub.leave(self.carol.peer, 9.0)
        self.assertEqual(self.whois("carol"), ("carol", 9.0))

    def test_gone(self) -> None:
        """Of who is gone it is known, until the daemon ends, when she was seen the last time."""
        self.bob.peer.since = 7.0
        self.hub.leave(self.bob.peer, 8.0)
        self.assertEqual(self.whois("Bob"), ("", 7.0))
        self.hub.leave(self.carol.peer, 9.0)
        self.hub.expire(10_000.0)
        self.assertEqual(self.whois("carol"), ("", 9.0))
        bob = self.chat.connect(b"bob")
        bob.peer.since = 20.0
        self.hub.leave(bob.peer, 21.0)
        self.assertEqual(self.whois("bob"), ("", 20.0))

    def test_few(self) -> None:
        """The ones who are gone for the longest are forgotten."""
        self.patch(gathering, "GONE_LIMIT", 2)
        for name in (b"d1", b"d2", b"d1", b"d3"):
            self.hub.leave(self.chat.connect(name).peer)
        self.assertEqual(self.nobody("d2"), "no-such-user")
        self.assertEqual([self.whois(name)[0] for name in ("d1", "d3")], ["", ""])

    def test_hidden(self) -> None:
        """Who hides when she was seen is not told it of others, here or gone."""
        self.chat.say(self.carol, b"<hide>seen")
        self.assertEqual(self.whois("carol"), ("carol", None))
        self.assertEqual(self.whois("alice", self.carol), ("alice", None))
        self.hub.leave(self.bob.peer)
        self.assertEqual(self.nobody("bob", self.carol), "no-such-user")
        self.carol.say(b"<disconnect>")
        self.hub.leave(self.carol.peer)
        self.assertEqual(self.nobody("carol"), "no-such-user")

    def test_nobody(self) -> None:
        """Who never was here is nobody, and what is no name is none."""
        self.assertEqual(self.nobody("nobody"), "no-such-user")
        self.assertEqual(self.nobody("a b"), "bad-name")
        self.assertEqual(self.nobody("all"), "name-reserved")

    def test_never_here(self) -> None:
        """Who went before the journal knew her was not seen."""
        dave = Talk(self.hub)
        dave.say(SMART, b"<connect>dave")
        self.hub.leave(dave.peer)
        self.assertEqual(self.nobody("dave"), "no-such-user")


class Restart(GatheringCase):
    """What the journal gives back when the daemon starts again."""

    def setUp(self) -> None:
        super().setUp()
        self.gather(self.alice, self.carol)
        self.gather(self.alice, self.carol, room=b"#coffee")
        self.gather(self.carol, room=b"#water")

    def standing(self) -> Standing:
        """How Carol stands, as the journal has it."""
        person = self.carol.peer.identity
        assert person is not None
        return person.standing(NOON_MS)

    def start(self, standing: Standing, stays: list[Stay], topic: bytes = b"") -> None:
        """The daemon starts again: Carol is away, and everybody else comes anew."""
        self.hub.changes(NOON_MS)
        tokens = iter((b"new1", b"new2"))
        hub = Hub(durable=True, make_token=lambda: next(tokens))
        records = [RoomRecord(-1, "#tea", topic, "bob", NOON_MS, 0), RoomRecord(-2, "#coffee")]
        hub.begin(self.chat.last_id, 100, [standing], 50.0, -3, records, stays)
        hub.remembered(50.0)
        self.hub = self.chat.hub = hub
        self.alice = self.chat.connect(b"alice")

    def stays(self) -> list[Stay]:
        id = self.standing().id
        return [Stay(-1, id, 2), Stay(-2, id, 4)]

    def test_members(self) -> None:
        """She is a member of her rooms, and told what was said there; the numbers of rooms go on."""
        self.start(self.standing(), self.stays(), b"Pots")
        self.gather(self.alice)
        self.assertEqual(self.alice.answer(b"<topic>#tea"), [b"<topic in=#tea by=bob time=%s>Pots" % NOON])
        self.assertEqual(
            self.alice.answer(b"<get_rooms>"),
            [b"<room members=1>#coffee", b"<room members=2 joined>#tea", b"<rooms count=2>"],
        )
        self.chat.say(self.alice, b"<set_msg>#tea hi")
        carol = self.come()
        self.assertEqual([line.partition(b">")[2] for line in self.chat.catch_up(carol)], [b"hi", b""])
        self.gather(carol, room=b"#new")
        self.assertEqual(self.hub.rooms.find("#new").id, -4)

    def test_unknown(self) -> None:
        """Stays of people or in rooms that are not there any more are passed over."""
        id = self.standing().id
        self.start(self.standing(), [Stay(-1, 99, 2), Stay(-7, id, 2), Stay(-1, id, 2)])
        self.gather(self.alice)
        self.assertEqual(self.alice.answer(b"<get_users>#tea")[-1], b"<users in=#tea count=2>")

    def test_former(self) -> None:
        """What was said before she left a room, and she did not acknowledge, she is told."""
        self.chat.say(self.alice, b"<set_msg>#tea 1")
        self.chat.say(self.carol, b"<leave>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 2")
        id = self.standing().id
        self.start(self.standing(), [Stay(-1, id, 2, 7)])
        carol = self.come()
        self.assertEqual([line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)], [b"1", b""])

    def test_settings(self) -> None:
        """What she has set is as it was."""
        self.chat.say(
            self.carol, b"<ignore>BOB", b"<mute>#tea", b"<hide>typing", b"<hide>seen", b"<read in=#coffee>5"
        )
        self.start(self.standing(), self.stays())
        carol = self.come()
        self.chat.catch_up(carol)
        self.assertEqual(carol.answer(b"<ignore>"), [b"<ignored>BOB", b"<ignores count=1>"])
        self.assertEqual(
            carol.answer(b"<get_rooms>")[:2],
            [b"<room members=1 joined>#coffee", b"<room members=1 joined muted>#tea"],
        )
        person = carol.peer.identity
        assert person is not None
        self.assertEqual(person.hidden, frozenset({"typing", "seen"}))
        self.assertEqual({room.name: stay.read_upto for room, stay in person.stays.items()}["#coffee"], 5)
        bob = self.chat.connect(b"bob")
        self.gather(self.alice, bob)
        carol.heard()
        self.chat.say(self.alice, b"<set_msg>#tea hi")
        self.chat.say(bob, b"<set_msg_all>hi")
        self.assertEqual(carol.heard(), [])
        self.assertEqual(
            self.chat.say(carol, b"<unmute>#tea", b"<unignore>bob"),
            [b"<done>#tea is not muted any more.", b"<done>You do not ignore bob."],
        )
        self.chat.say(bob, b"<set_msg>#tea hi")
        self.assertEqual(len(carol.heard()), 1)

    def test_muted_while_the_daemon_was_down(self) -> None:
        """The messages of the times when it was muted stay untold."""
        for number in (b"1", b"3"):
            self.chat.say(self.carol, b"<mute>#tea")
            self.chat.say(self.alice, b"<set_msg>#tea " + number)
            self.chat.say(self.carol, b"<unmute>#tea")
            self.chat.say(self.alice, b"<set_msg>#tea %d" % (int(number) + 1))
        self.start(self.standing(), self.stays())
        carol = self.come()
        told = [line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)]
        self.assertEqual(told, [b"2", b"4", b""])

    def test_ignored_for_a_time(self) -> None:
        """What somebody said while she ignored him stays untold, and nobody is told that she has it."""
        for number in (b"1", b"3"):
            self.chat.say(self.carol, b"<ignore>alice")
            self.chat.say(self.alice, b"<set_msg>#tea " + number)
            self.chat.say(self.carol, b"<unignore>ALICE")
            self.chat.say(self.alice, b"<set_msg>#tea %d" % (int(number) + 1))
        standing = self.standing()
        ids = [id for id, entry in self.chat.journal if entry.text]
        self.assertEqual([kept_from(standing, "alice", id) for id in ids], [True, False, True, False])
        self.assertFalse(kept_from(standing, "bob", ids[0]))
        self.start(standing, self.stays())
        carol = self.come()
        told = [line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)]
        self.assertEqual(told, [b"2", b"4", b""])

    def test_ignored_often(self) -> None:
        """Of the times when she ignored somebody the last ones are remembered."""
        self.patch(gathering, "IGNORED_LIMIT", 2)
        for _ in range(4):
            self.chat.say(self.carol, b"<ignore>alice")
            self.chat.say(self.alice, b"<set_msg>#tea x")
            self.chat.say(self.carol, b"<unignore>alice")
        person = self.carol.peer.identity
        assert person is not None
        self.assertEqual(len(person.ignored), 2)

    def test_muted_and_left(self) -> None:
        """What she muted in a stay that ended stays untold, and the stay that followed is not muted."""
        self.chat.say(self.alice, b"<set_msg>#tea 1")
        self.chat.say(self.carol, b"<mute>#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 2")
        self.chat.say(self.carol, b"<leave>#tea")
        left = self.chat.last_id
        self.chat.enter(self.carol, b"#tea")
        self.chat.say(self.alice, b"<set_msg>#tea 3")
        id = self.standing().id
        self.start(self.standing(), [Stay(-1, id, 2, left), Stay(-1, id, left + 1)])
        self.gather(self.alice)
        carol = self.come()
        self.assertEqual(
            [line.partition(b"replay>")[2] for line in self.chat.catch_up(carol)], [b"1", b"3", b""]
        )
        self.chat.say(self.alice, b"<set_msg>#tea 4")
        self.assertEqual(len(carol.heard()), 1)

    def test_left_and_joined_in_the_last_batch(self) -> None:
        """What she had set in one stay does not hold in another one that the journal had later."""
        self.chat.say(self.carol, b"<mute>#tea")
        standing = self.standing()
        self.start(standing, [Stay(-1, standing.id, 6)])
        carol = self.come()
        self.chat.catch_up(carol)
        self.assertEqual(carol.answer(b"<get_rooms>")[0], b"<room members=1 joined>#tea")

    def test_nothing_set(self) -> None:
        """Of most people nothing has to be kept."""
        self.chat.say(self.carol, b"<hide>away", b"<show>away", b"<ignore>bob", b"<unignore>bob")
        self.assertEqual(self.standing().personal, b"")

    def test_seen(self) -> None:
        """When somebody was seen who is away since before the daemon started nobody knows, until she was here."""
        self.start(self.standing(), [])
        asker = self.alice.peer.identity
        assert asker is not None
        self.assertIsNone(self.hub.whois(asker, "carol")[1])
        carol = self.come()
        self.chat.catch_up(carol)
        carol.peer.since = 70.0
        self.assertEqual(self.hub.whois(asker, "carol")[1], 70.0)

    def test_never_seen(self) -> None:
        """Who ends without having been here again was seen at no time that anybody knows."""
        self.start(self.standing(), [])
        self.hub.expire(10_000.0)
        asker = self.alice.peer.identity
        assert asker is not None
        error = self.assertRaises(RemoteProtocolError, self.hub.whois, asker, "carol")
        self.assertEqual(error.code, "no-such-user")

    def test_bots(self) -> None:
        """A bot that is away gets nothing of its rooms."""
        standing = Standing(7, "bot", 1, resumes=True, bot=True, spare=digest_of(b"t"), plain=False)
        self.start(standing, [Stay(-1, 7, 2)])
        self.gather(self.alice)
        self.chat.say(self.alice, b"<set_msg>#tea hi")
        self.hub.count(0.0)
        self.assertEqual(self.alice.heard(), [b"<receipt id=7 sent=0 delivered=0 of=0>#tea"])

    def test_refused_settings(self) -> None:
        """The words for what can be hidden are a closed set."""
        self.assertEqual(personal.require_hideable("away"), "away")
        self.assertRaises(RemoteProtocolError, personal.require_hideable, "Away")
        self.assertRaises(RemoteProtocolError, personal.require_hideable, "")


class Anything(GatheringCase):
    """Odds and ends."""

    def test_refused_with_messages(self) -> None:
        """Answers to what the journal refused keep their order, whatever they answer."""
        self.gather(self.carol)
        self.carol.say(b"<set_msg>#tea 1", b"<ignore>bob", b"<join label=1>#coffee", b"<topic label=2>#tea x")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.hub.refused(posts, JournalError("journal-unavailable", "Full."))
        error = b"<error code=journal-unavailable%s>Full."
        said, ignored, *others = self.carol.heard()
        self.assertEqual([said, *others], [error % b"", error % b" label=1", error % b" label=2"])
        self.assertTrue(ignored.startswith(b"<error code=journal-unavailable>It is so"), ignored)
        self.assertEqual(self.carol.answer(b"<topic>#tea"), [b"<topic in=#tea>"])


class Muted(SynchronousTestCase):
    """A muted room belongs to one stay in it, also over a kill."""

    def test_a_muted_room_that_she_left_before_the_daemon_was_killed(self) -> None:
        """What was said in it while it was muted stays untold, though she is in it no more."""
        chat = Chat()
        alice = chat.connect(hello=b"<hello caps=ack,resume>")
        alice.say(b"<connect>alice")
        alice.heard()
        alice.say(b"<ping>")
        bob = chat.connect(b"bob")
        chat.enter(alice, b"#tea")
        chat.enter(bob, b"#tea")
        chat.say(alice, b"<mute>#tea")
        chat.say(bob, b"<set_msg>#tea hush")
        chat.say(alice, b"<leave>#tea")
        standing = alice.peer.identity.standing(NOON_MS)
        chat.hub = Hub(durable=True, make_token=lambda: b"new")
        stay = Stay(-1, standing.id, 1, 4)
        chat.hub.begin(chat.last_id, 100, [standing], 0.0, -1, [RoomRecord(-1, "#tea", newest=3)], [stay])
        chat.hub.remembered(0.0)
        again = chat.resume(b"alice", b"resume=token1")
        again.heard()
        self.assertEqual(chat.catch_up(again), [b"<replayed count=0>"])

    def test_a_room_that_was_muted_during_an_earlier_stay(self) -> None:
        """A kill between her leaving and the journal's hearing of her settings does not mute her next stay in it."""
        chat = Chat()
        alice = chat.connect(hello=b"<hello caps=ack,resume>")
        alice.say(b"<connect>alice")
        alice.heard()
        alice.say(b"<ping>")
        bob = chat.connect(b"bob")
        chat.enter(alice, b"#tea")
        chat.enter(bob, b"#tea")
        chat.say(alice, b"<mute>#tea")
        standing = alice.peer.identity.standing(
            NOON_MS
        )  # as the journal has it when she has left and joined again
        chat.say(alice, b"<leave>#tea")
        chat.enter(alice, b"#tea")
        chat.say(bob, b"<set_msg>#tea hi")
        chat.hub = Hub(durable=True, make_token=lambda: b"new")
        stays = [Stay(-1, standing.id, 1, 3), Stay(-1, standing.id, 4)]
        chat.hub.begin(chat.last_id, 100, [standing], 0.0, -1, [RoomRecord(-1, "#tea", newest=5)], stays)
        chat.hub.remembered(0.0)
        again = chat.resume(b"alice", b"resume=token1")
        again.heard()
        self.assertEqual(chat.catch_up(again)[-1], b"<replayed count=1>")
