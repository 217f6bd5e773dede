"""``twistd`` with a journal that says it has what it is about to keep: it has to be caught by the checker.

python -m tests.chaos.early_ack -n pychat --state DIR
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.scripts.twistd import run

from pychat.journal.sqlite import SqliteJournal
from pychat.vocabulary import Entry, Standing, Texts, spread

DELAY = 0.2
"""Seconds between the word and the deed: what is accepted in them a kill takes away."""


def spoil() -> None:
    """Let every journal of this process answer before it commits."""
    commit = SqliteJournal.append
    promised: dict[SqliteJournal, int] = {}
    lock = DeferredLock()

    def append(
        self: SqliteJournal, entries: Sequence[Entry | Texts], standings: Sequence[Standing] = ()
    ) -> Deferred[Sequence[int]]:
        from twisted.internet import reactor

        clock: Any = reactor
        if not entries:
            return commit(self, entries, standings)
        first = promised.get(self, self.last_id) + 1
        behind = first + len(spread(entries))
        promised[self] = behind - 1
        # A journal has one commit under way.
        clock.callLater(DELAY, lock.run, commit, self, entries, standings)
        answer: Deferred[Sequence[int]] = Deferred()
        clock.callLater(0, answer.callback, range(first, behind))
        return answer

    SqliteJournal.append = append  # type: ignore[method-assign]


if __name__ == "__main__":
    spoil()
    run()
