"""``pychat status``: how a daemon is doing, for people and for scripts.  It needs no name."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..address import format_host_port
from ..grammar import Line
from .answers import LinkError, Refused, decode
from .connection import BRIEF_TIMEOUT, connect
from .program import OK, Signals, emit, run
from .render import visible
from .terminal import Sink

_NUMBER = re.compile(r"[0-9]{1,15}")

_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000
_UNITS = ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", _SECOND, "s"))
"""Milliseconds and name of a unit, and of the next smaller one."""


def _time(milliseconds: int) -> str:
    """Such as ``12 ms``, ``1.25 s`` or ``3 d 4 h``: short, and no more exact than anybody wants to know."""
    if milliseconds < _SECOND:
        return f"{milliseconds} ms"
    for unit, name, part, its_name in _UNITS:
        if milliseconds >= unit:
            return f"{milliseconds // unit} {name} {milliseconds % unit // part} {its_name}"
    return f"{milliseconds / _SECOND:.2f} s"


def _seconds(number: int) -> str:
    return f"{number} s" if number * _SECOND < _MINUTE else _time(number * _SECOND)


def _kib(number: int) -> str:
    return f"{number:,} KiB" if number < 1024 else f"{number / 1024:,.1f} MiB"


def _count(number: int) -> str:
    return f"{number:,}"


_WORDS: dict[str, tuple[str, Callable[[int], str]]] = {
    "version": ("version", _count),
    "up": ("running for", _seconds),
    "people": ("people here", _count),
    "away": ("people away", _count),
    "rooms": ("rooms", _count),
    "messages": ("last message", str),
    "connections": ("connections", _count),
    "limit": ("connections at most", _count),
    "too_slow": ("ended as too slow", _count),
    "slow": ("of these by --memory-limit", _count),
    "transfers": ("transfers", _count),
    "refused": ("datagrams refused", _count),
    "stalls": ("stalls", _count),
    "longest": ("longest stall", _time),
    "stalled": ("all stalls", _time),
    "cpu": ("CPU time", _time),
    "memory": ("memory", _kib),
    "descriptors": ("open files", _count),
    "timers": ("timers", _count),
    "threads": ("threads", _count),
}
"""What a person is told for each number that we know, in this order; the others follow as they came."""


def read_status(line: Line) -> dict[str, int | str]:
    """What a ``<status>`` says: numbers, and texts for what is none."""
    told: dict[str, int | str] = {}
    for key, value in line.attributes.items():
        if key != b"label":
            text = decode(value)
            told[decode(key)] = int(text) if _NUMBER.fullmatch(text) else text
    return told


def for_people(told: Mapping[str, int | str]) -> str:
    """A line for each, with its unit."""
    rows = []
    for name in [*(name for name in _WORDS if name in told), *(name for name in told if name not in _WORDS)]:
        value = told[name]
        words, unit = _WORDS.get(name, (visible(name), _count))
        rows.append((words, unit(value) if isinstance(value, int) else visible(value)))
    width = max((len(words) for words, _ in rows), default=0)
    return "".join(f"{words:<{width}}  {value}\n" for words, value in rows)


def run_status(host: str, port: int, *, json_line: bool = False) -> int:
    """Run ``pychat status``."""
    told: dict[str, int | str] = {}

    async def program(reactor: Any, signals: Signals) -> int:
        told.update(await ask(reactor, host, port))
        return OK

    status = run(program)
    if status != OK:
        return status
    return emit(json.dumps(told).encode() + b"\n" if json_line else Sink(sys.stdout).encode(for_people(told)))


async def ask(reactor: Any, host: str, port: int) -> dict[str, int | str]:
    """What a daemon tells of itself.

    :raise PychatError: the sentence says why it does not.
    """
    client = await connect(reactor, host, port, greeting_timeout=BRIEF_TIMEOUT)
    try:
        answer = await client.command("status")
        await client.leave()
    except Refused as error:
        if error.code != "unknown-command":
            raise
        raise LinkError(
            "unknown-command",
            f"The daemon at {format_host_port(host, port)} is older than this command, and cannot tell how it does.",
        ) from None
    finally:
        client.abort()
    return read_status(answer.line)
