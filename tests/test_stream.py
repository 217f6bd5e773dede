"""Transfers over TCP: frames, back-pressure, and how a client asks for one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pychat.errors import TransferError
from pychat.stream import EARLY_BYTES, MAX_LINES, STREAM, StreamCarrier, StreamProtocol, stream_terms
from tests.transferkit import make_terms


class Turns:
    """What a carrier knows of `pychat.turns.Turns`."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, int, Any]] = []
        self.turned = 0
        self.abandoned: list[str] = []

    def received(self, buffer: bytes, segment: int, address: Any) -> None:
        self.heard.append((bytes(buffer), segment, address))

    def turn(self) -> None:
        self.turned += 1

    def abandon(self, code: str, sentence: str) -> None:
        self.abandoned.append(code)


class CarrierCase(SynchronousTestCase):
    """A carrier, its transport and its transfer."""

    def setUp(self) -> None:
        self.carrier = StreamCarrier()
        self.turns: Any = Turns()
        self.transport = StringTransport()
        self.carrier.connected(self.transport)
        self.carrier.add(self.turns)


class CarrierTests(CarrierCase):
    """`StreamCarrier`."""

    def test_sends(self) -> None:
        """A datagram is a frame, whatever it is made of, and so is each datagram of a train."""
        self.assertTrue(self.carrier.send([b"abc"], 3, STREAM))
        self.assertTrue(self.carrier.send([b"d", b"e"], 2, STREAM))
        self.carrier.send([b"fg", b"hi", b"j"], 2, STREAM)
        self.assertEqual(self.transport.value(), b"\0\3abc\0\2de\0\2fg\0\2hi\0\1j")

    @given(st.lists(st.binary(max_size=300), max_size=10), st.lists(st.integers(1, 200), min_size=1))
    def test_receives(self, datagrams: list[bytes], cuts: list[int]) -> None:
        """However the stream is cut, the same datagrams come out."""
        carrier, turns = StreamCarrier(), Turns()
        carrier.add(turns)  # type: ignore[arg-type]
        data = b"".join(len(each).to_bytes(2, "big") + each for each in datagrams)
        while data:
            for cut in cuts:
                carrier.dataReceived(data[:cut])
                data = data[cut:]
        self.assertEqual([heard[0] for heard in turns.heard], datagrams)
        self.assertTrue(all(segment >= 1 and to == STREAM for _, segment, to in turns.heard))
        self.assertGreaterEqual(turns.turned, bool(datagrams))
        self.assertEqual(len(carrier._rest), 0)

    def test_bounded(self) -> None:
        """What waits for its rest is never more than one frame."""
        for _ in range(100):
            self.carrier.dataReceived(bytes((255,)) * 65536)
        self.assertLessEqual(len(self.carrier._rest), 65536 + 2)

    def test_back_pressure(self) -> None:
        """Who waits for room has a turn when there is some."""
        self.assertIs(self.transport.producer, self.carrier)
        self.assertTrue(self.transport.streaming)
        self.carrier.pauseProducing()
        self.assertTrue(self.carrier.congested)
        self.carrier.resumeProducing()
        self.assertEqual((self.carrier.congested, self.turns.turned), (False, 0))
        self.carrier.pauseProducing()
        self.carrier.wait(self.turns)
        self.carrier.resumeProducing()
        self.carrier.resumeProducing()
        self.assertEqual(self.turns.turned, 1)
        self.carrier.stopProducing()
        self.assertTrue(self.carrier.congested)

    def test_ends(self) -> None:
        """When the transfer is over, so is the connection, and what still comes is nobody's."""
        other: Any = Turns()
        self.carrier.remove(other)
        self.assertFalse(self.transport.disconnecting)
        self.carrier.remove(self.turns)
        self.assertTrue(self.transport.disconnecting)
        self.assertIsNone(self.transport.producer)
        self.carrier.dataReceived(b"\0\1a")
        self.carrier.send([b"abc"], 3, STREAM)
        self.carrier.close()
        self.carrier.connectionLost()
        self.assertEqual((self.turns.heard, self.turns.abandoned), ([], []))

    def test_ends_while_it_hears(self) -> None:
        """A fault in the middle of a burst ends the transfer, and harms nobody else."""

        def faulty(buffer: bytes, segment: int, address: Any) -> None:
            self.turns.heard.append(bytes(buffer))
            self.carrier.remove(self.turns)

        self.turns.received = faulty
        self.carrier.dataReceived(b"\0\1a\0")
        self.assertEqual((self.turns.heard, self.transport.disconnecting), ([b"a"], True))

    def test_turns(self) -> None:
        """One transfer has its turn when it wants it."""
        self.carrier.due(self.turns)
        self.carrier.serve(self.turns)
        self.assertEqual(self.turns.turned, 2)

    def test_lost(self) -> None:
        """When the connection is gone, the transfer is over; one that only begins then, too."""
        self.carrier.connectionLost()
        self.assertEqual(self.turns.abandoned, ["stream-lost"])
        late: Any = Turns()
        self.carrier.add(late)
        self.assertEqual(late.abandoned, ["stream-lost"])

    def test_early(self) -> None:
        """What comes before its transfer does is kept for it, and no more than that is read."""
        carrier, turns, transport = StreamCarrier(), Turns(), StringTransport()
        carrier.connected(transport)
        carrier.dataReceived(b"\0\1a\0\1")
        self.assertEqual(transport.producerState, "producing")
        carrier.dataReceived(b"b" + b"\0\0" * (EARLY_BYTES // 2))
        self.assertEqual(transport.producerState, "paused")
        carrier.add(turns)  # type: ignore[arg-type]
        self.assertEqual(transport.producerState, "producing")
        self.assertEqual([heard[0] for heard in turns.heard[:3]], [b"a", b"b", b""])
        self.assertEqual((len(turns.heard), turns.turned), (2 + EARLY_BYTES // 2, 1))

    def test_begin(self) -> None:
        """The transfer begins when the stream is there."""
        carrier, begun = StreamCarrier(), []
        carrier.begin = lambda: begun.append(True)
        carrier.connected(StringTransport())
        self.assertEqual(begun, [True])


class TermsTests(SynchronousTestCase):
    """`stream_terms`."""

    def test_another_key(self) -> None:
        """The key is another one, always the same, and all else is as it was."""
        terms = make_terms(7)
        derived = stream_terms(terms)
        self.assertEqual(derived, stream_terms(terms))
        self.assertNotEqual(derived.key, terms.key)
        self.assertEqual((derived.transfer, derived.token, derived.size), (terms.transfer, terms.token, 7))
        # The known answer of docs/transfer.md.
        self.assertEqual(
            derived.key.hex(), "7bd074fef2a79302f5fddc599cfeb81f8c9818566868f5fef1e080e4f6de52f8"
        )


class ProtocolTests(SynchronousTestCase):
    """`StreamProtocol`: the client asks."""

    def setUp(self) -> None:
        self.carrier = StreamCarrier()
        self.turns: Any = Turns()
        self.carrier.add(self.turns)
        self.terms = make_terms(7)
        self.protocol = StreamProtocol(self.terms, self.carrier)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def failed(self) -> TransferError:
        error = self.failureResultOf(self.protocol.ready, TransferError).value
        assert isinstance(error, TransferError)
        self.assertTrue(self.transport.disconnecting)
        return error

    def test_agreed(self) -> None:
        """The first line asks; what the daemon greets with is skipped; what follows its answer is the stream."""
        self.assertEqual(
            self.transport.value(),
            b"<stream transfer=" + self.terms.transfer.hex().encode() + b" token="
            + self.terms.token.hex().encode() + b">\n",
        )  # fmt: skip
        self.protocol.dataReceived(b"<welcome>Python Chat\r\nnonsense\n<str")
        self.assertNoResult(self.protocol.ready)
        self.protocol.dataReceived(b"eam>\n\0\1a\0")
        self.successResultOf(self.protocol.ready)
        self.protocol.dataReceived(b"\1b")
        self.assertEqual([heard[0] for heard in self.turns.heard], [b"a", b"b"])
        self.lose()
        self.assertEqual(self.turns.abandoned, ["stream-lost"])

    def test_nothing_behind_it(self) -> None:
        """The answer may come alone."""
        self.protocol.dataReceived(b"<stream>\n")
        self.successResultOf(self.protocol.ready)
        self.assertEqual(self.turns.turned, 0)

    def test_refused(self) -> None:
        """The daemon's reason is the error's, made fit to be shown."""
        self.protocol.dataReceived(b"<error code=no-such-transfer label=7>There is\x1b none.\n<stream>\n")
        error = self.failed()
        self.assertEqual((error.code, error.sentence), ("no-such-transfer", "There is\ufffd none."))
        self.lose()

    def test_no_reason(self) -> None:
        """One without a code has ours."""
        self.protocol.dataReceived(b"<goodbye>Too many.\n")
        self.assertEqual(self.failed().code, "no-stream")

    def test_something_else(self) -> None:
        """A peer that goes on about something else, or without end, is no daemon."""
        self.protocol.dataReceived(b"220 ready\n" * MAX_LINES)
        self.assertEqual(self.failed().code, "no-stream")
        self.setUp()
        self.protocol.dataReceived(b"x" * 5000)
        self.protocol.dataReceived(b"x" * 5000)
        self.assertEqual(self.failed().code, "no-stream")

    def test_lost(self) -> None:
        """The connection may end before there is an answer."""
        self.lose()
        self.assertEqual(self.failureResultOf(self.protocol.ready, TransferError).value.code, "no-stream")

    def test_no_delay(self) -> None:
        """Small frames leave at once."""
        asked: list[bool] = []
        self.transport.setTcpNoDelay = asked.append  # type: ignore[attr-defined]
        self.protocol.makeConnection(self.transport)
        self.assertEqual(asked, [True])
