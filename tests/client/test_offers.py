"""Tests of `pychat.client.offers`: what an offer may say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.answers import Answer
from pychat.client.offers import (
    RANGES_LIMIT,
    covered,
    read_asked_offer,
    read_offer,
    read_path,
    read_ranges,
    write_ranges,
)
from pychat.errors import LocalProtocolError, RemoteProtocolError
from pychat.grammar import Line, parse

ID = b"0102030405060708"
SECRETS = b"transfer=" + ID + b" token=" + b"ab" * 16 + b" key=" + b"cd" * 32


def offer(more: bytes, name: bytes = b"x", secrets: bytes = SECRETS) -> Line:
    return parse(b"<offer " + secrets + b" " + more + b">" + name)


class Offers(SynchronousTestCase):
    """The lines of a daemon, and of something that is none."""

    def test_all(self) -> None:
        """Every field."""
        got = read_offer(
            offer(b"size=10 version=v1 host=::1 port=9 tcp=yes path=" + ID + b" resumed=yes", b"a/b c")
        )
        self.assertEqual(
            (got.name, got.version, got.host, got.port, got.tcp), ("a/b c", "v1", "::1", 9, True)
        )
        self.assertEqual(
            (got.path, got.resumed, got.up, got.have), (bytes.fromhex(ID.decode()), True, False, ())
        )
        self.assertEqual((got.terms.size, got.terms.key), (10, b"\xcd" * 32))

    def test_few(self) -> None:
        """Without UDP it comes over TCP; and the ranges of an upload."""
        got = read_offer(offer(b"size=0 version=v tcp=yes"))
        self.assertEqual((got.port, got.tcp, got.path, got.resumed), (None, True, None, False))
        up = read_offer(offer(b"size=10 port=9 direction=up have=0-3,5-10"))
        self.assertEqual((up.up, up.have, up.version), (True, ((0, 3), (5, 10)), ""))

    def test_wrong(self) -> None:
        """What does not fit is refused, and the key is not in what is said."""
        for more in (
            b"size=1 version=v", b"version=v port=9", b"size=1 port=9", b"size=1 version=v port=0",
            b"size=x version=v port=9", b"size=1 version=v port=65536", b"size=99999999999999999999 version=v port=9",
            b"size=1 version=v port=9 host=name", b"size=1 version=v port=9 path=12",
            b"size=4 port=9 direction=up have=0-5", b"size=4 port=9 direction=up have=2-1",
            b"size=1 port=9 direction=up have=x",
        ):  # fmt: skip
            with self.assertRaises(RemoteProtocolError) as caught:
                read_offer(offer(more))
            self.assertEqual(caught.exception.code, "bad-answer")
            self.assertNotIn("cdcd", caught.exception.sentence)
        with self.assertRaises(RemoteProtocolError):
            read_offer(offer(b"size=1 version=v port=9", b""))
        with self.assertRaises(RemoteProtocolError):
            read_offer(offer(b"size=1 version=v port=9", b"x", SECRETS[:-2]))

    def test_path(self) -> None:
        """Where to prove our address."""
        path = read_path(parse(b"<path " + SECRETS + b" port=7>"))
        self.assertEqual((path.port, path.host, path.terms.size), (7, None, 0))
        with self.assertRaises(RemoteProtocolError):
            read_path(parse(b"<path " + SECRETS + b">"))

    def test_asked(self) -> None:
        """It has to be the file that was asked for, in that direction."""
        answer = Answer(offer(b"size=1 version=v port=9"))
        self.assertEqual(read_asked_offer(answer, "x").terms.size, 1)
        for name, up in (("y", False), ("x", True)):
            with self.assertRaises(RemoteProtocolError):
                read_asked_offer(answer, name, up)
        with self.assertRaises(LocalProtocolError):
            read_asked_offer(Answer(parse(b"<get size=1>pychat get")), "x")

    @given(st.sets(st.integers(0, 10_000), max_size=300))
    def test_ranges(self, edges: set[int]) -> None:
        """What is written is read; of too many the longest are named."""
        bounds = sorted(edges)
        ranges = tuple(zip(bounds[::2], bounds[1::2], strict=False))
        written = write_ranges(ranges)
        if not ranges:
            self.assertIsNone(written)
            return
        assert written is not None
        read = read_ranges(written.encode(), 10_000)
        self.assertTrue(set(read) <= set(ranges))
        self.assertEqual(len(read), min(len(ranges), RANGES_LIMIT))
        if len(ranges) <= RANGES_LIMIT:
            self.assertEqual(covered(read), covered(ranges))
