"""What has changed about identities and is not in the journal yet, and the verdicts that wait for it.

Theory of operation.  Cursors move with every acknowledgement; the journal hears of them with its next batch, one row
for each identity however often its cursors moved.  A verdict is told once the cursor that it rests on is kept, so it
does not go back after a crash.  If the sender is not there to be told it is dropped: when she comes back the journal
and the kept cursors say the same again (:mod:`pychat.reading`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .vocabulary import Standing

if TYPE_CHECKING:
    from .catchup import CatchUp
    from .peer import Peer, Person


ARRIVALS_LIMIT = 200
"""So many people are let in at once, at most, so that a storm of them does not hold the others."""


class Arrival:
    """Somebody who comes, or comes back, and waits until the journal knows."""

    __slots__ = ("catchup", "label", "peer", "person", "token")

    def __init__(
        self, peer: Peer, person: Person, label: bytes, token: bytes, catchup: CatchUp | None = None
    ) -> None:
        self.peer = peer
        self.person = person
        self.label = label
        """The rendered attribute of the ``<connect>``, or nothing."""
        self.token = token
        """Her next one."""
        self.catchup = catchup
        """What she missed, if she comes back."""


class Change:
    """How one identity stands now, and what can be told once the journal has that."""

    __slots__ = ("due", "person", "standing")

    def __init__(self, person: Person, standing: Standing, due: list[tuple[Person, bytes]]) -> None:
        self.person = person
        self.standing = standing
        self.due = due


class Changes:
    """What the journal has to hear at once."""

    __slots__ = ("all", "arrivals")

    def __init__(self, all: list[Change], arrivals: list[Arrival]) -> None:
        self.all = all
        self.arrivals = arrivals

    @property
    def standings(self) -> list[Standing]:
        """What it keeps."""
        return [change.standing for change in self.all]


class Ledger:
    """Identities that have changed."""

    __slots__ = ("_arrivals", "_moved", "_under_way")

    def __init__(self) -> None:
        self._moved: dict[Person, None] = {}
        self._arrivals: list[Arrival] = []
        self._under_way = Changes([], [])

    @property
    def moved(self) -> bool:
        """True while the journal has something to hear."""
        return bool(self._moved)

    @property
    def arrivals(self) -> bool:
        """True while somebody waits for the journal to hear it."""
        return bool(self._arrivals)

    def move(self, person: Person) -> None:
        """Something of what the journal keeps of her has changed."""
        self._moved[person] = None

    def owe(self, person: Person, sender: Person, verdict: bytes) -> None:
        """Tell a sender this line once the journal knows how its recipient stands."""
        if person.due is None:
            person.due = []
        person.due.append((sender, verdict))
        self._moved[person] = None

    def awaited(self) -> set[Peer]:
        """Connections on which somebody waits to be let in, and not with what is under way."""
        return {arrival.peer for arrival in self._arrivals}

    def arrive(self, arrival: Arrival) -> None:
        """Let somebody in once the journal knows her."""
        self._arrivals.append(arrival)
        self._moved[arrival.person] = None

    def take(self, time_ms: int) -> Changes:
        """What the journal has to hear now.  One such lot is under way at a time.

        Of those who wait to be let in it has the first :data:`ARRIVALS_LIMIT`; what has changed about the others waits,
        too.
        """
        arrivals, self._arrivals = self._arrivals[:ARRIVALS_LIMIT], self._arrivals[ARRIVALS_LIMIT:]
        later = dict.fromkeys(arrival.person for arrival in self._arrivals)
        for arrival in arrivals:
            later.pop(arrival.person, None)
        changes = []
        for person in self._moved:
            if person in later:
                continue
            person.kept = True
            due, person.due = person.due or [], None
            changes.append(Change(person, person.standing(time_ms), due))
        self._moved = later
        self._under_way = Changes(changes, arrivals)
        return self._under_way

    def due(self) -> set[int]:
        """The identities of which the journal has yet to hear how they stand."""
        due = {person.id for person in self._moved}
        due.update(change.standing.id for change in self._under_way.all)
        return due

    def done(self) -> None:
        """The journal has heard what was under way."""
        self._under_way = Changes([], [])

    def refused(self, changes: Changes) -> None:
        """The journal did not take them: they wait for the next time."""
        self.done()
        for change in changes.all:
            change.person.due = change.due + (change.person.due or [])
            self._moved[change.person] = None
