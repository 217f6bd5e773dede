"""``HOST:PORT`` as people write it, and back."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

DEFAULT_PORT = 50000

_BRACKETED = re.compile(r"\[([^\]]+)\](?::([0-9]+))?")
_HOST_PORT = re.compile(r"([^:\[\]]+)(?::([0-9]+))?")


def parse_host_port(text: str, default_port: int = DEFAULT_PORT) -> tuple[str, int]:
    """Read ``HOST``, ``HOST:PORT``, ``[V6]``, ``[V6]:PORT`` or a bare IPv6 address.

    :raise ValueError: with a sentence for a person.
    """
    match = _BRACKETED.fullmatch(text) or _HOST_PORT.fullmatch(text)
    if match is None:
        if _is_ipv6(text):
            return text, default_port
        raise ValueError(f"{text!r} is not HOST or HOST:PORT (write an IPv6 address as [::1]:50000)")
    host, port = match.groups()
    number = int(port) if port else default_port
    if port and not 0 <= number <= 65535:
        raise ValueError(f"{number} is not a port: ports go from 1 to 65535")
    return host, number


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def same_host(one: str, other: str) -> bool:
    """Whether two texts are the same IP address, be it IPv4's own or written as IPv6 (``::ffff:192.0.2.1``)."""
    try:
        here, there = (
            getattr(address, "ipv4_mapped", None) or address for address in map(ip_address, (one, other))
        )
    except ValueError:
        return False
    return here == there


def format_host_port(host: str, port: int) -> str:
    """The inverse of :func:`parse_host_port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
