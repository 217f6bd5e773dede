"""Tests of `pychat.client.results`: what scripts read."""

from __future__ import annotations

import json
import os

from twisted.trial.unittest import SynchronousTestCase

from pychat.client.results import Carried, checksum_line, json_failure, json_line
from pychat.errors import TransferError


def carried(path: str) -> Carried:
    return Carried("a/b", path, 5, "ab" * 32, 0.25, 3, "udp", 2, 0.02)


class Results(SynchronousTestCase):
    """One file each."""

    def test_checksums(self) -> None:
        """As sha256sum prints them: names with line ends are escaped."""
        self.assertEqual(checksum_line(carried("b c")), b"ab" * 32 + b"  b c\n")
        self.assertEqual(checksum_line(carried("b\\\n")), b"\\" + b"ab" * 32 + b"  b\\\\\\n\n")

    def test_json(self) -> None:
        """One object a line, ASCII, whatever the name is."""
        path = os.fsdecode(b"n\xc3\xa4me\xff\n")
        line = json_line(carried(path))
        self.assertEqual((line.count(b"\n"), line.isascii()), (1, True))
        self.assertEqual(
            json.loads(line),
            {
                "name": "a/b", "bytes": 5, "seconds": 0.25, "sha256": "ab" * 32, "lost": 3, "via": "udp",
                "path": path, "resumed": 2,
            },
        )  # fmt: skip
        self.assertEqual(
            json.loads(json_failure("x", TransferError("no-match", "None."))),
            {"name": "x", "error": "no-match", "sentence": "None."},
        )
