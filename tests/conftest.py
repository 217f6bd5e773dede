"""For every test: the two guards of `tests.guards`, and a third that watches over the end of the process."""

from __future__ import annotations

import faulthandler
import gc
import sys
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.guards import LoggedFailures, ReactorState

SETTLE_SECONDS = 1.0

EXIT_SECONDS = 20.0
"""Seconds after the last test in which the process has to end."""


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """End the process also if a thread that a test has left there would wait for ever, and show what it waits for.

    The status is 1 then, whatever the tests said.
    """
    sys.stdout.flush()
    faulthandler.dump_traceback_later(EXIT_SECONDS, exit=True, file=sys.__stderr__ or sys.stderr)


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[LoggedFailures]:
    """Fail a test that logs a failure nobody expected.

    A test that expects some takes them from this fixture: ``logged_failures.flush(ValueError)``.  Tests of
    trial have ``flushLoggedErrors``, and trial itself looks at the rest.
    """
    failures = LoggedFailures()
    failures.start()
    yield failures
    failures.stop()
    if complaint := failures.complain():
        pytest.fail(complaint, pytrace=False)


@pytest.fixture(autouse=True)
def clean_reactor(request: pytest.FixtureRequest, logged_failures: LoggedFailures) -> Iterator[None]:
    """Fail a test that leaves delayed calls, open selectables or work in threads on the real reactor."""
    from twisted.internet import reactor

    state = ReactorState(reactor)
    yield
    if isinstance(request.instance, SynchronousTestCase):
        # Trial has looked at these already.  What is logged from now on, while we clear up, is ours.
        logged_failures.flush()
    else:
        # An error in a Deferred that nobody handles is logged when the Deferred is collected.
        gc.collect()
    if not state.is_clean():
        pytest_twisted.blockon(Deferred.fromCoroutine(state.settle(SETTLE_SECONDS)))
    if complaint := state.complain():
        pytest.fail(complaint, pytrace=False)
