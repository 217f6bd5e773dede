"""Rows of the second table that are measured on loopback: speed, CPU, memory; QUIC by qh3 beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from links import median
from ours import Daemon, Download, Failed, Files, daemon_help
from peers import qh3_python, qh3_rate
from report import TOLD, UNMEASURED, Row, judged

DATAGRAM = 1452
HOLD = "--max-datagram"
"""The daemon's option that holds datagrams to a size."""

QH3 = {"2.1.0": 3.0, "1.7.4": 3.0}
"""Releases of qh3 that are measured, and how many times as fast we have to be: today's, and the last before its core
was rewritten in a compiled language, which is the one that the target was set beside."""

MB = 1e6


def tell(what: str) -> None:
    """Progress."""
    print(what, file=sys.stderr, flush=True)


def downloads(files: Files, megabytes: float, runs: int, *options: str) -> tuple[list[Download], float]:
    """Some downloads from one daemon each, and the most memory one of them took above idle, in bytes."""
    shelf = files.shelf(megabytes)
    done, grown = [], 0.0
    for _ in range(runs):
        with Daemon(shelf, None, *options) as daemon:
            idle = daemon.memory()
            done.append(daemon.download(files.digest(shelf)))
            grown = max(grown, (daemon.memory("VmHWM") - idle) * 1024)
        rate = megabytes / done[-1].seconds
        tell(f"loopback {' '.join(options)}: {rate:.0f} MB/s, wall {done[-1].wall:.2f} s ({done[-1]})")
    return done, grown


def speed(done: list[Download], megabytes: float) -> str:
    """Their speeds in words."""
    rates = [megabytes / one.seconds for one in done]
    return (
        f"{median(rates):.0f} MB/s ({min(rates):.0f}-{max(rates):.0f}; wall {median([d.wall for d in done]):.2f} s"
        + (")" if done[0].own_clock else ", which is the clock)")
    )


def plain(files: Files, megabytes: float, runs: int) -> Iterator[Row]:
    """The path MTU found: speed, CPU, memory of one."""
    told = f"loopback, encrypted, verified, {megabytes:g} MB, path MTU found"
    try:
        done, grown = downloads(files, megabytes, runs)
    except Failed as why:
        yield Row("loopback", [told, "≥ 400 MB/s", f"failed: {why}"], judged(False))
        return
    met = median([megabytes / one.seconds for one in done]) >= 400
    yield Row("loopback", [told, "≥ 400 MB/s", speed(done, megabytes)], judged(met))
    served, got = (
        median([cpu / megabytes * 1000 for cpu in column])
        for column in zip(*((one.daemon_cpu, one.client_cpu) for one in done), strict=True)
    )
    found = f"{served:.1f} / {got:.1f} CPU-s per GB"
    yield Row(
        "loopback", ["CPU, loopback: daemon / client", "≤ 3 / 5 CPU-s per GB", found],
        judged(served <= 3 and got <= 5),
    )  # fmt: skip
    peak = max(one.client_peak_kib for one in done) * 1024 / MB
    found = f"daemon {grown / MB:.1f} MB above idle, client at most {peak:.0f} MB in all"
    yield Row("loopback", ["memory of one on loopback", "(≤ 2 windows + 256 KB)", found], TOLD)


def held(files: Files, megabytes: float, runs: int, peers: bool) -> Iterator[Row]:
    """Datagrams held to what a network's carry, beside qh3."""
    told = f"the same held to {DATAGRAM:,}-byte datagrams"
    ours = float("nan")
    if HOLD not in daemon_help():
        yield Row("loopback-1452", [told, "≥ 180 MB/s", f"this daemon has no {HOLD}"], UNMEASURED)
    else:
        try:
            done, _ = downloads(files, megabytes, runs, HOLD, str(DATAGRAM))
        except Failed as why:
            yield Row("loopback-1452", [told, "≥ 180 MB/s", f"failed: {why}"], judged(False))
            return
        ours = median([megabytes / one.seconds for one in done])
        yield Row("loopback-1452", [told, "≥ 180 MB/s", speed(done, megabytes)], judged(ours >= 180))
    if not peers:
        return
    for release, times in QH3.items():
        python = qh3_python(release)
        rates = [qh3_rate(python, int(megabytes), DATAGRAM) for _ in range(runs)]
        theirs = median(rates) / MB
        tell(f"qh3 {release}: {theirs:.0f} MB/s")
        ratio = f"{ours / theirs:.2f} times its {theirs:.0f} MB/s"
        yield Row(
            "loopback-1452", [f"beside qh3 {release} in the same run", f"≥ {times:g} times", ratio],
            judged(ours >= times * theirs) if ours == ours else UNMEASURED,
        )  # fmt: skip
