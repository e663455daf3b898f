"""The pictures of the batching benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot
from matplotlib.ticker import LogLocator, NullLocator

from bench.batching.replay import Served
from bench.batching.showcase import BOUND, STAGE, Loads
from bench.batching.simulator import Simulated

_BINS = 150
_STYLES: Mapping[str, dict[str, Any]] = {
    BOUND: {"color": "0.4", "ls": "--"},
    STAGE: {"color": "black", "lw": 2.5},
}


def latencies_plot(served: Mapping[str, Served], budget: float, path: Path) -> None:
    """The share of claims with at most this latency, of each contestant."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for name, each in served.items():
        share = np.linspace(0, 100, len(each.times))
        label = f"{name} ({each.on_time(budget):.0%} on time)"
        axes.plot(np.sort(each.latencies) * 1_000, share, label=label, **_style(name))
    axes.axvline(budget * 1_000, color="0.4", ls="--", lw=1)
    axes.annotate(f"budget {budget * 1_000:g} ms", (budget * 1_000, 94), (4, 0), textcoords="offset points")
    axes.set(xlabel="latency, ms", ylabel="claims, %", xscale="log", ylim=(0, 100), xlim=(5, None))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="lower right", fontsize="small")
    _save(figure, axes, path)


def sizes_plot(served: Simulated, capacity: float, path: Path) -> None:
    """Arrivals a second, and below them each batch: when it began, how large it was, what it gave up."""
    figure, (rates, sizes) = pyplot.subplots(2, 1, figsize=(9, 5.5), sharex=True)
    counts, edges = np.histogram(served.times, _BINS)
    width = edges[1] - edges[0]
    rates.fill_between(edges[:-1], counts / width / 1_000, step="post", alpha=0.5)
    rates.axhline(capacity / 1_000, color="0.4", ls="--", label="capacity")
    rates.set(ylabel="thousand claims/s")
    rates.legend(loc="upper right", fontsize="small")
    gave_up = served.given_up > 0
    for chosen, label in ((~gave_up, "batch"), (gave_up, "batch for which older claims were given up")):
        sizes.scatter(
            served.starts[chosen],
            served.sizes[chosen],
            s=9,
            label=label,
            color="C3" if label != "batch" else "C0",
        )
    sizes.set(xlabel="seconds", ylabel="claims in a batch", yscale="log")
    sizes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    sizes.yaxis.set_minor_locator(NullLocator())
    sizes.yaxis.set_major_formatter("{x:g}")
    sizes.legend(loc="upper left", fontsize="small")
    rates.grid(visible=True, alpha=0.3)
    _save(figure, sizes, path)


def goodput_plot(panels: Sequence[Loads], path: Path) -> None:
    """Shares on time by load, one panel a pattern."""
    figure, axes = pyplot.subplots(1, len(panels), figsize=(11, 4.2), sharey=True, squeeze=False)
    for each, panel in zip(axes[0], panels, strict=True):
        for name, shares in panel.shares.items():
            each.plot(panel.loads, [100 * share for share in shares], label=name, **_style(name))
        each.set(xlabel="load ÷ capacity", title=panel.pattern, ylim=(0, 102))
        each.grid(visible=True, alpha=0.3)
    axes[0][0].set(ylabel="claims on time, %")
    axes[0][0].legend(loc="lower left", fontsize="small")
    _save(figure, axes[0][-1], path)


def _style(name: str) -> dict[str, Any]:
    return _STYLES.get(name, {"lw": 1.2})


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.grid(visible=True, alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
