"""What claims of a workload are like, and how the world slows down."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream.publishing.disturbance import Disturbance
from stream.publishing.workload import Mix, workload

TIMES = np.arange(200_000) / 1_000


def test_tokens_are_heavy_tailed_within_their_bounds() -> None:
    tokens = workload(TIMES, Mix(shortest=8, longest=512, tail=1.5), 1).tokens
    assert (tokens.min(), tokens.max()) == (8, 512)
    cut = (8 / 513) ** 1.5
    for bound in (16, 64, 128):
        share = ((8 / bound) ** 1.5 - cut) / (1 - cut)
        assert (tokens >= bound).mean() == pytest.approx(share, rel=0.05), bound


def test_lanes_and_partitions_have_their_shares_and_keys_one_partition() -> None:
    trace = workload(TIMES, Mix(lanes=(3.0, 0.0, 1.0), partitions=4, hot=0.6, keys=10), 1)
    assert np.bincount(trace.lane) / len(trace) == pytest.approx([0.75, 0.0, 0.25], abs=0.01)
    assert np.bincount(trace.partition) / len(trace) == pytest.approx([0.7, 0.1, 0.1, 0.1], abs=0.01)
    owners = {(key, place) for key, place in zip(trace.key.tolist(), trace.partition.tolist(), strict=True)}
    assert sorted(owners) == [(key, key % 4) for key in range(10)]


def test_without_a_hot_partition_all_are_alike() -> None:
    trace = workload(TIMES, Mix(partitions=5), 1)
    assert np.bincount(trace.partition) / len(trace) == pytest.approx([0.2] * 5, abs=0.01)
    assert set(workload(TIMES, Mix(hot=1.0), 1).partition) == {0}


def test_the_first_claims_do_not_depend_on_how_many_follow() -> None:
    few, many = workload(TIMES[:50], Mix(), 3), workload(TIMES, Mix(), 3)
    for column in ("times", "tokens", "lane", "partition", "key"):
        assert np.array_equal(getattr(few, column), getattr(many, column)[:50]), column
        assert getattr(few, column).dtype == (np.float64 if column == "times" else np.int32)
    assert not np.array_equal(few.tokens, workload(TIMES[:50], Mix(), 4).tokens)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"shortest": 0}, "the shortest"),
        ({"shortest": 9, "longest": 8}, "9 to 8 tokens"),
        ({"tail": 0.0}, "exponent"),
        ({"lanes": ()}, "weights"),
        ({"lanes": (0.0,)}, "weights"),
        ({"lanes": (1.0, -1.0)}, "weights"),
        ({"partitions": 5, "keys": 4}, "each partition needs a key"),
        ({"partitions": 0}, "0 partitions"),
        ({"hot": 1.5}, "hot partition"),
    ],
)
def test_a_mix_that_is_none_is_refused(numbers: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mix(**numbers)  # type: ignore[arg-type]


def test_work_goes_on_at_the_speed_of_each_moment() -> None:
    slow = Disturbance(((1.0, 2.0), (3.0, math.inf), (5.0, 1.0)))
    cases = {
        (0.0, 1.0): 1.0,
        (0.0, 1.5): 2.0,
        (0.0, 2.0): 3.0,
        (0.0, 2.5): 5.5,
        (2.0, 0.25): 2.5,
        (4.0, 1.0): 6.0,
        (9.0, 1.0): 10.0,
    }
    assert {case: slow.finish(*case) for case in cases} == cases
    assert Disturbance().finish(2.0, 0.5) == 2.5


def test_at_the_end_of_a_standstill_nothing_was_done() -> None:
    assert Disturbance(((0.0, math.inf), (3.0, 0.5))).finish(0.0, 1.0) == 3.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (((1.0, 2.0), (1.0, 1.0)), "ascend"),
        (((1.0, 0.0),), "factors above 0"),
        (((math.nan, 1.0),), "finite moments"),
        (((1.0, math.nan),), "factors above 0"),
        (((1.0, math.inf),), "must end"),
    ],
)
def test_a_disturbance_that_is_none_is_refused(
    changes: tuple[tuple[float, float], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Disturbance(changes)
