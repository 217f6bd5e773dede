"""What the commands print, and how they end when it goes nowhere.

Who reads a pipe may stop (``pychat help serve | head -3``), and a disk may be full.  Python tells of that at a `print`,
or when the interpreter flushes at its end, with a traceback that helps nobody.  Here it is an exit status.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

OK, FAILED, USAGE = 0, 1, 2
BROKEN_PIPE = 128 + 13
"""Exit status when nobody reads what is printed any more: a shell's for a program that SIGPIPE ended."""


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """What was printed within has gone out at the end.

    :raise SystemExit: :data:`BROKEN_PIPE`, without a word; or 1, and one line on standard error.
    """
    failed: OSError | None = None
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        failed = error
    finally:
        failed = flush() or failed
        if failed is not None:
            sys.exit(status_of(failed))


def flush() -> OSError | None:
    """Print what is left in the buffer; what is not taken is dropped, and why is returned."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _drop()
        return error
    return None


def status_of(error: Exception) -> int:
    """The exit status of who could not print; other reasons than a broken pipe are told."""
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    with contextlib.suppress(OSError):
        reason = getattr(error, "strerror", None) or error
        print(f"pychat: Standard output cannot be written: {reason}.", file=sys.stderr)  # noqa: T201
    return FAILED


def _drop() -> None:
    """The interpreter flushes once more at its end: let it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
