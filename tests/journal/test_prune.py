"""Pruning and looking over a journal that knows how identities stand."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from pychat.errors import JournalError
from pychat.journal import commands, prune
from pychat.journal.prune import FORGET_AFTER, Retention
from pychat.journal.store import connect
from pychat.vocabulary import Kind

from .journalkit import DAY_MS, NOON_MS, Case, message, standing, texts

LATER_MS = NOON_MS + 30 * DAY_MS


class Pruning(Case):
    """What a prune leaves: mail that waits, and those who can come back for it."""

    def setUp(self) -> None:
        super().setUp()
        self.journal = self.open()
        self.addCleanup(lambda: self.close(self.journal))

    def prune(self, now_ms: int = LATER_MS, retention: Retention | None = None) -> int:
        return int(self.reactor.wait(self.journal.prune(retention or Retention(seconds=60), now_ms)))

    def left(self) -> tuple[list[int], list[int]]:
        """The ids of messages and of identities that are still there."""
        with closing(connect(self.journal.path, read_only=True)) as connection:
            messages, identities = (
                [row[0] for row in connection.execute(f"SELECT id FROM {table} ORDER BY id")]
                for table in ("message", "identity")
            )
        return messages, identities

    def test_mail_that_waits(self) -> None:
        """Mail for somebody who can come back stays, with all after it, until she has it or has ended."""
        mail = [message(1), message(1, 2), message(1, 2), message(1, 3), message(1)]
        self.reactor.wait(self.journal.append(mail, [standing(2, acked=2), standing(3)]))
        self.assertEqual(self.prune(), 2)
        self.assertEqual(self.prune(), 0)
        self.assertEqual(self.left()[0], [3, 4, 5])
        self.reactor.wait(self.journal.append([], [standing(2, acked=3)]))
        self.assertEqual((self.prune(), self.left()[0]), (1, [4, 5]))
        self.reactor.wait(self.journal.append([], [standing(3, left=5, time_ms=LATER_MS)]))
        self.assertEqual((self.prune(), self.left()), (1, ([5], [2, 3])))

    def test_mail_that_does_not_wait(self) -> None:
        """Mail for plain clients, and for those who have ended or are not known, need not stay; a bot's does."""
        fresh = {"time_ms": LATER_MS}
        self.reactor.wait(
            self.journal.append(
                [*(message(1, to) for to in (2, 4, 5)), message(1, 3), message(1)],
                [
                    standing(2, resumes=False, **fresh), standing(3, bot=True, **fresh),
                    standing(4, left=1, **fresh),
                ],
            )
        )  # fmt: skip
        self.assertEqual((self.prune(), self.left()), (3, ([4, 5], [2, 3, 4])))

    def test_by_size(self) -> None:
        """A bound of size does not take mail that waits either."""
        mail = [message(1, 2 if number == 100 else None, b"x" * 1000) for number in range(300)]
        self.reactor.wait(self.journal.append(mail, [standing(2)]))
        bound = Retention(bytes=1000)
        self.assertEqual(self.prune(NOON_MS, bound), 100)
        self.assertEqual(self.prune(NOON_MS, bound), 0)
        self.reactor.wait(self.journal.append([], [standing(2, acked=300)]))
        self.assertEqual(self.prune(NOON_MS, bound), 199)

    def test_runs(self) -> None:
        """Runs go as a whole, stop where mail waits as all others do, and the one with the newest message stays."""
        three = texts(b"a", b"b", b"c")
        self.reactor.wait(self.journal.append([three, message(1, 2), three, three], [standing(2)]))
        self.assertEqual((self.prune(), self.prune(), self.journal.oldest), (3, 0, 4))
        self.reactor.wait(self.journal.append([], [standing(2, acked=4)]))
        self.assertEqual((self.prune(), self.prune(), self.journal.oldest), (4, 0, 8))
        page = self.reactor.wait(self.journal.read(1, 0, 99))
        self.assertEqual([id for id, _ in page.messages], [8, 9, 10])

    def test_runs_in_steps(self) -> None:
        """A step counts messages, not runs."""
        self.reactor.wait(self.journal.append([texts(*[b"x" * 500] * 64)] * 40 + [message()]))
        bound = Retention(bytes=1000)
        self.assertEqual([self.prune(NOON_MS, bound) for _ in range(4)], [1024, 1024, 512, 0])

    def test_ended_identities(self) -> None:
        """A day after her end an identity is forgotten, in small steps, also where messages are kept for ever."""
        end = NOON_MS + FORGET_AFTER * 1000
        self.reactor.wait(
            self.journal.append(
                [message()],
                [
                    *(standing(id, left=1, resumes=id % 2 == 0) for id in range(1, 1501)),
                    standing(2000, left=1, time_ms=NOON_MS + 1), standing(2001), standing(2002, resumes=False),
                ],
            )
        )  # fmt: skip
        self.assertEqual(self.prune(end, Retention()), 0)
        steps = [self.prune(end + 1, Retention()) for _ in range(3)]
        self.assertEqual(steps, [1000, 500, 0])
        self.assertEqual(self.left(), ([1], [2000, 2001, 2002]))

    def test_stays_of_ended_identities(self) -> None:
        """With an identity her stays are forgotten, in small steps, also where messages are kept for ever."""
        self.patch(prune, "STEP", 3)
        rooms = [message(who, -room, kind=Kind.JOIN) for room in range(1, 6) for who in (1, 2)]
        self.reactor.wait(self.journal.append(rooms, [standing(1), standing(2)]))
        self.reactor.wait(self.journal.append([], [standing(1, left=10)]))
        end = NOON_MS + FORGET_AFTER * 1000 + 1
        steps = [self.prune(end, Retention()) for _ in range(3)]
        self.assertEqual((steps, self.left()[1]), ([3, 3, 0], [2]))
        with closing(connect(self.journal.path)) as other:
            self.assertEqual(other.execute("SELECT identity, left_id FROM stay").fetchall(), [(2, None)] * 5)

    def test_from_the_command_line(self) -> None:
        """``pychat journal prune`` keeps to the same, beside a daemon that has the journal."""
        ended = standing(3, left=1)
        self.reactor.wait(self.journal.append([message(), message(1, 2), message()], [standing(2), ended]))
        self.assertEqual(commands.run_prune(self.folder, Retention(seconds=60)), 0)
        self.patch(commands.time, "time", lambda: LATER_MS / 1000)
        self.assertEqual(commands.run_prune(self.folder, Retention(seconds=60)), 1)
        self.assertEqual(self.left(), ([2, 3], [2]))

    def test_of_another_version(self) -> None:
        """A file that was not upgraded yet is left as it is, and the sentence says how to."""
        self.reactor.wait(self.journal.append([message(), message()]))
        with closing(connect(self.journal.path)) as connection:
            connection.execute("PRAGMA user_version = 1")
        error = self.assertRaises(JournalError, commands.run_prune, self.folder, Retention(bytes=0))
        self.assertIn("version 1", error.sentence)
        self.assertEqual(self.left()[0], [1, 2])


class Checking(Case):
    """``pychat journal check`` on what identities say."""

    def checked(self, *standings: Any) -> tuple[bool, list[str]]:
        journal = self.open()
        self.reactor.wait(journal.append([message(), message()], standings))
        self.close(journal)
        return commands.run_check(self.folder)

    def test_sound(self) -> None:
        """It says how many can come back."""
        sound, lines = self.checked(
            standing(1, joined=2, acked=2, read=2), standing(2, left=2), standing(3, resumes=False, token=b""),
            standing(4, token=b""), standing(5, token=b""),
        )  # fmt: skip
        self.assertTrue(sound, lines)
        self.assertEqual(lines[1:-1], ["Identities that can come back: 3"])

    def test_cursors_ahead(self) -> None:
        """No cursor is above the newest message."""
        for field in ("joined", "sent", "acked", "read", "left"):
            sound, lines = self.checked(standing(1, **{field: 99}))
            self.assertFalse(sound, field)
            self.assertIn("'n1'", lines[1])

    def test_one_token_for_two(self) -> None:
        """A token stands for one identity, old or new; those that ended do not count."""
        sound, lines = self.checked(standing(1, token=b"t"), standing(2, token=b"t", left=2))
        self.assertTrue(sound, lines)
        sound, lines = self.checked(standing(3, token=b"u", spare=b"t"))
        self.assertFalse(sound)
        self.assertIn("1 token stands", lines[1])
