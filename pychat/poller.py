"""A reactor within the reactor, for the connections of the chat: it asks an epoll descriptor of its own.

For each event Twisted's reactor makes a context for the log, looks twice at what happened, and calls; that costs as
much as a short message does.  A chat has thousands of sockets and does little with each of them, so here one reader of
the reactor stands in as the reactor of all of them: when the reactor says that something happened, it asks which, and
calls.  The ports, transports and protocols are Twisted's own, and so is everything else that they ask of a reactor.

It comes back to the reactor after :data:`TURN_SECONDS`, however much is ready: the descriptor still is then, and the
kernel puts at the end of the queue those that had their turn.  When much comes, one by one, it does not get up for
each: a turn of the reactor costs as much as three events.  Where there is no epoll, the reactor does it all.
"""

from __future__ import annotations

import select
from errno import EBADF, ENOENT
from time import monotonic
from typing import Any, Final

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IReactorFDSet,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

TURN_SECONDS = 0.003
"""Seconds after which the others in the process have their turn."""

REST_SECONDS = 0.001
CROWD = 8
"""When so many events come within so many seconds, the poller rests for as long, and takes together what comes then."""

EVENTS = 32
"""Events that are taken at once."""

_READABLE: Final[int] = getattr(select, "EPOLLIN", 0)

_log = Logger("pychat.poller")


def poller_for(reactor: Any) -> Any:
    """A reactor for many connections: a :class:`Poller` where there can be one, and else the reactor itself."""
    if hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor):
        return Poller(reactor)
    return reactor


def _reader(selectable: Any) -> Any:
    """Who reads what comes in: another one, if it has a ``reader``."""
    reader = getattr(selectable, "reader", None)
    return selectable if reader is None else reader


class Poller:
    """Watches descriptors for one reactor, and is one that the reactor watches.

    What is watched may have a ``reader``, whose ``doRead`` is called in place of its own: one step for a message that
    goes through the transport and the protocol in three.

    :ivar behind: there was more to do in the last turn than it had time for.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll = select.epoll()
        self._selectables: dict[int, Any] = {}
        # Who reads, by number: kernels give out the lowest that is free, and the entry of a dictionary is far away.
        self._numbered: list[Any] = []
        self._unusual: dict[int, int] = {}  # what is waited for, where it is not only something to read
        self._watched = False
        self.behind = False
        self._rest: Any = None
        self._since = 0.0  # when the events were counted from
        self._served = 0
        self._newcomers = False  # somebody was let in in this turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    # -- the reactor of many

    def _watch(self, selectable: Any, event: int) -> None:
        fd = selectable.fileno()
        # What had this number before is another one, whose socket is closed.
        before = self._events(fd) if self._selectables.get(fd) is selectable else 0
        after = before | event
        if after == before:
            return
        try:
            if before:
                self._epoll.modify(fd, after)
            else:
                self._epoll.register(fd, after)
        except FileExistsError:
            self._epoll.modify(fd, after)
        self._selectables[fd] = selectable
        self._numbered.extend([None] * (fd + 1 - len(self._numbered)))
        self._numbered[fd] = _reader(selectable)
        self._note(fd, after)
        if not self._watched:
            self._watched = True
            # It never becomes writable.  But while it is watched for that, too, to get up and to lie down only changes
            # an entry of the reactor's; to make a new one the kernel looks at every connection, in search of circles.
            self._reactor.addWriter(self)
            if self._rest is None:
                self._reactor.addReader(self)

    def redirect(self, selectable: Any) -> None:
        """The ``reader`` of one that is watched is another one from now on."""
        fd = selectable.fileno()
        if self._selectables.get(fd) is selectable:
            self._numbered[fd] = _reader(selectable)

    def _ignore(self, selectable: Any, event: int) -> None:
        fd = selectable.fileno()
        if fd == -1:
            # Its socket is closed already, which Twisted's transports never do first.
            fd = next((number for number, other in self._selectables.items() if other is selectable), -1)
        if self._selectables.get(fd) is not selectable:
            return
        before = self._events(fd)
        after = before & ~event
        if after == before:
            return
        try:
            if after:
                self._epoll.modify(fd, after)
            else:
                self._epoll.unregister(fd)
        except OSError as error:
            if error.errno not in (EBADF, ENOENT):
                raise
        self._note(fd, after)
        if not after:
            del self._selectables[fd]
            self._numbered[fd] = None
        if not self._selectables:
            self._watched = False
            if self._rest is None:
                self._reactor.removeReader(self)
            else:
                self._rest.cancel()
                self._rest = None
            self._reactor.removeWriter(self)

    def _events(self, fd: int) -> int:
        return self._unusual.get(fd, select.EPOLLIN)

    def _note(self, fd: int, events: int) -> None:
        if events == select.EPOLLIN or not events:
            self._unusual.pop(fd, None)
        else:
            self._unusual[fd] = events

    def addReader(self, reader: Any) -> None:
        self._watch(reader, select.EPOLLIN)

    def addWriter(self, writer: Any) -> None:
        self._watch(writer, select.EPOLLOUT)

    def removeReader(self, reader: Any) -> None:
        self._ignore(reader, select.EPOLLIN)

    def removeWriter(self, writer: Any) -> None:
        self._ignore(writer, select.EPOLLOUT)

    def _with(self, event: int) -> list[Any]:
        return [selectable for fd, selectable in self._selectables.items() if self._events(fd) & event]

    def getReaders(self) -> list[Any]:
        return self._with(select.EPOLLIN)

    def getWriters(self) -> list[Any]:
        return self._with(select.EPOLLOUT)

    def removeAll(self) -> list[Any]:
        selectables = [*self._selectables.values()]
        for selectable in selectables:
            self._ignore(selectable, select.EPOLLIN | select.EPOLLOUT)
        return selectables

    # -- one of the reactor's readers

    def fileno(self) -> int:
        """The epoll descriptor: readable when anything that it watches is ready."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """What the log calls it."""
        return "chat"

    def doRead(self) -> None:
        """Something is ready: serve it."""
        clock = monotonic
        now = clock()
        until = now + TURN_SECONDS
        if not 0 <= now - self._since <= REST_SECONDS:
            self._since, self._served = now, 0
        numbered = self._numbered
        self._newcomers = False
        self.behind = again = True
        while again:
            ready = self._epoll.poll(0, EVENTS)
            again = len(ready) == EVENTS
            self._served += len(ready)
            for fd, event in ready:
                reader = numbered[fd]
                if reader is None:
                    continue
                if event == _READABLE:
                    # What is read may have made more: those who were let in, and those who were answered before.
                    again = True
                    # As in _serve, in fewer steps.
                    try:
                        why = reader.doRead()
                    except Exception as error:
                        why = self._failed(error)
                    if why is not None and fd in self._selectables:
                        # Still the same one's number: others are let in only when a port has its turn.
                        self._disconnect(self._selectables[fd], why, True)
                else:
                    self._serve(self._selectables[fd], event)
                if clock() >= until:
                    return  # those that are left out are still ready
        self.behind = False
        if self._served >= CROWD and self._watched and not self._newcomers:
            self._reactor.removeReader(self)
            self._rest = self._reactor.callLater(REST_SECONDS, self._get_up)

    def doWrite(self) -> None:
        """Never called: see :meth:`_watch`."""

    def _get_up(self) -> None:
        self._rest = None
        if self._watched:
            self._reactor.addReader(self)
            self.doRead()

    def serve(self, selectable: Any) -> None:
        """Serve somebody who was let in, and may have something to read by now."""
        self._newcomers = True
        self._serve(selectable, select.EPOLLIN)

    def _serve(self, selectable: Any, event: int) -> None:
        """Whatever goes wrong with one connection, the others go on."""
        reading = True
        try:
            if event & select.EPOLLIN:
                why = _reader(selectable).doRead()
            elif event & (select.EPOLLHUP | select.EPOLLERR):
                reading = bool(self._events(selectable.fileno()) & select.EPOLLIN)
                why = ConnectionDone() if reading else ConnectionLost()
            else:
                why = None
            if why is None and event & select.EPOLLOUT and selectable.fileno() != -1:
                reading = False
                why = selectable.doWrite()
        except Exception as error:
            why = self._failed(error)
        if why is not None:
            self._disconnect(selectable, why, reading)

    def _failed(self, error: Exception) -> Exception:
        _log.failure("a connection failed in a way that nobody foresaw")
        return error

    def _disconnect(self, selectable: Any, why: Exception, reading: bool) -> None:
        try:
            self.removeReader(selectable)
            done = reading and isinstance(why, ConnectionDone)
            if done and IHalfCloseableDescriptor.providedBy(selectable):
                selectable.readConnectionLost(Failure(why))
                return
            self.removeWriter(selectable)
            selectable.connectionLost(Failure(why))
        except Exception:
            _log.failure("a connection failed to end")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends: so does everything here."""
        for selectable in self.removeAll():
            try:
                selectable.connectionLost(reason)
            except Exception:
                _log.failure("a connection failed to end")
        self._watched = False
        self._epoll.close()


# Not as a decorator: a decorated class would be compiled as one whose attributes are looked up by name.
classImplements(Poller, IReactorFDSet, IReadDescriptor, IWriteDescriptor)
