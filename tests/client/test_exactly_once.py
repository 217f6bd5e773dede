"""The promise as a whole, against any order of events: a client, its file, a daemon, and a network that breaks.

Hypothesis drives them.  At the end everything heals, and then the model says what must have come of it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.answers import LinkError
from pychat.client.connection import CLOSE_TIMEOUT
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
                "suspend",
                "leave",
                "expire",
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
    @example(events=["post", "in", "expire"])  # taken, and the answer died with the identity
    @example(events=["post", "in", "kill", "expire"])
    def test_whatever_happens(self, events: list[str | tuple[str, object]]) -> None:
        """A client's posts are in the journal once, in order; it was shown once, in order, what concerns it."""
        with tempfile.TemporaryDirectory() as folder:
            self.drive(Path(folder) / "x.chat", events)

    def drive(self, path: Path, events: list[str | tuple[str, object]]) -> None:
        daemon = Daemon(Clock())
        witness = Witness()
        store = FileStore(path)

        def begin() -> None:
            nonlocal person
            person, _ = member(daemon, store, patient=True)
            person._observer = witness
            person.start().addErrback(lambda why: why.trap(LinkError))  # it may be ended before it began

        person, _ = member(daemon, store)
        begin()
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
                posts.append(b"post\n%d" % len(posts))
                to = (None, "bob", "#tea")[len(posts) % 3]
                if len(posts) % 4 or not daemon.journal:
                    person.post(to, posts[-1])
                else:
                    person.edit(1, posts[-1])
            elif what == "kill":
                store = daemon.kill(store)
                begin()
            elif what in ("suspend", "leave"):
                ended = getattr(person, what)()
                daemon.run()
                for _ in range(2):
                    daemon.clock.advance(CLOSE_TIMEOUT)
                self.successResultOf(ended)
                begin()
            elif what == "expire":
                daemon.wire.cut()
                daemon.expire("alice")
        daemon.reachable, daemon.refusing = True, b""
        for _ in range(8):
            daemon.run()
            daemon.clock.advance(31)
            daemon.run()

        said = daemon.texts("alice")
        doubtful = [entry.partition(" ")[2].encode() for entry in witness.log if entry.startswith("doubtful")]
        self.assertEqual(len(set(said)), len(said))
        if "kill" not in events:
            self.assertEqual(len(set(doubtful)), len(doubtful))
        lived = not {"leave", "expire"} & set(events)  # it was one identity all the time
        if lived:
            self.assertEqual(doubtful, [])
        self.assertEqual({*said, *doubtful}, {*posts})
        if lived and "refuse" not in events:
            self.assertEqual(said, posts)
        concerns = [
            f"message {number} {entry.text.decode()}"
            for number, entry in enumerate(daemon.journal, 1)
            if entry.name == "bob" and entry.to in ("alice", "all")
        ]
        shown = [entry for entry in witness.log if entry.startswith("message")]
        # Who was away for too long, or left, misses something; nobody is shown anything twice, or out of order.
        self.assertEqual(shown, concerns if lived else [entry for entry in concerns if entry in set(shown)])
        accepted = [
            entry.partition(" ")[2].rpartition(" ")[0].encode()
            for entry in witness.log
            if entry.startswith("accepted")
        ]
        self.assertEqual({*accepted} | {*doubtful}, {*posts})
        if "kill" not in events:  # after it was told, it may be told again
            self.assertEqual(sorted({*accepted}), sorted(accepted))
            self.assertFalse({*accepted} & {*doubtful})
        self.assertFalse([entry for entry in witness.log if entry.startswith("refused")])
        ended = [entry for entry in witness.log if entry.startswith("ended")]
        self.assertEqual(len(ended), len([event for event in events if event in ("leave", "suspend")]))
        self.assertEqual(person.pending, ())
        if lived:
            self.assertGreaterEqual(store.after, len(concerns))
        self.assertTrue(person.client)
        store.close()
