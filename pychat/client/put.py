"""``pychat put``: files of ours onto the shelf.  It joins the chat, so that the others are told from whom they are."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError

from ..address import format_host_port
from ..errors import PychatError, TransferError
from ..grammar import Line
from .answers import Refused
from .connection import Client
from .errand import Errand
from .haul import Command, Haul, Manner, run_command
from .offers import Offer
from .program import FAILED, OK
from .progress import Total, Transfer
from .render import show_message, visible
from .send import Send, check_name
from .terminal import Screen
from .visit import login_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel(Manner):
    """Files to put.

    :ivar paths: of the files here.
    :ivar label: what the file is called there; ``None``: as it is called here.
    :ivar name: of who sends them; ``None`` for the login name.
    """

    paths: tuple[str, ...]
    label: str | None = None
    name: str | None = None


ADVICE = {
    "exists": "Give it another name there, with --as NAME.",
    "in-use": "Wait for that upload, or end it.",
}
"""What to do about a refusal whose own sentence does not say it in the words of this program."""


class Putting(Command):
    """One ``pychat put``."""

    def __init__(self, reactor: Any, parcel: Parcel, screen: Screen) -> None:
        super().__init__(parcel, screen)
        self._reactor = reactor
        self._parcel = parcel
        self._total = Total(len(parcel.paths))
        name = parcel.name if parcel.name is not None else login_name()
        self._haul = Haul(
            reactor,
            parcel,
            screen,
            total=self._total,
            name=name or None,
            nameless=parcel.name is None,
            noticed=self._noticed,
        )
        self._paths: dict[str, str] = {}

    def _wanted(self) -> Iterable[str]:
        return self._paths

    async def _move(self) -> int:
        haul = self._haul
        self._place()
        if not self._paths:
            return FAILED
        try:
            try:
                await haul.open()
            except Refused as error:
                raise self._explained(error) from None
            began = self._reactor.seconds()
            await haul.carry(list(self._paths), self._errand)
            haul.sum_up(self._reactor.seconds() - began)
        except CancelledError:
            self._tell_how_to_go_on()
            raise
        finally:
            await haul.close()
        return FAILED if haul.failed else OK

    def _place(self) -> None:
        """Decide what each file is called there; what cannot be sent is refused."""
        sizes = 0
        for path in dict.fromkeys(self._parcel.paths):
            label = self._parcel.label
            name = label if label is not None else os.path.basename(os.path.abspath(path))
            if not os.path.lexists(path):
                self._haul.refuse(path, TransferError("no-such-file", f"There is no file {path} here."))
            elif name in self._paths:
                self._haul.refuse(
                    path,
                    TransferError(
                        "exists",
                        f"{self._paths[name]} has the same name: send this one by itself, with --as.",
                    ),
                )
            elif (error := _unfit(path, name, label is not None)) is not None:
                self._haul.refuse(path, error)
            else:
                self._paths[name] = path
                try:
                    sizes += os.stat(path).st_size
                except OSError:
                    pass  # whoever opens it says what is wrong
        self._total.size = sizes

    def _errand(self, name: str, transfer: Transfer) -> Errand:
        return _Put(
            self._reactor,
            self._haul,
            name,
            transfer,
            self._haul.run_in_thread,
            path=self._paths[name],
            trace=self._haul.trace,
        )

    def _explained(self, error: Refused) -> PychatError:
        if error.code == "name-taken":
            free = re.search(r"<connect>(\S+)", error.sentence)
            name = visible(free[1]) if free else "NAME"
            return TransferError(
                error.code,
                f"{visible(self._parcel.name or '')} is taken in the chat, where it is told who sends the file. Say"
                f" --name {name}, or another one.",
            )
        if error.code in ("bad-name", "name-reserved"):
            return TransferError(error.code, f"{error.sentence} Say --name with another name.")
        return error

    def _noticed(self, line: Line, raw: bytes) -> None:
        """Somebody may say something to us meanwhile."""
        if line.verb == b"msg":
            self._haul.say(show_message(line, raw))

    def _tell_how_to_go_on(self) -> None:
        parcel = self._parcel
        if self._total.done <= sum(carried.size for carried in self._haul.carried):
            return
        words = ["pychat", "put", format_host_port(parcel.host, parcel.port), *parcel.paths]
        if parcel.label is not None:
            words += ["--as", parcel.label]
        if parcel.name is not None:
            words += ["--name", parcel.name]
        self._haul.say(f"What was sent is kept there for a while. To go on: {shlex.join(words)}")


class _Put(Send):
    """Says what to do about a refusal."""

    async def _ask(self, client: Client) -> Offer:
        try:
            return await super()._ask(client)
        except Refused as error:
            if error.code not in ADVICE:
                raise
            sentence = visible(error.sentence)
            if error.code == "exists":
                sentence = f"The shelf has {visible(self.name)} already, and nothing is overwritten."
            raise TransferError(error.code, f"{sentence} {ADVICE[error.code]}") from None


def _unfit(path: str, name: str, named: bool) -> TransferError | None:
    """Why no file there can be called so, if none can.

    :param named: the name is that of ``--as``.
    """
    advice = "Say another one with --as." if named else "With --as NAME it gets another one there."
    try:
        check_name(path, name, advice)
    except TransferError as error:
        return error
    return None


def run_put(parcel: Parcel) -> int:
    """Run ``pychat put``."""
    return run_command(parcel, lambda reactor, screen: Putting(reactor, parcel, screen))
