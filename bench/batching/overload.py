"""More claims than the device can score, for a while: what it does with them, and how it comes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.batching.cases import LARGEST, LIMITS, capacity
from bench.batching.simulator import Reading, World, simulate
from stream.batching import BatchingRules
from stream.cost_model import LatencyCurve
from stream.publishing.arrivals import Steps, poisson_times, times_within
from stream.publishing.workload import Mix, workload
from stream.rhythm import BATCHES_AHEAD

# What a worker holds unless told otherwise.
READING = Reading(claims=16_384, ahead=BATCHES_AHEAD * LARGEST, poll=2_000, coalesce=0.003)


@dataclass(frozen=True, slots=True)
class Course:
    """`overload` is a share of the most claims a second that batches of the largest size score, `afterwards` one of
    what can be on time. Times in seconds.
    """

    overload: float = 1.5
    lasts: float = 5.0
    afterwards: float = 0.5
    rest: float = 10.0


@dataclass(frozen=True, slots=True)
class Overload:
    """`throughput`: claims a second in the second half of the overload, as a share of the most. Times in seconds.

    `recovery`: from the end of the overload until the last claim came that was not on time. `least`: how long what was
    left at the end takes at the highest speed, while others come.
    """

    throughput: float
    recovery: float
    least: float


def overload(
    curve: LatencyCurve,
    budget: float,
    course: Course,
    reading: Reading = READING,
    shares: tuple[float, ...] = (1.0,),
) -> Overload:
    """One overload and its aftermath, from seed 1. `shares` of the claims go to one model each, all as fast."""
    most = LARGEST / curve.seconds(LARGEST)
    rates = np.array([course.overload * most, course.afterwards * capacity(curve, budget)])
    steps = Steps(np.array([course.lasts, 2 * course.rest]), rates)
    times = times_within(poisson_times(iter([steps]), np.random.default_rng(1)), course.lasts + course.rest)
    rules = BatchingRules(LIMITS, budget)
    claims, curves = workload(times, Mix(lanes=shares), 1), (curve,) * len(shares)
    served = simulate(claims, World(curves), rules, reading, dict(enumerate(curves)))
    late = times[served.latencies > budget]
    half = course.lasts / 2
    finished = np.count_nonzero((served.finishes > half) & (served.finishes <= course.lasts))
    left = np.count_nonzero((times <= course.lasts) & (served.finishes > course.lasts))
    return Overload(
        float(finished / (half * most)),
        max(float(late.max(initial=0.0)) - course.lasts, 0.0),
        float(left) / (most - float(rates[1])),
    )
