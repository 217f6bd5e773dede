"""What a daemon's answers look like, and the ways in which asking for one fails.

Nothing that a daemon says is taken on trust: whatever leaves this module was checked and is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet import error as twisted_error

from ..address import format_host_port
from ..errors import PychatError
from ..grammar import Line, unquote
from ..transfer.terms import MAX_SIZE
from ..vocabulary import ListedFile

CLOSINGS: Mapping[bytes, tuple[bytes, ...]] = {
    b"hello": (b"hello",),
    b"connect": (b"connected",),
    b"disconnect": (b"goodbye",),
    b"get_users": (b"users",),
    b"set_msg": (b"accepted",),
    b"set_msg_all": (b"accepted",),
    b"listfiles": (b"files",),
    b"download": (b"offer", b"get"),
    b"upload": (b"offer", b"put"),
    b"transfers": (b"transfers",),
    b"pause": (b"done",),
    b"continue": (b"done",),
    b"cancel": (b"done",),
    b"ping": (b"pong",),
    b"help": (b"commands",),
    b"receipts": (b"receipts",),
    b"join": (b"joined",),
    b"leave": (b"left",),
    b"get_rooms": (b"rooms",),
    b"topic": (b"accepted", b"topic"),
    b"history": (b"history",),
    b"search": (b"search",),
    b"edit": (b"accepted",),
    b"retract": (b"accepted",),
    b"react": (b"accepted",),
    b"typing": (b"done",),
    b"away": (b"done",),
    b"whois": (b"whois",),
    b"ignore": (b"done", b"ignores"),
    b"unignore": (b"done",),
    b"mute": (b"done",),
    b"unmute": (b"done",),
    b"unread": (b"unread",),
    b"hide": (b"done",),
    b"show": (b"done",),
    b"status": (b"status",),
}
"""Which verbs close the answer to which command, besides ``<error>``.  For a command that is not in here it is the
first line with the label that is no item."""

ITEMS = frozenset(
    (b"user", b"file", b"command", b"recipient", b"msg", b"room", b"ignored", b"new", b"absent", b"transfer")
)
"""Verbs of the lines of a list.  A ``<msg>`` that has a label is one: no message that is sent to us has."""

TOKEN_LIMIT = 512
"""Bytes of a ``resume`` token."""

_TOKEN = re.compile(rb"[\x21-\x7e]{1,%d}" % TOKEN_LIMIT)
_NUMBER = re.compile(rb"[0-9]{1,19}")
_PART = re.compile(rb"([0-9]{1,9})/([0-9]{1,9})")
_LARGEST_ID = 2**63 - 1


class Refused(PychatError):
    """The daemon answered with an ``<error>``; code and sentence are its own, and hostile until shown escaped."""


class LinkError(PychatError):
    """There is no connection to the chat, or none any more.

    ``unknown-host``, ``refused``, ``unreachable``, ``timed-out``, ``not-pychat``, ``lost``, ``closed`` (by us), or the
    code of the daemon's ``<goodbye>``.
    """


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    :ivar line: the closing line.
    :ivar items: the lines of a list before it.
    """

    line: Line
    items: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """What is on the shelf.

    :ivar left_out: how many more files there are that the daemon did not list.
    """

    files: tuple[ListedFile, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """We are in the chat.

    :ivar name: as the daemon shows it.
    :ivar token: with it the same identity comes back on another connection; ``None`` if the daemon gave none.
    :ivar durable: what the daemon accepts survives its process.
    """

    name: str
    token: str | None = None
    durable: bool = True


@dataclass(frozen=True, slots=True)
class User:
    """Somebody in the chat.

    :ivar away: without a connection at the moment.
    """

    name: str
    away: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Messages that were looked up.

    :ivar lines: each a ``<msg>``; :func:`read_text` has its text.
    :ivar more: with what to ask for those that follow; ``None`` if there are none.
    """

    lines: tuple[Line, ...]
    more: str | None = None


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who was sent a message of ours.

    :ivar state: ``waiting``, ``sent``, ``delivered``, ``read``, ``undelivered``, or a word that is newer than we are.
    """

    name: str
    state: str


def decode(raw: bytes) -> str:
    """Bytes of a daemon as text, whatever they are; still to be made fit for a terminal."""
    return raw.decode("utf-8", "backslashreplace")


def refusal(line: Line) -> Refused:
    """The exception that an ``<error>`` line stands for."""
    code = decode(line.attributes.get(b"code", b"")) or "error"
    return Refused(code, decode(line.text) or "The daemon refused that and did not say why.")


def cannot_connect(host: str, port: int, error: Exception) -> LinkError:
    """What to tell a person whose connection could not be made."""
    where = format_host_port(host, port)
    if isinstance(error, twisted_error.ConnectionRefusedError):
        return LinkError(
            "refused", f"Nobody listens at {where}. Is the daemon running, and is this its port?"
        )
    if isinstance(error, (twisted_error.DNSLookupError, ValueError)):
        return LinkError(
            "unknown-host", f"There is no machine called {host}. Check the name, or use its address."
        )
    if isinstance(error, (twisted_error.TimeoutError, twisted_error.TCPTimedOutError)):
        return LinkError(
            "timed-out", f"{where} does not answer. Is it the right address, and does no firewall block it?"
        )
    reason = getattr(error, "osError", None)
    reason = getattr(reason, "strerror", None) or str(error)
    return LinkError(
        "unreachable", f"Cannot connect to {where}: {reason}. Check the address and the network."
    )


def read_listing(answer: Answer) -> Listing:
    """The files of a listing; lines that make no sense are left out."""
    files = []
    for line in answer.items:
        try:
            if line.verb == b"file":
                files.append(ListedFile(line.text.decode(), _number(line, b"size", MAX_SIZE)))
        except ValueError:
            continue
    try:
        left_out = _number(answer.line, b"left_out", MAX_SIZE)
    except ValueError:
        left_out = 0
    return Listing(tuple(files), left_out)


def read_joined(answer: Answer) -> Joined:
    """What a ``<connected>`` says."""
    attributes = answer.line.attributes
    token = attributes.get(b"resume", b"")
    return Joined(
        decode(answer.line.text),
        token.decode("ascii") if _TOKEN.fullmatch(token) else None,
        attributes.get(b"durable") != b"no",
    )


def read_users(answer: Answer) -> list[User]:
    """The people of a ``<get_users>``."""
    return [
        User(decode(line.text), b"away" in line.attributes) for line in answer.items if line.verb == b"user"
    ]


def read_recipients(answer: Answer) -> list[Recipient]:
    """The people of a ``<receipts>``."""
    return [
        Recipient(decode(line.text), decode(line.attributes.get(b"state", b"")))
        for line in answer.items
        if line.verb == b"recipient"
    ]


def read_page(answer: Answer) -> Page:
    """The messages of a ``<history>`` or a ``<search>``."""
    return Page(tuple(line for line in answer.items if line.verb == b"msg"), read_more(answer))


def read_more(answer: Answer) -> str | None:
    """With what to ask for those that follow; ``None`` if there are none."""
    more = answer.line.attributes.get(b"more")
    return None if more is None else decode(more)


def read_counts(line: Line) -> tuple[dict[str, int], int] | None:
    """The numbers in a ``<people>``: how many came, went, or lost their connection or found it; and how many there are.

    :return: ``None`` if there is something in it that is no number.
    """
    try:
        people = _whole(line.text, _LARGEST_ID)
        return {
            change: _number(line, change.encode(), _LARGEST_ID)
            for change in ("joined", "left", "away", "back")
            if change.encode() in line.attributes
        }, people
    except ValueError:
        return None


def read_text(line: Line) -> bytes:
    """What a message says: decoded if it came encoded; it may hold LF, and hostile text of every kind."""
    return unquote(line.text) if line.attributes.get(b"enc") == b"pct" else line.text


def read_part(line: Line) -> tuple[int, int]:
    """Which part of its message this is, and of how many: 1 and 1 if it is all of it."""
    match = _PART.fullmatch(line.attributes.get(b"part", b""))
    part, parts = (int(match[1]), int(match[2])) if match else (1, 1)
    return (part, parts) if 1 <= part <= parts else (1, 1)


def read_id(answer: Answer) -> str:
    """The id in an answer, as it stands there."""
    return decode(answer.line.attributes.get(b"id", b""))


def message_id(line: Line) -> int | None:
    """The id in a line, if it is a number that a daemon may give: one of 63 bits."""
    try:
        return _number(line, b"id", _LARGEST_ID)
    except ValueError:
        return None


def _number(line: Line, key: bytes, largest: int) -> int:
    return _whole(line.attributes.get(key, b""), largest)


def _whole(value: bytes, largest: int) -> int:
    if not _NUMBER.fullmatch(value) or int(value) > largest:
        raise ValueError(value)
    return int(value)
