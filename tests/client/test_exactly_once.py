"""The promise as a whole, against any order of events: a client, its file, a daemon, and a network that breaks.

Hypothesis drives them.  At the end everything heals, and then the model says what must have come of it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.files import FileStore

from .pretended import Daemon, Witness, member

EVENTS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "in",
                "in",
                "out",
                "out",
                "run",
                "cut",
                "cut",
                "kill",
                "down",
                "up",
                "refuse",
                "take",
                "post",
                "post",
            ]
        ),
        st.tuples(st.just("some"), st.integers(1, 80)),
        st.tuples(st.just("say"), st.sampled_from(["alice", "all", "carol"])),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 40.0])),
    ),
    max_size=60,
)


class ExactlyOnce(SynchronousTestCase):
    """Nothing is lost, nothing is twice, and all is in order."""

    @settings(max_examples=300, deadline=None)
    @given(events=EVENTS)
    def test_whatever_happens(self, events: list[str | tuple[str, object]]) -> None:
        """A client's posts are in the journal once, in order; it was shown once, in order, what concerns it."""
        with tempfile.TemporaryDirectory() as folder:
            self.drive(Path(folder) / "x.chat", events)

    def drive(self, path: Path, events: list[str | tuple[str, object]]) -> None:
        daemon = Daemon(Clock())
        witness = Witness()
        store = FileStore(path)
        person, _ = member(daemon, store, patient=True)
        person._observer = witness
        person.start()
        daemon.run()
        posts: list[bytes] = []
        for event in events:
            what, more = event if isinstance(event, tuple) else (event, None)
            if what == "in":
                daemon.wire.in_()
            elif what == "out":
                daemon.wire.out()
            elif what == "some":
                daemon.wire.out(more)  # type: ignore[arg-type]
            elif what == "run":
                daemon.run()
            elif what == "cut":
                daemon.wire.cut()
            elif what == "down":
                daemon.reachable = False
                daemon.stop()
            elif what == "up":
                daemon.reachable = True
            elif what == "refuse":
                daemon.refusing = b"" if daemon.refusing else b"journal-unavailable"
            elif what == "take":
                daemon.journals_tokens = not daemon.journals_tokens
            elif what == "say":
                daemon.say("bob", str(more), b"%d" % len(daemon.journal))
            elif what == "wait":
                daemon.clock.advance(more)  # type: ignore[arg-type]
            elif what == "post":
                posts.append(b"post %d" % len(posts))
                person.post("bob" if len(posts) % 2 else None, posts[-1])
            elif what == "kill":
                store = daemon.kill(store)
                person, _ = member(daemon, store, patient=True)
                person._observer = witness
                person.start()
        daemon.reachable, daemon.refusing = True, b""
        for _ in range(8):
            daemon.run()
            daemon.clock.advance(31)
            daemon.run()

        said = daemon.texts("alice")
        self.assertEqual(sorted(said), sorted(posts))
        if "refuse" not in events:
            self.assertEqual(said, posts)
        concerns = [
            f"message {number} {entry.text.decode()}"
            for number, entry in enumerate(daemon.journal, 1)
            if entry.name == "bob" and entry.to in ("alice", "all")
        ]
        self.assertEqual([entry for entry in witness.log if entry.startswith("message")], concerns)
        accepted = [entry for entry in witness.log if entry.startswith("accepted")]
        # A client that is killed after it was told may be told again; the daemon's words agree.
        self.assertEqual(
            {entry.split(" ")[2] for entry in accepted}, {post.split(b" ")[1].decode() for post in posts}
        )
        self.assertFalse(
            [entry for entry in witness.log if entry.startswith(("doubtful", "refused", "ended"))]
        )
        self.assertEqual((person.pending, store.after >= len(concerns)), ((), True))
        self.assertTrue(person.client)
        store.close()
