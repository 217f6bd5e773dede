"""``make crowd``: see `tests.crowd`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from .downloads import downloads
from .pipeline import pipeline
from .places import Place, Seen
from .slow_readers import slow_readers
from .soak import soak
from .stalls import stalls
from .storm import storm

SCENARIOS: dict[str, tuple[Callable[..., list[Seen]], str]] = {
    "slow-readers": (slow_readers, "100 of 1,000 stop reading while 50 talk"),
    "storm": (storm, "5,000 are cut off at once, and come back"),
    "pipeline": (pipeline, "one writes a million commands at once"),
    "stalls": (stalls, "1,000 people at saturation, and the stall watchdog silent"),
    "downloads": (downloads, "four downloads at full speed beside people who chat"),
    "soak": (soak, "15 minutes of comings and goings"),
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crowd",
        description="Put the daemon into a crowd, and print what is seen beside the targets. Scenarios: "
        + "; ".join(f"{name} ({tells})" for name, (_, tells) in SCENARIOS.items())
        + ".",
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="which ones (all)")
    parser.add_argument("--journal", choices=("sqlite", "memory"), default="sqlite")
    parser.add_argument(
        "--memory-limit",
        type=int,
        default=128,
        metavar="MIB",
        help="for slow-readers, as the daemon's (%(default)s)",
    )
    parser.add_argument("--people", type=int, help="how many take part, where that can be chosen")
    parser.add_argument("--stopped", type=int, help="how many of the slow-readers stop")
    parser.add_argument("--senders", type=int, help="how many talk in slow-readers and stalls")
    parser.add_argument("--seconds", type=float, help="how long things are measured")
    parser.add_argument("--size", type=int, help="bytes of a text in slow-readers")
    parser.add_argument("--within", type=float, help="seconds in which the storm comes back")
    parser.add_argument("--minutes", type=float, help="how long the soak takes")
    parser.add_argument("--commands", type=int, help="how many the pipeline has")
    parser.add_argument("--megabytes", type=int, help="how large the file is that is downloaded")
    parser.add_argument("--runs", type=int, help="how often the downloads are measured")
    parser.add_argument("--needed", type=int, help="how many of these have to be good")
    parser.add_argument(
        "--untimed",
        action="store_true",
        help="only tell what depends on the speed of the machine, and do not judge it",
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}. There are {', '.join(SCENARIOS)}")
    return given


def settings(happens: Callable[..., list[Seen]], given: argparse.Namespace) -> dict[str, Any]:
    """Those options that this scenario takes."""
    code = happens.__code__
    names = code.co_varnames[1 : code.co_argcount]
    return {name: getattr(given, name) for name in names if getattr(given, name, None) is not None}


def main(arguments: Sequence[str]) -> int:
    """Run the scenarios; return the exit status: 0 if all that could be measured is as it has to be."""
    given = parse(arguments)
    all_met = True
    for name in given.scenarios or SCENARIOS:
        happens, tells = SCENARIOS[name]
        say(f"{name}: {tells}")
        began = monotonic()
        with tempfile.TemporaryDirectory(prefix="pychat-crowd-", ignore_cleanup_errors=True) as folder:
            place = Place(Path(folder), given.journal, given.memory_limit, lambda line: say(f"  {line}"))
            try:
                seen = happens(place, **settings(happens, given))
            except Exception as error:
                traceback.print_exc()
                lines = str(error).strip().splitlines() or [""]
                seen = [Seen("ended", f"{type(error).__name__}: {lines[0]}", "to its end", False)]
        for one in seen:
            met = None if given.untimed and one.timed else one.met
            all_met = all_met and met is not False
            word = {True: "met   ", False: "MISSED", None: "      "}[met]
            say(f"{word} {name:13} {one.what}: {one.seen} (target: {one.target})")
        say(f"       {name:13} took {monotonic() - began:.0f} s")
    return 0 if all_met else 1


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
