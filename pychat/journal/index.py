"""The index: which messages a conversation has, and which words; made from the journal, and behind it.

A file of its own beside the journal's, for an index in the commit would cost every message more than the message
itself.  It is filled a slice at a time by a thread of its own, and its watermark says how far it has come; who reads
looks at the few messages above it one by one.  It holds nothing that the journal has not: whoever deletes it, or
finds it damaged, loses nothing but the time in which it is made again.

It belongs to one journal.  A hash of the message at the watermark tells another one, say an older copy that was
put in its place, and then it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from ..roster import key_of
from .runs import FOUND, IDS, NEWEST, RUN, SPAN, between
from .store import CACHE_KIB, INDEX_NAME, connect, tells_damage

VERSION = 2
"""Of what is in the file; one of another version is made anew."""

APPLICATION_ID = 0x70794978  # "pyIx"

SLICE = 3000
"""Messages that one step takes in."""

BULK = 100_000
"""Where more messages wait than this the index is being made anew."""

BULK_CACHE_KIB = 16_000
"""What the thread that fills it keeps of the file in memory while it is made anew."""

SWEEP = 1000
"""Rows that one step takes out."""

GROUPS = 100
"""Conversations that one step looks at for rows to take out."""

SPELLINGS = 20_000
"""Names of which the keys are remembered."""

HIDDEN = "\x01"
"""How words for places and senders begin: no text may have it, so nobody types them, and no beginning leads there."""

TOKENIZER = f"unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc' tokenchars '{HIDDEN}'"
"""What a word is: letters, digits and what goes with them; accents and case do not count."""

_SCHEMA = f"""
CREATE TABLE state (
    upto  INTEGER NOT NULL,    -- it has all up to this id
    mark  BLOB    NOT NULL,    -- to tell the message with that id by
    swept INTEGER NOT NULL     -- nothing below this id is left in it
);
INSERT INTO state VALUES (0, x'', 0);

-- The messages and reactions of each conversation.  owner 0: to everybody; negative: a room; else an identity's with
-- those of a name, by its key.
CREATE TABLE place (
    owner  INTEGER NOT NULL,
    peer   TEXT    NOT NULL,
    id     INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    PRIMARY KEY (owner, peer, id)
) WITHOUT ROWID;

-- The texts as they stand now, and words for where each may be found and who said it.
CREATE VIRTUAL TABLE words USING fts5(text, place, columnsize = 0, tokenize = "{TOKENIZER}");

PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""  # noqa: S608

# A function of Python's would have to wait for its lock at every row; so the few names of a slice come first.
_NEW_NAMES = (
    "SELECT name FROM ("  # noqa: S608
    "SELECT sender_name AS name FROM message WHERE id > ?1 AND id <= ?2 "
    f"UNION SELECT sender_name FROM run WHERE last > ?1 AND last < ?2 + {RUN} "
    "UNION SELECT recipient_name FROM message WHERE id > ?1 AND id <= ?2 AND recipient > 0"
    ") WHERE name NOT IN (SELECT name FROM temp.spelt)"
)
_SHOWN = "(kind IS NULL OR kind = 3)"
_SLICE = f"id > ?1 AND id <= ?2 AND {_SHOWN}"
_PLACES = (
    "INSERT OR IGNORE INTO place SELECT coalesce(recipient, 0), '', id, sender, coalesce(kind, 0) FROM entry "  # noqa: S608
    f"WHERE {between('?1', '?2')} AND {_SHOWN} AND (recipient IS NULL OR recipient < 0) ORDER BY 1, id",
    "INSERT OR IGNORE INTO place SELECT sender, key, id, sender, coalesce(kind, 0) FROM message "  # noqa: S608
    f"JOIN temp.spelt ON name = recipient_name WHERE {_SLICE} AND recipient > 0 ORDER BY 1, 2, id",
    "INSERT OR IGNORE INTO place SELECT recipient, key, id, sender, coalesce(kind, 0) FROM message "  # noqa: S608
    f"JOIN temp.spelt ON name = sender_name WHERE {_SLICE} AND recipient > 0 AND blocked IS NULL ORDER BY 1, 2, id",
)
_WORDS = (
    "INSERT INTO words (rowid, text, place) SELECT id, CAST(text AS TEXT), CASE "  # noqa: S608
    f"WHEN recipient IS NULL THEN '{HIDDEN}p0' WHEN recipient < 0 THEN '{HIDDEN}r' || -recipient "
    f"ELSE '{HIDDEN}i' || sender || ' {HIDDEN}i' || sender || 'x' || other.hex || iif(blocked IS NULL, "
    f"' {HIDDEN}i' || recipient || ' {HIDDEN}i' || recipient || 'x' || own.hex, '') END || ' {HIDDEN}n' || own.hex "
    "FROM entry CROSS JOIN temp.spelt AS own ON own.name = sender_name "
    "LEFT JOIN temp.spelt AS other ON other.name = recipient_name "
    f"WHERE {between('?1', '?2')} AND kind IS NULL ORDER BY id"
)
_CHANGED = (
    "SELECT ref FROM change WHERE ref > ?1 AND ref <= ?2 "
    "UNION SELECT ref FROM message WHERE id > ?1 AND id <= ?2 AND kind IN (1, 2) AND ref <= ?2"
)
_EDIT_WORDS = (
    "UPDATE words SET text = (SELECT CAST(text AS TEXT) FROM message WHERE id = ("  # noqa: S608
    "SELECT max(id) FROM change WHERE ref = words.rowid AND kind = 1)) "
    f"WHERE rowid IN (SELECT ref FROM change WHERE kind = 1 AND ref IN {IDS})"
)
_RETRACT_WORDS = f"DELETE FROM words WHERE rowid IN (SELECT ref FROM change WHERE kind = 2 AND ref IN {IDS})"  # noqa: S608
_NEXT_PEER = "SELECT owner, peer FROM place WHERE owner = ? AND peer > ? ORDER BY peer LIMIT 1"
_NEXT_OWNER = "SELECT owner, peer FROM place WHERE owner > ? ORDER BY owner, peer LIMIT 1"
_SWEEP_GROUP = (
    "DELETE FROM place WHERE owner = ?1 AND peer = ?2 AND id <= (SELECT max(id) FROM ("
    "SELECT id FROM place WHERE owner = ?1 AND peer = ?2 AND id < ?3 ORDER BY id LIMIT ?4))"
)


class Index:
    """The index's file and one connection that writes it.  Blocking; one thread at a time may use it."""

    def __init__(self, journal: Path) -> None:
        """:param journal: the journal's file, which has to be there."""
        self.path = journal.with_name(INDEX_NAME)
        self.generation = 0
        """Rises when the file is made anew: who has it open opens it again."""
        self.damaged = False
        """Somebody found that it cannot be read: it is not asked until it is made anew."""
        self.upto = 0
        """How far it has come, as far as is known."""
        self._journal = journal
        self._connection: sqlite3.Connection | None = None
        self._group: tuple[int, str] | None = None
        self._below = self._filled = 0

    def open(self) -> None:
        """Open the file; make it if there is none, or none that belongs to this journal.

        :raise sqlite3.Error, OSError: it cannot be had.
        """
        self.close()
        try:
            usable = not self.damaged and self._try()
        except sqlite3.DatabaseError as error:
            self.close()
            if not tells_damage(error):
                raise
            usable = False
        if not usable:
            self._make()

    def adopt(self) -> bool:
        """Open the file as it is, beside the daemon that made it; return whether it is one of this journal.

        :raise sqlite3.Error: it cannot be read.
        """
        return self._try()

    def close(self) -> None:
        """Let go of the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def distrust(self, error: BaseException | None) -> None:
        """Somebody could not read it: it is damaged if the error says so."""
        if tells_damage(error):
            self.damaged = True

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self.path, durable=False)
        try:
            connection.execute("PRAGMA temp_store = MEMORY")
            # A slice touches the end of very many conversations: let several share their way into the file.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            attach(connection, self._journal, "journal")
            connection.execute(
                "CREATE TABLE temp.spelt (name TEXT PRIMARY KEY, key TEXT, hex TEXT) WITHOUT ROWID"
            )
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _try(self) -> bool:
        if not self.path.exists():
            return False
        connection = self._connect()
        if connection.execute("PRAGMA user_version").fetchone() != (VERSION,):
            return False
        upto, mark = connection.execute("SELECT upto, mark FROM state").fetchone()
        connection.execute("SELECT max(rowid), (SELECT max(owner) FROM place) FROM words").fetchone()
        self.upto = upto
        return bool(upto == 0 or mark == _mark_of(connection, upto))

    def _make(self) -> None:
        self.close()
        self.upto = 0
        # Who has it open lets go of it at the next look and does not open it: not every system deletes an open file.
        self.damaged = True
        self.generation += 1
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._connect().executescript(f"BEGIN; {_SCHEMA}; COMMIT")
        self.damaged = False
        self.generation += 1  # last: so nobody stays with what was opened in between

    def _get(self) -> sqlite3.Connection:
        if self._connection is None or self.damaged:
            self.open()
        assert self._connection is not None
        return self._connection

    def _within(self, step: str) -> int:
        """Do a step in a transaction; after an error the file is opened, or made, anew for the next."""
        try:
            connection = self._get()
            connection.execute("BEGIN")
            done: int = getattr(self, step)(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            # A message that is above the watermark and in the file already: that is damage, too.
            self.damaged |= tells_damage(error) or isinstance(error, sqlite3.IntegrityError)
            self._below, self._group = 0, None
            try:
                self.close()
            except sqlite3.Error:
                pass
            raise
        return done

    def newest_in_rooms(self, rooms: Iterable[int], oldest: int) -> dict[int, int]:
        """The newest message said in each of these rooms, of those that it has and the journal still has."""
        return dict(
            self._get().execute(
                "SELECT value, coalesce((SELECT id FROM place WHERE owner = value AND peer = '' AND id >= ? "
                "AND kind = 0 ORDER BY id DESC LIMIT 1), 0) FROM json_each(?)",
                (oldest, json.dumps([*rooms])),
            )
        )

    def fill(self) -> int:
        """Take in the next slice; return how many messages wait after it.

        :raise sqlite3.Error, OSError: nothing was taken in.
        """
        waiting = self._within("_fill")
        self.upto = self._filled  # not before the commit: other threads rely on it
        return waiting

    def _fill(self, connection: sqlite3.Connection) -> int:
        execute = connection.execute
        (upto,) = execute("SELECT upto FROM state").fetchone()
        oldest, newest = execute(SPAN).fetchone()
        start = max(upto, oldest - 1)
        end = min(start + SLICE, newest)
        cache = CACHE_KIB if newest - start <= BULK else BULK_CACHE_KIB
        execute(f"PRAGMA cache_size = -{cache}")
        if start < end:
            span = (start, end)
            self._spell(connection, span)
            for query in (*_PLACES, _WORDS):
                execute(query, span)
            changed = [ref for (ref,) in execute(_CHANGED, span)]
            if changed:
                for query in (_EDIT_WORDS, _RETRACT_WORDS):
                    execute(query, (json.dumps(changed),))
            execute("UPDATE state SET upto = ?, mark = ?", (end, _mark_of(connection, end)))
            upto = end
        self._filled = upto
        return max(0, int(newest - upto))

    def _spell(self, connection: sqlite3.Connection, span: tuple[int, int]) -> None:
        """Remember the keys of the names in a slice."""
        (count,) = connection.execute("SELECT count(*) FROM temp.spelt").fetchone()
        if count > SPELLINGS:
            connection.execute("DELETE FROM temp.spelt")
        names = connection.execute(_NEW_NAMES, span).fetchall()
        connection.executemany(
            "INSERT INTO temp.spelt VALUES (?, ?, ?)",
            [(name, key := key_of(name), key.encode().hex()) for (name,) in names],
        )

    def sweep(self) -> int:
        """Take out a few of the rows of messages that the journal has no more; 0 when there are none left.

        Nobody is shown such a row: who reads starts at the oldest message.

        :raise sqlite3.Error, OSError: nothing was taken out.
        """
        return self._within("_sweep")

    def _sweep(self, connection: sqlite3.Connection) -> int:
        execute = connection.execute
        if not self._below:
            ((self._below, _), (swept,)) = (
                execute(SPAN).fetchone(),
                execute("SELECT swept FROM state").fetchone(),
            )
            if self._below <= max(swept, 1):
                self._below = 0
                return 0
        below = self._below
        first = execute("SELECT rowid FROM words ORDER BY rowid LIMIT 1").fetchone()
        if first is not None and first[0] < below:
            execute("DELETE FROM words WHERE rowid < ?", (min(first[0] + SWEEP, below),))
            return 1
        taken = 0
        for _ in range(GROUPS):
            group = self._group and execute(_NEXT_PEER, self._group).fetchone()
            if not group:
                owner = self._group[0] if self._group else -(1 << 63)
                group = execute(_NEXT_OWNER, (owner,)).fetchone()
            if group is None:
                execute("UPDATE state SET swept = ?", (below,))
                self._below, self._group = 0, None
                break
            taken += execute(_SWEEP_GROUP, (*group, below, SWEEP)).rowcount
            if taken >= SWEEP:
                break  # and there may be more of this one
            self._group = group
        return 1


def describe(journal: Path) -> str:
    """How the index of a journal is, for a person; it is never worth worrying about."""
    path = journal.with_name(INDEX_NAME)
    if not path.is_file():
        return "there is no index yet: the daemon makes it"
    again = "the daemon makes it again when it starts"
    try:
        with closing(connect(path, read_only=True)) as connection:
            attach(connection, journal, "journal")
            if connection.execute("PRAGMA main.quick_check(1)").fetchone() != ("ok",):
                return f"damaged, and {again}"
            if connection.execute("PRAGMA main.user_version").fetchone() != (VERSION,):
                return f"of another version, and {again}"
            upto, mark = connection.execute("SELECT upto, mark FROM state").fetchone()
            (newest,) = connection.execute(f"SELECT {NEWEST}").fetchone()
            if upto and mark != _mark_of(connection, upto):
                return f"of another journal, and {again}"
    except sqlite3.Error as error:
        return f"not to be read ({error}): {again}"
    return f"{messages(newest - upto)} behind" if upto < newest else "up to date"


def messages(count: int) -> str:
    """``1 message``, ``2 messages``."""
    return f"{count} message{'' if count == 1 else 's'}"


def attach(connection: sqlite3.Connection, path: Path, name: str) -> None:
    """Let a connection read another file, too."""
    connection.execute(f"ATTACH ? AS {name}", (f"{path.absolute().as_uri()}?mode=ro",))
    connection.execute(f"PRAGMA {name}.cache_size = -{CACHE_KIB}")


def _mark_of(connection: sqlite3.Connection, id: int) -> bytes:
    """What tells the message with this id from another; empty if there is none."""
    row = connection.execute(
        f"SELECT time_ms, sender, sender_name, recipient, recipient_name, text, kind, ref FROM {FOUND}",  # noqa: S608
        (json.dumps([id]),),
    ).fetchone()
    return b"" if row is None else hashlib.sha256(repr(row).encode()).digest()
