"""The first table: goodput over links, in % of their rate, beside curl and nginx over TCP."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from links import Link, allow_congestion_controls, median
from ours import Daemon, Download, Failed, Files
from peers import Fetched, Nginx
from report import UNMEASURED, Row, judged

HEADINGS = (
    "link", "target %", "ours %", "(min-max)", "our wall s", "TCP CUBIC %", "TCP BBR %", "curl's wall s",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A link, and what is asked of us on it."""

    name: str
    rate: float
    """Mbit/s from the daemon to the client."""
    options: str
    told: str
    target: float
    """% of the rate."""
    megabytes: float = 25
    cut: float = 15
    """Seconds after which curl is cut off."""


_NEAR = "--rate 100 --delay 10 --queue-ms 50"
_FAR = "--rate 50 --delay 50 --queue-ms 100"
_SATELLITE = "--rate 20 --delay 300 --queue-ms 300"

CASES = (
    Case("100/20", 100, _NEAR, "100 Mbit/s, RTT 20 ms, queue 50 ms: no loss", 91),
    Case("100/20-0.1", 100, f"{_NEAR} --loss 0.1", "the same, 0.1 % loss", 90.5),
    Case("100/20-1", 100, f"{_NEAR} --loss 1", "the same, 1 %", 89),
    Case("100/20-5", 100, f"{_NEAR} --loss 5", "the same, 5 %", 82),
    Case("100/20-bursty", 100, f"{_NEAR} --ge 0.2,10,50,0", "the same, bursty 1 %", 89),
    Case("50/100", 50, _FAR, "50 Mbit/s, RTT 100 ms, queue 100 ms: no loss", 86),
    Case("50/100-1", 50, f"{_FAR} --loss 1", "the same, 1 %", 82),
    Case("20/600", 20, _SATELLITE, "20 Mbit/s, RTT 600 ms, queue 300 ms: no loss", 65, 50, 60),
    Case("20/600-0.5", 20, f"{_SATELLITE} --loss 0.5", "the same, 0.5 %", 60, 50, 60),
    Case(
        "10/40", 10, "--ab-rate 10 --ba-rate 1 --delay 20 --queue-ms 50",
        "10 Mbit/s down and 1 Mbit/s up, RTT 40 ms, queue 50 ms", 88,
    ),
)  # fmt: skip


def measure(
    case: Case,
    raise_link: Callable[[str], Link],
    files: Files,
    *,
    runs: int,
    peer_runs: int,
    megabytes: float,
) -> Row:
    """One row: our downloads and curl's by turns, over one link."""
    shelf = files.shelf(megabytes)
    ours: list[Download] = []
    trouble = ""
    tcp: dict[str, list[Fetched]] = {"cubic": [], "bbr": []}
    if peer_runs:
        allow_congestion_controls(*tcp)
    with raise_link(case.options) as link:
        for number in range(max(runs, peer_runs)):
            if number < runs and not trouble:
                try:
                    # A daemon of its own each time: nothing is remembered from the last run.
                    with Daemon(shelf, link) as daemon:
                        ours.append(daemon.download(files.digest(shelf)))
                    tell(case, f"{share(case, megabytes, ours[-1].seconds):5.1f} % of the rate ({ours[-1]})")
                except Failed as failed:
                    trouble = str(failed)
                    tell(case, trouble)
            if number < peer_runs:
                with Nginx(link, shelf) as nginx:
                    for control, fetched in tcp.items():
                        fetched.append(nginx.fetch(control, case.cut))
                        tell(case, f"{fetched[-1].rate * 8e-4 / case.rate:5.1f} % by TCP {control}")
    shares = [share(case, megabytes, run.seconds) for run in ours]
    cells = [case.told, f"≥ {case.target:g}"]
    if trouble or not shares:
        cells += [trouble or "-", "", ""]
        verdict = judged(False) if trouble else UNMEASURED
    else:
        cells += [
            f"{median(shares):.1f}" + ("" if ours[0].own_clock else " (by wall time)"),
            f"{min(shares):.1f}-{max(shares):.1f}",
            f"{median([run.wall for run in ours]):.2f}",
        ]
        verdict = judged(median(shares) >= case.target)
    for fetched in tcp.values():
        rate = median([one.rate for one in fetched]) * 8e-4 / case.rate
        cells.append(f"{rate:.1f}{' (cut)' if any(one.cut for one in fetched) else ''}" if fetched else "-")
    walls = [f"{median([one.wall for one in fetched]):.2f}" for fetched in tcp.values() if fetched]
    cells.append(" / ".join(walls) or "-")
    return Row(case.name, cells, verdict)


def share(case: Case, megabytes: float, seconds: float) -> float:
    """Goodput in % of the link's rate."""
    return 100 * megabytes * 8 / seconds / case.rate


def tell(case: Case, what: str) -> None:
    """Progress."""
    print(f"{case.name}: {what}", file=sys.stderr, flush=True)
