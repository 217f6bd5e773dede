"""What is wrong with a history: the promise of the protocol, held against what people saw.

The journal has the last word on what was accepted: a post that is in it has to be shown, also when the daemon was
killed before it could tell its sender.  Those who come back were there before the first post and stayed to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .history import Accepted, Acked, Event, History, Post, Read, Receipt, Refused, Shown, Verdict, Wrong

LOST, TWICE, DISORDER, UNTRUE, OPEN, BROKEN = "lost", "twice", "out of order", "untrue", "open", "broken"

LAST_WORDS = frozenset(("delivered", "read", "undelivered"))

MAY_FOLLOW: Mapping[str, frozenset[str]] = {
    "sent": frozenset(("sent", "delivered", "read")),
    "delivered": frozenset(("delivered", "read")),
    "read": frozenset(("read",)),
    "undelivered": frozenset(("undelivered",)),
}
"""Which words may be told of a message after which one."""


@dataclass(frozen=True)
class Fault:
    """Something that must not happen.

    :ivar kind: ``lost``, ``twice``, ``out of order``, ``untrue``, ``open`` (never answered) or ``broken``.
    """

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def check(history: History, journal: Mapping[int, Post]) -> list[Fault]:
    """All that is wrong.

    :param journal: what was kept, by its id.
    """
    checker = _Checker(history, journal)
    for event in history.events:
        checker.see(event)
    checker.end()
    return checker.faults


class _Screen:
    """What one screen showed so far."""

    def __init__(self) -> None:
        self.newest = 0
        self.posts: set[Post] = set()
        self.numbers: dict[str, int] = {}


class _Checker:
    def __init__(self, history: History, journal: Mapping[int, Post]) -> None:
        self.faults: list[Fault] = []
        self._history = history
        self._cast = history.cast
        self._journal = journal
        self._screens: dict[str, _Screen] = {}
        self._shown: dict[str, set[int]] = {name: set() for name in self._cast.resuming}
        self._seen_by: dict[int, set[str]] = {}
        self._acked: dict[str, int] = {}
        self._acked_ids: set[tuple[str, int]] = set()
        self._accepted: dict[Post, int] = {}
        self._refused: set[Post] = set()
        self._words: dict[int, str] = {}
        self._read: dict[str, int] = {}
        self._sent: list[Verdict] = []
        self._gone: list[Verdict] = []
        self._counted: list[Receipt] = []

    def _fault(self, kind: str, what: str) -> None:
        self.faults.append(Fault(kind, what))

    def see(self, event: Event) -> None:
        """Take the next thing that happened."""
        if isinstance(event, Shown):
            self._show(event)
        elif isinstance(event, Accepted):
            self._accept(event)
        elif isinstance(event, Verdict):
            self._verdict(event)
        elif isinstance(event, Receipt):
            self._receipt(event)
        elif isinstance(event, Acked | Read):
            self._acked[event.who] = max(event.id, self._acked.get(event.who, 0))
            self._acked_ids.add((event.who, event.id))
            if isinstance(event, Read):
                self._read[event.who] = max(event.id, self._read.get(event.who, 0))
        elif isinstance(event, Refused):
            self._refused.add(event.post)
            if event.post.to not in self._cast.bystanders or event.code != "no-such-user":
                self._fault(LOST, f"{_name(event.post)} was refused with {event.code}")
        elif isinstance(event, Wrong):
            self._fault(BROKEN, f"{event.who} {event.what}")

    # -- screens

    def _show(self, event: Shown) -> None:
        post, id = event.post, event.id
        screen = self._screens.setdefault(event.screen, _Screen())
        what = f"{event.screen} was shown {_name(post)} as {id}"
        if post in screen.posts:
            self._fault(TWICE, f"{what}, and had it already")
        elif id <= screen.newest:
            self._fault(DISORDER, f"{what} after {screen.newest}")
        elif post.number <= screen.numbers.get(post.sender, 0):
            self._fault(DISORDER, f"{what} after a later one of {post.sender}")
        if post.to not in (None, event.who) or post.sender == event.who:
            self._fault(UNTRUE, f"{what}, which was not meant for {event.who}")
        if self._journal.get(id) != post:
            self._fault(LOST, f"{what}, and the journal has {_name(self._journal.get(id))} there")
        screen.posts.add(post)
        screen.newest = max(screen.newest, id)
        screen.numbers[post.sender] = max(post.number, screen.numbers.get(post.sender, 0))
        if event.who in self._shown:
            self._shown[event.who].add(id)
        self._seen_by.setdefault(id, set()).add(event.who)

    def _has_acked(self, name: str, id: int) -> bool:
        """Whether she was shown it and said so."""
        if name in self._cast.acking:
            # Bystanders acknowledge each message; a later one may be on the next connection of another identity.
            return (name, id) in self._acked_ids
        return name in self._seen_by.get(id, ()) and self._acked.get(name, 0) >= id

    def _accept(self, event: Accepted) -> None:
        post, id = event.post, event.id
        if post in self._accepted:
            self._fault(TWICE, f"{_name(post)} was accepted as {self._accepted[post]} and again as {id}")
        self._accepted[post] = id
        if self._journal.get(id) != post:
            kept = _name(self._journal.get(id))
            self._fault(LOST, f"{_name(post)} was accepted as {id}, and the journal has {kept} there")

    # -- verdicts

    def _about(self, who: str, word: str, id: int) -> Post | None:
        post = self._journal.get(id)
        if post is None or post.sender != who:
            self._fault(UNTRUE, f"{who} was told {word} of {id}, which is {_name(post)}")
            return None
        return post

    def _verdict(self, event: Verdict) -> None:
        word, id, name = event.word, event.id, event.name
        post = self._about(event.who, word, id)
        if post is None:
            return
        what = f"{_name(post)} ({id}) was said to be {word} {event.reason}".rstrip()
        if post.to != name:
            self._fault(UNTRUE, f"{what} with {name}")
            return
        before = self._words.get(id)
        if before is not None and word not in MAY_FOLLOW[before]:
            self._fault(UNTRUE, f"{what} after it was {before}")
        self._words[id] = word
        if word in ("delivered", "read"):
            if not self._has_acked(name, id):
                self._fault(UNTRUE, f"{what}, and {name} had not acknowledged it")
            elif word == "read" and self._read.get(name, 0) < id:
                self._fault(UNTRUE, f"{what}, and {name} had not said so")
        elif word == "sent":
            if name not in self._cast.plain:
                self._fault(UNTRUE, f"{what}, and {name} acknowledges what she gets")
            self._sent.append(event)
        elif name in self._cast.resuming or event.reason not in ("gone", "unknown"):
            self._fault(UNTRUE, f"{what}, and {name} came back in time")
        elif event.reason == "gone":
            self._gone.append(event)

    def _receipt(self, event: Receipt) -> None:
        post = self._about(event.who, "a count", event.id)
        if post is None:
            return
        cast = self._cast
        what = f"of {_name(post)} ({event.id}) a count was told: {event[2:]}"
        others = cast.resuming - {post.sender}
        everybody = (cast.resuming | cast.bystanders) - {post.sender}
        if post.to is not None:
            self._fault(UNTRUE, f"{what}, and it was private")
        elif event.sent + event.delivered + event.undelivered > event.of:
            self._fault(UNTRUE, f"{what}, more than there were")
        elif not len(others) <= event.of <= len(everybody):
            self._fault(UNTRUE, f"{what}, and there were {len(others)} to {len(everybody)}")
        acked = sum(self._has_acked(name, event.id) for name in self._seen_by.get(event.id, ()))
        if event.delivered > acked:
            self._fault(UNTRUE, f"{what}, and {acked} had acknowledged it")
        self._counted.append(event)

    # -- the end

    def end(self) -> None:
        """Nothing more will happen."""
        self._look_for_lost()
        for event in self._sent:
            if event.name not in self._seen_by.get(event.id, ()):
                self._fault(UNTRUE, f"{event.id} was said to be sent, and {event.name} never got it")
        for event in self._gone:
            # Of who acknowledges it means that she left without having done so.
            acks = event.name in self._cast.acking
            if (
                self._has_acked(event.name, event.id)
                if acks
                else event.name in self._seen_by.get(event.id, ())
            ):
                got = "acknowledged it" if acks else "got it"
                self._fault(UNTRUE, f"{event.id} was said not to have arrived, and {event.name} {got}")
        for count in self._counted:
            plain = len(self._seen_by.get(count.id, set()) & self._cast.plain)
            if count.sent > plain:
                self._fault(UNTRUE, f"{count.id} was said to be sent to {count.sent}, and {plain} got it")
        self._look_for_open()

    def _look_for_lost(self) -> None:
        kept: dict[Post, int] = {}
        numbers: dict[str, int] = {}
        wanted: dict[str, set[int]] = {name: set() for name in self._cast.resuming}
        to_all: list[tuple[int, str]] = []
        for id, post in sorted(self._journal.items()):
            if post in kept:
                self._fault(TWICE, f"the journal has {_name(post)} as {kept[post]} and as {id}")
            kept[post] = id
            if post.number < numbers.get(post.sender, 0):
                self._fault(DISORDER, f"the journal has {_name(post)} as {id} after a later one")
            numbers[post.sender] = post.number
            if post.to is None:
                to_all.append((id, post.sender))
            elif post.to in wanted:
                wanted[post.to].add(id)
        for name, ids in wanted.items():
            ids.update(id for id, sender in to_all if sender != name)
            for id in sorted(ids - self._shown[name]):
                self._fault(LOST, f"{_name(self._journal[id])} ({id}) was never shown to {name}")

    def _look_for_open(self) -> None:
        """Every post of those who come back has an answer, and every private one that was accepted a last word."""
        for post in self._history.posts.values():
            if post.sender not in self._cast.resuming or post in self._refused:
                continue
            id = self._accepted.get(post)
            if id is None:
                self._fault(OPEN, f"{_name(post)} has no answer")
                continue
            word = self._words.get(id)
            if post.to in self._cast.resuming and word not in ("delivered", "read"):
                # A false last word was a fault already.
                if word != "undelivered":
                    self._fault(OPEN, f"{_name(post)} ({id}) was never said to be delivered")
            elif post.to in self._cast.plain and word is None:
                self._fault(OPEN, f"{_name(post)} ({id}) has no verdict")
            elif post.to in self._cast.acking and word not in LAST_WORDS:
                self._fault(OPEN, f"{_name(post)} ({id}) has no last word")


def _name(post: Post | None) -> str:
    """Who said it, which of hers it is, and to whom."""
    return f"'{post.sender} {post.number} {post.to or 'all'}'" if post else "nothing"
