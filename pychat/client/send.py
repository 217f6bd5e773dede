"""A file on its way to the daemon's shelf.

The daemon keeps what came of it when the way ends, and whoever knows the file's *version* may go on from there.  So
that is made of what tells this file from others and from itself at another time, and of a secret of this person
(`version_of`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ShelfError, TransferError
from ..sending import Sending
from ..shelf import ShelfFile, fault_of
from ..transfer.congestion import CONTROLLERS
from ..transfer.packet import DATAGRAM_BYTES, FROM_CLIENT, MAX_DATAGRAM_BYTES
from ..transfer.path import ClientPath
from ..transfer.sender import Sender
from ..transfer.terms import Outcome, Terms
from ..turns import Carrier, Turns
from .answers import Refused
from .connection import Client
from .errand import Errand
from .files import state_folder
from .offers import Offer, covered
from .results import Carried

ARRIVED = "arrived"
"""What the daemon says of a file of this version that it has, and that was verified."""

SECRET = "upload-secret"  # noqa: S105 - the name of a file
SECRET_BYTES = 32
READ_BYTES = 1024 * 1024

_SHOWN = 100
"""Characters of a name that cannot be given, in the sentence that says so."""


class Send(Errand):
    """A file that is sent."""

    up = True

    def __init__(
        self, *arguments: Any, congestion: str = "model", whole: bool = True, **settings: Any
    ) -> None:
        """
        The other parameters are those of `Errand`.

        :param congestion: one of `CONTROLLERS`.
        :param whole: compute its SHA-256.
        """
        super().__init__(*arguments, **settings)
        self._congestion = congestion
        self._whole = whole
        self._source: ShelfFile | None = None
        self._have: list[tuple[int, int]] = []
        self._sending: Sending | None = None

    async def _ask(self, client: Client) -> Offer:
        check_name(self.path, self.name)
        source, version = await self._run(open_source, self.path, self.name)
        self._drop()
        self._source, self._size = source, source.size
        return await client.upload(self.name, source.size, version)

    async def _open(self, offer: Offer) -> int:
        if self._source is None:
            self._source, _ = await self._run(open_source, self.path, self.name)
        if self._source.size != offer.terms.size:
            raise TransferError("source-changed", f"{self.path} has another size by now: send it again.")
        self._size = self._source.size
        self._have = list(offer.have)
        return covered(self._have)

    def _make(self, terms: Terms, path: ClientPath, carrier: Carrier, reliable: bool) -> Turns:
        assert self._source is not None
        sender = Sender(
            terms,
            path,
            sends=FROM_CLIENT,
            congestion=CONTROLLERS[self._congestion](DATAGRAM_BYTES),
            now=self._seconds(),
            random_bytes=os.urandom,
            have=self._have,
            max_datagram=getattr(carrier, "largest", MAX_DATAGRAM_BYTES),
            reliable=reliable,
        )
        # Sending closes it at the end; another attempt has another one.
        source, self._source = self._source, None
        self._sending = Sending(
            sender,
            source,
            carrier,
            reactor=self._reactor,
            run_in_thread=self._run,
            seconds=self._seconds,
        )
        return self._sending

    def _measure(self) -> tuple[int, float, int]:
        assert self._sending is not None
        sender = self._sending.sender
        return sender.lost, sender.rtt, sender.pushed_size

    async def _close(self, outcome: Outcome | None) -> None:
        self._drop()

    def _drop(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()

    async def run(self) -> Carried:
        began = self._seconds()
        try:
            return await super().run()
        except Refused as error:
            if error.code != ARRIVED:
                raise
            # The last word of an attempt before this one was lost, or it was another run of ours.
            if not self.moved:
                self._link.say(f"{self.name} is there already, and all of it is as here")
                self._resumed = self._size
                self._already = True
            await self._finish()
            return self._carried(self._seconds() - began)
        finally:
            self._drop()

    async def _finish(self) -> None:
        if self._whole:
            self._sha256 = await self._run(hash_file, self.path)


def check_name(
    path: str, name: str, advice: str = "With pychat put --as NAME it gets another name there."
) -> None:
    """See whether a file may be called so on a shelf, before anything is sent under another name.

    :param advice: what to do if it may not.
    :raise TransferError: ``bad-name``; ``not-a-file``, if no name helps.
    """
    fault = fault_of(name)
    if fault is None and not name.isprintable():
        fault = "has characters that cannot be printed"
    if fault is None:
        return
    if os.path.isdir(path):
        raise _not_readable(path, None)
    shown = repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}…"
    raise TransferError(
        "bad-name", f"A file on the shelf cannot be called {shown}: the name {fault}. {advice}"
    )


def open_source(path: str, name: str, secret: Callable[[], bytes] | None = None) -> tuple[ShelfFile, str]:
    """Open a file to be sent; and its version.  Blocks.

    :raises TransferError: ``no-such-file``, ``not-a-file``, ``no-permission``, ``read-failed``.
    """
    try:
        descriptor = os.open(
            path,
            os.O_RDONLY
            | getattr(os, "O_NONBLOCK", 0)
            | getattr(os, "O_BINARY", 0)
            | getattr(os, "O_CLOEXEC", 0),
        )
    except FileNotFoundError:
        raise TransferError("no-such-file", f"There is no file {path} here.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise _not_readable(path, error) from error
    except OSError as error:
        raise TransferError("read-failed", f"{path} cannot be read: {error.strerror}.") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _not_readable(path, None)
    try:
        return ShelfFile(name, descriptor), version_of(status, secret or own_secret)
    except ShelfError as error:
        raise TransferError(error.code, error.sentence) from error


def _not_readable(path: str, error: OSError | None) -> TransferError:
    if os.path.isdir(path):
        return TransferError(
            "not-a-file",
            f"{path} is a folder: name the files in it, or make one file of it, with zip or tar.",
        )
    if isinstance(error, PermissionError):
        return TransferError("no-permission", f"You may not read {path}.")
    return TransferError("not-a-file", f"{path} is not a regular file, so it cannot be sent.")


def version_of(status: os.stat_result, secret: Callable[[], bytes]) -> str:
    """What to call the content of a file: 32 hexadecimal digits that nobody else can guess."""
    facts = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
    return hashlib.blake2b(facts.encode(), key=secret(), digest_size=16).hexdigest()


def own_secret() -> bytes:
    """A secret of this person, the same in each run; if it cannot be kept, one of this call.  Blocks."""
    fresh = os.urandom(SECRET_BYTES)
    path: Path = state_folder() / SECRET
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Complete under its name, whoever else makes one at the same time.
        mine = path.with_name(f"{SECRET}.{os.getpid()}.{fresh[:4].hex()}")
        if not path.exists():
            descriptor = os.open(
                mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600
            )
            with os.fdopen(descriptor, "wb") as file:
                file.write(fresh)
            try:
                os.link(mine, path)
            except OSError:
                if not path.exists():
                    os.replace(mine, path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(mine)
        kept = path.read_bytes()
    except OSError:
        return fresh
    return kept if len(kept) == SECRET_BYTES else fresh


def hash_file(path: str) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits; empty if it cannot be read.  Blocks."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while data := file.read(READ_BYTES):
                digest.update(data)
    except OSError:
        return ""
    return digest.hexdigest()
