"""What no rule can beat: the flow-based offline optimum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack

from bench.eviction.traces import Trace

Integers = npt.NDArray[np.int64]


def least_load_seconds(trace: Trace, budget: int) -> float:
    """Lower bound of the seconds spent on loads (FOO: Berger, Beckmann, Harchol-Balter 2018, with costs).

    Each interval between two requests of a model may be kept to any part, which saves that part of its reload; between
    any two requests what is kept fits the budget. Not keeping what was just loaded is allowed.

    The capacity rows are written as differences of neighbours, which leaves few entries a column, and in budgets.
    """
    starts, ends, sizes, costs = _intervals(trace)
    length = len(trace.requests)
    total = sum(trace.models[key].cost for key in trace.requests)
    if not len(starts):
        return total
    place = np.arange(len(starts))
    changes = csr_array(
        (
            np.concatenate([sizes, -sizes]) / budget,
            (np.concatenate([starts, ends]), np.concatenate([place, place])),
        ),
        shape=(length, len(starts)),
    )
    slack = eye_array(length) - eye_array(length, k=-1)
    capacity = np.zeros(length)
    capacity[0] = 1.0
    result = linprog(
        np.concatenate([-costs, np.zeros(length)]),
        A_eq=hstack([changes, slack]).tocsc(),
        b_eq=capacity,
        bounds=[(0, 1)] * len(starts) + [(0, None)] * length,
        method="highs",
    )
    if not result.success:
        raise RuntimeError(f"the offline bound of trace {trace.kind} was not found: {result.message}")
    return total + float(result.fun)


def _intervals(trace: Trace) -> tuple[Integers, Integers, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """First and next request, bytes and reload seconds of each interval between requests of one model."""
    last: dict[str, int] = {}
    pairs: list[tuple[int, int, str]] = []
    for number, key in enumerate(trace.requests):
        if key in last:
            pairs.append((last[key], number, key))
        last[key] = number
    return (
        np.array([start for start, _, _ in pairs], dtype=np.int64),
        np.array([end for _, end, _ in pairs], dtype=np.int64),
        np.array([trace.models[key].bytes for _, _, key in pairs], dtype=np.float64),
        np.array([trace.models[key].cost for _, _, key in pairs], dtype=np.float64),
    )
