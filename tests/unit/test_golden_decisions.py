"""What batching decides on three small traces, kept as it was: whoever changes a rule sees what else it changes.

`python -m tests.unit.test_golden_decisions` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.batching.simulator import Reading, Simulated, World, simulate
from stream.batch_sizer import SizeLimits
from stream.batching import BatchingRules
from stream.cost_model import LatencyCurve
from stream.publishing.arrivals import first_times
from stream.publishing.patterns import Bursts, Poisson
from stream.publishing.workload import Mix, workload

GOLDEN = Path(__file__).parent.parent / "golden"
CURVE, SLOW = LatencyCurve(0.005, 0.000_1), LatencyCurve(0.010, 0.000_4)
RULES = BatchingRules(SizeLimits(8, 256), 0.067)
READING = Reading(4_000, 256, 500, 0.003, LatencyCurve(0.000_5, 0.000_005))


def _calm() -> Simulated:
    times = first_times(Poisson().arrivals(2_000.0, 1), 600)
    return simulate(times, World((CURVE,), delivery=0.004), RULES, READING, {0: CURVE})


def _bursts() -> Simulated:
    times = first_times(Bursts(height=10.0, burst=0.05, calm=0.2).arrivals(6_000.0, 1), 2_500)
    return simulate(times, World((CURVE,), delivery=0.004), RULES, READING, {0: CURVE})


def _two_models() -> Simulated:
    times = first_times(Poisson().arrivals(3_000.0, 2), 900)
    trace = workload(times, Mix(lanes=(0.7, 0.3)), 5)
    return simulate(trace, World((CURVE, SLOW), delivery=0.004), RULES, READING, {0: CURVE, 1: SLOW})


TRACES: dict[str, Callable[[], Simulated]] = {"calm": _calm, "bursts": _bursts, "two-models": _two_models}


def _log(served: Simulated) -> str:
    """One line a batch: when it began, of which lane, why, how many, and how many were given up for it."""
    rows = zip(
        np.round(1_000 * served.starts, 2).tolist(),
        served.lanes.tolist(),
        served.reasons,
        served.sizes.tolist(),
        served.given_up.tolist(),
        strict=True,
    )
    lines = [
        f"{start:9.2f} ms  lane {lane}  {why.value:<8} {size:4d} {gone:4d}"
        for start, lane, why, size, gone in rows
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", TRACES)
def test_decisions_are_what_they_were(name: str) -> None:
    assert _log(TRACES[name]()) == (GOLDEN / f"{name}.txt").read_text()


if __name__ == "__main__":
    for each, run in TRACES.items():
        (GOLDEN / f"{each}.txt").write_text(_log(run()))
