"""Uploads that are killed, too large, unwelcome, or called something evil.  Each scenario returns what it has seen."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from time import monotonic

from ..system.programs import PYCHAT, Program, run, until
from ..system.test_downloads import MB, checksum, make
from .worlds import HEADERS, Seen, World

WELCOME = ("--uploads", "everyone")

HOSTILE = (
    "../evil", "..", ".", "/etc/evil", "a/../../evil", "a/./b", "a//b", "nul\\evil", ".hidden", "\u202eevil",
    "x" * 1100, "tab\there", "bell\x07", "~/evil", "files/evil", "a/" * 20 + "evil", ".pychat", "",
)  # fmt: skip
"""Names that nobody may put on a shelf."""


def killed(world: World, size: int) -> list[Seen]:
    """The client is killed at a third, the daemon at two thirds; the upload goes on each time."""
    original = make(world.folder / "up", size)
    began, before = monotonic(), world.sent("client")
    daemon = world.serve(*WELCOME)
    client = world.client("put", "up")
    starts = 1
    try:
        for number in (1, 2):
            mark = before.size + number * size // 3
            until(lambda mark=mark: world.sent("client").size >= mark, f"{number} thirds", 300)  # type: ignore[misc]
            victim = client if number == 1 else daemon
            victim.signal(signal.SIGKILL)
            victim.__exit__(None, None, None)
            if victim is client:
                client, starts = world.client("put", "up"), starts + 1
            else:
                daemon = world.serve(*WELCOME)
        while client.status(300) != 0:
            assert starts < 10, client.err
            client.__exit__(None, None, None)
            client, starts = world.client("put", "up"), starts + 1
        sent = world.sent("client")
    finally:
        client.__exit__(None, None, None)
        daemon.__exit__(None, None, None)
    same = checksum(world.shelf / "up") == checksum(original)
    raw, packets = sent.size - before.size, sent.packets - before.packets
    ratio = (raw - packets * HEADERS) / size
    told = f"{ratio:.3f} of the file ({raw / size:.3f} with all headers), {monotonic() - began:.0f} s"
    return [
        Seen("digest of the upload", "the file's" if same else "another", "the file's", same),
        Seen(f"file bytes sent, 2 kills, client started {starts} times", told, "≤ 1.05", ratio <= 1.05),
    ]


def refused(world: World, client: Program, code: str, *, left: tuple[str, ...] = ()) -> Seen:
    """It has to fail with this code, and leave only those files on the shelf."""
    status = client.status(60)
    # What the daemon hides from everybody (half-done uploads, its own state) is no file of the shelf.
    there = sorted(run(*world.inside("client"), *files_command(world)).splitlines())
    names = tuple(line.partition("\t")[2] for line in there)
    told = [json.loads(line) for line in client.out.splitlines() if line.startswith("{")]
    error = told[0].get("error") if told else None
    sentence = told[0].get("sentence", "") if told else client.err.strip()
    met = status == 1 and error == code and names == left
    return Seen(code, f"status {status}, {error}: {sentence[:120]} Shelf: {names}", f"status 1, {code}", met)


def files_command(world: World) -> tuple[str, ...]:
    """``pychat files``."""
    return (*PYCHAT, "files", f"{world.host}:50000")


def over_quota(world: World) -> list[Seen]:
    """More than one may put there."""
    make(world.folder / "up", 3 * MB)
    with world.serve(*WELCOME, "--quota", str(MB)), world.client("put", "up", "--json") as client:
        return [refused(world, client, "over-quota")]


def unwelcome(world: World) -> list[Seen]:
    """A daemon beyond loopback takes no uploads unless it is told to."""
    make(world.folder / "up", MB)
    with world.serve(), world.client("put", "up", "--json") as client:
        return [refused(world, client, "no-uploads")]


def existing(world: World) -> list[Seen]:
    """Nothing is overwritten."""
    make(world.folder / "up", MB)
    there = make(world.shelf / "up", MB)
    before = checksum(there)
    with world.serve(*WELCOME), world.client("put", "up", "--json") as client:
        seen = refused(world, client, "exists", left=("up",))
    kept = checksum(there) == before
    return [seen, Seen("what was there", "kept" if kept else "changed", "kept", kept)]


def full_disk(world: World, mbytes: int = 16) -> list[Seen]:
    """The shelf's disk is too small, and another time fills up in the middle; the daemon lives on."""
    world.shelf.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", f"size={mbytes}m", "tmpfs", str(world.shelf))
    try:
        make(world.folder / "up", 2 * mbytes * MB)
        make(world.folder / "fits", 3 * mbytes * MB // 4)
        make(world.shelf / "other", 10_000)
        with world.serve(*WELCOME):
            with world.client("put", "up", "--json") as client:
                seen = [refused(world, client, "no-space", left=("other",))]
            # Slowly, so that somebody else can fill the disk meanwhile.
            world.rules("client", "output 0: meta l4proto udp limit rate over 2 mbytes/second drop")
            before = world.sent("client").size
            with world.client("put", "fits", "--json") as client:
                until(lambda: world.sent("client").size > before + MB, "an upload under way", 60)
                fill(world.shelf / ".filler")
                seen.append(refused(world, client, "disk-full", left=("other",)))
            world.rules("client")
            with world.client("get", "other", "-o", "got") as client:
                alive = client.status(60) == 0
        seen.append(Seen("a download after it", "arrives" if alive else client.err, "arrives", alive))
    finally:
        run("umount", str(world.shelf))
    return seen


def fill(path: Path) -> None:
    """Write until the disk is full, whatever else is written there meanwhile."""
    with path.open("wb", buffering=0) as file:
        for size in (64 * 1024, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def hostile(world: World) -> list[Seen]:
    """Names that would leave the shelf, or that no shelf should have: refused, by name, and nothing is made."""
    world.shelf.mkdir(parents=True, exist_ok=True)
    answers: dict[str, str] = {}
    with world.serve(*WELCOME), Program(*world.inside("client"), "nc", "-q", "10", world.host, "50000") as nc:
        nc.shows("<welcome>")
        nc.type("<hello>mallory")
        for number, name in enumerate(HOSTILE):
            nc.type(f"<upload size=10 version=0123456789abcdef label=n{number}>{name}")
            answers[name] = nc.shows(rf"^<(error|offer)[^>]*label=n{number}\b.*$")[0]
    taken = [name for name, answer in answers.items() if not answer.startswith("<error")]
    inside = sorted(str(path.relative_to(world.folder)) for path in world.folder.rglob("*evil*"))
    return [
        Seen(f"{len(HOSTILE)} hostile names", f"taken: {taken}", "none is taken", not taken),
        Seen("files made of them", str(inside), "[]", not inside),
    ]
