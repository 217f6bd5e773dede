"""Listening for connections on what ``--listen`` says, and telling a person what is wrong with it."""

from __future__ import annotations

import errno
import socket
from typing import Any, cast

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorFDSet
from twisted.internet.protocol import ServerFactory
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from .errors import PychatError

_HOW = "Write tcp:50000 for all addresses of this machine, or tcp:50000:interface=127.0.0.1 for one."


class StartError(PychatError):
    """The daemon cannot start; the sentence says what to do."""


class _Port(Port):
    """A TCP port that leaves the other family alone, on every system, and nothing open when it cannot be bound.

    So ``tcp:50000`` may stand beside ``tcp6:50000``.
    """

    def createInternetSocket(self) -> socket.socket:
        self._made = made = cast("socket.socket", super().createInternetSocket())
        if self.addressFamily == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

    def startListening(self) -> None:
        try:
            super().startListening()
        except BaseException:
            self._made.close()
            raise


class _Reactor:
    """The reactor, but for the ports that it listens on."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = "") -> Any:
        if not IReactorFDSet.providedBy(self._reactor):
            # Windows' completion ports: no descriptors to watch, so the reactor's own port has to do.
            return self._reactor.listenTCP(port, factory, backlog, interface)
        listening = _Port(port, factory, backlog, interface, self._reactor)
        listening.startListening()
        return listening


def listen(reactor: Any, description: str, factory: ServerFactory) -> IListeningPort:
    """Listen on a Twisted endpoint.

    :raise StartError: if that is not possible now.
    """
    try:
        listening = serverFromString(_Reactor(reactor), description).listen(factory)
    except (ValueError, TypeError, KeyError, IndexError):
        raise StartError("bad-endpoint", f"--listen {description} is not an endpoint. {_HOW}") from None
    except ImportError as error:
        raise StartError(
            "bad-endpoint", f"--listen {description} needs something that is not installed: {error}."
        ) from None
    results: list[object] = []
    listening.addBoth(results.append)
    if not results:
        raise StartError("bad-endpoint", f"--listen {description} cannot be bound at the start. {_HOW}")
    (result,) = results
    if isinstance(result, Failure):
        raise cannot_listen(description, result.value, "--listen")
    return cast("IListeningPort", result)


def cannot_listen(where: str, error: BaseException | None, option: str) -> StartError:
    """Why an address cannot be had, and what to do about it."""
    cause = error.socketError if isinstance(error, CannotListenError) else error
    reason = (getattr(cause, "strerror", None) or str(cause)).rstrip(".")
    number = getattr(cause, "errno", None)
    if number == errno.EADDRINUSE:
        advice = f"End the program that uses it, or choose another port with {option}."
    elif number == errno.EACCES:
        advice = f"Ports below 1024 are for root: choose another one with {option}."
    else:
        advice = f"Choose an address of this machine, and a port from 1 to 65535, with {option}."
    return StartError("cannot-listen", f"Cannot listen on {where}: {reason}. {advice}")
