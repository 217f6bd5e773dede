"""``pychat get`` and ``pychat files``: for scripts, and for people who want a file and no chat.  They need no name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError

from ..address import format_host_port
from ..errors import TransferError
from .answers import Refused
from .connection import Client, connect
from .fetch import Fetched, fetch
from .naming import safe_name
from .program import FAILED, OK, Signals, complain, run
from .progress import Board
from .render import visible
from .terminal import Screen, Sink, Writer


@dataclass(frozen=True, slots=True)
class Order:
    """One file to get.

    :ivar output: where to; ``None`` for the current folder.
    :ivar force: replace what is there.
    :ivar quiet: show no progress.
    """

    host: str
    port: int
    name: str
    output: str | None = None
    force: bool = False
    quiet: bool = False

    @property
    def path(self) -> str:
        """The file that is made."""
        name = safe_name(self.name)
        if self.output is None:
            return name
        return os.path.join(self.output, name) if os.path.isdir(self.output) else self.output


def checksum_line(fetched: Fetched) -> bytes:
    """What ``sha256sum`` prints for the file, and ``sha256sum -c`` reads."""
    path = os.fsencode(fetched.path)
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"" if escaped == path else b"\\"
    return b"%s%s  %s\n" % (mark, fetched.sha256.encode(), escaped)


async def visit(
    reactor: Any, host: str, port: int, what: Callable[[Client], Coroutine[Any, Any, None]]
) -> None:
    """Connect without a name, do something, and leave."""
    client = await connect(reactor, host, port)
    try:
        await client.hello(())
        await what(client)
        await client.leave()
    finally:
        client.abort()


async def get(reactor: Any, order: Order, screen: Screen) -> Fetched:
    """Get one file.

    :raise PychatError: and there is no file.
    """
    path = order.path
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise TransferError("no-folder", f"There is no folder {folder}. Make it first.")
    if os.path.lexists(path) and not order.force:
        raise TransferError(
            "exists", f"{path} exists already. Say --force to replace it, or -o with another name."
        )
    fetched: list[Fetched] = []
    board = Board(reactor, screen, lines=False)

    async def take(client: Client) -> None:
        try:
            offer = await client.offer(order.name)
        except Refused as error:
            if error.code != "no-such-file":
                raise
            where = format_host_port(order.host, order.port)
            raise TransferError(
                error.code,
                f"There is no file {visible(order.name)} there. To see what there is: pychat files {where}",
            ) from None
        transfer = board.start(order.name, offer.terms.size)
        line_lost = client.ended()
        try:
            fetched.append(
                await fetch(
                    reactor,
                    offer.terms,
                    offer.host or client.host,
                    offer.port,
                    path,
                    progress=transfer.update,
                    overwrite=order.force,
                    line_lost=line_lost,
                )
            )
        finally:
            board.end(transfer)
            line_lost.addErrback(lambda failure: failure.trap(CancelledError)).cancel()

    await visit(reactor, order.host, order.port, take)
    return fetched[0]


def run_get(order: Order) -> int:
    """Run ``pychat get``."""
    lines: list[bytes] = []

    async def program(reactor: Any, signals: Signals) -> int:
        screen = Screen(Writer(reactor.callFromThread), Sink(None), Sink(None if order.quiet else sys.stderr))
        try:
            lines.append(checksum_line(await get(reactor, order, screen)))
        finally:
            screen.close()
            await screen.flushed()
        return OK

    return _emit(run(program), lines)


def run_files(host: str, port: int) -> int:
    """Run ``pychat files``."""
    lines: list[bytes] = []
    sink = Sink(sys.stdout)

    async def program(reactor: Any, signals: Signals) -> int:
        async def take(client: Client) -> None:
            listing = await client.files()
            for file in listing.files:
                lines.append(sink.encode(f"{file.size}\t{visible(file.name)}\n"))
            if listing.left_out:
                complain(f"{listing.left_out} more files are not listed, for there are so many.")

        await visit(reactor, host, port, take)
        return OK

    return _emit(run(program), lines)


def _emit(status: int, lines: list[bytes]) -> int:
    """Print the result, after the reactor: here it may block."""
    try:
        Sink(sys.stdout).write(b"".join(lines))
    except OSError:
        return FAILED
    return status
