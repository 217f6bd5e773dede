"""Who is here or away: identities, and the names, numbers and tokens that lead to them.

An identity is what a message is addressed to and what a receipt goes back to.  A name only finds it, and a token
proves that somebody is the same one as before.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from . import names
from .errors import RemoteProtocolError
from .receipts import Cursor
from .vocabulary import Standing

P = TypeVar("P")

_key = attrgetter("key")

# Shared by all who have none: most people.
_NOBODY: Mapping[str, tuple[str, int]] = MappingProxyType({})
_NOTHING: frozenset[str] = frozenset()


class Identity(Cursor, Generic[P]):
    """One person as the chat knows her, for as long as it can tell that it is the same one."""

    __slots__ = (
        "absent",
        "arriving",
        "bot",
        "claimed",
        "counts",
        "due",
        "former",
        "hidden",
        "id",
        "ignored",
        "ignores",
        "kept",
        "key",
        "label",
        "listed",
        "lost",
        "name",
        "once",
        "peer",
        "personal",
        "read",
        "read_told",
        "resumes",
        "settled",
        "spare",
        "stays",
        "token",
        "typed",
        "unseen",
    )  # fmt: skip

    def __init__(self, name: str, key: str, peer: P | None, id: int = 0) -> None:
        super().__init__()
        # As in pychat.peer.Peer, the order counts.
        self.peer: P | None = peer
        """Her session, while she has one."""
        self.label = name.encode()
        """The name's bytes on the wire."""
        self.key = key
        """As compared."""
        self.arriving = False
        """The journal has yet to know her: her name is taken, but she is not here."""
        self.kept = False
        """The journal has, or is about to have, how she stands."""
        self.resumes = False
        """She can come back with a token."""
        self.bot = False
        """She wants no old mail."""
        self.unseen = False
        """She was away when the daemon started, and has not been here since."""
        self.id = id
        """Its number in the journal: no other identity has or had it."""
        self.name = name
        """As typed."""
        self.listed = b""
        """How she stands in a list of people, as a line; empty: that has yet to be made, or made anew."""
        self.once: dict[bytes, object] | None = None
        """What her ``once=`` keys stand for."""
        self.claimed = 0
        """The highest id she acknowledged; ``acked`` follows when the journal has it."""
        self.settled = 0
        """Up to here the senders were told, or will be, what she acknowledged; ``claimed`` is further when she has
        come back and was not told what she missed."""
        self.read = self.read_told = 0
        """The highest id she read, and the one up to which senders were told."""
        self.due: list[tuple[Identity[P], bytes]] | None = None
        """Verdicts that wait for the journal to have her cursors: whom to tell, and the line."""
        self.counts: deque[bytes] | None = None
        """Lines on messages to everybody that wait for her to come back."""
        self.lost = b""
        """Why the mail that she was not told of is undelivered, when she ended."""
        self.token = self.spare = b""
        """See :class:`~pychat.vocabulary.Standing`."""
        self.typed = 0
        """Of a plain client: the newest message when she said something last; she has seen what was before."""
        self.stays: dict[Any, Any] = {}
        """The rooms that she is a member of (:mod:`pychat.rooms`)."""
        self.former: Sequence[Any] = ()
        """Stays that ended before she acknowledged all that she is owed of them."""
        self.ignores: Mapping[str, tuple[str, int]] = _NOBODY
        """Whom she ignores: the name as typed, and the newest id when she began to, by the name's key."""
        self.ignored: Sequence[tuple[str, int, int]] = ()
        """Whom she ignored for a time: the name's key, and above which id and up to which."""
        self.hidden = _NOTHING
        """What she does not want others to see."""
        self.absent = b""
        """What she said when she went for a while; empty: she is at her keyboard."""
        self.personal = b""
        """Her settings, as the journal keeps them (:mod:`pychat.personal`)."""

    def begin(self, joined: int) -> None:
        """She is here from now on: nothing before is hers."""
        self.joined = self.claimed = self.settled = self.read = self.read_told = joined

    @property
    def seen_upto(self) -> int:
        """What is up to here does not count as unread."""
        return max(self.read, self.typed, self.joined)

    def is_called(self, name: str) -> bool:
        """True if ``name`` is another way to type its name, or the same."""
        try:
            return names.check(name) == self.key
        except RemoteProtocolError:
            return False

    def standing(self, time_ms: int) -> Standing:
        """What the journal keeps of her."""
        return Standing(
            self.id, self.name, self.joined, self.sent, self.claimed, self.read, self.left, self.plain, self.resumes,
            self.bot, self.token, self.spare, time_ms, self.personal,
        )  # fmt: skip


class ByName(Generic[P]):
    """People in the order of their names: made when somebody asks for the first time, and kept in it from then on.

    So a newcomer costs little, and no list is sorted again for each who asks while very many come.
    """

    __slots__ = ("_people",)

    def __init__(self) -> None:
        self._people: list[Identity[P]] | None = None

    def add(self, person: Identity[P]) -> None:
        """She is one of them from now on."""
        if self._people is not None:
            insort(self._people, person, key=_key)

    def discard(self, person: Identity[P]) -> None:
        """She is none of them, or no more."""
        people = self._people or ()
        place = bisect_left(people, person.key, key=_key)
        if self._people and place < len(people) and people[place] is person:
            del self._people[place]

    def page(
        self, everybody: Iterable[Identity[P]], after: str, limit: int | None
    ) -> tuple[list[Identity[P]], int, bool]:
        """Some of them, how many there are in all, and whether there are more behind these.

        :param everybody: all of them, in whatever order; only read the first time.
        :param after: the key of a name: only who is behind it; empty: from the beginning.
        :param limit: at most so many; ``None``: all.
        """
        if self._people is None:
            self._people = sorted(everybody, key=_key)
        people = self._people
        start = bisect_right(people, after, key=_key)
        end = len(people) if limit is None else min(start + limit, len(people))
        return people[start:end], len(people), end < len(people)


class Roster(Generic[P]):
    """Names in use, compared by their keys."""

    __slots__ = (
        "_bearers", "_by_id", "_by_key", "_by_label", "_last_identity", "away", "first_identity", "people_away",
    )  # fmt: skip

    def __init__(self) -> None:
        self._by_key: dict[str, Identity[P]] = {}
        self._by_id: dict[int, Identity[P]] = {}
        self._by_label: dict[bytes, Identity[P]] = {}
        self._bearers: dict[bytes, Identity[P]] = {}
        self._last_identity = 0
        self.first_identity = 0
        """Identities above this one are of this run of the daemon."""
        self.away: dict[Identity[P], float] = {}
        """Who may come back, and since when she is away: seconds of a monotonic clock, longest first."""
        self.people_away = 0
        """How many of them are no bots."""

    def begin(self, last_identity: int) -> None:
        """Number identities from here on."""
        self._last_identity = self.first_identity = last_identity

    def __len__(self) -> int:
        return len(self._by_key)

    def claim(self, name: str, peer: P) -> Identity[P]:
        """Make an identity of this name.

        :raise RemoteProtocolError: ``bad-name``, ``name-reserved`` or ``name-taken``; the sentence ends with a
            name that is free.
        """
        try:
            key = names.check(name)
            if key in self._by_key:
                raise RemoteProtocolError("name-taken", f"{name} is taken.")
        except RemoteProtocolError as error:
            raise self.refusal(error, name) from None
        self._last_identity += 1
        identity = Identity(name, key, peer, self._last_identity)
        self._by_key[key] = self._by_id[identity.id] = self._by_label[identity.label] = identity
        return identity

    def restore(self, standing: Standing, now: float) -> None:
        """Somebody of an earlier run is away from now on."""
        key = key_of(standing.name)
        if key in self._by_key:
            return
        identity: Identity[P] = Identity(standing.name, key, None, standing.id)
        identity.begin(standing.joined)
        identity.acked = identity.claimed = identity.settled = max(standing.acked, standing.joined)
        identity.read = identity.read_told = max(standing.read, standing.joined)
        identity.kept = identity.unseen = True
        identity.plain = standing.plain
        identity.resumes = True
        identity.bot = standing.bot
        identity.personal = standing.personal
        identity.token, identity.spare = standing.token, standing.spare
        self._by_key[key] = self._by_id[identity.id] = self._by_label[identity.label] = identity
        for digest in {standing.token, standing.spare} - {b""}:
            self._bearers[digest] = identity
        self.go_away(identity, now)

    def refusal(self, error: RemoteProtocolError, wish: str) -> RemoteProtocolError:
        """The same error with a free name near to the one that was wanted, whatever that was."""
        free = names.suggest(wish, self._by_key.__contains__)
        return RemoteProtocolError(error.code, f"{error.sentence} Free now: <connect>{free}")

    def release(self, identity: Identity[P]) -> None:
        """Free the name, and let nobody come back under it."""
        del self._by_key[identity.key]
        del self._by_id[identity.id]
        del self._by_label[identity.label]
        if identity in self.away:
            self.come_back(identity)
        self._bearers.pop(identity.token, None)
        self._bearers.pop(identity.spare, None)
        identity.peer = None

    def go_away(self, identity: Identity[P], now: float) -> None:
        """She has no session any more, and may come back."""
        identity.peer = None
        identity.listed = b""
        self.away[identity] = now
        self.people_away += not identity.bot

    def come_back(self, identity: Identity[P]) -> None:
        """She is not away any more."""
        identity.unseen = False
        identity.listed = b""
        del self.away[identity]
        self.people_away -= not identity.bot

    def find(self, name: str) -> Identity[P] | None:
        """The identity that has this name now, however it is typed; she is here or away."""
        try:
            identity = self._by_key.get(names.check(name))
        except RemoteProtocolError:
            return None
        return None if identity is None or identity.arriving else identity

    def labelled(self, label: bytes) -> Identity[P] | None:
        """The same, for a name that is typed as its owner types it; ``None`` if it is not, or nobody's."""
        identity = self._by_label.get(label)
        return None if identity is None or identity.arriving else identity

    def numbered(self, id: int) -> Identity[P] | None:
        """The identity with this number, while she lives."""
        return self._by_id.get(id)

    def everybody(self) -> Iterator[Identity[P]]:
        """Everybody who is here or away."""
        return (identity for identity in self._by_key.values() if not identity.arriving)

    def listing(self) -> list[Identity[P]]:
        """The same, by name."""
        return sorted(self.everybody(), key=_key)

    # -- tokens

    def issue(self, identity: Identity[P], fresh: bytes, shown: bytes = b"") -> None:
        """A new token, good besides the one that she just showed; all others of hers are good no more."""
        for digest in (identity.token, identity.spare):
            self._bearers.pop(digest, None)
        identity.token = digest_of(shown) if shown else b""
        identity.spare = digest_of(fresh)
        for digest in (identity.token, identity.spare):
            if digest:
                self._bearers[digest] = identity

    def confirm(self, identity: Identity[P], told: bytes) -> None:
        """She has the token of this digest: if it is the newest the one before is good no more."""
        if told and told == identity.spare:
            self._bearers.pop(identity.token, None)
            identity.token, identity.spare = identity.spare, b""

    def revoke(self, identity: Identity[P]) -> None:
        """She said goodbye: no token of hers is good any more."""
        for digest in (identity.token, identity.spare):
            self._bearers.pop(digest, None)
        identity.token = identity.spare = b""

    def bearer(self, token: bytes) -> Identity[P] | None:
        """Whose token this is."""
        return self._bearers.get(digest_of(token))


def key_of(name: str) -> str:
    """What a name that the journal has is compared by; the rules may have changed since it was given."""
    try:
        return names.check(name)
    except RemoteProtocolError:
        return name


def digest_of(token: bytes) -> bytes:
    """What is kept of a token: who reads the journal cannot come back as somebody else."""
    return hashlib.sha256(token).digest()
