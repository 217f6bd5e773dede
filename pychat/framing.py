"""From a stream of bytes to lines: telnet negotiation stripped, long lines skipped, memory flat.

Theory of operation.  A connection's bytes pass two small filters, in this order:

``TelnetFilter``
    takes telnet's commands out (RFC 854, RFC 855), wherever they stand and however the network cut
    them, and says what must be answered.  0xFF never occurs in UTF-8, so a chunk without it, outside
    a sequence, is passed through untouched: everybody but telnet pays one ``in`` a chunk.

``LineSplitter``
    cuts at LF.  It never holds more than one line's limit of bytes: a line that grows past the limit
    is reported once, as ``None``, and dropped up to its LF.
"""

from __future__ import annotations

from typing import Final

from .vocabulary import CLIENT_LINE_LIMIT

IAC: Final = 0xFF
DONT, DO, WONT, WILL, SB, SE = 0xFE, 0xFD, 0xFC, 0xFB, 0xFA, 0xF0
TIMING_MARK = 6
"""RFC 860.  A telnet client throws its input away after Ctrl-C until the mark is answered."""

SUB_LIMIT = 512
"""Bytes of one subnegotiation."""

_LF: Final = 0x0A
_CR: Final = 0x0D
_DATA, _COMMAND, _OPTION, _SUB, _SUB_IAC = range(5)


class TelnetFilter:
    """Takes telnet command sequences out of a stream; keeps nothing but where in a sequence it is."""

    __slots__ = ("_state", "_sub", "_verb")

    def __init__(self) -> None:
        self._state = _DATA
        self._verb = 0
        self._sub = 0  # bytes of the subnegotiation so far

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the data without telnet's sequences, and the bytes to answer with (mostly empty)."""
        if self._state == _DATA and IAC not in data:
            return data, b""
        clean, reply = bytearray(), bytearray()
        state = self._state
        for byte in data:
            if state == _DATA:
                if byte == IAC:
                    state = _COMMAND
                else:
                    clean.append(byte)
            elif state == _COMMAND:
                state = _DATA
                if byte in (DO, DONT, WILL, WONT):
                    self._verb, state = byte, _OPTION
                elif byte == SB:
                    self._sub, state = 0, _SUB
                elif byte == IAC:
                    clean.append(IAC)
                elif byte < SE:
                    # No command of telnet's, but a text that is not UTF-8: the parser refuses its line.
                    clean += bytes((IAC, byte))
            elif state == _OPTION:
                state = _DATA
                if byte == _LF:
                    # No option in use has this number: the same, and the line ends here.
                    clean += bytes((IAC, byte))
                elif self._verb == DO and byte == TIMING_MARK:
                    reply += bytes((IAC, WILL, TIMING_MARK))
            else:
                self._sub += 1
                if state == _SUB:
                    state = _SUB_IAC if byte == IAC else _SUB
                else:
                    state = _DATA if byte == SE else _SUB
                if self._sub > SUB_LIMIT and state != _DATA:
                    # Nobody negotiates that long: the line that it stands in is refused.
                    clean.append(IAC)
                    state = _DATA
        self._state = state
        return bytes(clean), bytes(reply)


class LineSplitter:
    """Cuts a stream into lines without their LF; ``None`` stands for a line that was too long."""

    __slots__ = ("_limit", "_rest", "_skipping")

    def __init__(self, limit: int = CLIENT_LINE_LIMIT) -> None:
        """:param limit: a line with its LF is at most this many bytes."""
        self._limit = limit
        self._rest = b""
        self._skipping = False

    @property
    def rest(self) -> bytes:
        """The unfinished line at the end of what was fed; at most ``limit`` bytes."""
        return self._rest

    def only(self, data: bytes) -> bytes | None:
        """Feed one whole line, and return it without its line end: mostly that is all that comes at once.

        :return: ``None``: it is something else, and nothing was done with it.
        """
        end = len(data) - 1
        if self._rest or self._skipping or not 0 < end < self._limit or data[end] != _LF:
            return None
        line = data[: end - 1] if data[end - 1] == _CR else data[:end]
        return None if _LF in line else line

    def feed(self, data: bytes) -> list[bytes | None]:
        """Return the lines that end in ``data``, in order, each without its LF and one CR before it."""
        if self._skipping:
            end = data.find(b"\n")
            if end < 0:
                return []
            self._skipping = False
            data = data[end + 1 :]
        if self._rest:
            data = self._rest + data
        pieces: list[bytes] = data.split(b"\n")
        rest = pieces.pop()
        limit = self._limit
        if len(data) < limit and _CR not in data:
            # Most often: nothing is too long, and there is no CR to be dropped.
            self._rest = rest
            return pieces  # type: ignore[return-value]  # nobody puts a None into it
        lines: list[bytes | None] = [
            None if len(piece) >= limit else (piece[:-1] if piece.endswith(b"\r") else piece)
            for piece in pieces
        ]
        if len(rest) >= limit:
            lines.append(None)
            self._skipping = True
            rest = b""
        self._rest = rest
        return lines
