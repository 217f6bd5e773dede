"""What somebody who types is told in our own words."""

from __future__ import annotations

from .render import visible
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
}
"""What to call the reasons whose own sentences say what to do: that is being done."""


def as_typed(post: Post) -> str:
    """A post as somebody types it."""
    head = "<set_msg_all>" if post.to is None else f"<set_msg>{visible(post.to)} "
    return head + visible(post.text)


def messages(count: int) -> str:
    """``1 message``, ``2 messages``."""
    return f"{count} message{'' if count == 1 else 's'}"
