"""`claimstream models tune`: measures what micro-batches of a model cost here, so that the stage knows it at once."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.cli.examples import example
from stream.cli.models.options import as_input, json_option, readable, repository_option
from stream.cli.output import emit_json, notice, progress, table
from stream.cost_model import CostModel, LatencyCurve
from stream.errors import ClaimstreamError
from stream.speeds import Speeds, default_file, is_speed, name_of

if TYPE_CHECKING:
    from models import Model

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_SEED = 7


@dataclass(frozen=True, slots=True)
class Tuned:
    """Milliseconds by batch size (median), and the line through them."""

    model: str
    milliseconds: dict[int, float]
    fixed_ms: float
    each_us: float
    kept: bool


@click.command(
    epilog=example("claimstream models tune claims_filter_v2.1", "claimstream models tune m --rounds 50")
)
@click.argument("name")
@repository_option
@click.option("--rounds", type=click.IntRange(3), default=20, show_default=True, help="Batches of each size.")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="As workers.torch_threads."
)
@click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), help="As batching.speeds_file.", default=None
)
@json_option
def tune(
    name: str, repository: Path | None, rounds: int, threads: int, file: Path | None, *, as_json: bool
) -> None:
    """Score generated claims with NAME in batches of every size, and remember the speed for the stage."""
    notice(f"loading {name}")
    # torch takes seconds to import, which the commands beside this one do not owe.
    from models import open_model

    with as_input():
        model = open_model(name, repository=readable(repository).root, threads=threads)
    with progress(f"tuning {name}", rounds * len(_SIZES)) as bar:
        times = _measured(model, rounds, bar.advance)
    if not is_speed(curve := _fitted(times)):
        raise ClaimstreamError(
            f"{name}: large batches took no longer than small ones, nothing is kept; give more --rounds"
        )
    place = file or default_file()
    kept = Speeds(place).remember({name_of(model.identity): curve})
    medians = {size: round(1_000 * statistics.median(each), 3) for size, each in times.items()}
    tuned = Tuned(name_of(model.identity), medians, 1_000 * curve.fixed, 1e6 * curve.each, kept)
    if as_json:
        emit_json({**asdict(tuned), "file": str(place)})
    else:
        _print(tuned, place)
    if not kept:
        raise ClaimstreamError(f"{place}: what was measured is not kept; name another --file")


def _measured(model: Model, rounds: int, advance: Callable[[], None]) -> dict[int, list[float]]:
    """Seconds of each batch; sizes take turns, so that a slow moment of the machine meets them all."""
    from stream.publishing import generate

    features = model.features.encode(next(iter(generate(max(_SIZES), _SEED))))
    times: dict[int, list[float]] = {size: [] for size in _SIZES}
    model.warm_up(_SIZES)
    order = [size for size in _SIZES for _ in range(rounds)]
    random.Random(_SEED).shuffle(order)  # noqa: S311 - no secret
    for size in order:
        batch = {name: tensor[:size] for name, tensor in features.items()}
        started = time.perf_counter()
        model.score(batch)
        times[size].append(time.perf_counter() - started)
        advance()
    return times


def _fitted(times: dict[int, list[float]]) -> LatencyCurve:
    cost = CostModel()
    for size, each in times.items():
        cost.observe(size, statistics.median(each))
    return cost.curve


def _print(tuned: Tuned, place: Path) -> None:
    rows = [
        (
            str(size),
            f"{took:.2f}",
            f"{1_000 * size / took:,.0f}",
            f"{tuned.fixed_ms + size * tuned.each_us / 1_000:.2f}",
        )
        for size, took in tuned.milliseconds.items()
    ]
    click.echo(table(rows, ("CLAIMS", "MS", "CLAIMS/S", "LINE MS")))
    kept = f"; kept in {place}" if tuned.kept else ""
    click.echo(f"{tuned.model}: {tuned.fixed_ms:.2f} ms + {tuned.each_us:.1f} µs a claim{kept}")
