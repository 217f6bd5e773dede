"""`docs/transfer.md` and the engine say the same."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

import pychat
from pychat import part, sidecar
from pychat.transfer import (
    arrivals,
    endpoint,
    fragments,
    frames,
    mtu,
    outgoing,
    packet,
    path,
    pausing,
    pieces,
    receiver,
    recovery,
    roundtrip,
    sender,
    terms,
)
from tests.transfer.test_packet import KNOWN_DATAGRAM

ROOT = Path(pychat.__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "transfer.md").read_text(encoding="utf-8")
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
ENGINE = [*(ROOT / "pychat" / "transfer").glob("*.py"), ROOT / "pychat" / "client" / "fetch.py"]
SOURCES = [
    *ENGINE,
    *(ROOT / "pychat" / f"{name}.py" for name in ("datagram", "part", "receiving", "sending", "stream")),
]
#: A code or a reason, where it is used.
USED = re.compile(
    r'(?:_refuse|fail|_fail|Failed|TransferError|super\(\).__init__)\(\s*(?:sending, )?"([a-z-]+)"'
    r'|(?:return |else |return \(|if self._nonce is None else \()"([a-z]+-[a-z]+|unexpected)"'
)


class DocumentTests(SynchronousTestCase):
    """What the code knows is in the document."""

    def test_frames(self) -> None:
        """Every kind of frame is in the table, with its number."""
        table = dict(re.findall(r"^\| ([A-Z]+) \| (\d+) \|", DOCUMENT, re.MULTILINE))
        names = [
            "PADDING",
            "HELLO",
            "CHALLENGE",
            "RESPONSE",
            "ACK",
            "ASK",
            "PING",
            "DIGEST",
            "VERIFIED",
            "ABORT",
        ]
        names += ["DATA", "PIECES", "AGAIN", "PAUSE", "METRICS", "MEASURE"]
        self.assertEqual(table, {name: str(getattr(frames, name)) for name in names})

    def test_known_datagram(self) -> None:
        """The bytes to check an implementation by are those that we make."""
        self.assertIn(f"`{KNOWN_DATAGRAM}`", DOCUMENT)

    def test_words(self) -> None:
        """Every error code and every reason to refuse a datagram that the code uses is explained."""
        used: set[str] = set()
        for source in SOURCES:
            text = source.read_text(encoding="utf-8")
            used.update(first or second for first, second in USED.findall(text))
        self.assertGreater(len(used), 20)
        explained = set(re.findall(r"`([a-z-]+)`", DOCUMENT + PROTOCOL))
        self.assertEqual(used - explained, set())

    def test_numbers(self) -> None:
        """The limits and times that the document gives are those of the code."""
        for module, numbers in NUMBERS.items():
            for name, value in numbers.items():
                self.assertEqual(
                    getattr(module, name), value, f"{name}: change docs/transfer.md, and then this test"
                )


#: What docs/transfer.md says.
NUMBERS: dict[ModuleType, dict[str, object]] = {
    packet: {
        "FROM_CLIENT": 0x41,
        "FROM_DAEMON": 0x42,
        "FRAGMENTS": 2,
        "FRAGMENT_HEADER_BYTES": 17,
        "MAX_FRAGMENTS": 64,
        "DATAGRAM_BYTES": 1200,
        "MAX_DATAGRAM_BYTES": 65507,
    },
    frames: {"MAX_ACK_RANGES": 64, "MAX_CODE_BYTES": 32, "MAX_SENTENCE_BYTES": 400, "MAX_PIECES": 32},
    terms: {"PIECE_BYTES": 2**20, "FIRST_WINDOW": 2**20},
    path: {
        "AMPLIFICATION": 3,
        "CHALLENGE_GAP": 0.1,
        "HELLO_GAP": 0.5,
        "MAX_CANDIDATES": 4,
        "MAX_HELLOS": 8,
        "MAX_HELLO_GAP": 3,
    },
    endpoint: {
        "ACK_EVERY": 64,
        "CLAIM_SECONDS": 30,
        "IDLE_SECONDS": 1,
        "MAX_ABORTS": 3,
        "MAX_VERIFIEDS": 6,
        "PAUSED_IDLE_SECONDS": 5,
        "SILENCE_SECONDS": 30,
    },
    pausing: {"PAUSE_SECONDS": 3600},
    arrivals: {"MAX_SEEN_RANGES": 64},
    roundtrip: {"GRANULARITY": 0.001, "INITIAL_RTT": 0.333, "MAX_ACK_DELAY": 0.025, "MAX_PROBE_GAP": 0.3},
    recovery: {
        "LOSS_FRACTION": 1 / 8,
        "LOSS_SECONDS": 0.002,
        "MAX_REORDERING": 0.1,
        "PERSISTENT_PROBES": 3,
        "REMEMBER_SECONDS": 0.05,
        "REORDERING_MARGIN": 9 / 8,
        "TIME_THRESHOLD": 9 / 8,
    },
    mtu: {
        "BLACK_HOLE_PROBES": 3,
        "MAX_PROBES": 3,
        "PROBE_SECONDS": 0.05,
        "RAISE_SECONDS": 600,
        "SIZES": (1200, 1452, 1472, 8952, 16000, 32000, 65487),
        "SMALL_PROBES": 2,
    },
    pieces: {"MAX_AHEAD": 16384},
    receiver: {
        "HURRIED_SECONDS": 4,
        "MAX_AGAINS": 4,
        "MAX_BUFFERS": 65536,
        "MAX_RANGES": 16384,
        "MAX_TRIES": 3,
        "MAX_WINDOW": 2**24,
        "MIN_WINDOW": 2**20,
        "STALL_SECONDS": 120,
        "WINDOW_BYTES": 2**22,
        "WINDOW_STEP": 4,
    },
    sidecar: {"MAX_LINES": 4096, "MAX_RANGES": 64},
    part: {"CHECK_BYTES": 2**23},
    outgoing: {"BLOCK_BYTES": 2**17, "LARGE_BLOCK_BYTES": 2**20},
    fragments: {"MAX_PARTIAL": 16, "MAX_PARTIAL_BYTES": 512 * 1024},
    sender: {
        "CLEAN_BYTES": 2**22,
        "MAX_CLEAN_BYTES": 2**28,
        "ASKS_PER_WINDOW": 8,
        "ASK_SECONDS": 0.002,
        "IDLE_SECONDS": 0.5,
        "LINGER_GAPS": 3,
        "MAX_AGAINS": 32,
        "MAX_WINDOW": 2**24,
        "MIN_ASK": 2,
        "PROBE_DATAGRAMS": 2,
        "SKIP_EVERY": 256,
        "STALL_SECONDS": 60,
        "TRAIN_DATAGRAMS": 64,
        "TRAIN_SECONDS": 0.003,
        "VERIFY_SECONDS": 600,
    },
}
