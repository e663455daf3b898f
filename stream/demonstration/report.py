"""What a demonstration found, in numbers and words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.audit import Finding

Times = npt.NDArray[np.float64]

# What the audit counted, in words.
_WRONG = {
    "lost": "claims without an answer",
    "dead_letters": "dead letters in place of scores",
    "duplicated": "answers beyond the first",
    "mismatched": "scores other than those of the offline pass",
    "wrong_lineage": "answers that do not fit their claim",
    "out_of_order": "scores out of order",
    "altered": "dead letters that are not their claim",
    "unjudged": "answers to claims that are not there",
}


@dataclass(frozen=True, slots=True)
class Report:
    """Latency is input record timestamp to receipt by an outside consumer, milliseconds; None where no score came.

    `acknowledged`: claims that the broker told the publisher it has. `on_time`: share of the scores that came within
    the budget, None where none came. It is measured, not judged: how late claims are depends on what else the machine
    does. `times`: one row a score, published and received, seconds since the epoch.
    """

    finding: Finding
    acknowledged: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    on_time: float | None
    claims_per_s: float
    budget_ms: float
    cache: dict[str, Any]
    times: Times = field(repr=False, compare=False)

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps the run from having passed, in words."""
        counts = {what: getattr(self.finding, name) for name, what in _WRONG.items()}
        faults = [f"{count} {what}" for what, count in counts.items() if count]
        if self.finding.published != self.acknowledged:
            faults.append(
                f"{self.finding.published} claims in the topic, where the broker took {self.acknowledged}"
            )
        return tuple(faults)

    @property
    def passed(self) -> bool:
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        numbers = asdict(self)
        del numbers["times"]
        return {**numbers.pop("finding"), **numbers, "faults": list(self.faults), "passed": self.passed}


def summarize(
    finding: Finding, acknowledged: int, times: Times, budget: float, cache: dict[str, Any]
) -> Report:
    """`times` as the receiver gives them; `budget` in seconds; `cache` as `/ml/cache/status` shows it."""
    if not len(times):
        return Report(finding, acknowledged, None, None, None, None, 0.0, 1_000 * budget, cache, times)
    latency = 1_000 * (times[:, 1] - times[:, 0])
    span = times[:, 1].max() - times[:, 0].min()
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(latency, (50, 95, 99)))
    on_time = float((latency <= 1_000 * budget).mean())
    speed = round(len(times) / max(span, 1e-3), 1)
    return Report(finding, acknowledged, p50, p95, p99, on_time, speed, 1_000 * budget, cache, times)
