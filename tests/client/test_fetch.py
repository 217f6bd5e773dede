"""Downloads, from a real daemon's port to a real file, over loopback."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread

from pychat.client import fetch as module
from pychat.client.fetch import Download, Fetched, fetch
from pychat.client.part import PartFile
from pychat.datagram import TransferProtocol
from pychat.errors import ShelfError, TransferError
from pychat.transfer import receiver
from pychat.transfer.receiver import Receiver
from pychat.transfer.terms import Done, Failed, Outcome, Terms
from pychat.udp import listen_udp
from tests.guards import LoggedFailures, within
from tests.test_datagram import File, Transport, at_once
from tests.transfer.link import make_content, make_terms


class Daemon:
    """A UDP port that offers files.

    :ivar outcomes: how the transfers ended, as the daemon saw it.
    """

    def __init__(self, host: str) -> None:
        self.protocol = TransferProtocol(reactor)
        self.listening: Any = listen_udp(reactor, self.protocol, host, 0)
        self.host = host
        self.port = self.listening.getHost().port
        self.outcomes: list[Outcome] = []
        self.ended: Deferred[None] = Deferred()

    def offer(self, file: File, owner: object = "bob") -> Terms:
        return self.protocol.offer(file, owner, self._finished)

    def _finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.ended.callback(None)
        self.ended = Deferred()

    def fetch(self, terms: Terms, path: Path, **settings: Any) -> Deferred[Fetched]:
        return fetch(reactor, terms, self.host, self.port, str(path), **settings)


@asynccontextmanager
async def daemon(host: str = "127.0.0.1") -> AsyncIterator[Daemon]:
    """A daemon, and its end."""
    running = Daemon(host)
    try:
        yield running
    finally:
        await maybeDeferred(running.listening.stopListening)


@pytest_twisted.ensureDeferred
@within(20)
async def test_sizes(tmp_path: Path) -> None:
    """Files of no byte, of one, and of several megabytes arrive, and both ends say so."""
    async with daemon() as here:
        for size in (0, 1, 5_000_000):
            content = make_content(size)
            path = tmp_path / f"näme of {size}"
            seen: list[tuple[int, int]] = []
            fetched = await here.fetch(
                here.offer(File(content)), path, progress=lambda *pair, seen=seen: seen.append(pair)
            )
            assert path.read_bytes() == content
            assert (fetched.path, fetched.size, fetched.lost) == (str(path), size, fetched.lost)
            assert fetched.sha256 == sha256(content).hexdigest()
            assert fetched.seconds > 0
            assert fetched.rtt > 0
            assert seen[-1] == (size, size)
            assert seen == sorted(seen)
        assert here.outcomes == [Done()] * 3
    assert len(list(tmp_path.iterdir())) == 3


@pytest_twisted.ensureDeferred
@within(20)
async def test_twenty_at_once(tmp_path: Path) -> None:
    """Twenty downloads at once all agree."""
    contents = [make_content(300_000 + number, number) for number in range(20)]
    async with daemon() as here:
        await gatherResults(
            [
                here.fetch(here.offer(File(content)), tmp_path / str(number))
                for number, content in enumerate(contents)
            ],
            consumeErrors=True,
        )
        assert here.outcomes == [Done()] * 20
    for number, content in enumerate(contents):
        assert (tmp_path / str(number)).read_bytes() == content


@pytest_twisted.ensureDeferred
@within(10)
async def test_ipv6_and_names(tmp_path: Path) -> None:
    """The daemon may be an IPv6 address, or a name."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    async with daemon("::1") as here:
        await here.fetch(here.offer(File(b"six")), tmp_path / "six")
    async with daemon() as here:
        here.host = "localhost"
        answer = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", here.port))]
        with mock.patch.object(socket, "getaddrinfo", return_value=answer):
            await here.fetch(here.offer(File(b"four")), tmp_path / "four")
    assert (tmp_path / "six").read_bytes() + (tmp_path / "four").read_bytes() == b"sixfour"


async def failure(deferred: Deferred[Fetched]) -> str:
    """The code of the error that a download ended with."""
    with pytest.raises(TransferError) as caught:
        await deferred
    return caught.value.code


@pytest_twisted.ensureDeferred
@within(10)
async def test_unknown_host(tmp_path: Path) -> None:
    """A name that nobody has."""
    with mock.patch.object(socket, "getaddrinfo", side_effect=socket.gaierror):
        code = await failure(fetch(reactor, make_terms(), "no.such.host", 1, str(tmp_path / "x")))
    assert code == "unknown-host"
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(10)
async def test_shrinks(tmp_path: Path) -> None:
    """A file that changes under way: named on both ends, and nothing is left."""
    async with daemon() as here:
        file = File(make_content(3_000_000))

        def changed(offset: int, length: int) -> bytes:
            if offset > 1_000_000:
                raise ShelfError("source-changed", "It changed.")
            return file.content[offset : offset + length]

        file.read = changed  # type: ignore[method-assign]
        assert await failure(here.fetch(here.offer(file), tmp_path / "x")) == "source-changed"
        assert here.outcomes == [Failed("source-changed", "It changed.")]
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(10)
async def test_another_file(tmp_path: Path) -> None:
    """Bytes that are not those of the digest never get the name, and the daemon hears of it."""
    async with daemon() as here:
        file = File(make_content(100_000))
        terms = here.offer(file)
        here.protocol._sendings[terms.transfer].hash.update(b"something else")
        ended = here.ended
        assert await failure(here.fetch(terms, tmp_path / "x")) == "digest-mismatch"
        await ended
        assert isinstance(here.outcomes[0], Failed)
        assert here.outcomes[0].code == "digest-mismatch"
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(10)
async def test_cannot_write(tmp_path: Path) -> None:
    """A full disk, no permission, another error, a fault of ours: the same word on both ends, and nothing is left."""
    async with daemon() as here:
        for number, code in (
            (errno.ENOSPC, "disk-full"),
            (errno.EACCES, "no-permission"),
            (errno.EIO, "cannot-write"),
        ):
            ended = here.ended
            with mock.patch.object(PartFile, "_pwrite", side_effect=OSError(number, "no")):
                assert (
                    await failure(here.fetch(here.offer(File(make_content(900_000))), tmp_path / "x")) == code
                )
            await ended
            outcome = here.outcomes[-1]
            assert isinstance(outcome, Failed)
            assert (outcome.code, outcome.remote) == (code, True)
            assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(10)
async def test_fault(tmp_path: Path, logged_failures: LoggedFailures) -> None:
    """What nobody foresaw is logged, ends the download, and is told to the daemon."""
    async with daemon() as here:
        with mock.patch.object(PartFile, "_pwrite", side_effect=ValueError("oops")):
            assert await failure(here.fetch(here.offer(File(b"abc")), tmp_path / "x")) == "cannot-write"
    assert len(logged_failures.flush(ValueError)) == 1
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(10)
@pytest.mark.parametrize("where", ["receive", "poll"])
async def test_fault_in_the_engine(tmp_path: Path, where: str) -> None:
    """Nobody waits for ever for a file that a fault of ours keeps from coming."""
    async with daemon() as here:
        with (
            mock.patch.object(Receiver, where, side_effect=ValueError("oops")),
            pytest.raises(ValueError, match="oops"),
        ):
            await here.fetch(here.offer(File(b"abc")), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(10)
async def test_exists(tmp_path: Path) -> None:
    """What is there stays, and the daemon is not even asked; unless it is to be replaced."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    async with daemon() as here:
        terms = here.offer(File(b"new"))
        assert await failure(here.fetch(terms, path)) == "exists"
        assert path.read_bytes() == b"old"
        await here.fetch(terms, path, overwrite=True)
        assert path.read_bytes() == b"new"


@pytest_twisted.ensureDeferred
@within(10)
async def test_cancel(tmp_path: Path) -> None:
    """Cancelled in the middle: the daemon hears it, the file goes, then the Deferred fires."""
    async with daemon() as here:
        under_way: Deferred[None] = Deferred()

        def progress(received: int, size: int) -> None:
            if received > 500_000 and not under_way.called:
                under_way.callback(None)

        ended = here.ended
        fetching = here.fetch(here.offer(File(make_content(30_000_000))), tmp_path / "x", progress=progress)
        await under_way
        fetching.cancel()
        with pytest.raises(CancelledError):
            await fetching
        assert list(tmp_path.iterdir()) == []
        await ended
        outcome = here.outcomes[0]
        assert isinstance(outcome, Failed)
        assert (outcome.code, outcome.remote) == ("cancelled", True)


@pytest.mark.parametrize("overtaken", [False, True])
def test_cancel_at_once(tmp_path: Path, overtaken: bool) -> None:
    """Cancelled while the file is being opened: nothing is left, also when that waits for a thread until the end."""
    jobs: list[Callable[[], Any]] = []

    def run(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """A thread that cancelling does not stop."""
        done: Deferred[Any] = Deferred()
        jobs.append(lambda: at_once(function, *arguments).addBoth(done.callback))
        return done

    fetching = fetch(Clock(), make_terms(3), "127.0.0.1", 9, str(tmp_path / "x"), run_in_thread=run)
    ended: list[Any] = []
    fetching.addBoth(ended.append)
    fetching.cancel()
    opening, discarding = jobs
    for job in (discarding, opening) if overtaken else (opening, discarding):
        job()
    assert ended[0].check(CancelledError)
    assert list(tmp_path.iterdir()) == []
    again = PartFile(str(tmp_path / "x"), 3)
    again.open()
    again.discard()


def test_cancelled_after_the_end(tmp_path: Path) -> None:
    """Cancelled when the last word has been said, and nobody has looked yet."""
    clock = Clock()
    part = PartFile(str(tmp_path / "x"), 3)
    download = Download(clock, make_terms(3), ("192.0.2.1", 9), part, None, at_once, clock.seconds)
    transport: Any = Transport()
    download.transport = transport
    running = Deferred.fromCoroutine(download.run())
    download._receiver.closed = True
    running.cancel()
    ended: list[Any] = []
    running.addBoth(ended.append)
    assert ended[0].check(CancelledError)
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
@within(10)
async def test_daemon_stops(tmp_path: Path) -> None:
    """The daemon stops in the middle, and says so."""
    here = Daemon("127.0.0.1")
    stopped: list[Deferred[Any]] = []

    def progress(received: int, size: int) -> None:
        if received > 500_000 and not stopped:
            stopped.append(maybeDeferred(here.listening.stopListening))

    fetching = here.fetch(here.offer(File(make_content(30_000_000))), tmp_path / "x", progress=progress)
    assert await failure(fetching) == "going-away"
    await stopped[0]
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(20)
@pytest.mark.parametrize("dead", [False, True])
async def test_line_lost(tmp_path: Path, dead: bool) -> None:
    """When the chat line is gone, a daemon that is silent is dead, and one that answers is not."""
    line_lost: Deferred[None] = Deferred()

    class Breaking(File):
        def read(self, offset: int, length: int) -> bytes:
            if offset > 1_000_000:
                reactor.callFromThread(breaks)  # type: ignore[attr-defined]
            return super().read(offset, length)

    def breaks() -> None:
        if not line_lost.called:
            line_lost.callback(None)
            if dead:
                here.protocol._turn = lambda sending: None  # type: ignore[method-assign]

    async with daemon() as here:
        content = make_content(10_000_000)
        with mock.patch.object(receiver, "HURRIED_SECONDS", 0.2):
            fetching = here.fetch(here.offer(Breaking(content)), tmp_path / "x", line_lost=line_lost)
            if dead:
                assert await failure(fetching) == "timed-out"
                assert list(tmp_path.iterdir()) == []
            else:
                await fetching
                assert (tmp_path / "x").read_bytes() == content


@pytest_twisted.ensureDeferred
@within(10)
async def test_dev_full(tmp_path: Path) -> None:
    """A disk that is really full."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    part = PartFile(str(tmp_path / "x"), 3)
    part.open()
    with open("/dev/full", "r+b", buffering=0) as full:
        os.dup2(full.fileno(), part._opened())
    async with daemon() as here:
        with mock.patch.object(module, "PartFile", return_value=part), mock.patch.object(part, "open"):
            assert await failure(here.fetch(here.offer(File(b"abc")), tmp_path / "x")) == "disk-full"
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(tmp_path: Path) -> None:
    """Eight greetings, and then the code that says what to look for."""
    clock = Clock()
    part = PartFile(str(tmp_path / "x"), 3)
    download = Download(clock, make_terms(3), ("192.0.2.1", 9), part, None, at_once, clock.seconds)
    transport: Any = Transport()
    download.transport = transport
    running = Deferred.fromCoroutine(download.run())
    errors: list[Any] = []
    running.addErrback(errors.append)
    for _ in range(400):
        clock.advance(0.1)
    assert [to for _, to in transport.written] == [("192.0.2.1", 9)] * 8
    assert errors[0].value.code == "no-answer"
    assert clock.getDelayedCalls() == []
    # What comes after the end changes nothing.
    download.datagramReceived(b"late", ("192.0.2.1", 9))
    download.burstEnded()
    download.hurry()
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
@within(10)
async def test_disk_under_way(tmp_path: Path) -> None:
    """The daemon aborts while a write is under way: it ends before the file is removed, and without a trace."""
    writing: list[Deferred[None]] = []

    def run(function: Any, *arguments: Any) -> Deferred[Any]:
        if function.__name__ != "write":
            return deferToThread(function, *arguments)
        gate: Deferred[None] = Deferred()
        writing.append(gate)
        return gate.addCallback(lambda _: deferToThread(function, *arguments))

    async with daemon() as here:
        terms = here.offer(File(make_content(3_000_000)))
        fetching = here.fetch(terms, tmp_path / "x", run_in_thread=run)
        while not writing:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
        here.protocol.cancel(terms.transfer, "cancelled", "Enough.")
        assert await failure(fetching) == "cancelled"
        writing[0].callback(None)
        await deferToThread(lambda: None)
    assert list(tmp_path.iterdir()) == []
