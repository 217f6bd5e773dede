"""SIGTERM and SIGINT, under each of the three commands that run the daemon."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from .programs import RUNNERS, Talker, serve

pytestmark = pytest.mark.system

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_signal_ends_it_well(tmp_path: Path, runner: str, number: signal.Signals) -> None:
    """Everybody is told goodbye, and the status is 0 within three seconds."""
    with serve(tmp_path, runner=RUNNERS[runner]) as daemon:
        with Talker(daemon.port, "alice") as alice, Talker(daemon.port) as nameless:
            began = monotonic()
            daemon.signal(number)
            assert daemon.status() == 0
            assert monotonic() - began < 3
            for talker in (alice, nameless):
                assert talker.hears_rest()[-1].startswith("<goodbye code=shutdown>")
        assert "Traceback" not in daemon.out + daemon.err
        assert daemon.err == ""


@pytest.mark.parametrize("runner", RUNNERS)
def test_one_who_does_not_read_does_not_hold_it_up(tmp_path: Path, runner: str) -> None:
    """Within three seconds all the same."""
    with (
        serve(tmp_path, runner=RUNNERS[runner]) as daemon,
        Talker(daemon.port, "alice") as alice,
        stuck(daemon.port),
    ):
        began = monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.status() == 0
        assert monotonic() - began < 3
        assert alice.hears_rest()[-1].startswith("<goodbye code=shutdown>")


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_second_signal_ends_it_at_once(tmp_path: Path, runner: str, number: signal.Signals) -> None:
    """While the shutdown waits for somebody."""
    with serve(tmp_path, runner=RUNNERS[runner]) as daemon, stuck(daemon.port):
        daemon.signal(number)
        daemon.shows("A second signal ends the process at once")
        daemon.signal(number)
        began = monotonic()
        assert daemon.status() == -number
        assert monotonic() - began < 0.5


@contextlib.contextmanager
def stuck(port: int) -> Iterator[None]:
    """Somebody who asks and asks and reads nothing, so that bytes stay with the daemon."""
    with Talker(port) as talker:
        with pytest.raises(TimeoutError):
            talker.flood(b"<help>\n" * 1000, seconds=1)
        yield
