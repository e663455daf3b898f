"""The simulator: a virtual clock around the stage's own lanes, batcher and gate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from bench.batching import simulator
from bench.batching.replay import Serve, replay
from bench.batching.simulator import Reading, Simulated, World, simulate
from stream.backpressure import Flow, ReadingGate
from stream.backpressure import Reading as ReadingDecision
from stream.batch_policy import Wait
from stream.batch_sizer import SizeLimits
from stream.batching import BatchingRules
from stream.cost_model import LatencyCurve
from stream.publishing.arrivals import Floats, first_times
from stream.publishing.disturbance import Disturbance
from stream.publishing.patterns import Bursts, Poisson
from stream.publishing.workload import Mix, workload
from stream.records import CloseReason

CURVE = LatencyCurve(0.005, 0.000_1)
# Waiting for another claim never pays.
AT_ONCE = LatencyCurve(0.000_01, 0.000_1)
RULES = BatchingRules(SizeLimits(1, 512), 0.067)
BURSTS = first_times(Bursts(height=10.0, burst=0.05, calm=0.2).arrivals(6_000.0, 1), 1_500)
TIGHT = Reading(claims=300, ahead=128, poll=64, coalesce=0.003, seconds=LatencyCurve(0.000_5, 0.000_005))


def run(
    times: Floats = BURSTS, reading: Reading | None = None, curve: LatencyCurve = CURVE, **world: object
) -> Simulated:
    known = {0: curve}
    return simulate(times, World((curve,), **world), RULES, reading, known)  # type: ignore[arg-type]


class Greedy:
    """All that waits, at once."""

    def decide(self, waiting: Floats, now: float) -> Serve | Wait:
        return Serve(len(waiting))

    def observe(self, count: int, seconds: float) -> None:
        """Nothing is learned."""


def test_the_same_arguments_give_the_same_batches() -> None:
    first, again = (run(reading=TIGHT, noise=0.1, seed=3) for _ in range(2))
    other = run(reading=TIGHT, noise=0.1, seed=4)
    for column in ("finishes", "starts", "sizes", "given_up"):
        assert np.array_equal(getattr(first, column), getattr(again, column)), column
    assert first.reasons == again.reasons
    assert not np.array_equal(first.finishes, other.finishes)


@pytest.mark.parametrize("reading", [None, TIGHT])
def test_every_claim_is_finished_once_and_none_before_its_batch_could_be(reading: Reading | None) -> None:
    trace = workload(BURSTS, Mix(lanes=(3.0, 1.0)), 1)
    curves = (CURVE, LatencyCurve(0.002, 0.000_5))
    served = simulate(trace, World(curves, noise=0.2, delivery=0.004), RULES, reading)
    assert served.sizes.sum() == len(trace)
    assert np.bincount(served.lanes, served.sizes).tolist() == np.bincount(trace.lane).tolist()
    assert served.latencies.min() > 0.004
    ends = np.unique(served.finishes)
    assert (
        len(ends) == len(served.sizes) == len(served.starts) == len(served.reasons) == len(served.decisions)
    )
    assert np.all(np.diff(served.starts) > 0.0)
    assert np.all(served.starts[1:] >= ends[:-1] - 0.004 - 1e-9)


def test_a_device_that_is_slow_now_and_then_does_not_end_in_batches_too_small_to_keep_up() -> None:
    curve, moments = LatencyCurve(0.002, 0.000_045), (1.0, 2.0, 3.0)
    slow = Disturbance(tuple(change for at in moments for change in ((at, 2.5), (at + 0.3, 1.0))))
    times = first_times(Poisson().arrivals(14_000.0, 1), 56_000)
    world = World((curve,), noise=0.3, device=slow, delivery=0.02)
    reading = Reading(claims=20_000, ahead=1_024, poll=2_000, coalesce=0.003, seconds=TIGHT.seconds)
    served = simulate(times, world, BatchingRules(SizeLimits(32, 512), 0.2), reading, {0: curve})
    assert (served.latencies <= 0.2).mean() > 0.97


def test_where_waiting_never_pays_it_is_a_greedy_server() -> None:
    times = first_times(Poisson().arrivals(500.0, 1), 400)
    served = run(times, curve=AT_ONCE)
    greedy = replay(times, Greedy(), AT_ONCE)
    assert np.allclose(served.finishes, greedy.finishes, rtol=0.0, atol=1e-12)
    assert served.sizes.tolist() == greedy.sizes.tolist()
    assert served.makespan == pytest.approx(greedy.finishes[-1] - times[0])
    assert served.throughput == pytest.approx(400 / served.makespan)


def test_what_is_given_up_is_late_and_the_rest_on_time() -> None:
    served = run()
    late = int(np.count_nonzero(served.latencies > RULES.budget + 1e-9))
    assert 0 < late <= served.given_up.sum()
    assert CloseReason.DEADLINE in served.reasons
    assert run(BURSTS * 20).given_up.sum() == 0


def test_claims_stay_in_the_log_while_the_gate_does_not_read() -> None:
    """No more in flight than the bound and one poll; a batch takes no more than that."""
    served = run(reading=TIGHT, delivery=0.02)
    acknowledged = np.searchsorted(np.sort(served.finishes), served.starts, side="right")
    assert (np.cumsum(served.sizes) - acknowledged).max() <= TIGHT.claims + TIGHT.poll


def test_no_more_waits_in_a_lane_than_what_it_may_hold_and_one_poll() -> None:
    served = run(reading=Reading(ahead=32, poll=16))
    # Late claims that were set aside might come on top.
    assert served.given_up.sum() == 0
    assert served.sizes.max() <= 32 + 16
    assert run().sizes.max() > 32 + 16


def test_what_is_ahead_of_a_slow_device_holds_as_in_the_stage_and_never_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flows: list[Flow] = []

    class Noting(ReadingGate):
        def decide(self, stores: Mapping[str, float], ahead: float, now: float) -> ReadingDecision:
            flows.append(super().decide(stores, ahead, now).flow)
            return self.reading

    monkeypatch.setattr(simulator, "ReadingGate", Noting)
    slow = LatencyCurve(0.005, 0.004)
    served = run(np.zeros(400), Reading(claims=1_000, ahead=32, poll=200), curve=slow)
    assert set(flows) == {Flow.READ, Flow.HOLD, Flow.TRICKLE}
    assert served.sizes.sum() == 400


def test_where_much_of_what_may_be_in_flight_is_aside_the_oldest_go_first() -> None:
    times = first_times(Poisson().arrivals(20_000.0, 1), 3_000)

    def overtaken(served: Simulated) -> int:
        """By how many later claims, the one that was most."""
        order = np.argsort(served.finishes, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return int((place - np.arange(len(order))).max())

    assert overtaken(run(times, Reading(claims=400, poll=100))) <= 400 + 100
    assert overtaken(run(times)) > 800


def test_a_poll_waits_for_more_only_while_claims_follow_on_each_other() -> None:
    slow_polls = Reading(coalesce=0.003, seconds=LatencyCurve(0.001, 0.0))
    alone = run(np.array([0.0]), slow_polls, curve=AT_ONCE)
    assert alone.starts.tolist() == [0.001]
    # The first poll lasts from 0 to 1 ms, the second, of two claims, until 2 ms; the third waits as long as both.
    flowing = run(np.array([0.0, 0.000_2, 0.000_4, 0.001_5, 0.004]), slow_polls, curve=AT_ONCE)
    assert flowing.starts.tolist() == pytest.approx([0.001, 0.002, 0.005])
    assert flowing.sizes.tolist() == [1, 2, 2]


def test_between_batches_lies_what_else_the_loop_does() -> None:
    served = run(np.zeros(1_200), between=0.003)
    spent = CURVE.fixed + CURVE.each * served.sizes
    assert np.diff(served.starts) == pytest.approx(spent[:-1] + 0.003)


def test_disturbances_slow_the_device_and_hold_the_output() -> None:
    calm = first_times(Poisson().arrivals(200.0, 1), 100)
    slowed = run(calm, device=Disturbance(((0.2, 3.0), (0.3, 1.0))))
    during = (calm > 0.2) & (calm < 0.28)
    assert slowed.latencies[during].min() > 2 * run(calm).latencies[during].min()
    blocked = run(calm, delivery=0.001, output=Disturbance(((0.2, float("inf")), (0.25, 1.0))))
    assert not np.any((blocked.finishes > 0.201) & (blocked.finishes < 0.25))
    assert blocked.finishes.max() < calm[-1] + 0.05


def test_tokens_take_their_time() -> None:
    trace = workload(np.array([0.0]), Mix(shortest=100, longest=100), 1)
    served = simulate(trace, World((AT_ONCE,), per_token=0.001), RULES, known={0: AT_ONCE})
    assert served.finishes.tolist() == pytest.approx([AT_ONCE.seconds(1) + 0.1])


def test_nothing_arrives_and_nothing_is_done() -> None:
    served = run(np.zeros(0))
    assert (len(served.sizes), served.makespan, served.throughput, served.on_time(0.1)) == (0, 0.0, 0.0, 1.0)
