"""How fast the chat is: deliveries per second, and server CPU per delivery.

Fifty of a hundred people talk to everybody, each with a few messages under way, as fast as they are accepted.  The
daemon runs on CPU 0, the load on CPU 1.  The built-in load is Python and may be what is slow: ``CPU per
delivery`` is the figure to compare.  ``--load COMMAND`` runs another generator instead, with ``PORT`` and ``PID`` of
the daemon in its environment.

    python benchmarks/chat.py --people 100 --runs 3
    python benchmarks/chat.py --load './chatload.sh pychat sat100'
"""

from __future__ import annotations

import argparse
import os
import selectors
import shlex
import socket
import statistics
import subprocess
import sys
import time

from common import Daemon, pin

PAYLOAD = b"x" * 46


class Talker:
    """One person: counts what she gets, and with ``left`` messages to say keeps ``window`` of them under way."""

    def __init__(self, number: int, port: int, left: int, window: int, checks: bool) -> None:
        self.number = number
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(b"<connect>u%d\n" % number)
        self.left = left
        self.window = window
        self.received = 0
        self.next_from: dict[bytes, int] | None = {} if checks else None
        self._said = 0
        self._rest = b""
        self.login()

    def login(self) -> None:
        heard = b""
        while b"<connected" not in heard:
            heard += self.socket.recv(65536)

    def talk(self, count: int) -> None:
        count = min(count, self.left)
        self.left -= count
        lines = []
        for _ in range(count):
            lines.append(b"<set_msg_all>|u%d.%08d;%s\n" % (self.number, self._said, PAYLOAD))
            self._said += 1
        if lines:
            self.socket.sendall(b"".join(lines))

    def hear(self) -> None:
        data = self._rest + self.socket.recv(1 << 20)
        end = data.rfind(b"\n") + 1
        data, self._rest = data[:end], data[end:]
        self.received += data.count(b"<msg ")
        if self.left:
            self.talk(data.count(b"<accepted "))
        if self.next_from is not None:
            for piece in data.split(b">|")[1:]:
                who, _, rest = piece.partition(b".")
                if int(rest[:8]) != self.next_from.get(who, 0):
                    sys.exit(f"out of order, lost or twice: {piece!r}")
                self.next_from[who] = int(rest[:8]) + 1


def run(daemon: Daemon, people: int, senders: int, window: int, messages: int) -> tuple[float, float]:
    """One run; every delivery is counted, and one receiver checks order, loss and duplicates.

    :return: deliveries per second, and server CPU in µs per delivery.
    """
    each = messages // senders
    talkers = [
        Talker(n, daemon.port, each if n < senders else 0, window, checks=n == people - 1)
        for n in range(people)
    ]
    selector = selectors.DefaultSelector()
    expected = {}
    for talker in talkers:
        selector.register(talker.socket, selectors.EVENT_READ, talker)
        expected[talker] = each * senders - (each if talker.number < senders else 0)
    cpu, start = daemon.cpu_seconds(), time.perf_counter()
    for talker in talkers[:senders]:
        talker.talk(window)
    waiting = set(talkers)
    while waiting:
        ready = selector.select(10)
        if not ready:
            sys.exit(f"{len(waiting)} receivers are missing messages")
        for key, _ in ready:
            talker = key.data
            talker.hear()
            if talker.received >= expected[talker]:
                waiting.discard(talker)
    seconds, cpu = time.perf_counter() - start, daemon.cpu_seconds() - cpu
    deliveries = sum(expected.values())
    if sum(talker.received for talker in talkers) != deliveries:
        sys.exit("something was delivered twice")
    for talker in talkers:
        talker.socket.close()
    selector.close()
    return deliveries / seconds, cpu / deliveries * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--senders", type=int, default=50)
    parser.add_argument("--window", type=int, default=2, help="messages that a sender has under way")
    parser.add_argument("--messages", type=int, default=20_000, help="messages in a run, of all senders")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--load", metavar="COMMAND", help="another generator")
    parser.add_argument("--journal", default="sqlite")
    options = parser.parse_args()
    pin(0, 1)
    with Daemon("--journal", options.journal, cpu=0) as daemon:
        if options.load:
            environment = {**os.environ, "PORT": str(daemon.port), "PID": str(daemon.pid)}
            for _ in range(options.runs):
                subprocess.run(shlex.split(options.load), env=environment, check=True)
            return
        results = []
        for number in range(options.runs):
            rate, cpu = run(daemon, options.people, options.senders, options.window, options.messages)
            results.append((rate, cpu))
            print(
                f"  run {number + 1}: {rate:>9,.0f} deliveries/s  {cpu:.3f} µs of server CPU per delivery",
                flush=True,
            )
        rates, costs = zip(*results, strict=True)
        print(
            f"chat, {options.people} people, {options.senders} of them talking, {options.journal} journal: "
            f"{statistics.median(rates):,.0f} deliveries/s, {statistics.median(costs):.3f} µs of server CPU "
            f"per delivery (median of {options.runs}), {daemon.rss_kib() / 1024:.0f} MiB"
        )


if __name__ == "__main__":
    main()
