"""The promise about rooms, against any order of events: everybody is shown what she may see, in one order, and no more.

A few people gather in rooms, write to each other, take back what they said and ignore one another.  The journal
is slow, connections break, names change hands, and the daemon dies and starts again; everything that was shown, or was
looked up, is held against a log of what was accepted (:mod:`tests.roomsmodel`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from pychat import asking, catchup, reading, taking
from pychat.departures import HOLD
from pychat.journal.sqlite import SqliteJournal
from pychat.vocabulary import Kind
from tests.chatkit import examples
from tests.journal.journalkit import NOON_MS, Reactor
from tests.roomspeople import Client, Life
from tests.roomsworld import PEOPLE, ROOMS, World

WORDS = ("kettle", "milk", "sugar", "milky")


def toss(random: Random) -> bool:
    return random.random() < 0.5


class Gathering(World, RuleBasedStateMachine):
    """People in rooms, connections that break, a journal that takes its time, and a daemon that dies."""

    # -- what happens

    @rule(random=st.randoms(use_true_random=True))
    def step(self, random: Random) -> None:
        """Something happens.  One rule for all, for Hypothesis leaves whole rules out of most runs."""
        often = [self.talk, self.speak_of, self.go_on, self.one_does] * 5
        seldom = [self.commit, self.tick_on, self.answer_reads, self.ahead, self.refuse] + [self.join] * 3
        seldom += [self.crash, self.stop, self.stay_away, self.look]
        random.choice([*often, *seldom])(random)

    def one_does(self, random: Random) -> None:
        """One person does this and that, while some of the others talk."""
        client = self.somebody_here(random)
        often = [self.leave, self.ignore, self.mute, self.read, self.ask, self.return_] * 4 + [self.drop] * 2
        seldom = [self.hear, self.ack, self.replace, self.doubt, self.goodbye, self.topic]
        seldom += [self.slip_out, self.cut_in, self.last_word, self.hush]
        for _ in range(random.randint(1, 5)):
            random.choice([*often, *seldom])(random, client)
            if toss(random):
                random.choice([self.talk, self.commit, self.tick_on, self.go_on, self.answer_reads])(random)

    def someone(self, random: Random) -> Client:
        return random.choice(self.clients)

    # What is said at the wrong moment, which chance alone seldom finds.

    def slip_out(self, random: Random, client: Client) -> None:
        """She leaves a room before she has heard what was said in it, and comes back without having heard it."""
        self.talk(random)
        self.tick()
        self.answer()
        self.leave(random, client)
        self.tick()
        self.answer()
        self.drop(random, client)
        self.come(client)

    def cut_in(self, random: Random, client: Client) -> None:
        """She changes her settings, and the others talk, while she is still told what she missed."""
        if toss(random):
            self.mute(random, client)
            self.tick()
            self.answer()
            client.hear()
        self.drop(random, client)
        self.talk(random)
        self.tick()
        self.answer()
        self.come(client)
        for _ in range(3):
            self.tick()
            for done, ids in self.journal.commit():
                done.callback(ids)
            self.tick()
            client.hear()
            random.choice([self.mute, self.mute, self.ignore, self.leave])(random, client)
            self.talk(random)

    def last_word(self, random: Random, client: Client) -> None:
        """She makes a room, says something in it, and ends."""
        room = f"#den{len(self.dens)}"
        if client.open:
            self.dens.append(room)
            client.command(b"join", room)
            self.tick()
            self.answer()
            client.post(Kind.SAID, room, 0, self.text(random))
            self.goodbye(random, client)

    def hush(self, random: Random, client: Client) -> None:
        """She ignores somebody whose message is under way to her."""
        other = self.somebody_here(random)
        if other.open and client.open and client is not other:
            other.post(Kind.SAID, client.name, 0, self.text(random))
            self.tick()
            client.change(b"ignore", other.name)
            self.tick()
            client.hear()

    def somebody_here(self, random: Random) -> Client:
        return random.choice([client for client in self.clients if client.open] or self.clients)

    def text(self, random: Random) -> bytes:
        self.texts += 1
        words = random.choices(WORDS, k=random.randint(1, 2))
        between = random.choice([" ", " ", " ", "\n"])
        return between.join([*words, f"n{self.texts}"]).encode()

    def talk(self, random: Random) -> None:
        """Some people say something."""
        for _ in range(random.randint(1, 4)):
            self.post(random, self.somebody_here(random))

    def post(self, random: Random, client: Client) -> None:
        life = client.life
        if life is None or (not client.keeps and not client.open):
            return
        others = [name for name in PEOPLE if name != client.name]
        places = [*self.rooms_of(client) * 4, "all", "all", *others, *ROOMS]
        ignoring = [
            other.name for other in self.clients if other.life and other.life.ignoring[client.name].wanted
        ]
        place = random.choice([*places, *ignoring * 2])
        ref = 0
        if random.randint(0, 5) == 0:
            known = [
                id for id in self.known(life) if self.log.in_place(life.identity, place, self.log.entries[id])
            ]
            ref = random.choice(known or [0])
        client.post(Kind.SAID, place, ref, self.text(random))

    def known(self, life: Life) -> list[int]:
        """The messages that somebody can speak of."""
        mine = [said.id for said in life.posts if said.id]
        return [id for id in [*life.shown, *mine] if self.log.entries[id].kind == Kind.SAID]

    def speak_of(self, random: Random) -> None:
        """Some people say something about messages: edits, retractions, and reactions."""
        for client in random.sample(self.clients, 3):
            self.post_about(random, client)

    def post_about(self, random: Random, client: Client) -> None:
        life = client.life
        if life is None or (not client.keeps and not client.open):
            return
        kind = random.choice([Kind.EDIT, Kind.EDIT, Kind.RETRACT, Kind.REACT, Kind.REACT])
        known = self.known(life)
        if kind != Kind.REACT and random.random() < 0.9:
            known = [id for id in known if self.log.entries[id].sender == life.identity]
        if known:
            id = random.choice(known[-6:])
            text = {Kind.EDIT: self.text(random), Kind.RETRACT: b""}.get(kind)
            if text is None:
                text = random.choice(["👍", "tea?", ""]).encode()
            client.post(kind, "", id, text)

    def topic(self, random: Random, client: Client) -> None:
        room = random.choice(ROOMS)
        if client.open:
            self.texts += 1
            client.ask(b"<topic %%s>%s topic %d" % (room.encode(), self.texts), lambda lines: None)

    def hear(self, random: Random, client: Client) -> None:
        client.hear()

    def ack(self, random: Random, client: Client) -> None:
        client.ack()

    def read(self, random: Random, client: Client) -> None:
        client.read(random.choice([None, *ROOMS]))

    def join(self, random: Random) -> None:
        """Who is in no room joins one; perhaps others do."""
        for client in self.clients:
            if client.open and (not self.rooms_of(client) or random.random() < 0.2):
                client.command(b"join", random.choice(ROOMS))

    def leave(self, random: Random, client: Client) -> None:
        if client.up:
            client.command(b"leave", random.choice(self.rooms_of(client) or ROOMS))

    def rooms_of(self, client: Client) -> list[str]:
        life = client.life
        return [room for room in ROOMS if life is not None and self.log.is_in(life.identity, room)]

    def ignore(self, random: Random, client: Client) -> None:
        other = self.someone(random)
        if client.up and client is not other:
            client.change(random.choice([b"ignore", b"ignore", b"unignore"]), other.name)

    def mute(self, random: Random, client: Client) -> None:
        for room in self.rooms_of(client):
            if client.up:
                client.change(random.choice([b"mute", b"unmute"]), room)

    def go_on(self, random: Random) -> None:
        """Some of what is under way arrives, and some people come back."""
        self.tick(random.choice([0.0, 0.02, 0.06]))
        self.answer()
        for client in self.clients:
            if toss(random):
                client.hear()
            if toss(random):
                client.ack()
            if toss(random):
                self.come(client)

    def commit(self, random: Random) -> None:
        """The journal takes what is under way, and answers, in one order or the other."""
        if toss(random):
            self.journal.answer_reads()
        for done, ids in self.journal.commit():
            done.callback(ids)

    def answer_reads(self, random: Random) -> None:
        self.journal.answer_reads()

    def ahead(self, random: Random) -> None:
        """Who reads sees a commit before the daemon has heard of it."""
        answers = self.journal.commit()
        self.journal.answer_reads()
        self.tick(random.choice([0.0, 0.02]))
        for done, ids in answers:
            done.callback(ids)

    def refuse(self, random: Random) -> None:
        self.journal.refuse()

    def tick_on(self, random: Random) -> None:
        self.tick(random.choice([0.0, 0.02, 0.06, 6.0]))

    def drop(self, random: Random, client: Client) -> None:
        """A connection breaks; what was under way to the client is lost."""
        if client.transport is not None:
            transport = client.transport
            client.broken()
            transport.loseConnection()

    def return_(self, random: Random, client: Client) -> None:
        self.come(client)

    def come(self, client: Client) -> None:
        if client.transport is None or client.transport.closed:
            client.broken()
            self.connect(client)

    def replace(self, random: Random, client: Client) -> None:
        """A client comes on another connection while the daemon believes in the old one."""
        if client.life is not None and client.keeps:
            client.broken()
            self.connect(client)

    def doubt(self, random: Random, client: Client) -> None:
        """Post again what was accepted already: its id comes back, and nothing else happens."""
        if client.keeps and client.live and client.life is not None:
            posts = [said for said in client.life.posts if said.id or said.place == "all"]
            if posts:
                client.send(random.choice(posts))

    def goodbye(self, random: Random, client: Client) -> None:
        """Somebody ends her identity, whatever is under way; somebody else may take the name."""
        life, transport = client.life, client.transport
        if life is None or transport is None:
            return
        since, was_over = self.newest, life.over
        client.say(b"<disconnect>")
        client.broken()
        if toss(random):
            transport.loseConnection()
        self.settle()
        if client.name not in {person.key for person in self.hub.roster.listing()}:
            client.life = None
            if not was_over:
                # The line may have waited for the answers to others.
                life.over, life.until = True, (since, self.newest)

    def stay_away(self, random: Random) -> None:
        """Some are away for too long: their identities end."""
        self.settle()
        self.reactor.advance(HOLD + 1)
        away = {person.key for person in self.hub.roster.away}
        self.pump.sweep()
        for client in self.clients:
            if client.name in away and client.life is not None:
                client.life.end(self.newest, self.newest)
        self.settle()

    def stop(self, random: Random) -> None:
        """The daemon ends as it should, and starts again."""
        for client in self.clients:
            if client.life is not None and not client.keeps:
                client.life.end(self.newest, 1 << 62)
        self.factory.end_all("shutdown", "Bye.")
        self.tick(0.06)
        if toss(random):
            self.answer()
            self.tick(0.06)
        for client in self.clients:
            if toss(random):
                client.hear()
        self.crash(random)

    def crash(self, random: Random) -> None:
        """The daemon dies, before or after the journal took what is under way, and starts again."""
        if toss(random):
            self.journal.commit()
        self.journal.under_way, self.journal.asked = [], []
        for client in self.clients:
            client.broken()
        self.pump.stop()
        self.reactor = Reactor()
        self.reopen()
        self.start()

    # -- what is looked up

    def ask(self, random: Random, client: Client) -> None:
        """Somebody looks something up while other things go on."""
        life = client.life
        if life is None or not client.up or client.pending:
            return
        place = random.choice([*self.rooms_of(client) * 2, "all", "all", *ROOMS, *PEOPLE])
        limit = random.randint(1, 5)
        since = self.newest
        without = {name for name, course in life.ignoring.items() if course.now()}
        if toss(random):
            line, searched = b"<history %%s limit=%d>%s" % (limit, place.encode()), False
        else:
            line, searched = b"<search %%s limit=%d in=%s>milk*" % (limit, place.encode()), True
        client.ask(line, lambda lines: self.check_answer(life, place, since, without, lines, searched))

    def look(self, random: Random) -> None:
        """Somebody looks at everything while nothing else goes on."""
        self.settle()
        client = self.someone(random)
        if client.open:
            self.check_people(client)
            self.check_unread(client)
            for place in random.sample([*ROOMS, "all", *PEOPLE], 3):
                self.check_history(client, place, random.randint(1, 7), toss(random))
            where = random.choice([None, None, *ROOMS, "all", *PEOPLE])
            sender = random.choice([None, None, *PEOPLE])
            words = random.choice(["kettle", "milk", "milk*", "milk sugar", '"milk sugar"', "milk kettle"])
            self.check_search(client, words, where, sender, random.randint(1, 5))

    # -- the promise

    def teardown(self) -> None:
        """Everybody comes back, all that is under way arrives, and nothing is missing."""
        for _ in range(3):
            self.settle()
            for client in self.clients:
                self.come(client)
        self.settle()
        for client in self.clients:
            assert client.live, client.name
            assert client.life is not None
            assert all(said.id for said in client.life.posts), "everything has its answer in the end"
            self.check_people(client)
            self.check_unread(client)
            for number, place in enumerate([*ROOMS, "all", *PEOPLE]):
                self.check_history(client, place, 3 + number, bool(number % 2))
            self.check_search(client, "milk*", None, None, 3)
        lives = [life for client in self.clients for life in client.lives]
        for life in lives:
            self.check_shown(life)
        for id in self.log.entries:
            self.check_lawful(id, lives)
        for life, receipt in self.receipts:
            self.check_receipt(life, receipt, lives)


class InMemory(Gathering):
    """With a memory that outlives the daemon."""


class OnDisk(Gathering):
    """With the journal that is meant for it, and real restarts."""

    def open_journal(self) -> SqliteJournal:
        self.folder = tempfile.TemporaryDirectory()
        return SqliteJournal(self.reactor, Path(self.folder.name), NOON_MS)

    def reopen(self) -> None:
        self.close()
        self.journal.inner = SqliteJournal(self.reactor, Path(self.folder.name), NOON_MS)

    def close(self) -> None:
        journal = self.journal.inner
        reactor = journal._writer._reactor
        reactor.wait(journal.close())

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.close()
            self.folder.cleanup()


class Anything(SynchronousTestCase):
    """Whatever happens, and in whatever order."""

    def check(self, machine: type[Gathering], count: int) -> None:
        self.patch(taking, "BATCH_LIMIT", 300)
        self.patch(reading, "PAGE", 3)
        self.patch(catchup, "ASIDE_LIMIT", 300)
        self.patch(asking, "HISTORY_BYTES", 400)
        run_state_machine_as_test(
            machine,
            settings=settings(
                examples(count),
                stateful_step_count=120,
                phases=[Phase.generate],  # to make a failure smaller would take minutes
            ),
        )

    def test_in_memory(self) -> None:
        """Everybody sees what she may, whole and in one order; with a journal in memory."""
        self.check(InMemory, 250)

    def test_on_disk(self) -> None:
        """The same with SQLite."""
        self.check(OnDisk, 40)
