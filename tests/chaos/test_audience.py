"""The checker finds each kind of fault around rooms, edits and silence in histories that were made up."""

from __future__ import annotations

from pychat.grammar import parse
from pychat.vocabulary import Kind

from .checker import check
from .history import (
    Accepted,
    Asked,
    Denied,
    Done,
    Hidden,
    History,
    Journal,
    Move,
    Receipt,
    Refused,
    Shown,
    Verdict,
    Wrong,
)
from .test_checker import CAST, Case

TEA = "#tea"


class Good(Case):
    """Nothing is found where nothing is."""

    def test_a_room(self) -> None:
        """Who is in it is shown what is said there, from her joining to her leaving."""
        self.join(1, "ann", "ben")
        self.accept(3, "ann", TEA)
        self.show(3, "ben")
        self.join(4, "cid")
        self.accept(5, "ann", TEA)
        self.show(5, "ben", "cid")
        self.leave(6, "ben")
        self.accept(7, "ann", TEA)
        self.show(7, "cid")
        for id, of in ((3, 1), (5, 2), (7, 1)):
            self.see(Receipt("ann", id, 0, of, 0, of, TEA))
        self.assertEqual(self.faults(), [])

    def test_what_was_said_before_she_left_may_come_later(self) -> None:
        """It waited for her, on a connection that broke: she is owed it."""
        self.join(1, "ann", "ben")
        self.accept(3, "ann", TEA)
        self.leave(4, "ben")
        self.show(3, "ben")
        self.assertEqual(self.faults(), [])

    def test_about_messages(self) -> None:
        """In a room and in private; who was not there at first may be shown an edit of what she never saw."""
        self.join(1, "ann", "ben")
        self.accept(3, "ann", TEA)
        self.show(3, "ben")
        self.join(4, "cid")
        self.accept(5, "ann", TEA, Kind.EDIT, 3)
        self.accept(6, "cid", TEA, Kind.REACT, 3)
        self.show(5, "ben", "cid")
        self.show(6, "ann", "ben")
        self.accept(7, "ann", "ben")
        self.deliver(7, "ben")
        self.accept(8, "ben", "ann", Kind.REACT, 7)
        self.deliver(8, "ann")
        self.accept(9, "ann", "ben", Kind.RETRACT, 7)
        self.deliver(9, "ben")
        self.see(Refused(self.history.say("ben", "ann", kind=Kind.REACT, ref=7), "no-such-message"))
        self.assertEqual(self.faults(), [])

    def test_in_doubt(self) -> None:
        """She asked twice, for the first answer was lost; what she asked for was done once."""
        self.see(Asked("ann", "join", TEA))
        self.ask("ann", "join", TEA, members=7)  # of some later moment, perhaps
        self.see(Asked("ann", "leave", TEA), Asked("ann", "leave", TEA))
        self.see(Denied("ann", "leave", TEA, "not-in-room"))
        self.moves += [Move(1, "ann", TEA, True), Move(2, "ann", TEA, False)]
        self.assertEqual(self.faults(), [])

    def test_joining_again_changes_nothing(self) -> None:
        self.join(1, "ann")
        self.ask("ann", "join", TEA)
        self.assertEqual(self.faults(), [])

    def test_too_late_for_the_room(self) -> None:
        """What she said before she left was taken up behind that."""
        self.join(1, "ann", "ben")
        post = self.history.say("ann", TEA)
        self.leave(3, "ann")
        self.see(Refused(post, "not-in-room"))
        self.assertEqual(self.faults(), [])

    def test_bystanders(self) -> None:
        """They are members from one answer to the next on one screen; their counts are not known for certain."""
        self.join(1, "ann", "ben")
        self.ask("pat#1", "join", TEA, members=3)
        self.moves.append(Move(3, "pat", TEA, True))
        self.accept(4, "ann", TEA)
        self.show(4, "ben")
        self.show(4, "pat", screen="pat#1")
        self.see(Receipt("ann", 4, 1, 1, 0, 2, TEA))
        self.accept(5, "ann", TEA)
        self.show(5, "ben")
        self.see(Receipt("ann", 5, 0, 1, 0, 1, TEA))  # she had gone, as nobody but the daemon can tell
        self.assertEqual(self.faults(), [])

    def test_a_muted_room(self) -> None:
        """Before, in between and afterwards; about what was on its way nobody can know."""
        self.join(1, "ann", "ben", "cid")
        self.accept(4, "ann", TEA)
        self.show(4, "ben", "cid")
        self.see(Asked("ben", "mute", TEA))
        self.accept(5, "ann", TEA)
        self.show(5, "cid")
        self.see(Done("ben", "mute", TEA))
        self.accept(6, "ann", TEA)
        self.show(6, "cid")
        self.see(Asked("ben", "unmute", TEA))
        self.accept(7, "ann", TEA)
        self.show(7, "ben", "cid")
        self.see(Done("ben", "unmute", TEA))
        self.accept(8, "ann", TEA)
        self.show(8, "ben", "cid")
        for id, of in ((4, 2), (5, 1), (5, 2), (6, 1), (7, 1), (7, 2), (8, 2)):
            self.see(Receipt("ann", id, 0, of if id in (4, 8) else 1, 0, of, TEA))
        self.assertEqual(self.faults(), [])

    def test_a_muted_room_is_heard_again_by_who_comes_back(self) -> None:
        """It is her stay that is muted."""
        self.join(1, "ann", "ben")
        self.ask("ben", "mute", TEA)
        self.leave(3, "ben")
        self.join(4, "ben")
        self.accept(5, "ann", TEA)
        self.show(5, "ben")
        self.assertEqual(self.faults(), [])

    def test_an_ignored_person(self) -> None:
        """What she said to all may be shown once she is not ignored any more; what was private is never."""
        self.ask("ben", "ignore", "ann")
        self.accept(1, "ann", None)
        self.show(1, "cid")
        self.accept(2, "ann", "ben")
        self.blocked.add(2)
        self.see(Verdict("ann", "undelivered", 2, "ben", "blocked"), Receipt("ann", 1, 0, 1, 0, 1))
        self.see(Asked("ben", "unignore", "ann"))
        self.show(1, "ben")
        self.see(Done("ben", "unignore", "ann"))
        self.accept(3, "ann", "ben")
        self.deliver(3, "ben")
        self.assertEqual(self.faults(), [])


class Rooms(Case):
    """What is said in a room goes to its members, and to nobody else."""

    def setUp(self) -> None:
        super().setUp()
        self.join(1, "ann", "ben")

    def test_not_shown_to_a_member(self) -> None:
        self.accept(3, "ann", TEA)
        self.assertEqual(self.faults(), ["lost"])

    def test_not_shown_to_who_left_later(self) -> None:
        self.accept(3, "ann", TEA)
        self.leave(4, "ben")
        self.assertEqual(self.faults(), ["lost"])

    def test_shown_to_who_never_joined(self) -> None:
        self.accept(3, "ann", TEA)
        self.show(3, "ben", "cid")
        self.assertEqual(self.faults(), ["leaked"])

    def test_shown_to_who_joined_later(self) -> None:
        self.accept(3, "ann", TEA)
        self.join(4, "cid")
        self.show(3, "ben", "cid")
        self.assertEqual(self.faults(), ["leaked"])

    def test_shown_to_who_left_before(self) -> None:
        self.leave(3, "ben")
        self.accept(4, "ann", TEA)
        self.show(4, "ben")
        self.assertEqual(self.faults(), ["leaked"])

    def test_shown_between_two_stays(self) -> None:
        """Neither of them has it."""
        self.leave(3, "ben")
        self.accept(4, "ann", TEA)
        self.join(5, "ben")
        self.show(4, "ben")
        self.assertEqual(self.faults(), ["leaked"])

    def test_shown_to_a_bystander_outside(self) -> None:
        """Before she joined, on another screen than that on which she did, and after she left."""
        self.moves.append(Move(3, "pat", TEA, True))
        self.accept(4, "ann", TEA)
        self.show(4, "ben")
        self.show(4, "pat", screen="pat#1")
        self.ask("pat#1", "join", TEA)
        self.show(4, "pat", screen="pat#2")
        self.ask("pat#3", "join", TEA)
        self.ask("pat#3", "leave", TEA)
        self.show(4, "pat", screen="pat#3")
        self.moves.append(Move(5, "pat", TEA, True))
        self.assertEqual(self.faults(), ["leaked"] * 3)

    def test_shown_twice_and_out_of_order(self) -> None:
        self.accept(3, "ann", TEA)
        self.accept(4, "ann", TEA)
        self.show(4, "ben")
        self.show(3, "ben")
        self.show(4, "ben")
        self.assertEqual(self.faults(), ["out of order", "twice"])

    def test_shown_as_if_it_were_said_elsewhere(self) -> None:
        post = self.accept(3, "ann", TEA)
        self.show(3, "ben")
        self.history.show("ben", "ben", parse(b"<msg id=3 from=ann to=#other>" + post.text))
        self.assertEqual(self.faults(), ["broken"])

    def test_refused_while_she_is_a_member(self) -> None:
        self.see(Refused(self.history.say("ann", TEA), "not-in-room"))
        self.assertEqual(self.faults(), ["lost"])

    def test_refused_and_kept(self) -> None:
        post = self.keep(3, "ann", TEA)
        self.leave(4, "ann")
        self.show(3, "ben")
        self.see(Refused(post, "not-in-room"))
        self.assertEqual(self.faults(), ["untrue"])

    def test_counts(self) -> None:
        """Of members, as many as there were; nobody who comes back is gone; and in the right room."""
        self.accept(3, "ann", TEA)
        self.show(3, "ben")
        for wrong in (
            (0, 1, 0, 2, TEA),
            (0, 1, 0, 0, TEA),
            (0, 0, 1, 1, TEA),
            (0, 1, 0, 1, "#other"),
            (1, 0, 0, 1, TEA),
        ):
            told = Receipt("ann", 3, *wrong)
            self.see(told)
            self.assertEqual(self.faults(), ["untrue"], wrong)
            self.history.events.remove(told)

    def test_a_count_before_she_acknowledged_it(self) -> None:
        self.accept(3, "ann", TEA)
        self.see(Shown("ben", "ben", 3, self.journal[3]), Receipt("ann", 3, 0, 1, 0, 1, TEA))
        self.assertEqual(self.faults(), ["untrue"])


class Memberships(Case):
    """What was answered is so."""

    def test_the_journal_does_not_have_it(self) -> None:
        self.ask("ann", "join", TEA)
        self.assertEqual(self.faults(), ["lost"])

    def test_the_journal_does_not_have_that_she_left(self) -> None:
        self.join(1, "ann")
        self.ask("ann", "leave", TEA)
        self.assertEqual(self.faults(), ["lost"])

    def test_forgotten(self) -> None:
        """She leaves what she was answered to be in, and is told that she is not; she did not ask before."""
        self.join(1, "ann")
        self.see(Asked("ann", "leave", TEA), Denied("ann", "leave", TEA, "not-in-room"))
        self.assertEqual(self.faults(), ["lost"])

    def test_made_twice(self) -> None:
        """Kept, forgotten at a kill, and kept again."""
        self.join(1, "ann")
        self.ask("ann", "join", TEA)
        self.moves.append(Move(2, "ann", TEA, True))
        self.assertEqual(
            self.faults(), ["broken", "broken"]
        )  # it changes nothing, and nobody was answered it

    def test_made_of_nothing(self) -> None:
        self.moves.append(Move(1, "ann", TEA, True))
        self.assertEqual(self.faults(), ["broken"])

    def test_the_other_way_round(self) -> None:
        self.join(1, "ann")
        self.ask("ann", "leave", TEA)
        self.ask("ann", "join", TEA)
        self.moves += [Move(2, "ann", TEA, True), Move(3, "ann", TEA, False)]
        self.assertIn("lost", self.faults())

    def test_refused_to_join(self) -> None:
        self.see(Asked("ann", "join", TEA), Denied("ann", "join", TEA, "busy"))
        self.assertEqual(self.faults(), ["lost"])

    def test_never_answered(self) -> None:
        self.see(Asked("ann", "join", TEA))
        self.assertEqual(self.faults(), ["open"])

    def test_of_bystanders(self) -> None:
        self.ask("pat#1", "join", TEA)
        self.ask("pat#2", "join", TEA)
        self.moves.append(Move(1, "pat", TEA, True))
        self.assertEqual(self.faults(), ["lost"])

    def test_how_many_are_in_it(self) -> None:
        for members in (1, 3):
            self.history, self.moves = History(CAST), [Move(1, "ann", TEA, True), Move(2, "ben", TEA, True)]
            self.ask("ann", "join", TEA, members=1)
            self.ask("ben", "join", TEA, members=members)
            self.assertEqual(self.faults(), ["untrue"], members)


class About(Case):
    """Edits, retractions and reactions."""

    def setUp(self) -> None:
        super().setUp()
        self.accept(1, "ann", "ben")

    def test_lost(self) -> None:
        self.deliver(1, "ben")
        self.accept(2, "ann", "ben", Kind.EDIT, 1)
        self.see(Verdict("ann", "delivered", 2, "ben"))
        self.assertEqual(self.faults(), ["untrue", "lost"])

    def test_before_what_it_is_about(self) -> None:
        self.accept(2, "ann", "ben", Kind.RETRACT, 1)
        self.deliver(2, "ben")
        self.deliver(1, "ben")
        self.assertEqual(self.faults(), ["out of order"] * 2)

    def test_before_its_own_sender_knows_what_it_is_about(self) -> None:
        self.deliver(1, "ben")
        post = self.keep(2, "ann", None)
        self.show(2, "ben", "cid")
        self.accept(3, "cid", None, Kind.REACT, 2)
        self.show(3, "ann", "ben")
        self.see(Accepted(post, 2))
        self.assertEqual(self.faults(), ["out of order"])

    def test_shown_as_something_else(self) -> None:
        """Another message is edited, or it is no edit."""
        self.deliver(1, "ben")
        self.accept(2, "ann", "ben", Kind.EDIT, 1)
        self.deliver(2, "ben")
        for line in (b"<msg id=2 from=ann to=ben edit=3>", b"<msg id=2 from=ann to=ben>"):
            self.history.show("ben", "ben", parse(line + self.journal[2].text))
        self.assertEqual(self.faults(), ["broken"] * 2)

    def test_what_the_journal_must_not_have(self) -> None:
        """About nothing, about an edit, elsewhere, of somebody else, and after it was taken back."""
        self.deliver(1, "ben")
        self.accept(2, "ann", "ben", Kind.EDIT, 1)
        self.deliver(2, "ben")
        for id, sender, to, kind, ref in (
            (3, "ann", "ben", Kind.EDIT, 9),
            (4, "ann", "ben", Kind.EDIT, 2),
            (5, "ann", "cid", Kind.EDIT, 1),
            (6, "ben", "ann", Kind.EDIT, 1),
        ):
            self.accept(id, sender, to, kind, ref)
            self.deliver(id, to)
        self.assertEqual(self.faults(), ["broken"] * 4)
        self.accept(7, "ann", "ben", Kind.RETRACT, 1)
        self.deliver(7, "ben")
        self.accept(8, "ann", "ben", Kind.EDIT, 1)
        self.deliver(8, "ben")
        self.assertEqual(self.faults(), ["broken"] * 4 + ["out of order"])

    def test_refused(self) -> None:
        """What it is about is there, and nobody took it back."""
        self.deliver(1, "ben")
        for code in ("no-such-message", "not-yours", "no-such-user"):
            self.see(Refused(self.history.say("ann", "ben", kind=Kind.EDIT, ref=1), code))
        self.assertEqual(self.faults(), ["lost"] * 3)


class Silence(Case):
    """What people do not want to hear."""

    def setUp(self) -> None:
        super().setUp()
        self.join(1, "ann", "ben")

    def test_shown_in_a_muted_room(self) -> None:
        """Also later, when she hears it again."""
        self.ask("ben", "mute", TEA)
        self.accept(3, "ann", TEA)
        self.accept(4, "ann", TEA)
        self.show(3, "ben")
        self.ask("ben", "unmute", TEA)
        self.show(4, "ben")
        self.assertEqual(self.faults(), ["leaked"] * 2)

    def test_not_shown_before_and_after_a_silence(self) -> None:
        self.accept(3, "ann", TEA)
        self.ask("ben", "mute", TEA)
        self.ask("ben", "unmute", TEA)
        self.accept(4, "ann", TEA)
        self.assertEqual(self.faults(), ["lost"] * 2)

    def test_forgotten_at_a_kill(self) -> None:
        """She asks to unmute what was answered to be muted, and what was said meanwhile had been shown."""
        self.ask("ben", "mute", TEA)
        self.accept(3, "ann", TEA)
        self.show(3, "ben")
        self.see(Receipt("ann", 3, 0, 1, 0, 1, TEA))
        self.assertEqual(self.faults(), ["leaked", "untrue"])

    def test_refused(self) -> None:
        self.see(Asked("ben", "mute", TEA), Denied("ben", "mute", TEA, "not-in-room"))
        self.assertEqual(self.faults(), ["lost"])

    def test_heard_of_an_ignored_person(self) -> None:
        self.ask("ben", "ignore", "ann")
        self.accept(3, "ann", TEA)
        self.show(3, "ben")
        self.accept(4, "ann", None)
        self.show(4, "ben", "cid")
        self.assertEqual(self.faults(), ["leaked"] * 2)

    def test_private_messages_of_an_ignored_person(self) -> None:
        """One that was kept from her and shown all the same, and one that was not kept from her."""
        self.ask("ben", "ignore", "ann")
        for id in (3, 4):
            self.accept(id, "ann", "ben")
        self.blocked.add(3)
        self.show(3, "ben")
        self.deliver(4, "ben")
        self.see(Verdict("ann", "undelivered", 3, "ben", "blocked"))
        self.assertEqual(self.faults(), ["leaked", "leaked", "leaked"])

    def test_kept_from_who_ignores_nobody(self) -> None:
        self.accept(3, "ann", "ben")
        self.blocked.add(3)
        self.see(Verdict("ann", "undelivered", 3, "ben", "blocked"))
        self.assertEqual(self.faults(), ["lost"])

    def test_about_what_was_kept_from_her(self) -> None:
        """What is about it is kept from her, too, also when she ignores nobody any more."""
        self.ask("ben", "ignore", "ann")
        self.accept(3, "ann", "ben")
        self.ask("ben", "unignore", "ann")
        for id in (4, 5):
            self.accept(id, "ann", "ben", Kind.EDIT, 3)
        self.blocked |= {3, 4}
        for id in (3, 4):
            self.see(Verdict("ann", "undelivered", id, "ben", "blocked"))
        self.assertEqual(self.faults()[:1], ["leaked"])
        self.blocked.add(5)
        self.see(Verdict("ann", "undelivered", 5, "ben", "blocked"))
        self.assertEqual(self.faults(), [])

    def test_refused_to_change_what_she_has(self) -> None:
        """Only while she ignores its sender, or may."""
        self.accept(3, "ann", "ben")
        self.deliver(3, "ben")
        for kind, faults in ((Kind.EDIT, []), (Kind.REACT, ["lost"])):
            self.see(Asked("ben", "ignore", "ann"))
            self.see(Refused(self.history.say("ann", "ben", kind=kind, ref=3), "blocked"))
            self.see(Done("ben", "ignore", "ann"))
            self.ask("ben", "unignore", "ann")
            self.assertEqual(self.faults(), faults)
        self.see(Refused(self.history.say("ann", "ben", kind=Kind.EDIT, ref=3), "blocked"))
        self.assertEqual(self.faults(), ["lost"] * 2)

    def test_said_to_be_kept_from_her(self) -> None:
        self.accept(3, "ann", "ben")
        self.show(3, "ben")
        self.see(Verdict("ann", "undelivered", 3, "ben", "blocked"))
        self.assertEqual(self.faults(), ["untrue"])


class Lines(Case):
    """What people see is what was said."""

    def test_what_has_no_text(self) -> None:
        """The line says something for people; a retraction is another event than a reaction that was taken back."""
        self.history.say("ann", None)
        gone = self.history.say("ann", None, kind=Kind.RETRACT, ref=1)
        back = self.history.say("ann", None, kind=Kind.REACT, ref=1, bare=True)
        self.history.show("ben", "ben", parse(b"<msg id=2 from=ann to=all retract=1>(message taken back)"))
        self.history.show("ben", "ben", parse(b"<msg id=3 from=ann to=all react=1>(reaction taken back)"))
        self.assertEqual(
            self.history.events[-2:], [Shown("ben", "ben", 2, gone), Shown("ben", "ben", 3, back)]
        )

    def test_what_was_taken_back(self) -> None:
        """Who missed a message that was taken back is shown that; nothing else is shown without its text."""
        said = self.history.say("ann", None)
        gone = self.history.say("ann", None, kind=Kind.RETRACT, ref=1)
        for line in (
            b"<msg id=1 from=ann to=all time=x replay>(message taken back)",
            b"<msg id=2 from=ann to=all retract=1 time=x>(message taken back)",
        ):
            self.history.show("ben", "ben", parse(line))
        self.assertEqual(self.history.events[-2:], [
            Hidden("ben", "ben", 1, "ann", "all", Kind.SAID, 0), Shown("ben", "ben", 2, gone),
        ])  # fmt: skip
        other = self.history.say("ben", None)
        shown = self.history
        for posts, wrong in (
            ({1: said, 2: gone}, ""), ({1: said}, "which nobody took back"),
            ({1: other, 2: gone}, "the journal does not have"),
        ):  # fmt: skip
            told = " ".join(fault.what for fault in check(shown, Journal(posts)))
            for sentence in ("which nobody took back", "the journal does not have"):
                self.assertEqual(sentence in told, sentence == wrong, told)

    def test_a_plain_line_does_not_say_that_it_is_private(self) -> None:
        post = self.history.say("ann", "pat")
        self.history.show("pat", "pat#1", parse(b"<msg id=1 from=ann>" + post.text))
        self.history.show("pat", "pat#1", parse(b"<msg id=2 from=ann to=all>" + post.text))
        self.assertEqual(self.history.events[-2], Shown("pat", "pat#1", 1, post))
        self.assertIsInstance(self.history.events[-1], Wrong)

    def test_counts(self) -> None:
        self.history.hear("ann", parse(b"<receipt id=3 sent=1 delivered=2 of=4>#tea"))
        self.assertEqual(self.history.events[-1], Receipt("ann", 3, 1, 2, 0, 4, TEA))
