"""How long a partition that moved was silent."""

from __future__ import annotations

import numpy as np
import pytest

from bench.delivery import silence

MOVED, SETTLED = 100.0, 3.0


@pytest.mark.parametrize("seconds", [0.5, 2.0, 10.0])
def test_silence_is_told_however_long_it_lasts(seconds: float) -> None:
    stamps = np.concatenate((np.arange(90.0, MOVED, 0.01), MOVED + seconds + np.arange(0.0, 5.0, 0.01)))
    assert silence(stamps, MOVED, SETTLED) == pytest.approx(seconds + 0.01, abs=0.011)


def test_only_what_is_around_the_move_counts() -> None:
    stamps = np.array([50.0, 97.5, 98.5, 99.5, 100.5, 101.5, 102.5, 103.5, 180.0])
    assert silence(stamps, MOVED, SETTLED) == 1.0


@pytest.mark.parametrize("stamps", [[], [99.0], [99.0, 101.0], [50.0, 104.0, 105.0]])
def test_too_few_results_are_no_silence(stamps: list[float]) -> None:
    with pytest.raises(RuntimeError, match="cannot be told"):
        silence(np.array(stamps), MOVED, SETTLED)
