"""Tests of ``pychat get``, from a real daemon to real files, over loopback."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, succeed

from pychat.client import liveness, road
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
@within(30)
@pytest.mark.parametrize("udp", [True, False])
async def test_there_already(shelf: Path, udp: bool) -> None:
    """The same line again: what is here and the same is a success, and nothing of it comes again."""
    here = shelf / "here"
    async with serving(shelf) as port:
        first = getting(port, "*", here=here, udp=udp)
        assert await status(first) == 0
        inode = (here / "big").stat().st_ino
        (here / "one").unlink()
        again = getting(port, "*", here=here, udp=udp)
        assert await status(again) == 0
        single = getting(port, "big", here=here, udp=udp)
        assert await status(single) == 0
    there = {each["name"]: each for each in again.objects}
    assert {name: each["resumed"] for name, each in there.items()} == {
        "big": 5_000_000, "c.txt": 70_000, "empty": 0, "one": 0,
    }  # fmt: skip
    assert there["big"]["sha256"] == sha256(content(5_000_000)).hexdigest()
    assert there["empty"]["sha256"] == sha256().hexdigest()
    for name in ("big", "c.txt", "empty"):
        assert f"* {name} is there already, and all of it is as on the shelf" in again.err
    assert "one is there" not in again.err
    assert "* 4 of 4 files, " in again.err
    assert "is there already" in single.err
    assert (here / "big").stat().st_ino == inode
    assert sorted(path.name for path in here.iterdir()) == ["big", "c.txt", "empty", "one"]


@pytest_twisted.ensureDeferred
@within(30)
@pytest.mark.parametrize("udp", [True, False])
async def test_there_and_different(shelf: Path, udp: bool) -> None:
    """Another size, or one byte of the same size: it is refused, and stays as it is."""
    here = shelf / "here"
    wrong = bytearray(content(5_000_000))
    wrong[3_500_000] ^= 1
    (here / "big").write_bytes(wrong)
    (here / "c.txt").write_bytes(content(69_999))
    (here / "one").write_bytes(b"")
    (here / "empty").write_bytes(b"x")
    async with serving(shelf) as port:
        program = getting(port, "*", here=here, udp=udp)
        assert await status(program) == 1
    assert {each["name"]: each.get("error") for each in program.objects} == {
        "big": "exists", "c.txt": "exists", "one": "exists", "empty": "exists",
    }  # fmt: skip
    assert "is not the file that the shelf has. Say --force to replace it" in program.err
    assert (here / "big").read_bytes() == wrong
    assert (here / "c.txt").read_bytes() == content(69_999)
    assert len(list(here.iterdir())) == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
@pytest_twisted.ensureDeferred
@within(30)
async def test_not_a_file(shelf: Path) -> None:
    """What is no regular file is never replaced, whatever is said."""
    here = shelf / "here"
    os.mkfifo(here / "pipe")
    (here / "c.txt").mkdir()
    async with serving(shelf) as port:
        for settings in ({"output": str(here / "pipe")}, {}):
            program = getting(port, "c.txt", here=here, force=True, **settings)
            assert await status(program) == 1
            assert program.objects[0]["error"] == "not-a-file"
            assert "is not a regular file" in program.err
    assert stat.S_ISFIFO((here / "pipe").stat().st_mode)
    assert (here / "c.txt").is_dir()
    assert len(list(here.iterdir())) == 2


@pytest_twisted.ensureDeferred
@within(30)
async def test_trace_replaces_nothing(shelf: Path) -> None:
    """A trace has a file of its own."""
    here, mine = shelf / "here", shelf / "mine"
    mine.write_bytes(b"precious")
    async with serving(shelf) as port:
        program = getting(port, "c.txt", here=here, trace=str(mine))
        assert await status(program) == 1
        assert f"{mine} exists already" in program.err
        assert mine.read_bytes() == b"precious"
        for name in ("c.txt", "c.txt.part", "c.txt.part.info"):
            program = getting(port, "c.txt", here=here, force=True, trace=str(here / name))
            assert await status(program) == 1
            assert "is where the trace goes" in program.err
        assert list(here.iterdir()) == []
        program = getting(port, "c.txt", here=here, force=True, trace=str(mine))
        assert await status(program) == 0
    assert b"qlog_version" in mine.read_bytes()


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
        mock.patch.object(liveness, "FALL_BACK_SECONDS", 0.2),
        mock.patch.object(road.Switchboard, "send", return_value=True),
    ):
        async with serving(shelf) as port:
            program = getting(port, "big", "c.txt", here=here)
            assert await status(program) == 0
    assert [each["via"] for each in program.objects] == ["tcp", "tcp"]
    assert program.err.count(BLOCKED) == 1


@pytest_twisted.ensureDeferred
@within(30)
async def test_udp_dies_one_way(shelf: Path) -> None:
    """What we say does not get there any more, once the daemon knows our address: the rest comes over TCP."""
    here = shelf / "here"
    send = road.Switchboard.send
    begun: list[str] = []
    begins = Transfer.begins

    def began(transfer: Transfer, done: int, size: int, now: float) -> None:
        begins(transfer, done, size, now)
        begun.append(transfer.name)

    def deaf(board: road.Switchboard, *what: Any) -> bool:
        return "big" in begun or send(board, *what)

    with (
        mock.patch.object(road.Switchboard, "send", deaf),
        mock.patch.object(Transfer, "begins", began),
    ):
        async with serving(shelf) as port:
            program = getting(port, "c.txt", "big", here=here, jobs=1)
            assert await status(program) == 0
    assert [each["via"] for each in program.objects] == ["udp", "tcp"]
    assert program.err.count(BLOCKED) == 1
    assert program.objects[1]["seconds"] < 6
    assert (here / "big").read_bytes() == content(5_000_000)


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
async def test_the_line_that_goes_on(shelf: Path) -> None:
    """After a pattern that broke off the printed line has all files arrive, and says so by its status."""
    here = shelf / "here"
    async with serving(shelf, 0, *SLOW) as port:
        under = Under(1_000_000)
        with under.patch:
            first = getting(port, "c.txt", "b*", here=here, jobs=1)
            await under.there
            first.done.cancel()
            with pytest.raises(CancelledError):
                await first.done
        assert sorted(path.name for path in here.iterdir()) == ["big.part", "big.part.info", "c.txt"]
        line = shlex.split(first.err.split("To go on: ")[1])
        assert line == ["pychat", "get", f"127.0.0.1:{port}", "c.txt", "b*", "-o", str(here)]
        again = getting(port, *line[3:5], here=here)
        assert await status(again) == 0
    assert "c.txt is there already" in again.err
    assert "big: resuming at" in again.err
    assert (here / "big").read_bytes() == content(5_000_000)


@pytest_twisted.ensureDeferred
@within(30)
async def test_the_line_that_goes_on_by_force(shelf: Path) -> None:
    """With --force it names what is left: the rest would be fetched again. Names with a dash come behind --."""
    here = shelf / "here"
    (shelf / "files" / "-big").write_bytes(content(5_000_000))
    async with serving(shelf, 0, *SLOW) as port:
        under = Under(1_000_000)
        with under.patch:
            first = getting(port, "c.txt", "-big", here=here, jobs=1, force=True)
            await under.there
            first.done.cancel()
            with pytest.raises(CancelledError):
                await first.done
    line = shlex.split(first.err.split("To go on: ")[1])
    assert line[3:] == ["-o", str(here), "--force", "--", "-big"]


@pytest_twisted.ensureDeferred
@within(30)
async def test_resume_over_tcp(shelf: Path) -> None:
    """What is there is checked and gone on with, also when UDP turns out to be blocked."""
    here = shelf / "here"
    async with serving(shelf, 0, *SLOW) as port:
        await interrupted(shelf, port)
        with (
            mock.patch.object(liveness, "FALL_BACK_SECONDS", 0.2),
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
