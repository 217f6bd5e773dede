"""What the operating system can tell, where it can, and a harmless answer where it cannot."""

from __future__ import annotations

import builtins
import socket
import sys
from types import SimpleNamespace
from typing import Any
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from pychat import kernel

TELLS = kernel.can_tell_unsent()


class Told(SynchronousTestCase):
    """On a real connection."""

    def setUp(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.near = socket.create_connection(server.getsockname())
            self.far, _ = server.accept()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)

    @skipUnless(TELLS, "this system does not tell")
    def test_unsent(self) -> None:
        """What a peer that does not read leaves in our kernel is counted."""
        self.assertEqual(kernel.unsent(self.near), 0)
        self.near.setblocking(False)
        given = 0
        try:
            while True:
                given += self.near.send(b"x" * 65536)
        except BlockingIOError:
            pass
        unsent = kernel.unsent(self.near)
        assert unsent is not None
        self.assertTrue(0 < unsent < given + 1)

    def test_closed(self) -> None:
        """Of a socket that is closed nobody can tell anything."""
        self.near.close()
        self.assertIsNone(kernel.unsent(self.near))

    def test_keep_urgent_inline(self) -> None:
        """An urgent byte stays where it was sent; on what has none, nothing happens."""
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as sender:
            sender.connect(listener.getsockname())
            with listener.accept()[0] as receiver:
                kernel.keep_urgent_inline(receiver)
                sender.sendall(b"a")
                sender.send(b"\xf2", socket.MSG_OOB)
                sender.sendall(b"b")
                heard = b""
                while len(heard) < 3:
                    heard += receiver.recv(10)
        self.assertEqual(heard, b"a\xf2b")
        kernel.keep_urgent_inline(receiver)

    def test_find_dead_peers(self) -> None:
        """A peer that vanished is found within two minutes, idle or with bytes on their way."""
        kernel.find_dead_peers(self.near)
        self.assertTrue(self.near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        if sys.platform.startswith("linux"):
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            values = [self.near.getsockopt(socket.IPPROTO_TCP, option) for option in options]
            self.assertEqual(values, [30, 10, 3, 55_000])
        self.assertLess(kernel.KEEPALIVE_IDLE + kernel.KEEPALIVE_PROBES * kernel.KEEPALIVE_INTERVAL, 120)
        self.assertLess(kernel.USER_TIMEOUT, 120)

    def test_prepared(self) -> None:
        """A connection has what the chat's connections need, or it has not; who cannot say has not."""
        self.assertFalse(kernel.is_prepared(self.near))
        kernel.find_dead_peers(self.near)
        self.assertFalse(kernel.is_prepared(self.near))
        kernel.prepare(self.near)
        self.assertTrue(kernel.is_prepared(self.near))
        self.assertTrue(self.near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        self.assertTrue(self.near.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE))
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        self.assertFalse(kernel.is_prepared(self.near))
        if hasattr(socket, "AF_UNIX"):
            with socket.socket(socket.AF_UNIX) as other:
                kernel.prepare(other)
                self.assertFalse(kernel.is_prepared(other))
        self.near.close()
        self.assertFalse(kernel.is_prepared(self.near))

    def test_plain_socket(self) -> None:
        """A socket is given for a plain transport only: not with TLS, not without a socket."""
        plain = SimpleNamespace(getHandle=lambda: self.near)
        self.assertIs(kernel.plain_socket(plain), self.near)
        self.assertIsNone(kernel.plain_socket(SimpleNamespace(getHandle=lambda: self.near, TLS=True)))
        self.assertIs(kernel.plain_socket(SimpleNamespace(getHandle=lambda: self.near, TLS=False)), self.near)
        self.assertIsNone(kernel.plain_socket(SimpleNamespace(getHandle=lambda: object())))
        self.assertIsNone(kernel.plain_socket(object()))
        handles = (lambda: self.near, object, lambda: None)
        sealed = [kernel.is_sealed(SimpleNamespace(getHandle=each)) for each in handles]
        self.assertEqual([*sealed, kernel.is_sealed(object())], [False, True, False, False])


class Limits(SynchronousTestCase):
    """How many files may be open."""

    def raised(
        self, soft: int, hard: int, largest: int = 1 << 30
    ) -> tuple[int | None, list[tuple[int, int]]]:
        """What comes of it, and what was set, on a system that gives no more than ``largest``."""
        taken: list[tuple[int, int]] = []

        def setrlimit(what: int, limits: tuple[int, int]) -> None:
            if limits[0] > largest or limits[0] == -1 or limits[0] > limits[1] >= 0:
                raise ValueError("not allowed to raise maximum limit")
            taken.append(limits)

        system = SimpleNamespace(
            RLIM_INFINITY=-1, RLIMIT_NOFILE=7, getrlimit=lambda what: (soft, hard), setrlimit=setrlimit
        )
        self.patch(kernel, "resource", system)
        return kernel.raise_file_limit(), taken

    def test_raised(self) -> None:
        """The soft limit becomes the hard one, if it is not so already."""
        self.assertEqual(self.raised(1024, 524_288), (524_288, [(524_288, 524_288)]))
        self.assertEqual(self.raised(4096, 4096), (4096, []))

    def test_no_limit(self) -> None:
        """Where the hard one is no limit, but the system gives no such thing, it is what it gives at most."""
        self.assertEqual(self.raised(256, -1), (10_240, [(10_240, -1)]))
        self.assertEqual(self.raised(20_000, -1), (20_000, []))
        self.assertEqual(self.raised(-1, -1), (None, []))

    def test_refused(self) -> None:
        """What cannot be raised stays, and is told as it is."""
        self.assertEqual(self.raised(256, 4096, largest=300), (256, []))

    def test_nobody_tells(self) -> None:
        """Windows has no such limits; and a system may not say."""
        self.patch(kernel, "resource", None)
        self.assertIsNone(kernel.raise_file_limit())

        def getrlimit(what: int) -> None:
            raise OSError(38, "Function not implemented")

        self.patch(kernel, "resource", SimpleNamespace(RLIMIT_NOFILE=7, getrlimit=getrlimit))
        self.assertIsNone(kernel.raise_file_limit())

    def test_of_this_process(self) -> None:
        """What is told of this process is about right, where anything is told; and nothing where there is no /proc."""
        before = kernel.open_files()
        if before is not None:
            with socket.socket(), socket.socket():
                self.assertEqual(kernel.open_files(), before + 2)
        memory = kernel.memory()
        if sys.platform.startswith("linux"):
            assert memory is not None
            self.assertTrue(1 << 20 < memory < 1 << 34)

        def missing(*_: object) -> None:
            raise FileNotFoundError

        self.patch(kernel, "os", SimpleNamespace(stat=missing))
        self.patch(builtins, "open", missing)
        self.assertEqual((kernel.open_files(), kernel.memory()), (None, None))


class Missing(SynchronousTestCase):
    """Where a capability is not there."""

    def setUp(self) -> None:
        self.handle = socket.socket()
        self.addCleanup(self.handle.close)

    def test_no_fcntl(self) -> None:
        """Without ``fcntl`` nobody can tell, and the word for messages is another one."""
        self.patch(kernel, "fcntl", None)
        self.assertFalse(kernel.can_tell_unsent())
        self.assertIsNone(kernel.who_tells_unsent()(self.handle))

    def test_other_systems(self) -> None:
        """On a system that we know nothing about nobody can tell."""
        self.patch(kernel, "sys", SimpleNamespace(platform="plan9"))
        self.assertFalse(kernel.can_tell_unsent())
        self.assertIsNone(kernel.who_tells_unsent()(self.handle))

    def test_darwin(self) -> None:
        """macOS is asked with a socket option."""
        asked: list[tuple[int, int]] = []

        def getsockopt(level: int, option: int) -> int:
            asked.append((level, option))
            return 42

        self.patch(kernel, "sys", SimpleNamespace(platform="darwin"))
        self.assertEqual(kernel.who_tells_unsent()(SimpleNamespace(getsockopt=getsockopt)), 42)  # type: ignore[arg-type]
        self.assertEqual(asked, [(socket.SOL_SOCKET, 0x1024)])

    def test_linux(self) -> None:
        """Linux is asked with an ioctl."""
        asked: list[tuple[int, int]] = []

        def ioctl(number: int, request: int, argument: Any) -> int:
            asked.append((number, request))
            memoryview(argument).cast("B")[:] = (1234).to_bytes(4, sys.byteorder)
            return 0

        self.patch(kernel, "sys", SimpleNamespace(platform="linux"))
        self.patch(kernel, "fcntl", SimpleNamespace(ioctl=ioctl))
        self.assertTrue(kernel.can_tell_unsent())
        self.assertEqual(kernel.who_tells_unsent()(SimpleNamespace(fileno=lambda: 7)), 1234)  # type: ignore[arg-type]
        self.assertEqual(asked, [(7, 0x5411)])

    def test_options(self) -> None:
        """Options that the system does not have, or does not take, are left out; the others are set."""
        taken: dict[int, int] = {}

        def setsockopt(level: int, option: int, value: int) -> None:
            if option == 3:
                raise OSError(92, "Protocol not available")
            taken[option] = value

        names = SimpleNamespace(SOL_SOCKET=1, IPPROTO_TCP=6, SO_KEEPALIVE=2, TCP_KEEPALIVE=3, TCP_KEEPCNT=5)
        self.patch(kernel, "socket", names)
        kernel.find_dead_peers(SimpleNamespace(setsockopt=setsockopt))  # type: ignore[arg-type]
        self.assertEqual(taken, {2: 1, 5: 3})
