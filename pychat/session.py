"""One connection's conversation: what is legal when, and what each line is answered with.

Theory of operation.  A session is a small state machine over lines.  :data:`~pychat.commands.COMMANDS` is its table:
which verbs there are, what they take, and from which *stage* of the conversation on they are legal.

::

      connection made          <hello>                 <connect>name              <disconnect>
    ------------------> NEW ------------> GREETED -------------------> JOINED ------------------> (closed)
                         |                                               ^
                         +-----------------------------------------------+
                                            <connect>name

A session never touches a socket, a file or a clock.  What takes time is returned as a *request*
(:class:`ListFiles`, :class:`OpenFile`, :class:`Close`); until the answer to it is given back, its caller
gives the session no further line, so that answers keep the order of the lines.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from . import __version__
from .commands import COMMANDS, Command, Stage
from .errors import PychatError, RemoteProtocolError
from .grammar import Line, check_text, decode_name, parse, require_clean
from .hub import Hub
from .peer import Peer
from .vocabulary import LABEL_LIMIT, ListedFile, Offer

CAPABILITIES = ("ack", "resume", "bot")
"""What ``<hello caps=…>`` can ask for."""

_POSITION = re.compile(rb"[0-9]{1,18}")
_ID = re.compile(rb" *([1-9][0-9]{0,18}) *")


@dataclass(frozen=True, slots=True)
class ListFiles:
    """Request: what is on the shelf?  Answer with :meth:`Session.listed` or :meth:`Session.failed`."""

    label: bytes


@dataclass(frozen=True, slots=True)
class OpenFile:
    """Request: open a file and, for ``offer``, offer it.  Answer with one of the three methods below.

    :meth:`Session.offered`, :meth:`Session.found` (when ``offer`` is false) or :meth:`Session.failed`.
    """

    name: str
    label: bytes
    offer: bool


@dataclass(frozen=True, slots=True)
class Close:
    """Request: close the connection once everything queued is out."""


@dataclass(frozen=True, slots=True)
class ListReceipts:
    """Request: who has a message of mine?  Answer with :meth:`Session.receipts` or :meth:`Session.failed`."""

    id: int
    label: bytes


Request: TypeAlias = "ListFiles | OpenFile | ListReceipts | Close"


class Session:
    """One connection's conversation."""

    __slots__ = ("_here", "_hub", "closing", "peer")

    def __init__(self, hub: Hub, peer: Peer, here: str) -> None:
        """:param here: ``HOST:PORT`` at which this connection was made, for lines to be typed elsewhere."""
        self._hub = hub
        self._here = here
        self.peer = peer
        self.closing = False

    def greet(self) -> None:
        """The first line that a person sees says the first line to type."""
        self.peer.tell(b"<welcome>Python Chat. Type <connect>your-name to join, <help> for more.\n")

    @property
    def stage(self) -> Stage:
        """How far this conversation has come."""
        if self.peer.identity is not None:
            return Stage.JOINED
        return Stage.GREETED if self.peer.full else Stage.NEW

    def receive(self, raw: bytes | None) -> Request | None:
        """Handle one line without its line end; ``None`` is one that was too long.

        :return: what has to be done before the next line, if anything.
        """
        if self.closing or raw == b"":
            return None
        label = b""
        try:
            if raw is None:
                raise RemoteProtocolError(
                    "line-too-long", "A line is at most 4,096 bytes long. Nothing of this one was used."
                )
            line = parse(raw)
            if line.attributes:
                label = _label(line)
            command = COMMANDS.get(line.verb)
            if command is None:
                raise _unknown(line.verb)
            if self.stage < command.stage:
                raise _too_early(command)
            if not command.takes:
                require_clean(line.text)
            if command.needs and not line.text.strip(b" "):
                raise RemoteProtocolError("missing-argument", command.needs)
            request: Request | None = getattr(self, "_do_" + command.verb)(line, label)
            return request
        except PychatError as error:
            self.failed(self._with_hint(error, raw or b""), label)
            return None

    def _with_hint(self, error: PychatError, raw: bytes) -> PychatError:
        """Who types something that is no command at all is told one that would do here."""
        if error.code != "bad-line":
            return error
        if self.stage < Stage.JOINED:
            hint = "Type <connect>your-name to join, <help> for more."
        elif raw.startswith(b"<"):
            hint = "Type <help> for all commands."
        else:
            hint = "To talk to everybody: <set_msg_all>your text"
        return RemoteProtocolError(error.code, f"{error.sentence} {hint}")

    def failed(self, error: PychatError, label: bytes) -> None:
        """Answer the line handled last with an error."""
        self.peer.answer(b"<error code=%s%s>%s\n" % (error.code.encode(), label, error.sentence.encode()))

    def cut_short(self) -> None:
        """The peer's last line has no line end: answer it, and use nothing of it."""
        error = RemoteProtocolError("bad-line", "Your last line had no line end. Nothing of it was used.")
        self.failed(error, b"")

    def goodbye(self, code: str, sentence: str, label: bytes = b"") -> None:
        """End the conversation: nothing that comes in is looked at any more."""
        self.peer.answer(b"<goodbye code=%s%s>%s\n" % (code.encode(), label, sentence.encode()))
        self.closing = True

    # -- opening and closing

    def _do_hello(self, line: Line, label: bytes) -> None:
        if self.stage == Stage.JOINED:
            raise RemoteProtocolError("already-connected", "<hello> comes before <connect>.")
        peer = self.peer
        asked = line.attributes.get(b"caps", b"").split(b",")
        acks = b"ack" in asked
        # Who does not acknowledge cannot go on where she stopped; and what is no bot is a person.
        resumes = acks and b"resume" in asked and self._hub.can_resume
        bot = resumes and b"bot" in asked
        granted = [cap for cap, given in zip(CAPABILITIES, (acks, resumes, bot), strict=True) if given]
        peer.full = True
        self._hub.promise(peer, acks, resumes, bot)
        caps = b" caps=" + ",".join(granted).encode() if granted else b""
        peer.answer(b"<hello%s%s server=pychat/%s>\n" % (label, caps, __version__.encode()))

    def _do_connect(self, line: Line, label: bytes) -> None:
        if self.peer.identity is not None:
            raise RemoteProtocolError(
                "already-connected",
                f"You are {self.peer.identity.name} already. For another name: <disconnect> and come back.",
            )
        try:
            name = decode_name(line.text)
        except RemoteProtocolError as error:
            raise self._hub.roster.refusal(error, line.text.decode(errors="replace")) from None
        token = line.attributes.get(b"resume")
        if token is None:
            self._hub.join(self.peer, name, label)
            return
        if not self.peer.resumes:
            raise RemoteProtocolError(
                "bad-attribute", "resume= is for clients that said <hello caps=ack,resume> before it."
            )
        self._hub.resume(self.peer, token, name, _position(line, b"after"), _position(line, b"open"), label)

    def _do_disconnect(self, line: Line, label: bytes) -> Close:
        self._hub.farewell(self.peer)
        self.goodbye("bye", "Goodbye.", label)
        return Close()

    # -- talking

    def _do_set_msg_all(self, line: Line, label: bytes) -> None:
        check_text(line.text)
        self._hub.post(self.peer, None, line.text, label, _once(line))

    def _do_set_msg(self, line: Line, label: bytes) -> None:
        name, _, text = line.text.lstrip(b" ").partition(b" ")
        if not text.strip(b" "):
            raise RemoteProtocolError("missing-argument", COMMANDS[b"set_msg"].needs)
        called, once = decode_name(name), _once(line)
        again = self._hub.addressee(self.peer, once, called) if once else None
        to = again or self._hub.roster.find(called)
        if to is None:
            raise RemoteProtocolError(
                "no-such-user", "Nobody here has this name. Type <get_users> to see who is here."
            )
        if to.bot and to in self._hub.roster.away and again is None:
            raise RemoteProtocolError("away", f"{to.name} is a bot and away. Try again when it is back.")
        if to is self.peer.identity:
            raise RemoteProtocolError("to-yourself", "That is you. Type <get_users> to see who else is here.")
        check_text(text)
        self._hub.post(self.peer, to, text, label, once)

    def _do_ack(self, line: Line, label: bytes) -> None:
        self._hub.ack(self.peer, _id(line))

    def _do_read(self, line: Line, label: bytes) -> None:
        self._hub.read(self.peer, _id(line))

    def _do_receipts(self, line: Line, label: bytes) -> ListReceipts:
        return ListReceipts(_id(line), label)

    def receipts(self, id: int, states: Iterable[tuple[bytes, bytes]], label: bytes) -> None:
        """Answer :class:`ListReceipts`: names and how far the message is with each."""
        lines = [b"<recipient%s state=%s>%s\n" % (label, state, name) for name, state in states]
        lines.append(b"<receipts%s id=%d count=%d>\n" % (label, id, len(lines)))
        self.peer.answer(b"".join(lines))

    def _do_get_users(self, line: Line, label: bytes) -> None:
        lines, count = self._hub.users()
        if label:
            lines = lines.replace(b"<user", b"<user%s" % label)
        self.peer.answer(b"%s<users%s count=%d>\n" % (lines, label, count))

    # -- files

    def _do_listfiles(self, line: Line, label: bytes) -> ListFiles:
        return ListFiles(label)

    def listed(self, files: Iterable[ListedFile], left_out: int, label: bytes) -> None:
        """Answer :class:`ListFiles`; ``left_out`` counts files that are there and not listed for their number."""
        lines = [b"<file%s size=%d>%s\n" % (label, file.size, file.name.encode()) for file in files]
        more = b" left_out=%d" % left_out if left_out else b""
        lines.append(b"<files%s count=%d%s>\n" % (label, len(lines), more))
        self.peer.answer(b"".join(lines))

    def _do_download(self, line: Line, label: bytes) -> OpenFile:
        try:
            name = line.text.strip(b" ").decode()
        except UnicodeDecodeError:
            name = ""
        return OpenFile(name, label, offer=self.peer.full)

    def found(self, name: str, size: int, label: bytes) -> None:
        """Answer :class:`OpenFile` to a plain client: the line to type, and no key."""
        words = ["pychat", "get", self._here, *(["--"] if name.startswith("-") else []), name]
        self.peer.answer(b"<get%s size=%d>%s\n" % (label, size, shlex.join(words).encode()))

    def offered(self, offer: Offer, label: bytes) -> None:
        """Answer :class:`OpenFile`: everything that is needed to fetch the file."""
        host = b" host=" + offer.host.encode() if offer.host else b""
        terms = offer.terms
        self.peer.answer(
            b"<offer%s size=%d version=%s%s port=%d transfer=%s token=%s key=%s>%s\n"
            % (
                label, terms.size, offer.version.encode(), host, offer.port, terms.transfer.hex().encode(),
                terms.token.hex().encode(), terms.key.hex().encode(), offer.name.encode(),
            )
        )  # fmt: skip

    # -- the rest

    def _do_ping(self, line: Line, label: bytes) -> None:
        check_text(line.text)
        self.peer.answer(b"<pong%s>%s\n" % (label, line.text))

    def _do_pong(self, line: Line, label: bytes) -> None:
        """Nothing waits for it: TCP's own timers find a peer that is gone."""
        require_clean(line.text)

    def _do_help(self, line: Line, label: bytes) -> None:
        verb = line.text.strip(b" <>")
        if not verb:
            chosen = list(COMMANDS.values())
        elif verb in COMMANDS:
            chosen = [COMMANDS[verb]]
        else:
            raise _unknown(verb)
        lines = [f"<command>{_usage(command)}  {command.summary}" for command in chosen]
        if verb:
            lines += [f"<command>for example: {command.hint}" for command in chosen]
        text = "".join(f"{line}\n" for line in lines).encode().replace(b"<command>", b"<command%s>" % label)
        self.peer.answer(b"%s<commands%s count=%d>\n" % (text, label, len(lines)))


def _usage(command: Command) -> str:
    usage = f"<{command.verb}>{command.takes}"
    return f"{usage:<22}"


def _label(line: Line) -> bytes:
    value = line.attributes.get(b"label")
    if value is None:
        return b""
    if not 0 < len(value) <= LABEL_LIMIT:
        raise RemoteProtocolError("bad-attribute", f"label= is 1 to {LABEL_LIMIT} bytes long.")
    return b" label=" + value


def _once(line: Line) -> bytes:
    if b"once" not in line.attributes:
        return b""
    value = line.attributes[b"once"]
    if not 0 < len(value) <= LABEL_LIMIT:
        raise RemoteProtocolError("bad-attribute", f"once= is 1 to {LABEL_LIMIT} bytes long.")
    return value


def _id(line: Line) -> int:
    number = _ID.fullmatch(line.text)
    if number is None:
        raise RemoteProtocolError("bad-argument", "An id is the number that a <msg> has as id=.")
    return int(number[1])


def _position(line: Line, key: bytes) -> int | None:
    """The value of ``after=`` or ``open=``."""
    value = line.attributes.get(key)
    if value is None:
        return None
    if not _POSITION.fullmatch(value):
        raise RemoteProtocolError("bad-attribute", f"{key.decode()}= is the id of a message, or 0.")
    return int(value)


def _unknown(verb: bytes) -> RemoteProtocolError:
    word = verb[:32].decode("ascii", "ignore")
    near = get_close_matches(word, [command.verb for command in COMMANDS.values()], 1)
    sentence = (
        f"Did you mean <{near[0]}>? Type <help> for all commands."
        if near
        else "Type <help> for all commands."
    )
    return RemoteProtocolError("unknown-command", f"There is no such command. {sentence}")


def _too_early(command: Command) -> RemoteProtocolError:
    return RemoteProtocolError("not-connected", f"Type <connect>your-name first, then <{command.verb}>.")
