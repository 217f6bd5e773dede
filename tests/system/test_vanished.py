"""A peer that is gone without a word: no FIN, no RST, no ICMP."""

from __future__ import annotations

import contextlib
from pathlib import Path
from time import monotonic

import pytest

from .programs import PATIENCE, Network, Program, serve, until

pytestmark = pytest.mark.system

LIMIT = 120.0
"""Seconds after which the chat has to know, whatever was under way."""

LATE = 45.0
"""Seconds of silence after which somebody writes to the late one."""

CASES = ("idle", "writing", "late")


@pytest.mark.timeout(180)
def test_it_is_found_and_its_name_is_free(tmp_path: Path) -> None:
    """Idle, with bytes on their way from the first moment, and with bytes sent late into the silence.

    All at once, each with a daemon of its own: a notice of one must not be bytes on their way to another.
    """
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network("gone"))
        here, there = network.inside(network.here), network.inside(network.there)
        watchers: dict[str, Program] = {}
        for number, case in enumerate(CASES):
            port = 50000 + number
            stack.enter_context(serve(tmp_path / case, listen=f"tcp:{port}", prefix=here))
            watcher = stack.enter_context(Program(*here, "nc", "127.0.0.1", str(port)))
            watcher.type("<connect>watcher")
            watcher.shows("^<connected")
            gone = stack.enter_context(Program(*there, "nc", network.HERE, str(port)))
            gone.type("<connect>gone")
            gone.shows("^<connected")
            watcher.shows("^<joined>gone$")
            watchers[case] = watcher

        network.vanish()
        vanished = monotonic()
        watchers["writing"].type("<set_msg>gone are you there?")
        late_sent = False
        found: dict[str, float] = {}

        def look() -> bool:
            nonlocal late_sent
            since = monotonic() - vanished
            if since > LATE and not late_sent:
                late_sent = True
                watchers["late"].type("<set_msg>gone are you still there?")
            for case, watcher in watchers.items():
                if case not in found and "\n<left>gone\n" in watcher.out:
                    found[case] = since
            return len(found) == len(CASES)

        with contextlib.suppress(AssertionError):
            until(look, "all found", LIMIT)
        assert sorted(found) == sorted(CASES), found

        for case, watcher in watchers.items():
            if case != "idle":
                watcher.shows("^<undelivered id=1 reason=gone>gone$")
            port = 50000 + CASES.index(case)
            with Program(*here, "nc", "127.0.0.1", str(port)) as again:
                again.type("<connect>gone")
                again.shows("^<connected.*>gone$", PATIENCE)
