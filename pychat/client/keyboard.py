"""The keyboard of a terminal, so that every key comes at once and is echoed by us: only then can what is half typed be
drawn again below what came meanwhile."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

try:
    _termios: Any = importlib.import_module("termios")
except ImportError:  # Windows, whose console edits lines by itself
    _termios = None


PATIENCE = 1.0
"""Seconds that a process which a signal ends waits for the terminal to take its last escape sequences."""


class Keyboard:
    """The terminal behind a stream; Ctrl-C, Ctrl-Z, Ctrl-S and Ctrl-Q stay its own."""

    def __init__(self, stream: Any, stops: Callable[[], object], goes_on: Callable[[], object]) -> None:
        """
        :param stream: like ``sys.stdin``.
        :param stops: called when Ctrl-Z stops the process, and, in a thread, when a signal ends it; it has written
            what it writes when it returns.
        :param goes_on: called when the process goes on.
        """
        self._stream = stream
        self._stops = stops
        self._goes_on = goes_on
        self._before: list[Any] | None = None
        self._before_stop: Any = None

    def take(self) -> bool:
        """Whether every key comes here from now on."""
        if _termios is None or not self._set():
            return False
        self._before_stop = signal.getsignal(signal.SIGTSTP)
        if self._before_stop is not signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, self._stopped)
        return True

    def leave(self) -> None:
        """The terminal is as it was before."""
        if self._before is not None:
            self._reset()
            signal.signal(signal.SIGTSTP, self._before_stop or signal.SIG_DFL)

    def abandon(self) -> None:
        """The same, and at once, for a process that a signal ends now: there is no other end of it."""
        self.leave()
        # Whoever is ended must not wait for a terminal that was stopped, or hangs.
        writing = threading.Thread(target=self._stops, name="last output", daemon=True)
        writing.start()
        writing.join(PATIENCE)

    def _set(self) -> bool:
        try:
            handle = self._stream.fileno()
            self._before = _termios.tcgetattr(handle)
            mode = _termios.tcgetattr(handle)
            mode[3] &= ~(_termios.ICANON | _termios.ECHO | _termios.IEXTEN)
            mode[6][_termios.VMIN], mode[6][_termios.VTIME] = 1, 0
            _termios.tcsetattr(handle, _termios.TCSANOW, mode)
        except (OSError, ValueError, _termios.error):
            self._before = None
        return self._before is not None

    def _reset(self) -> None:
        before, self._before = self._before, None
        try:
            _termios.tcsetattr(self._stream.fileno(), _termios.TCSANOW, before)
        except (OSError, ValueError, _termios.error):
            pass  # it is gone

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its terminal as it was."""
        self._stops()
        self._reset()
        os.kill(os.getpid(), signal.SIGSTOP)
        # Here somebody has said `fg`.
        self._set()
        self._goes_on()


def is_there(stream: Any) -> bool:
    """Whether a terminal is still behind this stream, and not just at the end of what was typed."""
    try:
        return bool(stream.isatty())
    except ValueError:  # it was closed
        return False
