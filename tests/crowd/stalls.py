"""A thousand people at saturation, and a watchdog that has nothing to say."""

from __future__ import annotations

from .people import Crowd, Person
from .places import MIB, Place, Seen, status


def stalls(place: Place, people: int = 1000, senders: int = 50, seconds: float = 20.0) -> list[Seen]:
    """The load of sat1000: 50 of 1,000 talk, two messages each under way."""
    with place.serve() as daemon, Crowd(daemon.port, place.tell) as crowd:
        talkers = [Person(crowd, f"t{n}", window=2, text=b"x" * 64) for n in range(senders)]
        readers = [Person(crowd, f"r{n}", keeps=n == 0) for n in range(people - senders)]
        everybody = [*talkers, *readers]
        before = status(daemon)
        crowd.gather(everybody)
        crowd.talking = True
        for talker in talkers:
            talker.talk()
        crowd.run(seconds)
        crowd.talking = False

        def total() -> int:
            return sum(talker.said for talker in talkers)

        crowd.until(
            lambda: all(person.heard + person.said >= total() for person in everybody), "the rest", 60
        )
        crowd.run(0.3)
        rate = sum(person.heard for person in everybody) / seconds
        place.tell(f"{rate:,.0f} deliveries/s, {daemon.memory() / MIB:.0f} MiB")
        right = sum(person.heard + person.said == total() and not person.disordered for person in everybody)
        after = status(daemon)
        complete = Seen(
            f"{total():,} messages", f"{right} of {people} have all, in order", "all", right == people
        )
        if before is None or after is None or "stalls" not in after:
            return [
                Seen("stalls", "not measured: the daemon has no <status> with stalls=", "0", None),
                complete,
            ]
        count = after["stalls"] - before.get("stalls", 0)
        longest = f", the longest of {after.get('longest')} ms" if count else ""
        return [Seen("stalls", f"{count}{longest}", "0", count == 0, timed=True), complete]
