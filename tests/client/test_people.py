"""Who is here, as `pychat chat` shows it where very many are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytest_twisted
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.wording import people
from pychat.grammar import parse
from tests.guards import within

from .daemons import acting
from .test_chat import Visit
from .test_talk import Talking

PAGES = {b"": (b"alice", b"bob"), b"bob": (b"carol",), b"carol": (b"dave",)}
"""Who is on a page, by what was given as ``more=``."""


def crowded(more: dict[bytes, bytes]) -> Callable[[bytes, bytes], bytes | None]:
    """A daemon that lists people in pages.

    :param more: what it gives as ``more=`` on each of them.
    """

    def script(verb: bytes, line: bytes) -> bytes | None:
        head = dict(word.partition(b"=")[::2] for word in line[1:].partition(b">")[0].split(b" ")[1:])
        label, page = head.get(b"label", b""), head.get(b"more", b"")
        if verb == b"connect":
            return b"<connected label=%s resume=t>bob\n<people joined=12 left=3>4\n" % label
        if verb == b"get_users":
            users = b"".join(b"<user label=%s>%s\n" % (label, name) for name in PAGES[page])
            on = b" more=" + more[page] if page in more else b""
            return users + b"<users label=%s count=4%s>\n" % (label, on)
        return b"" if verb in (b"pong", b"ack", b"read") else None

    return script


ALL = ["<user>alice", "<user>bob", "<user>carol", "<user>dave", "<users count=4>"]


@pytest_twisted.ensureDeferred
@within(30)
async def test_at_a_terminal() -> None:
    """Who types is told in words how many came and went, and shown all pages of a list."""
    async with acting(crowded({b"": b"bob", b"bob": b"carol"})) as (port, _):
        visit = Talking(port)
        await visit.shows("* 12 joined, 3 left: 4 people")
        assert await visit.end("<get_users>\n<get_users limit=2>\n") == 0
    shown = [line for line in visit.lines if line.startswith(("<user>", "<users"))]
    # The second was asked for before the next page of the first was.
    assert shown == [*ALL[:2], *ALL[:2], "<users count=4 more=bob>", *ALL[2:]]
    assert "<people" not in visit.printed


@pytest_twisted.ensureDeferred
@within(30)
async def test_in_a_pipe() -> None:
    """A script gets all pages before its end, and what it did not ask for as it came."""
    async with acting(crowded({b"": b"bob", b"bob": b"carol"})) as (port, _):
        visit = Visit(port)
        assert await visit.end("<get_users>") == 0
    assert [line for line in visit.lines if line.startswith(("<user>", "<users"))] == ALL
    assert "<people joined=12 left=3>4" in visit.lines


@pytest_twisted.ensureDeferred
@within(30)
async def test_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon whose list does not end is not asked for ever."""
    monkeypatch.setattr("pychat.client.asking.PEOPLE_LIMIT", 10)
    async with acting(crowded({b"": b"bob", b"bob": b""})) as (port, stage):
        visit = Visit(port)
        assert await visit.end("<get_users>") == 1
    assert "<error code=bad-answer>" in visit.printed
    assert sum(line.startswith(b"<get_users") for line in stage.heard) < 10


class Words(SynchronousTestCase):
    """`people`."""

    def said(self, raw: bytes) -> str | None:
        return people(parse(raw))

    def test_words(self) -> None:
        """What happened, in the same order always, and how many there are; of a room its name before."""
        self.assertEqual(self.said(b"<people joined=2>6"), "2 joined: 6 people")
        self.assertEqual(
            self.said(b"<people back=4 away=3 left=2 joined=1000 moved=7>10000"),
            "1000 joined, 2 left, 3 away, 4 back: 10,000 people",
        )
        self.assertEqual(self.said(b"<people in=#tea left=1>6"), "#tea: 1 left: 6 members")

    def test_no_numbers(self) -> None:
        """What is not of that form is not put into words; and nothing that a terminal obeys is."""
        for raw in (
            b"<people>6", b"<people joined=x>6", b"<people joined=1>", b"<people joined=-1>6", b"<people joined>6",
            b"<people joined=1>\x1b[2J", b"<people joined=99999999999999999999>6",
        ):  # fmt: skip
            self.assertIsNone(self.said(raw))
        hostile = "<people in=\u202e joined=1>6".encode()
        self.assertEqual(self.said(hostile), "\u2068\u202e\u2069: 1 joined: 6 members")
