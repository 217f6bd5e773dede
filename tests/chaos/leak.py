"""``twistd`` with rooms that whoever left them goes on to hear: it has to be caught by the checker.

python -m tests.chaos.leak -n pychat --state DIR
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.scripts.twistd import run

from pychat.gathering import Gathering
from pychat.peer import Peer
from pychat.rooms import Room

if TYPE_CHECKING:
    from pychat.peer import Person


def spoil() -> None:
    """Let every chat of this process tell former members what is said in a room, until their connections end."""
    leave = Gathering._left

    def left(self: Gathering, room: Room, person: Person, peer: Peer, id: int) -> None:
        heard = peer in room.audience
        leave(self, room, person, peer, id)
        if heard:
            room.audience.add(peer)

    Gathering._left = left  # type: ignore[method-assign]


if __name__ == "__main__":
    spoil()
    run()
