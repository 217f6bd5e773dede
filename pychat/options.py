"""The daemon's command line, the same under ``twistd pychat``, ``twist pychat`` and ``pychat serve``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable

from twisted.python import usage

from . import __version__
from .address import parse_host_port
from .journal.prune import parse_age, parse_bound, parse_size
from .mailroom import MEMORY_LIMIT
from .transfer.congestion import CONTROLLERS, DEFAULT_CONTROLLER
from .transfer.packet import DATAGRAM_BYTES, MAX_DATAGRAM_BYTES

JOURNALS = ("sqlite", "memory")

UPLOADS = {"everyone": True, "nobody": False}

LEAST_MEMORY = 16 * 1024 * 1024
"""The smallest ceiling for what waits for slow readers: each may have 2 MiB."""

DEFAULT_LISTEN = "tcp:50000:interface=127.0.0.1"


class Options(usage.Options):
    """What ``twistd pychat`` takes."""

    synopsis = "[options]"
    longdesc = (
        "Serve a chat and a folder of files to the people on this network. "
        "They join with `nc HOST PORT`, `telnet HOST PORT` or `pychat chat HOST:PORT --name NAME`. "
        "Ctrl-C or SIGTERM ends it with status 0, once everybody was told; a second one at once. "
        "The exit status is 1 if it cannot start, and standard error says why."
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
        ["congestion", None, DEFAULT_CONTROLLER, f"How files share a link: {', '.join(CONTROLLERS)}."],
    ]
    optFlags = [  # noqa: RUF012
        ["no-udp", None, "Open no UDP port: files go over the TCP port."],
    ]

    def __init__(self) -> None:
        super().__init__()
        # Twisted wraps what docstrings say, and leaves the spaces that indent their lines.
        self.docs = {option: " ".join(text.split()) for option, text in self.docs.items()}
        self["listen"] = []
        self["udp"] = []
        self["udp-advertise"] = None
        self["keep"] = None
        self["keep-bytes"] = None
        self["uploads"] = None
        self["quota"] = 1 << 30
        self["shelf-limit"] = 10 << 30
        self["keep-uploads"] = 86_400
        self["rate-limit"] = None
        self["rate-limit-each"] = None
        self["max-datagram"] = MAX_DATAGRAM_BYTES
        self["memory-limit"] = MEMORY_LIMIT

    opt_h = usage.Options.opt_help

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"pychat {__version__}")  # noqa: T201
        sys.exit(0)

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen for people, as a Twisted endpoint; repeatable.
        [default: tcp:50000:interface=127.0.0.1]. For the whole network: tcp:50000, and tcp6:50000 beside it.
        An IPv6 address alone: tcp6:50000:interface=::1.
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
        """Forget the oldest messages while the journal is larger, such as 2G; 1M at least. [default: keep all]"""
        self["keep-bytes"] = _number(parse_bound, "--keep-bytes", size)

    def opt_uploads(self, who: str) -> None:
        """Who may upload files: everyone, or nobody. [default: who connects from this machine]"""
        if who not in UPLOADS:
            raise usage.UsageError(f"--uploads: {who} is nobody that can be named: choose everyone or nobody")
        self["uploads"] = UPLOADS[who]

    def opt_quota(self, size: str) -> None:
        """How much one person may upload, such as 500M (K, M, G, T). [default: 1G]"""
        self["quota"] = _number(parse_size, "--quota", size)

    def opt_shelf_limit(self, size: str) -> None:
        """How much all may upload together, such as 50G. [default: 10G]"""
        self["shelf-limit"] = _number(parse_size, "--shelf-limit", size)

    def opt_keep_uploads(self, age: str) -> None:
        """Remove an upload that broke off when nobody went on with it for so long, such as 12h. [default: 1d]"""
        self["keep-uploads"] = _number(parse_age, "--keep-uploads", age)

    def opt_rate_limit(self, rate: str) -> None:
        """How fast files are sent and taken, all together: bytes a second, such as 10M (K, M, G).
        [default: no limit]
        """
        self["rate-limit"] = _rate("--rate-limit", rate)

    def opt_rate_limit_each(self, rate: str) -> None:
        """How fast files are sent and taken for one person, such as 1M. [default: no limit]"""
        self["rate-limit-each"] = _rate("--rate-limit-each", rate)

    def opt_memory_limit(self, size: str) -> None:
        """How much may wait for slow readers, all together; past it the slowest are ended; 16M at least.
        [default: 512M]
        """
        limit = _number(parse_size, "--memory-limit", size)
        if limit < LEAST_MEMORY:
            raise usage.UsageError(f"--memory-limit: {size} is too little: 16M is the least")
        self["memory-limit"] = limit

    def opt_max_datagram(self, size: str) -> None:
        """Largest UDP payload that is tried. [default: what the path carries]"""
        if not size.isascii() or not size.isdigit() or not DATAGRAM_BYTES <= int(size) <= MAX_DATAGRAM_BYTES:
            raise usage.UsageError(
                f"--max-datagram: {size} is not from {DATAGRAM_BYTES} to {MAX_DATAGRAM_BYTES}"
            )
        self["max-datagram"] = int(size)

    def parseArgs(self, *words: str) -> None:
        for word in words:
            # A port, or else a folder: that is what somebody means who forgets the option.
            port = word.isascii() and word.isdigit()
            meant = f"--listen tcp:{word}" if port else f"--files {shlex.quote(word)}"
            raise usage.UsageError(f"{word!r} stands there without its option: perhaps {meant} is meant")

    def postOptions(self) -> None:
        if self["no-udp"] and (self["udp"] or self["udp-advertise"]):
            raise usage.UsageError("--no-udp: there is no UDP port to be named: leave --udp out")
        if self["congestion"] not in CONTROLLERS:
            raise usage.UsageError(
                f"--congestion: there is no {self['congestion']!r}: choose {', '.join(CONTROLLERS)}"
            )
        if not self["listen"]:
            self["listen"].append(DEFAULT_LISTEN)
        if self["journal"] not in JOURNALS:
            raise usage.UsageError(
                f"--journal: there is no journal {self['journal']!r}: choose sqlite or memory"
            )


def _rate(option: str, text: str) -> int:
    rate = _number(parse_size, option, text.removesuffix("/s"))
    if rate < 1024:
        raise usage.UsageError(f"{option}: {text} is too slow to be of use: at least 1K")
    return rate


def _number(parse: Callable[[str], int], option: str, text: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise usage.UsageError(f"{option}: {error}") from None
