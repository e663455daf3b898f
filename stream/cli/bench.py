"""`claimstream bench`: the figures that the README quotes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from stream.cli.examples import example
from stream.cli.output import table
from stream.clock import Clock, SystemClock
from stream.errors import ClaimstreamError, UsageError

log = logging.getLogger(__name__)

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
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the figures here, those of `all` as one object; else beside the plots, each benchmark its own.",
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
    """Measure, print the figures, write them and their plots; the exit code is 0 whatever they say.

    With `all` the others go on where one fails.
    """
    if importlib.util.find_spec("bench") is None:
        raise UsageError(
            "the benchmarks are part of the repository, not of the package; run this in a clone of it"
        )
    if real and name != "faults":
        raise UsageError("--real belongs to the benchmark faults")
    chosen = _REAL if real else name
    more = {option: value for option, value in given.items() if value not in (None, ())}
    _check_options(chosen, more)
    session = Session(json_file, plots, SystemClock(), quick=quick)
    session.run(list(_NAMES) if name == "all" else [chosen], **more)


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


class Session:
    """Benchmarks one after the other, each written as soon as it has been measured."""

    def __init__(self, json_file: Path | None, plots: Path, clock: Clock, *, quick: bool) -> None:
        self._json_file = json_file
        self._plots = plots
        self._clock = clock
        self._quick = quick
        self._report = importlib.import_module("bench.report")
        self._documents: list[dict[str, Any]] = []
        self._failed: dict[str, str] = {}

    def run(self, names: Sequence[str], **more: Any) -> None:
        """Raises ClaimstreamError, after the last of them, where one failed."""
        for name in names:
            self._try(name, names, more)
        if self._failed:
            told = "; ".join(f"{name}: {error}" for name, error in self._failed.items())
            raise ClaimstreamError(f"benchmarks failed: {told}")

    def _try(self, name: str, names: Sequence[str], more: Mapping[str, Any]) -> None:
        figures: list[Any] = []
        try:
            figures = self._measured(name, more)
        except UsageError:
            raise
        except (ClaimstreamError, RuntimeError, OSError) as error:
            self._failed[name] = str(error)
        except Exception as error:
            # Of the benchmark itself: where it came from is needed.
            log.exception("the benchmark %s failed", name)
            self._failed[name] = repr(error)
        self._write(name, figures, alone=len(names) == 1)

    def _measured(self, name: str, more: Mapping[str, Any]) -> list[Any]:
        module = importlib.import_module(f"bench.{(_NAMES | _LONG)[name]}")
        figures: list[Any] = module.measure(quick=self._quick, plots=self._plots, **more)
        return figures

    def _write(self, name: str, figures: list[Any], *, alone: bool) -> None:
        """Nothing over an earlier result where nothing was measured; that of `all` says what failed."""
        made = self._clock.wall()
        if figures:
            self._documents.append(self._report.as_json(name, figures, made, quick=self._quick))
            click.echo(table(self._report.lines(figures), ("figure", "value", "goal", "note")))
        if self._json_file is not None and not alone:
            document = self._report.combined(self._documents, self._failed, made, quick=self._quick)
            self._report.write(self._json_file, document)
        elif figures:
            file = self._json_file or self._plots / f"{name}{'-quick' if self._quick else ''}.json"
            self._report.write(file, self._documents[-1])
            click.echo(f"written: {file}")
        if not figures:
            click.echo(f"{name}: nothing measured{self._reason(name)}")

    def _reason(self, name: str) -> str:
        return f", {self._failed[name]}" if name in self._failed else ""
