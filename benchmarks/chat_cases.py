"""What the chat is measured by: the cases, what each is to reach, and the table of what it reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from report import MISSED, OK, TOLD, UNMEASURED, Row

MEMORY, SQLITE = "memory", "sqlite"
JOURNALS = (MEMORY, SQLITE)
PEERS = {"redis": "redis-server", "ngircd": "ngircd", "inspircd": "inspircd"}
"""Whom the chat is measured beside, and the program that each is."""
UNACKED = "the same without acks"
ALONE = ""
"""Against nothing: the limit itself."""

FAULTS = ("lost", "duplicated", "out_of_order", "unexpected", "dead")

MEMORY_KEYS = ("rss_before_kib", "rss_after_kib", "rss_end_kib")

Result = dict[str, Any]
"""What a generator printed after one run, or nothing if it failed."""


@dataclass(frozen=True)
class Metric:
    """One of the figures that a generator prints."""

    key: str
    unit: str
    digits: int
    least: bool = False
    """More of it is better."""

    def told(self, figure: float) -> str:
        return f"{figure:,.{self.digits}f}"


CPU = Metric("us_per_delivery", "µs", 3)
WEIGHT = Metric("kib_per_conn", "KiB", 2)
LOGINS = Metric("logins_per_s", "/s", 0, least=True)


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    title: str
    load: tuple[str, ...]
    """Case and flags of the generator."""
    quick: tuple[str, ...]
    """The same, in a second."""
    people: int
    targets: dict[str, dict[str, float]]
    """For each journal, against whom, and the limit of the ratio; of the figure itself if `ALONE`."""
    metric: Metric = CPU
    beside: tuple[str, ...] = ()
    """Peers that are shown without being a target."""
    acks: bool = False
    """Everybody acks: only the built-in generator does, and runs without them as well."""

    def peers(self) -> list[str]:
        """Whom it needs."""
        against = {peer for targets in self.targets.values() for peer in targets} | {*self.beside}
        return [peer for peer in PEERS if peer in against]


@dataclass(frozen=True)
class Contender:
    """What is measured in one run of a case."""

    name: str
    journal: str = ""
    """Ours has one."""
    flags: tuple[str, ...] = ()


@dataclass
class Measured:
    """The runs of one case, by contender, in their order."""

    case: Case
    runs: dict[str, list[Result]] = field(default_factory=dict)
    why_not: str = ""
    """Why it could not be measured."""

    def figures(self, contender: str) -> list[float]:
        """Of the runs that ended."""
        key = self.case.metric.key
        return [run[key] for run in self.runs.get(contender, []) if key in run]

    def median(self, contender: str) -> float | None:
        figures = self.figures(contender)
        return statistics.median(figures) if figures else None


def faults(run: Result) -> str:
    """What must not be, or nothing."""
    if not run:
        return "failed"
    missing = run.get("n", 0) - run.get("logged_in", 0)
    told = [f"{run[key]} {key.replace('_', ' ')}" for key in FAULTS if run.get(key)]
    return ", ".join([*told, *([f"{missing} not logged in"] if missing else [])])


def summary(case: Case, run: Result) -> str:
    """One run in a few words."""
    figure = run.get(case.metric.key)
    told = f"{case.metric.told(figure)} {case.metric.unit}" if figure is not None else ""
    return ", ".join(filter(None, [told, faults(run)]))


def contenders(case: Case, journals: Iterable[str], peers: Iterable[str]) -> list[Contender]:
    """In the order in which they take turns."""
    ours = []
    for journal in journals:
        if case.acks:
            ours.append(Contender(f"{journal}, {UNACKED}", journal))
        ours.append(Contender(journal, journal, ("--acks",) if case.acks else ()))
    return ours + [Contender(peer) for peer in case.peers() if peer in peers]


def row(measured: Measured, journals: Iterable[str], peers: Iterable[str], judged: bool) -> Row:
    """A case's line.

    :param peers: who have columns.
    :param judged: against its targets too, and not only by what was lost.
    """
    case = measured.case
    cells = [f"{case.title}, {case.metric.unit}"]
    cells += [_cell(measured, contender) for contender in (*JOURNALS, *peers)]
    verdicts = []
    for journal in JOURNALS:
        told = []
        if journal in journals and not measured.why_not:
            for against, limit in case.targets[journal].items() if judged else ():
                ratio, verdict = _compared(measured, journal, against, limit)
                told.append(ratio)
                verdicts.append(verdict)
            wrong, verdict = _wrong(measured, journal)
            if wrong or not told:
                told.append(wrong or "nothing lost, twice or out of order")
            verdicts.append(verdict if judged or verdict != OK else TOLD)
        cells.append("; ".join(told))
    if measured.why_not:
        cells[1], verdicts = measured.why_not, [UNMEASURED]
    verdict = next((verdict for verdict in (MISSED, UNMEASURED, OK) if verdict in verdicts), TOLD)
    return Row(case.name, cells, verdict)


def _wrong(measured: Measured, journal: str) -> tuple[str, str]:
    """What must not be in any run of ours, and the verdict on that."""
    runs = [run for name in (journal, f"{journal}, {UNACKED}") for run in measured.runs.get(name, [])]
    if not runs:
        return "no runs", UNMEASURED
    wrong = "; ".join(filter(None, map(faults, runs)))
    return wrong, MISSED if wrong else OK


def _cell(measured: Measured, contender: str) -> str:
    figures, told = measured.figures(contender), measured.case.metric.told
    if not figures:
        return "failed" if measured.runs.get(contender) else ""
    median = told(statistics.median(figures))
    return median if len(figures) == 1 else f"{median} ({told(min(figures))}-{told(max(figures))})"


def _compared(measured: Measured, journal: str, against: str, limit: float) -> tuple[str, str]:
    """A figure beside its target, and whether that is met."""
    metric = measured.case.metric
    sign = "≥" if metric.least else "≤"
    ours = measured.median(journal)
    if against == ALONE:
        theirs, told, of = 1.0, metric.told, ""
    else:
        name = f"{journal}, {UNACKED}" if against == UNACKED else against
        theirs, told, of = measured.median(name) or 0.0, "{:.2f}".format, f" of {against}"
    if ours is None or not theirs:
        return f"?{of} ({sign} {told(limit)})", UNMEASURED
    ratio = ours / theirs
    met = ratio >= limit if metric.least else ratio <= limit
    return f"{told(ratio)}{of} ({sign} {told(limit)})", OK if met else MISSED


def single(measured: Measured) -> Iterable[Row]:
    """All of its runs, a line each."""
    for name, runs in measured.runs.items():
        for number, run in enumerate(runs, 1):
            ours = name not in PEERS
            yield Row(
                measured.case.name,
                [
                    measured.case.name, name, str(number),
                    _figure(run, "us_per_delivery", "{:.3f}"), _figure(run, "deliveries_per_s", "{:,.0f}"),
                    _figure(run, "p50_us", "{:,.2f}", 1e3), _figure(run, "p99_us", "{:,.2f}", 1e3),
                    _figure(run, "logins_per_s", "{:,.0f}"), _figure(run, "kib_per_conn", "{:.2f}"),
                    " / ".join(_figure(run, key, "{:.0f}", 1024) for key in MEMORY_KEYS if key in run),
                    _figure(run, "gen_cpu_pct", "{:.0f}"), _figure(run, "steal_pct", "{:.1f}"),
                    _figure(run, "warnings", "{:.0f}"), faults(run) or "none",
                ],
                MISSED if ours and faults(run) else TOLD,
            )  # fmt: skip


def _figure(run: Result, key: str, form: str, unit: float = 1) -> str:
    return form.format(run[key] / unit) if key in run else ""


def headings(peers: Iterable[str]) -> tuple[str, ...]:
    """Of the table whose lines `row` makes."""
    targets = ("memory: ratio (target)", "SQLite: ratio (target)")
    return ("case", "ours (memory)", "ours (SQLite)", *peers, *targets)


SINGLE_HEADINGS = (
    "case", "server", "run", "CPU µs a delivery", "deliveries/s", "p50 ms", "p99 ms", "logins/s", "KiB a connection",
    "MiB before / after login / at the end", "generator CPU %", "steal %", "warnings logged",
    "lost, twice, out of order, …",
)  # fmt: skip

CASES = (
    Case(
        "sat100", "sat100, 100 in flight", ("sat100",), ("sat100", "--msgs", "40"), 100,
        {MEMORY: {"redis": 0.80, "ngircd": 0.35, "inspircd": 0.35}, SQLITE: {"redis": 1.15, "ngircd": 0.65}},
    ),
    Case(
        "sat100-window10", "sat100 --window 10, 500 in flight",
        ("sat100", "--window", "10"), ("sat100", "--window", "10", "--msgs", "100"), 100,
        {MEMORY: {"redis": 0.50}, SQLITE: {"redis": 0.55}},
    ),
    Case(
        "sat1000", "sat1000", ("sat1000",), ("sat300", "--msgs", "20"), 1000,
        {MEMORY: {"redis": 0.45}, SQLITE: {"redis": 0.50}},
    ),
    Case(
        "load100", "load100, 2,000 messages/s", ("load100",), ("load100", "--msgs", "20"), 100,
        {MEMORY: {"redis": 1.1}, SQLITE: {"redis": 1.2}},
    ),
    Case(
        "bcast1000", "bcast1000, 20 messages/s", ("bcast1000",), ("bcast100", "--rate", "50", "--msgs", "5"), 1000,
        {MEMORY: {"redis": 1.05}, SQLITE: {"redis": 1.25}},
    ),
    Case(
        "privsat1000", "privsat1000, 500 pairs", ("privsat1000",), ("privsat100", "--msgs", "20"), 1000,
        {MEMORY: {"ngircd": 1.3}, SQLITE: {"ngircd": 1.7}},
    ),
    Case(
        "acks", "sat100 with all 100 acking", ("sat100",), ("sat100", "--msgs", "40"), 100,
        {MEMORY: {UNACKED: 2}, SQLITE: {UNACKED: 2}}, acks=True,
    ),
    Case(
        "idle5000", "idle5000, memory a connection", ("idle5000",), ("idle200",), 5000,
        {MEMORY: {ALONE: 2.7}, SQLITE: {ALONE: 2.7}}, WEIGHT, beside=("redis", "ngircd"),
    ),
    Case(
        "storm5000", "storm5000, logins", ("storm5000",), ("storm200",), 5000,
        {MEMORY: {"redis": 0.8}, SQLITE: {"redis": 0.5}}, LOGINS,
    ),
    Case(
        "people10000", "10,000 people, 2 messages/s, 60 s",
        ("bcast10000", "--rate", "2", "--msgs", "12", "--max-secs", "180"),
        ("bcast200", "--rate", "20", "--msgs", "3"), 10_000, {MEMORY: {}, SQLITE: {}},
    ),
)  # fmt: skip
