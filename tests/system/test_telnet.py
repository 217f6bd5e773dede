"""``telnet``: it negotiates, it sends CRLF, and its Ctrl-C is a sequence of commands and not an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import Talker, serve, terminals

pytestmark = pytest.mark.system


@pytest.mark.parametrize("port", ["{}", "-{}"], ids=["silent", "negotiating"])
def test_a_conversation(tmp_path: Path, port: str) -> None:
    """With a minus before the port telnet opens with a negotiation, as it does on its own port."""
    with serve(tmp_path) as daemon, Talker(daemon.port, "bob") as bob, terminals(tmp_path) as screen:
        alice = screen("alice", "telnet", "--", "127.0.0.1", port.format(daemon.port))
        alice.shows("^<welcome>Python Chat")
        alice.type("<connect>alice")
        alice.shows("^<connected.*>alice$")
        bob.hears("<joined>alice$")
        alice.type("<set_msg_all>grüß Gott")
        assert bob.hears("<msg ").endswith(">grüß Gott")
        alice.shows("^<receipt id=1 sent=1 .*>all$")
        alice.type("<disconnect>")
        alice.shows("^<goodbye code=bye>")
        alice.shows("Connection closed by foreign host")


def test_ctrl_c(tmp_path: Path) -> None:
    """After Ctrl-C telnet shows nothing until its timing mark is answered, and then all is as before."""
    with serve(tmp_path) as daemon, Talker(daemon.port, "bob") as bob, terminals(tmp_path) as screen:
        alice = screen("alice", "telnet", "127.0.0.1", str(daemon.port))
        alice.shows("^<welcome>Python Chat")
        alice.type("<connect>alice")
        alice.shows("^<connected.*>alice$")
        alice.press("C-c")
        alice.type("<ping>still here")
        alice.shows("^<pong>still here$")
        bob.say("<set_msg>alice good")
        alice.shows("^<msg id=.* from=bob>good$")
        bob.hears("<sent id=")
