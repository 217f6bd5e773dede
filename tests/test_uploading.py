"""Uploads from the chat line to the shelf, in memory; the files arrive when the test says so."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pychat.errors import ShelfError, TransferError
from pychat.incoming import FOLDER, Incoming
from pychat.line import ChatProtocol
from pychat.shelf import Shelf
from pychat.transfer.terms import Done, Failed
from pychat.uploading import Uploading, Wish

from .plays.stage import FakeTransport, MemoryStage

SECRET = "0123456789abcdef"


class Case(SynchronousTestCase):
    """Alice on a plain line, Bob with a program, and the daemon's parts."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.stage = MemoryStage(self.root)
        self.offers = self.stage.offers
        self.alice = self.connect("alice")
        self.bob = self.connect("bob", "<hello>")
        self.hear(self.alice)

    def connect(self, name: str = "", *lines: str) -> FakeTransport:
        transport = FakeTransport(self.stage.clock)
        protocol = self.stage.factory.buildProtocol(None)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        self.say(transport, *lines, *([f"<connect>{name}"] if name else []))
        return transport

    def say(self, transport: FakeTransport, *lines: str) -> list[str]:
        assert isinstance(transport.protocol, ChatProtocol)
        self.hear(transport)
        transport.protocol.dataReceived("".join(f"{line}\n" for line in lines).encode())
        return self.hear(transport)

    def hear(self, transport: FakeTransport) -> list[str]:
        for _ in range(30):
            self.stage.clock.advance(0)
        heard, transport.out = transport.out, b""
        return heard.decode().splitlines()

    def upload(
        self, transport: FakeTransport, name: str = "new.txt", size: int = 5, version: str = SECRET
    ) -> bytes:
        """Ask for it, and get an offer; return the transfer's id."""
        (line,) = self.say(transport, f"<upload size={size} version={version}>{name}")
        match = re.fullmatch(r"<offer .* transfer=([0-9a-f]{16}) .* direction=up .*", line)
        assert match is not None, line
        return bytes.fromhex(match[1])

    def hidden(self) -> list[str]:
        return [each.name for each in (self.root / FOLDER).iterdir() if each.name != "ledger"]


class Uploads(Case):
    """What becomes of an upload."""

    def test_arrives(self) -> None:
        """It is on the shelf, and everybody is told, the uploader too."""
        transfer = self.upload(self.bob)
        self.assertEqual(self.hear(self.alice), [])
        self.offers.arrive(transfer, b"hello")
        self.assertEqual(self.hear(self.alice), ["<file size=5 by=bob>new.txt"])
        (line,) = self.hear(self.bob)
        self.assertRegex(line, r"<file size=5 by=bob time=[-0-9T:.]+Z>new.txt")
        self.assertEqual((self.root / "new.txt").read_bytes(), b"hello")
        self.assertEqual(self.hidden(), [])
        (line,) = self.say(self.bob, f"<upload size=5 version={SECRET}>new.txt")
        self.assertTrue(line.startswith("<error code=arrived>"))

    def test_without_a_name(self) -> None:
        """Who has no name may upload, and is called somebody."""
        transfer = self.upload(self.connect("", "<hello>"))
        self.offers.arrive(transfer, b"hello")
        self.assertEqual(self.hear(self.alice), ["<file size=5 by=@somebody>new.txt"])

    def test_without_a_secret(self) -> None:
        """The daemon makes one, with which the client can go on."""
        (line,) = self.say(self.bob, "<upload size=5>new.txt")
        match = re.search(r" version=([0-9a-f]{32}) ", line)
        assert match is not None
        self.upload(self.bob, version=match[1])

    def test_goes_on(self) -> None:
        """What broke off is kept, and the next offer says what there is of it."""
        transfer = self.upload(self.bob)
        self.offers._all[transfer][3].write([(0, [b"he"])])
        self.offers.end(transfer, Failed("timed-out", "Gone."))
        (line,) = self.say(self.bob, f"<upload size=5 version={SECRET}>new.txt")
        self.assertIn(" direction=up have=0-2 tcp=yes>", line)

    def test_taken_over(self) -> None:
        """Who comes back before the daemon noticed takes her own upload over, and nobody else does."""
        transfer = self.upload(self.bob)
        self.offers._all[transfer][3].write([(0, [b"he"])])
        bob = self.connect("", "<hello>")
        (line,) = self.say(bob, "<upload size=5 version=ffffffffffffffff>new.txt")
        self.assertTrue(line.startswith("<error code=in-use>"))
        (line,) = self.say(bob, f"<upload size=5 version={SECRET}>new.txt")
        self.assertIn(" direction=up have=0-2 tcp=yes>", line)
        self.assertNotIn(transfer, self.offers._all)

    def test_cancelled(self) -> None:
        """What somebody cancels on the chat line is not kept."""
        transfer = self.upload(self.bob)
        self.offers._all[transfer][3].write([(0, [b"he"])])
        self.assertEqual(self.say(self.bob, f"<cancel>{transfer.hex()}"), ["<done>new.txt is cancelled."])
        self.assertEqual(self.hidden(), [])

    def test_line_lost(self) -> None:
        """An offer that nobody claimed ends with its connection, and leaves nothing."""
        self.upload(self.bob)
        self.bob.loseConnection()
        self.assertEqual((self.offers._all, self.hidden()), ({}, []))

    def test_damaged(self) -> None:
        """What came wrong again and again is not kept."""
        transfer = self.upload(self.bob)
        self.offers._all[transfer][3].write([(0, [b"he"])])
        self.offers.end(transfer, Failed("digest-mismatch", "No."))
        self.assertEqual(self.hidden(), [])

    def test_busy(self) -> None:
        """A port that takes no more is an error, and leaves nothing."""
        for error, code in ((TransferError("busy", "Later."), "busy"), (ValueError(), "")):
            self.patch(self.offers, "take", lambda *a, error=error, **k: (_ for _ in ()).throw(error))
            heard = self.say(self.bob, "<upload size=5>new.txt")
            if code:
                self.assertEqual(heard, [f"<error code={code}>Later."])
            else:
                self.assertTrue(self.bob.closed)
                self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
            self.assertEqual(self.hidden(), [])

    def test_cannot_write(self) -> None:
        """A shelf that cannot be written is told in words of the chat line, and its cause is logged."""
        cause = OSError("read-only")

        def refuse(*_: object) -> None:
            raise ShelfError("cannot-write", "No.") from cause

        self.patch(self.stage.incoming, "begin", refuse)
        self.assertEqual(self.say(self.bob, "<upload size=5>new.txt"), ["<error code=cannot-write>No."])

    def test_part_cannot_be_opened(self) -> None:
        """What a part says comes in words of the chat line."""
        for code, told in (
            ("disk-full", "no-space"),
            ("no-permission", "cannot-write"),
            ("cannot-write",) * 2,
        ):
            part = self.stage.incoming.part

            def refuse(*_: object, code: str = code) -> None:
                raise TransferError(code, "No.")

            def broken(upload: object, part: object = part, refuse: object = refuse) -> object:
                made = part(upload)
                made.open = refuse
                return made

            self.patch(self.stage.incoming, "part", broken)
            self.assertEqual(self.say(self.bob, "<upload size=5>new.txt"), [f"<error code={told}>No."])
            self.stage.incoming.part = part

    def test_gone_meanwhile(self) -> None:
        """A connection that ended while the disk was at work gets no offer, and nothing is left."""
        begin = self.stage.incoming.begin

        def lose(*arguments: object) -> object:
            self.bob.loseConnection()
            return begin(*arguments)

        self.patch(self.stage.incoming, "begin", lose)
        self.say(self.bob, "<upload size=5>new.txt")
        self.assertEqual((self.offers._all, self.hidden()), ({}, []))


class Policy(Case):
    """Who may upload."""

    def test_allowed(self) -> None:
        """Without a word about it, who comes from this machine; else everyone or nobody."""
        for everyone, remote, allowed in (
            (None, "127.0.0.1", True), (None, "127.3.2.1", True), (None, "::1", True),
            (None, "::ffff:127.0.0.1", True), (None, "", True), (None, "10.0.0.1", False),
            (None, "::ffff:10.0.0.1", False), (None, "fe80::1%eth0", False), (None, "localhost.example.com", False),
            (True, "10.0.0.1", True), (False, "127.0.0.1", False),
        ):  # fmt: skip
            uploading = Uploading(self.stage.incoming, lambda *_: succeed(None), everyone=everyone)
            self.assertEqual(uploading.allowed(remote), allowed, (everyone, remote))

    def test_refused(self) -> None:
        """Who may not is told so."""
        self.patch(FakeTransport, "getPeer", lambda self: type("Address", (), {"host": "10.0.0.1"})())
        eve = self.connect("", "<hello>")
        (line,) = self.say(eve, "<upload size=5>new.txt")
        self.assertTrue(line.startswith("<error code=no-uploads>"))


class Sweeping(SynchronousTestCase):
    """What broke off is looked for in a thread."""

    def test_sweep(self) -> None:
        """It is logged, and a failure is no reason to stop."""
        for result in (succeed([]), fail(ValueError())):
            uploading = Uploading(Incoming(Shelf("x")), lambda *_, result=result: result)
            self.successResultOf(uploading.sweep())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_slow_disk(self) -> None:
        """Who takes an upload over waits until the first one has let go of the file."""
        with tempfile.TemporaryDirectory() as folder:
            threads: list[tuple[Deferred[object], object, tuple[object, ...]]] = []

            def in_thread(function: object, *arguments: object) -> Deferred[object]:
                done: Deferred[object] = Deferred()
                threads.append((done, function, arguments))
                return done

            def work() -> None:
                while threads:
                    done, function, arguments = threads.pop(0)
                    done.callback(function(*arguments))

            stage = MemoryStage(Path(folder))
            incoming = Incoming(Shelf(folder))
            uploading = Uploading(incoming, in_thread)
            wish = Wish("a", 5, SECRET, "owner", "=bob", "=bob", "bob")
            ended: list[int] = []
            first = Deferred.fromCoroutine(uploading.begin(wish, stage.offers, lambda: ended.append(1)))
            work()
            self.successResultOf(first)
            again = Deferred.fromCoroutine(uploading.begin(wish, stage.offers, lambda: ended.append(2)))
            self.assertEqual(ended, [1])
            self.assertNoResult(again)
            self.assertEqual([function.__name__ for _, function, _ in threads], ["_leave"])
            work()
            self.successResultOf(again)
            stage.offers.end(next(iter(stage.offers._all)), Done())
            work()
            self.assertEqual(ended, [1, 2])
