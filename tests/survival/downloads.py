"""Downloads that are hindered.  Each scenario returns what it has seen."""

from __future__ import annotations

import signal
from pathlib import Path
from time import monotonic

from ..system.programs import Program, until
from ..system.test_downloads import MB, checksum, make
from .worlds import HEADERS, Seen, World, rest

MANY = 300
SMALL = 10_000


def arrived(world: World, client: Program, original: Path, got: Path, seconds: float = 300) -> list[Seen]:
    """Wait for a client's end, and compare what it got."""
    began = monotonic()
    status = client.status(seconds)
    same = status == 0 and got.exists() and checksum(got) == checksum(original)
    said = "verified" if same else f"status {status}: {client.err.strip()[-300:]}"
    return [Seen("digest", f"{said}, {monotonic() - began:.1f} s", "the file's", same)]


def simple(world: World, size: int) -> list[Seen]:
    """Nothing happens but what the link itself does."""
    original = make(world.shelf / "file", size)
    with world.serve(), world.client("get", "file", "-o", "got") as client:
        return arrived(world, client, original, world.folder / "got")


def outages(world: World, size: int, times: int = 1, seconds: float = 2.0, every: float = 5.0) -> list[Seen]:
    """Nothing passes, either way, for a while; by rules, where the link itself has no outages."""
    original = make(world.shelf / "file", size)
    with world.serve(), world.client("get", "file", "-o", "got") as client:
        under_way(world, size // 20)
        for _ in range(times):
            world.rules("client", "input -300: drop", "output -300: drop")
            rest(seconds)
            world.rules("client")
            rest(every - seconds if times > 1 else 0)
        return arrived(world, client, original, world.folder / "got")


def black_hole(world: World, size: int, after: float = 2.0, largest: int = 1300) -> list[Seen]:
    """After two seconds the path drops, without a word, every packet larger than that."""
    original = make(world.shelf / "file", size)
    with world.serve(), world.client("get", "file", "-o", "got") as client:
        under_way(world, MB // 2)
        rest(after)
        assert client.running, "the file was too small: it arrived before the path changed"
        world.rules("client", f"prerouting -300: meta length > {largest} counter drop")
        return arrived(world, client, original, world.folder / "got")


def another_address(world: World, size: int) -> list[Seen]:
    """In the middle the client's packets come from another address, as behind a router with a new one."""
    original = make(world.shelf / "file", size)
    new = world.client_host.rsplit(".", 1)[0] + ".77"
    with world.serve() as daemon, world.client("get", "file", "-o", "got") as client:
        under_way(world, size // 3)
        assert client.running, "the file was too small"
        udp = daemon.udp_port
        world.answer_for(new)
        world.rules(
            "client",
            f"postrouting -300: udp dport {udp} ip saddr {world.client_host} ip saddr set {new}",
            f"prerouting -300: udp sport {udp} ip daddr {new} ip daddr set {world.client_host}",
        )
        return arrived(world, client, original, world.folder / "got")


def killed(world: World, size: int, kills: int = 10) -> list[Seen]:
    """``kill -9`` for the client and the daemon by turns, in one file."""
    original = make(world.shelf / "file", size)
    got = world.folder / "got"
    began, before = monotonic(), world.sent("daemon")
    daemon = world.serve()
    client = world.client("get", "file", "-o", "got")
    starts = 1
    try:
        for number in range(kills):
            mark = before.size + (number + 1) * size // (kills + 1)
            while world.sent("daemon").size < mark:
                if not client.running:
                    assert client.status() != 0, f"it arrived before it was killed {kills} times"
                    assert starts < 10 * kills, client.err
                    client.__exit__(None, None, None)
                    client, starts = world.client("get", "file", "-o", "got"), starts + 1
                rest(0.02)
            victim = client if number % 2 == 0 else daemon
            victim.signal(signal.SIGKILL)
            victim.__exit__(None, None, None)
            if victim is client:
                client, starts = world.client("get", "file", "-o", "got"), starts + 1
            else:
                daemon = world.serve()
        while client.status(300) != 0:
            assert starts < 10 * kills, client.err
            client.__exit__(None, None, None)
            client, starts = world.client("get", "file", "-o", "got"), starts + 1
        sent = world.sent("daemon")
    finally:
        client.__exit__(None, None, None)
        daemon.__exit__(None, None, None)
    raw, packets = sent.size - before.size, sent.packets - before.packets
    ratio = (raw - packets * HEADERS) / size
    same = checksum(got) == checksum(original)
    return [
        Seen("digest", "verified" if same else "another", "the file's", same),
        Seen(
            f"file bytes sent, {kills} kills, client started {starts} times, {monotonic() - began:.0f} s",
            f"{ratio:.3f} of the file ({raw / size:.3f} with all headers)", "≤ 1.05", ratio <= 1.05,
        ),
    ]  # fmt: skip


def blocked(world: World, size: int) -> list[Seen]:
    """A firewall drops UDP."""
    original = make(world.shelf / "file", size)
    with world.serve():
        took = []
        for name in ("open", "blocked"):
            if name == "blocked":
                world.rules("client", "output 0: meta l4proto udp drop", "input 0: meta l4proto udp drop")
            began = monotonic()
            with world.client("get", "file", "-o", name) as client:
                seen = arrived(world, client, original, world.folder / name)
            took.append(monotonic() - began)
            if not seen[0].met:
                return seen
    more = took[1] - took[0]
    told = f"{more:.1f} s more ({took[0]:.1f} s over UDP, {took[1]:.1f} s over TCP)"
    return [*seen, Seen("UDP dropped by a firewall", told, "≤ 3 s more", more <= 3.0)]


def many_files(world: World, round_trip: float, count: int = MANY) -> list[Seen]:
    """Many small files by one ``pychat get HOST '*.txt'``."""
    originals = [make(world.shelf / f"{number:03}.txt", SMALL) for number in range(count)]
    target = world.folder / "many"
    target.mkdir()
    with world.serve():
        began = monotonic()
        with world.client("get", "*.txt", "-o", str(target)) as client:
            status = client.status(600)
        took = monotonic() - began
    same = sum(
        (target / one.name).exists() and checksum(target / one.name) == checksum(one) for one in originals
    )
    trips = took / round_trip / count
    return [
        Seen("digests", f"{same} of {count}, status {status}", "all", same == count),
        Seen(f"{took:.1f} s", f"{trips:.2f} round trips a file", "≤ 1.3", same == count and trips <= 1.3),
    ]  # fmt: skip


def under_way(world: World, size: int) -> None:
    """Wait until the daemon has sent so many bytes."""
    before = world.sent("daemon").size
    until(lambda: world.sent("daemon").size >= before + size, f"{size} bytes on their way", 60)
