"""Pipes and pretended terminals in the place of standard input and output."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

endings: list[Callable[[], Awaitable[None] | None]] = []
"""What ends the things that a test has begun, the newest last: the test may fail before it does so itself."""


async def end_all() -> None:
    """End what is not ended yet; all that is here can be ended twice."""
    while endings:
        with suppress(OSError):
            ending = endings.pop()()
            if ending is not None:
                await ending


class Pipe:
    """A pipe whose two ends look like ``sys.stdin`` and ``sys.stdout``."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.reader: Any = os.fdopen(reading, encoding="utf-8")
        self.writer: Any = os.fdopen(writing, "w", encoding="utf-8")
        endings.append(self.close)

    def close(self) -> None:
        """Close what is still open."""
        for end in (self.reader, self.writer):
            if not end.closed:
                end.close()


class Keys:
    """A terminal's keyboard: what is written comes out as typed there, and the system knows it for a terminal."""

    def __init__(self) -> None:
        import pty

        keyboard, terminal = pty.openpty()
        self.reader: Any = os.fdopen(terminal, encoding="utf-8")
        self.writer: Any = os.fdopen(keyboard, "w", encoding="utf-8")
        endings.append(self.close)

    def lines_and_echo(self) -> tuple[bool, bool]:
        """Whether the terminal itself makes lines, and whether it echoes."""
        import termios

        flags = termios.tcgetattr(self.reader.fileno())[3]
        return bool(flags & termios.ICANON), bool(flags & termios.ECHO)

    def close(self) -> None:
        """Close what is still open."""
        for end in (self.reader, self.writer):
            if not end.closed:
                end.close()


class Collector:
    """Reads a pipe to its end in a thread, as the program at the other end of ``|`` does."""

    def __init__(self) -> None:
        self._pipe = Pipe()
        self.stream = self._pipe.writer
        self._data = bytearray()
        # A daemon: who fails to close the stream shall not keep the process from ending.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        endings.append(self.close)

    def _run(self) -> None:
        while data := self._pipe.reader.buffer.raw.read(65536):
            self._data += data

    def text(self) -> str:
        """Close the writing end; return all that was written."""
        self.close()
        return self._data.decode()

    def close(self) -> None:
        """Close the writing end, and read what is still in the pipe."""
        if not self.stream.closed:
            self.stream.close()
        self._thread.join()
        self._pipe.close()


class Terminal:
    """Looks like a terminal to who writes there, and shows what somebody would see: CR, ESC 7, 8, [A, [K.

    :ivar marks_pastes: it was asked to.
    """

    encoding = "utf-8"

    def __init__(self, columns: int = 200) -> None:
        self.buffer = self
        self.raw = self
        self.columns = columns
        self.rows = [""]
        self._row = self._column = 0
        self._saved = (0, 0)
        self.marks_pastes = False

    def isatty(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        """Takes all, in one piece or another."""
        text = bytes(data).decode()
        while text:
            text = self._one(text)
        return len(data)

    def type(self, text: str) -> None:
        """The echo of what somebody types."""
        self.write(text.encode())

    def _one(self, text: str) -> str:
        if text.startswith("\x1b7"):
            self._saved = (self._row, self._column)
            return text[2:]
        if text.startswith("\x1b8"):
            self._row, self._column = self._saved
            return text[2:]
        if text.startswith("\x1b[A"):
            self._row -= 1
            return text[3:]
        if text.startswith("\x1b[K"):
            self.rows[self._row] = self.rows[self._row][: self._column]
            return text[3:]
        if text.startswith(("\x1b[?2004h", "\x1b[?2004l")):
            self.marks_pastes = text[7] == "h"
            return text[8:]
        assert text[0] != "\x1b", text
        if text[0] == "\r":
            self._column = 0
        elif text[0] == "\n":
            self._row, self._column = self._row + 1, 0
            if self._row == len(self.rows):
                self.rows.append("")
        else:
            row = self.rows[self._row].ljust(self._column)
            self.rows[self._row] = row[: self._column] + text[0] + row[self._column + 1 :]
            self._column += 1
        return text[1:]
