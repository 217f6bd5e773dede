"""The seams: what other engines, shelves and transports have to offer to take a place in the house."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from .vocabulary import Entry


class IJournal(Interface):
    """Keeps messages.  Nothing is accepted, and nobody is shown a message, before it is in here."""

    durable: bool = Attribute("True if an appended entry survives the end of the process and of the machine.")
    last_id: int = Attribute("The id of the newest message; 0 if there is none.")
    last_identity: int = Attribute("The highest id of an identity that is named in it; 0 if there is none.")

    def append(entries: Sequence[Entry]) -> Deferred[Sequence[int]]:
        """Keep these entries, all or none.

        One append is under way at a time: whoever calls waits for the answer before calling again.

        :return: fires with one id an entry, rising in the order of ``entries`` and above all ids
            given before; fails with :class:`~pychat.errors.JournalError` if nothing was kept.
        """

    def close() -> Deferred[None]:
        """Finish what is under way and let go of all resources."""
