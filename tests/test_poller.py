"""The reactor within the reactor: who is called when, and who is let go of."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import skipUnless

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReactorFDSet
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, implementer

from pychat import poller as module
from pychat.poller import Poller, poller_for


@implementer(IReactorFDSet)
class Reactor(Clock):
    """Notes whom it is to watch."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.remove(writer)

    def _none(self, *arguments: Any) -> Any:
        raise NotImplementedError

    removeAll = getReaders = getWriters = _none


class End:
    """One end of a pair of sockets, that notes what it is told."""

    def __init__(self) -> None:
        self.socket, self.other = socket.socketpair()
        self.socket.setblocking(False)
        self.told: list[Any] = []
        self.why: Exception | None = None
        self.error: Exception | None = None
        self.reader: Reader | None = None

    def fileno(self) -> int:
        return self.socket.fileno()

    def doRead(self) -> Exception | None:
        if self.error is not None:
            raise self.error
        self.told.append(self.socket.recv(100))
        return self.why

    def doWrite(self) -> Exception | None:
        self.told.append("write")
        return self.why

    def readConnectionLost(self, reason: Failure) -> None:
        self.told.append(("read", reason.type))

    def connectionLost(self, reason: Failure) -> None:
        self.told.append(reason.type)
        self.close()

    def close(self) -> None:
        self.socket.close()
        self.other.close()


class Reader:
    """Reads what comes in at an end."""

    def __init__(self, end: End, then: Callable[[], object] = lambda: None) -> None:
        self.end = end
        self.then = then
        self.told: list[bytes] = []
        self.why: Exception | None = None

    def doRead(self) -> Exception | None:
        self.told.append(self.end.socket.recv(100))
        self.then()
        return self.why


@skipUnless(hasattr(select, "epoll"), "this system has no epoll, and the reactor does it all")
class PollerTests(SynchronousTestCase):
    """`Poller`."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.poller = Poller(self.reactor)
        self.addCleanup(lambda: self.poller.connectionLost(Failure(ConnectionDone())))

    def end(self) -> End:
        end = End()
        self.addCleanup(end.close)
        return end

    def test_reading(self) -> None:
        """Who has something to read is called, and the reactor watches while anybody waits."""
        one, two = self.end(), self.end()
        self.assertEqual(self.reactor.readers, [])
        self.poller.addReader(one)
        self.poller.addReader(two)
        self.poller.addReader(two)
        self.assertEqual((self.reactor.readers, self.poller.getReaders()), ([self.poller], [one, two]))
        one.other.send(b"hi")
        self.poller.doRead()
        self.assertEqual((one.told, two.told), ([b"hi"], []))
        self.poller.removeReader(one)
        two.other.send(b"ho")
        one.other.send(b"more")
        self.poller.doRead()
        self.assertEqual((one.told, two.told), ([b"hi"], [b"ho"]))
        self.poller.removeReader(two)
        self.poller.removeReader(two)
        self.assertEqual(self.reactor.readers, [])

    def test_reader(self) -> None:
        """Another one reads in place of who has one, also after a pause; all else is told whose connection it is."""
        one, two = self.end(), self.end()
        one.reader = reader = Reader(one)
        for end in (one, two):
            self.poller.addReader(end)
            end.other.send(b"first")
        self.poller.doRead()
        self.assertEqual((one.told, two.told, reader.told), ([], [b"first"], [b"first"]))
        self.poller.removeReader(one)
        self.poller.addReader(one)
        self.poller.addWriter(one)
        one.other.send(b"second")
        self.poller.doRead()
        self.assertEqual((one.told[0], reader.told[1:]), ("write", [b"second"]))
        self.poller.removeWriter(one)
        one.told.clear()
        one.reader = None
        self.poller.redirect(one)
        self.poller.redirect(self.end())  # which is not watched
        one.other.send(b"third")
        self.poller.doRead()
        self.assertEqual((one.told, reader.told[2:]), ([b"third"], []))
        one.reader = reader
        self.poller.redirect(one)
        reader.why = ConnectionDone()
        one.other.send(b"last")
        self.poller.doRead()
        self.assertEqual((one.told[1:], reader.told[2:]), ([ConnectionDone], [b"last"]))
        self.assertEqual(self.poller.getReaders(), [two])

    def test_reader_of_one_that_ends(self) -> None:
        """Who lets go of its connection and then says that it ended is not let go of twice."""
        one = self.end()
        one.reader = reader = Reader(one)
        self.poller.addReader(one)
        self.patch(reader, "doRead", lambda: self.poller.removeReader(one) or ConnectionDone())
        one.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(one.told, [])

    def test_ended_by_another(self) -> None:
        """Who was ready and has ended since, because of what another one said, is not called any more."""
        ends = [self.end(), self.end()]
        for end, other in zip(ends, reversed(ends), strict=True):
            self.poller.addReader(end)
            self.patch(end, "doRead", partial(self.poller.removeReader, other))
            end.other.send(b"hi")
        self.poller.doRead()
        self.assertEqual(len(self.poller.getReaders()), 1)

    def test_serve(self) -> None:
        """Who is served without being asked for is served as the others: what goes wrong ends that one."""
        end = self.end()
        self.poller.addReader(end)
        end.other.send(b"hi")
        self.poller.serve(end)
        self.assertEqual(end.told, [b"hi"])
        end.error = ZeroDivisionError()
        self.poller.serve(end)
        self.assertEqual(end.told, [b"hi", ZeroDivisionError])
        self.assertEqual(self.poller.getReaders(), [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_writing(self) -> None:
        """Who waits to write is called when there is room; who reads, too, is called for both."""
        end = self.end()
        self.poller.addWriter(end)
        self.poller.doRead()
        self.assertEqual(end.told, ["write"])
        self.poller.addReader(end)
        end.other.send(b"hi")
        self.poller.doRead()
        self.assertEqual(end.told, ["write", b"hi", "write"])
        self.assertEqual((self.poller.getReaders(), self.poller.getWriters()), ([end], [end]))
        self.poller.removeWriter(end)
        self.poller.doRead()
        self.assertEqual(end.told, ["write", b"hi", "write"])

    def test_end(self) -> None:
        """Whoever says that it is over is let go of; who can be closed by half hears that its half is."""
        whole, half, writer = self.end(), self.end(), self.end()
        directlyProvides(half, IHalfCloseableDescriptor)
        for end in (whole, half):
            end.why = ConnectionDone()
            self.poller.addReader(end)
            self.poller.addWriter(end)
            end.other.send(b"x")
        writer.why = ConnectionLost()
        self.poller.addWriter(writer)
        self.poller.doRead()
        self.assertEqual(whole.told, [b"x", ConnectionDone])
        self.assertEqual(half.told, [b"x", ("read", ConnectionDone)])
        self.assertEqual(writer.told, ["write", ConnectionLost])
        self.assertEqual((self.poller.getReaders(), self.poller.getWriters()), ([], [half]))

    def test_hung_up(self) -> None:
        """The other end is gone and there is nothing to read: who waited for it hears the end."""
        reader, writer = self.end(), self.end()
        self.poller.addReader(reader)
        self.poller.addWriter(writer)
        for end in (reader, writer):
            end.other.close()
        self.poller._serve(reader, select.EPOLLHUP)
        self.poller._serve(writer, select.EPOLLHUP)
        self.assertEqual((reader.told, writer.told), ([ConnectionDone], [ConnectionLost]))
        self.assertEqual(self.reactor.readers, [])

    def test_a_fault(self) -> None:
        """What goes wrong in one is logged and ends it, and the others go on."""
        bad, good = self.end(), self.end()
        bad.error = ValueError("a fault")
        for end in (bad, good):
            self.poller.addReader(end)
            end.other.send(b"x")
        self.poller.doRead()
        self.assertEqual((bad.told, good.told), ([ValueError], [b"x"]))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_fault_at_the_end(self) -> None:
        """Also when a connection cannot even end, the others go on, and nobody else is let go of."""

        class Bad(End):
            def connectionLost(self, reason: Failure) -> None:
                raise ValueError("cannot end")

        bad, good, last = Bad(), self.end(), Bad()
        self.addCleanup(bad.close)
        self.addCleanup(last.close)
        bad.why = ConnectionLost()
        for end in (bad, good, last):
            self.poller.addReader(end)
        for end in (bad, good):
            end.other.send(b"x")
        self.poller.doRead()
        self.assertEqual((good.told, self.poller.getReaders()), ([b"x"], [good, last]))
        self.poller.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(good.told, [b"x", ConnectionDone])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_rest(self) -> None:
        """When much comes, one by one, it rests a moment, and takes what has come by then together."""
        ends = [self.end() for _ in range(3)]
        for end in ends:
            self.poller.addReader(end)
        now = 5.0
        self.patch(module, "monotonic", lambda: now)
        for _ in range(module.CROWD - 1):
            ends[0].other.send(b"x")
            self.poller.doRead()
        self.assertEqual(self.reactor.readers, [self.poller])
        ends[0].other.send(b"x")
        self.poller.doRead()
        self.assertEqual((self.reactor.readers, self.reactor.writers), ([], [self.poller]))
        late = self.end()
        self.poller.addReader(late)
        self.assertEqual(self.reactor.readers, [])
        for end in (*ends, late):
            end.other.send(b"y")
        now += module.REST_SECONDS * 2
        self.reactor.advance(module.REST_SECONDS)
        self.assertEqual((self.reactor.readers, late.told), ([self.poller], [b"y"]))
        self.assertEqual([end.told[-1] for end in ends], [b"y"] * 3)

    def test_no_rest_from_newcomers(self) -> None:
        """While people are let in it goes on: they say something at once, and more of them wait."""
        self.patch(module, "CROWD", 1)
        port, newcomer = self.end(), self.end()
        self.poller.addReader(port)
        newcomer.other.send(b"y")
        port.reader = Reader(port, lambda: self.poller.serve(newcomer))
        self.poller.redirect(port)
        port.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(newcomer.told, [b"y"])
        self.assertEqual(self.reactor.readers, [self.poller])
        port.reader = None
        self.poller.redirect(port)
        port.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(self.reactor.readers, [])

    def test_nobody_left_while_it_rests(self) -> None:
        """Then there is nothing to get up for, until somebody comes."""
        end = self.end()
        self.poller.addReader(end)
        self.patch(module, "CROWD", 1)
        end.other.send(b"x")
        self.poller.doRead()
        self.poller.removeReader(end)
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))
        self.assertEqual(self.reactor.writers, [])
        self.poller.addReader(end)
        self.assertEqual((self.reactor.readers, self.reactor.writers), ([self.poller], [self.poller]))

    def test_never_writable(self) -> None:
        """What keeps its entry in the reactor while it rests wakes nobody, whatever is ready."""
        end = self.end()
        self.poller.addReader(end)
        self.poller.addWriter(end)
        end.other.send(b"x")
        with select.epoll() as epoll:
            epoll.register(self.poller.fileno(), select.EPOLLOUT)
            self.assertEqual(epoll.poll(0), [])
            epoll.modify(self.poller.fileno(), select.EPOLLIN)
            self.assertEqual(len(epoll.poll(0)), 1)

    def test_behind(self) -> None:
        """It knows when there was more to do than it had time for."""
        ends = [self.end() for _ in range(3)]
        for end in ends:
            self.poller.addReader(end)
            end.other.send(b"x")
        times = iter(range(100))
        self.patch(module, "monotonic", lambda: float(next(times)))
        self.poller.doRead()
        self.assertEqual((self.poller.behind, sum(len(end.told) for end in ends)), (True, 1))
        self.patch(module, "monotonic", lambda: 1000.0)
        self.poller.doRead()
        self.assertEqual((self.poller.behind, sum(len(end.told) for end in ends)), (False, 3))

    def test_closed_before(self) -> None:
        """A socket that was closed first is let go of all the same, and its number may be another's by then."""
        gone = self.end()
        self.poller.addReader(gone)
        number = gone.fileno()
        gone.socket.close()
        fresh = self.end()
        self.assertEqual(fresh.fileno(), number)
        self.poller.addReader(fresh)
        self.poller.removeReader(gone)
        fresh.other.send(b"hi")
        self.poller.doRead()
        self.assertEqual((gone.told, fresh.told), ([], [b"hi"]))
        self.poller.addWriter(gone2 := self.end())
        gone2.socket.close()
        self.poller.removeReader(gone2)
        self.poller.removeWriter(gone2)
        self.poller.removeReader(fresh)
        self.assertEqual(self.reactor.readers, [])

    def test_turn(self) -> None:
        """However many are ready, the reactor has its turn when the time is up, and all are served in the end."""
        now = iter(range(100))
        self.patch(module, "monotonic", lambda: next(now) * module.TURN_SECONDS / 4)
        self.patch(module, "EVENTS", 2)
        ends = [self.end() for _ in range(10)]
        for end in ends:
            self.poller.addReader(end)
            end.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(sum(len(end.told) for end in ends), 4)
        for _ in range(3):
            self.poller.doRead()
        self.assertEqual([end.told for end in ends], [[b"x"]] * 10)

    def test_the_end(self) -> None:
        """When the reactor ends all connections do."""
        ends = [self.end(), self.end()]
        for end in ends:
            self.poller.addReader(end)
            self.poller.addWriter(end)
        self.poller.connectionLost(Failure(ConnectionDone()))
        self.assertEqual([end.told for end in ends], [[ConnectionDone]] * 2)
        self.assertEqual(self.poller.removeAll(), [])

    @pytest.mark.patches
    def test_the_rest(self) -> None:
        """All else is the reactor's; and where there is no epoll, so are the connections."""
        self.assertEqual(self.poller.seconds(), 0.0)
        self.assertEqual(self.poller.logPrefix(), "chat")
        made = poller_for(self.reactor)
        self.assertIsInstance(made, Poller)
        made.connectionLost(Failure(ConnectionDone()))
        clock = Clock()
        self.assertIs(poller_for(clock), clock)
        self.patch(module, "select", object())
        self.assertIs(poller_for(self.reactor), self.reactor)
