"""`claimstream status`: what a running stage does, and why its batches are as they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from stream.cli.endpoints import ask, url_option
from stream.cli.examples import example
from stream.cli.output import emit_json, table
from stream.errors import FatalError

_EVERY_SECONDS = 2.0
_COLUMNS = ("WORKER", "MODEL", "WAITING", "ASIDE", "PER S", "TARGET", "BATCH MS", "CLOSED BY")


@click.command(epilog=example("claimstream status", "claimstream status --url http://127.0.0.1:8000 --watch"))
@url_option
@click.option("--watch", is_flag=True, help="Print it anew every two seconds, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole document, decisions included.")
def command(url: str, *, watch: bool, as_json: bool) -> None:
    """Show what waits, what is aimed at, why batches were closed, and what presses."""
    _show(url, as_json=as_json)
    while watch:
        time.sleep(_EVERY_SECONDS)
        _show(url, as_json=as_json)


def _show(url: str, *, as_json: bool) -> None:
    status, document = ask(url, "/ml/batching")
    if status != 200:
        raise FatalError(f"{url}: {document.get('error', status)}")
    if as_json:
        emit_json(document)
        return
    rows = [_row(worker["worker"], lane) for worker in document["workers"] for lane in worker["lanes"]]
    click.echo(table(rows, _COLUMNS))
    for worker in document["workers"]:
        click.echo(_worker(worker))
    share = document["on_time"]
    click.echo("nothing delivered yet" if share is None else f"on time so far: {100 * share:.2f} %")


def _row(worker: int, lane: Mapping[str, Any]) -> tuple[str, ...]:
    reasons = ", ".join(f"{reason} {100 * share:.0f} %" for reason, share in lane["reasons"].items())
    took = "" if lane["actual_ms"] is None else f"{lane['predicted_ms']:.1f} → {lane['actual_ms']:.1f}"
    name = f"{lane['model']}:{lane['version']}"
    numbers = (lane["waiting"], lane["aside"], round(lane["rate"]), lane["target"])
    return (str(worker), name, *map(str, numbers), took, reasons)


def _worker(worker: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{name} {part:.2f}" for name, part in worker["parts"].items() if part)
    crowded = "; late claims go first" if worker["crowded"] else ""
    return (
        f"worker {worker['worker']}: intake {worker['flow']}, pressure {worker['pressure']:.2f}"
        f"{f' ({parts})' if parts else ''}, delivery {worker['delivery_ms']:.1f} ms{crowded}"
    )
