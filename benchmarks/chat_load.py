"""The built-in load, a program of its own.  Prints one line of JSON.

    PORT=50000 PID=1234 python benchmarks/chat_load.py pychat sat100 --window 10

Python, and so often slower than the daemon: the CPU that the daemon spends on a delivery is the figure to look at.
Another generator (``chat.py --load COMMAND``) is run in the same way, as ``COMMAND PEER CASE [flags]`` with ``PORT``
and ``PID`` of the daemon in its environment, PEER being pychat; another PEER it starts itself.  It knows these cases,
N being the number of people, and these flags, of which those given last count:

=========== =========================================================================================================
satN        closed loop: 50 senders with ``--window 2`` messages under way each, ``--msgs`` 80,000 / N each
loadN       open loop: 50 senders, ``--rate 2000`` messages a second in all, ``--msgs 200`` each
bcastN      open loop: 10 senders, ``--rate 20`` messages a second in all, ``--msgs 10`` each
privsatN    closed loop: N / 2 pairs, both sides talking, ``--window 1``, ``--msgs 100`` each
idleN       connections that sit there: what they weigh
stormN      how fast they log in
=========== =========================================================================================================

``--max-secs`` limits the login and the talk (45).  Messages have 64 bytes, and but for the pairs go to everybody.

It prints ``n``, ``logged_in``, ``login_s``, ``logins_per_s``, ``rss_before_kib``, ``rss_after_kib`` (of the server,
after the login), ``kib_per_conn`` and ``dead`` (connections lost); but for idle and storm ``deliveries``,
``elapsed_s``, ``deliveries_per_s``, ``p50_us`` and ``p99_us`` (from sending, in an open loop from when it was due),
``lost``, ``duplicated``, ``out_of_order``, ``unexpected``, ``us_per_delivery`` (CPU of the server), ``gen_cpu_pct``,
``steal_pct`` and ``rss_end_kib``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from typing import Any

from chat_crowd import Crowd
from common import cpu_seconds, pin, raise_file_limit, rss_kib
from report import stolen


def case(name: str, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """What a case is."""
    found = re.fullmatch("(sat|load|bcast|privsat|idle|storm)([1-9][0-9]*)", name)
    if not found:
        parser.error(f"there is no case {name}")
    kind, people = found[1], int(found[2])
    senders = {"sat": 50, "load": 50, "bcast": 10, "privsat": people & ~1}.get(kind, 0)
    return {
        "kind": kind,
        "people": senders if kind == "privsat" else people,
        "private": kind == "privsat",
        "senders": senders if kind == "privsat" else min(senders, people - 1),
        "window": 1 if kind == "privsat" else 2,
        "rate": {"load": 2000.0, "bcast": 20.0}.get(kind, 0.0),
        "msgs": {"sat": max(1, 80_000 // people), "load": 200, "bcast": 10, "privsat": 100}.get(kind, 0),
    }


def parse() -> argparse.Namespace:
    """The command line; what it leaves out is as the case has it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", choices=["pychat"])
    parser.add_argument("case")
    parser.add_argument("--window", type=int)
    parser.add_argument("--msgs", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--max-secs", type=float, default=45.0)
    parser.add_argument("--acks", action="store_true", help="everybody acks, once a chunk received")
    options = parser.parse_args()
    for key, value in case(options.case, parser).items():
        if getattr(options, key, None) is None:
            setattr(options, key, value)
    return options


def percentile(times: list[int], share: float) -> float:
    """In µs; not a number if there are none."""
    return times[min(len(times) - 1, int(share * len(times)))] / 1e3 if times else float("nan")


def talked(crowd: Crowd, load: argparse.Namespace, pid: int) -> dict[str, Any]:
    """Let them talk; what came of it."""
    cpu, own, (total, taken) = cpu_seconds(pid), time.process_time(), stolen()
    start = time.monotonic_ns()
    expected = crowd.talk(load, time.monotonic() + load.max_secs)
    seconds = (crowd.last - start) / 1e9
    cpu, own = cpu_seconds(pid) - cpu, time.process_time() - own
    total, taken = (now - then for now, then in zip(stolen(), (total, taken), strict=True))
    crowd.linger()
    checkers = [person.checker for person in crowd.people if person.checker]
    lost = duplicated = 0
    for person in crowd.people:
        due = load.msgs * (1 if load.private else load.senders - (person.number < load.senders))
        twice = person.checker.duplicated if person.checker else max(0, person.received - due)
        duplicated += twice
        lost += max(0, due - person.received + twice)
    times = sorted(time for checker in checkers for time in checker.times)
    return {
        "deliveries": expected - lost,
        "elapsed_s": round(seconds, 3),
        "deliveries_per_s": round((expected - lost) / seconds),
        "p50_us": round(percentile(times, 0.5), 1),
        "p99_us": round(percentile(times, 0.99), 1),
        "lost": lost,
        "duplicated": duplicated,
        "out_of_order": sum(checker.out_of_order for checker in checkers),
        "unexpected": len(crowd.errors) + sum(checker.unexpected for checker in checkers),
        "us_per_delivery": round(cpu / max(1, expected - lost) * 1e6, 3),
        "gen_cpu_pct": round(100 * own / seconds),
        "steal_pct": round(100 * taken / total, 1) if total else 0.0,
        "rss_end_kib": rss_kib(pid),
    }


def main() -> None:
    options = parse()
    port, pid = int(os.environ["PORT"]), int(os.environ["PID"])
    raise_file_limit()
    pin(0, 1)
    before = rss_kib(pid)
    crowd = Crowd(port, options.people, options.acks)
    end = time.monotonic() + options.max_secs
    seconds = crowd.log_in(end)
    if crowd.here < options.people:
        sys.exit(f"only {crowd.here} of {options.people} could log in, {crowd.dead} were cut off")
    crowd.settle(end)
    after = rss_kib(pid)
    result = {
        "label": f"{options.peer}/{options.case}",
        "n": options.people,
        "logged_in": crowd.here,
        "login_s": round(seconds, 3),
        "logins_per_s": round(crowd.here / seconds),
        "rss_before_kib": before,
        "rss_after_kib": after,
        "kib_per_conn": round((after - before) / options.people, 2),
    }
    if options.msgs:
        result.update(talked(crowd, options, pid))
    result["dead"] = crowd.dead
    for error in crowd.errors[:3]:
        print(error.decode(errors="replace"), file=sys.stderr)
    print(json.dumps(result))
    # Ten thousand connections need not be closed one by one.
    sys.stdout.flush()
    os._exit(any(result.get(key) for key in ("lost", "duplicated", "out_of_order", "unexpected", "dead")))


if __name__ == "__main__":
    main()
