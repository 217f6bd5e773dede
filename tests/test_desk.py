"""Requests for files, between sessions, the shelf's threads and the UDP ports."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pychat.desk import LISTING_AGE, Desk, UdpPort
from pychat.errors import ShelfError, TransferError
from pychat.hub import Hub
from pychat.incoming import Incoming
from pychat.requests import ListFiles, ListTransfers, OpenFile, ProvePath, Steer, Stream
from pychat.session import Session
from pychat.shelf import Shelf, ShelfFile
from pychat.transfer.terms import Done, Failed, Terms
from pychat.uploading import Uploading

from .plays.stage import Offered, Running


class Offerer:
    """Remembers what it was asked to offer."""

    def __init__(self) -> None:
        self.files: list[ShelfFile] = []
        self.withdrawn: list[object] = []
        self.refuse = False
        self.asked: list[object] = []
        self.finished: list[object] = []
        self.steered: list[object] = []
        self.running: dict[object, list[Running]] = {}
        self.path: bytes | None = None
        self.stream = b""

    def offer(
        self, file: ShelfFile, owner: object, finished: object, *, identity: object, have: object
    ) -> Offered:
        self.asked.append((identity, list(have)))
        self.finished.append(finished)
        if self.refuse:
            raise TransferError("busy", "Later.")
        self.files.append(file)
        return Offered(Terms(bytes(8), bytes(16), bytes(32), file.size), self.path)

    def greet(self, owner: object, identity: object, host: str) -> Terms:
        self.asked.append((identity, [host]))
        if self.refuse:
            raise TransferError("busy", "Later.")
        return Terms(b"p" * 8, bytes(16), bytes(32), 0)

    def attach(self, transfer: bytes, token: bytes) -> object:
        if self.refuse:
            raise TransferError("busy", "Later.")
        if transfer != self.stream:
            raise TransferError("no-such-transfer", "No.")
        return self

    def transfers(self, owner: object) -> list[Running]:
        return self.running.get(owner, [])

    def pause(self, transfer: bytes, on: bool) -> bool:
        self.steered.append((transfer, on))
        return True

    def cancel(self, transfer: bytes, code: str, sentence: str) -> bool:
        self.steered.append((transfer, code))
        return True

    def withdraw(self, owner: object) -> None:
        self.withdrawn.append(owner)


class DeskTests(SynchronousTestCase):
    """One desk, with threads that finish when the test says so."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "a.txt").write_bytes(b"hello")
        self.clock = Clock()
        self.threads: list[tuple[Deferred[object], object, tuple[object, ...]]] = []
        self.offerers = [Offerer(), Offerer(), Offerer()]
        self.ports = [
            UdpPort(self.offerers[0], "10.0.0.1", 1),
            UdpPort(self.offerers[1], "127.0.0.1", 2),
            UdpPort(self.offerers[2], "::", 3),
        ]
        self.shelf = Shelf(self.root)
        uploading = Uploading(Incoming(self.shelf), self.in_thread)
        self.desk = Desk(self.clock, self.shelf, self.ports, self.in_thread, uploading)
        self.addCleanup(self.close_files)

    def close_files(self) -> None:
        for offerer in self.offerers:
            for file in offerer.files:
                file.close()

    def in_thread(self, function: object, *args: object) -> Deferred[object]:
        done: Deferred[object] = Deferred()
        self.threads.append((done, function, args))
        return done

    def finish(self) -> None:
        """Let the threads do what they were given."""
        threads, self.threads = self.threads, []
        for done, function, args in threads:
            maybeDeferred(function, *args).chainDeferred(done)

    def session(self, *, full: bool = True, name: str = "") -> Session:
        hub = Hub(durable=False)
        peer = hub.peer()
        peer.manner = int(full)
        if name:
            hub.join(peer, name)
            peer.mailbox.take(1 << 20)
        return Session(hub, peer, "127.0.0.1:50000")

    def said(self, session: Session) -> str:
        return session.peer.mailbox.take(1 << 20).decode()

    def ask(self, session: Session, name: str = "a.txt", local: str = "127.0.0.1") -> Deferred[None]:
        request = OpenFile(name, b" label=1", offer=session.peer.full)
        return self.desk.carry_out(request, session, "owner", local)

    def test_listing(self) -> None:
        """A listing is answered when the thread is through."""
        session = self.session()
        done = self.desk.carry_out(ListFiles(b""), session, "owner", "")
        self.assertNoResult(done)
        self.finish()
        self.successResultOf(done)
        self.assertEqual(self.said(session), "<file size=5>a.txt\n<files count=1>\n")

    def test_one_listing_for_all(self) -> None:
        """Who asks while a listing is under way, or soon after, gets the same one; later ones ask the disk."""
        sessions = [self.session() for _ in range(3)]
        for session in sessions[:2]:
            self.desk.carry_out(ListFiles(b""), session, "owner", "")
        self.assertEqual(len(self.threads), 1)
        self.finish()
        self.clock.advance(LISTING_AGE - 0.1)
        self.successResultOf(self.desk.carry_out(ListFiles(b""), sessions[2], "owner", ""))
        self.assertEqual(self.threads, [])
        for session in sessions:
            self.assertIn("<files count=1>", self.said(session))
        self.clock.advance(0.1)
        self.desk.carry_out(ListFiles(b""), sessions[0], "owner", "")
        self.assertEqual(len(self.threads), 1)
        self.finish()

    def test_listing_fails(self) -> None:
        """All who wait for a listing that fails are told, and the next one is tried anew."""
        sessions = [self.session(), self.session()]
        self.patch(
            self.shelf, "listing", lambda limit: (_ for _ in ()).throw(ShelfError("read-failed", "No."))
        )
        for session in sessions:
            self.desk.carry_out(ListFiles(b" label=x"), session, "owner", "")
        self.finish()
        for session in sessions:
            self.assertEqual(self.said(session), "<error code=read-failed label=x>No.\n")
        self.desk.carry_out(ListFiles(b""), sessions[0], "owner", "")
        self.assertEqual(len(self.threads), 1)
        self.finish()

    def test_plain(self) -> None:
        """A plain client gets the line to type, and the file is closed."""
        opened: list[ShelfFile] = []
        reopen = self.shelf.open
        self.patch(self.shelf, "open", lambda name: opened.append(reopen(name)) or opened[0])
        session = self.session(full=False)
        self.ask(session)
        self.finish()
        self.assertEqual(self.said(session), "<get label=1 size=5>pychat get 127.0.0.1:50000 a.txt\n")
        self.assertRaises(ShelfError, opened[0].read, 0, 1)

    def test_offer(self) -> None:
        """A client that said hello gets an offer from the port at the address it reached."""
        session = self.session()
        self.ask(session)
        self.finish()
        said = self.said(session)
        self.assertTrue(said.startswith("<offer label=1 size=5 version="))
        self.assertIn(" port=2 ", said)
        self.assertNotIn("host=", said)
        self.assertEqual(len(self.offerers[1].files), 1)

    def test_resumed(self) -> None:
        """What the client holds is taken if the file has the version still, and is as long as that."""
        version = self.shelf.open("a.txt")
        version.close()
        for asked, have, taken in (
            (version.version, [(0, 2)], True),
            ("other", [(0, 2)], False),
            (version.version, [(0, 6)], False),
            (version.version, [], False),
            ("*", [(0, 5)], True),
            ("*", [(0, 4)], False),
            ("*", [(0, 6)], False),
            ("*", [], False),
        ):
            session = self.session()
            self.desk.carry_out(
                OpenFile("a.txt", b"", True, have, asked), session, "owner", "127.0.0.1", "10.0.0.9"
            )
            self.finish()
            self.assertEqual(" resumed=yes" in self.said(session), taken)
            # Without a name she counts for where she comes from.
            self.assertEqual(self.offerers[1].asked.pop(), ("@10.0.0.9", have if taken else []))

    def test_path(self) -> None:
        """An offer to a proven address says so; and it counts for who asked, by her name if she has one."""
        session = self.session(name="Bob")
        self.offerers[1].path = b"p" * 8
        self.ask(session)
        self.finish()
        self.assertTrue(self.said(session).endswith(f" tcp=yes path={'70' * 8}>a.txt\n"))
        self.assertEqual(self.offerers[1].asked, [("=bob", [])])

    def test_prove(self) -> None:
        """A path is given at the port at the address that the client reached; and nothing, when there are too many."""
        session = self.session()
        self.desk.carry_out(ProvePath(), session, "owner", "127.0.0.1")
        self.assertTrue(self.said(session).startswith("<path port=2 transfer=7070707070707070 "))
        self.desk.carry_out(ProvePath(), session, "owner", "192.168.7.7")
        self.assertTrue(self.said(session).startswith("<path host=10.0.0.1 port=1 "))
        self.offerers[1].refuse = True
        self.successResultOf(self.desk.carry_out(ProvePath(), session, "owner", "127.0.0.1"))
        self.assertEqual(self.said(session), "")

    def test_without_udp(self) -> None:
        """A daemon without a UDP port offers without one, and gives no paths."""
        self.assertTrue(self.desk.has_udp)
        self.ports[:] = [UdpPort(self.offerers[0], "", None)]
        self.assertFalse(self.desk.has_udp)
        session = self.session()
        self.ask(session, local="::1")
        self.finish()
        said = self.said(session)
        self.assertNotIn("port=", said)
        self.assertNotIn("host=", said)
        self.assertIn(" tcp=yes>", said)
        self.desk.carry_out(ProvePath(), session, "owner", "127.0.0.1")
        self.assertEqual(self.said(session), "")

    def test_transfers(self) -> None:
        """One's own, on all ports, are listed and steered; others' are not there."""
        session = self.session()
        first, second = (Running(bytes([n]) * 8, f"{n}", 9, n, "running", "down") for n in (1, 2))
        self.offerers[0].running["owner"] = [first]
        self.offerers[2].running["owner"] = [second]
        self.offerers[2].running["other"] = [Running(b"x" * 8, "x", 9, 0, "running", "up")]
        self.desk.carry_out(ListTransfers(b" label=1"), session, "owner", "")
        self.assertEqual(
            self.said(session),
            "<transfer label=1 id=0101010101010101 size=9 done=1 state=running direction=down>1\n"
            "<transfer label=1 id=0202020202020202 size=9 done=2 state=running direction=down>2\n"
            "<transfers label=1 count=2>\n",
        )
        for how in ("pause", "continue", "cancel"):
            for which in ("02" * 8, "0202", "2"):
                self.desk.carry_out(Steer(which, how, b" label=7"), session, "owner", "")
                self.assertTrue(self.said(session).startswith("<done label=7>2 "))
            for which in (b"x".hex() * 8, "x"):
                self.desk.carry_out(Steer(which, how, b""), session, "owner", "")
                self.assertTrue(self.said(session).startswith("<error code=no-such-transfer>"))
        self.assertEqual(
            self.offerers[2].steered,
            [(b"\2" * 8, True)] * 3 + [(b"\2" * 8, False)] * 3 + [(b"\2" * 8, "cancelled")] * 3,
        )

    def test_transfers_of_earlier_connections(self) -> None:
        """Who came back sees what she began on the connection that she lost, until it is over."""
        session = self.session(name="Bob")
        for _ in range(2):
            self.ask(session)
        self.finish()
        self.said(session)
        self.offerers[1].running["owner"] = [Running(b"x" * 8, "x", 9, 0, "running", "up")]
        for finished, count in ((0, 1), (1, 0)):
            self.offerers[1].finished[finished](Done() if finished else Failed("cancelled", "No."))
            self.desk.carry_out(ListTransfers(b""), session, "new owner", "")
            self.assertIn(f"<transfers count={count}>", self.said(session))

    def test_attach(self) -> None:
        """A stream finds its transfer at any port."""
        self.offerers[2].stream = b"s" * 8
        self.assertIs(self.desk.attach(Stream(b"s" * 8, bytes(16), b"")), self.offerers[2])
        error = self.assertRaises(TransferError, self.desk.attach, Stream(b"t" * 8, bytes(16), b""))
        self.assertEqual(error.code, "no-such-transfer")
        self.offerers[0].refuse = True
        error = self.assertRaises(TransferError, self.desk.attach, Stream(b"s" * 8, bytes(16), b""))
        self.assertEqual(error.code, "busy")

    def test_other_addresses(self) -> None:
        """Without a port at that address a port for all addresses serves, and else the first, with its host."""
        session = self.session()
        self.ask(session, local="::1")
        self.finish()
        said = self.said(session)
        self.assertIn(" port=3 ", said)
        self.assertNotIn("host=", said)
        self.ask(session, local="192.168.7.7")
        self.finish()
        self.assertIn(" host=10.0.0.1 port=1 ", self.said(session))

    def test_refused(self) -> None:
        """A port that takes no more offers is an error, and the file is closed."""
        self.offerers[1].refuse = True
        session = self.session()
        self.ask(session)
        self.finish()
        self.assertEqual(self.said(session), "<error code=busy label=1>Later.\n")

    def test_no_such_file(self) -> None:
        """What the shelf refuses is an error."""
        session = self.session()
        self.ask(session, "../a.txt")
        self.finish()
        self.assertTrue(self.said(session).startswith("<error code=no-such-file label=1>"))

    def test_gone_meanwhile(self) -> None:
        """A connection that ended while its file was opened gets nothing, and the file is closed."""
        session = self.session()
        done = self.ask(session)
        session.closing = True
        self.finish()
        self.successResultOf(done)
        self.assertEqual(self.offerers[1].files, [])

    def test_left(self) -> None:
        """The offers of a connection that is gone are withdrawn at every port."""
        self.desk.left("owner")
        self.assertEqual([offerer.withdrawn for offerer in self.offerers], [["owner"]] * 3)

    def test_skipped_files_are_logged_once(self) -> None:
        """What is on the shelf and is not offered is told to whoever runs the daemon."""
        (self.root / "link").symlink_to("a.txt")
        logged: list[str] = []
        self.patch(
            self.desk, "_log", SimpleNamespace(warn=lambda form, **keys: logged.append(form.format(**keys)))
        )
        for _ in range(2):
            self.desk.carry_out(ListFiles(b""), self.session(), "owner", "")
            self.finish()
            self.clock.advance(LISTING_AGE)
        self.assertEqual(len(logged), 1)
        self.assertIn("link", logged[0])
