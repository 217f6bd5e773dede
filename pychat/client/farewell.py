"""How an identity that was kept is given up: its daemon hears of it before we forget how to say it."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater

from .answers import Refused
from .connection import connect
from .member import CAPS
from .store import Store

BUSY_TRIES = 20
"""How often a daemon that has just started, and still reads what it kept, is asked."""
BUSY_SECONDS = 0.25
"""Seconds between two tries."""


async def forget(reactor: Any, host: str, port: int, name: str, store: Store) -> int:
    """End the identity, so that its name is free, and then drop it from the store, with all that was to be said.

    :return: how many messages were dropped that had not been sent.
    :raise PychatError: the daemon could not be told, or refused; the store is as it was.
    """
    if store.token is not None:
        await _end(reactor, host, port, name, store.token)
    dropped = list(store.posts)
    store.identify(None, anew=True)
    for key in dropped:
        store.settle(key)
    store.commit(sync=True)
    return len(dropped)


async def _end(reactor: Any, host: str, port: int, name: str, token: str) -> None:
    # What it tells meanwhile nobody sees: none of that is acknowledged.
    client = await connect(reactor, host, port, taken=lambda: 0)
    try:
        try:
            await client.hello(CAPS)
        except Refused:
            return  # a daemon that is older than <hello> knows no identities
        if "resume" not in client.caps:
            return
        for tries in range(BUSY_TRIES):
            try:
                # Its new token is not kept: the old one is good until the daemon hears the goodbye.
                await client.join(name, token)
                break
            except Refused as error:
                if error.code == "bad-token":
                    return  # it has ended already
                if error.code != "busy" or tries == BUSY_TRIES - 1:
                    raise
            await deferLater(reactor, BUSY_SECONDS)
        why = await client.leave()
        if why.code != "bye":
            raise why
    finally:
        client.abort()
        await client.ended()
