"""`tests.crowd` in its short form: few people, for seconds; how fast it goes is not judged."""

from __future__ import annotations

import re
import shlex

import pytest

from .programs import run_module

pytestmark = pytest.mark.system


def crowd(arguments: str) -> tuple[int, str]:
    """Run it; return its status and what it wrote."""
    return run_module("tests.crowd", "--untimed", *shlex.split(arguments))


@pytest.mark.parametrize(
    ("arguments", "met"),
    [
        (
            "slow-readers --people 60 --stopped 12 --senders 10 --seconds 0.5 --size 1500",
            r"goodbyes to 11 who read on: 1[01] too-slow",
        ),
        ("storm --people 150 --within 2", r"0 lost, 0 twice, 0 out of order"),
        ("pipeline --people 5 --commands 10000 --seconds 0.5", r"reads: answers: (9,9|10,0)"),
        ("stalls --people 60 --senders 10 --seconds 0.5", r"60 of 60 have all, in order"),
        ("downloads --people 5 --megabytes 2 --seconds 0.5 --runs 1 --needed 1", r"failed: \[\]"),
        ("soak --people 30 --megabytes 1 --minutes 0.1", r"faults: 0 \[\]"),
    ],
    ids=["slow readers", "storm", "pipeline", "stalls", "downloads", "soak"],
)
def test_a_crowd(arguments: str, met: str) -> None:
    """All that does not depend on the speed of the machine is as it has to be."""
    status, wrote = crowd(arguments)
    assert status == 0, wrote
    assert re.search(rf"^met .*{met}", wrote, re.MULTILINE), wrote
