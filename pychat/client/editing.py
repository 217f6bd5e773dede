"""What somebody types at a terminal, key by key, until she enters it; what she pastes is one piece of it.

A terminal that was asked to (:data:`PASTES`) sends ``ESC [ 200 ~`` before what is pasted and ``ESC [ 201 ~`` behind it.
So a text of several lines can be told from several lines: their ends are part of what is typed, and only the Enter key
enters it.  And several commands (:class:`Pasted`) can be told from a text, whoever wrote it, that is pasted behind the
beginning of a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

ENTRY_LIMIT = 64 * 1024
"""Bytes of what is typed or pasted before it is entered."""

PASTES, NO_PASTES = "\x1b[?2004h", "\x1b[?2004l"
"""What asks a terminal to mark what is pasted, and to do so no more."""

_BEGIN, _END = b"\x1b[200~", b"\x1b[201~"
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}|O)?\Z")
_PIECE = re.compile(
    rb"(?P<text>[^\x00-\x08\x0a-\x1f\x7f]+)|\x1b\[[0-?]{0,32}[ -/]{0,4}[@-~]|\x1bO[@-~]|.", re.DOTALL
)
_END_OF_INPUT = b"\x04"


def _without_character(draft: bytes) -> bytes:
    """For the Backspace key."""
    end = len(draft) - 1
    while end > 0 and len(draft) - end < 4 and 0x80 <= draft[end] < 0xC0:
        end -= 1
    return draft[: max(end, 0)]


def _without_word(draft: bytes) -> bytes:
    """For Ctrl-W."""
    kept = draft.rstrip()
    return kept[: max(kept.rfind(space) for space in (b" ", b"\t", b"\n")) + 1]


_ERASE: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"\x7f": _without_character,
    b"\x08": _without_character,
    b"\x17": _without_word,
    b"\x15": lambda draft: b"",  # Ctrl-U
}


class Pasted(bytes):
    """What was entered as it was pasted, in one piece: nothing of it was typed."""


class Editor:
    """The text that is being typed.

    :ivar draft: what is not entered yet.
    :ivar ended: Ctrl-D was pressed where nothing was typed.
    """

    def __init__(self) -> None:
        self._rest = b""  # the beginning of a sequence
        self._pasting = False
        self._alone = False  # nothing stood before what is being pasted
        self._pasted = 0  # bytes that the draft begins with, of one paste with nothing before it
        self._too_long = False  # something was cut off the draft
        self.draft = b""
        self.ended = False

    @property
    def rest(self) -> bytes:
        """What counts as entered when the input ends: nothing, for a terminal that is gone says nothing."""
        return b""

    def feed(self, data: bytes) -> list[bytes | None]:
        """Return what was entered, without the end of its last line, as :class:`Pasted` if it is; ``None`` stands for
        what was too long."""
        data, self._rest = self._rest + data, b""
        entered: list[bytes | None] = []
        while data and not self.ended:
            data = self._paste(data) if self._pasting else self._type(data, entered)
        return entered

    def _paste(self, data: bytes) -> bytes:
        pasted, end, left = data.partition(_END)
        self._pasting = not end
        if not end:
            keep = next(size for size in range(len(_END) - 1, -1, -1) if pasted.endswith(_END[:size]))
            pasted, self._rest = pasted[: len(pasted) - keep], pasted[len(pasted) - keep :]
        self._add(pasted)
        if self._alone:
            self._pasted = len(self.draft)
        return left

    def _type(self, data: bytes, entered: list[bytes | None]) -> bytes:
        if _UNFINISHED.match(data):
            self._rest = data
            return b""
        match = _PIECE.match(data)
        assert match is not None
        piece = match[0]
        if match["text"]:
            self._add(piece)
        elif piece == _BEGIN:
            self._pasting, self._alone = True, not self.draft
        elif piece in (b"\n", b"\r"):
            entered.append(self._entry())
            self._keep(b"")
        elif piece in _ERASE:
            self._keep(_ERASE[piece](self.draft))
        elif piece == _END_OF_INPUT and not self.draft:
            self.ended = True
        # Other keys do nothing.
        return data[len(piece) :]

    def _entry(self) -> bytes | None:
        if self._too_long:
            return None
        return Pasted(self.draft) if self._pasted == len(self.draft) else self.draft

    def _keep(self, beginning: bytes) -> None:
        """This is left of the draft.  What was cut off it is missing until nothing is."""
        self.draft = beginning
        self._pasted = min(self._pasted, len(beginning))
        self._too_long = self._too_long and bool(beginning)

    def _add(self, text: bytes) -> None:
        self.draft += text
        if len(self.draft) > ENTRY_LIMIT:
            self._too_long = True
            self.draft = self.draft[:ENTRY_LIMIT]
