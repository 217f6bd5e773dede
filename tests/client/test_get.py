"""Tests of ``pychat get``, from a real daemon to real files, over loopback."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, succeed

from pychat.client import errand, road
from pychat.client.errand import CHANGED, Errand
from pychat.client.haul import Haul
from pychat.client.progress import Transfer
from pychat.client.road import BLOCKED, Road
from pychat.part import read_part
from tests.guards import within

from .daemons import serving
from .running import Program, getting

SLOW = ("--rate-limit", "20M")
"""A daemon that takes its time, so that something can happen meanwhile."""


def content(size: int, seed: int = 0) -> bytes:
    return (sha256(bytes([seed])).digest() * (size // 32 + 1))[:size]


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "files" / "a").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    for name, size in (("empty", 0), ("one", 1), ("big", 5_000_000), ("a/b.txt", 5), ("c.txt", 70_000)):
        (tmp_path / "files" / name).write_bytes(content(size))
    return tmp_path


class Under:
    """Fires when a file has come so far."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.there: Deferred[None] = Deferred()
        update = Transfer.update

        def seen(transfer: Transfer, done: int, size: int) -> None:
            update(transfer, done, size)
            if done >= self.nbytes and not self.there.called:
                self.there.callback(None)

        self.patch = mock.patch.object(Transfer, "update", seen)


async def status(program: Program) -> int:
    return await program.done


@pytest_twisted.ensureDeferred
@within(30)
async def test_sizes(shelf: Path) -> None:
    """Files of no byte, of one, and of several megabytes arrive, and their digests are told."""
    here = shelf / "here"
    async with serving(shelf) as port:
        program = getting(port, "empty", "one", "big", here=here)
        assert await status(program) == 0
    assert {each["name"] for each in program.objects} == {"empty", "one", "big"}
    for each in program.objects:
        data = (here / each["name"]).read_bytes()
        assert data == (shelf / "files" / each["name"]).read_bytes()
        assert each["sha256"] == sha256(data).hexdigest()
        assert (each["bytes"], each["via"], each["resumed"]) == (len(data), "udp", 0)
        assert each["path"] == str(here / each["name"])
        assert each["seconds"] > 0
    assert len(list(here.iterdir())) == 3
    assert "* 3 of 3 files, 5.0 MB in " in program.err


@pytest_twisted.ensureDeferred
@within(30)
async def test_patterns(shelf: Path) -> None:
    """A pattern is as good as names; what it does not mean is told."""
    here = shelf / "here"
    async with serving(shelf) as port:
        program = getting(port, "**/*.txt", "*.pdf", "nope", here=here)
        assert await status(program) == 1
    assert {path.name for path in here.iterdir()} == {"b.txt", "c.txt"}
    errors = {each["name"]: each["error"] for each in program.objects if "error" in each}
    assert errors == {"*.pdf": "no-match", "nope": "no-such-file"}
    assert f"pychat files 127.0.0.1:{port}" in program.err


@pytest_twisted.ensureDeferred
@within(30)
async def test_same_name(shelf: Path) -> None:
    """Two files that would have one name here: the second is refused, and so is what exists."""
    here = shelf / "here"
    (shelf / "files" / "b.txt").write_bytes(b"other")
    (here / "c.txt").write_bytes(b"mine")
    async with serving(shelf) as port:
        program = getting(port, "*.txt", "a/*", here=here)
        assert await status(program) == 1
        assert [each.get("error") for each in program.objects] == ["exists", "exists", None]
        assert (here / "c.txt").read_bytes() == b"mine"
        again = getting(port, "c.txt", here=here, force=True)
        assert await status(again) == 0
    assert (here / "c.txt").read_bytes() == content(70_000)


@pytest_twisted.ensureDeferred
@within(60)
async def test_many(shelf: Path) -> None:
    """Hundreds of small files over one connection, several at once."""
    here = shelf / "here"
    for number in range(200):
        (shelf / "files" / f"{number}.dat").write_bytes(content(10_000, number % 256))
    async with serving(shelf) as port:
        program = getting(port, "*.dat", here=here, jobs=20)
        assert await status(program) == 0
    for number in range(200):
        assert (here / f"{number}.dat").read_bytes() == content(10_000, number % 256)
    assert {each["via"] for each in program.objects} == {"udp"}


@pytest_twisted.ensureDeferred
@within(30)
async def test_no_udp(shelf: Path) -> None:
    """Over TCP, for the client wants it so, or the daemon."""
    here = shelf / "here"
    async with serving(shelf) as port:
        program = getting(port, "big", here=here, udp=False)
        assert await status(program) == 0
    async with serving(shelf, 0, "--no-udp") as port:
        other = getting(port, "c.txt", here=here)
        assert await status(other) == 0
    assert [each["via"] for each in program.objects + other.objects] == ["tcp", "tcp"]
    assert (here / "big").read_bytes() == content(5_000_000)


@pytest_twisted.ensureDeferred
@within(30)
async def test_udp_blocked(shelf: Path) -> None:
    """Datagrams that go nowhere: said once, and then all comes over TCP."""
    here = shelf / "here"
    with (
        mock.patch.object(road, "FALL_BACK_SECONDS", 0.2),
        mock.patch.object(errand, "FALL_BACK_SECONDS", 0.2),
        mock.patch.object(road.Switchboard, "send", return_value=True),
    ):
        async with serving(shelf) as port:
            program = getting(port, "big", "c.txt", here=here)
            assert await status(program) == 0
    assert [each["via"] for each in program.objects] == ["tcp", "tcp"]
    assert program.err.count(BLOCKED) == 1


async def interrupted(shelf: Path, port: int) -> Program:
    """A ``pychat get`` that was cancelled when a part of it had come."""
    under = Under(1_000_000)
    with under.patch:
        program = getting(port, "big", here=shelf / "here")
        await under.there
        program.done.cancel()
        with pytest.raises(CancelledError):
            await program.done
    return program


@pytest_twisted.ensureDeferred
@within(30)
async def test_resume(shelf: Path) -> None:
    """Ctrl-C leaves what came, and the line that goes on; that gets only the rest."""
    here = shelf / "here"
    async with serving(shelf, 0, *SLOW) as port:
        first = await interrupted(shelf, port)
        assert sorted(path.name for path in here.iterdir()) == ["big.part", "big.part.info"]
        assert f"To go on: pychat get 127.0.0.1:{port} big -o {here}" in first.err
        held = read_part(str(here / "big"))
        assert held is not None
        assert held.ranges
        second = getting(port, "big", here=here)
        assert await status(second) == 0
    assert "* big: resuming at " in second.err
    assert second.objects[0]["resumed"] > 0
    assert (here / "big").read_bytes() == content(5_000_000)
    assert [path.name for path in here.iterdir()] == ["big"]


@pytest_twisted.ensureDeferred
@within(30)
async def test_resume_over_tcp(shelf: Path) -> None:
    """What is there is checked and gone on with, also when UDP turns out to be blocked."""
    here = shelf / "here"
    async with serving(shelf, 0, *SLOW) as port:
        await interrupted(shelf, port)
        with (
            mock.patch.object(errand, "FALL_BACK_SECONDS", 0.2),
            mock.patch.object(Road, "ready", return_value=succeed(None)),
            mock.patch.object(road.Switchboard, "send", return_value=True),
        ):
            second = getting(port, "big", here=here)
            assert await status(second) == 0
    assert (second.objects[0]["via"], second.err.count("resuming at")) == ("tcp", 1)
    assert second.objects[0]["resumed"] > 0
    assert (here / "big").read_bytes() == content(5_000_000)


@pytest_twisted.ensureDeferred
@within(30)
async def test_source_changed(shelf: Path) -> None:
    """A file that was changed meanwhile is begun again, and that is said."""
    here = shelf / "here"
    async with serving(shelf, 0, *SLOW) as port:
        await interrupted(shelf, port)
        (shelf / "files" / "big").write_bytes(content(4_000_000, 1))
        second = getting(port, "big", here=here)
        assert await status(second) == 0
    assert f"* big: {CHANGED}" in second.err
    assert second.objects[0]["resumed"] == 0
    assert (here / "big").read_bytes() == content(4_000_000, 1)


@pytest_twisted.ensureDeferred
@within(30)
@pytest.mark.parametrize("udp", [True, False])
async def test_daemon_restarts(shelf: Path, udp: bool) -> None:
    """The daemon ends under way, and another one takes its place: it goes on."""
    here = shelf / "here"
    (shelf / "files" / "huge").write_bytes(content(30_000_000))
    under = Under(1_000_000)
    with under.patch:
        async with serving(shelf, 0, *SLOW) as port:
            program = getting(port, "huge", here=here, udp=udp)
            await under.there
    assert not program.done.called
    async with serving(shelf, port):
        assert await status(program) == 0
    assert (here / "huge").read_bytes() == content(30_000_000)
    assert "huge: resuming at " in program.err


@pytest_twisted.ensureDeferred
@within(30)
async def test_connection_breaks(shelf: Path) -> None:
    """A chat connection that breaks is made again, and costs the file nothing."""
    here = shelf / "here"
    (shelf / "files" / "huge").write_bytes(content(30_000_000))
    under = Under(1_000_000)
    with under.patch:
        async with serving(shelf, 0, *SLOW) as port:
            program = getting(port, "huge", "c.txt", here=here, jobs=1)
            await under.there
            haul: Haul = program.program._haul
            assert haul.lane.now is not None
            haul.lane.now.abort()
            assert await status(program) == 0
    assert (here / "huge").read_bytes() == content(30_000_000)


@pytest_twisted.ensureDeferred
@within(30)
async def test_gives_up(shelf: Path) -> None:
    """A daemon that does not come back: said after a while, and what came is kept."""
    here = shelf / "here"
    (shelf / "files" / "huge").write_bytes(content(30_000_000))
    under = Under(1_000_000)
    with under.patch:
        async with serving(shelf, 0, *SLOW) as port:
            program = getting(port, "huge", here=here, patience=1.0)
            await under.there
    assert await status(program) == 1
    assert "connection lost" in program.err
    assert "error" in program.objects[0]
    assert (here / "huge.part").exists()


@pytest_twisted.ensureDeferred
@within(30)
async def test_nowhere(shelf: Path) -> None:
    """Folders that are not there, before anything is asked; nobody who listens: each file is told."""
    here = shelf / "here"
    for names, settings, said in (
        (("big",), {"output": str(here / "no" / "x")}, "There is no folder "),
        (("big", "one"), {"output": str(here / "no")}, "There is no folder "),
        (("big", "one"), {}, "Nobody listens at "),
    ):
        program = getting(1, *names, here=here, **settings)
        assert await status(program) == 1
        assert program.err.startswith(f"pychat: {said}")
        assert [each["name"] for each in program.objects] == list(names)
    assert list(here.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(30)
async def test_fault(shelf: Path, logged_failures: Any) -> None:
    """A fault of ours costs its file, and no other."""
    here = shelf / "here"
    run: Callable[..., Any] = Errand.run

    async def faulty(self: Errand) -> Any:
        if self.name == "one":
            raise ValueError("oops")
        return await run(self)

    async with serving(shelf) as port:
        with mock.patch.object(Errand, "run", faulty):
            program = getting(port, "one", "c.txt", here=here)
            assert await status(program) == 1
    assert {each["name"]: each.get("error") for each in program.objects} == {"one": "fault", "c.txt": None}
    assert len(logged_failures.flush(ValueError)) == 1
    assert os.listdir(here) == ["c.txt"]
