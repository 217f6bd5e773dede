"""``pychat chat`` for somebody who types: she stays in the chat whatever becomes of the connection.

Messages go through the outbox of a `member`: what is typed without a connection is shown as pending, and sent when
there is one again, also by the next run of the program.  Other commands need a connection (`dispatch`).  Who types has
read what stood on the screen before: the highest message shown is said to be read, in one line for each chunk of bytes
typed.  Not so by asking what is unread.

Who leaves does so for good.  A terminal that goes away is like a connection that breaks: she can come back.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout

from ..errors import PychatError, RemoteProtocolError
from ..grammar import Line, parse
from .answers import LinkError, Refused
from .connection import Client
from .dispatch import Dispatch
from .editing import Editor
from .farewell import forget
from .files import FileStore, StoreError, state_file, state_folder
from .keyboard import Keyboard, is_there
from .lookup import Lookup
from .member import Member
from .observer import Linked
from .program import FAILED, OK, Signals
from .render import show_answer, visible
from .report import Report
from .store import MemoryStore
from .visit import Invitation, Visit, login_name
from .wording import FOR_GOOD, left_over, messages, whole

UNREAD = b"<unread>"
"""Who types just this has not read by that what it asks for."""

LAST_ANSWERS = 2.0
"""Seconds that Ctrl-C waits for the answers to messages that are under way."""

LAST_LINES = 2.0
"""Seconds that who leaves waits for the terminal to take what came; what it does not take was not seen."""


class Talk(Visit):
    """A visit at a terminal."""

    def __init__(self, reactor: Any, invitation: Invitation, stdout: Any, stderr: Any) -> None:
        super().__init__(reactor, invitation, stdout, stderr)
        self._store: MemoryStore = MemoryStore()
        self._member: Member | None = None
        self._fresh = invitation.fresh
        self._keyboard: Keyboard | None = None
        self._hung_up = False  # the terminal is gone
        self._coming: Member | None = None  # until it is in
        self._outside = False  # the name was refused: who types can choose another one
        self._report = Report(
            self.screen, self._downloads, self._came, self._went, self._offered, self._refused
        )
        self._lookup = Lookup(
            self.screen.line, self._refused, self._bug, lambda line: self._unanswered(whole(line)), joins=True
        )
        self._dispatch = Dispatch(
            self.screen, self._report, self._downloads, self._lookup, self._refused, self._unanswered
        )
        self._read = self._said_read = 0  # the highest id that was read, and that was told to be

    @property
    def _client(self) -> Client | None:
        return self._member.client if self._member is not None else None

    # -- from the beginning to the end

    async def run(self, signals: Signals, stdin: Any) -> int:
        try:
            return await self._run(signals, stdin)
        finally:
            if self._keyboard is not None:
                self._keyboard.leave()

    async def _run(self, signals: Signals, stdin: Any) -> int:
        name = self._invitation.name
        name = login_name() if name is None else name
        try:
            if name:
                await self._enter(name)
            else:
                self._outside = True
                self.screen.note(
                    "* Nobody knows your name here. Type <connect>your-name to join, or say --name."
                )
            self._listen(stdin, self._editor(stdin, signals))
            await self._over
            self._hung_up = self._typed_all and not is_there(stdin)
            if self._hung_up:
                await self._downloads.give_up()
            elif self._typed_all:
                await self._all_answered()
            await self._downloaded()
        except CancelledError:
            self._hung_up = self._hung_up or signals.hung_up
            self.screen.fresh()  # ^C is there
            cut_off = bool(self._downloads)
            await self._downloads.give_up()
            if self._member is None and not self._outside:
                raise  # there was no connection yet
            await self._last_answers()
            well = await self._go()
            return signals.status if cut_off else OK if well else FAILED
        try:
            well = await self._go()
        except CancelledError:
            if not signals.hung_up:
                raise
            self._hung_up = True
            well = await self._go()  # the input ended for the same reason
        return OK if well else FAILED

    async def _enter(self, name: str) -> None:
        """Join under a name.

        :raise LinkError: there is no connection, and never was one.
        """
        self._store = self._report.store = await self._open_store(name)
        where = self._invitation
        member = Member(
            self._reactor, where.host, where.port, name, self._store, self._report, shown=self.screen.flushed
        )
        self._coming = member
        self._report.had_identity = self._store.token is not None
        try:
            await self._patiently(member.start())
        except Refused as error:
            self._tell_unsent()
            self._go_outside(error)
        except LinkError:
            self._store.close()
            raise
        except CancelledError:
            if (await member.ended()).code == "bye":
                self._member = member
            else:
                self._store.close()
            raise
        else:
            self._outside = False
            self._member = member
        finally:
            self._coming = None

    def _go_outside(self, error: PychatError) -> None:
        self._refused(error)
        self._outside = True
        self._member = None
        self._store.close()

    async def _open_store(self, name: str) -> MemoryStore:
        where = self._invitation
        try:
            path = state_file(state_folder(), where.host, where.port, name)
            store = FileStore(
                path,
                where.host,
                where.port,
                name,
                lambda sentence: self.screen.note(f"* {visible(sentence)}"),
            )
        except RemoteProtocolError:
            return MemoryStore()  # the daemon says what is wrong with the name
        except StoreError as error:
            self.screen.note(f"* {visible(error.sentence)} Nothing is kept this time.")
            return MemoryStore()
        if self._fresh:
            try:
                dropped = await forget(self._reactor, where.host, where.port, name, store)
            except BaseException:
                store.close()
                if store.token is not None:
                    self.screen.note(
                        "* Nothing is forgotten yet: the chat has to be told, so that your name is free."
                    )
                raise
            self._fresh = False
            if dropped:
                self.screen.note(f"* {messages(dropped)} not sent, and dropped.")
        return store

    async def _all_answered(self) -> None:
        """Wait for the answers to all that was typed, as far as they can be had."""
        if self._client is not None and self._member is not None:
            await self._member.settled()
            await self._answered()

    async def _last_answers(self) -> None:
        if self._client is not None and self._member is not None:
            try:
                await self._member.settled().addTimeout(LAST_ANSWERS, self._reactor)
            except DeferredTimeout:
                pass

    async def _downloaded(self) -> None:
        """Wait for the downloads that run."""
        count = len(self._downloads)
        if count:
            self.screen.note(f"* Waiting for {count} download{'s' if count > 1 else ''}. Ctrl-C gives up.")
            await self._downloads.idle()

    async def _go(self) -> bool:
        """Leave for good, or keep what could not be said for the next time; whether all is well."""
        member = self._member
        if member is None:
            return True
        await self._all_seen()
        why = await (member.suspend() if member.pending or self._hung_up else member.leave())
        if member.goodbye is not None and not self._report.heard_goodbye:
            self.screen.line(show_answer(member.goodbye))
        left = self._tell_unsent()
        if why.code == "bye" and self._lookup.in_rooms:
            self.screen.note(f"* {FOR_GOOD}")
        if why.code == "closed" and not left and not self._broken and not self._hung_up:
            self.screen.note(
                "* There was no connection to say goodbye on. Your name is kept for you for a while."
            )
        if why.code != "bye":
            await self._all_seen()
        self._store.close()
        return (why.code == "bye" or self._hung_up) and not left

    async def _all_seen(self) -> None:
        """Wait until what came is on the screen: only that is acknowledged, and not told again by the next run."""
        try:
            await self.screen.flushed().addTimeout(LAST_LINES, self._reactor)
        except DeferredTimeout:
            pass

    def _tell_unsent(self) -> bool:
        """Whether something stays unsent."""
        posts = self._store.posts.values()
        kept = isinstance(self._store, FileStore) and self._store.works
        if not self._broken:
            for sentence in left_over([post.sent for post in posts], kept=kept):
                self.screen.note(f"* {sentence}")
        return bool(posts)

    def _output_broken(self) -> None:
        """Nobody sees what comes: it waits for the next run."""
        super()._output_broken()
        member = self._member or self._coming
        if member is not None:
            member.suspend()
        self._done()

    # -- lines out

    def _editor(self, stdin: Any, signals: Signals) -> Editor | None:
        """What makes lines of keys, where we get them; elsewhere the terminal does."""
        keyboard = Keyboard(stdin, self.screen.stop, lambda: self._reactor.callFromThread(self.screen.go_on))
        if not (self.screen.can_echo and keyboard.take()):
            return None
        self._keyboard = signals.keyboard = keyboard
        self.screen.echo(True)
        self._dispatch.keys = keys = Editor()

        def clears() -> bool:
            if self._over.called or not keys.clear():
                return False
            self._reactor.callFromThread(lambda: self.screen.draft(*keys.halves))
            return True

        signals.clears = clears
        return keys

    async def _typed(self, lines: list[bytes | None]) -> None:
        says = True
        for entry in lines:
            if says and entry != UNREAD:
                says = False
                self._say_read()
            await super()._typed([entry] if entry is None else self._dispatch.lines(entry))

    def _unanswered(self, raw: bytes) -> None:
        if not self._over.called:  # who leaves does not ask again
            self._report.unanswered(raw)

    def _say_read(self) -> None:
        """Who types has read what stood on the screen."""
        client, unread = self._client, self._report.unread
        unread.limit = self._store.after  # a terminal may be behind
        self._read = max(self._read, unread.take() or 0)
        if client is not None and "resume" in client.caps and self._read > self._said_read:
            self._said_read = self._read
            try:
                client.read(self._read)
            except LinkError:
                pass  # the next connection says it

    async def _line(self, raw: bytes) -> None:
        try:
            line = parse(raw)
        except RemoteProtocolError:
            line = Line(b"", {}, raw)
        member = self._member
        if member is None:
            await self._line_outside(line, raw)
            return
        if line.verb == b"disconnect" and b"\n" not in raw:
            await self._all_answered()
            self._done()
        elif self._dispatch.send(member, line, raw) and member.client is not None:
            await member.client.room()

    async def _line_outside(self, line: Line, raw: bytes) -> None:
        """A line of somebody who is not in the chat, for her name was refused."""
        if line.verb == b"disconnect":
            self._done()
        elif line.verb != b"connect" or not line.text.strip():
            self._dispatch.not_sent(raw, "You are not in the chat. Type <connect>your-name to join.")
        else:
            try:
                await self._enter(line.text.decode(errors="replace").strip(" "))
            except PychatError as error:
                self.screen.note(f"* {visible(error.sentence)}")

    # -- what the member tells

    def _came(self, link: Linked) -> None:
        self._said_read = 0  # the connection may have broken before it arrived
        if not link.resumed or link.rewound:
            self._read = 0
        if not link.resumed:
            self._lookup.in_rooms = False
        elif link.count == 1:
            self._lookup.in_rooms = True  # perhaps: whoever she was knows
        member = self._member or self._coming
        if member is not None and member.client is not None:
            self._downloads.linked(member.client)
            if self._full:
                member.client.pauseProducing()

    def _went(self, why: PychatError) -> None:
        if self._member is None:
            return  # it never began
        if isinstance(why, Refused):
            self._tell_unsent()
            self._go_outside(why)
            return
        if why.code not in ("bye", "closed") and not self._broken:
            self.screen.note(f"* {visible(why.sentence)}")
        self._done()

    def _offered(self, line: Line) -> None:
        if self._client is not None:
            self._downloads.offered(line, self._client)
