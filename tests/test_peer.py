"""Sending the same to very many is what sending to each is; and what waits for a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.mailbox import Unacked
from pychat.peer import SAID, Messages, Peer, send_all
from pychat.roster import Identity
from pychat.taking import _JOIN, TOPIC
from pychat.vocabulary import Kind
from tests.chatkit import examples

if TYPE_CHECKING:
    from pychat.peer import Person

DEEDS = st.lists(st.sampled_from(("tell", "send", "take", "clear", "reached", "clean")), max_size=8)


class SendAll(SynchronousTestCase):
    """`send_all`."""

    @examples(100)
    @given(st.lists(st.tuples(st.booleans(), DEEDS), max_size=4))
    def test_like_send(self, histories: list[tuple[bool, list[str]]]) -> None:
        """Whatever happened to a peer before, it is as if it had been sent to alone."""
        dirty: tuple[list[Peer], list[Peer]] = [], []
        pairs = []
        for acks, history in histories:
            pair = [Peer(some) for some in dirty]
            for peer in pair:
                peer.unacked = Unacked() if acks else None
                for number, deed in enumerate(history, 1):
                    self.do(peer, deed, number)
            pairs.append(pair)
        lines = [b"one\n", b"two\n"]
        for ids in ([20, 21], [22, 23]):
            send_all([one for one, _ in pairs], b"".join(lines), ids, lines, dirty[0])
            for _, other in pairs:
                other.send(b"".join(lines), ids, lines)
        self.assertEqual(*[[pair[side] in dirty[side] for pair in pairs] for side in (0, 1)])
        for one, other in pairs:
            self.assertEqual(self.state(one), self.state(other))

    def test_marks(self) -> None:
        """Each message counts from its last byte on, also where something stood before it that is none."""
        peer = Peer([])
        for id in (1, 2, 3, 4):
            if id == 2:
                peer.tell(b"line\n")
            send_all([peer], b"message\n", [id], [b"message\n"], [])
        ends = {8: 1, 21: 2, 29: 3, 37: 4}
        self.assertEqual(
            [peer.mailbox.reached(at) for at in range(38)], [ends.get(at, 0) for at in range(38)]
        )

    def test_served(self) -> None:
        """Who was given something else in place of this is left out; who was in place of something before is not."""
        dirty: list[Peer] = []
        peers = [Peer(dirty) for _ in range(3)]
        peers[0].served, peers[1].served = 21, 19
        send_all(peers, b"one\ntwo\n", [20, 21], [b"one\n", b"two\n"], dirty, 21)
        self.assertEqual([peer.mailbox.take(100) for peer in peers], [b"", b"one\ntwo\n", b"one\ntwo\n"])
        self.assertEqual(dirty, peers[1:])

    def do(self, peer: Peer, deed: str, number: int) -> None:
        mailbox = peer.mailbox
        if deed == "tell":
            peer.tell(b"line\n")
        elif deed == "send":
            peer.send(b"message\n", [number], [b"message\n"])
        elif deed == "take":
            mailbox.take(6)
        elif deed == "clear":
            mailbox.clear()
        elif deed == "reached":
            mailbox.reached(mailbox.total - mailbox.queued)
        else:
            peer.dirty = False

    def state(self, peer: Peer) -> list[object]:
        mailbox, unacked = peer.mailbox, peer.unacked
        return [
            peer.dirty, mailbox.queued, mailbox.total, mailbox.marked,
            [mailbox.reached(position) for position in range(mailbox.total + 1)], mailbox.take(10_000),
            unacked and (unacked.messages, unacked.size, unacked.oldest(10_000)),
        ]  # fmt: skip


class Kinds(SynchronousTestCase):
    """The plain numbers that stand for kinds."""

    def test_same(self) -> None:
        """They are those of `Kind`."""
        self.assertEqual([SAID, TOPIC, _JOIN], [Kind.SAID, Kind.TOPIC, Kind.JOIN])


class Waiting(SynchronousTestCase):
    """`Messages`."""

    @examples(200)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("add"), st.integers(1, 3)),
                st.tuples(st.just("take"), st.integers(0, 30)),
                st.tuples(st.just("keep"), st.integers(0, 6)),
                st.tuples(st.just("hand on"), st.just(0)),
            ),
            max_size=30,
        )
    )
    def test_all_that_is_done(self, deeds: list[tuple[str, int]]) -> None:
        """What is taken is what there is up to an id, in order, each with its sender; and the rest stays."""
        messages = Messages()
        there: list[tuple[int, Person]] = []
        newest = 0
        for deed, number in deeds:
            if deed == "add":
                newest += number
                person: Person = Identity(f"p{newest}", f"p{newest}", None, newest)
                messages.add(newest, person)
                there.append((newest, person))
            elif deed == "keep":
                messages.keep(number)
                there = there[-number:] if number else []
            elif deed == "take":
                self.assertEqual(pairs(messages.take(number)), [each for each in there if each[0] <= number])
                there = [each for each in there if each[0] > number]
            else:
                # To others, of which there may be some.
                older, messages = messages, Messages()
                if there:
                    messages.add(*there[0])
                messages.add_all(older.take_all()[2:])
                self.assertFalse(older)
            self.assertEqual((bool(messages), len(messages)), (bool(there), len(there)))
        self.assertEqual(pairs(messages.take_all()), there)


def pairs(flat: list[Any]) -> list[tuple[int, Person]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
