"""The daemon's side of file transfers: offers, and what becomes of them.

`TransferProtocol` makes an engine for each file that somebody may fetch or bring, and for each connection whose UDP
address is to be known beforehand.  The engines are driven by `Sending`, `Receiving` and `Turns`; this is about who may
have what.  A `Budget`, which several ports can share, says how many transfers there may be, and shares the daemon among
them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable
from hmac import compare_digest
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pychat.budget import SHARE_SECONDS, Budget
from pychat.deadline import Deadline
from pychat.digests import Digests
from pychat.errors import TransferError
from pychat.receiving import Part, Receiving
from pychat.sending import Sending, Source
from pychat.stream import STREAM, StreamCarrier, stream_terms
from pychat.switchboard import Switchboard
from pychat.trains import MAX_DATAGRAM_BYTES
from pychat.transfer.congestion import CONTROLLERS, DEFAULT_CONTROLLER
from pychat.transfer.endpoint import Endpoint
from pychat.transfer.packet import DATAGRAM_BYTES, FROM_DAEMON
from pychat.transfer.path import DaemonPath
from pychat.transfer.receiver import WINDOW_BYTES, Receiver
from pychat.transfer.sender import Sender
from pychat.transfer.terms import KEY_BYTES, TOKEN_BYTES, TRANSFER_BYTES, Done, Outcome, Terms
from pychat.turns import Turns
from pychat.udp import RunInThread, thread_runner
from pychat.underway import Known, Offered, Ranges, Running, Transfer, comes_from

GOING_AWAY = "The daemon is stopping: ask for the file again when it is back."
NO_SUCH_TRANSFER = "There is no such transfer, or it has begun already: ask for the file again."
WITHDRAWN = "The offer was taken back: ask for the file again."


class TransferProtocol(Switchboard):
    """Sends and takes files on one UDP port, or, without a port, over streams alone.

    :param reactor: makes timers and, unless `run_in_thread` is given, has the threads.
    :param budget: one of its own, unless several ports are to share one.
    :param run_in_thread: ``run(f, *args)`` gives a Deferred of ``f(*args)``; where files are read and written.
    :param random_bytes: gives so many unpredictable bytes.
    :param seconds: the monotonic clock.
    :param congestion: the name of the congestion controller of `CONTROLLERS`.
    :param max_datagram: bytes of the largest datagram to try.
    :param digests: where the digests of files are remembered; several ports can share one.
    """

    _log = Logger()
    going = ("going-away", GOING_AWAY)

    def __init__(
        self,
        reactor: Any,
        *,
        budget: Budget | None = None,
        run_in_thread: RunInThread | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        seconds: Callable[[], float] = time.monotonic,
        congestion: str = DEFAULT_CONTROLLER,
        max_datagram: int = MAX_DATAGRAM_BYTES,
        digests: Digests | None = None,
    ) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self._budget = budget or Budget(seconds=seconds)
        self._run = run_in_thread or thread_runner(reactor)
        self._random_bytes = random_bytes
        self._seconds = seconds
        self._controller = CONTROLLERS[congestion]
        self._max_datagram = max_datagram
        self._digests = Digests() if digests is None else digests
        self._transfers: dict[bytes, Transfer] = {}
        self._known: dict[Hashable, Known] = {}
        self._streams: dict[Turns, None] = {}
        self._sharing = Deadline(reactor, self._share)

    # Offers ---------------------------------------------------------------------------------------------------

    def offer(
        self,
        source: Source,
        owner: Hashable,
        finished: Callable[[Outcome], object] | None = None,
        *,
        identity: Hashable | None = None,
        have: Ranges = (),
    ) -> Offered:
        """Put a file on offer, for 30 s.  It is closed when the transfer is over.

        :param source: the opened file.  It stays the caller's when this raises.
        :param owner: the connection; opaque.
        :param finished: called once with how it ended.
        :param identity: whom it counts for; the owner, if that is not said.
        :param have: the ranges of bytes that the client has already.
        :raises TransferError: ``busy``: too many transfers; ``going-away``: the port is closing.
        """
        transfer, address = self._admit(source.name, source.size, False, owner, identity, finished, have)
        terms = transfer.terms

        def make(carrier: StreamCarrier | None = None) -> Sending:
            now = self._seconds()
            known = self._known.get(owner)
            rtt, rate = (None, None) if address is None or known is None else known.recall(now)
            version = getattr(source, "version", None)
            path = self._path(terms, owner, address if carrier is None else STREAM)
            sender = Sender(
                terms if carrier is None else stream_terms(terms),
                path,
                sends=FROM_DAEMON,
                congestion=self._controller(DATAGRAM_BYTES),
                now=now,
                random_bytes=self._random_bytes,
                max_window=self._budget.limits.window_each,
                have=have,
                digests=None if version is None else self._digests.get(version),
                max_datagram=MAX_DATAGRAM_BYTES if carrier else min(self._max_datagram, self.largest),
                reliable=carrier is not None,
                rtt=rtt,
                rate=rate,
            )
            return Sending(
                sender,
                source,
                carrier or self,
                reactor=self._reactor,
                run_in_thread=self._run,
                seconds=self._seconds,
                digests=self._digests,
                version=version,
            )

        self._begin(transfer, make)
        return Offered(terms, None if address is None else self._known[owner].turns.transfer)

    def take(
        self,
        part: Part,
        name: str,
        size: int,
        owner: Hashable,
        finished: Callable[[Outcome], object] | None = None,
        *,
        identity: Hashable | None = None,
        have: Ranges = (),
    ) -> Offered:
        """Let a file come in, within 30 s.

        :param part: opened, with `have` in it.  It is the caller's again when `finished` was called, or when this
            raises.
        :param name: what to call the file in the log.
        :param size: bytes that it will have.
        The other parameters and what is raised are those of `offer`.
        """
        transfer, address = self._admit(name, size, True, owner, identity, finished, have)
        terms = transfer.terms

        def make(carrier: StreamCarrier | None = None) -> Receiving:
            now = self._seconds()
            path = self._path(terms, owner, address if carrier is None else STREAM)
            window, rate = self._budget.first(transfer.identity)
            receiver = Receiver(
                terms if carrier is None else stream_terms(terms),
                path,
                sends=FROM_DAEMON,
                now=now,
                window=min(window, WINDOW_BYTES),
                have=have,
                max_rate=rate,
            )
            return Receiving(
                receiver,
                part,
                carrier or self,
                reactor=self._reactor,
                run_in_thread=self._run,
                seconds=self._seconds,
                name=name,
            )

        self._begin(transfer, make)
        return Offered(terms, None if address is None else self._known[owner].turns.transfer)

    def greet(self, owner: Hashable, identity: Hashable | None = None, host: str = "") -> Terms:
        """Let a client prove its address before it wants anything: a transfer of no file.

        It ends when the owner is withdrawn.

        :param host: the IP address that the owner's connection comes from: a greeting from there is proof enough.
        :raises TransferError: ``going-away``: the port is closing.
        """
        terms = self._make_terms(0)
        trusts = comes_from(host)
        path = DaemonPath(terms.token, self._random_bytes, trusts=trusts)
        engine = Endpoint(terms, path, sends=FROM_DAEMON, now=self._seconds())
        engine.patience = engine.idle = inf
        before = self._known.pop(owner, None)
        if before is not None:
            before.turns.fail("withdrawn", WITHDRAWN)
        turns = Turns(
            engine, self, reactor=self._reactor, run_in_thread=self._run, seconds=self._seconds, name="a path"
        )
        self._known[owner] = Known(turns, trusts)
        turns.heard = lambda: self._path_heard(turns, owner)
        turns.start()
        return terms

    def attach(self, transfer: bytes, token: bytes) -> StreamCarrier:
        """Have an offer claimed by a stream.

        :return: wants to be told of the connection.
        :raises TransferError: ``no-such-transfer``: there is none with that token, or it has begun already.
        """
        found = self._transfers.get(transfer)
        if (
            found is None
            or not compare_digest(token, found.terms.token)
            or found.streamed
            or found.over
            or found.turns.done_bytes > found.had
        ):
            raise TransferError("no-such-transfer", NO_SUCH_TRANSFER)
        found.streamed = True
        carrier = StreamCarrier()
        before = found.turns
        self._budget.ended(before.engine)
        found.claimed_at = None
        retired = before.retire()
        turns = self._make(found, carrier)
        if isinstance(turns, Receiving) and isinstance(before, Receiving):
            turns.inherit(before)
        self._streams[turns] = None
        carrier.begin = lambda: retired.addCallback(lambda _: self._start(found, turns))
        return carrier

    # What there is --------------------------------------------------------------------------------------------

    def transfers(self, owner: Hashable) -> list[Running]:
        """The transfers of an owner, oldest first."""
        return [
            Running(
                transfer.terms.transfer,
                transfer.name,
                transfer.terms.size,
                transfer.turns.done_bytes,
                self._state(transfer),
                "up" if transfer.up else "down",
            )
            for transfer in self._transfers.values()
            if transfer.owner == owner and not transfer.over
        ]

    def _state(self, transfer: Transfer) -> str:
        if transfer.turns.resting:
            return "paused"
        if transfer.claimed_at is None or self._budget.held(transfer.turns.engine):
            return "waiting"
        return "running"

    def pause(self, transfer: bytes, on: bool) -> bool:
        """Let a transfer rest, or go on; say whether it is there."""
        found = self._transfers.get(transfer)
        if found is None or found.over:
            return False
        found.turns.pause(on)
        return True

    def cancel(self, transfer: bytes, code: str, sentence: str) -> bool:
        """End a transfer, and tell the client why; say whether it was there."""
        found = self._transfers.get(transfer)
        if found is None or found.over:
            return False
        found.turns.fail(code, sentence)
        return True

    def withdraw(self, owner: Hashable) -> None:
        """The connection is gone: forget what nobody has claimed; what is on its way goes on."""
        for transfer in list(self._transfers.values()):
            if transfer.owner == owner and transfer.claimed_at is None and not transfer.over:
                transfer.turns.fail("withdrawn", WITHDRAWN)
        known = self._known.pop(owner, None)
        if known is not None:
            known.turns.fail("withdrawn", WITHDRAWN)

    def __len__(self) -> int:
        """How many transfers there are, offers that nobody has claimed yet among them."""
        return len(self._transfers)

    def _path(self, terms: Terms, owner: Hashable, proven: Hashable | None) -> DaemonPath:
        """The path of a transfer."""
        known = self._known.get(owner)
        if known is None:
            return DaemonPath(terms.token, self._random_bytes, proven=proven)
        return DaemonPath(terms.token, self._random_bytes, proven=proven, trusts=known.trusts)

    def _path_heard(self, path: Turns, owner: Hashable) -> None:
        """A client's address may be proven now: what it asked for meanwhile need not wait for another greeting."""
        address = path.engine.proven
        if address is None:
            return
        for transfer in list(self._transfers.values()):
            if (
                transfer.owner == owner
                and transfer.claimed_at is None
                and not (transfer.streamed or transfer.over)
            ):
                transfer.turns.engine.adopt(address, self._seconds())
                self.serve(transfer.turns)
                self._heard(transfer)

    # The life of a transfer -----------------------------------------------------------------------------------

    def _make_terms(self, size: int) -> Terms:
        if self._leaving is not None:
            raise TransferError(*self.going)
        transfer = self._random_bytes(TRANSFER_BYTES)
        while transfer in self._transfers or transfer in self._all:
            transfer = self._random_bytes(TRANSFER_BYTES)
        return Terms(transfer, self._random_bytes(TOKEN_BYTES), self._random_bytes(KEY_BYTES), size)

    def _admit(
        self,
        name: str,
        size: int,
        up: bool,
        owner: Hashable,
        identity: Hashable | None,
        finished: Callable[[Outcome], object] | None,
        have: Ranges,
    ) -> tuple[Transfer, Hashable | None]:
        """Make room for one, and tell the address at which its client is known to be."""
        terms = self._make_terms(size)
        whose = owner if identity is None else identity
        self._budget.admit(whose)
        known = self._known.get(owner)
        address = None if known is None else known.turns.engine.proven
        transfer = Transfer(terms, name, up, owner, whose, finished)
        transfer.had = sum(end - start for start, end in have)
        return transfer, address

    def _begin(self, transfer: Transfer, make: Callable[[StreamCarrier | None], Turns]) -> None:
        transfer.make = make
        try:
            turns = self._make(transfer, None)
        except BaseException:
            self._budget.release(transfer.identity)
            raise
        self._transfers[transfer.terms.transfer] = transfer
        self._start(transfer, turns)

    def _make(self, transfer: Transfer, carrier: StreamCarrier | None) -> Turns:
        transfer.turns = turns = transfer.make(carrier)
        turns.heard = lambda: self._heard(transfer)
        turns.concluded = lambda outcome: self._concluded(transfer, outcome)
        turns.released = lambda outcome: self._released(transfer, outcome)
        return turns

    def _start(self, transfer: Transfer, turns: Turns) -> None:
        turns.start().addBoth(self._closed, transfer, turns)
        self._heard(transfer)

    def _closed(self, result: object, transfer: Transfer, turns: Turns) -> None:
        if isinstance(result, Failure):
            self._log.failure("a fault in {name!r}", result, name=transfer.name)
        self._streams.pop(turns, None)
        self.departed()

    def _heard(self, transfer: Transfer) -> None:
        """Something came: perhaps it is claimed now."""
        turns = transfer.turns
        if transfer.claimed_at is not None or transfer.over or turns.engine.proven is None:
            return
        transfer.claimed_at = self._seconds()
        engine = turns.engine
        hold = turns.hold if isinstance(turns, Sending) else None
        self._budget.started(
            transfer.identity,
            engine,
            hold,
            lambda: transfer.terms.size - turns.done_bytes,
            lambda: turns.resting,
        )
        if not self._sharing.active:
            self._sharing.set(SHARE_SECONDS)

    def _share(self) -> None:
        self._budget.look()
        if any(transfer.claimed_at is not None for transfer in self._transfers.values()):
            self._sharing.set(SHARE_SECONDS)

    def _concluded(self, transfer: Transfer, outcome: Outcome) -> None:
        """There is an outcome; the last words are still to be said."""
        transfer.over = True
        turns = transfer.turns
        engine = turns.engine
        known = self._known.get(transfer.owner)
        if isinstance(engine, Sender) and known is not None and engine.rate and turns.carrier is self:
            known.rtt, known.rate, known.at = engine.rtt, engine.rate, self._seconds()
        self._budget.release(transfer.identity)
        self._budget.ended(engine)
        self._transfers.pop(transfer.terms.transfer, None)
        now = self._seconds()
        facts = {
            "name": transfer.name,
            "size": transfer.terms.size,
            "fresh": transfer.terms.size - transfer.had,
            "seconds": now - (now if transfer.claimed_at is None else transfer.claimed_at),
            "sent": engine.counters.datagrams_out,
            "came": engine.counters.datagrams_in,
            "lost": engine.counters.lost,
            "refused": engine.counters.refused.total(),
            "done": "took" if transfer.up else "sent",
            "do": "take" if transfer.up else "send",
        }
        # What the daemon sends while it takes a file are words about what came, and nobody counts those that got lost.
        traffic = "{came} datagrams came" if transfer.up else "{lost} of {sent} datagrams lost"
        if isinstance(outcome, Done):
            part = "{fresh} of {size}" if transfer.had else "{size}"
            self._log.info(
                "{done} {name!r}, " + part + " bytes in {seconds:.3f} s, " + traffic,
                **facts,
            )
        else:
            self._log.info(
                "did not {do} {name!r}: {code} ({sentence}); " + traffic,
                code=outcome.code, sentence=outcome.sentence, **facts,
            )  # fmt: skip

    def _released(self, transfer: Transfer, outcome: Outcome) -> None:
        finished, transfer.finished = transfer.finished, None
        if finished is not None:
            finished(outcome)

    def present(self) -> list[Turns]:
        """See `Switchboard.present`; those over streams, too."""
        return [*super().present(), *self._streams]

    def leave(self) -> Deferred[None]:
        """End all transfers with ``going-away``, and take no new ones; see `Switchboard.leave`."""
        self._sharing.cancel()
        return super().leave()

    def stopProtocol(self) -> None:
        """The port has closed."""
        super().stopProtocol()
        self._sharing.cancel()
        refused = self.refused
        if refused:
            self._log.info(
                "refused {total} datagrams: {reasons}",
                total=refused.total(),
                reasons=", ".join(f"{number} {reason}" for reason, number in refused.most_common()),
                refused=dict(refused),
            )
