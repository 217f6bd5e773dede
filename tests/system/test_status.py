"""How a daemon does: stalls that are planted are told, and what happens when there are more connections than fit."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from .programs import PATIENCE, PYCHAT, Daemon, Program, Talker, run, serve, until

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.system

PLANTED = """
import gc, sys, time
from twisted.internet import reactor
from pychat.__main__ import serve

def long_calculation():
    began = time.thread_time()
    while time.thread_time() - began < 0.3:
        pass
    print("frozen:", gc.get_freeze_count())

reactor.callWhenRunning(reactor.callLater, 0.1, long_calculation)
sys.exit(serve(sys.argv[1:]))
"""
"""A daemon that is held once for 0.3 s."""

HUNDRED_FILES = ("sh", "-c", 'ulimit -n 100 && exec "$@"', "sh")
ROOM = 100 - 64
"""Connections that fit then."""


def status(daemon: Daemon) -> dict[str, int]:
    """What scripts are told."""
    said: dict[str, int] = json.loads(run(*PYCHAT, "status", daemon.address, "--json"))
    return said


def cpu(daemon: Daemon) -> float:
    """Seconds of CPU time that it has used."""
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_stall_is_reported_and_counted(tmp_path: Path) -> None:
    """Once in the log, with what it was, and in the status; and what does not stall is not there."""
    with serve(tmp_path, runner=(sys.executable, "-c", PLANTED)) as daemon:
        daemon.shows(r"The reactor was held for 3\d\d ms: __main__\.long_calculation:\d+")
        # The garbage collector leaves the program alone, so that it is no stall each time.
        assert int(daemon.shows(r"frozen: (\d+)$")[1]) > 1000
        with Talker(daemon.port, "alice") as alice:
            alice.say("<set_msg_all>hi")
            alice.hears("<accepted id=1>")
            said = status(daemon)
        assert said["stalls"] >= 1
        assert 300 <= said["longest"] <= said["stalled"]
        assert (said["people"], said["messages"], said["connections"]) == (1, 1, 2)


def greeting(port: int) -> tuple[socket.socket, str]:
    """A new connection, and the verb of what it hears first; empty if it is closed without a word."""
    made = socket.create_connection(("127.0.0.1", port), PATIENCE)
    try:
        heard = made.recv(4096)
    except ConnectionError:
        heard = b""
    return made, heard.partition(b">")[0].decode()


def let_in(port: int) -> bool:
    """Whether a new connection is greeted."""
    made, heard = greeting(port)
    made.close()
    return heard == "<welcome"


def crowd(stack: ExitStack, port: int, count: int) -> Sequence[tuple[socket.socket, str]]:
    """So many connections, one after the other."""
    made = []
    for _ in range(count):
        connection, heard = greeting(port)
        stack.callback(connection.close)
        made.append((connection, heard))
    return made


def test_more_connections_than_fit(tmp_path: Path) -> None:
    """Those that are there go on, also with files; the others are told, and get in when some have left."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "here").write_text("a file")
    with serve(tmp_path, prefix=HUNDRED_FILES) as daemon, ExitStack() as stack:
        daemon.shows(rf"{ROOM} connections at most: raise the limit of open files \(ulimit -Hn\) for more$")
        alice = stack.enter_context(Talker(daemon.port, "alice"))
        made = crowd(stack, daemon.port, ROOM + 20)
        heard = [said for _, said in made]
        assert heard == ["<welcome"] * (ROOM - 1) + ["<goodbye code=full"] * 21
        daemon.shows(rf"Full: there are {ROOM} connections, and more are turned away\.")
        alice.say("<status>")
        assert f" connections={ROOM} limit={ROOM} " in alice.hears("<status")
        alice.say("<listfiles>")
        alice.hears("<file size=6>here")
        with Program(*PYCHAT, "status", daemon.address) as asking:
            assert asking.status() == 1
            assert asking.err == "pychat: The daemon has no room for more connections. Come back later.\n"
        for connection, _ in made[:5]:
            connection.close()
        until(lambda: let_in(daemon.port), "a new connection")
        run(*PYCHAT, "get", daemon.address, "here", cwd=tmp_path)
        alice.say("<ping>still here")
        alice.hears("<pong>still here$")
        assert daemon.out.count("Full:") == 1


@pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="only Linux changes the limits of another process"
)
def test_no_descriptors_left(tmp_path: Path) -> None:
    """Whoever has a connection is served, the daemon does not spin, and heals by itself."""
    with serve(tmp_path, prefix=HUNDRED_FILES) as daemon, ExitStack() as stack:
        alice = stack.enter_context(Talker(daemon.port, "alice"))
        bob = stack.enter_context(Talker(daemon.port, "bob"))
        held = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (held, 100))
        before = cpu(daemon)
        assert [said for _, said in crowd(stack, daemon.port, 10)] == [""] * 10
        for number in range(50):
            alice.say(f"<set_msg>bob {number}")
            bob.hears(f"<msg id=.* from=alice>{number}$")
        # Nothing is left to accept, and nobody says anything: a second of that costs nearly nothing.
        with pytest.raises(TimeoutError):
            [bob.line(1) for _ in range(1000)]
        assert cpu(daemon) - before < 0.8
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (100, 100))
        until(lambda: let_in(daemon.port), "a new connection")


def test_for_people(tmp_path: Path) -> None:
    """A line for each number, with its unit; and the limit on open files is raised at the start."""
    soft = ("sh", "-c", 'ulimit -Sn 200 && exec "$@"', "sh")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with serve(tmp_path, prefix=soft) as daemon:
        said = run(*PYCHAT, "status", daemon.address)
        told = status(daemon)
    assert re.search(r"^running for +\d+ s$", said, re.MULTILINE)
    assert re.search(r"^memory +[\d.]+ MiB$", said, re.MULTILINE)
    if hard != resource.RLIM_INFINITY:
        assert told["limit"] == hard - 64
        assert re.search(rf"^connections at most +{hard - 64:,}$", said, re.MULTILINE)
