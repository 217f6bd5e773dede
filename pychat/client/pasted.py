"""What was entered at once, be it one line or a text of several: which commands it is."""

from __future__ import annotations

from ..errors import RemoteProtocolError
from ..grammar import Line, parse
from .answers import CLOSINGS
from .asking import SEVERAL_LINES

_VERBS = CLOSINGS.keys() | {b"ack", b"read", b"pong"}


def commands(entry: bytes, *, whole: bool = False) -> list[bytes] | None:
    """The lines to be sent: as many as there are commands, or one message whose text has several lines.

    :param whole: it was pasted in one piece.  Only that may be several commands: what is pasted behind something typed
        is part of it, whatever it says, for others may have written it.
    :return: ``None`` if it is neither, so that nothing of it should be sent.
    """
    lines = entry.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n").split(b"\n")
    if len(lines) == 1:
        return lines
    if whole and all(_parsed(line).verb in _VERBS for line in lines if line):
        return [line for line in lines if line]
    first = _parsed(lines[0])
    if first.verb not in SEVERAL_LINES:
        return None
    message = b"\n".join(lines)
    if first.verb != b"set_msg_all" and b" " not in first.text.lstrip(b" "):
        # The text begins below the name.
        message = message.replace(b"\n", b" ", 1)
    return [message]


def _parsed(line: bytes) -> Line:
    try:
        return parse(line)
    except RemoteProtocolError:
        return Line(b"", {}, line)
