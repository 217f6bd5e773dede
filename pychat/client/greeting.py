"""The first line of a daemon, and the wait for it: what says something else there is no Python Chat."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..address import DEFAULT_PORT
from ..deadline import Deadline
from ..grammar import Line
from .answers import LinkError, refusal


class Greeting:
    """That of one connection."""

    def __init__(
        self, clock: IReactorTime, timeout: float, late: Callable[[], object], give_up: Callable[[], object]
    ) -> None:
        """
        :param timeout: seconds for it, from :meth:`expect` on; then `late` is called.
        :param give_up: ends the connection: nobody waits any more, or nobody is let in.
        """
        self._deadline = Deadline(clock, late)
        self._timeout = timeout
        self._give_up = give_up
        self._greeted: Deferred[None] | None = Deferred(self._cancelled)

    @property
    def awaited(self) -> bool:
        """Whether it is still to come."""
        return self._greeted is not None

    def expect(self) -> None:
        """There is a connection."""
        self._deadline.set(self._timeout)

    def came(self) -> Deferred[None]:
        """To be asked for once: fires when it came; fails with what :meth:`fail` is given, or :class:`Refused`.

        Cancelling ends the connection.
        """
        assert self._greeted is not None
        return self._greeted

    def hear(self, line: Line) -> bool:
        """A line came, while it is awaited; whether that can be the first line of a chat."""
        if line.verb == b"goodbye":
            return True  # the end of the connection follows
        if line.verb not in (b"welcome", b"error"):
            return False
        greeted, self._greeted = self._greeted, None
        assert greeted is not None
        self._deadline.cancel()
        if line.verb == b"welcome":
            greeted.callback(None)
        else:
            greeted.errback(refusal(line))
            self._give_up()
        return True

    def fail(self, why: LinkError) -> None:
        """The connection is gone."""
        self._deadline.cancel()
        greeted, self._greeted = self._greeted, None
        if greeted is not None:
            greeted.errback(why)

    def _cancelled(self, _: Deferred[None]) -> None:
        self._greeted = None
        self._give_up()


def closed_before() -> LinkError:
    """The connection was closed, and there was no greeting."""
    return LinkError(
        "not-pychat", "The connection was closed before a greeting came. Is this the port of a Python Chat?"
    )


def none_came(where: str) -> LinkError:
    """There was nothing to hear for too long."""
    return LinkError(
        "timed-out",
        f"No greeting came from {where}: it is no Python Chat, or one that hangs. Check the port; it is {DEFAULT_PORT} "
        "mostly.",
    )


def speaks_otherwise(where: str) -> LinkError:
    """What answers speaks something else."""
    return LinkError(
        "not-pychat",
        f"What answers at {where} is not a Python Chat. Check the port; it is {DEFAULT_PORT} mostly.",
    )
