"""Uploads: between the sessions that ask for them, the threads that touch the disk, and the ports that they come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from .errors import PychatError, ShelfError
from .incoming import Incoming, IncomingPart
from .transfer.terms import Done, Outcome, Terms
from .uploads import Upload

_AS_ERRORS = {"disk-full": "no-space", "no-permission": "cannot-write", "cancelled": "going-away"}
"""What a part says, in the words of the chat line."""

REPLACED = "You go on with this upload on another connection."


class Offered(Protocol):
    """What a port answers to whoever has a file, or wants one, on its way."""

    @property
    def terms(self) -> Terms:
        """What the client has to know."""

    @property
    def path(self) -> bytes | None:
        """Id of the path whose proven address it uses."""


class Taker(Protocol):
    """A port to which files come."""

    def take(
        self,
        part: IncomingPart,
        name: str,
        size: int,
        owner: object,
        finished: Callable[[Outcome], object] | None = None,
        *,
        identity: str | None = None,
        have: Sequence[tuple[int, int]] = (),
    ) -> Offered:
        """Let a file come into an open part, from whoever gets the terms.

        :param finished: called once, with no write under way; the part is the caller's then.
        :raise TransferError: ``busy``; nothing was begun.
        """

    def cancel(self, transfer: bytes, code: str, sentence: str) -> bool:
        """End a transfer; say whether it was there."""


class Wish(NamedTuple):
    """Somebody wants to upload a file.

    :ivar version: the secret with which she may go on later.
    :ivar owner: her connection.
    :ivar identity: with whom it shares the daemon; ``None``: with nobody.
    :ivar counts_for: whose quota it uses up; the same after a restart.
    :ivar by: her name; empty if she has none.
    """

    name: str
    size: int
    version: str
    owner: object
    identity: str | None
    counts_for: str
    by: str


class _Coming:
    """One upload under way."""

    def __init__(self, wish: Wish, upload: Upload, part: IncomingPart, taker: Taker) -> None:
        self.wish = wish
        self.upload = upload
        self.part = part
        self.taker = taker
        self.transfer = b""
        self.keep = True
        self.ended = False
        self.waiting: list[Deferred[None]] = []


class Uploading:
    """Carries uploads out.

    :param everyone: whether all may upload; ``None``: who comes from this machine may.
    :param in_thread: ``deferToThread`` or its like.
    :param announce: told the name and the size of each file that has come, and by whom.
    """

    _log = Logger()

    def __init__(
        self,
        incoming: Incoming,
        in_thread: Callable[..., Deferred[Any]],
        announce: Callable[[str, int, str], object] = lambda name, size, by: None,
        everyone: bool | None = None,
    ) -> None:
        self._incoming = incoming
        self._in_thread = in_thread
        self._announce = announce
        self._everyone = everyone
        self._coming: dict[bytes, _Coming] = {}

    def allowed(self, remote: str) -> bool:
        """Whether somebody may upload.

        :param remote: her address; empty if she came by a way that has none, which does not leave this machine.
        """
        if self._everyone is not None:
            return self._everyone
        return not remote or _is_loopback(remote)

    async def begin(
        self, wish: Wish, taker: Taker, finished: Callable[[], object]
    ) -> tuple[Offered, Sequence[tuple[int, int]]]:
        """Let somebody upload a file, or go on with it: if it is still under way she takes it over.

        :param finished: called when it is not under way any more, unless this fails.
        :return: the offer, and what is there of the file.
        :raise PychatError: with a code of the chat line.
        """
        await self._take_over(wish)
        upload = await self._in_thread(
            self._incoming.begin, wish.name, wish.size, wish.version, wish.counts_for
        )
        coming = _Coming(wish, upload, self._incoming.part(upload), taker)
        try:
            have = await self._in_thread(coming.part.open)

            def over(outcome: Outcome) -> None:
                self._finished(coming, outcome)
                finished()

            offered = taker.take(
                coming.part, wish.name, wish.size, wish.owner, over, identity=wish.identity, have=have
            )
        except PychatError as error:
            await self._in_thread(self._leave, coming)
            code = _AS_ERRORS.get(error.code)
            raise (ShelfError(code, error.sentence) if code else error) from error
        except BaseException:
            await self._in_thread(self._leave, coming)
            raise
        coming.transfer = offered.terms.transfer
        if not coming.ended:
            self._coming[coming.transfer] = coming
        return offered, have

    async def _take_over(self, wish: Wish) -> None:
        """Who lost her connection comes back before we noticed: end what is left of the first try."""
        for coming in list(self._coming.values()):
            other = coming.wish
            if other[:3] == wish[:3]:
                coming.taker.cancel(coming.transfer, "cancelled", REPLACED)
                if not coming.ended:
                    again: Deferred[None] = Deferred()
                    coming.waiting.append(again)
                    await again

    def drop(self, transfer: bytes) -> None:
        """Somebody cancels an upload: nothing of it is to be kept."""
        coming = self._coming.get(transfer)
        if coming is not None:
            coming.keep = False

    def _finished(self, coming: _Coming, outcome: Outcome) -> None:
        wish = coming.wish
        if isinstance(outcome, Done):
            self._announce(wish.name, wish.size, wish.by)
        elif outcome.code in ("digest-mismatch", "exists"):
            coming.keep = False
        left = self._in_thread(self._leave, coming)
        left.addErrback(lambda failure: self._log.failure("cannot end an upload", failure))
        left.addCallback(lambda _: self._gone(coming))

    def _gone(self, coming: _Coming) -> None:
        self._coming.pop(coming.transfer, None)
        coming.ended = True
        for waiting in coming.waiting:
            waiting.callback(None)

    def _leave(self, coming: _Coming) -> None:
        """In a thread: let go of the part."""
        if coming.keep:
            coming.part.keep()
        else:
            coming.part.discard()
        self._incoming.end(coming.upload, keep=coming.keep)

    def sweep(self) -> Deferred[None]:
        """Remove what broke off too long ago."""
        done: Deferred[Any] = self._in_thread(self._incoming.sweep)
        done.addCallbacks(
            self._swept, lambda failure: self._log.failure("cannot look after the uploads", failure)
        )
        return done

    def _swept(self, removed: list[Upload]) -> None:
        for upload in removed:
            self._log.info(
                "removed what there was of the upload of {name!r}: it broke off too long ago",
                name=upload.name,
            )


@lru_cache(maxsize=256)  # a storm of logins asks for few addresses, again and again
def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
