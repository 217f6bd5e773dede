"""The daemon's command line, the same under ``twistd pychat``, ``twist pychat`` and ``pychat serve``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from twisted.python import usage

from . import __version__
from .address import parse_host_port
from .journal.prune import parse_age, parse_size

JOURNALS = ("sqlite", "memory")

DEFAULT_LISTEN = "tcp:50000:interface=127.0.0.1"


class Options(usage.Options):
    """What ``twistd pychat`` takes."""

    synopsis = "[options]"
    longdesc = (
        "Serve a chat and a folder of files to the people on this network. "
        "They join with `nc HOST PORT`, `telnet HOST PORT` or `pychat chat HOST:PORT --name NAME`."
    )
    optParameters = [  # noqa: RUF012  Twisted reads it off the class
        ["files", "f", "files", "Folder whose files are shared; made if absent."],
        ["state", "s", "state", "Folder for what has to survive the process, the messages; made if absent."],
        [
            "journal",
            "j",
            "sqlite",
            "Where messages are kept: sqlite (in --state), or memory (they end with the process).",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["udp"] = []
        self["udp-advertise"] = None
        self["keep"] = None
        self["keep-bytes"] = None

    def opt_version(self) -> None:
        """Show the version and exit."""
        sys.stdout.write(f"pychat {__version__}\n")
        sys.exit(0)

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen for people, as a Twisted endpoint; repeatable.
        [default: tcp:50000:interface=127.0.0.1]. For the whole network: tcp:50000, and tcp6:50000 beside it.
        """
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def opt_udp(self, host_port: str) -> None:
        """HOST:PORT from which files are sent; repeatable.
        [default: beside every --listen]. 0.0.0.0:PORT or [::]:PORT stands for all addresses.
        """
        try:
            host, port = parse_host_port(host_port, -1)
        except ValueError as error:
            raise usage.UsageError(f"--udp: {error}") from None
        if port < 0:
            raise usage.UsageError(f"--udp: {host_port} has no port: write {host_port}:50000")
        self["udp"].append((host, port))

    def opt_udp_advertise(self, port: str) -> None:
        """UDP port that clients are told instead of the real one, where a router translates it."""
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise usage.UsageError(f"--udp-advertise: {port} is not a port: ports go from 1 to 65535")
        self["udp-advertise"] = int(port)

    def opt_keep(self, age: str) -> None:
        """Forget messages that are older, such as 30d (s, m, h, d, w, y). [default: keep all]"""
        self["keep"] = _number(parse_age, "--keep", age)

    def opt_keep_bytes(self, size: str) -> None:
        """Forget the oldest messages while the journal is larger, such as 2G (K, M, G, T). [default: keep all]"""
        self["keep-bytes"] = _number(parse_size, "--keep-bytes", size)

    def postOptions(self) -> None:
        if not self["listen"]:
            self["listen"].append(DEFAULT_LISTEN)
        if self["journal"] not in JOURNALS:
            raise usage.UsageError(
                f"--journal: there is no journal {self['journal']!r}: choose sqlite or memory"
            )


def _number(parse: Callable[[str], int], option: str, text: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise usage.UsageError(f"{option}: {error}") from None
