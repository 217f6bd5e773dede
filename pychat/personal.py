"""What one person has set for herself: whom she ignores, what she muted, how far she read in a room, what she hides.

The journal keeps it with how she stands, as JSON that only this module understands.  What is as it was at the beginning
is left out, so that most people have none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .errors import RemoteProtocolError
from .roster import Identity
from .vocabulary import Entry, Standing

if TYPE_CHECKING:
    from .peer import Person
    from .rooms import Member

IGNORES_LIMIT = 200
"""Names that one person ignores at most."""

IGNORED_LIMIT = 50
"""Times of ignoring somebody that are over and are remembered; the oldest is forgotten first."""

HIDEABLE = ("typing", "away", "seen")
"""What one may hide of oneself; who does is not shown it of others either."""


def encode(person: Person) -> None:
    """Note anew what the journal keeps of her settings."""
    stays = [*person.stays.values(), *(stay for stay in person.former if stay.quiet_from)]
    rooms = {
        str(stay.room.id) if stay.left is None else _former(stay): [
            stay.read, stay.quiet_from, stay.quiet_to, int(stay.muted), stay.joined, *stay.earlier,
        ]
        for stay in stays
        if stay.read or stay.quiet_from
    }  # fmt: skip
    settings = {
        "ignores": person.ignores, "ignored": person.ignored, "rooms": rooms, "hidden": sorted(person.hidden),
    }  # fmt: skip
    kept = {key: value for key, value in settings.items() if value}
    person.personal = json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode() if kept else b""


def decode(person: Person) -> None:
    """Give her the settings that the journal kept; her stays are known."""
    kept: dict[str, Any] = json.loads(person.personal) if person.personal else {}
    person.ignores = {key: (name, since) for key, (name, since) in kept.get("ignores", {}).items()}
    person.ignored = [(key, since, upto) for key, since, upto in kept.get("ignored", ())]
    person.hidden = frozenset(kept.get("hidden", ()))
    rooms = kept.get("rooms", {})
    for stay in (*person.stays.values(), *person.former):
        # She may have left since this was noted, and joined again: what was of the one stay is not of the other.
        found = rooms.get(_former(stay)) or rooms.get(str(stay.room.id))
        if found and found[4] == stay.joined:
            stay.read, stay.quiet_from, stay.quiet_to, muted, _, *earlier = found
            stay.muted = bool(muted)
            stay.earlier = tuple((since, upto) for since, upto in earlier)


def _former(stay: Member) -> str:
    """What a stay that has ended is noted under."""
    return f"{stay.room.id}@{stay.joined}"


def ignores(person: Person, key: str, id: int) -> bool:
    """Whether a message of somebody with this key that was accepted under this id was kept from her."""
    ignored = person.ignores.get(key)
    if ignored is not None and id > ignored[1]:
        return True
    return any(key == other and since < id <= upto for other, since, upto in person.ignored)


def kept_from(standing: Standing, key: str, id: int) -> bool:
    """The same for somebody of whom only the journal knows."""
    if not standing.personal:
        return False
    person: Person = Identity("", "", None)
    person.personal = standing.personal
    decode(person)
    return ignores(person, key, id)


def is_owed(person: Person, id: int, entry: Entry, key: str) -> bool:
    """Whether she was to be shown what somebody else said, when it was accepted.

    :param key: the comparison key of the sender's name.
    """
    if entry.to is not None and entry.to >= 0:
        return entry.to == person.id and not entry.blocked
    if ignores(person, key, id):
        return False
    if entry.to is None:
        return True
    stays = [*person.stays.values(), *person.former]
    return any(stay.room.id == entry.to and stay.owed(id) for stay in stays)


def require_hideable(what: str) -> str:
    """One of the words in :data:`HIDEABLE`.

    :raise RemoteProtocolError: ``bad-argument``.
    """
    if what not in HIDEABLE:
        raise RemoteProtocolError("bad-argument", f"It is one of {', '.join(HIDEABLE)}: <hide>{HIDEABLE[0]}")
    return what
