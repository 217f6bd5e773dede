"""What a script is told of each file: a line of `sha256sum`, or a JSON object."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from ..errors import PychatError
from ..vocabulary import ListedFile


@dataclass(frozen=True, slots=True)
class Carried:
    """A file that arrived, here or there.

    :ivar name: as the daemon calls it.
    :ivar path: where it is on this machine.
    :ivar size: its bytes.
    :ivar sha256: of all of it, 64 hexadecimal digits.
    :ivar seconds: from asking for it to the verified file.
    :ivar lost: datagrams that had to be sent again.
    :ivar via: ``udp`` or ``tcp``: how the last of it came.
    :ivar resumed: bytes that did not have to be sent, for they were there from an earlier attempt.
    :ivar rtt: seconds of a round trip, 0 if that was not measured.
    :ivar already: nothing had to be moved, and that was told.
    """

    name: str
    path: str
    size: int
    sha256: str
    seconds: float
    lost: int
    via: str
    resumed: int = 0
    rtt: float = 0.0
    already: bool = False


def checksum_line(carried: Carried) -> bytes:
    """What ``sha256sum`` prints for the file, and ``sha256sum -c`` reads."""
    path = os.fsencode(carried.path)
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"" if escaped == path else b"\\"
    return b"%s%s  %s\n" % (mark, carried.sha256.encode(), escaped)


def json_line(carried: Carried) -> bytes:
    """The file as one JSON object in a line."""
    return _dump(
        {
            "name": carried.name,
            "bytes": carried.size,
            "seconds": round(carried.seconds, 6),
            "sha256": carried.sha256,
            "lost": carried.lost,
            "via": carried.via,
            "path": carried.path,
            "resumed": carried.resumed,
        }
    )


def json_failure(name: str, error: PychatError) -> bytes:
    """A file that did not arrive, as one JSON object in a line."""
    return _dump({"name": name, "error": error.code, "sentence": error.sentence})


def json_listed(file: ListedFile) -> bytes:
    """A file of the shelf, as one JSON object in a line."""
    return _dump({"name": file.name, "bytes": file.size})


def _dump(what: dict[str, Any]) -> bytes:
    # ASCII: names that are no UTF-8 here come out as lone surrogates, escaped.
    return json.dumps(what).encode() + b"\n"
