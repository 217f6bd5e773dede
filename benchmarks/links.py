"""A link between two places, and programs that run at its ends.

The link is raised by a command of yours, which takes these verbs (two ends, ``a`` and ``b``):

    COMMAND up --rate MBIT --delay MS --queue-ms MS [--loss PERCENT] [--ge P,R,BAD,GOOD] [--ab-rate …] [--ba-rate …]
    COMMAND a PROGRAM …     run it at the end where files are        COMMAND b PROGRAM …    at the other one
    COMMAND stats           a JSON object with "ab" and "ba", each with at least "drop_queue" and "in_bytes"
    COMMAND down

``a PROGRAM`` has to become the program (exec), for it is ended by its process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

TCP_BUFFERS = "4096 131072 33554432"
"""What TCP's buffers may grow to in these measurements, both ways: no limit of theirs is measured."""

SETTINGS = {
    "net.ipv4.tcp_rmem": TCP_BUFFERS,
    "net.ipv4.tcp_wmem": TCP_BUFFERS,
    "net.ipv4.tcp_no_metrics_save": "1",
    "net.ipv4.tcp_slow_start_after_idle": "1",
}

NEEDED = {
    "ip": "iproute2", "ping": "iputils-ping", "curl": "curl", "nginx": "nginx-light", "nft": "nftables",
    "chrt": "util-linux", "openssl": "openssl", "sysctl": "procps",
}  # fmt: skip
"""Programs, and the Debian package each comes in."""


def need(*programs: str) -> None:
    """Go on only if these are here; say what to install if not."""
    missing = [name for name in programs if not shutil.which(name, path=search_path())]
    if missing:
        packages = " ".join(NEEDED[name] for name in missing)
        sys.exit(f"{', '.join(missing)}: not here. Install: apt-get install {packages}")


def search_path() -> str:
    """Where programs are looked for: nginx and nft stand where a user's path does not go."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Ended(NamedTuple):
    """A program that has come to its end."""

    status: int
    wall: float
    cpu: float
    peak_kib: int
    out: str
    err: str


class Program:
    """A program that is running, its output kept in files."""

    def __init__(self, command: Sequence[str], *, cwd: Path | None = None) -> None:
        self.command = list(command)
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err, cwd=cwd,
            env={**os.environ, "PATH": search_path(), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self.pid = self._process.pid
        self._ended: Ended | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._ended is None and not self._collect(os.WNOHANG)

    def _collect(self, flags: int) -> bool:
        pid, status, used = os.wait4(self.pid, flags)
        if not pid:
            return False
        wall = time.monotonic() - self.began
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code  # or Popen would look for it again
        self._ended = Ended(
            code,
            wall,
            used.ru_utime + used.ru_stime,
            used.ru_maxrss,
            self.read(self._out),
            self.read(self._err),
        )
        return True

    @staticmethod
    def read(file: object) -> str:
        """All that was written to one of its outputs."""
        file.seek(0)  # type: ignore[attr-defined]
        text: str = file.read().decode(errors="replace")  # type: ignore[attr-defined]
        return text

    def wait(self, seconds: float = 600) -> Ended:
        """Its end; it is killed if that is not within so many seconds."""
        if self._ended is None:
            with killing_after(seconds, self):
                self._collect(0)
        assert self._ended is not None
        return self._ended

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there still."""
        if self.running:
            os.kill(self.pid, number)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 10) -> Ended:
        """Ask it to end, and kill it when it does not."""
        self.send(number)
        return self.wait(seconds)

    def output(self) -> str:
        """What it has written so far, both ways."""
        return self.read(self._out) + self.read(self._err)


@contextlib.contextmanager
def killing_after(seconds: float, program: Program) -> Iterator[None]:
    """Whoever waits in here waits so long at most."""
    timer = threading.Timer(seconds, os.kill, (program.pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run(command: Sequence[str], *, seconds: float = 600, cwd: Path | None = None) -> Ended:
    """Run a program to its end."""
    return Program(command, cwd=cwd).wait(seconds)


def must(command: Sequence[str], *, seconds: float = 60) -> str:
    """Run a program that has to succeed; what it wrote."""
    ended = run(command, seconds=seconds)
    if ended.status:
        raise SystemExit(f"{' '.join(command)} ended with {ended.status}: {ended.err.strip()}")
    return ended.out


class Link:
    """The link while it is up.

    :param command: what raises it, see the top of this module.
    :param options: for its ``up``.
    :param host: the address of its end ``a``; that of its end ``b`` is the next one.
    :ivar other: the address of its end ``b``.
    """

    def __init__(self, command: str, options: str, host: str = "10.77.0.1") -> None:
        self._command = command
        self._options = options
        self.host = host
        self.other = str(ip_address(host) + 1)

    def __enter__(self) -> Link:
        must([self._command, "up", *self._options.split()])
        try:
            for end in "ab":
                for name, value in SETTINGS.items():
                    # Not every one of them is a namespace's own on every kernel.
                    run(self.at(end, "sysctl", "-qw", f"{name}={value}"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        must([self._command, "down"])

    def at(self, end: str, *program: str) -> list[str]:
        """The command that runs a program at one end."""
        return [self._command, end, *program]

    def stats(self) -> dict[str, dict[str, float]]:
        """What it has carried and dropped so far, by direction."""
        stats: dict[str, dict[str, float]] = json.loads(must([self._command, "stats"]))
        return stats

    def congestion_control(self, name: str) -> None:
        """Choose TCP's congestion control for connections to come, at both ends."""
        for end in "ab":
            must(self.at(end, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={name}"))
            chosen = must(self.at(end, "sysctl", "-n", "net.ipv4.tcp_congestion_control")).strip()
            if chosen != name:
                raise SystemExit(f"TCP's congestion control is {chosen} at {end}, and not {name}")


def allow_congestion_controls(*names: str) -> None:
    """Let namespaces choose these; a setting of the machine's, which stays."""
    key = "net.ipv4.tcp_allowed_congestion_control"
    allowed = must(["sysctl", "-n", key]).split()
    missing = [name for name in names if name not in allowed]
    if missing:
        must(["sysctl", "-qw", f"{key}={' '.join([*allowed, *missing])}"])


class Pinging:
    """``ping`` beside something else; round trips in milliseconds."""

    def __init__(self, prefix: Sequence[str], host: str, every: float = 0.02) -> None:
        self._program = Program([*prefix, "ping", "-n", "-i", f"{every:g}", host])

    def end(self) -> list[float]:
        """Stop, and return every round trip."""
        ended = self._program.end(signal.SIGINT)
        return [float(found) for found in re.findall(r"time=([\d.]+) ms", ended.out)]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def jain(rates: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all have the same, 1/n when one has all."""
    squares = len(rates) * sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / squares if squares else 0.0


def median(values: Sequence[float]) -> float:
    """Their median; not a number when there is none."""
    return statistics.median(values) if values else float("nan")


class Counters:
    """Bytes by flow that arrive at the end ``b``, counted by the kernel: UDP and TCP by the port here.

    Bytes of IP packets, so headers and what came twice are in.
    """

    _TABLE = "inet pychat_bench"

    def __init__(self, link: Link) -> None:
        self._link = link
        self._nft(
            f"add table {self._TABLE};"
            f"add set {self._TABLE} flows "
            "{ typeof meta l4proto . th dport; size 4096; flags dynamic; };"
            f"add chain {self._TABLE} arriving {{ type filter hook input priority 0; }};"
            f"add rule {self._TABLE} arriving meta l4proto {{ tcp, udp }}"
            " update @flows { meta l4proto . th dport counter }"
        )

    def _nft(self, *words: str) -> str:
        return must(self._link.at("b", "nft", *words))

    def read(self) -> dict[tuple[str, int], int]:
        """Bytes so far, by protocol and port."""
        listing = self._nft(*f"list set {self._TABLE} flows".split())
        found = re.findall(r"(tcp|udp) \. (\d+) counter packets \d+ bytes (\d+)", listing)
        return {(protocol, int(port)): int(count) for protocol, port, count in found}

    def remove(self) -> None:
        """Count no longer."""
        self._nft(*f"delete table {self._TABLE}".split())
