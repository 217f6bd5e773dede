"""Thousands of clients in one loop: they come, talk, acknowledge, count what they hear, and come back.

A chunk of many lines is looked at as a whole, for nothing else is fast enough: its messages are counted, and the ids of
the first and the last of them have to be in order.  Somebody who *keeps* also notes every id that she hears.
"""

from __future__ import annotations

import heapq
import itertools
import re
import resource
import selectors
import socket
import struct
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic

CHUNK = 1 << 18
"""Bytes that are received at once."""

COMING = 200
"""People who may be on their way in at once."""

THIN_BUFFER, THIN_SEGMENT = 1 << 16, 1400
"""Bytes of the receive buffer of a *thin* connection, and of its segments: the daemon's kernel takes little for it."""

MSG, ACCEPTED = b"<msg id=", b"<accepted "

_IDS = re.compile(rb"^<(?:msg|accepted)(?: label=[^ >]+)? id=(\d+)", re.MULTILINE)
_OWN = re.compile(rb"^<accepted(?: label=[^ >]+)? id=(\d+)[^>]*>(.*)$", re.MULTILINE)
_NEWS = re.compile(rb"^<(connected|replayed|resync|goodbye|error|whois)\b([^>]*)>(.*)$", re.MULTILINE)
_RESET = struct.pack("ii", 1, 0)


class Crowd:
    """All connections of this process to one port, and what is to be done at which time."""

    def __init__(self, port: int, tell: Callable[[str], None] = print) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.port = port
        self.tell = tell
        self.selector = selectors.DefaultSelector()
        self.errors: Counter[str] = Counter()
        """Errors that the daemon answered, by their codes."""
        self.talking = False
        """Those with a window keep it full."""
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._people: list[Person] = []

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *error: object) -> None:
        for person in self._people:
            person.close()
        self.selector.close()

    def add(self, person: Person) -> None:
        """Close her connection at the end."""
        self._people.append(person)

    def discard(self, person: Person) -> None:
        """She has left for good."""
        self._people.remove(person)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something in so many seconds."""
        heapq.heappush(self._due, (monotonic() + seconds, next(self._numbers), what))

    def every(self, seconds: float, what: Callable[[], None]) -> Callable[[], None]:
        """Do something now and again and again, at an even pace; return what ends that."""
        going = True
        due = monotonic()

        def again() -> None:
            nonlocal due
            if going:
                what()
                # After a stall it does not make up for what it could not do.
                due = max(due + seconds, monotonic() - 0.1)
                heapq.heappush(self._due, (due, next(self._numbers), again))

        def stop() -> None:
            nonlocal going
            going = False

        again()
        return stop

    def turn(self, most: float = 0.05) -> None:
        """Do what is due, and hear whoever has something to say."""
        now = monotonic()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        wait = min(most, self._due[0][0] - now) if self._due else most
        for key, mask in self.selector.select(max(0.0, wait)):
            key.data(mask)

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0:
            self.turn(min(0.05, left))

    def until(self, look: Callable[[], bool], what: str, seconds: float = 60) -> float:
        """Go on until it is so; return the seconds that it took.

        :raise AssertionError: it took too long.
        """
        began = told = monotonic()
        while not look():
            now = monotonic()
            assert now < began + seconds, f"{what}: not within {seconds:g} s"
            if now > told + 5:
                told = now
                self.tell(f"  waiting for {what}, {now - began:.0f} s")
            self.turn()
        return monotonic() - began

    def gather(self, people: Iterable[Person], seconds: float = 120) -> float:
        """Let them all come, not too many at once; return the seconds that it took."""
        waiting = deque(people)
        coming: set[Person] = set()
        count = len(waiting)

        def all_here() -> bool:
            coming.difference_update([person for person in coming if person.live])
            while waiting and len(coming) < COMING:
                person = waiting.popleft()
                coming.add(person)
                person.come()
            return not coming

        return self.until(all_here, f"{count} people", seconds)


class Person:
    """One client, over all her connections.

    :param caps: what she says in ``<hello caps=…>``; empty: a plain line.
    :param window: messages to all that she has under way while the crowd is talking.
    :param keeps: she notes the ids of all that she hears, and of what she says.
    """

    def __init__(
        self,
        crowd: Crowd,
        name: str,
        caps: str = "",
        *,
        window: int = 0,
        text: bytes = b"",
        keeps: bool = False,
        thin: bool = False,
    ) -> None:
        self.name = name
        self.live = False
        """She has joined, and has been told all that she missed."""
        self.over = True
        """She has no connection."""
        self.heard = self.said = 0
        """Messages of others that she heard, and of her own that were accepted."""
        self.again = self.disordered = 0
        """Messages that came once more, and that came behind a later one."""
        self.ids = array("Q")
        self.own: list[tuple[int, str]] = []
        """What she said, with ``keeps``: the ids, and to whom."""
        self.after = 0
        """The newest that she heard or said."""
        self.token = b""
        self.goodbyes: list[str] = []
        self.states: dict[str, str] = {}
        """What she asked by ``<whois>``."""
        self.tries = 0
        """How often she has connected."""
        self.live_at = 0.0
        """When she was told the last of what she missed; monotonic."""
        self.on_chunk: Callable[[bytes], None] | None = None
        self.on_end: Callable[[], None] | None = None
        """Called when the daemon ended the connection."""
        self._crowd = crowd
        self._caps = caps
        self._acks = "ack" in caps.split(",")
        self._resumes = "resume" in caps.split(",")
        self._keeps = keeps
        self._thin = thin
        self._window, self._text = window, text
        self._socket: socket.socket | None = None
        self._rest = self._out = b""
        crowd.add(self)

    # -- the connection

    def come(self) -> None:
        """Connect, and join or come back."""
        assert self.over
        self._socket = made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._thin:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, THIN_BUFFER)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, THIN_SEGMENT)
        self.over = self.live = False
        self.tries += 1
        self._rest = b""
        opening = b"<hello caps=%s>\n" % self._caps.encode() if self._caps else b""
        back = b" resume=%s after=%d" % (self.token, self.after) if self.token else b""
        self._out = opening + b"<connect%s>%s\n" % (back, self.name.encode())
        made.connect_ex(("127.0.0.1", self._crowd.port))
        self._crowd.selector.register(made, selectors.EVENT_WRITE, self._connected)

    def _connected(self, mask: int) -> None:
        assert self._socket is not None
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._lost()
            return
        self._crowd.selector.modify(self._socket, selectors.EVENT_READ, self._ready)
        self._send(b"")

    def stop_reading(self) -> None:
        """Leave what comes where it is."""
        assert self._socket is not None
        self._crowd.selector.unregister(self._socket)

    def read_on(self) -> None:
        """Take what has come meanwhile."""
        assert self._socket is not None
        self._crowd.selector.register(self._socket, selectors.EVENT_READ, self._ready)

    def cut(self) -> None:
        """End the connection by a reset."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            # Who has stopped reading is not registered.
            if self._socket in self._crowd.selector.get_map():
                self._crowd.selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
        self.over, self.live, self._out = True, False, b""

    def _lost(self) -> None:
        self.close()
        if self.on_end is not None:
            self.on_end()

    # -- what she says

    def say(self, lines: bytes) -> None:
        """Send whole lines."""
        if self.over:
            return
        if self._out:
            self._out += lines
        else:
            self._send(lines)

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        data = self._out + data
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(data)  # it is over, and reading tells
        waited, self._out = bool(self._out), data[sent:]
        if bool(self._out) != waited or self._out:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
            self._crowd.selector.modify(self._socket, events, self._ready)

    def talk(self, count: int = 0) -> None:
        """Say so much to everybody, or what the window holds."""
        line = b"<set_msg_all>%s\n" % self._text
        self.say(line * (count or self._window))

    # -- what she hears

    def _ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE and self._out:
            self._send(b"")
        if mask & selectors.EVENT_READ:
            self._hear()

    def _hear(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        if self._rest:
            data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest, data = data[end:], data[:end]
        if not data:
            return
        if not self.live or b"<goodbye" in data or b"<error" in data or b"<whois" in data:
            for news in _NEWS.finditer(data):
                self._told(news[1], news[2], news[3])
        said = data.count(ACCEPTED)
        self.said += said
        last = self._count(data)
        if said and self._window and self._crowd.talking:
            self.talk(said)
        if last and self._acks:
            self.say(b"<ack>%s\n" % last)
        if self.on_chunk is not None:
            self.on_chunk(data)

    def _count(self, data: bytes) -> bytes:
        """Count the messages of a chunk; return the id of the last one."""
        place = data.rfind(MSG) + len(MSG)
        last = data[place : data.index(b" ", place)] if place >= len(MSG) else b""
        if self._keeps:
            ids = [*map(int, _IDS.findall(data))]
            if ids:
                self._note(ids)
                if ACCEPTED in data:
                    self.own += [(int(id), to.decode()) for id, to in _OWN.findall(data)]
        elif last:
            place = data.index(MSG) + len(MSG)
            first = int(data[place : data.index(b" ", place)])
            self.disordered += first <= self.after or int(last) < first
            self.after = int(last)
        self.heard += data.count(MSG)
        return last

    def _note(self, ids: Sequence[int]) -> None:
        after = self.after
        known = None
        for id in ids:
            if id <= after:
                known = {*self.ids} if known is None else known
                if id in known:
                    self.again += 1
                else:
                    self.disordered += 1
                continue
            after = id
            self.ids.append(id)
        self.after = after

    def _told(self, verb: bytes, attributes: bytes, text: bytes) -> None:
        values = dict(re.findall(rb" ([a-z]+)=([^ ]+)", attributes))
        if verb == b"connected":
            came_back = bool(self.token)
            if self._resumes:
                self.token = values.get(b"resume", self.token)
                self.say(b"<pong>\n")
            self.live = not came_back
            self.live_at = monotonic()
        elif verb == b"replayed":
            self.live = True
            self.live_at = monotonic()
        elif verb == b"goodbye":
            self.goodbyes.append(values[b"code"].decode())
        elif verb == b"whois":
            self.states[text.decode()] = values[b"state"].decode()
        elif verb == b"error" and values.get(b"code") == b"busy" and not self.live:
            self._crowd.later(0.3, self._join_again)
        else:
            self._crowd.errors[(values.get(b"code") or verb).decode()] += 1

    def _join_again(self) -> None:
        if not self.live:
            self.say(b"<connect resume=%s after=%d>%s\n" % (self.token, self.after, self.name.encode()))
