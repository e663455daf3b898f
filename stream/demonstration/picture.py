"""The picture of a demonstration, in its place as a whole or not at all."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np

from models import durable
from stream.demonstration.report import Report
from stream.errors import UsageError

_KINDS = (".png", ".svg", ".pdf")


def check_place(path: Path) -> None:
    """Makes the folder. Raises UsageError where no picture can be written."""
    if path.suffix.lower() not in _KINDS:
        raise UsageError(f"a picture cannot be {path}: end its name in {', '.join(_KINDS)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return
    except OSError as error:
        raise UsageError(
            f"no picture can be written to {path.parent}: {error.strerror}; name another --picture"
        ) from error


def draw(report: Report, path: Path) -> None:
    """Latency over the run and its distribution, against the budget. Raises OSError."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    times = report.times
    latency = np.maximum(1_000 * (times[:, 1] - times[:, 0]), 0.5)
    figure, (over_time, share) = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, width_ratios=(2, 1))
    over_time.plot(times[:, 0] - times[:, 0].min(), latency, ".", markersize=1.5, alpha=0.4)
    over_time.set(xlabel="claim published, s", ylabel="latency, ms", yscale="log", title="Every claim")
    share.plot(np.linspace(0, 100, len(latency)), np.sort(latency))
    share.set(xlabel="claims, %", title="Share of claims with at most this latency")
    for axes in (over_time, share):
        axes.axhline(report.budget_ms, color="tab:red", linestyle="--", label="budget")
        axes.grid(visible=True, alpha=0.3)
    over_time.legend(loc="upper right")
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=120, format=path.suffix.lower().lstrip("."))
    pyplot.close(figure)
    durable.write(path, drawn.getvalue())
