"""Somebody asks until she has an answer: once on each connection."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.answers import Answer, LinkError, Refused
from pychat.client.asking import Asking
from pychat.grammar import parse

from .history import Asked, Cast, Denied, Done, History
from .wishes import Wishes

TEA = "#tea"


class Connection(Asking):
    """One on which answers come when a test gives them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answers: list[Deferred[Answer]] = []

    def command(self, verb: str, text: str | bytes = b"", /, **attributes: object) -> Deferred[Answer]:
        answer: Deferred[Answer] = Deferred()
        self.asked.append((verb, str(text)))
        self.answers.append(answer)
        return answer


class Asks(SynchronousTestCase):
    def setUp(self) -> None:
        self.history = History(Cast(frozenset(("ann",))))
        self.connection: Connection | None = Connection()
        self.wishes = Wishes("ann", self.history, Counter(), lambda: self.connection)

    def answer(self, line: bytes = b"<joined in=#tea members=3>ann") -> None:
        assert self.connection is not None
        self.connection.answers.pop(0).callback(Answer(parse(line)))

    def test_one_thing_at_a_time(self) -> None:
        """Another one about the same room has to wait."""
        assert self.connection is not None
        self.wishes.want("join", TEA)
        self.wishes.want("leave", TEA)
        self.assertEqual(self.connection.asked, [("join", TEA)])
        self.answer()
        self.assertEqual(self.wishes.sure, {TEA})
        self.wishes.want("leave", TEA)
        self.assertEqual((self.wishes.rooms, self.wishes.sure), ({TEA}, set()))
        self.answer(b"<left in=#tea>ann")
        self.assertEqual((self.wishes.rooms, self.wishes.unrest), (set(), ""))
        self.assertEqual(self.history.events[1], Done("ann", "join", TEA, 3))

    def test_again_on_another_connection(self) -> None:
        """When she may speak, and not twice on the same one."""
        self.connection, first = None, self.connection
        self.wishes.want("join", TEA)
        self.assertEqual(self.wishes.unrest, "join #tea")
        self.connection = first
        for _ in range(2):
            self.wishes.insist()
        assert first is not None
        self.assertEqual(first.asked, [("join", TEA)])
        first.answers[0].errback(LinkError("lost", "It is gone."))
        self.connection = Connection()
        self.wishes.insist()
        self.answer()
        asked, done = Asked("ann", "join", TEA), Done("ann", "join", TEA, 3)
        self.assertEqual(self.history.events, [asked, asked, done])

    def test_refused(self) -> None:
        """She has left, then, whether she knew or not."""
        self.wishes.want("join", TEA)
        self.answer()
        self.wishes.want("leave", TEA)
        assert self.connection is not None
        self.connection.answers.pop(0).errback(Refused("not-in-room", "You are not in #tea."))
        self.assertEqual(self.history.events[-1], Denied("ann", "leave", TEA, "not-in-room"))
        self.assertEqual((self.wishes.rooms, self.wishes.unrest), (set(), ""))

    def test_silence(self) -> None:
        """Whoever leaves a room has not muted it any more."""
        self.wishes.want("join", TEA)
        self.answer()
        for verb, muted in (("mute", {TEA}), ("unmute", set()), ("mute", {TEA}), ("leave", set())):
            self.wishes.want(verb, TEA)
            self.answer(b"<done>")
            self.assertEqual(self.wishes.muted, muted, verb)
        for verb, ignored in (("ignore", {"ben"}), ("unignore", set())):
            self.wishes.want(verb, "ben")
            self.answer(b"<done>")
            self.assertEqual(self.wishes.ignored, ignored)
