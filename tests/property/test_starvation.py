"""Whatever the other lanes do, a claim is scored some batches after it has been late for too long."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.batch_policy import Wait
from stream.batch_sizer import SizeLimits
from stream.batching import BatchingRules
from stream.cost_model import LatencyCurve
from tests.unit.test_batching import Desk

BUDGET, LATEST, MOST = 0.2, 0.5, 64
RULES = BatchingRules(SizeLimits(8, MOST), BUDGET, latest=LATEST)
START, STEP = 100.0, 0.003


@dataclass(frozen=True)
class Traffic:
    """What comes to a lane: claims a second, the share of them that are late when they come, and how fast it is.

    Its model is away for so many seconds from the start. `head_start` is of its priority.
    """

    rate: float
    late: float
    curve: LatencyCurve
    away: float = 0.0
    head_start: float = 0.0


traffics = st.builds(
    Traffic,
    st.one_of(st.just(0.0), st.floats(1.0, 20_000.0)),
    st.sampled_from([0.0, 0.0, 0.1, 1.0]),
    st.builds(LatencyCurve, st.floats(0.0005, 0.008), st.floats(0.00002, 0.001)),
    st.sampled_from([0.0, 0.0, 0.3, 0.8]),
    st.sampled_from([0.0, 0.0, -0.5 * BUDGET, 0.5 * BUDGET, BUDGET]),
)
# Claims that come to the first lane at the start, by the seconds that each has left then.
victims = st.lists(st.floats(-2.0, BUDGET), min_size=1, max_size=4)


class Play:
    """Lanes, who comes to them, and a device on a virtual clock."""

    def __init__(self, traffic: list[Traffic], first: list[float], seed: int) -> None:
        starts = {f"model_v{lane}": each.head_start for lane, each in enumerate(traffic)}
        self.desk = Desk(*(each.curve for each in traffic), rules=replace(RULES, head_starts=starts))
        self.traffic, self._chance, self._come = traffic, np.random.default_rng(seed), START
        self.desk.push(0, sorted(START + left for left in first), START)
        self.missing = set(range(len(first)))

    def go_on(self, now: float) -> float:
        """One decision, and its batch; when the device is free again."""
        self._arrive(now)
        away = {lane for lane, each in enumerate(self.traffic) if now < START + each.away}
        self.desk.models.absent = away
        chosen = self.desk.batcher.next(now)
        if isinstance(chosen, Wait):
            assert chosen.until > now
            return min(chosen.until, now + STEP)
        self.missing -= set(chosen.batch.rows.tolist())
        return now + self.traffic[chosen.batch.lane].curve.seconds(len(chosen.batch.rows))

    def _arrive(self, now: float) -> None:
        for lane, each in enumerate(self.traffic):
            moments = np.sort(
                self._chance.uniform(self._come, now, self._chance.poisson(each.rate * (now - self._come)))
            )
            late = self._chance.uniform(size=len(moments)) < each.late
            self.desk.push(lane, (moments + np.where(late, -1.0, BUDGET)).tolist(), now)
        self._come = now


@settings(max_examples=60, deadline=None)
@given(st.lists(traffics, min_size=1, max_size=4), victims, st.sampled_from([0.0, 5.0]), st.integers(0, 99))
@example(
    [Traffic(0.0, 0.0, LatencyCurve(0.004, 0.0001)), Traffic(5_000.0, 0.0, LatencyCurve(0.004, 0.0001))],
    [-1.0],
    0.0,
    1,
)
def test_nobody_is_starved(traffic: list[Traffic], first: list[float], rate: float, seed: int) -> None:
    """To their own lane come few others, who may be due before them; to the other lanes whatever comes."""
    traffic = [replace(traffic[0], rate=rate), *traffic[1:]]
    play, now = Play(traffic, first, seed), START
    longest = max(each.curve.seconds(MOST) for each in traffic)
    # A lane that was passed over for a budget has its turn, later by the head starts of others and their own turns.
    turn = 3.0 * BUDGET + len(traffic) * longest
    end = START + max(traffic[0].away, BUDGET) + 2.0 * LATEST + turn * len(first)
    while play.missing and now < end:
        now = play.go_on(now)
    assert not play.missing
