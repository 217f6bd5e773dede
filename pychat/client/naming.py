"""Under which name a downloaded file is saved: a name that does no harm, and one that nothing has yet."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from ..claim import SUFFIX

NAME_LIMIT = 200
"""Bytes of a name: file systems take 255, and `` (2).part`` comes on top."""

FALLBACK = "download"
"""What a file is called whose name has nothing that may stay."""

_SEPARATORS = re.compile(r"[/\\]")
# Controls, line and paragraph separators, what turns the order of letters around, halves of characters.
_HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_WINDOWS = re.compile('[<>:"|?*]')
_DEVICES = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?= *(?:\.|$))", re.IGNORECASE
)


def safe_name(name: str, *, windows: bool = os.name == "nt") -> str:
    """The last part of a path on somebody else's shelf, as the name of a file in a folder of ours.

    The result is never empty, ``.`` or ``..``, holds no separator and no control character, does not begin with a
    dot (so it makes no hidden file), and has at most :data:`NAME_LIMIT` bytes.

    :param windows: also leave out what Windows does not allow.
    """
    last = _HOSTILE.sub("_", _SEPARATORS.split(name)[-1])
    if windows:
        last = _WINDOWS.sub("_", last)
    last = last.lstrip(".")
    if not last.strip(" ."):
        return FALLBACK
    last = _shorten(last)
    if windows:
        last = last.rstrip(". ")
        if _DEVICES.match(last):
            last = "_" + last
    return last


def candidates(name: str) -> Iterator[str]:
    """``report.pdf``, ``report (2).pdf``, ``report (3).pdf`` and so on."""
    yield name
    stem, extension = _split(name)
    number = 2
    while True:
        yield f"{stem} ({number}){extension}"
        number += 1


def free_path(folder: str, name: str, taken: Callable[[str], bool]) -> str:
    """Where to save a file so that nothing is overwritten, be it finished or on its way.

    :param name: from :func:`safe_name`.
    :param taken: whether a path is already in use by somebody who has not made it yet.
    """
    for candidate in candidates(name):
        path = os.path.join(folder, candidate)
        if not any(taken(each) or os.path.lexists(each) for each in (path, path + SUFFIX)):
            return path
    raise AssertionError("unreachable")


def _split(name: str) -> tuple[str, str]:
    """Stem and extension; an extension is short, or it is none."""
    stem, extension = os.path.splitext(name)
    return (stem, extension) if len(extension.encode()) <= 16 else (name, "")


def _shorten(name: str) -> str:
    if len(name.encode()) <= NAME_LIMIT:
        return name
    stem, extension = _split(name)
    room = NAME_LIMIT - len(extension.encode())
    return stem.encode()[:room].decode(errors="ignore") + extension
