"""Tests of `pychat.client.keyboard` on a pseudo-terminal, and of a visit of somebody who types there key by key."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from pychat.client.keyboard import Keyboard
from tests.guards import within

from .daemons import acting
from .streams import Keys, Terminal
from .test_chat import Visit, until

pytest.importorskip("termios")


def script(verb: bytes, line: bytes) -> bytes | None:
    """A daemon that takes texts of several lines."""
    label = line.split(b"label=")[-1].split(b">")[0].split(b" ")[0]
    if verb == b"hello":
        return b"<hello label=%s caps=ack,resume,multiline>\n" % label
    if verb == b"connect":
        return b"<connected label=%s resume=t>bob\n" % label
    if verb == b"set_msg":
        return b"<accepted label=%s id=7>alice\n" % label
    return b"" if verb in (b"pong", b"ack", b"read") else None


class Typing(Visit):
    """Somebody at a terminal of the system."""

    def __init__(self, port: int) -> None:
        self.screen = Terminal(80)
        super().__init__(port, terminal=True)

    def pipe(self) -> Any:
        return Keys()

    def stdout(self) -> Terminal:
        return self.screen

    async def sees(self, *rows: str) -> None:
        """Wait until these are the last rows on the screen."""
        await until(lambda: [row.rstrip() for row in self.screen.rows[-len(rows) :]] == list(rows))

    async def close_input(self) -> None:
        self.restored = self.input.lines_and_echo()
        await super().close_input()

    async def leaves(self) -> int:
        self.type("\x04")
        return await self.status()


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that understands escape sequences."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


@pytest_twisted.ensureDeferred
@within(30)
async def test_half_typed() -> None:
    """What is half typed is seen at once and stays below what comes; Ctrl-D does not send it."""
    async with acting(script) as (port, stage):
        visit = Typing(port)
        await visit.sees("<connected>bob", "")
        assert visit.input.lines_and_echo() == (False, False)
        visit.type("<set_msg>alise")
        await visit.sees("<set_msg>alise")
        stage.actor.transport.write(b"<msg id=5 from=alice to=bob>are you there?\n")
        await visit.sees("<msg id=5 from=alice to=bob>are you there?", "<set_msg>alise")
        visit.type("\x7f\x7fce yes\x04\x1b[A!")
        await visit.sees("<set_msg>alice yes!")
        visit.type("\n")
        await visit.sees("<set_msg>alice yes!", "<accepted id=7>alice", "")
        assert await visit.leaves() == 0
        assert (visit.restored, visit.screen.marks_pastes) == ((True, True), False)
    assert next(line for line in stage.heard if b"set_msg" in line).endswith(b">alice yes!")


@pytest_twisted.ensureDeferred
@within(30)
async def test_paste() -> None:
    """A text of several lines behind <set_msg> is one message, commands are commands, and the rest is not sent."""
    async with acting(script) as (port, stage):
        visit = Typing(port)
        await visit.sees("<connected>bob", "")
        visit.type("<set_msg>alice ")
        visit.type("\x1b[200~50 %\n<left>bob\n\x1b[201~")
        await visit.sees("<set_msg>alice 50 %\u21b5<left>bob\u21b5")
        visit.type("\n")
        await visit.sees("<set_msg>alice 50 %", "    <left>bob", "<accepted id=7>alice", "")
        visit.type("\x1b[200~<ping>1\n<ping>2\x1b[201~\n")
        await visit.sees("<ping>1", "<ping>2", "<pong>", "<pong>", "")
        visit.type("\x1b[200~one\ntwo\x1b[201~\n")
        await visit.shows("Nothing of them was sent.")
        visit.type("\x1b[200~<set_msg>alice " + "x" * 70 + "\n" + "y" * 4000 + "\x1b[201~\n")
        await until(lambda: "this is one of" in "".join(visit.screen.rows))
        visit.type("\x1b[200~<set_msg label=1>alice 1\n2\x1b[201~\n" + "z" * 5000 + "\n")
        await visit.shows("A line has at most 4,096 bytes.")
        assert await visit.leaves() == 0
    posted = [line.split(b" enc=")[-1] for line in stage.heard if b"set_msg" in line]
    assert posted == [b"pct>alice 50 %25%0A<left>bob"]
    assert b"<ping>1" in stage.heard
    assert "one\n    two\n" in "\n".join(row.rstrip() for row in visit.screen.rows)
    assert "* These lines are neither commands, each of them, nor one message" in visit.complained
    assert "without label= or once=. This one was not sent." in visit.complained


@pytest_twisted.ensureDeferred
@within(30)
async def test_interrupted() -> None:
    """Ctrl-C leaves, and the terminal is as it was; so it is when the process is ended by the second one."""
    async with acting(script) as (port, _):
        visit = Typing(port)
        await visit.sees("<connected>bob", "")
        visit.type("half")
        await visit.sees("half")
        assert visit.signals.keyboard is not None
        visit.interrupt()
        assert await visit.status() == 0
        assert (visit.restored, visit.screen.marks_pastes) == ((True, True), False)


def test_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z gives the shell its terminal as it was; after `fg` the keys come here again."""
    keys, happened = Keys(), []  # type: ignore[var-annotated]
    before = signal.getsignal(signal.SIGTSTP)

    def kill(process: int, number: int) -> None:
        happened.append((process == os.getpid(), number, keys.lines_and_echo()))

    keyboard = Keyboard(keys.reader, lambda: happened.append("stops"), lambda: happened.append("goes on"))
    assert keyboard.take()
    monkeypatch.setattr(os, "kill", kill)
    signal.raise_signal(signal.SIGTSTP)
    assert happened == ["stops", (True, signal.SIGSTOP, (True, True)), "goes on"]
    assert keys.lines_and_echo() == (False, False)
    for _ in range(2):
        keyboard.leave()
        assert keys.lines_and_echo() == (True, True)
    assert signal.getsignal(signal.SIGTSTP) == before
    keys.close()


def test_no_terminal(tmp_path: Path) -> None:
    """What is no terminal, or is gone, is left alone."""
    with (tmp_path / "file").open("w+") as stream:
        assert not Keyboard(stream, lambda: None, lambda: None).take()
    assert not Keyboard(stream, lambda: None, lambda: None).take()
    keys = Keys()
    keyboard = Keyboard(keys.reader, lambda: None, lambda: None)
    assert keyboard.take()
    keys.close()
    keyboard.leave()
