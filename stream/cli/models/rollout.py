"""`claimstream models promote` and `rollback`."""

from __future__ import annotations

from pathlib import Path

import click

from models.aliases import PRODUCTION, WHOLE
from models.repository import Target
from stream.cli.examples import example
from stream.cli.models.options import (
    as_input,
    exact,
    housekeeping,
    json_option,
    repository_option,
    shares,
    writable,
)
from stream.cli.output import emit_json


@click.command(
    epilog=example(
        "claimstream models promote claims_filter 2.2.0 --weight 10",
        "claimstream models promote claims_filter 2.2.0",
    )
)
@click.argument("name")
@click.argument("version")
@click.option("--alias", default=PRODUCTION, show_default=True)
@click.option(
    "--weight",
    type=click.IntRange(1, WHOLE),
    default=WHOLE,
    show_default=True,
    help="Percent of the alias; the rest stays with what was there.",
)
@repository_option
@json_option
def promote(
    name: str, version: str, alias: str, weight: int, repository: Path | None, *, as_json: bool
) -> None:
    """Let an alias of NAME mean VERSION, wholly or in part."""
    place = writable(repository)
    model, exactly = exact(place, name, version)
    with as_input():
        target = housekeeping(place).promote(model, exactly, alias, weight)
    _say(target, alias, as_json=as_json)


@click.command(epilog=example("claimstream models rollback claims_filter --repository /models"))
@click.argument("name")
@click.option("--alias", default=PRODUCTION, show_default=True)
@repository_option
@json_option
def rollback(name: str, alias: str, repository: Path | None, *, as_json: bool) -> None:
    """Let an alias of NAME mean what it meant before its last promotion."""
    place = writable(repository)
    with as_input():
        target = housekeeping(place).rollback(name, alias)
    _say(target, alias, as_json=as_json)


def _say(target: Target, alias: str, *, as_json: bool) -> None:
    if as_json:
        weights = {share.version: share.weight for share in target.shares}
        emit_json({"name": target.name, "alias": alias, "shares": weights})
        return
    click.echo(f"{target.name}:{alias} is {shares(target)} now")
