"""Tests of `pychat.client.keyboard` on a pseudo-terminal, and of a visit of somebody who types there key by key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from pychat.client import keyboard as keyboard_module
from pychat.client.keyboard import Keyboard
from tests.guards import within

from .daemons import acting
from .streams import Keys, Terminal
from .test_chat import Visit, until
from .test_programs import environment

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


class Program:
    """``pychat chat`` as a process of its own, at a terminal of the system.

    :ivar written: all that it wrote there.
    """

    def __init__(self, port: int, folder: Path, *through: str) -> None:
        """:param through: what runs it."""
        self.keys = Keys()
        terminal = self.keys.reader
        self.process = subprocess.Popen(
            [*through, sys.executable, "-m", "pychat", "chat", f"127.0.0.1:{port}", "--name", "bob"],
            cwd=folder, env=environment(), stdin=terminal, stdout=terminal, stderr=terminal,
        )  # fmt: skip
        self.written = b""
        os.set_blocking(self.keys.writer.fileno(), False)

    def type(self, text: str) -> None:
        os.write(self.keys.writer.fileno(), text.encode())

    async def ready(self) -> None:
        """Wait until every key comes to the program."""
        await until(lambda: b"\x1b[?2004h" in self._read())

    async def writes(self, end: bytes) -> None:
        """Wait until this was written last."""
        await until(lambda: self._read().endswith(end))

    async def ended(self) -> int:
        """The exit status, negative for a signal."""
        await until(lambda: (self._read() and self.process.poll()) is not None)
        self._read()
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.keys.close()

    @property
    def marks_pastes(self) -> bool:
        """What the terminal was asked last."""
        return self.written.rfind(b"\x1b[?2004h") > self.written.rfind(b"\x1b[?2004l")

    def _read(self) -> bytes:
        try:
            self.written += os.read(self.keys.writer.fileno(), 65536)
        except BlockingIOError:
            pass
        return self.written


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
async def test_without_a_connection() -> None:
    """What cannot wait for one stands in the input again, and is said to; Enter sends it when there is one."""
    not_sent = "* Not sent: there is no connection now, and only messages wait for one."
    async with acting(script) as (port, stage):
        visit = Typing(port)
        await visit.sees("<connected>bob", "")
        stage.greeting = b"<goodbye code=full>No room."
        stage.actor.transport.abortConnection()
        await until(lambda: any("still no connection" in row for row in visit.screen.rows))
        visit.type("quit\n<whois>alice\n")
        await until(lambda: any(row.startswith(not_sent) for row in visit.err._data.decode().splitlines()))
        assert "It stands in your input again: press Enter when there is one." in visit.err._data.decode()
        await visit.sees("<whois>alice")
        stage.greeting = b"<welcome>hi"
        await until(lambda: any(row.startswith("* back") for row in visit.screen.rows))
        visit.type("\n")
        await until(lambda: b"<whois>alice" in stage.heard)
        assert await visit.leaves() == 0


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
        await visit.sees("one\u21b5two")
        for line in ("<ping>3", "<topic>#tea "):
            visit.type("\x15" + line + "\x1b[200~\n<ping>4\n<disconnect>\x1b[201~\n")
            await visit.sees(line + "\u21b5<ping>4\u21b5<disconnect>")
        visit.type("\x15")
        visit.type("<set_msg>alice look:\x1b[200~\n<retract>5\n<disconnect>\n\x1b[201~\n")
        await visit.sees(
            "<set_msg>alice look:", "    <retract>5", "    <disconnect>", "<accepted id=7>alice", ""
        )
        visit.type("\x1b[200~<set_msg>alice " + "x" * 70 + "\n" + "y" * 4000 + "\x1b[201~\n")
        await until(lambda: "this is one of" in "".join(visit.screen.rows))
        visit.type("\x15\x1b[200~<set_msg label=1>alice 1\n2\x1b[201~\n")
        await visit.sees("<set_msg label=1>alice 1\u21b52")
        visit.type("\x15" + "z" * 5000 + "\n")
        await visit.shows("A line has at most 4,096 bytes.")
        await visit.sees("\u2026" + "z" * 78)
        visit.type("\x15")
        assert await visit.leaves() == 0
    posted = [line.split(b" enc=")[-1] for line in stage.heard if b"set_msg" in line]
    assert posted == [b"pct>alice 50 %25%0A<left>bob", b"pct>alice look:%0A<retract>5%0A<disconnect>"]
    assert {b"<ping>1", b"<ping>2"} <= set(stage.heard)
    never = b"<ping>3", b"<ping>4", b"<retract", b"<topic"
    assert not [line for line in stage.heard if line.startswith(never)]
    assert (
        visit.complained.count("* Several lines are commands only where all of them are pasted at once") == 2
    )
    assert "one\n    two\n" in "\n".join(row.rstrip() for row in visit.screen.rows)
    assert "* These lines are neither commands, each of them, nor one message" in visit.complained
    assert "without label= or once=. This one was not sent." in visit.complained


@pytest_twisted.ensureDeferred
@within(30)
async def test_interrupted() -> None:
    """Ctrl-C on an empty line leaves, and the terminal is as it was."""
    async with acting(script) as (port, _):
        visit = Typing(port)
        await visit.sees("<connected>bob", "")
        visit.type("half")
        await visit.sees("half")
        assert visit.signals.clears()
        await visit.sees("")
        assert not visit.signals.clears()
        assert visit.signals.keyboard is not None
        visit.interrupt()
        assert await visit.status() == 0
        assert (visit.restored, visit.screen.marks_pastes) == ((True, True), False)


@pytest_twisted.ensureDeferred
@within(90)
async def test_quit(tmp_path: Path) -> None:
    """SIGQUIT, which Ctrl-\\ sends, ends the process as it ends others, but the terminal is as it was."""
    async with acting(script) as (port, _):
        program = Program(port, tmp_path)
        try:
            await program.ready()
            program.type("half")
            await program.writes(b"half")
            assert (program.keys.lines_and_echo(), program.marks_pastes) == ((False, False), True)
            program.process.send_signal(signal.SIGQUIT)
            assert await program.ended() == -signal.SIGQUIT
            assert (program.keys.lines_and_echo(), program.marks_pastes) == ((True, True), False)
            assert program.written.endswith(b"\r\x1b[K\x1b[?2004l")
        finally:
            program.close()


@pytest_twisted.ensureDeferred
@within(90)
async def test_quit_ignored(tmp_path: Path) -> None:
    """Who was started to ignore SIGQUIT does."""
    async with acting(script) as (port, _):
        program = Program(port, tmp_path, "sh", "-c", "trap '' QUIT; exec \"$@\"", "sh")
        try:
            await program.ready()
            program.process.send_signal(signal.SIGQUIT)
            program.type("half")
            await program.writes(b"half")
            program.type("\x15\x04")
            assert await program.ended() == 0
        finally:
            program.close()


@pytest_twisted.ensureDeferred
@within(90)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_twice(tmp_path: Path, number: int) -> None:
    """Ctrl-C clears a half-typed line.  The second signal ends the process; the terminal is as it was."""
    async with acting(lambda verb, line: b"" if verb == b"set_msg" else script(verb, line)) as (port, stage):
        program = Program(port, tmp_path)
        try:
            await program.ready()
            program.type("<set_msg>alice hi\nhalf")
            await until(lambda: any(b"set_msg" in line for line in stage.heard))
            await program.writes(b"half")
            if number == signal.SIGINT:
                program.process.send_signal(number)
                await program.writes(b"half\r\x1b[K")  # that was all it did
                program.type("more")
                await program.writes(b"more")
            program.process.send_signal(signal.SIGTERM)
            await program.writes(b"\r\x1b[K")
            program.process.send_signal(number)
            assert await program.ended() == -number
            assert (program.keys.lines_and_echo(), program.marks_pastes) == ((True, True), False)
        finally:
            program.close()


@pytest_twisted.ensureDeferred
@within(90)
@pytest.mark.parametrize("signals", [0, 2])
async def test_window_closed(tmp_path: Path, signals: int) -> None:
    """Who closes the window is away, as when the connection breaks, however often and in which way that is told."""
    async with acting(script) as (port, stage):
        program = Program(port, tmp_path)
        try:
            await program.ready()
            program.type("half")
            await program.writes(b"half")
            for _ in range(signals):
                program.process.send_signal(signal.SIGHUP)
            program.keys.close()
            await stage.gone
            await until(lambda: program.process.poll() is not None)
            assert program.process.returncode in (0, -signal.SIGHUP)
        finally:
            program.close()
    assert not [line for line in stage.heard if line.startswith(b"<disconnect")]


def test_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is ended by a signal does not wait long for a terminal that takes nothing."""
    monkeypatch.setattr(keyboard_module, "PATIENCE", 0.01)
    keys, taken = Keys(), threading.Event()
    keyboard = Keyboard(keys.reader, taken.wait, lambda: None)
    assert keyboard.take()
    started = time.monotonic()
    keyboard.abandon()
    assert time.monotonic() - started < 5
    assert keys.lines_and_echo() == (True, True)
    taken.set()
    keys.close()


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
