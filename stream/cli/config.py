"""`claimstream config`: what is in force, and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from config import Settings, values
from config.secrets import masked, without_secrets
from stream.cli.configuration import config_option, effective
from stream.cli.examples import example
from stream.cli.output import emit_json, table


@click.group(epilog=example("claimstream config check --config config/stream.yaml"))
def command() -> None:
    """Check the configuration."""


@command.command(
    epilog=example("claimstream config check", "claimstream config check --config my.yaml --json")
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config_file: Path | None, *, as_json: bool) -> None:
    """Print each effective value and where it comes from, without secrets."""
    settings = effective(config_file, {})
    if as_json:
        emit_json(_document(settings))
        return
    rows = [(name, _text(entry["value"]), entry["origin"]) for name, entry in _document(settings).items()]
    click.echo(table(rows, ("SETTING", "VALUE", "ORIGIN")))


def _document(settings: Settings) -> dict[str, dict[str, Any]]:
    return {
        without_secrets(name): {"value": masked(name, value), "origin": settings.origin(name).text}
        for name, value in values(settings)
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
