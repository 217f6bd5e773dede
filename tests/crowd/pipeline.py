"""One client writes a million commands at once, and reads its answers, or does not."""

from __future__ import annotations

import selectors
import socket

from ..system.programs import Daemon
from .control import compare, controlled
from .people import CHUNK, Crowd, Person
from .places import MIB, Place, Seen

MIXED = b"".join(
    [b"<ping>%d and some words beside the number\n" % n for n in range(8)]
    + [b"<get_users>\n", b"<set_msg_all>so many of them\n"]
)
"""Ten commands."""

LIMIT = 10.0
"""Milliseconds by which the others' p99 may be above the control's."""

FLAT = 24
"""MiB by which the daemon may grow: a million commands in its memory, or their answers, would be more."""

SLOWLY = 4096
"""Bytes that who reads slowly takes a tenth of a second."""

VARIANTS = {"reads": CHUNK, "reads slowly": SLOWLY, "never reads": 0}
"""How much of its answers it takes at once."""


class Flood:
    """Who writes them: all with one write, as far as the kernel takes it at once."""

    def __init__(self, crowd: Crowd, commands: int, takes: int) -> None:
        self._crowd = crowd
        self._takes = takes
        self.answered = 0
        self.over = False
        self._socket = socket.create_connection(("127.0.0.1", crowd.port))
        self._socket.sendall(b"<connect>flood\n")
        heard = b""
        while b"<connected" not in heard:
            heard += self._socket.recv(65536)
        self._socket.setblocking(False)
        self._left = memoryview(MIXED * (commands // 10))
        self.size = len(self._left)
        crowd.selector.register(self._socket, self._events(), self._ready)
        if takes == SLOWLY:
            self._stop = crowd.every(0.1, self._hear)

    def _events(self) -> int:
        reads = selectors.EVENT_READ if self._takes == CHUNK else 0
        return reads | (selectors.EVENT_WRITE if self._left else 0)

    @property
    def written(self) -> int:
        """Bytes that the kernel took so far."""
        return self.size - len(self._left)

    def _ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._write()
        if mask & selectors.EVENT_READ:
            self._hear()

    def _write(self) -> None:
        try:
            self._left = self._left[self._socket.send(self._left) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not self._left:
            self._watch()

    def _watch(self) -> None:
        if self._events():
            self._crowd.selector.modify(self._socket, self._events(), self._ready)
        else:
            self._crowd.selector.unregister(self._socket)

    def _hear(self) -> None:
        if self.over:
            return
        try:
            data = self._socket.recv(self._takes)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        # The end of a chunk may cut a word in two: what is counted so is a little less than what came.
        self.answered += data.count(b"<pong>") + data.count(b"<users ") + data.count(b"<accepted ")

    def close(self) -> None:
        if not self.over:
            self.over = True
            if self._socket in self._crowd.selector.get_map():
                self._crowd.selector.unregister(self._socket)
            self._socket.close()


def pipeline(place: Place, commands: int = 1_000_000, people: int = 50, seconds: float = 20.0) -> list[Seen]:
    """Each variant with a daemon of its own."""
    return [seen for variant in VARIANTS for seen in one_variant(place, variant, commands, people, seconds)]


def one_variant(place: Place, variant: str, commands: int, people: int, seconds: float) -> list[Seen]:
    """Measure how long the others' messages take while somebody writes a million commands."""
    with (
        place.serve() as daemon,
        Crowd(daemon.port, place.tell) as crowd,
        controlled(place, crowd) as control,
    ):
        everybody = [Person(crowd, f"p{n}") for n in range(people)]
        crowd.gather(everybody)
        quiet, floor = control.measure(min(seconds, 5.0))
        place.tell(f"before: {compare('', quiet, floor, LIMIT).seen}")
        base = peak = daemon.memory()

        def look() -> None:
            nonlocal peak
            peak = max(peak, daemon.memory())

        crowd.every(0.1, look)
        flood = Flood(crowd, commands, VARIANTS[variant])
        chat, floor = control.measure(seconds)
        place.tell(
            f"one who {variant}: {flood.written / flood.size:.0%} written, {flood.answered:,} answered"
        )
        result = [compare(f"{variant}: the others' p99", chat, floor, LIMIT)]
        if variant == "reads":
            took = finish(place, crowd, flood, commands, daemon)
            # Nearly all: see `Flood._hear`.
            done = flood.answered >= commands * 0.99
            result.append(Seen(f"{variant}: answers", f"{flood.answered:,} {took}", f"{commands:,}", done))
        flood.close()
        crowd.run(0.5)
        grown = (peak - base) / MIB
        errors = dict(crowd.errors)
        return [
            *result,
            Seen(f"{variant}: memory", f"{grown:+.1f} MiB at most", f"at most +{FLAT} MiB", grown <= FLAT),
            Seen(f"{variant}: errors to the others", str(errors), "{}", not errors),
        ]


def finish(place: Place, crowd: Crowd, flood: Flood, commands: int, daemon: Daemon) -> str:
    """Let it come to its end."""
    try:
        took = crowd.until(lambda: flood.over or flood.answered >= commands * 0.99, "a million answers", 120)
    except AssertionError as error:
        return f"({error})"
    return f"(the last {took:.0f} s after the measurement)"
