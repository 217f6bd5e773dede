"""Numbers that follow on one another, as bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.transfer.series import alike, cutter, repeated, series


class SeriesTests(SynchronousTestCase):
    """What is made of them at once is what is made of them one by one."""

    @given(
        first=st.integers(0, 2**40),
        step=st.integers(0, 5000),
        count=st.integers(1, 70),
        width=st.integers(8, 15),
    )
    def test_series(self, first: int, step: int, count: int, width: int) -> None:
        """Each number is a step more than the one before."""
        expected = [(first + index * step).to_bytes(width, "big") for index in range(count)]
        found = series(first, step, count, width)
        self.assertEqual(found, b"".join(expected))
        self.assertEqual(list(cutter(count, width).unpack(found)), expected)
        self.assertEqual(repeated(first, count, width).to_bytes(count * width, "big"), expected[0] * count)

    def test_too_large(self) -> None:
        """A series whose last number does not fit is none."""
        self.assertEqual(series(254, 1, 2, 1), b"\xfe\xff")
        self.assertRaises(OverflowError, series, 255, 1, 2, 1)

    def test_cutter(self) -> None:
        """Rows of parts."""
        self.assertEqual(cutter(2, 1, 3).unpack(b"abcdefgh"), (b"a", b"bcd", b"e", b"fgh"))

    @given(count=st.integers(1, 70), width=st.integers(1, 9), data=st.data())
    def test_alike(self, count: int, width: int, data: st.DataObject) -> None:
        """What comes before the first part that differs, by whatever byte of it."""
        expected = bytes(count * width)
        self.assertEqual(alike(expected, expected, width), count)
        found = bytearray(expected)
        at = data.draw(st.integers(0, count * width - 1))
        found[at] = 1
        for other in data.draw(st.lists(st.integers(at, count * width - 1))):
            found[other] = 2
        self.assertEqual(alike(bytes(found), expected, width), at // width)
