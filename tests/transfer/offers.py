"""Offers and files for the tests of the engine."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random

from pychat.transfer.terms import Terms


def make_terms(size: int = 0, transfer: bytes = b"transfer") -> Terms:
    """An offer of `size` bytes."""
    return Terms(transfer=transfer, token=b"token of 16 byte", key=b"k" * 32, size=size)


def make_content(size: int, seed: int = 0) -> bytes:
    """A file that differs everywhere."""
    return Random(seed).randbytes(size)


def make_random() -> Callable[[int], bytes]:
    """Numbers one after the other instead of random bytes."""
    numbers = count()
    return lambda size: (next(numbers) % 256).to_bytes(size, "big")
