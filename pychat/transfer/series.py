"""Numbers that follow on one another, as bytes: the headers, nonces and frame heads of a whole train at once.

The datagrams of a train differ in little: each has a packet number more, and is a stride further in the file.  So what
a loop would make one by one, and compare one by one, is here one integer that is as wide as the train, and one
operation on it.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

#: Shapes that are remembered: a sender uses few, and a stranger who makes up others has them made anew.
SHAPES = 512


def series(first: int, step: int, count: int, width: int) -> bytes:
    """The `count` numbers ``first``, ``first + step``, ... one after the other, each big-endian in `width` bytes.

    The last one has to fit in them.
    """
    ones, ramp = _weights(count, width)
    return (first * ones + step * ramp).to_bytes(count * width, "big")


def repeated(number: int, count: int, width: int) -> int:
    """`number`, `count` times one after the other, in `width` bytes each, as one integer."""
    return number * _weights(count, width)[0]


def alike(found: bytes, expected: bytes, width: int) -> int:
    """How many parts, of `width` bytes each, two rows of them have in common at their beginning."""
    if found == expected:
        return len(found) // width
    low, high = 0, len(found) // width
    while high - low > 1:
        middle = (low + high) // 2
        if found[low * width : middle * width] == expected[low * width : middle * width]:
            low = middle
        else:
            high = middle
    return low


@lru_cache(SHAPES)
def cutter(count: int, *widths: int) -> Struct:
    """Cuts bytes into `count` rows of parts that are so wide."""
    return Struct("".join([f"{width}s" for width in widths]) * count)


@lru_cache(SHAPES)
def _weights(count: int, width: int) -> tuple[int, int]:
    """Of `count` digits in base ``256 ** width``: ones, and 0, 1, 2 ..."""
    ones = (1).to_bytes(width, "big") * count
    ramp = b"".join([index.to_bytes(width, "big") for index in range(count)])
    return int.from_bytes(ones, "big"), int.from_bytes(ramp, "big")
