"""`tests.chaos` in its short form; and daemons and clients that are wrong on purpose, which it has to find."""

from __future__ import annotations

import re
import shlex

import pytest

from .programs import run_module

pytestmark = pytest.mark.system


def chaos(arguments: str) -> tuple[int, str]:
    """Run it; return its status and what it wrote."""
    return run_module("tests.chaos", *shlex.split(arguments))


def test_five_kills() -> None:
    """Nothing is lost, comes twice, out of order or to whom it is not for, and no verdict is untrue."""
    status, wrote = chaos("--kills 5")
    assert status == 0, wrote
    assert re.search(
        r"^All is well: 0 lost, 0 twice, 0 out of order, 0 untrue, 0 leaked, 0 others$", wrote, re.MULTILINE
    )
    # And it was a storm.
    for what, least in (
        (r"messages in the journal", 1500),
        (r"in rooms", 300),
        (r"of them edits", 50),
        (r"retractions", 15),
        (r"reactions", 30),
        (r"joins", 250),
        (r"leaves in the journal", 30),
        (r"connections dropped", 10),
        (r"clients killed", 1),
        (r"resumes", 160),
    ):
        counted = re.search(rf"([\d,]+) {what}", wrote)
        assert counted, wrote
        assert int(counted[1].replace(",", "")) >= least, wrote


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ("early-ack --kills 2 --messages 500", r"[1-9][\d,]* lost"),
        ("deliver-twice --kills 1 --messages 300", r"[1-9][\d,]* twice"),
        ("leak --kills 0 --messages 500", r"[1-9][\d,]* leaked"),
        ("forget --kills 2 --messages 300", r"[1-9][\d,]* lost"),
    ],
)
def test_what_is_wrong_is_found(wrong: str, found: str) -> None:
    """Acceptances before the commit, messages shown again or to former members, lost memberships: it ends with 1."""
    status, wrote = chaos(f"--break {wrong}")
    assert status == 1, wrote
    assert re.search(rf"^FAULTS: .*{found}", wrote, re.MULTILINE), wrote
