"""``pychat get`` and ``pychat put`` in this process, with what they print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from pychat.client.get import Getting, Order
from pychat.client.put import Parcel, Putting
from pychat.client.terminal import Screen, Sink, Writer
from pychat.errors import PychatError

from .streams import Collector


class Program:
    """One of them, under way.

    :ivar done: fires with the exit status; errors of the project count as 1, and are in `err`.
    """

    def __init__(self, make: Callable[[Any, Screen], Any]) -> None:
        from twisted.internet import reactor

        loop: Any = reactor
        self._out, self._err = Collector(), Collector()
        self._screen = Screen(
            Writer(loop.callFromThread), Sink(self._out.stream), Sink(self._err.stream), ansi=False
        )
        self.program = make(loop, self._screen)
        self.done: Deferred[int] = Deferred.fromCoroutine(self._run())
        self.out = self.err = ""

    async def _run(self) -> int:
        try:
            return int(await self.program.run())
        except PychatError as error:
            self._screen.note(f"pychat: {error.sentence}")
            return 1
        finally:
            self._screen.close()
            await self._screen.flushed()
            self.out, self.err = self._out.text(), self._err.text()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What came with ``--json``."""
        return [json.loads(line) for line in self.out.splitlines()]


def getting(port: int, *names: str, here: Path, **settings: Any) -> Program:
    """A ``pychat get`` into a folder."""
    order = Order(host="127.0.0.1", port=port, names=names, **{"output": str(here), "json": True, **settings})
    return Program(lambda reactor, screen: Getting(reactor, order, screen))


def putting(port: int, *paths: Path, **settings: Any) -> Program:
    """A ``pychat put``."""
    parcel = Parcel(
        host="127.0.0.1", port=port, paths=tuple(map(str, paths)), **{"name": "bob", "json": True, **settings}
    )
    return Program(lambda reactor, screen: Putting(reactor, parcel, screen))


async def ran(program: Program) -> Program:
    """It, once it has ended."""
    program.status = await program.done  # type: ignore[attr-defined]
    return program
