"""The benchmarks of files and of the chat run, and print their tables; whether targets are met is not CI's to say."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from .programs import environment

pytestmark = pytest.mark.system

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def benchmark(
    *arguments: str, program: str = "transfer.py", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run one; what it printed."""
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / program), *arguments],
        env=environment(PYCHAT_LINK="", **variables), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def test_a_short_run_on_loopback() -> None:
    """A table with what was asked for beside what was measured."""
    done = benchmark("--quick", "--only", "loopback", "--no-peers", "--megabytes", "20")
    assert done.returncode in (0, 1), done.stderr
    assert "≥ 400 MB/s" in done.stdout, done.stderr
    assert "failed" not in done.stdout
    assert "CPU-s per GB" in done.stdout


def test_what_needs_a_link_says_so() -> None:
    """Without a command that raises one it measures nothing."""
    done = benchmark("--only", "100/20")
    assert done.returncode == 1
    assert "--link COMMAND" in done.stderr


def chat(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run that of the chat."""
    return benchmark(*arguments, program="chat.py")


def load(**figures: float) -> str:
    """A generator that only prints these."""
    told = json.dumps({"n": 10, "logged_in": 10, **figures})
    return shlex.join([sys.executable, "-c", f"print({told!r})"])


def test_a_short_run_of_the_chat() -> None:
    """The built-in load finds nothing lost, with either journal."""
    done = chat("--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| people10000 ")]
    assert [row.split(" | ")[1].strip() for row in rows] == ["memory", "sqlite"]
    assert done.stdout.count("nothing lost, twice or out of order") == 2 * 5


def test_targets_of_the_chat() -> None:
    """What a generator says is judged, and the exit status says it."""
    only = ("--only", "idle5000", "--journal", "memory", "--runs", "1", "--no-peers")
    met = chat(*only, "--load", load(kib_per_conn=2.5))
    assert (met.returncode, "2.50 (≤ 2.70)" in met.stdout, "| met" in met.stdout) == (0, True, True), (
        met.stderr
    )
    missed = chat(*only, "--load", load(kib_per_conn=2.9))
    assert (missed.returncode, "| MISSED |" in missed.stdout) == (1, True), missed.stderr


def test_a_lost_message_is_a_missed_target() -> None:
    """However fast it went."""
    done = chat(
        "--only", "people10000", "--journal", "memory", "--runs", "1", "--load",
        load(us_per_delivery=0.1, lost=1),
    )  # fmt: skip
    assert done.returncode == 1
    assert "1 lost" in done.stdout
    assert "MISSED" in done.stdout


@pytest.mark.parametrize(
    "arguments", [("--only", "no-such-case"), ("--runs", "0"), ("--load", "./no-such-load")]
)
def test_wrong_usage_of_the_chat(arguments: tuple[str, ...]) -> None:
    """Measures nothing."""
    done = chat(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr


def test_the_load_finds_what_is_wrong() -> None:
    """One of five messages lost, one twice, one late."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Thread(target=deliver, args=(listener, (0, 2, 1, 3, 3)), daemon=True)
    server.start()
    done = benchmark(
        "pychat", "bcast2", "--rate", "500", "--msgs", "5", program="chat_load.py",
        PORT=str(listener.getsockname()[1]), PID=str(os.getpid()),
    )  # fmt: skip
    server.join(10)
    listener.close()
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 1
    assert {key: told[key] for key in ("deliveries", "lost", "duplicated", "out_of_order", "unexpected")} == {
        "deliveries": 4, "lost": 1, "duplicated": 1, "out_of_order": 1, "unexpected": 0,
    }  # fmt: skip


def deliver(listener: socket.socket, order: tuple[int, ...]) -> None:
    """A daemon for two people, which passes on what the first says in such an order."""
    people = [listener.accept()[0] for _ in range(2)]
    for number, person in enumerate(people):
        person.sendall(b"<connected>u%d\n" % number)
    with people[0].makefile("rb") as lines, people[0], people[1]:
        lines.readline()
        said = [lines.readline().removeprefix(b"<set_msg_all>") for _ in range(5)]
        people[1].sendall(b"".join(b"<msg id=1 from=u0 to=all>" + said[number] for number in order))
        with contextlib.suppress(ConnectionResetError):
            lines.read()
