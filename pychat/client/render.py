"""What came from a peer, made fit for a terminal: it shows everything and obeys nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from unicodedata import category, combining, east_asian_width

from ..grammar import BIDI_LIMIT, NO_ATTRIBUTES, Line, isolate, render
from .answers import read_text

_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

INDENT = "    "
"""What stands before the second line of a text and those that follow."""

SECRETS = (b"key", b"token", b"resume")
"""Attributes that are nobody's business."""

SHOWN_OF_OFFER = (b"label", b"size")
"""The attributes of an ``<offer>`` that say something to a person."""


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def visible(raw: bytes | str) -> str:
    """Text in which control characters (all but TAB) and bytes that are not UTF-8 stand escaped: ``\\x1b``.

    Text with bidirectional controls comes isolated, so that it cannot turn around what stands beside it.
    """
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    if text.isascii() and text.isprintable():
        return text
    text = _CONTROL.sub(_escape, text)
    controls = len(_BIDI.findall(text))
    if controls > BIDI_LIMIT:
        return _BIDI.sub(_escape, text)
    return isolate(text.encode()).decode() if controls else text


def show_line(line: Line, raw: bytes) -> str:
    """A line of the daemon as a person sees it: as it came, without what is secret and what a terminal obeys.

    A text of several lines goes on below, and no line of it begins where a line of the daemon does.
    """
    if not line.verb:
        return "? " + visible(raw)
    # The text is isolated by itself: the line's own head stands outside of it.
    text = visible(line.text)
    if line.attributes.get(b"enc") == b"pct":
        text, line = show_typed(read_text(line)), _without(line, b"enc")
        raw = _rebuild(line, line.attributes)
    if line.verb == b"offer" or any(secret in line.attributes for secret in SECRETS):
        keep = SHOWN_OF_OFFER if line.verb == b"offer" else line.attributes
        raw = _rebuild(line, {key: line.attributes[key] for key in keep if key in line.attributes})
    head = raw[: len(raw) - len(line.text)]
    return _BIDI.sub(_escape, _CONTROL.sub(_escape, head.decode("utf-8", "backslashreplace"))) + text


def show_typed(raw: bytes) -> str:
    """What somebody typed or pasted, in the same way."""
    return f"\n{INDENT}".join(visible(each) for each in raw.split(b"\n"))


def show_answer(line: Line) -> str:
    """A line of the answer to a command of ours, as it had come without the label."""
    rest = _without(line, b"label")
    return show_message(rest, _rebuild(rest, rest.attributes))


def show_message(line: Line, raw: bytes) -> str:
    """A line that may be a message of another time than now."""
    return show_replayed(line, raw) if b"replay" in line.attributes else show_line(line, raw)


def show_replayed(line: Line, raw: bytes) -> str:
    """A message that was said before: when that was, by the clock of this machine, stands before it."""
    time = line.attributes.get(b"time", b"").decode("ascii", "replace")
    try:
        when = datetime.fromisoformat(time.replace("Z", "+00:00")).astimezone()
    except (ValueError, OverflowError, OSError):
        return show_line(line, raw)
    rest = _without(line, b"time", b"replay")
    return f"[{when:%Y-%m-%d %H:%M}] {show_line(rest, _rebuild(rest, rest.attributes))}"


def _without(line: Line, *keys: bytes) -> Line:
    rest = {key: value for key, value in line.attributes.items() if key not in keys}
    return Line(line.verb, rest, line.text)


def _rebuild(line: Line, attributes: Mapping[bytes, bytes]) -> bytes:
    public = {key: value for key, value in attributes.items() if key not in SECRETS}
    return render(line.verb, public or NO_ATTRIBUTES)[:-1] + line.text


def text_width(text: str) -> int:
    """Columns that a text takes on a terminal, as well as that can be known."""
    if text.isascii():
        return len(text)
    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1
        for char in text
        if category(char) != "Cf"
    )


def cut(text: str, columns: int) -> str:
    """A text of at most so many columns."""
    if text_width(text) <= columns:
        return text
    while text and text_width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def beginning(text: str, columns: int) -> str:
    """The beginning of what somebody types, visible, in at most so many columns."""
    left = text[:columns]
    shown = visible(left)
    if left == text and text_width(shown) <= columns:
        return shown
    while text_width(shown := visible(left) + "…") > columns:
        left = left[:-1]
    return shown


def end(text: str, columns: int) -> str:
    """The end of it, in the same way."""
    left = text[-columns:]
    shown = visible(left)
    if left == text and text_width(shown) <= columns:
        return shown
    while text_width(shown := "…" + visible(left)) > columns:
        left = left[1:]
    return shown
