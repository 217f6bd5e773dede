"""The mailbox and the unacknowledged, each against a model that keeps every byte and every message by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.mailbox import Mailbox, Parcel, Unacked
from tests.chatkit import examples


class Queue(SynchronousTestCase):
    """`Mailbox` gives out what was put in, in order."""

    def test_in_order(self) -> None:
        """Buffers come out whole, oldest first, joined until the limit is reached."""
        mailbox = Mailbox()
        for data in (b"one\n", b"two\n", b"three\n", b"four\n"):
            mailbox.put(data)
        self.assertEqual((mailbox.queued, mailbox.total), (19, 19))
        self.assertEqual(mailbox.take(8), b"one\ntwo\n")
        self.assertEqual((mailbox.queued, mailbox.total), (11, 19))
        self.assertEqual(mailbox.take(1000), b"three\nfour\n")
        self.assertEqual(mailbox.take(1000), b"")
        self.assertEqual((mailbox.queued, mailbox.total), (0, 19))

    def test_shared(self) -> None:
        """A buffer that is taken alone is the very object that was put in: a broadcast is not copied."""
        data, more = b"x" * 100, b"y\n"
        for queued in ([data], [data, more]):
            mailbox = Mailbox()
            for buffer in queued:
                mailbox.put_messages(buffer, 1)
            self.assertIs(mailbox.take(100), data)

    def test_marks(self) -> None:
        """A position tells the highest id whose bytes all lie before it, once."""
        mailbox = Mailbox()
        self.assertFalse(mailbox.marked)
        self.assertEqual(mailbox.reached(0), 0)
        mailbox.put(b"12345")
        mailbox.put_messages(b"12345", 7)
        mailbox.put_messages(b"12345", 9)
        self.assertTrue(mailbox.marked)
        self.assertEqual(mailbox.reached(9), 0)
        self.assertEqual(mailbox.reached(10), 7)
        self.assertEqual(mailbox.reached(10), 0)
        self.assertTrue(mailbox.marked)
        self.assertEqual(mailbox.reached(99), 9)
        self.assertFalse(mailbox.marked)

    def test_many_marks(self) -> None:
        """Each position tells the highest of those that it has passed, be they one or several, and takes them away."""
        for steps in (
            ((4, 0), (5, 1), (16, 3), (19, 0), (20, 4)),
            ((12, 2), (12, 0), (20, 4)),
            ((20, 4), (20, 0)),
        ):
            mailbox = Mailbox()
            for id in range(1, 5):
                mailbox.put_messages(b"12345", id)
            for position, upto in steps:
                self.assertEqual(mailbox.reached(position), upto)
                self.assertEqual(mailbox.marked, position < 20)

    def test_pieces_of_something_larger(self) -> None:
        """What waits for a slow peer is no part of a larger buffer, which nobody would count."""
        large = memoryview(b"x" * 100_000)
        behind, stuck, long = Mailbox(), Mailbox(), Mailbox()
        behind.put(b"first\n")
        stuck.waits = True
        for mailbox in (behind, stuck, long):
            mailbox.put_pieces([b"own\n", large[:9], large[9:18]], 22, 1)
        self.assertEqual(long.take(5), b"own\n" + b"x" * 9)
        for mailbox in (behind, stuck, long):
            queue = mailbox.queue
            self.assertEqual(
                {type(each) for each in ([queue] if isinstance(queue, bytes) else queue)}, {bytes}
            )

    def test_between_marks(self) -> None:
        """A position that is just a mark's has reached it."""
        for first in (10, 20, 29):
            mailbox = Mailbox()
            for id in (1, 2, 3):
                mailbox.put_messages(b"1234567890", id)
            self.assertEqual([mailbox.reached(first), mailbox.reached(30)], [first // 10, 3])

    def test_clear(self) -> None:
        """What is dropped was never sent: its marks go, those of what was taken stay."""
        mailbox = Mailbox()
        mailbox.put_messages(b"12345", 1)
        mailbox.take(1)
        mailbox.put_messages(b"12345", 2)
        mailbox.put(b"12345")
        mailbox.clear()
        self.assertEqual((mailbox.queued, mailbox.total, mailbox.take(9)), (0, 5, b""))
        mailbox.put(b"<goodbye>\n")
        self.assertEqual((mailbox.queued, mailbox.total), (10, 15))
        self.assertEqual(mailbox.reached(15), 1)
        self.assertFalse(mailbox.marked)
        empty = Mailbox()
        empty.clear()
        self.assertEqual((empty.queued, empty.total, empty.marked), (0, 0, False))

    def test_clear_behind_several(self) -> None:
        """All marks of what was taken stay."""
        mailbox = Mailbox()
        for id in (1, 2, 3, 4):
            mailbox.put_messages(b"12345", id)
        mailbox.take(10)
        mailbox.clear()
        self.assertEqual([mailbox.reached(position) for position in (5, 9, 10, 20)], [1, 0, 2, 0])
        self.assertFalse(mailbox.marked)

    def test_after_clear(self) -> None:
        """Messages put in after others were dropped vouch for none of those: they carry no mark."""
        mailbox = Mailbox()
        mailbox.put_messages(b"12345", 1)
        mailbox.clear()
        mailbox.put_messages(b"12345", 2)
        self.assertEqual(mailbox.take(9), b"12345")
        self.assertFalse(mailbox.marked)
        self.assertEqual(mailbox.reached(5), 0)

    @examples(300)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("put"), st.integers(1, 9)),
                st.tuples(st.just("messages"), st.integers(1, 9)),
                st.tuples(st.just("pieces"), st.integers(1, 9)),
                st.tuples(st.just("take"), st.integers(1, 20)),
                st.tuples(st.just("reached"), st.integers(0, 12)),
                st.tuples(st.just("clear"), st.just(1)),
                st.tuples(st.just("waits"), st.just(1)),
            ),
            max_size=40,
        )
    )
    def test_model(self, steps: list[tuple[str, int]]) -> None:
        """Any puts, takes, positions and drops: a stream of bytes with ids at some places."""
        mailbox = Mailbox()
        stream, taken, id = b"", 0, 0
        cleared = False
        ends: list[int] = []  # where in the stream each buffer ends
        marks: dict[int, int] = {}
        for what, number in steps:
            data = bytes([97 + len(ends) % 26]) * number
            if what == "put":
                mailbox.put(data)
            elif what == "messages":
                id += number
                mailbox.put_messages(data, id)
                if not cleared:
                    marks[len(stream) + number] = id
            elif what == "pieces":
                # Half of them have messages among them.  In a queue with more before it they are one.
                first = number // 2
                pieces: list[bytes | memoryview] = [data[:first], memoryview(data)[first:]]
                apart = first > 0 and not mailbox.queued and not mailbox.waits
                id += number % 2
                mailbox.put_pieces(pieces, number, id * (number % 2))
                if number % 2 and not cleared:
                    marks[len(stream) + number] = id
                if apart:
                    ends.append(len(stream) + first)
            if what in ("put", "messages", "pieces"):
                stream += data
                ends.append(len(stream))
            elif what == "take":
                end = next((end for end in ends if end - taken >= number), len(stream))
                took = mailbox.take(number)
                self.assertEqual((type(took), took), (bytes, stream[taken:end]))
                taken = end
                ends = [end for end in ends if end > taken]
            elif what == "reached":
                position = taken * number // 12
                if number % 3 == 0:
                    # A mark itself.
                    position = max([at for at in marks if at <= position], default=position)
                passed = {at: mark for at, mark in marks.items() if at <= position}
                self.assertEqual(mailbox.reached(position), max(passed.values(), default=0))
                marks = {at: mark for at, mark in marks.items() if at > position}
            elif what == "waits":
                mailbox.waits = not mailbox.waits
            elif what == "clear":
                mailbox.clear()
                cleared = True
                stream, ends = stream[:taken], []
                marks = {at: mark for at, mark in marks.items() if at <= taken}
            self.assertEqual((mailbox.queued, mailbox.total), (len(stream) - taken, len(stream)))
            self.assertEqual(mailbox.marked, bool(marks))


class Owed(SynchronousTestCase):
    """`Unacked` keeps what was sent until it is acknowledged."""

    def sent(self, *parcels: dict[int, bytes]) -> Unacked:
        unacked = Unacked()
        for parcel in parcels:
            unacked.sent(Parcel([*parcel], [*parcel.values()], sum(map(len, parcel.values()))))
        return unacked

    def test_cumulative(self) -> None:
        """An ack takes out all that was sent up to it, in and across parcels."""
        unacked = self.sent({1: b"a", 3: b"bb"}, {4: b"ccc", 5: b"dddd", 6: b"eeeee"}, {9: b"f"})
        self.assertEqual((unacked.messages, unacked.size), (6, 16))
        self.assertEqual(unacked.ack(1), 1)
        self.assertEqual((unacked.messages, unacked.size), (5, 15))
        self.assertEqual(unacked.ack(5), 3)
        self.assertEqual((unacked.messages, unacked.size), (2, 6))
        self.assertEqual(unacked.oldest(100), b"eeeeef")
        self.assertEqual(unacked.ack(9), 2)
        self.assertEqual((unacked.messages, unacked.size, unacked.oldest(100)), (0, 0, b""))

    def test_not_sent(self) -> None:
        """An id that was not sent, is acknowledged already, or is yet to come takes out nothing."""
        unacked = self.sent({2: b"a", 4: b"b", 6: b"c"}, {8: b"d"})
        self.assertEqual(unacked.ack(4), 2)
        for id in (0, 1, 2, 3, 4, 5, 7, 9):
            self.assertIsNone(unacked.ack(id), id)
        self.assertEqual((unacked.messages, unacked.size), (2, 2))
        self.assertIsNone(Unacked().ack(1))

    def test_oldest(self) -> None:
        """What is sent again is whole lines, oldest first: one at least, and no more than the limit."""
        unacked = self.sent({1: b"a\n", 2: b"bb\n"}, {3: b"ccc\n"})
        for limit, again in [
            (0, b"a\n"),
            (4, b"a\n"),
            (5, b"a\nbb\n"),
            (8, b"a\nbb\n"),
            (9, b"a\nbb\nccc\n"),
        ]:
            self.assertEqual(unacked.oldest(limit), again, limit)
        self.assertEqual(unacked.messages, 3)

    @examples(150)
    @given(st.data())
    def test_model(self, data: st.DataObject) -> None:
        """Any parcels, acks and re-sends: a dictionary from id to line."""
        unacked = Unacked()
        owed: dict[int, bytes] = {}
        last = 0
        for _ in range(data.draw(st.integers(1, 25))):
            step = data.draw(st.sampled_from(["sent", "ack", "ack", "oldest"]))
            if step == "sent":
                ids = sorted(data.draw(st.sets(st.integers(last + 1, last + 8), min_size=1)))
                last = ids[-1]
                lines = [b"%d" % id * data.draw(st.integers(0, 3)) + b"\n" for id in ids]
                unacked.sent(Parcel(ids, lines, sum(map(len, lines))))
                owed.update(zip(ids, lines, strict=True))
            elif step == "ack":
                upto = data.draw(st.integers(0, last + 1))
                gone = [id for id in owed if id <= upto]
                self.assertEqual(unacked.ack(upto), len(gone) if upto in owed else None)
                if upto in owed:
                    for id in gone:
                        del owed[id]
            else:
                limit = data.draw(st.integers(0, 30))
                lines = [*owed.values()]
                count = max(n for n in range(len(lines) + 1) if n <= 1 or sum(map(len, lines[:n])) <= limit)
                self.assertEqual(unacked.oldest(limit), b"".join(lines[:count]))
            self.assertEqual((unacked.messages, unacked.size), (len(owed), sum(map(len, owed.values()))))
