"""Receipts of messages to everybody: cursors against a model with a row for each message and member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat import receipts
from pychat.receipts import Cursor, GroupReceipts
from tests.chatkit import examples


class Count(NamedTuple):
    """What is told, with names."""

    ids: tuple[int, ...]
    sender: object
    sent: int
    delivered: int
    gone: int
    of: int


@dataclass(eq=False)
class Member:
    """One connection: its cursor, and what it is owed, message by message."""

    cursor: Cursor
    owed: list[int] = field(default_factory=list)


@dataclass
class Message:
    """One message to everybody, with a row for each member it is owed to."""

    id: int
    sender: Cursor
    due: float
    rows: dict[Cursor, str]

    def count(self) -> Count:
        states = [*self.rows.values()]
        return Count(
            (self.id,),
            self.sender,
            states.count("sent"),
            states.count("delivered"),
            states.count("gone"),
            len(states),
        )


class Room:
    """The model: what everybody has is written down for each message and member; beside it, the real thing."""

    def __init__(self) -> None:
        self.real = GroupReceipts()
        self.last_id = 0
        self.members: list[Member] = []
        self.open: list[Message] = []

    def join(self, *, plain: bool = True) -> Member:
        member = Member(Cursor())
        member.cursor.plain = plain
        member.cursor.joined = self.last_id
        self.members.append(member)
        return member

    def leave(self, member: Member) -> None:
        self.members.remove(member)
        member.cursor.left = self.last_id
        self.real.departed(member.cursor)
        for message in self.open:
            if message.rows.get(member.cursor) == "none":
                message.rows[member.cursor] = "gone"

    def send(self, sender: Member, now: float, *ignorers: Member, many: int = 1) -> None:
        """Messages to everybody who does not ignore their sender; she may have left."""
        ids = tuple(range(self.last_id + 1, self.last_id + 1 + many))
        self.last_id += many
        apart = [member for member in self.members if member in (sender, *ignorers)]
        others = [member for member in self.members if member not in apart]
        without = [member.cursor for member in apart]
        self.real.open(ids, sender.cursor, len(others), now, without)
        for id in ids:
            for member in others:
                member.owed.append(id)
            rows = {member.cursor: "none" for member in others}
            self.open.append(Message(id, sender.cursor, now + 5.0, rows))

    def whisper(self, to: Member) -> None:
        """A private message: an id that moves one cursor only."""
        self.last_id += 1
        to.owed.append(self.last_id)

    def reach(self, member: Member, upto: int) -> None:
        """The peer's kernel has all that is owed up to a message."""
        member.cursor.sent = max(member.cursor.sent, upto)
        if member.cursor.plain:
            self._mark(member, upto, "none", "sent")

    def ack(self, member: Member, upto: int) -> None:
        """The peer acknowledges all that is owed up to a message."""
        member.cursor.acked = max(member.cursor.acked, upto)
        member.cursor.sent = max(member.cursor.sent, upto)
        self._mark(member, upto, "none", "delivered")
        self._mark(member, upto, "sent", "delivered")

    def _mark(self, member: Member, upto: int, old: str, new: str) -> None:
        for message in self.open:
            if message.id <= upto and message.rows.get(member.cursor) == old:
                message.rows[member.cursor] = new

    def expected(self, now: float) -> list[Count]:
        """What is final or due, by the rows; it is told now."""
        told = [m for m in self.open if "none" not in m.rows.values() or m.due <= now]
        self.open = [m for m in self.open if m not in told]
        return [message.count() for message in told]

    def settle(self, now: float) -> list[Count]:
        told = self.real.settle([member.cursor for member in self.members], now)
        return [Count((id,), *what) for some in told for ids, *what in some for id in ids]


class Counting(SynchronousTestCase):
    """`GroupReceipts` counts right, tells once, and tells when nothing can change any more."""

    def told(self, room: Room, now: float = 0.0) -> list[tuple[int, int, int, int, int]]:
        """(id, sent, delivered, gone, of) for each count that is told; it agrees with the model."""
        counts = room.settle(now)
        self.assertEqual(counts, room.expected(now))
        return [(c.ids[0], c.sent, c.delivered, c.gone, c.of) for c in counts]

    def test_nobody_else(self) -> None:
        """A message that nobody gets is final at once."""
        room = Room()
        alice = room.join()
        self.assertEqual(self.told(room), [])
        room.send(alice, 0.0)
        self.assertEqual(len(room.real), 1)
        self.assertEqual(self.told(room), [(1, 0, 0, 0, 0)])
        self.assertEqual((len(room.real), self.told(room)), (0, []))

    def test_final(self) -> None:
        """The count is told when the last one has it, and then never again."""
        room = Room()
        alice, bob, carol = room.join(), room.join(), room.join(plain=False)
        room.send(alice, 0.0)
        room.reach(bob, 1)
        self.assertEqual(self.told(room), [])
        room.reach(carol, 1)
        self.assertEqual(self.told(room), [], "who promised to acknowledge has it when it did")
        room.ack(carol, 1)
        self.assertEqual(self.told(room), [(1, 1, 1, 0, 2)])
        self.assertEqual(self.told(room, 9.0), [])

    def test_due(self) -> None:
        """After five seconds the count is told as it is."""
        room = Room()
        alice, bob, _, _ = room.join(), room.join(), room.join(), room.join(plain=False)
        room.send(alice, 10.0)
        room.reach(bob, 1)
        self.assertEqual(self.told(room, 14.99), [])
        self.assertEqual(self.told(room, 15.0), [(1, 1, 0, 0, 3)])

    def test_plain_peer_that_acks(self) -> None:
        """A plain peer that acknowledges is counted once, as delivered."""
        room = Room()
        alice, bob, carol = room.join(), room.join(), room.join()
        room.send(alice, 0.0)
        room.reach(bob, 1)
        room.ack(bob, 1)
        room.ack(carol, 1)
        self.assertEqual(self.told(room), [(1, 0, 2, 0, 2)])

    def test_late_joiner(self) -> None:
        """Who joined after a message is not counted, however far it comes."""
        room = Room()
        alice, bob = room.join(), room.join()
        room.send(alice, 0.0)
        carol, dave = room.join(), room.join(plain=False)
        room.send(alice, 0.0)
        room.reach(carol, 2)
        room.ack(dave, 2)
        self.assertEqual(self.told(room), [])
        room.reach(bob, 2)
        self.assertEqual(self.told(room), [(1, 1, 0, 0, 1), (2, 2, 1, 0, 3)])

    def test_late_joiner_who_left(self) -> None:
        """Nor does it count when who joined late leaves again."""
        room = Room()
        alice, bob = room.join(), room.join()
        room.send(alice, 0.0)
        carol, dave = room.join(), room.join()
        room.send(alice, 0.0)
        room.reach(carol, 2)
        room.leave(carol)
        room.leave(dave)
        self.assertEqual(self.told(room), [])
        room.reach(bob, 2)
        self.assertEqual(self.told(room), [(1, 1, 0, 0, 1), (2, 2, 0, 1, 3)])

    def test_sender_is_not_counted(self) -> None:
        """The sender does not owe herself her message, whatever others send her later."""
        for plain in (True, False):
            room = Room()
            alice, bob = room.join(plain=plain), room.join()
            room.send(alice, 0.0)
            room.send(bob, 0.0)
            room.ack(alice, 2) if not plain else room.reach(alice, 2)
            self.assertEqual(self.told(room), [(2, int(plain), int(not plain), 0, 1)])
            room.reach(bob, 1)
            self.assertEqual(self.told(room), [(1, 1, 0, 0, 1)])

    def test_sender_left(self) -> None:
        """A sender who left is not among the gone, whether her cursor passed her message or not."""
        for plain in (True, False):
            for reaches in (True, False):
                room = Room()
                alice, bob = room.join(plain=plain), room.join()
                room.send(alice, 0.0)
                room.send(bob, 0.0)
                if reaches:
                    room.reach(alice, 2) if plain else room.ack(alice, 2)
                room.leave(alice)
                room.reach(bob, 1)
                counts = (int(reaches and plain), int(reaches and not plain), int(not reaches))
                self.assertEqual(self.told(room), [(1, 1, 0, 0, 1), (2, *counts, 1)])

    def test_sender_left_before_acceptance(self) -> None:
        """A sender who left before her message was in the journal changes no count."""
        room = Room()
        alice, _, carol = room.join(), room.join(), room.join()
        room.send(carol, 0.0)
        room.leave(alice)
        room.send(alice, 0.0)
        self.assertEqual(self.told(room, 5.0), [(1, 0, 0, 1, 2), (2, 0, 0, 0, 2)])

    def test_gone(self) -> None:
        """Who left counts as what it had: sent, delivered, or gone."""
        room = Room()
        alice, bob, carol, dave = room.join(), room.join(), room.join(plain=False), room.join(plain=False)
        room.send(alice, 0.0)
        room.send(alice, 0.0)
        room.reach(bob, 1)
        room.ack(carol, 1)
        room.reach(dave, 2)
        for member in (bob, carol, dave):
            room.leave(member)
        self.assertEqual(self.told(room), [(1, 1, 1, 1, 3), (2, 0, 0, 3, 3)])

    def test_left_before(self) -> None:
        """Who left before a message was accepted is not part of it."""
        room = Room()
        alice, bob, carol = room.join(), room.join(), room.join()
        room.send(alice, 0.0)
        room.leave(bob)
        room.send(alice, 0.0)
        room.reach(carol, 2)
        self.assertEqual(self.told(room), [(1, 1, 0, 1, 2), (2, 1, 0, 0, 1)])

    def test_departed_are_let_go(self) -> None:
        """Nobody who left is held longer than a message that may need it."""
        room = Room()
        alice, bob = room.join(), room.join()
        room.leave(bob)
        self.assertEqual(len(room.real._departed), 0)
        carol = room.join()
        room.send(alice, 0.0)
        room.leave(carol)
        self.assertEqual(self.told(room), [(1, 0, 0, 1, 1)])
        room.join()
        room.send(alice, 0.0)
        self.assertEqual(self.told(room), [])
        self.assertEqual(len(room.real._departed), 0)

    def test_too_many(self) -> None:
        """Past the limit the oldest are told early, as they are."""
        self.patch(receipts, "OPEN_LIMIT", 2)
        room = Room()
        alice, bob = room.join(), room.join()
        for _ in range(4):
            room.send(alice, 0.0)
        self.assertEqual([count.ids[0] for count in room.settle(0.0)], [1, 2])
        room.send(alice, 0.0)
        room.reach(bob, 3)
        self.assertEqual([count.ids[0] for count in room.settle(0.0)], [3])
        self.assertEqual(len(room.real), 2)

    def test_run(self) -> None:
        """What is the same of several messages of one sender is told together."""
        room = Room()
        alice, bob, carol = room.join(), room.join(), room.join()
        room.send(alice, 0.0, many=5)
        room.reach(bob, 3)
        room.reach(carol, 2)
        counts = [
            (*ids, sent) for some in room.real.settle(self.cursors(room), 0.0) for ids, _, sent, *_ in some
        ]
        self.assertEqual(counts, [(1, 2, 2)])
        self.assertEqual(len(room.real), 3)
        counts = [
            (*ids, sent) for some in room.real.settle(self.cursors(room), 5.0) for ids, _, sent, *_ in some
        ]
        self.assertEqual(counts, [(3, 1), (4, 5, 0)])

    def cursors(self, room: Room) -> list[Cursor]:
        return [member.cursor for member in room.members]

    def test_too_many_in_a_run(self) -> None:
        """Past the limit no more of several messages are told early than have to be."""
        self.patch(receipts, "OPEN_LIMIT", 2)
        room = Room()
        alice, bob = room.join(), room.join()
        room.send(alice, 0.0)
        room.send(alice, 0.0, many=4)
        told = [*room.real.settle(self.cursors(room), 0.0)]
        self.assertEqual([[ids for ids, *_ in some] for some in told], [[(1,), (2, 3)]])
        self.assertEqual(len(room.real), 2)
        room.reach(bob, 5)
        self.assertEqual([count.ids[0] for count in room.settle(0.0)], [4, 5])

    def test_run_in_slices(self) -> None:
        """A slice ends behind several messages that were said together, and not in them."""
        room = Room()
        alice, bob = room.join(), room.join()
        room.send(alice, 0.0, many=3)
        room.send(alice, 0.0, many=3)
        room.reach(bob, 6)
        self.assertEqual([*self.some(room)], [[1], [4]])

    def some(self, room: Room) -> Iterator[list[int]]:
        """The ids of the counts that are told at once, of a settling of which two messages are looked at at once."""
        self.patch(receipts, "SETTLE_LIMIT", 2)
        for counts in room.real.settle([member.cursor for member in room.members], 0.0):
            yield [ids[0] for ids, *_ in counts]

    def test_slices(self) -> None:
        """Some are counted at once; what happens between is counted the next time, and nothing is lost."""
        room = Room()
        alice, bob = room.join(), room.join()
        for _ in range(5):
            room.send(alice, 0.0)
        room.reach(bob, 3)
        settling = self.some(room)
        self.assertEqual(next(settling), [1, 2])
        room.send(alice, 0.0)
        carol = room.join()
        room.send(alice, 0.0)
        self.assertEqual((next(settling), len(room.real)), ([3], 5 - 1))
        room.leave(bob)
        self.assertEqual([*settling], [[]])
        room.leave(carol)
        counts = [(c.ids[0], c.sent, c.delivered, c.gone, c.of) for c in room.settle(0.0)]
        self.assertEqual(counts, [(4, 0, 0, 1, 1), (5, 0, 0, 1, 1), (6, 0, 0, 1, 1), (7, 0, 0, 2, 2)])

    def test_a_crowd(self) -> None:
        """Where very many stand there are pauses before the counting; they are counted as they stood before these."""
        self.patch(receipts, "CROWD", 2)
        room = Room()
        alice, bob, carol = room.join(), room.join(), room.join()
        room.send(alice, 0.0)
        room.reach(bob, 1)
        settling = room.real.settle([member.cursor for member in room.members], 0.0)
        self.assertEqual(next(settling), [])
        room.send(alice, 0.0)
        room.reach(carol, 1)
        room.leave(bob)
        room.reach(alice, 2)
        self.assertEqual([*settling], [[]] * 4)
        room.send(room.members[0], 0.0, carol)
        self.assertEqual(self.told(room), [(1, 2, 0, 0, 2), (3, 0, 0, 0, 0)])
        room.leave(carol)
        self.assertEqual(self.told(room), [(2, 0, 0, 2, 2)])

    def test_a_crowd_and_nobody(self) -> None:
        """What is said to nobody in such a pause is told the next time; a settling that is left then loses nothing."""
        self.patch(receipts, "CROWD", 1)
        room = Room()
        alice, bob = room.join(), room.join()
        room.send(alice, 0.0)
        settling = room.real.settle([member.cursor for member in room.members], 0.0)
        next(settling)
        room.send(alice, 0.0, bob)
        self.assertEqual([*settling], [[]] * 4)
        another = room.real.settle([member.cursor for member in room.members], 0.0)
        next(another)
        another.close()  # type: ignore[attr-defined]
        room.reach(bob, 1)
        self.assertEqual(self.told(room), [(1, 1, 0, 0, 1), (2, 0, 0, 0, 0)])

    def test_who_is_apart_moves_between(self) -> None:
        """Who is owed nothing of a message is counted as she stood at the beginning, too."""
        room = Room()
        alice, bob, carol = room.join(), room.join(plain=False), room.join()
        for _ in range(4):
            room.send(alice, 0.0, carol)
        settling = self.some(room)
        self.assertEqual(next(settling), [])
        room.reach(carol, 4)
        room.reach(alice, 4)
        room.leave(alice)
        self.assertEqual([*settling], [[]])
        room.ack(bob, 4)
        told = [(c.ids[0], c.sent, c.delivered, c.gone, c.of) for c in room.settle(0.0)]
        self.assertEqual(told, [(id, 0, 1, 0, 1) for id in range(1, 5)])

    def test_given_up(self) -> None:
        """Of a settling that comes to a sudden end nothing is lost that was not told."""
        room = Room()
        alice, bob = room.join(), room.join()
        for _ in range(5):
            room.send(alice, 0.0)
        settling = self.some(room)
        self.assertEqual(next(settling), [])
        settling.close()
        room.reach(bob, 5)
        self.assertEqual([*self.some(room)], [[1, 2], [3, 4], [5]])

    @examples(400)
    @given(st.data())
    def test_model(self, data: st.DataObject) -> None:
        """Any joins, leaves, messages, positions and acks: the counts are those of the rows, told when final."""
        room = Room()
        now = 0.0
        everybody = [room.join(plain=data.draw(st.booleans())) for _ in range(data.draw(st.integers(1, 3)))]
        for _ in range(data.draw(st.integers(1, 40))):
            step = data.draw(st.sampled_from(
                ["join", "leave", "send", "send", "whisper", "reach", "reach", "ack", "late", "settle", "wait"]
            ))  # fmt: skip
            here = room.members
            if step == "join":
                everybody.append(room.join(plain=data.draw(st.booleans())))
            elif step == "late":
                room.send(data.draw(st.sampled_from(everybody)), now, many=data.draw(st.integers(1, 4)))
            elif step == "wait":
                now += data.draw(st.sampled_from([1.0, 4.0]))
            elif step == "settle":
                self.assertEqual(room.settle(now), room.expected(now))
                self.assertEqual(len(room.real), len(room.open))
            elif here:
                member = data.draw(st.sampled_from(here))
                if step == "leave":
                    room.leave(member)
                elif step == "send":
                    ignorers = data.draw(st.sets(st.sampled_from(everybody), max_size=2))
                    room.send(member, now, *ignorers, many=data.draw(st.integers(1, 4)))
                elif step == "whisper":
                    room.whisper(member)
                elif member.owed:
                    upto = data.draw(st.sampled_from(member.owed))
                    (room.reach if step == "reach" else room.ack)(member, upto)
        self.assertEqual(room.settle(now), room.expected(now))
        now += 5.0
        counts = room.settle(now)
        self.assertEqual(counts, room.expected(now))
        self.assertEqual(len(room.real), 0)
