"""``once=`` keys: what each of them stands for, so that a retry is answered and not said twice.

A key is known from the moment it is posted.  It is an identity's own, and is kept with her: the newest
:data:`ONCE_LIMIT`, across connections, and from the journal across restarts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import RemoteProtocolError
from .peer import Known, Post
from .roster import Identity, Roster, key_of
from .vocabulary import OnceKey

if TYPE_CHECKING:
    from .peer import Peer, Person

ONCE_LIMIT = 1024
"""``once=`` keys remembered for an identity; the oldest goes first."""


def lookup(person: Person, once: bytes) -> Known | None:
    """What a key of hers stands for."""
    known = (person.once or {}).get(once)
    return known if isinstance(known, Known) else None


def recall(post: Post) -> None:
    """Note a post under its key, or find the one that it repeats.

    :raise RemoteProtocolError: ``key-reused``.
    """
    if not post.once:
        return
    post.seal(post.text, post.kind, post.ref)
    original = lookup(post.person, post.once)
    if original is None:
        _note(post.person, post.once, post)
    elif original.digest == post.digest:
        post.original = original
    else:
        raise RemoteProtocolError(
            "key-reused", "This once= key stood for another message. Take a new key for a new message."
        )


def _note(person: Person, once: bytes, known: Known) -> None:
    if person.once is None:
        person.once = {}
    person.once[once] = known
    if len(person.once) > ONCE_LIMIT:
        del person.once[next(iter(person.once))]


def has_room(person: Person) -> bool:
    """Whether she can have more keys of earlier runs."""
    return len(person.once or ()) < ONCE_LIMIT


def remember(roster: Roster[Peer], keys: Iterable[OnceKey]) -> None:
    """Here are keys of earlier runs, newest first; :func:`remembered` is to follow."""
    for kept in keys:
        person = roster.numbered(kept.sender)
        if person is None or not has_room(person) or kept.key in (person.once or ()):
            continue
        to: Person | None = None
        if kept.to is not None:
            name = kept.to_name or ""
            key = "#" + key_of(name[1:]) if kept.to < 0 else key_of(name)
            to = roster.numbered(kept.to) or Identity(name, key, None, kept.to)
        known = Known(to, kept.id)
        known.seal(kept.text, kept.kind, kept.ref)
        _note(person, kept.key, known)


def remembered(person: Person) -> None:
    """Those were all: from now on the oldest goes first."""
    if person.once:
        person.once = dict(reversed(person.once.items()))


def shrink(post: Post) -> None:
    """The journal has this one: less of it has to be kept for its key."""
    keys = post.person.once
    if post.once and keys and keys.get(post.once) is post:
        known = keys[post.once] = Known(post.to, post.id)
        known.digest = post.digest


def hand_on(refused: set[Post], pending: Iterable[Post]) -> None:
    """A refused message's ``once=`` key goes to the first that repeats it and still waits, or is free again."""
    if not refused:
        return
    heirs: dict[Post, Post] = {}
    for post in pending:
        original = post.original
        if original is not None and original in refused:
            heir = heirs.setdefault(original, post)
            post.original = heir if heir is not post else None
    for post in refused:
        keys = post.person.once
        if keys is None or keys.get(post.once) is not post:
            # The key was forgotten meanwhile, and perhaps given again.
            continue
        if post in heirs:
            keys[post.once] = heirs[post]
        else:
            del keys[post.once]
