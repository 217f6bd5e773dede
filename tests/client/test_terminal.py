"""Tests of `pychat.client.terminal`: lines and a bar that share a terminal, and threads that wait for the reactor."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.editing import Editor
from pychat.client.render import text_width
from pychat.client.terminal import HIGH_WATER, Screen, Sink, Typist, Writer
from pychat.framing import LineSplitter

from .streams import Collector, Pipe, Terminal

WAIT = 20.0


class Calls:
    """Stands in for ``reactor.callFromThread``: the test's own thread makes the calls."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = queue.SimpleQueue()

    def __call__(self, function: Callable[..., object], *args: Any) -> None:
        self._queue.put((function, args))

    def run_until(self, true: Callable[[], bool]) -> None:
        while not true():
            function, args = self._queue.get(timeout=WAIT)
            function(*args)


class Direct(Writer):
    """A writer that writes at once."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)

    def put(self, sink: Sink, data: bytes) -> None:
        sink.write(data)


class Screens(SynchronousTestCase):
    """What somebody sees."""

    def setUp(self) -> None:
        self.terminal = Terminal()
        sink = Sink(self.terminal)
        self.screen = Screen(Direct(), sink, sink, ansi=True, columns=100)

    def seen(self) -> list[str]:
        return [row.rstrip() for row in self.terminal.rows]

    def test_room_for_an_interrupt(self) -> None:
        """The ^C that a terminal shows behind the bar does not begin another line: it goes with the bar."""
        self.screen.bar("[#..]")
        self.assertLess(text_width(self.screen._bar) + len("^C"), 100)

    def test_lines(self) -> None:
        """One below the other."""
        self.screen.line("a")
        self.screen.note("b")
        self.assertEqual(self.seen(), ["a", "b", ""])

    def test_bar_stays_below(self) -> None:
        """A line never comes into the bar, nor the bar into a line."""
        self.screen.line("a")
        self.screen.bar("[#..]")
        self.screen.line("a rather long line")
        self.screen.bar("[##.]")
        self.screen.note("c")
        self.assertEqual(self.seen(), ["a", "a rather long line", "c", "[##.]"])
        self.screen.bar("")
        self.screen.bar("")
        self.assertEqual(self.seen(), ["a", "a rather long line", "c", ""])

    def test_bars_on_another_stream(self) -> None:
        """Output and errors on one terminal share it as well."""
        screen = Screen(Direct(), Sink(self.terminal), Sink(self.terminal), ansi=True, columns=100)
        screen.bar("[#..]")
        screen.note("b")
        screen.line("c")
        self.assertEqual(self.seen(), ["b", "c", "[#..]"])

    def test_typing(self) -> None:
        """What is being typed stands beside the bar and stays there; when it is entered it takes the bar's place."""
        self.screen.bar("[#..]")
        width = self.screen.width + 1
        self.terminal.type("<ping>h")
        self.screen.bar("[##.]")
        self.terminal.type("i")
        self.assertEqual(self.seen(), ["[##.]".ljust(width) + "<ping>hi"])
        self.terminal.type("\n")
        self.screen.entered(b"<ping>hi")
        self.assertEqual(self.seen(), ["<ping>hi", "[##.]"])

    def test_typing_a_long_line(self) -> None:
        """A line that went around the edge of the terminal stays where it is."""
        self.screen.bar("[#..]")
        self.terminal.type("x" * 60 + "\n")
        self.screen.entered(b"x" * 60)
        self.assertEqual(self.seen()[-1], "[#..]")
        self.assertEqual(len(self.seen()), 2)

    def test_fresh(self) -> None:
        """After ^C the next line begins at the left; a bar makes way by itself."""
        self.terminal.type("^C")
        self.screen.fresh()
        self.screen.line("bye")
        self.assertEqual(self.seen(), ["^C", "bye", ""])
        self.screen.bar("[#..]")
        self.screen.fresh()
        self.assertEqual(self.seen(), ["^C", "bye", "[#..]"])

    def test_typing_without_a_bar(self) -> None:
        """Nothing has to be put right."""
        self.screen.entered(b"x")
        self.assertEqual(self.seen(), [""])

    def test_echo(self) -> None:
        """What is half typed stands below whatever comes, and beside the bar; entered, it is a line like others."""
        self.screen.echo(True)
        self.assertTrue(self.terminal.marks_pastes)
        for draft in (b"h", b"hi", "hi ü".encode()[:-1], b"hi \x1b\n-"):
            self.screen.draft(draft)
        self.assertEqual(self.seen(), ["hi \\x1b\u21b5-"])
        self.screen.line("a message")
        self.assertEqual(self.seen(), ["a message", "hi \\x1b\u21b5-"])
        self.screen.bar("[#..]")
        width = self.screen.width + 1
        self.assertEqual(self.seen()[1:], ["[#..]".ljust(width) + "hi \\x1b\u21b5-"])
        self.screen.note("a note")
        self.screen.bar("[##.]")
        self.assertEqual(self.seen()[1:], ["a note", "[##.]".ljust(width) + "hi \\x1b\u21b5-"])
        self.screen.entered(b"hi \x1b\n-")
        self.assertEqual(self.seen()[2:], ["hi \\x1b", "    -", "[##.]"])
        self.screen.draft(b"x")
        self.screen.bar("")
        self.assertEqual(self.seen()[4:], ["x"])
        self.screen.fresh()
        self.screen.close()
        self.screen.draft(b"typed too late")
        self.screen.go_on()
        self.assertEqual((self.seen()[4:], self.terminal.marks_pastes), ([""], False))

    def test_long_draft(self) -> None:
        """Of what is too long for a row its end is shown, however wide its characters are."""
        sink = Sink(self.terminal)
        screen = Screen(Direct(), sink, sink, ansi=True, columns=20)
        screen.echo(True)
        for draft, shown in (
            ("a" * 19, "a" * 19),
            ("b" * 5 + "a" * 18, "\u2026" + "a" * 18),
            ("日本" * 30, "\u2026" + "本日" * 4 + "本"),
            ("\x1b" * 10, "\u2026" + "\\x1b" * 4),
        ):
            screen.draft(draft.encode())
            self.assertEqual(self.seen(), [shown])
            self.assertLess(text_width(shown), 20)

    def test_cursor(self) -> None:
        """The cursor stands where it belongs, beside the bar as well, and what is behind it fits in the row, too."""
        sink = Sink(self.terminal)
        screen = Screen(Direct(), sink, sink, ansi=True, columns=20)
        screen.echo(True)
        for before, behind, shown, column in (
            ("ab", "c\nd", "abc\u21b5d", 2),
            ("", "a" * 30, "a" * 17 + "\u2026", 0),
            ("", "日" * 30, "日" * 8 + "\u2026", 0),
            ("a" * 30, "b" * 30, "\u2026" + "a" * 12 + "b" * 5 + "\u2026", 13),
            ("a" * 30, "b", "\u2026" + "a" * 17 + "b", 18),
            ("\u0301" * 30, "b" * 30, None, None),
        ):
            screen.draft(before.encode(), behind.encode())
            if shown is not None:
                self.assertEqual((self.seen(), self.terminal._column), ([shown], column))
        screen.draft(b"ab", b"cd")
        screen.bar("[#]")
        screen.bar("[##]")
        self.terminal.type("|")
        self.assertEqual(self.seen()[0].split("]")[1].strip(), "ab|d")

    def test_two_streams(self) -> None:
        """Output and errors on one terminal share it with what is typed as well."""
        screen = Screen(Direct(), Sink(self.terminal), Sink(self.terminal), ansi=True, columns=100)
        screen.echo(True)
        screen.draft(b"x")
        screen.note("b")
        screen.line("c")
        self.assertEqual(self.seen(), ["b", "c", "x"])

    def test_stopped(self) -> None:
        """While somebody else has the terminal nothing of ours is left there; then it comes back."""
        self.screen.echo(True)
        self.screen.draft(b"half")
        self.screen.stop()
        self.assertEqual((self.seen(), self.terminal.marks_pastes), ([""], False))
        self.screen.line("came before that was known")
        self.screen.go_on()
        self.assertEqual(
            (self.seen(), self.terminal.marks_pastes), (["came before that was known", "half"], True)
        )

        def gone(data: bytes) -> int:
            raise BrokenPipeError

        self.patch(self.terminal, "write", gone)
        self.screen.stop()

    def test_no_echo(self) -> None:
        """Where escape sequences are not understood, and in a pipe, what is typed is echoed by others."""
        sink = Sink(self.terminal)
        self.assertTrue(self.screen.can_echo)
        self.assertFalse(Screen(Direct(), sink, sink, ansi=False).can_echo)
        self.assertFalse(Screen(Direct(), Sink(None), sink, ansi=True).can_echo)

    def test_without_escapes(self) -> None:
        """A terminal that understands nothing but CR has a bar too."""
        sink = Sink(self.terminal)
        screen = Screen(Direct(), sink, sink, ansi=False, columns=40)
        screen.bar("[#..]")
        screen.bar("[##.]")
        screen.line("a")
        screen.entered(b"")
        self.assertEqual(self.seen()[0], "a")
        self.assertIn("[##.]", self.seen()[1])
        screen.bar("")
        self.assertNotIn("\x1b", "".join(self.seen()))

    def test_no_terminal(self) -> None:
        """In a pipe there is no bar."""
        out = Collector()
        screen = Screen(Direct(), Sink(out.stream), Sink(None))
        self.assertFalse(screen.has_bar)
        screen.bar("[#..]")
        screen.line("grüß dich")
        screen.note("nobody hears that")
        screen.bar("")
        self.assertEqual(out.text(), "grüß dich\n")

    def test_bar_while_output_is_stuck(self) -> None:
        """A terminal that somebody stopped is not sent one bar after the other."""
        writer = Direct()
        sink = Sink(self.terminal)
        screen = Screen(writer, sink, sink, ansi=True, columns=100)
        writer.pending = 1
        screen.bar("[#..]")
        self.assertEqual(self.seen(), [""])

    def test_encoding(self) -> None:
        """What the terminal cannot show is escaped."""

        class Latin(Terminal):
            encoding = "latin-1"

        self.assertEqual(Sink(Latin()).encode("ä日"), b"\xe4\\u65e5")


class Writers(SynchronousTestCase):
    """The thread that writes."""

    def setUp(self) -> None:
        self.calls = Calls()
        self.levels: list[bool] = []
        self.broken: list[bool] = []
        self.writer = Writer(self.calls, level=self.levels.append, broken=lambda: self.broken.append(True))
        self.addCleanup(self.writer.stop)

    def test_writes_in_order(self) -> None:
        """All of it, in order, however many sinks there are."""
        out, err = Collector(), Collector()
        first, second = Sink(out.stream), Sink(err.stream)
        self.successResultOf(self.writer.flushed())
        for number in range(500):
            self.writer.put(first if number % 3 else second, b"%d\n" % number)
        self.writer.put(first, b"")
        flushed = self.writer.flushed()
        self.calls.run_until(lambda: bool(flushed.called))
        self.assertEqual(self.writer.pending, 0)
        self.assertEqual(out.text().split(), [str(n) for n in range(500) if n % 3])
        self.assertEqual(err.text().split(), [str(n) for n in range(500) if not n % 3])

    def test_level(self) -> None:
        """Who writes more than is taken is told, and told again when it is taken; nothing blocks here."""
        pipe = Pipe()
        self.addCleanup(pipe.close)
        sink = Sink(pipe.writer)
        count = HIGH_WATER // 1000 + 100
        for _ in range(count):
            self.writer.put(sink, b"x" * 1000)
        self.assertEqual(self.levels, [True])
        waiting = self.writer.flushed()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        left = [count * 1000]

        def read() -> None:
            while left[0]:
                left[0] -= len(os.read(pipe.reader.fileno(), 65536))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        self.calls.run_until(lambda: self.levels == [True, False])
        thread.join()

    def test_broken(self) -> None:
        """When nobody reads any more that is told once, and nothing waits for ever."""
        pipe = Pipe()
        self.addCleanup(pipe.close)
        pipe.reader.close()
        sink = Sink(pipe.writer)
        self.writer.put(sink, b"a")
        self.writer.put(sink, b"b")
        flushed = self.writer.flushed()
        self.calls.run_until(lambda: bool(flushed.called))
        self.assertEqual((self.broken, self.successResultOf(flushed)), ([True], False))
        self.writer.put(sink, b"c")
        self.assertFalse(self.successResultOf(self.writer.flushed()))

    def test_flushed(self) -> None:
        """It speaks of what was put before it was asked for, however much is put after."""
        pipe = Pipe()
        self.addCleanup(pipe.close)
        sink = Sink(pipe.writer)
        self.writer.put(sink, b"a")
        first = self.writer.flushed()
        self.calls.run_until(lambda: self.writer.pending == 0)
        self.assertTrue(self.successResultOf(first))
        self.writer.put(sink, b"b")
        second = self.writer.flushed()
        self.assertEqual(os.read(pipe.reader.fileno(), 1) + os.read(pipe.reader.fileno(), 1), b"ab")
        self.writer.put(sink, b"x" * HIGH_WATER)  # nobody reads: this stays
        third = self.writer.flushed()
        self.addCleanup(third.cancel)
        third.addErrback(lambda failure: failure.trap(CancelledError))
        self.calls.run_until(lambda: bool(second.called))
        self.assertTrue(self.successResultOf(second))
        self.assertNoResult(third)

    def test_non_blocking(self) -> None:
        """An output that somebody made non-blocking takes all in the end."""
        out = Collector()
        os.set_blocking(out.stream.fileno(), False)
        self.writer.put(Sink(out.stream), b"x" * 1_000_000)
        flushed = self.writer.flushed()
        self.calls.run_until(lambda: bool(flushed.called))
        self.assertEqual(len(out.text()), 1_000_000)


class Typists(SynchronousTestCase):
    """The thread that reads."""

    def typed(self, stream: Any, feed: Callable[[], object] = lambda: None) -> list[bytes | None]:
        calls, got, ended = Calls(), [], []  # type: ignore[var-annotated]

        def took(lines: list[bytes | None]) -> Deferred[None]:
            got.extend(lines)
            taken: Deferred[None] = Deferred()
            calls(taken.callback, None)
            return taken

        Typist(stream, calls, took, lambda: ended.append(True), LineSplitter(16)).start()
        feed()
        calls.run_until(lambda: bool(ended))
        return got

    def test_lines(self) -> None:
        """Lines without their ends; one that is too long is None; the last one counts without an end, too."""
        pipe = Pipe()
        self.addCleanup(pipe.close)
        pipe.writer.write("one\ntwo\r\n\n" + "x" * 100 + "\nlast")
        pipe.writer.close()
        self.assertEqual(self.typed(pipe.reader), [b"one", b"two", b"", None, b"last"])

    def test_keys(self) -> None:
        """What is half typed is told as it grows, after what was entered; Ctrl-D ends it, whatever follows."""
        pipe = Pipe()
        self.addCleanup(pipe.close)
        calls, told = Calls(), []  # type: ignore[var-annotated]

        def took(lines: list[bytes | None]) -> Deferred[None]:
            told.append(lines)
            return succeed(None)

        def drafted(before: bytes, behind: bytes) -> None:
            told.append(before + b"|" + behind if behind else before)

        Typist(pipe.reader, calls, took, lambda: told.append("end"), Editor(), drafted).start()
        for keys, last in (("ab", b"ab"), ("c\nde", b"de"), ("\x1b[D", b"d|e"), ("\x04\n\x04never\n", "end")):
            pipe.writer.write(keys)
            pipe.writer.flush()
            calls.run_until(lambda: bool(told) and told[-1] == last)  # noqa: B023
        self.assertEqual(told, [b"ab", [b"abc"], b"de", b"d|e", [b"de"], b"", "end"])

    def test_one_after_the_other(self) -> None:
        """More is read when what was read has been taken: the thread waits after each time."""
        pipe = Pipe()
        self.addCleanup(pipe.close)
        calls, happened = Calls(), []  # type: ignore[var-annotated]

        class Watched(threading.Semaphore):
            def acquire(self, *args: Any, **kwargs: Any) -> bool:
                happened.append("wait")
                return super().acquire(*args, **kwargs)

        def call(function: Callable[..., object], *args: Any) -> None:
            happened.append(args[0] if args else "end")
            calls(function, *args)

        ended: list[bool] = []
        typist = Typist(
            pipe.reader, call, lambda _: succeed(None), lambda: ended.append(True), LineSplitter(16)
        )
        typist._go = Watched(0)
        pipe.writer.write("a\nb")
        pipe.writer.close()
        typist.start()
        calls.run_until(lambda: bool(ended))
        self.assertEqual(happened, [[b"a"], "wait", [b"b"], "wait", "end"])

    def test_no_input(self) -> None:
        """No standard input, or one that is closed, is at its end."""
        self.assertEqual(self.typed(None), [])
        pipe = Pipe()
        self.addCleanup(pipe.close)
        pipe.reader.close()
        self.assertEqual(self.typed(pipe.reader), [])

    def test_non_blocking(self) -> None:
        """An input that somebody made non-blocking is waited for."""
        pipe = Pipe()
        self.addCleanup(pipe.close)
        os.set_blocking(pipe.reader.fileno(), False)

        def feed() -> None:
            pipe.writer.write("a\n")
            pipe.writer.close()

        self.assertEqual(self.typed(pipe.reader, feed), [b"a"])
