"""What a demonstration found: numbers, words and a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
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
    does.
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
        return {**numbers.pop("finding"), **numbers, "faults": list(self.faults), "passed": self.passed}


def summarize(
    finding: Finding, acknowledged: int, times: Times, budget: float, cache: dict[str, Any]
) -> Report:
    """`times` as the receiver gives them; `budget` in seconds; `cache` as `/ml/cache/status` shows it."""
    if not len(times):
        return Report(finding, acknowledged, None, None, None, None, 0.0, 1_000 * budget, cache)
    latency = 1_000 * (times[:, 1] - times[:, 0])
    span = times[:, 1].max() - times[:, 0].min()
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(latency, (50, 95, 99)))
    on_time = float((latency <= 1_000 * budget).mean())
    speed = round(len(times) / max(span, 1e-3), 1)
    return Report(finding, acknowledged, p50, p95, p99, on_time, speed, 1_000 * budget, cache)


def draw(times: Times, budget: float, path: Path) -> None:
    """Latency over the run and its distribution, against the budget, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    latency = np.maximum(1_000 * (times[:, 1] - times[:, 0]), 0.5)
    figure, (over_time, share) = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, width_ratios=(2, 1))
    over_time.plot(times[:, 0] - times[:, 0].min(), latency, ".", markersize=1.5, alpha=0.4)
    over_time.set(xlabel="claim published, s", ylabel="latency, ms", yscale="log", title="Every claim")
    share.plot(np.linspace(0, 100, len(latency)), np.sort(latency))
    share.set(xlabel="claims, %", title="Share of claims with at most this latency")
    for axes in (over_time, share):
        axes.axhline(1_000 * budget, color="tab:red", linestyle="--", label="budget")
        axes.grid(visible=True, alpha=0.3)
    over_time.legend(loc="upper right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
