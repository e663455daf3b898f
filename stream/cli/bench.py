"""`claimstream bench`: the figures that the README quotes."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
# On real brokers, and not among `all`: they take hours, or as long as one likes.
_REAL, _SOAK = "faults-real", "soak"
_LONG = {_REAL: "real_faults.figures", _SOAK: "real_faults.soak"}


@click.command(epilog=example("claimstream bench host --quick --json out/host.json"))
@click.argument("name", type=click.Choice([*_NAMES, _SOAK, "all"]))
@click.option("--quick", is_flag=True, help="The same code on less work, at most 45 s a benchmark.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here."
)
@click.option("--seeds", type=click.IntRange(min=1), help="How many schedules `faults` runs in each mode.")
@click.option("--first", type=click.IntRange(min=0), help="The seed with which `faults` begins.")
@click.option("--real", is_flag=True, help="`faults` on real brokers; goes on where an earlier run ended.")
@click.option("--fault", "only", multiple=True, help="With --real: this fault; may be given several times.")
@click.option(
    "--rounds", type=click.IntRange(min=1), help="Of `delivery`; with --real: how often over all faults."
)
@click.option("--strikes", type=click.IntRange(min=1), help="With --real: strikes of a fault in a round.")
@click.option("--minutes", type=click.FloatRange(min=0), help="How long `soak` takes, or --real at most.")
@click.option(
    "--patience",
    type=click.FloatRange(min=1),
    help="With --real: so many times as long to recover; a busy machine.",
)
@click.option(
    "--plots", type=click.Path(path_type=Path, file_okay=False), default=Path("out/bench"), show_default=True
)
def command(name: str, json_file: Path | None, plots: Path, *, quick: bool, real: bool, **given: Any) -> None:
    """Measure, print the figures, write them and their plots; the exit code is 0 whatever they say."""
    if importlib.util.find_spec("bench") is None:
        raise UsageError(
            "the benchmarks are part of the repository, not of the package; run this in a clone of it"
        )
    if real and name != "faults":
        raise UsageError("--real belongs to the benchmark faults")
    chosen = _REAL if real else name
    more = {option: value for option, value in given.items() if value not in (None, ())}
    _check_options(chosen, more)
    for each in _NAMES if name == "all" else [chosen]:
        _measure(each, json_file or plots / f"{each}.json", plots, quick=quick, **more)


def _check_options(name: str, given: Mapping[str, Any]) -> None:
    allowed = {
        "faults": {"seeds", "first"},
        "delivery": {"rounds"},
        _REAL: {"only", "rounds", "strikes", "minutes", "patience"},
        _SOAK: {"minutes"},
    }
    for option in given.keys() - allowed.get(name, set()):
        spelled = "--fault" if option == "only" else f"--{option}"
        owners = {each if each != _REAL else "faults --real" for each in allowed if option in allowed[each]}
        raise UsageError(f"{spelled} belongs to the benchmark {' or '.join(sorted(owners))}")


def _measure(name: str, json_file: Path, plots: Path, *, quick: bool, **more: Any) -> None:
    report = importlib.import_module("bench.report")
    figures = importlib.import_module(f"bench.{(_NAMES | _LONG)[name]}").measure(
        quick=quick, plots=plots, **more
    )
    report.write(json_file, report.as_json(name, figures))
    click.echo(table(report.lines(figures), ("figure", "value", "goal", "note")))
    click.echo(f"written: {json_file}")
