"""How long the chat takes beside a control process, asked at the same moments: what that takes is the machine's share.

The control process sends back what it gets, and nothing else, on the processor of the daemon.
"""

from __future__ import annotations

import selectors
import socket
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from ..system.programs import Program
from .people import Crowd, Person
from .places import Place, Seen, ms, p99, pinned

ECHO = Path(__file__).parents[2] / "benchmarks" / "echo.py"

PAIRS = 10
"""Pairs who write to each other."""

RATE = 100
"""Private messages a second, and as many lines to the control process."""


class Echo:
    """One connection to the control process."""

    def __init__(self, crowd: Crowd, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent: deque[float] = deque()
        self.times: list[float] = []
        self._crowd = crowd
        crowd.selector.register(self._socket, selectors.EVENT_READ, self._hear)

    def say(self) -> None:
        self.sent.append(perf_counter())
        self._socket.sendall(b"x" * 79 + b"\n")

    def _hear(self, mask: int) -> None:
        now = perf_counter()
        for _ in range(self._socket.recv(65536).count(b"\n")):
            self.times.append(now - self.sent.popleft())

    def close(self) -> None:
        self._crowd.selector.unregister(self._socket)
        self._socket.close()


class Pair:
    """Two people: what one writes to the other is timed until she has it."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.writer = Person(crowd, f"writer{number}")
        self.reader = Person(crowd, f"reader{number}")
        self.sent: deque[float] = deque()
        self.times: list[float] = []
        # A plain line says no to= in a private message.
        self._from = b" from=writer%d>" % number
        self._line = b"<set_msg>reader%d %s\n" % (number, b"x" * 46)
        self.reader.on_chunk = self._heard

    def say(self) -> None:
        self.sent.append(perf_counter())
        self.writer.say(self._line)

    def _heard(self, data: bytes) -> None:
        now = perf_counter()
        for _ in range(data.count(self._from)):
            self.times.append(now - self.sent.popleft())


class Control:
    """Pairs, and as many connections to the control process."""

    def __init__(self, crowd: Crowd, port: int) -> None:
        self._crowd = crowd
        self.pairs = [Pair(crowd, number) for number in range(PAIRS)]
        self._echoes = [Echo(crowd, port) for _ in range(PAIRS)]
        self._number = 0
        crowd.gather(person for pair in self.pairs for person in (pair.writer, pair.reader))

    def _ask(self) -> None:
        # By turns one of them is first.
        number, self._number = self._number, self._number + 1
        both = (self.pairs[number % PAIRS], self._echoes[number % PAIRS])
        for one in both if number // PAIRS % 2 else reversed(both):
            one.say()

    def measure(self, seconds: float) -> tuple[list[float], list[float]]:
        """Return what the chat's private messages took, and the control's lines, in seconds.

        What has not come five seconds later counts with the time that it has waited.
        """
        everything = [*self.pairs, *self._echoes]
        for one in everything:
            one.sent.clear()
            one.times.clear()
        stop = self._crowd.every(1 / RATE, self._ask)
        self._crowd.run(seconds)
        stop()
        end = perf_counter() + 5
        while any(one.sent for one in everything) and perf_counter() < end:
            self._crowd.turn(0.01)
        now = perf_counter()
        chat, control = (
            [spent for one in some for spent in [*one.times, *(now - at for at in one.sent)]]
            for some in (self.pairs, self._echoes)
        )
        return chat, control

    def close(self) -> None:
        for echo in self._echoes:
            echo.close()


@contextmanager
def controlled(place: Place, crowd: Crowd) -> Iterator[Control]:
    """Pairs at the daemon, and a control process beside it."""
    with pinned(0):
        program = Program(sys.executable, str(ECHO))
    with program:
        control = Control(crowd, int(program.shows(r"port (\d+)")[1]))
        try:
            yield control
        finally:
            control.close()


def compare(what: str, chat: list[float], control: list[float], limit: float) -> Seen:
    """The chat's p99 may be so many milliseconds above the control's."""
    more = (p99(chat) - p99(control)) * 1e3
    seen = f"{ms(chat)}, control {ms(control)}: {more:+.1f} ms"
    return Seen(what, seen, f"within {limit:g} ms of the control", more <= limit, timed=True)
