"""Where it happens: two network namespaces, one with the daemon, one with its clients.

`Cabled` makes them and joins them by a cable; `Linked` has them from an emulator of links, a command that takes
``up OPTIONS``, ``a COMMAND`` and ``b COMMAND`` (run at one end; ``PYCHAT_LINK_HOST`` is the address of ``a``) and
``down``.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import NamedTuple

from ..system.programs import PYCHAT, Daemon, Network, Program, ip, run, serve

LINK = os.environ.get("PYCHAT_LINK", "")
LINK_HOST = os.environ.get("PYCHAT_LINK_HOST", "10.77.0.1")
LINK_CLIENT = os.environ.get("PYCHAT_LINK_CLIENT", "10.77.0.2")

HEADERS = 28 + 15 + 16 + 9
"""Bytes of a full packet that are no file: IPv4 and UDP, our header, AES-GCM's tag, the frame of data."""

RULES = "inet pychat_survival"


class Seen(NamedTuple):
    """What was seen beside its limit."""

    what: str
    seen: str
    limit: str
    met: bool


class Sent(NamedTuple):
    """What an interface has sent so far."""

    size: int
    packets: int


class World:
    """Two places, a folder, and what can be done to the packets between them."""

    host: str
    client_host: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def inside(self, end: str) -> tuple[str, ...]:
        """What comes before a command that runs at the end ``daemon`` or ``client``."""
        raise NotImplementedError

    def serve(self, *options: str) -> Daemon:
        """Start the daemon; its state and its shelf stay from one to the next."""
        listen = f"tcp:50000:interface={self.host}"
        return serve(self.folder, *options, listen=listen, prefix=self.inside("daemon"))

    @property
    def shelf(self) -> Path:
        """The files of the daemon."""
        return self.folder / "files"

    def client(self, verb: str, *arguments: str) -> Program:
        """Start ``pychat VERB HOST ARGUMENTS``; it runs in the folder."""
        return Program(
            *self.inside("client"), *PYCHAT, verb, f"{self.host}:50000", *arguments, cwd=self.folder
        )

    def rules(self, end: str, *lines: str) -> None:
        """Give nftables' rules for packets at one end; they replace what was given there before.

        :param lines: each a hook with its priority, a colon, and a rule: ``input 0: udp dport 1 drop``.
        """
        script = f"table {RULES}\ndelete table {RULES}\ntable {RULES} {{\n"
        for number, line in enumerate(lines):
            hook, _, rule = line.partition(": ")
            name, _, priority = hook.partition(" ")
            script += f"chain c{number} {{ type filter hook {name} priority {priority}; {rule}; }}\n"
        path = self.folder / f"rules-{end}"
        path.write_text(script + "}\n")
        run(*self.inside(end), "nft", "-f", str(path))

    def answer_for(self, address: str) -> None:
        """Let packets for this address come to the client's end too."""

    def sent(self, end: str) -> Sent:
        """What left from there so far."""
        interfaces = json.loads(run(*self.inside(end), "ip", "-j", "-s", "link"))
        counted = [one["stats64"]["tx"] for one in interfaces if one["ifname"] != "lo"]
        return Sent(sum(one["bytes"] for one in counted), sum(one["packets"] for one in counted))


class Cabled(World):
    """Joined by a cable, which is as fast as the machine, or has a rate."""

    host, client_host = Network.HERE, Network.THERE

    def __init__(self, folder: Path, tag: str = "survive", mbit: float = 0) -> None:
        super().__init__(folder)
        self._network = Network(tag)
        self._mbit = mbit

    def __enter__(self) -> Cabled:
        self._network.__enter__()
        try:
            for name in (self._network.here, self._network.there) if self._mbit else ():
                # Segments as the wire has them, so that counters and rules see them one by one.
                shape = f"dev cable root tbf rate {self._mbit:g}mbit burst 32kb latency 50ms"
                run("ip", "netns", "exec", name, "tc", "qdisc", "add", *shape.split())
                ip(name, "link set cable gso_max_segs 1")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._network.__exit__()

    def inside(self, end: str) -> tuple[str, ...]:
        return self._network.inside(self._network.here if end == "daemon" else self._network.there)

    def answer_for(self, address: str) -> None:
        ip(self._network.there, f"addr add {address}/24 dev cable")


class Linked(World):
    """Joined by an emulated link."""

    host, client_host = LINK_HOST, LINK_CLIENT

    def __init__(self, folder: Path, options: str) -> None:
        super().__init__(folder)
        self._options = options

    def __enter__(self) -> Linked:
        assert LINK, "PYCHAT_LINK names no command that raises a link"
        run(LINK, "up", *self._options.split())
        return self

    def __exit__(self, *error: object) -> None:
        run(LINK, "down")

    def inside(self, end: str) -> tuple[str, ...]:
        return (LINK, "a" if end == "daemon" else "b")


def rest(seconds: float) -> None:
    """Let time pass: an outage has to last."""
    threading.Event().wait(seconds)
