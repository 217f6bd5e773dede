"""Tests of ``pychat put``: to a real daemon's shelf, over loopback."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path
from unittest import mock

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError

from pychat.client import liveness, road
from pychat.client.send import SECRET, hash_file, open_source, own_secret
from pychat.errors import TransferError
from tests.guards import within

from .daemons import serving
from .running import Program, putting
from .test_get import SLOW, Under, content


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "mine").mkdir()
    for name, size in (("empty", 0), ("one", 1), ("big", 5_000_000), ("huge", 30_000_000)):
        (tmp_path / "mine" / name).write_bytes(content(size))
    return tmp_path


async def status(program: Program) -> int:
    return await program.done


@pytest_twisted.ensureDeferred
@within(30)
async def test_sizes(shelf: Path) -> None:
    """Files of no byte, of one, and of several megabytes get there."""
    mine = shelf / "mine"
    async with serving(shelf) as port:
        program = putting(port, mine / "empty", mine / "one", mine / "big")
        assert await status(program) == 0
    for each in program.objects:
        data = (shelf / "files" / each["name"]).read_bytes()
        assert data == (mine / each["name"]).read_bytes()
        assert (each["bytes"], each["sha256"]) == (len(data), sha256(data).hexdigest())
        assert (each["via"], each["resumed"], each["path"]) == ("udp", 0, str(mine / each["name"]))
    assert len(program.objects) == 3


@pytest_twisted.ensureDeferred
@within(30)
async def test_refused(shelf: Path) -> None:
    """Nothing is overwritten, and what is refused is said with what to do."""
    mine = shelf / "mine"
    (shelf / "files" / "one").write_bytes(b"theirs")
    async with serving(shelf) as port:
        program = putting(port, mine / "one", mine / "nope", mine)
        assert await status(program) == 1
        assert {each["name"]: each["error"] for each in program.objects} == {
            "one": "exists", str(mine / "nope"): "no-such-file", "mine": "not-a-file",
        }  # fmt: skip
        assert "--as" in program.err
        other = putting(port, mine / "one", label="two", name=None)
        assert await status(other) == 0
        hostile = putting(port, mine / "one", label="../../etc/passwd")
        assert await status(hostile) == 1
    assert (shelf / "files" / "one").read_bytes() == b"theirs"
    assert (shelf / "files" / "two").read_bytes() == content(1)
    async with serving(shelf, 0, "--uploads", "nobody") as port:
        program = putting(port, mine / "big")
        assert await status(program) == 1
    assert program.objects[0]["error"] == "no-uploads"


@pytest_twisted.ensureDeferred
@within(30)
async def test_bad_names(shelf: Path) -> None:
    """A name that no shelf takes, or that the line would alter: said before anything is sent, and nothing is left."""
    mine = shelf / "mine"
    for name in (" lead.txt", "a\nb.txt", "tail ", ".hid"):
        (mine / name).write_bytes(b"x")
    here = [mine / name for name in (" lead.txt", "a\nb.txt", "tail ", ".hid")]
    if os.name != "nt":
        strange = os.fsencode(mine) + b"/\xff\xfe"
        with open(strange, "wb") as file:
            file.write(b"x")
        here.append(Path(os.fsdecode(strange)))
    async with serving(shelf) as port:
        program = putting(port, *here)
        assert await status(program) == 1
        for label in ("trail ", "", "a/", "/etc/passwd", "a\x9bb"):
            labelled = putting(port, mine / "one", label=label)
            assert await status(labelled) == 1
            assert [each["error"] for each in labelled.objects] == ["bad-name"]
            assert (
                f"A file on the shelf cannot be called {label!r}: the name "
                in labelled.objects[0]["sentence"]
            )
            assert labelled.err.endswith(" Say another one with --as.\n")
        for folder in (mine / "..", mine / ".hidden", Path("/")):
            (mine / ".hidden").mkdir(exist_ok=True)
            refused = putting(port, folder)
            assert await status(refused) == 1
            assert [each["error"] for each in refused.objects] == ["not-a-file"]
            assert " is a folder: " in refused.err
        assert await status(putting(port, here[0], label="lead.txt")) == 0
    assert [each["error"] for each in program.objects] == ["bad-name"] * len(here)
    assert (
        "A file on the shelf cannot be called ' lead.txt': the name begins or ends with a space. "
        in program.err
    )
    assert "With --as NAME it gets another one there." in program.err
    assert "no line can say this" not in program.err
    assert [path.name for path in (shelf / "files").iterdir() if path.name != ".incoming"] == ["lead.txt"]
    left = [
        path.name for path in (shelf / "files").rglob("*") if path.suffix in (".part", ".info", ".upload")
    ]
    assert left == []


@pytest_twisted.ensureDeferred
@within(30)
async def test_refused_once(shelf: Path) -> None:
    """What to do about a refusal is said once, in sizes that people read."""
    mine = shelf / "mine"
    async with serving(shelf, 0, "--quota", "20M") as port:
        assert await status(putting(port, mine / "big")) == 0
        large = putting(port, mine / "huge")
        assert await status(large) == 1
        (mine / "more").write_bytes(content(18_000_000))
        more = putting(port, mine / "more")
        assert await status(more) == 1
    assert large.objects[0]["sentence"] == "It is larger than the 21.0 MB that each may upload here."
    assert more.objects[0]["sentence"].startswith("You may upload 16.0 MB more: ask whoever runs the server")
    assert "send less" not in more.err


@pytest_twisted.ensureDeferred
@within(30)
async def test_resume(shelf: Path) -> None:
    """Ctrl-C leaves what was sent there, and the same line sends the rest."""
    mine = shelf / "mine"
    async with serving(shelf, 0, *SLOW) as port:
        under = Under(1_000_000)
        with under.patch:
            first = putting(port, mine / "huge")
            await under.there
            first.done.cancel()
            with pytest.raises(CancelledError):
                await first.done
        assert f"To go on: pychat put 127.0.0.1:{port} {mine / 'huge'} --name bob" in first.err
        assert not (shelf / "files" / "huge").exists()
        second = putting(port, mine / "huge")
        assert await status(second) == 0
    assert second.objects[0]["resumed"] > 0
    assert "huge: resuming at " in second.err
    assert (shelf / "files" / "huge").read_bytes() == content(30_000_000)


@pytest_twisted.ensureDeferred
@within(30)
@pytest.mark.parametrize("udp", [True, False])
async def test_daemon_restarts(shelf: Path, udp: bool) -> None:
    """The daemon ends under way, and another one takes its place: it goes on."""
    under = Under(1_000_000)
    with under.patch:
        async with serving(shelf, 0, *SLOW) as port:
            program = putting(port, shelf / "mine" / "huge", udp=udp)
            await under.there
    async with serving(shelf, port):
        assert await status(program) == 0
    assert (shelf / "files" / "huge").read_bytes() == content(30_000_000)
    assert program.objects[0]["via"] == ("udp" if udp else "tcp")


@pytest_twisted.ensureDeferred
@within(30)
async def test_name_taken(shelf: Path) -> None:
    """A name that somebody has: another one has to be said; a login name is done without."""
    async with serving(shelf, 0, *SLOW) as port:
        under = Under(1_000_000)
        with under.patch:
            first = putting(port, shelf / "mine" / "huge")
            await under.there
            second = putting(port, shelf / "mine" / "one")
            assert await status(second) == 1
            assert await status(first) == 0
    assert second.objects[0]["error"] == "name-taken"
    assert "Say --name bob2, or another one." in second.err
    assert "<connect>" not in second.err


def test_version(tmp_path: Path, own_state: Path) -> None:
    """The same file has the same version in each run; another one, or another content, another."""
    path = tmp_path / "x"
    path.write_bytes(b"abc")

    def version() -> str:
        source, told = open_source(str(path), "x")
        assert source.read(0, 3) == path.read_bytes()
        source.close()
        return told

    first = version()
    assert first == version()
    assert len(first) >= 16
    secret = own_state / SECRET
    if os.name != "nt":
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert secret.read_bytes() == own_secret()
    path.write_bytes(b"abd")
    os.utime(path, ns=(1, 1))
    assert version() != first
    secret.write_bytes(b"short")
    assert own_secret() != own_secret()


def test_no_source(tmp_path: Path) -> None:
    """What cannot be sent is named."""
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(TransferError, match="not a regular file"):
            open_source(str(tmp_path / "pipe"), "pipe")
    with pytest.raises(TransferError, match="is a folder"):
        open_source(str(tmp_path), "x")
    with pytest.raises(TransferError, match="There is no file"):
        open_source(str(tmp_path / "nope"), "x")
    assert hash_file(str(tmp_path / "nope")) == ""


@pytest_twisted.ensureDeferred
@within(30)
async def test_udp_blocked(shelf: Path) -> None:
    """Datagrams that go nowhere: it goes over TCP."""
    with (
        mock.patch.object(road, "FALL_BACK_SECONDS", 0.2),
        mock.patch.object(liveness, "FALL_BACK_SECONDS", 0.2),
        mock.patch.object(road.Switchboard, "send", return_value=True),
    ):
        async with serving(shelf) as port:
            program = putting(port, shelf / "mine" / "big")
            assert await status(program) == 0
    assert program.objects[0]["via"] == "tcp"
    assert (shelf / "files" / "big").read_bytes() == content(5_000_000)
