"""Writes `docs/metrics.md` from the metrics that there are: `python -m stream.metrics_page`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stream.metrics import DEFINITIONS, PREFIX, Definition

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

_INTRODUCTION = """\
# Metrics

Generated from `stream/metrics.py` by `python -m stream.metrics_page`; a test keeps both equal. Which of them to watch,
and what to do, is in [operations.md](operations.md#what-to-watch).

`GET /metrics` gives those of an instance: sums over its workers, unless the row says otherwise. A counter goes on when
a worker is started again. A histogram has `_bucket`, `_sum` and `_count`. On Linux there are also the `process_…`
metrics of Prometheus' client, which are of the supervisor's process.

| Metric | Type | Labels | What it says |
| --- | --- | --- | --- |
"""


def markdown() -> str:
    """The page."""
    return _INTRODUCTION + "".join(f"| {' | '.join(row)} |\n" for row in _rows())


def _rows() -> Iterator[tuple[str, ...]]:
    for name, metric in sorted(DEFINITIONS.items()):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"`{PREFIX}{name}`", _kind(metric), labels, metric.text


def _kind(metric: Definition) -> str:
    if metric.buckets:
        return "histogram"
    return "gauge" if metric.gauge else "counter"


if __name__ == "__main__":
    PAGE.write_text(markdown(), encoding="utf-8")
