"""Files arrive: how fast, how fair, at what cost.  Prints both tables, and ends with 1 when a target is missed.

The real daemon and the real ``pychat get``, each a process of its own, with default settings; curl against nginx over
TCP CUBIC and TCP BBR in the same run, and QUIC by qh3 on loopback.  Our clock runs from the request leaving to the last
byte verified, as the client tells it (``--json``); curl's is time_total - time_pretransfer.  Medians of some runs; the
tables go to standard output, in Markdown, progress to standard error.

    python benchmarks/transfer.py --link ./linkem.sh                     both tables, about an hour
    python benchmarks/transfer.py --link ./linkem.sh --only '100/20*'    some rows; --list names them
    python benchmarks/transfer.py --only 'loopback*'                     what needs no link

Needs root (a link is a pair of network namespaces), and curl, nginx, ping, nft.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch

import goodput
import loopback
import sharing
from links import Link, need
from ours import Files
from report import MISSED, UNMEASURED, Row, Surroundings, table

NEEDING_NO_LINK = ("loopback", "loopback-1452")

QUICK = ("100/20", "100/20-1", "loopback")
"""What ``--quick`` measures unless rows are named."""


def second_table(options: argparse.Namespace, files: Files) -> dict[str, Callable[[], Iterator[Row]]]:
    """What measures each of its rows."""
    runs, quick = options.runs, options.quick
    link = functools.partial(raised, options)
    seconds, big = (8, 30) if quick else (30, 125)
    against = {
        name: functools.partial(sharing.against, name, control, queue, link, files, runs, seconds)
        for name, control, queue in (
            ("cubic-20", "cubic", 20), ("cubic-50", "cubic", 50), ("cubic-100", "cubic", 100), ("bbr", "bbr", 50),
        )
    }  # fmt: skip
    peers = {} if options.no_peers else {
        "bbr-cubic": functools.partial(sharing.peers_against, link, files, options.peer_runs, seconds),
    }  # fmt: skip
    return {
        "delay": functools.partial(sharing.delay, link, files, runs, big),
        **against,
        **peers,
        "own-2": functools.partial(sharing.own, 2, link, files, runs, seconds),
        "own-4": functools.partial(sharing.own, 4, link, files, runs, seconds),
        "loopback": functools.partial(loopback.plain, files, options.megabytes, runs),
        "loopback-1452": functools.partial(
            loopback.held, files, options.megabytes, runs, not options.no_peers
        ),
        "cpu-link": functools.partial(sharing.cpu, link, files, min(runs, 3), big),
        "memory": functools.partial(sharing.many, link, files, 20 if quick else 100, seconds),
    }


def raised(options: argparse.Namespace, settings: str) -> Link:
    """A link of the command that was given; every one with a seed of its own."""
    options.seed += 1
    return Link(options.link, f"{settings} --seed {options.seed}", options.host)


@contextlib.contextmanager
def awake(wanted: bool) -> Iterator[None]:
    """Keep every processor awake with a loop that runs when nothing else wants to."""
    loops = []
    if wanted:
        need("chrt")
        for number in range(os.cpu_count() or 1):
            loops.append(subprocess.Popen(["chrt", "-i", "0", "sh", "-c", "while :; do :; done"]))
            os.sched_setaffinity(loops[-1].pid, {number})
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--link",
        default=os.environ.get("PYCHAT_LINK", ""),
        metavar="COMMAND",
        help="what raises a link (see links.py)",
    )
    add(
        "--host",
        default=os.environ.get("PYCHAT_LINK_HOST", "10.77.0.1"),
        help="the address of its end a (%(default)s)",
    )
    add("--only", nargs="+", metavar="ROW", help="only rows that match one of these patterns")
    add("--list", action="store_true", help="name the rows, and measure nothing")
    add("--runs", type=int, default=5, help="medians of so many (%(default)s)")
    add("--peer-runs", type=int, metavar="N", help="the same for peers (as many)")
    add("--no-peers", action="store_true", help="measure only ourselves")
    add(
        "--quick",
        action="store_true",
        help="one run of a few rows with smaller files: a look, and no measurement",
    )
    add(
        "--busy",
        action="store_true",
        help="keep processors awake with idle-priority loops beside the measurement",
    )
    add("--megabytes", type=int, default=200, help="size of the file on loopback (%(default)s)")
    add("--seed", type=int, default=0, help="where the links' random numbers begin (%(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.megabytes = 1, min(options.megabytes, 100)
        options.only = options.only or list(QUICK)
    if options.no_peers:
        options.peer_runs = 0
    elif options.peer_runs is None:
        options.peer_runs = options.runs
    return options


def main() -> None:
    options = parse()
    with Files() as files:
        cases = {case.name: case for case in goodput.CASES}
        others = second_table(options, files)
        names = [*cases, *others]
        if options.list:
            print("\n".join(names))
            return
        wanted = [
            name for name in names if not options.only or any(fnmatch(name, only) for only in options.only)
        ]
        if not wanted:
            sys.exit(f"no row is called so; --list names them: {' '.join(names)}")
        if not options.link and set(wanted) - set(NEEDING_NO_LINK):
            sys.exit("say what raises a link: --link COMMAND. Without one: --only 'loopback*'")
        if options.link:
            need("ip", "ping", "nft", "sysctl", *(() if options.no_peers else ("curl", "nginx")))
        surroundings = Surroundings(options.busy)
        first: list[Row] = []
        second: list[Row] = []
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        try:
            with awake(options.busy):
                for name, case in cases.items():
                    if name in wanted:
                        first.append(
                            goodput.measure(
                                case, functools.partial(raised, options), files,
                                runs=options.runs, peer_runs=options.peer_runs,
                                megabytes=case.megabytes / (2.5 if options.quick else 1),
                            )
                        )  # fmt: skip
                for name, measured in others.items():
                    if name in wanted:
                        second.extend(measured())
        finally:
            # What was measured until somebody has had enough of it.
            report(options, surroundings, first, second)
    if any(row.verdict in (MISSED, UNMEASURED) for row in first + second):
        sys.exit(1)


def report(
    options: argparse.Namespace, surroundings: Surroundings, first: list[Row], second: list[Row]
) -> None:
    """Print the tables."""
    print(surroundings.told())
    print(
        f"Medians of {options.runs}"
        + (f", peers' of {options.peer_runs}" if options.peer_runs not in (0, options.runs) else "")
        + ("; with --quick: smaller files, shorter times, no measurement." if options.quick else ".")
    )
    if first:
        print(
            "\nGoodput in % of the link's rate; 25 MB, satellite 50 MB. (cut): cut off after 15 s, satellite 60 s,"
        )
        print("and the goodput so far. Wall: of the whole process. Peers: curl against nginx.\n")
        print(table(goodput.HEADINGS, first))
    if second:
        print()
        print(table(("what", "target", "measured"), second))


if __name__ == "__main__":
    main()
