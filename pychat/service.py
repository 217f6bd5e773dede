"""The only wiring of the daemon: options in, one Twisted service out.

The service binds its ports before the reactor runs and before privileges are dropped, so that a port that is in
use is one line on standard error and exit status 1, under each of the runners.  Once the reactor runs it takes
SIGTERM and SIGINT itself: Twisted's runners would raise them again after the shutdown, and the process would end
with a status of 143 or 130 although all went well.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, cast

from twisted.application.internet import TimerService
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from . import kernel
from .address import DEFAULT_PORT, format_host_port
from .announcing import announce, where_bound
from .background import background_runner
from .budget import Budget, Limits
from .collecting import Collecting
from .datagram import TransferProtocol
from .desk import Desk, UdpPort
from .digests import Digests
from .errors import PychatError
from .factory import ChatFactory
from .heap import GivingBack, keep_freed, share_heap
from .hub import Hub
from .incoming import Bounds, Incoming
from .journal.memory import MemoryJournal
from .journal.prune import Retention
from .journal.sqlite import SqliteJournal
from .listening import SPARE_FILES, Door, StartError, cannot_listen, listen
from .measures import Measures
from .options import Options
from .poller import Poller, poller_for
from .pump import Pump
from .shelf import Shelf
from .udp import listen_udp
from .uploading import Uploading
from .watchdog import Watchdog

SWEEP_INTERVAL = 30.0
"""Seconds between two looks for connections that have not joined in time."""

PRUNE_INTERVAL = 60.0
"""Seconds between two looks for messages that are past ``--keep`` or ``--keep-bytes``."""

UPLOADS_INTERVAL = 3600.0
"""Seconds between two looks for uploads that broke off and are past ``--keep-uploads``."""

PRUNE_PAUSE = 0.05
"""Seconds between two steps of pruning, in which the journal's thread is free for the chat."""

TOKEN_BYTES = 18
"""Random bytes in a token."""

FLUSH_PAUSE = 0.001
"""Seconds between two rounds of writing to connections at least."""

FLUSH_LIMIT = 2.0
"""Seconds that a shutdown waits for everybody to take the last lines; then it waits no more."""


class ChatService(MultiService):
    """One chat: its TCP listeners, its UDP ports, its shelf and its journal."""

    _log = Logger()

    def __init__(self, options: Options, reactor: Any, *, signals: bool = False) -> None:
        """:param signals: take SIGTERM and SIGINT once the reactor runs."""
        super().__init__()
        self._options = options
        self._reactor = reactor
        self._signals = signals
        self._shelf = Shelf(options["files"])
        self._state = Path(options["state"]).absolute()  # a daemon leaves the current directory
        self._journal: SqliteJournal | MemoryJournal | None = None
        told = b"sent" if kernel.can_tell_unsent() else b"handed"
        durable = options["journal"] == "sqlite"
        hub = Hub(durable=durable, told=told, make_token=_make_token)
        self.pump = Pump(cast("IReactorTime", reactor), hub, None, time.time)
        self.pump.mailroom.memory_limit = options["memory-limit"]
        self.pump.mailroom.pause = FLUSH_PAUSE
        self._budget = Budget(
            Limits(rate=options["rate-limit"] or inf, rate_each=options["rate-limit-each"] or inf)
        )
        self._udp: list[UdpPort] = []
        self._transfers: list[TransferProtocol] = []
        self._digests = Digests()
        self._in_thread = in_thread = background_runner(reactor)
        bounds = Bounds(options["quota"], options["shelf-limit"], options["keep-uploads"])
        incoming = Incoming(self._shelf, bounds)
        uploading = Uploading(incoming, in_thread, self.pump.tell_file, options["uploads"])
        self.desk = Desk(cast("IReactorTime", reactor), self._shelf, self._udp, in_thread, uploading)
        self.factory = ChatFactory(self.pump, self.desk)
        connections = self.factory.connections
        self._door = Door(cast("IReactorTime", reactor), self.factory, connections, None)
        self._poller = poller_for(reactor)
        if isinstance(self._poller, Poller):
            self.pump.behind = lambda: self._poller.behind
        self._watchdog = Watchdog(reactor)
        giving = GivingBack()
        self._collecting = Collecting(
            connections,
            lambda: in_thread(giving.give_back).addErrback(
                lambda failure: self._log.failure("free memory could not be given back", failure)
            ),
        )
        self._measures = hub.measure = Measures(
            reactor, connections, self._transfers, self._watchdog,
            lambda: self.factory.laggards.count, lambda: self.pump.mailroom.given_up,
        )  # fmt: skip
        self.tcp_ports: list[IListeningPort] = []
        """The bound TCP ports, in the order of ``--listen``."""
        self.udp_ports: list[IListeningPort] = []
        """The bound UDP ports, in the order of ``--udp``."""
        self._bound = False
        self._stopping = False
        self._retention = Retention(options["keep"], options["keep-bytes"])
        self._every(SWEEP_INTERVAL, self.factory.sweep)
        self._every(SWEEP_INTERVAL, self.factory.laggards.sweep)
        self._every(SWEEP_INTERVAL, self.pump.sweep)
        self._every(SWEEP_INTERVAL, self._collecting.look)
        self._every(UPLOADS_INTERVAL, uploading.sweep)
        self._every(PRUNE_INTERVAL, lambda: Deferred.fromCoroutine(self._prune()))

    def _every(self, seconds: float, function: Callable[[], object]) -> None:
        timer = TimerService(seconds, function)
        timer.clock = self._reactor
        timer.setServiceParent(self)

    # -- starting

    def privilegedStartService(self) -> None:
        """Bind everything.

        :raise StartError: if that is not possible.
        """
        super().privilegedStartService()
        self._bind()

    def startService(self) -> None:
        """Open the journal, bind what ``twist`` did not ask to be bound before, and say how to join.

        The journal is opened here and not with the ports: its file belongs to the user that the daemon runs as, and
        neither its locks nor its thread would live through the fork that makes a daemon.

        :raise StartError: if that is not possible.
        """
        share_heap()  # before the first thread
        self._bind()
        self._open_journal()
        super().startService()
        self._measures.begin()
        announce(self._log, self._options, self._shelf.root, self.tcp_ports, self.udp_ports, self._door.limit)
        self._collecting.start()
        keep_freed()
        self._watchdog.start()
        if self._signals:
            self._reactor.callWhenRunning(self._take_signals)

    def _open_journal(self) -> None:
        options = self._options
        if options["journal"] == "memory":
            self._journal = MemoryJournal()
        else:
            try:
                self._journal = SqliteJournal(self._reactor, self._state, int(time.time() * 1000))
            except PychatError as error:
                self._unbind()
                raise StartError(error.code, error.sentence) from None
            except OSError as error:
                self._unbind()
                if self._state.exists() and not self._state.is_dir():
                    raise StartError(
                        "journal-unavailable",
                        f"Cannot keep messages in {self._state}, for it is not a folder: name another with --state.",
                    ) from None
                raise StartError(
                    "journal-unavailable",
                    f"Cannot use the folder {self._state} ({error.strerror}): let this user write it, or name "
                    "another with --state.",
                ) from None
        self.pump.start(self._journal)

    async def _prune(self) -> None:
        journal = self._journal
        if isinstance(journal, SqliteJournal):
            # Not once more when it is closed: there would be no answer, and the service would wait for it to stop.
            while self._journal is journal and await journal.prune(self._retention, int(time.time() * 1000)):
                await deferLater(self._reactor, PRUNE_PAUSE)

    def _unbind(self) -> None:
        for bound in (*self.tcp_ports, *self.udp_ports):
            bound.stopListening()

    def _bind(self) -> None:
        if self._bound:
            return
        self._bound = True
        files = kernel.raise_file_limit()
        if files is not None:
            if files <= SPARE_FILES:
                raise StartError(
                    "too-few-files",
                    f"The limit of open files is {files} here, and the daemon keeps {SPARE_FILES} for itself: raise "
                    "it where the daemon is started (ulimit -Hn), best to some thousands.",
                )
            self._door.limit = self._measures.limit = files - SPARE_FILES
        try:
            self._shelf.prepare()
            for description in self._options["listen"]:
                self.tcp_ports.append(listen(self._poller, description, self._door))
            if self._options["no-udp"]:
                self._udp.append(UdpPort(self._make_transfers(), "", None))
            else:
                for host, port in self._options["udp"] or self._default_udp():
                    self._listen_udp(host, port)
        except PychatError as error:
            self._unbind()
            raise StartError(error.code, error.sentence) from None

    def _default_udp(self) -> list[tuple[str, int]]:
        """Beside every TCP port: who reached the one for a chat reaches the other for a file."""
        beside: dict[tuple[str, int], None] = {}
        for description, listening in zip(self._options["listen"], self.tcp_ports, strict=True):
            found = where_bound(listening)
            if found is not None:
                # A port that the system chose for TCP may be in use for UDP: let it choose again.
                chosen = re.search(r"^\w+:0(:|$)|:port=0(:|$)", description) is not None
                beside[found[0], 0 if chosen else found[1]] = None
        return [*beside] or [("127.0.0.1", DEFAULT_PORT)]

    def _listen_udp(self, host: str, port: int) -> None:
        where = format_host_port(host, port)
        protocol = self._make_transfers()
        try:
            address: str = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)[0][
                4
            ][0]  # type: ignore[assignment]
            bound = listen_udp(self._reactor, protocol, address, port)
        except (OSError, CannotListenError) as error:
            wrong = cannot_listen(f"UDP {where}", error, "--udp")
            why = (
                ""
                if self._options["udp"]
                else " Files go from the port of --listen, unless --udp names another."
            )
            raise StartError(wrong.code, wrong.sentence + why) from None
        self.udp_ports.append(bound)
        real = where_bound(bound)
        assert real is not None
        self._udp.append(UdpPort(protocol, real[0], self._options["udp-advertise"] or real[1]))

    def _make_transfers(self) -> TransferProtocol:
        protocol = TransferProtocol(
            self._reactor,
            budget=self._budget,
            run_in_thread=self._in_thread,
            congestion=self._options["congestion"],
            digests=self._digests,
            max_datagram=self._options["max-datagram"],
        )
        self._transfers.append(protocol)
        return protocol

    # -- stopping

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._stopping = True
        # Nothing else here: the signal may have come in the middle of anything, a write to the log among it.
        self._reactor.callFromThread(self._stop_reactor)

    def _stop_reactor(self) -> None:
        self._log.info("Stopping. A second signal ends the process at once.")
        self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Tell everybody goodbye, let the last lines out, and let go of everything; within three seconds."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for port in self.tcp_ports:
            await _as_deferred(port.stopListening())
        # These take half a second at most; then the streams have closed, too.
        leaving = DeferredList([transfers.leave() for transfers in self._transfers])
        await _within(self._reactor, leaving, FLUSH_LIMIT / 2)
        await _within(self._reactor, self.pump.settled(), FLUSH_LIMIT / 2)
        everybody = self.factory.end_all("shutdown", "The chat is closing down. Come back later.")
        self.pump.wake()
        if not await _within(self._reactor, everybody, FLUSH_LIMIT / 2):
            self.factory.abort_all()
            await _within(self._reactor, self.factory.end_all("", ""), FLUSH_LIMIT / 2)
        for udp in self.udp_ports:
            await _as_deferred(udp.stopListening())
        self.pump.stop()
        journal, self._journal = self._journal, None
        if journal is not None:
            await journal.close()
        self._watchdog.stop()
        self._collecting.stop()
        await _as_deferred(super().stopService())


def _make_token() -> bytes:
    """What lets somebody come back as the same person: nobody can guess it."""
    return secrets.token_urlsafe(TOKEN_BYTES).encode()


async def _within(reactor: Any, waiting: Deferred[Any], seconds: float) -> bool:
    """Wait for a Deferred, but no longer; return whether it fired."""
    done: Deferred[bool] = Deferred()
    call = reactor.callLater(seconds, done.callback, False)

    def fired(result: object) -> None:
        if call.active():
            call.cancel()
            done.callback(True)

    waiting.addBoth(fired)
    return await done


async def _as_deferred(result: Any) -> None:
    if isinstance(result, Deferred):
        await result


def make_service(options: Options, reactor: Any = None, *, signals: bool = True) -> IService:
    """Build the daemon's service; what the plugin and ``pychat serve`` call.

    :raise StartError: if the options cannot work.
    """
    if reactor is None:
        from twisted.internet import reactor
    sys.excepthook = _one_line(sys.excepthook)
    return cast("IService", ChatService(options, reactor, signals=signals))


makeService = make_service


def _one_line(
    otherwise: Callable[[type[BaseException], BaseException, TracebackType | None], Any],
) -> Callable[[type[BaseException], BaseException, TracebackType | None], Any]:
    """An ``excepthook`` that shows a :class:`StartError` as what it is: one line for a person.

    Twisted's runners let an exception out of a starting service end the process, after they removed their pid
    file: that is what we want, but for the traceback.  ``sys.stderr`` is a log by then.
    """

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, StartError):
            print(f"pychat: {error.sentence}", file=sys.__stderr__)
        else:
            otherwise(kind, error, traceback)

    return hook
