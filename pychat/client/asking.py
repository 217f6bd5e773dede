"""What can be asked of a daemon, and what comes of it: one method a command.

It stands on :meth:`Asking.command` alone, which a connection provides.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail

from ..errors import LocalProtocolError, RemoteProtocolError
from ..grammar import Line, encode_lines
from .answers import (
    Answer,
    Joined,
    Listing,
    Page,
    Recipient,
    User,
    decode,
    read_id,
    read_joined,
    read_listing,
    read_more,
    read_page,
    read_recipients,
    read_users,
)
from .offers import Offer, read_asked_offer, write_ranges

SEVERAL_LINES = frozenset((b"set_msg", b"set_msg_all", b"edit"))
"""The verbs whose texts may hold LF."""

PEOPLE_LIMIT = 100_000
"""People in one list, over all pages of it; what is over fails."""


class Asking:
    """The commands of the line protocol.

    Each Deferred fails as that of :meth:`command` does.

    :ivar caps: what the daemon granted to ``<hello>``.
    """

    caps: frozenset[str] = frozenset()

    def command(
        self, verb: str, text: str | bytes = b"", /, **attributes: str | bytes | None
    ) -> Deferred[Answer]:
        """Send a command and wait for the whole of its answer."""
        raise NotImplementedError

    def send(self, line: bytes) -> None:
        """Send a line, without its line end, as it is."""
        raise NotImplementedError

    def hello(self, caps: Sequence[str] = ("ack",)) -> Deferred[Answer]:
        """Opt into more than a person with ``nc`` gets; before :meth:`join`."""
        return self.command("hello", caps=",".join(caps) or None)

    def join(
        self, name: str, resume: str | None = None, after: int | None = None, open: int | None = None
    ) -> Deferred[Joined]:
        """Join the chat, or come back to it.

        :param resume: the newest token that a :class:`~pychat.client.answers.Joined` had.  The new one has to be kept
            in the callback itself: when that returns the connection goes on to speak, and the old one is void.
        :param after: the highest id that was taken care of, of a ``<msg>`` or of an ``<accepted>`` of our own.
        :param open: the id of our oldest private message whose fate is not known.
        """
        return self.command(
            "connect",
            name,
            resume=resume,
            after=None if after is None else str(after),
            open=None if open is None else str(open),
        ).addCallback(read_joined)

    def post(self, said: Line, once: str | None = None) -> Deferred[Answer]:
        """Say something that is answered by ``<accepted>``; its text may hold LF, which are encoded.

        :return: fails with ``LocalProtocolError`` ``no-multiline`` also if the daemon does not know how to decode them.
        """
        sent = encoded(said)
        if b"enc" in sent.attributes and "multiline" not in self.caps:
            return fail(
                LocalProtocolError("no-multiline", "This chat takes one line at a time: send each by itself.")
            )
        attributes = {key.decode(): value for key, value in sent.attributes.items()}
        return self.command(sent.verb.decode(), sent.text, once=once, **attributes)

    def say(
        self, to: str, text: str | bytes, once: str | None = None, reply: int | str | None = None
    ) -> Deferred[str]:
        """Send a message to one person, or to a room of ours, ``#tea``; fires with its id when it is accepted.

        :param reply: the id of the message that it answers.
        """
        return self.post(message(to, text, reply), once).addCallback(read_id)

    def say_all(
        self, text: str | bytes, once: str | None = None, reply: int | str | None = None
    ) -> Deferred[str]:
        """Send a message to everybody; fires with its id when it is accepted."""
        return self.post(message(None, text, reply), once).addCallback(read_id)

    def edit(self, id: int | str, text: str | bytes, once: str | None = None) -> Deferred[str]:
        """Give a message of ours another text; fires with the id of the edit."""
        return self.post(about("edit", id, text), once).addCallback(read_id)

    def retract(self, id: int | str, once: str | None = None) -> Deferred[str]:
        """Take a message of ours back; fires with the id under which the others are told."""
        return self.post(about("retract", id), once).addCallback(read_id)

    def react(self, id: int | str, reaction: str = "", once: str | None = None) -> Deferred[str]:
        """React to a message, or take that back, without a reaction; fires with the id under which it is told."""
        return self.post(about("react", id, reaction), once).addCallback(read_id)

    def join_room(self, room: str) -> Deferred[Answer]:
        """Become a member of a room, ``#tea``; the first one makes it."""
        return self.command("join", room)

    def leave_room(self, room: str) -> Deferred[Answer]:
        """Be a member of a room no more."""
        return self.command("leave", room)

    def history(
        self,
        place: str,
        limit: int | None = None,
        before: int | str | None = None,
        after: int | str | None = None,
    ) -> Deferred[Page]:
        """What was said with one person, in a room of ours, or to everybody (``all``), oldest first.

        :param limit: of messages; the daemon's own without it.
        :param before: messages with lower ids, the newest of them; `after`: with higher ids, the oldest of them.
        """
        return self.command(
            "history", place, limit=_word(limit), before=_word(before), after=_word(after)
        ).addCallback(read_page)

    def search(
        self,
        words: str,
        place: str | None = None,
        sender: str | None = None,
        limit: int | None = None,
        more: int | str | None = None,
    ) -> Deferred[Page]:
        """The messages that hold these words, newest first.

        :param place: only there; `sender`: only hers.
        :param more: what :attr:`Page.more` gave, to go on.
        """
        return self.command(
            "search", words, limit=_word(limit), more=_word(more), **{"in": place, "from": sender}
        ).addCallback(read_page)

    def read(self, id: int | str) -> None:
        """Say that a person has read everything up to and including this message; it is acknowledged by that.

        :raise LinkError: the connection has ended.
        """
        self.send(b"<read>%d" % int(id))

    def receipts(self, id: int | str) -> Deferred[list[Recipient]]:
        """Who has a message of ours."""
        return self.command("receipts", str(id)).addCallback(read_recipients)

    def users(self, room: str = "") -> Deferred[list[str]]:
        """The names of those who are here, or away; or of the members of a room of ours."""
        return self.people(room).addCallback(lambda people: [user.name for user in people])

    def people(self, room: str = "") -> Deferred[list[User]]:
        """Those who are here, or away, or the members of a room of ours: all of them, however many pages that takes."""
        return Deferred.fromCoroutine(self._people(room))

    async def _people(self, room: str) -> list[User]:
        people: list[User] = []
        answer = await self.command("get_users", room)
        while (more := next_people(answer, len(people))) is not None:
            people += read_users(answer)
            answer = await self.command("get_users", room, more=more)
        return people + read_users(answer)

    def files(self) -> Deferred[Listing]:
        """What is on the shelf."""
        return self.command("listfiles").addCallback(read_listing)

    def offer(
        self, name: str, version: str | None = None, have: Sequence[tuple[int, int]] = ()
    ) -> Deferred[Offer]:
        """Ask for a file, after :meth:`hello`; :mod:`pychat.client.fetch` takes it from there.

        :param version: of which the bytes in the ranges `have` are here already.
        """
        ranges = write_ranges(have)
        return self.command(
            "download", name, have=ranges, version=version if ranges is not None else None
        ).addCallback(read_asked_offer, name)

    def upload(self, name: str, size: int, version: str) -> Deferred[Offer]:
        """Ask for room for a file of ours.

        :param version: 16 hexadecimal digits or more that say which file it is, and that nobody can guess: who knows
            them may go on where an upload of it stopped.
        """
        return self.command("upload", name, size=str(size), version=version).addCallback(
            read_asked_offer, name, True
        )

    def ping(self, text: str = "") -> Deferred[str]:
        """Fires with the text once the daemon has answered all lines before."""
        return self.command("ping", text).addCallback(lambda answer: decode(answer.line.text))


def next_people(answer: Answer, before: int) -> str | None:
    """With which ``more=`` to ask for those who follow a page of people; ``None``: that was the last.

    :param before: how many there were on the pages before.
    :raise RemoteProtocolError: ``bad-answer``: it does not end.
    """
    more = read_more(answer)
    if more is not None and (not answer.items or before + len(answer.items) > PEOPLE_LIMIT):
        raise RemoteProtocolError("bad-answer", "The daemon's list of people does not end.")
    return more


def to_bytes(text: str | bytes) -> bytes:
    """Text as it goes over the wire."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def message(to: str | None, text: str | bytes, reply: int | str | None = None) -> Line:
    """The line that says something to one person, to a room, or to everybody (``None``).

    :raise LocalProtocolError: ``bad-name``.
    """
    attributes = {} if reply is None else {b"reply": str(reply).encode()}
    if to is None:
        return Line(b"set_msg_all", attributes, to_bytes(text))
    try:
        return Line(b"set_msg", attributes, to.encode() + b" " + to_bytes(text))
    except UnicodeEncodeError:
        raise LocalProtocolError("bad-name", "A name is UTF-8 text.") from None


def about(verb: str, id: int | str, text: str | bytes = b"") -> Line:
    """The line that says something of a message."""
    said = to_bytes(text)
    return Line(verb.encode(), {}, str(id).encode() + (b" " + said if said else b""))


def encoded(said: Line) -> Line:
    """The line as it is sent: LF in its text are encoded, where that may be."""
    if b"\n" not in said.text or said.verb not in SEVERAL_LINES:
        return said
    whole = said.text.replace(b"\n", b"%0A") if b"enc" in said.attributes else encode_lines(said.text)
    return Line(said.verb, {**said.attributes, b"enc": b"pct"}, whole)


def _word(value: int | str | None) -> str | None:
    return None if value is None else str(value)
