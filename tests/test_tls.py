"""Chatting over TLS, on `ssl:` endpoints: with a daemon on the running reactor, and clients with Python's own TLS."""

from __future__ import annotations

import datetime
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pychat import kernel
from pychat.listening import BACKLOG
from pychat.poller import Poller

from .guards import within
from .test_service import Running

# Twisted's way to make a context is not the newest.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


class Line:
    """One connection over TLS; its methods block, and are for threads."""

    def __init__(self, port: int, pem: Path, window: int | None = None) -> None:
        context = ssl.create_default_context(cafile=str(pem))
        bare = socket.socket()
        bare.settimeout(10)
        if window is not None:
            bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        bare.connect(("127.0.0.1", port))
        self.socket = context.wrap_socket(bare, server_hostname="localhost")
        self._stream = self.socket.makefile("rb")

    def say(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\n" for line in lines).encode())

    def until(self, start: str) -> list[str]:
        """Lines up to the first that starts so, or to the end."""
        lines = []
        for line in self._stream:
            lines.append(line.decode().rstrip("\n"))
            if lines[-1].startswith(start):
                break
        return lines

    def close(self) -> None:
        self._stream.close()
        self.socket.close()


class Served(Running):
    """The same over TLS."""

    def __init__(self, pem: Path) -> None:
        super().__init__()
        self.pem = pem

    def start_tls(self, *arguments: str) -> Any:
        return self.start(
            *arguments,
            listen=f"ssl:0:interface=127.0.0.1:privateKey={str(self.pem).replace(':', chr(92) + ':')}",
        )

    async def line(self, chat: Any, window: int | None = None) -> Line:
        return await deferToThread(Line, chat.tcp_ports[0].getHost().port, self.pem, window)


async def join(alice: Line, bob: Line) -> None:
    """Both are in the chat; alice acknowledges."""
    alice.say("<hello caps=ack>", "<connect>alice")
    await deferToThread(alice.until, "<connected>")
    bob.say("<connect>bob")
    await deferToThread(bob.until, "<connected>")


@pytest_twisted.ensureDeferred
@within(20)
async def test_talks(pem: Path) -> None:
    """Two people talk; the connections are our poller's, the port has the long queue, and its bursts."""
    async with Served(pem) as running:
        chat = running.start_tls()
        (port,) = chat.tcp_ports
        assert port.backlog == BACKLOG
        alice, bob = [await running.line(chat) for _ in range(2)]
        try:
            await join(alice, bob)
            for connection in chat.factory.connections:
                bare = connection.transport.transport
                assert isinstance(bare.reactor, Poller)
                if hasattr(socket, "TCP_KEEPIDLE"):
                    idle = bare.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                    assert idle == kernel.KEEPALIVE_IDLE, "who vanishes is found"
            bob.say("<set_msg>alice hi")
            assert (await deferToThread(alice.until, "<msg"))[-1].endswith(">hi")
            alice.say("<ack>1")
            assert (await deferToThread(bob.until, "<delivered"))[-1] == "<delivered id=1>alice"
            bob.say("<disconnect>")
            assert (await deferToThread(bob.until, "<nothing"))[-1].startswith("<goodbye code=bye>")
        finally:
            alice.close()
            bob.close()


@pytest_twisted.ensureDeferred
@within(20)
async def test_much(pem: Path) -> None:
    """Megabytes for somebody who reads slowly come whole and in order, and wait where they are counted."""
    async with Served(pem) as running:
        chat = running.start_tls()
        alice, bob = await running.line(chat, 8192), await running.line(chat)
        try:
            await join(alice, bob)
            hers = next(iter(chat.factory.connections))
            hers.transport.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            text = "x" * 4000
            for first in range(0, 400, 100):
                bob.say(*(f"<set_msg>alice {number} {text}" for number in range(first, first + 100)))
                await deferToThread(bob.until, f"<accepted id={first + 100}>")
            assert hers.peer.mailbox.queued > 1_000_000
            for number in range(400):
                line = (await deferToThread(alice.until, "<msg"))[-1]
                assert line.endswith(f">{number} {text}")
        finally:
            alice.close()
            bob.close()


@pytest_twisted.ensureDeferred
@within(20)
async def test_idle(pem: Path) -> None:
    """A connection on which nothing happens costs nothing."""
    from twisted.internet import reactor as running_reactor

    reactor: Any = running_reactor
    async with Served(pem) as running:
        chat = running.start_tls()
        alice = await running.line(chat)
        try:
            await deferToThread(alice.until, "<welcome>")
            # Until nothing is to be done at once any more; what spins has always something.
            while any(call.getTime() < reactor.seconds() + 0.001 for call in reactor.getDelayedCalls()):
                await deferLater(reactor, 0, lambda: None)
        finally:
            alice.close()


@pytest_twisted.ensureDeferred
@within(20)
async def test_turned_away(pem: Path) -> None:
    """Who does not fit is told so over TLS, too, whatever she said meanwhile; and TLS ends as it should."""
    async with Served(pem) as running:
        chat = running.start_tls()
        chat._door.limit = 0
        line = await running.line(chat)
        try:
            line.say("<hello>")
            (told,) = await deferToThread(line.until, "<nothing")
            assert told.startswith("<goodbye code=full>")
        finally:
            line.close()
