"""``make chaos``: see `tests.chaos`."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from .daemon import PROGRAMS
from .storm import Outcome, Plan, Storm

MESSAGES_A_KILL = 400

FAULTS_TOLD = 20


def parse(arguments: Sequence[str]) -> Plan:
    """The plan that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Kill the daemon again and again while 80 people talk, join rooms and leave them, and their "
        "connections break; check that nothing was lost, came twice, out of order or to whom it was not for, and "
        "that no verdict was untrue.",
    )
    parser.add_argument("--kills", type=int, default=50, help="how often the daemon is killed (50)")
    parser.add_argument("--messages", type=int, help=f"at least so many are sent ({MESSAGES_A_KILL} a kill)")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="messages a second (%(default)g)")
    parser.add_argument("--seed", type=int, help="where the random numbers begin")
    parser.add_argument(
        "--break", dest="break_", default="", choices=(*filter(None, PROGRAMS), "deliver-twice"),
        help="do something wrong on purpose, which has to be found: accept before the commit, show what is said in a "
        "room to who has left it, forget at a kill who is in a room, or let two clients forget how far they have read",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    messages = MESSAGES_A_KILL * given.kills if given.messages is None else given.messages
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    return Plan(given.kills, messages, given.rate, seed, given.break_)


def report(plan: Plan, outcome: Outcome) -> str:
    """What people are told at the end."""
    tally, faults = outcome.tally, outcome.faults
    kinds = Counter(fault.kind for fault in faults)
    lines = [
        f"{tally['messages']:,} messages in the journal: {tally['private']:,} private, "
        f"{tally['in rooms']:,} in rooms, {tally['to everybody']:,} to everybody; "
        f"{tally['posted by bystanders']:,} posted by bystanders",
        f"{tally['EDIT']:,} of them edits, {tally['RETRACT']:,} retractions, {tally['REACT']:,} reactions",
        f"{tally['joins']:,} joins and {tally['leaves']:,} leaves in the journal, "
        f"{tally['answers to join'] + tally['answers to leave']:,} answered; "
        f"{tally['answers to mute']:,} mutes, {tally['answers to ignore']:,} ignores",
        f"{tally['Shown']:,} times a message was shown",
        "verdicts: "
        + ", ".join(
            f"{tally[word]:,} {word}" for word in ("delivered", "read", "sent", "handed", "undelivered")
        )
        + f"; {tally['Receipt']:,} counts",
        f"{tally['kills']} kills of the daemon, {tally['dropped connections']:,} connections dropped, "
        f"{tally['killed clients']:,} clients killed",
        f"{tally['resumed']:,} resumes; {tally['dropped as shown already']:,} re-sent messages dropped by clients",
        f"{tally['accepted']:,} posts accepted, {tally['refused']:,} refused "
        "(too late: somebody had left, it was taken back, or it was to be changed for who ignores its sender), "
        f"{tally['postponed']:,} for the moment, "
        f"{tally['in doubt']:,} in doubt",
        f"{outcome.seconds:.0f} s, seed {plan.seed}",
        "",
    ]
    for fault in faults[:FAULTS_TOLD]:
        lines.append(f"  {fault}")
    if len(faults) > FAULTS_TOLD:
        lines.append(f"  and {len(faults) - FAULTS_TOLD:,} more")
    told = ", ".join(
        f"{kinds[kind]:,} {kind}" for kind in ("lost", "twice", "out of order", "untrue", "leaked")
    )
    others = sum(kinds[kind] for kind in ("open", "broken"))
    lines.append(f"{'FAULTS' if faults else 'All is well'}: {told}, {others:,} others")
    return "\n".join(lines)


async def storm(reactor: Any, plan: Plan) -> Outcome:
    """Run it in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="pychat-chaos-", ignore_cleanup_errors=True) as folder:
        return await Storm(reactor, Path(folder), plan, _say).run()


def main(arguments: Sequence[str]) -> int:
    """Run it; return the exit status: 0 only if it came to its end and all is well."""
    plan = parse(arguments)
    outcomes: list[Outcome] = []
    _say(f"seed {plan.seed}: {plan.kills} kills, {plan.messages:,} messages")
    try:
        react(lambda reactor: Deferred.fromCoroutine(storm(reactor, plan)).addCallback(outcomes.append))
    except SystemExit:
        pass
    if not outcomes:
        _say("The storm was stopped before its end.")
        return 2
    _say(report(plan, outcomes[0]))
    return 1 if outcomes[0].faults else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
