"""Runs a coroutine as a program: the reactor around it, signals, one line for what went wrong, exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ..errors import PychatError
from ..printing import status_of
from .keyboard import Keyboard
from .render import visible
from .terminal import Sink

OK, FAILED, USAGE = 0, 1, 2
"""Exit status; a program that a signal ended early has 128 and the signal's number."""


class Signals:
    """What came from outside.

    :ivar caught: the number of the signal that cancelled the program.
    :ivar keyboard: it is given back before the program is ended by one.
    :ivar clears: asked at the first SIGINT, in its handler: whether that cleared a half-typed line, and is all.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self.keyboard: Keyboard | None = None
        self.clears: Callable[[], bool] = lambda: False

    @property
    def hung_up(self) -> bool:
        """Whether it was the terminal that went: SIGHUP."""
        return self.caught is not None and self.caught == getattr(signal, "SIGHUP", None)

    @property
    def status(self) -> int:
        """The exit status that says so."""
        return 128 + (self.caught or 0)


def complain(sentence: str) -> None:
    """One line on standard error."""
    stream = sys.__stderr__
    if stream is not None:
        text = f"pychat: {visible(sentence)}\n".encode(stream.encoding, "backslashreplace")
        try:
            stream.flush()
            os.write(stream.fileno(), text)
        except OSError:
            pass  # nobody is there to be told


def emit(data: bytes) -> int:
    """Print what a program found, once its reactor has ended: here it may block.

    :return: the exit status.
    """
    if sys.stdout is None:
        complain("Standard output is closed: nobody gets what was found.")
        return FAILED
    try:
        Sink(sys.stdout).write(data)
    except OSError as error:
        return status_of(error)
    return OK


def run(program: Callable[[Any, Signals], Coroutine[Any, Any, int]]) -> int:
    """Run a program to its end and return its exit status.

    The first SIGINT, SIGTERM or SIGHUP cancels it; it may still say goodbye.  The second ends the process, and so does
    the first SIGQUIT: the terminal is given back then, and that is all.  A SIGINT that clears a half-typed line does
    not count, nor does a second SIGHUP: a window that closes may send several.
    """
    from twisted.internet import reactor

    loop: Any = reactor
    signals = Signals()
    status = [FAILED]

    def start() -> None:
        running = Deferred.fromCoroutine(program(loop, signals))

        def signalled(number: int, frame: FrameType | None) -> None:
            if signals.caught is not None:
                if number != signals.caught or not signals.hung_up:
                    ended(number, frame)
                return
            if number == signal.SIGINT and signals.clears():
                return
            signals.caught = number
            loop.callFromThread(running.cancel)

        def ended(number: int, frame: FrameType | None) -> None:
            signal.signal(number, signal.SIG_IGN)  # one is enough
            try:
                if signals.keyboard is not None:
                    signals.keyboard.abandon()
            finally:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signalled)
        # Ctrl-\, which a shell has its background programs ignore.
        if hasattr(signal, "SIGQUIT") and signal.getsignal(signal.SIGQUIT) != signal.SIG_IGN:
            signal.signal(signal.SIGQUIT, ended)
        running.addErrback(_explain, signals).addCallback(end)

    def end(result: int) -> None:
        status[0] = result
        loop.stop()

    loop.callWhenRunning(start)
    loop.run()
    return status[0]


def _explain(failure: Failure, signals: Signals) -> int:
    if failure.check(CancelledError):
        return signals.status
    if isinstance(failure.value, PychatError):
        complain(failure.value.sentence)
    else:
        failure.printTraceback(sys.__stderr__)
    return FAILED
