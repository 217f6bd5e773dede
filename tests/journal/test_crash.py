"""A real daemon that is killed, or whose machine loses power, in the middle of its work: what it accepted is there."""

from __future__ import annotations

import random
import re
import select
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic

from twisted.trial.unittest import SynchronousTestCase

from pychat.journal.store import FILE_NAME, check, connect

from ..system.programs import serve

PATIENCE = 30.0
WINDOW = 40
"""Messages that a talker has under way."""


class Talker:
    """Somebody who says numbered things as fast as they are accepted, and remembers what was."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.accepted: dict[int, str] = {}
        self.alive = True
        self._said: list[str] = []
        self._answered = 0
        self._rest = b""
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._send(f"<connect>{name}")

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def _send(self, *lines: str) -> None:
        try:
            self._socket.sendall("".join(f"{line}\n" for line in lines).encode())
        except OSError:
            self.alive = False

    def talk(self) -> None:
        while self.alive and len(self._said) - self._answered < WINDOW:
            text = f"{self.name} {len(self._said)}"
            self._said.append(text)
            self._send(f"<set_msg_all>{text}")

    def hear(self) -> None:
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.alive = False
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if match := re.fullmatch(rb"<accepted id=(\d+)>all", line):
                self.accepted[int(match[1])] = self._said[self._answered]
                self._answered += 1


@contextmanager
def talking(port: int, count: int) -> Iterator[list[Talker]]:
    talkers = [Talker(port, f"t{number}") for number in range(count)]
    try:
        yield talkers
    finally:
        for talker in talkers:
            talker.close()


def run(talkers: list[Talker], until: int) -> None:
    """Let them talk until so many messages are accepted in all, or the daemon is gone."""
    deadline = monotonic() + PATIENCE
    while sum(len(talker.accepted) for talker in talkers) < until:
        assert monotonic() < deadline, "the daemon does not accept"
        for talker in talkers:
            talker.talk()
        alive = [talker for talker in talkers if talker.alive]
        if not alive:
            return
        for talker in select.select(alive, [], [], 1)[0]:
            talker.hear()


def kept(path: Path) -> dict[int, str]:
    with closing(connect(path)) as connection:
        return {
            id: text.decode() for id, text in connection.execute("SELECT id, text FROM entry ORDER BY id")
        }


class CrashTests(SynchronousTestCase):
    """Broadcasts from several talkers at once, each with many under way, and something happens."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.random = random.Random(20261122)

    def assertKept(self, accepted: dict[int, str], path: Path) -> None:
        """Everything that was accepted is there under its id, and each talker's messages are a prefix in order."""
        have = kept(path)
        for id, text in accepted.items():
            self.assertEqual(have.get(id), text)
        said: dict[str, list[int]] = {}
        for text in have.values():
            name, number = text.split(" ")
            said.setdefault(name, []).append(int(number))
        for numbers in said.values():
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))

    def test_kill(self) -> None:
        """Killed at any moment under load, a daemon that starts again has all that was accepted, and goes on."""
        accepted: dict[int, str] = {}
        for life in range(4):
            with serve(self.folder, "--journal", "sqlite") as daemon, talking(daemon.port, 4) as talkers:
                for talker in talkers:
                    talker.name += f"-{life}"
                run(talkers, self.random.randrange(200, 1500))
                daemon.signal(signal.SIGKILL)
                daemon.status()
                # What the daemon wrote before it died still counts as accepted.
                run(talkers, 1 << 30)
                for talker in talkers:
                    self.assertFalse(accepted.keys() & talker.accepted.keys(), "an id was given twice")
                    accepted |= talker.accepted
            self.assertKept(accepted, self.folder / "state" / FILE_NAME)
        self.assertEqual(check(self.folder / "state" / FILE_NAME), [])
        self.assertGreater(len(accepted), 800)
        with closing(connect(self.folder / "state" / FILE_NAME)) as connection:
            (runs,) = connection.execute("SELECT count(*) FROM run").fetchone()
        self.assertGreater(runs, 0)

    def test_power_loss(self) -> None:
        """A copy of the folder at any moment opens, is sound, and has all that was accepted before."""
        with serve(self.folder, "--journal", "sqlite") as daemon, talking(daemon.port, 4) as talkers:
            for number in range(8):
                run(talkers, sum(len(talker.accepted) for talker in talkers) + self.random.randrange(1, 400))
                daemon.signal(signal.SIGSTOP)
                before: dict[int, str] = {}
                for talker in talkers:
                    before |= talker.accepted
                copy = self.folder / f"copy{number}"
                shutil.copytree(self.folder / "state", copy)
                daemon.signal(signal.SIGCONT)
                self.assertEqual(check(copy / FILE_NAME), [])
                self.assertKept(before, copy / FILE_NAME)
        self.assertGreater(len(before), 200)
