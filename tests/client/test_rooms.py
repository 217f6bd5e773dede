"""Tests of rooms, of what is said about messages, and of looking back: our programs and library, and real daemons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest_twisted

from pychat.client.answers import read_text
from pychat.client.connection import Client, connect
from pychat.client.files import FileStore
from pychat.client.member import Member
from tests.guards import within

from .daemons import acting, serving
from .pretended import Witness
from .test_chat import Visit, until
from .test_talk import Talking

TIME = r"\[\d{4}-\d\d-\d\d \d\d:\d\d\]"


async def come(port: int, name: str, *rooms: str) -> tuple[Client, list[bytes]]:
    """Somebody with the library; and what she hears."""
    from twisted.internet import reactor

    heard: list[bytes] = []
    client = await connect(reactor, "127.0.0.1", port, lambda line, raw: heard.append(raw))
    await client.hello(("ack", "resume", "multiline"))
    await client.join(name)
    for room in rooms:
        await client.join_room(room)
    return client, heard


async def hears(heard: list[bytes], start: bytes) -> None:
    await until(lambda: any(raw.startswith(start) for raw in heard))


@pytest_twisted.ensureDeferred
@within(30)
async def test_joining(tmp_path: Path) -> None:
    """Who joins a room sees what it is about and what was said there, marked as that; nothing if there is nothing."""
    async with serving(tmp_path) as port:
        alice, _ = await come(port, "alice", "#tea")
        await alice.say("#tea", "<b>one\n* saved x")
        await alice.command("topic", "#tea which kettle")
        visit = Talking(port)
        await visit.shows("<connected>bob")
        visit.type("<join>#tea\n<join>#new\n")
        await visit.shows("* end of what was said in #tea before")
        await alice.say("#tea", "two")
        await visit.shows(">two")
        assert (
            await visit.end("<get_users>#tea\n<history limit=1>#tea\n<search in=#tea>one\n<history>#no\n")
            == 0
        )
        await alice.leave()
    shown = "\n".join(visit.lines[3:])
    assert shown.startswith("<joined in=#tea id=4 members=2>bob\n<joined in=#new id=5 members=1>bob\n")
    assert re.search(r"<topic in=#tea by=alice time=\S*>which kettle\n", shown)
    assert re.search(
        rf"\* said in #tea before\n{TIME} <msg id=2 from=alice to=#tea><b>one\n    \* saved x\n"
        r"\* end of what was said in #tea before\n",
        shown,
    )
    assert "said in #new" not in shown
    assert re.search(
        rf"<users in=#tea count=2>\n{TIME} <msg id=6 from=alice to=#tea>two\n<history count=1 more=", shown
    )
    assert re.search(
        rf"{TIME} <msg id=2 from=alice to=#tea><b>one\n.*\n<search count=1>one\n<error code=no-such", shown
    )
    assert shown.count(">two") == 2


@pytest_twisted.ensureDeferred
@within(30)
async def test_about_messages(tmp_path: Path) -> None:
    """Edits, reactions and the rest go through the outbox, are kept for a connection, and said once."""
    async with serving(tmp_path) as port:
        visit = Talking(port)
        await visit.shows("<connected>bob")
        visit.type("<join>#tea\n<set_msg>#tea hello\n")
        await visit.shows("<accepted id=2>#tea")
    await visit.shows("* connection lost")
    visit.type(
        "<edit>2 hello all\n<react>2 +1\n<set_msg reply=2>#tea hi\n<topic>#tea tea\n<retract>2\n<topic>#tea\n"
    )
    await visit.shows("only messages wait for one")
    async with serving(tmp_path, port):
        await visit.shows("id=7: <retract>2")
        alice, _ = await come(port, "alice", "#tea")
        page = await alice.history("#tea")
        found = await alice.search("hi", place="#tea", sender="bob")
        assert await visit.end("<react>99 x\n") == 0
        await alice.leave()
    assert [line for line in visit.lines if line.startswith(("* accepted", "* pending"))] == [
        "* pending: <edit>2 hello all", "* pending: <react>2 +1", "* pending: <set_msg reply=2>#tea hi",
        "* pending: <topic>#tea tea", "* pending: <retract>2",
        "* accepted, id=3: <edit>2 hello all", "* accepted, id=4: <react>2 +1",
        "* accepted, id=5: <set_msg reply=2>#tea hi", "* accepted, id=6: <topic>#tea tea",
        "* accepted, id=7: <retract>2",
    ]  # fmt: skip
    assert "<error code=no-such-message>" in visit.printed
    assert [read_text(line) for line in page.lines] == [b"(message taken back)", b"+1", b"hi"]
    assert [read_text(line) for line in found.lines] == [b"hi"]


@pytest_twisted.ensureDeferred
@within(30)
async def test_missed(tmp_path: Path) -> None:
    """What was said in a room meanwhile, and of messages, is told once by the next run, in order."""
    async with serving(tmp_path) as port:
        alice, _ = await come(port, "alice", "#tea")
        visit = Talking(port)
        await visit.shows("<connected>bob")
        visit.type("<join>#tea\n")
        await visit.shows(" members=2>bob")
        await alice.say("#tea", "seen")
        await visit.shows(">seen")
        visit.type("<set_msg>alice never arrives\n")
        await visit.shows(">alice\n")
        visit.gate.broken = True
        await alice.say("#tea", "missed")
        assert await visit.status() == 1
        await alice.edit(3, "two\nlines")
        await alice.react(3, "+1")
        visit = Talking(port)
        await visit.shows("react=3>+1")
        await alice.say("#tea", "live")
        await visit.shows(">live")
        assert await visit.end() == 0
        await alice.leave()
    messages = [line for line in visit.lines if "<msg" in line or line.startswith("    ")]
    assert [re.sub(rf"^{TIME} | time=\S*(?=>)", "", line) for line in messages] == [
        "<msg id=5 from=alice to=#tea>missed", "<msg id=6 from=alice to=#tea edit=3>two", "    lines",
        "<msg id=7 from=alice to=#tea react=3>+1", "<msg id=8 from=alice to=#tea>live",
    ]  # fmt: skip


@pytest_twisted.ensureDeferred
@within(30)
async def test_everything_else(tmp_path: Path) -> None:
    """Every other command is typed as it is, and its answers and notices are readable."""
    async with serving(tmp_path) as port:
        alice, heard = await come(port, "alice", "#tea")
        visit = Talking(port)
        await visit.shows("<connected>bob")
        visit.type("<join>#tea\n<get_rooms>\n<mute>#tea\n<unmute>#tea\n<unread>\n<ignore>zoe\n<ignore>\n")
        await visit.shows("<ignores count=1>")
        await alice.command("away", "out \u202efor lunch")
        await visit.shows("<absent from=alice>")
        visit.type("<whois>alice\n<away>me too\n<typing>#tea\n<hide>seen\n<leave>#tea\n")
        await hears(heard, b"<left in=#tea>bob")
        await alice.command("away")
        await visit.shows("<present from=alice>")
        assert await visit.end("<set_msg>#tea no\n") == 0
        await alice.leave()
    for line in (
        "<room members=2 joined>#tea", "<rooms count=1>", "<unread count=0>", "<ignored>zoe",
        "<absent from=alice>\u2068out \u202efor lunch\u2069", "<left in=#tea>bob",
    ):  # fmt: skip
        assert line in visit.lines
    assert visit.printed.count("<done>") == 6
    assert "<whois state=here" in visit.printed
    assert "<error code=not-in-room>" in visit.printed
    assert b"<absent from=bob>me too" in heard


@pytest_twisted.ensureDeferred
@within(30)
async def test_script(tmp_path: Path) -> None:
    """A script's lists are printed in the order of its lines; it asks for what it wants to know."""
    async with serving(tmp_path) as port:
        alice, _ = await come(port, "alice", "#tea")
        await alice.say("#tea", "one\ntwo")
        visit = Visit(port)
        status = await visit.end(
            "<set_msg_all>x\n<join>#tea\n<ping>1\n<history>#tea\n<search label=s>one\n<ping>2\n"
        )
        await alice.leave()
    assert status == 0
    lines = [re.sub(rf"^{TIME} ", "", line) for line in visit.lines if not line.startswith("<receipt")]
    assert lines[3:-1] == [
        "<accepted id=3>all", "<joined in=#tea id=4 members=2>bob", "<pong>1",
        "<msg id=2 from=alice to=#tea>one", "    two",
        "<history count=1>#tea", "<msg label=s id=2 from=alice to=#tea>one", "    two", "<search label=s count=1>one",
        "<pong>2",
    ]  # fmt: skip


@pytest_twisted.ensureDeferred
@within(30)
async def test_script_is_refused(tmp_path: Path) -> None:
    """What a script may not look up is an error of its."""
    async with serving(tmp_path) as port:
        visit = Visit(port)
        assert await visit.end("<history>#no\n") == 1
    assert any(line.startswith("<error code=no-such-room>") for line in visit.lines)


@pytest_twisted.ensureDeferred
@within(30)
async def test_members(tmp_path: Path) -> None:
    """Members of the library in a room: each thing once, over as many connections as it takes."""
    from twisted.internet import reactor

    loop: Any = reactor
    people: dict[str, tuple[Member, Witness, FileStore]] = {}
    async with serving(tmp_path) as port:
        for name in ("alice", "bob"):
            store, witness = FileStore(tmp_path / f"{name}.chat"), Witness()
            member = Member(loop, "127.0.0.1", port, name, store, witness)
            await member.start()
            assert member.client is not None
            await member.client.join_room("#tea")
            people[name] = member, witness, store
        alice, bob = people["alice"][0], people["bob"][0]
        for number in range(20):
            alice.post("#tea", f"{number}\nlines")
            if number % 5 == 4:
                alice.drop()
                bob.drop()
        await until(lambda: not alice.pending and len(people["bob"][1].lines) == 20)
        first = int(people["alice"][1].take("accepted")[0].split(" ")[-1])
        alice.edit(first, "better")
        alice.react(first, "+1")
        bob.drop()
        alice.retract(first)
        await until(lambda: len(people["bob"][1].lines) == 23)
        for member, _, store in people.values():
            await member.leave()
            store.close()
    texts = [entry.split(" ", 2)[2] for entry in people["bob"][1].log if entry.startswith("message")]
    assert texts[:20] == [f"{number}%0Alines" for number in range(20)]
    # She may have missed the edit until it was taken back, too.
    assert texts[20] in ("better", "(message taken back)")
    assert texts[21:] == ["+1", "(message taken back)"]
    assert not [entry for entry in people["alice"][1].log if entry.startswith(("refused", "doubtful"))]


@pytest_twisted.ensureDeferred
@within(30)
async def test_hostile_daemon() -> None:
    """What claims to be looked up moves nothing; what cannot be understood harms nobody."""

    def script(verb: bytes, line: bytes) -> bytes | None:
        label = line.split(b"label=")[-1].split(b">")[0].split(b" ")[0]
        if verb == b"hello":
            return b"<hello label=%s caps=ack,resume>\n" % label
        if verb == b"connect":
            return b"<connected label=%s resume=t>bob\n" % label
        if verb == b"join":
            return b"<joined label=%s in=\x1b[2J>x\x1b\n" % label + b"<joined label=%s>x\x1b\n" % label
        if verb == b"topic":
            return b"<topic label=%s>\x1b[1m\n" % label
        if verb == b"history":
            return (
                b"<msg label=%s replay id=9 time=9 enc=pct>%%1b%%0A%%\n<history label=%s count=1 more=%%0A>x\n"
                b"<msg label=~77 id=99>later\n<msg id=5>live\n" % (label, label)
            )
        return b"" if verb in (b"pong", b"ack", b"read") else None

    async with acting(script) as (port, stage):
        visit = Talking(port)
        await visit.shows("<connected>bob")
        visit.type("<join>#tea\n")
        # When it is acknowledged the program knows that it is on the screen, and it is read by who types then.
        await until(lambda: b"<ack>5" in stage.heard)
        visit.type("<set_msg>bob x\n")
        await until(lambda: b"<read>5" in stage.heard)
        assert await visit.end() == 0
    assert not [line for line in stage.heard if line.startswith((b"<ack>9", b"<read>9"))]
    assert "\x1b" not in visit.printed
