"""A file on its way here.

It grows as ``PATH.part``, with a ``PATH.part.info`` that says what is there of which version, and gets its own name
when all of it was verified and synced: a wrong file never has the right name.  Whatever ends the way otherwise
leaves both, and the next one who fetches it to the same place goes on from there.
"""

from __future__ import annotations

from typing import Any

from ..part import PartFile, read_part
from ..receiving import Receiving
from ..transfer.packet import FROM_CLIENT
from ..transfer.path import ClientPath
from ..transfer.receiver import Receiver
from ..transfer.terms import Done, Failed, Outcome, Terms
from ..turns import Carrier, Turns
from .connection import Client
from .errand import CHANGED, Errand
from .offers import Offer, covered
from .progress import DATAGRAM

MEASURE_MS = 500
"""Milliseconds between two reports of the other end, if somebody watches."""

SELDOM_MS = 60_000
"""The same if nobody does: that it is asked tells whether what we say gets there."""

SPOILED = frozenset(("digest-mismatch", "source-changed"))
"""Reasons for which what is there already is worth nothing."""

UNWANTED = frozenset(("cancelled",))
"""The same, if the other end says so: somebody does not want the file any more."""


class Fetch(Errand):
    """A file that is fetched to a path."""

    def __init__(
        self,
        *arguments: Any,
        overwrite: bool = False,
        measures: bool = False,
        **settings: Any,
    ) -> None:
        """
        The other parameters are those of `Errand`.

        :param overwrite: replace what has that name now.
        :param measures: have the other end tell of round trips and losses, for somebody who watches.
        """
        super().__init__(*arguments, **settings)
        self._overwrite = overwrite
        self._measures = measures and self._trace is None  # which asks for more
        self._told = 0.0, 0, DATAGRAM  # of the attempt that runs: round trip, datagrams lost, bytes of one
        self._part: PartFile | None = None
        self._have: list[tuple[int, int]] = []
        self._receiving: Receiving | None = None

    async def _ask(self, client: Client) -> Offer:
        held = await self._run(read_part, self.path)
        if held is None or not held.ranges:
            return await client.offer(self.name)
        offer = await client.offer(self.name, held.version, list(held.ranges))
        if offer.version != held.version:
            self._link.say(f"{self.name}: {CHANGED}")
        return offer

    async def _open(self, offer: Offer) -> int:
        self._size = offer.terms.size
        self._part = PartFile(self.path, offer.terms.size, offer.version, overwrite=self._overwrite)
        self._have = await self._run(self._open_part, self._part, offer)
        return covered(self._have)

    @staticmethod
    def _open_part(part: PartFile, offer: Offer) -> list[tuple[int, int]]:
        # What the daemon takes for arrived is what we named, and that is what read_part gave.
        held = read_part(part.path) if offer.resumed else None
        return part.open(list(held.ranges) if held is not None else [])

    def _make(self, terms: Terms, path: ClientPath, carrier: Carrier, reliable: bool) -> Turns:
        assert self._part is not None
        receiver = Receiver(
            terms, path, sends=FROM_CLIENT, now=self._seconds(), have=self._have, rtt=self._known_rtt
        )
        self._receiving = Receiving(
            receiver,
            self._part,
            carrier,
            reactor=self._reactor,
            run_in_thread=self._run,
            seconds=self._seconds,
        )
        self._told = 0.0, 0, DATAGRAM
        receiver.ask_metrics(MEASURE_MS if self._measures else SELDOM_MS)
        return self._receiving

    def _is_heard(self) -> bool:
        assert self._receiving is not None
        return not self._receiving.receiver.asking

    def _measure(self) -> tuple[int, float, int]:
        assert self._receiving is not None
        receiver = self._receiving.receiver
        rtt, lost, size = self._told
        if self._measures:
            for _, metrics in receiver.take_metrics():
                rtt, lost, size = metrics.smoothed / 1e6, metrics.lost, metrics.datagram
        if receiver.round_trip.latest is not None and not rtt:
            rtt = receiver.rtt
        self._told = rtt, max(lost, receiver.counters.lost), size
        return self._told[1], rtt, size

    async def _close(self, outcome: Outcome | None) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        if isinstance(outcome, Done) and self._receiving is not None:
            self._sha256 = self._receiving.sha256.hex()
        spoiled = isinstance(outcome, Failed) and (
            outcome.code in SPOILED or (outcome.remote and outcome.code in UNWANTED)
        )
        spoiled = spoiled or not self.moved
        await self._run(part.discard if spoiled else part.keep)
