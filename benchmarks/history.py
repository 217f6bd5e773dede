"""Looking back in millions of messages while people chat: pages of history and searches, and what they cost the chat.

A hundred people talk to everybody at an even rate.  In the same seconds, in turn with them, ten connections do the
same to a process that sends back what it gets: what that takes is the machine's share.  First they are alone; then one
person who is in 200 rooms of 2,000 turns pages anywhere in five million messages, and searches for rare and common
words.

    python benchmarks/history.py --folder /tmp/big --runs 3

The folder is made when it is not there, which takes some minutes; without ``--folder`` it is made anew and removed.
"""

from __future__ import annotations

import argparse
import random
import selectors
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bigjournal import COMMON, HER_ROOMS, NAME, PAIR, PEOPLE, RARE, TOKEN, build
from common import Daemon, pin
from latency import Line, start_echo

PAGES, SEARCHES = 1500, 25
"""Pages turned, and searches of each kind, in one run."""

PAUSE = 0.01
"""Seconds between an answer and the next question."""


PAGE_LIMIT, SEARCH_LIMIT, MOVED_LIMIT = 20.0, 200.0, 10.0
"""Milliseconds that a page and a search may take (p99), and by which the chat's p99 may move against the control's."""


class Asker:
    """Somebody who comes back, and asks one question after the other."""

    def __init__(self, port: int, token: bytes, newest: int, chosen: random.Random) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.times: dict[str, list[float]] = {}
        self.errors: list[bytes] = []
        self.lines = 0
        self._chosen, self._newest = chosen, newest
        self._rest = b""
        self._asked: tuple[str, float] | None = None
        self._due = 0.0
        self._questions: Iterator[tuple[str, bytes]] | None = None
        while True:
            self.socket.sendall(b"<hello caps=ack,resume>\n<connect resume=%s>%s\n" % (token, NAME.encode()))
            heard = b""
            while b"<replayed" not in heard and b"code=busy" not in heard:
                data = self.socket.recv(65536)
                if not data:
                    sys.exit(f"nobody could come back: {heard!r}")
                heard += data
            if b"<replayed" in heard:
                break
            time.sleep(0.2)
        connected = heard[heard.index(b"<connected") :]
        self.token = connected.partition(b"resume=")[2].partition(b">")[0].partition(b" ")[0]
        self.socket.sendall(b"<pong>\n")

    def begin(self) -> None:
        """Ask from now on."""
        self._questions = self._all()

    @property
    def done(self) -> bool:
        return self._questions is None and self._asked is None

    def _all(self) -> Iterator[tuple[str, bytes]]:
        every = max(1, PAGES // (3 * SEARCHES))
        for number in range(PAGES):
            yield "a page of history, anywhere", self._page()
            if number % every == 0:
                kind = number // every % 3
                if kind == 0:
                    yield f"a search for a rare word ({RARE})", b"<search label=q>%s\n" % RARE.encode()
                elif kind == 1:
                    yield f"a search for a common word ({COMMON})", b"<search label=q>%s\n" % COMMON.encode()
                else:
                    yield (
                        "a search for two words never together",
                        b"<search label=q>%s\n" % " ".join(PAIR).encode(),
                    )

    def _page(self) -> bytes:
        chosen = self._chosen
        where = chosen.choices(
            (f"#room{chosen.randint(1, HER_ROOMS)}", f"person{chosen.randrange(PEOPLE)}", "all"), (8, 1, 1)
        )[0]
        way = chosen.choice(("before", "after"))
        return f"<history label=q limit=50 {way}={chosen.randint(1, self._newest)}>{where}\n".encode()

    def ask(self, now: float) -> None:
        """Ask the next question, if it is time."""
        if self._asked is not None or self._questions is None or now < self._due:
            return
        question = next(self._questions, None)
        if question is None:
            self._questions = None
            return
        self._asked = question[0], time.perf_counter()
        self.socket.sendall(question[1])

    def hear(self) -> None:
        now = time.perf_counter()
        *lines, self._rest = (self._rest + self.socket.recv(1 << 18)).split(b"\n")
        last = b""
        for line in lines:
            if line.startswith((b"<history label", b"<search label", b"<error")):
                assert self._asked is not None, line
                kind, since = self._asked
                self.times.setdefault(kind, []).append(now - since)
                self._asked = None
                self._due = now + PAUSE
                if line.startswith(b"<error") or (RARE.encode() in line and b" count=3>" not in line):
                    self.errors.append(line)
            elif line.startswith(b"<msg label"):
                self.lines += 1
            elif line.startswith(b"<msg"):
                last = line
        if last:
            self.socket.sendall(b"<ack>%s\n" % last.partition(b"id=")[2].partition(b" ")[0])


def drive(groups: list[list[Line]], rate: float, asker: Asker, seconds: float) -> None:
    """Let all talk, for so long, or until the last question has its answer."""
    selector = selectors.DefaultSelector()
    for line in (line for group in groups for line in group):
        selector.register(line.socket, selectors.EVENT_READ, line)
    selector.register(asker.socket, selectors.EVENT_READ, asker)
    start = time.perf_counter()
    count = 0
    over = 0.0
    while True:
        now = time.perf_counter()
        asker.ask(now)
        if not over and now - start >= seconds and asker.done:
            over = now
        waiting = any(line.waiting for group in groups for line in group)
        if over and (not waiting or now > over + 5):
            break
        due = start + count / (rate * len(groups))
        if not over and due <= now:
            group = groups[count % len(groups)]
            group[count // len(groups) % len(group)].send()
            count += 1
            continue
        for key, _ in selector.select(0.1 if over else max(0.0, min(due - now, PAUSE))):
            key.data.hear()
    selector.close()


def told(name: str, spent: list[float]) -> tuple[float, float]:
    """Print how long it took; return median and p99 in ms."""
    times = sorted(seconds * 1e3 for seconds in spent)
    median, late = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
    print(
        f"  {name:<46} median {median:7.2f} ms   p99 {late:7.2f} ms   most {times[-1]:7.2f} ms   {len(times)}"
    )
    return median, late


def run(
    folder: Path, token: bytes, newest: int, rate: float, seconds: float, seed: int
) -> tuple[bytes, bool]:
    """One run; return the token for the next, and whether all was within its bounds."""
    echo, port = start_echo()
    try:
        with Daemon("--journal", "sqlite", "--state", str(folder), cpu=0) as daemon:
            pin(echo.pid, 0)
            pin(0, 1)
            text = b"x" * 64
            asker = Asker(daemon.port, token, newest, random.Random(seed))
            people = [
                Line(daemon.port, b"<connect>u%d\n" % n, b"<set_msg_all>%s\n" % text, b"<accepted ")
                for n in range(100)
            ]
            control = [Line(port, b"", text + b"\n", text) for _ in range(10)]
            moved = []
            for phase in ("chat alone", "chat, and somebody looks back"):
                for line in people + control:
                    line.forget()
                used = daemon.cpu_seconds()
                began = time.perf_counter()
                if phase != "chat alone":
                    asker.begin()
                drive([people, control], rate, asker, seconds)
                took = time.perf_counter() - began
                cpu = (daemon.cpu_seconds() - used) / took
                print(f"{phase}: {took:.0f} s, {cpu:.0%} of a CPU, {daemon.rss_kib() // 1024} MiB")
                _, chat = told("accepted by the daemon", [each for line in people for each in line.times])
                _, floor = told(
                    "echoed by the control process", [each for line in control for each in line.times]
                )
                moved.append(chat - floor)
            well = not asker.errors and moved[1] - moved[0] < MOVED_LIMIT
            for kind, spent in asker.times.items():
                _, late = told(kind, spent)
                well = well and late < (PAGE_LIMIT if "page" in kind else SEARCH_LIMIT)
            print(
                f"  the chat's p99 over the control's: {moved[0]:.2f} ms alone, {moved[1]:.2f} ms beside; it moved by "
                f"{moved[1] - moved[0]:.2f} ms.  {asker.lines} lines of history, {len(asker.errors)} errors"
            )
            for error in asker.errors[:3]:
                print(f"  {error!r}")
            for line in people + control:
                line.socket.close()
            return asker.token, well
    finally:
        echo.terminate()
        echo.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=lambda name: Path(name).absolute())
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--rooms", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=200, help="messages a second to a hundred people")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="pychat-big-"))
    try:
        kept = folder / "token"
        if not kept.exists():
            print(f"making {options.messages:,} messages in {options.rooms:,} rooms", flush=True)
            build(folder, options.messages, options.rooms)
            kept.write_bytes(TOKEN)
        well = True
        for number in range(options.runs):
            token = kept.read_bytes()
            token, fine = run(folder, token, options.messages, options.rate, options.seconds, number)
            kept.write_bytes(token)
            well = well and fine
        if not well:
            sys.exit("Something took longer than it may.")
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
