"""What is said, and what is said about it: kinds, `once=`, who gets what, and the counts of rooms."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat import hub as hub_module
from pychat import posting, taking
from pychat.errors import JournalError, RemoteProtocolError
from pychat.requests import LookUp
from pychat.vocabulary import Kind, OnceKey, spread
from tests.chatkit import NOON, NOON_MS, Chat, Talk

SMART = b"<hello caps=ack,resume>"
NO_SUCH = b"<error code=no-such-message>There is no such message for you, or it is not kept any more."
NOT_YOURS = b"<error code=not-yours>Only who said it can change it or take it back."
TAKEN_BACK = b"<error code=no-such-message>This message was taken back already."
KEY_REUSED = (
    b"<error code=key-reused>This once= key stood for another message. Take a new key for a new message."
)
NOT_TAKEN_UP = (
    b"<error code=not-connected>The connection ended before this was taken up. Say it again on the next one."
)


class PostingCase(SynchronousTestCase):
    """Alice and Bob are on `nc`, Carol has a program and can come back; all are in #tea (ids 1 to 3)."""

    def setUp(self) -> None:
        self.chat = Chat()
        self.hub = self.chat.hub
        self.alice = self.chat.connect(b"alice")
        self.bob = self.chat.connect(b"bob")
        self.carol = self.chat.connect(b"carol", SMART)
        for talk in (self.alice, self.bob, self.carol):
            self.chat.enter(talk, b"#tea")
        self.hear(self.alice, self.bob, self.carol)

    def hear(self, *talks: Talk) -> list[list[bytes]]:
        return [talk.heard() for talk in talks]

    def say(self, talk: Talk, *lines: bytes) -> list[bytes]:
        return self.chat.say(talk, *lines)

    def come(self, token: bytes = b"token1", attributes: bytes = b"") -> Talk:
        """Carol comes on another connection, and was answered."""
        carol = self.chat.resume(b"carol", b"resume=" + token + attributes, SMART)
        carol.heard()
        return carol

    def count(self, talk: Talk, now: float = 10.0) -> list[bytes]:
        """What somebody is told of who has her messages when it is time."""
        talk.heard()
        self.hub.count(now)
        return talk.heard()


class About(PostingCase):
    """Messages about messages."""

    def test_reply(self) -> None:
        """An answer says what it answers, in each of the places."""
        self.say(self.alice, b"<set_msg_all>1", b"<set_msg>#tea 2", b"<set_msg>bob 3")
        self.hear(self.bob, self.carol)
        self.assertEqual(
            self.say(
                self.bob,
                b"<set_msg_all reply=4 label=x>a",
                b"<set_msg reply=5>#tea b",
                b"<set_msg reply=6>alice c",
            ),
            [b"<accepted label=x id=7>all", b"<accepted id=8>#tea", b"<accepted id=9>alice"],
        )
        self.assertEqual(
            self.alice.heard(),
            [b"<msg id=7 from=bob to=all reply=4>a", b"<msg id=8 from=bob to=#tea reply=5>b",
             b"<msg id=9 from=bob reply=6>c"],
        )  # fmt: skip
        self.assertEqual(
            self.carol.heard(),
            [b"<msg id=7 from=bob to=all reply=4 time=%s>a" % NOON,
             b"<msg id=8 from=bob to=#tea reply=5 time=%s>b" % NOON],
        )  # fmt: skip
        self.assertEqual([entry.ref for _, entry in self.chat.journal[-3:]], [4, 5, 6])
        self.assertEqual(self.say(self.alice, b"<set_msg reply=9>bob d"), [b"<accepted id=10>bob"])

    def test_reply_to_none(self) -> None:
        """``reply=0`` is no answer to anything."""
        self.assertEqual(self.say(self.alice, b"<set_msg_all reply=0>x"), [b"<accepted id=4>all"])
        self.assertEqual(self.chat.journal[-1][1].ref, 0)

    def test_reply_elsewhere(self) -> None:
        """An answer belongs where the message is."""
        self.say(self.alice, b"<set_msg_all>1", b"<set_msg>#tea 2", b"<set_msg>bob 3")
        for line in (b"<set_msg reply=4>#tea x", b"<set_msg_all reply=5>x", b"<set_msg reply=6>carol x"):
            (answer,) = self.say(self.alice, line)
            self.assertTrue(answer.startswith(b"<error code=no-such-message>Message "), answer)
        for line in (b"<set_msg reply=99>bob x", b"<set_msg reply=1>#tea x", b"<set_msg reply=6>alice x"):
            self.assertEqual(self.say(self.carol, line), [NO_SUCH])

    def test_edit(self) -> None:
        """A new text has an id of its own and goes to the same place."""
        self.say(self.alice, b"<set_msg_all>1", b"<set_msg>#tea 2", b"<set_msg>bob 3")
        self.hear(self.bob, self.carol)
        self.assertEqual(
            self.say(self.alice, b"<edit label=x>4 a  b ", b"<edit>5 c", b"<edit> 6 d"),
            [b"<accepted label=x id=7>all", b"<accepted id=8>#tea", b"<accepted id=9>bob"],
        )
        self.assertEqual(
            self.bob.heard(),
            [b"<msg id=7 from=alice to=all edit=4>a  b ", b"<msg id=8 from=alice to=#tea edit=5>c",
             b"<msg id=9 from=alice edit=6>d"],
        )  # fmt: skip
        self.assertEqual({entry.kind for _, entry in self.chat.journal[-3:]}, {Kind.EDIT})
        self.assertEqual(self.say(self.alice, b"<edit>4 again"), [b"<accepted id=10>all"])

    def test_retract(self) -> None:
        """A message is taken back once, and then nothing more is said about it."""
        self.say(self.alice, b"<set_msg>#tea 1", b"<set_msg>bob 2")
        self.hear(self.bob, self.carol)
        self.assertEqual(
            self.say(self.alice, b"<retract>4", b"<retract label=x> 5 "),
            [b"<accepted id=6>#tea", b"<accepted label=x id=7>bob"],
        )
        self.assertEqual(
            self.bob.heard(),
            [b"<msg id=6 from=alice to=#tea retract=4>(message taken back)",
             b"<msg id=7 from=alice retract=5>(message taken back)"],
        )  # fmt: skip
        for line in (b"<retract>4", b"<edit>4 x"):
            self.assertEqual(self.say(self.alice, line), [TAKEN_BACK])
        self.assertEqual(self.say(self.bob, b"<react>4 x"), [TAKEN_BACK])

    def test_retract_under_way(self) -> None:
        """While the journal has yet to hear of it, it is taken back already; if the journal refuses, it is not."""
        self.say(self.alice, b"<set_msg_all>1")
        self.alice.heard()
        self.chat.mutter(self.alice, b"<retract once=k>4", b"<edit once=k2>4 x", b"<retract once=k3>4")
        self.assertEqual(self.chat.commit(), [5])
        self.assertEqual(self.alice.heard(), [b"<accepted id=5>all", TAKEN_BACK, TAKEN_BACK])
        # Their keys are free again.
        self.assertEqual(
            self.say(self.alice, b"<set_msg_all once=k2>2", b"<set_msg_all once=k3>3"),
            [b"<accepted id=6>all", b"<accepted id=7>all"],
        )
        self.chat.mutter(self.alice, b"<retract>6")
        self.chat.refuse()
        self.assertEqual(self.say(self.alice, b"<edit>6 x"), [b"<accepted id=8>all"])

    def test_many_retracts(self) -> None:
        """Only so many are remembered as just taken back: the journal knows the others."""
        self.patch(taking, "TAKEN_BACK_LIMIT", 1)
        self.say(self.alice, b"<set_msg_all>1", b"<set_msg_all>2")
        first, second = self.chat.kept(4), self.chat.kept(5)
        self.say(self.alice, b"<retract>4", b"<retract>5")
        for line, kept in [(b"<edit>5 x", second), (b"<edit>4 x", first)]:
            (request,) = self.alice.say(line)
            assert isinstance(request, LookUp)
            self.alice.session.looked_up(request, kept)
        self.assertEqual(self.chat.commit(), [8])
        self.assertEqual(self.alice.heard()[-2:], [TAKEN_BACK, b"<accepted id=8>all"])

    def test_refused_before_it_was_taken_back(self) -> None:
        """A message that is being taken back is so whatever else was said about it and refused."""
        self.say(self.alice, b"<set_msg_all>1")
        self.chat.mutter(self.alice, b"<react>4 x")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.chat.mutter(self.alice, b"<retract>4")
        self.hub.refused(posts, JournalError("journal-unavailable", "Full."))
        self.alice.heard()
        self.chat.mutter(self.alice, b"<edit>4 y")
        self.assertEqual(self.chat.commit(), [5])
        self.assertEqual(self.alice.heard(), [b"<accepted id=5>all", TAKEN_BACK])

    def test_react(self) -> None:
        """Everybody who sees a message can react to it, and take that back."""
        self.say(self.alice, b"<set_msg>#tea 1")
        self.hear(self.bob, self.carol)
        self.assertEqual(
            self.say(self.bob, "<react>4  👍 ".encode(), b"<react>4", b"<react>4 \t"),
            [b"<accepted id=5>#tea", b"<accepted id=6>#tea", b"<accepted id=7>#tea"],
        )
        self.assertEqual(
            self.alice.heard(),
            ["<msg id=5 from=bob to=#tea react=4>👍".encode(),
             b"<msg id=6 from=bob to=#tea react=4>(reaction taken back)",
             b"<msg id=7 from=bob to=#tea react=4>(reaction taken back)"],
        )  # fmt: skip
        self.assertEqual([entry.text for _, entry in self.chat.journal[-2:]], [b"", b""])
        self.assertEqual(self.say(self.alice, b"<react>4 +1"), [b"<accepted id=8>#tea"])

    def test_not_yours(self) -> None:
        """Only the author changes a message or takes it back."""
        self.say(self.alice, b"<set_msg>#tea 1", b"<set_msg>bob 2")
        for line in (b"<edit>4 x", b"<retract>4", b"<edit>5 x", b"<retract>5"):
            self.assertEqual(self.say(self.bob, line), [NOT_YOURS])

    def test_no_such_message(self) -> None:
        """About what one may not see, what is no message, and what is not there nothing can be said."""
        self.say(self.alice, b"<set_msg>#tea 1", b"<set_msg>bob 2", b"<edit>4 3", b"<topic>#tea Pots")
        dave = self.chat.connect(b"dave")
        for id in (1, 4, 5, 6, 7, 8, 999, 9223372036854775807):
            for line in (b"<edit>%d x", b"<retract>%d", b"<react>%d x"):
                self.assertEqual(self.say(dave, line % id), [NO_SUCH])
        for id in (1, 6, 7, 8):
            self.assertEqual(self.say(self.alice, b"<react>%d x" % id), [NO_SUCH])
        self.say(self.alice, b"<leave>#tea")
        self.assertEqual(self.say(self.alice, b"<edit>4 x"), [NO_SUCH])

    def test_each_refusal_is_new(self) -> None:
        """Nothing is kept of a line that was refused, however often it is said."""
        self.say(self.alice, b"<set_msg_all>1", b"<retract>4")
        for line, id in [(b"<react>99 x", 99), (b"<react>4 x", 4)]:
            errors = []
            for _ in range(2):
                (request,) = self.alice.say(line)
                assert isinstance(request, LookUp)
                errors.append(self.assertRaises(RemoteProtocolError, request.then, self.chat.kept(id)))
            self.assertIsNot(*errors)

    def test_the_other_one_has_left(self) -> None:
        """In a private conversation nothing is said to nobody; who is away will see it."""
        self.say(self.alice, b"<set_msg>bob 1", b"<set_msg>carol 2")
        self.say(self.bob, b"<set_msg>carol 3")
        self.hub.leave(self.bob.peer)
        self.hub.leave(self.carol.peer)
        gone = b"<error code=no-such-user>bob has left, and would not see it."
        self.assertEqual(self.say(self.alice, b"<edit>4 x", b"<edit>5 x"), [gone, b"<accepted id=7>carol"])
        carol = self.come()
        self.chat.catch_up(carol)
        self.assertEqual(self.say(carol, b"<react>6 x", b"<react>5 x"), [gone, b"<accepted id=8>alice"])

    def test_blocked(self) -> None:
        """Who ignores the sender gets nothing, and the sender is told so at once; nothing can be said about it."""
        self.say(self.bob, b"<ignore>alice")
        self.assertEqual(
            self.say(self.alice, b"<set_msg label=x>bob hi"),
            [b"<accepted label=x id=4>bob", b"<undelivered id=4 reason=blocked>bob"],
        )
        self.assertEqual(self.bob.heard(), [])
        self.assertTrue(self.chat.journal[-1][1].blocked)
        self.assertEqual(self.say(self.bob, b"<react>4 x", b"<set_msg reply=4>alice x"), [NO_SUCH, NO_SUCH])
        self.assertEqual(
            self.say(self.alice, b"<edit>4 ho"),
            [b"<accepted id=5>bob", b"<undelivered id=5 reason=blocked>bob"],
        )
        self.hub.leave(self.bob.peer)
        self.hub.reached(self.bob.peer, 1 << 30)
        self.assertEqual(self.alice.heard(), [b"<left>bob"])

    def test_blocked_while_away(self) -> None:
        """Who came back on no connection yet is told with the journal what was blocked."""
        self.say(self.bob, b"<ignore>carol")
        self.carol.say(b"<set_msg once=k>bob hi")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.hub.leave(self.carol.peer)
        self.hub.appended(posts, [4], NOON_MS, 0.0)
        self.assertEqual(self.carol.heard(), [])


class Once(PostingCase):
    """``once=`` with all that can be posted."""

    def test_again(self) -> None:
        """The same again is answered the same, and said once; also if it is not possible any more."""
        self.say(self.alice, b"<set_msg>#tea 1", b"<set_msg>#tea 2")
        lines = [
            b"<set_msg once=a reply=4>#tea x",
            b"<react once=b>5 y",
            b"<edit once=c>4 z",
            b"<retract once=d>4",
        ]
        first = self.say(self.alice, *lines)
        self.assertEqual(first, [b"<accepted id=%d>#tea" % id for id in (6, 7, 8, 9)])
        self.hear(self.bob)
        self.assertEqual(self.say(self.alice, *lines), first)
        self.say(self.alice, b"<retract>5")
        self.hear(self.bob)
        self.assertEqual(self.say(self.alice, *lines), first)
        self.assertEqual(self.hear(self.bob), [[]])

    def test_in_one_batch(self) -> None:
        """Also while the first is under way."""
        self.say(self.alice, b"<set_msg>#tea 1")
        self.chat.mutter(
            self.alice, *[b"<react once=b>4 y", b"<edit once=c>4 z", b"<topic once=d>#tea x"] * 2
        )
        self.assertEqual(self.chat.commit(), [5, 6, 7])
        self.assertEqual(self.alice.heard(), [b"<accepted id=%d>#tea" % id for id in (5, 6, 7, 5, 6, 7)])

    def test_reply_to_who_left(self) -> None:
        """An answer that is repeated needs nobody to be there any more."""
        self.say(self.bob, b"<set_msg>alice 1")
        again = b"<set_msg once=k reply=4>bob 2"
        self.assertEqual(self.say(self.alice, again)[-1], b"<accepted id=5>bob")
        self.hub.leave(self.bob.peer)
        self.assertEqual(self.say(self.alice, again), [b"<accepted id=5>bob"])
        self.assertEqual(self.say(self.alice, b"<set_msg once=k>bob 2"), [KEY_REUSED])

    def test_about_something_else(self) -> None:
        """A key stands for what was said with it: kind, message, place and text."""
        self.say(self.alice, b"<set_msg>#tea 1", b"<set_msg>#tea 2", b"<react once=k>4 x")
        for line in (
            b"<react once=k>4 y", b"<react once=k>5 x", b"<edit once=k>4 x", b"<retract once=k>4",
            b"<set_msg once=k>#tea x", b"<set_msg_all once=k>x", b"<set_msg once=k>bob x", b"<topic once=k>#tea x",
            b"<set_msg once=k reply=4>#tea x",
        ):  # fmt: skip
            self.assertEqual(self.say(self.alice, line), [KEY_REUSED], line)
        self.assertEqual(self.say(self.alice, b"<react once=k>4 x"), [b"<accepted id=6>#tea"])

    def test_of_an_earlier_run(self) -> None:
        """What the journal remembers answers a repetition, in a room that is gone, too; other content it refuses."""
        person = self.carol.peer.identity
        assert person is not None
        self.hub.remember(
            [OnceKey(person.id, b"k", 2, -9, "#old", b"x", Kind.EDIT, 1),
             OnceKey(person.id, b"j", 1, -1, "#tea", b"y", Kind.TOPIC)]
        )  # fmt: skip
        self.hub.remembered(0.0)
        self.assertEqual(
            self.say(self.carol, b"<edit once=k>1 x", b"<edit once=k>1 z", b"<topic once=j>#tea y"),
            [b"<accepted id=2>#old", KEY_REUSED, b"<accepted id=1>#tea"],
        )

    def test_refused(self) -> None:
        """A key is free again if the journal refused what it stood for."""
        self.say(self.alice, b"<set_msg_all>1")
        self.chat.mutter(self.alice, b"<retract once=k>4")
        self.chat.refuse()
        self.assertEqual(self.say(self.alice, b"<retract once=k>4"), [b"<accepted id=5>all"])


class Early(PostingCase):
    """What is posted by who has yet to be told what she missed."""

    def setUp(self) -> None:
        super().setUp()
        self.say(self.carol, b"<set_msg once=k>#tea 1")
        self.hub.leave(self.carol.peer)
        self.hear(self.alice, self.bob)

    def test_taken_up(self) -> None:
        """It is judged and said when she is a member; what cannot be said is answered in its place."""
        carol = self.come()
        self.chat.mutter(
            carol, b"<retract>4", b"<set_msg label=x once=k>#tea other", b"<edit>4 2", b"<set_msg once=k>#tea 1",
            b"<set_msg>#tea 3", b"<hide label=y>seen",
        )  # fmt: skip
        self.assertEqual(self.chat.commit(), [])
        self.assertEqual(self.chat.catch_up(carol), [b"<replayed count=0>"])
        self.assertEqual(self.chat.commit(), [5, 6])
        self.assertEqual(
            carol.heard(),
            [b"<accepted id=5>#tea", KEY_REUSED.replace(b"reused", b"reused label=x"), TAKEN_BACK,
             b"<accepted id=4>#tea", b"<accepted id=6>#tea", b"<done label=y>You hide this: seen."],
        )  # fmt: skip
        self.assertEqual(len(self.alice.heard()), 3)

    def test_refused_by_the_journal(self) -> None:
        """What was refused already keeps its own error when the journal refuses the rest."""
        carol = self.come()
        self.chat.mutter(carol, b"<retract>4", b"<retract>4", b"<set_msg once=k>#tea other")
        self.chat.catch_up(carol)
        self.chat.refuse()
        answers = carol.heard()
        self.assertEqual(answers[1:], [TAKEN_BACK, KEY_REUSED])
        self.assertIn(b"code=journal-unavailable", answers[0])
        self.assertEqual(self.say(carol, b"<set_msg once=k>#tea 1"), [b"<accepted id=4>#tea"])
        self.assertEqual(self.say(carol, b"<edit>4 x"), [b"<accepted id=5>#tea"])

    def test_given_up(self) -> None:
        """If she goes again before that, it was not said."""
        carol = self.come()
        self.chat.mutter(carol, b"<set_msg>#tea 3", b"<hide>seen")
        self.hub.leave(carol.peer)
        self.assertEqual(carol.heard(), [NOT_TAKEN_UP, NOT_TAKEN_UP])
        self.assertEqual(self.chat.commit(), [])

    def test_given_up_before_she_was_let_in(self) -> None:
        """The same if she goes before the journal knew that she is back; she is away still, and can come again."""
        carol = self.chat.resume(b"carol", b"resume=token1", SMART)
        carol.say(b"<set_msg>#tea 3")
        self.hub.leave(carol.peer)
        self.assertEqual(carol.heard()[1:], [NOT_TAKEN_UP])
        self.assertEqual(self.hear(self.alice), [[]])
        self.assertEqual(self.chat.catch_up(self.come()), [b"<replayed count=0>"])
        self.assertEqual(self.hear(self.alice), [[b"<back>carol"]])

    def test_superseded(self) -> None:
        """What she posted on an older connection and the journal was not given is not said, a joining neither."""
        carol = self.come()
        self.chat.catch_up(carol)
        carol.say(b"<set_msg>#tea 3", b"<join>#coffee")
        newer = self.come(b"token2")
        self.assertEqual(carol.heard(), [NOT_TAKEN_UP, NOT_TAKEN_UP])
        self.chat.catch_up(newer)
        self.assertEqual(self.chat.commit(), [])
        self.assertEqual(self.say(newer, b"<leave>#coffee")[0][:27], b"<error code=no-such-room>Th")


class Topics(PostingCase):
    """``<topic>``."""

    def test_topic(self) -> None:
        """The members who are here are told, at its place among the messages; nobody else."""
        dave = self.chat.connect(b"dave")
        self.hear(self.bob, self.carol)
        self.assertEqual(
            self.say(self.alice, b"<set_msg>#tea 1", b"<topic label=x> #TEA Which pot? ", b"<set_msg>#tea 2"),
            [b"<accepted id=4>#tea", b"<accepted label=x id=5>#tea", b"<accepted id=6>#tea"],
        )
        self.assertEqual(
            self.bob.heard(),
            [
                b"<msg id=4 from=alice to=#tea>1",
                b"<topic in=#tea by=alice>Which pot?",
                b"<msg id=6 from=alice to=#tea>2",
            ],
        )
        self.assertEqual(dave.heard(), [])
        shown = b"<topic label=y in=#tea by=alice time=%s>Which pot?" % NOON
        self.assertEqual(self.bob.answer(b"<topic label=y>#tea"), [shown])

    def test_clear(self) -> None:
        """It is taken back, and who came says so."""
        self.say(self.alice, b"<topic>#tea Which pot?")
        self.assertEqual(self.say(self.bob, b"<topic clear>#tea")[-1], b"<accepted id=5>#tea")
        self.assertEqual(self.alice.heard()[-1], b"<topic in=#tea by=bob>")
        self.assertEqual(self.hub.rooms.find("#tea").topic, b"")
        self.assertEqual(self.chat.journal[-1][1].text, b"")

    def test_gone_before_it_was_kept(self) -> None:
        """Who can come back is not answered twice: she is told with what she missed."""
        self.carol.say(b"<topic>#tea x")
        posts, entries = self.hub.take(NOON_MS) or ([], [])
        self.hub.leave(self.carol.peer)
        self.chat.journal.append((4, entries[0]))
        self.chat.last_id = 4
        self.hub.appended(posts, [4], NOON_MS, 0.0)
        self.assertEqual(self.carol.heard(), [])
        self.assertEqual(
            self.chat.catch_up(self.come()), [b"<accepted id=4 replay>#tea", b"<replayed count=0>"]
        )


class Lines(PostingCase):
    """Texts of several lines."""

    def test_three_manners(self) -> None:
        """Each takes them in her manner: to all, in a room, private, and changed."""
        dave = self.chat.connect(b"dave", b"<hello caps=multiline>")
        self.chat.enter(dave, b"#tea")
        self.hear(self.bob, self.carol)
        self.say(self.alice, b"<set_msg_all enc=pct>50%25%0A\xe2\x80\xae", b"<set_msg enc=pct>#tea a%0Ab",
                 b"<edit enc=pct>6 c%0Ad")  # fmt: skip
        for name in (b"bob", b"carol", b"dave"):
            self.say(self.alice, b"<set_msg enc=pct>%s x%%0Ay" % name)
        self.assertEqual(
            self.bob.heard(),
            [
                b"<msg id=5 from=alice to=all part=1/2>50%",
                b"<msg id=5 from=alice to=all part=2/2>" + "\u2068\u202e\u2069".encode(),
                b"<msg id=6 from=alice to=#tea part=1/2>a", b"<msg id=6 from=alice to=#tea part=2/2>b",
                b"<msg id=7 from=alice to=#tea edit=6 part=1/2>c", b"<msg id=7 from=alice to=#tea edit=6 part=2/2>d",
                b"<msg id=8 from=alice part=1/2>x", b"<msg id=8 from=alice part=2/2>y",
            ],
        )  # fmt: skip
        self.assertEqual(
            dave.heard(),
            [
                b"<msg id=5 from=alice to=all enc=pct time=%s>50%%25%%0A\xe2\x80\xae" % NOON,
                b"<msg id=6 from=alice to=#tea enc=pct time=%s>a%%0Ab" % NOON,
                b"<msg id=7 from=alice to=#tea edit=6 enc=pct time=%s>c%%0Ad" % NOON,
                b"<msg id=10 from=alice to=dave enc=pct time=%s>x%%0Ay" % NOON,
            ],
        )
        self.assertEqual(
            self.carol.heard()[:2],
            [b"<msg id=5 from=alice to=all part=1/2 time=%s>50%%" % NOON,
             b"<msg id=5 from=alice to=all part=2/2 time=%s>\xe2\x80\xae" % NOON],
        )  # fmt: skip

    def test_acknowledged_as_one(self) -> None:
        """All parts of a message are acknowledged by its id."""
        self.say(self.alice, b"<set_msg enc=pct>carol a%0Ab", b"<set_msg enc=pct>#tea c%0Ad")
        unacked = self.carol.peer.unacked
        assert unacked is not None
        self.assertEqual(unacked.messages, 2)
        self.hub.resend(self.carol.peer)
        self.assertEqual(len(self.carol.heard()), 8)
        self.carol.say(b"<ack>5")
        self.assertEqual(unacked.messages, 0)

    def test_one_line(self) -> None:
        """A text that came encoded and has one line is passed on as it is, and nothing stands about it."""
        dave = self.chat.connect(b"dave", b"<hello caps=multiline>")
        self.say(self.alice, b"<set_msg_all enc=pct>50%25 %41")
        self.assertEqual(dave.heard(), [b"<msg id=4 from=alice to=all time=%s>50%% A" % NOON])


class Counts(PostingCase):
    """Receipts of rooms."""

    def test_counts(self) -> None:
        """Members are counted, be they here or away, and not the sender, also if some are not of the room."""
        self.chat.connect(b"dave")
        self.hub.leave(self.carol.peer)
        self.say(self.alice, b"<set_msg>#tea 1", b"<set_msg_all>2")
        self.chat.reach(self.bob)
        self.assertEqual(self.count(self.alice, 0.0), [])
        self.assertEqual(
            self.count(self.alice),
            [b"<receipt id=5 sent=1 delivered=0 of=3>all", b"<receipt id=4 sent=1 delivered=0 of=2>#tea"],
        )
        self.assertFalse(self.hub.counting)

    def test_each_number_counts(self) -> None:
        """Two messages in a row are told the same only if all of their numbers are the same."""
        alice = self.alice.peer.identity
        assert alice is not None
        first = (1, 2, 3, 9)
        for place in range(len(first)):
            second = [number + (place == other) for other, number in enumerate(first)]
            self.hub._tell_counts([((4,), alice, *first), ((5, 6), alice, *second)], b"all")
            told = [
                b" sent=%d delivered=%d undelivered=%d of=%d>all" % (*numbers,) for numbers in (first, second)
            ]
            self.assertEqual(
                self.alice.heard(),
                [b"<receipt id=%d%s" % (id, told[which]) for id, which in ((4, 0), (5, 1), (6, 1))],
            )

    def test_final(self) -> None:
        """The count is told as soon as nothing can change it."""
        self.say(self.alice, b"<set_msg>#tea 1")
        self.chat.reach(self.bob)
        self.assertTrue(self.hub.counting)
        self.assertEqual(self.count(self.alice, 0.0), [])
        self.carol.say(b"<ack>4")
        self.carol.heard()
        self.assertEqual(self.count(self.alice, 0.0), [b"<receipt id=4 sent=1 delivered=1 of=2>#tea"])

    def test_not_a_member(self) -> None:
        """The last words of who leaves are counted among those who stay."""
        self.alice.say(b"<set_msg>#tea 1")
        self.hub.leave(self.alice.peer)
        self.chat.commit()
        self.carol.say(b"<ack>4")
        self.chat.reach(self.bob)
        self.hub.count(0.0)
        self.assertFalse(self.hub.counting)

    def test_muted(self) -> None:
        """Who muted the room is not counted, then or later; who mutes it later is."""
        self.say(self.bob, b"<mute>#tea")
        self.say(self.alice, b"<set_msg>#tea 1", b"<set_msg_all>2")
        self.say(self.carol, b"<mute>#tea", b"<ack>5")
        self.chat.reach(self.bob)
        self.assertEqual(
            self.count(self.alice, 0.0),
            [b"<receipt id=5 sent=1 delivered=1 of=2>all", b"<receipt id=4 sent=0 delivered=1 of=1>#tea"],
        )

    def test_unmuted(self) -> None:
        """Who mutes it no more is counted again."""
        self.say(self.bob, b"<mute>#tea", b"<unmute>#tea")
        self.say(self.alice, b"<set_msg>#tea 1")
        self.assertEqual(self.count(self.alice), [b"<receipt id=4 sent=0 delivered=0 of=2>#tea"])

    def test_ignoring(self) -> None:
        """Who ignores the sender is not counted, here or away."""
        self.say(self.bob, b"<ignore>alice")
        self.say(self.carol, b"<ignore>alice")
        self.hub.leave(self.carol.peer)
        self.say(self.alice, b"<set_msg>#tea 1", b"<set_msg_all>2")
        self.assertEqual(
            self.count(self.alice, 0.0),
            [b"<receipt id=5 sent=0 delivered=0 of=0>all", b"<receipt id=4 sent=0 delivered=0 of=0>#tea"],
        )

    def test_both(self) -> None:
        """Who ignores the sender and muted the room is left out once."""
        self.say(self.bob, b"<ignore>alice", b"<mute>#tea")
        self.say(self.alice, b"<set_msg>#tea 1")
        self.say(self.carol, b"<ack>4")
        self.assertEqual(self.count(self.alice, 0.0), [b"<receipt id=4 sent=0 delivered=1 of=1>#tea"])

    def test_bots(self) -> None:
        """A bot counts while it is here."""
        bot = self.chat.connect(b"bot", b"<hello caps=ack,resume,bot>")
        self.chat.enter(bot, b"#tea")
        self.say(self.carol, b"<ignore>bot")
        self.hub.leave(bot.peer)
        self.chat.reach(self.bob)
        self.say(self.alice, b"<set_msg>#tea 1", b"<set_msg_all>2")
        self.say(self.carol, b"<ack>6")
        self.chat.reach(self.bob)
        self.assertEqual(
            self.count(self.alice, 0.0),
            [b"<receipt id=6 sent=1 delivered=1 of=2>all", b"<receipt id=5 sent=1 delivered=1 of=2>#tea"],
        )
        bot = self.chat.resume(b"bot", b"resume=token2", b"<hello caps=ack,resume,bot>")
        bot.heard()
        self.assertEqual(self.chat.catch_up(bot), [b"<replayed count=0>"])
        self.say(self.alice, b"<set_msg>#tea 3", b"<set_msg_all>4")
        self.assertEqual(len(bot.heard()), 2)
        self.say(bot, b"<ack>8")
        self.say(self.carol, b"<ack>8")
        self.chat.reach(self.bob)
        self.assertEqual(
            self.count(self.alice, 0.0),
            [b"<receipt id=8 sent=1 delivered=2 of=3>all", b"<receipt id=7 sent=1 delivered=2 of=3>#tea"],
        )

    def test_a_bot_that_went_while_it_joined(self) -> None:
        """A bot that is away when the journal has its joining does not count either."""
        bot = self.chat.connect(b"bot", b"<hello caps=ack,resume,bot>")
        bot.say(b"<join>#tea")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.hub.leave(bot.peer)
        self.hub.appended(posts, [4], NOON_MS, 0.0)
        self.chat.last_id = 4
        self.say(self.alice, b"<set_msg>#tea 1")
        self.assertEqual(self.count(self.alice), [b"<receipt id=5 sent=0 delivered=0 of=2>#tea"])

    def test_ignored_by_a_bot(self) -> None:
        """A bot that ignores the sender and is away is left out once."""
        bot = self.chat.connect(b"bot", b"<hello caps=ack,resume,bot>")
        self.say(bot, b"<ignore>alice")
        self.hub.leave(bot.peer)
        self.say(self.alice, b"<set_msg_all>2")
        self.say(self.carol, b"<ack>4")
        self.chat.reach(self.bob)
        self.assertEqual(self.count(self.alice, 0.0), [b"<receipt id=4 sent=1 delivered=1 of=2>all"])

    def test_joined_later(self) -> None:
        """Who joins behind a message has nothing to do with it, wherever her cursors stand."""
        dave = self.chat.connect(b"dave", b"<hello caps=ack>")
        self.say(self.alice, b"<set_msg>dave 1", b"<set_msg>#tea 2")
        self.say(dave, b"<ack>4")
        self.chat.enter(dave, b"#tea")
        self.say(self.carol, b"<ack>5")
        self.chat.reach(self.bob)
        self.assertEqual(self.count(self.alice, 0.0), [b"<receipt id=5 sent=1 delivered=1 of=2>#tea"])

    def test_left_the_room(self) -> None:
        """Who left the room counts for what she was owed before, and not for what is said behind that."""
        self.say(self.alice, b"<set_msg>#tea 1")
        self.say(self.carol, b"<leave>#tea")
        self.say(self.alice, b"<set_msg>#tea 2", b"<set_msg>carol 3")
        self.assertEqual(self.count(self.alice, 0.0), [])
        self.say(self.carol, b"<ack>7")
        self.assertEqual(self.count(self.alice, 0.0), [])
        self.chat.reach(self.bob)
        self.assertEqual(
            self.count(self.alice, 0.0),
            [b"<receipt id=4 sent=1 delivered=1 of=2>#tea", b"<receipt id=6 sent=1 delivered=0 of=1>#tea"],
        )

    def test_gone(self) -> None:
        """Who leaves the chat before she had it is counted as gone."""
        self.say(self.alice, b"<set_msg>#tea 1")
        self.hub.leave(self.bob.peer)
        self.carol.say(b"<disconnect>")
        self.hub.part(self.carol.peer)
        self.assertEqual(self.count(self.alice, 0.0), [])
        self.hub.leave(self.carol.peer)
        self.assertEqual(
            self.count(self.alice, 0.0), [b"<receipt id=4 sent=0 delivered=0 undelivered=2 of=2>#tea"]
        )

    def test_about(self) -> None:
        """What is said about a message is counted like a message."""
        self.say(self.alice, b"<set_msg>#tea 1", b"<edit>4 x", b"<react>4 y", b"<retract>4")
        self.say(self.carol, b"<ack>7")
        self.chat.reach(self.bob)
        self.assertEqual(
            self.count(self.alice, 0.0),
            [b"<receipt id=%d sent=1 delivered=1 of=2>#tea" % id for id in (4, 5, 6, 7)],
        )

    def test_told_later(self) -> None:
        """Who is away when the count is known is told it when she is back."""
        self.say(self.carol, b"<set_msg>#tea 1")
        self.hub.leave(self.carol.peer)
        self.hub.count(10.0)
        self.assertEqual(
            self.chat.catch_up(self.come(attributes=b" after=4"))[-1],
            b"<receipt id=4 sent=0 delivered=0 of=2>#tea",
        )


class Acks(PostingCase):
    """What a plain client may acknowledge."""

    def test_rooms(self) -> None:
        """What she was shown: in rooms that she is in, did not mute, and by whom she does not ignore."""
        dave = self.chat.connect(b"dave")
        self.say(self.alice, b"<set_msg>#tea 1")
        self.say(self.bob, b"<mute>#tea")
        self.say(self.alice, b"<set_msg>#tea 2")
        self.say(self.bob, b"<unmute>#tea", b"<ignore>carol")
        self.say(self.carol, b"<set_msg>#tea 3", b"<set_msg_all>4")
        refused = b"<error code=not-sent>This connection was not sent a message %d."
        self.assertEqual(self.bob.answer(b"<ack>4"), [])
        for id in (5, 6, 7):
            self.assertEqual(self.bob.answer(b"<ack>%d" % id), [refused % id])
        for id in (4, 5, 6):
            self.assertEqual(dave.answer(b"<ack>%d" % id), [refused % id])
        self.assertEqual(dave.answer(b"<ack>7"), [])
        self.say(self.alice, b"<set_msg>bob 5")
        self.assertEqual(self.bob.answer(b"<ack>8"), [])
        self.say(self.bob, b"<set_msg>alice 6")
        self.assertEqual(self.bob.answer(b"<ack>9"), [refused % 9])

    def test_few_are_remembered(self) -> None:
        """What was said long ago is not remembered: only the newest can be acknowledged."""
        self.patch(posting, "RECENT_LIMIT", 1)
        for number in range(3):
            self.say(self.alice, b"<set_msg>#tea %d" % number, b"<set_msg>#tea again")
        self.assertIn(b"not-sent", self.bob.answer(b"<ack>5")[0])
        self.assertEqual(self.bob.answer(b"<ack>6"), [])
        self.assertEqual(self.bob.answer(b"<ack>9"), [])


class Batches(PostingCase):
    """What goes into the journal at once."""

    def test_senders_first(self) -> None:
        """Who says something is written to before whom she says it to."""
        for line in (b"<set_msg>bob hi", b"<set_msg_all>hi"):
            self.hub.dirty.clear()
            for talk in (self.alice, self.bob, self.carol):
                talk.heard()
                talk.peer.dirty = False
            self.alice.say(line)
            self.chat.commit()
            self.assertEqual(self.hub.dirty[:2], [self.alice.peer, self.bob.peer])

    def test_large(self) -> None:
        """A batch has a bounded size, and what is over goes with the next, in the same order."""
        self.patch(taking, "BATCH_LIMIT", 3 * (1 + len("alice") + taking.LINE_OVERHEAD))
        self.alice.say(*[b"<set_msg>#tea %d" % n for n in range(6)])
        sizes = []
        while (taken := self.hub.take(NOON_MS)) is not None:
            posts, entries = taken[0], spread(taken[1])
            self.hub.appended(
                posts, range(self.chat.last_id + 1, self.chat.last_id + 1 + len(entries)), NOON_MS, 0.0
            )
            self.chat.last_id += len(entries)
            sizes.append(len(posts))
        self.assertEqual(sizes, [3, 3])
        self.assertEqual(
            [line.partition(b">")[2] for line in self.bob.heard()], [b"%d" % n for n in range(6)]
        )

    def test_large_runs(self) -> None:
        """What was said in runs counts with all its messages: a run that does not fit waits for the next batch."""
        for name, limit in (
            ("BATCH_LIMIT", 5 * (1 + len("alice") + taking.LINE_OVERHEAD) + 4),
            ("WORK_LIMIT", 5),
        ):
            self.setUp()
            self.patch(taking, name, limit)
            for _ in range(4):
                self.assertEqual(self.alice.session.receive_run([b"<set_msg_all>x"] * 2, 2), 2)
            self.assertEqual(self.alice.session.receive_run([b"<set_msg_all>x"] * 7, 7), 7)
            sizes = []
            while (taken := self.hub.take(NOON_MS)) is not None:
                posts, entries = taken[0], spread(taken[1])
                ids = range(self.chat.last_id + 1, self.chat.last_id + 1 + len(entries))
                self.hub.appended(posts, ids, NOON_MS, 0.0)
                self.chat.last_id += len(entries)
                sizes.append(len(entries))
            self.assertEqual(sizes, [4, 4, 7], name)

    def test_counts_wait(self) -> None:
        """Counts that wait for somebody who is away are bounded."""
        self.patch(hub_module, "COUNTS_LIMIT", 1)
        self.say(self.carol, b"<set_msg>#tea 1", b"<set_msg>#tea 2")
        self.hub.leave(self.carol.peer)
        self.hub.count(10.0)
        told = self.chat.catch_up(self.come(attributes=b" after=5"))
        self.assertEqual([line[:13] for line in told[1:]], [b"<receipt id=5"])

    def test_refused_while_more_wait(self) -> None:
        """A joining that was refused does not undo one that waits."""
        self.alice.say(b"<join>#coffee")
        posts, _ = self.hub.take(NOON_MS) or ([], [])
        self.bob.say(b"<join>#coffee")
        self.hub.refused(posts, JournalError("journal-unavailable", "Full."))
        self.chat.commit()
        self.assertEqual(self.bob.heard(), [b"<joined in=#coffee members=1>bob"])
        self.assertEqual(self.bob.answer(b"<get_users>#coffee")[-1], b"<users in=#coffee count=1>")
