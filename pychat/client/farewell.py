"""How an identity that was kept is given up: its daemon hears of it before we forget how to say it."""

from __future__ import annotations

from typing import Any

from .answers import Refused
from .connection import connect
from .member import CAPS
from .store import Store


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
        try:
            # Its new token is not kept: the old one is good until the daemon hears the goodbye.
            await client.join(name, token)
        except Refused as error:
            if error.code == "bad-token":
                return  # it has ended already
            raise
        why = await client.leave()
        if why.code != "bye":
            raise why
    finally:
        client.abort()
        await client.ended()
