"""Sessions: the commands that ask something, what they ask the journal for, and how its answers are told."""

from __future__ import annotations

from pychat import asking
from pychat.asking import marks_of
from pychat.requests import CountUnread, ListReceipts, ReadHistory, Search, WhoIs
from pychat.vocabulary import (
    HISTORY_LIMIT,
    UNREAD_LIMIT,
    Entry,
    Found,
    Kept,
    Kind,
    Query,
    Stretch,
    Unread,
)
from tests.chatkit import NOON, NOON_MS, Talk
from tests.test_session import TalkCase

EVERYBODY = (0, "")
NO_SUCH_USER = (
    b"<error code=no-such-user label=7>Nobody here has this name. Type <get_users> to see who is here."
)


def kept(id: int, text: bytes = b"x", sender: str = "bob", **more: int) -> Kept:
    """A message to everybody."""
    return Kept(id, Entry(NOON_MS, 2, sender, None, None, text, **more))  # type: ignore[arg-type]


class AskingCase(TalkCase):
    """Alice is in #tea (id 1), Bob in #coffee (id 2)."""

    def setUp(self) -> None:
        super().setUp()
        self.chat.enter(self.alice, b"#tea")
        self.chat.enter(self.bob, b"#coffee")
        assert self.alice.peer.identity is not None
        self.person = self.alice.peer.identity
        self.alice.heard()

    def asked(self, line: bytes, talk: Talk | None = None) -> object:
        """What one line asks for; nothing is answered yet."""
        talk = talk or self.alice
        talk.heard()
        (request,) = talk.say(line)
        self.assertEqual(talk.heard(), [])
        return request

    def all_refused(self, code: str, *lines: bytes) -> None:
        for line in lines:
            verb, _, rest = line[1:].partition(b">")
            self.refused(self.alice, b"<%s label=7>%s" % (verb, rest), code, b"7")


class Who(AskingCase):
    """``<get_users>``, ``<get_rooms>`` and ``<whois>``."""

    def test_rooms(self) -> None:
        """All rooms by name, with how many are in each; and what one is in oneself, and muted."""
        self.chat.enter(self.bob, b"#Tea", b"#biscuits")
        self.chat.say(self.bob, b"<mute>#coffee")
        self.assertEqual(
            self.alice.answer(b"<get_rooms>"),
            [
                b"<room members=1>#biscuits",
                b"<room members=1>#coffee",
                b"<room members=2 joined>#tea",
                b"<rooms count=3>",
            ],
        )
        self.assertEqual(
            self.bob.answer(b"<get_rooms label=%d>")[1:3],
            [b"<room label=%d members=1 joined muted>#coffee", b"<room label=%d members=2 joined>#tea"],
        )

    def test_no_rooms(self) -> None:
        """Where there are none there are none."""
        self.chat.say(self.alice, b"<leave>#tea")
        self.chat.say(self.bob, b"<leave>#coffee")
        self.assertEqual(self.alice.answer(b"<get_rooms label=7>"), [b"<rooms label=7 count=0>"])

    def test_members(self) -> None:
        """The members of a room, by name, for its members."""
        self.chat.enter(self.bob, b"#tea")
        self.assertEqual(
            self.alice.answer(b"<get_users label=%s> #TEA "),
            [
                b"<user label=%s in=#tea>alice",
                b"<user label=%s in=#tea>bob",
                b"<users label=%s in=#tea count=2>",
            ],
        )
        self.all_refused("not-in-room", b"<get_users>#coffee")
        self.all_refused("no-such-room", b"<get_users>#water")
        self.all_refused("bad-name", b"<get_users>#", b"<get_users>#a b")
        self.all_refused("bad-line", b"<get_users>#\xff")

    def test_everybody(self) -> None:
        """Without a room, all who are here; what is no room's name asks for no room."""
        everybody = [b"<user>alice", b"<user>bob", b"<users count=2>"]
        self.assertEqual(self.alice.answer(b"<get_users>"), everybody)
        self.assertEqual(self.alice.answer(b"<get_users>tea"), everybody)

    def test_whois(self) -> None:
        """The clock is asked for, and then it is told who is here, and since when she is silent."""
        request = self.asked(b"<whois label=7> BOB ")
        self.assertEqual(request, WhoIs("BOB", b" label=7"))
        assert isinstance(request, WhoIs)
        self.bob.peer.since = 20.0
        self.alice.session.described(request, 22.0, NOON_MS + 2000)
        self.assertEqual(self.alice.heard(), [b"<whois label=7 state=here seen=%s>bob" % NOON])
        # The clocks may be a little apart: nobody was seen in the future.
        self.alice.session.described(request, 19.0, NOON_MS)
        self.assertEqual(self.alice.heard(), [b"<whois label=7 state=here seen=%s>bob" % NOON])
        self.all_refused("missing-argument", b"<whois>", b"<whois> ")
        self.all_refused("bad-name", b"<whois>\xff")

    def described(self, name: str) -> list[bytes]:
        self.alice.heard()
        self.alice.session.described(WhoIs(name, b" label=7"), 0.0, NOON_MS)
        return self.alice.heard()

    def test_whois_absent(self) -> None:
        """Why she went comes with it, unless one of the two hides such things."""
        here = b"<whois label=7 state=here seen=%s>bob" % NOON
        self.chat.say(self.bob, b"<away>lunch")
        self.assertEqual(self.described("bob"), [b"<absent label=7 from=bob>lunch", here])
        self.chat.say(self.bob, b"<hide>away")
        self.assertEqual(self.described("bob"), [here])
        self.chat.say(self.bob, b"<show>away")
        self.chat.say(self.alice, b"<hide>away")
        self.assertEqual(self.described("bob"), [here])
        self.chat.say(self.alice, b"<show>away", b"<hide>seen")
        self.assertEqual(
            self.described("bob"), [b"<absent label=7 from=bob>lunch", b"<whois label=7 state=here>bob"]
        )

    def test_whois_away_and_gone(self) -> None:
        """Who may come back is away; who left is gone, and called as one asked for her."""
        carol = self.chat.connect(b"carol", b"<hello caps=ack,resume>")
        self.chat.hub.leave(carol.peer)
        self.chat.hub.leave(self.bob.peer)
        self.assertEqual(self.described("Carol"), [b"<whois label=7 state=away seen=%s>carol" % NOON])
        self.assertEqual(self.described("Bob"), [b"<whois label=7 state=gone seen=%s>Bob" % NOON])
        self.assertEqual(self.described("dave"), [NO_SUCH_USER])
        self.assertIn(b"<error code=bad-name label=7>", self.described("a b")[0])
        self.assertIn(b"<error code=name-reserved label=7>", self.described("all")[0])

    def test_whois_waits(self) -> None:
        """The answer comes behind those to earlier lines."""
        self.alice.say(b"<set_msg_all>x")
        self.alice.session.described(WhoIs("bob", b""), 0.0, NOON_MS)
        self.assertEqual(self.alice.heard(), [])
        self.chat.commit()
        self.assertEqual([line[:7] for line in self.alice.heard()], [b"<accept", b"<whois "])


class Receipts(AskingCase):
    """``<receipts>``."""

    def test_receipts(self) -> None:
        """Each with her state, and how many there are."""
        self.assertEqual(self.asked(b"<receipts label=7> 5 "), ListReceipts(5, b" label=7"))
        self.alice.session.receipts(5, [(b"bob", b"sent"), (b"carol", b"read")], b" label=7")
        self.assertEqual(
            self.alice.heard(),
            [b"<recipient label=7 state=sent>bob", b"<recipient label=7 state=read>carol",
             b"<receipts label=7 id=5 count=2>"],
        )  # fmt: skip
        self.all_refused("bad-argument", b"<receipts>x", b"<receipts>5 x")
        self.all_refused("missing-argument", b"<receipts>")


class History(AskingCase):
    """``<history>``."""

    def test_requests(self) -> None:
        """Each place by its number, and as it is called; with how much, and from where."""
        for line, request in [
            (b"<history>all", ReadHistory(EVERYBODY, b"all", None, None, 50, b"")),
            (b"<history label=7> ALL ", ReadHistory(EVERYBODY, b"all", None, None, 50, b" label=7")),
            (b"<history limit=1>#TEA", ReadHistory((-1, ""), b"#tea", None, None, 1, b"")),
            (
                b"<history limit=500 before=9>Bob",
                ReadHistory((self.person.id, "bob"), b"Bob", 9, None, 500, b""),
            ),
            (
                b"<history after=0>nobody",
                ReadHistory((self.person.id, "nobody"), b"nobody", None, 0, 50, b""),
            ),
        ]:
            self.assertEqual(self.asked(line), request)

    def test_bad(self) -> None:
        """What does not fit is refused."""
        self.all_refused("missing-argument", b"<history>", b"<history limit=5> ")
        self.all_refused("not-in-room", b"<history>#coffee")
        self.all_refused("no-such-room", b"<history>#water")
        self.all_refused("bad-name", b"<history>a b", b"<history>#", b"<history>\xff")
        self.all_refused("name-reserved", b"<history>server", b"<history>#all")
        self.all_refused(
            "bad-attribute", b"<history limit=0>all", b"<history limit=501>all", b"<history limit>all",
            b"<history limit=x>all", b"<history limit=-1>all", b"<history limit=" + b"1" * 19 + b">all",
            b"<history before=x>all", b"<history after>all", b"<history before=1 after=1>all",
            b"<history before=" + b"1" * 19 + b">all",
        )  # fmt: skip

    def told(
        self, messages: list[Kept], more: bool = False, talk: Talk | None = None, **where: int | None
    ) -> list[bytes]:
        """How a stretch is told, with the text of the closing line kept in it."""
        talk = talk or self.alice
        talk.heard()
        request = ReadHistory(EVERYBODY, b"all", where.get("before"), where.get("after"), 50, b" label=7")
        talk.session.history(request, Stretch(messages, more))
        return talk.heard()

    def ids(self, lines: list[bytes]) -> list[int]:
        return [int(line.partition(b" id=")[2].split(b" ")[0]) for line in lines[:-1]]

    def test_told(self) -> None:
        """Oldest first, each with the label, and the closing line."""
        self.assertEqual(
            self.told([kept(3), Kept(5, kept(5, b"y").entry, edited=6)]),
            [
                b"<msg label=7 replay id=3 from=bob to=all time=%s>x" % NOON,
                b"<msg label=7 replay id=5 from=bob to=all edited=6 time=%s>y" % NOON,
                b"<history label=7 count=2>all",
            ],
        )
        self.assertEqual(self.told([]), [b"<history label=7 count=0>all"])
        self.assertEqual(self.told([], True), [b"<history label=7 count=0>all"])

    def test_more(self) -> None:
        """What to say to go on: below the oldest, or above the newest."""
        stretch = [kept(3), kept(5), kept(7)]
        self.assertEqual(self.told(stretch, True)[-1], b"<history label=7 count=3 more=3>all")
        self.assertEqual(self.told(stretch, True, before=9)[-1], b"<history label=7 count=3 more=3>all")
        self.assertEqual(self.told(stretch, True, after=0)[-1], b"<history label=7 count=3 more=7>all")
        self.assertEqual(self.told(stretch, False, after=0)[-1], b"<history label=7 count=3>all")

    def test_many_bytes(self) -> None:
        """A page that is too large goes on in the next, from where it was cut, in both directions."""
        stretch = [kept(id, b"x" * 30) for id in (3, 4, 5, 6)]
        self.patch(asking, "HISTORY_BYTES", sum(len(line) + 1 for line in self.told(stretch[:2])[:-1]))
        lines = self.told(stretch)
        self.assertEqual((self.ids(lines), lines[-1]), ([5, 6], b"<history label=7 count=2 more=5>all"))
        lines = self.told(stretch[:2])
        self.assertEqual((self.ids(lines), lines[-1]), ([3, 4], b"<history label=7 count=2>all"))
        lines = self.told(stretch, after=2)
        self.assertEqual((self.ids(lines), lines[-1]), ([3, 4], b"<history label=7 count=2 more=4>all"))
        # One that is too large alone comes all the same: otherwise nobody could go on.
        lines = self.told([kept(3), kept(4, b"x" * 300)])
        self.assertEqual((self.ids(lines), lines[-1]), ([4], b"<history label=7 count=1 more=4>all"))

    def test_many_lines(self) -> None:
        """The same for lines, of which a message can have several; for who takes them in one it is one."""
        self.patch(asking, "HISTORY_LIMIT", 4)
        stretch = [kept(id, b"a\nb") for id in (3, 4, 5)]
        lines = self.told(stretch)
        self.assertEqual((self.ids(lines), lines[-1]), ([4, 4, 5, 5], b"<history label=7 count=2 more=4>all"))
        multi = self.chat.connect(b"carol", b"<hello caps=multiline>")
        self.assertEqual(self.ids(self.told(stretch, talk=multi)), [3, 4, 5])
        self.assertEqual(HISTORY_LIMIT, 500)

    def test_ignored(self) -> None:
        """What they say whom she ignores is left out; where it is cut, one goes on behind it."""
        self.chat.say(self.alice, b"<ignore>BOB")
        stretch = [kept(3, sender="carol"), kept(4), kept(5, sender="Bob"), kept(6, sender="alice")]
        lines = self.told(stretch, True)
        self.assertEqual((self.ids(lines), lines[-1]), ([3, 6], b"<history label=7 count=2 more=3>all"))
        self.assertEqual(self.told([kept(4)], True), [b"<history label=7 count=0 more=4>all"])
        self.patch(asking, "HISTORY_BYTES", 1)
        lines = self.told(stretch)
        self.assertEqual((self.ids(lines), lines[-1]), ([6], b"<history label=7 count=1 more=4>all"))

    def test_her_own(self) -> None:
        """What she said herself is not left out, also if she said it under a name that she ignores."""
        self.chat.say(self.alice, b"<ignore>bob")
        mine = Kept(4, Entry(NOON_MS, self.person.id, "bob", None, None, b"x"))
        self.assertEqual(self.ids(self.told([mine])), [4])

    def test_reactions(self) -> None:
        """Reactions are lines of their own."""
        self.assertEqual(
            self.told([kept(4, b"", kind=Kind.REACT, ref=3)])[0],
            b"<msg label=7 replay id=4 from=bob to=all react=3 time=%s>(reaction taken back)" % NOON,
        )


class Searching(AskingCase):
    """``<search>``."""

    def query(self, line: bytes) -> Query:
        request = self.asked(line)
        assert isinstance(request, Search)
        return request.query

    def test_requests(self) -> None:
        """Where she may look, unless she says where; whom she ignores is left out."""
        private = (self.person.id, "")
        self.assertEqual(
            self.asked(b"<search label=7> big  kettle"),
            Search(
                Query(" big  kettle", [EVERYBODY, private, (-1, "")], "", frozenset(), None, 20), b" label=7"
            ),
        )
        for place, found in [
            (b"all", EVERYBODY),
            (b"#TEA", (-1, "")),
            (b"%23tea", (-1, "")),
            (b"Bob", (self.person.id, "bob")),
        ]:
            self.assertEqual(self.query(b"<search in=%s>x" % place).places, [found])
        self.chat.say(self.alice, b"<ignore>Dave")
        query = self.query(b"<search from=Bob limit=100 more=77>x")
        self.assertEqual((query.sender, query.limit, query.before, query.without), ("bob", 100, 77, {"dave"}))

    def test_bad(self) -> None:
        """What does not fit is refused."""
        self.all_refused("missing-argument", b"<search>", b"<search in=#tea>  ")
        self.all_refused("bad-text", b"<search>\xff", b"<search>\x1b")
        self.all_refused("not-in-room", b"<search in=#coffee>x")
        self.all_refused("no-such-room", b"<search in=#water>x")
        self.all_refused(
            "bad-name", b"<search in=a%20b>x", b"<search in>x", b"<search from=a%20b>x", b"<search from=%ff>x"
        )
        self.all_refused("name-reserved", b"<search from=all>x")
        self.all_refused(
            "bad-attribute",
            b"<search limit=0>x",
            b"<search limit=101>x",
            b"<search more=x>x",
            b"<search more>x",
        )

    def test_room_without_its_sign(self) -> None:
        """Nothing was found with somebody: if nobody is called so, but a room is, that is said."""
        nothing, something = Found([], None), Found([kept(5)], None)
        for place, found, error in (
            (b"tea", nothing, True),
            (b"tea", something, False),
            (b"tea", Found([], 3), False),
            (b"bob", nothing, False),
            (b"nobody", nothing, False),
            (b"#tea", nothing, False),
            (b"all", nothing, False),
        ):
            request = self.asked(b"<search label=7 in=%s>x" % place)
            assert isinstance(request, Search)
            self.alice.session.found_messages(request, found)
            last = self.alice.heard()[-1]
            self.assertEqual(last.startswith(b"<error code=no-such-user label=7>"), error, (place, last))
            self.assertEqual(last.endswith(b"begins with #: <search in=#tea>words"), error)
            history = self.asked(b"<history label=7>%s" % place)
            assert isinstance(history, ReadHistory)
            self.alice.session.history(history, Stretch(found.messages, found.more is not None))
            last = self.alice.heard()[-1]
            self.assertEqual(last.startswith(b"<error code=no-such-user label=7>"), error, (place, last))
            self.assertEqual(last.endswith(b"begins with #: <history>#tea"), error)

    def test_told(self) -> None:
        """As the journal found it, with what to say to go on."""
        request = self.asked(b"<search label=7>x y")
        assert isinstance(request, Search)
        self.alice.session.found_messages(request, Found([kept(5), kept(3)], 3))
        self.alice.session.found_messages(request, Found([], None))
        self.assertEqual(
            self.alice.heard(),
            [
                b"<msg label=7 replay id=5 from=bob to=all time=%s>x" % NOON,
                b"<msg label=7 replay id=3 from=bob to=all time=%s>x" % NOON,
                b"<search label=7 count=2 more=3>x y",
                b"<search label=7 count=0>x y",
            ],
        )


class Counting(AskingCase):
    """``<unread>``."""

    def test_told(self) -> None:
        """Each conversation by its name; very many are only very many, and a room that is gone is left out."""
        request = self.asked(b"<unread label=7>")
        self.assertEqual(request, CountUnread(b" label=7"))
        assert isinstance(request, CountUnread)
        counts = [
            Unread(EVERYBODY, "", UNREAD_LIMIT), Unread((-1, ""), "", UNREAD_LIMIT - 1), Unread((-9, ""), "", 5),
            Unread((self.person.id, "bob"), "Bob", 1),
        ]  # fmt: skip
        self.alice.session.unread(request, counts)
        self.assertEqual(
            self.alice.heard(),
            [b"<new label=7 count=1000 more>all", b"<new label=7 count=999>#tea", b"<new label=7 count=1>Bob",
             b"<unread label=7 count=3>"],
        )  # fmt: skip
        self.alice.session.unread(CountUnread(b""), [])
        self.assertEqual(self.alice.heard(), [b"<unread count=0>"])

    def test_marks(self) -> None:
        """All is counted from where she read it, each room from where she read that."""
        self.chat.enter(self.alice, b"#water")
        self.chat.say(self.bob, b"<set_msg_all>1")
        self.alice.answer(b"<read in=#water>4")
        self.assertEqual(marks_of(self.person, 2), [(EVERYBODY, 2), ((-1, ""), 1), ((-3, ""), 4)])
