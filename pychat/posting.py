"""What is said, from the journal to everybody whom it concerns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from .batch import Batch
from .once import shrink
from .peer import SAID, SETTING, Messages, Peer, Post, Run
from .receipts import AnyCursor
from .recent import Recent
from .rendering import FULL, PLAIN
from .rooms import Room
from .taking import TOPIC, Taking, refusal

if TYPE_CHECKING:
    from .peer import Person

RECENT_LIMIT = 4096
"""At least so many messages' recipients are remembered, to judge the acks of plain peers."""

_ACCEPTED: Final = b"<accepted id=%d>all\n"


class Posting(Taking):
    """Everything that is on its way."""

    def __init__(self, *, durable: bool, make_token: Callable[[], bytes] | None = None) -> None:
        super().__init__(durable=durable, make_token=make_token)
        self._recent = Recent()
        self._counting: dict[Room, None] = {}

    def appended(self, posts: Sequence[Post], ids: Sequence[int], time_ms: int, now: float) -> None:
        """The journal has these: give them their ids, deliver them, and answer their senders.

        :param ids: one for each entry that :meth:`take` gave with the posts.
        :param now: seconds of a monotonic clock.
        """
        batch = Batch(time_ms)
        of = len(self._everybody) + len(self._catching) + self.roster.people_away
        given, taken = [*ids], 0
        everybody, receipts = self._everybody, self._groups
        if len(self._recent) > RECENT_LIMIT:
            self._recent.turn()
        recent = self._recent
        # Of who says something to all: who takes part and is not owed it, who is not shown it, how many are owed it.
        apart: dict[Person, tuple[list[AnyCursor], Sequence[Peer], int]] = {}
        for post in posts:
            to = post.to
            if post.is_new and to is not None and post.kind < TOPIC and not isinstance(to, Room):
                id = post.id = given[taken]
                taken += 1
                self._say_to_one(batch, post, to, id)
                continue
            if post.is_new and to is None and post.kind < TOPIC:
                # Most messages of a busy chat: here nothing is asked twice.
                person = post.person
                if type(post) is Run:
                    first, taken = taken, taken + len(post.texts)
                    these = tuple(given[first:taken])
                    answer = self._answers(post, these)
                    recent.note_all(these, person.key)
                else:
                    id = post.id = given[taken]
                    taken += 1
                    these = (id,)
                    answer = self._answer(post, id)
                    recent.note(id, None, person.key)
                found = apart.get(person)
                if found is None:
                    without = self._apart(person)
                    found = apart[person] = without, self._spared(person), of - len(without)
                without, spared, owed = found
                batch.broadcast(these, post, everybody, answer, spared)
                receipts.open(these, person, owed, now, without)
                continue
            if post.refusal is not None:
                batch.own(post.sender, refusal(post, post.refusal))
                continue
            if post.kind >= TOPIC and post.original is None:
                # What a room is from here on counts for what comes behind it.
                self._deliver(batch)
                taken += post.is_new
                self._change(post, given[taken - 1] if post.is_new else 0, time_ms)
                batch = Batch(time_ms)
                continue
            if post.kind == SETTING:
                batch.own(post.sender, post.text)
                continue
            if post.is_new:
                post.id = given[taken]
                taken += 1
            # Of a repeated one the first is in the journal, or it stands before this one in the same batch.
            id = (post.original or post).id
            assert id
            answer = self._answer(post, id)
            if post.original is not None:
                batch.own(post.sender, answer)
                continue
            assert isinstance(to, Room)
            self._say_in_room(batch, post, to, id, now, answer)
        if given:
            self._last_id = given[-1]
        self._deliver(batch)
        for post in posts:
            if post.once:
                shrink(post)
            if isinstance(post.to, Room):
                self._came(post)
            if post.sender.parting is not None:
                self._let_go(post.sender)

    def _answer(self, post: Post, id: int) -> bytes:
        if post.sender.identity is None and post.person.resumes and post.person.left is None:
            # Her connection ended before what stands before this: she is told behind that, when she is back.
            return b""
        return b"<accepted%s id=%d>%s\n" % (post.label, id, post.to.label if post.to is not None else b"all")

    def _answers(self, run: Run, ids: tuple[int, ...]) -> bytes:
        if run.sender.identity is None and not self._answer(run, ids[0]):
            return b""
        return _ACCEPTED * len(ids) % ids

    def _change(self, post: Post, id: int, time_ms: int) -> None:
        """A room is, from here on, what the journal says."""
        if id:
            post.id = self._last_id = id
        room, sender = post.to, post.sender
        assert isinstance(room, Room)
        if post.kind == TOPIC:
            answer = self._answer(post, id)
            room.topic, room.topic_by, room.topic_ms = post.text, post.person.name, time_ms
            lines = [room.topic_line(manner=manner, timed=False) for manner in (FULL, PLAIN)]
            self._tell_room(room, lines[0], post.person, lines[1], self._spared(post.person))
        else:
            if not post.moot:
                self._change_room(post, id)
            answer = self._answer_room(post)
        sender.tell(answer + sender.settle())

    def _deliver(self, batch: Batch) -> None:
        batch.deliver(self.dirty)
        for catchup in self._catching.values():
            catchup.overhear(batch)

    def _apart(self, person: Person) -> list[AnyCursor]:
        """Who takes part in what is said to everybody, and is not owed what this person says."""
        ignoring = self._ignored_by.get(person.key)
        if not ignoring:
            peer = person.peer
            here = peer is not None and not person.arriving and self._is_here(peer)
            return [person] if here or self._takes_part(person) else []
        return [each for each in dict.fromkeys((person, *ignoring)) if self._takes_part(each)]

    def _say_in_room(self, batch: Batch, post: Post, room: Room, id: int, now: float, answer: bytes) -> None:
        members = room.members
        apart = dict.fromkeys((post.person, *room.aside, *self._ignored_by.get(post.person.key, ())))
        without = [members[other] for other in apart if other in members]
        if post.kind == SAID:
            room.newest = id
        batch.broadcast((id,), post, room.audience, answer, self._spared(post.person))
        self._recent.note(id, room, post.person.key)
        self._counting[room] = None
        room.receipts.open((id,), post.person, len(members) - len(without), now, without)

    def _spared(self, person: Person) -> Sequence[Peer]:
        """The connections of those who ignore somebody."""
        ignoring = self._ignored_by.get(person.key)
        return () if not ignoring else [each.peer for each in ignoring if each.peer is not None]

    def _undelivered(self, post: Post, to: Person, id: int) -> bytes:
        """A private message came too late; return what its sender is to know at once."""
        reason = b"expired" if to.token or to.spare else b"gone"
        line = b"<undelivered id=%d reason=%s>%s\n" % (id, reason, to.label)
        if not post.person.resumes:
            return line
        self._ledger.owe(to, post.person, line)
        return b""

    def _say_to_one(self, batch: Batch, post: Post, to: Person, id: int) -> None:
        """Answer who says something to somebody, and deliver it."""
        sender, person = post.sender, post.person
        answer = self._answer(post, id)
        recipient = to.peer
        if post.blocked:
            if answer:
                # The journal has this with the message: there is nothing to wait for.
                answer += b"<undelivered id=%d reason=blocked>%s\n" % (id, to.label)
            batch.own(sender, answer)
        elif recipient is not None and recipient.hears:
            batch.own(sender, answer)
            batch.private(recipient, id, post)
            self._recent.note(id, to.key, person.key)
            awaiting = recipient.awaiting
            if awaiting is None:
                awaiting = recipient.awaiting = Messages()
            awaiting.add(id, person)
            to.kept = True  # when she ends, how far she came is to be known
        elif self._takes_mail(to):
            batch.own(sender, answer)
            if recipient is not None:
                batch.late(recipient, id, post)
            # Otherwise she will read it in the journal when she comes back.
        else:
            batch.own(sender, answer + self._undelivered(post, to, id))
