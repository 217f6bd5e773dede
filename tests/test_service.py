"""The wiring: options, binding, what is said at start, signals, and the end."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from pychat import kernel, service, tap
from pychat.background import NICENESS
from pychat.datagram import TransferProtocol
from pychat.journal import prune
from pychat.journal.store import connect, open_journal
from pychat.options import Options
from pychat.service import ChatService, StartError

from .guards import within


def options(*arguments: str) -> Options:
    parsed = Options()
    parsed.parseOptions(arguments)
    return parsed


class OptionTests(SynchronousTestCase):
    """The command line."""

    def test_defaults(self) -> None:
        """Without options: loopback, port 50000, files/ and state/, UDP beside TCP."""
        parsed = options()
        self.assertEqual(parsed["listen"], ["tcp:50000:interface=127.0.0.1"])
        self.assertEqual(parsed["udp"], [])
        self.assertEqual((parsed["files"], parsed["state"], parsed["journal"]), ("files", "state", "sqlite"))

    def test_repeated(self) -> None:
        """--listen and --udp may be given several times."""
        parsed = options("--listen", "tcp:1", "-l", "tcp6:1", "--udp", "10.0.0.1:2", "--udp", "[::1]:3")
        self.assertEqual(parsed["listen"], ["tcp:1", "tcp6:1"])
        self.assertEqual(parsed["udp"], [("10.0.0.1", 2), ("::1", 3)])

    def test_advertise(self) -> None:
        """The port that clients are told is a port."""
        self.assertEqual(options("--udp-advertise", "60000")["udp-advertise"], 60000)
        for wrong in ("0", "65536", "x", "-1", "٣"):
            error = self.assertRaises(UsageError, options, "--udp-advertise", wrong)
            self.assertIn("1 to 65535", str(error))

    def test_wrong(self) -> None:
        """What cannot be meant is a usage error that names the option."""
        for wrong in ("a:b:c", "127.0.0.1", "[::1]", "127.0.0.1:99999"):
            self.assertIn("--udp", str(self.assertRaises(UsageError, options, "--udp", wrong)))
        self.assertIn("--journal", str(self.assertRaises(UsageError, options, "--journal", "stone")))
        self.assertIn("--keep", str(self.assertRaises(UsageError, options, "--keep", "long")))
        self.assertIn("--keep-bytes", str(self.assertRaises(UsageError, options, "--keep-bytes", "much")))
        self.assertIn("1M is the least", str(self.assertRaises(UsageError, options, "--keep-bytes", "1023K")))

    def test_word_without_an_option(self) -> None:
        """It is said what was perhaps meant."""
        for word, meant in (
            ("50001", "--listen tcp:50001 is"),
            ("my files", "--files 'my files' is"),
            ("x", "--files x is"),
        ):
            error = self.assertRaises(UsageError, options, "--no-udp", word)
            self.assertIn(repr(word), str(error))
            self.assertIn(meant, str(error))

    def test_bounds_of_the_journal(self) -> None:
        """Ages and sizes are read as people write them."""
        self.assertEqual(options("--keep-bytes", "1M")["keep-bytes"], 1 << 20)
        parsed = options("--keep", "30d", "--keep-bytes", "2G")
        self.assertEqual((parsed["keep"], parsed["keep-bytes"]), (30 * 86400, 2 << 30))

    def test_files(self) -> None:
        """What files may do, as people write it."""
        parsed = options()
        names = ("uploads", "quota", "shelf-limit", "keep-uploads", "no-udp", "rate-limit", "rate-limit-each")
        self.assertEqual([parsed[name] for name in names], [None, 1 << 30, 10 << 30, 86_400, 0, None, None])
        self.assertEqual((parsed["congestion"], parsed["max-datagram"]), ("model", 65507))
        self.assertEqual(parsed["memory-limit"], 512 << 20)
        self.assertEqual(options("--memory-limit", "64M")["memory-limit"], 64 << 20)
        parsed = options(
            "--uploads", "everyone", "--quota", "500M", "--shelf-limit", "20G", "--keep-uploads", "2h", "--no-udp",
            "--rate-limit", "10M", "--rate-limit-each", "1M/s", "--congestion", "cubic", "--max-datagram", "1452",
        )  # fmt: skip
        self.assertEqual(
            [parsed[name] for name in names], [True, 500 << 20, 20 << 30, 7200, 1, 10 << 20, 1 << 20]
        )
        self.assertEqual((parsed["congestion"], parsed["max-datagram"]), ("cubic", 1452))
        self.assertIs(options("--uploads", "nobody")["uploads"], False)

    def test_files_wrong(self) -> None:
        """What cannot be meant is a usage error that names the option."""
        for option, *wrong in (
            ("--uploads", "alice", ""), ("--quota", "much", "-1"), ("--shelf-limit", "all"), ("--keep-uploads", "1"),
            ("--rate-limit", "fast", "10"), ("--rate-limit-each", "0"), ("--congestion", "bbr"),
            ("--max-datagram", "1199", "65508", "x", "٣"),
            ("--memory-limit", "15M", "x", "-1"),
        ):  # fmt: skip
            for value in wrong:
                self.assertIn(option, str(self.assertRaises(UsageError, options, option, value)))
        for more in (("--udp", "127.0.0.1:1"), ("--udp-advertise", "1")):
            self.assertIn("--no-udp", str(self.assertRaises(UsageError, options, "--no-udp", *more)))

    def test_one_help_for_all_runners(self) -> None:
        """Twisted's runners find the options, and every option is explained."""
        self.assertIs(tap.Options, Options)
        text = str(options())
        for option in (
            "--listen=", "--udp=", "--udp-advertise=", "--files=", "--state=", "--journal=", "--uploads=", "--quota=",
            "--shelf-limit=", "--keep-uploads=", "--no-udp", "--rate-limit=", "--rate-limit-each=", "--congestion=",
            "--max-datagram=", "-h, --help",
        ):  # fmt: skip
            self.assertIn(option, text)
        self.assertNotRegex(text, r"[.;]   +\S")


class StartErrorTests(SynchronousTestCase):
    """A start that cannot work is one line for a person."""

    def test_one_line(self) -> None:
        """A StartError that ends the process is shown on the real standard error, without a traceback."""
        others: list[BaseException] = []
        hook = service._one_line(lambda kind, error, traceback: others.append(error))
        written = StringIO()
        self.patch(sys, "__stderr__", written)
        hook(StartError, StartError("x", "Do this."), None)
        self.assertEqual(written.getvalue(), "pychat: Do this.\n")
        error = ValueError()
        hook(ValueError, error, None)
        self.assertEqual(others, [error])


def no_openssl() -> bool:
    """True where TLS endpoints cannot be made."""
    return importlib.util.find_spec("OpenSSL") is None


class Running:
    """A service on the running reactor, and what it logs."""

    def __init__(self) -> None:
        self.logged: list[str] = []
        self._services: list[ChatService] = []
        self._folder = tempfile.TemporaryDirectory()
        self.files = Path(self._folder.name, "files")

    def _observe(self, event: LogEvent) -> None:
        self.logged.append(formatEvent(event))

    def start(self, *arguments: str, listen: str = "tcp:0:interface=127.0.0.1") -> ChatService:
        from twisted.internet import reactor

        arguments = (
            "--listen", listen, "--files", str(self.files), "--state", str(self.files.with_name("state")), *arguments,
        )  # fmt: skip
        chat = ChatService(options(*arguments), reactor)
        chat.privilegedStartService()
        self._services.append(chat)
        chat.startService()
        return chat

    async def __aenter__(self) -> Running:
        globalLogPublisher.addObserver(self._observe)
        return self

    async def __aexit__(self, *_: object) -> None:
        for chat in self._services:
            if chat.running:
                await chat.stopService()
        globalLogPublisher.removeObserver(self._observe)
        self._folder.cleanup()


async def ask(port: Any, *lines: str) -> str:
    """Say lines from a thread with a plain socket, close the sending half, and return all that came."""
    from twisted.internet.threads import deferToThread

    def talk() -> str:
        host = port.getHost()
        with socket.create_connection((host.host, host.port), 10) as connection:
            connection.sendall("".join(f"{line}\n" for line in lines).encode())
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    return await deferToThread(talk)


@pytest_twisted.ensureDeferred
@within(20)
async def test_serves() -> None:
    """A started service greets, answers to the end, makes its folder, and says how to join."""
    async with Running() as running:
        chat = running.start()
        (port,) = chat.tcp_ports
        said = await ask(port, "<connect>alice", "<get_users>", "<set_msg_all>hi")
        assert said.splitlines()[1:5] == [
            "<connected>alice",
            "<user>alice",
            "<users count=1>",
            "<accepted id=1>all",
        ]
        assert running.files.is_dir()
        number = port.getHost().port
        assert f"Listening on 127.0.0.1:{number}. To join, type: nc 127.0.0.1 {number}" in running.logged
        assert not any("not encrypted" in line for line in running.logged)


@pytest_twisted.ensureDeferred
@within(20)
async def test_several_listeners() -> None:
    """TCP on IPv6 and a UNIX socket beside each other; UDP goes with the first TCP port."""
    async with Running() as running:
        unix = running.files.with_name("sock")
        chat = running.start("--listen", f"unix:{unix}", listen=r"tcp6:0:interface=\:\:1")
        assert "<welcome>" in await ask(chat.tcp_ports[0])
        assert any(line.startswith("Listening on [::1]:") for line in running.logged)
        assert any("sock" in line for line in running.logged if line.startswith("Listening on"))
        (udp,) = chat.udp_ports
        assert udp.getHost().host == "::1"


@pytest_twisted.ensureDeferred
@within(20)
async def test_both_families_on_one_port() -> None:
    """All addresses of IPv4 and of IPv6 on the same port, with UDP beside both."""
    async with Running() as running:
        chat = running.start()
        number = chat.tcp_ports[0].getHost().port
        await chat.stopService()
        chat = running.start("--listen", f"tcp6:{number}", listen=f"tcp:{number}")
        hosts = [(port.getHost().host, port.getHost().port) for port in chat.tcp_ports]
        assert hosts == [("0.0.0.0", number), ("::", number)]
        assert [(port.getHost().host, port.getHost().port) for port in chat.udp_ports] == hosts
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, number), 5):
                pass


@pytest_twisted.ensureDeferred
@within(20)
async def test_udp_beside_ipv6() -> None:
    """An address that ends with a 0 is not taken for a port that the system is to choose."""
    async with Running() as running:
        number = running.start().tcp_ports[0].getHost().port
        chat = running.start("--state", str(running.files / "state"), listen=f"tcp6:{number}:interface=::0")
        assert chat._default_udp() == [("::", number)]
        assert chat.udp_ports[0].getHost().port == number


@pytest_twisted.ensureDeferred
@within(20)
async def test_udp_by_name() -> None:
    """A host may be named."""
    async with Running() as running:
        chat = running.start("--udp", "localhost:0")
        assert chat.udp_ports[0].getHost().host in ("127.0.0.1", "::1")


@pytest_twisted.ensureDeferred
@within(20)
async def test_only_a_unix_socket() -> None:
    """Without any TCP port, UDP has its own default unless it is told."""
    async with Running() as running:
        unix = running.files.with_name("sock")
        chat = running.start("--udp", "127.0.0.1:0", listen=f"unix:{unix}")
        assert chat.udp_ports[0].getHost().host == "127.0.0.1"
        assert chat._default_udp() == [("127.0.0.1", 50000)]


@pytest_twisted.ensureDeferred
@within(20)
async def test_beyond_loopback() -> None:
    """A chat that others can reach without encryption says so, once, and names a host that they can type."""
    async with Running() as running:
        chat = running.start("--listen", "tcp6:0", listen="tcp:0")
        warnings = [line for line in running.logged if "not encrypted" in line]
        assert len(warnings) == 1
        number = chat.tcp_ports[0].getHost().port
        assert (
            f"Listening on 0.0.0.0:{number}. To join, type: nc {socket.gethostname()} {number}"
            in running.logged
        )


@pytest_twisted.ensureDeferred
@within(20)
async def test_goodbye() -> None:
    """Stopping tells everybody goodbye, lets it out, closes, and leaves nothing listening."""
    from twisted.internet.threads import deferToThread

    async with Running() as running:
        chat = running.start()
        host = chat.tcp_ports[0].getHost()
        with socket.create_connection((host.host, host.port), 10) as connection:
            connection.sendall(b"<connect>alice\n")
            heard = b""
            while b"<connected" not in heard:
                heard += await deferToThread(connection.recv, 4096)
            stopped = chat.stopService()
            heard = await deferToThread(lambda: b"".join(iter(lambda: connection.recv(4096), b"")))
            await stopped
        assert heard == b"<goodbye code=shutdown>The chat is closing down. Come back later.\n"
        with socket.socket() as other:
            assert other.connect_ex((host.host, host.port)) != 0


@pytest_twisted.ensureDeferred
@within(20)
async def test_stop_does_not_wait_for_the_deaf() -> None:
    """Somebody who never reads delays a stop by a bounded time only."""
    from twisted.internet import reactor

    async with Running() as running:
        chat = running.start()
        host = chat.tcp_ports[0].getHost()
        with socket.create_connection((host.host, host.port), 10) as deaf:
            deaf.sendall(b"<connect>deaf\n" + b"<help>\n" * 8000)
            waited: Deferred[None] = Deferred()
            reactor.callLater(0.3, waited.callback, None)  # type: ignore[attr-defined]
            await waited
            started = reactor.seconds()  # type: ignore[attr-defined]
            await chat.stopService()
            assert reactor.seconds() - started < 3  # type: ignore[attr-defined]


@pytest_twisted.ensureDeferred
@within(20)
async def test_cannot_start() -> None:
    """Ports in use, endpoints that are none, folders that are none: a StartError that says what to do."""
    async with Running() as running:
        chat = running.start()
        number = chat.tcp_ports[0].getHost().port
        taken = chat.udp_ports[0].getHost().port
        for listen, arguments, expected in (
            (f"tcp:{number}:interface=127.0.0.1", (), "Cannot listen on tcp:"),
            (
                "tcp:0:interface=127.0.0.1",
                ("--udp", f"127.0.0.1:{taken}"),
                f"Cannot listen on UDP 127.0.0.1:{taken}: ",
            ),
            ("tcp:0:interface=127.0.0.1", ("--state", __file__), f"in {__file__}, for it is not a folder"),
            ("ssl:0", (), "needs something that is not installed")
            if no_openssl()
            else ("tcp", (), "is not an"),
            ("carrier-pigeon:1", (), "--listen carrier-pigeon:1 is not an endpoint. Write tcp:50000"),
            ("tcp:many", (), "--listen tcp:many is not an endpoint. Write tcp:50000"),
            ("tcp:99999", (), "a port from 1 to 65535"),
            ("tcp:0:interface=192.0.2.1", (), "Choose an address of this machine"),
            ("tcp:0", ("--udp", "nowhere.invalid:1"), "Cannot listen on UDP nowhere.invalid:1"),
            ("tcp:0", ("--files", __file__), "is not a folder"),
        ):
            with pytest.raises(StartError) as caught:
                running.start(*arguments, listen=listen)
            assert expected in caught.value.sentence
            assert "\n" not in caught.value.sentence


@pytest_twisted.ensureDeferred
@within(20)
async def test_udp_port_in_use() -> None:
    """A UDP port that is only taken because of --listen is told to be that."""
    async with Running() as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            port = other.getsockname()[1]
            with pytest.raises(StartError) as caught:
                running.start(listen=f"tcp:{port}:interface=127.0.0.1")
    assert f"Cannot listen on UDP 127.0.0.1:{port}: " in caught.value.sentence
    assert "the port of --listen, unless --udp names another" in caught.value.sentence


@pytest_twisted.ensureDeferred
@within(20)
async def test_too_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of open files that leaves no room for a connection is one sentence, and nothing is bound or made."""
    async with Running() as running:
        for limit in (10, 64):
            monkeypatch.setattr(kernel, "raise_file_limit", lambda limit=limit: limit)
            with pytest.raises(StartError, match=rf"^The limit of open files is {limit} here.*ulimit -Hn"):
                running.start()
        assert not running.files.exists()
        monkeypatch.setattr(kernel, "raise_file_limit", lambda: 65)
        chat = running.start()
        assert chat._door.limit == 1
        assert "<welcome>" in await ask(chat.tcp_ports[0], "<ping>")


@pytest_twisted.ensureDeferred
@within(20)
async def test_memory_journal() -> None:
    """A daemon that keeps nothing says so to everybody who joins, and makes no folder."""
    async with Running() as running:
        chat = running.start("--journal", "memory")
        assert "<connected durable=no>alice" in await ask(chat.tcp_ports[0], "<connect>alice")
        assert not running.files.with_name("state").exists()


@pytest_twisted.ensureDeferred
@within(20)
async def test_ids_go_on() -> None:
    """A second life of a daemon goes on with the ids of the first."""
    async with Running() as running:
        chat = running.start()
        assert "<accepted id=1>all" in await ask(chat.tcp_ports[0], "<connect>alice", "<set_msg_all>one")
        await chat.stopService()
        chat = running.start()
        assert "<accepted id=2>all" in await ask(chat.tcp_ports[0], "<connect>alice", "<set_msg_all>two")


@pytest_twisted.ensureDeferred
@within(20)
async def test_journal_that_cannot_be_used() -> None:
    """A journal in use, damaged or in no folder is a StartError, and no port stays bound."""
    async with Running() as running:
        chat = running.start()
        with pytest.raises(StartError, match="Another daemon uses"):
            running.start()
        await chat.stopService()
        journal = running.files.with_name("state") / "journal.sqlite3"
        for damage in (b"no journal" * 500, b""):
            journal.write_bytes(damage)
            with pytest.raises(StartError, match=r"journal\.sqlite3 is damaged.*from a backup"):
                running.start()
            assert journal.read_bytes() == damage
        with pytest.raises(StartError, match="with --state"):
            running.start("--state", str(journal / "below"))


@pytest_twisted.ensureDeferred
@within(20)
async def test_full_disk() -> None:
    """Senders are told when the journal takes nothing, nobody is shown the message, and it heals by itself."""
    async with Running() as running:
        chat = running.start()
        with closing(connect(running.files.with_name("state") / "journal.sqlite3")) as other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON message BEGIN SELECT raise(ABORT, 'disk full'); END"
            )
            said = await ask(
                chat.tcp_ports[0],
                "<connect>alice",
                "<set_msg_all label=7>lost",
                "<get_users>",
                "<ping>still here",
            )
            assert "<error code=journal-unavailable label=7>" in said
            assert "<accepted" not in said
            assert said.endswith("<users count=1>\n<pong>still here\n")
            other.execute("DROP TRIGGER full")
            assert "<accepted id=1>all" in await ask(chat.tcp_ports[0], "<connect>alice", "<set_msg_all>kept")
            assert other.execute("SELECT text FROM message").fetchall() == [(b"kept",)]


def old_messages(running: Running) -> sqlite3.Connection:
    """A journal with 2,500 very old messages, for a daemon that is yet to be started."""
    state = running.files.with_name("state")
    state.mkdir(parents=True)
    journal = open_journal(state / "journal.sqlite3")
    journal.execute("BEGIN")
    rows = [(n, b"x") for n in range(1, 2501)]
    insert = "INSERT INTO message (id, time_ms, sender, sender_name, text) VALUES (?, 1, 1, 'a', ?)"
    journal.executemany(insert, rows)
    journal.execute("COMMIT")
    return journal


@pytest_twisted.ensureDeferred
@within(20)
async def test_stops_while_it_prunes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that has more to delete ends all the same, and deletes the rest another time."""
    monkeypatch.setattr(service, "PRUNE_PAUSE", 0.0)
    monkeypatch.setattr(prune, "STEP", 5)
    async with Running() as running:
        with closing(old_messages(running)) as journal:
            chat = running.start("--keep", "1d")
            while journal.execute("SELECT count(*) FROM message").fetchone() == (2500,):
                await asleep(0.001)
            await chat.stopService()
            assert journal.execute("SELECT count(*) FROM message").fetchone() > (1,)


@pytest_twisted.ensureDeferred
@within(20)
async def test_prunes() -> None:
    """With --keep, messages that are older go by themselves, in several steps."""
    async with Running() as running:
        with closing(old_messages(running)) as journal:
            running.start("--keep", "1d")
            while journal.execute("SELECT count(*) FROM message").fetchone() != (1,):
                await asleep(0.01)
            assert journal.execute("SELECT max(id) FROM message").fetchone() == (2500,)


async def asleep(seconds: float) -> None:
    """Let the reactor turn."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await deferLater(reactor, seconds)


class SignalTests(SynchronousTestCase):
    """The first signal stops, the second one kills."""

    def test_twice(self) -> None:
        """A first signal stops the reactor from its own thread; a second one gets its default meaning."""
        calls: list[object] = []

        class Reactor:
            def callFromThread(self, function: Callable[[], None]) -> None:
                function()

            def stop(self) -> None:
                calls.append("stop")

            def getThreadPool(self) -> None: ...

            def seconds(self) -> float:
                return 0.0

        chat = ChatService(options(), Reactor(), signals=True)
        self.patch(service.signal, "signal", lambda number, handler: calls.append((number, handler)))
        self.patch(service.os, "kill", lambda pid, number: calls.append(number))
        chat._take_signals()
        self.assertEqual([call[0] for call in calls], [signal.SIGTERM, signal.SIGINT])
        calls.clear()
        chat._signalled(signal.SIGTERM, None)
        self.assertEqual(calls, ["stop"])
        chat._signalled(signal.SIGINT, None)
        self.assertEqual(calls[1:], [(signal.SIGINT, signal.SIG_DFL), signal.SIGINT])


@pytest_twisted.ensureDeferred
@within(20)
async def test_watched() -> None:
    """A daemon that runs tells what it can have and what held it; one that has ended leaves the reactor as it was."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    loop: Any = reactor
    before = loop._poller if hasattr(loop, "_poller") else None

    def hold() -> None:
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass

    async with Running() as running:
        chat = running.start()
        said = [line for line in running.logged if " connections at most" in line]
        assert bool(said) == (chat._door.limit is not None)
        if before is not None:
            await deferLater(loop, 0)
            await deferLater(loop, 0, hold)
            await deferLater(loop, 0)
            assert [line for line in running.logged if line.startswith("The reactor was held for ")]
            answer = await ask(chat.tcp_ports[0], "<status>")
            match = re.search(
                r"^<status .* connections=1 .*stalls=(\d+) longest=(\d+) ", answer, re.MULTILINE
            )
            assert match
            assert (int(match[1]) >= 1, int(match[2]) >= 30) == (True, True)
    assert before is None or loop._poller is before


@pytest.mark.skipif(sys.platform != "linux", reason="only there threads have a niceness each")
@pytest_twisted.ensureDeferred
@within(20)
async def test_files_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads and hashes files that are sent runs in threads that are nicer than the reactor's."""
    runners: list[Any] = []

    class Transfers(TransferProtocol):
        def __init__(self, *args: Any, **more: Any) -> None:
            runners.append(more["run_in_thread"])
            super().__init__(*args, **more)

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    monkeypatch.setattr(service, "TransferProtocol", Transfers)
    async with Running() as running:
        running.start()
        (run,) = runners
        assert await run(niceness) == min(niceness() + NICENESS, 19)
