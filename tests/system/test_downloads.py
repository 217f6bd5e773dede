"""``pychat get`` against a daemon: what arrives is what was there, to the last byte, in bounded memory.

``PYCHAT_LONG=1`` makes the big file as big as it is in life.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .programs import PYCHAT, Network, Program, run, serve

pytestmark = pytest.mark.system

MB = 1_000_000
MEMORY = 120 * MB
BIG = (1000 if os.environ.get("PYCHAT_LONG") else 200) * MB
SOME = 20


def checksum(path: Path) -> str:
    """What ``sha256sum`` says; not what we say."""
    return run("sha256sum", "--", path.name, cwd=path.parent, seconds=120).split()[0].lstrip("\\")


def make(path: Path, size: int) -> Path:
    """A file that differs everywhere, from the system's random bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while size > 0:
            file.write(os.urandom(min(size, MB)))
            size -= MB
    return path


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("nothing", 0),
        ("one", 1),
        ("a datagram.bin", 1200),
        ("with spaces and ümläuts, 日本語 – ☕.txt", 100_000),
        ("folder/in a folder/näme", 50_000),
        ("-o", 5),
    ],
)
def test_what_arrives_is_what_was_there(tmp_path: Path, name: str, size: int) -> None:
    """Every kind of size and name; the digest on standard output is one that ``sha256sum -c`` accepts."""
    original = make(tmp_path / "files" / name, size)
    (tmp_path / "here").mkdir()
    with serve(tmp_path) as daemon:
        said = run(*PYCHAT, "get", daemon.address, "--", name, cwd=tmp_path / "here")
    (got,) = (tmp_path / "here").iterdir()
    assert checksum(got) == checksum(original)
    (tmp_path / "sums").write_text(said)
    run("sha256sum", "--check", "--strict", str(tmp_path / "sums"), cwd=tmp_path / "here")


def test_the_list_names_what_can_be_had(tmp_path: Path) -> None:
    """``pychat files`` prints a size, a TAB and a name a line, and each of these names can be fetched."""
    make(tmp_path / "files" / "plain", 10)
    make(tmp_path / "files" / "sub folder" / "käse & brot.txt", 20)
    with serve(tmp_path) as daemon:
        listed = dict(
            reversed(line.split("\t")) for line in run(*PYCHAT, "files", daemon.address).splitlines()
        )
        assert listed == {"plain": "10", "sub folder/käse & brot.txt": "20"}
        for name, size in listed.items():
            run(*PYCHAT, "get", daemon.address, name, "-o", size, cwd=tmp_path)
            assert checksum(tmp_path / size) == checksum(tmp_path / "files" / name)


def test_the_line_that_a_plain_client_is_told_works_as_it_stands(tmp_path: Path) -> None:
    """Copied from nc's screen into a shell, quotation marks and all."""
    name = 'it\'s a "file" for $HOME.txt'
    make(tmp_path / "files" / name, 1000)
    with serve(tmp_path) as daemon, Program("nc", "127.0.0.1", str(daemon.port)) as nc:
        nc.type("<connect>alice")
        nc.type(f"<download>{name}")
        line = nc.shows("^<get size=1000>pychat (.*)$")[1]
        run("sh", "-c", f"{shlex.join(PYCHAT)} {line}", cwd=tmp_path)
    assert checksum(tmp_path / name) == checksum(tmp_path / "files" / name)


@pytest.mark.timeout(600)
def test_a_big_file_in_little_memory(tmp_path: Path) -> None:
    """Neither end holds more of it than its window."""
    original = make(tmp_path / "files" / "big", BIG)
    with (
        serve(tmp_path) as daemon,
        Program(*PYCHAT, "get", daemon.address, "big", "-o", "got", cwd=tmp_path) as client,
    ):
        most = client.memory_until_end(480)
        assert client.status() == 0, client.err
        daemons = daemon.memory("VmHWM")
    assert daemons < MEMORY
    assert most < MEMORY
    assert checksum(tmp_path / "got") == checksum(original)


@pytest.mark.timeout(300)
def test_many_downloads_at_once(tmp_path: Path) -> None:
    """Of files of many sizes, by twenty programs."""
    originals = [make(tmp_path / "files" / f"{number}.bin", number * 250_000) for number in range(SOME)]
    with serve(tmp_path) as daemon, contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Program(*PYCHAT, "get", daemon.address, path.name, cwd=tmp_path))
            for path in originals
        ]
        for client in clients:
            assert client.status(240) == 0, client.err
        assert daemon.memory("VmHWM") < MEMORY
    for path in originals:
        assert checksum(tmp_path / path.name) == checksum(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with room for a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk))
    yield disk
    run("umount", str(disk))


def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """Both ends name it, the program fails, and what came is kept; once there is room again there is."""
    make(tmp_path / "files" / "big", 5 * MB)
    small = make(tmp_path / "files" / "small", MB // 2)
    with serve(tmp_path) as daemon:
        with Program(*PYCHAT, "get", daemon.address, "big", "-q", cwd=small_disk) as client:
            assert client.status() == 1
            assert client.err == "pychat: There is no room for big: make some.\n"
            assert client.out == ""
        daemon.shows(r"did not send 'big': disk-full \(There is no room for big: make some\.\)")
        assert {path.name for path in small_disk.iterdir()} <= {"big.part", "big.part.info"}
        for path in small_disk.iterdir():
            path.unlink()
        run(*PYCHAT, "get", daemon.address, "small", cwd=small_disk)
    assert checksum(small_disk / "small") == checksum(small)


SNIFFER = """
import socket, sys
# Every datagram that comes in at the cable: where from?  (packet(7), without the link's header)
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as sock:
    sock.bind(("cable", 0x0800))
    print("listening", flush=True)
    while True:
        data, (_, _, kind, *_) = sock.recvfrom(65536)
        if data[9] == socket.IPPROTO_UDP and kind == socket.PACKET_HOST:
            print("from", socket.inet_ntoa(data[12:16]), flush=True)
"""


@pytest.mark.parametrize("options", [(), ("--udp", "0.0.0.0:50000")], ids=["default", "wildcard"])
def test_answers_leave_from_the_address_that_was_addressed(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A daemon that listens everywhere, on a machine with two addresses: both can be asked."""
    original = make(tmp_path / "files" / "some.bin", MB)
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network("wild"))
        here, there = network.inside(network.here), network.inside(network.there)
        for address in (network.HERE, network.ALSO_HERE):
            # A daemon for each: the last words of the first transfer may come late.
            with (
                serve(tmp_path, *options, listen="tcp:50000", prefix=here),
                Program(*there, sys.executable, "-c", SNIFFER) as sniffer,
            ):
                sniffer.shows("listening")
                run(*there, *PYCHAT, "get", f"{address}:50000", "some.bin", "-o", address, cwd=tmp_path)
                sniffer.shows(f"^from {address}$")
                assert set(sniffer.out.split("\n")) == {"listening", f"from {address}", ""}
            assert checksum(tmp_path / address) == checksum(original)
