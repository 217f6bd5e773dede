"""Standard input and output without ever blocking the reactor.

Input is read by a thread, line by line, and the next lines are read when those before have been taken.  Output is
written by another.  Both use the files below Python's buffers: a thread that waits in a buffer holds its lock, and the
interpreter cannot end then.
"""

from __future__ import annotations

import os
import select
import shutil
import threading
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from .editing import NO_PASTES, PASTES, Editor
from .render import beginning, end, show_typed, text_width, visible

READ_BYTES = 64 * 1024

HIGH_WATER = 1024 * 1024
LOW_WATER = 64 * 1024
"""Bytes not yet written at which a writer calls itself full, and no longer full."""

BAR_WIDTH = 64
"""Columns of a progress bar at most: what is typed stands beside it."""


class Sink:
    """A stream to write to.

    :ivar is_terminal: somebody sees it at once.
    """

    def __init__(self, stream: Any) -> None:
        """:param stream: like ``sys.stdout``; ``None`` swallows all."""
        buffer = getattr(stream, "buffer", None)
        self._raw = getattr(buffer, "raw", buffer)
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self.is_terminal = bool(stream is not None and stream.isatty())

    def encode(self, text: str) -> bytes:
        """Text as this stream takes it; what it cannot show is escaped."""
        return text.encode(self._encoding, "backslashreplace")

    def write(self, data: bytes) -> None:
        """Write all of it; this may block.

        :raise OSError: nobody reads it any more, or the disk is full.
        """
        view = memoryview(data)
        while view and self._raw is not None:
            count = self._raw.write(view)
            if count is None:  # somebody made it non-blocking
                select.select([], [self._raw], [])
            else:
                view = view[count:]


class Writer:
    """A thread that writes.  Everything but the writing itself happens in the reactor's thread."""

    def __init__(
        self,
        call: Callable[..., object],
        *,
        level: Callable[[bool], object] = lambda full: None,
        broken: Callable[[], object] = lambda: None,
    ) -> None:
        """
        :param call: ``reactor.callFromThread``.
        :param level: called with True when too much waits to be written, and with False when no longer.
        :param broken: called once when a sink takes nothing any more.
        """
        self._call = call
        self._level = level
        self._broken = broken
        self._changed = threading.Condition()
        self._queue: list[tuple[Sink, bytes]] = []
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._full = False
        self._flushed: list[tuple[int, Deferred[bool]]] = []  # they wait for so many bytes
        self._written = 0
        self.pending = 0
        """Bytes not yet written."""
        self.error: Exception | None = None
        """Why a sink takes nothing any more, if that is so."""

    def put(self, sink: Sink, data: bytes) -> None:
        """Write this when all before is written."""
        if not data or self.error is not None:
            return
        self.pending += len(data)
        with self._changed:
            self._queue.append((sink, data))
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="output", daemon=True)
            self._thread.start()
        if self.pending > HIGH_WATER and not self._full:
            self._full = True
            self._level(True)

    def flushed(self) -> Deferred[bool]:
        """Fires with True when everything up to now is written, with False when something never will be."""
        if self.error is not None or not self.pending:
            return succeed(self.error is None)
        waiting = self._written + self.pending, Deferred[bool](lambda _: self._flushed.remove(waiting))
        self._flushed.append(waiting)
        return waiting[1]

    def stop(self) -> None:
        """The thread ends once all is written."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _run(self) -> None:
        failed: Exception | None = None
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._changed.wait()
                if not self._queue:
                    return
                queue, self._queue = self._queue, []
            done = 0
            while queue:
                sink, data = queue.pop(0)
                while queue and queue[0][0] is sink and len(data) < READ_BYTES:
                    data += queue.pop(0)[1]
                done += len(data)
                try:
                    if failed is None:
                        sink.write(data)
                except (OSError, ValueError) as error:  # ValueError: somebody closed the file
                    failed = error
            self._call(self._wrote, done, failed)

    def _wrote(self, count: int, failed: Exception | None) -> None:
        self.pending -= count
        self._written += count
        if self._full and self.pending <= LOW_WATER:
            self._full = False
            self._level(False)
        if failed is not None and self.error is None:
            self.error = failed
            self._broken()
        while self._flushed and (self.error is not None or self._flushed[0][0] <= self._written):
            self._flushed.pop(0)[1].callback(self.error is None)


class Screen:
    """Lines and one progress bar, which stays below them and is never in the middle of one."""

    def __init__(
        self,
        writer: Writer,
        out: Sink,
        err: Sink,
        *,
        ansi: bool | None = None,
        columns: int | None = None,
        bar_width: int = BAR_WIDTH,
    ) -> None:
        """
        :param ansi: whether terminals understand escape sequences (ECMA-48).
        :param columns: of the terminal; by default, asked for each time.
        :param bar_width: columns of a progress bar at most.
        """
        self._bar_width = bar_width
        self._writer = writer
        self._out = out
        self._err = err
        self._bar_sink = out if out.is_terminal else err
        self._columns = columns
        dumb = os.name == "nt" or os.environ.get("TERM", "dumb") == "dumb"
        self._ansi = not dumb if ansi is None else ansi
        self._bar = ""
        self._draft = b"", b""  # what is being typed, before the cursor and behind it, if we have to echo it
        self._echoes = False
        self.has_bar = self._bar_sink.is_terminal
        """Whether there can be a progress bar."""

    @property
    def width(self) -> int:
        """Columns for a progress bar: a ^C that the terminal shows behind it stays in its line, and goes with it."""
        columns = self._columns or shutil.get_terminal_size().columns
        return max(10, min(self._bar_width, columns - 4))

    def line(self, text: str) -> None:
        """Print a line, which holds nothing that a terminal obeys."""
        self._print(self._out, text + "\n")

    def data(self, line: bytes) -> None:
        """Print a line as it is, with its end: for a program that reads it."""
        self._put(self._erase(self._bottom()))
        self._writer.put(self._out, line)
        self._put(self._bottom())

    def note(self, text: str) -> None:
        """Print a line about ourselves to standard error."""
        self._print(self._err, text + "\n")

    def bar(self, text: str) -> None:
        """Show this as the progress bar; nothing to take it away."""
        if not self.has_bar or (text and self._writer.pending):
            return  # who cannot follow sees the next one
        if text:
            text += " " * (self.width + 1 - text_width(text))
        before, self._bar = self._bar, text
        if text and before and self._ansi:
            # Leaves the cursor where somebody is typing.
            self._put(f"\x1b7\r{text}\x1b8")
        elif text and before:
            self._put("\r" + text)
        else:
            self._put(self._erase(before or self._half_typed()) + self._bottom())

    @property
    def can_echo(self) -> bool:
        """Whether what is typed can be shown here by ourselves."""
        return self._out.is_terminal and self._ansi

    def echo(self, echo: bool) -> None:
        """Show what is typed from now on, or no more."""
        if echo != self._echoes:
            self.draft(b"")  # who types on is not heard any more
            self._echoes = echo
            self._put(PASTES if echo else NO_PASTES)

    def stop(self) -> None:
        """Leave the terminal to somebody else, at once."""
        try:
            self._bar_sink.write(f"{self._erase(self._bottom())}{NO_PASTES}".encode())
        except (OSError, ValueError):
            pass  # the writer will say so

    def go_on(self) -> None:
        """The terminal is ours again."""
        if self._echoes:
            # Something may have come, and been printed with this below it, before we are told.
            self._put(PASTES + self._erase(self._bottom()) + self._bottom())

    def draft(self, before: bytes, behind: bytes = b"") -> None:
        """This is what is being typed, before the cursor and behind it."""
        if self._echoes:
            bottom = self._bottom()
            self._draft = before, behind
            self._put(self._erase(bottom) + self._bottom())

    def entered(self, raw: bytes) -> None:
        """Somebody typed a line: where the bar was, there is now what she typed, and the bar comes below."""
        if self._echoes:
            before, self._draft = self._bottom(), (b"", b"")
            self._put(f"{self._erase(before)}{show_typed(raw)}\n{self._bar}")
            return
        if not self._bar:
            return
        text = visible(raw)
        columns = self._columns or shutil.get_terminal_size().columns
        if self._ansi and text_width(self._bar + text) < columns:
            self._put(f"\x1b[A\r\x1b[K{text}\n{self._bar}")
        else:
            self._put(self._bar)

    def fresh(self) -> None:
        """What comes next begins a line, whatever a terminal echoed before."""
        if self._echoes:
            self.draft(b"")
        elif self._out.is_terminal and not self._bar:
            self._print(self._out, "\n")

    def flushed(self) -> Deferred[bool]:
        """Fires with True when all of it up to now is on the screen, with False when something never will be."""
        return self._writer.flushed()

    def close(self) -> None:
        """Take the bar away, and end the writer once it is done."""
        self.bar("")
        self.echo(False)
        self._writer.stop()

    def _print(self, sink: Sink, text: str) -> None:
        bottom = self._bottom()
        if bottom and sink.is_terminal:
            if sink is self._bar_sink:
                text = self._erase(bottom) + text + bottom
            else:
                self._put(self._erase(bottom))
                self._writer.put(sink, sink.encode(text))
                self._put(bottom)
                return
        self._writer.put(sink, sink.encode(text))

    def _bottom(self) -> str:
        """What stands below all lines."""
        return self._bar + self._half_typed()

    def _half_typed(self) -> str:
        """What is being typed, as much as there is room for around the cursor, which is left where it belongs."""
        columns = self._columns or shutil.get_terminal_size().columns
        room = max(10, columns - text_width(self._bar) - 1)
        text, rest = (half.decode("utf-8", "ignore").replace("\n", "\u21b5") for half in self._draft)
        if not rest:
            return end(text, room)
        least = room // 3  # of what is behind the cursor, if the rest does not fit
        behind = beginning(rest, max(least, room - 1 - text_width(visible(text[-room:]))))
        return f"{end(text, room - text_width(behind))}\x1b7{behind}\x1b8"

    def _erase(self, bar: str) -> str:
        if not bar:
            return ""
        return "\r\x1b[K" if self._ansi else "\r" + " " * text_width(bar) + "\r"

    def _put(self, text: str) -> None:
        self._writer.put(self._bar_sink, self._bar_sink.encode(text))


class Splitter(Protocol):
    """Cuts what is read into lines."""

    @property
    def rest(self) -> bytes:
        """What counts as a line when the input ends."""

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that end here, without their ends; ``None`` for one that was too long."""


class Typist:
    """A thread that reads from standard input."""

    def __init__(
        self,
        stream: Any,
        call: Callable[..., object],
        took: Callable[[list[bytes | None]], Deferred[None]],
        ended: Callable[[], object],
        splitter: Splitter,
        drafted: Callable[[bytes, bytes], object] = lambda before, behind: None,
    ) -> None:
        """
        :param stream: like ``sys.stdin``; ``None`` is at its end.
        :param call: ``reactor.callFromThread``.
        :param took: is given what the `splitter` gives; more is read when its Deferred has fired.
        :param ended: called at the end of the input.
        :param drafted: called with what is being typed, before the cursor and behind it, if the `splitter` is an
            `Editor`.
        """
        buffer = getattr(stream, "buffer", None)
        self._raw = getattr(buffer, "raw", buffer)
        self._call = call
        self._took = took
        self._ended = ended
        self._splitter = splitter
        self._drafted = drafted
        self._go = threading.Semaphore(0)

    def start(self) -> None:
        """Begin to read.  The thread ends with the input or with the process."""
        threading.Thread(target=self._run, name="input", daemon=True).start()

    def _run(self) -> None:
        splitter = self._splitter
        while data := self._read():
            self._pass_on(splitter.feed(data))
            if isinstance(splitter, Editor):
                self._call(self._drafted, *splitter.halves)
                if splitter.ended:
                    break
        if splitter.rest:
            self._pass_on([splitter.rest])
        self._call(self._ended)

    def _pass_on(self, lines: list[bytes | None]) -> None:
        if lines:
            self._call(self._take, lines)
            self._go.acquire()

    def _take(self, lines: list[bytes | None]) -> None:
        self._took(lines).addBoth(lambda _: self._go.release())

    def _read(self) -> bytes:
        if self._raw is None:
            return b""
        while True:
            try:
                data: bytes | None = self._raw.read(READ_BYTES)
            except (OSError, ValueError):
                return b""
            if data is not None:
                return data
            select.select([self._raw], [], [])  # somebody made it non-blocking
