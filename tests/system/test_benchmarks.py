"""The benchmark of files runs, and prints its table; whether its targets are met is not CI's to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .programs import environment

pytestmark = pytest.mark.system

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "transfer.py"


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it; what it printed."""
    return subprocess.run(
        [sys.executable, str(BENCHMARK), *arguments],
        env=environment(PYCHAT_LINK=""), capture_output=True, text=True, timeout=100, check=False,
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
