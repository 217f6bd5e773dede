"""What is asked of a connection's socket most often: the same in Python and, where it was compiled, in C."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pychat import kernel
from tests.chatkit import FakeTransport, ScriptedSocket

Pair = tuple[socket.socket, socket.socket]

MADE: list[Any] = [kernel.Channel]
if kernel._channel is not None:
    MADE.append(lambda handle: kernel._channel.Channel(handle.fileno()))


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A TCP connection, whose near end never waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    with near, far:
        yield near, far


@pytest.fixture(params=MADE)
def make(request: pytest.FixtureRequest) -> Any:
    """Makes a channel of a socket."""
    return request.param


def test_there_and_back(make: Any, pair: Pair) -> None:
    """What is sent arrives, and what comes is received; nothing yet is not the end."""
    near, far = pair
    channel = make(near)
    assert channel.receive() is None
    for size in (0, 1, 1000, 100):  # more often than the lock is kept
        for _ in range(20):
            data = os.urandom(size)
            assert channel.send(data) == size
            assert far.recv(size, socket.MSG_WAITALL) == data
            if data:
                far.sendall(data)
                assert _received(channel, size) == data
    assert channel.receive() is None
    far.shutdown(socket.SHUT_WR)
    near.setblocking(True)
    near.recv(1, socket.MSG_PEEK)  # until it is there
    assert channel.receive() == b""
    assert channel.receive() == b""


def _received(channel: Any, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += channel.receive() or b""
    return got


def test_most_at_once(make: Any, pair: Pair) -> None:
    """No more than one read takes; the rest stays."""
    near, far = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * kernel.READ)
    data = os.urandom(kernel.READ + 1000)
    far.sendall(data)
    near.setblocking(True)
    assert len(near.recv(len(data), socket.MSG_PEEK | socket.MSG_WAITALL)) == len(data)
    near.setblocking(False)
    channel = make(near)
    assert channel.receive() == data[: kernel.READ]
    assert channel.receive() == data[kernel.READ :]


def test_full(make: Any, pair: Pair) -> None:
    """What the kernel does not take is not waited for, and who tells how much it has tells that."""
    near, far = pair
    channel = make(near)
    data = b"x" * 1_000_000
    given = 0
    while taken := channel.send(data):
        given += taken
    assert channel.send(b"y") == 0
    unsent = channel.unsent()
    assert unsent is None or 0 < unsent <= given
    if kernel.can_tell_unsent():
        assert unsent is not None
    got = 0
    while got < given:
        got += len(far.recv(1_000_000))
    assert channel.send(b"z") == 1
    assert far.recv(10) == b"z"


def test_broken(make: Any, pair: Pair) -> None:
    """A connection that was reset takes nothing, and says so to who reads."""
    near, far = pair
    channel = make(near)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    near.setblocking(True)
    with pytest.raises(ConnectionResetError):
        near.recv(1)
    assert channel.send(b"x") == 0
    assert channel.send(b"x") == 0  # the first may have been what told of it


def test_reset_while_reading(make: Any, pair: Pair) -> None:
    """Who reads is told that it was."""
    near, far = pair
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    channel = make(near)
    with pytest.raises(ConnectionResetError):
        _received(channel, 1)


def test_closed(make: Any, pair: Pair) -> None:
    """Of a socket that is closed nothing comes, and nobody can tell anything."""
    near, _ = pair
    channel = make(near)
    near.close()
    assert channel.send(b"x") == 0
    assert channel.unsent() is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        channel.receive()


def test_only_bytes(make: Any, pair: Pair) -> None:
    """Anything else is an error, and nothing is sent."""
    near, far = pair
    with pytest.raises(TypeError):
        make(near).send("text")
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(1)


def test_which_one(pair: Pair) -> None:
    """In C if that is there, but for a socket that is not just one; none without a socket, and none with TLS."""
    near, _ = pair
    made = kernel.channel(FakeTransport(near))
    assert type(made) is (kernel.Channel if kernel._channel is None else kernel._channel.Channel)
    with ScriptedSocket() as scripted:
        assert type(kernel.channel(FakeTransport(scripted))) is kernel.Channel
    assert kernel.channel(FakeTransport(None)) is None
