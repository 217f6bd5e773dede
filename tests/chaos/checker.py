"""What is wrong with a history: the promise of the protocol, held against what people saw.

The journal has the last word on what was accepted: a post that is in it has to be shown, also when the daemon was
killed before it could tell its sender.  Those who come back were there before the first post and stayed to the end;
of a room they are members above the id with which the journal says that they joined, up to the one with which they
left.  Of those who cannot come back it is known what they were answered on each connection, and of that what came next.
"""

from __future__ import annotations

from pychat.vocabulary import Kind

from .audience import Audience
from .faults import BROKEN, DISORDER, LEAKED, LOST, OPEN, TWICE, UNTRUE, Fault
from .history import (
    Accepted,
    Acked,
    Asked,
    Denied,
    Done,
    Event,
    Hidden,
    History,
    Journal,
    Post,
    Postponed,
    Read,
    Receipt,
    Refused,
    Said,
    Shown,
    Verdict,
    Wrong,
)

LAST_WORDS = frozenset(("delivered", "read", "undelivered"))

REFUSALS = ("no-such-user", "blocked", "not-in-room", "no-such-message")
"""Codes of those that depend on what others do, or on where one is."""

MAY_FOLLOW: dict[str, frozenset[str]] = {
    "sent": frozenset(("sent", "delivered", "read")),
    "delivered": frozenset(("delivered", "read")),
    "read": frozenset(("read",)),
    "undelivered": frozenset(("undelivered",)),
}
"""Which words may be told of a message after which one."""


def check(history: History, journal: Journal) -> list[Fault]:
    """All that is wrong."""
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
        self.order = _Order()


class _Order:
    """How far the posts of each sender have come, in one place where they are in a row."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._in_turn: dict[tuple[str, str | None], int] = {}  # of those to one addressee

    def overtaken(self, post: Post, may_be_late: bool) -> bool:
        """Take the next one; whether a later one of its sender stands before it.

        :param may_be_late: only one to the same addressee counts.
        """
        sender, number = post.sender, post.number
        all_before, before = self._numbers.get(sender, 0), self._in_turn.get((sender, post.to), 0)
        self._numbers[sender] = max(number, all_before)
        self._in_turn[sender, post.to] = max(number, before)
        return number < (before if may_be_late else all_before)


class _Checker:
    def __init__(self, history: History, journal: Journal) -> None:
        self.faults: list[Fault] = []
        self._history = history
        self._cast = history.cast
        self._journal = journal.posts
        self._blocked = journal.blocked
        self._taken_back = {post.ref for post in journal.posts.values() if post.kind == Kind.RETRACT}
        self._audience = Audience(history.cast, journal, self._fault)
        self._now = 0  # the number of the event
        self._newest = 0  # the highest id that anybody knows
        self._screens: dict[str, _Screen] = {}
        self._shown: dict[str, set[int]] = {name: set() for name in self._cast.resuming}
        self._seen_by: dict[int, set[str]] = {}
        self._acked: dict[str, int] = {}
        self._acked_ids: set[tuple[str, int]] = set()
        self._accepted: dict[Post, int] = {}
        self._refused: set[Post] = set()
        self._postponed: set[Post] = set()
        self._words: dict[int, str] = {}
        self._read: dict[str, int] = {}
        self._sent: list[Verdict] = []
        self._gone: list[Verdict] = []
        self._counted: list[Receipt] = []

    def _fault(self, kind: str, what: str) -> None:
        self.faults.append(Fault(kind, what))

    def see(self, event: Event) -> None:
        """Take the next thing that happened."""
        self._now += 1
        if isinstance(event, Said):
            self._audience.say(event.post, self._now)
        elif isinstance(event, Shown):
            self._show(event)
        elif isinstance(event, Hidden):
            self._hidden(event)
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
            if not self._audience.may_refuse(event.post, event.code):
                self._fault(LOST, f"{_name(event.post)} was refused with {event.code}")
        elif isinstance(event, Postponed):
            self._postponed.add(event.post)
        elif isinstance(event, Asked | Done | Denied):
            self._audience.ask(event, self._now, self._newest)
        elif isinstance(event, Wrong):
            self._fault(BROKEN, f"{event.who} {event.what}")

    # -- screens

    def _hidden(self, event: Hidden) -> None:
        """Of what was shown without its text the journal tells which it was, and that it was taken back."""
        post = self._journal.get(event.id)
        told = (event.sender, event.kind, event.ref, event.to)
        if post is None or told != (post.sender, post.kind, post.ref, post.to or "all"):
            self._fault(
                BROKEN, f"{event.who} was shown {event.id} of {event.sender}, which the journal does not have"
            )
        elif (post.ref if post.kind == Kind.EDIT else event.id) not in self._taken_back:
            self._fault(LOST, f"the text of {_name(post)}, which nobody took back, was kept from {event.who}")
        else:
            self._show(Shown(event.who, event.screen, event.id, post))

    def _show(self, event: Shown) -> None:
        post, id = event.post, event.id
        self._newest = max(self._newest, id)
        screen = self._screens.setdefault(event.screen, _Screen())
        what = f"{event.screen} was shown {_name(post)} as {id}"
        if post in screen.posts:
            self._fault(TWICE, f"{what}, and had it already")
        elif id <= screen.newest:
            self._fault(DISORDER, f"{what} after {screen.newest}")
        elif self._overtaken(screen.order, post):
            self._fault(DISORDER, f"{what} after a later one of {post.sender}")
        if post.sender == event.who or post.person not in ("", event.who):
            self._fault(UNTRUE, f"{what}, which was not meant for {event.who}")
        if self._journal.get(id) != post:
            self._fault(LOST, f"{what}, and the journal has {_name(self._journal.get(id))} there")
        elif not self._audience.may_see(event):
            self._fault(LEAKED, f"{what}, and {event.who} was not in the room")
        elif self._audience.must_not_hear(event):
            self._fault(LEAKED, f"{what}, and {event.who} did not want to hear it")
        elif not self._knows(event.who, post.ref):
            self._fault(DISORDER, f"{what} before what it is about")
        screen.posts.add(post)
        screen.newest = max(screen.newest, id)
        if event.who in self._shown:
            self._shown[event.who].add(id)
        self._seen_by.setdefault(id, set()).add(event.who)

    def _overtaken(self, order: _Order, post: Post) -> bool:
        # A refusal that was lost with the connection is not known to the sender: she says it again, and it may be
        # possible by then, behind what she said elsewhere meanwhile.
        may_be_late = any(self._audience.may_refuse(post, code) for code in REFUSALS)
        return order.overtaken(post, may_be_late) and post not in self._postponed

    def _knows(self, who: str, ref: int) -> bool:
        """Whether somebody who comes back knows a message, if she is to know it; ``ref`` is 0 for none."""
        post = self._journal.get(ref)
        if post is None or who not in self._cast.resuming:
            return True
        if post.sender == who:
            return post in self._accepted
        return ref in self._shown[who] or who not in self._audience.owed(ref, post)

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
        self._newest = max(self._newest, id)
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
        elif event.reason == "blocked":
            if id not in self._blocked:
                self._fault(UNTRUE, f"{what}, and by the journal it was not")
        elif name in self._cast.resuming or event.reason not in ("gone", "unknown"):
            self._fault(UNTRUE, f"{what}, and {name} came back in time")
        elif event.reason == "gone":
            self._gone.append(event)

    def _receipt(self, event: Receipt) -> None:
        post = self._about(event.who, "a count", event.id)
        if post is None:
            return
        id = event.id
        what = f"of {_name(post)} ({id}) a count was told: {event[2:]}"
        audience = self._audience
        people = audience.members(id, post)
        others = (audience.visitors[post.room] if post.room else self._cast.bystanders) - {post.sender}
        least = len(people) - len(audience.maybe_spared(id, post, people))
        most = len(people) - len(audience.surely_spared(id, post, people)) + len(others)
        if post.person:
            self._fault(UNTRUE, f"{what}, and it was private")
        elif event.where != (post.to or "all"):
            self._fault(UNTRUE, f"{what}, and it was said elsewhere")
        elif event.sent + event.delivered + event.undelivered > event.of:
            self._fault(UNTRUE, f"{what}, more than there were")
        elif not least <= event.of <= most:
            self._fault(UNTRUE, f"{what}, and there were {least} to {most}")
        elif event.undelivered > len(others):
            self._fault(UNTRUE, f"{what}, and {len(others)} went for good")
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
        self._audience.look()
        self._look_for_open()

    def _look_for_lost(self) -> None:
        kept: dict[Post, int] = {}
        order = _Order()
        gone: set[int] = set()
        for id, post in sorted(self._journal.items()):
            if post in kept:
                self._fault(TWICE, f"the journal has {_name(post)} as {kept[post]} and as {id}")
            kept[post] = id
            if self._overtaken(order, post):
                self._fault(DISORDER, f"the journal has {_name(post)} as {id} after a later one")
            if post in self._refused:
                self._fault(UNTRUE, f"{_name(post)} was refused, and the journal has it as {id}")
            if post.kind != Kind.SAID:
                self._look_at_ref(id, post, gone)
            self._audience.look_at_ignored(id, post, _name(post))
            for name in sorted(self._audience.owed(id, post)):
                if id not in self._shown[name]:
                    self._fault(LOST, f"{_name(post)} ({id}) was never shown to {name}")

    def _look_at_ref(self, id: int, post: Post, gone: set[int]) -> None:
        """Whether something can be said of what it is about; ``gone`` are the messages that were taken back."""
        what = f"the journal has {_name(post)} as {id} about"
        about = self._journal.get(post.ref)
        if about is None or post.ref >= id or about.kind != Kind.SAID:
            self._fault(BROKEN, f"{what} {post.ref}, which is {_name(about)}")
        elif post.to != about.to and {post.sender, post.to} != {about.sender, about.to}:
            self._fault(BROKEN, f"{what} {_name(about)}, which was said elsewhere")
        elif post.kind != Kind.REACT and post.sender != about.sender:
            self._fault(BROKEN, f"{what} {_name(about)}, which is somebody else's")
        elif post.kind != Kind.REACT and post.ref in gone:
            self._fault(DISORDER, f"{what} {_name(about)}, which was taken back before")
        if post.kind == Kind.RETRACT:
            gone.add(post.ref)

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
    """Who said it, which of hers it is, to whom, and what it is about."""
    if post is None:
        return "nothing"
    about = f" {Kind(post.kind).name.lower()} of {post.ref}" if post.kind else ""
    return f"'{post.sender} {post.number} {post.to or 'all'}{about}'"
