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
(:mod:`pychat.requests`); until the answer to it is given back, its caller gives the session no further line, so that
answers keep the order of the lines.

Opening and the rest are here; what is said is in :mod:`pychat.saying`, what is asked in :mod:`pychat.asking`, and what
concerns files in :mod:`pychat.sharing`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from . import __version__
from .commands import COMMANDS, Command, Stage
from .conversation import label_of, position, require, to_type
from .errors import PychatError, RemoteProtocolError
from .grammar import Line, check_text, decode_name, is_printable, parse, require_clean
from .personal import require_hideable
from .rendering import FULL, MULTI
from .requests import Again, Close, ProvePath, Request
from .saying import Saying

if TYPE_CHECKING:
    from .peer import Person

CAPABILITIES = ("ack", "resume", "bot", "multiline", "typing", "udp")
"""What ``<hello caps=…>`` can ask for."""


_OFTEN = b"<"
"""What a line begins with that may be dealt with quickly; not final, for a test takes the long way."""
_ACK: Final = b"<ack>"
_TO_ONE: Final = b"<set_msg>"
_TO_ALL: Final = b"<set_msg_all>"
_ZERO: Final = 0x30
_SPACE: Final = 0x20


class Session(Saying):
    """One connection's conversation."""

    __slots__ = ()

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
        self.said += 1
        try:
            if raw is None:
                raise RemoteProtocolError(
                    "line-too-long", "A line is at most 4,096 bytes long. Nothing of this one was used."
                )
            if raw.startswith(_OFTEN) and self._quickly(raw):
                return None
            line = parse(raw)
            if line.attributes:
                label = label_of(line)
            command = COMMANDS.get(line.verb)
            if command is None:
                raise _unknown(line.verb)
            if self.stage < command.stage:
                raise _too_early(command)
            if command.live and self.peer.early is not None:
                raise RemoteProtocolError(
                    "busy", "You are still being told what you missed. Say this again behind <replayed>."
                )
            peer = self.peer
            if command.after and peer.posted != peer.settled and peer.early is None:
                peer.holding = True
                return Again()
            if not command.takes:
                require_clean(line.text)
            peer.holding = False
            if command.needs and not line.text.strip(b" "):
                raise require(line)
            return _HANDLERS[line.verb](self, line, label)
        except PychatError as error:
            self.failed(self._with_hint(error, raw or b""), label)
            return None

    def _quickly(self, raw: bytes) -> bool:
        """Do what most lines of a busy chat ask for: post a text to somebody who can be found at once, or acknowledge.

        :return: False: it is something else, which what is made for all lines knows how to deal with, at thrice the
            cost; it would do the same with this one.
        :raise RemoteProtocolError: as the others.
        """
        peer = self.peer
        person = peer.identity
        if person is None:
            return False
        to: Person | None = None
        if raw.startswith(_TO_ONE):
            # To look for the space by itself first costs as much again.
            head, _, text = raw.partition(b" ")
            to = self.hub.roster.labelled(head[len(_TO_ONE) :])
            if to is None or to is person or to.bot:
                return False
        elif raw.startswith(_TO_ALL):
            text = raw[len(_TO_ALL) :]
        elif raw.startswith(_ACK):
            text = raw[len(_ACK) :]
            if not 0 < len(text) < 19 or not text.isdigit() or text[0] == _ZERO:
                return False
            peer.holding = False
            self.hub.ack(peer, int(text))
            return True
        else:
            return False
        if not text or (text[0] == _SPACE and not text.strip(b" ")):
            return False
        peer.holding = False
        check_text(text)
        self.hub.say(peer, to, text)
        return True

    def receive_run(self, lines: Iterable[bytes | None], most: int) -> int:
        """Handle the first of these lines together, if two of them and more say something to everybody.

        All of that would become of them one by one as well, at thrice the cost.

        :param lines: as :meth:`receive` takes them.
        :param most: at most so many.
        :return: how many; 0: one by one is the way for the first of them.
        """
        peer = self.peer
        if self.closing or peer.identity is None:
            return 0
        texts: list[bytes] = []
        blank = False
        for raw in lines:
            if raw is None or len(texts) >= most or not raw.startswith(_TO_ALL):
                break
            text = raw[len(_TO_ALL) :]
            # Mostly the first byte tells.
            if not text or (text[0] == _SPACE and not text.strip(b" ")):
                blank = True
            texts.append(text)
        if len(texts) < 2:
            return 0
        together = b" ".join(texts)
        if not blank and is_printable(together):
            self.said += len(texts)
            peer.holding = False
            self.hub.say_run(peer, texts, len(together))
        else:
            for text in texts:
                self.receive(_TO_ALL + text)
        return len(texts)

    def _with_hint(self, error: PychatError, raw: bytes) -> PychatError:
        """Who types something that is no command at all is told one that would do here."""
        if error.code != "bad-line":
            return error
        meant = _meant(raw)
        if self.stage < Stage.JOINED and meant != _LEAVE:
            hint = "Type <connect>your-name to join, <help> for more."
        elif meant:
            hint = f"Did you mean {meant}"
        elif raw.startswith(b"<"):
            hint = "Type <help> for all commands."
        else:
            hint = "To talk to everybody: <set_msg_all>your text"
        return RemoteProtocolError(error.code, f"{error.sentence} {hint}")

    def cut_short(self) -> None:
        """The peer's last line has no line end: answer it, and use nothing of it."""
        error = RemoteProtocolError("bad-line", "Your last line had no line end. Nothing of it was used.")
        self.failed(error, b"")

    def goodbye(self, code: str, sentence: str, label: bytes = b"") -> None:
        """End the conversation: nothing that comes in is looked at any more."""
        self.peer.answer(b"<goodbye code=%s%s>%s\n" % (code.encode(), label, sentence.encode()))
        self.closing = True

    # -- opening and closing

    def _do_hello(self, line: Line, label: bytes) -> ProvePath | None:
        if self.stage == Stage.JOINED:
            raise RemoteProtocolError("already-connected", "<hello> comes before <connect>.")
        peer = self.peer
        asked = line.attributes.get(b"caps", b"").split(b",")
        acks = b"ack" in asked
        # Who does not acknowledge cannot go on where she stopped; and what is no bot is a person.
        resumes = acks and b"resume" in asked and self.hub.can_resume
        bot = resumes and b"bot" in asked
        multi, peer.types = b"multiline" in asked, b"typing" in asked
        udp = b"udp" in asked and self.takes_udp
        given = (acks, resumes, bot, multi, peer.types, udp)
        granted = [cap for cap, granted in zip(CAPABILITIES, given, strict=True) if granted]
        peer.manner = MULTI if multi else FULL
        self.hub.promise(peer, acks, resumes, bot)
        caps = b" caps=" + ",".join(granted).encode() if granted else b""
        peer.answer(b"<hello%s%s server=pychat/%s>\n" % (label, caps, __version__.encode()))
        return ProvePath() if udp else None

    def _do_connect(self, line: Line, label: bytes) -> None:
        if self.peer.identity is not None:
            raise RemoteProtocolError(
                "already-connected",
                f"You are {self.peer.identity.name} already. For another name: <disconnect> and come back.",
            )
        try:
            name = decode_name(line.text)
        except RemoteProtocolError as error:
            raise self.hub.roster.refusal(error, line.text.decode(errors="replace")) from None
        token = line.attributes.get(b"resume")
        if token is None:
            self.hub.join(self.peer, name, label)
            return
        if not self.peer.resumes:
            raise RemoteProtocolError(
                "bad-attribute", "resume= is for clients that said <hello caps=ack,resume> before it."
            )
        self.hub.resume(self.peer, token, name, position(line, b"after"), position(line, b"open"), label)

    def _do_disconnect(self, line: Line, label: bytes) -> Close:
        self.hub.farewell(self.peer)
        self.goodbye("bye", "Goodbye.", label)
        return Close()

    # -- rooms and settings

    def _do_join(self, line: Line, label: bytes) -> None:
        self.hub.join_room(self.peer, decode_name(line.text), label)

    def _do_leave(self, line: Line, label: bytes) -> None:
        self.hub.leave_room(self.peer, self.find_room(decode_name(line.text)), label)

    def _do_mute(self, line: Line, label: bytes) -> None:
        self.hub.mute(self.peer, self.find_room(decode_name(line.text)), label)

    def _do_unmute(self, line: Line, label: bytes) -> None:
        self.hub.unmute(self.peer, self.find_room(decode_name(line.text)), label)

    def _do_unignore(self, line: Line, label: bytes) -> None:
        self.hub.unignore(self.peer, decode_name(line.text), label)

    def _do_hide(self, line: Line, label: bytes) -> None:
        self.hub.hide(self.peer, require_hideable(decode_name(line.text)), label, True)

    def _do_show(self, line: Line, label: bytes) -> None:
        self.hub.hide(self.peer, require_hideable(decode_name(line.text)), label, False)

    # -- the rest

    def _do_ping(self, line: Line, label: bytes) -> None:
        check_text(line.text)
        self.peer.answer(b"<pong%s>%s\n" % (label, line.text))

    def _do_pong(self, line: Line, label: bytes) -> None:
        """Nothing waits for it: TCP's own timers find a peer that is gone."""
        require_clean(line.text)

    def _do_help(self, line: Line, label: bytes) -> None:
        verb = line.text.strip(b" <>").lower()
        if not verb:
            chosen = list(COMMANDS.values())
        elif verb in COMMANDS:
            chosen = [COMMANDS[verb]]
        else:
            raise _unknown(verb)
        lines = [f"<command>{_usage(command)}  {command.summary}" for command in chosen]
        if verb:
            lines += [f"<command>for example: {hint}" for hint in chosen[0].hint.split("\n")]
        text = "".join(f"{line}\n" for line in lines).encode().replace(b"<command>", b"<command%s>" % label)
        self.peer.answer(b"%s<commands%s count=%d>\n" % (text, label, len(lines)))


_SLIP = re.compile(rb"[</]?([a-z_]+)[ >]+([^<>=]{1,200})(?:>(.*))?", re.DOTALL)
_BARE = re.compile(rb"[</]?([a-z_]+) *")

_LEAVE = "<disconnect>"
_LEAVING = frozenset({b"disconnect", b"quit", b"exit", b"bye"})
"""What people type to leave, in this chat and elsewhere."""

_ALONE = frozenset({b"help", b"get_users", b"get_rooms", b"listfiles", b"transfers", b"unread", b"status"})
"""Commands that are whole without anything behind them, and that nobody says to others."""


_HANDLERS: dict[bytes, Callable[[Session, Line, bytes], Request | None]] = {
    verb: getattr(Session, "_do_" + verb.decode()) for verb in COMMANDS
}


def _meant(raw: bytes) -> str:
    """The line that somebody typed nearly right, such as ``/help``, ``/join #tea`` or ``<react 5>x``; else nothing."""
    bare = _BARE.fullmatch(raw.lower())
    if bare is not None and bare[1] in _LEAVING:
        return _LEAVE
    if bare is not None and bare[1] in _ALONE:
        return f"<{bare[1].decode()}>"
    slip = _SLIP.fullmatch(raw)
    command = COMMANDS.get(slip[1]) if slip else None
    if slip is None or command is None or not command.takes:
        return ""
    words = slip[2].strip() + (b" " + slip[3] if slip[3] else b"")
    try:
        text = words.decode()
    except UnicodeDecodeError:
        return ""
    return to_type(command.verb, text)


def _usage(command: Command) -> str:
    usage = f"<{command.verb}>{command.takes}"
    return f"{usage:<22}"


def _unknown(verb: bytes) -> RemoteProtocolError:
    word = verb[:32].decode("ascii", "ignore")
    near = get_close_matches(word, [command.verb for command in COMMANDS.values()], 1)
    meant = _LEAVE if verb in _LEAVING else f"<{near[0]}>" if near else ""
    hint = f"Did you mean {meant}? " if meant else ""
    return RemoteProtocolError(
        "unknown-command", f"There is no such command. {hint}Type <help> for all commands."
    )


def _too_early(command: Command) -> RemoteProtocolError:
    return RemoteProtocolError("not-connected", f"Type <connect>your-name first, then <{command.verb}>.")
