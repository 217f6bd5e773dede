"""What all parts of a session share: its peer, its hub, and how arguments and attributes are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import names
from .commands import COMMANDS
from .errors import PychatError, RemoteProtocolError
from .grammar import Line, check_text, decode_lines, decode_name, unquote
from .hub import Hub
from .peer import Peer
from .rooms import Room, is_room
from .vocabulary import EVERYBODY, LABEL_LIMIT, RANGES_LIMIT, Place, Ranges

if TYPE_CHECKING:
    from .peer import Person

_RANGE = re.compile(rb"([0-9]{1,19})-([0-9]{1,19})")
_POSITION = re.compile(rb"[0-9]{1,18}")
_ID = re.compile(rb" *([1-9][0-9]{0,18}) *")
_ID_AND_TEXT = re.compile(rb" *([1-9][0-9]{0,18})(?: (.*))?", re.DOTALL)
_SHOWN_LIMIT = 200  # characters of a line that a sentence tells somebody to type


class Conversation:
    """One connection's conversation, as its parts know it."""

    __slots__ = ("closing", "here", "hub", "peer", "said", "takes_udp", "uploads")

    def __init__(
        self, hub: Hub, peer: Peer, here: str, *, takes_udp: bool = True, uploads: bool = True
    ) -> None:
        """:param here: ``HOST:PORT`` at which this connection was made, for lines to be typed elsewhere.
        :param takes_udp: the daemon has UDP ports.
        :param uploads: this connection may upload.
        """
        self.hub = hub
        self.takes_udp = takes_udp
        self.uploads = uploads
        self.said = 0
        """How many lines were looked at."""
        self.here = here
        self.peer = peer
        self.closing = False

    def failed(self, error: PychatError, label: bytes) -> None:
        """Answer the line handled last with an error."""
        self.peer.answer(b"<error code=%s%s>%s\n" % (error.code.encode(), label, error.sentence.encode()))

    @property
    def person(self) -> Person:
        """Who this is; only from ``<connect>`` on."""
        person = self.peer.identity
        assert person is not None
        return person

    def find_person(self, name: str) -> Person:
        """Somebody who is here or away.

        :raise RemoteProtocolError: ``no-such-user``.
        """
        person = self.hub.roster.find(name)
        if person is None:
            room = self.hub.rooms.called(f"#{name}")
            hint = f"Did you mean {room.name}?" if room else "Type <get_users> to see who is here."
            raise RemoteProtocolError("no-such-user", f"Nobody here has this name. {hint}")
        return person

    def find_room(self, name: str) -> Room:
        """A room that one is in.

        :raise RemoteProtocolError: ``bad-name``, ``no-such-room`` or ``not-in-room``.
        """
        room = self.hub.rooms.find(name)
        self.hub.stay(self.person, room)
        return room

    def find_place(self, name: str) -> tuple[Place, bytes]:
        """A conversation by what it is called: ``all``, ``#room`` or a name; and its name as shown.

        :raise RemoteProtocolError: as :meth:`find_room`; ``name-reserved``.
        """
        if name.lower() == "all":
            return EVERYBODY, b"all"
        if is_room(name):
            room = self.find_room(name)
            return room.place, room.label
        return (self.person.id, names.check(name)), name.encode()


def require(line: Line) -> RemoteProtocolError:
    """The error of a command whose argument is missing, or stands as an attribute, as in ``<set_msg bob>hi``."""
    needs = COMMANDS[line.verb].needs
    words = misplaced(line)
    text = line.text.decode(errors="ignore")
    meant = to_type(line.verb.decode(), f"{words} {text}".strip()) if words else ""
    return RemoteProtocolError("missing-argument", f"{needs}. Did you mean {meant}" if meant else needs)


def misplaced(line: Line) -> str:
    """The words that stand as attributes, and are none: ``bob`` in ``<set_msg bob>hi``; empty if there are none."""
    known = {b"label", *map(str.encode, COMMANDS[line.verb].attributes)}
    return " ".join(key.decode() for key, value in line.attributes.items() if not value and key not in known)


def to_type(verb: str, words: str) -> str:
    """The line that was meant, for a sentence; empty if it would be too long, or could not be shown."""
    if not words.isprintable() or len(words) > _SHOWN_LIMIT:
        return ""
    name, _, text = words.partition(" ")
    if verb == "set_msg" and is_everybody(name):
        return f"<set_msg_all>{text or 'your text'}"
    return f"<{verb}>{words}"


def is_everybody(name: str) -> bool:
    """Whether a name is no person's, but one under which people look for all."""
    return name.lower() in ("all", "everyone")


def label_of(line: Line) -> bytes:
    """The rendered attribute, or nothing."""
    value = line.attributes.get(b"label")
    if value is None:
        return b""
    if not 0 < len(value) <= LABEL_LIMIT:
        raise RemoteProtocolError("bad-attribute", f"label= is 1 to {LABEL_LIMIT} bytes long.")
    return b" label=" + value


def once_of(line: Line) -> bytes:
    """The ``once=`` key, or nothing."""
    if b"once" not in line.attributes:
        return b""
    value = line.attributes[b"once"]
    if not 0 < len(value) <= LABEL_LIMIT:
        raise RemoteProtocolError("bad-attribute", f"once= is 1 to {LABEL_LIMIT} bytes long.")
    return value


def text_of(line: Line, text: bytes) -> bytes:
    """The text of a message, decoded and judged.

    :raise RemoteProtocolError: ``bad-text``, ``bad-attribute``, or ``missing-argument`` if there is nothing to be seen.
    """
    encoding = line.attributes.get(b"enc") if line.attributes else None
    if encoding is None:
        check_text(text)
    elif encoding == b"pct":
        text = decode_lines(text)
        if not text.strip(b" \n\t"):
            raise require(line)
    else:
        raise RemoteProtocolError("bad-attribute", "enc= can only be pct: the text is percent-encoded.")
    return text


def id_of(line: Line) -> int:
    """The id that is a command's whole argument."""
    number = _ID.fullmatch(line.text)
    if number is None:
        raise RemoteProtocolError("bad-argument", "An id is the number that a <msg> has as id=.")
    return int(number[1])


def id_and_text(line: Line) -> tuple[int, bytes]:
    """The id that a command's argument begins with, and what stands behind one space."""
    match = _ID_AND_TEXT.fullmatch(line.text)
    if match is None:
        raise RemoteProtocolError(
            "bad-argument", "First comes an id, the number that a <msg> has as id=, and then a space."
        )
    return int(match[1]), match[2] or b""


def position(line: Line, key: bytes) -> int | None:
    """The value of an attribute that is the id of a message."""
    value = line.attributes.get(key)
    if value is None:
        return None
    if not _POSITION.fullmatch(value):
        raise RemoteProtocolError("bad-attribute", f"{key.decode()}= is the id of a message, or 0.")
    return int(value)


def ranges_of(line: Line, key: bytes) -> Ranges:
    """The value of an attribute that names ranges of bytes, such as ``0-1048576,2097152-3145728``; none without it."""
    value = line.attributes.get(key)
    if value is None:
        return ()
    ranges: list[tuple[int, int]] = []
    end = 0
    for each in value.split(b","):
        match = _RANGE.fullmatch(each)
        if match is None or len(ranges) == RANGES_LIMIT or not end <= int(match[1]) < int(match[2]):
            raise RemoteProtocolError(
                "bad-attribute",
                f"{key.decode()}= has up to {RANGES_LIMIT} ranges, ascending: 0-1048576,2097152-3145728",
            )
        end = int(match[2])
        ranges.append((int(match[1]), end))
    return ranges


def render_ranges(ranges: Ranges) -> bytes:
    """The inverse of :func:`ranges_of`."""
    return b",".join(b"%d-%d" % each for each in ranges)


def limit_of(line: Line, usual: int, most: int) -> int:
    """The value of ``limit=``."""
    value = line.attributes.get(b"limit")
    if value is None:
        return usual
    if not _POSITION.fullmatch(value) or not 1 <= int(value) <= most:
        raise RemoteProtocolError("bad-attribute", f"limit= is a number from 1 to {most}.")
    return int(value)


def name_in(line: Line, key: bytes) -> str | None:
    """The value of an attribute that is a name; what cannot stand there may be percent-encoded."""
    value = line.attributes.get(key)
    return None if value is None else decode_name(unquote(value))
