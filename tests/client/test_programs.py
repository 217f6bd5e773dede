"""Tests of the command line as scripts see it: output, exit status, one line for what went wrong."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pychat import __version__
from pychat.__main__ import main
from tests.guards import within

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
        assert got.err == (
            "pychat: mine exists already, and is not the file that the shelf has. Say --force to replace it, or -o with"
            " another name.\n"
        )
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
        objects = await run("files", f"127.0.0.1:{port}", "--json")
    assert {"name": "a/b.txt", "bytes": 5} in [json.loads(line) for line in objects.out.splitlines()]
    assert (got.status, got.err) == (0, "")
    assert sorted(got.out.splitlines()) == ["0\tempty", "5\ta/b.txt", "70000\tKäse 1.txt"]


@pytest_twisted.ensureDeferred
@within(90)
async def test_files_of_a_hostile_daemon() -> None:
    """Names that would do something to a terminal are escaped; what was left out is said."""
    for count, said in ((7, "7 more files are"), (1, "1 more file is")):
        lines = b"<file size=1 label=~2>\x1b[2J\n<files count=1 left_out=%d label=~2>\n" % count
        async with acting(lambda verb, line, lines=lines: lines if verb == b"listfiles" else None) as (
            port,
            _,
        ):  # type: ignore[misc]
            got = await run("files", f"127.0.0.1:{port}")
        assert (got.status, got.out) == (0, "1\t\\x1b[2J\n")
        assert got.err == f"pychat: {said} not listed, for there are so many.\n"


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


class Served:
    """A daemon of its own, to be killed."""

    def __init__(self, folder: Path, port: int = 0, *more: str) -> None:
        self.program = subprocess.Popen(
            [sys.executable, "-m", "pychat", "serve", "--listen", f"tcp:{port}:interface=127.0.0.1", *more],
            cwd=folder, env=environment(), stdout=subprocess.PIPE,
        )  # fmt: skip
        endings.append(self.program.kill)

    async def ready(self) -> int:
        """Its port, once it listens."""
        assert self.program.stdout is not None
        port = 0
        while True:
            line = await deferToThread(self.program.stdout.readline)
            assert line
            if b"To join, type: nc 127.0.0.1 " in line:
                port = int(line.split()[-1])
            if b"Sending files from UDP" in line:
                return port

    def kill(self) -> None:
        self.program.kill()
        self.program.communicate()


SLOW = ("--rate-limit", "10M")


async def grown(path: Path, nbytes: int) -> None:
    """Wait until a file has so many bytes."""
    while not path.exists() or path.stat().st_size < nbytes:
        await deferLater(reactor, 0.01)  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
@within(90)
async def test_get_from_a_daemon_that_dies(shelf: Path) -> None:
    """A daemon that is killed and started again costs a word on standard error, and no byte twice."""
    here, content = shelf / "here", os.urandom(10_000_000)
    (shelf / "files" / "big").write_bytes(content)
    first = Served(shelf, 0, *SLOW)
    port = await first.ready()
    getting = run("get", f"127.0.0.1:{port}", "big", "--json", cwd=here)
    await grown(here / "big.part", 2_000_000)
    first.kill()
    second = Served(shelf, port)
    try:
        got = await getting
    finally:
        second.kill()
    assert (got.status, json.loads(got.out)["bytes"]) == (0, len(content))
    assert "connection lost" in got.err
    assert "big: resuming at " in got.err
    assert (here / "big").read_bytes() == content


@pytest_twisted.ensureDeferred
@within(90)
async def test_get_killed(shelf: Path) -> None:
    """A client that is killed leaves what came, and the next one goes on from there."""
    here, content = shelf / "here", os.urandom(10_000_000)
    (shelf / "files" / "big").write_bytes(content)
    async with serving(shelf, 0, *SLOW) as port:
        program = subprocess.Popen(
            [sys.executable, "-m", "pychat", "get", f"127.0.0.1:{port}", "big"], cwd=here, env=environment()
        )
        endings.append(program.kill)
        await grown(here / "big.part", 2_000_000)
        program.kill()
        program.wait()
        got = await run("get", f"127.0.0.1:{port}", "big", "--json", cwd=here)
    assert got.status == 0
    assert json.loads(got.out)["resumed"] >= 1_000_000
    assert (here / "big").read_bytes() == content
    assert [path.name for path in here.iterdir()] == ["big"]


@pytest_twisted.ensureDeferred
@within(90)
async def test_put(shelf: Path) -> None:
    """A file gets there, with its digest for sha256sum; again does no harm, and another one is refused."""
    (shelf / "here" / "x").write_bytes(b"hello")
    async with serving(shelf) as port:
        words = ("put", f"127.0.0.1:{port}", "x", "--as", "a/y", "--name", "bob")
        got = await run(*words, cwd=shelf / "here")
        assert (got.status, got.out) == (0, f"{hashlib.sha256(b'hello').hexdigest()}  x\n")
        assert (shelf / "files" / "a" / "y").read_bytes() == b"hello"
        again = await run(*words, cwd=shelf / "here")
        assert (again.status, again.out) == (0, got.out)
        (shelf / "here" / "x").write_bytes(b"other")
        got = await run(*words, cwd=shelf / "here")
    assert (got.status, got.out, got.err.count("\n")) == (1, "", 1)
    assert "--as" in got.err


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
        (("get", "host", "x", "--jobs", "0"), "not a number from 1 to 64"),
        (("get", "host", "x", "--patience", "soon"), "not a number from 1 to"),
        (("put", "host"), "FILE"),
        (("chat", "alice@host"), "no machine: your name stands behind --name, as in host --name alice. Type"),
        (("put", "Ann Lee@host:7", "x"), "as in host:7 --name 'Ann Lee'. Type: pychat put --help"),
        (("chat", "@"), "as in HOST --name NAME. Type"),
        (
            ("get", "alice@::1", "x"),
            "'alice@::1' is no machine, and nobody needs a name here: write ::1. Type",
        ),
        (("files", "alice@host:99"), "write host:99. Type: pychat files --help"),
        (("status", "alice@"), "write HOST. Type: pychat status --help"),
        (("files", "host:99999"), "99999 is not a port"),
        (("files", "host:0"), "0 is not a port"),
        (("files", "a:b:c:d!"), "not HOST or HOST:PORT"),
        (("chat", "host", "--folder", "/no/such/folder"), "not a folder"),
        (("chat", "host", "--colour"), "unrecognized arguments: --colour. Type: pychat chat --help"),
        (
            ("get", "host", "a", "-dash.txt"),
            "-dash.txt. A name that begins with - comes after --. Type: pychat get --help",
        ),
        (
            ("chat", "host", "50000"),
            "The port stands behind a colon: pychat chat host:50000. Type: pychat chat --help",
        ),
        (("files", "::1", "7"), "The port stands behind a colon: pychat files [::1]:7. Type"),
        (("status", "50001"), "'50001' is no machine; for this port of this one write 127.0.0.1:50001. Type"),
        (("files", "host", "more"), "pychat files: unrecognized arguments: more. Type: pychat files --help"),
    ],
)
def test_usage(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    """A wrong command line is one line and status 2."""
    line = usage(capsys, *words)
    assert said in line
    assert "--help" in line


@pytest.mark.parametrize(
    "words",
    [
        ("--help",), ("chat", "--help"), ("get", "--help"), ("put", "--help"), ("files", "--help"),
        ("status", "--help"), ("help",), ("help", "chat"), ("help", "help"), ("help", "journal"),
        ("help", "journal", "check"), ("journal", "backup", "--help"), ("help", "journal", "prune"),
    ],
)  # fmt: skip
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


def test_help_of_the_last_word(capsys: pytest.CaptureFixture[str]) -> None:
    """Behind help may stand a command of a command."""
    with pytest.raises(SystemExit):
        main(("help", "journal", "prune"))
    assert capsys.readouterr().out.startswith("usage: pychat journal prune ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is the package's."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"pychat {__version__}\n"


def printed_to(stdout: int, *words: str, unbuffered: str = "") -> tuple[int, str]:
    """Exit status and standard error of ``pychat`` whose output goes there."""
    done = subprocess.run(
        [sys.executable, "-m", "pychat", *words],
        stdout=stdout, stderr=subprocess.PIPE, timeout=60, env={**environment(), "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


def broken_pipe() -> int:
    """The end of a pipe whose other one is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    endings.append(lambda: os.close(writing))
    return writing


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such error")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [
        "help serve",
        "serve --version",
        "files HOST",
        "status HOST",
        "status HOST --json",
        "get HOST a/b.txt -q -o HERE",
    ],
)
@pytest_twisted.ensureDeferred
@within(90)
async def test_nobody_reads(shelf: Path, words: str, unbuffered: str) -> None:
    """Who prints into a pipe that nobody reads any more ends as SIGPIPE would end it, without a word."""
    async with serving(shelf) as port:
        meant = {"HOST": f"127.0.0.1:{port}", "HERE": str(shelf / "here")}
        given = [meant.get(word, word) for word in words.split()]
        got = await deferToThread(printed_to, broken_pipe(), *given, unbuffered=unbuffered)
    assert got == (141, "")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such error")
def test_nobody_reads_help() -> None:
    """So does help that is still in the buffer at the end."""
    for words in (("help",), ("help", "chat"), ("journal", "--help"), ("help", "journal", "check")):
        assert printed_to(broken_pipe(), *words) == (141, "")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no shell that closes it")
@pytest_twisted.ensureDeferred
@within(90)
async def test_closed_output(shelf: Path) -> None:
    """Who closed standard output gets no list, and is told so."""
    async with serving(shelf) as port:
        for words in (("files",), ("status",), ("status", "--json")):
            command = [sys.executable, "-m", "pychat", words[0], f"127.0.0.1:{port}", *words[1:]]
            done = await deferToThread(
                subprocess.run, ["sh", "-c", 'exec "$@" >&-', "sh", *command],
                stderr=subprocess.PIPE, timeout=60, env=environment(),
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (
                1,
                b"pychat: Standard output is closed: nobody gets what was found.\n",
            ), words


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk to write to")
@pytest_twisted.ensureDeferred
@within(90)
async def test_no_room_for_output(shelf: Path) -> None:
    """A full disk is one line and status 1."""
    full = os.open("/dev/full", os.O_WRONLY)
    endings.append(lambda: os.close(full))
    async with serving(shelf) as port:
        where = f"127.0.0.1:{port}"
        for words in (
            ("help", "chat"), ("help", "serve"), ("files", where), ("status", where),
            ("get", where, "a/b.txt", "-o", str(shelf / "here")),
        ):  # fmt: skip
            status, err = await deferToThread(printed_to, full, *words)
            assert (status, err) == (
                1,
                "pychat: Standard output cannot be written: No space left on device.\n",
            ), words


@pytest_twisted.ensureDeferred
@within(90)
async def test_serve_usage() -> None:
    """serve has the daemon's options; a wrong one is one line."""
    got = await run("serve", "--dance")
    assert (got.status, got.out, got.err.count("\n")) == (2, "", 1)
    for words, said in (
        (
            ("50001",),
            "pychat serve: '50001' stands there without its option: perhaps --listen tcp:50001 is meant. Type",
        ),
        (("--listen",), "pychat serve: option --listen requires argument. Type: pychat serve --help\n"),
    ):
        got = await run("serve", *words)
        assert (got.status, got.out, got.err.count("\n"), ".." in got.err) == (2, "", 1, False)
        assert got.err.startswith(said)
    for option in ("--help", "-h"):
        got = await run("serve", option)
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


@pytest_twisted.ensureDeferred
@within(90)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
async def test_serve_without_a_log(shelf: Path) -> None:
    """A daemon goes on when nobody reads its log any more, and that it ends well is told as ever."""
    program = subprocess.Popen(
        [sys.executable, "-m", "pychat", "serve", "--listen", "tcp:0:interface=127.0.0.1"],
        cwd=shelf, env={**environment(), "PYTHONUNBUFFERED": ""}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    endings.append(program.kill)
    assert program.stdout is not None
    lines = []
    while b"To join, type: nc 127.0.0.1 " not in b"".join(lines[-1:]):
        lines.append(await deferToThread(program.stdout.readline))
        assert lines[-1], lines
    program.stdout.close()
    got = await run("files", f"127.0.0.1:{int(lines[-1].split()[-1])}")
    assert (got.status, got.out.count("\n")) == (0, 3)
    program.send_signal(signal.SIGTERM)
    _, err = await deferToThread(program.communicate, timeout=60)
    assert (program.returncode, err) == (0, b"")
