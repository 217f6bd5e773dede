"""Three people at one daemon, one with ``nc``, one with ``telnet``, one with our client, each at a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import PYCHAT, serve, terminals

pytestmark = pytest.mark.system


def test_an_evening(tmp_path: Path) -> None:
    """Joining, a private message each way, a broadcast, all verdicts, a file, leaving: on all three screens."""
    shelf = tmp_path / "files"
    shelf.mkdir()
    (shelf / "report.txt").write_text("all is well\n" * 1000)
    with serve(tmp_path, files=shelf) as daemon, terminals(tmp_path) as screen:
        port = str(daemon.port)
        nell = screen("nell", "nc", "127.0.0.1", port)
        nell.shows("^<welcome>Python Chat. Type <connect>your-name")
        nell.type("<connect>nell")
        nell.shows("^<connected.*>nell$")

        ted = screen("ted", "telnet", "127.0.0.1", port)
        ted.shows("^<welcome>Python Chat")
        ted.type("<connect>ted")
        ted.shows("^<connected.*>ted$")
        nell.shows("^<joined>ted$")

        pia = screen("pia", *PYCHAT, "chat", daemon.address, "--name", "pia")
        pia.shows("^<connected.*>pia$")
        for other in (nell, ted):
            other.shows("^<joined>pia$")

        # To a plain client a message is sent; to ours, which acknowledges, delivered.
        nell.type("<set_msg>ted are you there?")
        nell.shows("^<accepted id=1>ted$")
        ted.shows("^<msg id=1 from=nell>are you there\\?$")
        nell.shows("^<sent id=1>ted$")
        ted.type("<set_msg>pia and you?")
        ted.shows("^<accepted id=2>pia$")
        pia.shows("<msg id=2 from=ted.*>and you\\?$")
        ted.shows("^<delivered id=2>pia$")
        # Who answers has read what stood on her screen.
        pia.type("<set_msg>nell here I am")
        ted.shows("^<read id=2>pia$")
        pia.shows("<accepted id=3>nell$")
        nell.shows("^<msg id=3 from=pia>here I am$")
        pia.shows("<sent id=3>nell$")

        pia.type("<set_msg_all>grüße an alle")
        pia.shows("<accepted id=4>all$")
        for other in (nell, ted):
            other.shows("^<msg id=4 from=pia to=all>grüße an alle$")
        pia.shows("<receipt id=4 sent=2 delivered=0 of=2>all$")
        ted.type("<set_msg_all>hello all")
        ted.shows("^<receipt id=5 sent=1 delivered=1 of=2>all$")

        nell.type("<download>report.txt")
        nell.shows(f"^<get size=12000>pychat get {daemon.address} report.txt$")
        pia.type("<download>report.txt")
        pia.shows("[0-9a-f]{64}")
        assert (tmp_path / "report.txt").read_bytes() == (shelf / "report.txt").read_bytes()

        ted.type("<disconnect>")
        ted.shows("^<goodbye code=bye>")
        for other in (nell, pia):
            other.shows("<left>ted$")
        nell.type("<set_msg>ted still there?")
        nell.shows("^<error code=no-such-user>")
        pia.press("C-d")
        nell.shows("^<left>pia$")
        nell.press("C-c")
