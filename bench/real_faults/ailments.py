"""What may be wrong with every forward, or with the clock, of all workers for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bench.real_faults.levers import Levers
from models import DeviceError
from models.null import NullModel
from models.protocols import Tensors
from stream.clock import SystemClock

NOT_FINITE, RAISES, MEMORY, DEVICE, HANGS, SLOW = (
    "not-finite",
    "raises",
    "memory",
    "device",
    "hangs",
    "slow",
)
CLOCK_AHEAD, CLOCK_BEHIND = "clock-ahead", "clock-behind"
# Claims whose totals, in cents, are divisible by this are the ones that ail.
POISONED_EVERY = 41
LARGEST = 4
JUMP = 3_600.0
_FOR_EVER, _SLOWLY = 3_600.0, 0.05

Forward = Callable[[NullModel, Tensors], npt.NDArray[np.float32]]


def infect(levers: Levers) -> None:
    """Put the ailments into the model `null` and the clock of this process."""
    forward, wall = NullModel.score, SystemClock.wall

    def score(self: NullModel, features: Tensors) -> npt.NDArray[np.float32]:
        _before(levers, features)
        scores = forward(self, features)
        if levers.ails(NOT_FINITE):
            scores[_poisoned(features)] = np.nan
        return scores

    def shifted(self: SystemClock) -> float:
        ahead, behind = levers.ails(CLOCK_AHEAD), levers.ails(CLOCK_BEHIND)
        return wall(self) + JUMP * (ahead - behind)

    NullModel.score = score  # type: ignore[method-assign]
    SystemClock.wall = shifted  # type: ignore[method-assign]


def _before(levers: Levers, features: Tensors) -> None:
    if levers.ails(HANGS):
        levers.cure(HANGS)
        time.sleep(_FOR_EVER)
    if levers.ails(SLOW):
        time.sleep(_SLOWLY)
    if levers.ails(DEVICE):
        raise DeviceError("null: the device does not answer any more, says the ailment")
    if levers.ails(MEMORY) and len(features["totals"]) > LARGEST:
        raise MemoryError(f"more than {LARGEST} claims, says the ailment")
    if levers.ails(RAISES) and _poisoned(features).any():
        raise RuntimeError("cannot take this one, says the ailment")


def _poisoned(features: Tensors) -> npt.NDArray[np.bool_]:
    return poisoned(features["totals"][:, 0])


def poisoned(charges: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which claims ail, by their total charges; shape (n,)."""
    cents = np.rint(charges.astype(np.float64) * 100).astype(np.int64)
    found: npt.NDArray[np.bool_] = cents % POISONED_EVERY == 0
    return found
