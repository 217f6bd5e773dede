"""Sending the same to very many is what sending to each is; and what waits for a verdict."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.mailbox import Unacked
from pychat.peer import Peer, send_all, split_off
from tests.chatkit import examples

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


class SplitOff(SynchronousTestCase):
    """`split_off`."""

    @given(st.lists(st.integers(1, 50), unique=True, max_size=8).map(sorted), st.integers(1, 51))
    def test_all_up_to(self, ids: list[int], upto: int) -> None:
        """What is taken out are the messages up to an id, each with its sender; the others stay in order."""
        messages = [each for id in [*ids, 60] for each in (id, f"by {id}")]
        taken = split_off(messages, upto)
        self.assertEqual(taken[::2], [id for id in ids if id <= upto])
        self.assertEqual(messages[::2], [id for id in [*ids, 60] if id > upto])
        for some in (taken, messages):
            self.assertEqual(some[1::2], [f"by {id}" for id in some[::2]])
        rest = [*messages]
        self.assertEqual((split_off(messages, 60), messages), (rest, []))
