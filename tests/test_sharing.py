"""What concerns files, as a session sees it: uploads, resumed downloads, paths, streams, transfers under way."""

from __future__ import annotations

import shlex
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.conversation import render_ranges
from pychat.errors import RemoteProtocolError
from pychat.grammar import Line, parse
from pychat.requests import ListTransfers, OpenFile, ProvePath, Steer, Stream, TakeFile
from pychat.session import Session
from pychat.sharing import pick
from pychat.transfer.terms import MAX_SIZE, Terms
from pychat.vocabulary import CLIENT_LINE_LIMIT, ERROR_CODES, SERVER_LINE_LIMIT, Offer, Ticket, Underway

from .chatkit import Chat, Talk, examples

TERMS = Terms(b"\x01" * 8, b"\x02" * 16, b"\x03" * 32, 12)
OFFER = Offer("a b.txt", "v1", None, 50000, TERMS)
SECRETS = b"transfer=%s token=%s key=%s" % (b"01" * 8, b"02" * 16, b"03" * 32)


class Case(SynchronousTestCase):
    """Alice on a plain line, and a program of Bob's."""

    def setUp(self) -> None:
        self.chat = Chat()
        self.alice = self.chat.connect(b"alice")
        self.bob = self.chat.connect(b"bob", b"<hello>")
        self.alice.heard()

    def refused(self, talk: Talk, line: bytes, code: str) -> str:
        """The line is answered with one error of this code; return its sentence."""
        (answer,) = talk.answer(line)
        error = parse(answer)
        self.assertEqual((error.verb, error.attributes[b"code"].decode()), (b"error", code), line)
        self.assertIn(code, ERROR_CODES)
        return error.text.decode()


class Downloads(Case):
    """Downloads that go on where they stopped."""

    def test_have(self) -> None:
        """What the client holds, and of which version."""
        for asked, have, version in (
            (b"<download>x", (), ""),
            (b"<download have=0-1 version=v>x", [(0, 1)], "v"),
            (b"<download have=0-1048576,1048576-2000000,3000000-9223372036854775807>x",
             [(0, 1 << 20), (1 << 20, 2000000), (3000000, MAX_SIZE)], ""),
            (b"<download version=v>x", (), "v"),
        ):  # fmt: skip
            self.assertEqual(self.bob.say(asked), [OpenFile("x", b"", True, have, version)])

    def test_wrong(self) -> None:
        """Ranges are ascending, not empty, and few; a version is a word."""
        many = b",".join(b"%d-%d" % (at, at + 1) for at in range(0, 130, 2))
        for have in (b"", b"1", b"1-1", b"2-1", b"0-2,1-3", b"3-4,1-2", b"-1", b"0-", b"a-b", b"0-1,", b"0-1;2-3",
                     b"0-" + b"9" * 20, many, b"0x1-2"):  # fmt: skip
            self.assertIn(
                "ascending", self.refused(self.bob, b"<download have=%s version=v>x" % have, "bad-attribute")
            )
        self.refused(self.bob, b"<download have version=v>x", "bad-attribute")
        self.refused(self.bob, b"<download version=%s>x" % (b"v" * 65), "bad-attribute")
        self.refused(self.bob, "<download version=é>x".encode(), "bad-attribute")

    @examples(100)
    @given(st.lists(st.integers(0, MAX_SIZE), min_size=2, max_size=128, unique=True))
    def test_ranges_round_trip(self, ends: list[int]) -> None:
        """What is rendered is read again, and the longest fits into a line."""
        ends = sorted(ends)[: len(ends) // 2 * 2]
        ranges = list(zip(ends[::2], ends[1::2], strict=True))
        line = b"<download have=%s version=v>x" % render_ranges(ranges)
        self.assertLess(len(line), CLIENT_LINE_LIMIT)
        talk = Chat().connect(b"bob", b"<hello>")
        self.assertEqual(talk.say(line), [OpenFile("x", b"", True, ranges, "v")])

    def test_offers(self) -> None:
        """What an offer says besides what it always says."""
        for changes, head, tail in (
            ({}, b" port=50000", b""),
            ({"port": None, "tcp": True}, b"", b" tcp=yes"),
            ({"resumed": True, "tcp": True, "path": b"\x04" * 8}, b" port=50000",
             b" resumed=yes tcp=yes path=" + b"04" * 8),
            ({"up": True}, b" port=50000", b" direction=up"),
            ({"up": True, "have": [(0, 4), (8, 12)]}, b" port=50000", b" direction=up have=0-4,8-12"),
        ):  # fmt: skip
            self.bob.heard()
            self.bob.session.offered(replace(OFFER, **changes), b" label=1")
            self.assertEqual(
                self.bob.heard(),
                [b"<offer label=1 size=12 version=v1%s %s%s>a b.txt" % (head, SECRETS, tail)],
            )

    def test_longest_offer(self) -> None:
        """The longest offer stays within a server line."""
        have = [(MAX_SIZE - 200 + 2 * at, MAX_SIZE - 199 + 2 * at) for at in range(64)]
        offer = Offer("n" * 1024, "f" * 64, "f" * 45, 65535, TERMS, True, True, bytes(8), True, have)
        self.bob.session.offered(offer, b" label=" + b"x" * 64)
        self.assertLess(max(map(len, self.bob.heard())), SERVER_LINE_LIMIT)


class Uploads(Case):
    """``<upload>``."""

    def test_program(self) -> None:
        """A program says how long the file is, and perhaps a secret."""
        for asked, request in (
            (b"<upload size=0>x", TakeFile("x", 0, "", b"")),
            (b"<upload label=1 size=12 version=0123456789abcdef> a b ",
             TakeFile("a b", 12, "0123456789abcdef", b" label=1")),
            (b"<upload size=%d>\xff" % MAX_SIZE, TakeFile("", MAX_SIZE, "", b"")),
        ):  # fmt: skip
            self.assertEqual(self.bob.say(asked), [request])

    def test_wrong(self) -> None:
        """The size is a number of bytes, and the secret is long and hexadecimal."""
        for size in (
            b"",
            b" size",
            b" size=",
            b" size=-1",
            b" size=1k",
            b" size=%d" % (MAX_SIZE + 1),
            b" size=" + b"1" * 20,
        ):
            self.assertIn("size=", self.refused(self.bob, b"<upload%s>x" % size, "bad-attribute"))
        for version in (b"0123456789abcde", b"0123456789ABCDEF", b"0" * 65, b"0123456789abcdeg"):
            self.refused(self.bob, b"<upload size=1 version=%s>x" % version, "bad-attribute")
        self.refused(self.bob, b"<upload size=1>  ", "missing-argument")

    def test_plain(self) -> None:
        """A plain client is told the exact words to type into a shell, whatever the name."""
        for name in ("a.txt", "a b's $x.txt", "-o", "é\\n.txt", "'" * 1024):
            (line,) = self.alice.answer(b"<upload label=1>" + name.encode())
            self.assertTrue(line.startswith(b"<put label=1>pychat put 127.0.0.1:50000 "))
            self.assertLess(len(line), SERVER_LINE_LIMIT)
            words = shlex.split(parse(line).text.decode())
            self.assertEqual(words[3:], ["--", name] if name.startswith("-") else [name])
        for name in ("a\x1b", "a\u202eb", "n" * 1025):
            self.refused(self.alice, b"<upload>" + name.encode(), "bad-name")

    def test_not_allowed(self) -> None:
        """Who may not upload is told so, whatever she speaks."""
        for talk in (self.alice, self.bob):
            talk.session.uploads = False
            self.assertIn("--uploads everyone", self.refused(talk, b"<upload size=1>x", "no-uploads"))

    def test_notice(self) -> None:
        """Everybody is told of a new file; plain clients without the time, and who ignores the uploader not at all."""
        eve = self.chat.connect(b"eve", b"<hello>")
        nobody = self.chat.connect(b"", b"<hello>")
        self.chat.say(eve, b"<ignore>BOB")
        for talk in (self.alice, self.bob):
            talk.heard()
        self.chat.hub.tell_file("a b.txt", 12, "Bob", 1_700_000_000_123)
        self.assertEqual(self.alice.heard(), [b"<file size=12 by=Bob>a b.txt"])
        self.assertEqual(self.bob.heard(), [b"<file size=12 by=Bob time=2023-11-14T22:13:20.123Z>a b.txt"])
        self.assertEqual(eve.heard(), [])
        self.chat.hub.tell_file("c", 0, "", 1_700_000_000_123)
        self.assertEqual(self.alice.heard(), [b"<file size=0 by=@somebody>c"])
        self.assertEqual(eve.heard(), [b"<file size=0 by=@somebody time=2023-11-14T22:13:20.123Z>c"])
        self.assertEqual(nobody.heard(), [])


class Paths(Case):
    """``caps=udp``, and ``<stream>``."""

    def test_granted(self) -> None:
        """Who asks for it may prove her address, unless the daemon has no UDP port."""
        talk = self.chat.connect()
        self.assertEqual(talk.say(b"<hello caps=udp>"), [ProvePath()])
        self.assertTrue(talk.heard()[0].startswith(b"<hello caps=udp server="))
        talk.session.takes_udp = False
        self.assertEqual(talk.say(b"<hello caps=udp>"), [])
        self.assertTrue(talk.heard()[0].startswith(b"<hello server="))

    def test_ticket(self) -> None:
        """What the client needs to prove it."""
        for host, shown in ((None, b""), ("::1", b" host=::1")):
            self.bob.session.ticket(Ticket(host, 50000, TERMS))
            self.assertEqual(self.bob.heard()[-1], b"<path%s port=50000 %s>" % (shown, SECRETS))

    def test_stream(self) -> None:
        """As the first line it names a transfer, or nothing at all when it is not well formed."""
        for line, transfer, token in (
            (b"transfer=%s token=%s" % (b"0a" * 8, b"0B" * 16), b"\x0a" * 8, b"\x0b" * 16),
            (b"transfer=%s token=%s" % (b"0a" * 8, b"0b" * 15), b"\x0a" * 8, b""),
            (b"transfer=%s token=%s" % (b"0a" * 7, b"0b" * 16), b"", b""),
            (b"transfer=%s token=%s" % (b"x" * 16, b"0b" * 16), b"", b""),
            (b"transfer", b"", b""),
        ):
            talk = self.chat.connect()
            self.assertEqual(talk.say(b"<stream label=1 %s>" % line), [Stream(transfer, token, b" label=1")])
        talk.session.streaming(b" label=1")
        self.assertEqual(talk.heard(), [b"<stream label=1>"])
        self.assertEqual(talk.say(b"<ping>x"), [])

    def test_not_first(self) -> None:
        """Later it is refused."""
        for first in (b"<ping>x", b"junk", None, b"<hello>"):
            talk = self.chat.connect()
            talk.say(first)
            self.refused(
                talk, b"<stream transfer=%s token=%s>" % (b"0a" * 8, b"0b" * 16), "already-connected"
            )


class Transfers(Case):
    """Transfers under way."""

    def test_list(self) -> None:
        """One line each, and their number."""
        self.assertEqual(self.alice.say(b"<transfers label=1>"), [ListTransfers(b" label=1")])
        self.alice.session.transfers(
            [
                Underway(b"\x01" * 8, "a b.txt", 12, 5, "running", False),
                Underway(b"\x02" * 8, "é", 0, 0, "waiting", True),
            ],
            b" label=1",
        )
        self.assertEqual(
            self.alice.heard(),
            [
                b"<transfer label=1 id=%s size=12 done=5 state=running direction=down>a b.txt" % (b"01" * 8),
                "<transfer label=1 id={} size=0 done=0 state=waiting direction=up>é".format(
                    "02" * 8
                ).encode(),
                b"<transfers label=1 count=2>",
            ],
        )

    def test_steer(self) -> None:
        """The three that steer one, and what they are answered."""
        for how, said in (("pause", "rests"), ("continue", "goes on"), ("cancel", "is cancelled")):
            (steer,) = self.bob.say(b"<%s label=1> %s " % (how.encode(), b"0A" * 8))
            self.assertEqual(steer, Steer("0A" * 8, how, b" label=1"))
            self.bob.heard()
            self.bob.session.steered(steer, b"\x0a" * 8, "a b.txt")
            (line,) = self.bob.heard()
            done = parse(line)
            self.assertEqual((done.verb, done.attributes), (b"done", {b"label": b"1"}))
            self.assertIn(f"a b.txt {said}", done.text.decode())
            self.refused(self.bob, b"<%s>" % how.encode(), "missing-argument")

    def test_pick(self) -> None:
        """An id, the beginning of one or a name; what may be several is none, and they are told."""
        transfers = [
            (b"\x0a\x0b" * 4, "a b.txt"),
            (b"\x0a\x0c" * 4, "same"),
            (b"\x0d" * 8, "same"),
            (b"\x0e" * 8, "0d0d"),
            (b"\x0f" * 8, "0d" * 8),
            (b"\x01" * 8, "0f0"),
        ]
        for which, place in (
            ("0A0B" * 4, 0), ("0a0b", 0), ("0A0C0", 1), ("a b.txt", 0), ("0d" * 8, 2), ("0e0e", 3), ("0f0", 5),
        ):  # fmt: skip
            self.assertEqual(pick(Steer(which, "pause", b""), transfers), place, which)
        for which in ("", "x", "0a0", "0a" * 7, "0a0b" * 4 + "0", "0a0b " * 4, "A b.txt", "a b"):
            error = self.assertRaises(RemoteProtocolError, pick, Steer(which, "cancel", b""), transfers)
            self.assertEqual(error.code, "no-such-transfer")
            self.assertIn("<transfers>", error.sentence)
        for which, told in (
            (
                "same",
                f"That may be {'0a0c' * 4} (same), {'0d' * 8} (same). Type <cancel>id with one of these.",
            ),
            ("0d0d", f"That may be {'0d' * 8} (same), {'0e' * 8} (0d0d). Type <cancel>id with one of these."),
        ):
            error = self.assertRaises(RemoteProtocolError, pick, Steer(which, "cancel", b""), transfers)
            self.assertEqual((error.code, error.sentence), ("bad-argument", told))

    def test_pick_of_many(self) -> None:
        """However many there are and however they are called, the answer is a line."""
        many = [(bytes([number]) * 8, "é" * 500) for number in range(64)]
        error = self.assertRaises(RemoteProtocolError, pick, Steer("é" * 500, "pause", b""), many)
        self.assertIn("…), 56 more. Type <pause>id", error.sentence)
        self.assertLess(len(error.sentence.encode()), SERVER_LINE_LIMIT - 100)

    @examples(200)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"download", b"upload", b"stream", b"pause", b"continue", b"cancel", b"transfers"]),
                st.sampled_from([b"", b" have=0-1", b" have=x", b" size=1", b" size", b" version=x",
                                 b" version=" + b"a" * 16, b" transfer=" + b"0a" * 8, b" token=" + b"0b" * 16]),
                st.one_of(st.binary(max_size=20), st.just(b"0a" * 8)),
            ),
            max_size=5,
        )
    )  # fmt: skip
    def test_anything(self, lines: list[tuple[bytes, bytes, bytes]]) -> None:
        """Whatever is said, there is a request or one clean line, and nothing else is raised."""
        talk = Chat().connect(b"", b"<hello>")
        assert isinstance(talk.session, Session)
        for verb, attributes, text in lines:
            if b"\n" in text:
                continue
            talk.heard()
            asked = talk.say(b"<%s%s>%s" % (verb, attributes, text))
            heard = talk.heard()
            self.assertEqual(len(asked) + len(heard), 1)
            for line in heard:
                self.assertIsInstance(parse(line), Line)
