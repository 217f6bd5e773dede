"""What the benchmarks share: a daemon in a process of its own, and what it costs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Daemon:
    """``twistd -n pychat`` on loopback, with a folder of its own."""

    def __init__(self, *options: str, cpu: int | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pychat-bench-"))
        self.files = self.folder / "files"
        self.files.mkdir()
        self.port = free_port()
        self._log = open(self.folder / "log", "wb")  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "pychat",
                "--listen", f"tcp:{self.port}:interface=127.0.0.1", "--files", str(self.files),
                "--state", str(self.folder / "state"), *options,
            ],
            stdout=self._log, stderr=self._log,
            cwd=self.folder,  # and not where the sources are, which would be imported in place of what is installed
        )  # fmt: skip
        self.pid = self._process.pid
        pin(self.pid, cpu)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"the daemon did not start:\n{(self.folder / 'log').read_text()}")
                time.sleep(0.05)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        self._log.close()
        shutil.rmtree(self.folder)

    def cpu_seconds(self) -> float:
        """CPU time it has used so far; not a number where the system has no /proc."""
        return cpu_seconds(self.pid)

    def rss_kib(self) -> int:
        """Resident memory in KiB; 0 where the system has no /proc."""
        return rss_kib(self.pid)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far; not a number where the system has no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kib(pid: int) -> int:
    """Resident memory of a process in KiB; 0 where the system has no /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def file_limit() -> float:
    """How many files and connections a process may have open, at most (``ulimit -Hn``)."""
    try:
        import resource
    except ImportError:
        return float("inf")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return float("inf") if hard == resource.RLIM_INFINITY else hard


def raise_file_limit() -> None:
    """Let this process have as many open as it may."""
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pin(pid: int, cpu: int | None) -> None:
    """Keep a process on one processor, where that can be done and there are several."""
    if cpu is not None and hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > cpu > -1:
        os.sched_setaffinity(pid, {cpu})
