"""`claimstream config`: what is in force, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import click

from config import leaves
from config.secrets import masked
from stream.cli.configuration import config_option, effective
from stream.cli.output import emit_json, table


@click.group()
def command() -> None:
    """Check the configuration."""


@command.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config_file: Path | None, *, as_json: bool) -> None:
    """Print each effective value and its origin; secrets are masked.

    \b
    Example:
      claimstream config check --config config/stream.yaml
    """
    settings = effective(config_file, {})
    rows = [(name, masked(name, value), settings.origin(name).text) for name, value in leaves(settings)]
    if as_json:
        emit_json({name: {"value": value, "origin": origin} for name, value, origin in rows})
        return
    click.echo(table([(name, str(value), origin) for name, value, origin in rows], ("setting", "value", "origin")))
