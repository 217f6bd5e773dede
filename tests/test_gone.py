"""What a connection that has ended leaves behind: nothing that the garbage collector would have to look for."""

from __future__ import annotations

import gc
import re
import socket
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest_twisted
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pychat.line import ChatProtocol
from pychat.mailbox import Mailbox
from pychat.outlet import Outlet
from pychat.peer import Peer
from pychat.redelivery import Redelivery
from pychat.session import Session

from .guards import within
from .test_service import Running

KINDS = (ChatProtocol, Peer, Session, Outlet, Mailbox, Redelivery)

SMART = "<hello caps=ack,resume,multiline>"

LOTS = (
    # What each says, and how the answer that it waits for begins; and what it says last.
    ([("", "<welcome")], ""),
    ([("<hello>\n", "<hello")], ""),
    ([("<connect>{name}\n", "<connected")], ""),
    ([("<connect>{name}\n<set_msg_all>hi\n<listfiles>\n", "<files")], "<disconnect>\n"),
    ([("<hello caps=ack>\n<connect>{name}\n<join>#tea\n<set_msg>#tea hi\n", "<accepted")], ""),
    ([(SMART + "\n<connect>{name}\n", "<connected"), ("<set_msg once=1>{other} hi\n", "<accepted")], ""),
    ([(SMART + "\n<connect>{name}\n", "<connected"), ("<set_msg>{other} hi\n", "<msg")], "<ack>{id}\n"),
    ([(SMART + "\n<connect>{name}\n<history>all\n", "<history")], "<disconnect>\n"),
    ([("no such thing\n<help>\n", "<commands")], "<set_msg_all>cut sho"),
    ([("\xff\xfd\x06<ping>x\n", "\xff\xfb\x06<pong")], "<connect>{name}\n"),
)

LOT = 100


def visit(port: int, number: int) -> None:
    """So many connections are made, talk, and are closed; all are there at once."""
    steps, last = LOTS[number]

    def said(line: str, each: int, id: str = "") -> bytes:
        return line.format(name=f"p{number}x{each}", other=f"p{number}x{each ^ 1}", id=id).encode("latin-1")

    with ExitStack() as open_:
        clients = [open_.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(LOT)]
        heard = [""] * LOT
        for line, answer in steps:
            for each, client in enumerate(clients):
                client.sendall(said(line, each))
            for each, client in enumerate(clients):
                while not re.search(f"^{answer}.*\n", heard[each], re.MULTILINE):
                    heard[each] += client.recv(65536).decode("latin-1")
        for each, client in enumerate(clients):
            ids = re.findall("^<msg id=([0-9]+)", heard[each], re.MULTILINE)
            client.sendall(said(last, each, ids[-1] if ids else ""))


@pytest_twisted.ensureDeferred
@within(60)
async def test_nothing_is_left() -> None:
    """A thousand connections of all sorts come and go, and with the collector switched off nothing of them stays."""
    from twisted.internet import reactor

    async with Running() as running:
        chat = running.start()
        port: Any = chat.tcp_ports[0]
        gc.collect()
        gc.disable()
        try:
            for number in range(len(LOTS)):
                await deferToThread(visit, port.getHost().port, number)
                while chat.factory.connections:
                    await deferLater(reactor, 0.01, lambda: None)
            await chat.pump.settled()
            for _ in range(10):
                await deferLater(reactor, 0, lambda: None)
            left = Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, KINDS))
            assert left == {}
        finally:
            gc.enable()
