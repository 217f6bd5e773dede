"""``pychat get``: files from the shelf, for scripts, and for people who want a file and no chat.  It needs no name."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError

from .. import sidecar
from ..address import format_host_port
from ..claim import SUFFIX
from ..errors import TransferError
from ..part import read_part
from .answers import Refused
from .compare import Compare, exists
from .connection import Client
from .errand import Errand
from .fetch import Fetch
from .haul import Command, Haul, Manner, run_command
from .naming import safe_name
from .offers import Offer, covered
from .program import FAILED, OK, complain
from .progress import Total, Transfer
from .render import visible
from .terminal import Screen
from .wanted import choose, is_pattern
from .wording import not_listed

NAMED = 50
"""Files that the line which goes on names one by one, if it has to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Manner):
    """Files to get.

    :ivar names: of files, and patterns.
    :ivar output: the file to make, or a folder; ``None`` for the current folder.
    """

    names: tuple[str, ...]
    output: str | None = None

    @property
    def single(self) -> bool:
        """Whether it is one file for certain."""
        return len(self.names) == 1 and not is_pattern(self.names[0])


class Getting(Command):
    """One ``pychat get``."""

    def __init__(self, reactor: Any, order: Order, screen: Screen) -> None:
        super().__init__(order, screen)
        self._reactor = reactor
        self._order = order
        self._total = Total(1)
        self._haul = Haul(reactor, order, screen, total=self._total)
        self._paths: dict[str, str] = {}

    def _wanted(self) -> Iterable[str]:
        return self._order.names

    async def _move(self) -> int:
        order, haul = self._order, self._haul
        if order.single:
            self._place(order.names)  # what is wrong here needs no connection
            if haul.failed:
                return FAILED
        elif order.output is not None and not os.path.isdir(order.output):
            raise TransferError(
                "no-folder",
                f"{order.output} is not a folder, and there are several files: name one with -o."
                if os.path.lexists(order.output)
                else f"There is no folder {order.output} for the files. Make it first.",
            )
        try:
            await haul.open()
            began = self._reactor.seconds()
            if not order.single:
                self._place(await self._choose())
            self._total.files = max(self._total.files, len(self._paths))
            await haul.carry(list(self._paths), self._errand)
            haul.sum_up(self._reactor.seconds() - began)
        except CancelledError:
            self._tell_how_to_go_on()
            raise
        finally:
            await haul.close()
        return FAILED if haul.failed else OK

    async def _choose(self) -> Sequence[str]:
        order = self._order
        if not any(map(is_pattern, order.names)):
            names = list(dict.fromkeys(order.names))
            self._total.files = len(names)
            return names
        listing = await (await self._haul.client()).files()
        names, wrong = choose(order.names, listing)
        self._total.files = len(names) + len(wrong)
        sizes = {file.name: file.size for file in listing.files}
        if all(name in sizes for name in names):
            self._total.size = sum(sizes[name] for name in names)
        if listing.left_out:
            complain(f"{not_listed(listing.left_out)}: a pattern does not find what is not.")
        where = self._where
        for name, error in wrong:
            self._haul.refuse(
                name,
                TransferError(error.code, f"{error.sentence} To see what there is: pychat files {where}"),
            )
        return names

    def _place(self, names: Sequence[str]) -> None:
        """Decide where each file goes; the others are refused."""
        taken: dict[str, str] = {}
        for name in names:
            path = self._path(name)
            key = os.path.normcase(os.path.abspath(path))
            folder = os.path.dirname(path) or "."
            if key in taken:
                self._haul.refuse(
                    name,
                    TransferError(
                        "exists", f"{path} is what {taken[key]} becomes: get this one by itself, with -o."
                    ),
                )
            elif not os.path.isdir(folder):
                self._haul.refuse(
                    name, TransferError("no-folder", f"There is no folder {folder}. Make it first.")
                )
            elif os.path.lexists(path) and (error := self._in_the_way(path)) is not None:
                self._haul.refuse(name, error)
            elif self._is_trace(path):
                self._haul.refuse(
                    name,
                    TransferError("exists", f"{path} is where the trace goes: name another file for it."),
                )
            else:
                taken[key] = name
                self._paths[name] = path

    def _in_the_way(self, path: str) -> TransferError | None:
        """Why what has this name already, if that is so, is neither compared nor replaced."""
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except OSError:  # a link to nothing
            return None if self._order.force else exists(path)
        if not regular:
            return TransferError(
                "not-a-file", f"{path} is not a regular file, and is not replaced. Say -o with another name."
            )
        return None

    def _is_trace(self, path: str) -> bool:
        trace = self._order.trace
        if trace is None:
            return False
        names = (path, path + SUFFIX, path + SUFFIX + sidecar.SUFFIX)
        return os.path.realpath(trace) in map(os.path.realpath, names)

    def _path(self, name: str) -> str:
        """The file that is made."""
        output = self._order.output
        if output is None:
            return safe_name(name)
        return os.path.join(output, safe_name(name)) if os.path.isdir(output) else output

    def _errand(self, name: str, transfer: Transfer) -> Errand:
        path = self._paths[name]
        if not self._order.force and os.path.lexists(path):
            return _Look(
                self._reactor,
                self._haul,
                name,
                transfer,
                self._haul.run_in_thread,
                path=path,
                where=self._where,
                trace=self._haul.trace,
            )
        return _Get(
            self._reactor,
            self._haul,
            name,
            transfer,
            self._haul.run_in_thread,
            path=path,
            overwrite=self._order.force,
            where=self._where,
            measures=self._screen.has_bar,
            trace=self._haul.trace,
        )

    @property
    def _where(self) -> str:
        return format_host_port(self._order.host, self._order.port)

    def _tell_how_to_go_on(self) -> None:
        """Ctrl-C: what is there of the files, and the line that goes on."""
        done = {carried.name for carried in self._haul.carried}
        left = [(name, path) for name, path in self._paths.items() if name not in done]
        begun = [held for _, path in left if (held := read_part(path)) is not None and held.ranges]
        if not begun:
            return
        order = self._order
        names: Sequence[str] = order.names
        if order.force and done and len(left) <= NAMED:
            names = [name for name, _ in left]  # what is here would be fetched again
        dashed = any(name.startswith("-") for name in names)
        words = ["pychat", "get", self._where, *([] if dashed else names)]
        if order.output is not None:
            words += ["-o", order.output]
        if order.force:
            words.append("--force")
        if dashed:
            words += ["--", *names]
        if len(begun) == 1 and len(left) == 1:
            share = 100 * covered(list(begun[0].ranges)) // max(begun[0].size, 1)
            what = f"{share} % of {left[0][0]} is here"
        else:
            what = f"{len(done)} of {len(self._paths)} files are here, and a part of {len(begun)} more"
        self._haul.say(f"{what}. To go on: {shlex.join(words)}")


class _Told(Errand):
    """Says where to look for what there is."""

    def __init__(self, *arguments: Any, where: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._where = where

    async def _ask(self, client: Client) -> Offer:
        try:
            return await super()._ask(client)
        except Refused as error:
            if error.code != "no-such-file":
                raise
            raise TransferError(
                error.code,
                f"There is no file {visible(self.name)} there. To see what there is: pychat files {self._where}",
            ) from None


class _Get(_Told, Fetch):
    """Fetches."""


class _Look(_Told, Compare):
    """Sees whether it is here."""


def run_get(order: Order) -> int:
    """Run ``pychat get``."""
    return run_command(order, lambda reactor, screen: Getting(reactor, order, screen))
