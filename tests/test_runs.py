"""Runs: what is said to everybody in lines right behind one another is the same as if each were said by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.chatkit import Chat, Talk, examples

LINES = (
    b"<set_msg_all>a", b"<set_msg_all>b", b"<set_msg_all>c d ", b"<set_msg_all>\xc3\xa9", b"<set_msg_all>%d",
    "<set_msg_all>\u202eé".encode(), b"<set_msg_all> ", b"<set_msg_all>", b"<set_msg_all>\xff", b"<set_msg_all>\xc3",
    b"<set_msg_all>\t", b"<set_msg_all>\x00", b"<set_msg_all label=1>x", b"<set_msg_all once=k>x", b"<set_msg>bob x",
    b"<set_msg>#tea x", b"<ping>x", b"", None,
)  # fmt: skip
PEOPLE = (b"alice", b"bob", b"carol", b"dave", b"erin")


class Place:
    """A chat in which the same is said, in runs or line by line."""

    def __init__(self, runs: bool, caught_up: bool) -> None:
        self.runs = runs
        self.now = 0.0
        self.chat = Chat()
        hellos = (b"", b"", b"<hello caps=ack>", b"<hello caps=ack,resume,multiline>", b"<hello>")
        self.talks = [self.chat.connect(*each) for each in zip(PEOPLE, hellos, strict=True)]
        for talk in self.talks[:2]:
            self.chat.enter(talk, b"#tea")
        self.chat.say(self.talks[4], b"<ignore>alice")
        # Who comes back, and has not been told yet what she missed; and who has no name.
        self.chat.hub.leave(self.talks[3].peer)
        self.talks[3] = self.chat.resume(b"dave", b"resume=token1")
        self.talks.append(Talk(self.chat.hub))
        for talk in self.talks:
            talk.heard()
        if caught_up:
            self.do("catch up", 3)

    def say(self, number: int, lines: Iterable[bytes | None]) -> None:
        talk, held = self.talks[number], deque(lines)
        while held:
            taken = talk.session.receive_run(held, 3) if self.runs else 0
            if not taken:
                taken = 1
                talk.say(held[0])
            for _ in range(taken):
                held.popleft()

    def do(self, step: str, number: int) -> None:
        chat, talk = self.chat, self.talks[number]
        if step == "commit":
            self.now += 1.0
            chat.commit(self.now)
        elif step == "refuse":
            chat.refuse()
        elif step == "leave":
            chat.hub.leave(talk.peer)
        elif step == "reach" and talk.peer.identity is not None:
            chat.hub.reached(talk.peer, talk.peer.mailbox.total - talk.peer.mailbox.queued)
            chat.hub.count(self.now)
        elif step == "hear":
            chat.reach(talk)
        elif step == "catch up" and chat.hub.catching(self.talks[3].peer) is not None:
            chat.catch_up(self.talks[3])
        elif step == "listen" and (catchup := chat.hub.catching(self.talks[3].peer)) is not None:
            catchup.listen(chat.hub.last_id)

    def state(self) -> list[object]:
        peers = [talk.peer for talk in self.talks]
        return [
            [talk.heard() for talk in self.talks],
            [(peer.posted, peer.settled, peer.behind, peer.holding) for peer in peers],
            [(peer.identity.typed, peer.identity.sent) for peer in peers if peer.identity is not None],
            [peer.unacked.oldest(1 << 20) for peer in peers if peer.unacked is not None],
            [(peer.unacked.messages, peer.unacked.size) for peer in peers if peer.unacked is not None],
            [talk.session.said for talk in self.talks],
            self.chat.journal,
            self.chat.hub.posting,
            len(self.chat.hub._groups),
        ]


_SAYING = st.tuples(st.integers(0, 5), st.lists(st.sampled_from(LINES), min_size=1, max_size=7))
_DOING = st.tuples(
    st.sampled_from(["commit", "commit", "refuse", "leave", "reach", "hear", "catch up", "listen"]),
    st.integers(0, 4),
)


class Same(SynchronousTestCase):
    """Everybody is told the same, and the journal has the same."""

    @examples(300)
    @given(st.lists(st.one_of(_SAYING, _SAYING, _DOING), min_size=1, max_size=12), st.booleans())
    def test_same(
        self, steps: list[tuple[int, list[bytes | None]] | tuple[str, int]], caught_up: bool
    ) -> None:
        together, apart = Place(True, caught_up), Place(False, caught_up)
        for step in steps:
            for place in (together, apart):
                if isinstance(step[0], str):
                    assert isinstance(step[1], int)
                    place.do(step[0], step[1])
                else:
                    assert not isinstance(step[1], int)
                    place.say(step[0], step[1])
        for last in ("commit", "listen", "commit", "catch up", "hear", "commit", "reach"):
            for place in (together, apart):
                place.do(last, 1)
            self.assertEqual(together.state(), apart.state())
        for place in (together, apart):
            place.chat.hub.count(place.now + 6.0)
        self.assertEqual(together.state(), apart.state())

    def test_closing(self) -> None:
        """Nothing that comes behind the end of a connection is said any more."""
        for runs in (True, False):
            place = Place(runs, caught_up=True)
            place.talks[0].session.closing = True
            before = len(place.chat.journal)
            place.say(0, [b"<set_msg_all>a", b"<set_msg_all>b"])
            place.chat.commit()
            self.assertEqual(len(place.chat.journal), before)

    def test_ended(self) -> None:
        """Who can come back, and ended meanwhile, is answered when she is back, and not on what she had before."""
        for runs in (True, False):
            place = Place(runs, caught_up=True)
            dave = place.talks[3]
            place.say(3, [b"<set_msg_all>a", b"<set_msg_all>b"])
            place.chat.hub.leave(dave.peer)
            place.chat.commit()
            self.assertEqual(dave.heard(), [])
            self.assertEqual([entry.text for _, entry in place.chat.journal[-2:]], [b"a", b"b"])
