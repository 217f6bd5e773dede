"""Thousands are cut off at once, and come back within seconds."""

from __future__ import annotations

import random
from collections import defaultdict
from time import monotonic

from .people import Crowd, Person
from .places import MIB, Place, Seen

CAPS = "ack,resume"


def storm(
    place: Place,
    people: int = 5000,
    within: float = 5.0,
    limit: float = 20.0,
    rate: float = 2.0,
    seed: int = 1,
) -> list[Seen]:
    """Cut them off by a reset; two people talk on meanwhile, to everybody and to each of them.

    :param within: seconds in which they try to come back.
    :param limit: seconds after which all have to be back, with all that was said.
    :param rate: messages a second to everybody.
    """
    chance = random.Random(seed)
    with place.serve() as daemon, Crowd(daemon.port, place.tell) as crowd:
        cut = [Person(crowd, f"c{n}", CAPS, keeps=True) for n in range(people)]
        herald = Person(crowd, "herald", keeps=True)
        postman = Person(crowd, "postman", keeps=True)
        took = crowd.gather([herald, postman, *cut], 240)
        place.tell(f"{people} people came in {took:.1f} s, {daemon.memory() / MIB:.0f} MiB")
        said = 0

        def talk() -> None:
            nonlocal said
            said += 1
            herald.say(b"<set_msg_all>to everybody\n")

        stop = crowd.every(1 / rate, talk)
        crowd.run(2.0)

        cut_at = monotonic()
        broken = 0

        def try_again(person: Person) -> None:
            nonlocal broken
            broken += 1
            crowd.later(chance.uniform(0.1, 1.0), person.come)

        for person in cut:
            person.cut()
            person.on_end = lambda person=person: try_again(person)  # type: ignore[misc]
            crowd.later(chance.uniform(0.0, within), person.come)
        # In private to each of them, at random: most are away, some are back.
        names = [person.name.encode() for person in cut]
        chance.shuffle(names)
        lot = max(1, round(people / within / 20))

        def write() -> None:
            some = names[-lot:]
            del names[-lot:]
            postman.say(b"".join(b"<set_msg>%s for you\n" % name for name in some))

        stop_writing = crowd.every(0.05, write)
        crowd.until(lambda: all(person.live for person in cut), "all to be back", 6 * limit)
        back = max(person.live_at for person in cut) - cut_at
        place.tell(f"all are back after {back:.1f} s, {daemon.memory() / MIB:.0f} MiB")
        crowd.until(lambda: not names, "the last letters")
        stop_writing()
        stop()

        def arrived() -> bool:
            # What was said and is not accepted yet is still to come to everybody.
            accepted = len(herald.own) == said and len(postman.own) == people
            return accepted and all(len(person.ids) >= said + 1 for person in cut)

        late = ""
        try:
            crowd.until(arrived, "everything to arrive", 2 * limit)
        except AssertionError as error:
            late = f"; {error}"
        crowd.run(0.5)
        public = {id for id, _ in herald.own}
        letters: dict[str, set[int]] = defaultdict(set)
        for id, to in postman.own:
            letters[to].add(id)
        lost = more = 0
        for person in cut:
            heard, owed = {*person.ids}, public | letters[person.name]
            lost += len(owed - heard)
            more += len(heard - owed)
        again = sum(person.again for person in cut)
        disordered = sum(person.disordered for person in cut)
        resumed = sum(person.live for person in cut)
        return [
            Seen(
                "back, and resumed",
                f"{resumed}; {broken} connections broke meanwhile",
                f"{people}",
                resumed == people,
            ),
            Seen(
                "the last of them after", f"{back:.1f} s", f"at most {limit:g} s", back <= limit, timed=True
            ),
            Seen(
                f"{len(public)} messages to each, and one in private",
                f"{lost} lost, {again} twice, {disordered} out of order, {more} of others" + late,
                "0, 0, 0, 0",
                not (lost or again or disordered or more or late),
            ),
            Seen("errors", str(dict(crowd.errors)), "{}", not crowd.errors),
        ]
