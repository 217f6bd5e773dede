"""Tests of the command line as scripts see it: output, exit status, one line for what went wrong."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread

from pychat import __version__
from pychat.__main__ import main
from pychat.datagram import TransferProtocol
from pychat.transfer.endpoint import TIMED_OUT
from pychat.udp import listen_udp
from tests.guards import within
from tests.test_datagram import File
from tests.transfer.link import make_content

from .daemons import acting, serving
from .streams import endings

ROOT = Path(__file__).parents[2]


class Ended:
    """What became of a program."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.status = done.returncode
        self.out = done.stdout.decode()
        self.err = done.stderr.decode()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}


def run(*words: str, cwd: Path | None = None, text: str = "") -> Deferred[Ended]:
    """Run ``pychat`` to its end, in a thread, while the reactor serves."""

    def blocking() -> Ended:
        command = [sys.executable, "-m", "pychat", *words]
        return Ended(
            subprocess.run(
                command, input=text.encode(), capture_output=True, cwd=cwd, env=environment(), timeout=60
            )
        )

    return deferToThread(blocking)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "files" / "a").mkdir(parents=True)
    (tmp_path / "files" / "a" / "b.txt").write_bytes(b"hello")
    (tmp_path / "files" / "Käse 1.txt").write_bytes(b"x" * 70_000)
    (tmp_path / "files" / "empty").write_bytes(b"")
    (tmp_path / "here").mkdir()
    return tmp_path


@pytest_twisted.ensureDeferred
@within(90)
async def test_get(shelf: Path) -> None:
    """A file arrives under its last name, and the digest can be checked by sha256sum."""
    here = shelf / "here"
    async with serving(shelf) as port:
        got = await run("get", f"127.0.0.1:{port}", "Käse 1.txt", cwd=here)
        digest = hashlib.sha256(b"x" * 70_000).hexdigest()
        assert (got.status, got.out, got.err) == (0, f"{digest}  Käse 1.txt\n", "")
        assert (here / "Käse 1.txt").read_bytes() == b"x" * 70_000
        got = await run("get", f"127.0.0.1:{port}", "a/b.txt", "-q", cwd=here)
        assert (got.status, got.out.split()[1]) == (0, "b.txt")


@pytest_twisted.ensureDeferred
@within(90)
async def test_get_somewhere(shelf: Path) -> None:
    """-o names a file or a folder; what is there is replaced only by --force."""
    here = shelf / "here"
    async with serving(shelf) as port:
        address = f"127.0.0.1:{port}"
        got = await run("get", address, "empty", "-o", str(here))
        assert (got.status, got.out.split()[1]) == (0, str(here / "empty"))
        (here / "mine").write_text("mine")
        got = await run("get", address, "a/b.txt", "-o", "mine", cwd=here)
        assert (got.status, got.out) == (1, "")
        assert got.err == "pychat: mine exists already. Say --force to replace it, or -o with another name.\n"
        assert (here / "mine").read_text() == "mine"
        got = await run("get", address, "a/b.txt", "-o", "mine", "--force", cwd=here)
        assert (got.status, (here / "mine").read_text()) == (0, "hello")
        assert sorted(path.name for path in here.iterdir()) == ["empty", "mine"]


@pytest_twisted.ensureDeferred
@within(90)
async def test_get_fails(shelf: Path) -> None:
    """Whatever goes wrong is one line on standard error, status 1, and no file."""
    here = shelf / "here"
    async with serving(shelf) as port:
        for words, said in (
            ((f"127.0.0.1:{port}", "../nope"), "There is no file"),
            ((f"127.0.0.1:{port}", "a"), "There is no file"),
            ((f"127.0.0.1:{port}", "empty", "-o", "no/where"), "There is no folder no."),
            (("127.0.0.1:1", "empty"), "Nobody listens at 127.0.0.1:1."),
        ):
            got = await run("get", *words, cwd=here)
            assert (got.status, got.out, got.err.count("\n")) == (1, "", 1)
            assert got.err.startswith(f"pychat: {said}")
        assert list(here.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(90)
async def test_files(shelf: Path) -> None:
    """Sizes and names, a TAB between them."""
    async with serving(shelf) as port:
        got = await run("files", f"127.0.0.1:{port}")
    assert (got.status, got.err) == (0, "")
    assert sorted(got.out.splitlines()) == ["0\tempty", "5\ta/b.txt", "70000\tKäse 1.txt"]


@pytest_twisted.ensureDeferred
@within(90)
async def test_files_of_a_hostile_daemon() -> None:
    """Names that would do something to a terminal are escaped; what was left out is said."""
    lines = b"<file size=1 label=~2>\x1b[2J\n<files count=1 left_out=7 label=~2>\n"
    async with acting(lambda verb, line: lines if verb == b"listfiles" else None) as (port, _):
        got = await run("files", f"127.0.0.1:{port}")
    assert (got.status, got.out) == (0, "1\t\\x1b[2J\n")
    assert got.err == "pychat: 7 more files are not listed, for there are so many.\n"


@pytest_twisted.ensureDeferred
@within(90)
async def test_chat(shelf: Path) -> None:
    """A chat in a pipe: everything is sent, answered and fetched."""
    here = shelf / "here"
    async with serving(shelf) as port:
        said = "<set_msg_all>hi\n<download>a/b.txt\n"
        got = await run("chat", f"127.0.0.1:{port}", "--name", "bob", "--folder", str(here), text=said)
        assert (got.status, got.err) == (0, "")
        assert "<accepted id=1>all" in got.out.splitlines()
        assert (here / "b.txt").read_bytes() == b"hello"
        got = await run("chat", f"127.0.0.1:{port}", "--name", "bob", text="<dance>\n")
        assert (got.status, got.err) == (1, "")
    got = await run("chat", f"127.0.0.1:{port}", "--name", "bob", text="<dance>\n")
    assert (got.status, got.out) == (1, "")
    assert got.err.startswith("pychat: Nobody listens")


@pytest_twisted.ensureDeferred
@within(90)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_get_interrupted(shelf: Path, number: int) -> None:
    """A signal ends a download: the status says so, and nothing is left of it."""
    offer = (
        b"<offer label=~2 size=5 version=v port=9 transfer=0102030405060708 "
        b"token=" + b"ab" * 16 + b" key=" + b"cd" * 32 + b">x\n"
    )
    asked: Deferred[None] = Deferred()

    def script(verb: bytes, line: bytes) -> bytes | None:
        if verb != b"download":
            return None
        asked.callback(None)
        return offer

    async with acting(script) as (port, stage):
        program = subprocess.Popen(
            [sys.executable, "-m", "pychat", "get", f"127.0.0.1:{port}", "x"],
            cwd=shelf / "here", env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        endings.append(program.kill)
        await asked
        program.send_signal(number)
        out, err = await deferToThread(program.communicate, timeout=60)
        await stage.gone
    assert (program.returncode, out, err) == (128 + number, b"", b"")
    assert list((shelf / "here").iterdir()) == []


@pytest_twisted.ensureDeferred
@within(90)
async def test_get_from_a_daemon_that_dies(shelf: Path) -> None:
    """A chat connection that breaks, and silence: that is enough to know."""
    protocol = TransferProtocol(reactor)
    listening: Any = listen_udp(reactor, protocol, "127.0.0.1", 0)
    died: list[float] = []

    class Deadly(File):
        def read(self, offset: int, length: int) -> bytes:
            if offset > 1_000_000 and not died:
                died.append(time.monotonic())
                reactor.callFromThread(die)  # type: ignore[attr-defined]
            return super().read(offset, length)

    def die() -> None:
        listening.stopReading()
        protocol._turn = lambda sending: None  # type: ignore[method-assign]
        stage.actor.transport.abortConnection()

    terms = protocol.offer(Deadly(make_content(30_000_000)), "bob")
    offer = (
        f"<offer label=~2 size={terms.size} version=v port={listening.getHost().port} "
        f"transfer={terms.transfer.hex()} token={terms.token.hex()} key={terms.key.hex()}>x\n"
    ).encode()
    async with acting(lambda verb, line: offer if verb == b"download" else None) as (port, stage):
        got = await run("get", f"127.0.0.1:{port}", "x", cwd=shelf / "here")
        took = time.monotonic() - died[0]
    await maybeDeferred(listening.stopListening)
    assert (got.status, got.out, got.err) == (1, "", f"pychat: {TIMED_OUT}\n")
    assert took < 15
    assert list((shelf / "here").iterdir()) == []


@pytest_twisted.ensureDeferred
@within(90)
async def test_get_without_the_line(shelf: Path) -> None:
    """A chat connection that breaks ends no download that goes on."""
    protocol = TransferProtocol(reactor)
    listening: Any = listen_udp(reactor, protocol, "127.0.0.1", 0)
    content = make_content(3_000_000)

    asked: SimpleQueue[None] = SimpleQueue()
    take = protocol.datagramReceived

    def count(datagram: bytes, addr: Any) -> None:
        asked.put(None)
        take(datagram, addr)

    protocol.datagramReceived = count  # type: ignore[method-assign]

    class Slow(File):
        def read(self, offset: int, length: int) -> bytes:
            if not offset:
                reactor.callFromThread(lambda: stage.actor.transport.abortConnection())  # type: ignore[attr-defined]
                # It asks and is answered, past the four seconds that it would take without an answer.
                patience = time.monotonic() + 5
                while time.monotonic() < patience:
                    asked.get(timeout=30)
            return super().read(offset, length)

    terms = protocol.offer(Slow(content), "bob")
    offer = (
        f"<offer label=~2 size={terms.size} version=v port={listening.getHost().port} "
        f"transfer={terms.transfer.hex()} token={terms.token.hex()} key={terms.key.hex()}>x\n"
    ).encode()
    async with acting(lambda verb, line: offer if verb == b"download" else None) as (port, stage):
        got = await run("get", f"127.0.0.1:{port}", "x", cwd=shelf / "here")
    await maybeDeferred(listening.stopListening)
    assert (got.status, got.err) == (0, "")
    assert (shelf / "here" / "x").read_bytes() == content


def usage(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a wrong command line is answered with."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "COMMAND"),
        (("dance",), "dance"),
        (("get",), "HOST"),
        (("get", "host"), "NAME"),
        (("get", "host", "x", "-o", "-"), "standard output"),
        (("get", "host", "x", "-o", ""), "missing"),
        (("files", "host:99999"), "99999 is not a port"),
        (("files", "host:0"), "0 is not a port"),
        (("files", "a:b:c:d!"), "not HOST or HOST:PORT"),
        (("chat", "host", "--folder", "/no/such/folder"), "not a folder"),
        (("chat", "host", "--colour"), "--colour"),
    ],
)
def test_usage(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    """A wrong command line is one line and status 2."""
    line = usage(capsys, *words)
    assert said in line
    assert "--help" in line


@pytest.mark.parametrize("words", [("--help",), ("chat", "--help"), ("get", "--help"), ("files", "--help")])
def test_help(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    """Help has examples or the exit statuses."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "exit status:" in out or "examples:" in out
    assert all(len(line) <= 120 for line in out.splitlines())


def test_help_of_chat(capsys: pytest.CaptureFixture[str]) -> None:
    """It tells of rooms, and of what is pasted."""
    with pytest.raises(SystemExit):
        main(("chat", "--help"))
    out = capsys.readouterr().out
    assert "<join>#tea" in out
    assert "Several lines that you paste" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is the package's."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"pychat {__version__}\n"


@pytest_twisted.ensureDeferred
@within(90)
async def test_serve_usage() -> None:
    """serve has the daemon's options; a wrong one is one line."""
    got = await run("serve", "--dance")
    assert (got.status, got.out, got.err.count("\n")) == (2, "", 1)
    got = await run("serve", "--help")
    assert got.status == 0
    assert "--listen" in got.out


@pytest_twisted.ensureDeferred
@within(90)
async def test_serve_cannot_start(shelf: Path) -> None:
    """A port that is in use is one line and status 1."""
    async with serving(shelf) as port:
        got = await run("serve", "--listen", f"tcp:{port}:interface=127.0.0.1", cwd=shelf)
    assert (got.status, got.err.count("\n")) == (1, 1)
    assert got.err.startswith("pychat: Cannot listen on ")


@pytest_twisted.ensureDeferred
@within(90)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serve(shelf: Path, number: int) -> None:
    """serve serves, logs to standard output, and ends with status 0 when it is told to."""
    program = subprocess.Popen(
        [sys.executable, "-m", "pychat", "serve", "--listen", "tcp:0:interface=127.0.0.1"],
        cwd=shelf, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    endings.append(program.kill)
    assert program.stdout is not None
    log: list[bytes] = []
    while b"Sending files from UDP" not in b"".join(log[-1:]):
        log.append(await deferToThread(program.stdout.readline))
        assert log[-1], b"".join(log)
    (join,) = (line for line in log if b"To join, type: nc 127.0.0.1 " in line)
    got = await run("files", f"127.0.0.1:{int(join.split()[-1])}")
    assert (got.status, got.out.count("\n")) == (0, 3)
    program.send_signal(number)
    _, err = await deferToThread(program.communicate, timeout=60)
    assert (program.returncode, err) == (0, b"")
