"""What both ends of a transfer do alike: open and seal, refuse replays, acknowledge, repeat, pause, and take leave.

Three things leave an end.  *File data* is the sender's own matter.  *Words* are frames that have to arrive: each is
repeated, further apart each time, until the peer acknowledges it.  *Acknowledgements* leave when they are due, with
whatever word is due too.  The last word of an end (`Verified`, or `Abort` with its reason) is repeated a bounded number
of times.
`outcome` is set at once; `closed` says that nothing more will be sent, and that the transfer can be forgotten.

An `Endpoint` as such is a transfer of no file: it proves an address, answers pings, and ends.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import inf
from typing import TypeAlias

from pychat.transfer.arrivals import Arrivals
from pychat.transfer.frames import (
    ASK,
    ASK_BYTES,
    DATA,
    DATA_HEADER_BYTES,
    ELICITING,
    Abort,
    Ack,
    Ask,
    Challenge,
    Data,
    Frame,
    Hello,
    Pause,
    Ping,
    Response,
    Verified,
    decode,
    encode,
)
from pychat.transfer.opening import SMALL_BYTES, Opener
from pychat.transfer.packet import (
    FROM_CLIENT,
    FROM_DAEMON,
    OVERHEAD_BYTES,
    Buffer,
    PacketError,
    pad,
)
from pychat.transfer.path import TIMED_OUT, Path
from pychat.transfer.pausing import Pausing
from pychat.transfer.roundtrip import MAX_ACK_DELAY, RoundTrip
from pychat.transfer.seal import Seal, file_data
from pychat.transfer.terms import NEVER_SENT, Counters, Failed, NeverSentError, Outcome, Terms, Train
from pychat.transfer.words import Word, Words

#: How often the last word is said, until the peer acknowledges it.
MAX_ABORTS = 3
MAX_VERIFIEDS = 6
#: Packets after which an acknowledgement is due even though nobody has asked.
ACK_EVERY = 64
#: Seconds for which a daemon's offer stands.
CLAIM_SECONDS = 30.0
#: Seconds of silence after which the peer is asked for a sign of life, and while the transfer is paused.
IDLE_SECONDS = 1.0
PAUSED_IDLE_SECONDS = 5.0
#: Seconds of silence after which the peer is given up.
SILENCE_SECONDS = 30.0
#: Seconds: who is called so much later than at its deadline was suspended, by itself or with the computer.
SLEPT_SECONDS = 5.0

UNCLAIMED = "Nobody came for the file in time: ask for it again."
PAUSED_TOO_LONG = "The transfer was paused for too long: ask for the file again, and it goes on from here."


#: Bytes of the file: the offset of the first, the one after the last, and the buffers that hold them.
Run: TypeAlias = tuple[int, int, Sequence[Buffer]]


class Endpoint:
    """One end of a transfer.

    :param terms: what both ends agreed on.
    :param path: where the other end is.
    :param sends: `FROM_CLIENT` or `FROM_DAEMON`: the direction in which this end sends.
    :param now: seconds.
    :ivar terms: the same.
    :ivar path: the same.
    :ivar round_trip: the round-trip time.
    :ivar outcome: None while the transfer runs.
    :ivar closed: nothing more will be sent, and what comes is of no use.
    :ivar counters: see there.
    :ivar patience: seconds of silence after which the peer is given up.
    :ivar idle: seconds of silence after which it is asked for a sign of life.
    """

    def __init__(self, terms: Terms, path: Path, *, sends: int, now: float) -> None:
        self.terms = terms
        self.path = path
        self.round_trip = RoundTrip()
        self.outcome: Outcome | None = None
        self.closed = False
        self.counters = Counters()
        self.patience = SILENCE_SECONDS
        self.idle = IDLE_SECONDS
        self._daemon = sends == FROM_DAEMON
        self._sealer = Seal(terms, sends)
        self._now = now
        self._next_number = 0
        self._arrivals = Arrivals()
        opener = Seal(terms, FROM_CLIENT if sends == FROM_DAEMON else FROM_DAEMON)
        self._opener = Opener(opener, self._arrivals, self.counters.refused)
        self._last_heard = now
        self._claim_by = now + CLAIM_SECONDS
        self._changes = 0
        self._unacked = 0
        self._ack_at: float | None = None
        # The packet number of a client's last greeting, and when that left.
        self._greeted: tuple[int, float] | None = None
        self._words = Words()
        self._last_word: Word | None = None
        self._linger_until: float | None = None
        self._pausing = Pausing(self._daemon)

    # What an adapter asks -------------------------------------------------------------------------------------

    @property
    def proven(self) -> Hashable | None:
        """The peer's address once it has shown that it is there, else None."""
        return self.path.proven

    @property
    def rtt(self) -> float:
        """Smoothed round-trip time, seconds."""
        return self.round_trip.smoothed

    @property
    def paused(self) -> bool:
        """Whether one of the ends wants no file data to be sent."""
        return self._pausing.on

    def pause(self, on: bool, waits: bool = False) -> None:
        """Have no more file data sent, or go on, and tell the peer at the next ``poll``.

        :param waits: nobody wanted that: it waits for its turn, for as long as that takes.
        """
        if self.outcome is not None:
            return
        if self._pausing.switch(on, waits, self._now):
            self._say("pause", encode(Pause(on)))
            self._pause_changed()

    def fail(self, code: str, sentence: str) -> None:
        """Give up, and tell the peer at the next ``poll``.  Without effect once there is an outcome."""
        if self.outcome is None:
            self._end(Failed(code, sentence))
            self._take_leave(Abort(code, sentence))

    def adopt(self, address: Hashable, now: float) -> None:
        """Another transfer of the same two ends has proven where the peer is.  Without effect where that is known."""
        if not self.path.ready:
            self._tick(now)
            self.path.adopt(address)
            self._last_heard = now
            self._path_ready(now)

    def receive(self, buffer: Buffer, segment: int, address: Hashable, now: float) -> None:
        """A train of datagrams for this transfer came.  Nothing in it makes this raise.

        :param buffer: their bytes; not kept.
        :param segment: bytes of each, at least 1; the last may be shorter.
        :param address: where from; opaque.
        """
        self._tick(now)
        size = len(buffer)
        counters = self.counters
        count = -(-size // segment) or 1
        counters.datagrams_in += count
        counters.bytes_in += size
        if self.closed:
            self._refuse("closed", count)
            return
        if not size:
            self._refuse("malformed", count)
            return
        path, arrivals = self.path, self._arrivals
        before = arrivals.largest
        files: list[Run] = []
        in_order, heard, elicited, asked = True, 0, 0, -1
        for number, payloads, nbytes in self._opener.open(buffer, segment, *self._fragments()):
            count = 0
            if len(payloads) > 1 and (path.ready or not self._daemon):
                count, offset, data = file_data(payloads)
                end = offset + len(data)
                if count and end <= self._open_upto():
                    files.append((offset, end, (data,)))
                    in_order = arrivals.add(number, number + count, now) and in_order
                    heard += count * nbytes
                    elicited += count
                else:
                    count = 0
            for payload in payloads[count:]:
                packet = number + count
                count += 1
                kind = payload[0]
                if kind == DATA and (path.ready or not self._daemon):
                    skip = 0
                elif kind == ASK and payload[ASK_BYTES : ASK_BYTES + 1] == _DATA_KIND and path.ready:
                    skip = ASK_BYTES
                    asked = max(asked, int.from_bytes(payload[1:ASK_BYTES], "big"))
                else:
                    frames = self._frames(payload)
                    if not path.ready and self._daemon and not self._introduces(frames):
                        continue
                    in_order = arrivals.add(packet, packet + 1, now) and in_order
                    if self._take_frames(frames, packet, address, nbytes, files, now):
                        heard += nbytes
                    continue
                in_order = arrivals.add(packet, packet + 1, now) and in_order
                head = skip + DATA_HEADER_BYTES
                heard += nbytes
                elicited += 1
                if len(payload) <= head:
                    self._refuse("malformed")
                    continue
                offset = int.from_bytes(payload[skip + 1 : head], "big")
                body = payload[head:] if nbytes <= SMALL_BYTES else memoryview(payload)[head:]
                files.append((offset, offset + len(body), (body,)))
        if heard:
            self._last_heard = now
            was_ready = path.ready
            path.heard(address, heard, arrivals.largest > before, now)
            if not was_ready and path.ready:
                self._path_ready(now)
        if elicited:
            self._elicited(elicited, in_order and asked < 0, now)
        if asked >= 0:
            self._arrivals.forget_below(asked)
        if files:
            self._take_data(files, now)

    def poll(self, now: float) -> list[Train]:
        """The trains that may leave now; a bounded number of them."""
        self._tick(now)
        out: list[Train] = []
        if self.closed:
            return out
        if self.outcome is None:
            self._expire(now)
        path = self.path
        if self.outcome is None:
            for address, payload, size in path.words(now):
                number, train = self._lone(payload, address, size)
                out.append(train)
                if not self._daemon:
                    self._greeted = number, now
        if path.ready:
            self._speak(out, now)
            if self.outcome is None:
                self._transmit(out, now)
                if self._words.deadline() <= now:
                    self._speak(out, now)
        if self.outcome is not None:
            self._part(out, now)
        return out

    def deadline(self) -> float | None:
        """When `poll` is to be called at the latest, or None for never."""
        if self.closed:
            return None
        deadline = inf
        if self.outcome is not None:
            last = self._last_word
            deadline = self._now if last is None else last.at
            if last is None and self._linger_until is not None:
                deadline = self._linger_until
        elif self.path.ready:
            deadline = min(self._last_heard + self.patience, self._next(), self._idle_at())
            deadline = min(deadline, self._pausing.until)
        elif self._daemon:
            deadline = self._claim_by
        path_at = self.path.deadline()
        if path_at is not None and path_at < deadline and self.outcome is None:
            deadline = path_at
        if self.path.ready:
            if self._ack_at is not None and self._ack_at < deadline:
                deadline = self._ack_at
            deadline = min(deadline, self._words.deadline())
        return None if deadline == inf else max(deadline, 0.0)

    # For the two ends -----------------------------------------------------------------------------------------

    def _take(self, frame: Frame, now: float) -> None:
        """A frame came that is not taken here: whatever is one end's own."""
        self._refuse("unexpected")

    def _take_data(self, files: Sequence[Run], now: float) -> None:
        """Bytes of the file came, never none."""
        self._refuse("unexpected", sum([len(buffers) for _, _, buffers in files]))

    def _open_upto(self) -> int:
        """The file offset up to which bytes are taken."""
        return 0

    def _fragments(self) -> tuple[int, str]:
        """Bytes of fragments that may wait for others, and why none are taken, if so."""
        return 0, "unexpected"

    def _acked(self, ack: Ack, now: float) -> None:
        """The peer acknowledges.

        :raises NeverSentError: what cannot have arrived.
        """

    def _word_arrived(self, key: Hashable) -> None:
        """What was said under this key has been acknowledged."""

    def _transmit(self, out: list[Train], now: float) -> None:
        """Add what else may leave."""

    def _next(self) -> float:
        """When that may be, at the latest; infinity for never."""
        return inf

    def _overdue(self, now: float) -> None:
        """Look at the end's own clocks, while there is no outcome and the path is ready."""

    def _path_changed(self, now: float) -> None:
        """The peer is somewhere else; `round_trip` is new."""

    def _pause_changed(self) -> None:
        """`paused` may have another value."""

    def _slept(self, seconds: float) -> None:
        """This process was held up for so long: nobody else is to blame for that."""
        self._last_heard += seconds

    def _limit(self) -> int:
        """The file offset up to which the peer may send."""
        return 0

    def _number(self) -> int:
        """The packet number of the next packet."""
        number = self._next_number
        self._next_number = number + 1
        return number

    def _end(self, outcome: Outcome) -> None:
        """The outcome stands.  Subclasses let go of what they hold."""
        self.outcome = outcome
        self._words.clear()

    def _say(self, key: Hashable, payload: bytes) -> None:
        """Say this frame from the next ``poll`` on until it is acknowledged, instead of what has the same key."""
        self._words.say(key, payload)

    def _unsay(self, key: Hashable) -> None:
        """It need not arrive any more."""
        self._words.unsay(key)

    def _says(self, key: Hashable) -> bool:
        """Whether it has not arrived yet, as far as is known."""
        return key in self._words

    def _take_leave(self, word: Abort | Verified) -> None:
        """Say `word` from the next ``poll`` on, and nothing else."""
        self._last_word = Word(encode(word), MAX_ABORTS if isinstance(word, Abort) else MAX_VERIFIEDS)

    def _refuse(self, reason: str, count: int = 1) -> None:
        self.counters.refused[reason] += count

    def _elicited(self, packets: int, relaxed: bool, now: float) -> None:
        """Packets came that want an acknowledgement: at once, unless they are as expected (RFC 9000 §13.2)."""
        self._unacked += packets
        if not relaxed or self._unacked >= ACK_EVERY:
            self._ack_at = now
        elif self._ack_at is None:
            self._ack_at = now + MAX_ACK_DELAY

    def _lone(self, payload: bytes, address: Hashable, size: int = 0) -> tuple[int, Train]:
        """One packet of at least `size` bytes: its number and a train of one datagram."""
        number = self._number()
        datagram = self._sealer.close(number, pad(payload, size))
        counters = self.counters
        counters.datagrams_out += 1
        counters.bytes_out += len(datagram)
        return number, Train([datagram], len(datagram), address)

    def _tick(self, now: float) -> None:
        """Time has passed."""
        if now > self._now + SLEPT_SECONDS:
            deadline = self.deadline()
            if deadline is not None and now > (promised := max(deadline, self._now)) + SLEPT_SECONDS:
                self._slept(now - promised)
        self._now = now

    # Of this end and the other --------------------------------------------------------------------------------

    def _introduces(self, frames: Sequence[Frame]) -> bool:
        """Before an address is proven only what can lead there counts."""
        for frame in frames:
            if not isinstance(frame, Hello | Response | Abort):
                self._refuse("unproven")
                return False
        return True

    def _frames(self, payload: bytes) -> list[Frame]:
        """All frames of an opened packet; none when they make no sense, which is counted."""
        try:
            return decode(payload)
        except PacketError as error:
            self._refuse(error.code)
            return []

    def _take_frames(
        self,
        frames: Sequence[Frame],
        number: int,
        address: Hashable,
        nbytes: int,
        files: list[Run],
        now: float,
    ) -> bool:
        """Take the frames of one packet; those with data go to `files`.

        :return: whether there is more in it than what only concerns the path.
        """
        heard = elicited = False
        for frame in frames:
            if isinstance(frame, ELICITING):
                elicited = True
            if isinstance(frame, Hello | Challenge | Response):
                self._take_path(frame, address, nbytes, now)
                continue
            heard = True
            if isinstance(frame, Ack):
                self._take_ack(frame, now)
            elif isinstance(frame, Data):
                files.append((frame.offset, frame.offset + len(frame.data), (frame.data,)))
            elif isinstance(frame, Ask):
                self._arrivals.forget_below(frame.floor)
            elif isinstance(frame, Pause):
                self._take_pause(frame, number, now)
            elif isinstance(frame, Abort):
                self._take_abort(frame, now)
            elif not isinstance(frame, Ping):
                self._take(frame, now)
        if elicited:
            self._elicited(1, False, now)
        return heard

    def _take_path(
        self, frame: Hello | Challenge | Response, address: Hashable, nbytes: int, now: float
    ) -> None:
        path = self.path
        was_ready = path.ready
        refused = path.take(frame, address, nbytes, now)
        if refused is not None:
            self._refuse(refused)
            return
        if path.changed != self._changes:
            self._changes = path.changed
            self.round_trip = RoundTrip()
            self._path_changed(now)
        if path.sample is not None:
            self.round_trip.update(path.sample, 0.0)
            path.sample = None
        if path.ready or not self._daemon:
            self._last_heard = now
        if path.ready and not was_ready:
            self._path_ready(now)
        if isinstance(frame, Hello) and address == path.proven:
            # Who greets waits for an answer, and for a sample of the round trip.
            self._ack_at = now

    def _path_ready(self, now: float) -> None:
        """The path has just become ready."""

    def _take_ack(self, ack: Ack, now: float) -> None:
        if ack.ranges[0][1] > self._next_number:
            self._never_sent()
            return
        greeted = self._greeted
        if greeted is not None and ack.ranges[0][1] == greeted[0] + 1:
            self._greeted = None
            self.round_trip.update(now - greeted[1], ack.delay / 1e6)
        last = self._last_word
        if last is not None:
            if last.acknowledged(ack):
                self.closed = True
            return
        if self.outcome is not None:
            return
        if self._words:
            self._take_words(ack, now)
        try:
            self._acked(ack, now)
        except NeverSentError:
            self._never_sent()

    def _never_sent(self) -> None:
        self._refuse("never-sent")
        self.fail("bad-peer", NEVER_SENT)

    def _take_words(self, ack: Ack, now: float) -> None:
        newest = ack.ranges[0][1] - 1
        for key, word in self._words.take(ack):
            if word.numbers[-1] == newest:
                self.round_trip.update(now - word.sent, ack.delay / 1e6)
            self._word_arrived(key)

    def _take_pause(self, frame: Pause, number: int, now: float) -> None:
        if self._pausing.switched(frame.on, number, now):
            self._pause_changed()

    def _take_abort(self, frame: Abort, now: float) -> None:
        if self.outcome is None:
            self._end(Failed(frame.code, frame.sentence, remote=True))
        # Whatever this end still had to say, the other one has left: one acknowledgement, and that is all.
        self._last_word = None
        self._linger_until = now

    def _speak(self, out: list[Train], now: float) -> None:
        """The acknowledgement, and the words that are due."""
        first = b""
        if self._ack_at is not None and now >= self._ack_at:
            self._ack_at = None
            self._unacked = 0
            first = encode(self._arrivals.ack(self._limit(), now))
        if first or self._words:
            for payload, words in self._words.due(first, now):
                self._say_now(payload, words, out, now)

    def _say_now(self, payload: bytes, words: Sequence[Word], out: list[Train], now: float) -> None:
        number, train = self._lone(payload, self.path.address)
        out.append(train)
        for word in words:
            word.said(number, now, self.round_trip)

    def _part(self, out: list[Train], now: float) -> None:
        """There is an outcome: the last word, as often as it takes, or an ear for the peer's."""
        last, path = self._last_word, self.path
        if last is None:
            if self._linger_until is None or now >= self._linger_until:
                self.closed = True
        elif not path.met:
            self.closed = True
        elif now >= last.at:
            if path.spend(len(last.payload) + OVERHEAD_BYTES):
                self._say_now(last.payload, [last], out, now)
            else:
                last.left -= 1
                last.at = now + self.round_trip.probe_timeout
            if last.left <= 0:
                self.closed = True

    def _expire(self, now: float) -> None:
        """What the deadline that has passed, if one has, was about."""
        path = self.path
        hopeless = path.gave_up(now)
        if hopeless is not None:
            self.fail(*hopeless)
        elif not path.ready:
            if self._daemon and now >= self._claim_by:
                self.fail("unclaimed", UNCLAIMED)
        elif now >= self._last_heard + self.patience:
            self.fail("timed-out", TIMED_OUT)
        elif now >= self._pausing.until:
            self.fail("timed-out", PAUSED_TOO_LONG)
        else:
            if now >= self._idle_at():
                self._say("ping", encode(Ping()))
            self._overdue(now)

    def _idle_at(self) -> float:
        """When to ask the peer for a sign of life."""
        if "ping" in self._words:
            return inf
        return self._last_heard + (max(PAUSED_IDLE_SECONDS, self.idle) if self.paused else self.idle)


_DATA_KIND = bytes((DATA,))
