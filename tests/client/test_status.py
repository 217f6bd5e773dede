"""``pychat status``: what people and scripts are told, and what they are told when there is nothing to tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pychat import __version__, manual
from pychat.__main__ import build_parser
from pychat.client.answers import LinkError
from pychat.client.status import ask, for_people, read_status
from pychat.grammar import parse
from tests.guards import within

from .daemons import acting, serving
from .test_programs import run


class Told(SynchronousTestCase):
    """How numbers look."""

    def test_read(self) -> None:
        """Numbers become numbers; what is none stays as it is, and the label is ours."""
        line = parse(b"<status label=~1 version=0.1.0 up=5 mood=fine x=-1 y=%s>" % (b"9" * 40))
        self.assertEqual(
            read_status(line), {"version": "0.1.0", "up": 5, "mood": "fine", "x": "-1", "y": "9" * 40}
        )

    def test_units(self) -> None:
        """Each has its unit, and a size that can be read."""
        for name, number, said in (
            ("up", 59, "59 s"), ("up", 60, "1 min 0 s"), ("up", 76 * 3600, "3 d 4 h"), ("up", 3661, "1 h 1 min"),
            ("longest", 999, "999 ms"), ("longest", 1250, "1.25 s"), ("stalled", 61_000, "1 min 1 s"),
            ("memory", 900, "900 KiB"), ("memory", 45_466, "44.4 MiB"), ("people", 12_345, "12,345"),
            ("messages", 12_345, "12345"),
        ):  # fmt: skip
            self.assertEqual(for_people({name: number}).split("  ")[-1].strip(), said)

    def test_order(self) -> None:
        """Those that we know in our order, then the others as they came, in one column."""
        said = for_people({"brandnew": 1234, "rooms": 2, "people": 3, "version": "1.0"})
        self.assertEqual(said, "version      1.0\npeople here  3\nrooms        2\nbrandnew     1,234\n")
        self.assertEqual(for_people({}), "")

    def test_hostile(self) -> None:
        """What comes from a daemon cannot do anything to a terminal."""
        self.assertEqual(for_people({"version": "\x1b[2J"}), "version  \\x1b[2J\n")

    def test_help(self) -> None:
        """Its exit statuses are listed, and what they may mean: no daemon, or one that has no room."""
        said = " ".join(manual.STATUS.partition("exit status:")[2].split())
        self.assertRegex(said, r"0 that .* 1 .*no daemon.* full .* 2 .* 130 .*143.* 141 ")

    def test_address(self) -> None:
        """Without an address this machine is meant; the other commands have to be told one."""
        options = build_parser().parse_args(["status", "--json"])
        self.assertEqual((options.address, options.json), (("127.0.0.1", 50000), True))
        self.assertEqual(build_parser().parse_args(["status", "there:7"]).address, ("there", 7))
        with pytest.raises(SystemExit):
            build_parser().parse_args(["files"])


class Elsewhere(SynchronousTestCase):
    """A port of something else."""

    def ask(self) -> tuple[MemoryReactorClock, Any, Deferred[Any]]:
        reactor = MemoryReactorClock()
        asked = Deferred.fromCoroutine(ask(reactor, "127.0.0.1", 8080))
        protocol = reactor.tcpClients[0][2].buildProtocol(None)
        protocol.makeConnection(StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 8080)))
        return reactor, protocol, asked

    def fails(self, protocol: Any, asked: Deferred[Any]) -> str:
        self.assertTrue(protocol.transport.disconnected)
        protocol.connectionLost(Failure(ConnectionAborted()))
        sentence: str = self.failureResultOf(asked, LinkError).value.sentence
        return sentence

    def test_speaks_first(self) -> None:
        """What says something else is known at once."""
        _, protocol, asked = self.ask()
        protocol.dataReceived(b"220 mail.example ESMTP\r\n")
        self.assertIn("127.0.0.1:8080 is not a Python Chat", self.fails(protocol, asked))

    def test_full(self) -> None:
        """A daemon that has no room says so in place of a greeting, and closes."""
        _, protocol, asked = self.ask()
        protocol.dataReceived(b"<goodbye code=full>There is no room. Come back later.\n")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(
            self.failureResultOf(asked, LinkError).value.sentence, "There is no room. Come back later."
        )

    def test_says_nothing(self) -> None:
        """HTTP waits for a request: five seconds."""
        reactor, protocol, asked = self.ask()
        reactor.advance(4.9)
        self.assertFalse(protocol.transport.disconnected)
        reactor.advance(0.1)
        self.assertIn("No greeting came from 127.0.0.1:8080", self.fails(protocol, asked))


@pytest_twisted.ensureDeferred
@within(90)
async def test_status(tmp_path: Path) -> None:
    """All that a daemon tells of itself, for people and for scripts."""
    async with serving(tmp_path) as port:
        got = await run("status", f"127.0.0.1:{port}")
        assert (got.status, got.err) == (0, "")
        rows = dict(line.split("  ", 1) for line in got.out.splitlines())
        assert (rows["version"].strip(), rows["connections"].strip()) == (__version__, "1")
        assert rows["running for"].strip().endswith(" s")
        got = await run("status", f"127.0.0.1:{port}", "--json")
        told = json.loads(got.out)
        assert (got.status, got.err, got.out.count("\n")) == (0, "", 1)
        assert (told["version"], told["people"], told["stalls"] >= 0) == (__version__, 0, True)


@pytest_twisted.ensureDeferred
@within(90)
async def test_nothing_to_tell() -> None:
    """No daemon, one that is older, one that is about to end: one line that says so, and status 1."""
    got = await run("status", "127.0.0.1:1", "--json")
    assert (got.status, got.out) == (1, "")
    assert got.err.startswith("pychat: Nobody listens at 127.0.0.1:1.")
    for answer, said in (
        (b"<error code=unknown-command label=~1>There is no such command.\n", "The daemon at 127.0.0.1:%d is older"),
        (b"<error code=going-away label=~1>The daemon is stopping.\n", "The daemon is stopping."),
    ):  # fmt: skip
        async with acting(lambda verb, line, answer=answer: answer) as (port, stage):  # type: ignore[misc]
            got = await run("status", f"127.0.0.1:{port}")
            assert (got.status, got.out, got.err.count("\n")) == (1, "", 1)
            assert got.err.startswith("pychat: " + (said % port if "%d" in said else said))
            await stage.gone
