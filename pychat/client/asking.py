"""What can be asked of a daemon, and what comes of it: one method a command.

It stands on :meth:`Asking.command` alone, which a connection provides.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from ..vocabulary import Offer
from .answers import (
    Answer,
    Joined,
    Listing,
    Recipient,
    User,
    decode,
    read_asked_offer,
    read_id,
    read_joined,
    read_listing,
    read_recipients,
    read_users,
)


class Asking:
    """The commands of the line protocol.

    Each Deferred fails as that of :meth:`command` does.
    """

    def command(
        self, verb: str, text: str | bytes = b"", **attributes: str | bytes | None
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

    def say(self, to: str, text: str | bytes, once: str | None = None) -> Deferred[str]:
        """Send a message to one person; fires with its id when it is accepted."""
        return self.command("set_msg", to.encode() + b" " + to_bytes(text), once=once).addCallback(read_id)

    def say_all(self, text: str | bytes, once: str | None = None) -> Deferred[str]:
        """Send a message to everybody; fires with its id when it is accepted."""
        return self.command("set_msg_all", text, once=once).addCallback(read_id)

    def read(self, id: int | str) -> None:
        """Say that a person has read everything up to and including this message; it is acknowledged by that.

        :raise LinkError: the connection has ended.
        """
        self.send(b"<read>%d" % int(id))

    def receipts(self, id: int | str) -> Deferred[list[Recipient]]:
        """Who has a message of ours."""
        return self.command("receipts", str(id)).addCallback(read_recipients)

    def users(self) -> Deferred[list[str]]:
        """The names of those who are here, or away."""
        return self.people().addCallback(lambda people: [user.name for user in people])

    def people(self) -> Deferred[list[User]]:
        """Those who are here, or away."""
        return self.command("get_users").addCallback(read_users)

    def files(self) -> Deferred[Listing]:
        """What is on the shelf."""
        return self.command("listfiles").addCallback(read_listing)

    def offer(self, name: str) -> Deferred[Offer]:
        """Ask for a file, after :meth:`hello`; :func:`pychat.client.fetch.fetch` takes it from there."""
        return self.command("download", name).addCallback(read_asked_offer, name)

    def ping(self, text: str = "") -> Deferred[str]:
        """Fires with the text once the daemon has answered all lines before."""
        return self.command("ping", text).addCallback(lambda answer: decode(answer.line.text))


def to_bytes(text: str | bytes) -> bytes:
    """Text as it goes over the wire."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
