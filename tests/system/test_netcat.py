"""``nc``: what is piped in is answered to the last line, and then both programs are done."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .programs import PATIENCE, Daemon, Program, Talker, serve

pytestmark = pytest.mark.system

LINES = "<connect>alice\n<get_users>\n<listfiles>\n<set_msg_all>hi\n"


def netcat(daemon: Daemon, lines: bytes, *options: str) -> list[str]:
    done = subprocess.run(
        ["nc", *options, "127.0.0.1", str(daemon.port)],
        input=lines, capture_output=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    return done.stdout.decode().splitlines()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Two files to list."""
    shelf = tmp_path / "files"
    (shelf / "sub folder").mkdir(parents=True)
    (shelf / "welcome.txt").write_text("welcome\n")
    (shelf / "sub folder" / "käse.txt").write_text("cheese\n")
    return shelf


ANSWERS = [
    "<welcome>Python Chat. Type <connect>your-name to join, <help> for more.",
    "<connected>alice",
    "<user>alice",
    "<users count=1>",
    "<file size=7>sub folder/käse.txt",
    "<file size=8>welcome.txt",
    "<files count=2>",
    "<accepted id=1>all",
]


def test_a_piped_conversation_is_answered_line_by_line(tmp_path: Path, shelf: Path) -> None:
    """The README's one-liner: every answer is printed in order, and nc ends by itself."""
    with serve(tmp_path, files=shelf) as daemon:
        heard = netcat(daemon, (LINES + "<disconnect>\n").encode(), "-N")
    receipts = [line for line in heard if line.startswith("<receipt")]
    assert [line for line in heard if line not in receipts] == [*ANSWERS, "<goodbye code=bye>Goodbye."]
    assert len(receipts) <= 1  # nobody else is here: the count may be told or not before the goodbye


def test_the_half_that_is_closed_early_costs_no_answer(tmp_path: Path, shelf: Path) -> None:
    """Without <disconnect> too: nc -N closes its half behind the last line, and the answers still come."""
    with serve(tmp_path, files=shelf) as daemon:
        heard = netcat(daemon, LINES.encode(), "-N")
    assert [line for line in heard if not line.startswith("<receipt")] == ANSWERS


def test_a_last_line_without_its_end_is_not_used(tmp_path: Path) -> None:
    """It may be half of what somebody wanted to say."""
    with serve(tmp_path) as daemon, Talker(daemon.port, "bob") as bob:
        heard = netcat(daemon, b"<connect>alice\n<set_msg>bob do not", "-N")
        assert heard[-1].startswith("<error code=bad-line>")
        bob.hears("<joined>alice")
        assert bob.line() == "<left>alice"


def test_a_typed_conversation(tmp_path: Path) -> None:
    """Two at nc, who type and wait."""
    with (
        serve(tmp_path) as daemon,
        Program("nc", "127.0.0.1", str(daemon.port)) as alice,
        Program("nc", "127.0.0.1", str(daemon.port)) as bob,
    ):
        alice.type("<connect>alice")
        alice.shows("^<connected.*>alice$")
        bob.type("<connect>bob")
        bob.shows("^<connected.*>bob$")
        alice.shows("^<joined>bob$")
        alice.type("<set_msg>bob are you there?")
        number = alice.shows(r"^<accepted id=(\w+)>bob$")[1]
        bob.shows(f"^<msg id={number} from=alice>are you there\\?$")
        alice.shows(f"^<sent id={number}>bob$")
        bob.type("<disconnect>")
        bob.shows("^<goodbye code=bye>")
        bob.close_input()  # nc looks at its keyboard once more before it sees that it is over
        assert bob.status() == 0
        alice.shows("^<left>bob$")
