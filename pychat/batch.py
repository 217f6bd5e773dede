"""One batch on its way from the journal into the mailboxes.

What is said to everybody or in a room is rendered once for each manner (:mod:`pychat.rendering`), and all connections
that hear the same places in the same manner share one buffer.  Only those who take part in the batch themselves, as
senders or as recipients of private lines, or are not owed a line of it, get a buffer of their own, cut out of the same
lines.  What stands before the first of these lines goes into the mailboxes at once, and the rest of it behind that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from .grammar import isolate
from .mailbox import Parcel
from .peer import Peer, Post, Run, send_all
from .rendering import FULL, LF, MULTI, PLAIN, about, render, stamp, text_of

if TYPE_CHECKING:
    from .peer import Person
    from .rooms import Audience, Member


class Batch:
    """One batch on its way into the mailboxes."""

    def __init__(self, time_ms: int) -> None:
        self._time = stamp(time_ms)
        self._size = self._late_size = 0
        self._sized = 0  # so many of what was said are in that
        # What was said to groups, in order; below, a place is an index into these.
        self._ids: list[int] = []
        self._said: list[tuple[tuple[int, ...], Post]] = []
        self._places: dict[Audience, list[int]] = {}
        self._last: Audience | None = None
        self._last_places: list[int] = []
        self._not: dict[Peer, set[int]] = {}
        self._rendered: list[list[bytes] | None] = [None, None, None]
        self._buffers: list[tuple[bytes, memoryview, list[int]] | None] = [None, None, None]
        # For those who get a buffer of their own: (places before it, places it replaces, line, id or 0)
        self._own: dict[Peer, list[tuple[int, int, bytes, int]]] = {}
        # For those who catch up: (places before it, line, id, sender)
        self._late: dict[Peer, list[tuple[int, bytes, int, Person]]] = {}

    # -- what is in it

    @property
    def size(self) -> int:
        """Bytes of text in it, for who sets it aside."""
        said = self._said
        if self._sized < len(said):
            some = [post for _, post in said[self._sized :]]
            self._size += sum([post.size if type(post) is Run else len(post.text) for post in some])
            self._sized = len(said)
        return self._size + self._late_size

    def broadcast(
        self, ids: tuple[int, ...], post: Post, audience: Audience, answer: bytes, but: Collection[Peer] = ()
    ) -> None:
        """Something that is said to a group.

        :param ids: one; or, of a run, one for each of its texts.
        :param answer: what its sender is told in its place.
        :param but: connections of the audience that are not to get it.
        """
        place, many = len(self._ids), len(ids)
        self._said.append((ids, post))
        if audience is not self._last:
            self._last = audience
            self._last_places = self._places.setdefault(audience, [])
        number = place
        for id in ids:
            self._ids.append(id)
            self._last_places.append(number)
            number += 1
        sender = post.sender
        event = (place, many, answer + sender.settle(many), 0)
        own = self._own.get(sender)
        if own is None:
            self._own[sender] = [event]
        else:
            own.append(event)
        for peer in but:
            self._not.setdefault(peer, set()).update(range(place, place + many))

    def private(self, recipient: Peer, id: int, post: Post) -> None:
        """A private message to somebody who is here."""
        line = self._private(recipient, id, post)
        if self._ids:
            self._own.setdefault(recipient, []).append((len(self._ids), 0, line, id))
        else:
            recipient.send_one(line, id)

    def late(self, recipient: Peer, id: int, post: Post) -> None:
        """A private message to somebody who has yet to be told what she missed."""
        self._late_size += len(post.text)
        self._late.setdefault(recipient, []).append(
            (len(self._ids), self._private(recipient, id, post), id, post.person)
        )

    def own(self, sender: Peer, answer: bytes) -> None:
        """What a sender is told."""
        answer += sender.settle()
        if self._ids:
            self._own.setdefault(sender, []).append((len(self._ids), 0, answer, 0))
        elif answer:
            sender.tell(answer)

    # -- as lines

    def _private(self, recipient: Peer, id: int, post: Post) -> bytes:
        assert post.to is not None
        manner = recipient.manner
        text = post.text
        if manner == PLAIN and not post.kind and not post.ref and LF not in text:
            shown = text if text.isascii() else isolate(text)
            return b"<msg id=%d from=%s>%s\n" % (id, post.person.label, shown)
        return self._render(id, post, b" to=" + post.to.label if manner else b"", manner)

    def _render(self, id: int, post: Post, to: bytes, manner: int) -> bytes:
        head = b"<msg id=%d from=%s%s%s" % (id, post.person.label, to, about(post.kind, post.ref))
        tail = b" time=" + self._time if manner else b""
        return render(head, text_of(post.kind, post.text), tail, manner)

    def _lines(self, manner: int) -> list[bytes]:
        """What is said to groups, as lines."""
        lines = self._rendered[manner]
        if lines is not None:
            return lines
        if manner == MULTI and not any(not isinstance(p, Run) and LF in p.text for _, p in self._said):
            lines = self._lines(FULL)
        else:
            lines = []
            for ids, post in self._said:
                if type(post) is Run:
                    self._run(ids, post, manner, lines)
                    continue
                id = ids[0]
                to = post.to.label if post.to is not None else b"all"
                text = post.text
                if post.kind or post.ref or LF in text:
                    lines.append(self._render(id, post, b" to=" + to, manner))
                elif manner == PLAIN:
                    lines.append(
                        b"<msg id=%d from=%s to=%s>%s\n" % (id, post.person.label, to, isolate(text))
                    )
                else:
                    lines.append(
                        b"<msg id=%d from=%s to=%s time=%s>%s\n"
                        % (id, post.person.label, to, self._time, text)
                    )
        self._rendered[manner] = lines
        return lines

    def _run(self, ids: tuple[int, ...], run: Run, manner: int, lines: list[bytes]) -> None:
        head = b" from=%s to=all" % run.person.label
        if manner != PLAIN:
            head += b" time=" + self._time
        for place, text in enumerate(run.texts):
            lines.append(b"<msg id=%d%s>%s\n" % (ids[place], head, text))

    def _joined(self, manner: int) -> tuple[bytes, memoryview, list[int]]:
        """What is said to groups, as one buffer, the same to be cut, and where each line begins in it."""
        joined = self._buffers[manner]
        if joined is None:
            lines = self._lines(manner)
            data = b"".join(lines)
            end = 0
            starts = [end]
            for line in lines:
                end += len(line)
                starts.append(end)
            joined = self._buffers[manner] = data, memoryview(data), starts
        return joined

    # -- on its way

    def deliver(self, dirty: list[Peer]) -> None:
        """Put it into the mailboxes of all who are here, senders first.

        :param dirty: takes the connections that got something.
        """
        groups = [*self._places.items()]
        alone = groups[0][0] if len(groups) == 1 else None
        hearing: dict[Peer, list[int]] = {}
        if alone is None:
            for number, (audience, _) in enumerate(groups):
                for members in audience.manners:
                    for peer in members:
                        if peer in hearing:
                            hearing[peer].append(number)
                        else:
                            hearing[peer] = [number]
        own, spared = self._own, self._not
        if alone is not None and not spared:
            # Mostly.
            manners, served = alone.manners, self._ids[-1]
            for peer, events in own.items():
                peer.served = served
                peer.soil()
                if peer in manners[peer.manner]:
                    self._cut_own(peer, events)
                else:
                    self._deliver_own(peer, events, ())
            for manner, members in enumerate(manners):
                if members:
                    self._share(members, range(len(self._ids)), manner, dirty)
            return
        served = self._ids[-1] if self._ids else 0  # nothing is for all then
        for peer in [*own, *(peer for peer in spared if peer not in own)]:
            peer.served = served
            missed = spared.get(peer)
            if alone is not None:
                if not missed and peer in alone:
                    peer.soil()
                    self._cut_own(peer, own[peer])
                    continue
                places: Sequence[int] = range(len(self._ids)) if peer in alone else ()
            else:
                places = _merge([groups[number][1] for number in hearing.get(peer, ())])
            if missed:
                places = [place for place in places if place not in missed]
            if places or peer in own:
                peer.soil()
                self._deliver_own(peer, own.get(peer, []), places)
        if alone is not None:
            for manner, members in enumerate(alone.manners):
                if members:
                    self._share(members, range(len(self._ids)), manner, dirty)
        else:
            together: dict[tuple[int, ...], list[Peer]] = {}
            for peer, numbers in hearing.items():
                together.setdefault((peer.manner, *numbers), []).append(peer)
            for (manner, *numbers), peers in together.items():
                self._share(peers, _merge([groups[number][1] for number in numbers]), manner, dirty)

    def _share(
        self, members: Collection[Peer], places: Sequence[int], manner: int, dirty: list[Peer]
    ) -> None:
        """Give one buffer to all of these who get no buffer of their own."""
        lines, ids = self._lines(manner), self._ids
        if len(places) != len(ids):
            lines, ids = [lines[place] for place in places], [ids[place] for place in places]
            data = b"".join(lines)
        else:
            data, _, _ = self._joined(manner)
        send_all(members, data, ids, lines, dirty, self._ids[-1])

    def _deliver_own(
        self, peer: Peer, events: Sequence[tuple[int, int, bytes, int]], places: Sequence[int]
    ) -> None:
        if not places:
            if len(events) == 1:
                _, _, data, id = events[0]
                if id:
                    peer.send_one(data, id)
                elif data:
                    peer.mailbox.put(data)
                return
            data = b"".join([line for _, _, line, _ in events])
            got = [event for event in events if event[3]]
            if got:
                peer.send(data, [id for _, _, _, id in got], [line for _, _, line, _ in got])
            elif data:
                peer.mailbox.put(data)
            return
        if len(places) == len(self._ids):
            self._cut_own(peer, events)
            return
        all_lines = self._lines(peer.manner)
        lines, ids = [all_lines[place] for place in places], [self._ids[place] for place in places]
        begin = 0
        out: list[bytes] = []
        got_ids: list[int] = []
        got_lines: list[bytes] = []
        for before, replaces, line, id in [*events, (len(self._ids), 0, b"", 0)]:
            end = bisect_left(places, before)
            if begin < end:
                some = lines[begin:end]
                out += some
                got_lines += some
                got_ids += ids[begin:end]
            out.append(line)
            if id:
                got_ids.append(id)
                got_lines.append(line)
            begin = bisect_left(places, before + replaces) if replaces else end
        data = b"".join(out)
        if got_ids:
            peer.send(data, got_ids, got_lines)
        elif data:
            peer.mailbox.put(data)

    def _cut_own(self, peer: Peer, events: Sequence[tuple[int, int, bytes, int]]) -> None:
        """The same for who gets all that was said: slices of the shared buffer around her own lines."""
        _, view, starts = self._joined(peer.manner)
        ids, unacked = self._ids, peer.unacked
        count = len(ids)
        begin = last = nbytes = 0
        out: list[bytes | memoryview] = []
        for before, replaces, line, id in events:
            if begin < before:
                out.append(view[starts[begin] : starts[before]])
                nbytes += starts[before] - starts[begin]
                last = ids[before - 1]
            out.append(line)
            nbytes += len(line)
            if id:
                last = id
            begin = before + replaces
        if begin < count:
            out.append(view[starts[begin] :])
            nbytes += starts[count] - starts[begin]
            last = ids[-1]
        peer.mailbox.put_pieces(out, nbytes, last)
        if unacked is None or not last:
            return
        size = len(view)
        for before, replaces, line, id in events:
            if replaces:
                size -= starts[before + replaces] - starts[before]
                count -= replaces
            elif id:
                size += len(line)
                count += 1
        unacked.sent(Parcel.late(last, count, size, partial(_got, ids, self._lines(peer.manner), events)))

    def deliver_late(self, peer: Peer, after: int, hears: Mapping[Audience, Member | None]) -> int:
        """Deliver what is above an id to somebody who has just caught up to there; return how many messages.

        :param hears: the audiences that she may belong to, each with the stay that says what she is owed there;
            ``None``: everything.
        """
        ids: list[int] = []
        lines: list[bytes] = []
        assert peer.awaiting is not None
        missed = self._not.get(peer, ())
        places = sorted(
            place
            for audience, places in self._places.items()
            if audience in hears
            for place in places
            if place not in missed and _is_owed(hears[audience], self._ids[place], after)
        )
        begin = 0
        for before, line, id, sender in [*self._late.get(peer, ()), (len(self._ids), b"", 0, None)]:
            end = bisect_left(places, before)
            for place in places[begin:end]:
                ids.append(self._ids[place])
                lines.append(self._lines(peer.manner)[place])
            begin = end
            if id > after and sender is not None:
                ids.append(id)
                lines.append(line)
                peer.awaiting.add(id, sender)
        if ids:
            peer.send(b"".join(lines), ids, lines)
        return len(ids)


def _got(
    ids: Sequence[int], lines: Sequence[bytes], events: Sequence[tuple[int, int, bytes, int]]
) -> tuple[list[int], list[bytes]]:
    """Which messages who gets all that was said has with these lines of her own among it; ids, and lines."""
    got_ids: list[int] = []
    got_lines: list[bytes] = []
    begin = 0
    for before, replaces, line, id in [*events, (len(ids), 0, b"", 0)]:
        got_ids += ids[begin:before]
        got_lines += lines[begin:before]
        if id:
            got_ids.append(id)
            got_lines.append(line)
        begin = before + replaces
    return got_ids, got_lines


def _is_owed(stay: Member | None, id: int, after: int) -> bool:
    return id > after and (stay is None or stay.owed(id))


def _merge(places: Sequence[list[int]]) -> Sequence[int]:
    """The places of several groups, in order."""
    if len(places) <= 1:
        return places[0] if places else ()
    return sorted(place for some in places for place in some)
