"""The journal of one process: the newest messages in memory, for those who want no trace of what was said."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from ..interfaces import IJournal
from ..vocabulary import Entry, OnceKey, Page, Standing

ENTRIES_LIMIT = 10_000
"""Messages that are remembered; the oldest go first."""

BYTES_LIMIT = 8 * 1024 * 1024
"""Bytes of their texts."""

ENDED_LIMIT = 10_000
"""Identities that are remembered after their end."""

_text = attrgetter("text")


@implementer(IJournal)
class MemoryJournal:
    """Gives out ids, and forgets what is old.  Accepted then means: in the memory of this one process."""

    durable = False
    last_identity = 0
    living: Sequence[Standing] = ()

    def __init__(self) -> None:
        self.last_id = 0
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._living: dict[int, Standing] = {}
        self._ended: OrderedDict[int, Standing] = OrderedDict()

    def append(self, entries: Sequence[Entry], standings: Sequence[Standing] = ()) -> Deferred[Sequence[int]]:
        """See :meth:`IJournal.append`; never fails."""
        first = self.last_id + 1
        self.last_id += len(entries)
        kept = self._entries
        kept.extend(entries)
        held = self._bytes + sum(map(len, map(_text, entries)))
        while len(kept) > ENTRIES_LIMIT or held > BYTES_LIMIT:
            held -= len(kept.popleft().text)
        self._bytes = held
        for standing in standings:
            self._keep(standing)
        return succeed(range(first, self.last_id + 1))

    def _keep(self, standing: Standing) -> None:
        id = standing.id
        if standing.left is None:
            self._living[id] = standing
            self._ended.pop(id, None)
            return
        self._living.pop(id, None)
        self._ended[id] = standing
        if len(self._ended) > ENDED_LIMIT:
            self._ended.popitem(last=False)

    @property
    def _oldest(self) -> int:
        return self.last_id + 1 - len(self._entries)

    def read(self, identity: int, after: int, limit: int, private: bool = False) -> Deferred[Page]:
        """See :meth:`IJournal.read`; never fails."""
        oldest = self._oldest
        start = min(max(after, oldest - 1), self.last_id)
        messages: list[tuple[int, Entry]] = []
        upto = self.last_id
        for id, entry in enumerate(islice(self._entries, start + 1 - oldest, None), start + 1):
            if entry.to is None:
                mine = not private
            else:
                mine = identity in (entry.to, entry.sender)
            if mine:
                messages.append((id, entry))
                if len(messages) >= limit:
                    upto = id
                    break
        return succeed(Page(messages, upto, oldest))

    def standings(self, ids: Sequence[int]) -> Deferred[Sequence[Standing]]:
        """See :meth:`IJournal.standings`; never fails."""
        found = (self._living.get(id) or self._ended.get(id) for id in sorted({*ids}))
        return succeed([standing for standing in found if standing is not None])

    def owed(self, id: int) -> Deferred[Sequence[Standing]]:
        """See :meth:`IJournal.owed`; never fails."""
        found = [
            standing
            for standings in (self._ended, self._living)
            for standing in standings.values()
            if standing.joined < id and (standing.left is None or standing.left >= id)
        ]
        return succeed(sorted(found, key=attrgetter("id")))

    def keys(
        self, since_ms: int, identities: Sequence[int], before: int | None
    ) -> Deferred[tuple[Sequence[OnceKey], int | None]]:
        """See :meth:`IJournal.keys`; never fails, and gives all at once."""
        wanted = {*identities}
        keys = [
            OnceKey(entry.sender, entry.once, id, entry.to, entry.to_name, entry.text)
            for id, entry in enumerate(self._entries, self._oldest)
            if entry.once and entry.time_ms >= since_ms and entry.sender in wanted
        ]
        return succeed((keys[::-1], None))

    def close(self) -> Deferred[None]:
        """See :meth:`IJournal.close`."""
        return succeed(None)
