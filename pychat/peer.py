"""One connection as the hub sees it, and a message on its way.

A :class:`Peer` carries what the hub has to know of a connection and nothing of its transport: a mailbox,
and the messages that still wait for a verdict. Answers keep the order of the lines that they answer:
while messages of a peer are on their way into the journal, the answers to its later lines wait behind theirs
(:meth:`Peer.answer`, :meth:`Peer.settle`).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from .errors import PychatError
from .mailbox import Mailbox, Parcel, Unacked
from .rendering import PLAIN
from .roster import Identity
from .vocabulary import Entry, Kind, Texts

if TYPE_CHECKING:
    from typing import TypeAlias

    from .rooms import Room

    Person: TypeAlias = "Identity[Peer]"
    Addressee: TypeAlias = "Person | Room | None"
    """To whom something is said; ``None`` is everybody."""


class Way(Protocol):
    """The way out of a connection."""

    def flush(self) -> None:
        """Write what the mailbox holds."""


SAID: Final = 0
""":attr:`Kind.SAID`, the usual one; a plain number is compared faster."""

_tuple: Final[Any] = tuple.__new__
_ENTRY: Final[Any] = Entry  # found faster than by its name
_TEXTS: Final[Any] = Texts

SETTING: Final = -1
"""The kind of a post that is an answer: it waits for the journal, which keeps what it speaks of with the changes."""


class Messages:
    """Private messages in the order of their ids, each with its sender.

    They are numbers and references in one list, in turns.  Without a tuple for each the garbage collector has nothing
    to look at, and mostly all of them are taken at once.
    """

    __slots__ = ("_first", "_flat")

    def __init__(self) -> None:
        self._flat: list[Any] = []
        self._first = 0  # what stands before this was taken

    def __len__(self) -> int:
        return (len(self._flat) - self._first) // 2

    def __bool__(self) -> bool:
        return len(self._flat) > self._first

    def add(self, id: int, sender: Person) -> None:
        """One more, with an id above all others."""
        self._flat.append(id)
        self._flat.append(sender)

    def add_all(self, taken: list[Any]) -> None:
        """All that :meth:`take` gave; ``taken`` is not to be used any more."""
        if self._flat:
            self._flat += taken
        else:
            self._flat = taken

    def take(self, upto: int) -> list[Any]:
        """Take out those with ids up to this one: in turns an id and its sender."""
        flat, first = self._flat, self._first
        end = len(flat)
        if first == end or flat[first] > upto:
            return []
        if flat[end - 2] <= upto:
            self._flat, self._first = [], 0
            return flat[first:] if first else flat
        low, high = first // 2 + 1, end // 2 - 1
        while low < high:
            middle = (low + high) // 2
            if flat[2 * middle] > upto:
                high = middle
            else:
                low = middle + 1
        taken = flat[first : 2 * low]
        self._drop(2 * low)
        return taken

    def take_all(self) -> list[Any]:
        """The same with all of them."""
        taken = self._flat[self._first :]
        self._flat, self._first = [], 0
        return taken

    def keep(self, most: int) -> None:
        """Forget the oldest of them, but for so many."""
        first = len(self._flat) - 2 * most
        if first > self._first:
            self._drop(first)

    def _drop(self, first: int) -> None:
        """Forget what stands before this: mostly by noting it, for what stands behind would have to be moved."""
        self._first = first
        if first > len(self._flat) // 2:
            del self._flat[:first]
            self._first = 0


class Peer:
    """One connection as the hub sees it; a member of the chat while it has an identity."""

    __slots__ = (
        "_behind", "_dirty_list", "acked", "awaiting", "behind", "bot", "confirmed_at", "dirty", "early", "farewell",
        "hears", "holding", "identity", "mailbox", "manner", "owner", "parting", "posted", "resting", "resumes",
        "served", "settled", "since", "token_told", "types", "unacked", "way",
    )  # fmt: skip

    def __init__(self, dirty_list: list[Peer], owner: object = None) -> None:
        """:param owner: whose connection it is, for whoever has to end it."""
        # Compiled, attributes lie in the order in which they stand here: those that each message needs, close together.
        self.way: Way | None = None
        """Its way out, once it has one."""
        self.mailbox = Mailbox()
        self.unacked: Unacked | None = None
        """What it has to acknowledge; ``None`` for a client that did not say ``caps=ack``."""
        self.served = 0
        """The last message of the last batch of which it did not get what all get: no other batch has that id."""
        self.awaiting: Messages | None = None
        """Private messages without a verdict, in order of sending."""
        self.dirty = False
        self.hears = False
        """It is told at once what is said: it takes part, and has all that it missed."""
        self.types = False
        """It said ``caps=typing``."""
        self.holding = False
        """What it says next is judged by what became of what it said: it waits until all that has its answer."""
        self.resumes = self.bot = False
        """It said ``caps=resume``, ``caps=bot``."""
        self.farewell = False
        """It said ``<disconnect>``: its identity ends with it."""
        self.identity: Person | None = None
        self._dirty_list = dirty_list
        self.posted = self.settled = 0
        """How many messages it posted, a ``<connect>`` that waits among them, and how many have their answer."""
        self.behind = 0
        """Bytes of answers that wait behind those."""
        self._behind: deque[tuple[int, bytes]] | None = None
        self.since = 0.0
        """When it last said something: seconds of a monotonic clock."""
        self.confirmed_at: int | None = None
        """The position in its stream behind which it has its new token; ``None`` if there is none to confirm."""
        self.resting: Messages | None = None
        """Those that a plain peer's kernel has."""
        self.manner = PLAIN
        """How it takes messages (:mod:`pychat.rendering`)."""
        self.owner = owner
        self.parting: Person | None = None
        """Who said goodbye, while messages of hers have no place yet."""
        self.acked = 0
        """The highest id that it acknowledged."""
        self.early: list[Post] | None = None
        """What it posted before it had all that it missed; ``None`` if there is nothing to catch up with."""
        self.token_told = b""
        """SHA-256 of the token that it was told."""

    @property
    def full(self) -> bool:
        """It said ``<hello>``: messages come with all their attributes."""
        return self.manner != PLAIN

    def tell(self, data: bytes) -> None:
        """Queue whole lines that answer nothing."""
        self.mailbox.put(data)
        self.soil()

    def send(self, data: bytes, ids: Sequence[int], lines: Sequence[bytes]) -> None:
        """Queue whole lines, with messages of these ids among them.

        :param lines: those of the messages; they are sent again if nobody acknowledges them.
        """
        self.mailbox.put_messages(data, ids[-1])
        if self.unacked is not None:
            self.unacked.sent(Parcel(ids, lines, sum(map(len, lines))))
        self.soil()

    def send_one(self, line: bytes, id: int) -> None:
        """:meth:`send` a message that is one line, or in several parts, and nothing with it."""
        self.mailbox.put_messages(line, id)
        if self.unacked is not None:
            self.unacked.sent(Parcel((id,), (line,), len(line)))
        self.soil()

    def soil(self) -> None:
        """There is something to write."""
        if not self.dirty:
            self.dirty = True
            self._dirty_list.append(self)

    def answer(self, data: bytes) -> None:
        """Queue the answer to the line handled last: behind the answers to all lines before it."""
        if self.posted == self.settled:
            self.tell(data)
            return
        if self._behind is None:
            self._behind = deque()
        self._behind.append((self.posted, data))
        self.behind += len(data)

    def settle(self, count: int = 1) -> bytes:
        """The oldest post without an answer gets it now: return the answers that waited behind it.

        :param count: so many get it at once; nothing waits between them.
        """
        self.settled += count
        behind = self._behind
        if not behind:
            return b""
        ready = []
        while behind and behind[0][0] <= self.settled:
            ready.append(behind.popleft()[1])
        answers = b"".join(ready)
        self.behind -= len(answers)
        return answers


def send_all(
    peers: Iterable[Peer],
    data: bytes,
    ids: Sequence[int],
    lines: Sequence[bytes],
    dirty: list[Peer],
    served: int = 0,
) -> None:
    """:meth:`Peer.send` the same to very many, without calls for each.

    :param dirty: takes those that have something to write since now.
    :param served: whoever has this as ``served`` is left out; 0: nobody is.
    """
    size, upto = len(data), ids[-1]
    parcel = Parcel(ids, lines, size)
    step: Any = (size, upto)
    for peer in peers:
        if served and peer.served == served:
            continue
        mailbox = peer.mailbox
        queue = mailbox.queue
        if queue is None:
            mailbox.queue = data
        elif isinstance(queue, bytes):
            mailbox.queue = [queue, data]
        else:
            queue.append(data)
        mailbox.queued += size
        mailbox.total = total = mailbox.total + size
        if not mailbox.cleared:
            if not mailbox.mark_id:
                mailbox.mark_at, mailbox.mark_id = total, upto
            else:
                # Mostly nothing came since the last mark but this.
                behind = total - mailbox.last_at
                mark = step if behind == size else (behind, upto)
                if mailbox.more_marks is None:
                    mailbox.more_marks = [mark]
                else:
                    mailbox.more_marks.append(mark)
            mailbox.last_at = total
        if peer.unacked is not None:
            peer.unacked.sent(parcel)
        if not peer.dirty:
            peer.dirty = True
            dirty.append(peer)


class Known:
    """What a ``once=`` key stands for."""

    __slots__ = ("digest", "id", "to")

    def __init__(self, to: Addressee, id: int = 0) -> None:
        self.to = to
        self.id = id
        """Its id; 0 until the journal has it."""
        self.digest = b""

    def seal(self, text: bytes, kind: int, ref: int) -> None:
        """Note what it says and to whom, in short."""
        to = self.to.key.encode() if self.to else b""
        head = b"%d %d " % (kind, ref) if kind or ref else b""
        self.digest = hashlib.blake2b(head + to + b"\n" + text, digest_size=16).digest()


class Post(Known):
    """An event on its way into the journal: mostly a message."""

    __slots__ = (
        "blocked",
        "is_new",
        "kind",
        "label",
        "moot",
        "once",
        "original",
        "person",
        "ref",
        "refusal",
        "sender",
        "text",
    )

    def __init__(
        self,
        sender: Peer,
        to: Addressee,
        text: bytes,
        label: bytes = b"",
        kind: int = SAID,
        ref: int = 0,
    ) -> None:
        self.to = to
        self.id = 0
        self.digest = b""
        assert sender.identity is not None
        self.sender = sender
        self.person: Person = sender.identity
        self.text = text
        self.label = label
        """The rendered attribute, `` label=…``, or nothing."""
        self.kind = kind
        """A :class:`~pychat.vocabulary.Kind`, or :data:`SETTING`."""
        self.ref = ref
        """See :class:`~pychat.vocabulary.Entry`."""
        self.once = b""
        """Its ``once=`` key."""
        self.blocked = False
        """Its recipient ignores its sender."""
        self.is_new = False
        """The journal has to keep it."""
        self.moot = False
        """It changes nothing: so it is already."""
        self.refusal: PychatError | None = None
        """Why it is not accepted, if that is known before the journal is asked."""
        self.original: Known | None = None
        """The message whose ``once=`` key came back with this one."""

    def entry(self, time_ms: int) -> Entry | Texts:
        """What the journal keeps of it."""
        person, to = self.person, self.to
        id: int | None = None
        name: str | None = None
        blocked = False
        if to is not None:
            id, name, blocked = to.id, to.name, self.blocked
        # A named tuple made as a tuple: half the time.
        entry: Entry = _tuple(
            _ENTRY,
            (time_ms, person.id, person.name, id, name, self.text, self.once, self.kind, self.ref, blocked),
        )
        return entry

    @property
    def messages(self) -> int:
        """How many messages it is."""
        return 1


class Run(Post):
    """What one connection said to everybody, one plain line right behind the other.

    It goes the way of a post, and each of its texts is a message.  Nothing is particular about them: no label, no key,
    no answer that waits between two of them, no bidirectional control and nothing else that is not printable.
    """

    __slots__ = ("size", "texts")

    # Compiled, these are what an instance begins with; else they are the class's, and an instance has none of its own.
    kind = int(Kind.SAID)
    ref = 0
    label = b""
    once = b""
    original: Known | None = None
    refusal: PychatError | None = None
    blocked = False
    moot = False
    is_new = True

    def __init__(self, sender: Peer, texts: list[bytes], size: int) -> None:
        assert sender.identity is not None
        self.to = None
        self.sender = sender
        self.person = sender.identity
        self.texts = texts
        self.size = size
        """Their bytes, about."""

    @property
    def messages(self) -> int:
        return len(self.texts)

    def entry(self, time_ms: int) -> Texts:
        """What the journal keeps of it."""
        person = self.person
        # As above.
        texts: Texts = _tuple(_TEXTS, (time_ms, person.id, person.name, self.texts))
        return texts
