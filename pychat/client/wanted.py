"""Which files somebody wants who gives names and patterns.

A pattern works on the parts of a name between its ``/``, as a shell's does: ``*`` is any number of characters, ``?``
one, ``[a-z]`` one of these, none of them a ``/``; and a part that is ``**`` is any number of parts.  Case counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from ..errors import TransferError
from .answers import Listing

_MAGIC = frozenset("*?[")


def is_pattern(name: str) -> bool:
    """Whether this may mean several files."""
    return not _MAGIC.isdisjoint(name)


def matches(name: str, pattern: str) -> bool:
    """Whether a file's name is one that the pattern means."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part != "**" or parts[-1:] != ["**"]:
            parts.append(part)
    return _match(name.split("/"), parts)


def _match(names: Sequence[str], parts: Sequence[str]) -> bool:
    # The positions in `names` that the parts so far may have come to: no pattern makes this slow.
    reached = {0}
    for part in parts:
        if part == "**":
            reached = set(range(min(reached), len(names) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(names) and fnmatchcase(names[at], part)}
    return len(names) in reached


def choose(wanted: Iterable[str], listing: Listing) -> tuple[list[str], list[tuple[str, TransferError]]]:
    """The names of the files to get, each once, and for what means none why.

    A name that a file has is that file, whatever it would mean as a pattern; one that is no pattern is not looked up.
    """
    known = {file.name for file in listing.files}
    chosen: dict[str, None] = {}
    wrong: list[tuple[str, TransferError]] = []
    for name in wanted:
        if name in known or not is_pattern(name):
            chosen[name] = None
            continue
        found = [file.name for file in listing.files if matches(file.name, name)]
        chosen.update(dict.fromkeys(found))
        if not found and listing.left_out:
            chosen[name] = None  # it may be one of those that were not listed
        elif not found:
            wrong.append((name, TransferError("no-match", "No file there has a name like that.")))
    return list(chosen), wrong
