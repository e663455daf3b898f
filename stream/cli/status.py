"""`claimstream status`: what a running stage does, and why its batches are as they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from stream.cli.endpoints import ask, of_a_stage, url_option
from stream.cli.examples import example
from stream.cli.output import emit_json, table
from stream.errors import FatalError

_EVERY_SECONDS = 2.0
_COLUMNS = ("WORKER", "MODEL", "WAIT", "ASIDE", "PER S", "TARGET", "BATCH MS", "CLOSED BY")


@click.command(epilog=example("claimstream status", "claimstream status --url http://127.0.0.1:8000 --watch"))
@url_option
@click.option("--watch", is_flag=True, help="Print it anew every two seconds, until interrupted.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the whole document, decisions included, in a line."
)
def command(url: str, *, watch: bool, as_json: bool) -> None:
    """Show how the stage stands, what waits, what is aimed at, why batches were closed, and what presses."""
    if not watch:
        _show(url, as_json=as_json)
    while watch:
        try:
            _show(url, as_json=as_json, anew=sys.stdout.isatty())
        except FatalError as error:
            # A stage that starts again is what one wants to go on watching.
            click.echo(f"claimstream: {error}", err=True)
        time.sleep(_EVERY_SECONDS)


def _show(url: str, *, as_json: bool, anew: bool = False) -> None:
    status, document = ask(url, "/ml/batching")
    if status != 200:
        raise FatalError(f"{url}: {document.get('error', status)}")
    with of_a_stage(url):
        lines = _lines(document)
    if as_json:
        emit_json(document)
        return
    if anew:
        click.clear()
    click.echo("\n".join(lines))


def _lines(document: Mapping[str, Any]) -> list[str]:
    rows = [_row(worker["worker"], lane) for worker in document["workers"] for lane in worker["lanes"]]
    share = document["on_time"]
    return [
        *_instance(document["instance"]),
        table(rows, _COLUMNS),
        *map(_worker, document["workers"]),
        "nothing delivered yet" if share is None else f"on time so far: {100 * share:.2f} %",
    ]


def _instance(instance: Mapping[str, Any]) -> tuple[str, ...]:
    state = "ready" if instance["ready"] else f"not ready: {instance['reason']}"
    return (
        f"{state}; {instance['alive']} of {instance['workers']} workers, {instance['restarts']} restarts",
        f"{instance['consumed']:,} read, {instance['delivered']:,} delivered, "
        f"{instance['dead_letters']:,} dead letters",
        f"{instance['in_flight']:,} in flight, lag {instance['lag']:,}",
    )


def _row(worker: int, lane: Mapping[str, Any]) -> tuple[str, ...]:
    reasons = ", ".join(f"{reason} {100 * share:.0f} %" for reason, share in lane["reasons"].items())
    took = "" if lane["actual_ms"] is None else f"{lane['predicted_ms']:.1f} → {lane['actual_ms']:.1f}"
    name = f"{lane['model']}:{lane['version']}"
    numbers = (lane["waiting"], lane["aside"], round(lane["rate"]), lane["target"])
    return (str(worker), name, *map(str, numbers), took, reasons)


def _worker(worker: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{name} {part:.2f}" for name, part in worker["parts"].items() if part)
    held = f" ({worker['held_by']})" if worker["held_by"] else ""
    crowded = "; late claims go first" if worker["crowded"] else ""
    return (
        f"worker {worker['worker']}: intake {worker['flow']}{held}, pressure {worker['pressure']:.2f}"
        f"{f' ({parts})' if parts else ''}, delivery {worker['delivery_ms']:.1f} ms{crowded}"
    )
