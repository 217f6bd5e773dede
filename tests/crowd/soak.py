"""A quarter of an hour of comings and goings, and what the daemon holds before, in the middle and behind it."""

from __future__ import annotations

import contextlib
import random
import statistics
from collections import Counter
from time import monotonic

from ..system.programs import PYCHAT, Daemon, Program, run
from ..system.test_downloads import MB, make
from .people import Crowd, Person
from .places import MIB, Held, Place, Seen, holds

ROOMS = [f"#room{n}" for n in range(20)]
MANNERS = ("", "", "ack", "ack,resume", "ack,resume", "ack,resume,multiline")

BENIGN = {
    "not-in-room",
    "no-such-user",
    "to-yourself",
    "no-such-room",
    "busy",
    "no-such-message",
    "away",
}
"""What is answered to who speaks to somebody that has just left, and the like."""

GROWTH = 0.05
"""The share by which it may be larger, or smaller, at the end than in the third minute."""

POOL = 10
"""Threads that the reactor's pool may have; they stay."""


class Soak:
    """People who come, talk, move and leave at random."""

    def __init__(self, place: Place, crowd: Crowd, address: str, people: int, seed: int) -> None:
        self._place = place
        self._crowd = crowd
        self._address = address
        self._people = people
        self._chance = random.Random(seed)
        self._number = 0
        self.here: list[Person] = []
        self.tally: Counter[str] = Counter()
        self.faults: list[str] = []
        self._fetching: Program | None = None
        self._stops = [
            crowd.every(1 / 50, self._talk),
            crowd.every(1 / 4, self._move),
            crowd.every(1 / 2, self._leave),
            crowd.every(1 / 2, self._drop),
            crowd.every(1 / 2, self._look_back),
            crowd.every(0.05, self._come),
            crowd.every(0.5, self._fetch),
        ]

    def _anybody(self) -> Person | None:
        live = [person for person in self.here if person.live]
        return self._chance.choice(live) if live else None

    def _come(self) -> None:
        if len(self.here) < self._people:
            self._number += 1
            caps = self._chance.choice(MANNERS)
            person = Person(self._crowd, f"n{self._number}", caps)
            person.on_end = lambda: self._ended(person)
            person.come()
            person.say(b"<join>%s\n" % self._chance.choice(ROOMS).encode())
            self.here.append(person)
            self.tally["joined"] += 1

    def _ended(self, person: Person) -> None:
        if person.goodbyes != ["bye"]:
            self.faults.append(f"{person.name} was ended: {person.goodbyes}")
        self._forget(person)

    def _forget(self, person: Person) -> None:
        self._crowd.discard(person)
        if person in self.here:
            self.here.remove(person)

    def _talk(self) -> None:
        person = self._anybody()
        if person is None:
            return
        self.tally["messages"] += 1
        kind = self._chance.random()
        if kind < 0.1:
            person.say(b"<set_msg_all>hello everybody\n")
        elif kind < 0.6:
            person.say(b"<set_msg>%s hello there\n" % self._chance.choice(ROOMS).encode())
        else:
            person.say(b"<set_msg>%s hello you\n" % self._chance.choice(self.here).name.encode())

    def _move(self) -> None:
        person = self._anybody()
        if person is not None:
            self.tally["moves between rooms"] += 1
            verb = self._chance.choice(("join", "join", "leave"))
            person.say(f"<{verb}>{self._chance.choice(ROOMS)}\n".encode())

    def _look_back(self) -> None:
        person = self._anybody()
        if person is not None:
            self.tally["questions"] += 1
            room = self._chance.choice(ROOMS)
            asks = (
                f"<history limit=50>{room}",
                "<search>everybody",
                "<get_users>",
                "<get_rooms>",
                "<unread>",
            )
            person.say(self._chance.choice(asks).encode() + b"\n")

    def _leave(self) -> None:
        person = self._anybody()
        if person is not None and len(self.here) > self._people * 0.9:
            self.tally["left"] += 1
            person.say(b"<disconnect>\n")
            self.here.remove(person)

    def _drop(self) -> None:
        person = self._anybody()
        if person is None:
            return
        self.tally["dropped"] += 1
        person.cut()
        if person.token:
            self._crowd.later(self._chance.uniform(0.0, 5.0), person.come)
        else:
            self._forget(person)

    def _fetch(self) -> None:
        program = self._fetching
        if program is not None:
            if program.running:
                return
            if program.status():
                self.faults.append(f"a download failed: {program.err.strip()[-200:]}")
            program.__exit__(None, None, None)
            self.tally["downloads"] += 1
        command = (*PYCHAT, "get", self._address, "file", "-o", "got", "--force")
        self._fetching = Program(*command, cwd=self._place.folder)

    def end(self) -> None:
        """Everybody leaves."""
        for stop in self._stops:
            stop()
        if self._fetching is not None:
            self._fetching.status(60)
            self._fetching.__exit__(None, None, None)
        # Who is on her way back is awaited: her identity ends only by a goodbye.
        self._crowd.until(lambda: all(person.live for person in self.here), "the last to be here")
        for person in self.here:
            person.say(b"<disconnect>\n")
        self._crowd.until(lambda: not self.here, "all to leave")


def soak(
    place: Place, minutes: float = 15.0, people: int = 200, megabytes: int = 20, seed: int = 1
) -> list[Seen]:
    """A fifth of the time is for getting warm: minute 3 of 15; its memory is what that of the end is held against."""
    make(place.folder / "files" / "file", megabytes * MB)
    with place.serve() as daemon, Crowd(daemon.port, place.tell) as crowd:
        # What is made when it is first needed is no leak.
        run(*PYCHAT, "get", daemon.address, "file", "-o", "first", cwd=place.folder)
        first = Person(crowd, "first", "ack,resume")
        crowd.gather([first])
        first.say(
            b"<join>#room0\n<set_msg>#room0 hello\n<history>#room0\n<search>hello\n<unread>\n<leave>#room0\n"
        )
        crowd.run(1.0)
        first.say(b"<disconnect>\n")
        crowd.run(1.0)
        start = holds(daemon)
        crowd_goes_on = Soak(place, crowd, daemon.address, people, seed)
        began = monotonic()
        seconds = minutes * 60
        memory: list[tuple[float, int]] = []
        crowd.every(min(1.0, seconds / 60), lambda: memory.append((monotonic() - began, daemon.memory())))

        def tell() -> None:
            share = min(1.0, memory[-1][0] / seconds) if memory else 0.0
            counted = ", ".join(f"{count:,} {what}" for what, count in crowd_goes_on.tally.items())
            place.tell(f"{share:.0%}: {daemon.memory() / MIB:.1f} MiB; {counted}")

        stop = crowd.every(max(5.0, seconds / 30), tell)
        crowd.run(seconds)
        stop()
        part = seconds / 15
        minute3 = statistics.median(held for at, held in memory if 2 * part <= at < 3 * part)
        end = statistics.median(held for at, held in memory if 14 * part <= at)
        crowd_goes_on.end()
        tell()
        behind = settle(crowd, daemon, start)
        grown = end / minute3 - 1
        errors = {code: count for code, count in crowd.errors.items() if code not in BENIGN}
        faults = crowd_goes_on.faults
    return [
        Seen(
            "memory",
            f"{minute3 / MIB:.1f} MiB in minute 3 of 15, {end / MIB:.1f} at the end: {grown:+.1%}",
            "within 5 %",
            abs(grown) <= GROWTH,
            timed=True,
        ),
        Seen(
            "file descriptors",
            f"{start.descriptors} before, {behind.descriptors} behind",
            "as before",
            behind.descriptors <= start.descriptors,
        ),
        Seen(
            "threads",
            f"{start.threads} before, {behind.threads} behind",
            f"at most {POOL} more: pools make theirs on demand",
            behind.threads <= start.threads + POOL,
        ),
        timers(start.timers, behind.timers),
        Seen(
            "faults",
            f"{len(faults)} {faults[:3]}, errors {errors}",
            "0 [], errors {}",
            not faults and not errors,
        ),
    ]


def settle(crowd: Crowd, daemon: Daemon, start: Held) -> Held:
    """Wait until it holds no more than at the start; what it still holds after half a minute it does not let go."""
    held = start

    def settled() -> bool:
        nonlocal held
        # Its numbers are a second old at most, and who asked for them has left by then.
        crowd.run(1.5)
        held = holds(daemon)
        return held.descriptors <= start.descriptors and (held.timers or 0) <= (start.timers or 0)

    with contextlib.suppress(AssertionError):
        crowd.until(settled, "what it held at the start", 30)
    return held


def timers(before: int | None, behind: int | None) -> Seen:
    """The delayed calls of the reactor."""
    if before is None or behind is None:
        return Seen(
            "timers (delayed calls)", "not measured: the daemon does not tell them", "as before", None
        )
    return Seen("timers (delayed calls)", f"{before} before, {behind} behind", "as before", behind <= before)
