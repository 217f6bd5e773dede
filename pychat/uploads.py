"""Whose an upload is, as it is kept in files: a line of JSON each.

What is not such a line, as one that a crash cut short, is passed over.  Everything here blocks, and raises `OSError`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass

from pychat.folders import Folder

LEAST_CHARGE = 64 * 1024
"""Bytes as which the smallest file counts: so there is a bound on their number, too."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload, half done or done.

    :ivar id: 32 hexadecimal digits.
    :ivar owner: for whom it counts; opaque, and the same after a restart.
    """

    id: str
    name: str
    size: int
    owner: str

    @property
    def charge(self) -> int:
        """Bytes as which it counts."""
        return max(self.size, LEAST_CHARGE)


def id_of(name: str, size: int, version: str) -> str:
    """The digest that stands for the three of them."""
    facts = "\0".join((name, str(size), version))
    return hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()


def _line(upload: Upload) -> bytes:
    return (json.dumps([upload.id, upload.name, upload.size, upload.owner]) + "\n").encode()


def read(place: Folder, name: str) -> list[Upload]:
    """What a file says, which need not be there."""
    try:
        with os.fdopen(place.open_file(name), "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    uploads = []
    for line in lines:
        try:
            id, called, size, owner = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(id, str) and isinstance(called, str) and type(size) is int and isinstance(owner, str):
            uploads.append(Upload(id, called, size, owner))
    return uploads


def write(place: Folder, name: str, uploads: list[Upload], *, safe: bool = False) -> None:
    """Write the file anew, at one stroke; `safe` from a power cut, too."""
    fresh = f"{name}.new"
    remove(place, fresh)
    with os.fdopen(place.create(fresh), "wb") as file:
        file.write(b"".join(map(_line, uploads)))
        if safe:
            file.flush()
            os.fsync(file.fileno())
    place.replace(fresh, name)


def append(place: Folder, name: str, upload: Upload) -> None:
    """Add a line, safe from a power cut."""
    with os.fdopen(place.append(name), "ab") as file:
        file.write(b"\n" + _line(upload))  # ends a line that a crash cut short
        file.flush()
        os.fsync(file.fileno())


def status_of(place: Folder, name: str) -> os.stat_result | None:
    """What stands under a name, if anything does."""
    try:
        return place.status(name)
    except FileNotFoundError:
        return None


def remove(place: Folder, name: str) -> None:
    """Take a name away, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        place.remove(name)
