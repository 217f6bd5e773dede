"""The storm: a real daemon that is killed and started, and people whose connections and programs end at random.

Everything is drawn from one seed; when what happens depends on the machine all the same.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from pychat.vocabulary import Kind
from tests.guards import LoggedFailures

from .bystanders import Bystander
from .checker import check
from .daemon import PROGRAMS, Daemon
from .evidence import read_journal, read_log
from .faults import BROKEN, Fault
from .history import Cast, History, Verdict, Wrong
from .people import Person

OPEN_ROOMS = ("#open0", "#open1")
"""Rooms in which those who cannot come back are, too."""

ROOMS = (*OPEN_ROOMS, "#a", "#b", "#c", "#d", "#e", "#f")

ROOMS_AT_FIRST = 3
"""So many everybody is in when it begins."""

TICK = 0.05
"""Seconds between two looks at what is due."""

DROPS, DEATHS, GOODBYES, HOLDS, READS = 6.0, 0.5, 0.3, 1.0, 5.0
"""Connections of people that break, programs of people that are killed, bystanders who say goodbye, people who stop
acknowledging, and people who say that they have read it all, per second."""

TURNS, VISITS, MUTES, IGNORES, REACTIONS, FLAPS = 20.0, 0.5, 2.0, 0.5, 5.0, 2.0
"""People who join a room or leave it, bystanders who do, people who mute a room or hear it again, people who ignore
somebody or no more, people who react to something, and people who leave a room in which others are just talking, before
their connection breaks, and the next one, too, per second."""

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
    """One of :data:`~tests.chaos.daemon.PROGRAMS`, or ``deliver-twice``: something is wrong on purpose."""


@dataclass
class Outcome:
    """What came of it."""

    tally: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0


class Storm:
    """One run."""

    def __init__(self, reactor: Any, folder: Path, plan: Plan, say: Callable[[str], object]) -> None:
        """:param say: is told how far it is."""
        self._reactor = reactor
        self._plan = plan
        self._say = say
        self._chance = random.Random(plan.seed)
        self._tally: Counter[str] = Counter()
        self._daemon = Daemon(reactor, folder, PROGRAMS.get(plan.break_, PROGRAMS[""]))
        senders = [f"s{number:02}" for number in range(40)]
        receivers = [f"r{number:02}" for number in range(40)]
        self.history = History(
            Cast(frozenset(senders + receivers), frozenset(("ack0", "ack1")), frozenset(("nc0", "nc1")))
        )
        self._people = [self._person(folder, name) for name in senders + receivers]
        self._senders = self._people[: len(senders)]
        # Few have settings: of all others it is certain what they have to be shown.
        self._muting = self._people[-8:]
        self._ignoring = self._people[-12:-8]
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
        self._tally["messages"] = len(journal.posts)
        for post in journal.posts.values():
            self._tally["private" if post.person else "in rooms" if post.room else "to everybody"] += 1
            self._tally[Kind(post.kind).name] += 1
        for move in journal.moves:
            self._tally["joins" if move.joins else "leaves"] += 1
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
        for person in self._people:
            for room in self._chance.sample(ROOMS, ROOMS_AT_FIRST):
                person.wishes.want("join", room)
        while any(person.wishes.unrest for person in self._people):
            await deferLater(self._reactor, TICK)
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
        self._move()
        while self._holds and self._holds[0][0] <= now:
            self._holds.pop(0)[1].hold(False)
        if chance.random() < TICK:
            speaker = chance.choice(self._bystanders)
            to = OPEN_ROOMS[0] if chance.random() < 0.3 else self._addressee(speaker.name)
            self._tally["posted by bystanders"] += speaker.post(to, 10)

    def _move(self) -> None:
        """People join and leave rooms, do not want to hear something, and react to something."""
        for person in self._some(TURNS, self._people):
            person.turn(self._chance.choice(ROOMS))
        for person in self._some(FLAPS, self._people):
            self._flap(person)
        for bystander in self._some(VISITS, self._bystanders):
            bystander.turn(self._chance.choice(OPEN_ROOMS))
        for person in self._some(MUTES, self._muting):
            person.mute()
        for person in self._some(IGNORES, self._ignoring):
            person.ignore(self._chance.choice(self._senders).name)
        for person in self._some(REACTIONS, self._people):
            self._tally["posted"] += person.react()

    def _flap(self, person: Person) -> None:
        """Somebody leaves a room in which others talk, and loses her connection before she has heard all of it."""
        room = self._chance.choice(sorted(person.wishes.sure) or ROOMS)
        others = [sender for sender in self._senders if sender is not person and room in sender.wishes.sure]
        for sender in others[:2]:
            sender.post(room, 0)
            self._tally["posted"] += 1
        person.turn(room)
        person.flap(self._chance.choice((0, 1, 1, 2)))

    def _some(self, rate: float, candidates: list[Any]) -> list[Any]:
        """Whom it hits in this tick, if it hits so many a second."""
        return [self._chance.choice(candidates)] if self._chance.random() < rate * TICK else []

    def _talk(self) -> None:
        """One sender says a few things at once."""
        chance = self._chance
        sender = chance.choice(self._senders)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            self._utter(sender)
            self._tally["posted"] += 1
            self._due -= 1

    def _utter(self, sender: Person) -> None:
        chance = self._chance
        padding, what = chance.choice((0, 10, 60, 300)), chance.random()
        if (
            (what < 0.10 and sender.edit(padding))
            or (0.10 <= what < 0.13 and sender.retract())
            or (0.13 <= what < 0.16 and sender.react())
            or (0.16 <= what < 0.44 and sender.post_in_room(padding))
        ):
            return
        sender.post(self._addressee(sender.name), padding)

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
