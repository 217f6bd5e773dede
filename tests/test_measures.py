"""``<status>``: what a session answers, and the numbers of the daemon behind it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat import __version__, kernel
from pychat.measures import AGE, Measures
from tests.test_session import TalkCase


class Asked(TalkCase):
    """The answer, from the first line of a connection on."""

    def test_what_the_chat_knows(self) -> None:
        """Who is here, who is away, rooms and the newest id; for everybody, with the label."""
        for hello in (b"", b"<hello caps=ack,resume>"):
            talk = self.chat.connect(b"carol" if hello else b"", hello)
            self.chat.enter(self.alice, b"#tea")
            here = 3 if hello else 2
            (line,) = talk.answer(b"<status label=q>")
            said = b"<status label=q version=%s people=%d away=0 rooms=1 messages=%d>"
            self.assertEqual(line, said % (__version__.encode(), here, self.chat.hub.last_id))
        self.chat.hub.part(talk.peer, 0.0)
        self.assertIn(b" people=2 away=1 ", self.alice.answer(b"<status>")[0])

    def test_what_others_know(self) -> None:
        """The numbers that the daemon adds, in their order."""
        self.chat.hub.measure = lambda: [("up", 5), ("memory", 1 << 40)]
        self.assertRegex(self.eve.answer(b"<status>")[0], rb" messages=\d+ up=5 memory=1099511627776>$")

    def test_nothing_behind_it(self) -> None:
        """What stands behind it has to be clean, and is ignored, as always."""
        self.assertEqual(self.eve.answer(b"<status>please"), self.eve.answer(b"<status>"))
        self.refused(self.eve, b"<status label=7>\x1b", "bad-line", b"7")


class Protocol:
    """Carries transfers."""

    def __init__(self, count: int, **refused: int) -> None:
        self.count = count
        self.refused = Counter(refused)

    def __len__(self) -> int:
        return self.count


class Numbers(SynchronousTestCase):
    """What is counted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.connections = [1, 2, 3]
        self.transfers: list[Any] = []
        self.watchdog: Any = SimpleNamespace(watching=True, number=2, longest=0.0234, total=0.0344)
        self.measures = Measures(
            self.clock, self.connections, self.transfers, self.watchdog, lambda: 9, lambda: 6
        )
        self.memory: int | None = 10 * 1024 * 1024
        self.files: int | None = 17
        self.patch(kernel, "memory", lambda: self.memory)
        self.patch(kernel, "open_files", lambda: self.files)

    def test_all(self) -> None:
        """Each number, in the unit that the protocol document gives."""
        self.transfers += [Protocol(2, unknown=3, malformed=4), Protocol(1, unknown=1)]
        self.measures.limit = 100
        self.measures.begin()
        self.clock.advance(7.9)
        self.clock.callLater(1, len, "")
        told = dict(self.measures())
        self.assertGreaterEqual(told.pop("cpu"), 0)
        self.assertGreaterEqual(told.pop("threads"), 1)
        self.assertEqual(
            told,
            {
                "up": 7, "connections": 3, "limit": 100, "too_slow": 9, "slow": 6,
                "transfers": 3, "stalls": 2, "longest": 23, "stalled": 34,
                "refused": 8, "memory": 10 * 1024, "descriptors": 17, "timers": 1,
            },
        )  # fmt: skip

    def test_what_nobody_knows(self) -> None:
        """It is not there, and nothing stands for it."""
        self.memory = self.files = None
        self.watchdog.watching = False
        told = dict(self.measures())
        self.assertEqual(
            set(told),
            {"up", "connections", "too_slow", "slow", "transfers", "refused", "cpu", "timers", "threads"},
        )

    def test_asked_often(self) -> None:
        """What costs a system call is looked at once a second, however many ask."""
        asked: list[int] = []
        self.patch(kernel, "memory", lambda: asked.append(1) or 1024)
        for _ in range(5):
            self.assertEqual(dict(self.measures())["memory"], 1)
        self.connections.append(4)
        self.assertEqual(dict(self.measures())["connections"], 4)
        self.assertEqual(len(asked), 1)
        self.clock.advance(AGE)
        self.measures()
        self.assertEqual(len(asked), 2)
