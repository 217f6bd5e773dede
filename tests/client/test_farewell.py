"""Giving up an identity that was kept."""

from __future__ import annotations

from typing import Any, cast

import pytest
import pytest_twisted

from pychat.client import farewell
from pychat.client.answers import Refused
from pychat.client.store import Store
from tests.client.daemons import acting
from tests.guards import within


class Kept:
    """A store with an identity and a message that was not sent."""

    def __init__(self) -> None:
        self.token: str | None = "t"
        self.posts: dict[str, object] = {"k": None}

    def identify(self, token: str | None, anew: bool) -> None:
        self.token = token

    def settle(self, key: str) -> None:
        del self.posts[key]

    def commit(self, sync: bool) -> None:
        assert sync


@pytest_twisted.ensureDeferred
@within(30)
@pytest.mark.parametrize(("busy", "forgotten"), [(2, True), (99, False)])
async def test_daemon_that_has_just_started(
    monkeypatch: pytest.MonkeyPatch, busy: int, forgotten: bool
) -> None:
    """It reads what it kept, and is asked again for a while; a daemon that stays busy has not heard of it."""
    from twisted.internet import reactor

    monkeypatch.setattr(farewell, "BUSY_SECONDS", 0.001)
    asked = 0

    def script(verb: bytes, line: bytes) -> bytes | None:
        nonlocal asked
        label = line.split(b"label=")[-1].split(b">")[0].split(b" ")[0]
        if verb == b"hello":
            return b"<hello label=%s caps=ack,resume>\n" % label
        if verb == b"connect":
            asked += 1
            if asked <= busy:
                return b"<error code=busy label=%s>It reads.\n" % label
            return b"<connected label=%s resume=u>bob\n" % label
        return b"<goodbye code=bye>Goodbye.\n" if verb == b"disconnect" else None

    kept: Any = Kept()
    async with acting(script) as (port, _):
        if forgotten:
            assert await farewell.forget(reactor, "127.0.0.1", port, "bob", cast(Store, kept)) == 1
        else:
            with pytest.raises(Refused):
                await farewell.forget(reactor, "127.0.0.1", port, "bob", cast(Store, kept))
    assert (kept.token is None, not kept.posts) == (forgotten, forgotten)
    assert asked == (busy + 1 if forgotten else farewell.BUSY_TRIES)
