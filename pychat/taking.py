"""What is said, from a session into the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from .errors import JournalError, PychatError, RemoteProtocolError
from .gathering import Gathering
from .once import hand_on, lookup, recall
from .peer import SAID, SETTING, Known, Peer, Post, Run
from .rooms import Room
from .vocabulary import Entry, Kind, Texts

if TYPE_CHECKING:
    from .peer import Addressee, Person

TAKEN_BACK_LIMIT = 4096
"""Messages that were just taken back are remembered, so many of them."""

TOPIC: Final = 4
_JOIN: Final = 5
"""Of :class:`~pychat.vocabulary.Kind`; plain numbers are compared faster."""

HEARERS = 20
"""Connections that are told of a change of their room, and together cost what a message to a group does."""

BATCH_LIMIT = 256 * 1024
"""Bytes of lines in one batch for the journal, about; what is over waits for the next."""

WORK_LIMIT = 1000
"""Messages to all in one batch; others count three times, for what they touch is nobody else's.  It takes 4 to 8 ms."""

LINE_OVERHEAD: Final = 64
"""Bytes that a line has besides a name and a text, about."""


def refusal(post: Post, error: PychatError) -> bytes:
    """The answer to the sender of what was not accepted."""
    return b"<error code=%s%s>%s\n" % (error.code.encode(), post.label, error.sentence.encode())


_NOT_TAKEN_UP = RemoteProtocolError(
    "not-connected", "The connection ended before this was taken up. Say it again on the next one."
)


def no_such_message() -> RemoteProtocolError:
    """The answer to who says something about what she may not see."""
    return RemoteProtocolError(
        "no-such-message", "There is no such message for you, or it is not kept any more."
    )


_UNKEPT = JournalError(
    "journal-unavailable",
    "It is so from now on, but the chat's disk does not take it: a crash would undo it.",
)


def _ignored(person: Person) -> RemoteProtocolError:
    return RemoteProtocolError(
        "blocked", f"{person.name} ignores you, and keeps what you said before as it was."
    )


def taken_back() -> RemoteProtocolError:
    """The answer to who says something about what is there no more."""
    return RemoteProtocolError("no-such-message", "This message was taken back already.")


class Taking(Gathering):
    """What was said and is not in the journal yet."""

    def __init__(self, *, durable: bool, make_token: Callable[[], bytes] | None = None) -> None:
        super().__init__(durable=durable, make_token=make_token)
        self._pending: list[Post] = []
        self._taken_back: dict[int, None] = {}

    # -- from the sessions

    def say(self, sender: Peer, to: Person | None, text: bytes) -> None:
        """:meth:`post` a message to somebody or to everybody that comes with nothing else."""
        self._put(Post(sender, to, text), 1)

    def say_run(self, sender: Peer, texts: list[bytes], size: int) -> None:
        """The same for printable texts that a connection says to everybody, one right behind the other.

        :param size: their bytes, about.
        """
        self._put(Run(sender, texts, size), len(texts))

    def _put(self, post: Post, count: int) -> None:
        """What :meth:`_push` does with so many messages that come with nothing else."""
        sender = post.sender
        (self._pending if sender.early is None else sender.early).append(post)
        if sender.unacked is None:
            post.person.typed = self._last_id
        sender.posted += count

    def post(
        self,
        sender: Peer,
        to: Addressee,
        text: bytes,
        label: bytes = b"",
        once: bytes = b"",
        kind: int = SAID,
        ref: int = 0,
        blocked: bool = False,
    ) -> None:
        """Put something on its way; ``to`` is ``None`` for everybody.  The answer follows from the journal.

        :param label: the rendered attribute, `` label=…``, or nothing.
        :param kind: a :class:`~pychat.vocabulary.Kind`.
        :param ref: the message that it is about.
        :param blocked: its recipient was not shown that message, and is not shown this one.
        :raise RemoteProtocolError: ``key-reused``; ``no-such-message`` if what it is about was just taken back.
        """
        post = Post(sender, to, text, label, kind, ref)
        post.blocked = blocked
        post.once = once
        self._push(post)

    def _push(self, post: Post) -> None:
        sender = post.sender
        if sender.early is None:
            if post.once or post.kind:
                self._admit(post)
            self._pending.append(post)
        else:
            sender.early.append(post)
        if isinstance(post.to, Room):
            post.to.coming += 1
        if sender.unacked is None and post.kind == SAID:
            post.person.typed = self._last_id
        sender.posted += 1

    def _admit(self, post: Post) -> None:
        recall(post)
        if post.original is not None or post.kind not in (Kind.EDIT, Kind.RETRACT):
            return
        if post.ref in self._taken_back:
            if post.once and post.person.once:
                post.person.once.pop(post.once, None)
            raise taken_back()
        if post.kind == Kind.RETRACT:
            self._taken_back[post.ref] = None
            if len(self._taken_back) > TAKEN_BACK_LIMIT:
                del self._taken_back[next(iter(self._taken_back))]

    def _take_up(self, peer: Peer) -> None:
        early, peer.early = peer.early, None
        for post in early or ():
            try:
                self._admit(post)
            except RemoteProtocolError as error:
                post.refusal = error
            self._pending.append(post)

    def _give_up(self, peer: Peer) -> None:
        early, peer.early = peer.early, None
        self.refused(early or (), _NOT_TAKEN_UP)

    def _supersede(self, person: Person) -> None:
        dropped = [post for post in self._pending if post.person is person]
        if dropped:
            self._pending = [post for post in self._pending if post.person is not person]
            self.refused(dropped, _NOT_TAKEN_UP)

    def repeated(self, sender: Peer, once: bytes) -> Known | None:
        """What was said under this ``once=`` key before, if anything."""
        assert sender.identity is not None
        return lookup(sender.identity, once) if once else None

    def addressee(self, sender: Peer, once: bytes, name: str) -> Person | None:
        """To whom a message went that is repeated under its ``once=`` key, be she here or not."""
        original = self.repeated(sender, once)
        if original is None or original.to is None or isinstance(original.to, Room):
            return None
        return original.to if original.to.is_called(name) else None

    def conversation(self, person: Person, entry: Entry) -> Addressee:
        """Where something was said, if she may see it; whoever says something about it says it there.

        :raise RemoteProtocolError: ``no-such-message``, or ``no-such-user`` if the other one has left.
        """
        to = entry.to
        if to is None:
            return None
        if to < 0:
            room = self.rooms.numbered(to)
            if room is not None and person in room.members:
                return room
        elif person.id == entry.sender or (person.id == to and not entry.blocked):
            mine = person.id == entry.sender
            other = self.roster.numbered(to if mine else entry.sender)
            if other is not None:
                self.require_present(other)
                return other
            name = entry.to_name if mine else entry.sender_name
            raise RemoteProtocolError("no-such-user", f"{name} has left, and would not see it.")
        raise no_such_message()

    # -- into the journal

    @property
    def posting(self) -> bool:
        """True while somebody waits for the journal: there are posts to take, or changes with arrivals among them."""
        return bool(self._pending) or self._ledger.arrivals

    def take(self, time_ms: int) -> tuple[list[Post], list[Entry | Texts]] | None:
        """What to append now: posts, and their entries for the journal (none for a post that is not new).

        The caller appends and then calls :meth:`appended` or :meth:`refused` with the posts before it takes again.
        """
        if not self._pending:
            return None
        held: list[Post] = []
        if self._ledger.arrivals:
            # Who is let in later is heard later.
            awaited = self._ledger.awaited()
            held = [post for post in self._pending if post.sender in awaited]
            self._pending = [post for post in self._pending if post.sender not in awaited]
        size = 0
        count = work = 0
        pending, most, most_work = self._pending, BATCH_LIMIT, WORK_LIMIT
        while count < len(pending) and size < most and work < most_work:
            post = pending[count]
            if type(post) is Run:
                bytes_more = post.size + post.messages * (len(post.person.label) + LINE_OVERHEAD)
                if count and (size + bytes_more > most or work + post.messages > most_work):
                    break
                size += bytes_more
                work += post.messages
                count += 1
                continue
            size += len(post.text) + len(post.person.label) + LINE_OVERHEAD
            work += 1 if post.to is None else 3
            if post.kind >= TOPIC and isinstance(post.to, Room):
                work += len(post.to.audience) // HEARERS  # each of these is told by itself
            count += 1
        posts, self._pending = self._pending[:count], held + self._pending[count:]
        if not posts:
            return None
        turned: dict[tuple[Person, Addressee], int] = {}
        entries: list[Entry | Texts] = []
        for post in posts:
            if type(post) is Run:
                entries.append(post.entry(time_ms))
                continue
            to, kind = post.to, post.kind
            if kind >= _JOIN:
                before = turned.get((post.person, to))
                post.moot = self._changes_nothing(post) if before is None else before == kind
                turned[post.person, to] = kind
            elif to is not None and not isinstance(to, Room):
                ignored = bool(to.ignores) and post.person.key in to.ignores
                if ignored and kind == Kind.EDIT and not post.blocked and post.original is None:
                    # She has the message, and looks it up as it stands: there this could not be kept from her.
                    post.refusal = post.refusal or _ignored(to)
                    hand_on({post} if post.once else set(), [*posts, *self._pending])
                post.blocked = post.blocked or ignored
            if kind != SETTING and post.original is None and post.refusal is None and not post.moot:
                post.is_new = True
                entries.append(post.entry(time_ms))
        return posts, entries

    def refused(self, posts: Sequence[Post], error: PychatError) -> None:
        """The journal kept none of these: tell their senders."""
        hand_on({post for post in posts if post.once and post.original is None}, self._pending)
        for post in posts:
            if post.kind == Kind.RETRACT and post.original is None and post.refusal is None:
                self._taken_back.pop(post.ref, None)
            self._came(post)
            answer = refusal(post, post.refusal or error)
            if type(post) is Run:
                post.sender.tell(answer * post.messages + post.sender.settle(post.messages))
                continue
            if post.kind == SETTING and isinstance(error, JournalError):
                # It counts already.  Of who ends with her connection the journal need not know it.
                answer = refusal(post, _UNKEPT) if post.person.resumes else post.text
            post.sender.tell(answer + post.sender.settle())
        for post in posts:
            self._let_go(post.sender)

    def _came(self, post: Post) -> None:
        """A post is on its way no more: the room that it was for need not be kept for it."""
        room = post.to
        if isinstance(room, Room):
            room.coming -= 1
            if not room.exists:
                self.rooms.tidy(room, self.oldest)
