"""Two hundred people at once, each in a thread of its own, at a daemon that runs as everybody runs it."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from pychat import crowd
from tests.system.programs import Talker, serve

CROWD = 200


def test_two_hundred_clients_in_two_hundred_threads(tmp_path: Path) -> None:
    """Everybody joins, says one thing to all and one to a neighbour, and hears everybody once, in one order."""
    all_joined, all_done = threading.Barrier(CROWD, timeout=60), threading.Barrier(CROWD, timeout=60)

    def live(number: int) -> tuple[list[str], str]:
        """One person's evening: the ids of what was said to all, in its order, and the private line."""
        with Talker(daemon.port, f"n{number}") as talker:
            all_joined.wait()
            talker.say(f"<set_msg_all>{number} to all")
            talker.say(f"<set_msg>n{(number + 1) % CROWD} {number} to you")
            public, private, answers = [], "", 0
            while len(public) < CROWD or not private or answers < 2:
                line = talker.hears("<(msg|accepted) ", 60)
                answers += line.startswith("<accepted ")
                if match := re.match(r"<accepted id=(\d+)>all$", line):
                    public.append(match[1])
                elif match := re.match(r"<msg id=(\d+) from=n(\d+) to=all>(\d+) to all$", line):
                    assert match[2] == match[3]
                    public.append(match[1])
                elif line.startswith("<msg "):
                    assert not private
                    private = line
            all_done.wait()
            return public, private

    with serve(tmp_path) as daemon, ThreadPoolExecutor(CROWD) as pool:
        lives = list(pool.map(live, range(CROWD)))
    order = lives[0][0]
    assert len(set(order)) == CROWD
    assert order == sorted(order, key=int)
    for number, (public, private) in enumerate(lives):
        before = (number - 1) % CROWD
        assert public == order
        assert re.match(rf"<msg id=\d+ from=n{before}>{before} to you$", private)


def test_a_crowd_is_told_in_numbers(tmp_path: Path) -> None:
    """The first hundred who come are told by name, those after them in numbers; and all of them are listed."""
    count = crowd.CROWD + 5
    with serve(tmp_path) as daemon, ExitStack() as stack:
        first = stack.enter_context(Talker(daemon.port, "first"))
        for number in range(count):
            stack.enter_context(Talker(daemon.port, f"n{number:03}"))
        names, counted, here = [], 0, ""
        while len(names) + counted < count:
            match = re.match(r"<(joined|people)(?: joined=(\d+))?>(.*)", first.hears("<(joined|people)"))
            assert match
            if match[1] == "joined":
                names.append(match[3])
            else:
                counted, here = counted + int(match[2]), match[3]
        assert names == [f"n{number:03}" for number in range(crowd.CROWD)]
        assert (counted, here) == (5, str(count + 1))
        first.say("<get_users>")
        assert first.hears("<users") == f"<users count={count + 1}>"
