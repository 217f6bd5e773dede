"""What a UDP socket can do: found out by trying."""

from __future__ import annotations

import socket
import sys
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from pychat import trains
from pychat.trains import (
    Abilities,
    ask_for_destination,
    cut,
    find_abilities,
    never_fragment,
    segment_of,
    widen,
)


class Poor:
    """A real socket that lacks something, or does something else.

    :cvar without: names that it does not have.
    :cvar refuses: options that it does not know.
    """

    without: tuple[str, ...] = ()
    refuses: tuple[int, ...] = ()

    def __init__(self, family: int, kind: int) -> None:
        self._real = socket.socket(family, kind)

    def __getattr__(self, name: str) -> Any:
        if name in self.without:
            raise AttributeError(name)
        return getattr(self._real, name)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if option in self.refuses:
            raise OSError
        self._real.setsockopt(level, option, value)


def poor(**what: Any) -> Any:
    """A kind of `Poor` sockets."""
    return type("Poorer", (Poor,), what)


class ProbeTests(SynchronousTestCase):
    """`find_abilities`."""

    def find(self, **what: Any) -> Abilities:
        return find_abilities(socket.AF_INET, poor(**what))

    def setUp(self) -> None:
        self.all = self.find()
        if sys.platform == "linux":
            self.assertTrue(self.all.sendmsg and self.all.recvmsg_into)

    def test_hidden(self) -> None:
        """What is not there is not used, nor what needs it."""
        no_send = self.all._replace(sendmsg=False, segments=False)
        self.assertEqual(self.find(without=("sendmsg",)), no_send)
        no_into = self.all._replace(recvmsg_into=False, gathers=False)
        self.assertEqual(self.find(without=("recvmsg_into",)), no_into)
        self.assertEqual(self.find(refuses=(trains.UDP_GRO,)), self.all._replace(gathers=False))

    def test_refuses_trains(self) -> None:
        """A kernel that does not take UDP_SEGMENT."""

        def sendmsg(self: Any, *arguments: Any) -> None:
            raise OSError

        self.assertEqual(self.find(sendmsg=sendmsg), self.all._replace(segments=False))

    def test_ignores_trains(self) -> None:
        """One that does not know it, and sends everything as one datagram; or nothing at all."""

        def joined(self: Any, buffers: Any, _: Any, flags: int, address: Any) -> None:
            self._real.sendto(b"".join(buffers), address)

        self.assertFalse(self.find(sendmsg=joined).segments)
        with mock.patch.object(trains, "_PROBE_SECONDS", 0.01):
            self.assertFalse(self.find(sendmsg=lambda *arguments: None).segments)

    def test_gathers_badly(self) -> None:
        """One that hands over a train without saying how to cut it, or nothing."""
        real = socket.socket.recvmsg_into

        def silent(self: Any, *arguments: Any) -> Any:
            nbytes, _, flags, address = real(self._real, *arguments)
            return nbytes, [], flags, address

        def broken(self: Any, *arguments: Any) -> Any:
            raise OSError

        if self.all.gathers:
            self.assertFalse(self.find(recvmsg_into=silent).gathers)
            self.assertFalse(self.find(recvmsg_into=broken).gathers)
            calls: list[None] = []

            def once(self: Any, *arguments: Any) -> Any:
                calls.append(None)
                if len(calls) > 1:
                    raise OSError
                return Poor.__getattr__(self, "sendmsg")(*arguments)

            self.assertFalse(self.find(sendmsg=once).gathers)

    def test_no_loopback(self) -> None:
        """Where nothing can be tried, nothing is taken for granted."""
        self.assertEqual(self.find(bind=mock.Mock(side_effect=OSError)), Abilities())


class PartsTests(SynchronousTestCase):
    """The small parts."""

    def test_cut(self) -> None:
        """Datagrams come out of whatever buffers they went in."""
        self.assertEqual(cut([b"ab", b"cd", b"e"], 2), [b"ab", b"cd", b"e"])
        self.assertEqual(cut([b"a", b"bcd", b"e"], 2), [b"ab", b"cd", b"e"])
        self.assertEqual(cut([b"abcd"], 2), [b"ab", b"cd"])

    def test_segment_of(self) -> None:
        """Without a word from the kernel it is one datagram."""
        self.assertEqual((segment_of([], 7), segment_of([], 0)), (7, 1))
        self.assertEqual(segment_of([(1, 2, b"x"), (17, 104, b"\5\0\0\0")], 7), 5)
        self.assertEqual(segment_of([(17, 104, b"\0\0\0\0")], 7), 7)

    def test_never_fragment(self) -> None:
        """Each system has its own option, or none."""
        sock: Any = mock.Mock()
        for platform in ("linux", "darwin", "freebsd14", "win32"):
            for family in (socket.AF_INET, socket.AF_INET6):
                self.assertTrue(never_fragment(sock, family, platform))
        self.assertFalse(never_fragment(sock, socket.AF_INET, "plan9"))
        sock.setsockopt.side_effect = OSError
        self.assertFalse(never_fragment(sock, socket.AF_INET, "linux"))

    def test_widen(self) -> None:
        """More room is asked for, by force if that helps, and less is no error."""
        sock: Any = mock.Mock()
        sock.getsockopt.return_value = 5
        widen(sock, 4)
        self.assertFalse(sock.setsockopt.called)
        for platform, calls in (("linux", 4), ("darwin", 2)):
            sock.setsockopt.reset_mock()
            sock.setsockopt.side_effect = OSError
            with mock.patch.object(trains.sys, "platform", platform):
                widen(sock, 6)
            self.assertEqual(sock.setsockopt.call_count, calls)


class DestinationTests(SynchronousTestCase):
    """`ask_for_destination`."""

    def test_ipv4(self) -> None:
        """The answer leaves from the address that was asked; the route picks the interface."""
        sock = mock.Mock()
        answer = ask_for_destination(sock, socket.AF_INET)
        assert answer is not None
        ((level, kind, data),) = answer(
            [(0, 99, b""), (socket.IPPROTO_IP, 8, b"\1\0\0\0" + b"ours" + b"them")]
        )
        self.assertEqual((level, kind, data), (socket.IPPROTO_IP, 8, bytes(4) + b"ours" + bytes(4)))

    def test_ipv6(self) -> None:
        """Only a link-local address keeps its interface."""
        answer = ask_for_destination(mock.Mock(), socket.AF_INET6)
        assert answer is not None
        kind = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
        local, wide = b"\xfe\x80" + bytes(14), b"\x20\x01" + bytes(14)
        self.assertEqual(answer([(*kind, local + b"\7\0\0\0")]), ((*kind, local + b"\7\0\0\0"),))
        self.assertEqual(answer([(*kind, wide + b"\7\0\0\0")]), ((*kind, wide + bytes(4)),))

    def test_not_told(self) -> None:
        """When the kernel did not say, the route decides."""
        answer = ask_for_destination(mock.Mock(), socket.AF_INET)
        assert answer is not None
        self.assertEqual(answer([]), ())

    def test_not_there(self) -> None:
        """Where the platform has no such thing, nothing is asked for."""
        self.assertIsNone(ask_for_destination(mock.Mock(spec=["setsockopt"]), socket.AF_INET))
        refusing = mock.Mock()
        refusing.setsockopt.side_effect = OSError
        self.assertIsNone(ask_for_destination(refusing, socket.AF_INET))
        with (
            mock.patch.object(trains.sys, "platform", "win32"),
            mock.patch.object(trains, "socket") as without,
        ):
            del without.IP_PKTINFO
            without.AF_INET6 = socket.AF_INET6
            refusing.setsockopt.side_effect = TypeError
            self.assertIsNone(ask_for_destination(refusing, socket.AF_INET))
