"""What one person wants of rooms and of silence: she asks until she has an answer, for all of it can be asked twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pychat.client.answers import Answer, LinkError
from pychat.client.asking import Asking
from pychat.errors import PychatError

from .history import Asked, Denied, Done, History


class Wishes:
    """Of one person; no more than one for each room and each name at a time.

    :ivar rooms: those of which she is a member, by her last answer.
    :ivar muted: those of them that she muted.
    :ivar ignored: names.
    """

    def __init__(
        self, name: str, history: History, tally: Counter[str], live: Callable[[], Asking | None]
    ) -> None:
        """:param live: her connection, if she may speak on it."""
        self.rooms: set[str] = set()
        self.muted: set[str] = set()
        self.ignored: set[str] = set()
        self._name = name
        self._history = history
        self._tally = tally
        self._live = live
        self._open: dict[str, str] = {}  # the verb that has no answer yet, by what it is about
        self._asked: dict[str, Asking] = {}  # on which connection

    @property
    def sure(self) -> set[str]:
        """The rooms that she is a member of, and did not ask to leave."""
        return {room for room in self.rooms if self._open.get(room) != "leave"}

    @property
    def unrest(self) -> str:
        """What has no answer yet."""
        return ", ".join(f"{verb} {what}" for what, verb in self._open.items())

    def want(self, verb: str, what: str) -> None:
        """Ask for something now, or when it can be asked, unless she waits for an answer about the same."""
        if what not in self._open:
            self._open[what] = verb
            self._ask(what)

    def insist(self) -> None:
        """Here is a connection on which she may speak: what has no answer is asked for again."""
        for what in [*self._open]:
            self._ask(what)

    def _ask(self, what: str) -> None:
        client, verb = self._live(), self._open[what]
        if client is None or self._asked.get(what) is client:
            return
        self._asked[what] = client
        self._history.see(Asked(self._name, verb, what))
        answer: Deferred[Answer] = client.command(verb, what)
        answer.addCallbacks(self._done, self._failed, (verb, what), None, (verb, what))

    def _done(self, answer: Answer, verb: str, what: str) -> None:
        members = int(answer.line.attributes.get(b"members", b"0"))
        self._history.see(Done(self._name, verb, what, members))
        self._tally[f"answers to {verb}"] += 1
        self._settle(verb, what)

    def _failed(self, failure: Failure, verb: str, what: str) -> None:
        error = failure.value
        assert isinstance(error, PychatError), failure
        if not isinstance(error, LinkError):  # then she is in doubt, and asks again
            self._history.see(Denied(self._name, verb, what, error.code))
            self._settle(verb, what)

    def _settle(self, verb: str, what: str) -> None:
        del self._open[what], self._asked[what]
        if verb == "join":
            self.rooms.add(what)
        elif verb == "leave":
            self.rooms.discard(what)
            self.muted.discard(what)
        else:
            silenced = self.muted if "mute" in verb else self.ignored
            if verb in ("mute", "ignore"):
                silenced.add(what)
            else:
                silenced.discard(what)
