"""The session: what is legal when, what each line is answered with, and what bad input is told."""

from __future__ import annotations

import shlex
import unicodedata
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat import __version__, rooms, session
from pychat.commands import COMMANDS, Stage
from pychat.errors import PychatError, RemoteProtocolError, ShelfError, TransferError
from pychat.grammar import Line, parse
from pychat.requests import Close, ListFiles, OpenFile
from pychat.session import Session
from pychat.transfer.terms import Terms
from pychat.vocabulary import ERROR_CODES, GOODBYE_CODES, SERVER_LINE_LIMIT, ListedFile, Offer
from tests.chatkit import Chat, Talk, examples

VERSION = __version__.encode()
TERMS = Terms(b"\x01" * 8, b"\x02" * 16, b"\x03" * 32, 12)
OFFER = Offer("a b.txt", "v1", None, 50000, TERMS)


def code_of(line: bytes) -> str:
    """The code of an error line; any other line gives nothing."""
    parsed = parse(line)
    return parsed.attributes[b"code"].decode() if parsed.verb == b"error" else ""


class TalkCase(SynchronousTestCase):
    """Alice and Bob are here, and Eve is connected without a name."""

    def setUp(self) -> None:
        self.chat = Chat()
        self.alice = self.chat.connect(b"alice")
        self.bob = self.chat.connect(b"bob")
        self.eve = self.chat.connect()
        self.alice.heard()

    def refused(self, talk: Talk, line: bytes | None, code: str, label: bytes = b"") -> str:
        """The line is answered with one error of this code and nothing else; return its sentence."""
        answers = talk.answer(line)
        self.assertEqual([code_of(answer) for answer in answers], [code], line)
        self.assertIn(code, ERROR_CODES)
        parsed = parse(answers[0])
        self.assertEqual(parsed.attributes.get(b"label", b""), label)
        self.assertFalse(talk.session.closing)
        sentence = parsed.text.decode()
        self.assertTrue(sentence.isprintable() and sentence, sentence)
        self.assertEqual(talk.answer(b"<ping>alive"), [b"<pong>alive"])
        return sentence


class Opening(TalkCase):
    """From the greeting to ``<connected>``, and to the goodbye."""

    def test_greeting(self) -> None:
        """The greeting tells the first line to type."""
        self.eve.session.greet()
        (line,) = self.eve.heard()
        self.assertTrue(line.startswith(b"<welcome>"))
        self.assertIn(b"<connect>your-name", line)

    def test_connect(self) -> None:
        """The name is confirmed as typed, and the others are told."""
        self.assertEqual(self.eve.answer(b"<connect label=1>  Eve "), [b"<connected label=1>Eve"])
        self.assertEqual(self.alice.heard()[-1:], [b"<joined>Eve"])
        self.assertEqual(self.eve.session.stage, Stage.JOINED)

    def test_not_durable(self) -> None:
        """A daemon that keeps nothing says so."""
        talk = Chat(durable=False).connect()
        self.assertEqual(talk.answer(b"<connect label=1>eve"), [b"<connected label=1 durable=no>eve"])

    def test_hello(self) -> None:
        """The capabilities that are known are granted, and unknown ones ignored."""
        for asked, granted in [(b"", b""), (b" caps=ack", b" caps=ack"), (b" caps=x,ack,", b" caps=ack"),
                               (b" caps=", b""), (b" caps", b""), (b" caps=Ack", b"")]:  # fmt: skip
            talk = self.chat.connect()
            self.assertEqual(talk.session.stage, Stage.NEW)
            answer = b"<hello label=1%s server=pychat/%s>" % (granted, VERSION)
            self.assertEqual(talk.answer(b"<hello label=1%s>" % asked), [answer])
            self.assertEqual(talk.session.stage, Stage.GREETED)

    def test_hello_again(self) -> None:
        """The last hello before the name is the one that counts."""
        self.eve.say(b"<hello caps=ack>", b"<hello>", b"<connect>eve")
        self.alice.say(b"<set_msg>eve hi")
        self.chat.commit()
        self.chat.reach(self.eve)
        self.assertEqual(self.alice.heard()[-1], b"<sent id=1>eve")

    def test_disconnect(self) -> None:
        """A goodbye, a request to close, and nothing that comes later is looked at."""
        self.alice.heard()
        self.assertEqual(self.alice.say(b"<disconnect label=z>", b"<ping>x", None, b"junk"), [Close()])
        self.assertEqual(self.alice.heard(), [b"<goodbye code=bye label=z>Goodbye."])
        self.assertEqual(self.eve.say(b"<disconnect>"), [Close()])

    def test_goodbye(self) -> None:
        """A goodbye comes after the answers to what was posted before."""
        self.alice.say(b"<set_msg_all>hi", b"<disconnect>")
        self.assertEqual(self.alice.heard(), [])
        self.chat.commit()
        self.assertEqual(self.alice.heard(), [b"<accepted id=1>all", b"<goodbye code=bye>Goodbye."])
        for code in GOODBYE_CODES:
            talk = self.chat.connect()
            talk.session.goodbye(code, "So long.")
            self.assertEqual(talk.heard(), [b"<goodbye code=%s>So long." % code.encode()])
            self.assertTrue(talk.session.closing)


class Plainly:
    """A chat in which the same is said, with or without the fast way for plain lines."""

    def __init__(self, quickly: bool) -> None:
        self.often = session._OFTEN if quickly else b"nothing"
        self.chat = Chat()
        self.talks = [self.chat.connect(name) for name in (b"Alice", b"bob", b"\xc3\xa9mile")]
        newcomer = Talk(self.chat.hub)
        bot = Talk(self.chat.hub)
        bot.say(b"<hello caps=ack,resume,bot>", b"<connect>bot")
        bot.heard()
        self.chat.hub.leave(bot.peer)
        self.talks += [newcomer, self.chat.connect(b"carol", b"<hello caps=ack>")]
        self.talks[0].say(b"<join>#tea")
        self.chat.commit()
        self.talks[1].say(b"<ignore>carol")
        self.chat.commit()
        self.heard()

    def say(self, number: int, line: bytes) -> None:
        with mock.patch.object(session, "_OFTEN", self.often):
            self.talks[number].say(line)

    def heard(self) -> list[list[bytes]]:
        return [talk.heard() for talk in self.talks]


HEADS = (
    b"<set_msg_all>", b"<set_msg>", b"<set_msg>bob ", b"<set_msg>Bob ", b"<set_msg> bob ", b"<set_msg>bob",
    b"<set_msg>Alice ",
    b"<set_msg>carol ", b"<set_msg>bot ", b"<set_msg>#tea ", b"<set_msg>nobody ", b"<set_msg label=1>bob ",
    b"<set_msg_all >",
    "<set_msg>émile ".encode(), b"<set_msg>\xff ", b"<set_msgs>", b"<set_msg_all>>", b"<set_msg", b"<ack>",
)  # fmt: skip
TEXTS = (
    b"", b" ", b"  ", b" a", b"a ", b"hi", b"\t", b"a\tb", b"\xff", b"\x00", b"a\x1bb", "\u202eé".encode(), b"<x>",
    b"a\r",
    b"%0A", b"\xe2\x80\xa8", b"a" * 4000, b"1", b"4", b"5", b"0", b"04", b" 4", b"4 ", b"9" * 18, b"9" * 19, b"9" * 20,
)  # fmt: skip


class Quickly(SynchronousTestCase):
    """The fast way of plain lines is the same as the one for all lines."""

    @examples(150)
    @given(
        st.lists(
            st.tuples(st.integers(0, 4), st.sampled_from(HEADS), st.sampled_from(TEXTS)),
            min_size=1,
            max_size=12,
        )
    )
    def test_same(self, said: list[tuple[int, bytes, bytes]]) -> None:
        """Everybody is told the same, line by line."""
        quick, slow = Plainly(True), Plainly(False)
        for number, head, text in said:
            for plainly in (quick, slow):
                plainly.say(number, head + text)
            self.assertEqual(quick.chat.hub.posting, slow.chat.hub.posting)
        for plainly in (quick, slow):
            if plainly.chat.hub.posting:
                plainly.chat.commit()
        self.assertEqual(quick.heard(), slow.heard())


class Answers(TalkCase):
    """Each line has one closing answer, in the order of the lines, and its label comes back."""

    def test_labels(self) -> None:
        """A label comes back on every line that answers, lists and errors too, byte for byte."""
        full = self.chat.connect(b"carol", b"<hello>")
        self.alice.heard()
        for label in (b"7", b"x" * 64, "é日".encode(), b"%s%d", b"<a=b", b"\\1"):
            for talk, line, verbs in [
                (self.alice, b"<get_users label=%s>", [b"user"] * 3 + [b"users"]),
                (self.alice, b"<help label=%s>", [b"command"] * len(COMMANDS) + [b"commands"]),
                (self.alice, b"<help label=%s>ping", [b"command"] * 2 + [b"commands"]),
                (self.alice, b"<ping label=%s>x", [b"pong"]),
                (self.alice, b"<hello label=%s>", [b"error"]),
                (self.alice, b"<dance label=%s>", [b"error"]),
                (self.alice, b"<ack label=%s>99", [b"error"]),
                (self.alice, b"<set_msg label=%s>nobody x", [b"error"]),
                (self.eve, b"<get_users label=%s>", [b"error"]),
                (self.eve, b"<set_msg_all label=%s>", [b"error"]),
                (self.eve, b"<connect label=%s>alice", [b"error"]),
                (full, b"<set_msg_all label=%s>\x07", [b"error"]),
            ]:
                answers = [parse(answer) for answer in talk.answer(line.replace(b"%s", label, 1))]
                self.assertEqual([answer.verb for answer in answers], verbs)
                self.assertEqual({answer.attributes[b"label"] for answer in answers}, {label}, line)

    def test_labels_of_posts(self) -> None:
        """The label of a message comes back on ``<accepted>``, and nobody else sees it."""
        self.alice.say(b"<set_msg label=a>bob hi", b"<set_msg_all label=b>hi")
        self.chat.commit()
        self.assertEqual(self.alice.heard(), [b"<accepted label=a id=1>bob", b"<accepted label=b id=2>all"])
        self.assertNotIn(b"label", b"".join(self.bob.heard()))

    def test_labels_of_refused_posts(self) -> None:
        """A message that the journal refused is answered with the label, in its place."""
        self.alice.say(b"<set_msg label=a>bob hi", b"<ping label=b>x")
        self.chat.refuse()
        self.assertEqual(
            self.alice.heard(),
            [b"<error code=journal-unavailable label=a>The disk is full. Try again.", b"<pong label=b>x"],
        )

    def test_order(self) -> None:
        """Answers keep the order of the lines, whatever waits for the journal, over several batches."""
        self.alice.heard()
        self.alice.say(b"<ping>1", b"<set_msg_all>a", b"<ping>2", b"<dance>", b"<set_msg>bob b", b"<ping>3")
        first = self.chat.hub.take(0)
        self.alice.say(b"<ping>4", b"<set_msg_all>c", b"<ping>5", b"<get_users>")
        second = self.chat.hub.take(0)
        assert first is not None
        assert second is not None
        self.assertEqual(self.alice.heard(), [b"<pong>1"])
        self.chat.hub.appended(first[0], [1, 2], 0, 0.0)
        answers = self.alice.heard()
        self.assertEqual(code_of(answers.pop(2)), "unknown-command")
        self.assertEqual(
            answers, [b"<accepted id=1>all", b"<pong>2", b"<accepted id=2>bob", b"<pong>3", b"<pong>4"]
        )
        self.chat.hub.appended(second[0], [3], 0, 0.0)
        self.assertEqual(
            self.alice.heard(),
            [b"<accepted id=3>all", b"<pong>5", b"<user>alice", b"<user>bob", b"<users count=2>"],
        )

    def test_notices_do_not_wait(self) -> None:
        """What others do is told at once, also while answers wait."""
        self.alice.say(b"<set_msg_all>a", b"<ping>1")
        self.eve.say(b"<connect>eve")
        self.assertEqual(self.alice.heard(), [b"<joined>eve"])

    def test_no_answer(self) -> None:
        """``<ack>``, ``<pong>`` and an empty line get no answer unless they are wrong."""
        self.bob.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.assertEqual(self.alice.answer(b"<ack>1", b"<ack> 1 ", b"<pong>x", b"<pong>", b""), [])

    def test_spaces_are_no_empty_line(self) -> None:
        """A line of spaces is not an empty line."""
        self.refused(self.alice, b" ", "bad-line")

    def test_cut_short(self) -> None:
        """A last line without its end is answered, and nothing of it is used."""
        self.alice.heard()
        self.alice.session.cut_short()
        self.assertEqual([code_of(line) for line in self.alice.heard()], ["bad-line"])

    def test_unknown_attributes(self) -> None:
        """Attributes that are not known are ignored, in any order, with and without a value."""
        self.assertEqual(self.alice.answer(b"<ping  x label=1   y=2 z=>t"), [b"<pong label=1>t"])

    def test_ping(self) -> None:
        """The text comes back as it was, on any stage."""
        for talk in (self.alice, self.eve):
            for text in (b"", b" x ", b"a\tb", "é".encode(), b"<>"):
                self.assertEqual(talk.answer(b"<ping>" + text), [b"<pong>" + text])

    def test_text_is_verbatim(self) -> None:
        """Message text keeps its spaces, TABs and brackets; one space ends the name."""
        for line, text in [
            (b"<set_msg>bob hi", b"hi"),
            (b"<set_msg>  bob  hi ", b" hi "),
            (b"<set_msg>BOB <b>\thi</b>", b"<b>\thi</b>"),
            (b"<set_msg_all>  hi  ", b"  hi  "),
            (b"<set_msg_all>\t", b"\t"),
        ]:
            self.bob.heard()
            self.alice.say(line)
            self.chat.commit()
            self.assertEqual(parse(self.bob.heard()[0]).text, text)


class Files(TalkCase):
    """Requests for files, and what is said when they are carried out."""

    def test_listfiles(self) -> None:
        """A list is asked for with its label and said with it."""
        self.assertEqual(
            self.alice.say(b"<listfiles label=q>", b"<listfiles>"), [ListFiles(b" label=q"), ListFiles(b"")]
        )
        self.alice.heard()
        self.alice.session.listed([ListedFile("a.txt", 3), ListedFile("b/é.txt", 0)], 0, b" label=q")
        self.assertEqual(
            self.alice.heard(),
            [
                b"<file label=q size=3>a.txt",
                "<file label=q size=0>b/é.txt".encode(),
                b"<files label=q count=2>",
            ],
        )
        self.alice.session.listed([], 5, b"")
        self.assertEqual(self.alice.heard(), [b"<files count=0 left_out=5>"])

    def test_before_connect(self) -> None:
        """After ``<hello>`` files need no name; before it they do."""
        self.refused(self.eve, b"<listfiles>", "not-connected")
        self.refused(self.eve, b"<download>x", "not-connected")
        self.eve.say(b"<hello>")
        self.assertEqual(
            self.eve.say(b"<listfiles>", b"<download>x"), [ListFiles(b""), OpenFile("x", b"", offer=True)]
        )

    def test_download(self) -> None:
        """A file's name is taken without the spaces around it; what is not UTF-8 names nothing."""
        for text, name in [(b"a.txt", "a.txt"), (b" a b ", "a b"), ("é".encode(), "é"), (b"a\0\x1b", "a\0\x1b"),
                           (b"../x", "../x"), (b"\xff", "")]:  # fmt: skip
            self.assertEqual(
                self.alice.say(b"<download label=1>" + text), [OpenFile(name, b" label=1", offer=False)]
            )

    def test_plain_answer(self) -> None:
        """A plain client is told the exact words to type into a shell, and no key."""
        for name in ("a.txt", "a b's $x.txt", "-o", "--help", "é\\n.txt"):
            self.alice.heard()
            self.alice.session.found(name, 12, b" label=1")
            (line,) = self.alice.heard()
            self.assertTrue(line.startswith(b"<get label=1 size=12>pychat get 127.0.0.1:50000 "))
            words = shlex.split(parse(line).text.decode())
            self.assertEqual(words[:3], ["pychat", "get", "127.0.0.1:50000"])
            self.assertEqual(words[3:], ["--", name] if name.startswith("-") else [name])

    def test_offer(self) -> None:
        """An offer carries all that is needed to fetch the file; the host only if it is another one."""
        head = b"<offer label=1 size=12 version=v1%s port=50000 transfer=%s token=%s key=%s>a b.txt"
        secrets = (b"01" * 8, b"02" * 16, b"03" * 32)
        for host, shown in ((None, b""), ("::1", b" host=::1")):
            self.alice.heard()
            self.alice.session.offered(Offer(OFFER.name, OFFER.version, host, OFFER.port, TERMS), b" label=1")
            self.assertEqual(self.alice.heard(), [head % (shown, *secrets)])

    def test_errors(self) -> None:
        """What the shelf or the UDP side refuses is an answer like any other, behind what waits."""
        self.alice.say(b"<set_msg_all>hi", b"<download label=2>x")
        self.alice.session.failed(ShelfError("no-such-file", "There is no such file."), b" label=2")
        self.assertEqual(self.alice.heard(), [])
        self.chat.commit()
        self.assertEqual(
            self.alice.heard(),
            [b"<accepted id=1>all", b"<error code=no-such-file label=2>There is no such file."],
        )


class Help(TalkCase):
    """``<help>`` is printed from the table of commands."""

    def test_all(self) -> None:
        """Each command is there with what it takes and does."""
        *lines, end = [parse(line) for line in self.eve.answer(b"<help>")]
        self.assertEqual(end, Line(b"commands", {b"count": b"%d" % len(COMMANDS)}, b""))
        for line, command in zip(lines, COMMANDS.values(), strict=True):
            self.assertEqual(line.verb, b"command")
            usage = f"<{command.verb}>{command.takes}"
            self.assertEqual(line.text.decode().split(usage)[1].strip(), command.summary)

    def test_one(self) -> None:
        """One command comes with an example that works, however it is asked for."""
        for verb in COMMANDS:
            first = self.eve.answer(b"<help>" + verb)
            self.assertEqual(first, self.eve.answer(b"<help> <" + verb + b"> "))
            self.assertEqual(first, self.eve.answer(b"<help>" + verb.upper()))
            self.assertGreaterEqual(len(first), 3)
            for line in first[1:-1]:
                self.assertEqual(parse(parse(line).text.partition(b": ")[2]).verb, verb)

    def test_unknown(self) -> None:
        """Help about what is not there says so, with what may be meant."""
        self.assertIn("<get_users>", self.refused(self.eve, b"<help>get_user", "unknown-command"))


class Slips(TalkCase):
    """What is typed nearly right is answered with what was meant."""

    def test_meant(self) -> None:
        """The right line stands at the end of the sentence."""
        for typed, meant in [
            (b"join #tea", "<join>#tea"), (b"/join #tea", "<join>#tea"), (b"<join #tea>", "<join>#tea"),
            (b"<react 5>x", "<react>5 x"), (b"<edit 5 >new text", "<edit>5 new text"),
            (b"set_msg> bob hi", "<set_msg>bob hi"),
            (b"help", "<help>"), (b"/help", "<help>"), (b"Help ", "<help>"), (b"<help", "<help>"),
            (b"/get_users", "<get_users>"), (b"listfiles", "<listfiles>"), (b"/set_msg all hi", "<set_msg_all>hi"),
            (b"quit", "<disconnect>"), (b"/quit", "<disconnect>"), (b"EXIT", "<disconnect>"),
            (b"/exit", "<disconnect>"), (b"bye", "<disconnect>"), (b"/disconnect", "<disconnect>"),
        ]:  # fmt: skip
            self.assertTrue(
                self.refused(self.alice, typed, "bad-line").endswith(f"Did you mean {meant}"), typed
            )
        for typed in (
            b"hello there",
            b"hello",
            b"quit smoking",
            b"dance #tea",
            b"/get_rooms now",
            b"join",
            b"<join #tea\xff>",
            b"<join " + b"x" * 300 + b" >",
        ):
            self.assertNotIn("Did you mean", self.refused(self.alice, typed, "bad-line"))
        sentence = self.refused(self.alice, b"<set_msg bob>hi", "missing-argument")
        self.assertTrue(sentence.endswith("Did you mean <set_msg>bob hi"), sentence)
        self.assertTrue(
            self.refused(self.alice, b"<join tea>", "missing-argument").endswith("Did you mean <join>tea")
        )
        for typed in (
            b"<set_msg once=k>",
            b"<set_msg once>",
            b"<set_msg bob>\x1b",
            b"<set_msg bob>" + b"x" * 300,
        ):
            self.assertNotIn("Did you mean", self.refused(self.alice, typed, "missing-argument"))

    def test_leaving(self) -> None:
        """Who wants to leave is told how, at any time, and only then."""
        for talk in (self.alice, self.eve):
            for typed in (b"quit", b"/exit", b"bye"):
                sentence = self.refused(talk, typed, "bad-line")
                self.assertTrue(sentence.endswith("Did you mean <disconnect>"), sentence)
            for typed in (b"<quit>", b"<exit>", b"<bye>now", b"<help>quit"):
                self.assertIn("Did you mean <disconnect>?", self.refused(talk, typed, "unknown-command"))
        self.assertTrue(self.refused(self.eve, b"/help", "bad-line").endswith("<help> for more."))

    def test_all_are_meant(self) -> None:
        """Who takes everybody for a person is told what to type, with what was said as far as it can be shown."""
        for typed, code, meant in [
            (b"<set_msg all>hi", "missing-argument", "Did you mean <set_msg_all>hi"),
            (b"<set_msg all>", "missing-argument", "Did you mean <set_msg_all>your text"),
            (b"<set_msg all hi there>", "missing-argument", "Did you mean <set_msg_all>hi there"),
            (b"<set_msg all>hi there", "no-such-user", "Did you mean <set_msg_all>hi there"),
            (b"<set_msg bob>hi there", "no-such-user", "Did you mean <set_msg>bob hi there"),
            (b"<set_msg>all hi there", "no-such-user", "To talk to everybody: <set_msg_all>hi there"),
            (b"<set_msg> Everyone hi", "no-such-user", "To talk to everybody: <set_msg_all>hi"),
            (b"<set_msg once=k>all hi", "no-such-user", "To talk to everybody: <set_msg_all>hi"),
            (b"<set_msg enc=pct>all hi%0A", "no-such-user", "To talk to everybody: <set_msg_all>your text"),
            (b"<set_msg>all \x1b[2J", "no-such-user", "To talk to everybody: <set_msg_all>your text"),
            (b"<set_msg>all " + b"x" * 300, "no-such-user", "To talk to everybody: <set_msg_all>your text"),
            (b"<set_msg carol>hi there", "no-such-user", "Type <get_users> to see who is here."),
            (b"<set_msg bob>hi \x1b[2J", "no-such-user", "Type <get_users> to see who is here."),
        ]:  # fmt: skip
            sentence = self.refused(self.alice, typed, code)
            self.assertTrue(sentence.endswith(meant), (typed, sentence))
        self.assertIn("reserved", self.refused(self.alice, b"<set_msg>all hi", "no-such-user"))

    def test_a_room_is_meant(self) -> None:
        """Who forgets the #, or names a room where a person is asked for, is told so."""
        self.alice.say(b"<join>#tea")
        self.chat.commit()
        self.assertIn("Did you mean #tea?", self.refused(self.bob, b"<set_msg>tea hi", "no-such-user"))
        self.assertIn("<mute>#tea", self.refused(self.bob, b"<ignore>#tea", "bad-name"))
        self.assertIn("no word", self.refused(self.bob, b"<search>?!", "bad-argument"))


class BadInput(TalkCase):
    """What must not be typed is told what to type instead."""

    def test_too_early(self) -> None:
        """A command before ``<connect>`` is told what to type instead."""
        for line in (
            b"<get_users>",
            b"<set_msg>bob hi",
            b"<set_msg_all>hi",
            b"<listfiles>",
            b"<download>x",
            b"<ack>1",
        ):
            self.assertIn("<connect>your-name", self.refused(self.eve, line, "not-connected"))
        self.eve.say(b"<hello>")
        for line in (b"<get_users>", b"<set_msg>bob hi", b"<set_msg_all>hi", b"<ack>1"):
            self.refused(self.eve, line, "not-connected")

    def test_second_connect(self) -> None:
        """A second ``<connect>`` is told its name and the way to another."""
        for line in (b"<connect>alice", b"<connect>carol", b"<connect>\x1b"):
            sentence = self.refused(self.alice, line, "already-connected")
            self.assertIn("alice", sentence)
            self.assertIn("<disconnect>", sentence)
        self.refused(self.alice, b"<hello>", "already-connected")

    def test_unknown_verb(self) -> None:
        """An unknown verb, however long, is told of ``<help>``, and of what may be meant."""
        for line, hint in [
            (b"<get_user>", "<get_users>"), (b"<setmsg>bob hi", "<set_msg>"), (b"<qqqq>", "<help>"),
            (b"<" + b"z" * 4000 + b">", "<help>"), (b"<msg id=1>x", "<help>"), (b"<_>", "<help>"),
        ]:  # fmt: skip
            self.assertIn(hint, self.refused(self.alice, line, "unknown-command"))

    def test_no_command(self) -> None:
        """A line without its ``<`` or ``>`` is told what a line looks like."""
        for line in (
            b"hello",
            b"connect alice",
            b"<set_msg_all hello",
            b">",
            b"GET / HTTP/1.1",
            b"<>",
            b"<CONNECT>x",
        ):
            self.assertIn("<", self.refused(self.alice, line, "bad-line"))

    def test_missing_argument(self) -> None:
        """A command without what it needs is told how to type it."""
        for line, words in [(b"<set_msg>", "<set_msg>name your text"), (b"<set_msg>bob", "<set_msg>name your text"),
                            (b"<set_msg> bob  ", "<set_msg>name your text"), (b"<set_msg_all>", "<set_msg_all>"),
                            (b"<set_msg_all>   ", "<set_msg_all>"), (b"<download>", "<listfiles>"),
                            (b"<ack> ", "<ack>id")]:  # fmt: skip
            self.assertIn(words, self.refused(self.alice, line, "missing-argument"))

    def test_unknown_user(self) -> None:
        """A message to nobody, or to what is no name, is told where to look."""
        for name in (b"carol", b"server", b"a" * 4000, "аlice".encode()):
            sentence = self.refused(self.alice, b"<set_msg>" + name + b" hi", "no-such-user")
            self.assertIn("<get_users>", sentence)
        for name in (b"\xff", b"b\0b", b"\x1b[2J"):
            self.refused(self.alice, b"<set_msg>" + name + b" hi", "bad-name")

    def test_to_yourself(self) -> None:
        """A message to yourself is refused, however the name is typed."""
        for name in (b"alice", b"ALICE", "ａｌｉｃｅ".encode()):
            self.assertIn(
                "<get_users>", self.refused(self.alice, b"<set_msg>" + name + b" hi", "to-yourself")
            )

    def test_names(self) -> None:
        """A name that cannot be had is told the rule and a name that can."""
        for name, code in [
            (b"alice", "name-taken"), (b"ALICE", "name-taken"), (b"Server", "name-reserved"),
            (b"all", "name-reserved"), (b"a" * 33, "bad-name"), ("日".encode() * 40, "bad-name"),
            (b"bob smith", "bad-name"), (b"a<b", "bad-name"), (b"a>b", "bad-name"), (b"#room", "bad-name"),
            ("pаypal".encode(), "bad-name"), (b"a\x07b", "bad-name"), (b"a\x1b[31mb", "bad-name"),
            (b"a\0", "bad-name"), (b"a\rb", "bad-name"), (b"a\tb", "bad-name"), (b"a\x7f", "bad-name"),
            ("a\u0085b".encode(), "bad-name"), ("a\u2028b".encode(), "bad-name"), ("a\u202eb".encode(), "bad-name"),
            (b"\xff\xfe", "bad-name"), (b"caf\xe9", "bad-name"), (b"-", "bad-name"), (b"<connect>x", "bad-name"),
        ]:  # fmt: skip
            sentence = self.refused(self.eve, b"<connect>" + name, code)
            rule, _, free = sentence.partition(" Free now: <connect>")
            self.assertTrue(rule, sentence)
            talk = self.chat.connect()
            self.assertEqual(
                talk.answer(b"<connect>" + free.encode()), [b"<connected>" + free.encode()], name
            )
            self.chat.hub.leave(talk.peer)

    def test_surplus(self) -> None:
        """What stands after a command that takes nothing is ignored, unless it is hostile."""
        for verb in (b"get_users", b"listfiles", b"disconnect", b"hello", b"pong"):
            for hostile in (b"\0", b"\xff", b"\x1b[2J", "\u2028".encode()):
                self.refused(self.alice, b"<%s>%s" % (verb, hostile), "bad-line")
        self.assertEqual(self.alice.answer(b"<get_users>please")[-1][:6], b"<users")
        self.assertEqual(self.alice.answer(b"<pong>x"), [])

    def test_help_with_attributes(self) -> None:
        """What a person may add to a command stands in its help."""
        for verb, attributes in (
            (b"get_users", (b"limit", b"more")),
            (b"history", (b"limit", b"before", b"after")),
            (b"search", (b"in", b"from", b"limit", b"more")),
        ):
            told = b"\n".join(self.alice.answer(b"<help>" + verb))
            for attribute in attributes:
                self.assertIn(b" %s=" % attribute, told)

    def test_hint(self) -> None:
        """Who types something that is no command is told one that would do here."""
        self.assertIn("<connect>your-name", self.refused(self.eve, b"hello", "bad-line"))
        self.assertIn("<set_msg_all>your text", self.refused(self.alice, b"hello", "bad-line"))
        self.assertIn("<help>", self.refused(self.alice, b"<Ping>x", "bad-line"))

    def test_no_name(self) -> None:
        """A ``<connect>`` without a name is told the rule and a name that is free."""
        for line in (b"<connect>", b"<connect>   "):
            self.assertIn("Free now: <connect>guest", self.refused(self.eve, line, "bad-name"))

    def test_once_after_the_recipient_left(self) -> None:
        """A repeated message gets its first id although nobody has the name any more; another one does not."""
        self.alice.say(b"<set_msg once=k>BOB hi")
        (first,) = self.chat.commit()
        self.chat.hub.leave(self.bob.peer)
        self.alice.heard()
        self.alice.say(b"<set_msg once=k>bob hi")
        self.assertEqual(self.chat.commit(), [])
        self.assertEqual(self.alice.heard(), [b"<accepted id=%d>bob" % first])
        for line in (
            b"<set_msg once=other>bob hi",
            b"<set_msg once=k>carl hi",
            b"<set_msg once=k>\xc3\xa9! hi",
        ):
            self.refused(self.alice, line, "no-such-user")
        self.refused(self.alice, b"<set_msg once=k>bob ho", "key-reused")

    def test_goodbye_frees_the_name(self) -> None:
        """Who says goodbye is shown nothing more, and the name is free, while the last bytes are on their way."""
        self.alice.say(b"<set_msg>bob hi")
        (first,) = self.chat.commit()
        self.bob.say(b"<disconnect>")
        self.chat.hub.part(self.bob.peer)
        self.assertEqual(self.alice.heard()[-1], b"<left>bob")
        self.refused(self.alice, b"<set_msg>bob hi", "no-such-user")
        self.bob.heard()
        self.alice.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.assertEqual(self.bob.heard(), [])
        self.assertEqual(self.eve.answer(b"<connect>bob")[-1], b"<connected>bob")
        self.alice.heard()
        self.chat.hub.reached(self.bob.peer, 1 << 30)
        self.chat.hub.leave(self.bob.peer)
        self.assertEqual(self.alice.heard(), [b"<sent id=%d>bob" % first])

    def test_long_line(self) -> None:
        """A line that was too long is told so once, and nothing of it is used."""
        self.assertIn("4,096", self.refused(self.alice, None, "line-too-long"))
        self.assertFalse(self.chat.hub.posting)

    def test_hostile_bytes(self) -> None:
        """Bytes that are not UTF-8, NUL and CR in a line get one error each, and nobody else sees anything."""
        for line, code in [
            (b"\xff\xfb\x01", "bad-line"), (b"\0", "bad-line"), (b"\0<ping>x", "bad-line"), (b"\r<ping>x", "bad-line"),
            (b"<ping\0>x", "bad-line"), (b"<ping a=\xff>", "bad-line"), (b"<ping label=\x1b[2J>", "bad-line"),
            (b"<set_msg_all>\xff", "bad-text"), (b"<set_msg_all>a\0b", "bad-text"), (b"<set_msg_all>a\rb", "bad-text"),
            (b"<set_msg_all>a\r", "bad-text"), (b"<set_msg_all>\x03", "bad-text"), (b"<set_msg>bob \xc3", "bad-text"),
            (b"<ping>\x1b", "bad-text"), (b"<ack>\x001", "bad-argument"), (b"<help>\x1b[2J", "unknown-command"),
        ]:  # fmt: skip
            self.bob.heard()
            self.refused(self.alice, line, code)
            self.assertEqual(self.bob.heard(), [])
        self.assertFalse(self.chat.hub.posting)

    def test_hostile_text(self) -> None:
        """Terminal escapes, C1, line separators and heaps of bidi controls are refused."""
        for text in (
            "\x1b[2J",
            "\x1b]0;x\x07",
            "\x9b2J",
            "a\u2028b",
            "a\u2029b",
            "\u0085",
            "\x7f",
            "\b",
            "\u202e" * 101,
        ):
            self.refused(self.alice, b"<set_msg_all>" + text.encode(), "bad-text")
            self.refused(self.alice, b"<set_msg>bob " + text.encode(), "bad-text")
        self.assertFalse(self.chat.hub.posting)

    def test_bidi(self) -> None:
        """Bidi overrides reach a plain client isolated, and one that said hello verbatim."""
        full = self.chat.connect(b"carol", b"<hello>")
        for line in (
            "<set_msg_all>\u202egnp.exe",
            "<set_msg>bob \u202egnp.exe",
            "<set_msg>carol \u202egnp.exe",
        ):
            self.alice.say(line.encode())
        self.chat.commit()
        texts = [
            parse(line).text.decode() for talk in (self.bob, full) for line in talk.heard() if b"<msg" in line
        ]
        self.assertEqual(texts, ["\u2068\u202egnp.exe\u2069"] * 2 + ["\u202egnp.exe"] * 2)

    def test_attributes(self) -> None:
        """Attributes that are given twice, empty or too long are refused."""
        for line in (
            b"<ping a=1 a=2>", b"<ping label=>", b"<ping label>", b"<ping label=" + b"x" * 65 + b">",
            b"<ping label=" + "é".encode() * 33 + b">", b"<set_msg_all once=>x", b"<set_msg_all once>x",
            b"<set_msg bob once=" + b"x" * 65 + b">bob x",
        ):  # fmt: skip
            self.refused(self.alice, line, "bad-attribute")
        self.refused(self.alice, b"<set_msg_all label=7 once=>x", "bad-attribute", b"7")
        self.alice.say(b"<set_msg_all once=" + b"x" * 64 + b">x")
        self.assertEqual(self.chat.commit(), [1])

    def test_acks(self) -> None:
        """An ack of what is no id, or of what was not sent, is refused."""
        for text in (
            b"x",
            b"0",
            b"-1",
            b"+1",
            b"01",
            b"1 2",
            b"1.0",
            b"9" * 20,
            b"1" * 4000,
            "١".encode(),
            b"\t1",
        ):
            self.refused(self.alice, b"<ack>" + text, "bad-argument")
        self.refused(self.alice, b"<ack>" + b"9" * 19, "not-sent")

    def test_every_code(self) -> None:
        """Each error code is produced, and no other one."""
        seen = set()
        self.alice.say(b"<set_msg_all once=k>x")
        for talk, line in [
            (self.alice, b"x"), (self.alice, None), (self.alice, b"<x>"), (self.alice, b"<ack>"),
            (self.alice, b"<ack>x"), (self.alice, b"<ping a a>"), (self.alice, b"<ping>\0"),
            (self.eve, b"<connect>#"), (self.eve, b"<connect>me"),
            (self.eve, b"<connect>bob"), (self.eve, b"<get_users>"), (self.alice, b"<connect>x"),
            (self.alice, b"<set_msg>x x"), (self.alice, b"<set_msg>alice x"), (self.alice, b"<ack>1"),
            (self.alice, b"<set_msg_all once=k>y"), (self.alice, b"<join>#tea"), (self.bob, b"<leave>#tea"),
            (self.bob, b"<leave>#coffee"),
        ]:  # fmt: skip
            talk.say(line)
            self.chat.commit()
        self.patch(rooms, "ROOMS_LIMIT", 1)
        self.alice.say(b"<join>#coffee")
        self.bob.session.uploads = False
        self.bob.say(b"<upload>x")
        bot = self.chat.connect(b"bot", b"<hello caps=ack,resume,bot>")
        self.chat.hub.leave(bot.peer)
        back = Talk(self.chat.hub)
        back.say(b"<hello caps=ack,resume,bot>", b"<connect resume=x>bot")
        self.alice.say(b"<set_msg>bot x", b"<set_msg_all>x")
        self.chat.refuse()
        # These come from the journal, the shelf and the UDP side, as answers to a request.
        errors: list[PychatError] = [
            RemoteProtocolError(code, "x") for code in ("no-such-message", "not-yours", "blocked")
        ]
        errors += [ShelfError(code, "x") for code in (
            "no-such-file", "read-failed", "exists", "arrived", "in-use", "over-quota", "no-space", "cannot-write"
        )]  # fmt: skip
        errors += [TransferError(code, "x") for code in ("busy", "going-away", "no-such-transfer")]
        for error in errors:
            self.alice.session.failed(error, b"")
        for talk in (self.alice, self.bob, self.eve, back):
            seen |= {code_of(line) for line in talk.heard()} - {""}
        self.assertEqual(seen, set(ERROR_CODES))

    @examples(200)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=30),
                st.builds(
                    lambda verb, attributes, text: b"<%s%s>%s" % (verb, attributes, text),
                    st.sampled_from([*COMMANDS, b"dance"]),
                    st.sampled_from([b"", b" label=1", b" once=k", b" caps=ack", b" a a", b" label="]),
                    st.one_of(
                        st.sampled_from(
                            [b"", b"bob", b"bob hi", b"alice x", b"1", b"\xff", "\u202e".encode()]
                        ),
                        st.binary(max_size=9),
                    ),
                ),
            ),
            max_size=12,
        )
    )
    def test_anything(self, lines: list[bytes]) -> None:
        """Whatever is said, every answer is one clean line that parses, and nothing else is raised."""
        chat = Chat()
        chat.connect(b"bob")
        talk = chat.connect(b"")
        for line in lines:
            if b"\n" not in line:
                talk.say(line)
            chat.commit()
        for line in talk.heard():
            self.assertLessEqual(len(line), SERVER_LINE_LIMIT - 1)
            parse(line)
            for character in line.decode():
                self.assertTrue(
                    character == "\t" or unicodedata.category(character) not in ("Cc", "Zl", "Zp"), line
                )

    def test_longest_answers(self) -> None:
        """The longest line that a client can cause stays within a server line."""
        name = ("Ａ" * 32).encode()
        sender, full = self.chat.connect(name, b"<hello>"), self.chat.connect("ｂ".encode() * 32, b"<hello>")
        label = b" label=" + b"x" * 64
        bidi = "\u2069".encode() * 100
        for head in (
            b"<set_msg_all%s>" % label,
            b"<set_msg%s>bob " % label,
            b"<set_msg>" + "ｂ".encode() * 32 + b" ",
        ):
            sender.say(head + bidi + b"y" * (4095 - len(head) - len(bidi)))
            self.chat.commit()
        sender.say(
            b"<ping%s>" % label + b"z" * 4000,
            b"<" + b"q" * 4094,
            b"<set_msg%s>" % label + b"n" * 4000 + b" x",
        )
        for talk in (self.alice, self.bob, full, sender):
            self.assertLess(max(map(len, talk.heard())), SERVER_LINE_LIMIT)


class Table(SynchronousTestCase):
    """The table of commands and the session agree."""

    def test_handlers(self) -> None:
        """Each command has a method, and each such method a command."""
        methods = {name[4:].encode() for name in dir(Session) if name.startswith("_do_")}
        self.assertEqual(methods, set(COMMANDS))

    def test_codes_are_documented(self) -> None:
        """Each code has a word of explanation."""
        for code, meaning in {**ERROR_CODES, **GOODBYE_CODES}.items():
            self.assertRegex(code, r"\A[a-z]+(-[a-z]+)*\Z")
            self.assertTrue(meaning)
