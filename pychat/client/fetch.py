"""The client's side of a download: it moves bytes between a UDP socket, the engine and a file.

The file grows as ``PATH.part`` and gets its own name when its digest agreed and all of it was synced; so a wrong
file never has the right name.  There is no resume yet: whatever ends the download otherwise removes the ``.part``, and
one that a killed process left behind is written anew.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pychat.client.part import PartFile
from pychat.deadline import Deadline
from pychat.errors import TransferError
from pychat.transfer.receiver import Receiver
from pychat.transfer.terms import Failed, Terms
from pychat.udp import BurstProtocol, RunInThread, listen_udp, thread_runner

#: Bytes that make a write worth a thread's while; the end of the file does not wait for more.
WRITE_BYTES = 256 * 1024
#: Seconds between two reports of progress.
PROGRESS_SECONDS = 0.1

#: Called with the bytes that have arrived and the bytes of the file.
Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that arrived.

    :ivar path: where it is.
    :ivar size: its bytes.
    :ivar sha256: the digest that both ends computed, 64 hexadecimal digits.
    :ivar seconds: from the first datagram to the verified file.
    :ivar lost: datagrams that the daemon had to send again.
    :ivar rtt: seconds of a round trip, as the greeting measured it.
    """

    path: str
    size: int
    sha256: str
    seconds: float
    lost: int
    rtt: float


def fetch(
    reactor: Any,
    terms: Terms,
    host: str,
    port: int,
    path: str,
    *,
    progress: Progress | None = None,
    overwrite: bool = False,
    run_in_thread: RunInThread | None = None,
    seconds: Callable[[], float] = time.monotonic,
    line_lost: Deferred[Any] | None = None,
) -> Deferred[Fetched]:
    """Claim an offer, and have the file.

    Cancelling the Deferred tells the daemon ``cancelled``, removes the ``.part``, and then fires it with
    `CancelledError`.

    :param reactor: makes the socket and timers and, unless `run_in_thread` is given, has the threads.
    :param terms: the offer.
    :param host: the daemon: a name or an address.
    :param port: its UDP port.
    :param path: where the file is to be; its folder must exist.
    :param progress: is called with the bytes that have arrived and the bytes of the file, about ten times a second
        while it moves, and at the end.
    :param overwrite: replace what has that name now.
    :param run_in_thread: ``run(f, *args)`` gives a Deferred of ``f(*args)``.
    :param seconds: the monotonic clock.
    :param line_lost: fires when the chat connection is gone.  The download goes on as long as the daemon answers, and
        4 s of silence end it.
    :raises TransferError: (in the Deferred) with a code of `docs/transfer.md`.
    """
    run = run_in_thread or thread_runner(reactor)
    return Deferred.fromCoroutine(
        _fetch(
            reactor,
            terms,
            host,
            port,
            PartFile(path, terms.size, overwrite),
            progress,
            run,
            seconds,
            line_lost or Deferred(),
        )
    )


class Download(BurstProtocol):
    """One file on its way here.

    :param address: the daemon's address and UDP port.
    :param part: opened.
    The other parameters are those of `fetch`.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        terms: Terms,
        address: tuple[str, int],
        part: PartFile,
        progress: Progress | None,
        run_in_thread: RunInThread,
        seconds: Callable[[], float],
    ) -> None:
        super().__init__(reactor)
        self._address = address
        self._part = part
        self._progress = progress
        self._run_in_thread = run_in_thread
        self._seconds = seconds
        self._started = seconds()
        self._ended = self._started
        self._receiver = Receiver(terms, now=self._started)
        self._deadline = Deadline(reactor, self._due)
        self._working = False
        self._reported = -1
        self._report_at = self._started
        self._closed: Deferred[None] = Deferred()

    async def run(self) -> Fetched:
        """Greet the daemon, and be back when there is nothing more to say.

        :raises TransferError: the file is not there.
        :raises CancelledError: and the daemon knows.
        """
        receiver = self._receiver
        self._turn()
        try:
            await self._closed
        except CancelledError:
            self._closed = Deferred()
            self._fail("cancelled", "The download was cancelled.")
            if not receiver.closed:
                await self._closed
            raise
        finally:
            self._deadline.cancel()
        if isinstance(receiver.outcome, Failed):
            raise TransferError(receiver.outcome.code, receiver.outcome.sentence)
        return Fetched(
            path=self._part.path,
            size=receiver.terms.size,
            sha256=(receiver.digest or b"").hex(),
            seconds=self._ended - self._started,
            lost=receiver.counters.lost,
            rtt=receiver.rtt,
        )

    def hurry(self) -> None:
        """The daemon may be gone: see whether it answers."""
        if self._closed.called or self._receiver.closed:
            return
        self._receiver.hurry(self._seconds())
        self._deadline.set(0)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """To the engine."""
        if self._closed.called:
            return
        try:
            self._receiver.receive(datagram, self._seconds())
        except Exception:
            self._closed.errback(Failure())
        super().datagramReceived(datagram, addr)

    def burstEnded(self) -> None:
        """Acknowledge, and give the disk something to do."""
        super().burstEnded()
        self._turn()

    def _due(self) -> None:
        self.drain()
        self._turn()

    def _fail(self, code: str, sentence: str) -> None:
        self._receiver.fail(code, sentence)
        self._turn()

    def _turn(self) -> None:
        if self._closed.called:
            return
        try:
            self._take_turn()
        except Exception:
            # A fault of ours: who waits for the file is to hear of it, and not to wait for ever.
            self._closed.errback(Failure())

    def _take_turn(self) -> None:
        receiver = self._receiver
        if receiver.outcome is None and not self._working:
            self._work()
        now = self._seconds()
        self._report(now)
        transport: Any = self.transport
        for datagram in receiver.poll(now):
            transport.write(datagram, self._address)
        at = receiver.deadline()
        if at is None:
            self._deadline.cancel()
            self._closed.callback(None)
            return
        self._deadline.set(max(at - now, 0.0))

    def _work(self) -> None:
        """One job at a time: write what has come meanwhile, or, when all has, finish."""
        receiver = self._receiver
        digest = receiver.digest
        if receiver.waiting >= WRITE_BYTES or (receiver.waiting and receiver.received == receiver.terms.size):
            work = self._run_in_thread(self._part.write, receiver.take_writes())
            work.addCallback(self._written)
        elif digest is not None:
            work = self._run_in_thread(self._part.finish, digest)
            work.addCallback(self._finished)
        else:
            return
        self._working = True
        work.addErrback(self._failed)

    def _written(self, nbytes: int) -> None:
        self._working = False
        self._receiver.written(nbytes)
        self._turn()

    def _finished(self, _: None) -> None:
        self._working = False
        self._ended = self._seconds()
        self._receiver.verified()
        self._report_at = self._ended
        self._turn()

    def _report(self, now: float) -> None:
        """Tell of the progress, if there is any and it is time."""
        received = self._receiver.received
        if self._progress is None or now < self._report_at or received == self._reported:
            return
        self._reported = received
        self._report_at = now + PROGRESS_SECONDS
        self._progress(received, self._receiver.terms.size)

    def _failed(self, failure: Failure) -> None:
        self._working = False
        if isinstance(failure.value, TransferError):
            self._fail(failure.value.code, failure.value.sentence)
        else:
            self._log.failure("cannot write {path!r}", failure, path=self._part.path)
            self._fail("cannot-write", f"{self._part.path} cannot be written.")


async def _fetch(
    reactor: Any,
    terms: Terms,
    host: str,
    port: int,
    part: PartFile,
    progress: Progress | None,
    run: RunInThread,
    seconds: Callable[[], float],
    line_lost: Deferred[Any],
) -> Fetched:
    try:
        address = await _resolve(host, port, run)
        await run(part.open)
        download = Download(reactor, terms, (address, port), part, progress, run, seconds)
        listening = listen_udp(reactor, download, "::" if ":" in address else "", 0, answers=False)
        line_lost.addBoth(lambda _: download.hurry())
        try:
            return await download.run()
        finally:
            await maybeDeferred(listening.stopListening)
    finally:
        # Waits for a write that is still under way in its thread.  Once the file has its name this does nothing.
        await run(part.discard)


async def _resolve(host: str, port: int, run: RunInThread) -> str:
    """The first address that `host` has."""
    if isIPAddress(host) or isIPv6Address(host):
        return host
    try:
        found = await run(socket.getaddrinfo, host, port, 0, socket.SOCK_DGRAM)
    except OSError as error:
        raise TransferError("unknown-host", f"There is no machine called {host}.") from error
    return str(found[0][4][0])
