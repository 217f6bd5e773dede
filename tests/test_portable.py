"""The daemon and the client where the system offers less: as on Windows, or on something smaller than a server."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.programs import RUNNERS, Talker, environment, run, serve

POORER = """
import builtins, os, select, socket, sys

def poorer_import(name, globals=None, *rest, found=builtins.__import__, **more):
    # Only from us: on Unix Twisted cannot do without fcntl, and elsewhere it does.
    ours = (globals or {}).get("__name__", "").startswith("pychat")
    if ours and name in ("fcntl", "resource", "pwd", "grp", "termios"):
        raise ImportError(f"No module named {name!r}")
    return found(name, globals, *rest, **more)

builtins.__import__ = poorer_import
for module, names in (
    (select, "epoll kqueue poll devpoll"),
    (socket, "TCP_USER_TIMEOUT TCP_KEEPIDLE TCP_KEEPALIVE TCP_KEEPINTVL TCP_KEEPCNT SO_REUSEPORT IP_PKTINFO "
             "IPV6_RECVPKTINFO IPV6_PKTINFO CMSG_LEN CMSG_SPACE"),
    (os, "pread preadv pwrite pwritev posix_fadvise posix_fallocate sendfile fdatasync "
         "O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_NOCTTY sched_getaffinity"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("recvmsg", "recvmsg_into", "sendmsg", "sendmsg_afalg"):
    setattr(socket.socket, name, property())  # hides the one of the C type below it
for supports in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
    supports.clear()

"""
"""Takes away from Python what not every system has."""

TWISTD = POORER + "from twisted.scripts.twistd import run; run()"
CLIENT = POORER + "from pychat.__main__ import main; sys.exit(main())"
POOR_TWISTD = (sys.executable, "-c", TWISTD, *RUNNERS["twistd"][1:])


def test_a_chat(tmp_path: Path) -> None:
    """Two people talk; without ioctl nobody can tell what the peer's kernel has, and the word is *handed*."""
    with (
        serve(tmp_path, runner=POOR_TWISTD) as daemon,
        Talker(daemon.port, "alice") as alice,
        Talker(daemon.port, "bob") as bob,
    ):
        assert "SelectReactor" in daemon.out
        alice.hears("<joined>bob$")
        alice.say("<set_msg>bob are you there?")
        alice.hears("<accepted id=1>bob$")
        bob.hears("<msg id=1 from=alice>are you there\\?$")
        alice.hears("<handed id=1>bob$")
        bob.say("<set_msg_all>yes")
        bob.hears("<receipt id=2 handed=1 delivered=0 of=1>all$")


def test_the_shelf_stays_shut(tmp_path: Path) -> None:
    """Without openat and O_NOFOLLOW nothing outside the shelf can be named either."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "good").write_text("good")
    (tmp_path / "files" / "link").symlink_to("../secret")
    with serve(tmp_path, runner=POOR_TWISTD) as daemon, Talker(daemon.port, "alice") as alice:
        alice.say("<listfiles>")
        assert [alice.line(), alice.line()] == ["<file size=4>good", "<files count=1>"]
        for name in ("../secret", "link", str(tmp_path / "secret")):
            alice.say(f"<download>{name}")
            assert alice.line().startswith("<error code=no-such-file>")


@pytest.mark.parametrize("poor", ["daemon", "client", "both"])
def test_a_download(tmp_path: Path, poor: str) -> None:
    """To the last byte, whichever end it is that has less."""
    shelf = tmp_path / "files"
    shelf.mkdir()
    data = bytes(range(256)) * 8192
    (shelf / "two megabytes").write_bytes(data)
    runner = RUNNERS["twistd"] if poor == "client" else POOR_TWISTD
    get = (sys.executable, "-m", "pychat") if poor == "daemon" else (sys.executable, "-c", CLIENT)
    with serve(tmp_path, runner=runner) as daemon:
        run(*get, "get", daemon.address, "two megabytes", "-o", "got", cwd=tmp_path)
    assert hashlib.sha256((tmp_path / "got").read_bytes()).digest() == hashlib.sha256(data).digest()


def test_the_client_in_a_pipe(tmp_path: Path) -> None:
    """What is typed is sent, what comes is printed."""
    with serve(tmp_path) as daemon:
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, "chat", daemon.address, "--name", "alice"],
            input=b"<get_users>\n<disconnect>\n", capture_output=True, env=environment(), timeout=20, check=True,
        )  # fmt: skip
    assert b"<user>alice" in done.stdout
