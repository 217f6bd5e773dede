"""Rows of the second table that need a link: added delay, shares beside others, CPU on a link, many at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from links import Counters, Link, Pinging, Program, allow_congestion_controls, jain, median, must, percentile
from ours import Daemon, Failed, Files
from peers import Nginx
from report import TOLD, Row, judged

LinkRaiser = Callable[[str], Link]

NEAR = "--rate 100 --delay 10 --queue-ms 50"
SHARED = "--rate 50 --delay 10"

START_UP = 1.0
"""Seconds of a download in which queue drops are forgiven."""


def tell(what: str) -> None:
    """Progress."""
    print(what, file=sys.stderr, flush=True)


def failed(name: str, told: str, target: str, why: object) -> Row:
    """A row that came to nothing."""
    tell(f"{name}: {why}")
    return Row(name, [told, target, f"failed: {why}"], judged(False))


def delay(raise_link: LinkRaiser, files: Files, runs: int, megabytes: float) -> Iterator[Row]:
    """What a download alone adds to the round trips of a ping beside it."""
    shelf = files.shelf(megabytes)
    medians, tails, late_drops, early_drops = [], [], [], []
    told, target = (
        "added delay alone, 100 Mbit/s, 20 ms, queue 50 ms",
        "median ≤ +10 ms, p95 ≤ +20 ms, no drops",
    )
    try:
        for _ in range(runs):
            with raise_link(NEAR) as link, Daemon(shelf, link) as daemon:
                pinging = Pinging(link.at("b"), link.host)
                time.sleep(2)
                idle = median(pinging.end())
                began = link.stats()["ab"]["drop_queue"]
                pinging = Pinging(link.at("b"), link.host)
                client = daemon.get(daemon.folder / "got.bin")
                # The client's process takes a moment to begin: start-up counts from its first megabyte.
                while client.running and link.stats()["ab"]["in_bytes"] < 1e6:
                    time.sleep(0.02)
                time.sleep(START_UP)
                early = link.stats()["ab"]["drop_queue"]
                ended = client.wait()
                during = pinging.end()
                late = link.stats()["ab"]["drop_queue"]
                if ended.status:
                    raise Failed(ended.err.strip())
            medians.append(median(during) - idle)
            tails.append(percentile(during, 0.95) - idle)
            early_drops.append(early - began)
            late_drops.append(late - early)
            tell(
                f"delay: +{medians[-1]:.1f} ms, p95 +{tails[-1]:.1f} ms, "
                f"drops {early_drops[-1]:.0f}, then {late_drops[-1]:.0f}"
            )
    except Failed as why:
        yield failed("delay", told, target, why)
        return
    found = (
        f"median +{median(medians):.1f} ms, p95 +{median(tails):.1f} ms, "
        f"drops {median(late_drops):.0f} (start-up {median(early_drops):.0f})"
    )
    met = median(medians) <= 10 and median(tails) <= 20 and median(late_drops) == 0
    yield Row("delay", [told, target, found], judged(met))


@contextmanager
def ending(programs: list[Program]) -> Iterator[None]:
    """End them all, whatever happens."""
    try:
        yield
    finally:
        for program in programs:
            program.end()


def rates_of(
    link: Link, start: Callable[[list[Program]], None], flows: int, seconds: float
) -> dict[tuple[str, int], float]:
    """Bytes a second of each flow over the same interval, which begins when all of them have begun.

    :param start: starts the programs, and puts each into the list it is given.
    """
    counters = Counters(link)
    programs: list[Program] = []
    with ending(programs):
        start(programs)
        deadline = time.monotonic() + 60
        while True:
            # A flow is what has carried more than a greeting; a client has a TCP connection for the chat too.
            first = {flow: count for flow, count in counters.read().items() if count > 50_000}
            began = time.monotonic()
            if len(first) >= flows:
                break
            if began > deadline:
                raise Failed(
                    f"{len(first)} of {flows} flows began; the last one says: {programs[-1].output()[-200:]!r}"
                )
            time.sleep(0.05)
        time.sleep(seconds)
        last, took = counters.read(), time.monotonic() - began
        gone = [program for program in programs if not program.running]
        if gone:
            raise Failed(f"{len(gone)} ended before the time: {gone[0].output()[-200:]}")
    counters.remove()
    return {flow: (last[flow] - count) / took for flow, count in first.items()}


def ours_and(control: str, link: Link, daemon: Daemon, nginx: Nginx, seconds: float) -> tuple[float, float]:
    """Bytes a second of one download of ours and of one curl, both started at once."""

    def start(programs: list[Program]) -> None:
        programs.append(daemon.get(daemon.folder / "got.bin"))
        # Python takes longer to start than curl: both shall ask at about the same time.
        while programs[0].running and link.stats()["ab"]["out_bytes"] < 2000:
            time.sleep(0.01)
        programs.append(nginx.start(control, seconds + 60))

    rates = rates_of(link, start, 2, seconds)
    ours = sum(rate for (protocol, _), rate in rates.items() if protocol == "udp")
    return ours, sum(rates.values()) - ours


def against(
    name: str, control: str, queue: int, raise_link: LinkRaiser, files: Files, runs: int, seconds: float
) -> Iterator[Row]:
    """Our share beside one TCP flow."""
    told = f"against one TCP {control.upper()}, 50 Mbit/s, 20 ms, queue {queue} ms, {seconds:g} s"
    target = {"cubic-50": "share 30-65 %, Jain ≥ 0.86 (goal 0.92)", "bbr": "Jain ≥ 0.90"}.get(
        name, "reported"
    )
    shelf = files.shelf(seconds * 8 + 100)
    allow_congestion_controls(control)
    shares, indices, totals = [], [], []
    try:
        for _ in range(runs):
            with (
                raise_link(f"{SHARED} --queue-ms {queue}") as link,
                Daemon(shelf, link) as daemon,
                Nginx(link, shelf) as nginx,
            ):
                ours, theirs = ours_and(control, link, daemon, nginx, seconds)
            shares.append(100 * ours / (ours + theirs))
            indices.append(jain([ours, theirs]))
            totals.append((ours + theirs) * 8e-6)
            tell(
                f"{name}: share {shares[-1]:.0f} %, Jain {indices[-1]:.3f}, together {totals[-1]:.1f} Mbit/s"
            )
    except Failed as why:
        yield failed(name, told, target, why)
        return
    found = f"share {median(shares):.0f} %, Jain {median(indices):.3f}, together {median(totals):.1f} Mbit/s"
    verdict = TOLD
    if name == "cubic-50":
        verdict = judged(30 <= median(shares) <= 65 and median(indices) >= 0.86)
    elif name == "bbr":
        verdict = judged(median(indices) >= 0.90)
    yield Row(name, [told, target, found], verdict)


def peers_against(raise_link: LinkRaiser, files: Files, runs: int, seconds: float) -> Iterator[Row]:
    """For comparison: TCP BBR beside TCP CUBIC."""
    shelf = files.shelf(seconds * 8 + 100)
    allow_congestion_controls("cubic", "bbr")
    shares, indices = [], []
    for _ in range(runs):
        with raise_link(f"{SHARED} --queue-ms 50") as link, Nginx(link, shelf) as nginx:

            def start(programs: list[Program], link: Link = link, nginx: Nginx = nginx) -> None:
                programs.append(nginx.start("bbr", seconds + 60, port=40001))
                # What is chosen counts when the connection is taken: wait for that.
                while link.stats()["ab"]["out_bytes"] < 20_000:
                    time.sleep(0.01)
                programs.append(nginx.start("cubic", seconds + 60, port=40002))

            counted = rates_of(link, start, 2, seconds)
            bbr, cubic = counted["tcp", 40001], counted["tcp", 40002]
        shares.append(100 * bbr / (bbr + cubic))
        indices.append(jain([bbr, cubic]))
    found = f"share {median(shares):.0f} %, Jain {median(indices):.3f}"
    yield Row("bbr-cubic", [f"(TCP BBR against one TCP CUBIC, queue 50 ms, {seconds:g} s)", "", found])


def own(count: int, raise_link: LinkRaiser, files: Files, runs: int, seconds: float) -> Iterator[Row]:
    """How evenly downloads of ours share."""
    name, told = f"own-{count}", f"{count} of our own, 50 Mbit/s, 20 ms, queue 50 ms, {seconds:g} s"
    shelf = files.shelf(seconds * 8 + 100)
    indices, totals = [], []
    try:
        for _ in range(runs):
            with raise_link(f"{SHARED} --queue-ms 50") as link, Daemon(shelf, link) as daemon:

                def start(programs: list[Program], daemon: Daemon = daemon) -> None:
                    for number in range(count):
                        programs.append(daemon.get(daemon.folder / f"got-{number}.bin"))

                rates = rates_of(link, start, count, seconds)
            indices.append(jain(list(rates.values())))
            totals.append(sum(rates.values()) * 8e-6)
            tell(f"{name}: Jain {indices[-1]:.3f}, together {totals[-1]:.1f} Mbit/s")
    except Failed as why:
        yield failed(name, told, "Jain ≥ 0.95", why)
        return
    found = f"Jain {median(indices):.3f}, together {median(totals):.1f} Mbit/s"
    yield Row(name, [told, "Jain ≥ 0.95", found], judged(median(indices) >= 0.95))


def addresses(link: Link, count: int) -> list[str]:
    """Give both ends of a link more addresses, so that each client comes from one of its own: to the daemon they are
    so many people, whose transfers it does not bound together.

    :return: the daemon's, each of which is reached from another one.
    """
    there, here = "10.78.1", "10.78.2"
    must(link.at("a", "ip", "route", "add", f"{here}.0/24", "via", link.other))
    for number in range(1, count + 1):
        must(link.at("a", "ip", "address", "add", f"{there}.{number}/32", "dev", "lo"))
        must(link.at("b", "ip", "address", "add", f"{here}.{number}/32", "dev", "lo"))
        must(
            link.at(
                "b", "ip", "route", "add", f"{there}.{number}/32", "via", link.host, "src", f"{here}.{number}"
            )
        )
    return [f"{there}.{number}" for number in range(1, count + 1)]


def many(raise_link: LinkRaiser, files: Files, count: int, seconds: float) -> Iterator[Row]:
    """Memory of many downloads at once, and how evenly they share."""
    told, target = f"{count} at once on 100 Mbit/s, 20 ms", "≤ 100 MB above idle, Jain ≥ 0.9"
    shelf = files.shelf(50)
    try:
        with raise_link(NEAR) as link, Daemon(shelf, link, everywhere=True) as daemon:
            hosts = addresses(link, count)
            idle = daemon.memory()

            def start(programs: list[Program]) -> None:
                for number, host in enumerate(hosts):
                    programs.append(daemon.get(daemon.folder / f"got-{number}.bin", host=host))

            rates = rates_of(link, start, count, seconds)
            grown = (daemon.memory("VmHWM") - idle) * 1024e-6
    except Failed as why:
        yield failed("memory", told, target, why)
        return
    index = jain(list(rates.values()))
    found = f"{grown:.0f} MB above idle ({grown / count * 1000:.0f} KB each), Jain {index:.3f}"
    yield Row("memory", [told, target, found], judged(grown <= 100 and index >= 0.9))


def cpu(raise_link: LinkRaiser, files: Files, runs: int, megabytes: float) -> Iterator[Row]:
    """CPU seconds a GB of daemon and client, on a link."""
    told, target = "CPU, 100 Mbit/s, 20 ms: daemon / client", "≤ 15 / 20 CPU-s per GB"
    shelf = files.shelf(megabytes)
    spent: list[tuple[float, float]] = []
    try:
        with raise_link(NEAR) as link:
            for _ in range(runs):
                with Daemon(shelf, link) as daemon:
                    done = daemon.download(files.digest(shelf))
                spent.append((done.daemon_cpu / megabytes * 1000, done.client_cpu / megabytes * 1000))
                tell(f"cpu-link: {spent[-1][0]:.1f} / {spent[-1][1]:.1f} CPU-s per GB")
    except Failed as why:
        yield failed("cpu-link", told, target, why)
        return
    served, got = (median(column) for column in zip(*spent, strict=True))
    yield Row(
        "cpu-link",
        [told, target, f"{served:.1f} / {got:.1f} CPU-s per GB"],
        judged(served <= 15 and got <= 20),
    )
