"""A daemon that cannot start says so in one line, and one that starts says where it can be reached."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from .programs import RUNNERS, Program, serve

pytestmark = pytest.mark.system

LOCAL = "tcp:0:interface=127.0.0.1"

# Root may read everything and bind any port.  Without its capabilities it is an ordinary owner of its files.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")
ALONE = ("unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def refuses(folder: Path, command: tuple[str, ...], *options: str) -> str:
    """Start a daemon that has to refuse; return the line that it says."""
    with Program(*command, *options, cwd=folder) as daemon:
        status = daemon.status()
        assert status == 1, (daemon.out, daemon.err)
        assert "Traceback" not in daemon.out + daemon.err
        (line,) = daemon.err.splitlines()
        return line


@pytest.mark.parametrize("runner", RUNNERS)
class TestRefusal:
    """One line on standard error that says what to do, exit status 1, no traceback."""

    def test_port_in_use(self, tmp_path: Path, runner: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            said = refuses(tmp_path, RUNNERS[runner], "--listen", f"tcp:{port}:interface=127.0.0.1")
        assert re.search(rf"{port}.*in use.*--listen", said)

    def test_udp_port_in_use(self, tmp_path: Path, runner: str) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            port = other.getsockname()[1]
            said = refuses(tmp_path, RUNNERS[runner], "--listen", LOCAL, "--udp", f"127.0.0.1:{port}")
        assert re.search(rf"{port}.*in use.*--udp", said)

    def test_files_is_a_file(self, tmp_path: Path, runner: str) -> None:
        (tmp_path / "files").write_text("not a folder")
        assert "files" in refuses(tmp_path, RUNNERS[runner], "--listen", LOCAL)

    def test_files_may_not_be_read(self, tmp_path: Path, runner: str) -> None:
        (tmp_path / "closed").mkdir(mode=0)
        command = (*UNPRIVILEGED, *RUNNERS[runner])
        assert "closed" in refuses(tmp_path, command, "--listen", LOCAL, "--files", "closed")

    def test_files_may_not_be_made(self, tmp_path: Path, runner: str) -> None:
        (tmp_path / "closed").mkdir(mode=0o500)
        command = (*UNPRIVILEGED, *RUNNERS[runner])
        assert "closed/files" in refuses(tmp_path, command, "--listen", LOCAL, "--files", "closed/files")

    def test_port_is_not_for_us(self, tmp_path: Path, runner: str) -> None:
        command = (*ALONE, *UNPRIVILEGED, *RUNNERS[runner])
        said = refuses(tmp_path, command, "--listen", "tcp:70:interface=127.0.0.1")
        assert re.search(r"70.*[Pp]ermission.*--listen", said)

    def test_address_is_not_ours(self, tmp_path: Path, runner: str) -> None:
        said = refuses(tmp_path, RUNNERS[runner], "--listen", "tcp:0:interface=192.0.2.77")
        assert re.search(r"192\.0\.2\.77.*--listen", said)

    @pytest.mark.parametrize("limit", [10, 30, 64])
    def test_too_few_files(self, tmp_path: Path, runner: str, limit: int) -> None:
        command = ("sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh", *RUNNERS[runner])
        assert re.search(
            rf"limit of open files is {limit} here.*ulimit", refuses(tmp_path, command, "--listen", LOCAL)
        )

    def test_endpoint_is_none(self, tmp_path: Path, runner: str) -> None:
        assert "--listen" in refuses(tmp_path, RUNNERS[runner], "--listen", "tcp:port")


@pytest.mark.parametrize("runner", RUNNERS)
def test_listening_beyond_loopback_is_worth_one_warning(tmp_path: Path, runner: str) -> None:
    """Anybody on the way can read the lines, and whoever runs the daemon is told once, not once a port."""
    more = ("--listen", "tcp:0", "--listen", LOCAL)
    with serve(tmp_path / "wide", *more, runner=RUNNERS[runner], listen="tcp:0") as daemon:
        daemon.shows("not encrypted")
        assert daemon.out.count("not encrypted") == 1
    with serve(tmp_path / "narrow", runner=RUNNERS[runner]) as daemon:
        assert "not encrypted" not in daemon.out


def test_the_shelf_is_made(tmp_path: Path) -> None:
    """A folder that is not there yet is made, empty."""
    with serve(tmp_path):
        assert list((tmp_path / "files").iterdir()) == []


def test_ipv6(tmp_path: Path) -> None:
    """One line says how to join, for each port, as it has to be typed."""
    with serve(tmp_path, listen="tcp6:0:interface=\\:\\:1") as daemon:
        assert daemon.host == "::1"
        daemon.shows(rf"To join, type: nc ::1 {daemon.port}$")
