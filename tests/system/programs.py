"""Programs that tests run as people do: the daemon, ``nc``, ``telnet``, a terminal; each is ended by its own pid.

Nothing here sleeps for a fixed time: whoever waits, waits for output or for the end of a program, with a deadline.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import NoReturn, TypeVar

PATIENCE = 20.0
"""Seconds to wait for what takes a moment; generous, for the machine may be busy."""

SCRIPTS = Path(sys.executable).parent
"""Where the environment that runs the tests has its programs."""

PYCHAT = (str(SCRIPTS / "pychat"),)

RUNNERS: dict[str, tuple[str, ...]] = {
    "twistd": (str(SCRIPTS / "twistd"), "-n", "pychat"),
    "twist": (str(SCRIPTS / "twist"), "--log-format=text", "pychat"),
    "serve": (*PYCHAT, "serve"),
}
"""The three commands that run the daemon."""

T = TypeVar("T")


def environment(**more: str) -> dict[str, str]:
    """What our programs see of the environment: nothing that measures coverage or sets options for Python."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "PYTEST", "PYTHON", "TMUX"))}
    if "PYTHONPATH" in os.environ:
        kept["PYTHONPATH"] = os.environ["PYTHONPATH"]
    return {**kept, "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8", "TERM": "xterm", **more}


def run_module(module: str, *arguments: str, seconds: float = 110) -> tuple[int, str]:
    """Run a module of ours to its end; return its status and what it wrote."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=Path(__file__).parents[2], env=environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            wrote, _ = process.communicate(timeout=seconds)
        except BaseException:
            process.terminate()  # what it has started goes with it
            raise
    return process.returncode, wrote


def until(look: Callable[[], T | None], what: str, seconds: float = PATIENCE) -> T:
    """Look every now and then until there is something to see, and return it."""
    pause = threading.Event()
    deadline = monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert monotonic() < deadline, f"{what}: not within {seconds:g} s"
        pause.wait(0.05)


class Program:
    """A running program whose output is read as it comes."""

    def __init__(self, *command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
        self.command = command
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment() if env is None else env,
        )
        self.pid = self._process.pid
        self._news = threading.Condition()
        self._heard = {"out": b"", "err": b""}
        self._open = 2
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: object) -> None:
        while data := stream.read1(65536):  # type: ignore[attr-defined]
            with self._news:
                self._heard[name] += data
                self._news.notify_all()
        with self._news:
            self._open -= 1
            self._news.notify_all()

    @property
    def out(self) -> str:
        """What it has written to its standard output so far."""
        return self._heard["out"].decode(errors="replace")

    @property
    def err(self) -> str:
        """What it has written to its standard error so far."""
        return self._heard["err"].decode(errors="replace")

    def type(self, text: str) -> None:
        """Give it a line on its standard input."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(text.encode() + b"\n")
        stdin.flush()

    def close_input(self) -> None:
        """There will be no more lines."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def shows(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait until its standard output matches."""
        deadline = monotonic() + seconds
        with self._news:
            while True:
                if match := re.search(pattern, self.out, re.MULTILINE):
                    return match
                left = deadline - monotonic()
                if left <= 0 or not self._open:
                    raise AssertionError(f"no {pattern!r} in:\n{self.out}\nerrors:\n{self.err}")
                self._news.wait(left)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def status(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.command} did not end within {seconds:g} s:\n{self.out}\n{self.err}"
            ) from None
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes of memory that it holds now, or with ``VmHWM`` the most that it ever held (Linux)."""
        # Under `ip netns exec` and its like the program has the same pid: they replace themselves.
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        assert match
        return int(match[1]) * 1024

    def memory_until_end(self, seconds: float) -> int:
        """Wait for its end; return the most memory that it held, looked at every now and then."""
        most = 0

        def ended() -> bool:
            nonlocal most
            # When it has ended nobody has waited for it yet, but there is nothing left to read.
            with contextlib.suppress(AssertionError):
                most = max(most, self.memory("VmHWM"))
            return self._process.poll() is not None

        until(ended, f"the end of {self.command}", seconds)
        return most

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        process = self._process
        if process.poll() is None:
            process.kill()
        process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class Daemon(Program):
    """A running chat."""

    host: str
    port: int
    udp_port: int

    def ready(self) -> Daemon:
        """Wait until it listens; learn where."""
        where = self.shows(r"Listening on \[?([\w.:]+?)\]?:(\d+)\. To join")
        self.host, self.port = where[1], int(where[2])
        self.udp_port = int(self.shows(r"Sending files from UDP .*:(\d+)$")[1])
        return self

    @property
    def address(self) -> str:
        """``HOST:PORT`` for a client on this machine."""
        return f"127.0.0.1:{self.port}"


def serve(
    folder: Path,
    *options: str,
    runner: Sequence[str] = RUNNERS["twistd"],
    listen: str = "tcp:0:interface=127.0.0.1",
    files: Path | None = None,
    prefix: Sequence[str] = (),
) -> Daemon:
    """Start a daemon and wait until it listens.  Use it as a context manager.

    :param folder: where it runs, with a shelf and a state of its own.
    :param prefix: what stands before the command, as ``ip netns exec …``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shelf = str(files or folder / "files")
    daemon = Daemon(
        *prefix, *runner, "--listen", listen, "--files", shelf, "--state", str(folder / "state"), *options,
        cwd=folder,
    )  # fmt: skip
    try:
        return daemon.ready()
    except BaseException:
        daemon.__exit__(None, None, None)
        raise


class Talker:
    """Somebody at a plain TCP connection."""

    def __init__(self, port: int, name: str = "", host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), timeout=PATIENCE)
        self._rest = b""
        self.hears("<welcome>")
        if name:
            self.say(f"<connect>{name}")
            self.hears("<connected")

    def say(self, line: str) -> None:
        """Send a line."""
        self.send(line.encode() + b"\n")

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def flood(self, data: bytes, seconds: float) -> NoReturn:
        """Send the same again and again, and read nothing.

        :raise TimeoutError: the other side has taken no more for so long.
        """
        self._socket.settimeout(seconds)
        while True:
            self._socket.sendall(data)

    def line(self, seconds: float = PATIENCE) -> str:
        """Receive the next line; empty at the end of the connection."""
        deadline = monotonic() + seconds
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.001, deadline - monotonic()))
            data = self._socket.recv(65536)
            if not data:
                return ""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def hears(self, pattern: str, seconds: float = PATIENCE) -> str:
        """Skip lines until one matches from its start on, and return that one."""
        deadline = monotonic() + seconds
        skipped: list[str] = []
        while True:
            try:
                line = self.line(max(0.001, deadline - monotonic()))
            except TimeoutError:
                line = ""
            if re.match(pattern, line):
                return line
            assert line, f"no {pattern!r} but {skipped}"
            skipped.append(line)

    def hears_rest(self, seconds: float = PATIENCE) -> list[str]:
        """Everything up to the end of the connection."""
        deadline = monotonic() + seconds
        return list(iter(lambda: self.line(max(0.001, deadline - monotonic())), ""))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Terminal:
    """One screen of a tmux server."""

    def __init__(self, tmux: Callable[..., str], name: str) -> None:
        self._tmux = tmux
        self._name = name

    def type(self, text: str) -> None:
        """Type a line."""
        self._tmux("send-keys", "-t", self._name, "-l", text)
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press a key, by tmux' name for it."""
        self._tmux("send-keys", "-t", self._name, key)

    @property
    def screen(self) -> str:
        """What can be seen."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-", "-t", self._name)

    def shows(self, pattern: str, seconds: float = PATIENCE) -> None:
        """Wait until the screen matches."""
        try:
            until(lambda: re.search(pattern, self.screen, re.MULTILINE), pattern, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen shows:\n{self.screen.strip()}") from None


@contextlib.contextmanager
def terminals(folder: Path) -> Iterator[Callable[..., Terminal]]:
    """A tmux server of our own; what it yields opens a screen on which a command runs."""

    def tmux(*arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-u", "-f", os.devnull, "-S", str(folder / "tmux"), *arguments],
            env=environment(), check=True, capture_output=True, text=True, timeout=PATIENCE,
        ).stdout  # fmt: skip

    def open_screen(name: str, *command: str) -> Terminal:
        tmux(
            "new-session",
            "-d",
            "-s",
            name,
            "-x",
            "110",
            "-y",
            "40",
            "-c",
            str(folder),
            "exec " + shlex.join(command),
        )
        return Terminal(tmux, name)

    tmux("start-server", ";", "set", "-g", "exit-empty", "off", ";", "set", "-g", "remain-on-exit", "on")
    try:
        yield open_screen
    finally:
        tmux("kill-server")


class Network:
    """Two network namespaces, ``here`` and ``there``, with a cable between them (Linux, root)."""

    HERE = "192.0.2.1"
    ALSO_HERE = "192.0.2.2"
    THERE = "192.0.2.9"

    def __init__(self, tag: str) -> None:
        self.here = f"pychat-{os.getpid()}-{tag}-here"
        self.there = f"pychat-{os.getpid()}-{tag}-there"

    def __enter__(self) -> Network:
        try:
            for name in (self.here, self.there):
                run("ip", "netns", "add", name)
                ip(name, "link set lo up")
            ip(self.here, f"link add cable type veth peer name cable netns {self.there}")
            for name, *addresses in ((self.here, self.HERE, self.ALSO_HERE), (self.there, self.THERE)):
                for address in addresses:
                    ip(name, f"addr add {address}/24 dev cable")
                ip(name, "link set cable up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for name in (self.here, self.there):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def inside(self, name: str) -> tuple[str, ...]:
        """What to put before a command that shall run in one of them."""
        return ("ip", "netns", "exec", name)

    def vanish(self) -> None:
        """Let what is there be gone without a word: its packets and ours end nowhere, and no link goes down here."""
        match = re.search(r"link/ether ([0-9a-f:]+)", ip(self.there, "link show cable"))
        assert match
        # An entry that stays, or the kernel would notice by itself that nobody answers ARP.
        ip(self.here, f"neigh replace {self.THERE} lladdr {match[1]} dev cable nud permanent")
        ip(self.there, f"addr del {self.THERE}/24 dev cable")


def ip(namespace: str, command: str) -> str:
    """``ip`` in a network namespace."""
    return run("ip", "-n", namespace, *command.split())


def run(
    *command: str, cwd: Path | None = None, env: dict[str, str] | None = None, seconds: float = 60
) -> str:
    """Run a command that has to succeed; return its standard output."""
    done = subprocess.run(
        command, cwd=cwd, env=environment() if env is None else env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (
        f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout
