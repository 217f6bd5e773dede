"""Messages as lines: the same message in each of the three manners in which connections take them.

*Plain* is for a person with ``nc``: no word that says nothing new, bidirectional controls isolated, and of a text of
several lines one line each.  *Full* is for a program that said ``<hello>``: all attributes, the text verbatim; several
lines as for plain ones.  *Multi* is full with ``caps=multiline``: a text of several lines comes in one line,
percent-encoded.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Final

from .grammar import encode_lines, isolate
from .vocabulary import Entry, Kept, Kind

PLAIN: Final = 0
FULL: Final = 1
MULTI: Final = 2
"""The manners."""

LF: Final = 0x0A
"""A line end.  Bytes are looked for among bytes by way of an error, and a number without."""

TAKEN_BACK = b"(message taken back)"
REACTION_TAKEN_BACK = b"(reaction taken back)"

_ABOUT = {
    Kind.SAID: b" reply=%d",
    Kind.EDIT: b" edit=%d",
    Kind.RETRACT: b" retract=%d",
    Kind.REACT: b" react=%d",
}


def stamp(time_ms: int) -> bytes:
    """A moment as messages carry it (RFC 3339)."""
    moment = datetime.fromtimestamp(time_ms / 1000, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def about(kind: int, ref: int) -> bytes:
    """The attribute that says which message another one is about, or nothing."""
    return _ABOUT[Kind(kind)] % ref if ref else b""


def text_of(kind: int, text: bytes) -> bytes:
    """What is to be read of an event that may have no text of its own."""
    if kind == Kind.RETRACT:
        return TAKEN_BACK
    return text or REACTION_TAKEN_BACK if kind == Kind.REACT else text


def render(head: bytes, text: bytes, tail: bytes, manner: int) -> bytes:
    """One message as one line, or as one for each line of its text.

    :param head: the line up to where attributes of its text may stand, from the ``<`` on.
    :param tail: the attributes behind them, each with a space before it.
    """
    if LF not in text:
        return b"%s%s>%s\n" % (head, tail, text if manner else isolate(text))
    if manner == MULTI:
        return b"%s enc=pct%s>%s\n" % (head, tail, encode_lines(text))
    parts = text.split(b"\n")
    return b"".join(
        b"%s part=%d/%d%s>%s\n" % (head, number, len(parts), tail, part if manner else isolate(part))
        for number, part in enumerate(parts, 1)
    )


def render_missed(id: int, entry: Entry, manner: int, *, taken_back: bool = False) -> bytes:
    """A message as somebody gets it who missed it: it counts as one that is sent now.

    :param taken_back: it was, meanwhile, or is about one that was: nobody is shown its text any more.
    """
    to = b"all" if entry.to_name is None else entry.to_name.encode()
    head = b"<msg id=%d from=%s to=%s%s" % (id, entry.sender_name.encode(), to, about(entry.kind, entry.ref))
    text = TAKEN_BACK if taken_back else text_of(entry.kind, entry.text)
    return render(head, text, b" time=%s replay" % stamp(entry.time_ms), manner)


def render_topic(entry: Entry) -> bytes:
    """A topic that was set while somebody was away."""
    room, by = (entry.to_name or "").encode(), entry.sender_name.encode()
    return b"<topic in=%s by=%s time=%s replay>%s\n" % (room, by, stamp(entry.time_ms), entry.text)


def render_kept(kept: Kept, manner: int, label: bytes = b"") -> bytes:
    """A message as somebody gets it who looks it up: as it stands now.

    :param label: the rendered attribute, `` label=…``, or nothing.
    """
    entry = kept.entry
    to = b"all" if entry.to_name is None else entry.to_name.encode()
    head = b"<msg%s replay id=%d from=%s to=%s%s" % (
        label, kept.id, entry.sender_name.encode(), to, about(entry.kind, entry.ref),
    )  # fmt: skip
    text = text_of(entry.kind, entry.text)
    if kept.retracted:
        head += b" retracted=%d" % kept.retracted
        text = TAKEN_BACK
    elif kept.edited:
        head += b" edited=%d" % kept.edited
    return render(head, text, b" time=" + stamp(entry.time_ms), manner)
