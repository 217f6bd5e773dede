"""What sessions ask of the journal, through the daemon's own parts on a clock of ours."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from pychat.catchup import REPLAY_BYTES
from pychat.departures import HOLD
from pychat.intake import SOFT_MARK
from pychat.reading import UNACKED_MARK
from pychat.requests import CountUnread
from tests.test_reading import BROKEN, Person, ReadingCase

TIME = "2027-01-15T08:00:00.000Z"
ERROR = f"<error code=journal-unavailable label=7>{BROKEN.sentence}"
NO_SUCH = "<error code=no-such-message label=7>There is no such message for you, or it is not kept any more."
NOT_YOURS = "<error code=no-such-message>No message of yours has this id, or it is not kept any more."


def texts(lines: list[str]) -> list[str]:
    return [line.partition(">")[2] for line in lines]


class LookupsCase(ReadingCase):
    """Alice can come back, Bob is on `nc`; both are in #tea (ids 1 and 2)."""

    def setUp(self) -> None:
        super().setUp()
        for person in (self.alice, self.bob):
            person.answer("<join>#tea")
        self.settle(self.alice, self.bob)

    def settle(self, *people: Person) -> None:
        """All have heard what there is to be heard."""
        self.clock.pump([0.05] * 120)
        for person in people:
            person.hear()

    def say(self, person: Person, *lines: str) -> None:
        """Say lines, one after the other, until all is quiet again."""
        for line in lines:
            person.say(line)
            self.settle(self.alice, self.bob, person)

    def slow(self, verb: str) -> Deferred[Any]:
        """The journal's next answer to this waits for the deferred to be fired."""
        answer: Deferred[Any] = Deferred()
        self.patch(self.journal, verb, lambda *what, **how: answer)
        return answer


class Entering(LookupsCase):
    """Who joins a room on a plain line is told what it is about, and what was said there."""

    def plain(self, name: str) -> Person:
        person = Person(self.stage, "", f"<connect>{name}")
        person.hear()
        return person

    def test_topic_and_messages(self) -> None:
        """The topic, the newest messages with the oldest of them first, and how many; then what is said live."""
        self.say(self.alice, "<topic>#tea Pots", *(f"<set_msg>#tea {n}" for n in range(25)))
        carol = self.plain("carol")
        lines = carol.answer("<join label=7>#tea")
        self.assertEqual(
            lines[:3],
            [
                "<joined label=7 in=#tea members=3>carol",
                f"<topic in=#tea by=alice time={TIME}>Pots",
                f"<msg replay id=9 from=alice to=#tea time={TIME}>5",
            ],
        )
        self.assertEqual(texts(lines[2:-1]), [str(n) for n in range(5, 25)])
        self.assertEqual(lines[-1], "<history count=20 more=9>#tea")
        self.say(self.alice, "<topic clear>#tea")
        self.alice.say("<set_msg>#tea live")
        self.assertEqual(texts(carol.hear())[-1:], ["live"])

    def test_nothing(self) -> None:
        """Where nothing was said nothing is told; a topic alone is."""
        carol = self.plain("carol")
        self.assertEqual(carol.answer("<join>#tea"), ["<joined in=#tea members=3>carol"])
        self.assertEqual(carol.answer("<join>#new"), ["<joined in=#new members=1>carol"])
        self.say(self.alice, "<topic>#tea Pots")
        dave = self.plain("dave")
        self.assertEqual(len(dave.answer("<join>#tea")), 2)

    def test_member_already(self) -> None:
        """Who is in it already is told nothing again."""
        self.say(self.alice, "<set_msg>#tea hi")
        self.assertEqual(self.bob.answer("<join>#tea"), ["<joined in=#tea members=2>bob"])

    def test_programs(self) -> None:
        """Programs and bots ask for what they want."""
        self.say(self.alice, "<topic>#tea Pots", "<set_msg>#tea hi")
        for number, hello in enumerate(("<hello>", "<hello caps=ack,resume>", "<hello caps=ack,resume,bot>")):
            person = Person(self.stage, hello, f"<connect>p{number}")
            person.hear()
            self.assertEqual(
                person.answer("<join>#tea"),
                [f"<joined in=#tea id={number + 5} members={number + 3}>p{number}"],
            )

    def test_only_up_to_the_joining(self) -> None:
        """What is said behind it comes live, and not twice."""
        self.say(self.alice, "<set_msg>#tea before")
        carol = self.plain("carol")
        carol.say("<join>#tea")
        self.alice.say("<set_msg>#tea after")
        self.assertEqual(sorted(texts(carol.hear())), ["#tea", "after", "before", "carol"])

    def test_ignored(self) -> None:
        """What they say whom she ignores is left out; if that is all, nothing is told."""
        self.say(self.alice, "<set_msg>#tea hi")
        carol = self.plain("carol")
        carol.answer("<ignore>alice")
        self.assertEqual(carol.answer("<join>#tea"), ["<joined in=#tea members=3>carol"])

    def test_unreadable(self) -> None:
        """If the journal cannot be read she is a member all the same, and told the topic."""
        self.say(self.alice, "<topic>#tea Pots", "<set_msg>#tea hi")
        asked = self.unreadable("history")
        carol = self.plain("carol")
        self.assertEqual(len(carol.answer("<join>#tea")), 2)
        self.assertEqual(len(asked), 1)
        self.alice.say("<set_msg>#tea live")
        self.assertEqual(texts(carol.hear()), ["live"])

    def test_gone_meanwhile(self) -> None:
        """Who is gone when the journal has answered is told nothing, and nothing breaks."""
        self.say(self.alice, "<set_msg>#tea hi")
        history = self.journal.history
        for end in ("<disconnect>", ""):
            carol = self.plain("carol")
            answer = self.slow("history")
            carol.answer("<join>#tea")
            if end:
                carol.say(end)
            else:
                carol.transport.loseConnection()
            carol.hear()
            answer.callback(self.successResultOf(history((-1, ""), None, None, 20)))
            self.assertEqual(carol.hear(), [])
            self.assertIn("<left>carol", self.bob.hear())


class History(LookupsCase):
    """``<history>``."""

    def test_pages(self) -> None:
        """Page by page, back from the newest and on from the oldest."""
        self.say(self.alice, *(f"<set_msg_all>{n}" for n in range(5)))
        self.assertEqual(
            self.bob.answer("<history limit=2 label=7>all"),
            [
                f"<msg label=7 replay id=6 from=alice to=all time={TIME}>3",
                f"<msg label=7 replay id=7 from=alice to=all time={TIME}>4",
                "<history label=7 count=2 more=6>all",
            ],
        )
        lines = self.bob.answer("<history limit=2 before=6>all", "<history limit=2 before=4>all")
        self.assertEqual(texts(lines), ["1", "2", "all", "0", "all"])
        self.assertEqual(lines[-1], "<history count=1>all")
        lines = self.bob.answer("<history limit=3 after=0>all", "<history limit=3 after=5>all")
        self.assertEqual(texts(lines), ["0", "1", "2", "all", "3", "4", "all"])
        self.assertEqual((lines[3], lines[-1]), ("<history count=3 more=5>all", "<history count=2>all"))

    def test_places(self) -> None:
        """Each conversation for itself; private ones as one had them."""
        self.say(self.alice, "<set_msg_all>all", "<set_msg>#tea room", "<set_msg>bob private")
        self.say(self.bob, "<set_msg>alice mine")
        for place, said in [("#TEA", ["room"]), ("BOB", ["private", "mine"]), ("nobody", [])]:
            lines = self.alice.answer(f"<history>{place}")
            self.assertEqual(texts(lines)[:-1], said)
        self.assertEqual(lines, ["<history count=0>nobody"])
        bob = Person(self.stage, "", "<connect>carol")
        self.assertEqual(texts(bob.answer("<history>bob", "<history>alice")), ["bob", "alice"])

    def test_as_they_are_now(self) -> None:
        """Messages come with their newest texts, or taken back; reactions are lines of their own."""
        self.say(self.alice, "<set_msg>#tea 1", "<set_msg>#tea 2", "<edit>3 one", "<retract>4")
        self.say(self.bob, "<react>3 +1")
        self.assertEqual(
            self.bob.answer("<history>#tea")[:-1],
            [
                f"<msg replay id=3 from=alice to=#tea edited=5 time={TIME}>one",
                f"<msg replay id=4 from=alice to=#tea retracted=6 time={TIME}>(message taken back)",
                f"<msg replay id=7 from=bob to=#tea react=3 time={TIME}>+1",
            ],
        )

    def test_blocked(self) -> None:
        """What was kept from somebody she does not find later."""
        self.say(self.bob, "<ignore>alice")
        self.say(self.alice, "<set_msg>bob hi")
        self.say(self.bob, "<unignore>alice")
        self.assertEqual(self.bob.answer("<history>alice"), ["<history count=0>alice"])
        self.assertEqual(texts(self.alice.answer("<history>bob")), ["hi", "bob"])


class Searching(LookupsCase):
    """``<search>``."""

    def test_found(self) -> None:
        """Newest first, where one may look, with what to say to go on."""
        self.say(
            self.alice,
            "<set_msg_all>red kettle",
            "<set_msg>#tea blue kettle",
            "<set_msg>bob a kettle",
            "<set_msg_all>pot",
        )
        lines = self.bob.answer("<search limit=2 label=7>kettle")
        self.assertEqual(texts(lines), ["a kettle", "blue kettle", "kettle"])
        more = lines[-1].partition("more=")[2].partition(">")[0]
        self.assertEqual(lines[-1], f"<search label=7 count=2 more={more}>kettle")
        self.assertEqual(texts(self.bob.answer(f"<search more={more}>kettle")), ["red kettle", "kettle"])
        for attributes, found in [("in=#tea", ["blue kettle"]), ("in=alice", ["a kettle"]), ("from=bob", [])]:
            self.assertEqual(texts(self.bob.answer(f"<search {attributes}>kettle"))[:-1], found)
        carol = Person(self.stage, "", "<connect>carol")
        carol.hear()
        self.assertEqual(texts(carol.answer("<search>kettle"))[:-1], ["red kettle"])

    def test_ignored(self) -> None:
        """What they say whom one ignores is not found."""
        self.say(self.alice, "<set_msg_all>kettle")
        self.say(self.bob, "<ignore>alice")
        self.assertEqual(self.bob.answer("<search>kettle"), ["<search count=0>kettle"])


class InOrder(LookupsCase):
    """What one said oneself is there when one looks it up in the next line."""

    def test_behind_own_posts(self) -> None:
        """In history, searches, receipts, counts and topics."""
        heard = self.bob.answer(
            "<set_msg>#tea a kettle", "<history limit=1>#tea", "<set_msg>#tea a pot", "<search>pot", "<set_msg_all>x",
            "<receipts>5", "<topic>#tea Pots", "<topic>#tea", "<set_msg>#tea y", "<unread>", "<ping>end",
        )  # fmt: skip
        heard = [line for line in heard if not line.startswith("<receipt ")]
        self.assertEqual(
            [(line.partition(" ")[0], line.rpartition(">")[2]) for line in heard],
            [
                ("<accepted", "#tea"), ("<msg", "a kettle"), ("<history", "#tea"), ("<accepted", "#tea"),
                ("<msg", "a pot"), ("<search", "pot"), ("<accepted", "all"), ("<recipient", "alice"),
                ("<receipts", ""), ("<accepted", "#tea"), ("<topic", "Pots"), ("<accepted", "#tea"), ("<unread", ""),
                ("<pong>end", "end"),
            ],
        )  # fmt: skip

    def test_newcomers_see_no_reactions(self) -> None:
        """Who joins on a plain line is told the last messages, however many reactions there are."""
        self.say(self.alice, "<set_msg>#tea 1", *["<react>3 x"] * 30)
        carol = Person(self.stage, "", "<connect>carol")
        carol.hear()
        self.assertEqual(texts(carol.answer("<join>#tea"))[1:], ["1", "#tea"])


class Bounds(LookupsCase):
    """What one connection can have wait for it."""

    def test_answers_behind_a_post(self) -> None:
        """Lists that wait behind a post without an answer count as unread, and its lines wait with them."""
        self.bob.hear()
        self.patch(self.journal, "append", lambda *_: Deferred())
        self.bob.say("<set_msg_all>x", *["<help>"] * 500)
        self.clock.pump([0.0] * 10)
        peer = self.bob.protocol.peer
        self.assertLess(SOFT_MARK, peer.behind)
        self.assertLess(peer.behind, SOFT_MARK + 8192)
        self.assertFalse(self.bob.transport.reading)

    def test_many_lines_are_told_in_pages(self) -> None:
        """Who comes back and takes lines one by one gets no more at once than she can acknowledge."""
        carol = Person(self.stage, "<hello caps=ack,resume>", "<connect>carol")
        token = carol.hear()[-1].partition("resume=")[2].partition(">")[0]
        carol.say("<ping>")
        carol.transport.loseConnection()
        for _ in range(150):
            self.say(self.bob, "<set_msg_all enc=pct>" + "%0A".join(["y" * 10] * 150))
        carol = Person(self.stage, "<hello caps=ack,resume>", f"<connect resume={token}>carol")
        told: list[str] = []
        for _ in range(30):
            heard = carol.hear()
            told += [line for line in heard if line.startswith("<msg")]
            self.assertLess(carol.protocol.peer.unacked.size, UNACKED_MARK + 2 * REPLAY_BYTES)
            if told:
                carol.say(f"<ack>{told[-1].partition('id=')[2].partition(' ')[0]}")
        self.assertEqual(len(told), 150 * 150)
        self.assertFalse(carol.transport.closed)


class Counting(LookupsCase):
    """``<unread>``."""

    def test_unread(self) -> None:
        """Each conversation with what others said and she did not read."""
        self.say(self.bob, "<set_msg_all>mine")
        self.say(self.alice, "<set_msg_all>1", "<set_msg>#tea 2", "<set_msg>#tea 3", "<set_msg>bob 4")
        self.assertEqual(
            self.bob.answer("<unread label=7>"),
            [
                "<new label=7 count=1>all",
                "<new label=7 count=2>#tea",
                "<new label=7 count=1>alice",
                "<unread label=7 count=3>",
            ],
        )
        self.bob.say("<read in=#tea>5")
        self.assertEqual(self.bob.answer("<unread>")[1], "<new count=1>#tea")
        self.bob.say("<read>7")
        self.assertEqual(self.bob.answer("<unread>"), ["<unread count=0>"])

    def test_who_types_has_seen_it(self) -> None:
        """On a plain line what came before one said something counts as read; of a muted room nothing does."""
        self.say(self.alice, "<set_msg>#tea 1", "<set_msg>bob 2")
        self.say(self.bob, "<mute>#tea")
        self.say(self.alice, "<set_msg>#tea 3")
        self.say(self.bob, "<set_msg_all>4")
        self.assertEqual(self.bob.answer("<unread>"), ["<new count=2>#tea", "<unread count=1>"])
        self.say(self.alice, "<set_msg>bob 5")
        self.assertEqual(self.bob.answer("<unread>")[1:], ["<new count=1>alice", "<unread count=2>"])

    def test_muted_and_ignored(self) -> None:
        """What one muted is counted, and what they say whom one ignores is not."""
        carol = Person(self.stage, "", "<connect>carol")
        self.say(carol, "<join>#tea")
        self.say(self.bob, "<mute>#tea", "<ignore>carol")
        self.say(self.alice, "<set_msg>#tea 1")
        self.say(carol, "<set_msg>#tea 2", "<set_msg_all>3", "<set_msg>bob 4")
        self.assertEqual(self.bob.answer("<unread>"), ["<new count=1>#tea", "<unread count=1>"])


class Receipts(LookupsCase):
    """``<receipts>`` of rooms, and of what somebody ignores."""

    def states(self, id: int, person: Person | None = None) -> list[str]:
        """Names with their states."""
        lines = (person or self.alice).answer(f"<receipts>{id}")
        self.assertEqual(lines[-1], f"<receipts id={id} count={len(lines) - 1}>")
        return [
            f"{name} {head.partition('state=')[2]}"
            for head, _, name in (line.partition(">") for line in lines[:-1])
        ]

    def smart_in_tea(self, name: str, caps: str = "ack,resume") -> Person:
        person = Person(self.stage, f"<hello caps={caps}>", f"<connect>{name}")
        person.hear()
        person.say("<ping>", "<join>#tea")
        self.settle(self.alice, self.bob, person)
        return person

    def test_members(self) -> None:
        """Who was a member then, in the order of names, with how far it is with each."""
        carol, dave = self.smart_in_tea("carol"), self.smart_in_tea("dave")
        erin = self.smart_in_tea("erin")
        dave.transport.loseConnection()
        self.say(self.alice, "<set_msg>#tea hi", "<set_msg_all>ho")
        self.smart_in_tea("frank")
        self.say(carol, "<read>6")
        self.say(erin, "<ack>6", "<leave>#tea")
        self.assertEqual(self.states(6), ["bob sent", "carol read", "dave waiting", "erin delivered"])

    def test_kinds(self) -> None:
        """What is said about a message has receipts, too; what changes a room has none, nor what others said."""
        self.say(self.alice, "<set_msg>#tea hi", "<react>3 x", "<topic>#tea Pots")
        self.say(self.bob, "<set_msg>#tea ho")
        self.assertEqual(self.states(4), ["bob sent"])
        for id in (1, 5, 6, 99):
            self.assertEqual(self.alice.answer(f"<receipts>{id}"), [NOT_YOURS])

    def test_left_and_joined_again(self) -> None:
        """Who left, and who left and came again, was a member then; who left the chat, too."""
        carol, dave = self.smart_in_tea("carol"), self.smart_in_tea("dave")
        erin = self.smart_in_tea("erin")
        self.say(self.alice, "<set_msg>#tea hi")
        self.say(carol, "<leave>#tea", "<join>#tea")
        self.say(dave, "<ack>6", "<leave>#tea", "<join>#tea")
        self.say(erin, "<ack>6", "<disconnect>")
        self.say(self.bob, "<leave>#tea")
        self.assertEqual(self.states(6), ["bob sent", "carol waiting", "dave delivered", "erin delivered"])
        self.say(self.alice, "<set_msg>#tea ho")
        self.assertEqual(self.states(self.journal.last_id), ["carol waiting", "dave waiting"])

    def test_not_owed(self) -> None:
        """Who muted the room, or ignores the sender, or is a bot that was away, is not concerned."""
        carol, bot = self.smart_in_tea("carol"), self.smart_in_tea("bot", "ack,resume,bot")
        self.say(carol, "<mute>#tea")
        self.say(self.bob, "<ignore>alice")
        bot.transport.loseConnection()
        self.say(self.alice, "<set_msg>#tea hi", "<set_msg_all>ho")
        self.assertEqual(self.states(5), [])
        self.assertEqual(self.states(6), ["carol waiting"])
        bot = Person(self.stage, "<hello caps=ack,resume,bot>", "<connect resume=token-2>bot")
        bot.hear()
        self.say(carol, "<unmute>#tea")
        self.say(self.alice, "<set_msg>#tea hu")
        bot.say("<ack>7")
        self.settle(bot)
        self.assertEqual(self.states(7), ["bot delivered", "carol waiting"])
        self.assertEqual(self.states(5), [])

    def test_ended_and_ignoring(self) -> None:
        """What the journal has of who has left says whom she ignored."""
        carol, dave = self.smart_in_tea("carol"), self.smart_in_tea("dave")
        self.say(carol, "<ignore>alice")
        self.say(self.alice, "<set_msg>#tea hi", "<set_msg_all>ho")
        for person in (carol, dave):
            self.say(person, "<disconnect>")
        for id in (5, 6):
            self.assertEqual(self.states(id), ["bob sent", "dave undelivered"])

    def test_ending(self) -> None:
        """Of who has just ended nothing final is said before the journal knows how she stood."""
        dave = self.smart_in_tea("dave")
        self.say(self.alice, "<set_msg>dave hi")
        append = self.journal.append
        kept: list[tuple[Any, ...]] = []
        done: Deferred[Any] = Deferred()

        def later(*what: Any) -> Deferred[Any]:
            kept.append(what)
            return done

        self.patch(self.journal, "append", later)
        dave.say("<ack>4", "<disconnect>")
        self.alice.hear()
        self.assertEqual(self.states(4), ["dave waiting"])
        self.patch(self.journal, "append", append)
        (what,) = kept
        append(*what).chainDeferred(done)
        self.alice.hear()
        self.assertEqual(self.states(4), ["dave delivered"])

    def test_blocked(self) -> None:
        """What somebody ignored is undelivered with her, whatever she acknowledged since; here or gone."""
        carol = self.smart_in_tea("carol")
        self.say(carol, "<ignore>alice")
        self.say(self.alice, "<set_msg>carol hi")
        self.say(self.bob, "<set_msg>carol ho")
        self.say(carol, "<ack>5")
        self.assertEqual(self.states(4), ["carol undelivered"])
        self.say(carol, "<disconnect>")
        self.assertEqual(self.states(4), ["carol undelivered"])
        self.assertEqual(self.states(5, self.bob), ["carol delivered"])

    def test_blocked_and_told_again(self) -> None:
        """Who comes back is told again what was blocked."""
        self.say(self.bob, "<ignore>alice")
        self.say(self.alice, "<set_msg>bob hi")
        self.alice.transport.loseConnection()
        self.bob.hear()
        alice = self.come(" after=0 open=1")
        self.assertEqual(alice.hear()[-1], "<undelivered id=3 reason=blocked>bob")

    def test_blocked_and_read(self) -> None:
        """Of what was blocked nobody is told that it was read or lost."""
        carol = self.smart_in_tea("carol")
        self.say(carol, "<ignore>bob")
        self.say(self.bob, "<set_msg>carol hi")
        self.say(self.alice, "<set_msg>carol ho")
        carol.say("<read>5")
        self.assertEqual(self.bob.hear(), [])
        self.assertIn("<read id=5>carol", self.alice.hear())
        carol.transport.loseConnection()
        self.alice.transport.loseConnection()
        self.clock.advance(HOLD + 1)
        self.bob.hear()
        self.stage.pump.sweep()
        self.assertNotIn("undelivered", "".join(self.bob.hear()))


class LookingUp(LookupsCase):
    """Messages that something is said about."""

    def test_about(self) -> None:
        """They are looked up, and then it is said."""
        self.say(self.alice, "<set_msg>#tea hi")
        self.assertEqual(
            self.bob.answer("<set_msg label=7 reply=3>#tea ho")[0], "<accepted label=7 id=4>#tea"
        )
        self.assertEqual(
            self.bob.answer("<edit label=7>3 x"),
            ["<error code=not-yours label=7>Only who said it can change it or take it back."],
        )
        self.assertIn("<accepted label=7 id=5>#tea", self.alice.answer("<retract label=7>3"))

    def test_not_there(self) -> None:
        """What is not there is not, and what cannot be there is not looked for."""
        look_up = mock.Mock(side_effect=self.journal.look_up)
        self.patch(self.journal, "look_up", look_up)
        self.assertEqual(self.bob.answer("<react label=7>99 x"), [NO_SUCH])
        self.assertEqual(self.bob.answer(f"<react label=7>{'9' * 19} x"), [NO_SUCH])
        self.assertEqual(look_up.call_count, 0)
        self.assertEqual(self.bob.answer("<react label=7>1 x"), [NO_SUCH])
        self.assertEqual(look_up.call_count, 1)

    def test_order(self) -> None:
        """Lines behind it wait, and are answered behind it."""
        self.say(self.alice, "<set_msg>#tea hi")
        answer = self.slow("look_up")
        self.assertEqual(self.bob.answer("<react>3 x", "<ping>"), [])
        answer.callback(())
        lines = self.bob.hear()
        self.assertEqual((lines[0][:27], lines[1]), ("<error code=no-such-message", "<pong>"))


class Errors(LookupsCase):
    """When the journal cannot be read, or nobody waits for it any more."""

    def setUp(self) -> None:
        super().setUp()
        self.say(self.alice, "<set_msg>#tea hi", "<set_msg>bob ho")

    def test_unreadable(self) -> None:
        """Each question is answered with the journal's error, and its label."""
        for verb, line in [
            ("history", "<history label=7>all"), ("search", "<search label=7>x"), ("unread", "<unread label=7>"),
            ("look_up", "<edit label=7>3 x"), ("look_up", "<receipts label=7>3"), ("owed", "<receipts label=7>3"),
            ("look_up", "<set_msg label=7 reply=3>#tea x"),
        ]:  # fmt: skip
            self.unreadable(verb)
            self.assertEqual(self.alice.answer(line), [ERROR], line)
            self.readable(verb)
        self.say(self.bob, "<disconnect>")
        self.unreadable("standings")
        self.assertEqual(self.alice.answer("<receipts label=7>4"), [ERROR])

    def test_gone_meanwhile(self) -> None:
        """Who is gone when the answer comes is told nothing, be it an answer or an error."""
        for number, (verb, answer) in enumerate([("unread", []), ("unread", BROKEN)]):
            person = Person(self.stage, "", f"<connect>p{number}")
            person.hear()
            later = self.slow(verb)
            person.say("<unread>")
            person.transport.loseConnection()
            later.callback(answer) if answer == [] else later.errback(BROKEN)
            self.assertEqual(person.hear(), [])

    def test_ended_meanwhile(self) -> None:
        """Behind a goodbye nothing comes, also while it has yet to reach her."""
        for number, (line, verb, answer) in enumerate(
            [("<unread>", "unread", []), ("<join>#tea", "history", self.tea())]
        ):
            person = Person(self.stage, "", f"<connect>p{number}")
            person.hear()
            later = self.slow(verb)
            person.say(line)
            self.clock.pump([0.02] * 3)
            person.transport.stuck = True
            person.protocol.end("idle", "Go.")  # type: ignore[attr-defined]
            later.callback(answer)
            self.clock.pump([0.02] * 3)
            person.transport.stuck = False
            person.transport._written()
            self.assertEqual(person.hear()[-1], "<goodbye code=idle>Go.")
            self.readable(verb)

    def tea(self) -> object:
        """What the journal says was said in #tea."""
        return self.successResultOf(self.journal.history((-1, ""), None, None, 20))

    def test_replaced_meanwhile(self) -> None:
        """The same for who came back on another connection; that one can ask again."""
        later = self.slow("unread")
        self.alice.say("<unread>")
        alice = self.come()
        alice.hear()
        self.alice.hear()
        later.callback([])
        self.assertEqual(self.alice.hear(), [])
        self.readable("unread")
        self.assertEqual(alice.answer("<unread>"), ["<unread count=0>"])

    def test_nobody(self) -> None:
        """Of a connection that is nobody's nothing is asked."""
        eve = Person(self.stage, "", "")
        eve.hear()
        asked = self.unreadable("unread")
        session = eve.protocol.session  # type: ignore[attr-defined]
        self.successResultOf(self.stage.pump.reading.lookups.carry_out(CountUnread(b""), session))
        self.assertEqual((eve.hear(), asked), ([], []))
