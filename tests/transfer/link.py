"""A link in memory, with virtual time: it drops, duplicates, reorders, delays and corrupts by seed."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from pychat.transfer.congestion import NewReno
from pychat.transfer.receiver import WINDOW_BYTES, Receiver
from pychat.transfer.sender import MAX_WINDOW, Sender
from pychat.transfer.terms import Terms

CLIENT = ("192.0.2.1", 4000)


def make_terms(size: int = 0) -> Terms:
    """An offer of `size` bytes."""
    return Terms(transfer=b"transfer", token=b"token of 16 byte", key=b"k" * 32, size=size)


def make_content(size: int, seed: int = 0) -> bytes:
    """A file that differs everywhere."""
    return Random(seed).randbytes(size)


@dataclass
class Weather:
    """What the link does to a datagram, each a probability, in both directions."""

    drop: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    delay: float = 0.010
    jitter: float = 0.0
    #: Datagrams beyond this many on their way in one direction are dropped.
    queue: int = 4000


class Link:
    """A sender, a receiver, and what lies between them.

    :ivar now: virtual seconds.
    :ivar disk: what the receiver was given to write.
    """

    def __init__(
        self,
        content: bytes,
        weather: Weather | None = None,
        *,
        seed: int = 0,
        size: int | None = None,
        max_window: int = MAX_WINDOW,
        window: int = WINDOW_BYTES,
        read_delay: float = 0.0,
        write_delay: float = 0.0,
        verify_delay: float = 0.0,
    ) -> None:
        self.random = Random(seed)
        self.content = content
        self.weather = weather or Weather()
        self.now = 100.0
        terms = make_terms(len(content) if size is None else size)
        self.sender = Sender(
            terms,
            congestion=NewReno(1200),
            now=self.now,
            random_bytes=self.random.randbytes,
            max_window=max_window,
        )
        self.receiver = Receiver(terms, now=self.now, window=window)
        self.disk = bytearray(terms.size)
        self.written = 0
        self.most_unwritten = 0
        self.most_held = 0
        self.read_delay = read_delay
        self.write_delay = write_delay
        self.verify_delay = verify_delay
        self.sent: list[tuple[float, str, bytes]] = []
        #: Sees each datagram before the weather: what it returns goes on its way.
        self.spy: Callable[[str, bytes], list[bytes]] = lambda to, datagram: [datagram]
        self.stalled: set[str] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._travelling = {"sender": 0, "receiver": 0}
        self._reading = False
        self._verifying = False

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a virtual time."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, action))

    def run(self, seconds: float = 600.0) -> None:
        """Until both ends are closed, or for so many virtual seconds."""
        until = self.now + seconds
        self.turn()
        turns, turned = 0, self.now
        while not (self.sender.closed and self.receiver.closed):
            times = [self._events[0][0]] if self._events else []
            for name, end in (("sender", self.sender), ("receiver", self.receiver)):
                deadline = end.deadline()
                if deadline is not None and name not in self.stalled:
                    times.append(deadline)
            if not times or min(times) > until:
                return
            self.now = max(self.now, min(times))
            turns = turns + 1 if self.now == turned else 0
            turned = self.now
            assert turns < 10_000, "an end wants to be called again and again, and does nothing"
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            self.turn()

    def turn(self) -> None:
        """Both ends do what there is to do now."""
        if "receiver" not in self.stalled:
            self._receiver_turn()
        if "sender" not in self.stalled:
            self._sender_turn()

    def _sender_turn(self) -> None:
        wanted = self.sender.wants()
        if wanted is not None and not self._reading:
            self._reading = True
            offset, length = wanted
            if self.read_delay:
                self.at(self.now + self.read_delay, lambda: self._supply(offset, length))
            else:
                self._supply(offset, length)
        for datagram, address in self.sender.poll(self.now):
            assert address == CLIENT
            self._send("receiver", datagram)
        self.most_held = max(self.most_held, self.sender.held)
        if not self._reading and self.sender.wants() is not None:
            self._sender_turn()

    def _supply(self, offset: int, length: int) -> None:
        self._reading = False
        self.sender.supply(offset, self.content[offset : offset + length])
        if self.sender.outcome is None and offset + length == self.sender.terms.size:
            self.sender.source_ended(sha256(self.content).digest())

    def _receiver_turn(self) -> None:
        writes = self.receiver.take_writes()
        nbytes = 0
        for offset, data in writes:
            self.disk[offset : offset + len(data)] = data
            nbytes += len(data)
        self.written += nbytes
        if nbytes and self.write_delay:
            self.at(self.now + self.write_delay, lambda: self.receiver.written(nbytes))
        elif nbytes:
            self.receiver.written(nbytes)
        if self.receiver.digest is not None and not self._verifying:
            self._verifying = True
            self.at(self.now + self.verify_delay, self._verify)
        for datagram in self.receiver.poll(self.now):
            self._send("sender", datagram)

    def _verify(self) -> None:
        if sha256(self.disk).digest() == self.receiver.digest:
            self.receiver.verified()
        else:
            self.receiver.fail("digest-mismatch", "It is not the same.")

    def _send(self, to: str, datagram: bytes) -> None:
        for piece in self.spy(to, datagram):
            self.sent.append((self.now, to, piece))
            self._weather(to, piece)

    def _weather(self, to: str, datagram: bytes) -> None:
        weather, chance = self.weather, self.random.random
        if chance() < weather.drop or self._travelling[to] >= weather.queue:
            return
        if chance() < weather.corrupt:
            at = self.random.randrange(len(datagram))
            datagram = (
                datagram[:at] + bytes((datagram[at] ^ 1 << self.random.randrange(8),)) + datagram[at + 1 :]
            )
        for _ in range(2 if chance() < weather.duplicate else 1):
            delay = weather.delay + chance() * weather.jitter
            if chance() < weather.reorder:
                delay += chance() * 0.050
            self._travelling[to] += 1
            self.at(self.now + delay, lambda: self._deliver(to, datagram))

    def _deliver(self, to: str, datagram: bytes) -> None:
        self._travelling[to] -= 1
        if to in self.stalled:
            return
        if to == "sender":
            self.sender.receive(datagram, CLIENT, self.now)
        else:
            self.receiver.receive(datagram, self.now)
