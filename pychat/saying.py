"""What is said: messages, and what is said about messages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .asking import Asking
from .conversation import (
    id_and_text,
    id_of,
    is_everybody,
    misplaced,
    name_in,
    once_of,
    position,
    require,
    text_of,
    to_type,
)
from .errors import RemoteProtocolError
from .grammar import NO_ATTRIBUTES, Line, check_text, decode_name
from .requests import Again, LookUp
from .rooms import check_room, is_room
from .roster import key_of
from .taking import no_such_message, taken_back
from .vocabulary import REACTION_LIMIT, TOPIC_LIMIT, Kept, Kind

if TYPE_CHECKING:
    from .peer import Addressee


class Saying(Asking):
    """The commands that post."""

    __slots__ = ()

    def _do_set_msg_all(self, line: Line, label: bytes) -> LookUp | None:
        return self._say(line, label, None, text_of(line, line.text))

    def _do_set_msg(self, line: Line, label: bytes) -> LookUp | None:
        name, _, text = line.text.lstrip(b" ").partition(b" ")
        if not text.strip(b" "):
            raise require(line)
        called, once = decode_name(name), once_of(line)
        try:
            to = self._room(called, once) if is_room(called) else self._recipient(called, once)
        except RemoteProtocolError as error:
            raise self._with_recipient(error, line) from None
        return self._say(line, label, to, text_of(line, text))

    def _room(self, called: str, once: bytes) -> Addressee:
        again = self.hub.repeated(self.peer, once)
        if again is not None and again.to is not None and again.to.key == check_room(called):
            return again.to  # she need not be in it any more: it was said
        return self.find_room(called)

    def _recipient(self, called: str, once: bytes) -> Addressee:
        again = self.hub.addressee(self.peer, once, called)
        to = again or self.find_person(called)
        if again is None:
            self.hub.require_present(to)
        if to is self.peer.identity:
            raise RemoteProtocolError("to-yourself", "That is you. Type <get_users> to see who else is here.")
        return to

    def _with_recipient(self, error: RemoteProtocolError, line: Line) -> RemoteProtocolError:
        """Who takes everybody for a person, or writes a name where attributes stand, is told what to type."""
        if error.code != "no-such-user":
            return error
        words, text = misplaced(line), line.text.strip(b" ").decode(errors="ignore")
        if words:
            name = words.partition(" ")[0]
            meant = to_type("set_msg", f"{words} {text}")
            if meant and (is_everybody(name) or self.hub.roster.find(name) is not None):
                return RemoteProtocolError(error.code, f"Nobody here has this name. Did you mean {meant}")
        elif is_everybody(name := text.partition(" ")[0]):
            # The text is shown as it came: it would lose what an attribute says of it.
            plain = not line.attributes.keys() & {b"enc", b"reply"}
            meant = to_type("set_msg", text if plain else name) or to_type("set_msg", name)
            sentence = f"Nobody is called {name.lower()}: the name is reserved. To talk to everybody: {meant}"
            return RemoteProtocolError(error.code, sentence)
        return error

    def _say(self, line: Line, label: bytes, to: Addressee, text: bytes) -> LookUp | None:
        if line.attributes is NO_ATTRIBUTES:
            self.hub.post(self.peer, to, text)
            return None
        once, ref = once_of(line), position(line, b"reply") or 0
        if not ref or self.hub.repeated(self.peer, once) is not None:
            # What is repeated need not be possible any more: it is what it was.
            self.hub.post(self.peer, to, text, label, once, ref=ref)
            return None
        return LookUp(ref, label, partial(self._reply, to, text, label, once))

    def _reply(self, to: Addressee, text: bytes, label: bytes, once: bytes, kept: Kept | None) -> None:
        kept = _said(kept)
        if self.hub.conversation(self.person, kept.entry) is not to:
            raise RemoteProtocolError(
                "no-such-message", f"Message {kept.id} belongs to another conversation."
            )
        if kept.retracted:
            raise taken_back()
        self.hub.post(self.peer, to, text, label, once, ref=kept.id)

    # -- about messages

    def _do_edit(self, line: Line, label: bytes) -> LookUp | None:
        id, text = id_and_text(line)
        if not text.strip(b" "):
            raise require(line)
        return self._about(line, label, Kind.EDIT, id, text_of(line, text))

    def _do_retract(self, line: Line, label: bytes) -> LookUp | None:
        return self._about(line, label, Kind.RETRACT, id_of(line), b"")

    def _do_react(self, line: Line, label: bytes) -> LookUp | None:
        id, text = id_and_text(line)
        check_text(text)
        text = text.strip(b" \t")
        if len(text) > REACTION_LIMIT:
            raise RemoteProtocolError(
                "bad-text",
                f"A reaction is at most {REACTION_LIMIT} bytes long. Say more with <set_msg reply={id}>",
            )
        return self._about(line, label, Kind.REACT, id, text)

    def _about(self, line: Line, label: bytes, kind: Kind, id: int, text: bytes) -> LookUp | None:
        """Say something about a message, where it was said."""
        once = once_of(line)
        again = self.hub.repeated(self.peer, once)
        if again is not None:
            self.hub.post(self.peer, again.to, text, label, once, kind, id)
            return None
        return LookUp(id, label, partial(self._say_about, kind, text, label, once))

    def _say_about(self, kind: Kind, text: bytes, label: bytes, once: bytes, kept: Kept | None) -> None:
        kept = _said(kept)
        to = self.hub.conversation(self.person, kept.entry)
        if kind != Kind.REACT and kept.entry.sender != self.person.id:
            sentence = "Only who said it can change it or take it back."
            if key_of(kept.entry.sender_name) == self.person.key:
                sentence += (
                    " That was an earlier one of your name: without a token each connection is somebody new."
                )
            raise RemoteProtocolError("not-yours", sentence)
        if kept.retracted:
            raise taken_back()
        self.hub.post(self.peer, to, text, label, once, kind, kept.id, kept.entry.blocked)

    def looked_up(self, request: LookUp, kept: Kept | None) -> None:
        """Answer :class:`~pychat.requests.LookUp`."""
        try:
            request.then(kept)
        except RemoteProtocolError as error:
            self.failed(error, request.label)

    # -- about rooms

    def _do_topic(self, line: Line, label: bytes) -> Again | None:
        name, _, text = line.text.strip(b" ").partition(b" ")
        called, once = decode_name(name), once_of(line)
        clears = b"clear" in line.attributes
        if not text and not clears:
            room = self.find_room(called)
            if self.peer.posted != self.peer.settled and self.peer.early is None:
                self.peer.holding = True
                return Again()  # it may be about to change
            self.peer.answer(room.topic_line(label, manner=self.peer.manner))
            return None
        to = self._room(called, once)
        check_text(text)
        if text and clears:
            raise RemoteProtocolError("bad-attribute", f"<topic clear>{called} takes no text.")
        if len(text) > TOPIC_LIMIT:
            raise RemoteProtocolError("bad-text", f"A topic is at most {TOPIC_LIMIT} bytes long. Shorten it.")
        self.hub.post(self.peer, to, text, label, once, Kind.TOPIC)
        return None

    # -- fleeting

    def _do_typing(self, line: Line, label: bytes) -> None:
        called = decode_name(line.text)
        self.hub.typing(self.peer, self.find_room(called) if is_room(called) else self.find_person(called))
        self.peer.answer(b"<done%s>\n" % label)

    def _do_away(self, line: Line, label: bytes) -> None:
        check_text(line.text)
        text = line.text.strip(b" \t")
        if not text and not self.person.absent:
            self.peer.answer(b"<done%s>You are not away. Type <away>text to say that you are.\n" % label)
            return
        self.hub.absent(self.peer, text)
        back = b"Others are told that you are away. Type <away> when you are back."
        self.peer.answer(b"<done%s>%s\n" % (label, back if text else b"You are not away any more."))

    # -- how far one is

    def _do_ack(self, line: Line, label: bytes) -> None:
        self.hub.ack(self.peer, id_of(line))

    def _do_read(self, line: Line, label: bytes) -> None:
        id, where = id_of(line), name_in(line, b"in")
        if where is None:
            self.hub.read(self.peer, id)
        elif is_room(where):
            self.hub.read_room(self.peer, self.find_room(where), id)
        else:
            raise RemoteProtocolError(
                "bad-attribute", "in= names a room. Without it all up to this message is read."
            )


def _said(kept: Kept | None) -> Kept:
    """What something is said about: a message.

    :raise RemoteProtocolError: ``no-such-message``.
    """
    if kept is None or kept.entry.kind != Kind.SAID:
        raise no_such_message()
    return kept
