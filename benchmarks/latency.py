"""How long a message takes to be accepted at a modest rate, beside a process that only echoes.

Ten people send a thousand messages a second in all, evenly, whatever comes back.  In the same seconds, in
turn with them, ten connections do the same to a process that sends back what it gets: what that takes is the
machine's share.

    python benchmarks/latency.py --rate 1000 --seconds 5 --journal sqlite
"""

from __future__ import annotations

import argparse
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path

from common import Daemon, pin

ECHO = Path(__file__).with_name("echo.py")


def start_echo() -> tuple[subprocess.Popen[str], int]:
    """Start the control process; return it, and its port."""
    echo = subprocess.Popen([sys.executable, str(ECHO)], stdout=subprocess.PIPE, text=True)
    assert echo.stdout is not None
    return echo, int(echo.stdout.readline().split()[1])


class Line:
    """One connection on which each line sent is answered by a line that starts with ``answer``, in order."""

    def __init__(self, port: int, hello: bytes, line: bytes, answer: bytes) -> None:
        end = time.monotonic() + 10
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line, self._answer = line, answer
        self._sent: list[float] = []
        self.times: list[float] = []
        self._rest = b""
        if hello:
            self.socket.sendall(hello)
            heard = b""
            while b"<connected" not in heard:
                heard += self.socket.recv(65536)

    def send(self) -> None:
        self._sent.append(time.perf_counter())
        self.socket.sendall(self._line)

    def hear(self) -> None:
        now = time.perf_counter()
        *lines, self._rest = (self._rest + self.socket.recv(65536)).split(b"\n")
        for line in lines:
            if line.startswith(self._answer):
                self.times.append(now - self._sent[len(self.times)])

    def forget(self) -> None:
        """Measure anew; nothing is under way."""
        self._sent.clear()
        self.times.clear()

    @property
    def waiting(self) -> bool:
        return len(self.times) < len(self._sent)


def drive(groups: list[list[Line]], rate: float, seconds: float) -> None:
    """Send at this rate to each group, in turn, and then wait for the last answers."""
    selector = selectors.DefaultSelector()
    for line in (line for group in groups for line in group):
        selector.register(line.socket, selectors.EVENT_READ, line)
    start = time.perf_counter()
    count = 0
    end = start + seconds
    while (now := time.perf_counter()) < end + 5:
        due = start + count / (rate * len(groups))
        if now < end and due <= now:
            group = groups[count % len(groups)]
            group[count // len(groups) % len(group)].send()
            count += 1
            continue
        if now >= end and not any(line.waiting for group in groups for line in group):
            break
        for key, _ in selector.select(max(0.0, due - now) if now < end else 0.1):
            key.data.hear()
    selector.close()


def tell(name: str, group: list[Line]) -> None:
    times = sorted(seconds * 1e3 for line in group for seconds in line.times)
    lost = sum(line.waiting for line in group)
    print(
        f"  {name:<28} median {times[len(times) // 2]:6.2f} ms   p99 {times[len(times) * 99 // 100]:6.2f} ms   "
        f"{len(times)} answers" + (f", {lost} connections still wait" if lost else "")
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=1000, help="messages a second")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--journal", default="sqlite")
    options = parser.parse_args()
    text = b"x" * 64
    print(f"<accepted> at {options.rate:.0f} messages a second, {options.journal} journal:")
    for _ in range(options.runs):
        echo, port = start_echo()
        try:
            with Daemon("--journal", options.journal, cpu=0) as daemon:
                pin(echo.pid, 0)
                pin(0, 1)
                people = [
                    Line(daemon.port, b"<connect>u%d\n" % n, b"<set_msg_all>%s\n" % text, b"<accepted ")
                    for n in range(10)
                ]
                control = [Line(port, b"", text + b"\n", text) for _ in range(10)]
                drive([people, control], options.rate, options.seconds)
                tell("accepted by the daemon", people)
                tell("echoed by the control process", control)
                for line in people + control:
                    line.socket.close()
        finally:
            echo.terminate()
            echo.wait()


if __name__ == "__main__":
    main()
