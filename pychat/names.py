"""The names of people: which ones may be used, and which two are the same.

Theory of operation.  A name is shown as it was typed and compared by its *key*: what PRECIS
UsernameCaseMapped (RFC 8265 §3.3) makes of it, so that ``Alice``, ``ALICE`` and ``Ａｌｉｃｅ`` are one
person.  `check` gives the key or says which rule the name breaks; `suggest` finds a free name near the one
that was wanted.  Everything else in the house stores and looks up keys only.

PRECIS alone lets three things pass that we do not: names that clash with the line protocol (``#`` starts a
room, ``@`` a device, ``%`` an escape), names without end, and names that mix Latin with Greek or Cyrillic
letters, where ``раypal`` looks like ``paypal``.  Our own rules are judged twice, on the name as typed,
because that is what people are shown, and on the key, because that is what is compared: a key is itself a
valid name, and its own key.

PRECIS costs tens of microseconds, and most names are ASCII, for which it does nothing but lower the case:
they are recognised by one regular expression.  A property test holds the two ways equal.
"""

from __future__ import annotations

import collections
import functools
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterator

import precis_i18n

from pychat.errors import RemoteProtocolError

MAX_CODE_POINTS = 32
MAX_BYTES = 96
RESERVED = frozenset({"all", "everyone", "server", "system", "me"})

_PLAIN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_CODE_POINTS - 1}}}")
_DIGITS = "0123456789"
_PUNCTUATION = "_-."
_SCRIPTS = frozenset({"LATIN", "GREEK", "CYRILLIC"})
_PRECIS = precis_i18n.get_profile("UsernameCaseMapped")

# How much of a hopeless wish is looked at: a line may hold 4,096 bytes, a name holds far less.
_WISH_CODE_POINTS = 256
_LAST_RESORT = "guest"
_RANDOM_BOUND = 1_000_000_000
_RANDOM_TRIES = 8


def check(name: str) -> str:
    """Return the comparison key of a valid name.

    :param name: the name as its owner typed it; any text whatever is judged.
    :returns: the key: two names are the same name exactly when their keys are equal.  A key is a valid name,
        and its own key.
    :raises RemoteProtocolError: ``bad-name`` for a name that breaks a rule, ``name-reserved`` for one that
        the server keeps for itself.  The sentence holds nothing of the name itself, so it is safe to show.
    """
    key = name.lower() if _PLAIN.fullmatch(name) else _key_by_precis(name)
    if key in RESERVED:
        raise RemoteProtocolError("name-reserved", "This name is kept for the server: choose another.")
    return key


def suggest(
    name: str, taken: Callable[[str], bool], randbelow: Callable[[int], int] = secrets.randbelow
) -> str:
    """Return a valid name that is free, as near to the one that was wanted as can be had.

    ``alice`` becomes ``alice2`` when she is there already, ``bob smith`` becomes ``bob_smith``, and a wish of
    which nothing can be used becomes ``guest``.  The work is bounded whatever is wanted and however many
    names are taken: a hundred small numbers are tried, then a few large random ones.

    :param name: the name that was refused; any text whatever.
    :param taken: tells whether a comparison key (see `check`) is in use.
    :param randbelow: gives a random integer from 0 up to, not including, its argument.
    :returns: a name that `check` accepts, and whose key was not taken when it was asked about.  Only when
        `taken` says yes to everything is the last name given without asking.
    """
    for wish in _wishes(name):
        if (key := _key_or_none(wish)) is not None and not taken(key):
            return wish
        # alice2 taken wants alice3, not alice22.
        stem = wish.rstrip(_DIGITS) or wish
        for width, numbers in ((2, range(2, 100)), (9, _random_numbers(randbelow))):
            short = _fit(stem, MAX_CODE_POINTS - width, MAX_BYTES - width)
            # ASCII digits are alike to every rule: what holds with one of them appended holds with any, so
            # PRECIS is asked once and not a hundred times.
            key = _key_or_none(short + "2")
            if key is None:
                break
            for number in numbers:
                if not taken(key[:-1] + str(number)):
                    return short + str(number)
    return _LAST_RESORT + str(randbelow(_RANDOM_BOUND))


def _random_numbers(randbelow: Callable[[int], int]) -> Iterator[int]:
    for bound in (10_000, _RANDOM_BOUND):
        for _ in range(_RANDOM_TRIES):
            yield randbelow(bound)


@functools.lru_cache(maxsize=4096)
def _key_by_precis(name: str) -> str:
    """Return the key of any name by all the rules but the reserved words.

    Cached, because a name is checked whenever somebody writes to it; a refusal is not kept.
    """
    _judge(name)
    try:
        key = _PRECIS.enforce(name)
    except UnicodeEncodeError as error:
        if error.reason.endswith("bidi_rule"):
            raise _bad(
                "A name is written in one direction: do not mix scripts that run left and right."
            ) from None
        raise _bad(
            f"A name cannot hold {_spell(error.object[error.start : error.end])}: leave it out."
        ) from None
    # Case mapping and normalisation may make a name longer, or let another character come first.
    _judge(key)
    if len(set(map(_script, key)) - {None}) > 1:
        raise _bad("A name does not mix Latin, Greek and Cyrillic letters: keep to one script.")
    return key


def _judge(text: str) -> None:
    """Apply our own rules on length and characters; the cheap ones come first, for text of any length."""
    if not text:
        raise _bad("A name has at least one character: type the name right after the command.")
    if len(text) > MAX_CODE_POINTS or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _bad(
            f"A name has at most {MAX_CODE_POINTS} characters, {MAX_BYTES} bytes in UTF-8: shorten it."
        )
    for character in text:
        if character == " ":
            raise _bad("A name has no spaces: write _ instead.")
        if not _allowed(character):
            raise _bad(f"A name is made of letters, digits, '_', '-' and '.': leave out {_spell(character)}.")
    if not _may_start(text[0]):
        raise _bad("A name starts with a letter or a digit: choose another first character.")


def _may_start(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "L" or category == "Nd"


def _allowed(character: str) -> bool:
    return (
        character in _PUNCTUATION or _may_start(character) or unicodedata.category(character) in ("Mn", "Mc")
    )


def _script(character: str) -> str | None:
    """Return LATIN, GREEK or CYRILLIC, or None for anything else.

    Python does not know the Script property (UAX #24), but the names of letters say it, as a word of their
    own: ``CYRILLIC SMALL LETTER A``, ``MODIFIER LETTER CYRILLIC EN``.
    """
    if unicodedata.category(character)[0] != "L":
        return None
    words = unicodedata.name(character, "").split()
    return next((word for word in words if word in _SCRIPTS), None)


def _spell(characters: str) -> str:
    return " ".join(f"U+{ord(character):04X}" for character in characters)


def _bad(sentence: str) -> RemoteProtocolError:
    return RemoteProtocolError("bad-name", sentence)


def _key_or_none(name: str) -> str | None:
    try:
        return check(name)
    except RemoteProtocolError:
        return None


def _wishes(name: str) -> Iterator[str]:
    """Give ever plainer readings of what was wanted: cleaned, in one script, in ASCII, and at last none."""
    head = name[:_WISH_CODE_POINTS]
    most = collections.Counter(filter(None, map(_script, head))).most_common(1)
    one_script = "".join(c for c in head if _script(c) in (None, *(script for script, _ in most)))
    ascii_only = unicodedata.normalize("NFKD", head).encode("ascii", "ignore").decode()
    wishes = [_clean(text) for text in (head, one_script, ascii_only)]
    yield from dict.fromkeys(wish for wish in [*wishes, _LAST_RESORT] if wish)


def _clean(text: str) -> str:
    """Keep what a name may hold: spaces become ``_``, the rest goes, and punctuation at either end too."""
    joined = "_".join(text.split())
    kept = "".join(filter(_allowed, joined)).rstrip(_PUNCTUATION)
    start = next((i for i, character in enumerate(kept) if _may_start(character)), len(kept))
    return _fit(kept[start:], MAX_CODE_POINTS, MAX_BYTES)


def _fit(text: str, code_points: int, size: int) -> str:
    """Return the longest head of the text that fits into so many code points and bytes of UTF-8."""
    return text[:code_points].encode()[:size].decode("utf-8", "ignore")
