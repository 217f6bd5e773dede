"""The seams: what other engines, shelves and transports have to offer to take a place in the house."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from .vocabulary import (
        Entry,
        Found,
        Kept,
        OnceKey,
        Page,
        Place,
        Query,
        RoomRecord,
        Standing,
        Stay,
        Stretch,
        Texts,
        Unread,
    )


class IJournal(Interface):
    """Keeps what was said, how identities stand, and who is a member of which room.

    Nothing is accepted, and nobody is shown a message, before it is in here.
    """

    durable: bool = Attribute("True if an appended entry survives the end of the process and of the machine.")
    last_id: int = Attribute("The id of the newest entry; 0 if there is none.")
    oldest: int = Attribute(
        "The id of the oldest entry that it still has, or would give next if it has none."
    )
    last_identity: int = Attribute("The highest id of an identity that is named in it; 0 if there is none.")
    last_room: int = Attribute("The lowest number of a room that it ever had; 0 if there was none.")
    living: Sequence[Standing] = Attribute(
        "At the start: the identities that can come back (``resumes`` and not ``left``), as they were last kept."
    )
    rooms: Sequence[RoomRecord] = Attribute("At the start: the rooms that have members or messages.")
    stays: Sequence[Stay] = Attribute(
        "At the start: the stays of those in ``living`` that last, or ended above what she acknowledged."
    )

    def append(
        entries: Sequence[Entry | Texts], standings: Sequence[Standing] = ()
    ) -> Deferred[Sequence[int]]:
        """Keep these entries and standings, all or none; a standing replaces the one with its id.

        An entry that joins, leaves or sets a topic changes rooms and stays in the same commit: ``joined``, ``left``
        and the room's topic are of the entry's id.  A standing that has ``left`` ends what stays she has, at that id.

        One append is under way at a time: whoever calls waits for the answer before calling again.

        :return: fires with one id an entry, and for each of several texts, rising in the order of ``entries`` and above
            all ids given before; fails with :class:`~pychat.errors.JournalError` if nothing was kept.
        """

    def read(
        identity: int, after: int, limit: int, private: bool = False, rooms: Sequence[int] = ()
    ) -> Deferred[Page]:
        """Read on: entries above ``after`` that were to everybody, to this identity, from it, or to these rooms.

        :param private: only what was to this identity, or from it to one other.

        What was appended before the call is seen.  A page may have fewer than ``limit`` entries, or none, and yet
        not be the last: it is when its ``upto`` is the newest id.

        :return: fails with :class:`~pychat.errors.JournalError` if it cannot be read.
        """

    def look_up(ids: Sequence[int]) -> Deferred[Sequence[Kept]]:
        """These entries, whatever their kind, in the order of their ids; those that are not kept are left out.

        Fails as :meth:`read`.
        """

    def history(place: Place, before: int | None, after: int | None, limit: int) -> Deferred[Stretch]:
        """Up to ``limit`` messages of a conversation: the newest, or those next below or above an id.

        What was appended before the call is seen.  Blocked ones are not in what their recipient looks up.

        :param before: only below this id, the newest of them.
        :param after: only above this id, the oldest of them; not given together with ``before``.
        :return: fails as :meth:`read`.
        """

    def search(query: Query) -> Deferred[Found]:
        """Messages as they stand now that have these words, newest first.

        What was appended before the call is seen, unless a great deal has yet to be indexed.  It looks at a bounded
        number of messages: there may be none in the answer and yet ``more``.  Fails as :meth:`read`.
        """

    def unread(
        identity: int, after: int, marks: Sequence[tuple[Place, int]], without: frozenset[str]
    ) -> Deferred[Sequence[Unread]]:
        """Count messages (:attr:`Kind.SAID`, not taken back) by others; conversations that have none are left out.

        :param after: of her private conversations, what is above this id counts.
        :param marks: other conversations, with the id above which to count.
        :param without: comparison keys of senders' names that do not count.
        :return: in the order of ``marks``, then private ones by name.  Fails as :meth:`read`.
        """

    def standings(ids: Sequence[int]) -> Deferred[Sequence[Standing]]:
        """How these identities stand, the ended ones too; those that were never kept are left out.

        Fails as :meth:`read`.
        """

    def owed(id: int, room: int | None = None) -> Deferred[Sequence[Standing]]:
        """How those kept identities stand that were owed a message with this id to everybody, or to a room.

        They were here or away when it was accepted, or members.  Fails as :meth:`read`.
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
