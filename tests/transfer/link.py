"""A link in memory, with virtual time: it drops, duplicates, reorders, delays, cuts and corrupts by seed.

A real `Sender` and a real `Receiver` stand at its ends, in either direction; what the receiver writes goes to a `Disk`
in memory, which hashes as a part file does and may be slow or damage what it is given.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any

from blake3 import blake3

from pychat.hashing import Hashes
from pychat.transfer.congestion import CONTROLLERS
from pychat.transfer.endpoint import Endpoint
from pychat.transfer.packet import (
    DATAGRAM_BYTES,
    FROM_CLIENT,
    FROM_DAEMON,
    Buffer,
)
from pychat.transfer.path import ClientPath, DaemonPath
from pychat.transfer.ranges import RangeSet
from pychat.transfer.receiver import WINDOW_BYTES, Receiver
from pychat.transfer.sender import MAX_WINDOW, Sender
from pychat.transfer.terms import FIRST_WINDOW, PIECE_BYTES, Train
from tests.transfer.offers import make_content, make_terms

__all__ = ["CLIENT", "DAEMON", "Disk", "Link", "Weather", "make_content", "make_terms"]

CLIENT = ("192.0.2.1", 4000)
DAEMON = ("192.0.2.2", 50000)


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
    #: Larger datagrams vanish.
    mtu: int = 1472
    #: Bytes a second, in each direction; a train is spread by it.
    rate: float = 12.5e6


class Disk:
    """What the receiver's writes come to.

    :param have: what is there already, of `content`.
    :ivar data: its bytes.
    :ivar damaged: how often a piece, by its index, is yet to be written wrong.
    """

    def __init__(self, size: int, have: Sequence[tuple[int, int]] = (), content: bytes = b"") -> None:
        self.data = bytearray(size)
        self.hashes = Hashes(size, True, lambda length, at: bytes(self.data[at : at + length]))
        ranges = RangeSet()
        for start, end in have:
            ranges.add(start, end)
            self.data[start:end] = content[start:end]
        self.hashes.resume(ranges)
        self.damaged: dict[int, int] = {}

    def write(self, writes: Sequence[tuple[int, Sequence[Buffer]]]) -> tuple[int, list[tuple[int, bytes]]]:
        """As `PartFile.write`."""
        nbytes = 0
        news = RangeSet()
        for offset, buffers in writes:
            joined = b"".join(buffers)
            end = offset + len(joined)
            for index, times in self.damaged.items():
                at = index * PIECE_BYTES
                if times and offset <= at < end:
                    self.damaged[index] -= 1
                    cut = at - offset
                    joined = joined[:cut] + bytes((joined[cut] ^ 1,)) + joined[cut + 1 :]
            self.hashes.reopen(offset, end)
            assert not self.hashes.held.within(offset, end), "bytes that are there come again"
            self.data[offset:end] = joined
            self.hashes.add(offset, [joined])
            news.add(offset, end)
            nbytes += len(joined)
        return nbytes, self.hashes.completed(news)


class Link:
    """A sender, a receiver, and what lies between them.

    :param up: the client sends (an upload).
    :param size: bytes that the offer names, if not those of `content`.
    :param have: what the receiver has already.
    :ivar now: virtual seconds.
    :ivar disk: what the receiver was given to write.
    :ivar home: the client's address, as the daemon sees it; may be set.
    :ivar stalled: names of ends that are dead: ``sender``, ``receiver``.
    """

    def __init__(
        self,
        content: bytes,
        weather: Weather | None = None,
        *,
        up: bool = False,
        seed: int = 0,
        size: int | None = None,
        max_window: int = MAX_WINDOW,
        window: int = WINDOW_BYTES,
        have: Sequence[tuple[int, int]] = (),
        congestion: str = "newreno",
        read_delay: float = 0.0,
        write_delay: float = 0.0,
        verify_delay: float = 0.0,
        max_rate: float = inf,
        **settings: Any,
    ) -> None:
        self.random = Random(seed)
        self.content = content
        self.weather = weather or Weather()
        self.now = 100.0
        self.up = up
        self.home: object = CLIENT
        terms = make_terms(len(content) if size is None else size)
        daemon = DaemonPath(terms.token, self.random.randbytes)
        client = ClientPath(terms.token, DAEMON, window=0 if up else FIRST_WINDOW, now=self.now)
        self.sender = Sender(
            terms,
            client if up else daemon,
            sends=FROM_CLIENT if up else FROM_DAEMON,
            congestion=CONTROLLERS[congestion](DATAGRAM_BYTES),
            now=self.now,
            random_bytes=self.random.randbytes,
            max_window=max_window,
            have=have,
            **settings,
        )
        self.receiver = Receiver(
            terms,
            daemon if up else client,
            sends=FROM_DAEMON if up else FROM_CLIENT,
            now=self.now,
            window=window,
            have=have,
            max_rate=max_rate,
        )
        self.disk = Disk(terms.size, have, content)
        self.written = 0
        self.most_held = 0
        self.read_delay = read_delay
        self.write_delay = write_delay
        self.verify_delay = verify_delay
        #: When, to whom, and the bytes of each datagram that was sent.
        self.sent: list[tuple[float, str, bytes]] = []
        #: Sees each datagram before the weather: what it returns goes on its way.
        self.spy: Callable[[str, bytes], list[bytes]] = lambda to, datagram: [datagram]
        self.stalled: set[str] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._travelling = {"sender": 0, "receiver": 0}
        self._free_at = {"sender": self.now, "receiver": self.now}
        self._arrived: dict[str, list[tuple[bytes, object]]] = {"sender": [], "receiver": []}
        self._reading = False
        self._writing = False
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
            for name, end in self._ends():
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

    def _ends(self) -> tuple[tuple[str, Endpoint], ...]:
        return ("sender", self.sender), ("receiver", self.receiver)

    def turn(self) -> None:
        """Both ends do what there is to do now."""
        for name, end in self._ends():
            arrived, self._arrived[name] = self._arrived[name], []
            if name not in self.stalled:
                self._hand_over(end, arrived)
        if "receiver" not in self.stalled:
            self._receiver_turn()
        if "sender" not in self.stalled:
            self._sender_turn()

    def _hand_over(self, end: Endpoint, arrived: list[tuple[bytes, object]]) -> None:
        """In trains, as a socket that coalesces does."""
        while arrived:
            first, address = arrived[0]
            train = [first]
            for datagram, where in arrived[1:64]:
                if where != address or len(datagram) > len(first) or len(train[-1]) < len(first):
                    break
                train.append(datagram)
            del arrived[: len(train)]
            end.receive(b"".join(train), len(first), address, self.now)

    def _sender_turn(self) -> None:
        sender = self.sender
        wanted = sender.wants()
        while wanted is not None and not self._reading:
            self._reading = True
            self._read(*wanted)
            wanted = sender.wants()
        for train in sender.poll(self.now):
            self._leave("receiver", train)
        self.most_held = max(self.most_held, sender.held)

    def _read(self, offset: int, length: int) -> None:
        if self.read_delay:
            self.at(self.now + self.read_delay, lambda: self._supply(offset, length))
        else:
            self._supply(offset, length)

    def _supply(self, offset: int, length: int) -> None:
        self._reading = False
        sender = self.sender
        sender.supply(offset, self.content[offset : offset + length])
        end = offset + length
        if length and (end % PIECE_BYTES == 0 or end == sender.terms.size):
            index = (end - 1) // PIECE_BYTES
            if sender.outcome is None and not sender.knows(index):
                sender.pieces(index, [blake3(self.content[index * PIECE_BYTES : end]).digest()])

    def _receiver_turn(self) -> None:
        receiver = self.receiver
        if receiver.waiting and not self._writing:
            nbytes, pieces = self.disk.write(receiver.take_writes())
            self.written += nbytes
            if self.write_delay:
                self._writing = True
                self.at(self.now + self.write_delay, lambda: self._wrote(nbytes, pieces))
            else:
                self._wrote(nbytes, pieces)
        elif self.disk.hashes.behind and not self._writing:
            receiver.hashed(self.disk.hashes.check(PIECE_BYTES))
        if receiver.complete and not self._verifying:
            self._verifying = True
            self.at(self.now + self.verify_delay, self._verify)
        for train in receiver.poll(self.now):
            self._leave("sender", train)

    def _wrote(self, nbytes: int, pieces: list[tuple[int, bytes]]) -> None:
        self._writing = False
        self.receiver.written(nbytes)
        self.receiver.hashed(pieces)

    def _verify(self) -> None:
        self.disk.hashes.check(self.receiver.terms.size + 1)
        if self.disk.hashes.root() == self.receiver.root:
            self.receiver.verified()
        elif self.receiver.outcome is None:
            self.receiver.fail("digest-mismatch", "It is not the same.")

    def _leave(self, to: str, train: Train) -> None:
        assert train.segment <= 65507
        for datagram in train.datagrams():
            for piece in self.spy(to, datagram):
                self.sent.append((self.now, to, piece))
                self._weather(to, piece, train.address)

    def _weather(self, to: str, datagram: bytes, address: object) -> None:
        weather, chance = self.weather, self.random.random
        if len(datagram) > weather.mtu:
            return
        to_daemon = (to == "receiver") == self.up
        if not to_daemon and address != self.home:
            return  # nobody is there any more
        if chance() < weather.drop or self._travelling[to] >= weather.queue:
            return
        if chance() < weather.corrupt:
            at = self.random.randrange(len(datagram))
            datagram = (
                datagram[:at] + bytes((datagram[at] ^ 1 << self.random.randrange(8),)) + datagram[at + 1 :]
            )
        self._free_at[to] = max(self._free_at[to], self.now) + len(datagram) / weather.rate
        source = self.home if to_daemon else DAEMON
        for _ in range(2 if chance() < weather.duplicate else 1):
            when = self._free_at[to] + weather.delay + chance() * weather.jitter
            if chance() < weather.reorder:
                when += chance() * 0.050
            self._travelling[to] += 1
            self.at(when, lambda: self._deliver(to, datagram, source))

    def _deliver(self, to: str, datagram: bytes, source: object) -> None:
        self._travelling[to] -= 1
        self._arrived[to].append((datagram, source))
