"""The journal that keeps nothing: ids in order, for those who want no trace of what was said."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from ..interfaces import IJournal
from ..vocabulary import Entry


@implementer(IJournal)
class MemoryJournal:
    """Gives out ids and forgets the rest.  Accepted then means: in the memory of this one process."""

    durable = False
    last_identity = 0

    def __init__(self) -> None:
        self.last_id = 0

    def append(self, entries: Sequence[Entry]) -> Deferred[Sequence[int]]:
        """See :meth:`IJournal.append`; never fails."""
        first = self.last_id + 1
        self.last_id += len(entries)
        return succeed(range(first, self.last_id + 1))

    def close(self) -> Deferred[None]:
        """See :meth:`IJournal.close`."""
        return succeed(None)
