"""The line protocol's grammar: bytes to :class:`Line` and back.  It raises nothing but its own error.

::

    line  =  "<" verb *( 1*" " key [ "=" value ] ) ">" [ text ] LF
    verb  =  1*( a-z / "_" )          key = a-z *( a-z / 0-9 / "_" / "-" )

Values hold no space, no ``>`` and no control characters; what needs one is percent-encoded by whoever
defines the attribute.  Lines stay bytes: most of a chat is passed on as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .errors import LocalProtocolError, RemoteProtocolError

try:
    from . import _text
except ImportError:  # not compiled
    _text = None  # type: ignore[assignment]


def is_plain(text: bytes) -> bool:
    """Whether all of this is printable ASCII, as most of a chat is; ``pychat/_text.c`` is the same in C."""
    return text.isascii() and text.decode().isprintable()


_is_plain: Final[Any] = is_plain if _text is None else _text.is_plain

_VERB = re.compile(rb"[a-z_]+")
_HEAD = re.compile(rb"[a-z_]+(?: +[a-z][a-z0-9_-]*(?:=[^ >]*)?)*")
_ATTRIBUTE = re.compile(rb" +([a-z][a-z0-9_-]*)(?:=([^ >]*))?")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_TAB = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

BIDI_LIMIT = 100
"""A text holds at most this many bidirectional controls (UAX #9 nests 125 deep)."""

TEXT_LINES_LIMIT = 200
"""A text of several lines has at most this many."""

NO_ATTRIBUTES: Mapping[bytes, bytes] = MappingProxyType({})


class Line(NamedTuple):
    """One parsed line."""

    verb: bytes
    attributes: Mapping[bytes, bytes]
    """A key without a value maps to the empty value."""
    text: bytes
    """All after the first ``>``, verbatim; not yet judged."""


def parse(line: bytes) -> Line:
    """Parse one line, without its line end.

    :raise RemoteProtocolError: ``bad-line`` or ``bad-attribute``.
    """
    if not line.startswith(b"<"):
        raise RemoteProtocolError("bad-line", "A line starts with a command in < and >.")
    end = line.find(b">")
    if end < 0:
        raise RemoteProtocolError("bad-line", "The > is missing. A line looks like <command>text")
    head, text = line[1:end], line[end + 1 :]
    if _VERB.fullmatch(head):
        return Line(head, NO_ATTRIBUTES, text)
    if not _HEAD.fullmatch(head):
        small = head.partition(b" ")[0].lower()
        if _VERB.fullmatch(small) and not head.startswith(small):
            raise RemoteProtocolError("bad-line", f"Commands are in small letters: <{small.decode()}>.")
        raise RemoteProtocolError(
            "bad-line", "Between < and > stand a command and, perhaps, key=value pairs."
        )
    verb = _VERB.match(head)
    assert verb is not None
    _require_clean(head, "bad-line", "Between < and > only visible UTF-8 text may stand.")
    attributes: dict[bytes, bytes] = {}
    for key, value in _ATTRIBUTE.findall(head, verb.end()):
        if key in attributes:
            raise RemoteProtocolError("bad-attribute", f"{key.decode()}= is given twice. Give it once.")
        attributes[key] = value
    return Line(verb.group(), attributes, text)


def _require_clean(raw: bytes, code: str, sentence: str) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError(code, sentence) from None
    if not text.isprintable() and _CONTROL.search(text):
        raise RemoteProtocolError(code, sentence)
    return text


def require_clean(text: bytes) -> None:
    """Judge text that nobody uses: what stands after a command that takes nothing.

    :raise RemoteProtocolError: ``bad-line``.
    """
    if text:
        _require_clean(text, "bad-line", "Only visible UTF-8 text may stand in a line.")


def decode_name(text: bytes) -> str:
    """A name argument: UTF-8, the spaces around it dropped, no control characters.

    :raise RemoteProtocolError: ``bad-name``.
    """
    sentence = "A name is UTF-8 text without control characters."
    return _require_clean(text.strip(b" "), "bad-name", sentence)


def check_text(text: bytes) -> None:
    """Judge a message's text: what may be shown on anybody's terminal.

    Refused are bytes that are not UTF-8, C0 (but TAB), DEL, C1, U+2028 and U+2029.

    :raise RemoteProtocolError: ``bad-text``.
    """
    # That is false for more than we refuse, and fast: the search runs on the odd text only.
    if is_printable(text):
        return
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("bad-text", "The text is not UTF-8. Set your terminal to UTF-8.") from None
    if _CONTROL_BUT_TAB.search(decoded):
        raise RemoteProtocolError(
            "bad-text", "The text holds control characters. Send it without them (TAB is fine)."
        )
    if len(_BIDI.findall(decoded)) > BIDI_LIMIT:
        raise RemoteProtocolError(
            "bad-text", f"The text holds more than {BIDI_LIMIT} bidirectional controls. Send it with fewer."
        )


def is_printable(text: bytes) -> bool:
    """Whether this is UTF-8 in which all is to be seen: then :func:`check_text` has nothing to say against it."""
    try:
        return _is_plain(text) or text.decode().isprintable()
    except UnicodeDecodeError:
        return False


def decode_lines(text: bytes) -> bytes:
    """A message's text that came percent-encoded (``enc=pct``): it may hold LF.

    :raise RemoteProtocolError: ``bad-text``, for the same as :func:`check_text`, for a ``%`` that encodes nothing, and
        for more than :data:`TEXT_LINES_LIMIT` lines.
    """
    # Strict, so that what is encoded again for others is never longer than what came.
    if _BAD_ESCAPE.search(text):
        raise RemoteProtocolError(
            "bad-text", "With enc=pct a % begins two hexadecimal digits: write %25 for a %."
        )
    plain = unquote_to_bytes(text)
    if plain.count(b"\n") >= TEXT_LINES_LIMIT:
        raise RemoteProtocolError(
            "bad-text", f"A message has at most {TEXT_LINES_LIMIT} lines. Send it as several, or as a file."
        )
    check_text(plain.replace(b"\n", b"\t"))
    return plain


def encode_lines(text: bytes) -> bytes:
    """The inverse of :func:`decode_lines`; only ``%`` and LF are encoded."""
    return text.replace(b"%", b"%25").replace(b"\n", b"%0A")


def isolate(text: bytes) -> bytes:
    """Make a text's bidirectional controls end with the text: what stands around it keeps its order.

    The text stays verbatim inside U+2068 (first strong isolate) and U+2069.  For every U+2069 in it that
    closes nothing one more U+2068 opens before it, and what it leaves open is closed behind it: a closed
    isolate also ends the embeddings and overrides in it (UAX #9, rule X6a).  Text without such
    controls comes back as it is.
    """
    if text.isascii():
        return text
    controls = _BIDI.findall(text.decode())
    if not controls:
        return text
    depth = missing = 0
    for control in controls:
        if control == "\u2069":
            if depth:
                depth -= 1
            else:
                missing += 1
        elif "\u2066" <= control <= "\u2068":
            depth += 1
    return b"\xe2\x81\xa8" * (missing + 1) + text + b"\xe2\x81\xa9" * (depth + 1)


def render(verb: bytes, attributes: Mapping[bytes, bytes] = NO_ATTRIBUTES, text: bytes = b"") -> bytes:
    """Build a line, with its LF; :func:`parse` gives back what went in.

    :raise LocalProtocolError: ``bad-line``, if no line can say this.
    """
    head = verb + b"".join(b" %s=%s" % pair if pair[1] else b" " + pair[0] for pair in attributes.items())
    line = b"<%s>%s" % (head, text)
    try:
        said = parse(line)
    except RemoteProtocolError:
        said = None
    # The line's end takes a LF, and a CR before it.
    if said != Line(verb, attributes, text) or b"\n" in text or text.endswith(b"\r"):
        raise LocalProtocolError("bad-line", "no line can say this")
    return line + b"\n"


def quote(value: str | bytes) -> bytes:
    """Percent-encode a value so that it may stand in an attribute (RFC 3986 §2.1)."""
    raw = value.encode() if isinstance(value, str) else value
    return quote_from_bytes(raw, safe="/:[]~").encode()


def unquote(value: bytes) -> bytes:
    """The inverse of :func:`quote`; a ``%`` that encodes nothing stays."""
    return unquote_to_bytes(value)
