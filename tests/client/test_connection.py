"""Tests of `pychat.client.connection`: commands and answers, notices, acknowledgements, and a hostile daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import error as twisted_error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pychat.client import asking, calls
from pychat.client.answers import (
    Answer,
    Joined,
    LinkError,
    Page,
    Recipient,
    Refused,
    User,
    cannot_connect,
    message_id,
    read_text,
)
from pychat.client.connection import ANSWER_TIMEOUT, CLOSE_TIMEOUT, CONNECT_TIMEOUT, Client, connect
from pychat.errors import LocalProtocolError, RemoteProtocolError
from pychat.grammar import Line
from pychat.vocabulary import CLIENT_LINE_LIMIT, SERVER_LINE_LIMIT, ListedFile

OFFER = (
    b"<offer label=%s size=5 version=v1 port=50000 transfer=0102030405060708 "
    b"token=" + b"ab" * 16 + b" key=" + b"cd" * 32 + b">a/b.txt\n"
)


class Transport(StringTransport):
    """A transport that says when it was aborted, and tells its protocol, as the real one does."""

    protocol: Client
    clock: Clock
    aborted = False

    def abortConnection(self) -> None:
        if not self.aborted:
            self.aborted = True
            self.clock.callLater(0, self.protocol.connectionLost, Failure(twisted_error.ConnectionAborted()))


class Connected(SynchronousTestCase):
    """A client on a transport of strings; the daemon has greeted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.notices: list[tuple[Line, bytes]] = []
        self.client = Client(self.clock, lambda line, raw: self.notices.append((line, raw)))
        self.transport = Transport()
        self.transport.protocol, self.transport.clock = self.client, self.clock
        self.client.makeConnection(self.transport)
        self.greeted = self.client.greeted()
        self.greet()

    def greet(self) -> None:
        self.receive(b"<welcome>hi\n")
        self.assertIs(self.successResultOf(self.greeted), self.client)
        self.notices.clear()

    def receive(self, data: bytes) -> None:
        self.client.dataReceived(data)

    def sent(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def raws(self) -> list[bytes]:
        return [raw for _, raw in self.notices]

    def lose(self) -> None:
        self.client.connectionLost(Failure(ConnectionDone()))

    def acking(self) -> None:
        hello = self.client.hello()
        self.receive(b"<hello label=~1 caps=ack server=x>\n")
        self.successResultOf(hello)
        self.sent()

    def failing(self, deferred: Deferred[Any], *kinds: type[BaseException]) -> Any:
        return self.failureResultOf(deferred, *kinds).value


class Asking(Connected):
    """Each form of answer finds the command that asked for it."""

    def test_hello(self) -> None:
        """What the daemon grants is known afterwards."""
        answer = self.client.hello(("ack", "x"))
        self.assertEqual(self.sent(), b"<hello label=~1 caps=ack,x>\n")
        self.receive(b"<hello label=~1 caps=ack server=pychat/9>\n")
        self.assertEqual(self.successResultOf(answer).line.attributes[b"server"], b"pychat/9")
        self.assertEqual(self.client.caps, {"ack"})

    def test_hello_without_capabilities(self) -> None:
        """Nothing is asked for, nothing is granted."""
        self.client.hello(())
        self.assertEqual(self.sent(), b"<hello label=~1>\n")
        self.receive(b"<hello label=~1>\n")
        self.assertEqual(self.client.caps, frozenset())

    def test_join(self) -> None:
        """The name comes back as the daemon shows it."""
        joined = self.client.join("ali")
        self.assertEqual(self.sent(), b"<connect label=~1>ali\n")
        self.receive(b"<connected label=~1 durable=no>Ali\n")
        self.assertEqual(self.successResultOf(joined), Joined("Ali", None, durable=False))

    def test_come_back(self) -> None:
        """What is kept goes with the name; a token that is none is no token."""
        for token, kept in ((b"resume=t.2", "t.2"), (b"resume=", None), (b"resume=" + b"x" * 513, None)):
            self.setUp()
            joined = self.client.join("ali", "t1", 7, 3)
            self.assertEqual(self.sent(), b"<connect label=~1 resume=t1 after=7 open=3>ali\n")
            self.receive(b"<connected label=~1 %s>Ali\n" % token)
            self.assertEqual(self.successResultOf(joined), Joined("Ali", kept))

    def test_people(self) -> None:
        """Who is here, and who is away."""
        people = self.client.people()
        self.receive(b"<user label=~1>alice\n<user away label=~1>bob\n<users label=~1 count=2>\n")
        self.assertEqual(self.successResultOf(people), [User("alice"), User("bob", away=True)])

    def test_receipts(self) -> None:
        """Who has a message of ours."""
        receipts = self.client.receipts(7)
        self.assertEqual(self.sent(), b"<receipts label=~1>7\n")
        self.receive(b"<recipient label=~1 state=read>bob\n<receipts label=~1 id=7 count=1>\n")
        self.assertEqual(self.successResultOf(receipts), [Recipient("bob", "read")])
        receipts = self.client.receipts(8)
        self.receive(b"<error label=~2 code=no-such-message>no\n")
        self.assertEqual(self.failing(receipts, Refused).code, "no-such-message")

    def test_read(self) -> None:
        """It has no answer, so it waits for none."""
        self.client.read(7)
        self.assertEqual(self.sent(), b"<read>7\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_say(self) -> None:
        """A message is accepted under an id; a key for retries goes with it."""
        said = self.client.say("bob", "grüß dich", once="k1")
        self.assertEqual(self.sent(), "<set_msg label=~1 once=k1>bob grüß dich\n".encode())
        self.receive(b"<accepted label=~1 id=1042>bob\n")
        self.assertEqual(self.successResultOf(said), "1042")

    def test_say_all(self) -> None:
        """The same to everybody, in bytes."""
        said = self.client.say_all(b" two  spaces ")
        self.assertEqual(self.sent(), b"<set_msg_all label=~1> two  spaces \n")
        self.receive(b"<accepted label=~1 id=7>all\n")
        self.assertEqual(self.successResultOf(said), "7")

    def test_users(self) -> None:
        """A list is its items, up to the closing line."""
        users = self.client.users()
        self.receive(b"<user label=~1>alice\n<user label=~1>bob\n")
        self.assertNoResult(users)
        self.receive(b"<users label=~1 count=2>\n")
        self.assertEqual(self.successResultOf(users), ["alice", "bob"])

    def test_pages_of_users(self) -> None:
        """Where very many are here they come in pages; all of them are asked for."""
        people = self.client.people("#tea")
        self.assertEqual(self.sent(), b"<get_users label=~1>#tea\n")
        self.receive(b"<user label=~1 away>al\n<user label=~1>bo\n<users label=~1 count=3 more=bo>\n")
        self.assertEqual(self.sent(), b"<get_users label=~2 more=bo>#tea\n")
        self.assertNoResult(people)
        self.receive(b"<user label=~2>cy\n<users label=~2 count=3>\n")
        self.assertEqual(self.successResultOf(people), [User("al", away=True), User("bo"), User("cy")])

    def test_files(self) -> None:
        """The shelf's files with their sizes; lines that make no sense are left out."""
        files = self.client.files()
        self.receive(b"<file label=~1 size=5>a/b.txt\n<file label=~1 size=x>no\n<file label=~1 size=1>\xff\n")
        self.receive(b"<user label=~1 size=1>not a file\n<files label=~1 count=1 left_out=3>\n")
        listing = self.successResultOf(files)
        self.assertEqual((listing.files, listing.left_out), ((ListedFile("a/b.txt", 5),), 3))

    def test_offer(self) -> None:
        """Every field of an offer is there, and the key is in no text that somebody may print."""
        offered = self.client.offer("a/b.txt")
        self.assertEqual(self.sent(), b"<download label=~1>a/b.txt\n")
        self.receive(OFFER % b"~1")
        offer = self.successResultOf(offered)
        self.assertEqual((offer.name, offer.version, offer.host, offer.port), ("a/b.txt", "v1", None, 50000))
        self.assertEqual(
            (offer.terms.size, offer.terms.transfer.hex(), offer.terms.token, offer.terms.key),
            (5, "0102030405060708", b"\xab" * 16, b"\xcd" * 32),
        )
        self.assertNotIn("cdcd", repr(offer))

    def test_offer_of_another_file(self) -> None:
        """A daemon cannot offer what was not asked for."""
        offered = self.client.offer("b.txt")
        self.receive(OFFER % b"~1")
        self.assertEqual(self.failing(offered, RemoteProtocolError).code, "bad-answer")

    def test_offer_without_hello(self) -> None:
        """The answer to a plain client is no offer."""
        offered = self.client.offer("a")
        self.receive(b"<get label=~1 size=5>pychat get x a\n")
        self.assertEqual(self.failing(offered, LocalProtocolError).code, "no-hello")

    def test_ping(self) -> None:
        """A round trip."""
        pong = self.client.ping("x y")
        self.assertEqual(self.sent(), b"<ping label=~1>x y\n")
        self.receive(b"<pong label=~1>x y\n")
        self.assertEqual(self.successResultOf(pong), "x y")

    def granted(self) -> None:
        hello = self.client.hello(("ack", "multiline"))
        self.receive(b"<hello label=~1 caps=ack,multiline>\n")
        self.successResultOf(hello)
        self.sent()

    def test_rooms(self) -> None:
        """To come into a room, to be told, to leave it."""
        joined = self.client.join_room("#tea")
        self.assertEqual(self.sent(), b"<join label=~1>#tea\n")
        self.receive(b"<joined in=#tea>carol\n<joined label=~1 in=#tea members=2>ali\n")
        self.assertEqual(self.successResultOf(joined).line.attributes[b"members"], b"2")
        said = self.client.say("#tea", "hi", reply=7)
        self.assertEqual(self.sent(), b"<set_msg label=~2 reply=7>#tea hi\n")
        self.receive(b"<accepted label=~2 id=9>#tea\n")
        self.assertEqual(self.successResultOf(said), "9")
        left = self.client.leave_room("#tea")
        self.assertEqual(self.sent(), b"<leave label=~3>#tea\n")
        self.receive(b"<left label=~3 in=#tea>ali\n")
        self.successResultOf(left)
        self.assertEqual(self.raws(), [b"<joined in=#tea>carol"])

    def test_about_messages(self) -> None:
        """What is said of a message has an id of its own."""
        asked = [
            self.client.edit(42, "better", once="k"), self.client.retract("42"), self.client.react(42, "\U0001f44d"),
            self.client.react(42), self.client.say_all("x", reply=42),
        ]  # fmt: skip
        self.assertEqual(
            self.sent().decode().splitlines(),
            [
                "<edit label=~1 once=k>42 better", "<retract label=~2>42", "<react label=~3>42 \U0001f44d",
                "<react label=~4>42", "<set_msg_all label=~5 reply=42>x",
            ],
        )  # fmt: skip
        for number, each in enumerate(asked, 1):
            self.receive(b"<accepted label=~%d id=%d>#tea\n" % (number, 50 + number))
            self.assertEqual(self.successResultOf(each), str(50 + number))

    def test_several_lines(self) -> None:
        """A text of several lines is one message, where the daemon knows how."""
        self.granted()
        for text in ("100 %\n> all", "100 %"):
            self.client.say("bob", text)
        self.client.say_all("a\n\nb", "k")
        self.client.edit(7, "a\nb")
        self.assertEqual(
            self.sent().splitlines(),
            [
                b"<set_msg label=~2 enc=pct>bob 100 %25%0A> all", b"<set_msg label=~3>bob 100 %",
                b"<set_msg_all label=~4 once=k enc=pct>a%0A%0Ab", b"<edit label=~5 enc=pct>7 a%0Ab",
            ],
        )  # fmt: skip

    def test_several_lines_of_no_message(self) -> None:
        """Where a daemon does not know how, and where no text stands, LF is refused here."""
        asked = self.client.say("bob", "a\nb")
        self.assertEqual(self.failing(asked, LocalProtocolError).code, "no-multiline")
        self.granted()
        self.assertEqual(self.failing(self.client.react(7, "a\nb"), LocalProtocolError).code, "bad-line")
        self.assertEqual(
            self.failing(self.client.say("b", "x\n" * 2000), LocalProtocolError).code, "line-too-long"
        )
        with self.assertRaises(LocalProtocolError):
            self.client.say("\udcff", "x")
        self.assertEqual(self.sent(), b"")

    def test_history(self) -> None:
        """What was said is given to who asked, and is nothing else: not shown, not acknowledged, not dropped."""
        self.granted()
        self.receive(b"<msg id=9 from=b>live\n")
        self.assertEqual(self.sent(), b"<ack>9\n")
        history = self.client.history("#tea", limit=2, before=9)
        self.assertEqual(self.sent(), b"<history label=~2 limit=2 before=9>#tea\n")
        self.receive(
            b"<msg label=~2 replay id=3 from=b to=#tea time=x enc=pct>a%0Ab\n"
            b"<msg label=~2 replay id=12 from=b to=#tea time=x edited=50>c\n<history label=~2 count=2 more=3>#tea\n"
        )
        page = self.successResultOf(history)
        self.assertEqual(
            ([read_text(line) for line in page.lines], [message_id(line) for line in page.lines], page.more),
            ([b"a\nb", b"c"], [3, 12], "3"),
        )
        self.assertEqual((self.sent(), len(self.notices), self.client.shown), (b"", 1, 9))
        self.receive(b"<msg id=12 from=b to=#tea>c\n")
        self.assertEqual((self.sent(), len(self.notices)), (b"<ack>12\n", 2))

    def test_search(self) -> None:
        """The same for what is searched, with words of its own."""
        search = self.client.search("two words", place="#tea", sender="bob", limit=5, more="7")
        self.assertEqual(self.sent(), b"<search label=~1 limit=5 more=7 in=#tea from=bob>two words\n")
        self.receive(b"<search label=~1 count=0>two words\n")
        self.assertEqual(self.successResultOf(search), Page(()))

    def test_looked_up_by_hand(self) -> None:
        """With a label that is not ours it is a notice: shown, whatever its id, and not acknowledged."""
        self.acking()
        self.receive(b"<msg id=9 from=b>live\n")
        self.sent()
        self.client.send(b"<history label=7>#tea")
        self.sent()
        self.receive(b"<msg label=7 replay id=3 from=b>old\n<history label=7 count=1>#tea\n")
        self.assertEqual((len(self.raws()), self.sent(), self.client.shown), (3, b"", 9))

    def test_other_lists(self) -> None:
        """Every list of the protocol is closed by its own line."""
        for verb, items, closing in (
            ("get_rooms", (b"room members=3 joined",), b"rooms count=1"),
            ("get_users", (b"user in=#tea absent",), b"users in=#tea count=1"),
            ("ignore", (b"ignored", b"ignored"), b"ignores count=2"),
            ("unread", (b"new count=3",), b"unread count=1"),
            ("whois", (b"absent from=bob",), b"whois state=here"),
            ("ignore", (), b"done"),
            ("topic", (), b"topic in=#tea by=bob"),
            ("topic", (), b"accepted id=7"),
        ):
            self.setUp()
            answer = self.client.command(verb, "x", text="1", verb="2")
            self.assertEqual(self.sent(), b"<%s label=~1 text=1 verb=2>x\n" % verb.encode())
            for item in items:
                self.receive(b"<%s label=~1>x\n" % item)
                self.assertNoResult(answer)
            self.receive(b"<%s label=~1>x\n" % closing)
            self.assertEqual((len(self.successResultOf(answer).items), self.notices), (len(items), []))

    def test_refused(self) -> None:
        """An error is an exception with the daemon's code and sentence."""
        joined = self.client.join("bob")
        self.receive(b"<error code=name-taken label=~1>bob is taken.\n")
        error = self.failing(joined, Refused)
        self.assertEqual((error.code, error.sentence), ("name-taken", "bob is taken."))

    def test_refused_without_a_word(self) -> None:
        """An error that says nothing is one all the same."""
        joined = self.client.join("bob")
        self.receive(b"<error label=~1>\n")
        self.assertEqual(self.failing(joined, Refused).code, "error")

    def test_pipelined(self) -> None:
        """Many commands at once: labels tell the answers apart."""
        users, first, second = self.client.users(), self.client.ping("1"), self.client.ping("2")
        self.receive(b"<pong label=~3>2\n<user label=~1>a\n<pong label=~2>1\n<users label=~1>\n")
        self.assertEqual(
            [self.successResultOf(answer) for answer in (users, first, second)], [["a"], "1", "2"]
        )

    def test_unknown_command(self) -> None:
        """A command that this library does not know is closed by the first line that is no item."""
        answer = self.client.command("list_rooms", "x")
        self.receive(b"<user label=~1>a\n<rooms label=~1 count=1>\n")
        done = self.successResultOf(answer)
        self.assertIsInstance(done, Answer)
        self.assertEqual((done.line.verb, [line.text for line in done.items]), (b"rooms", [b"a"]))

    def test_unknown_line_with_our_label(self) -> None:
        """A word that we do not know, between the lines of an answer, is a notice: it closes nothing."""
        users = self.client.users()
        self.receive(b"<user label=~1>a\n<colour label=~1>red\n<users label=~1 count=1>\n")
        self.assertEqual(self.successResultOf(users), ["a"])
        self.assertEqual(self.raws(), [b"<colour label=~1>red"])

    def test_cancelled(self) -> None:
        """Who does not wait any more is not told, and nobody else is either."""
        users = self.client.users()
        self.receive(b"<user label=~1>a\n")
        users.cancel()
        self.failing(users, CancelledError)
        self.receive(b"<user label=~1>b\n<users label=~1 count=2>\n")
        self.assertEqual(self.notices, [])
        ping = self.client.ping()
        self.receive(b"<pong label=~2>\n")
        self.assertEqual(self.successResultOf(ping), "")

    def test_what_no_line_can_say(self) -> None:
        """Line ends and lines that are too long do not leave this machine."""
        for asked in (self.client.say_all("a\nb"), self.client.join("x\ny"), self.client.say_all("x" * 5000)):
            self.failing(asked, LocalProtocolError)
        self.failing(self.client.command("ping", "", label2="a b"), LocalProtocolError)
        self.assertEqual(self.sent(), b"")

    def test_the_longest_line(self) -> None:
        """A line may have as many bytes as the protocol allows, and not one more."""
        room = CLIENT_LINE_LIMIT - len(b"<ping label=~1>\n")
        self.failing(self.client.ping("x" * (room + 1)), LocalProtocolError)
        self.client.ping("x" * room)
        self.assertEqual(len(self.sent()), CLIENT_LINE_LIMIT)

    def test_too_many(self) -> None:
        """The table of labels is bounded."""
        self.patch(calls, "WAITING_LIMIT", 3)
        for _ in range(3):
            self.client.ping()
        self.assertEqual(self.failing(self.client.ping(), LocalProtocolError).code, "busy")
        self.receive(b"<pong label=~2>\n")
        self.assertNoResult(self.client.ping())

    def test_as_it_is(self) -> None:
        """A line that somebody typed leaves unchanged, and its answer is a notice."""
        self.client.send(b"<ping label=7>\xff")
        self.assertEqual(self.sent(), b"<ping label=7>\xff\n")
        self.receive(b"<pong label=7>x\n")
        self.assertEqual(self.raws(), [b"<pong label=7>x"])


class Notices(Connected):
    """What nobody asked for."""

    def test_observer(self) -> None:
        """Notices come parsed, in order; verbs and attributes that we do not know are no problem."""
        lines = [
            b"<joined>bob",
            b"<left>bob",
            b"<sent id=1>bob",
            b"<flags new=1 a>x",
            b"<receipt id=1 of=2>all",
        ]
        self.receive(b"\r\n".join(lines) + b"\r\n\r\n\n")
        self.assertEqual(self.raws(), lines)
        self.assertEqual(self.notices[3][0], Line(b"flags", {b"new": b"1", b"a": b""}, b"x"))

    def test_not_a_line(self) -> None:
        """What is not of the protocol's form has no verb."""
        self.receive(b"hello\n<a b=1 b=2>x\n<\xff x=\xff>\n")
        self.assertEqual([line.verb for line, _ in self.notices], [b"", b"", b""])
        self.assertEqual(self.notices[0][0].text, b"hello")

    def test_pieces(self) -> None:
        """However the network cuts it."""
        for byte in b"<joined>b\n<left>b\n":
            self.receive(bytes([byte]))
        self.assertEqual(self.raws(), [b"<joined>b", b"<left>b"])

    def test_too_long(self) -> None:
        """A line that is too long is dropped and counted; the next one is read."""
        self.receive(b"<joined>" + b"x" * (SERVER_LINE_LIMIT - 9) + b"\n")
        self.assertEqual(len(self.raws()[0]), SERVER_LINE_LIMIT - 1)
        for _ in range(300):
            self.receive(b"y" * 10_000)
            self.assertLess(len(self.client._splitter.rest), SERVER_LINE_LIMIT)
        self.receive(b"\n<left>b\n")
        self.assertEqual((self.raws()[1:], self.client.dropped), ([b"<left>b"], 1))

    def test_broken_observer(self) -> None:
        """An observer that fails is logged, and costs nobody anything."""

        def broken(line: Line, raw: bytes) -> None:
            raise ValueError(raw)

        self.client._observer = broken
        ping = self.client.ping()
        self.receive(b"<joined>b\n<pong label=~1>\n")
        self.successResultOf(ping)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_pong(self) -> None:
        """The daemon's pings are answered, and are nobody's notice."""
        self.receive(b"<ping>are you there\n<ping>\n")
        self.assertEqual((self.sent(), self.notices), (b"<pong>are you there\n<pong>\n", []))

    def test_pong_too_long(self) -> None:
        """A pong is a line like others: one that would be too long is not sent."""
        self.receive(b"<ping>" + b"x" * 5000 + b"\n")
        self.assertEqual(self.sent(), b"")


class Acknowledging(Connected):
    """At least once on the wire, exactly once on the screen."""

    def test_once_for_each_chunk(self) -> None:
        """One acknowledgement stands for all messages of a chunk."""
        self.acking()
        self.receive(b"<msg id=5 from=b>1\n<msg id=6 from=b>2\n<joined>c\n<msg id=9 from=b>3\n<left>c\n")
        self.assertEqual(self.sent(), b"<ack>9\n")
        self.receive(b"<joined>c\n")
        self.assertEqual(self.sent(), b"")
        self.receive(b"<msg id=12 from=b>4\n<msg id=13")
        self.assertEqual(self.sent(), b"<ack>12\n")

    def test_sent_again(self) -> None:
        """What was shown already is acknowledged again and not shown again."""
        self.acking()
        self.receive(b"<msg id=5 from=b>1\n<msg id=6 from=b>2\n")
        self.receive(b"<msg id=5 from=b>1\n<msg id=7 from=b>3\n<msg id=6 from=b>2\n")
        self.assertEqual(self.sent(), b"<ack>6\n<ack>7\n")
        self.assertEqual([line.text for line, _ in self.notices], [b"1", b"2", b"3"])

    def test_shown_on_another_connection(self) -> None:
        """What was shown before is acknowledged and not shown again."""
        self.client.shown = 6
        self.acking()
        self.receive(b"<msg id=6 from=b>2\n<msg id=7 from=b>3\n")
        self.assertEqual(([line.text for line, _ in self.notices], self.sent()), ([b"3"], b"<ack>7\n"))

    def test_parts(self) -> None:
        """A message that comes line by line is shown line by line, and acknowledged when all of it has come."""
        self.acking()
        self.receive(b"<msg id=5 from=b>1\n<msg id=6 from=b part=1/3>a\n<msg id=6 from=b part=2/3>b\n")
        self.assertEqual(self.sent(), b"<ack>5\n")
        for part in (b"1/3", b"2/3", b"3/3", b"1/3", b"3/3"):
            self.receive(b"<msg id=6 from=b part=%s>x\n" % part)
        self.assertEqual([line.text for line, _ in self.notices], [b"1", b"a", b"b", b"x"])
        self.assertEqual(self.sent(), b"<ack>6\n" * 3)
        for part in (b"2/1", b"0/0", b"x", b"", b"9999999999/1"):
            self.receive(b"<msg id=%d from=b part=%s>odd\n" % (self.client.shown + 1, part))
        self.assertEqual((len(self.notices), self.client.shown), (9, 11))

    def test_kept_first(self) -> None:
        """Whoever keeps what came is called once a chunk, before it is acknowledged; what she cannot keep is not."""
        self.acking()
        written: list[bytes] = []
        self.client._taken = lambda: written.append(self.sent())
        self.receive(b"<msg id=5 from=b>1\n<msg id=6 from=b>2\n")
        self.assertEqual((written, self.sent()), ([b""], b"<ack>6\n"))
        self.client._taken = lambda: 1 / 0
        self.receive(b"<msg id=7 from=b>3\n")
        self.assertEqual((self.sent(), len(self.flushLoggedErrors(ZeroDivisionError))), (b"", 1))

    def test_silent_while_it_comes_back(self) -> None:
        """Nothing is said between a resume and its answer; a few pings are answered afterwards, and one ack stands."""
        self.acking()
        joined = self.client.join("ali", "t1")
        self.sent()
        for number in range(30):
            self.receive(b"<ping>%d\n<msg id=%d from=b>x\n" % (number, number))
        self.assertEqual(self.sent(), b"")
        self.receive(b"<connected label=~2 resume=t2>ali\n")
        self.successResultOf(joined)
        pongs = b"".join(b"<pong>%d\n" % number for number in range(20, 30))
        self.assertEqual(self.sent(), pongs + b"<ack>29\n")

    def test_promised_nothing(self) -> None:
        """Without the capability nothing is acknowledged."""
        self.receive(b"<msg id=5 from=b>1\n")
        self.assertEqual(self.sent(), b"")

    def test_promise_by_hand(self) -> None:
        """A typed <hello> counts as well as one of ours."""
        self.client.send(b"<hello caps=ack>")
        self.receive(b"<hello caps=ack>\n")
        self.sent()
        self.receive(b"<msg id=5 from=b>1\n")
        self.assertEqual(self.sent(), b"<ack>5\n")

    def test_ids_that_are_none(self) -> None:
        """A message whose id is no number is shown; there is nothing to acknowledge."""
        self.acking()
        self.receive(b"<msg from=b>1\n<msg id=x from=b>2\n<msg id=%s from=b>3\n" % (b"9" * 20))
        self.assertEqual((len(self.notices), self.sent()), (3, b""))

    def test_does_not_pile_up(self) -> None:
        """While the daemon reads nothing, nothing is added; afterwards one acknowledgement says it all."""
        self.acking()
        self.transport.producer.pauseProducing()
        for number in range(1, 100):
            self.receive(b"<msg id=%d from=b>x\n<ping>y\n" % number)
        self.assertEqual(self.sent(), b"")
        self.transport.producer.resumeProducing()
        self.assertEqual(self.sent(), b"<ack>99\n")


class Ending(Connected):
    """Every way in which a connection ends."""

    def test_lost(self) -> None:
        """All that waits fails with the reason, and so does what is asked later."""
        waiting = [self.client.ping(), self.client.users()]
        ended = self.client.ended()
        self.lose()
        for each in waiting:
            self.assertEqual(self.failing(each, LinkError).code, "lost")
        self.assertEqual(self.successResultOf(ended).code, "lost")
        self.assertEqual(self.failing(self.client.ping(), LinkError).code, "lost")
        self.assertEqual(self.successResultOf(self.client.ended()).code, "lost")
        with self.assertRaises(LinkError):
            self.client.send(b"<ping>")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_goodbye(self) -> None:
        """The daemon's own words are the reason."""
        ended = self.client.ended()
        self.receive(b"<goodbye code=shutdown>The chat is closing down.\n")
        self.lose()
        why = self.successResultOf(ended)
        self.assertEqual((why.code, why.sentence), ("shutdown", "The chat is closing down."))
        assert self.client.goodbye is not None
        self.assertEqual(self.raws(), [b"<goodbye code=shutdown>The chat is closing down."])

    def test_leave(self) -> None:
        """Leaving is over when the daemon has closed."""
        left = self.client.leave()
        self.assertEqual(self.sent(), b"<disconnect label=~1>\n")
        self.receive(b"<goodbye code=bye label=~1>Goodbye.\n")
        self.assertNoResult(left)
        self.lose()
        self.assertEqual(self.successResultOf(left).code, "bye")
        self.assertEqual(self.successResultOf(self.client.leave()).code, "bye")

    def test_leave_without_a_goodbye(self) -> None:
        """A daemon that does not let us go is left anyway; saying goodbye and not closing is no way out."""
        for goodbye in (b"", b"<goodbye code=bye label=~1>\n"):
            self.setUp()
            left = self.client.leave()
            self.receive(goodbye)
            self.clock.advance(CLOSE_TIMEOUT)
            self.assertTrue(self.transport.aborted)
            self.clock.advance(0)
            self.assertEqual(self.successResultOf(left).code, "bye" if goodbye else "timed-out")

    def test_abort(self) -> None:
        """Closed by us."""
        ping = self.client.ping()
        self.client.abort()
        self.clock.advance(0)
        self.assertEqual(self.failing(ping, LinkError).code, "closed")

    def test_close(self) -> None:
        """Without a word, after what was said has gone out; a daemon that does not close is left anyway."""
        self.client.send(b"<ping>last")
        closed = self.client.close()
        self.assertEqual((self.sent(), self.transport.disconnecting), (b"<ping>last\n", True))
        self.clock.advance(CLOSE_TIMEOUT)
        self.assertTrue(self.transport.aborted)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(closed).code, "closed")
        self.assertEqual(self.successResultOf(self.client.close()).code, "closed")

    def test_nothing_is_read_after_the_end(self) -> None:
        """What still comes after we gave up is not looked at."""
        self.client.abort()
        self.receive(b"<joined>bob\n")
        self.assertEqual(self.notices, [])

    def test_no_answer(self) -> None:
        """A daemon that does not answer is given up; one that answers gets its time for each."""
        first = self.client.ping()
        self.clock.advance(ANSWER_TIMEOUT - 1)
        second = self.client.ping()
        self.receive(b"<pong label=~1>\n")
        self.successResultOf(first)
        self.clock.advance(ANSWER_TIMEOUT - 1)
        self.assertNoResult(second)
        self.receive(b"<joined>whoever\n")
        self.clock.advance(2)
        self.clock.advance(0)
        self.assertEqual(self.failing(second, LinkError).code, "timed-out")

    def test_idle(self) -> None:
        """Who waits for no answer may wait for ever."""
        ping = self.client.ping()
        self.receive(b"<pong label=~1>\n")
        self.successResultOf(ping)
        self.clock.advance(10 * ANSWER_TIMEOUT)
        self.assertFalse(self.transport.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ended_cancelled(self) -> None:
        """Not waiting for the end any more harms nobody."""
        ended = self.client.ended()
        ended.cancel()
        self.failing(ended, CancelledError)
        self.lose()


class Room(Connected):
    """Who sends much waits until there is room."""

    def test_room(self) -> None:
        """There is room, there is none, there is again."""
        self.successResultOf(self.client.room())
        self.transport.producer.pauseProducing()
        room, other = self.client.room(), self.client.room()
        self.assertNoResult(room)
        other.cancel()
        self.failing(other, CancelledError)
        self.transport.producer.resumeProducing()
        self.successResultOf(room)

    def test_connection_lost(self) -> None:
        """The end of the connection is no reason to wait for ever."""
        self.transport.producer.pauseProducing()
        room = self.client.room()
        self.transport.producer.stopProducing()
        self.lose()
        self.successResultOf(room)


class Greeting(Connected):
    """The first line decides whether this is a Python Chat at all."""

    def greet(self) -> None:
        """Not yet."""

    def test_is_a_notice_too(self) -> None:
        """The observer sees the greeting before anybody goes on."""
        self.greeted.addCallback(lambda _: self.assertEqual(self.raws(), [b"<welcome>hi"]))
        self.receive(b"<welcome>hi\n")
        self.successResultOf(self.greeted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_another_program(self) -> None:
        """Something else listens on that port: it is known by its first byte, or else by its first line."""
        for said in (b"SSH-2.0-OpenSSH_9.2p1\r\n", b"login: ", b"\xff\xfd\x18", b"\n", b"<html>\r\n<head>"):
            self.setUp()
            self.receive(said)
            self.receive(said)
            self.assertTrue(self.transport.aborted)
            self.clock.advance(0)
            error = self.failing(self.greeted, LinkError)
            self.assertEqual(error.code, "not-pychat")
            self.assertIn("192.168.1.1:54321 is not a Python Chat", error.sentence)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_in_pieces(self) -> None:
        """A greeting may come byte by byte."""
        for byte in b"<welcome>hi\n":
            self.receive(bytes([byte]))
        self.successResultOf(self.greeted)

    def test_silence(self) -> None:
        """Something listens that says nothing."""
        self.clock.advance(CONNECT_TIMEOUT - 1)
        self.assertNoResult(self.greeted)
        self.clock.advance(1)
        self.clock.advance(0)
        error = self.failing(self.greeted, LinkError)
        self.assertEqual(error.code, "timed-out")
        self.assertIn("No greeting came from 192.168.1.1:54321", error.sentence)

    def test_error(self) -> None:
        """A daemon that greets with an error says why."""
        self.receive(b"<error code=busy>Too many people.\n")
        self.assertEqual(self.failing(self.greeted, Refused).code, "busy")

    def test_goodbye(self) -> None:
        """A daemon that says goodbye at once says why."""
        self.receive(b"<goodbye code=shutdown>Closing.\n")
        self.lose()
        self.assertEqual(self.failing(self.greeted, LinkError).code, "shutdown")

    def test_closed(self) -> None:
        """A connection that is closed at once is not a Python Chat's."""
        self.lose()
        self.assertEqual(self.failing(self.greeted, LinkError).code, "not-pychat")

    def test_cancelled(self) -> None:
        """Not waiting for the greeting ends the connection."""
        self.greeted.cancel()
        self.failing(self.greeted, CancelledError)
        self.assertTrue(self.transport.aborted)
        self.clock.advance(0)


class Hostile(Connected):
    """A daemon that means harm."""

    def test_list_without_end(self) -> None:
        """A list has a bound; past it the command fails, and what follows is dropped."""
        self.patch(calls, "ANSWER_LINES", 10)
        users = self.client.users()
        self.receive(b"<user label=~1>x\n" * 11)
        self.assertEqual(self.failing(users, RemoteProtocolError).code, "bad-answer")
        self.receive(b"<user label=~1>x\n" * 1000 + b"<users label=~1 count=1>\n")
        self.assertEqual(self.notices, [])
        self.assertEqual(self.client._calls._waiting, {})

    def test_pages_without_end(self) -> None:
        """So have all pages of a list together, and one that is empty is the last."""
        self.patch(asking, "PEOPLE_LIMIT", 3)
        for pages, page in ((3, b"<user label=~%d>x\n"), (0, b"")):
            self.setUp()
            users = self.client.users()
            for number in range(1, pages + 2):
                self.assertNoResult(users)
                items = page % number if page else b""
                self.receive(items + b"<users label=~%d more=x>\n" % number)
            self.assertEqual(self.failing(users, RemoteProtocolError).code, "bad-answer")

    def test_big_list(self) -> None:
        """It has a bound in bytes as well."""
        self.patch(calls, "ANSWER_BYTES", 1000)
        users = self.client.users()
        self.receive(b"<user label=~1>%s\n" % (b"x" * 1100))
        self.assertEqual(self.failing(users, RemoteProtocolError).code, "bad-answer")

    def test_bad_offers(self) -> None:
        """Every field of an offer is checked."""
        good = OFFER % b"%s"
        for wrong, right in (
            (b"size=-1", b"size=5"), (b"size=9223372036854775808", b"size=5"), (b"size=5x", b"size=5"),
            (b"size=\xd9\xa3", b"size=5"), (b"port=0", b"port=50000"), (b"port=65536", b"port=50000"),
            (b"version=", b"version=v1"), (b"version=" + b"v" * 129, b"version=v1"), (b"x=1", b"version=v1"),
            (b"transfer=01", b"transfer=0102030405060708"),
            (b"transfer=0102030405060g08", b"transfer=0102030405060708"),
            (b"token=" + b"zz" * 16, b"token=" + b"ab" * 16), (b"key=" + b"cd" * 31, b"key=" + b"cd" * 32),
            (b"key=" + b"\xc3\xa9" * 32, b"key=" + b"cd" * 32), (b"host=x.example port=1", b"port=50000"),
            (b"host= port=1", b"port=50000"), (b">\n", b">a/b.txt\n"), (b">a/b\xff.txt\n", b">a/b.txt\n"),
        ):  # fmt: skip
            self.setUp()
            offered = self.client.offer("a/b.txt")
            self.assertIn(right, good)
            self.receive(good.replace(right, wrong) % b"~1")
            error = self.failing(offered, RemoteProtocolError)
            self.assertEqual(error.code, "bad-answer", wrong)
            self.assertNotIn("cd", error.sentence.replace("cannot be understood", ""))

    def test_offer_elsewhere(self) -> None:
        """An offer may name another address; it has to be one."""
        for host in (b"192.0.2.7", b"2001:db8::1", b"fe80::1%eth0"):
            self.setUp()
            offered = self.client.offer("a/b.txt")
            self.receive((OFFER % b"~1").replace(b"port=", b"host=%s port=" % host))
            self.assertEqual(self.successResultOf(offered).host, host.decode())

    @settings(max_examples=300, deadline=None)
    @given(data=st.data())
    def test_any_bytes(self, data: st.DataObject) -> None:
        """No bytes from a daemon make the client raise, and none make it forget its bounds."""
        pieces = st.one_of(
            st.binary(max_size=60),
            st.sampled_from([
                b"<welcome>x\n", b"\n", b"<user label=~1>", b"<users label=~1>\n", b"<error label=~2", b" code=x>",
                b"<msg id=", b"1", b"99999999999999999999999 ", b" from=b>\n", b"<ping>", b"<hello caps=ack>\n",
                b"<goodbye>\n", b"<offer label=~3 size=5", b"\xff\xfb", b"<pong label=~2>", b"x" * 9000, b"label=~1",
                b"\r\n", b"\x00", OFFER % b"~3",
            ]),
        )  # fmt: skip
        client = Client(Clock(), lambda line, raw: self.assertLess(len(raw), SERVER_LINE_LIMIT))
        transport = Transport()
        transport.protocol, transport.clock = client, Clock()
        client.makeConnection(transport)
        client.greeted().addErrback(lambda _: None)
        for ask in (client.users, client.hello, lambda: client.offer("a/b.txt")):
            asked: Deferred[Any] = ask()
            asked.addErrback(lambda _: None)
        for piece in data.draw(st.lists(pieces, max_size=30)):
            client.dataReceived(piece)
        client.connectionLost(Failure(ConnectionDone()))
        self.assertFalse(self.flushLoggedErrors())


class Connecting(SynchronousTestCase):
    """What becomes of an attempt to connect, in words for a person."""

    def attempt(self, host: str = "127.0.0.1") -> tuple[MemoryReactorClock, Deferred[Client]]:
        reactor = MemoryReactorClock()
        return reactor, connect(reactor, host, 50000, timeout=7)

    def fails(self, act: Callable[[MemoryReactorClock], None]) -> LinkError:
        reactor, connecting = self.attempt()
        act(reactor)
        reactor.advance(1)
        error = self.failureResultOf(connecting, LinkError).value
        assert isinstance(error, LinkError)
        return error

    def test_connected(self) -> None:
        """The greeting makes it a connection; where it went is known."""
        reactor, connecting = self.attempt()
        host, port, factory, timeout, _ = reactor.tcpClients[0]
        self.assertEqual((host, port, timeout), ("127.0.0.1", 50000, 7))
        protocol = factory.buildProtocol(None)
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.9", 50000))
        protocol.makeConnection(transport)
        self.assertNoResult(connecting)
        protocol.dataReceived(b"<welcome>hi\n")
        self.assertEqual(self.successResultOf(connecting).host, "192.0.2.9")

    def test_refused(self) -> None:
        """Nobody listens: the sentence has the address."""
        error = self.fails(
            lambda reactor: reactor.tcpClients[0][2].clientConnectionFailed(
                None, Failure(twisted_error.ConnectionRefusedError())
            )
        )
        self.assertEqual(error.code, "refused")
        self.assertIn("127.0.0.1:50000", error.sentence)

    def test_every_reason(self) -> None:
        """Each reason has its code."""
        for reason, code in (
            (twisted_error.DNSLookupError("x"), "unknown-host"),
            (ValueError("invalid hostname"), "unknown-host"),
            (twisted_error.TimeoutError(), "timed-out"),
            (twisted_error.TCPTimedOutError(), "timed-out"),
            (twisted_error.NoRouteError(osError=OSError(113, "No route to host")), "unreachable"),
            (OSError(22, "Invalid argument"), "unreachable"),
        ):
            error = cannot_connect("::1", 5, reason)
            self.assertEqual(error.code, code)
            self.assertNotIn("\n", error.sentence)
            self.assertTrue("[::1]:5" in error.sentence or code == "unknown-host")

    def test_cancelled(self) -> None:
        """An attempt can be given up."""
        _, connecting = self.attempt()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)

    def test_cancelled_while_the_name_is_looked_up(self) -> None:
        """Who gives up before there is an address is not told that there is no such name."""
        reactor = MemoryReactorClock()
        reactor.nameResolver = Mock()  # answers nothing
        connecting = connect(reactor, "chat.example", 50000)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertEqual(reactor.tcpClients, [])

    def test_no_machine(self) -> None:
        """What cannot be a name is no name."""
        connecting = connect(MemoryReactorClock(), "a b", 50000)
        self.assertEqual(self.failureResultOf(connecting, LinkError).value.code, "unknown-host")
