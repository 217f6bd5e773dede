"""``pychat files``: what is on the shelf, for scripts.  It needs no name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any

from .connection import BRIEF_TIMEOUT, Client, connect
from .program import OK, Signals, complain, emit, run
from .render import visible
from .results import json_listed
from .terminal import Sink
from .wording import not_listed


async def visit(
    reactor: Any, host: str, port: int, what: Callable[[Client], Coroutine[Any, Any, None]]
) -> None:
    """Connect without a name, do something, and leave."""
    client = await connect(reactor, host, port, greeting_timeout=BRIEF_TIMEOUT)
    try:
        await client.hello(())
        await what(client)
        await client.leave()
    finally:
        client.abort()


def run_files(host: str, port: int, *, json: bool = False) -> int:
    """Run ``pychat files``."""
    lines: list[bytes] = []
    sink = Sink(sys.stdout)

    async def program(reactor: Any, signals: Signals) -> int:
        async def take(client: Client) -> None:
            listing = await client.files()
            for file in listing.files:
                if json:
                    lines.append(json_listed(file))
                else:
                    lines.append(sink.encode(f"{file.size}\t{visible(file.name)}\n"))
            if listing.left_out:
                complain(f"{not_listed(listing.left_out)}, for there are so many.")

        await visit(reactor, host, port, take)
        return OK

    status = run(program)
    return emit(b"".join(lines)) or status
