"""The daemon's side of file transfers: it moves bytes between the shelf, the engine and a UDP port.

`TransferProtocol` keeps a `Sender` for each file on offer at its port, gives it turns, and reads the file for it in a
thread.  A transfer has a turn after each burst of datagrams in which it heard something, when a read has come back, and
when its deadline has passed.  A `Budget`, which several ports can share, says how many transfers there may be.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Hashable
from hashlib import sha256
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pychat.budget import Budget
from pychat.deadline import Deadline
from pychat.errors import PychatError, TransferError
from pychat.transfer.congestion import CONTROLLERS, ControllerFactory, NewReno
from pychat.transfer.packet import DATAGRAM_BYTES, transfer_of
from pychat.transfer.sender import Sender
from pychat.transfer.terms import KEY_BYTES, TOKEN_BYTES, TRANSFER_BYTES, Done, Failed, Outcome, Terms
from pychat.udp import BurstProtocol, RunInThread, thread_runner

#: Seconds that a stopping port gives its clients to hear of it.
LEAVE_SECONDS = 0.5

GOING_AWAY = "The daemon is stopping: ask for the file again when it is back."
FAULT = "Something went wrong in the daemon: tell whoever runs it to look at its log."
READ_FAILED = "The daemon could not read the file: tell whoever runs it to look at its log."


class Source(Protocol):
    """An opened file.  `read` may block, and is called in threads, one call at a time."""

    @property
    def name(self) -> str:
        """What it is called in the log; free of control characters."""

    @property
    def size(self) -> int:
        """Bytes that it had when it was opened."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes.

        :raises pychat.errors.ShelfError: the file is not what it was; looked for at its end at the latest.
        """

    def close(self) -> None:
        """It will not be read again."""


class _Sending:
    """One file on offer or on its way."""

    def __init__(
        self, source: Source, owner: Hashable, finished: Callable[[Outcome], object] | None, sender: Sender
    ) -> None:
        self.source = source
        self.owner = owner
        self.finished = finished
        self.sender = sender
        self.deadline: Deadline
        self.hash = sha256()
        self.reading = False
        self.claimed_at: float | None = None
        self.over = False
        self.faulty = False

    def read(self, offset: int, length: int) -> bytes:
        """In a thread: read, and hash what was read."""
        data = self.source.read(offset, length)
        self.hash.update(data)
        return data


class TransferProtocol(BurstProtocol):
    """The files on offer at one UDP port.

    :param reactor: makes timers and, unless `run_in_thread` is given, has the threads.
    :param budget: one of its own, unless several ports are to share one.
    :param run_in_thread: ``run(f, *args)`` gives a Deferred of ``f(*args)``; where files are read.
    :param random_bytes: gives so many unpredictable bytes.
    :param seconds: the monotonic clock.
    :param controller: makes each transfer's congestion controller.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        budget: Budget | None = None,
        run_in_thread: RunInThread | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        seconds: Callable[[], float] = time.monotonic,
        controller: ControllerFactory = CONTROLLERS[NewReno.name],
    ) -> None:
        super().__init__(reactor)
        self._budget = budget or Budget()
        self._run = run_in_thread or thread_runner(reactor)
        self._random_bytes = random_bytes
        self._seconds = seconds
        self._controller = controller
        self._sendings: dict[bytes, _Sending] = {}
        self._touched: dict[_Sending, None] = {}
        self._refused: Counter[str] = Counter()
        self._leaving: Deferred[None] | None = None
        self._leave_by: IDelayedCall | None = None

    # Offers ---------------------------------------------------------------------------------------------------

    def offer(
        self, file: Source, owner: Hashable, finished: Callable[[Outcome], object] | None = None
    ) -> Terms:
        """Put a file on offer, for 30 s.  It is closed when the transfer is over.

        :param file: the opened file.  It stays the caller's when this raises.
        :param owner: whom it counts for; opaque.
        :param finished: called once with how it ended.
        :return: what the client has to know.
        :raises TransferError: ``busy``: too many transfers; ``going-away``: the port is closing.
        """
        if self._leaving is not None:
            raise TransferError("going-away", GOING_AWAY)
        self._budget.admit(owner)
        transfer = self._random_bytes(TRANSFER_BYTES)
        while transfer in self._sendings:
            transfer = self._random_bytes(TRANSFER_BYTES)
        terms = Terms(transfer, self._random_bytes(TOKEN_BYTES), self._random_bytes(KEY_BYTES), file.size)
        sender = Sender(
            terms,
            congestion=self._controller(DATAGRAM_BYTES),
            now=self._seconds(),
            random_bytes=self._random_bytes,
            max_window=self._budget.limits.window_each,
        )
        sending = _Sending(file, owner, finished, sender)
        sending.deadline = Deadline(self._clock, lambda: self._due(sending))
        self._sendings[transfer] = sending
        self._turn(sending)
        return terms

    def withdraw(self, owner: Hashable) -> None:
        """Forget the offers to `owner` that nobody has claimed; what is on its way goes on."""
        for sending in list(self._sendings.values()):
            if sending.owner == owner and not sending.sender.proven:
                self._fail(sending, "withdrawn", "The offer was taken back: ask for the file again.")

    def cancel(self, transfer: bytes, code: str, sentence: str) -> None:
        """End a transfer, if it is still there, and tell the client why."""
        sending = self._sendings.get(transfer)
        if sending is not None:
            self._fail(sending, code, sentence)

    @property
    def refused(self) -> Counter[str]:
        """Datagrams that were dropped without a byte in answer, by reason (`docs/transfer.md`)."""
        refused = self._refused.copy()
        for sending in self._sendings.values():
            refused.update(sending.sender.counters.refused)
        return refused

    def __len__(self) -> int:
        """How many transfers there are, offers that nobody has claimed yet among them."""
        return len(self._sendings)

    # Of the port ----------------------------------------------------------------------------------------------

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """To the transfer it names, if there is one."""
        transfer = transfer_of(datagram)
        sending = None if transfer is None else self._sendings.get(transfer)
        if sending is None:
            self._refused["malformed" if transfer is None else "unknown-transfer"] += 1
            return
        try:
            sending.sender.receive(datagram, addr, self._seconds())
        except Exception:
            self._fault(sending)
        self._touched[sending] = None
        super().datagramReceived(datagram, addr)

    def burstEnded(self) -> None:
        """Every transfer that heard something has its turn."""
        super().burstEnded()
        touched, self._touched = self._touched, {}
        for sending in touched:
            self._turn(sending)

    def leave(self) -> Deferred[None]:
        """End all transfers with ``going-away``, and take no new ones.

        :return: fires when every client has acknowledged that, or half a second later.
        """
        if self._leaving is None:
            self._leaving = Deferred()
            for sending in list(self._sendings.values()):
                self._fail(sending, "going-away", GOING_AWAY)
            if self._sendings:
                self._leave_by = self._clock.callLater(LEAVE_SECONDS, self._left)
            elif not self._leaving.called:
                self._leaving.callback(None)
        left: Deferred[None] = Deferred()
        self._leaving.addCallback(lambda _: left.callback(None))
        return left

    def _left(self) -> None:
        self._leave_by = None
        for sending in list(self._sendings.values()):
            self._forget(sending)

    # The life of a transfer -----------------------------------------------------------------------------------

    def _fail(self, sending: _Sending, code: str, sentence: str) -> None:
        sending.sender.fail(code, sentence)
        self._turn(sending)

    def _due(self, sending: _Sending) -> None:
        self.drain()
        self._turn(sending)

    def _turn(self, sending: _Sending) -> None:
        """Let it send what may leave now, and see what became of it."""
        try:
            self._take_turn(sending)
        except Exception:
            self._fault(sending)

    def _fault(self, sending: _Sending) -> None:
        """A fault of ours, in an exception handler: it costs this transfer, and no other."""
        self._log.failure("a fault while sending {name!r}", name=sending.source.name)
        if not sending.faulty:
            sending.faulty = True
            try:
                self._fail(sending, "fault", FAULT)
                return
            except Exception:
                self._log.failure("{name!r} cannot even fail", name=sending.source.name)
        self._conclude(sending, sending.sender.outcome or Failed("fault", FAULT))
        self._forget(sending)

    def _take_turn(self, sending: _Sending) -> None:
        sender = sending.sender
        if sending.over and sender.terms.transfer not in self._sendings:
            return
        now = self._seconds()
        transport: Any = self.transport
        for datagram, address in sender.poll(now):
            transport.write(datagram, address)
        if sending.claimed_at is None and sender.proven:
            sending.claimed_at = now
            self._budget.started(sender)
        if sender.outcome is not None:
            self._conclude(sending, sender.outcome)
        elif not sending.reading:
            wanted = sender.wants()
            if wanted is not None:
                self._read(sending, *wanted)
        at = sender.deadline()
        if at is None:
            self._forget(sending)
            return
        sending.deadline.set(max(at - now, 0.0))

    def _read(self, sending: _Sending, offset: int, length: int) -> None:
        reading = self._run(sending.read, offset, length)
        sending.reading = True
        reading.addCallbacks(self._have_read, self._read_failed, (sending, offset), {}, (sending,))
        reading.addErrback(self._broken, sending)

    def _have_read(self, data: bytes, sending: _Sending, offset: int) -> None:
        sending.reading = False
        sender = sending.sender
        if sending.over:
            self._close(sending)
            return
        sender.supply(offset, data)
        if offset + len(data) == sender.terms.size:
            sender.source_ended(sending.hash.digest())
        self._turn(sending)

    def _read_failed(self, failure: Failure, sending: _Sending) -> None:
        sending.reading = False
        if sending.over:
            self._close(sending)
        elif isinstance(failure.value, PychatError):
            self._fail(sending, failure.value.code, failure.value.sentence)
        else:
            self._broken(failure, sending)

    def _broken(self, failure: Failure, sending: _Sending) -> None:
        """A fault of ours, or of the disk: the log hears what, the client hears that."""
        self._log.failure("cannot send {name!r}", failure, name=sending.source.name)
        sending.reading = False
        self._fail(sending, "read-failed", READ_FAILED)

    def _conclude(self, sending: _Sending, outcome: Outcome) -> None:
        """There is an outcome: report it once; the sender may still have to take its leave."""
        if sending.over:
            return
        sending.over = True
        self._budget.release(sending.owner)
        self._budget.ended(sending.sender)
        counters = sending.sender.counters
        facts = {
            "name": sending.source.name,
            "size": sending.sender.terms.size,
            "seconds": self._seconds() - (sending.claimed_at or self._seconds()),
            "sent": counters.datagrams_out,
            "lost": counters.lost,
            "refused": counters.refused.total(),
        }
        if isinstance(outcome, Done):
            self._log.info(
                "sent {name!r}, {size} bytes in {seconds:.3f} s, {lost} of {sent} datagrams lost", **facts
            )
        else:
            self._log.info(
                "did not send {name!r}: {code} ({sentence}); {lost} of {sent} datagrams lost",
                code=outcome.code, sentence=outcome.sentence, **facts,
            )  # fmt: skip
        if not sending.reading:
            self._close(sending)
        if sending.finished is not None:
            try:
                sending.finished(outcome)
            except Exception:
                self._log.failure("a fault after sending {name!r}", name=sending.source.name)

    def _close(self, sending: _Sending) -> None:
        """Closing may block, so it has a thread; a read in another one has come back before."""
        self._run(sending.source.close).addErrback(
            lambda failure: self._log.failure("cannot close {name!r}", failure, name=sending.source.name)
        )

    def _forget(self, sending: _Sending) -> None:
        """Nothing more will be sent for it."""
        sending.deadline.cancel()
        if self._sendings.pop(sending.sender.terms.transfer, None) is None:
            return
        self._refused.update(sending.sender.counters.refused)
        if self._leaving is not None and not self._sendings:
            if self._leave_by is not None and self._leave_by.active():
                self._leave_by.cancel()
            self._leaving.callback(None)

    def stopProtocol(self) -> None:
        """The port has closed, perhaps without asking `leave` first: nothing may be left in the reactor."""
        super().stopProtocol()
        self._forget_all()
        refused = self.refused
        if refused:
            self._log.info(
                "refused {total} datagrams: {reasons}",
                total=refused.total(),
                reasons=", ".join(f"{number} {reason}" for reason, number in refused.most_common()),
                refused=dict(refused),
            )

    def _forget_all(self) -> None:
        for sending in list(self._sendings.values()):
            sending.sender.fail("going-away", GOING_AWAY)
            self._conclude(sending, sending.sender.outcome or Failed("going-away", GOING_AWAY))
            self._forget(sending)
