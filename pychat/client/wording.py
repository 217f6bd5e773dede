"""What somebody who types is told in our own words."""

from __future__ import annotations

from ..grammar import Line, render
from .answers import read_counts
from .asking import encoded
from .render import show_line, visible
from .store import Post

SHORT_REASONS = {
    "lost": "it broke",
    "closed": "it was closed",
    "timed-out": "no answer",
    "refused": "nobody listens",
    "unreachable": "no way there",
    "unknown-host": "unknown host",
    "shutdown": "the chat closes down",
    "going-away": "the chat closes down",
    "name-taken": "your name is still taken",
    "not-pychat": "what answers there is no Python Chat",
    "journal-unavailable": "the chat cannot keep anything now",
    "busy": "the chat is busy",
    "full": "no room for more connections",
}
"""What to call the reasons whose own sentences say what to do: that is being done."""


NEWCOMER_BRIEFLY = "as a newcomer: what was said meanwhile is not told, and your rooms are to be joined again"

NEWCOMER = f"Who you were here has ended, and you are back {NEWCOMER_BRIEFLY}"

NO_COMMANDS = (
    "These lines are neither commands, each of them, nor one message, which begins with <set_msg>name or <set_msg_all>."
    " Nothing of them was sent."
)

NO_MESSAGE = (
    "Several lines are commands only where all of them are pasted at once, and nothing is typed. These are no message "
    "either, which begins with <set_msg>name or <set_msg_all>. Nothing of them was sent."
)

NO_COMMAND = (
    "Not sent: this is no command. To talk to everybody: <set_msg_all>your text. To leave: <disconnect>. "
    "There is no connection now; messages wait for one."
)

ONLY_MESSAGES_WAIT = "only messages wait for one"

ATTRIBUTES_DO_NOT_WAIT = "messages with attributes of their own do not wait for one"

LONG_DOES_NOT_WAIT = "a message as long as this does not wait for one: below 4,000 bytes it would"

FOR_GOOD = (
    "You left for good: your rooms, settings and private history end here. To come back as the same one, close the "
    "window instead."
)

REWOUND = "The chat has lost messages that you had: it goes on from those that it still has."


def as_typed(post: Post) -> str:
    """A post as somebody types it."""
    line = encoded(post.said)
    return show_line(line, whole(line))


def whole(line: Line) -> bytes:
    """A line as it is sent."""
    return render(line.verb, line.attributes)[:-1] + line.text


def people(line: Line) -> str | None:
    """``12 joined, 3 left: 812 people`` for a ``<people>``; ``None`` if it says something else."""
    counts = read_counts(line)
    if counts is None or not counts[0]:
        return None
    happened = ", ".join(f"{count} {change}" for change, count in counts[0].items())
    room = line.attributes.get(b"in")
    place, whom = ("", "people") if room is None else (f"{visible(room)}: ", "members")
    return f"{place}{happened}: {counts[1]:,} {whom}"


def soon(seconds: float) -> str:
    """``at once``, ``in 0.5 s``, ``in 12 s``."""
    if seconds < 0.05:
        return "at once"
    return f"in {seconds:.{int(seconds < 9.95)}f} s"


def messages(count: int) -> str:
    """``1 message``, ``2 messages``."""
    return f"{count} message{'' if count == 1 else 's'}"


def not_listed(count: int) -> str:
    """What a listing says of the files for which it has no room."""
    return f"{count} more file{' is' if count == 1 else 's are'} not listed"


def left_over(sent: list[bool], *, kept: bool) -> list[str]:
    """What becomes of posts without an answer when the program ends.

    :param sent: of each whether it has been written to a connection.
    :param kept: they are in a file.
    """
    doubtful = sum(sent)
    unsent = len(sent) - doubtful
    said = []
    if unsent:
        fate = (
            " yet. The next pychat chat with this address and name sends them."
            if kept
            else ", and lost: nothing could be kept here."
        )
        said.append(f"{messages(unsent)} not sent{fate}")
    if doubtful:
        fate = (
            ("has" if doubtful == 1 else "have")
            + " no answer yet. The next pychat chat with this address and name asks."
            if kept
            else "perhaps sent, perhaps not: nothing could be kept here."
        )
        said.append(f"{messages(doubtful)} {fate}")
    return said
