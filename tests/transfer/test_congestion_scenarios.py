"""What the controllers do on links of all kinds, in the simulator, pinned by ranges.

``PYCHAT_SEEDS=5`` runs each scenario with so many seeds instead of one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.transfer.rivals import SimpleBbr
from tests.transfer.simulator import MBIT, Bursty, Flow, Host, Link, Result, World, measure

pytestmark = pytest.mark.timeout(600)

SEEDS = (3, 5, 7, 11, 13)[: int(os.environ.get("PYCHAT_SEEDS", "1"))]
HUNDRED = Link()
LONG = Link(50 * MBIT, 0.100, 0.100)
SATELLITE = Link(20 * MBIT, 0.600, 0.300)
SHARED = Link(50 * MBIT, 0.020, 0.050)
BURSTY = Bursty(0.002, 0.10, 0.50)
MS = 0.001

Maker = Callable[[World], Flow]


@pytest.fixture(params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    """What all that is random comes from."""
    return request.param  # type: ignore[no-any-return]


def ours(start: float = 0.0, **more: object) -> Maker:
    """A flow of our own."""
    return lambda world: Flow(world, start=start, **more)  # type: ignore[arg-type]


def cubic(start: float = 0.0) -> Maker:
    """TCP as it is on most machines: clocked by acknowledgements, which it gets for every other segment."""
    return lambda world: Flow(world, "cubic", start=start, paced=False, quantum=4, ack_every=2)


def bbr(start: float = 0.0) -> Maker:
    """BBR v1."""
    return lambda world: Flow(world, SimpleBbr(1452), start=start, quantum=8, ack_every=2)


def run(link: Link, seed: int, *makers: Maker, first: float = 2.0, end: float = 10.0) -> Result:
    """Measure these flows over a link, from `first` to `end`."""
    world = World(replace(link), seed)
    for make in makers:
        make(world)
    return measure(world, first, end)


def download(link: Link, seed: int, size: float) -> float:
    """Part of the link's rate at which a file arrives: the clock starts one round trip before the first byte."""
    world = World(replace(link), seed)
    flow = Flow(world, size=size)
    world.run(120.0)
    assert flow.finished is not None
    return size / (flow.finished + link.rtt) / link.rate


class TestAlone:
    """One flow has the link for itself."""

    @pytest.mark.parametrize(
        ("change", "least"),
        [
            ({}, 0.98),
            ({"loss": 0.001}, 0.98),
            ({"loss": 0.01}, 0.97),
            ({"loss": 0.05}, 0.93),
            ({"bursty": BURSTY, "back_loss": 0.01}, 0.95),
        ],
        ids=["clean", "0.1%", "1%", "5%", "bursty"],
    )
    def test_lossy(self, change: dict[str, float], least: float, seed: int) -> None:
        """Random loss costs what it loses, and the queue stays short."""
        result = run(replace(HUNDRED, **change), seed, ours())  # type: ignore[arg-type]
        assert result.total >= least
        assert result.median <= 8 * MS
        assert result.p95 <= 12 * MS
        assert result.drops == 0

    @pytest.mark.parametrize(
        ("link", "size", "least"),
        [
            (HUNDRED, 25e6, 0.91),
            (replace(HUNDRED, loss=0.001), 25e6, 0.905),
            (replace(HUNDRED, loss=0.01), 25e6, 0.89),
            (replace(HUNDRED, loss=0.05), 25e6, 0.82),
            (replace(HUNDRED, bursty=BURSTY, back_loss=0.01), 25e6, 0.89),
            (LONG, 25e6, 0.86),
            (replace(LONG, loss=0.01), 25e6, 0.82),
            (SATELLITE, 50e6, 0.65),
            (replace(SATELLITE, loss=0.005), 50e6, 0.60),
            (Link(10 * MBIT, 0.040, 0.050, back_rate=MBIT), 25e6, 0.88),
        ],
        ids=["clean", "0.1%", "1%", "5%", "bursty", "long", "long 1%", "satellite", "satellite 0.5%", "10/1"],
    )
    def test_file(self, link: Link, size: float, least: float, seed: int) -> None:
        """A file arrives as fast as promised, the start included."""
        assert download(link, seed, size) >= least

    @pytest.mark.parametrize(
        ("link", "least"),
        [
            (Link(10 * MBIT, 0.020, 0.050), 0.98),
            (Link(100 * MBIT, 0.002, 0.050), 0.97),
            (Link(100 * MBIT, 0.100, 0.100), 0.97),
            (LONG, 0.97),
            (replace(HUNDRED, queue=0.005), 0.90),
        ],
        ids=["slow", "near", "far", "long", "short queue"],
    )
    def test_links(self, link: Link, least: float, seed: int) -> None:
        """Other rates, round trips and queues."""
        result = run(link, seed, ours(), first=2.0, end=7.0)
        assert result.total >= least
        assert result.median <= 10 * MS
        assert result.p95 <= 25 * MS

    def test_early_drops(self, seed: int) -> None:
        """The start does not overrun a queue of a round trip."""
        result = run(LONG, seed, ours())
        assert result.early + result.drops <= 20

    def test_satellite(self, seed: int) -> None:
        """Once started, a long path is full."""
        result = run(SATELLITE, seed, ours(), first=10.0, end=40.0)
        assert result.total >= 0.95
        assert result.drops == 0

    def test_reordering(self, seed: int) -> None:
        """One datagram in 20 comes up to 50 ms late: it is learned that this is no loss."""
        result = run(replace(HUNDRED, reorder=0.05, reorder_by=0.05), seed, ours())
        assert result.total >= 0.95
        assert result.p95 <= 20 * MS

    @pytest.mark.parametrize(
        ("host", "least"),
        [(Host(late=0.2), 0.95), (Host(robbed=(0.010, 0.010)), 0.85), (Host(robbed=(0.005, 0.005)), 0.90)],
        ids=["late timers", "robbed", "robbed often"],
    )
    def test_bad_host(self, host: Host, least: float, seed: int) -> None:
        """The sender's machine does something else meanwhile."""
        result = run(HUNDRED, seed, ours(host=host))
        assert result.total >= least
        assert result.p95 <= 25 * MS

    def test_loopback(self, seed: int) -> None:
        """A path of 400 MB/s and 0.2 ms, in datagrams of 60,000 bytes, by a process that is often late."""
        link = Link(400e6, 0.0002, 0.010)
        host = Host(late=0.3, late_least=0.0002, late_most=0.003)
        result = run(link, seed, ours(datagram=60_000, quantum=1, host=host), first=0.2, end=1.0)
        assert result.total >= 0.97

    def test_small_buffer(self, seed: int) -> None:
        """The same, and the receiver's socket holds only seven datagrams."""
        link = Link(400e6, 0.0002, 0.001)
        host = Host(late=0.3, late_least=0.0002, late_most=0.003)
        result = run(link, seed, ours(datagram=60_000, quantum=1, host=host), first=0.2, end=1.0)
        assert result.total >= 0.80


class TestChanges:
    """The path does not stay as it was."""

    def test_outages(self, seed: int) -> None:
        """Two seconds without anything: it goes on within half a second."""
        link = replace(HUNDRED, outages=[(3.0, 5.0)])
        assert run(link, seed, ours(), first=5.5, end=10.0).total >= 0.95

    def test_half_rate(self, seed: int) -> None:
        """The rate halves, and comes back."""
        link = replace(HUNDRED, changes=[(3.0, {"rate": 50 * MBIT}), (6.0, {"rate": 100 * MBIT})])
        world = World(link, seed)
        flow = Flow(world)
        world.run(10.0)
        assert flow.rate(4.0, 6.0) >= 0.95 * 50 * MBIT
        assert flow.rate(7.5, 10.0) >= 0.90 * 100 * MBIT

    def test_longer_path(self, seed: int) -> None:
        """The round trip triples."""
        link = replace(HUNDRED, changes=[(3.0, {"rtt": 0.060})])
        assert run(link, seed, ours(), first=5.0, end=12.0).total >= 0.70


class TestTogether:
    """The link is shared."""

    @pytest.mark.parametrize(
        ("queue", "least", "most"), [(0.020, 0.20, 0.70), (0.050, 0.30, 0.65), (0.100, 0.25, 0.70)]
    )
    def test_cubic(self, queue: float, least: float, most: float, seed: int) -> None:
        """Beside TCP CUBIC: neither starved nor greedy."""
        result = run(replace(SHARED, queue=queue), seed, ours(), cubic(0.1), end=30.0)
        assert least <= result.share[0] / result.total <= most
        assert result.total >= 0.95

    def test_cubic_fairness(self, seed: int) -> None:
        """At a queue of 50 ms, the share is measured by Jain's index, too."""
        assert run(SHARED, seed, ours(0.2), cubic(), end=30.0).jain >= 0.86

    @pytest.mark.parametrize(("us", "them"), [(0.0, 5.0), (5.0, 0.0)], ids=["it joins", "we join"])
    def test_late(self, us: float, them: float, seed: int) -> None:
        """The other one was there first."""
        result = run(SHARED, seed, ours(us), cubic(them), first=10.0, end=35.0)
        assert 0.30 <= result.share[0] / result.total <= 0.70

    def test_bbr(self, seed: int) -> None:
        """Beside BBR v1."""
        assert run(SHARED, seed, ours(), bbr(0.1), end=30.0).jain >= 0.85

    @pytest.mark.parametrize(("count", "least"), [(2, 0.95), (4, 0.93), (10, 0.90)])
    def test_own(self, count: int, least: float, seed: int) -> None:
        """Flows of our own share alike."""
        makers = [ours(0.1 * index) for index in range(count)]
        assert run(SHARED, seed, *makers, end=30.0).jain >= least

    def test_four(self, seed: int) -> None:
        """Four downloads begin at about the same time: how they share on the whole, from the first second on."""
        indices = []
        for number in range(3):
            draw = random.Random(seed + number)
            host = Host(late=0.3, late_least=0.001, late_most=0.012)
            makers = [ours(0.15 * draw.random(), host=host) for _ in range(4)]
            indices.append(run(SHARED, seed + number, *makers, first=0.3, end=30.0).jain)
        assert sum(indices) / len(indices) >= 0.95

    def test_own_far(self, seed: int) -> None:
        """Also when the path is long."""
        assert run(LONG, seed, ours(), ours(0.5), first=5.0, end=30.0).jain >= 0.95


class TestTeaching:
    """The other two controllers work as they should, which is less well."""

    @pytest.mark.parametrize("name", ["newreno", "cubic"])
    def test_clean(self, name: str, seed: int) -> None:
        """Without loss they fill the link, and its queue."""
        result = run(HUNDRED, seed, ours(congestion=name))
        assert result.total >= 0.97
        assert result.median >= 20 * MS

    @pytest.mark.parametrize("name", ["newreno", "cubic"])
    def test_lossy(self, name: str, seed: int) -> None:
        """Loss of 1 % is taken for congestion."""
        assert 0.03 <= run(replace(HUNDRED, loss=0.01), seed, ours(congestion=name)).total <= 0.35

    def test_cubic_beside_cubic(self, seed: int) -> None:
        """Two of them are fair."""
        assert run(SHARED, seed, cubic(), cubic(0.5), first=5.0, end=30.0).jain >= 0.90

    def test_hystart(self, seed: int) -> None:
        """HyStart++ ends the start sooner than the loss does that NewReno waits for."""
        early = [
            run(replace(LONG, queue=0.3), seed, ours(congestion=name), first=3.0, end=4.0).early
            for name in ("cubic", "newreno")
        ]
        assert early[0] < 0.6 * early[1]


def test_same_again() -> None:
    """A run depends on nothing but its seed."""
    link = replace(HUNDRED, loss=0.01, jitter=0.001)
    results = [run(link, 17, ours(host=Host(late=0.1)), end=4.0) for _ in range(2)]
    assert results[0] == results[1]
