"""The daemon, over many lives; and those that are wrong on purpose."""

from __future__ import annotations

import random
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from tests.system.programs import environment

ROOT = Path(__file__).parents[2]

PROGRAMS = {
    "": ("-c", "from twisted.scripts.twistd import run; run()"),
    "early-ack": ("-m", "tests.chaos.early_ack"),
    "leak": ("-m", "tests.chaos.leak"),
    "forget": ("-m", "tests.chaos.forget"),
}
"""What runs it, and what runs those that do something wrong."""


class Daemon(ProcessProtocol):
    """``twistd -n pychat`` at a port that stays, over many lives."""

    def __init__(self, reactor: Any, folder: Path, program: tuple[str, ...]) -> None:
        self._reactor = reactor
        self.port = free_port()
        self.state = folder / "state"
        self.log = folder / "log"
        (folder / "files").mkdir()
        self._command = [
            sys.executable, *program, "-n", "--pidfile=", "pychat", "--journal", "sqlite",
            "--listen", f"tcp:{self.port}:interface=127.0.0.1",
            "--files", str(folder / "files"), "--state", str(self.state),
        ]  # fmt: skip
        self._out = open(self.log, "wb")  # noqa: SIM115
        self._heard = b""
        self._up: Deferred[bool] | None = None
        self._over: Deferred[None] | None = None
        # Whoever ends the storm with a signal ends the daemon, too.
        reactor.addSystemEventTrigger("before", "shutdown", self.kill)

    def spawn(self) -> Deferred[bool]:
        """Begin a life; fires with True when people can come, with False if it has ended before."""
        self._heard = b""
        self._up = Deferred()
        self._over = Deferred()
        self._reactor.spawnProcess(self, self._command[0], self._command, env=environment(), path=str(ROOT))
        return self._up

    def kill(self, how: str = "KILL") -> Deferred[None]:
        """End a life, if it has not ended; fires when it has."""
        over = self._over
        if over is None:
            return succeed(None)
        try:
            self.transport.signalProcess(how)
        except Exception as error:
            self._out.write(f"a signal failed: {error}\n".encode())
        return over

    def outReceived(self, data: bytes) -> None:
        self._out.write(data)
        if self._up is not None:
            self._heard += data
            if b"To join" in self._heard:
                self._rise(True)

    def errReceived(self, data: bytes) -> None:
        self._out.write(data)

    def _rise(self, well: bool) -> None:
        up, self._up = self._up, None
        if up is not None:
            up.callback(well)

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        if value.signal != signal.SIGKILL and value.exitCode:
            self._out.write(f"the daemon failed with {value.exitCode}\n".encode())
        self._out.flush()
        over, self._over = self._over, None
        self._rise(False)
        if over is not None:
            over.callback(None)

    def close(self) -> None:
        """It does not live again."""
        self._out.close()


def free_port() -> int:
    """A port that is free for TCP and UDP and that no client is given by the system.

    A client that connects again and again to a port of that range connects to itself one day, while nobody listens.
    """
    for _ in range(1000):
        port = random.randint(20_000, 32_000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
