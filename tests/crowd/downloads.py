"""Files go out as fast as they can while people write to each other."""

from __future__ import annotations

import contextlib

from ..system.programs import PYCHAT, Daemon, Program
from ..system.test_downloads import MB, make
from .control import compare, controlled
from .people import Crowd, Person
from .places import Place, Seen

LIMIT = 20.0
"""Milliseconds by which the chat's p99 may be above the control's."""


class Fetcher:
    """One ``pychat get`` after the other, of the same file."""

    def __init__(self, place: Place, daemon: Daemon, number: int) -> None:
        self._command = (*PYCHAT, "get", daemon.address, "file", "-o", f"got-{number}", "--force")
        self._place = place
        self.arrived = 0
        self.failed = ""
        self._program = self._begin()

    def _begin(self) -> Program:
        return Program(*self._command, cwd=self._place.folder)

    def look(self) -> None:
        """Begin again if it is done."""
        if not self._program.running and not self.failed:
            if self._program.status():
                self.failed = self._program.err.strip()[-200:]
                return
            self._program.__exit__(None, None, None)
            self.arrived += 1
            self._program = self._begin()

    def close(self) -> None:
        self._program.__exit__(None, None, None)


def downloads(
    place: Place,
    files: int = 4,
    megabytes: int = 1000,
    people: int = 50,
    seconds: float = 15.0,
    runs: int = 5,
    needed: int = 3,
) -> list[Seen]:
    """So many downloads all the time; of the runs the best ``needed`` count."""
    make(place.folder / "files" / "file", megabytes * MB)
    with (
        place.serve() as daemon,
        Crowd(daemon.port, place.tell) as crowd,
        controlled(place, crowd) as control,
        contextlib.ExitStack() as stack,
    ):
        crowd.gather(Person(crowd, f"p{n}") for n in range(people))
        quiet, floor = control.measure(min(seconds, 5.0))
        place.tell(f"before: {compare('', quiet, floor, LIMIT).seen}")
        fetchers = [Fetcher(place, daemon, number) for number in range(files)]
        for fetcher in fetchers:
            stack.callback(fetcher.close)
        crowd.every(0.05, lambda: [fetcher.look() for fetcher in fetchers])
        crowd.run(min(2.0, seconds))
        found = []
        for number in range(runs):
            seen = compare(f"run {number + 1}: p99", *control.measure(seconds), LIMIT)
            place.tell(
                f"{seen.what} {seen.seen}; {sum(each.arrived for each in fetchers)} files have arrived"
            )
            found.append(seen)
        good = sum(bool(seen.met) for seen in found)
        failed = [fetcher.failed for fetcher in fetchers if fetcher.failed]
        arrived = sum(fetcher.arrived for fetcher in fetchers)
    return [
        *(seen._replace(met=None) for seen in found),
        Seen("runs within it", f"{good} of {runs}", f"{needed} of {runs}", good >= needed, timed=True),
        Seen(
            f"{files} downloads",
            f"{arrived} whole files of {megabytes} MB; failed: {failed}",
            "none",
            not failed,
        ),
    ]
