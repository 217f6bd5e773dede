"""How fast the chat is, beside others: one table of what was asked for and what was measured, and all single runs.

The real daemon, started anew for every run, with its journal in memory and with SQLite on a disk.  Server on CPU 0,
load on CPU 1.  In each round of a case every server has its turn, so that what else the machine does hits all alike;
the figures are medians of the rounds, and CPU is that of the server for one delivery.  Tables go to standard output, in
Markdown, progress to standard error.  Ends with 1 when a target is missed or could not be measured (those beside peers
but for --no-peers), or a message was lost, twice or out of order.

    python benchmarks/chat.py --load ./chatload.sh        the table, beside redis, ngircd and inspircd
    python benchmarks/chat.py --load ./chatload.sh --only sat100 'p*'
    python benchmarks/chat.py --no-peers                  ours alone, with the slower load in Python that is built in
    python benchmarks/chat.py --quick                     a look that takes seconds, and no measurement

What COMMAND of --load has to do is told at the top of chat_load.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

import chat_cases
from chat_cases import CASES, JOURNALS, PEERS, Case, Contender, Measured, Result
from common import Daemon, file_limit
from report import MISSED, UNMEASURED, Surroundings, table

BUILT_IN = [sys.executable, str(Path(__file__).with_name("chat_load.py"))]
QUICK = ("sat100", "privsat1000", "acks", "storm5000", "people10000")
"""What ``--quick`` measures unless cases are named."""
LONGEST = 300
"""Seconds after which a run has failed."""
SPARE_FILES = 200
"""What a server has open beside its connections."""


def file_system(folder: str) -> str:
    """What a folder lies on, such as ext4; nothing where the system does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    best = ("", "")
    for mount in mounts:
        _, point, kind, *_ = mount.split()
        inside = f"{os.path.realpath(folder)}/".startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def disk_folder(parser: argparse.ArgumentParser, wanted: str | None) -> str:
    """Where the daemons' folders may lie: on a disk, for the journal is synced there."""
    folders = [wanted] if wanted else [tempfile.gettempdir(), "/var/tmp", "."]
    fit = [each for each in folders if os.path.isdir(each) and file_system(each) not in ("tmpfs", "ramfs")]
    if not fit:
        parser.error(f"no folder on a disk: {' '.join(folders)}. Name another: --folder DIR")
    return fit[0]


def generate(command: list[str], **environment: str) -> Result:
    """Run a generator, and everything that it starts; what it printed, or nothing if it failed."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        told, _ = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        print(f"ended after {LONGEST} s: {shlex.join(command)}", file=sys.stderr)
        return {}
    finally:
        # A generator of peers has started one, and ends it at SIGTERM.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
                if process.poll() is None:
                    os.killpg(process.pid, number)
                    process.wait(10)
    lines = [line for line in told.splitlines() if line.startswith("{")]
    try:
        result: Result = json.loads(lines[-1])
    except (IndexError, ValueError):
        print(f"printed no result, exit status {process.returncode}: {shlex.join(command)}", file=sys.stderr)
        return {}
    return result


def located(peer: str) -> str | None:
    """Where its program is, if it is installed."""
    return shutil.which(PEERS[peer], path=f"{os.environ['PATH']}:/usr/sbin")


def version(peer: str) -> str:
    """Its name and version."""
    program = located(peer)
    told = subprocess.run([program, "--version"], capture_output=True, text=True) if program else None
    found = re.search(r"[0-9]+(\.[0-9]+)+", told.stdout + told.stderr) if told else None
    return f"{peer} {found[0]}" if found else peer


def warnings(daemon: Daemon) -> list[str]:
    """What the daemon has logged of that sort."""
    lines = (daemon.folder / "log").read_text(errors="replace").splitlines()
    return [line for line in lines if re.search("#(warn|error|critical)|Traceback", line)]


def measure(case: Case, contender: Contender, options: argparse.Namespace) -> Result:
    """One run."""
    load = [*(case.quick if options.quick else case.load), *contender.flags]
    command = BUILT_IN if case.acks or not options.load else options.load
    if not contender.journal:
        return generate([*command, contender.name, *load])
    with Daemon("--journal", contender.journal, cpu=0) as daemon:
        result = generate([*command, "pychat", *load], PORT=str(daemon.port), PID=str(daemon.pid))
        logged = warnings(daemon)
    if logged:
        print("\n".join([f"  the daemon logged {len(logged)} warnings:", *logged[:3]]), file=sys.stderr)
    return {**result, "warnings": len(logged)} if result else result


def rounds(measured: Measured, options: argparse.Namespace) -> None:
    """All runs of a case."""
    case = measured.case
    needed = case.people + SPARE_FILES
    if not options.quick and file_limit() < needed:
        measured.why_not = f"needs {needed:,} open files, and ulimit -Hn is {file_limit():,.0f}"
        print(f"{case.name}: {measured.why_not}", file=sys.stderr)
        return
    for number in range(options.runs):
        for contender in chat_cases.contenders(case, options.journals, options.peers):
            result = measure(case, contender, options)
            measured.runs.setdefault(contender.name, []).append(result)
            print(
                f"{case.name}, round {number + 1} of {options.runs}, {contender.name}: "
                f"{chat_cases.summary(case, result)}",
                file=sys.stderr, flush=True,
            )  # fmt: skip


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--load",
        type=shlex.split,
        metavar="COMMAND",
        help="a generator (see chat_load.py, which is the default)",
    )
    add("--only", nargs="+", metavar="PATTERN", help="only cases that match one of these")
    add("--list", action="store_true", help="name the cases, and measure nothing")
    add("--runs", type=int, metavar="N", help="medians of so many rounds (3)")
    add(
        "--journal", choices=[*JOURNALS, "both"], default="both", help="where messages are kept (%(default)s)"
    )
    add("--no-peers", action="store_true", help="measure only ourselves")
    add(
        "--quick",
        action="store_true",
        help="a short form of some cases with the built-in load, without peers",
    )
    add("--folder", metavar="DIR", help="where the daemons keep their journals; not on a tmpfs")
    options = parser.parse_args()
    options.runs = options.runs if options.runs is not None else 1 if options.quick else 3
    if options.runs < 1:
        parser.error("--runs is at least 1")
    if options.quick and options.load:
        parser.error("--quick goes with the built-in load")
    if options.load and not shutil.which(options.load[0]):
        parser.error(f"there is no {options.load[0]} that can be run")
    patterns = options.only or (QUICK if options.quick else ["*"])
    options.cases = [case for case in CASES if any(fnmatch(case.name, pattern) for pattern in patterns)]
    if not options.cases:
        parser.error(f"no case is called so; there are {' '.join(case.name for case in CASES)}")
    options.journals = JOURNALS if options.journal == "both" else (options.journal,)
    options.no_peers |= options.quick
    with_peers = options.load and not options.no_peers
    options.peers = [peer for peer in PEERS if with_peers and located(peer)]
    tempfile.tempdir = disk_folder(parser, options.folder)
    return options


def main() -> None:
    options = parse()
    if options.list:
        print("\n".join(case.name for case in options.cases))
        return
    absent = {peer for case in options.cases for peer in case.peers()} - {*options.peers}
    if absent and not options.no_peers:
        why = "not installed" if options.load else "the built-in load starts no peers, see --load"
        print(f"not measured beside {', '.join(sorted(absent))}: {why}", file=sys.stderr)
    surroundings = Surroundings(busy=False)
    measured: list[Measured] = []
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        for case in options.cases:
            measured.append(Measured(case))
            rounds(measured[-1], options)
    finally:
        # What was measured until somebody has had enough of it.
        verdicts = report(options, surroundings, measured)
    left_out = any(each.why_not for each in measured) or (UNMEASURED in verdicts and not options.no_peers)
    if MISSED in verdicts or left_out:
        sys.exit(1)


def report(options: argparse.Namespace, surroundings: Surroundings, measured: list[Measured]) -> set[str]:
    """Print the tables; the verdicts in the first."""
    generator = (
        f"load by {Path(options.load[0]).name}" if options.load else "the built-in load, which is Python"
    )
    print(surroundings.told())
    disk = file_system(tempfile.gettempdir())
    print(
        f"Medians of {options.runs}, in parentheses the range; {generator}{f'; journals on {disk}' if disk else ''}."
        + (" With --quick: short forms, no measurement." if options.quick else "")
    )
    if options.peers:
        print(f"Beside {', '.join(map(version, options.peers))}.")
    if options.load:
        print("Acks: the built-in load, with them and without.")
    print("CPU is that of the server for one delivery.\n")
    rows = [
        chat_cases.row(each, options.journals, options.peers, judged=not options.quick) for each in measured
    ]
    print(table(chat_cases.headings(options.peers), rows))
    print("\nAll runs:\n")
    print(table(chat_cases.SINGLE_HEADINGS, [row for each in measured for row in chat_cases.single(each)]))
    return {row.verdict for row in rows}


if __name__ == "__main__":
    main()
