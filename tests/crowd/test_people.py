"""What the people of a crowd notice: a message lost, twice, or out of order, and how they come back."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from .people import Crowd, Person

Ends = tuple[Crowd, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A crowd, and the daemon's end, which a test plays."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        with Crowd(listener.getsockname()[1], lambda line: None) as crowd:
            yield crowd, listener


class Daemon:
    """The other end of one connection."""

    def __init__(self, ends: Ends, person: Person) -> None:
        self._crowd, listener = ends
        person.come()
        self._socket, _ = listener.accept()
        self._socket.settimeout(0)
        self._heard = b""
        self.hears(b"<connect")

    def hears(self, what: bytes) -> None:
        """Wait until she has said that."""

        def heard() -> bool:
            with contextlib.suppress(BlockingIOError):
                self._heard += self._socket.recv(65536)
            return what in self._heard

        self._crowd.until(heard, f"{what!r}", 20)

    def says(self, *lines: bytes) -> None:
        self._socket.send(b"".join(line + b"\n" for line in lines))

    def close(self) -> None:
        self._socket.close()


def messages(*ids: int) -> list[bytes]:
    return [b"<msg id=%d from=bob to=all>hi" % id for id in ids]


@pytest.mark.parametrize(
    ("ids", "again", "disordered"),
    [((1, 2, 3, 7), 0, 0), ((1, 2, 2, 3), 1, 0), ((1, 3, 2, 4), 0, 1), ((1, 2, 3, 1), 1, 0)],
    ids=["in order", "twice", "out of order", "an old one"],
)
def test_who_keeps_notices(ends: Ends, ids: tuple[int, ...], again: int, disordered: int) -> None:
    """Every id is looked at."""
    person = Person(ends[0], "alice", keeps=True)
    daemon = Daemon(ends, person)
    daemon.says(b"<connected>alice", *messages(*ids))
    ends[0].until(lambda: person.heard == 4, "four messages", 20)
    assert (person.again, person.disordered) == (again, disordered)
    daemon.close()


def test_who_only_counts_notices_chunks(ends: Ends) -> None:
    """What begins below the last one, or ends below its first, is out of order."""
    person = Person(ends[0], "alice")
    daemon = Daemon(ends, person)
    daemon.says(b"<connected>alice")
    for chunk, heard, disordered in (((1, 2, 3), 3, 0), ((4,), 4, 0), ((4,), 5, 1), ((7, 6), 7, 2)):
        daemon.says(*messages(*chunk))
        ends[0].until(lambda heard=heard: person.heard == heard, "messages", 20)  # type: ignore[misc]
        assert person.disordered == disordered
    daemon.close()


def test_own_messages_have_a_place(ends: Ends) -> None:
    """Who keeps knows what she said, to whom, and that its id stands among the others."""
    person = Person(ends[0], "alice", keeps=True)
    daemon = Daemon(ends, person)
    daemon.says(b"<connected>alice", *messages(1), b"<accepted label=x id=2>bob", *messages(3))
    ends[0].until(lambda: person.heard == 2, "two messages", 20)
    assert (person.own, [*person.ids], person.said) == ([(2, "bob")], [1, 2, 3], 1)
    daemon.close()


def test_coming_back(ends: Ends) -> None:
    """She acknowledges what she hears, and comes back with her token, for what is above it."""
    crowd, _ = ends
    person = Person(crowd, "alice", "ack,resume", keeps=True)
    daemon = Daemon(ends, person)
    daemon.says(b"<hello caps=ack,resume server=pychat/1>", b"<connected resume=T1>alice", *messages(1, 2))
    daemon.hears(b"<pong>\n")
    daemon.hears(b"<ack>2\n")
    daemon.says(b"<goodbye code=too-slow>You read too slowly.")
    daemon.close()
    crowd.until(lambda: person.over, "the end", 20)
    daemon = Daemon(ends, person)
    daemon.hears(b"<hello caps=ack,resume>\n<connect resume=T1 after=2>alice\n")
    daemon.says(b"<connected resume=T2>alice", *messages(3))
    daemon.hears(b"<ack>3\n")
    assert not person.live
    daemon.says(b"<replayed count=1>")
    crowd.until(lambda: person.live, "the rest", 20)
    assert (person.token, [*person.ids], person.goodbyes) == (b"T2", [1, 2, 3], ["too-slow"])
    assert (person.again, person.disordered) == (0, 0)
    daemon.close()


def test_who_talks_keeps_her_window_full(ends: Ends) -> None:
    """For each message that was accepted she says another one, while the crowd is talking."""
    crowd, _ = ends
    person = Person(crowd, "alice", window=2, text=b"hi")
    daemon = Daemon(ends, person)
    daemon.says(b"<connected>alice")
    crowd.until(lambda: person.live, "her", 20)
    crowd.talking = True
    person.talk()
    daemon.hears(b"<set_msg_all>hi\n" * 2)
    daemon.says(b"<accepted id=1>all", b"<accepted id=2>all")
    daemon.hears(b"<set_msg_all>hi\n" * 4)
    daemon.close()
