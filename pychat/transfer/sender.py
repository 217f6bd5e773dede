"""The end that has the file.

The source is read once, in order, and what was read stays in memory until it has arrived (`outgoing`); so memory is
bounded by `max_window` however large the file is.  The life of a sender::

    unclaimed --Hello, Response--> sending --Digest sent, Verified heard--> Done, lingering --> closed
        |                             |
        +-- nobody came in time       +-- fail(), Abort heard, no answer --> Failed, taking leave --> closed
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import inf

from pychat.transfer.address import NONCE_BYTES, AddressProof
from pychat.transfer.congestion import CongestionControl, SentPacket
from pychat.transfer.endpoint import TIMED_OUT, Endpoint
from pychat.transfer.outgoing import Outgoing
from pychat.transfer.packet import (
    ASK_BYTES,
    DATA_HEADER_BYTES,
    DATAGRAM_BYTES,
    ELICITING,
    FROM_DAEMON,
    OVERHEAD_BYTES,
    Abort,
    Ack,
    Ask,
    Challenge,
    Data,
    Digest,
    Frame,
    Hello,
    Ping,
    Response,
    Verified,
    encode,
)
from pychat.transfer.recovery import MAX_PROBES, NeverSentError, Pacer, Recovery
from pychat.transfer.terms import Done, Failed, Outcome, Terms

#: Bytes of the file that one transfer may hold in memory, unless told otherwise.
MAX_WINDOW = 4 * 1024 * 1024
#: Bytes of a datagram with a challenge.
CHALLENGE_BYTES = OVERHEAD_BYTES + 1 + NONCE_BYTES
#: Seconds for which an offer stands.
CLAIM_SECONDS = 30.0
#: Seconds of silence, with nothing in flight, after which the peer is asked for a sign of life.
IDLE_SECONDS = 0.5
#: Seconds in which a peer that answers has to acknowledge something of the file, or to move its limit.
STALL_SECONDS = 60.0
#: Seconds in which it has to verify the file once it has all of it: syncing to a slow disk takes its time.
VERIFY_SECONDS = 600.0
STALLED = "The other end answers, but takes nothing of the file: ask for it again."
#: Datagrams that one ``poll`` returns at most.
MAX_BURST = 64
#: An acknowledgement is asked for 8 times a window, but not more often than every 2 nor less than every 32 datagrams.
ASKS_PER_WINDOW, MIN_ASK, MAX_ASK = 8, 2, 32
#: Datagrams that answer one probe timeout (RFC 9002 §6.2.4).
PROBE_DATAGRAMS = 2
#: One packet number in 256 to 511 is left out, at random, against optimistic acknowledgements.
SKIP_EVERY = 256
#: Probe timeouts for which a finished sender still answers.
LINGER_GAPS = 3


class Sender(Endpoint):
    """Sends one file to whoever claims the offer.

    :param terms: the offer.
    :param congestion: one of this transfer's own.
    :param now: seconds.
    :param random_bytes: gives so many unpredictable bytes.
    :param max_window: bytes of the file to hold in memory at most, at least two blocks; may be set while running.
    :param datagram: UDP payload bytes of a full datagram.
    :param claim_within: seconds for which the offer stands.
    :ivar max_window: the same.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        congestion: CongestionControl,
        now: float,
        random_bytes: Callable[[int], bytes],
        max_window: int = MAX_WINDOW,
        datagram: int = DATAGRAM_BYTES,
        claim_within: float = CLAIM_SECONDS,
    ) -> None:
        super().__init__(terms, sends=FROM_DAEMON)
        self.max_window = max_window
        self._datagram = datagram
        self._room = datagram - OVERHEAD_BYTES - DATA_HEADER_BYTES
        self._random_bytes = random_bytes
        self._recovery = Recovery(congestion)
        self._pacer = Pacer(datagram, now)
        self._proof = AddressProof(terms.token, random_bytes)
        self._now = now
        self._claim_by = now + claim_within
        self._outgoing = Outgoing(terms.size)
        self._digest: bytes | None = None
        self._digest_sent = False
        self._digest_due = False
        self._digest_arrived = False
        self._ack_due = False
        self._probes_due = 0
        self._since_ask = 0
        self._skip_at = 0
        self._plan_skip()
        self._last_heard = now
        self._moved_at = now
        self._wake: float | None = None
        self._linger_until: float | None = None

    # What an adapter asks -------------------------------------------------------------------------------------

    @property
    def proven(self) -> bool:
        """Whether the client has shown that it is where its datagrams come from."""
        return self._proof.proven is not None

    @property
    def smoothed_rtt(self) -> float:
        """Seconds."""
        return self._recovery.rtt.smoothed

    @property
    def held(self) -> int:
        """Bytes of the file in memory."""
        return self._outgoing.held

    @property
    def progress(self) -> int:
        """Bytes of the file, from its beginning, of which the receiver has said that they arrived."""
        return self._outgoing.progress

    def wants(self) -> tuple[int, int] | None:
        """The offset and length of the next read of the source, or None when there is enough for now.

        An empty file wants one read of no bytes, so that somebody looks whether it is still empty.
        """
        if self.outcome is not None or not self.proven or self._digest is not None:
            return None
        if self.terms.size == 0:
            return 0, 0
        return self._outgoing.wants(self._recovery.congestion.window, self.max_window)

    def supply(self, offset: int, data: bytes) -> None:
        """What was read, exactly as `wants` asked for it.

        :raises ValueError: it is not what comes next.
        """
        if self.outcome is None:
            self._outgoing.supply(offset, data)

    def source_ended(self, digest: bytes) -> None:
        """All has been read; `digest` is the SHA-256 of it, 32 bytes."""
        self._digest = digest
        self._digest_due = True

    # Datagrams in ---------------------------------------------------------------------------------------------

    def receive(self, datagram: bytes, address: Hashable, now: float) -> None:
        """A datagram for this transfer came from `address` (opaque; compared, and given back by `poll`)."""
        self._now = now
        if self.closed:
            self._refuse("closed")
            return
        if self.proven and address != self._proof.proven:
            self._refuse("wrong-address")
            return
        opened = self._open(datagram, now)
        if opened is None:
            return
        if not self.proven:
            self._introduce(self._frames(opened[1]), address, len(datagram), now)
            return
        self._last_heard = now
        for frame in self._frames(opened[1]):
            if isinstance(frame, ELICITING):
                self._ack_due = True
            self._take(frame, now)

    def _introduce(self, frames: Sequence[Frame], address: Hashable, nbytes: int, now: float) -> None:
        """Nobody has proven an address yet: only what can lead there counts."""
        for frame in frames:
            if isinstance(frame, Hello):
                if nbytes < DATAGRAM_BYTES or not self._proof.hello(address, frame.token, nbytes):
                    self._refuse("bad-hello")
                    return
                self._outgoing.limit = max(self._outgoing.limit, frame.window)
            elif isinstance(frame, Response):
                rtt = self._proof.response(address, frame.nonce, now)
                if rtt is None:
                    self._refuse("bad-response")
                    return
                if rtt < inf:
                    self._recovery.rtt.update(rtt, 0.0)
                self._last_heard = self._moved_at = now
                self._ack_due = True
            elif isinstance(frame, Abort):
                self._end(Failed(frame.code, frame.sentence, remote=True))
                self.closed = True
            else:
                self._refuse("unproven")
                return

    def _take(self, frame: Frame, now: float) -> None:
        if isinstance(frame, Ack):
            if self.outcome is not None:
                self._heard_last_word(frame)
                return
            limit = min(frame.limit, self.terms.size)
            if limit > self._outgoing.limit:
                self._outgoing.limit = limit
                self._moved_at = now
            try:
                acked, lost = self._recovery.acked(frame.ranges, frame.delay / 1e6, now)
            except NeverSentError as error:
                self._refuse("never-sent")
                self.fail(error.code, error.sentence)
                return
            self._requeue(lost)
            self._outgoing.arrived(acked)
            self._see_progress(acked, now)
        elif isinstance(frame, Abort):
            if self.outcome is None:
                self._end(Failed(frame.code, frame.sentence, remote=True))
            # Whatever this end still had to say, the other one has left: one acknowledgement, and that is all.
            self._last_word = None
            self._linger_until = now
        elif isinstance(frame, Verified):
            if self.outcome is None and not self._digest_sent:
                self.fail("bad-peer", "The other end verified a file that it had not been sent.")
            elif self.outcome is None:
                self._end(Done())
                self._linger_until = now + LINGER_GAPS * self._gap()
        elif isinstance(frame, Digest | Data | Challenge):
            self._refuse("unexpected")

    def _see_progress(self, acked: Sequence[SentPacket], now: float) -> None:
        """Bytes of the file count, and the digest once: who answers pings alone is not to keep this end for ever."""
        for packet in acked:
            if packet.start < packet.end:
                self._moved_at = now
            elif packet.digest and not self._digest_arrived:
                self._digest_arrived = True
                self._moved_at = now

    def _stalled(self, now: float) -> bool:
        """Whether the peer has let nothing move for too long; it is not to blame for what has not been read yet."""
        if self._digest is None and self._outgoing.starved:
            self._moved_at = now
        return now - self._moved_at >= (VERIFY_SECONDS if self._digest_arrived else STALL_SECONDS)

    def _requeue(self, packets: Sequence[SentPacket]) -> None:
        """These packets are lost: what they carried is due again."""
        self.counters.lost += len(packets)
        self._outgoing.lost(packets)
        if any(packet.digest for packet in packets):
            self._digest_due = True

    # Datagrams out --------------------------------------------------------------------------------------------

    def poll(self, now: float) -> list[tuple[bytes, Hashable]]:
        """The datagrams that may leave now, at most about `MAX_BURST`, each with the address it is for."""
        self._now = now
        out: list[tuple[bytes, Hashable]] = []
        if self.closed:
            return out
        if self.outcome is None:
            self._expire(now)
        for address, nonce in self._proof.challenges(CHALLENGE_BYTES, now):
            out.append((self._close(encode(Challenge(nonce)))[1], address))
        if self._ack_due and self.proven:
            out.append((self._close(self._ack(now, 0))[1], self._proof.proven))
        self._ack_due = False
        if self.outcome is None:
            if self.proven:
                self._transmit(out, now)
            return out
        self._part(out, now)
        return out

    def deadline(self) -> float | None:
        """When `poll` is to be called at the latest, or None for never."""
        if self.closed:
            return None
        if self._proof.due or self._ack_due:
            return self._now
        if self.outcome is not None:
            return self._last_word_at if self._last_word is not None else self._linger_until
        if not self.proven:
            return self._claim_by
        deadline = self._recovery.deadline()
        if deadline is None:
            deadline = self._idle_at()
        if self._wake is not None and self._wake < deadline:
            return self._wake
        return deadline

    def _idle_at(self) -> float:
        return self._last_heard + max(self._recovery.rtt.probe_timeout, IDLE_SECONDS)

    def _part(self, out: list[tuple[bytes, Hashable]], now: float) -> None:
        """There is an outcome: the last word, as often as it takes, or an ear for the peer's."""
        if self._last_word is not None:
            address = self._proof.latest()
            if address is None:
                self.closed = True
                return
            datagram = self._say_last_word(now)
            if datagram is not None and self._proof.spend(address, len(datagram)):
                out.append((datagram, address))
        elif self._linger_until is None or now >= self._linger_until:
            self.closed = True

    def _expire(self, now: float) -> None:
        """What the deadline that has passed, if one has, was about."""
        if not self.proven:
            if now >= self._claim_by:
                self.fail("unclaimed", "Nobody came for the file in time: ask for it again.")
            return
        if self._stalled(now):
            self.fail("timed-out", STALLED)
            return
        deadline = self._recovery.deadline()
        if deadline is not None and now >= deadline:
            lost = self._recovery.timeout(now)
            if lost:
                self._requeue(lost)
            elif self._recovery.probes > MAX_PROBES:
                self.fail("timed-out", TIMED_OUT)
            else:
                self._probes_due = PROBE_DATAGRAMS

    def _transmit(self, out: list[tuple[bytes, Hashable]], now: float) -> None:
        """As much of the file as window, pace and peer allow; probes always."""
        recovery, pacer, outgoing, datagram = self._recovery, self._pacer, self._outgoing, self._datagram
        window = recovery.congestion.window
        pacer.refill(recovery.congestion.pacing_rate(recovery.rtt.smoothed), now)
        ask_every = min(max(window // (ASKS_PER_WINDOW * datagram), MIN_ASK), MAX_ASK)
        self._wake = None
        while True:
            probing = self._probes_due > 0
            start, end = outgoing.due()
            if start == end and not probing and not self._sees_digest():
                recovery.limited = False
                break
            if len(out) >= MAX_BURST:
                self._wake = now
                break
            if not probing:
                recovery.limited = True
                if recovery.in_flight + datagram > window:
                    break
                if pacer.tokens < datagram:
                    self._wake = pacer.deadline(datagram)
                    break
            full = recovery.in_flight + 2 * datagram > window
            self._since_ask += 1
            packet, sealed = self._next_packet(now, probing, full or self._since_ask >= ask_every)
            pacer.tokens -= len(sealed)
            recovery.sent(packet)
            out.append((sealed, self._proof.proven))
            self._probes_due = max(self._probes_due - 1, 0)
        if recovery.deadline() is None and now >= self._idle_at():
            number, sealed = self._close(encode(Ping()))
            recovery.sent(SentPacket(number, now, len(sealed)))
            out.append((sealed, self._proof.proven))

    def _sees_digest(self) -> bool:
        return self._digest_due and self._outgoing.all_sent

    def _next_packet(self, now: float, probing: bool, ask: bool) -> tuple[SentPacket, bytes]:
        """What is lost, then what is new, then the digest; a probe that has none of these repeats the oldest."""
        start, end = self._outgoing.due()
        if start == end and probing and not self._sees_digest():
            start, end = self._oldest()
        if start == end:
            return self._digest_packet(now)
        room = self._room - ASK_BYTES
        if ask or probing or (end - start <= room and self._outgoing.last):
            data = self._outgoing.cut(start, end, room)
            payload = encode(Ask(self._recovery.lowest)) + encode(Data(start, data))
            self._since_ask = 0
        else:
            data = self._outgoing.cut(start, end, self._room)
            payload = encode(Data(start, data))
        number, sealed = self._close(payload)
        return SentPacket(number, now, len(sealed), start, start + len(data)), sealed

    def _oldest(self) -> tuple[int, int]:
        """What the oldest packet in flight carried and nothing else has brought since: bytes, or the digest."""
        oldest = self._recovery.oldest()
        if oldest is None:
            return 0, 0
        self._digest_due = self._digest_due or oldest.digest
        return self._outgoing.missing(oldest.start, oldest.end)

    def _digest_packet(self, now: float) -> tuple[SentPacket, bytes]:
        """The digest when it is due; else, for a probe that has nothing to repeat, a ping."""
        digest = self._digest if self._sees_digest() else None
        payload = encode(Ping())
        if digest is not None:
            payload = encode(Ask(self._recovery.lowest)) + encode(
                Digest(self.terms.size, digest, self.counters.lost)
            )
            self._digest_due = False
            self._digest_sent = True
        number, sealed = self._close(payload)
        return SentPacket(number, now, len(sealed), digest=digest is not None), sealed

    # Of `Endpoint` --------------------------------------------------------------------------------------------

    def _end(self, outcome: Outcome) -> None:
        super()._end(outcome)
        self._outgoing.clear()

    def _number(self) -> int:
        number = self._recovery.number()
        if number >= self._skip_at:
            self._recovery.skip()
            self._plan_skip()
        return number

    def _plan_skip(self) -> None:
        self._skip_at += SKIP_EVERY + self._random_bytes(1)[0]

    def _gap(self) -> float:
        return self._recovery.rtt.probe_timeout
