"""`claimstream bench`: the figures that the README quotes."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import click

from stream.cli.examples import example
from stream.cli.output import table
from stream.errors import UsageError

_NAMES = {
    "host": "host",
    "end-to-end": "end_to_end",
    "stages": "stages",
    "scaling": "scaling",
    "models": "models",
    "batching": "batching",
    "padding": "batching.padding",
    "under-load": "batching.live",
    "training": "training",
    "simulator": "batching.fidelity",
    "delivery": "delivery",
    "faults": "faults",
    "publish": "publish",
    "score": "score",
}
_OWNERS = {"seeds": "faults", "first": "faults", "rounds": "delivery"}


@click.command(epilog=example("claimstream bench host --quick --json out/host.json"))
@click.argument("name", type=click.Choice([*_NAMES, "all"]))
@click.option("--quick", is_flag=True, help="The same code on less work, at most 45 s a benchmark.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here."
)
@click.option("--seeds", type=click.IntRange(min=1), help="How many schedules `faults` runs in each mode.")
@click.option("--first", type=click.IntRange(min=0), help="The seed with which `faults` begins.")
@click.option("--rounds", type=click.IntRange(min=1), help="How many rounds `delivery` takes.")
@click.option(
    "--plots", type=click.Path(path_type=Path, file_okay=False), default=Path("out/bench"), show_default=True
)
def command(name: str, json_file: Path | None, plots: Path, *, quick: bool, **given: int | None) -> None:
    """Measure, print the figures, write them and their plots; the exit code is 0 whatever they say."""
    if importlib.util.find_spec("bench") is None:
        raise UsageError(
            "the benchmarks are part of the repository, not of the package; run this in a clone of it"
        )
    more = {option: value for option, value in given.items() if value is not None}
    _check_options(name, more)
    for chosen in _NAMES if name == "all" else [name]:
        _measure(chosen, json_file or plots / f"{chosen}.json", plots, quick=quick, **more)


def _check_options(name: str, given: Mapping[str, int]) -> None:
    for option in given:
        if name != _OWNERS[option]:
            raise UsageError(f"--{option} belongs to the benchmark {_OWNERS[option]}")


def _measure(name: str, json_file: Path, plots: Path, *, quick: bool, **more: int) -> None:
    report = importlib.import_module("bench.report")
    figures = importlib.import_module(f"bench.{_NAMES[name]}").measure(quick=quick, plots=plots, **more)
    report.write(json_file, report.as_json(name, figures))
    click.echo(table(report.lines(figures), ("figure", "value", "goal", "note")))
    click.echo(f"written: {json_file}")
