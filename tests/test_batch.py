"""Batches: who shares a buffer, what an own one is made of, and what is delivered late."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.batch import Batch
from pychat.mailbox import Unacked
from pychat.peer import Messages, Peer, Post
from pychat.rendering import FULL, MULTI, PLAIN
from pychat.rooms import Audience, Member, Room
from pychat.roster import Identity
from pychat.vocabulary import Kind, RoomRecord
from tests.chatkit import NOON, NOON_MS


class BatchCase(SynchronousTestCase):
    """Alice says things; there are two rooms besides what is said to all."""

    def setUp(self) -> None:
        self.dirty: list[Peer] = []
        self.all = Audience()
        self.tea, self.coffee = Room(RoomRecord(-1, "#tea")), Room(RoomRecord(-2, "#coffee"))
        self.batch = Batch(NOON_MS)
        self.id = 0
        self.alice = self.peer("alice")
        self.voice = Peer([])  # hers, on a connection of which nobody here wants to know
        self.voice.identity = self.alice.identity

    def peer(self, name: str, *audiences: Audience, manner: int = PLAIN) -> Peer:
        """A connection that hears these."""
        peer = Peer(self.dirty)
        peer.manner = manner
        peer.identity = Identity(name, name, peer, 1)
        peer.awaiting = Messages()
        for audience in audiences:
            audience.add(peer)
        return peer

    def say(
        self, to: Room | None, text: bytes, *but: Peer,
        kind: int = Kind.SAID, ref: int = 0, by: Peer | None = None, answer: bytes = b"",
    ) -> Post:  # fmt: skip
        """Alice, or whose connection it is, says something to a group."""
        self.id += 1
        sender = by or self.voice
        sender.posted += 1
        post = Post(sender, to, text, kind=kind, ref=ref)
        self.batch.broadcast((self.id,), post, to.audience if to else self.all, answer, but)
        return post

    def whisper(self, to: Peer, text: bytes) -> None:
        """Alice says something to one."""
        self.id += 1
        self.batch.private(to, self.id, Post(self.alice, to.identity, text))

    def deliver(self) -> None:
        self.batch.deliver(self.dirty)

    def got(self, peer: Peer) -> list[bytes]:
        """The lines in a mailbox."""
        return peer.mailbox.take(1 << 20).split(b"\n")[:-1]

    def texts(self, peer: Peer) -> list[bytes]:
        return [line.partition(b">")[2] for line in self.got(peer)]


class Sharing(BatchCase):
    """One buffer for all who hear the same."""

    def test_one_place(self) -> None:
        """All in one place share what they take in the same manner, and nobody else gets anything."""
        pairs = [[self.peer("a", self.all, manner=manner), self.peer("b", self.all, manner=manner)]
                 for manner in (PLAIN, FULL)]  # fmt: skip
        other = self.peer("c")
        self.say(None, b"1")
        self.say(None, b"2")
        self.deliver()
        buffers = [[peer.mailbox.take(1 << 20) for peer in pair] for pair in pairs]
        for first, second in buffers:
            self.assertIs(first, second)
        self.assertEqual(buffers[0][0], b"<msg id=1 from=alice to=all>1\n<msg id=2 from=alice to=all>2\n")
        self.assertEqual(
            buffers[1][0],
            b"<msg id=1 from=alice to=all time=%s>1\n<msg id=2 from=alice to=all time=%s>2\n" % (NOON, NOON),
        )
        self.assertEqual(other.mailbox.total, 0)
        self.assertEqual(self.dirty, [peer for pair in pairs for peer in pair])
        self.assertTrue(all(peer.dirty for peer in self.dirty))
        self.batch = Batch(NOON_MS)
        self.say(None, b"3")
        self.deliver()
        self.assertEqual(len(self.dirty), 4)

    def test_several_places(self) -> None:
        """Who hears the same places in the same manner shares one buffer, with all in their order."""
        tea, coffee = self.tea.audience, self.coffee.audience
        both = [self.peer("a", self.all, tea), self.peer("b", tea, self.all)]
        full = self.peer("c", self.all, tea, manner=FULL)
        only, none = self.peer("d", coffee), self.peer("e")
        self.say(self.tea, b"1")
        self.say(None, b"2")
        self.say(self.coffee, b"3")
        self.say(self.tea, b"4")
        self.deliver()
        first, second = (peer.mailbox.take(1 << 20) for peer in both)
        self.assertIs(first, second)
        self.assertEqual(
            first,
            b"<msg id=1 from=alice to=#tea>1\n<msg id=2 from=alice to=all>2\n<msg id=4 from=alice to=#tea>4\n",
        )
        self.assertEqual(self.texts(full), [b"1", b"2", b"4"])
        self.assertEqual(self.texts(only), [b"3"])
        self.assertEqual(none.mailbox.total, 0)

    def test_one_of_two_rooms(self) -> None:
        """A line for a room does not reach who is in another one, also if it is the only place."""
        here, there = self.peer("a", self.tea.audience), self.peer("b", self.coffee.audience)
        self.say(self.tea, b"1")
        self.deliver()
        self.assertEqual((self.texts(here), there.mailbox.total), ([b"1"], 0))

    def test_positions(self) -> None:
        """Each knows the last of the messages that it got, and not of others'."""
        here, there = self.peer("a", self.tea.audience), self.peer("b", self.coffee.audience)
        self.say(self.tea, b"1")
        self.say(self.coffee, b"2")
        self.say(self.tea, b"3")
        self.deliver()
        self.assertEqual([peer.mailbox.reached(1 << 20) for peer in (here, there)], [3, 2])

    def test_multi(self) -> None:
        """Who takes several lines in one shares with other programs as long as there are none."""
        full, multi = self.peer("a", self.all, manner=FULL), self.peer("b", self.all, manner=MULTI)
        self.say(None, b"50%")
        self.deliver()
        first, second = (peer.mailbox.take(1 << 20).split(b"\n") for peer in (full, multi))
        self.assertEqual(first, second)
        self.batch = Batch(NOON_MS)
        plain = self.peer("c", self.all)
        self.say(None, b"50%")
        self.say(None, b"a%\nb")
        self.deliver()
        self.assertEqual(self.texts(full), [b"50%", b"a%", b"b"])
        self.assertEqual(
            self.got(plain),
            [b"<msg id=2 from=alice to=all>50%", b"<msg id=3 from=alice to=all part=1/2>a%",
             b"<msg id=3 from=alice to=all part=2/2>b"],
        )  # fmt: skip
        self.assertEqual(
            self.got(multi),
            [b"<msg id=2 from=alice to=all time=%s>50%%" % NOON,
             b"<msg id=3 from=alice to=all enc=pct time=%s>a%%25%%0Ab" % NOON],
        )  # fmt: skip

    def test_kinds(self) -> None:
        """What is about another message says so."""
        bob = self.peer("bob", self.all)
        self.say(None, b"x", ref=9)
        self.say(None, b"", kind=Kind.RETRACT, ref=9)
        self.say(None, "\u202e".encode())
        self.deliver()
        self.assertEqual(
            self.got(bob),
            [b"<msg id=1 from=alice to=all reply=9>x", b"<msg id=2 from=alice to=all retract=9>(message taken back)",
             "<msg id=3 from=alice to=all>\u2068\u202e\u2069".encode()],
        )  # fmt: skip

    def test_unacked(self) -> None:
        """Who acknowledges has to do so for each message that it got."""
        bob, carol = self.peer("bob", self.all), self.peer("carol", self.all, self.tea.audience)
        for peer in (bob, carol):
            peer.unacked = Unacked()
        self.say(None, b"1")
        self.say(self.tea, b"2")
        self.deliver()
        assert bob.unacked is not None
        assert carol.unacked is not None
        self.assertEqual((bob.unacked.messages, carol.unacked.messages), (1, 2))
        self.assertEqual(carol.unacked.oldest(1 << 20), carol.mailbox.take(1 << 20))

    def test_nothing(self) -> None:
        """An empty batch reaches nobody."""
        bob = self.peer("bob", self.all)
        self.deliver()
        self.assertEqual((bob.mailbox.total, self.dirty, self.batch.size), (0, [], 0))


class Own(BatchCase):
    """Who takes part gets a buffer of her own."""

    def test_answers(self) -> None:
        """An answer stands where her own line would, and she is written to first."""
        bob = self.peer("bob", self.all)
        self.all.add(self.alice)
        for text in (b"1", b"2"):
            self.say(None, text, by=self.alice, answer=b"<accepted>%s\n" % text)
        self.alice.posted += 1
        self.alice.answer(b"<pong>\n")
        self.batch.own(self.alice, b"<accepted>3\n")
        self.deliver()
        self.assertEqual(self.got(self.alice), [b"<accepted>1", b"<accepted>2", b"<accepted>3", b"<pong>"])
        self.assertEqual(self.texts(bob), [b"1", b"2"])
        self.assertEqual(self.dirty, [self.alice, bob])
        self.assertEqual(self.alice.mailbox.reached(1 << 20), 0)

    def test_among_others(self) -> None:
        """Her own lines stand in their place among those of others, whichever places she hears."""
        bob = self.peer("bob", self.all, self.tea.audience)
        carol = self.peer("carol", self.all)
        self.say(self.coffee, b"1")
        self.say(None, b"2")
        self.whisper(bob, b"3")
        self.whisper(carol, b"4")
        self.say(self.tea, b"5")
        self.say(self.tea, b"6", by=bob, answer=b"<accepted>x\n")
        self.say(None, b"7")
        self.deliver()
        self.assertEqual(self.texts(bob), [b"2", b"3", b"5", b"x", b"7"])
        self.assertEqual(self.texts(carol), [b"2", b"4", b"7"])
        self.assertEqual(bob.mailbox.reached(1 << 20), 7)

    def test_before_others(self) -> None:
        """What is hers and comes before anything that is said to groups stands before that, each with its own mark."""
        bob = self.peer("bob", self.all)
        self.whisper(bob, b"1")
        bob.posted += 1
        self.batch.own(bob, b"<accepted>x\n")
        self.say(None, b"2")
        self.whisper(bob, b"3")
        first = bob.mailbox.total
        self.deliver()
        self.assertEqual(bob.mailbox.reached(first), 1)
        self.assertEqual(bob.mailbox.reached(bob.mailbox.total - 1), 0)
        self.assertEqual(bob.mailbox.reached(bob.mailbox.total), 3)
        self.assertEqual(self.texts(bob), [b"1", b"x", b"2", b"3"])
        self.assertEqual(self.dirty, [bob])

    def test_unacked(self) -> None:
        """She acknowledges what is hers and what is everybody's, and both are sent again if she does not."""
        bob = self.peer("bob", self.all)
        bob.unacked = Unacked()
        self.say(None, b"1")
        bob.posted += 1
        self.batch.own(bob, b"<accepted>x\n")
        self.whisper(bob, b"2")
        self.deliver()
        lines = self.got(bob)
        self.assertEqual(bob.unacked.messages, 2)
        self.assertEqual(bob.unacked.oldest(1 << 20).split(b"\n"), [lines[0], lines[2], b""])

    def test_private_only(self) -> None:
        """Who hears no place gets her mail all the same, in her manner."""
        bob = self.peer("bob", manner=FULL)
        self.say(None, b"1")
        self.whisper(bob, b"2")
        self.deliver()
        self.assertEqual(self.got(bob), [b"<msg id=2 from=alice to=bob time=%s>2" % NOON])
        self.assertEqual(self.dirty, [bob])

    def test_answer_only(self) -> None:
        """An answer alone is no message that anybody would have to acknowledge."""
        self.alice.posted += 1
        self.batch.own(self.alice, b"<accepted>1\n")
        self.deliver()
        self.assertEqual((self.got(self.alice), self.alice.mailbox.reached(1 << 20)), ([b"<accepted>1"], 0))

    def test_no_answer(self) -> None:
        """Who is not answered gets an empty buffer of nothing."""
        self.alice.posted += 1
        self.batch.own(self.alice, b"")
        self.deliver()
        self.assertEqual((self.alice.mailbox.total, self.dirty), (0, []))

    def test_no_answer_among_others(self) -> None:
        """The same where something is said in several places."""
        self.all.add(self.alice)
        self.say(None, b"1", by=self.alice)
        self.say(self.coffee, b"2")
        self.deliver()
        self.assertEqual((self.alice.mailbox.total, self.alice.mailbox.queue), (0, None))


class Spared(BatchCase):
    """Who is not to get a line of a place that she hears."""

    def test_one_place(self) -> None:
        """She gets the others, and nothing at all if there are none."""
        bob, carol = self.peer("bob", self.all), self.peer("carol", self.all)
        dave = self.peer("dave", self.all)
        self.say(None, b"1", bob, carol)
        self.say(None, b"2", carol)
        self.deliver()
        self.assertEqual((self.texts(bob), carol.mailbox.total, self.texts(dave)), ([b"2"], 0, [b"1", b"2"]))
        self.assertEqual(self.dirty, [bob, dave])
        self.assertEqual(bob.mailbox.reached(1 << 20), 2)

    def test_several_places(self) -> None:
        """The same over several places, with lines of her own among them."""
        bob = self.peer("bob", self.all, self.tea.audience)
        carol = self.peer("carol", self.all, self.tea.audience)
        self.say(None, b"1", bob)
        self.say(self.tea, b"2", bob, carol)
        self.whisper(bob, b"3")
        self.say(self.tea, b"4", bob, by=bob, answer=b"<accepted>x\n")
        self.say(None, b"5")
        self.deliver()
        self.assertEqual(self.texts(bob), [b"3", b"x", b"5"])
        self.assertEqual(self.texts(carol), [b"1", b"4", b"5"])

    def test_not_there(self) -> None:
        """Who hears none of it is spared nothing."""
        bob = self.peer("bob", self.coffee.audience)
        self.say(self.tea, b"1", bob)
        self.say(None, b"2", bob)
        self.deliver()
        self.assertEqual((bob.mailbox.total, self.dirty), (0, []))


class Late(BatchCase):
    """What was set aside for who has just been told what she missed."""

    def late(self, to: Peer, text: bytes) -> None:
        self.id += 1
        self.batch.late(to, self.id, Post(self.alice, to.identity, text))

    def test_late(self) -> None:
        """Above an id, of the places that she is about to hear and is not spared, private lines in their places."""
        bob = self.peer("bob", manner=FULL)
        other = self.peer("carol")
        assert bob.identity is not None
        stay = Member(self.tea, bob.identity, 1)
        self.say(None, b"1")
        self.late(bob, b"2")
        self.say(None, b"3")
        self.late(bob, b"4")
        self.say(self.coffee, b"5")
        self.say(self.tea, b"6", other)
        self.late(other, b"7")
        self.say(self.tea, b"8", bob)
        self.say(None, b"9")
        self.assertEqual(self.batch.deliver_late(bob, 2, {self.all: None, self.tea.audience: stay}), 4)
        self.assertEqual(self.texts(bob), [b"3", b"4", b"6", b"9"])
        assert bob.awaiting is not None
        self.assertEqual(bob.awaiting.take_all(), [4, self.alice.identity])
        self.assertEqual(bob.mailbox.reached(1 << 20), 9)
        self.assertEqual(self.batch.size, 9)

    def test_owed(self) -> None:
        """Of a room she gets what was said while she was a member and did not mute it."""
        bob = self.peer("bob")
        assert bob.identity is not None
        stay = Member(self.tea, bob.identity, 1)
        for text in (b"1", b"2", b"3", b"4", b"5"):
            self.say(self.tea, text)
        stay.mute(3)
        stay.unmute(4)
        self.assertEqual(self.batch.deliver_late(bob, 0, {self.tea.audience: stay}), 3)
        self.assertEqual(self.texts(bob), [b"2", b"3", b"5"])

    def test_nothing(self) -> None:
        """Who has it all gets nothing."""
        bob = self.peer("bob")
        self.say(None, b"1")
        self.late(bob, b"2")
        self.say(None, b"3")
        self.assertEqual(self.batch.deliver_late(bob, 3, {self.all: None}), 0)
        self.assertEqual((bob.mailbox.total, len(bob.awaiting or ())), (0, 0))

    def test_lines(self) -> None:
        """Several lines come in her manner, and count as one message."""
        bob = self.peer("bob", manner=MULTI)
        self.say(None, b"a\nb")
        self.late(bob, b"c\nd")
        self.assertEqual(self.batch.deliver_late(bob, 0, {self.all: None}), 2)
        self.assertEqual(
            self.got(bob),
            [b"<msg id=1 from=alice to=all enc=pct time=%s>a%%0Ab" % NOON,
             b"<msg id=2 from=alice to=bob enc=pct time=%s>c%%0Ad" % NOON],
        )  # fmt: skip

    def test_live(self) -> None:
        """What is late for one is delivered to the others, and not to her."""
        bob, carol = self.peer("bob"), self.peer("carol", self.all)
        self.late(bob, b"1")
        self.say(None, b"2")
        self.deliver()
        self.assertEqual((bob.mailbox.total, self.texts(carol)), (0, [b"2"]))
