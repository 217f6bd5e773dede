"""`tests.survival` in its short form: between two namespaces joined by a cable, without an emulator of links."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..survival import downloads, noise, uploads
from ..survival.worlds import Cabled, Seen, World
from .test_downloads import MB

pytestmark = [pytest.mark.system, pytest.mark.timeout(110)]

Happening = Callable[[World], list[Seen]]

SLOW = 100
"""Mbit/s of the cable where something has to happen in the middle of a file."""


def check(seen: list[Seen]) -> None:
    """Every limit was kept."""
    assert seen
    assert all(one.met for one in seen), "\n".join(map(str, seen))


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda world: downloads.outages(world, 15 * MB), id="outage of 2 s"),
        pytest.param(lambda world: downloads.black_hole(world, 20 * MB, after=0.5), id="black hole"),
        pytest.param(lambda world: downloads.another_address(world, 10 * MB), id="another address"),
        pytest.param(lambda world: downloads.killed(world, 30 * MB, kills=2), id="killed twice"),
        pytest.param(lambda world: downloads.blocked(world, 5 * MB), id="UDP blocked"),
    ],
)
def test_a_download_survives(tmp_path: Path, happens: Happening) -> None:
    """What happens to it on the way, or to its ends: it arrives all the same."""
    with Cabled(tmp_path, mbit=SLOW) as world:
        check(happens(world))


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda world: uploads.killed(world, 60 * MB), id="killed twice"),
        pytest.param(uploads.full_disk, id="full disk"),
    ],
)
def test_an_upload_survives(tmp_path: Path, happens: Happening) -> None:
    """A slow cable leaves time for what happens in the middle."""
    with Cabled(tmp_path, mbit=SLOW) as world:
        check(happens(world))


@pytest.mark.parametrize(
    "happens",
    [uploads.over_quota, uploads.unwelcome, uploads.existing, uploads.hostile],
    ids=lambda one: one.__name__,
)
def test_an_upload_is_refused(tmp_path: Path, happens: Happening) -> None:
    """By name, and nothing of it stays."""
    with Cabled(tmp_path) as world:
        check(happens(world))


def test_strangers_at_the_port(tmp_path: Path) -> None:
    """50,000 datagrams of chance beside downloads: no answer, nothing logged as a failure, memory flat."""
    with Cabled(tmp_path) as world:
        check(noise.strangers(world, 50_000, 5 * MB))
