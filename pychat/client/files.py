"""What a client keeps, in a file: one small SQLite database for each chat and name.

Theory of operation.  Memory is what is read, and every change is made there at once; with it goes a statement onto a
list, and :meth:`FileStore.commit` runs the list in one transaction.  In WAL mode with ``synchronous=NORMAL`` such a
commit writes to the system's buffers and waits for no disk, so it may run on the reactor's thread, and it survives
whatever becomes of the process; only a new token is synced, once a connection.  The file is locked while it is open.

A disk that fails costs what it would have kept and nothing else: the store says so once and goes on in memory.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import names
from ..errors import PychatError
from ..grammar import parse
from .store import Fate, MemoryStore, Post

SCHEMA = 2
"""``PRAGMA user_version`` of the files that are written here."""

_POSTS = (
    "CREATE TABLE post (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, line BLOB NOT NULL,"
    " sent INTEGER NOT NULL)"
)

_ADD_POST = "INSERT INTO post (key, line, sent) VALUES (?, ?, ?)"

_CREATE = (
    "CREATE TABLE me (one INTEGER PRIMARY KEY CHECK (one = 1), host TEXT, port INTEGER, name TEXT, token TEXT,"
    " after INTEGER NOT NULL)",
    _POSTS,
    "CREATE TABLE fate (id INTEGER PRIMARY KEY, recipient TEXT NOT NULL, words TEXT NOT NULL)",
    f"PRAGMA user_version = {SCHEMA}",
)


_STRANGE = ("no such table", "no such column", "already exists", "ecode to UTF-8")
"""In what SQLite says of a database that is whole, and not ours."""


class StoreError(PychatError):
    """Nothing can be kept.

    ``in-use``: another client has the file; ``damaged``, ``newer``, ``no-access``.
    """


def state_folder() -> Path:
    """Where this person's chats are kept.

    :raise StoreError: ``no-access``: this person has no home.
    """
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join("~", "AppData", "Local")
    else:
        # The XDG base directory specification: a path that is not absolute is to be ignored.
        base = os.environ.get("XDG_STATE_HOME", "")
        if not os.path.isabs(base):
            base = os.path.join("~", ".local", "state")
    try:
        return Path(base).expanduser() / "pychat"
    except RuntimeError:
        raise StoreError("no-access", "There is no home directory to keep anything in.") from None


def state_file(folder: Path, host: str, port: int, name: str) -> Path:
    """Where one chat is kept under one name: two spellings of a name are the same file.

    :raise RemoteProtocolError: that is no name.
    """
    whole = f"{host.lower()}\n{port}\n{names.check(name)}".encode()
    readable = re.sub(r"[^a-z0-9.-]+", "_", f"{name}-{host}-{port}".lower())[:60].strip("._-")
    return folder / f"{readable}-{hashlib.sha256(whole).hexdigest()[:16]}.chat"


class FileStore(MemoryStore):
    """A store in a file.

    :ivar path: the file.
    :ivar failed: called once, with a sentence, when the file can be written no more.
    """

    def __init__(
        self,
        path: Path,
        host: str = "",
        port: int = 0,
        name: str = "",
        failed: Callable[[str], object] = lambda sentence: None,
    ) -> None:
        """Open it, or make it.

        :param host: and ``port`` and ``name``: for people who look into the file.
        :raise StoreError: it cannot be used; the sentence says why.
        """
        super().__init__()
        self.path = path
        self.failed = failed
        self._changes: list[tuple[str, tuple[Any, ...]]] = []
        self._after_changed = False
        self._database: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made with its mode, for SQLite would give it that of the umask, and its log gets the same.
            # One that is there is not touched: to close it would end the lock of whoever has it open in this process.
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                pass
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
            self._load(host, port, name)
        except (sqlite3.Error, OSError, ValueError, TypeError, PychatError) as error:
            self._discard()
            raise self._explain(error) from None
        except BaseException:
            self._discard()
            raise

    def _load(self, host: str, port: int, name: str) -> None:
        assert self._database is not None
        run = self._database.execute
        # Set before the first access, this keeps the lock, and needs no shared memory beside the log.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("BEGIN EXCLUSIVE")
        (version,) = run("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise StoreError("newer", f"A newer pychat wrote {self.path}. Update this one.")
        if not version:
            for statement in _CREATE:
                run(statement)
            run("INSERT INTO me VALUES (1, ?, ?, ?, NULL, 0)", (host, port, name))
        elif version == 1:
            self._from_first(run)
        if run("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("quick_check")
        self.token, self.after = run("SELECT token, after FROM me").fetchone()
        if not isinstance(self.after, int) or not isinstance(self.token, (str, type(None))):
            raise ValueError("me")
        for key, line, sent in run("SELECT key, line, sent FROM post ORDER BY number"):
            if not (isinstance(key, str) and isinstance(line, bytes)):
                raise ValueError("post")
            parse(line)
            super().add(Post(key, line, bool(sent)))
        for id, to, words in run("SELECT id, recipient, words FROM fate ORDER BY id"):
            if not (isinstance(to, str) and isinstance(words, str)):
                raise ValueError("fate")
            super()._note(id, Fate(to, frozenset(words.split())))
        run("COMMIT")  # not before all is well: a file that is no good is left as it is

    @staticmethod
    def _from_first(run: Callable[..., sqlite3.Cursor]) -> None:
        """Make a file of the first version, which knew nothing but messages, one of this."""
        posts = run("SELECT key, recipient, text, sent FROM post ORDER BY number").fetchall()
        run("DROP TABLE post")
        run(_POSTS)
        for key, to, text, sent in posts:
            if not (isinstance(to, (str, type(None))) and isinstance(text, bytes)):
                raise ValueError("post")
            head = b"<set_msg_all>" if to is None else b"<set_msg>%s " % to.encode()
            run(_ADD_POST, (key, head + text, sent))
        run(f"PRAGMA user_version = {SCHEMA}")

    def _explain(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return StoreError("in-use", "Another pychat is in this chat under this name.")
        # SQLITE_CORRUPT and SQLITE_NOTADB are of the base class; what is wrong with the machine is of the others.
        strange = type(error) is sqlite3.DatabaseError or not isinstance(error, (sqlite3.Error, OSError))
        if strange or any(word in str(error) for word in _STRANGE):
            return StoreError("damaged", f"{self.path} is damaged. Delete it to keep things again.")
        why = error.strerror if isinstance(error, OSError) else str(error)
        return StoreError("no-access", f"{self.path} cannot be used: {why}.")

    @property
    def works(self) -> bool:
        """What is committed survives the process."""
        return self._database is not None

    # -- changes

    def _change(self, statement: str, *values: Any) -> None:
        if self._database is not None:
            self._changes.append((statement, values))

    def identify(self, token: str | None, *, anew: bool = False) -> None:
        super().identify(token, anew=anew)
        self._change("UPDATE me SET token = ?, after = ?", self.token, self.after)
        if anew:
            self._change("DELETE FROM fate")

    def reached(self, id: int) -> None:
        if id > self.after:
            super().reached(id)
            self._after_changed = True

    def add(self, post: Post) -> None:
        super().add(post)
        self._change(_ADD_POST, post.key, post.line, post.sent)

    def mark(self, keys: Iterable[str], *, sent: bool) -> None:
        for key in keys:
            super().mark((key,), sent=sent)
            self._change("UPDATE post SET sent = ? WHERE key = ?", sent, key)

    def settle(self, key: str) -> None:
        if key in self.posts:
            self._change("DELETE FROM post WHERE key = ?", key)
        super().settle(key)

    def _note(self, id: int, fate: Fate) -> None:
        super()._note(id, fate)
        self._change("REPLACE INTO fate VALUES (?, ?, ?)", id, fate.to, " ".join(sorted(fate.words)))

    def _forget(self, id: int) -> None:
        super()._forget(id)
        self._change("DELETE FROM fate WHERE id = ?", id)

    # -- keeping them

    def commit(self, *, sync: bool = False) -> None:
        if self._database is None:
            return
        if self._after_changed:
            self._change("UPDATE me SET after = ?", self.after)
            self._after_changed = False
        if not self._changes:
            return
        changes, self._changes = self._changes, []
        run = self._database.execute
        try:
            if sync:
                run("PRAGMA synchronous = FULL")
            run("BEGIN")
            for statement, values in changes:
                run(statement, values)
            run("COMMIT")
            if sync:
                run("PRAGMA synchronous = NORMAL")
        except Exception as error:
            # What is in it is no longer true: a message that it holds would be sent a second time.
            self._discard(remove=True)
            self.failed(
                f"{self.path} cannot be written any more ({error}): what is not sent when this program ends is lost."
            )

    def close(self) -> None:
        """Close the file; one that holds nothing of worth is removed."""
        self.commit()
        if self._database is None:
            return
        empty = self.token is None and not self.posts
        self._discard(remove=empty)

    def _remove(self) -> None:
        for path in (self.path, self.path.with_name(self.path.name + "-wal")):
            try:
                path.unlink(missing_ok=True)
            except OSError:
                pass  # then it stays

    def _discard(self, *, remove: bool = False) -> None:
        """Close the file, and remove it: while it is locked, for the next one to lock it may be somebody else."""
        database, self._database = self._database, None
        self._changes = []
        if remove and os.name != "nt":
            if database is not None:
                try:
                    # Else SQLite removes its log, by name, as it closes: by then it may be that of a new file.
                    database.execute("PRAGMA journal_mode = DELETE")
                except sqlite3.Error:
                    pass
            self._remove()
        if database is not None:
            try:
                database.close()
            except sqlite3.Error:
                pass
        if remove and os.name == "nt":
            self._remove()  # there a file that is open cannot be
