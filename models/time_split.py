"""Which claims are learned from, which say when to stop, which measure: by time, as the model will meet them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from models.errors import TrainingError

Days = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]

_EPOCH = date(1970, 1, 1)
_TEST_SHARE = 0.2
_VALIDATION_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Rows of each part, by time; the first day of the validation and of the test."""

    train: Rows
    validation: Rows
    test: Rows
    validation_from: date
    test_from: date


def split(days: Days, labels: npt.NDArray[np.float32], test_from: date | None = None) -> TimeSplit:
    """The latest fifth measures, or what is of `test_from` and later; of the rest the latest 15 % say when to stop.

    No day is in two parts. `days` count from 1970-01-01. Raises TrainingError for a part in which a class is missing.
    """
    order = np.argsort(days, kind="stable")
    ordered = days[order]
    end = _start(ordered, _TEST_SHARE) if test_from is None else (test_from - _EPOCH).days
    earlier = ordered[: np.searchsorted(ordered, end)]
    middle = _start(earlier, _VALIDATION_SHARE) if len(earlier) else end
    train, validation, test = np.split(order, np.searchsorted(ordered, [middle, end]))
    found = TimeSplit(train, validation, test, _day(middle), _day(end))
    _check(found, labels)
    return found


def _start(ordered: Days, share: float) -> int:
    """The day from which on about that share lies."""
    return int(ordered[int(len(ordered) * (1 - share))])


def _day(days: int) -> date:
    return _EPOCH + timedelta(days)


def _check(found: TimeSplit, labels: npt.NDArray[np.float32]) -> None:
    spans = {
        "train": f"before {found.validation_from}",
        "validation": f"from {found.validation_from} to before {found.test_from}",
        "test": f"from {found.test_from} on",
    }
    for name, span in spans.items():
        rows = getattr(found, name)
        positives = int(labels[rows].sum())
        if positives in (0, len(rows)):
            raise TrainingError(
                f"the {name} part, {span}, has {positives} positive of {len(rows)} labelled claims: it needs both "
                "classes; choose another day (--test-from) or give more claims"
            )
