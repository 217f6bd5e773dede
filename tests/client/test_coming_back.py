"""Two members of the library, a daemon in a process of its own that is killed, and everything for real."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest_twisted

from pychat.client.files import FileStore
from pychat.client.member import Member
from tests.guards import within
from tests.system.programs import serve

from .pretended import Witness
from .test_chat import until

POSTS = 300


class Someone:
    """A member with a file, whose program may be started anew; what was told is kept."""

    def __init__(self, folder: Path, port: int, name: str) -> None:
        self._path = folder / f"{name}.chat"
        self._port = port
        self._name = name
        self.witness = Witness()

    async def come(self) -> None:
        from twisted.internet import reactor

        loop: Any = reactor
        self.store = FileStore(self._path)
        self.member = Member(
            loop, "127.0.0.1", self._port, self._name, self.store, self.witness, patient=True
        )
        await self.member.start()

    async def suspend(self) -> None:
        await self.member.suspend()
        self.store.close()

    async def leave(self) -> None:
        await self.member.leave()
        self.store.close()

    def texts(self) -> list[str]:
        """The messages that were shown."""
        return [entry.split(" ", 2)[2] for entry in self.witness.log if entry.startswith("message")]

    def accepted(self) -> list[str]:
        return [entry.split(" ")[1] for entry in self.witness.log if entry.startswith("accepted")]


@pytest_twisted.ensureDeferred
@within(90)
async def test_daemon_is_killed(tmp_path: Path) -> None:
    """Killed again and again while people talk, and a client restarted between: all is shown once and in order."""
    with ExitStack() as stack:
        daemon = stack.enter_context(serve(tmp_path))
        port = daemon.port
        alice, bob = Someone(tmp_path, port, "alice"), Someone(tmp_path, port, "bob")
        await alice.come()
        await bob.come()
        posted: list[str] = []
        for life in range(3):
            for number in range(POSTS):
                posted.append(f"{life}-{number}")
                alice.member.post("bob" if number % 2 else None, posted[-1])
            # In the middle of it, with answers, messages and acknowledgements on their way.
            enough = life * POSTS + POSTS // 3
            await until(lambda enough=enough: len(bob.texts()) > enough)  # type: ignore[misc]
            daemon.signal(signal.SIGKILL)
            daemon.status()
            if life == 1:
                await bob.suspend()
                await alice.suspend()
            daemon = stack.enter_context(serve(tmp_path, listen=f"tcp:{port}:interface=127.0.0.1"))
            if life == 1:
                await alice.come()
                await bob.come()
        await until(lambda: len(bob.texts()) >= len(posted) and not alice.member.pending)
        await until(lambda: alice.store.oldest_open is None)
        assert bob.texts() == posted
        assert alice.accepted() == posted
        told = [entry for entry in alice.witness.log if entry.startswith("delivered")]
        assert len(told) == len(set(told)) == len(posted) // 2
        assert not [e for e in alice.witness.log + bob.witness.log if e.startswith(("doubtful", "refused"))]
        assert [e.split(" ")[2] for e in bob.witness.log if e.startswith("linked")][1:] == ["resumed"] * 3
        await alice.leave()
        await bob.leave()
    assert not list(tmp_path.glob("*.chat*"))
