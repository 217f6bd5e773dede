"""The real daemon and the real client, at the ends of a link or on loopback."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common import cpu_seconds, free_port
from links import Ended, Link, Program

CLIENT = [sys.executable, "-m", "pychat"]
DAEMON = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "pychat"]

NAME = "file.bin"


class Download(NamedTuple):
    """One ``pychat get`` that has come to its end, verified."""

    seconds: float
    """From the request leaving to the last byte verified, by the client's own clock."""
    wall: float
    """Of the client's process, from its start to its end."""
    client_cpu: float
    daemon_cpu: float
    client_peak_kib: int
    lost: int
    own_clock: bool
    """Whether the client told its seconds; if not they are the process's."""


class Failed(Exception):
    """A download did not arrive, or a daemon did not start."""


class Files:
    """Files of random bytes, and their digests; made once, shared by all daemons."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pychat-bench-"))
        self._digests: dict[Path, str] = {}

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def shelf(self, megabytes: float) -> Path:
        """A folder with one file, `NAME`, of so many MB (millions of bytes)."""
        folder = self.folder / f"{megabytes:g}"
        if not folder.exists():
            folder.mkdir()
            digest, left = hashlib.sha256(), int(megabytes * 1e6)
            with (folder / NAME).open("wb") as file:
                while left:
                    block = os.urandom(min(left, 1 << 20))
                    digest.update(block)
                    file.write(block)
                    left -= len(block)
            self._digests[folder] = digest.hexdigest()
        return folder

    def digest(self, shelf: Path) -> str:
        """SHA-256 of its file, in hexadecimal."""
        return self._digests[shelf]


class Daemon:
    """``twistd -n pychat`` at one end of a link, or on loopback; default settings but for where it listens.

    :param link: at its end ``a``; ``None`` for loopback.
    :param everywhere: listen on all addresses of that end.
    """

    def __init__(
        self, shelf: Path, link: Link | None = None, *options: str, everywhere: bool = False
    ) -> None:
        self.link = link
        self.host = link.host if link else "127.0.0.1"
        self.port = 50000 if link else free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="pychat-bench-"))
        command = [
            *DAEMON, "--listen", f"tcp:{self.port}" + ("" if everywhere else f":interface={self.host}"),
            "--files", str(shelf),
            "--state", str(self.folder / "state"), *options,
        ]  # fmt: skip
        self._program = Program(link.at("a", *command) if link else command, cwd=self.folder)
        self.pid = self._program.pid
        end = time.monotonic() + 30
        while f":{self.port}. To join" not in self._program.output():
            if not self._program.running or time.monotonic() > end:
                said = self._program.output()
                self.__exit__()
                raise Failed(f"the daemon did not start: {said.strip()}")
            time.sleep(0.05)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *error: object) -> None:
        self._program.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        return cpu_seconds(self.pid)

    def memory(self, field: str = "VmRSS") -> int:
        """KiB resident now, or with ``VmHWM`` the most there ever were."""
        found = re.search(
            rf"^{field}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE
        )
        assert found
        return int(found[1])

    def forget_peak(self) -> None:
        """Let ``VmHWM`` begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def get(self, target: Path, *options: str, host: str = "") -> Program:
        """Start a client at the other end.

        :param host: at which of the daemon's addresses, if it listens on several.
        """
        command = [
            *CLIENT, "get", f"{host or self.host}:{self.port}", NAME, "-o", str(target), "--force",
            *(["--json"] if "--json" in client_help() else ["--quiet"]), *options,
        ]  # fmt: skip
        return Program(self.link.at("b", *command) if self.link else command, cwd=self.folder)

    def download(self, digest: str, seconds: float = 240) -> Download:
        """Run one download to its end.

        :param digest: what the file has to have.
        :raise Failed: it did not arrive within so many seconds, or not as it was.
        """
        target = self.folder / "got.bin"
        before = self.cpu_seconds()
        ended = self.get(target).wait(seconds)
        if ended.status or digest not in ended.out:
            target.unlink(missing_ok=True)
            raise Failed(f"pychat get ended with {ended.status}: {(ended.err or ended.out).strip()[-300:]}")
        told = told_by(ended)
        target.unlink()
        return Download(
            float(told.get("seconds", ended.wall)), ended.wall, ended.cpu, self.cpu_seconds() - before,
            ended.peak_kib, int(told.get("lost", -1)), "seconds" in told,
        )  # fmt: skip


def told_by(ended: Ended) -> dict[str, float]:
    """The JSON object of the one file that a client got; empty when it has printed none."""
    for line in ended.out.splitlines():
        if line.startswith("{"):
            told: dict[str, float] = json.loads(line)
            return told
    return {}


@functools.cache
def client_help() -> str:
    """What ``pychat get --help`` says."""
    return _help([*CLIENT, "get", "--help"])


@functools.cache
def daemon_help() -> str:
    """What ``twistd pychat --help`` says."""
    return _help([*DAEMON, "--help"])


def _help(command: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder).stdout
