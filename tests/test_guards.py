"""The guards fail what they should, and nothing else.

The tests of the sample run in a pytest of their own, for they are meant to fail.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

REPOSITORY = Path(__file__).resolve().parent.parent

SAMPLE = textwrap.dedent(
    """
    import time
    import pytest_twisted
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
    from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
    from twisted.internet.threads import deferToThread
    from twisted.logger import Logger
    from twisted.python import log as old_log
    from twisted.trial.unittest import SynchronousTestCase

    from tests.guards import within

    log = Logger()

    def fail_in_log():
        try:
            raise ValueError("spilt milk")
        except ValueError:
            log.failure("oh")

    def sleep(seconds):
        d = Deferred()
        reactor.callLater(seconds, d.callback, None)
        return d

    def test_bad_delayed_call():
        reactor.callLater(60, print)

    def test_good_after_delayed_call():
        assert not [call for call in reactor.getDelayedCalls() if call.func is print]

    @pytest_twisted.ensureDeferred
    async def test_bad_async_delayed_call():
        await sleep(0)
        reactor.callLater(60, print)

    def test_good_soon_over():
        reactor.callLater(0.02, lambda: reactor.callLater(0.02, lambda: None))

    @pytest_twisted.ensureDeferred
    async def test_bad_port():
        reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")

    def test_bad_udp_port():
        reactor.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")

    class TestCase(SynchronousTestCase):
        def test_bad_case_port(self):
            reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")

        def test_good_flushed(self):
            fail_in_log()
            assert len(self.flushLoggedErrors(ValueError)) == 1

        def test_bad_not_flushed(self):
            fail_in_log()

        def test_good_case(self):
            pass

    async def connection():
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(Protocol))
        return port, await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), Protocol()
        )

    @pytest_twisted.ensureDeferred
    async def test_bad_connection():
        port, client = await connection()
        await port.stopListening()

    @pytest_twisted.ensureDeferred
    async def test_good_connection_closing():
        port, client = await connection()
        client.transport.loseConnection()
        port.stopListening()

    @pytest_twisted.ensureDeferred
    async def test_good_thread():
        assert await deferToThread(lambda: 5) == 5

    @pytest_twisted.ensureDeferred
    async def test_good_thread_soon_over():
        deferToThread(time.sleep, 0.1)

    def test_bad_thread():
        reactor.callInThread(time.sleep, 1.5)

    def test_bad_logged():
        fail_in_log()

    def test_bad_logged_old_style():
        old_log.err(ValueError("spilt milk"))

    def test_good_expected(logged_failures):
        fail_in_log()
        assert len(logged_failures.flush(ValueError)) == 1

    def test_bad_other_expected(logged_failures):
        fail_in_log()
        assert logged_failures.flush(KeyError) == []

    def test_good_logged_error_without_failure():
        log.error("just words")

    @pytest_twisted.ensureDeferred
    async def test_bad_unhandled_in_deferred():
        d = Deferred()
        d.itself = d  # only the garbage collector ends it
        d.errback(ValueError("spilt milk"))

    @pytest_twisted.ensureDeferred
    @within(seconds=0.1)
    async def test_bad_hangs():
        await Deferred()

    @pytest_twisted.ensureDeferred
    @within(seconds=0.1)
    async def test_bad_will_not_be_cancelled():
        while True:
            try:
                await Deferred()
            except BaseException as error:
                if isinstance(error, GeneratorExit):
                    raise

    @pytest_twisted.ensureDeferred
    @within(seconds=0.1)
    async def test_bad_hangs_and_cleans_up():
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        try:
            await Deferred()
        finally:
            await sleep(0.1)
            await port.stopListening()

    @pytest_twisted.ensureDeferred
    @within(seconds=5)
    async def test_good_in_time(tmp_path):
        await sleep(0.01)
        assert tmp_path.exists()

    @pytest_twisted.ensureDeferred
    @within(seconds=5)
    async def test_bad_assertion_in_time():
        await sleep(0.01)
        assert "spilt" == "milk"
    """
)


STUCK = textwrap.dedent(
    """
    import threading

    def wait_for_nothing():
        threading.Event().wait()

    def test_leaves_a_thread():
        threading.Thread(target=wait_for_nothing).start()
    """
)

# Half a second is a long time for what the samples do.
CONFTEST = """
from tests import conftest, guards
from tests.conftest import *

conftest.SETTLE_SECONDS = conftest.EXIT_SECONDS = guards.CLEAN_UP_SECONDS = 0.5
"""


def run_pytest(sample: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "conftest.py").write_text(CONFTEST)
        (Path(folder) / "test_sample.py").write_text(sample)
        return subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-rA", "--tb=short", "-p", "no:cacheprovider"),
                *("-W", "error", "-c", os.devnull, "--rootdir", folder, "test_sample.py"),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@functools.cache
def run_sample() -> tuple[str, dict[str, set[str]]]:
    """Run the sample once; return the report and the outcomes of each test.  (Trial knows no setUpClass.)"""
    run = run_pytest(SAMPLE)
    outcomes: dict[str, set[str]] = {}
    line = r"^(PASSED|FAILED|ERROR) test_sample\.py::(?:\w+::)?(\w+)"
    for outcome, name in re.findall(line, run.stdout, re.M):
        outcomes.setdefault(name, set()).add(outcome)
    return run.stdout + run.stderr, outcomes


class Guards(SynchronousTestCase):
    """Each test of the sample has the outcome that its name says."""

    def setUp(self) -> None:
        self.output, self.outcomes = run_sample()

    def said_of(self, name: str) -> str:
        """Return what the guard said, from the headline of that test to the next."""
        found = re.search(rf"^_+ .*\b{name} _+$(.*?)^[_=]+ ", self.output, re.M | re.S)
        assert found is not None, self.output
        return found[1]

    def test_all_ran(self) -> None:
        self.assertEqual(set(self.outcomes), set(re.findall(r"def (test_\w+)", SAMPLE)), self.output)

    def test_good(self) -> None:
        """Tests that clean up, or are about to, pass."""
        for name, outcomes in self.outcomes.items():
            if name.startswith("test_good"):
                self.assertEqual(outcomes, {"PASSED"}, self.output)

    def test_bad(self) -> None:
        """Tests that leave something behind do not."""
        for name, outcomes in self.outcomes.items():
            if name.startswith("test_bad"):
                self.assertTrue(outcomes & {"ERROR", "FAILED"}, f"{name} {self.output}")

    def test_clean_up(self) -> None:
        """A test that takes too long leaves nothing, if it would leave nothing otherwise."""
        self.assertEqual(self.outcomes["test_bad_hangs_and_cleans_up"], {"FAILED"}, self.output)
        self.assertNotIn("AlreadyCalledError", self.output)

    def test_ends(self) -> None:
        """A thread that is left does not keep the process from ending, and what it does is shown."""
        run = run_pytest(STUCK)
        self.assertIn("1 passed", run.stdout)
        self.assertEqual(run.returncode, 1)
        self.assertIn("in wait_for_nothing", run.stderr)

    def test_what_is_said(self) -> None:
        """The report names what was left."""
        for name, words in (
            ("test_bad_delayed_call", "DelayedCall"),
            ("test_bad_async_delayed_call", "DelayedCall"),
            ("test_bad_port", "the test left on the reactor"),
            ("test_bad_udp_port", "DatagramProtocol"),
            ("test_bad_case_port", "the test left on the reactor"),
            ("test_bad_connection", "the test left on the reactor"),
            ("test_bad_thread", "thread pool (1)"),
            ("test_bad_logged", "ValueError: spilt milk"),
            ("test_bad_logged_old_style", "ValueError: spilt milk"),
            ("test_bad_other_expected", "ValueError: spilt milk"),
            ("test_bad_not_flushed", "ValueError: spilt milk"),
            ("test_bad_unhandled_in_deferred", "ValueError: spilt milk"),
            ("test_bad_hangs", "TimeoutError"),
            ("test_bad_will_not_be_cancelled", "TimeoutError"),
            ("test_bad_assertion_in_time", "AssertionError"),
        ):
            with self.subTest(name):
                self.assertIn(words, self.said_of(name))
