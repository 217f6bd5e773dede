"""How far the files are: a bar where somebody looks at it, a line now and then where nobody does."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

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

NAME_WIDTH, LEAST_NAME = 24, 14
"""Columns of a name that are shown at least, and where there is little room."""

FULL_BAR, LEAST_BAR = 20, 5
"""Columns inside a bar, and those that it has at least."""

DATAGRAM = 1200
"""Bytes that a lost datagram is taken to have had, to tell the share of them."""


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


def took(size: int, seconds: float) -> str:
    """How long something took, and how fast that was, if anything moved."""
    time = human_time(seconds) if seconds >= 10 else f"{seconds:.1f} s"
    return f"{time} ({human_size(size / seconds)}/s)" if seconds >= 0.1 and size else time


class Transfer:
    """One file on its way.

    :ivar rtt: seconds of a round trip, 0 while that is not known.
    :ivar lost: datagrams that had to be sent again.
    :ivar state: a word that stands for the time left while nothing moves: ``paused``.
    """

    def __init__(self, name: str, size: int, now: float) -> None:
        """:param name: fit for a terminal."""
        self.name = name
        self.size = size
        self.done = 0
        self.rtt = 0.0
        self.lost = 0
        self.sent = DATAGRAM
        self.state = ""
        self.samples: deque[tuple[float, int]] = deque([(now, 0)])

    def begins(self, done: int, size: int, now: float) -> None:
        """So much is there before anything moves: it does not count as speed."""
        self.done, self.size = done, size
        self.samples = deque([(now, done)])

    def update(self, done: int, size: int) -> None:
        """So much is there."""
        self.done, self.size = done, size

    def measured(self, rtt: float, lost: int, size: int = DATAGRAM) -> None:
        """What the transfer has found out: seconds of a round trip, datagrams lost, bytes of a datagram."""
        self.rtt, self.lost, self.sent = rtt, lost, max(size, 1)

    def sample(self, now: float) -> None:
        """Note what is there now."""
        self.samples.append((now, self.done))
        while len(self.samples) > 2 and self.samples[1][0] <= now - SPEED_OVER:
            self.samples.popleft()

    @property
    def speed(self) -> float:
        """Bytes a second, of late."""
        (start, before), (end, after) = self.samples[0], self.samples[-1]
        return max(0.0, (after - before) / (end - start)) if end > start else 0.0

    @property
    def loss(self) -> float:
        """The share of the datagrams that were lost, as well as it can be told."""
        lost = self.lost * self.sent
        return lost / (lost + self.done) if lost else 0.0


class Total:
    """What several files come to that are asked for together.

    :ivar files: how many they are, and `ended` how many of them have ended.
    :ivar size: bytes of those that were begun, and, if it is known before, of all.
    """

    def __init__(self, files: int, size: int | None = None) -> None:
        self.files = files
        self.ended = 0
        self.size = size
        self.done = 0  # bytes of those that have ended
        self.lost = 0


def describe(transfers: Sequence[Transfer], width: int, total: Total | None = None) -> str:
    """All files in one line: name, share, bar, size, speed, time left, and, if there is room, round trip and loss."""
    done = sum(transfer.done for transfer in transfers) + (total.done if total else 0)
    size = sum(transfer.size for transfer in transfers) + (total.done if total else 0)
    if total is not None and total.size is not None:
        size = max(size, total.size)
    speed = sum(transfer.speed for transfer in transfers)
    if total is not None and total.files > 1:
        name = f"{total.ended} of {total.files} files"
    elif len(transfers) == 1:
        name = transfers[0].name
    else:
        name = f"{len(transfers)} files"
    share = done / size if size else 0.0
    states = {transfer.state for transfer in transfers}
    waits = states.pop() if len(states) == 1 else ""
    left = waits or (f"{human_time((size - done) / speed)} left" if speed else "waiting")
    percent, sizes, fast = (
        f"{share:4.0%}",
        f"{human_size(done)} of {human_size(size)}",
        f"{human_size(speed)}/s",
    )
    more = _measured(transfers)
    # What matters least goes first: a bar there is, if it can be, and no number is cut.
    forms = [f"{percent} {sizes} {fast} {left} {more}"] if more else []
    forms += [f"{percent} {sizes} {fast} {left}", f"{percent} {fast} {left}", f"{percent} {left}"]
    for facts, wanted in zip(forms, [NAME_WIDTH] * (len(forms) - 1) + [LEAST_NAME], strict=True):
        least = min(text_width(name), wanted)
        if least + 1 + LEAST_BAR + 3 + len(facts) <= width:
            name = cut(name, max(least, width - len(facts) - FULL_BAR // 2 - 4))
            room = min(FULL_BAR, width - text_width(name) - len(facts) - 4)
            filled = int(room * min(share, 1.0))
            return f"{name} [{'#' * filled}{'.' * (room - filled)}] {facts}"
    facts = next((each for each in (forms[-1], percent) if len(each) + 9 <= width), percent)
    return cut(f"{cut(name, max(4, width - len(facts) - 1))} {facts}", width)


def _measured(transfers: Sequence[Transfer]) -> str:
    """The longest round trip, and the share of what was lost."""
    rtt = max((transfer.rtt for transfer in transfers), default=0.0)
    if not rtt:
        return ""
    lost = sum(transfer.lost * transfer.sent for transfer in transfers)
    loss = lost / (lost + sum(transfer.done for transfer in transfers)) if lost else 0.0
    shown = f"{rtt * 1000:.0f}" if rtt >= 0.01 else f"{rtt * 1000:.1f}"
    return f"RTT {shown} ms, {loss:.1%} lost"


class Board:
    """All files that are on their way."""

    def __init__(
        self, clock: IReactorTime, screen: Screen, *, lines: bool, total: Total | None = None
    ) -> None:
        """
        :param lines: where there is no bar, print a line now and then.
        :param total: what the files are parts of.
        """
        self._clock = clock
        self._screen = screen
        self._lines = lines
        self._total = total
        self._transfers: list[Transfer] = []
        self._last_line = 0.0
        self._tick = LoopingCall(self._show)
        self._tick.clock = clock

    @property
    def now(self) -> float:
        """Seconds of the clock that the speed is taken by."""
        return self._clock.seconds()

    def start(self, name: str, size: int) -> Transfer:
        """A file begins."""
        transfer = Transfer(visible(name), size, self._clock.seconds())
        self._transfers.append(transfer)
        if not self._tick.running and (self._screen.has_bar or self._lines):
            self._last_line = self._clock.seconds()
            self._tick.start(TICK, now=False)
        return transfer

    def end(self, transfer: Transfer) -> None:
        """A file is over."""
        self._transfers.remove(transfer)
        if self._total is not None:
            self._total.ended += 1
            self._total.done += transfer.done
            self._total.lost += transfer.lost
        if not self._transfers and self._tick.running:
            self._tick.stop()
            self._screen.bar("")

    def _show(self) -> None:
        now = self._clock.seconds()
        for transfer in self._transfers:
            transfer.sample(now)
        if self._screen.has_bar:
            self._screen.bar(describe(self._transfers, self._screen.width, self._total))
        elif now - self._last_line >= LINE_EVERY:
            self._last_line = now
            for transfer in self._transfers:
                self._screen.note("* " + describe([transfer], 96))
