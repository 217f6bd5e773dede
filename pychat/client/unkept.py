"""Lines that go out as they were typed, without a key: none is sent twice, and none is lost without a word."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .asking import Asking

UNKEPT_LIMIT = 200
"""Lines whose answers are awaited."""


class Unkept:
    """Those that have no answer yet.  The answers bear no label of ours; that of a ping comes after them."""

    def __init__(self, doubtful: Callable[[bytes], object]) -> None:
        """:param doubtful: is given each line that was sent on a connection which ended before the answer."""
        self._doubtful = doubtful
        self._lines: deque[bytes] = deque()
        self._asks = False

    @property
    def full(self) -> bool:
        """Nothing more may be sent for now."""
        return len(self._lines) >= UNKEPT_LIMIT

    def send(self, client: Asking, raw: bytes) -> None:
        """Send a line.

        :raise LinkError: the connection has ended.
        """
        client.send(raw)
        self._lines.append(raw)
        if not self._asks:
            self._ask(client)

    def _ask(self, client: Asking) -> None:
        self._asks = True
        count = len(self._lines)
        client.ping().addCallbacks(lambda _: self._answered(client, count), lambda failure: self._lost())

    def _answered(self, client: Asking, count: int) -> None:
        self._asks = False
        for _ in range(count):
            self._lines.popleft()
        if self._lines:
            self._ask(client)

    def _lost(self) -> None:
        self._asks = False
        lines, self._lines = self._lines, deque()
        for raw in lines:
            self._doubtful(raw)
