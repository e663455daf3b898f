"""The picture of the eviction benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot

if TYPE_CHECKING:
    from bench.eviction.figures import Outcome


def ratios_plot(outcomes: Sequence[Outcome], path: Path) -> None:
    """Each rule on each trace and cache: the geometric mean of the seeds, and how far they reach."""
    places = list(dict.fromkeys((outcome.kind, outcome.budget) for outcome in outcomes))
    names = list(outcomes[0].ratios)
    width = 0.85 / len(names)
    figure, axes = pyplot.subplots(figsize=(11, 4.5))
    for number, name in enumerate(names):
        ratios = [
            [o.ratios[name] for o in outcomes if (o.kind, o.budget) == (kind, budget)]
            for kind, budget in places
        ]
        means = [statistics.geometric_mean(each) for each in ratios]
        reach = [
            [mean - min(each) for mean, each in zip(means, ratios, strict=True)],
            [max(each) - mean for mean, each in zip(means, ratios, strict=True)],
        ]
        left = [place + (number - len(names) / 2 + 0.5) * width for place in range(len(places))]
        axes.bar(left, means, width, yerr=reach, error_kw={"lw": 0.8}, label=name)
    labels = [f"{kind}\n{budget / 1e9:g} GB" for kind, budget in places]
    axes.set(ylabel="load-seconds ÷ offline bound", ylim=(1.0, None))
    axes.set_xticks(range(len(places)), labels)
    axes.legend(ncols=4, fontsize="small")
    axes.grid(visible=True, axis="y", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
