"""Tests of `pychat.client.talk`: somebody types at a terminal, and daemon, network and program come and go."""

from __future__ import annotations

import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError

from pychat.client import visit as visit_module
from pychat.client.answers import LinkError
from pychat.client.connection import Client, connect
from pychat.client.files import FileStore, state_file
from pychat.client.wording import FOR_GOOD
from pychat.grammar import Line
from tests.guards import within

from .daemons import acting, serving
from .test_chat import Visit, no_thread_reads, turns, until


class Gate:
    """An output at a terminal where somebody pressed Ctrl-S: it takes nothing until she presses Ctrl-Q."""

    encoding = "utf-8"

    def __init__(self, stream: Any) -> None:
        """:param stream: gets what comes through."""
        self.buffer = self.raw = self
        self.open = threading.Event()
        self.open.set()
        self.offered = b""
        self.broken = False
        self._stream = stream

    def isatty(self) -> bool:
        return False

    def write(self, data: bytes) -> int:
        self.offered += data
        self.open.wait(10)
        if self.broken:
            raise BrokenPipeError
        written: int = self._stream.buffer.raw.write(data)
        return written


class Talking(Visit):
    """Somebody at a terminal."""

    def __init__(self, port: int, name: str = "bob", fresh: bool = False) -> None:
        super().__init__(port, name, terminal=True, fresh=fresh)

    async def hang_up(self, *, by_signal: bool = True) -> int:
        """Close the window: the system tells of it in one way or the other, or both."""
        if by_signal:
            self.signals.caught = signal.SIGHUP
            self.running.cancel()
        else:
            self.input.reader.isatty = lambda: False
            self.input.writer.close()
        return await self.status()

    def stdout(self) -> Gate:
        self.gate = Gate(super().stdout())
        return self.gate

    async def give_up(self) -> None:
        self.gate.open.set()
        await super().give_up()


class Other:
    """Somebody else, with a client that resumes; what she was told is kept."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def come(self, port: int, name: str = "alice") -> Client:
        from twisted.internet import reactor

        def note(line: Line, raw: bytes) -> None:
            self.heard.append(raw)

        self.client = await connect(reactor, "127.0.0.1", port, note)
        await self.client.hello(("ack", "resume"))
        await self.client.join(name)
        return self.client

    async def hears(self, start: bytes) -> bytes:
        await until(lambda: any(raw.startswith(start) for raw in self.heard))
        return next(raw for raw in self.heard if raw.startswith(start))


@pytest_twisted.ensureDeferred
@within(30)
async def test_daemon_restarts(tmp_path: Path, own_state: Path) -> None:
    """What is typed meanwhile is pending, then sent once; other commands say that they were not sent."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        await visit.shows("<connected>bob")
    await visit.shows("* connection lost (the chat closes down); trying again ")
    visit.type("<set_msg_all>hello\n<get_users>\n")
    await visit.shows("* Not sent: there is no connection now")
    async with serving(tmp_path, port):
        await visit.shows("* accepted, id=1: <set_msg_all>hello")
        visit.type("<set_msg_all>again\n")
        assert await visit.end() == 0
    lost = r"\* connection lost \(the chat closes down\); trying again (at once|in 0\.[12] s)"
    assert any(re.fullmatch(lost, line) for line in visit.lines)
    assert [
        line for line in visit.lines[3:] if not line.startswith(("* connection", "* still no", "<receipt"))
    ] == [
        "<goodbye code=shutdown>The chat is closing down. Come back later.",
        "* pending: <set_msg_all>hello",
        "* back; 1 message pending",
        "* accepted, id=1: <set_msg_all>hello",
        "<accepted id=2>all",
        "<goodbye code=bye>Goodbye.",
    ]
    assert list(own_state.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(30)
async def test_program_restarts(tmp_path: Path, own_state: Path) -> None:
    """What could not be sent before the end is sent by the next run, once; what was missed is told with its time."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        await visit.shows("<connected>bob")
    await visit.shows("* connection lost")
    assert await visit.end("<set_msg_all>one\n<set_msg>alice two\n") == 1
    assert (
        visit.complained
        == "* 2 messages not sent yet. The next pychat chat with this address and name sends them.\n"
    )
    async with serving(tmp_path, port):
        alice = await Other().come(port)
        await alice.say("bob", "are you there?")
        visit = Talking(port)
        await visit.shows("* accepted, id=3: <set_msg>alice two")
        assert await visit.end() == 0
        await alice.leave()
    assert visit.lines[2:5] == ["<connected>bob", "* resumed as bob; 2 messages pending", visit.lines[4]]
    assert re.fullmatch(
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d\] <msg id=1 from=alice to=bob>are you there\?", visit.lines[4]
    )
    assert [line for line in visit.lines if "accepted" in line] == [
        "* accepted, id=2: <set_msg_all>one",
        "* accepted, id=3: <set_msg>alice two",
    ]
    assert list(own_state.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(30)
async def test_interrupted_with_something_pending(tmp_path: Path) -> None:
    """Ctrl-C keeps it as well; --fresh forgets it, and who we were."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        await visit.shows("<connected>bob")
    await visit.shows("* connection lost")
    visit.type("<set_msg_all>never mind\n")
    await visit.shows("* pending")
    visit.interrupt()
    assert await visit.status() == 1
    assert "1 message not sent yet" in visit.complained
    async with serving(tmp_path, port):
        visit = Talking(port, fresh=True)
        assert await visit.end("<get_users>\n") == 0
    assert "resumed" not in visit.printed
    assert "<users count=1>" in visit.lines
    assert "accepted" not in visit.printed
    assert visit.complained == "* 1 message not sent, and dropped.\n"


@pytest_twisted.ensureDeferred
@within(30)
async def test_fresh_without_a_daemon(tmp_path: Path) -> None:
    """What cannot be told is not forgotten either: otherwise nobody could take the name for a while."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        await visit.shows("<connected>bob")
    await visit.shows("* connection lost")
    assert await visit.end("<set_msg_all>never mind\n") == 1
    visit = Talking(port, fresh=True)
    with pytest.raises(LinkError):
        await visit.status()
    assert visit.complained.startswith("* Nothing is forgotten yet")
    async with serving(tmp_path, port):
        visit = Talking(port)
        await visit.shows("* resumed as bob; 1 message pending")
        assert await visit.end() == 0
    assert "* accepted, id=1: <set_msg_all>never mind" in visit.lines


@pytest_twisted.ensureDeferred
@within(30)
async def test_read(tmp_path: Path) -> None:
    """Who types has read what was shown; one line says so, however much is typed at once."""
    async with serving(tmp_path) as port:
        other = Other()
        alice = await other.come(port)
        visit = Talking(port)
        await visit.shows("<connected>bob")
        await alice.say("bob", "one")
        await alice.say("bob", "two")
        await other.hears(b"<delivered id=2>bob")
        assert not [raw for raw in other.heard if raw.startswith(b"<read")]
        visit.type("<ping>a\n<ping>b\n")
        await other.hears(b"<read id=2>bob")
        await visit.shows("<pong>b")
        assert await visit.end() == 0
        await alice.leave()
    assert [raw for raw in other.heard if raw.startswith(b"<read")] == [b"<read id=1>bob", b"<read id=2>bob"]
    assert "<error" not in visit.printed


@pytest_twisted.ensureDeferred
@within(30)
async def test_unread(tmp_path: Path) -> None:
    """Who asks what is unread has not read it by that."""
    async with serving(tmp_path) as port:
        other = Other()
        alice = await other.come(port)
        visit = Talking(port)
        await visit.shows("<connected>bob")
        await alice.say("bob", "one")
        await other.hears(b"<delivered id=1>bob")
        visit.type("<unread>\n<ping>a\n")
        await visit.shows("<pong>a")
        await other.hears(b"<read id=1>bob")
        visit.type("<unread>\n")
        assert await visit.end() == 0
        await alice.leave()
    assert [line for line in visit.lines if line.startswith(("<new", "<unread"))] == [
        "<new count=1>alice",
        "<unread count=1>",
        "<unread count=0>",
    ]


@pytest_twisted.ensureDeferred
@within(30)
async def test_missed(tmp_path: Path) -> None:
    """Behind what was missed stands how much that was, unless it was one message; live ones do not count."""
    async with serving(tmp_path) as port:
        alice = await Other().come(port)
        await alice.join_room("#tea")
        visit = Talking(port)
        visit.type("<join>#tea\n")
        await visit.shows("<joined in=#tea")
        await visit.hang_up()
        for count in (1, 3):
            for number in range(count):
                await alice.say("#tea", str(number))
                if number:
                    await alice.say("bob", "psst")
            await alice.say_all("hello") if count > 1 else None
            visit = Talking(port)
            await visit.shows("* resumed as bob")
            visit.type("<ping>\n")
            await visit.shows("<pong>")
            await alice.say("bob", "live")
            await visit.shows(">live")
            await visit.hang_up()
            missed = [line for line in visit.lines if "you missed" in line]
            assert missed == (
                ["* you missed 6 messages: 3 in #tea, 2 from alice, 1 to all"] if count > 1 else []
            )
        await alice.leave()


@pytest_twisted.ensureDeferred
@within(30)
@pytest.mark.parametrize("by_signal", [True, False])
async def test_hung_up(tmp_path: Path, own_state: Path, by_signal: bool) -> None:
    """A terminal that goes away leaves her away; who leaves is told, if that ends more than her name."""
    async with serving(tmp_path) as port:
        other = Other()
        alice = await other.come(port)
        visit = Talking(port)
        visit.type("<join>#tea\n")
        await visit.shows("<joined in=#tea")
        assert await visit.hang_up(by_signal=by_signal) == 0
        assert (visit.complained, "<goodbye" in visit.printed) == ("", False)
        await other.hears(b"<away>bob")
        assert list(own_state.iterdir())
        visit = Talking(port)
        await visit.shows("* resumed as bob")
        # What is said waits until all that was missed is told; a room can be left only then.
        visit.type("<set_msg_all>back\n")
        await visit.shows("<accepted id=")
        assert await visit.end("<leave>#tea\n") == 0
        assert "<left in=#tea" in visit.printed
        assert visit.complained == f"* {FOR_GOOD}\n"
        visit = Talking(port)
        assert await visit.end("<join>#tea\n") == 0
        assert visit.complained == f"* {FOR_GOOD}\n"
        await alice.leave()
    assert list(own_state.iterdir()) == []


@pytest_twisted.ensureDeferred
@within(30)
async def test_hung_up_while_leaving(tmp_path: Path, own_state: Path) -> None:
    """The signal that tells what the end of the input has told says nothing new, however late it comes."""
    async with serving(tmp_path) as port:
        other = Other()
        alice = await other.come(port)
        visit = Talking(port)
        await visit.shows("<connected>bob")
        visit.gate.open.clear()
        await alice.say("bob", "hi")
        await until(lambda: b">hi" in visit.gate.offered)
        visit.input.reader.isatty = lambda: False
        visit.input.writer.close()
        await until(no_thread_reads)
        await turns(2)  # what the thread has told is done
        visit.signals.caught = signal.SIGHUP
        visit.running.cancel()
        visit.gate.open.set()
        assert (await visit.status(), visit.complained) == (0, "")
        await other.hears(b"<away>bob")
        await alice.leave()
    assert list(own_state.iterdir())


@pytest_twisted.ensureDeferred
@within(30)
async def test_stopped_terminal(tmp_path: Path, own_state: Path) -> None:
    """What the terminal has not taken is not delivered yet, and not read either, whatever is typed."""
    async with serving(tmp_path) as port:
        other = Other()
        alice = await other.come(port)
        visit = Talking(port)
        await visit.shows("<connected>bob")
        visit.gate.open.clear()
        await alice.say("bob", "one")
        await until(lambda: b"<msg id=1 " in visit.gate.offered)
        # What follows goes the same way as an acknowledgement would.
        visit.type("<set_msg>alice two\n")
        await other.hears(b"<msg id=2 ")
        early = [raw for raw in other.heard if raw.startswith((b"<delivered", b"<read"))]
        visit.gate.open.set()
        await other.hears(b"<delivered id=1>bob")
        visit.type("<ping>\n")
        await other.hears(b"<read id=1>bob")
        assert await visit.end() == 0
        await alice.leave()
    assert (early, visit.printed.count("<msg id=1 ")) == ([], 1)


@pytest_twisted.ensureDeferred
@within(30)
async def test_stopped_behind_own_message(tmp_path: Path) -> None:
    """What stands between is one's own, and is neither acknowledged nor said to be read: it was not sent to us."""
    async with serving(tmp_path) as port:
        other = Other()
        alice = await other.come(port)
        visit = Talking(port)
        visit.type("<set_msg>alice one\n")
        await visit.shows("<accepted id=1>alice")
        await visit.shows("<delivered id=1>alice")
        visit.gate.open.clear()
        await alice.say("bob", "two")
        await until(lambda: b"<msg id=2 " in visit.gate.offered)
        visit.type("<ping>behind\n")
        await alice.ping()
        visit.gate.open.set()
        await other.hears(b"<delivered id=2>bob")
        visit.type("<ping>\n")
        await other.hears(b"<read id=2>bob")
        assert await visit.end() == 0
        await alice.leave()
    assert "<error" not in visit.printed


@pytest_twisted.ensureDeferred
@within(30)
async def test_nobody_reads(tmp_path: Path, own_state: Path) -> None:
    """The program ends, as a reader ended it with `| head`, and what it could not show waits for the next run."""
    async with serving(tmp_path) as port:
        other = Other()
        alice = await other.come(port)
        visit = Talking(port)
        await visit.shows("<connected>bob")
        visit.gate.broken = True
        await alice.say("bob", "one")
        assert await visit.status() == 1
        assert not [raw for raw in other.heard if raw.startswith(b"<delivered")]
        visit = Talking(port)
        await visit.shows("<msg id=1 from=alice to=bob>one")
        assert await visit.end() == 0
        await other.hears(b"<delivered id=1>bob")
        await alice.leave()


@pytest_twisted.ensureDeferred
@within(30)
async def test_read_again_after_a_break() -> None:
    """A <read> may have been lost with its connection: the next one is told again."""

    def script(verb: bytes, line: bytes) -> bytes | None:
        label = line.split(b"label=")[-1].split(b">")[0].split(b" ")[0]
        if verb == b"hello":
            return b"<hello label=%s caps=ack,resume>\n" % label
        if verb == b"connect":
            once = b"<connected label=%s resume=t%d>bob\n" % (label, len(stage.actors))
            if b"resume=" in line:
                return once + b"<replayed count=0>\n"
            return once + b"<msg id=7 from=alice to=bob>hi\n"
        return None

    async with acting(script) as (port, stage):
        visit = Talking(port)
        await visit.shows("<msg id=7 ")
        for count in (1, 2):
            await until(lambda: any(line.startswith(b"<ack>7") for line in stage.heard))
            visit.type("<ping>a\n")
            await until(lambda: stage.heard.count(b"<read>7") == count)  # noqa: B023
            if count == 1:
                stage.actor.transport.abortConnection()
                await visit.shows("* back")
        assert await visit.end() == 0


@pytest_twisted.ensureDeferred
@within(30)
async def test_away_and_back(tmp_path: Path) -> None:
    """Others come and go; that is shown as it is told."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        await visit.shows("<connected>bob")
        alice = await Other().come(port)
        alice.abort()
        await visit.shows("<away>alice")
        assert await visit.end("<get_users>\n") == 0
    assert "<user away>alice" in visit.lines


@pytest_twisted.ensureDeferred
@within(30)
async def test_two_at_once(tmp_path: Path) -> None:
    """A second program under the same name does without the file, says so, and may take another name."""
    async with serving(tmp_path) as port:
        first = Talking(port)
        await first.shows("<connected>bob")
        second = Talking(port)
        await second.shows("<error code=name-taken>")
        second.type("<get_users>\n")
        await second.shows("You are not in the chat.")
        second.type("<connect>bob2\n<get_users>\n")
        await second.shows("<users count=2>")
        for visit in (first, second):
            visit.input.writer.close()
        for visit in (first, second):
            assert await visit.running == 0
            await visit.status()
    assert (
        "* Another pychat is in this chat under this name. Nothing is kept this time.\n" in second.complained
    )
    assert {"<connected>bob2", "<users count=2>"} <= set(second.lines)


@pytest_twisted.ensureDeferred
@within(30)
async def test_interrupted_without_a_name(tmp_path: Path) -> None:
    """Ctrl-C leaves also who was not let in."""
    async with serving(tmp_path) as port:
        visit = Talking(port, "everyone")
        await visit.shows("<error code=name-reserved>")
        visit.interrupt()
        assert await visit.status() == 0


@pytest_twisted.ensureDeferred
@within(30)
async def test_damaged_file(tmp_path: Path, own_state: Path) -> None:
    """A file that is no good is named, and the chat goes on without it."""
    async with serving(tmp_path) as port:
        path = state_file(own_state, "127.0.0.1", port, "bob")
        own_state.mkdir()
        path.write_bytes(b"no database" * 1000)
        visit = Talking(port)
        assert await visit.end("<set_msg_all>hi\n") == 0
    assert (
        visit.complained
        == f"* {path} is damaged. Delete it to keep things again. Nothing is kept this time.\n"
    )
    assert "<accepted id=1>all" in visit.lines


@pytest_twisted.ensureDeferred
@within(30)
async def test_replaced(tmp_path: Path, own_state: Path) -> None:
    """Who came back elsewhere is not fought for."""
    from twisted.internet import reactor

    async with serving(tmp_path) as port:
        visit = Talking(port)
        await visit.shows("<connected>bob")
        loop: Any = reactor
        token = await kept_token(visit)
        other = await connect(loop, "127.0.0.1", port)
        await other.hello(("ack", "resume"))
        await other.join("bob", token, 0)
        assert await visit.status() == 1
        await other.leave()
    assert visit.complained == "* bob came back on another connection, so this one has ended.\n"


async def kept_token(visit: Visit) -> str:
    """The token that a visit has, out of its memory: its file is locked."""
    import gc

    stores = [each for each in gc.get_objects() if isinstance(each, FileStore) and each.works]
    (token,) = {store.token for store in stores}
    assert token is not None
    return token


@pytest_twisted.ensureDeferred
@within(30)
async def test_daemon_that_does_not_resume() -> None:
    """An older daemon: back as somebody new; what had been written without an answer is in doubt."""

    def script(verb: bytes, line: bytes) -> bytes | None:
        return b"" if verb == b"set_msg_all" else None

    async with acting(script) as (port, stage):
        visit = Talking(port)
        visit.type("<set_msg_all>hello\n")
        await until(lambda: len(stage.heard) == 3)
        stage.actor.transport.abortConnection()
        await visit.shows(
            "* back, as a newcomer: what was said meanwhile is not told, and your rooms are to be joined again"
        )
        assert await visit.end() == 0
    assert "* perhaps sent, perhaps not, and not sent again: <set_msg_all>hello" in visit.lines
    assert [line.split(b" ")[0].split(b">")[0] for line in stage.heard].count(b"<set_msg_all") == 1


@pytest_twisted.ensureDeferred
@within(30)
async def test_journal_that_takes_nothing() -> None:
    """Who types sees that it was not taken, why, and what becomes of it; it is said again by itself."""
    refused: list[bytes] = []

    def script(verb: bytes, line: bytes) -> bytes | None:
        label = line.split(b"label=")[-1].split(b">")[0].split(b" ")[0]
        if verb == b"hello":
            return b"<hello label=%s caps=ack,resume>\n" % label
        if verb == b"connect":
            return b"<connected label=%s resume=t>bob\n" % label
        if verb != b"set_msg_all":
            return None
        if len(refused) < 2:
            refused.append(line)
            return b"<error code=journal-unavailable label=%s>The disk is full.\n" % label
        return b"<accepted id=%d label=%s>all\n" % (len(stage.heard), label)

    async with acting(script) as (port, stage):
        visit = Talking(port)
        await visit.shows("<connected>bob")
        visit.type("<set_msg_all>one\n<set_msg_all>two\n")
        await visit.shows("<error code=journal-unavailable>The disk is full.")
        await visit.shows("* pending: <set_msg_all>one")
        await visit.shows("* pending: <set_msg_all>two")
        await until(lambda: sum(b"set_msg_all" in line for line in stage.heard) == 4)
        assert await visit.end() == 0
    assert visit.printed.count("* accepted, id=") == 2
    assert visit.printed.count("journal-unavailable") == 1


@pytest_twisted.ensureDeferred
@within(30)
async def test_identity_that_ended(tmp_path: Path) -> None:
    """Who comes back too late is told that she is a newcomer."""
    async with serving(tmp_path / "one") as port:
        visit = Talking(port)
        await visit.shows("<connected>bob")
    await visit.shows("* connection lost")
    assert await visit.end("<set_msg_all>hi\n") == 1
    async with serving(tmp_path / "two", port):
        visit = Talking(port)
        await visit.shows("* Who you were here has ended, and you are back as a newcomer")
        await visit.shows("* accepted, id=1: <set_msg_all>hi")
        assert await visit.end() == 0


@pytest_twisted.ensureDeferred
@within(30)
async def test_file_that_was_refused(tmp_path: Path) -> None:
    """What was answered is not said to be lost when the connection breaks later."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        visit.type("<download>nope\n")
        await visit.shows("<error code=no-such-file>")
    await visit.shows("* connection lost")
    await visit.end()
    assert "nope was not downloaded" not in visit.printed


@pytest_twisted.ensureDeferred
@within(30)
async def test_own_attributes(tmp_path: Path) -> None:
    """Lines with attributes of their own, and lines that say nothing, go as they were typed."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        text = "<set_msg_all label=7 once=mine>x\n<set_msg_all once=mine>x\n<set_msg>bob\n<set_msg_all>\x1b\n"
        assert await visit.end(text) == 0
    accepted = [line for line in visit.lines if line.startswith("<accepted")]
    assert accepted == ["<accepted label=7 id=1>all", "<accepted id=1>all"]
    assert any(line.startswith("<error code=missing-argument>") for line in visit.lines)
    assert any(line.startswith("<error code=bad-text>") for line in visit.lines)


@pytest_twisted.ensureDeferred
@within(30)
async def test_broken_without_a_key() -> None:
    """What went as it was typed is in doubt when its answer is lost, but not when that came."""

    def script(verb: bytes, line: bytes) -> bytes | None:
        if verb == b"set_msg_all":
            return b"" if b"two" in line or b"xxx" in line else b"<accepted label=7 id=1>all\n"
        silent = b"<set_msg_all label=8>two" in stage.heard and len(stage.actors) == 1
        return b"" if verb == b"ping" and silent else None

    async with acting(script) as (port, stage):
        visit = Talking(port)
        visit.type("<set_msg_all label=7>one\n")
        await until(lambda: any(line.startswith(b"<ping") for line in stage.heard))
        visit.type("<ping>\n")
        await visit.shows("<pong>")
        long = "<set_msg_all>" + "x" * 4060
        visit.type(f"<set_msg_all label=8>two\n{long}\n")
        await until(lambda: long.encode() in stage.heard)
        stage.actor.transport.abortConnection()
        await visit.shows("* back")
        assert await visit.end() == 0
    assert [line for line in visit.lines if line.startswith("* perhaps")] == [
        "* perhaps sent, perhaps not, and not sent again: <set_msg_all label=8>two",
        "* perhaps sent, perhaps not, and not sent again: " + long,
    ]


@pytest_twisted.ensureDeferred
@within(30)
async def test_no_connection_for_it(tmp_path: Path) -> None:
    """Who types what cannot wait is told what can."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        await visit.shows("<connected>bob")
    await visit.shows("* connection lost")
    visit.type("quit\n<set_msg_all label=7>x\n<set_msg_all>" + "x" * 4060 + "\n<get_users>\n")
    await visit.shows("only messages wait for one")
    await visit.end()
    first, *others = visit.complained.splitlines()[:4]
    assert first.startswith("* Not sent: this is no command.")
    assert "<disconnect>" in first
    assert others == [
        f"* Not sent: there is no connection now, and {what}. Type it again when there is one."
        for what in (
            "messages with attributes of their own do not wait for one",
            "a message as long as this does not wait for one: below 4,000 bytes it would",
            "only messages wait for one",
        )
    ]


@pytest_twisted.ensureDeferred
@within(30)
async def test_unanswered() -> None:
    """A command whose answer the connection took with it is told; not so one that had its answer, or has none."""

    def script(verb: bytes, line: bytes) -> bytes | None:
        if len(stage.actors) > 1:
            return None
        if verb == b"get_rooms":
            return b"<rooms count=0>\n"
        silent = any(line == b"<whois>bob" for line in stage.heard)
        return b"" if verb in (b"get_users", b"whois", b"pong") or (verb == b"ping" and silent) else None

    async with acting(script) as (port, stage):
        visit = Talking(port)
        visit.type("<get_rooms>\n")
        await visit.shows("<rooms count=0>")
        visit.type("<ping>x\n")
        await visit.shows("<pong>")
        visit.type("<pong>x\n<whois>bob\n<get_users limit=5>#tea\n")
        await until(lambda: any(line.startswith(b"<get_users") for line in stage.heard))
        stage.actor.transport.abortConnection()
        await visit.shows("* back")
        assert await visit.end() == 0
    assert sorted(line for line in visit.lines if line.startswith("* not answered")) == [
        f"* not answered before the connection ended, so try again: {line}"
        for line in ("<get_users limit=5>#tea", "<whois>bob")
    ]


@pytest_twisted.ensureDeferred
@within(30)
async def test_unanswered_when_leaving() -> None:
    """Who leaves is not told to ask again."""

    def script(verb: bytes, line: bytes) -> bytes | None:
        return b"" if verb in (b"whois", b"get_users", b"ping", b"pong") else None

    async with acting(script) as (port, stage):
        visit = Talking(port)
        visit.type("<get_users>\n<whois>bob\n")
        await until(lambda: b"<whois>bob" in stage.heard)
        visit.interrupt()
        assert await visit.status() == 0
    assert "not answered" not in visit.printed


@pytest_twisted.ensureDeferred
@within(30)
@pytest.mark.parametrize("terminal", [True, False])
async def test_nothing_comes(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    """Who waits to be let in by something that says nothing is told so, once."""
    monkeypatch.setattr(visit_module, "PATIENT_SECONDS", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        visit = Visit(port, terminal=terminal)
        told = f"* Still waiting for 127.0.0.1:{port} to let you in. Ctrl-C gives up.\n"
        await visit.shows(told)
        visit.interrupt()
        with pytest.raises(CancelledError):
            await visit.status()
    assert visit.complained == told


@pytest_twisted.ensureDeferred
@within(30)
async def test_full() -> None:
    """Who finds no room is told so once, at the start and while she tries to come back."""

    def script(verb: bytes, line: bytes) -> bytes | None:
        return None

    async with acting(script) as (port, stage):
        stage.greeting = b"<goodbye code=full>No room. Come back later."
        visit = Talking(port)
        with pytest.raises(LinkError) as caught:
            await visit.status()
        assert caught.value.sentence == "No room. Come back later."  # which is what the program complains of
        assert visit.printed + visit.complained == ""

        stage.greeting = b"<welcome>hi"
        visit = Talking(port)
        await visit.shows("<connected>")
        stage.greeting = b"<goodbye code=full>No room. Come back later."
        stage.actor.transport.abortConnection()
        await visit.shows("* still no connection (no room for more connections)")
        stage.greeting = b"<welcome>hi"
        await visit.shows("* back")
        assert await visit.end() == 0
    assert "code=full" not in visit.printed


@pytest_twisted.ensureDeferred
@within(30)
async def test_disconnect(tmp_path: Path, own_state: Path) -> None:
    """Typed, it leaves for good, after all that was typed before it."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        visit.type("<set_msg_all>x\n<disconnect>\n<set_msg_all>never\n")
        assert await visit.status() == 0
        await visit.close_input()
    assert visit.lines[-1] == "<goodbye code=bye>Goodbye."
    assert "<accepted id=1>all" in visit.lines
    assert "never" not in visit.printed
    assert list(own_state.iterdir()) == []
