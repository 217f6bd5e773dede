"""Tests of files in ``pychat chat``: they go on over a new connection, resume, and go both ways."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from pychat.client.errand import CHANGED
from pychat.part import read_part
from tests.guards import within

from .daemons import acting, serving
from .test_chat import Visit, shelf, until
from .test_get import SLOW, content
from .test_talk import Other


class Typing(Visit):
    """Somebody at a terminal, with a folder."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(port, "bob", folder, terminal=True)


def held(path: Path) -> int:
    """The bytes of a file that are here already."""
    part = read_part(str(path))
    return sum(end - start for start, end in part.ranges) if part is not None else 0


@pytest_twisted.ensureDeferred
@within(60)
async def test_daemon_restarts(tmp_path: Path) -> None:
    """A download goes on when the chat is back."""
    here = shelf(tmp_path, big=content(20_000_000))
    async with serving(tmp_path, 0, *SLOW) as port:
        visit = Typing(port, here)
        await visit.shows("<connected>bob")
        visit.type("<download>big\n")
        await until(lambda: held(here / "big") > 1_000_000)
    await visit.shows("* connection lost")
    async with serving(tmp_path, port):
        await visit.shows("* big: resuming at ")
        await visit.shows("* saved ")
        assert await visit.end() == 0
    assert (here / "big").read_bytes() == content(20_000_000)


@pytest_twisted.ensureDeferred
@within(60)
@pytest.mark.parametrize("changed", [False, True])
async def test_resumed(tmp_path: Path, changed: bool) -> None:
    """Ctrl-C leaves what came, and a <download> of another run goes on; unless it is another file by now."""
    here = shelf(tmp_path, big=content(20_000_000))
    async with serving(tmp_path, 0, *SLOW) as port:
        visit = Typing(port, here)
        visit.type("<download>big\n")
        await until(lambda: held(here / "big") > 1_000_000)
        visit.interrupt()
        assert await visit.status() == 130
        assert (
            "* big was not downloaded: The download was given up. Ask again, and it goes on from there."
            in visit.lines
        )
    if changed:
        (tmp_path / "files" / "big").write_bytes(content(5_000_000, 1))
    async with serving(tmp_path) as port:
        script = Visit(port, "bob", here)
        assert await script.end("<download>big\n") == 0
    assert re.search(r"^\* big: resuming at \d+ %$", script.printed, re.MULTILINE) or changed
    assert (f"* big: {CHANGED}" in script.lines) == changed
    assert (here / "big").read_bytes() == (tmp_path / "files" / "big").read_bytes()
    assert [path.name for path in here.iterdir()] == ["big"]


@pytest_twisted.ensureDeferred
@within(60)
async def test_upload(tmp_path: Path) -> None:
    """What is typed is a path here; everybody is told, and a script waits for it. What fails is said."""
    shelf(tmp_path)
    mine = tmp_path / "mine.bin"
    mine.write_bytes(content(3_000_000))
    async with serving(tmp_path) as port:
        other = Other()
        await other.come(port)
        script = Visit(port, "carol", tmp_path)
        (tmp_path / ".hidden").mkdir()
        (tmp_path / ".dot").touch()
        said = f"<upload>{mine}\n<upload>{tmp_path}/nope\n<upload>\n<upload>{tmp_path}/.dot\n"
        folders = [f"{tmp_path}/files/..", f"{tmp_path}/files/", f"{tmp_path}/.hidden", "/"]
        assert await script.end(said + "".join(f"<upload>{folder}\n" for folder in folders)) == 1
        told = await other.hears(b"<file ")
        await other.client.leave()
    assert (tmp_path / "files" / "mine.bin").read_bytes() == content(3_000_000)
    assert re.search(r"^\* uploaded mine.bin: 3.0 MB in .*, verified there$", script.printed, re.MULTILINE)
    assert "* nope was not uploaded: There is no file " in script.printed
    assert (
        "the name begins with a dot. With pychat put --as NAME it gets another name there." in script.printed
    )
    for folder in folders:
        assert f": {folder} is a folder: name the files in it" in script.printed
    assert "* Nothing was uploaded, for no file was named. Type <upload>path/photo.jpg" in script.lines
    assert told.startswith(b"<file size=3000000 by=carol")
    assert told.endswith(b">mine.bin")


@pytest_twisted.ensureDeferred
@within(60)
async def test_told_once(tmp_path: Path) -> None:
    """A file that the shelf has already is told in one line; a pattern is told to be none here."""
    shelf(tmp_path)
    mine = tmp_path / "mine.bin"
    mine.write_bytes(content(3_000))
    async with serving(tmp_path) as port:
        first = Visit(port, "carol", tmp_path)
        assert await first.end(f"<upload>{mine}\n") == 0
        script = Visit(port, "carol", tmp_path)
        assert await script.end(f"<upload>{mine}\n<download>photos/*\n") == 1
    assert "* mine.bin is there already, and all of it is as here" in script.lines
    assert "* uploaded mine.bin" not in script.printed
    assert "* A pattern means nothing here: " in script.printed


@pytest_twisted.ensureDeferred
@within(60)
async def test_cancel_and_pause(tmp_path: Path) -> None:
    """Lines of the protocol end a download, and hold it."""
    here = shelf(tmp_path, big=content(20_000_000))
    async with serving(tmp_path, 0, *SLOW) as port:
        visit = Typing(port, here)
        visit.type("<download>big\n")
        await until(lambda: held(here / "big") > 1_000_000)
        visit.type("<transfers>\n")
        await visit.shows("<transfers count=1>")
        found = re.search(rb"<transfer id=([0-9a-f]{16}) ", bytes(visit.out._data))
        assert found is not None
        id = found[1].decode()
        for line, answer in ((f"<pause>{id}", "big rests."), (f"<continue>{id}", "big goes on.")):
            visit.type(line + "\n")
            await visit.shows(answer)
        visit.type(f"<cancel>{id}\n")
        await visit.shows("What there was of it is removed.")
        assert await visit.end() == 0
    assert list(here.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(60)
async def test_lost_before_the_offer(tmp_path: Path) -> None:
    """A connection that ends before the answer: the file is told not to have come."""
    stages: list[Any] = []

    def script(verb: bytes, line: bytes) -> bytes | None:
        if verb == b"download":
            stages[0].actor.transport.abortConnection()
            return b""
        return None

    async with acting(script) as (port, stage):
        stages.append(stage)
        visit = Visit(port, "bob", tmp_path)
        assert await visit.end("<download>x\n") == 1
