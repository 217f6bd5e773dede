"""What concerns files: the shelf, offers, and transfers that are under way."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from .conversation import Conversation, ranges_of, render_ranges
from .errors import RemoteProtocolError
from .grammar import Line
from .requests import ListFiles, ListTransfers, OpenFile, Steer, Stream, TakeFile
from .transfer.terms import MAX_SIZE, TOKEN_BYTES, TRANSFER_BYTES
from .vocabulary import ListedFile, Offer, Ticket, Underway

_SIZE = re.compile(rb"[0-9]{1,19}")
_VERSION = re.compile(rb"[0-9a-f]{16,64}")
_OTHER_VERSION = re.compile(rb"[!-~]{1,64}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){1,64}")
_BEGINNING = re.compile(r"[0-9a-fA-F]{4,16}")

_TOLD, _SHOWN = 8, 60
"""Of transfers that may be meant so many are told, and so many characters of the name of each."""

NAME_LIMIT = 1024
"""Bytes in the longest name of a file that is repeated to a plain client."""

NO_UPLOADS = "Files cannot be uploaded from here. Ask whoever runs the server: --uploads everyone lets you."


class Sharing(Conversation):
    """The commands that are about files."""

    __slots__ = ()

    # -- the shelf

    def _do_listfiles(self, line: Line, label: bytes) -> ListFiles:
        return ListFiles(label)

    def listed(self, files: Iterable[ListedFile], left_out: int, label: bytes) -> None:
        """Answer :class:`ListFiles`; ``left_out`` counts files that are there and not listed for their number."""
        lines = [b"<file%s size=%d>%s\n" % (label, file.size, file.name.encode()) for file in files]
        more = b" left_out=%d" % left_out if left_out else b""
        lines.append(b"<files%s count=%d%s>\n" % (label, len(lines), more))
        self.peer.answer(b"".join(lines))

    def _do_download(self, line: Line, label: bytes) -> OpenFile:
        have, version = ranges_of(line, b"have"), line.attributes.get(b"version", b"")
        if version and not _OTHER_VERSION.fullmatch(version):
            raise RemoteProtocolError("bad-attribute", "version= is what <offer> had as version=.")
        return OpenFile(_name(line), label, self.peer.full, have, version.decode())

    def found(self, name: str, size: int, label: bytes) -> None:
        """Answer :class:`OpenFile` to a plain client: the line to type, and no key."""
        self.peer.answer(b"<get%s size=%d>%s\n" % (label, size, self._typed("get", name)))

    def _do_upload(self, line: Line, label: bytes) -> TakeFile | None:
        if not self.uploads:
            raise RemoteProtocolError("no-uploads", NO_UPLOADS)
        name = _name(line)
        if not self.peer.full:
            if not name.isprintable() or len(line.text) > NAME_LIMIT:
                raise RemoteProtocolError(
                    "bad-name",
                    f"The name of a file is printable UTF-8 text, at most {NAME_LIMIT} bytes long.",
                )
            self.peer.answer(b"<put%s>%s\n" % (label, self._typed("put", name)))
            return None
        size, version = line.attributes.get(b"size", b""), line.attributes.get(b"version", b"")
        if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
            raise RemoteProtocolError(
                "bad-attribute", "size= is the number of bytes of the file: <upload size=12>notes.txt"
            )
        if version and not _VERSION.fullmatch(version):
            raise RemoteProtocolError(
                "bad-attribute", "version= is 16 to 64 of 0-9 a-f that nobody can guess: keep them to resume."
            )
        return TakeFile(name, int(size), version.decode(), label)

    def _typed(self, verb: str, name: str) -> bytes:
        """The line to type into a shell."""
        words = ["pychat", verb, self.here, *(["--"] if name.startswith("-") else []), name]
        return shlex.join(words).encode()

    # -- offers

    def offered(self, offer: Offer, label: bytes) -> None:
        """Answer :class:`OpenFile` or :class:`TakeFile`: everything that is needed to have the file on its way."""
        terms = offer.terms
        port = b" port=%d" % offer.port if offer.port is not None else b""
        more = b""
        if offer.up:
            more = b" direction=up"
            if offer.have:
                more += b" have=" + render_ranges(offer.have)
        if offer.resumed:
            more += b" resumed=yes"
        if offer.tcp:
            more += b" tcp=yes"
        if offer.path:
            more += b" path=" + offer.path.hex().encode()
        self.peer.answer(
            b"<offer%s size=%d version=%s%s%s transfer=%s token=%s key=%s%s>%s\n"
            % (
                label, terms.size, offer.version.encode(), _host(offer.host), port, terms.transfer.hex().encode(),
                terms.token.hex().encode(), terms.key.hex().encode(), more, offer.name.encode(),
            )
        )  # fmt: skip

    def ticket(self, ticket: Ticket) -> None:
        """Answer :class:`~pychat.requests.ProvePath`: how the client proves its UDP address, if it wants to."""
        terms = ticket.terms
        self.peer.answer(
            b"<path%s port=%d transfer=%s token=%s key=%s>\n"
            % (
                _host(ticket.host), ticket.port, terms.transfer.hex().encode(), terms.token.hex().encode(),
                terms.key.hex().encode(),
            )
        )  # fmt: skip

    def _do_stream(self, line: Line, label: bytes) -> Stream:
        if self.said > 1:
            raise RemoteProtocolError(
                "already-connected", "<stream> is the first line of a connection of its own."
            )
        transfer = _unhex(line.attributes.get(b"transfer", b""), TRANSFER_BYTES)
        token = _unhex(line.attributes.get(b"token", b""), TOKEN_BYTES)
        return Stream(transfer, token if transfer else b"", label)

    def streaming(self, label: bytes) -> None:
        """Answer :class:`Stream`: from here on this connection carries frames."""
        self.peer.answer(b"<stream%s>\n" % label)
        self.closing = True

    # -- transfers under way

    def _do_transfers(self, line: Line, label: bytes) -> ListTransfers:
        return ListTransfers(label)

    def transfers(self, underway: Sequence[Underway], label: bytes) -> None:
        """Answer :class:`ListTransfers`."""
        lines = [
            b"<transfer%s id=%s size=%d done=%d state=%s direction=%s>%s\n"
            % (
                label, each.transfer.hex().encode(), each.size, each.done, each.state.encode(),
                b"up" if each.up else b"down", each.name.encode(),
            )
            for each in underway
        ]  # fmt: skip
        lines.append(b"<transfers%s count=%d>\n" % (label, len(lines)))
        self.peer.answer(b"".join(lines))

    def _do_pause(self, line: Line, label: bytes) -> Steer:
        return _steer(line, label)

    def _do_continue(self, line: Line, label: bytes) -> Steer:
        return _steer(line, label)

    def _do_cancel(self, line: Line, label: bytes) -> Steer:
        return _steer(line, label)

    def steered(self, steer: Steer, transfer: bytes, name: str) -> None:
        """Answer :class:`Steer`: it was this one."""
        sentence = {
            "pause": f"{name} rests. Type <continue>{transfer.hex()} to go on.",
            "continue": f"{name} goes on.",
            "cancel": f"{name} is cancelled.",
        }[steer.how]
        self.peer.answer(b"<done%s>%s\n" % (steer.label, sentence.encode()))


def _name(line: Line) -> str:
    """A file's name: what is not UTF-8 is the name of nothing."""
    try:
        return line.text.strip(b" ").decode()
    except UnicodeDecodeError:
        return ""


def _host(host: str | None) -> bytes:
    return b" host=" + host.encode() if host else b""


def _unhex(value: bytes, length: int) -> bytes:
    """So many bytes that stand there in hexadecimal, or nothing."""
    return bytes.fromhex(value.decode()) if _HEX.fullmatch(value) and len(value) == 2 * length else b""


def _steer(line: Line, label: bytes) -> Steer:
    return Steer(_name(line), line.verb.decode(), label)


def pick(steer: Steer, transfers: Sequence[tuple[bytes, str]]) -> int:
    """Which of these, ids and names, is meant; the place of it.

    A whole id is nothing else, but the beginning of one may be a file's name as well.

    :raise RemoteProtocolError: ``no-such-transfer``; ``bad-argument``: it may be several.
    """
    begins = steer.which.lower() if _BEGINNING.fullmatch(steer.which) else None
    meant = []
    for place, (transfer, name) in enumerate(transfers):
        id = transfer.hex()
        if id == begins:
            return place
        if name == steer.which or (begins is not None and id.startswith(begins)):
            meant.append(place)
    if not meant:
        raise RemoteProtocolError(
            "no-such-transfer",
            f"You have no such transfer. Type <transfers> to see yours, then <{steer.how}>name or <{steer.how}>id",
        )
    if len(meant) > 1:
        several = [f"{transfers[place][0].hex()} ({_cut(transfers[place][1])})" for place in meant[:_TOLD]]
        if len(meant) > _TOLD:
            several.append(f"{len(meant) - _TOLD} more")
        raise RemoteProtocolError(
            "bad-argument", f"That may be {', '.join(several)}. Type <{steer.how}>id with one of these."
        )
    return meant[0]


def _cut(name: str) -> str:
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
