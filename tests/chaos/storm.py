"""The storm: a real daemon that is killed and started, and people whose connections and programs end at random.

Everything is drawn from one seed; when what happens depends on the machine all the same.
"""

from __future__ import annotations

import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from tests.guards import LoggedFailures
from tests.system.programs import environment

from .bystanders import Bystander
from .checker import BROKEN, Fault, check
from .evidence import read_journal, read_log
from .history import Cast, History, Verdict, Wrong
from .people import Person

ROOT = Path(__file__).parents[2]

TWISTD = ("-c", "from twisted.scripts.twistd import run; run()")
EARLY_ACK = ("-m", "tests.chaos.early_ack")

TICK = 0.05
"""Seconds between two looks at what is due."""

DROPS, DEATHS, GOODBYES, HOLDS, READS = 6.0, 0.5, 0.3, 1.0, 5.0
"""Connections of people that break, programs of people that are killed, bystanders who say goodbye, people who stop
acknowledging, and people who say that they have read it all, per second."""

HOLD_SECONDS = 7.0
"""Longer than the daemon waits for an acknowledgement before it sends again."""

PENDING_LIMIT = 1500
"""Posts without an answer above which nothing more is said for the moment."""

START_SECONDS = 60.0
"""For so long the daemon may take to start or to end, and people to come."""

DRAIN_SECONDS = 60.0
QUIET_SECONDS = 1.5
"""When the storm is over all has to be settled within so long; it is when nothing has happened for so long."""

BROKEN_DRAIN_SECONDS = 5.0
"""The same where something is wrong on purpose: it may never be settled."""


@dataclass(frozen=True)
class Plan:
    """What is to happen."""

    kills: int = 50
    messages: int = 20_000
    rate: float = 140.0
    """Messages a second."""
    seed: int = 0
    break_: str = ""
    """``early-ack`` or ``deliver-twice``: something is wrong on purpose."""


@dataclass
class Outcome:
    """What came of it."""

    tally: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0


class Daemon(ProcessProtocol):
    """``twistd -n pychat`` at a port that stays, over many lives."""

    def __init__(self, reactor: Any, folder: Path, program: tuple[str, ...]) -> None:
        self._reactor = reactor
        self.port = free_port()
        self.state = folder / "state"
        self.log = folder / "log"
        (folder / "files").mkdir()
        self._command = [
            sys.executable, *program, "-n", "--pidfile=", "pychat", "--journal", "sqlite",
            "--listen", f"tcp:{self.port}:interface=127.0.0.1",
            "--files", str(folder / "files"), "--state", str(self.state),
        ]  # fmt: skip
        self._out = open(self.log, "wb")  # noqa: SIM115
        self._heard = b""
        self._up: Deferred[bool] | None = None
        self._over: Deferred[None] | None = None
        # Whoever ends the storm with a signal ends the daemon, too.
        reactor.addSystemEventTrigger("before", "shutdown", self.kill)

    def spawn(self) -> Deferred[bool]:
        """Begin a life; fires with True when people can come, with False if it has ended before."""
        self._heard = b""
        self._up = Deferred()
        self._over = Deferred()
        self._reactor.spawnProcess(self, self._command[0], self._command, env=environment(), path=str(ROOT))
        return self._up

    def kill(self, how: str = "KILL") -> Deferred[None]:
        """End a life, if it has not ended; fires when it has."""
        over = self._over
        if over is None:
            return succeed(None)
        try:
            self.transport.signalProcess(how)
        except Exception as error:
            self._out.write(f"a signal failed: {error}\n".encode())
        return over

    def outReceived(self, data: bytes) -> None:
        self._out.write(data)
        if self._up is not None:
            self._heard += data
            if b"To join" in self._heard:
                self._rise(True)

    def errReceived(self, data: bytes) -> None:
        self._out.write(data)

    def _rise(self, well: bool) -> None:
        up, self._up = self._up, None
        if up is not None:
            up.callback(well)

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        if value.signal != signal.SIGKILL and value.exitCode:
            self._out.write(f"the daemon failed with {value.exitCode}\n".encode())
        self._out.flush()
        over, self._over = self._over, None
        self._rise(False)
        if over is not None:
            over.callback(None)

    def close(self) -> None:
        """It does not live again."""
        self._out.close()


class Storm:
    """One run."""

    def __init__(self, reactor: Any, folder: Path, plan: Plan, say: Callable[[str], object]) -> None:
        """:param say: is told how far it is."""
        self._reactor = reactor
        self._plan = plan
        self._say = say
        self._chance = random.Random(plan.seed)
        self._tally: Counter[str] = Counter()
        self._daemon = Daemon(reactor, folder, EARLY_ACK if plan.break_ == "early-ack" else TWISTD)
        senders = [f"s{number:02}" for number in range(40)]
        receivers = [f"r{number:02}" for number in range(40)]
        self.history = History(
            Cast(frozenset(senders + receivers), frozenset(("ack0", "ack1")), frozenset(("nc0", "nc1")))
        )
        self._people = [self._person(folder, name) for name in senders + receivers]
        self._senders = self._people[: len(senders)]
        self._bystanders = [
            Bystander(
                reactor, self._daemon.port, name, self.history, self._tally,
                acks=name in self.history.cast.acking, chance=self._chance,
            )
            for name in sorted(self.history.cast.bystanders)
        ]  # fmt: skip
        self._holds: list[tuple[float, Person]] = []
        self._began = 0.0
        self._due = 0.0

    def _person(self, folder: Path, name: str) -> Person:
        number = int(name[1:])
        return Person(
            self._reactor, self._daemon.port, name, self.history, self._tally,
            file=folder / f"{name}.chat" if number < 4 else None,
            forgets=self._plan.break_ == "deliver-twice" and number == 7,
            chance=self._chance,
        )  # fmt: skip

    async def run(self) -> Outcome:
        """Let everybody come, let the storm go over them, let it all settle, and look at it."""
        failures = LoggedFailures()
        failures.start()
        faults: list[Fault] = []
        try:
            await self._within(START_SECONDS, self._gather())
            await self._within(self._longest, self._rage())
            faults += await self._drain()
            await self._within(START_SECONDS, self._leave())
        except TimeoutError as error:
            faults.append(Fault(BROKEN, f"the storm did not go on: {error}"))
        finally:
            failures.stop()
            await self._daemon.kill()
            self._daemon.close()
        faults += [Fault(BROKEN, f"was logged here: {each.getTraceback()}") for each in failures.flush()]
        journal, more = read_journal(self._daemon.state, self.history)
        faults += more + read_log(self._daemon.log)
        found = check(self.history, journal)
        for event in self.history.events:
            self._tally[event.word if isinstance(event, Verdict) else type(event).__name__] += 1
        self._tally["messages"] = len(journal)
        self._tally["private"] = sum(post.to is not None for post in journal.values())
        return Outcome(self._tally, faults + found, time.monotonic() - self._began)

    def _within(self, seconds: float, part: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Give a part of the run so long."""
        return Deferred.fromCoroutine(part).addTimeout(seconds, self._reactor)

    @property
    def _longest(self) -> float:
        """Seconds that the storm may take, also on a machine that has much else to do."""
        return 60.0 + 15.0 * self._plan.kills + 4.0 * self._plan.messages / self._plan.rate

    async def _gather(self) -> None:
        self._began = time.monotonic()
        if not await self._daemon.spawn():
            raise RuntimeError(f"the daemon did not start:\n{self._daemon.log.read_text()}")
        for person in self._people:
            await person.start()
        for bystander in self._bystanders:
            bystander.start()
        self._report("everybody is here")

    async def _rage(self) -> None:
        posting = LoopingCall(self._tick)
        reports = LoopingCall(self._report)
        calls = [
            posting.start(TICK).addErrback(self._failed),
            reports.start(5.0, now=False).addErrback(self._failed),
        ]
        try:
            while self._tally["kills"] < self._plan.kills:
                await self._live_and_die()
            while posting.running and self._tally["posted"] < self._plan.messages:
                await deferLater(self._reactor, TICK)
        finally:
            for loop in (posting, reports):
                if loop.running:
                    loop.stop()
        for call in calls:
            await call

    def _failed(self, failure: Failure) -> None:
        self.history.see(Wrong("chaos", f"failed: {failure.getTraceback()}"))

    async def _live_and_die(self) -> None:
        """Kill the daemon at a random moment of its life: mostly soon, now and then late, now and then unborn."""
        kind = self._chance.random()
        life = self._chance.uniform(7.0, 10.0) if kind < 0.06 else self._chance.uniform(0.3, 3.0)
        await deferLater(self._reactor, life)
        await self._daemon.kill()
        self._tally["kills"] += 1
        up = self._daemon.spawn()
        if kind > 0.92 and self._tally["kills"] < self._plan.kills:
            await deferLater(self._reactor, self._chance.uniform(0.0, 0.8))
            await self._daemon.kill()
            self._tally["kills"] += 1
            up = self._daemon.spawn()
        if not await up.addTimeout(START_SECONDS, self._reactor):
            raise RuntimeError(f"the daemon did not start:\n{self._daemon.log.read_text()[-5000:]}")

    # -- what happens while it rages

    def _tick(self) -> None:
        chance, now = self._chance, self._reactor.seconds()
        self._due = min(self._due + self._plan.rate * TICK, 100.0)
        while self._due >= 1 and self._pending < PENDING_LIMIT:
            self._talk()
        for person in self._some(DROPS, self._people):
            self._tally["dropped connections"] += person.drop()
        for person in self._some(DEATHS, [person for person in self._people if person.can_be_killed]):
            self._tally["killed clients"] += 1
            person.kill()
        for bystander in self._some(GOODBYES, self._bystanders):
            bystander.disconnect()
        for person in self._some(HOLDS, self._people):
            person.hold(True)
            self._holds.append((now + HOLD_SECONDS, person))
        for person in self._some(READS, self._people):
            person.read()
        while self._holds and self._holds[0][0] <= now:
            self._holds.pop(0)[1].hold(False)
        if chance.random() < TICK:
            speaker = chance.choice(self._bystanders)
            self._tally["posted by bystanders"] += speaker.post(self._addressee(speaker.name), 10)

    def _some(self, rate: float, candidates: list[Any]) -> list[Any]:
        """Whom it hits in this tick, if it hits so many a second."""
        return [self._chance.choice(candidates)] if self._chance.random() < rate * TICK else []

    def _talk(self) -> None:
        """One sender says a few things at once."""
        chance = self._chance
        sender = chance.choice(self._senders)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            sender.post(self._addressee(sender.name), chance.choice((0, 10, 60, 300)))
            self._tally["posted"] += 1
            self._due -= 1

    def _addressee(self, sender: str) -> str | None:
        chance = self._chance.random()
        if chance < 0.3:
            return None
        if chance < 0.35:
            others: list[Any] = self._bystanders
        else:
            others = self._people
        return self._chance.choice([other.name for other in others if other.name != sender])

    @property
    def _pending(self) -> int:
        """Posts without an answer."""
        return self._tally["posted"] - self._tally["accepted"] - self._tally["refused"]

    # -- and then

    async def _drain(self) -> list[Fault]:
        """Let all that was begun come to its end."""
        self._report("the storm is over")
        for _, person in self._holds:
            person.hold(False)
        patience = BROKEN_DRAIN_SECONDS if self._plan.break_ else DRAIN_SECONDS
        began = changed = self._reactor.seconds()
        count = -1
        while True:
            await deferLater(self._reactor, TICK)
            now = self._reactor.seconds()
            restless = [person.unrest for person in self._people if person.unrest]
            if restless or len(self.history.events) != count:
                count, changed = len(self.history.events), now
            if now - changed >= QUIET_SECONDS:
                return []
            if now - began >= patience:
                return [Fault(BROKEN, f"after {patience:g} s it is not settled: {restless}")]

    async def _leave(self) -> None:
        for bystander in self._bystanders:
            await bystander.end()
        for person in self._people:
            await person.end()
        await self._daemon.kill("TERM")
        self._report("the daemon has ended")

    def _report(self, what: str = "") -> None:
        tally = self._tally
        self._say(
            f"{time.monotonic() - self._began:6.1f} s  {tally['kills']:3} kills  {tally['posted']:6} posted"
            f"  {tally['accepted']:6} accepted  {tally['shown to people']:7} shown"
            f"  {tally['dropped connections']:4} drops  {what}".rstrip()
        )


def free_port() -> int:
    """A port that is free for TCP and UDP and that no client is given by the system.

    A client that connects again and again to a port of that range connects to itself one day, while nobody listens.
    """
    for _ in range(1000):
        port = random.randint(20_000, 32_000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
