"""What somebody types at a terminal, key by key, until she enters it; what she pastes is one piece of it.

A terminal that was asked to (:data:`PASTES`) sends ``ESC [ 200 ~`` before what is pasted and ``ESC [ 201 ~`` behind it.
So a text of several lines can be told from several lines: their ends are part of what is typed, and only the Enter key
enters it.  And several commands (:class:`Pasted`) can be told from a text, whoever wrote it, that is pasted behind the
beginning of a message.

The cursor stands somewhere in what is typed, and what was entered before can be had again, to be changed and entered.
Keys are read by a thread; what others ask for, which may be a signal's handler, may come at any time.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Mapping

ENTRY_LIMIT = 64 * 1024
"""Bytes of what is typed or pasted before it is entered."""

PASTES, NO_PASTES = "\x1b[?2004h", "\x1b[?2004l"
"""What asks a terminal to mark what is pasted, and to do so no more."""

HISTORY = 50
"""How much of what was entered can be had again."""

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


def _behind_character(draft: bytes, at: int) -> int:
    """Where the character at this place ends."""
    end = at + 1
    while end < len(draft) and end - at < 4 and 0x80 <= draft[end] < 0xC0:
        end += 1
    return min(end, len(draft))


_MOVE: Mapping[bytes, Callable[[bytes, int], int]] = {
    key: move
    for keys, move in (
        ((b"\x1b[D", b"\x1bOD"), lambda draft, at: len(_without_character(draft[:at]))),
        ((b"\x1b[C", b"\x1bOC"), _behind_character),
        ((b"\x1b[H", b"\x1bOH", b"\x1b[1~", b"\x1b[7~", b"\x01"), lambda draft, at: 0),
        ((b"\x1b[F", b"\x1bOF", b"\x1b[4~", b"\x1b[8~", b"\x05"), lambda draft, at: len(draft)),
    )
    for key in keys
}
"""Where Left, Right, Home and End go; Ctrl-A and Ctrl-E are like the last two."""

_OLDER, _NEWER = (b"\x1b[A", b"\x1bOA"), (b"\x1b[B", b"\x1bOB")

_DELETE = b"\x1b[3~"

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
    :ivar cursor: before which of its bytes the cursor stands.
    :ivar ended: Ctrl-D was pressed where nothing was typed.
    """

    def __init__(self) -> None:
        self._rest = b""  # the beginning of a sequence
        self._pasting = False
        self._alone = False  # nothing stood before what is being pasted
        self._pasted = 0  # bytes that the draft begins with, of one paste with nothing before it
        self._too_long = False  # something was cut off the draft
        self._history: deque[bytes] = deque(maxlen=HISTORY)
        self._back = 0  # how far the draft is in there, from the newest on; 0: it is not
        self._newest = b""  # what was being typed before
        self._given_back = False  # the draft was given back, and no key was pressed since
        self._lock = threading.RLock()
        self.draft = b""
        self.cursor = 0
        self.ended = False

    @property
    def rest(self) -> bytes:
        """What counts as entered when the input ends: nothing, for a terminal that is gone says nothing."""
        return b""

    @property
    def halves(self) -> tuple[bytes, bytes]:
        """The draft before the cursor and behind it."""
        with self._lock:
            return self.draft[: self.cursor], self.draft[self.cursor :]

    def clear(self) -> bool:
        """Drop the draft, whether there was one; not in the middle of a paste, whose rest would be typed then."""
        with self._lock:
            clears = bool(self.draft) and not self._pasting
            if clears:
                self._begin(b"")
            return clears

    def give_back(self, entry: bytes) -> bool:
        """What was entered could not be used, and is the draft again, unless there is one; whether it is.

        Who goes on with another command has it in place of this one, which Up shows.
        """
        with self._lock:
            free = not self.draft and not self._pasting
            if free:
                self._begin(entry)
                self._given_back = True
            return free

    def feed(self, data: bytes) -> list[bytes | None]:
        """Return what was entered, without the end of its last line, as :class:`Pasted` if it is; ``None`` stands for
        what was too long."""
        with self._lock:
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
        given_back, self._given_back = self._given_back, False
        if match["text"]:
            if given_back and piece.startswith(b"<"):
                self._begin(b"")
            self._add(piece)
        elif piece == _BEGIN:
            self._pasting, self._alone = True, not self.draft
        elif piece in (b"\n", b"\r"):
            entered.append(self._entry())
            self._remember(entered[-1])
            self._begin(b"")
        elif piece in _ERASE:
            self._cut(len(_ERASE[piece](self.draft[: self.cursor])), self.cursor)
        elif piece == _DELETE:
            self._cut(self.cursor, _behind_character(self.draft, self.cursor))
        elif piece in _MOVE:
            self.cursor = _MOVE[piece](self.draft, self.cursor)
        elif piece in _OLDER or piece in _NEWER:
            self._look_back(self._back + (1 if piece in _OLDER else -1))
        elif piece == _END_OF_INPUT and not self.draft:
            self.ended = True
        # Other keys do nothing.
        return data[len(piece) :]

    def _entry(self) -> bytes | None:
        if self._too_long:
            return None
        return Pasted(self.draft) if self._pasted == len(self.draft) else self.draft

    def _remember(self, entry: bytes | None) -> None:
        if entry and (not self._history or self._history[-1] != entry):
            self._history.append(entry)

    def _look_back(self, back: int) -> None:
        """What was entered so many times ago is the draft; 0: what was being typed."""
        if self._too_long or not 0 <= back <= len(self._history):
            return
        if self._back == 0:
            self._newest = self._entry() or b""
        self._begin(self._history[-back] if back else self._newest)
        self._back = back

    def _begin(self, draft: bytes) -> None:
        """This is the draft, whatever was."""
        self.draft = bytes(draft)
        self.cursor = len(draft)
        self._pasted = len(draft) if isinstance(draft, Pasted) else 0
        self._too_long = False
        self._back = 0

    def _cut(self, start: int, end: int) -> None:
        """Erase this.  What was cut off the draft as too long is missing until nothing is left of it."""
        self.draft = self.draft[:start] + self.draft[end:]
        self.cursor = start
        self._pasted -= max(0, min(end, self._pasted) - start)
        self._too_long = self._too_long and bool(self.draft)

    def _add(self, text: bytes) -> None:
        if text and self.cursor < self._pasted:
            self._pasted = 0
        self.draft = self.draft[: self.cursor] + text + self.draft[self.cursor :]
        self.cursor += len(text)
        if len(self.draft) > ENTRY_LIMIT:
            self._too_long = True
            self.draft = self.draft[:ENTRY_LIMIT]
            self.cursor = min(self.cursor, ENTRY_LIMIT)
