"""What a daemon says when it has started: what it shares, where it can be joined, and by whom it can be read."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from ipaddress import ip_address
from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from . import __version__, intake
from .address import format_host_port
from .options import Options

MANY_CONNECTIONS = 10_000
"""A daemon that can have fewer says how it could have more."""

COMPILED = intake.__file__.endswith(tuple(EXTENSION_SUFFIXES))
"""Whether the modules through which messages go are compiled."""


def announce(
    log: Logger,
    options: Options,
    shared: str,
    tcp_ports: Sequence[IListeningPort],
    udp_ports: Sequence[IListeningPort],
    limit: int | None,
) -> None:
    """Say all that.

    :param shared: the folder whose files can be downloaded.
    :param tcp_ports: what listens for each of ``--listen``.
    :param limit: how many connections there can be; ``None`` if nobody can tell.
    """
    made = "compiled" if COMPILED else "pure Python"
    log.info(
        "Python Chat {version}, {made}, shares {files}",
        version=__version__, made=made, files=shlex.quote(shared),
    )  # fmt: skip
    beyond = False
    for description, listening in zip(options["listen"], tcp_ports, strict=True):
        found = where_bound(listening)
        if found is None:
            log.info("Listening on {host}", host=listening.getHost())
            continue
        host, port = found
        anywhere = host in ("0.0.0.0", "::")  # noqa: S104
        if not description.startswith("ssl:"):
            beyond = beyond or anywhere or not ip_address(host.partition("%")[0]).is_loopback
        reach = socket.gethostname() if anywhere else host
        log.info(
            "Listening on {where}. To join, type: nc {host} {port}",
            where=format_host_port(host, port), host=reach, port=port,
        )  # fmt: skip
    for bound in udp_ports:
        log.info("Sending files from UDP {where}", where=format_host_port(*where_bound(bound) or ("", 0)))
    if options["no-udp"]:
        log.info("Sending files over TCP only")
    if limit is not None:
        more = ": raise the limit of open files (ulimit -Hn) for more" if limit < MANY_CONNECTIONS else ""
        log.info("{limit:,} connections at most{more}", limit=limit, more=more)
    if beyond:
        log.warn(  # noqa: G010 - Twisted's, where it is no old name
            "This chat can be reached from other machines, and its lines are not encrypted: anybody on the "
            "way can read them. Use it on a network that you trust."
        )


def where_bound(listening: IListeningPort) -> tuple[str, int] | None:
    """The address and port a listener is bound to; ``None`` for a UNIX socket."""
    host: Any = listening.getHost()
    return (host.host, host.port) if hasattr(host, "host") else None
