"""`docs/transfer.md` and the engine say the same."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import pychat
from pychat.transfer import address, endpoint, outgoing, packet, receiver, recovery, sender
from tests.transfer.test_packet import KNOWN_DATAGRAM

ROOT = Path(pychat.__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "transfer.md").read_text(encoding="utf-8")
ENGINE = [*(ROOT / "pychat" / "transfer").glob("*.py"), *(ROOT / "pychat").glob("*/part.py")]
SOURCES = [*ENGINE, ROOT / "pychat" / "datagram.py", ROOT / "pychat" / "client" / "fetch.py"]


class DocumentTests(SynchronousTestCase):
    """What the code knows is in the document."""

    def test_frames(self) -> None:
        """Every kind of frame is in the table, with its number."""
        table = dict(re.findall(r"^\| ([A-Z]+) \| (\d+) \|", DOCUMENT, re.MULTILINE))
        names = ["PADDING", "HELLO", "CHALLENGE", "RESPONSE", "ACK", "ASK", "PING"]
        names += ["DIGEST", "VERIFIED", "ABORT", "DATA"]
        self.assertEqual(table, {name: str(getattr(packet, name)) for name in names})

    def test_known_datagram(self) -> None:
        """The bytes to check an implementation by are those that we make."""
        self.assertIn(f"`{KNOWN_DATAGRAM}`", DOCUMENT)

    def test_words(self) -> None:
        """Every error code and every reason to refuse a datagram that the code uses is explained."""
        used: set[str] = set()
        for source in SOURCES:
            text = source.read_text(encoding="utf-8")
            used.update(
                re.findall(r'(?:_refuse|fail|_fail|Failed|TransferError)\(\s*(?:sending, )?"([a-z-]+)"', text)
            )
        self.assertGreater(len(used), 20)
        explained = set(re.findall(r"`([a-z-]+)`", DOCUMENT))
        self.assertEqual(used - explained, set())

    def test_numbers(self) -> None:
        """The limits and times that the document gives are those of the code."""
        self.assertEqual(
            (
                packet.DATAGRAM_BYTES,
                packet.MAX_ACK_RANGES,
                packet.MAX_CODE_BYTES,
                packet.MAX_SENTENCE_BYTES,
                address.MAX_CANDIDATES,
                endpoint.MAX_ABORTS,
                endpoint.MAX_VERIFIEDS,
                endpoint.MAX_SEEN_RANGES,
                outgoing.BLOCK_BYTES,
                receiver.ACK_EVERY,
                receiver.HELLO_GAP,
                receiver.HURRIED_PINGS,
                receiver.HURRIED_SECONDS,
                receiver.IDLE_SECONDS,
                receiver.MAX_HELLOS,
                receiver.MAX_HELLO_GAP,
                receiver.MAX_PINGS,
                receiver.WINDOW_BYTES,
                receiver.WINDOW_STEP,
                recovery.MAX_ACK_DELAY,
                recovery.MAX_PROBES,
                recovery.MAX_PROBE_GAP,
                sender.CLAIM_SECONDS,
                sender.IDLE_SECONDS,
                sender.LINGER_GAPS,
                sender.MAX_WINDOW,
                sender.STALL_SECONDS,
                sender.VERIFY_SECONDS,
            ),
            (
                1200,
                64,
                32,
                400,
                4,
                3,
                6,
                64,
                131072,
                64,
                0.5,
                3,
                1,
                5,
                8,
                3,
                6,
                2**22,
                4,
                0.025,
                12,
                3,
                30,
                0.5,
                3,
                2**22,
                60,
                600,
            ),
            "change docs/transfer.md, and then this test",
        )
