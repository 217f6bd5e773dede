"""``make survive``: see `tests.survival`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from time import monotonic

from ..system.test_downloads import MB
from . import downloads, noise, uploads
from .worlds import LINK, Cabled, Linked, Seen, World

NEAR = "--rate 100 --delay 10 --queue-ms 50 --seed 5"

Scenario = tuple[str, str, Callable[[World], list[Seen]]]

GB = 1000 * MB

SCENARIOS: tuple[Scenario, ...] = (
    ("outages", f"{NEAR} --outage 5000,2000", lambda world: downloads.simple(world, 100 * MB)),
    ("reordering", f"{NEAR} --reorder 5 --reorder-ms 50", lambda world: downloads.simple(world, 50 * MB)),
    ("duplication", f"{NEAR} --dup 2", lambda world: downloads.simple(world, 50 * MB)),
    ("corruption", f"{NEAR} --corrupt 1", lambda world: downloads.simple(world, 50 * MB)),
    ("black-hole", NEAR, lambda world: downloads.black_hole(world, 100 * MB)),
    ("address", NEAR, lambda world: downloads.another_address(world, 50 * MB)),
    ("killed", NEAR, lambda world: downloads.killed(world, 200 * MB)),
    ("blocked", NEAR, lambda world: downloads.blocked(world, 25 * MB)),
    ("many-files", "--rate 100 --delay 50 --queue-ms 50", lambda world: downloads.many_files(world, 0.1)),
    ("upload-killed", "", lambda world: uploads.killed(world, GB)),
    ("upload-quota", "", uploads.over_quota),
    ("upload-unwelcome", "", uploads.unwelcome),
    ("upload-existing", "", uploads.existing),
    ("upload-full-disk", "", uploads.full_disk),
    ("upload-hostile", "", uploads.hostile),
    ("strangers", "", lambda world: noise.strangers(world, MB)),
)
"""Name, options of the link (none: a cable), and what happens."""


def main() -> None:
    """Run the scenarios, and tell what was seen beside the limits."""
    parser = argparse.ArgumentParser(prog="python -m tests.survival", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="only those that match one of these patterns"
    )
    parser.add_argument("--list", action="store_true", help="name them")
    options = parser.parse_args()
    chosen = [
        one for one in SCENARIOS if not options.only or any(fnmatch(one[0], only) for only in options.only)
    ]
    if options.list:
        print("\n".join(name for name, _, _ in chosen))  # noqa: T201
        return
    if not LINK and any(settings for _, settings, _ in chosen):
        sys.exit("PYCHAT_LINK names no command that raises a link; without one: --only 'upload*' strangers")
    all_met = True
    for name, settings, happens in chosen:
        began = monotonic()
        with tempfile.TemporaryDirectory(prefix="pychat-survive-") as folder:
            place: Linked | Cabled = Linked(Path(folder), settings) if settings else Cabled(Path(folder))
            try:
                with place as world:
                    seen = happens(world)
            except Exception as error:
                traceback.print_exc()
                lines = str(error).strip().splitlines() or [""]
                seen = [Seen("ended", f"{type(error).__name__}: {lines[0]}", "to its end", False)]
        for one in seen:
            all_met = all_met and one.met
            told = "ok    " if one.met else "FAILED"
            print(f"{told} {name:17} {one.what}: {one.seen} (limit: {one.limit})", flush=True)  # noqa: T201
        print(f"       {name:17} took {monotonic() - began:.0f} s", flush=True)  # noqa: T201
    if not all_met:
        sys.exit(1)


if __name__ == "__main__":
    main()
