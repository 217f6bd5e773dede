"""The thread that does a journal's jobs."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pychat.journal.worker import Worker

from .journalkit import Reactor


class Workers(SynchronousTestCase):
    """A worker's jobs: one after the other."""

    def test_order(self) -> None:
        """Jobs are done in their order, whatever one of them raises, and the last thing is the last."""
        reactor = Reactor()
        worker = Worker(reactor, "test")
        done: list[str] = []

        def fail() -> None:
            raise ValueError("no")

        def begin() -> None:
            answers.extend(
                [worker.do(lambda: "all"), worker.do(lambda: done.append("other")), worker.do(fail)]
            )
            answers.append(worker.stop(lambda: done.append("last")))

        answers: list[Any] = []
        reactor.wait(worker.do(begin))
        self.assertEqual(reactor.wait(answers[0]), "all")
        self.assertRaises(ValueError, reactor.wait, answers[2])
        reactor.wait(answers[3])
        self.assertEqual(done, ["other", "last"])
