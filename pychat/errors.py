"""The exceptions of Python Chat: one tree, and each leaf says what a person can do about it.

``PychatError`` is never raised itself.  Whoever catches it can show ``str(error)`` to a person and
branch on ``error.code``, a word out of a closed set that `docs/protocol.md` and `docs/transfer.md` list.
"""

from __future__ import annotations


class PychatError(Exception):
    """Something that went wrong in a way that we foresaw.

    :ivar code: one word for programs, stable for ever.
    :ivar sentence: what to tell a person: what happened, and what to do next.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class ProtocolError(PychatError):
    """A line that breaks the line protocol.  Raised as one of its two children."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something illegal: answer it with ``<error code=…>sentence``."""


class LocalProtocolError(ProtocolError):
    """Our own caller asked for a line that may not be sent."""


class JournalError(PychatError):
    """The journal could not keep what it was given, and nothing of it was accepted; or it could not be read."""


class ShelfError(PychatError):
    """A file could not be named, opened or read."""


class TransferError(PychatError):
    """A file transfer ended without a verified file."""
