"""`claimstream models remove` and `gc`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from stream.cli.examples import example
from stream.cli.models.options import exact, housekeeping, json_option, repository_option, writable
from stream.cli.output import byte_count, emit_json, table


@click.command(epilog=example("claimstream models remove claims_filter:2.0.0 --repository /models"))
@click.argument("version")
@repository_option
@json_option
def remove(version: str, repository: Path | None, *, as_json: bool) -> None:
    """Remove one VERSION, as NAME:1.2.3, that no alias names."""
    place = writable(repository)
    name, _, exactly = version.partition(":")
    if not place.lacks_manifest(name, exactly):
        name, exactly = exact(place, version)
    if version != f"{name}:{exactly}":
        raise click.UsageError(f"{version!r} would be {name}:{exactly}; say so to remove it")
    housekeeping(place).remove(name, exactly)
    if as_json:
        emit_json({"name": name, "version": exactly, "removed": True})
    else:
        click.echo(f"{version}: removed")


@click.command(
    epilog=example(
        "claimstream models gc --days 30 --dry-run --repository /models", "claimstream models gc --days 30"
    )
)
@click.option("--days", type=click.FloatRange(0), required=True, help="Unused for so many days.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@repository_option
@json_option
def gc(days: float, repository: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Remove versions that nobody used for a while; never one that an alias names, or the newest of a model.

    Use is noted by running stages, at most once an hour, where the repository can be written to. What a rollback
    would return to stays as well. Half pushes of more than a day go too.
    """
    collected = housekeeping(writable(repository)).collect(days, dry_run=dry_run)
    if as_json:
        emit_json({"dry_run": dry_run} | asdict(collected))
        return
    rows = [(f"{v.name}:{v.version}", byte_count(v.bytes), f"{v.days:.0f}") for v in collected.versions]
    rows += [(folder, "", "") for folder in collected.half_pushes]
    heads = ("WOULD GO" if dry_run else "REMOVED", "SIZE", "DAYS UNUSED")
    click.echo(table(rows, heads) if rows else "nothing to remove")
