"""Some of the readers stop reading while everybody talks."""

from __future__ import annotations

import math
from collections import Counter
from time import monotonic

from .people import Crowd, Person
from .places import MIB, Place, Seen, takes

CAPS = "ack,resume"
WARM_UP = 2.0
CLOSE_LIMIT = 5.0
"""Seconds that the daemon gives a connection it ends."""


def slow_readers(
    place: Place,
    people: int = 1000,
    stopped: int = 100,
    senders: int = 50,
    seconds: float = 10.0,
    size: int = 64,
) -> list[Seen]:
    """Let some stop, and measure the rate of the others before and meanwhile; the stopped ones come back for the rest.

    :param size: bytes of a text.
    """
    limited = takes("--memory-limit")
    options = ("--memory-limit", f"{place.memory_limit}M") if limited else ()
    with place.serve(*options) as daemon, Crowd(daemon.port, place.tell) as crowd:
        slow = [Person(crowd, f"s{n}", CAPS, keeps=True, thin=True) for n in range(stopped)]
        talkers = [Person(crowd, f"t{n}", window=2, text=b"x" * size, keeps=n == 0) for n in range(senders)]
        readers = [Person(crowd, f"r{n}", keeps=n == 0) for n in range(people - stopped - senders)]
        asker = Person(crowd, "asker")
        others, everybody = [*talkers, *readers], [*slow, *talkers, *readers, asker]
        crowd.gather(everybody)
        place.tell(f"{len(everybody)} people are here, {daemon.memory() / MIB:.0f} MiB")
        crowd.talking = True
        for talker in talkers:
            talker.talk()
        crowd.run(WARM_UP)
        base = peak = daemon.memory()

        def look() -> None:
            nonlocal peak
            peak = max(peak, daemon.memory())

        crowd.every(0.2, look)

        def rate(seconds: float, heard: int) -> float:
            return (sum(person.heard for person in others) - heard) / seconds

        began, heard = monotonic(), sum(person.heard for person in others)
        crowd.run(seconds)
        before = rate(monotonic() - began, heard)
        place.tell(f"{before:,.0f} deliveries/s to the others before, {daemon.memory() / MIB:.0f} MiB")

        # They stop.  One of them reads nothing until her connection is gone, the others as soon as they are ended.
        stopped_at, heard = monotonic(), sum(person.heard for person in others)
        ended_at: dict[Person, float] = {}
        gone_at: dict[Person, float] = {}
        for person in slow:
            person.stop_reading()
            person.on_end = lambda person=person: gone_at.setdefault(person, monotonic())  # type: ignore[misc]
        last = slow[-1]

        def ask() -> None:
            waiting = [person for person in slow if person not in ended_at]
            asker.say(b"".join(b"<whois>%s\n" % person.name.encode() for person in waiting))

        def all_ended() -> bool:
            for person in slow:
                if person not in ended_at and asker.states.get(person.name) == "away":
                    ended_at[person] = monotonic()
                    if person is last:
                        crowd.later(CLOSE_LIMIT + 1, person.read_on)
                    else:
                        person.read_on()
            return len(ended_at) == len(slow)

        stop = crowd.every(0.5, ask)
        crowd.until(lambda: all_ended() or bool(ended_at), "the first of them to be ended", 20 * seconds + 60)
        while_stopped, first = rate(monotonic() - stopped_at, heard), monotonic() - stopped_at
        crowd.until(all_ended, "the stopped ones to be ended", 20 * seconds + 60)
        crowd.run(max(0.0, seconds - (monotonic() - stopped_at)))
        stop()
        during = rate(monotonic() - stopped_at, heard)
        place.tell(
            f"{while_stopped:,.0f} deliveries/s to the others until the first was ended after {first:.1f} s, "
            f"{during:,.0f} until all were, after {monotonic() - stopped_at:.1f} s"
        )
        crowd.until(lambda: len(gone_at) == len(slow), "the connections of the stopped ones to be closed")
        # A goodbye that has not been taken five seconds later is not waited for: on a busy machine some miss it.  Who
        # owes acks for 4 MiB before 2 MiB wait for her, for the kernels hold the rest, is told so instead.
        enough = math.ceil(0.9 * (stopped - 1))
        codes = Counter(code for person in slow if person is not last for code in person.goodbyes)

        # They come back, while everybody talks on for some time.
        back_at = monotonic()

        def fall_silent() -> None:
            crowd.talking = False
            place.tell("nobody talks any more; what is under way arrives")

        crowd.later(seconds, fall_silent)
        for person in slow:
            person.on_end = None
        crowd.gather(slow)
        took = monotonic() - back_at
        place.tell(f"all are back after {took:.1f} s, {daemon.memory() / MIB:.0f} MiB")
        crowd.until(lambda: not crowd.talking, "silence", seconds + 10)

        def total() -> int:
            return sum(talker.said for talker in talkers)

        crowd.until(
            lambda: (
                total() > 0
                and all(person.heard + person.said >= total() for person in others)
                and all(len(person.ids) + person.again >= total() for person in slow)
            ),
            "everything to arrive",
            max(30.0, 6 * seconds),
        )
        crowd.run(0.5)
        reference = readers[0].ids
        whole = sum(person.ids == reference for person in slow)
        counted = sum(person.heard + person.said == total() and not person.disordered for person in others)
        again = sum(person.again for person in slow)
        disordered = sum(person.disordered for person in everybody)
        grown = (peak - base) / MIB
        limit = place.memory_limit
        kept = during / before
        told = ", ".join(f"{count} {code}" for code, count in sorted(codes.items())) or "none"
        return [
            Seen(
                "rate of the others",
                f"{kept:.0%} of before ({before:,.0f} to {during:,.0f} deliveries/s)",
                "more than 90 %",
                kept > 0.9,
                timed=True,
            ),
            Seen(
                "the daemon's memory",
                f"{peak / MIB:.0f} MiB at most, {grown:+.0f} while they talked"
                + ("" if limited else "; there is no --memory-limit yet"),
                f"at most +{limit} MiB (--memory-limit)",
                grown <= limit,
            ),
            Seen(
                f"goodbyes to {stopped - 1} who read on",
                told,
                f"too-slow or no-acks, to {enough} at least",
                {*codes} <= {"too-slow", "no-acks"} and sum(codes.values()) >= enough,
            ),
            Seen(
                "the one that never read",
                f"was closed {'' if last.goodbyes else 'without a goodbye that she could read'}".strip(),
                "closed",
                last in gone_at,
            ),
            Seen("back and told everything", f"{whole} of {stopped}, {took:.1f} s", "all", whole == stopped),
            Seen(
                f"{total():,} messages to {len(others)} others",
                f"{counted} have all, in order",
                "all",
                counted == len(others),
            ),
            Seen("twice, and out of order", f"{again}, {disordered}", "0, 0", not again and not disordered),
            Seen("errors", str(dict(crowd.errors)), "{}", not crowd.errors),
        ]
