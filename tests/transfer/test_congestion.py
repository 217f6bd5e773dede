"""The controllers and the pacer by themselves, with literal numbers."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from pychat.transfer.congestion import CONTROLLERS, DEFAULT_CONTROLLER, AckSample, CongestionControl
from pychat.transfer.congestion.cubic import Cubic, CubicCurve, HyStart
from pychat.transfer.congestion.filters import RecentMaximum, RecentMinimum
from pychat.transfer.congestion.model import (
    COMPETE,
    CRUISE,
    DOWN,
    DRAIN,
    PROBE,
    STARTUP,
    UP,
    Model,
    next_span,
)
from pychat.transfer.congestion.newreno import NewReno
from pychat.transfer.pacer import Pacer


def sample(now: float = 1.0, **fields: object) -> AckSample:
    """Ten datagrams of 1,000 bytes arrived after 100 ms."""
    values: dict[str, object] = {
        "now": now,
        "acked": 10_000,
        "lost": 0,
        "in_flight": 0,
        "rtt": 0.1,
        "owd": 0.05,
        "rate": None,
        "limited": False,
        "delivered": 10_000,
        "prior_delivered": 0,
        "srtt": 0.1,
    }
    values.update(fields)
    return AckSample(**values)  # type: ignore[arg-type]


class TestAll:
    """What holds for every controller."""

    @pytest.mark.parametrize("name", CONTROLLERS)
    def test_names(self, name: str) -> None:
        """They are found by the name they have, and begin with at least ten datagrams."""
        control = CONTROLLERS[name](1200)
        assert control.name == name
        assert control.datagram == 1200
        assert control.starting
        assert control.phase == "startup"
        assert 12_000 <= control.window <= 100_000
        assert control.pacing_rate > 0

    def test_default(self) -> None:
        """The default is one of them."""
        assert DEFAULT_CONTROLLER in CONTROLLERS

    @pytest.mark.parametrize("name", CONTROLLERS)
    def test_remember(self, name: str) -> None:
        """Half of what the path held may leave at once, paced at half of its rate at least."""
        control = CONTROLLERS[name](1200)
        control.remember(10e6, 0.1)
        assert control.window == 500_000
        assert 5e6 <= control.pacing_rate <= 10e6

    @pytest.mark.parametrize("name", CONTROLLERS)
    def test_reset(self, name: str) -> None:
        """Another path: as new, with datagrams of that path."""
        control = CONTROLLERS[name](1200)
        control.remember(10e6, 0.1)
        control.reset(1.0, 1400)
        assert control.datagram == 1400
        assert control.window == CONTROLLERS[name](1400).window

    @pytest.mark.parametrize("name", CONTROLLERS)
    def test_timed_out(self, name: str) -> None:
        """Nothing came back for long: little may leave."""
        control = CONTROLLERS[name](1200)
        control.remember(100e6, 0.1)
        control.timed_out(1.0)
        assert 2400 <= control.window <= 48 * 1452

    @pytest.mark.parametrize("name", CONTROLLERS)
    def test_datagram(self, name: str) -> None:
        """The path takes larger datagrams: two of them always fit."""
        control = CONTROLLERS[name](1200)
        control.sent(1200, 1200, 1.0)
        control.datagram = 60_000
        control.acked(sample(acked=1200, delivered=1200))
        assert control.datagram == 60_000
        assert control.window >= 120_000


class TestNewReno:
    """RFC 9002 §7."""

    def test_slow_start(self) -> None:
        """§7.3.1: as much more as arrived; 2 windows a round trip."""
        reno = NewReno(1000)
        reno.acked(sample())
        assert (reno.window, reno.pacing_rate, reno.starting) == (20_000, 400_000.0, True)

    def test_limited(self) -> None:
        """§7.8: a window that was not used does not grow."""
        reno = NewReno(1000)
        reno.acked(sample(limited=True))
        assert reno.window == 10_000

    def test_one_halving_a_round_trip(self) -> None:
        """§7.3.2: losses of what was sent before the first loss was noticed count once, and nothing grows meanwhile."""
        reno = NewReno(1000)
        reno.acked(sample(1.0, lost=1000, delivered=10_000))
        assert (reno.window, reno.starting, reno.phase) == (5000, False, "avoidance")
        reno.acked(sample(1.05, lost=3000, delivered=20_000, prior_delivered=5000))
        reno.acked(sample(1.06, delivered=30_000, prior_delivered=9000))
        assert reno.window == 5000
        # What was sent just before is found a little later than what was sent just after.
        reno.acked(sample(1.10, lost=1000, delivered=40_000, prior_delivered=10_000))
        assert reno.window <= 5000 + 2000
        window = reno.window
        reno.acked(sample(1.2, lost=1000, delivered=50_000, prior_delivered=20_000))
        assert reno.window == window // 2

    def test_avoidance(self) -> None:
        """§7.3.3: a datagram more for each window that arrived."""
        reno = NewReno(1000)
        reno.acked(sample(1.0, lost=1000))
        reno.acked(sample(1.1, acked=3000, delivered=13_000, prior_delivered=10_000))
        assert reno.window == 5000
        reno.acked(sample(1.2, acked=3000, delivered=16_000, prior_delivered=11_000))
        assert (reno.window, reno.pacing_rate) == (6000, 75_000.0)

    def test_timeout(self) -> None:
        """§7.6: two datagrams, and slow start up to half of what was."""
        reno = NewReno(1000)
        reno.timed_out(1.0)
        assert (reno.window, reno.starting) == (2000, True)
        reno.acked(sample(1.0))
        assert (reno.window, reno.starting) == (12_000, False)


class TestCubic:
    """RFC 9438."""

    def test_cut(self) -> None:
        """§4.6: 0.7 stays, and never less than two datagrams."""
        curve = CubicCurve(1000, 100_000.0)
        curve.cut()
        assert curve.window == pytest.approx(70_000)
        small = CubicCurve(1000, 2500.0)
        small.cut()
        assert small.window == 2000

    def test_back_to_the_maximum(self) -> None:
        """§4.2: K seconds after the cut the window is again what it was: K³ = 100·0.3/0.4."""
        curve = CubicCurve(1000, 100_000.0)
        curve.cut()
        now, srtt = 0.0, 0.01
        while now < (100 * 0.3 / 0.4) ** (1 / 3) - srtt:
            now += srtt
            # Reno's window does not matter here: it would be told of little.
            curve.grow(int(curve.window), srtt, now)
        assert curve.window == pytest.approx(max(100_000, curve.window), rel=0.01)

    def test_reno_friendly(self) -> None:
        """§4.3: where the cube is slower than Reno, Reno's window counts: 0.53 datagrams a round trip."""
        curve = CubicCurve(1000, 10_000.0)
        curve.cut()
        curve.grow(7000, 0.001, 0.001)
        assert curve.window == pytest.approx(7000 + 1000 * 3 * 0.3 / 1.7, rel=0.02)

    def test_reno_above_the_maximum(self) -> None:
        """... and a datagram a round trip beyond the old maximum."""
        curve = CubicCurve(1000, 10_000.0)
        curve.grow(10_000, 0.001, 0.001)
        assert curve.window == pytest.approx(11_000, rel=0.02)

    def test_fast_convergence(self) -> None:
        """§4.7: who is cut below an old maximum leaves room for others."""
        curve = CubicCurve(1000, 100_000.0)
        curve.cut()
        curve.cut()
        assert curve._maximum == pytest.approx(70_000 * 0.85)

    def test_pause(self) -> None:
        """§4.8: time without anything to send does not count."""
        curve = CubicCurve(1000, 10_000.0)
        curve.grow(10_000, 0.001, 0.001)
        curve.pause()
        window = curve.window
        curve.grow(1000, 0.001, 100.0)
        assert curve.window <= window + 1000

    def test_control(self) -> None:
        """Slow start, one cut a round trip, growth after that."""
        cubic = Cubic(1000)
        cubic.acked(sample(1.0))
        assert (cubic.window, cubic.pacing_rate) == (20_000, 400_000.0)
        cubic.acked(sample(1.1, lost=1000, delivered=20_000))
        assert (cubic.window, cubic.starting) == (14_000, False)
        cubic.acked(sample(1.15, lost=1000, delivered=30_000, prior_delivered=5000))
        cubic.acked(sample(1.16, delivered=40_000, prior_delivered=6000))
        assert cubic.window == 14_000
        cubic.acked(sample(1.3, delivered=50_000, prior_delivered=20_000, limited=True))
        assert cubic.window == 14_000
        cubic.acked(sample(1.4, delivered=60_000, prior_delivered=30_000))
        assert 14_000 < cubic.window < 16_000
        assert cubic.pacing_rate == pytest.approx(1.25 * cubic.window / 0.1)

    def test_timeout(self) -> None:
        """Two datagrams, and slow start without HyStart++ up to 0.7 of what was."""
        cubic = Cubic(1000)
        cubic.timed_out(1.0)
        assert (cubic.window, cubic.starting) == (2000, True)
        cubic.acked(sample(1.0))
        assert (cubic.window, cubic.starting) == (12_000, False)


class TestHyStart:
    """RFC 9406."""

    def rounds(self, start: HyStart, *trips: float) -> list[bool]:
        """Ten samples a round, with these round trips."""
        over = []
        for index, trip in enumerate(trips):
            for _ in range(10):
                # What begins the round carries the mark of the one before.
                over.append(start.acked(sample(rtt=trip, prior_delivered=index, delivered=index + 1)))
        return over

    def test_rise(self) -> None:
        """§4.2: a rise by an eighth slows it down; five rounds of that end it."""
        start = HyStart()
        assert not any(self.rounds(start, 0.1, 0.1, 0.105))
        assert not start.conservative
        start = HyStart()
        assert not any(self.rounds(start, 0.1, 0.1, 0.12, 0.13, 0.14, 0.15, 0.16))
        assert start.conservative
        assert start.acked(sample(rtt=0.17, prior_delivered=9, delivered=10)) is False
        assert start.acked(sample(rtt=0.17, prior_delivered=10, delivered=11)) is True

    def test_passing_rise(self) -> None:
        """It was not the queue: back to doubling."""
        start = HyStart()
        self.rounds(start, 0.1, 0.12)
        assert start.conservative
        self.rounds(HyStart(), 0.1)
        for _ in range(10):
            start.acked(sample(rtt=0.1, prior_delivered=5, delivered=6))
        assert not start.conservative

    def test_without_samples(self) -> None:
        """Acknowledgements without a sample say nothing."""
        start = HyStart()
        assert not any(start.acked(sample(rtt=None)) for _ in range(20))

    def test_in_cubic(self) -> None:
        """A quarter of the growth, and then none."""
        cubic = Cubic(1000)
        delivered, grown = 10_000, []
        for trip in (0.1, 0.1, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12):
            prior = delivered
            for _ in range(10):
                before = cubic.window
                delivered += 1000
                cubic.acked(
                    sample(rtt=trip, acked=1000, delivered=delivered, prior_delivered=prior, srtt=trip)
                )
                grown.append(cubic.window - before)
        assert grown[:10] == [1000] * 10
        assert 250 in grown
        assert not cubic.starting


class TestFilters:
    """Running extremes."""

    def test_maximum(self) -> None:
        """It remembers as many rounds as it was told, or another number once."""
        high = RecentMaximum(3)
        high.pass_on(0)
        assert high.value == 0
        high.add(5.0, 0)
        high.add(4.0, 1)
        high.add(3.0, 2)
        assert high.value == 5.0
        high.pass_on(3)
        assert high.value == 4.0
        high.pass_on(3, 1)
        assert high.value == 3.0
        high.pass_on(99)
        assert high.value == 3.0

    def test_minimum(self) -> None:
        """It remembers as many spans as it was told; empty ones do not count."""
        low = RecentMinimum(2)
        low.rotate()
        assert low.value == inf
        low.add(1.0)
        low.add(2.0)
        low.rotate()
        low.rotate()
        low.add(3.0)
        assert low.value == 1.0
        low.rotate()
        assert low.value == 3.0


def feed(control: CongestionControl, count: int, start: float = 0.0, **fields: object) -> float:
    """Ten datagrams each ms, at 10 MB/s over 20 ms, `count` times.

    :return: the time after that.
    """
    now = start
    for _ in range(count):
        now += 0.001
        delivered = int(now * 10e6)
        values: dict[str, object] = {
            "delivered": delivered,
            "prior_delivered": max(delivered - 200_000, 0),
            "rtt": 0.020,
            "srtt": 0.020,
            "owd": 0.010,
            "rate": 10e6,
            "in_flight": 200_000,
        }
        values.update(fields)
        control.acked(sample(now, **values))
    return now


class TestModel:
    """State by state; what comes of it is in the scenarios."""

    def model(self, state: str = CRUISE) -> tuple[Model, float]:
        """One that has left its start behind."""
        model = Model(1000)
        now = feed(model, 200)
        assert model.rate == pytest.approx(10e6)
        model.state, model._gain = state, 1.0
        model._entered_turn = model._turn
        model._episode.clear()
        return model, now

    def test_start(self) -> None:
        """48 datagrams, one each half millisecond; twice what the path holds when that is known."""
        model = Model(1452)
        assert (model.window, model.pacing_rate) == (48 * 1452, 1452 / 0.0005)
        model.acked(sample(0.1, rate=10e6, srtt=0.1))
        assert model.pacing_rate == pytest.approx(27.7e6)
        assert model.window == pytest.approx(2 * 10e6 * 0.1 + 40_000)

    def test_far_start(self) -> None:
        """No more than 0.3 s of the rate beyond what the path holds."""
        model = Model(1452)
        model.acked(sample(1.0, rate=1e6, rtt=1.0, srtt=1.0))
        assert model.window == pytest.approx(1e6 + 0.3e6 + 8712)

    def test_first_flight(self) -> None:
        """The first flight tells a rate by how it spreads."""
        model = Model(1452)
        model.acked(sample(0.100, delivered=10_000))
        model.acked(sample(0.104, delivered=20_000))
        assert model.rate == 0
        model.acked(sample(0.110, delivered=60_000))
        assert model.rate == pytest.approx(50_000 / 0.010)
        model.acked(sample(0.111, delivered=70_000, rtt=None))
        assert model.rate == pytest.approx(50_000 / 0.010)

    def test_start_ends_by_queue(self) -> None:
        """Eight samples in a row with a queue."""
        model = Model(1000)
        now = feed(model, 30)
        now = feed(model, 7, now, owd=0.016)
        now = feed(model, 1, now)
        now = feed(model, 7, now, owd=0.016)
        assert model.state == STARTUP
        feed(model, 1, now, owd=0.016, in_flight=400_000)
        assert (model.state, model.starting) == (DRAIN, False)

    def test_start_ends_flat(self) -> None:
        """Three rounds without growth, unless there was too little to send."""
        model = Model(1000)
        now = feed(model, 100, limited=True)
        assert model.state == STARTUP
        feed(model, 100, now, in_flight=500_000)
        assert model.state == DRAIN

    @pytest.mark.parametrize(("lost", "owd", "state"), [(6000, 0.010, DRAIN), (800, 0.013, STARTUP)])
    def test_start_ends_by_loss(self, lost: int, owd: float, state: str) -> None:
        """Much loss ends the start; a little only when a queue stands, too."""
        model = Model(1000)
        now = feed(model, 30)
        feed(model, 10, now, lost=lost, owd=owd, in_flight=500_000)
        assert model.state == state

    def test_limited_rate(self) -> None:
        """A sample that was limited by something else can only raise the rate."""
        model, now = self.model()
        now = feed(model, 1, now, rate=5e6, limited=True)
        assert model.rate == pytest.approx(10e6)
        feed(model, 1, now, rate=11e6, limited=True)
        assert model.rate == pytest.approx(11e6)

    def test_no_delay_sample(self) -> None:
        """The loss timer brings neither round trip nor delay."""
        model, now = self.model()
        feed(model, 1, now, acked=0, rtt=None, owd=None, rate=None)
        assert model.state == CRUISE

    def test_cycle(self) -> None:
        """Cruise, look for more, and let the queue go."""
        model, now = self.model()
        seen = []
        for _ in range(400):
            now = feed(model, 1, now, in_flight=int(model.window * 0.99))
            if not seen or seen[-1] != model.state:
                seen.append(model.state)
                assert model.phase == model.state
        assert seen[:4] == [CRUISE, UP, DOWN, CRUISE]

    def test_found_more(self) -> None:
        """What was found twice over is looked for faster."""
        model, now = self.model()
        model._look(sample(now), 1.25)
        now = feed(model, 45, now, in_flight=300_000)
        assert model.state == DOWN
        now = feed(model, 25, now, rate=12e6, in_flight=300_000)
        assert (model.state, model._gain) == (UP, 1.25 * 1.5)
        now = feed(model, 45, now, rate=12e6, in_flight=230_000)
        assert model.state == CRUISE
        feed(model, 25, now, rate=15e6, in_flight=230_000)
        assert (model.state, model._gain) == (UP, 2.77)

    def test_random_loss(self) -> None:
        """Loss without a queue is the path's: it is made up for, and believed in up to a tenth."""
        model, now = self.model()
        for _ in range(40):
            model.state = CRUISE
            model._entered_turn = model._turn
            now = feed(model, 20, now, lost=1200)
        assert model._random_loss == pytest.approx(0.1, abs=0.01)
        assert model.pacing_rate == pytest.approx(10e6 / 0.9, rel=0.02)

    def test_look_ends_by_loss(self) -> None:
        """Loss while more is looked for is ours."""
        model, now = self.model()
        model._look(sample(now), 1.25)
        feed(model, 25, now, lost=500, in_flight=230_000)
        assert model.state == DOWN

    def test_short_queue(self) -> None:
        """Loss with a queue: the first time it may be ours, the second time it is not."""
        model, now = self.model()
        model._largest = 0.012
        now = feed(model, 45, now, owd=0.021, lost=800, in_flight=300_000)
        assert (model.state, model._ceiling) == (DRAIN, pytest.approx(0.006))
        now = feed(model, 1, now, in_flight=100_000)
        assert model.state == CRUISE
        now = feed(model, 70, now, owd=0.021, lost=0, in_flight=300_000)
        model._hold = 0.0
        feed(model, 70, now, owd=0.021, lost=1500, in_flight=300_000)
        assert model.state == COMPETE

    def test_greedy(self) -> None:
        """A queue that stands for twelve round trips: compete, with the window of the rate at its beginning."""
        model, now = self.model()
        now = feed(model, 230, now, owd=0.030, srtt=0.040, rate=8e6)
        assert model.state != COMPETE
        for _ in range(300):
            now = feed(model, 1, now, owd=0.030, srtt=0.040, rate=8e6)
            if model.state == COMPETE:
                break
        assert model.window == pytest.approx(10e6 * 0.040, rel=0.05)
        assert model.pacing_rate == pytest.approx(1.25 * model.window / 0.040)

    def test_greedy_after_the_start(self) -> None:
        """Just after the start, the window it had reached counts."""
        model, now = self.model()
        model._start_turn, model._start_flight = model._turn, 1_000_000
        model._hold, model._hold_rate = 10.0, 10e6
        feed(model, 1, now, owd=0.030)
        assert model.state == COMPETE
        assert model.window == pytest.approx(700_000, rel=0.01)

    def test_squeezed(self) -> None:
        """The rate falls while a queue stands: do not wait."""
        model, now = self.model()
        for _ in range(200):
            now = feed(model, 1, now, owd=0.030, rate=2e6)
            if model.state == COMPETE:
                break
        assert now < 0.4
        assert model.window == pytest.approx(0.7 * 10e6 * 0.020, rel=0.05)

    def test_compete(self) -> None:
        """Loss counts when the queue is full, once a round trip."""
        model, now = self.model()
        model._largest = 0.040
        model._begin_competing(sample(now), 400_000.0)
        now = feed(model, 1, now, owd=0.015, lost=1000)
        assert model.window > 400_000
        now = feed(model, 2, now, owd=0.048, lost=1000)
        assert model.window == pytest.approx(280_000, rel=0.02)
        now = feed(model, 30, now, limited=True)
        assert model.window == pytest.approx(280_000, rel=0.02)

    def test_probe_from_compete(self) -> None:
        """Every five seconds half of it: if the queue stays, somebody else makes it."""
        for owd, state in ((0.040, COMPETE), (0.010, CRUISE)):
            model, now = self.model()
            model._begin_competing(sample(now), 400_000.0)
            assert model._span_end is not None
            now = model._span_end
            now = feed(model, 1, now, owd=owd)
            assert model.state == PROBE
            now = feed(model, 5, now, owd=owd, in_flight=90_000)
            now = feed(model, 25, now, owd=owd, in_flight=90_000)
            assert model.state == state

    def test_probe_ends(self) -> None:
        """A probe does not wait for ever until little is in flight."""
        model, now = self.model(PROBE)
        model._entered = now
        feed(model, 100, now, in_flight=10_000_000)
        assert model.state != PROBE

    def test_probe_from_cruise(self) -> None:
        """A queue that was there for five seconds may be ours."""
        model, now = self.model()
        model._span_end = now + 0.001
        model._span_least = 0.010
        now = feed(model, 2, now, owd=0.021)
        assert model.state == PROBE

    def test_span(self) -> None:
        """Five seconds in which the queue was empty now and then: nothing to look for."""
        model, now = self.model()
        model._span_end = now + 0.001
        feed(model, 2, now)
        assert model._span_end == next_span(now)
        assert model.state == CRUISE

    def test_together(self) -> None:
        """Whenever they began, flows of one machine look at the same time whether the queue drains."""
        ends = []
        for began in (1001.0, 1002.5, 1004.9):
            model = Model(1452)
            feed(model, 2, began)
            ends.append(model._span_end)
        assert ends == [1005.0] * 3
        assert next_span(1005.0) == 1010.0

    def test_shared(self) -> None:
        """Others' queue: the window holds us back then, not the pace, until it is gone."""
        model, now = self.model()
        model._shared = True
        assert model.pacing_rate == pytest.approx(1.25 * 10e6, rel=0.02)
        now = feed(model, 40, now)
        assert not model._shared
        feed(model, 40, now, owd=0.020)
        assert model._shared

    def test_pushed_aside(self) -> None:
        """Little is left of the rate: what six datagrams of it would queue does not hide what others queue."""
        model, _ = self.model()
        model._rates = RecentMaximum(10)
        model._rates.add(0.3e6, 0)
        slow = model._own_queue
        assert slow > 0.020
        model._best.add(10e6, 0)
        assert model._own_queue_at(model._best.value) < 0.010

    def test_quick_path(self) -> None:
        """On loopback a round is two milliseconds, and the window some tens of datagrams."""
        model = Model(60_000)
        for index in range(1, 2000):
            now = index * 0.0001
            model.acked(
                replace(
                    sample(now),
                    acked=60_000,
                    delivered=index * 60_000,
                    prior_delivered=(index - 1) * 60_000,
                    rtt=0.0002,
                    srtt=0.0002,
                    owd=0.0001,
                    rate=500e6,
                    burst=0.005,
                )
            )
        assert model._turn <= 100
        assert 10 * 60_000 <= model.window <= 100 * 60_000


class TestPacer:
    """The bucket."""

    def test_train_of_ten(self) -> None:
        """At first, ten datagrams leave at once."""
        pacer = Pacer(1000, 0.0)
        assert pacer.tokens == 10_000

    def test_paced(self) -> None:
        """Then it fills with time."""
        pacer = Pacer(1000, 0.0)
        pacer.tokens -= 10_000
        assert not pacer.refill(1e6, 0.002, starting=True)
        assert pacer.tokens == pytest.approx(2000)
        pacer.tokens -= 2000
        assert pacer.deadline(500) == pytest.approx(0.004, abs=2e-6)
        assert pacer.deadline(3000) == pytest.approx(0.005, abs=2e-6)

    @pytest.mark.parametrize(
        ("rate", "step", "least"),
        [(0.1e6, 200, 1000), (4e6, 8000, 4000), (20e6, 30_000, 5000), (100e6, 65_487, 5000)],
    )
    def test_steps(self, rate: float, step: int, least: int) -> None:
        """A wake-up is for 2 ms of the pace, less where that is long; half of that is worth a call."""
        pacer = Pacer(1000, 0.0)
        pacer.tokens = 0.0
        pacer.refill(rate, 0.0, starting=False)
        assert (pacer.step, pacer.least) == (pytest.approx(step), pytest.approx(least))
        assert pacer.deadline(100) == pytest.approx(step / rate, abs=2e-6)

    def test_slow(self) -> None:
        """A pace at which a datagram takes long is no reason to send one sooner."""
        pacer = Pacer(1000, 0.0)
        pacer.tokens = 0.0
        pacer.refill(1000.0, 0.5, starting=False)
        assert pacer.deadline(1000) == pytest.approx(1.0, abs=2e-6)

    @pytest.mark.parametrize(("starting", "depth"), [(True, 0.008), (False, 0.020)])
    def test_late(self, starting: bool, depth: float) -> None:
        """Who comes late catches up, but not with everything; then it is told that something was lost."""
        pacer = Pacer(1000, 0.0)
        pacer.tokens = 0.0
        pacer.refill(10e6, 0.0, starting=starting)
        pacer.deadline(1000)
        assert not pacer.refill(10e6, depth, starting=starting)
        assert pacer.tokens == pytest.approx(depth * 10e6)
        pacer.deadline(1000)
        assert pacer.refill(10e6, 1.0, starting=starting)
        assert pacer.tokens == pytest.approx(depth * 10e6)

    def test_nobody_waited(self) -> None:
        """A full bucket that nobody waited for is no loss."""
        pacer = Pacer(1000, 0.0)
        assert not pacer.refill(10e6, 5.0, starting=False)
        assert not pacer.refill(10e6, 9.0, starting=False)

    def test_larger_datagrams(self) -> None:
        """Ten of those always fit."""
        pacer = Pacer(1000, 0.0)
        pacer.datagram = 60_000
        pacer.refill(1000.0, 1e6, starting=False)
        assert pacer.tokens == 600_000
