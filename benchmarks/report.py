"""The two tables: what was asked for beside what was measured."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pychat.announcing import COMPILED

OK, MISSED, UNMEASURED, TOLD = "met", "MISSED", "not measured", ""


@dataclass
class Row:
    """One line of a table."""

    name: str
    """How ``--only`` calls it."""
    cells: list[str] = field(default_factory=list)
    verdict: str = TOLD
    """Met, missed, not measured, or nothing for what is only reported."""


def table(headings: Iterable[str], rows: Iterable[Row]) -> str:
    """A table in Markdown, its columns aligned, with a last one for the verdicts."""
    lines = [[*headings, ""], *([*row.cells, row.verdict] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in ruled
    )


def judged(met: bool) -> str:
    """The verdict on one target."""
    return OK if met else MISSED


def stolen() -> tuple[float, float]:
    """Seconds of all processors so far, and those of them that the host of this machine took (Linux)."""
    try:
        fields = [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except OSError:
        return 0.0, 0.0
    tick = os.sysconf("SC_CLK_TCK")
    return sum(fields) / tick, fields[7] / tick


class Surroundings:
    """Date, machine, and what else went on there."""

    def __init__(self, busy: bool) -> None:
        self._busy = busy
        self._began = stolen()
        self._load = load()

    def told(self) -> str:
        """A line or two to stand above the tables."""
        total, taken = (now - then for now, then in zip(stolen(), self._began, strict=True))
        lines = [
            time.strftime("%Y-%m-%d %H:%M %Z"),
            f"{processor()}, {os.cpu_count()} processors",
            f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}"
            f"{', compiled' if COMPILED else ''}",
            f"load {self._load} before and {load()} after, steal {100 * taken / total if total else 0:.1f} %",
            "one idle-priority busy loop a processor, to keep them awake" if self._busy else "",
        ]
        return "; ".join(filter(None, lines)) + "."


def load() -> str:
    """How many programs wanted to run in the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"


def processor() -> str:
    """Its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
