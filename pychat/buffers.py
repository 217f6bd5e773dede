"""Buffers that come one after the other: grouped for a system call, and cut where it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pychat.transfer.packet import Buffer
from pychat.transfer.terms import PIECE_BYTES

#: Smaller buffers are joined before they are written and hashed: below 2 KB hashing holds the interpreter.
SMALL_BYTES = 256 * 1024


def batches(buffers: Sequence[Buffer]) -> Iterator[list[Buffer]]:
    """The buffers in groups of about a piece; small ones joined."""
    batch: list[Buffer] = []
    nbytes = 0
    for buffer in buffers:
        if not buffer:
            continue
        batch.append(buffer)
        nbytes += len(buffer)
        if nbytes >= PIECE_BYTES:
            yield _joined(batch, nbytes)
            batch, nbytes = [], 0
    if batch:
        yield _joined(batch, nbytes)


def _joined(batch: list[Buffer], nbytes: int) -> list[Buffer]:
    return [b"".join(batch)] if len(batch) > 1 and nbytes < SMALL_BYTES * len(batch) else batch


def rest(buffers: list[Buffer], count: int) -> list[Buffer]:
    """What is left of `buffers` behind `count` bytes."""
    at = 0
    while at < len(buffers) and count >= len(buffers[at]):
        count -= len(buffers[at])
        at += 1
    left = buffers[at:]
    if count:
        left[0] = memoryview(left[0])[count:]
    return left
