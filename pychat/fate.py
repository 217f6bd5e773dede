"""What became of a message, as far as the cursors of its recipient tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .vocabulary import Standing

if TYPE_CHECKING:
    from .peer import Person

WAITING, DELIVERED, READ, UNDELIVERED, UNKNOWN = b"waiting", b"delivered", b"read", b"undelivered", b"unknown"
BLOCKED = b"blocked"


def of_living(person: Person, id: int, told: bytes) -> bytes:
    """How far a message that she is owed has come.

    :param told: ``sent`` or ``handed``: what may be said of plain clients.
    """
    if person.read_told >= id:
        return READ
    if person.acked >= id:
        return DELIVERED
    if person.plain and person.sent >= id:
        return told
    return WAITING


def is_lost(person: Person, id: int) -> bool:
    """Whether what waits for her will not come: she has parted, and it was said later, or her connection is gone."""
    return person.left is not None and (id > person.left or not person.lingers)


def of_kept(standing: Standing | None, id: int, told: bytes, earlier: bool) -> tuple[bytes, bytes]:
    """How far a message came with somebody who lives no more, and why no farther.

    :param standing: as the journal keeps it; ``None`` if it does not.
    :param earlier: she was of an earlier run of the daemon, whose end may have come before it could learn more.
    :return: the state, and a reason if it is ``undelivered``.
    """
    if standing is None:
        return UNDELIVERED, UNKNOWN
    if standing.read >= id:
        return READ, b""
    if standing.acked >= id:
        return DELIVERED, b""
    if standing.plain and standing.sent >= id:
        return told, b""
    if standing.token or standing.spare:
        return UNDELIVERED, b"expired"
    was_there = standing.left is None or standing.left >= id
    return UNDELIVERED, UNKNOWN if earlier and was_there else b"gone"


def verdict(state: bytes, reason: bytes, id: int, name: bytes) -> bytes:
    """The line that tells a sender; none while the message waits."""
    if state == WAITING:
        return b""
    because = b" reason=" + reason if reason else b""
    return b"<%s id=%d%s>%s\n" % (state, id, because, name)
