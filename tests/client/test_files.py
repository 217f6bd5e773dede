"""Tests of `pychat.client.files`: what a client keeps, what it survives, and what becomes of a file that is no good."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.client import store as store_module
from pychat.client.files import FileStore, StoreError, state_file, state_folder
from pychat.client.store import MemoryStore, Post, Store
from pychat.errors import RemoteProtocolError

WRITES_AND_WAITS = """
import sys
from pathlib import Path
from pychat.client.files import FileStore
from pychat.client.store import Post
store = FileStore(Path(sys.argv[1]))
store.identify("secret", anew=True)
store.commit(sync=True)
store.add(Post("k", b"<set_msg>bob hi"))
store.reached(7)
store.commit()
store.add(Post("lost", b"<set_msg_all>not committed"))
print("ready", flush=True)
sys.stdin.read()
"""


OPENS = """
import sys
from pathlib import Path
from pychat.client.files import FileStore, StoreError
try:
    FileStore(Path(sys.argv[1])).close()
    print("opened")
except StoreError as error:
    print(error.code)
"""


FIRST_VERSION = (
    "CREATE TABLE me (one INTEGER PRIMARY KEY CHECK (one = 1), host TEXT, port INTEGER, name TEXT, token TEXT,"
    " after INTEGER NOT NULL)",
    "CREATE TABLE post (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, recipient TEXT, text BLOB NOT NULL,"
    " sent INTEGER NOT NULL)",
    "CREATE TABLE fate (id INTEGER PRIMARY KEY, recipient TEXT NOT NULL, words TEXT NOT NULL)",
    "PRAGMA user_version = 1",
    "INSERT INTO me VALUES (1, 'host', 50000, 'alice', 't1', 9)",
    "INSERT INTO post VALUES (4, 'a', 'Jürgen', CAST('hi' AS BLOB), 0), (5, 'b', NULL, x'ff', 1)",
    "INSERT INTO fate VALUES (3, 'bob', '')",
)


def told(store: Store) -> list[object]:
    """All that a store has to say."""
    return [store.token, store.after, list(store.posts.values()), store.oldest_open]


class Keeping(SynchronousTestCase):
    """A folder for files."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "pychat" / "a.chat"
        self.said: list[str] = []

    def open(self) -> FileStore:
        store = FileStore(self.path, "host", 50000, "alice", self.said.append)
        self.addCleanup(store.close)
        return store

    def refused(self) -> StoreError:
        with self.assertRaises(StoreError) as caught:
            self.open()
        return caught.exception


class Kept(Keeping):
    """What a file is good for, and what it does when it is not."""

    def test_everything_comes_back(self) -> None:
        """Who we are, how far we read, what is to be said, in order, and what is open."""
        store = self.open()
        store.identify("t1", anew=True)
        store.reached(9)
        store.reached(5)
        for key in "cab":
            store.add(Post(key, b"<set_msg reply=7>J " + key.encode() + b"\n\xff"))
        store.mark(["c", "a"], sent=True)
        store.settle("a")
        store.settle("unknown")
        store.watch(3, "bob")
        store.watch(4, "bob")
        self.assertTrue(store.tell(3, "delivered"))
        store.identify("t2")
        store.close()
        again = self.open()
        self.assertEqual(
            told(again),
            [
                "t2",
                9,
                [
                    Post("c", b"<set_msg reply=7>J c\n\xff", sent=True),
                    Post("b", b"<set_msg reply=7>J b\n\xff"),
                ],
                4,
            ],
        )
        self.assertFalse(again.tell(3, "delivered"))
        self.assertTrue(again.tell(3, "read"))

    def first_version(self, *changes: str) -> None:
        """A file as the first version wrote it."""
        self.path.parent.mkdir(exist_ok=True)
        database = sqlite3.connect(self.path)
        for statement in (*FIRST_VERSION, *changes):
            database.execute(statement)
        database.commit()
        database.close()

    def test_first_version(self) -> None:
        """A file that an older client left is read, all of it, and is one of this version then."""
        self.first_version()
        for _ in range(2):
            store = self.open()
            self.assertEqual(
                told(store),
                [
                    "t1",
                    9,
                    [Post("a", "<set_msg>Jürgen hi".encode()), Post("b", b"<set_msg_all>\xff", sent=True)],
                    3,
                ],
            )
            store.close()

    def test_damaged_first_version(self) -> None:
        """One that is no good is left as it is."""
        for statement in (
            "UPDATE post SET recipient = x'05'", "UPDATE post SET text = 5", "UPDATE me SET after = 'x'",
        ):  # fmt: skip
            self.first_version(statement)
            self.assertEqual(self.refused().code, "damaged", statement)
            database = sqlite3.connect(self.path)
            left = database.execute("SELECT count(*) FROM post").fetchone()
            self.assertEqual((left, database.execute("PRAGMA user_version").fetchone()), ((2,), (1,)))
            database.close()
            self.path.unlink()

    def test_killed(self) -> None:
        """What was committed survives a process that is killed; the file is free again, with no step to take."""
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES_AND_WAITS, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline().strip(), b"ready")
            self.assertEqual(self.refused().code, "in-use")
            process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        self.assertEqual(told(self.open()), ["secret", 7, [Post("k", b"<set_msg>bob hi")], None])

    def test_in_use(self) -> None:
        """Two clients do not share a file, in one process or in two."""
        store = self.open()
        error = self.refused()
        self.assertEqual(error.code, "in-use")
        self.assertIn("Another pychat is in this chat under this name", error.sentence)
        # And the attempt has not cost the first one its lock.
        other = subprocess.run(
            [sys.executable, "-c", OPENS, str(self.path)], stdout=subprocess.PIPE, check=True
        )
        self.assertEqual(other.stdout.strip(), b"in-use")
        store.identify("t", anew=True)
        store.close()
        self.assertEqual(self.open().token, "t")

    def test_nobody_else_may_read_it(self) -> None:
        """The token is a secret, and so is what is to be said."""
        if os.name == "nt":
            return  # the folder is below the person's own
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        store = self.open()
        store.add(Post("k", b"<set_msg_all>x"))
        store.commit()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.path.parent.iterdir()}
        self.assertEqual(modes, {"a.chat": 0o600, "a.chat-wal": 0o600})
        self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)

    def test_nothing_of_worth(self) -> None:
        """Who has left and has said everything leaves no file."""
        store = self.open()
        store.identify("t", anew=True)
        store.commit()
        store.identify(None, anew=True)
        store.close()
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_damaged(self) -> None:
        """A file that is no database, or not ours, or half of one, is named; it is not touched."""
        store = self.open()
        store.identify("t", anew=True)
        for number in range(200):
            store.add(Post(str(number), b"<set_msg_all>x" * 1000))
        store.close()
        whole = self.path.read_bytes()
        middle = len(whole) // 2
        for damage in (
            b"this is no database" * 100,
            whole[:middle],
            whole[:5000] + bytes(9000) + whole[14_000:],
        ):
            self.path.write_bytes(damage)
            error = self.refused()
            self.assertEqual(error.code, "damaged")
            self.assertIn(str(self.path), error.sentence)
            self.assertEqual(self.path.read_bytes(), damage)

    def test_strange_values(self) -> None:
        """What no store of ours wrote is damage as well."""
        for statement in (
            "UPDATE me SET token = x'00'", "UPDATE me SET after = 'x'", "DELETE FROM me",
            "INSERT INTO post VALUES (1, 'k', 5, 0)", "INSERT INTO fate VALUES (1, 'x', x'05')",
            "INSERT INTO post VALUES (1, 'k', CAST('no line' AS BLOB), 0)", "DROP TABLE fate",
        ):  # fmt: skip
            self.open().close()
            store = self.open()
            store.identify("t", anew=True)
            store.close()
            database = sqlite3.connect(self.path)
            database.execute(statement)
            database.commit()
            database.close()
            self.assertEqual(self.refused().code, "damaged", statement)
            self.path.unlink()

    def test_newer(self) -> None:
        """A file of a later version is left to it."""
        self.path.parent.mkdir()
        database = sqlite3.connect(self.path)
        database.execute("PRAGMA user_version = 99")
        database.close()
        error = self.refused()
        self.assertEqual(error.code, "newer")
        # Nor is it locked, for as long as somebody has the error.
        database = sqlite3.connect(self.path, timeout=0)
        database.execute("BEGIN EXCLUSIVE")
        database.close()

    def test_full(self) -> None:
        """A disk that takes nothing is no damage, and nothing is to be deleted for it."""
        if sys.platform == "win32":
            return  # no such limit there
        import resource

        self.path.parent.mkdir()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            error = self.refused()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        self.assertEqual(error.code, "no-access")
        self.assertNotIn("elete", error.sentence)

    def test_more_than_fits(self) -> None:
        """A file with more than an outbox may hold was not written here."""
        store = self.open()
        for number in range(3):
            store.add(Post(str(number), b"<set_msg_all>x"))
        store.close()
        self.patch(store_module, "POSTS_LIMIT", 2)
        self.assertEqual(self.refused().code, "damaged")

    def test_removed_while_it_is_locked(self) -> None:
        """A file of no worth is removed before somebody else may open it: it is never hers that goes."""
        store = self.open()
        unlink, codes = Path.unlink, []

        def seen(path: Path, missing_ok: bool = False) -> None:
            if path == self.path:
                other = subprocess.run(
                    [sys.executable, "-c", OPENS, str(self.path)], stdout=subprocess.PIPE, check=True
                )
                codes.append(other.stdout.strip())
            unlink(path, missing_ok)

        self.patch(Path, "unlink", seen)
        store.close()
        self.assertEqual(codes, [b"opened" if os.name == "nt" else b"in-use"])
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_change_that_cannot_be_kept(self) -> None:
        """Whatever is wrong with a change: it raises nothing, and is said once."""
        store = self.open()
        store.reached(2**63)
        store.commit()
        self.assertEqual((len(self.said), store.works), (1, False))
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_no_access(self) -> None:
        """A folder that cannot be made, and a file that is a folder."""
        self.path.parent.write_text("a file")
        self.assertEqual(self.refused().code, "no-access")
        self.path.parent.unlink()
        self.path.mkdir(parents=True)
        self.assertEqual(self.refused().code, "no-access")

    def test_disk_fails(self) -> None:
        """It is said once, memory goes on, and no file is left that is no longer true."""
        store = self.open()
        store.identify("t1", anew=True)
        store.add(Post("k1", b"<set_msg_all>x"))
        store.commit()
        assert store._database is not None
        store._database.execute("PRAGMA query_only = ON")  # every write fails from now on
        for key in ("k2", "k3"):
            store.add(Post(key, b"<set_msg_all>x"))
            store.commit()
        self.assertEqual(len(self.said), 1)
        self.assertIn(str(self.path), self.said[0])
        self.assertEqual(list(store.posts), ["k1", "k2", "k3"])
        store.close()
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_names(self) -> None:
        """One file for each chat and name, however the name is spelled, in a folder that is the person's own."""
        folder = Path("x")
        path = state_file(folder, "chat.example", 50000, "Alice")
        self.assertEqual(path, state_file(folder, "chat.example", 50000, "alice").with_name(path.name))
        self.assertEqual(
            state_file(folder, "CHAT.example", 50000, "alice"),
            state_file(folder, "chat.example", 50000, "alice"),
        )
        others = [
            ("chat.example", 50001, "alice"),
            ("chat.exampl", 50000, "alice"),
            ("chat.example", 50000, "bob"),
        ]
        self.assertEqual(len({path, *(state_file(folder, *other) for other in others)}), 4)
        self.assertEqual(path.parent, folder)
        for host, name in (("::1%../../eth0", "x"), ("h" * 300, "ж" * 32), ("..", "0")):
            made = state_file(folder, host, 1, name)
            self.assertEqual((made.parent, len(made.name.encode()) < 100), (folder, True))
        with self.assertRaises(RemoteProtocolError):
            state_file(folder, "h", 1, "../x")

    def test_folder(self) -> None:
        """Where the system wants it."""
        if sys.platform == "win32":
            self.patch(os, "environ", {**os.environ, "LOCALAPPDATA": "C:\\Local"})
            self.assertEqual(state_folder(), Path("C:\\Local\\pychat"))
            return
        for value, folder in (
            ("/var/x", Path("/var/x/pychat")),
            ("relative", Path.home() / ".local/state/pychat"),
            ("", Path.home() / ".local/state/pychat"),
        ):
            self.patch(os, "environ", {**os.environ, "XDG_STATE_HOME": value})
            self.assertEqual(state_folder(), folder)

    def test_no_home(self) -> None:
        """Who has no home keeps nothing, and hears why."""

        def homeless(path: Path) -> Path:
            raise RuntimeError("Could not determine home directory.")

        self.patch(Path, "expanduser", homeless)
        with self.assertRaises(StoreError) as caught:
            state_folder()
        self.assertEqual(caught.exception.code, "no-access")


KEYS = st.sampled_from("abcde")
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("identify"), st.sampled_from([None, "t1", "t2"]), st.booleans()),
        st.tuples(st.just("reached"), st.integers(0, 20)),
        st.tuples(st.just("add"), KEYS, st.sampled_from([b"<set_msg_all>x", b"<react>7 +1"])),
        st.tuples(st.just("mark"), KEYS, st.booleans()),
        st.tuples(st.just("settle"), KEYS),
        st.tuples(st.just("watch"), st.integers(1, 9), st.just("bob")),
        st.tuples(
            st.just("tell"), st.integers(1, 9), st.sampled_from(["sent", "delivered", "read", "receipt"])
        ),
        st.tuples(st.just("commit"), st.booleans()),
        st.tuples(st.just("kill")),
    ),
    max_size=40,
)


def change(store: Store, what: str, *more: object) -> None:
    """Make one change, if it is one that a member makes."""
    if what == "identify":
        store.identify(more[0], anew=bool(more[1]))  # type: ignore[arg-type]
    elif what == "add":
        if more[0] not in store.posts:
            store.add(Post(str(more[0]), more[1]))  # type: ignore[arg-type]
    elif what == "mark":
        if more[0] in store.posts:
            store.mark([str(more[0])], sent=bool(more[1]))
    elif what == "commit":
        store.commit(sync=bool(more[0]))
    else:
        getattr(store, what)(*more)


class Model(Keeping):
    """Whatever is done to it, and however often the process dies."""

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(changes=CHANGES)
    def test_as_memory(self, changes: list[tuple[object, ...]]) -> None:
        """A file tells the same as memory; after a kill it tells what memory told at the last commit."""
        self.setUp()
        store, committed, since = self.open(), [], []  # type: ignore[var-annotated]
        for what, *more in changes:
            if what == "kill":
                assert store._database is not None
                store._database.close()
                store._database = None
                store, since = self.open(), []
            else:
                change(store, str(what), *more)
                since.append((what, *more))
            if what == "commit":
                committed, since = committed + since, []
            memory = MemoryStore()
            for each in committed + since:
                change(memory, *each)
            self.assertEqual(told(store), told(memory))
            self.assertEqual(
                {id: fate.words for id, fate in store._fates.items()},
                {id: fate.words for id, fate in memory._fates.items()},
            )
        self.assertEqual(self.said, [])
        store.close()
