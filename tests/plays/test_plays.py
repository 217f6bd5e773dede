"""Holds every play twice, and holds the tables of the protocol document against the code."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pychat.commands import COMMANDS, Stage
from pychat.vocabulary import ERROR_CODES, GOODBYE_CODES

from .stage import DOCS, DaemonStage, MemoryStage, Step, read_plays


class InMemory(SynchronousTestCase):
    """Every play, on a clock of our own."""


class WithADaemon(SynchronousTestCase):
    """Every play, with a daemon in a process of its own."""


def _in_memory(steps: list[Step]) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        with tempfile.TemporaryDirectory() as folder:
            MemoryStage(Path(folder)).play(steps)

    return test


def _with_a_daemon(steps: list[Step]) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        with tempfile.TemporaryDirectory() as folder:
            stage = DaemonStage(Path(folder))
            try:
                stage.play(steps)
            finally:
                stage.close()

    return test


for _name, _steps in read_plays().items():
    setattr(InMemory, f"test_{_name}", _in_memory(_steps))
    setattr(WithADaemon, f"test_{_name}", _with_a_daemon(_steps))


class Tables(SynchronousTestCase):
    """The protocol document says all there is, and nothing else."""

    def rows(self, heading: str) -> list[list[str]]:
        text = (DOCS / "protocol.md").read_text("utf-8")
        section = re.split(r"^## ", text, flags=re.MULTILINE)
        (body,) = [part for part in section if part.startswith(heading + "\n")]
        rows = [line.strip("| ").split(" | ") for line in body.splitlines() if line.startswith("|")]
        return [[cell.strip(" |") for cell in row] for row in rows[2:]]

    def test_commands(self) -> None:
        """The document's table of commands is the session's."""
        where = {
            Stage.NEW: "anywhere",
            Stage.GREETED: "after `<hello>` or `<connect>`",
            Stage.JOINED: "after `<connect>`",
        }
        said = {row[0]: row[1] for row in self.rows("Commands")}
        built = {f"`<{c.verb}>{c.takes}`": where[c.stage] for c in COMMANDS.values()}
        self.assertEqual(set(said), set(built))
        for command, legal in built.items():
            self.assertTrue(said[command].startswith(legal), command)

    def test_attributes(self) -> None:
        """The attributes that a command knows stand in its row."""
        rows = {row[0]: row for row in self.rows("Commands")}
        for command in COMMANDS.values():
            for attribute in command.attributes:
                self.assertIn(f"`{attribute}`", rows[f"`<{command.verb}>{command.takes}`"][2])

    def test_errors(self) -> None:
        """The document lists the closed set of error codes."""
        self.assertEqual([row[0].strip("`") for row in self.rows("Errors")], list(ERROR_CODES))

    def test_goodbyes(self) -> None:
        """The document lists the closed set of goodbye codes."""
        self.assertEqual([row[0].strip("`") for row in self.rows("Goodbyes")], list(GOODBYE_CODES))
