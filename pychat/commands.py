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
    hint: str = field(default="", kw_only=True)
    """For ``<help>verb``: an example."""


COMMANDS = {
    command.verb.encode(): command
    for command in (
        Command("connect", "name", Stage.NEW, "join the chat under this name", ("resume", "after", "open"),
                hint="<connect>alice"),
        Command("disconnect", "", Stage.NEW, "leave the chat and close the connection", hint="<disconnect>"),
        Command("get_users", "", Stage.JOINED, "list who is here", hint="<get_users>"),
        Command("set_msg", "name text", Stage.JOINED, "send a message to one person", ("once",),
                "Who shall get it, and what? Type <set_msg>name your text", hint="<set_msg>bob hi there"),
        Command("set_msg_all", "text", Stage.JOINED, "send a message to everybody", ("once",),
                "What shall everybody read? Type <set_msg_all>your text", hint="<set_msg_all>hello all"),
        Command("listfiles", "", Stage.GREETED, "list the files on the shelf", hint="<listfiles>"),
        Command("download", "file", Stage.GREETED, "ask for a file from the shelf", (),
                "Which file? Type <listfiles> to see them, then <download>file", hint="<download>report.pdf"),
        Command("ack", "id", Stage.JOINED, "acknowledge all messages up to this one", (),
                "Which message? Type <ack>id with the id= of the last <msg>", hint="<ack>1042"),
        Command("read", "id", Stage.JOINED, "say that you have read all messages up to this one", (),
                "Which message? Type <read>id with the id= of the last <msg>", hint="<read>1042"),
        Command("receipts", "id", Stage.JOINED, "list who has a message of yours", (),
                "Which message? Type <receipts>id with the id= that <accepted> gave", hint="<receipts>1042"),
        Command("ping", "text", Stage.NEW, "ask for a <pong> with the same text", hint="<ping>x"),
        Command("pong", "text", Stage.NEW, "answer a <ping>", hint="<pong>x"),
        Command("hello", "", Stage.NEW, "before <connect>: say what this client can do", ("caps",),
                hint="<hello caps=ack,resume>"),
        Command("help", "command", Stage.NEW, "list the commands, or tell about one", hint="<help>set_msg"),
    )
}  # fmt: skip
"""Every command by its verb.  ``Session._do_<verb>`` carries it out."""
