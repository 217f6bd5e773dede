"""The table of commands: which verbs there are, what they take, and from which stage on they are legal.

It is data.  `pychat.session` checks lines against it and carries the commands out; ``<help>`` is printed from it, and a
test holds the table in ``docs/protocol.md`` against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class Stage(IntEnum):
    """How far a conversation has come; a command is legal from its stage on."""

    NEW = 0
    GREETED = 1
    JOINED = 2


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table of commands."""

    verb: str
    takes: str
    """What stands after the ``>``, as help shows it."""
    stage: Stage
    """From which stage on it is legal."""
    summary: str
    attributes: tuple[str, ...] = ()
    """The attributes it knows besides ``label``."""
    needs: str = ""
    """What to say when what stands after the ``>`` is missing; empty if it may be."""
    live: bool = field(default=False, kw_only=True)
    """It has to wait until one was told all that one missed: its answer could not come before, and would pile up."""
    after: bool = field(default=False, kw_only=True)
    """It asks for what was said: its turn comes when all that one said before is, or is refused."""
    hint: str = field(default="", kw_only=True)
    """For ``<help>verb``: examples, one a line."""


COMMANDS = {
    command.verb.encode(): command
    for command in (
        Command("connect", "name", Stage.NEW, "join the chat under this name", ("resume", "after", "open"),
                hint="<connect>alice"),
        Command("disconnect", "", Stage.NEW, "leave the chat and close the connection", hint="<disconnect>"),
        Command("get_users", "#room", Stage.JOINED, "list who is here, or who is in a room",
                ("limit", "more"),
                hint="<get_users>\n<get_users>#tea\n<get_users limit=100>\n<get_users limit=100 more=bob>"),
        Command("set_msg", "name text", Stage.JOINED, "send a message to one person, or to a #room",
                ("once", "reply", "enc"),
                "Who shall get it, and what? Type <set_msg>name your text",
                hint="<set_msg>bob hi there\n<set_msg>#tea hi all\n<set_msg reply=1042>bob here I am"),
        Command("set_msg_all", "text", Stage.JOINED, "send a message to everybody", ("once", "reply", "enc"),
                "What shall everybody read? Type <set_msg_all>your text", hint="<set_msg_all>hello all"),
        Command("listfiles", "", Stage.GREETED, "list the files on the shelf", hint="<listfiles>"),
        Command("download", "file", Stage.GREETED, "ask for a file from the shelf", ("have", "version"),
                "Which file? Type <listfiles> to see them, then <download>file", hint="<download>report.pdf"),
        Command("upload", "file", Stage.GREETED, "put a file on the shelf", ("size", "version"),
                "Which file? Type <upload>name for the line to type into a shell", hint="<upload>photo.jpg"),
        Command("transfers", "", Stage.GREETED, "list your downloads and uploads", hint="<transfers>"),
        Command("pause", "transfer", Stage.GREETED, "let a transfer of yours rest", (),
                "Which one? Type <transfers> to see yours, then <pause>name or <pause>id",
                hint="<pause>report.pdf\n<pause>9f1c"),
        Command("continue", "transfer", Stage.GREETED, "let a transfer that rests go on", (),
                "Which one? Type <transfers> to see yours, then <continue>name or <continue>id",
                hint="<continue>report.pdf\n<continue>9f1c"),
        Command("cancel", "transfer", Stage.GREETED, "end a transfer of yours", (),
                "Which one? Type <transfers> to see yours, then <cancel>name or <cancel>id",
                hint="<cancel>report.pdf\n<cancel>9f1c"),
        Command("join", "#room", Stage.JOINED, "become a member of a room; the first one makes it", (),
                "Which room? Type <get_rooms> to see them, or make one: <join>#tea", live=True, hint="<join>#tea"),
        Command("leave", "#room", Stage.JOINED, "be a member of a room no more", (),
                "Which room? Type <leave>#room", live=True, hint="<leave>#tea"),
        Command("get_rooms", "", Stage.JOINED, "list the rooms", hint="<get_rooms>"),
        Command("topic", "#room text", Stage.JOINED, "say or ask what a room is about", ("once", "clear"),
                "Of which room? Type <topic>#room, and a text to set it",
                hint="<topic>#tea\n<topic>#tea Which kettle to buy\n<topic clear>#tea"),
        Command("history", "name", Stage.JOINED, "read what was said with somebody, in a #room or to all",
                ("limit", "before", "after", "more"),
                "Whose? Type <history>name, <history>#room or <history>all", live=True, after=True,
                hint="<history>bob\n<history limit=50>#tea\n<history before=1042>#tea\n<history after=1042>all"),
        Command("search", "words", Stage.JOINED, "find messages that have these words", ("in", "from", "limit", "more"),
                "For what? Type <search>words", live=True, after=True,
                hint='<search>kettle\n<search>"green tea" kett*\n<search in=#tea from=bob>kettle\n'
                     "<search limit=10 more=1042>kettle"),
        Command("edit", "id text", Stage.JOINED, "change a message of yours", ("once", "enc"),
                "Which message, and how? Type <edit>id new text", hint="<edit>1042 hi there, Bob"),
        Command("retract", "id", Stage.JOINED, "take a message of yours back", ("once",),
                "Which message? Type <retract>id with the id= that <accepted> gave", hint="<retract>1042"),
        Command("react", "id emoji", Stage.JOINED, "react to a message; without emoji: take that back", ("once",),
                "To which message? Type <react>id and an emoji", hint="<react>1042 \N{THUMBS UP SIGN}\n<react>1042"),
        Command("unread", "", Stage.JOINED, "count what you have not read", live=True, after=True, hint="<unread>"),
        Command("typing", "name", Stage.JOINED, "let programs of somebody, or of a #room, know that you are typing", (),
                "To whom? Type <typing>name or <typing>#room", hint="<typing>bob"),
        Command("away", "text", Stage.JOINED, "say that you are away; without text: that you are back",
                hint="<away>out for lunch"),
        Command("whois", "name", Stage.JOINED, "tell whether somebody is here, and was seen when", (),
                "Who? Type <whois>name", hint="<whois>bob"),
        Command("ignore", "name", Stage.JOINED, "be shown nothing of somebody; without name: list whom",
                hint="<ignore>bob\n<ignore>"),
        Command("unignore", "name", Stage.JOINED, "ignore somebody no more", (),
                "Whom? Type <unignore>name", hint="<unignore>bob"),
        Command("mute", "#room", Stage.JOINED, "be shown nothing of a room, and stay in it", (),
                "Which room? Type <mute>#room", hint="<mute>#tea"),
        Command("unmute", "#room", Stage.JOINED, "be shown what is said in a room again", (),
                "Which room? Type <unmute>#room", hint="<unmute>#tea"),
        Command("hide", "what", Stage.JOINED, "hide when you are typing, away, or were seen", (),
                "What? Type <hide>typing, <hide>away or <hide>seen", hint="<hide>typing"),
        Command("show", "what", Stage.JOINED, "hide it no more", (),
                "What? Type <show>typing, <show>away or <show>seen", hint="<show>typing"),
        Command("ack", "id", Stage.JOINED, "acknowledge all messages up to this one", (),
                "Which message? Type <ack>id with the id= of the last <msg>", hint="<ack>1042"),
        Command("read", "id", Stage.JOINED, "say that you have read all messages up to this one", ("in",),
                "Which message? Type <read>id with the id= of the last <msg>", hint="<read>1042\n<read in=#tea>1042"),
        Command("receipts", "id", Stage.JOINED, "list who has a message of yours", (),
                "Which message? Type <receipts>id with the id= that <accepted> gave", after=True,
                hint="<receipts>1042"),
        Command("ping", "text", Stage.NEW, "ask for a <pong> with the same text", hint="<ping>x"),
        Command("pong", "text", Stage.NEW, "answer a <ping>", hint="<pong>x"),
        Command("hello", "", Stage.NEW, "before <connect>: say what this client can do", ("caps",),
                hint="<hello caps=ack,resume>"),
        Command("stream", "", Stage.NEW, "for programs: have a transfer on this connection, which says nothing else",
                ("transfer", "token"), hint="<stream transfer=9f1c2b7a6e5d4c3b token=...>"),
        Command("status", "", Stage.NEW, "tell how the daemon is doing, in numbers", hint="<status>"),
        Command("help", "command", Stage.NEW, "list the commands, or tell about one", hint="<help>set_msg"),
    )
}  # fmt: skip
"""Every command by its verb.  ``Session._do_<verb>`` carries it out."""
