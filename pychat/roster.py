"""Who is here: identities, and the names that lead to them.

An identity is what a message is addressed to and what a receipt goes back to.  A name only finds it.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from . import names
from .errors import RemoteProtocolError

P = TypeVar("P")


class Identity(Generic[P]):
    """One person as the chat knows her, for as long as it can tell that it is the same one."""

    __slots__ = ("id", "key", "label", "name", "once", "peer")

    def __init__(self, name: str, key: str, peer: P, id: int = 0) -> None:
        self.id = id
        """Its number in the journal: no other identity has or had it."""
        self.name = name
        """As typed."""
        self.label = name.encode()
        """The name's bytes on the wire."""
        self.key = key
        """As compared."""
        self.peer: P | None = peer
        """Her session, while she has one."""
        self.once: dict[bytes, object] | None = None
        """What her ``once=`` keys stand for."""

    def is_called(self, name: str) -> bool:
        """True if ``name`` is another way to type its name, or the same."""
        try:
            return names.check(name) == self.key
        except RemoteProtocolError:
            return False


class Roster(Generic[P]):
    """Names in use, compared by their keys."""

    __slots__ = ("_by_key", "_last_identity")

    def __init__(self) -> None:
        self._by_key: dict[str, Identity[P]] = {}
        self._last_identity = 0

    def begin(self, last_identity: int) -> None:
        """Number identities from here on."""
        self._last_identity = last_identity

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
        self._by_key[key] = identity
        return identity

    def refusal(self, error: RemoteProtocolError, wish: str) -> RemoteProtocolError:
        """The same error with a free name near to the one that was wanted, whatever that was."""
        free = names.suggest(wish, self._by_key.__contains__)
        return RemoteProtocolError(error.code, f"{error.sentence} Free now: <connect>{free}")

    def release(self, identity: Identity[P]) -> None:
        """Free the name."""
        del self._by_key[identity.key]
        identity.peer = None

    def find(self, name: str) -> Identity[P] | None:
        """The identity that has this name now, however it is typed."""
        try:
            return self._by_key.get(names.check(name))
        except RemoteProtocolError:
            return None

    def listing(self) -> list[Identity[P]]:
        """Everybody, by name."""
        return [self._by_key[key] for key in sorted(self._by_key)]
