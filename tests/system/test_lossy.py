"""A download over a link that loses, reorders, duplicates and corrupts, both ways.

The link is a relay of ours between the two UDP ports, and losses repeat by seed.  ``PYCHAT_LINK`` names an emulator
of links in network namespaces to be used instead: a command that takes ``up OPTIONS``, ``a COMMAND`` and
``b COMMAND`` (run at one end; the address of ``a`` is ``PYCHAT_LINK_HOST``) and ``down``.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from .programs import PYCHAT, run, serve
from .test_downloads import MB, checksum, make

pytestmark = pytest.mark.system

LINK = os.environ.get("PYCHAT_LINK", "")
LINK_HOST = os.environ.get("PYCHAT_LINK_HOST", "10.77.0.1")
LINK_WEATHER = "--rate 100 --delay 10 --loss 5 --reorder 2 --dup 1 --corrupt 1 --seed 1"


class Relay:
    """Carries datagrams between clients and a daemon, badly.

    :param daemon: the UDP port of the daemon.
    """

    LOSS, REORDERING, DUPLICATION, CORRUPTION = 0.05, 0.02, 0.01, 0.01
    LATE = 0.005
    """Seconds by which a datagram that is overtaken comes later."""

    def __init__(self, daemon: int, seed: int) -> None:
        self._daemon = ("127.0.0.1", daemon)
        self._dice = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._front = self._open()
        self.port: int = self._front.getsockname()[1]
        self._clients: dict[object, socket.socket] = {}
        self._late: list[tuple[float, socket.socket, bytes, object]] = []
        self._ending = False
        self.counts = dict.fromkeys(("carried", "lost", "late", "twice", "corrupt"), 0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _open(self) -> socket.socket:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MB)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ)
        return sock

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending = True
        self._thread.join()
        for sock in (self._front, *self._clients.values()):
            sock.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._ending:
            for key, _ in self._selector.select(self.LATE):
                for data, source in received(key.fileobj):  # type: ignore[arg-type]
                    self._carry(key.fileobj, data, source)  # type: ignore[arg-type]
            now = monotonic()
            while self._late and self._late[0][0] <= now:
                _, sock, data, target = self._late.pop(0)
                self._send(sock, data, target)

    def _carry(self, arrived: socket.socket, data: bytes, source: object) -> None:
        if arrived is self._front:
            if source not in self._clients:
                self._clients[source] = self._open()
            sock, target = self._clients[source], self._daemon
        else:
            (target,) = [client for client, sock in self._clients.items() if sock is arrived]
            sock = self._front
        dice = self._dice.random
        if dice() < self.LOSS:
            self.counts["lost"] += 1
            return
        if dice() < self.CORRUPTION:
            self.counts["corrupt"] += 1
            at = self._dice.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ self._dice.randrange(1, 256)]) + data[at + 1 :]
        if dice() < self.REORDERING:
            self.counts["late"] += 1
            self._late.append((monotonic() + self.LATE, sock, data, target))
            return
        self._send(sock, data, target)
        if dice() < self.DUPLICATION:
            self.counts["twice"] += 1
            self._send(sock, data, target)

    def _send(self, sock: socket.socket, data: bytes, target: object) -> None:
        self.counts["carried"] += 1
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            sock.sendto(data, target)  # type: ignore[arg-type]


def received(sock: socket.socket) -> Iterator[tuple[bytes, object]]:
    """All datagrams that are there."""
    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
        while True:
            yield sock.recvfrom(65536)


def free_udp_port() -> int:
    """A port that nobody uses now."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.timeout(300)
def test_a_download_verifies(tmp_path: Path) -> None:
    """20 MB; the digest is right, and so are the bytes."""
    original = make(tmp_path / "files" / "twenty", 20 * MB)
    with contextlib.ExitStack() as stack:
        if LINK:
            run(LINK, "up", *LINK_WEATHER.split())
            stack.callback(run, LINK, "down")
            stack.enter_context(serve(tmp_path, listen="tcp:50000", prefix=(LINK, "a")))
            run(
                LINK,
                "b",
                *PYCHAT,
                "get",
                f"{LINK_HOST}:50000",
                "twenty",
                "-o",
                "got",
                cwd=tmp_path,
                seconds=240,
            )
        else:
            udp = free_udp_port()
            relay = stack.enter_context(Relay(udp, seed=1))
            options = ("--udp", f"127.0.0.1:{udp}", "--udp-advertise", str(relay.port))
            daemon = stack.enter_context(serve(tmp_path, *options))
            run(*PYCHAT, "get", daemon.address, "twenty", "-o", "got", cwd=tmp_path, seconds=240)
            assert all(relay.counts.values()), relay.counts
    assert checksum(tmp_path / "got") == checksum(original)
