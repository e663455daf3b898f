"""Pictures of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("Agg")

from matplotlib import pyplot


def windows_plot(results: Sequence[Mapping[str, float]], path: Path) -> None:
    """Throughput of every contestant in every round."""
    figure, axes = pyplot.subplots(figsize=(7, 4))
    names = list(results[0])
    for number, name in enumerate(names):
        places = np.arange(len(results)) + (number - len(names) / 2) * 0.18
        axes.bar(places, [result[name] / 1_000 for result in results], 0.16, label=name)
    axes.set(xlabel="round", ylabel="thousand claims/s", xticks=range(len(results)))
    axes.legend()
    _save(figure, path)


def latency_plot(milliseconds: npt.NDArray[np.float64], path: Path) -> None:
    """Share of claims with at most this latency."""
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot(np.sort(milliseconds), np.linspace(0, 100, len(milliseconds)))
    axes.set(xlabel="latency, ms", ylabel="claims, %", xscale="log")
    axes.grid(visible=True, alpha=0.3)
    _save(figure, path)


def cost_plot(costs: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Cost of a claim by part, one bar a model."""
    figure, axes = pyplot.subplots(1, len(costs), figsize=(9, 3.5))
    for each, (name, parts) in zip(axes, costs.items(), strict=True):
        each.barh(list(parts), list(parts.values()))
        each.invert_yaxis()
        each.set(title=name, xlabel="µs a claim")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def loads_plot(loads: Mapping[str, Sequence[tuple[int, int]]], path: Path) -> None:
    """Loads at once and gathered, by setting; the mean of the runs."""
    figure, axes = pyplot.subplots(figsize=(7, 4))
    places = np.arange(len(loads))
    for number, label in enumerate(("a load at once", "claims gathered first")):
        heights = [float(np.mean([pair[number] for pair in pairs])) for pairs in loads.values()]
        axes.bar(places + (number - 0.5) * 0.35, heights, 0.32, label=label)
    axes.set(ylabel="loads", xticks=places, xticklabels=list(loads))
    axes.legend()
    _save(figure, path)
