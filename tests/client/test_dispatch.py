"""Where typed lines go: out, into the outbox, or back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.answers import LinkError
from pychat.client.dispatch import Dispatch
from pychat.client.editing import Pasted
from pychat.client.unkept import UNKEPT_LIMIT
from pychat.client.wording import NO_COMMAND, NO_COMMANDS, NO_MESSAGE
from pychat.errors import LocalProtocolError, RemoteProtocolError
from pychat.grammar import Line, parse
from pychat.vocabulary import CLIENT_LINE_LIMIT


class Wire:
    """A connection that takes down what is sent, and never answers."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.up = True

    def send(self, raw: bytes) -> None:
        if not self.up:
            raise LinkError("lost", "It broke.")
        self.sent.append(raw)

    def ping(self) -> Deferred[None]:
        return Deferred()


class Dispatching(SynchronousTestCase):
    """`Dispatch`, with everything around it pretended."""

    def setUp(self) -> None:
        self.notes: list[str] = []
        self.given_back: list[bytes] = []
        self.refused: list[str] = []
        self.posted: list[bytes] = []
        self.pending: list[str] = []
        self.uploads: list[bytes] = []
        self.looked_up: list[bytes] = []
        self.error: LocalProtocolError | None = None
        self.wire = Wire()
        self.member: Any = SimpleNamespace(client=self.wire, post_line=self.post)
        self.dispatch = Dispatch(
            self.any(note=self.notes.append, entered=lambda raw: None),
            self.any(
                doubtful_line=lambda raw: None, pending=self.pending.append,
                store=SimpleNamespace(posts={"key": "the post"}),
            ),
            self.any(upload=lambda line: self.uploads.append(line.text), asks=lambda line, raw: raw + b"?"),
            self.any(send=self.look_up),
            lambda error: self.refused.append(error.code),
            lambda raw: None,
        )  # fmt: skip
        self.dispatch.keys = self.any(give_back=self.give_back)

    def any(self, **members: Any) -> Any:
        return SimpleNamespace(**members)

    def give_back(self, raw: bytes) -> bool:
        self.given_back.append(raw)
        return True

    def post(self, line: Line) -> str:
        if self.error is not None:
            raise self.error
        self.posted.append(line.text)
        return "key"

    def look_up(self, client: Wire, line: Line) -> bool:
        if line.verb == b"history":
            self.looked_up.append(line.text)
            return True
        return False

    def send(self, raw: bytes) -> bool:
        try:
            line = parse(raw)
        except RemoteProtocolError:
            line = Line(b"", {}, raw)
        return self.dispatch.send(self.member, line, raw)

    def test_messages(self) -> None:
        """They go through the outbox, and without a connection are shown as pending."""
        self.assertTrue(self.send(b"<set_msg_all>hello"))
        self.assertEqual((self.posted, self.pending), ([b"hello"], []))
        self.member.client = None
        self.assertTrue(self.send(b"<set_msg>bob hi"))
        self.assertEqual((self.posted, self.pending), ([b"hello", b"bob hi"], ["the post"]))

    def test_refused_messages(self) -> None:
        """What no line can say is given back, and told; what has no room for a key goes without one."""
        self.error = LocalProtocolError("bad-text", "It cannot be said.")
        self.assertTrue(self.send(b"<set_msg_all>x"))
        self.assertEqual((self.refused, self.given_back), (["bad-text"], [b"<set_msg_all>x"]))
        self.error = LocalProtocolError("line-too-long", "It is too long.")
        self.assertTrue(self.send(b"<set_msg_all>y"))
        self.assertEqual(self.wire.sent, [b"<set_msg_all>y"])
        self.member.client = None
        self.assertTrue(self.send(b"<set_msg_all>z"))
        self.assertIn("below 4,000 bytes it would", self.notes[-1])
        self.assertEqual(self.given_back[1:], [b"<set_msg_all>z"])

    def test_commands(self) -> None:
        """They go as they were typed, or to who looks up what they ask for."""
        for raw in (b"<get_rooms>", b"<download>x", b"<ack>1", b"<history>bob", b"not a command"):
            self.assertTrue(self.send(raw), raw)
        self.assertEqual(self.wire.sent, [b"<get_rooms>", b"<download>x?", b"<ack>1", b"not a command"])
        self.assertEqual(self.looked_up, [b"bob"])
        self.assertFalse(self.send(b"<upload>x"))
        self.assertEqual((self.uploads, self.notes), ([b"x"], []))

    def test_without_a_connection(self) -> None:
        """Commands cannot wait for one: they are given back, and so is what was typed as the connection broke."""
        self.wire.up = False
        self.assertFalse(self.send(b"<get_rooms>"))
        self.member.client = None
        self.assertFalse(self.send(b"<upload>x"))
        self.assertFalse(self.send(b"<set_msg label=1>bob hi"))
        self.assertEqual(self.given_back, [b"<get_rooms>", b"<upload>x", b"<set_msg label=1>bob hi"])
        self.assertEqual(["attributes" in note for note in self.notes], [False, False, True])
        self.assertTrue(all("It stands in your input again" in note for note in self.notes))
        self.dispatch.keys = None
        self.assertFalse(self.send(b"<get_rooms>"))
        self.assertIn("Type it again", self.notes[-1])

    def test_no_command(self) -> None:
        """What no connection makes a command is not given back."""
        self.member.client = None
        self.assertFalse(self.send(b"hello all"))
        self.assertEqual((self.notes, self.given_back), ([f"* {NO_COMMAND}"], []))

    def test_too_many(self) -> None:
        """Messages that go as they were typed are not sent when too many have no answer."""
        for _ in range(UNKEPT_LIMIT):
            self.assertTrue(self.send(b"<set_msg label=1>bob hi"))
        self.assertFalse(self.send(b"<set_msg label=1>bob no"))
        self.assertEqual((len(self.wire.sent), self.given_back), (UNKEPT_LIMIT, [b"<set_msg label=1>bob no"]))

    def test_several_lines(self) -> None:
        """They are a message that may wait, or are not sent."""
        self.assertTrue(self.send(b"<set_msg_all>one\ntwo"))
        self.assertFalse(self.send(b"<set_msg_all label=1>one\ntwo"))
        self.assertEqual((self.posted, self.given_back), ([b"one\ntwo"], [b"<set_msg_all label=1>one\ntwo"]))

    def test_entries(self) -> None:
        """What was entered at once is lines, one message, or neither; a line that is too long is given back."""
        long = b"<set_msg_all>" + b"x" * CLIENT_LINE_LIMIT
        self.assertEqual(self.dispatch.lines(long), [None])
        self.assertEqual(self.given_back, [long])
        self.assertEqual(
            self.dispatch.lines(Pasted(b"<get_users>\n<get_rooms>")), [b"<get_users>", b"<get_rooms>"]
        )
        for entry, why in ((Pasted(b"one\ntwo"), NO_COMMANDS), (b"one\ntwo", NO_MESSAGE)):
            self.assertEqual(self.dispatch.lines(entry), [])
            self.assertEqual(self.notes[-1], f"* {why}")
