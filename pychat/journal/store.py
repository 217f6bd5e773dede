"""The journal's file: made, upgraded, looked over, copied.  Blocking; for the writer's thread and for programs.

The schema is a row of numbered scripts in ``pychat/journal/schema``; ``PRAGMA user_version`` says how many of
them a file has had. Before a file is upgraded a copy of it is put beside it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from twisted.logger import Logger

from ..errors import JournalError
from .rows import LIVING
from .runs import NEWEST, nonsense

FILE_NAME = "journal.sqlite3"
INDEX_NAME = "index.sqlite3"
LOCK_NAME = "journal.lock"
APPLICATION_ID = 0x70794368  # "pyCh": what file(1) and we tell the file by

CACHE_KIB, WRITER_CACHE_KIB = 500, 1000
"""What a connection keeps of each of its files in memory, and what the one does that writes the journal.

The system has them in memory as well, and who reads forgets what is here whenever somebody else has written: more
brings little.  The writer has the standings of all who are here."""

_log = Logger()

_CORRUPT = (11, 26)
"""SQLITE_CORRUPT and SQLITE_NOTADB; an extended code has more above these eight bits."""

_DAMAGED = (sqlite3.DatabaseError, ValueError)


def scripts() -> list[str]:
    """The schema's scripts, in order; a file of version N has had the first N."""
    folder = files(__package__) / "schema"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text("utf-8") for name in names]


def connect(
    path: Path, *, read_only: bool = False, durable: bool = True, still: bool = False
) -> sqlite3.Connection:
    """Open a journal's file as it is, with transactions in our own hands; one thread at a time may use it.

    :param durable: a commit is synced before it is told of.
    :param still: nobody writes it, and nothing is left beside it; only to read.
    """
    mode = "ro&immutable=1" if still else "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10,
    )
    try:
        cache = WRITER_CACHE_KIB if durable and not read_only else CACHE_KIB
        connection.execute(f"PRAGMA cache_size = -{cache}")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    except BaseException:
        connection.close()
        raise
    return connection


def tells_damage(error: BaseException | None) -> bool:
    """Whether this is SQLite's word that a file is damaged, and not a refusal of the system or a mistake of ours."""
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)  # Python 3.10 does not tell
    if code is not None:
        return code & 0xFF in _CORRUPT
    # There is no class for it: it comes as the parent of those that mean something else.
    said = str(error)
    return type(error) is sqlite3.DatabaseError and any(
        word in said for word in ("malformed", "corrupt", "not a database")
    )


class Handle:
    """A connection that is opened when it is needed, dropped after an error, and then opened afresh."""

    def __init__(
        self, opens: Callable[[], sqlite3.Connection], connection: sqlite3.Connection | None = None
    ) -> None:
        """:param connection: one that is open already."""
        self._opens = opens
        self._connection = connection

    def get(self) -> sqlite3.Connection:
        """The connection.

        :raise sqlite3.Error: it cannot be opened.
        """
        if self._connection is None:
            self._connection = self._opens()
        return self._connection

    def drop(self) -> None:
        """Close it, which rolls back: after an error nothing of a connection is trusted."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                pass


def lock_folder(folder: Path) -> sqlite3.Connection:
    """Keep other daemons away from a folder for as long as the connection returned is open, on any system.

    :raise JournalError: ``journal-in-use``.
    """
    lock = sqlite3.connect(folder / LOCK_NAME, isolation_level=None, check_same_thread=False, timeout=0)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        raise JournalError(
            "journal-in-use",
            f"Another daemon uses the folder {folder} ({error}). End it, or choose another folder with --state.",
        ) from error
    return lock


def open_journal(path: Path) -> sqlite3.Connection:
    """Open a journal for writing: make it if there is none, upgrade it if it is old, look it over.

    :raise JournalError: ``journal-damaged``, ``journal-too-new`` or ``journal-unavailable``; the sentence says
        what to do.
    """
    lost = _lost(path)
    # Before SQLite has it: of a file without a byte it makes an empty journal, and it deletes the log beside it.
    if lost and not path.stat().st_size:
        raise lost
    try:
        connection = connect(path)
    except _DAMAGED as error:
        raise _unusable(path, error) from error
    try:
        if lost and _is_blank(connection):
            raise lost
        _upgrade(path, connection)
        _look_over(connection)
    except _DAMAGED as error:
        connection.close()
        raise _unusable(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _lost(path: Path) -> JournalError | None:
    """What to say if the file that is there turns out to be blank, and was not always.

    Without a trace of messages it is one that a start did not get to fill.
    """
    if not path.exists():
        return None
    log = path.with_name(f"{path.name}-wal")
    traces = [path.with_name(INDEX_NAME), *reversed(_copies(path)), log]
    there = [trace for trace in traces if trace.exists() and trace.stat().st_size]
    if not there:
        return None
    return _damaged(
        path,
        f"there is nothing in it, and {there[0].name} beside it tells that there was",
        " To begin anew instead, move it away and restore nothing.",
    )


def _is_blank(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT name FROM sqlite_schema LIMIT 1").fetchall()


def _upgrade(path: Path, connection: sqlite3.Connection) -> None:
    wanted = scripts()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(wanted):
        raise JournalError(
            "journal-too-new",
            f"{path} was written by a newer Python Chat (its version is {version}, this one knows {len(wanted)}). "
            "Run the newer one.",
        )
    if version == len(wanted):
        return
    if version:
        copy = path.with_name(f"{path.name}.before-{len(wanted)}")
        _log.info(
            "upgrading {path} from version {old} to {new}; first it is copied to {copy}",
            path=path, old=version, new=len(wanted), copy=copy,
        )  # fmt: skip
        backup(path, copy)
    for number, script in enumerate(wanted[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {number}; COMMIT;"
        )


def _look_over(connection: sqlite3.Connection) -> None:
    """A look that costs the same however many messages there are: the schema, the oldest and newest, the identities."""
    connection.execute("SELECT name FROM sqlite_schema").fetchall()
    for table, id in (("message", "id"), ("run", "last")):
        for edge in (f"min({id})", f"max({id})"):
            connection.execute(f"SELECT * FROM {table} WHERE {id} = (SELECT {edge} FROM {table})").fetchall()  # noqa: S608
    connection.execute("SELECT sum(length(token)) FROM identity").fetchall()


def check(path: Path, *, still: bool = False) -> list[str]:
    """Read all of a journal and return what is wrong with it; an empty list is a sound one, of this version or earlier.

    :param still: as of :func:`connect`.
    """
    try:
        with closing(connect(path, read_only=True, still=still)) as connection:
            wrong = [row[0] for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if not version:
                wrong.append("there is no journal in it: its version is 0")
            elif version > len(scripts()):
                wrong.append(
                    f"a newer Python Chat wrote it: its version is {version}, this one knows {len(scripts())}"
                )
            elif version == len(scripts()) and not wrong:
                wrong = _nonsense(connection)
            return wrong
    except _DAMAGED as error:
        return [str(error)]


def _nonsense(connection: sqlite3.Connection) -> list[str]:
    """What a sound file can still not mean."""
    ahead = connection.execute(
        "SELECT id, name FROM identity WHERE max(joined, sent, acked, read, coalesce(left_id, 0)) > "  # noqa: S608
        f"(SELECT {NEWEST}) ORDER BY id LIMIT 20"
    )
    wrong = [f"identity {id} ({name!a}) is ahead of the newest message" for id, name in ahead]
    (shared,) = connection.execute(
        "SELECT count(*) FROM (SELECT hash FROM ("  # noqa: S608
        f"SELECT id, token AS hash FROM identity WHERE {LIVING} "
        f"UNION ALL SELECT id, spare FROM identity WHERE {LIVING}) "
        "WHERE length(hash) GROUP BY hash HAVING count(DISTINCT id) > 1)"
    ).fetchone()
    if shared:
        wrong.append(
            "1 token stands for more than one identity"
            if shared == 1
            else f"{shared} tokens stand for more than one identity each"
        )
    (stays,) = connection.execute(
        f"SELECT count(*) FROM stay WHERE max(joined, coalesce(left_id, 0)) > (SELECT {NEWEST})"  # noqa: S608
    ).fetchone()
    if stays:
        what = "1 stay in a room is" if stays == 1 else f"{stays} stays in rooms are"
        wrong.append(f"{what} ahead of the newest message")
    return wrong + nonsense(connection)


def backup(path: Path, copy: Path) -> None:
    """Copy a journal, sound and whole, while it may be in use.  The copy appears under its name when it is complete.

    :raise JournalError: ``backup-failed``.
    """
    part = copy.with_name(copy.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with closing(connect(path, read_only=True)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target, pages=1000, sleep=0.001)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(copy)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise JournalError("backup-failed", f"Cannot copy {path} to {copy}: {error}.") from error


def _unusable(path: Path, error: Exception) -> JournalError:
    if isinstance(error, sqlite3.OperationalError):
        return JournalError("journal-unavailable", f"Cannot open the journal {path}: {error}.")
    return _damaged(path, str(error))


def _copies(path: Path) -> list[Path]:
    """The copies of a journal that lie beside it, the newest last."""
    return sorted(
        (
            entry
            for entry in path.parent.glob(f"{path.name}.*")
            if not entry.name.endswith(("-wal", "-shm", ".part"))
        ),
        key=lambda entry: entry.stat().st_mtime,
    )


def _damaged(path: Path, why: str, more: str = "") -> JournalError:
    copies = _copies(path)
    restore = f"copy {copies[-1]} over it" if copies else "restore it from a backup"
    return JournalError(
        "journal-damaged",
        f"The journal {path} is damaged ({why}). Move it away with its -wal and -shm files and {restore}; "
        f"it was left as it is.{more}",
    )


def backup_name(path: Path, now: float) -> Path:
    """Where a backup made now goes, if nobody says otherwise."""
    return path.with_name(f"{path.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}")
