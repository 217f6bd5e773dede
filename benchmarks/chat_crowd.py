"""People who log in, talk, and check what they get: what the built-in load is made of."""

from __future__ import annotations

import argparse
import selectors
import socket
import struct
import time
from array import array

LENGTH = 64
LOGGING_IN = 128
"""So many at once."""
QUIET = 0.4
"""Seconds without a line, after which the news of who came are over."""
SILENCE = 5.0
"""Seconds without a line, after which what is missing is lost."""
LINGER = 0.2
"""Seconds in which duplicates may still come."""
CHECKED = 50_000
"""Deliveries a second that are looked at one by one; of more only those to one person are, and the others counted."""


class Checker:
    """What one person was told by each sender: what is missing, twice or out of order, and how long it took."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._missing: set[tuple[int, int]] = set()
        self.got = self.duplicated = self.out_of_order = self.unexpected = 0
        self.times = array("q")
        """ns of each message."""

    def look(self, text: bytes, now: int) -> int:
        """Note one message; its sender, or -1 if it is none of ours."""
        try:
            sender, number, sent = int(text[:5]), int(text[6:14]), int(text[15:34])
        except ValueError:
            self.unexpected += 1
            return -1
        expected = self._next.get(sender, 0)
        if number >= expected:
            self._missing.update((sender, skipped) for skipped in range(expected, number))
            self._next[sender] = number + 1
        elif (sender, number) in self._missing:
            self._missing.remove((sender, number))
            self.out_of_order += 1
        else:
            self.duplicated += 1
            return -1
        self.got += 1
        self.times.append(now - sent)
        return sender


class Person:
    """One connection."""

    __slots__ = ("_acks", "_crowd", "_rest", "checker", "here", "number", "received", "socket")

    def __init__(self, number: int, crowd: Crowd, acks: bool) -> None:
        self.number = number
        self.here = False
        self.received = 0
        self.checker: Checker | None = None
        self._acks, self._crowd, self._rest = acks, crowd, b""
        self.socket = socket.create_connection(("127.0.0.1", crowd.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Nothing in TIME_WAIT: the next run needs the ports.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.sendall(b"%s<connect>u%d\n" % (b"<hello caps=ack>\n" if acks else b"", number))

    def send(self, lines: bytes) -> None:
        """Say something; the daemon reads on, whatever it sends meanwhile."""
        try:
            self.socket.sendall(lines)
        except OSError:
            self._crowd.lost(self)

    def hear(self, now: int) -> None:
        """Take what has come; ``now`` in ns."""
        try:
            data = self.socket.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self._crowd.lost(self)
            return
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        data, self._rest = data[:end], data[end:]
        if not self.here:
            self.here = b"<connected" in data
            self._crowd.here += self.here
            return
        count = data.count(b"<msg ")
        self.received += count
        self._crowd.received += count
        if b"<error " in data:
            self._crowd.errors.append(data[data.index(b"<error ") :].partition(b"\n")[0])
        if count and self._acks:
            last = data[data.rindex(b"<msg ") :]
            self.send(b"<ack>%s\n" % last[last.index(b" id=") + 4 :].split(maxsplit=1)[0])
        if self.checker:
            for text in data.split(b">|")[1:]:
                sender = self.checker.look(text, now)
                if sender >= 0:
                    self._crowd.arrived(sender, self)


class Crowd:
    """All the people."""

    def __init__(self, port: int, count: int, acks: bool) -> None:
        self.port = port
        self.people: list[Person] = []
        self.here = self.received = self.dead = 0
        self.errors: list[bytes] = []
        self.last = time.monotonic_ns()
        """When something came, in ns."""
        self.free: list[int] = []
        """Senders of whom a message has arrived, once for each."""
        self._private = False
        self._count, self._acks = count, acks
        self._selector = selectors.DefaultSelector()

    def arrived(self, sender: int, receiver: Person) -> None:
        """A message has: with everybody the last one counts."""
        if self._private or receiver.number == self._count - 1:
            self.free.append(sender)

    def lost(self, person: Person) -> None:
        """Its connection has ended."""
        if person.socket.fileno() >= 0:
            self.dead += 1
            self._selector.unregister(person.socket)
            person.socket.close()

    def pump(self, seconds: float) -> None:
        """Hear whom there is to hear."""
        for key, _ in self._selector.select(seconds):
            self.last = now = time.monotonic_ns()
            key.data.hear(now)

    def log_in(self, end: float) -> float:
        """Everybody logs in.

        :return: how many seconds it took.
        """
        start = time.monotonic()
        while self.here + self.dead < self._count and time.monotonic() < end:
            while len(self.people) < min(self._count, self.here + self.dead + LOGGING_IN):
                person = Person(len(self.people), self, self._acks)
                self.people.append(person)
                self._selector.register(person.socket, selectors.EVENT_READ, person)
            self.pump(0.1)
        return time.monotonic() - start

    def settle(self, end: float) -> None:
        """Wait until the news of who came have been told."""
        self.last = time.monotonic_ns()
        while time.monotonic_ns() - self.last < QUIET * 1e9 and time.monotonic() < end:
            self.pump(0.02)

    def talk(self, load: argparse.Namespace, end: float) -> int:
        """The load itself.

        :return: how many deliveries there should be.
        """
        self._private = load.private
        count = len(self.people)
        everybody = load.private or 0 < load.rate * count <= CHECKED
        for person in self.people if everybody else self.people[-1:]:
            person.checker = Checker()
        said = [0] * load.senders
        total = load.senders * load.msgs
        expected = total * (1 if load.private else count - 1)
        self.free = [] if load.rate else [*range(load.senders)] * load.window
        start = self.last = time.monotonic_ns()
        sent = 0
        while self.received < expected and not self.dead and time.monotonic() < end:
            now = time.monotonic_ns()
            if now - self.last > SILENCE * 1e9 * (1 if sent == total else 4):
                break
            pause = 0.05
            if load.rate:
                self.free.clear()
                while sent < total:
                    due = start + int(sent / load.rate * 1e9)
                    if due > now:
                        pause = min(pause, (due - now) / 1e9)
                        break
                    self._say(sent % load.senders, said, due)
                    sent += 1
            else:
                free, self.free = self.free, []
                for sender in free:
                    if said[sender] < load.msgs:
                        self._say(sender, said, now)
                        sent += 1
            self.pump(pause)
        return expected

    def linger(self) -> None:
        """Hear what comes twice."""
        end = time.monotonic() + LINGER
        while time.monotonic() < end:
            self.pump(0.02)

    def _say(self, sender: int, said: list[int], when: int) -> None:
        text = b"|%05d.%08d.%019d;" % (sender, said[sender], when)
        said[sender] += 1
        to = b"<set_msg>u%d " % (sender ^ 1) if self._private else b"<set_msg_all>"
        self.people[sender].send(to + text.ljust(LENGTH, b"x") + b"\n")
