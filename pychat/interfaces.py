"""The seams: what other engines, shelves and transports have to offer to take a place in the house."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from .vocabulary import Entry, OnceKey, Page, Standing


class IJournal(Interface):
    """Keeps messages, and how identities stand.

    Nothing is accepted, and nobody is shown a message, before it is in here.
    """

    durable: bool = Attribute("True if an appended entry survives the end of the process and of the machine.")
    last_id: int = Attribute("The id of the newest message; 0 if there is none.")
    last_identity: int = Attribute("The highest id of an identity that is named in it; 0 if there is none.")
    living: Sequence[Standing] = Attribute(
        "At the start: the identities that can come back (``resumes`` and not ``left``), as they were last kept."
    )

    def append(entries: Sequence[Entry], standings: Sequence[Standing] = ()) -> Deferred[Sequence[int]]:
        """Keep these entries and standings, all or none; a standing replaces the one with its id.

        One append is under way at a time: whoever calls waits for the answer before calling again.

        :return: fires with one id an entry, rising in the order of ``entries`` and above all ids
            given before; fails with :class:`~pychat.errors.JournalError` if nothing was kept.
        """

    def read(identity: int, after: int, limit: int, private: bool = False) -> Deferred[Page]:
        """Read on: messages above ``after`` that were to everybody, to this identity, or from it.

        :param private: leave out what was to everybody.

        What was appended before the call is seen.  A page may have fewer than ``limit`` messages, or none, and yet
        not be the last: it is when its ``upto`` is the newest id.

        :return: fails with :class:`~pychat.errors.JournalError` if it cannot be read.
        """

    def standings(ids: Sequence[int]) -> Deferred[Sequence[Standing]]:
        """How these identities stand, the ended ones too; those that were never kept are left out.

        Fails as :meth:`read`.
        """

    def owed(id: int) -> Deferred[Sequence[Standing]]:
        """How those kept identities stand that were owed a message to everybody with this id.

        They were here or away when it was accepted.  Fails as :meth:`read`.
        """

    def keys(
        since_ms: int, identities: Sequence[int], before: int | None
    ) -> Deferred[tuple[Sequence[OnceKey], int | None]]:
        """Read a stretch of ``once=`` keys of messages that these identities sent since then, newest first.

        :param before: the stretch ends below this id; ``None``: with the newest message.
        :return: the keys, and from where to read on; ``None`` for the end. A stretch may have none and yet not be the
            last. Fails as :meth:`read`.
        """

    def close() -> Deferred[None]:
        """Finish what is under way and let go of all resources."""
