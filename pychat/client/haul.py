"""Several files over one chat connection: what ``pychat get`` and ``pychat put`` share."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError, gatherResults
from twisted.logger import Logger

from ..errors import PychatError, TransferError
from ..grammar import Line
from ..printing import status_of
from ..udp import thread_runner
from .answers import Refused
from .connection import Client
from .errand import Errand
from .lane import PATIENCE, Lane
from .program import Signals, run
from .progress import Board, Total, Transfer, human_size, took
from .render import visible
from .results import Carried, checksum_line, json_failure, json_line
from .road import Road
from .terminal import Screen, Sink, Writer
from .trace import Trace

JOBS, JOBS_LIMIT = 8, 64
"""Files that are under way at once, unless told otherwise, and at most."""

NAMELESS = "Your login name cannot be had in this chat now, so nobody is told who sends the file."

BAR_WIDTH = 110
"""Columns of the progress bar: nobody types beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the files of one command line are moved, and what is told of it.

    :ivar quiet: show no progress.
    :ivar json: tell of each file as a JSON object.
    :ivar jobs: files under way at once.
    :ivar patience: seconds without progress after which it is given up.
    :ivar udp: False: go over TCP at once.
    :ivar trace: file for a trace of what happens.
    :ivar force: replace files that are here.
    """

    host: str
    port: int
    quiet: bool = False
    json: bool = False
    jobs: int = JOBS
    patience: float = PATIENCE
    udp: bool = True
    trace: str | None = None
    force: bool = False


class Command:
    """One command line that moves files."""

    def __init__(self, manner: Manner, screen: Screen) -> None:
        self._manner = manner
        self._screen = screen

    async def run(self) -> int:
        """Move them.

        :return: the exit status.
        :raise PychatError: before there was a first file to move.
        """
        try:
            return await self._move()
        except PychatError as error:
            if self._manner.json:
                for name in self._wanted():
                    self._screen.data(json_failure(name, error))
            raise

    async def _move(self) -> int:
        raise NotImplementedError

    def _wanted(self) -> Iterable[str]:
        """What is told of, one by one, if there was not even a connection."""
        raise NotImplementedError


def run_command(manner: Manner, make: Callable[[Any, Screen], Command]) -> int:
    """Run a program that is one `Command`; its exit status."""

    async def program(reactor: Any, signals: Signals) -> int:
        reactor.suggestThreadPoolSize(2 * manner.jobs + 8)  # they wait for disks
        writer = Writer(reactor.callFromThread)
        # Standard output is for results; a bar and notes go to standard error.
        screen = Screen(writer, Sink(sys.stdout), Sink(sys.stderr), bar_width=BAR_WIDTH)
        try:
            status = await make(reactor, screen).run()
        finally:
            screen.close()
            await screen.flushed()
        return status if writer.error is None else status_of(writer.error)

    return run(program)


class Haul:
    """The files of one command line, and the `pychat.client.errand.Link` that they share.

    :ivar failed: how many did not arrive.
    :ivar carried: those that did.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        manner: Manner,
        screen: Screen,
        *,
        total: Total | None = None,
        name: str | None = None,
        nameless: bool = False,
        caps: Sequence[str] = (),
        noticed: Callable[[Line, bytes], object] = lambda line, raw: None,
    ) -> None:
        """
        :param name: under which to join the chat, if anybody is to be told who it was.
        :param nameless: go on without a name if that one cannot be had.
        :param noticed: is given what nobody asked for.
        """
        self._reactor = reactor
        self._manner = manner
        self._screen = screen
        self._name = name
        self._nameless = nameless
        self._caps = caps
        self._notice = noticed
        self.run_in_thread = thread_runner(reactor)
        self.lane = Lane(
            reactor,
            manner.host,
            manner.port,
            self._enter,
            self.say,
            patience=manner.patience,
            observer=self._noticed,
        )
        self._road: Road | None = None
        self._roads: dict[Client, Road] = {}
        self._total = total
        self.board = Board(reactor, screen, lines=False, total=total)
        self.failed = 0
        self.carried: list[Carried] = []
        self.trace: Trace | None = None

    # -- the link

    def client(self) -> Deferred[Client]:
        """Link."""
        return self.lane.client()

    def road(self, client: Client) -> Road:
        """Link."""
        return self._roads[client]

    def progressed(self) -> None:
        """Link."""
        self.lane.progressed()

    @property
    def patience(self) -> float:
        """Link."""
        return self.lane.patience

    def say(self, sentence: str) -> None:
        """Link."""
        if not self._manner.quiet:
            self._screen.note(f"* {visible(sentence)}")

    async def _enter(self, client: Client) -> None:
        for old, road in list(self._roads.items()):
            if road.idle and not old.up:
                del self._roads[old]
                await road.close()
        self._road = self._roads[client] = Road(
            self._reactor, client, self.say, self.run_in_thread, udp=self._manner.udp
        )
        await client.hello((*self._caps, "udp") if self._manner.udp else self._caps)
        if "udp" in client.caps:
            self._road.expect()
        if self._name is not None:
            await self._join(client, self._name)

    async def _join(self, client: Client, name: str) -> None:
        try:
            await client.join(name)
        except Refused:
            if not self._nameless:
                raise
            self._name = None
            self.say(f"{NAMELESS} Say --name to be named.")

    def _noticed(self, line: Line, raw: bytes) -> None:
        if line.verb == b"path":
            if self._road is not None:
                self._road.hear(line)
        else:
            self._notice(line, raw)

    def open(self) -> Deferred[Client]:
        """Connect.

        :raise PychatError: (in the Deferred) there is no connection, or no trace can be written.
        """
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> Client:
        if self._manner.trace is not None:
            self.trace = Trace(self._manner.trace, overwrite=self._manner.force)
        return await self.lane.open()

    async def close(self) -> None:
        """Leave, and let go of everything."""
        try:
            if self.trace is not None:
                self.trace.close()
                if self.trace.failed:
                    self.say(self.trace.failed)
            await self.lane.leave()
        finally:
            self.lane.close()
            roads, self._roads = self._roads, {}
            for road in roads.values():
                await road.close()

    # -- the files

    async def carry(self, names: Sequence[str], errand: Callable[[str, Transfer], Errand]) -> None:
        """Move all of them, several at once.

        :param errand: makes what moves the one of this name.
        :raise CancelledError: those that were under way may be resumed.
        """
        left = deque(names)

        async def work() -> None:
            while left:
                await self._one(left.popleft(), errand)

        workers = [Deferred.fromCoroutine(work()) for _ in range(min(self._manner.jobs, len(left)))]
        try:
            await gatherResults(workers, consumeErrors=True)
        except FirstError as first:
            left.clear()
            if not first.subFailure.check(CancelledError):
                for worker in workers:
                    worker.cancel()
            await DeferredList(workers, consumeErrors=True)
            first.subFailure.raiseException()
        except CancelledError:
            # They have been cancelled by that, and say their last words: a second time would cut those off.
            left.clear()
            await DeferredList(workers, consumeErrors=True)
            raise

    async def _one(self, name: str, make: Callable[[str, Transfer], Errand]) -> None:
        transfer = self.board.start(name, 0)
        try:
            self._arrived(await make(name, transfer).run())
        except PychatError as error:
            self.refuse(name, error)
        except CancelledError:
            raise
        except Exception:
            self._log.failure("a fault while moving {name!r}", name=name)
            self.refuse(name, TransferError("fault", "Something went wrong in pychat itself."))
        finally:
            self.board.end(transfer)

    def _arrived(self, carried: Carried) -> None:
        self.carried.append(carried)
        self._screen.data(json_line(carried) if self._manner.json else checksum_line(carried))

    def refuse(self, name: str, error: PychatError) -> None:
        """This one did not arrive."""
        self.failed += 1
        if self._manner.json:
            self._screen.data(json_failure(name, error))
        prefix = f"{name}: " if self._total is not None and self._total.files > 1 else ""
        self._screen.note(f"pychat: {visible(prefix)}{visible(error.sentence)}")

    def sum_up(self, seconds: float) -> None:
        """What came of several files, in one line."""
        if self._total is None or self._total.files < 2 or self._manner.quiet:
            return
        size = sum(carried.size for carried in self.carried)
        fresh = size - sum(carried.resumed for carried in self.carried)
        missing = f", {self.failed} failed" if self.failed else ""
        self._screen.note(
            f"* {len(self.carried)} of {self._total.files} files, {human_size(size)} in {took(fresh, seconds)}{missing}"
        )
