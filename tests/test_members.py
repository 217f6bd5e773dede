"""Coming, going, and coming back: tokens, names that are held, and what is told of the past."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat import catchup as catchup_module
from pychat import departures, fate, once
from pychat.departures import HOLD
from pychat.hub import Hub
from pychat.ledger import ARRIVALS_LIMIT
from pychat.roster import Roster, digest_of
from pychat.vocabulary import OnceKey, Page, Standing
from tests.chatkit import NOON, NOON_MS, Chat, Talk

SMART = b"<hello caps=ack,resume>"
BAD_TOKEN = (
    b"<error code=bad-token>This token is not, or no longer, good for this name. "
    b"Check both; if it is lost, join under another name: <connect>your-name"
)
NOT_TAKEN_UP = (
    b"<error code=not-connected%s>The connection ended before this was taken up. "
    b"Say it again on the next one."
)


def connected(line: bytes) -> bytes:
    """The token in a ``<connected>``."""
    assert line.startswith(b"<connected resume="), line
    return line.partition(b"resume=")[2].partition(b">")[0]


class ComingBack(SynchronousTestCase):
    """Alice can come back; Bob is on `nc`."""

    def setUp(self) -> None:
        self.chat = Chat()
        self.hub = self.chat.hub
        self.bob = self.chat.connect(b"bob")
        self.alice = Talk(self.hub)
        self.alice.say(SMART, b"<connect>alice")
        self.token = connected(self.alice.heard()[-1])
        self.hub.confirm(self.alice.peer)
        self.bob.heard()

    def go(self, now: float = 0.0) -> None:
        """Alice's connection breaks."""
        self.hub.leave(self.alice.peer, now)

    def come(self, attributes: bytes = b"", hello: bytes = SMART) -> Talk:
        """Alice comes on another connection."""
        return self.chat.resume(b"alice", b"resume=" + self.token + attributes, hello)

    def test_the_journal_knows_first(self) -> None:
        """Who gets a token is not here before the journal knows her, and her later lines wait for that."""
        carol = Talk(self.hub)
        carol.say(SMART, b"<connect label=7>carol", b"<ping>x", b"<set_msg>bob hi")
        changes = self.hub.changes(NOON_MS)
        self.assertTrue(all(b"carol" not in line for line in self.bob.answer(b"<get_users>")))
        self.assertIn(b"no-such-user", self.bob.answer(b"<set_msg>carol hi")[0])
        self.assertIn(b"name-taken", Talk(self.hub).answer(b"<connect>carol")[0])
        (standing,) = changes.standings
        self.hub.kept(changes)
        self.assertEqual(self.bob.heard(), [b"<joined>carol"])
        self.chat.commit()
        greeting, answer, pong, accepted = carol.heard()
        self.assertEqual(
            (greeting, pong, accepted),
            (b"<hello caps=ack,resume server=pychat/0.1.0>", b"<pong>x", b"<accepted id=1>bob"),
        )
        token = answer.removeprefix(b"<connected resume=").removesuffix(b" label=7>carol")
        self.assertEqual(standing, Standing(
            standing.id, "carol", 0, plain=False, resumes=True, spare=digest_of(token), time_ms=NOON_MS
        ))  # fmt: skip

    def test_away_and_back(self) -> None:
        """Her name stays hers, the others see that she is away, and her mail waits."""
        self.go()
        self.assertEqual(self.bob.heard(), [b"<away>alice"])
        self.assertEqual(
            self.bob.answer(b"<get_users label=1>"),
            [b"<user label=1 away>alice", b"<user label=1>bob", b"<users label=1 count=2>"],
        )
        self.assertIn(b"name-taken", Talk(self.hub).answer(b"<connect>alice")[0])
        self.bob.say(b"<set_msg>alice one", b"<set_msg_all>two")
        self.chat.commit()
        self.assertEqual(self.bob.heard(), [b"<accepted id=1>alice", b"<accepted id=2>all"])
        alice = self.come()
        _, answer = alice.heard()
        self.assertNotEqual(connected(answer), self.token)
        self.assertEqual(self.bob.heard(), [b"<back>alice"])
        self.assertEqual(
            self.chat.catch_up(alice),
            [
                b"<msg id=1 from=bob to=alice time=%s replay>one" % NOON,
                b"<msg id=2 from=bob to=all time=%s replay>two" % NOON,
                b"<replayed count=2>",
            ],
        )
        self.bob.say(b"<set_msg>alice three")
        self.chat.commit()
        self.assertEqual(alice.heard(), [b"<msg id=3 from=bob to=alice time=%s>three" % NOON])
        self.bob.heard()
        alice.say(b"<ack>3")
        self.assertEqual(self.bob.heard(), [b"<delivered id=1>alice", b"<delivered id=3>alice"])

    def test_resends(self) -> None:
        """What was replayed and not acknowledged is sent again."""
        self.go()
        self.bob.say(b"<set_msg>alice one")
        self.chat.commit()
        alice = self.come()
        alice.heard()
        line = self.chat.catch_up(alice)[0]
        self.hub.resend(alice.peer)
        self.assertEqual(alice.heard(), [line])

    def test_after_counts_as_an_ack(self) -> None:
        """What she says she has is not told again, and who sent it learns that it was delivered, once."""
        for text in (b"one", b"two", b"three"):
            self.bob.say(b"<set_msg>alice " + text)
        self.chat.commit()
        self.alice.say(b"<ack>1")
        self.bob.heard()
        self.go()
        alice = self.come(b" after=2")
        alice.heard()
        self.assertEqual(
            self.chat.catch_up(alice),
            [b"<msg id=3 from=bob to=alice time=%s replay>three" % NOON, b"<replayed count=1>"],
        )
        self.assertEqual(self.bob.heard(), [b"<away>alice", b"<back>alice", b"<delivered id=2>alice"])
        self.assertEqual(alice.answer(b"<ack>2"), [])

    def test_after_on_a_connection_that_never_caught_up(self) -> None:
        """Who sent it learns that it was delivered also if she is gone again before she was told what she missed."""
        for text in (b"one", b"two"):
            self.bob.say(b"<set_msg>alice " + text)
        self.chat.commit()
        self.bob.heard()
        self.go()
        for _ in range(2):
            alice = self.come(b" after=1")
            self.token = connected(alice.heard()[-1])
            self.hub.leave(alice.peer)
        self.chat.commit()
        self.assertNotIn(b"<delivered id=1>alice", self.bob.heard())
        for told in ([b"<delivered id=1>alice"], []):  # and is not told twice
            alice = self.come(b" after=1")
            self.token = connected(alice.heard()[-1])
            self.assertEqual(len(self.chat.catch_up(alice)), 2)
            self.hub.leave(alice.peer)
            self.assertEqual(self.bob.heard(), [b"<back>alice", *told, b"<away>alice"])

    def test_what_was_acknowledged_can_be_had_again(self) -> None:
        """A client that lost what it had asks for it with an older ``after=``; nobody is told anything twice."""
        self.bob.say(b"<set_msg>alice one", b"<set_msg>alice two")
        self.chat.commit()
        self.alice.say(b"<ack>2")
        self.bob.heard()
        self.go()
        alice = self.come(b" after=0")
        alice.heard()
        self.assertEqual(len(self.chat.catch_up(alice)), 3)
        alice.say(b"<ack>2")
        self.assertEqual(self.bob.heard(), [b"<away>alice", b"<back>alice"])

    def test_own_messages(self) -> None:
        """She learns which of her posts arrived, by their keys, where they stand in the conversation."""
        self.alice.say(b"<set_msg once=k1>bob one", b"<set_msg_all>two")
        self.bob.say(b"<set_msg_all>three")
        self.chat.commit()
        self.go()
        alice = self.come(b" after=0")
        alice.heard()
        self.assertEqual(
            self.chat.catch_up(alice),
            [
                b"<accepted id=1 once=k1 replay>bob",
                b"<accepted id=2 replay>all",
                b"<msg id=3 from=bob to=all time=%s replay>three" % NOON,
                b"<replayed count=1>",
            ],
        )
        alice.say(b"<set_msg once=k1>bob one")
        self.chat.commit()
        self.assertEqual(alice.heard(), [b"<accepted id=1>bob"])

    def test_after_own_messages(self) -> None:
        """What she knows of her own is not told again."""
        self.alice.say(b"<set_msg_all>one", b"<set_msg_all>two")
        self.chat.commit()
        self.go()
        alice = self.come(b" after=1")
        alice.heard()
        self.assertEqual(self.chat.catch_up(alice), [b"<accepted id=2 replay>all", b"<replayed count=0>"])

    def test_only_hers(self) -> None:
        """Nobody else's mail, and nothing from before she first came."""
        carol = self.chat.connect(b"carol")
        self.bob.say(b"<set_msg_all>before", b"<set_msg>carol private")
        self.chat.commit()
        dave = Talk(self.hub)
        dave.say(SMART, b"<connect>dave")
        token = connected(dave.heard()[-1])
        self.bob.say(b"<set_msg>carol private")
        carol.say(b"<set_msg_all>public")
        self.chat.commit()
        self.hub.leave(dave.peer)
        dave = self.chat.resume(b"dave", b"after=0 resume=" + token)
        dave.heard()
        self.assertEqual(
            self.chat.catch_up(dave),
            [b"<msg id=4 from=carol to=all time=%s replay>public" % NOON, b"<replayed count=1>"],
        )

    def test_pages(self) -> None:
        """It comes page by page; what is said meanwhile follows, once and in order."""
        self.go()
        for text in (b"1", b"2", b"3"):
            self.bob.say(b"<set_msg_all>" + text)
        self.chat.commit()
        alice = self.come()
        alice.heard()
        catchup = self.hub.catching(alice.peer)
        assert catchup is not None
        self.bob.heard()
        carol = self.chat.connect(b"carol")
        alice.heard()
        for upto, said in [(2, b"<set_msg>alice 4"), (4, b"<set_msg_all>5")]:
            catchup.listen(self.hub.last_id)
            page = self.chat.page(alice, 2)
            carol.say(said)
            self.chat.commit()
            self.hub.replay(alice.peer, page)
            self.assertEqual((page.upto, catchup.count), (upto, upto if upto < 4 else 5))
        self.assertEqual(
            [line.partition(b">")[2] for line in alice.heard()], [b"1", b"2", b"3", b"4", b"5", b""]
        )
        carol.heard()
        alice.say(b"<ack>5")
        self.assertEqual(carol.heard(), [b"<delivered id=4>alice"])

    def test_said_meanwhile(self) -> None:
        """What is delivered while the last page is read follows it, private and public in their order."""
        alice = self.come()
        alice.heard()
        catchup = self.hub.catching(alice.peer)
        assert catchup is not None
        catchup.listen(self.hub.last_id)
        page = self.chat.page(alice)
        self.bob.say(b"<set_msg_all>1", b"<set_msg>alice 2", b"<set_msg_all>3", b"<set_msg>alice 4")
        self.chat.commit()
        self.hub.replay(alice.peer, page)
        lines = alice.heard()
        self.assertEqual([line.partition(b">")[2] for line in lines], [b"1", b"2", b"3", b"4", b""])
        self.assertEqual(lines[-1], b"<replayed count=4>")
        self.bob.heard()
        alice.say(b"<ack>3")
        self.assertEqual(self.bob.heard(), [b"<delivered id=2>alice"])

    def test_much_is_said_meanwhile(self) -> None:
        """More than is set aside is read from the journal instead."""
        self.patch(catchup_module, "ASIDE_LIMIT", 10)
        alice = self.come()
        alice.heard()
        catchup = self.hub.catching(alice.peer)
        assert catchup is not None
        catchup.listen(self.hub.last_id)
        page = self.chat.page(alice)
        for _ in range(2):
            self.bob.say(b"<set_msg_all>xxxxxxxxxx")
            self.chat.commit()
        self.hub.replay(alice.peer, page)
        self.assertEqual(alice.heard(), [])
        lines = self.chat.catch_up(alice)
        self.assertEqual((len(lines), lines[-1]), (3, b"<replayed count=2>"))

    def test_posts_before_the_end_of_the_replay(self) -> None:
        """They are taken up after it, in their order, and the answers to later lines wait for theirs."""
        alice = self.come()
        alice.say(b"<set_msg label=1>bob hi", b"<ping>x", b"<set_msg_all>all")
        self.assertFalse(self.chat.commit())
        alice.heard()
        self.assertEqual(self.chat.catch_up(alice), [b"<replayed count=0>"])
        self.assertEqual(self.chat.commit(), [1, 2])
        self.assertEqual(alice.heard(), [b"<accepted label=1 id=1>bob", b"<pong>x", b"<accepted id=2>all"])

    def test_posts_of_a_connection_that_never_caught_up(self) -> None:
        """They are refused, so their keys are free."""
        alice = self.come()
        alice.say(b"<set_msg once=k label=1>bob hi")
        alice.heard()
        self.hub.leave(alice.peer)
        self.assertEqual(alice.heard(), [NOT_TAKEN_UP % b" label=1"])
        self.hub.replay(alice.peer, Page((), 0, 1))
        alice = self.come()
        alice.heard()
        self.chat.catch_up(alice)
        alice.say(b"<set_msg once=k>bob other")
        self.assertEqual(self.chat.commit(), [1])

    def test_posts_of_the_older_connection(self) -> None:
        """What it posted and the journal was not given yet is refused."""
        alice = self.come()
        self.alice.say(b"<set_msg label=1>bob hi")
        changes = self.hub.changes(NOON_MS)
        self.hub.kept(changes)
        self.assertEqual(self.alice.heard()[-1], NOT_TAKEN_UP % b" label=1")
        self.assertEqual(self.hub.replaced, [self.alice.peer])
        self.assertFalse(self.chat.commit())
        self.assertIs(self.hub.roster.find("alice").peer, alice.peer)  # type: ignore[union-attr]

    def test_replaced(self) -> None:
        """A valid resume takes the place of a connection that the daemon still believes in."""
        self.bob.say(b"<set_msg>alice one")
        self.chat.commit()
        alice = self.come()
        alice.heard()
        self.assertEqual(self.hub.replaced, [self.alice.peer])
        self.hub.part(self.alice.peer)
        self.hub.leave(self.alice.peer)
        self.assertEqual(len(self.chat.catch_up(alice)), 2)
        self.assertEqual([line for line in self.bob.heard() if b"away" in line or b"left" in line], [])

    def test_tokens(self) -> None:
        """The old token is good until a line came on the new connection, and then the new one only is."""
        first = self.come()
        fresh = connected(first.heard()[-1])
        self.assertEqual(self.chat.resume(b"alice", b"resume=" + fresh + b"x").heard()[-1], BAD_TOKEN)
        self.assertEqual(self.chat.resume(b"bob", b"resume=" + fresh).heard()[-1], BAD_TOKEN)
        second = self.come()
        newer = connected(second.heard()[-1])
        self.assertEqual(self.chat.resume(b"alice", b"resume=" + fresh).heard()[-1], BAD_TOKEN)
        self.assertEqual(self.hub.catching(first.peer), None)
        self.hub.confirm(second.peer)
        self.assertEqual(self.come().heard()[-1], BAD_TOKEN)
        self.token = newer
        self.assertNotEqual(connected(self.come().heard()[-1]), newer)

    def test_confirming(self) -> None:
        """Confirming twice, or what is nobody's any more, changes nothing."""
        alice = self.come()
        fresh = connected(alice.heard()[-1])
        self.hub.confirm(self.alice.peer)
        self.assertNotEqual(connected(self.come().heard()[-1]), self.token)
        self.hub.confirm(self.hub.peer())
        again = self.chat.resume(b"alice", b"resume=" + self.token)
        self.hub.confirm(again.peer)
        newest = connected(again.heard()[-1])
        self.hub.confirm(again.peer)
        self.hub.confirm(again.peer)
        self.assertEqual(self.chat.resume(b"alice", b"resume=" + fresh).heard()[-1], BAD_TOKEN)
        self.assertNotEqual(connected(self.chat.resume(b"alice", b"resume=" + newest).heard()[-1]), newest)

    def test_wrong_attributes(self) -> None:
        """Numbers that are none, a position in the future, a client that did not say that it can do it."""
        for attributes in (b" after=x", b" open=-1", b" after=" + b"9" * 19):
            self.assertIn(b"code=bad-attribute", self.come(attributes).heard()[-1])
        self.assertIn(b"code=not-sent", self.come(b" after=1").heard()[-1])
        for hello in (b"<hello>", b"<hello caps=ack>", b"<hello caps=resume>"):
            self.assertIn(b"code=bad-attribute", self.come(b"", hello).heard()[-1])

    def test_disconnect_ends_it(self) -> None:
        """After a goodbye the name is free and the token is nothing."""
        self.bob.say(b"<set_msg>alice one")
        self.chat.commit()
        self.bob.heard()
        self.alice.say(b"<disconnect>")
        self.hub.part(self.alice.peer)
        self.hub.part(self.alice.peer)
        self.hub.leave(self.alice.peer)
        self.assertEqual(self.bob.heard(), [b"<left>alice", b"<undelivered id=1 reason=gone>alice"])
        self.assertEqual(self.come().heard()[-1], BAD_TOKEN)
        self.assertEqual(self.hub.expired, [])
        Talk(self.hub).say(b"<connect>alice")
        self.assertEqual(self.bob.heard(), [b"<joined>alice"])

    def test_gone_before_the_journal_knew(self) -> None:
        """A connection that ends while its ``<connect>`` waits leaves nothing behind."""
        carol = Talk(self.hub)
        carol.say(SMART, b"<connect>carol")
        changes = self.hub.changes(NOON_MS)
        self.hub.part(carol.peer)
        self.hub.leave(carol.peer)
        self.hub.kept(changes)
        later = self.hub.changes(NOON_MS)
        self.assertEqual([(standing.name, standing.left) for standing in later.standings], [("carol", 0)])
        self.hub.kept(later)
        self.assertEqual((self.bob.heard(), self.hub.expired), ([], []))
        self.assertEqual(Talk(self.hub).answer(b"<connect>carol"), [b"<connected>carol"])

    def test_gone_before_the_journal_knew_that_she_is_back(self) -> None:
        """A connection that ends while it waits to resume changes nothing."""
        alice = self.come()
        self.hub.part(alice.peer)
        self.hub.leave(alice.peer)
        self.assertEqual(self.bob.heard(), [])
        self.bob.say(b"<set_msg_all>x")
        self.chat.commit()
        self.assertIn(b">x", self.alice.heard()[-1])

    def test_no_token_shown(self) -> None:
        """A name is not held against a new ``<connect>`` for a token that may never have arrived."""
        carol = Talk(self.hub)
        carol.say(SMART, b"<connect>carol")
        carol.heard()
        self.hub.leave(carol.peer)
        self.bob.say(b"<set_msg>carol hi")
        self.chat.commit()
        self.bob.heard()
        again = Talk(self.hub)
        again.say(SMART, b"<connect>carol")
        self.assertIn(b"<connected", again.heard()[-1])
        self.assertEqual(self.bob.heard(), [b"<left>carol", b"<joined>carol"])
        self.assertEqual([person.name for person, _ in self.hub.expired], ["carol"])

    def test_expired(self) -> None:
        """When her time is over the name is free, and the journal knows before her mail gets its verdict."""
        self.go(1.0)
        self.hub.expire(HOLD + 0.9)
        self.assertEqual(self.bob.heard(), [b"<away>alice"])
        self.hub.expire(HOLD + 1.0)
        self.assertEqual(self.hub.expired, [])
        self.assertEqual(self.bob.heard(), [b"<left>alice"])
        self.assertEqual([(person.name, why) for person, why in self.hub.expired], [("alice", b"expired")])
        self.assertEqual(self.come().heard()[-1], BAD_TOKEN)
        self.bob.say(b"<set_msg>alice hi")
        self.assertIn(b"no-such-user", self.bob.heard()[0])

    def test_expired_while_she_waits(self) -> None:
        """Her time is over while the journal is about to let her in: she is told so."""
        self.go()
        alice = self.come()
        alice.say(b"<set_msg_all label=1>hi")
        self.hub.expire(HOLD)
        self.assertEqual(alice.heard()[1:], [BAD_TOKEN, NOT_TAKEN_UP % b" label=1"])
        self.assertIn(b"<connected", alice.answer(b"<connect>alice")[-1])

    def test_said_to_who_just_ended(self) -> None:
        """A message that was on its way to her when she ended is undelivered at once."""
        self.go()
        self.bob.say(b"<set_msg>alice hi")
        self.hub.expire(HOLD)
        self.chat.commit()
        self.assertEqual(
            self.bob.heard(),
            [
                b"<away>alice",
                b"<left>alice",
                b"<accepted id=1>alice",
                b"<undelivered id=1 reason=expired>alice",
            ],
        )

    def test_many_are_away(self) -> None:
        """Past a bound who is away longest ends early."""
        self.patch(departures, "AWAY_LIMIT", 1)
        carol = Talk(self.hub)
        carol.say(SMART, b"<connect>carol")
        self.go()
        self.hub.leave(carol.peer)
        self.hub.kept(self.hub.changes(NOON_MS))
        self.hub.leave(carol.peer)
        dave = Talk(self.hub)
        dave.say(SMART, b"<connect>dave")
        dave.heard()
        self.hub.leave(dave.peer)
        self.assertEqual([person.name for person in self.hub.roster.away], ["dave"])

    def test_counts(self) -> None:
        """Who is away is counted; a sender who is away is told her counts when she comes back."""
        carol = Talk(self.hub)
        carol.say(SMART, b"<connect>carol")
        carol.heard()
        self.hub.leave(carol.peer)
        self.alice.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.go()
        self.hub.count(5.0)
        self.bob.say(b"<set_msg_all>ho")
        self.chat.commit(now=6.0)
        self.hub.count(6.0)
        alice = self.come(b" after=1")
        alice.heard()
        self.assertEqual(
            self.chat.catch_up(alice)[-2:],
            [b"<replayed count=1>", b"<receipt id=1 sent=0 delivered=0 of=2>all"],
        )
        alice.say(b"<ack>2")
        self.bob.heard()
        self.hub.count(11.0)
        self.assertEqual(self.bob.heard(), [b"<receipt id=2 sent=0 delivered=1 of=2>all"])

    def test_counts_of_who_ended(self) -> None:
        """Nobody waits for the counts of who cannot come back."""
        self.bob.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.hub.leave(self.bob.peer)
        self.hub.count(9.0)
        self.assertFalse(self.hub.counting)

    def test_expired_is_undelivered(self) -> None:
        """Who ends while she is away is counted as not reached."""
        self.go()
        self.bob.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.bob.heard()
        self.hub.expire(HOLD)
        self.hub.count(0.0)
        self.assertEqual(
            self.bob.heard(), [b"<left>alice", b"<receipt id=1 sent=0 delivered=0 undelivered=1 of=1>all"]
        )

    def test_read(self) -> None:
        """It acknowledges too, and goes on to the senders when the journal has it."""
        self.bob.say(b"<set_msg>alice one", b"<set_msg>alice two")
        self.chat.commit()
        self.bob.heard()
        self.assertEqual(self.alice.answer(b"<read>2"), [])
        self.assertEqual(self.bob.heard(), [b"<delivered id=1>alice", b"<delivered id=2>alice"])
        person = self.hub.roster.find("alice")
        self.assertEqual(self.hub.reads, [(person, 0, 2)])
        self.assertEqual(self.alice.answer(b"<read>1", b"<read>2"), [])
        self.assertEqual(self.hub.reads, [(person, 0, 2)])
        self.assertIn(b"code=not-sent", self.alice.answer(b"<read>3")[0])

    def test_resync(self) -> None:
        """Who asks for more than the journal has is told from where on it has it."""
        self.go()
        self.bob.say(b"<set_msg_all>1", b"<set_msg_all>2", b"<set_msg_all>3")
        self.chat.commit()
        del self.chat.journal[:2]
        alice = self.come()
        alice.heard()
        lines = self.chat.catch_up(alice)
        self.assertEqual((lines[0], lines[-1]), (b"<resync oldest=3>", b"<replayed count=1>"))

    def test_verdicts_wait_for_the_journal(self) -> None:
        """An ack that the journal could not keep is told when it has it; who can come back is not told before."""
        carol = Talk(self.hub)
        carol.say(SMART, b"<connect>carol")
        carol.heard()
        self.bob.say(b"<set_msg>alice zero")
        carol.say(b"<set_msg>alice one", b"<set_msg>alice two")
        self.chat.commit()
        carol.heard()
        self.bob.heard()
        self.alice.say(b"<ack>2")
        changes = self.hub.changes(NOON_MS)
        self.alice.say(b"<ack>3")
        self.hub.not_kept(changes)
        self.assertTrue(self.hub.moved)
        self.assertEqual(carol.peer.mailbox.queued, 0)
        self.assertEqual(self.bob.peer.mailbox.take(100), b"<delivered id=1>alice\n")
        self.assertEqual(carol.heard(), [b"<delivered id=2>alice", b"<delivered id=3>alice"])

    def test_the_journal_cannot_keep_who_comes(self) -> None:
        """Then she is let in without a token, and her identity ends with the connection."""
        carol = Talk(self.hub)
        carol.say(SMART, b"<connect>carol")
        self.hub.not_kept(self.hub.changes(NOON_MS))
        self.assertEqual(carol.heard()[-1], b"<connected>carol")
        self.bob.heard()
        self.hub.leave(carol.peer)
        self.assertEqual(self.bob.heard(), [b"<left>carol"])

    def test_the_journal_cannot_keep_who_comes_back(self) -> None:
        """Then she is let in with the token that she has."""
        self.go()
        alice = self.come()
        self.hub.not_kept(self.hub.changes(NOON_MS))
        self.assertEqual(alice.heard()[-1], b"<connected>alice")
        self.assertEqual(self.chat.catch_up(alice), [b"<replayed count=0>"])
        self.hub.leave(alice.peer)
        self.assertIn(b"<connected", self.come().heard()[-1])

    def test_shutdown(self) -> None:
        """When the daemon ends nobody parts for good who can come back."""
        alice = self.come()
        alice.heard()
        self.hub.disperse()
        self.hub.leave(alice.peer)
        self.hub.leave(self.bob.peer)
        self.assertEqual([change.standing.left for change in self.hub.changes(NOON_MS).all], [None])

    def test_nothing_waits_for_who_has_all(self) -> None:
        """Who acknowledged everything need not be told of what was before she went."""
        carol = self.chat.connect(b"carol")
        self.bob.say(b"<set_msg>carol private")
        self.chat.commit()
        self.go()
        self.assertEqual(self.hub.roster.find("alice").claimed, 1)  # type: ignore[union-attr]
        carol.say(b"<set_msg>bob x")
        self.chat.commit()
        alice = self.come(b" after=0")
        alice.heard()
        catchup = self.hub.catching(alice.peer)
        assert catchup is not None
        self.assertEqual((catchup.position, catchup.open), (0, 1))

    def test_the_reader_is_ahead(self) -> None:
        """What the journal has and nobody here was told of yet comes once: live, like to everybody."""
        self.bob.say(b"<set_msg>alice 1")
        self.chat.commit()
        self.go()
        alice = self.come()
        alice.heard()
        catchup = self.hub.catching(alice.peer)
        assert catchup is not None
        self.bob.say(b"<set_msg>alice 2")
        catchup.listen(self.hub.last_id)
        posts, entries = self.hub.take(NOON_MS) or ([], [])
        self.chat.journal.append((2, entries[0]))
        self.chat.last_id = 2
        self.hub.replay(alice.peer, self.chat.page(alice))
        self.assertEqual([line.rpartition(b">")[2] for line in alice.heard()], [b"1", b""])
        self.hub.appended(posts, [2], NOON_MS, 0.0)
        self.assertEqual([line.rpartition(b">")[2] for line in alice.heard()], [b"2"])
        alice.say(b"<ack>2")
        assert alice.peer.unacked is not None
        self.assertEqual(alice.peer.unacked.messages, 0)

    def test_an_ended_connection_is_not_told_what_stands_behind_more(self) -> None:
        """She would take it that she has all before it; she is told when she is back."""
        for ends in (lambda: self.go(), lambda: self.hub.disperse()):
            self.setUp()
            self.bob.say(b"<set_msg>alice 1")
            self.alice.say(b"<set_msg label=7 once=k>bob 2", b"<set_msg label=8 once=k>bob 2", b"<ping>x")
            self.alice.heard()
            ends()
            self.assertEqual(self.chat.commit(), [1, 2])
            self.assertEqual(self.alice.heard(), [b"<pong>x"])
            alice = self.come(b" after=0")
            alice.heard()
            self.assertEqual(
                [line.split(b" ")[0] for line in self.chat.catch_up(alice)],
                [b"<msg", b"<accepted", b"<replayed"],
            )

    def test_a_key_that_waits_on_two_connections(self) -> None:
        """A post that waited, was refused with its connection, and came again on the next one is accepted for good."""
        first = self.come()
        first.say(b"<set_msg once=k>bob hi")
        first.heard()
        second = self.come()
        second.say(b"<set_msg once=k>bob hi", b"<set_msg once=k label=7>bob other", b"<ping>x")
        second.heard()
        self.chat.catch_up(second)
        self.assertEqual(self.chat.commit(), [1])
        accepted, reused, pong = second.heard()
        self.assertEqual((accepted, pong), (b"<accepted id=1>bob", b"<pong>x"))
        self.assertIn(b"<error code=key-reused label=7>", reused)
        second.say(b"<set_msg once=k>bob other")
        self.assertIn(b"key-reused", second.heard()[0])

    def test_refused_twice(self) -> None:
        """A post that was wrong and that the journal refuses, too, is answered with what was wrong."""
        alice = self.come()
        alice.say(b"<set_msg once=k>bob one", b"<set_msg once=k>bob two")
        alice.heard()
        self.chat.catch_up(alice)
        self.chat.refuse()
        self.assertEqual([b"journal-unavailable" in line for line in alice.heard()], [True, False])

    def test_a_late_line_on_the_older_connection(self) -> None:
        """It confirms the token that it was told, and not one that somebody else was."""
        first = self.come()
        told = connected(first.heard()[-1])
        self.token = told
        second = self.come()
        self.hub.confirm(first.peer)
        second.heard()
        self.hub.leave(second.peer)
        self.assertIn(b"<connected", self.come().heard()[-1])

    def test_two_come_back_at_once(self) -> None:
        """Only the last one is told a token, for it is the only good one."""
        first, second = self.come(), self.come()
        self.hub.kept(self.hub.changes(NOON_MS))
        self.assertEqual(first.heard()[1], b"<connected>alice")
        self.token = connected(second.heard()[1])
        self.assertIn(b"<connected", self.come().heard()[-1])

    def test_a_connection_that_ends_does_not_take_over(self) -> None:
        """Who is about to be ended while she waits to come back leaves the older connection alone."""
        alice = self.come()
        self.hub.part(alice.peer)
        alice.heard()
        self.assertEqual(self.hub.replaced, [])
        self.bob.say(b"<set_msg_all>x")
        self.chat.commit()
        self.assertTrue(self.alice.heard())

    def test_goodbye_before_she_is_back(self) -> None:
        """Who comes back only to say goodbye ends her identity; what she was not told of gets its verdict."""
        self.go()
        self.bob.say(b"<set_msg>alice hi")
        self.chat.commit()
        alice = self.come()
        alice.say(b"<disconnect>")
        self.hub.part(alice.peer)
        alice.heard()
        self.hub.part(alice.peer)
        self.hub.leave(alice.peer)
        self.hub.kept(self.hub.changes(NOON_MS))
        self.assertEqual([(person.name, why) for person, why in self.hub.expired], [("alice", b"gone")])
        self.assertEqual(self.come().heard()[-1], BAD_TOKEN)

    def test_shutdown_while_she_comes_back(self) -> None:
        """Whatever is under way when the daemon ends is answered."""
        self.bob.say(b"<set_msg>alice hi")
        alice = self.come()
        self.hub.disperse()
        self.hub.kept(self.hub.changes(NOON_MS))
        self.chat.commit()
        self.assertIn(b"<connected resume=token2>alice", alice.heard())
        self.assertEqual([line for line in self.bob.heard() if b"undelivered" in line], [])

    def test_acks_of_what_is_told_again(self) -> None:
        """They count, although the journal knows of them from before."""
        self.bob.say(b"<set_msg>alice one", b"<set_msg>alice two")
        self.chat.commit()
        self.alice.say(b"<ack>2")
        self.go()
        alice = self.come(b" after=0")
        alice.heard()
        self.chat.catch_up(alice)
        alice.say(b"<ack>2")
        assert alice.peer.unacked is not None
        self.assertEqual(alice.peer.unacked.messages, 0)

    def test_resync_in_the_middle(self) -> None:
        """What is pruned while she is told is not skipped silently."""
        self.go()
        self.bob.say(*(b"<set_msg_all>%d" % n for n in range(1, 7)))
        self.chat.commit()
        alice = self.come()
        alice.heard()
        catchup = self.hub.catching(alice.peer)
        assert catchup is not None
        catchup.listen(6)
        self.hub.replay(alice.peer, self.chat.page(alice, 2))
        del self.chat.journal[:4]
        lines = self.chat.catch_up(alice)
        self.assertEqual(
            [line.split(b" ")[0] for line in lines],
            [b"<msg"] * 2 + [b"<resync"] + [b"<msg"] * 2 + [b"<replayed"],
        )

    def test_nothing_before_she_came_is_looked_for(self) -> None:
        """All her cursors begin where she began."""
        self.bob.say(*(b"<set_msg_all>x" for _ in range(5)))
        self.chat.commit()
        carol = Talk(self.hub)
        carol.say(SMART, b"<connect>carol")
        token = connected(carol.heard()[-1])
        self.hub.leave(carol.peer)
        carol = self.chat.resume(b"carol", b"after=0 open=0 resume=" + token)
        carol.heard()
        catchup = self.hub.catching(carol.peer)
        assert catchup is not None
        self.assertEqual((catchup.position, catchup.open), (5, 6))
        self.bob.say(b"<set_msg>carol hi")
        self.chat.commit()
        self.chat.catch_up(carol)
        carol.say(b"<read>6")
        carol.heard()
        self.assertEqual([read[1:] for read in self.hub.reads], [(5, 6)])

    def test_few_expire_at_once(self) -> None:
        """The others have a turn before the next ones are ended."""
        self.patch(departures, "EXPIRE_LIMIT", 1)
        carol = Talk(self.hub)
        carol.say(SMART, b"<connect>carol")
        carol.heard()
        self.go(0.0)
        self.hub.leave(carol.peer, 1.0)
        self.assertTrue(self.hub.expire(HOLD))
        self.assertFalse(self.hub.expire(HOLD))
        self.assertEqual([person.name for person in self.hub.roster.away], ["carol"])
        self.assertFalse(self.hub.expire(HOLD + 1.0))

    def test_the_end_of_a_plain_client(self) -> None:
        """The journal hears of it if it had heard of her."""
        self.alice.say(b"<set_msg>bob hi")
        self.chat.commit()
        self.chat.reach(self.bob)
        self.alice.heard()
        self.hub.leave(self.bob.peer)
        standings = self.hub.changes(NOON_MS).standings
        self.assertEqual([(standing.name, standing.left) for standing in standings], [("bob", 1)])

    def test_what_is_due(self) -> None:
        """While the journal has yet to hear of somebody nothing is said of her from what it has."""
        person = self.hub.roster.find("alice")
        assert person is not None
        self.hub.kept(self.hub.changes(NOON_MS))
        due = [person.id in self.hub.due()]
        self.alice.say(b"<disconnect>")
        self.hub.leave(self.alice.peer)
        due.append(person.id in self.hub.due())
        changes = self.hub.changes(NOON_MS)
        due.append(person.id in self.hub.due())
        self.hub.kept(changes)
        due.append(person.id in self.hub.due())
        self.assertEqual(due, [False, True, True, False])

    def test_nobody_can_come_back(self) -> None:
        """Where no tokens are made the capability is not granted."""
        talk = Talk(Hub(durable=True))
        self.assertEqual(talk.answer(SMART)[0].split(b" server=")[0], b"<hello caps=ack")


class Storms(SynchronousTestCase):
    """Very many come at once, or come back."""

    def setUp(self) -> None:
        self.chat = Chat()
        self.hub = self.chat.hub

    def come(self, count: int, first: int = 0) -> list[Talk]:
        talks = [Talk(self.hub) for _ in range(count)]
        for number, talk in enumerate(talks, first):
            talk.say(SMART, b"<connect>p%d" % number)
        return talks

    def let_in(self, talk: Talk) -> bool:
        return b"<connected" in talk.peer.mailbox.take(1 << 20)

    def test_in_lots(self) -> None:
        """They are let in a bounded number at a time, in the order in which they came, and nobody is forgotten."""
        talks = self.come(2 * ARRIVALS_LIMIT + 1)
        for lot in (ARRIVALS_LIMIT, ARRIVALS_LIMIT, 1):
            self.assertTrue(self.hub.posting)
            changes = self.hub.changes(NOON_MS)
            some, talks = talks[:lot], talks[lot:]
            self.assertEqual(
                [standing.id for standing in changes.standings], [talk.peer.identity.id for talk in some]
            )
            self.hub.kept(changes)
            self.assertTrue(all(self.let_in(talk) for talk in some))
            self.assertFalse(any(self.let_in(talk) for talk in talks))
        self.assertFalse(self.hub.posting or self.hub.moved)

    def test_refused(self) -> None:
        """A lot that the journal did not take is let in all the same, and the next one waits for its turn."""
        talks = self.come(ARRIVALS_LIMIT + 1)
        self.hub.not_kept(self.hub.changes(NOON_MS))
        self.assertEqual([self.let_in(talk) for talk in talks], [True] * ARRIVALS_LIMIT + [False])
        changes = self.hub.changes(NOON_MS)
        self.assertEqual(len(changes.standings), ARRIVALS_LIMIT + 1)
        self.hub.kept(changes)
        self.assertTrue(self.let_in(talks[-1]))

    def test_others_do_not_wait(self) -> None:
        """What else has changed is in the first lot."""
        (alice,) = self.come(1)
        alice.heard()
        self.come(ARRIVALS_LIMIT + 1, 1)
        self.hub.confirm(alice.peer)
        ids = [standing.id for standing in self.hub.changes(NOON_MS).standings]
        assert alice.peer.identity is not None
        self.assertIn(alice.peer.identity.id, ids)
        self.assertEqual(len(ids), ARRIVALS_LIMIT + 1)

    def test_what_they_say_waits(self) -> None:
        """What somebody says who has yet to be let in comes behind that; what the others say does not wait for it."""
        bob = self.chat.connect(b"bob")
        talks = self.come(ARRIVALS_LIMIT + 1)
        changes = self.hub.changes(NOON_MS)
        talks[-1].say(b"<set_msg_all>one", b"<set_msg_all>two")
        self.assertIsNone(self.hub.take(NOON_MS))
        bob.say(b"<set_msg_all>three")
        self.chat.commit()
        self.assertEqual([entry.text for _, entry in self.chat.journal], [b"three"])
        self.hub.kept(changes)
        self.hub.kept(self.hub.changes(NOON_MS))
        self.chat.commit()
        self.assertEqual([entry.text for _, entry in self.chat.journal], [b"three", b"one", b"two"])
        verbs = [line.partition(b">")[0].split()[0] for line in talks[-1].heard()]
        self.assertEqual(verbs, [b"<hello", b"<connected", b"<accepted", b"<accepted"])

    def test_gone_while_they_wait(self) -> None:
        """Who goes before she was let in never was here."""
        talks = self.come(ARRIVALS_LIMIT + 1)
        self.hub.leave(talks[-1].peer)
        for _ in range(2):
            self.hub.kept(self.hub.changes(NOON_MS))
        self.assertEqual(len(self.hub.roster.listing()), ARRIVALS_LIMIT)
        self.assertFalse(self.hub.posting or self.hub.moved)

    def test_coming_back(self) -> None:
        """Who comes back on two connections, one after the other, is on the later one in the end."""
        (alice,) = self.come(1)
        token = connected(alice.heard()[-1])
        self.hub.leave(alice.peer)
        first = self.chat.resume(b"p0", b"resume=" + token)
        self.come(ARRIVALS_LIMIT, 1)
        second = self.chat.resume(b"p0", b"resume=" + token)
        for _ in range(2):
            self.hub.kept(self.hub.changes(NOON_MS))
        self.assertEqual(self.hub.replaced, [first.peer])
        assert second.peer.identity is not None
        self.assertIs(second.peer.identity.peer, second.peer)
        self.assertFalse(self.hub.posting)


class Bots(SynchronousTestCase):
    """A program that wants no old mail."""

    HELLO = b"<hello caps=ack,bot,resume>"

    def setUp(self) -> None:
        self.chat = Chat()
        self.bob = self.chat.connect(b"bob")
        self.bot = Talk(self.chat.hub)
        self.bot.say(self.HELLO, b"<connect>bot")
        hello, answer = self.bot.heard()
        self.assertTrue(hello.startswith(b"<hello caps=ack,resume,bot server="))
        self.token = connected(answer)
        self.bob.heard()

    def back(self) -> Talk:
        bot = self.chat.resume(b"bot", b"resume=" + self.token, self.HELLO)
        bot.heard()
        self.bob.heard()
        return bot

    def test_away(self) -> None:
        """Nobody can write to it, and what is said to all is not kept for it; it is not counted."""
        self.chat.hub.leave(self.bot.peer)
        self.bob.heard()
        self.assertIn(b"code=away", self.bob.answer(b"<set_msg>bot hi")[0])
        self.bob.say(b"<set_msg_all>hi")
        self.chat.commit()
        self.bob.heard()
        bot = self.back()
        self.assertEqual(self.chat.catch_up(bot), [b"<replayed count=0>"])
        self.bob.say(b"<set_msg_all>ho")
        self.chat.commit()
        bot.say(b"<ack>2")
        bot.heard()
        self.bob.heard()
        self.chat.hub.count(0.0)
        self.assertEqual(
            self.bob.heard(),
            [b"<receipt id=1 sent=0 delivered=0 of=0>all", b"<receipt id=2 sent=0 delivered=1 of=1>all"],
        )

    def test_what_it_did_not_acknowledge(self) -> None:
        """What it had been sent comes again, and a retry is answered while it is away."""
        self.bob.say(b"<set_msg once=k>bot hi")
        self.chat.commit()
        self.chat.hub.leave(self.bot.peer)
        self.bob.heard()
        self.bob.say(b"<set_msg once=k>bot hi")
        self.chat.commit()
        self.assertEqual(self.bob.heard(), [b"<accepted id=1>bot"])
        self.assertEqual(
            self.chat.catch_up(self.back()),
            [b"<msg id=1 from=bob to=bot time=%s replay>hi" % NOON, b"<replayed count=1>"],
        )

    def test_said_meanwhile(self) -> None:
        """What is said to all after it came is for it, also before it has its replay."""
        self.chat.hub.leave(self.bot.peer)
        self.bob.say(b"<set_msg_all>1")
        self.chat.commit()
        bot = self.back()
        self.bob.say(b"<set_msg_all>2")
        self.chat.commit()
        self.assertEqual(
            self.chat.catch_up(bot),
            [b"<msg id=2 from=bob to=all time=%s replay>2" % NOON, b"<replayed count=1>"],
        )


class Restart(SynchronousTestCase):
    """What a new run of the daemon makes of the people of the last one."""

    def setUp(self) -> None:
        self.alice = Standing(
            7,
            "Alice",
            2,
            acked=4,
            read=3,
            plain=False,
            resumes=True,
            token=digest_of(b"t"),
            spare=digest_of(b"s"),
        )
        tokens = iter([b"new", b"newer"])
        self.hub = Hub(durable=True, make_token=lambda: next(tokens))
        self.hub.begin(9, 100, [self.alice], 50.0)

    def come(self, token: bytes) -> Talk:
        talk = Talk(self.hub)
        talk.say(SMART, b"<connect after=4 resume=%s>alice" % token)
        return talk

    def test_before_it_is_ready(self) -> None:
        """Nobody comes back before all is known of whom can."""
        self.assertFalse(self.hub.ready)
        self.assertIn(b"code=busy", self.come(b"t").heard()[-1])

    def test_both_tokens(self) -> None:
        """Both that she may have are good, her name is held, and her time begins anew."""
        self.hub.ready = True
        self.assertIn(b"name-taken", Talk(self.hub).answer(b"<connect>alice")[0])
        for token in (b"s", b"t"):
            hub = Hub(durable=True, make_token=lambda: b"x")
            hub.begin(9, 100, [self.alice])
            hub.ready = True
            self.hub = hub
            self.assertEqual(self.come(token).heard()[-1], b"<connected resume=x>Alice")
        self.hub.expire(HOLD + 49.9)
        self.assertEqual(len(self.hub.roster), 1)

    def test_once_keys(self) -> None:
        """A key of the last run stands for what it stood for then."""
        self.hub.remember(
            [
                OnceKey(99, b"k3", 8, None, None, b"of nobody"),
                OnceKey(7, b"k2", 6, 8, "Bob", b"to bob"),
                OnceKey(7, b"k1", 5, None, None, b"to all"),
            ]
        )
        self.hub.remembered(50.0)
        alice = self.come(b"t")
        alice.heard()
        catchup = self.hub.catching(alice.peer)
        assert catchup is not None
        catchup.listen(9)
        self.hub.replay(alice.peer, Page((), 9, 1))
        alice.heard()
        alice.say(
            b"<set_msg_all once=k1>to all", b"<set_msg once=k2>bob to bob", b"<set_msg_all once=k2>other"
        )
        posts, entries = self.hub.take(NOON_MS) or ([], [])
        self.hub.appended(posts, [], NOON_MS, 0.0)
        self.assertEqual((len(posts), entries), (2, []))
        lines = alice.heard()
        self.assertEqual(lines[:2], [b"<accepted id=5>all", b"<accepted id=6>Bob"])
        self.assertIn(b"code=key-reused", lines[2])

    def test_many_once_keys(self) -> None:
        """The newest are remembered, and the oldest of them goes first when there are more."""
        self.patch(once, "ONCE_LIMIT", 2)
        self.hub.remember([OnceKey(7, b"k%d" % id, id, None, None, b"x") for id in (9, 8, 7)])
        self.hub.remembered(50.0)
        person = self.hub.roster.find("alice")
        assert person is not None
        self.assertEqual(list(person.once or ()), [b"k8", b"k9"])

    def test_a_key_that_was_used_twice(self) -> None:
        """It stands for the newer one."""
        self.hub.remember([OnceKey(7, b"k", id, None, None, b"x") for id in (9, 5)])
        person = self.hub.roster.find("alice")
        assert person is not None
        self.assertEqual([known.id for known in (person.once or {}).values()], [9])  # type: ignore[attr-defined]

    def test_nobody_expires_before_it_is_ready(self) -> None:
        """Her time begins when she can come back."""
        self.hub.expire(50.0 + 2 * HOLD)
        self.assertEqual(len(self.hub.roster.away), 1)
        self.hub.remembered(1000.0)
        self.hub.expire(999.0 + HOLD)
        self.assertEqual(len(self.hub.roster.away), 1)
        self.hub.expire(1000.0 + HOLD)
        self.assertEqual(len(self.hub.roster.away), 0)

    def test_a_name_that_the_rules_no_longer_allow(self) -> None:
        """She is still who she is, and what was said to her is known by it."""
        self.hub.remember([OnceKey(7, b"k", 5, 9, "a b", b"x")])
        alice = self.hub.roster.find("alice")
        assert alice is not None
        self.assertEqual([*(alice.once or {})], [b"k"])
        roster: Roster[str] = Roster()
        roster.restore(Standing(8, "a b", 0, resumes=True, token=digest_of(b"u")), 0.0)
        identity = roster.bearer(b"u")
        assert identity is not None
        self.assertEqual(identity.name, "a b")

    def test_one_name_twice(self) -> None:
        """Two who claim one name cannot be: the first one has it."""
        roster: Roster[str] = Roster()
        roster.restore(self.alice, 0.0)
        roster.restore(Standing(8, "alice", 0, resumes=True, token=digest_of(b"u")), 0.0)
        self.assertEqual([identity.id for identity in roster.listing()], [7])
        self.assertIsNone(roster.bearer(b"u"))


class Fates(SynchronousTestCase):
    """What cursors say of a message."""

    def test_kept(self) -> None:
        """Of those who live no more."""
        token = digest_of(b"t")
        for standing, earlier, said in [
            (None, True, (b"undelivered", b"unknown")),
            (Standing(1, "x", 0, read=5, acked=5), True, (b"read", b"")),
            (Standing(1, "x", 0, acked=5, left=4), True, (b"delivered", b"")),
            (Standing(1, "x", 0, sent=5, left=9), False, (b"sent", b"")),
            (Standing(1, "x", 0, sent=5, acked=4, plain=False, left=9), False, (b"undelivered", b"gone")),
            (Standing(1, "x", 0, left=9), True, (b"undelivered", b"unknown")),
            (Standing(1, "x", 0, left=4), True, (b"undelivered", b"gone")),
            (Standing(1, "x", 0, left=9, resumes=True, token=token), True, (b"undelivered", b"expired")),
            (Standing(1, "x", 0, left=9, resumes=True, spare=token), False, (b"undelivered", b"expired")),
        ]:
            self.assertEqual(fate.of_kept(standing, 5, b"sent", earlier), said, standing)

    def test_living(self) -> None:
        """Of those who live."""
        roster: Roster[str] = Roster()
        person = roster.claim("x", "peer")
        states = [fate.of_living(person, 5, b"handed")]
        for cursor in ("sent", "acked", "read_told"):
            setattr(person, cursor, 5)
            states.append(fate.of_living(person, 5, b"handed"))
        self.assertEqual(states, [b"waiting", b"handed", b"delivered", b"read"])
        person.plain, person.acked, person.read_told = False, 4, 0
        self.assertEqual(fate.of_living(person, 5, b"sent"), b"waiting")

    def test_parted(self) -> None:
        """Who has parted gets what is on its way as long as her connection lasts, and nothing that was said since."""
        roster: Roster[str] = Roster()
        person = roster.claim("x", "peer")
        self.assertFalse(fate.is_lost(person, 5))
        person.left, person.lingers = 5, True
        self.assertEqual([fate.is_lost(person, id) for id in (5, 6)], [False, True])
        person.lingers = False
        self.assertTrue(fate.is_lost(person, 5))

    def test_lines(self) -> None:
        """A sender is told nothing of what waits."""
        self.assertEqual(fate.verdict(b"waiting", b"", 1, b"x"), b"")
        self.assertEqual(fate.verdict(b"sent", b"", 1, b"x"), b"<sent id=1>x\n")
        self.assertEqual(fate.verdict(b"undelivered", b"gone", 1, b"x"), b"<undelivered id=1 reason=gone>x\n")
