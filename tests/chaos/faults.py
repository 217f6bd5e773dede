"""What can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LOST, TWICE, DISORDER, UNTRUE, LEAKED = "lost", "twice", "out of order", "untrue", "leaked"
OPEN, BROKEN = "open", "broken"

Tell = Callable[[str, str], None]
"""Called with the kind of a fault, and what it is."""


@dataclass(frozen=True)
class Fault:
    """Something that must not happen.

    :ivar kind: ``lost``, ``twice``, ``out of order``, ``untrue``, ``leaked`` (to whom it was not for), ``open`` (never
        answered) or ``broken``.
    """

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"
