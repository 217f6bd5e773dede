"""Sessions: the commands that say something, what they ask to be looked up, and what bad input is told."""

from __future__ import annotations

from pychat.commands import COMMANDS, Stage
from pychat.grammar import TEXT_LINES_LIMIT
from pychat.requests import Again, LookUp
from pychat.vocabulary import REACTION_LIMIT, TOPIC_LIMIT
from tests.chatkit import Talk
from tests.test_session import TalkCase, code_of

BOT = b"<hello caps=ack,resume,bot>"


class SayingCase(TalkCase):
    """Alice and Bob are in #tea, Alice said something there (id 3), and Bob is in #coffee (id 4)."""

    def setUp(self) -> None:
        super().setUp()
        self.chat.enter(self.alice, b"#tea")
        self.chat.enter(self.bob, b"#tea")
        self.chat.say(self.alice, b"<set_msg>#tea hi")
        self.chat.enter(self.bob, b"#coffee")
        self.bob.heard()

    def all_refused(self, code: str, *lines: bytes, talk: Talk | None = None) -> None:
        """Each is answered with this error and its label, and nothing is posted."""
        for line in lines:
            verb, _, rest = line[1:].partition(b">")
            labelled = b"<%s label=7>%s" % (verb, rest)
            self.assertTrue(self.refused(talk or self.alice, labelled, code, b"7"), line)
        self.assertFalse(self.chat.hub.posting)

    def needs(self, *lines: bytes) -> None:
        """Each is told what is missing."""
        for line in lines:
            sentence = self.refused(self.alice, line, "missing-argument")
            self.assertEqual(sentence, COMMANDS[line[1:].split(b">")[0].split(b" ")[0]].needs)


class Stages(SayingCase):
    """When the new commands are legal."""

    def test_too_early(self) -> None:
        """All need a name."""
        self.eve.say(b"<hello>")
        for verb in (b"join", b"leave", b"get_rooms", b"topic", b"history", b"search", b"edit", b"retract", b"react",
                     b"unread", b"typing", b"away", b"whois", b"ignore", b"unignore", b"mute", b"unmute", b"hide",
                     b"show"):  # fmt: skip
            self.assertEqual(COMMANDS[verb].stage, Stage.JOINED)
            self.refused(self.eve, b"<%s>#tea" % verb, "not-connected")

    def test_capabilities(self) -> None:
        """What a program takes is granted, and without ``ack`` neither coming back nor being a bot."""
        for asked, granted in [
            (b"multiline,typing", b"multiline,typing"),
            (b"typing,bot,resume,multiline,ack", b"ack,resume,bot,multiline,typing"),
            (b"bot,resume", b""),
            (b"ack,bot", b"ack"),
        ]:
            talk = self.chat.connect()
            caps = b" caps=" + granted if granted else b""
            self.assertTrue(talk.answer(b"<hello caps=%s>" % asked)[0].startswith(b"<hello%s server=" % caps))
        # The last hello counts.
        self.assertNotIn(b"caps", talk.answer(b"<hello>")[0])
        self.assertFalse(talk.peer.types)


class Messages(SayingCase):
    """``<set_msg>`` and ``<set_msg_all>``."""

    def test_room(self) -> None:
        """To a room one says something as to a person, however its name is typed."""
        self.assertEqual(
            self.chat.say(self.alice, b"<set_msg label=1>  #TEA  x "), [b"<accepted label=1 id=5>#tea"]
        )
        self.assertEqual(self.bob.heard(), [b"<msg id=5 from=alice to=#tea> x "])

    def test_nobody(self) -> None:
        """Rooms that are not there or not one's own, and bots that are away."""
        self.all_refused("no-such-room", b"<set_msg>#water x")
        self.all_refused("not-in-room", b"<set_msg>#coffee x")
        self.all_refused("bad-name", b"<set_msg># x", b"<set_msg>#a#b x", b"<set_msg>#\xff x")
        self.all_refused("name-reserved", b"<set_msg>#all x")
        bot = self.chat.connect(b"bot", BOT)
        self.chat.say(self.alice, b"<set_msg once=k>bot x")
        self.chat.hub.leave(bot.peer)
        self.all_refused("away", b"<set_msg>bot x", b"<set_msg once=j>bot x")
        self.assertEqual(self.chat.say(self.alice, b"<set_msg once=k>bot x"), [b"<accepted id=5>bot"])

    def test_nothing(self) -> None:
        """Something has to be said, also if it is encoded."""
        self.needs(
            b"<set_msg>#tea", b"<set_msg>#tea  ", b"<set_msg enc=pct>#tea %20%0A%09", b"<set_msg_all enc=pct>%0A",
        )  # fmt: skip

    def test_encoded(self) -> None:
        """Only one encoding is known, and what it encodes is judged like other text."""
        self.all_refused(
            "bad-attribute", b"<set_msg_all enc=b64>x", b"<set_msg_all enc>x", b"<set_msg enc=PCT>bob x"
        )
        self.all_refused(
            "bad-text", b"<set_msg_all enc=pct>100%", b"<set_msg_all enc=pct>%4", b"<set_msg_all enc=pct>%xy",
            b"<set_msg_all enc=pct>%0D", b"<set_msg_all enc=pct>%1B[2J", b"<set_msg_all enc=pct>%FF",
            b"<set_msg enc=pct>bob %00", b"<set_msg_all enc=pct>%E2%80%A8", b"<set_msg enc=pct>bob x\xff",
            b"<set_msg_all enc=pct>x" + b"%0A" * TEXT_LINES_LIMIT,
        )  # fmt: skip
        self.chat.say(self.alice, b"<set_msg_all enc=pct>x" + b"%0a" * (TEXT_LINES_LIMIT - 1))
        self.assertEqual(len(self.bob.heard()), TEXT_LINES_LIMIT)

    def test_reply(self) -> None:
        """What is answered has to be looked up first; what is no id is refused."""
        (request,) = self.alice.say(b"<set_msg reply=3 label=x>#tea y")
        assert isinstance(request, LookUp)
        self.assertEqual((request.id, request.label), (3, b" label=x"))
        self.assertEqual(self.alice.heard(), [])
        self.all_refused(
            "bad-attribute", b"<set_msg reply=x>#tea y", b"<set_msg_all reply>y", b"<set_msg_all reply=-1>y",
            b"<set_msg_all reply=" + b"1" * 19 + b">y", b"<set_msg_all once= reply=1>y",
        )  # fmt: skip

    def test_refused_when_it_was_looked_up(self) -> None:
        """The answer comes with the label, behind what waits."""
        self.alice.say(b"<set_msg_all>1")
        self.chat.mutter(self.alice, b"<set_msg reply=99 label=x>#tea y", b"<ping>")
        self.assertEqual(self.alice.heard(), [])
        self.chat.commit()
        accepted, error, pong = self.alice.heard()
        self.assertEqual((accepted, pong), (b"<accepted id=5>all", b"<pong>"))
        self.assertTrue(error.startswith(b"<error code=no-such-message label=x>"))

    def test_reply_to_what_was_taken_back(self) -> None:
        """Nothing can be said about it any more; what was said before under its key stays said."""
        self.chat.say(self.alice, b"<set_msg>#tea one")
        answered = self.chat.say(self.alice, b"<set_msg reply=5 once=k>#tea two")
        self.chat.say(self.alice, b"<retract>5")
        (error,) = self.chat.say(self.alice, b"<set_msg reply=5>#tea three")
        self.assertTrue(error.startswith(b"<error code=no-such-message>"), error)
        self.assertEqual(self.chat.say(self.alice, b"<set_msg reply=5 once=k>#tea two"), answered)


class About(SayingCase):
    """``<edit>``, ``<retract>`` and ``<react>``."""

    def test_not_yours(self) -> None:
        """Only the author may change it, not even who has her name now; the sentence says which it is."""
        self.chat.say(self.bob, b"<set_msg>#tea one")
        (other,) = self.chat.say(self.alice, b"<edit>5 two")
        self.assertTrue(other.endswith(b"take it back."), other)
        self.chat.hub.leave(self.bob.peer)
        bob = self.chat.connect(b"BOB")
        self.chat.enter(bob, b"#tea")
        (own,) = self.chat.say(bob, b"<edit>5 two")
        self.assertTrue(own.startswith(b"<error code=not-yours>"), own)
        self.assertIn(b"an earlier one of your name", own)

    def test_requests(self) -> None:
        """What it is about has to be looked up first; an id has as many digits as the journal gives."""
        for line, id in [(b"<edit label=x>3 y", 3), (b"<retract label=x> 3 ", 3), (b"<react label=x>3 y", 3),
                         (b"<react label=x>3", 3), (b"<retract label=x>" + b"9" * 19, 10**19 - 1)]:  # fmt: skip
            (request,) = self.alice.say(line)
            assert isinstance(request, LookUp)
            self.assertEqual((request.id, request.label), (id, b" label=x"))
        self.assertEqual(self.alice.heard(), [])

    def test_no_id(self) -> None:
        """What is no id is told where to find one."""
        self.all_refused(
            "bad-argument",
            b"<edit>x y",
            b"<edit>0 y",
            b"<edit>03 y",
            b"<edit>3y",
            b"<edit>" + b"1" * 20 + b" y",
        )
        self.all_refused(
            "bad-argument", b"<retract>x", b"<retract>3 y", b"<retract>-3", b"<retract>" + b"1" * 20
        )
        self.all_refused("bad-argument", b"<react>x", b"<react>\xff", "<react>👍 3".encode(), b"<react>0")
        self.needs(b"<edit>", b"<edit> ", b"<retract>", b"<retract>  ", b"<react>", b"<react> ")

    def test_no_text(self) -> None:
        """A change needs a text; a reaction does not."""
        self.needs(b"<edit>3", b"<edit>3  ", b"<edit enc=pct>3 %0A")

    def test_bad_text(self) -> None:
        """Texts are judged as those of messages are, and a reaction is short."""
        self.all_refused(
            "bad-text",
            b"<edit>3 \x1b",
            b"<edit>3 \xff",
            b"<edit enc=pct>3 5%",
            b"<react>3 \x07",
            b"<react>3 \xff",
        )
        self.all_refused(
            "bad-attribute", b"<edit enc=x>3 y", b"<edit once=>3 y", b"<retract once>3", b"<react once=>3"
        )
        self.all_refused("bad-text", b"<react>3 " + b"x" * (REACTION_LIMIT + 1))
        self.assertEqual(
            self.chat.say(self.alice, b"<react>3  " + b"x" * REACTION_LIMIT + b" "), [b"<accepted id=5>#tea"]
        )

    def test_encoded(self) -> None:
        """A change can have several lines."""
        self.chat.say(self.alice, b"<edit enc=pct>3 a%0Ab")
        self.assertEqual(
            self.bob.heard(),
            [
                b"<msg id=5 from=alice to=#tea edit=3 part=1/2>a",
                b"<msg id=5 from=alice to=#tea edit=3 part=2/2>b",
            ],
        )


class Topics(SayingCase):
    """``<topic>``."""

    def test_bad(self) -> None:
        """Of a room that one is in, in one clean and short line; or none, if it is taken back."""
        self.needs(b"<topic>", b"<topic clear> ")
        for text in (b"", b" x"):
            self.all_refused("not-in-room", b"<topic>#coffee" + text)
            self.all_refused("no-such-room", b"<topic>#water" + text)
            self.all_refused("bad-name", b"<topic>tea" + text, b"<topic>#\xff" + text)
        self.all_refused(
            "bad-text", b"<topic>#tea \x1b", b"<topic>#tea x\xff", b"<topic>#tea " + b"x" * (TOPIC_LIMIT + 1)
        )
        self.all_refused("bad-attribute", b"<topic clear>#tea x", b"<topic once=>#tea x")
        self.assertEqual(
            self.chat.say(self.alice, b"<topic>#tea  " + b"x" * (TOPIC_LIMIT - 1)), [b"<accepted id=5>#tea"]
        )

    def test_ask(self) -> None:
        """Who asks is answered at once, whatever spaces stand around the name; behind what she set herself."""
        self.assertEqual(self.alice.answer(b"<topic label=1> #tea "), [b"<topic label=1 in=#tea>"])
        self.alice.say(b"<topic>#tea Pots")
        self.assertEqual(self.alice.say(b"<topic>#tea"), [Again()])
        self.assertTrue(self.alice.peer.holding)
        self.chat.commit()
        self.assertTrue(self.alice.answer(b"<topic>#tea")[0].endswith(b">Pots"))

    def test_repeated_outside(self) -> None:
        """What was set is set: a repetition has the first answer, also of who has left the room since."""
        said = b"<topic once=k>#tea Pots"
        accepted = self.chat.say(self.alice, said)
        self.chat.say(self.alice, b"<leave>#tea")
        self.assertEqual(self.chat.say(self.alice, said), accepted)
        (error,) = self.chat.say(self.alice, b"<topic once=k>#tea Pans")
        self.assertTrue(error.startswith(b"<error code=key-reused>"), error)


class Fleeting(SayingCase):
    """``<typing>``, ``<away>`` and how far one is."""

    def test_typing(self) -> None:
        """To somebody or in a room, however the name is typed."""
        self.assertEqual(
            self.alice.answer(b"<typing label=1> BOB ", b"<typing label=2>#TEA"),
            [b"<done label=1>", b"<done label=2>"],
        )
        self.all_refused("no-such-user", b"<typing>nobody", b"<typing>all", b"<typing>a b")
        self.all_refused("bad-name", b"<typing>#", b"<typing>\xff", b"<typing>#a b")
        self.all_refused("not-in-room", b"<typing>#coffee")
        self.needs(b"<typing>", b"<typing> ")

    def test_away(self) -> None:
        """The reason is a clean line; spaces alone are none."""
        self.all_refused("bad-text", b"<away>\x07", b"<away>\xff")
        back = [b"<done label=1>You are not away. Type <away>text to say that you are."]
        self.assertEqual(self.alice.answer(b"<away label=1>  "), back)
        self.alice.say(b"<away>lunch")
        self.assertEqual(self.alice.answer(b"<away>"), [b"<done>You are not away any more."])

    def test_read(self) -> None:
        """In a room that one is in; anything else is no place."""
        self.all_refused("bad-attribute", b"<read in=bob>3", b"<read in>3", b"<read in=>3")
        self.all_refused("bad-name", b"<read in=#>3", b"<read in=%00>3", b"<read in=#%ff>3")
        self.all_refused("no-such-room", b"<read in=#water>3")
        self.all_refused("not-in-room", b"<read in=#coffee>3")
        self.all_refused("bad-argument", b"<read in=#tea>x", b"<read>x")
        self.all_refused("not-sent", b"<read in=#tea>9", b"<read>9")
        self.needs(b"<read>", b"<read in=#tea>")
        self.assertEqual(self.bob.answer(b"<read in=#TEA>3", b"<read>3"), [])


class Settings(SayingCase):
    """Rooms and settings."""

    def test_bad(self) -> None:
        """Names and words that do not fit are told what does."""
        for verb in (b"join", b"leave", b"mute", b"unmute"):
            self.all_refused(
                "bad-name", b"<%s>tea" % verb, b"<%s>#" % verb, b"<%s>#\xff" % verb, b"<%s>#a b" % verb
            )
            self.all_refused("name-reserved", b"<%s>#server" % verb)
            self.needs(b"<%s>" % verb, b"<%s>  " % verb)
            if verb != b"join":
                self.all_refused("no-such-room", b"<%s>#water" % verb)
                self.all_refused("not-in-room", b"<%s>#coffee" % verb)
        for verb in (b"ignore", b"unignore"):
            self.all_refused("bad-name", b"<%s>a b" % verb, b"<%s>#tea" % verb, b"<%s>\xff" % verb)
            self.all_refused("name-reserved", b"<%s>me" % verb)
        self.all_refused("to-yourself", b"<ignore>Alice")
        for verb in (b"hide", b"show"):
            self.all_refused("bad-argument", b"<%s>Typing" % verb, b"<%s>#tea" % verb)
            self.all_refused("bad-name", b"<%s>\x01" % verb)
        self.needs(b"<unignore>", b"<hide>", b"<show> ")

    def test_surplus(self) -> None:
        """What takes nothing is not harmed by more, unless that is hostile."""
        for verb in (b"get_rooms", b"unread"):
            self.all_refused("bad-line", b"<%s>\xff" % verb, b"<%s>\x1b" % verb)
        self.assertEqual(code_of(self.alice.answer(b"<get_rooms>please")[-1]), "")
