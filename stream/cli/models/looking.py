"""`claimstream models list` and `show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from models.errors import ManifestError, UnreachableError
from models.manifest import FILE
from models.release import Release
from models.repository import Repository
from stream.cli.examples import example
from stream.cli.models.options import as_input, exact, json_option, readable, repository_option
from stream.cli.output import byte_count, emit_json, table


@click.command(
    name="list",
    epilog=example("claimstream models list", "claimstream models list --repository /models --json"),
)
@repository_option
@json_option
def list_command(repository: Path | None, *, as_json: bool) -> None:
    """List the versions of all models, and what names them."""
    found = readable(repository)
    rows = [_row(found, name, version) for name in found.names() for version in found.versions(name)]
    if as_json:
        emit_json({"models": rows})
        return
    cells = [(row["name"], row["version"], _size(row), _precisions(row), _names(row)) for row in rows]
    click.echo(table(cells, ("MODEL", "VERSION", "SIZE", "PRECISIONS", "NAMED BY")))


@click.command(
    epilog=example(
        "claimstream models show claims_filter", "claimstream models show claims_filter:production"
    )
)
@click.argument("name")
@repository_option
@json_option
def show(name: str, repository: Path | None, *, as_json: bool) -> None:
    """Show the manifest of one version and the aliases of its model, with what they meant before."""
    found = readable(repository)
    model, version = exact(found, name)
    with as_input():
        release = found.release(model, version)
    aliases = {key: alias.model_dump() for key, alias in found.aliases(model).aliases.items()}
    if as_json:
        manifest = release.manifest.model_dump(mode="json")
        emit_json({"digest": release.key.digest, "manifest": manifest, "aliases": aliases})
        return
    click.echo(table(_facts(found, release), ("FIELD", "VALUE")))
    if aliases:
        click.echo()
        click.echo(table(_history(aliases), ("ALIAS", "SINCE", "MEANS")))


def _row(found: Repository, name: str, version: str) -> dict[str, Any]:
    aliases = found.aliases(name).aliases
    named = {key: alias.now.shares[version] for key, alias in aliases.items() if version in alias.now.shares}
    row = {"name": name, "version": version, "ships": version not in found.owned(name), "aliases": named}
    row["latest"] = version == found.versions(name)[-1]
    try:
        release = found.release(name, version)
    except (ManifestError, UnreachableError) as error:
        return row | {"error": str(error)}
    return row | {
        "digest": release.key.digest,
        "bytes": release.bytes,
        "precisions": list(release.manifest.precisions),
        "metrics": release.manifest.metrics,
    }


def _size(row: dict[str, Any]) -> str:
    return byte_count(row["bytes"]) if "bytes" in row else "damaged"


def _precisions(row: dict[str, Any]) -> str:
    return ", ".join(row.get("precisions", ())) or "see `models show`"


def _names(row: dict[str, Any]) -> str:
    aliases = (f"{key} {share} %" if share < 100 else key for key, share in row["aliases"].items())
    return ", ".join((*aliases, *(["latest"] if row["latest"] else [])))


def _facts(found: Repository, release: Release) -> list[tuple[str, object]]:
    manifest = release.manifest
    return [
        ("model", f"{manifest.name} {manifest.version}, variant {manifest.variant}"),
        ("manifest", found.folder(release.key) / FILE),
        ("digest", release.key.digest),
        *(
            (f"precision {key}", f"{variant.file}, {variant.kind}")
            for key, variant in manifest.precisions.items()
        ),
        ("decisions", f"{manifest.decisions[0]} below {manifest.threshold}, else {manifest.decisions[1]}"),
        ("batch", f"{manifest.batch.min} to {manifest.batch.max}, best {manifest.batch.recommended}"),
        *((f"bytes, {tier}", byte_count(size)) for tier, size in manifest.bytes),
        *((f"metric {key}", value) for key, value in manifest.metrics.items()),
        *(
            (f"file {key}", f"{byte_count(file.bytes)}, BLAKE3 {file.blake3}")
            for key, file in manifest.files.items()
        ),
        ("data", manifest.data),
        ("parents", ", ".join(manifest.parents) or "none"),
        ("licence", manifest.licence),
    ]


def _history(aliases: dict[str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    rows = []
    for key, alias in aliases.items():
        states = [alias["now"], *reversed(alias["before"])]
        for place, state in enumerate(states):
            means = ", ".join(f"{version} {share} %" for version, share in state["shares"].items())
            rows.append((key if place == 0 else "  before", state["since"], means))
    return rows
