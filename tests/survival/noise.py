"""Strangers: datagrams of chance, and real ones with something changed, at the port from which files are sent.

Run as a program in the client's namespace: ``python -m tests.survival.noise HOST PORT COUNT CAPTURED``; it says how
many answers came.  CAPTURED is a file of real datagrams, each behind two bytes of its length.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import sys
from pathlib import Path
from time import monotonic

from ..system.programs import Program, until
from ..system.test_downloads import MB, checksum, make
from .worlds import Seen, World

SOCKETS = 32
KINDS = (0x41, 0x42, 0x43, 0x44, 0x31, 0x32, 0x00, 0xFF)


def mutated(dice: random.Random, real: list[bytes]) -> bytes:
    """A datagram that no daemon may take."""
    if not real or dice.random() < 0.3:
        noise = bytearray(dice.randbytes(dice.choice((0, 1, 15, 16, 31, 60, 600, 1200, 1452))))
        if noise and dice.random() < 0.8:
            noise[0] = dice.choice(KINDS)
        return bytes(noise)
    data = bytearray(dice.choice(real))
    way = dice.randrange(5)
    if way == 0:
        return bytes(data[: dice.randrange(len(data))])
    if way == 1:
        return bytes(data) + dice.randbytes(dice.randrange(1, 40))
    if way == 2:
        data[9 + dice.randrange(6)] ^= 1 << dice.randrange(8)  # another packet number
    elif way == 3:
        other = dice.choice(real)
        data[:15] = other[:15] if other[:15] != bytes(data[:15]) else dice.randbytes(15)
    else:
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] ^= dice.randrange(1, 256)
        data[-1] ^= 1
    return bytes(data)


def main() -> None:
    """Send them all; print how many were sent, how long it took, and how many answers came."""
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    real, data = [], Path(sys.argv[4]).read_bytes()
    while data:
        (length,) = struct.unpack_from(">H", data)
        real.append(data[2 : 2 + length])
        data = data[2 + length :]
    real = [one for one in real if len(one) > 31]
    dice = random.Random(5)
    sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(SOCKETS)]
    for one in sockets:
        one.connect((host, port))
        one.setblocking(False)
    pool = [mutated(dice, real) for _ in range(min(count, 20_000))]
    began, answers, sent = monotonic(), 0, 0
    while sent < count:
        for one in sockets:
            fresh = dice.randrange(len(pool))
            for datagram in pool[fresh : fresh + 32]:
                with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                    one.send(datagram)
                    sent += 1
        # A change of its own for some of them, so that no two rounds are the same.
        for _ in range(SOCKETS):
            pool[dice.randrange(len(pool))] = mutated(dice, real)
        answers += received(sockets, 0)
    answers += received(sockets, 1.0)
    print(f"{sent} sent in {monotonic() - began:.1f} s, {len(real)} real ones known, {answers} answers")  # noqa: T201


def received(sockets: list[socket.socket], seconds: float) -> int:
    """How many datagrams came."""
    count = 0
    while True:
        ready, _, _ = select.select(sockets, [], [], seconds)
        if not ready:
            return count
        for one in ready:
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                one.recv(65536)
                count += 1


CAPTURE = """
import socket, struct, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
port, kept = int(sys.argv[1]), {True: 0, False: 0}
with open(sys.argv[2], "wb", buffering=0) as file:
    print("ready", flush=True)
    while True:
        packet = sock.recv(65536)
        if packet[0] != 0x45 or packet[9] != 17:
            continue
        source, target = struct.unpack(">HH", packet[20:24])
        if port in (source, target) and kept[port == source] < 200 and len(packet) < 1500:
            kept[port == source] += 1
            file.write(struct.pack(">H", len(packet) - 28) + packet[28:])
"""
"""Keeps real datagrams, at most 200 each way, as they pass the interface, until it is ended."""


def strangers(world: World, count: int, size: int = 20 * MB) -> list[Seen]:
    """So many datagrams beside a download, and what the daemon makes of them."""
    original = make(world.shelf / "file", size)
    captured = world.folder / "captured"
    with world.serve() as daemon:
        port = daemon.udp_port
        python = (*world.inside("client"), sys.executable)
        with Program(*python, "-c", CAPTURE, str(port), str(captured)) as capture:
            capture.shows("ready")
            with world.client("get", "file", "-o", "first", "--force") as client:
                assert client.status(120) == 0, client.err
        before, logged = daemon.memory(), daemon.out + daemon.err
        env_folder = Path(__file__).parents[2]
        command = (*python, "-m", "tests.survival.noise", world.host, str(port), str(count), str(captured))
        verified = 0
        peak = before
        with Program(*command, cwd=env_folder) as noise:
            while noise.running or not verified:
                with world.client("get", "file", "-o", f"got-{verified}", "--force") as client:
                    status = client.status(240)
                    assert status == 0, f"the download beside the noise: {client.err}"
                got = world.folder / f"got-{verified}"
                assert checksum(got) == checksum(original)
                got.unlink()
                verified += 1
                peak = max(peak, daemon.memory())
            until(lambda: "answers" in noise.out or not noise.running, "the end of the noise", 60)
            told = noise.out.strip() or noise.err.strip()[-300:]
        quiet = told.endswith(" 0 answers")
        news = (daemon.out + daemon.err)[len(logged) :]
        faults = [
            line
            for line in news.splitlines()
            if any(word in line for word in ("Traceback", "Unhandled", "rror", "ritical"))
        ]
        grown = (daemon.memory() - before) / 1e6
    return [
        Seen("strangers", told, "0 answers", quiet),
        Seen("logged as failures", str(faults[:3]), "[]", not faults),
        Seen(
            "memory after it", f"{grown:+.1f} MB (peak {(peak - before) / 1e6:+.1f})", "≤ +5 MB", grown <= 5
        ),
        Seen("downloads beside it", f"{verified} verified", "all", True),
    ]


if __name__ == "__main__":
    main()
