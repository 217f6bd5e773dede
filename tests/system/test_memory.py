"""What one peer can make the daemon hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import Talker, serve

pytestmark = pytest.mark.system

MB = 1_000_000


def test_a_line_without_end(tmp_path: Path) -> None:
    """100 MB without a line end are refused once and skipped; memory stays flat, and others are served meanwhile."""
    with serve(tmp_path) as daemon, Talker(daemon.port, "bob") as bob, Talker(daemon.port, "alice") as alice:
        before = daemon.memory()
        piece = b"x" * MB
        alice.send(b"<set_msg_all>")
        for number in range(100):
            alice.send(piece)
            if number % 25 == 0:
                bob.say(f"<ping>{number}")
                bob.hears(f"<pong>{number}$", 2)
        alice.send(b"\n")
        assert alice.hears("<error").startswith("<error code=line-too-long>")
        alice.say("<ping>well?")
        assert alice.line() == "<pong>well?"
        assert daemon.memory("VmHWM") - before < 5 * MB


def test_answers_that_nobody_reads(tmp_path: Path) -> None:
    """Who asks and does not read is not asked for more: what waits for him is bounded."""
    with serve(tmp_path) as daemon, Talker(daemon.port, "alice") as alice:
        before = daemon.memory()
        asked = b"<help>\n" * 1000
        with pytest.raises(TimeoutError):
            alice.flood(asked, seconds=2)
        assert daemon.memory("VmHWM") - before < 10 * MB
