"""The numbers of ``<status>`` that the chat itself does not know: connections, transfers, stalls, and the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence, Sized
from typing import Any

from . import kernel
from .datagram import TransferProtocol
from .watchdog import Watchdog

AGE = 1.0
"""Seconds for which what takes a system call, or a look at many things, is good for everybody who asks."""


class Measures:
    """Counts, whenever it is called.

    :ivar limit: connections that fit; ``None``: nobody knows.
    """

    def __init__(
        self,
        reactor: Any,
        connections: Sized,
        transfers: Sequence[TransferProtocol],
        watchdog: Watchdog,
        too_slow: Callable[[], int],
        given_up: Callable[[], int],
    ) -> None:
        """
        :param transfers: the protocols that carry them; there may still come more.
        :param too_slow: how many connections were ended because too much waited for them.
        :param given_up: how many of them for the sake of the others.
        """
        self._reactor = reactor
        self._connections = connections
        self._transfers = transfers
        self._watchdog = watchdog
        self._too_slow = too_slow
        self._given_up = given_up
        self._began = reactor.seconds()
        self._taken: list[tuple[str, int]] = []
        self._taken_at: float | None = None
        self.limit: int | None = None

    def begin(self) -> None:
        """The daemon has started."""
        self._began = self._reactor.seconds()

    def __call__(self) -> list[tuple[str, int]]:
        """Names and numbers, those of time in milliseconds but for ``up``, those of memory in KiB."""
        now = self._reactor.seconds()
        numbers = [("up", int(now - self._began)), ("connections", len(self._connections))]
        if self.limit is not None:
            numbers.append(("limit", self.limit))
        numbers += [
            ("too_slow", self._too_slow()), ("slow", self._given_up()), ("transfers", sum(map(len, self._transfers)))
        ]  # fmt: skip
        watchdog = self._watchdog
        if watchdog.watching:
            numbers += [
                ("stalls", watchdog.number),
                ("longest", round(watchdog.longest * 1000)),
                ("stalled", round(watchdog.total * 1000)),
            ]
        if self._taken_at is None or now - self._taken_at >= AGE:
            self._taken, self._taken_at = self._take(), now
        return numbers + self._taken

    def _take(self) -> list[tuple[str, int]]:
        memory = kernel.memory()
        told = {
            "refused": sum(protocol.refused.total() for protocol in self._transfers),
            "cpu": round(time.process_time() * 1000),
            "memory": memory and memory // 1024,
            "descriptors": kernel.open_files(),
            "timers": len(self._reactor.getDelayedCalls()),
            "threads": threading.active_count(),
        }
        return [(name, number) for name, number in told.items() if number is not None]
