"""`claimstream score` against a plain loop over the same model: what reading, lineage and durability cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.plots import windows_plot
from bench.report import Figure, spread
from bench.windows import one_round
from models import CacheOptions
from stream.allocator import keep_freed_memory
from stream.clock import SystemClock
from stream.offline import (
    Fleet,
    Layout,
    OfflineScorer,
    Portions,
    Store,
    identity_of,
    opened_models,
    origin_of,
    score_all,
)
from stream.publishing import generate, open_claims
from stream.turns import hand_over_quickly

_ROUTES = {"*": ["claims_filter"]}
_SEED = 11
_FILE = "claims.parquet"


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """`score_vs_model`, and the same against the forward alone; contestants alternate in one run, one torch thread."""
    count, rounds = (40_000, 3) if quick else (150_000, 7)
    # As the command and the stage have it, for all contestants.
    hand_over_quickly()
    keep_freed_memory()
    options = CacheOptions(redis_url=None, device="cpu", threads=1)
    with TemporaryDirectory() as name, opened_models(options, _ROUTES) as fleet:
        contestants = _contestants(Path(name), list(generate(count, _SEED)), fleet)
        results = [one_round(contestants, count, number) for number in range(rounds)]
    windows_plot(results, plots / "score.png")
    return _figures(results)


def _figures(results: list[dict[str, float]]) -> list[Figure]:
    ratios = {name: [result["score"] / result[name] for result in results] for name in ("loop", "forward")}
    speeds = [result["score"] for result in results]
    return [
        Figure(
            "score_vs_model",
            statistics.median(ratios["loop"]),
            "x",
            "≥ 0.95",
            f"{spread(ratios['loop'])}; Parquet to Parquet, against features and forward of claims in memory",
        ),
        Figure(
            "score_vs_forward",
            statistics.median(ratios["forward"]),
            "x",
            "",
            f"{spread(ratios['forward'])}; the same against the forward alone, features made before",
        ),
        Figure("score_per_s", statistics.median(speeds), "claims/s", "", spread(speeds)),
    ]


def _contestants(
    folder: Path, batches: list[pa.RecordBatch], fleet: Fleet
) -> dict[str, Callable[[], object]]:
    """`score` does what the command does, from opening the file to the output in its place."""
    layout, model = Layout(512), fleet.leases[0].model
    claims = pa.concat_batches(batches)
    pq.write_table(pa.Table.from_batches([claims]), folder / _FILE)
    portions = [claims.slice(at, layout.portion) for at in range(0, claims.num_rows, layout.portion)]
    ready = [_cut(model.features.encode(portion), layout.batch) for portion in portions]
    return {
        "forward": lambda: [model.score(batch) for cut in ready for batch in cut],
        "loop": lambda: [
            model.score(batch)
            for portion in portions
            for batch in _cut(model.features.encode(portion), layout.batch)
        ],
        "score": lambda: _score(folder, fleet, layout),
    }


def _cut(tensors: dict[str, Any], size: int) -> list[dict[str, np.ndarray[Any, Any]]]:
    count = len(next(iter(tensors.values())))
    return [
        {name: tensor[start : start + size] for name, tensor in tensors.items()}
        for start in range(0, count, size)
    ]


def _score(folder: Path, fleet: Fleet, layout: Layout) -> None:
    output, clock = folder / "scores.parquet", SystemClock()
    output.unlink(missing_ok=True)
    source = open_claims(folder / _FILE)
    identity = identity_of(origin_of(folder / _FILE, None, None), fleet, _ROUTES, layout)
    with Store.open(output, identity) as store:
        scorer = OfflineScorer(fleet, _ROUTES, layout, _FILE, clock)
        score_all(Portions(source, layout.portion), scorer, store)
        store.deliver()
