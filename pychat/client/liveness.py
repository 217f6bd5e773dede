"""Whether an attempt to move a file is alive, and its end where it is not.

Over UDP nothing may come at all, or nothing of ours get there: then another way is better than waiting.  And where the
chat connection breaks, what is under way mostly goes on beside the next one; but not always.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ..deadline import Deadline
from ..errors import PychatError
from ..transfer.path import NO_ANSWER, TIMED_OUT
from ..turns import Turns
from .connection import Client
from .progress import Transfer
from .road import FALL_BACK_SECONDS

LOST_PATIENCE = 5.0
"""Seconds of silence after which a transfer is given up that has lost its chat connection."""

ONE_WAY = "one-way"
"""Why we end an attempt in which something came over UDP, and nothing that we said got there.

Another offer goes on over TCP, for this one does not know what has come."""

ONE_WAY_SECONDS = 3.0
ROUND_TRIPS = 4
"""Seconds after which it does, and round trips since it was seen that anything comes, if those take longer."""

LINE_LOST = "line-lost"
"""Why we end a transfer that did not outlive its chat connection."""


class Liveness:
    """Watches one attempt, from now until :meth:`end`.

    :ivar silent: it was ended, for nothing came.
    """

    def __init__(
        self,
        reactor: Any,
        turns: Turns,
        transfer: Transfer,
        client: Client,
        next_client: Callable[[], Deferred[Client]],
    ) -> None:
        """
        :param turns: the attempt; not started yet.
        :param transfer: shows how far it is.
        :param client: the chat connection that it was agreed on.
        :param next_client: gives the connection that there is, or will be.
        """
        self.silent = False
        self._turns = turns
        self._transfer = transfer
        self._next_client = next_client
        self._running = False
        self._looks: list[float] = []  # seconds to the next look, and from that to the one behind it
        self._is_heard: Callable[[], bool] = lambda: True
        self._look_again = Deadline(reactor, self._look)
        self._line_lost = client.ended()
        self._line_lost.addCallbacks(
            lambda _: self._without_line(), lambda failure: failure.trap(CancelledError)
        )
        self._running = (
            True  # where that connection was gone before, the next one says nothing about this attempt
        )

    def fall_back(self, rtt: float, is_heard: Callable[[], bool]) -> None:
        """End it soon if nothing comes, or nothing of ours gets there: there is another way.

        :param rtt: seconds of a round trip, as far as they are known.
        :param is_heard: whether the other end is known to get what we say, where something came.
        """
        one_way = max(ONE_WAY_SECONDS - FALL_BACK_SECONDS, ROUND_TRIPS * rtt)
        self._is_heard = is_heard
        self._looks = [one_way]
        self._look_again.set(FALL_BACK_SECONDS)

    def end(self) -> None:
        """It is over."""
        self._running = False
        self._look_again.cancel()
        self._line_lost.cancel()

    def _look(self) -> None:
        heard = _heard(self._turns)
        if not heard or not (self._looks or self._is_heard()):
            self.silent = not heard
            # Without a word: it would have the daemon forget what the stream is about to claim, and we would wait.
            self._turns.abandon(ONE_WAY if heard else "no-answer", NO_ANSWER)
        elif self._looks:
            self._look_again.set(self._looks.pop(0))

    def _without_line(self) -> None:
        """The chat connection is gone.  If nothing has come by the time that there is another, so is the attempt."""
        done = self._transfer.done
        self._turns.engine.patience = LOST_PATIENCE  # and if it has died, that is soon known

        def back(_: Client) -> None:
            if self._running and self._transfer.done == done:
                self._turns.fail(LINE_LOST, TIMED_OUT)

        def none(failure: Failure) -> None:
            failure.trap(PychatError, CancelledError)

        self._next_client().addCallbacks(back, none)


def _heard(turns: Turns) -> bool:
    """Whether anything authentic came."""
    counters = turns.engine.counters
    return bool(counters.datagrams_in > sum(counters.refused.values()))
