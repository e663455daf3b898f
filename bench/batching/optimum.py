"""What no policy can beat: the most claims on time when all arrivals are known and late work is free.

A claim is released when it arrives and due `budget` later, so deadlines ascend with releases. Then an optimal batch is
a block of consecutive claims that ends at its last one. Take a schedule, its claims in the order of arrival (two claims
on time in the wrong order may change places: the earlier one is released by then, the later one due later). A batch
that ends at claim j cannot start before j arrives, so each of its claims may be replaced by a later one up to j that is
not served: it is there by then, it is due later, and the batch takes as long as before. Hence batch after batch takes
the latest claims up to its last one, and claims that are given up lie between batches.

What is left is a dynamic programme in the manner of Baptiste, Batching identical jobs, 2000 (there for one machine,
setup times and any deadlines): the earliest finish of the first i claims of which at most g are given up. A batch of
the last m leaves g as it is; giving claim i up takes one from it.
"""

from __future__ import annotations

import numpy as np

from stream.cost_model import LatencyCurve
from stream.publishing.arrivals import Floats


def most_on_time(times: Floats, curve: LatencyCurve, budget: float, largest: int) -> int:
    """How many of the claims that arrive at `times`, ascending, one server can finish within `budget` seconds.

    Batches hold at most `largest` claims. Memory grows with the square of the number of claims.
    """
    if not len(times):
        return 0
    seconds = np.array([curve.seconds(size) for size in range(1, largest + 1)])
    # Of no claims, or of no more than are given up, nothing needs to be done.
    finish = np.full((len(times) + 1, len(times) + 1), -np.inf)
    for seen in range(1, len(times) + 1):
        finish[seen] = _finishes(finish, times, seconds, budget, seen)
    return int(np.count_nonzero(finish[-1] < np.inf)) - 1


def _finishes(finish: Floats, times: Floats, seconds: Floats, budget: float, seen: int) -> Floats:
    """The earliest finish of the first `seen` claims, by how many are given up at most: infinite where that is too few.

    It falls with what is given up and rises with the claims, which leaves a narrow band to search: on its left even
    one claim less is too many, on its right the server is idle when the last claim arrives, and serves it alone.
    """
    last = times[seen - 1]
    best = np.concatenate([[np.inf], finish[seen - 1, :-1]])
    most = _longest_block(times[:seen], seconds, budget)
    if not most:
        return best
    before = finish[seen - most : seen][::-1]
    left = int(np.count_nonzero(before[0] == np.inf))
    idle = int(np.count_nonzero(before[0] > last))
    best[idle:] = np.minimum(best[idle:], last + seconds[0])
    if left < idle:
        blocks = np.maximum(before[:, left:idle], last) + seconds[:most, None]
        due = times[seen - most : seen][::-1, None] + budget
        best[left:idle] = np.minimum(best[left:idle], np.where(blocks <= due, blocks, np.inf).min(axis=0))
    return best


def _longest_block(times: Floats, seconds: Floats, budget: float) -> int:
    """How many of the last claims an idle server can still finish in time when the last one arrives."""
    newest = times[::-1][: len(seconds)]
    return int(np.count_nonzero(times[-1] + seconds[: len(newest)] <= newest + budget))
