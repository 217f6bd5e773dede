"""Tests of `pychat.client.chat` with daemons on loopback: a whole visit, from the greeting to the exit status."""

from __future__ import annotations

import getpass
import hashlib
import re
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from pychat.client.answers import LinkError
from pychat.client.chat import Invitation, chat
from pychat.client.connection import connect
from pychat.client.program import Signals
from pychat.vocabulary import CLIENT_LINE_LIMIT
from tests.guards import within

from .daemons import acting, serving
from .streams import Collector, Pipe, Terminal, endings

SECRET = b"cd" * 32
OFFER = (
    b"<offer size=5 version=v port=%d transfer=0102030405060708 token="
    + b"ab" * 16
    + b" key="
    + SECRET
    + b">%s\n"
)


class Visit:
    """One run of the program with pipes for its input and output."""

    def __init__(
        self,
        port: int,
        name: str | None = "bob",
        folder: Path = Path(),
        terminal: bool = False,
        fresh: bool = False,
    ) -> None:
        from twisted.internet import reactor

        self.input = self.pipe()
        if terminal:
            self.input.reader.isatty = lambda: True
        self.out, self.err = Collector(), Collector()
        self.signals = Signals()
        self.running = Deferred.fromCoroutine(
            chat(
                reactor,
                self.signals,
                Invitation("127.0.0.1", port, name, str(folder), fresh),
                self.input.reader,
                self.stdout(),
                self.err.stream,
            )
        )
        endings.append(self.give_up)

    def pipe(self) -> Any:
        """Where what is typed comes from."""
        return Pipe()

    def stdout(self) -> Any:
        """Where the program writes."""
        return self.out.stream

    def type(self, text: str) -> None:
        self.input.writer.write(text)
        self.input.writer.flush()

    async def shows(self, text: str) -> None:
        """Wait until this was printed, on either stream."""
        await until(lambda: text.encode() in self.out._data or text.encode() in self.err._data)

    def interrupt(self) -> None:
        self.signals.caught = signal.SIGINT
        self.running.cancel()

    async def end(self, text: str = "") -> int:
        """Type this and nothing more; the exit status."""
        self.type(text)
        self.input.writer.close()
        return await self.status()

    async def status(self) -> int:
        """The exit status, and what was printed."""
        try:
            return await self.running
        finally:
            await self.close_input()
            self.printed, self.complained = self.out.text(), self.err.text()

    async def close_input(self) -> None:
        """Close the input once the thread that reads it has seen its end."""
        if not self.input.writer.closed:
            self.input.writer.close()
        await until(no_thread_reads)
        self.input.close()

    async def give_up(self) -> None:
        """End it, if a test that failed has not: it is told to, and told again, and then left to itself."""
        self.running.addErrback(lambda _: None)
        for _ in range(2):
            self.running.cancel()
            await at_most(3, until(lambda: self.running.called))
        if not self.input.writer.closed:
            self.input.writer.close()
        await at_most(3, until(no_thread_reads))
        left_reading.update(thread for thread in threading.enumerate() if thread.name == "input")

    @property
    def lines(self) -> list[str]:
        return self.printed.splitlines()


async def until(true: Callable[[], bool]) -> None:
    """Give the reactor turns until this is true."""
    while not true():
        await turns(1)


async def turns(count: int) -> None:
    """Give the reactor so many turns."""
    from twisted.internet import reactor

    loop: Any = reactor
    for _ in range(count):
        turn: Deferred[None] = Deferred()
        loop.callLater(0, turn.callback, None)
        await turn


async def at_most(seconds: float, waiting: Coroutine[Any, Any, None]) -> None:
    """Wait, but no longer than that."""
    from twisted.internet import reactor

    loop: Any = reactor
    with suppress(DeferredTimeout):
        await Deferred.fromCoroutine(waiting).addTimeout(seconds, loop)


left_reading: WeakSet[threading.Thread] = WeakSet()
"""Threads of tests that failed and could not end them."""


def no_thread_reads() -> bool:
    return not [
        thread for thread in threading.enumerate() if thread.name == "input" and thread not in left_reading
    ]


def shelf(folder: Path, **files: bytes) -> Path:
    (folder / "files").mkdir()
    for name, data in files.items():
        (folder / "files" / name).write_bytes(data)
    (folder / "here").mkdir()
    return folder / "here"


@pytest_twisted.ensureDeferred
@within(30)
async def test_piped(tmp_path: Path) -> None:
    """A script's lines are sent, answered, its files fetched, and then it leaves, all with status 0."""
    here = shelf(tmp_path, report=b"x" * 100_000, empty=b"")
    async with serving(tmp_path) as port:
        visit = Visit(port, "bob", here)
        status = await visit.end("<set_msg_all>hi\n<download>report\n<download>empty\n<get_users>")
    assert status == 0
    assert visit.lines[:4] == [
        "<welcome>Python Chat. Type <connect>your-name to join, <help> for more.",
        visit.lines[1],
        "<connected>bob",
        "<accepted id=1>all",
    ]
    assert visit.lines[-1] == "<goodbye code=bye>Goodbye."
    assert "<users count=1>" in visit.lines
    assert "<offer size=100000>report" in visit.lines
    assert not re.search("key=|token=", visit.printed)
    digest = hashlib.sha256(b"x" * 100_000).hexdigest()
    assert re.search(
        rf"^\* saved \S*report: 100 kB in .*, verified sha256 {digest}$", visit.printed, re.MULTILINE
    )
    assert {path.name: path.stat().st_size for path in here.iterdir()} == {"report": 100_000, "empty": 0}
    assert visit.complained == ""


@pytest_twisted.ensureDeferred
@within(30)
async def test_disconnect_waits_for_downloads(tmp_path: Path) -> None:
    """A script that says <disconnect> gets the files that it asked for before, each under a name of its own."""
    here = shelf(tmp_path, report=b"y" * 300_000)
    (here / "report").write_text("mine")
    async with serving(tmp_path) as port:
        visit = Visit(port, "bob", here)
        status = await visit.end("<download>report\n<download>report\n<disconnect>\n<ping>never sent\n")
    assert status == 0
    assert (here / "report").read_text() == "mine"
    assert {path.name for path in here.iterdir()} == {"report", "report (2)", "report (3)"}
    assert "never sent" not in visit.printed
    assert visit.lines.count("<goodbye code=bye>Goodbye.") == 1


@pytest_twisted.ensureDeferred
@within(30)
async def test_errors_in_a_pipe(tmp_path: Path) -> None:
    """A line that was answered with an error makes the status of a script 1; the other lines are sent."""
    shelf(tmp_path)
    async with serving(tmp_path) as port:
        visit = Visit(port)
        status = await visit.end("<download>nope\n" + "x" * CLIENT_LINE_LIMIT + "\n<ping>1\n")
    assert status == 1
    assert any(line.startswith("<error code=no-such-file>") for line in visit.lines)
    assert "<pong>1" in visit.lines
    assert "4,096 bytes" in visit.complained


@pytest_twisted.ensureDeferred
@within(30)
async def test_errors_at_a_terminal(tmp_path: Path) -> None:
    """For a person an error is nothing special."""
    shelf(tmp_path)
    async with serving(tmp_path) as port:
        visit = Visit(port, terminal=True)
        assert await visit.end("<dance>\n") == 0
    assert any(line.startswith("<error code=unknown-command>") for line in visit.lines)


@pytest_twisted.ensureDeferred
@within(30)
async def test_name_taken(tmp_path: Path) -> None:
    """A script goes on under no name that it did not ask for; a person chooses another."""
    from twisted.internet import reactor

    shelf(tmp_path)
    async with serving(tmp_path) as port:
        other = await connect(reactor, "127.0.0.1", port)
        await other.join("bob")
        script = Visit(port)
        assert await script.end("<set_msg_all>never\n") == 1
        assert script.lines[-2].startswith("<error code=name-taken>bob is taken. Free now: <connect>")
        assert "accepted" not in script.printed
        person = Visit(port, terminal=True)
        assert await person.end("<connect>bob2\n<get_users>\n") == 0
        assert "<connected>bob2" in person.lines
        await other.leave()


@pytest_twisted.ensureDeferred
@within(30)
async def test_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name it is that of the login, unless the first line of a script says another."""
    shelf(tmp_path)
    monkeypatch.setattr(getpass, "getuser", lambda: "login")
    async with serving(tmp_path) as port:
        for terminal, text, name in (
            (False, "<ping>\n", "login"),
            (False, "<connect>zed\n", "zed"),
            (True, "<ping>\n", "login"),
        ):
            visit = Visit(port, None, terminal=terminal)
            assert await visit.end(text) == 0
            assert f"<connected>{name}" in visit.lines


@pytest_twisted.ensureDeferred
@within(30)
async def test_nobody_knows_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no login name, a person is asked for one and a script ends."""

    def nobody() -> str:
        raise KeyError("uid not found")

    shelf(tmp_path)
    monkeypatch.setattr(getpass, "getuser", nobody)
    async with serving(tmp_path) as port:
        script = Visit(port, None)
        assert await script.end("<set_msg_all>x\n") == 1
        person = Visit(port, None, terminal=True)
        assert await person.end() == 0
    assert "Type <connect>your-name" in script.complained
    assert "Type <connect>your-name" in person.complained


@pytest_twisted.ensureDeferred
@within(30)
async def test_hostile_lines() -> None:
    """What a daemon sends does nothing to the terminal, and a key is not shown."""
    sent = b"<msg id=1 from=x>\x1b[2J\n\x1b]0;t\x07\n<motd key=" + SECRET + b">x\n"
    async with acting(lambda verb, line: sent + b"<pong>\n" if line == b"<ping>" else None) as (port, stage):
        visit = Visit(port)
        assert await visit.end("<ping>\n") == 0
    assert visit.lines[3:7] == ["<msg id=1 from=x>\\x1b[2J", "? \\x1b]0;t\\x07", "<motd>x", "<pong>"]
    assert stage.heard[2] == b"<ping>"


@pytest_twisted.ensureDeferred
@within(30)
async def test_offers_that_nobody_asked_for(tmp_path: Path) -> None:
    """A daemon cannot make a client fetch, nor choose where a file goes."""
    offers = b"".join(OFFER % (9, name) for name in (b"../../x", b"y")) + b"<offer size=5>report\n<pong>\n"
    async with acting(lambda verb, line: offers if line == b"<ping>" else None) as (port, _):
        visit = Visit(port, folder=tmp_path)
        assert await visit.end("<ping>\n") == 1
    assert visit.printed.count("It was not asked for.") == 2
    assert "* report was not downloaded: The daemon's offer cannot be understood." in visit.printed
    assert "cdcd" not in visit.printed
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(30)
async def test_hostile_name(tmp_path: Path) -> None:
    """Whatever a file is called, it is saved in the folder."""
    here = shelf(tmp_path)
    (tmp_path / "files" / "sub").mkdir()
    (tmp_path / "files" / "sub" / "a b.txt").write_bytes(b"hello")
    async with serving(tmp_path) as port:
        visit = Visit(port, folder=here)
        assert await visit.end("<download>sub/a b.txt\n") == 0
    assert (here / "a b.txt").read_bytes() == b"hello"


@pytest_twisted.ensureDeferred
@within(30)
async def test_lost() -> None:
    """A connection that breaks ends a script with status 1 and a sentence."""
    async with acting(lambda verb, line: None) as (port, stage):
        visit = Visit(port)
        await until(lambda: len(stage.heard) == 2)
        stage.actor.transport.abortConnection()
        assert await visit.status() == 1
    assert visit.complained == "* The connection to the chat was lost. Start again to come back.\n"


@pytest_twisted.ensureDeferred
@within(30)
async def test_full() -> None:
    """A script that finds no room says so once, and not among the answers."""
    async with acting(lambda verb, line: None) as (port, stage):
        stage.greeting = b"<goodbye code=full>No room. Come back later."
        visit = Visit(port)
        with pytest.raises(LinkError) as caught:
            await visit.status()
    assert caught.value.sentence == "No room. Come back later."
    assert visit.printed + visit.complained == ""


@pytest_twisted.ensureDeferred
@within(30)
async def test_daemon_stops(tmp_path: Path) -> None:
    """A daemon that stops says so itself; that is shown once, and ends a script."""
    shelf(tmp_path)
    async with serving(tmp_path) as port:
        visit = Visit(port)
        visit.type("<ping>ready\n")
        await until(lambda: b"<pong>ready" in visit.out._data)
    assert await visit.status() == 1
    assert visit.printed.count("<goodbye code=shutdown>") == 1
    assert visit.complained == ""


@pytest_twisted.ensureDeferred
@within(30)
async def test_nobody_listens() -> None:
    """No connection: the error is the program's."""
    from pychat.client.answers import LinkError

    visit = Visit(1)
    with pytest.raises(LinkError, match="Nobody listens"):
        await visit.status()


@pytest_twisted.ensureDeferred
@within(30)
@pytest.mark.parametrize(("terminal", "status"), [(True, 0), (False, 130)])
async def test_interrupted(terminal: bool, status: int) -> None:
    """Ctrl-C is a way to leave for a person, and cuts off a script."""
    async with acting(lambda verb, line: None) as (port, stage):
        visit = Visit(port, terminal=terminal)
        await until(lambda: len(stage.heard) == 2)
        visit.interrupt()
        assert await visit.status() == status
    assert stage.heard[-1].startswith(b"<disconnect")
    assert visit.lines[-1] == "<goodbye code=bye>Goodbye."


@pytest_twisted.ensureDeferred
@within(30)
async def test_interrupted_download(tmp_path: Path) -> None:
    """Ctrl-C gives downloads up; nothing is left of them, and the status says that something was cut off."""
    # Port 9 is discard's: nobody answers there.
    script = lambda verb, line: OFFER % (9, b"x") if verb == b"download" else None  # noqa: E731
    async with acting(script) as (port, _):
        visit = Visit(port, folder=tmp_path, terminal=True)
        visit.type("<download>x\n")
        await until((tmp_path / "x.part").exists)
        visit.interrupt()
        assert await visit.status() == 130
    assert "* x was not downloaded: The download was given up." in visit.lines
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(30)
async def test_waits_at_a_terminal(tmp_path: Path) -> None:
    """Ctrl-D while a file is on its way waits for it and says how to give it up; Ctrl-C then does."""
    script = lambda verb, line: OFFER % (9, b"x") if verb == b"download" else None  # noqa: E731
    async with acting(script) as (port, _):
        visit = Visit(port, folder=tmp_path, terminal=True)
        visit.type("<download>x\n")
        visit.input.writer.close()
        await until(lambda: b"Waiting for 1 download." in visit.err._data)
        visit.interrupt()
        assert await visit.status() == 130


@pytest_twisted.ensureDeferred
@within(30)
async def test_nobody_reads() -> None:
    """When nobody reads the output any more the program ends."""
    from twisted.internet import reactor

    typing, closed, err = Pipe(), Pipe(), Collector()
    closed.reader.close()
    async with acting(lambda verb, line: None) as (port, stage):
        status = await chat(
            reactor,
            Signals(),
            Invitation("127.0.0.1", port, "bob", "."),
            typing.reader,
            closed.writer,
            err.stream,
        )
        await stage.gone
    assert (status, err.text()) == (1, "")
    typing.writer.close()
    await until(no_thread_reads)
    typing.close()
    closed.close()


@pytest_twisted.ensureDeferred
@within(30)
async def test_terminal(tmp_path: Path) -> None:
    """At a terminal everything is on one screen, and no bar is left."""
    from twisted.internet import reactor

    here = shelf(tmp_path, big=b"z" * 3_000_000)
    screen, pipe = Terminal(), Pipe()
    async with serving(tmp_path) as port:
        running = Deferred.fromCoroutine(
            chat(
                reactor,
                Signals(),
                Invitation("127.0.0.1", port, "bob", str(here)),
                pipe.reader,
                screen,
                screen,
            )
        )
        pipe.writer.write("<download>big\n")
        pipe.writer.close()
        assert await running == 0
        await until(no_thread_reads)
    pipe.close()
    assert [row.split(">")[0].split(" ")[0] for row in screen.rows] == [
        "<welcome", "<hello", "<connected", "<offer", "*", "<goodbye", "",
    ]  # fmt: skip
