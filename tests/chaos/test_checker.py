"""The checker finds each kind of fault in histories that were made up, and none in a good one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.grammar import parse
from pychat.vocabulary import Kind

from .checker import check
from .history import (
    Accepted,
    Acked,
    Asked,
    Cast,
    Done,
    History,
    Journal,
    Move,
    Post,
    Postponed,
    Read,
    Receipt,
    Refused,
    Shown,
    Verdict,
    Wrong,
)

CAST = Cast(frozenset(("ann", "ben", "cid")), frozenset(("quin",)), frozenset(("pat",)))


class Case(SynchronousTestCase):
    """A history in which all went well, to be spoilt."""

    def setUp(self) -> None:
        self.history = History(CAST)
        self.journal: dict[int, Post] = {}
        self.moves: list[Move] = []
        self.blocked: set[int] = set()

    def keep(self, id: int, sender: str, to: str | None, kind: int = Kind.SAID, ref: int = 0) -> Post:
        """It is said, and it is in the journal."""
        post = self.journal[id] = self.history.say(sender, to, kind=kind, ref=ref)
        return post

    def accept(self, id: int, sender: str, to: str | None, kind: int = Kind.SAID, ref: int = 0) -> Post:
        """And its sender knows."""
        post = self.keep(id, sender, to, kind, ref)
        self.see(Accepted(post, id))
        return post

    def ask(self, who: str, verb: str, what: str, members: int = 0) -> None:
        """Somebody asks for something, and is answered."""
        self.see(Asked(who, verb, what), Done(who, verb, what, members))

    def join(self, id: int, *names: str, room: str = "#tea") -> None:
        """They join a room, one by one, are answered, and it is in the journal."""
        for number, name in enumerate(names):
            self.moves.append(Move(id + number, name, room, True))
            self.ask(name, "join", room)

    def leave(self, id: int, name: str, room: str = "#tea") -> None:
        """And they leave it."""
        self.moves.append(Move(id, name, room, False))
        self.ask(name, "leave", room)

    def see(self, *events: object) -> None:
        for event in events:
            self.history.see(event)  # type: ignore[arg-type]

    def show(self, id: int, *names: str, screen: str = "") -> None:
        for name in names:
            self.see(Shown(name, screen or name, id, self.journal[id]))
            if name not in CAST.plain:
                self.see(Acked(name, id))

    def deliver(self, id: int, to: str) -> None:
        """It is shown and acknowledged."""
        self.show(id, to)
        self.see(Verdict(self.journal[id].sender, "delivered", id, to))

    def faults(self) -> list[str]:
        return [fault.kind for fault in check(self.history, Journal(self.journal, self.moves, self.blocked))]


class Good(Case):
    """Nothing is found where nothing is."""

    def test_a_good_history(self) -> None:
        """Private and to everybody, to those who come back and to bystanders."""
        self.accept(1, "ann", "ben")
        self.deliver(1, "ben")
        self.accept(2, "ann", None)
        self.show(2, "ben", "cid", "pat", "quin")
        self.see(Receipt("ann", 2, 1, 3, 0, 4))
        self.accept(3, "ben", "pat")
        self.see(Verdict("ben", "sent", 3, "pat"))
        self.show(3, "pat")  # what the kernel has may be read later
        self.accept(5, "ben", "quin")
        self.see(Verdict("ben", "undelivered", 5, "quin", "gone"))
        self.accept(6, "ben", "pat")
        self.see(Verdict("ben", "undelivered", 6, "pat", "unknown"))
        self.show(6, "pat")  # which the daemon did not live to learn
        self.see(Refused(self.history.say("cid", "quin"), "no-such-user"))
        self.assertEqual(self.faults(), [])

    def test_whoever_cannot_come_back_may_not_know(self) -> None:
        """What a bystander said is in the journal, or is not, if the daemon died before it answered."""
        self.keep(1, "pat", None)
        self.show(1, "ann", "ben", "cid")
        self.history.say("pat", "ann")
        self.assertEqual(self.faults(), [])

    def test_a_word_may_be_told_again(self) -> None:
        self.accept(1, "ann", "ben")
        self.deliver(1, "ben")
        self.see(Verdict("ann", "delivered", 1, "ben"), Read("ben", 1), Verdict("ann", "read", 1, "ben"))
        self.see(Verdict("ann", "read", 1, "ben"))
        self.assertEqual(self.faults(), [])

    def test_a_bystander_has_a_new_screen_each_time(self) -> None:
        self.keep(1, "pat", None)
        self.show(1, "ann", "ben", "cid")
        self.show(1, "quin", screen="quin#1")
        self.show(1, "quin", screen="quin#2")
        self.assertEqual(self.faults(), [])


class Lost(Case):
    """Accepted, and gone."""

    def test_not_shown_to_its_addressee(self) -> None:
        self.accept(1, "ann", "ben")
        self.see(Verdict("ann", "undelivered", 1, "ben", "gone"))
        self.assertEqual(sorted(self.faults()), ["lost", "untrue"])

    def test_not_shown_to_one_of_all(self) -> None:
        self.accept(1, "ann", None)
        self.show(1, "cid")
        self.assertEqual(self.faults(), ["lost"])

    def test_kept_without_an_answer_and_not_shown(self) -> None:
        """Of a bystander, who died before she knew."""
        self.keep(1, "pat", "ann")
        self.assertEqual(self.faults(), ["lost"])

    def test_accepted_and_not_in_the_journal(self) -> None:
        self.accept(1, "ann", "ben")
        self.deliver(1, "ben")
        del self.journal[1]
        self.assertIn("lost", self.faults())

    def test_another_is_in_its_place(self) -> None:
        """Two were given the same id: the first of them is lost."""
        first = self.accept(1, "ann", "ben")
        self.show(1, "ben")
        self.accept(1, "cid", "ann")
        self.deliver(1, "ann")
        self.assertIn("lost", self.faults())
        self.assertNotEqual(self.journal[1], first)

    def test_refused_by_a_daemon_that_knows_the_addressee(self) -> None:
        self.see(Refused(self.history.say("ann", "ben"), "no-such-user"))
        self.assertEqual(self.faults(), ["lost"])


class Twice(Case):
    """Shown again, or accepted again."""

    def setUp(self) -> None:
        super().setUp()
        self.post = self.accept(1, "ann", "ben")
        self.deliver(1, "ben")

    def test_the_same_id(self) -> None:
        self.show(1, "ben")
        self.assertEqual(self.faults(), ["twice"])

    def test_the_same_text_under_another_id(self) -> None:
        """A post that was taken twice is two messages for the journal, and one too many for people."""
        self.journal[2] = self.post
        self.show(2, "ben")
        self.assertEqual(self.faults(), ["twice", "twice"])

    def test_accepted_again(self) -> None:
        self.see(Accepted(self.post, 1))
        self.assertEqual(self.faults(), ["twice"])


class Disorder(Case):
    """All there, and not in their order."""

    def test_ids_do_not_rise(self) -> None:
        self.accept(1, "ann", "ben")
        self.accept(2, "cid", "ben")
        self.deliver(2, "ben")
        self.deliver(1, "ben")
        self.assertEqual(self.faults(), ["out of order"])

    def test_one_sender_overtakes_herself(self) -> None:
        self.history.say("ann", "ben")
        first, second = self.history.posts, self.history.say("ann", "ben")
        one = next(iter(first.values()))
        self.journal = {1: second, 2: one}
        self.see(Accepted(one, 2), Accepted(second, 1))
        self.deliver(1, "ben")
        self.deliver(2, "ben")
        self.assertEqual(self.faults(), ["out of order", "out of order"])  # on the screen and in the journal
        self.history.events.insert(0, Postponed(one, "busy"))
        self.assertEqual(self.faults(), [])  # that was said to her

    def _late(self, first: str, second: str | None) -> int:
        """How often it is noted that what is said first comes behind what is said second."""
        one, two = self.history.say("ann", first), self.history.say("ann", second)
        self.journal = {1: two, 2: one}
        self.see(Accepted(one, 2), Accepted(two, 1))
        for id, post in self.journal.items():
            self.show(id, *((post.to,) if post.to else ("ben", "cid", "pat")))
        return self.faults().count("out of order")

    def test_a_refusal_may_have_been_lost(self) -> None:
        self.assertEqual(self._late("pat", None), 0)  # pat was not there at first, and came

    def test_within_one_conversation_none_is_late(self) -> None:
        self.assertEqual(self._late("pat", "pat"), 2)  # on the screen and in the journal

    def test_whom_one_can_always_reach(self) -> None:
        self.assertEqual(self._late("ben", None), 2)  # in the journal and on ben's screen


class Untrue(Case):
    """A word that does not hold."""

    def setUp(self) -> None:
        super().setUp()
        self.accept(1, "ann", "ben")

    def tell(self, word: str, id: int, name: str, reason: str = "", who: str = "ann") -> None:
        self.see(Verdict(who, word, id, name, reason))

    def test_delivered_before_it_was_shown(self) -> None:
        self.tell("delivered", 1, "ben")
        self.show(1, "ben")
        self.assertEqual(self.faults(), ["untrue"])

    def test_read_before_she_said_so(self) -> None:
        self.deliver(1, "ben")
        self.tell("read", 1, "ben")
        self.see(Read("ben", 1))
        self.assertEqual(self.faults(), ["untrue"])

    def test_only_delivered_after_it_was_read(self) -> None:
        self.deliver(1, "ben")
        self.see(Read("ben", 1))
        self.tell("read", 1, "ben")
        self.tell("delivered", 1, "ben")
        self.assertEqual(self.faults(), ["untrue"])

    def test_delivered_before_it_was_acknowledged(self) -> None:
        """By a private message's verdict, and by a count."""
        self.see(Shown("ben", "ben", 1, self.journal[1]))
        self.tell("delivered", 1, "ben")
        self.accept(2, "ann", None)
        self.show(2, "cid")
        self.see(Shown("ben", "ben", 2, self.journal[2]), Receipt("ann", 2, 0, 2, 0, 2), Acked("ben", 2))
        self.assertEqual(self.faults(), ["untrue", "untrue"])

    def test_undelivered_of_somebody_who_came_back(self) -> None:
        self.show(1, "ben")
        self.tell("undelivered", 1, "ben", "expired")
        self.assertEqual(self.faults(), ["untrue"])

    def test_a_word_goes_back(self) -> None:
        self.deliver(1, "ben")
        self.accept(2, "ann", "pat")
        self.tell("sent", 2, "pat")
        self.show(2, "pat")
        self.tell("undelivered", 2, "pat", "unknown")
        self.assertEqual(self.faults(), ["untrue"])

    def test_sent_of_somebody_who_acknowledges(self) -> None:
        self.tell("sent", 1, "ben")
        self.deliver(1, "ben")
        self.assertEqual(self.faults(), ["untrue"])

    def test_sent_to_somebody_who_never_got_it(self) -> None:
        self.deliver(1, "ben")
        self.accept(2, "ann", "pat")
        self.tell("sent", 2, "pat")
        self.assertEqual(self.faults(), ["untrue"])

    def test_gone_and_yet_arrived(self) -> None:
        """At a plain line, and with somebody who said so."""
        self.deliver(1, "ben")
        for id, name in enumerate(("pat", "quin"), 2):
            self.accept(id, "ann", name)
            self.show(id, name)
            self.tell("undelivered", id, name, "gone")
        self.assertEqual(self.faults(), ["untrue", "untrue"])

    def test_gone_without_an_acknowledgement(self) -> None:
        """Who left had it on her screen; but she never said so."""
        self.deliver(1, "ben")
        self.accept(2, "ann", "quin")
        self.see(Shown("quin", "quin#1", 2, self.journal[2]))
        self.tell("undelivered", 2, "quin", "gone")
        self.accept(3, "ann", "quin")
        self.show(3, "quin", screen="quin#2")  # what she acknowledges the next time is nothing of it
        self.tell("delivered", 3, "quin")
        self.assertEqual(self.faults(), [])

    def test_told_to_somebody_else(self) -> None:
        self.deliver(1, "ben")
        self.tell("delivered", 1, "ben", who="cid")
        self.assertEqual(self.faults(), ["untrue"])

    def test_told_of_somebody_else(self) -> None:
        self.deliver(1, "ben")
        self.tell("delivered", 1, "cid")
        self.assertEqual(self.faults(), ["untrue"])

    def test_shown_to_somebody_else(self) -> None:
        self.deliver(1, "ben")
        self.show(1, "cid")
        self.assertEqual(self.faults(), ["untrue"])

    def test_counts(self) -> None:
        """More than there were, more than had it, more or fewer than were there, more than were sent it."""
        self.deliver(1, "ben")
        self.accept(2, "ann", None)
        self.show(2, "ben")
        self.see(Receipt("ann", 2, 0, 1, 0, 3))
        self.show(2, "cid")
        self.assertEqual(self.faults(), [])  # what was told of one stays true when there are two
        for wrong in ((0, 2, 2, 3), (0, 3, 0, 4), (0, 2, 0, 1), (0, 2, 0, 5), (1, 2, 0, 3)):
            told = Receipt("ann", 2, *wrong)
            self.see(told)
            self.assertEqual(self.faults(), ["untrue"], wrong)
            self.history.events.remove(told)

    def test_a_count_of_a_private_message(self) -> None:
        self.deliver(1, "ben")
        self.see(Receipt("ann", 1, 0, 1, 0, 2))
        self.assertEqual(self.faults(), ["untrue"])


class Open(Case):
    """What is never answered."""

    def test_a_post_without_an_answer(self) -> None:
        self.history.say("ann", "ben")
        self.assertEqual(self.faults(), ["open"])

    def test_no_last_word(self) -> None:
        """Neither of one who comes back nor of bystanders."""
        for id, name in enumerate(("ben", "pat", "quin"), 1):
            self.accept(id, "ann", name)
            self.show(id, name)
        self.assertEqual(self.faults(), ["open"] * 3)


class Broken(Case):
    """What must not happen at all."""

    def test_what_nobody_said(self) -> None:
        self.history.show("ann", "ann", parse(b"<msg id=1 from=ben to=ann>boo"))
        self.assertEqual(self.faults(), ["broken"])

    def test_under_another_name(self) -> None:
        post = self.accept(1, "ann", "ben")
        self.deliver(1, "ben")
        self.history.show("ben", "ben", parse(b"<msg id=1 from=cid to=ben>" + post.text))
        self.assertEqual(self.faults(), ["broken"])

    def test_an_identity_is_lost(self) -> None:
        self.see(Wrong("ann", "came back as somebody else"))
        self.assertEqual(self.faults(), ["broken"])
