"""What is typed into a search, and what a word is.

Theory of operation.  What was typed is split where there are spaces, but for what stands in quotes; each piece is a row
of words that have to stand side by side, mostly one, and a ``*`` at its end makes the last of them a beginning.
There is no wrong input: what is no word counts for nothing.

For SQLite the tokenizer of its full-text search says what a word is; :func:`tokenize` says the same for ordinary
text, for the journal in memory.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

SEARCH_ROWS = 2_000
"""Messages that one search looks at: those with the rarest of its words, or in its places, whichever are fewer."""

WORDS_LIMIT = 32
"""Words of what is typed; those that come after are not looked for."""

_PIECE = re.compile(r'"([^"]*)"?(\*?)|([^\s"]+)')
_ASCII = re.compile(r"[0-9a-z]+")
_COMBINING = range(0x300, 0x332)


def split(typed: str) -> list[tuple[str, bool]]:
    """The pieces of what was typed, each with whether it is a beginning."""
    pieces: dict[tuple[str, bool], None] = {}
    for quoted, star, word in _PIECE.findall(typed.encode("utf-8", "replace").decode()):
        piece = (word, word.endswith("*")) if word else (quoted, bool(star))
        pieces[piece] = None
    return [*pieces]


def tokenize(text: str) -> list[str]:
    """The words of a text, without accents and case."""
    if text.isascii():
        return _ASCII.findall(text.lower())
    return "".join(map(_fold, unicodedata.normalize("NFC", text))).split()


@lru_cache(maxsize=10_000)
def _fold(character: str) -> str:
    """What counts of a character; a space if it is not part of a word."""
    base = unicodedata.normalize("NFD", character)[0]
    if base.isascii() and base.isalnum():
        return base.lower()
    if ord(character) in _COMBINING:
        return ""
    category = unicodedata.category(character)
    if category[0] not in "LN" and category not in ("Co", "Mn", "Mc"):
        return " "
    folded = character.casefold()
    return folded if len(folded) == 1 else character.lower()


def first_words(pieces: Iterable[tuple[list[str], bool]]) -> list[tuple[list[str], bool]]:
    """The pieces that the first :data:`WORDS_LIMIT` words are in; one that is cut short is no beginning any more."""
    counting: list[tuple[list[str], bool]] = []
    left = WORDS_LIMIT
    for words, beginning in pieces:
        if left <= 0:
            break
        if words:
            counting.append((words[:left], beginning and len(words) <= left))
        left -= len(words)
    return counting


def spaced(words: Sequence[str]) -> str:
    """The words of a text, in which :func:`sought` may be looked for."""
    return f" {' '.join(words)} "


def sought(piece: Sequence[str], beginning: bool) -> str:
    """What a text has in it, :func:`spaced`, that has these words side by side, the last one perhaps only begun."""
    return f" {' '.join(piece)}" if beginning else spaced(piece)
