"""What was entered at once, be it one line or a text of several: which commands it is."""

from __future__ import annotations

from ..errors import RemoteProtocolError
from ..grammar import Line, parse
from .answers import CLOSINGS
from .asking import SEVERAL_LINES

_VERBS = CLOSINGS.keys() | {b"ack", b"read", b"pong"}


def commands(entry: bytes) -> list[bytes] | None:
    """The lines to be sent: as many as there are commands, or one message whose text has several lines.

    :return: ``None`` if it is neither, so that nothing of it should be sent.
    """
    lines = entry.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n").split(b"\n")
    if len(lines) == 1:
        return lines
    verbs = [_verb(line) for line in lines if line]
    if all(verb in _VERBS for verb in verbs):
        return [line for line in lines if line]
    first = _parsed(lines[0])
    if first.verb not in SEVERAL_LINES:
        return None
    whole = b"\n".join(lines)
    if first.verb != b"set_msg_all" and b" " not in first.text.lstrip(b" "):
        # The text begins below the name.
        whole = whole.replace(b"\n", b" ", 1)
    return [whole]


def _parsed(line: bytes) -> Line:
    try:
        return parse(line)
    except RemoteProtocolError:
        return Line(b"", {}, line)


def _verb(line: bytes) -> bytes:
    return _parsed(line).verb
