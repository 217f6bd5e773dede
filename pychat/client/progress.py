"""How far the downloads are: a bar where somebody looks at it, a line now and then where nobody does."""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from .render import cut, text_width, visible
from .terminal import Screen

TICK = 0.2
"""Seconds between two looks of a bar."""

LINE_EVERY = 10.0
"""Seconds between two lines where there is no bar."""

SPEED_OVER = 5.0
"""Seconds over which the speed is taken."""


def human_size(count: float) -> str:
    """Bytes as people read them: ``512 B``, ``1.5 MB`` (of 1,000 each)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.95:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_time(seconds: float) -> str:
    """``0:07``, ``12:34``, ``5:00:00``."""
    whole = max(0, round(seconds))
    if whole >= 100 * 3600:
        return "days"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Transfer:
    """One download on its way."""

    def __init__(self, name: str, size: int, now: float) -> None:
        """:param name: fit for a terminal."""
        self.name = name
        self.size = size
        self.done = 0
        self.samples: deque[tuple[float, int]] = deque([(now, 0)])

    def update(self, done: int, size: int) -> None:
        """So much is there; what :func:`~pychat.client.fetch.fetch` calls."""
        self.done = done

    def sample(self, now: float) -> None:
        """Note what is there now."""
        self.samples.append((now, self.done))
        while len(self.samples) > 2 and self.samples[1][0] <= now - SPEED_OVER:
            self.samples.popleft()

    @property
    def speed(self) -> float:
        """Bytes a second, of late."""
        (start, before), (end, after) = self.samples[0], self.samples[-1]
        return (after - before) / (end - start) if end > start else 0.0


def describe(transfers: list[Transfer], width: int) -> str:
    """All downloads in one line: name, share, bar, size, speed, time left."""
    done = sum(transfer.done for transfer in transfers)
    size = sum(transfer.size for transfer in transfers)
    speed = sum(transfer.speed for transfer in transfers)
    name = transfers[0].name if len(transfers) == 1 else f"{len(transfers)} files"
    share = done / size if size else 0.0
    left = f"{human_time((size - done) / speed)} left" if speed else "waiting"
    facts = f"{share:4.0%} {human_size(done)} of {human_size(size)} {human_size(speed)}/s {left}"
    name = cut(name, max(8, width - len(facts) - 9))
    room = min(20, width - text_width(name) - len(facts) - 4)
    if room >= 5:
        filled = int(room * share)
        facts = f"[{'#' * filled}{'.' * (room - filled)}] {facts}"
    return cut(f"{name} {facts}", width)


class Board:
    """All downloads that run."""

    def __init__(self, clock: IReactorTime, screen: Screen, *, lines: bool) -> None:
        """:param lines: where there is no bar, print a line now and then."""
        self._clock = clock
        self._screen = screen
        self._lines = lines
        self._transfers: list[Transfer] = []
        self._last_line = 0.0
        self._tick = LoopingCall(self._show)
        self._tick.clock = clock

    def start(self, name: str, size: int) -> Transfer:
        """A download begins."""
        transfer = Transfer(visible(name), size, self._clock.seconds())
        self._transfers.append(transfer)
        if not self._tick.running and (self._screen.has_bar or self._lines):
            self._last_line = self._clock.seconds()
            self._tick.start(TICK, now=False)
        return transfer

    def end(self, transfer: Transfer) -> None:
        """A download is over."""
        self._transfers.remove(transfer)
        if not self._transfers and self._tick.running:
            self._tick.stop()
            self._screen.bar("")

    def _show(self) -> None:
        now = self._clock.seconds()
        for transfer in self._transfers:
            transfer.sample(now)
        if self._screen.has_bar:
            self._screen.bar(describe(self._transfers, self._screen.width))
        elif now - self._last_line >= LINE_EVERY:
            self._last_line = now
            for transfer in self._transfers:
                self._screen.note("* " + describe([transfer], 78))
