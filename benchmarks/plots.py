#!/usr/bin/env python3
"""Make the pictures in docs/transfer.md: one download each over a link that loses nothing, 1 % and 5 %.

    python benchmarks/plots.py --link linkem.sh

The link is 100 Mbit/s with a round trip of 20 ms and a queue of 50 ms; see `links` for what ``--link`` has to do.
Needs root.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import plot_trace
from links import Link
from ours import Daemon, Files

LINK = "--rate 100 --delay 10 --queue-ms 50"
LOSSES = ("0", "1", "5")
SIZE = 25
"""MB (millions of bytes) of the file."""
PICTURES = Path(__file__).parents[1] / "docs" / "plots"


def main() -> None:
    """One download for each loss."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--link", required=True, help="the command that raises the link")
    parser.add_argument("--size", type=float, default=SIZE, help="MB of the file (%(default)s)")
    parser.add_argument("--output", type=Path, default=PICTURES, help="folder for the pictures (%(default)s)")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    with Files() as files, tempfile.TemporaryDirectory() as folder:
        shelf = files.shelf(given.size)
        for loss in LOSSES:
            trace = Path(folder) / f"loss-{loss}.qlog"
            with Link(given.link, f"{LINK} --loss {loss}") as link, Daemon(shelf, link) as daemon:
                ended = daemon.get(Path(folder) / "arrived", "--trace", str(trace)).wait(120)
            if ended.status:
                sys.exit(f"At {loss} % it failed: {ended.err.strip()}")
            drawn = plot_trace.choose(json.loads(trace.read_bytes())["traces"][0], None)
            lost = f"{loss} % loss" if loss != "0" else "no loss"
            title = f"{given.size:g} MB over 100 Mbit/s, 20 ms, {lost}"
            picture = given.output / f"loss-{loss}.svg"
            picture.write_text(plot_trace.svg(drawn, title))
            print(f"{picture}: {ended.wall:.1f} s")


if __name__ == "__main__":
    main()
