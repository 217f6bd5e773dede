"""Frames that have to arrive: each is repeated, further apart each time, until the peer acknowledges it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from math import inf

from pychat.transfer.frames import Ack
from pychat.transfer.packet import DATAGRAM_BYTES, MAX_PACKET_NUMBER, OVERHEAD_BYTES
from pychat.transfer.roundtrip import RoundTrip

#: Numbers of the packets with a word that are remembered: an acknowledgement of an older one is not recognised.
MAX_WORD_NUMBERS = 8
#: Bytes of frames that a datagram of words and acknowledgements holds at most.
ROOM_BYTES = DATAGRAM_BYTES - OVERHEAD_BYTES


class Word:
    """A frame that has to arrive.

    :ivar payload: the frame.
    :ivar at: when to say it (again).
    :ivar times: how often it was said.
    :ivar left: how often it may still be said.
    :ivar numbers: of the packets that said it lately.
    :ivar sent: when it was said last.
    """

    __slots__ = ("at", "left", "numbers", "payload", "sent", "times")

    def __init__(self, payload: bytes, left: float = inf) -> None:
        self.payload = payload
        self.at = -inf
        self.times = 0
        self.left = left
        self.numbers: list[int] = []
        self.sent = 0.0

    def said(self, number: int, now: float, trip: RoundTrip) -> None:
        """It has left as packet `number`."""
        self.numbers.append(number)
        del self.numbers[:-MAX_WORD_NUMBERS]
        self.at = now + trip.backed_off(self.times)
        self.times += 1
        self.left -= 1
        self.sent = now

    def acknowledged(self, ack: Ack) -> bool:
        """Whether this acknowledgement is of a packet that said it."""
        ranges = ack.ranges
        return any(start <= number < end for number in self.numbers for start, end in ranges)


class Words:
    """The words of one end that have not arrived yet, as far as is known; each has a key."""

    def __init__(self) -> None:
        self._words: dict[Hashable, Word] = {}

    def say(self, key: Hashable, payload: bytes) -> None:
        """Say this frame from now on, instead of what has the same key."""
        self._words[key] = Word(payload)

    def unsay(self, key: Hashable) -> None:
        """It need not arrive any more."""
        self._words.pop(key, None)

    def clear(self) -> None:
        """Nothing needs to."""
        self._words.clear()

    def __contains__(self, key: object) -> bool:
        return key in self._words

    def __len__(self) -> int:
        return len(self._words)

    def deadline(self) -> float:
        """When the next one is due; infinity for never."""
        return min([word.at for word in self._words.values()], default=inf)

    def unsettled(self) -> int:
        """The lowest packet number of a word that may be acknowledged still."""
        lowest = [word.numbers[0] for word in self._words.values() if word.numbers]
        return min(lowest, default=MAX_PACKET_NUMBER)

    def due(self, first: bytes, now: float) -> Iterator[tuple[bytes, Sequence[Word]]]:
        """What to say now: the frames of one datagram after the other, and the words in each.

        :param first: frames to begin with, perhaps none.
        """
        payload = first
        words: list[Word] = []
        for word in self._words.values():
            if word.at > now:
                continue
            if len(payload) + len(word.payload) > ROOM_BYTES:
                yield payload, words
                payload, words = b"", []
            payload += word.payload
            words.append(word)
        if payload:
            yield payload, words

    def take(self, ack: Ack) -> list[tuple[Hashable, Word]]:
        """Those that arrived by this acknowledgement; they need not be said again."""
        arrived = [(key, word) for key, word in self._words.items() if word.acknowledged(ack)]
        for key, _ in arrived:
            del self._words[key]
        return arrived
