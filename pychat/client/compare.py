"""A file that is here already: whether it is what the shelf has.

The digests of its pieces are asked for, and nothing else of it comes: to the daemon it is a file of which all is here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..errors import PychatError, TransferError
from ..hashing import Hashes
from ..receiving import Receiving
from ..transfer.packet import FROM_CLIENT, Buffer
from ..transfer.path import ClientPath
from ..transfer.ranges import RangeSet
from ..transfer.receiver import Receiver
from ..transfer.terms import Done, Failed, Outcome, Terms
from ..turns import Carrier, Turns
from ..vocabulary import ANY_VERSION
from .connection import Client
from .errand import Errand
from .offers import Offer

CHECK_BYTES = 8 * 1024 * 1024

DIFFERS = "cancelled"
"""Why a comparison ends that found a difference."""


class Whole:
    """A file that is only read: a `pychat.receiving.Part` to which nothing is to be added.

    Its methods block, and are called in threads.
    """

    def __init__(self, path: str) -> None:
        """
        :raise TransferError: ``cannot-read``.
        """
        self.path = path
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise _cannot_read(path, error) from error
        self.size = os.fstat(self._file.fileno()).st_size
        self._hashes = Hashes(self.size, True, self._read)
        everything = RangeSet()
        if self.size:
            everything.add(0, self.size)
        self._hashes.resume(everything)

    @property
    def behind(self) -> bool:
        """Whether `check` has something to do."""
        return self._hashes.behind

    def write(self, writes: Sequence[tuple[int, Sequence[Buffer]]]) -> Any:
        """Nothing is written."""
        raise _different(self.path)

    def check(self) -> list[tuple[int, bytes]]:
        """Some of its pieces, with the SHA-256 of each."""
        return self._hashes.check(CHECK_BYTES)

    def finish(self, root: bytes) -> bytes:
        """
        :param root: the SHA-256 of the digests of all pieces, on the shelf.
        :return: the SHA-256 of the file.
        """
        self._hashes.check(self.size + 1)
        if self._hashes.root() != root:
            raise _different(self.path)
        self._hashes.follow(self.size)
        return self._hashes.whole()

    def close(self) -> None:
        """It is not needed any more."""
        self._file.close()

    def _read(self, length: int, offset: int) -> bytes:
        try:
            self._file.seek(offset)
            data = self._file.read(length)
        except OSError as error:
            raise _cannot_read(self.path, error) from error
        if not data:
            raise _different(self.path)
        return data


class _Comparing(Receiver):
    """Wants no byte of the file."""

    def _again(self, index: int) -> None:
        self.fail(DIFFERS, "What is here already is something else.")


class Compare(Errand):
    """A file of the shelf that may be here already.

    It is carried, with all of it resumed, if it is; and fails with ``exists`` if what is here is something else.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """The parameters are those of `Errand`; ``path`` is that of a regular file."""
        super().__init__(*arguments, **settings)
        self._whole: Whole | None = None
        self._receiving: Receiving | None = None

    async def _ask(self, client: Client) -> Offer:
        whole = await self._run(Whole, self.path)
        size = whole.size
        await self._run(whole.close)
        ranges = [(0, size)] if size else []
        offer = await client.offer(self.name, ANY_VERSION, ranges)
        if offer.terms.size != size or offer.resumed != bool(size):
            # It need not be sent.
            client.command("cancel", offer.terms.transfer.hex()).addErrback(
                lambda failure: failure.trap(PychatError)
            )
            raise exists(self.path)
        return offer

    async def _open(self, offer: Offer) -> int:
        self._whole = whole = await self._run(Whole, self.path)
        if whole.size != offer.terms.size:
            raise exists(self.path)
        self._size = offer.terms.size
        return self._size

    def _make(self, terms: Terms, path: ClientPath, carrier: Carrier, reliable: bool) -> Turns:
        assert self._whole is not None
        receiver = _Comparing(
            terms,
            path,
            sends=FROM_CLIENT,
            now=self._seconds(),
            have=[(0, self._size)] if self._size else [],
            rtt=self._known_rtt,
        )
        self._receiving = Receiving(
            receiver,
            self._whole,
            carrier,
            reactor=self._reactor,
            run_in_thread=self._run,
            seconds=self._seconds,
        )
        return self._receiving

    def _measure(self) -> tuple[int, float, int]:
        assert self._receiving is not None
        receiver = self._receiving.receiver
        return 0, receiver.rtt if receiver.round_trip.latest is not None else 0.0, 1

    async def _again(self, outcome: Failed, client: Client) -> None:
        if outcome.code == DIFFERS and not outcome.remote:
            raise exists(self.path)
        await super()._again(outcome, client)

    async def _close(self, outcome: Outcome | None) -> None:
        whole, self._whole = self._whole, None
        if whole is not None:
            await self._run(whole.close)
        if isinstance(outcome, Done) and self._receiving is not None:
            self._sha256 = self._receiving.sha256.hex()

    async def _finish(self) -> None:
        self._link.say(f"{self.name} is there already, and all of it is as on the shelf")


def exists(path: str) -> TransferError:
    """Something else has the name."""
    return TransferError(
        "exists",
        f"{path} exists already, and is not the file that the shelf has. Say --force to replace it, or -o with another"
        " name.",
    )


def _different(path: str) -> TransferError:
    return TransferError(DIFFERS, f"{path} is something else.")


def _cannot_read(path: str, error: OSError) -> TransferError:
    return TransferError("cannot-read", f"{path} exists already, and cannot be read: {error.strerror}.")
