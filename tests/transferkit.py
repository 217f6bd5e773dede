"""What the tests of transfers share: terms, files, threads that are none, and an engine that does what it is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from pychat.part import PartFile
from pychat.receiving import Receiving
from pychat.sending import Sending
from pychat.switchboard import Switchboard
from pychat.transfer.congestion import CONTROLLERS
from pychat.transfer.packet import FROM_CLIENT
from pychat.transfer.path import ClientPath
from pychat.transfer.receiver import Receiver
from pychat.transfer.sender import Sender
from pychat.transfer.terms import FIRST_WINDOW, Counters, Done, Failed, Outcome, Terms, Train

CLIENT = ("192.0.2.1", 4000)
ELSEWHERE = ("203.0.113.9", 9)


def make_terms(size: int = 0, transfer: bytes = b"transfer") -> Terms:
    """An offer of `size` bytes."""
    return Terms(transfer=transfer, token=b"token of 16 byte", key=b"k" * 32, size=size)


def make_content(size: int, seed: int = 0) -> bytes:
    """A file that differs everywhere."""
    return Random(seed).randbytes(size)


def at_once(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Instead of a thread."""
    try:
        return succeed(function(*arguments))
    except Exception:
        return fail()


class Later:
    """Instead of a thread: does its jobs when the test wants it to.

    :ivar jobs: that wait.
    """

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((done, function, arguments))
        return done

    def work(self) -> None:
        """Do what waits now."""
        jobs, self.jobs = self.jobs, []
        for done, function, arguments in jobs:
            at_once(function, *arguments).addBoth(done.callback)


class File:
    """A file on the shelf."""

    def __init__(self, content: bytes, name: str = "a file", version: str = "1") -> None:
        self.content = content
        self.name = name
        self.version = version
        self.size = len(content)
        self.error: Exception | None = None
        self.reads: list[tuple[int, int]] = []
        self.closed = 0

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        if self.error is not None:
            raise self.error
        return self.content[offset : offset + length]

    def close(self) -> None:
        self.closed += 1


class Engine:
    """An engine that does what the test says.

    :ivar trains: what each next `poll` returns.
    :ivar due: what `deadline` says.
    """

    def __init__(self, transfer: bytes = b"transfer", size: int = 0) -> None:
        self.terms = make_terms(size, transfer)
        self.outcome: Outcome | None = None
        self.counters = Counters()
        self.paused = self.waits = False
        self.proven: Any = CLIENT
        self.trains: list[list[Train]] = []
        self.due: float | None = 1e9
        self.closed = False
        self.heard: list[tuple[bytes, int, Any]] = []
        self.polls: list[float] = []
        self.last_word = True

    def receive(self, buffer: Any, segment: int, address: Any, now: float) -> None:
        self.heard.append((bytes(buffer), segment, address))

    def poll(self, now: float) -> Sequence[Train]:
        self.polls.append(now)
        return self.trains.pop(0) if self.trains else []

    def deadline(self) -> float | None:
        return self.due

    def fail(self, code: str, sentence: str) -> None:
        if self.outcome is None:
            self.end(Failed(code, sentence))

    def end(self, outcome: Outcome | None = None) -> None:
        """There is an outcome, and all is said, unless there is a last word."""
        self.outcome = outcome or Done()
        self.closed = not self.last_word

    def pause(self, on: bool, waits: bool = False) -> None:
        self.paused = on
        self.waits = waits


class Carrier:
    """Keeps what was sent."""

    largest = 65507

    def __init__(self) -> None:
        self.sent: list[tuple[list[bytes], int, Any]] = []
        self.congested = False
        self.fits = True
        self.all: list[Any] = []
        self.waiting: list[Any] = []
        self.drained = 0

    def add(self, turns: Any) -> None:
        self.all.append(turns)

    def remove(self, turns: Any) -> None:
        if turns in self.all:
            self.all.remove(turns)

    def wait(self, turns: Any) -> None:
        self.waiting.append(turns)

    def send(self, buffers: list[bytes], segment: int, address: Any) -> bool:
        self.sent.append((buffers, segment, address))
        return self.fits

    def due(self, turns: Any) -> None:
        self.drained += 1
        turns.turn()

    def serve(self, turns: Any) -> None:
        turns.turn()


def datagram(transfer: bytes = b"transfer", body: bytes = b"") -> bytes:
    """What looks like a datagram of a client, and opens with no key."""
    return bytes((FROM_CLIENT,)) + transfer + body.ljust(40, b"x")


def seconds_of(*values: float) -> SimpleNamespace:
    """A clock that shows these, and then the last one for ever."""
    left = list(values)
    return SimpleNamespace(seconds=lambda: left.pop(0) if len(left) > 1 else left[0])


DAEMON = ("198.51.100.1", 50000)


class Net:
    """Ports without sockets, and a network between them on which everything arrives a millisecond later.

    :ivar lose: asked of each datagram: its bytes, where from, where to.
    :ivar seen: datagrams that were sent, by where to.
    """

    STEP = 0.001

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ports: dict[Any, Any] = {}
        self.lose: Callable[[bytes, Any, Any], bool] = lambda datagram, source, to: False
        self.under_way: list[tuple[bytes, Any, Any]] = []
        self.seen: dict[Any, int] = {}

    def join(self, board: Any, address: Any) -> None:
        """Give a port an address; the one that it had hears nothing any more."""
        for old in [old for old, port in self.ports.items() if port is board]:
            del self.ports[old]
        self.ports[address] = board
        board.transport = SimpleNamespace(
            write=lambda datagram, to: self.under_way.append((bytes(datagram), address, to))
        )

    def step(self) -> None:
        """What is under way arrives, and a millisecond passes."""
        under_way, self.under_way = self.under_way, []
        for datagram, source, to in under_way:
            self.seen[to] = self.seen.get(to, 0) + 1
            if to in self.ports and not self.lose(datagram, source, to):
                self.ports[to].datagramReceived(datagram, source)
        self.clock.advance(self.STEP)

    def run(self, until: Callable[[], object], seconds: float = 60.0) -> None:
        """Let time pass until something is so."""
        for _ in range(int(seconds / self.STEP)):
            if until():
                return
            self.step()
        raise AssertionError("it never happened")

    def finish(self, seconds: float = 200.0) -> None:
        """Let time pass until there is nothing left to do."""
        for _ in range(int(seconds / 0.01)):
            if not self.under_way and not self.clock.getDelayedCalls():
                return
            self.step()
            self.clock.advance(0.009)
        raise AssertionError("there is no end to it")


class Client:
    """The client's end of transfers: one port, and what it fetches or brings.

    :param folder: where its files are.
    """

    def __init__(self, net: Net, folder: str, address: Any = CLIENT, run: Any = at_once) -> None:
        self.net = net
        self.folder = folder
        self.parts: dict[str, PartFile] = {}
        self.board = Switchboard(net.clock, early=256 * 1024)
        self.common: dict[str, Any] = {
            "reactor": net.clock, "run_in_thread": run, "seconds": net.clock.seconds
        }  # fmt: skip
        net.join(self.board, address)

    def path(self, terms: Terms, window: int, greets: bool = True) -> ClientPath:
        return ClientPath(terms.token, DAEMON, window=window, now=self.net.clock.seconds(), greets=greets)

    def fetch(
        self,
        terms: Terms,
        name: str = "got",
        *,
        greets: bool = True,
        part: PartFile | None = None,
        carrier: Any = None,
    ) -> Receiving:
        """Claim an offer."""
        before = self.parts.get(name)
        if before is not None:
            before.discard()
        part = self.parts[name] = part or PartFile(
            os.path.join(self.folder, name), terms.size, "1", overwrite=True
        )
        receiver = Receiver(
            terms,
            self.path(terms, FIRST_WINDOW, greets),
            sends=FROM_CLIENT,
            now=self.net.clock.seconds(),
            have=part.open(),
        )
        return Receiving(receiver, part, carrier or self.board, **self.common)

    def bring(
        self,
        terms: Terms,
        file: Any,
        *,
        greets: bool = True,
        have: Sequence[tuple[int, int]] = (),
        carrier: Any = None,
        **more: Any,
    ) -> Sending:
        """Claim the offer to take a file."""
        sender = Sender(
            terms,
            self.path(terms, 0, greets),
            sends=FROM_CLIENT,
            congestion=CONTROLLERS["newreno"](1200),
            now=self.net.clock.seconds(),
            random_bytes=Random(1).randbytes,
            have=have,
            **more,
        )
        return Sending(sender, file, carrier or self.board, **self.common)

    def content(self, name: str = "got") -> bytes:
        """What has arrived."""
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read()
